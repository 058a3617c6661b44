/// Attention with AVX-512.
#include "kernels/cpu/avx512/lanes.h"

#define ATTN_QUERIES 4
#define ATTN_TURN_MIN 6 // Zen 4: 6 to 8
#define ATTN_CHUNKS 4

#include "kernels/cpu/attn.h"
