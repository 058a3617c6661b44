/// How long passes of a model take on a device, and the cost table that follows.
///
/// A table says: a pass of n rows through k layers takes fixed + k layer(n), and head(n) where it
/// ends in the LM head. The layers' time is the difference of prefixes of different lengths, so
/// that what every submission costs falls out; the fixed part is what a short prefix takes beyond
/// its layers; the head is the rest of a whole pass, with what the host does to choose a token.
#include "base/clock.h"
#include "base/error.h"
#include "engine/profile.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { TIMES_MAX = 200, TIMES_LEAST = 3, N_ROLLOUT = 8, QUICK_ROWS = 16 };
enum { PASTS_MAX = 3, PARTS = 7, BLOCK = 4 };

/// Times of one part of passes, and what becomes of them.
typedef struct series {
    double ns[TIMES_MAX];
    int n;
    double mean_ns;
} series;

/// What one context is measured as.
typedef struct context {
    int n_past;
    double prefix_near[HSDI_COST_ROWS], prefix_far[HSDI_COST_ROWS], whole_ns[HSDI_COST_ROWS];
    series parts[PARTS]; ///< whole; prefix, exit head and suffix of either cut
} context;

/// What one combination of device and thread count is measured with.
typedef struct sweep {
    const hsd_profile_options *options;
    hsdi_probe *probe;
    int n_threads;
    int n_layers, near, far; ///< of the model; exits after so many, 0: not cut
    hsdi_stages *at_near, *at_far, *whole;
    int64_t end_ns;    ///< no further row count is begun after it
    int64_t budget_ns; ///< of one row count
    hsdi_profile *out;
    int n_rows_done; ///< entries of the contexts' arrays
    int n_block;     ///< passes of a kind that are timed behind each other
    int n_contexts;
    context contexts[PASTS_MAX]; ///< the usual one first
} sweep;

enum { WHOLE = 0, NEAR = 1, FAR = 4 };

/// The profile gets quartiles and the mean, of which tables are made.
static void put_pass(sweep *s, hsdi_profile_part part, int n_layers, int n_past, int n_rows,
                     series *times)
{
    hsdi_profile_pass pass = {.role = s->probe->role,
                              .part = part,
                              .i_device = s->probe->i_device,
                              .n_threads = s->n_threads,
                              .n_layers = n_layers,
                              .n_rows = n_rows,
                              .n_past = n_past,
                              .n_times = times->n};
    hsdi_quartiles(times->ns, times->n, &pass.low_ns, &pass.median_ns, &pass.high_ns);
    pass.mean_ns = times->mean_ns = hsdi_mean_time(times->ns, times->n, pass.median_ns);
    if (s->out->n_passes < HSDI_PROFILE_PASSES) {
        s->out->passes[s->out->n_passes++] = pass;
    }
}

static hsd_status run_once(hsdi_stages *stages, int n_past, int n_rows, series *parts, int at,
                           bool is_cut, hsd_error *err)
{
    hsdi_pass_ns ns;
    hsd_status status = stages ? hsdi_stages_run(stages, n_past, n_rows, &ns, err) : HSD_OK;
    if (stages && status == HSD_OK && at >= 0) {
        parts[0].ns[at] = (double)(is_cut ? ns.prefix : ns.suffix);
        if (is_cut) {
            parts[1].ns[at] = (double)ns.exit_head;
            parts[2].ns[at] = (double)ns.suffix;
        }
    }
    return status;
}

/// `n` passes of one kind; before the first one that nobody times, where passes are short: other
/// kinds and contexts have taken the caches, which a generation has for itself.
static hsd_status run_block(const sweep *s, hsdi_stages *stages, int n_past, int n_rows,
                            series *parts, int at, bool is_cut, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = s->n_block > 1 ? -1 : 0; i < s->n_block && status == HSD_OK; i++) {
        status = run_once(stages, n_past, n_rows, parts, i < 0 ? -1 : at + i, is_cut, err);
    }
    return status;
}

/// Every kind of pass behind one context. at < 0: none is timed.
static hsd_status run_kinds(sweep *s, context *c, int n_rows, int at, hsd_error *err)
{
    hsd_status status = run_block(s, s->whole, c->n_past, n_rows, c->parts + WHOLE, at, false, err);
    if (status == HSD_OK) {
        status = run_block(s, s->at_near, c->n_past, n_rows, c->parts + NEAR, at, true, err);
    }
    return status == HSD_OK
               ? run_block(s, s->at_far, c->n_past, n_rows, c->parts + FAR, at, true, err)
               : status;
}

/// All contexts once. Where that says that there is no time for several the usual one stays, and
/// where there is, passes are timed in blocks.
static hsd_status warm_up(sweep *s, int n_rows, hsd_error *err)
{
    enum { MANY = 8 };
    hsd_status status = HSD_OK;
    int64_t begin_ns = hsdi_now_ns();
    s->n_block = 1;
    for (int i = 0; i < s->n_contexts && status == HSD_OK; i++) {
        status = run_kinds(s, &s->contexts[i], n_rows, -1, err);
    }
    int64_t took_ns = hsdi_now_ns() - begin_ns;
    if (s->n_rows_done == 0 && (TIMES_LEAST + 1) * took_ns > s->budget_ns) {
        s->n_contexts = 1;
    }
    s->n_block = MANY * took_ns < s->budget_ns ? BLOCK : 1;
    return status;
}

/// All kinds of passes in turn, so that a slow moment of the machine meets all of them.
static hsd_status measure_all(sweep *s, int n_rows, hsd_error *err)
{
    int n = 0;
    int64_t end_ns = hsdi_now_ns() + s->budget_ns;
    hsd_status status = warm_up(s, n_rows, err);
    while (status == HSD_OK && n + s->n_block <= TIMES_MAX &&
           (n < TIMES_LEAST || hsdi_now_ns() < end_ns)) {
        for (int i = 0; i < s->n_contexts && status == HSD_OK; i++) {
            status = run_kinds(s, &s->contexts[i], n_rows, n, err);
        }
        n += s->n_block;
    }
    for (int i = 0; i < s->n_contexts; i++) {
        for (int k = 0; k < PARTS; k++) {
            s->contexts[i].parts[k].n = n;
        }
    }
    return status;
}

static void put_cut(sweep *s, int n_past, series *parts, int exit_layer, int n_rows)
{
    put_pass(s, HSDI_PART_PREFIX, exit_layer, n_past, n_rows, &parts[0]);
    put_pass(s, HSDI_PART_EXIT_HEAD, 0, n_past, n_rows, &parts[1]);
    put_pass(s, HSDI_PART_SUFFIX, s->n_layers - exit_layer, n_past, n_rows, &parts[2]);
}

static hsd_status measure_rollout(sweep *s, hsd_error *err)
{
    series *times = &s->contexts[0].parts[WHOLE];
    int n_past = s->contexts[0].n_past;
    int64_t ns, end_ns = hsdi_now_ns() + s->budget_ns;
    hsd_status status = HSD_OK;
    times->n = 0;
    while (status == HSD_OK && times->n < TIMES_MAX &&
           (times->n < TIMES_LEAST || hsdi_now_ns() < end_ns)) {
        status = hsdi_stages_rollout(s->whole, n_past, N_ROLLOUT, &ns, err);
        times->ns[times->n++] = (double)ns;
    }
    if (status == HSD_OK) {
        put_pass(s, HSDI_PART_ROLLOUT, s->n_layers, n_past, N_ROLLOUT, times);
    }
    return status;
}

/// The usual context, a short one, and a long one if it was filled soon enough.
static void set_contexts(sweep *s)
{
    int n_filled = s->probe->n_past;
    int usual = n_filled < HSDI_PROFILE_PAST ? n_filled : HSDI_PROFILE_PAST;
    s->contexts[s->n_contexts++].n_past = usual;
    if (usual > 2 * HSDI_PROFILE_SHORT) {
        s->contexts[s->n_contexts++].n_past = HSDI_PROFILE_SHORT;
    }
    if (n_filled >= 2 * HSDI_PROFILE_PAST) {
        s->contexts[s->n_contexts++].n_past = n_filled;
    }
}

static hsd_status open_stages(sweep *s, hsd_error *err)
{
    int64_t patience = s->budget_ns; // of the first; the others fill what that one did
    int room = s->probe->model.runner.n_ctx - HSDI_STAGE_ROWS;
    if (room >= 2 * HSDI_PROFILE_PAST) {
        s->probe->n_past = room < HSDI_PROFILE_LONG ? room : HSDI_PROFILE_LONG;
    }
    hsd_status status = hsdi_stages_open(s->probe, 0, s->n_threads, patience, &s->whole, err);
    if (status == HSD_OK && s->near > 0) {
        status = hsdi_stages_open(s->probe, s->near, s->n_threads, INT64_MAX, &s->at_near, err);
    }
    if (status == HSD_OK && s->far > s->near) {
        status = hsdi_stages_open(s->probe, s->far, s->n_threads, INT64_MAX, &s->at_far, err);
    }
    set_contexts(s);
    return status;
}

static void close_stages(sweep *s)
{
    hsdi_stages_close(&s->whole);
    hsdi_stages_close(&s->at_near);
    hsdi_stages_close(&s->at_far);
}

/// What row count i took behind a context.
static void put_rows(sweep *s, context *c, int i)
{
    int n_rows = hsdi_cost_row_counts[i];
    put_pass(s, HSDI_PART_WHOLE, s->n_layers, c->n_past, n_rows, &c->parts[WHOLE]);
    c->whole_ns[i] = c->parts[WHOLE].mean_ns;
    if (s->at_near) {
        put_cut(s, c->n_past, c->parts + NEAR, s->near, n_rows);
        c->prefix_near[i] = c->parts[NEAR].mean_ns;
    }
    if (s->at_far) {
        put_cut(s, c->n_past, c->parts + FAR, s->far, n_rows);
        c->prefix_far[i] = c->parts[FAR].mean_ns;
    }
}

/// Row counts in ascending order, until the time is over.
static hsd_status measure_rows(sweep *s, hsd_error *err)
{
    int most = s->probe->model.runner.n_ctx - s->probe->n_past;
    most = most < HSDI_STAGE_ROWS ? most : HSDI_STAGE_ROWS;
    most = s->options->quick && most > QUICK_ROWS ? QUICK_ROWS : most;
    hsd_status status = HSD_OK;
    for (int i = 0; i < HSDI_COST_ROWS && hsdi_cost_row_counts[i] <= most && status == HSD_OK;
         i++) {
        int n_rows = hsdi_cost_row_counts[i];
        if (i >= 2 && hsdi_now_ns() > s->end_ns) {
            break;
        }
        status = measure_all(s, n_rows, err);
        if (status != HSD_OK) {
            break;
        }
        for (int k = 0; k < s->n_contexts; k++) {
            put_rows(s, &s->contexts[k], i);
        }
        s->n_rows_done = i + 1;
    }
    if (status == HSD_OK && s->probe->role == HSDI_COST_DRAFT) {
        status = measure_rollout(s, err);
    }
    return status;
}

/// Time of one layer at entry i.
static double layer_of(const sweep *s, const context *c, int i, const hsdi_cost_model *shape)
{
    if (s->far > s->near) {
        return (c->prefix_far[i] - c->prefix_near[i]) / (s->far - s->near);
    }
    if (s->near > 0) { // two layers: a prefix is one of them, with the fixed part
        return c->prefix_near[i];
    }
    // One layer: by the bytes of layer and head.
    double all = (double)(shape->layer_bytes + shape->head_bytes);
    return all > 0.0 ? c->whole_ns[i] * (double)shape->layer_bytes / all : c->whole_ns[i];
}

static void make_table(const sweep *s, const context *c, const hsdi_cost_model *shape,
                       hsdi_cost_table *out)
{
    double fixed[HSDI_COST_ROWS], low, high;
    int n = s->n_rows_done;
    for (int i = 0; i < n; i++) {
        double layer = layer_of(s, c, i, shape);
        double most = c->whole_ns[i] / s->n_layers; // noise must not leave less than nothing
        out->layer_ns[i] = fmin(fmax(layer, 0.01 * most), most);
        fixed[i] = s->far > s->near ? c->prefix_near[i] - s->near * out->layer_ns[i] : 0.0;
    }
    hsdi_quartiles(fixed, n, &low, &out->fixed_ns, &high);
    out->fixed_ns = fmax(out->fixed_ns, 0.0);
    for (int i = 0; i < n; i++) {
        double rest = c->whole_ns[i] - out->fixed_ns - s->n_layers * out->layer_ns[i];
        out->head_ns[i] = fmax(rest, 0.0);
    }
    // Beyond what was measured the last line goes on.
    for (int i = n > 0 ? n : HSDI_COST_ROWS; i < HSDI_COST_ROWS; i++) {
        double step = i >= 2 ? (double)(hsdi_cost_row_counts[i] - hsdi_cost_row_counts[i - 1]) /
                                   (hsdi_cost_row_counts[i - 1] - hsdi_cost_row_counts[i - 2])
                             : 0.0;
        double layer = i >= 2 ? out->layer_ns[i - 1] - out->layer_ns[i - 2] : 0.0;
        double head = i >= 2 ? out->head_ns[i - 1] - out->head_ns[i - 2] : 0.0;
        out->layer_ns[i] = out->layer_ns[i - 1] + fmax(step * layer, 0.0);
        out->head_ns[i] = out->head_ns[i - 1] + fmax(step * head, 0.0);
    }
}

static void put_table(const sweep *s, const context *c, const hsdi_cost_model *shape,
                      hsdi_profile *out)
{
    if (out->costs.n_tables < HSDI_COST_TABLES) {
        hsdi_cost_table *table = &out->costs.tables[out->costs.n_tables++];
        *table = (hsdi_cost_table){.role = s->probe->role,
                                   .i_device = s->probe->i_device,
                                   .n_threads = s->n_threads,
                                   .n_past = c->n_past,
                                   .is_measured = true};
        make_table(s, c, shape, table);
    }
}

/// One thread count on a device.
static hsd_status measure_threads(const hsd_profile_options *options, const char *id,
                                  hsdi_cost_role role, int i_device, int n_threads, double seconds,
                                  hsdi_profile *out, hsd_error *err)
{
    hsdi_probe probe;
    hsd_status status = hsdi_probe_open(options, id, role, i_device, n_threads, &probe, err);
    if (status != HSD_OK) {
        return status;
    }
    int n_layers = probe.model.model->n_layers;
    sweep s = {.options = options,
               .probe = &probe,
               .n_threads = probe.is_cpu ? n_threads : 0,
               .n_layers = n_layers,
               .near = n_layers > 1 ? 1 : 0,
               .far = n_layers > 1 ? n_layers - 1 : 0,
               .out = out};
    cpu_set_t before;
    CPU_ZERO(&before);
    (void)sched_getaffinity(0, sizeof before, &before);
    hsdi_pin_self(probe.cpu);
    s.budget_ns = (int64_t)(seconds * 1e9 / (HSDI_COST_ROWS + 1));
    status = open_stages(&s, err);
    s.end_ns = hsdi_now_ns() + (int64_t)(seconds * 1e9);
    if (status == HSD_OK) {
        status = measure_rows(&s, err);
    }
    hsdi_cost_model shape = hsdi_cost_model_of(probe.model.model);
    *(role == HSDI_COST_TARGET ? &out->costs.target : &out->costs.draft) = shape;
    for (int i = 0; i < s.n_contexts && status == HSD_OK; i++) {
        put_table(&s, &s.contexts[i], &shape, out);
    }
    (void)sched_setaffinity(0, sizeof before, &before);
    close_stages(&s);
    hsdi_probe_close(&probe);
    return status;
}

/* Copies of rows: graphs that move much in, much out, or next to nothing. */

/// More than any bus moves: nothing was.
static const double GBPS_MOST = 1000.0;

enum { MOVED_ROWS = 64, MOVED_WIDTH = 4096, SMALL_WIDTH = 16, N_MOVES = 15 };

static hsd_status time_copy(hsdi_device *device, int in_width, int out_width, double *ns,
                            hsd_error *err)
{
    static const int32_t pos[MOVED_ROWS];
    const hsdi_op op = {.kind = HSDI_OP_COPY,
                        .x = {.value = HSDI_VALUE_IN, .width = SMALL_WIDTH},
                        .y = {.value = HSDI_VALUE_OUT, .width = SMALL_WIDTH}};
    const hsdi_graph_desc desc = {.name = "copy",
                                  .n_rows_max = MOVED_ROWS,
                                  .in_width = in_width,
                                  .out_width = out_width,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = MOVED_ROWS};
    hsdi_buffer *in = NULL, *out = NULL;
    hsdi_graph *graph = NULL;
    double times[N_MOVES], low, high;
    hsd_status status = hsdi_buffer_create(device, MOVED_ROWS, in_width, &in, err);
    if (status == HSD_OK) {
        status = hsdi_buffer_create(device, MOVED_ROWS, out_width, &out, err);
    }
    if (status == HSD_OK) {
        status = hsdi_graph_compile(device, &desc, &graph, err);
    }
    const hsdi_job job = {.n_rows = MOVED_ROWS, .pos = pos, .in = in, .out = out};
    for (int i = -1; i < N_MOVES && status == HSD_OK; i++) {
        int64_t begin = hsdi_now_ns();
        status = hsdi_graph_run(graph, &job, err);
        times[i < 0 ? 0 : i] = (double)(hsdi_now_ns() - begin);
    }
    if (status == HSD_OK) {
        hsdi_quartiles(times, N_MOVES, &low, ns, &high);
    }
    hsdi_graph_destroy(&graph);
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    return status;
}

/// Rows that a device works on where they lie are not copied: then there is no rate to be found.
static hsd_status measure_copies(const char *id, hsdi_profile_device *out, hsd_error *err)
{
    const double bytes = (double)MOVED_ROWS * (MOVED_WIDTH - SMALL_WIDTH) * sizeof(float);
    double small = 0.0, much_in = 0.0, much_out = 0.0;
    hsdi_device *device = NULL;
    hsdi_place *place = malloc(sizeof *place);
    const hsdi_log log = {0};
    hsd_status status = place ? hsdi_place_parse(id, "device", place, err)
                              : hsdi_fail(err, HSD_ENOMEM, "profile", "place");
    if (status == HSD_OK) {
        status = hsdi_place_open(place, NULL, 1, &log, &device, err);
    }
    if (status == HSD_OK &&
        (status = time_copy(device, SMALL_WIDTH, SMALL_WIDTH, &small, err)) == HSD_OK &&
        (status = time_copy(device, MOVED_WIDTH, SMALL_WIDTH, &much_in, err)) == HSD_OK) {
        status = time_copy(device, SMALL_WIDTH, MOVED_WIDTH, &much_out, err);
    }
    if (status == HSD_OK) {
        double to = much_in - small, from = much_out - small;
        out->to_latency_ns = out->from_latency_ns = 0.5 * small;
        out->to_gbps = bytes > to * GBPS_MOST ? 0.0 : bytes / to;
        out->from_gbps = bytes > from * GBPS_MOST ? 0.0 : bytes / from;
    }
    hsdi_device_close(&device);
    free(place);
    return status;
}

hsd_status hsdi_profile_passes(const hsd_profile_options *options, const char *id,
                               hsdi_cost_role role, int i_device, double seconds, hsdi_profile *out,
                               hsd_error *err)
{
    int threads[HSDI_CORES_MAX], n = hsdi_profile_threads(options, id, threads);
    hsd_status status = HSD_OK;
    if (role == HSDI_COST_TARGET) {
        status = measure_copies(id, &out->devices[i_device], err);
    }
    for (int i = 0; i < n && status == HSD_OK; i++) {
        status = measure_threads(options, id, role, i_device, threads[i], seconds / n, out, err);
    }
    return status;
}
