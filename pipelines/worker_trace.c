/// Spans for targets, a frame at a time.
///
/// Giving has no state but the track: a target asks for spans from a number on, as often as it
/// likes, so that an answer that was lost is asked for again.
#include <base/clock.h>
#include <pipelines/spans.h>
#include <pipelines/worker_trace.h>
#include <string.h>
#include <unistd.h>

enum { SPANS_OF_A_TURN = 20000 }; ///< looked at, so that drafts do not wait long

hsd_status hsdi_worker_trace_init(hsdi_worker_trace *t, hsd_trace *trace, const char *name,
                                  hsd_error *err)
{
    *t = (hsdi_worker_trace){0};
    strncpy(t->name, name, sizeof t->name - 1);
    t->n_scan = SPANS_OF_A_TURN;
    return hsdi_track_open(trace, t->name, &t->track, err);
}

void hsdi_worker_trace_fini(hsdi_worker_trace *t)
{
    hsdi_track_close(&t->track);
    hsd_trace_destroy(&t->own);
}

static hsdi_trace_asker *find(hsdi_worker_trace *t, uint64_t session)
{
    for (int i = 0; i < t->n_askers; i++) {
        if (t->askers[i].session == session) {
            return &t->askers[i];
        }
    }
    return NULL;
}

static void make_track(hsdi_worker_trace *t, const hsdi_log *log)
{
    hsd_error err = {0};
    if (hsd_trace_create("hsd worker", 0, &t->own, &err) != HSD_OK ||
        hsdi_track_open(t->own, t->name, &t->track, &err) != HSD_OK) {
        hsdi_log_level level = t->has_failed ? HSDI_LOG_INFO : HSDI_LOG_WARN;
        hsdi_logf(log, level, "draft worker: nothing is recorded: %s", err.message);
        hsd_trace_destroy(&t->own);
        t->has_failed = true;
    }
}

static void free_track(hsdi_worker_trace *t)
{
    hsdi_track_close(&t->track);
    hsd_trace_destroy(&t->own);
}

void hsdi_worker_trace_turn(hsdi_worker_trace *t)
{
    t->n_scan = SPANS_OF_A_TURN;
}

static void forget(hsdi_worker_trace *t, hsdi_trace_asker *asker)
{
    *asker = t->askers[--t->n_askers];
}

/// A place for one more. Who only asks for places, and opens no session, cannot keep one for long.
static bool make_place(hsdi_worker_trace *t, int64_t now_ns)
{
    if (t->n_askers < HSDI_TRACE_ASKERS) {
        return true;
    }
    hsdi_trace_asker *oldest = t->askers;
    for (int i = 1; i < t->n_askers; i++) {
        oldest = t->askers[i].used_ns < oldest->used_ns ? &t->askers[i] : oldest;
    }
    bool is_old = now_ns - oldest->used_ns >= HSDI_TRACE_HELD_S * INT64_C(1000000000);
    if (is_old) {
        forget(t, oldest);
    }
    return is_old;
}

void hsdi_worker_trace_record(hsdi_worker_trace *t, uint64_t session, uint64_t first,
                              const hsdi_log *log)
{
    hsdi_trace_asker *asker = find(t, session);
    int64_t now_ns = hsdi_now_ns();
    if (!asker && !make_place(t, now_ns)) {
        return;
    }
    if (t->own && t->n_askers == 0 && hsdi_track_n_spans(t->track) > SPANS_OF_A_TURN) {
        free_track(t); // what earlier targets left would take the room of this one's
    }
    if (!t->track) {
        make_track(t, log);
    }
    if (!t->track) {
        return;
    }
    if (asker) { // its target lost us for a while, and counts on
        asker->heard_ns = now_ns;
    } else {
        t->askers[t->n_askers++] =
            (hsdi_trace_asker){session, hsdi_track_n_spans(t->track), first, now_ns, now_ns};
    }
}

void hsdi_worker_trace_give(hsdi_worker_trace *t, const hsdi_frame *give, hsdi_frame *out)
{
    hsdi_trace_asker *asker = find(t, give->session);
    out->spans.from = out->spans.next = give->trace.from;
    out->spans.bytes = t->bytes;
    out->spans.is_last = true;
    if (!asker) {
        out->spans.n_dropped = HSDI_SPANS_NONE;
        return;
    }
    int n_all = hsdi_track_n_spans(t->track);
    // A trace of the worker's own may have been restarted since.
    int64_t n_there = n_all > asker->begin ? n_all - asker->begin : 0;
    uint64_t from = give->trace.from > asker->first ? give->trace.from - asker->first : 0;
    int64_t at = from < (uint64_t)n_there ? (int64_t)from : n_there, begin = at;
    int64_t end = n_there - at > t->n_scan ? at + t->n_scan : n_there;
    asker->heard_ns = hsdi_now_ns();
    for (; at < end && out->spans.n < HSDI_SPANS_MAX; at++) {
        const hsdi_span *span = hsdi_track_span(t->track, asker->begin + (int)at);
        bool is_theirs = !span->kind->is_of_step || span->session == (uint32_t)give->session;
        uint8_t *bytes = t->bytes + (size_t)out->spans.n * HSDI_SPAN_BYTES;
        out->spans.n += is_theirs && hsdi_span_encode(span, bytes);
    }
    t->n_scan -= (int)(at - begin);
    uint64_t next = asker->first + (uint64_t)at;
    out->spans.next = next > give->trace.from ? next : give->trace.from;
    out->spans.is_last = at == n_there;
    out->spans.n_dropped = (uint64_t)hsdi_track_n_dropped(t->track);
}

void hsdi_worker_trace_end(hsdi_worker_trace *t, uint64_t session)
{
    hsdi_trace_asker *asker = find(t, session);
    if (asker) {
        forget(t, asker);
    }
}

void hsdi_worker_trace_hear(hsdi_worker_trace *t, uint64_t session, int64_t heard_ns)
{
    hsdi_trace_asker *asker = find(t, session);
    if (asker && asker->heard_ns < heard_ns) {
        asker->heard_ns = heard_ns;
    }
    if (asker && asker->used_ns < heard_ns) {
        asker->used_ns = heard_ns;
    }
}

void hsdi_worker_trace_sweep(hsdi_worker_trace *t, int64_t since_ns)
{
    for (int i = t->n_askers - 1; i >= 0; i--) {
        if (t->askers[i].heard_ns < since_ns) {
            forget(t, &t->askers[i]);
        }
    }
    if (t->n_askers == 0 && t->own) {
        free_track(t);
    }
}

void hsdi_worker_trace_time(const hsdi_frame *clock, hsdi_frame *out)
{
    out->time.taken_ns = (uint64_t)hsdi_now_ns();
    out->time.asked_ns = clock->time.asked_ns;
    out->time.pid = (int)getpid();
    if (gethostname(out->time.host, sizeof out->time.host - 1) != 0) {
        out->time.host[0] = 0;
    }
    out->time.given_ns = (uint64_t)hsdi_now_ns();
}
