/// Proves: whatever a worker does - stop, stall, answer late, lie, send garbage, fail, restart,
/// refuse - the text is that of mode ar, and what happened is counted; a worker outlives every
/// message and frees what it was told to free.
/// Does not prove: how much time a fault costs; processes that die (test_process.c does).
#include "rig.h"

#include <base/clock.h>
#include <pipelines/protocol.h>
#include <pipelines/transport/link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_PROMPT = 10, N_TOKENS = 120, TRIES = 50, SOON_MS = 60000 };

static hsdi_context *context;

/// A target of its own. Where a case wants a worker to be late it says after how long; else
/// deadlines are for what never happens, on a busy machine neither.
typedef struct bench {
    scripted_script script;
    hsdi_target_config config;
    hsdi_target_stage stage;
    hsdi_target *target;
    int32_t prompt[N_PROMPT];
    rig_output expected, out;
    struct bench *next_closed;
} bench;

/// Workers may still read the script of a bench that is closed: freed after the last test.
static bench *closed_benches;

static int setup(void **state)
{
    (void)state;
    hsd_error err;
    return hsdi_context_create(&context, &err) == HSD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    while (closed_benches) {
        bench *next = closed_benches->next_closed;
        free(closed_benches);
        closed_benches = next;
    }
    hsdi_context_destroy(&context);
    return 0;
}

static bench *bench_new(uint64_t seed)
{
    bench *b = calloc(1, sizeof *b);
    b->script = scripted_default(seed);
    b->script.agreement = 0.9;
    hsdi_target_config_init(&b->config);
    b->config.vocab_hash = 0x1234;
    b->config.handshake_ms = SOON_MS;
    b->config.first_deadline_ms = SOON_MS;
    b->config.deadline_ms = SOON_MS;
    b->config.n_late_lost = 2;
    b->config.retry_ms = 5;
    return b;
}

static void bench_open(bench *b, const char *endpoint)
{
    hsd_error err = {0};
    b->config.endpoints = &endpoint;
    b->config.n_endpoints = 1;
    b->stage = scripted_target_open(&b->script);
    hsd_status status = hsdi_target_create(context, &b->config, &b->stage, &b->target, &err);
    if (status != HSD_OK) {
        fail_msg("%s", err.message);
    }
    rig_prompt(&b->script, b->script.seed, b->prompt, N_PROMPT);
    rig_expect(&b->script, b->prompt, N_PROMPT, N_TOKENS, -1, &b->expected);
}

static void bench_run(bench *b, const rig_job *job)
{
    rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, job, &b->out);
    rig_assert_equal(&b->out, &b->expected, "under faults");
}

static void bench_close(bench *b)
{
    hsdi_target_destroy(&b->target);
    if (b->stage.self) {
        scripted_target_close(&b->stage);
    }
    b->next_closed = closed_benches;
    closed_benches = b;
}

static void stop_at_20(void *user, int n_tokens)
{
    rig_worker *worker = user;
    if (n_tokens == 20) {
        rig_worker_stop(worker);
    }
}

static void a_worker_that_stops_is_lost_and_the_text_goes_on(void **state)
{
    (void)state;
    bench *b = bench_new(1);
    rig_worker worker = {0};
    b->config.deadline_ms = 300;
    rig_worker_start(&worker, context, &b->script);
    bench_open(b, worker.endpoint);
    rig_job job = {.end_token = -1, .on_token = stop_at_20, .user = &worker};
    bench_run(b, &job);
    assert_true(b->out.stats.workers_lost >= 1);
    assert_int_equal(hsdi_target_n_workers(b->target), 0);
    bench_close(b);
}

static void restart_at_20(void *user, int n_tokens)
{
    rig_worker *worker = user;
    if (n_tokens == 20) {
        const scripted_script *script = worker->user;
        rig_worker_stop(worker);
        rig_worker_start(worker, context, script);
    }
}

static void a_worker_that_was_restarted_is_opened_again(void **state)
{
    (void)state;
    bench *b = bench_new(2);
    rig_worker worker = {.user = &b->script};
    b->config.first_deadline_ms = 500;
    b->config.deadline_ms = 50;
    b->script.pass_us = 4000;
    rig_endpoint(worker.endpoint, sizeof worker.endpoint, "ipc");
    rig_worker_start(&worker, context, &b->script);
    bench_open(b, worker.endpoint);
    rig_job job = {.end_token = -1, .on_token = restart_at_20, .user = &worker};
    int64_t n_lost = 0, n_reopened = 0;
    for (int i = 0; i < TRIES && n_reopened == 0; i++) {
        bench_run(b, &job);
        n_lost += b->out.stats.workers_lost;
        n_reopened += b->out.stats.reopened; // in the middle of that generation
    }
    assert_true(n_lost >= 1);
    assert_true(n_reopened >= 1);
    for (int i = 0; i < TRIES && (b->out.stats.hits == 0 || b->out.stats.workers_lost > 0); i++) {
        bench_run(b, NULL);
    }
    assert_true(b->out.stats.hits > 0);
    assert_int_equal(b->out.stats.workers_lost, 0);
    assert_int_equal(hsdi_target_n_workers(b->target), 1);
    bench_close(b);
    rig_worker_stop(&worker);
}

static void a_worker_that_answers_late_costs_no_token(void **state)
{
    (void)state;
    bench *b = bench_new(3);
    rig_worker worker = {0};
    b->config.deadline_ms = b->config.first_deadline_ms = 1;
    b->script.eval_us = 3000;
    rig_worker_start(&worker, context, &b->script);
    bench_open(b, worker.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.late >= 2);
    assert_true(b->out.stats.workers_lost >= 1);
    bench_close(b);
    rig_worker_stop(&worker);
}

static void a_draft_that_fails_is_reported_and_left_alone(void **state)
{
    (void)state;
    bench *b = bench_new(4);
    rig_worker worker = {0};
    b->script.fail_after = 25;
    rig_worker_start(&worker, context, &b->script);
    bench_open(b, worker.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.workers_lost >= 1);
    bench_close(b);
    rig_worker_stop(&worker);
}

static void nobody_at_the_endpoint_means_going_alone(void **state)
{
    (void)state;
    bench *b = bench_new(5);
    char endpoint[96];
    b->config.handshake_ms = 20;
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    bench_open(b, endpoint);
    bench_run(b, NULL);
    assert_int_equal(b->out.stats.drafted, 0);
    bench_close(b);
}

static void another_vocabulary_is_refused_with_a_sentence(void **state)
{
    (void)state;
    bench *b = bench_new(6);
    rig_worker worker = {0};
    hsd_error err = {0};
    rig_worker_start(&worker, context, &b->script);
    const char *endpoint = worker.endpoint;
    b->config.vocab_hash = 0x9999;
    b->config.endpoints = &endpoint;
    b->config.n_endpoints = 1;
    b->stage = scripted_target_open(&b->script);
    assert_int_equal(hsdi_target_create(context, &b->config, &b->stage, &b->target, &err),
                     HSD_EVOCAB);
    assert_non_null(strstr(err.message, "another vocabulary: 500 tokens"));
    bench_close(b);
    rig_worker_stop(&worker);
}

/// Every place of the first difference, also behind the end of the shorter vocabulary.
static void the_first_differing_token_is_named(void **state)
{
    (void)state;
    static const int places[] = {1, 2, 250, 255, 256, 257, 498, 499, 500};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        bench *b = bench_new(6);
        rig_worker worker = {0};
        hsd_error err = {0};
        char expected[128];
        scripted_script other = b->script;
        other.odd_token = places[i];
        other.n_vocab = places[i] == 500 ? 600 : 500;
        rig_worker_start(&worker, context, &other);
        const char *endpoint = worker.endpoint;
        b->config.vocabulary = scripted_vocabulary(&b->script);
        b->config.endpoints = &endpoint;
        b->config.n_endpoints = 1;
        b->stage = scripted_target_open(&b->script);
        assert_int_equal(hsdi_target_create(context, &b->config, &b->stage, &b->target, &err),
                         HSD_EVOCAB);
        if (places[i] == 500) {
            snprintf(expected, sizeof expected,
                     "token 500 is \"none\" in the target and \"odd\" in the draft");
        } else {
            snprintf(expected, sizeof expected,
                     "token %d is \"t%d\" in the target and \"odd\" in the draft", places[i],
                     places[i]);
        }
        if (!strstr(err.message, expected)) {
            fail_msg("place %d: %s", places[i], err.message);
        }
        bench_close(b);
        rig_worker_stop(&worker);
    }
}

// A raw peer: speaks the transport, and of the protocol only what its manner says.

typedef enum manner {
    MANNER_SILENT,
    MANNER_LIAR,
    MANNER_GARBAGE,
    MANNER_FORGETFUL,
    MANNER_RESTARTED, ///< forgets the session behind every window
    MANNER_REFUSING,  ///< a window, then another vocabulary, then
    MANNER_GONE,      ///< not even WELCOME
    MANNER_SHY,       ///< WELCOME when it was woken, no windows
    MANNER_FUSSY,     ///< fails where windows of more than FUSSY_WINDOW are asked for
    MANNER_REPLACED,  ///< another version's ERROR 1 to everything behind the first window
} manner;

enum { FUSSY_WINDOW = 4 };

typedef struct raw_peer {
    char endpoint[96];
    manner manner;
    atomic_bool is_awake; ///< of MANNER_SHY
    bool is_failing;      ///< of MANNER_FUSSY
    bool is_replaced;     ///< of MANNER_REPLACED
    hsdi_listener *listener;
    atomic_bool is_stopped;
    pthread_t thread;
    uint64_t random;
    const scripted_script *script; ///< of MANNER_REFUSING, whose window is right
} raw_peer;

static uint32_t raw_draw(raw_peer *peer, uint32_t n)
{
    peer->random = peer->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(peer->random >> 33) % n;
}

static void raw_send(raw_peer *peer, const hsdi_peer *to, const hsdi_frame *frame, bool is_damaged)
{
    uint8_t bytes[1024];
    size_t n = hsdi_frame_encode(frame, NULL, NULL, bytes, sizeof bytes);
    if (is_damaged) {
        for (uint32_t i = raw_draw(peer, 6); i > 0; i--) {
            bytes[raw_draw(peer, (uint32_t)n)] = (uint8_t)raw_draw(peer, 256);
        }
        n = raw_draw(peer, 3) == 0 ? raw_draw(peer, (uint32_t)n) : n;
    }
    (void)!hsdi_listener_send(peer->listener, to, bytes, n);
}

/// A window for the step that follows; every field is right when `is_fitting`.
static hsdi_frame raw_window(raw_peer *peer, const hsdi_frame *got, bool is_fitting)
{
    hsdi_frame frame = {.type = HSDI_FRAME_WINDOW, .epoch = got->epoch, .session = got->session};
    bool is_open = got->type == HSDI_FRAME_OPEN;
    frame.step = is_open ? got->step : got->step + 1;
    frame.window.n_committed = is_open ? got->open.n_tokens : got->commit.n_committed;
    frame.window.source = (hsdi_source)raw_draw(peer, 3);
    int n = (int)raw_draw(peer, HSDI_TREE_MAX + 1);
    for (int i = 0; i < n; i++) {
        int parent = raw_draw(peer, 3) == 0 ? (int)raw_draw(peer, (uint32_t)i + 1) : i;
        (void)hsdi_window_add(&frame.window.window, parent,
                              (int32_t)raw_draw(peer, is_fitting ? 500 : 1000000));
    }
    if (!is_fitting && raw_draw(peer, 2)) {
        frame.step += raw_draw(peer, 5) - 2;
        frame.window.n_committed += (int)raw_draw(peer, 5) + 1;
    }
    return frame;
}

static void raw_error(raw_peer *peer, const hsdi_peer *to, const hsdi_frame *got,
                      hsdi_error_code code)
{
    hsdi_frame frame = {.type = HSDI_FRAME_ERROR, .epoch = got->epoch, .session = got->session};
    frame.error.code = code;
    raw_send(peer, to, &frame, false);
}

/// The longest chain that a window may hold, of the target's own tokens.
static void raw_tell_truth(const raw_peer *peer, const hsdi_frame *open, hsdi_window *window)
{
    int32_t text[N_PROMPT + HSDI_WINDOW_MAX];
    window->n_tokens = 0;
    for (int i = 0; i < N_PROMPT; i++) {
        text[i] = hsdi_frame_token(open, i);
    }
    for (int i = 0; i < HSDI_WINDOW_MAX; i++) {
        text[N_PROMPT + i] = scripted_truth(peer->script, text, N_PROMPT + i);
        (void)hsdi_window_add(window, i, text[N_PROMPT + i]);
    }
}

/// What a program of the next protocol version says to whatever this one sends.
static void raw_refuse_version(raw_peer *peer, const hsdi_peer *to)
{
    uint8_t bytes[64];
    hsdi_frame frame = {.type = HSDI_FRAME_ERROR};
    frame.error.code = HSDI_ERROR_VERSION;
    size_t n = hsdi_frame_encode(&frame, NULL, NULL, bytes, sizeof bytes);
    bytes[4]++;
    (void)!hsdi_listener_send(peer->listener, to, bytes, n);
}

static void raw_answer(raw_peer *peer, const hsdi_peer *from, const hsdi_frame *got)
{
    bool is_asleep = peer->manner == MANNER_SHY && !atomic_load(&peer->is_awake);
    if (peer->is_replaced) {
        raw_refuse_version(peer, from);
    } else if (got->type == HSDI_FRAME_HELLO && peer->manner != MANNER_GONE && !is_asleep) {
        hsdi_frame frame = {
            .type = HSDI_FRAME_WELCOME, .epoch = got->epoch, .session = got->session};
        raw_send(peer, from, &frame, false);
    } else if (got->type == HSDI_FRAME_OPEN || got->type == HSDI_FRAME_COMMIT) {
        hsdi_frame frame = raw_window(peer, got, peer->manner != MANNER_GARBAGE);
        if (peer->manner == MANNER_GARBAGE) {
            raw_send(peer, from, &frame, raw_draw(peer, 2));
            raw_send(peer, from, got->type == HSDI_FRAME_COMMIT ? got : &frame, true);
            frame = raw_window(peer, got, true);
            raw_send(peer, from, &frame, raw_draw(peer, 2));
        } else if (peer->manner == MANNER_LIAR) {
            raw_send(peer, from, &frame, false);
        } else if (peer->manner == MANNER_FORGETFUL) {
            raw_error(peer, from, got, HSDI_ERROR_UNKNOWN);
        } else if (peer->manner == MANNER_RESTARTED) {
            raw_send(peer, from, &frame, false);
            raw_error(peer, from, got, HSDI_ERROR_UNKNOWN);
        } else if (peer->manner == MANNER_REFUSING && got->type == HSDI_FRAME_OPEN) {
            raw_tell_truth(peer, got, &frame.window.window);
            raw_send(peer, from, &frame, false);
            raw_error(peer, from, got, HSDI_ERROR_VOCABULARY);
            peer->manner = MANNER_GONE;
        } else if (peer->manner == MANNER_FUSSY) {
            bool is_wrong = got->type == HSDI_FRAME_OPEN && got->open.config.window > FUSSY_WINDOW;
            peer->is_failing = got->type == HSDI_FRAME_OPEN ? is_wrong : peer->is_failing;
            if (is_wrong) {
                raw_error(peer, from, got, HSDI_ERROR_STAGE);
            } else if (!peer->is_failing) {
                raw_send(peer, from, &frame, false);
            }
        } else if (peer->manner == MANNER_REPLACED) {
            raw_send(peer, from, &frame, false);
            peer->is_replaced = true;
        }
    }
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

static void raw_start(raw_peer *peer)
{
    hsd_error err;
    peer->random = 99;
    rig_endpoint(peer->endpoint, sizeof peer->endpoint, "inproc");
    assert_int_equal(hsdi_listener_bind(context, peer->endpoint, &peer->listener, &err), HSD_OK);
    assert_int_equal(pthread_create(&peer->thread, NULL, raw_run, peer), 0);
}

static void raw_stop(raw_peer *peer)
{
    atomic_store(&peer->is_stopped, true);
    pthread_join(peer->thread, NULL);
    hsdi_listener_close(&peer->listener);
}

static void a_worker_that_never_answers_is_given_up(void **state)
{
    (void)state;
    bench *b = bench_new(7);
    raw_peer peer = {.manner = MANNER_SILENT};
    b->config.deadline_ms = b->config.first_deadline_ms = 5;
    b->config.retry_ms = 10000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    bench_run(b, NULL);
    assert_int_equal(b->out.stats.late, 2);
    assert_int_equal(b->out.stats.workers_lost, 1);
    bench_close(b);
    raw_stop(&peer);
}

static void a_worker_that_lies_costs_no_token(void **state)
{
    (void)state;
    bench *b = bench_new(8);
    raw_peer peer = {.manner = MANNER_LIAR};
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.drafted > 0);
    assert_int_equal(b->out.stats.workers_lost, 0);
    bench_close(b);
    raw_stop(&peer);
}

static void a_worker_that_sends_garbage_costs_no_token(void **state)
{
    (void)state;
    bench *b = bench_new(9);
    raw_peer peer = {.manner = MANNER_GARBAGE};
    b->config.deadline_ms = b->config.first_deadline_ms = 2;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    for (int i = 0; i < 20; i++) {
        bench_run(b, NULL);
        assert_true(i > 0 || b->out.stats.ignored > 0);
    }
    bench_close(b);
    raw_stop(&peer);
}

static void a_worker_that_always_forgets_is_refused_in_the_end(void **state)
{
    (void)state;
    bench *b = bench_new(10);
    raw_peer peer = {.manner = MANNER_FORGETFUL};
    b->config.deadline_ms = b->config.first_deadline_ms = 50;
    b->script.pass_us = 1000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.workers_lost >= 1);
    bench_close(b);
    raw_stop(&peer);
}

static void a_worker_that_was_restarted_often_is_still_used(void **state)
{
    (void)state;
    bench *b = bench_new(12);
    raw_peer peer = {.manner = MANNER_RESTARTED};
    int n_tries = 0;
    b->config.deadline_ms = b->config.first_deadline_ms = 50;
    b->config.retry_ms = 10000;
    b->script.pass_us = 1000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    do { // the peer may get no turn for most of a generation
        bench_run(b, NULL);
    } while (b->out.stats.reopened <= 4 && ++n_tries < TRIES);
    assert_true(b->out.stats.reopened > 4);
    bench_close(b);
    raw_stop(&peer);
}

static void a_refused_worker_leaves_no_window_to_the_next_generation(void **state)
{
    (void)state;
    bench *b = bench_new(13);
    raw_peer peer = {.manner = MANNER_REFUSING, .script = &b->script};
    rig_job stopping = {.end_token = -1, .n_stop = 1};
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, &stopping, &b->out);
    assert_int_equal(b->out.status, HSD_ECANCELED);
    while (hsdi_target_n_workers(b->target) > 0) { // the refusal came behind the first look
        rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, &stopping, &b->out);
    }
    bench_run(b, NULL);
    assert_int_equal(b->out.stats.drafted, 0);
    bench_close(b);
    raw_stop(&peer);
}

static const hsdi_watch_config arms = {
    .n_arms = 3,
    .arms = {{.mode = HSD_MODE_AR, .window = 8, .tree = 8, .roots = 16},
             {.mode = HSD_MODE_SERIAL, .window = 8, .tree = 8, .roots = 16},
             {.mode = HSD_MODE_SERIAL, .window = 3, .tree = 3, .roots = 16}},
    .accept = 0.6,
    .margin = 1.05};

/// Wakes a shy peer at token 20, and asks for windows behind token 80.
typedef struct waker {
    bench *b;
    raw_peer *peer;
    int n_alone;           ///< workers that had shaken hands at token 80
    int64_t opened_before; ///< how often one was opened until then
} waker;

static void wake(void *user, int n_tokens)
{
    waker *w = user;
    if (n_tokens == 20) {
        atomic_store(&w->peer->is_awake, true);
    } else if (n_tokens == 80) {
        hsdi_target_stats stats;
        hsdi_target_get_stats(w->b->target, &stats);
        w->n_alone = hsdi_target_n_workers(w->b->target);
        w->opened_before = stats.reopened;
        hsdi_target_set_arm(w->b->target, 2);
    }
}

static void a_worker_that_returns_while_the_target_is_alone_waits(void **state)
{
    (void)state;
    bench *b = bench_new(20);
    raw_peer peer = {.manner = MANNER_SHY};
    b->config.handshake_ms = 5;
    b->config.watch = &arms;
    b->config.draft.tree = 12;
    b->config.deadline_ms = b->config.first_deadline_ms = 5;
    b->script.pass_us = 1000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    waker w = {.b = b, .peer = &peer};
    rig_job job = {.end_token = -1, .on_token = wake, .user = &w};
    for (int i = 0; i < TRIES && w.n_alone == 0; i++) { // the peer may get no turn in time
        hsdi_target_set_arm(b->target, 0);
        bench_run(b, &job);
    }
    assert_int_equal(w.n_alone, 1);
    assert_int_equal(w.opened_before, 0);
    bench_close(b);
    raw_stop(&peer);
}

/// Changes the arm when the worker is not used any more.
typedef struct changer {
    bench *b;
    atomic_bool is_refused;
    bool has_changed;
} changer;

static void note_refusal(void *user, int level, const char *text)
{
    changer *c = user;
    if (level <= HSDI_LOG_ERROR && strstr(text, "failed too often")) {
        atomic_store(&c->is_refused, true);
    }
}

static void change_when_refused(void *user, int n_tokens)
{
    changer *c = user;
    (void)n_tokens;
    if (!c->has_changed && atomic_load(&c->is_refused)) {
        c->has_changed = true;
        hsdi_target_set_arm(c->b->target, 2);
    }
}

static void a_worker_that_failed_gets_another_chance_with_other_settings(void **state)
{
    (void)state;
    bench *b = bench_new(21);
    raw_peer peer = {.manner = MANNER_FUSSY};
    changer c = {.b = b};
    rig_job job = {.end_token = -1, .on_token = change_when_refused, .user = &c};
    bool is_used = false;
    b->config.log = (hsdi_log){note_refusal, &c};
    b->config.watch = &arms;
    b->config.draft.tree = 12;
    b->config.deadline_ms = b->config.first_deadline_ms = 50;
    b->script.pass_us = 2000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    for (int i = 0; i < TRIES && !is_used; i++) { // the refusal may come with the last tokens
        c.has_changed = false;
        atomic_store(&c.is_refused, false);
        hsdi_target_set_arm(b->target, 1);
        bench_run(b, &job);
        is_used = c.has_changed && b->out.stats.drafted > 0;
    }
    assert_true(is_used);
    bench_close(b);
    raw_stop(&peer);
}

static void a_worker_of_another_version_is_refused_in_mode_async(void **state)
{
    (void)state;
    bench *b = bench_new(22);
    raw_peer peer = {.manner = MANNER_REPLACED};
    b->config.mode = HSD_MODE_ASYNC;
    b->script.pass_us = 1000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    for (int i = 0; i < TRIES && hsdi_target_n_workers(b->target) > 0; i++) {
        bench_run(b, NULL);
    }
    assert_int_equal(hsdi_target_n_workers(b->target), 0);
    bench_close(b);
    raw_stop(&peer);
}

// A raw session: what a worker answers to messages that no target would send.

static hsdi_frame ask(hsdi_link *link, const void *bytes, size_t n_bytes)
{
    hsdi_frame frame = {0};
    const void *answer;
    size_t n_answer;
    int64_t deadline_ns = hsdi_now_ns() + SOON_MS * INT64_C(1000000);
    assert_int_equal(hsdi_link_send(link, bytes, n_bytes), HSD_OK);
    while (hsdi_link_receive(link, &answer, &n_answer) != HSD_OK) {
        assert_true(hsdi_now_ns() < deadline_ns);
        hsdi_links_wait(&link, 1, 10000000);
    }
    assert_int_equal(hsdi_frame_decode(answer, n_answer, &frame, NULL), HSD_OK);
    return frame;
}

static hsdi_frame ask_frame(hsdi_link *link, const hsdi_frame *frame)
{
    uint8_t bytes[2048];
    int32_t tokens[] = {1, 2, 3, 4};
    size_t n = hsdi_frame_encode(frame, tokens, NULL, bytes, sizeof bytes);
    return ask(link, bytes, n);
}

static void a_worker_answers_bad_messages_with_errors_and_lives(void **state)
{
    (void)state;
    bench *b = bench_new(11);
    rig_worker worker = {0};
    hsd_error err;
    hsdi_link *link = NULL;
    rig_worker_start(&worker, context, &b->script);
    assert_int_equal(hsdi_link_connect(context, worker.endpoint, &link, &err), HSD_OK);

    hsdi_frame answer = ask(link, "nonsense", 8);
    assert_int_equal(answer.error.code, HSDI_ERROR_BAD);
    answer = ask(link, "", 0);
    assert_int_equal(answer.error.code, HSDI_ERROR_BAD);
    hsdi_frame frame = {.type = HSDI_FRAME_COMMIT, .session = 5, .epoch = 1};
    frame.commit.n_committed = 5;
    answer = ask_frame(link, &frame);
    assert_int_equal(answer.type, HSDI_FRAME_ERROR);
    assert_int_equal(answer.error.code, HSDI_ERROR_UNKNOWN);

    hsdi_frame open = {.type = HSDI_FRAME_OPEN, .session = 5, .epoch = 1};
    open.open.config = b->config.draft;
    open.open.config.mode = HSD_MODE_MIRROR;
    open.open.config.n_ctx = 64;
    open.open.n_vocab = 500;
    open.open.n_tokens = 4;
    answer = ask_frame(link, &open);
    assert_int_equal(answer.type, HSDI_FRAME_OPENED);
    frame = (hsdi_frame){.type = HSDI_FRAME_STEP, .session = 5, .epoch = 1, .step = 77};
    do {
        answer = ask_frame(link, &frame); // a WINDOW may come in between
    } while (answer.type == HSDI_FRAME_WINDOW);
    assert_int_equal(answer.error.code, HSDI_ERROR_ORDER);
    open.open.n_vocab = 501;
    open.epoch = 2;
    do {
        answer = ask_frame(link, &open);
    } while (answer.error.code == HSDI_ERROR_UNKNOWN);
    assert_int_equal(answer.error.code, HSDI_ERROR_VOCABULARY);

    bench_open(b, worker.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.drafted > 0);
    hsdi_link_close(&link);
    bench_close(b);
    rig_worker_stop(&worker);
    assert_int_equal(atomic_load(&scripted_n_open), 0);
}

static void count_warning(void *user, int level, const char *text)
{
    (void)text;
    if (level <= HSDI_LOG_WARN) {
        atomic_fetch_add((atomic_int *)user, 1);
    }
}

/// Whoever sends them must not fill a worker's log, which may be a pipe that nobody reads.
static void a_flood_of_wrong_messages_is_one_warning(void **state)
{
    (void)state;
    enum { N_WRONG = 500 };
    bench *b = bench_new(18);
    rig_worker worker = {0};
    hsdi_worker_config config;
    hsdi_link *link = NULL;
    atomic_int n_warnings = 0;
    hsd_error err;
    hsdi_worker_config_init(&config);
    config.log = (hsdi_log){count_warning, &n_warnings};
    rig_worker_start_with(&worker, context, &b->script, &config);
    assert_int_equal(hsdi_link_connect(context, worker.endpoint, &link, &err), HSD_OK);
    int64_t begin_ns = hsdi_now_ns();
    for (int i = 0; i < N_WRONG; i++) {
        hsdi_frame frame = {.type = HSDI_FRAME_COMMIT, .session = 5, .epoch = 1};
        frame.commit.n_committed = 5;
        assert_int_equal(ask_frame(link, &frame).error.code, HSDI_ERROR_UNKNOWN);
    }
    int64_t most = 1 + (hsdi_now_ns() - begin_ns) / 5000000000;
    assert_in_range(atomic_load(&n_warnings), 1, most);
    hsdi_link_close(&link);
    rig_worker_stop(&worker);
    bench_close(b);
}

static void *run_in_thread(void *arg)
{
    bench *b = arg;
    for (int i = 0; i < 10; i++) {
        rig_generate(b->target, b->prompt, N_PROMPT, N_TOKENS, NULL, &b->out);
    }
    return NULL;
}

static void two_sessions_share_one_worker(void **state)
{
    (void)state;
    bench *benches[2];
    pthread_t threads[2];
    rig_worker worker = {0};
    for (int i = 0; i < 2; i++) {
        benches[i] = bench_new(12);
    }
    rig_worker_start(&worker, context, &benches[0]->script);
    for (int i = 0; i < 2; i++) {
        bench_open(benches[i], worker.endpoint);
        pthread_create(&threads[i], NULL, run_in_thread, benches[i]);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        rig_assert_equal(&benches[i]->out, &benches[i]->expected, "two sessions");
        assert_true(benches[i]->out.stats.accepted > 0);
        bench_close(benches[i]);
    }
    rig_worker_stop(&worker);
}

static void wait_until_none_is_open(void)
{
    for (int i = 0; i < SOON_MS / 10 && atomic_load(&scripted_n_open) > 0; i++) {
        usleep(10000);
    }
    assert_int_equal(atomic_load(&scripted_n_open), 0);
}

static void a_full_worker_refuses_and_takes_again_after_a_close(void **state)
{
    (void)state;
    bench *first = bench_new(13), *second = bench_new(14);
    rig_worker worker = {0};
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    config.n_sessions_max = 1;
    rig_worker_start_with(&worker, context, &first->script, &config);
    bench_open(first, worker.endpoint);
    bench_run(first, NULL);
    assert_true(first->out.stats.accepted > 0);
    bench_open(second, worker.endpoint);
    bench_run(second, NULL);
    assert_int_equal(second->out.stats.accepted, 0);
    bench_close(first);
    wait_until_none_is_open();
    bench_close(second);
    second = bench_new(15);
    bench_open(second, worker.endpoint);
    bench_run(second, NULL);
    assert_true(second->out.stats.drafted > 0);
    bench_close(second);
    rig_worker_stop(&worker);
}

static void a_session_whose_owner_vanished_is_freed(void **state)
{
    (void)state;
    bench *b = bench_new(16);
    rig_worker worker = {0};
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    config.idle_s = 1;
    rig_worker_start_with(&worker, context, &b->script, &config);
    bench_open(b, worker.endpoint);
    bench_run(b, NULL);
    assert_true(b->out.stats.drafted > 0);
    wait_until_none_is_open();
    bench_run(b, NULL); // and it is opened again when its owner speaks
    assert_true(b->out.stats.drafted > 0);
    bench_close(b);
    rig_worker_stop(&worker);
}

typedef struct canceller {
    atomic_bool cancel;
    int64_t at_ns;
} canceller;

static void *cancel_soon(void *arg)
{
    canceller *c = arg;
    usleep(30000);
    atomic_store(&c->cancel, true);
    return NULL;
}

static bool accept_token(void *user, int32_t token)
{
    (void)user;
    (void)token;
    return true;
}

static void a_cancel_ends_a_wait(void **state)
{
    (void)state;
    bench *b = bench_new(17);
    raw_peer peer = {.manner = MANNER_SILENT};
    canceller c = {.at_ns = 0};
    pthread_t thread;
    hsd_error err;
    b->config.first_deadline_ms = 60000;
    raw_start(&peer);
    bench_open(b, peer.endpoint);
    hsdi_target_job job = {
        .prompt = b->prompt, .n_prompt = N_PROMPT, .emit = accept_token, .cancel = &c.cancel};
    pthread_create(&thread, NULL, cancel_soon, &c);
    assert_int_equal(hsdi_target_generate(b->target, &job, &err), HSD_ECANCELED);
    pthread_join(thread, NULL);
    bench_close(b);
    raw_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_stops_is_lost_and_the_text_goes_on),
        cmocka_unit_test(a_worker_that_was_restarted_is_opened_again),
        cmocka_unit_test(a_worker_that_answers_late_costs_no_token),
        cmocka_unit_test(a_draft_that_fails_is_reported_and_left_alone),
        cmocka_unit_test(nobody_at_the_endpoint_means_going_alone),
        cmocka_unit_test(another_vocabulary_is_refused_with_a_sentence),
        cmocka_unit_test(the_first_differing_token_is_named),
        cmocka_unit_test(a_worker_that_never_answers_is_given_up),
        cmocka_unit_test(a_worker_that_lies_costs_no_token),
        cmocka_unit_test(a_worker_that_sends_garbage_costs_no_token),
        cmocka_unit_test(a_worker_that_always_forgets_is_refused_in_the_end),
        cmocka_unit_test(a_worker_that_was_restarted_often_is_still_used),
        cmocka_unit_test(a_refused_worker_leaves_no_window_to_the_next_generation),
        cmocka_unit_test(a_worker_that_returns_while_the_target_is_alone_waits),
        cmocka_unit_test(a_worker_that_failed_gets_another_chance_with_other_settings),
        cmocka_unit_test(a_worker_of_another_version_is_refused_in_mode_async),
        cmocka_unit_test(a_worker_answers_bad_messages_with_errors_and_lives),
        cmocka_unit_test(a_flood_of_wrong_messages_is_one_warning),
        cmocka_unit_test(two_sessions_share_one_worker),
        cmocka_unit_test(a_full_worker_refuses_and_takes_again_after_a_close),
        cmocka_unit_test(a_session_whose_owner_vanished_is_freed),
        cmocka_unit_test(a_cancel_ends_a_wait),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
