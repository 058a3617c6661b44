/// Filling cells, and attention alone over cells that were filled so.
#include "engine/cells.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = HSDI_STAGE_ROWS };

/// Widest input of the operations of a layer.
static int width_of(const hsdi_model *m, const hsdi_layout *layouts, int n_layers, bool attends)
{
    int kv = attends ? m->n_head * m->d_head : 2 * m->n_kv * m->d_head;
    int el = attends ? m->n_head * m->n_embd : m->n_embd, width = 0;
    for (int i = 0; i < n_layers; i++) {
        int one = layouts[i] == HSDI_LAYOUT_EL ? el : kv;
        width = one > width ? one : width;
    }
    return width;
}

static hsdi_op store_op(const hsdi_model *m, hsdi_layout layout, int layer)
{
    int n = layout == HSDI_LAYOUT_EL ? m->n_embd : m->n_kv * m->d_head;
    int shift = layout == HSDI_LAYOUT_EL ? 0 : n;
    return (hsdi_op){.kind = HSDI_OP_STORE,
                     .x = {HSDI_VALUE_IN, 0, n},
                     .y = {HSDI_VALUE_IN, shift, n},
                     .layer = layer,
                     .layout = layout};
}

static hsdi_op attn_op(const hsdi_model *m, hsdi_layout layout, int layer)
{
    int n = m->n_head * (layout == HSDI_LAYOUT_EL ? m->n_embd : m->d_head);
    return (hsdi_op){.kind = HSDI_OP_ATTN,
                     .x = {HSDI_VALUE_IN, 0, n},
                     .y = {HSDI_VALUE_OUT, 0, n},
                     .layer = layer,
                     .layout = layout,
                     .n_head = m->n_head};
}

/// Every layer's cells stored to, or attended over.
static hsd_status compile(hsdi_device *device, const hsdi_model *m, const hsdi_layout *layouts,
                          int n_layers, hsd_cache_type type, bool attends, int n_ctx,
                          hsdi_graph **out, hsd_error *err)
{
    hsdi_op *ops = calloc((size_t)n_layers, sizeof *ops);
    if (!ops) {
        return hsdi_fail(err, HSD_ENOMEM, "cells", "%d layers", n_layers);
    }
    for (int i = 0; i < n_layers; i++) {
        ops[i] = attends ? attn_op(m, layouts[i], i) : store_op(m, layouts[i], i);
    }
    int width = width_of(m, layouts, n_layers, attends);
    hsdi_graph_desc desc = {.name = "cells",
                            .n_rows_max = ROWS,
                            .in_width = width,
                            .out_width = attends ? width : 0,
                            .n_ops = n_layers,
                            .ops = ops,
                            .heads = {.n_head = m->n_head,
                                      .n_kv = m->n_kv,
                                      .d_head = m->d_head,
                                      .scale = 1.0f / sqrtf((float)m->d_head)},
                            .cache_type = type,
                            .n_ctx = n_ctx};
    hsd_status status = hsdi_graph_compile(device, &desc, out, err);
    free(ops);
    return status;
}

/// Numbers of a simple generator, whose high bits are used.
static void randomise(float *x, size_t n, uint64_t *state)
{
    for (size_t i = 0; i < n; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(int32_t)(*state >> 32) * 0x1p-31f;
    }
}

/// Rows of cells first .. first + n - 1, which see themselves alone.
static hsd_status store_rows(hsdi_graph *graph, hsdi_buffer *in, hsdi_cache *cache, int first,
                             int n, hsd_error *err)
{
    int32_t cells[ROWS], one[ROWS];
    for (int r = 0; r < n; r++) {
        cells[r] = first + r;
        one[r] = 1;
    }
    const hsdi_job job = {.n_rows = n,
                          .pos = cells,
                          .cell = cells,
                          .path = cells,
                          .n_path = one,
                          .path_stride = 1,
                          .cache = cache,
                          .in = in};
    return hsdi_graph_run(graph, &job, err);
}

hsd_status hsdi_cells_fill(hsdi_device *device, const hsdi_model *model, const hsdi_layout *layouts,
                           int n_layers, hsd_cache_type type, hsdi_cache *cache, int n_cells,
                           hsd_error *err)
{
    hsdi_graph *graph = NULL;
    hsdi_buffer *in = NULL;
    uint64_t state = 1;
    int width = width_of(model, layouts, n_layers, false);
    hsd_status status = compile(device, model, layouts, n_layers, type, false,
                                n_cells > 0 ? n_cells : 1, &graph, err);
    if (status == HSD_OK) {
        status = hsdi_buffer_create(device, ROWS, width, &in, err);
    }
    for (int i = 0; i < n_cells && status == HSD_OK; i += ROWS) {
        randomise(hsdi_buffer_map(in), (size_t)ROWS * (size_t)width, &state);
        status = store_rows(graph, in, cache, i, n_cells - i < ROWS ? n_cells - i : ROWS, err);
    }
    hsdi_buffer_destroy(&in);
    hsdi_graph_destroy(&graph);
    return status;
}

/// Attention of n_rows rows of a chain behind n_past positions; all arrays are of the caller's.
typedef struct attention {
    hsdi_graph *graph;
    hsdi_cache *cache;
    hsdi_buffer *in, *out;
    int32_t *trunk; ///< [n_past + n_rows]: cells, which are positions
    int n_past;
    hsdi_device *device;
} attention;

static void attention_close(attention *a)
{
    hsdi_graph_destroy(&a->graph);
    hsdi_cache_destroy(&a->cache);
    hsdi_buffer_destroy(&a->in);
    hsdi_buffer_destroy(&a->out);
    free(a->trunk);
}

static hsd_status attention_open(const hsdi_runner *runner, hsd_cache_type type, int n_past,
                                 attention *a, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    const hsdi_layout *layouts = hsdi_weights_layouts(runner->weights);
    int n_layers = hsdi_weights_end(runner->weights), n_cells = n_past + ROWS;
    int width = width_of(m, layouts, n_layers, true);
    hsdi_cache_desc cells = hsdi_runner_cells(runner, n_layers, n_cells);
    cells.type = type;
    uint64_t state = 2;
    *a = (attention){.n_past = n_past, .device = runner->device};
    a->trunk = calloc((size_t)n_cells, sizeof *a->trunk);
    hsd_status status = a->trunk ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "cells", "%d", n_cells);
    if (status != HSD_OK ||
        (status = hsdi_cache_create(a->device, &cells, &a->cache, err)) != HSD_OK ||
        (status = hsdi_cells_fill(a->device, m, layouts, n_layers, type, a->cache, n_cells, err)) !=
            HSD_OK ||
        (status = compile(a->device, m, layouts, n_layers, type, true, n_cells, &a->graph, err)) !=
            HSD_OK ||
        (status = hsdi_buffer_create(a->device, ROWS, width, &a->in, err)) != HSD_OK ||
        (status = hsdi_buffer_create(a->device, ROWS, width, &a->out, err)) != HSD_OK) {
        attention_close(a);
        return status;
    }
    for (int i = 0; i < n_cells; i++) {
        a->trunk[i] = i;
    }
    randomise(hsdi_buffer_map(a->in), (size_t)ROWS * (size_t)width, &state);
    return HSD_OK;
}

static hsd_status attend(const attention *a, int n_rows, int n_threads, int64_t *ns, hsd_error *err)
{
    int32_t path[ROWS * ROWS], n_path[ROWS];
    for (int r = 0; r < n_rows; r++) {
        n_path[r] = r + 1;
        for (int i = 0; i <= r; i++) {
            path[r * n_rows + i] = a->n_past + i;
        }
    }
    const hsdi_job job = {.n_rows = n_rows,
                          .n_threads = n_threads,
                          .pos = a->trunk + a->n_past,
                          .cell = a->trunk + a->n_past,
                          .trunk = a->trunk,
                          .n_trunk = a->n_past,
                          .path = path,
                          .n_path = n_path,
                          .path_stride = n_rows,
                          .cache = a->cache,
                          .in = a->in,
                          .out = a->out};
    int64_t begin = hsdi_now_ns();
    hsd_status status = hsdi_graph_run(a->graph, &job, err);
    *ns = hsdi_now_ns() - begin;
    return status;
}

hsd_status hsd_measure_attention(hsd_engine *engine, hsd_cache_type type, const int *rows,
                                 int n_counts, int n_past, int n_repeats, double *ms,
                                 hsd_error *err)
{
    bool ok = engine && rows && ms && (unsigned)type < HSD_N_CACHE_TYPES && n_past >= 0 &&
              n_past <= 1 << 24 && n_repeats >= 1 && n_repeats <= 1000000;
    for (int i = 0; ok && i < n_counts; i++) {
        ok = rows[i] >= 1 && rows[i] <= ROWS;
    }
    if (!ok) {
        return hsdi_fail(err, HSD_EINVAL, "measure", "1 to %d rows behind %d positions, %d times",
                         ROWS, n_past, n_repeats);
    }
    attention a;
    int64_t *ns = calloc((size_t)n_repeats, sizeof *ns);
    hsd_status status = ns ? attention_open(&engine->target.runner, type, n_past, &a, err)
                           : hsdi_fail(err, HSD_ENOMEM, "measure", "%d times", n_repeats);
    if (status != HSD_OK) {
        free(ns);
        return status;
    }
    for (int i = 0; i < n_counts && status == HSD_OK; i++) {
        for (int k = -1; k < n_repeats && status == HSD_OK; k++) { // one to warm up
            status = attend(&a, rows[i], engine->n_target_alone, &ns[k < 0 ? 0 : k], err);
        }
        ms[i] = (double)hsdi_quantile_ns(ns, n_repeats, 0.5) * 1e-6;
    }
    attention_close(&a);
    free(ns);
    return status;
}
