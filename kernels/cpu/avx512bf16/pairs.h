/// What differs from the AVX-512 set: products with BF16 weights. lanes.h comes first.
#ifndef HSDI_KERNELS_AVX512BF16_PAIRS_H
#define HSDI_KERNELS_AVX512BF16_PAIRS_H

#include "kernels/kernels.h"

void hsdi_avx512bf16_act_prepare(const hsdi_acts *to, const float *x, int x_stride, int row, int n);
void hsdi_avx512bf16_matmul(const hsdi_matmul *m, int g_begin, int g_end);

#endif
