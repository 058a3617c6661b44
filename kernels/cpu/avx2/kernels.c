/// The table of the AVX2 set.
#include "kernels/cpu/avx2/lanes.h"

#include "kernels/cpu/set.h"
#include "kernels/layout.h"
#include "kernels/sets.h"

const hsdi_kernels hsdi_kernels_avx2 = {
    .isa = HSDI_ISA_AVX2,
    .name = "avx2",
    HSDI_SET_PRODUCTS,
    HSDI_SET_ROWS,
};
