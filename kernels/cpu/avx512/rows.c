/// Norms, activations and other kernels of one row with AVX-512.
#include "kernels/cpu/avx512/lanes.h"
// the template needs the lanes
#include "kernels/cpu/rows.h"
