/// Proves: for hundreds of random settings - mode, draft kind, window 1..16 or adaptive,
///           chain or tree, with and without a lookup beside the draft, roots 1..64 of both or one
///           source, exit layer, greedy and temperature 0.8 with rules, among them those that look
///           at the text (penalty, no-repeat n-gram), local worker and worker process - the tokens
///           of a session equal those of mode ar with the same sampling.
///         Those rules change the text, and no n-gram comes twice where that is forbidden.
///         The same on a pair of small random models, whose drafts agree with nothing.
///         Drafts apply every rule as the target does: one that is the target is always accepted.
/// Does not prove: faults in the middle of a generation, see tests/pipelines.
///
/// HSD_TEST_SETTINGS sets the number of settings (default 200), HSD_TEST_SEED the draw.
#include "base/rng.h"
#include "tests/engine/plain_rules.h"

#include <hsd/hsd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TREE_MAX = 32, N_TOKENS = 32, N_PROMPTS = 4, N_SAMPLINGS = 9 };

static const char *const prompts[N_PROMPTS] = {
    "Once upon a time",
    "### User:\nWhat is 12 + 30?\n\n### Assistant:\n",
    "The wolf said to the lamb, \"The wolf said to the lamb, \"The wolf said to",
    "A",
};

static const hsd_sampling samplings[N_SAMPLINGS] = {
    {.top_p = 1.0f},
    {.temperature = 0.8f, .top_p = 1.0f, .seed = 11},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.02f, .seed = 12},
    {.top_p = 1.0f, .repeat_penalty = 1.3f},
    {.top_p = 1.0f, .no_repeat_ngram = 2},
    {.top_p = 1.0f, .repeat_penalty = 1.1f, .repeat_last_n = 8, .no_repeat_ngram = 3},
    {.top_p = 1.0f, .repeat_penalty = 1.05f, .repeat_last_n = -1, .no_repeat_ngram = 1},
    {.temperature = 0.8f, .top_p = 0.95f, .seed = 13, .repeat_penalty = 1.2f, .repeat_last_n = 20},
    {.temperature = 0.7f,
     .top_k = 40,
     .top_p = 0.95f,
     .min_p = 0.02f,
     .seed = 14,
     .repeat_penalty = 0.8f,
     .repeat_last_n = -1,
     .no_repeat_ngram = 4},
};

static char endpoint[64];
static pid_t worker_pid;

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static void generate(hsd_engine *engine, const hsd_session_options *options, const char *prompt,
                     text *out, hsd_stats *stats)
{
    hsd_session *session;
    hsd_error err = {0};
    hsd_token token;
    must(hsd_session_open(engine, options, &session, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    out->n = 0;
    hsd_status status;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(out->n, 0, N_TOKENS - 1);
            out->tokens[out->n++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    hsd_session_stats(session, stats);
    hsd_session_close(&session);
}

static int draw(uint64_t seed, int i, uint32_t what, int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, i, what) * (high - low + 1));
}

static void explain(const hsd_session_options *o, int i, const char *where, const text *got,
                    const text *want)
{
    int at = 0;
    while (at < got->n && at < want->n && got->tokens[at] == want->tokens[at]) {
        at++;
    }
    fail_msg("setting %d (%s, %s, draft %s, window %d, tree %d, lookup %d, roots %d, exit %d, "
             "temperature %g, penalty %g "
             "over %d, n-gram %d): token %d of %d/%d differs: %d, ar has %d",
             i, where, hsd_mode_name(o->mode), hsd_draft_kind_name(o->draft_kind), o->window,
             o->tree, o->with_ngram, o->roots, o->exit_layer, (double)o->sampling.temperature,
             (double)o->sampling.repeat_penalty, o->sampling.repeat_last_n,
             o->sampling.no_repeat_ngram, at, got->n, want->n, at < got->n ? got->tokens[at] : -1,
             at < want->n ? want->tokens[at] : -1);
}

static uint64_t number_from(const char *name, uint64_t other)
{
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : other;
}

/// Does an n-gram that ends in the generated tokens occur earlier in prompt and output?
static bool repeats(hsd_engine *engine, const char *prompt, const text *t, int ngram)
{
    int32_t all[256];
    int n_prompt;
    hsd_error err = {0};
    must(hsd_engine_tokenize(engine, prompt, strlen(prompt), true, all, 256 - N_TOKENS, &n_prompt,
                             &err),
         &err);
    memcpy(all + n_prompt, t->tokens, (size_t)t->n * sizeof *all);
    for (int n = n_prompt; n < n_prompt + t->n; n++) {
        if (plain_repeats(all, n, ngram, all[n])) {
            return true;
        }
    }
    return false;
}

/// What mode ar says under the rules that look at the text.
static void check_rules(hsd_engine *engine, text (*want)[N_SAMPLINGS])
{
    int n_changed = 0, n_repeats = 0;
    for (int p = 0; p < N_PROMPTS; p++) {
        for (int s = 0; s < N_SAMPLINGS; s++) {
            int ngram = samplings[s].no_repeat_ngram;
            assert_false(repeats(engine, prompts[p], &want[p][s], ngram));
            n_repeats += repeats(engine, prompts[p], &want[p][0], ngram);
            n_changed += samplings[s].temperature <= 0.0f && s > 0 &&
                         memcmp(&want[p][s], &want[p][0], sizeof want[p][s]) != 0;
        }
    }
    print_message("%d texts changed by rules, %d repeated without\n", n_changed, n_repeats);
    assert_true(n_changed > 0);
    assert_true(n_repeats > 0);
}

/// Draw settings on an engine (and one with a worker process, if given) and compare with ar.
static void compare_settings(hsd_engine *local, hsd_engine *remote, int n_settings, hsd_stats *sum)
{
    static text want[N_PROMPTS][N_SAMPLINGS];
    uint64_t seed = number_from("HSD_TEST_SEED", 1);
    hsd_session_options o;
    hsd_stats stats;
    text got;
    for (int p = 0; p < N_PROMPTS; p++) {
        for (int s = 0; s < N_SAMPLINGS; s++) {
            hsd_session_options_init(&o);
            o.mode = HSD_MODE_AR;
            o.sampling = samplings[s];
            o.n_tokens = N_TOKENS;
            want[p][s] = (text){0};
            generate(local, &o, prompts[p], &want[p][s], &stats);
        }
    }
    check_rules(local, want);
    for (int i = 0; i < n_settings; i++) {
        int p = draw(seed, i, 0, 0, N_PROMPTS - 1), s = draw(seed, i, 1, 0, N_SAMPLINGS - 1);
        hsd_session_options_init(&o);
        static const hsd_mode modes[] = {HSD_MODE_SERIAL, HSD_MODE_ASYNC, HSD_MODE_MIRROR,
                                         HSD_MODE_MIRROR};
        o.mode = modes[draw(seed, i, 2, 0, 3)];
        o.draft_kind = (hsd_draft_kind)draw(seed, i, 3, HSD_DRAFT_MODEL, HSD_DRAFT_EARLY_EXIT);
        o.window = draw(seed, i, 4, 0, 16); // 0: lengths adapt
        if (draw(seed, i, 8, 0, 1) == 1) {
            o.tree = draw(seed, i, 9, o.window > 0 ? o.window : 8, TREE_MAX);
        }
        o.with_ngram = draw(seed, i, 10, 0, 2) == 0;
        o.roots_from = (hsd_roots_from)draw(seed, i, 11, 0, HSD_ROOTS_FROM_EXIT);
        o.roots = draw(seed, i, 5, 1, 64);
        o.exit_layer = draw(seed, i, 6, 1, hsd_engine_n_layers(local) - 1);
        o.sampling = samplings[s];
        o.n_tokens = N_TOKENS;
        bool process = remote && draw(seed, i, 7, 0, 1) == 1;
        generate(process ? remote : local, &o, prompts[p], &got, &stats);
        if (got.n != want[p][s].n ||
            memcmp(got.tokens, want[p][s].tokens, (size_t)got.n * sizeof *got.tokens) != 0) {
            explain(&o, i, process ? "worker process" : "local", &got, &want[p][s]);
        }
        sum->hits += stats.hits;
        sum->own_hits += stats.own_hits;
        sum->proxy_hits += stats.proxy_hits;
        sum->accepted += stats.accepted;
        sum->drafted += stats.drafted;
        sum->workers_lost += stats.workers_lost;
    }
}

static void speculation_never_changes_a_token_of_the_shipped_pair(void **state)
{
    (void)state;
    hsd_engine *local, *remote;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_stats sum = {0};
    const char *const endpoints[] = {endpoint};
    hsd_engine_options_init(&options);
    options.n_ctx = 256;
    must(hsd_engine_open(&options, &local, &err), &err);
    options.worker_endpoints = endpoints;
    options.n_workers = 1;
    must(hsd_engine_open(&options, &remote, &err), &err);
    compare_settings(local, remote, (int)number_from("HSD_TEST_SETTINGS", 200), &sum);
    print_message("drafted %lld, accepted %lld, hits %lld (own %lld, proxy %lld)\n",
                  (long long)sum.drafted, (long long)sum.accepted, (long long)sum.hits,
                  (long long)sum.own_hits, (long long)sum.proxy_hits);
    // Equal tokens alone would also come from pipelines that never speculate.
    assert_true(sum.accepted > 0);
    assert_true(sum.own_hits > 0);
    assert_true(sum.proxy_hits > 0);
    assert_int_equal(sum.workers_lost, 0);
    hsd_engine_close(&remote);
    hsd_engine_close(&local);
}

static void random_models_that_agree_on_nothing_change_no_token(void **state)
{
    (void)state;
    const char *const targets[] = {"llama-gqa", "qwen3", "gpt2", "llama256-q4_k"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char path[128];
        hsd_engine *engine;
        hsd_engine_options options;
        hsd_error err = {0};
        hsd_stats sum = {0};
        snprintf(path, sizeof path, "tests/reference/fixtures/%s.gguf", targets[i]);
        hsd_engine_options_init(&options);
        options.target_path = path;
        options.draft_path = "tests/reference/fixtures/llama-tied.gguf";
        must(hsd_engine_open(&options, &engine, &err), &err);
        if (hsd_engine_n_layers(engine) >= 2) {
            compare_settings(engine, NULL, (int)number_from("HSD_TEST_SETTINGS", 200) / 10, &sum);
        }
        hsd_engine_close(&engine);
    }
}

/// A draft that is the target itself is always right, if it applies the same rules.
static void check_own_draft(hsd_engine *engine, const char *where)
{
    hsd_stats stats;
    text got;
    for (int s = 0; s < N_SAMPLINGS; s++) {
        for (int p = 0; p < N_PROMPTS; p++) {
            hsd_session_options o;
            hsd_session_options_init(&o);
            o.mode = HSD_MODE_SERIAL;
            o.draft_kind = HSD_DRAFT_MODEL;
            o.window = 5;
            o.sampling = samplings[s];
            o.n_tokens = N_TOKENS;
            o.ignore_eos = true;
            generate(engine, &o, prompts[p], &got, &stats);
            if (stats.drafted < N_TOKENS / 2 || stats.accepted != stats.drafted) {
                fail_msg("%s, sampling %d, prompt %d: %lld of %lld drafts accepted", where, s, p,
                         (long long)stats.accepted, (long long)stats.drafted);
            }
        }
    }
}

static void a_draft_that_is_the_target_is_always_accepted_under_every_rule(void **state)
{
    (void)state;
    const char *const endpoints[] = {endpoint};
    const char path[] = "models/hsd-story-draft.gguf";
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = path;
    options.draft_path = path;
    options.n_ctx = 256;
    must(hsd_engine_open(&options, &engine, &err), &err);
    check_own_draft(engine, "local");
    hsd_engine_close(&engine);
    options.draft_path = NULL;
    options.worker_endpoints = endpoints;
    options.n_workers = 1;
    must(hsd_engine_open(&options, &engine, &err), &err);
    check_own_draft(engine, "worker process");
    hsd_engine_close(&engine);
}

/// A worker in a process of its own, started before this one has threads.
static void start_worker(void)
{
    snprintf(endpoint, sizeof endpoint, "ipc:///tmp/hsd-test-modes-%d.sock", (int)getpid());
    worker_pid = fork();
    if (worker_pid == 0) {
        hsd_worker_options options;
        hsd_worker *worker;
        hsd_error err = {0};
        hsd_worker_options_init(&options);
        options.endpoint = endpoint;
        if (hsd_worker_open(&options, &worker, &err) != HSD_OK) {
            fprintf(stderr, "worker: %s: %s\n", err.where, err.message);
            _exit(1);
        }
        _exit(hsd_worker_run(worker, &err) == HSD_OK ? 0 : 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speculation_never_changes_a_token_of_the_shipped_pair),
        cmocka_unit_test(random_models_that_agree_on_nothing_change_no_token),
        cmocka_unit_test(a_draft_that_is_the_target_is_always_accepted_under_every_rule),
    };
    start_worker();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kill(worker_pid, SIGKILL);
    waitpid(worker_pid, NULL, 0);
    unlink(endpoint + strlen("ipc://"));
    return failed;
}
