/// Weights, caches and row buffers of a device that launches kernels: the functions of hsdi_backend
/// for them.
#ifndef HSDI_DEVICES_LAUNCH_BUFFER_H
#define HSDI_DEVICES_LAUNCH_BUFFER_H

#include "devices/host_buffer.h"
#include "devices/launch/driver.h"

/// A matrix in the file's own blocks, or laid out anew, or both; or a vector of f32.
typedef struct hsdi_launch_weight {
    struct hsdi_weight base;
    hsdi_launch_device *device; ///< its memory is of no use on another one
    hsdi_launch_memory *blocks; ///< owned, NULL for a vector, and where `panels` are enough
    hsdi_launch_memory *panels; ///< owned, NULL where no kernel wants them (devices/tiles.h)
    hsdi_launch_memory *vector; ///< owned, NULL without HSDI_USE_VECTOR
    size_t row_bytes, panel_row_bytes;
} hsdi_launch_weight;

typedef struct hsdi_launch_cache {
    struct hsdi_cache base;
    hsdi_launch_device *device;
    int64_t serial;              ///< never that of another cache or buffer of the device
    hsdi_launch_memory **layers; ///< owned [n_layers]; each [2, n_cells, width]: keys, then values
} hsdi_launch_cache;

/// Rows in memory that the driver's `host_create` gave, or in the host's own.
typedef struct hsdi_launch_buffer {
    hsdi_host_buffer host;
    hsdi_launch_device *device;
    int64_t serial;
    hsdi_launch_memory *memory; ///< owned; NULL: the host's own, owned
    bool is_away;               ///< the device has it
} hsdi_launch_buffer;

hsd_status hsdi_launch_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                     const void *data, hsdi_weight **out, hsd_error *err);
void hsdi_launch_weight_destroy(hsdi_weight *weight);
bool hsdi_launch_weight_is_held(const hsdi_weight *weight);
hsd_status hsdi_launch_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                   size_t *n_bytes, hsd_error *err);
hsd_status hsdi_launch_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                    hsdi_cache **out, hsd_error *err);
void hsdi_launch_cache_destroy(hsdi_cache *cache);
hsd_status hsdi_launch_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                                  void *out, hsd_error *err);
hsd_status hsdi_launch_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                   const void *bytes, hsd_error *err);
hsd_status hsdi_launch_buffer_create(hsdi_device *device, const struct hsdi_buffer *shape,
                                     hsdi_buffer **out, hsd_error *err);
void hsdi_launch_buffer_destroy(hsdi_buffer *buffer);

#endif
