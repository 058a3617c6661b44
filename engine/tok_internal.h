/// Inside of a tokenizer, shared by tokenizer.c, tok_load.c, tok_encode.c and tok_merge.c.
#ifndef HSDI_ENGINE_TOK_INTERNAL_H
#define HSDI_ENGINE_TOK_INTERNAL_H

#include "base/arena.h"
#include "engine/tok_map.h"
#include "engine/tok_pretok.h"
#include "engine/tokenizer.h"

/// Token types, as in the file.
typedef enum hsdi_tok_type {
    HSDI_TOK_NORMAL = 1,
    HSDI_TOK_UNKNOWN = 2,
    HSDI_TOK_CONTROL = 3,
    HSDI_TOK_USER_DEFINED = 4,
    HSDI_TOK_UNUSED = 5,
    HSDI_TOK_BYTE = 6,
} hsdi_tok_type;

typedef struct hsdi_tok_entry {
    const char *text;  ///< as in the file
    const char *piece; ///< decoded bytes
    uint32_t n_text, n_piece;
    uint32_t priority; ///< SPM: order of the score, lower merges first
    uint8_t type;
    bool eog;
} hsdi_tok_entry;

struct hsdi_tokenizer {
    hsdi_tokenizer_model model;
    int32_t n_vocab;
    hsdi_tok_entry *tokens; ///< [n_vocab]
    hsdi_strmap ids;        ///< text to id; the last of equal texts
    int32_t bos, eos, eot, unk;
    bool add_bos, add_eos, add_space;
    bool spm_by_word; ///< no token has a space behind another character
    int max_text, max_piece;

    int32_t *special;      ///< [n_special] ids found in text as wholes, in order of their bytes
    int32_t *special_rank; ///< [n_special] who wins an overlap: lower first
    int32_t n_special;
    int32_t first[257]; ///< special[first[b] .. first[b+1]-1] begin with byte b

    int32_t byte_id[256];     ///< token of one byte; -1: none, the byte is dropped
    hsdi_pretok *pretok;      ///< BPE
    int32_t byte_symbol[256]; ///< BPE: symbol of one byte; -1: merges with nothing
    hsdi_pairmap merges;      ///< BPE: symbols are ids, from n_vocab on texts that are no token
    hsdi_arena arena;
};

/// Fill *tok from a file (tok_load.c, tok_load_bpe.c). On failure the caller destroys it.
HSD_NODISCARD hsd_status hsdi_tok_load(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_tok_load_bpe(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err);

/// One piece of the chain that merges shorten.
typedef struct hsdi_symbol {
    int32_t prev, next; ///< -1: none
    uint32_t begin, n;  ///< bytes of the text; n is 0 once merged away
    int32_t id;         ///< token or symbol; -1: none
} hsdi_symbol;

typedef struct hsdi_merge_candidate {
    uint64_t order; ///< priority, then position of the left symbol
    int32_t left, right;
    int32_t result;
    uint32_t n; ///< bytes of both; another length means that one has changed since
} hsdi_merge_candidate;

/// Working memory of one encode call. Zero-initialise before use.
typedef struct hsdi_merge_work {
    hsdi_symbol *symbols;
    size_t n_symbols, cap_symbols;
    hsdi_merge_candidate *heap;
    size_t n_heap, cap_heap;
} hsdi_merge_work;

/// Whether two neighbours merge, how early (lower first) and into what.
typedef bool (*hsdi_merge_rule)(const hsdi_tokenizer *tok, const char *text,
                                const hsdi_symbol *left, const hsdi_symbol *right,
                                uint32_t *priority, int32_t *result);

/// Append a symbol to the chain (text in order); false when memory is short.
bool hsdi_merge_add(hsdi_merge_work *w, uint32_t begin, uint32_t n, int32_t id);

/// Merge until no rule applies. Best pair first, the leftmost among equals. O(n log n).
bool hsdi_merge_run(hsdi_merge_work *w, const hsdi_tokenizer *tok, const char *text,
                    hsdi_merge_rule rule);

void hsdi_merge_fini(hsdi_merge_work *w);

#endif
