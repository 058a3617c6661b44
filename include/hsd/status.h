/// @file status.h
/// Result codes and error details, shared by every part of hsd.
///
/// A call that can fail returns an `hsd_status`. Calls that open, load or parse also take a last
/// parameter `hsd_error *err` (may be NULL) that says where and why.
#ifndef HSD_STATUS_H
#define HSD_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define HSD_API
#else
#define HSD_API __attribute__((visibility("default")))
#endif
#define HSD_NODISCARD __attribute__((warn_unused_result))

/// X(code, name, message): the one table of result codes.
#define HSD_STATUS_LIST(X)                                                                         \
    X(0, OK, "success")                                                                            \
    X(1, EINVAL, "an argument is out of its range")                                                \
    X(2, ENOMEM, "memory could not be allocated")                                                  \
    X(3, EIO, "a file could not be opened, read or written")                                       \
    X(4, EFORMAT, "a file or message is damaged or not of the expected format")                    \
    X(5, EUNSUPPORTED, "the file or device asks for something this build does not do")             \
    X(6, EVOCAB, "draft and target do not share one vocabulary")                                   \
    X(7, ETOOLONG, "the text does not fit into the context")                                       \
    X(8, ENODEVICE, "no such device")                                                              \
    X(9, EDEVICE, "a device failed")                                                               \
    X(10, ETRANSPORT, "a message could not be sent or received")                                   \
    X(11, EPROTOCOL, "a peer sent a message that the protocol does not allow")                     \
    X(12, ETIMEOUT, "the time allowed has passed")                                                 \
    X(13, ECANCELED, "the work was cancelled")                                                     \
    X(14, ECLOSED, "the object is closed")                                                         \
    X(15, EEND, "no more results")

/// Result of a call. Zero is success.
typedef enum hsd_status {
#define HSD_STATUS_ENUM(code, name, message) HSD_##name = code,
    HSD_STATUS_LIST(HSD_STATUS_ENUM)
#undef HSD_STATUS_ENUM
} hsd_status;

/// Details of a failure. Plain data, owned by the caller; written only on failure.
typedef struct hsd_error {
    hsd_status status;   ///< the same value that the call returned
    int vendor_code;     ///< errno, OpenCL or Level Zero code; 0 when there is none
    int64_t line;        ///< line in a text file, from 1; 0 when it does not apply
    int64_t column;      ///< character in that line, from 1; 0 when it does not apply
    int64_t byte_offset; ///< offset in a binary file or message, from 0; -1 when it does not apply
    char where[128];     ///< file, field, device or endpoint
    char message[256];   ///< one sentence, without a full stop at the end
} hsd_error;

/// Name of a status, such as "EINVAL". Static string; "?" for an unknown value.
HSD_API const char *hsd_status_name(hsd_status status);

/// One sentence about a status. Static string.
HSD_API const char *hsd_status_message(hsd_status status);

#ifdef __cplusplus
}
#endif
#endif
