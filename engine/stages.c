/// Target and draft stages on real models.
///
/// A target pass is two submissions when proxies are wanted (layers before and after the exit)
/// and one otherwise. Both give the same bits: the kernels do not see the difference. Submissions
/// go through the runner's combiner, which joins them with those of other sessions.
#include "engine/stages.h"

#include "base/error.h"
#include "engine/ratio.h"
#include "engine/rules.h"
#include "engine/sampler.h"

#include <stdlib.h>

typedef struct target {
    hsdi_combiner *combiner;
    hsdi_seat *seat;
    hsdi_graph *fill, *full, *prefix, *exit_head, *suffix;
    hsdi_cache *cache;
    hsdi_buffer *hidden, *exit_logits, *logits;
    hsdi_sampler *sampler;
    hsdi_rules *rules;
    double *p; ///< [n_vocab] scratch of the ratio rule, else NULL
    int n_vocab, n_threads, n_alone;
    bool is_split;  ///< the pass between prefix and suffix runs in two submissions
    hsdi_rows rows; ///< of the pass between prefix and suffix
    hsdi_job job;   ///< the same for the device
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

static hsdi_job job_of(const hsdi_rows *rows, hsdi_cache *cache, int n_threads)
{
    return (hsdi_job){.n_rows = rows->n_rows,
                      .tokens = rows->tokens,
                      .pos = rows->pos,
                      .cell = rows->cell,
                      .trunk = rows->trunk,
                      .n_trunk = rows->n_trunk,
                      .path = rows->path,
                      .n_path = rows->n_path,
                      .path_stride = rows->path_stride,
                      .n_threads = n_threads,
                      .cache = cache};
}

static hsd_status target_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    target *t = self;
    hsdi_job job = job_of(rows, t->cache, t->n_threads);
    hsdi_rules_note(t->rules, rows);
    return hsdi_combiner_run(t->combiner, t->seat, t->fill, &job, err);
}

static hsd_status target_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    target *t = self;
    t->rows = *rows;
    t->job = job_of(rows, t->cache, rows->is_alone ? t->n_alone : t->n_threads);
    hsdi_rules_note(t->rules, rows);
    t->is_split = t->prefix && !rows->is_alone;
    if (!t->is_split) {
        return HSD_OK; // the whole pass runs in target_suffix
    }
    t->job.out = t->hidden;
    return hsdi_combiner_run(t->combiner, t->seat, t->prefix, &t->job, err);
}

static hsd_status target_proxies(void *self, int n_top, hsdi_candidate *out, hsd_error *err)
{
    target *t = self;
    hsdi_job job = t->job;
    job.in = t->hidden;
    job.out = t->exit_logits;
    hsd_status status = hsdi_combiner_run(t->combiner, t->seat, t->exit_head, &job, err);
    const float *logits = hsdi_buffer_map(t->exit_logits);
    for (int r = 0; r < job.n_rows && status == HSD_OK; r++) {
        const float *row = logits + (size_t)r * (size_t)t->n_vocab;
        top_of(t->sampler, t->p != NULL, hsdi_rules_apply(t->rules, &t->rows, r, row),
               job.pos[r] + 1, n_top, out + (size_t)r * (size_t)n_top);
    }
    return status;
}

static hsd_status target_suffix(void *self, int32_t *own, hsd_error *err)
{
    target *t = self;
    t->job.in = t->is_split ? t->hidden : NULL;
    t->job.out = t->logits;
    hsd_status status =
        hsdi_combiner_run(t->combiner, t->seat, t->is_split ? t->suffix : t->full, &t->job, err);
    const float *logits = hsdi_buffer_map(t->logits);
    // The ratio rule decides with distributions, not with one token per row.
    for (int r = 0; r < t->job.n_rows && status == HSD_OK && !t->p; r++) {
        const float *row = logits + (size_t)r * (size_t)t->n_vocab;
        own[r] = hsdi_sampler_pick(t->sampler, hsdi_rules_apply(t->rules, &t->rows, r, row),
                                   t->job.pos[r] + 1);
    }
    return status;
}

static const float *row_logits(void *user, int row)
{
    target *t = user;
    const float *logits = hsdi_buffer_map(t->logits);
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

static hsd_status compile_target(hsdi_runner *runner, int exit_layer, target *t, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    hsdi_graph_range all = {.begin = 0,
                            .end = m->n_layers,
                            .from_tokens = true,
                            .n_rows_max = HSDI_STAGE_ROWS,
                            .n_ctx = runner->n_ctx};
    hsdi_graph_range fill = all, full = all, prefix = all, exit_head = all, suffix = all;
    fill.fill_only = true;
    full.head = true;
    prefix.end = exit_layer;
    exit_head = (hsdi_graph_range){.begin = exit_layer,
                                   .end = exit_layer,
                                   .head = true,
                                   .n_rows_max = HSDI_STAGE_ROWS,
                                   .n_ctx = runner->n_ctx};
    suffix = exit_head;
    suffix.end = m->n_layers;
    hsd_status status = hsdi_runner_graph(runner, fill, &t->fill, err);
    if (status == HSD_OK) {
        status = hsdi_runner_graph(runner, full, &t->full, err);
    }
    if (status != HSD_OK || exit_layer == 0) {
        return status;
    }
    if ((status = hsdi_runner_graph(runner, prefix, &t->prefix, err)) == HSD_OK &&
        (status = hsdi_runner_graph(runner, exit_head, &t->exit_head, err)) == HSD_OK) {
        status = hsdi_runner_graph(runner, suffix, &t->suffix, err);
    }
    return status;
}

static hsd_status target_memory(hsdi_runner *runner, const hsdi_target_stage_options *o, target *t,
                                hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    hsd_status status = hsdi_cache_create(runner->device, m->n_layers, o->n_cells,
                                          m->n_kv * m->d_head, &t->cache, err);
    if (status == HSD_OK) {
        status = hsdi_buffer_create(runner->device, HSDI_STAGE_ROWS, m->n_vocab, &t->logits, err);
    }
    if (status == HSD_OK && o->exit_layer > 0) {
        status = hsdi_buffer_create(runner->device, HSDI_STAGE_ROWS, m->n_embd, &t->hidden, err);
        if (status == HSD_OK) {
            status = hsdi_buffer_create(runner->device, HSDI_STAGE_ROWS, m->n_vocab,
                                        &t->exit_logits, err);
        }
    }
    return status;
}

static hsdi_stage_limits limits_of(int n_vocab, int n_ctx, int n_cells)
{
    return (hsdi_stage_limits){.n_vocab = n_vocab,
                               .n_ctx = n_ctx,
                               .n_cells = n_cells,
                               .n_rows_max = HSDI_STAGE_ROWS,
                               .n_top_max = n_vocab < HSDI_STAGE_TOP ? n_vocab : HSDI_STAGE_TOP};
}

hsd_status hsdi_target_stage_open(hsdi_runner *runner, const hsdi_target_stage_options *options,
                                  hsdi_target_stage *out, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    if (options->exit_layer < 0 || options->exit_layer >= m->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "exit_layer", "%d is not between 1 and %d",
                         options->exit_layer, m->n_layers - 1);
    }
    target *t = calloc(1, sizeof *t);
    if (!t) {
        return hsdi_fail(err, HSD_ENOMEM, "target", "stage");
    }
    *out = (hsdi_target_stage){.self = t,
                               .limits = limits_of(m->n_vocab, runner->n_ctx, options->n_cells),
                               .has_exit = options->exit_layer > 0,
                               .prefill = target_prefill,
                               .prefix = target_prefix,
                               .proxies = target_proxies,
                               .suffix = target_suffix};
    t->n_vocab = m->n_vocab;
    t->n_threads = options->n_threads;
    t->n_alone = options->n_alone;
    t->combiner = &runner->combiner;
    hsd_status status =
        hsdi_sampler_create(&options->sampling, m->n_vocab, runner->kernels, &t->sampler, err);
    if (status == HSD_OK) {
        status = hsdi_rules_create(&options->sampling, m->n_vocab, runner->n_ctx, options->n_cells,
                                   &t->rules, err);
    }
    if (status == HSD_OK && draws_by_ratio(&options->sampling)) {
        out->judge = target_judge;
        t->p = calloc((size_t)m->n_vocab, sizeof *t->p);
        status = t->p ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "target", "distribution");
    }
    if (status == HSD_OK) {
        status = hsdi_seat_take(t->combiner, options->is_steady, &t->seat, err);
    }
    if (status == HSD_OK) {
        status = target_memory(runner, options, t, err);
    }
    if (status == HSD_OK) {
        status = compile_target(runner, options->exit_layer, t, err);
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
        hsdi_seat_leave(t->combiner, &t->seat);
        hsdi_cache_destroy(&t->cache);
        hsdi_buffer_destroy(&t->hidden);
        hsdi_buffer_destroy(&t->exit_logits);
        hsdi_buffer_destroy(&t->logits);
        hsdi_sampler_destroy(&t->sampler);
        hsdi_rules_destroy(&t->rules);
        free(t->p);
        free(t);
        stage->self = NULL;
    }
}

const float *hsdi_target_stage_logits(const hsdi_target_stage *stage)
{
    return hsdi_buffer_map(((const target *)stage->self)->logits);
}

typedef struct draft {
    hsdi_combiner *combiner;
    hsdi_seat *seat;
    hsdi_graph *fill, *full;
    hsdi_cache *cache;
    hsdi_buffer *logits;
    hsdi_sampler *sampler;
    hsdi_rules *rules;
    bool by_ratio;
    int n_vocab;
} draft;

static hsd_status draft_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                             hsd_error *err)
{
    draft *d = self;
    hsdi_job job = job_of(rows, d->cache, 0);
    hsdi_rules_note(d->rules, rows);
    if (n_top == 0) {
        return hsdi_combiner_run(d->combiner, d->seat, d->fill, &job, err);
    }
    job.out = d->logits;
    hsd_status status = hsdi_combiner_run(d->combiner, d->seat, d->full, &job, err);
    const float *logits = hsdi_buffer_map(d->logits);
    for (int r = 0; r < rows->n_rows && status == HSD_OK; r++) {
        const float *row = logits + (size_t)r * (size_t)d->n_vocab;
        top_of(d->sampler, d->by_ratio, hsdi_rules_apply(d->rules, rows, r, row), rows->pos[r] + 1,
               n_top, out + (size_t)r * (size_t)n_top);
    }
    return status;
}

hsd_status hsdi_draft_stage_open(hsdi_runner *runner, int n_layers, int n_cells,
                                 const hsd_sampling *sampling, hsdi_draft_stage *out,
                                 hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(runner->weights);
    if (n_layers < 1 || n_layers > m->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "exit_layer", "%d is not between 1 and %d", n_layers,
                         m->n_layers);
    }
    draft *d = calloc(1, sizeof *d);
    if (!d) {
        return hsdi_fail(err, HSD_ENOMEM, "draft", "stage");
    }
    *out = (hsdi_draft_stage){
        .self = d, .limits = limits_of(m->n_vocab, runner->n_ctx, n_cells), .eval = draft_eval};
    d->n_vocab = m->n_vocab;
    d->by_ratio = draws_by_ratio(sampling);
    d->combiner = &runner->combiner;
    hsdi_graph_range fill = {.end = n_layers,
                             .from_tokens = true,
                             .fill_only = true,
                             .n_rows_max = HSDI_STAGE_ROWS,
                             .n_ctx = runner->n_ctx};
    hsdi_graph_range full = fill;
    full.fill_only = false;
    full.head = true;
    hsd_status status;
    if ((status = hsdi_sampler_create(sampling, m->n_vocab, runner->kernels, &d->sampler, err)) !=
            HSD_OK ||
        (status = hsdi_rules_create(sampling, m->n_vocab, runner->n_ctx, n_cells, &d->rules,
                                    err)) != HSD_OK ||
        (status = hsdi_seat_take(d->combiner, false, &d->seat, err)) != HSD_OK ||
        (status = hsdi_cache_create(runner->device, n_layers, n_cells, m->n_kv * m->d_head,
                                    &d->cache, err)) != HSD_OK ||
        (status = hsdi_buffer_create(runner->device, HSDI_STAGE_ROWS, m->n_vocab, &d->logits,
                                     err)) != HSD_OK ||
        (status = hsdi_runner_graph(runner, fill, &d->fill, err)) != HSD_OK ||
        (status = hsdi_runner_graph(runner, full, &d->full, err)) != HSD_OK) {
        hsdi_draft_stage_close(out);
    }
    return status;
}

void hsdi_draft_stage_close(hsdi_draft_stage *stage)
{
    draft *d = stage->self;
    if (d && stage->eval == draft_eval) {
        hsdi_seat_leave(d->combiner, &d->seat);
        hsdi_cache_destroy(&d->cache);
        hsdi_buffer_destroy(&d->logits);
        hsdi_sampler_destroy(&d->sampler);
        hsdi_rules_destroy(&d->rules);
        free(d);
        stage->self = NULL;
    }
}
