/// Filling an hsd_error. Every function returns the status it was given, so that a failing
/// function can write `return hsdi_fail(err, HSD_EINVAL, "window", "...")`.
#ifndef HSDI_BASE_ERROR_H
#define HSDI_BASE_ERROR_H

#include <hsd/status.h>

/// Fill *err (may be NULL) and return `status`. `where` may be NULL.
hsd_status hsdi_fail(hsd_error *err, hsd_status status, const char *where, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/// The same with the offset of the offending byte.
hsd_status hsdi_fail_at(hsd_error *err, hsd_status status, const char *where, int64_t byte_offset,
                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/// The same for a failed system call: `vendor_code` is errno, its text is appended.
hsd_status hsdi_fail_errno(hsd_error *err, hsd_status status, const char *where, int errnum,
                           const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
