/// Activations made ready for a product: copied, or quantised per 32 to 8 bits.
#include "kernels/half.h"
#include "kernels/layout.h"
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

#include <stdbool.h>

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

/// Sub-block b of a row, as kernels/layout.h has it.
static void quantise_sub(hsdi_type type, const float *x, uint8_t *part)
{
    int8_t *q = (int8_t *)part;
    int offset = hsdi_type_offset(type);
    memset(part, 0, HSDI_ACT_SUB);
    float d = quantise_block(x, q);
    memcpy(part + HSDI_ACT_D, &d, sizeof d);
    if (offset == 0) {
        float sum = d * (float)sum_of(q, 32);
        memcpy(part + HSDI_ACT_SUM, &sum, sizeof sum);
        return;
    }
    int32_t sums[2] = {-offset * sum_of(q, 16), -offset * sum_of(q + 16, 16)};
    if (type != HSDI_TYPE_Q6_K) {
        sums[0] += sums[1];
        sums[1] = 0;
    }
    memcpy(part + HSDI_ACT_SUM, sums, sizeof sums);
}

void hsdi_ref_act_prepare(const hsdi_acts *to, const float *x, int x_stride, int row, int n)
{
    size_t row_bytes = hsdi_act_bytes(to->type, to->n_in), part_bytes = hsdi_act_part(to->type);
    bool quantised = hsdi_type_is_quantised(to->type);
    int step = quantised ? 32 : 16;
    for (int r = row; r < row + n; r++, x += x_stride) {
        uint8_t *part = (uint8_t *)to->data + hsdi_act_offset(to->type, row_bytes, r);
        size_t stride = (size_t)hsdi_panel_rows(r, to->n_rows) * part_bytes;
        for (int k = 0; k < to->n_in; k += step, part += stride) {
            if (quantised) {
                quantise_sub(to->type, x + k, part);
                continue;
            }
            int n_here = to->n_in - k < step ? to->n_in - k : step;
            memset(part, 0, part_bytes);
            memcpy(part, x + k, (size_t)n_here * sizeof *x);
        }
    }
}
