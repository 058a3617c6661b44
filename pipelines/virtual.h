/// Virtual time: pipelines on threads of which one runs at a time, in the order of events.
///
/// Each side of a simulation is an *actor*, a thread that lives in one common virtual time
/// (base/clock.h). It runs until it computes, sends or waits; then the actor whose next event is
/// the earliest runs, and the clock jumps there. Nothing is left to the machine's scheduler: equal
/// simulations give equal events. Frames travel between actors on a wire (transport/wire.h).
#ifndef HSDI_PIPELINES_VIRTUAL_H
#define HSDI_PIPELINES_VIRTUAL_H

#include <pipelines/transport/wire.h>
#include <stdbool.h>

enum { HSDI_VIRTUAL_ACTORS = 66 };

/// Thread: made, used and destroyed by one thread, which is actor 0, and by the actors that it
/// starts.
typedef struct hsdi_virtual hsdi_virtual;

/// How frames travel between actor 0 and the actor that listens at an endpoint, both ways alike.
/// A frame of n bytes is there latency_ns + n / gbps after the sender's way out is free.
typedef struct hsdi_virtual_path {
    double latency_ns, gbps; ///< gbps 0: as fast as anything
    double send_ns;          ///< what a frame costs its sender
    double spin_ns[2];       ///< how long actor 0 and the listener look before they sleep; < 0: as
                             ///< long as it takes
    double wake_ns;          ///< until one who sleeps runs again
} hsdi_virtual_path;

/// What an actor did.
typedef struct hsdi_virtual_use {
    int64_t computed_ns;
    int64_t n_frames, n_bytes; ///< sent
} hsdi_virtual_use;

/// A new virtual time, in which the calling thread lives from now on.
///
/// Errors : HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_virtual_create(hsdi_virtual **out, hsd_error *err);

/// The calling thread returns to the machine's time. All actors must have ended. Sets *time to
/// NULL. NULL is allowed.
void hsdi_virtual_destroy(hsdi_virtual **time);

/// What a context is made on. Static.
const hsdi_wire *hsdi_virtual_wire(void);

/// Let there be an endpoint, which one actor may bind and actor 0 may connect to, once each.
///
/// Shapes : name is borrowed.
/// Errors : HSD_EINVAL when there are too many.
HSD_NODISCARD hsd_status hsdi_virtual_endpoint(hsdi_virtual *time, const char *name,
                                               const hsdi_virtual_path *path, hsd_error *err);

/// Start an actor: `run` begins at the present time. *actor is its number, from 1.
///
/// Errors : HSD_EINVAL when there are too many; HSD_ENOMEM when there is no thread for it.
HSD_NODISCARD hsd_status hsdi_virtual_start(hsdi_virtual *time, void (*run)(void *arg), void *arg,
                                            int *actor, hsd_error *err);

/// While `beside` computes, `actor` takes `factor` times as long. Factors of several multiply.
void hsdi_virtual_slow(hsdi_virtual *time, int actor, int beside, double factor);

/// The calling actor computes: returns when that is done, alone or beside others.
void hsdi_virtual_compute(hsdi_virtual *time, double alone_ns);

/// Actor 0 waits until all others have ended. False when they wait for ever.
bool hsdi_virtual_join(hsdi_virtual *time);

int64_t hsdi_virtual_now(const hsdi_virtual *time);
hsdi_virtual_use hsdi_virtual_used(const hsdi_virtual *time, int actor);

/// Times at which another actor ran on; what a simulation costs.
int64_t hsdi_virtual_n_switches(const hsdi_virtual *time);

#endif
