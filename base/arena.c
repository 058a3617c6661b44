/// Bump allocator in chunks of at least 64 KiB.
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, CHUNK_BYTES = 64 * 1024 };

struct hsdi_arena_chunk {
    struct hsdi_arena_chunk *next;
    size_t used, size;
};

void *hsdi_aligned_alloc(size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - ALIGN) {
        return NULL;
    }
    size_t rounded = (size_bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *p = aligned_alloc(ALIGN, rounded ? rounded : ALIGN);
    if (p) {
        memset(p, 0, rounded);
    }
    return p;
}

void *hsdi_arena_alloc(hsdi_arena *arena, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX / 2) {
        return NULL;
    }
    size_t rounded = (size_bytes + ALIGN - 1) / ALIGN * ALIGN;
    struct hsdi_arena_chunk *c = arena->head;
    if (!c || c->size - c->used < rounded) {
        size_t body = rounded > CHUNK_BYTES ? rounded : CHUNK_BYTES;
        c = hsdi_aligned_alloc(ALIGN + body); // the header takes the first line
        if (!c) {
            return NULL;
        }
        c->next = arena->head;
        c->size = body;
        c->used = 0;
        arena->head = c;
    }
    void *p = (char *)c + ALIGN + c->used;
    c->used += rounded;
    return p;
}

void *hsdi_arena_array(hsdi_arena *arena, size_t n, size_t element_bytes)
{
    if (element_bytes != 0 && n > SIZE_MAX / element_bytes) {
        return NULL;
    }
    return hsdi_arena_alloc(arena, n * element_bytes);
}

char *hsdi_arena_strndup(hsdi_arena *arena, const char *text, size_t n)
{
    if (n == SIZE_MAX) {
        return NULL;
    }
    char *p = hsdi_arena_alloc(arena, n + 1);
    if (p) {
        memcpy(p, text, n);
        p[n] = 0;
    }
    return p;
}

void hsdi_arena_fini(hsdi_arena *arena)
{
    while (arena->head) {
        struct hsdi_arena_chunk *next = arena->head->next;
        free(arena->head);
        arena->head = next;
    }
}
