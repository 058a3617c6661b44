/// Philox-4x32-10 and the draws built on it.
#include "base/rng.h"

#include "base/gumbel.h"

void hsdi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    hsdi_philox_block(counter, key[0], key[1], out);
}

void hsdi_gumbel(uint64_t seed, int64_t position, int32_t token_begin, int n, float *out)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4] = {0, 0, 0, 0};
    int32_t block = -1;
    for (int i = 0; i < n; i++) {
        int32_t token = token_begin + i;
        if (token / 4 != block) { // four tokens share one Philox block
            block = token / 4;
            const uint32_t counter[4] = {(uint32_t)block, 0, (uint32_t)position,
                                         (uint32_t)((uint64_t)position >> 32)};
            hsdi_philox(counter, key, bits);
        }
        out[i] = hsdi_gumbel_of(bits[token % 4]);
    }
}

double hsdi_uniform_at(uint64_t seed, int64_t position, uint32_t stream)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {stream, 1, (uint32_t)position,
                                 (uint32_t)((uint64_t)position >> 32)};
    uint32_t bits[4];
    hsdi_philox(counter, key, bits);
    return hsdi_uniform(bits[0]);
}
