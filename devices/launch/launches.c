/// The launches of an operation: which kernel, with which arguments.
#include "base/error.h"
#include "devices/launch/graph.h"
#include "kernels/opencl/source.h"

#include <stdio.h>

// ---- arguments ----

void hsdi_launch_arg(hsdi_launch_args *a, size_t size_bytes, const void *value)
{
    if (a->status == HSD_OK) {
        a->status =
            a->device->driver->kernel_set(a->device, a->kernel, a->n, size_bytes, value, a->err);
    }
    a->n++;
}

void hsdi_launch_arg_int(hsdi_launch_args *a, int value)
{
    int32_t v = value;
    hsdi_launch_arg(a, sizeof v, &v);
}

void hsdi_launch_arg_memory(hsdi_launch_args *a, hsdi_launch_memory *memory)
{
    hsdi_launch_arg(a, sizeof memory, &memory);
}

static void arg_float(hsdi_launch_args *a, float value)
{
    hsdi_launch_arg(a, sizeof value, &value);
}

/// Memory, first column, distance between rows.
static void arg_view(hsdi_launch_args *a, const hsdi_launch_graph *g, const hsdi_view *v, int more)
{
    bool in = v->value == HSDI_VALUE_IN, out = v->value == HSDI_VALUE_OUT;
    hsdi_launch *l = a->launch;
    if (in || out) {
        l->external[l->n_external].arg = a->n;
        l->external[l->n_external++].value = v->value;
    }
    hsdi_launch_arg_memory(a, in ? g->in : out ? g->out : g->value[v->value]);
    hsdi_launch_arg_int(a, v->offset + more);
    hsdi_launch_arg_int(a, in ? g->base.in_width : out ? g->base.out_width : g->width[v->value]);
}

static void arg_prepared(hsdi_launch_args *a, const hsdi_launch_graph *g)
{
    hsdi_launch_arg_memory(a, g->prepared);
    hsdi_launch_arg_int(a, 0);
    hsdi_launch_arg_int(a, (int)g->prepared_width);
}

/// Blocks of a matrix and the bytes of one row.
static void arg_blocks(hsdi_launch_args *a, const struct hsdi_weight *weight)
{
    const hsdi_launch_weight *w = (const hsdi_launch_weight *)weight;
    uint64_t row_bytes = w->row_bytes;
    hsdi_launch_arg_memory(a, w->blocks);
    hsdi_launch_arg(a, sizeof row_bytes, &row_bytes);
}

static hsdi_launch_memory *vector_of(const struct hsdi_weight *weight)
{
    return ((const hsdi_launch_weight *)weight)->vector;
}

static hsd_status args_begin(const hsdi_launch_graph *g, const char *name, const char *type,
                             hsdi_launch_args *a, hsd_error *err)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, type);
    *a = (hsdi_launch_args){.device = g->device, .err = err};
    return g->device->driver->kernel_create(g->device, full, NULL, &a->kernel, err);
}

static size_t round_up(size_t n)
{
    return (n + HSDI_OPENCL_GROUP - 1) / HSDI_OPENCL_GROUP * HSDI_OPENCL_GROUP;
}

/// Take the kernel into the list of launches, also after a failure: it is released with the graph.
static hsdi_launch *add(hsdi_launch_graph *g, hsdi_launch_args *a, size_t width)
{
    a->launch = &g->launches[g->n_launches++];
    *a->launch = (hsdi_launch){.kernel = a->kernel, .width = width, .layer = -1};
    return a->launch;
}

// ---- the launches of each operation ----

/// Columns x -> y, n of them in y: gelu, silu_mul, copy.
static hsd_status add_map(hsdi_launch_graph *g, const char *name, const hsdi_view *x, int n,
                          const hsdi_view *y, hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status = args_begin(g, name, "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up((size_t)n));
    arg_view(&a, g, x, 0);
    hsdi_launch_arg_int(&a, n);
    if (y) {
        arg_view(&a, g, y, 0);
    } else {
        arg_prepared(&a, g);
    }
    return a.status;
}

/// RMS norm of n columns, once per head; y NULL: into `prepared`.
static hsd_status add_rms_norm(hsdi_launch_graph *g, const hsdi_op *op, const hsdi_view *x, int n,
                               int n_head, const hsdi_view *y, hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "rms_norm", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, (size_t)n_head * HSDI_OPENCL_GROUP);
    arg_view(&a, g, x, 0);
    hsdi_launch_arg_memory(&a, vector_of(op->norm_w));
    arg_float(&a, op->eps);
    hsdi_launch_arg_int(&a, n);
    if (y) {
        arg_view(&a, g, y, 0);
    } else {
        arg_prepared(&a, g);
    }
    return a.status;
}

/// y NULL: into `prepared`.
static hsd_status add_layer_norm(hsdi_launch_graph *g, const hsdi_op *op, const hsdi_view *y,
                                 hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "layer_norm", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    hsdi_launch_arg_memory(&a, vector_of(op->norm_w));
    hsdi_launch_arg_memory(&a, vector_of(op->norm_b ? op->norm_b : op->norm_w));
    hsdi_launch_arg_int(&a, op->norm_b != NULL);
    arg_float(&a, op->eps);
    hsdi_launch_arg_int(&a, op->x.width);
    if (y) {
        arg_view(&a, g, y, 0);
    } else {
        arg_prepared(&a, g);
    }
    return a.status;
}

static hsd_status add_norm(hsdi_launch_graph *g, const hsdi_op *op, const hsdi_view *y,
                           hsd_error *err)
{
    return op->pre == HSDI_PRE_RMS_NORM ? add_rms_norm(g, op, &op->x, op->x.width, 1, y, err)
                                        : add_layer_norm(g, op, y, err);
}

int hsdi_launch_n_in(const hsdi_op *op)
{
    return op->pre == HSDI_PRE_SILU_MUL ? op->x.width / 2 : op->x.width;
}

/// A product that writes where it reads needs a copy of its rows.
static bool is_prepared(const hsdi_op *op)
{
    return op->pre != HSDI_PRE_NONE || op->x.value == op->y.value;
}

static hsd_status add_pre(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    switch (op->pre) {
    case HSDI_PRE_RMS_NORM:
    case HSDI_PRE_LAYER_NORM:
        return add_norm(g, op, NULL, err);
    case HSDI_PRE_GELU:
        return add_map(g, "gelu", &op->x, op->x.width, NULL, err);
    case HSDI_PRE_SILU_MUL:
        return add_map(g, "silu_mul", &op->x, hsdi_launch_n_in(op), NULL, err);
    case HSDI_PRE_NONE:
    case HSDI_N_PRES:
        break;
    }
    return is_prepared(op) ? add_map(g, "copy", &op->x, op->x.width, NULL, err) : HSD_OK;
}

bool hsdi_launch_is_packed(const hsdi_launch_device *device, hsdi_type type)
{
    return device->tiles.tiles.of[hsdi_tile_type_index(type)][0].kind == HSDI_TILE_DOT;
}

enum { PACKED_WORDS = 10 }; ///< of 32 elements

/// Rows of a product in 8 bits, once for all its parts.
static hsd_status add_pack(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsdi_launch_args a;
    int n_blocks = hsdi_launch_n_in(op) / 32;
    hsd_status status = args_begin(g, "pack8", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up((size_t)n_blocks));
    if (is_prepared(op)) {
        arg_prepared(&a, g);
    } else {
        arg_view(&a, g, &op->x, 0);
    }
    hsdi_launch_arg_int(&a, n_blocks);
    hsdi_launch_arg_memory(&a, g->packed);
    hsdi_launch_arg_int(&a, n_blocks * PACKED_WORDS);
    return a.status;
}

/// Parts of a product that one launch computes: one, or, by kernels of kind "panels", all of one
/// type.
typedef struct product {
    const hsdi_op *op;
    const hsdi_part *parts;
    int n_parts;
} product;

static const hsdi_launch_weight *weight_of(const hsdi_part *part)
{
    return (const hsdi_launch_weight *)part->w;
}

static void arg_rows(hsdi_launch_args *a, const hsdi_launch_graph *g, const product *p,
                     const hsdi_tile *tile)
{
    if (tile->kind == HSDI_TILE_DOT) {
        hsdi_launch_arg_memory(a, g->packed);
        hsdi_launch_arg_int(a, 0);
        hsdi_launch_arg_int(a, p->parts[0].w->n_in / 32 * PACKED_WORDS);
    } else if (is_prepared(p->op)) {
        arg_prepared(a, g);
    } else {
        arg_view(a, g, &p->op->x, 0);
    }
}

/// What is set when a product starts, and local memory.
static void args_end(hsdi_launch_args *a, const hsdi_op *op, const hsdi_tile *tile)
{
    hsdi_launch_arg_int(a, op->accumulate);
    a->launch->arg = a->n;
    if (hsdi_tile_local_bytes(tile) > 0) {
        a->n++; // the number of rows
        hsdi_launch_arg(a, hsdi_tile_local_bytes(tile), NULL);
    }
}

static void blocks_args(const hsdi_launch_graph *g, const product *p, const hsdi_tile *tile,
                        hsdi_launch_args *a)
{
    const hsdi_part *part = &p->parts[0];
    arg_blocks(a, part->w);
    hsdi_launch_arg_int(a, part->w->n_in);
    hsdi_launch_arg_int(a, part->w->n_out);
    // Without a bias any memory will do: it is not read.
    hsdi_launch_arg_memory(a, part->bias ? vector_of(part->bias) : weight_of(part)->blocks);
    hsdi_launch_arg_int(a, part->bias != NULL);
    arg_rows(a, g, p, tile);
    arg_view(a, g, &p->op->y, part->y_offset);
    args_end(a, p->op, tile);
}

/// Of parts that are not there any memory will do, and no channels.
static void panels_args(const hsdi_launch_graph *g, const product *p, const hsdi_tile *tile,
                        hsdi_launch_args *a)
{
    const hsdi_launch_weight *first = weight_of(&p->parts[0]);
    uint64_t row_bytes = first->panel_row_bytes;
    int biases = 0;
    for (int i = 0; i < HSDI_GRAPH_MAX_PARTS; i++) {
        hsdi_launch_arg_memory(a, i < p->n_parts ? weight_of(&p->parts[i])->panels : first->panels);
    }
    hsdi_launch_arg(a, sizeof row_bytes, &row_bytes);
    hsdi_launch_arg_int(a, first->base.n_in);
    for (int i = 0; i < HSDI_GRAPH_MAX_PARTS; i++) {
        hsdi_launch_arg_int(a, i < p->n_parts ? p->parts[i].w->n_out : 0);
    }
    for (int i = 0; i < HSDI_GRAPH_MAX_PARTS; i++) {
        const struct hsdi_weight *bias = i < p->n_parts ? p->parts[i].bias : NULL;
        hsdi_launch_arg_memory(a, bias ? vector_of(bias) : first->panels);
        biases |= (bias != NULL) << i;
    }
    hsdi_launch_arg_int(a, biases);
    arg_rows(a, g, p, tile);
    arg_view(a, g, &p->op->y, p->parts[0].y_offset);
    for (int i = 1; i < HSDI_GRAPH_MAX_PARTS; i++) {
        hsdi_launch_arg_int(a, i < p->n_parts ? p->op->y.offset + p->parts[i].y_offset : 0);
    }
    args_end(a, p->op, tile);
}

static size_t product_width(const product *p, const hsdi_tile *tile)
{
    int n_out[HSDI_GRAPH_MAX_PARTS];
    for (int i = 0; i < p->n_parts; i++) {
        n_out[i] = p->parts[i].w->n_out;
    }
    return hsdi_tile_width(tile, n_out, p->n_parts);
}

/// The kernel for class `c`, or that of an earlier class with the same tile.
static hsd_status add_class(hsdi_launch_graph *g, const product *p, hsdi_launch *l, int c,
                            hsd_error *err)
{
    hsdi_type type = p->parts[0].w->type;
    hsdi_launch_product *of = &l->products[c];
    char name[HSDI_TILE_NAME_BYTES], defines[HSDI_TILE_DEFINES_BYTES];
    of->tile = g->device->tiles.tiles.of[hsdi_tile_type_index(type)][c];
    of->width = product_width(p, &of->tile);
    bool is_panels = of->tile.kind == HSDI_TILE_PANELS;
    if (is_panels ? !weight_of(&p->parts[0])->panels : !weight_of(&p->parts[0])->blocks) {
        return hsdi_fail(err, HSD_EINVAL, g->device->base.info.name,
                         "weights were laid out for another table of sizes");
    }
    for (int i = 0; i < c; i++) {
        if (hsdi_tile_equals(&l->products[i].tile, &of->tile)) {
            of->kernel = l->products[i].kernel;
            l->n_products = c + 1;
            return HSD_OK;
        }
    }
    hsdi_launch_args a = {.device = g->device, .err = err, .launch = l};
    hsdi_tile_name(&of->tile, type, name);
    hsdi_tile_defines(&of->tile, type, defines);
    hsd_status status =
        g->device->driver->kernel_create(g->device, name, defines, &of->kernel, err);
    if (status != HSD_OK) {
        return status;
    }
    l->n_products = c + 1;
    l->n_external = 0; // the same arguments once more
    a.kernel = of->kernel;
    if (is_panels) {
        panels_args(g, p, &of->tile, &a);
    } else {
        blocks_args(g, p, &of->tile, &a);
    }
    return a.status;
}

static hsd_status add_product(hsdi_launch_graph *g, const product *p, hsd_error *err)
{
    hsdi_launch *l = &g->launches[g->n_launches++];
    hsd_status status = HSD_OK;
    *l = (hsdi_launch){.layer = -1};
    for (int c = 0; c <= hsdi_tile_class(g->base.n_rows_max) && status == HSD_OK; c++) {
        status = add_class(g, p, l, c, err);
    }
    return status;
}

/// How many parts from the first on one launch computes.
static int count_together(const hsdi_launch_graph *g, const hsdi_part *parts, int n)
{
    hsdi_type type = parts[0].w->type;
    int together = 1;
    while (together < n && hsdi_tiles_lay_out(&g->device->tiles.tiles, type) &&
           parts[together].w->type == type) {
        together++;
    }
    return together;
}

static hsd_status add_matmul(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsd_status status = add_pre(g, op, err);
    bool packs = false;
    for (int i = 0; i < op->n_parts; i++) {
        packs = packs || hsdi_launch_is_packed(g->device, op->parts[i].w->type);
    }
    if (status == HSD_OK && packs) {
        status = add_pack(g, op, err);
    }
    for (int i = 0; i < op->n_parts && status == HSD_OK;) {
        int n = count_together(g, op->parts + i, op->n_parts - i);
        status = add_product(g, &(product){op, op->parts + i, n}, err);
        i += n;
    }
    return status;
}

/// All heads in one launch; the rows of a submission are set when it starts.
static hsd_status add_heads(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    const hsdi_part *part = &op->parts[0];
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "heads_", hsdi_type_find(part->w->type)->name, &a, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_launch *l = add(g, &a, round_up((size_t)op->y.width));
    arg_blocks(&a, part->w);
    hsdi_launch_arg_int(&a, part->w->n_in);
    hsdi_launch_arg_int(&a, part->w->n_out);
    hsdi_launch_arg_int(&a, op->n_head);
    // Without a bias any memory will do: it is not read.
    hsdi_launch_arg_memory(&a, part->bias ? vector_of(part->bias)
                                          : ((const hsdi_launch_weight *)part->w)->blocks);
    hsdi_launch_arg_int(&a, part->bias != NULL);
    arg_view(&a, g, &op->x, 0);
    arg_view(&a, g, &op->y, 0);
    l->arg = a.n;
    l->n_tile_rows = HSDI_OPENCL_HEAD_ROWS;
    return a.status;
}

static hsd_status add_embed(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    const struct hsdi_weight *w = op->parts[0].w;
    bool by_pos = op->kind == HSDI_OP_EMBED_POS;
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "embed_", hsdi_type_find(w->type)->name, &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up(((size_t)w->n_in + 15) / 16));
    arg_blocks(&a, w);
    hsdi_launch_arg_int(&a, w->n_in);
    hsdi_launch_arg_memory(&a, g->table);
    hsdi_launch_arg_int(&a, by_pos ? HSDI_JOB_POS : HSDI_JOB_TOKEN);
    hsdi_launch_arg_int(&a, by_pos);
    arg_view(&a, g, &op->y, 0);
    return a.status;
}

static hsd_status add_rope(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    const hsdi_heads *h = &g->heads;
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "rope", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, round_up((size_t)op->n_head * (size_t)h->n_rot / 2));
    arg_view(&a, g, &op->y, 0);
    hsdi_launch_arg_int(&a, op->n_head);
    hsdi_launch_arg_int(&a, h->d_head);
    hsdi_launch_arg_int(&a, h->n_rot);
    hsdi_launch_arg_int(&a, h->neox);
    hsdi_launch_arg_memory(&a, g->rope_table);
    hsdi_launch_arg_memory(&a, g->table);
    return a.status;
}

/// "attn", "attn_f16": kernels that read or write cells, by their type.
static const char *of_type(const hsdi_launch_graph *g)
{
    static const char *const suffixes[HSD_N_CACHE_TYPES] = {"", "_f16", "_q8_0"};
    return suffixes[g->base.cache_type];
}

static hsd_status add_store(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    bool is_el = op->layout == HSDI_LAYOUT_EL; // one head as wide as the layer's input
    int n_kv = is_el ? 1 : g->heads.n_kv, d_head = op->x.width / n_kv;
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "store", of_type(g), &a, err);
    if (status != HSD_OK) {
        return status;
    }
    bool is_f32 = g->base.cache_type == HSD_CACHE_F32;
    int n = is_f32 ? op->x.width : n_kv * ((d_head + 31) / 32);
    hsdi_launch *l = add(g, &a, round_up((size_t)n));
    arg_view(&a, g, &op->x, 0);
    arg_view(&a, g, &op->y, 0);
    hsdi_launch_arg_int(&a, is_f32 ? op->x.width : n_kv);
    if (!is_f32) {
        hsdi_launch_arg_int(&a, d_head);
    }
    hsdi_launch_arg_memory(&a, g->table);
    l->arg = a.n;
    l->layer = op->layer;
    return a.status;
}

/// Heads of queries, and what they share: a layer's input is one key and value for all.
typedef struct attn_shape {
    int n_head, n_kv, d_head;
} attn_shape;

static attn_shape attn_shape_of(const hsdi_heads *h, const hsdi_op *op)
{
    bool is_el = op->layout == HSDI_LAYOUT_EL;
    int n_head = is_el ? op->n_head : h->n_head;
    return (attn_shape){n_head, is_el ? 1 : h->n_kv, op->x.width / n_head};
}

size_t hsdi_launch_chunk_bytes(const hsdi_launch_graph *g, const hsdi_heads *heads,
                               const hsdi_op *op)
{
    size_t n_chunks = ((size_t)g->base.n_ctx + HSDI_OPENCL_CHUNK - 1) / HSDI_OPENCL_CHUNK;
    if (op->kind != HSDI_OP_ATTN || g->device->split_groups == 0 || n_chunks < 2) {
        return 0;
    }
    attn_shape s = attn_shape_of(heads, op);
    size_t n = (size_t)g->base.n_rows_max * (size_t)s.n_head;
    size_t most = (size_t)g->device->split_groups; // with more no chunks are made
    return (n < most ? n : most) * n_chunks * (2 + (size_t)s.d_head) * sizeof(float);
}

/// Attention over all positions, or over chunks, which go into `chunks`.
static hsd_status add_attn_kernel(hsdi_launch_graph *g, const hsdi_op *op, bool by_chunk,
                                  hsd_error *err)
{
    attn_shape s = attn_shape_of(&g->heads, op);
    hsdi_launch_args a;
    hsd_status status = args_begin(g, by_chunk ? "attn_part" : "attn", of_type(g), &a, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_launch *l = add(g, &a, (size_t)s.n_head * HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    if (by_chunk) {
        hsdi_launch_arg_memory(&a, g->chunks);
    } else {
        arg_view(&a, g, &op->y, 0);
    }
    hsdi_launch_arg_int(&a, s.n_head);
    hsdi_launch_arg_int(&a, s.n_kv);
    hsdi_launch_arg_int(&a, s.d_head);
    arg_float(&a, g->heads.scale);
    // Local memory: a chunk, and what all have given together.
    hsdi_launch_arg(&a, (by_chunk ? 1 : 2) * (size_t)s.d_head * sizeof(float), NULL);
    hsdi_launch_arg_memory(&a, g->table);
    l->arg = a.n;
    l->layer = op->layer;
    return a.status;
}

static hsd_status add_attn_join(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    attn_shape s = attn_shape_of(&g->heads, op);
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "attn_join", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_launch *l = add(g, &a, (size_t)s.n_head * HSDI_OPENCL_GROUP);
    hsdi_launch_arg_memory(&a, g->chunks);
    arg_view(&a, g, &op->y, 0);
    hsdi_launch_arg_int(&a, s.n_head);
    hsdi_launch_arg_int(&a, s.d_head);
    hsdi_launch_arg_memory(&a, g->table);
    l->arg = a.n;
    l->layer = op->layer;
    return a.status;
}

/// One launch, and two more where it may be cut.
static hsd_status add_attn(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsdi_launch *whole = &g->launches[g->n_launches];
    hsd_status status = add_attn_kernel(g, op, false, err);
    if (status != HSD_OK || hsdi_launch_chunk_bytes(g, &g->heads, op) == 0) {
        return status;
    }
    whole->n_split = 2;
    status = add_attn_kernel(g, op, true, err);
    return status == HSD_OK ? add_attn_join(g, op, err) : status;
}

/// Columns of a row for one group.
enum { TOP_CHUNK = 1024 };

static int n_chunks_of(const hsdi_op *op)
{
    return (op->x.width + TOP_CHUNK - 1) / TOP_CHUNK;
}

size_t hsdi_launch_parts_width(const hsdi_op *op)
{
    switch (op->kind) {
    case HSDI_OP_TOP:
        return (size_t)n_chunks_of(op) * (size_t)hsdi_top_width(op->y.width / 2, true);
    case HSDI_OP_DRAW: // see kernels/opencl/draw.cl
        return 3 + (size_t)n_chunks_of(op) * (2 * (size_t)op->n_top + 2);
    default:
        return 0;
    }
}

static hsd_status add_top(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    int n_chunks = n_chunks_of(op), n_top = op->y.width / 2;
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "top_parts", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, (size_t)n_chunks * HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    hsdi_launch_arg_int(&a, op->x.width);
    hsdi_launch_arg_int(&a, TOP_CHUNK);
    hsdi_launch_arg_int(&a, n_top);
    hsdi_launch_arg_int(&a, op->y.width % 2);
    hsdi_launch_arg_memory(&a, g->parts);
    if (a.status != HSD_OK || (status = args_begin(g, "top_merge", "", &a, err)) != HSD_OK) {
        return a.status != HSD_OK ? a.status : status;
    }
    add(g, &a, HSDI_OPENCL_GROUP);
    hsdi_launch_arg_memory(&a, g->parts);
    hsdi_launch_arg_int(&a, n_chunks);
    hsdi_launch_arg_int(&a, n_top);
    hsdi_launch_arg_int(&a, op->y.width % 2);
    arg_view(&a, g, &op->y, 0);
    return a.status;
}

/// A launch for every chunk, or one, per row: its arguments begin with the rows and their columns,
/// go on with `number` and the length of the list, and end with `parts`.
static hsd_status add_draw_step(hsdi_launch_graph *g, const hsdi_op *op, const char *name,
                                bool by_chunk, bool has_record, hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status = args_begin(g, name, "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, (size_t)(by_chunk ? n_chunks_of(op) : 1) * HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    hsdi_launch_arg_int(&a, op->x.width);
    hsdi_launch_arg_int(&a, by_chunk ? TOP_CHUNK : n_chunks_of(op));
    hsdi_launch_arg_int(&a, op->n_top);
    if (has_record) {
        hsdi_launch_arg_memory(&a, g->table);
    }
    hsdi_launch_arg_memory(&a, g->parts);
    return a.status;
}

static hsd_status add_draw_edit(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status = args_begin(g, "draw_edit", "", &a, err);
    if (status != HSD_OK) {
        return status;
    }
    add(g, &a, HSDI_OPENCL_GROUP);
    arg_view(&a, g, &op->x, 0);
    hsdi_launch_arg_memory(&a, g->table);
    return a.status;
}

static hsd_status add_draw(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
{
    hsdi_launch_args a;
    hsd_status status;
    if ((status = add_draw_edit(g, op, err)) != HSD_OK ||
        (status = add_draw_step(g, op, "draw_best", true, false, err)) != HSD_OK ||
        (status = add_draw_step(g, op, "draw_cut", false, true, err)) != HSD_OK ||
        (status = add_draw_step(g, op, "draw_parts", true, true, err)) != HSD_OK ||
        (status = args_begin(g, "draw_merge", "", &a, err)) != HSD_OK) {
        return status;
    }
    add(g, &a, HSDI_OPENCL_GROUP);
    hsdi_launch_arg_memory(&a, g->parts);
    hsdi_launch_arg_int(&a, n_chunks_of(op));
    hsdi_launch_arg_int(&a, op->n_top);
    hsdi_launch_arg_int(&a, op->y.width == hsdi_draw_width(op->n_top, true));
    hsdi_launch_arg_memory(&a, g->table);
    arg_view(&a, g, &op->y, 0);
    return a.status;
}

hsd_status hsdi_launch_add(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err)
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
    case HSDI_OP_NORM:
        return add_norm(g, op, &op->y, err);
    case HSDI_OP_HEADS:
        return add_heads(g, op, err);
    case HSDI_OP_TOP:
        return add_top(g, op, err);
    case HSDI_OP_DRAW:
        return add_draw(g, op, err);
    case HSDI_N_OPS:
        break;
    }
    return hsdi_fail(err, HSD_EUNSUPPORTED, "graph", "operation of kind %d", (int)op->kind);
}
