/// Any bytes as a model file: opening, every getter, and a tokenizer made of it.
///
/// Looks for: reads outside the input (each input lies in a block of its own size, under a
/// sanitizer), tensors that overlap or leave the file, memory out of proportion (-rss_limit_mb),
/// ids outside the vocabulary.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static uint64_t sum_bytes(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p[i];
    }
    return sum;
}

static uint64_t read_kv(const hsdi_gguf *g, const hsdi_gguf_kv *kv)
{
    uint64_t sum = 0;
    hsd_error err;
    int64_t v;
    float f;
    bool b;
    hsdi_gguf_str s;
    must(hsdi_gguf_find(g, kv->key) == kv);
    for (uint64_t i = 0; i <= kv->n; i++) {
        if (hsdi_gguf_at_int(kv, i, &v) == HSD_OK || hsdi_gguf_at_f32(kv, i, &f) == HSD_OK) {
            must(i < kv->n);
        }
        if (hsdi_gguf_at_str(kv, i, &s) == HSD_OK) {
            must(i < kv->n);
            sum += sum_bytes(s.data, s.n);
        }
    }
    sum += hsdi_gguf_get_int(g, kv->key, -5, 1000, &v, &err) == HSD_OK;
    sum += hsdi_gguf_get_f32(g, kv->key, &f, &err) == HSD_OK;
    sum += hsdi_gguf_get_bool_or(g, kv->key, false, &b, &err) == HSD_OK;
    sum += hsdi_gguf_get_str(g, kv->key, &s, &err) == HSD_OK;
    return sum;
}

static uint64_t read_tensor(const hsdi_gguf *g, const hsdi_gguf_tensor *t)
{
    hsd_error err;
    const hsdi_gguf_tensor *found;
    must(hsdi_gguf_tensor_find(g, t->name) == t);
    must(t->offset <= hsdi_gguf_size_bytes(g));
    must(t->size_bytes <= hsdi_gguf_size_bytes(g) - t->offset);
    must((hsdi_gguf_tensor_get(g, t->name, &found, &err) == HSD_OK) == t->known);
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(g); i++) {
        const hsdi_gguf_tensor *o = hsdi_gguf_tensor_at(g, i);
        must(o == t || o->offset + o->size_bytes <= t->offset ||
             t->offset + t->size_bytes <= o->offset);
    }
    return sum_bytes(t->data, t->size_bytes);
}

static void use_tokenizer(const hsdi_gguf *g)
{
    static const char text[] = "hello  world\n<|im_end|> \xC3\xA9\xFF 123 aaaa's";
    hsdi_tokenizer *tok;
    hsd_error err;
    int32_t ids[256];
    int n;
    if (hsdi_tokenizer_create(g, &tok, &err) != HSD_OK) {
        must(tok == NULL && err.message[0] != 0);
        return;
    }
    must(hsdi_tokenizer_compare(tok, tok, NULL, NULL) == HSD_OK);
    (void)hsdi_tokenizer_hash(tok);
    must(hsdi_tokenizer_encode(tok, text, sizeof text, true, true, ids, 256, &n, &err) == HSD_OK);
    for (int i = 0; i < n; i++) {
        const char *piece;
        int n_piece;
        must(hsdi_tokenizer_piece(tok, ids[i], true, &piece, &n_piece) == HSD_OK);
        must(n_piece <= hsdi_tokenizer_max_piece(tok));
        (void)sum_bytes(piece, (size_t)n_piece);
    }
    hsdi_tokenizer_destroy(&tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hsdi_gguf *g;
    hsd_error err = {0};
    hsd_status s = hsdi_gguf_open_memory(data, size, &g, &err);
    if (s != HSD_OK) {
        must(!g && err.status == s && err.message[0] != 0 && err.where[0] != 0);
        must(err.byte_offset >= -1 && err.byte_offset <= (int64_t)size);
        return 0;
    }
    uint64_t sum = hsdi_gguf_fingerprint(g);
    for (int64_t i = 0; i < hsdi_gguf_n_kv(g); i++) {
        sum += read_kv(g, hsdi_gguf_kv_at(g, i));
    }
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(g); i++) {
        sum += read_tensor(g, hsdi_gguf_tensor_at(g, i));
    }
    volatile uint64_t kept = sum; // the reads must not be optimised away
    (void)kept;
    use_tokenizer(g);
    hsdi_gguf_close(&g);
    return 0;
}
