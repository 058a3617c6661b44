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

void hsdi_ref_act_prepare_pairs(hsdi_type type, const float *x, int x_stride, int n_rows, int n_in,
                                void *dst)
{
    if (type != HSDI_TYPE_BF16) {
        hsdi_ref_act_prepare(type, x, x_stride, n_rows, n_in, dst);
        return;
    }
    size_t row_bytes = hsdi_act_bytes_pairs(type, n_in);
    memset(dst, 0, row_bytes * (size_t)n_rows);
    for (int r = 0; r < n_rows; r++) {
        uint8_t *to = (uint8_t *)dst + (size_t)r * row_bytes;
        for (int k = 0; k < n_in; k++) {
            uint16_t h = round_to_bf16(x[(ptrdiff_t)r * x_stride + k]);
            memcpy(to + 2 * (size_t)k, &h, sizeof h);
        }
    }
}

static void dot_pairs(hsdi_type type, const uint8_t *x, const uint8_t *w, int n_in, float *acc)
{
    (void)type;
    for (int k = 0; k < n_in; k += 2, x += 4, w += 4 * N_LANES) {
        for (int half = 1; half >= 0; half--) {
            float input = hsdi_bfloat_to_float(hsdi_load_u16(x + 2 * half));
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
