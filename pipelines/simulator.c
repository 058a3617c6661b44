/// See simulator.h: joins virtual time, simulated stages and the pipelines for one generation.
///
/// Where what a step's messages cost was measured as one figure (hsdi_cost_rendezvous), it is laid
/// out over the four frames of a mirror step: an eighth for sending each, a quarter on each of the
/// two ways that the target waits for.
#include <base/clock.h>
#include <base/error.h>
#include <base/rng.h>
#include <math.h>
#include <pipelines/protocol.h>
#include <pipelines/simulated.h>
#include <pipelines/simulator.h>
#include <pipelines/transport/link.h>
#include <pipelines/virtual.h>
#include <pipelines/worker.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORKERS = HSDI_PLAN_WORKERS, N_TOP = 8, ROWS_MAX = 512, NAME_BYTES = 32 };
enum { DRAW_JITTER = 110 };

/// A lookup in the text takes about a microsecond a token (engine/ngram.c; `hsd bench`, mode serial
/// with --draft-kind ngram).
static const double LOOKUP_NS = 1000.0;

typedef struct simulator simulator;

/// A draft worker, actor i + 1.
typedef struct drafter {
    simulator *sim;
    char endpoint[NAME_BYTES];
    const hsdi_cost_table *table; ///< NULL: a lookup
    int n_layers;
    double call_ns; ///< of a call beyond its pass
    int actor;
    hsdi_simulated_draft draft;
    hsdi_worker *worker;
} drafter;

struct simulator {
    const hsdi_simulator_options *options;
    hsdi_virtual *time;
    hsdi_context *context;
    hsdi_simulated *pair;
    hsdi_target *target;
    // The target's tables: of its first layers, beside drafts and alone, and of its last layers.
    const hsdi_cost_table *beside, *alone, *suffix;
    int exit_layer; ///< 0: no early exit
    double hop_ns;  ///< rows from the first device to the second one, less their bytes
    double hop_gbps;
    int64_t n_calls; ///< of stages, for the jitter
    int n_drafters;
    drafter drafters[MOST_WORKERS + 1];
    // Steps.
    int64_t pass_ns; ///< begin of the last pass, 0: none
    int64_t *times;  ///< [n_times]
    int n_times;
};

void hsdi_simulator_options_init(hsdi_simulator_options *options)
{
    *options = (hsdi_simulator_options){
        .sources = HSDI_SOURCES_BOTH, .n_prompt = 16, .n_tokens = 1024, .streams = 1.0};
}

// ---- times ----

/// The table of the same place at a context of n_past tokens.
static hsdi_cost_table at_context(const simulator *sim, const hsdi_cost_table *table, int n_past)
{
    hsdi_cost_table out = *table;
    (void)hsdi_cost_find_at(sim->options->costs, table->role, table->i_device, table->n_threads,
                            n_past, &out);
    return out;
}

/// Layers [first, last) of the target, with the head unless it is silent.
static double layers_ns(const simulator *sim, const hsdi_cost_table *table, int first, int last,
                        const hsdi_simulated_call *call)
{
    bool head = !call->is_silent;
    double n_rows = call->n_rows;
    const hsdi_plan_setting *setting = &sim->options->setting;
    int n_layers = sim->options->costs->target.n_layers;
    int split = sim->suffix ? setting->split_layer : n_layers;
    double ns = 0.0;
    if (first < split) {
        int end = last < split ? last : split;
        ns += hsdi_cost_pass(table, end - first, head && last <= split && !sim->suffix, n_rows);
    }
    if (sim->suffix && last > split) {
        double bytes = n_rows * 4.0 * sim->options->costs->target.n_embd;
        ns +=
            first < split ? sim->hop_ns + (sim->hop_gbps > 0.0 ? bytes / sim->hop_gbps : 0.0) : 0.0;
        hsdi_cost_table suffix = at_context(sim, sim->suffix, call->n_past);
        ns += hsdi_cost_pass(&suffix, last - (first > split ? first : split), head, n_rows);
    }
    return ns;
}

static double with_jitter(simulator *sim, double ns)
{
    double spread = 0.0;
    if (sim->options->jitter > 0.0) { // near enough to a normal distribution
        for (uint32_t i = 0; i < 12; i++) {
            spread += hsdi_uniform_at(sim->options->seed, sim->n_calls, DRAW_JITTER + i) - 0.5;
        }
        sim->n_calls++;
    }
    return ns * fmax(0.1, 1.0 + sim->options->jitter * spread);
}

static void note_pass(simulator *sim)
{
    int64_t now_ns = hsdi_virtual_now(sim->time);
    if (sim->pass_ns > 0 && sim->n_times < sim->options->n_tokens) {
        sim->times[sim->n_times++] = now_ns - sim->pass_ns;
    }
    sim->pass_ns = now_ns;
}

static void spend_target(void *self, const hsdi_simulated_call *call)
{
    simulator *sim = self;
    hsdi_cost_table table =
        at_context(sim, call->is_alone ? sim->alone : sim->beside, call->n_past);
    int n_layers = sim->options->costs->target.n_layers;
    double ns = 0.0;
    if (call->part == HSDI_SIMULATED_PREFILL) {
        ns = layers_ns(sim, &table, 0, n_layers, call);
    } else if (call->part == HSDI_SIMULATED_PREFIX) {
        note_pass(sim);
        ns = sim->exit_layer > 0 ? layers_ns(sim, &table, 0, sim->exit_layer, call) : 0.0;
    } else if (call->part == HSDI_SIMULATED_EXIT) {
        ns = hsdi_cost_pass(sim->suffix ? sim->suffix : &table, 0, true, call->n_rows);
    } else {
        ns = layers_ns(sim, &table, sim->exit_layer, n_layers, call);
    }
    hsdi_virtual_compute(sim->time, with_jitter(sim, ns));
}

static void spend_draft(void *self, const hsdi_simulated_call *call)
{
    drafter *d = self;
    const hsdi_simulator_options *o = d->sim->options;
    double ns = LOOKUP_NS * call->n_rows;
    if (d->table) {
        hsdi_cost_table table = at_context(d->sim, d->table, call->n_past);
        ns = hsdi_cost_pass(&table, d->n_layers, !call->is_silent, call->n_rows) + d->call_ns;
    }
    if (d->table && o->streams > 1.0 && !call->is_silent) {
        ns *= ceil(o->setting.window / o->streams) / o->setting.window;
    }
    hsdi_virtual_compute(d->sim->time, with_jitter(d->sim, ns));
}

// ---- setting up ----

static hsd_status fail_costs(const hsdi_simulator_options *o, int i_device, int n_threads,
                             const char *role, hsd_error *err)
{
    const char *name = i_device >= 0 && i_device < o->machine->n_devices
                           ? o->machine->devices[i_device].name
                           : "a device that is not there";
    return hsdi_fail(err, HSD_EINVAL, name,
                     "nothing is known of the %s's times on %s with %d threads", role, name,
                     n_threads);
}

/// The table of most threads; NULL: there is none.
static const hsdi_cost_table *widest_table(const hsdi_costs *costs, hsdi_cost_role role,
                                           int i_device)
{
    int most = -1;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (t->role == role && t->i_device == i_device && t->n_threads > most) {
            most = t->n_threads;
        }
    }
    return hsdi_cost_find(costs, role, i_device, most);
}

static hsd_status check_options(const hsdi_simulator_options *o, hsd_error *err)
{
    const hsdi_plan_setting *s = &o->setting;
    const struct {
        const char *name;
        int value, least, most;
    } fields[] = {
        {"mode", (int)s->mode, HSD_MODE_AR, HSD_MODE_ASYNC},
        {"n_prompt", o->n_prompt, 1, HSDI_OPEN_TOKENS_MAX / 2},
        {"n_tokens", o->n_tokens, 1, HSDI_OPEN_TOKENS_MAX / 2},
        {"i_target", s->i_target, 0, o->machine->n_devices - 1},
        {"i_suffix", s->i_suffix, -1, o->machine->n_devices - 1},
        {"exit_layer", s->exit_layer, 0, o->costs->target.n_layers - 1},
        {"n_workers", s->n_workers, s->mode == HSD_MODE_AR ? 0 : 1, MOST_WORKERS},
        {"window", s->window, s->mode == HSD_MODE_AR ? 0 : 1, HSDI_WINDOW_MAX},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].value < fields[i].least || fields[i].value > fields[i].most) {
            return hsdi_fail(err, HSD_EINVAL, fields[i].name, "%s must be in %d..%d, not %d",
                             fields[i].name, fields[i].least, fields[i].most, fields[i].value);
        }
    }
    for (int i = 0; i < s->n_workers && s->mode != HSD_MODE_AR; i++) {
        if (s->i_draft[i] < 0 || s->i_draft[i] >= o->machine->n_devices) {
            return hsdi_fail(err, HSD_EINVAL, "i_draft", "worker %d is on no device", i);
        }
    }
    bool ok = o->streams >= 1.0 && o->streams <= 64.0 && o->jitter >= 0.0 && o->jitter <= 1.0;
    return ok ? HSD_OK
              : hsdi_fail(err, HSD_EINVAL, "streams", "%g streams and a jitter of %g", o->streams,
                          o->jitter);
}

static hsd_status find_target_tables(simulator *sim, hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    const hsdi_plan_setting *s = &o->setting;
    sim->beside = hsdi_cost_find(o->costs, HSDI_COST_TARGET, s->i_target, s->n_target_threads);
    if (!sim->beside) {
        return fail_costs(o, s->i_target, s->n_target_threads, "target", err);
    }
    sim->alone = s->mode == HSD_MODE_AR ? sim->beside // whose threads were asked for
                                        : widest_table(o->costs, HSDI_COST_TARGET, s->i_target);
    sim->exit_layer = s->mode == HSD_MODE_MIRROR ? s->exit_layer : 0;
    if (s->i_suffix < 0) {
        return HSD_OK;
    }
    int n_threads =
        o->machine->devices[s->i_suffix].type == HSDI_DEVICE_CPU ? s->n_target_threads : 0;
    sim->suffix = hsdi_cost_find(o->costs, HSDI_COST_TARGET, s->i_suffix, n_threads);
    if (!sim->suffix) {
        return fail_costs(o, s->i_suffix, n_threads, "target", err);
    }
    hsdi_distance hop = hsdi_machine_distance(o->machine, s->i_target, s->i_suffix);
    sim->hop_ns = hop.latency_ns;
    sim->hop_gbps = hop.gbps;
    return s->split_layer > 0 && s->split_layer < o->costs->target.n_layers
               ? HSD_OK
               : hsdi_fail(err, HSD_EINVAL, "split_layer", "%d of %d layers", s->split_layer,
                           o->costs->target.n_layers);
}

/// Frames to a thread of this program: what was measured includes waking, but that of who sleeps
/// between steps.
static hsdi_virtual_path path_to_thread(const hsdi_simulator_options *o)
{
    const hsdi_cost_rendezvous *r = &o->costs->rendezvous;
    const hsdi_machine_device *target = &o->machine->devices[o->setting.i_target];
    int n_cores = o->machine->hosts[target->i_host].n_cores;
    double spin_ns = 1000.0 * hsdi_endpoint_spin_us("inproc://", n_cores);
    bool is_serial = o->setting.mode == HSD_MODE_SERIAL;
    return (hsdi_virtual_path){.latency_ns = r->inproc_ns / 4.0,
                               .send_ns = r->inproc_ns / 8.0,
                               .spin_ns = {spin_ns, is_serial ? 0.0 : spin_ns},
                               .wake_ns = r->serial_extra_ns};
}

/// Frames of two that take turns, which was measured with their passes: a step has two ways and
/// three frames to send, and nothing goes on meanwhile.
static hsdi_virtual_path path_in_turn(const hsdi_cost_turn *turn)
{
    return (hsdi_virtual_path){.latency_ns = turn->step_ns / 4.0, .send_ns = turn->step_ns / 6.0};
}

/// Frames to a worker: on this host as measured, unless a link is described; elsewhere by the
/// links. What the pipelines themselves need for a frame is that of threads.
static hsdi_virtual_path path_to_worker(const hsdi_simulator_options *o, int i_device, int i_worker)
{
    const hsdi_cost_rendezvous *r = &o->costs->rendezvous;
    const hsdi_machine *m = o->machine;
    int i_host = m->devices[o->setting.i_target].i_host, i_there = m->devices[i_device].i_host;
    const hsdi_machine_end here = {true, i_host}, there = {true, i_there};
    const hsdi_machine_link *link = hsdi_machine_find_link(m, here, there);
    if (i_host == i_there && !link) {
        bool is_tcp = i_worker >= 0 && strncmp(m->workers[i_worker].endpoint, "tcp:", 4) == 0;
        double step_ns = is_tcp ? r->tcp_ns : r->ipc_ns;
        return (hsdi_virtual_path){.latency_ns = step_ns / 4.0, .send_ns = step_ns / 8.0};
    }
    hsdi_distance way = i_worker >= 0
                            ? hsdi_machine_worker_distance(m, o->setting.i_target, i_worker)
                            : (hsdi_distance){0};
    if (i_worker < 0 && link) {
        way = (hsdi_distance){.latency_ns = link->latency_ns, .gbps = link->gbps};
    } else if (i_worker < 0) {
        way = hsdi_machine_distance(m, o->setting.i_target, i_device);
    }
    return (hsdi_virtual_path){
        .latency_ns = way.latency_ns, .gbps = way.gbps, .send_ns = r->inproc_ns / 8.0};
}

/// The costs of worker i's draft.
static hsd_status find_draft_table(simulator *sim, drafter *d, int i_device, bool is_elsewhere,
                                   hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    const hsdi_plan_setting *s = &o->setting;
    bool is_exit = s->draft_kind == HSD_DRAFT_EARLY_EXIT;
    hsdi_cost_role role = is_exit ? HSDI_COST_TARGET : HSDI_COST_DRAFT;
    int n_threads = o->machine->devices[i_device].type == HSDI_DEVICE_CPU ? s->n_draft_threads : 0;
    d->table = hsdi_cost_find(o->costs, role, i_device, n_threads);
    if (is_elsewhere) { // workers there have the device to themselves
        d->table = widest_table(o->costs, role, i_device);
    }
    d->n_layers = is_exit ? s->exit_layer : o->costs->draft.n_layers;
    return d->table && d->n_layers > 0 ? HSD_OK : fail_costs(o, i_device, n_threads, "draft", err);
}

static void run_worker(void *worker)
{
    (void)!hsdi_worker_run(worker, NULL);
}

/// i_worker: of the description, -1: none. A thread of ours is on our host, and no worker.
static hsd_status start_drafter(simulator *sim, int i_device, int i_worker, bool is_lookup,
                                hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    drafter *d = &sim->drafters[sim->n_drafters];
    bool is_elsewhere =
        o->machine->devices[i_device].i_host != o->machine->devices[o->setting.i_target].i_host;
    hsdi_virtual_path path =
        i_worker < 0 && !is_elsewhere ? path_to_thread(o) : path_to_worker(o, i_device, i_worker);
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    config.log = o->log;
    config.trace = o->trace;
    d->sim = sim;
    snprintf(d->endpoint, sizeof d->endpoint, "virtual://draft%d", sim->n_drafters);
    d->draft = (hsdi_simulated_draft){sim->pair, spend_draft, d, is_lookup};
    hsdi_draft_factory factory = hsdi_simulated_factory(&d->draft);
    hsd_status status = is_lookup ? HSD_OK : find_draft_table(sim, d, i_device, is_elsewhere, err);
    const hsdi_cost_turn *turn = NULL;
    if (o->setting.mode == HSD_MODE_SERIAL && d->table && i_worker < 0 && !is_elsewhere) {
        turn = hsdi_cost_turn_of(o->costs, sim->alone, d->table);
    }
    if (turn && o->setting.draft_kind == HSD_DRAFT_MODEL) {
        path = path_in_turn(turn);
        d->call_ns = turn->call_ns;
    }
    if (status == HSD_OK) {
        status = hsdi_virtual_endpoint(sim->time, d->endpoint, &path, err);
    }
    if (status == HSD_OK) {
        status = hsdi_worker_create(sim->context, d->endpoint, &factory, &config, &d->worker, err);
    }
    if (status == HSD_OK) {
        status = hsdi_virtual_start(sim->time, run_worker, d->worker, &d->actor, err);
        if (status != HSD_OK) {
            hsdi_worker_destroy(&d->worker);
        }
    }
    sim->n_drafters += status == HSD_OK;
    return status;
}

static hsd_status start_drafters(simulator *sim, hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    const hsdi_plan_setting *s = &o->setting;
    hsd_status status = HSD_OK;
    bool is_lookup = s->draft_kind == HSD_DRAFT_NGRAM;
    for (int i = 0; i < s->n_workers && status == HSD_OK; i++) {
        status = start_drafter(sim, s->i_draft[i], s->i_worker[i], is_lookup, err);
    }
    if (status == HSD_OK && o->with_ngram) {
        status = start_drafter(sim, s->i_target, -1, true, err);
    }
    return status;
}

/// Who slows whom down.
static void set_slowdowns(simulator *sim)
{
    const hsdi_simulator_options *o = sim->options;
    for (int i = 0; i < sim->n_drafters; i++) {
        const drafter *a = &sim->drafters[i];
        for (int j = -1; j < sim->n_drafters && a->table; j++) {
            const hsdi_cost_table *other = j < 0 ? sim->beside : sim->drafters[j].table;
            if (j == i || !other) {
                continue;
            }
            int actor = j < 0 ? 0 : sim->drafters[j].actor;
            hsdi_virtual_slow(sim->time, a->actor, actor,
                              hsdi_cost_slowdown_of(o->machine, o->costs, a->table, other));
            if (j < 0) {
                hsdi_virtual_slow(sim->time, 0, a->actor,
                                  hsdi_cost_slowdown_of(o->machine, o->costs, other, a->table));
            }
        }
    }
}

static void fill_config(const simulator *sim, const char **endpoints, int *kinds,
                        hsdi_target_config *config)
{
    const hsdi_simulator_options *o = sim->options;
    const hsdi_plan_setting *s = &o->setting;
    hsdi_target_config_init(config);
    config->mode = s->mode;
    config->adapts = o->adapts;
    config->log = o->log;
    config->trace = o->trace;
    config->endpoints = endpoints;
    config->draft_kinds = kinds;
    config->n_endpoints = sim->n_drafters;
    config->n_proxies = sim->exit_layer > 0 ? N_TOP : 0;
    int window = s->window > 0 ? s->window : 1, roots = s->roots > 0 ? s->roots : 8;
    config->draft = (hsdi_draft_config){
        .draft_kind = HSD_DRAFT_MODEL,
        .window = window,
        .tree = s->tree > window ? s->tree : window,
        .miss_window = s->mode == HSD_MODE_MIRROR ? (window + 1) / 2 : window,
        .roots = roots,
        .n_top = N_TOP, // as sessions have it
        .sources = (int)o->sources,
        .top_p = 1.0f,
    };
    for (int i = 0; i < sim->n_drafters; i++) {
        endpoints[i] = sim->drafters[i].endpoint;
        kinds[i] = sim->drafters[i].table ? HSD_DRAFT_MODEL : HSD_DRAFT_NGRAM;
    }
}

static hsd_status open_all(simulator *sim, hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    const hsdi_plan_setting *s = &o->setting;
    hsdi_simulated_pair pair = {
        .acceptance = &o->costs->acceptance,
        .seed = o->seed,
        .n_prompt = o->n_prompt,
        .n_ctx = o->n_prompt + o->n_tokens,
        .runs_on = s->mode == HSD_MODE_ASYNC,
        .window = s->window > 0 ? s->window : 1,
        .roots = s->roots > 0 ? s->roots : 8,
        .is_tree = s->tree > s->window,
        .has_exit = sim->exit_layer > 0,
        .n_rows_max = ROWS_MAX,
    };
    const char *endpoints[MOST_WORKERS + 1];
    int kinds[MOST_WORKERS + 1];
    hsdi_target_config config;
    sim->times = calloc((size_t)o->n_tokens, sizeof *sim->times);
    hsd_status status = sim->times ? hsdi_simulated_create(&pair, &sim->pair, err)
                                   : hsdi_fail(err, HSD_ENOMEM, "times", "no memory");
    if (status == HSD_OK) {
        status = hsdi_context_create_on(hsdi_virtual_wire(), sim->time, &sim->context, err);
    }
    if (status == HSD_OK && s->mode != HSD_MODE_AR) {
        status = start_drafters(sim, err);
    }
    if (status == HSD_OK) {
        set_slowdowns(sim);
        fill_config(sim, endpoints, kinds, &config);
        hsdi_target_stage stage = hsdi_simulated_target(sim->pair, spend_target, sim);
        status = hsdi_target_create(sim->context, &config, &stage, &sim->target, err);
    }
    return status;
}

static void close_all(simulator *sim)
{
    hsdi_target_destroy(&sim->target);
    for (int i = 0; i < sim->n_drafters; i++) {
        hsdi_worker_stop(sim->drafters[i].worker);
    }
    if (sim->time && sim->n_drafters > 0) {
        (void)hsdi_virtual_join(sim->time);
    }
    for (int i = 0; i < sim->n_drafters; i++) {
        hsdi_worker_destroy(&sim->drafters[i].worker);
    }
    hsdi_context_destroy(&sim->context);
    hsdi_virtual_destroy(&sim->time);
    hsdi_simulated_destroy(&sim->pair);
    free(sim->times);
}

// ---- a generation ----

static bool take_token(void *user, int32_t token)
{
    (void)user;
    (void)token;
    return true;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double quantile_of(const simulator *sim, double part)
{
    return sim->n_times > 0 ? (double)sim->times[(int)((sim->n_times - 1) * part)] : 0.0;
}

static void sum_up(simulator *sim, const hsdi_virtual_use *before, hsdi_simulation *out)
{
    hsdi_target_get_stats(sim->target, &out->stats);
    double decode_ns = (double)(out->stats.decode_ns > 0 ? out->stats.decode_ns : 1);
    out->tokens_per_s = (double)out->stats.n_tokens * 1e9 / decode_ns;
    qsort(sim->times, (size_t)sim->n_times, sizeof *sim->times, compare_times);
    out->step_p50_ns = quantile_of(sim, 0.50);
    out->step_p95_ns = quantile_of(sim, 0.95);
    out->step_p99_ns = quantile_of(sim, 0.99);
    double whole_ns = decode_ns + (double)out->stats.prefill_ns;
    for (int i = 0; i <= sim->n_drafters; i++) {
        hsdi_virtual_use use = hsdi_virtual_used(sim->time, i);
        double busy = (double)(use.computed_ns - before[i].computed_ns) / whole_ns;
        out->target_busy += i == 0 ? busy : 0.0;
        out->draft_busy += i > 0 ? busy / sim->n_drafters : 0.0;
        out->n_frames += use.n_frames - before[i].n_frames;
        out->n_bytes += use.n_bytes - before[i].n_bytes;
    }
    for (int d = 1; d <= HSDI_WINDOW_MAX; d++) {
        int64_t n_right, n_reached;
        hsdi_simulated_count(sim->pair, d, &n_right, &n_reached);
        out->accept[d] = n_reached > 0 ? (double)n_right / (double)n_reached : 0.0;
    }
    out->n_switches = hsdi_virtual_n_switches(sim->time);
}

static hsd_status generate(simulator *sim, hsdi_simulation *out, hsd_error *err)
{
    const hsdi_simulator_options *o = sim->options;
    hsdi_virtual_use before[MOST_WORKERS + 2];
    int32_t *prompt = calloc((size_t)o->n_prompt, sizeof *prompt);
    if (!prompt) {
        return hsdi_fail(err, HSD_ENOMEM, "prompt", "no memory for %d tokens", o->n_prompt);
    }
    for (int i = 0; i < o->n_prompt; i++) {
        prompt[i] = hsdi_simulated_truth(sim->pair, i);
    }
    for (int i = 0; i <= sim->n_drafters; i++) {
        before[i] = hsdi_virtual_used(sim->time, i);
    }
    hsdi_target_job job = {
        .prompt = prompt, .n_prompt = o->n_prompt, .n_tokens = o->n_tokens, .emit = take_token};
    hsd_status status = hsdi_target_generate(sim->target, &job, err);
    free(prompt);
    if (status == HSD_OK) {
        sum_up(sim, before, out);
    }
    return status;
}

hsd_status hsdi_simulate(const hsdi_simulator_options *options, hsdi_simulation *out,
                         hsd_error *err)
{
    hsd_status status = check_options(options, err);
    simulator *sim = status == HSD_OK ? calloc(1, sizeof *sim) : NULL;
    *out = (hsdi_simulation){0};
    if (!sim) {
        return status == HSD_OK ? hsdi_fail(err, HSD_ENOMEM, "simulator", "no memory") : status;
    }
    sim->options = options;
    status = find_target_tables(sim, err);
    if (status == HSD_OK) {
        status = hsdi_virtual_create(&sim->time, err);
    }
    if (status == HSD_OK) {
        status = open_all(sim, err);
    }
    if (status == HSD_OK) {
        status = generate(sim, out, err);
    }
    close_all(sim);
    free(sim);
    return status;
}
