/// The device "openvino": compiles a graph to a network in two files, and runs none.
///
/// Whoever has the vendor's driver or OpenVINO runs the files, and keeps keys and values.
#include "devices/openvino/context.h"

#include "base/error.h"
#include "devices/host_buffer.h"

#include <stdio.h>
#include <stdlib.h>

static void device_close(hsdi_device *device)
{
    hsdi_openvino_device *d = (hsdi_openvino_device *)device;
    free(d->xml_path);
    free(d->bin_path);
    free(d->xml_part);
    free(d->bin_part);
    hsdi_device_fini(device);
    free(d);
}

static hsd_status weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                const void *data, hsdi_weight **out, hsd_error *err)
{
    (void)device;
    hsdi_openvino_weight *w = malloc(sizeof *w);
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[%d, %d]", shape->n_out, shape->n_in);
    }
    w->base = *shape;
    w->data = data;
    *out = &w->base;
    return HSD_OK;
}

static void weight_destroy(hsdi_weight *weight)
{
    free(weight);
}

static hsd_status not_run_here(hsd_error *err)
{
    return hsdi_fail(err, HSD_EUNSUPPORTED, "openvino",
                     "networks are written here; running them needs OpenVINO or the vendor driver");
}

static hsd_status cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                               hsdi_cache **out, hsd_error *err)
{
    (void)device;
    (void)shape;
    (void)out;
    return not_run_here(err);
}

static void cache_destroy(hsdi_cache *cache)
{
    (void)cache; // none is ever made
}

static hsd_status graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    (void)graph;
    (void)jobs;
    (void)n_jobs;
    return not_run_here(err);
}

static const hsdi_backend openvino_backend = {
    .name = "openvino",
    .device_close = device_close,
    .weight_create = weight_create,
    .weight_destroy = weight_destroy,
    .cache_types = 1u << HSD_CACHE_F32,
    .cache_create = cache_create,
    .cache_destroy = cache_destroy,
    .buffer_create = hsdi_host_buffer_create,
    .buffer_destroy = hsdi_host_buffer_destroy,
    .buffer_map = hsdi_host_buffer_map,
    .graph_compile = hsdi_openvino_graph_compile,
    .graph_destroy = hsdi_openvino_graph_destroy,
    .graph_run = graph_run,
};

static char *with_suffix(const char *path, const char *suffix)
{
    char *text = NULL;
    return asprintf(&text, "%s%s", path, suffix) < 0 ? NULL : text;
}

hsd_status hsdi_device_open_openvino(const hsdi_openvino_options *options, hsdi_device **out,
                                     hsd_error *err)
{
    if (!options || !options->xml_path || !options->bin_path || !out) {
        return hsdi_fail(err, HSD_EINVAL, "openvino", "paths and a place are required");
    }
    hsdi_openvino_device *d = calloc(1, sizeof *d);
    if (!d) {
        return hsdi_fail(err, HSD_ENOMEM, "openvino", "memory is short");
    }
    hsdi_device_init(&d->base, &openvino_backend, 1);
    snprintf(d->base.info.name, sizeof d->base.info.name, "openvino ir");
    d->type = options->type;
    d->xml_path = with_suffix(options->xml_path, "");
    d->bin_path = with_suffix(options->bin_path, "");
    d->xml_part = with_suffix(options->xml_path, ".part");
    d->bin_part = with_suffix(options->bin_path, ".part");
    if (!d->xml_path || !d->bin_path || !d->xml_part || !d->bin_part) {
        device_close(&d->base);
        return hsdi_fail(err, HSD_ENOMEM, "openvino", "memory is short");
    }
    *out = &d->base;
    return HSD_OK;
}

int hsdi_openvino_ports(const hsdi_graph *graph, const hsd_network_port **out)
{
    const hsdi_openvino_graph *g = (const hsdi_openvino_graph *)graph;
    *out = g->ports;
    return g->n_ports;
}
