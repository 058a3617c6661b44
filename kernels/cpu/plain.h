/// Products with F32, F16 and BF16 weights, for a set whose lanes.h comes first.
///
/// Included once per vector set. acc = fma(x[k], w[k], acc) in order of k, as in ref/matmul.c.
/// The includer defines TILE_GROUPS(n_rows), the groups of a tile, TILE_ROWS_MAX, and
/// PLAIN_FREE_ROWS: rows up to which loads of 16-bit weights run ahead by themselves.
#include "kernels/cpu/tiles.h"

HSDI_TEMPLATE v16 load_weights(hsdi_type type, const uint8_t *p)
{
    if (type == HSDI_TYPE_F32) {
        return v_load((const float *)(const void *)p);
    }
    return type == HSDI_TYPE_F16 ? v_load_f16(p) : v_load_bf16(p);
}

/// Ask for 16 inputs of one group, some way ahead.
HSDI_TEMPLATE void prefetch_halves(const uint8_t *w)
{
    HSDI_UNROLL for (int i = 0; i < 512; i += 64)
    {
        __builtin_prefetch(w + 2048 + i);
    }
}

HSDI_TEMPLATE void plain_tile(hsdi_type type, int n_rows, int n_groups, const hsdi_matmul *m,
                              int row, int g)
{
    const size_t step = type == HSDI_TYPE_F32 ? 64 : 32;
    const size_t w_stride = hsdi_group_bytes(type, m->n_in);
    const size_t x_step = (size_t)hsdi_panel_rows(row, m->n_rows) * 16;
    const float *x = (const float *)m->x +
                     hsdi_act_offset(type, hsdi_act_bytes(type, m->n_in), row) / sizeof(float);
    const uint8_t *w = (const uint8_t *)m->w + (size_t)g * w_stride;
    v16 sums[TILE_ROWS_MAX * 4], weights[4];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int k = 0; k < m->n_in; k += 16, x += x_step) {
        int n = m->n_in - k < 16 ? m->n_in - k : 16;
        if (type != HSDI_TYPE_F32 && n_rows > PLAIN_FREE_ROWS) {
            prefetch_halves(w);
        }
        for (int i = 0; i < n; i++, w += step) {
            HSDI_UNROLL for (int j = 0; j < n_groups; j++)
            {
                weights[j] = load_weights(type, w + (size_t)j * w_stride);
            }
            HSDI_UNROLL for (int r = 0; r < n_rows; r++)
            {
                v16 input = v_set1(x[16 * r + i]);
                HSDI_UNROLL for (int j = 0; j < n_groups; j++)
                {
                    sums[r * n_groups + j] = v_fma(input, weights[j], sums[r * n_groups + j]);
                }
            }
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        store_sums(m, row + i / n_groups, g + i % n_groups, sums[i]);
    }
}

// clang-format off
TILE_SET(f32, plain_tile, HSDI_TYPE_F32)
TILE_SET(f16, plain_tile, HSDI_TYPE_F16)
TILE_SET(bf16, plain_tile, HSDI_TYPE_BF16)
// clang-format on

void HSDI_SET(matmul_plain)(const hsdi_matmul *m, int g_begin, int g_end)
{
    if (m->type == HSDI_TYPE_F32) {
        run_tiles(m, &f32_tiles, g_begin, g_end);
    } else if (m->type == HSDI_TYPE_F16) {
        run_tiles(m, &f16_tiles, g_begin, g_end);
    } else {
        run_tiles(m, &bf16_tiles, g_begin, g_end);
    }
}
