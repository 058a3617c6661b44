/// The scalar arithmetic that defines every kernel: fma, lanes, exp.
///
/// The vector sets do the same operations in the same order on 16 lanes at once, so their results
/// are equal bit for bit. Hence a fused multiply-add is one rounding also where the processor has
/// none, and exp is a polynomial of ours, not the C library's.
#ifndef HSDI_KERNELS_REF_MATH_H
#define HSDI_KERNELS_REF_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/exp.h"
#include "kernels/half.h"

enum { N_LANES = 16 };

/// a * b + c rounded to odd: the lost part, if any, is remembered in the last bit.
///
/// The product is exact in double, and a second rounding, to float, is correct after a first one to
/// odd: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE ToC 2008.
static inline double fma_odd(float a, float b, float c)
{
    double product = (double)a * (double)b, addend = c;
    double sum = product + addend;
    double back = sum - product;
    double lost = (product - (sum - back)) + (addend - back);
    int64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    int64_t even_inexact = ((lost > 0) | (lost < 0)) & ~bits & 1;
    int64_t away = (lost > 0) == (sum > 0) ? 1 : -1;
    bits += even_inexact ? away : 0;
    memcpy(&sum, &bits, sizeof sum);
    return sum;
}

/// a * b + c with one rounding; equals C's fmaf, and unlike it can be vectorised.
static inline float fma1(float a, float b, float c)
{
#ifdef FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    return (float)fma_odd(a, b, c);
#endif
}

/// Subnormal numbers become zeros of their sign.
static inline float flushed(float f)
{
    return fabsf(f) < 0x1p-126f ? copysignf(0.0f, f) : f;
}

/// a * b + c as VDPBF16PS has it: one rounding, to nearest even; subnormal inputs are zeros. So is
/// what is below 2^-126 after rounding to 24 bits, whereas 2^-126 (1 - 2^-25) still rounds up.
static inline float fma_flushed(float a, float b, float c)
{
    double sum = fma_odd(flushed(a), flushed(b), flushed(c));
    if (fabs(sum) < 0x1p-125) {
        float scaled = (float)(sum * 0x1p64);
        return fabsf(scaled) < 0x1p-62f ? copysignf(0.0f, scaled) : scaled * 0x1p-64f;
    }
    return (float)sum;
}

/// The larger; b when either is NaN, as maxps has it.
static inline float max1(float a, float b)
{
    return a > b ? a : b;
}

/// Sum of 16 lanes: halves, quarters, pairs, one.
static inline float lanes_sum(const float lanes[N_LANES])
{
    float t[N_LANES];
    memcpy(t, lanes, sizeof t);
    for (int half = N_LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            t[l] = t[l] + t[l + half];
        }
    }
    return t[0];
}

/// exp(x): relative error below 2e-7 where the result is normal; 0 below, infinity above 88.37.
static inline float exp1(float x)
{
    if (x > HSDI_EXP_MAX) {
        return INFINITY;
    }
    if (x < HSDI_EXP_MIN) {
        return 0.0f;
    }
    if (x != x) {
        return x;
    }
    float shifted = fma1(x, HSDI_EXP_LOG2E, HSDI_EXP_SHIFT);
    float n = shifted - HSDI_EXP_SHIFT;
    float r = fma1(n, -HSDI_EXP_LN2_HI, x);
    r = fma1(n, -HSDI_EXP_LN2_LO, r);
    float p = HSDI_EXP_C7;
    p = fma1(p, r, HSDI_EXP_C6);
    p = fma1(p, r, HSDI_EXP_C5);
    p = fma1(p, r, HSDI_EXP_C4);
    p = fma1(p, r, HSDI_EXP_C3);
    p = fma1(p, r, HSDI_EXP_C2);
    p = fma1(p, r, 1.0f);
    p = fma1(p, r, 1.0f);
    return hsdi_float_of_bits(hsdi_bits_of_float(p) + (hsdi_bits_of_float(shifted) << 23));
}

#endif
