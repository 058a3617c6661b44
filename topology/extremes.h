/// The larger and the smaller of two numbers, none of which is NaN: fmax and fmin, which heed NaN,
/// are calls, and a plan needs some hundred thousand of them.
#ifndef HSDI_TOPOLOGY_EXTREMES_H
#define HSDI_TOPOLOGY_EXTREMES_H

static inline double hsdi_larger(double a, double b)
{
    return a > b ? a : b;
}

static inline double hsdi_smaller(double a, double b)
{
    return a < b ? a : b;
}

#endif
