/// The plain C kernels, by file; kernels/kernels.h says what each does.
#ifndef HSDI_KERNELS_REF_REF_H
#define HSDI_KERNELS_REF_REF_H

#include "kernels/kernels.h"

void hsdi_ref_act_prepare(const hsdi_acts *to, const float *x, int x_stride, int row, int n);

/// One row by one group: acc [16] starts at 0. x: part 0 of the row; the next follows x_step bytes
/// later.
typedef void hsdi_ref_dot(hsdi_type type, const uint8_t *x, size_t x_step, const uint8_t *w,
                          int n_in, float *acc);

/// Every row by groups [g_begin, g_end), with bias and residual. x_bytes: of a prepared row.
void hsdi_ref_product(const hsdi_matmul *m, size_t x_bytes, hsdi_ref_dot *dot, int g_begin,
                      int g_end);
void hsdi_ref_matmul(const hsdi_matmul *m, int g_begin, int g_end);
void hsdi_ref_act_prepare_pairs(const hsdi_acts *to, const float *x, int x_stride, int row, int n);
void hsdi_ref_matmul_pairs(const hsdi_matmul *m, int g_begin, int g_end);
void hsdi_ref_attn(const hsdi_attn *a, int row_begin, int row_end, int head_begin, int head_end,
                   void *scratch);
void hsdi_ref_rms_norm(const float *x, int x_stride, const float *w, float eps, int n_rows, int n,
                       float *y, int y_stride);
void hsdi_ref_layer_norm(const float *x, int x_stride, const float *w, const float *b, float eps,
                         int n_rows, int n, float *y, int y_stride);
void hsdi_ref_rope(const hsdi_rope *r, int row_begin, int row_end);
void hsdi_ref_silu_mul(const float *gate, int gate_stride, const float *up, int up_stride,
                       int n_rows, int n, float *y, int y_stride);
void hsdi_ref_gelu_tanh(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
void hsdi_ref_add(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
int hsdi_ref_argmax(const float *x, int n);
float hsdi_ref_log_sum_exp(const float *x, int n);

#endif
