/// @file trace.h
/// Traces: what each thread of the pipelines did when, as a file for a trace viewer.
///
///     hsd_trace_create -> hsd_engine_options.trace or hsd_worker_options.trace -> ...
///                      -> hsd_trace_write -> hsd_trace_destroy
///
/// Each thread records into memory of its own that was allocated before; recording takes no lock
/// and costs some tens of nanoseconds a span. When a thread's memory is full its newest spans are
/// dropped, and the file says how many.
#ifndef HSD_TRACE_H
#define HSD_TRACE_H

#include <hsd/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Thread: all calls from any thread. Lifetime: until hsd_trace_destroy; the engines and workers
/// that record into it must be closed before.
typedef struct hsd_trace hsd_trace;

/// Begin to record, up to n_spans spans per thread (0: 100,000, some 5 MB). `name` (NULL: "hsd")
/// is copied, it names this process in the file.
///
/// Errors : HSD_EINVAL for n_spans below 0 or above 100,000,000; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_trace_create(const char *name, int n_spans, hsd_trace **out,
                                                  hsd_error *err);

/// Forget what was recorded and go on recording.
HSD_API void hsd_trace_restart(hsd_trace *trace);

/// Write what was recorded so far as Chrome trace JSON, which ui.perfetto.dev opens. Also while
/// sessions run. Times are microseconds of this process's CLOCK_MONOTONIC. What workers of other
/// processes and hosts did for a session is fetched after each of its generations and written by
/// this clock too; the file says how uncertain that is.
///
/// Errors : HSD_EIO with the path; the file may then be there in part. HSD_EINVAL.
HSD_API HSD_NODISCARD hsd_status hsd_trace_write(hsd_trace *trace, const char *path,
                                                 hsd_error *err);

/// Sets *trace to NULL. NULL is allowed.
HSD_API void hsd_trace_destroy(hsd_trace **trace);

#ifdef __cplusplus
}
#endif
#endif
