/// Links: whole frames between a session and draft workers, never blocking on a send.
///
/// A worker listens (a ROUTER socket), a session links to it (a DEALER socket). Endpoints are
/// inproc:// (threads of one process and one context), ipc:// (processes) and tcp://. Beyond
/// loopback addresses tcp:// needs CURVE keys, which the context's keyring holds (keyring.h): it
/// decides for each link and listener whether it is encrypted, and nothing falls back to less.
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

typedef enum hsdi_endpoint_use { HSDI_ENDPOINT_CONNECT, HSDI_ENDPOINT_LISTEN } hsdi_endpoint_use;

/// Check an endpoint's form without opening it.
///
/// Errors : HSD_EINVAL with a sentence, also for tcp:// beyond loopback without keys.
HSD_NODISCARD hsd_status hsdi_endpoint_check(const char *endpoint, hsdi_endpoint_use use,
                                             bool has_keys, hsd_error *err);

bool hsdi_endpoint_is_tcp(const char *endpoint);
bool hsdi_endpoint_is_inproc(const char *endpoint);

/// Does it need an IPv6 socket? "[address]" does, and "*", which stands for IPv4 too. A name is
/// looked up as IPv4: a worker that listens on one of a host's two addresses would be missed.
bool hsdi_endpoint_is_ipv6(const char *endpoint);

/// How long to look for frames of this endpoint before sleeping, where n_cores are there for both
/// sides, in microseconds. Waking an idle core takes tens of microseconds, several times what a
/// small draft needs for a token. But frames of ipc:// and tcp:// pass through a thread of ZeroMQ
/// on each side, which looking keeps from running unless it has a core too: with 2 cores a step of
/// null stages over ipc:// took 150 us with looking and 70 without (docs/benchmarks.md).
int hsdi_endpoint_spin_us(const char *endpoint, int n_cores);

/// Connect. Succeeds also while nobody listens yet: sends then answer HSD_ETIMEOUT (inproc: they
/// are queued). A link whose peer comes back, or no longer refuses us, works again by itself.
///
/// Errors : as hsdi_endpoint_check; HSD_ETRANSPORT.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_link_connect(hsdi_context *context, const char *endpoint,
                                           hsdi_link **out, hsd_error *err);

/// Sets *link to NULL. NULL is allowed. Frames still queued are dropped.
void hsdi_link_close(hsdi_link **link);

/// Why does nobody answer at an endpoint? Connects once more and looks at how the handshake goes.
///
/// Shapes : out [cap], cap > 0: half a sentence, such as "nobody listens there".
/// Cost   : up to timeout_ns, less when the reason is known sooner.
void hsdi_link_explain(hsdi_context *context, const char *endpoint, int64_t timeout_ns, char *out,
                       size_t cap);

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

/// Bind. Where the keyring has a list of clients, nobody else gets in (inproc:// apart).
///
/// Errors : as for hsdi_link_connect; HSD_EINVAL also for a context's second listener with keys.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_listener_bind(hsdi_context *context, const char *endpoint,
                                            hsdi_listener **out, hsd_error *err);

/// Removes the file of an ipc:// listener. Sets *listener to NULL. NULL is allowed.
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
