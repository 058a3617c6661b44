/// The messaging context of a process: one per engine or worker program.
#ifndef HSDI_PIPELINES_TRANSPORT_CONTEXT_H
#define HSDI_PIPELINES_TRANSPORT_CONTEXT_H

#include <hsd/status.h>
#include <pipelines/transport/keyring.h>

/// Shared by all links and listeners made from it, which must be gone before it is destroyed.
/// Thread: any.
typedef struct hsdi_context hsdi_context;

/// Carries frames instead of ZeroMQ, see wire.h.
typedef struct hsdi_wire hsdi_wire;

/// Errors : HSD_ENOMEM, HSD_ETRANSPORT.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_context_create(hsdi_context **out, hsd_error *err);

/// Sets *context to NULL. NULL is allowed. Waits until its links and listeners are closed.
void hsdi_context_destroy(hsdi_context **context);

/// The keys that its links and listeners use; to be filled before those are made.
hsdi_keyring *hsdi_context_keyring(const hsdi_context *context);

/// The ZeroMQ context itself; for this folder. NULL on a wire.
void *hsdi_context_handle(const hsdi_context *context);

#endif
