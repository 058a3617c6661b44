/// Passes as sessions run them, on one device, with a context that is filled: what is timed.
#include "base/clock.h"
#include "base/error.h"
#include "engine/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct hsdi_stages {
    hsdi_target_stage stage;
    hsdi_draft_stage draft;
    bool has_stage, has_draft;
    int n_past, n_vocab;
    int32_t *trunk; ///< [n_past + HSDI_STAGE_ROWS] 0, 1, ..: cells and positions alike
    int32_t tokens[HSDI_STAGE_ROWS], n_path[HSDI_STAGE_ROWS];
    int32_t path[HSDI_STAGE_ROWS * HSDI_STAGE_ROWS];
    hsdi_candidate out[HSDI_STAGE_ROWS * HSDI_PROFILE_CANDIDATES];
};

/// Processors that a CPU device has; 0: it is none.
static int processors_of(const char *id)
{
    hsdi_cores *cores = malloc(sizeof *cores);
    hsdi_place *place = malloc(sizeof *place);
    int n = 0;
    if (cores && place && hsdi_place_parse(id, "device", place, NULL) == HSD_OK && !place->open) {
        n = place->n_cpus > 0                            ? place->n_cpus
            : hsdi_cores_discover(cores, NULL) == HSD_OK ? cores->n_cores
                                                         : 1;
    }
    free(cores);
    free(place);
    return n;
}

int hsdi_profile_threads(const hsd_profile_options *options, const char *id, int *out)
{
    int n = 0, n_most = processors_of(id);
    for (int i = 0; i < options->n_threads && n_most > 0 && n < HSDI_CORES_MAX; i++) {
        // Counts beyond all cores are measured where nothing less was asked for.
        if (options->threads[i] <= n_most || (n == 0 && i + 1 == options->n_threads)) {
            out[n++] = options->threads[i];
        }
    }
    for (int k = 1; options->n_threads == 0 && k < n_most; k *= 2) {
        out[n++] = k;
    }
    if (options->n_threads == 0 || n == 0) {
        out[n++] = n_most > 0 ? n_most : 1;
    }
    return n;
}

/// The target begins with the first processor, the draft ends with the last, as in an engine.
static hsd_status open_device(hsdi_probe *p, const char *id, int n_threads, hsd_error *err)
{
    hsdi_cores *cores = malloc(sizeof *cores);
    hsdi_place *place = malloc(sizeof *place);
    hsd_status status = cores && place ? hsdi_place_parse(id, "device", place, err)
                                       : hsdi_fail(err, HSD_ENOMEM, "profile", "core list");
    if (status == HSD_OK) {
        status = hsdi_cores_discover(cores, err);
    }
    if (status == HSD_OK) {
        const int *all = place->n_cpus > 0 ? place->cpus : cores->cpus;
        int n_all = place->n_cpus > 0 ? place->n_cpus : cores->n_cores;
        int first = p->role == HSDI_COST_DRAFT && n_threads < n_all ? n_all - n_threads : 0;
        const hsdi_log log = {0};
        p->is_cpu = !place->open;
        p->cpu = n_all > 1 ? all[first] : -1;
        status = hsdi_place_open(place, n_threads <= n_all ? all + first : NULL, n_threads, &log,
                                 &p->device, err);
    }
    free(cores);
    free(place);
    return status;
}

hsd_status hsdi_profile_path(const hsd_profile_options *o, hsdi_cost_role role, char *path,
                             hsd_error *err)
{
    const char *given = role == HSDI_COST_TARGET ? o->target_path : o->draft_path;
    if (!given) {
        return hsdi_shipped_path(role == HSDI_COST_TARGET ? hsdi_shipped_target
                                                          : hsdi_shipped_draft,
                                 path, HSDI_PATH_MAX, err);
    }
    if (strlen(given) >= HSDI_PATH_MAX) {
        return hsdi_fail(err, HSD_EINVAL, "target_path", "the path is too long");
    }
    strcpy(path, given);
    return HSD_OK;
}

hsd_status hsdi_probe_open(const hsd_profile_options *options, const char *id, hsdi_cost_role role,
                           int i_device, int n_threads, hsdi_probe *out, hsd_error *err)
{
    *out = (hsdi_probe){.role = role, .i_device = i_device, .cpu = -1};
    char *path = malloc(HSDI_PATH_MAX);
    hsd_status status = path ? hsdi_profile_path(options, role, path, err)
                             : hsdi_fail(err, HSD_ENOMEM, "profile", "path");
    if (status == HSD_OK) {
        status = open_device(out, id, n_threads, err);
    }
    if (status == HSD_OK) {
        status = hsdi_loaded_open(&out->model, path, out->device, NULL,
                                  HSDI_PROFILE_LONG + HSDI_STAGE_ROWS, NULL, err);
    }
    free(path);
    if (status != HSD_OK) {
        hsdi_probe_close(out);
        return status;
    }
    int room = out->model.runner.n_ctx - HSDI_STAGE_ROWS; // of a model with a short context: half
    out->n_past = room >= HSDI_PROFILE_PAST ? HSDI_PROFILE_PAST
                  : room > HSDI_STAGE_ROWS  ? room
                                            : out->model.runner.n_ctx / 2;
    return HSD_OK;
}

void hsdi_probe_close(hsdi_probe *probe)
{
    hsdi_loaded_close(&probe->model);
    hsdi_device_close(&probe->device);
}

/// Rows of one chain behind the first n_trunk positions.
static hsdi_rows chain(hsdi_stages *s, int n_trunk, int n_rows)
{
    for (int r = 0; r < n_rows; r++) {
        s->tokens[r] = (r * 7 + n_trunk + 1) % s->n_vocab;
        s->n_path[r] = r + 1;
        for (int i = 0; i <= r; i++) {
            s->path[r * n_rows + i] = n_trunk + i;
        }
    }
    return (hsdi_rows){.n_rows = n_rows,
                       .tokens = s->tokens,
                       .pos = s->trunk + n_trunk,
                       .cell = s->trunk + n_trunk,
                       .trunk = s->trunk,
                       .n_trunk = n_trunk,
                       .path = s->path,
                       .n_path = s->n_path,
                       .path_stride = n_rows};
}

static hsd_status fill(hsdi_stages *s, int64_t patience_ns, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int64_t begin_ns = hsdi_now_ns();
    for (int at = 0; at < s->n_past && status == HSD_OK; at += HSDI_STAGE_ROWS) {
        if (at >= HSDI_PROFILE_PAST && hsdi_now_ns() - begin_ns > patience_ns) {
            s->n_past = at;
            break;
        }
        int n = s->n_past - at < HSDI_STAGE_ROWS ? s->n_past - at : HSDI_STAGE_ROWS;
        const hsdi_rows rows = chain(s, at, n);
        status = s->has_stage ? s->stage.prefill(s->stage.self, &rows, err)
                              : s->draft.eval(s->draft.self, &rows, 0, NULL, err);
    }
    return status;
}

hsd_status hsdi_stages_open(hsdi_probe *probe, int exit_layer, int n_threads, int64_t patience_ns,
                            hsdi_stages **out, hsd_error *err)
{
    static const hsd_sampling greedy = {.top_p = 1.0f};
    hsdi_stages *s = calloc(1, sizeof *s);
    int n_cells = probe->n_past + HSDI_STAGE_ROWS;
    *out = s;
    if (s) {
        s->n_past = probe->n_past;
        s->n_vocab = probe->model.model->n_vocab;
        s->trunk = calloc((size_t)n_cells, sizeof *s->trunk);
    }
    if (!s || !s->trunk) {
        hsdi_stages_close(out);
        return hsdi_fail(err, HSD_ENOMEM, "profile", "%d cells", n_cells);
    }
    for (int i = 0; i < n_cells; i++) {
        s->trunk[i] = i;
    }
    hsd_status status;
    if (probe->role == HSDI_COST_DRAFT && exit_layer == 0) {
        const hsdi_draft_stage_options options = {.n_layers = probe->model.model->n_layers,
                                                  .n_cells = n_cells,
                                                  .n_top = HSDI_PROFILE_CANDIDATES,
                                                  .sampling = greedy};
        status = hsdi_draft_stage_open(&probe->model.runner, &options, &s->draft, err);
        s->has_draft = status == HSD_OK;
    } else {
        const hsdi_target_stage_options options = {.exit_layer = exit_layer,
                                                   .n_cells = n_cells,
                                                   .n_threads = n_threads,
                                                   .n_alone = n_threads,
                                                   .n_top = HSDI_PROFILE_CANDIDATES,
                                                   .sampling = greedy};
        status = hsdi_target_stage_open(&probe->model.runner, &options, &s->stage, err);
        s->has_stage = status == HSD_OK;
    }
    if (status == HSD_OK) {
        status = fill(s, patience_ns, err);
        probe->n_past = s->n_past;
    }
    if (status != HSD_OK) {
        hsdi_stages_close(out);
    }
    return status;
}

void hsdi_stages_close(hsdi_stages **stages)
{
    hsdi_stages *s = *stages;
    if (s) {
        if (s->has_stage) {
            hsdi_target_stage_close(&s->stage);
        }
        if (s->has_draft) {
            hsdi_draft_stage_close(&s->draft);
        }
        free(s->trunk);
        free(s);
        *stages = NULL;
    }
}

hsd_status hsdi_stages_run(hsdi_stages *s, int n_past, int n_rows, hsdi_pass_ns *out,
                           hsd_error *err)
{
    int32_t own[HSDI_STAGE_ROWS];
    const hsdi_rows rows = chain(s, n_past, n_rows);
    hsd_status status = HSD_OK;
    int64_t begin = hsdi_now_ns();
    *out = (hsdi_pass_ns){0};
    if (s->has_draft) {
        status = s->draft.eval(s->draft.self, &rows, HSDI_PROFILE_CANDIDATES, s->out, err);
        out->suffix = hsdi_now_ns() - begin;
        return status;
    }
    status = s->stage.prefix(s->stage.self, &rows, err);
    int64_t now = hsdi_now_ns();
    if (s->stage.has_exit) {
        out->prefix = now - begin;
        begin = now;
    }
    if (status == HSD_OK && s->stage.has_exit) {
        status = s->stage.proxies(s->stage.self, HSDI_PROFILE_CANDIDATES, s->out, err);
        now = hsdi_now_ns();
        out->exit_head = now - begin;
        begin = now;
    }
    if (status == HSD_OK) {
        status = s->stage.suffix(s->stage.self, own, err);
    }
    out->suffix = hsdi_now_ns() - begin;
    return status;
}

hsd_status hsdi_stages_rollout(hsdi_stages *s, int n_past, int n_tokens, int64_t *ns,
                               hsd_error *err)
{
    hsd_status status = HSD_OK;
    int64_t begin = hsdi_now_ns();
    for (int i = 0; i < n_tokens && status == HSD_OK; i++) {
        // A row behind the trunk: its path is the chain so far.
        hsdi_rows rows = chain(s, n_past, i + 1);
        rows.n_rows = 1;
        rows.tokens += i;
        rows.pos += i;
        rows.cell += i;
        rows.n_path += i;
        rows.path += i * rows.path_stride;
        status = s->draft.eval(s->draft.self, &rows, HSDI_PROFILE_CANDIDATES, s->out, err);
    }
    *ns = hsdi_now_ns() - begin;
    return status;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/// Between two values lies the straight line.
static double quantile(const double *sorted, int n, double part)
{
    double at = part * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

void hsdi_quartiles(double *values, int n, double *low, double *median, double *high)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    *low = quantile(values, n, 0.25);
    *median = quantile(values, n, 0.5);
    *high = quantile(values, n, 0.75);
}

double hsdi_mean_time(const double *values, int n, double median)
{
    static const double most_times = 4.0;
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += fmin(values[i], most_times * median);
    }
    return sum / n;
}
