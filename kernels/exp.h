/// Constants of exp, shared by every set.
///
/// exp(x) = 2^n * P(r), n = round(x log2 e), r = x - n ln 2 in two steps, |r| <= 0.347; P is a
/// polynomial of degree 7. Adding SHIFT = 1.5 * 2^23 rounds to an integer and leaves it in the low
/// bits of the float, from where a shift puts it into the exponent.
#ifndef HSDI_KERNELS_EXP_H
#define HSDI_KERNELS_EXP_H

#define HSDI_EXP_MAX 88.37f    // 127.49 ln 2: the largest n is 127
#define HSDI_EXP_MIN (-87.33f) // -126 ln 2: the result is still normal
#define HSDI_EXP_SHIFT 12582912.0f
#define HSDI_EXP_LOG2E 1.44269504f
#define HSDI_EXP_LN2_HI 0.693359375f // 9 bits: n * LN2_HI is exact
#define HSDI_EXP_LN2_LO (-2.12194440e-4f)
#define HSDI_EXP_C2 0.5f
#define HSDI_EXP_C3 0.166666667f
#define HSDI_EXP_C4 0.0416666667f
#define HSDI_EXP_C5 0.00833333333f
#define HSDI_EXP_C6 0.00138888889f
#define HSDI_EXP_C7 0.000198412698f

/// gelu(x) = x / (1 + exp(-2 u)), u = sqrt(2/pi) (x + 0.044715 x^3), since 1 + tanh u = 2 / (1 +
/// e^-2u).
#define HSDI_GELU_A (-1.59576912f) // -2 sqrt(2/pi)
#define HSDI_GELU_B 0.044715f

#endif
