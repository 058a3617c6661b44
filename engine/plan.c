/// What a session in mode auto runs with: a plan for each mode on the engine's open devices.
///
/// The best one begins; the others are the arms of the session's watch, which compares what was
/// promised with what comes and changes over where it drifts.
#include "engine/plan.h"

#include "base/error.h"
#include "engine/engine_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_ADAPTIVE = 8 };
double hsdi_plan_hopeless = 0.6;

static bool predict(void *user, int i_arm, const double *accept, int n_accept, double hit_rate,
                    double *tokens, double *ns)
{
    hsdi_predictor *p = user;
    hsdi_plan_setting x = p->settings[i_arm];
    hsdi_acceptance *a = &p->costs.acceptance;
    hsdi_acceptance_forget(a);
    (void)hit_rate; // coverage is what the law has; hits also depend on the clock
    for (int d = 1; d <= HSDI_COST_DEPTHS; d++) {
        a->accept[d] = accept[d < n_accept ? d : n_accept];
    }
    double best = 0.0;
    int most = x.window, least = p->adapts && x.mode != HSD_MODE_AR ? 1 : most;
    for (int w = least; w <= most; w++) {
        hsdi_plan_step step;
        x.tree = x.tree > most ? x.tree - most + w : w;
        x.window = w;
        if (hsdi_plan_predict(p->machine, &p->costs, &x, &step, NULL) == HSD_OK &&
            step.tokens_per_s > best) {
            best = step.tokens_per_s;
            *tokens = step.tokens;
            *ns = step.total_ns;
        }
        x.tree = p->settings[i_arm].tree;
    }
    return best > 0.0;
}

static void decide(const hsd_engine *e, const hsd_session_options *o, hsd_mode mode,
                   hsdi_machine_choices *c)
{
    bool is_beside = mode == HSD_MODE_MIRROR || mode == HSD_MODE_ASYNC;
    int n = is_beside ? e->n_target_beside : e->n_target_alone;
    *c = (hsdi_machine_choices){.mode = mode, .i_target = 0, .i_suffix = -1};
    c->i_draft = mode == HSD_MODE_AR ? -1 : !e->target_place.open && !e->draft_place.open ? 0 : 1;
    c->n_target_threads = e->target_place.open ? -1 : n;
    c->n_draft_threads = e->draft_place.open ? -1 : e->n_draft_threads;
    c->exit_layer = o->exit_layer > 0 ? o->exit_layer : -1;
    c->split_layer = -1;
    c->window = o->window > 0 ? o->window : -1;
    c->tree = o->tree > 0 ? o->tree : 0;
    c->roots = o->roots > 0 ? o->roots : -1;
    c->n_workers = -1;
}

/// What steps with windows of each length should take: where lengths begin.
static void expect(const hsdi_predictor *p, const hsdi_plan_setting *x, hsdi_watch_arm *arm,
                   double alone_ns)
{
    hsdi_plan_setting one = *x;
    hsdi_plan_step step;
    bool is_known = true;
    for (int w = 1; w <= arm->window && is_known; w++) {
        one.window = w;
        one.tree = x->tree - arm->window + w;
        is_known = hsdi_plan_predict(p->machine, &p->costs, &one, &step, NULL) == HSD_OK;
        arm->step_ns[w] = (float)step.total_ns;
        arm->accept[w] = p->costs.acceptance.accept[w];
    }
    arm->step_ns[0] = is_known ? (float)alone_ns : 0.0f;
}

/// An arm for a mode, where the planner finds a setting for it. alone_ns: a step without a draft.
static void add_arm(hsdi_session_plan *out, const hsdi_plan_setting *x,
                    const hsd_session_options *o, int roots, double alone_ns)
{
    hsdi_watch_config *w = &out->watch;
    if (w->n_arms == HSDI_WATCH_ARMS) {
        return;
    }
    int window = o->window > 0 ? o->window : WINDOW_ADAPTIVE;
    hsdi_plan_setting *s = &out->predictor->settings[w->n_arms];
    *s = *x;
    if (x->mode != HSD_MODE_AR) {
        s->window = window;
        s->tree = o->tree > window ? o->tree : window;
        s->roots = roots;
    }
    hsdi_watch_arm *arm = &w->arms[w->n_arms++];
    *arm = (hsdi_watch_arm){.mode = x->mode,
                            .window = window,
                            .tree = o->tree > window ? o->tree : window,
                            .roots = roots,
                            .exit_layer = x->exit_layer};
    if (x->mode != HSD_MODE_AR && alone_ns > 0.0) {
        expect(out->predictor, s, arm, alone_ns);
    }
}

/// Mirror with fewer roots, and with the other exits: what pays changes with the text and with what
/// else runs here.
static void add_mirrors(const hsd_engine *e, hsdi_session_plan *out, const hsdi_plan_setting *best,
                        const hsd_session_options *o, double alone)
{
    int exits[HSDI_PLAN_EXITS], n_exits = hsdi_plan_exits(e->target.model->n_layers, exits);
    double alone_ns = alone > 0.0 ? 1e9 / alone : 0.0;
    if (o->roots == 0 && out->roots >= 8) {
        add_arm(out, best, o, out->roots / 4, alone_ns);
    }
    for (int i = 0; i < n_exits && o->exit_layer == 0 && best->exit_layer > 0; i++) {
        hsdi_plan_setting x = *best;
        x.exit_layer = exits[i];
        if (exits[i] != best->exit_layer) {
            add_arm(out, &x, o, out->roots, alone_ns);
        }
    }
}

/// Only what the session will be promised: the caches' limit less what others have.
static void bound_memory(hsd_engine *e, const hsd_session_options *o, hsdi_plan_options *how)
{
    int64_t limit = e->memory.limit_bytes;
    how->n_prompt_rows = o->n_ctx > 0 ? o->n_ctx : e->n_ctx;
    if (limit > 0) {
        int64_t room = limit - hsdi_memory_promised(&e->memory);
        int n_layers = e->target.model->n_layers;
        // Layouts were settled when the models were loaded: what their cells take is known.
        how->cache_memory_bytes = room > 0 ? room : 1;
        how->target_cells = hsdi_plan_target_cells;
        how->draft_cells = hsdi_plan_draft_cells;
        how->target_token_bytes = hsdi_cell_bytes(&e->target.runner, n_layers);
        how->draft_token_bytes =
            e->draft.model ? hsdi_cell_bytes(&e->draft.runner, e->draft.model->n_layers) : 0;
    }
}

static void log_reasons(const hsd_engine *e, const hsdi_plan *plan, double alone)
{
    const hsdi_plan_step *s = &plan->best.step;
    char pays[48] = "pays at no acceptance";
    if (plan->break_even <= 1.0) {
        (void)snprintf(pays, sizeof pays, "pays from acceptance %.2f", fmax(plan->break_even, 0.0));
    }
    hsdi_logf(&e->log, HSDI_LOG_INFO,
              "plan: %s would give %.1f tokens/s, %.2f times the target alone: %.2f tokens in %.3f "
              "ms; window %d, %d roots, exit %d; %s",
              hsd_mode_name(plan->best.setting.mode), s->tokens_per_s, s->tokens_per_s / alone,
              s->tokens, s->total_ns * 1e-6, plan->best.setting.window, plan->best.setting.roots,
              plan->best.setting.exit_layer, pays);
}

/// Plans of all modes; the best is where the session begins.
static hsd_status plan_modes(hsd_engine *e, const hsd_session_options *o, hsdi_session_plan *out,
                             hsd_error *err)
{
    hsdi_machine *machine = out->predictor->machine;
    hsdi_plan_options how;
    hsdi_plan *plan = malloc(sizeof *plan);
    double best = 0.0, alone = 0.0, hope = 0.0;
    if (!plan) {
        return hsdi_fail(err, HSD_ENOMEM, "plan", "plan");
    }
    hsdi_plan_options_init(&how);
    bound_memory(e, o, &how);
    out->exit_layer = o->exit_layer > 0 ? o->exit_layer : e->target.model->n_layers / 2;
    out->roots = o->roots > 0 ? o->roots : 8;
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        if (mode != HSD_MODE_AR && (e->choices.forbidden_modes & 1u << mode)) {
            continue; // the target alone is always an arm
        }
        decide(e, o, (hsd_mode)mode, &machine->choices);
        if (hsdi_plan_make(machine, &out->predictor->costs, &how, plan, NULL) != HSD_OK) {
            continue;
        }
        double value = hsdi_plan_value(&how, (hsd_mode)mode, &plan->best.step);
        if (mode == HSD_MODE_AR) {
            alone = plan->best.step.tokens_per_s;
        } else {
            hope = fmax(hope, plan->best.step.tokens_per_s);
            log_reasons(e, plan, alone);
        }
        if (mode == HSD_MODE_MIRROR) {
            out->roots = plan->best.setting.roots;
            out->exit_layer = plan->best.setting.exit_layer;
        }
        if (value > best) {
            best = value;
            out->mode = (hsd_mode)mode;
            out->watch.first = out->watch.n_arms;
        }
        add_arm(out, &plan->best.setting, o, out->roots, alone > 0.0 ? 1e9 / alone : 0.0);
        if (mode == HSD_MODE_MIRROR) {
            add_mirrors(e, out, &plan->best.setting, o, alone);
        }
    }
    free(plan);
    hsdi_logf(&e->log, HSDI_LOG_INFO, "mode auto: %s; the target alone gives %.1f tokens/s",
              hsd_mode_name(out->mode), alone);
    if (!(hope > 0.0) || hope < hsdi_plan_hopeless * alone) {
        free(out->predictor);
        out->predictor = NULL;
    }
    return HSD_OK;
}

hsd_status hsdi_plan_session(hsd_engine *e, const hsd_session_options *o, hsdi_session_plan *out,
                             hsd_error *err)
{
    *out = (hsdi_session_plan){.mode = HSD_MODE_AR,
                               .watch = {.margin = 1.05, .predict = predict},
                               .predictor = calloc(1, sizeof *out->predictor)};
    hsd_status status = out->predictor ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "plan", "session");
    pthread_mutex_lock(&e->lock); // also: a plan writes into the machine what is decided
    if (status == HSD_OK && !e->plan) {
        status = hsdi_engine_measure(e, &e->plan, err);
    }
    if (status == HSD_OK) {
        out->predictor->machine = &e->plan->machine;
        out->predictor->costs = e->plan->costs;
        out->predictor->adapts = o->window == 0;
        out->watch.accept = e->plan->costs.acceptance.accept[1];
        out->watch.user = out->predictor;
        status = plan_modes(e, o, out, err);
    }
    pthread_mutex_unlock(&e->lock);
    if (status != HSD_OK) {
        free(out->predictor);
        out->predictor = NULL;
    }
    return status;
}

void hsdi_plan_learn(hsd_engine *e, const hsdi_watch *watch)
{
    static const double enough = 32.0; // tokens
    pthread_mutex_lock(&e->lock);
    hsdi_acceptance *a = e->plan ? &e->plan->costs.acceptance : NULL;
    if (a && watch->tried[1] > enough) {
        hsdi_acceptance_forget(a);
    }
    for (int d = 1; a && d <= HSDI_WINDOW_MAX; d++) {
        if (watch->tried[d] > enough) {
            a->accept[d] = watch->accepted[d] / watch->tried[d];
            a->n_seen += d == 1 ? watch->tried[d] : 0.0;
        }
    }
    pthread_mutex_unlock(&e->lock);
}
