/// @file model.h
/// What a model file is, without running it.
#ifndef HSD_MODEL_H
#define HSD_MODEL_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HSD_MODEL_MAX_TYPES = 40 };

/// How many tensors of a file have one element type.
typedef struct hsd_model_type_count {
    char name[16];  ///< "Q8_0"; "type 17" for a type this build does not know
    bool supported; ///< hsd can compute with it
    int64_t n_tensors;
    int64_t size_bytes;
} hsd_model_type_count;

/// Facts about a GGUF model file. Plain data.
typedef struct hsd_model_info {
    int gguf_version;          ///< 2 or 3
    char architecture[32];     ///< "llama", "qwen2", "qwen3", "gpt2" or what the file says
    bool supported;            ///< hsd can run it
    char unsupported_why[256]; ///< a sentence when it cannot
    char name[128];            ///< general.name, may be empty
    int64_t n_parameters;      ///< elements of all tensors
    int64_t file_bytes;
    int n_layers, n_ctx, n_embd, n_head, n_kv_head, d_head, n_ff;
    bool tied_head;         ///< the LM head is the token embedding
    char rope[64];          ///< "none", "linear x4", "llama3", "yarn x4"; "absolute" for gpt2
    char tokenizer[32];     ///< "llama", "gpt2"
    char pre_tokenizer[32]; ///< for gpt2 tokenizers, as the file says
    int n_vocab;
    int32_t bos, eos; ///< token ids, -1 when there is none
    bool add_bos;
    uint64_t fingerprint; ///< hash over metadata and weights
    uint64_t vocab_hash;  ///< hash over the vocabulary; equal for a usable pair
    int n_types;
    hsd_model_type_count types[HSD_MODEL_MAX_TYPES];
} hsd_model_info;

/// Read a model file's description. `path` NULL: the shipped target.
///
/// Result : *out is filled also for an architecture that hsd cannot run (`supported` false).
/// Errors : HSD_EIO; HSD_EFORMAT with field and byte offset. *out untouched on error.
/// Thread : any.
HSD_API HSD_NODISCARD hsd_status hsd_model_inspect(const char *path, hsd_model_info *out,
                                                   hsd_error *err);

#ifdef __cplusplus
}
#endif
#endif
