/// Weights as weights.c puts them on a device and graphs.c names them in graphs.
#ifndef HSDI_ENGINE_WEIGHTS_INTERNAL_H
#define HSDI_ENGINE_WEIGHTS_INTERNAL_H

#include "engine/weights.h"

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

#endif
