/// Weights on a device.
#include "engine/weights_internal.h"

#include "base/error.h"
#include "engine/el.h"

#include <stdlib.h>
#include <string.h>

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
