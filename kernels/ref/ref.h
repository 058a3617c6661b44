/// The plain C kernels, by file; kernels/kernels.h says what each does.
#ifndef HSDI_KERNELS_REF_REF_H
#define HSDI_KERNELS_REF_REF_H

#include "kernels/kernels.h"

void hsdi_ref_act_prepare(hsdi_type type, const float *x, int x_stride, int n_rows, int n_in,
                          void *dst);
void hsdi_ref_matmul(const hsdi_matmul *m, int g_begin, int g_end);
void hsdi_ref_attn(const hsdi_attn *a, int row_begin, int row_end, int kv_begin, int kv_end,
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
