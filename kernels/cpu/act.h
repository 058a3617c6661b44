/// Activations made ready for a product, for a set whose lanes.h comes first.
///
/// Included once per vector set; the arithmetic is that of ref/act.c.
#include <stdbool.h>
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

/// One sub-block, as kernels/layout.h has it.
static inline void quantise_sub(hsdi_type type, int offset, const float *x, uint8_t *part)
{
    int32_t sums[2];
    float behind[4] = {0}; // d, then the sums
    behind[0] = quantise_block(x, (int8_t *)part, sums);
    if (offset == 0) {
        behind[1] = behind[0] * (float)(sums[0] + sums[1]);
    } else if (type == HSDI_TYPE_Q6_K) {
        behind[1] = hsdi_float_of_bits((uint32_t)(-offset * sums[0]));
        behind[2] = hsdi_float_of_bits((uint32_t)(-offset * sums[1]));
    } else {
        behind[1] = hsdi_float_of_bits((uint32_t)(-offset * (sums[0] + sums[1])));
    }
    memcpy(part + HSDI_ACT_D, behind, sizeof behind);
}

void HSDI_SET(act_prepare)(const hsdi_acts *to, const float *x, int x_stride, int row, int n)
{
    size_t row_bytes = hsdi_act_bytes(to->type, to->n_in), part_bytes = hsdi_act_part(to->type);
    bool quantised = hsdi_type_is_quantised(to->type);
    int offset = hsdi_type_offset(to->type);
    for (int r = row; r < row + n; r++, x += x_stride) {
        uint8_t *part = (uint8_t *)to->data + hsdi_act_offset(to->type, row_bytes, r);
        size_t step = (size_t)hsdi_panel_rows(r, to->n_rows) * part_bytes;
        for (int k = 0; quantised && k < to->n_in; k += 32, part += step) {
            quantise_sub(to->type, offset, x + k, part);
        }
        for (int k = 0; !quantised && k < to->n_in; k += 16, part += step) {
            int lanes = to->n_in - k < 16 ? to->n_in - k : 16;
            v_store((float *)(void *)part, v_load_n(x + k, lanes));
        }
    }
}
