/// The null device: takes every graph, computes nothing, fails and delays on request.
///
/// It shows what a backend must provide at least, and lets tests of the tiers above see every
/// submission. Its results are zeros.
#include "base/error.h"
#include "devices/host_buffer.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct null_device {
    hsdi_device base;
    hsdi_null_options options;
} null_device;

static void null_close(hsdi_device *device)
{
    hsdi_device_fini(device);
    free(device);
}

static hsd_status out_of_memory(hsd_error *err)
{
    return hsdi_fail(err, HSD_ENOMEM, "null", "memory is short");
}

static hsd_status weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                const void *data, hsdi_weight **out, hsd_error *err)
{
    (void)device;
    (void)data;
    *out = malloc(sizeof **out);
    if (!*out) {
        return out_of_memory(err);
    }
    **out = *shape;
    return HSD_OK;
}

static void weight_destroy(hsdi_weight *weight)
{
    free(weight);
}

static hsd_status cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                               hsdi_cache **out, hsd_error *err)
{
    (void)device;
    *out = malloc(sizeof **out);
    if (!*out) {
        return out_of_memory(err);
    }
    **out = *shape;
    for (int i = 0; i < shape->n_layers; i++) {
        (*out)->size_bytes += hsdi_cache_layer_bytes(shape, i);
    }
    return HSD_OK;
}

static void cache_destroy(hsdi_cache *cache)
{
    free(cache);
}

/// A cell holds nothing, which is as many zeros as its shape would take.
static hsd_status cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                             void *out, hsd_error *err)
{
    (void)device;
    (void)first;
    (void)err;
    memset(out, 0, (size_t)n * hsdi_cache_bytes_per_cell(cache));
    return HSD_OK;
}

static hsd_status cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                              const void *bytes, hsd_error *err)
{
    (void)device;
    (void)cache;
    (void)first;
    (void)n;
    (void)bytes;
    (void)err;
    return HSD_OK;
}

static hsd_status graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err)
{
    (void)device;
    (void)desc;
    *out = malloc(sizeof **out);
    if (!*out) {
        return out_of_memory(err);
    }
    **out = *shape;
    return HSD_OK;
}

static void graph_destroy(hsdi_graph *graph)
{
    free(graph);
}

static hsd_status graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    const null_device *null = (const null_device *)graph->device;
    int64_t n = atomic_load(&graph->device->n_submitted);
    if (null->options.fail_at != 0 && n == null->options.fail_at) {
        return hsdi_fail(err, HSD_EDEVICE, "null", "submission %lld fails as asked", (long long)n);
    }
    if (null->options.delay_ns > 0) {
        struct timespec t = {.tv_sec = (time_t)(null->options.delay_ns / 1000000000),
                             .tv_nsec = (long)(null->options.delay_ns % 1000000000)};
        nanosleep(&t, NULL);
    }
    for (int i = 0; i < n_jobs && graph->out_width; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)jobs[i].out->width;
        memset(hsdi_host_buffer_data(jobs[i].out), 0, size * sizeof(float));
    }
    return HSD_OK;
}

static const hsdi_backend null_backend = {
    .name = "null",
    .device_close = null_close,
    .weight_create = weight_create,
    .weight_destroy = weight_destroy,
    .has_el = true,
    .cache_types = 1u << HSD_CACHE_F32 | 1u << HSD_CACHE_F16 | 1u << HSD_CACHE_Q8_0,
    .cache_create = cache_create,
    .cache_destroy = cache_destroy,
    .cache_read = cache_read,
    .cache_write = cache_write,
    .buffer_create = hsdi_host_buffer_create,
    .buffer_destroy = hsdi_host_buffer_destroy,
    .buffer_map = hsdi_host_buffer_map,
    .graph_compile = graph_compile,
    .graph_destroy = graph_destroy,
    .graph_run = graph_run,
};

hsd_status hsdi_device_open_null(const hsdi_null_options *options, hsdi_device **out,
                                 hsd_error *err)
{
    if (!out) {
        return hsdi_fail(err, HSD_EINVAL, "null", "a place for the result is required");
    }
    null_device *null = calloc(1, sizeof *null);
    if (!null) {
        return out_of_memory(err);
    }
    hsdi_device_init(&null->base, &null_backend, 1);
    if (options) {
        null->options = *options;
    }
    memcpy(null->base.info.name, "null", sizeof "null");
    *out = &null->base;
    return HSD_OK;
}
