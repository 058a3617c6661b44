/// What may carry frames instead of ZeroMQ: a table of functions that a context is made with.
///
/// The pipelines are the same above it; the simulator's wire (pipelines/virtual.c) delivers frames
/// after a while of virtual time. An *end* is a number that the wire gives to a link or listener.
#ifndef HSDI_PIPELINES_TRANSPORT_WIRE_H
#define HSDI_PIPELINES_TRANSPORT_WIRE_H

#include <hsd/status.h>
#include <pipelines/transport/context.h>
#include <stddef.h>
#include <stdint.h>

struct hsdi_peer;

/// All functions as their namesakes in link.h. Static.
struct hsdi_wire {
    hsd_status (*connect)(void *self, const char *endpoint, int *end, hsd_error *err);
    hsd_status (*bind)(void *self, const char *endpoint, int *end, hsd_error *err);
    void (*close)(void *self, int end);
    /// `to` is NULL from a link.
    hsd_status (*send)(void *self, int end, const struct hsdi_peer *to, const void *frame,
                       size_t n_bytes);
    /// `from` is NULL for a link.
    hsd_status (*receive)(void *self, int end, struct hsdi_peer *from, const void **frame,
                          size_t *n_bytes);
    /// Until one of the ends has a frame, or a wake-up. Negative timeout: for ever.
    void (*wait)(void *self, const int *ends, int n_ends, int64_t timeout_ns);
    void (*wake)(void *self, int end);
};

/// A context whose links and listeners use `wire`, which must outlive it.
///
/// Errors : HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_context_create_on(const hsdi_wire *wire, void *self,
                                                hsdi_context **out, hsd_error *err);

/// The wire of a context, and its `self`; NULL: ZeroMQ.
const hsdi_wire *hsdi_context_wire(const hsdi_context *context, void **self);

#endif
