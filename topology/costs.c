/// Cost tables: reading between their entries, and what is assumed where nothing was measured.
///
/// Everything here never grows when a device's rates do: the planner's promise that a faster device
/// makes no plan worse rests on it.
#include "topology/costs.h"

#include "base/error.h"
#include "topology/extremes.h"

#include <math.h>

const int hsdi_cost_row_counts[HSDI_COST_ROWS] = {1, 2, 4, 8, 16, 32, 64};

/// Two on one memory. A decode of 20.3 tokens/s fell to 14.6 beside a neighbour that streams memory
/// (two cores of Zen 4: 1.39); in OpenVINO discussion 36484 draft tokens of 9.4 and 34 ms took 15
/// and 48 to 61 ms in the loop beside a GPU on the same memory (1.6, 1.4 to 1.8).
static const double shared_memory = 1.4;
/// Two on one chip that takes turns.
static const double shared_chip = 2.0;
/// A quarter of the cores is assumed to fill the memory's bandwidth; one of two filled 0.8 of it
/// (26 to 28 of 32 to 34 GB/s, two cores of Zen 4).
static const double cores_to_fill = 0.25;
/// A lookup or a submission is never free; where a device's launch is not known.
static const double least_launch_ns = 1000.0;

double hsdi_cost_at(const double table[HSDI_COST_ROWS], double n_rows)
{
    int i = 1;
    if (n_rows <= 1.0) {
        return table[0];
    }
    while (i < HSDI_COST_ROWS - 1 && n_rows > hsdi_cost_row_counts[i]) {
        i++;
    }
    double low = hsdi_cost_row_counts[i - 1], high = hsdi_cost_row_counts[i];
    return table[i - 1] + (table[i] - table[i - 1]) * (n_rows - low) / (high - low);
}

double hsdi_cost_pass(const hsdi_cost_table *table, int n_layers, bool head, double n_rows)
{
    double ns = table->fixed_ns + n_layers * hsdi_cost_at(table->layer_ns, n_rows);
    return head ? ns + hsdi_cost_at(table->head_ns, n_rows) : ns;
}

static bool is_same_place(const hsdi_cost_table *t, hsdi_cost_role role, int i_device,
                          int n_threads)
{
    return t->role == role && t->i_device == i_device && t->n_threads == n_threads;
}

const hsdi_cost_table *hsdi_cost_find(const hsdi_costs *costs, hsdi_cost_role role, int i_device,
                                      int n_threads)
{
    const hsdi_cost_table *best = NULL;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        bool fits = is_same_place(t, role, i_device, n_threads);
        // The shortest context, as the one whose order among tables cannot matter.
        if (fits && (!best || t->n_past < best->n_past)) {
            best = t;
        }
    }
    return best;
}

/// `part` of the way from one context to another; downwards no time goes.
static double between(double near, double far, double part)
{
    return near + part * (part > 1.0 ? hsdi_larger(far - near, 0.0) : far - near);
}

static void blend(const hsdi_cost_table *near, const hsdi_cost_table *far, double n_past,
                  hsdi_cost_table *out)
{
    double part = hsdi_larger(0.0, (n_past - near->n_past) / (far->n_past - near->n_past));
    hsdi_cost_table t = *near;
    t.n_past = (int)n_past;
    t.is_measured = near->is_measured && far->is_measured;
    t.fixed_ns = between(near->fixed_ns, far->fixed_ns, part);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        t.layer_ns[i] = between(near->layer_ns[i], far->layer_ns[i], part);
        t.head_ns[i] = between(near->head_ns[i], far->head_ns[i], part);
    }
    *out = t;
}

bool hsdi_cost_find_at(const hsdi_costs *costs, hsdi_cost_role role, int i_device, int n_threads,
                       double n_past, hsdi_cost_table *out)
{
    // Of the contexts that were measured the longest at or below n_past, and its neighbours.
    const hsdi_cost_table *below = NULL, *above = NULL, *before = NULL;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (!is_same_place(t, role, i_device, n_threads)) {
            continue;
        }
        if (t->n_past > n_past) {
            above = !above || t->n_past < above->n_past ? t : above;
        } else if (!below || t->n_past > below->n_past) {
            before = below;
            below = t;
        } else if (t->n_past < below->n_past && (!before || t->n_past > before->n_past)) {
            before = t;
        }
    }
    if (below && above) {
        blend(below, above, n_past, out);
    } else if (below && before) {
        blend(before, below, n_past, out);
    } else if (below || above) {
        *out = below ? *below : *above;
    }
    return below || above;
}

void hsdi_costs_settle(hsdi_costs *costs, double n_past)
{
    int n = 0;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table now = costs->tables[i];
        bool is_done = false;
        for (int k = 0; k < n && !is_done; k++) {
            is_done = is_same_place(&costs->tables[k], now.role, now.i_device, now.n_threads);
        }
        // What is overwritten is this one, or one of a place that is done.
        n += !is_done && hsdi_cost_find_at(costs, now.role, now.i_device, now.n_threads, n_past,
                                           &costs->tables[n]);
    }
    costs->n_tables = n;
}

static const hsdi_cost_slowdown *
find_slowdown(const hsdi_costs *costs, const hsdi_cost_table *table, const hsdi_cost_table *beside)
{
    for (int i = 0; i < costs->n_slowdowns; i++) {
        const hsdi_cost_slowdown *s = &costs->slowdowns[i];
        if (s->role == table->role && s->i_device == table->i_device &&
            s->n_threads == table->n_threads && s->i_beside == beside->i_device &&
            s->n_beside == beside->n_threads) {
            return s;
        }
    }
    return NULL;
}

const hsdi_cost_turn *hsdi_cost_turn_of(const hsdi_costs *costs, const hsdi_cost_table *target,
                                        const hsdi_cost_table *draft)
{
    for (int i = 0; i < costs->n_turns; i++) {
        const hsdi_cost_turn *t = &costs->turns[i];
        if (t->i_target == target->i_device && t->n_target == target->n_threads &&
            t->i_draft == draft->i_device && t->n_draft == draft->n_threads) {
            return t;
        }
    }
    return NULL;
}

/// Does it read its weights from its host's memory?
static bool uses_host_memory(const hsdi_machine_device *d)
{
    return d->type == HSDI_DEVICE_CPU || d->memory_bytes == 0;
}

static bool share_memory(const hsdi_machine_device *a, const hsdi_machine_device *b)
{
    bool is_same_node = a->i_numa < 0 || b->i_numa < 0 || a->i_numa == b->i_numa;
    return a->i_host == b->i_host && is_same_node && uses_host_memory(a) && uses_host_memory(b);
}

double hsdi_cost_slowdown_of(const hsdi_machine *machine, const hsdi_costs *costs,
                             const hsdi_cost_table *table, const hsdi_cost_table *beside)
{
    const hsdi_cost_slowdown *measured = find_slowdown(costs, table, beside);
    if (measured) {
        return measured->factor > 1.0 ? measured->factor : 1.0;
    }
    const hsdi_machine_device *a = &machine->devices[table->i_device];
    const hsdi_machine_device *b = &machine->devices[beside->i_device];
    double memory = share_memory(a, b) ? shared_memory : 1.0;
    if (!hsdi_machine_shares_units(machine, table->i_device, beside->i_device)) {
        return memory;
    }
    if (a->type != HSDI_DEVICE_CPU || b->type != HSDI_DEVICE_CPU || a->n_units < 1) {
        return shared_chip;
    }
    double crowd = (double)(table->n_threads + beside->n_threads) / a->n_units;
    return hsdi_larger(crowd, memory);
}

/// Rates of a device with a number of threads, in units and bytes per nanosecond; 0: not known.
typedef struct rates {
    double bytes, ops;
} rates;

static rates rates_of(const hsdi_machine_device *d, const hsdi_cost_model *model, int n_threads)
{
    double ops = d->type == HSDI_DEVICE_CPU ? d->f32_gops : hsdi_larger(d->f16_gops, d->f32_gops);
    rates r = {d->read_gbps, model->weights_are_int8 && d->int8_gops > ops ? d->int8_gops : ops};
    if (n_threads > 0 && d->n_units > 0) {
        double part = hsdi_smaller(1.0, (double)n_threads / d->n_units);
        r.ops *= part;
        r.bytes *= hsdi_smaller(1.0, part / cores_to_fill);
    }
    return r;
}

static double longest(const rates *r, double bytes, double ops)
{
    double by_bytes = r->bytes > 0.0 ? bytes / r->bytes : 0.0;
    double by_ops = r->ops > 0.0 ? ops / r->ops : 0.0;
    return hsdi_larger(by_bytes, by_ops);
}

static bool add_estimate(const hsdi_machine *machine, hsdi_costs *costs, hsdi_cost_role role,
                         int i_device, int n_threads)
{
    const hsdi_machine_device *d = &machine->devices[i_device];
    const hsdi_cost_model *model = role == HSDI_COST_TARGET ? &costs->target : &costs->draft;
    rates r = rates_of(d, model, n_threads);
    if ((r.bytes <= 0.0 && r.ops <= 0.0) || hsdi_cost_find(costs, role, i_device, n_threads)) {
        return true;
    }
    if (costs->n_tables == HSDI_COST_TABLES) {
        return false;
    }
    hsdi_cost_table *t = &costs->tables[costs->n_tables++];
    *t = (hsdi_cost_table){.role = role, .i_device = i_device, .n_threads = n_threads};
    t->fixed_ns = hsdi_larger(d->launch_ns, least_launch_ns);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        double n = hsdi_cost_row_counts[i];
        t->layer_ns[i] = longest(&r, (double)model->layer_bytes, n * model->layer_ops);
        t->head_ns[i] = longest(&r, (double)model->head_bytes, n * model->head_ops);
    }
    return true;
}

bool hsdi_cost_is_measured(const hsdi_costs *costs, hsdi_cost_role role, int i_device)
{
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (t->role == role && t->i_device == i_device && t->is_measured) {
            return true;
        }
    }
    return false;
}

static bool estimate_device(const hsdi_machine *machine, hsdi_costs *costs, hsdi_cost_role role,
                            int i_device)
{
    const hsdi_machine_device *d = &machine->devices[i_device];
    if (hsdi_cost_is_measured(costs, role, i_device)) {
        return true;
    }
    if (d->type != HSDI_DEVICE_CPU || d->n_units < 1) {
        return add_estimate(machine, costs, role, i_device, 0);
    }
    bool ok = true;
    for (int n = 1; n < d->n_units && ok; n *= 2) { // 1, 2, 4, .., half, all but one, all
        ok = add_estimate(machine, costs, role, i_device, n);
    }
    if (ok && d->n_units > 1) {
        ok = add_estimate(machine, costs, role, i_device, d->n_units - 1);
    }
    return ok && add_estimate(machine, costs, role, i_device, d->n_units);
}

static hsd_status check_model(const hsdi_cost_model *m, const char *name, hsd_error *err)
{
    bool ok = m->n_layers > 0 && m->n_embd > 0 && m->layer_bytes > 0 && m->head_bytes >= 0 &&
              m->cache_bytes >= 0 && m->embedding_bytes >= 0 && isfinite(m->layer_ops) &&
              m->layer_ops > 0.0 && isfinite(m->head_ops) && m->head_ops >= 0.0;
    return ok ? HSD_OK
              : hsdi_fail(err, HSD_EINVAL, name,
                          "a model of %d layers, %lld bytes and %g operations each", m->n_layers,
                          (long long)m->layer_bytes, m->layer_ops);
}

hsd_status hsdi_costs_estimate(const hsdi_machine *machine, hsdi_costs *costs, hsd_error *err)
{
    hsd_status status = check_model(&costs->target, "target", err);
    if (status == HSD_OK && costs->draft.n_layers > 0) {
        status = check_model(&costs->draft, "draft", err);
    }
    for (int i = 0; i < machine->n_devices && status == HSD_OK; i++) {
        bool ok = estimate_device(machine, costs, HSDI_COST_TARGET, i);
        if (ok && costs->draft.n_layers > 0) {
            ok = estimate_device(machine, costs, HSDI_COST_DRAFT, i);
        }
        if (!ok) {
            status = hsdi_fail(err, HSD_EINVAL, "costs", "more than %d tables are needed",
                               (int)HSDI_COST_TABLES);
        }
    }
    return status;
}

void hsdi_cost_rendezvous_assume(hsdi_cost_rendezvous *out)
{
    // docs/benchmarks.md, "step of the pipelines alone", on two virtual cores; tcp is not measured
    // there: taken as ipc and the path through the kernel's network code once more.
    *out = (hsdi_cost_rendezvous){
        .inproc_ns = 18000, .ipc_ns = 94000, .tcp_ns = 130000, .serial_extra_ns = 54000};
}
