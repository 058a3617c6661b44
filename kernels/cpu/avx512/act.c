/// Activations made ready for a product with AVX-512.
#include "kernels/cpu/avx512/lanes.h"
// the template needs the lanes
#include "kernels/cpu/act.h"
