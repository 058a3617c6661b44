/// Pre-tokenizers of byte-level BPE: regular expressions that cut text into words.
///
/// Each expression cuts the pieces that the one before it left; what it matches and what lies
/// between two matches become pieces. The expressions are those of llama.cpp for the same name,
/// with its set of white space spelled out.
/// Proof: tests/engine/test_tokenizer_pretok.c
#ifndef HSDI_ENGINE_TOK_PRETOK_H
#define HSDI_ENGINE_TOK_PRETOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hsd/status.h>

typedef struct hsdi_pretok hsdi_pretok;

/// Ends of the pieces of a text, in order; the first begins at 0. Zero-initialise before use.
typedef struct hsdi_pieces {
    uint32_t *end; ///< owned
    size_t n, cap;
} hsdi_pieces;

void hsdi_pieces_fini(hsdi_pieces *pieces);

/// Compile the expressions of a pre-tokenizer by its name in the file.
///
/// Errors : EUNSUPPORTED unknown name, with it; ENOMEM.
HSD_NODISCARD hsd_status hsdi_pretok_create(const char *name, size_t n_name, hsdi_pretok **out,
                                            hsd_error *err);
void hsdi_pretok_destroy(hsdi_pretok **p);

/// Whether whole words of the vocabulary are taken without merging, and BOS is added unless the
/// file says otherwise (both are properties of the pre-tokenizer's name in llama.cpp).
bool hsdi_pretok_ignores_merges(const hsdi_pretok *p);
bool hsdi_pretok_adds_bos(const hsdi_pretok *p);

/// Cut a text. Every byte lies in exactly one piece; a byte that is not part of valid UTF-8 is a
/// piece of its own.
///
/// Result : *out is overwritten, its memory reused. Owner: caller, hsdi_pieces_fini.
/// Errors : ETOOLONG n_bytes above 2^31-1, or the expressions gave up; ENOMEM.
HSD_NODISCARD hsd_status hsdi_pretok_split(const hsdi_pretok *p, const char *text, size_t n_bytes,
                                           hsdi_pieces *out, hsd_error *err);

#endif
