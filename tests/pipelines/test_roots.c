/// Proves: the drafted token is no root but on the bonus row; own roots and proxies merge under
/// one budget, best first; damaged scores do no harm; acceptance estimates learn.
/// Does not prove: that the scores are good ones (benchmarks on models do).
#include <math.h>
#include <pipelines/roots.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const hsdi_window WINDOW = {2, {10, 20}, {0, 1}};
static const hsdi_candidate ROW_0[] = {{10, -0.1f}, {11, -2.5f}, {12, -4.0f}};
static const hsdi_candidate ROW_1[] = {{20, -0.1f}, {21, -2.5f}, {-1, 0.0f}};
static const hsdi_candidate ROW_2[] = {{30, -0.2f}, {20, -2.0f}, {32, -4.0f}};

static hsdi_roots_in plain_in(void)
{
    return (hsdi_roots_in){
        .window = &WINDOW, .n_own = 3, .own = {ROW_0, ROW_1, ROW_2}, .sources = HSDI_SOURCES_BOTH};
}

static int find(const hsdi_root *roots, int n, int row, int32_t token)
{
    for (int i = 0; i < n; i++) {
        if (roots[i].row == row && roots[i].token == token) {
            return i;
        }
    }
    return -1;
}

static void the_drafted_token_is_a_root_on_the_bonus_row_only(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[64];
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    int n = hsdi_roots_select(&calibration, &in, 64, roots);
    assert_int_equal(n, 6);
    assert_int_equal(find(roots, n, 0, 10), -1);
    assert_int_equal(find(roots, n, 1, 20), -1);
    assert_true(find(roots, n, 2, 20) >= 0);
    assert_true(find(roots, n, 1, 21) >= 0);
}

static void roots_come_best_first_and_scores_are_a_distribution(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[64];
    hsdi_roots_in in = plain_in();
    float sum = 0.0f;
    hsdi_calibration_init(&calibration);
    int n = hsdi_roots_select(&calibration, &in, 64, roots);
    for (int i = 0; i < n; i++) {
        sum += roots[i].score;
        assert_true(i == 0 || roots[i - 1].score >= roots[i].score);
    }
    assert_true(fabsf(sum - 1.0f) < 1e-4f);
    assert_int_equal(roots[0].row, 2);
    assert_int_equal(roots[0].token, 30);
}

static void a_smaller_budget_keeps_the_best(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root all[64], some[64];
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    int n = hsdi_roots_select(&calibration, &in, 64, all);
    for (int budget = 0; budget <= n; budget++) {
        assert_int_equal(hsdi_roots_select(&calibration, &in, budget, some), budget);
        for (int i = 0; i < budget; i++) {
            assert_int_equal(some[i].token, all[i].token);
            assert_int_equal(some[i].row, all[i].row);
        }
    }
}

static void proxies_add_roots_and_strengthen_shared_ones(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[64];
    hsdi_roots_in in = plain_in();
    const hsdi_candidate proxies[] = {{12, -0.1f}, {10, -3.0f}, {77, -3.0f},
                                      {20, -0.3f}, {-1, 0.0f},  {-1, 0.0f},
                                      {30, -0.1f}, {-1, 0.0f},  {-1, 0.0f}};
    hsdi_calibration_init(&calibration);
    in.n_proxies = 3;
    in.proxies = proxies;
    int n = hsdi_roots_select(&calibration, &in, 64, roots);
    int only_proxy = find(roots, n, 0, 77), both = find(roots, n, 0, 12);
    assert_true(only_proxy >= 0 && both >= 0);
    assert_int_equal(roots[only_proxy].source, HSDI_SOURCE_PROXY);
    assert_int_equal(roots[both].source, HSDI_SOURCE_OWN);
    assert_true(both < find(roots, n, 0, 11));
    assert_int_equal(find(roots, n, 0, 10), -1);
    assert_int_equal(find(roots, n, 1, 20), -1);
}

static void damaged_scores_and_missing_rows_do_no_harm(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[8];
    const hsdi_candidate bad[] = {{1, NAN}, {2, INFINITY}, {3, -INFINITY}};
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    in.own[0] = bad;
    in.own[1] = NULL;
    int n = hsdi_roots_select(&calibration, &in, 8, roots);
    for (int i = 0; i < n; i++) {
        assert_true(isfinite(roots[i].score));
        assert_int_equal(roots[i].row, 2);
    }
    hsdi_calibration_observe(&calibration, &in, 1, 3);
    assert_true(isfinite(hsdi_calibration_expect(&calibration, 0.5f, 1)));
}

static void acceptance_is_learned_per_confidence(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    float share = hsdi_share(ROW_0, 3, 10);
    float before = hsdi_calibration_expect(&calibration, share, 1);
    float low_before = hsdi_calibration_expect(&calibration, 0.2f, 2);
    for (int i = 0; i < 200; i++) {
        hsdi_calibration_observe(&calibration, &in, 0, 11);
    }
    assert_true(before > 0.8f);
    assert_true(hsdi_calibration_expect(&calibration, share, 1) < 0.05f);
    assert_true(fabsf(hsdi_calibration_expect(&calibration, 0.2f, 2) - low_before) < 1e-6f);
}

static void the_better_source_gains_weight(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[64];
    hsdi_roots_in in = plain_in();
    const hsdi_candidate proxies[] = {{77, -0.1f}, {-1, 0.0f}, {78, -0.1f},
                                      {-1, 0.0f},  {79, 0.0f}, {-1, 0.0f}};
    hsdi_calibration_init(&calibration);
    in.n_proxies = 2;
    in.proxies = proxies;
    for (int i = 0; i < 100; i++) {
        hsdi_calibration_observe(&calibration, &in, 0, 77);
    }
    int n = hsdi_roots_select(&calibration, &in, 64, roots);
    assert_true(find(roots, n, 0, 77) < find(roots, n, 0, 11));
    assert_true(calibration.proxy_mass > 10.0f * calibration.own_mass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_drafted_token_is_a_root_on_the_bonus_row_only),
        cmocka_unit_test(roots_come_best_first_and_scores_are_a_distribution),
        cmocka_unit_test(a_smaller_budget_keeps_the_best),
        cmocka_unit_test(proxies_add_roots_and_strengthen_shared_ones),
        cmocka_unit_test(damaged_scores_and_missing_rows_do_no_harm),
        cmocka_unit_test(acceptance_is_learned_per_confidence),
        cmocka_unit_test(the_better_source_gains_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
