/// The table of the AVX-512 BF16 set: that of AVX-512, with products of its own for BF16 weights.
#include "kernels/cpu/avx512/lanes.h"

#include "kernels/cpu/avx512bf16/pairs.h"
#include "kernels/cpu/set.h"
#include "kernels/layout.h"
#include "kernels/sets.h"

const hsdi_kernels hsdi_kernels_avx512bf16 = {
    .isa = HSDI_ISA_AVX512BF16,
    .name = "avx512bf16",
    .pack_bytes = hsdi_pack_bytes,
    .pack = hsdi_pack_pairs,
    .act_bytes = hsdi_act_bytes_pairs,
    .act_prepare = hsdi_avx512bf16_act_prepare,
    .matmul = hsdi_avx512bf16_matmul,
    HSDI_SET_ROWS,
};
