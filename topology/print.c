/// A machine as a tree, for people.
#include "topology/print.h"

#include "base/error.h"
#include "topology/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_CHARS = 400 };

int hsdi_print_shown_in(const hsdi_machine *machine, int i_device)
{
    const hsdi_machine_device *d = &machine->devices[i_device];
    if (d->i_same_as >= 0) {
        return hsdi_print_shown_in(machine, d->i_same_as);
    }
    for (int i = 0; strncmp(d->id, "cpu:", 4) == 0 && i < machine->n_devices; i++) {
        const hsdi_machine_device *whole = &machine->devices[i];
        if (whole->i_host == d->i_host && strcmp(whole->id, "cpu") == 0 && whole->i_same_as < 0) {
            return i;
        }
    }
    return i_device;
}

const char *hsdi_print_mode(hsd_mode mode)
{
    static const char *const names[] = {"auto", "ar", "serial", "mirror", "async"};
    return (unsigned)mode < sizeof names / sizeof *names ? names[mode] : names[0];
}

const char *hsdi_print_type(hsdi_device_type type)
{
    static const char *const names[] = {"cpu", "gpu", "npu", "accelerator", "other"};
    return (unsigned)type < sizeof names / sizeof *names ? names[type] : "other";
}

// ---- lines with a depth ----

typedef struct line {
    int depth;
    char text[LINE_CHARS];
} line;

typedef struct lines {
    line *items;
    int n, cap;
    bool failed;
} lines;

static void add(lines *out, int depth, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void add(lines *out, int depth, const char *fmt, ...)
{
    if (out->n == out->cap) {
        int cap = out->cap > 0 ? 2 * out->cap : 64;
        line *more = realloc(out->items, (size_t)cap * sizeof *more);
        if (!more) {
            out->failed = true;
            return;
        }
        out->items = more;
        out->cap = cap;
    }
    line *l = &out->items[out->n++];
    va_list args;
    va_start(args, fmt);
    l->depth = depth;
    vsnprintf(l->text, sizeof l->text, fmt, args);
    va_end(args);
}

/// Is there one more of this depth under the same parent?
static bool has_next(const lines *all, int i, int depth)
{
    for (i++; i < all->n && all->items[i].depth >= depth; i++) {
        if (all->items[i].depth == depth) {
            return true;
        }
    }
    return false;
}

static hsd_status join(lines *all, char **text, hsd_error *err)
{
    size_t n = 0;
    FILE *out = all->failed ? NULL : open_memstream(text, &n);
    for (int i = 0; out && i < all->n; i++) {
        int depth = all->items[i].depth;
        for (int d = 1; d < depth; d++) {
            fputs(has_next(all, i, d) ? "│  " : "   ", out);
        }
        if (depth > 0) {
            fputs(has_next(all, i, depth) ? "├─ " : "└─ ", out);
        }
        fprintf(out, "%s\n", all->items[i].text);
    }
    free(all->items);
    if (!out || fclose(out) != 0) {
        return hsdi_fail(err, HSD_ENOMEM, "machine", "tree");
    }
    return HSD_OK;
}

// ---- what the lines say ----

/// A sentence part, with a comma before it where it is not the first. What is 0 is left out.
typedef struct parts {
    char text[LINE_CHARS];
} parts;

static void part(parts *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void part(parts *p, const char *fmt, ...)
{
    size_t n = strlen(p->text);
    va_list args;
    va_start(args, fmt);
    n += (size_t)snprintf(p->text + n, sizeof p->text - n, "%s", n > 0 ? ", " : "");
    if (n < sizeof p->text) {
        vsnprintf(p->text + n, sizeof p->text - n, fmt, args);
    }
    va_end(args);
}

static void quantity(parts *p, const char *before, double value, hsdi_unit unit, const char *behind)
{
    char text[HSDI_QUANTITY_CHARS];
    if (value > 0.0) {
        hsdi_quantity_show(value, unit, text);
        part(p, "%s%s%s", before, text, behind);
    }
}

static void count(parts *p, int n, const char *what)
{
    if (n > 0) {
        part(p, "%d %s%s", n, what, n > 1 ? "s" : "");
    }
}

static void add_host_parts(lines *out, const hsdi_machine_host *h)
{
    parts caches = {""};
    for (int i = 0; i < h->n_caches; i++) {
        const hsdi_machine_cache *c = &h->caches[i];
        char size[HSDI_QUANTITY_CHARS], each[48] = "";
        hsdi_quantity_show((double)c->size_bytes, HSDI_UNIT_BYTES, size);
        if (c->n_cores > 1) {
            snprintf(each, sizeof each, " for %d cores each", c->n_cores);
        }
        part(&caches, "L%d %d x %s%s", c->level, c->n, size, each);
    }
    if (h->n_caches > 0) {
        add(out, 2, "caches: %s", caches.text);
    }
    for (int i = 0; i < h->n_numa && h->n_numa > 1; i++) {
        parts node = {""};
        quantity(&node, "", (double)h->numa[i].memory_bytes, HSDI_UNIT_BYTES, "");
        if (h->numa[i].cpus[0]) {
            part(&node, "processors %s", h->numa[i].cpus);
        }
        add(out, 2, "NUMA node %d: %s", i, node.text);
    }
}

static void add_ports(lines *out, const hsdi_machine_host *h)
{
    for (int i = 0; i < h->n_ports; i++) {
        const hsdi_machine_port *p = &h->ports[i];
        parts port = {""};
        part(&port, "%s", p->type == HSDI_PORT_NETWORK ? "network" : "storage");
        quantity(&port, "", p->gbps, HSDI_UNIT_RATE, "");
        if (p->pci[0]) {
            part(&port, "PCI %s", p->pci);
        }
        if (p->i_numa >= 0) {
            part(&port, "near NUMA node %d", p->i_numa);
        }
        add(out, 2, "%s: %s", p->name, port.text);
    }
}

/// Rates, or that they are missing.
static void add_rates(lines *out, int depth, const hsdi_machine *m, const hsdi_machine_device *d)
{
    parts rates = {""};
    quantity(&rates, "reads ", d->read_gbps, HSDI_UNIT_RATE, "");
    quantity(&rates, "f32 ", d->f32_gops, HSDI_UNIT_OPERATIONS, "");
    quantity(&rates, "f16 ", d->f16_gops, HSDI_UNIT_OPERATIONS, "");
    quantity(&rates, "int8 ", d->int8_gops, HSDI_UNIT_OPERATIONS, "");
    quantity(&rates, "launch ", d->launch_ns, HSDI_UNIT_TIME, "");
    quantity(&rates, "idle ", d->idle_w, HSDI_UNIT_POWER, "");
    quantity(&rates, "busy ", d->busy_w, HSDI_UNIT_POWER, "");
    if (rates.text[0]) {
        add(out, depth, "%s", rates.text);
    } else if (d->id[0] && m->hosts[d->i_host].is_here) {
        add(out, depth, "not measured yet: hsd topo --measure");
    }
}

static void add_links_of(lines *out, int depth, const hsdi_machine *m, int i_device)
{
    for (int i = 0; i < m->n_links; i++) {
        const hsdi_machine_link *l = &m->links[i];
        bool from = !l->from.is_host && l->from.index == i_device,
             to = !l->to.is_host && l->to.index == i_device;
        if (from || to) {
            hsdi_machine_end other = from ? l->to : l->from;
            parts link = {""};
            quantity(&link, "", l->latency_ns, HSDI_UNIT_TIME, "");
            quantity(&link, "", l->gbps, HSDI_UNIT_RATE, "");
            add(out, depth, "link to %s: %s",
                other.is_host ? m->hosts[other.index].name : m->devices[other.index].name,
                link.text[0] ? link.text : "nothing known");
        }
    }
}

static void add_device(lines *out, int depth, const hsdi_machine *m, int i_device)
{
    const hsdi_machine_device *d = &m->devices[i_device];
    parts text = {""};
    part(&text, "%s", hsdi_print_type(d->type));
    if (d->id[0]) {
        part(&text, "id %.60s%s", d->id, strlen(d->id) > 60 ? ".." : "");
    }
    count(&text, d->n_units, d->type == HSDI_DEVICE_CPU ? "core" : "unit");
    quantity(&text, "", (double)d->memory_bytes, HSDI_UNIT_BYTES, "");
    quantity(&text, "at most ", (double)d->memory_limit_bytes, HSDI_UNIT_BYTES, " for hsd");
    if (d->i_numa >= 0) {
        part(&text, "NUMA node %d", d->i_numa);
    }
    if (d->pci[0]) {
        part(&text, "PCI %s", d->pci);
    }
    if (d->i_same_as >= 0) {
        part(&text, "the same as %s", m->devices[d->i_same_as].name);
    }
    if (d->is_forbidden) {
        part(&text, "forbidden");
    }
    add(out, depth, "%s: %s", d->name, text.text);
    if ((d->model[0] || d->driver[0]) && strncmp(d->id, "cpu:", 4) != 0) {
        add(out, depth + 1, "%s%s%s", d->model, d->model[0] && d->driver[0] ? "; " : "", d->driver);
    }
    add_rates(out, depth + 1, m, d);
    if (d->unusable[0]) {
        add(out, depth + 1, "cannot be used: %s", d->unusable);
    }
    add_links_of(out, depth + 1, m, i_device);
    for (int i = 0; i < m->n_workers; i++) {
        const hsdi_machine_worker *w = &m->workers[i];
        if (w->i_device == i_device) {
            add(out, depth + 1, "worker %s: %s at %s%s%s", w->name,
                w->i_draft_kind == HSD_DRAFT_NGRAM ? "ngram" : "model", w->endpoint,
                w->pub_file[0] ? ", key " : "", w->pub_file);
        }
    }
}

static void add_host(lines *out, const hsdi_machine *m, int i_host)
{
    const hsdi_machine_host *h = &m->hosts[i_host];
    parts text = {""};
    count(&text, h->n_packages, "package");
    count(&text, h->n_cores, "core");
    count(&text, h->n_cpus, "processor");
    quantity(&text, "", (double)h->memory_bytes, HSDI_UNIT_BYTES, " of memory");
    quantity(&text, "at most ", (double)h->memory_limit_bytes, HSDI_UNIT_BYTES, " for hsd");
    add(out, 1, "host %s%s%s%s", h->name, h->is_here ? " (here)" : "", text.text[0] ? ": " : "",
        text.text);
    add_host_parts(out, h);
    for (int i = 0; i < m->n_devices; i++) {
        if (m->devices[i].i_host != i_host || hsdi_print_shown_in(m, i) != i) {
            continue;
        }
        add_device(out, 2, m, i);
        for (int k = 0; k < m->n_devices; k++) {
            if (k != i && hsdi_print_shown_in(m, k) == i) {
                add_device(out, 3, m, k);
            }
        }
    }
    add_ports(out, h);
}

static void add_host_links(lines *out, const hsdi_machine *m)
{
    for (int i = 0; i < m->n_links; i++) {
        const hsdi_machine_link *l = &m->links[i];
        parts link = {""};
        if (l->from.is_host && l->to.is_host) {
            quantity(&link, "", l->latency_ns, HSDI_UNIT_TIME, "");
            quantity(&link, "", l->gbps, HSDI_UNIT_RATE, "");
            bool inside = l->from.index == l->to.index;
            add(out, 1, "%s %s%s%s: %s", inside ? "between processes of" : "link",
                m->hosts[l->from.index].name, inside ? "" : " - ",
                inside ? "" : m->hosts[l->to.index].name, link.text);
        }
    }
}

static void device_choice(parts *p, const hsdi_machine *m, const char *what, int i_device)
{
    if (i_device >= 0) {
        part(p, "%s on %s", what, m->devices[i_device].name);
    }
}

static void number_choice(parts *p, const char *what, int value)
{
    if (value >= 0) {
        part(p, "%s %d", what, value);
    }
}

static void add_choices(lines *out, const hsdi_machine *m)
{
    const hsdi_machine_choices *c = &m->choices;
    parts p = {""};
    if (c->mode != HSD_MODE_AUTO) {
        part(&p, "mode %s", hsdi_print_mode(c->mode));
    }
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        if (c->forbidden_modes >> mode & 1u) {
            part(&p, "never %s", hsdi_print_mode((hsd_mode)mode));
        }
    }
    device_choice(&p, m, "target", c->i_target);
    device_choice(&p, m, "last layers", c->i_suffix);
    device_choice(&p, m, "draft", c->i_draft);
    number_choice(&p, "target threads", c->n_target_threads);
    number_choice(&p, "draft threads", c->n_draft_threads);
    number_choice(&p, "exit layer", c->exit_layer);
    number_choice(&p, "split layer", c->split_layer);
    number_choice(&p, "window", c->window);
    number_choice(&p, "tree", c->tree);
    number_choice(&p, "roots", c->roots);
    number_choice(&p, "workers", c->n_workers);
    quantity(&p, "at most ", c->power_w, HSDI_UNIT_POWER, "");
    quantity(&p, "at most ", (double)c->cache_memory_bytes, HSDI_UNIT_BYTES, " for caches");
    if (p.text[0]) {
        add(out, 1, "decided: %s", p.text);
    }
}

hsd_status hsdi_print_tree(const hsdi_machine *machine, char **text, hsd_error *err)
{
    lines all = {0};
    *text = NULL;
    hsd_status status = hsdi_machine_check(machine, err);
    if (status != HSD_OK) {
        return status;
    }
    parts head = {""};
    count(&head, machine->n_hosts, "host");
    count(&head, machine->n_devices, "device");
    count(&head, machine->n_workers, "worker");
    if (machine->fingerprint) {
        part(&head, "fingerprint %016" PRIx64, machine->fingerprint);
    }
    add(&all, 0, "%s: %s", machine->name[0] ? machine->name : "machine", head.text);
    for (int i = 0; i < machine->n_hosts; i++) {
        add_host(&all, machine, i);
    }
    add_host_links(&all, machine);
    add_choices(&all, machine);
    return join(&all, text, err);
}
