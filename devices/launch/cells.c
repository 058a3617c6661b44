/// Cells of a cache to and from the host.
///
/// A layer's memory has the keys of all cells, then the values (or their inputs); the host has cell
/// by cell, so that a cell's bytes do not depend on its neighbours. The bytes of a range go through
/// a copy that is ordered as the device's.
#include "devices/launch/buffer.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static int n_planes(const hsdi_cache *cache, int layer)
{
    return cache->layers[layer].layout == HSDI_LAYOUT_EL ? 1 : 2;
}

/// Between the copy, [planes of all layers, n] cells, and the host's bytes, [n, planes].
static void turn(const hsdi_cache *cache, int n, char *copy, char *host, bool to_host)
{
    size_t cell_bytes = hsdi_cache_bytes_per_cell(cache), at = 0;
    for (int layer = 0; layer < cache->n_layers; layer++) {
        size_t size = hsdi_cache_cell_bytes(cache, layer);
        for (int which = 0; which < n_planes(cache, layer); which++, at += size) {
            for (int i = 0; i < n; i++) {
                char *in_copy = copy + at * (size_t)n + (size_t)i * size;
                char *in_host = host + (size_t)i * cell_bytes + at;
                memcpy(to_host ? in_host : in_copy, to_host ? in_copy : in_host, size);
            }
        }
    }
}

/// Between the device and the copy. What was begun has ended when it returns.
static hsd_status move(hsdi_launch_device *d, const hsdi_launch_cache *c, int first, int n,
                       char *copy, bool to_copy, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int layer = 0; layer < c->base.n_layers && status == HSD_OK; layer++) {
        size_t size = hsdi_cache_cell_bytes(&c->base, layer), n_bytes = (size_t)n * size;
        for (int which = 0; which < n_planes(&c->base, layer) && status == HSD_OK; which++) {
            size_t at = ((size_t)which * (size_t)c->base.n_cells + (size_t)first) * size;
            status = to_copy ? d->driver->fetch(d, c->layers[layer], at, n_bytes, copy, err)
                             : d->driver->send(d, c->layers[layer], at, n_bytes, copy, err);
            copy += n_bytes;
        }
    }
    hsd_status finished = d->driver->finish(d, status == HSD_OK ? err : NULL);
    return status == HSD_OK ? finished : status;
}

static char *copy_new(const hsdi_cache *cache, int n, hsd_error *err)
{
    char *copy = malloc((size_t)n * hsdi_cache_bytes_per_cell(cache));
    if (!copy) {
        (void)hsdi_fail(err, HSD_ENOMEM, "cache", "a copy of %d cells", n);
    }
    return copy;
}

/// A device that has hung may still use it.
static void copy_free(hsdi_launch_device *d, char *copy)
{
    if (!atomic_load(&d->hung)) {
        free(copy);
    }
}

hsd_status hsdi_launch_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                                  void *out, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    char *copy = copy_new(cache, n, err);
    if (!copy) {
        return HSD_ENOMEM;
    }
    hsd_status status = move(d, (const hsdi_launch_cache *)cache, first, n, copy, true, err);
    if (status == HSD_OK) {
        turn(cache, n, copy, out, true);
    }
    copy_free(d, copy);
    return status;
}

hsd_status hsdi_launch_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                   const void *bytes, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    char *copy = copy_new(cache, n, err);
    if (!copy) {
        return HSD_ENOMEM;
    }
    turn(cache, n, copy, (char *)(uintptr_t)bytes, false);
    hsd_status status = move(d, (const hsdi_launch_cache *)cache, first, n, copy, false, err);
    copy_free(d, copy);
    return status;
}
