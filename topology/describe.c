/// Description files to machines.
#include "topology/describe.h"

#include "base/error.h"
#include "topology/fields.h"
#include "topology/schema.h"
#include "topology/units.h"
#include "topology/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_CHARS = 96, WHY_CHARS = 160 };

typedef struct reader {
    hsdi_yaml yaml;
    const hsdi_text_machine *text;
    hsdi_machine *machine;
    hsd_error *err;
} reader;

static bool is_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return text[0] && !text[strspn(text, allowed)];
}

static hsd_status take_text(reader *r, const hsdi_field *f, const char *text, char *out,
                            const char *path)
{
    if (f->kind == HSDI_FIELD_NAME && !is_name(text)) {
        return hsdi_yaml_fail(&r->yaml, path, r->err,
                              "\"%.40s\" is no name: letters, digits and . _ - are", text);
    }
    if (strlen(text) >= (size_t)f->detail) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "it has %zu bytes, at most %d fit",
                              strlen(text), f->detail - 1);
    }
    memcpy(out, text, strlen(text) + 1);
    return HSD_OK;
}

static hsd_status take_quantity(reader *r, const hsdi_field *f, const char *text, void *out,
                                const char *path)
{
    char why[WHY_CHARS];
    double value = 0.0;
    if (!hsdi_quantity_parse(text, (hsdi_unit)f->detail, &value, why, sizeof why)) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "%s", why);
    }
    if (f->kind == HSDI_FIELD_BYTES) {
        *(int64_t *)out = (int64_t)value;
    } else {
        *(double *)out = value;
    }
    return HSD_OK;
}

static hsd_status take_int(reader *r, const hsdi_field *f, int value, int *out, const char *path)
{
    if (f->detail > 0 && value > f->detail) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "%d is too large: at most %d", value,
                              f->detail);
    }
    *out = value;
    return HSD_OK;
}

static hsd_status take_index(reader *r, const hsdi_field *f, const char *text, int *out,
                             const char *path)
{
    bool is_host = f->kind == HSDI_FIELD_HOST;
    *out = is_host ? hsdi_machine_find_host(r->machine, text)
                   : hsdi_machine_find_device(r->machine, text);
    return *out >= 0 ? HSD_OK
                     : hsdi_yaml_fail(&r->yaml, path, r->err, "there is no %s \"%.64s\"",
                                      is_host ? "host" : "device", text);
}

static hsd_status take_field(reader *r, const hsdi_field *f, const void *value, void *out,
                             const char *path)
{
    switch (f->kind) {
    case HSDI_FIELD_TEXT:
    case HSDI_FIELD_NAME:
        return take_text(r, f, value, out, path);
    case HSDI_FIELD_BYTES:
    case HSDI_FIELD_QUANTITY:
        return take_quantity(r, f, value, out, path);
    case HSDI_FIELD_INT:
        return take_int(r, f, *(const int *)value, out, path);
    case HSDI_FIELD_BOOL:
        *(bool *)out = *(const bool *)value;
        return HSD_OK;
    case HSDI_FIELD_DEVICE:
    case HSDI_FIELD_HOST:
        return take_index(r, f, value, out, path);
    }
    return HSD_OK;
}

/// All members of one struct. `path` names it: "devices[1]".
static hsd_status take_fields(reader *r, const hsdi_field *fields, const void *text, void *out,
                              const char *path)
{
    for (const hsdi_field *f = fields; f->key; f++) {
        char inner[PATH_CHARS + 32];
        void *const *value = (void *const *)((const char *)text + f->text_at);
        char *to = (char *)out + f->machine_at;
        if (!*value) {
            if (f->otherwise != 0) {
                *(int *)to = f->otherwise;
            }
            continue;
        }
        snprintf(inner, sizeof inner, "%s.%s", path, f->key);
        hsd_status status = take_field(r, f, *value, to, inner);
        if (status != HSD_OK) {
            return status;
        }
    }
    return HSD_OK;
}

// ---- hosts ----

static hsd_status take_port(reader *r, const hsdi_text_port *text, int i_host, int i)
{
    char inner[PATH_CHARS], name[PATH_CHARS + 8];
    hsdi_machine_host *host = &r->machine->hosts[i_host];
    snprintf(inner, sizeof inner, "hosts[%d].ports[%d]", i_host, i);
    hsdi_machine_port *port = &host->ports[i];
    hsd_status status = take_fields(r, hsdi_fields_port, text, port, inner);
    if (status == HSD_OK && port->i_numa >= host->n_numa) {
        snprintf(name, sizeof name, "%s.numa", inner);
        return hsdi_yaml_fail(&r->yaml, name, r->err, "%d: the host has %d NUMA nodes, from 0 on",
                              port->i_numa, host->n_numa);
    }
    for (int k = 0; k < i && status == HSD_OK; k++) {
        if (strcmp(host->ports[k].name, port->name) == 0) {
            snprintf(name, sizeof name, "%s.name", inner);
            status =
                hsdi_yaml_fail(&r->yaml, name, r->err, "two ports are called \"%s\"", port->name);
        }
    }
    return status;
}

static hsd_status take_host_parts(reader *r, int i_host)
{
    char inner[PATH_CHARS];
    const hsdi_text_host *text = &r->text->hosts[i_host];
    hsdi_machine_host *host = &r->machine->hosts[i_host];
    hsd_status status = HSD_OK;
    for (unsigned i = 0; i < text->n_caches && status == HSD_OK; i++) {
        snprintf(inner, sizeof inner, "hosts[%d].caches[%u]", i_host, i);
        status = take_fields(r, hsdi_fields_cache, &text->caches[i], &host->caches[i], inner);
        host->n_caches = (int)i + 1;
    }
    for (unsigned i = 0; i < text->n_numa && status == HSD_OK; i++) {
        snprintf(inner, sizeof inner, "hosts[%d].numa[%u]", i_host, i);
        status = take_fields(r, hsdi_fields_numa, &text->numa[i], &host->numa[i], inner);
        host->n_numa = (int)i + 1;
    }
    for (unsigned i = 0; i < text->n_ports && status == HSD_OK; i++) {
        status = take_port(r, &text->ports[i], i_host, (int)i);
        host->n_ports = (int)i + 1;
    }
    return status;
}

static hsd_status take_hosts(reader *r)
{
    hsdi_machine *m = r->machine;
    bool somebody_is_here = false;
    for (unsigned i = 0; i < r->text->n_hosts; i++) {
        char path[PATH_CHARS], name[PATH_CHARS + 8];
        hsdi_machine_host *host = &m->hosts[i];
        host->n_numa = 1;
        snprintf(path, sizeof path, "hosts[%u]", i);
        hsd_status status = take_fields(r, hsdi_fields_host, &r->text->hosts[i], host, path);
        if (status == HSD_OK && hsdi_machine_find_host(m, host->name) >= 0) {
            snprintf(name, sizeof name, "%s.name", path);
            status =
                hsdi_yaml_fail(&r->yaml, name, r->err, "two hosts are called \"%s\"", host->name);
        }
        if (status == HSD_OK && host->is_here && somebody_is_here) {
            snprintf(name, sizeof name, "%s.here", path);
            status = hsdi_yaml_fail(&r->yaml, name, r->err, "another host is here already");
        }
        if (status != HSD_OK || (status = take_host_parts(r, (int)i)) != HSD_OK) {
            return status;
        }
        somebody_is_here |= host->is_here;
        m->n_hosts++;
    }
    return HSD_OK;
}

// ---- devices ----

static hsd_status check_device(reader *r, int i, const char *path)
{
    const hsdi_machine *m = r->machine;
    const hsdi_machine_device *d = &m->devices[i];
    char field[PATH_CHARS + 8];
    if (hsdi_machine_find_device(m, d->name) >= 0 || hsdi_machine_find_host(m, d->name) >= 0) {
        snprintf(field, sizeof field, "%s.name", path);
        return hsdi_yaml_fail(&r->yaml, field, r->err, "two devices or hosts are called \"%s\"",
                              d->name);
    }
    if (d->i_numa >= m->hosts[d->i_host].n_numa) {
        snprintf(field, sizeof field, "%s.numa", path);
        return hsdi_yaml_fail(&r->yaml, field, r->err, "%d: %s has %d NUMA nodes, from 0 on",
                              d->i_numa, m->hosts[d->i_host].name, m->hosts[d->i_host].n_numa);
    }
    return HSD_OK;
}

/// The name behind same_as, checked; -1 and HSD_OK: there is none.
static hsd_status find_same(reader *r, int i, int *out)
{
    const hsdi_machine *m = r->machine;
    const char *name = r->text->devices[i].same_as;
    char path[PATH_CHARS];
    snprintf(path, sizeof path, "devices[%d].same_as", i);
    *out = name ? hsdi_machine_find_device(m, name) : -1;
    if (name && *out < 0) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "there is no device \"%.64s\"", name);
    }
    if (name && m->devices[*out].i_host != m->devices[i].i_host) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "%s is on another host", name);
    }
    return HSD_OK;
}

/// References of a machine go to lower indices. Where one does not, all that are the same get the
/// first of them; other groups keep what they say.
static void point_back(hsdi_machine *m, const int *same)
{
    int root[HSDI_MACHINE_DEVICES];
    for (int i = 0; i < m->n_devices; i++) {
        root[i] = i;
        while (same[root[i]] >= 0) {
            root[i] = same[root[i]];
        }
    }
    for (int i = 0; i < m->n_devices; i++) {
        int first = i;
        bool is_forward = false;
        for (int k = m->n_devices - 1; k >= 0; k--) {
            first = root[k] == root[i] ? k : first;
            is_forward |= root[k] == root[i] && same[k] > k;
        }
        m->devices[i].i_same_as = !is_forward ? same[i] : first == i ? -1 : first;
    }
}

static hsd_status take_same(reader *r)
{
    hsdi_machine *m = r->machine;
    int same[HSDI_MACHINE_DEVICES];
    for (int i = 0; i < m->n_devices; i++) {
        hsd_status status = find_same(r, i, &same[i]);
        if (status != HSD_OK) {
            return status;
        }
    }
    for (int i = 0; i < m->n_devices; i++) {
        int at = i;
        for (int n = 0; same[at] >= 0 && n <= m->n_devices; n++) {
            at = same[at];
        }
        if (same[at] >= 0) {
            char path[PATH_CHARS];
            snprintf(path, sizeof path, "devices[%d].same_as", i);
            return hsdi_yaml_fail(&r->yaml, path, r->err, "%s leads back to itself: a cycle",
                                  m->devices[i].name);
        }
    }
    point_back(m, same);
    return HSD_OK;
}

static hsd_status take_devices(reader *r)
{
    for (unsigned i = 0; i < r->text->n_devices; i++) {
        char path[PATH_CHARS];
        hsdi_machine_device *device = &r->machine->devices[i];
        snprintf(path, sizeof path, "devices[%u]", i);
        device->i_same_as = -1;
        hsd_status status = take_fields(r, hsdi_fields_device, &r->text->devices[i], device, path);
        if (status != HSD_OK || (status = check_device(r, (int)i, path)) != HSD_OK) {
            return status;
        }
        r->machine->n_devices++;
    }
    return take_same(r);
}

// ---- links, workers, choices ----

static hsd_status take_end(reader *r, const char *name, const char *path, hsdi_machine_end *out)
{
    int i_host = hsdi_machine_find_host(r->machine, name);
    *out = (hsdi_machine_end){i_host >= 0, i_host};
    if (i_host < 0) {
        out->index = hsdi_machine_find_device(r->machine, name);
    }
    return out->index >= 0 ? HSD_OK
                           : hsdi_yaml_fail(&r->yaml, path, r->err,
                                            "there is no host or device \"%.64s\"", name);
}

static hsd_status check_link(reader *r, const hsdi_machine_link *l, const char *path)
{
    const hsdi_machine *m = r->machine;
    if (!l->from.is_host && !l->to.is_host && l->from.index == l->to.index) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "a link from %s to itself: a loop",
                              m->devices[l->from.index].name);
    }
    if (l->from.is_host != l->to.is_host) {
        const hsdi_machine_device *d = &m->devices[l->from.is_host ? l->to.index : l->from.index];
        int i_host = l->from.is_host ? l->from.index : l->to.index;
        if (d->i_host != i_host) {
            return hsdi_yaml_fail(&r->yaml, path, r->err, "%s is on %s, not on %s: link the hosts",
                                  d->name, m->hosts[d->i_host].name, m->hosts[i_host].name);
        }
    }
    if (hsdi_machine_find_link(m, l->from, l->to)) {
        return hsdi_yaml_fail(&r->yaml, path, r->err, "a second link between these two");
    }
    return HSD_OK;
}

static hsd_status take_link(reader *r, int i)
{
    const hsdi_text_link *text = &r->text->links[i];
    hsdi_machine_link *link = &r->machine->links[i];
    char path[PATH_CHARS], from[PATH_CHARS + 8], to[PATH_CHARS + 8];
    snprintf(path, sizeof path, "links[%d]", i);
    snprintf(from, sizeof from, "%s.from", path);
    snprintf(to, sizeof to, "%s.to", path);
    hsd_status status = take_end(r, text->from, from, &link->from);
    if (status == HSD_OK) {
        status = take_end(r, text->to, to, &link->to);
    }
    if (status == HSD_OK) {
        status = take_fields(r, hsdi_fields_link, text, link, path);
    }
    return status == HSD_OK ? check_link(r, link, to) : status;
}

static hsd_status take_worker(reader *r, int i)
{
    char path[PATH_CHARS], name[PATH_CHARS + 8];
    const hsdi_machine_worker *w = &r->machine->workers[i];
    snprintf(path, sizeof path, "workers[%d]", i);
    snprintf(name, sizeof name, "%s.name", path);
    hsd_status status =
        take_fields(r, hsdi_fields_worker, &r->text->workers[i], &r->machine->workers[i], path);
    for (int k = 0; k < i && status == HSD_OK; k++) {
        if (strcmp(r->machine->workers[k].name, w->name) == 0) {
            status =
                hsdi_yaml_fail(&r->yaml, name, r->err, "two workers are called \"%s\"", w->name);
        }
    }
    return status;
}

static hsd_status take_choices(reader *r)
{
    static const char *const roles[] = {"choices.target", "choices.suffix", "choices.draft"};
    const hsdi_text_choices *text = r->text->choices;
    hsdi_machine_choices *c = &r->machine->choices;
    hsd_status status = text ? take_fields(r, hsdi_fields_choices, text, c, "choices") : HSD_OK;
    if (status != HSD_OK || !text) {
        return status;
    }
    c->forbidden_modes = text->forbidden_modes ? (unsigned)*text->forbidden_modes : 0;
    if (c->mode != HSD_MODE_AUTO && c->forbidden_modes >> c->mode & 1u) {
        return hsdi_yaml_fail(&r->yaml, "choices.mode", r->err, "it is forbidden below");
    }
    const int devices[] = {c->i_target, c->i_suffix, c->i_draft};
    for (int i = 0; i < 3; i++) {
        if (devices[i] >= 0 && r->machine->devices[devices[i]].is_forbidden) {
            return hsdi_yaml_fail(&r->yaml, roles[i], r->err, "%s is forbidden",
                                  r->machine->devices[devices[i]].name);
        }
    }
    return HSD_OK;
}

// ---- the whole ----

static hsd_status take_top(reader *r)
{
    const hsdi_text_machine *t = r->text;
    const hsdi_field name = {"name", HSDI_FIELD_NAME, 0, 0, sizeof r->machine->name, 0, true};
    if (*t->version != HSDI_DESCRIPTION_VERSION) {
        return hsdi_yaml_fail(&r->yaml, "topology", r->err, "version %d: this hsd reads version %d",
                              *t->version, HSDI_DESCRIPTION_VERSION);
    }
    if (t->fingerprint) {
        size_t n = strspn(t->fingerprint, "0123456789abcdef");
        if (n != 16 || t->fingerprint[n]) {
            return hsdi_yaml_fail(&r->yaml, "fingerprint", r->err,
                                  "16 digits of 0 to 9 and a to f are wanted");
        }
        r->machine->fingerprint = strtoull(t->fingerprint, NULL, 16);
    }
    return t->name ? take_text(r, &name, t->name, r->machine->name, "name") : HSD_OK;
}

static hsd_status take_all(reader *r)
{
    hsdi_machine *m = r->machine;
    hsd_status status = take_top(r);
    if (status == HSD_OK) {
        status = take_hosts(r);
    }
    if (status == HSD_OK) {
        status = take_devices(r);
    }
    for (unsigned i = 0; i < r->text->n_links && status == HSD_OK; i++) {
        status = take_link(r, (int)i);
        m->n_links = (int)i + 1;
    }
    for (unsigned i = 0; i < r->text->n_workers && status == HSD_OK; i++) {
        status = take_worker(r, (int)i);
        m->n_workers = (int)i + 1;
    }
    if (status == HSD_OK) {
        status = take_choices(r);
    }
    // What has no place is a mistake in this file.
    return status == HSD_OK ? hsdi_machine_check(m, r->err) : status;
}

hsd_status hsdi_describe_parse(const char *text, size_t n_bytes, const char *file,
                               hsdi_machine *out, hsd_error *err)
{
    reader r = {.machine = out, .err = err};
    void *data = NULL;
    hsdi_machine_init(out);
    hsd_status status =
        hsdi_yaml_load(text, n_bytes, file, &hsdi_description_schema, &r.yaml, &data, err);
    if (status == HSD_OK) {
        r.text = data;
        status = take_all(&r);
    }
    hsdi_yaml_free(&hsdi_description_schema, data);
    hsdi_yaml_close(&r.yaml);
    return status;
}

hsd_status hsdi_describe_read(const char *path, hsdi_machine *out, hsd_error *err)
{
    char *text = NULL;
    size_t n_bytes = 0;
    hsd_status status = hsdi_yaml_read_file(path, &text, &n_bytes, err);
    if (status == HSD_OK) {
        status = hsdi_describe_parse(text, n_bytes, path, out, err);
    }
    free(text);
    return status;
}
