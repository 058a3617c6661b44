/// Philox-4x32-10 and the draws built on it.
#include "base/rng.h"

#include <math.h>

void hsdi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
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
        out[i] = (float)-log(-log(hsdi_uniform(bits[token % 4])));
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
