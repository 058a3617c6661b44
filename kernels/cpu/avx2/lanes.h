/// Sixteen float lanes in two registers: the vocabulary of the kernels shared by the vector sets.
///
/// Every function here is static inline, so that no other object file can pick up AVX2 code.
#ifndef HSDI_KERNELS_AVX2_LANES_H
#define HSDI_KERNELS_AVX2_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define HSDI_SET(name) hsdi_avx2_##name

typedef struct v16 {
    __m256 a, b; ///< lanes 0..7 and 8..15
} v16;

static inline v16 v_make(__m256 a, __m256 b)
{
    return (v16){a, b};
}

static inline v16 v_zero(void)
{
    return v_make(_mm256_setzero_ps(), _mm256_setzero_ps());
}

static inline v16 v_set1(float f)
{
    return v_make(_mm256_set1_ps(f), _mm256_set1_ps(f));
}

static inline v16 v_load(const float *p)
{
    return v_make(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}

static inline void v_store(float *p, v16 v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}

/// All ones in the lanes below n of 8; n may be negative or above 8.
static inline __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// The first n of 16 lanes, n in 1..16; the others are 0 and not touched in memory.
static inline v16 v_load_n(const float *p, int n)
{
    __m256 b = n > 8 ? _mm256_maskload_ps(p + 8, first_lanes(n - 8)) : _mm256_setzero_ps();
    return v_make(_mm256_maskload_ps(p, first_lanes(n)), b);
}

static inline void v_store_n(float *p, v16 v, int n)
{
    _mm256_maskstore_ps(p, first_lanes(n), v.a);
    if (n > 8) {
        _mm256_maskstore_ps(p + 8, first_lanes(n - 8), v.b);
    }
}

/// Lanes n and above become `fill`.
static inline v16 v_keep_n(v16 v, int n, float fill)
{
    __m256 f = _mm256_set1_ps(fill);
    return v_make(_mm256_blendv_ps(f, v.a, _mm256_castsi256_ps(first_lanes(n))),
                  _mm256_blendv_ps(f, v.b, _mm256_castsi256_ps(first_lanes(n - 8))));
}

static inline v16 v_add(v16 a, v16 b)
{
    return v_make(_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b));
}

static inline v16 v_sub(v16 a, v16 b)
{
    return v_make(_mm256_sub_ps(a.a, b.a), _mm256_sub_ps(a.b, b.b));
}

static inline v16 v_mul(v16 a, v16 b)
{
    return v_make(_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b));
}

static inline v16 v_div(v16 a, v16 b)
{
    return v_make(_mm256_div_ps(a.a, b.a), _mm256_div_ps(a.b, b.b));
}

/// a * b + c
static inline v16 v_fma(v16 a, v16 b, v16 c)
{
    return v_make(_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b));
}

/// a * b - c in even lanes, a * b + c in odd lanes
static inline v16 v_fma_alternate(v16 a, v16 b, v16 c)
{
    return v_make(_mm256_fmaddsub_ps(a.a, b.a, c.a), _mm256_fmaddsub_ps(a.b, b.b, c.b));
}

/// a > b ? a : b
static inline v16 v_max(v16 a, v16 b)
{
    return v_make(_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b));
}

/// x > y ? a : b
static inline v16 v_if_gt(v16 x, v16 y, v16 a, v16 b)
{
    return v_make(_mm256_blendv_ps(b.a, a.a, _mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ)),
                  _mm256_blendv_ps(b.b, a.b, _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)));
}

/// x is NaN ? a : b
static inline v16 v_if_nan(v16 x, v16 a, v16 b)
{
    return v_make(_mm256_blendv_ps(b.a, a.a, _mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q)),
                  _mm256_blendv_ps(b.b, a.b, _mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q)));
}

/// Bit l: lane l of a equals that of b.
static inline unsigned v_equal(v16 a, v16 b)
{
    int low = _mm256_movemask_ps(_mm256_cmp_ps(a.a, b.a, _CMP_EQ_OQ));
    int high = _mm256_movemask_ps(_mm256_cmp_ps(a.b, b.b, _CMP_EQ_OQ));
    return (unsigned)low | (unsigned)high << 8;
}

static inline __m256 scale_by_bits8(__m256 v, __m256 shifted)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), n));
}

/// Multiply by 2^n where the low bits of `shifted` hold n.
static inline v16 v_scale_by_bits(v16 v, v16 shifted)
{
    return v_make(scale_by_bits8(v.a, shifted.a), scale_by_bits8(v.b, shifted.b));
}

/// Sum of the lanes: halves, quarters, pairs, one.
static inline float v_sum(v16 v)
{
    __m256 h = _mm256_add_ps(v.a, v.b);
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/// Largest lane; no lane is NaN.
static inline float v_top(v16 v)
{
    __m256 h = _mm256_max_ps(v.a, v.b);
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

/// Eight sums in the order of v_sum: of v[0..3] and v[4..7].
static inline __m256 sum_each8(const v16 v[8])
{
    __m256 t[4];
    for (int e = 0; e < 4; e++) {
        __m256 p = _mm256_add_ps(v[e].a, v[e].b), q = _mm256_add_ps(v[e + 4].a, v[e + 4].b);
        t[e] =
            _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
    }
    __m256 x =
        _mm256_add_ps(_mm256_shuffle_ps(t[0], t[1], 0x44), _mm256_shuffle_ps(t[0], t[1], 0xee));
    __m256 y =
        _mm256_add_ps(_mm256_shuffle_ps(t[2], t[3], 0x44), _mm256_shuffle_ps(t[2], t[3], 0xee));
    return _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
}

/// Lane i of the result: the sum of the lanes of v[i], in the order of v_sum.
static inline v16 v_sum_each(const v16 v[16])
{
    return v_make(sum_each8(v), sum_each8(v + 8));
}

/// Rows become columns, of a square of 8.
static inline void turn8(__m256 m[8])
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(m[i], m[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(m[i], m[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        m[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        m[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

/// Rows become columns.
static inline void v_turn(v16 m[16])
{
    for (int column = 0; column < 2; column++) {
        __m256 top[8], bottom[8];
        for (int i = 0; i < 8; i++) {
            top[i] = column ? m[i].b : m[i].a;
            bottom[i] = column ? m[i + 8].b : m[i + 8].a;
        }
        turn8(top);
        turn8(bottom);
        for (int i = 0; i < 8; i++) { // where these came from: of m, each half once
            if (column) {
                m[i].b = top[i];
                m[i + 8].b = bottom[i];
            } else {
                m[i].a = top[i];
                m[i + 8].a = bottom[i];
            }
        }
    }
    for (int i = 0; i < 8; i++) { // the other two squares change places
        __m256 t = m[i].b;
        m[i].b = m[i + 8].a;
        m[i + 8].a = t;
    }
}

/// 8 floats, each twice.
static inline v16 v_load_twice(const float *p, int n)
{
    __m256 v = _mm256_maskload_ps(p, first_lanes(n));
    return v_make(_mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
                  _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7)));
}

/// Neighbours change places.
static inline v16 v_swap_pairs(v16 v)
{
    return v_make(_mm256_permute_ps(v.a, 0xb1), _mm256_permute_ps(v.b, 0xb1));
}

/// 16 signed bytes.
static inline v16 v_load_i8(const uint8_t *p)
{
    return v_make(
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p))),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8)))));
}

static inline v16 v_load_f16(const void *p)
{
    const __m128i *h = p;
    return v_make(_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1)));
}

/// One f16 in all lanes.
static inline v16 v_set1_f16(const void *p)
{
    int16_t h;
    memcpy(&h, p, sizeof h);
    __m256 f = _mm256_cvtph_ps(_mm_set1_epi16(h));
    return v_make(f, f);
}

static inline __m256 load_bf16_8(const __m128i *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline v16 v_load_bf16(const void *p)
{
    const __m128i *h = p;
    return v_make(load_bf16_8(h), load_bf16_8(h + 1));
}

static inline __m256i abs_bits(__m256 v)
{
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
}

/// Largest bit pattern of |a| and |b|, as integers.
static inline uint32_t v_top_bits(v16 a, v16 b)
{
    __m256i x = _mm256_max_epi32(_mm256_max_epi32(abs_bits(a.a), abs_bits(a.b)),
                                 _mm256_max_epi32(abs_bits(b.a), abs_bits(b.b)));
    __m128i q = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(q);
}

static inline __m256i to_i32(__m256 v)
{
    v = _mm256_min_ps(v, _mm256_set1_ps(127.0f));
    return _mm256_cvtps_epi32(_mm256_max_ps(v, _mm256_set1_ps(-127.0f)));
}

/// Clamp to -127..127 (NaN to 127), round to even, store as bytes; returns their sum.
static inline int32_t v_store_i8(int8_t *p, v16 v)
{
    __m256i a = to_i32(v.a), b = to_i32(v.b), s = _mm256_add_epi32(a, b);
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words),
                                                   _mm256_extracti128_si256(words, 1)));
    __m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
    q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1));
    return _mm_cvtsi128_si32(q);
}

#endif
