/// Status names and error details.
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *hsd_status_name(hsd_status status)
{
    switch (status) {
#define CASE(code, name, message)                                                                  \
    case HSD_##name:                                                                               \
        return #name;
        HSD_STATUS_LIST(CASE)
#undef CASE
    }
    return "?";
}

const char *hsd_status_message(hsd_status status)
{
    switch (status) {
#define CASE(code, name, message)                                                                  \
    case HSD_##name:                                                                               \
        return message;
        HSD_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}

static void fill(hsd_error *err, hsd_status status, const char *where, int64_t byte_offset,
                 int errnum, const char *fmt, va_list args)
{
    if (!err) {
        return;
    }
    *err = (hsd_error){.status = status, .vendor_code = errnum, .byte_offset = byte_offset};
    if (where) {
        snprintf(err->where, sizeof err->where, "%s", where);
    }
    int n = vsnprintf(err->message, sizeof err->message, fmt, args);
    if (errnum != 0 && n >= 0 && (size_t)n < sizeof err->message) {
        char text[96];
        const char *said = strerror_r(errnum, text, sizeof text);
        snprintf(err->message + n, sizeof err->message - (size_t)n, ": %s", said);
    }
}

hsd_status hsdi_fail(hsd_error *err, hsd_status status, const char *where, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, status, where, -1, 0, fmt, args);
    va_end(args);
    return status;
}

hsd_status hsdi_fail_at(hsd_error *err, hsd_status status, const char *where, int64_t byte_offset,
                        const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, status, where, byte_offset, 0, fmt, args);
    va_end(args);
    return status;
}

hsd_status hsdi_fail_errno(hsd_error *err, hsd_status status, const char *where, int errnum,
                           const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(err, status, where, -1, errnum, fmt, args);
    va_end(args);
    return status;
}
