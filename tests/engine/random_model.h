/// A llama with random weights, whose query heads have keys and values of their own: written to a
/// file, for tests that need the shape and no sense.
#ifndef TESTS_ENGINE_RANDOM_MODEL_H
#define TESTS_ENGINE_RANDOM_MODEL_H

#include "base/rng.h"
#include "tests/fuzz/tiny_vocab.h"

#include <math.h>

enum {
    RANDOM_LAYERS = 3,
    RANDOM_WIDTH = 64,
    RANDOM_HEADS = 4,
    RANDOM_FF = 96,
    RANDOM_TENSORS = 3 + 9 * RANDOM_LAYERS,
};

typedef struct random_tensor {
    char name[48];
    uint64_t ne[2];
} random_tensor;

static inline void random_model_tensors(random_tensor *out)
{
    static const struct {
        const char *name;
        uint64_t ne[2];
    } layer[] = {{"attn_norm", {RANDOM_WIDTH, 1}},
                 {"attn_q", {RANDOM_WIDTH, RANDOM_WIDTH}},
                 {"attn_k", {RANDOM_WIDTH, RANDOM_WIDTH}},
                 {"attn_v", {RANDOM_WIDTH, RANDOM_WIDTH}},
                 {"attn_output", {RANDOM_WIDTH, RANDOM_WIDTH}},
                 {"ffn_norm", {RANDOM_WIDTH, 1}},
                 {"ffn_gate", {RANDOM_WIDTH, RANDOM_FF}},
                 {"ffn_up", {RANDOM_WIDTH, RANDOM_FF}},
                 {"ffn_down", {RANDOM_FF, RANDOM_WIDTH}}};
    *out++ = (random_tensor){"token_embd.weight", {RANDOM_WIDTH, TINY_N_SPM}};
    *out++ = (random_tensor){"output.weight", {RANDOM_WIDTH, TINY_N_SPM}};
    *out++ = (random_tensor){"output_norm.weight", {RANDOM_WIDTH, 1}};
    for (int i = 0; i < RANDOM_LAYERS; i++) {
        for (int k = 0; k < 9; k++, out++) {
            *out = (random_tensor){.ne = {layer[k].ne[0], layer[k].ne[1]}};
            snprintf(out->name, sizeof out->name, "blk.%d.%s.weight", i, layer[k].name);
        }
    }
}

/// Returns false where the file cannot be written.
static inline bool random_model_write(const char *path, uint64_t seed)
{
    random_tensor tensors[RANDOM_TENSORS];
    random_model_tensors(tensors);
    gguf_writer w = tiny_spm((tiny_options){0});
    uint64_t offset = 0, n_kv = 8 + 8;
    memset(w.data + 8, 0, 16);
    w.data[8] = RANDOM_TENSORS;
    w.data[16] = (uint8_t)n_kv;
    gw_kv_str(&w, "general.architecture", "llama");
    gw_kv_u32(&w, "llama.context_length", 256);
    gw_kv_u32(&w, "llama.embedding_length", RANDOM_WIDTH);
    gw_kv_u32(&w, "llama.block_count", RANDOM_LAYERS);
    gw_kv_u32(&w, "llama.feed_forward_length", RANDOM_FF);
    gw_kv_u32(&w, "llama.attention.head_count", RANDOM_HEADS);
    gw_key(&w, "llama.attention.layer_norm_rms_epsilon", HSDI_GGUF_F32);
    gw_f32(&w, 1e-5f);
    gw_kv_u32(&w, "llama.rope.dimension_count", RANDOM_WIDTH / RANDOM_HEADS);
    for (int i = 0; i < RANDOM_TENSORS; i++) {
        const random_tensor *t = &tensors[i];
        gw_tensor(&w, t->name, t->ne[1] > 1 ? 2 : 1, t->ne, 0, offset);
        offset += (t->ne[0] * t->ne[1] * sizeof(float) + 31) / 32 * 32;
    }
    for (int i = 0; i < RANDOM_TENSORS; i++) {
        const random_tensor *t = &tensors[i];
        gw_align(&w, 32);
        for (uint64_t k = 0; k < t->ne[0] * t->ne[1]; k++) {
            double x = hsdi_uniform_at(seed, (int64_t)k, (uint32_t)i) - 0.5;
            gw_f32(&w, t->ne[1] > 1 ? (float)(x * 3.0 / sqrt((double)t->ne[0])) : 1.0f);
        }
    }
    FILE *file = fopen(path, "wb");
    bool ok = file && fwrite(w.data, 1, w.n, file) == w.n;
    ok = file && fclose(file) == 0 && ok;
    free(w.data);
    return ok;
}

#endif
