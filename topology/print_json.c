/// A machine as JSON. jansson belongs to the program, so the few lines of a writer are here.
#include "topology/print.h"

#include "base/error.h"
#include "base/numbers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Where commas go: `is_first` of the innermost object or array.
typedef struct writer {
    FILE *out;
    bool is_first;
} writer;

static void text_value(writer *w, const char *text)
{
    fputc('"', w->out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', w->out);
        }
        fputc(*text, w->out); // the check has seen that there are no control characters
    }
    fputc('"', w->out);
}

/// A key, or nothing where it is NULL, as in arrays.
static void begin_value(writer *w, const char *key)
{
    fputs(w->is_first ? "" : ", ", w->out);
    w->is_first = false;
    if (key) {
        text_value(w, key);
        fputs(": ", w->out);
    }
}

static void open_value(writer *w, const char *key, char bracket)
{
    begin_value(w, key);
    fputc(bracket, w->out);
    w->is_first = true;
}

static void close_value(writer *w, char bracket)
{
    fputc(bracket, w->out);
    w->is_first = false;
}

static void put_text(writer *w, const char *key, const char *text)
{
    if (text[0]) {
        begin_value(w, key);
        text_value(w, text);
    }
}

static void put_int(writer *w, const char *key, int64_t value, int64_t otherwise)
{
    if (value != otherwise) {
        begin_value(w, key);
        fprintf(w->out, "%" PRId64, value);
    }
}

static void put_real(writer *w, const char *key, double value)
{
    if (value > 0.0) {
        begin_value(w, key);
        fprintf(w->out, "%.10g", value);
    }
}

static void put_true(writer *w, const char *key, bool value)
{
    if (value) {
        begin_value(w, key);
        fputs("true", w->out);
    }
}

static void put_host_parts(writer *w, const hsdi_machine_host *h)
{
    open_value(w, "caches", '[');
    for (int i = 0; i < h->n_caches; i++) {
        const hsdi_machine_cache *c = &h->caches[i];
        open_value(w, NULL, '{');
        put_int(w, "level", c->level, -1);
        put_int(w, "count", c->n, -1);
        put_int(w, "cores", c->n_cores, 0);
        put_int(w, "size_bytes", c->size_bytes, -1);
        close_value(w, '}');
    }
    close_value(w, ']');
    open_value(w, "numa", '[');
    for (int i = 0; i < h->n_numa; i++) {
        open_value(w, NULL, '{');
        put_int(w, "memory_bytes", h->numa[i].memory_bytes, 0);
        put_text(w, "cpus", h->numa[i].cpus);
        close_value(w, '}');
    }
    close_value(w, ']');
    open_value(w, "ports", '[');
    for (int i = 0; i < h->n_ports; i++) {
        const hsdi_machine_port *p = &h->ports[i];
        open_value(w, NULL, '{');
        put_text(w, "name", p->name);
        put_text(w, "type", p->type == HSDI_PORT_NETWORK ? "network" : "storage");
        put_real(w, "gbps", p->gbps);
        put_text(w, "pci", p->pci);
        put_int(w, "numa", p->i_numa, -1);
        close_value(w, '}');
    }
    close_value(w, ']');
}

static void put_host(writer *w, const hsdi_machine_host *h)
{
    open_value(w, NULL, '{');
    put_text(w, "name", h->name);
    put_true(w, "here", h->is_here);
    put_int(w, "packages", h->n_packages, 0);
    put_int(w, "cores", h->n_cores, 0);
    put_int(w, "cpus", h->n_cpus, 0);
    put_int(w, "memory_bytes", h->memory_bytes, 0);
    put_int(w, "memory_limit_bytes", h->memory_limit_bytes, 0);
    put_host_parts(w, h);
    close_value(w, '}');
}

static void put_device(writer *w, const hsdi_machine *m, const hsdi_machine_device *d)
{
    open_value(w, NULL, '{');
    put_text(w, "name", d->name);
    put_text(w, "type", hsdi_print_type(d->type));
    put_text(w, "host", m->hosts[d->i_host].name);
    put_text(w, "id", d->id);
    put_text(w, "same_as", d->i_same_as >= 0 ? m->devices[d->i_same_as].name : "");
    put_int(w, "numa", d->i_numa, -1);
    put_int(w, "units", d->n_units, 0);
    put_int(w, "memory_bytes", d->memory_bytes, 0);
    put_int(w, "memory_limit_bytes", d->memory_limit_bytes, 0);
    put_real(w, "read_gbps", d->read_gbps);
    put_real(w, "f32_gops", d->f32_gops);
    put_real(w, "f16_gops", d->f16_gops);
    put_real(w, "int8_gops", d->int8_gops);
    put_real(w, "launch_ns", d->launch_ns);
    put_real(w, "idle_w", d->idle_w);
    put_real(w, "busy_w", d->busy_w);
    put_text(w, "model", d->model);
    put_text(w, "driver", d->driver);
    put_text(w, "pci", d->pci);
    put_text(w, "uuid", d->uuid);
    put_text(w, "unusable", d->unusable);
    put_true(w, "forbidden", d->is_forbidden);
    close_value(w, '}');
}

static const char *end_name(const hsdi_machine *m, hsdi_machine_end end)
{
    return end.is_host ? m->hosts[end.index].name : m->devices[end.index].name;
}

static void put_links_and_workers(writer *w, const hsdi_machine *m)
{
    open_value(w, "links", '[');
    for (int i = 0; i < m->n_links; i++) {
        open_value(w, NULL, '{');
        put_text(w, "from", end_name(m, m->links[i].from));
        put_text(w, "to", end_name(m, m->links[i].to));
        put_real(w, "latency_ns", m->links[i].latency_ns);
        put_real(w, "gbps", m->links[i].gbps);
        close_value(w, '}');
    }
    close_value(w, ']');
    open_value(w, "workers", '[');
    for (int i = 0; i < m->n_workers; i++) {
        const hsdi_machine_worker *k = &m->workers[i];
        open_value(w, NULL, '{');
        put_text(w, "name", k->name);
        put_text(w, "device", m->devices[k->i_device].name);
        put_text(w, "draft", k->i_draft_kind == HSD_DRAFT_NGRAM ? "ngram" : "model");
        put_text(w, "endpoint", k->endpoint);
        put_text(w, "listen", k->listen);
        put_text(w, "key", k->key_file);
        put_text(w, "public_key", k->pub_file);
        close_value(w, '}');
    }
    close_value(w, ']');
}

static void put_choices(writer *w, const hsdi_machine *m)
{
    const hsdi_machine_choices *c = &m->choices;
    open_value(w, "choices", '{');
    put_text(w, "mode", c->mode == HSD_MODE_AUTO ? "" : hsdi_print_mode(c->mode));
    open_value(w, "forbidden_modes", '[');
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        put_text(w, NULL, c->forbidden_modes >> mode & 1u ? hsdi_print_mode((hsd_mode)mode) : "");
    }
    close_value(w, ']');
    put_text(w, "target", c->i_target >= 0 ? m->devices[c->i_target].name : "");
    put_text(w, "suffix", c->i_suffix >= 0 ? m->devices[c->i_suffix].name : "");
    put_text(w, "draft", c->i_draft >= 0 ? m->devices[c->i_draft].name : "");
    put_int(w, "target_threads", c->n_target_threads, -1);
    put_int(w, "draft_threads", c->n_draft_threads, -1);
    put_int(w, "exit_layer", c->exit_layer, -1);
    put_int(w, "split_layer", c->split_layer, -1);
    put_int(w, "window", c->window, -1);
    put_int(w, "tree", c->tree, -1);
    put_int(w, "roots", c->roots, -1);
    put_int(w, "workers", c->n_workers, -1);
    put_real(w, "power_w", c->power_w);
    put_int(w, "cache_memory_bytes", c->cache_memory_bytes, 0);
    put_text(w, "key", c->client_key_file);
    close_value(w, '}');
}

static void put_machine(writer *w, const hsdi_machine *m)
{
    char fingerprint[24] = "";
    if (m->fingerprint) {
        snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, m->fingerprint);
    }
    open_value(w, NULL, '{');
    put_text(w, "name", m->name);
    put_text(w, "fingerprint", fingerprint);
    open_value(w, "hosts", '[');
    for (int i = 0; i < m->n_hosts; i++) {
        put_host(w, &m->hosts[i]);
    }
    close_value(w, ']');
    open_value(w, "devices", '[');
    for (int i = 0; i < m->n_devices; i++) {
        put_device(w, m, &m->devices[i]);
    }
    close_value(w, ']');
    put_links_and_workers(w, m);
    put_choices(w, m);
    close_value(w, '}');
    fputc('\n', w->out);
}

hsd_status hsdi_print_json(const hsdi_machine *machine, char **text, hsd_error *err)
{
    size_t n = 0;
    *text = NULL;
    hsd_status status = hsdi_machine_check(machine, err);
    if (status != HSD_OK) {
        return status;
    }
    writer w = {open_memstream(text, &n), true};
    hsdi_numbers before = hsdi_numbers_plain();
    if (w.out) {
        put_machine(&w, machine);
    }
    hsdi_numbers_back(before);
    bool good = w.out && fclose(w.out) == 0;
    if (!good) {
        free(*text);
        *text = NULL;
    }
    return good ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "machine", "JSON");
}
