/// What a tile of a quantised product sees of one sub-block, for every set.
#ifndef HSDI_KERNELS_CPU_SUB_H
#define HSDI_KERNELS_CPU_SUB_H

#include "kernels/cpu/set.h"
#include "kernels/layout.h"

/// d of row r of a tile; x: the sub-block's part of row 0.
HSDI_TEMPLATE float row_d(const uint8_t *x, int r)
{
    return ((const float *)(const void *)(x + r * HSDI_ACT_SUB + HSDI_ACT_D))[0];
}

HSDI_TEMPLATE float row_fsum(const uint8_t *x, int r)
{
    return ((const float *)(const void *)(x + r * HSDI_ACT_SUB + HSDI_ACT_SUM))[0];
}

HSDI_TEMPLATE int32_t row_isum(const uint8_t *x, int r, int half)
{
    return ((const int32_t *)(const void *)(x + r * HSDI_ACT_SUB + HSDI_ACT_SUM))[half];
}

/// Weights of a tile: the same place in each of its groups.
typedef struct tile_groups {
    const uint8_t *sub;    ///< sub-block of the first group
    const uint8_t *scales; ///< of the block in the first group
    size_t stride;
} tile_groups;

#endif
