/// Token ids to text while they arrive: only whole characters come out.
///
/// A token may end in the middle of a character; up to 3 bytes wait for the next one. Bytes that
/// can never become a character come out as U+FFFD, so the output is always valid UTF-8.
/// Not thread-safe.  Proof: tests/engine/test_tokenizer_detok.c, tests/fuzz/fuzz_tokenizer.c
#ifndef HSDI_ENGINE_DETOK_H
#define HSDI_ENGINE_DETOK_H

#include "engine/tokenizer.h"

typedef struct hsdi_detok {
    const hsdi_tokenizer *tok; ///< borrowed until _fini
    bool special;              ///< control tokens come out by name
    bool strip;                ///< the next bytes begin the text: one leading space is dropped
    int n_held;
    uint8_t held[4]; ///< begins a character that is not complete yet
    char *out;       ///< owned; room for what one push can give
} hsdi_detok;

/// Start a text.
///
/// text_start : the first token begins a text of its own (no prompt precedes it). A tokenizer that
///              puts a space before every text then has that one space taken away again.
/// Errors     : ENOMEM. `d` needs no _fini then.
HSD_NODISCARD hsd_status hsdi_detok_init(hsdi_detok *d, const hsdi_tokenizer *tok, bool text_start,
                                         bool special);

/// Add a token.
///
/// Result : *bytes [*n] is the text that became complete, maybe none; borrowed until the next call.
/// Errors : EINVAL: no such id; nothing changes.
/// Cost   : O(bytes of the token), no allocation.
HSD_NODISCARD hsd_status hsdi_detok_push(hsdi_detok *d, int32_t id, const char **bytes, int *n);

/// End of the text: what still waits comes out as U+FFFD. The state is as after _init with
/// text_start false.
void hsdi_detok_flush(hsdi_detok *d, const char **bytes, int *n);

void hsdi_detok_fini(hsdi_detok *d);

#endif
