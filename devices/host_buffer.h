/// Row buffers on the host, for backends whose rows live there between submissions.
#ifndef HSDI_DEVICES_HOST_BUFFER_H
#define HSDI_DEVICES_HOST_BUFFER_H

#include "devices/backend.h"

typedef struct hsdi_host_buffer {
    struct hsdi_buffer base;
    float *data; ///< owned, [n_rows, width]
} hsdi_host_buffer;

/// The functions of hsdi_backend for such buffers.
hsd_status hsdi_host_buffer_create(hsdi_device *device, const struct hsdi_buffer *shape,
                                   hsdi_buffer **out, hsd_error *err);
void hsdi_host_buffer_destroy(hsdi_buffer *buffer);
float *hsdi_host_buffer_map(hsdi_buffer *buffer);

/// The rows without a call; `buffer` is one of these.
static inline float *hsdi_host_buffer_data(const hsdi_buffer *buffer)
{
    return ((const hsdi_host_buffer *)buffer)->data;
}

#endif
