/// Loading a model: metadata first, then every tensor's shape against it.
#include "engine/model.h"

#include "base/error.h"
#include "kernels/kernels.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 1 << 20, MAX_LAYERS = 4096, MAX_VOCAB = 1 << 24, MAX_CTX = 1 << 28 };

static const char *const arch_names[HSDI_N_ARCHS] = {"llama", "qwen2", "qwen3", "gpt2"};

const char *hsdi_arch_name(hsdi_arch arch)
{
    return arch_names[arch];
}

hsd_status hsdi_model_find_arch(const hsdi_gguf *g, hsdi_arch *out, hsd_error *err)
{
    hsdi_gguf_str name;
    hsd_status status = hsdi_gguf_get_str(g, "general.architecture", &name, err);
    if (status != HSD_OK) {
        return status;
    }
    for (int i = 0; i < HSDI_N_ARCHS; i++) {
        if (strlen(arch_names[i]) == name.n && memcmp(arch_names[i], name.data, name.n) == 0) {
            *out = (hsdi_arch)i;
            return HSD_OK;
        }
    }
    return hsdi_fail(err, HSD_EUNSUPPORTED, "general.architecture",
                     "\"%.*s\" is not one of llama, qwen2, qwen3, gpt2",
                     (int)(name.n < 32 ? name.n : 32), name.data);
}

/// An integer under "<architecture>.<suffix>"; with `other` < 0 the key is required.
static hsd_status key_int(const hsdi_model *m, const char *suffix, int64_t max, int64_t other,
                          int *out, hsd_error *err)
{
    char key[96];
    int64_t value;
    snprintf(key, sizeof key, "%s.%s", arch_names[m->arch], suffix);
    hsd_status status = other < 0 ? hsdi_gguf_get_int(m->gguf, key, 1, max, &value, err)
                                  : hsdi_gguf_get_int_or(m->gguf, key, 1, max, other, &value, err);
    if (status == HSD_OK) {
        *out = (int)value;
    }
    return status;
}

static hsd_status read_keys(hsdi_model *m, hsd_error *err)
{
    hsd_status status;
    if ((status = key_int(m, "block_count", MAX_LAYERS, -1, &m->n_layers, err)) != HSD_OK ||
        (status = key_int(m, "context_length", MAX_CTX, -1, &m->n_ctx, err)) != HSD_OK ||
        (status = key_int(m, "embedding_length", MAX_WIDTH, -1, &m->n_embd, err)) != HSD_OK ||
        (status = key_int(m, "feed_forward_length", MAX_WIDTH, -1, &m->n_ff, err)) != HSD_OK ||
        (status = key_int(m, "attention.head_count", MAX_WIDTH, -1, &m->n_head, err)) != HSD_OK ||
        (status = key_int(m, "attention.head_count_kv", MAX_WIDTH, m->n_head, &m->n_kv, err)) !=
            HSD_OK) {
        return status;
    }
    int d_default = m->n_embd / m->n_head, d_value, n_experts;
    if ((status = key_int(m, "attention.key_length", MAX_WIDTH, d_default > 0 ? d_default : 1,
                          &m->d_head, err)) != HSD_OK ||
        (status = key_int(m, "attention.value_length", MAX_WIDTH, m->d_head, &d_value, err)) !=
            HSD_OK) {
        return status;
    }
    char key[96];
    int64_t experts;
    snprintf(key, sizeof key, "%s.expert_count", arch_names[m->arch]);
    status = hsdi_gguf_get_int_or(m->gguf, key, 0, INT_MAX, 0, &experts, err);
    if (status != HSD_OK) {
        return status;
    }
    n_experts = (int)experts;
    if (n_experts > 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, key, "mixture-of-experts models cannot be run");
    }
    if (m->n_head % m->n_kv != 0) {
        return hsdi_fail(err, HSD_EFORMAT, "attention.head_count_kv",
                         "%d query heads cannot share %d key heads", m->n_head, m->n_kv);
    }
    if (d_value != m->d_head || (int64_t)m->d_head * m->n_head > MAX_WIDTH) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "attention.key_length",
                         "keys of %d and values of %d elements in %d heads", m->d_head, d_value,
                         m->n_head);
    }
    m->rms_norm = m->arch != HSDI_ARCH_GPT2;
    m->neox = m->arch == HSDI_ARCH_QWEN2 || m->arch == HSDI_ARCH_QWEN3;
    snprintf(key, sizeof key, "%s.attention.layer_norm_%sepsilon", arch_names[m->arch],
             m->rms_norm ? "rms_" : "");
    status = hsdi_gguf_get_f32_or(m->gguf, key, 1e-5f, &m->norm_eps, err);
    if (status == HSD_OK && !(m->norm_eps >= 0.0f && m->norm_eps < 1.0f)) {
        return hsdi_fail(err, HSD_EFORMAT, key, "the value %g is out of range",
                         (double)m->norm_eps);
    }
    return status;
}

/// Take a tensor of shape [n_out, n_in] (n_out = 0: a vector of n_in). Absent optional ones give
/// NULL.
static hsd_status take(const hsdi_model *m, bool required, int n_out, int n_in,
                       const hsdi_gguf_tensor **out, hsd_error *err, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));

static hsd_status take(const hsdi_model *m, bool required, int n_out, int n_in,
                       const hsdi_gguf_tensor **out, hsd_error *err, const char *fmt, ...)
{
    char name[96];
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    *out = NULL;
    if (!required && !hsdi_gguf_tensor_find(m->gguf, name)) {
        return HSD_OK;
    }
    const hsdi_gguf_tensor *t;
    hsd_status status = hsdi_gguf_tensor_get(m->gguf, name, &t, err);
    if (status != HSD_OK) {
        return status;
    }
    int64_t rows = n_out ? n_out : 1;
    if (t->n_dims > 2 || t->ne[0] != n_in || t->ne[1] != rows) {
        return hsdi_fail_at(err, HSD_EFORMAT, name, (int64_t)t->info_offset,
                            "the shape is [%lld, %lld], expected [%d, %lld]", (long long)t->ne[0],
                            (long long)t->ne[1], n_in, (long long)rows);
    }
    *out = t;
    return HSD_OK;
}

/// "<prefix>.weight" and, if there, "<prefix>.bias".
static hsd_status take_linear(const hsdi_model *m, int i_layer, const char *name, int n_out,
                              int n_in, hsdi_linear *out, hsd_error *err)
{
    hsd_status status = take(m, true, n_out, n_in, &out->w, err, "blk.%d.%s.weight", i_layer, name);
    if (status == HSD_OK) {
        int n_bias = n_out ? n_out : n_in;
        status = take(m, false, 0, n_bias, &out->b, err, "blk.%d.%s.bias", i_layer, name);
    }
    return status;
}

static hsd_status take_attention(hsdi_model *m, int i, hsdi_layer *l, hsd_error *err)
{
    int d_q = m->n_head * m->d_head, d_kv = m->n_kv * m->d_head;
    const struct {
        bool present;
        const char *name;
        int n_out, n_in;
        hsdi_linear *to;
    } all[] = {
        {m->arch == HSDI_ARCH_GPT2, "attn_qkv", d_q + 2 * d_kv, m->n_embd, &l->qkv},
        {m->arch != HSDI_ARCH_GPT2, "attn_q", d_q, m->n_embd, &l->q},
        {m->arch != HSDI_ARCH_GPT2, "attn_k", d_kv, m->n_embd, &l->k},
        {m->arch != HSDI_ARCH_GPT2, "attn_v", d_kv, m->n_embd, &l->v},
        {m->arch == HSDI_ARCH_QWEN3, "attn_q_norm", 0, m->d_head, &l->q_norm},
        {m->arch == HSDI_ARCH_QWEN3, "attn_k_norm", 0, m->d_head, &l->k_norm},
        {true, "attn_output", m->n_embd, d_q, &l->attn_out},
    };
    hsd_status status = HSD_OK;
    for (size_t k = 0; k < sizeof all / sizeof *all && status == HSD_OK; k++) {
        if (all[k].present) {
            status = take_linear(m, i, all[k].name, all[k].n_out, all[k].n_in, all[k].to, err);
        }
    }
    return status;
}

static hsd_status take_layer(hsdi_model *m, int i, hsd_error *err)
{
    hsdi_layer *l = &m->layers[i];
    hsd_status status = take_linear(m, i, "attn_norm", 0, m->n_embd, &l->attn_norm, err);
    if (status != HSD_OK || (status = take_attention(m, i, l, err)) != HSD_OK ||
        (status = take_linear(m, i, "ffn_norm", 0, m->n_embd, &l->ffn_norm, err)) != HSD_OK) {
        return status;
    }
    if (m->arch != HSDI_ARCH_GPT2 &&
        (status = take_linear(m, i, "ffn_gate", m->n_ff, m->n_embd, &l->gate, err)) != HSD_OK) {
        return status;
    }
    if ((status = take_linear(m, i, "ffn_up", m->n_ff, m->n_embd, &l->up, err)) != HSD_OK) {
        return status;
    }
    return take_linear(m, i, "ffn_down", m->n_embd, m->n_ff, &l->down, err);
}

static hsd_status take_all(hsdi_model *m, hsd_error *err)
{
    const hsdi_gguf_tensor *embd;
    hsd_status status = hsdi_gguf_tensor_get(m->gguf, "token_embd.weight", &embd, err);
    if (status != HSD_OK) {
        return status;
    }
    if (embd->n_dims != 2 || embd->ne[0] != m->n_embd || embd->ne[1] < 1 ||
        embd->ne[1] > MAX_VOCAB) {
        return hsdi_fail_at(err, HSD_EFORMAT, "token_embd.weight", (int64_t)embd->info_offset,
                            "the shape is [%lld, %lld], expected [%d, vocabulary]",
                            (long long)embd->ne[0], (long long)embd->ne[1], m->n_embd);
    }
    m->token_embd = embd;
    m->n_vocab = (int)embd->ne[1];
    if (m->arch == HSDI_ARCH_GPT2 && (status = take(m, true, m->n_ctx, m->n_embd, &m->pos_embd, err,
                                                    "position_embd.weight")) != HSD_OK) {
        return status;
    }
    if ((status = take(m, true, 0, m->n_embd, &m->output_norm.w, err, "output_norm.weight")) ||
        (status = take(m, false, 0, m->n_embd, &m->output_norm.b, err, "output_norm.bias")) ||
        (status = take(m, false, m->n_vocab, m->n_embd, &m->output.w, err, "output.weight")) ||
        (status = take(m, false, 0, m->n_vocab, &m->output.b, err, "output.bias"))) {
        return status;
    }
    m->tied_head = m->output.w == NULL;
    if (m->tied_head) {
        m->output.w = m->token_embd;
    }
    m->layers = hsdi_arena_array(&m->arena, (size_t)m->n_layers, sizeof *m->layers);
    if (!m->layers) {
        return hsdi_fail(err, HSD_ENOMEM, "block_count", "%d layers", m->n_layers);
    }
    for (int i = 0; i < m->n_layers && status == HSD_OK; i++) {
        status = take_layer(m, i, err);
    }
    return status;
}

/// A vocabulary of another size than the embedding would let a token pass that has no row.
static hsd_status check_vocab(const hsdi_model *m, hsd_error *err)
{
    const hsdi_gguf_kv *tokens = hsdi_gguf_find(m->gguf, "tokenizer.ggml.tokens");
    if (tokens && tokens->n != (uint64_t)m->n_vocab) {
        return hsdi_fail_at(err, HSD_EFORMAT, "tokenizer.ggml.tokens", (int64_t)tokens->offset,
                            "%llu tokens, but the embedding has %d rows",
                            (unsigned long long)tokens->n, m->n_vocab);
    }
    return HSD_OK;
}

hsd_status hsdi_model_load(const char *path, hsdi_model **out, hsd_error *err)
{
    hsdi_model *m = calloc(1, sizeof *m);
    if (!m) {
        return hsdi_fail(err, HSD_ENOMEM, path, "model");
    }
    hsd_status status;
    if ((status = hsdi_gguf_open(path, &m->gguf, err)) != HSD_OK ||
        (status = hsdi_model_find_arch(m->gguf, &m->arch, err)) != HSD_OK ||
        (status = read_keys(m, err)) != HSD_OK || (status = hsdi_model_read_rope(m, err)) ||
        (status = take_all(m, err)) != HSD_OK || (status = check_vocab(m, err)) != HSD_OK) {
        hsdi_model_free(&m);
        return status;
    }
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(m->gguf); i++) {
        const hsdi_gguf_tensor *t = hsdi_gguf_tensor_at(m->gguf, i);
        m->n_parameters += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    *out = m;
    return HSD_OK;
}

int hsdi_model_max_ctx(const hsdi_model *m)
{
    return m->pos_embd ? m->n_ctx : MAX_CTX;
}

void hsdi_model_free(hsdi_model **model)
{
    if (model && *model) {
        hsdi_gguf_close(&(*model)->gguf);
        hsdi_arena_fini(&(*model)->arena);
        free(*model);
        *model = NULL;
    }
}
