/// Quantised products with AVX-512 VNNI: up to 8 rows by 1 group, or 3 rows by 4, in registers.
///
/// One group at a time is one stream of weights, which processors fetch twice as fast from memory
/// as several; the inputs, one load per product, lie in the first-level cache. Weights that stay in
/// the second-level cache are a little faster by four groups, as fewer tiles are begun.
#define TILE_ROWS_MAX 8
#define QUANT_GROUPS_MAX 4
#define QUANT_SUMS_MAX 12
#define QUANT_FREE_ROWS 4
#define TILE_NARROW_STREAMS true
#define TILE_GROUPS(n_rows) ((n_rows) <= 3 ? 4 : 1)
#define TILE_FOR_ROWS(X, name, tile, type)                                                         \
    X(name, tile, type, 1)                                                                         \
    X(name, tile, type, 2)                                                                         \
    X(name, tile, type, 3)                                                                         \
    X(name, tile, type, 4)                                                                         \
    X(name, tile, type, 5)                                                                         \
    X(name, tile, type, 6)                                                                         \
    X(name, tile, type, 7)                                                                         \
    X(name, tile, type, 8)

#include "kernels/cpu/avx512/quads.h"
// the template needs the quads
#include "kernels/cpu/quant.h"
