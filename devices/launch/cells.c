/// Cells of a cache to and from the host.
///
/// A layer's memory has the keys of all cells, then the values; the host has cell by cell, so that
/// a cell's bytes do not depend on its neighbours. The bytes of a range go through a copy that is
/// ordered as the device's.
#include "devices/launch/buffer.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct range {
    int n_planes, n; ///< keys and values of each layer; cells
    size_t row_bytes;
    char *staged; ///< [n_planes, n, row_bytes]
} range;

static hsd_status range_init(range *r, const hsdi_cache *cache, int n, hsd_error *err)
{
    r->n_planes = 2 * cache->n_layers;
    r->n = n;
    r->row_bytes = hsdi_cache_cell_bytes(cache) / (size_t)r->n_planes;
    r->staged = malloc((size_t)n * hsdi_cache_cell_bytes(cache));
    return r->staged ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "cache", "a copy of %d cells", n);
}

static char *staged_row(const range *r, int i_plane, int i)
{
    return r->staged + ((size_t)i_plane * (size_t)r->n + (size_t)i) * r->row_bytes;
}

static char *host_row(const range *r, char *host, int i_plane, int i)
{
    return host + ((size_t)i * (size_t)r->n_planes + (size_t)i_plane) * r->row_bytes;
}

/// Where cell `first` of a plane is in its layer's memory.
static size_t at(const range *r, const hsdi_cache *cache, int i_plane, int first)
{
    return ((size_t)(i_plane % 2) * (size_t)cache->n_cells + (size_t)first) * r->row_bytes;
}

/// What was begun must end before its copy goes away; a device that has hung may still use it.
static hsd_status end(hsdi_launch_device *d, hsd_status status, hsd_error *err)
{
    hsd_status finished = d->driver->finish(d, status == HSD_OK ? err : NULL);
    return status == HSD_OK ? finished : status;
}

static void range_fini(range *r, hsdi_launch_device *d)
{
    if (!atomic_load(&d->hung)) {
        free(r->staged);
    }
}

hsd_status hsdi_launch_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                                  void *out, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    const hsdi_launch_cache *c = (const hsdi_launch_cache *)cache;
    range r;
    hsd_status status = range_init(&r, cache, n, err);
    if (status != HSD_OK) {
        return status;
    }
    for (int p = 0; p < r.n_planes && status == HSD_OK; p++) {
        status = d->driver->fetch(d, c->layers[p / 2], at(&r, cache, p, first),
                                  (size_t)n * r.row_bytes, staged_row(&r, p, 0), err);
    }
    status = end(d, status, err);
    for (int i = 0; i < n && status == HSD_OK; i++) {
        for (int p = 0; p < r.n_planes; p++) {
            memcpy(host_row(&r, out, p, i), staged_row(&r, p, i), r.row_bytes);
        }
    }
    range_fini(&r, d);
    return status;
}

hsd_status hsdi_launch_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                   const void *bytes, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    hsdi_launch_cache *c = (hsdi_launch_cache *)cache;
    range r;
    hsd_status status = range_init(&r, cache, n, err);
    if (status != HSD_OK) {
        return status;
    }
    const char *from = bytes;
    for (int i = 0; i < n; i++) {
        for (int p = 0; p < r.n_planes; p++, from += r.row_bytes) {
            memcpy(staged_row(&r, p, i), from, r.row_bytes);
        }
    }
    for (int p = 0; p < r.n_planes && status == HSD_OK; p++) {
        status = d->driver->send(d, c->layers[p / 2], at(&r, cache, p, first),
                                 (size_t)n * r.row_bytes, staged_row(&r, p, 0), err);
    }
    status = end(d, status, err);
    range_fini(&r, d);
    return status;
}
