/// Sixteen float lanes in one register: the vocabulary of the kernels shared by the vector sets.
///
/// Every function here is static inline, so that no other object file can pick up AVX-512 code.
#ifndef HSDI_KERNELS_AVX512_LANES_H
#define HSDI_KERNELS_AVX512_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define HSDI_SET(name) hsdi_avx512_##name

typedef __m512 v16;

static inline v16 v_zero(void)
{
    return _mm512_setzero_ps();
}

static inline v16 v_set1(float f)
{
    return _mm512_set1_ps(f);
}

static inline v16 v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void v_store(float *p, v16 v)
{
    _mm512_storeu_ps(p, v);
}

static inline __mmask16 first_lanes(int n)
{
    return (__mmask16)((1u << n) - 1u);
}

/// The first n of 16 lanes, n in 1..16; the others are 0 and not touched in memory.
static inline v16 v_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void v_store_n(float *p, v16 v, int n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

/// Lanes n and above become `fill`.
static inline v16 v_keep_n(v16 v, int n, float fill)
{
    return _mm512_mask_blend_ps(first_lanes(n), _mm512_set1_ps(fill), v);
}

static inline v16 v_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}

static inline v16 v_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}

static inline v16 v_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}

static inline v16 v_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}

/// a * b + c
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/// a * b - c in even lanes, a * b + c in odd lanes
static inline v16 v_fma_alternate(v16 a, v16 b, v16 c)
{
    return _mm512_fmaddsub_ps(a, b, c);
}

/// a > b ? a : b
static inline v16 v_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}

/// x > y ? a : b
static inline v16 v_if_gt(v16 x, v16 y, v16 a, v16 b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), b, a);
}

/// x is NaN ? a : b
static inline v16 v_if_nan(v16 x, v16 a, v16 b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), b, a);
}

/// Bit l: lane l of a equals that of b.
static inline unsigned v_equal(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/// Multiply by 2^n where the low bits of `shifted` hold n.
static inline v16 v_scale_by_bits(v16 v, v16 shifted)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), n));
}

static inline __m256 high_half(v16 v)
{
    return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
}

/// Sum of the lanes: halves, quarters, pairs, one.
static inline float v_sum(v16 v)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), high_half(v));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/// Largest lane; no lane is NaN.
static inline float v_top(v16 v)
{
    return _mm512_reduce_max_ps(v);
}

/// Lane i of the result: the sum of the lanes of v[i], in the order of v_sum.
static inline v16 v_sum_each(const v16 v[16])
{
    v16 t[4];
    for (int e = 0; e < 4; e++) {
        v16 p = _mm512_add_ps(_mm512_shuffle_f32x4(v[e], v[e + 4], 0x44),
                              _mm512_shuffle_f32x4(v[e], v[e + 4], 0xee));
        v16 q = _mm512_add_ps(_mm512_shuffle_f32x4(v[e + 8], v[e + 12], 0x44),
                              _mm512_shuffle_f32x4(v[e + 8], v[e + 12], 0xee));
        t[e] = _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
    }
    v16 x = _mm512_add_ps(_mm512_shuffle_ps(t[0], t[1], 0x44), _mm512_shuffle_ps(t[0], t[1], 0xee));
    v16 y = _mm512_add_ps(_mm512_shuffle_ps(t[2], t[3], 0x44), _mm512_shuffle_ps(t[2], t[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x88), _mm512_shuffle_ps(x, y, 0xdd));
}

/// Rows become columns.
static inline void v_turn(v16 m[16])
{
    v16 a[16], b[16];
    for (int i = 0; i < 16; i += 2) { // pairs within quarters of two rows
        a[i] = _mm512_unpacklo_ps(m[i], m[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { // columns 4k + 0..3 of four rows
        b[i] = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) { // quarters of eight rows, then of sixteen
        v16 low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        v16 high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        m[i] = _mm512_shuffle_f32x4(low, high, 0x88);
        m[i + 8] = _mm512_shuffle_f32x4(low, high, 0xdd);
        low = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
        high = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
        m[i + 4] = _mm512_shuffle_f32x4(low, high, 0x88);
        m[i + 12] = _mm512_shuffle_f32x4(low, high, 0xdd);
    }
}

/// 8 floats, each twice.
static inline v16 v_load_twice(const float *p, int n)
{
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(twice, v_load_n(p, n));
}

/// Neighbours change places.
static inline v16 v_swap_pairs(v16 v)
{
    return _mm512_permute_ps(v, 0xb1);
}

/// 16 signed bytes.
static inline v16 v_load_i8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline v16 v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/// One f16 in all lanes.
static inline v16 v_set1_f16(const void *p)
{
    int16_t h;
    memcpy(&h, p, sizeof h);
    return _mm512_cvtph_ps(_mm256_set1_epi16(h));
}

static inline v16 v_load_bf16(const void *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/// Largest bit pattern of |a| and |b|, as integers.
static inline uint32_t v_top_bits(v16 a, v16 b)
{
    const __m512i mask = _mm512_set1_epi32(0x7fffffff);
    __m512i x = _mm512_and_epi32(_mm512_castps_si512(a), mask);
    __m512i y = _mm512_and_epi32(_mm512_castps_si512(b), mask);
    return _mm512_reduce_max_epu32(_mm512_max_epu32(x, y));
}

/// Clamp to -127..127 (NaN to 127), round to even, store as bytes; returns their sum.
static inline int32_t v_store_i8(int8_t *p, v16 v)
{
    v = _mm512_min_ps(v, _mm512_set1_ps(127.0f));
    v = _mm512_max_ps(v, _mm512_set1_ps(-127.0f));
    __m512i q = _mm512_cvtps_epi32(v);
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(q));
    return _mm512_reduce_add_epi32(q);
}

#endif
