/// What a worker records for targets in other processes.
///
/// A worker has one track. It is its own trace's where it was given one, else it is made when the
/// first target asks for it, and freed by the first sweep behind the last one's end. A target is
/// given the spans of its own session, and those of none (sleeping). What frames can make it do is
/// bounded: one track, a number of spans looked at in a turn, one allocation in a sweep.
#ifndef HSDI_PIPELINES_WORKER_TRACE_H
#define HSDI_PIPELINES_WORKER_TRACE_H

#include <pipelines/protocol.h>
#include <pipelines/worker.h>

enum { HSDI_TRACE_ASKERS = 16, HSDI_TRACE_HELD_S = 30 };

/// A session whose target wants spans.
typedef struct hsdi_trace_asker {
    uint64_t session;
    int begin;      ///< the first span of the track that is its own
    uint64_t first; ///< and that one's number
    int64_t heard_ns;
    int64_t used_ns; ///< when it was last heard of as a session that is open here; before: when it
                     ///< first asked. Orders for the trace do not renew it
} hsdi_trace_asker;

/// Thread: the worker's.
typedef struct hsdi_worker_trace {
    hsdi_track *track; ///< NULL: nothing is recorded
    hsd_trace *own;    ///< the trace of the track that was made for targets; NULL: none
    char name[HSDI_TRACK_NAME_BYTES];
    bool has_failed; ///< there was no memory for a track
    int n_scan;      ///< spans that may still be looked at in this turn
    int n_askers;
    hsdi_trace_asker askers[HSDI_TRACE_ASKERS];
    uint8_t bytes[HSDI_SPANS_MAX * HSDI_SPAN_BYTES]; ///< of the SPANS being made
} hsdi_worker_trace;

HSD_NODISCARD hsd_status hsdi_worker_trace_init(hsdi_worker_trace *t, hsd_trace *trace,
                                                const char *name, hsd_error *err);
void hsdi_worker_trace_fini(hsdi_worker_trace *t);

/// A turn of the worker begins: targets may be given something again.
void hsdi_worker_trace_turn(hsdi_worker_trace *t);

/// RECORD, or once more. Of a session that is not recorded yet the next span has the number
/// `first`. Where HSDI_TRACE_ASKERS are recorded it takes the place of the one used longest ago, if
/// that was HSDI_TRACE_HELD_S ago; else it gets no spans.
void hsdi_worker_trace_record(hsdi_worker_trace *t, uint64_t session, uint64_t first,
                              const hsdi_log *log);
/// The SPANS that answers a GIVE; it borrows from `t`. Where this turn has looked at enough spans:
/// none, and not the last.
void hsdi_worker_trace_give(hsdi_worker_trace *t, const hsdi_frame *give, hsdi_frame *out);
void hsdi_worker_trace_end(hsdi_worker_trace *t, uint64_t session);
/// A frame of a session came then: its target is there.
void hsdi_worker_trace_hear(hsdi_worker_trace *t, uint64_t session, int64_t heard_ns);
/// Forget who was not heard of since then, and the track when nobody is left.
void hsdi_worker_trace_sweep(hsdi_worker_trace *t, int64_t since_ns);

/// The TIME that answers a CLOCK.
void hsdi_worker_trace_time(const hsdi_frame *clock, hsdi_frame *out);

#endif
