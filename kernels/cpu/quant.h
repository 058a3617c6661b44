/// Products with quantised weights, for a set whose lanes.h and quads.h come first.
///
/// Included once per vector set. Per sub-block: exact integer sums, then the float chain of
/// ref/matmul.c. quads.h unpacks a sub-block and sums over it, for a constant type:
///
///   sums16 add_quads(type, sub, n_rows, x, x_stride, begin, end, sums) -- see there
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

/// Quads [begin, end) of sub-block b of one group for all rows: integers, then the float chain.
HSDI_TEMPLATE void add_part(hsdi_type type, int n_rows, const tile_rows *t, int b,
                            const uint8_t *sub, int begin, int end, v16 w_scale, v16 *sums)
{
    v16i isums[QUANT_ROWS_MAX];
    HSDI_UNROLL for (int r = 0; r < n_rows; r++)
    {
        int part = type == HSDI_TYPE_Q6_K ? 2 * b + begin / 4 : b;
        isums[r] = vi_start(
            type, type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K ? 0 : row_isum(t, r, part));
    }
    add_quads(type, n_rows, sub, begin, end, (const int8_t *)t->x + 32 * (size_t)b, t->stride,
              isums);
    HSDI_UNROLL for (int r = 0; r < n_rows; r++)
    {
        sums[r] = v_fma(vi_to_float(isums[r]), v_mul(w_scale, v_set1(row_d(t, r, b))), sums[r]);
    }
}

/// Sub-block b of one group. scales: those of its block; i: its number in the block.
HSDI_TEMPLATE void add_sub(hsdi_type type, int n_rows, const tile_rows *t, int b,
                           const uint8_t *sub, const uint8_t *scales, int i, v16 *sums)
{
    v16 d = v_load_f16(scales);
    if (type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0) {
        add_part(type, n_rows, t, b, sub, 0, 8, d, sums);
    } else if (type == HSDI_TYPE_Q6_K) {
        const uint8_t *small = scales + 32 + 32 * i;
        add_part(type, n_rows, t, b, sub, 0, 4, v_mul(d, v_load_i8(small)), sums);
        add_part(type, n_rows, t, b, sub, 4, 8, v_mul(d, v_load_i8(small + 16)), sums);
    } else {
        const uint8_t *small = scales + 64 + 32 * i;
        v16 minima = v_mul(v_load_f16(scales + 32), v_load_u8(small + 16));
        add_part(type, n_rows, t, b, sub, 0, 8, v_mul(d, v_load_u8(small)), sums);
        HSDI_UNROLL for (int r = 0; r < n_rows; r++)
        {
            sums[r] = v_fnma(minima, v_set1(row_fsum(t, r, b)), sums[r]);
        }
    }
}

HSDI_TEMPLATE void quant_tile(hsdi_type type, int n_rows, int n_groups, const hsdi_matmul *m,
                              int row, int g)
{
    const int n_sub = type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0 ? 1 : 8;
    const size_t w_stride = hsdi_group_bytes(type, m->n_in);
    const uint8_t *sub = (const uint8_t *)m->w + (size_t)g * w_stride;
    const uint8_t *scales = sub + hsdi_scales_offset(type, m->n_in);
    tile_rows t = {.stride = hsdi_act_bytes(type, m->n_in),
                   .d_offset = hsdi_act_d_offset(m->n_in),
                   .sum_offset = hsdi_act_sum_offset(m->n_in)};
    t.x = (const uint8_t *)m->x + (size_t)row * t.stride;
    v16 sums[QUANT_ROWS_MAX * 4];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int b = 0; b < m->n_in / 32; b += n_sub, scales += hsdi_scales_bytes(type)) {
        for (int i = 0; i < n_sub; i++, sub += hsdi_sub_bytes(type)) {
            HSDI_UNROLL for (int j = 0; j < n_groups; j++)
            {
                add_sub(type, n_rows, &t, b + i, sub + (size_t)j * w_stride,
                        scales + (size_t)j * w_stride, i, sums + j * n_rows);
            }
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        store_sums(m, row + i % n_rows, g + i / n_rows, sums[i]);
    }
}

#define QUANT_TILE(name, type, n_rows)                                                             \
    static void name##_wide_##n_rows(const hsdi_matmul *m, int row, int g)                         \
    {                                                                                              \
        quant_tile(type, n_rows, QUANT_GROUPS(n_rows), m, row, g);                                 \
    }                                                                                              \
    static void name##_narrow_##n_rows(const hsdi_matmul *m, int row, int g)                       \
    {                                                                                              \
        quant_tile(type, n_rows, 1, m, row, g);                                                    \
    }

#define QUANT_TYPE(name, type)                                                                     \
    QUANT_FOR_ROWS(QUANT_TILE, name, type)                                                         \
    static tile_fn *const name##_wide[] = {QUANT_FOR_ROWS(QUANT_WIDE_NAME, name, type)};           \
    static tile_fn *const name##_narrow[] = {QUANT_FOR_ROWS(QUANT_NARROW_NAME, name, type)};       \
    static const tile_set name##_tiles = {QUANT_ROWS_MAX, quant_groups, name##_wide, name##_narrow};

#define QUANT_WIDE_NAME(name, type, n_rows) name##_wide_##n_rows,
#define QUANT_NARROW_NAME(name, type, n_rows) name##_narrow_##n_rows,
#define QUANT_GROUPS_OF(name, type, n_rows) QUANT_GROUPS(n_rows),

static const int8_t quant_groups[] = {QUANT_FOR_ROWS(QUANT_GROUPS_OF, , )};

// clang-format off
QUANT_TYPE(q4_0, HSDI_TYPE_Q4_0)
QUANT_TYPE(q8_0, HSDI_TYPE_Q8_0)
QUANT_TYPE(q4_k, HSDI_TYPE_Q4_K)
QUANT_TYPE(q5_k, HSDI_TYPE_Q5_K)
QUANT_TYPE(q6_k, HSDI_TYPE_Q6_K)
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
