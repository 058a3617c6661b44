/// What a serial step of two pipelines takes beyond their passes alone: messages, waking each
/// other, and caches that the other one has used meanwhile. Measured with the real pipelines and
/// stages on the threads that sessions have; passes alone, of as many rows behind as many tokens,
/// are timed before each generation.
///
/// No token counts: the target rejects every window, so that all steps are alike.
#include "base/clock.h"
#include "base/error.h"
#include "engine/profile.h"
#include "pipelines/draft.h"
#include "pipelines/target.h"
#include "pipelines/transport/link.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_PROMPT = 16, N_STEPS = 24, N_ALONE = 4, N_ROUNDS_MAX = 16, STEPS_LEAST = 3 };
enum { WINDOW_SHORT = 1, WINDOW_LONG = 7, DEADLINE_MS = 60000 };

/// Two models that take turns.
typedef struct turns {
    hsdi_probe *target, *draft;
    hsdi_stages *target_alone, *draft_alone;
    int window, n_target_threads;
    hsdi_target_stage real;
    int32_t drafted;       ///< first token of the window that is verified
    int64_t begin_ns;      ///< of the last pass with a whole window; 0: none
    double times[N_STEPS]; ///< [n_times] of steps
    int n_times;
    int64_t end_ns;
} turns;

// ---- the target's stage, which rejects everything ----

static hsd_status reject_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    turns *t = self;
    return t->real.prefill(t->real.self, rows, err);
}

static hsd_status reject_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    turns *t = self;
    int64_t now_ns = hsdi_now_ns();
    bool is_whole = rows->n_rows == t->window + 1;
    if (is_whole && t->begin_ns > 0 && t->n_times < N_STEPS) {
        t->times[t->n_times++] = (double)(now_ns - t->begin_ns);
    }
    t->begin_ns = is_whole ? now_ns : 0;
    t->drafted = rows->n_rows > 1 ? rows->tokens[1] : 0;
    return t->real.prefix(t->real.self, rows, err);
}

static hsd_status reject_suffix(void *self, int32_t *own, hsd_error *err)
{
    turns *t = self;
    hsd_status status = t->real.suffix(t->real.self, own, err);
    own[0] = (t->drafted + 1) % t->real.limits.n_vocab;
    return status;
}

static bool goes_on(void *user, int32_t token)
{
    const turns *t = user;
    (void)token;
    return t->n_times < STEPS_LEAST || hsdi_now_ns() < t->end_ns;
}

// ---- the draft's side ----

typedef struct server {
    hsdi_worker *worker;
    pthread_t thread;
    int cpu;
} server;

static void *serve(void *arg)
{
    server *s = arg;
    hsdi_pin_self(s->cpu);
    (void)!hsdi_worker_run(s->worker, NULL);
    return NULL;
}

static hsd_status generate(turns *t, hsdi_context *context, const char *endpoint, int n_cores,
                           hsd_error *err)
{
    hsdi_target_config config;
    hsdi_target *target = NULL;
    int32_t prompt[N_PROMPT];
    hsdi_target_config_init(&config);
    config.mode = HSD_MODE_SERIAL;
    config.endpoints = &endpoint;
    config.n_endpoints = 1;
    config.spin_us = hsdi_endpoint_spin_us(endpoint, n_cores);
    config.first_deadline_ms = config.deadline_ms = DEADLINE_MS;
    config.draft.draft_kind = HSD_DRAFT_MODEL;
    config.draft.window = config.draft.tree = config.draft.miss_window = t->window;
    hsdi_target_stage stage = t->real;
    stage.self = t;
    stage.prefill = reject_prefill;
    stage.prefix = reject_prefix;
    stage.suffix = reject_suffix;
    stage.found = NULL; // these would take `self` for the real stage
    stage.cut = NULL;
    for (int i = 0; i < N_PROMPT; i++) {
        prompt[i] = i % stage.limits.n_vocab;
    }
    const hsdi_target_job job = {
        .prompt = prompt, .n_prompt = N_PROMPT, .n_tokens = N_STEPS, .emit = goes_on, .user = t};
    t->n_times = 0;
    t->begin_ns = 0;
    hsd_status status = hsdi_target_create(context, &config, &stage, &target, err);
    if (status == HSD_OK) {
        status = hsdi_target_generate(target, &job, err);
    }
    hsdi_target_destroy(&target);
    return status == HSD_ECANCELED ? HSD_OK : status;
}

/// One generation, whose draft runs on a thread of its own.
static hsd_status generate_in_turn(turns *t, hsd_error *err)
{
    int n_vocab = t->draft->model.model->n_vocab, n_cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    hsdi_drafts drafts = {.model = &t->draft->model.runner, .n_vocab = n_vocab};
    const hsdi_draft_factory factory = hsdi_drafts_factory(&drafts);
    hsdi_worker_config config;
    hsdi_context *context = NULL;
    server s = {.cpu = t->draft->cpu};
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "inproc://turns-%p", (void *)t);
    hsdi_worker_config_init(&config);
    config.spin_us = hsdi_endpoint_spin_us(endpoint, n_cores);
    hsd_status status = hsdi_context_create(&context, err);
    if (status == HSD_OK) {
        status = hsdi_worker_create(context, endpoint, &factory, &config, &s.worker, err);
    }
    int rc = status == HSD_OK ? pthread_create(&s.thread, NULL, serve, &s) : 0;
    if (rc != 0) {
        status = hsdi_fail_errno(err, HSD_EDEVICE, "profile", rc, "no thread");
    } else if (status == HSD_OK) {
        status = generate(t, context, endpoint, n_cores, err);
        hsdi_worker_stop(s.worker);
        pthread_join(s.thread, NULL);
    }
    hsdi_worker_destroy(&s.worker);
    hsdi_context_destroy(&context);
    return status;
}

// ---- alone ----

/// Means of a pass and of a rollout of the window, behind what a generation has on average.
static hsd_status time_alone(turns *t, double *ns, hsd_error *err)
{
    const int n_past = N_PROMPT + N_STEPS / 2;
    double pass[N_ALONE], rollout[N_ALONE], median, low, high;
    hsd_status status = HSD_OK;
    for (int i = -1; i < N_ALONE && status == HSD_OK; i++) { // one to warm up
        hsdi_pass_ns part;
        status = hsdi_stages_run(t->target_alone, n_past, t->window + 1, &part, err);
        pass[i < 0 ? 0 : i] = (double)part.suffix;
    }
    for (int i = -1; i < N_ALONE && status == HSD_OK; i++) {
        int64_t took_ns;
        status = hsdi_stages_rollout(t->draft_alone, n_past, t->window, &took_ns, err);
        rollout[i < 0 ? 0 : i] = (double)took_ns;
    }
    if (status == HSD_OK) {
        hsdi_quartiles(pass, N_ALONE, &low, &median, &high);
        *ns = hsdi_mean_time(pass, N_ALONE, median);
        hsdi_quartiles(rollout, N_ALONE, &low, &median, &high);
        *ns += hsdi_mean_time(rollout, N_ALONE, median);
    }
    return status;
}

/// What a step with the window takes beyond its passes: the median over rounds.
static hsd_status measure(turns *t, int window, double seconds, double *extra, hsd_error *err)
{
    double extras[N_ROUNDS_MAX], low, high, step, alone;
    int n = 0;
    const hsdi_target_stage_options options = {
        .n_cells = hsdi_target_cells_needed(t->target->model.runner.n_ctx, window),
        .n_threads = t->n_target_threads,
        .n_alone = t->n_target_threads,
        .n_top = HSDI_PROFILE_CANDIDATES,
        .sampling = {.top_p = 1.0f}};
    t->window = window;
    t->end_ns = hsdi_now_ns() + (int64_t)(seconds * 1e9);
    hsd_status status = hsdi_target_stage_open(&t->target->model.runner, &options, &t->real, err);
    if (status != HSD_OK) {
        return status;
    }
    do {
        status = time_alone(t, &alone, err);
        if (status == HSD_OK) {
            status = generate_in_turn(t, err);
        }
        if (status == HSD_OK && t->n_times > 0) {
            hsdi_quartiles(t->times, t->n_times, &low, &step, &high);
            extras[n++] = hsdi_mean_time(t->times, t->n_times, step) - alone;
        }
    } while (status == HSD_OK && n > 0 && n < N_ROUNDS_MAX && hsdi_now_ns() < t->end_ns);
    hsdi_target_stage_close(&t->real);
    *extra = NAN; // no window came
    if (n > 0) {
        hsdi_quartiles(extras, n, &low, extra, &high);
    }
    return status;
}

static hsd_status measure_pair(turns *t, double seconds, hsdi_cost_turn *out, hsd_error *err)
{
    double brief = 0.0, extended = 0.0;
    hsd_status status =
        hsdi_stages_open(t->target, 0, t->n_target_threads, 0, &t->target_alone, err);
    if (status == HSD_OK) {
        status = hsdi_stages_open(t->draft, 0, 0, 0, &t->draft_alone, err);
    }
    if (status == HSD_OK) {
        status = measure(t, WINDOW_SHORT, 0.5 * seconds, &brief, err);
    }
    if (status == HSD_OK) {
        status = measure(t, WINDOW_LONG, 0.5 * seconds, &extended, err);
    }
    if (status == HSD_OK && !isnan(brief + extended)) {
        out->call_ns = fmax((extended - brief) / (WINDOW_LONG - WINDOW_SHORT), 0.0);
        out->step_ns = fmax(brief - WINDOW_SHORT * out->call_ns, 0.0);
    }
    hsdi_stages_close(&t->target_alone);
    hsdi_stages_close(&t->draft_alone);
    return status;
}

hsd_status hsdi_profile_turns(const hsd_profile_options *o, const char *target_id, int i_target,
                              int n_target, const char *draft_id, int i_draft, int n_draft,
                              double seconds, hsdi_profile *out, hsd_error *err)
{
    hsdi_probe target, draft;
    hsdi_cost_turn turn = {.i_target = i_target, .i_draft = i_draft, .step_ns = -1.0};
    cpu_set_t before;
    CPU_ZERO(&before);
    (void)sched_getaffinity(0, sizeof before, &before);
    hsd_status status =
        hsdi_probe_open(o, target_id, HSDI_COST_TARGET, i_target, n_target, &target, err);
    if (status != HSD_OK) {
        return status;
    }
    status = hsdi_probe_open(o, draft_id, HSDI_COST_DRAFT, i_draft, n_draft, &draft, err);
    if (status == HSD_OK) {
        target.n_past = draft.n_past = N_PROMPT + N_STEPS; // as much as is looked at
        int n_ctx = target.model.runner.n_ctx, n_own = draft.model.runner.n_ctx;
        int need = N_PROMPT + 2 * N_STEPS + WINDOW_LONG;
        bool fits = n_ctx > need && n_own > need &&
                    target.model.model->n_vocab == draft.model.model->n_vocab;
        turns t = {.target = &target, .draft = &draft, .n_target_threads = n_target};
        hsdi_pin_self(target.cpu);
        status = fits ? measure_pair(&t, seconds, &turn, err) : HSD_OK;
        turn.n_target = target.is_cpu ? n_target : 0;
        turn.n_draft = draft.is_cpu ? n_draft : 0;
        hsdi_probe_close(&draft);
    }
    hsdi_probe_close(&target);
    (void)sched_setaffinity(0, sizeof before, &before);
    bool is_measured = turn.step_ns >= 0.0; // else the pair cannot work together
    if (status == HSD_OK && is_measured && out->costs.n_turns < HSDI_COST_TABLES) {
        out->costs.turns[out->costs.n_turns++] = turn;
    }
    return status;
}
