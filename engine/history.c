/// Cell -> token, and an index of the trunk.
///
/// The trunk only ever changes at its end, so every entry of the index can be undone in reverse:
/// chains of equal keys begin with the latest position, and different tokens are listed in the
/// order of their first occurrence.
#include "engine/history.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct hsdi_history {
    int ngram;
    int n_trunk, n_text, n_distinct;
    int32_t *cell_token; ///< [n_cells]
    int32_t *trunk;      ///< [n_trunk] cells
    int32_t *text;       ///< [n_text] tokens of the trunk, then of the path that was read last
    int32_t *count;      ///< [n_vocab] occurrences on the trunk
    int32_t *distinct;   ///< [n_distinct] tokens of the trunk
    uint32_t n_buckets;  ///< a power of two
    int32_t *head;       ///< [n_buckets] latest position whose n - 1 predecessors have this hash
    int32_t *next;       ///< [n_ctx] the one before it; -1: none
};

static bool alloc_all(hsdi_history *h, size_t n_vocab, size_t n_ctx, size_t n_cells)
{
    h->cell_token = calloc(n_cells, sizeof *h->cell_token);
    h->trunk = calloc(n_ctx, sizeof *h->trunk);
    h->text = calloc(n_ctx, sizeof *h->text);
    h->count = calloc(n_vocab, sizeof *h->count);
    h->distinct = calloc(n_ctx, sizeof *h->distinct);
    if (h->ngram >= 2) {
        for (h->n_buckets = 16; h->n_buckets < n_ctx; h->n_buckets *= 2) {
        }
        h->head = malloc(h->n_buckets * sizeof *h->head);
        h->next = calloc(n_ctx, sizeof *h->next);
        if (!h->head || !h->next) {
            return false;
        }
        memset(h->head, -1, h->n_buckets * sizeof *h->head);
    }
    return h->cell_token && h->trunk && h->text && h->count && h->distinct;
}

hsd_status hsdi_history_create(int n_vocab, int n_ctx, int n_cells, int ngram, hsdi_history **out,
                               hsd_error *err)
{
    if (n_vocab < 1 || n_ctx < 1 || n_cells < 1 || ngram < 0) {
        return hsdi_fail(err, HSD_EINVAL, "history", "%d tokens, %d positions, %d cells, n = %d",
                         n_vocab, n_ctx, n_cells, ngram);
    }
    hsdi_history *h = calloc(1, sizeof *h);
    if (h) {
        h->ngram = ngram;
    }
    if (!h || !alloc_all(h, (size_t)n_vocab, (size_t)n_ctx, (size_t)n_cells)) {
        hsdi_history_destroy(&h);
        return hsdi_fail(err, HSD_ENOMEM, "history", "context of %d, vocabulary of %d", n_ctx,
                         n_vocab);
    }
    *out = h;
    return HSD_OK;
}

void hsdi_history_destroy(hsdi_history **history)
{
    hsdi_history *h = *history;
    if (h) {
        free(h->cell_token);
        free(h->trunk);
        free(h->text);
        free(h->count);
        free(h->distinct);
        free(h->head);
        free(h->next);
        free(h);
        *history = NULL;
    }
}

/// The chain of the n - 1 tokens before position `end`.
static int32_t *chain(const hsdi_history *h, int end)
{
    uint64_t hash = 0;
    for (int i = end - h->ngram + 1; i < end; i++) {
        hash = (hash ^ (uint32_t)h->text[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return h->head + ((uint32_t)hash & (h->n_buckets - 1));
}

static bool is_indexed(const hsdi_history *h, int pos)
{
    return h->ngram >= 2 && pos >= h->ngram - 1;
}

static void push(hsdi_history *h, int32_t cell)
{
    int pos = h->n_trunk++;
    int32_t token = h->cell_token[cell];
    h->trunk[pos] = cell;
    h->text[pos] = token;
    if (h->count[token]++ == 0) {
        h->distinct[h->n_distinct++] = token;
    }
    if (is_indexed(h, pos)) {
        int32_t *head = chain(h, pos);
        h->next[pos] = *head;
        *head = pos;
    }
}

static void truncate_to(hsdi_history *h, int n)
{
    while (h->n_trunk > n) {
        int pos = --h->n_trunk;
        if (is_indexed(h, pos)) {
            *chain(h, pos) = h->next[pos];
        }
        if (--h->count[h->text[pos]] == 0) {
            h->n_distinct--; // its first occurrence was the latest of all
        }
    }
}

void hsdi_history_note(hsdi_history *h, const hsdi_rows *rows)
{
    for (int r = 0; r < rows->n_rows; r++) {
        h->cell_token[rows->cell[r]] = rows->tokens[r];
    }
    // A row's cell is not on the trunk: one that was there before ends the common part too.
    int n = h->n_trunk < rows->n_trunk ? h->n_trunk : rows->n_trunk, n_same = n;
    if (memcmp(h->trunk, rows->trunk, (size_t)n * sizeof *h->trunk) != 0) {
        for (n_same = 0; h->trunk[n_same] == rows->trunk[n_same]; n_same++) {
        }
    }
    truncate_to(h, n_same);
    while (h->n_trunk < rows->n_trunk) {
        push(h, rows->trunk[h->n_trunk]);
    }
    h->n_text = h->n_trunk;
}

void hsdi_history_found(hsdi_history *h, const int32_t *tokens, const int32_t *cells, int n)
{
    truncate_to(h, 0); // cells of the same numbers may have got other tokens
    for (int i = 0; i < n; i++) {
        h->cell_token[cells[i]] = tokens[i];
    }
    h->n_text = 0;
}

int hsdi_history_text(hsdi_history *h, const hsdi_rows *rows, int r, const int32_t **text)
{
    const int32_t *path = rows->path + (int64_t)r * rows->path_stride;
    h->n_text = h->n_trunk;
    for (int i = 0; i < rows->n_path[r]; i++) {
        h->text[h->n_text++] = h->cell_token[path[i]];
    }
    *text = h->text;
    return h->n_text;
}

int hsdi_history_earlier(const hsdi_history *h, int32_t *out)
{
    if (h->ngram == 1) {
        return hsdi_history_recent(h, -1, out);
    }
    int n = 0, n_key = h->ngram - 1;
    if (h->ngram == 0 || h->n_text < h->ngram) {
        return 0;
    }
    const int32_t *key = h->text + h->n_text - n_key;
    size_t key_bytes = (size_t)n_key * sizeof *key;
    for (int end = h->n_text - 1; end >= h->n_trunk && end >= n_key; end--) {
        if (memcmp(h->text + end - n_key, key, key_bytes) == 0) {
            out[n++] = h->text[end];
        }
    }
    for (int32_t end = *chain(h, h->n_text); end >= 0; end = h->next[end]) {
        if (memcmp(h->text + end - n_key, key, key_bytes) == 0) {
            out[n++] = h->text[end];
        }
    }
    return n;
}

int hsdi_history_recent(const hsdi_history *h, int n_last, int32_t *out)
{
    int begin = n_last < 0 || n_last > h->n_text ? 0 : h->n_text - n_last;
    int n = 0, pos = h->n_text;
    while (pos > begin && pos > h->n_trunk) {
        out[n++] = h->text[--pos];
    }
    if (begin == 0) {
        memcpy(out + n, h->distinct, (size_t)h->n_distinct * sizeof *out);
        return n + h->n_distinct;
    }
    while (pos > begin) {
        out[n++] = h->text[--pos];
    }
    return n;
}
