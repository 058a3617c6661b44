/// Quantised products with AVX2: up to 4 rows by 1 group in registers.
#define TILE_ROWS_MAX 4
#define QUANT_GROUPS_MAX 1
#define QUANT_SUMS_MAX 4
#define QUANT_FREE_ROWS 2
#define TILE_NARROW_STREAMS false
#define TILE_GROUPS(n_rows) 1
#define TILE_FOR_ROWS(X, name, tile, type)                                                         \
    X(name, tile, type, 1)                                                                         \
    X(name, tile, type, 2)                                                                         \
    X(name, tile, type, 3)                                                                         \
    X(name, tile, type, 4)

#include "kernels/cpu/avx2/quads.h"
// the template needs the quads
#include "kernels/cpu/quant.h"
