/// Blocks of the quantised GGUF types, taken apart into plain integers.
///
/// The one place that knows where a bit of a block lies. dequant_row and pack are built on it.
#ifndef HSDI_KERNELS_TYPES_H
#define HSDI_KERNELS_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

/// One block: value[i] = d * scale[i / n_share] * (q[i] - offset) - dmin * min[i / n_share].
///
/// Q8_0  : q 0..255, offset 128, scale 1.    Q4_0: q 0..15, offset 8, scale 1.
/// Q4_K  : q 0..15, scale and min 0..63, shared by 32.    Q5_K: q 0..31, the same.
/// Q6_K  : q 0..63, offset 32, scale -128..127, shared by 16.
typedef struct hsdi_block {
    uint8_t q[256];
    int8_t scale[16];
    uint8_t min[16];
    uint16_t d, dmin; ///< bits of f16
} hsdi_block;

/// Take a block of a quantised type apart. src: block_bytes.
void hsdi_block_decode(hsdi_type type, const void *src, hsdi_block *out);

static inline bool hsdi_type_is_quantised(hsdi_type type)
{
    return type != HSDI_TYPE_F32 && type != HSDI_TYPE_F16 && type != HSDI_TYPE_BF16;
}

/// What is subtracted from q before it is scaled.
static inline int hsdi_type_offset(hsdi_type type)
{
    switch (type) {
    case HSDI_TYPE_Q8_0:
        return 128;
    case HSDI_TYPE_Q4_0:
        return 8;
    case HSDI_TYPE_Q6_K:
        return 32;
    default:
        return 0;
    }
}

#endif
