/// Attention with AVX2.
#include "kernels/cpu/avx2/lanes.h"

#define ATTN_QUERIES 2
#define ATTN_TURN_MIN 12
#define ATTN_CHUNKS 2

#include "kernels/cpu/attn.h"
