/// Weights on a device and the graphs of the supported architectures.
#include "engine/weights.h"

#include "base/error.h"
#include "engine/el.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// A matrix or norm with its bias on the device.
typedef struct linear {
    hsdi_weight *w, *b;
} linear;

typedef struct layer {
    linear attn_norm, qkv, q, k, v, q_norm, k_norm, attn_out, ffn_norm, gate, up, down;
    linear keys, values; ///< of a layer that caches its input: operands per head, biases of all
} layer;

struct hsdi_weights {
    const hsdi_model *model;
    int begin, end; ///< layers that are here
    hsdi_weight *token_embd, *pos_embd;
    linear output_norm, output; ///< output.w is token_embd when the head is tied
    layer *layers;
    hsdi_layout *layouts; ///< [model's layers]
    size_t size_bytes;
};

/// Name the tensor of a weight that could not be made, else count its bytes.
static hsd_status made(hsdi_weights *ws, const hsdi_gguf_tensor *t, const hsdi_weight *weight,
                       hsd_status status, const hsd_error *detail, hsd_error *err)
{
    if (status == HSD_OK) {
        ws->size_bytes += hsdi_weight_bytes(weight);
        return HSD_OK;
    }
    (void)hsdi_fail_at(err, status, t->name, (int64_t)t->offset, "%s: %s", detail->where,
                       detail->message);
    if (err) {
        err->vendor_code = detail->vendor_code;
    }
    return status;
}

static hsd_status put(hsdi_weights *ws, hsdi_device *device, const hsdi_gguf_tensor *t, int uses,
                      hsdi_weight **out, hsd_error *err)
{
    if (!t) {
        return HSD_OK;
    }
    hsd_error detail;
    // The file stays mapped as long as the model's weights are used.
    hsd_status status = hsdi_weight_create(device, (hsdi_type)t->type, (int)t->ne[1], (int)t->ne[0],
                                           t->data, uses | HSDI_USE_STAYS, out, &detail);
    return made(ws, t, *out, status, &detail, err);
}

/// Elements of a bias.
static hsd_status put_bias(hsdi_weights *ws, hsdi_device *device, const hsdi_rows_of *of,
                           hsdi_weight **out, hsd_error *err)
{
    if (!of->t) {
        return HSD_OK;
    }
    hsd_error detail;
    float *all = malloc((size_t)of->t->ne[0] * sizeof *all);
    if (!all) {
        return hsdi_fail(err, HSD_ENOMEM, of->t->name, "%lld elements", (long long)of->t->ne[0]);
    }
    hsdi_dequant_row((hsdi_type)of->t->type, of->t->data, of->t->ne[0], all);
    hsd_status status = hsdi_weight_create(device, HSDI_TYPE_F32, 1, (int)of->n_rows, all + of->row,
                                           HSDI_USE_VECTOR, out, &detail);
    free(all);
    return made(ws, of->t, *out, status, &detail, err);
}

/// What a layer that caches its input needs instead of matrices for keys and values.
static hsd_status put_el(hsdi_weights *ws, hsdi_device *device, int i, hsd_error *err)
{
    const hsdi_model *m = ws->model;
    const hsdi_el_parts of = hsdi_el_split(m, i);
    layer *l = &ws->layers[i];
    hsd_error detail;
    hsdi_type type;
    void *keys;
    hsd_status status = hsdi_el_keys(m, &of.k, &type, &keys, err);
    if (status != HSD_OK) {
        return status;
    }
    status = hsdi_weight_create_heads(device, type, m->n_head, m->n_embd, m->d_head, keys,
                                      HSDI_USE_HEADS, &l->keys.w, &detail);
    free(keys);
    if ((status = made(ws, of.k.t, l->keys.w, status, &detail, err)) != HSD_OK) {
        return status;
    }
    status = hsdi_weight_create_heads(device, (hsdi_type)of.v.t->type, m->n_head, m->d_head,
                                      m->n_embd, hsdi_rows_data(&of.v),
                                      HSDI_USE_HEADS | HSDI_USE_STAYS, &l->values.w, &detail);
    if ((status = made(ws, of.v.t, l->values.w, status, &detail, err)) != HSD_OK) {
        return status;
    }
    status = hsdi_weight_create(device, (hsdi_type)of.q.t->type, (int)of.q.n_rows, m->n_embd,
                                hsdi_rows_data(&of.q), HSDI_USE_MATMUL | HSDI_USE_STAYS, &l->q.w,
                                &detail);
    if ((status = made(ws, of.q.t, l->q.w, status, &detail, err)) != HSD_OK ||
        (status = put_bias(ws, device, &of.q_bias, &l->q.b, err)) != HSD_OK) {
        return status;
    }
    return put_bias(ws, device, &of.v_bias, &l->values.b, err);
}

static hsd_status put_linear(hsdi_weights *ws, hsdi_device *device, const hsdi_linear *t, int uses,
                             linear *out, hsd_error *err)
{
    hsd_status status = put(ws, device, t->w, uses, &out->w, err);
    return status == HSD_OK ? put(ws, device, t->b, HSDI_USE_VECTOR, &out->b, err) : status;
}

static hsd_status put_layer(hsdi_weights *ws, hsdi_device *device, int i_layer, hsd_error *err)
{
    const hsdi_layer *t = &ws->model->layers[i_layer];
    layer *l = &ws->layers[i_layer];
    bool is_el = ws->layouts[i_layer] == HSDI_LAYOUT_EL;
    static const hsdi_linear none = {0};
    const struct {
        const hsdi_linear *from;
        linear *to;
        int uses;
    } all[] = {
        {&t->attn_norm, &l->attn_norm, HSDI_USE_VECTOR},
        {is_el ? &none : &t->qkv, &l->qkv, HSDI_USE_MATMUL},
        {is_el ? &none : &t->q, &l->q, HSDI_USE_MATMUL},
        {is_el ? &none : &t->k, &l->k, HSDI_USE_MATMUL},
        {is_el ? &none : &t->v, &l->v, HSDI_USE_MATMUL},
        {&t->q_norm, &l->q_norm, HSDI_USE_VECTOR},
        {&t->k_norm, &l->k_norm, HSDI_USE_VECTOR},
        {&t->attn_out, &l->attn_out, HSDI_USE_MATMUL},
        {&t->ffn_norm, &l->ffn_norm, HSDI_USE_VECTOR},
        {&t->gate, &l->gate, HSDI_USE_MATMUL},
        {&t->up, &l->up, HSDI_USE_MATMUL},
        {&t->down, &l->down, HSDI_USE_MATMUL},
    };
    hsd_status status = HSD_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == HSD_OK; i++) {
        status = put_linear(ws, device, all[i].from, all[i].uses, all[i].to, err);
    }
    return status == HSD_OK && is_el ? put_el(ws, device, i_layer, err) : status;
}

static hsd_status put_embedding(hsdi_weights *ws, hsdi_device *device, bool is_head, hsd_error *err)
{
    const hsdi_model *m = ws->model;
    int uses = HSDI_USE_ROWS | (is_head ? HSDI_USE_MATMUL : 0);
    hsd_status status = put(ws, device, m->token_embd, uses, &ws->token_embd, err);
    return status == HSD_OK ? put(ws, device, m->pos_embd, HSDI_USE_ROWS, &ws->pos_embd, err)
                            : status;
}

static hsd_status put_head(hsdi_weights *ws, hsdi_device *device, hsd_error *err)
{
    const hsdi_model *m = ws->model;
    hsd_status status =
        put_linear(ws, device, &m->output_norm, HSDI_USE_VECTOR, &ws->output_norm, err);
    if (status == HSD_OK) {
        status = put(ws, device, m->output.b, HSDI_USE_VECTOR, &ws->output.b, err);
    }
    if (m->tied_head && ws->token_embd) {
        ws->output.w = ws->token_embd;
    } else if (status == HSD_OK) {
        status = put(ws, device, m->tied_head ? m->token_embd : m->output.w, HSDI_USE_MATMUL,
                     &ws->output.w, err);
    }
    return status;
}

static hsd_status put_all(hsdi_weights *ws, hsdi_device *device, hsd_error *err)
{
    const hsdi_model *m = ws->model;
    bool has_head = ws->end == m->n_layers;
    hsd_status status = HSD_OK;
    if (ws->begin == 0) {
        status = put_embedding(ws, device, has_head && m->tied_head, err);
    }
    for (int i = ws->begin; i < ws->end && status == HSD_OK; i++) {
        status = put_layer(ws, device, i, err);
    }
    return status == HSD_OK && has_head ? put_head(ws, device, err) : status;
}

hsd_status hsdi_weights_create(const hsdi_model *model, int begin, int end,
                               const hsdi_layout *layouts, hsdi_device *device, hsdi_weights **out,
                               hsd_error *err)
{
    if (begin < 0 || begin >= end || end > model->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "layers", "%d to %d of %d", begin, end, model->n_layers);
    }
    hsd_status status = HSD_OK;
    for (int i = begin; i < end && layouts && status == HSD_OK; i++) {
        status = layouts[i] == HSDI_LAYOUT_EL ? hsdi_el_check(model, err) : HSD_OK;
    }
    if (status != HSD_OK) {
        return status;
    }
    size_t n = (size_t)model->n_layers;
    hsdi_weights *ws = calloc(1, sizeof *ws);
    layer *layers = calloc(n, sizeof *layers);
    hsdi_layout *own = calloc(n, sizeof *own);
    if (!ws || !layers || !own) {
        free(ws);
        free(layers);
        free(own);
        return hsdi_fail(err, HSD_ENOMEM, "weights", "%d layers", model->n_layers);
    }
    if (layouts) {
        memcpy(own, layouts, n * sizeof *own);
    }
    *ws = (hsdi_weights){
        .model = model, .begin = begin, .end = end, .layers = layers, .layouts = own};
    status = put_all(ws, device, err);
    if (status != HSD_OK) {
        hsdi_weights_destroy(&ws);
        return status;
    }
    *out = ws;
    return HSD_OK;
}

/// The file stays mapped while a device that hangs may read this weight.
static void drop_weight(hsdi_weights *ws, hsdi_weight **weight)
{
    if (hsdi_weight_is_held(*weight)) {
        hsdi_gguf_leave_mapped(ws->model->gguf);
    }
    hsdi_weight_destroy(weight);
}

static void drop(hsdi_weights *ws, linear *l)
{
    drop_weight(ws, &l->w);
    drop_weight(ws, &l->b);
}

void hsdi_weights_destroy(hsdi_weights **weights)
{
    hsdi_weights *ws = weights ? *weights : NULL;
    if (!ws) {
        return;
    }
    for (int i = 0; i < ws->model->n_layers; i++) {
        layer *l = &ws->layers[i];
        linear *all[] = {&l->attn_norm, &l->qkv,    &l->q,        &l->k,        &l->v,
                         &l->q_norm,    &l->k_norm, &l->attn_out, &l->ffn_norm, &l->gate,
                         &l->up,        &l->down,   &l->keys,     &l->values};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            drop(ws, all[k]);
        }
    }
    if (ws->output.w == ws->token_embd) {
        ws->output.w = NULL;
    }
    drop(ws, &ws->output);
    drop(ws, &ws->output_norm);
    drop_weight(ws, &ws->token_embd);
    drop_weight(ws, &ws->pos_embd);
    free(ws->layers);
    free(ws->layouts);
    free(ws);
    *weights = NULL;
}

size_t hsdi_weights_bytes(const hsdi_weights *weights)
{
    return weights->size_bytes;
}

const hsdi_model *hsdi_weights_model(const hsdi_weights *weights)
{
    return weights->model;
}

int hsdi_weights_begin(const hsdi_weights *weights)
{
    return weights->begin;
}

int hsdi_weights_end(const hsdi_weights *weights)
{
    return weights->end;
}

const hsdi_layout *hsdi_weights_layouts(const hsdi_weights *weights)
{
    return weights->layouts;
}

// ---- graph building ----

enum {
    VALUE_RESID = 0,
    VALUE_QKV = 1,
    VALUE_ATTN = 2,
    VALUE_FF = 3,
    VALUE_INPUT = 4,    ///< of a layer that caches it
    VALUE_ABSORBED = 5, ///< its queries times each head's keys
    VALUE_MIXED = 6,    ///< the weighted sums of inputs, per head
    VALUE_LOGITS = 7,
    N_VALUES = 8
};

typedef struct builder {
    const hsdi_weights *ws;
    const hsdi_model *m;
    hsdi_op *ops;
    int n_ops;
    int resid; ///< value of the residual stream
} builder;

static hsdi_view view(int value, int offset, int width)
{
    return (hsdi_view){.value = value, .offset = offset, .width = width};
}

static hsdi_op *add(builder *b, hsdi_op op)
{
    b->ops[b->n_ops] = op;
    return &b->ops[b->n_ops++];
}

static hsdi_op *add_normed(builder *b, const linear *norm, hsdi_view y)
{
    return add(b, (hsdi_op){.kind = HSDI_OP_MATMUL,
                            .x = view(b->resid, 0, b->m->n_embd),
                            .y = y,
                            .pre = b->m->rms_norm ? HSDI_PRE_RMS_NORM : HSDI_PRE_LAYER_NORM,
                            .norm_w = norm->w,
                            .norm_b = b->m->rms_norm ? NULL : norm->b,
                            .eps = b->m->norm_eps});
}

static void add_part(hsdi_op *op, const linear *l, int y_offset)
{
    op->parts[op->n_parts++] = (hsdi_part){.w = l->w, .bias = l->b, .y_offset = y_offset};
}

/// A layer that caches its normed input: stored, and unless only the cache is filled, queries
/// times keys, attention, and what comes out times values.
static void add_el(builder *b, int i, bool fill_only)
{
    const hsdi_model *m = b->m;
    const layer *l = &b->ws->layers[i];
    int d_q = m->n_head * m->d_head, wide = m->n_head * m->n_embd, at = i - b->ws->begin;
    hsdi_view input = view(VALUE_INPUT, 0, m->n_embd);
    hsdi_op norm = *add_normed(b, &l->attn_norm, input);
    norm.kind = HSDI_OP_NORM;
    b->ops[b->n_ops - 1] = norm;
    add(b,
        (hsdi_op){
            .kind = HSDI_OP_STORE, .x = input, .y = input, .layer = at, .layout = HSDI_LAYOUT_EL});
    if (fill_only) {
        return;
    }
    hsdi_view q = view(VALUE_QKV, 0, d_q), absorbed = view(VALUE_ABSORBED, 0, wide);
    hsdi_view mixed = view(VALUE_MIXED, 0, wide);
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_MATMUL, .x = input, .y = q}), &l->q, 0);
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_HEADS, .x = q, .y = absorbed, .n_head = m->n_head}),
             &l->keys, 0);
    add(b, (hsdi_op){.kind = HSDI_OP_ATTN,
                     .x = absorbed,
                     .y = mixed,
                     .n_head = m->n_head,
                     .layer = at,
                     .layout = HSDI_LAYOUT_EL});
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_HEADS,
                              .x = mixed,
                              .y = view(VALUE_ATTN, 0, d_q),
                              .n_head = m->n_head}),
             &l->values, 0);
}

static void add_qkv(builder *b, int i)
{
    const hsdi_model *m = b->m;
    const layer *l = &b->ws->layers[i];
    int d_q = m->n_head * m->d_head, d_kv = m->n_kv * m->d_head;
    hsdi_op *op = add_normed(b, &l->attn_norm, view(VALUE_QKV, 0, d_q + 2 * d_kv));
    if (l->qkv.w) {
        add_part(op, &l->qkv, 0);
    } else {
        add_part(op, &l->q, 0);
        add_part(op, &l->k, d_q);
        add_part(op, &l->v, d_q + d_kv);
    }
    const struct {
        const linear *norm;
        int n_head, offset;
    } heads[] = {{&l->q_norm, m->n_head, 0}, {&l->k_norm, m->n_kv, d_q}};
    for (int k = 0; k < 2; k++) {
        hsdi_view y = view(VALUE_QKV, heads[k].offset, heads[k].n_head * m->d_head);
        if (heads[k].norm->w) {
            add(b, (hsdi_op){.kind = HSDI_OP_HEAD_NORM,
                             .y = y,
                             .norm_w = heads[k].norm->w,
                             .eps = m->norm_eps,
                             .n_head = heads[k].n_head});
        }
        if (m->n_rot > 0) {
            add(b, (hsdi_op){.kind = HSDI_OP_ROPE, .y = y, .n_head = heads[k].n_head});
        }
    }
    add(b, (hsdi_op){.kind = HSDI_OP_STORE,
                     .x = view(VALUE_QKV, d_q, d_kv),
                     .y = view(VALUE_QKV, d_q + d_kv, d_kv),
                     .layer = i - b->ws->begin});
}

/// Attention up to the heads' outputs, or the cache alone.
static void add_attention(builder *b, int i, bool fill_only)
{
    int d_q = b->m->n_head * b->m->d_head;
    if (b->ws->layouts[i] == HSDI_LAYOUT_EL) {
        add_el(b, i, fill_only);
        return;
    }
    add_qkv(b, i);
    if (!fill_only) {
        add(b, (hsdi_op){.kind = HSDI_OP_ATTN,
                         .x = view(VALUE_QKV, 0, d_q),
                         .y = view(VALUE_ATTN, 0, d_q),
                         .layer = i - b->ws->begin});
    }
}

static void add_rest(builder *b, int i)
{
    const hsdi_model *m = b->m;
    const layer *l = &b->ws->layers[i];
    int d_q = m->n_head * m->d_head;
    hsdi_view resid = view(b->resid, 0, m->n_embd);
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_MATMUL,
                              .x = view(VALUE_ATTN, 0, d_q),
                              .y = resid,
                              .accumulate = true}),
             &l->attn_out, 0);
    int n_ff = l->gate.w ? 2 * m->n_ff : m->n_ff;
    hsdi_op *up = add_normed(b, &l->ffn_norm, view(VALUE_FF, 0, n_ff));
    if (l->gate.w) {
        add_part(up, &l->gate, 0);
    }
    add_part(up, &l->up, n_ff - m->n_ff);
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_MATMUL,
                              .x = view(VALUE_FF, 0, n_ff),
                              .y = resid,
                              .pre = l->gate.w ? HSDI_PRE_SILU_MUL : HSDI_PRE_GELU,
                              .accumulate = true}),
             &l->down, 0);
}

static int list_width(const hsdi_graph_range *r)
{
    return r->drawn ? hsdi_draw_width(r->n_list, r->with_sum)
                    : hsdi_top_width(r->n_list, r->with_sum);
}

static void add_all(builder *b, const hsdi_graph_range *r)
{
    const hsdi_model *m = b->m;
    hsdi_view resid = view(b->resid, 0, m->n_embd);
    if (r->from_tokens) {
        hsdi_op *op = add(b, (hsdi_op){.kind = HSDI_OP_EMBED, .y = resid});
        add_part(op, &(linear){.w = b->ws->token_embd}, 0);
        if (b->ws->pos_embd) {
            op = add(b, (hsdi_op){.kind = HSDI_OP_EMBED_POS, .y = resid});
            add_part(op, &(linear){.w = b->ws->pos_embd}, 0);
        }
    } else if (b->resid == HSDI_VALUE_OUT) {
        add(b, (hsdi_op){.kind = HSDI_OP_COPY, .x = view(HSDI_VALUE_IN, 0, m->n_embd), .y = resid});
    }
    for (int i = r->begin; i < r->end; i++) {
        bool fill_only = r->fill_only && i == r->end - 1; // nobody reads what follows its store
        add_attention(b, i, fill_only);
        if (!fill_only) {
            add_rest(b, i);
        }
    }
    if (r->head) {
        hsdi_view logits = view(r->n_list ? VALUE_LOGITS : HSDI_VALUE_OUT, 0, m->n_vocab);
        add_part(add_normed(b, &b->ws->output_norm, logits), &b->ws->output, 0);
        if (r->n_list) {
            add(b, (hsdi_op){.kind = r->drawn ? HSDI_OP_DRAW : HSDI_OP_TOP,
                             .x = logits,
                             .y = view(HSDI_VALUE_OUT, 0, list_width(r)),
                             .n_top = r->n_list});
        }
    }
}

hsd_status hsdi_weights_compile(const hsdi_weights *weights, hsdi_device *device,
                                const hsdi_graph_range *range, hsdi_graph **out, hsd_error *err)
{
    const hsdi_model *m = weights->model;
    bool is_empty = range->begin == range->end; // any empty range will do for a head alone
    if (range->begin < 0 || range->end > m->n_layers || range->begin > range->end ||
        (!is_empty && (range->begin < weights->begin || range->end > weights->end)) ||
        (range->from_tokens && weights->begin > 0) || (range->head && !weights->output_norm.w) ||
        range->n_ctx < 1 || range->n_ctx > hsdi_model_max_ctx(m) ||
        (range->head && range->fill_only) || (range->n_list && !range->head)) {
        return hsdi_fail(err, HSD_EINVAL, "layers",
                         "%d to %d of %d, of which %d to %d are here, context %d of %d",
                         range->begin, range->end, m->n_layers, weights->begin, weights->end,
                         range->n_ctx, m->n_ctx);
    }
    builder b = {.ws = weights, .m = m};
    b.ops = calloc((size_t)(range->end - range->begin) * 12 + 6, sizeof *b.ops);
    if (!b.ops) {
        return hsdi_fail(err, HSD_ENOMEM, "graph", "layers %d to %d", range->begin, range->end);
    }
    bool to_hidden = !range->head && !range->fill_only;
    b.resid = to_hidden ? HSDI_VALUE_OUT : !range->from_tokens ? HSDI_VALUE_IN : VALUE_RESID;
    add_all(&b, range);
    bool has_el = false;
    for (int i = range->begin; i < range->end; i++) {
        has_el = has_el || weights->layouts[i] == HSDI_LAYOUT_EL;
    }
    const int widths[N_VALUES] = {
        [VALUE_RESID] = m->n_embd,
        [VALUE_QKV] = (m->n_head + 2 * m->n_kv) * m->d_head,
        [VALUE_ATTN] = m->n_head * m->d_head,
        [VALUE_FF] = (m->arch == HSDI_ARCH_GPT2 ? 1 : 2) * m->n_ff,
        [VALUE_INPUT] = has_el ? m->n_embd : 0,
        [VALUE_ABSORBED] = has_el ? m->n_head * m->n_embd : 0,
        [VALUE_MIXED] = has_el ? m->n_head * m->n_embd : 0,
        [VALUE_LOGITS] = m->n_vocab,
    };
    char name[64];
    snprintf(name, sizeof name, "layers %d to %d", range->begin, range->end);
    hsdi_graph_desc desc = {
        .name = name,
        .n_rows_max = range->n_rows_max,
        .n_values = range->n_list ? N_VALUES : N_VALUES - 1, // logits that leave need no place
        .value_width = widths,
        .in_width = range->from_tokens ? 0 : m->n_embd,
        .out_width = range->n_list ? list_width(range)
                     : range->head ? m->n_vocab
                     : to_hidden   ? m->n_embd
                                   : 0,
        .n_ops = b.n_ops,
        .ops = b.ops,
        .heads = {.n_head = m->n_head,
                  .n_kv = m->n_kv,
                  .d_head = m->d_head,
                  .n_rot = m->n_rot,
                  .neox = m->neox,
                  .scale = 1.0f / sqrtf((float)m->d_head),
                  .rope_mscale = m->rope_mscale,
                  .rope_freqs = m->rope_freqs},
        .n_vocab = range->from_tokens ? m->n_vocab : 0,
        .n_ctx = range->n_ctx,
    };
    hsd_status status = hsdi_graph_compile(device, &desc, out, err);
    free(b.ops);
    return status;
}
