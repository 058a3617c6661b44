/// Proves, on hundreds of random machines (the seed of a failure is printed): a plan is never worse
/// than the target alone by its own model; a device made faster never makes it worse; what is
/// forbidden is never chosen and what is pinned always; the order of devices, hosts and workers
/// means nothing; memory and power limits hold to the byte,
/// more memory never makes a plan worse, and caches count by layout, type, context and texts; what
/// the search leaves out is not better than what it finds; reasons name every device that is not
/// used. Does not prove: that the law is right.
#include "random_machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_MACHINES = 200 };

typedef struct world {
    random_case a, b;
    hsdi_plan plan, other;
} world;

static int setup(void **state)
{
    *state = malloc(sizeof(world));
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static hsdi_plan_options objective(hsdi_objective o)
{
    hsdi_plan_options options;
    hsdi_plan_options_init(&options);
    options.objective = o;
    return options;
}

static hsd_status make(const random_case *c, const hsdi_plan_options *o, hsdi_plan *out)
{
    hsd_error err = {0};
    hsd_status status = hsdi_plan_make(&c->machine, &c->costs, o, out, &err);
    if (status != HSD_OK && status != HSD_EUNSUPPORTED) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err.where, err.message);
    }
    return status;
}

static double value_of(const hsdi_plan_options *o, const hsdi_plan *plan)
{
    return hsdi_plan_value(o, plan->best.setting.mode, &plan->best.step);
}

static void a_plan_is_never_worse_than_the_target_alone(void **state)
{
    world *w = *state;
    int n_planned = 0, n_modes[5] = {0};
    for (uint64_t seed = 1; seed <= N_MACHINES; seed++) {
        hsdi_plan_options o = objective((hsdi_objective)(seed % 2 ? 0 : seed % 3));
        random_make(seed, 8, &w->a);
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        n_planned++;
        n_modes[w->plan.best.setting.mode]++;
        double alone = hsdi_plan_value(&o, HSD_MODE_AR, &w->plan.alone.step);
        if (!(value_of(&o, &w->plan) >= alone)) {
            fail_msg("seed %d: %g, alone %g", (int)seed, value_of(&o, &w->plan), alone);
        }
    }
    print_message("%d of %d machines: ar %d, serial %d, mirror %d, async %d\n", n_planned,
                  N_MACHINES, n_modes[1], n_modes[2], n_modes[3], n_modes[4]);
    assert_true(n_planned > N_MACHINES / 2);
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        assert_true(n_modes[mode] > 0); // else the machines are too much alike to prove anything
    }
}

static void a_device_made_faster_never_makes_a_plan_worse(void **state)
{
    world *w = *state;
    for (uint64_t seed = 1; seed <= 2 * N_MACHINES; seed++) {
        uint64_t r = seed * 13;
        hsdi_plan_options o = objective((hsdi_objective)(seed % 2 ? 0 : seed % 3));
        random_make(seed, 7, &w->a);
        w->b = w->a;
        int d = random_int(&r, 0, w->a.machine.n_devices - 1);
        double factor = random_real(&r, 1.0, seed % 2 ? 1.1 : 6.0);
        random_quicken(&w->b, d, factor);
        random_finish(&w->a);
        random_finish(&w->b);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        assert_int_equal(make(&w->b, &o, &w->other), HSD_OK);
        double before = value_of(&o, &w->plan), after = value_of(&o, &w->other);
        if (!(after >= before * (1.0 - 1e-9))) {
            fail_msg("seed %d, objective %d, %s %g times as fast: %.9g, before %.9g (mode %d, then "
                     "%d)",
                     (int)seed, (int)o.objective, w->a.machine.devices[d].name, factor, after,
                     before, (int)w->plan.best.setting.mode, (int)w->other.best.setting.mode);
        }
    }
}

static bool uses(const hsdi_plan_setting *x, int d)
{
    bool used = x->i_target == d || x->i_suffix == d;
    for (int i = 0; i < x->n_workers; i++) {
        used |= x->i_draft[i] == d;
    }
    return used;
}

static void what_is_forbidden_is_never_chosen(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    for (uint64_t seed = 1; seed <= N_MACHINES; seed++) {
        uint64_t r = seed * 17;
        random_make(seed, 8, &w->a);
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        int d = seed % 2 ? w->plan.best.setting.i_target
                         : random_int(&r, 0, w->a.machine.n_devices - 1);
        unsigned modes = 1u << w->plan.best.setting.mode;
        w->a.machine.devices[d].is_forbidden = true;
        w->a.machine.choices.forbidden_modes = modes;
        if (make(&w->a, &o, &w->other) != HSD_OK) {
            continue;
        }
        const hsdi_plan_candidate *all = &w->other.best;
        if (uses(&all->setting, d) || modes & 1u << all->setting.mode) {
            fail_msg("seed %d: %s or mode %d", (int)seed, w->a.machine.devices[d].name,
                     (int)all->setting.mode);
        }
        for (int i = 0; i < w->other.n_runners_up; i++) {
            all = &w->other.runners_up[i];
            assert_false(uses(&all->setting, d));
            assert_false(modes & 1u << all->setting.mode);
        }
    }
}

static void what_is_pinned_is_always_chosen(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    int n_held = 0;
    for (uint64_t seed = 1; seed <= 2 * N_MACHINES; seed++) {
        uint64_t r = seed * 19;
        random_make(seed, 8, &w->a);
        random_finish(&w->a);
        hsdi_machine_choices *c = &w->a.machine.choices;
        int n_layers = w->a.costs.target.n_layers;
        c->mode = (hsd_mode)random_int(&r, HSD_MODE_AUTO, HSD_MODE_ASYNC);
        c->i_target = random_int(&r, 0, 2) ? -1 : random_int(&r, 0, w->a.machine.n_devices - 1);
        c->i_draft = random_int(&r, 0, 2) ? -1 : random_int(&r, 0, w->a.machine.n_devices - 1);
        c->i_suffix = random_int(&r, 0, 5) ? -1 : random_int(&r, 0, w->a.machine.n_devices - 1);
        c->window = random_int(&r, 0, 1) ? -1 : random_int(&r, 1, 16);
        c->roots = random_int(&r, 0, 1) ? -1 : random_int(&r, 1, 64);
        c->tree = random_int(&r, 0, 1) ? -1 : c->window < 1 ? 32 : random_int(&r, c->window, 32);
        c->exit_layer = random_int(&r, 0, 1) ? -1 : random_int(&r, 1, n_layers - 1);
        c->n_workers = random_int(&r, 0, 2) ? -1 : random_int(&r, 1, 3);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        n_held++;
        const hsdi_plan_setting *x = &w->plan.best.setting;
        bool drafts = x->mode != HSD_MODE_AR, mirrors = x->mode == HSD_MODE_MIRROR;
        bool ok = (c->mode == HSD_MODE_AUTO || x->mode == c->mode) &&
                  (c->i_target < 0 || x->i_target == c->i_target) &&
                  (c->i_suffix < 0 || x->i_suffix == c->i_suffix) &&
                  (!drafts || c->i_draft < 0 || x->i_draft[0] == c->i_draft) &&
                  (!drafts || c->window < 0 || x->window == c->window) &&
                  (!drafts || c->n_workers < 0 || x->n_workers == c->n_workers) &&
                  (!mirrors || c->roots < 0 || x->roots == c->roots) &&
                  (!mirrors || c->exit_layer < 0 || x->exit_layer == c->exit_layer) &&
                  (!drafts || x->mode == HSD_MODE_ASYNC || c->tree < 0 || x->tree == c->tree);
        if (!ok) {
            fail_msg("seed %d: mode %d target %d draft %d window %d tree %d roots %d exit %d",
                     (int)seed, (int)x->mode, x->i_target, x->i_draft[0], x->window, x->tree,
                     x->roots, x->exit_layer);
        }
    }
    print_message("%d plans with pins\n", n_held);
    assert_true(n_held > 50);
}

/// The same machine with everything in reverse.
static void reverse(const random_case *from, random_case *to)
{
    const hsdi_machine *a = &from->machine;
    hsdi_machine *b = &to->machine;
    *to = *from;
    for (int i = 0; i < a->n_hosts; i++) {
        b->hosts[a->n_hosts - 1 - i] = a->hosts[i];
    }
    for (int i = 0; i < a->n_devices; i++) {
        hsdi_machine_device *d = &b->devices[a->n_devices - 1 - i];
        *d = a->devices[i];
        d->i_host = a->n_hosts - 1 - d->i_host;
    }
    for (int i = 0; i < a->n_workers; i++) {
        hsdi_machine_worker *d = &b->workers[a->n_workers - 1 - i];
        *d = a->workers[i];
        d->i_device = a->n_devices - 1 - d->i_device;
    }
    for (int i = 0; i < a->n_links; i++) {
        hsdi_machine_link l = a->links[i];
        l.from.index = a->n_hosts - 1 - l.from.index;
        l.to.index = a->n_hosts - 1 - l.to.index;
        b->links[a->n_links - 1 - i] = (hsdi_machine_link){l.to, l.from, l.latency_ns, l.gbps};
    }
    for (int i = 0; i < from->costs.n_tables; i++) {
        hsdi_cost_table *t = &to->costs.tables[from->costs.n_tables - 1 - i];
        *t = from->costs.tables[i];
        t->i_device = a->n_devices - 1 - t->i_device;
    }
    for (int i = 0; i < from->costs.n_turns; i++) {
        hsdi_cost_turn *t = &to->costs.turns[from->costs.n_turns - 1 - i];
        *t = from->costs.turns[i];
        t->i_target = a->n_devices - 1 - t->i_target;
        t->i_draft = a->n_devices - 1 - t->i_draft;
    }
}

static void the_order_of_devices_means_nothing(void **state)
{
    world *w = *state;
    for (uint64_t seed = 1; seed <= N_MACHINES; seed++) {
        hsdi_plan_options o = objective((hsdi_objective)(seed % 3));
        random_make(seed, 9, &w->a);
        random_finish(&w->a);
        reverse(&w->a, &w->b);
        hsd_status one = make(&w->a, &o, &w->plan), two = make(&w->b, &o, &w->other);
        assert_int_equal(one, two);
        if (one != HSD_OK) {
            continue;
        }
        const hsdi_plan_setting *x = &w->plan.best.setting, *y = &w->other.best.setting;
        int last = w->a.machine.n_devices - 1;
        bool ok = x->mode == y->mode && x->i_target == last - y->i_target &&
                  x->window == y->window && x->tree == y->tree && x->roots == y->roots &&
                  x->exit_layer == y->exit_layer && x->n_workers == y->n_workers &&
                  x->n_target_threads == y->n_target_threads &&
                  w->plan.n_tried == w->other.n_tried &&
                  memcmp(&w->plan.best.step, &w->other.best.step, sizeof w->plan.best.step) == 0;
        for (int i = 0; i < x->n_workers && ok; i++) {
            ok = x->i_draft[i] == last - y->i_draft[i];
        }
        if (!ok) {
            fail_msg("seed %d: %g and %g tokens/s, modes %d and %d", (int)seed,
                     w->plan.best.step.tokens_per_s, w->other.best.step.tokens_per_s, (int)x->mode,
                     (int)y->mode);
        }
        assert_int_equal(w->plan.n_reasons, w->other.n_reasons);
        for (int i = 0; i < w->plan.n_reasons; i++) {
            assert_string_equal(w->plan.reasons[i], w->other.reasons[i]);
        }
    }
}

/// Bytes on a device, or on a host, of a setting; written again, not the planner's own sum.
static double bytes_on(const random_case *c, const hsdi_plan_setting *x, int d)
{
    const hsdi_cost_model *t = &c->costs.target, *m = &c->costs.draft;
    double sum = 0.0;
    int first = x->i_suffix < 0 ? t->n_layers : x->split_layer;
    if (x->i_target == d) {
        sum += (double)t->embedding_bytes +
               first * ((double)t->layer_bytes + (double)t->cache_bytes * t->n_ctx);
    }
    if (x->i_suffix == d || (x->i_suffix < 0 && x->i_target == d)) {
        sum += (double)t->head_bytes +
               (t->n_layers - first) * ((double)t->layer_bytes + (double)t->cache_bytes * t->n_ctx);
    }
    for (int i = 0; i < x->n_workers && x->draft_kind == HSD_DRAFT_MODEL; i++) {
        if (x->i_draft[i] == d) {
            sum += (double)(m->head_bytes + m->embedding_bytes) +
                   m->n_layers * ((double)m->layer_bytes + (double)m->cache_bytes * m->n_ctx);
        }
    }
    return sum;
}

static void memory_and_power_limits_hold(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    int n_limited = 0, n_split = 0;
    for (uint64_t seed = 1; seed <= 2 * N_MACHINES; seed++) {
        uint64_t r = seed * 23;
        random_make(seed, 8, &w->a);
        random_finish(&w->a);
        hsdi_machine *m = &w->a.machine;
        double whole = (double)(w->a.costs.target.layer_bytes * w->a.costs.target.n_layers);
        for (int i = 0; i < m->n_devices; i++) {
            m->devices[i].memory_limit_bytes =
                random_int(&r, 0, 1) ? (int64_t)(whole * random_real(&r, 0.3, 4)) : 0;
        }
        m->choices.power_w = random_int(&r, 0, 1) ? random_real(&r, 50, 600) : 0.0;
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        n_limited++;
        const hsdi_plan_setting *x = &w->plan.best.setting;
        n_split += x->i_suffix >= 0;
        double watts = 0.0, host_bytes[HSDI_MACHINE_HOSTS] = {0};
        for (int i = 0; i < m->n_devices; i++) {
            const hsdi_machine_device *d = &m->devices[i];
            double need = bytes_on(&w->a, x, i);
            bool has_own = d->type != HSDI_DEVICE_CPU && d->memory_bytes > 0;
            bool fits = (!has_own || need <= (double)d->memory_bytes) &&
                        (d->memory_limit_bytes == 0 || need <= (double)d->memory_limit_bytes);
            host_bytes[d->i_host] += has_own ? 0.0 : need;
            watts += uses(x, i) ? d->busy_w : 0.0;
            if (!fits) {
                fail_msg("seed %d: %g bytes on %s", (int)seed, need, d->name);
            }
        }
        for (int i = 0; i < m->n_hosts; i++) {
            assert_true(host_bytes[i] <= (double)m->hosts[i].memory_bytes);
        }
        if (m->choices.power_w > 0.0 && watts > m->choices.power_w) {
            fail_msg("seed %d: %g of %g W", (int)seed, watts, m->choices.power_w);
        }
    }
    print_message("%d plans within limits, %d with the target on two devices\n", n_limited,
                  n_split);
    assert_true(n_limited > 100 && n_split > 0);
}

static bool all_fit(const hsdi_machine *m, const hsdi_plan_needs *n)
{
    bool fit = n->limit_bytes == 0 || n->limited_bytes <= n->limit_bytes;
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_plan_need *at = &n->devices[i];
        fit = fit && (at->have_bytes == 0 || hsdi_plan_need_bytes(at) <= at->have_bytes);
    }
    return fit;
}

/// Heads of their own keys, no rotary positions: EL-attention is possible.
static void give_heads(hsdi_cost_model *m)
{
    m->d_head = 32;
    m->n_embd = 32 * (m->n_embd / 32);
    m->n_heads = m->n_kv_heads = m->n_embd / 32;
    m->cache_bytes = 8 * m->n_embd;
}

static void a_byte_less_than_needed_is_not_enough(void **state)
{
    world *w = *state;
    int n_devices = 0, n_limits = 0;
    for (uint64_t seed = 1; seed <= N_MACHINES; seed++) {
        hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
        o.n_pass_rows = 64;
        o.target_cache.type = o.draft_cache.type = (hsd_cache_type)(seed % 3);
        random_make(seed, 8, &w->a);
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        hsdi_machine_device *d = &w->a.machine.devices[w->plan.best.setting.i_target];
        int64_t was = d->memory_limit_bytes,
                need = hsdi_plan_need_bytes(&w->plan.needs.devices[w->plan.best.setting.i_target]);
        assert_true(all_fit(&w->a.machine, &w->plan.needs));
        d->memory_limit_bytes = need;
        assert_int_equal(make(&w->a, &o, &w->other), HSD_OK);
        assert_true(value_of(&o, &w->other) >= value_of(&o, &w->plan)); // the same still fits
        d->memory_limit_bytes = need - 1;
        if (make(&w->a, &o, &w->other) == HSD_OK) {
            n_devices++;
            assert_true(all_fit(&w->a.machine, &w->other.needs));
            assert_true(value_of(&o, &w->other) <= value_of(&o, &w->plan) ||
                        w->other.best.setting.i_suffix >= 0);
        }
        d->memory_limit_bytes = was;
        o.cache_memory_bytes = w->plan.needs.limited_bytes - 1;
        if (make(&w->a, &o, &w->other) == HSD_OK) {
            n_limits++;
            assert_true(all_fit(&w->a.machine, &w->other.needs));
        }
    }
    print_message("%d plans with less on a device, %d with less for caches\n", n_devices, n_limits);
    assert_true(n_devices > 20 && n_limits > 20);
}

/// A target on two devices is looked for only where it fits on none, so that is not compared.
static void more_memory_never_makes_a_plan_worse(void **state)
{
    world *w = *state;
    int n_better = 0;
    for (uint64_t seed = 1; seed <= 2 * N_MACHINES; seed++) {
        uint64_t r = seed * 29;
        const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
        random_make(seed, 8, &w->a);
        hsdi_cost_model *t = &w->a.costs.target;
        double whole = (double)((t->layer_bytes + t->cache_bytes * t->n_ctx) * t->n_layers);
        for (int i = 0; i < w->a.machine.n_devices; i++) {
            w->a.machine.devices[i].memory_limit_bytes =
                (int64_t)(whole * random_real(&r, 0.3, 2.5)) + 1;
        }
        random_finish(&w->a);
        w->b = w->a;
        hsdi_machine_device *d =
            &w->b.machine.devices[random_int(&r, 0, w->b.machine.n_devices - 1)];
        d->memory_limit_bytes *= 4;
        if (make(&w->a, &o, &w->plan) != HSD_OK || w->plan.best.setting.i_suffix >= 0) {
            continue;
        }
        assert_int_equal(make(&w->b, &o, &w->other), HSD_OK);
        double before = value_of(&o, &w->plan), after = value_of(&o, &w->other);
        n_better += after > before;
        if (!(after >= before)) {
            fail_msg("seed %d: %.9g, with less memory %.9g", (int)seed, after, before);
        }
    }
    print_message("%d plans are better with more memory\n", n_better);
    assert_true(n_better > 5);
}

static int64_t cache_of(world *w, const hsdi_plan_options *o)
{
    assert_int_equal(make(&w->a, o, &w->plan), HSD_OK);
    return w->plan.needs.devices[w->plan.best.setting.i_target].cache_bytes;
}

static void caches_count_by_layout_type_context_and_sessions(void **state)
{
    world *w = *state;
    int n = 0;
    for (uint64_t seed = 1; seed <= N_MACHINES; seed++) {
        hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
        random_make(seed, 4, &w->a);
        give_heads(&w->a.costs.target);
        give_heads(&w->a.costs.draft);
        for (int i = 0; i < w->a.machine.n_devices; i++) {
            w->a.machine.devices[i].memory_bytes = 0;
        }
        for (int i = 0; i < w->a.machine.n_hosts; i++) {
            w->a.machine.hosts[i].memory_bytes = 0;
        }
        w->a.machine.choices.mode = HSD_MODE_AR;
        random_finish(&w->a);
        o.n_prompt_rows = 200;
        o.target_cache.layout = HSD_CACHE_LAYOUT_KV;
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        n++;
        const hsdi_cost_model *t = &w->a.costs.target;
        int64_t kv = cache_of(w, &o), heads = (int64_t)t->n_layers * t->n_embd * 2;
        assert_int_equal(kv, (200 + 33) * heads * 4);
        o.target_cache.layout = HSD_CACHE_LAYOUT_EL;
        assert_int_equal(2 * cache_of(w, &o), kv);
        o.target_cache.type = HSD_CACHE_F16;
        assert_int_equal(4 * cache_of(w, &o), kv);
        o.target_cache.type = HSD_CACHE_Q8_0;
        assert_int_equal(cache_of(w, &o) * 2 * 128, kv * 34);
        o.target_cache = (hsdi_plan_caching){HSD_CACHE_LAYOUT_KV, HSD_CACHE_F32};
        o.n_sessions = 3;
        assert_int_equal(cache_of(w, &o), 3 * kv);
        o.n_sessions = 0;
        o.target_cache.layout = HSD_CACHE_LAYOUT_AUTO;
        o.cache_memory_bytes = kv - 1; // as few layers as needed, with or without a draft's room
        int64_t least = cache_of(w, &o);
        assert_true(least < kv && 2 * least >= kv && w->plan.needs.n_el > 0);
        w->a.costs.target.is_rotary = true;
        o.target_cache.layout = HSD_CACHE_LAYOUT_EL;
        assert_int_equal(make(&w->a, &o, &w->plan), HSD_EUNSUPPORTED);
    }
    assert_true(n > N_MACHINES / 2);
}

/// Ask the law alone, about everything on one target device with one draft.
static double best_of_all(const random_case *c, const hsdi_plan_options *o, int i_target,
                          hsdi_plan_setting *out)
{
    static const int roots[] = {1, 2, 4, 8, 16, 32, 64};
    double best = 0.0;
    int n = c->costs.target.n_layers;
    for (int i = 0; i < c->costs.n_tables; i++) {
        const hsdi_cost_table *t = &c->costs.tables[i];
        if (t->role != HSDI_COST_DRAFT || c->machine.devices[t->i_device].type == HSDI_DEVICE_NPU ||
            c->machine.devices[t->i_device].i_host != 0) {
            continue;
        }
        for (int j = 0; j < c->costs.n_tables; j++) {
            const hsdi_cost_table *u = &c->costs.tables[j];
            if (u->role != HSDI_COST_TARGET || u->i_device != i_target) {
                continue;
            }
            for (int k = 0; k < 3 * 8 * 3 * 7 * 3; k++) {
                const int trees[] = {0, 4, 12};
                int at = k, mode = at % 3 + 2, window = (at /= 3) % 8 + 1;
                int more = trees[(at /= 8) % 3], r = roots[(at /= 3) % 7], e = (at / 7) % 3 + 1;
                const hsdi_plan_setting x = {.mode = (hsd_mode)mode,
                                             .draft_kind = HSD_DRAFT_MODEL,
                                             .i_target = i_target,
                                             .i_suffix = -1,
                                             .n_target_threads = u->n_threads,
                                             .n_workers = 1,
                                             .i_draft = {t->i_device},
                                             .i_worker = {-1},
                                             .n_draft_threads = t->n_threads,
                                             .window = window,
                                             .tree = window + (mode == HSD_MODE_ASYNC ? 0 : more),
                                             .roots = r,
                                             .exit_layer = n < 2 ? 0 : (n * e + 2) / 4};
                hsdi_plan_step step;
                // Of async windows the powers of two are promised.
                bool is_promised = mode != HSD_MODE_ASYNC || (window & (window - 1)) == 0;
                if (is_promised &&
                    hsdi_plan_predict(&c->machine, &c->costs, &x, &step, NULL) == HSD_OK) {
                    double value = hsdi_plan_value(o, x.mode, &step);
                    if (value > best) {
                        best = value;
                        *out = x;
                    }
                }
            }
        }
    }
    return best;
}

static void what_the_search_leaves_out_is_not_better(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    int64_t n_pruned = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        random_make(seed, 6, &w->a);
        for (int i = 0; i < w->a.machine.n_devices; i++) {
            w->a.machine.devices[i].memory_bytes = 0; // everything fits everywhere
        }
        for (int i = 0; i < w->a.machine.n_hosts; i++) {
            w->a.machine.hosts[i].memory_bytes = 0;
        }
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        n_pruned += w->plan.n_pruned;
        for (int d = 0; d < w->a.machine.n_devices; d++) {
            if (w->a.machine.devices[d].i_host == 0 &&
                w->a.machine.devices[d].type != HSDI_DEVICE_NPU) {
                hsdi_plan_setting x = {0};
                double best = best_of_all(&w->a, &o, d, &x);
                if (best > value_of(&o, &w->plan) * (1.0 + 1e-9)) {
                    fail_msg(
                        "seed %d: %g on %s, the plan %g: mode %d draft %d threads %d %d window %d "
                        "tree %d roots %d exit %d",
                        (int)seed, best, w->a.machine.devices[d].name, value_of(&o, &w->plan),
                        (int)x.mode, x.i_draft[0], x.n_target_threads, x.n_draft_threads, x.window,
                        x.tree, x.roots, x.exit_layer);
                }
            }
        }
    }
    assert_true(n_pruned > 0);
}

static void reasons_name_every_device_that_is_not_used(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        random_make(seed, 12, &w->a);
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) != HSD_OK) {
            continue;
        }
        for (int i = 0; i < w->a.machine.n_devices; i++) {
            char begin[HSDI_MACHINE_NAME + 16];
            int n = snprintf(begin, sizeof begin, "%s not used: ", w->a.machine.devices[i].name);
            int n_found = 0;
            for (int k = 0; k < w->plan.n_reasons; k++) {
                n_found += strncmp(w->plan.reasons[k], begin, (size_t)n) == 0;
            }
            if (n_found != !uses(&w->plan.best.setting, i)) {
                fail_msg("seed %d: %d sentences on %s", (int)seed, n_found,
                         w->a.machine.devices[i].name);
            }
        }
    }
}

/// 16 devices, tried settings counted: what the promise of a quick plan rests on.
static void sixteen_devices_take_few_tries(void **state)
{
    world *w = *state;
    const hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    int64_t most = 0, told = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        random_make(seed, 16, &w->a);
        random_finish(&w->a);
        if (make(&w->a, &o, &w->plan) == HSD_OK) {
            most = w->plan.n_tried > most ? w->plan.n_tried : most;
            told = w->plan.n_told > told ? w->plan.n_told : told;
        }
    }
    print_message("at most %lld settings tried, %lld for reasons\n", (long long)most,
                  (long long)told);
    assert_true(most < 20000 && told < 20000);
}

static void what_cannot_be_is_refused_with_the_field(void **state)
{
    world *w = *state;
    hsd_error err;
    hsdi_plan_step step;
    random_make(3, 4, &w->a);
    random_finish(&w->a);
    hsdi_plan_setting x = {.mode = HSD_MODE_SERIAL, .i_target = 0, .i_suffix = -1, .window = 17};
    assert_int_equal(hsdi_plan_predict(&w->a.machine, &w->a.costs, &x, &step, &err), HSD_EINVAL);
    assert_string_equal(err.where, "window");
    x.window = 3;
    assert_int_equal(hsdi_plan_predict(&w->a.machine, &w->a.costs, &x, &step, &err), HSD_EINVAL);
    assert_string_equal(err.where, "n_workers");
    x.n_workers = 1;
    x.i_draft[0] = 99;
    x.draft_kind = HSD_DRAFT_MODEL;
    x.n_target_threads = w->a.costs.tables[0].n_threads;
    assert_int_equal(hsdi_plan_predict(&w->a.machine, &w->a.costs, &x, &step, &err), HSD_EINVAL);
    hsdi_plan_options o = objective(HSDI_OBJECTIVE_SPEED);
    for (int i = 0; i < w->a.machine.n_devices; i++) {
        w->a.machine.devices[i].is_forbidden = true;
    }
    assert_int_equal(hsdi_plan_make(&w->a.machine, &w->a.costs, &o, &w->plan, &err),
                     HSD_EUNSUPPORTED);
    o.margin = 0.5;
    assert_int_equal(hsdi_plan_make(&w->a.machine, &w->a.costs, &o, &w->plan, &err), HSD_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_never_worse_than_the_target_alone),
        cmocka_unit_test(a_device_made_faster_never_makes_a_plan_worse),
        cmocka_unit_test(what_is_forbidden_is_never_chosen),
        cmocka_unit_test(what_is_pinned_is_always_chosen),
        cmocka_unit_test(the_order_of_devices_means_nothing),
        cmocka_unit_test(memory_and_power_limits_hold),
        cmocka_unit_test(a_byte_less_than_needed_is_not_enough),
        cmocka_unit_test(more_memory_never_makes_a_plan_worse),
        cmocka_unit_test(caches_count_by_layout_type_context_and_sessions),
        cmocka_unit_test(what_the_search_leaves_out_is_not_better),
        cmocka_unit_test(reasons_name_every_device_that_is_not_used),
        cmocka_unit_test(sixteen_devices_take_few_tries),
        cmocka_unit_test(what_cannot_be_is_refused_with_the_field),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
