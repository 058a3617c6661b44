/// Reading the merges of a byte-level BPE vocabulary.
///
/// Texts become numbers once: a token's text is its id, a text that occurs only in merges gets a
/// number from n_vocab on. Encoding then compares numbers, never texts.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/tok_internal.h"
#include "engine/unicode.h"

#define KEY(name) "tokenizer.ggml." name

// Texts that are no token, while loading.
typedef struct builder {
    hsdi_tokenizer *tok;
    hsdi_strmap extra;
    hsdi_arena texts;
    int32_t n_symbols;
    char *joined; // [max_joined]
} builder;

// The symbol of a text, made when it is new; -1 when memory is short.
static int32_t intern(builder *b, const char *text, size_t n)
{
    int32_t id = hsdi_strmap_get(&b->tok->ids, text, n);
    if (id < 0) {
        id = hsdi_strmap_get(&b->extra, text, n);
    }
    if (id >= 0) {
        return id;
    }
    const char *copy = hsdi_arena_strndup(&b->texts, text, n);
    if (!copy || hsdi_strmap_put(&b->extra, copy, n, b->n_symbols) == -2) {
        return -1;
    }
    return b->n_symbols++;
}

static hsd_status add_merge(builder *b, hsdi_gguf_str s, uint64_t rank, hsd_error *err)
{
    // The left part is not empty, so that it may itself be a space.
    const char *space = s.n > 1 ? memchr(s.data + 1, ' ', s.n - 1) : NULL;
    size_t n_left = space ? (size_t)(space - s.data) : 0;
    if (!space || n_left + 1 == s.n) {
        char safe[64];
        return hsdi_fail(err, HSD_EFORMAT, KEY("merges"),
                         "merge %" PRIu64 " (%s) is not two texts with a space between", rank,
                         hsdi_text_escape(safe, sizeof safe, s.data, s.n));
    }
    memcpy(b->joined, s.data, n_left);
    memcpy(b->joined + n_left, space + 1, s.n - n_left - 1);
    int32_t left = intern(b, s.data, n_left);
    int32_t right = intern(b, space + 1, s.n - n_left - 1);
    int32_t result = intern(b, b->joined, s.n - 1);
    if (left < 0 || right < 0 || result < 0) {
        return hsdi_fail(err, HSD_ENOMEM, KEY("merges"), "no memory for the merges");
    }
    hsdi_pairmap_put(&b->tok->merges, left, right, (int32_t)rank, result);
    return HSD_OK;
}

static hsd_status add_merges(builder *b, const hsdi_gguf_kv *kv, hsd_error *err)
{
    hsdi_gguf_str s = {0};
    size_t longest = 0;
    for (uint64_t i = 0; i < kv->n; i++) {
        if (hsdi_gguf_at_str(kv, i, &s) == HSD_OK && s.n > longest) {
            longest = s.n;
        }
    }
    b->joined = malloc(longest + 1);
    if (!b->joined || !hsdi_pairmap_init(&b->tok->merges, kv->n)) {
        return hsdi_fail(err, HSD_ENOMEM, KEY("merges"), "no memory for the merges");
    }
    hsd_status status = HSD_OK;
    for (uint64_t i = 0; i < kv->n && status == HSD_OK; i++) {
        status = hsdi_gguf_at_str(kv, i, &s);
        if (status == HSD_OK) {
            status = add_merge(b, s, i, err);
        }
    }
    return status;
}

hsd_status hsdi_tok_load_bpe(hsdi_tokenizer *tok, const hsdi_gguf *g, hsd_error *err)
{
    const hsdi_gguf_kv *kv;
    hsd_status s = hsdi_gguf_get_array(g, KEY("merges"), HSDI_GGUF_STRING, &kv, err);
    if (s != HSD_OK) {
        return s;
    }
    if (kv->n > INT32_MAX / 4) { // up to three new symbols each
        return hsdi_fail_at(err, HSD_EFORMAT, kv->key, (int64_t)kv->offset, "%" PRIu64 " merges",
                            kv->n);
    }
    builder b = {.tok = tok, .n_symbols = tok->n_vocab};
    s = add_merges(&b, kv, err);
    for (int i = 0; i < 256 && s == HSD_OK; i++) {
        char text[HSDI_UTF8_MAX];
        size_t n = (size_t)hsdi_utf8_encode(hsdi_byte_to_cp((uint8_t)i), text);
        int32_t id = hsdi_strmap_get(&tok->ids, text, n);
        tok->byte_symbol[i] = id >= 0 ? id : hsdi_strmap_get(&b.extra, text, n);
    }
    free(b.joined);
    hsdi_strmap_fini(&b.extra);
    hsdi_arena_fini(&b.texts);
    return s;
}
