/// Activations made ready for a product, for a set whose lanes.h comes first.
///
/// Included once per vector set; the arithmetic is that of ref/act.c.
#include <string.h>

#include "kernels/cpu/set.h"
#include "kernels/half.h"
#include "kernels/layout.h"

/// One block of 32; sums [2] of its halves. Returns d.
static inline float quantise_block(const float *x, int8_t *q, int32_t sums[2])
{
    v16 a = v_load(x), b = v_load(x + 16);
    float amax = hsdi_float_of_bits(v_top_bits(a, b));
    bool zero = amax <= 1e-30f;
    v16 inverse = v_set1(zero ? 0.0f : 127.0f / amax);
    sums[0] = v_store_i8(q, v_mul(a, inverse));
    sums[1] = v_store_i8(q + 16, v_mul(b, inverse));
    return zero ? 0.0f : hsdi_round_scale(amax / 127.0f);
}

static void quantise_row(hsdi_type type, const float *x, int n_in, uint8_t *dst)
{
    int8_t *q = (int8_t *)dst;
    float *d = (float *)(void *)(dst + hsdi_act_d_offset(n_in));
    uint8_t *behind = dst + hsdi_act_sum_offset(n_in);
    int32_t *isums = (int32_t *)(void *)behind;
    float *fsums = (float *)(void *)behind;
    int offset = hsdi_type_offset(type);
    for (int b = 0; b < n_in / 32; b++) {
        int32_t sums[2];
        d[b] = quantise_block(x + 32 * b, q + 32 * b, sums);
        if (type == HSDI_TYPE_Q6_K) {
            isums[2 * b] = -offset * sums[0];
            isums[2 * b + 1] = -offset * sums[1];
        } else if (offset != 0) {
            isums[b] = -offset * (sums[0] + sums[1]);
        } else {
            fsums[b] = d[b] * (float)(sums[0] + sums[1]);
        }
    }
}

void HSDI_SET(act_prepare)(hsdi_type type, const float *x, int x_stride, int n_rows, int n_in,
                           void *dst)
{
    size_t row_bytes = hsdi_act_bytes(type, n_in), used = (size_t)n_in * sizeof *x;
    for (int r = 0; r < n_rows; r++) {
        uint8_t *to = (uint8_t *)dst + (size_t)r * row_bytes;
        const float *from = x + (ptrdiff_t)r * x_stride;
        if (hsdi_type_is_quantised(type)) {
            quantise_row(type, from, n_in, to);
        } else {
            memcpy(to, from, used);
            memset(to + used, 0, row_bytes - used);
        }
    }
}
