/// Proves: the public API from a host's side: pull and callback deliver the same text; sessions
///           can be reused, cancelled, closed in the middle; several run at once and each gives
///           its own ar text; errors name their place and leave nothing behind; the step loop
///           makes no allocation, traced or not; a trace can be written beside running sessions,
///           and holds the first spans of a long one.
/// Does not prove: token equality over many settings, see test_modes.c.
#include <hsd/hsd.h>
#include <jansson.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char prompt[] = "Once upon a time there was a little";
static hsd_engine *engine;

typedef struct text {
    int n, n_bytes;
    int32_t ids[512];
    char bytes[8192];
} text;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static void append(text *t, const hsd_token *token)
{
    if (token->id >= 0) {
        t->ids[t->n++] = token->id;
    }
    memcpy(t->bytes + t->n_bytes, token->text, token->n_bytes);
    t->n_bytes += (int)token->n_bytes;
}

static const hsd_sampling greedy = {.top_p = 1.0f};
static const hsd_sampling ruled = {.top_p = 1.0f, .repeat_penalty = 1.2f, .no_repeat_ngram = 3};

static hsd_session *open_sampled(hsd_mode mode, const hsd_sampling *sampling, int n_tokens,
                                 hsd_token_fn fn, void *user)
{
    hsd_session_options options;
    hsd_session *session;
    hsd_error err = {0};
    hsd_session_options_init(&options);
    options.mode = mode;
    options.sampling = *sampling;
    options.n_tokens = n_tokens;
    options.ignore_eos = true;
    options.on_token = fn;
    options.on_token_user = user;
    must(hsd_session_open(engine, &options, &session, &err), &err);
    return session;
}

static hsd_session *open_session(hsd_mode mode, int n_tokens, hsd_token_fn fn, void *user)
{
    return open_sampled(mode, &greedy, n_tokens, fn, user);
}

static void pull_all(hsd_session *session, text *out)
{
    hsd_error err = {0};
    hsd_token token;
    hsd_status status;
    out->n = out->n_bytes = 0;
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        append(out, &token);
    }
    assert_int_equal(status, HSD_EEND);
}

static bool keep(void *user, const hsd_token *token)
{
    append(user, token);
    return true;
}

static bool stop_at_ten(void *user, const hsd_token *token)
{
    append(user, token);
    return ((text *)user)->n < 10;
}

static void pull_and_callback_deliver_the_same_text_and_the_tokens_give_it(void **state)
{
    (void)state;
    text pulled, called = {0};
    hsd_error err = {0};
    hsd_session *session = open_session(HSD_MODE_AR, 60, NULL, NULL);
    pull_all(session, &pulled);
    hsd_session_close(&session);
    assert_null(session);
    session = open_session(HSD_MODE_MIRROR, 60, keep, &called);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    must(hsd_session_wait(session, &err), &err);
    hsd_session_close(&session);
    assert_int_equal(pulled.n, 60);
    assert_int_equal(called.n, 60);
    assert_memory_equal(pulled.ids, called.ids, sizeof(int32_t) * 60);
    assert_int_equal(pulled.n_bytes, called.n_bytes);
    assert_memory_equal(pulled.bytes, called.bytes, (size_t)pulled.n_bytes);
    char whole[8192];
    size_t n;
    must(hsd_engine_detokenize(engine, pulled.ids, 60, whole, sizeof whole, &n, &err), &err);
    assert_int_equal(n, pulled.n_bytes);
    assert_memory_equal(whole, pulled.bytes, n);
}

static void a_session_can_be_used_again_with_the_same_result(void **state)
{
    (void)state;
    static const hsd_sampling *const samplings[] = {&greedy, &ruled};
    text first, again;
    for (int s = 0; s < 2; s++) {
        hsd_session *session = open_sampled(HSD_MODE_MIRROR, samplings[s], 50, NULL, NULL);
        pull_all(session, &first);
        for (int i = 0; i < 3; i++) {
            pull_all(session, &again);
            assert_int_equal(again.n, first.n);
            assert_memory_equal(again.ids, first.ids, sizeof(int32_t) * (size_t)first.n);
        }
        hsd_session_close(&session);
    }
}

static void a_callback_that_says_no_cancels_and_later_tokens_never_come(void **state)
{
    (void)state;
    text got = {0};
    hsd_error err = {0};
    hsd_session *session = open_session(HSD_MODE_MIRROR, 200, stop_at_ten, &got);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    assert_int_equal(hsd_session_wait(session, &err), HSD_ECANCELED);
    assert_int_equal(got.n, 10);
    hsd_session_close(&session);
}

static void cancel_and_close_in_the_middle_end_soon(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsd_token token;
    hsd_session *session = open_session(HSD_MODE_MIRROR, 400, NULL, NULL);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    must(hsd_session_next(session, -1, &token, &err), &err);
    hsd_session_cancel(session);
    hsd_status status;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
    }
    assert_true(status == HSD_ECANCELED || status == HSD_EEND);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    must(hsd_session_next(session, -1, &token, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err),
         &err); // replaces the running one
    hsd_session_close(&session);
    hsd_session_close(&session);
}

typedef struct client {
    hsd_mode mode;
    text got;
} client;

static void *client_main(void *arg)
{
    client *c = arg;
    hsd_session *session = open_session(c->mode, 48, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        pull_all(session, &c->got);
    }
    hsd_session_close(&session);
    return NULL;
}

static void sessions_that_run_at_once_each_give_the_ar_text(void **state)
{
    (void)state;
    enum { N = 6 };
    static const hsd_mode modes[N] = {HSD_MODE_AR,     HSD_MODE_SERIAL, HSD_MODE_MIRROR,
                                      HSD_MODE_MIRROR, HSD_MODE_SERIAL, HSD_MODE_MIRROR};
    client *clients = calloc(N, sizeof *clients);
    pthread_t threads[N];
    for (int i = 0; i < N; i++) {
        clients[i].mode = modes[i];
        assert_int_equal(pthread_create(&threads[i], NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 1; i < N; i++) {
        assert_int_equal(clients[i].got.n, clients[0].got.n);
        assert_memory_equal(clients[i].got.ids, clients[0].got.ids,
                            sizeof(int32_t) * (size_t)clients[0].got.n);
    }
    free(clients);
}

static void mode_auto_says_what_it_chose_and_gives_the_ar_text(void **state)
{
    (void)state;
    text ar, chosen;
    hsd_stats stats;
    hsd_session *session = open_session(HSD_MODE_AR, 40, NULL, NULL);
    pull_all(session, &ar);
    hsd_session_close(&session);
    session = open_session(HSD_MODE_AUTO, 40, NULL, NULL);
    pull_all(session, &chosen);
    hsd_session_stats(session, &stats);
    hsd_session_close(&session);
    assert_in_range(stats.mode, HSD_MODE_AR, HSD_MODE_MIRROR);
    assert_int_equal(ar.n, chosen.n);
    assert_memory_equal(ar.ids, chosen.ids, sizeof(int32_t) * (size_t)ar.n);
}

static void the_context_ends_a_generation_without_a_token_limit(void **state)
{
    (void)state;
    text ar, mirror;
    hsd_session *session = open_session(HSD_MODE_AR, 0, NULL, NULL);
    pull_all(session, &ar);
    hsd_session_close(&session);
    session = open_session(HSD_MODE_MIRROR, 0, NULL, NULL);
    pull_all(session, &mirror);
    hsd_stats stats;
    hsd_session_stats(session, &stats);
    assert_int_equal(stats.n_tokens, mirror.n);
    assert_int_equal(stats.n_prompt + stats.n_tokens, hsd_engine_n_ctx(engine));
    hsd_session_close(&session);
    assert_int_equal(ar.n, mirror.n);
    assert_memory_equal(ar.ids, mirror.ids, sizeof(int32_t) * (size_t)ar.n);
}

static void wrong_options_are_refused_with_their_names(void **state)
{
    (void)state;
    const struct {
        hsd_session_options o;
        hsd_status status;
        const char *where;
    } bad[] = {
        {{.window = 17, .sampling.top_p = 1}, HSD_EINVAL, "window"},
        {{.roots = 65, .sampling.top_p = 1}, HSD_EINVAL, "roots"},
        {{.exit_layer = 99, .sampling.top_p = 1}, HSD_EINVAL, "exit_layer"},
        {{.n_tokens = -1, .sampling.top_p = 1}, HSD_EINVAL, "n_tokens"},
        {{.mode = (hsd_mode)9, .sampling.top_p = 1}, HSD_EINVAL, "mode"},
        {{.draft_kind = (hsd_draft_kind)9, .sampling.top_p = 1}, HSD_EINVAL, "draft_kind"},
        {{.sampling = {.top_p = 0}}, HSD_EINVAL, "top_p"},
        {{.sampling = {.top_p = 1, .repeat_penalty = -1}}, HSD_EINVAL, "repeat_penalty"},
        {{.sampling = {.top_p = 1, .no_repeat_ngram = -1}}, HSD_EINVAL, "no_repeat_ngram"},
        {{.sampling = {.top_p = 1, .rule = (hsd_rule)2}}, HSD_EINVAL, "rule"},
        {{.window = 4, .tree = 3, .sampling.top_p = 1}, HSD_EINVAL, "tree"},
        {{.tree = 33, .sampling.top_p = 1}, HSD_EINVAL, "tree"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hsd_session *session;
        hsd_error err = {0};
        assert_int_equal(hsd_session_open(engine, &bad[i].o, &session, &err), bad[i].status);
        assert_string_equal(err.where, bad[i].where);
        assert_null(session);
    }
}

static void prompts_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    hsd_session *session = open_session(HSD_MODE_AR, 4, NULL, NULL);
    hsd_error err = {0};
    hsd_token token;
    int32_t id = hsd_engine_n_vocab(engine);
    char *huge = malloc(100000);
    memset(huge, 'a', 100000);
    assert_int_equal(hsd_session_next(session, 0, &token, &err), HSD_EINVAL);
    assert_int_equal(hsd_session_submit(session, huge, 100000, &err), HSD_ETOOLONG);
    assert_string_equal(err.where, "prompt");
    assert_int_equal(hsd_session_submit_tokens(session, &id, 1, &err), HSD_EINVAL);
    assert_int_equal(hsd_session_submit_tokens(session, &id, 0, &err), HSD_EINVAL);
    must(hsd_session_submit(session, "", 0, &err), &err); // BOS alone
    must(hsd_session_wait(session, &err), &err);
    free(huge);
    hsd_session_close(&session);
}

static void models_that_cannot_be_used_say_where_and_why(void **state)
{
    (void)state;
    const struct {
        const char *target, *draft;
        hsd_status status;
        const char *message;
    } bad[] = {
        {"/nonexistent/x.gguf", NULL, HSD_EIO, "No such file"},
        {"README.md", NULL, HSD_EFORMAT, ""},
        {NULL, "tests/reference/fixtures/gpt2.gguf", HSD_EVOCAB, "token"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hsd_engine_options options;
        hsd_engine *e;
        hsd_error err = {0};
        hsd_engine_options_init(&options);
        options.target_path = bad[i].target;
        options.draft_path = bad[i].draft;
        assert_int_equal(hsd_engine_open(&options, &e, &err), bad[i].status);
        assert_null(e);
        assert_int_equal(err.status, bad[i].status);
        if (!strstr(err.message, bad[i].message) || !err.where[0]) {
            fail_msg("case %zu: where \"%s\", message \"%s\"", i, err.where, err.message);
        }
    }
}

// Calls of this program's own objects go through these (linker option --wrap); libzmq's and
// libc's own do not.
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
static atomic_long n_allocations;

void *__wrap_malloc(size_t n)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_aligned_alloc(align, n);
}

typedef struct count {
    int n;
    long at_start, at_end;
} count;

static bool count_allocations(void *user, const hsd_token *token)
{
    count *c = user;
    (void)token;
    c->n++;
    if (c->n == 20) {
        c->at_start = atomic_load(&n_allocations);
    } else if (c->n == 180) {
        c->at_end = atomic_load(&n_allocations);
    }
    return true;
}

static void expect_no_allocation(void)
{
    static const hsd_mode modes[] = {HSD_MODE_AR, HSD_MODE_SERIAL, HSD_MODE_MIRROR};
    for (size_t i = 0; i < 2 * sizeof modes / sizeof *modes; i++) {
        count c = {0};
        hsd_error err = {0};
        hsd_session *session =
            open_sampled(modes[i / 2], i % 2 == 0 ? &greedy : &ruled, 200, count_allocations, &c);
        assert_true(atomic_load(&n_allocations) > 0); // the counter counts
        must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
        must(hsd_session_wait(session, &err), &err);
        hsd_session_close(&session);
        assert_true(c.n >= 200);
        assert_int_equal(c.at_end - c.at_start, 0);
    }
}

static void the_step_loop_allocates_nothing(void **state)
{
    (void)state;
    expect_no_allocation();
}

static void open_with(hsd_trace *trace)
{
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.trace = trace;
    cpu_set_t before, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    must(hsd_engine_open(&options, &engine, &err), &err);
    // Models are loaded near their processors; the application's thread runs where it did.
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));
}

/// What a trace's file says; the tracks' and spans' counts.
static void read_trace(hsd_trace *trace, int *n_tracks, int *n_spans, int *n_dropped)
{
    char path[] = "/tmp/hsd-test-api-XXXXXX";
    hsd_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    must(hsd_trace_write(trace, path, &err), &err);
    json_error_t why = {0};
    json_t *file = json_load_file(path, 0, &why), *event;
    unlink(path);
    if (!file) {
        fail_msg("line %d: %s", why.line, why.text);
    }
    size_t i;
    *n_tracks = *n_spans = 0;
    json_array_foreach(json_object_get(file, "traceEvents"), i, event)
    {
        *n_tracks += strcmp(json_string_value(json_object_get(event, "name")), "thread_name") == 0;
        *n_spans += strcmp(json_string_value(json_object_get(event, "ph")), "X") == 0;
    }
    *n_dropped = (int)json_integer_value(
        json_object_get(json_object_get(file, "otherData"), "spans_dropped"));
    json_decref(file);
}

static void a_trace_is_written_beside_sessions_and_allocates_nothing_in_steps(void **state)
{
    (void)state;
    enum { N_SPANS = 1000 };
    hsd_engine *plain = engine;
    hsd_trace *trace = NULL;
    hsd_error err = {0};
    int n_tracks, n_spans, n_dropped;
    must(hsd_trace_create("a host", N_SPANS, &trace, &err), &err);
    open_with(trace);
    hsd_session *sessions[2];
    for (int i = 0; i < 2; i++) {
        sessions[i] = open_session(HSD_MODE_MIRROR, 300, NULL, NULL);
        must(hsd_session_submit(sessions[i], prompt, strlen(prompt), &err), &err);
    }
    for (int i = 0; i < 10; i++) {
        read_trace(trace, &n_tracks, &n_spans, &n_dropped);
        assert_int_equal(n_tracks, 3); // two targets, the engine's draft worker
    }
    for (int i = 0; i < 2; i++) {
        must(hsd_session_wait(sessions[i], &err), &err);
        hsd_session_close(&sessions[i]);
    }
    read_trace(trace, &n_tracks, &n_spans, &n_dropped);
    assert_in_range(n_spans, 1, 3 * N_SPANS);
    hsd_trace_restart(trace);
    expect_no_allocation();
    read_trace(trace, &n_tracks, &n_spans, &n_dropped);
    assert_int_equal(n_tracks, 3); // sessions one after the other use the same
    assert_true(n_dropped > 0 && n_spans >= N_SPANS);
    hsd_engine_close(&engine);
    hsd_trace_destroy(&trace);
    engine = plain;
}

static int open_engine(void **state)
{
    (void)state;
    open_with(NULL);
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    hsd_engine_close(&engine);
    hsd_engine_close(&engine);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pull_and_callback_deliver_the_same_text_and_the_tokens_give_it),
        cmocka_unit_test(a_session_can_be_used_again_with_the_same_result),
        cmocka_unit_test(a_callback_that_says_no_cancels_and_later_tokens_never_come),
        cmocka_unit_test(cancel_and_close_in_the_middle_end_soon),
        cmocka_unit_test(sessions_that_run_at_once_each_give_the_ar_text),
        cmocka_unit_test(mode_auto_says_what_it_chose_and_gives_the_ar_text),
        cmocka_unit_test(the_context_ends_a_generation_without_a_token_limit),
        cmocka_unit_test(wrong_options_are_refused_with_their_names),
        cmocka_unit_test(prompts_that_do_not_fit_are_refused),
        cmocka_unit_test(models_that_cannot_be_used_say_where_and_why),
        cmocka_unit_test(the_step_loop_allocates_nothing),
        cmocka_unit_test(a_trace_is_written_beside_sessions_and_allocates_nothing_in_steps),
    };
    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
