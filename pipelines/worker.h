/// A draft worker: one event loop that serves the draft pipelines of many sessions.
///
/// The same code runs on a thread of the engine's process (inproc://) and in a worker process
/// (ipc://, tcp://). A bad message costs its sender an ERROR, never the worker its life.
#ifndef HSDI_PIPELINES_WORKER_H
#define HSDI_PIPELINES_WORKER_H

#include <base/log.h>
#include <hsd/trace.h>
#include <pipelines/stage.h>
#include <pipelines/transport/context.h>

/// Thread: all calls from one thread, except hsdi_worker_stop and hsdi_worker_keep.
typedef struct hsdi_worker hsdi_worker;

/// Fill with hsdi_worker_config_init, then change fields.
typedef struct hsdi_worker_config {
    int n_sessions_max; ///< more are refused; default 64
    int idle_s;         ///< a session silent for this long is freed; default 600
    int spin_us; ///< busy waiting before sleeping, while all sessions are mirror ones; default 0,
                 ///< see hsdi_target_config
    hsdi_log log;
    hsd_trace *trace; ///< NULL: none; must outlive the worker
} hsdi_worker_config;

void hsdi_worker_config_init(hsdi_worker_config *config);

/// Bind `endpoint`. Sessions are accepted once hsdi_worker_run runs.
///
/// Errors : HSD_EINVAL, HSD_EUNSUPPORTED endpoint; HSD_ETRANSPORT; HSD_ENOMEM.
/// Owner  : *out is owned by the caller; `factory` is copied, what it points to is borrowed.
HSD_NODISCARD hsd_status hsdi_worker_create(hsdi_context *context, const char *endpoint,
                                            const hsdi_draft_factory *factory,
                                            const hsdi_worker_config *config, hsdi_worker **out,
                                            hsd_error *err);

/// Serve until hsdi_worker_stop. HSD_OK then, also when stopped before.
/// The factory's open and close and all its stages run on the calling thread.
HSD_NODISCARD hsd_status hsdi_worker_run(hsdi_worker *worker, hsd_error *err);

/// Ask hsdi_worker_run to return; it then frees its sessions. Any thread; async-signal-safe.
void hsdi_worker_stop(hsdi_worker *worker);

/// Have the texts of all sessions kept as they are now (hsdi_cells_keep), so that others on the
/// same blocks find them. Any thread; waits for the worker to get there, at most so long.
///
/// Result : false: it did not.
bool hsdi_worker_keep(hsdi_worker *worker, int timeout_ms);

/// Sets *worker to NULL. NULL is allowed. hsdi_worker_run must have returned.
void hsdi_worker_destroy(hsdi_worker **worker);

#endif
