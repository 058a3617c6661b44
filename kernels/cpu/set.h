/// What the files of one vector set declare to each other. A set's lanes.h comes first.
#ifndef HSDI_KERNELS_CPU_SET_H
#define HSDI_KERNELS_CPU_SET_H

#include "kernels/kernels.h"

/// For a template function: its constant arguments must reach the loops over the registers of a
/// tile, and these must be unrolled. Not under sanitizers: checks in thousands of copies would
/// take minutes to compile.
#ifdef HSDI_NO_UNROLL
#define HSDI_TEMPLATE static inline
#define HSDI_UNROLL
#define HSDI_ROLLED
#else
#define HSDI_TEMPLATE static inline __attribute__((always_inline))
#ifdef __clang__
#define HSDI_UNROLL _Pragma("clang loop unroll(full)")
#define HSDI_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define HSDI_UNROLL _Pragma("GCC unroll 32")
#define HSDI_ROLLED _Pragma("GCC unroll 1")
#endif
#endif

/// Loads stay behind this, and v is what it is: else GCC 12 loads all inputs of an unrolled loop
/// first, adds in another order, and spills for want of registers.
#define HSDI_IN_ORDER(v) __asm__ volatile("" : "+x"(v) : : "memory")

void HSDI_SET(act_prepare)(const hsdi_acts *to, const float *x, int x_stride, int row, int n);
void HSDI_SET(matmul)(const hsdi_matmul *m, int g_begin, int g_end);
void HSDI_SET(matmul_plain)(const hsdi_matmul *m, int g_begin, int g_end);
void HSDI_SET(attn)(const hsdi_attn *a, int row_begin, int row_end, int head_begin, int head_end,
                    void *scratch);
void HSDI_SET(rms_norm)(const float *x, int x_stride, const float *w, float eps, int n_rows, int n,
                        float *y, int y_stride);
void HSDI_SET(layer_norm)(const float *x, int x_stride, const float *w, const float *b, float eps,
                          int n_rows, int n, float *y, int y_stride);
void HSDI_SET(rope)(const hsdi_rope *rope, int row_begin, int row_end);
void HSDI_SET(silu_mul)(const float *gate, int gate_stride, const float *up, int up_stride,
                        int n_rows, int n, float *y, int y_stride);
void HSDI_SET(gelu_tanh)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
void HSDI_SET(add)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
int HSDI_SET(argmax)(const float *x, int n);
float HSDI_SET(log_sum_exp)(const float *x, int n);

/// The members of the table that follow from the set's name: products, and all others.
#define HSDI_SET_PRODUCTS                                                                          \
    .pack_bytes = hsdi_pack_bytes, .pack = hsdi_pack, .act_bytes = hsdi_act_bytes,                 \
    .act_prepare = HSDI_SET(act_prepare), .matmul = HSDI_SET(matmul)
#define HSDI_SET_ROWS                                                                              \
    .attn = HSDI_SET(attn), .attn_scratch_bytes = hsdi_attn_scratch_bytes,                         \
    .rms_norm = HSDI_SET(rms_norm), .layer_norm = HSDI_SET(layer_norm), .rope = HSDI_SET(rope),    \
    .silu_mul = HSDI_SET(silu_mul), .gelu_tanh = HSDI_SET(gelu_tanh), .add = HSDI_SET(add),        \
    .argmax = HSDI_SET(argmax), .log_sum_exp = HSDI_SET(log_sum_exp)

#endif
