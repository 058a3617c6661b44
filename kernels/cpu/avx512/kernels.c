/// The table of the AVX-512 set.
#include "kernels/cpu/avx512/lanes.h"

#include "kernels/cpu/set.h"
#include "kernels/layout.h"
#include "kernels/sets.h"

const hsdi_kernels hsdi_kernels_avx512 = {
    .isa = HSDI_ISA_AVX512,
    .name = "avx512",
    HSDI_SET_PRODUCTS,
    HSDI_SET_ROWS,
};
