/// Graphs on OpenCL: a flat list of launches on an in-order queue.
///
/// A launch is a kernel object of its own with its arguments set when the graph is compiled; what a
/// submission changes is the number of rows and, for the two kinds that meet a cache, whose cache.
/// Rows of several jobs lie one behind the other. A table tells the kernels what a row is: its
/// token, position and cell, and where its trunk and path begin (kernels/opencl/source.h).
#include "base/arena.h"
#include "base/error.h"
#include "devices/host_buffer.h"
#include "devices/opencl/context.h"
#include "kernels/opencl/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 4, LAUNCHES_PER_OP = HSDI_GRAPH_MAX_PARTS + 1 };

typedef struct launch {
    cl_kernel kernel; ///< one work-item (or group) per row in the second dimension
    cl_kernel tiled;  ///< products: one per TILE rows; else NULL
    size_t width;     ///< work-items in the first dimension
    cl_uint arg;      ///< first argument that is set per submission
    int layer;        ///< of the cache; -1: has nothing to do with it
} launch;

typedef struct ocl_graph {
    struct hsdi_graph base;
    hsdi_ocl_device *ocl;
    hsdi_arena arena;
    hsdi_heads heads;
    int n_launches, n_values;
    launch *launches;
    int *width;                    ///< [n_values]
    cl_mem *value;                 ///< [n_values] -> [n_rows_max, width]
    cl_mem in, out;                ///< external rows of all jobs; NULL: not used
    cl_mem prepared;               ///< [n_rows_max, widest]: rows between `pre` and product
    cl_mem rope_table, table;      ///< [n_ctx, n_rot]; see `host`
    int32_t *host;                 ///< [HSDI_JOB_INTS n_rows_max + cells] as sent to `table`
    size_t prepared_width, n_ints; ///< of `prepared` and `host`
} ocl_graph;

// ---- arguments ----

/// Arguments of a kernel in their order; the first failure stays in `code`.
typedef struct args {
    const hsdi_ocl_api *api;
    cl_kernel kernel;
    cl_uint n;
    cl_int code;
} args;

static void arg(args *a, size_t size, const void *value)
{
    if (a->code == CL_SUCCESS) {
        a->code = a->api->SetKernelArg(a->kernel, a->n, size, value);
    }
    a->n++;
}

static void arg_int(args *a, int value)
{
    cl_int v = value;
    arg(a, sizeof v, &v);
}

static void arg_float(args *a, float value)
{
    cl_float v = value;
    arg(a, sizeof v, &v);
}

static void arg_memory(args *a, cl_mem memory)
{
    arg(a, sizeof memory, &memory);
}

/// Memory, first column, distance between rows.
static void arg_view(args *a, const ocl_graph *g, const hsdi_view *v, int more)
{
    bool in = v->value == HSDI_VALUE_IN, out = v->value == HSDI_VALUE_OUT;
    arg_memory(a, in ? g->in : out ? g->out : g->value[v->value]);
    arg_int(a, v->offset + more);
    arg_int(a, in ? g->base.in_width : out ? g->base.out_width : g->width[v->value]);
}

static void arg_prepared(args *a, const ocl_graph *g)
{
    arg_memory(a, g->prepared);
    arg_int(a, 0);
    arg_int(a, (int)g->prepared_width);
}

/// Blocks of a matrix and the bytes of one row.
static void arg_blocks(args *a, const struct hsdi_weight *weight)
{
    const hsdi_ocl_weight *w = (const hsdi_ocl_weight *)weight;
    cl_ulong row_bytes = w->row_bytes;
    arg_memory(a, w->blocks);
    arg(a, sizeof row_bytes, &row_bytes);
}

static cl_mem vector_of(const struct hsdi_weight *weight)
{
    return ((const hsdi_ocl_weight *)weight)->vector;
}

static hsd_status args_begin(const ocl_graph *g, const char *name, const char *type, args *a,
                             hsd_error *err)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, type);
    *a = (args){.api = g->ocl->api};
    a->kernel = g->ocl->api->CreateKernel(g->ocl->program, full, &a->code);
    return hsdi_ocl_check(err, "clCreateKernel", a->code);
}

static size_t round_up(size_t n)
{
    return (n + HSDI_OPENCL_GROUP - 1) / HSDI_OPENCL_GROUP * HSDI_OPENCL_GROUP;
}

/// Take the kernel into the list of launches, also after a failure: it is released with the graph.
static launch *add(ocl_graph *g, const args *a, size_t width)
{
    launch *l = &g->launches[g->n_launches++];
    *l = (launch){.kernel = a->kernel, .width = width, .layer = -1};
    return l;
}

static hsd_status args_end(const args *a, hsd_error *err)
{
    return hsdi_ocl_check(err, "clSetKernelArg", a->code);
}

// ---- one launch or two per operation ----

/// Columns x -> y, n of them in y: gelu, silu_mul, copy.
static hsd_status add_map(ocl_graph *g, const char *name, const hsdi_view *x, int n,
                          const hsdi_view *y, hsd_error *err)
{
    args a;
    hsd_status status = args_begin(g, name, "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up((size_t)n));
    arg_view(&a, g, x, 0);
    arg_int(&a, n);
    if (y) {
        arg_view(&a, g, y, 0);
    } else {
        arg_prepared(&a, g);
    }
    return args_end(&a, err);
}

/// RMS norm of n columns, once per head; y NULL: into `prepared`.
static hsd_status add_rms_norm(ocl_graph *g, const hsdi_op *op, const hsdi_view *x, int n,
                               int n_head, const hsdi_view *y, hsd_error *err)
{
    args a;
    hsd_status status = args_begin(g, "rms_norm", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, (size_t)n_head * HSDI_OPENCL_GROUP);
    arg_view(&a, g, x, 0);
    arg_memory(&a, vector_of(op->norm_w));
    arg_float(&a, op->eps);
    arg_int(&a, n);
    if (y) {
        arg_view(&a, g, y, 0);
    } else {
        arg_prepared(&a, g);
    }
    return args_end(&a, err);
}

static hsd_status add_layer_norm(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    args a;
    hsd_status status = args_begin(g, "layer_norm", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    arg_memory(&a, vector_of(op->norm_w));
    arg_memory(&a, vector_of(op->norm_b ? op->norm_b : op->norm_w));
    arg_int(&a, op->norm_b != NULL);
    arg_float(&a, op->eps);
    arg_int(&a, op->x.width);
    arg_prepared(&a, g);
    return args_end(&a, err);
}

static int n_in_of(const hsdi_op *op)
{
    return op->pre == HSDI_PRE_SILU_MUL ? op->x.width / 2 : op->x.width;
}

/// A product that writes where it reads needs a copy of its rows.
static bool is_prepared(const hsdi_op *op)
{
    return op->pre != HSDI_PRE_NONE || op->x.value == op->y.value;
}

static hsd_status add_pre(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    switch (op->pre) {
    case HSDI_PRE_RMS_NORM:
        return add_rms_norm(g, op, &op->x, op->x.width, 1, NULL, err);
    case HSDI_PRE_LAYER_NORM:
        return add_layer_norm(g, op, err);
    case HSDI_PRE_GELU:
        return add_map(g, "gelu", &op->x, op->x.width, NULL, err);
    case HSDI_PRE_SILU_MUL:
        return add_map(g, "silu_mul", &op->x, n_in_of(op), NULL, err);
    case HSDI_PRE_NONE:
    case HSDI_N_PRES:
        break;
    }
    return is_prepared(op) ? add_map(g, "copy", &op->x, op->x.width, NULL, err) : HSD_OK;
}

static void product_args(const ocl_graph *g, const hsdi_op *op, const hsdi_part *part, args *a)
{
    arg_blocks(a, part->w);
    arg_int(a, part->w->n_in);
    arg_int(a, part->w->n_out);
    // Without a bias any memory will do: it is not read.
    arg_memory(a, part->bias ? vector_of(part->bias) : ((const hsdi_ocl_weight *)part->w)->blocks);
    arg_int(a, part->bias != NULL);
    if (is_prepared(op)) {
        arg_prepared(a, g);
    } else {
        arg_view(a, g, &op->x, 0);
    }
    arg_view(a, g, &op->y, part->y_offset);
    arg_int(a, op->accumulate);
}

static hsd_status add_product(ocl_graph *g, const hsdi_op *op, const hsdi_part *part,
                              hsd_error *err)
{
    const char *type = hsdi_type_find(part->w->type)->name;
    args one, tile;
    hsd_status status = args_begin(g, "matmul1_", type, &one, err);
    if (status != HSD_OK) {
        return status;
    }
    launch *l = add(g, &one, round_up((size_t)part->w->n_out));
    status = args_begin(g, "matmul4_", type, &tile, err);
    if (status != HSD_OK) {
        return status;
    }
    l->tiled = tile.kernel;
    product_args(g, op, part, &one);
    product_args(g, op, part, &tile);
    l->arg = one.n;
    status = args_end(&one, err);
    return status == HSD_OK ? args_end(&tile, err) : status;
}

static hsd_status add_matmul(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsd_status status = add_pre(g, op, err);
    for (int i = 0; i < op->n_parts && status == HSD_OK; i++) {
        status = add_product(g, op, &op->parts[i], err);
    }
    return status;
}

static hsd_status add_embed(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    const struct hsdi_weight *w = op->parts[0].w;
    bool by_pos = op->kind == HSDI_OP_EMBED_POS;
    args a;
    hsd_status status = args_begin(g, "embed_", hsdi_type_find(w->type)->name, &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up(((size_t)w->n_in + 15) / 16));
    arg_blocks(&a, w);
    arg_int(&a, w->n_in);
    arg_memory(&a, g->table);
    arg_int(&a, by_pos ? HSDI_JOB_POS : HSDI_JOB_TOKEN);
    arg_int(&a, by_pos);
    arg_view(&a, g, &op->y, 0);
    return args_end(&a, err);
}

static hsd_status add_rope(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    const hsdi_heads *h = &g->heads;
    args a;
    hsd_status status = args_begin(g, "rope", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up((size_t)op->n_head * (size_t)h->n_rot / 2));
    arg_view(&a, g, &op->y, 0);
    arg_int(&a, op->n_head);
    arg_int(&a, h->d_head);
    arg_int(&a, h->n_rot);
    arg_int(&a, h->neox);
    arg_memory(&a, g->rope_table);
    arg_memory(&a, g->table);
    return args_end(&a, err);
}

static hsd_status add_store(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    args a;
    hsd_status status = args_begin(g, "store", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    launch *l = add(g, &a, round_up((size_t)op->x.width));
    arg_view(&a, g, &op->x, 0);
    arg_view(&a, g, &op->y, 0);
    arg_int(&a, op->x.width);
    arg_memory(&a, g->table);
    l->arg = a.n;
    l->layer = op->layer;
    return args_end(&a, err);
}

static hsd_status add_attn(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    const hsdi_heads *h = &g->heads;
    args a;
    hsd_status status = args_begin(g, "attn", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    launch *l = add(g, &a, (size_t)h->n_head * HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    arg_view(&a, g, &op->y, 0);
    arg_int(&a, h->n_head);
    arg_int(&a, h->n_kv);
    arg_int(&a, h->d_head);
    arg_float(&a, h->scale);
    arg(&a, (size_t)h->d_head * sizeof(cl_float), NULL); // local memory
    arg_memory(&a, g->table);
    l->arg = a.n;
    l->layer = op->layer;
    return args_end(&a, err);
}

static hsd_status add_op(ocl_graph *g, const hsdi_op *op, hsd_error *err)
{
    switch (op->kind) {
    case HSDI_OP_EMBED:
    case HSDI_OP_EMBED_POS:
        return add_embed(g, op, err);
    case HSDI_OP_MATMUL:
        return add_matmul(g, op, err);
    case HSDI_OP_HEAD_NORM:
        return add_rms_norm(g, op, &op->y, g->heads.d_head, op->n_head, &op->y, err);
    case HSDI_OP_ROPE:
        return add_rope(g, op, err);
    case HSDI_OP_STORE:
        return add_store(g, op, err);
    case HSDI_OP_ATTN:
        return add_attn(g, op, err);
    case HSDI_OP_COPY:
        return add_map(g, "copy", &op->x, op->y.width, &op->y, err);
    case HSDI_N_OPS:
        break;
    }
    return hsdi_fail(err, HSD_EUNSUPPORTED, "graph", "operation of kind %d", (int)op->kind);
}

// ---- memory ----

static hsd_status rows_memory(ocl_graph *g, size_t width, cl_mem *out, hsd_error *err)
{
    size_t size = (size_t)g->base.n_rows_max * width * sizeof(float);
    return size > 0 ? hsdi_ocl_memory(g->ocl, size, NULL, out, err) : HSD_OK;
}

static hsd_status make_values(ocl_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
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
    for (int i = 0; i < desc->n_ops; i++) {
        const hsdi_op *op = &desc->ops[i];
        if (op->kind == HSDI_OP_MATMUL && (size_t)n_in_of(op) > g->prepared_width) {
            g->prepared_width = (size_t)n_in_of(op);
        }
    }
    if (status != HSD_OK ||
        (status = rows_memory(g, (size_t)desc->in_width, &g->in, err)) != HSD_OK ||
        (status = rows_memory(g, (size_t)desc->out_width, &g->out, err)) != HSD_OK) {
        return status;
    }
    return rows_memory(g, g->prepared_width, &g->prepared, err);
}

/// Angles are computed in double here, as on the CPU: no device's sin and cos is as good.
static hsd_status make_rope(ocl_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
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
    hsd_status status = hsdi_ocl_memory(g->ocl, n * sizeof *values, values, &g->rope_table, err);
    free(values);
    return status;
}

/// Room for the facts of all rows, and for their trunks and paths: a trunk and any of its paths
/// together have at most n_ctx cells.
static hsd_status make_table(ocl_graph *g, hsd_error *err)
{
    size_t n_rows = (size_t)g->base.n_rows_max;
    size_t n_cells = g->base.n_layers ? n_rows * (size_t)g->base.n_ctx : 0;
    g->n_ints = HSDI_JOB_INTS * n_rows + n_cells;
    g->host = hsdi_arena_array(&g->arena, g->n_ints, sizeof *g->host);
    return g->host ? hsdi_ocl_memory(g->ocl, g->n_ints * sizeof *g->host, NULL, &g->table, err)
                   : hsdi_fail(err, HSD_ENOMEM, "graph", "table of %zu numbers", g->n_ints);
}

static bool weights_are_here(const ocl_graph *g, const hsdi_op *op)
{
    const struct hsdi_weight *all[2 * HSDI_GRAPH_MAX_PARTS + 2] = {op->norm_w, op->norm_b};
    for (int i = 0; i < op->n_parts; i++) {
        all[2 + 2 * i] = op->parts[i].w;
        all[3 + 2 * i] = op->parts[i].bias;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i] && ((const hsdi_ocl_weight *)all[i])->device != g->ocl) {
            return false;
        }
    }
    return true;
}

static hsd_status make_launches(ocl_graph *g, const hsdi_graph_desc *desc, hsd_error *err)
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
        status = add_op(g, &desc->ops[i], err);
    }
    return status;
}

hsd_status hsdi_ocl_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                  const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err)
{
    ocl_graph *g = calloc(1, sizeof *g);
    if (!g) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "graph");
    }
    g->base = *shape;
    g->ocl = (hsdi_ocl_device *)device;
    g->heads = desc->heads;
    g->heads.rope_freqs = NULL; // borrowed until here
    hsd_status status;
    if ((status = make_values(g, desc, err)) != HSD_OK ||
        (status = make_rope(g, desc, err)) != HSD_OK || (status = make_table(g, err)) != HSD_OK ||
        (status = make_launches(g, desc, err)) != HSD_OK) {
        hsdi_ocl_graph_destroy(&g->base);
        return status;
    }
    *out = &g->base;
    return HSD_OK;
}

void hsdi_ocl_graph_destroy(hsdi_graph *graph)
{
    ocl_graph *g = (ocl_graph *)graph;
    for (int i = 0; i < g->n_launches; i++) {
        (void)g->ocl->api->ReleaseKernel(g->launches[i].kernel);
        if (g->launches[i].tiled) {
            (void)g->ocl->api->ReleaseKernel(g->launches[i].tiled);
        }
    }
    for (int v = 0; v < g->n_values; v++) {
        hsdi_ocl_memory_free(g->ocl, g->value[v]);
    }
    const cl_mem others[] = {g->in, g->out, g->prepared, g->rope_table, g->table};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        hsdi_ocl_memory_free(g->ocl, others[i]);
    }
    hsdi_arena_fini(&g->arena);
    free(g);
}

// ---- running ----

/// The table of all jobs; returns the number of ints.
static size_t fill_table(const ocl_graph *g, const hsdi_job *jobs, int n_jobs, int n_rows)
{
    int32_t *row = g->host;
    size_t at = (size_t)n_rows * HSDI_JOB_INTS;
    for (const hsdi_job *job = jobs; job < jobs + n_jobs; job++) {
        size_t trunk = at, n_trunk = g->base.n_layers ? (size_t)job->n_trunk : 0;
        if (n_trunk > 0) {
            memcpy(g->host + trunk, job->trunk, n_trunk * sizeof *g->host);
        }
        at += n_trunk;
        for (int r = 0; r < job->n_rows; r++, row += HSDI_JOB_INTS) {
            row[HSDI_JOB_TOKEN] = g->base.n_vocab ? job->tokens[r] : 0;
            row[HSDI_JOB_POS] = job->pos[r];
            if (!g->base.n_layers) {
                continue;
            }
            size_t n_path = (size_t)job->n_path[r];
            memcpy(g->host + at, job->path + (ptrdiff_t)r * job->path_stride,
                   n_path * sizeof *g->host);
            row[HSDI_JOB_CELL] = job->cell[r];
            row[HSDI_JOB_TRUNK] = (int32_t)trunk;
            row[HSDI_JOB_N_TRUNK] = (int32_t)n_trunk;
            row[HSDI_JOB_PATH] = (int32_t)at;
            row[HSDI_JOB_N_PATH] = (int32_t)n_path;
            at += n_path;
        }
    }
    return at;
}

static hsd_status send(const ocl_graph *g, cl_mem to, size_t at, size_t size, const void *from,
                       hsd_error *err)
{
    return hsdi_ocl_check(err, "clEnqueueWriteBuffer",
                          g->ocl->api->EnqueueWriteBuffer(g->ocl->queue, to, CL_FALSE, at, size,
                                                          from, 0, NULL, NULL));
}

static hsd_status send_rows(const ocl_graph *g, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    size_t at = 0;
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_jobs && g->in && status == HSD_OK; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)g->base.in_width * sizeof(float);
        status = send(g, g->in, at, size, hsdi_host_buffer_data(jobs[i].in), err);
        at += size;
    }
    return status;
}

static hsd_status fetch_rows(const ocl_graph *g, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    size_t at = 0;
    cl_int code = CL_SUCCESS;
    for (int i = 0; i < n_jobs && g->out && code == CL_SUCCESS; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)g->base.out_width * sizeof(float);
        code = g->ocl->api->EnqueueReadBuffer(g->ocl->queue, g->out, CL_FALSE, at, size,
                                              hsdi_host_buffer_data(jobs[i].out), 0, NULL, NULL);
        at += size;
    }
    return hsdi_ocl_check(err, "clEnqueueReadBuffer", code);
}

static hsd_status start(const ocl_graph *g, cl_kernel kernel, size_t width, int height,
                        hsd_error *err)
{
    const size_t global[2] = {width, (size_t)height}, local[2] = {HSDI_OPENCL_GROUP, 1};
    return hsdi_ocl_check(err, "clEnqueueNDRangeKernel",
                          g->ocl->api->EnqueueNDRangeKernel(g->ocl->queue, kernel, 2, NULL, global,
                                                            local, 0, NULL, NULL));
}

static hsd_status start_product(const ocl_graph *g, const launch *l, int n_rows, hsd_error *err)
{
    args a = {.api = g->ocl->api, .kernel = n_rows > 1 ? l->tiled : l->kernel, .n = l->arg};
    arg_int(&a, n_rows);
    hsd_status status = args_end(&a, err);
    int height = n_rows > 1 ? (n_rows + TILE - 1) / TILE : 1;
    return status == HSD_OK ? start(g, a.kernel, l->width, height, err) : status;
}

/// Once per job: each has its own cache.
static hsd_status start_on_caches(const ocl_graph *g, const launch *l, const hsdi_job *jobs,
                                  int n_jobs, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int first = 0;
    for (int i = 0; i < n_jobs && status == HSD_OK; i++) {
        const hsdi_ocl_cache *c = (const hsdi_ocl_cache *)jobs[i].cache;
        args a = {.api = g->ocl->api, .kernel = l->kernel, .n = l->arg};
        arg_int(&a, first);
        arg_int(&a, c->base.n_cells);
        arg_memory(&a, c->layers[l->layer]);
        status = args_end(&a, err);
        if (status == HSD_OK) {
            status = start(g, l->kernel, l->width, jobs[i].n_rows, err);
        }
        first += jobs[i].n_rows;
    }
    return status;
}

static hsd_status run_all(const ocl_graph *g, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    int n_rows = 0;
    for (int i = 0; i < n_jobs; i++) {
        n_rows += jobs[i].n_rows;
        if (g->base.n_layers && ((const hsdi_ocl_cache *)jobs[i].cache)->device != g->ocl) {
            return hsdi_fail(err, HSD_EINVAL, "cache", "the cache is on another device");
        }
    }
    size_t n_ints = fill_table(g, jobs, n_jobs, n_rows);
    hsd_status status = send(g, g->table, 0, n_ints * sizeof *g->host, g->host, err);
    if (status == HSD_OK) {
        status = send_rows(g, jobs, n_jobs, err);
    }
    for (int i = 0; i < g->n_launches && status == HSD_OK; i++) {
        const launch *l = &g->launches[i];
        status = l->layer >= 0 ? start_on_caches(g, l, jobs, n_jobs, err)
                 : l->tiled    ? start_product(g, l, n_rows, err)
                               : start(g, l->kernel, l->width, n_rows, err);
    }
    return status == HSD_OK ? fetch_rows(g, jobs, n_jobs, err) : status;
}

hsd_status hsdi_ocl_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    const ocl_graph *g = (const ocl_graph *)graph;
    hsd_status status = run_all(g, jobs, n_jobs, err);
    cl_int code = g->ocl->api->Finish(g->ocl->queue); // also after a failure: rows are borrowed
    return status == HSD_OK ? hsdi_ocl_check(err, "clFinish", code) : status;
}
