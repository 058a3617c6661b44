/// Target and draft stages on real models.
///
/// A target pass is cut where proxies are wanted, and where its layers lie on several devices of a
/// kind. The bits stay the same: the kernels do not see the difference. Where the sampling settings
/// allow it and the device makes them, short lists come back instead of logits; all passes of a
/// stage end alike, so its tokens do not depend on which pass made them.
#include "engine/stages.h"

#include "base/error.h"
#include "engine/memory.h"
#include "engine/passes.h"
#include "engine/ratio.h"
#include "engine/rules.h"
#include "engine/sampler.h"

#include <stdlib.h>

/// The cells of a stage: some of a slab, or a cache of its own.
typedef struct pool {
    hsdi_memory *memory;
    hsdi_slab *slab; ///< NULL: its own
    int n_cells, n_ctx;
    int64_t promised_bytes; ///< by its own wish, not by a session's
} pool;

typedef struct target {
    pool pool;
    hsdi_passes *passes;
    hsdi_sampler *sampler;
    hsdi_rules *rules;
    double *p; ///< [n_vocab] scratch of the ratio rule, else NULL
    int n_vocab;
    hsdi_rows rows; ///< of the pass between prefix and suffix
    hsdi_job job;   ///< the same for the devices
    hsdi_draw draws[HSDI_STAGE_ROWS];
} target;

static bool draws_by_ratio(const hsd_sampling *sampling)
{
    return sampling->rule == HSD_RULE_RATIO && sampling->temperature > 0.0f;
}

/// Candidates after the rules of the text: by the ratio rule what a draft draws from, the drawn one
/// first; else the best, with the position's noise.
static void top_of(hsdi_sampler *sampler, bool by_ratio, const float *logits, int64_t position,
                   int n_top, hsdi_candidate *out)
{
    if (by_ratio) {
        (void)hsdi_ratio_draft(sampler, logits, position, n_top, out);
    } else {
        hsdi_sampler_top(sampler, logits, position, n_top, out);
    }
}

/// The same from what a pass ended with. To lists the device has applied the rules of the text.
static void candidates_of(hsdi_sampler *sampler, hsdi_rules *rules, bool by_ratio,
                          const hsdi_passes_rows *from, const hsdi_rows *rows, int n_top,
                          hsdi_candidate *out)
{
    for (int r = 0; r < rows->n_rows; r++, out += n_top) {
        const float *row = from->rows + (size_t)r * (size_t)from->width;
        int64_t position = rows->pos[r] + 1;
        if (from->listing.n > 0) {
            hsdi_sampler_top_listed(sampler, row, from->listing, position, n_top, out);
        } else {
            top_of(sampler, by_ratio, hsdi_rules_apply(rules, rows, r, row), position, n_top, out);
        }
    }
}

static hsdi_listing listing_for(const hsd_sampling *sampling, const hsdi_rules *rules, int n_top)
{
    return hsdi_sampler_listing(sampling, hsdi_rules_n_edits(rules), n_top);
}

/// How the device draws from rows that were noted.
static void set_draws(const hsdi_sampler *sampler, hsdi_rules *rules, const hsdi_rows *rows,
                      hsdi_draw *draws)
{
    for (int r = 0; r < rows->n_rows; r++) {
        hsdi_sampler_draw(sampler, rows->pos[r] + 1, &draws[r]);
        hsdi_rules_edits(rules, rows, r, &draws[r]);
    }
}

static hsdi_job job_of(const hsdi_rows *rows)
{
    return (hsdi_job){.n_rows = rows->n_rows,
                      .tokens = rows->tokens,
                      .pos = rows->pos,
                      .cell = rows->cell,
                      .trunk = rows->trunk,
                      .n_trunk = rows->n_trunk,
                      .path = rows->path,
                      .n_path = rows->n_path,
                      .path_stride = rows->path_stride};
}

static hsd_status target_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    target *t = self;
    hsdi_job job = job_of(rows);
    hsdi_rules_note(t->rules, rows);
    return hsdi_passes_fill(t->passes, &job, rows->is_alone, err);
}

static hsd_status target_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    target *t = self;
    t->rows = *rows;
    t->job = job_of(rows);
    hsdi_rules_note(t->rules, rows);
    if (hsdi_passes_draw(t->passes)) {
        set_draws(t->sampler, t->rules, rows, t->draws);
        t->job.draws = t->draws;
    }
    return rows->is_alone ? HSD_OK : hsdi_passes_prefix(t->passes, &t->job, err);
}

static hsd_status target_cut(void *self, int exit_layer, hsd_error *err)
{
    return hsdi_passes_cut(((target *)self)->passes, exit_layer, err);
}

static hsd_status target_proxies(void *self, int n_top, hsdi_candidate *out, hsd_error *err)
{
    target *t = self;
    hsdi_passes_rows from;
    hsd_status status = hsdi_passes_exit(t->passes, &t->job, &from, err);
    if (status == HSD_OK) {
        candidates_of(t->sampler, t->rules, t->p != NULL, &from, &t->rows, n_top, out);
    }
    return status;
}

static hsd_status target_suffix(void *self, int32_t *own, hsd_error *err)
{
    target *t = self;
    hsd_status status = t->rows.is_alone ? hsdi_passes_whole(t->passes, &t->job, err)
                                         : hsdi_passes_suffix(t->passes, &t->job, err);
    const hsdi_passes_rows from = hsdi_passes_result(t->passes);
    // The ratio rule decides with distributions, not with one token per row.
    for (int r = 0; r < t->job.n_rows && status == HSD_OK && !t->p; r++) {
        const float *row = from.rows + (size_t)r * (size_t)from.width;
        int64_t position = t->job.pos[r] + 1;
        own[r] = from.listing.n > 0
                     ? hsdi_sampler_pick_listed(t->sampler, row, from.listing, position)
                     : hsdi_sampler_pick(t->sampler, hsdi_rules_apply(t->rules, &t->rows, r, row),
                                         position);
    }
    return status;
}

static const float *row_logits(void *user, int row)
{
    target *t = user;
    const float *logits = hsdi_passes_result(t->passes).rows;
    return hsdi_rules_apply(t->rules, &t->rows, row, logits + (size_t)row * (size_t)t->n_vocab);
}

/// Distributions that are none (a worker may send anything) count as absent: the tokens are then
/// verified as ones that were chosen without chance.
static hsd_status target_judge(void *self, const hsdi_window *window, const hsdi_candidate *q,
                               int n_q, int *row, int32_t *next, hsd_error *err)
{
    target *t = self;
    hsdi_ratio_result result;
    (void)err;
    if (n_q > 0 && hsdi_ratio_check(window, q, n_q, t->n_vocab, NULL) != HSD_OK) {
        n_q = 0;
    }
    hsdi_ratio_verify(t->sampler, window, q, n_q, t->job.pos[0] + 1, row_logits, t, t->p, &result);
    *row = result.row;
    *next = result.next;
    return HSD_OK;
}

static void target_found(void *self, const int32_t *tokens, const int32_t *cells, int n)
{
    hsdi_rules_found(((target *)self)->rules, tokens, cells, n);
}

static hsd_status pool_open(pool *p, const hsdi_runner *runner, int n_layers, bool is_pooled,
                            hsd_error *err)
{
    p->memory = runner->memory;
    return is_pooled && p->memory
               ? hsdi_slab_join(p->memory, runner, n_layers, p->n_cells, p->n_ctx, &p->slab, err)
               : HSD_OK;
}

/// Have the pool's bytes promised where nobody has done that.
static hsd_status pool_promise(pool *p, const hsdi_runner *runner, int n_layers, hsd_error *err)
{
    hsdi_memory *memory = runner->memory;
    int64_t n = hsdi_slab_bytes(runner, n_layers, p->n_cells, p->n_ctx);
    if (!memory || hsdi_memory_promise(memory, n)) {
        p->promised_bytes = memory ? n : 0;
        p->memory = memory;
        return HSD_OK;
    }
    const double mib = 1048576.0;
    return hsdi_fail(err, HSD_ENOMEM, "cache_memory",
                     "a text of %d tokens needs %.2f MiB of caches, and of %.2f MiB %.2f are "
                     "promised to others",
                     p->n_ctx, (double)n / mib, (double)memory->limit_bytes / mib,
                     (double)hsdi_memory_promised(memory) / mib);
}

static void pool_close(pool *p)
{
    if (p->promised_bytes > 0) { // what its texts leave behind may take it
        hsdi_memory_release(p->memory, p->promised_bytes);
    }
    hsdi_slab_leave(p->memory, &p->slab, p->n_cells, p->n_ctx);
}

/// How many cells it can come to need.
static int n_promised(const pool *p)
{
    return p->slab ? HSDI_BLOCK_CELLS * hsdi_blocks_needed(p->n_cells, p->n_ctx) : p->n_cells;
}

/// How many different numbers its cells can have.
static int n_numbers(const pool *p)
{
    return p->slab ? p->slab->n_cells : p->n_cells;
}

static hsdi_stage_limits limits_of(int n_vocab, const pool *p, int n_top)
{
    return (hsdi_stage_limits){.n_vocab = n_vocab,
                               .n_ctx = p->n_ctx,
                               .n_cells = p->n_cells,
                               .blocks = p->slab ? p->slab->blocks : NULL,
                               .n_rows_max = HSDI_STAGE_ROWS,
                               .n_top_max = n_vocab < n_top ? n_vocab : n_top};
}

hsd_status hsdi_target_stage_open(hsdi_runner *runner, const hsdi_target_stage_options *options,
                                  hsdi_target_stage *out, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    int n_top = options->n_top > 0 ? options->n_top : HSDI_STAGE_TOP;
    target *t = calloc(1, sizeof *t);
    if (!t) {
        return hsdi_fail(err, HSD_ENOMEM, "target", "stage");
    }
    *out = (hsdi_target_stage){.self = t,
                               .has_exit = options->exit_layer > 0,
                               .prefill = target_prefill,
                               .prefix = target_prefix,
                               .cut = options->exit_layer > 0 ? target_cut : NULL,
                               .proxies = target_proxies,
                               .suffix = target_suffix,
                               .found = target_found};
    t->n_vocab = m->n_vocab;
    t->pool.n_cells = options->n_cells;
    t->pool.n_ctx = options->n_ctx > 0 ? options->n_ctx : runner->n_ctx;
    hsd_status status = pool_open(&t->pool, runner, m->n_layers, options->is_pooled, err);
    out->limits = limits_of(m->n_vocab, &t->pool, n_top);
    if (status == HSD_OK) {
        status =
            hsdi_sampler_create(&options->sampling, m->n_vocab, runner->kernels, &t->sampler, err);
    }
    if (status == HSD_OK) {
        status = hsdi_rules_create(&options->sampling, m->n_vocab, t->pool.n_ctx,
                                   n_numbers(&t->pool), &t->rules, err);
    }
    if (status == HSD_OK && draws_by_ratio(&options->sampling)) {
        out->judge = target_judge;
        t->p = calloc((size_t)m->n_vocab, sizeof *t->p);
        status = t->p ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "target", "distribution");
    }
    if (status == HSD_OK) {
        const hsd_sampling *how = &options->sampling;
        const hsdi_listing none = {0};
        bool lists = !options->with_logits;
        const hsdi_passes_options passes = {.exit_layer = options->exit_layer,
                                            .n_cells = n_promised(&t->pool),
                                            .slab = t->pool.slab,
                                            .n_threads = options->n_threads,
                                            .n_alone = options->n_alone,
                                            .is_steady = options->is_steady,
                                            .listing = lists ? listing_for(how, t->rules, 1) : none,
                                            .exit_listing =
                                                lists ? listing_for(how, t->rules, n_top) : none};
        status = hsdi_passes_open(runner, &passes, &t->passes, err);
    }
    if (status != HSD_OK) {
        hsdi_target_stage_close(out);
    }
    return status;
}

void hsdi_target_stage_close(hsdi_target_stage *stage)
{
    target *t = stage->self;
    if (t) {
        hsdi_passes_close(&t->passes);
        pool_close(&t->pool);
        hsdi_sampler_destroy(&t->sampler);
        hsdi_rules_destroy(&t->rules);
        free(t->p);
        free(t);
        stage->self = NULL;
    }
}

hsd_status hsdi_target_stage_fill(const hsdi_target_stage *stage, int n_cells, hsd_error *err)
{
    return hsdi_passes_randomise(((const target *)stage->self)->passes, n_cells, err);
}

size_t hsdi_target_stage_cache_bytes(const hsdi_target_stage *stage)
{
    return hsdi_passes_cache_bytes(((const target *)stage->self)->passes);
}

const float *hsdi_target_stage_logits(const hsdi_target_stage *stage)
{
    const hsdi_passes_rows from = hsdi_passes_result(((const target *)stage->self)->passes);
    return from.listing.n > 0 ? NULL : from.rows;
}

hsdi_passes *hsdi_target_stage_passes(const hsdi_target_stage *stage)
{
    return ((target *)stage->self)->passes;
}

typedef struct draft {
    pool pool;
    hsdi_combiner *combiner;
    hsdi_seat *seat;
    hsdi_graph *fill, *full;
    hsdi_cache *cache; ///< the slab's, or its own
    hsdi_buffer *out;
    hsdi_listing listing;
    int width; ///< of a row of `out`: hsdi_passes_rows
    hsdi_draw draws[HSDI_STAGE_ROWS];
    hsdi_sampler *sampler;
    hsdi_rules *rules;
    bool by_ratio;
} draft;

static hsd_status draft_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                             hsd_error *err)
{
    draft *d = self;
    hsdi_job job = job_of(rows);
    job.cache = d->cache;
    hsdi_rules_note(d->rules, rows);
    if (n_top == 0) {
        return hsdi_combiner_run(d->combiner, d->seat, d->fill, &job, err);
    }
    job.out = d->out;
    if (d->listing.drawn) {
        set_draws(d->sampler, d->rules, rows, d->draws);
        job.draws = d->draws;
    }
    hsd_status status = hsdi_combiner_run(d->combiner, d->seat, d->full, &job, err);
    const hsdi_passes_rows from = {
        .rows = hsdi_buffer_map(d->out), .width = d->width, .listing = d->listing};
    if (status == HSD_OK) {
        candidates_of(d->sampler, d->rules, d->by_ratio, &from, rows, n_top, out);
    }
    return status;
}

/// The graph of passes with candidates, and its rows. After the rules.
static hsd_status open_full(draft *d, hsdi_runner *runner, hsdi_graph_range full, int n_top,
                            const hsd_sampling *sampling, hsd_error *err)
{
    bool lists = hsdi_device_get_info(runner->device)->prefers_top;
    if (lists) {
        d->listing = listing_for(sampling, d->rules, n_top);
    }
    full.fill_only = false;
    full.head = true;
    full.n_list = d->listing.n;
    full.drawn = d->listing.drawn;
    full.with_sum = full.n_list > 0;
    d->width = full.n_list == 0 ? hsdi_weights_model(runner->weights)->n_vocab
               : full.drawn     ? hsdi_draw_width(full.n_list, true)
                                : hsdi_top_width(full.n_list, true);
    hsd_status status = hsdi_buffer_create(runner->device, HSDI_STAGE_ROWS, d->width, &d->out, err);
    return status == HSD_OK ? hsdi_runner_graph(runner, full, &d->full, err) : status;
}

static void draft_found(void *self, const int32_t *tokens, const int32_t *cells, int n)
{
    hsdi_rules_found(((draft *)self)->rules, tokens, cells, n);
}

static hsd_status open_cells(draft *d, hsdi_runner *runner, const hsdi_draft_stage_options *o,
                             hsd_error *err)
{
    d->pool.n_cells = o->n_cells;
    d->pool.n_ctx = o->n_ctx > 0 ? o->n_ctx : runner->n_ctx;
    hsd_status status = o->promises ? pool_promise(&d->pool, runner, o->n_layers, err) : HSD_OK;
    if (status == HSD_OK) {
        status = pool_open(&d->pool, runner, o->n_layers, o->is_pooled, err);
    }
    if (status != HSD_OK || d->pool.slab) {
        d->cache = d->pool.slab ? d->pool.slab->caches[0] : NULL;
        return status;
    }
    const hsdi_cache_desc cells = hsdi_runner_cells(runner, o->n_layers, o->n_cells);
    return hsdi_cache_create(runner->device, &cells, &d->cache, err);
}

hsd_status hsdi_draft_stage_open(hsdi_runner *runner, const hsdi_draft_stage_options *o,
                                 hsdi_draft_stage *out, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    const hsd_sampling *sampling = &o->sampling;
    if (o->n_layers < 1 || o->n_layers > m->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "exit_layer", "%d is not between 1 and %d", o->n_layers,
                         m->n_layers);
    }
    draft *d = calloc(1, sizeof *d);
    if (!d) {
        return hsdi_fail(err, HSD_ENOMEM, "draft", "stage");
    }
    *out = (hsdi_draft_stage){.self = d, .eval = draft_eval, .found = draft_found};
    d->by_ratio = draws_by_ratio(sampling);
    d->combiner = &runner->combiner;
    hsdi_graph_range fill = {.end = o->n_layers,
                             .from_tokens = true,
                             .fill_only = true,
                             .n_rows_max = HSDI_STAGE_ROWS,
                             .n_ctx = runner->n_ctx};
    hsd_status status;
    if ((status = open_cells(d, runner, o, err)) != HSD_OK ||
        (status = hsdi_sampler_create(sampling, m->n_vocab, runner->kernels, &d->sampler, err)) !=
            HSD_OK ||
        (status = hsdi_rules_create(sampling, m->n_vocab, d->pool.n_ctx, n_numbers(&d->pool),
                                    &d->rules, err)) != HSD_OK ||
        (status = hsdi_seat_take(d->combiner, false, &d->seat, err)) != HSD_OK ||
        (status = hsdi_runner_graph(runner, fill, &d->fill, err)) != HSD_OK ||
        (status = open_full(d, runner, fill, o->n_top, sampling, err)) != HSD_OK) {
        hsdi_draft_stage_close(out);
        return status;
    }
    out->limits = limits_of(m->n_vocab, &d->pool, o->n_top);
    return HSD_OK;
}

void hsdi_draft_stage_close(hsdi_draft_stage *stage)
{
    draft *d = stage->self;
    if (d && stage->eval == draft_eval) {
        hsdi_seat_leave(d->combiner, &d->seat);
        if (!d->pool.slab) {
            hsdi_cache_destroy(&d->cache);
        }
        pool_close(&d->pool);
        hsdi_buffer_destroy(&d->out);
        hsdi_sampler_destroy(&d->sampler);
        hsdi_rules_destroy(&d->rules);
        free(d);
        stage->self = NULL;
    }
}
