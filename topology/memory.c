/// Do a setting's weights and caches fit?
#include "topology/search.h"

/// Rows beyond the context that a pass may need: a tree and a token.
static const int64_t spare_rows = 33;

typedef struct needs {
    int64_t device[HSDI_MACHINE_DEVICES], host[HSDI_MACHINE_HOSTS];
} needs;

static void add(const hsdi_search *s, needs *n, int i_device, int64_t bytes)
{
    const hsdi_machine_device *d = &s->machine->devices[i_device];
    n->device[i_device] += bytes;
    if (d->type == HSDI_DEVICE_CPU || d->memory_bytes == 0) {
        n->host[d->i_host] += bytes;
    }
}

static int64_t layers_bytes(const hsdi_search *s, const hsdi_cost_model *m, int n_layers)
{
    int64_t n_ctx = s->options->n_prompt_rows > 0 ? s->options->n_prompt_rows : m->n_ctx;
    return n_layers * (m->layer_bytes + (n_ctx + spare_rows) * m->cache_bytes);
}

static bool check(hsdi_shortage *out, const char *name, int64_t need, int64_t has, int64_t limit)
{
    int64_t have = limit > 0 && (has == 0 || limit < has) ? limit : has;
    bool fits = have == 0 || need <= have;
    if (!fits && out) {
        *out = (hsdi_shortage){name, need, have};
    }
    return fits;
}

bool hsdi_search_fits(const hsdi_search *s, const hsdi_plan_setting *x, hsdi_shortage *out)
{
    const hsdi_machine *m = s->machine;
    const hsdi_cost_model *t = &s->costs->target, *d = &s->costs->draft;
    needs n = {{0}, {0}};
    bool is_split = x->i_suffix >= 0 && x->i_suffix != x->i_target;
    int first = is_split ? x->split_layer : t->n_layers;
    add(s, &n, x->i_target, t->embedding_bytes + layers_bytes(s, t, first));
    add(s, &n, is_split ? x->i_suffix : x->i_target,
        t->head_bytes + layers_bytes(s, t, t->n_layers - first));
    int n_drafts = x->mode == HSD_MODE_AR || x->draft_kind != HSD_DRAFT_MODEL ? 0 : x->n_workers;
    for (int i = 0; i < n_drafts; i++) {
        add(s, &n, x->i_draft[i],
            d->embedding_bytes + d->head_bytes + layers_bytes(s, d, d->n_layers));
    }
    bool fits = true;
    for (int i = 0; i < m->n_devices && fits; i++) {
        const hsdi_machine_device *at = &m->devices[i];
        bool has_own = at->type != HSDI_DEVICE_CPU && at->memory_bytes > 0;
        fits = n.device[i] == 0 || check(out, at->name, n.device[i], has_own ? at->memory_bytes : 0,
                                         at->memory_limit_bytes);
    }
    for (int i = 0; i < m->n_hosts && fits; i++) {
        const hsdi_machine_host *at = &m->hosts[i];
        fits = n.host[i] == 0 ||
               check(out, at->name, n.host[i], at->memory_bytes, at->memory_limit_bytes);
    }
    return fits;
}
