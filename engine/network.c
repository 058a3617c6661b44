/// Ranges of a model's layers as networks in files.
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/weights.h"

#include <hsd/network.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 1024, USUAL_CTX = 4096, MAX_CTX = 1 << 17 };

void hsd_network_options_init(hsd_network_options *options)
{
    *options = (hsd_network_options){.n_rows = 8};
}

void hsd_network_fini(hsd_network *network)
{
    free(network->ports);
    *network = (hsd_network){0};
}

/// The part of the model that the options ask for.
static hsd_status range_of(const hsd_network_options *o, const hsdi_model *m, hsdi_graph_range *out,
                           hsd_error *err)
{
    int end = o->end == 0 ? m->n_layers : o->end;
    int n_ctx = o->n_ctx != 0 ? o->n_ctx : m->n_ctx < USUAL_CTX ? m->n_ctx : USUAL_CTX;
    if (o->begin < 0 || o->begin >= end || end > m->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "layers", "%d to %d, the model has 0 to %d", o->begin,
                         end, m->n_layers);
    }
    if ((int)o->type < HSD_NETWORK_F16 || (int)o->type > HSD_NETWORK_I8) {
        return hsdi_fail(err, HSD_EINVAL, "type", "%d is none that is known", (int)o->type);
    }
    if (o->n_rows < 1 || o->n_rows > MAX_ROWS) {
        return hsdi_fail(err, HSD_EINVAL, "rows", "%d is not in 1..%d", o->n_rows, (int)MAX_ROWS);
    }
    int most = hsdi_model_max_ctx(m) < MAX_CTX ? hsdi_model_max_ctx(m) : MAX_CTX;
    if (n_ctx < 1 || n_ctx > most) {
        return hsdi_fail(err, HSD_EINVAL, "context", "%d is not in 1..%d", n_ctx, most);
    }
    *out = (hsdi_graph_range){.begin = o->begin,
                              .end = end,
                              .from_tokens = o->begin == 0,
                              .head = end == m->n_layers,
                              .n_rows_max = o->n_rows,
                              .n_ctx = n_ctx};
    return HSD_OK;
}

static hsd_status describe(const hsdi_model *m, const hsdi_graph_range *r, const hsdi_graph *graph,
                           hsd_network *out, hsd_error *err)
{
    const hsd_network_port *ports;
    int n = hsdi_openvino_ports(graph, &ports);
    *out = (hsd_network){.fingerprint = hsdi_gguf_fingerprint(m->gguf),
                         .begin = r->begin,
                         .end = r->end,
                         .n_layers = m->n_layers,
                         .n_rows = r->n_rows_max,
                         .n_ctx = r->n_ctx,
                         .n_vocab = m->n_vocab,
                         .from_tokens = r->from_tokens,
                         .to_logits = r->head,
                         .n_ports = n,
                         .ports = malloc((size_t)n * sizeof *ports)};
    if (!out->ports) {
        return hsdi_fail(err, HSD_ENOMEM, "network", "%d inputs and outputs", n);
    }
    snprintf(out->architecture, sizeof out->architecture, "%s", hsdi_arch_name(m->arch));
    memcpy(out->ports, ports, (size_t)n * sizeof *ports);
    return HSD_OK;
}

static hsd_status write_model(const hsd_network_options *o, const hsdi_model *m, hsd_network *out,
                              hsd_error *err)
{
    const hsdi_openvino_options how = {
        .xml_path = o->xml_path, .bin_path = o->bin_path, .type = o->type};
    hsdi_graph_range range;
    hsdi_device *device = NULL;
    hsdi_weights *weights = NULL;
    hsdi_graph *graph = NULL;
    hsd_status status = range_of(o, m, &range, err);
    if (status == HSD_OK && (status = hsdi_device_open_openvino(&how, &device, err)) == HSD_OK &&
        (status = hsdi_weights_create(m, 0, m->n_layers, NULL, device, &weights, err)) == HSD_OK &&
        (status = hsdi_weights_compile(weights, device, &range, &graph, err)) == HSD_OK) {
        status = describe(m, &range, graph, out, err);
    }
    hsdi_graph_destroy(&graph);
    hsdi_weights_destroy(&weights);
    hsdi_device_close(&device);
    return status;
}

hsd_status hsd_network_write(const hsd_network_options *options, hsd_network *out, hsd_error *err)
{
    char shipped[HSDI_PATH_MAX];
    hsdi_model *model = NULL;
    if (!options || !out || !options->xml_path || !options->bin_path) {
        return hsdi_fail(err, HSD_EINVAL, "network", "two paths and a result are required");
    }
    const char *path = options->model_path;
    hsd_status status = HSD_OK;
    if (!path) {
        status = hsdi_shipped_path(hsdi_shipped_draft, shipped, sizeof shipped, err);
        path = shipped;
    }
    if (status == HSD_OK && (status = hsdi_model_load(path, &model, err)) == HSD_OK) {
        status = write_model(options, model, out, err);
    }
    hsdi_model_free(&model);
    return status;
}
