/// See host_buffer.h.
#include "devices/host_buffer.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdlib.h>

hsd_status hsdi_host_buffer_create(hsdi_device *device, const struct hsdi_buffer *shape,
                                   hsdi_buffer **out, hsd_error *err)
{
    (void)device;
    hsdi_host_buffer *b = calloc(1, sizeof *b);
    if (b) {
        b->base = *shape;
        b->data = hsdi_aligned_alloc((size_t)shape->n_rows * (size_t)shape->width * sizeof(float));
    }
    if (!b || !b->data) {
        free(b);
        return hsdi_fail(err, HSD_ENOMEM, "buffer", "%d rows of %d elements", shape->n_rows,
                         shape->width);
    }
    *out = &b->base;
    return HSD_OK;
}

void hsdi_host_buffer_destroy(hsdi_buffer *buffer)
{
    free(hsdi_host_buffer_data(buffer));
    free(buffer);
}

float *hsdi_host_buffer_map(hsdi_buffer *buffer)
{
    return hsdi_host_buffer_data(buffer);
}
