/// FNV-1a, 64 bits: tells things apart, protects against nobody.
#ifndef HSDI_BASE_HASH_H
#define HSDI_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HSDI_HASH_BEGIN UINT64_C(14695981039346656037)

/// Going on from `hash` (HSDI_HASH_BEGIN at first).
static inline uint64_t hsdi_hash(uint64_t hash, const void *data, size_t n_bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

#endif
