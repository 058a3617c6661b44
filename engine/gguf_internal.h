/// Inside of an open GGUF file, shared by gguf.c (parsing), gguf_open.c and gguf_get.c (reading).
#ifndef HSDI_ENGINE_GGUF_INTERNAL_H
#define HSDI_ENGINE_GGUF_INTERNAL_H

#include "base/arena.h"
#include "engine/gguf.h"
#include "engine/tok_map.h"

struct hsdi_gguf {
    const uint8_t *data;
    uint64_t size;
    void *mapped; ///< NULL when the bytes are borrowed
    uint32_t version;
    uint64_t alignment;   ///< power of two
    uint64_t data_offset; ///< first byte of tensor data; may lie behind the end without tensors
    hsdi_gguf_kv *kv;     ///< [n_kv]
    int64_t n_kv;
    hsdi_gguf_tensor *tensors; ///< [n_tensors]
    int64_t n_tensors;
    hsdi_strmap key_index, tensor_index;
    hsdi_arena arena;
};

/// Check the bytes and fill the tables of *g. On failure the caller closes it.
HSD_NODISCARD hsd_status hsdi_gguf_parse(hsdi_gguf *g, hsd_error *err);

static inline uint32_t hsdi_le32(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t hsdi_le64(const uint8_t *p)
{
    return hsdi_le32(p) | (uint64_t)hsdi_le32(p + 4) << 32;
}

/// Bytes of a scalar; 0 for strings, arrays and unknown types.
static inline unsigned hsdi_gguf_scalar_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

#endif
