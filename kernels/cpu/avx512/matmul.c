/// Quantised products with AVX-512 VNNI: up to 4 rows by 3 groups, or 3 rows by 4, in registers.
///
/// More rows by fewer groups would broadcast one input per product, and the load ports would limit.
#define QUANT_ROWS_MAX 4
#define QUANT_GROUPS_MAX 4
#define QUANT_SUMS_MAX 12
#define QUANT_GROUPS(n_rows) ((n_rows) <= 3 ? 4 : 3)
#define QUANT_FOR_ROWS(X, name, type)                                                              \
    X(name, type, 1)                                                                               \
    X(name, type, 2)                                                                               \
    X(name, type, 3)                                                                               \
    X(name, type, 4)

#include "kernels/cpu/avx512/quads.h"
// the template needs the quads
#include "kernels/cpu/quant.h"
