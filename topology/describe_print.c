/// Machines to description files.
#include "topology/describe.h"

#include "base/arena.h"
#include "base/error.h"
#include "topology/fields.h"
#include "topology/schema.h"
#include "topology/units.h"
#include "topology/yaml.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/// Texts and numbers of a hsdi_text_machine live in an arena.
typedef struct writer {
    hsdi_arena arena;
    const hsdi_machine *machine;
    bool failed; ///< memory is short
} writer;

static void *copy(writer *w, const void *data, size_t n_bytes)
{
    void *out = hsdi_arena_alloc(&w->arena, n_bytes);
    if (out) {
        memcpy(out, data, n_bytes);
    }
    w->failed |= !out;
    return out;
}

static char *copy_text(writer *w, const char *text)
{
    return copy(w, text, strlen(text) + 1);
}

static void *array(writer *w, int n, size_t element_bytes)
{
    void *out = n > 0 ? hsdi_arena_array(&w->arena, (size_t)n, element_bytes) : NULL;
    w->failed |= n > 0 && !out;
    return out;
}

/// NULL: the key may be left out.
static void *put_field(writer *w, const hsdi_field *f, const void *from)
{
    char quantity[HSDI_QUANTITY_CHARS];
    bool is_bytes = f->kind == HSDI_FIELD_BYTES;
    double value;
    int i;
    switch (f->kind) {
    case HSDI_FIELD_TEXT:
    case HSDI_FIELD_NAME:
        return *(const char *)from || f->must ? copy_text(w, from) : NULL;
    case HSDI_FIELD_BYTES:
    case HSDI_FIELD_QUANTITY:
        value = is_bytes ? (double)*(const int64_t *)from : *(const double *)from;
        if (value <= 0.0 && !f->must) {
            return NULL;
        }
        hsdi_quantity_print(value, (hsdi_unit)f->detail, quantity);
        return copy_text(w, quantity);
    case HSDI_FIELD_BOOL:
        return *(const bool *)from ? copy(w, from, sizeof(bool)) : NULL;
    case HSDI_FIELD_INT:
        return *(const int *)from != f->otherwise || f->must ? copy(w, from, sizeof(int)) : NULL;
    case HSDI_FIELD_DEVICE:
    case HSDI_FIELD_HOST:
        i = *(const int *)from;
        return i < 0 ? NULL
                     : copy_text(w, f->kind == HSDI_FIELD_HOST ? w->machine->hosts[i].name
                                                               : w->machine->devices[i].name);
    }
    return NULL;
}

static void put_fields(writer *w, const hsdi_field *fields, const void *from, void *to)
{
    for (const hsdi_field *f = fields; f->key; f++) {
        void *value = put_field(w, f, (const char *)from + f->machine_at);
        memcpy((char *)to + f->text_at, &value, sizeof value);
    }
}

static void put_host(writer *w, const hsdi_machine_host *h, hsdi_text_host *out)
{
    // One NUMA node of which nothing is known is what a host has without the key.
    int n_numa = h->n_numa == 1 && !h->numa[0].memory_bytes && !h->numa[0].cpus[0] ? 0 : h->n_numa;
    put_fields(w, hsdi_fields_host, h, out);
    out->caches = array(w, h->n_caches, sizeof *out->caches);
    out->numa = array(w, n_numa, sizeof *out->numa);
    out->ports = array(w, h->n_ports, sizeof *out->ports);
    for (int i = 0; i < h->n_caches && !w->failed; i++) {
        put_fields(w, hsdi_fields_cache, &h->caches[i], &out->caches[i]);
    }
    for (int i = 0; i < n_numa && !w->failed; i++) {
        put_fields(w, hsdi_fields_numa, &h->numa[i], &out->numa[i]);
    }
    for (int i = 0; i < h->n_ports && !w->failed; i++) {
        put_fields(w, hsdi_fields_port, &h->ports[i], &out->ports[i]);
    }
    out->n_caches = (unsigned)h->n_caches;
    out->n_numa = (unsigned)n_numa;
    out->n_ports = (unsigned)h->n_ports;
}

static void put_hosts_and_devices(writer *w, hsdi_text_machine *out)
{
    const hsdi_machine *m = w->machine;
    out->hosts = array(w, m->n_hosts, sizeof *out->hosts);
    out->devices = array(w, m->n_devices, sizeof *out->devices);
    for (int i = 0; i < m->n_hosts && !w->failed; i++) {
        put_host(w, &m->hosts[i], &out->hosts[i]);
        out->n_hosts++;
    }
    for (int i = 0; i < m->n_devices && !w->failed; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        put_fields(w, hsdi_fields_device, d, &out->devices[i]);
        if (d->i_same_as >= 0) {
            out->devices[i].same_as = copy_text(w, m->devices[d->i_same_as].name);
        }
        out->n_devices++;
    }
}

static char *end_name(writer *w, hsdi_machine_end end)
{
    return copy_text(w, end.is_host ? w->machine->hosts[end.index].name
                                    : w->machine->devices[end.index].name);
}

static void put_links_and_workers(writer *w, hsdi_text_machine *out)
{
    const hsdi_machine *m = w->machine;
    out->links = array(w, m->n_links, sizeof *out->links);
    out->workers = array(w, m->n_workers, sizeof *out->workers);
    for (int i = 0; i < m->n_links && !w->failed; i++) {
        put_fields(w, hsdi_fields_link, &m->links[i], &out->links[i]);
        out->links[i].from = end_name(w, m->links[i].from);
        out->links[i].to = end_name(w, m->links[i].to);
        out->n_links++;
    }
    for (int i = 0; i < m->n_workers && !w->failed; i++) {
        put_fields(w, hsdi_fields_worker, &m->workers[i], &out->workers[i]);
        out->n_workers++;
    }
}

static void put_choices(writer *w, hsdi_text_machine *out)
{
    const hsdi_machine_choices *c = &w->machine->choices;
    hsdi_text_choices *text = array(w, 1, sizeof *text);
    if (!text) {
        return;
    }
    put_fields(w, hsdi_fields_choices, c, text);
    int bits = (int)(c->forbidden_modes & ~1u); // `auto` is no mode of its own
    text->forbidden_modes = bits ? copy(w, &bits, sizeof bits) : NULL;
    static const hsdi_text_choices none;
    out->choices = memcmp(text, &none, sizeof none) != 0 ? text : NULL;
}

hsd_status hsdi_describe_print(const hsdi_machine *machine, char **text, hsd_error *err)
{
    static int version = HSDI_DESCRIPTION_VERSION;
    writer w = {.machine = machine};
    hsdi_text_machine all = {.version = &version};
    size_t n_bytes;
    *text = NULL;
    hsd_status status = hsdi_machine_check(machine, err);
    if (status != HSD_OK) {
        return status;
    }
    all.name = machine->name[0] ? copy_text(&w, machine->name) : NULL;
    if (machine->fingerprint) {
        char digits[20];
        snprintf(digits, sizeof digits, "%016" PRIx64, machine->fingerprint);
        all.fingerprint = copy_text(&w, digits);
    }
    put_hosts_and_devices(&w, &all);
    put_links_and_workers(&w, &all);
    put_choices(&w, &all);
    status = w.failed ? hsdi_fail(err, HSD_ENOMEM, "description", "text")
                      : hsdi_yaml_save(&hsdi_description_schema, &all, text, &n_bytes, err);
    hsdi_arena_fini(&w.arena);
    return status;
}
