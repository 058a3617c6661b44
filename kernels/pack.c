/// Packing of weights, which happens once per model, and the sizes of buffers.
#include <string.h>

#include "kernels/layout.h"

size_t hsdi_pack_bytes(hsdi_type type, int n_out, int n_in)
{
    size_t n_groups = ((size_t)n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    return n_groups * hsdi_group_bytes(type, n_in);
}

size_t hsdi_act_bytes(hsdi_type type, int n_in)
{
    if (!hsdi_type_is_quantised(type)) {
        return hsdi_align64((size_t)n_in * 4);
    }
    return hsdi_align64((size_t)(n_in / 32) * HSDI_ACT_SUB);
}

size_t hsdi_act_bytes_pairs(hsdi_type type, int n_in)
{
    if (type != HSDI_TYPE_BF16) {
        return hsdi_act_bytes(type, n_in);
    }
    return hsdi_align64((size_t)n_in * 2);
}

/// One lane of a group.
typedef void pack_lane_fn(hsdi_type type, int n_in, const uint8_t *src, uint8_t *dst, int lane);

static void pack_plain(hsdi_type type, int n_in, const uint8_t *src, uint8_t *dst, int lane)
{
    size_t elem_bytes = (size_t)hsdi_type_find(type)->block_bytes;
    for (size_t k = 0; k < (size_t)n_in; k++) {
        memcpy(dst + (k * HSDI_GROUP + (size_t)lane) * elem_bytes, src + k * elem_bytes,
               elem_bytes);
    }
}

static void pack_pairs(hsdi_type type, int n_in, const uint8_t *src, uint8_t *dst, int lane)
{
    (void)type;
    for (size_t k = 0; k < (size_t)n_in; k++) {
        size_t at = (k / 2 * HSDI_GROUP + (size_t)lane) * 2 + k % 2;
        memcpy(dst + 2 * at, src + 2 * k, 2);
    }
}

/// Where byte `i` (0..31) of a sub-block lies for a lane: within its quad.
static size_t quad_byte(int i, int lane)
{
    return (size_t)(lane * 4 + i % 4);
}

/// One lane of one sub-block. q [32].
static void pack_quants(hsdi_type type, const uint8_t *q, uint8_t *dst, int lane)
{
    for (int i = 0; i < 32; i++) {
        int quad = i / 4;
        size_t at = quad_byte(i, lane);
        if (type == HSDI_TYPE_Q8_0) {
            dst[64 * (size_t)quad + at] = q[i];
            continue;
        }
        uint8_t *pair = &dst[hsdi_low_offset(type) + 64 * (size_t)(quad % 4) + at];
        uint8_t *high = &dst[hsdi_high_offset(type, quad) + at];
        *pair = (uint8_t)(*pair | (q[i] & 15) << (quad < 4 ? 0 : 4));
        if (type == HSDI_TYPE_Q5_K) {
            *high = (uint8_t)(*high | (q[i] >> 4) << quad);
        } else if (type == HSDI_TYPE_Q6_K) {
            *high = (uint8_t)(*high | (q[i] >> 4) << (2 * (quad % 4)));
        }
    }
}

/// One lane of the scales of one block as stored. dst: scales of the packed block; Q8_0, Q4_0: of
/// the sub-block.
static void pack_scales(hsdi_type type, const hsdi_block *b, uint8_t *dst, int lane)
{
    memcpy(dst + 2 * lane, &b->d, 2);
    if (type == HSDI_TYPE_Q6_K) {
        for (int i = 0; i < 16; i++) {
            memcpy(dst + 32 + 16 * i + lane, &b->scale[i], 1);
        }
    } else if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
        memcpy(dst + 32 + 2 * lane, &b->dmin, 2);
        for (int i = 0; i < 8; i++) {
            memcpy(dst + 64 + 32 * i + lane, &b->scale[i], 1);
            dst[64 + 32 * i + 16 + lane] = b->min[i];
        }
    }
}

static void pack_quantised(hsdi_type type, int n_in, const uint8_t *src, uint8_t *dst, int lane)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    int n_subs = hsdi_block_subs(type);
    uint8_t *scales = dst;
    for (int i = 0; i < n_in / 32; i += info->block_elems / 32, src += info->block_bytes) {
        hsdi_block b;
        hsdi_block_decode(type, src, &b);
        if (i % n_subs == 0) {
            scales = dst;
            dst += hsdi_scales_bytes(type);
        }
        pack_scales(type, &b, scales + 32 * (i % n_subs), lane);
        for (int j = 0; j < info->block_elems; j += 32, dst += hsdi_sub_bytes(type)) {
            pack_quants(type, b.q + j, dst, lane);
        }
    }
}

static void pack_groups(hsdi_type type, pack_lane_fn *pack_lane, int n_out, int n_in,
                        const void *src, void *dst, int g_begin, int g_end)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t row_bytes = (size_t)(n_in / info->block_elems) * (size_t)info->block_bytes;
    size_t group_bytes = hsdi_group_bytes(type, n_in);
    for (int g = g_begin; g < g_end; g++) {
        uint8_t *group = (uint8_t *)dst + (size_t)g * group_bytes;
        memset(group, 0, group_bytes); // channels past n_out have scale 0
        for (int lane = 0; lane < HSDI_GROUP && g * HSDI_GROUP + lane < n_out; lane++) {
            const uint8_t *row = (const uint8_t *)src + (size_t)(g * HSDI_GROUP + lane) * row_bytes;
            pack_lane(type, n_in, row, group, lane);
        }
    }
}

void hsdi_pack(hsdi_type type, int n_out, int n_in, const void *src, void *dst, int g_begin,
               int g_end)
{
    pack_lane_fn *pack_lane = hsdi_type_is_quantised(type) ? pack_quantised : pack_plain;
    pack_groups(type, pack_lane, n_out, n_in, src, dst, g_begin, g_end);
}

void hsdi_pack_pairs(hsdi_type type, int n_out, int n_in, const void *src, void *dst, int g_begin,
                     int g_end)
{
    if (type == HSDI_TYPE_BF16) {
        pack_groups(type, pack_pairs, n_out, n_in, src, dst, g_begin, g_end);
    } else {
        hsdi_pack(type, n_out, n_in, src, dst, g_begin, g_end);
    }
}

size_t hsdi_attn_scratch_bytes(int n_head, int d_head, int n_rows_max)
{
    int n_rows = hsdi_attn_rows(n_head, d_head), d_pad = (d_head + 15) / 16 * 16;
    n_rows = n_rows < n_rows_max ? n_rows : n_rows_max;
    size_t block = (size_t)HSDI_ATTN_BLOCK * (size_t)d_pad;
    size_t states = (size_t)n_rows * (size_t)n_head * (size_t)hsdi_attn_state_floats(d_head);
    return (2 * block + states) * sizeof(float);
}
