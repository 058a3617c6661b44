/// GGUF model files, versions 2 and 3, little-endian, read through a memory map.
///
/// Opening checks everything once: every count, length, offset, product and region lies within the
/// file, no name occurs twice, no two tensors overlap. After that every pointer handed out is safe
/// to read to its stated length. Nothing is allocated in proportion to a number that the file's
/// size does not already vouch for.
///
/// Not covered: a file that another process shortens while it is mapped (the kernel then raises
/// SIGBUS), and hosts that are not little-endian.
///
/// An open file is immutable: any number of threads may read it.
/// Source: ggml's docs/gguf.md.  Proof: tests/engine/test_gguf.c, tests/fuzz/fuzz_gguf.c
#ifndef HSDI_ENGINE_GGUF_H
#define HSDI_ENGINE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hsd/status.h>

typedef struct hsdi_gguf hsdi_gguf;

/// Types of metadata values, as in the file.
typedef enum hsdi_gguf_type {
    HSDI_GGUF_U8 = 0,
    HSDI_GGUF_I8 = 1,
    HSDI_GGUF_U16 = 2,
    HSDI_GGUF_I16 = 3,
    HSDI_GGUF_U32 = 4,
    HSDI_GGUF_I32 = 5,
    HSDI_GGUF_F32 = 6,
    HSDI_GGUF_BOOL = 7,
    HSDI_GGUF_STRING = 8,
    HSDI_GGUF_ARRAY = 9,
    HSDI_GGUF_U64 = 10,
    HSDI_GGUF_I64 = 11,
    HSDI_GGUF_F64 = 12,
} hsdi_gguf_type;

/// Bytes in the file, not terminated, any content. Borrowed until the file is closed.
typedef struct hsdi_gguf_str {
    const char *data;
    size_t n;
} hsdi_gguf_str;

/// One metadata entry. Borrowed until the file is closed.
typedef struct hsdi_gguf_kv {
    const char *key;          ///< terminated
    hsdi_gguf_type type;      ///< of the value
    hsdi_gguf_type elem_type; ///< of an array's elements; else the same as type
    uint64_t n;               ///< elements; 1 for a value that is no array
    uint64_t offset;          ///< of the (first) value in the file
    const uint8_t *data;      ///< at that offset
    const uint64_t *str_at;   ///< strings: offset of each one's length field; else NULL
} hsdi_gguf_kv;

/// One tensor. Borrowed until the file is closed.
typedef struct hsdi_gguf_tensor {
    const char *name; ///< terminated
    uint32_t type;    ///< number in the file, an hsdi_type when this build knows it
    bool known;       ///< false: type unknown, size_bytes is 0; for listing only
    int n_dims;       ///< 1..4
    int64_t ne[4];    ///< elements per dimension, fastest first; 1 beyond n_dims
    uint64_t offset;  ///< of the data in the file
    const void *data; ///< at that offset
    size_t size_bytes;
    uint64_t info_offset; ///< of the tensor's description in the file
} hsdi_gguf_tensor;

/// Map and check a file.
///
/// Result : *out is owned by the caller; NULL on failure.
/// Errors : EIO; EFORMAT with field (where), byte offset and sentence; EUNSUPPORTED version,
///          byte order or nested array; ENOMEM. A tensor of unknown type is no error here.
HSD_NODISCARD hsd_status hsdi_gguf_open(const char *path, hsdi_gguf **out, hsd_error *err);

/// The same for bytes in memory. Owner: data borrowed until close.
HSD_NODISCARD hsd_status hsdi_gguf_open_memory(const void *data, size_t size_bytes, hsdi_gguf **out,
                                               hsd_error *err);

/// Close and set to NULL; *g may be NULL.
void hsdi_gguf_close(hsdi_gguf **g);
/// Closing leaves the file mapped for good: a device that hangs may still read it.
void hsdi_gguf_leave_mapped(hsdi_gguf *g);

uint32_t hsdi_gguf_version(const hsdi_gguf *g);
uint64_t hsdi_gguf_size_bytes(const hsdi_gguf *g);
int64_t hsdi_gguf_n_kv(const hsdi_gguf *g);
const hsdi_gguf_kv *hsdi_gguf_kv_at(const hsdi_gguf *g, int64_t i_kv);

/// Entry of a key, NULL when it is absent.
const hsdi_gguf_kv *hsdi_gguf_find(const hsdi_gguf *g, const char *key);

// Getters. An absent key is HSD_EFORMAT ("the key ... is missing"); the _or forms put `other`
// instead. A key of a wrong type or out of range is an error in both. *out is untouched on error.

/// Any integer type whose value lies in min..max.
HSD_NODISCARD hsd_status hsdi_gguf_get_int(const hsdi_gguf *g, const char *key, int64_t min,
                                           int64_t max, int64_t *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_gguf_get_int_or(const hsdi_gguf *g, const char *key, int64_t min,
                                              int64_t max, int64_t other, int64_t *out,
                                              hsd_error *err);
/// f32 or f64, finite.
HSD_NODISCARD hsd_status hsdi_gguf_get_f32(const hsdi_gguf *g, const char *key, float *out,
                                           hsd_error *err);
HSD_NODISCARD hsd_status hsdi_gguf_get_f32_or(const hsdi_gguf *g, const char *key, float other,
                                              float *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_gguf_get_bool_or(const hsdi_gguf *g, const char *key, bool other,
                                               bool *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_gguf_get_str(const hsdi_gguf *g, const char *key, hsdi_gguf_str *out,
                                           hsd_error *err);
/// `other` is terminated text, borrowed as long as *out is used.
HSD_NODISCARD hsd_status hsdi_gguf_get_str_or(const hsdi_gguf *g, const char *key,
                                              const char *other, hsdi_gguf_str *out,
                                              hsd_error *err);
/// An array with elements of exactly this type.
HSD_NODISCARD hsd_status hsdi_gguf_get_array(const hsdi_gguf *g, const char *key,
                                             hsdi_gguf_type elem_type, const hsdi_gguf_kv **out,
                                             hsd_error *err);

/// Element i of an array, or the value itself as element 0.
///
/// Errors : EINVAL: i out of range, or the type does not convert (int: any integer type or bool
///          within int64; f32: f32 or f64; str: string); *out untouched.
HSD_NODISCARD hsd_status hsdi_gguf_at_int(const hsdi_gguf_kv *kv, uint64_t i, int64_t *out);
HSD_NODISCARD hsd_status hsdi_gguf_at_f32(const hsdi_gguf_kv *kv, uint64_t i, float *out);
HSD_NODISCARD hsd_status hsdi_gguf_at_str(const hsdi_gguf_kv *kv, uint64_t i, hsdi_gguf_str *out);

int64_t hsdi_gguf_n_tensors(const hsdi_gguf *g);
const hsdi_gguf_tensor *hsdi_gguf_tensor_at(const hsdi_gguf *g, int64_t i_tensor);

/// Tensor of a name, NULL when it is absent. Its type may be unknown.
const hsdi_gguf_tensor *hsdi_gguf_tensor_find(const hsdi_gguf *g, const char *name);

/// A tensor that can be used.
///
/// Errors : EFORMAT it is absent; EUNSUPPORTED its type is unknown, with name and type number.
HSD_NODISCARD hsd_status hsdi_gguf_tensor_get(const hsdi_gguf *g, const char *name,
                                              const hsdi_gguf_tensor **out, hsd_error *err);

/// HSD_EUNSUPPORTED naming the first tensor of unknown type and that type, else HSD_OK.
HSD_NODISCARD hsd_status hsdi_gguf_check_types(const hsdi_gguf *g, hsd_error *err);

/// Name of a tensor type for people: "Q4_K", also of types that this build cannot use; "?" else.
const char *hsdi_gguf_tensor_type_name(uint32_t type);

/// "u32", "string", ...; "?" for an unknown one.
const char *hsdi_gguf_type_name(hsdi_gguf_type type);

/// Identity of a model: metadata, tensor descriptions and samples of every tensor's data.
///
/// Result : the same for the same bytes on every machine. Two files that differ only in bytes that
///          are not sampled get the same value: it tells models apart, it proves nothing.
/// Cost   : reads the metadata and at most 4 KiB per tensor.
uint64_t hsdi_gguf_fingerprint(const hsdi_gguf *g);

#endif
