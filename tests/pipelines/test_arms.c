/// Proves: whatever arm a generation changes to, at whatever step, with whatever draft, the text is
/// that of mode ar; workers are opened again and serve; every mode is reached; a worker that dies
/// in between changes nothing. Does not prove: that a change pays (test_watch.c).
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/// An arm that nothing is expected of.
#define ARM(mode_, window_, tree_, roots_)                                                         \
    {                                                                                              \
        .mode = (mode_), .window = (window_), .tree = (tree_), .roots = (roots_)                   \
    }

static int setup(void **state)
{
    hsdi_context *context = NULL;
    hsd_error err;
    if (hsdi_context_create(&context, &err) != HSD_OK) {
        return -1;
    }
    *state = context;
    return 0;
}

static int teardown(void **state)
{
    hsdi_context *context = *state;
    hsdi_context_destroy(&context);
    return 0;
}

static const hsdi_watch_config arms = {
    .n_arms = 6,
    .first = 0,
    .arms = {ARM(HSD_MODE_AR, 7, 7, 16), ARM(HSD_MODE_SERIAL, 3, 3, 16),
             ARM(HSD_MODE_MIRROR, 5, 5, 16), ARM(HSD_MODE_ASYNC, 4, 4, 16),
             ARM(HSD_MODE_MIRROR, 2, 6, 3), ARM(HSD_MODE_SERIAL, 7, 12, 1)},
    .accept = 0.6,
    .margin = 1.05};

/// Forces another arm at random steps.
typedef struct forcer {
    hsdi_target *target;
    uint64_t random;
    int every;
} forcer;

static void force(void *user, int n_tokens)
{
    forcer *f = user;
    (void)n_tokens;
    f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    if ((f->random >> 40) % (uint64_t)f->every == 0) {
        hsdi_target_set_arm(f->target, (int)((f->random >> 33) % (uint64_t)arms.n_arms));
    }
}

typedef struct sums {
    int64_t replans, steps, drafted, hits, n_modes[5];
} sums;

static void run_one(hsdi_context *context, uint64_t seed, int n_workers, int n_generations,
                    sums *sum)
{
    static const scripted_kind kinds[] = {SCRIPTED_AGREE, SCRIPTED_AGREE,  SCRIPTED_ALMOST,
                                          SCRIPTED_WRONG, SCRIPTED_SHORT,  SCRIPTED_EMPTY,
                                          SCRIPTED_AGREE, SCRIPTED_GARBAGE};
    scripted_script script = scripted_default(seed);
    hsdi_target_config config;
    rig_worker workers[2] = {0};
    const char *endpoints[2];
    int32_t prompt[16];
    hsd_error err = {0};
    char what[64];
    script.kind = kinds[seed % 8];
    script.has_exit = seed % 3 > 0;
    for (int i = 0; i < n_workers; i++) {
        rig_worker_start(&workers[i], context, &script);
        endpoints[i] = workers[i].endpoint;
    }
    hsdi_target_config_init(&config);
    hsdi_watch_config watch = arms;
    watch.first = (int)(seed % (uint64_t)arms.n_arms);
    config.vocab_hash = 0x1234;
    config.draft.tree = 12;
    config.watch = &watch;
    config.adapts = seed % 2;
    config.endpoints = endpoints;
    config.n_endpoints = n_workers;
    hsdi_target_stage stage = scripted_target_open(&script);
    hsdi_target *target = NULL;
    if (hsdi_target_create(context, &config, &stage, &target, &err) != HSD_OK) {
        fail_msg("seed %d: %s", (int)seed, err.message);
    }
    forcer f = {target, seed * 31, 1 + (int)(seed % 23)};
    for (int g = 0; g < n_generations; g++) {
        rig_output out, expected;
        rig_job job = {.end_token = -1, .on_token = force, .user = &f};
        snprintf(what, sizeof what, "seed %d, generation %d", (int)seed, g);
        rig_prompt(&script, seed + (uint64_t)g, prompt, 10);
        rig_expect(&script, prompt, 10, 90, -1, &expected);
        rig_generate(target, prompt, 10, 90, &job, &out);
        rig_assert_equal(&out, &expected, what);
        sum->replans += out.stats.replans;
        sum->steps += out.stats.steps;
        sum->drafted += out.stats.drafted;
        sum->hits += out.stats.hits;
        sum->n_modes[out.stats.mode]++;
    }
    hsdi_target_destroy(&target);
    scripted_target_close(&stage);
    for (int i = 0; i < n_workers; i++) {
        rig_worker_stop(&workers[i]);
    }
}

static void forced_changes_at_random_steps_change_no_token(void **state)
{
    sums sum = {0};
    for (uint64_t seed = 1; seed <= 120; seed++) {
        run_one(*state, seed, seed % 7 == 0 ? 2 : 1, 2, &sum);
    }
    print_message(
        "%d changes in %d steps, %d drafted, %d hits; ended in ar %d, serial %d, mirror %d, "
        "async %d\n",
        (int)sum.replans, (int)sum.steps, (int)sum.drafted, (int)sum.hits, (int)sum.n_modes[1],
        (int)sum.n_modes[2], (int)sum.n_modes[3], (int)sum.n_modes[4]);
    assert_true(sum.replans > 300 && sum.drafted > 1000 && sum.hits > 0);
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        assert_true(sum.n_modes[mode] > 0);
    }
}

static void without_any_worker_arms_change_nothing(void **state)
{
    sums sum = {0};
    run_one(*state, 8, 0, 1, &sum);
    run_one(*state, 9, 0, 1, &sum);
    assert_int_equal(sum.drafted, 0);
}

typedef struct killer {
    forcer force;
    rig_worker *worker;
    hsdi_context *context;
    const scripted_script *script;
} killer;

static void kill_and_start(void *user, int n_tokens)
{
    killer *k = user;
    force(&k->force, n_tokens);
    if (n_tokens == 30) {
        rig_worker_stop(k->worker);
    } else if (n_tokens == 60) {
        rig_worker_start(k->worker, k->context, k->script);
    }
}

static void a_worker_that_dies_between_changes_costs_no_token(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        scripted_script script = scripted_default(seed);
        hsdi_target_config config;
        rig_worker worker = {0};
        rig_output out, expected;
        int32_t prompt[16];
        hsd_error err = {0};
        rig_worker_start(&worker, *state, &script);
        const char *endpoint = worker.endpoint;
        hsdi_target_config_init(&config);
        config.vocab_hash = 0x1234;
        config.draft.tree = 12;
        config.watch = &arms;
        config.endpoints = &endpoint;
        config.n_endpoints = 1;
        config.deadline_ms = 60;
        config.retry_ms = 5;
        hsdi_target_stage stage = scripted_target_open(&script);
        hsdi_target *target = NULL;
        assert_int_equal(hsdi_target_create(*state, &config, &stage, &target, &err), HSD_OK);
        killer k = {{target, seed, 6}, &worker, *state, &script};
        rig_job job = {.end_token = -1, .on_token = kill_and_start, .user = &k};
        rig_prompt(&script, seed, prompt, 10);
        rig_expect(&script, prompt, 10, 90, -1, &expected);
        rig_generate(target, prompt, 10, 90, &job, &out);
        rig_assert_equal(&out, &expected, "a worker died");
        hsdi_target_destroy(&target);
        scripted_target_close(&stage);
        rig_worker_stop(&worker);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forced_changes_at_random_steps_change_no_token),
        cmocka_unit_test(without_any_worker_arms_change_nothing),
        cmocka_unit_test(a_worker_that_dies_between_changes_costs_no_token),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
