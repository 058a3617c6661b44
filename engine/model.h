/// A model: hyperparameters and tensors of a GGUF file, checked against each other.
#ifndef HSDI_ENGINE_MODEL_H
#define HSDI_ENGINE_MODEL_H

#include "base/arena.h"
#include "engine/gguf.h"

#include <hsd/status.h>
#include <stdbool.h>

typedef enum hsdi_arch {
    HSDI_ARCH_LLAMA = 0, ///< also Mistral
    HSDI_ARCH_QWEN2 = 1,
    HSDI_ARCH_QWEN3 = 2,
    HSDI_ARCH_GPT2 = 3,
    HSDI_N_ARCHS = 4,
} hsdi_arch;

/// A matrix and its bias, either of which may be absent.
typedef struct hsdi_linear {
    const hsdi_gguf_tensor *w, *b;
} hsdi_linear;

typedef struct hsdi_layer {
    hsdi_linear attn_norm, ffn_norm;
    hsdi_linear qkv; ///< gpt2: one matrix; else NULL
    hsdi_linear q, k, v;
    hsdi_linear q_norm, k_norm; ///< qwen3: per head
    hsdi_linear attn_out;
    hsdi_linear gate; ///< absent for gpt2
    hsdi_linear up, down;
} hsdi_layer;

/// Immutable after loading; any thread may read it.
typedef struct hsdi_model {
    hsdi_gguf *gguf; ///< owned: the tensors live in its map
    hsdi_arena arena;
    hsdi_arch arch;
    int n_layers, n_ctx, n_embd, n_head, n_kv, d_head, n_ff, n_vocab;
    float norm_eps;
    bool rms_norm, neox;
    int n_rot;          ///< 0: absolute positions
    double *rope_freqs; ///< [n_rot/2] angle per position, scaling applied
    float rope_mscale;
    char rope_name[64]; ///< for people
    bool tied_head;
    const hsdi_gguf_tensor *token_embd, *pos_embd;
    hsdi_linear output_norm, output;
    hsdi_layer *layers; ///< [n_layers]
    int64_t n_parameters;
} hsdi_model;

/// Open and check a model file.
///
/// Errors : those of hsdi_gguf_open; HSD_EFORMAT and HSD_EUNSUPPORTED with key or tensor.
HSD_NODISCARD hsd_status hsdi_model_load(const char *path, hsdi_model **out, hsd_error *err);
void hsdi_model_free(hsdi_model **model);

/// Architecture of a file; HSD_EUNSUPPORTED with its name when hsd cannot run it.
HSD_NODISCARD hsd_status hsdi_model_find_arch(const hsdi_gguf *g, hsdi_arch *out, hsd_error *err);

/// Positions that the model can take: its position table, or without bound (rotary positions).
int hsdi_model_max_ctx(const hsdi_model *model);

/// "llama", "gpt2", ...
const char *hsdi_arch_name(hsdi_arch arch);

/// Angles per position of every rotated pair, and how the file scales them. Fills n_rot,
/// rope_freqs, rope_mscale and rope_name.
HSD_NODISCARD hsd_status hsdi_model_read_rope(hsdi_model *model, hsd_error *err);

#endif
