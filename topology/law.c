/// Placements for the law: the tables of a setting's devices, the ways between them, and what each
/// loses beside the others.
#include "topology/law.h"

#include "base/error.h"
#include "topology/extremes.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/// A lookup of one token in the text: hash and copy, below a microsecond in engine/ngram.c; with
/// the pipeline's own work.
static const double lookup_ns = 2000.0;
/// Of one candidate or token on the wire: id and score.
static const double entry_bytes = 8.0, proxies_per_row = 8.0;

static bool is_device(const hsdi_machine *m, int i)
{
    return i >= 0 && i < m->n_devices;
}

/// The table with most threads: how workers elsewhere are started.
static const hsdi_cost_table *widest(const hsdi_costs *costs, hsdi_cost_role role, int i_device)
{
    const hsdi_cost_table *best = NULL;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (t->role == role && t->i_device == i_device &&
            (!best || t->n_threads > best->n_threads ||
             (t->n_threads == best->n_threads && t->n_past < best->n_past))) {
            best = t;
        }
    }
    return best;
}

const hsdi_cost_table *hsdi_law_draft_table(const hsdi_machine *machine, const hsdi_costs *costs,
                                            const hsdi_plan_setting *s, int i)
{
    bool has_threads = machine->devices[s->i_draft[i]].type == HSDI_DEVICE_CPU;
    int n = has_threads ? s->n_draft_threads : 0;
    const hsdi_cost_table *t = hsdi_cost_find(costs, HSDI_COST_DRAFT, s->i_draft[i], n);
    bool is_elsewhere =
        machine->devices[s->i_draft[i]].i_host != machine->devices[s->i_target].i_host;
    if (s->i_worker[i] >= 0 && (!t || is_elsewhere)) {
        t = widest(costs, HSDI_COST_DRAFT, s->i_draft[i]);
    }
    return t;
}

static const hsdi_cost_table *target_table(const hsdi_machine *m, const hsdi_costs *costs,
                                           int i_device, int n_threads)
{
    bool has_threads = m->devices[i_device].type == HSDI_DEVICE_CPU;
    return hsdi_cost_find(costs, HSDI_COST_TARGET, i_device, has_threads ? n_threads : 0);
}

/// Software of a step and the way to a draft. On our host the rendezvous was measured with its
/// messages; elsewhere, or over a link that is described, the messages come on top of what the
/// pipelines themselves need.
static void find_way(const hsdi_law *law, const hsdi_plan_setting *s, int i, hsdi_law_draft *out)
{
    const hsdi_cost_rendezvous *r = &law->costs->rendezvous;
    const hsdi_machine *m = law->machine;
    int i_host = m->devices[s->i_target].i_host, i_there = m->devices[s->i_draft[i]].i_host;
    double software = r->inproc_ns, far = 0.0;
    if (s->i_worker[i] >= 0) {
        const hsdi_machine_end here = {true, i_host}, there = {true, i_there};
        bool is_described = hsdi_machine_find_link(m, here, there) != NULL;
        if (i_host == i_there && !is_described) {
            bool is_tcp = strncmp(m->workers[s->i_worker[i]].endpoint, "tcp:", 4) == 0;
            software = is_tcp ? r->tcp_ns : r->ipc_ns;
        } else {
            hsdi_distance d = hsdi_machine_worker_distance(m, s->i_target, s->i_worker[i]);
            double bytes = entry_bytes * (s->window + 1) * proxies_per_row;
            far = d.latency_ns + (d.gbps > 0.0 ? bytes / d.gbps : 0.0);
        }
    }
    out->rendezvous_ns = software;
    out->far_ns = far;
}

/// Bandwidth of a memory that an estimated target and an estimated draft both read. Measured
/// tables know better, above all where caches hold the weights.
static double shared_gbps(const hsdi_law *law, const hsdi_cost_table *draft)
{
    const hsdi_machine_device *a = &law->machine->devices[law->last->i_device];
    const hsdi_machine_device *b = &law->machine->devices[draft->i_device];
    bool a_hosts = a->type == HSDI_DEVICE_CPU || a->memory_bytes == 0;
    bool b_hosts = b->type == HSDI_DEVICE_CPU || b->memory_bytes == 0;
    bool is_known = law->last->is_measured || draft->is_measured;
    return a->i_host == b->i_host && a_hosts && b_hosts && !is_known
               ? hsdi_larger(a->read_gbps, b->read_gbps)
               : 0.0;
}

hsd_status hsdi_law_find_draft(const hsdi_law *place, const hsdi_plan_setting *s, int i,
                               hsdi_law_draft *out, hsd_error *err)
{
    const hsdi_machine *m = place->machine;
    *out = (hsdi_law_draft){.slow = 1.0, .target_slow = 1.0};
    if (!is_device(m, s->i_draft[i]) || s->i_worker[i] < -1 || s->i_worker[i] >= m->n_workers) {
        return hsdi_fail(err, HSD_EINVAL, "i_draft", "draft %d is on no device", i);
    }
    find_way(place, s, i, out);
    if (s->draft_kind != HSD_DRAFT_MODEL) {
        return HSD_OK;
    }
    const hsdi_cost_table *t = hsdi_law_draft_table(m, place->costs, s, i);
    if (!t) {
        return hsdi_fail(err, HSD_EINVAL, "i_draft", "no costs of the draft on %s",
                         m->devices[s->i_draft[i]].name);
    }
    double most = 0.0; // more rows never count as less time: a table may have noise
    for (int k = 0; k < HSDI_COST_ROWS; k++) {
        most = hsdi_larger(
            most, hsdi_cost_pass(t, place->costs->draft.n_layers, true, hsdi_cost_row_counts[k]));
        out->ns[k] = most;
    }
    const hsdi_cost_table *const parts[] = {place->first, place->last};
    for (int k = place->first == place->last; k < 2; k++) {
        const hsdi_cost_table *part = parts[k];
        out->slow = hsdi_larger(out->slow, hsdi_cost_slowdown_of(m, place->costs, t, part));
        out->target_slow =
            hsdi_larger(out->target_slow, hsdi_cost_slowdown_of(m, place->costs, part, t));
    }
    out->table = t;
    out->turn = s->i_worker[i] < 0 ? hsdi_cost_turn_of(place->costs, place->last, t) : NULL;
    out->shared_gbps = shared_gbps(place, t);
    return HSD_OK;
}

void hsdi_law_known_init(hsdi_law_known *out, const hsdi_machine *machine)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < machine->n_devices; i++) {
        for (int j = 0; j < machine->n_devices; j++) {
            bool shares = hsdi_machine_shares_units(machine, i, j);
            out->shares[i][j / 64] |= (uint64_t)shares << j % 64;
        }
    }
}

static bool shares_units(const hsdi_law *law, int i, int j)
{
    return law->known ? law->known->shares[i][j / 64] >> j % 64 & 1
                      : hsdi_machine_shares_units(law->machine, i, j);
}

static void add_draft(hsdi_law *law, const hsdi_law_draft *d)
{
    law->rendezvous_ns = hsdi_larger(law->rendezvous_ns, d->rendezvous_ns);
    law->far_ns = hsdi_larger(law->far_ns, d->far_ns);
    if (d->table) {
        law->target_slow = hsdi_larger(law->target_slow, d->target_slow);
        law->shared_gbps = hsdi_larger(law->shared_gbps, d->shared_gbps);
        law->draft[law->n_drafts++] = *d;
        law->is_alike &= d->table == law->draft[0].table;
        law->is_estimated |= !d->table->is_measured;
    }
}

/// Drafts on the same hardware take turns.
static void share_among_drafts(hsdi_law *law)
{
    for (int i = 0; i < law->n_drafts; i++) {
        int n = 0;
        for (int j = 0; j < law->n_drafts; j++) {
            n += shares_units(law, law->draft[i].table->i_device, law->draft[j].table->i_device);
        }
        law->draft[i].slow *= n;
    }
}

static void finish(hsdi_law *law)
{
    share_among_drafts(law);
    for (int i = 0; i < law->n_drafts; i++) {
        double one = law->draft[i].ns[0], beside = one * law->draft[i].slow;
        law->slowest_ns = i > 0 ? hsdi_larger(law->slowest_ns, one) : one;
        law->slowest_beside_ns = i > 0 ? hsdi_larger(law->slowest_beside_ns, beside) : beside;
        law->quickest_beside_ns = i > 0 ? hsdi_smaller(law->quickest_beside_ns, beside) : beside;
    }
}

void hsdi_law_join(const hsdi_law *place, const hsdi_law_draft *drafts, int n, hsdi_law *out)
{
    memcpy(out, place, offsetof(hsdi_law, draft)); // a place has no drafts
    for (int i = 0; i < n; i++) {
        add_draft(out, &drafts[i]);
    }
    finish(out);
}

hsd_status hsdi_law_place(const hsdi_machine *machine, const hsdi_costs *costs,
                          const hsdi_plan_setting *s, hsdi_law *law, hsd_error *err)
{
    *law = (hsdi_law){.machine = machine, .costs = costs, .n_layers = costs->target.n_layers};
    law->target_slow = 1.0;
    law->is_alike = true;
    law->lookup_ns = lookup_ns;
    if (!is_device(machine, s->i_target) || s->i_suffix < -1 || s->i_suffix >= machine->n_devices) {
        return hsdi_fail(err, HSD_EINVAL, "i_target", "the target is on no device");
    }
    law->first = law->last = target_table(machine, costs, s->i_target, s->n_target_threads);
    law->split = law->n_layers;
    if (s->i_suffix >= 0 && s->i_suffix != s->i_target) {
        law->last = target_table(machine, costs, s->i_suffix, s->n_target_threads);
        law->last = law->last ? law->last : widest(costs, HSDI_COST_TARGET, s->i_suffix);
        law->split = s->split_layer;
        if (s->split_layer < 1 || s->split_layer >= law->n_layers) {
            return hsdi_fail(err, HSD_EINVAL, "split_layer", "%d of a model with %d layers",
                             s->split_layer, law->n_layers);
        }
        hsdi_distance d = hsdi_machine_distance(machine, s->i_target, s->i_suffix);
        law->hop_ns = d.latency_ns;
        law->hop_row_ns = d.gbps > 0.0 ? 4.0 * costs->target.n_embd / d.gbps : 0.0;
    }
    if (!law->first || !law->last) {
        return hsdi_fail(
            err, HSD_EINVAL, "i_target", "no costs of the target on %s with %d threads",
            machine->devices[law->first ? s->i_suffix : s->i_target].name, s->n_target_threads);
    }
    law->is_estimated = !law->first->is_measured || !law->last->is_measured;
    law->slowest_ns = law->slowest_beside_ns = law->quickest_beside_ns = law->lookup_ns;
    return HSD_OK;
}

hsd_status hsdi_law_open(const hsdi_machine *machine, const hsdi_costs *costs,
                         const hsdi_plan_setting *s, hsdi_law *law, hsd_error *err)
{
    hsd_status status = hsdi_law_place(machine, costs, s, law, err);
    int n = s->mode == HSD_MODE_AR ? 0 : s->n_workers;
    for (int i = 0; i < n && status == HSD_OK; i++) {
        hsdi_law_draft draft;
        status = hsdi_law_find_draft(law, s, i, &draft, err);
        add_draft(law, &draft);
    }
    finish(law);
    return status;
}

// ---- power ----

/// Joules of a step: every device that takes part, each once.
static double joules_of(const hsdi_law *law, const hsdi_plan_step *step)
{
    const hsdi_machine_device *all = law->machine->devices;
    const hsdi_cost_table *used[HSDI_PLAN_WORKERS + 2] = {law->first, law->last};
    double busy[HSDI_PLAN_WORKERS + 2], joules = 0.0;
    int n = 2;
    double pass = step->prefix_ns + step->exit_ns + step->suffix_ns;
    double first = law->first == law->last ? 1.0 : (double)law->split / law->n_layers;
    busy[0] = pass * first;
    busy[1] = pass - busy[0];
    for (int i = 0; i < law->n_drafts; i++) {
        used[n] = law->draft[i].table;
        busy[n++] = hsdi_smaller(step->draft_ns + step->miss_ns, step->total_ns);
    }
    for (int i = 0; i < n; i++) {
        const hsdi_machine_device *d = &all[used[i]->i_device];
        double sum = busy[i];
        bool is_counted = false;
        for (int j = 0; j < i; j++) {
            is_counted |= used[j]->i_device == used[i]->i_device;
        }
        for (int j = i + 1; j < n; j++) {
            sum += used[j]->i_device == used[i]->i_device ? busy[j] : 0.0;
        }
        if (is_counted) {
            continue;
        }
        if (d->busy_w <= 0.0) {
            return 0.0; // one that is not known makes the sum unknown
        }
        sum = hsdi_smaller(sum, step->total_ns);
        joules += (d->busy_w * sum + d->idle_w * (step->total_ns - sum)) * 1e-9;
    }
    return joules;
}

void hsdi_law_power(const hsdi_law *law, hsdi_plan_step *step)
{
    step->joules_per_token = joules_of(law, step) / step->tokens;
}
