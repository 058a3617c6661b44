/// See graph.h: compiling and releasing graphs.
#include "devices/launch/graph.h"

#include "base/error.h"
#include "kernels/opencl/record.h"
#include "kernels/opencl/source.h"

#include <math.h>
#include <stdlib.h>

enum { LAUNCHES_PER_OP = HSDI_GRAPH_MAX_PARTS + 2 }; ///< preparing, packing, products
_Static_assert(LAUNCHES_PER_OP >= 5, "a draw has five launches");

static hsd_status create(const hsdi_launch_graph *g, size_t size_bytes, const void *data,
                         hsdi_launch_memory **out, hsd_error *err)
{
    return g->device->driver->memory_create(g->device, size_bytes, data, out, err);
}

static hsd_status rows_memory(hsdi_launch_graph *g, size_t width, hsdi_launch_memory **out,
                              hsd_error *err)
{
    size_t size = (size_t)g->base.n_rows_max * width * sizeof(float);
    return size > 0 ? create(g, size, NULL, out, err) : HSD_OK;
}

static hsd_status make_values(hsdi_launch_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
{
    size_t n = (size_t)desc->n_values;
    g->width = hsdi_arena_array(&g->arena, n, sizeof *g->width);
    g->value = hsdi_arena_array(&g->arena, n, sizeof *g->value);
    if (!g->width || !g->value) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "%d values", desc->n_values);
    }
    g->n_values = desc->n_values;
    hsd_status status = HSD_OK;
    for (int v = 0; v < desc->n_values && status == HSD_OK; v++) {
        g->width[v] = desc->value_width[v];
        status = rows_memory(g, (size_t)g->width[v], &g->value[v], err);
    }
    size_t parts_width = 0, chunk_bytes = 0;
    bool packs = false;
    for (int i = 0; i < desc->n_ops; i++) {
        const hsdi_op *op = &desc->ops[i];
        if (hsdi_launch_parts_width(op) > parts_width) {
            parts_width = hsdi_launch_parts_width(op);
        }
        if (hsdi_launch_chunk_bytes(g, &desc->heads, op) > chunk_bytes) {
            chunk_bytes = hsdi_launch_chunk_bytes(g, &desc->heads, op);
        }
        if (op->kind == HSDI_OP_MATMUL && (size_t)hsdi_launch_n_in(op) > g->prepared_width) {
            g->prepared_width = (size_t)hsdi_launch_n_in(op);
        }
        for (int p = 0; p < op->n_parts && op->kind == HSDI_OP_MATMUL; p++) {
            packs = packs || hsdi_launch_is_packed(g->device, op->parts[p].w->type);
        }
    }
    if (status == HSD_OK && packs) { // ten words for 32 elements
        status = rows_memory(g, (g->prepared_width + 31) / 32 * 10, &g->packed, err);
    }
    if (status == HSD_OK) {
        status = rows_memory(g, parts_width, &g->parts, err);
    }
    if (status == HSD_OK && chunk_bytes > 0) {
        status = create(g, chunk_bytes, NULL, &g->chunks, err);
    }
    return status == HSD_OK ? rows_memory(g, g->prepared_width, &g->prepared, err) : status;
}

/// Angles are computed in double here, as on the CPU: no device's sin and cos is as good.
static hsd_status make_rope(hsdi_launch_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
{
    const hsdi_heads *h = &desc->heads;
    size_t n_rot = (size_t)h->n_rot, n = (size_t)desc->n_ctx * n_rot;
    if (n == 0) {
        return HSD_OK;
    }
    float *values = calloc(n, sizeof *values);
    if (!values) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "angles of %d positions", desc->n_ctx);
    }
    for (int p = 0; p < desc->n_ctx; p++) {
        float *row = values + (size_t)p * n_rot;
        for (int i = 0; i < h->n_rot / 2; i++) {
            double angle = p * h->rope_freqs[i];
            row[i] = (float)(cos(angle) * (double)h->rope_mscale);
            row[h->n_rot / 2 + i] = (float)(sin(angle) * (double)h->rope_mscale);
        }
    }
    hsd_status status = create(g, n * sizeof *values, values, &g->rope_table, err);
    free(values);
    return status;
}

/// Memory that the host sees too, where the device works on such memory in place.
static hsd_status create_shared(const hsdi_launch_graph *g, size_t size_bytes,
                                hsdi_launch_memory **out, void **host, hsd_error *err)
{
    if (size_bytes == 0) {
        return HSD_OK;
    }
    return g->device->shares ? g->device->driver->host_create(g->device, size_bytes, out, host, err)
                             : create(g, size_bytes, NULL, out, err);
}

static hsd_status make_external(hsdi_launch_graph *g, hsd_error *err)
{
    size_t row = (size_t)g->base.n_rows_max * sizeof(float);
    void *in = NULL, *out = NULL;
    hsd_status status = create_shared(g, row * (size_t)g->base.in_width, &g->in, &in, err);
    if (status == HSD_OK) {
        status = create_shared(g, row * (size_t)g->base.out_width, &g->out, &out, err);
    }
    g->in_host = in;
    g->out_host = out;
    g->bound_in = g->in;
    g->bound_out = g->out;
    return status;
}

/// What tells the shapes of submissions apart, where launches can be kept.
static hsd_status make_keys(hsdi_launch_graph *g, hsd_error *err)
{
    size_t n = 4 + 3 * (size_t)g->base.n_rows_max;
    if (!g->device->driver->record) {
        return HSD_OK;
    }
    int64_t *keys = hsdi_arena_array(&g->arena, (HSDI_LAUNCH_N_KEPT + 1) * n, sizeof *keys);
    if (!keys) {
        return hsdi_fail(err, HSD_ENOMEM, "graph", "keys of %zu numbers", n);
    }
    g->key = keys;
    for (size_t i = 0; i < HSDI_LAUNCH_N_KEPT; i++) {
        g->kept[i].key = keys + (i + 1) * n;
    }
    return HSD_OK;
}

/// Room for the facts of all rows, and for their trunks and paths: a trunk and any of its paths
/// together have at most n_ctx cells. Behind them the records of rows that are drawn from.
static hsd_status make_table(hsdi_launch_graph *g, hsd_error *err)
{
    size_t n_rows = (size_t)g->base.n_rows_max;
    size_t n_cells = g->base.n_layers ? n_rows * (size_t)g->base.n_ctx : 0;
    size_t record = g->base.draw_width ? HSDI_RECORD_INTS + HSDI_DRAW_EDITS_MAX : 0;
    g->n_ints = (HSDI_JOB_INTS + record) * n_rows + n_cells;
    size_t size = g->n_ints * sizeof *g->host;
    void *host = NULL;
    hsd_status status = create_shared(g, size, &g->table, &host, err);
    if (status == HSD_OK && !host && !(host = hsdi_arena_alloc(&g->arena, size))) {
        return hsdi_fail(err, HSD_ENOMEM, "graph", "table of %zu numbers", g->n_ints);
    }
    g->host = host;
    g->n_mapped = g->n_ints;
    return status;
}

static bool weights_are_here(const hsdi_launch_graph *g, const hsdi_op *op)
{
    const struct hsdi_weight *all[2 * HSDI_GRAPH_MAX_PARTS + 2] = {op->norm_w, op->norm_b};
    for (int i = 0; i < op->n_parts; i++) {
        all[2 + 2 * i] = op->parts[i].w;
        all[3 + 2 * i] = op->parts[i].bias;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] && ((const hsdi_launch_weight *)all[i])->device != g->device) {
            return false;
        }
    }
    return true;
}

/// Does the next operation rotate the columns behind those of this one?
static bool goes_on(const hsdi_op *op, const hsdi_op *next)
{
    return op->kind == HSDI_OP_ROPE && next->kind == HSDI_OP_ROPE && op->y.value == next->y.value &&
           op->y.offset + op->y.width == next->y.offset;
}

static hsd_status make_launches(hsdi_launch_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
{
    size_t n = (size_t)desc->n_ops * LAUNCHES_PER_OP;
    g->launches = hsdi_arena_array(&g->arena, n, sizeof *g->launches);
    if (!g->launches) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "%d operations", desc->n_ops);
    }
    hsd_status status = HSD_OK;
    for (int i = 0; i < desc->n_ops && status == HSD_OK; i++) {
        if (!weights_are_here(g, &desc->ops[i])) {
            return hsdi_fail(err, HSD_EINVAL, desc->name, "operation %d: weights of another device",
                             i);
        }
        hsdi_op op = desc->ops[i];
        for (; i + 1 < desc->n_ops && goes_on(&op, &desc->ops[i + 1]); i++) {
            op.y.width += desc->ops[i + 1].y.width;
            op.n_head += desc->ops[i + 1].n_head;
        }
        status = hsdi_launch_add(g, &op, err);
    }
    return status;
}

hsd_status hsdi_launch_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                     const struct hsdi_graph *shape, hsdi_graph **out,
                                     hsd_error *err)
{
    hsdi_launch_graph *g = calloc(1, sizeof *g);
    if (!g) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "graph");
    }
    g->base = *shape;
    g->device = (hsdi_launch_device *)device;
    g->heads = desc->heads;
    g->heads.rope_freqs = NULL; // borrowed until here
    hsd_status status;
    if ((status = make_values(g, desc, err)) != HSD_OK ||
        (status = make_rope(g, desc, err)) != HSD_OK ||
        (status = make_external(g, err)) != HSD_OK || (status = make_table(g, err)) != HSD_OK ||
        (status = make_keys(g, err)) != HSD_OK ||
        (status = make_launches(g, desc, err)) != HSD_OK) {
        hsdi_launch_graph_destroy(&g->base);
        return status;
    }
    *out = &g->base;
    return HSD_OK;
}

static void destroy_kernels(const hsdi_launch_graph *g, const hsdi_launch *l)
{
    g->device->driver->kernel_destroy(g->device, l->kernel);
    for (int c = 0; c < l->n_products; c++) {
        bool again = false;
        for (int i = 0; i < c; i++) {
            again = again || l->products[i].kernel == l->products[c].kernel;
        }
        if (!again) {
            g->device->driver->kernel_destroy(g->device, l->products[c].kernel);
        }
    }
}

void hsdi_launch_graph_destroy(hsdi_graph *graph)
{
    hsdi_launch_graph *g = (hsdi_launch_graph *)graph;
    const hsdi_launch_driver *driver = g->device->driver;
    if (atomic_load(&g->device->hung)) {
        return;
    }
    for (int i = 0; i < HSDI_LAUNCH_N_KEPT && driver->record; i++) {
        driver->record_destroy(g->device, g->kept[i].record);
    }
    for (int i = 0; i < g->n_launches; i++) {
        destroy_kernels(g, &g->launches[i]);
    }
    for (int v = 0; v < g->n_values; v++) {
        driver->memory_destroy(g->device, g->value[v]);
    }
    hsdi_launch_memory *const others[] = {g->in,     g->out,    g->prepared,   g->parts,
                                          g->packed, g->chunks, g->rope_table, g->table};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        driver->memory_destroy(g->device, others[i]);
    }
    hsdi_arena_fini(&g->arena);
    free(g);
}
