/// Sub-blocks of quantised weights with AVX-512 VNNI: one quad is one register.
#ifndef HSDI_KERNELS_AVX512_QUADS_H
#define HSDI_KERNELS_AVX512_QUADS_H

#include <string.h>

#include "kernels/cpu/avx512/lanes.h"
#include "kernels/cpu/sub.h"

typedef __m512i v16i;

/// c - a * b
HSDI_TEMPLATE v16 v_fnma(v16 a, v16 b, v16 c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

HSDI_TEMPLATE v16 v_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/// low | (shifted & mask)
HSDI_TEMPLATE __m512i merge(__m512i low, __m512i shifted, int mask)
{
    return _mm512_ternarylogic_epi32(low, shifted, _mm512_set1_epi8((char)mask), 0xf8);
}

/// Bits of bytes moved left (right where negative), by an amount the instruction can hold.
HSDI_TEMPLATE __m512i shift_left(__m512i v, int n)
{
    switch (n) {
    case 4:
        return _mm512_slli_epi16(v, 4);
    case 3:
        return _mm512_slli_epi16(v, 3);
    case 2:
        return _mm512_slli_epi16(v, 2);
    case 1:
        return _mm512_slli_epi16(v, 1);
    case -1:
        return _mm512_srli_epi16(v, 1);
    case -2:
        return _mm512_srli_epi16(v, 2);
    case -3:
        return _mm512_srli_epi16(v, 3);
    default:
        return v;
    }
}

HSDI_TEMPLATE __m512i load_quad(hsdi_type type, const uint8_t *sub, int quad)
{
    if (type == HSDI_TYPE_Q8_0) {
        return _mm512_loadu_si512(sub + 64 * quad);
    }
    __m512i pair = _mm512_loadu_si512(sub + hsdi_low_offset(type) + 64 * (quad % 4));
    __m512i low =
        _mm512_and_si512(quad < 4 ? pair : _mm512_srli_epi16(pair, 4), _mm512_set1_epi8(15));
    if (type == HSDI_TYPE_Q5_K) {
        return merge(low, shift_left(_mm512_loadu_si512(sub), 4 - quad), 16);
    }
    if (type == HSDI_TYPE_Q6_K) {
        __m512i high = _mm512_loadu_si512(sub + hsdi_high_offset(type, quad));
        return merge(low, shift_left(high, 4 - 2 * (quad % 4)), 48);
    }
    return low;
}

/// isums[r][g] += quads [begin, end) of a sub-block of group g times x[r][4 * begin ..]
HSDI_TEMPLATE void add_quads(hsdi_type type, int n_rows, int n_groups, const uint8_t *x,
                             const tile_groups *t, int begin, int end, v16i *isums)
{
    HSDI_UNROLL for (int quad = begin; quad < end; quad++)
    {
        __m512i w[QUANT_GROUPS_MAX];
        HSDI_UNROLL for (int g = 0; g < n_groups; g++)
        {
            w[g] = load_quad(type, t->sub + (size_t)g * t->stride, quad);
        }
        HSDI_UNROLL for (int r = 0; r < n_rows; r++)
        {
            int32_t four;
            memcpy(&four, x + r * HSDI_ACT_SUB + 4 * quad, sizeof four);
            __m512i input = _mm512_set1_epi32(four);
            HSDI_UNROLL for (int g = 0; g < n_groups; g++)
            {
                v16i *sum = &isums[r * n_groups + g];
                *sum = _mm512_dpbusd_epi32(*sum, w[g], input);
            }
        }
    }
}

/// Quads [begin, end) of a sub-block for all rows and groups: integers, then the float chain.
///
/// vpdpbusd takes weights with their offset; what the activations carry takes it back.
HSDI_TEMPLATE void add_part(hsdi_type type, int n_rows, int n_groups, const uint8_t *x,
                            const tile_groups *t, int begin, int end, const v16 *w_scale, v16 *sums)
{
    const bool has_offset = hsdi_type_offset(type) != 0;
    v16i isums[QUANT_SUMS_MAX];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        isums[i] = _mm512_set1_epi32(has_offset ? row_isum(x, i / n_groups, begin / 4) : 0);
    }
    add_quads(type, n_rows, n_groups, x, t, begin, end, isums);
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        v16 scale = v_mul(w_scale[i % n_groups], v_set1(row_d(x, i / n_groups)));
        sums[i] = v_fma(_mm512_cvtepi32_ps(isums[i]), scale, sums[i]);
    }
}

#endif
