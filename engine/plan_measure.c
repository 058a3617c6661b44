/// Costs of the devices that an engine has open: from the kept profile, or measured quickly.
///
/// A table comes from a few passes: one row, eight, four, more where the budget lasts, the shortest
/// of a few repeats each, so that a busy moment does not decide. The head's part is its part of the
/// weights; the fixed part is what a pass cut at an exit costs more than one in one piece.
#include "engine/engine_internal.h"
#include "engine/plan.h"
#include "engine/profile.h"

#include "base/clock.h"
#include "base/error.h"
#include "devices/keep.h"
#include "pipelines/rendezvous.h"
#include "topology/discover.h"

#include <dirent.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_REPEATS = 5, N_STEPS = 40, N_BESIDE = 25, BESIDE_ROWS = 4, SHORT_TEXT = 64 };
/// A pass that is quick enough to fill a short text first.
static const double small_ns = 500000.0;
/// A profile whose passes are so many times longer or shorter than now was made under other
/// circumstances: beside other work, say.
static const double other_times = 1.5;
/// A large model has said enough after one or two passes.
static const int64_t pass_budget_ns = 60000000, table_budget_ns = 400000000;
/// Costs of rows that were not measured: eight rows of 8-bit weights took 1.7 times as long as one
/// (ik_llama.cpp, 1.1B, two cores), 1.09 with weights read once: a fifth more per doubling.
static const double doubling = 1.2;

typedef struct measuring {
    hsd_engine *e;
    hsdi_engine_plan *plan;
} measuring;

static double bytes_of_head(const hsdi_cost_model *m)
{
    double layers = (double)m->layer_bytes * m->n_layers, head = (double)m->head_bytes;
    return layers + head > 0.0 ? head / (layers + head) : 0.0;
}

static hsdi_measured_pass what_of(int cpu, int n_threads, int n_rows, int exit_layer, int n_past)
{
    return (hsdi_measured_pass){.cpu = cpu,
                                .n_threads = n_threads,
                                .exit_layer = exit_layer,
                                .n_rows = n_rows,
                                .n_past = n_past,
                                .n_repeats = N_REPEATS,
                                .budget_ns = pass_budget_ns};
}

/// A pass of n_rows.
static hsd_status time_rows(hsdi_runner *runner, int cpu, int n_threads, int n_rows, int exit_layer,
                            int n_past, double *ns, hsd_error *err)
{
    const hsdi_measured_pass what = what_of(cpu, n_threads, n_rows, exit_layer, n_past);
    int64_t best = 0;
    hsd_status status = hsdi_measure_rows(runner, &what, &best, NULL, err);
    *ns = (double)best;
    return status;
}

/// Passes of 1, 8, 4, 16 and 32 rows, as many as the budget lasts for; of small models on a short
/// text, whose keys and values cost them something.
static hsd_status time_counts(const measuring *m, hsdi_runner *runner, int cpu, int n_threads,
                              double ns[HSDI_COST_ROWS], int *n_past, hsd_error *err)
{
    static const int order[] = {0, 3, 2, 4, 5};
    int64_t begin_ns = hsdi_now_ns();
    hsdi_measured *passes = NULL;
    hsd_status status = time_rows(runner, cpu, n_threads, 1, 0, 0, &ns[0], err);
    *n_past = ns[0] < small_ns && m->e->n_ctx > 2 * SHORT_TEXT ? SHORT_TEXT : 0;
    int most = m->e->n_ctx - *n_past - 1;
    most = most < hsdi_cost_row_counts[5] ? most : hsdi_cost_row_counts[5];
    most = most < HSDI_STAGE_ROWS ? most : HSDI_STAGE_ROWS;
    const hsdi_measured_pass what = what_of(cpu, n_threads, most, 0, *n_past);
    if (status == HSD_OK && most > 0) {
        status = hsdi_measured_open(runner, &what, &passes, err);
    }
    for (size_t k = 0; k < sizeof order / sizeof *order && status == HSD_OK; k++) {
        int n_rows = hsdi_cost_row_counts[order[k]];
        int64_t best = 0;
        bool is_done = k == 0 && *n_past == 0; // by the first pass of all
        if (!is_done && n_rows <= most && (k == 0 || hsdi_now_ns() - begin_ns < table_budget_ns)) {
            status = hsdi_measured_run(passes, n_rows, &best, NULL, err);
            ns[order[k]] = (double)best;
        }
    }
    hsdi_measured_close(&passes);
    return status;
}

/// Row counts without a time: on lines between their neighbours, beyond them by `doubling`.
static void complete(double ns[HSDI_COST_ROWS])
{
    int last = 0;
    for (int i = 1; i < HSDI_COST_ROWS; i++) {
        if (ns[i] > 0.0) {
            ns[i] = fmax(ns[i], ns[last]);
            for (int k = last + 1; k < i; k++) {
                double part = (double)(hsdi_cost_row_counts[k] - hsdi_cost_row_counts[last]) /
                              (hsdi_cost_row_counts[i] - hsdi_cost_row_counts[last]);
                ns[k] = ns[last] + part * (ns[i] - ns[last]);
            }
            last = i;
        }
    }
    // As steep as the last piece, and no less than `doubling`.
    for (int i = last + 1; i < HSDI_COST_ROWS; i++) {
        double slope = last > 0 ? (ns[last] - ns[last - 1]) /
                                      (hsdi_cost_row_counts[last] - hsdi_cost_row_counts[last - 1])
                                : 0.0;
        double more = slope * (hsdi_cost_row_counts[i] - hsdi_cost_row_counts[i - 1]);
        ns[i] = fmax(ns[i - 1] + more, ns[i - 1] * doubling);
    }
}

/// A table of whole passes; `cut_rows` > 0: also what cutting one of so many rows costs.
static hsd_status measure_table(measuring *m, hsdi_cost_role role, int i_device,
                                hsdi_runner *runner, int cpu, int n_threads, int n_table_threads,
                                hsd_error *err)
{
    const hsdi_cost_model *model =
        role == HSDI_COST_TARGET ? &m->plan->costs.target : &m->plan->costs.draft;
    hsdi_costs *c = &m->plan->costs;
    double ns[HSDI_COST_ROWS] = {0};
    int n_past = 0;
    if (c->n_tables == HSDI_COST_TABLES || hsdi_cost_find(c, role, i_device, n_table_threads)) {
        return HSD_OK;
    }
    hsd_status status = time_counts(m, runner, cpu, n_threads, ns, &n_past, err);
    double cut = 0.0;
    bool is_cut = role == HSDI_COST_TARGET && !runner->next && model->n_layers > 1 && ns[2] > 0.0;
    if (status == HSD_OK && is_cut) {
        status = time_rows(runner, cpu, n_threads, 4, model->n_layers / 2, n_past, &cut, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    double head_part = bytes_of_head(model), measured = ns[2];
    complete(ns);
    // Cut: two more submissions and a second head.
    double fixed = cut > 0.0 ? fmax(0.0, 0.5 * (cut - measured - head_part * measured)) : 0.0;
    fixed = fmin(fixed, 0.3 * ns[0]);
    hsdi_cost_table *t = &c->tables[c->n_tables++];
    *t = (hsdi_cost_table){.role = role,
                           .i_device = i_device,
                           .n_threads = n_table_threads,
                           .fixed_ns = fixed,
                           .is_measured = true};
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        t->head_ns[i] = head_part * (ns[i] - fixed);
        t->layer_ns[i] = (1.0 - head_part) * (ns[i] - fixed) / model->n_layers;
    }
    return HSD_OK;
}

// ---- beside each other ----

typedef struct neighbour {
    hsdi_runner *runner;
    hsdi_measured_pass what;
    int64_t ns;
    hsd_status status;
} neighbour;

static void *run_neighbour(void *arg)
{
    neighbour *n = arg;
    n->status = hsdi_measure_rows(n->runner, &n->what, &n->ns, NULL, NULL);
    return NULL;
}

/// Both at once, until either has been timed often enough: medians over the medians alone.
static hsd_status measure_beside(measuring *m, const hsdi_cost_table *target,
                                 const hsdi_cost_table *draft, hsd_error *err)
{
    hsd_engine *e = m->e;
    neighbour side[2] = {
        {.runner = &e->target.runner,
         .what = {.cpu = hsdi_first_cpu(e), .n_threads = e->n_target_beside}},
        {.runner = &e->draft.runner, .what = {.cpu = hsdi_draft_cpu(e)}},
    };
    double alone[2];
    for (int i = 0; i < 2; i++) {
        side[i].what.n_rows = BESIDE_ROWS < e->n_ctx ? BESIDE_ROWS : 1;
        side[i].what.quantile = 0.5;
        side[i].what.n_repeats = N_BESIDE;
        side[i].what.budget_ns = pass_budget_ns;
        run_neighbour(&side[i]);
        if (side[i].status != HSD_OK) {
            return hsdi_fail(err, side[i].status, "measure", "a pass alone");
        }
        alone[i] = (double)side[i].ns;
    }
    atomic_int n_beside = 2;
    side[0].what.n_beside = side[1].what.n_beside = &n_beside;
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_neighbour, &side[1]) != 0) {
        return HSD_OK; // what costs.c assumes has to do
    }
    run_neighbour(&side[0]);
    (void)pthread_join(thread, NULL);
    hsdi_costs *c = &m->plan->costs;
    for (int i = 0; i < 2 && c->n_slowdowns < HSDI_COST_TABLES; i++) {
        const hsdi_cost_table *own = i == 0 ? target : draft, *other = i == 0 ? draft : target;
        double factor = alone[i] > 0.0 ? (double)side[i].ns / alone[i] : 1.0;
        c->slowdowns[c->n_slowdowns++] =
            (hsdi_cost_slowdown){own->role,       own->i_device,    own->n_threads,
                                 other->i_device, other->n_threads, fmin(fmax(factor, 1.0), 4.0)};
    }
    return HSD_OK;
}

/// The pipelines' own cost: of a mirror step, and what a serial one costs more, where a side
/// sleeps.
static hsd_status measure_messages(measuring *m, hsd_error *err)
{
    hsdi_cost_rendezvous *r = &m->plan->costs.rendezvous;
    hsd_rendezvous_times mirror, serial;
    hsdi_cost_rendezvous_assume(r);
    double ipc = r->ipc_ns / r->inproc_ns, tcp = r->tcp_ns / r->inproc_ns;
    hsd_status status = hsdi_rendezvous_measure("inproc", HSD_MODE_MIRROR, N_STEPS, &mirror, err);
    if (status == HSD_OK) {
        status = hsdi_rendezvous_measure("inproc", HSD_MODE_SERIAL, N_STEPS, &serial, err);
    }
    if (status == HSD_OK) {
        r->inproc_ns = mirror.p50_us * 1e3;
        r->serial_extra_ns = fmax(0.0, serial.p50_us * 1e3 - r->inproc_ns);
        r->ipc_ns = r->inproc_ns * ipc;
        r->tcp_ns = r->inproc_ns * tcp;
    }
    return status;
}

// ---- the machine ----

static int add_device(measuring *m, const char *name, const hsdi_place *place, hsdi_device *device)
{
    hsdi_machine *machine = &m->plan->machine;
    hsdi_machine_device *d = &machine->devices[machine->n_devices];
    const char *type = hsdi_device_get_info(device)->name;
    *d = (hsdi_machine_device){.i_numa = -1, .i_same_as = -1};
    d->type = place->open ? HSDI_DEVICE_OTHER : HSDI_DEVICE_CPU;
    d->n_units = place->open ? 0 : m->e->n_cpus;
    (void)snprintf(d->name, sizeof d->name, "%s", name);
    (void)snprintf(d->id, sizeof d->id, "%s", place->open ? name : "cpu");
    (void)snprintf(d->model, sizeof d->model, "%s", type);
    return machine->n_devices++;
}

/// The target's device (the first of two) and the draft's. Two CPUs are one with threads to choose.
static void make_machine(measuring *m, int *i_target, int *i_draft)
{
    hsd_engine *e = m->e;
    hsdi_machine *machine = &m->plan->machine;
    hsdi_machine_init(machine);
    machine->n_hosts = 1;
    machine->hosts[0] = (hsdi_machine_host){.name = "here", .is_here = true, .n_numa = 1};
    bool both_cpu = !e->target_place.open && !e->draft_place.open;
    *i_target =
        add_device(m, both_cpu ? "cpu" : "target-device", &e->target_place, e->target_device);
    *i_draft =
        both_cpu ? *i_target : add_device(m, "draft-device", &e->draft_place, e->draft_device);
}

/// Is anything kept? Asking for the machine's fingerprint lists all drivers' devices, which takes
/// longer than a small model's plan.
static bool any_profile(void)
{
    char path[HSDI_PATH_MAX];
    if (!hsdi_keep_path("profile", "any", path, sizeof path)) {
        return false;
    }
    char *slash = strrchr(path, '/');
    DIR *folder = NULL;
    bool found = false;
    if (slash) {
        *slash = 0;
        folder = opendir(path);
    }
    for (struct dirent *f; folder && !found && (f = readdir(folder));) {
        found = strncmp(f->d_name, "profile", 7) == 0;
    }
    if (folder) {
        closedir(folder);
    }
    return found;
}

/// What `hsd profile` kept of these models: acceptance and messages, and tables where the devices
/// are the same.
static bool recall(measuring *m)
{
    hsd_engine *e = m->e;
    hsdi_profile *kept = NULL;
    hsdi_costs *c = &m->plan->costs, *known = NULL;
    uint64_t draft = e->draft.model ? hsdi_gguf_fingerprint(e->draft.model->gguf) : 0;
    bool has_drivers = e->target_place.open || e->suffix_place.open || e->draft_place.open;
    bool ok =
        any_profile() &&
        hsdi_profile_recall(has_drivers ? hsdi_profile_machine() : hsdi_discover_fingerprint(),
                            hsdi_gguf_fingerprint(e->target.model->gguf), draft, &kept) &&
        (known = calloc(1, sizeof *known)) != NULL;
    if (ok) {
        (void)hsdi_profile_costs(kept, &m->plan->machine, known);
        const hsdi_cost_model target = c->target, own = c->draft;
        *c = *known;
        c->target = target;
        c->draft = own;
        hsdi_logf(&e->log, HSDI_LOG_INFO, "plan: the profile made on %s is used", kept->made);
    }
    free(known);
    hsdi_profile_free(&kept);
    return ok;
}

/// Does the profile say what a pass takes now? One pass of either model tells.
static bool still_holds(measuring *m, int i_target, int i_draft, int n_target, int n_draft)
{
    hsd_engine *e = m->e;
    hsdi_costs *c = &m->plan->costs;
    const hsdi_cost_table *t[] = {hsdi_cost_find(c, HSDI_COST_TARGET, i_target, n_target),
                                  hsdi_cost_find(c, HSDI_COST_DRAFT, i_draft, n_draft)};
    hsdi_runner *runners[] = {&e->target.runner, &e->draft.runner};
    const int n_layers[] = {c->target.n_layers, c->draft.n_layers};
    for (int i = 0; i < 2; i++) {
        double now = 0.0, then = t[i] ? hsdi_cost_pass(t[i], n_layers[i], true, 1.0) : 0.0;
        if (t[i] && (time_rows(runners[i], i == 0 ? hsdi_first_cpu(e) : hsdi_draft_cpu(e),
                               i == 0 ? e->n_target_alone : 0, 1, 0, 0, &now, NULL) != HSD_OK ||
                     now > other_times * then || then > other_times * now)) {
            hsdi_logf(&e->log, HSDI_LOG_INFO,
                      "plan: the kept profile is not used: a pass of the %s takes %.3f ms, it says "
                      "%.3f",
                      i == 0 ? "target" : "draft", now * 1e-6, then * 1e-6);
            return false;
        }
    }
    return true;
}

static hsd_status measure_all(measuring *m, hsd_error *err)
{
    hsd_engine *e = m->e;
    hsdi_costs *c = &m->plan->costs;
    int i_target, i_draft;
    make_machine(m, &i_target, &i_draft);
    c->target = hsdi_cost_model_of(e->target.model);
    c->draft = hsdi_cost_model_of(e->draft.model);
    bool is_known = recall(m);
    int alone = e->target_place.open ? 0 : e->n_target_alone;
    int beside = e->target_place.open ? 0 : e->n_target_beside;
    int own = e->draft_place.open ? 0 : e->n_draft_threads, cpu = hsdi_first_cpu(e);
    if (is_known && !still_holds(m, i_target, i_draft, alone, own)) {
        // What was seen of acceptance holds whatever the machine did.
        c->n_tables = c->n_slowdowns = 0;
        c->rendezvous = (hsdi_cost_rendezvous){0};
    }
    hsd_status status = measure_table(m, HSDI_COST_TARGET, i_target, &e->target.runner, cpu,
                                      e->n_target_alone, alone, err);
    if (status == HSD_OK) {
        status = measure_table(m, HSDI_COST_TARGET, i_target, &e->target.runner, cpu,
                               e->n_target_beside, beside, err);
    }
    if (status == HSD_OK) {
        status = measure_table(m, HSDI_COST_DRAFT, i_draft, &e->draft.runner, hsdi_draft_cpu(e), 0,
                               own, err);
    }
    const hsdi_cost_table *t = hsdi_cost_find(c, HSDI_COST_TARGET, i_target, beside);
    const hsdi_cost_table *d = hsdi_cost_find(c, HSDI_COST_DRAFT, i_draft, own);
    bool is_quick = t && hsdi_cost_pass(t, c->target.n_layers, true, 1.0) < (double)table_budget_ns;
    if (status == HSD_OK && t && d && is_quick && (!is_known || c->n_slowdowns == 0)) {
        status = measure_beside(m, t, d, err);
    }
    if (status == HSD_OK && !(c->rendezvous.inproc_ns > 0.0)) {
        status = measure_messages(m, err);
    }
    if (status == HSD_OK && !(c->acceptance.accept[1] > 0.0)) {
        hsdi_acceptance_assume(&c->acceptance);
    }
    return status;
}

hsd_status hsdi_engine_measure(hsd_engine *engine, hsdi_engine_plan **out, hsd_error *err)
{
    measuring m = {engine, calloc(1, sizeof(hsdi_engine_plan))};
    if (!m.plan) {
        return hsdi_fail(err, HSD_ENOMEM, "plan", "costs");
    }
    int64_t begin_ns = hsdi_now_ns();
    hsd_status status = measure_all(&m, err);
    if (status != HSD_OK) {
        free(m.plan);
        return status;
    }
    hsdi_logf(&engine->log, HSDI_LOG_INFO, "plan: measured in %.0f ms",
              (double)(hsdi_now_ns() - begin_ns) * 1e-6);
    *out = m.plan;
    return HSD_OK;
}
