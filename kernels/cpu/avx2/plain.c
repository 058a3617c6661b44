/// F32, F16 and BF16 products with AVX2: up to 6 rows by 1 group, or 1 row by 4, in registers.
#include "kernels/cpu/avx2/lanes.h"

#define TILE_ROWS_MAX 6
#define TILE_NARROW_STREAMS false
#define PLAIN_FREE_ROWS 2
#define TILE_GROUPS(n_rows) ((n_rows) == 1 ? 4 : (n_rows) == 2 ? 2 : 1)
#define TILE_FOR_ROWS(X, name, tile, type)                                                         \
    X(name, tile, type, 1)                                                                         \
    X(name, tile, type, 2)                                                                         \
    X(name, tile, type, 3)                                                                         \
    X(name, tile, type, 4)                                                                         \
    X(name, tile, type, 5)                                                                         \
    X(name, tile, type, 6)

#include "kernels/cpu/plain.h"
