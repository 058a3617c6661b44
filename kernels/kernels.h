/// Arithmetic on rows: the table of CPU kernels, one set per instruction set.
///
/// `ref` is the definition: plain C, no intrinsics. Every other set does the same operations in the
/// same order on 16 lanes, so its results equal those of `ref` bit for bit (NaN: some NaN).
/// `avx512bf16` multiplies BF16 weights by rules of its own, written down as `ref-bf16`. All obey
/// one law, on which the whole engine rests:
///
///   Row-count invariance. What a kernel writes for one row depends on that row alone. The number
///   of rows in the call, their order and their contents do not change a bit of it. Nor does the
///   way a call is cut into parts (groups, heads, rows) for several threads.
///
/// Kernels never allocate, never fail, and trust their arguments; `devices/cpu` checks them.
/// Packed weights, prepared activations and scratch start at multiples of 64 bytes; rows of f32 may
/// lie anywhere. Packed weights in huge pages (MADV_HUGEPAGE) are read some 5 % faster.
/// Proof: tests/kernels.
#ifndef HSDI_KERNELS_H
#define HSDI_KERNELS_H

#include <hsd/cache.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Element types of model tensors. Values are those of the GGUF format.
typedef enum hsdi_type {
    HSDI_TYPE_F32 = 0,
    HSDI_TYPE_F16 = 1,
    HSDI_TYPE_Q4_0 = 2,
    HSDI_TYPE_Q8_0 = 8,
    HSDI_TYPE_Q4_K = 12,
    HSDI_TYPE_Q5_K = 13,
    HSDI_TYPE_Q6_K = 14,
    HSDI_TYPE_BF16 = 30,
} hsdi_type;

typedef struct hsdi_type_info {
    hsdi_type type;
    const char *name; ///< as in GGUF tools: "F32", "Q4_K"
    int block_elems;  ///< elements per block: 1, 32 or 256
    int block_bytes;  ///< bytes per block
} hsdi_type_info;

/// NULL for a type that this build does not know. Any integer may be passed.
const hsdi_type_info *hsdi_type_find(int64_t type);

/// Instruction sets, in ascending order.
typedef enum hsdi_isa {
    HSDI_ISA_REF = 0,
    HSDI_ISA_AVX2 = 1,       ///< AVX2, FMA, F16C
    HSDI_ISA_AVX512 = 2,     ///< AVX-512 F, BW, VL, DQ and VNNI
    HSDI_ISA_AVX512BF16 = 3, ///< the same and AVX-512 BF16: other bits, so only on request
    HSDI_N_ISA = 4,
} hsdi_isa;

enum { HSDI_GROUP = 16 }; ///< output channels per packed group

/// Product of rows with a packed matrix: y = x W^T (+ bias) (+ y).
///
/// Shapes: x [n_rows, n_in] as prepared by act_prepare; w packed [n_out, n_in];
///         bias [n_out] or NULL; y [n_rows, y_stride].
typedef struct hsdi_matmul {
    hsdi_type type;
    int n_rows, n_in, n_out;
    const void *x;     ///< prepared activations of these n_rows rows
    const void *w;     ///< packed weights
    const float *bias; ///< NULL: none
    float *y;
    int y_stride;    ///< floats from one row of y to the next
    bool accumulate; ///< add to y (a residual stream) instead of overwriting it
} hsdi_matmul;

/// Prepared activations: a batch of rows for products with weights of one type. Rows lie between
/// each other (kernels/layout.h), so how many there are must be known when the first is written.
typedef struct hsdi_acts {
    hsdi_type type;
    int n_rows, n_in;
    void *data; ///< n_rows times act_bytes()
} hsdi_acts;

/// Rows attend to a shared trunk of cells and each to its own path of cells behind it.
///
/// A cell holds the key and the value of one position: k and v are [n_cells, n_kv heads] of
/// hsdi_cache_head_bytes() each; they may be the same cells. Row r sees positions 0 .. n_trunk-1
/// through trunk[p], then path[r * path_stride + i] for i = 0 .. n_path[r]-1, which already
/// contains the row's own cell as its last entry. The reduction runs over positions in fixed blocks
/// counted from position 0, so the result does not depend on where the trunk ends.
typedef struct hsdi_attn {
    int n_head, n_kv, d_head;
    float scale;    ///< usually 1/sqrt(d_head)
    const float *q; ///< [n_rows, q_stride], heads side by side
    int q_stride;
    hsd_cache_type type; ///< of the cells. Their elements are made f32, exactly; the rest is as f32
    const void *k, *v;
    const int32_t *trunk; ///< [n_trunk] cell of each trunk position
    int n_trunk;
    const int32_t *path;   ///< [n_rows, path_stride]
    const int32_t *n_path; ///< [n_rows], each at least 1
    int path_stride;
    float *out; ///< [n_rows, out_stride]
    int out_stride;
} hsdi_attn;

/// Bytes of a head of d_head elements in a cell: f32 as they are, f16 rounded up to 16 elements;
/// q8_0 as many bytes, rounded up to 16, then the scales of its blocks of 32.
size_t hsdi_cache_head_bytes(hsd_cache_type type, int d_head);

/// Put n_heads heads of d_head elements into a cell, rounded to its type.
void hsdi_cache_store(hsd_cache_type type, const float *x, int n_heads, int d_head, void *cell);

/// Rotate pairs of q or k in place.
///
/// Shapes: x [n_rows, x_stride], n_head heads of d_head; cos_sin [n_rows, n_rot] holds cos then
/// sin of each of the n_rot/2 angles: cos at [i], sin at [n_rot/2 + i] (scaling already applied).
typedef struct hsdi_rope {
    float *x;
    int x_stride, n_head, d_head;
    int n_rot; ///< rotated elements per head, even, <= d_head
    bool neox; ///< pairs (i, i + n_rot/2); else pairs (2i, 2i+1)
    const float *cos_sin;
} hsdi_rope;

/// One set of kernels. Static, immutable, shared by all threads.
typedef struct hsdi_kernels {
    hsdi_isa isa;
    const char *name; ///< "ref", "ref-bf16", "avx2", "avx512", "avx512bf16"

    /// Bytes of a packed [n_out, n_in] matrix; n_out is rounded up to a whole group inside.
    size_t (*pack_bytes)(hsdi_type type, int n_out, int n_in);
    /// Pack rows [16*g_begin, min(n_out, 16*g_end)) of a matrix. src: all n_out rows, GGUF layout.
    void (*pack)(hsdi_type type, int n_out, int n_in, const void *src, void *dst, int g_begin,
                 int g_end);
    /// Bytes per prepared activation row (a multiple of 64).
    size_t (*act_bytes)(hsdi_type type, int n_in);
    /// Prepare rows [row, row + n) of a batch (copy or quantise). x [n, x_stride]. Threads may
    /// prepare different rows of a batch at the same time.
    void (*act_prepare)(const hsdi_acts *to, const float *x, int x_stride, int row, int n);
    /// Output groups [g_begin, g_end) of a product, all rows.
    void (*matmul)(const hsdi_matmul *m, int g_begin, int g_end);

    /// Attention for rows [row_begin, row_end) and query heads [head_begin, head_end). Cells of the
    /// trunk are read once for 64 rows, and once for all query heads of a kv head. `scratch` has
    /// attn_scratch_bytes(), private to the calling thread.
    void (*attn)(const hsdi_attn *a, int row_begin, int row_end, int head_begin, int head_end,
                 void *scratch);
    size_t (*attn_scratch_bytes)(int n_head, int d_head, int n_rows_max);

    /// y[i] = x[i] / rms(x) * w[i]. Rows of n, strides in floats; y may be x.
    void (*rms_norm)(const float *x, int x_stride, const float *w, float eps, int n_rows, int n,
                     float *y, int y_stride);
    /// y[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i]; b may be NULL.
    void (*layer_norm)(const float *x, int x_stride, const float *w, const float *b, float eps,
                       int n_rows, int n, float *y, int y_stride);
    void (*rope)(const hsdi_rope *r, int row_begin, int row_end);
    /// y[i] = silu(gate[i]) * up[i]
    void (*silu_mul)(const float *gate, int gate_stride, const float *up, int up_stride, int n_rows,
                     int n, float *y, int y_stride);
    /// y[i] = gelu(x[i]), tanh approximation (GPT-2's); y may be x.
    void (*gelu_tanh)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
    /// y[i] += x[i]
    void (*add)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride);
    /// Index of the largest of x [n]; the lowest index among equals; NaN counts as -inf.
    int (*argmax)(const float *x, int n);
    /// max + log(sum of exp(x[i] - max)); the order of the sum depends on n alone.
    float (*log_sum_exp)(const float *x, int n);
} hsdi_kernels;

/// Highest set that this processor and operating system can run (CPUID and XCR0).
hsdi_isa hsdi_isa_supported(void);

/// The set to use: the highest supported one whose bits are those of `ref`. The environment
/// variable HSD_ISA (ref, avx2, avx512, avx512bf16) names another, if this processor can run it.
hsdi_isa hsdi_isa_detect(void);

/// The set for `isa`, or the nearest lower one that was built.
const hsdi_kernels *hsdi_kernels_get(hsdi_isa isa);

/// The plain C set that `isa` equals bit for bit: `ref-bf16` for AVX512BF16, `ref` for all others.
const hsdi_kernels *hsdi_kernels_definition(hsdi_isa isa);

/// Turn one row of n elements (a multiple of the block) into f32. Exact: each block's definition.
void hsdi_dequant_row(hsdi_type type, const void *src, int64_t n, float *dst);

float hsdi_f16_to_f32(uint16_t h);
uint16_t hsdi_f32_to_f16(float f);

#endif
