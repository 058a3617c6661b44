/// Parsing a GGUF file: one pass that checks everything before anything is handed out.
///
/// The cursor never moves past the end: take() is the only function that advances it. A count is
/// compared with the bytes that are left before anything is allocated for it.
#include "engine/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/gguf_internal.h"
#include "engine/unicode.h"
#include "kernels/kernels.h"

enum {
    MAX_KEY_BYTES = 65535, // the format's limit
    MAX_NAME_BYTES = 127,  // the format says 64; room for tools that are generous
    MIN_KV_BYTES = 8 + 1 + 4 + 1,
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8,
    DEFAULT_ALIGNMENT = 32,
    LABEL_BYTES = 112,
};

typedef struct cursor {
    hsdi_gguf *g;
    uint64_t pos;
    hsd_error *err;
    char field[LABEL_BYTES]; // what is being read, for messages
} cursor;

static uint64_t left(const cursor *c)
{
    return c->g->size - c->pos;
}

static hsd_status cut_off(const cursor *c, uint64_t needed, const char *what)
{
    return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)c->pos,
                        "%s: %s needs %" PRIu64 " bytes, the file ends after %" PRIu64, c->field,
                        what, needed, left(c));
}

static hsd_status take(cursor *c, uint64_t n, const uint8_t **out, const char *what)
{
    if (n > left(c)) {
        return cut_off(c, n, what);
    }
    *out = c->g->data + c->pos;
    c->pos += n;
    return HSD_OK;
}

static hsd_status take_u32(cursor *c, uint32_t *out, const char *what)
{
    const uint8_t *p = NULL;
    hsd_status s = take(c, 4, &p, what);
    if (s == HSD_OK) {
        *out = hsdi_le32(p);
    }
    return s;
}

static hsd_status take_u64(cursor *c, uint64_t *out, const char *what)
{
    const uint8_t *p = NULL;
    hsd_status s = take(c, 8, &p, what);
    if (s == HSD_OK) {
        *out = hsdi_le64(p);
    }
    return s;
}

// A key or tensor name: terminated copy in the arena.
static hsd_status take_name(cursor *c, uint64_t max, const char **out, size_t *n_out)
{
    uint64_t n;
    const uint8_t *p = NULL;
    uint64_t at = c->pos;
    hsd_status s = take_u64(c, &n, "the length of the name");
    if (s != HSD_OK) {
        return s;
    }
    if (n == 0 || n > max) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)at,
                            "%s: a name of %" PRIu64 " bytes, 1 to %" PRIu64 " are allowed",
                            c->field, n, max);
    }
    s = take(c, n, &p, "the name");
    if (s != HSD_OK) {
        return s;
    }
    if (memchr(p, 0, n)) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)at + 8,
                            "%s: the name contains a zero byte", c->field);
    }
    *out = hsdi_arena_strndup(&c->g->arena, (const char *)p, n);
    *n_out = n;
    return *out ? HSD_OK : hsdi_fail(c->err, HSD_ENOMEM, c->field, "no memory for a name");
}

static void label(cursor *c, const char *kind, int64_t i, const char *name)
{
    char safe[80];
    hsdi_text_escape(safe, sizeof safe, name, strlen(name));
    snprintf(c->field, sizeof c->field, "%s %" PRId64 " (%s)", kind, i, safe);
}

static hsd_status take_strings(cursor *c, hsdi_gguf_kv *kv)
{
    if (kv->n > left(c) / 8) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)c->pos,
                            "%s: %" PRIu64 " strings do not fit into the %" PRIu64
                            " bytes that are left",
                            c->field, kv->n, left(c));
    }
    uint64_t *at = hsdi_arena_array(&c->g->arena, kv->n, sizeof *at);
    if (!at) {
        return hsdi_fail(c->err, HSD_ENOMEM, c->field, "no memory for %" PRIu64 " strings", kv->n);
    }
    for (uint64_t i = 0; i < kv->n; i++) {
        uint64_t n;
        const uint8_t *p = NULL;
        at[i] = c->pos;
        hsd_status s = take_u64(c, &n, "the length of a string");
        if (s == HSD_OK) {
            s = take(c, n, &p, "a string");
        }
        if (s != HSD_OK) {
            return s;
        }
    }
    kv->str_at = at;
    return HSD_OK;
}

static hsd_status take_scalars(cursor *c, hsdi_gguf_kv *kv)
{
    const uint8_t *p = NULL;
    unsigned bytes = hsdi_gguf_scalar_bytes(kv->elem_type);
    if (kv->n > left(c) / bytes) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)c->pos,
                            "%s: %" PRIu64 " values of %u bytes do not fit into the %" PRIu64
                            " bytes that are left",
                            c->field, kv->n, bytes, left(c));
    }
    hsd_status s = take(c, kv->n * bytes, &p, "the value");
    if (s != HSD_OK || kv->elem_type != HSDI_GGUF_BOOL) {
        return s;
    }
    for (uint64_t i = 0; i < kv->n; i++) {
        if (p[i] > 1) {
            return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)(kv->offset + i),
                                "%s: a bool is 0 or 1, not %d", c->field, p[i]);
        }
    }
    return HSD_OK;
}

static hsd_status check_value_type(cursor *c, uint32_t type, uint64_t at)
{
    if (type > HSDI_GGUF_F64) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)at,
                            "%s: there is no value type %" PRIu32, c->field, type);
    }
    return HSD_OK;
}

static hsd_status take_value(cursor *c, hsdi_gguf_kv *kv)
{
    uint32_t type;
    uint64_t at = c->pos;
    hsd_status s = take_u32(c, &type, "the value type");
    if (s != HSD_OK || (s = check_value_type(c, type, at)) != HSD_OK) {
        return s;
    }
    kv->type = kv->elem_type = (hsdi_gguf_type)type;
    kv->n = 1;
    if (type == HSDI_GGUF_ARRAY) {
        at = c->pos;
        s = take_u32(c, &type, "the element type");
        if (s != HSD_OK || (s = check_value_type(c, type, at)) != HSD_OK) {
            return s;
        }
        if (type == HSDI_GGUF_ARRAY) {
            return hsdi_fail_at(c->err, HSD_EUNSUPPORTED, c->field, (int64_t)at,
                                "%s: arrays of arrays are not supported", c->field);
        }
        kv->elem_type = (hsdi_gguf_type)type;
        if ((s = take_u64(c, &kv->n, "the array length")) != HSD_OK) {
            return s;
        }
    }
    kv->offset = c->pos;
    kv->data = c->g->data + c->pos;
    return type == HSDI_GGUF_STRING ? take_strings(c, kv) : take_scalars(c, kv);
}

static hsd_status take_kv(cursor *c, int64_t i)
{
    hsdi_gguf *g = c->g;
    hsdi_gguf_kv *kv = &g->kv[i];
    size_t n;
    uint64_t at = c->pos;
    snprintf(c->field, sizeof c->field, "key %" PRId64, i);
    hsd_status s = take_name(c, MAX_KEY_BYTES, &kv->key, &n);
    if (s != HSD_OK) {
        return s;
    }
    label(c, "key", i, kv->key);
    int32_t before = hsdi_strmap_put(&g->key_index, kv->key, n, (int32_t)i);
    if (before >= 0) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)at,
                            "%s: the same key is entry %" PRId32 " already", c->field, before);
    }
    return take_value(c, kv);
}

// Elements and bytes of a tensor from its dimensions.
static hsd_status measure(cursor *c, hsdi_gguf_tensor *t)
{
    const hsdi_type_info *info = hsdi_type_find(t->type);
    int64_t n_elems = 1;
    for (int d = 0; d < t->n_dims; d++) {
        if (t->ne[d] <= 0) {
            return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                                "%s: dimension %d is %s", c->field, d,
                                t->ne[d] == 0 ? "0" : "beyond 63 bits");
        }
        if (__builtin_mul_overflow(n_elems, t->ne[d], &n_elems)) {
            return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                                "%s: the product of the dimensions overflows", c->field);
        }
    }
    t->known = info != NULL;
    if (!info) {
        return HSD_OK;
    }
    if (t->ne[0] % info->block_elems != 0) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: rows of %" PRId64 " elements, %s has blocks of %d", c->field,
                            t->ne[0], info->name, info->block_elems);
    }
    int64_t bytes;
    if (__builtin_mul_overflow(n_elems / info->block_elems, (int64_t)info->block_bytes, &bytes)) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: the size in bytes overflows", c->field);
    }
    t->size_bytes = (size_t)bytes;
    return HSD_OK;
}

static hsd_status take_dims(cursor *c, hsdi_gguf_tensor *t)
{
    uint32_t n_dims;
    uint64_t at = c->pos;
    hsd_status s = take_u32(c, &n_dims, "the number of dimensions");
    if (s != HSD_OK) {
        return s;
    }
    if (n_dims < 1 || n_dims > 4) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)at,
                            "%s: %" PRIu32 " dimensions, 1 to 4 are allowed", c->field, n_dims);
    }
    t->n_dims = (int)n_dims;
    for (int d = 0; d < 4; d++) {
        uint64_t ne = 1;
        if (d < t->n_dims && (s = take_u64(c, &ne, "a dimension")) != HSD_OK) {
            return s;
        }
        // Beyond int64 the value turns negative, which measure() refuses.
        t->ne[d] = ne > INT64_MAX ? -1 : (int64_t)ne;
    }
    return HSD_OK;
}

static hsd_status take_tensor(cursor *c, int64_t i)
{
    hsdi_gguf *g = c->g;
    hsdi_gguf_tensor *t = &g->tensors[i];
    size_t n;
    t->info_offset = c->pos;
    snprintf(c->field, sizeof c->field, "tensor %" PRId64, i);
    hsd_status s = take_name(c, MAX_NAME_BYTES, &t->name, &n);
    if (s != HSD_OK) {
        return s;
    }
    label(c, "tensor", i, t->name);
    int32_t before = hsdi_strmap_put(&g->tensor_index, t->name, n, (int32_t)i);
    if (before >= 0) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: tensor %" PRId32 " has the same name", c->field, before);
    }
    if ((s = take_dims(c, t)) != HSD_OK || (s = take_u32(c, &t->type, "the type")) != HSD_OK ||
        (s = take_u64(c, &t->offset, "the offset")) != HSD_OK) {
        return s;
    }
    return measure(c, t);
}

// Offsets become absolute here, once the end of the descriptions is known.
static hsd_status place_tensor(cursor *c, int64_t i)
{
    hsdi_gguf *g = c->g;
    hsdi_gguf_tensor *t = &g->tensors[i];
    uint64_t begin, end;
    label(c, "tensor", i, t->name);
    if (t->offset % g->alignment != 0) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: the offset %" PRIu64 " is no multiple of the alignment %" PRIu64,
                            c->field, t->offset, g->alignment);
    }
    if (__builtin_add_overflow(g->data_offset, t->offset, &begin) ||
        __builtin_add_overflow(begin, (uint64_t)t->size_bytes, &end)) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: the offset %" PRIu64 " overflows", c->field, t->offset);
    }
    if (end > g->size || begin >= g->size) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, c->field, (int64_t)t->info_offset,
                            "%s: data %s at byte %" PRIu64 ", the file has %" PRIu64 " bytes",
                            c->field, end > g->size ? "ends" : "begins",
                            end > g->size ? end : begin, g->size);
    }
    t->offset = begin;
    t->data = g->data + begin;
    return HSD_OK;
}

static int by_offset(const void *a, const void *b)
{
    const hsdi_gguf_tensor *x = *(const hsdi_gguf_tensor *const *)a;
    const hsdi_gguf_tensor *y = *(const hsdi_gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static hsd_status refuse_overlap(cursor *c)
{
    hsdi_gguf *g = c->g;
    size_t n = (size_t)g->n_tensors;
    const hsdi_gguf_tensor **sorted = calloc(n ? n : 1, sizeof *sorted);
    hsd_status s = HSD_OK;
    if (!sorted) {
        return hsdi_fail(c->err, HSD_ENOMEM, "tensors", "no memory to sort %zu tensors", n);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = &g->tensors[i];
    }
    qsort(sorted, n, sizeof *sorted, by_offset);
    for (size_t i = 1; i < n && s == HSD_OK; i++) {
        const hsdi_gguf_tensor *a = sorted[i - 1], *b = sorted[i];
        // A tensor of unknown type has at least one byte.
        if (a->offset + (a->size_bytes ? a->size_bytes : 1) > b->offset) {
            char name[80], other[80];
            hsdi_text_escape(name, sizeof name, b->name, strlen(b->name));
            hsdi_text_escape(other, sizeof other, a->name, strlen(a->name));
            s = hsdi_fail_at(c->err, HSD_EFORMAT, name, (int64_t)b->info_offset,
                             "tensor %s begins at byte %" PRIu64 ", inside tensor %s", name,
                             b->offset, other);
        }
    }
    free(sorted);
    return s;
}

static hsd_status take_version(cursor *c)
{
    const uint8_t *magic = NULL;
    hsdi_gguf *g = c->g;
    snprintf(c->field, sizeof c->field, "header");
    hsd_status s = take(c, 4, &magic, "the magic number");
    if (s != HSD_OK) {
        return s;
    }
    if (memcmp(magic, "GGUF", 4) != 0) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, "magic", 0, "this is no GGUF file");
    }
    if ((s = take_u32(c, &g->version, "the version")) != HSD_OK) {
        return s;
    }
    if (g->version == 2 || g->version == 3) {
        return HSD_OK;
    }
    if ((g->version & 0xFFFF) == 0 && g->version != 0) {
        return hsdi_fail_at(c->err, HSD_EUNSUPPORTED, "version", 4,
                            "the file is big-endian, only little-endian files are supported");
    }
    return hsdi_fail_at(c->err, HSD_EUNSUPPORTED, "version", 4,
                        "GGUF version %" PRIu32 ", versions 2 and 3 are supported", g->version);
}

static hsd_status check_count(cursor *c, const char *field, uint64_t n, uint64_t at,
                              unsigned min_bytes)
{
    if (n > left(c) / min_bytes || n > INT32_MAX) {
        return hsdi_fail_at(c->err, HSD_EFORMAT, field, (int64_t)at,
                            "%s is %" PRIu64 ", too many for a file of %" PRIu64 " bytes", field, n,
                            c->g->size);
    }
    return HSD_OK;
}

static hsd_status take_counts(cursor *c)
{
    hsdi_gguf *g = c->g;
    uint64_t n_tensors, n_kv;
    hsd_status s = take_u64(c, &n_tensors, "the tensor count");
    if (s != HSD_OK || (s = take_u64(c, &n_kv, "the key count")) != HSD_OK ||
        (s = check_count(c, "tensor_count", n_tensors, 8, MIN_TENSOR_BYTES)) != HSD_OK ||
        (s = check_count(c, "metadata_kv_count", n_kv, 16, MIN_KV_BYTES)) != HSD_OK) {
        return s;
    }
    g->n_tensors = (int64_t)n_tensors;
    g->n_kv = (int64_t)n_kv;
    g->tensors = hsdi_arena_array(&g->arena, n_tensors, sizeof *g->tensors);
    g->kv = hsdi_arena_array(&g->arena, n_kv, sizeof *g->kv);
    if (!g->tensors || !g->kv || !hsdi_strmap_reserve(&g->key_index, n_kv) ||
        !hsdi_strmap_reserve(&g->tensor_index, n_tensors)) {
        return hsdi_fail(c->err, HSD_ENOMEM, "header", "no memory for the tables");
    }
    return HSD_OK;
}

static hsd_status take_alignment(cursor *c)
{
    hsdi_gguf *g = c->g;
    int64_t alignment;
    hsd_status s = hsdi_gguf_get_int_or(g, "general.alignment", 1, 1 << 30, DEFAULT_ALIGNMENT,
                                        &alignment, c->err);
    if (s != HSD_OK) {
        return s;
    }
    if ((alignment & (alignment - 1)) != 0) {
        const hsdi_gguf_kv *kv = hsdi_gguf_find(g, "general.alignment");
        return hsdi_fail_at(c->err, HSD_EFORMAT, kv->key, (int64_t)kv->offset,
                            "general.alignment is %" PRId64 ", not a power of two", alignment);
    }
    g->alignment = (uint64_t)alignment;
    return HSD_OK;
}

hsd_status hsdi_gguf_parse(hsdi_gguf *g, hsd_error *err)
{
    cursor c = {.g = g, .err = err};
    hsd_status s = take_version(&c);
    if (s != HSD_OK || (s = take_counts(&c)) != HSD_OK) {
        return s;
    }
    for (int64_t i = 0; i < g->n_kv; i++) {
        if ((s = take_kv(&c, i)) != HSD_OK) {
            return s;
        }
    }
    if ((s = take_alignment(&c)) != HSD_OK) {
        return s;
    }
    for (int64_t i = 0; i < g->n_tensors; i++) {
        if ((s = take_tensor(&c, i)) != HSD_OK) {
            return s;
        }
    }
    // No overflow: pos is at most the size of a file, the alignment at most 2^30.
    g->data_offset = (c.pos + g->alignment - 1) / g->alignment * g->alignment;
    for (int64_t i = 0; i < g->n_tensors; i++) {
        if ((s = place_tensor(&c, i)) != HSD_OK) {
            return s;
        }
    }
    return refuse_overlap(&c);
}
