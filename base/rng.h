/// Counter-based random numbers: Philox-4x32-10 keyed by a seed, never a stream.
///
/// The same (seed, position, token) gives the same number on every device, in every order of
/// evaluation: target and draft can draw the same noise without talking to each other.
/// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#ifndef HSDI_BASE_RNG_H
#define HSDI_BASE_RNG_H

#include <stdint.h>

/// One Philox-4x32-10 block. Shapes: counter [4], key [2], out [4].
void hsdi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/// Uniform in (0, 1), never 0 nor 1, 24 significant bits.
static inline double hsdi_uniform(uint32_t bits)
{
    return ((double)(bits >> 8) + 0.5) * (1.0 / 16777216.0);
}

/// Gumbel noise for `n` tokens `token_begin ..`, at text position `position`.
/// Shapes: out [n]. Pure; any thread; no allocation. The same bits everywhere, see base/gumbel.h.
void hsdi_gumbel(uint64_t seed, int64_t position, int32_t token_begin, int n, float *out);

/// Uniform draws that do not collide with the Gumbel ones; `stream` tells purposes apart.
double hsdi_uniform_at(uint64_t seed, int64_t position, uint32_t stream);

#endif
