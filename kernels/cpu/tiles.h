/// How a product is cut into tiles of a few rows by a few groups, for a set whose lanes.h comes
/// first.
///
/// A tile reads its groups of weights once for all of its rows and keeps the sums in registers. The
/// sum of one row and one channel is the same chain of operations in every tile.
#ifndef HSDI_KERNELS_CPU_TILES_H
#define HSDI_KERNELS_CPU_TILES_H

#include "kernels/cpu/set.h"
#include "kernels/layout.h"

/// Rows whose activations stay in the second-level cache while all weights pass by, and the most
/// bytes of weights that may lie there from one pass to the next.
enum { ROWS_BLOCK = 64, CACHED_BYTES = 512 << 10 };

/// Rows [row, row + n_rows) by groups [g, g + n_groups), where the counts are the tile's own.
typedef void tile_fn(const hsdi_matmul *m, int row, int g);

typedef struct tile_set {
    int n_rows_max;
    const int8_t *n_groups; ///< [n_rows_max] groups of wide[], not rising with the rows
    tile_fn *const *wide, *const *narrow; ///< [n_rows_max]; narrow: one group
    bool narrow_streams; ///< weights that come from memory are read one group at a time
} tile_set;

/// Groups [g, g_end), `width` of them at a time or one.
static inline void tiles_of_rows(const hsdi_matmul *m, const tile_set *t, int row, int n_rows,
                                 int width, int g, int g_end)
{
    while (g < g_end) {
        int n_groups = width > 1 ? t->n_groups[n_rows - 1] : 1;
        bool wide = n_groups > 1 && g + n_groups <= g_end;
        tile_fn *tile = wide ? t->wide[n_rows - 1] : t->narrow[n_rows - 1];
        tile(m, row, g);
        g += wide ? n_groups : 1;
    }
}

/// Rows [row, end) of one panel, in tiles of nearly equal size.
static inline void tiles_of_panel(const hsdi_matmul *m, const tile_set *t, int row, int end,
                                  int width, int g, int g_end)
{
    int n_tiles = (end - row + t->n_rows_max - 1) / t->n_rows_max;
    for (; n_tiles > 0; n_tiles--) {
        int n = (end - row + n_tiles - 1) / n_tiles;
        tiles_of_rows(m, t, row, n, width, g, g_end);
        row += n;
    }
}

static inline void run_tiles(const hsdi_matmul *m, const tile_set *t, int g_begin, int g_end)
{
    size_t bytes = (size_t)(g_end - g_begin) * hsdi_group_bytes(m->type, m->n_in);
    bool narrow = t->narrow_streams && bytes > CACHED_BYTES;
    for (int block = 0; block < m->n_rows; block += ROWS_BLOCK) {
        int end = m->n_rows - block < ROWS_BLOCK ? m->n_rows : block + ROWS_BLOCK;
        int n_first = hsdi_panel_rows(block, m->n_rows);
        int chunk =
            narrow ? 1 : t->n_groups[(n_first < t->n_rows_max ? n_first : t->n_rows_max) - 1];
        for (int g = g_begin; g < g_end; g += chunk) {
            int g_next = g + chunk < g_end ? g + chunk : g_end;
            for (int row = block; row < end; row += HSDI_PANEL) {
                tiles_of_panel(m, t, row, row + hsdi_panel_rows(row, m->n_rows), chunk, g, g_next);
            }
        }
    }
}

/// Finish one row of one group: bias, residual, the end of the matrix.
HSDI_TEMPLATE void store_sums(const hsdi_matmul *m, int row, int g, v16 sums)
{
    int channel = g * HSDI_GROUP;
    int lanes = m->n_out - channel < HSDI_GROUP ? m->n_out - channel : HSDI_GROUP;
    float *y = m->y + (ptrdiff_t)row * m->y_stride + channel;
    if (m->bias) {
        sums = v_add(sums, v_load_n(m->bias + channel, lanes));
    }
    if (m->accumulate) {
        sums = v_add(v_load_n(y, lanes), sums);
    }
    v_store_n(y, sums, lanes);
}

/// The tile set `name`_tiles of one type. The includer defines TILE_ROWS_MAX, TILE_GROUPS(n_rows),
/// the groups of a wide tile, TILE_NARROW_STREAMS, and TILE_FOR_ROWS(X, ...), which expands X for
/// 1 .. TILE_ROWS_MAX rows. `tile` is the template: (type, n_rows, n_groups, m, row, g).
#define TILE_SET(name, tile, type)                                                                 \
    TILE_FOR_ROWS(TILE_FUNCTIONS, name, tile, type)                                                \
    static tile_fn *const name##_wide[] = {TILE_FOR_ROWS(TILE_WIDE_NAME, name, tile, type)};       \
    static tile_fn *const name##_narrow[] = {TILE_FOR_ROWS(TILE_NARROW_NAME, name, tile, type)};   \
    static const tile_set name##_tiles = {TILE_ROWS_MAX, tile_widths, name##_wide, name##_narrow,  \
                                          TILE_NARROW_STREAMS};

#define TILE_FUNCTIONS(name, tile, type, n_rows)                                                   \
    static void name##_wide_##n_rows(const hsdi_matmul *m, int row, int g)                         \
    {                                                                                              \
        tile(type, n_rows, TILE_GROUPS(n_rows), m, row, g);                                        \
    }                                                                                              \
    static void name##_narrow_##n_rows(const hsdi_matmul *m, int row, int g)                       \
    {                                                                                              \
        tile(type, n_rows, 1, m, row, g);                                                          \
    }

#define TILE_WIDE_NAME(name, tile, type, n_rows) name##_wide_##n_rows,
#define TILE_NARROW_NAME(name, tile, type, n_rows) name##_narrow_##n_rows,
#define TILE_WIDTH(name, tile, type, n_rows) TILE_GROUPS(n_rows),

static const int8_t tile_widths[] = {TILE_FOR_ROWS(TILE_WIDTH, , , )};

#endif
