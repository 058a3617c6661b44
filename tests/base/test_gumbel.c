/// Proves: the noise of each of the 2^24 draws is the float nearest to -log(-log u), by the C
///           library's long double where that has 64 bits; its bound is never below it and never
///           much above; it does not fall as the draw grows, which tables of bounds rest on.
///         Weights of top-p are near to those by the C library.
/// Does not prove: that a device compiles the same text to the same bits:
///           tests/devices/test_draw.c.
#include "base/gumbel.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_DRAWS = 1 << 24 };

static double uniform(int k)
{
    return ((double)k + 0.5) / N_DRAWS;
}

static void every_noise_is_the_nearest_float(void **state)
{
    (void)state;
    if (LDBL_MANT_DIG < 64) {
        skip(); // double itself is off by one unit for one of them
    }
    for (int k = 0; k < N_DRAWS; k++) {
        float got = hsdi_gumbel_of((uint32_t)k << 8);
        float want = (float)-logl(-logl((long double)uniform(k)));
        if (memcmp(&got, &want, sizeof got) != 0) {
            fail_msg("draw %d: noise %a, should be %a", k, (double)got, (double)want);
        }
    }
}

static void the_low_bits_of_a_draw_do_not_count(void **state)
{
    (void)state;
    for (uint32_t low = 0; low < 256; low++) {
        float a = hsdi_gumbel_of(0x12345600u), b = hsdi_gumbel_of(0x12345600u | low);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void bounds_hold_and_noise_does_not_fall(void **state)
{
    (void)state;
    float before = -INFINITY;
    for (int k = 0; k < N_DRAWS; k++) {
        float noise = hsdi_gumbel_of((uint32_t)k << 8), bound = hsdi_gumbel_bound((uint32_t)k << 8);
        double most = INFINITY; // log 2, and what -log u is more than 1 - u
        if (k % 64 == 0) {
            most = log(2.0) + log(-log(uniform(k)) / (1.0 - uniform(k))) + 1e-5;
        }
        if (!(bound >= noise && (double)bound - (double)noise <= most && noise >= before)) {
            fail_msg("draw %d: noise %g, bound %g, noise before %g", k, (double)noise,
                     (double)bound, (double)before);
        }
        before = noise;
    }
}

static void weights_are_near_to_exp(void **state)
{
    (void)state;
    static const float none[] = {1e-6f, INFINITY, -27.001f, -INFINITY, NAN};
    assert_true(hsdi_exp_fixed(0.0f) == UINT64_C(1) << 39);
    assert_true(hsdi_exp_fixed(-0.0f) == UINT64_C(1) << 39);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_true(hsdi_exp_fixed(none[i]) == 0);
    }
    for (int k = 0; k < 27 * (1 << 18); k++) {
        float x = -(float)k / (float)(1 << 18);
        double want = exp((double)x) * 0x1p39, got = (double)hsdi_exp_fixed(x);
        if (!(fabs(got - want) <= 1e-8 * want + 1.0)) {
            fail_msg("exp(%.9g) * 2^39: %.17g, should be %.17g", (double)x, got, want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_noise_is_the_nearest_float),
        cmocka_unit_test(the_low_bits_of_a_draw_do_not_count),
        cmocka_unit_test(bounds_hold_and_noise_does_not_fall),
        cmocka_unit_test(weights_are_near_to_exp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
