/// Products with F32, F16 and BF16 weights, for a set whose lanes.h comes first.
///
/// Included once per vector set. acc = fma(x[k], w[k], acc) in order of k, as in ref/matmul.c.
/// The includer defines PLAIN_GROUPS(n_rows), the groups of a tile, and PLAIN_ROWS_MAX.
#include "kernels/cpu/tiles.h"

HSDI_TEMPLATE v16 load_weights(hsdi_type type, const uint8_t *p)
{
    if (type == HSDI_TYPE_F32) {
        return v_load((const float *)(const void *)p);
    }
    return type == HSDI_TYPE_F16 ? v_load_f16(p) : v_load_bf16(p);
}

HSDI_TEMPLATE void plain_tile(hsdi_type type, int n_rows, int n_groups, const hsdi_matmul *m,
                              int row, int g)
{
    const size_t step = type == HSDI_TYPE_F32 ? 64 : 32;
    const size_t x_stride = hsdi_act_bytes(type, m->n_in) / sizeof(float);
    const size_t w_stride = hsdi_group_bytes(type, m->n_in);
    const float *x = (const float *)m->x + (size_t)row * x_stride;
    const uint8_t *w = (const uint8_t *)m->w + (size_t)g * w_stride;
    v16 sums[PLAIN_ROWS_MAX * 4], weights[4];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int k = 0; k < m->n_in; k++, w += step, x++) {
        HSDI_UNROLL for (int j = 0; j < n_groups; j++)
        {
            weights[j] = load_weights(type, w + (size_t)j * w_stride);
        }
        HSDI_UNROLL for (int r = 0; r < n_rows; r++)
        {
            v16 input = v_set1(x[(size_t)r * x_stride]);
            HSDI_UNROLL for (int j = 0; j < n_groups; j++)
            {
                sums[r * n_groups + j] = v_fma(input, weights[j], sums[r * n_groups + j]);
            }
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        store_sums(m, row + i / n_groups, g + i % n_groups, sums[i]);
    }
}

#define PLAIN_TILE(name, type, n_rows)                                                             \
    static void name##_wide_##n_rows(const hsdi_matmul *m, int row, int g)                         \
    {                                                                                              \
        plain_tile(type, n_rows, PLAIN_GROUPS(n_rows), m, row, g);                                 \
    }                                                                                              \
    static void name##_narrow_##n_rows(const hsdi_matmul *m, int row, int g)                       \
    {                                                                                              \
        plain_tile(type, n_rows, 1, m, row, g);                                                    \
    }

#define PLAIN_TYPE(name, type)                                                                     \
    PLAIN_FOR_ROWS(PLAIN_TILE, name, type)                                                         \
    static tile_fn *const name##_wide[] = {PLAIN_FOR_ROWS(PLAIN_WIDE_NAME, name, type)};           \
    static tile_fn *const name##_narrow[] = {PLAIN_FOR_ROWS(PLAIN_NARROW_NAME, name, type)};       \
    static const tile_set name##_tiles = {PLAIN_ROWS_MAX, plain_groups, name##_wide, name##_narrow};

#define PLAIN_WIDE_NAME(name, type, n_rows) name##_wide_##n_rows,
#define PLAIN_NARROW_NAME(name, type, n_rows) name##_narrow_##n_rows,
#define PLAIN_GROUPS_OF(name, type, n_rows) PLAIN_GROUPS(n_rows),

static const int8_t plain_groups[] = {PLAIN_FOR_ROWS(PLAIN_GROUPS_OF, , )};

// clang-format off
PLAIN_TYPE(f32, HSDI_TYPE_F32)
PLAIN_TYPE(f16, HSDI_TYPE_F16)
PLAIN_TYPE(bf16, HSDI_TYPE_BF16)
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
