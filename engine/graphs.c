/// The graphs of the supported architectures.
#include "engine/weights_internal.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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
    hsdi_view resid; ///< the residual stream: what enters the next layer
    bool with_q;     ///< layers attend
    bool with_kv;    ///< they store; else their cells are there already
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
                            .x = b->resid,
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

/// A layer that caches its normed input: stored, and then queries times keys, attention, and what
/// comes out times values.
static void add_el(builder *b, int i)
{
    const hsdi_model *m = b->m;
    const layer *l = &b->ws->layers[i];
    int d_q = m->n_head * m->d_head, wide = m->n_head * m->n_embd, at = i - b->ws->begin;
    hsdi_view input = view(VALUE_INPUT, 0, m->n_embd);
    hsdi_op norm = *add_normed(b, &l->attn_norm, input);
    norm.kind = HSDI_OP_NORM;
    b->ops[b->n_ops - 1] = norm;
    if (b->with_kv) {
        add(b, (hsdi_op){.kind = HSDI_OP_STORE,
                         .x = input,
                         .y = input,
                         .layer = at,
                         .layout = HSDI_LAYOUT_EL});
    }
    if (!b->with_q) {
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
    } else if (b->with_q) {
        add_part(op, &l->q, 0);
    }
    if (!l->qkv.w && b->with_kv) {
        add_part(op, &l->k, d_q);
        add_part(op, &l->v, d_q + d_kv);
    }
    const struct {
        const linear *norm;
        int n_head, offset;
        bool is_wanted;
    } heads[] = {{&l->q_norm, m->n_head, 0, b->with_q}, {&l->k_norm, m->n_kv, d_q, b->with_kv}};
    for (int k = 0; k < 2; k++) {
        if (!heads[k].is_wanted) {
            continue;
        }
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
    if (b->with_kv) {
        add(b, (hsdi_op){.kind = HSDI_OP_STORE,
                         .x = view(VALUE_QKV, d_q, d_kv),
                         .y = view(VALUE_QKV, d_q + d_kv, d_kv),
                         .layer = i - b->ws->begin});
    }
}

/// Attention up to the heads' outputs, or the cache alone.
static void add_attention(builder *b, int i)
{
    int d_q = b->m->n_head * b->m->d_head;
    if (b->ws->layouts[i] == HSDI_LAYOUT_EL) {
        add_el(b, i);
        return;
    }
    add_qkv(b, i);
    if (b->with_q) {
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
    add_part(add(b, (hsdi_op){.kind = HSDI_OP_MATMUL,
                              .x = view(VALUE_ATTN, 0, d_q),
                              .y = b->resid,
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
                              .y = b->resid,
                              .pre = l->gate.w ? HSDI_PRE_SILU_MUL : HSDI_PRE_GELU,
                              .accumulate = true}),
             &l->down, 0);
}

static int list_width(const hsdi_graph_range *r)
{
    return r->drawn ? hsdi_draw_width(r->n_list, r->with_sum)
                    : hsdi_top_width(r->n_list, r->with_sum);
}

static void add_embedding(builder *b)
{
    hsdi_op *op = add(b, (hsdi_op){.kind = HSDI_OP_EMBED, .y = b->resid});
    add_part(op, &(linear){.w = b->ws->token_embd}, 0);
    if (b->ws->pos_embd) {
        op = add(b, (hsdi_op){.kind = HSDI_OP_EMBED_POS, .y = b->resid});
        add_part(op, &(linear){.w = b->ws->pos_embd}, 0);
    }
}

static void add_pass(builder *b, const hsdi_graph_range *r)
{
    const hsdi_model *m = b->m;
    bool to_hidden = !r->head && !r->fill_only;
    b->resid = view(to_hidden         ? HSDI_VALUE_OUT
                    : !r->from_tokens ? HSDI_VALUE_IN
                                      : VALUE_RESID,
                    0, m->n_embd);
    b->with_kv = true;
    if (r->from_tokens) {
        add_embedding(b);
    } else if (to_hidden) {
        add(b,
            (hsdi_op){.kind = HSDI_OP_COPY, .x = view(HSDI_VALUE_IN, 0, m->n_embd), .y = b->resid});
    }
    for (int i = r->begin; i < r->end; i++) {
        b->with_q = !r->fill_only || i < r->end - 1; // nobody reads what follows its last store
        add_attention(b, i);
        if (b->with_q) {
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

/// The residual stream goes out, as so many times the model's width.
static void add_out(builder *b, int at)
{
    int n = b->m->n_embd;
    add(b, (hsdi_op){.kind = HSDI_OP_COPY, .x = b->resid, .y = view(HSDI_VALUE_OUT, at * n, n)});
}

/// What enters the layers. Their cells are there: rows attend to them, their own among them.
static void add_inputs(builder *b, const hsdi_graph_range *r)
{
    int n_layers = b->m->n_layers, at = 0;
    b->resid = view(r->from_tokens ? VALUE_RESID : HSDI_VALUE_IN, 0, b->m->n_embd);
    b->with_q = true;
    if (r->from_tokens) {
        add_embedding(b);
    }
    for (int i = r->begin; i < r->end; i++) {
        if (i > 0) {
            add_out(b, at++);
        }
        if (i < n_layers - 1) {
            add_attention(b, i);
            add_rest(b, i);
        }
    }
    if (r->end < n_layers) {
        add_out(b, at);
    }
}

/// Cells from what enters the layers: the products that a pass stores, of the same numbers.
static void add_cells(builder *b, const hsdi_graph_range *r)
{
    int n = b->m->n_embd, at = 0;
    b->with_kv = true;
    for (int i = r->begin; i < r->end; i++) {
        if (i == 0) {
            b->resid = view(VALUE_RESID, 0, n);
            add_embedding(b);
        } else {
            b->resid = view(HSDI_VALUE_IN, n * at++, n);
        }
        add_attention(b, i);
    }
}

int hsdi_graph_inputs(int begin, int end)
{
    return end - begin - (begin == 0);
}

/// Widths of the rows that come in and go out.
static void find_widths(const hsdi_model *m, const hsdi_graph_range *r, int *in, int *out)
{
    int n_inputs = hsdi_graph_inputs(r->begin, r->end);
    switch (r->what) {
    case HSDI_GRAPH_PASS:
        *in = r->from_tokens ? 0 : m->n_embd;
        *out = r->n_list ? list_width(r) : r->head ? m->n_vocab : r->fill_only ? 0 : m->n_embd;
        break;
    case HSDI_GRAPH_INPUTS:
        *in = r->from_tokens ? 0 : m->n_embd;
        *out = (n_inputs + (r->end < m->n_layers)) * m->n_embd;
        break;
    case HSDI_GRAPH_CELLS:
        *in = n_inputs * m->n_embd;
        *out = 0;
        break;
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
        (range->head && range->fill_only) || (range->n_list && !range->head) ||
        (range->what != HSDI_GRAPH_PASS && (is_empty || range->head || range->fill_only))) {
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
    int in_width = 0, out_width = 0;
    (range->what == HSDI_GRAPH_PASS     ? add_pass
     : range->what == HSDI_GRAPH_INPUTS ? add_inputs
                                        : add_cells)(&b, range);
    find_widths(m, range, &in_width, &out_width);
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
        .in_width = in_width,
        .out_width = out_width,
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
        .cache_type = range->cache_type,
        .n_vocab = range->from_tokens ? m->n_vocab : 0,
        .n_ctx = range->n_ctx,
    };
    hsd_status status = hsdi_graph_compile(device, &desc, out, err);
    free(b.ops);
    return status;
}
