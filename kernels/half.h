/// Half-precision conversions, exact and branch-light, for the plain C kernels.
#ifndef HSDI_KERNELS_HALF_H
#define HSDI_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float hsdi_float_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t hsdi_bits_of_float(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float hsdi_half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fffu) << 13;
    if (rest >= 0x7c00u << 13) { // inf or NaN: the exponent becomes all ones; NaN becomes quiet
        rest |= 0x7f800000u;
        if (rest > 0x7f800000u) {
            rest |= 0x400000u;
        }
        return hsdi_float_of_bits(sign | rest);
    }
    // Move the exponent bias by a multiplication, which also normalises subnormals.
    float f = hsdi_float_of_bits(rest) * 0x1p112f;
    return hsdi_float_of_bits(sign | hsdi_bits_of_float(f));
}

static inline float hsdi_bfloat_to_float(uint16_t h)
{
    return hsdi_float_of_bits((uint32_t)h << 16);
}

static inline uint16_t hsdi_load_u16(const void *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

/// Scale of an activation block, rounded to the 11 significant bits of an f16 where f16 has them.
///
/// Others store these scales as f16; which way a value rounds to 8 bits in a later layer can hang
/// on that, so doing the same keeps logits close to theirs. Outside f16's normal range d stays as
/// it is.
static inline float hsdi_round_scale(float d)
{
    if (!(d >= 0x1p-14f && d <= 65504.0f)) {
        return d;
    }
    uint32_t u = hsdi_bits_of_float(d);
    u += 0xfffu + ((u >> 13) & 1u);
    return hsdi_float_of_bits(u & ~(uint32_t)0x1fffu);
}

#endif
