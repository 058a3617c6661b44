/// Drafts for a place of the target, and windows for each.
///
/// Chances and passes depend on windows and places alone, so they are computed once for all drafts
/// of a place. What cannot be worth as much as what is kept is left out: first by the target's
/// passes alone, then by the best that a mode could make of them with this draft.
#include "topology/search.h"

#include "topology/extremes.h"

#include <math.h>

enum { WINDOW_MOST = 8, TREES = 3 };

// ---- bounds ----

/// Tokens of a step in no more time than the target's pass.
static double value_of_pass(const hsdi_search *s, const hsdi_law *place, const hsdi_plan_setting *x)
{
    int n_more = x->tree > x->window ? x->tree - x->window : 0;
    hsdi_plan_step step = {.total_ns = hsdi_law_pass(place, x->window + 1 + n_more),
                           .tokens = hsdi_law_most_tokens(place, x)};
    step.latency_ns = step.total_ns;
    step.tokens_per_s = step.tokens / step.total_ns * 1e9;
    if (s->options->objective == HSDI_OBJECTIVE_ENERGY) {
        double watts = s->machine->devices[x->i_target].busy_w;
        step.joules_per_token = watts * step.total_ns * 1e-9 / step.tokens;
        if (x->i_suffix >= 0 || watts <= 0.0) {
            return INFINITY;
        }
    }
    return hsdi_plan_value(s->options, x->mode, &step);
}

/// No step with these windows on that place is worth more. In serial mode every pass has the whole
/// window; else shorter ones come between, and the best length bounds any mixture of them.
static double bound_of(hsdi_search *s, const hsdi_law *place, const hsdi_plan_setting *x)
{
    int n_more = x->tree > x->window ? x->tree - x->window : 0;
    int n = x->mode == HSD_MODE_SERIAL ? x->window : 0;
    double *known = &s->bounds[x->draft_kind][x->mode][x->window][n_more];
    hsdi_plan_setting y = *x;
    for (; n <= x->window && !(*known > 0.0); n++) {
        double *shorter = &s->bounds[x->draft_kind][x->mode][n > 0 ? n - 1 : 0][n_more];
        double *this = &s->bounds[x->draft_kind][x->mode][n][n_more];
        y.window = n;
        y.tree = n + n_more;
        if (!(*this > 0.0)) {
            double own = value_of_pass(s, place, &y);
            *this = x->mode == HSD_MODE_SERIAL ? own : hsdi_larger(own, *shorter);
        }
    }
    return *known;
}

// ---- windows ----

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

/// Trees for a window; the window itself for none.
static int trees_of(const hsdi_search *s, hsd_mode mode, int window, int out[TREES])
{
    const int sizes[TREES] = {window, window + 4, window + 12};
    int trees[TREES], n_trees = choices_of(s->choices.tree, sizes, TREES, trees), n = 0;
    n_trees = s->choices.tree == 0 || mode == HSD_MODE_ASYNC ? 1 : n_trees; // that has chains
    for (int t = 0; t < n_trees; t++) {
        bool is_tree = mode != HSD_MODE_ASYNC && s->choices.tree != 0 && trees[t] > window &&
                       trees[t] <= HSDI_SEARCH_TREE;
        if (is_tree || t == 0) {
            out[n++] = is_tree ? trees[t] : window;
        }
    }
    return n;
}

static int windows_of(const hsdi_search *s, hsd_mode mode, int out[WINDOW_MOST])
{
    static const int all[WINDOW_MOST] = {1, 2, 3, 4, 5, 6, 7, 8}, powers[] = {1, 2, 4, 8};
    bool is_async = mode == HSD_MODE_ASYNC; // whose windows are as long as there was time
    return choices_of(s->choices.window, is_async ? powers : all, is_async ? 4 : WINDOW_MOST, out);
}

double hsdi_search_bound(hsdi_search *s, const hsdi_law *place, const hsdi_plan_setting *x)
{
    double *most = &s->most[x->draft_kind][x->mode], best = 0.0;
    if (*most > 0.0) {
        return *most;
    }
    int windows[WINDOW_MOST], n_windows = windows_of(s, x->mode, windows), trees[TREES];
    for (int w = 0; w < n_windows; w++) {
        int n_trees = trees_of(s, x->mode, windows[w], trees);
        hsdi_plan_setting y = *x;
        for (int t = 0; t < n_trees; t++) {
            y.window = windows[w];
            y.tree = trees[t];
            best = hsdi_larger(best, bound_of(s, place, &y));
        }
    }
    return *most = best;
}

static bool is_hopeless(hsdi_search *s, hsdi_law *law, const hsdi_plan_setting *x)
{
    hsdi_plan_step hopeful;
    if (s->options->objective == HSDI_OBJECTIVE_ENERGY) {
        return false;
    }
    hsdi_law_hopeful(law, x, &hopeful);
    return hsdi_plan_value(s->options, x->mode, &hopeful) < hsdi_search_cut(s, x->mode);
}

static void try_roots(hsdi_search *s, hsdi_law *law, hsdi_plan_setting *x)
{
    static const int all[] = {1, 2, 4, 8, 16, 32, 64};
    int roots[8], n_roots = choices_of(s->choices.roots, all, 7, roots);
    for (int r = 0; r < n_roots; r++) {
        x->roots = roots[r];
        if (r % 3 == 0 && is_hopeless(s, law, x)) { // no more of them is better either
            s->n_pruned += n_roots - r;
            break;
        }
        if (roots[r] > HSDI_USUAL_ROOTS && s->options->draft_cells &&
            !hsdi_search_fits(s, x, NULL)) {
            break; // more of them need more cells
        }
        hsdi_search_try(s, law, x);
    }
    x->roots = 0;
}

static void try_tree(hsdi_search *s, hsdi_law *law, hsdi_plan_setting *x, const int *exits,
                     int n_exits)
{
    if (bound_of(s, law, x) < hsdi_search_cut(s, x->mode)) {
        s->n_pruned++;
    } else if (x->mode != HSD_MODE_MIRROR) {
        hsdi_search_try(s, law, x);
    } else {
        for (int e = 0; e < n_exits; e++) {
            x->exit_layer = exits[e];
            try_roots(s, law, x);
        }
    }
}

static void try_windows(hsdi_search *s, hsdi_law *law, hsdi_plan_setting *x)
{
    int windows[WINDOW_MOST], n_windows = windows_of(s, x->mode, windows), trees[TREES];
    int exits[HSDI_PLAN_EXITS + 1], n_exits = exits_of(s, exits);
    for (int w = 0; w < n_windows; w++) {
        int n_trees = trees_of(s, x->mode, windows[w], trees);
        x->exit_layer = x->mode == HSD_MODE_MIRROR ? exits[0] : 0;
        x->window = windows[w];
        x->tree = trees[n_trees - 1]; // the largest
        if (x->mode != HSD_MODE_SERIAL && is_hopeless(s, law, x)) {
            s->n_pruned += n_trees;
            continue;
        }
        for (int t = 0; t < n_trees; t++) {
            x->tree = trees[t];
            try_tree(s, law, x, exits, n_exits);
        }
    }
    x->window = WINDOW_MOST; // as where drafts are looked up
    x->tree = x->exit_layer = 0;
}

// ---- drafts ----

static void try_draft(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x,
                      const hsdi_law_draft *drafts, bool mirror_only)
{
    static const hsd_mode modes[] = {HSD_MODE_SERIAL, HSD_MODE_MIRROR, HSD_MODE_ASYNC};
    hsdi_law law;
    bool is_pinned = s->choices.n_workers >= 0, is_open = false;
    if ((is_pinned && x->n_workers != s->choices.n_workers) || hsdi_search_is_too_hot(s, x) ||
        !hsdi_search_fits(s, x, NULL)) {
        return;
    }
    for (int i = 0; i < 3; i++) {
        x->mode = modes[i];
        bool is_lookup = x->draft_kind != HSD_DRAFT_MODEL;
        bool can = modes[i] == HSD_MODE_MIRROR ? !is_lookup : !mirror_only;
        if (!can || !hsdi_search_mode_is_free(s, modes[i])) {
            continue;
        }
        if (hsdi_search_bound(s, place, x) < hsdi_search_cut(s, modes[i])) {
            s->n_pruned++;
            continue;
        }
        if (!is_open) {
            hsdi_law_join(place, drafts, x->n_workers, &law);
            is_open = true;
        }
        try_windows(s, &law, x);
    }
    x->mode = HSD_MODE_SERIAL; // for what looks for drafts: a target alone has none
}

static void try_local(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x)
{
    const hsdi_machine *m = s->machine;
    for (int i = 0; i < m->n_devices; i++) {
        int d = s->order[i], threads[HSDI_SEARCH_THREADS];
        if ((s->choices.i_draft >= 0 && s->choices.i_draft != d) || hsdi_search_draft_bar(s, d) ||
            m->devices[d].i_host != m->devices[x->i_target].i_host) {
            continue;
        }
        int n = hsdi_search_threads(s, HSDI_COST_DRAFT, d, s->choices.n_draft_threads, threads);
        for (int k = 0; k < n; k++) {
            hsdi_law_draft draft;
            x->n_workers = 1;
            x->i_draft[0] = d;
            x->i_worker[0] = -1;
            x->n_draft_threads = threads[k];
            if (hsdi_law_find_draft(place, x, 0, &draft, NULL) == HSD_OK) {
                try_draft(s, place, x, &draft, false);
            }
        }
    }
}

static void try_lookup(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x)
{
    hsdi_law_draft draft;
    if (s->costs->acceptance.ngram_accept > 0.0 && s->choices.i_draft < 0) {
        x->draft_kind = HSD_DRAFT_NGRAM;
        x->n_workers = 1;
        x->i_draft[0] = x->i_target;
        x->i_worker[0] = -1;
        x->n_draft_threads = 0;
        if (hsdi_law_find_draft(place, x, 0, &draft, NULL) == HSD_OK) {
            try_draft(s, place, x, &draft, false);
        }
        x->draft_kind = HSD_DRAFT_MODEL;
    }
}

/// On the target's own host a worker's threads are to be chosen too.
static int worker_threads(const hsdi_search *s, int i_target, int threads[HSDI_SEARCH_THREADS])
{
    const hsdi_machine *m = s->machine;
    int here = -1;
    for (int i = 0; i < m->n_workers; i++) {
        int d = m->workers[s->workers[i]].i_device;
        bool is_near = m->devices[d].i_host == m->devices[i_target].i_host;
        here = is_near && m->devices[d].type == HSDI_DEVICE_CPU ? d : here;
    }
    int n = here < 0 ? 0
                     : hsdi_search_threads(s, HSDI_COST_DRAFT, here, s->choices.n_draft_threads,
                                           threads);
    threads[0] = n == 0 ? 0 : threads[0];
    return n > 0 ? n : 1;
}

static void try_workers(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x)
{
    hsdi_pool p;
    hsdi_law_draft drafts[HSDI_PLAN_WORKERS];
    uint64_t sets[HSDI_SEARCH_SETS];
    int threads[HSDI_SEARCH_THREADS];
    int pinned = s->choices.n_workers;
    int most = pinned > 0 && pinned < HSDI_PLAN_WORKERS ? pinned : HSDI_PLAN_WORKERS;
    int n = s->machine->n_workers > 0 ? worker_threads(s, x->i_target, threads) : 0;
    for (int k = 0; k < n; k++) {
        x->n_draft_threads = threads[k];
        hsdi_pool_find(s, place, x, &p);
        for (int i = 0; i < p.n; i++) {
            (void)hsdi_pool_take(s, &p, UINT64_C(1) << i, x, drafts);
            try_draft(s, place, x, drafts, false);
        }
        bool several = pinned != 1 && hsdi_search_mode_is_free(s, HSD_MODE_MIRROR);
        int n_sets = several ? hsdi_pool_sets(&p, sets) : 0;
        for (int i = 0; i < n_sets; i++) {
            if (hsdi_pool_take(s, &p, hsdi_pool_trim(&p, sets[i], most), x, drafts) > 1) {
                try_draft(s, place, x, drafts, true);
            }
        }
    }
}

void hsdi_search_drafts(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x)
{
    x->mode = HSD_MODE_SERIAL;
    x->window = WINDOW_MOST;
    x->draft_kind = HSD_DRAFT_MODEL;
    if (s->costs->draft.n_layers > 0) {
        try_local(s, place, x);
        try_workers(s, place, x);
    }
    try_lookup(s, place, x);
}
