/// See el.h.
#include "engine/el.h"

#include "base/error.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

hsd_status hsdi_el_check(const hsdi_model *m, hsd_error *err)
{
    if (m->n_rot > 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "cache",
                         "el needs a model without rotary positions: %s turns queries and keys by "
                         "their positions, which the absorbed product would leave out",
                         hsdi_arch_name(m->arch));
    }
    if (m->layers[0].k_norm.w) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "cache", "el needs keys that are not normed");
    }
    if (m->n_head > INT_MAX / m->n_embd) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "cache", "el with %d heads of %d numbers",
                         m->n_head, m->n_embd);
    }
    if (m->n_kv != m->n_head) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "cache",
                         "el saves nothing where %d heads share %d keys", m->n_head, m->n_kv);
    }
    return HSD_OK;
}

hsdi_el_parts hsdi_el_split(const hsdi_model *m, int i_layer)
{
    const hsdi_layer *l = &m->layers[i_layer];
    int64_t n = (int64_t)m->n_head * m->d_head;
    if (l->qkv.w) {
        return (hsdi_el_parts){.q = {l->qkv.w, 0, n},
                               .k = {l->qkv.w, n, n},
                               .v = {l->qkv.w, 2 * n, n},
                               .q_bias = {l->qkv.b, 0, n},
                               .v_bias = {l->qkv.b, 2 * n, n}};
    }
    return (hsdi_el_parts){.q = {l->q.w, 0, n},
                           .k = {l->k.w, 0, n},
                           .v = {l->v.w, 0, n},
                           .q_bias = {l->q.b, 0, n},
                           .v_bias = {l->v.b, 0, n}};
}

static size_t row_bytes(const hsdi_gguf_tensor *t)
{
    const hsdi_type_info *info = hsdi_type_find((hsdi_type)t->type);
    return (size_t)(t->ne[0] / info->block_elems) * (size_t)info->block_bytes;
}

const void *hsdi_rows_data(const hsdi_rows_of *rows)
{
    return (const char *)rows->t->data + (size_t)rows->row * row_bytes(rows->t);
}

hsdi_type hsdi_el_key_type(hsdi_type type)
{
    return hsdi_type_find(type)->block_elems == 1 ? type : HSDI_TYPE_F16;
}

static bool fits_f16(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(x[i]) <= 65504.0f)) {
            return false;
        }
    }
    return true;
}

static void put(hsdi_type type, float x, void *out, size_t i)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (type == HSDI_TYPE_F32) {
        ((float *)out)[i] = x;
    } else if (type == HSDI_TYPE_F16) {
        ((uint16_t *)out)[i] = hsdi_f32_to_f16(x);
    } else { // BF16 of numbers that were BF16
        ((uint16_t *)out)[i] = (uint16_t)(bits >> 16);
    }
}

hsd_status hsdi_el_keys(const hsdi_model *m, const hsdi_rows_of *keys, hsdi_type *type, void **out,
                        hsd_error *err)
{
    size_t n_in = (size_t)m->n_embd, d = (size_t)m->d_head, n_rows = (size_t)keys->n_rows;
    size_t n = n_rows * n_in;
    float *rows = malloc(n * sizeof *rows);
    void *turned = malloc(n * sizeof *rows); // F32 is the largest
    if (!rows || !turned) {
        free(rows);
        free(turned);
        return hsdi_fail(err, HSD_ENOMEM, keys->t->name, "%zu rows of keys", n_rows);
    }
    const char *from = hsdi_rows_data(keys);
    for (size_t r = 0; r < n_rows; r++) {
        hsdi_dequant_row((hsdi_type)keys->t->type, from + r * row_bytes(keys->t), m->n_embd,
                         rows + r * n_in);
    }
    *type = hsdi_el_key_type((hsdi_type)keys->t->type);
    if (*type == HSDI_TYPE_F16 && keys->t->type != HSDI_TYPE_F16 && !fits_f16(rows, n)) {
        *type = HSDI_TYPE_F32;
    }
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_in; c++) {
            put(*type, rows[r * n_in + c], turned, (r / d * n_in + c) * d + r % d);
        }
    }
    free(rows);
    *out = turned;
    return HSD_OK;
}
