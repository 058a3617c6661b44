/// The sets that a build may contain. HSDI_X86 is defined by kernels/CMakeLists.txt.
#ifndef HSDI_KERNELS_SETS_H
#define HSDI_KERNELS_SETS_H

#include "kernels/kernels.h"

extern const hsdi_kernels hsdi_kernels_ref;
extern const hsdi_kernels hsdi_kernels_ref_bf16; ///< what avx512bf16 equals bit for bit
#ifdef HSDI_X86
extern const hsdi_kernels hsdi_kernels_avx2;
extern const hsdi_kernels hsdi_kernels_avx512;
extern const hsdi_kernels hsdi_kernels_avx512bf16;
#endif

#endif
