/// Writes GGUF files into memory, right or wrong, for tests and fuzzers. Aborts without memory.
#ifndef HSD_TESTS_GGUF_WRITER_H
#define HSD_TESTS_GGUF_WRITER_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"

/// Zero-initialise; free(w->data) at the end.
typedef struct gguf_writer {
    uint8_t *data;
    size_t n, cap;
} gguf_writer;

static inline void gw_bytes(gguf_writer *w, const void *bytes, size_t n)
{
    if (w->n + n > w->cap) {
        w->cap = (w->n + n) * 2;
        w->data = realloc(w->data, w->cap);
        if (!w->data) {
            abort();
        }
    }
    if (n > 0) {
        memcpy(w->data + w->n, bytes, n);
    }
    w->n += n;
}

static inline void gw_u8(gguf_writer *w, uint8_t v)
{
    gw_bytes(w, &v, 1);
}

static inline void gw_u16(gguf_writer *w, uint16_t v)
{
    gw_u8(w, (uint8_t)v);
    gw_u8(w, (uint8_t)(v >> 8));
}

static inline void gw_u32(gguf_writer *w, uint32_t v)
{
    gw_u16(w, (uint16_t)v);
    gw_u16(w, (uint16_t)(v >> 16));
}

static inline void gw_u64(gguf_writer *w, uint64_t v)
{
    gw_u32(w, (uint32_t)v);
    gw_u32(w, (uint32_t)(v >> 32));
}

static inline void gw_f32(gguf_writer *w, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    gw_u32(w, bits);
}

static inline void gw_strn(gguf_writer *w, const char *text, size_t n)
{
    gw_u64(w, n);
    gw_bytes(w, text, n);
}

static inline void gw_str(gguf_writer *w, const char *text)
{
    gw_strn(w, text, strlen(text));
}

static inline void gw_header(gguf_writer *w, uint64_t n_tensors, uint64_t n_kv)
{
    gw_bytes(w, "GGUF", 4);
    gw_u32(w, 3);
    gw_u64(w, n_tensors);
    gw_u64(w, n_kv);
}

static inline void gw_key(gguf_writer *w, const char *key, hsdi_gguf_type type)
{
    gw_str(w, key);
    gw_u32(w, (uint32_t)type);
}

static inline void gw_key_array(gguf_writer *w, const char *key, hsdi_gguf_type type, uint64_t n)
{
    gw_key(w, key, HSDI_GGUF_ARRAY);
    gw_u32(w, (uint32_t)type);
    gw_u64(w, n);
}

static inline void gw_kv_u32(gguf_writer *w, const char *key, uint32_t v)
{
    gw_key(w, key, HSDI_GGUF_U32);
    gw_u32(w, v);
}

static inline void gw_kv_bool(gguf_writer *w, const char *key, int v)
{
    gw_key(w, key, HSDI_GGUF_BOOL);
    gw_u8(w, (uint8_t)v);
}

static inline void gw_kv_str(gguf_writer *w, const char *key, const char *v)
{
    gw_key(w, key, HSDI_GGUF_STRING);
    gw_str(w, v);
}

static inline void gw_tensor(gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                             uint32_t type, uint64_t offset)
{
    gw_str(w, name);
    gw_u32(w, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) {
        gw_u64(w, ne[d]);
    }
    gw_u32(w, type);
    gw_u64(w, offset);
}

static inline void gw_align(gguf_writer *w, size_t alignment)
{
    while (w->n % alignment != 0) {
        gw_u8(w, 0);
    }
}

static inline void gw_zeros(gguf_writer *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        gw_u8(w, 0);
    }
}

#endif
