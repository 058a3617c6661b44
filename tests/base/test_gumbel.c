/// Proves: the noise of each of the 2^24 draws is the float nearest to -log(-log u), by the C
///           library's long double where that has 64 bits; its bound is never below it and never
///           much above; it does not fall as the draw grows, which tables of bounds rest on.
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
        // log 2, and what -log u is more than 1 - u.
        double most = log(2.0) + log(-log(uniform(k)) / (1.0 - uniform(k))) + 1e-5;
        if (!(bound >= noise && (double)bound - (double)noise <= most && noise >= before)) {
            fail_msg("draw %d: noise %g, bound %g, noise before %g", k, (double)noise,
                     (double)bound, (double)before);
        }
        before = noise;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_noise_is_the_nearest_float),
        cmocka_unit_test(the_low_bits_of_a_draw_do_not_count),
        cmocka_unit_test(bounds_hold_and_noise_does_not_fall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
