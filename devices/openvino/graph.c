/// A graph as a network: one operation of the description after the other becomes layers.
///
/// Operations write columns of values in place; a network has no places. So a value is kept as
/// segments of columns, each the tensor that was written there last.
#include "base/error.h"
#include "devices/openvino/context.h"
#include "devices/openvino/layers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SEGMENTS = HSDI_IR_MAX_INPUTS, NONE = -1 };

typedef struct segment {
    int begin, end; ///< columns
    hsdi_ir_tensor tensor;
} segment;

typedef struct value {
    int n_segments;
    segment segments[MAX_SEGMENTS]; ///< in any order, apart from each other
} value;

/// Matrices used so far: a tied head is written once.
typedef struct matrix {
    const struct hsdi_weight *w;
    hsdi_ir_type type;
    hsdi_ir_tensor raw;    ///< f16 or f32 [n_out, n_in], i8 [n_out, n_in/32, 32]
    hsdi_ir_tensor scales; ///< of i8
} matrix;

typedef struct builder {
    hsdi_ir *ir;
    const hsdi_graph_desc *desc;
    hsd_network_type type;
    int n_rows, n_cells;
    value *values; ///< [n_values + 2]: IN and OUT behind the others
    matrix *matrices;
    int n_matrices;
    hsdi_ir_tensor *new_k, *new_v;          ///< [n_layers] of this pass, NONE before the store
    hsdi_ir_tensor tokens, positions, bias; ///< inputs, NONE until needed
    hsdi_ir_tensor cosine, sine;            ///< of the rows' positions, NONE until needed
} builder;

// ---- values ----

static value *value_of(builder *b, const hsdi_view *v)
{
    int at = v->value >= 0 ? v->value : b->desc->n_values + (v->value == HSDI_VALUE_OUT);
    return &b->values[at];
}

/// Columns [begin, end) of a segment.
static hsdi_ir_tensor piece_of(builder *b, const segment *s, int begin, int end)
{
    return hsdi_ir_slice(b->ir, s->tensor, 1, begin - s->begin, end - s->begin);
}

static hsdi_ir_tensor read_view(builder *b, const hsdi_view *v)
{
    const value *x = value_of(b, v);
    hsdi_ir_tensor pieces[MAX_SEGMENTS];
    int n = 0, end = v->offset + v->width;
    for (int at = v->offset; at < end;) {
        int i = 0;
        while (i < x->n_segments && !(x->segments[i].begin <= at && at < x->segments[i].end)) {
            i++;
        }
        if (i == x->n_segments) {
            hsdi_ir_fail(b->ir, HSD_EINVAL, b->desc->name, "columns are read before written");
            return 0;
        }
        const segment *s = &x->segments[i];
        int to = s->end < end ? s->end : end;
        pieces[n++] = piece_of(b, s, at, to);
        at = to;
    }
    return hsdi_ir_concat(b->ir, pieces, n, 1);
}

static void push(builder *b, value *x, segment s)
{
    if (x->n_segments == MAX_SEGMENTS) {
        hsdi_ir_fail(b->ir, HSD_EUNSUPPORTED, b->desc->name, "a value has too many parts");
    } else if (s.begin < s.end) {
        x->segments[x->n_segments++] = s;
    }
}

static void write_view(builder *b, const hsdi_view *v, hsdi_ir_tensor t)
{
    value *x = value_of(b, v);
    const value old = *x;
    int begin = v->offset, end = v->offset + v->width;
    x->n_segments = 0;
    for (int i = 0; i < old.n_segments; i++) {
        const segment *s = &old.segments[i];
        int left = s->end < begin ? s->end : begin, right = s->begin > end ? s->begin : end;
        if (s->begin < left) {
            push(b, x, (segment){s->begin, left, piece_of(b, s, s->begin, left)});
        }
        if (right < s->end) {
            push(b, x, (segment){right, s->end, piece_of(b, s, right, s->end)});
        }
    }
    push(b, x, (segment){begin, end, t});
}

// ---- inputs and weights ----

static hsdi_ir_tensor rows_input(builder *b, hsdi_ir_tensor *once, const char *name)
{
    if (*once == NONE) {
        *once = hsdi_ir_input(b->ir, name, HSDI_IR_I32, HSDI_IR_SHAPE(b->n_rows));
    }
    return *once;
}

static const matrix *matrix_of(builder *b, const struct hsdi_weight *w)
{
    for (int i = 0; i < b->n_matrices; i++) {
        if (b->matrices[i].w == w) {
            return &b->matrices[i];
        }
    }
    matrix *m = &b->matrices[b->n_matrices++];
    const void *data = ((const hsdi_openvino_weight *)w)->data;
    *m = (matrix){.w = w, .type = b->type == HSD_NETWORK_F32 ? HSDI_IR_F32 : HSDI_IR_F16};
    if (b->type == HSD_NETWORK_I8 && w->type == HSDI_TYPE_Q8_0) {
        m->type = HSDI_IR_I8;
        hsdi_ir_q8_0(b->ir, w->n_out, w->n_in, data, &m->raw, &m->scales);
    } else {
        m->raw = hsdi_ir_matrix(b->ir, m->type, w->type, w->n_out, w->n_in, data);
    }
    return m;
}

/// f32 [n_rows, n_in] of rows of a matrix as they were written; all of them or some.
static hsdi_ir_tensor unpacked(builder *b, const matrix *m, hsdi_ir_tensor raw,
                               hsdi_ir_tensor scales, int n_rows, bool is_weight)
{
    if (m->type == HSDI_IR_F32) {
        return raw;
    }
    hsdi_ir_tensor x = hsdi_ir_to_f32(b->ir, raw, is_weight);
    if (m->type == HSDI_IR_F16) {
        return x;
    }
    x = hsdi_ir_binary(b->ir, "Multiply", x, hsdi_ir_to_f32(b->ir, scales, is_weight));
    return hsdi_ir_reshape(b->ir, x, HSDI_IR_SHAPE(n_rows, m->w->n_in));
}

static hsdi_ir_tensor whole_matrix(builder *b, const struct hsdi_weight *w)
{
    const matrix *m = matrix_of(b, w);
    return unpacked(b, m, m->raw, m->scales, w->n_out, true);
}

static hsdi_ir_tensor rows_of_matrix(builder *b, const struct hsdi_weight *w, hsdi_ir_tensor index)
{
    const matrix *m = matrix_of(b, w);
    hsdi_ir_tensor scales = 0, raw = hsdi_ir_rows(b->ir, m->type, m->raw, index);
    if (m->type == HSDI_IR_I8) {
        scales = hsdi_ir_rows(b->ir, HSDI_IR_F16, m->scales, index);
    }
    return unpacked(b, m, raw, scales, b->n_rows, false);
}

/// Norm weights and biases are few: they stay f32. Shape [1, n].
static hsdi_ir_tensor vector_of(builder *b, const struct hsdi_weight *w)
{
    return hsdi_ir_matrix(b->ir, HSDI_IR_F32, w->type, 1, w->n_in,
                          ((const hsdi_openvino_weight *)w)->data);
}

// ---- operations ----

static hsdi_ir_tensor multiply(builder *b, hsdi_ir_tensor x, hsdi_ir_tensor y)
{
    return hsdi_ir_binary(b->ir, "Multiply", x, y);
}

static hsdi_ir_tensor add(builder *b, hsdi_ir_tensor x, hsdi_ir_tensor y)
{
    return hsdi_ir_binary(b->ir, "Add", x, y);
}

/// x / sqrt(mean(x^2) + eps) * w over the last dimension.
static hsdi_ir_tensor rms_norm(builder *b, hsdi_ir_tensor x, const struct hsdi_weight *w, float eps)
{
    hsdi_ir_tensor mean = hsdi_ir_mean(b->ir, multiply(b, x, x));
    hsdi_ir_tensor rms = hsdi_ir_sqrt(b->ir, add(b, mean, hsdi_ir_scalar(b->ir, eps)));
    hsdi_ir_tensor unit = hsdi_ir_binary(b->ir, "Divide", x, rms);
    return multiply(b, unit, vector_of(b, w));
}

static hsdi_ir_tensor layer_norm(builder *b, hsdi_ir_tensor x, const hsdi_op *op)
{
    hsdi_ir_tensor centred = hsdi_ir_binary(b->ir, "Subtract", x, hsdi_ir_mean(b->ir, x));
    hsdi_ir_tensor y = rms_norm(b, centred, op->norm_w, op->eps);
    return op->norm_b ? add(b, y, vector_of(b, op->norm_b)) : y;
}

static hsdi_ir_tensor prepared(builder *b, const hsdi_op *op)
{
    hsdi_ir_tensor x;
    hsdi_view left = op->x, right = op->x;
    left.width = right.width = op->x.width / 2;
    right.offset += left.width;
    switch (op->pre) {
    case HSDI_PRE_RMS_NORM:
        return rms_norm(b, read_view(b, &op->x), op->norm_w, op->eps);
    case HSDI_PRE_LAYER_NORM:
        return layer_norm(b, read_view(b, &op->x), op);
    case HSDI_PRE_GELU:
        return hsdi_ir_gelu(b->ir, read_view(b, &op->x));
    case HSDI_PRE_SILU_MUL:
        x = hsdi_ir_silu(b->ir, read_view(b, &left));
        return multiply(b, x, read_view(b, &right));
    case HSDI_PRE_NONE:
    case HSDI_N_PRES:
        break;
    }
    return read_view(b, &op->x);
}

static void add_matmul(builder *b, const hsdi_op *op)
{
    hsdi_ir_tensor x = prepared(b, op);
    for (int i = 0; i < op->n_parts; i++) {
        const hsdi_part *p = &op->parts[i];
        hsdi_view to = {op->y.value, op->y.offset + p->y_offset, p->w->n_out};
        hsdi_ir_tensor y = hsdi_ir_matmul(b->ir, x, whole_matrix(b, p->w), true);
        if (p->bias) {
            y = add(b, y, vector_of(b, p->bias));
        }
        write_view(b, &to, op->accumulate ? add(b, read_view(b, &to), y) : y);
    }
}

static void add_embed(builder *b, const hsdi_op *op)
{
    bool is_pos = op->kind == HSDI_OP_EMBED_POS;
    hsdi_ir_tensor index =
        is_pos ? rows_input(b, &b->positions, "positions") : rows_input(b, &b->tokens, "tokens");
    hsdi_ir_tensor y = rows_of_matrix(b, op->parts[0].w, index);
    write_view(b, &op->y, is_pos ? add(b, read_view(b, &op->y), y) : y);
}

static void add_head_norm(builder *b, const hsdi_op *op)
{
    int d = b->desc->heads.d_head;
    hsdi_ir_tensor x =
        hsdi_ir_reshape(b->ir, read_view(b, &op->y), HSDI_IR_SHAPE(b->n_rows, op->n_head, d));
    x = rms_norm(b, x, op->norm_w, op->eps);
    write_view(b, &op->y, hsdi_ir_reshape(b->ir, x, HSDI_IR_SHAPE(b->n_rows, op->n_head * d)));
}

/// Cosine or sine of the rows' angles, shaped to meet the pairs: computed once per pass.
static hsdi_ir_tensor angles(builder *b, double (*function)(double))
{
    const hsdi_heads *h = &b->desc->heads;
    int n_half = h->n_rot / 2, n_pos = b->desc->n_ctx;
    float *table = calloc((size_t)n_pos * (size_t)n_half, sizeof *table);
    if (!table) {
        hsdi_ir_fail(b->ir, HSD_ENOMEM, b->desc->name, "rotary table");
        return 0;
    }
    for (int p = 0; p < n_pos; p++) {
        for (int i = 0; i < n_half; i++) {
            table[p * n_half + i] =
                (float)(function(p * h->rope_freqs[i]) * (double)h->rope_mscale);
        }
    }
    hsdi_ir_tensor all = hsdi_ir_constant(b->ir, HSDI_IR_F32, HSDI_IR_SHAPE(n_pos, n_half), table);
    free(table);
    hsdi_ir_tensor rows =
        hsdi_ir_rows(b->ir, HSDI_IR_F32, all, rows_input(b, &b->positions, "positions"));
    return hsdi_ir_reshape(b->ir, rows,
                           h->neox ? HSDI_IR_SHAPE(b->n_rows, 1, 1, n_half)
                                   : HSDI_IR_SHAPE(b->n_rows, 1, n_half, 1));
}

/// The members of a pair lie n_rot/2 apart (neox) or side by side: as [.., 2, n_rot/2] or
/// [.., n_rot/2, 2] both are slices of one axis.
static void add_rope(builder *b, const hsdi_op *op)
{
    const hsdi_heads *h = &b->desc->heads;
    int n_half = h->n_rot / 2, axis = h->neox ? 2 : 3, n_rows = b->n_rows, n_head = op->n_head;
    if (b->cosine == NONE) {
        b->cosine = angles(b, cos);
        b->sine = angles(b, sin);
    }
    hsdi_ir_tensor heads =
        hsdi_ir_reshape(b->ir, read_view(b, &op->y), HSDI_IR_SHAPE(n_rows, n_head, h->d_head));
    hsdi_ir_tensor pairs = hsdi_ir_reshape(b->ir, hsdi_ir_slice(b->ir, heads, 2, 0, h->n_rot),
                                           h->neox ? HSDI_IR_SHAPE(n_rows, n_head, 2, n_half)
                                                   : HSDI_IR_SHAPE(n_rows, n_head, n_half, 2));
    hsdi_ir_tensor x = hsdi_ir_slice(b->ir, pairs, axis, 0, 1);
    hsdi_ir_tensor y = hsdi_ir_slice(b->ir, pairs, axis, 1, 2);
    hsdi_ir_tensor x_cos = multiply(b, x, b->cosine), y_sin = multiply(b, y, b->sine);
    hsdi_ir_tensor y_cos = multiply(b, y, b->cosine), x_sin = multiply(b, x, b->sine);
    hsdi_ir_tensor turned[2];
    turned[0] = hsdi_ir_binary(b->ir, "Subtract", x_cos, y_sin);
    turned[1] = add(b, y_cos, x_sin);
    hsdi_ir_tensor all[2] = {hsdi_ir_reshape(b->ir, hsdi_ir_concat(b->ir, turned, 2, axis),
                                             HSDI_IR_SHAPE(n_rows, n_head, h->n_rot))};
    if (h->n_rot < h->d_head) {
        all[1] = hsdi_ir_slice(b->ir, heads, 2, h->n_rot, h->d_head);
    }
    hsdi_ir_tensor done = hsdi_ir_concat(b->ir, all, h->n_rot < h->d_head ? 2 : 1, 2);
    write_view(b, &op->y, hsdi_ir_reshape(b->ir, done, HSDI_IR_SHAPE(n_rows, op->y.width)));
}

static void add_store(builder *b, const hsdi_op *op)
{
    char name[HSD_NETWORK_NAME_BYTES];
    b->new_k[op->layer] = read_view(b, &op->x);
    b->new_v[op->layer] = read_view(b, &op->y);
    snprintf(name, sizeof name, "k%d", op->layer);
    hsdi_ir_output(b->ir, b->new_k[op->layer], name);
    snprintf(name, sizeof name, "v%d", op->layer);
    hsdi_ir_output(b->ir, b->new_v[op->layer], name);
}

/// Keys or values of the cells, an input, with those of this pass behind them, by heads:
/// [n_kv, 1, n_cells + n_rows, d_head].
static hsdi_ir_tensor with_past(builder *b, char letter, int layer, hsdi_ir_tensor now)
{
    const hsdi_heads *h = &b->desc->heads;
    char name[HSD_NETWORK_NAME_BYTES];
    snprintf(name, sizeof name, "past_%c%d", letter, layer);
    const hsdi_ir_tensor both[] = {
        hsdi_ir_input(b->ir, name, HSDI_IR_F32, HSDI_IR_SHAPE(b->n_cells, h->n_kv * h->d_head)),
        now};
    hsdi_ir_tensor all =
        hsdi_ir_reshape(b->ir, hsdi_ir_concat(b->ir, both, 2, 0),
                        HSDI_IR_SHAPE(1, b->n_cells + b->n_rows, h->n_kv, h->d_head));
    return hsdi_ir_transpose(b->ir, all, HSDI_IR_SHAPE(2, 0, 1, 3));
}

static void add_attn(builder *b, const hsdi_op *op)
{
    const hsdi_heads *h = &b->desc->heads;
    int n_rows = b->n_rows, n_group = h->n_head / h->n_kv;
    if (b->new_k[op->layer] == NONE) {
        hsdi_ir_fail(b->ir, HSD_EUNSUPPORTED, b->desc->name, "attention comes before its store");
        return;
    }
    if (b->bias == NONE) {
        b->bias =
            hsdi_ir_input(b->ir, "bias", HSDI_IR_F32, HSDI_IR_SHAPE(n_rows, b->n_cells + n_rows));
    }
    hsdi_ir_tensor k = with_past(b, 'k', op->layer, b->new_k[op->layer]);
    hsdi_ir_tensor v = with_past(b, 'v', op->layer, b->new_v[op->layer]);
    hsdi_ir_tensor q = hsdi_ir_reshape(b->ir, read_view(b, &op->x),
                                       HSDI_IR_SHAPE(n_rows, h->n_kv, n_group, h->d_head));
    q = hsdi_ir_transpose(b->ir, q, HSDI_IR_SHAPE(1, 2, 0, 3));
    q = multiply(b, q, hsdi_ir_scalar(b->ir, h->scale)); // before the product: small in f16 too
    hsdi_ir_tensor scores = add(b, hsdi_ir_matmul(b->ir, q, k, true), b->bias);
    hsdi_ir_tensor out = hsdi_ir_matmul(b->ir, hsdi_ir_softmax(b->ir, scores), v, false);
    out = hsdi_ir_transpose(b->ir, out, HSDI_IR_SHAPE(2, 0, 1, 3));
    write_view(b, &op->y, hsdi_ir_reshape(b->ir, out, HSDI_IR_SHAPE(n_rows, op->y.width)));
}

static void add_op(builder *b, const hsdi_op *op)
{
    switch (op->kind) {
    case HSDI_OP_EMBED:
    case HSDI_OP_EMBED_POS:
        add_embed(b, op);
        break;
    case HSDI_OP_MATMUL:
        add_matmul(b, op);
        break;
    case HSDI_OP_HEAD_NORM:
        add_head_norm(b, op);
        break;
    case HSDI_OP_ROPE:
        add_rope(b, op);
        break;
    case HSDI_OP_STORE:
        add_store(b, op);
        break;
    case HSDI_OP_ATTN:
        add_attn(b, op);
        break;
    case HSDI_OP_COPY:
        write_view(b, &op->y, read_view(b, &op->x));
        break;
    case HSDI_OP_TOP: // refused by the front end, like the next
    case HSDI_OP_DRAW:
    case HSDI_OP_NORM:
    case HSDI_OP_HEADS:
    case HSDI_N_OPS:
        break;
    }
}

// ---- the whole network ----

static void add_all(builder *b)
{
    const hsdi_graph_desc *desc = b->desc;
    if (desc->in_width > 0) {
        const hsdi_view in = {HSDI_VALUE_IN, 0, desc->in_width};
        write_view(b, &in,
                   hsdi_ir_input(b->ir, "in", HSDI_IR_F32, HSDI_IR_SHAPE(b->n_rows, in.width)));
    }
    for (int i = 0; i < desc->n_ops; i++) {
        add_op(b, &desc->ops[i]);
    }
    if (desc->out_width > 0) {
        const hsdi_view out = {HSDI_VALUE_OUT, 0, desc->out_width};
        hsdi_ir_output(b->ir, read_view(b, &out), "out");
    }
}

static hsd_status build(const hsdi_openvino_device *d, const hsdi_graph_desc *desc, FILE *bin,
                        hsdi_openvino_graph *g, char **xml, hsd_error *err)
{
    size_t n_layers = (size_t)g->base.n_layers;
    builder b = {.ir = hsdi_ir_create(desc->name, bin, d->bin_part),
                 .desc = desc,
                 .type = d->type,
                 .n_rows = desc->n_rows_max,
                 .n_cells = desc->n_ctx,
                 .values = calloc((size_t)desc->n_values + 2, sizeof *b.values),
                 .matrices = calloc((size_t)desc->n_ops * HSDI_GRAPH_MAX_PARTS, sizeof *b.matrices),
                 .new_k = malloc((n_layers + 1) * sizeof *b.new_k),
                 .new_v = malloc((n_layers + 1) * sizeof *b.new_v),
                 .tokens = NONE,
                 .positions = NONE,
                 .bias = NONE,
                 .cosine = NONE};
    hsd_status status = HSD_OK;
    if (!b.ir || !b.values || !b.matrices || !b.new_k || !b.new_v) {
        status = hsdi_fail(err, HSD_ENOMEM, desc->name, "network");
    } else {
        for (size_t i = 0; i < n_layers; i++) {
            b.new_k[i] = b.new_v[i] = NONE;
        }
        add_all(&b);
        status = hsdi_ir_finish(b.ir, xml, &g->ports, &g->n_ports, err);
    }
    hsdi_ir_destroy(&b.ir);
    free(b.values);
    free(b.matrices);
    free(b.new_k);
    free(b.new_v);
    return status;
}

/// Close a file that was written; its last bytes may fail only now.
static hsd_status close_file(FILE *file, const char *path, hsd_error *err)
{
    return fclose(file) == 0 ? HSD_OK : hsdi_fail_errno(err, HSD_EIO, path, errno, "writing");
}

static hsd_status write_xml(const char *path, const char *xml, hsd_error *err)
{
    FILE *file = fopen(path, "wb");
    if (!file) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "opening");
    }
    if (fputs(xml, file) < 0) {
        hsd_status status = hsdi_fail_errno(err, HSD_EIO, path, errno, "writing");
        (void)fclose(file);
        return status;
    }
    return close_file(file, path, err);
}

static hsd_status move(const char *from, const char *to, hsd_error *err)
{
    return rename(from, to) == 0 ? HSD_OK
                                 : hsdi_fail_errno(err, HSD_EIO, to, errno, "renaming %s", from);
}

hsd_status hsdi_openvino_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                       const struct hsdi_graph *shape, hsdi_graph **out,
                                       hsd_error *err)
{
    const hsdi_openvino_device *d = (const hsdi_openvino_device *)device;
    hsdi_openvino_graph *g = calloc(1, sizeof *g);
    char *xml = NULL;
    if (!g) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "network");
    }
    g->base = *shape;
    FILE *bin = fopen(d->bin_part, "wb");
    if (!bin) {
        free(g);
        return hsdi_fail_errno(err, HSD_EIO, d->bin_part, errno, "opening");
    }
    hsd_status status = build(d, desc, bin, g, &xml, err);
    hsd_status closed = close_file(bin, d->bin_part, status == HSD_OK ? err : NULL);
    if (status == HSD_OK && (status = closed) == HSD_OK &&
        (status = write_xml(d->xml_part, xml, err)) == HSD_OK &&
        (status = move(d->bin_part, d->bin_path, err)) == HSD_OK) {
        status = move(d->xml_part, d->xml_path, err);
    }
    free(xml);
    if (status != HSD_OK) {
        (void)unlink(d->bin_part);
        (void)unlink(d->xml_part);
        hsdi_openvino_graph_destroy(&g->base);
        return status;
    }
    *out = &g->base;
    return HSD_OK;
}

void hsdi_openvino_graph_destroy(hsdi_graph *graph)
{
    hsdi_openvino_graph *g = (hsdi_openvino_graph *)graph;
    free(g->ports);
    free(g);
}
