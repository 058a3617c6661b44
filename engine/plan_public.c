/// Plans for a host application: models by their headers, a machine by its description or
/// discovery, times by a profile or by estimates.
#include "engine/engine_internal.h"
#include "engine/machine.h"
#include "engine/plan.h"
#include "engine/profile.h"
#include "topology/planner.h"

#include "base/error.h"

#include <hsd/plan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX_DEFAULT_MAX = 4096, TREE_MOST = 32 };

struct hsd_plan {
    hsdi_machine machine;
    hsdi_costs costs;
    hsdi_plan plan;
};

void hsd_plan_options_init(hsd_plan_options *options)
{
    *options = (hsd_plan_options){0};
}

void hsd_plan_free(hsd_plan **plan)
{
    if (plan && *plan) {
        free(*plan);
        *plan = NULL;
    }
}

int hsdi_plan_target_cells(int n_ctx)
{
    return HSDI_BLOCK_CELLS * hsdi_blocks_needed(hsdi_target_cells_needed(n_ctx, TREE_MOST), n_ctx);
}

int hsdi_plan_draft_cells(int n_ctx, int window, int roots)
{
    const hsdi_draft_config config = {.n_ctx = n_ctx, .window = window, .roots = roots};
    return HSDI_BLOCK_CELLS * hsdi_blocks_needed(hsdi_draft_cells_needed(&config), n_ctx);
}

/// A model's shape, from its header; a shipped one where no path is given. *max_ctx: its positions.
static hsd_status read_shape(const char *path, const char *shipped, hsdi_cost_model *out,
                             int *max_ctx, hsd_error *err)
{
    char *found = malloc(HSDI_PATH_MAX);
    hsdi_model *model = NULL;
    hsd_status status = found ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "plan", "path");
    if (status == HSD_OK && !path) {
        status = hsdi_shipped_path(shipped, found, HSDI_PATH_MAX, err);
        path = found;
    }
    if (status == HSD_OK) {
        status = hsdi_model_load(path, &model, err);
    }
    if (status == HSD_OK) {
        *out = hsdi_cost_model_of(model);
        *max_ctx = hsdi_model_max_ctx(model);
        hsdi_model_free(&model);
    }
    free(found);
    return status;
}

/// The profile's tables, where there is one for this machine and these models.
static hsd_status read_profile(const hsd_plan_options *o, hsd_plan *p, hsd_error *err)
{
    hsdi_profile *profile = NULL;
    hsdi_costs *known = calloc(1, sizeof *known);
    const hsdi_cost_model target = p->costs.target, draft = p->costs.draft;
    hsd_status status = known ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "plan", "costs");
    if (status == HSD_OK && o->profile_path) {
        status = hsdi_profile_read(o->profile_path, &profile, err);
    } else if (status == HSD_OK) {
        (void)hsdi_profile_recall(o->machine ? hsdi_machine_key(o->machine)
                                             : p->machine.fingerprint,
                                  target.fingerprint, draft.fingerprint, &profile);
    }
    if (profile) {
        (void)hsdi_profile_costs(profile, &p->machine, known);
        bool other = o->target_path && known->target.fingerprint != target.fingerprint;
        if (other) {
            status = hsdi_fail(err, HSD_EINVAL, "profile_path",
                               "the profile was made with another target");
        } else {
            // Without paths the plan is for the profile's own models.
            p->costs = *known;
            if (o->target_path || known->target.n_layers == 0) {
                p->costs.target = target;
            }
            if (o->draft_path || known->draft.n_layers == 0) {
                p->costs.draft = draft;
            }
        }
    }
    hsdi_profile_free(&profile);
    free(known);
    return status;
}

static hsd_status find_machine(const hsd_plan_options *o, hsd_plan *p, hsd_error *err)
{
    hsd_machine *here = NULL;
    if (o->machine) {
        p->machine = o->machine->m;
        return HSD_OK;
    }
    hsd_status status = hsd_machine_discover(&here, err);
    if (status == HSD_OK) {
        p->machine = here->m;
    }
    hsd_machine_free(&here);
    return status;
}

static void assume_rest(hsdi_costs *c)
{
    if (!(c->rendezvous.inproc_ns > 0.0)) {
        hsdi_cost_rendezvous_assume(&c->rendezvous);
    }
    if (!(c->acceptance.accept[1] > 0.0)) {
        hsdi_acceptance_assume(&c->acceptance);
    }
}

static int context_of(const hsd_plan_options *o, const hsdi_cost_model *m)
{
    int most = m->n_ctx < CTX_DEFAULT_MAX ? m->n_ctx : CTX_DEFAULT_MAX;
    return o->n_ctx > 0 ? o->n_ctx : most;
}

static hsd_status make(const hsd_plan_options *o, hsd_plan *p, hsd_error *err)
{
    int target_most = 0, draft_most = 0;
    hsdi_plan_options how;
    hsd_status status =
        read_shape(o->target_path, hsdi_shipped_target, &p->costs.target, &target_most, err);
    if (status == HSD_OK && o->n_ctx > target_most) {
        status = hsdi_fail(err, HSD_EINVAL, "n_ctx", "%d tokens, but the target has %d positions",
                           o->n_ctx, target_most);
    }
    if (status == HSD_OK && (o->draft_path || !o->target_path)) {
        status = read_shape(o->draft_path, hsdi_shipped_draft, &p->costs.draft, &draft_most, err);
    }
    if (status == HSD_OK) {
        status = find_machine(o, p, err);
    }
    if (status == HSD_OK) {
        status = read_profile(o, p, err);
    }
    if (status == HSD_OK) {
        assume_rest(&p->costs);
        // A text that fills the context asked for has half of it on average.
        hsdi_costs_settle(&p->costs, o->n_ctx > 0 ? 0.5 * o->n_ctx : HSDI_COST_PAST);
        status = hsdi_costs_estimate(&p->machine, &p->costs, err);
    }
    if (status == HSD_OK) {
        hsdi_plan_options_init(&how);
        how.objective = (hsdi_objective)o->objective;
        how.margin = o->margin > 0.0 ? o->margin : how.margin;
        how.n_prompt_rows = context_of(o, &p->costs.target);
        how.n_pass_rows = HSDI_STAGE_ROWS;
        how.target_cache = (hsdi_plan_caching){o->cache_layout, o->cache_type};
        how.draft_cache = (hsdi_plan_caching){o->draft_cache_layout, o->draft_cache_type};
        how.cache_memory_bytes = o->cache_memory_bytes;
        how.target_cells = hsdi_plan_target_cells;
        how.draft_cells = hsdi_plan_draft_cells;
        status = hsdi_plan_make(&p->machine, &p->costs, &how, &p->plan, err);
    }
    return status;
}

hsd_status hsd_plan_make(const hsd_plan_options *options, hsd_plan **out, hsd_error *err)
{
    if (!options || !out || options->n_ctx < 0 || (int)options->objective < 0 ||
        options->objective > HSD_OBJECTIVE_ENERGY) {
        return hsdi_fail(err, HSD_EINVAL, "plan", "options and a result are required");
    }
    if ((unsigned)options->cache_layout >= HSD_N_CACHE_LAYOUTS ||
        (unsigned)options->draft_cache_layout >= HSD_N_CACHE_LAYOUTS ||
        (unsigned)options->cache_type >= HSD_N_CACHE_TYPES ||
        (unsigned)options->draft_cache_type >= HSD_N_CACHE_TYPES ||
        options->cache_memory_bytes < 0) {
        return hsdi_fail(err, HSD_EINVAL, "cache_layout", "a layout, type or limit is none");
    }
    *out = NULL;
    hsd_plan *p = calloc(1, sizeof *p);
    hsd_status status =
        p ? make(options, p, err) : hsdi_fail(err, HSD_ENOMEM, "plan", "machine and costs");
    if (status != HSD_OK) {
        hsd_plan_free(&p);
        return status;
    }
    *out = p;
    return HSD_OK;
}

// ---- reading a plan ----

static void put_drafts(const hsdi_machine *m, const hsdi_plan_setting *x, hsd_plan_choice *out)
{
    size_t n = 0;
    for (int i = 0; i < x->n_workers && n < sizeof out->drafts; i++) {
        const char *device = m->devices[x->i_draft[i]].name;
        const char *worker = x->i_worker[i] >= 0 ? m->workers[x->i_worker[i]].name : NULL;
        int more = snprintf(out->drafts + n, sizeof out->drafts - n, "%s%s%s%s", i ? "," : "",
                            device, worker ? "@" : "", worker ? worker : "");
        n += more > 0 ? (size_t)more : 0;
    }
    if (x->n_workers > 0) {
        const char *end = x->i_worker[0] >= 0 ? m->workers[x->i_worker[0]].endpoint : "inproc:";
        (void)snprintf(out->transport, sizeof out->transport, "%.*s", (int)strcspn(end, ":"), end);
    }
}

static void fill(const hsd_plan *p, const hsdi_plan_candidate *c, hsd_plan_choice *out)
{
    const hsdi_plan_setting *x = &c->setting;
    const hsdi_plan_step *s = &c->step;
    *out = (hsd_plan_choice){.mode = x->mode,
                             .draft_kind = x->draft_kind,
                             .split_layer = x->i_suffix >= 0 ? x->split_layer : 0,
                             .n_threads = x->n_target_threads,
                             .n_draft_threads = x->n_workers > 0 ? x->n_draft_threads : 0,
                             .n_workers = x->n_workers,
                             .exit_layer = x->exit_layer,
                             .window = x->window,
                             .tree = x->tree,
                             .roots = x->roots,
                             .tokens_per_s = s->tokens_per_s,
                             .tokens = s->tokens,
                             .total_ms = s->total_ns * 1e-6,
                             .prefix_ms = s->prefix_ns * 1e-6,
                             .exit_ms = s->exit_ns * 1e-6,
                             .suffix_ms = s->suffix_ns * 1e-6,
                             .draft_ms = s->draft_ns * 1e-6,
                             .exposed_ms = s->exposed_ns * 1e-6,
                             .messages_ms = s->messages_ns * 1e-6,
                             .miss_ms = s->miss_ns * 1e-6,
                             .hit_rate = s->hit_rate,
                             .latency_ms = s->latency_ns * 1e-6,
                             .joules_per_token = s->joules_per_token,
                             .is_estimated = s->is_estimated};
    memcpy(out->target, p->machine.devices[x->i_target].name, sizeof out->target);
    if (x->i_suffix >= 0) {
        memcpy(out->suffix, p->machine.devices[x->i_suffix].name, sizeof out->suffix);
    }
    put_drafts(&p->machine, x, out);
}

void hsd_plan_best(const hsd_plan *plan, hsd_plan_choice *out)
{
    fill(plan, &plan->plan.best, out);
}

void hsd_plan_alone(const hsd_plan *plan, hsd_plan_choice *out)
{
    fill(plan, &plan->plan.alone, out);
}

int hsd_plan_n_runners_up(const hsd_plan *plan)
{
    return plan->plan.n_runners_up;
}

void hsd_plan_runner_up(const hsd_plan *plan, int i, hsd_plan_choice *out)
{
    fill(plan, &plan->plan.runners_up[i], out);
}

int hsd_plan_n_reasons(const hsd_plan *plan)
{
    return plan->plan.n_reasons;
}

const char *hsd_plan_reason(const hsd_plan *plan, int i)
{
    return plan->plan.reasons[i];
}

void hsd_plan_summarize(const hsd_plan *plan, hsd_plan_summary *out)
{
    const hsdi_acceptance *a = &plan->costs.acceptance;
    *out = (hsd_plan_summary){.break_even = plan->plan.break_even,
                              .acceptance = a->accept[1],
                              .acceptance_was_seen = a->n_seen > 0.0,
                              .n_tried = (long long)plan->plan.n_tried,
                              .n_pruned = (long long)plan->plan.n_pruned};
    (void)snprintf(out->machine, sizeof out->machine, "%.63s", plan->machine.name);
    const hsdi_plan_needs *needs = &plan->plan.needs;
    int n_layers = plan->costs.target.n_layers, n_el = needs->n_el;
    int n = snprintf(out->cache, sizeof out->cache, "%s in %s",
                     hsdi_cache_kind_name(plan->plan.cache.kind),
                     hsd_cache_type_name(plan->plan.cache.type));
    if (n_el > 0 && n_el < n_layers && n > 0) {
        (void)snprintf(out->cache + n, sizeof out->cache - (size_t)n,
                       " in the last %d of %d layers", n_el, n_layers);
    }
    out->limited_bytes = needs->limited_bytes;
    out->limit_bytes = needs->limit_bytes;
}

/// The i-th that anything is needed of, devices first; counts them where i is negative.
static const hsdi_plan_need *find_need(const hsd_plan *p, int i, hsd_plan_memory *out, int *count)
{
    const hsdi_machine *m = &p->machine;
    int n = 0;
    for (int k = 0; k < m->n_devices + m->n_hosts; k++) {
        bool is_host = k >= m->n_devices;
        int at = is_host ? k - m->n_devices : k;
        const hsdi_plan_need *need =
            is_host ? &p->plan.needs.hosts[at] : &p->plan.needs.devices[at];
        if (hsdi_plan_need_bytes(need) > 0 && n++ == i) {
            *out = (hsd_plan_memory){.is_host = is_host};
            (void)snprintf(out->name, sizeof out->name, "%.63s",
                           is_host ? m->hosts[at].name : m->devices[at].name);
            return need;
        }
    }
    *count = n;
    return NULL;
}

int hsd_plan_n_memories(const hsd_plan *plan)
{
    int n = 0;
    (void)find_need(plan, -1, NULL, &n);
    return n;
}

void hsd_plan_get_memory(const hsd_plan *plan, int i, hsd_plan_memory *out)
{
    int n = 0;
    *out = (hsd_plan_memory){0};
    const hsdi_plan_need *need = find_need(plan, i, out, &n);
    if (need) {
        out->weights_bytes = need->weights_bytes;
        out->cache_bytes = need->cache_bytes;
        out->rows_bytes = need->rows_bytes;
        out->need_bytes = hsdi_plan_need_bytes(need);
        out->have_bytes = need->have_bytes;
    }
}

// ---- places of an engine ----

/// The best setting that drafts with the target where the plan has it: also where the plan is the
/// target alone, a draft must be somewhere.
static const hsdi_plan_setting *drafting(const hsdi_plan *plan)
{
    const hsdi_plan_setting *best = &plan->best.setting;
    for (int i = 0; best->mode == HSD_MODE_AR && i < plan->n_runners_up; i++) {
        const hsdi_plan_setting *x = &plan->runners_up[i].setting;
        if (x->mode != HSD_MODE_AR && x->i_target == best->i_target &&
            x->i_suffix == best->i_suffix && x->draft_kind == HSD_DRAFT_MODEL) {
            return x;
        }
    }
    return best;
}

static void copy_id(const hsdi_machine *m, int i_device, char out[HSDI_MACHINE_ID])
{
    memcpy(out, m->devices[i_device].id, HSDI_MACHINE_ID);
}

static void place_drafts(const hsdi_machine *m, const hsdi_plan_setting *x, hsdi_placed *out)
{
    for (int i = 0; i < x->n_workers && x->mode != HSD_MODE_AR; i++) {
        if (x->i_worker[i] < 0) {
            copy_id(m, x->i_draft[i], out->draft);
            continue;
        }
        const hsdi_machine_worker *w = &m->workers[x->i_worker[i]];
        memcpy(out->endpoints[out->n_workers], w->endpoint, sizeof w->endpoint);
        memcpy(out->pub_files[out->n_workers], w->pub_file, sizeof w->pub_file);
        out->draft_kinds[out->n_workers++] = w->i_draft_kind;
    }
}

hsd_status hsdi_plan_place(const hsd_engine_options *o, hsdi_placed *out, hsd_error *err)
{
    hsd_plan *plan = NULL;
    hsd_plan_options how;
    hsd_plan_options_init(&how);
    how.machine = o->machine;
    how.target_path = o->target_path;
    how.draft_path = o->draft_path;
    how.n_ctx = o->n_ctx;
    how.cache_layout = o->cache_layout;
    how.draft_cache_layout = o->draft_cache_layout;
    how.cache_type = o->cache_type;
    how.draft_cache_type = o->draft_cache_type;
    how.cache_memory_bytes = o->cache_memory_bytes;
    memset(out, 0, sizeof *out);
    hsd_status status = hsd_plan_make(&how, &plan, err);
    if (status == HSD_OK) {
        const hsdi_plan_setting *best = &plan->plan.best.setting;
        copy_id(&plan->machine, best->i_target, out->target);
        if (best->i_suffix >= 0) {
            copy_id(&plan->machine, best->i_suffix, out->suffix);
            out->split_layer = best->split_layer;
        }
        place_drafts(&plan->machine, drafting(&plan->plan), out);
        out->mode = out->n_workers > 0 ? best->mode : HSD_MODE_AUTO;
        for (int i = 0; i < plan->plan.n_reasons; i++) {
            const hsdi_log log = {o->log, o->log_user};
            hsdi_logf(&log, HSDI_LOG_INFO, "plan: %s", plan->plan.reasons[i]);
        }
    }
    hsd_plan_free(&plan);
    return status;
}
