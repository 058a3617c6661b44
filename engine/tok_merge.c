/// Merging neighbours by priority: a doubly linked chain and a binary heap of candidates.
///
/// A candidate is dropped, not removed, when one of its symbols changed. The length of both tells:
/// while the right symbol lives, the left one cannot have grown (it grows only by taking the
/// right one), and the right one grows only in length.
#include <stdlib.h>

#include "engine/tok_internal.h"

bool hsdi_merge_add(hsdi_merge_work *w, uint32_t begin, uint32_t n, int32_t id)
{
    if (w->n_symbols == w->cap_symbols) {
        size_t cap = w->cap_symbols ? w->cap_symbols * 2 : 256;
        hsdi_symbol *grown = realloc(w->symbols, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        w->symbols = grown;
        w->cap_symbols = cap;
    }
    int32_t i = (int32_t)w->n_symbols++;
    w->symbols[i] = (hsdi_symbol){.prev = i - 1, .next = -1, .begin = begin, .n = n, .id = id};
    if (i > 0) {
        w->symbols[i - 1].next = i;
    }
    return true;
}

static bool heap_push(hsdi_merge_work *w, hsdi_merge_candidate c)
{
    if (w->n_heap == w->cap_heap) {
        size_t cap = w->cap_heap ? w->cap_heap * 2 : 256;
        hsdi_merge_candidate *grown = realloc(w->heap, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        w->heap = grown;
        w->cap_heap = cap;
    }
    size_t i = w->n_heap++;
    while (i > 0 && w->heap[(i - 1) / 2].order > c.order) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = c;
    return true;
}

static hsdi_merge_candidate heap_pop(hsdi_merge_work *w)
{
    hsdi_merge_candidate top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_heap) {
            break;
        }
        if (child + 1 < w->n_heap && w->heap[child + 1].order < w->heap[child].order) {
            child++;
        }
        if (w->heap[child].order >= last.order) {
            break;
        }
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

static bool consider(hsdi_merge_work *w, const hsdi_tokenizer *tok, const char *text,
                     hsdi_merge_rule rule, int32_t left, int32_t right)
{
    uint32_t priority;
    int32_t result;
    if (left < 0 || right < 0 ||
        !rule(tok, text, &w->symbols[left], &w->symbols[right], &priority, &result)) {
        return true;
    }
    return heap_push(w, (hsdi_merge_candidate){
                            .order = (uint64_t)priority << 32 | (uint32_t)left,
                            .left = left,
                            .right = right,
                            .result = result,
                            .n = w->symbols[left].n + w->symbols[right].n,
                        });
}

bool hsdi_merge_run(hsdi_merge_work *w, const hsdi_tokenizer *tok, const char *text,
                    hsdi_merge_rule rule)
{
    w->n_heap = 0;
    for (int32_t i = 1; i < (int32_t)w->n_symbols; i++) {
        if (!consider(w, tok, text, rule, i - 1, i)) {
            return false;
        }
    }
    while (w->n_heap > 0) {
        hsdi_merge_candidate c = heap_pop(w);
        hsdi_symbol *l = &w->symbols[c.left], *r = &w->symbols[c.right];
        if (l->n == 0 || r->n == 0 || l->n + r->n != c.n) {
            continue;
        }
        l->n = c.n;
        l->id = c.result;
        l->next = r->next;
        r->n = 0;
        if (l->next >= 0) {
            w->symbols[l->next].prev = c.left;
        }
        if (!consider(w, tok, text, rule, l->prev, c.left) ||
            !consider(w, tok, text, rule, c.left, l->next)) {
            return false;
        }
    }
    return true;
}

void hsdi_merge_fini(hsdi_merge_work *w)
{
    free(w->symbols);
    free(w->heap);
    *w = (hsdi_merge_work){0};
}
