/// Text to token ids and back, with the vocabulary of a GGUF file.
///
/// Two models: "llama" (SentencePiece-like: merges by score, bytes as fallback) and "gpt2"
/// (byte-level BPE: a pre-tokenizer cuts the text into words, merges by rank join their bytes).
/// Ids are those that llama.cpp gives for the same file, save where bytes would be lost.
///
/// A tokenizer is immutable after creation: any number of threads may use it. It holds copies, the
/// file may be closed.
/// Proof: tests/engine/test_tokenizer.c, tests/fuzz/fuzz_tokenizer.c
#ifndef HSDI_ENGINE_TOKENIZER_H
#define HSDI_ENGINE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hsd/status.h>

#include "engine/gguf.h"

typedef struct hsdi_tokenizer hsdi_tokenizer;

typedef enum hsdi_tokenizer_model {
    HSDI_TOKENIZER_SPM = 1, ///< tokenizer.ggml.model "llama"
    HSDI_TOKENIZER_BPE = 2, ///< tokenizer.ggml.model "gpt2"
} hsdi_tokenizer_model;

/// Read the vocabulary of a file.
///
/// Result : *out is owned by the caller; NULL on failure.
/// Errors : EFORMAT a key is missing or damaged, with its name; EUNSUPPORTED unknown model or
///          pre-tokenizer, with its name; ENOMEM.
HSD_NODISCARD hsd_status hsdi_tokenizer_create(const hsdi_gguf *g, hsdi_tokenizer **out,
                                               hsd_error *err);

/// Free and set to NULL; *tok may be NULL.
void hsdi_tokenizer_destroy(hsdi_tokenizer **tok);

/// Turn text into token ids. Any bytes are accepted, valid UTF-8 or not.
///
/// add_special   : BOS and EOS are added as the file says.
/// parse_special : texts of control tokens become those tokens; else they are plain text.
///                 User-defined tokens are recognised always.
///
/// Shapes : text [n_bytes] (may be NULL when n_bytes is 0); out [cap] i32.
/// Result : *n_out is the number of tokens of the whole text, also with ETOOLONG; out holds the
///          first min(cap, *n_out) of them.
/// Errors : ETOOLONG cap is too small, or the text exceeds 256 MiB (*n_out is then 0); EINVAL;
/// ENOMEM. Cost   : O(n log n); allocates and frees working memory.
HSD_NODISCARD hsd_status hsdi_tokenizer_encode(const hsdi_tokenizer *tok, const char *text,
                                               size_t n_bytes, bool add_special, bool parse_special,
                                               int32_t *out, int cap, int *n_out, hsd_error *err);

/// Bytes of one token: not always whole characters, see engine/detok.h.
///
/// special : control and unknown tokens give their name; else they give no bytes.
/// Errors  : EINVAL: no such id; outputs untouched.
/// Owner   : *bytes borrowed until the tokenizer is destroyed; not terminated.
HSD_NODISCARD hsd_status hsdi_tokenizer_piece(const hsdi_tokenizer *tok, int32_t id, bool special,
                                              const char **bytes, int *n);

hsdi_tokenizer_model hsdi_tokenizer_model_of(const hsdi_tokenizer *tok);
int32_t hsdi_tokenizer_n_vocab(const hsdi_tokenizer *tok);

/// Special ids; -1 when the file has none.
int32_t hsdi_tokenizer_bos(const hsdi_tokenizer *tok);
int32_t hsdi_tokenizer_eos(const hsdi_tokenizer *tok);
int32_t hsdi_tokenizer_eot(const hsdi_tokenizer *tok);

/// Whether generation ends with this token: EOS, end of turn, end of message, and tokens that are
/// named so ("<|im_end|>", "<|endoftext|>", ...). False for ids out of range.
bool hsdi_tokenizer_is_eog(const hsdi_tokenizer *tok, int32_t id);
bool hsdi_tokenizer_is_control(const hsdi_tokenizer *tok, int32_t id);

/// Whether encoding puts a space before the text (SentencePiece), which decoding takes away.
bool hsdi_tokenizer_adds_space(const hsdi_tokenizer *tok);

/// Bytes of the longest piece; at least 1.
int hsdi_tokenizer_max_piece(const hsdi_tokenizer *tok);

/// 64-bit hash over the texts and types of all tokens in order; the same on every machine.
uint64_t hsdi_tokenizer_hash(const hsdi_tokenizer *tok);

/// Hash of the first n tokens, 0 <= n <= n_vocab. Cost: O(their bytes).
uint64_t hsdi_tokenizer_prefix_hash(const hsdi_tokenizer *tok, int n);

/// A token for messages: printable ASCII, with its type where that is not plain text.
void hsdi_tokenizer_describe(const hsdi_tokenizer *tok, int id, char *out, size_t cap);

/// Whether ids mean the same in both: model, size, texts, types, BOS and EOS.
///
/// Result : HSD_OK; or HSD_EVOCAB with the first differing id and both texts in the message, and
///          *first_differing (may be NULL) that id, -1 when all tokens agree but not the rest.
HSD_NODISCARD hsd_status hsdi_tokenizer_compare(const hsdi_tokenizer *a, const hsdi_tokenizer *b,
                                                int32_t *first_differing, hsd_error *err);

#endif
