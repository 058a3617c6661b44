/// Proves: with given acceptances and step times, lengths settle on the one of the most tokens per
/// time, on none where the target alone is faster, and follow when the text changes; they begin
/// with a good plan's, and leave a wrong one's.
/// Does not prove: that real times are as steady as these.
#include <pipelines/pace.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/// A world: acceptance of every drafted token, and what steps cost.
typedef struct world {
    double accept;
    double pass_ns, row_ns, token_ns; ///< of a pass, per row of it, per drafted token
} world;

static uint64_t random_state = 7;

static double chance(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static double time_of(const world *w, int n)
{
    return w->pass_ns + (double)n * (w->row_ns + w->token_ns);
}

static double rate_of(const world *w, int n)
{
    double tokens = 1.0, reach = 1.0;
    for (int i = 0; i < n; i++) {
        reach *= w->accept;
        tokens += reach;
    }
    return tokens / time_of(w, n);
}

static double best_rate(const world *w, int n_most)
{
    double best = 0.0;
    for (int n = 0; n <= n_most; n++) {
        best = rate_of(w, n) > best ? rate_of(w, n) : best;
    }
    return best;
}

/// Mean of the true rates of the lengths chosen in the second half of n_steps.
static double run(hsdi_pace *pace, const world *w, int n_steps)
{
    double tokens = 0.0, time = 0.0;
    for (int step = 0; step < n_steps; step++) {
        int n = hsdi_pace_choose(pace), n_accepted = 0;
        assert_in_range(n, 0, pace->n_most);
        while (n_accepted < n && chance() < w->accept) {
            n_accepted++;
        }
        double noise = 0.95 + 0.1 * chance();
        hsdi_pace_observe(pace, n, n, n_accepted, (int64_t)(time_of(w, n) * noise));
        if (step >= n_steps / 2) {
            tokens += rate_of(w, n) * time_of(w, n);
            time += time_of(w, n);
        }
    }
    return tokens / time;
}

static const world worlds[] = {
    {0.9, 1e6, 1e4, 1e4},  // good and cheap: long
    {0.6, 1e6, 5e4, 5e4},  // middling
    {0.3, 1e6, 2e5, 2e5},  // poor and dear: none
    {0.05, 1e6, 1e4, 3e5}, // nearly always wrong: none
    {0.8, 1e6, 0.0, 5e6},  // a draft much slower than the target: none
};

static void lengths_settle_near_the_best(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        for (int n_most = 1; n_most <= HSDI_WINDOW_MAX; n_most += 5) {
            hsdi_pace pace;
            hsdi_pace_init(&pace, n_most, false, true);
            double share = run(&pace, &worlds[i], 2000) / best_rate(&worlds[i], n_most);
            if (share < 0.93) {
                fail_msg("world %d, up to %d: %.3f of the best rate", (int)i, n_most, share);
            }
        }
    }
}

/// A world as a plan sees it, all times `factor` times too long, and rows and drafts `slope` times
/// too dear beside the pass.
static void expect(hsdi_pace *pace, const world *w, double factor, double slope)
{
    float ns[HSDI_WINDOW_MAX + 1];
    double accept[HSDI_WINDOW_MAX + 1];
    for (int n = 0; n <= HSDI_WINDOW_MAX; n++) {
        ns[n] = (float)(factor * (w->pass_ns + slope * n * (w->row_ns + w->token_ns)));
        accept[n] = w->accept;
    }
    hsdi_pace_expect(pace, ns, accept);
}

static void a_good_plan_needs_no_steps_to_see_lengths(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        hsdi_pace pace;
        hsdi_pace_init(&pace, 8, false, true);
        expect(&pace, &worlds[i], 1.3, 1.0);
        double rate = 0.0;
        for (int step = 0; step < 8; step++) {
            int n = hsdi_pace_choose(&pace);
            rate = rate_of(&worlds[i], n);
            hsdi_pace_observe(&pace, n, n, (int)(worlds[i].accept * n),
                              (int64_t)time_of(&worlds[i], n));
            if (step == 0 && rate < 0.95 * best_rate(&worlds[i], 8)) {
                fail_msg("world %d begins with windows of %d", (int)i, n);
            }
        }
    }
}

static void a_wrong_plan_is_found_out(void **state)
{
    (void)state;
    static const double wrong[][2] = {{5.0, 1.0}, {0.2, 1.0}, {1.0, 4.0}, {1.0, 0.25}, {0.5, 6.0}};
    for (size_t i = 0; i < sizeof worlds / sizeof worlds[0]; i++) {
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            hsdi_pace pace;
            hsdi_pace_init(&pace, 8, false, true);
            expect(&pace, &worlds[i], wrong[k][0], wrong[k][1]);
            double share = run(&pace, &worlds[i], 2000) / best_rate(&worlds[i], 8);
            if (share < 0.93) {
                fail_msg("world %d, plan %d: %.3f of the best rate", (int)i, (int)k, share);
            }
        }
    }
}

static void lengths_follow_a_change(void **state)
{
    (void)state;
    hsdi_pace pace;
    hsdi_pace_init(&pace, 8, false, true);
    for (int i = 0; i < 4; i++) {
        const world *w = &worlds[i % 2 == 0 ? 0 : 3];
        double share = run(&pace, w, 4000) / best_rate(w, 8);
        if (share < 0.9) {
            fail_msg("change %d: %.3f of the best rate", i, share);
        }
    }
}

static void a_draft_that_is_never_right_costs_next_to_nothing(void **state)
{
    (void)state;
    const world useless = {0.0, 1e6, 1e5, 3e5};
    hsdi_pace pace;
    hsdi_pace_init(&pace, 8, false, true);
    double first = run(&pace, &useless, 2000) / best_rate(&useless, 8); // its second half
    for (int i = 0; i < 20; i++) { // generations: what is known stays
        hsdi_pace_begin(&pace);
        double share = run(&pace, &useless, 2000) / best_rate(&useless, 8);
        if (share < 0.97 || first < 0.97) {
            fail_msg("generation %d: %.3f of the target alone, at first %.3f", i, share, first);
        }
    }
}

static void a_trial_that_costs_more_is_rarer(void **state)
{
    (void)state;
    int n_trials[2] = {0};
    for (int dear = 0; dear < 2; dear++) {
        const world w = {0.0, 1e6, 1e5, dear ? 5e6 : 1e5};
        hsdi_pace pace;
        hsdi_pace_init(&pace, 8, false, true);
        for (int step = 0; step < 3000; step++) {
            int n = hsdi_pace_choose(&pace);
            hsdi_pace_observe(&pace, n, n, 0, (int64_t)time_of(&w, n));
            n_trials[dear] += step > 100 && n > 0;
        }
    }
    assert_true(n_trials[0] > 0 && n_trials[1] > 0); // a text may change
    assert_true(n_trials[1] < n_trials[0]);
}

static void a_fixed_length_stays(void **state)
{
    (void)state;
    hsdi_pace pace;
    hsdi_pace_init(&pace, 5, true, true);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(hsdi_pace_choose(&pace), 5);
        hsdi_pace_observe(&pace, 5, 5, 0, 1000000);
    }
}

static void a_pace_that_may_not_pause_asks_for_one_token(void **state)
{
    (void)state;
    hsdi_pace pace;
    hsdi_pace_init(&pace, 8, false, false);
    for (int i = 0; i < 500; i++) {
        int n = hsdi_pace_choose(&pace);
        assert_in_range(n, 1, 8);
        hsdi_pace_observe(&pace, n, n, 0, 1000000 + 500000 * n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_settle_near_the_best),
        cmocka_unit_test(a_good_plan_needs_no_steps_to_see_lengths),
        cmocka_unit_test(a_wrong_plan_is_found_out),
        cmocka_unit_test(lengths_follow_a_change),
        cmocka_unit_test(a_draft_that_is_never_right_costs_next_to_nothing),
        cmocka_unit_test(a_trial_that_costs_more_is_rarer),
        cmocka_unit_test(a_fixed_length_stays),
        cmocka_unit_test(a_pace_that_may_not_pause_asks_for_one_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
