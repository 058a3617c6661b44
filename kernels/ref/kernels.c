/// The tables of the plain C sets.
#include "kernels/layout.h"
#include "kernels/ref/ref.h"
#include "kernels/sets.h"

/// What both tables have in common: all but the product.
#define ROWS                                                                                       \
    .attn = hsdi_ref_attn, .attn_scratch_bytes = hsdi_attn_scratch_bytes,                          \
    .rms_norm = hsdi_ref_rms_norm, .layer_norm = hsdi_ref_layer_norm, .rope = hsdi_ref_rope,       \
    .silu_mul = hsdi_ref_silu_mul, .gelu_tanh = hsdi_ref_gelu_tanh, .add = hsdi_ref_add,           \
    .argmax = hsdi_ref_argmax, .log_sum_exp = hsdi_ref_log_sum_exp

const hsdi_kernels hsdi_kernels_ref = {
    .isa = HSDI_ISA_REF,
    .name = "ref",
    .pack_bytes = hsdi_pack_bytes,
    .pack = hsdi_pack,
    .act_bytes = hsdi_act_bytes,
    .act_prepare = hsdi_ref_act_prepare,
    .matmul = hsdi_ref_matmul,
    ROWS,
};

const hsdi_kernels hsdi_kernels_ref_bf16 = {
    .isa = HSDI_ISA_REF,
    .name = "ref-bf16",
    .pack_bytes = hsdi_pack_bytes,
    .pack = hsdi_pack_pairs,
    .act_bytes = hsdi_act_bytes_pairs,
    .act_prepare = hsdi_ref_act_prepare_pairs,
    .matmul = hsdi_ref_matmul_pairs,
    ROWS,
};
