/// Products with quantised weights, for a set whose lanes.h and quads.h come first.
///
/// Included once per vector set. Per sub-block: exact integer sums, then the float chain of
/// ref/matmul.c. quads.h unpacks a sub-block and sums over it (add_part).

#include "kernels/cpu/tiles.h"

/// Sub-block number `i_sub` of its block. sums [n_rows][n_groups].
HSDI_TEMPLATE void add_sub(hsdi_type type, int n_rows, int n_groups, const uint8_t *x,
                           const tile_groups *w, int i_sub, v16 *sums)
{
    v16 scale[QUANT_GROUPS_MAX], second[QUANT_GROUPS_MAX];
    HSDI_UNROLL for (int g = 0; g < n_groups; g++)
    {
        const uint8_t *scales = w->scales + (size_t)g * w->stride;
        const bool plain = type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0;
        scale[g] = v_load_f16(scales + (plain ? 32 * i_sub : 0));
        if (type == HSDI_TYPE_Q6_K) {
            second[g] = v_mul(scale[g], v_load_i8(scales + 32 + 32 * i_sub + 16));
            scale[g] = v_mul(scale[g], v_load_i8(scales + 32 + 32 * i_sub));
        } else if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
            second[g] = v_mul(v_load_f16(scales + 32), v_load_u8(scales + 64 + 32 * i_sub + 16));
            scale[g] = v_mul(scale[g], v_load_u8(scales + 64 + 32 * i_sub));
        }
    }
    if (type == HSDI_TYPE_Q6_K) {
        add_part(type, n_rows, n_groups, x, w, 0, 4, scale, sums);
        add_part(type, n_rows, n_groups, x, w, 4, 8, second, sums);
        return;
    }
    add_part(type, n_rows, n_groups, x, w, 0, 8, scale, sums);
    if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
        HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
        {
            sums[i] = v_fnma(second[i % n_groups], v_set1(row_fsum(x, i / n_groups)), sums[i]);
        }
    }
}

/// A tile of few rows (QUANT_FREE_ROWS) takes so little time that its loads run ahead, and asking
/// for more would hinder the processor's own prefetch of a stream that it follows well. With more
/// rows memory would wait for arithmetic and arithmetic for memory.
enum { PREFETCH_BYTES = 2048 };

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
    const int n_subs = hsdi_block_subs(type), n = m->n_in / 32;
    tile_groups w = {.stride = hsdi_group_bytes(type, m->n_in)};
    const size_t x_step = (size_t)hsdi_panel_rows(row, m->n_rows) * HSDI_ACT_SUB;
    const uint8_t *x =
        (const uint8_t *)m->x + hsdi_act_offset(type, hsdi_act_bytes(type, m->n_in), row);
    w.sub = (const uint8_t *)m->w + (size_t)g * w.stride;
    v16 sums[QUANT_SUMS_MAX];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int b = 0; b < n; b += n_subs) {
        w.scales = w.sub;
        w.sub += hsdi_scales_bytes(type);
        for (int i = 0; i < n_subs && b + i < n; i++, x += x_step) {
            if (n_rows > QUANT_FREE_ROWS) {
                prefetch_sub(type, n_groups, &w);
            }
            add_sub(type, n_rows, n_groups, x, &w, i, sums);
            w.sub += hsdi_sub_bytes(type);
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
