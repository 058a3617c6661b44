/// Hash tables from text, and from pairs of numbers, to numbers. Open addressing, no removal.
#ifndef HSDI_ENGINE_TOK_MAP_H
#define HSDI_ENGINE_TOK_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Text (any bytes) to an int32. Keys are borrowed until _fini. Zero-initialise before use.
typedef struct hsdi_strmap {
    struct hsdi_strmap_slot *slots;
    size_t n_slots; ///< 0 or a power of two
    size_t n_used;
} hsdi_strmap;

/// Make room for n keys; false when memory is short.
bool hsdi_strmap_reserve(hsdi_strmap *map, size_t n);

/// Set key -> value (value >= 0). Result: the value it had, -1 when it is new, -2 when memory is
/// short (never within a reserved size).
int32_t hsdi_strmap_put(hsdi_strmap *map, const char *key, size_t n_bytes, int32_t value);

/// The value of a key, -1 when there is none.
int32_t hsdi_strmap_get(const hsdi_strmap *map, const char *key, size_t n_bytes);

void hsdi_strmap_fini(hsdi_strmap *map);

/// A pair of symbols to (rank, result). Filled once to a size known before.
typedef struct hsdi_pairmap {
    struct hsdi_pairmap_slot *slots;
    size_t n_slots;
} hsdi_pairmap;

bool hsdi_pairmap_init(hsdi_pairmap *map, size_t n);

/// Set the pair unless it is there already (the first, lowest rank, holds).
void hsdi_pairmap_put(hsdi_pairmap *map, int32_t left, int32_t right, int32_t rank, int32_t result);

/// Rank of a pair and *result; -1 when the pair does not merge.
int32_t hsdi_pairmap_get(const hsdi_pairmap *map, int32_t left, int32_t right, int32_t *result);

void hsdi_pairmap_fini(hsdi_pairmap *map);

/// FNV-1a over bytes, continuing from `hash`; start with HSDI_FNV_START.
#define HSDI_FNV_START UINT64_C(0xcbf29ce484222325)
uint64_t hsdi_fnv1a(uint64_t hash, const void *data, size_t n_bytes);

/// The same over the eight little-endian bytes of a number.
uint64_t hsdi_fnv1a_u64(uint64_t hash, uint64_t value);

#endif
