/// Sub-blocks of quantised weights with AVX2: one quad is two registers.
///
/// vpmaddubsw adds two products of u8 and i8 with saturation to i16. Q8_0 goes through |w| and
/// x with the sign of w: 2 * 128 * 127 fits. The others have small weights without a sign, so that
/// several quads fit into i16 before they are widened. Both halves of a quad are summed one after
/// the other, so that four rows fit into 16 registers.
#ifndef HSDI_KERNELS_AVX2_QUADS_H
#define HSDI_KERNELS_AVX2_QUADS_H

#include <string.h>

#include "kernels/cpu/avx2/lanes.h"
#include "kernels/cpu/sub.h"

/// c - a * b
HSDI_TEMPLATE v16 v_fnma(v16 a, v16 b, v16 c)
{
    return v_make(_mm256_fnmadd_ps(a.a, b.a, c.a), _mm256_fnmadd_ps(a.b, b.b, c.b));
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

/// One half of a quad, 8 channels; Q8_0 without its offset. p: the sub-block, or 32 bytes behind.
HSDI_TEMPLATE __m256i load_quad(hsdi_type type, const uint8_t *p, int quad)
{
    if (type == HSDI_TYPE_Q8_0) {
        return _mm256_xor_si256(load32(p + 64 * quad), _mm256_set1_epi8(-128));
    }
    __m256i pair = load32(p + hsdi_low_offset(type) + 64 * (quad % 4));
    __m256i low =
        _mm256_and_si256(quad < 4 ? pair : _mm256_srli_epi16(pair, 4), _mm256_set1_epi8(15));
    if (type == HSDI_TYPE_Q5_K) {
        return merge(low, shift_left(load32(p), 4 - quad), 16);
    }
    if (type == HSDI_TYPE_Q6_K) {
        __m256i high = load32(p + hsdi_high_offset(type, quad));
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

/// isums[r] = quads [begin, end) of half a group times x[r][4 * begin ..]; Q8_0 without the offset,
/// the others with it.
HSDI_TEMPLATE void sum_quads(hsdi_type type, int n_rows, const uint8_t *x, const uint8_t *sub,
                             int begin, int end, __m256i *isums)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int n_run = quads_in_i16(type);
    __m256i run[QUANT_SUMS_MAX];
    HSDI_UNROLL for (int quad = begin; quad < end; quad++)
    {
        const int in_run = (quad - begin) % n_run;
        __m256i w = load_quad(type, sub, quad);
        HSDI_UNROLL for (int r = 0; r < n_rows; r++)
        {
            int32_t four;
            memcpy(&four, x + r * HSDI_ACT_SUB + 4 * quad, sizeof four);
            __m256i input = _mm256_set1_epi32(four);
            __m256i p = type == HSDI_TYPE_Q8_0
                            ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(input, w))
                            : _mm256_maddubs_epi16(w, input);
            run[r] = in_run == 0 ? p : _mm256_add_epi16(run[r], p);
            HSDI_IN_ORDER(run[r]);
            if (in_run == n_run - 1 || quad == end - 1) {
                __m256i wide = _mm256_madd_epi16(run[r], ones);
                isums[r] = quad - begin < n_run ? wide : _mm256_add_epi32(isums[r], wide);
            }
        }
    }
}

/// Quads [begin, end) of a sub-block for all rows of one group: integers, then the float chain.
///
/// A loop that stays a loop: unrolled, its halves would share inputs, and these fill the registers.
HSDI_TEMPLATE void add_part(hsdi_type type, int n_rows, int n_groups, const uint8_t *x,
                            const tile_groups *t, int begin, int end, const v16 *w_scale, v16 *sums)
{
    const bool has_offset = hsdi_type_offset(type) != 0 && type != HSDI_TYPE_Q8_0;
    (void)n_groups;
    HSDI_ROLLED for (int half = 0; half < 2; half++)
    {
        __m256i isums[QUANT_SUMS_MAX];
        __m256 scale = half ? w_scale->b : w_scale->a;
        sum_quads(type, n_rows, x, t->sub + 32 * half, begin, end, isums);
        HSDI_UNROLL for (int r = 0; r < n_rows; r++)
        {
            float *sum = (float *)&sums[r] + 8 * half;
            if (has_offset) {
                isums[r] = _mm256_add_epi32(isums[r], _mm256_set1_epi32(row_isum(x, r, begin / 4)));
            }
            __m256 d = _mm256_mul_ps(scale, _mm256_set1_ps(row_d(x, r)));
            __m256 added = _mm256_fmadd_ps(_mm256_cvtepi32_ps(isums[r]), d, _mm256_loadu_ps(sum));
            _mm256_storeu_ps(sum, added);
        }
    }
}

#endif
