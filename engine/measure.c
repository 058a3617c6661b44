/// Measurements that `hsd bench` prints.
#include "engine/engine_internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "pipelines/rendezvous.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { PROXIES_PER_ROW = 8, FILL_BY_PASSES_MAX = 256 };

hsd_status hsd_measure_rendezvous(const char *transport, int n_steps, hsd_rendezvous_times *out,
                                  hsd_error *err)
{
    return hsdi_rendezvous_measure(transport, HSD_MODE_MIRROR, n_steps, out, err);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/// Arrays of one pass of n_rows rows behind n_past trunk positions.
typedef struct pass {
    int32_t *trunk, *tokens, *pos, *path, *n_path;
    int64_t *ns, *suffix_ns; ///< [n_repeats]
} pass;

static void pass_fini(pass *p)
{
    free(p->trunk);
    free(p->tokens);
    free(p->pos);
    free(p->path);
    free(p->n_path);
    free(p->ns);
    free(p->suffix_ns);
}

static hsd_status pass_init(pass *p, int n_rows, int n_past, int n_repeats, int n_vocab,
                            hsd_error *err)
{
    size_t n = (size_t)n_rows;
    p->trunk = calloc((size_t)n_past + 1, sizeof *p->trunk);
    p->tokens = calloc(n, sizeof *p->tokens);
    p->pos = calloc(n, sizeof *p->pos);
    p->path = calloc(n * n, sizeof *p->path);
    p->n_path = calloc(n, sizeof *p->n_path);
    p->ns = calloc((size_t)n_repeats, sizeof *p->ns);
    p->suffix_ns = calloc((size_t)n_repeats, sizeof *p->suffix_ns);
    if (!p->trunk || !p->tokens || !p->pos || !p->path || !p->n_path || !p->ns || !p->suffix_ns) {
        return hsdi_fail(err, HSD_ENOMEM, "measure", "%d rows", n_rows);
    }
    for (int i = 0; i < n_past; i++) {
        p->trunk[i] = i;
    }
    for (int r = 0; r < n_rows; r++) {
        p->tokens[r] = (r * 7 + 1) % n_vocab;
        p->pos[r] = n_past + r;
        p->n_path[r] = r + 1;
        for (int i = 0; i <= r; i++) {
            p->path[r * n_rows + i] = n_past + i;
        }
    }
    return HSD_OK;
}

enum { FILL_ROWS = 64 };

/// Rows of a piece of the trunk, as one chain.
typedef struct piece {
    int32_t tokens[FILL_ROWS], pos[FILL_ROWS], n_path[FILL_ROWS], path[FILL_ROWS * FILL_ROWS];
} piece;

/// Fill the trunk: a short one by ordinary passes, so that attention reads real numbers.
static hsd_status fill(const hsdi_target_stage *stage, const pass *p, int n_past, hsd_error *err)
{
    if (n_past > FILL_BY_PASSES_MAX) {
        return hsdi_target_stage_fill(stage, n_past, err);
    }
    hsd_status status = HSD_OK;
    piece *rows_of = n_past > 0 ? calloc(1, sizeof *rows_of) : NULL;
    if (n_past > 0 && !rows_of) {
        return hsdi_fail(err, HSD_ENOMEM, "measure", "a trunk of %d positions", n_past);
    }
    for (int begin = 0, n; begin < n_past && status == HSD_OK; begin += n) {
        n = n_past - begin < FILL_ROWS ? n_past - begin : FILL_ROWS;
        for (int r = 0; r < n; r++) {
            rows_of->tokens[r] = p->tokens[0];
            rows_of->pos[r] = begin + r;
            rows_of->n_path[r] = r + 1;
            memcpy(rows_of->path + (size_t)r * FILL_ROWS, p->trunk + begin,
                   (size_t)(r + 1) * sizeof *p->trunk);
        }
        const hsdi_rows rows = {.n_rows = n,
                                .tokens = rows_of->tokens,
                                .pos = rows_of->pos,
                                .cell = rows_of->pos,
                                .trunk = p->trunk,
                                .n_trunk = begin,
                                .path = rows_of->path,
                                .n_path = rows_of->n_path,
                                .path_stride = FILL_ROWS};
        status = stage->prefill(stage->self, &rows, err);
    }
    free(rows_of);
    return status;
}

/// Pin the calling thread to a core for a measurement, as sessions do: a pass on several threads
/// must not find two of them on one core.
static void pin_for_now(int cpu, cpu_set_t *before)
{
    CPU_ZERO(before);
    (void)sched_getaffinity(0, sizeof *before, before);
    hsdi_pin_self(cpu);
}

/// One pass as the pipelines run it; with proxies when the stage has an exit.
static hsd_status run_pass(const hsdi_target_stage *stage, const hsdi_rows *rows,
                           hsdi_candidate *proxies, int64_t *ns, int64_t *suffix_ns, hsd_error *err)
{
    int32_t own[HSDI_STAGE_ROWS];
    int64_t begin = hsdi_now_ns();
    hsd_status status = stage->prefix(stage->self, rows, err);
    if (status == HSD_OK && stage->has_exit) {
        status = stage->proxies(stage->self, PROXIES_PER_ROW, proxies, err);
    }
    int64_t middle = hsdi_now_ns();
    if (status == HSD_OK) {
        status = stage->suffix(stage->self, own, err);
    }
    *suffix_ns = hsdi_now_ns() - middle;
    *ns = hsdi_now_ns() - begin;
    return status;
}

int64_t hsdi_quantile_ns(int64_t *ns, int n, double quantile)
{
    qsort(ns, (size_t)n, sizeof *ns, compare_ns);
    return ns[(int)(quantile * (n - 1) + 0.5)];
}

struct hsdi_measured {
    hsdi_measured_pass what;
    hsdi_target_stage stage;
    pass pass;
    hsdi_candidate proxies[HSDI_STAGE_ROWS * PROXIES_PER_ROW];
};

void hsdi_measured_close(hsdi_measured **measured)
{
    if (*measured) {
        hsdi_target_stage_close(&(*measured)->stage);
        pass_fini(&(*measured)->pass);
        free(*measured);
        *measured = NULL;
    }
}

hsd_status hsdi_measured_open(hsdi_runner *runner, const hsdi_measured_pass *what,
                              hsdi_measured **out, hsd_error *err)
{
    const hsdi_target_stage_options options = {.exit_layer = what->exit_layer,
                                               .n_cells = what->n_past + what->n_rows,
                                               .n_threads = what->n_threads,
                                               .n_top = PROXIES_PER_ROW,
                                               .sampling = {.top_p = 1.0f}};
    hsdi_measured *m = calloc(1, sizeof *m);
    if (!m) {
        return hsdi_fail(err, HSD_ENOMEM, "measure", "%d rows", what->n_rows);
    }
    m->what = *what;
    hsd_status status = hsdi_target_stage_open(runner, &options, &m->stage, err);
    if (status == HSD_OK) {
        status = pass_init(&m->pass, what->n_rows, what->n_past, what->n_repeats,
                           m->stage.limits.n_vocab, err);
    }
    if (status == HSD_OK) {
        status = fill(&m->stage, &m->pass, what->n_past, err);
    }
    if (status != HSD_OK) {
        hsdi_measured_close(&m);
    }
    *out = m;
    return status;
}

/// Passes that nobody times, until the others are done.
static hsd_status keep_company(hsdi_measured *m, const hsdi_rows *rows, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int64_t ns, suffix_ns;
    (void)atomic_fetch_sub(m->what.n_beside, 1);
    while (status == HSD_OK && atomic_load(m->what.n_beside) > 0) {
        status = run_pass(&m->stage, rows, m->proxies, &ns, &suffix_ns, err);
    }
    return status;
}

hsd_status hsdi_measured_run(hsdi_measured *m, int n_rows, int64_t *ns, int64_t *suffix_ns,
                             hsd_error *err)
{
    const hsdi_measured_pass *what = &m->what;
    pass *p = &m->pass;
    const hsdi_rows rows = {.n_rows = n_rows,
                            .tokens = p->tokens,
                            .pos = p->pos,
                            .cell = p->pos,
                            .trunk = p->trunk,
                            .n_trunk = what->n_past,
                            .path = p->path,
                            .n_path = p->n_path,
                            .path_stride = what->n_rows};
    int n_repeats = what->n_repeats;
    hsd_status status = HSD_OK;
    cpu_set_t before;
    pin_for_now(what->cpu, &before);
    int64_t started = hsdi_now_ns();
    for (int i = -1; i < n_repeats && status == HSD_OK; i++) { // one to warm up
        int at = i < 0 ? 0 : i;
        status = run_pass(&m->stage, &rows, m->proxies, &p->ns[at], &p->suffix_ns[at], err);
        if (what->budget_ns > 0 && i >= 0 && hsdi_now_ns() - started > what->budget_ns) {
            n_repeats = i + 1;
        }
    }
    if (what->n_beside) {
        hsd_status after = keep_company(m, &rows, err); // also where this one failed
        status = status == HSD_OK ? after : status;
    }
    (void)sched_setaffinity(0, sizeof before, &before);
    if (status == HSD_OK) {
        *ns = hsdi_quantile_ns(p->ns, n_repeats, what->quantile);
    }
    if (status == HSD_OK && suffix_ns) {
        *suffix_ns = hsdi_quantile_ns(p->suffix_ns, n_repeats, what->quantile);
    }
    return status;
}

hsd_status hsdi_measure_rows(hsdi_runner *runner, const hsdi_measured_pass *what, int64_t *ns,
                             int64_t *suffix_ns, hsd_error *err)
{
    hsdi_measured *m = NULL;
    hsd_status status = hsdi_measured_open(runner, what, &m, err);
    if (status == HSD_OK) {
        status = hsdi_measured_run(m, what->n_rows, ns, suffix_ns, err);
    } else if (what->n_beside) {
        (void)atomic_fetch_sub(what->n_beside, 1);
    }
    hsdi_measured_close(&m);
    return status;
}

hsd_status hsd_measure_pass(hsd_engine *engine, int n_rows, int n_past, int n_repeats, double *ms,
                            hsd_error *err)
{
    if (!engine || !ms || n_rows < 1 || n_rows > HSDI_STAGE_ROWS || n_past < 0 || n_repeats < 1 ||
        n_repeats > 1000000 || n_past > engine->n_ctx - n_rows) {
        return hsdi_fail(err, HSD_EINVAL, "measure", "%d rows behind %d positions, %d times",
                         n_rows, n_past, n_repeats);
    }
    int64_t ns;
    const hsdi_measured_pass what = {.cpu = hsdi_first_cpu(engine),
                                     .n_threads = engine->n_target_alone,
                                     .n_rows = n_rows,
                                     .n_past = n_past,
                                     .n_repeats = n_repeats,
                                     .quantile = 0.5};
    hsd_status status = hsdi_measure_rows(&engine->target.runner, &what, &ns, NULL, err);
    if (status == HSD_OK) {
        *ms = (double)ns * 1e-6;
    }
    return status;
}

hsd_status hsd_measure_overlap(hsd_engine *engine, int window, int roots, int exit_layer,
                               int n_repeats, hsd_overlap *out, hsd_error *err)
{
    if (!engine || !out || window < 1 || window > 16 || roots < 1 || roots > HSDI_STAGE_ROWS ||
        n_repeats < 1 || n_repeats > 1000000) {
        return hsdi_fail(err, HSD_EINVAL, "measure", "window %d, %d roots, %d times", window, roots,
                         n_repeats);
    }
    if (!engine->draft.model) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "measure", "the engine has no draft model");
    }
    hsdi_measured_pass what = {.cpu = hsdi_first_cpu(engine),
                               .n_threads = engine->n_target_alone,
                               .n_rows = window + 1,
                               .n_repeats = n_repeats,
                               .quantile = 0.5};
    int64_t alone = 0, beside = 0, delta = 0, one = 0, branches = 0;
    hsd_status status = hsdi_measure_rows(&engine->target.runner, &what, &alone, NULL, err);
    what.n_threads = engine->n_target_beside;
    what.exit_layer = exit_layer > 0 ? exit_layer : engine->target.model->n_layers / 2;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(&engine->target.runner, &what, &beside, &delta, err);
    }
    what.n_threads = what.exit_layer = 0;
    what.n_rows = 1;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(&engine->draft.runner, &what, &one, NULL, err);
    }
    what.n_rows = roots;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(&engine->draft.runner, &what, &branches, NULL, err);
    }
    if (status == HSD_OK) {
        *out = (hsd_overlap){
            .alone_ms = (double)alone * 1e-6,
            .beside_ms = (double)beside * 1e-6,
            .delta_ms = (double)delta * 1e-6,
            .draft_token_ms = (double)one * 1e-6,
            .draft_step_ms = (double)(one + window * branches) * 1e-6,
            .n_threads_alone = engine->n_target_alone,
            .n_threads_beside = engine->n_target_beside,
        };
    }
    return status;
}
