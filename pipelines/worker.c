/// The event loop of a draft worker.
///
/// Messages come first, computing second, sleeping last: between any two stage calls all waiting
/// frames are applied, and only the newest state of a session is answered.
#include <base/clock.h>
#include <base/error.h>
#include <pipelines/protocol.h>
#include <pipelines/roots.h>
#include <pipelines/spans.h>
#include <pipelines/transport/link.h>
#include <pipelines/worker_trace.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int MESSAGES_PER_TURN = 64;
static const int64_t SWEEP_NS = 1000000000;

/// A warning every so often, whatever comes: others decide how many frames are wrong, and a log
/// that nobody reads (a full pipe) would hold the worker.
static const int64_t QUIET_NS = 5000000000;

typedef struct served {
    bool is_used;
    hsdi_peer peer;
    uint64_t session;
    uint32_t epoch;
    hsdi_draft_config config;
    int n_proxies;
    hsdi_draft_stage stage;
    hsdi_draft *draft;
    int64_t heard_ns;
} served;

/// What sessions of one kind learned of their draft.
typedef struct learned {
    int draft_kind, exit_layer;
    bool is_sampled;
    hsdi_calibration calibration;
} learned;

enum { MOST_LEARNED = 8 };

struct hsdi_worker {
    learned learned[MOST_LEARNED]; ///< the first n_learned, then the oldest is overwritten
    int n_learned;
    hsdi_listener *listener;
    hsdi_draft_factory factory;
    hsdi_worker_config config;
    hsdi_worker_trace trace; ///< trace.track NULL: nothing is recorded
    atomic_bool is_stopped;
    pthread_mutex_t lock; ///< guards the two
    pthread_cond_t kept;
    unsigned n_keeps_asked, n_keeps_done; ///< see hsdi_worker_keep
    int i_next;                           ///< session that computes next
    int n_sessions;
    served *sessions; ///< [config.n_sessions_max]
    int32_t *tokens;  ///< [n_tokens_cap] of the frame at hand
    int n_tokens_cap;
    int64_t warned_ns; ///< when the last warning went to the log; 0: never
    uint8_t out[HSDI_FRAME_SMALL_BYTES];
};

void hsdi_worker_config_init(hsdi_worker_config *config)
{
    *config = (hsdi_worker_config){.n_sessions_max = 64, .idle_s = 600, .spin_us = 0};
}

hsd_status hsdi_worker_create(hsdi_context *context, const char *endpoint,
                              const hsdi_draft_factory *factory, const hsdi_worker_config *config,
                              hsdi_worker **out, hsd_error *err)
{
    if (config->n_sessions_max < 1 || config->n_sessions_max > 65536 || config->idle_s < 1 ||
        config->spin_us < 0) {
        return hsdi_fail(err, HSD_EINVAL, "worker", "a worker setting is out of range");
    }
    hsdi_worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        return hsdi_fail(err, HSD_ENOMEM, "worker", "no memory for a worker");
    }
    worker->factory = *factory;
    worker->config = *config;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->kept, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&worker->lock, NULL);
    worker->sessions = calloc((size_t)config->n_sessions_max, sizeof *worker->sessions);
    hsd_status status = worker->sessions
                            ? hsdi_listener_bind(context, endpoint, &worker->listener, err)
                            : hsdi_fail(err, HSD_ENOMEM, "worker", "no memory");
    if (status == HSD_OK) {
        char name[HSDI_TRACK_NAME_BYTES];
        snprintf(name, sizeof name, "draft worker %s", endpoint);
        status = hsdi_worker_trace_init(&worker->trace, config->trace, name, err);
    }
    if (status != HSD_OK) {
        hsdi_worker_destroy(&worker);
        return status;
    }
    *out = worker;
    return HSD_OK;
}

/// What a session of this kind learned is where the next one starts.
static learned *learned_of(hsdi_worker *worker, const hsdi_draft_config *config)
{
    int n = worker->n_learned < MOST_LEARNED ? worker->n_learned : MOST_LEARNED;
    for (int i = 0; i < n; i++) {
        learned *known = &worker->learned[i];
        if (known->draft_kind == config->draft_kind && known->exit_layer == config->exit_layer &&
            known->is_sampled == (config->temperature > 0.0f)) {
            return known;
        }
    }
    return NULL;
}

static void keep_learned(hsdi_worker *worker, const served *session)
{
    learned *known = learned_of(worker, &session->config);
    if (!known) {
        known = &worker->learned[worker->n_learned++ % MOST_LEARNED];
    }
    *known = (learned){session->config.draft_kind, session->config.exit_layer,
                       session->config.temperature > 0.0f, *hsdi_draft_calibration(session->draft)};
}

static void free_session(hsdi_worker *worker, served *session)
{
    if (session->draft) {
        keep_learned(worker, session);
    }
    hsdi_draft_destroy(&session->draft);
    if (session->stage.eval) {
        worker->factory.close(worker->factory.self, &session->stage);
    }
    *session = (served){0};
    worker->n_sessions--;
}

static void free_sessions(hsdi_worker *worker)
{
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        if (worker->sessions[i].is_used) {
            free_session(worker, &worker->sessions[i]);
        }
    }
}

void hsdi_worker_destroy(hsdi_worker **worker)
{
    if (*worker) {
        if ((*worker)->sessions) {
            free_sessions(*worker);
        }
        hsdi_listener_close(&(*worker)->listener);
        hsdi_worker_trace_fini(&(*worker)->trace);
        pthread_cond_destroy(&(*worker)->kept);
        pthread_mutex_destroy(&(*worker)->lock);
        free((*worker)->sessions);
        free((*worker)->tokens);
        free(*worker);
        *worker = NULL;
    }
}

/// A worker's frame may be lost when the peer is gone or does not read; the peer then waits, and
/// opens the session again.
static void send_frame(hsdi_worker *worker, const hsdi_peer *to, const hsdi_frame *frame)
{
    size_t n = hsdi_frame_encode(frame, NULL, NULL, worker->out, sizeof worker->out);
    (void)!hsdi_listener_send(worker->listener, to, worker->out, n);
}

static void send_error(hsdi_worker *worker, const hsdi_peer *to, const hsdi_frame *about,
                       hsdi_error_code code, const char *text)
{
    hsdi_frame frame = {.type = HSDI_FRAME_ERROR, .epoch = about->epoch, .session = about->session};
    frame.error.code = code;
    snprintf(frame.error.text, sizeof frame.error.text, "%s", text);
    int64_t now_ns = hsdi_now_ns();
    bool is_quiet = worker->warned_ns && now_ns - worker->warned_ns < QUIET_NS;
    worker->warned_ns = is_quiet ? worker->warned_ns : now_ns;
    hsdi_logf(&worker->config.log, is_quiet ? HSDI_LOG_INFO : HSDI_LOG_WARN,
              "draft worker: session %016llx: %s", (unsigned long long)about->session, text);
    send_frame(worker, to, &frame);
}

/// End a session that failed and tell its owner.
static void fail_session(hsdi_worker *worker, served *session, hsdi_error_code code,
                         const hsd_error *err)
{
    hsdi_frame about = {.epoch = session->epoch, .session = session->session};
    hsdi_peer peer = session->peer;
    free_session(worker, session);
    send_error(worker, &peer, &about, code, err->message);
}

static served *find_session(hsdi_worker *worker, uint64_t id)
{
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        if (worker->sessions[i].is_used && worker->sessions[i].session == id) {
            return &worker->sessions[i];
        }
    }
    return NULL;
}

static served *find_free(hsdi_worker *worker)
{
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        if (!worker->sessions[i].is_used) {
            return &worker->sessions[i];
        }
    }
    return NULL;
}

/// Whether both fit is the caller's to judge, who may ask for more; a session of another
/// vocabulary is refused when it is opened.
static void on_hello(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    const hsdi_draft_factory *own = &worker->factory;
    hsdi_frame answer = {
        .type = HSDI_FRAME_WELCOME,
        .epoch = frame->epoch,
        .session = frame->session,
        .identity = {own->vocab_hash, own->fingerprint, own->n_vocab},
    };
    send_frame(worker, from, &answer);
}

static void on_ask(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    const hsdi_vocabulary *own = &worker->factory.vocabulary;
    int n = frame->vocab.n, n_vocab = worker->factory.n_vocab;
    if (!own->prefix_hash || n > n_vocab) {
        send_error(worker, from, frame, HSDI_ERROR_BAD, "the draft has no such tokens");
        return;
    }
    hsdi_frame answer = {
        .type = HSDI_FRAME_VOCAB, .epoch = frame->epoch, .session = frame->session};
    answer.vocab.n = n;
    answer.vocab.hash = own->prefix_hash(own->self, n);
    if (n < n_vocab) {
        own->text(own->self, n, answer.vocab.text, sizeof answer.vocab.text);
    }
    send_frame(worker, from, &answer);
}

static void on_clock(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    hsdi_frame answer = {.type = HSDI_FRAME_TIME, .epoch = frame->epoch, .session = frame->session};
    hsdi_worker_trace_time(frame, &answer);
    send_frame(worker, from, &answer);
}

/// Drafts record into the track that there is now.
static void set_tracks(hsdi_worker *worker)
{
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        served *session = &worker->sessions[i];
        if (session->is_used && session->draft) {
            hsdi_draft_trace(session->draft, worker->trace.track, (uint32_t)session->session);
        }
    }
}

static void on_trace(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    const hsdi_track *before = worker->trace.track;
    if (frame->trace.order == HSDI_TRACE_RECORD) {
        hsdi_worker_trace_record(&worker->trace, frame->session, frame->trace.from,
                                 &worker->config.log);
    } else if (frame->trace.order == HSDI_TRACE_END) {
        hsdi_worker_trace_end(&worker->trace, frame->session);
    } else {
        hsdi_frame answer = {
            .type = HSDI_FRAME_SPANS, .epoch = frame->epoch, .session = frame->session};
        hsdi_worker_trace_give(&worker->trace, frame, &answer);
        send_frame(worker, from, &answer);
    }
    if (worker->trace.track != before) {
        set_tracks(worker);
    }
}

static bool is_same_float(float a, float b)
{
    return !(a < b) && !(a > b);
}

static bool is_same_config(const hsdi_draft_config *a, const hsdi_draft_config *b)
{
    return a->mode == b->mode && a->draft_kind == b->draft_kind && a->window == b->window &&
           a->tree == b->tree && a->miss_window == b->miss_window && a->roots == b->roots &&
           a->n_top == b->n_top && a->exit_layer == b->exit_layer && a->n_ctx == b->n_ctx &&
           is_same_float(a->temperature, b->temperature) && is_same_float(a->top_p, b->top_p) &&
           is_same_float(a->min_p, b->min_p) && a->top_k == b->top_k && a->seed == b->seed &&
           is_same_float(a->repeat_penalty, b->repeat_penalty) &&
           a->repeat_last_n == b->repeat_last_n && a->no_repeat_ngram == b->no_repeat_ngram &&
           a->rule == b->rule && a->sources == b->sources && a->is_audited == b->is_audited;
}

/// A session's stage and pipeline are kept over generations with equal settings.
static bool can_keep(const served *session, const hsdi_frame *frame)
{
    return is_same_config(&session->config, &frame->open.config) &&
           session->n_proxies == frame->open.n_proxies;
}

/// worker->tokens become the n tokens of an OPEN or ALONE. OPEN makes `room` for those of ALONE.
static bool copy_tokens(hsdi_worker *worker, const hsdi_frame *frame, int n, int room)
{
    if (room > worker->n_tokens_cap) {
        int32_t *grown = realloc(worker->tokens, (size_t)room * sizeof *grown);
        if (!grown) {
            return false;
        }
        worker->tokens = grown;
        worker->n_tokens_cap = room;
    }
    for (int i = 0; i < n; i++) {
        worker->tokens[i] = hsdi_frame_token(frame, i);
    }
    return true;
}

static hsd_status make_session(hsdi_worker *worker, served *session, const hsdi_frame *frame,
                               hsd_error *err)
{
    if (worker->factory.n_vocab && worker->factory.n_vocab != frame->open.n_vocab) {
        return hsdi_fail(err, HSD_EVOCAB, "n_vocab", "the draft has %d tokens, the target %d",
                         worker->factory.n_vocab, frame->open.n_vocab);
    }
    hsd_status status =
        worker->factory.open(worker->factory.self, &frame->open.config, &session->stage, err);
    if (status != HSD_OK) {
        session->stage = (hsdi_draft_stage){0};
        return status;
    }
    session->config = frame->open.config;
    session->n_proxies = frame->open.n_proxies;
    status = hsdi_draft_create(&session->stage, &session->config, session->n_proxies,
                               &session->draft, err);
    if (status == HSD_OK) {
        hsdi_draft_trace(session->draft, worker->trace.track, (uint32_t)frame->session);
    }
    const learned *known = learned_of(worker, &session->config);
    if (status == HSD_OK && known) {
        hsdi_draft_calibrate(session->draft, &known->calibration);
    }
    return status;
}

static void on_open(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    hsd_error err = {0};
    served *session = find_session(worker, frame->session);
    if (session && !can_keep(session, frame)) {
        free_session(worker, session);
        session = NULL;
    }
    hsd_status status = HSD_OK;
    if (!session) {
        session = find_free(worker);
        if (!session) {
            send_error(worker, from, frame, HSDI_ERROR_FULL, "the worker serves no more sessions");
            return;
        }
        session->is_used = true;
        worker->n_sessions++;
        status = make_session(worker, session, frame, &err);
    }
    session->session = frame->session;
    session->epoch = frame->epoch;
    session->peer = *from;
    session->heard_ns = hsdi_now_ns();
    if (status == HSD_OK) {
        status = copy_tokens(worker, frame, frame->open.n_tokens, frame->open.config.n_ctx)
                     ? hsdi_draft_open(session->draft, frame->step, worker->tokens,
                                       frame->open.n_tokens, &err)
                     : hsdi_fail(&err, HSD_ENOMEM, "tokens", "no memory");
    }
    if (status != HSD_OK) {
        fail_session(worker, session,
                     status == HSD_EVOCAB   ? HSDI_ERROR_VOCABULARY
                     : status == HSD_ENOMEM ? HSDI_ERROR_FULL
                                            : HSDI_ERROR_STAGE,
                     &err);
        return;
    }
    hsdi_frame answer = {.type = HSDI_FRAME_OPENED,
                         .epoch = frame->epoch,
                         .session = frame->session,
                         .step = frame->step};
    send_frame(worker, from, &answer);
}

static hsd_status on_proxies(hsdi_draft *draft, const hsdi_frame *frame, hsd_error *err)
{
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];
    int n_rows = frame->proxies.n_rows, n_top = frame->proxies.n_top;
    for (int row = 0; row < n_rows; row++) {
        for (int i = 0; i < n_top; i++) {
            proxies[row * n_top + i] = hsdi_frame_proxy(frame, row, i);
        }
    }
    return hsdi_draft_proxies(draft, frame->step, n_rows, n_top, proxies, err);
}

/// An audited draft completes its branches before it looks at a commit, so that its hits and its
/// ranks hardly depend on the clock (a window may still be late).
static hsd_status finish_branches(served *session, hsd_error *err)
{
    hsd_status status = HSD_OK;
    bool finishes = session->config.is_audited && session->config.mode == HSD_MODE_MIRROR;
    while (status == HSD_OK && finishes && hsdi_draft_has_work(session->draft)) {
        status = hsdi_draft_work(session->draft, err);
    }
    return status;
}

static hsd_status on_alone(hsdi_worker *worker, hsdi_draft *draft, const hsdi_frame *frame,
                           hsd_error *err)
{
    int n = frame->alone.n_tokens; // one that is beyond the session's context fails as out of step
    if (!copy_tokens(worker, frame, n, n)) {
        return hsdi_fail(err, HSD_ENOMEM, "tokens", "no memory");
    }
    return hsdi_draft_alone(draft, frame->step, worker->tokens, frame->alone.n_tokens,
                            frame->alone.n_committed, frame->alone.want, err);
}

/// STEP, PROXIES, COMMIT, ALONE and CLOSE belong to an open session.
static void on_session_frame(hsdi_worker *worker, const hsdi_peer *from, const hsdi_frame *frame)
{
    hsd_error err = {0};
    hsd_status status = HSD_OK;
    served *session = find_session(worker, frame->session);
    bool is_known = session && session->peer.n_bytes == from->n_bytes &&
                    memcmp(session->peer.id, from->id, from->n_bytes) == 0;
    if (frame->type == HSDI_FRAME_CLOSE) {
        if (is_known) {
            free_session(worker, session);
        }
        return;
    }
    if (!is_known || session->epoch != frame->epoch) {
        send_error(worker, from, frame, HSDI_ERROR_UNKNOWN, "no such session is open");
        return;
    }
    session->heard_ns = hsdi_now_ns();
    if (frame->type == HSDI_FRAME_STEP) {
        status = hsdi_draft_step(session->draft, frame->step, &frame->step_.window,
                                 &frame->step_.share, &err);
    } else if (frame->type == HSDI_FRAME_PROXIES) {
        status = on_proxies(session->draft, frame, &err);
    } else if (frame->type == HSDI_FRAME_ALONE) {
        status = on_alone(worker, session->draft, frame, &err);
    } else if (finish_branches(session, &err) != HSD_OK) {
        fail_session(worker, session, HSDI_ERROR_STAGE, &err);
        return;
    } else {
        status =
            hsdi_draft_commit(session->draft, frame->step, frame->commit.row, frame->commit.next,
                              frame->commit.n_committed, frame->commit.want, &err);
    }
    if (status != HSD_OK) {
        fail_session(worker, session, HSDI_ERROR_ORDER, &err);
    }
}

static void put_span(const hsdi_worker *worker, const hsdi_span_kind *kind, int64_t begin_ns,
                     const hsdi_frame *frame, int value, const char *text)
{
    hsdi_span_end(worker->trace.track, (hsdi_span){.kind = kind,
                                                   .begin_ns = begin_ns,
                                                   .session = (uint32_t)frame->session,
                                                   .step = frame->step,
                                                   .text = text,
                                                   .values = {value}});
}

/// The span of a session's frame that was taken.
static void put_taken(const hsdi_worker *worker, int64_t begin_ns, const hsdi_frame *frame)
{
    if (frame->type == HSDI_FRAME_OPEN) {
        put_span(worker, &hsdi_span_take_open, begin_ns, frame, frame->open.n_tokens, NULL);
    } else if (frame->type == HSDI_FRAME_STEP) {
        put_span(worker, &hsdi_span_take_step, begin_ns, frame, frame->step_.window.n_tokens, NULL);
    } else if (frame->type == HSDI_FRAME_PROXIES) {
        put_span(worker, &hsdi_span_take_proxies, begin_ns, frame, frame->proxies.n_rows, NULL);
    } else if (frame->type == HSDI_FRAME_COMMIT) {
        put_span(worker, &hsdi_span_take_commit, begin_ns, frame, frame->commit.want, NULL);
    } else if (frame->type == HSDI_FRAME_ALONE) {
        put_span(worker, &hsdi_span_take_alone, begin_ns, frame, frame->alone.n_tokens, NULL);
    }
}

static void on_frame(hsdi_worker *worker, const hsdi_peer *from, const void *bytes, size_t n_bytes)
{
    hsdi_frame frame;
    hsd_error err = {0};
    int64_t span_ns = hsdi_span_begin(worker->trace.track);
    hsd_status status = hsdi_frame_decode(bytes, n_bytes, &frame, &err);
    if (status != HSD_OK) {
        hsdi_error_code code = status == HSD_EPROTOCOL ? HSDI_ERROR_VERSION : HSDI_ERROR_BAD;
        send_error(worker, from, &frame, code, err.message);
        return;
    }
    switch (frame.type) {
    case HSDI_FRAME_HELLO:
        on_hello(worker, from, &frame);
        break;
    case HSDI_FRAME_ASK:
        on_ask(worker, from, &frame);
        break;
    case HSDI_FRAME_CLOCK:
        on_clock(worker, from, &frame);
        break;
    case HSDI_FRAME_TRACE:
        on_trace(worker, from, &frame);
        break;
    case HSDI_FRAME_OPEN:
        on_open(worker, from, &frame);
        break;
    case HSDI_FRAME_STEP:
    case HSDI_FRAME_PROXIES:
    case HSDI_FRAME_COMMIT:
    case HSDI_FRAME_ALONE:
    case HSDI_FRAME_CLOSE:
        on_session_frame(worker, from, &frame);
        break;
    default:
        send_error(worker, from, &frame, HSDI_ERROR_BAD, "a frame that only workers send");
    }
    put_taken(worker, span_ns, &frame);
}

/// Returns the number of frames applied.
static int take_messages(hsdi_worker *worker)
{
    hsdi_peer from;
    const void *bytes;
    size_t n_bytes;
    int n = 0;
    hsdi_worker_trace_turn(&worker->trace);
    while (n < MESSAGES_PER_TURN &&
           hsdi_listener_receive(worker->listener, &from, &bytes, &n_bytes) == HSD_OK) {
        on_frame(worker, &from, bytes, n_bytes);
        n++;
    }
    return n;
}

static void answer(hsdi_worker *worker, served *session)
{
    hsdi_frame frame = {
        .type = HSDI_FRAME_WINDOW, .epoch = session->epoch, .session = session->session};
    if (hsdi_draft_take_window(session->draft, &frame.window)) {
        int64_t span_ns = hsdi_span_begin(worker->trace.track);
        frame.step = frame.window.step;
        send_frame(worker, &session->peer, &frame);
        put_span(worker, &hsdi_span_send_window, span_ns, &frame, frame.window.window.n_tokens,
                 hsdi_span_source(frame.window.source));
    }
}

/// The session whose turn it is: one whose target waits before one that prepares branches, and
/// round robin among equals. NULL: none has work.
static served *choose(hsdi_worker *worker)
{
    int n = worker->config.n_sessions_max, i_chosen = -1;
    for (int i = 0, n_seen = 0; i < n && n_seen < worker->n_sessions; i++) {
        int at = (worker->i_next + i) % n;
        const served *session = &worker->sessions[at];
        n_seen += session->is_used;
        if (session->is_used && hsdi_draft_has_work(session->draft)) {
            bool is_urgent = hsdi_draft_is_awaited(session->draft);
            i_chosen = is_urgent || i_chosen < 0 ? at : i_chosen;
            if (is_urgent) {
                break;
            }
        }
    }
    if (i_chosen < 0) {
        return NULL;
    }
    worker->i_next = (i_chosen + 1) % n;
    return &worker->sessions[i_chosen];
}

/// Lets one session compute. True when there was one.
static bool take_turn(hsdi_worker *worker)
{
    served *chosen = choose(worker);
    if (chosen) {
        hsd_error err = {0};
        if (hsdi_draft_work(chosen->draft, &err) != HSD_OK) {
            fail_session(worker, chosen, HSDI_ERROR_STAGE, &err);
        } else {
            answer(worker, chosen);
        }
    }
    return chosen != NULL;
}

static void sweep(hsdi_worker *worker, int64_t now_ns)
{
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        served *session = &worker->sessions[i];
        if (session->is_used && now_ns - session->heard_ns > worker->config.idle_s * SWEEP_NS) {
            hsdi_logf(&worker->config.log, HSDI_LOG_INFO, "draft worker: session %016llx is idle",
                      (unsigned long long)session->session);
            free_session(worker, session);
        } else if (session->is_used) {
            hsdi_worker_trace_hear(&worker->trace, session->session, session->heard_ns);
        }
    }
    const hsdi_track *before = worker->trace.track;
    hsdi_worker_trace_sweep(&worker->trace, now_ns - worker->config.idle_s * SWEEP_NS);
    if (worker->trace.track != before) {
        set_tracks(worker);
    }
}

/// Looking for messages without sleeping helps a mirror session; while one drafts serially, or goes
/// alone, its target may want this very core.
static int64_t spin_ns(const hsdi_worker *worker)
{
    bool any = false;
    for (int i = 0; i < worker->config.n_sessions_max && worker->config.spin_us > 0; i++) {
        const served *session = &worker->sessions[i];
        if (session->is_used && session->config.mode == HSD_MODE_SERIAL) {
            return 0;
        }
        any |= session->is_used && hsdi_draft_is_wanted(session->draft);
    }
    return any ? worker->config.spin_us * INT64_C(1000) : 0;
}

bool hsdi_worker_keep(hsdi_worker *worker, int timeout_ms)
{
    int64_t end_ns = hsdi_now_ns() + timeout_ms * INT64_C(1000000);
    const struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000),
                                 .tv_nsec = (long)(end_ns % 1000000000)};
    pthread_mutex_lock(&worker->lock);
    unsigned mine = ++worker->n_keeps_asked;
    hsdi_listener_wake(worker->listener);
    int rc = 0;
    while (rc == 0 && (int)(worker->n_keeps_done - mine) < 0) {
        rc = pthread_cond_timedwait(&worker->kept, &worker->lock, &end);
    }
    bool is_done = (int)(worker->n_keeps_done - mine) >= 0;
    pthread_mutex_unlock(&worker->lock);
    return is_done;
}

static void keep_if_asked(hsdi_worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    unsigned asked = worker->n_keeps_asked;
    bool is_asked = asked != worker->n_keeps_done;
    pthread_mutex_unlock(&worker->lock);
    if (!is_asked) {
        return;
    }
    for (int i = 0; i < worker->config.n_sessions_max; i++) {
        if (worker->sessions[i].is_used && worker->sessions[i].draft) {
            hsdi_draft_keep(worker->sessions[i].draft);
        }
    }
    pthread_mutex_lock(&worker->lock);
    worker->n_keeps_done = asked;
    pthread_cond_broadcast(&worker->kept);
    pthread_mutex_unlock(&worker->lock);
}

hsd_status hsdi_worker_run(hsdi_worker *worker, hsd_error *err)
{
    (void)err;
    int64_t busy_ns = hsdi_now_ns(), swept_ns = busy_ns;
    while (!atomic_load_explicit(&worker->is_stopped, memory_order_acquire)) {
        bool is_busy = take_messages(worker) > 0;
        keep_if_asked(worker);
        is_busy |= take_turn(worker);
        int64_t now_ns = hsdi_now_ns();
        if (now_ns - swept_ns > SWEEP_NS) {
            sweep(worker, now_ns);
            swept_ns = now_ns;
        }
        if (is_busy) {
            busy_ns = now_ns;
        } else if (now_ns - busy_ns >= spin_ns(worker)) {
            int64_t span_ns = hsdi_span_begin(worker->trace.track);
            bool is_used =
                worker->n_sessions > 0 || worker->trace.n_askers > 0 || worker->trace.own;
            hsdi_listener_wait(worker->listener, is_used ? SWEEP_NS : -1);
            hsdi_span_end(worker->trace.track,
                          (hsdi_span){.kind = &hsdi_span_sleep, .begin_ns = span_ns});
            busy_ns = hsdi_now_ns();
        }
    }
    free_sessions(worker);
    return HSD_OK;
}

void hsdi_worker_stop(hsdi_worker *worker)
{
    atomic_store_explicit(&worker->is_stopped, true, memory_order_release);
    hsdi_listener_wake(worker->listener);
}
