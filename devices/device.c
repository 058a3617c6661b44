/// The front end of all backends: checks arguments, takes turns, counts.
#include "devices/device.h"

#include "base/error.h"
#include "devices/backend.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hsdi_device_init(hsdi_device *device, const hsdi_backend *ops, int n_threads)
{
    device->ops = ops;
    device->info.backend = ops->name;
    device->info.n_threads = n_threads;
    device->info.has_top = ops->has_top;
    pthread_mutex_init(&device->turn, NULL);
    atomic_init(&device->n_submitted, 0);
}

void hsdi_device_fini(hsdi_device *device)
{
    pthread_mutex_destroy(&device->turn);
}

void hsdi_device_close(hsdi_device **device)
{
    if (device && *device) {
        (*device)->ops->device_close(*device);
        *device = NULL;
    }
}

const hsdi_device_info *hsdi_device_get_info(const hsdi_device *device)
{
    return &device->info;
}

int64_t hsdi_device_n_submitted(const hsdi_device *device)
{
    return atomic_load(&device->n_submitted);
}

static hsd_status create_weight(hsdi_device *device, hsdi_type type, int n_heads, int n_out,
                                int n_in, const void *data, int uses, hsdi_weight **out,
                                hsd_error *err)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    if (!device || !data || !out || (uses & ~HSDI_USE_STAYS) == 0) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "device, data, use and result are required");
    }
    if (!info) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "weight", "element type %d is not known",
                         (int)type);
    }
    if (n_out < 1 || n_in < 1 || n_in % info->block_elems != 0 || n_out > INT_MAX - HSDI_GROUP) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "shape [%d, %d] does not suit %s", n_out, n_in,
                         info->name);
    }
    if ((uses & HSDI_USE_HEADS) != 0 && n_heads == 0) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "one matrix is no operand per head");
    }
    if ((uses & HSDI_USE_VECTOR) && n_out != 1) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "a vector has one row, not %d", n_out);
    }
    struct hsdi_weight shape = {.ops = device->ops,
                                .type = type,
                                .n_heads = n_heads,
                                .n_out = n_out,
                                .n_in = n_in,
                                .uses = uses};
    return device->ops->weight_create(device, &shape, data, out, err);
}

hsd_status hsdi_weight_create(hsdi_device *device, hsdi_type type, int n_out, int n_in,
                              const void *data, int uses, hsdi_weight **out, hsd_error *err)
{
    return create_weight(device, type, 0, n_out, n_in, data, uses, out, err);
}

hsd_status hsdi_weight_create_heads(hsdi_device *device, hsdi_type type, int n_heads, int n_out,
                                    int n_in, const void *data, int uses, hsdi_weight **out,
                                    hsd_error *err)
{
    if (n_heads < 1 || n_out < 1 || n_out > (INT_MAX - HSDI_GROUP) / n_heads ||
        (uses & ~(HSDI_USE_HEADS | HSDI_USE_STAYS))) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "%d heads of [%d, %d]", n_heads, n_out, n_in);
    }
    return create_weight(device, type, n_heads, n_out, n_in, data, uses, out, err);
}

void hsdi_weight_destroy(hsdi_weight **weight)
{
    if (weight && *weight) {
        (*weight)->ops->weight_destroy(*weight);
        *weight = NULL;
    }
}

bool hsdi_weight_is_held(const hsdi_weight *weight)
{
    return weight && weight->ops->weight_is_held && weight->ops->weight_is_held(weight);
}

size_t hsdi_weight_bytes(const hsdi_weight *weight)
{
    return weight->size_bytes;
}

static bool cache_desc_ok(const hsdi_cache_desc *d)
{
    return d && d->n_layers >= 1 && d->n_cells >= 1 && d->width >= 1 && d->d_head >= 0 &&
           (d->d_head == 0 || d->width % d->d_head == 0) && (int)d->type >= 0 &&
           d->type < HSD_N_CACHE_TYPES && d->el_width >= 0;
}

/// Layers of a cache as they are described; NULL when memory is short. *has_el: one keeps its
/// input.
static hsdi_cache_layer *make_layers(const hsdi_cache_desc *d, bool *has_el)
{
    hsdi_cache_layer *layers = calloc((size_t)d->n_layers, sizeof *layers);
    int n_el = 0;
    for (int i = 0; layers && i < d->n_layers; i++) {
        layers[i].layout = d->layouts ? d->layouts[i] : HSDI_LAYOUT_KV;
        layers[i].n_el = n_el;
        n_el += layers[i].layout == HSDI_LAYOUT_EL;
    }
    *has_el = n_el > 0;
    return layers;
}

hsd_status hsdi_cache_create(hsdi_device *device, const hsdi_cache_desc *desc, hsdi_cache **out,
                             hsd_error *err)
{
    if (!device || !out || !cache_desc_ok(desc)) {
        return hsdi_fail(
            err, HSD_EINVAL, "cache", "%d layers of %d cells of %d elements, heads of %d, type %d",
            desc ? desc->n_layers : 0, desc ? desc->n_cells : 0, desc ? desc->width : 0,
            desc ? desc->d_head : 0, desc ? (int)desc->type : 0);
    }
    if (!(device->ops->cache_types & 1u << desc->type)) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name, "has no caches of type %s",
                         hsd_cache_type_name(desc->type));
    }
    bool has_el;
    hsdi_cache_layer *layers = make_layers(desc, &has_el);
    if (!layers || (has_el && (!device->ops->has_el || desc->el_width < 1))) {
        bool is_short = !layers;
        free(layers);
        return is_short ? hsdi_fail(err, HSD_ENOMEM, "cache", "%d layers", desc->n_layers)
               : desc->el_width < 1 ? hsdi_fail(err, HSD_EINVAL, "cache",
                                                "layers' input of %d elements", desc->el_width)
                                    : hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name,
                                                "has no caches of layers' input");
    }
    struct hsdi_cache shape = {.ops = device->ops,
                               .el_width = desc->el_width,
                               .layers = layers,
                               .n_layers = desc->n_layers,
                               .n_cells = desc->n_cells,
                               .width = desc->width,
                               .d_head = desc->d_head ? desc->d_head : desc->width,
                               .type = desc->type};
    hsd_status status = device->ops->cache_create(device, &shape, out, err);
    if (status != HSD_OK) {
        free(layers);
    }
    return status;
}

void hsdi_cache_destroy(hsdi_cache **cache)
{
    if (cache && *cache) {
        void *layers = (void *)(uintptr_t)(*cache)->layers;
        (*cache)->ops->cache_destroy(*cache);
        free(layers);
        *cache = NULL;
    }
}

size_t hsdi_cache_bytes(const hsdi_cache *cache)
{
    return cache->size_bytes;
}

size_t hsdi_cache_desc_bytes(const hsdi_cache_desc *d)
{
    int d_head = d->d_head > 0 ? d->d_head : d->width;
    size_t kv = 2 * (size_t)(d->width / d_head) * hsdi_cache_head_bytes(d->type, d_head), n = 0;
    for (int i = 0; i < d->n_layers; i++) {
        bool el = d->layouts && d->layouts[i] == HSDI_LAYOUT_EL;
        n += el ? hsdi_cache_head_bytes(d->type, d->el_width) : kv;
    }
    return (size_t)d->n_cells * n;
}

size_t hsdi_cache_bytes_per_cell(const hsdi_cache *cache)
{
    return cache->size_bytes / (size_t)cache->n_cells;
}

void hsdi_cache_describe(const hsdi_cache *c, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "%s", hsd_cache_type_name(c->type));
    for (int begin = 0, end; begin < c->n_layers && n < cap; begin = end) {
        bool el = c->layers[begin].layout == HSDI_LAYOUT_EL;
        for (end = begin + 1; end < c->n_layers && c->layers[end].layout == c->layers[begin].layout;
             end++) {
        }
        n += (size_t)snprintf(out + n, cap - n, ", %d layers of %s of %d", end - begin,
                              el ? "inputs" : "keys and values", el ? c->el_width : c->width);
    }
}

static hsd_status check_cells(const hsdi_device *device, const hsdi_cache *cache, int first, int n,
                              const void *bytes, hsd_error *err)
{
    if (!device || !cache || !bytes || cache->ops != device->ops) {
        return hsdi_fail(err, HSD_EINVAL, "cache", "device, cache and bytes are required");
    }
    if (first < 0 || n < 1 || n > cache->n_cells || first > cache->n_cells - n) {
        return hsdi_fail(err, HSD_EINVAL, "cell", "%d cells from %d on, of %d", n, first,
                         cache->n_cells);
    }
    return device->ops->cache_read && device->ops->cache_write
               ? HSD_OK
               : hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name, "gives no cells away");
}

hsd_status hsdi_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                           void *out, hsd_error *err)
{
    hsd_status status = check_cells(device, cache, first, n, out, err);
    if (status == HSD_OK) {
        pthread_mutex_lock(&device->turn);
        status = device->ops->cache_read(device, cache, first, n, out, err);
        pthread_mutex_unlock(&device->turn);
    }
    return status;
}

hsd_status hsdi_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                            const void *bytes, hsd_error *err)
{
    hsd_status status = check_cells(device, cache, first, n, bytes, err);
    if (status == HSD_OK) {
        pthread_mutex_lock(&device->turn);
        status = device->ops->cache_write(device, cache, first, n, bytes, err);
        pthread_mutex_unlock(&device->turn);
    }
    return status;
}

void hsdi_cache_discard(hsdi_cache *cache, int first, int n)
{
    if (cache->ops->cache_discard && first >= 0 && n >= 1 && first <= cache->n_cells - n) {
        cache->ops->cache_discard(cache, first, n);
    }
}

hsd_status hsdi_buffer_create(hsdi_device *device, int n_rows, int width, hsdi_buffer **out,
                              hsd_error *err)
{
    if (!device || !out || n_rows < 1 || width < 1) {
        return hsdi_fail(err, HSD_EINVAL, "buffer", "%d rows of %d elements", n_rows, width);
    }
    struct hsdi_buffer shape = {.ops = device->ops, .n_rows = n_rows, .width = width};
    return device->ops->buffer_create(device, &shape, out, err);
}

void hsdi_buffer_destroy(hsdi_buffer **buffer)
{
    if (buffer && *buffer) {
        (*buffer)->ops->buffer_destroy(*buffer);
        *buffer = NULL;
    }
}

float *hsdi_buffer_map(hsdi_buffer *buffer)
{
    return buffer->ops->buffer_map(buffer);
}

static int width_of(const hsdi_graph_desc *d, int value)
{
    if (value == HSDI_VALUE_IN) {
        return d->in_width;
    }
    if (value == HSDI_VALUE_OUT) {
        return d->out_width;
    }
    return value >= 0 && value < d->n_values ? d->value_width[value] : 0;
}

static bool view_ok(const hsdi_graph_desc *d, const hsdi_view *v)
{
    int width = width_of(d, v->value);
    return v->offset >= 0 && v->width >= 1 && v->offset <= width && v->width <= width - v->offset;
}

static bool use_ok(const hsdi_backend *ops, const hsdi_weight *w, int use, int n_in)
{
    return w && w->ops == ops && (w->uses & use) != 0 && w->n_in == n_in;
}

static bool matmul_ok(const hsdi_backend *ops, const hsdi_op *op)
{
    int n_in = op->pre == HSDI_PRE_SILU_MUL ? op->x.width / 2 : op->x.width;
    if ((op->pre == HSDI_PRE_RMS_NORM || op->pre == HSDI_PRE_LAYER_NORM) &&
        !use_ok(ops, op->norm_w, HSDI_USE_VECTOR, n_in)) {
        return false;
    }
    if (op->pre == HSDI_PRE_SILU_MUL && op->x.width % 2 != 0) {
        return false;
    }
    if (op->norm_b && !use_ok(ops, op->norm_b, HSDI_USE_VECTOR, n_in)) {
        return false;
    }
    for (int i = 0; i < op->n_parts; i++) {
        const hsdi_part *p = &op->parts[i];
        if (!use_ok(ops, p->w, HSDI_USE_MATMUL, n_in) || p->y_offset < 0 ||
            p->y_offset > op->y.width - p->w->n_out ||
            (p->bias && !use_ok(ops, p->bias, HSDI_USE_VECTOR, p->w->n_out))) {
            return false;
        }
    }
    return op->n_parts >= 1;
}

static bool norm_ok(const hsdi_backend *ops, const hsdi_op *op)
{
    return (op->pre == HSDI_PRE_RMS_NORM || op->pre == HSDI_PRE_LAYER_NORM) &&
           op->x.width == op->y.width && op->x.value != op->y.value &&
           use_ok(ops, op->norm_w, HSDI_USE_VECTOR, op->x.width) &&
           (!op->norm_b || use_ok(ops, op->norm_b, HSDI_USE_VECTOR, op->x.width));
}

static bool heads_product_ok(const hsdi_backend *ops, const hsdi_op *op)
{
    const struct hsdi_weight *w = op->parts[0].w, *bias = op->parts[0].bias;
    return op->n_parts == 1 && op->n_head >= 1 && op->x.width % op->n_head == 0 &&
           op->y.width % op->n_head == 0 && op->x.value != op->y.value &&
           use_ok(ops, w, HSDI_USE_HEADS, op->x.width / op->n_head) && w->n_heads == op->n_head &&
           w->n_out == op->y.width / op->n_head &&
           (!bias || use_ok(ops, bias, HSDI_USE_VECTOR, op->y.width));
}

/// Keys and values of the graph's heads, or the input of a layer once for all of its heads.
static bool store_ok(const hsdi_heads *h, const hsdi_op *op)
{
    int width = h->n_kv * h->d_head;
    return op->layer >= 0 && op->y.width == op->x.width &&
           (op->layout == HSDI_LAYOUT_EL || op->x.width == width);
}

static bool attn_ok(const hsdi_heads *h, const hsdi_op *op)
{
    bool is_el = op->layout == HSDI_LAYOUT_EL;
    return op->layer >= 0 && op->y.width == op->x.width && op->x.value != op->y.value &&
           (is_el ? op->n_head >= 1 && op->x.width % op->n_head == 0
                  : op->x.width == h->n_head * h->d_head);
}

static bool op_ok(const hsdi_graph_desc *d, const hsdi_backend *ops, const hsdi_op *op)
{
    const hsdi_heads *h = &d->heads;
    if (!view_ok(d, &op->y) || op->n_parts < 0 || op->n_parts > HSDI_GRAPH_MAX_PARTS) {
        return false;
    }
    switch (op->kind) {
    case HSDI_OP_EMBED:
        return op->n_parts == 1 && use_ok(ops, op->parts[0].w, HSDI_USE_ROWS, op->y.width) &&
               op->parts[0].w->n_out >= d->n_vocab && d->n_vocab > 0;
    case HSDI_OP_EMBED_POS:
        return op->n_parts == 1 && use_ok(ops, op->parts[0].w, HSDI_USE_ROWS, op->y.width) &&
               op->parts[0].w->n_out >= d->n_ctx;
    case HSDI_OP_MATMUL:
        return view_ok(d, &op->x) && op->pre >= 0 && op->pre < HSDI_N_PRES && matmul_ok(ops, op);
    case HSDI_OP_HEAD_NORM:
        return op->n_head >= 1 && op->y.width == op->n_head * h->d_head &&
               use_ok(ops, op->norm_w, HSDI_USE_VECTOR, h->d_head);
    case HSDI_OP_ROPE:
        return op->n_head >= 1 && op->y.width == op->n_head * h->d_head && h->n_rot >= 2 &&
               h->rope_freqs;
    case HSDI_OP_STORE:
        return view_ok(d, &op->x) && store_ok(h, op);
    case HSDI_OP_ATTN:
        return view_ok(d, &op->x) && attn_ok(h, op);
    case HSDI_OP_COPY:
        return view_ok(d, &op->x) && op->x.width == op->y.width;
    case HSDI_OP_TOP:
        return view_ok(d, &op->x) && op->x.value != op->y.value && op->y.width >= 2 &&
               op->y.width <= hsdi_top_width(HSDI_TOP_LIST_MAX, true) &&
               op->x.width <= HSDI_TOP_TOKENS_MAX;
    case HSDI_OP_DRAW:
        return view_ok(d, &op->x) && op->x.value != op->y.value && op->x.value != HSDI_VALUE_OUT &&
               op->n_top >= 1 && op->n_top <= HSDI_TOP_LIST_MAX &&
               (op->y.width == hsdi_draw_width(op->n_top, false) ||
                op->y.width == hsdi_draw_width(op->n_top, true)) &&
               op->x.width <= HSDI_TOP_TOKENS_MAX;
    case HSDI_OP_NORM:
        return view_ok(d, &op->x) && norm_ok(ops, op);
    case HSDI_OP_HEADS:
        return view_ok(d, &op->x) && heads_product_ok(ops, op);
    case HSDI_N_OPS:
        break;
    }
    return false;
}

static bool heads_ok(const hsdi_heads *h)
{
    if (h->n_head == 0) {
        return true; // no attention in this graph
    }
    return h->n_head >= 1 && h->n_kv >= 1 && h->d_head >= 1 && h->n_head % h->n_kv == 0 &&
           h->n_rot >= 0 && h->n_rot % 2 == 0 && h->n_rot <= h->d_head &&
           h->n_head <= INT_MAX / h->d_head;
}

static bool uses_cache(const hsdi_op *op)
{
    return op->kind == HSDI_OP_STORE || op->kind == HSDI_OP_ATTN;
}

static bool is_el(const hsdi_op *op)
{
    return op->kind == HSDI_OP_NORM || op->kind == HSDI_OP_HEADS ||
           (uses_cache(op) && op->layout == HSDI_LAYOUT_EL);
}

/// What a graph wants of its caches: a layout per layer, the same width of all inputs.
static hsd_status find_layouts(const hsdi_graph_desc *desc, struct hsdi_graph *shape,
                               hsd_error *err)
{
    const char *name = desc->name ? desc->name : "graph";
    shape->layouts = calloc((size_t)shape->n_layers + 1, sizeof *shape->layouts);
    if (!shape->layouts) {
        return hsdi_fail(err, HSD_ENOMEM, name, "%d layers", shape->n_layers);
    }
    memset(shape->layouts, -1, (size_t)shape->n_layers);
    for (int i = 0; i < desc->n_ops; i++) {
        const hsdi_op *op = &desc->ops[i];
        if (!uses_cache(op)) {
            continue;
        }
        bool el = op->layout == HSDI_LAYOUT_EL;
        int width = el && op->kind == HSDI_OP_ATTN ? op->x.width / op->n_head : op->x.width;
        int8_t *layout = &shape->layouts[op->layer];
        if ((*layout >= 0 && *layout != (int8_t)op->layout) ||
            (el && shape->el_width > 0 && shape->el_width != width)) {
            return hsdi_fail(err, HSD_EINVAL, name,
                             "operation %d: layer %d has another layout or width elsewhere", i,
                             op->layer);
        }
        *layout = (int8_t)op->layout;
        shape->el_width = el ? width : shape->el_width;
    }
    return HSD_OK;
}

hsd_status hsdi_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc, hsdi_graph **out,
                              hsd_error *err)
{
    if (!device || !desc || !out || (unsigned)desc->cache_type >= HSD_N_CACHE_TYPES ||
        desc->n_rows_max < 1 || desc->n_ops < 1 || desc->n_ctx < 1 || !heads_ok(&desc->heads)) {
        return hsdi_fail(err, HSD_EINVAL, "graph", "rows, operations, context or heads are wrong");
    }
    struct hsdi_graph shape = {.device = device,
                               .n_rows_max = desc->n_rows_max,
                               .in_width = desc->in_width,
                               .out_width = desc->out_width,
                               .n_vocab = desc->n_vocab,
                               .n_ctx = desc->n_ctx,
                               .cache_width = desc->heads.n_kv * desc->heads.d_head,
                               .cache_d_head = desc->heads.d_head,
                               .cache_type = desc->cache_type};
    for (int i = 0; i < desc->n_ops; i++) {
        const hsdi_op *op = &desc->ops[i];
        if (!op_ok(desc, device->ops, op)) {
            return hsdi_fail(err, HSD_EINVAL, desc->name ? desc->name : "graph",
                             "operation %d (kind %d) has operands that do not fit", i,
                             (int)op->kind);
        }
        bool draws = op->kind == HSDI_OP_DRAW;
        if ((op->kind == HSDI_OP_TOP || draws) && !device->ops->has_top) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name,
                             "operation %d: makes no lists of the largest", i);
        }
        if (draws && shape.draw_width > 0) {
            return hsdi_fail(err, HSD_EINVAL, desc->name ? desc->name : "graph",
                             "operation %d draws once more", i);
        }
        if (is_el(op) && !device->ops->has_el) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name,
                             "operation %d: has no EL-attention", i);
        }
        shape.draw_width = draws ? op->x.width : shape.draw_width;
        if (uses_cache(op) && op->layer >= shape.n_layers) {
            shape.n_layers = op->layer + 1;
        }
    }
    hsd_status status = find_layouts(desc, &shape, err);
    if (status == HSD_OK) {
        status = device->ops->graph_compile(device, desc, &shape, out, err);
    }
    if (status != HSD_OK) {
        free(shape.layouts);
    }
    return status;
}

void hsdi_graph_destroy(hsdi_graph **graph)
{
    if (graph && *graph) {
        int8_t *layouts = (*graph)->layouts;
        (*graph)->device->ops->graph_destroy(*graph);
        free(layouts);
        *graph = NULL;
    }
}

static hsd_status check_rows(const hsdi_graph *g, const hsdi_job *job, hsd_error *err)
{
    int n_cells = g->n_layers ? job->cache->n_cells : 0;
    for (int r = 0; r < job->n_rows; r++) {
        if (g->n_vocab && (job->tokens[r] < 0 || job->tokens[r] >= g->n_vocab)) {
            return hsdi_fail(err, HSD_EINVAL, "tokens", "row %d: token %d is not below %d", r,
                             job->tokens[r], g->n_vocab);
        }
        if (job->pos[r] < 0 || job->pos[r] >= g->n_ctx) {
            return hsdi_fail(err, HSD_EINVAL, "pos", "row %d: position %d is not below %d", r,
                             job->pos[r], g->n_ctx);
        }
        if (!g->n_layers) {
            continue;
        }
        if (job->cell[r] < 0 || job->cell[r] >= n_cells || job->n_path[r] < 1 ||
            job->n_path[r] > job->path_stride || job->n_path[r] > g->n_ctx - job->n_trunk) {
            return hsdi_fail(err, HSD_EINVAL, "cell", "row %d: cell %d or its path is out of range",
                             r, job->cell[r]);
        }
        for (int i = 0; i < job->n_path[r]; i++) {
            int32_t c = job->path[(int64_t)r * job->path_stride + i];
            if (c < 0 || c >= n_cells) {
                return hsdi_fail(err, HSD_EINVAL, "path", "row %d: cell %d is not below %d", r, c,
                                 n_cells);
            }
        }
    }
    return HSD_OK;
}

static bool layouts_match(const hsdi_graph *g, const hsdi_cache *c)
{
    bool match = g->el_width == 0 || g->el_width == c->el_width;
    for (int i = 0; i < g->n_layers && match; i++) {
        match = g->layouts[i] < 0 || g->layouts[i] == (int8_t)c->layers[i].layout;
    }
    return match;
}

static hsd_status check_job(const hsdi_graph *g, const hsdi_job *job, hsd_error *err)
{
    if (!job || job->n_rows < 1 || job->n_rows > g->n_rows_max) {
        return hsdi_fail(err, HSD_EINVAL, "n_rows", "%d rows, the graph takes 1 to %d",
                         job ? job->n_rows : 0, g->n_rows_max);
    }
    if (!job->pos || (g->n_vocab && !job->tokens)) {
        return hsdi_fail(err, HSD_EINVAL, "job", "tokens and positions are required");
    }
    if (g->in_width && (!job->in || job->in->ops != g->device->ops ||
                        job->in->width != g->in_width || job->in->n_rows < job->n_rows)) {
        return hsdi_fail(err, HSD_EINVAL, "in", "the input buffer does not suit the graph");
    }
    if (g->out_width && (!job->out || job->out->ops != g->device->ops ||
                         job->out->width != g->out_width || job->out->n_rows < job->n_rows)) {
        return hsdi_fail(err, HSD_EINVAL, "out", "the output buffer does not suit the graph");
    }
    hsd_status status =
        g->draw_width ? hsdi_draw_check(job->draws, job->n_rows, g->draw_width, err) : HSD_OK;
    if (status != HSD_OK) {
        return status;
    }
    if (g->n_layers) {
        const hsdi_cache *c = job->cache;
        if (!c || c->ops != g->device->ops || c->n_layers < g->n_layers ||
            c->width != g->cache_width || c->type != g->cache_type ||
            (c->type != HSD_CACHE_F32 && c->d_head != g->cache_d_head) || !layouts_match(g, c)) {
            return hsdi_fail(err, HSD_EINVAL, "cache", "the cache does not suit the graph");
        }
        if (!job->cell || !job->path || !job->n_path || job->n_trunk < 0 ||
            (job->n_trunk > 0 && !job->trunk)) {
            return hsdi_fail(err, HSD_EINVAL, "job", "cells, paths and trunk are required");
        }
        for (int i = 0; i < job->n_trunk; i++) {
            if (job->trunk[i] < 0 || job->trunk[i] >= c->n_cells) {
                return hsdi_fail(err, HSD_EINVAL, "trunk", "position %d: cell %d is not below %d",
                                 i, job->trunk[i], c->n_cells);
            }
        }
    }
    return check_rows(g, job, err);
}

/// What the jobs of one submission must not do together; each by itself has been checked.
static hsd_status check_together(const hsdi_graph *g, const hsdi_job *jobs, int n_jobs,
                                 hsd_error *err)
{
    int64_t n_rows = 0;
    for (int i = 0; i < n_jobs; i++) {
        n_rows += jobs[i].n_rows;
        for (int k = 0; k < i && g->out_width; k++) {
            if (jobs[k].out == jobs[i].out) {
                return hsdi_fail(err, HSD_EINVAL, "out", "jobs %d and %d share a buffer", k, i);
            }
        }
    }
    return n_rows <= g->n_rows_max ? HSD_OK
                                   : hsdi_fail(err, HSD_EINVAL, "n_rows",
                                               "%lld rows in %d jobs, the graph takes 1 to %d",
                                               (long long)n_rows, n_jobs, g->n_rows_max);
}

static hsd_status check_jobs(const hsdi_graph *g, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    if (n_jobs < 1 || n_jobs > g->n_rows_max) {
        return hsdi_fail(err, HSD_EINVAL, "n_jobs", "%d jobs, the graph takes 1 to %d", n_jobs,
                         g->n_rows_max);
    }
    if (n_jobs == 1) {
        return check_job(g, jobs, err);
    }
    for (int i = 0; i < n_jobs; i++) {
        hsd_error detail;
        hsd_status status = check_job(g, jobs ? &jobs[i] : NULL, &detail);
        if (status != HSD_OK) {
            return hsdi_fail(err, status, detail.where, "job %d: %s", i, detail.message);
        }
    }
    return check_together(g, jobs, n_jobs, err);
}

hsd_status hsdi_graph_run_all(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    hsd_status status = check_jobs(graph, jobs, n_jobs, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_device *device = graph->device;
    pthread_mutex_lock(&device->turn);
    atomic_fetch_add(&device->n_submitted, 1);
    status = device->ops->graph_run(graph, jobs, n_jobs, err);
    pthread_mutex_unlock(&device->turn);
    return status;
}

hsd_status hsdi_graph_run(hsdi_graph *graph, const hsdi_job *job, hsd_error *err)
{
    return hsdi_graph_run_all(graph, job, 1, err);
}

hsd_status hsdi_device_profile(hsdi_device *device, bool on, hsd_error *err)
{
    if (!device->ops->profile) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name, "has no times of kernels");
    }
    pthread_mutex_lock(&device->turn);
    hsd_status status = device->ops->profile(device, on, err);
    pthread_mutex_unlock(&device->turn);
    return status;
}

int hsdi_device_times(hsdi_device *device, hsdi_device_time *out, int cap)
{
    pthread_mutex_lock(&device->turn);
    int n = device->ops->times ? device->ops->times(device, out, cap) : 0;
    pthread_mutex_unlock(&device->turn);
    return n;
}

hsd_status hsdi_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                            size_t *n_bytes, hsd_error *err)
{
    if (!device->ops->weight_read) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, device->info.name, "memory cannot be measured");
    }
    if (weight->ops != device->ops || !(weight->uses & HSDI_USE_MATMUL) || way < 0 || way > 1) {
        return hsdi_fail(err, HSD_EINVAL, "weight", "no matrix of this device, or way %d", way);
    }
    pthread_mutex_lock(&device->turn);
    hsd_status status = device->ops->weight_read(device, weight, way, n_bytes, err);
    pthread_mutex_unlock(&device->turn);
    return status;
}
