/// Spans of time that threads record into tracks, without locks and without allocating.
///
/// A track is written by one thread and never overwritten: what it holds below `n` stays as it is
/// until the trace is restarted, so that any thread may read it meanwhile. Without a trace a track
/// is NULL, and a span costs the test of a pointer.
#ifndef HSDI_BASE_TRACE_H
#define HSDI_BASE_TRACE_H

#include "base/clock.h"

#include <hsd/trace.h>
#include <stdbool.h>
#include <stdint.h>

enum { HSDI_SPAN_VALUES = 3, HSDI_TRACK_NAME_BYTES = 96 };

/// What spans of one kind are called, and their values. Static.
typedef struct hsdi_span_kind {
    const char *name;
    const char *text;                     ///< name of the text; NULL: none
    const char *values[HSDI_SPAN_VALUES]; ///< names; NULL: none from here on
    bool is_of_step;                      ///< session and step mean something
} hsdi_span_kind;

typedef struct hsdi_span {
    const hsdi_span_kind *kind;
    int64_t begin_ns, end_ns;
    const char *text; ///< static, plain ASCII; NULL: none
    uint32_t session, step;
    int32_t values[HSDI_SPAN_VALUES];
} hsdi_span;

/// Thread: one at a time writes (handed over with a full barrier).
typedef struct hsdi_track hsdi_track;

/// A track of this name: one that was closed, else a new one. With a NULL trace *out is NULL.
///
/// Errors : HSD_ENOMEM.
/// Owner  : *out is the trace's, used by the caller until hsdi_track_close.
HSD_NODISCARD hsd_status hsdi_track_open(hsd_trace *trace, const char *name, hsdi_track **out,
                                         hsd_error *err);

/// Nothing more is written to it; what it holds stays. Sets *track to NULL. NULL is allowed.
void hsdi_track_close(hsdi_track **track);

/// Append a span. Spans of a track end in the order in which they are put. Cost: O(1).
void hsdi_track_put(hsdi_track *track, const hsdi_span *span);

/// When a span begins; 0 without a track.
static inline int64_t hsdi_span_begin(const hsdi_track *track)
{
    return track ? hsdi_now_ns() : 0;
}

/// Spans that are whole, for the thread that writes the track: their number and span i of it.
int hsdi_track_n_spans(const hsdi_track *track);
const hsdi_span *hsdi_track_span(const hsdi_track *track, int i);
/// Spans that found no room.
int64_t hsdi_track_n_dropped(const hsdi_track *track);

enum { HSDI_CLOCK_POINTS = 64 };

/// What is known of the clock of another process: when it was `at_ns` there, it was
/// at_ns + offset_ns here, give or take uncertainty_ns.
typedef struct hsdi_clock_point {
    int64_t at_ns, offset_ns, uncertainty_ns;
} hsdi_clock_point;

/// A track for spans that another process recorded with its own clock; they are put as they are
/// and turned into this process's clock when the trace is written. `process` names it in the file.
///
/// Errors, owner : as hsdi_track_open.
HSD_NODISCARD hsd_status hsdi_track_open_remote(hsd_trace *trace, const char *name,
                                                const char *process, hsdi_track **out,
                                                hsd_error *err);

/// Its process's number and host, and a further point of its clock. Points come in the order of
/// time; of more than HSDI_CLOCK_POINTS the last one is replaced.
void hsdi_track_set_clock(hsdi_track *track, int pid, const char *host,
                          const hsdi_clock_point *point);

/// Time here of a time there, on straight lines through the points; beyond them as at the nearest.
int64_t hsdi_clock_here(const hsdi_clock_point *points, int n_points, int64_t there_ns);

/// The span ends now.
static inline void hsdi_span_end(hsdi_track *track, hsdi_span span)
{
    if (track) {
        span.end_ns = hsdi_now_ns();
        hsdi_track_put(track, &span);
    }
}

#endif
