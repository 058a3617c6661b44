/// Norms, activations and other kernels of one row with AVX2.
#include "kernels/cpu/avx2/lanes.h"
// the template needs the lanes
#include "kernels/cpu/rows.h"
