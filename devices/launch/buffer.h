/// Weights and caches of a device that launches kernels: the functions of hsdi_backend for them.
#ifndef HSDI_DEVICES_LAUNCH_BUFFER_H
#define HSDI_DEVICES_LAUNCH_BUFFER_H

#include "devices/launch/driver.h"

/// A matrix in the file's own blocks, or a vector of f32.
typedef struct hsdi_launch_weight {
    struct hsdi_weight base;
    hsdi_launch_device *device; ///< its memory is of no use on another one
    hsdi_launch_memory *blocks; ///< owned, NULL for a vector
    hsdi_launch_memory *vector; ///< owned, NULL without HSDI_USE_VECTOR
    size_t row_bytes;
} hsdi_launch_weight;

typedef struct hsdi_launch_cache {
    struct hsdi_cache base;
    hsdi_launch_device *device;
    hsdi_launch_memory **layers; ///< owned [n_layers]; each [2, n_cells, width]: keys, then values
} hsdi_launch_cache;

hsd_status hsdi_launch_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                     const void *data, hsdi_weight **out, hsd_error *err);
void hsdi_launch_weight_destroy(hsdi_weight *weight);
hsd_status hsdi_launch_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                    hsdi_cache **out, hsd_error *err);
void hsdi_launch_cache_destroy(hsdi_cache *cache);

#endif
