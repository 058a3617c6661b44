/// See buffer.h.
#include "devices/launch/buffer.h"

#include "base/arena.h"
#include "base/error.h"
#include "devices/launch/panels.h"

#include <stdlib.h>
#include <string.h>

static hsd_status create(hsdi_launch_device *device, size_t size_bytes, const void *data,
                         hsdi_launch_memory **out, hsd_error *err)
{
    return device->driver->memory_create(device, size_bytes, data, out, err);
}

/// The file's blocks where they are, if the device can use them there, else a copy.
static hsd_status put_blocks(hsdi_launch_device *device, size_t size_bytes, const void *data,
                             bool stays, hsdi_launch_memory **out, hsd_error *err)
{
    if (stays && device->shares && device->driver->memory_wrap) {
        hsd_status status = device->driver->memory_wrap(device, size_bytes, data, out, err);
        if (status != HSD_OK || *out) {
            return status;
        }
    }
    atomic_fetch_add(&device->n_weight_copies, 1);
    return create(device, size_bytes, data, out, err);
}

static void destroy(hsdi_launch_device *device, hsdi_launch_memory *memory)
{
    device->driver->memory_destroy(device, memory);
}

void hsdi_launch_weight_destroy(hsdi_weight *weight)
{
    hsdi_launch_weight *w = (hsdi_launch_weight *)weight;
    destroy(w->device, w->blocks);
    destroy(w->device, w->panels);
    destroy(w->device, w->vector);
    free(w);
}

bool hsdi_launch_weight_is_held(const hsdi_weight *weight)
{
    return atomic_load(&((const hsdi_launch_weight *)weight)->device->hung);
}

static hsd_status put_vector(hsdi_launch_weight *w, const void *data, hsd_error *err)
{
    size_t size = (size_t)w->base.n_in * sizeof(float);
    float *values = malloc(size);
    if (!values) {
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[1, %d]", w->base.n_in);
    }
    hsdi_dequant_row(w->base.type, data, w->base.n_in, values);
    hsd_status status = create(w->device, size, values, &w->vector, err);
    w->base.size_bytes += size;
    free(values);
    return status;
}

static hsd_status put_panels(hsdi_launch_weight *w, const void *data, hsd_error *err)
{
    size_t size = w->panel_row_bytes * (size_t)w->base.n_out;
    uint8_t *panels = malloc(size);
    if (!panels) {
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[%d, %d]", w->base.n_out, w->base.n_in);
    }
    hsdi_panels_fill(w->base.type, w->base.n_out, w->base.n_in, data, panels);
    atomic_fetch_add(&w->device->n_weight_copies, 1);
    hsd_status status = create(w->device, size, panels, &w->panels, err);
    w->base.size_bytes += size;
    free(panels);
    return status;
}

hsd_status hsdi_launch_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                     const void *data, hsdi_weight **out, hsd_error *err)
{
    hsdi_launch_weight *w = calloc(1, sizeof *w);
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[%d, %d]", shape->n_out, shape->n_in);
    }
    const hsdi_type_info *info = hsdi_type_find(shape->type);
    hsd_status status = HSD_OK;
    w->base = *shape;
    w->device = (hsdi_launch_device *)device;
    w->row_bytes = (size_t)(shape->n_in / info->block_elems) * (size_t)info->block_bytes;
    if (shape->uses & HSDI_USE_VECTOR) {
        status = put_vector(w, data, err);
    }
    bool is_operand = (shape->uses & HSDI_USE_MATMUL) != 0;
    bool has_panels = is_operand && hsdi_tiles_lay_out(&w->device->tiles.tiles, shape->type);
    if (status == HSD_OK && has_panels) {
        w->panel_row_bytes = hsdi_panels_row_bytes(shape->type, shape->n_in);
        status = put_panels(w, data, err);
    }
    if (status == HSD_OK &&
        ((is_operand && !has_panels) || (shape->uses & (HSDI_USE_ROWS | HSDI_USE_HEADS)))) {
        size_t size = w->row_bytes * (size_t)shape->n_out;
        size *= shape->n_heads > 0 ? (size_t)shape->n_heads : 1;
        bool stays = (shape->uses & (HSDI_USE_ROWS | HSDI_USE_STAYS)) != 0;
        status = put_blocks(w->device, size, data, stays, &w->blocks, err);
        w->base.size_bytes += size;
    }
    if (status != HSD_OK) {
        hsdi_launch_weight_destroy(&w->base);
        return status;
    }
    *out = &w->base;
    return HSD_OK;
}

hsd_status hsdi_launch_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                    hsdi_cache **out, hsd_error *err)
{
    hsdi_launch_cache *c = calloc(1, sizeof *c);
    if (c) {
        c->base = *shape;
        c->device = (hsdi_launch_device *)device;
        c->serial = atomic_fetch_add(&c->device->n_made, 1) + 1;
        c->layers = calloc((size_t)shape->n_layers, sizeof *c->layers);
    }
    if (!c || !c->layers) {
        free(c);
        return hsdi_fail(err, HSD_ENOMEM, "cache", "%d layers", shape->n_layers);
    }
    hsd_status status = HSD_OK;
    for (int i = 0; i < shape->n_layers && status == HSD_OK; i++) {
        size_t size = hsdi_cache_layer_bytes(shape, i);
        status = create(c->device, size, NULL, &c->layers[i], err);
        c->base.size_bytes += size;
    }
    if (status != HSD_OK) {
        hsdi_launch_cache_destroy(&c->base);
        return status;
    }
    *out = &c->base;
    return HSD_OK;
}

void hsdi_launch_cache_destroy(hsdi_cache *cache)
{
    hsdi_launch_cache *c = (hsdi_launch_cache *)cache;
    for (int i = 0; i < c->base.n_layers; i++) {
        destroy(c->device, c->layers[i]);
    }
    free(c->layers);
    free(c);
}

hsd_status hsdi_launch_buffer_create(hsdi_device *device, const struct hsdi_buffer *shape,
                                     hsdi_buffer **out, hsd_error *err)
{
    hsdi_launch_buffer *b = calloc(1, sizeof *b);
    if (!b) {
        return hsdi_fail(err, HSD_ENOMEM, "buffer", "%d rows of %d elements", shape->n_rows,
                         shape->width);
    }
    b->host.base = *shape;
    b->device = (hsdi_launch_device *)device;
    b->serial = atomic_fetch_add(&b->device->n_made, 1) + 1;
    size_t size = (size_t)shape->n_rows * (size_t)shape->width * sizeof(float);
    void *rows = NULL;
    hsd_status status = HSD_OK;
    if (b->device->driver->host_create && (b->device->shares || !b->device->driver->host_own)) {
        status = b->device->driver->host_create(b->device, size, &b->memory, &rows, err);
    } else if (!(rows = hsdi_aligned_alloc(size))) {
        status = hsdi_fail(err, HSD_ENOMEM, "buffer", "%d rows of %d elements", shape->n_rows,
                           shape->width);
    }
    if (status != HSD_OK) {
        free(b);
        return status;
    }
    memset(rows, 0, size);
    b->host.data = rows;
    *out = &b->host.base;
    return HSD_OK;
}

void hsdi_launch_buffer_destroy(hsdi_buffer *buffer)
{
    hsdi_launch_buffer *b = (hsdi_launch_buffer *)buffer;
    if (!b->memory && !atomic_load(&b->device->hung)) {
        free(b->host.data);
    }
    destroy(b->device, b->memory);
    free(b);
}
