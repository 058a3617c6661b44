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
    hsdi_span *spans;      ///< [n_spans_max]
    struct remote *remote; ///< guarded by the trace's lock; NULL: this process's own
};

/// Where a track's spans come from when it is another process.
struct remote {
    char process[HSDI_TRACK_NAME_BYTES];
    char host[64];
    int pid;
    int n_points;
    hsdi_clock_point points[HSDI_CLOCK_POINTS];
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
    free(track->remote);
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

static hsdi_track *make_track(hsd_trace *trace, const char *name, bool is_remote)
{
    size_t n_bytes = (size_t)trace->n_spans * sizeof(hsdi_span);
    hsdi_track *track = calloc(1, sizeof *track);
    hsdi_span *spans = track ? malloc(n_bytes) : NULL;
    struct remote *remote = track && is_remote ? calloc(1, sizeof *remote) : NULL;
    if (!spans || (is_remote && !remote)) {
        free(spans);
        free(remote);
        free(track);
        return NULL;
    }
    track->remote = remote;
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

static hsd_status open_track(hsd_trace *trace, const char *name, const char *process,
                             hsdi_track **out, hsd_error *err)
{
    *out = NULL;
    if (!trace) {
        return HSD_OK;
    }
    pthread_mutex_lock(&trace->lock);
    hsdi_track *track = trace->tracks;
    while (track && (track->is_open || strcmp(track->name, name) != 0 ||
                     (track->remote != NULL) != (process != NULL))) {
        track = track->next;
    }
    track = track ? track : make_track(trace, name, process != NULL);
    if (track) {
        track->is_open = true;
    }
    if (track && process) {
        snprintf(track->remote->process, sizeof track->remote->process, "%s", process);
    }
    pthread_mutex_unlock(&trace->lock);
    *out = track;
    return track ? HSD_OK
                 : hsdi_fail(err, HSD_ENOMEM, "trace", "no memory for %d spans", trace->n_spans);
}

hsd_status hsdi_track_open(hsd_trace *trace, const char *name, hsdi_track **out, hsd_error *err)
{
    return open_track(trace, name, NULL, out, err);
}

hsd_status hsdi_track_open_remote(hsd_trace *trace, const char *name, const char *process,
                                  hsdi_track **out, hsd_error *err)
{
    return open_track(trace, name, process, out, err);
}

void hsdi_track_set_clock(hsdi_track *track, int pid, const char *host,
                          const hsdi_clock_point *point)
{
    pthread_mutex_lock(&track->trace->lock);
    struct remote *remote = track->remote;
    if (remote->pid != pid) { // another process serves the endpoint by now
        remote->n_points = 0;
    }
    remote->pid = pid;
    snprintf(remote->host, sizeof remote->host, "%s", host);
    remote->n_points -= remote->n_points == HSDI_CLOCK_POINTS;
    remote->points[remote->n_points++] = *point;
    pthread_mutex_unlock(&track->trace->lock);
}

int64_t hsdi_clock_here(const hsdi_clock_point *points, int n_points, int64_t there_ns)
{
    int i = 0;
    if (n_points == 0) {
        return there_ns;
    }
    while (i < n_points && points[i].at_ns < there_ns) {
        i++;
    }
    if (i == 0 || i == n_points) {
        return there_ns + points[i == 0 ? 0 : n_points - 1].offset_ns;
    }
    const hsdi_clock_point *a = &points[i - 1], *b = &points[i];
    double part = (double)(there_ns - a->at_ns) / (double)(b->at_ns - a->at_ns);
    return there_ns + a->offset_ns + (int64_t)(part * (double)(b->offset_ns - a->offset_ns));
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

int hsdi_track_n_spans(const hsdi_track *track)
{
    return atomic_load_explicit(&track->n, memory_order_relaxed);
}

const hsdi_span *hsdi_track_span(const hsdi_track *track, int i)
{
    return &track->spans[i];
}

int64_t hsdi_track_n_dropped(const hsdi_track *track)
{
    return atomic_load_explicit(&track->n_dropped, memory_order_relaxed);
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

/// Nanoseconds as microseconds, all digits. (Another host's clock may give times before ours
/// began.)
static void put_us(FILE *file, const char *key, int64_t ns)
{
    long long part = ns < 0 ? -(long long)ns : (long long)ns;
    fprintf(file, ",\"%s\":%s%lld.%03d", key, ns < 0 ? "-" : "", part / 1000, (int)(part % 1000));
}

static void put_name(FILE *file, const char *what, int pid, int number, const char *name)
{
    fprintf(file, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":", pid,
            number, what);
    put_string(file, name);
    fputs("}}", file);
}

static void put_span(FILE *file, int pid, const hsdi_track *track, const hsdi_span *span)
{
    const hsdi_span_kind *kind = span->kind;
    const struct remote *remote = track->remote;
    int64_t begin_ns = span->begin_ns, end_ns = span->end_ns;
    if (remote) {
        begin_ns = hsdi_clock_here(remote->points, remote->n_points, begin_ns);
        end_ns = hsdi_clock_here(remote->points, remote->n_points, end_ns);
    }
    const char *separator = "";
    fprintf(file, ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":", pid, track->number);
    put_string(file, kind->name);
    put_us(file, "ts", begin_ns);
    put_us(file, "dur", end_ns - begin_ns);
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
        separator = ",";
    }
    fprintf(file, "%s\"begin_ns\":%lld,\"dur_ns\":%lld}}", separator, (long long)begin_ns,
            (long long)(end_ns - begin_ns));
}

/// The number of a track's process in the file: its own, made different where another process
/// there (of another host) has the same.
static int pid_of(const hsdi_track *track)
{
    enum { BEYOND_PIDS = 1 << 22 };
    const struct remote *remote = track->remote;
    if (!remote) {
        return (int)getpid();
    }
    bool is_taken = remote->pid == (int)getpid();
    for (const hsdi_track *other = track->next; other && !is_taken; other = other->next) {
        is_taken = other->remote && other->remote->pid == remote->pid &&
                   strcmp(other->remote->host, remote->host) != 0;
    }
    return remote->pid + (is_taken ? BEYOND_PIDS * (track->number % 256) : 0);
}

/// The last point of the clock, and the largest uncertainty of all.
static void put_clock(FILE *file, int pid, const struct remote *remote, const char *separator)
{
    int64_t most_ns = 0;
    for (int i = 0; i < remote->n_points; i++) {
        most_ns =
            remote->points[i].uncertainty_ns > most_ns ? remote->points[i].uncertainty_ns : most_ns;
    }
    fprintf(file, "%s{\"process\":", separator);
    put_string(file, remote->process);
    fputs(",\"host\":", file);
    put_string(file, remote->host);
    fprintf(file, ",\"pid\":%d,\"points\":%d,\"offset_ns\":%lld,\"uncertainty_ns\":%lld}", pid,
            remote->n_points,
            remote->n_points > 0 ? (long long)remote->points[remote->n_points - 1].offset_ns : 0LL,
            (long long)most_ns);
}

/// Returns how many spans the track had no room for.
static int64_t put_track(FILE *file, const hsdi_track *track, uint32_t epoch)
{
    int pid = pid_of(track);
    if (track->remote) {
        put_name(file, "process_name", pid, 0, track->remote->process);
    }
    put_name(file, "thread_name", pid, track->number, track->name);
    if (atomic_load_explicit(&track->epoch, memory_order_acquire) != epoch) {
        return 0; // nothing since the restart
    }
    int n = atomic_load_explicit(&track->n, memory_order_acquire);
    int64_t n_dropped = atomic_load_explicit(&track->n_dropped, memory_order_relaxed);
    for (int i = 0; i < n; i++) {
        put_span(file, pid, track, &track->spans[i]);
    }
    if (n_dropped > 0 && n > 0) {
        int64_t end_ns = track->spans[n - 1].end_ns;
        if (track->remote) {
            end_ns = hsdi_clock_here(track->remote->points, track->remote->n_points, end_ns);
        }
        fprintf(file, ",\n{\"ph\":\"i\",\"s\":\"t\",\"pid\":%d,\"tid\":%d,\"name\":\"full\"", pid,
                track->number);
        put_us(file, "ts", end_ns);
        fprintf(file, ",\"args\":{\"dropped\":%lld}}", (long long)n_dropped);
    }
    return n_dropped;
}

static void put_clocks(FILE *file, const hsd_trace *trace)
{
    const char *separator = "";
    for (const hsdi_track *track = trace->tracks; track; track = track->next) {
        if (track->remote) {
            put_clock(file, pid_of(track), track->remote, separator);
            separator = ",";
        }
    }
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
    fputs("\n],\"otherData\":{\"clock\":\"CLOCK_MONOTONIC of this process, microseconds\","
          "\"clocks\":[",
          file);
    put_clocks(file, trace);
    pthread_mutex_unlock(&trace->lock);
    fprintf(file, "],\"spans_dropped\":%lld}}\n", (long long)n_dropped);
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
