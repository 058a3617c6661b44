/// Reading from an open GGUF file. Bounds were checked when it was opened.
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "engine/gguf_internal.h"
#include "engine/unicode.h"
#include "kernels/kernels.h"

uint32_t hsdi_gguf_version(const hsdi_gguf *g)
{
    return g->version;
}

uint64_t hsdi_gguf_size_bytes(const hsdi_gguf *g)
{
    return g->size;
}

int64_t hsdi_gguf_n_kv(const hsdi_gguf *g)
{
    return g->n_kv;
}

const hsdi_gguf_kv *hsdi_gguf_kv_at(const hsdi_gguf *g, int64_t i_kv)
{
    return i_kv >= 0 && i_kv < g->n_kv ? &g->kv[i_kv] : NULL;
}

const hsdi_gguf_kv *hsdi_gguf_find(const hsdi_gguf *g, const char *key)
{
    return hsdi_gguf_kv_at(g, hsdi_strmap_get(&g->key_index, key, strlen(key)));
}

int64_t hsdi_gguf_n_tensors(const hsdi_gguf *g)
{
    return g->n_tensors;
}

const hsdi_gguf_tensor *hsdi_gguf_tensor_at(const hsdi_gguf *g, int64_t i_tensor)
{
    return i_tensor >= 0 && i_tensor < g->n_tensors ? &g->tensors[i_tensor] : NULL;
}

const hsdi_gguf_tensor *hsdi_gguf_tensor_find(const hsdi_gguf *g, const char *name)
{
    return hsdi_gguf_tensor_at(g, hsdi_strmap_get(&g->tensor_index, name, strlen(name)));
}

static hsd_status missing(const char *key, hsd_error *err)
{
    return hsdi_fail(err, HSD_EFORMAT, key, "the key %s is missing", key);
}

static hsd_status wrong_type(const hsdi_gguf_kv *kv, const char *wanted, hsd_error *err)
{
    return hsdi_fail_at(err, HSD_EFORMAT, kv->key, (int64_t)kv->offset,
                        "the key %s is of type %s%s, %s is needed", kv->key,
                        kv->type == HSDI_GGUF_ARRAY ? "array of " : "",
                        hsdi_gguf_type_name(kv->elem_type), wanted);
}

hsd_status hsdi_gguf_at_int(const hsdi_gguf_kv *kv, uint64_t i, int64_t *out)
{
    if (i >= kv->n) {
        return HSD_EINVAL;
    }
    const uint8_t *p = kv->data;
    switch (kv->elem_type) {
    case HSDI_GGUF_U8:
    case HSDI_GGUF_BOOL:
        *out = p[i];
        return HSD_OK;
    case HSDI_GGUF_I8:
        *out = (int8_t)p[i];
        return HSD_OK;
    case HSDI_GGUF_U16:
        *out = p[2 * i] | p[2 * i + 1] << 8;
        return HSD_OK;
    case HSDI_GGUF_I16:
        *out = (int16_t)(p[2 * i] | p[2 * i + 1] << 8);
        return HSD_OK;
    case HSDI_GGUF_U32:
        *out = hsdi_le32(p + 4 * i);
        return HSD_OK;
    case HSDI_GGUF_I32:
        *out = (int32_t)hsdi_le32(p + 4 * i);
        return HSD_OK;
    case HSDI_GGUF_U64:
        if (hsdi_le64(p + 8 * i) > INT64_MAX) {
            return HSD_EINVAL;
        }
        *out = (int64_t)hsdi_le64(p + 8 * i);
        return HSD_OK;
    case HSDI_GGUF_I64:
        *out = (int64_t)hsdi_le64(p + 8 * i);
        return HSD_OK;
    default:
        return HSD_EINVAL;
    }
}

hsd_status hsdi_gguf_at_f32(const hsdi_gguf_kv *kv, uint64_t i, float *out)
{
    if (i >= kv->n) {
        return HSD_EINVAL;
    }
    if (kv->elem_type == HSDI_GGUF_F32) {
        uint32_t bits = hsdi_le32(kv->data + 4 * i);
        memcpy(out, &bits, sizeof bits);
        return HSD_OK;
    }
    if (kv->elem_type == HSDI_GGUF_F64) {
        uint64_t bits = hsdi_le64(kv->data + 8 * i);
        double d;
        memcpy(&d, &bits, sizeof bits);
        // Out of float's range is undefined for a conversion in C; make it what IEEE would say.
        *out =
            fabs(d) > 3.4028235677973366e38 ? copysignf(INFINITY, (float)copysign(1, d)) : (float)d;
        return HSD_OK;
    }
    return HSD_EINVAL;
}

hsd_status hsdi_gguf_at_str(const hsdi_gguf_kv *kv, uint64_t i, hsdi_gguf_str *out)
{
    if (kv->elem_type != HSDI_GGUF_STRING || i >= kv->n) {
        return HSD_EINVAL;
    }
    const uint8_t *p = kv->data + (kv->str_at[i] - kv->offset);
    *out = (hsdi_gguf_str){(const char *)p + 8, (size_t)hsdi_le64(p)};
    return HSD_OK;
}

static bool is_integer(hsdi_gguf_type type)
{
    return type <= HSDI_GGUF_I32 || type == HSDI_GGUF_U64 || type == HSDI_GGUF_I64;
}

hsd_status hsdi_gguf_get_int(const hsdi_gguf *g, const char *key, int64_t min, int64_t max,
                             int64_t *out, hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, key);
    int64_t v;
    if (!kv) {
        return missing(key, err);
    }
    if (!is_integer(kv->type)) {
        return wrong_type(kv, "an integer", err);
    }
    if (hsdi_gguf_at_int(kv, 0, &v) != HSD_OK) {
        return hsdi_fail_at(err, HSD_EFORMAT, key, (int64_t)kv->offset,
                            "the key %s is %" PRIu64 ", out of range", key, hsdi_le64(kv->data));
    }
    if (v < min || v > max) {
        return hsdi_fail_at(err, HSD_EFORMAT, key, (int64_t)kv->offset,
                            "the key %s is %" PRId64 ", %" PRId64 " to %" PRId64 " is allowed", key,
                            v, min, max);
    }
    *out = v;
    return HSD_OK;
}

hsd_status hsdi_gguf_get_int_or(const hsdi_gguf *g, const char *key, int64_t min, int64_t max,
                                int64_t other, int64_t *out, hsd_error *err)
{
    if (!hsdi_gguf_find(g, key)) {
        *out = other;
        return HSD_OK;
    }
    return hsdi_gguf_get_int(g, key, min, max, out, err);
}

hsd_status hsdi_gguf_get_f32(const hsdi_gguf *g, const char *key, float *out, hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, key);
    float v;
    if (!kv) {
        return missing(key, err);
    }
    if (kv->type == HSDI_GGUF_ARRAY || hsdi_gguf_at_f32(kv, 0, &v) != HSD_OK) {
        return wrong_type(kv, "f32", err);
    }
    if (!isfinite(v)) {
        return hsdi_fail_at(err, HSD_EFORMAT, key, (int64_t)kv->offset,
                            "the key %s is not a finite number", key);
    }
    *out = v;
    return HSD_OK;
}

hsd_status hsdi_gguf_get_f32_or(const hsdi_gguf *g, const char *key, float other, float *out,
                                hsd_error *err)
{
    if (!hsdi_gguf_find(g, key)) {
        *out = other;
        return HSD_OK;
    }
    return hsdi_gguf_get_f32(g, key, out, err);
}

hsd_status hsdi_gguf_get_bool_or(const hsdi_gguf *g, const char *key, bool other, bool *out,
                                 hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, key);
    if (!kv) {
        *out = other;
        return HSD_OK;
    }
    if (kv->type != HSDI_GGUF_BOOL) {
        return wrong_type(kv, "bool", err);
    }
    *out = kv->data[0] != 0;
    return HSD_OK;
}

hsd_status hsdi_gguf_get_str(const hsdi_gguf *g, const char *key, hsdi_gguf_str *out,
                             hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, key);
    if (!kv) {
        return missing(key, err);
    }
    if (kv->type != HSDI_GGUF_STRING) {
        return wrong_type(kv, "string", err);
    }
    return hsdi_gguf_at_str(kv, 0, out);
}

hsd_status hsdi_gguf_get_str_or(const hsdi_gguf *g, const char *key, const char *other,
                                hsdi_gguf_str *out, hsd_error *err)
{
    if (!hsdi_gguf_find(g, key)) {
        *out = (hsdi_gguf_str){other, strlen(other)};
        return HSD_OK;
    }
    return hsdi_gguf_get_str(g, key, out, err);
}

hsd_status hsdi_gguf_get_array(const hsdi_gguf *g, const char *key, hsdi_gguf_type elem_type,
                               const hsdi_gguf_kv **out, hsd_error *err)
{
    const hsdi_gguf_kv *kv = hsdi_gguf_find(g, key);
    if (!kv) {
        return missing(key, err);
    }
    if (kv->type != HSDI_GGUF_ARRAY || kv->elem_type != elem_type) {
        char wanted[32] = "array of ";
        strncat(wanted, hsdi_gguf_type_name(elem_type), sizeof wanted - strlen(wanted) - 1);
        return wrong_type(kv, wanted, err);
    }
    *out = kv;
    return HSD_OK;
}

static hsd_status unknown_type(const hsdi_gguf_tensor *t, hsd_error *err)
{
    char name[80];
    hsdi_text_escape(name, sizeof name, t->name, strlen(t->name));
    return hsdi_fail_at(err, HSD_EUNSUPPORTED, name, (int64_t)t->info_offset,
                        "tensor %s is of type %" PRIu32 " (%s), which this build does not support",
                        name, t->type, hsdi_gguf_tensor_type_name(t->type));
}

hsd_status hsdi_gguf_tensor_get(const hsdi_gguf *g, const char *name, const hsdi_gguf_tensor **out,
                                hsd_error *err)
{
    const hsdi_gguf_tensor *t = hsdi_gguf_tensor_find(g, name);
    if (!t) {
        return hsdi_fail(err, HSD_EFORMAT, name, "the tensor %s is missing", name);
    }
    if (!t->known) {
        return unknown_type(t, err);
    }
    *out = t;
    return HSD_OK;
}

hsd_status hsdi_gguf_check_types(const hsdi_gguf *g, hsd_error *err)
{
    for (int64_t i = 0; i < g->n_tensors; i++) {
        if (!g->tensors[i].known) {
            return unknown_type(&g->tensors[i], err);
        }
    }
    return HSD_OK;
}

const char *hsdi_gguf_tensor_type_name(uint32_t type)
{
    static const char *const names[] = {
        [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
        [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
        [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
        [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
        [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
        [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
        [35] = "TQ2_0",  [39] = "MXFP4",
    };
    if (type < sizeof names / sizeof names[0] && names[type]) {
        return names[type];
    }
    return "?";
}

const char *hsdi_gguf_type_name(hsdi_gguf_type type)
{
    static const char *const names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
    return (unsigned)type < sizeof names / sizeof names[0] ? names[type] : "?";
}

uint64_t hsdi_gguf_fingerprint(const hsdi_gguf *g)
{
    enum { N_SAMPLES = 16, SAMPLE_BYTES = 256 };
    uint64_t head = g->data_offset < g->size ? g->data_offset : g->size;
    uint64_t hash = hsdi_fnv1a(hsdi_fnv1a_u64(HSDI_FNV_START, g->size), g->data, head);
    for (int64_t i = 0; i < g->n_tensors; i++) {
        const hsdi_gguf_tensor *t = &g->tensors[i];
        const uint8_t *p = t->data;
        if (t->size_bytes <= N_SAMPLES * SAMPLE_BYTES) {
            hash = hsdi_fnv1a(hash, p, t->size_bytes);
            continue;
        }
        // Evenly spaced, the first sample at the front, the last at the very end.
        size_t step = (t->size_bytes - SAMPLE_BYTES) / (N_SAMPLES - 1);
        for (size_t k = 0; k + 1 < N_SAMPLES; k++) {
            hash = hsdi_fnv1a(hash, p + k * step, SAMPLE_BYTES);
        }
        hash = hsdi_fnv1a(hash, p + t->size_bytes - SAMPLE_BYTES, SAMPLE_BYTES);
    }
    return hash;
}
