/// Hash tables with linear probing, at most half full.
#include "engine/tok_map.h"

#include <stdlib.h>
#include <string.h>

struct hsdi_strmap_slot {
    const char *key; // NULL: free
    uint32_t n_bytes;
    int32_t value;
};

struct hsdi_pairmap_slot {
    uint64_t key;
    int32_t rank; // -1: free
    int32_t result;
};

uint64_t hsdi_fnv1a(uint64_t hash, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t hsdi_fnv1a_u64(uint64_t hash, uint64_t value)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    return hsdi_fnv1a(hash, bytes, sizeof bytes);
}

// FNV's low bits are weak for short keys; the tables index with mixed ones.
static size_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h ^ h >> 29);
}

static size_t slots_for(size_t n)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n) {
        if (n_slots > SIZE_MAX / 4) {
            return 0;
        }
        n_slots *= 2;
    }
    return n_slots;
}

static struct hsdi_strmap_slot *find(const hsdi_strmap *map, const char *key, size_t n_bytes)
{
    size_t i = mix(hsdi_fnv1a(HSDI_FNV_START, key, n_bytes));
    for (;; i++) {
        struct hsdi_strmap_slot *slot = &map->slots[i & (map->n_slots - 1)];
        if (!slot->key || (slot->n_bytes == n_bytes && memcmp(slot->key, key, n_bytes) == 0)) {
            return slot;
        }
    }
}

bool hsdi_strmap_reserve(hsdi_strmap *map, size_t n)
{
    size_t n_slots = slots_for(n);
    if (n_slots == 0) {
        return false;
    }
    if (n_slots <= map->n_slots) {
        return true;
    }
    hsdi_strmap grown = {.n_slots = n_slots, .n_used = map->n_used};
    grown.slots = calloc(n_slots, sizeof *grown.slots);
    if (!grown.slots) {
        return false;
    }
    for (size_t i = 0; i < map->n_slots; i++) {
        const struct hsdi_strmap_slot *old = &map->slots[i];
        if (old->key) {
            *find(&grown, old->key, old->n_bytes) = *old;
        }
    }
    free(map->slots);
    *map = grown;
    return true;
}

int32_t hsdi_strmap_put(hsdi_strmap *map, const char *key, size_t n_bytes, int32_t value)
{
    if (n_bytes > UINT32_MAX || !hsdi_strmap_reserve(map, map->n_used + 1)) {
        return -2;
    }
    struct hsdi_strmap_slot *slot = find(map, key, n_bytes);
    if (slot->key) {
        int32_t before = slot->value;
        slot->value = value;
        return before;
    }
    *slot = (struct hsdi_strmap_slot){.key = key, .n_bytes = (uint32_t)n_bytes, .value = value};
    map->n_used++;
    return -1;
}

int32_t hsdi_strmap_get(const hsdi_strmap *map, const char *key, size_t n_bytes)
{
    if (map->n_slots == 0) {
        return -1;
    }
    const struct hsdi_strmap_slot *slot = find(map, key, n_bytes);
    return slot->key ? slot->value : -1;
}

void hsdi_strmap_fini(hsdi_strmap *map)
{
    free(map->slots);
    *map = (hsdi_strmap){0};
}

bool hsdi_pairmap_init(hsdi_pairmap *map, size_t n)
{
    map->n_slots = slots_for(n);
    map->slots = map->n_slots ? calloc(map->n_slots, sizeof *map->slots) : NULL;
    if (!map->slots) {
        map->n_slots = 0;
        return false;
    }
    for (size_t i = 0; i < map->n_slots; i++) {
        map->slots[i].rank = -1;
    }
    return true;
}

static struct hsdi_pairmap_slot *find_pair(const hsdi_pairmap *map, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = mix(key * UINT64_C(0x9e3779b97f4a7c15));; i++) {
        struct hsdi_pairmap_slot *slot = &map->slots[i & (map->n_slots - 1)];
        if (slot->rank < 0 || slot->key == key) {
            return slot;
        }
    }
}

void hsdi_pairmap_put(hsdi_pairmap *map, int32_t left, int32_t right, int32_t rank, int32_t result)
{
    struct hsdi_pairmap_slot *slot = find_pair(map, left, right);
    if (slot->rank < 0) {
        slot->key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
        slot->rank = rank;
        slot->result = result;
    }
}

int32_t hsdi_pairmap_get(const hsdi_pairmap *map, int32_t left, int32_t right, int32_t *result)
{
    if (map->n_slots == 0) {
        return -1;
    }
    const struct hsdi_pairmap_slot *slot = find_pair(map, left, right);
    *result = slot->result;
    return slot->rank;
}

void hsdi_pairmap_fini(hsdi_pairmap *map)
{
    free(map->slots);
    *map = (hsdi_pairmap){0};
}
