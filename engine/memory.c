/// See memory.h.
///
/// A job has one cache, so a stage stays in one slab; when no slab has room for another stage, one
/// more is made, and nothing that others use moves.
#include "engine/memory.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

/// Stages of a lazy slab, of the first one's size, and its most bytes: addresses, not memory.
enum { STAGES_PER_SLAB = 16 };
static const int64_t slab_bytes_most = INT64_C(1) << 36;
/// Free memory that stays with a slab, at most: more would be missed elsewhere, less would go to
/// and fro with every text.
static const int64_t idle_bytes_most = INT64_C(32) << 20;

void hsdi_memory_init(hsdi_memory *memory, int64_t limit_bytes, bool shares)
{
    *memory = (hsdi_memory){.shares = shares};
    hsdi_memory_limit(memory, limit_bytes);
    pthread_mutex_init(&memory->lock, NULL);
}

void hsdi_memory_limit(hsdi_memory *memory, int64_t limit_bytes)
{
    memory->limit_bytes = limit_bytes;
    atomic_init(&memory->room_bytes, limit_bytes > 0 ? limit_bytes : INT64_MAX / 2);
}

static void slab_free(hsdi_slab *slab)
{
    hsdi_blocks_destroy(&slab->blocks);
    for (int i = 0; i < slab->n_places; i++) {
        hsdi_cache_destroy(&slab->caches[i]);
    }
    free(slab);
}

/// Free the slabs that nobody uses and `is_wanted` says no to; NULL: all.
static void free_idle(hsdi_memory *memory, bool (*is_wanted)(const hsdi_slab *slab))
{
    hsdi_slab **link = &memory->slabs;
    while (*link) {
        hsdi_slab *slab = *link;
        if (slab->n_users == 0 && !(is_wanted && is_wanted(slab))) {
            *link = slab->next;
            slab_free(slab);
        } else {
            link = &slab->next;
        }
    }
}

void hsdi_memory_fini(hsdi_memory *memory)
{
    free_idle(memory, NULL);
    pthread_mutex_destroy(&memory->lock);
}

bool hsdi_memory_promise(hsdi_memory *memory, int64_t n_bytes)
{
    pthread_mutex_lock(&memory->lock);
    bool fits = memory->limit_bytes == 0 || n_bytes <= memory->limit_bytes - memory->promised_bytes;
    if (fits) {
        memory->promised_bytes += n_bytes;
        atomic_fetch_sub(&memory->room_bytes, n_bytes);
        for (hsdi_slab *slab = memory->slabs; slab; slab = slab->next) {
            hsdi_blocks_trim(slab->blocks);
        }
    }
    pthread_mutex_unlock(&memory->lock);
    return fits;
}

void hsdi_memory_release(hsdi_memory *memory, int64_t n_bytes)
{
    pthread_mutex_lock(&memory->lock);
    memory->promised_bytes -= n_bytes;
    atomic_fetch_add(&memory->room_bytes, n_bytes);
    pthread_mutex_unlock(&memory->lock);
}

int64_t hsdi_memory_promised(hsdi_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    int64_t n_bytes = memory->promised_bytes;
    pthread_mutex_unlock(&memory->lock);
    return n_bytes;
}

/// The runner behind, if it has any of the layers.
static const hsdi_runner *next_of(const hsdi_runner *runner, int n_layers)
{
    const hsdi_runner *next = runner->next;
    return next && hsdi_weights_begin(next->weights) < n_layers ? next : NULL;
}

int64_t hsdi_cell_bytes(const hsdi_runner *first, int n_layers)
{
    int64_t n_bytes = 0;
    for (const hsdi_runner *r = first; r; r = next_of(r, n_layers)) {
        const hsdi_cache_desc desc = hsdi_runner_cells(r, n_layers, 1);
        n_bytes += (int64_t)hsdi_cache_desc_bytes(&desc);
    }
    return n_bytes;
}

int64_t hsdi_slab_bytes(const hsdi_runner *first, int n_layers, int n_cells, int n_ctx)
{
    return hsdi_cell_bytes(first, n_layers) * HSDI_BLOCK_CELLS * hsdi_blocks_needed(n_cells, n_ctx);
}

static bool is_lazy(const hsdi_runner *first, int n_layers)
{
    bool all = true;
    for (const hsdi_runner *r = first; r; r = next_of(r, n_layers)) {
        const char *backend = hsdi_device_get_info(r->device)->backend;
        all = all && (strcmp(backend, "cpu") == 0 || strcmp(backend, "null") == 0);
    }
    return all;
}

/// Blocks of a slab whose first stage needs n.
static int blocks_wanted(const hsdi_memory *memory, const hsdi_slab *slab, int n)
{
    int64_t most = n;
    if (slab->is_lazy) {
        most = slab_bytes_most / slab->block_bytes;
        if (memory->limit_bytes > 0 && memory->limit_bytes / slab->block_bytes < most) {
            most = memory->limit_bytes / slab->block_bytes;
        }
    } else if (memory->limit_bytes > 0 && memory->token_bytes > 0) {
        most = memory->limit_bytes / memory->token_bytes / HSDI_BLOCK_CELLS;
    }
    most = most < (int64_t)n * STAGES_PER_SLAB ? most : (int64_t)n * STAGES_PER_SLAB;
    return most > n ? (int)most : n;
}

static hsd_status create_caches(hsdi_slab *slab, int n_blocks, hsd_error *err)
{
    hsd_status status = HSD_OK;
    slab->n_cells = n_blocks * HSDI_BLOCK_CELLS;
    for (const hsdi_runner *r = slab->first; r && status == HSD_OK;
         r = next_of(r, slab->n_layers)) {
        if (slab->n_places == HSDI_SLAB_PLACES) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, "layers", "on more than %d devices",
                             (int)HSDI_SLAB_PLACES);
        }
        const hsdi_cache_desc desc = hsdi_runner_cells(r, slab->n_layers, slab->n_cells);
        status = hsdi_cache_create(r->device, &desc, &slab->caches[slab->n_places], err);
        slab->n_places += status == HSD_OK;
    }
    for (int i = 0; i < slab->n_places && status != HSD_OK; i++) {
        hsdi_cache_destroy(&slab->caches[i]);
    }
    slab->n_places = status == HSD_OK ? slab->n_places : 0;
    return status;
}

static void discard_blocks(void *user, int first, int n)
{
    const hsdi_slab *slab = user;
    for (int i = 0; i < slab->n_places; i++) {
        hsdi_cache_discard(slab->caches[i], first * HSDI_BLOCK_CELLS, n * HSDI_BLOCK_CELLS);
    }
}

static int blocks_idle(const hsdi_slab *slab)
{
    int64_t n = idle_bytes_most / slab->block_bytes;
    return n < 2 ? 2 : n < INT32_MAX ? (int)n : INT32_MAX;
}

static hsd_status slab_create(hsdi_memory *memory, const hsdi_runner *first, int n_layers,
                              int n_needed, int n_ctx, hsdi_slab **out, hsd_error *err)
{
    hsdi_slab *slab = calloc(1, sizeof *slab);
    if (!slab) {
        return hsdi_fail(err, HSD_ENOMEM, "cache", "slab");
    }
    slab->first = first;
    slab->n_layers = n_layers;
    slab->is_lazy = is_lazy(first, n_layers);
    slab->block_bytes = hsdi_cell_bytes(first, n_layers) * HSDI_BLOCK_CELLS;
    int n_blocks = blocks_wanted(memory, slab, n_needed);
    hsd_status status;
    while ((status = create_caches(slab, n_blocks, err)) != HSD_OK && n_blocks > n_needed) {
        n_blocks = n_blocks / 2 > n_needed ? n_blocks / 2 : n_needed;
    }
    if (status == HSD_OK) {
        // Without a limit texts that are over may take as much as two whole contexts.
        int n_texts = 2 * n_ctx / HSDI_BLOCK_CELLS + 2;
        bool has_limit = memory->limit_bytes > 0;
        const hsdi_blocks_config config = {.n_blocks = n_blocks,
                                           .shares = memory->shares,
                                           .n_kept_most = has_limit ? n_blocks : n_texts,
                                           .room_bytes = has_limit ? &memory->room_bytes : NULL,
                                           .block_bytes = slab->block_bytes,
                                           .discard = slab->is_lazy ? discard_blocks : NULL,
                                           .user = slab,
                                           .n_idle_most = blocks_idle(slab)};
        status = hsdi_blocks_create(&config, &slab->blocks);
        if (status != HSD_OK) {
            (void)hsdi_fail(err, status, "cache", "%d blocks", n_blocks);
        }
    }
    if (status != HSD_OK) {
        slab_free(slab);
        return status;
    }
    slab->next = memory->slabs;
    memory->slabs = slab;
    *out = slab;
    return HSD_OK;
}

static bool is_lazy_slab(const hsdi_slab *slab)
{
    return slab->is_lazy;
}

hsd_status hsdi_slab_join(hsdi_memory *memory, const hsdi_runner *first, int n_layers, int n_cells,
                          int n_ctx, hsdi_slab **out, hsd_error *err)
{
    int n_needed = hsdi_blocks_needed(n_cells, n_ctx);
    hsd_status status = HSD_OK;
    pthread_mutex_lock(&memory->lock);
    hsdi_slab *slab = memory->slabs;
    while (slab && !(slab->first == first && slab->n_layers == n_layers &&
                     hsdi_blocks_promise(slab->blocks, n_needed))) {
        slab = slab->next;
    }
    if (!slab) {
        if (memory->limit_bytes > 0) { // memory that is there and idle counts too
            free_idle(memory, is_lazy_slab);
        }
        status = slab_create(memory, first, n_layers, n_needed, n_ctx, &slab, err);
        if (status == HSD_OK) {
            (void)hsdi_blocks_promise(slab->blocks, n_needed);
        }
    }
    if (status == HSD_OK) {
        slab->n_users++;
        *out = slab;
    }
    pthread_mutex_unlock(&memory->lock);
    return status;
}

/// Is another slab of this kind idle?
static bool has_idle_twin(const hsdi_memory *memory, const hsdi_slab *slab)
{
    const hsdi_slab *other = memory->slabs;
    while (other && !(other != slab && other->n_users == 0 && other->first == slab->first &&
                      other->n_layers == slab->n_layers)) {
        other = other->next;
    }
    return other != NULL;
}

void hsdi_slab_leave(hsdi_memory *memory, hsdi_slab **slab_ptr, int n_cells, int n_ctx)
{
    hsdi_slab *slab = *slab_ptr;
    if (!slab) {
        return;
    }
    pthread_mutex_lock(&memory->lock);
    hsdi_blocks_release(slab->blocks, hsdi_blocks_needed(n_cells, n_ctx));
    if (--slab->n_users == 0 && has_idle_twin(memory, slab)) {
        hsdi_slab **link = &memory->slabs;
        while (*link != slab) {
            link = &(*link)->next;
        }
        *link = slab->next;
        slab_free(slab);
    }
    pthread_mutex_unlock(&memory->lock);
    *slab_ptr = NULL;
}

/// Look in one slab; what is longer takes the place of what was found elsewhere.
static void find_in(hsdi_slab *slab, const int32_t *tokens, int n, hsdi_slab_text *spare,
                    hsdi_slab_text *best)
{
    const hsdi_blocks_query query = {
        .tokens = tokens, .n = n, .n_least = best->n + 1, .n_spare = n - n / HSDI_BLOCK_CELLS};
    spare->n = hsdi_blocks_find(slab->blocks, &query, spare->cells, spare->held, &spare->n_held);
    if (spare->n > 0) {
        if (best->slab) {
            hsdi_blocks_drop(best->slab->blocks, best->held, best->n_held);
        }
        spare->slab = slab;
        const hsdi_slab_text found = *spare;
        *spare = *best;
        *best = found;
    }
}

static hsd_status text_new(int n, hsdi_slab_text *out, hsd_error *err)
{
    *out = (hsdi_slab_text){.cells = calloc((size_t)n, sizeof *out->cells),
                            .held = calloc((size_t)n, sizeof *out->held)};
    return out->cells && out->held ? HSD_OK
                                   : hsdi_fail(err, HSD_ENOMEM, "cells", "of %d tokens", n);
}

static void text_free(hsdi_slab_text *text)
{
    free(text->cells);
    free(text->held);
    *text = (hsdi_slab_text){0};
}

hsd_status hsdi_slab_find(hsdi_memory *memory, const hsdi_runner *first, int n_layers,
                          const int32_t *tokens, int n, hsdi_slab_text *out, hsd_error *err)
{
    hsdi_slab_text spare = {0};
    *out = spare;
    if (n < 1) {
        return HSD_OK;
    }
    hsd_status status = text_new(n, out, err);
    status = status == HSD_OK ? text_new(n, &spare, err) : status;
    pthread_mutex_lock(&memory->lock);
    for (hsdi_slab *slab = memory->slabs; slab && status == HSD_OK; slab = slab->next) {
        if (slab->first == first && slab->n_layers == n_layers) {
            find_in(slab, tokens, n, &spare, out);
        }
    }
    if (out->slab) {
        out->slab->n_users++;
    }
    pthread_mutex_unlock(&memory->lock);
    text_free(&spare);
    if (!out->slab) {
        text_free(out);
    }
    return status;
}

void hsdi_slab_text_drop(hsdi_memory *memory, hsdi_slab_text *text)
{
    if (text->slab) {
        hsdi_blocks_drop(text->slab->blocks, text->held, text->n_held);
        pthread_mutex_lock(&memory->lock);
        text->slab->n_users--;
        pthread_mutex_unlock(&memory->lock);
    }
    text_free(text);
}
