/// What one side of the transport holds: its own key pair, the keys of the workers that it links
/// to, and the list of clients that it lets in. A context has one.
#ifndef HSDI_PIPELINES_TRANSPORT_KEYRING_H
#define HSDI_PIPELINES_TRANSPORT_KEYRING_H

#include <base/log.h>
#include <hsd/status.h>
#include <stdbool.h>

/// Thread: filled before the first link or listener of its context is made, then only read.
typedef struct hsdi_keyring hsdi_keyring;

/// Errors: HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_keyring_create(hsdi_keyring **out, hsd_error *err);

/// Zeroes the keys. Sets *keyring to NULL. NULL is allowed.
void hsdi_keyring_destroy(hsdi_keyring **keyring);

/// Take the own key pair from a NAME.key file.
///
/// Errors : as hsdi_key_pair_read; HSD_EUNSUPPORTED when ZeroMQ was built without CURVE.
HSD_NODISCARD hsd_status hsdi_keyring_set_own(hsdi_keyring *keyring, const char *path,
                                              hsd_error *err);

/// Expect the key of a NAME.pub file of the worker at `endpoint`. The own key pair is set before.
///
/// Errors : as hsdi_public_key_read; HSD_EINVAL without an own key pair.
HSD_NODISCARD hsd_status hsdi_keyring_add_worker(hsdi_keyring *keyring, const char *endpoint,
                                                 const char *path, hsd_error *err);

/// Let in the clients of a list, which is read again at every handshake. The own key pair is set
/// before. `log` is told who is refused.
///
/// Errors : as hsdi_clients_find; HSD_EINVAL without an own key pair.
HSD_NODISCARD hsd_status hsdi_keyring_set_clients(hsdi_keyring *keyring, const char *path,
                                                  const hsdi_log *log, hsd_error *err);

/// Is there a key for the worker at `endpoint`?
bool hsdi_keyring_knows(const hsdi_keyring *keyring, const char *endpoint);

/// Do listeners ask for keys? Then the path of the list and the log, else NULL.
const char *hsdi_keyring_clients(const hsdi_keyring *keyring, hsdi_log *log);

/// Set a ZeroMQ socket up for a link to `endpoint`, or for a listener. Does nothing where no keys
/// are known. False when ZeroMQ refuses.
bool hsdi_keyring_arm_link(const hsdi_keyring *keyring, const char *endpoint, void *socket);
bool hsdi_keyring_arm_listener(const hsdi_keyring *keyring, void *socket);

#endif
