/// Proves: one step of ref-bf16 is a fused multiply-add that rounds once and flushes subnormals;
///         activations are rounded to the nearest BF16, ties to even; the set avx512bf16 equals
///         ref-bf16 bit for bit, at both ends of the exponent too; N rows equal N single rows.
/// Does not prove: the last two where the instructions are missing: emulate.py emulates them.
#include "kernels/ref/math.h"
#include "tests/kernels/product.h"

/// A BF16 number whose exponent lies in low .. low + 7 (of 0..255), as f32.
static float bf16_near(noise *s, int low)
{
    uint32_t exponent = (uint32_t)(low + noise_below(s, 8));
    return hsdi_float_of_bits((noise_bits(s) & 0x807f0000u) | exponent << 23);
}

/// fma(a, b, c) of the C library, computed 2^64 higher so that a tiny result has all its bits.
static float fma_expected(float a, float b, float c)
{
    a = fpclassify(a) == FP_SUBNORMAL ? copysignf(0, a) : a;
    b = fpclassify(b) == FP_SUBNORMAL ? copysignf(0, b) : b;
    c = fpclassify(c) == FP_SUBNORMAL ? copysignf(0, c) : c;
    float plain = fmaf(a, b, c);
    if (!(fabsf(plain) < 0x1p-124f)) {
        return plain;
    }
    float scaled = fmaf(a * 0x1p64f, b, c * 0x1p64f);
    return fabsf(scaled) < 0x1p-62f ? copysignf(0, scaled) : scaled * 0x1p-64f;
}

static void one_step_rounds_once_and_flushes(void **state)
{
    (void)state;
    noise s = {21};
    for (int i = 0; i < 400000; i++) {
        int low = noise_below(&s, 120);
        float a = bf16_near(&s, low), b = bf16_near(&s, 122 - low); // a b near 2^-126
        float c = hsdi_float_of_bits((noise_bits(&s) & 0x80ffffffu) | (uint32_t)(i % 4) << 23);
        if (i % 3 == 0) {
            a = bf16_near(&s, 124), b = bf16_near(&s, 120), c *= 0x1p122f;
        }
        if (!same_bits(fma_flushed(a, b, c), fma_expected(a, b, c))) {
            fail_msg("fma(%a, %a, %a): got %a, want %a", (double)a, (double)b, (double)c,
                     (double)fma_flushed(a, b, c), (double)fma_expected(a, b, c));
        }
    }
    // just below the smallest normal number: 24 bits round it up to that, or hold it
    assert_true(fma_flushed(-0x1p-126f, 0x1p-24f, 0x1p-126f) == 0);
    assert_true(fma_flushed(-0x1p-126f, 0x1p-25f, 0x1p-126f) == 0x1p-126f);
    assert_true(signbit(fma_flushed(-0x1p-100f, 0x1p-100f, 0)));
}

/// The prepared form of a row of 16.
static void prepare_16(const float x[16], uint16_t out[32])
{
    const hsdi_acts acts = {HSDI_TYPE_BF16, 1, 16, out};
    hsdi_kernels_definition(HSDI_ISA_AVX512BF16)->act_prepare(&acts, x, 16, 0, 1);
}

static void activations_round_to_the_nearest_bf16(void **state)
{
    (void)state;
    noise s = {22};
    for (int i = 0; i < 20000; i++) {
        float x[16];
        uint16_t got[32];
        for (int k = 0; k < 16; k++) {
            uint32_t bits = noise_bits(&s);
            bits = k % 4 == 0 ? (bits & 0xffff0000u) | 0x8000u : bits; // a tie
            x[k] = hsdi_float_of_bits(bits);
        }
        prepare_16(x, got);
        for (int k = 0; k < 16; k++) {
            float y = hsdi_bfloat_to_float(got[k]);
            if (!isnormal(x[k])) {
                assert_true(isnan(x[k]) ? isnan(y) : isinf(x[k]) ? x[k] == y : y == 0);
                continue;
            }
            uint32_t below = hsdi_bits_of_float(x[k]) & 0xffff0000u;
            double low = (double)hsdi_float_of_bits(below), step = ldexp(1, ilogb(low) - 7);
            double far = fabs((double)x[k] - low); // from the neighbour towards zero
            bool up = far > step / 2 || (far == step / 2 && (below >> 16 & 1));
            assert_int_equal(got[k], (below >> 16) + up);
        }
    }
}

/// The set, or NULL where it cannot run.
static const hsdi_kernels *bf16_set(void)
{
    const hsdi_kernels *set = hsdi_kernels_get(HSDI_ISA_AVX512BF16);
    bool here = set->isa == HSDI_ISA_AVX512BF16 && hsdi_isa_supported() == HSDI_ISA_AVX512BF16;
    return here ? set : NULL;
}

static void check_set(const hsdi_kernels *set, const product *p)
{
    size_t n = (size_t)p->n_rows * (size_t)p->n_out;
    float *want = run(hsdi_kernels_definition(HSDI_ISA_AVX512BF16), p), *got = run(set, p);
    check_same(describe(set, p), p->seed, got, want, n);
    uint8_t *w = pack(set, p);
    for (int r = 0; r < p->n_rows; r++) {
        run_rows(set, p, w, r, 1, 0, want);
    }
    check_same(describe(set, p), p->seed, got, want, n);
    free(w);
    free(got);
    free(want);
}

static void the_set_equals_its_definition_and_rows_stay_apart(void **state)
{
    (void)state;
    static const int row_counts[] = {1, 2, 5, 6, 7, 8, 9, 17, 70}, out_counts[] = {1, 67, 80, 33};
    static const int in_counts[] = {1, 2, 3, 16, 33, 64, 129};
    if (!bf16_set()) {
        skip();
    }
    uint64_t seed = 1;
    for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++) {
        for (size_t i = 0; i < sizeof in_counts / sizeof *in_counts; i++, seed++) {
            product p = product_make(HSDI_TYPE_BF16, row_counts[r], in_counts[i],
                                     out_counts[seed % 4], seed);
            check_set(bf16_set(), &p);
            product_free(&p);
        }
    }
}

static void both_ends_of_the_exponent_are_the_same(void **state)
{
    (void)state;
    enum { n_rows = 7, n_in = 6, n_out = 40 };
    if (!bf16_set()) {
        skip();
    }
    for (uint64_t seed = 0; seed < 300; seed++) {
        product p = product_make(HSDI_TYPE_BF16, n_rows, n_in, n_out, seed);
        noise s = {seed + 1000};
        bool high = seed % 3 == 0; // products near 2^127, else near 2^-126
        int x_low = high ? 130 + noise_below(&s, 100) : 120 - noise_below(&s, 120);
        int w_low = (high ? 373 : 120) - x_low;
        for (int i = 0; i < n_out * n_in; i++) {
            uint32_t bits = hsdi_bits_of_float(bf16_near(&s, w_low));
            uint16_t h = (uint16_t)(bits >> 16);
            memcpy(p.source + 2 * (size_t)i, &h, sizeof h);
        }
        for (int i = 0; i < n_rows * n_in; i++) {
            p.x[i] = hsdi_float_of_bits(hsdi_bits_of_float(bf16_near(&s, x_low)) |
                                        (noise_bits(&s) & 0xffffu));
        }
        check_set(bf16_set(), &p);
        product_free(&p);
    }
}

/// 2^-126 - 2^-126 2^-n: what rounds to 24 bits below 2^-126 becomes zero.
static void the_edge_of_the_subnormals_is_the_same(void **state)
{
    (void)state;
    if (!bf16_set()) {
        skip();
    }
    product p = product_make(HSDI_TYPE_BF16, 1, 2, 16, 0);
    for (int l = 0; l < 16; l++) {
        float w[2] = {ldexpf(-1, l - 30), 1};
        for (int k = 0; k < 2; k++) {
            uint16_t h = (uint16_t)(hsdi_bits_of_float(w[k]) >> 16);
            memcpy(p.source + 4 * l + 2 * k, &h, sizeof h);
        }
    }
    p.x[0] = p.x[1] = 0x1p-126f;
    check_set(bf16_set(), &p);
    float *y = run(bf16_set(), &p);
    for (int l = 0; l < 16; l++) {
        assert_true(y[l] == (l - 30 < -24 ? 0x1p-126f : 0));
    }
    free(y);
    product_free(&p);
}

static void prepared_rows_are_the_same(void **state)
{
    (void)state;
    enum { n_rows = 40, n_in = 75 };
    if (!bf16_set()) {
        skip();
    }
    const hsdi_kernels *ref = hsdi_kernels_definition(HSDI_ISA_AVX512BF16);
    size_t size = ref->act_bytes(HSDI_TYPE_BF16, n_in) * (size_t)n_rows;
    uint8_t *want = must_alloc(size), *got = must_alloc(size);
    float *x = must_alloc(sizeof(float[n_rows * n_in]));
    noise s = {23};
    for (int i = 0; i < n_rows * n_in; i++) { // any bits: NaN, infinity, subnormals, ties
        uint32_t bits = noise_bits(&s);
        bits = i % 5 == 0 ? bits & 0x807fffffu : i % 7 == 0 ? bits | 0x7f800000u : bits;
        x[i] = hsdi_float_of_bits(i % 3 == 0 ? (bits & 0xffff0000u) | 0x8000u : bits);
    }
    ref->act_prepare(&(hsdi_acts){HSDI_TYPE_BF16, n_rows, n_in, want}, x, n_in, 0, n_rows);
    bf16_set()->act_prepare(&(hsdi_acts){HSDI_TYPE_BF16, n_rows, n_in, got}, x, n_in, 0, n_rows);
    assert_memory_equal(got, want, size);
    free(x);
    free(got);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_step_rounds_once_and_flushes),
        cmocka_unit_test(activations_round_to_the_nearest_bf16),
        cmocka_unit_test(the_set_equals_its_definition_and_rows_stay_apart),
        cmocka_unit_test(both_ends_of_the_exponent_are_the_same),
        cmocka_unit_test(the_edge_of_the_subnormals_is_the_same),
        cmocka_unit_test(prepared_rows_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
