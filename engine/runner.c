/// Graphs of one model on one device, compiled when first asked for.
#include "engine/runner.h"

#include "base/error.h"

void hsdi_runner_init(hsdi_runner *runner, const hsdi_weights *weights, hsdi_device *device,
                      const hsdi_kernels *kernels, int n_ctx)
{
    *runner =
        (hsdi_runner){.weights = weights, .device = device, .kernels = kernels, .n_ctx = n_ctx};
    hsdi_combiner_init(&runner->combiner, HSDI_STAGE_ROWS);
    pthread_mutex_init(&runner->lock, NULL);
}

void hsdi_runner_fini(hsdi_runner *runner)
{
    if (!runner->weights) {
        return; // never initialised
    }
    for (int i = 0; i < runner->n_graphs; i++) {
        hsdi_graph_destroy(&runner->graphs[i].graph);
    }
    hsdi_combiner_fini(&runner->combiner);
    pthread_mutex_destroy(&runner->lock);
    *runner = (hsdi_runner){0};
}

static bool same(const hsdi_graph_range *a, const hsdi_graph_range *b)
{
    return a->what == b->what && a->begin == b->begin && a->end == b->end &&
           a->from_tokens == b->from_tokens && a->head == b->head && a->n_list == b->n_list &&
           a->with_sum == b->with_sum && a->drawn == b->drawn && a->fill_only == b->fill_only &&
           a->n_rows_max == b->n_rows_max && a->n_ctx == b->n_ctx;
}

hsdi_cache_desc hsdi_runner_cells(const hsdi_runner *runner, int n_layers, int n_cells)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    int begin = hsdi_weights_begin(runner->weights), end = hsdi_weights_end(runner->weights);
    return (hsdi_cache_desc){.n_layers = (end < n_layers ? end : n_layers) - begin,
                             .n_cells = n_cells,
                             .width = m->n_kv * m->d_head,
                             .d_head = m->d_head,
                             .type = runner->cache_type,
                             .el_width = m->n_embd,
                             .layouts = hsdi_weights_layouts(runner->weights) + begin};
}

hsd_status hsdi_runner_graph(hsdi_runner *runner, hsdi_graph_range range, hsdi_graph **out,
                             hsd_error *err)
{
    hsd_status status = HSD_OK;
    range.cache_type = runner->cache_type;
    pthread_mutex_lock(&runner->lock);
    int i = 0;
    while (i < runner->n_graphs && !same(&runner->graphs[i].range, &range)) {
        i++;
    }
    if (i == HSDI_MAX_GRAPHS) {
        status = hsdi_fail(err, HSD_EUNSUPPORTED, "exit_layer",
                           "more than %d different graphs in one engine", (int)HSDI_MAX_GRAPHS);
    } else if (i == runner->n_graphs) {
        status = hsdi_weights_compile(runner->weights, runner->device, &range,
                                      &runner->graphs[i].graph, err);
        if (status == HSD_OK) {
            runner->graphs[i].range = range;
            runner->n_graphs++;
        }
    }
    if (status == HSD_OK) {
        *out = runner->graphs[i].graph;
    }
    pthread_mutex_unlock(&runner->lock);
    return status;
}
