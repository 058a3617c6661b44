/// F32, F16 and BF16 products with AVX2: up to 6 rows by 1 group, or 1 row by 4, in registers.
#include "kernels/cpu/avx2/lanes.h"

#define PLAIN_ROWS_MAX 6
#define PLAIN_GROUPS(n_rows) ((n_rows) == 1 ? 4 : (n_rows) == 2 ? 2 : 1)
#define PLAIN_FOR_ROWS(X, name, type)                                                              \
    X(name, type, 1)                                                                               \
    X(name, type, 2)                                                                               \
    X(name, type, 3)                                                                               \
    X(name, type, 4)                                                                               \
    X(name, type, 5)                                                                               \
    X(name, type, 6)

#include "kernels/cpu/plain.h"
