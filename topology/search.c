/// The search: places for the target, best bound first; on each every draft; for each every window.
///
/// A place's bound is what its passes alone would give with the most tokens that any mode brings:
/// what cannot reach the worst of the kept settings is left out. Devices and workers are taken in
/// the order of their names, and the first of equals stays, so that their order in the machine
/// means nothing.
#include "topology/search.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_MOST = 8 };
/// Settings worse than so many kept ones are left out; others that were met are runners-up too.
enum { SEARCH_WANTED = 3 };
enum { EXHAUSTIVE_WORKERS = 4, MOST_SETS = 256, MOST_THREADS = 24 };

// ---- names, rules ----

void hsdi_search_init(hsdi_search *s, const hsdi_machine *machine, const hsdi_costs *costs,
                      const hsdi_plan_options *options)
{
    memset(s, 0, sizeof *s);
    s->machine = machine;
    s->costs = costs;
    s->options = options;
    s->choices = machine->choices;
    s->n_wanted = SEARCH_WANTED;
    for (int i = 0; i < machine->n_devices; i++) {
        int at = i;
        while (at > 0 &&
               strcmp(machine->devices[s->order[at - 1]].name, machine->devices[i].name) > 0) {
            s->order[at] = s->order[at - 1];
            at--;
        }
        s->order[at] = i;
    }
    for (int i = 0; i < machine->n_workers; i++) {
        int at = i;
        while (at > 0 &&
               strcmp(machine->workers[s->workers[at - 1]].name, machine->workers[i].name) > 0) {
            s->workers[at] = s->workers[at - 1];
            at--;
        }
        s->workers[at] = i;
    }
}

/// Does the program run on that host? Where none is marked it may be any.
static bool is_home(const hsdi_machine *m, int i_host)
{
    for (int i = 0; i < m->n_hosts; i++) {
        if (m->hosts[i].is_here) {
            return m->hosts[i_host].is_here;
        }
    }
    return true;
}

static const char *bar(const hsdi_search *s, int i_device)
{
    const hsdi_machine_device *d = &s->machine->devices[i_device];
    return d->is_forbidden                   ? "it is forbidden"
           : d->unusable[0]                  ? d->unusable
           : !is_home(s->machine, d->i_host) ? "it is on another host and no worker serves it"
           : d->type == HSDI_DEVICE_NPU      ? "an NPU runs whole networks, and no worker serves it"
           : !d->id[0]                       ? "hsd cannot open it"
                                             : NULL;
}

static bool has_table(const hsdi_search *s, hsdi_cost_role role, int i_device)
{
    for (int i = 0; i < s->costs->n_tables; i++) {
        if (s->costs->tables[i].role == role && s->costs->tables[i].i_device == i_device) {
            return true;
        }
    }
    return false;
}

const char *hsdi_search_target_bar(const hsdi_search *s, int i_device)
{
    const char *why = bar(s, i_device);
    return why || has_table(s, HSDI_COST_TARGET, i_device) ? why : "nothing is known of its speed";
}

const char *hsdi_search_draft_bar(const hsdi_search *s, int i_device)
{
    const char *why = bar(s, i_device);
    if (why || has_table(s, HSDI_COST_DRAFT, i_device)) {
        return why;
    }
    return s->costs->draft.n_layers > 0 ? "nothing is known of its speed"
                                        : "there is no draft model";
}

/// Thread counts with a table, ascending; one entry 0 where there is nothing to choose.
static int threads_of(const hsdi_search *s, hsdi_cost_role role, int i_device, int pinned, int *out)
{
    bool has_threads = s->machine->devices[i_device].type == HSDI_DEVICE_CPU;
    int n = 0;
    for (int i = 0; i < s->costs->n_tables; i++) {
        const hsdi_cost_table *t = &s->costs->tables[i];
        bool is_new = t->role == role && t->i_device == i_device &&
                      (!has_threads || pinned < 1 || t->n_threads == pinned);
        for (int j = 0; j < n; j++) {
            is_new &= out[j] != t->n_threads;
        }
        if (is_new && n < MOST_THREADS) {
            int at = n++;
            while (at > 0 && out[at - 1] > t->n_threads) {
                out[at] = out[at - 1];
                at--;
            }
            out[at] = t->n_threads;
        }
    }
    return n;
}

static bool mode_is_free(const hsdi_search *s, hsd_mode mode)
{
    return !(s->choices.forbidden_modes & 1u << mode) &&
           (s->choices.mode == HSD_MODE_AUTO || s->choices.mode == mode);
}

// ---- what was found ----

static bool is_same_kind(const hsdi_plan_setting *a, const hsdi_plan_setting *b)
{
    if (a->mode != b->mode || a->draft_kind != b->draft_kind || a->i_target != b->i_target ||
        a->i_suffix != b->i_suffix || a->n_workers != b->n_workers) {
        return false;
    }
    for (int i = 0; i < a->n_workers; i++) {
        if (a->i_draft[i] != b->i_draft[i] || a->i_worker[i] != b->i_worker[i]) {
            return false;
        }
    }
    return true;
}

static void keep(hsdi_search *s, const hsdi_plan_setting *x, const hsdi_plan_step *step,
                 double value)
{
    int at = s->n_kept, last;
    for (int i = 0; i < s->n_kept; i++) {
        if (is_same_kind(&s->kept[i].candidate.setting, x)) {
            if (value <= s->kept[i].value) {
                return;
            }
            at = i;
        }
    }
    last = at < s->n_kept ? at : s->n_kept < HSDI_SEARCH_KEPT ? s->n_kept : HSDI_SEARCH_KEPT - 1;
    if (at == HSDI_SEARCH_KEPT && value <= s->kept[last].value) {
        return;
    }
    s->n_kept += at == s->n_kept && s->n_kept < HSDI_SEARCH_KEPT;
    while (last > 0 && s->kept[last - 1].value < value) {
        s->kept[last] = s->kept[last - 1];
        last--;
    }
    s->kept[last] = (hsdi_kept){{*x, *step}, value};
}

/// What a setting must be worth to be looked at. Far behind the best nothing is of interest.
static double cut(const hsdi_search *s)
{
    double floor = s->n_kept > 0 ? 0.7 * s->kept[0].value : 0.0;
    return s->n_kept >= s->n_wanted ? fmax(floor, s->kept[s->n_wanted - 1].value) : floor;
}

static double power_of(const hsdi_search *s, const hsdi_plan_setting *x)
{
    int used[HSDI_PLAN_WORKERS + 2], n = 0;
    double watts = 0.0;
    used[n++] = x->i_target;
    if (x->i_suffix >= 0) {
        used[n++] = x->i_suffix;
    }
    for (int i = 0; i < x->n_workers; i++) {
        used[n++] = x->i_draft[i];
    }
    for (int i = 0; i < n; i++) {
        bool is_new = true;
        for (int j = 0; j < i; j++) {
            is_new &= used[j] != used[i];
        }
        watts += is_new ? s->machine->devices[used[i]].busy_w : 0.0;
    }
    return watts;
}

static void try(hsdi_search *s, hsdi_law *law, const hsdi_plan_setting *x)
{
    hsdi_plan_step step;
    hsdi_law_step(law, x, &step);
    if (s->options->objective == HSDI_OBJECTIVE_ENERGY) {
        hsdi_law_power(law, &step);
    }
    s->n_tried++;
    double value = hsdi_plan_value(s->options, x->mode, &step);
    bool is_news = x->mode == HSD_MODE_AR || s->n_kept < HSDI_SEARCH_KEPT ||
                   value > s->kept[HSDI_SEARCH_KEPT - 1].value;
    if (!(value > 0.0) || !isfinite(value) || !is_news) {
        return;
    }
    hsdi_law_power(law, &step);
    if (x->mode == HSD_MODE_AR && (!s->has_alone || value > s->alone.value)) {
        s->alone = (hsdi_kept){{*x, step}, value};
        s->has_alone = true;
    }
    if (mode_is_free(s, x->mode)) {
        keep(s, x, &step, value);
    }
}

// ---- windows ----

/// No step with these windows on that place is worth more. In serial mode every pass has the whole
/// window; else shorter ones come between, and the best length bounds any mixture of them.
static double bound_of(const hsdi_search *s, const hsdi_law *law, const hsdi_plan_setting *x)
{
    int n_more = x->tree > x->window ? x->tree - x->window : 0;
    int least = x->mode == HSD_MODE_SERIAL ? x->window : 0;
    double best = 0.0;
    for (int n = least; n <= x->window; n++) {
        hsdi_plan_setting y = *x;
        y.window = n;
        y.tree = n + n_more;
        hsdi_plan_step step = {.total_ns = hsdi_law_pass(law, n + 1.0 + n_more),
                               .tokens = hsdi_law_most_tokens(law, &y)};
        step.latency_ns = step.total_ns;
        step.tokens_per_s = step.tokens / step.total_ns * 1e9;
        if (s->options->objective == HSDI_OBJECTIVE_ENERGY) {
            double watts = s->machine->devices[x->i_target].busy_w;
            step.joules_per_token = watts * step.total_ns * 1e-9 / step.tokens;
            if (x->i_suffix >= 0 || watts <= 0.0) {
                return INFINITY;
            }
        }
        best = fmax(best, hsdi_plan_value(s->options, x->mode, &step));
    }
    return best;
}

static int choices_of(int pinned, const int *all, int n_all, int *out)
{
    int n = 0;
    if (pinned >= 1) {
        out[n++] = pinned;
        return n;
    }
    for (int i = 0; i < n_all; i++) {
        out[n++] = all[i];
    }
    return n;
}

int hsdi_plan_exits(int n_layers, int out[HSDI_PLAN_EXITS])
{
    int n = 0;
    for (int k = 1; k <= HSDI_PLAN_EXITS; k++) {
        int e = (n_layers * k + 2) / (HSDI_PLAN_EXITS + 1);
        if (e >= 1 && e < n_layers && (n == 0 || out[n - 1] != e)) {
            out[n++] = e;
        }
    }
    return n;
}

static int exits_of(const hsdi_search *s, int *out)
{
    int n_layers = s->costs->target.n_layers, n = 0;
    if (s->choices.exit_layer >= 0) {
        out[n++] = s->choices.exit_layer < n_layers ? s->choices.exit_layer : n_layers - 1;
        return n;
    }
    n = hsdi_plan_exits(n_layers, out);
    if (n == 0) {
        out[n++] = 0;
    }
    return n;
}

static void try_mirror(hsdi_search *s, hsdi_law *law, hsdi_plan_setting *x)
{
    static const int all[] = {1, 2, 4, 8, 16, 32, 64};
    int roots[8], exits[4];
    int n_roots = choices_of(s->choices.roots, all, 7, roots), n_exits = exits_of(s, exits);
    hsdi_plan_step hopeful;
    hsdi_law_hopeful(law, x, &hopeful);
    if (s->options->objective != HSDI_OBJECTIVE_ENERGY &&
        hsdi_plan_value(s->options, x->mode, &hopeful) < cut(s)) {
        s->n_pruned += n_roots * n_exits;
        return;
    }
    for (int e = 0; e < n_exits; e++) {
        x->exit_layer = exits[e];
        for (int r = 0; r < n_roots; r++) {
            x->roots = roots[r];
            try(s, law, x);
        }
    }
    x->exit_layer = x->roots = 0;
}

static void try_windows(hsdi_search *s, hsdi_law *law, hsdi_plan_setting *x)
{
    static const int all[WINDOW_MOST] = {1, 2, 3, 4, 5, 6, 7, 8}, powers[] = {1, 2, 4, 8};
    int windows[WINDOW_MOST];
    bool is_async = x->mode == HSD_MODE_ASYNC; // whose windows are as long as there was time
    int n_windows =
        choices_of(s->choices.window, is_async ? powers : all, is_async ? 4 : WINDOW_MOST, windows);
    for (int w = 0; w < n_windows; w++) {
        const int sizes[] = {windows[w], windows[w] + 4, windows[w] + 12};
        int trees[3], n_trees = choices_of(s->choices.tree, sizes, 3, trees);
        n_trees = s->choices.tree == 0 ? 1 : n_trees;
        for (int t = 0; t < n_trees; t++) {
            x->window = windows[w];
            x->tree = trees[t] > windows[w] && trees[t] <= HSDI_SEARCH_TREE ? trees[t] : windows[w];
            if (t > 0 && x->tree == x->window) {
                continue;
            }
            if (bound_of(s, law, x) < cut(s)) {
                s->n_pruned++;
            } else if (x->mode == HSD_MODE_MIRROR) {
                try_mirror(s, law, x);
            } else if (x->mode == HSD_MODE_SERIAL || x->tree == x->window) {
                try(s, law, x); // async lengthens a chain
            }
        }
    }
    x->window = x->tree = 0;
}

// ---- drafts ----

static void try_draft(hsdi_search *s, hsdi_plan_setting *x, bool mirror_only)
{
    static const hsd_mode modes[] = {HSD_MODE_SERIAL, HSD_MODE_MIRROR, HSD_MODE_ASYNC};
    hsdi_law law;
    bool is_pinned = s->choices.n_workers >= 0;
    if ((is_pinned && x->n_workers != s->choices.n_workers) ||
        (s->choices.power_w > 0.0 && power_of(s, x) > s->choices.power_w)) {
        return;
    }
    x->mode = HSD_MODE_SERIAL; // for the law, which finds no drafts for a target alone
    x->window = WINDOW_MOST;
    if (!hsdi_search_fits(s, x, NULL) || hsdi_law_open(s->machine, s->costs, x, &law, NULL)) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        x->mode = modes[i];
        bool is_lookup = x->draft_kind != HSD_DRAFT_MODEL;
        bool can = modes[i] == HSD_MODE_MIRROR ? !is_lookup : !mirror_only;
        if (can && mode_is_free(s, modes[i])) {
            try_windows(s, &law, x);
        }
    }
}

static void try_local(hsdi_search *s, hsdi_plan_setting *x)
{
    const hsdi_machine *m = s->machine;
    for (int i = 0; i < m->n_devices; i++) {
        int d = s->order[i], threads[MOST_THREADS];
        if ((s->choices.i_draft >= 0 && s->choices.i_draft != d) || hsdi_search_draft_bar(s, d) ||
            m->devices[d].i_host != m->devices[x->i_target].i_host) {
            continue;
        }
        int n = threads_of(s, HSDI_COST_DRAFT, d, s->choices.n_draft_threads, threads);
        for (int k = 0; k < n; k++) {
            x->n_workers = 1;
            x->i_draft[0] = d;
            x->i_worker[0] = -1;
            x->n_draft_threads = threads[k];
            try_draft(s, x, false);
        }
    }
}

static void try_lookup(hsdi_search *s, hsdi_plan_setting *x)
{
    if (s->costs->acceptance.ngram_accept > 0.0 && s->choices.i_draft < 0) {
        x->draft_kind = HSD_DRAFT_NGRAM;
        x->n_workers = 1;
        x->i_draft[0] = x->i_target;
        x->i_worker[0] = -1;
        x->n_draft_threads = 0;
        try_draft(s, x, false);
        x->draft_kind = HSD_DRAFT_MODEL;
    }
}

/// Workers that may be used, by name, and what they add to a step.
typedef struct pool {
    int n, worker[HSDI_MACHINE_WORKERS];
    double one_ns[HSDI_MACHINE_WORKERS], far_ns[HSDI_MACHINE_WORKERS];
} pool;

static void set_workers(const hsdi_search *s, const pool *p, uint64_t set, hsdi_plan_setting *x)
{
    x->n_workers = 0;
    for (int i = 0; i < p->n && x->n_workers < HSDI_PLAN_WORKERS; i++) {
        if (set >> i & 1) {
            x->i_draft[x->n_workers] = s->machine->workers[p->worker[i]].i_device;
            x->i_worker[x->n_workers++] = p->worker[i];
        }
    }
}

static void find_pool(const hsdi_search *s, hsdi_plan_setting *x, pool *out)
{
    const hsdi_machine *m = s->machine;
    out->n = 0;
    for (int i = 0; i < m->n_workers; i++) {
        const hsdi_machine_worker *w = &m->workers[s->workers[i]];
        hsdi_law law;
        bool can = w->i_draft_kind != HSD_DRAFT_NGRAM && !m->devices[w->i_device].is_forbidden &&
                   !m->devices[w->i_device].unusable[0] && s->costs->draft.n_layers > 0 &&
                   (s->choices.i_draft < 0 || s->choices.i_draft == w->i_device);
        if (!can) {
            continue;
        }
        out->worker[out->n] = s->workers[i];
        set_workers(s, &(pool){.n = 1, .worker = {s->workers[i]}}, 1, x);
        x->mode = HSD_MODE_SERIAL;
        if (hsdi_law_open(m, s->costs, x, &law, NULL) == HSD_OK) {
            out->one_ns[out->n] =
                hsdi_cost_pass(law.draft[0], s->costs->draft.n_layers, true, 1.0) *
                law.draft_slow[0];
            out->far_ns[out->n++] = law.far_ns + law.rendezvous_ns;
        }
    }
}

/// A set without those that compute on the hardware of a quicker one in it (of equals: the first).
static uint64_t apart(const hsdi_machine *m, const pool *p, uint64_t set)
{
    for (int i = 0; i < p->n; i++) {
        for (int j = 0; j < p->n; j++) {
            double one = p->one_ns[j] + p->far_ns[j], own = p->one_ns[i] + p->far_ns[i];
            bool is_before = one < own || (!(one > own) && j < i);
            bool both = i != j && set >> i & set >> j & 1;
            if (both && is_before &&
                hsdi_machine_shares_units(m, m->workers[p->worker[i]].i_device,
                                          m->workers[p->worker[j]].i_device)) {
                set &= ~(UINT64_C(1) << i);
            }
        }
    }
    return set;
}

/// Sets of several workers: all of them where they are few; else all that are no slower and no
/// farther than one of them each. More than that never help: the slowest and the farthest decide
/// what a step waits for, and everyone else takes a part of the roots.
static int find_sets(const hsdi_machine *m, const pool *p, uint64_t *sets)
{
    int n = 0;
    if (p->n <= EXHAUSTIVE_WORKERS) {
        for (uint64_t set = 1; set < UINT64_C(1) << p->n; set++) {
            if (set & (set - 1) && apart(m, p, set) == set) {
                sets[n++] = set;
            }
        }
        return n;
    }
    for (int i = 0; i < p->n; i++) {
        for (int j = 0; j < p->n && n < MOST_SETS; j++) {
            uint64_t set = 0;
            for (int k = 0; k < p->n; k++) {
                bool is_in = p->one_ns[k] <= p->one_ns[i] && p->far_ns[k] <= p->far_ns[j];
                set |= (uint64_t)is_in << k;
            }
            set = apart(m, p, set);
            bool is_new = (set & (set - 1)) != 0;
            for (int k = 0; k < n; k++) {
                is_new &= sets[k] != set;
            }
            if (is_new) {
                sets[n++] = set;
            }
        }
    }
    return n;
}

/// The first `most` of a set, quickest first: no more can be told, or are wanted.
static uint64_t trim(const pool *p, uint64_t set, int most)
{
    while (__builtin_popcountll(set) > most) {
        int slowest = -1;
        for (int i = 0; i < p->n; i++) {
            bool is_slower =
                slowest < 0 || p->one_ns[i] > p->one_ns[slowest] ||
                (!(p->one_ns[i] < p->one_ns[slowest]) && p->far_ns[i] >= p->far_ns[slowest]);
            slowest = set >> i & 1 && is_slower ? i : slowest;
        }
        set &= ~(UINT64_C(1) << slowest);
    }
    return set;
}

static void try_workers(hsdi_search *s, hsdi_plan_setting *x)
{
    pool p;
    uint64_t sets[MOST_SETS];
    int threads[MOST_THREADS];
    int pinned = s->choices.n_workers;
    int most = pinned > 0 && pinned < HSDI_PLAN_WORKERS ? pinned : HSDI_PLAN_WORKERS;
    // On the target's own host a worker's threads are to be chosen too.
    int here = -1;
    for (int i = 0; i < s->machine->n_workers; i++) {
        int d = s->machine->workers[s->workers[i]].i_device;
        bool is_near = s->machine->devices[d].i_host == s->machine->devices[x->i_target].i_host;
        here = is_near && s->machine->devices[d].type == HSDI_DEVICE_CPU ? d : here;
    }
    int n =
        here < 0 ? 0 : threads_of(s, HSDI_COST_DRAFT, here, s->choices.n_draft_threads, threads);
    threads[0] = n == 0 ? 0 : threads[0];
    for (int k = 0; k < (n > 0 ? n : 1); k++) {
        x->n_draft_threads = threads[k];
        find_pool(s, x, &p);
        for (int i = 0; i < p.n; i++) {
            set_workers(s, &p, UINT64_C(1) << i, x);
            try_draft(s, x, false);
        }
        int n_sets =
            pinned != 1 && mode_is_free(s, HSD_MODE_MIRROR) ? find_sets(s->machine, &p, sets) : 0;
        for (int i = 0; i < n_sets; i++) {
            set_workers(s, &p, trim(&p, sets[i], most), x);
            if (x->n_workers > 1) {
                try_draft(s, x, true);
            }
        }
    }
}

// ---- places of the target ----

typedef struct seat {
    hsdi_plan_setting setting;
    hsdi_law law;
    double bound;
} seat;

typedef struct seats {
    seat *all;
    int n, cap;
} seats;

static bool push(seats *list, const seat *one)
{
    if (list->n == list->cap) {
        int cap = list->cap ? 2 * list->cap : 32;
        seat *grown = realloc(list->all, (size_t)cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        list->all = grown;
        list->cap = cap;
    }
    int at = list->n++;
    while (at > 0 && list->all[at - 1].bound < one->bound) {
        list->all[at] = list->all[at - 1];
        at--;
    }
    list->all[at] = *one;
    return true;
}

/// Add a place with its bound, where it fits. False: memory.
static bool add_seat(hsdi_search *s, seats *list, const hsdi_plan_setting *x)
{
    seat one = {.setting = *x};
    bool too_hot = s->choices.power_w > 0.0 && power_of(s, x) > s->choices.power_w;
    if (too_hot || !hsdi_search_fits(s, x, NULL) ||
        hsdi_law_open(s->machine, s->costs, x, &one.law, NULL) != HSD_OK) {
        return true;
    }
    hsdi_plan_setting most = *x;
    one.bound = bound_of(s, &one.law, &most);
    most.draft_kind = HSD_DRAFT_MODEL;
    for (most.mode = HSD_MODE_SERIAL; most.mode <= HSD_MODE_MIRROR; most.mode++) {
        most.window = s->choices.window >= 1 ? s->choices.window : WINDOW_MOST;
        most.tree = s->choices.tree == 0 ? most.window : HSDI_SEARCH_TREE;
        one.bound = fmax(one.bound, bound_of(s, &one.law, &most));
    }
    one.bound = fmax(one.bound, s->costs->acceptance.ngram_accept > 0.0 ? INFINITY : 0.0);
    return push(list, &one);
}

/// Cuts of a target on two devices: where the first has as many layers as fit, and as few.
static bool add_splits(hsdi_search *s, seats *list, hsdi_plan_setting *x)
{
    int n_layers = s->costs->target.n_layers, least = 0, most = 0;
    for (int cut_at = 1; cut_at < n_layers; cut_at++) {
        x->split_layer = cut_at;
        if (hsdi_search_fits(s, x, NULL)) {
            least = least ? least : cut_at;
            most = cut_at;
        }
    }
    if (s->choices.split_layer >= 1) {
        x->split_layer = s->choices.split_layer;
        return add_seat(s, list, x);
    }
    bool ok = true;
    if (least > 0) {
        x->split_layer = most;
        ok = add_seat(s, list, x);
    }
    if (ok && least < most) {
        x->split_layer = least;
        ok = add_seat(s, list, x);
    }
    return ok;
}

/// A cut hides nothing and costs a hop, so it is tried where the target fits on no single device,
/// or where somebody wants it.
static bool add_device(hsdi_search *s, seats *list, int d, bool splits)
{
    int threads[MOST_THREADS];
    int n = threads_of(s, HSDI_COST_TARGET, d, s->choices.n_target_threads, threads);
    bool ok = true;
    for (int k = 0; k < n && ok; k++) {
        hsdi_plan_setting x = {
            .mode = HSD_MODE_AR, .i_target = d, .i_suffix = -1, .n_target_threads = threads[k]};
        for (int i = 0; splits && i < s->machine->n_devices && ok; i++) {
            int other = s->order[i];
            bool can = other != d && !hsdi_search_target_bar(s, other) &&
                       s->machine->devices[other].i_host == s->machine->devices[d].i_host &&
                       (s->choices.i_suffix < 0 || s->choices.i_suffix == other);
            x.i_suffix = other;
            ok = !can || add_splits(s, list, &x);
        }
        if (!splits) {
            ok = add_seat(s, list, &x);
        }
    }
    return ok;
}

static bool find_seats(hsdi_search *s, seats *list)
{
    bool wants_split = s->choices.i_suffix >= 0 || s->choices.split_layer >= 1;
    bool ok = true;
    for (int round = wants_split ? 1 : 0; round < 2 && list->n == 0 && ok; round++) {
        for (int i = 0; i < s->machine->n_devices && ok; i++) {
            int d = s->order[i];
            if ((s->choices.i_target < 0 || s->choices.i_target == d) &&
                !hsdi_search_target_bar(s, d)) {
                ok = add_device(s, list, d, round == 1);
            }
        }
    }
    return ok;
}

hsd_status hsdi_search_run(hsdi_search *s, hsd_error *err)
{
    seats list = {0};
    if (!find_seats(s, &list)) {
        free(list.all);
        return hsdi_fail(err, HSD_ENOMEM, "plan", "places");
    }
    for (int i = 0; i < list.n; i++) {
        try(s, &list.all[i].law, &list.all[i].setting);
    }
    for (int i = 0; i < list.n; i++) {
        hsdi_plan_setting x = list.all[i].setting;
        if (list.all[i].bound < cut(s)) {
            s->n_pruned++;
            continue;
        }
        x.draft_kind = HSD_DRAFT_MODEL;
        if (s->costs->draft.n_layers > 0) {
            try_local(s, &x);
            try_workers(s, &x);
        }
        try_lookup(s, &x);
    }
    free(list.all);
    return HSD_OK;
}
