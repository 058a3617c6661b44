/// Who may connect: ZeroMQ asks here, by its authentication protocol (ZAP, RFC 27), about the key
/// of each client in the middle of its handshake.
///
/// There is no thread: the listener answers between frames, as it does everything. ZeroMQ has one
/// such handler per context, so a context has at most one listener with keys.
///
/// Not czmq's zauth: it serves only sockets of czmq's own, process-wide context, which takes
/// the program's signals, and it reads a folder of certificates without saying what is wrong.
#ifndef HSDI_PIPELINES_TRANSPORT_ZAP_H
#define HSDI_PIPELINES_TRANSPORT_ZAP_H

#include <base/log.h>
#include <hsd/status.h>

/// Thread: one at a time.
typedef struct hsdi_zap hsdi_zap;

/// Be the handler of a ZeroMQ context. It must be there before its listener is bound, and stay
/// until that is closed: without a handler ZeroMQ lets everybody in.
///
/// Shapes : clients is the path of the list, copied; see hsdi_clients_find.
/// Errors : HSD_EINVAL when the context has a handler; HSD_ETRANSPORT; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_zap_open(void *zmq_context, const char *clients, const hsdi_log *log,
                                       hsdi_zap **out, hsd_error *err);

/// Sets *zap to NULL. NULL is allowed.
void hsdi_zap_close(hsdi_zap **zap);

/// Answer what has been asked. Never blocks.
void hsdi_zap_serve(hsdi_zap *zap);

/// The ZeroMQ socket that becomes readable when something is asked.
void *hsdi_zap_socket(const hsdi_zap *zap);

#endif
