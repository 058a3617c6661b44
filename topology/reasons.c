/// Why the plan is what it is: a sentence per device that is not used, per mode that lost, and on
/// what would change the plan. Numbers come from the same law, by asking again with one thing
/// fixed.
#include "topology/search.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct teller {
    const hsdi_search *done;
    hsdi_plan *plan;
    hsdi_search *again;
} teller;

/// The public hsd_mode_name belongs to the engine, which this folder does not see.
static const char *mode_name(hsd_mode mode)
{
    static const char *const names[] = {"auto", "ar", "serial", "mirror", "async"};
    return names[mode];
}

__attribute__((format(printf, 2, 3))) static void say(teller *t, const char *format, ...)
{
    if (t->plan->n_reasons < HSDI_PLAN_REASONS) {
        va_list args;
        va_start(args, format);
        char *out = t->plan->reasons[t->plan->n_reasons++];
        (void)vsnprintf(out, sizeof t->plan->reasons[0], format, args);
        va_end(args);
    }
}

/// "45.1 tokens/s", by the objective.
static const char *worth(const teller *t, const hsdi_plan_step *step, char out[32])
{
    switch (t->done->options->objective) {
    case HSDI_OBJECTIVE_LATENCY:
        (void)snprintf(out, 32, "%.3f ms a token", step->latency_ns * 1e-6);
        break;
    case HSDI_OBJECTIVE_ENERGY:
        (void)snprintf(out, 32, "%.3f J a token", step->joules_per_token);
        break;
    default:
        (void)snprintf(out, 32, "%.1f tokens/s", step->tokens_per_s);
        break;
    }
    return out;
}

static const char *name_of(const teller *t, int i_device)
{
    return t->done->machine->devices[i_device].name;
}

/// Search again with the plan's target: the best of each of some modes (bits), and of all, with a
/// draft device (-1: any). They are in again->of_mode.
static void ask(teller *t, unsigned modes, unsigned forbidden, int i_draft)
{
    hsdi_search *s = t->again;
    hsdi_search_reset(s);
    const hsdi_plan_setting *best = &t->plan->best.setting;
    s->choices.i_target = best->i_target;
    s->choices.i_suffix = best->i_suffix;
    s->choices.split_layer = best->i_suffix >= 0 ? best->split_layer : s->choices.split_layer;
    s->choices.mode = HSD_MODE_AUTO;
    s->asked = modes;
    if (i_draft >= 0) {
        s->choices.i_draft = i_draft;
        s->choices.n_workers = s->choices.n_workers >= 0 ? s->choices.n_workers : 1;
        s->choices.n_draft_threads = -1;
    }
    s->choices.forbidden_modes |= forbidden | 1u << HSD_MODE_AR;
    hsd_status status = hsdi_search_run(s, NULL);
    t->plan->n_told += s->n_tried;
    if (status != HSD_OK) {
        hsdi_search_reset(s);
    }
}

static const hsdi_plan_candidate *answer(const teller *t, hsd_mode mode)
{
    const hsdi_kept *one = &t->again->of_mode[mode];
    return one->value > 0.0 ? &one->candidate : NULL;
}

static const hsdi_plan_candidate *best_answer(const teller *t)
{
    const hsdi_kept *best = &t->again->of_mode[HSD_MODE_SERIAL];
    for (int mode = HSD_MODE_MIRROR; mode <= HSD_MODE_ASYNC; mode++) {
        const hsdi_kept *one = &t->again->of_mode[mode];
        best = one->value > best->value ? one : best;
    }
    return best->value > 0.0 ? &best->candidate : NULL;
}

static bool is_used(const hsdi_plan_setting *x, int i_device)
{
    bool used = x->i_target == i_device || x->i_suffix == i_device;
    for (int i = 0; i < x->n_workers; i++) {
        used |= x->i_draft[i] == i_device;
    }
    return used;
}

static bool is_served(const hsdi_machine *m, int i_device)
{
    for (int i = 0; i < m->n_workers; i++) {
        if (m->workers[i].i_device == i_device) {
            return true;
        }
    }
    return false;
}

/// As the target, alone; false: not possible.
static bool alone_on(const teller *t, int i_device, hsdi_plan_step *out)
{
    const hsdi_costs *costs = t->done->costs;
    bool any = false;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *table = &costs->tables[i];
        const hsdi_plan_setting x = {.mode = HSD_MODE_AR,
                                     .i_target = i_device,
                                     .i_suffix = -1,
                                     .n_target_threads = table->n_threads};
        hsdi_plan_step step;
        if (table->role == HSDI_COST_TARGET && table->i_device == i_device &&
            hsdi_plan_predict(t->done->machine, costs, &x, &step, NULL) == HSD_OK &&
            (!any || step.total_ns < out->total_ns)) {
            *out = step;
            any = true;
        }
    }
    return any;
}

static void put_size(int64_t n_bytes, char out[24])
{
    double kib = (double)n_bytes / 1024.0, mib = kib / 1024.0;
    bool is_gib = mib >= 1024.0, is_mib = mib >= 1.0;
    (void)snprintf(out, 24, "%.1f %s",
                   is_gib   ? mib / 1024.0
                   : is_mib ? mib
                            : kib,
                   is_gib   ? "GiB"
                   : is_mib ? "MiB"
                            : "KiB");
}

void hsdi_shortage_tell(const hsdi_shortage *lacks, const char *who, const char *device,
                        char out[HSDI_SHORTAGE_TEXT])
{
    char need[24], have[24];
    put_size(lacks->need_bytes, need);
    put_size(lacks->have_bytes, have);
    if (!lacks->name) {
        (void)snprintf(out, HSDI_SHORTAGE_TEXT, "caches with %s need %s, the limit is %s", who,
                       need, have);
    } else if (strcmp(lacks->name, device) == 0) {
        (void)snprintf(out, HSDI_SHORTAGE_TEXT, "%s needs %s there, it has %s", who, need, have);
    } else {
        (void)snprintf(out, HSDI_SHORTAGE_TEXT, "with %s %.24s needs %s, it has %s", who,
                       lacks->name, need, have);
    }
}

/// Does the plan's target leave no memory for a draft on a device?
static bool lacks_for_draft(const teller *t, int d, char out[HSDI_SHORTAGE_TEXT])
{
    const hsdi_plan_setting *best = &t->plan->best.setting;
    hsdi_shortage lacks;
    hsdi_plan_setting x = *best;
    x.mode = HSD_MODE_SERIAL;
    x.draft_kind = HSD_DRAFT_MODEL;
    x.n_workers = 1;
    x.i_draft[0] = d;
    x.i_worker[0] = -1;
    x.roots = 0;
    if (hsdi_search_draft_bar(t->done, d) || hsdi_search_fits(t->done, &x, &lacks)) {
        return false;
    }
    hsdi_shortage_tell(&lacks, "the draft", name_of(t, d), out);
    return true;
}

/// What keeps the target from a device, for the end of a sentence.
static void tell_as_target(const teller *t, int d, char out[128])
{
    const hsdi_plan_setting x = {.mode = HSD_MODE_AR, .i_target = d, .i_suffix = -1};
    hsdi_shortage lacks;
    hsdi_plan_step step = {0};
    char text[32];
    out[0] = 0;
    if (hsdi_search_target_bar(t->done, d)) {
        return;
    }
    if (!hsdi_search_fits(t->done, &x, &lacks)) {
        char why[HSDI_SHORTAGE_TEXT];
        hsdi_shortage_tell(&lacks, "the target", name_of(t, d), why);
        (void)snprintf(out, 128, "; %s", why);
    } else if (alone_on(t, d, &step)) {
        (void)snprintf(out, 128, "; as the target alone %s", worth(t, &step, text));
    }
}

static bool does_target_fit(const teller *t, int d)
{
    const hsdi_plan_setting x = {.mode = HSD_MODE_AR, .i_target = d, .i_suffix = -1};
    return hsdi_search_fits(t->done, &x, NULL);
}

/// Memory that keeps drafts from the devices that are left, if it does.
static bool is_draft_kept_out(const teller *t, char out[2 * HSDI_SHORTAGE_TEXT])
{
    const hsdi_machine *m = t->done->machine;
    char why[HSDI_SHORTAGE_TEXT];
    for (int i = 0; i < m->n_devices; i++) {
        int d = t->done->order[i];
        if (lacks_for_draft(t, d, why)) {
            (void)snprintf(out, 2 * HSDI_SHORTAGE_TEXT, "on %.48s %s", name_of(t, d), why);
            return true;
        }
    }
    return false;
}

static void tell_device(teller *t, int d)
{
    const hsdi_machine *m = t->done->machine;
    const hsdi_machine_choices *c = &t->done->choices;
    const hsdi_plan_candidate *best = &t->plan->best;
    const char *bar = hsdi_search_draft_bar(t->done, d);
    char as_target[128], one[32], two[32], lacks[HSDI_SHORTAGE_TEXT];
    if (bar && (!is_served(m, d) || m->devices[d].is_forbidden)) {
        const char *why = hsdi_search_target_bar(t->done, d);
        tell_as_target(t, d, as_target);
        if (!why && !does_target_fit(t, d)) { // memory is reason enough
            say(t, "%s not used: %s", name_of(t, d), as_target + 2);
            return;
        }
        say(t, "%s not used: %s%s", name_of(t, d), why ? why : bar, as_target);
        return;
    }
    if (c->i_draft >= 0 && c->i_target >= 0) {
        say(t, "%s not used: others are pinned", name_of(t, d));
        return;
    }
    tell_as_target(t, d, as_target);
    if (!bar && lacks_for_draft(t, d, lacks)) {
        say(t, "%s not used: %s%s", name_of(t, d), lacks, as_target);
        return;
    }
    if (c->i_draft < 0) {
        ask(t, 1u << HSD_MODE_MIRROR, 0, d);
    }
    const hsdi_plan_candidate *with = c->i_draft >= 0 ? NULL : answer(t, HSD_MODE_MIRROR);
    if (with && with->step.draft_ns > with->step.suffix_ns &&
        with->step.tokens_per_s < best->step.tokens_per_s) {
        say(t, "%s not used: its draft step of %.3g ms exceeds the suffix's %.3g ms, %s%s",
            name_of(t, d), with->step.draft_ns * 1e-6, with->step.suffix_ns * 1e-6,
            worth(t, &with->step, one), as_target);
        return;
    }
    with = c->i_draft >= 0 ? NULL : best_answer(t);
    if (with) {
        say(t, "%s not used: drafting there gives %s (%s, window %d), the plan %s%s", name_of(t, d),
            worth(t, &with->step, one), mode_name(with->setting.mode), with->setting.window,
            worth(t, &best->step, two), as_target);
    } else {
        say(t, "%s not used: no draft is possible there with what is decided%s", name_of(t, d),
            as_target);
    }
}

static void tell_mode(teller *t, hsd_mode mode)
{
    const hsdi_search *done = t->done;
    const hsdi_plan_candidate *best = &t->plan->best;
    char one[32], two[32], drafts[80];
    if (mode == best->setting.mode) {
        return;
    }
    if (done->choices.forbidden_modes & 1u << mode) {
        say(t, "mode %s not chosen: it is forbidden", mode_name(mode));
        return;
    }
    if (done->choices.mode != HSD_MODE_AUTO) {
        return;
    }
    const hsdi_plan_candidate *other = mode == HSD_MODE_AR ? &t->plan->alone : answer(t, mode);
    char short_of[2 * HSDI_SHORTAGE_TEXT];
    if (!other && is_draft_kept_out(t, short_of)) {
        say(t, "mode %s not chosen: %.150s", mode_name(mode), short_of);
        return;
    }
    if (!other) {
        say(t, "mode %s not chosen: no draft can serve it", mode_name(mode));
        return;
    }
    if (mode == HSD_MODE_AR) {
        say(t, "mode ar not chosen: %s, the plan %s", worth(t, &other->step, one),
            worth(t, &best->step, two));
        return;
    }
    double even =
        hsdi_plan_break_even(done->machine, done->costs, done->options, other, &t->plan->alone);
    (void)snprintf(drafts, sizeof drafts, "%s", name_of(t, other->setting.i_draft[0]));
    char pays[64] = "at no acceptance faster than the target alone";
    if (even <= 1.0) {
        (void)snprintf(pays, sizeof pays, "faster than the target alone from acceptance %.2f",
                       even);
    }
    say(t, "mode %s not chosen: %s at best (draft on %.40s, window %d), the plan %s; %s",
        mode_name(mode), worth(t, &other->step, one), drafts, other->setting.window,
        worth(t, &best->step, two), pays);
}

static void tell_rest(teller *t)
{
    hsdi_plan *plan = t->plan;
    const hsdi_acceptance *a = &t->done->costs->acceptance;
    if (plan->break_even > 1.0) {
        say(t, "no acceptance would make this faster than the target alone");
    } else if (plan->break_even >= 0.0) {
        say(t, "the plan pays from an acceptance of %.2f at every depth; %s %.2f at the first",
            plan->break_even, a->n_seen > 0.0 ? "seen was" : "assumed is", a->accept[1]);
    }
    bool other =
        plan->cache_wanted.kind != plan->cache.kind || plan->cache_wanted.type != plan->cache.type;
    if (plan->cache_wanted.token_bytes > 0 && other) {
        say(t, "cache %s in %s: the table says %s in %s, which %s",
            hsdi_cache_kind_name(plan->cache.kind), hsd_cache_type_name(plan->cache.type),
            hsdi_cache_kind_name(plan->cache_wanted.kind),
            hsd_cache_type_name(plan->cache_wanted.type),
            plan->cache_wanted.is_built ? "--cache and --cache-type choose" : "is not built");
    }
}

void hsdi_plan_explain(const hsdi_search *done, hsdi_plan *plan)
{
    teller t = {done, plan, malloc(sizeof(hsdi_search))};
    if (!t.again) {
        return; // the plan holds without its reasons
    }
    hsdi_search_init(t.again, done->machine, done->costs, done->options);
    for (int i = 0; i < done->machine->n_devices; i++) {
        if (!is_used(&plan->best.setting, done->order[i])) {
            tell_device(&t, done->order[i]);
        }
    }
    if (done->choices.mode == HSD_MODE_AUTO) {
        unsigned speculates = 1u << HSD_MODE_SERIAL | 1u << HSD_MODE_MIRROR | 1u << HSD_MODE_ASYNC;
        ask(&t, speculates, 1u << plan->best.setting.mode, -1);
    }
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        tell_mode(&t, (hsd_mode)mode);
    }
    tell_rest(&t);
    free(t.again);
}
