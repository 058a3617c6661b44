/// The public simulator: reads descriptions, settles what is left open as sessions do, and runs
/// pipelines/simulator.c.
#include <hsd/simulate.h>

#include "base/error.h"
#include "engine/machine.h"
#include "pipelines/simulator.h"
#include "topology/describe.h"
#include "topology/profile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_TOKENS = 1024, N_PROMPT = 16, WINDOW_ADAPTIVE = 8, ROOTS = 8 };

/// A machine, its costs and the setting: too large for a stack.
typedef struct scene {
    hsdi_machine machine;
    hsdi_costs costs, at_middle; ///< at every context; at that in the middle of the text
    hsdi_simulator_options sim;
} scene;

void hsd_simulate_options_init(hsd_simulate_options *options)
{
    *options = (hsd_simulate_options){0};
    hsd_session_options_init(&options->session);
}

// ---- files ----

/// Depths beyond those that are given accept like the last one.
static bool is_known(const hsdi_acceptance *a)
{
    return a->n_seen > 0.0 || a->accept[1] > 0.0 || a->ngram_accept > 0.0;
}

static hsd_status read_acceptance(const char *path, hsdi_acceptance *out, hsd_error *err)
{
    hsdi_profile *profile = NULL;
    hsd_status status = path ? hsdi_profile_read(path, &profile, err) : HSD_OK;
    if (profile) {
        *out = profile->costs.acceptance;
        if (!is_known(out)) {
            status = hsdi_fail(err, HSD_EFORMAT, path, "it says nothing of acceptance");
        }
    }
    if (!is_known(out)) {
        hsdi_acceptance_assume(out);
    }
    hsdi_acceptance_extend(out);
    hsdi_profile_free(&profile);
    return status;
}

static hsd_status read_costs(const hsd_simulate_options *o, scene *s, hsd_error *err)
{
    hsdi_profile *profile = NULL;
    if (!o->profile_path) {
        return hsdi_fail(err, HSD_EINVAL, "profile", "a profile with times is needed");
    }
    hsd_status status = hsdi_profile_read(o->profile_path, &profile, err);
    if (status == HSD_OK && hsdi_profile_costs(profile, &s->machine, &s->costs) == 0) {
        status = hsdi_fail(err, HSD_EINVAL, o->profile_path,
                           "it has times of no device of this machine");
    }
    hsdi_profile_free(&profile);
    if (status == HSD_OK && s->costs.target.n_layers < 1) {
        status = hsdi_fail(err, HSD_EINVAL, o->profile_path, "it does not say what the target is");
    }
    if (status == HSD_OK && s->costs.target.layer_bytes > 0) {
        status = hsdi_costs_estimate(&s->machine, &s->costs, err); // of devices not measured
    }
    const hsdi_cost_rendezvous *r = &s->costs.rendezvous;
    if (r->inproc_ns <= 0.0 && r->ipc_ns <= 0.0 && r->tcp_ns <= 0.0) {
        hsdi_cost_rendezvous_assume(&s->costs.rendezvous);
    }
    return status == HSD_OK ? read_acceptance(o->acceptance_path, &s->costs.acceptance, err)
                            : status;
}

static hsd_status read_machine(const hsd_simulate_options *o, scene *s, hsd_error *err)
{
    hsd_machine *here = NULL;
    if (o->topology_path) {
        return hsdi_describe_read(o->topology_path, &s->machine, err);
    }
    hsd_status status = hsd_machine_discover(&here, err);
    if (status == HSD_OK) {
        s->machine = here->m;
    }
    hsd_machine_free(&here);
    return status;
}

// ---- devices ----

/// By name, or by id on the host that is here; -1: none.
static int find_device(const hsdi_machine *m, const char *name)
{
    int found = hsdi_machine_find_device(m, name);
    for (int i = 0; i < m->n_devices && found < 0; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        if (m->hosts[d->i_host].is_here && strcmp(d->id, name) == 0) {
            found = i;
        }
    }
    return found;
}

/// By name or endpoint; -1: none.
static int find_worker(const hsdi_machine *m, const char *name)
{
    for (int i = 0; i < m->n_workers; i++) {
        if (strcmp(m->workers[i].name, name) == 0 || strcmp(m->workers[i].endpoint, name) == 0) {
            return i;
        }
    }
    return -1;
}

static bool has_times(const hsdi_costs *costs, hsdi_cost_role role, int i_device)
{
    for (int i = 0; i < costs->n_tables; i++) {
        if (costs->tables[i].role == role && costs->tables[i].i_device == i_device) {
            return true;
        }
    }
    return false;
}

static hsd_status find_target(const hsd_simulate_options *o, scene *s, hsd_error *err)
{
    hsdi_plan_setting *set = &s->sim.setting;
    const hsdi_machine *m = &s->machine;
    const char *names[] = {o->target_device, o->suffix_device};
    int found[] = {m->choices.i_target, m->choices.i_suffix};
    for (int i = 0; i < 2; i++) {
        found[i] = names[i] ? find_device(m, names[i]) : found[i];
        if (names[i] && found[i] < 0) {
            return hsdi_fail(err, HSD_ENODEVICE, names[i], "the description has no such device");
        }
    }
    for (int i = 0; i < m->n_devices && found[0] < 0; i++) {
        found[0] = has_times(&s->costs, HSDI_COST_TARGET, i) ? i : -1;
    }
    set->i_target = found[0];
    set->i_suffix = found[1];
    set->split_layer = o->split_layer > 0 ? o->split_layer : s->costs.target.n_layers / 2;
    return found[0] >= 0 ? HSD_OK
                         : hsdi_fail(err, HSD_EINVAL, "target", "no device has times for it");
}

static hsd_status add_draft(scene *s, int i_device, int i_worker, hsd_error *err)
{
    hsdi_plan_setting *set = &s->sim.setting;
    if (set->n_workers == HSDI_PLAN_WORKERS) {
        return hsdi_fail(err, HSD_EINVAL, "workers", "at most %d", (int)HSDI_PLAN_WORKERS);
    }
    set->i_draft[set->n_workers] = i_device;
    set->i_worker[set->n_workers++] = i_worker;
    return HSD_OK;
}

/// The first device that can draft, on other hardware than the target's if there is one.
static int any_draft(const scene *s)
{
    hsdi_cost_role role =
        s->sim.setting.draft_kind == HSD_DRAFT_MODEL ? HSDI_COST_DRAFT : HSDI_COST_TARGET;
    int any = -1;
    for (int i = 0; i < s->machine.n_devices; i++) {
        if (has_times(&s->costs, role, i)) {
            if (!hsdi_machine_shares_units(&s->machine, i, s->sim.setting.i_target)) {
                return i;
            }
            any = any < 0 ? i : any;
        }
    }
    return any;
}

static hsd_status find_drafts(const hsd_simulate_options *o, scene *s, hsd_error *err)
{
    const hsdi_machine *m = &s->machine;
    hsd_status status = HSD_OK;
    if (s->sim.setting.draft_kind != HSD_DRAFT_MODEL) { // both stay with the target
        return add_draft(s, s->sim.setting.i_target, -1, err);
    }
    for (int i = 0; i < o->n_draft_devices && status == HSD_OK; i++) {
        int i_worker = find_worker(m, o->draft_devices[i]);
        int i_device =
            i_worker >= 0 ? m->workers[i_worker].i_device : find_device(m, o->draft_devices[i]);
        status = i_device >= 0 ? add_draft(s, i_device, i_worker, err)
                               : hsdi_fail(err, HSD_ENODEVICE, o->draft_devices[i],
                                           "the description has no such device or worker");
    }
    if (s->sim.setting.n_workers == 0 && m->choices.i_draft >= 0) {
        status = add_draft(s, m->choices.i_draft, -1, err);
    }
    bool uses_workers = s->sim.setting.n_workers == 0;
    for (int i = 0; i < m->n_workers && uses_workers && status == HSD_OK; i++) {
        if (has_times(&s->costs, HSDI_COST_DRAFT, m->workers[i].i_device)) {
            status = add_draft(s, m->workers[i].i_device, i, err);
        }
    }
    if (status == HSD_OK && s->sim.setting.n_workers == 0) {
        int any = any_draft(s);
        status = any >= 0 ? add_draft(s, any, -1, err)
                          : hsdi_fail(err, HSD_EINVAL, "draft", "no device has times for it");
    }
    int *n = &s->sim.setting.n_workers;
    if (status == HSD_OK && o->n_workers > *n) {
        return hsdi_fail(err, HSD_EINVAL, "workers", "%d of %d that there are", o->n_workers, *n);
    }
    *n = o->n_workers > 0 ? o->n_workers : *n;
    return status;
}

// ---- threads ----

/// The number of threads nearest to `most`, from below, that a role has times for on a device;
/// the least where all are above. 0 where it has none to choose.
static int threads_up_to(const hsdi_costs *costs, hsdi_cost_role role, int i_device, int most)
{
    int below = -1, least = -1;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (t->role == role && t->i_device == i_device) {
            below = t->n_threads <= most && t->n_threads > below ? t->n_threads : below;
            least = least < 0 || t->n_threads < least ? t->n_threads : least;
        }
    }
    return below >= 0 ? below : least >= 0 ? least : 0;
}

/// As sessions do: a draft takes threads from the target only where they compute at the same time.
static void settle_threads(const hsd_simulate_options *o, scene *s)
{
    hsdi_plan_setting *set = &s->sim.setting;
    const hsdi_machine_device *device = &s->machine.devices[set->i_target];
    int n_units = device->n_units > 0 ? device->n_units : INT_MAX;
    set->n_draft_threads = 0;
    for (int i = 0; i < set->n_workers && set->n_draft_threads == 0; i++) {
        bool is_model = set->draft_kind == HSD_DRAFT_MODEL;
        set->n_draft_threads =
            threads_up_to(&s->costs, is_model ? HSDI_COST_DRAFT : HSDI_COST_TARGET, set->i_draft[i],
                          o->n_draft_threads > 0 ? o->n_draft_threads : 1);
    }
    bool is_beside = (set->mode == HSD_MODE_MIRROR || set->mode == HSD_MODE_ASYNC) &&
                     set->draft_kind != HSD_DRAFT_NGRAM;
    for (int i = 0; i < set->n_workers && is_beside; i++) {
        if (hsdi_machine_shares_units(&s->machine, set->i_target, set->i_draft[i]) &&
            n_units < INT_MAX) {
            n_units -= n_units > set->n_draft_threads ? set->n_draft_threads : 0;
        }
    }
    int most = o->n_threads > 0 && o->n_threads < n_units ? o->n_threads : n_units;
    set->n_target_threads = threads_up_to(&s->costs, HSDI_COST_TARGET, set->i_target, most);
}

// ---- one generation ----

static hsd_status settle(const hsd_simulate_options *o, hsd_mode mode, scene *s, hsd_error *err)
{
    const hsd_session_options *session = &o->session;
    hsdi_simulator_options_init(&s->sim);
    s->sim.machine = &s->machine;
    s->sim.costs = &s->costs;
    s->sim.n_prompt = o->n_prompt > 0 ? o->n_prompt : N_PROMPT;
    s->sim.n_tokens = session->n_tokens > 0 ? session->n_tokens : N_TOKENS;
    s->sim.seed = session->sampling.seed;
    s->sim.streams = o->streams > 0.0 ? o->streams : 1.0;
    s->sim.jitter = o->jitter;
    s->sim.trace = mode == session->mode ? o->trace : NULL;
    s->sim.with_ngram = session->with_ngram;
    s->sim.sources = session->roots_from == HSD_ROOTS_FROM_DRAFT  ? HSDI_SOURCES_OWN
                     : session->roots_from == HSD_ROOTS_FROM_EXIT ? HSDI_SOURCES_PROXY
                                                                  : HSDI_SOURCES_BOTH;
    s->sim.adapts = session->window == 0;
    hsdi_plan_setting *set = &s->sim.setting;
    *set = (hsdi_plan_setting){
        .mode = mode,
        .draft_kind = session->draft_kind == HSD_DRAFT_AUTO ? HSD_DRAFT_MODEL : session->draft_kind,
        .window = session->window > 0 ? session->window : WINDOW_ADAPTIVE,
        .roots = session->roots > 0 ? session->roots : ROOTS,
        .exit_layer = session->exit_layer > 0 ? session->exit_layer : s->costs.target.n_layers / 2,
    };
    set->tree = session->tree > set->window ? session->tree : set->window;
    hsd_status status = find_target(o, s, err);
    if (status == HSD_OK && mode != HSD_MODE_AR) {
        status = find_drafts(o, s, err);
    }
    settle_threads(o, s);
    return status;
}

static void fill_stats(const scene *s, const hsdi_simulation *from, hsd_stats *out)
{
    const hsdi_target_stats *t = &from->stats;
    const hsdi_plan_setting *set = &s->sim.setting;
    bool is_alone = set->mode == HSD_MODE_AR, is_mirror = set->mode == HSD_MODE_MIRROR;
    *out = (hsd_stats){
        .mode = set->mode,
        .draft_kind = is_alone ? HSD_DRAFT_AUTO : set->draft_kind,
        .n_prompt = t->n_prompt,
        .n_tokens = t->n_tokens,
        .steps = t->steps,
        .drafted = t->drafted,
        .accepted = t->accepted,
        .hits = t->hits,
        .misses = t->misses,
        .own_hits = t->own_hits,
        .proxy_hits = t->proxy_hits,
        .carried = t->carried,
        .paused = t->paused,
        .late = t->late,
        .workers_lost = t->workers_lost,
        .prefill_s = (double)t->prefill_ns * 1e-9,
        .decode_s = (double)t->decode_ns * 1e-9,
        .tokens_per_s = from->tokens_per_s,
        .wait_s = (double)t->wait_ns * 1e-9,
        .step_overhead_s = (double)t->overhead_p50_ns * 1e-9,
        .window = is_alone ? 0 : set->window,
        .tree = is_alone ? 0 : set->tree,
        .roots = is_mirror ? set->roots : 0,
        .exit_layer = is_mirror || set->draft_kind == HSD_DRAFT_EARLY_EXIT ? set->exit_layer : 0,
        .n_threads = set->n_target_threads,
        .n_draft_threads = is_alone ? 0 : set->n_draft_threads,
    };
}

static bool are_measured(const scene *s)
{
    const hsdi_plan_setting *set = &s->sim.setting;
    bool measured = hsdi_cost_is_measured(&s->costs, HSDI_COST_TARGET, set->i_target);
    for (int i = 0; i < set->n_workers && set->draft_kind == HSD_DRAFT_MODEL; i++) {
        measured &= hsdi_cost_is_measured(&s->costs, HSDI_COST_DRAFT, set->i_draft[i]);
    }
    return measured;
}

static hsd_status simulate_mode(const hsd_simulate_options *o, hsd_mode mode, scene *s,
                                hsd_simulation *out, hsd_error *err)
{
    hsdi_simulation came;
    hsd_status status = settle(o, mode, s, err);
    if (status == HSD_OK) {
        status = hsdi_simulate(&s->sim, &came, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    const hsdi_plan_setting *set = &s->sim.setting;
    *out = (hsd_simulation){.step_s = came.step_p50_ns * 1e-9,
                            .step_p95_s = came.step_p95_ns * 1e-9,
                            .step_p99_s = came.step_p99_ns * 1e-9,
                            .target_busy = came.target_busy,
                            .draft_busy = came.draft_busy,
                            .n_workers = set->n_workers,
                            .n_frames = came.n_frames,
                            .n_bytes = came.n_bytes,
                            .is_measured = are_measured(s)};
    hsdi_plan_step step;
    s->at_middle = s->costs;
    hsdi_costs_settle(&s->at_middle, s->sim.n_prompt + 0.5 * s->sim.n_tokens);
    if ((!s->sim.adapts || mode == HSD_MODE_AR) &&
        hsdi_plan_predict(&s->machine, &s->at_middle, set, &step, NULL) == HSD_OK) {
        out->law_tokens_per_s = step.tokens_per_s;
    }
    fill_stats(s, &came, &out->stats);
    snprintf(out->target, sizeof out->target, "%s", s->machine.devices[set->i_target].name);
    if (set->n_workers > 0) {
        snprintf(out->draft, sizeof out->draft, "%s", s->machine.devices[set->i_draft[0]].name);
    }
    return HSD_OK;
}

hsd_status hsd_simulate(const hsd_simulate_options *options, hsd_simulation *out, hsd_error *err)
{
    hsd_simulation alone, best, other;
    hsd_mode mode = options ? options->session.mode : HSD_MODE_AUTO;
    if (!options || !out) {
        return hsdi_fail(err, HSD_EINVAL, "simulate", "options and a place for the result");
    }
    scene *s = calloc(1, sizeof *s);
    if (!s) {
        return hsdi_fail(err, HSD_ENOMEM, "simulate", "no memory for a machine");
    }
    hsd_status status = read_machine(options, s, err);
    if (status == HSD_OK) {
        status = read_costs(options, s, err);
    }
    if (status == HSD_OK) {
        status = simulate_mode(options, HSD_MODE_AR, s, &alone, err);
        best = alone;
    }
    if (status == HSD_OK && mode != HSD_MODE_AUTO && mode != HSD_MODE_AR) {
        status = simulate_mode(options, mode, s, &best, err);
    }
    for (hsd_mode m = HSD_MODE_SERIAL;
         status == HSD_OK && mode == HSD_MODE_AUTO && m <= HSD_MODE_ASYNC; m++) {
        status = simulate_mode(options, m, s, &other, err);
        if (status == HSD_OK && other.stats.tokens_per_s > best.stats.tokens_per_s) {
            best = other;
        }
    }
    if (status == HSD_OK) {
        best.ar_tokens_per_s = alone.stats.tokens_per_s;
        *out = best;
    }
    free(s);
    return status;
}
