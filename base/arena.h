/// A growing bump allocator: many small allocations, one release.
#ifndef HSDI_BASE_ARENA_H
#define HSDI_BASE_ARENA_H

#include <stddef.h>

/// Zero-initialise before use. Not thread-safe.
typedef struct hsdi_arena {
    struct hsdi_arena_chunk *head;
} hsdi_arena;

/// Zeroed memory, 64-byte aligned; NULL when memory is short. Valid until hsdi_arena_fini.
void *hsdi_arena_alloc(hsdi_arena *arena, size_t size_bytes);

/// Array of `n` elements, NULL on overflow or when memory is short.
void *hsdi_arena_array(hsdi_arena *arena, size_t n, size_t element_bytes);

/// A NUL-terminated copy of `n` bytes.
char *hsdi_arena_strndup(hsdi_arena *arena, const char *text, size_t n);

void hsdi_arena_fini(hsdi_arena *arena);

/// 64-byte aligned, zeroed block from the heap; free with free(). NULL when memory is short.
void *hsdi_aligned_alloc(size_t size_bytes);

#endif
