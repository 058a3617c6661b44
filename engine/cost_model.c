/// A model's shape as cost tables want it.
#include "engine/profile.h"
#include "kernels/types.h"

static void add(const hsdi_linear *l, int64_t *bytes, double *ops)
{
    if (l->w) {
        *bytes += (int64_t)l->w->size_bytes;
        if (l->w->n_dims > 1) { // a multiplication and an addition for every number
            *ops += 2.0 * (double)l->w->ne[0] * (double)l->w->ne[1];
        }
    }
    if (l->b) {
        *bytes += (int64_t)l->b->size_bytes;
    }
}

hsdi_cost_model hsdi_cost_model_of(const hsdi_model *m)
{
    hsdi_cost_model out = {.fingerprint = hsdi_gguf_fingerprint(m->gguf),
                           .n_layers = m->n_layers,
                           .n_embd = m->n_embd,
                           .n_vocab = m->n_vocab,
                           .n_ctx = m->n_ctx,
                           .embedding_bytes = m->tied_head ? 0 : (int64_t)m->token_embd->size_bytes,
                           .n_heads = m->n_head,
                           .n_kv_heads = m->n_kv,
                           .d_head = m->d_head,
                           .is_rotary = m->n_rot > 0,
                           .cache_bytes = 2 * (int64_t)sizeof(float) * m->n_kv * m->d_head};
    for (int i = 0; i < m->n_layers; i++) {
        const hsdi_layer *l = &m->layers[i];
        const hsdi_linear *const all[] = {&l->attn_norm, &l->ffn_norm, &l->qkv,    &l->q,
                                          &l->k,         &l->v,        &l->q_norm, &l->k_norm,
                                          &l->attn_out,  &l->gate,     &l->up,     &l->down};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            add(all[k], &out.layer_bytes, &out.layer_ops);
        }
    }
    out.layer_bytes /= m->n_layers;
    out.layer_ops /= m->n_layers;
    add(&m->output_norm, &out.head_bytes, &out.head_ops);
    add(&m->output, &out.head_bytes, &out.head_ops);
    const hsdi_gguf_tensor *up = m->layers[0].up.w;
    out.weights_are_int8 = up && up->known && hsdi_type_is_quantised((hsdi_type)up->type);
    return out;
}
