/// Products with quantised weights, for a set whose lanes.h and quads.h come first.
///
/// Included once per vector set. Per sub-block: exact integer sums, then the float chain of
/// ref/matmul.c. quads.h unpacks a sub-block and sums over it.

#include "kernels/cpu/tiles.h"

/// What a tile knows of its rows.
typedef struct tile_rows {
    const uint8_t *x; ///< first row: quantised inputs, then d, then sums
    size_t stride, d_offset, sum_offset;
} tile_rows;

HSDI_TEMPLATE float row_d(const tile_rows *t, int r, int b)
{
    const uint8_t *row = t->x + (size_t)r * t->stride;
    return ((const float *)(const void *)(row + t->d_offset))[b];
}

HSDI_TEMPLATE float row_fsum(const tile_rows *t, int r, int b)
{
    const uint8_t *row = t->x + (size_t)r * t->stride;
    return ((const float *)(const void *)(row + t->sum_offset))[b];
}

HSDI_TEMPLATE int32_t row_isum(const tile_rows *t, int r, int b)
{
    const uint8_t *row = t->x + (size_t)r * t->stride;
    return ((const int32_t *)(const void *)(row + t->sum_offset))[b];
}

/// Weights of a tile: the same place in each of its groups.
typedef struct tile_groups {
    const uint8_t *sub;    ///< sub-block of the first group
    const uint8_t *scales; ///< of the block in the first group
    size_t stride;
} tile_groups;

/// Quads [begin, end) of sub-block b for all rows and groups: integers, then the float chain.
HSDI_TEMPLATE void add_part(hsdi_type type, int n_rows, int n_groups, const tile_rows *t,
                            const tile_groups *w, int b, int begin, int end, const v16 *w_scale,
                            v16 *sums)
{
    const bool has_min = type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K;
    const int part = type == HSDI_TYPE_Q6_K ? 2 * b + begin / 4 : b;
    v16i isums[QUANT_SUMS_MAX];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        isums[i] = vi_start(type, has_min ? 0 : row_isum(t, i / n_groups, part));
    }
    add_quads(type, n_rows, n_groups, w->sub, w->stride, begin, end,
              (const int8_t *)t->x + 32 * (size_t)b, t->stride, isums);
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        v16 scale = v_mul(w_scale[i % n_groups], v_set1(row_d(t, i / n_groups, b)));
        sums[i] = v_fma(vi_to_float(isums[i]), scale, sums[i]);
    }
}

/// Sub-block b, which is number `i_sub` of its block. sums [n_rows][n_groups].
HSDI_TEMPLATE void add_sub(hsdi_type type, int n_rows, int n_groups, const tile_rows *t,
                           const tile_groups *w, int b, int i_sub, v16 *sums)
{
    v16 scale[QUANT_GROUPS_MAX], second[QUANT_GROUPS_MAX];
    HSDI_UNROLL for (int g = 0; g < n_groups; g++)
    {
        const uint8_t *scales = w->scales + (size_t)g * w->stride;
        scale[g] = v_load_f16(scales);
        if (type == HSDI_TYPE_Q6_K) {
            second[g] = v_mul(scale[g], v_load_i8(scales + 32 + 32 * i_sub + 16));
            scale[g] = v_mul(scale[g], v_load_i8(scales + 32 + 32 * i_sub));
        } else if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
            second[g] = v_mul(v_load_f16(scales + 32), v_load_u8(scales + 64 + 32 * i_sub + 16));
            scale[g] = v_mul(scale[g], v_load_u8(scales + 64 + 32 * i_sub));
        }
    }
    if (type == HSDI_TYPE_Q6_K) {
        add_part(type, n_rows, n_groups, t, w, b, 0, 4, scale, sums);
        add_part(type, n_rows, n_groups, t, w, b, 4, 8, second, sums);
        return;
    }
    add_part(type, n_rows, n_groups, t, w, b, 0, 8, scale, sums);
    if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
        HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
        {
            sums[i] = v_fnma(second[i % n_groups], v_set1(row_fsum(t, i / n_groups, b)), sums[i]);
        }
    }
}

enum { PREFETCH_BYTES = 4096 };

/// Ask for what lies some sub-blocks ahead: the processor's own prefetch stops at pages of 4 KiB.
HSDI_TEMPLATE void prefetch_sub(hsdi_type type, int n_groups, const tile_groups *w)
{
    HSDI_UNROLL for (int g = 0; g < n_groups; g++)
    {
        const uint8_t *p = w->sub + (size_t)g * w->stride + PREFETCH_BYTES;
        HSDI_UNROLL for (size_t i = 0; i < hsdi_sub_bytes(type); i += 64)
        {
            __builtin_prefetch(p + i);
        }
    }
}

HSDI_TEMPLATE void quant_tile(hsdi_type type, int n_rows, int n_groups, const hsdi_matmul *m,
                              int row, int g)
{
    const int n_sub = type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0 ? 1 : 8;
    tile_groups w = {.stride = hsdi_group_bytes(type, m->n_in)};
    tile_rows t = {.stride = hsdi_act_bytes(type, m->n_in),
                   .d_offset = hsdi_act_d_offset(m->n_in),
                   .sum_offset = hsdi_act_sum_offset(m->n_in)};
    w.sub = (const uint8_t *)m->w + (size_t)g * w.stride;
    w.scales = w.sub + hsdi_scales_offset(type, m->n_in);
    t.x = (const uint8_t *)m->x + (size_t)row * t.stride;
    v16 sums[QUANT_SUMS_MAX];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int b = 0; b < m->n_in / 32; b += n_sub, w.scales += hsdi_scales_bytes(type)) {
        for (int i = 0; i < n_sub; i++, w.sub += hsdi_sub_bytes(type)) {
            prefetch_sub(type, n_groups, &w);
            add_sub(type, n_rows, n_groups, &t, &w, b + i, i, sums);
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        store_sums(m, row + i / n_groups, g + i % n_groups, sums[i]);
    }
}

// clang-format off
TILE_SET(q4_0, quant_tile, HSDI_TYPE_Q4_0)
TILE_SET(q8_0, quant_tile, HSDI_TYPE_Q8_0)
TILE_SET(q4_k, quant_tile, HSDI_TYPE_Q4_K)
TILE_SET(q5_k, quant_tile, HSDI_TYPE_Q5_K)
TILE_SET(q6_k, quant_tile, HSDI_TYPE_Q6_K)
// clang-format on

void HSDI_SET(matmul)(const hsdi_matmul *m, int g_begin, int g_end)
{
    switch (m->type) {
    case HSDI_TYPE_Q4_0:
        run_tiles(m, &q4_0_tiles, g_begin, g_end);
        break;
    case HSDI_TYPE_Q8_0:
        run_tiles(m, &q8_0_tiles, g_begin, g_end);
        break;
    case HSDI_TYPE_Q4_K:
        run_tiles(m, &q4_k_tiles, g_begin, g_end);
        break;
    case HSDI_TYPE_Q5_K:
        run_tiles(m, &q5_k_tiles, g_begin, g_end);
        break;
    case HSDI_TYPE_Q6_K:
        run_tiles(m, &q6_k_tiles, g_begin, g_end);
        break;
    default:
        HSDI_SET(matmul_plain)(m, g_begin, g_end);
    }
}
