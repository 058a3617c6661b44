/// What a backend implements. The front end (device.c) has checked every argument.
///
/// Each object starts with its public part, below; a backend appends its own fields by embedding
/// it as the first member. `create` functions allocate, `destroy` functions free.
#ifndef HSDI_DEVICES_BACKEND_H
#define HSDI_DEVICES_BACKEND_H

#include "devices/device.h"
#include "devices/tiles.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct hsdi_backend hsdi_backend;

struct hsdi_device {
    const hsdi_backend *ops;
    hsdi_device_info info;
    pthread_mutex_t turn;        ///< held during a submission
    _Atomic int64_t n_submitted; ///< guarded by nothing: a counter
};

struct hsdi_weight {
    const hsdi_backend *ops;
    hsdi_type type;
    int n_heads; ///< 0: one matrix; else so many of [n_out, n_in], for HSDI_OP_HEADS
    int n_out, n_in, uses;
    size_t size_bytes; ///< on the device
};

/// A layer of a cache.
typedef struct hsdi_cache_layer {
    hsdi_layout layout;
    int n_el; ///< layers before it that keep their input: where it lies in a cache of one piece
} hsdi_cache_layer;

struct hsdi_cache {
    const hsdi_backend *ops;
    int n_layers, n_cells, width, d_head;
    hsd_cache_type type;
    size_t size_bytes;
    int el_width;
    const hsdi_cache_layer *layers; ///< [n_layers]; owned by the front end
};

struct hsdi_buffer {
    const hsdi_backend *ops;
    int n_rows, width;
};

struct hsdi_graph {
    hsdi_device *device;
    int n_rows_max, in_width, out_width, n_vocab, n_ctx;
    int n_layers;    ///< highest cache layer used plus one; 0: no cache
    int cache_width; ///< n_kv * d_head
    int cache_d_head;
    hsd_cache_type cache_type;
    int draw_width;  ///< of the rows that are drawn from; 0: none are
    int el_width;    ///< of what layers keep of their input; 0: none does
    int8_t *layouts; ///< [n_layers] hsdi_layout, -1: not used; owned by the front end
};

/// Bytes of a key (and of a value), or of a layer's input.
static inline size_t hsdi_cache_kv_bytes(const struct hsdi_cache *c)
{
    return (size_t)(c->width / c->d_head) * hsdi_cache_head_bytes(c->type, c->d_head);
}

static inline size_t hsdi_cache_cell_bytes(const struct hsdi_cache *c, int layer)
{
    return c->layers[layer].layout == HSDI_LAYOUT_EL ? hsdi_cache_head_bytes(c->type, c->el_width)
                                                     : hsdi_cache_kv_bytes(c);
}

/// Bytes of all cells of a layer: keys, then values, or inputs.
static inline size_t hsdi_cache_layer_bytes(const struct hsdi_cache *c, int layer)
{
    size_t planes = c->layers[layer].layout == HSDI_LAYOUT_EL ? 1 : 2;
    return planes * (size_t)c->n_cells * hsdi_cache_cell_bytes(c, layer);
}

/// Bytes of the layers before it.
static inline size_t hsdi_cache_layer_at(const struct hsdi_cache *c, int layer)
{
    size_t n_el = (size_t)c->layers[layer].n_el, n_kv = (size_t)layer - n_el;
    size_t el = n_el > 0 ? n_el * hsdi_cache_head_bytes(c->type, c->el_width) : 0;
    return (size_t)c->n_cells * (el + 2 * n_kv * hsdi_cache_kv_bytes(c));
}

struct hsdi_backend {
    const char *name;
    bool has_top;         ///< takes HSDI_OP_TOP and HSDI_OP_DRAW
    bool has_el;          ///< takes HSDI_OP_NORM, HSDI_OP_HEADS and HSDI_LAYOUT_EL
    unsigned cache_types; ///< bit t: has caches of hsd_cache_type t
    void (*device_close)(hsdi_device *device);
    hsd_status (*weight_create)(hsdi_device *device, const struct hsdi_weight *shape,
                                const void *data, hsdi_weight **out, hsd_error *err);
    void (*weight_destroy)(hsdi_weight *weight);
    /// Optional: see hsdi_weight_is_held.
    bool (*weight_is_held)(const hsdi_weight *weight);
    hsd_status (*cache_create)(hsdi_device *device, const struct hsdi_cache *shape,
                               hsdi_cache **out, hsd_error *err);
    void (*cache_destroy)(hsdi_cache *cache);
    /// Optional, both: see hsdi_cache_read. The device's turn is held.
    hsd_status (*cache_read)(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                             void *out, hsd_error *err);
    hsd_status (*cache_write)(hsdi_device *device, hsdi_cache *cache, int first, int n,
                              const void *bytes, hsd_error *err);
    /// Optional: see hsdi_cache_discard. Any thread, the device's turn is not held.
    void (*cache_discard)(hsdi_cache *cache, int first, int n);
    hsd_status (*buffer_create)(hsdi_device *device, const struct hsdi_buffer *shape,
                                hsdi_buffer **out, hsd_error *err);
    void (*buffer_destroy)(hsdi_buffer *buffer);
    float *(*buffer_map)(hsdi_buffer *buffer);
    hsd_status (*graph_compile)(hsdi_device *device, const hsdi_graph_desc *desc,
                                const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err);
    void (*graph_destroy)(hsdi_graph *graph);
    /// Run n_jobs >= 1 jobs and wait. The device's turn is held.
    hsd_status (*graph_run)(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err);
    /// Optional, both: times of kernels. The device's turn is held.
    hsd_status (*profile)(hsdi_device *device, bool on, hsd_error *err);
    int (*times)(hsdi_device *device, hsdi_device_time *out, int cap);
    /// Optional: its table of tiles.
    hsdi_tile_set *(*tiles)(hsdi_device *device);
    /// Optional: see hsdi_weight_read. The device's turn is held.
    hsd_status (*weight_read)(hsdi_device *device, const hsdi_weight *weight, int way,
                              size_t *n_bytes, hsd_error *err);
};

/// Fill the public part of a new device.
void hsdi_device_init(hsdi_device *device, const hsdi_backend *ops, int n_threads);
void hsdi_device_fini(hsdi_device *device);

#endif
