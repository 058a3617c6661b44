/// F32, F16 and BF16 products with AVX-512: up to 8 rows by 3 groups, or 6 rows by 4, in registers.
#include "kernels/cpu/avx512/lanes.h"

#define PLAIN_ROWS_MAX 8
#define PLAIN_GROUPS(n_rows) ((n_rows) <= 6 ? 4 : 3)
#define PLAIN_FOR_ROWS(X, name, type)                                                              \
    X(name, type, 1)                                                                               \
    X(name, type, 2)                                                                               \
    X(name, type, 3)                                                                               \
    X(name, type, 4)                                                                               \
    X(name, type, 5)                                                                               \
    X(name, type, 6)                                                                               \
    X(name, type, 7)                                                                               \
    X(name, type, 8)

#include "kernels/cpu/plain.h"
