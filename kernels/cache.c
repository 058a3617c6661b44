/// Heads of cached keys and values in memory.
#include "kernels/half.h"
#include "kernels/types.h"

#include <string.h>

enum { Q_BLOCK = 32 };

static size_t padded(int d_head)
{
    return ((size_t)d_head + 15) & ~(size_t)15;
}

size_t hsdi_cache_head_bytes(hsd_cache_type type, int d_head)
{
    switch (type) {
    case HSD_CACHE_F16:
        return padded(d_head) * 2;
    case HSD_CACHE_Q8_0:
        return padded(d_head) + (size_t)(d_head + Q_BLOCK - 1) / Q_BLOCK * 2;
    default:
        return (size_t)d_head * sizeof(float);
    }
}

static void store_f16(const float *x, int n, char *to)
{
    memset(to, 0, padded(n) * 2);
    for (int i = 0; i < n; i++) {
        uint16_t h = hsdi_f32_to_f16(x[i]);
        memcpy(to + 2 * i, &h, sizeof h);
    }
}

/// Bytes q = round(x * 127 / max |x|), scale max |x| / 127 in f16. A NaN or infinity makes the
/// scale non-finite, so it reaches every score; a block below 1e-30 counts as zero.
static void store_block(const float *x, int n, int8_t *q, char *scale)
{
    uint32_t largest = 0; // as integers the bits of |x| order like |x|, and NaN is above infinity
    for (int i = 0; i < n; i++) {
        uint32_t bits = hsdi_bits_of_float(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float amax = hsdi_float_of_bits(largest);
    float inverse = amax <= 1e-30f ? 0.0f : 127.0f / amax;
    for (int i = 0; i < n; i++) {
        float scaled = x[i] * inverse;
        scaled = scaled < 127.0f ? scaled : 127.0f; // NaN becomes 127
        scaled = scaled > -127.0f ? scaled : -127.0f;
        float shifted = scaled + 0x1.8p23f; // to nearest, ties to even
        q[i] = (int8_t)(shifted - 0x1.8p23f);
    }
    uint16_t h = hsdi_f32_to_f16(amax <= 1e-30f ? 0.0f : amax / 127.0f);
    memcpy(scale, &h, sizeof h);
}

static void store_q8_0(const float *x, int n, char *to)
{
    size_t n_pad = padded(n);
    memset(to, 0, n_pad);
    for (int i = 0; i < n; i += Q_BLOCK) {
        int here = n - i < Q_BLOCK ? n - i : Q_BLOCK;
        store_block(x + i, here, (int8_t *)to + i, to + n_pad + i / Q_BLOCK * 2);
    }
}

void hsdi_cache_store(hsd_cache_type type, const float *x, int n_heads, int d_head, void *cell)
{
    size_t head_bytes = hsdi_cache_head_bytes(type, d_head);
    char *to = cell;
    if (type == HSD_CACHE_F32) {
        memcpy(to, x, (size_t)n_heads * head_bytes);
        return;
    }
    for (int i = 0; i < n_heads; i++, x += d_head, to += head_bytes) {
        if (type == HSD_CACHE_F16) {
            store_f16(x, d_head, to);
        } else {
            store_q8_0(x, d_head, to);
        }
    }
}
