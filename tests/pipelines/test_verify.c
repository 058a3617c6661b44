/// Proves: the accepted prefix is the longest one that the target's own tokens equal.
/// Does not prove: that a stage's tokens are the right ones.
#include <pipelines/verify.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void a_mismatch_ends_the_accepted_prefix(void **state)
{
    (void)state;
    for (int n = 0; n <= 16; n++) {
        for (int wrong = 0; wrong <= n; wrong++) {
            int32_t window[16], own[17];
            for (int i = 0; i <= n; i++) {
                own[i] = 100 + i;
                if (i < n) {
                    window[i] = i == wrong ? 7 : own[i];
                }
            }
            assert_int_equal(hsdi_verify(window, n, own), wrong);
        }
    }
}

static void a_match_behind_a_mismatch_does_not_count(void **state)
{
    (void)state;
    const int32_t window[] = {1, 9, 3}, own[] = {1, 2, 3, 4};
    assert_int_equal(hsdi_verify(window, 3, own), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mismatch_ends_the_accepted_prefix),
        cmocka_unit_test(a_match_behind_a_mismatch_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
