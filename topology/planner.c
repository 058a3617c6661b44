/// Plans: what goes in is checked, the search asked, and what comes out told.
#include "topology/search.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void hsdi_plan_options_init(hsdi_plan_options *options)
{
    *options = (hsdi_plan_options){.objective = HSDI_OBJECTIVE_SPEED, .margin = 1.05};
}

double hsdi_plan_value(const hsdi_plan_options *options, hsd_mode mode, const hsdi_plan_step *step)
{
    double value = step->tokens_per_s;
    if (options->objective == HSDI_OBJECTIVE_LATENCY) {
        value = 1e9 / step->latency_ns;
    } else if (options->objective == HSDI_OBJECTIVE_ENERGY) {
        value = step->joules_per_token > 0.0 ? 1.0 / step->joules_per_token : 0.0;
    }
    return mode == HSD_MODE_AR ? value : value / options->margin;
}

static hsd_status fail_range(hsd_error *err, const char *name, int value, int low, int high)
{
    return hsdi_fail(err, HSD_EINVAL, name, "%d is not between %d and %d", value, low, high);
}

hsd_status hsdi_plan_predict(const hsdi_machine *machine, const hsdi_costs *costs,
                             const hsdi_plan_setting *x, hsdi_plan_step *out, hsd_error *err)
{
    hsdi_law law;
    bool drafts = x->mode != HSD_MODE_AR;
    if (x->mode < HSD_MODE_AR || x->mode > HSD_MODE_ASYNC) {
        return fail_range(err, "mode", (int)x->mode, HSD_MODE_AR, HSD_MODE_ASYNC);
    }
    if (drafts && (x->window < 1 || x->window > HSDI_SEARCH_WINDOW)) {
        return fail_range(err, "window", x->window, 1, HSDI_SEARCH_WINDOW);
    }
    if (drafts && (x->n_workers < 1 || x->n_workers > HSDI_PLAN_WORKERS)) {
        return fail_range(err, "n_workers", x->n_workers, 1, HSDI_PLAN_WORKERS);
    }
    if (drafts && x->tree != 0 && (x->tree < x->window || x->tree > HSDI_SEARCH_TREE)) {
        return fail_range(err, "tree", x->tree, x->window, HSDI_SEARCH_TREE);
    }
    if (x->mode == HSD_MODE_MIRROR && (x->roots < 1 || x->roots > HSDI_SEARCH_ROOTS)) {
        return fail_range(err, "roots", x->roots, 1, HSDI_SEARCH_ROOTS);
    }
    if (x->mode == HSD_MODE_MIRROR &&
        (x->exit_layer < 0 || x->exit_layer >= costs->target.n_layers)) {
        return fail_range(err, "exit_layer", x->exit_layer, 0, costs->target.n_layers - 1);
    }
    hsd_status status = hsdi_law_open(machine, costs, x, &law, err);
    if (status == HSD_OK) {
        hsdi_law_step(&law, x, out);
        hsdi_law_power(&law, out);
    }
    return status;
}

static void scale_roots(const hsdi_acceptance *from, double factor, hsdi_acceptance *to)
{
    for (int k = 0; k < HSDI_COST_ROWS; k++) {
        to->own[k] = fmin(1.0, from->own[k] * factor);
        to->both[k] = fmin(1.0, from->both[k] * factor);
        to->brief_own[k] = fmin(1.0, from->brief_own[k] * factor);
        to->brief_both[k] = fmin(1.0, from->brief_both[k] * factor);
    }
}

/// Acceptance, the same at every depth, at which a setting is worth as much as the target alone.
double hsdi_plan_break_even(const hsdi_machine *machine, const hsdi_costs *costs,
                            const hsdi_plan_options *options, const hsdi_plan_candidate *one,
                            const hsdi_plan_candidate *alone)
{
    hsdi_costs *guess = malloc(sizeof *guess);
    hsdi_law law = {0};
    double low = 0.0, high = 1.0, goal = hsdi_plan_value(options, HSD_MODE_AR, &alone->step);
    if (!guess || one->setting.mode == HSD_MODE_AR) {
        free(guess);
        return -1.0;
    }
    *guess = *costs;
    hsdi_acceptance_forget(&guess->acceptance);
    double was = costs->acceptance.accept[1];
    if (hsdi_law_open(machine, guess, &one->setting, &law, NULL) != HSD_OK) {
        free(guess);
        return -1.0;
    }
    for (int n = 0; n <= 20; n++) {
        double a = n == 0 ? 1.0 : 0.5 * (low + high);
        hsdi_plan_step step;
        guess->acceptance.ngram_accept = a;
        for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
            guess->acceptance.accept[d] = a;
        }
        // A draft that is seldom right seldom has the outcome among its roots either.
        if (was > 0.0) {
            scale_roots(&costs->acceptance, fmin(1.0, a / was), &guess->acceptance);
        }
        hsdi_law_step(&law, &one->setting, &step);
        hsdi_law_power(&law, &step);
        bool pays = hsdi_plan_value(options, HSD_MODE_AR, &step) > goal;
        if (n == 0 && !pays) {
            low = high = 2.0;
            break;
        }
        low = pays ? low : a;
        high = pays ? a : high;
    }
    free(guess);
    return high;
}

static void choose_cache(const hsdi_search *s, hsdi_plan *plan)
{
    const hsdi_cost_model *m = &s->costs->target;
    const hsdi_machine_device *d = &s->machine->devices[plan->best.setting.i_target];
    hsd_cache_type type = s->options->target_cache.type;
    const hsdi_cache_case layer = {
        .n_embd = m->n_embd,
        .n_heads = m->n_heads,
        .n_kv_heads = m->n_kv_heads,
        .d_head = m->d_head,
        .positions = m->is_rotary ? HSDI_POSITIONS_ROTARY : HSDI_POSITIONS_OTHER,
        .n_rows = plan->best.setting.window + 1,
        .gops = d->type == HSDI_DEVICE_CPU ? d->f32_gops : d->f16_gops,
        .read_gbps = d->read_gbps,
    };
    hsdi_search_needs(s, &plan->best.setting, &plan->needs);
    if (m->n_heads > 0 && m->n_kv_heads > 0 && m->d_head > 0) {
        plan->cache_wanted = hsdi_cache_layout(&layer);
        plan->cache =
            hsdi_cache_make(&layer, plan->needs.n_el > 0 ? HSDI_CACHE_EL : HSDI_CACHE_KV, type);
    }
}

static hsd_status check_inputs(const hsdi_machine *machine, const hsdi_costs *costs,
                               const hsdi_plan_options *options, hsd_error *err)
{
    const hsdi_machine_choices *c = &machine->choices;
    if (options->margin < 1.0 || !isfinite(options->margin)) {
        return hsdi_fail(err, HSD_EINVAL, "margin", "%g is below 1", options->margin);
    }
    if (costs->target.n_layers < 1) {
        return hsdi_fail(err, HSD_EINVAL, "target", "a model without layers");
    }
    const int devices[] = {c->i_target, c->i_suffix, c->i_draft};
    static const char *const names[] = {"target", "suffix", "draft"};
    for (int i = 0; i < 3; i++) {
        if (devices[i] >= machine->n_devices) {
            return hsdi_fail(err, HSD_EINVAL, names[i], "device %d of %d", devices[i],
                             machine->n_devices);
        }
    }
    if (c->window > HSDI_SEARCH_WINDOW || c->tree > HSDI_SEARCH_TREE ||
        c->roots > HSDI_SEARCH_ROOTS || c->n_workers > HSDI_PLAN_WORKERS) {
        return hsdi_fail(err, HSD_EINVAL, "choices",
                         "window %d, tree %d, roots %d, workers %d: one is too large", c->window,
                         c->tree, c->roots, c->n_workers);
    }
    return HSD_OK;
}

static bool has_any_table(const hsdi_search *s)
{
    return s->costs->n_tables > 0;
}

/// Where the target fits nowhere: the device that lacks least. HSD_OK: it fits somewhere.
static hsd_status fail_short(const hsdi_search *s, hsd_error *err)
{
    hsdi_shortage lacks, least = {0};
    int i_least = -1;
    for (int i = 0; i < s->machine->n_devices; i++) {
        int d = s->order[i];
        const hsdi_plan_setting x = {.mode = HSD_MODE_AR, .i_target = d, .i_suffix = -1};
        bool is_free = s->choices.i_target < 0 || s->choices.i_target == d;
        if (!is_free || hsdi_search_target_bar(s, d)) {
            continue;
        }
        if (hsdi_search_fits(s, &x, &lacks)) {
            return HSD_OK;
        }
        int64_t missing = lacks.need_bytes - lacks.have_bytes;
        if (i_least < 0 || missing < least.need_bytes - least.have_bytes) {
            least = lacks;
            i_least = d;
        }
    }
    if (i_least < 0) {
        return HSD_OK;
    }
    char text[HSDI_SHORTAGE_TEXT];
    const char *name = s->machine->devices[i_least].name;
    hsdi_shortage_tell(&least, "the target", name, text);
    return hsdi_fail(err, HSD_EUNSUPPORTED, name, "%s", text);
}

/// EL-attention for a model that has none is refused, as an engine does.
static hsd_status check_layouts(const hsdi_search *s, hsd_error *err)
{
    const struct {
        const char *name;
        const hsdi_plan_caching *how;
        const hsdi_cost_model *model;
    } all[] = {{"cache", &s->options->target_cache, &s->costs->target},
               {"draft_cache", &s->options->draft_cache, &s->costs->draft}};
    for (int i = 0; i < 2; i++) {
        if (all[i].how->layout == HSD_CACHE_LAYOUT_EL && all[i].model->n_layers > 0 &&
            !hsdi_search_has_el(s, (hsdi_cost_role)i)) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, all[i].name,
                             "el needs a model without rotary positions whose heads share no keys");
        }
    }
    return HSD_OK;
}

static hsd_status fail_impossible(const hsdi_search *s, hsd_error *err)
{
    for (int i = 0; i < s->machine->n_devices; i++) {
        int d = s->order[i];
        const char *why = hsdi_search_target_bar(s, d);
        if (why && s->machine->n_devices > 0 && !has_any_table(s)) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, s->machine->devices[d].name,
                             "%s: measure this machine (hsd topo --measure), or describe "
                             "its rates",
                             why);
        }
    }
    hsd_status status = fail_short(s, err);
    return status != HSD_OK
               ? status
               : hsdi_fail(
                     err, HSD_EUNSUPPORTED, "plan",
                     "no device and mode is left by what is forbidden, pinned, limited or unknown");
}

hsd_status hsdi_plan_make(const hsdi_machine *machine, const hsdi_costs *costs,
                          const hsdi_plan_options *options, hsdi_plan *out, hsd_error *err)
{
    hsd_status status = check_inputs(machine, costs, options, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_search *s = malloc(sizeof *s);
    if (!s) {
        return hsdi_fail(err, HSD_ENOMEM, "plan", "search");
    }
    hsdi_search_init(s, machine, costs, options);
    status = check_layouts(s, err);
    status = status == HSD_OK ? hsdi_search_run(s, err) : status;
    if (status == HSD_OK && s->n_kept == 0) {
        status = fail_impossible(s, err);
    }
    if (status == HSD_OK) {
        memset(out, 0, sizeof *out);
        out->best = s->kept[0].candidate;
        out->alone = s->has_alone ? s->alone.candidate : s->kept[0].candidate;
        out->n_runners_up = s->n_kept - 1;
        for (int i = 1; i < s->n_kept; i++) {
            out->runners_up[i - 1] = s->kept[i].candidate;
        }
        out->break_even = hsdi_plan_break_even(machine, costs, options, &out->best, &out->alone);
        out->n_tried = s->n_tried;
        out->n_pruned = s->n_pruned;
        choose_cache(s, out);
        hsdi_plan_explain(s, out);
    }
    free(s);
    return status;
}
