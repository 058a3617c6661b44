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
    for (int n = 0; n <= HSDI_WINDOW_MAX; n++) {
        for (int wrong = 0; wrong <= n; wrong++) {
            hsdi_window window = {0};
            int32_t own[HSDI_WINDOW_MAX + 1];
            for (int i = 0; i <= n; i++) {
                own[i] = 100 + i;
                if (i < n) {
                    (void)hsdi_window_add(&window, i, i == wrong ? 7 : own[i]);
                }
            }
            assert_int_equal(hsdi_verify(&window, own), wrong);
        }
    }
}

static void a_match_behind_a_mismatch_does_not_count(void **state)
{
    (void)state;
    const hsdi_window window = {3, {1, 9, 3}, {0, 1, 2}};
    const int32_t own[] = {1, 2, 3, 4};
    assert_int_equal(hsdi_verify(&window, own), 1);
}

static void in_a_tree_the_child_that_the_target_says_is_followed(void **state)
{
    (void)state;
    // 0 -> {5 -> {6 -> 9}, 7 -> {6}}
    const hsdi_window window = {5, {5, 7, 6, 6, 9}, {0, 0, 1, 2, 3}};
    const int32_t through_7[] = {7, 1, 6, 1, 8, 1}, through_5[] = {5, 6, 1, 9, 1, 4};
    assert_int_equal(hsdi_verify(&window, through_7), 4);
    assert_int_equal(hsdi_verify(&window, through_5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mismatch_ends_the_accepted_prefix),
        cmocka_unit_test(a_match_behind_a_mismatch_does_not_count),
        cmocka_unit_test(in_a_tree_the_child_that_the_target_says_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
