/// BF16 weights by BF16 activations, two inputs at a time: the definition of the set avx512bf16.
///
/// One step is VDPBF16PS as Intel's manual (volume 2) defines it: acc = fma(x[k+1], w[k+1], acc),
/// then acc = fma(x[k], w[k], acc), each with one rounding to nearest even, subnormal inputs and
/// results taken as zero. Behind an odd end stand zeros. Other types are those of ref.
#include "kernels/layout.h"
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

/// To nearest even, as VCVTNEPS2BF16: subnormals become zero, a NaN becomes quiet.
static uint16_t round_to_bf16(float f)
{
    uint32_t bits = hsdi_bits_of_float(flushed(f));
    if (f != f) {
        return (uint16_t)(bits >> 16 | 0x40u);
    }
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

void hsdi_ref_act_prepare_pairs(const hsdi_acts *to, const float *x, int x_stride, int row, int n)
{
    if (to->type != HSDI_TYPE_BF16) {
        hsdi_ref_act_prepare(to, x, x_stride, row, n);
        return;
    }
    size_t row_bytes = hsdi_act_bytes_pairs(to->type, to->n_in);
    for (int r = row; r < row + n; r++, x += x_stride) {
        uint8_t *part = (uint8_t *)to->data + hsdi_act_offset(to->type, row_bytes, r);
        size_t stride = (size_t)hsdi_panel_rows(r, to->n_rows) * hsdi_act_part(to->type);
        for (int k = 0; k < to->n_in; k += 32, part += stride) {
            uint16_t halves[32] = {0};
            for (int i = 0; i < 32 && k + i < to->n_in; i++) {
                halves[i] = round_to_bf16(x[k + i]);
            }
            memcpy(part, halves, sizeof halves);
        }
    }
}

static void dot_pairs(hsdi_type type, const uint8_t *x, size_t x_step, const uint8_t *w, int n_in,
                      float *acc)
{
    (void)type;
    for (int k = 0; k < n_in; k += 2, w += 4 * N_LANES) {
        const uint8_t *pair = x + (size_t)(k / 32) * x_step + 2 * (k % 32);
        for (int half = 1; half >= 0; half--) {
            float input = hsdi_bfloat_to_float(hsdi_load_u16(pair + 2 * half));
            for (int l = 0; l < N_LANES; l++) {
                float weight = hsdi_bfloat_to_float(hsdi_load_u16(w + 4 * l + 2 * half));
                acc[l] = fma_flushed(input, weight, acc[l]);
            }
        }
    }
}

void hsdi_ref_matmul_pairs(const hsdi_matmul *m, int g_begin, int g_end)
{
    if (m->type == HSDI_TYPE_BF16) {
        hsdi_ref_product(m, hsdi_act_bytes_pairs(m->type, m->n_in), dot_pairs, g_begin, g_end);
    } else {
        hsdi_ref_matmul(m, g_begin, g_end);
    }
}
