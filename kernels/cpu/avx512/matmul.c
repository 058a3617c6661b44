/// Quantised products with AVX-512 VNNI: up to 4 rows by 3 groups, or 3 rows by 4, in registers.
///
/// More rows by fewer groups would broadcast one input per product, and the load ports would limit.
#define TILE_ROWS_MAX 4
#define QUANT_GROUPS_MAX 4
#define QUANT_SUMS_MAX 12
#define TILE_GROUPS(n_rows) ((n_rows) <= 3 ? 4 : 3)
#define TILE_FOR_ROWS(X, name, tile, type)                                                         \
    X(name, tile, type, 1)                                                                         \
    X(name, tile, type, 2)                                                                         \
    X(name, tile, type, 3)                                                                         \
    X(name, tile, type, 4)

#include "kernels/cpu/avx512/quads.h"
// the template needs the quads
#include "kernels/cpu/quant.h"
