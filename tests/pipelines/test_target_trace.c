/// Proves: what workers at an ipc endpoint recorded is in the target's trace, once and whole, also
///         behind a silence in which the worker forgot the session, and of a worker that was
///         started again with the same process number; a generation that was stopped does not wait
///         for spans, which come with the next one.
/// Does not prove: that clocks are compared rightly (tests/cli/test_trace.py).
#include "rig.h"

#include <base/clock.h>
#include <base/trace.h>
#include <pipelines/protocol.h>
#include <pipelines/spans.h>
#include <pipelines/transport/link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_PROMPT = 10, N_TOKENS = 60, TRIES = 50, SOON_MS = 60000 };

static hsdi_context *context;

static int setup(void **state)
{
    (void)state;
    hsd_error err;
    return hsdi_context_create(&context, &err) == HSD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hsdi_context_destroy(&context);
    return 0;
}

/// A target with a trace, and what it warned of.
typedef struct bench {
    scripted_script script;
    hsdi_target_config config;
    hsdi_target_stage stage;
    hsdi_target *target;
    hsd_trace *trace;
    int32_t prompt[N_PROMPT];
    rig_output expected, out;
    atomic_int n_missing;
} bench;

static void note(void *user, int level, const char *text)
{
    bench *b = user;
    if (level <= HSDI_LOG_WARN && strstr(text, "missing in the trace")) {
        atomic_fetch_add(&b->n_missing, 1);
    }
}

static bench *bench_new(uint64_t seed)
{
    bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->script = scripted_default(seed);
    b->script.agreement = 0.9;
    hsdi_target_config_init(&b->config);
    b->config.vocab_hash = 0x1234;
    b->config.handshake_ms = b->config.first_deadline_ms = b->config.deadline_ms = SOON_MS;
    b->config.retry_ms = 5;
    b->config.log = (hsdi_log){note, b};
    assert_int_equal(hsd_trace_create("target", 0, &b->trace, NULL), HSD_OK);
    b->config.trace = b->trace;
    return b;
}

static void bench_open(bench *b, const char *endpoint)
{
    hsd_error err = {0};
    b->config.endpoints = &endpoint;
    b->config.n_endpoints = 1;
    b->stage = scripted_target_open(&b->script);
    if (hsdi_target_create(context, &b->config, &b->stage, &b->target, &err) != HSD_OK) {
        fail_msg("%s", err.message);
    }
    rig_prompt(&b->script, b->script.seed, b->prompt, N_PROMPT);
    rig_expect(&b->script, b->prompt, N_PROMPT, N_TOKENS, -1, &b->expected);
}

static void bench_run(bench *b)
{
    rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, NULL, &b->out);
    rig_assert_equal(&b->out, &b->expected, "with a trace");
}

static void bench_close(bench *b)
{
    hsdi_target_destroy(&b->target);
    scripted_target_close(&b->stage);
    hsd_trace_destroy(&b->trace);
    free(b);
}

/// How often a trace has spans of this name.
static int count(hsd_trace *trace, const char *name)
{
    char path[64], what[64], *text = NULL;
    size_t size = 0;
    int n = 0;
    snprintf(path, sizeof path, "/tmp/hsd-test-trace-%d", (int)getpid());
    snprintf(what, sizeof what, "\"name\":\"%s\"", name);
    assert_int_equal(hsd_trace_write(trace, path, NULL), HSD_OK);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    ssize_t n_text = getdelim(&text, &size, 0, file);
    fclose(file);
    unlink(path);
    assert_true(n_text > 0);
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) {
        n++;
    }
    free(text);
    return n;
}

/// A worker with a trace of its own: what it took is known on both sides.
static void start_traced(rig_worker *worker, const bench *b, hsd_trace *trace, int idle_s)
{
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    config.trace = trace;
    config.idle_s = idle_s;
    rig_worker_start_with(worker, context, &b->script, &config);
}

static const char *const taken[] = {"take OPEN", "take STEP", "take COMMIT"};

enum { N_TAKEN = sizeof taken / sizeof *taken };

static void count_all(hsd_trace *trace, int out[N_TAKEN])
{
    for (int i = 0; i < N_TAKEN; i++) {
        out[i] = count(trace, taken[i]);
    }
}

/// One more generation, all of which is in both traces.
static void run_whole(bench *b, hsd_trace *own)
{
    int got[2][N_TAKEN], at_worker[2][N_TAKEN];
    count_all(b->trace, got[0]);
    count_all(own, at_worker[0]);
    bench_run(b);
    count_all(b->trace, got[1]);
    count_all(own, at_worker[1]);
    for (int i = 0; i < N_TAKEN; i++) {
        int n = at_worker[1][i] - at_worker[0][i];
        if (n == 0 || got[1][i] - got[0][i] != n) {
            fail_msg("%s: %d more in the trace, %d at the worker", taken[i], got[1][i] - got[0][i],
                     n);
        }
    }
}

static void a_session_that_was_forgotten_is_recorded_again(void **state)
{
    (void)state;
    bench *b = bench_new(1);
    rig_worker worker = {0};
    hsd_trace *own = NULL;
    assert_int_equal(hsd_trace_create("worker", 0, &own, NULL), HSD_OK);
    rig_endpoint(worker.endpoint, sizeof worker.endpoint, "ipc");
    start_traced(&worker, b, own, 1);
    bench_open(b, worker.endpoint);
    run_whole(b, own);
    run_whole(b, own);
    for (int i = 0; i < SOON_MS / 10 && atomic_load(&scripted_n_open) > 0; i++) {
        usleep(10000); // until its idle time is over
    }
    assert_int_equal(atomic_load(&scripted_n_open), 0);
    usleep(2500000); // and two sweeps more, which look for silent targets
    run_whole(b, own);
    assert_int_equal(atomic_load(&b->n_missing), 0);
    bench_close(b);
    rig_worker_stop(&worker);
    hsd_trace_destroy(&own);
}

static void a_worker_with_the_number_of_the_one_before_is_recorded(void **state)
{
    (void)state;
    bench *b = bench_new(2);
    rig_worker worker = {0};
    hsd_trace *own[2] = {0};
    b->config.first_deadline_ms = b->config.deadline_ms = 500;
    b->script.pass_us = 4000;
    rig_endpoint(worker.endpoint, sizeof worker.endpoint, "ipc");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hsd_trace_create("worker", 0, &own[i], NULL), HSD_OK);
        start_traced(&worker, b, own[i], 600);
        if (i == 0) {
            bench_open(b, worker.endpoint);
        }
        bench_run(b);
        for (int k = 0; k < TRIES && b->out.stats.hits == 0; k++) {
            bench_run(b); // until it is connected again
        }
        assert_true(b->out.stats.hits > 0);
        run_whole(b, own[i]);
        rig_worker_stop(&worker);
    }
    bench_close(b);
    hsd_trace_destroy(&own[0]);
    hsd_trace_destroy(&own[1]);
}

/// A peer that drafts nothing and has recorded one span, which it gives when it is told to.
typedef struct raw_peer {
    char endpoint[96];
    hsdi_listener *listener;
    atomic_bool is_stopped, gives;
    pthread_t thread;
} raw_peer;

static void raw_answer(raw_peer *peer, const hsdi_peer *from, const hsdi_frame *got)
{
    uint8_t bytes[1024], spans[HSDI_SPAN_BYTES];
    hsdi_frame frame = {.epoch = got->epoch, .session = got->session, .step = got->step};
    if (got->type == HSDI_FRAME_HELLO) {
        frame.type = HSDI_FRAME_WELCOME;
    } else if (got->type == HSDI_FRAME_CLOCK) {
        frame.type = HSDI_FRAME_TIME;
        frame.time.asked_ns = got->time.asked_ns;
        frame.time.taken_ns = frame.time.given_ns = (uint64_t)hsdi_now_ns();
    } else if (got->type == HSDI_FRAME_OPEN) {
        frame.type = HSDI_FRAME_WINDOW;
        frame.window.step = got->step;
        frame.window.n_committed = got->open.n_tokens;
    } else if (got->type == HSDI_FRAME_TRACE && got->trace.order == HSDI_TRACE_GIVE &&
               atomic_load(&peer->gives)) {
        const hsdi_span span = {.kind = &hsdi_span_sleep, .begin_ns = 10, .end_ns = 20};
        frame.type = HSDI_FRAME_SPANS;
        frame.spans.from = got->trace.from;
        frame.spans.n = got->trace.from == 0;
        frame.spans.next = 1;
        frame.spans.is_last = true;
        frame.spans.bytes = spans;
        assert_true(hsdi_span_encode(&span, spans));
    } else {
        return;
    }
    size_t n = hsdi_frame_encode(&frame, NULL, NULL, bytes, sizeof bytes);
    (void)!hsdi_listener_send(peer->listener, from, bytes, n);
}

static void *raw_run(void *arg)
{
    raw_peer *peer = arg;
    while (!atomic_load(&peer->is_stopped)) {
        hsdi_peer from;
        const void *bytes;
        size_t n_bytes;
        hsdi_frame frame;
        hsdi_listener_wait(peer->listener, 5000000);
        while (hsdi_listener_receive(peer->listener, &from, &bytes, &n_bytes) == HSD_OK) {
            if (hsdi_frame_decode(bytes, n_bytes, &frame, NULL) == HSD_OK) {
                raw_answer(peer, &from, &frame);
            }
        }
    }
    return NULL;
}

static void a_generation_that_was_stopped_does_not_wait_for_spans(void **state)
{
    (void)state;
    bench *b = bench_new(3);
    raw_peer peer = {0};
    hsd_error err;
    rig_job stopping = {.end_token = -1, .n_stop = 5};
    b->config.first_deadline_ms = b->config.deadline_ms = 5;
    b->config.n_late_lost = 1000000;
    rig_endpoint(peer.endpoint, sizeof peer.endpoint, "ipc");
    assert_int_equal(hsdi_listener_bind(context, peer.endpoint, &peer.listener, &err), HSD_OK);
    assert_int_equal(pthread_create(&peer.thread, NULL, raw_run, &peer), 0);
    bench_open(b, peer.endpoint);
    rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, &stopping, &b->out);
    assert_int_equal(b->out.status, HSD_ECANCELED);
    assert_int_equal(count(b->trace, "sleep"), 0);
    assert_int_equal(atomic_load(&b->n_missing), 0); // they may still come
    atomic_store(&peer.gives, true);
    for (int i = 0; i < TRIES && count(b->trace, "sleep") == 0; i++) {
        bench_run(b); // the peer may get no turn in one
    }
    assert_int_equal(count(b->trace, "sleep"), 1);
    bench_close(b);
    atomic_store(&peer.is_stopped, true);
    pthread_join(peer.thread, NULL);
    hsdi_listener_close(&peer.listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_that_was_forgotten_is_recorded_again),
        cmocka_unit_test(a_worker_with_the_number_of_the_one_before_is_recorded),
        cmocka_unit_test(a_generation_that_was_stopped_does_not_wait_for_spans),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
