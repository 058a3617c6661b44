/// Activations made ready for a product: copied, or quantised per 32 to 8 bits.
#include "kernels/half.h"
#include "kernels/layout.h"
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

/// Round to nearest, ties to even, for |x| < 2^22, as the shift of exp does.
static int round_even(float x)
{
    float shifted = x + HSDI_EXP_SHIFT;
    return (int)(shifted - HSDI_EXP_SHIFT);
}

/// One block: q = round(x * 127 / max |x|), d = max |x| / 127 as an f16 would hold it. A NaN or
/// infinity makes d non-finite, so it reaches the output; a block below 1e-30 counts as zero.
static float quantise_block(const float *x, int8_t *q)
{
    uint32_t largest = 0; // as integers the bits of |x| order like |x|, and NaN is above infinity
    for (int i = 0; i < 32; i++) {
        uint32_t bits = hsdi_bits_of_float(x[i]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float amax = hsdi_float_of_bits(largest);
    bool zero = amax <= 1e-30f;
    float inverse = zero ? 0.0f : 127.0f / amax;
    for (int i = 0; i < 32; i++) {
        float scaled = x[i] * inverse;
        scaled = scaled < 127.0f ? scaled : 127.0f; // NaN becomes 127
        scaled = scaled > -127.0f ? scaled : -127.0f;
        q[i] = (int8_t)round_even(scaled);
    }
    return zero ? 0.0f : hsdi_round_scale(amax / 127.0f);
}

static int sum_of(const int8_t *q, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++) {
        sum += q[i];
    }
    return sum;
}

static void quantise_row(hsdi_type type, const float *x, int n_in, uint8_t *dst)
{
    int8_t *q = (int8_t *)dst;
    float *d = (float *)(void *)(dst + hsdi_act_d_offset(n_in));
    uint8_t *sums = dst + hsdi_act_sum_offset(n_in);
    int32_t *isums = (int32_t *)(void *)sums;
    float *fsums = (float *)(void *)sums;
    int offset = hsdi_type_offset(type);
    for (int b = 0; b < n_in / 32; b++) {
        d[b] = quantise_block(x + 32 * b, q + 32 * b);
        if (type == HSDI_TYPE_Q6_K) {
            isums[2 * b] = -offset * sum_of(q + 32 * b, 16);
            isums[2 * b + 1] = -offset * sum_of(q + 32 * b + 16, 16);
        } else if (offset != 0) {
            isums[b] = -offset * sum_of(q + 32 * b, 32);
        } else {
            fsums[b] = d[b] * (float)sum_of(q + 32 * b, 32);
        }
    }
}

void hsdi_ref_act_prepare(hsdi_type type, const float *x, int x_stride, int n_rows, int n_in,
                          void *dst)
{
    size_t row_bytes = hsdi_act_bytes(type, n_in);
    for (int r = 0; r < n_rows; r++) {
        uint8_t *to = (uint8_t *)dst + (size_t)r * row_bytes;
        const float *from = x + (ptrdiff_t)r * x_stride;
        if (hsdi_type_is_quantised(type)) {
            quantise_row(type, from, n_in, to);
        } else {
            size_t used = (size_t)n_in * sizeof *x;
            memcpy(to, from, used);
            memset(to + used, 0, row_bytes - used);
        }
    }
}
