/// Proves:
/// - every mode, window, root count, worker count, draft quality, end token and context length
///   gives exactly the text of mode ar, also where it stops;
/// - a draft that is right hits in mirror mode, and perfect proxies hit where the draft fails;
/// - stopping, cancelling and limits end a generation where they say.
/// Does not prove: anything about real models or about speed.
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

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

/// No worker is late here, however busy the machine; but branches may not be ready when they are
/// wanted. What needs them in time gets some tries.
enum { SOON_MS = 60000, TRIES = 20 };

typedef struct setting {
    scripted_script script;
    hsdi_target_config config;
    int n_workers, n_prompt, n_tokens, n_generations;
    int32_t end_token;
} setting;

static setting plain_setting(uint64_t seed)
{
    setting s = {.script = scripted_default(seed),
                 .n_workers = 1,
                 .n_prompt = 10,
                 .n_tokens = 100,
                 .n_generations = 1,
                 .end_token = -1};
    hsdi_target_config_init(&s.config);
    s.config.vocab_hash = 0x1234;
    s.config.handshake_ms = s.config.first_deadline_ms = s.config.deadline_ms = SOON_MS;
    return s;
}

/// Runs a setting against its own definition; *out is the last generation.
static void run_setting(hsdi_context *context, setting *s, const char *what, rig_output *out)
{
    rig_worker workers[3] = {0};
    const char *endpoints[3];
    int32_t prompt[RIG_TOKENS_MAX];
    hsd_error err = {0};
    for (int i = 0; i < s->n_workers; i++) {
        rig_worker_start(&workers[i], context, &s->script);
        endpoints[i] = workers[i].endpoint;
    }
    s->config.endpoints = endpoints;
    s->config.n_endpoints = s->n_workers;
    hsdi_target_stage stage = scripted_target_open(&s->script);
    hsdi_target *target = NULL;
    hsd_status status = hsdi_target_create(context, &s->config, &stage, &target, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s", what, err.message);
    }
    for (int i = 0; i < s->n_generations; i++) {
        rig_output expected;
        rig_job job = {.end_token = s->end_token};
        rig_prompt(&s->script, s->script.seed + (uint64_t)i, prompt, s->n_prompt);
        rig_expect(&s->script, prompt, s->n_prompt, s->n_tokens, s->end_token, &expected);
        rig_generate(target, prompt, s->n_prompt, s->n_tokens, &job, out);
        rig_assert_equal(out, &expected, what);
        assert_int_equal(out->stats.n_tokens, out->n_tokens);
        if (out->stats.workers_lost) {
            fail_msg("%s: %d workers lost", what, (int)out->stats.workers_lost);
        }
    }
    hsdi_target_destroy(&target);
    scripted_target_close(&stage);
    for (int i = 0; i < s->n_workers; i++) {
        rig_worker_stop(&workers[i]);
    }
}

static void every_mode_gives_the_text_of_ar(void **state)
{
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        setting s = plain_setting(1);
        rig_output out;
        s.config.mode = (hsd_mode)mode;
        run_setting(*state, &s,
                    mode == HSD_MODE_AR       ? "ar"
                    : mode == HSD_MODE_SERIAL ? "serial"
                    : mode == HSD_MODE_MIRROR ? "mirror"
                                              : "async",
                    &out);
        assert_int_equal(out.stats.workers_lost, 0);
    }
}

static void a_draft_that_is_right_hits_in_mirror_mode(void **state)
{
    setting s = plain_setting(2);
    rig_output out;
    s.script.agreement = 1.0;
    s.script.pass_us = 2000;
    int n_tries = 0;
    do {
        run_setting(*state, &s, "agreement 1", &out);
        assert_int_equal(out.stats.accepted, out.stats.drafted);
        assert_int_equal(out.stats.proxy_hits, 0);
        assert_int_equal(out.stats.own_hits, out.stats.hits);
    } while ((out.stats.hits < out.stats.steps / 2 || out.stats.steps > 100 / 8 + 2) &&
             ++n_tries < TRIES);
    assert_true(out.stats.hits >= out.stats.steps / 2);
    assert_true(out.stats.steps <= 100 / 8 + 2);
}

static void perfect_proxies_hit_where_the_draft_fails(void **state)
{
    setting s = plain_setting(3);
    rig_output out;
    s.script.kind = SCRIPTED_WRONG;
    s.script.pass_us = 2000;
    int n_tries = 0;
    do {
        run_setting(*state, &s, "perfect proxies", &out);
        assert_int_equal(out.stats.accepted, 0);
        assert_int_equal(out.stats.own_hits, 0);
    } while (out.stats.proxy_hits < out.stats.steps / 2 && ++n_tries < TRIES);
    assert_true(out.stats.proxy_hits >= out.stats.steps / 2);
}

static void several_workers_share_the_roots(void **state)
{
    setting s = plain_setting(4);
    rig_output out;
    s.n_workers = 3;
    s.script.agreement = 0.6;
    s.script.pass_us = 2000;
    int n_tries = 0;
    do {
        run_setting(*state, &s, "three workers", &out);
    } while (out.stats.hits == 0 && ++n_tries < TRIES);
    assert_true(out.stats.hits > 0);
    assert_int_equal(out.stats.workers_lost, 0);
}

static uint64_t draw(uint64_t *state, uint64_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % n;
}

static setting random_setting(uint64_t seed)
{
    setting s = plain_setting(seed);
    uint64_t r = seed * 977 + 1;
    static const double agreements[] = {0.0, 0.3, 0.7, 1.0};
    s.script.n_vocab = draw(&r, 3) == 0 ? 2 + (int)draw(&r, 6) : 500;
    s.script.n_ctx = 16 + (int)draw(&r, 120);
    s.script.target_rows = draw(&r, 4) == 0 ? 1 + (int)draw(&r, 8) : 64;
    s.script.draft_rows = draw(&r, 3) == 0 ? 1 + (int)draw(&r, 8) : 64;
    s.script.draft_ctx = draw(&r, 8) == 0 ? 8 + (int)draw(&r, 40) : 0;
    s.script.kind = (scripted_kind)draw(&r, SCRIPTED_GARBAGE + 1);
    s.script.kind = draw(&r, 2) == 0 ? SCRIPTED_AGREE : s.script.kind;
    s.script.agreement = agreements[draw(&r, 4)];
    s.script.listed = agreements[draw(&r, 4)];
    s.script.period = 2 + (int)draw(&r, 8);
    s.script.has_exit = draw(&r, 3) != 0;
    s.script.proxies = (scripted_proxies)draw(&r, 3);
    s.script.pass_us = draw(&r, 4) == 0 ? 300 : 0;
    static const hsd_mode modes[] = {HSD_MODE_SERIAL, HSD_MODE_ASYNC, HSD_MODE_MIRROR,
                                     HSD_MODE_MIRROR};
    s.config.mode = modes[draw(&r, 4)];
    s.config.adapts = draw(&r, 2) == 0;
    s.config.draft.window = 1 + (int)draw(&r, 16);
    s.config.draft.tree = s.config.draft.window;
    if (draw(&r, 2) == 0) {
        s.config.draft.tree += (int)draw(&r, (uint64_t)(HSDI_TREE_MAX - s.config.draft.window) + 1);
    }
    s.config.draft.sources = 1 + (int)draw(&r, 3);
    s.config.draft.is_audited = draw(&r, 2) == 0;
    s.config.draft.miss_window = 1 + (int)draw(&r, (uint64_t)s.config.draft.window);
    s.config.draft.roots = 1 + (int)draw(&r, 64);
    s.config.draft.n_top = 1 + (int)draw(&r, 16);
    s.config.n_proxies = (int)draw(&r, 17);
    s.n_workers = 1 + (int)draw(&r, 3);
    s.n_prompt = 1 + (int)draw(&r, (uint64_t)s.script.n_ctx - 1);
    s.n_tokens = draw(&r, 3) == 0 ? 0 : 1 + (int)draw(&r, 80);
    s.n_generations = 1 + (int)draw(&r, 3);
    s.end_token = draw(&r, 3) == 0 ? (int32_t)draw(&r, (uint64_t)s.script.n_vocab) : -1;
    if (draw(&r, 6) == 0) {
        s.script.draft_cells_short = (int)draw(&r, 60);
    }
    return s;
}

static void random_settings_give_the_text_of_ar(void **state)
{
    enum { N_SETTINGS = 400 };
    for (uint64_t seed = 1; seed <= N_SETTINGS; seed++) {
        setting s = random_setting(seed);
        rig_output out;
        char what[160];
        snprintf(what, sizeof what, "seed %d (mode %d, window %d, tree %d, roots %d, workers %d)",
                 (int)seed, (int)s.config.mode, s.config.draft.window, s.config.draft.tree,
                 s.config.draft.roots, s.n_workers);
        run_setting(*state, &s, what, &out);
    }
}

static void a_false_from_emit_stops_at_that_token(void **state)
{
    setting s = plain_setting(5);
    rig_worker worker = {0};
    rig_output out, expected;
    int32_t prompt[10];
    hsd_error err;
    rig_worker_start(&worker, *state, &s.script);
    const char *endpoint = worker.endpoint;
    s.config.endpoints = &endpoint;
    s.config.n_endpoints = 1;
    hsdi_target_stage stage = scripted_target_open(&s.script);
    hsdi_target *target = NULL;
    assert_int_equal(hsdi_target_create(*state, &s.config, &stage, &target, &err), HSD_OK);
    rig_prompt(&s.script, 1, prompt, 10);
    for (int n = 1; n < 30; n += 7) {
        rig_job job = {.end_token = -1, .n_stop = n};
        rig_generate(target, prompt, 10, 0, &job, &out);
        assert_int_equal(out.status, HSD_ECANCELED);
        assert_int_equal(out.n_tokens, n);
        out.status = HSD_OK;
        rig_expect(&s.script, prompt, 10, n, -1, &expected);
        rig_assert_equal(&out, &expected, "stopped");
    }
    hsdi_target_destroy(&target);
    scripted_target_close(&stage);
    rig_worker_stop(&worker);
}

static bool ignore_token(void *user, int32_t token)
{
    (void)user;
    (void)token;
    return true;
}

static void impossible_jobs_are_refused_with_a_sentence(void **state)
{
    setting s = plain_setting(6);
    hsd_error err = {0};
    int32_t prompt[256];
    rig_prompt(&s.script, 1, prompt, 256);
    s.config.mode = HSD_MODE_AR;
    hsdi_target_stage stage = scripted_target_open(&s.script);
    hsdi_target *target = NULL;
    assert_int_equal(hsdi_target_create(*state, &s.config, &stage, &target, &err), HSD_OK);
    hsdi_target_job job = {.prompt = prompt, .n_prompt = 256, .emit = ignore_token};
    assert_int_equal(hsdi_target_generate(target, &job, &err), HSD_ETOOLONG);
    job.n_prompt = 0;
    assert_int_equal(hsdi_target_generate(target, &job, &err), HSD_EINVAL);
    job.n_prompt = 255;
    assert_int_equal(hsdi_target_generate(target, &job, &err), HSD_OK);
    prompt[3] = s.script.n_vocab;
    assert_int_equal(hsdi_target_generate(target, &job, &err), HSD_EINVAL);
    assert_non_null(strstr(err.message, "token 3"));
    hsdi_target_destroy(&target);
    s.config.mode = HSD_MODE_MIRROR;
    s.config.draft.window = 17;
    s.config.draft.tree = 17;
    assert_int_equal(hsdi_target_create(*state, &s.config, &stage, &target, &err), HSD_EINVAL);
    assert_string_equal(err.where, "window");
    scripted_target_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_gives_the_text_of_ar),
        cmocka_unit_test(a_draft_that_is_right_hits_in_mirror_mode),
        cmocka_unit_test(perfect_proxies_hit_where_the_draft_fails),
        cmocka_unit_test(several_workers_share_the_roots),
        cmocka_unit_test(random_settings_give_the_text_of_ar),
        cmocka_unit_test(a_false_from_emit_stops_at_that_token),
        cmocka_unit_test(impossible_jobs_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
