/// Sub-blocks of quantised weights with AVX2: one quad is two registers.
///
/// vpmaddubsw adds two products of u8 and i8 with saturation to i16. Q8_0 goes through |w| and
/// x with the sign of w: 2 * 128 * 127 fits. The others have small weights without a sign, so that
/// several quads fit into i16 before they are widened.
#ifndef HSDI_KERNELS_AVX2_QUADS_H
#define HSDI_KERNELS_AVX2_QUADS_H

#include <string.h>

#include "kernels/cpu/avx2/lanes.h"
#include "kernels/cpu/set.h"

typedef struct v16i {
    __m256i half[2];
} v16i;

/// The start of a sum. Q8_0 is summed without its offset, so nothing is to be undone.
HSDI_TEMPLATE v16i vi_start(hsdi_type type, int32_t undo)
{
    __m256i start = _mm256_set1_epi32(type == HSDI_TYPE_Q8_0 ? 0 : undo);
    return (v16i){{start, start}};
}

HSDI_TEMPLATE v16 vi_to_float(v16i v)
{
    return v_make(_mm256_cvtepi32_ps(v.half[0]), _mm256_cvtepi32_ps(v.half[1]));
}

/// c - a * b
HSDI_TEMPLATE v16 v_fnma(v16 a, v16 b, v16 c)
{
    return v_make(_mm256_fnmadd_ps(a.a, b.a, c.a), _mm256_fnmadd_ps(a.b, b.b, c.b));
}

HSDI_TEMPLATE v16 v_load_i8(const uint8_t *p)
{
    return v_make(
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p))),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))));
}

HSDI_TEMPLATE v16 v_load_u8(const uint8_t *p)
{
    return v_make(
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))),
        _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))));
}

/// Bits of bytes moved left (right where negative), by an amount the instruction can hold.
HSDI_TEMPLATE __m256i shift_left(__m256i v, int n)
{
    switch (n) {
    case 4:
        return _mm256_slli_epi16(v, 4);
    case 3:
        return _mm256_slli_epi16(v, 3);
    case 2:
        return _mm256_slli_epi16(v, 2);
    case 1:
        return _mm256_slli_epi16(v, 1);
    case -1:
        return _mm256_srli_epi16(v, 1);
    case -2:
        return _mm256_srli_epi16(v, 2);
    case -3:
        return _mm256_srli_epi16(v, 3);
    default:
        return v;
    }
}

HSDI_TEMPLATE __m256i load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/// low | (shifted & mask)
HSDI_TEMPLATE __m256i merge(__m256i low, __m256i shifted, int mask)
{
    return _mm256_or_si256(low, _mm256_and_si256(shifted, _mm256_set1_epi8((char)mask)));
}

/// One half of a quad, 8 channels; Q8_0 without its offset.
HSDI_TEMPLATE __m256i load_quad(hsdi_type type, const uint8_t *sub, int quad, int half)
{
    const uint8_t *p = sub + 32 * half;
    if (type == HSDI_TYPE_Q8_0) {
        return _mm256_xor_si256(load32(p + 64 * quad), _mm256_set1_epi8(-128));
    }
    __m256i pair = load32(p + 64 * (quad % 4));
    __m256i low =
        _mm256_and_si256(quad < 4 ? pair : _mm256_srli_epi16(pair, 4), _mm256_set1_epi8(15));
    if (type == HSDI_TYPE_Q5_K) {
        return merge(low, shift_left(load32(p + 256), 4 - quad), 16);
    }
    if (type == HSDI_TYPE_Q6_K) {
        __m256i high = load32(p + 256 + 64 * (quad / 4));
        return merge(low, shift_left(high, 4 - 2 * (quad % 4)), 48);
    }
    return low;
}

/// Quads whose products fit into i16: 2 * q_max * 127 * n <= 32767.
HSDI_TEMPLATE int quads_in_i16(hsdi_type type)
{
    switch (type) {
    case HSDI_TYPE_Q8_0:
        return 1;
    case HSDI_TYPE_Q6_K:
        return 2;
    case HSDI_TYPE_Q5_K:
        return 4;
    default:
        return 8;
    }
}

/// sums[r] += quads [begin, end) of a sub-block times x[r][4 * begin .. 4 * end - 1]; one group.
HSDI_TEMPLATE void add_quads(hsdi_type type, int n_rows, int n_groups, const uint8_t *sub,
                             size_t w_stride, int begin, int end, const int8_t *x, size_t x_stride,
                             v16i *sums)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int n_run = quads_in_i16(type);
    (void)n_groups;
    (void)w_stride;
    HSDI_UNROLL for (int half = 0; half < 2; half++)
    {
        __m256i run[QUANT_SUMS_MAX];
        HSDI_UNROLL for (int quad = begin; quad < end; quad++)
        {
            __m256i w = load_quad(type, sub, quad, half);
            HSDI_UNROLL for (int r = 0; r < n_rows; r++)
            {
                int32_t four;
                memcpy(&four, x + (size_t)r * x_stride + 4 * quad, sizeof four);
                __m256i input = _mm256_set1_epi32(four);
                __m256i p =
                    type == HSDI_TYPE_Q8_0
                        ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(input, w))
                        : _mm256_maddubs_epi16(w, input);
                run[r] = (quad - begin) % n_run == 0 ? p : _mm256_add_epi16(run[r], p);
                if ((quad - begin) % n_run == n_run - 1 || quad == end - 1) {
                    sums[r].half[half] =
                        _mm256_add_epi32(sums[r].half[half], _mm256_madd_epi16(run[r], ones));
                }
            }
        }
    }
}

#endif
