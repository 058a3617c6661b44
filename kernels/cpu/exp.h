/// exp of 16 lanes; the operations of ref/math.h. A set's lanes.h comes first.
#ifndef HSDI_KERNELS_CPU_EXP_H
#define HSDI_KERNELS_CPU_EXP_H

#include <math.h>

#include "kernels/exp.h"

static inline v16 v_exp(v16 x)
{
    const v16 shift = v_set1(HSDI_EXP_SHIFT);
    v16 shifted = v_fma(x, v_set1(HSDI_EXP_LOG2E), shift);
    v16 n = v_sub(shifted, shift);
    v16 r = v_fma(n, v_set1(-HSDI_EXP_LN2_HI), x);
    r = v_fma(n, v_set1(-HSDI_EXP_LN2_LO), r);
    v16 p = v_set1(HSDI_EXP_C7);
    p = v_fma(p, r, v_set1(HSDI_EXP_C6));
    p = v_fma(p, r, v_set1(HSDI_EXP_C5));
    p = v_fma(p, r, v_set1(HSDI_EXP_C4));
    p = v_fma(p, r, v_set1(HSDI_EXP_C3));
    p = v_fma(p, r, v_set1(HSDI_EXP_C2));
    p = v_fma(p, r, v_set1(1.0f));
    p = v_fma(p, r, v_set1(1.0f));
    p = v_scale_by_bits(p, shifted);
    p = v_if_gt(x, v_set1(HSDI_EXP_MAX), v_set1(INFINITY), p);
    p = v_if_gt(v_set1(HSDI_EXP_MIN), x, v_zero(), p);
    return v_if_nan(x, x, p);
}

#endif
