/// Quantised products with AVX-512 VNNI: up to 8 rows by 1 group, or 4 rows by 2, in registers.
#include "kernels/cpu/avx512/quads.h"

#define QUANT_ROWS_MAX 8
#define QUANT_GROUPS(n_rows) ((n_rows) <= 4 ? 2 : 1)
#define QUANT_FOR_ROWS(X, name, type)                                                              \
    X(name, type, 1)                                                                               \
    X(name, type, 2)                                                                               \
    X(name, type, 3)                                                                               \
    X(name, type, 4)                                                                               \
    X(name, type, 5)                                                                               \
    X(name, type, 6)                                                                               \
    X(name, type, 7)                                                                               \
    X(name, type, 8)

#include "kernels/cpu/quant.h"
