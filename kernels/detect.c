/// Which set of kernels this processor and this operating system can run.
#include <stdlib.h>
#include <string.h>

#include "kernels/sets.h"

static const hsdi_kernels *const sets[HSDI_N_ISA] = {
    [HSDI_ISA_REF] = &hsdi_kernels_ref,
#ifdef HSDI_X86
    [HSDI_ISA_AVX2] = &hsdi_kernels_avx2,
    [HSDI_ISA_AVX512] = &hsdi_kernels_avx512,
    [HSDI_ISA_AVX512BF16] = &hsdi_kernels_avx512bf16,
#endif
};

static const char *const names[HSDI_N_ISA] = {"ref", "avx2", "avx512", "avx512bf16"};

#ifdef HSDI_X86
#include <cpuid.h>

/// The register states that the operating system saves; needs no compiler flag, unlike _xgetbv.
static uint64_t os_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool has(unsigned reg, unsigned bits)
{
    return (reg & bits) == bits;
}

hsdi_isa hsdi_isa_supported(void)
{
    unsigned a, b, c, d;
    const unsigned ymm = 0x6, zmm = 0xe6; // XCR0: xmm, ymm; and opmask, zmm, upper zmm
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C)) {
        return HSDI_ISA_REF;
    }
    uint64_t states = os_states();
    if ((states & ymm) != ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2)) {
        return HSDI_ISA_REF;
    }
    const unsigned f512 = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    const unsigned vnni = 1u << 11; // leaf 7, ecx
    if ((states & zmm) != zmm || !has(b, f512) || !has(c, vnni)) {
        return HSDI_ISA_AVX2;
    }
    const unsigned bf16 = 1u << 5; // leaf 7, subleaf 1, eax
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has(a, bf16)) {
        return HSDI_ISA_AVX512;
    }
    return HSDI_ISA_AVX512BF16;
}
#else
hsdi_isa hsdi_isa_supported(void)
{
    return HSDI_ISA_REF;
}
#endif

hsdi_isa hsdi_isa_detect(void)
{
    hsdi_isa top = hsdi_isa_supported(), isa = top < HSDI_ISA_AVX512 ? top : HSDI_ISA_AVX512;
    const char *wanted = getenv("HSD_ISA");
    for (int i = 0; wanted && i <= (int)top; i++) {
        if (strcmp(wanted, names[i]) == 0) {
            isa = (hsdi_isa)i;
        }
    }
    return isa;
}

const hsdi_kernels *hsdi_kernels_definition(hsdi_isa isa)
{
    return isa == HSDI_ISA_AVX512BF16 ? &hsdi_kernels_ref_bf16 : &hsdi_kernels_ref;
}

const hsdi_kernels *hsdi_kernels_get(hsdi_isa isa)
{
    int i = (int)isa;
    while (i > 0 && (i >= HSDI_N_ISA || !sets[i])) {
        i--;
    }
    return sets[i < 0 ? 0 : i];
}
