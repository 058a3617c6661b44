/// Proves: for 1 to 16 sessions on one engine, with random prompts, modes, drafts and sampling,
///           started at different times, some cancelled or closed on the way and some used again,
///           the tokens of each equal those of mode ar with the same sampling, alone on the
///           engine; a cancelled one has a beginning of them.
/// Does not prove: speed; faults of workers, see tests/pipelines.
///
/// HSD_TEST_ROUNDS sets the number of rounds (default 24), HSD_TEST_SEED the draw.
#include "base/rng.h"

#include <hsd/hsd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { N_TOKENS = 24, N_SESSIONS_MAX = 16, N_PROMPTS = 6, N_SAMPLINGS = 4, LONG_BYTES = 400 };

static char long_prompt[LONG_BYTES + 1]; ///< several pieces of prefill

static const char *const prompts[N_PROMPTS] = {
    "Once upon a time",
    "### User:\nWhat is 12 + 30?\n\n### Assistant:\n",
    "A",
    "The wolf said to the lamb, \"The wolf said to the lamb, \"The wolf said to",
    long_prompt,
    "One day",
};

static const hsd_sampling samplings[N_SAMPLINGS] = {
    {.top_p = 1.0f},
    {.temperature = 0.8f, .top_p = 1.0f, .seed = 11},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.02f, .seed = 12},
    {.temperature = 0.8f, .top_p = 1.0f, .seed = 13, .repeat_penalty = 1.3f, .no_repeat_ngram = 3},
};

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

/// One generation of a round.
typedef struct plan {
    hsd_session_options options;
    int prompt, sampling;
    int delay_us;     ///< after the one before it was submitted
    int n_before_end; ///< cancel or close after so many tokens; -1: never
    bool is_closed;   ///< close instead of cancelling
    hsd_session *session;
    text got;
} plan;

static text want[N_PROMPTS][N_SAMPLINGS];
static uint64_t seed;
static int64_t n_drawn;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static int draw(int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, n_drawn++, 0) * (high - low + 1));
}

static uint64_t number_from(const char *name, uint64_t other)
{
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : other;
}

static void submit(plan *p)
{
    hsd_error err = {0};
    const char *prompt = prompts[p->prompt];
    must(hsd_session_submit(p->session, prompt, strlen(prompt), &err), &err);
    p->got.n = 0;
}

/// Pull up to n_most tokens; the status that ended it, HSD_OK when the number was reached.
static hsd_status pull(plan *p, int n_most)
{
    hsd_error err = {0};
    hsd_status status = HSD_OK;
    while (p->got.n < n_most) {
        hsd_token token;
        status = hsd_session_next(p->session, -1, &token, &err);
        if (status != HSD_OK) {
            break;
        }
        if (token.id >= 0) {
            p->got.tokens[p->got.n++] = token.id;
        }
    }
    if (status != HSD_EEND && status != HSD_ECANCELED) {
        must(status, &err);
    }
    return status;
}

static void compare(const plan *p, int i, int n_sessions, bool is_whole)
{
    const text *w = &want[p->prompt][p->sampling];
    int at = 0;
    while (at < p->got.n && at < w->n && p->got.tokens[at] == w->tokens[at]) {
        at++;
    }
    if (at < p->got.n || (is_whole && at < w->n)) {
        fail_msg("seed %llu, session %d of %d (%s, draft %s, window %d, tree %d, exit %d, prompt "
                 "%d, "
                 "temperature %g): token %d of %d/%d differs",
                 (unsigned long long)seed, i, n_sessions, hsd_mode_name(p->options.mode),
                 hsd_draft_kind_name(p->options.draft_kind), p->options.window, p->options.tree,
                 p->options.exit_layer, p->prompt, (double)p->options.sampling.temperature, at,
                 p->got.n, w->n);
    }
}

static void references(hsd_engine *engine)
{
    for (int k = 0; k < N_PROMPTS * N_SAMPLINGS; k++) {
        plan p = {.prompt = k / N_SAMPLINGS, .sampling = k % N_SAMPLINGS};
        hsd_error err = {0};
        hsd_session_options_init(&p.options);
        p.options.mode = HSD_MODE_AR;
        p.options.sampling = samplings[p.sampling];
        p.options.n_tokens = N_TOKENS;
        must(hsd_session_open(engine, &p.options, &p.session, &err), &err);
        submit(&p);
        assert_int_equal(pull(&p, N_TOKENS + 1), HSD_EEND);
        want[p.prompt][p.sampling] = p.got;
        hsd_session_close(&p.session);
    }
}

static void draw_plan(hsd_engine *engine, plan *p)
{
    hsd_session_options *o = &p->options;
    *p = (plan){.prompt = draw(0, N_PROMPTS - 1), .sampling = draw(0, N_SAMPLINGS - 1)};
    hsd_session_options_init(o);
    o->mode = (hsd_mode)(draw(0, 1) == 0 ? HSD_MODE_AR : draw(HSD_MODE_SERIAL, HSD_MODE_ASYNC));
    if (o->mode != HSD_MODE_AR) {
        o->draft_kind = (hsd_draft_kind)draw(HSD_DRAFT_MODEL, HSD_DRAFT_EARLY_EXIT);
        o->window = draw(1, 16);
        o->tree = draw(0, 2) == 0 ? draw(o->window, 32) : 0;
        o->roots = draw(1, 16);
        o->exit_layer = draw(0, 2) == 0 ? draw(1, hsd_engine_n_layers(engine) - 1) : 0;
    }
    o->sampling = samplings[p->sampling];
    o->n_tokens = N_TOKENS;
    p->delay_us = draw(0, 2) == 0 ? draw(1, 3000) : 0;
    p->n_before_end = draw(0, 3) == 0 ? draw(0, N_TOKENS - 1) : -1;
    p->is_closed = draw(0, 1) == 1;
}

static void finish(plan *p, int i, int n_sessions)
{
    bool whole = p->n_before_end < 0;
    if (whole) {
        assert_int_equal(pull(p, N_TOKENS + 1), HSD_EEND);
    } else {
        (void)pull(p, p->n_before_end);
    }
    if (!whole && !p->is_closed) {
        hsd_session_cancel(p->session);
        (void)pull(p, N_TOKENS + 1);
    }
    compare(p, i, n_sessions, whole);
    if (!whole && p->is_closed) {
        hsd_session_close(&p->session); // while it runs
    }
}

static void run_round(hsd_engine *engine, int n_sessions)
{
    plan plans[N_SESSIONS_MAX];
    hsd_error err = {0};
    for (int i = 0; i < n_sessions; i++) {
        draw_plan(engine, &plans[i]);
        must(hsd_session_open(engine, &plans[i].options, &plans[i].session, &err), &err);
    }
    for (int i = 0; i < n_sessions; i++) {
        const struct timespec pause = {.tv_nsec = plans[i].delay_us * 1000L};
        nanosleep(&pause, NULL);
        submit(&plans[i]);
    }
    for (int i = 0; i < n_sessions; i++) {
        finish(&plans[i], i, n_sessions);
        if (plans[i].session && draw(0, 3) == 0) { // again, while the others go on
            plans[i].prompt = draw(0, N_PROMPTS - 1);
            plans[i].n_before_end = -1;
            submit(&plans[i]);
            finish(&plans[i], i, n_sessions);
        }
    }
    for (int i = 0; i < n_sessions; i++) {
        hsd_session_close(&plans[i].session);
    }
}

static void run_rounds(const hsd_engine_options *options, int n_rounds)
{
    hsd_engine *engine;
    hsd_error err = {0};
    must(hsd_engine_open(options, &engine, &err), &err);
    references(engine);
    for (int i = 0; i < n_rounds; i++) {
        seed = number_from("HSD_TEST_SEED", 1) + (uint64_t)i;
        n_drawn = 0;
        run_round(engine, i == 0 ? N_SESSIONS_MAX : draw(1, N_SESSIONS_MAX));
    }
    hsd_engine_close(&engine);
}

static void sessions_beside_each_other_change_no_token_of_the_shipped_pair(void **state)
{
    (void)state;
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    run_rounds(&options, (int)number_from("HSD_TEST_ROUNDS", 24) / 3);
}

static void sessions_beside_each_other_change_no_token_of_small_models(void **state)
{
    (void)state;
    static const char *const targets[] = {"llama-gqa", "qwen2"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char path[128];
        hsd_engine_options options;
        snprintf(path, sizeof path, "tests/reference/fixtures/%s.gguf", targets[i]);
        hsd_engine_options_init(&options);
        options.target_path = path;
        options.draft_path = "tests/reference/fixtures/llama-tied.gguf";
        options.n_threads = i == 0 ? 2 : 0;
        run_rounds(&options, (int)number_from("HSD_TEST_ROUNDS", 24) / 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_beside_each_other_change_no_token_of_the_shipped_pair),
        cmocka_unit_test(sessions_beside_each_other_change_no_token_of_small_models),
    };
    for (int i = 0; i < LONG_BYTES; i++) {
        long_prompt[i] = "The fox ran over the hill. "[i % 27];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
