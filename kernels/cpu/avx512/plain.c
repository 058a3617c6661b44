/// F32, F16 and BF16 products with AVX-512: up to 8 rows by 3 groups, or 6 rows by 4, in registers.
#include "kernels/cpu/avx512/lanes.h"

#define TILE_ROWS_MAX 8
#define TILE_NARROW_STREAMS false
#define PLAIN_FREE_ROWS 8
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

#include "kernels/cpu/plain.h"
