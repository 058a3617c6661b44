/// A profile as one JSON object, with the names of profile.yaml.
#include "base/error.h"
#include "base/numbers.h"
#include "engine/profile.h"

#include <stdio.h>
#include <stdlib.h>

static void put_text(FILE *file, const char *key, const char *text)
{
    fprintf(file, "\"%s\": \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', file);
        }
        fputc(*text >= 0x20 && *text < 0x7f ? *text : '?', file);
    }
    fputc('"', file);
}

static void put_numbers(FILE *file, const char *key, const double *values, int n)
{
    fprintf(file, "\"%s\": [", key);
    for (int i = 0; i < n; i++) {
        fprintf(file, "%s%.9g", i > 0 ? ", " : "", values[i]);
    }
    fprintf(file, "]");
}

/// {"role": .., "device": .., "threads": ..
static void put_place(FILE *file, const hsdi_profile *p, hsdi_cost_role role, int i_device,
                      int n_threads, const char *separator)
{
    fprintf(file, "%s\n{\"role\": \"%s\", ", separator,
            role == HSDI_COST_TARGET ? "target" : "draft");
    put_text(file, "device", p->devices[i_device].name);
    fprintf(file, ", \"threads\": %d", n_threads);
}

static void put_model(FILE *file, const char *key, const hsdi_cost_model *m)
{
    fprintf(file,
            "\"%s\": {\"fingerprint\": \"%016llx\", \"layers\": %d, \"embd\": %d, \"vocab\": %d, "
            "\"ctx\": %d, \"layer_bytes\": %lld, \"head_bytes\": %lld, \"embedding_bytes\": %lld, "
            "\"cache_bytes\": %lld, \"layer_ops\": %.9g, \"head_ops\": %.9g, \"int8\": %s},\n",
            key, (unsigned long long)m->fingerprint, m->n_layers, m->n_embd, m->n_vocab, m->n_ctx,
            (long long)m->layer_bytes, (long long)m->head_bytes, (long long)m->embedding_bytes,
            (long long)m->cache_bytes, m->layer_ops, m->head_ops,
            m->weights_are_int8 ? "true" : "false");
}

static void put_devices(FILE *file, const hsdi_profile *p)
{
    fprintf(file, "\"devices\": [");
    for (int i = 0; i < p->n_devices; i++) {
        const hsdi_profile_device *d = &p->devices[i];
        fprintf(file, "%s\n{", i > 0 ? "," : "");
        put_text(file, "name", d->name);
        fprintf(file, ", ");
        put_text(file, "id", d->id);
        fprintf(file, ", ");
        put_text(file, "failure", d->failure);
        fprintf(file,
                ", \"to_latency_ns\": %.9g, \"to_gbps\": %.9g, \"from_latency_ns\": %.9g, "
                "\"from_gbps\": %.9g}",
                d->to_latency_ns, d->to_gbps, d->from_latency_ns, d->from_gbps);
    }
    fprintf(file, "],\n");
}

static void put_tables(FILE *file, const hsdi_profile *p)
{
    fprintf(file, "\"tables\": [");
    for (int i = 0; i < p->costs.n_tables; i++) {
        const hsdi_cost_table *t = &p->costs.tables[i];
        put_place(file, p, t->role, t->i_device, t->n_threads, i > 0 ? "," : "");
        fprintf(file, ", \"past\": %d, \"fixed_ns\": %.9g, ", t->n_past, t->fixed_ns);
        put_numbers(file, "layer_ns", t->layer_ns, HSDI_COST_ROWS);
        fprintf(file, ", ");
        put_numbers(file, "head_ns", t->head_ns, HSDI_COST_ROWS);
        fprintf(file, "}");
    }
    fprintf(file, "],\n\"slowdowns\": [");
    for (int i = 0; i < p->costs.n_slowdowns; i++) {
        const hsdi_cost_slowdown *s = &p->costs.slowdowns[i];
        put_place(file, p, s->role, s->i_device, s->n_threads, i > 0 ? "," : "");
        fprintf(file, ", ");
        put_text(file, "beside", p->devices[s->i_beside].name);
        fprintf(file, ", \"beside_threads\": %d, \"factor\": %.9g, \"low\": %.9g, \"high\": %.9g}",
                s->n_beside, s->factor, p->slowdown_ranges[i].low, p->slowdown_ranges[i].high);
    }
    fprintf(file, "],\n");
}

static void put_passes(FILE *file, const hsdi_profile *p)
{
    static const char *const parts[] = {"prefix", "exit_head", "suffix", "whole", "rollout"};
    fprintf(file, "\"passes\": [");
    for (int i = 0; i < p->n_passes; i++) {
        const hsdi_profile_pass *s = &p->passes[i];
        put_place(file, p, s->role, s->i_device, s->n_threads, i > 0 ? "," : "");
        fprintf(file,
                ", \"part\": \"%s\", \"layers\": %d, \"rows\": %d, \"past\": %d, \"times\": %d, "
                "\"median_ns\": %.9g, \"low_ns\": %.9g, \"high_ns\": %.9g, "
                "\"mean_ns\": %.9g}",
                parts[s->part], s->n_layers, s->n_rows, s->n_past, s->n_times, s->median_ns,
                s->low_ns, s->high_ns, s->mean_ns);
    }
    fprintf(file, "]}\n");
}

static void put_turns(FILE *file, const hsdi_profile *p)
{
    fprintf(file, "\"turns\": [");
    for (int i = 0; i < p->costs.n_turns; i++) {
        const hsdi_cost_turn *t = &p->costs.turns[i];
        fprintf(file, "%s\n{", i > 0 ? "," : "");
        put_text(file, "target", p->devices[t->i_target].name);
        fprintf(file, ", \"target_threads\": %d, ", t->n_target);
        put_text(file, "draft", p->devices[t->i_draft].name);
        fprintf(file, ", \"draft_threads\": %d, \"step_ns\": %.9g, \"call_ns\": %.9g}", t->n_draft,
                t->step_ns, t->call_ns);
    }
    fprintf(file, "],\n");
}

static void put_rest(FILE *file, const hsdi_profile *p)
{
    const hsdi_cost_rendezvous *r = &p->costs.rendezvous;
    const hsdi_acceptance *a = &p->costs.acceptance;
    int n_deep = 0;
    fprintf(file,
            "\"rendezvous\": {\"inproc_ns\": %.9g, \"ipc_ns\": %.9g, \"tcp_ns\": %.9g, "
            "\"serial_extra_ns\": %.9g},\n",
            r->inproc_ns, r->ipc_ns, r->tcp_ns, r->serial_extra_ns);
    while (n_deep < HSDI_COST_DEPTHS && a->accept[n_deep + 1] > 0.0) {
        n_deep++;
    }
    fprintf(file, "\"acceptance\": {\"seen\": %.9g, \"ngram\": %.9g, ", a->n_seen, a->ngram_accept);
    put_numbers(file, "accept", a->accept + 1, n_deep);
    fprintf(file, ", ");
    put_numbers(file, "own", a->own, HSDI_COST_ROWS);
    fprintf(file, ", ");
    put_numbers(file, "both", a->both, HSDI_COST_ROWS);
    fprintf(file, ", ");
    fprintf(file, "\"window\": %d, \"brief_window\": %d, ", a->window, a->brief_window);
    put_numbers(file, "brief_own", a->brief_own, HSDI_COST_ROWS);
    fprintf(file, ", ");
    put_numbers(file, "brief_both", a->brief_both, HSDI_COST_ROWS);
    fprintf(file, ", ");
    put_text(file, "trail", a->trail);
    fprintf(file, "},\n");
}

hsd_status hsdi_profile_json(const hsdi_profile *p, char **text, size_t *n_bytes, hsd_error *err)
{
    *text = NULL;
    FILE *file = open_memstream(text, n_bytes);
    if (!file) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    hsdi_numbers before = hsdi_numbers_plain();
    fprintf(file, "{\"version\": 1, ");
    put_text(file, "made", p->made);
    fprintf(file, ", ");
    put_text(file, "machine", p->machine_name);
    fprintf(file, ", \"fingerprint\": \"%016llx\", ", (unsigned long long)p->machine);
    put_text(file, "cache", p->layout);
    fprintf(file, ",\n");
    put_model(file, "target", &p->costs.target);
    if (p->costs.draft.n_layers > 0) {
        put_model(file, "draft", &p->costs.draft);
    }
    put_devices(file, p);
    put_tables(file, p);
    put_turns(file, p);
    put_rest(file, p);
    put_passes(file, p);
    hsdi_numbers_back(before);
    if (fclose(file) != 0) {
        free(*text);
        *text = NULL;
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    return HSD_OK;
}
