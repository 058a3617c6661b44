/// Tracks, and the file that is made of them.
///
/// The trace's epoch counts restarts. A writer that finds a new epoch empties its track first; a
/// reader holds the lock, so that the epoch stands still, and takes only tracks of that epoch.
#include "base/trace.h"

#include "base/error.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPANS_DEFAULT = 100000, SPANS_MAX = 100000000, NAME_BYTES = 64 };

struct hsdi_track {
    hsd_trace *trace;
    hsdi_track *next;                 ///< guarded by the trace's lock
    bool is_open;                     ///< likewise
    char name[HSDI_TRACK_NAME_BYTES]; ///< constant
    int number;                       ///< constant, from 1
    int n_spans_max;                  ///< constant
    _Atomic uint32_t epoch;
    atomic_int n; ///< spans [0, n) are whole
    _Atomic int64_t n_dropped;
    hsdi_span *spans; ///< [n_spans_max]
};

struct hsd_trace {
    char name[NAME_BYTES];
    int n_spans;
    _Atomic uint32_t epoch; ///< changes only under `lock`
    pthread_mutex_t lock;
    hsdi_track *tracks; ///< the first one is the last one made
    int n_tracks;
};

hsd_status hsd_trace_create(const char *name, int n_spans, hsd_trace **out, hsd_error *err)
{
    if (!out || n_spans < 0 || n_spans > SPANS_MAX) {
        return hsdi_fail(err, HSD_EINVAL, "n_spans", "n_spans must be in 0..%d, not %d",
                         (int)SPANS_MAX, n_spans);
    }
    hsd_trace *trace = calloc(1, sizeof *trace);
    if (!trace) {
        return hsdi_fail(err, HSD_ENOMEM, "trace", "no memory for a trace");
    }
    snprintf(trace->name, sizeof trace->name, "%s", name ? name : "hsd");
    trace->n_spans = n_spans > 0 ? n_spans : SPANS_DEFAULT;
    pthread_mutex_init(&trace->lock, NULL);
    *out = trace;
    return HSD_OK;
}

static void free_track(hsdi_track *track)
{
    free(track->spans);
    free(track);
}

void hsd_trace_destroy(hsd_trace **trace)
{
    if (trace && *trace) {
        for (hsdi_track *track = (*trace)->tracks, *next; track; track = next) {
            next = track->next;
            free_track(track);
        }
        pthread_mutex_destroy(&(*trace)->lock);
        free(*trace);
        *trace = NULL;
    }
}

void hsd_trace_restart(hsd_trace *trace)
{
    if (trace) {
        pthread_mutex_lock(&trace->lock);
        atomic_fetch_add_explicit(&trace->epoch, 1, memory_order_release);
        pthread_mutex_unlock(&trace->lock);
    }
}

static hsdi_track *make_track(hsd_trace *trace, const char *name)
{
    size_t n_bytes = (size_t)trace->n_spans * sizeof(hsdi_span);
    hsdi_track *track = calloc(1, sizeof *track);
    hsdi_span *spans = track ? malloc(n_bytes) : NULL;
    if (!spans) {
        free(track);
        return NULL;
    }
    memset(spans, 0xff, n_bytes); // the pages are there before the first span
    track->trace = trace;
    snprintf(track->name, sizeof track->name, "%s", name);
    track->number = ++trace->n_tracks;
    track->n_spans_max = trace->n_spans;
    track->epoch = atomic_load(&trace->epoch);
    track->spans = spans;
    track->next = trace->tracks;
    trace->tracks = track;
    return track;
}

hsd_status hsdi_track_open(hsd_trace *trace, const char *name, hsdi_track **out, hsd_error *err)
{
    *out = NULL;
    if (!trace) {
        return HSD_OK;
    }
    pthread_mutex_lock(&trace->lock);
    hsdi_track *track = trace->tracks;
    while (track && (track->is_open || strcmp(track->name, name) != 0)) {
        track = track->next;
    }
    track = track ? track : make_track(trace, name);
    if (track) {
        track->is_open = true;
    }
    pthread_mutex_unlock(&trace->lock);
    *out = track;
    return track ? HSD_OK
                 : hsdi_fail(err, HSD_ENOMEM, "trace", "no memory for %d spans", trace->n_spans);
}

void hsdi_track_close(hsdi_track **track)
{
    if (*track) {
        hsd_trace *trace = (*track)->trace;
        pthread_mutex_lock(&trace->lock);
        (*track)->is_open = false;
        pthread_mutex_unlock(&trace->lock);
        *track = NULL;
    }
}

void hsdi_track_put(hsdi_track *track, const hsdi_span *span)
{
    uint32_t epoch = atomic_load_explicit(&track->trace->epoch, memory_order_acquire);
    if (epoch != atomic_load_explicit(&track->epoch, memory_order_relaxed)) {
        atomic_store_explicit(&track->n, 0, memory_order_relaxed);
        atomic_store_explicit(&track->n_dropped, 0, memory_order_relaxed);
        atomic_store_explicit(&track->epoch, epoch, memory_order_release);
    }
    int n = atomic_load_explicit(&track->n, memory_order_relaxed);
    if (n < track->n_spans_max) {
        track->spans[n] = *span;
        atomic_store_explicit(&track->n, n + 1, memory_order_release);
    } else {
        int64_t n_dropped = atomic_load_explicit(&track->n_dropped, memory_order_relaxed);
        atomic_store_explicit(&track->n_dropped, n_dropped + 1, memory_order_relaxed);
    }
}

/// A JSON string; what is not plain ASCII becomes '?'.
static void put_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', file);
        }
        fputc(*text >= 0x20 && *text < 0x7f ? *text : '?', file);
    }
    fputc('"', file);
}

/// Nanoseconds as microseconds, all digits.
static void put_us(FILE *file, const char *key, int64_t ns)
{
    fprintf(file, ",\"%s\":%lld.%03d", key, (long long)(ns / 1000), (int)(ns % 1000));
}

static void put_name(FILE *file, const char *what, int number, const char *name)
{
    fprintf(file, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":",
            (int)getpid(), number, what);
    put_string(file, name);
    fputs("}}", file);
}

static void put_span(FILE *file, int number, const hsdi_span *span)
{
    const hsdi_span_kind *kind = span->kind;
    const char *separator = "";
    fprintf(file, ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":", (int)getpid(), number);
    put_string(file, kind->name);
    put_us(file, "ts", span->begin_ns);
    put_us(file, "dur", span->end_ns - span->begin_ns);
    fputs(",\"args\":{", file);
    if (kind->is_of_step) {
        fprintf(file, "\"session\":\"%08x\",\"step\":%u", span->session, span->step);
        separator = ",";
    }
    for (int i = 0; i < HSDI_SPAN_VALUES && kind->values[i]; i++) {
        fprintf(file, "%s\"%s\":%d", separator, kind->values[i], span->values[i]);
        separator = ",";
    }
    if (kind->text && span->text) {
        fprintf(file, "%s\"%s\":", separator, kind->text);
        put_string(file, span->text);
    }
    fputs("}}", file);
}

/// Returns how many spans the track had no room for.
static int64_t put_track(FILE *file, const hsdi_track *track, uint32_t epoch)
{
    put_name(file, "thread_name", track->number, track->name);
    if (atomic_load_explicit(&track->epoch, memory_order_acquire) != epoch) {
        return 0; // nothing since the restart
    }
    int n = atomic_load_explicit(&track->n, memory_order_acquire);
    int64_t n_dropped = atomic_load_explicit(&track->n_dropped, memory_order_relaxed);
    for (int i = 0; i < n; i++) {
        put_span(file, track->number, &track->spans[i]);
    }
    if (n_dropped > 0) {
        fprintf(file, ",\n{\"ph\":\"i\",\"s\":\"t\",\"pid\":%d,\"tid\":%d,\"name\":\"full\"",
                (int)getpid(), track->number);
        put_us(file, "ts", track->spans[n - 1].end_ns);
        fprintf(file, ",\"args\":{\"dropped\":%lld}}", (long long)n_dropped);
    }
    return n_dropped;
}

static void put_all(FILE *file, hsd_trace *trace)
{
    int64_t n_dropped = 0;
    fprintf(file,
            "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n"
            "{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":",
            (int)getpid());
    put_string(file, trace->name);
    fputs("}}", file);
    pthread_mutex_lock(&trace->lock);
    uint32_t epoch = atomic_load_explicit(&trace->epoch, memory_order_relaxed);
    for (const hsdi_track *track = trace->tracks; track; track = track->next) {
        n_dropped += put_track(file, track, epoch);
    }
    pthread_mutex_unlock(&trace->lock);
    fprintf(file,
            "\n],\"otherData\":{\"clock\":\"CLOCK_MONOTONIC of this host, microseconds\","
            "\"spans_dropped\":%lld}}\n",
            (long long)n_dropped);
}

hsd_status hsd_trace_write(hsd_trace *trace, const char *path, hsd_error *err)
{
    if (!trace || !path) {
        return hsdi_fail(err, HSD_EINVAL, "trace", "a trace and a path are required");
    }
    FILE *file = fopen(path, "we");
    if (!file) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "the trace cannot be written");
    }
    put_all(file, trace);
    errno = 0;
    bool is_whole = fflush(file) == 0 && !ferror(file);
    int code = errno ? errno : EIO;
    if (fclose(file) != 0 && is_whole) {
        is_whole = false;
        code = errno;
    }
    return is_whole ? HSD_OK
                    : hsdi_fail_errno(err, HSD_EIO, path, code, "the trace cannot be written");
}
