/// A profile to profile.yaml, by the schema that reads it.
#include "topology/profile_schema.h"

#include "base/error.h"
#include "topology/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Memory of a file's lists; the texts are borrowed from the profile.
typedef struct writer {
    hsdi_file_profile file;
    hsdi_file_model target, draft;
    hsdi_file_acceptance acceptance;
    hsdi_cost_rendezvous rendezvous;
    char machine[20], target_hash[20], draft_hash[20];
    hsdi_file_device devices[HSDI_PROFILE_DEVICES];
    hsdi_file_table tables[HSDI_COST_TABLES];
    hsdi_file_slowdown slowdowns[HSDI_COST_TABLES];
    hsdi_file_turn turns[HSDI_COST_TABLES];
    hsdi_file_pass passes[HSDI_PROFILE_PASSES];
    double accept[HSDI_COST_DEPTHS];
} writer;

/// libcyaml has no const in what it writes.
static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void put_model(const hsdi_cost_model *m, char hash[20], hsdi_file_model *out)
{
    snprintf(hash, 20, "%016llx", (unsigned long long)m->fingerprint);
    *out = (hsdi_file_model){.fingerprint = hash,
                             .layers = m->n_layers,
                             .embd = m->n_embd,
                             .vocab = m->n_vocab,
                             .ctx = m->n_ctx,
                             .layer_bytes = m->layer_bytes,
                             .head_bytes = m->head_bytes,
                             .embedding_bytes = m->embedding_bytes,
                             .cache_bytes = m->cache_bytes,
                             .layer_ops = m->layer_ops,
                             .head_ops = m->head_ops,
                             .int8 = m->weights_are_int8,
                             .heads = m->n_heads,
                             .kv_heads = m->n_kv_heads,
                             .d_head = m->d_head,
                             .rotary = m->is_rotary};
}

static void put_lists(const hsdi_profile *p, writer *w)
{
    for (int i = 0; i < p->n_devices; i++) {
        const hsdi_profile_device *d = &p->devices[i];
        w->devices[i] = (hsdi_file_device){
            text_of(d->name), text_of(d->id), d->failure[0] ? text_of(d->failure) : NULL,
            d->to_latency_ns, d->to_gbps,     d->from_latency_ns,
            d->from_gbps};
    }
    for (int i = 0; i < p->costs.n_tables; i++) {
        const hsdi_cost_table *t = &p->costs.tables[i];
        hsdi_file_table *o = &w->tables[i];
        *o = (hsdi_file_table){.role = t->role,
                               .device = text_of(p->devices[t->i_device].name),
                               .threads = t->n_threads,
                               .past = t->n_past,
                               .measured = t->is_measured,
                               .fixed_ns = t->fixed_ns};
        memcpy(o->layer_ns, t->layer_ns, sizeof o->layer_ns);
        memcpy(o->head_ns, t->head_ns, sizeof o->head_ns);
    }
    for (int i = 0; i < p->costs.n_slowdowns; i++) {
        const hsdi_cost_slowdown *s = &p->costs.slowdowns[i];
        w->slowdowns[i] = (hsdi_file_slowdown){.role = s->role,
                                               .device = text_of(p->devices[s->i_device].name),
                                               .beside = text_of(p->devices[s->i_beside].name),
                                               .threads = s->n_threads,
                                               .beside_threads = s->n_beside,
                                               .factor = s->factor,
                                               .low = p->slowdown_ranges[i].low,
                                               .high = p->slowdown_ranges[i].high};
    }
    for (int i = 0; i < p->costs.n_turns; i++) {
        const hsdi_cost_turn *t = &p->costs.turns[i];
        w->turns[i] = (hsdi_file_turn){.target = text_of(p->devices[t->i_target].name),
                                       .draft = text_of(p->devices[t->i_draft].name),
                                       .target_threads = t->n_target,
                                       .draft_threads = t->n_draft,
                                       .step_ns = t->step_ns,
                                       .call_ns = t->call_ns};
    }
    for (int i = 0; i < p->n_passes; i++) {
        const hsdi_profile_pass *s = &p->passes[i];
        w->passes[i] = (hsdi_file_pass){.role = s->role,
                                        .part = s->part,
                                        .device = text_of(p->devices[s->i_device].name),
                                        .threads = s->n_threads,
                                        .layers = s->n_layers,
                                        .rows = s->n_rows,
                                        .past = s->n_past,
                                        .times = s->n_times,
                                        .median_ns = s->median_ns,
                                        .low_ns = s->low_ns,
                                        .high_ns = s->high_ns,
                                        .mean_ns = s->mean_ns};
    }
}

static void put_all(const hsdi_profile *p, writer *w)
{
    const hsdi_acceptance *a = &p->costs.acceptance;
    snprintf(w->machine, sizeof w->machine, "%016llx", (unsigned long long)p->machine);
    put_model(&p->costs.target, w->target_hash, &w->target);
    put_model(&p->costs.draft, w->draft_hash, &w->draft);
    put_lists(p, w);
    w->rendezvous = p->costs.rendezvous;
    w->acceptance = (hsdi_file_acceptance){
        .seen = a->n_seen, .ngram = a->ngram_accept, .exit_part = a->exit_part};
    w->acceptance.accept = w->accept;
    memcpy(w->accept, a->accept + 1, sizeof w->accept);
    for (int d = 1; d <= HSDI_COST_DEPTHS; d++) {
        w->acceptance.accept_count = a->accept[d] > 0.0 ? (unsigned)d : w->acceptance.accept_count;
    }
    memcpy(w->acceptance.own, a->own, sizeof w->acceptance.own);
    memcpy(w->acceptance.both, a->both, sizeof w->acceptance.both);
    w->acceptance.window = a->window;
    w->acceptance.brief_window = a->brief_window;
    memcpy(w->acceptance.brief_own, a->brief_own, sizeof w->acceptance.brief_own);
    memcpy(w->acceptance.brief_both, a->brief_both, sizeof w->acceptance.brief_both);
    w->acceptance.trail = a->trail[0] ? text_of(a->trail) : NULL;
    w->file = (hsdi_file_profile){.version = HSDI_PROFILE_VERSION,
                                  .made = text_of(p->made),
                                  .machine = text_of(p->machine_name),
                                  .fingerprint = w->machine,
                                  .cache = text_of(p->layout),
                                  .described = p->is_described,
                                  .target = p->costs.target.n_layers > 0 ? &w->target : NULL,
                                  .draft = p->costs.draft.n_layers > 0 ? &w->draft : NULL,
                                  .devices = w->devices,
                                  .passes = w->passes,
                                  .tables = w->tables,
                                  .slowdowns = w->slowdowns,
                                  .turns = w->turns,
                                  .devices_count = (unsigned)p->n_devices,
                                  .passes_count = (unsigned)p->n_passes,
                                  .tables_count = (unsigned)p->costs.n_tables,
                                  .slowdowns_count = (unsigned)p->costs.n_slowdowns,
                                  .turns_count = (unsigned)p->costs.n_turns,
                                  .rendezvous = &w->rendezvous,
                                  .acceptance = a->n_seen > 0.0 ? &w->acceptance : NULL};
}

hsd_status hsdi_profile_print(const hsdi_profile *profile, char **text, size_t *n_bytes,
                              hsd_error *err)
{
    writer *w = calloc(1, sizeof *w);
    *text = NULL;
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    put_all(profile, w);
    hsd_status status = hsdi_yaml_save(&hsdi_profile_schema, &w->file, text, n_bytes, err);
    free(w);
    return status;
}
