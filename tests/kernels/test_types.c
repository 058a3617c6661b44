/// Proves: f16 conversions are exact and round to nearest even; the type table; the set of kernels
/// is
///         lowered by HSD_ISA and never raised; fma and exp of ref are what they claim.
/// Does not prove: detection on other processors.
#include "kernels/ref/math.h"
#include "tests/kernels/support.h"

static float f16_by_definition(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    float size = exponent == 0 ? ldexpf((float)fraction, -24)
                               : ldexpf((float)(1024 + fraction), exponent - 25);
    if (exponent == 31) {
        size = fraction ? NAN : INFINITY;
    }
    return h & 0x8000 ? -size : size;
}

static void every_f16_converts_exactly_and_back(void **state)
{
    (void)state;
    for (int h = 0; h < 65536; h++) {
        float f = hsdi_f16_to_f32((uint16_t)h);
        assert_true(same_bits(f, f16_by_definition((uint16_t)h)));
        if (f == f) {
            assert_int_equal(hsdi_f32_to_f16(f), h);
        } else {
            float again = hsdi_f16_to_f32(hsdi_f32_to_f16(f));
            assert_true(again != again);
        }
    }
}

static void f32_rounds_to_the_nearest_f16_ties_to_even(void **state)
{
    (void)state;
    for (int h = 0; h < 0x7bff; h++) { // between each number and the next
        float low = f16_by_definition((uint16_t)h), high = f16_by_definition((uint16_t)(h + 1));
        float middle = 0.5f * (low + high); // exact: 12 bits
        assert_int_equal(hsdi_f32_to_f16(middle), h % 2 ? h + 1 : h);
        assert_int_equal(hsdi_f32_to_f16(nextafterf(middle, 0.0f)), h);
        assert_int_equal(hsdi_f32_to_f16(nextafterf(-middle, -INFINITY)), (h + 1) | 0x8000);
    }
    assert_int_equal(hsdi_f32_to_f16(65519.9f), 0x7bff);
    assert_int_equal(hsdi_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(hsdi_f32_to_f16(1e30f), 0x7c00);
}

static void known_types_are_found_and_others_are_not(void **state)
{
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        const hsdi_type_info *info = hsdi_type_find(all_types[i]);
        assert_non_null(info);
        assert_int_equal(info->type, all_types[i]);
    }
    assert_string_equal(hsdi_type_find(HSDI_TYPE_Q4_K)->name, "Q4_K");
    assert_null(hsdi_type_find(3));
    assert_null(hsdi_type_find(-1));
    assert_null(hsdi_type_find(INT64_MAX));
    assert_null(hsdi_type_find((1LL << 32) + 1));
}

static void hsd_isa_names_any_set_that_this_processor_runs(void **state)
{
    (void)state;
    static const char *const names[] = {"ref", "avx2", "avx512", "avx512bf16"};
    unsetenv("HSD_ISA");
    hsdi_isa top = hsdi_isa_supported(), usual = hsdi_isa_detect();
    assert_int_equal(usual, top < HSDI_ISA_AVX512 ? top : HSDI_ISA_AVX512);
    for (int i = 0; i < HSDI_N_ISA; i++) {
        setenv("HSD_ISA", names[i], 1);
        assert_int_equal(hsdi_isa_detect(), i <= (int)top ? i : (int)usual);
    }
    setenv("HSD_ISA", "nonsense", 1);
    assert_int_equal(hsdi_isa_detect(), usual);
    unsetenv("HSD_ISA");
}

static void get_returns_the_nearest_lower_set(void **state)
{
    (void)state;
    for (int i = -1; i <= HSDI_N_ISA; i++) {
        const hsdi_kernels *set = hsdi_kernels_get((hsdi_isa)i);
        assert_non_null(set);
        assert_true((int)set->isa <= i || set->isa == HSDI_ISA_REF);
        assert_non_null(set->log_sum_exp);
    }
}

/// Bits that are often near each other's exponent, so that sums cancel and round.
static float odd_float(noise *s, int i)
{
    uint32_t bits = noise_bits(s);
    if (i % 2) {
        bits = (bits & 0x80ffffffu) | 0x3f000000u;
    } else if (i % 7 == 0) {
        bits = (bits & 0x807fffffu) | (bits >> 7 & 3) << 23; // subnormal or nearly
    }
    return hsdi_float_of_bits(bits);
}

static void fma_of_ref_equals_fmaf(void **state)
{
    (void)state;
    noise s = {11};
    for (int i = 0; i < 3000000; i++) {
        float a = odd_float(&s, i), b = odd_float(&s, i), c = odd_float(&s, i);
        c = i % 5 == 0 ? -(a * b) : c;
        if (!same_bits(fma1(a, b, c), fmaf(a, b, c))) {
            fail_msg("fma(%a, %a, %a): got %a, want %a", (double)a, (double)b, (double)c,
                     (double)fma1(a, b, c), (double)fmaf(a, b, c));
        }
    }
}

static void exp_of_ref_is_within_4e7(void **state)
{
    (void)state;
    for (double x = -87.32; x < 88.36; x += 1e-4) {
        double want = exp((double)(float)x), got = (double)exp1((float)x);
        if (!(fabs(got - want) <= 4e-7 * want)) {
            fail_msg("exp(%g): got %g, want %g", (double)(float)x, got, want);
        }
    }
    assert_true(exp1(0.0f) == 1.0f);
    assert_true(exp1(-INFINITY) == 0.0f);
    assert_true(exp1(-88.0f) == 0.0f);
    assert_true(exp1(INFINITY) == INFINITY);
    float nan = exp1(hsdi_float_of_bits(0x7fc00003u));
    assert_true(nan != nan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_f16_converts_exactly_and_back),
        cmocka_unit_test(f32_rounds_to_the_nearest_f16_ties_to_even),
        cmocka_unit_test(known_types_are_found_and_others_are_not),
        cmocka_unit_test(hsd_isa_names_any_set_that_this_processor_runs),
        cmocka_unit_test(get_returns_the_nearest_lower_set),
        cmocka_unit_test(fma_of_ref_equals_fmaf),
        cmocka_unit_test(exp_of_ref_is_within_4e7),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
