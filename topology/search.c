/// The search: places for the target, best bound first; on each every draft; for each every window.
///
/// A place's bound is what its passes alone would give with the most tokens that any window brings:
/// what cannot reach the worst of the kept settings is left out. Devices and workers are taken in
/// the order of their names, and the first of equals stays, so that their order in the machine
/// means nothing.
#include "topology/search.h"

#include "base/error.h"
#include "topology/extremes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/// Settings worse than so many kept ones are left out; others that were met are runners-up too.
enum { SEARCH_WANTED = 3 };

// ---- names, rules ----

void hsdi_search_reset(hsdi_search *s)
{
    s->choices = s->machine->choices;
    s->n_kept = 0;
    s->has_alone = false;
    s->n_tried = s->n_pruned = 0;
    s->asked = 0;
    for (int mode = 0; mode < HSDI_SEARCH_MODES; mode++) {
        s->of_mode[mode].value = 0.0;
    }
}

void hsdi_search_init(hsdi_search *s, const hsdi_machine *machine, const hsdi_costs *costs,
                      const hsdi_plan_options *options)
{
    memset(s, 0, sizeof *s);
    s->machine = machine;
    s->costs = costs;
    s->options = options;
    hsdi_law_known_init(&s->known, machine);
    hsdi_search_reset(s);
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
int hsdi_search_threads(const hsdi_search *s, hsdi_cost_role role, int i_device, int pinned,
                        int out[HSDI_SEARCH_THREADS])
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
        if (is_new && n < HSDI_SEARCH_THREADS) {
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

bool hsdi_search_mode_is_free(const hsdi_search *s, hsd_mode mode)
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

static void keep(hsdi_search *s, const hsdi_law *law, const hsdi_plan_setting *x,
                 const hsdi_plan_step *step, double value)
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
    hsdi_law_power(law, &s->kept[last].candidate.step);
}

/// Far behind the best nothing is of interest, unless somebody asks.
double hsdi_search_cut(const hsdi_search *s, hsd_mode mode)
{
    if (s->asked >> mode & 1) {
        return s->of_mode[mode].value;
    }
    double best = 0.0;
    for (int m = 0; m < HSDI_SEARCH_MODES && s->asked; m++) {
        best = hsdi_larger(best, s->of_mode[m].value);
    }
    if (s->asked) {
        return best;
    }
    best = s->n_kept > 0 ? 0.7 * s->kept[0].value : 0.0;
    return s->n_kept >= SEARCH_WANTED ? hsdi_larger(best, s->kept[SEARCH_WANTED - 1].value) : best;
}

/// All devices that take part, each once.
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

bool hsdi_search_is_too_hot(const hsdi_search *s, const hsdi_plan_setting *x)
{
    return s->choices.power_w > 0.0 && power_of(s, x) > s->choices.power_w;
}

void hsdi_search_try(hsdi_search *s, hsdi_law *law, const hsdi_plan_setting *x)
{
    hsdi_plan_step step;
    hsdi_law_step(law, x, &step);
    if (s->options->objective == HSDI_OBJECTIVE_ENERGY) {
        hsdi_law_power(law, &step);
    }
    s->n_tried++;
    double value = hsdi_plan_value(s->options, x->mode, &step);
    double worst = s->asked                       ? s->of_mode[x->mode].value
                   : s->n_kept < HSDI_SEARCH_KEPT ? 0.0
                                                  : s->kept[HSDI_SEARCH_KEPT - 1].value;
    bool is_news = x->mode == HSD_MODE_AR || value > worst;
    if (!(value > 0.0) || !isfinite(value) || !is_news) {
        return;
    }
    if (x->mode == HSD_MODE_AR && (!s->has_alone || value > s->alone.value)) {
        s->alone = (hsdi_kept){{*x, step}, value};
        hsdi_law_power(law, &s->alone.candidate.step);
        s->has_alone = true;
    }
    if (hsdi_search_mode_is_free(s, x->mode) && s->asked) {
        s->of_mode[x->mode] = (hsdi_kept){{*x, step}, value};
        hsdi_law_power(law, &s->of_mode[x->mode].candidate.step);
    } else if (hsdi_search_mode_is_free(s, x->mode)) {
        keep(s, law, x, &step, value);
    }
}

// ---- places of the target ----

typedef struct seat {
    hsdi_plan_setting setting;
    double bound[HSDI_SEARCH_MODES], most; ///< most that a mode is worth there; any of them
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
    while (at > 0 && list->all[at - 1].most < one->most) {
        list->all[at] = list->all[at - 1];
        at--;
    }
    list->all[at] = *one;
    return true;
}

/// The law of a place, of whose passes nothing is known yet.
static bool enter(hsdi_search *s, const hsdi_plan_setting *x, hsdi_law *out)
{
    memset(&s->known.passes, 0, sizeof s->known.passes);
    memset(s->bounds[HSD_DRAFT_MODEL], 0, sizeof s->bounds[HSD_DRAFT_MODEL]);
    memset(s->most, 0, sizeof s->most);
    if (s->costs->acceptance.ngram_accept > 0.0) {
        memset(s->bounds[HSD_DRAFT_NGRAM], 0, sizeof s->bounds[HSD_DRAFT_NGRAM]);
    }
    bool ok = hsdi_law_place(s->machine, s->costs, x, out, NULL) == HSD_OK;
    out->known = &s->known;
    return ok;
}

/// Add a place with its bounds, where it fits, and try the target alone. False: memory.
static bool add_seat(hsdi_search *s, seats *list, const hsdi_plan_setting *x)
{
    seat one = {.setting = *x};
    hsdi_law law;
    if (hsdi_search_is_too_hot(s, x) || !hsdi_search_fits(s, x, NULL) || !enter(s, x, &law)) {
        return true;
    }
    bool has_lookup = s->costs->acceptance.ngram_accept > 0.0;
    hsdi_plan_setting most = *x;
    for (most.mode = HSD_MODE_SERIAL; most.mode <= HSD_MODE_ASYNC; most.mode++) {
        double *bound = &one.bound[most.mode];
        most.draft_kind = HSD_DRAFT_MODEL;
        *bound = hsdi_search_bound(s, &law, &most);
        most.draft_kind = HSD_DRAFT_NGRAM;
        *bound = has_lookup ? hsdi_larger(*bound, hsdi_search_bound(s, &law, &most)) : *bound;
        one.most = hsdi_larger(one.most, *bound);
    }
    hsdi_search_try(s, &law, x);
    return push(list, &one);
}

/// Can any mode there be worth as much as what is kept?
static bool is_hopeful(const hsdi_search *s, const seat *one)
{
    bool can = false;
    for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_ASYNC; mode++) {
        can |= hsdi_search_mode_is_free(s, (hsd_mode)mode) &&
               one->bound[mode] >= hsdi_search_cut(s, (hsd_mode)mode);
    }
    return can;
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
    int threads[HSDI_SEARCH_THREADS];
    int n = hsdi_search_threads(s, HSDI_COST_TARGET, d, s->choices.n_target_threads, threads);
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
        hsdi_plan_setting x = list.all[i].setting;
        hsdi_law place;
        if (is_hopeful(s, &list.all[i]) && enter(s, &x, &place)) {
            hsdi_search_drafts(s, &place, &x);
        } else {
            s->n_pruned++;
        }
    }
    free(list.all);
    return HSD_OK;
}
