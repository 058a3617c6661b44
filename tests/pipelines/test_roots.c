/// Proves: the drafted token is no root but on the bonus row; own roots and proxies merge under
/// one budget, best first, spread over the rows by value; damaged scores do no harm; acceptance
/// estimates learn, per confidence and per row; merging both sources gains, or
/// costs next to nothing where one is useless.
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
    assert_true(hsdi_calibration_own_weight(&calibration) < 0.2f);
}

static void acceptance_is_learned_per_row(void **state)
{
    (void)state;
    const hsdi_candidate proxies[] = {{10, -0.1f}, {11, -2.0f}, {20, -0.1f},
                                      {21, -2.0f}, {30, -0.1f}, {20, -2.0f}};
    for (int with_proxies = 0; with_proxies < 2; with_proxies++) {
        hsdi_calibration calibration;
        hsdi_root roots[64];
        hsdi_roots_in in = plain_in();
        hsdi_calibration_init(&calibration);
        in.n_proxies = 2;
        in.proxies = with_proxies ? proxies : NULL;
        for (int i = 0; i < 300; i++) { // the first token is always right, the second never
            hsdi_calibration_observe(&calibration, &in, 1, 21);
        }
        int n = hsdi_roots_select(&calibration, &in, 64, roots);
        float of_row[3] = {0.0f};
        for (int i = 0; i < n; i++) {
            of_row[roots[i].row] += roots[i].score;
        }
        assert_true(of_row[1] > 0.7f);
        assert_true(of_row[0] < 0.25f && of_row[2] < 0.15f);
        assert_int_equal(roots[0].row, 1);
        assert_int_equal(roots[0].token, 21);
    }
}

static void the_budget_goes_to_rows_by_value(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[4];
    const hsdi_candidate sure[] = {{10, -0.001f}, {11, -9.0f}, {12, -9.5f}};
    const hsdi_candidate unsure[] = {{20, -1.1f}, {21, -1.2f}, {22, -1.3f}};
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    in.own[0] = sure;
    in.own[1] = unsure;
    int n = hsdi_roots_select(&calibration, &in, 4, roots), of_row[3] = {0};
    for (int i = 0; i < n; i++) {
        of_row[roots[i].row]++;
    }
    assert_int_equal(n, 4);
    assert_int_equal(of_row[0], 0); // not a fixed number per row
    assert_int_equal(of_row[1], 2);
    assert_int_equal(of_row[2], 2);
}

/// A world in which both sources know something: of 12 tokens one happens, and each source scores
/// the tokens by whether they will, with its own noise. `skill` is how far it tells them apart.
typedef struct world {
    uint32_t random;
    hsdi_candidate own[12], proxies[12];
    int32_t truth;
} world;

static float draw(world *w)
{
    w->random = w->random * 1664525u + 1013904223u;
    return (float)(w->random >> 8) / 16777216.0f;
}

static void fill(world *w, hsdi_candidate *list, int n, float skill)
{
    for (int i = 0; i < n; i++) {
        float noise = -logf(-logf(draw(w) * 0.999f + 0.0005f));
        hsdi_candidate one = {i, noise + (i == w->truth ? skill : 0.0f)};
        int at = i;
        for (; at > 0 && list[at - 1].score < one.score; at--) {
            list[at] = list[at - 1];
        }
        list[at] = one;
    }
}

static int rank_of(const hsdi_calibration *calibration, hsdi_roots_in *in, int sources,
                   int32_t token)
{
    hsdi_root roots[64];
    in->sources = sources;
    int n = hsdi_roots_select(calibration, in, 64, roots);
    int at = find(roots, n, 0, token);
    return at < 0 ? 64 : at;
}

/// Skills of both sources, of which either may know nothing at all.
static void merging_gains_or_costs_next_to_nothing(void **state)
{
    (void)state;
    static const float skills[][2] = {{2, 2}, {3, 1}, {1, 3}, {3, 0}, {0, 3}, {1.5f, 1.5f}};
    static const hsdi_window none = {0};
    for (size_t k = 0; k < sizeof skills / sizeof skills[0]; k++) {
        world w = {.random = 7};
        hsdi_calibration calibration;
        int covered[4][3] = {{0}};
        hsdi_calibration_init(&calibration);
        for (int i = 0; i < 4000; i++) {
            w.truth = (int32_t)(12 * draw(&w));
            fill(&w, w.own, 12, skills[k][0]);
            fill(&w, w.proxies, 12, skills[k][1]);
            hsdi_roots_in in = {.window = &none,
                                .n_own = 8,
                                .own = {w.own},
                                .n_proxies = 8,
                                .proxies = w.proxies,
                                .sources = HSDI_SOURCES_BOTH};
            for (int s = HSDI_SOURCES_OWN; s <= HSDI_SOURCES_BOTH && i >= 1000; s++) {
                int rank = rank_of(&calibration, &in, s, w.truth);
                for (int b = 0; b < 3; b++) {
                    covered[s][b] += rank < 1 << b;
                }
            }
            hsdi_calibration_observe(&calibration, &in, 0, w.truth);
        }
        for (int b = 0; b < 3; b++) {
            int own = covered[HSDI_SOURCES_OWN][b], proxy = covered[HSDI_SOURCES_PROXY][b];
            int better = own > proxy ? own : proxy, both = covered[HSDI_SOURCES_BOTH][b];
            // A source that knows nothing costs at most one commit in 100.
            if (both < better - 30 || (skills[k][0] == skills[k][1] && both < better + 100)) {
                fail_msg("skills %g and %g, %d roots: %d of 3000 covered, own %d, proxies %d",
                         (double)skills[k][0], (double)skills[k][1], 1 << b, both, own, proxy);
            }
        }
    }
}

static void damaged_proxies_do_no_harm_either(void **state)
{
    (void)state;
    hsdi_calibration calibration;
    hsdi_root roots[64];
    const hsdi_candidate proxies[] = {{11, NAN},   {11, INFINITY},  {11, -1e29f},
                                      {21, -0.1f}, {21, -0.2f},     {21, -0.3f},
                                      {-1, 0.0f},  {30, -INFINITY}, {31, 0.0f}};
    hsdi_roots_in in = plain_in();
    hsdi_calibration_init(&calibration);
    in.n_proxies = 3;
    in.proxies = proxies;
    for (int i = 0; i < 1000; i++) {
        hsdi_calibration_observe(&calibration, &in, i % 3, i % 40);
    }
    int n = hsdi_roots_select(&calibration, &in, 64, roots);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        assert_true(isfinite(roots[i].score));
        assert_int_equal(find(roots, n, roots[i].row, roots[i].token), i); // none twice
    }
    for (int i = 0; i < HSDI_POOL_WEIGHTS; i++) {
        assert_true(isfinite(calibration.weight[i]));
    }
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
        cmocka_unit_test(acceptance_is_learned_per_row),
        cmocka_unit_test(the_budget_goes_to_rows_by_value),
        cmocka_unit_test(merging_gains_or_costs_next_to_nothing),
        cmocka_unit_test(damaged_proxies_do_no_harm_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
