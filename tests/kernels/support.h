/// What the kernel tests share: the sets to try, random inputs, comparison bit for bit.
#ifndef TESTS_KERNELS_SUPPORT_H
#define TESTS_KERNELS_SUPPORT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka wants the four above
#include <cmocka.h>

#include "kernels/kernels.h"

/// A stream of pseudo-random numbers; every case starts from a printed seed.
typedef struct noise {
    uint64_t state;
} noise;

static inline uint32_t noise_bits(noise *s)
{
    s->state = s->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->state >> 32);
}

/// Roughly normal, mean 0, deviation 1.
static inline float noise_float(noise *s)
{
    float sum = 0.0f;
    for (int i = 0; i < 4; i++) {
        sum += (float)(noise_bits(s) >> 8) / 16777216.0f - 0.5f;
    }
    return sum * 1.7320508f;
}

static inline int noise_below(noise *s, int n)
{
    return (int)(noise_bits(s) % (uint32_t)n);
}

static inline void *must_alloc(size_t size)
{
    void *p = aligned_alloc(64, (size + 127) & ~(size_t)63);
    if (!p) {
        abort();
    }
    return p;
}

static inline float *noise_floats(noise *s, size_t n)
{
    float *p = must_alloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        p[i] = noise_float(s);
    }
    return p;
}

static inline bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/// Fails with what, seed, first wrong index and both values.
static inline void check_same(const char *what, uint64_t seed, const float *got, const float *want,
                              size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!same_bits(got[i], want[i])) {
            fail_msg("%s, seed %llu: first difference at %zu of %zu: got %a, want %a", what,
                     (unsigned long long)seed, i, n, (double)got[i], (double)want[i]);
        }
    }
}

/// The sets above ref that this machine runs; names the others once.
static inline int runnable_sets(const hsdi_kernels **sets)
{
    static bool told;
    int n = 0;
    hsdi_isa top = hsdi_isa_supported();
    for (int i = HSDI_ISA_REF + 1; i < HSDI_N_ISA; i++) {
        const hsdi_kernels *set = hsdi_kernels_get((hsdi_isa)i);
        if (set->isa != (hsdi_isa)i || i > (int)top) {
            if (!told) {
                printf("[ NOT RUN  ] set %d: %s\n", i,
                       set->isa != (hsdi_isa)i ? "not built" : "not on this machine");
            }
        } else {
            sets[n++] = set;
        }
    }
    told = true;
    return n;
}

static const hsdi_type all_types[] = {HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16,
                                      HSDI_TYPE_Q8_0, HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K,
                                      HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K};
enum { N_TYPES = sizeof all_types / sizeof all_types[0] };

static inline size_t row_bytes(hsdi_type type, int n_in)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    return (size_t)(n_in / info->block_elems) * (size_t)info->block_bytes;
}

static inline void put_half(uint8_t *p, float f)
{
    uint16_t h = hsdi_f32_to_f16(f);
    memcpy(p, &h, sizeof h);
}

/// A random matrix in GGUF layout: any bits as quants, sensible numbers as scales.
static inline uint8_t *noise_matrix(noise *s, hsdi_type type, int n_out, int n_in)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t size = row_bytes(type, n_in) * (size_t)n_out;
    uint8_t *p = must_alloc(size);
    for (size_t i = 0; i < size; i++) {
        p[i] = (uint8_t)noise_bits(s);
    }
    for (size_t i = 0; i < size; i += (size_t)info->block_bytes) {
        float f = noise_float(s) * 0.1f;
        switch (type) {
        case HSDI_TYPE_F32:
            memcpy(p + i, &f, sizeof f);
            break;
        case HSDI_TYPE_BF16: {
            uint32_t bits;
            memcpy(&bits, &f, sizeof bits);
            bits >>= 16;
            memcpy(p + i, &bits, 2);
            break;
        }
        case HSDI_TYPE_Q6_K:
            put_half(p + i + 208, f * 0.01f);
            break;
        case HSDI_TYPE_Q4_K:
        case HSDI_TYPE_Q5_K:
            put_half(p + i + 2, noise_float(s) * 0.01f);
            put_half(p + i, f * 0.1f);
            break;
        default:
            put_half(p + i, f);
        }
    }
    return p;
}

#endif
