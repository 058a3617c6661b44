/// See session_draft.h.
#include "engine/session_draft.h"

#include "base/error.h"
#include "pipelines/draft.h"

#include <stdlib.h>

/// For the draft to get to the end of what it computes; then it is parked without its cells.
enum { KEEP_MS = 2000 };

/// Is there a model draft here, whose cells others find?
static bool has_cells(const hsd_session *s)
{
    bool drafts = s->options.mode != HSD_MODE_AR || hsdi_session_is_watched(s);
    return drafts && s->engine->memory.shares && s->options.draft_kind == HSD_DRAFT_MODEL &&
           s->engine->draft.model && !hsdi_session_uses_remote(s);
}

hsd_status hsdi_draft_cells_find(hsd_session *s, const int32_t *tokens, int n,
                                 hsdi_draft_cells *out, hsd_error *err)
{
    hsd_engine *e = s->engine;
    *out = (hsdi_draft_cells){.engine = e};
    hsdi_worker *worker = e->local[HSDI_LOCAL_DRAFT].worker; // runs since the session was opened
    if (!has_cells(s) || !worker || !hsdi_worker_keep(worker, KEEP_MS)) {
        return HSD_OK;
    }
    return hsdi_slab_find(&e->memory, &e->draft.runner, e->draft.model->n_layers, tokens, n,
                          &out->text, err);
}

/// Blocks of the slab for n cells.
static hsd_status take_blocks(hsdi_slab_text *text, int n, hsd_error *err)
{
    int n_blocks = (n + HSDI_BLOCK_CELLS - 1) / HSDI_BLOCK_CELLS;
    text->cells = calloc((size_t)n, sizeof *text->cells);
    text->held = calloc((size_t)n_blocks, sizeof *text->held);
    if (!text->cells || !text->held) {
        return hsdi_fail(err, HSD_ENOMEM, "cells", "of %d tokens", n);
    }
    for (; text->n_held < n_blocks; text->n_held++) {
        int block = hsdi_blocks_take(text->slab->blocks);
        if (block < 0) {
            return hsdi_fail(err, HSD_ENOMEM, "cells", "of %d tokens", n);
        }
        text->held[text->n_held] = block;
    }
    for (; text->n < n; text->n++) {
        text->cells[text->n] =
            text->held[text->n / HSDI_BLOCK_CELLS] * HSDI_BLOCK_CELLS + text->n % HSDI_BLOCK_CELLS;
    }
    return HSD_OK;
}

hsd_status hsdi_draft_cells_make(hsd_session *s, int n, hsdi_draft_cells *out, hsd_error *err)
{
    hsd_engine *e = s->engine;
    *out = (hsdi_draft_cells){.engine = e};
    if (!has_cells(s) || n < 1) {
        return HSD_OK;
    }
    const hsdi_runner *runner = &e->draft.runner;
    const hsdi_draft_config config = {.n_ctx = s->options.n_ctx < runner->n_ctx ? s->options.n_ctx
                                                                                : runner->n_ctx,
                                      .window = s->options.window,
                                      .roots = s->options.roots};
    n = n < config.n_ctx ? n : config.n_ctx;
    out->n_ctx = config.n_ctx;
    out->n_cells = hsdi_draft_cells_needed(&config);
    hsd_status status = hsdi_slab_join(&e->memory, runner, e->draft.model->n_layers, out->n_cells,
                                       out->n_ctx, &out->text.slab, err);
    if (status == HSD_OK) {
        status = take_blocks(&out->text, n, err);
    }
    if (status != HSD_OK) {
        hsdi_draft_cells_drop(out);
    }
    return status;
}

void hsdi_draft_cells_describe(const hsdi_draft_cells *c, hsdi_parked_draft *out)
{
    char kind[HSDI_PARKED_KIND];
    *out = (hsdi_parked_draft){0};
    if (c->text.n > 0) {
        const hsdi_cache *cache = c->text.slab->caches[0];
        hsdi_cache_describe(cache, kind, sizeof kind);
        *out = (hsdi_parked_draft){.fingerprint = c->engine->drafts.fingerprint,
                                   .kind_sum = hsdi_parked_sum(kind),
                                   .cell_bytes = (uint32_t)hsdi_cache_bytes_per_cell(cache),
                                   .n_cells = c->text.n};
    }
}

/// Neighbours among cells [first, first + n), from the first on.
static int run_of(const int32_t *cells, int first, int n)
{
    int i = 1;
    while (i < n && cells[first + i] == cells[first] + i) {
        i++;
    }
    return i;
}

hsd_status hsdi_draft_cells_read(const hsdi_draft_cells *c, int first, int n, void *out,
                                 hsd_error *err)
{
    hsd_status status = HSD_OK;
    const hsdi_cache *cache = c->text.slab->caches[0];
    char *to = out;
    for (int n_run; n > 0 && status == HSD_OK; first += n_run, n -= n_run) {
        n_run = run_of(c->text.cells, first, n);
        status =
            hsdi_cache_read(c->engine->draft_device, cache, c->text.cells[first], n_run, to, err);
        to += (size_t)n_run * hsdi_cache_bytes_per_cell(cache);
    }
    return status;
}

hsd_status hsdi_draft_cells_write(const hsdi_draft_cells *c, int first, int n, const void *bytes,
                                  hsd_error *err)
{
    hsd_status status = HSD_OK;
    hsdi_cache *cache = c->text.slab->caches[0];
    const char *from = bytes;
    for (int n_run; n > 0 && status == HSD_OK; first += n_run, n -= n_run) {
        n_run = run_of(c->text.cells, first, n);
        status = hsdi_cache_write(c->engine->draft_device, cache, c->text.cells[first], n_run, from,
                                  err);
        from += (size_t)n_run * hsdi_cache_bytes_per_cell(cache);
    }
    return status;
}

void hsdi_draft_cells_keep(const hsdi_draft_cells *c, const int32_t *tokens)
{
    hsdi_blocks_keep(c->text.slab->blocks, tokens, c->text.cells, c->text.n);
}

void hsdi_draft_cells_drop(hsdi_draft_cells *c)
{
    if (!c->engine) {
        return;
    }
    if (c->n_cells == 0) {
        hsdi_slab_text_drop(&c->engine->memory, &c->text);
        return;
    }
    if (c->text.slab) {
        hsdi_blocks_drop(c->text.slab->blocks, c->text.held, c->text.n_held);
    }
    hsdi_slab_leave(&c->engine->memory, &c->text.slab, c->n_cells, c->n_ctx);
    free(c->text.cells);
    free(c->text.held);
    *c = (hsdi_draft_cells){.engine = c->engine};
}
