/// What a model file is, without loading its weights.
#include "base/error.h"
#include "engine/engine_internal.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "kernels/kernels.h"

#include <hsd/model.h>
#include <stdio.h>
#include <string.h>

static void copy_str(char *out, size_t cap, const hsdi_gguf *g, const char *key)
{
    hsdi_gguf_str s;
    if (hsdi_gguf_get_str(g, key, &s, NULL) == HSD_OK) {
        snprintf(out, cap, "%.*s", (int)(s.n < cap ? s.n : cap - 1), s.data);
    }
}

static void count_types(const hsdi_gguf *g, hsd_model_info *info)
{
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(g); i++) {
        const hsdi_gguf_tensor *t = hsdi_gguf_tensor_at(g, i);
        const char *known = hsdi_gguf_tensor_type_name(t->type);
        char name[16];
        if (strcmp(known, "?") == 0) {
            snprintf(name, sizeof name, "type %u", t->type);
        } else {
            snprintf(name, sizeof name, "%s", known);
        }
        int k = 0;
        while (k < info->n_types && strcmp(info->types[k].name, name) != 0) {
            k++;
        }
        if (k == HSD_MODEL_MAX_TYPES) {
            continue;
        }
        if (k == info->n_types) {
            snprintf(info->types[k].name, sizeof info->types[k].name, "%s", name);
            info->types[k].supported = hsdi_type_find(t->type) != NULL;
            info->n_types++;
        }
        info->types[k].n_tensors++;
        info->types[k].size_bytes += (int64_t)t->size_bytes;
        info->n_parameters += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
}

static int key_int(const hsdi_gguf *g, const char *arch, const char *suffix)
{
    char key[128];
    int64_t value;
    snprintf(key, sizeof key, "%s.%s", arch, suffix);
    return hsdi_gguf_get_int_or(g, key, 0, INT32_MAX, 0, &value, NULL) == HSD_OK ? (int)value : 0;
}

static void read_vocab(const hsdi_gguf *g, hsd_model_info *info)
{
    hsdi_tokenizer *tok;
    hsd_error err;
    copy_str(info->tokenizer, sizeof info->tokenizer, g, "tokenizer.ggml.model");
    copy_str(info->pre_tokenizer, sizeof info->pre_tokenizer, g, "tokenizer.ggml.pre");
    info->bos = info->eos = -1;
    if (hsdi_tokenizer_create(g, &tok, &err) != HSD_OK) {
        info->supported = false;
        snprintf(info->unsupported_why, sizeof info->unsupported_why, "%.90s: %.160s", err.where,
                 err.message);
        return;
    }
    info->n_vocab = hsdi_tokenizer_n_vocab(tok);
    info->bos = hsdi_tokenizer_bos(tok);
    info->eos = hsdi_tokenizer_eos(tok);
    info->vocab_hash = hsdi_tokenizer_hash(tok);
    int32_t first;
    int n = 0;
    if (hsdi_tokenizer_encode(tok, "", 0, true, false, &first, 1, &n, NULL) == HSD_OK) {
        info->add_bos = n > 0 && first == info->bos;
    }
    hsdi_tokenizer_destroy(&tok);
}

static void read_shape(const hsdi_gguf *g, hsd_model_info *info)
{
    const char *a = info->architecture;
    info->n_layers = key_int(g, a, "block_count");
    info->n_ctx = key_int(g, a, "context_length");
    info->n_embd = key_int(g, a, "embedding_length");
    info->n_ff = key_int(g, a, "feed_forward_length");
    info->n_head = key_int(g, a, "attention.head_count");
    info->n_kv_head = key_int(g, a, "attention.head_count_kv");
    info->d_head = key_int(g, a, "attention.key_length");
    if (info->n_kv_head == 0) {
        info->n_kv_head = info->n_head;
    }
    if (info->d_head == 0 && info->n_head > 0) {
        info->d_head = info->n_embd / info->n_head;
    }
    info->tied_head = hsdi_gguf_tensor_find(g, "output.weight") == NULL;
}

hsd_status hsd_model_inspect(const char *path, hsd_model_info *out, hsd_error *err)
{
    hsdi_gguf *g;
    hsdi_model *model;
    hsd_error why;
    char shipped[HSDI_PATH_MAX];
    if (!out) {
        return hsdi_fail(err, HSD_EINVAL, "result", "a result is required");
    }
    hsd_status status = HSD_OK;
    if (!path) {
        status = hsdi_shipped_path(hsdi_shipped_target, shipped, sizeof shipped, err);
        path = shipped;
    }
    if (status == HSD_OK) {
        status = hsdi_gguf_open(path, &g, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    hsd_model_info info = {.gguf_version = (int)hsdi_gguf_version(g),
                           .file_bytes = (int64_t)hsdi_gguf_size_bytes(g),
                           .fingerprint = hsdi_gguf_fingerprint(g)};
    copy_str(info.architecture, sizeof info.architecture, g, "general.architecture");
    copy_str(info.name, sizeof info.name, g, "general.name");
    read_shape(g, &info);
    count_types(g, &info);
    status = hsdi_model_load(path, &model, &why);
    info.supported = status == HSD_OK;
    if (status == HSD_OK) {
        snprintf(info.rope, sizeof info.rope, "%s", model->rope_name);
        hsdi_model_free(&model);
    } else {
        snprintf(info.unsupported_why, sizeof info.unsupported_why, "%.90s: %.160s", why.where,
                 why.message);
    }
    read_vocab(g, &info);
    hsdi_gguf_close(&g);
    *out = info;
    return HSD_OK;
}
