/// Files that spare work on the next start: compiled kernels, measured tables.
///
/// They lie in the folder HSD_CACHE_DIR, else $XDG_CACHE_HOME/hsd, else ~/.cache/hsd; an empty
/// HSD_CACHE_DIR turns it all off. A file is named by a kind and the hash of a key, and holds key,
/// length and hash of its data: one that is damaged, foreign or of another key counts as absent.
/// Nothing here is needed for a result: whoever reads can make the data again. Thread: any; two
/// processes may write the same file, the last one wins as a whole.
#ifndef HSDI_DEVICES_KEEP_H
#define HSDI_DEVICES_KEEP_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Path of the file of (kind, key). false: turned off, or there is no such folder to be had.
bool hsdi_keep_path(const char *kind, const char *key, char *out, size_t cap);

/// What was kept. Owner: *data is owned by the caller (free). false: nothing that can be used.
bool hsdi_keep_read(const char *kind, const char *key, void **data, size_t *n_bytes);

/// Keep data: written beside, then renamed. HSD_OK also when turned off.
///
/// Errors : HSD_EIO with the path and the system's reason; nothing is left behind.
hsd_status hsdi_keep_write(const char *kind, const char *key, const void *data, size_t n_bytes,
                           hsd_error *err);

#endif
