/// What a step costs when the stages cost nothing.
#ifndef HSDI_PIPELINES_RENDEZVOUS_H
#define HSDI_PIPELINES_RENDEZVOUS_H

#include <hsd/engine.h>

/// Run `n_steps` mirror steps with stages that compute nothing, worker on a second thread, and
/// beside it bare ZeroMQ round trips of the same frame sizes.
///
/// Result : *out, see hsd_rendezvous_times; untouched on error.
/// Errors : HSD_EINVAL transport is not "inproc" or "ipc", or n_steps is not in 1..1000000.
HSD_NODISCARD hsd_status hsdi_rendezvous_measure(const char *transport, int n_steps,
                                                 hsd_rendezvous_times *out, hsd_error *err);

#endif
