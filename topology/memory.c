/// Do a setting's weights, caches and working rows fit?
///
/// Caches are reckoned as an engine makes them: the layout that it takes, whole blocks of cells,
/// and of every text as much as it can come to need.
#include "topology/search.h"

/// Rows beyond the context that a pass may need: a tree and a token.
static const int64_t spare_rows = 33;
/// Window of a session's draft where none is given, see engine/session.c.
enum { USUAL_WINDOW = 8 };
/// Values of a layer that are alive at once, in widths of the model: input, residual, queries,
/// keys, values, attention's output, and four for the inner one.
static const int64_t live_widths = 10;

static const hsdi_cost_model *model_of(const hsdi_search *s, hsdi_cost_role role)
{
    return role == HSDI_COST_TARGET ? &s->costs->target : &s->costs->draft;
}

static const hsdi_plan_caching *caching_of(const hsdi_search *s, hsdi_cost_role role)
{
    return role == HSDI_COST_TARGET ? &s->options->target_cache : &s->options->draft_cache;
}

static int64_t limit_of(const hsdi_search *s)
{
    int64_t own = s->options->cache_memory_bytes;
    return own > 0 ? own : s->choices.cache_memory_bytes;
}

static hsdi_cache_case case_of(const hsdi_cost_model *m, hsd_cache_type type)
{
    return (hsdi_cache_case){.n_embd = m->n_embd,
                             .n_heads = m->n_heads,
                             .n_kv_heads = m->n_kv_heads,
                             .d_head = m->d_head,
                             .positions =
                                 m->is_rotary ? HSDI_POSITIONS_ROTARY : HSDI_POSITIONS_OTHER,
                             .n_rows = USUAL_WINDOW + 1,
                             .type = type};
}

/// Of a layer that keeps its keys and values, or its input. Where the shape is not known: by the
/// bytes of f32.
static int64_t token_bytes(const hsdi_cost_model *m, hsd_cache_type type, hsdi_cache_kind kind)
{
    if (m->n_heads < 1 || m->n_kv_heads < 1 || m->d_head < 1) {
        return type == HSD_CACHE_F32   ? m->cache_bytes
               : type == HSD_CACHE_F16 ? m->cache_bytes / 2
                                       : (m->cache_bytes * 34 + 127) / 128;
    }
    const hsdi_cache_case layer = case_of(m, type);
    return hsdi_cache_make(&layer, kind, type).token_bytes;
}

bool hsdi_search_has_el(const hsdi_search *s, hsdi_cost_role role)
{
    const hsdi_cost_model *m = model_of(s, role);
    const hsdi_cache_case layer = case_of(m, HSD_CACHE_F32);
    return m->n_heads > 0 && hsdi_cache_make(&layer, HSDI_CACHE_EL, HSD_CACHE_F32).is_built;
}

static int64_t layers_bytes(const hsdi_search *s, hsdi_cost_role role, int n_layers, int n_el)
{
    const hsdi_cost_model *m = model_of(s, role);
    hsd_cache_type type = caching_of(s, role)->type;
    int64_t settled =
        role == HSDI_COST_TARGET ? s->options->target_token_bytes : s->options->draft_token_bytes;
    if (settled > 0) {
        return settled / m->n_layers * n_layers + settled % m->n_layers;
    }
    n_el = n_el < n_layers ? n_el : n_layers;
    return n_el * token_bytes(m, type, HSDI_CACHE_EL) +
           (n_layers - n_el) * token_bytes(m, type, HSDI_CACHE_KV);
}

static int context_of(const hsdi_search *s, const hsdi_cost_model *m)
{
    int n = s->options->n_prompt_rows > 0 ? s->options->n_prompt_rows : m->n_ctx;
    return m->is_rotary || n < m->n_ctx ? n : m->n_ctx;
}

static int64_t target_cells(const hsdi_search *s)
{
    int n = context_of(s, &s->costs->target);
    return s->options->target_cells ? s->options->target_cells(n) : n + spare_rows;
}

static int64_t draft_cells(const hsdi_search *s, int roots)
{
    const hsdi_machine_choices *c = &s->choices;
    int n = context_of(s, &s->costs->draft), window = c->window > 0 ? c->window : USUAL_WINDOW;
    roots = c->roots > 0 ? c->roots : roots > HSDI_USUAL_ROOTS ? roots : HSDI_USUAL_ROOTS;
    return s->options->draft_cells ? s->options->draft_cells(n, window, roots) : n + spare_rows;
}

/// The least layers that must keep their input so that a text's caches take no more.
static int least_el(const hsdi_search *s, int64_t room_bytes)
{
    int n_layers = s->costs->target.n_layers, n = 0;
    int64_t n_cells = target_cells(s);
    while (n < n_layers && layers_bytes(s, HSDI_COST_TARGET, n_layers, n) > room_bytes / n_cells) {
        n++;
    }
    return n;
}

/// As engine/layouts.c: with room for a draft's caches where there is any layout that leaves it.
static int el_in_memory(const hsdi_search *s, int64_t limit_bytes)
{
    const hsdi_cost_model *d = &s->costs->draft;
    int n_layers = s->costs->target.n_layers;
    int64_t beside = 0;
    if (d->n_layers > 0) {
        bool is_el = s->options->draft_cache.layout == HSD_CACHE_LAYOUT_EL;
        beside = draft_cells(s, 0) *
                 layers_bytes(s, HSDI_COST_DRAFT, d->n_layers, is_el ? d->n_layers : 0);
    }
    int64_t room = limit_bytes > beside ? limit_bytes - beside : limit_bytes;
    int n = least_el(s, room);
    bool fits = layers_bytes(s, HSDI_COST_TARGET, n_layers, n) <= room / target_cells(s);
    return fits ? n : least_el(s, limit_bytes);
}

int hsdi_search_el_layers(const hsdi_search *s, hsdi_cost_role role, int i_device)
{
    const hsdi_cost_model *m = model_of(s, role);
    const hsdi_plan_caching *how = caching_of(s, role);
    const hsdi_machine_device *d = &s->machine->devices[i_device];
    if (how->layout == HSD_CACHE_LAYOUT_KV || !hsdi_search_has_el(s, role)) {
        return 0;
    }
    hsdi_cache_case layer = case_of(m, how->type);
    if (d->type != HSDI_DEVICE_CPU) {
        layer.gops = d->f16_gops;
        layer.read_gbps = d->read_gbps;
    }
    if (how->layout == HSD_CACHE_LAYOUT_EL || hsdi_cache_layout(&layer).kind == HSDI_CACHE_EL) {
        return m->n_layers;
    }
    int64_t limit = limit_of(s);
    return role == HSDI_COST_TARGET && limit > 0 ? el_in_memory(s, limit) : 0;
}

static void add(const hsdi_search *s, hsdi_plan_needs *n, int i_device, hsdi_plan_need one)
{
    const hsdi_machine_device *d = &s->machine->devices[i_device];
    hsdi_plan_need *to[2] = {&n->devices[i_device], NULL};
    if (d->type == HSDI_DEVICE_CPU || d->memory_bytes == 0) {
        to[1] = &n->hosts[d->i_host];
    }
    for (int i = 0; i < 2 && to[i]; i++) {
        to[i]->weights_bytes += one.weights_bytes;
        to[i]->cache_bytes += one.cache_bytes;
        to[i]->rows_bytes += one.rows_bytes;
    }
}

/// Layers of a model on a device with what comes before or behind them.
static hsdi_plan_need need_of(const hsdi_search *s, hsdi_cost_role role, int n_layers, int n_el,
                              int64_t n_cells)
{
    const hsdi_cost_model *m = model_of(s, role);
    int n_sessions = s->options->n_sessions > 1 ? s->options->n_sessions : 1;
    return (hsdi_plan_need){.weights_bytes = n_layers * m->layer_bytes,
                            .cache_bytes =
                                n_sessions * n_cells * layers_bytes(s, role, n_layers, n_el),
                            .rows_bytes = s->options->n_pass_rows * live_widths * m->n_embd * 4};
}

static void add_target(const hsdi_search *s, const hsdi_plan_setting *x, hsdi_plan_needs *n)
{
    const hsdi_cost_model *t = &s->costs->target;
    bool is_split = x->i_suffix >= 0 && x->i_suffix != x->i_target;
    int first = is_split ? x->split_layer : t->n_layers;
    int64_t head_rows = (int64_t)s->options->n_pass_rows * t->n_vocab * 4;
    n->n_el = hsdi_search_el_layers(s, HSDI_COST_TARGET, x->i_target);
    int el_behind = n->n_el < t->n_layers - first ? n->n_el : t->n_layers - first; // the last ones
    hsdi_plan_need one = need_of(s, HSDI_COST_TARGET, first, n->n_el - el_behind, target_cells(s));
    one.weights_bytes += t->embedding_bytes + (is_split ? 0 : t->head_bytes);
    one.rows_bytes += is_split ? 0 : head_rows;
    n->limited_bytes += one.cache_bytes;
    add(s, n, x->i_target, one);
    if (is_split) {
        one = need_of(s, HSDI_COST_TARGET, t->n_layers - first, el_behind, target_cells(s));
        one.weights_bytes += t->head_bytes;
        one.rows_bytes += head_rows;
        n->limited_bytes += one.cache_bytes;
        add(s, n, x->i_suffix, one);
    }
}

static void add_drafts(const hsdi_search *s, const hsdi_plan_setting *x, hsdi_plan_needs *n)
{
    const hsdi_cost_model *d = &s->costs->draft;
    int n_drafts = x->mode == HSD_MODE_AR || x->draft_kind != HSD_DRAFT_MODEL ? 0 : x->n_workers;
    for (int i = 0; i < n_drafts; i++) {
        int n_el = hsdi_search_el_layers(s, HSDI_COST_DRAFT, x->i_draft[i]);
        hsdi_plan_need one =
            need_of(s, HSDI_COST_DRAFT, d->n_layers, n_el, draft_cells(s, x->roots));
        one.weights_bytes += d->embedding_bytes + d->head_bytes;
        one.rows_bytes += (int64_t)s->options->n_pass_rows * d->n_vocab * 4;
        n->limited_bytes += x->i_worker[i] < 0 ? one.cache_bytes : 0; // workers have their own
        add(s, n, x->i_draft[i], one);
    }
}

/// What there may be of `has`; 0: not known.
static int64_t have_of(int64_t has, int64_t limit)
{
    return limit > 0 && (has == 0 || limit < has) ? limit : has;
}

void hsdi_search_needs(const hsdi_search *s, const hsdi_plan_setting *x, hsdi_plan_needs *out)
{
    const hsdi_machine *m = s->machine;
    *out = (hsdi_plan_needs){.limit_bytes = limit_of(s)};
    add_target(s, x, out);
    add_drafts(s, x, out);
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_machine_device *at = &m->devices[i];
        bool has_own = at->type != HSDI_DEVICE_CPU && at->memory_bytes > 0;
        out->devices[i].have_bytes =
            have_of(has_own ? at->memory_bytes : 0, at->memory_limit_bytes);
    }
    for (int i = 0; i < m->n_hosts; i++) {
        out->hosts[i].have_bytes =
            have_of(m->hosts[i].memory_bytes, m->hosts[i].memory_limit_bytes);
    }
}

int64_t hsdi_plan_need_bytes(const hsdi_plan_need *need)
{
    return need->weights_bytes + need->cache_bytes + need->rows_bytes;
}

static bool check(hsdi_shortage *out, const char *name, const hsdi_plan_need *n)
{
    int64_t need = hsdi_plan_need_bytes(n);
    bool fits = need == 0 || n->have_bytes == 0 || need <= n->have_bytes;
    if (!fits && out) {
        *out = (hsdi_shortage){name, need, n->have_bytes};
    }
    return fits;
}

bool hsdi_search_fits(const hsdi_search *s, const hsdi_plan_setting *x, hsdi_shortage *out)
{
    const hsdi_machine *m = s->machine;
    hsdi_plan_needs n;
    hsdi_search_needs(s, x, &n);
    bool fits = true;
    for (int i = 0; i < m->n_devices && fits; i++) {
        fits = check(out, m->devices[i].name, &n.devices[i]);
    }
    for (int i = 0; i < m->n_hosts && fits; i++) {
        fits = check(out, m->hosts[i].name, &n.hosts[i]);
    }
    if (fits && n.limit_bytes > 0 && n.limited_bytes > n.limit_bytes) {
        fits = false;
        if (out) {
            *out = (hsdi_shortage){NULL, n.limited_bytes, n.limit_bytes};
        }
    }
    return fits;
}
