/// The CPU device: a pinned thread pool and the kernel set of the processor.
#ifndef HSDI_DEVICES_CPU_CONTEXT_H
#define HSDI_DEVICES_CPU_CONTEXT_H

#include "devices/backend.h"
#include "devices/cpu/queue.h"

typedef struct hsdi_cpu_device {
    hsdi_device base;
    const hsdi_kernels *kernels;
    hsdi_cpu_pool *pool;
    float *rows; ///< external rows of submissions of several jobs; guarded by the turn
    size_t n_rows_floats;
} hsdi_cpu_device;

/// Matrix as the kernels want it, raw rows for lookup, or a vector of f32.
typedef struct hsdi_cpu_weight {
    struct hsdi_weight base;
    void *packed;      ///< owned, NULL without HSDI_USE_MATMUL and HSDI_USE_HEADS
    size_t head_bytes; ///< from one head's packed matrix to the next
    const void *rows;  ///< borrowed, NULL without HSDI_USE_ROWS
    int64_t row_bytes;
    float *vector; ///< owned, NULL without HSDI_USE_VECTOR
} hsdi_cpu_weight;

typedef struct hsdi_cpu_cache {
    struct hsdi_cache base;
    char *data; ///< owned; layers one behind the other: keys, then values, or inputs
} hsdi_cpu_cache;

/// Keys (0) or values (1) of a layer; its input is both.
static inline char *hsdi_cpu_cache_plane(const hsdi_cpu_cache *c, int layer, int which)
{
    char *first = c->data + hsdi_cache_layer_at(&c->base, layer);
    bool is_el = c->base.layers[layer].layout == HSDI_LAYOUT_EL;
    size_t plane = (size_t)c->base.n_cells * hsdi_cache_cell_bytes(&c->base, layer);
    return which == 0 || is_el ? first : first + plane;
}

hsd_status hsdi_cpu_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                  const void *data, hsdi_weight **out, hsd_error *err);
void hsdi_cpu_weight_destroy(hsdi_weight *weight);
hsd_status hsdi_cpu_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                size_t *n_bytes, hsd_error *err);
hsd_status hsdi_cpu_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                 hsdi_cache **out, hsd_error *err);
void hsdi_cpu_cache_destroy(hsdi_cache *cache);
void hsdi_cpu_cache_discard(hsdi_cache *cache, int first, int n);
hsd_status hsdi_cpu_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                               void *out, hsd_error *err);
hsd_status hsdi_cpu_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                const void *bytes, hsd_error *err);

hsd_status hsdi_cpu_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                  const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err);
void hsdi_cpu_graph_destroy(hsdi_graph *graph);
hsd_status hsdi_cpu_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err);

#endif
