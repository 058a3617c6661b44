/// Proves: prompts that begin like texts of other sessions, cut at random places, give the tokens
/// of
///           an engine that computes everything, in every mode, with every kind of draft and with
///           rules that look at the text, one after the other and on threads at once; what is
///           reused is counted, and where it is switched off nothing is.
///         Sessions that do not fit into the memory for caches are not opened, and the error says
///           what they need and what would fit, which then does; those that fit give the same
///           tokens while texts are forgotten for them; many sessions with short texts take few
///           blocks; closed ones leave nothing promised.
/// Does not prove: speed; blocks by themselves, see tests/pipelines/test_blocks.c.
///
/// HSD_TEST_ROUNDS sets the number of rounds (default 40), HSD_TEST_SEED the draw.
#include "base/rng.h"
#include "engine/engine_internal.h"

#include <hsd/hsd.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 12, N_CTX = 160, N_BASES = 3, N_THREADS = 4, N_SAMPLINGS = 4, TEXT_MAX = 120 };

static const hsd_sampling samplings[N_SAMPLINGS] = {
    {.top_p = 1.0f},
    {.temperature = 1.0f, .top_p = 1.0f, .seed = 21},
    {.top_p = 1.0f, .repeat_penalty = 1.3f, .repeat_last_n = 40, .no_repeat_ngram = 3},
    {.temperature = 0.8f, .top_p = 0.95f, .seed = 22, .repeat_penalty = 1.2f, .repeat_last_n = -1},
};

static const char *const stories[N_BASES] = {
    "Once upon a time there was a little girl who lived in a house at the end of the wood, and the "
    "wolf said to her that he would come in the evening, when the sun had gone down behind the "
    "hills and her mother was asleep. The girl laughed and went on her way, and the birds sang.",
    "Once upon a time there was a king who had three sons, and the youngest of them was called the "
    "fool by all who knew him. When the king grew old he said to his sons: go out into the world, "
    "and whoever brings me the finest cloth shall have the kingdom when I am gone from here.",
    ("### User:\nWhat is 12 + 30?\n\n### Assistant:\n42\n\n### User:\nAnd 7 + 8?\n\n### "
     "Assistant:\n"
     "15\n\n### User:\nWhat is 100 - 1? Say it in words, and then as a number.\n\n### "
     "Assistant:\n"),
};

static int32_t bases[N_BASES][TEXT_MAX];
static int n_base[N_BASES];
static uint64_t seed;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static uint64_t number_from(const char *name, uint64_t other)
{
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : other;
}

static int draw(uint32_t stream, int64_t *n_drawn, int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, (*n_drawn)++, stream) * (high - low + 1));
}

static void open_engine(hsd_engine **engine, bool shares, int64_t memory_bytes)
{
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    assert_true(options.share_prefixes);
    options.share_prefixes = shares;
    options.cache_memory_bytes = memory_bytes;
    options.n_ctx = N_CTX;
    must(hsd_engine_open(&options, engine, &err), &err);
}

static void read_bases(const hsd_engine *engine)
{
    hsd_error err = {0};
    for (int i = 0; i < N_BASES; i++) {
        must(hsd_engine_tokenize(engine, stories[i], strlen(stories[i]), true, bases[i], TEXT_MAX,
                                 &n_base[i], &err),
             &err);
        assert_true(n_base[i] > 40);
    }
}

/// A generation that was drawn.
typedef struct plan {
    hsd_session_options options;
    int n_prompt, sampling;
    int32_t prompt[TEXT_MAX];
} plan;

/// A part of a story and perhaps a part of another one.
static void draw_prompt(plan *p, uint32_t stream, int64_t *n_drawn)
{
    int a = draw(stream, n_drawn, 0, N_BASES - 1), b = draw(stream, n_drawn, 0, N_BASES - 1);
    int n = draw(stream, n_drawn, 1, n_base[a]);
    int left = TEXT_MAX - n < n_base[b] ? TEXT_MAX - n : n_base[b];
    int n_more = draw(stream, n_drawn, 0, 1) ? draw(stream, n_drawn, 0, left) : 0;
    memcpy(p->prompt, bases[a], (size_t)n * sizeof *p->prompt);
    memcpy(p->prompt + n, bases[b], (size_t)n_more * sizeof *p->prompt);
    p->n_prompt = n + n_more;
}

static void draw_plan(const hsd_engine *engine, plan *p, uint32_t stream, int64_t *n_drawn)
{
    hsd_session_options *o = &p->options;
    hsd_session_options_init(o);
    draw_prompt(p, stream, n_drawn);
    p->sampling = draw(stream, n_drawn, 0, N_SAMPLINGS - 1);
    o->mode = (hsd_mode)draw(stream, n_drawn, HSD_MODE_AR, HSD_MODE_ASYNC);
    if (o->mode != HSD_MODE_AR) {
        o->draft_kind =
            (hsd_draft_kind)draw(stream, n_drawn, HSD_DRAFT_MODEL, HSD_DRAFT_EARLY_EXIT);
        o->window = draw(stream, n_drawn, 1, 16);
        o->tree = draw(stream, n_drawn, 0, 1) ? draw(stream, n_drawn, o->window, 32) : 0;
        o->roots = draw(stream, n_drawn, 1, 16);
        o->exit_layer = draw(stream, n_drawn, 1, hsd_engine_n_layers(engine) - 1);
    }
    o->sampling = samplings[p->sampling];
    o->n_tokens = N_TOKENS;
    o->ignore_eos = true;
}

static int pull(hsd_session *session, int32_t *out)
{
    hsd_token token;
    hsd_error err = {0};
    hsd_status status;
    int n = 0;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            out[n++] = token.id;
        }
    }
    if (status != HSD_EEND) {
        must(status, &err);
    }
    return n;
}

static int generate(hsd_session *session, const plan *p, int32_t *out)
{
    hsd_error err = {0};
    must(hsd_session_submit_tokens(session, p->prompt, p->n_prompt, &err), &err);
    return pull(session, out);
}

/// On the engine that shares nothing.
static int expected(hsd_engine *plain, const plan *p, int32_t *out)
{
    hsd_session *session;
    hsd_session_options o;
    hsd_error err = {0};
    hsd_stats stats;
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_AR;
    o.sampling = samplings[p->sampling];
    o.n_tokens = N_TOKENS;
    o.ignore_eos = true;
    must(hsd_session_open(plain, &o, &session, &err), &err);
    int n = generate(session, p, out);
    hsd_session_stats(session, &stats);
    assert_int_equal(stats.n_prompt_reused, 0);
    hsd_session_close(&session);
    return n;
}

/// Work of a thread: generations whose tokens must be as expected.
typedef struct job {
    hsd_engine *engine, *plain;
    uint32_t stream;
    int n_rounds;
    int64_t n_prompt, n_reused;
    char wrong[200];
} job;

static void run_plan(job *j, const plan *p, hsd_session *session)
{
    int32_t want[N_CTX], got[N_CTX];
    hsd_stats stats;
    int n_want = expected(j->plain, p, want), n = generate(session, p, got);
    hsd_session_stats(session, &stats);
    j->n_prompt += stats.n_prompt;
    j->n_reused += stats.n_prompt_reused;
    if (stats.n_prompt_reused >= p->n_prompt || stats.n_prompt != p->n_prompt) {
        snprintf(j->wrong, sizeof j->wrong, "%d of %d prompt tokens reused", stats.n_prompt_reused,
                 p->n_prompt);
    } else if (n != n_want || memcmp(got, want, (size_t)n * sizeof *got) != 0) {
        snprintf(j->wrong, sizeof j->wrong,
                 "seed %llu: %s, draft %s, window %d, tree %d, exit %d, sampling %d, prompt of %d, "
                 "%d reused: other tokens",
                 (unsigned long long)seed, hsd_mode_name(p->options.mode),
                 hsd_draft_kind_name(p->options.draft_kind), p->options.window, p->options.tree,
                 p->options.exit_layer, p->sampling, p->n_prompt, stats.n_prompt_reused);
    }
}

static void *work(void *arg)
{
    job *j = arg;
    int64_t n_drawn = 0;
    for (int i = 0; i < j->n_rounds && !j->wrong[0]; i++) {
        plan p;
        hsd_session *session;
        hsd_error err = {0};
        draw_plan(j->engine, &p, j->stream, &n_drawn);
        must(hsd_session_open(j->engine, &p.options, &session, &err), &err);
        run_plan(j, &p, session);
        if (!j->wrong[0] && draw(j->stream, &n_drawn, 0, 1)) { // the next prompt of this session
            draw_prompt(&p, j->stream, &n_drawn);
            run_plan(j, &p, session);
        }
        hsd_session_close(&session);
    }
    return NULL;
}

static void run_jobs(hsd_engine *engine, int n_threads, int n_rounds, bool reuses)
{
    hsd_engine *plain;
    pthread_t threads[N_THREADS];
    job jobs[N_THREADS] = {0};
    int64_t n_prompt = 0, n_reused = 0;
    open_engine(&plain, false, 0);
    read_bases(plain);
    for (int i = 0; i < n_threads; i++) {
        jobs[i] =
            (job){.engine = engine, .plain = plain, .stream = (uint32_t)i, .n_rounds = n_rounds};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
    }
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        n_prompt += jobs[i].n_prompt;
        n_reused += jobs[i].n_reused;
    }
    for (int i = 0; i < n_threads; i++) {
        if (jobs[i].wrong[0]) {
            fail_msg("%s", jobs[i].wrong);
        }
    }
    print_message("%lld of %lld prompt tokens reused\n", (long long)n_reused, (long long)n_prompt);
    assert_true(reuses ? n_reused > 0 : n_reused == 0);
    hsd_engine_close(&plain);
}

static int rounds(void)
{
    seed = number_from("HSD_TEST_SEED", 1);
    return (int)number_from("HSD_TEST_ROUNDS", 40);
}

static void prompts_cut_at_random_places_give_the_same_tokens(void **state)
{
    (void)state;
    hsd_engine *engine;
    open_engine(&engine, true, 0);
    run_jobs(engine, 1, rounds(), true);
    hsd_engine_close(&engine);
}

static void the_same_holds_for_sessions_at_once(void **state)
{
    (void)state;
    hsd_engine *engine;
    open_engine(&engine, true, 0);
    run_jobs(engine, N_THREADS, rounds() / N_THREADS, true);
    hsd_engine_close(&engine);
}

static void without_sharing_nothing_is_reused(void **state)
{
    (void)state;
    hsd_engine *engine;
    open_engine(&engine, false, 0);
    run_jobs(engine, 2, 4, false);
    hsd_engine_close(&engine);
}

/// A session of mode serial with the shipped draft.
static hsd_status open_serial(hsd_engine *engine, int n_ctx, hsd_session **out, hsd_error *err)
{
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_SERIAL;
    o.n_ctx = n_ctx;
    o.n_tokens = N_TOKENS;
    return hsd_session_open(engine, &o, out, err);
}

/// What a session of that kind is promised, in bytes.
static int64_t promise_of(int n_ctx)
{
    hsd_engine *engine;
    hsd_session *session;
    hsd_error err = {0};
    open_engine(&engine, true, 0);
    must(open_serial(engine, n_ctx, &session, &err), &err);
    int64_t n_bytes = hsdi_memory_promised(&engine->memory);
    hsd_session_close(&session);
    assert_int_equal(hsdi_memory_promised(&engine->memory), 0);
    hsd_engine_close(&engine);
    return n_bytes;
}

static void a_session_that_does_not_fit_is_not_opened_and_learns_what_would(void **state)
{
    (void)state;
    hsd_engine *engine;
    hsd_session *sessions[3] = {0}, *more = NULL;
    hsd_error err = {0};
    int64_t whole = promise_of(0), part = promise_of(40);
    assert_true(part < whole);
    open_engine(&engine, true, 2 * whole + part);
    assert_true(whole > hsdi_slab_bytes(&engine->target.runner, engine->target.model->n_layers,
                                        N_CTX, N_CTX)); // the draft counts too
    must(open_serial(engine, 0, &sessions[0], &err), &err);
    must(open_serial(engine, 0, &sessions[1], &err), &err);
    assert_int_equal(open_serial(engine, 0, &more, &err), HSD_ENOMEM);
    assert_null(more);
    assert_string_equal(err.where, "cache_memory");
    char part_of_it[64];
    snprintf(part_of_it, sizeof part_of_it, "needs %.2f MiB", (double)whole / 1048576.0);
    assert_non_null(strstr(err.message, part_of_it));
    snprintf(part_of_it, sizeof part_of_it, "%.2f are promised to others",
             2 * (double)whole / 1048576.0);
    assert_non_null(strstr(err.message, part_of_it));
    const char *fits = strstr(err.message, "a context of ");
    fits = fits ? strstr(fits + 1, "a context of ") : NULL;
    assert_non_null(fits);
    int n_fit = (int)strtol(fits + strlen("a context of "), NULL, 10);
    assert_true(n_fit >= 40 && n_fit < N_CTX);
    assert_int_equal(open_serial(engine, n_fit + 1, &more, &err), HSD_ENOMEM);
    must(open_serial(engine, n_fit, &sessions[2], &err), &err);
    assert_int_equal(open_serial(engine, 2, &more, &err), HSD_ENOMEM);
    assert_non_null(strstr(err.message, "no text would fit"));

    // Its context is its own, and the tokens are the same.
    int32_t got[N_CTX], want[N_CTX];
    plan p = {.n_prompt = 20};
    read_bases(engine);
    memcpy(p.prompt, bases[0], sizeof p.prompt);
    int n = generate(sessions[2], &p, got), n_want = generate(sessions[0], &p, want);
    assert_int_equal(n, n_want);
    assert_memory_equal(got, want, (size_t)n * sizeof *got);
    p.n_prompt = n_fit;
    assert_int_equal(hsd_session_submit_tokens(sessions[2], p.prompt, p.n_prompt, &err),
                     HSD_ETOOLONG);
    for (int i = 0; i < 3; i++) {
        hsd_session_close(&sessions[i]);
    }
    must(open_serial(engine, 0, &more, &err), &err);
    hsd_session_close(&more);
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.n_ctx = N_CTX + 1;
    assert_int_equal(hsd_session_open(engine, &o, &more, &err), HSD_EINVAL);
    assert_string_equal(err.where, "n_ctx");
    hsd_engine_close(&engine);
}

static void texts_are_forgotten_for_sessions_within_the_limit(void **state)
{
    (void)state;
    hsd_engine *engine;
    open_engine(&engine, true, 2 * promise_of(0)); // of the largest kind that is drawn: hardly one
    int n = rounds() / 4;
    hsd_engine *plain;
    open_engine(&plain, false, 0);
    read_bases(plain);
    job j = {.engine = engine, .plain = plain, .stream = 77};
    int64_t n_drawn = 0;
    for (int i = 0; i < n; i++) {
        plan p;
        hsd_session *session;
        hsd_error err = {0};
        draw_plan(engine, &p, j.stream, &n_drawn);
        p.options.n_ctx = N_CTX;
        p.options.window = p.options.window > 4 ? 4 : p.options.window;
        p.options.tree = 0;
        p.options.roots = p.options.roots > 4 ? 4 : p.options.roots;
        must(hsd_session_open(engine, &p.options, &session, &err), &err);
        run_plan(&j, &p, session);
        assert_string_equal(j.wrong, "");
        assert_true(atomic_load(&engine->memory.room_bytes) >= 0);
        hsd_session_close(&session);
    }
    hsd_engine_close(&plain);
    hsd_engine_close(&engine);
}

static void many_sessions_with_short_texts_take_few_blocks(void **state)
{
    (void)state;
    enum { N = 16 };
    hsd_engine_options options;
    hsd_engine *engine;
    hsd_session *sessions[N];
    hsd_error err = {0};
    int32_t got[N_CTX];
    hsd_engine_options_init(&options);
    options.n_ctx = 4096;
    if (hsd_engine_open(&options, &engine, &err) != HSD_OK) { // the model's own is shorter
        options.n_ctx = 0;
        must(hsd_engine_open(&options, &engine, &err), &err);
    }
    int n_ctx = hsd_engine_n_ctx(engine);
    read_bases(engine);
    for (int i = 0; i < N; i++) {
        hsd_session_options o;
        plan p = {.n_prompt = 20};
        hsd_session_options_init(&o);
        o.mode = HSD_MODE_AR;
        o.n_tokens = N_TOKENS;
        must(hsd_session_open(engine, &o, &sessions[i], &err), &err);
        memcpy(p.prompt, bases[i % N_BASES] + i, 20 * sizeof *p.prompt);
        (void)generate(sessions[i], &p, got);
    }
    const hsdi_slab *slab = engine->memory.slabs;
    hsdi_blocks_counts counts;
    assert_null(slab->next); // one for all
    hsdi_blocks_count(slab->blocks, &counts);
    assert_int_equal(counts.n_promised,
                     N * hsdi_blocks_needed(hsdi_target_cells_needed(n_ctx, 8), n_ctx));
    assert_true(counts.n_blocks - counts.n_free <= 2 * N);
    for (int i = 0; i < N; i++) {
        hsd_session_close(&sessions[i]);
    }
    hsdi_blocks_count(slab->blocks, &counts);
    assert_int_equal(counts.n_promised, 0);
    assert_int_equal(counts.n_blocks - counts.n_free, counts.n_kept);
    hsd_engine_close(&engine);
}

static void the_limit_may_come_from_a_description(void **state)
{
    (void)state;
    char path[] = "/tmp/hsd-limit-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs("topology: 1\nname: here\nhosts:\n  - name: here\n    here: true\nchoices:\n  "
          "cache_memory: 100 kB\n",
          f);
    assert_int_equal(fclose(f), 0);
    hsd_machine *machine = NULL;
    hsd_engine *engine = NULL;
    hsd_engine_options options;
    hsd_error err = {0};
    must(hsd_machine_read(path, &machine, &err), &err);
    hsd_engine_options_init(&options);
    options.machine = machine;
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_ENOMEM);
    assert_non_null(strstr(err.where, "cache_memory"));
    options.cache_memory_bytes = INT64_C(1) << 30; // what is asked for counts more
    must(hsd_engine_open(&options, &engine, &err), &err);
    assert_true(engine->memory.limit_bytes == INT64_C(1) << 30);
    hsd_engine_close(&engine);
    hsd_machine_free(&machine);
    (void)remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_cut_at_random_places_give_the_same_tokens),
        cmocka_unit_test(the_same_holds_for_sessions_at_once),
        cmocka_unit_test(without_sharing_nothing_is_reused),
        cmocka_unit_test(a_session_that_does_not_fit_is_not_opened_and_learns_what_would),
        cmocka_unit_test(texts_are_forgotten_for_sessions_within_the_limit),
        cmocka_unit_test(many_sessions_with_short_texts_take_few_blocks),
        cmocka_unit_test(the_limit_may_come_from_a_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
