/// What a step costs when the stages cost nothing.
#ifndef HSDI_PIPELINES_RENDEZVOUS_H
#define HSDI_PIPELINES_RENDEZVOUS_H

#include <hsd/engine.h>

/// Run `n_steps` steps of `mode` (MIRROR or SERIAL) with stages that compute nothing, worker on a
/// second thread, and beside it bare ZeroMQ round trips of the same frame sizes.
///
/// Result : *out, see hsd_rendezvous_times; untouched on error.
/// Errors : HSD_EINVAL transport is not "inproc", "ipc" or "tcp", another mode, or n_steps is not
/// in 1..1000000.
HSD_NODISCARD hsd_status hsdi_rendezvous_measure(const char *transport, hsd_mode mode, int n_steps,
                                                 hsd_rendezvous_times *out, hsd_error *err);

#endif
