/// BF16 products with VDPBF16PS: up to 8 rows by 3 groups, or 6 rows by 4, in registers.
///
/// A step takes two inputs of 16 channels; the arithmetic is that of ref/pairs.c.
#include "kernels/cpu/avx512/lanes.h"

#include <string.h>

#define TILE_ROWS_MAX 8
#define TILE_NARROW_STREAMS false
#define TILE_GROUPS(n_rows) ((n_rows) <= 6 ? 4 : 3)
#define TILE_FOR_ROWS(X, name, tile, type)                                                         \
    X(name, tile, type, 1)                                                                         \
    X(name, tile, type, 2)                                                                         \
    X(name, tile, type, 3)                                                                         \
    X(name, tile, type, 4)                                                                         \
    X(name, tile, type, 5)                                                                         \
    X(name, tile, type, 6)                                                                         \
    X(name, tile, type, 7)                                                                         \
    X(name, tile, type, 8)

#include "kernels/cpu/avx512bf16/pairs.h"
// the templates need the lanes and the sizes
#include "kernels/cpu/tiles.h"

/// Round to nearest even; subnormals become zero. Lanes n and above become zero.
static inline void store_rounded(uint8_t *to, const float *from, int n)
{
    _mm256_storeu_si256((__m256i *)(void *)to, (__m256i)_mm512_cvtneps_pbh(v_load_n(from, n)));
}

void hsdi_avx512bf16_act_prepare(const hsdi_acts *to, const float *x, int x_stride, int row, int n)
{
    if (to->type != HSDI_TYPE_BF16) {
        HSDI_SET(act_prepare)(to, x, x_stride, row, n);
        return;
    }
    size_t row_bytes = hsdi_act_bytes_pairs(to->type, to->n_in);
    for (int r = row; r < row + n; r++, x += x_stride) {
        uint8_t *part = (uint8_t *)to->data + hsdi_act_offset(to->type, row_bytes, r);
        size_t step = (size_t)hsdi_panel_rows(r, to->n_rows) * hsdi_act_part(to->type);
        for (int k = 0; k < to->n_in; k += 32, part += step) {
            memset(part + 32, 0, 32);
            for (int i = 0; i < 32 && k + i < to->n_in; i += 16) {
                int left = to->n_in - k - i;
                store_rounded(part + 2 * i, x + k + i, left < 16 ? left : 16);
            }
        }
    }
}

HSDI_TEMPLATE __m512bh input_pair(const uint8_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

HSDI_TEMPLATE void pairs_tile(hsdi_type type, int n_rows, int n_groups, const hsdi_matmul *m,
                              int row, int g)
{
    const size_t w_stride = hsdi_group_bytes(type, m->n_in);
    const size_t x_step = (size_t)hsdi_panel_rows(row, m->n_rows) * 64;
    const uint8_t *x =
        (const uint8_t *)m->x + hsdi_act_offset(type, hsdi_act_bytes_pairs(type, m->n_in), row);
    const uint8_t *w = (const uint8_t *)m->w + (size_t)g * w_stride;
    v16 sums[TILE_ROWS_MAX * 4];
    __m512bh weights[4];
    HSDI_UNROLL for (int i = 0; i < n_rows * n_groups; i++)
    {
        sums[i] = v_zero();
    }
    for (int k = 0; k < m->n_in; k += 32, x += x_step) {
        int n = m->n_in - k < 32 ? m->n_in - k : 32;
        for (int i = 0; i < n; i += 2, w += 64) {
            HSDI_UNROLL for (int j = 0; j < n_groups; j++)
            {
                weights[j] = (__m512bh)_mm512_loadu_si512(w + (size_t)j * w_stride);
            }
            HSDI_UNROLL for (int r = 0; r < n_rows; r++)
            {
                __m512bh input = input_pair(x + 64 * r + 2 * i);
                HSDI_UNROLL for (int j = 0; j < n_groups; j++)
                {
                    v16 *sum = &sums[r * n_groups + j];
                    *sum = _mm512_dpbf16_ps(*sum, input, weights[j]);
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
TILE_SET(pairs, pairs_tile, HSDI_TYPE_BF16)
// clang-format on

void hsdi_avx512bf16_matmul(const hsdi_matmul *m, int g_begin, int g_end)
{
    if (m->type == HSDI_TYPE_BF16) {
        run_tiles(m, &pairs_tiles, g_begin, g_end);
    } else {
        HSDI_SET(matmul)(m, g_begin, g_end);
    }
}
