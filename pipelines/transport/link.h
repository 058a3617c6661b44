/// Links: whole frames between a session and draft workers, never blocking on a send.
///
/// A worker listens (a ROUTER socket), a session links to it (a DEALER socket). Endpoints are
/// inproc:// (threads of one process and one context), ipc:// (processes) and tcp:// on loopback
/// addresses; tcp:// to other hosts needs CURVE keys, which this version does not have.
/// Frames are opaque here; protocol.h gives them meaning.
#ifndef HSDI_PIPELINES_TRANSPORT_LINK_H
#define HSDI_PIPELINES_TRANSPORT_LINK_H

#include <hsd/status.h>
#include <pipelines/transport/context.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HSDI_PEER_ID_MAX = 255, HSDI_FRAME_BYTES_MAX = 4 << 20 };

/// A session's end. Thread: one at a time.
typedef struct hsdi_link hsdi_link;

/// A worker's end. Thread: one at a time, except hsdi_listener_wake.
typedef struct hsdi_listener hsdi_listener;

/// Who sent a frame to a listener. Plain data.
typedef struct hsdi_peer {
    uint8_t n_bytes;
    uint8_t id[HSDI_PEER_ID_MAX];
} hsdi_peer;

/// Check an endpoint's form without opening it.
///
/// Errors : HSD_EINVAL with a sentence; HSD_EUNSUPPORTED for tcp:// beyond loopback.
HSD_NODISCARD hsd_status hsdi_endpoint_check(const char *endpoint, hsd_error *err);

/// Connect. Succeeds also while nobody listens yet: sends then answer HSD_ETIMEOUT (inproc: they
/// are queued).
///
/// Errors : as hsdi_endpoint_check; HSD_ETRANSPORT.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_link_connect(hsdi_context *context, const char *endpoint,
                                           hsdi_link **out, hsd_error *err);

/// Sets *link to NULL. NULL is allowed. Frames still queued are dropped.
void hsdi_link_close(hsdi_link **link);

/// Queue one frame. Never blocks.
///
/// Errors : HSD_ETIMEOUT when the peer is not there or its queue is full; HSD_ETRANSPORT.
HSD_NODISCARD hsd_status hsdi_link_send(hsdi_link *link, const void *frame, size_t n_bytes);

/// Take one frame if there is one. Never blocks.
///
/// Result : HSD_OK and the frame, borrowed until the next receive on this link; HSD_ETIMEOUT when
///          there is none.
HSD_NODISCARD hsd_status hsdi_link_receive(hsdi_link *link, const void **frame, size_t *n_bytes);

/// Sleep until one of the links (NULL entries are skipped) has a frame or the time has passed.
void hsdi_links_wait(hsdi_link *const *links, int n_links, int64_t timeout_ns);

/// Bind. Errors and owner as for hsdi_link_connect.
HSD_NODISCARD hsd_status hsdi_listener_bind(hsdi_context *context, const char *endpoint,
                                            hsdi_listener **out, hsd_error *err);

/// Sets *listener to NULL. NULL is allowed.
void hsdi_listener_close(hsdi_listener **listener);

/// As hsdi_link_receive, with the sender. Frames that are not one part are dropped.
HSD_NODISCARD hsd_status hsdi_listener_receive(hsdi_listener *listener, hsdi_peer *from,
                                               const void **frame, size_t *n_bytes);

/// As hsdi_link_send.
HSD_NODISCARD hsd_status hsdi_listener_send(hsdi_listener *listener, const hsdi_peer *to,
                                            const void *frame, size_t n_bytes);

/// Sleep until a frame or a wake-up is there or the time has passed (negative: for ever).
void hsdi_listener_wait(hsdi_listener *listener, int64_t timeout_ns);

/// End a present or the next hsdi_listener_wait. Any thread; async-signal-safe.
void hsdi_listener_wake(hsdi_listener *listener);

#endif
