/// Measurements that `hsd bench` prints.
#include "engine/engine_internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "pipelines/rendezvous.h"

#include <sched.h>
#include <stdlib.h>

enum { PROXIES_PER_ROW = 8 };

hsd_status hsd_measure_rendezvous(const char *transport, int n_steps, hsd_rendezvous_times *out,
                                  hsd_error *err)
{
    return hsdi_rendezvous_measure(transport, n_steps, out, err);
}

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/// Arrays of one pass of n_rows rows behind n_past trunk positions.
typedef struct pass {
    int32_t *trunk, *tokens, *pos, *path, *n_path;
    int64_t *ns;
} pass;

static void pass_fini(pass *p)
{
    free(p->trunk);
    free(p->tokens);
    free(p->pos);
    free(p->path);
    free(p->n_path);
    free(p->ns);
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
    if (!p->trunk || !p->tokens || !p->pos || !p->path || !p->n_path || !p->ns) {
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

/// Fill the trunk by ordinary passes, so that attention reads real numbers.
static hsd_status fill(const hsdi_target_stage *stage, const pass *p, int n_past, hsd_error *err)
{
    hsd_status status = HSD_OK;
    const int32_t one = 1;
    for (int i = 0; i < n_past && status == HSD_OK; i++) {
        const hsdi_rows rows = {.n_rows = 1,
                                .tokens = p->tokens,
                                .pos = &p->trunk[i],
                                .cell = &p->trunk[i],
                                .trunk = p->trunk,
                                .n_trunk = i,
                                .path = &p->trunk[i],
                                .n_path = &one,
                                .path_stride = 1};
        status = stage->prefill(stage->self, &rows, err);
    }
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
                           hsdi_candidate *proxies, hsd_error *err)
{
    int32_t own[HSDI_STAGE_ROWS];
    hsd_status status = stage->prefix(stage->self, rows, err);
    if (status == HSD_OK && stage->has_exit) {
        status = stage->proxies(stage->self, PROXIES_PER_ROW, proxies, err);
    }
    return status == HSD_OK ? stage->suffix(stage->self, own, err) : status;
}

hsd_status hsdi_measure_rows(hsdi_runner *runner, int cpu, int n_threads, int exit_layer,
                             int n_rows, int n_past, int n_repeats, int64_t budget_ns,
                             double quantile, int64_t *ns, hsd_error *err)
{
    const hsdi_target_stage_options options = {.exit_layer = exit_layer,
                                               .n_cells = n_past + n_rows,
                                               .n_threads = n_threads,
                                               .sampling = {.top_p = 1.0f}};
    hsdi_target_stage stage;
    hsdi_candidate proxies[HSDI_STAGE_ROWS * PROXIES_PER_ROW];
    pass p = {0};
    hsd_status status = hsdi_target_stage_open(runner, &options, &stage, err);
    if (status != HSD_OK) {
        return status;
    }
    status = pass_init(&p, n_rows, n_past, n_repeats, stage.limits.n_vocab, err);
    if (status == HSD_OK) {
        status = fill(&stage, &p, n_past, err);
    }
    const hsdi_rows rows = {.n_rows = n_rows,
                            .tokens = p.tokens,
                            .pos = p.pos,
                            .cell = p.pos,
                            .trunk = p.trunk,
                            .n_trunk = n_past,
                            .path = p.path,
                            .n_path = p.n_path,
                            .path_stride = n_rows};
    cpu_set_t before;
    pin_for_now(cpu, &before);
    int64_t started = hsdi_now_ns();
    for (int i = -1; i < n_repeats && status == HSD_OK; i++) { // one to warm up
        int64_t begin = hsdi_now_ns();
        status = run_pass(&stage, &rows, proxies, err);
        p.ns[i < 0 ? 0 : i] = hsdi_now_ns() - begin;
        if (budget_ns > 0 && i >= 0 && hsdi_now_ns() - started > budget_ns) {
            n_repeats = i + 1;
        }
    }
    (void)sched_setaffinity(0, sizeof before, &before);
    if (status == HSD_OK) {
        qsort(p.ns, (size_t)n_repeats, sizeof *p.ns, compare_ns);
        *ns = p.ns[(int)(quantile * (n_repeats - 1) + 0.5)];
    }
    pass_fini(&p);
    hsdi_target_stage_close(&stage);
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
    hsd_status status =
        hsdi_measure_rows(&engine->target.runner, hsdi_first_cpu(engine), engine->n_target_alone, 0,
                          n_rows, n_past, n_repeats, 0, 0.5, &ns, err);
    if (status == HSD_OK) {
        *ms = (double)ns * 1e-6;
    }
    return status;
}
