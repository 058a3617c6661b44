/// What must hold of a machine, whoever made it.
#include "topology/machine.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_MODES = HSD_MODE_ASYNC + 1 };

/// Names end up in files, command lines and pictures.
static bool is_name(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strspn(text, allowed);
    return n > 0 && !text[n];
}

/// The bytes of a character from `lead` on; 0: no such character.
static int n_bytes_of(unsigned char lead)
{
    return lead < 0x80                   ? 1
           : lead >= 0xc2 && lead < 0xe0 ? 2
           : lead >= 0xe0 && lead < 0xf0 ? 3
           : lead >= 0xf0 && lead < 0xf5 ? 4
                                         : 0;
}

/// The length of the character at `p` where it is one that a text may have: UTF-8, no control
/// character, no surrogate, no byte order mark; else 0.
static int character(const unsigned char *p)
{
    int n = n_bytes_of(p[0]);
    uint32_t c = n == 1 ? p[0] : n > 0 ? p[0] & (0xffu >> (n + 1)) : 0;
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    bool good = n > 0 && c >= least[n] && c != 0x7f && (c < 0xd800 || c > 0xdfff) && c != 0xfeff &&
                c != 0xfffe && c != 0xffff && c != 0x2028 && c != 0x2029 && c <= 0x10ffff;
    return good ? n : 0;
}

bool hsdi_machine_is_text(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    for (int n; *p; p += n) {
        n = character(p);
        if (n == 0) {
            return false;
        }
    }
    return true;
}

void hsdi_machine_make_text(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p;) {
        int n = character(p);
        if (n == 0) {
            *p = '?';
        }
        p += n > 0 ? n : 1;
    }
}

typedef struct number {
    const char *field;
    double value;
} number;

static hsd_status check_numbers(const char *where, const number *numbers, size_t n, hsd_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(numbers[i].value) || numbers[i].value < 0.0) {
            return hsdi_fail(err, HSD_EINVAL, where, "%s is %g: it must be a number from 0 on",
                             numbers[i].field, numbers[i].value);
        }
    }
    return HSD_OK;
}

static hsd_status check_texts(const char *where, const char *const *texts, size_t n, hsd_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!hsdi_machine_is_text(texts[i])) {
            return hsdi_fail(err, HSD_EINVAL, where, "a text has bytes that are no characters");
        }
    }
    return HSD_OK;
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

static hsd_status check_parts(const hsdi_machine_host *h, hsd_error *err)
{
    for (int i = 0; i < h->n_caches; i++) {
        const hsdi_machine_cache *c = &h->caches[i];
        const number numbers[] = {{"level", c->level},
                                  {"count", c->n},
                                  {"cores", c->n_cores},
                                  {"size", (double)c->size_bytes}};
        hsd_status status = check_numbers(h->name, numbers, COUNT(numbers), err);
        if (status != HSD_OK) {
            return status;
        }
    }
    for (int i = 0; i < h->n_numa; i++) {
        if (h->numa[i].memory_bytes < 0 || !hsdi_machine_is_text(h->numa[i].cpus)) {
            return hsdi_fail(err, HSD_EINVAL, h->name, "NUMA node %d makes no sense", i);
        }
    }
    for (int i = 0; i < h->n_ports; i++) {
        const hsdi_machine_port *p = &h->ports[i];
        const char *const texts[] = {p->name, p->pci};
        const number numbers[] = {{"rate", p->gbps}};
        bool good = p->name[0] && p->i_numa >= -1 && p->i_numa < h->n_numa;
        if (!good || check_texts(h->name, texts, COUNT(texts), NULL) != HSD_OK ||
            check_numbers(h->name, numbers, COUNT(numbers), NULL) != HSD_OK) {
            return hsdi_fail(err, HSD_EINVAL, h->name, "port %d makes no sense", i);
        }
        for (int k = 0; k < i; k++) {
            if (strcmp(p->name, h->ports[k].name) == 0) {
                return hsdi_fail(err, HSD_EINVAL, h->name, "two ports are called %s", p->name);
            }
        }
    }
    return HSD_OK;
}

static hsd_status check_host(const hsdi_machine *m, int i_host, hsd_error *err)
{
    const hsdi_machine_host *h = &m->hosts[i_host];
    if (!is_name(h->name)) {
        return hsdi_fail(err, HSD_EINVAL, "host", "\"%s\" is no name of letters, digits, . _ -",
                         hsdi_machine_is_text(h->name) ? h->name : "?");
    }
    if (hsdi_machine_find_host(m, h->name) != i_host) {
        return hsdi_fail(err, HSD_EINVAL, h->name, "two hosts have this name");
    }
    const number numbers[] = {{"packages", h->n_packages},
                              {"cores", h->n_cores},
                              {"cpus", h->n_cpus},
                              {"memory", (double)h->memory_bytes},
                              {"memory_limit", (double)h->memory_limit_bytes}};
    hsd_status status = check_numbers(h->name, numbers, COUNT(numbers), err);
    if (status != HSD_OK) {
        return status;
    }
    if (h->n_numa < 1 || h->n_numa > HSDI_MACHINE_NUMA || h->n_caches < 0 ||
        h->n_caches > HSDI_MACHINE_CACHES || h->n_ports < 0 || h->n_ports > HSDI_MACHINE_PORTS) {
        return hsdi_fail(err, HSD_EINVAL, h->name,
                         "%d NUMA nodes (1 to %d), %d caches (to %d), %d ports (to %d)", h->n_numa,
                         HSDI_MACHINE_NUMA, h->n_caches, HSDI_MACHINE_CACHES, h->n_ports,
                         HSDI_MACHINE_PORTS);
    }
    return check_parts(h, err);
}

static hsd_status check_device(const hsdi_machine *m, int i_device, hsd_error *err)
{
    const hsdi_machine_device *d = &m->devices[i_device];
    if (!is_name(d->name)) {
        return hsdi_fail(err, HSD_EINVAL, "device", "\"%s\" is no name of letters, digits, . _ -",
                         hsdi_machine_is_text(d->name) ? d->name : "?");
    }
    if (hsdi_machine_find_device(m, d->name) != i_device ||
        hsdi_machine_find_host(m, d->name) >= 0) {
        return hsdi_fail(err, HSD_EINVAL, d->name, "two devices or hosts have this name");
    }
    if ((unsigned)d->type > HSDI_DEVICE_OTHER || d->i_host < 0 || d->i_host >= m->n_hosts) {
        return hsdi_fail(err, HSD_EINVAL, d->name, "type %d on host %d: there is no such one",
                         (int)d->type, d->i_host);
    }
    if (d->i_numa < -1 || d->i_numa >= m->hosts[d->i_host].n_numa) {
        return hsdi_fail(err, HSD_EINVAL, d->name, "numa is %d: its host has %d NUMA nodes",
                         d->i_numa, m->hosts[d->i_host].n_numa);
    }
    if (d->i_same_as < -1 || d->i_same_as >= i_device ||
        (d->i_same_as >= 0 && m->devices[d->i_same_as].i_host != d->i_host)) {
        return hsdi_fail(err, HSD_EINVAL, d->name, "same_as is no earlier device of its host");
    }
    const char *const texts[] = {d->id, d->model, d->driver, d->pci, d->uuid, d->unusable};
    const number numbers[] = {
        {"units", d->n_units},  {"memory", (double)d->memory_bytes},
        {"read", d->read_gbps}, {"memory_limit", (double)d->memory_limit_bytes},
        {"f32", d->f32_gops},   {"f16", d->f16_gops},
        {"int8", d->int8_gops}, {"launch", d->launch_ns},
        {"idle", d->idle_w},    {"busy", d->busy_w}};
    hsd_status status = check_texts(d->name, texts, COUNT(texts), err);
    return status == HSD_OK ? check_numbers(d->name, numbers, COUNT(numbers), err) : status;
}

static bool is_end(const hsdi_machine *m, hsdi_machine_end end)
{
    return end.index >= 0 && end.index < (end.is_host ? m->n_hosts : m->n_devices);
}

static hsd_status check_link(const hsdi_machine *m, int i_link, hsd_error *err)
{
    const hsdi_machine_link *l = &m->links[i_link];
    const number numbers[] = {{"latency", l->latency_ns}, {"rate", l->gbps}};
    char where[32];
    snprintf(where, sizeof where, "link %d", i_link);
    if (!is_end(m, l->from) || !is_end(m, l->to)) {
        return hsdi_fail(err, HSD_EINVAL, where, "it ends at no host or device");
    }
    if (!l->from.is_host && !l->to.is_host && l->from.index == l->to.index) {
        return hsdi_fail(err, HSD_EINVAL, where, "it leads from %s to itself",
                         m->devices[l->from.index].name);
    }
    if (l->from.is_host != l->to.is_host) {
        const hsdi_machine_device *d = &m->devices[l->from.is_host ? l->to.index : l->from.index];
        int i_host = l->from.is_host ? l->from.index : l->to.index;
        if (d->i_host != i_host) {
            return hsdi_fail(err, HSD_EINVAL, where, "%s is not on %s: it is reached through %s",
                             d->name, m->hosts[i_host].name, m->hosts[d->i_host].name);
        }
    }
    if (hsdi_machine_find_link(m, l->from, l->to) != l) {
        return hsdi_fail(err, HSD_EINVAL, where, "there is a link between these two already");
    }
    return check_numbers(where, numbers, COUNT(numbers), err);
}

static hsd_status check_worker(const hsdi_machine *m, int i_worker, hsd_error *err)
{
    const hsdi_machine_worker *w = &m->workers[i_worker];
    if (!is_name(w->name)) {
        return hsdi_fail(err, HSD_EINVAL, "worker", "\"%s\" is no name of letters, digits, . _ -",
                         hsdi_machine_is_text(w->name) ? w->name : "?");
    }
    for (int i = 0; i < i_worker; i++) {
        if (strcmp(m->workers[i].name, w->name) == 0) {
            return hsdi_fail(err, HSD_EINVAL, w->name, "two workers have this name");
        }
    }
    if (w->i_device < 0 || w->i_device >= m->n_devices ||
        (w->i_draft_kind != HSD_DRAFT_MODEL && w->i_draft_kind != HSD_DRAFT_NGRAM)) {
        return hsdi_fail(err, HSD_EINVAL, w->name, "device %d, draft %d: there is no such one",
                         w->i_device, w->i_draft_kind);
    }
    if (!w->endpoint[0]) {
        return hsdi_fail(err, HSD_EINVAL, w->name, "it has no endpoint");
    }
    const char *const texts[] = {w->endpoint, w->listen, w->key_file, w->pub_file};
    return check_texts(w->name, texts, COUNT(texts), err);
}

static hsd_status check_choices(const hsdi_machine *m, hsd_error *err)
{
    const hsdi_machine_choices *c = &m->choices;
    const int devices[] = {c->i_target, c->i_suffix, c->i_draft};
    const number limits[] = {{"power", c->power_w},
                             {"cache_memory", (double)c->cache_memory_bytes}};
    if ((unsigned)c->mode >= N_MODES || c->forbidden_modes >> N_MODES ||
        (c->forbidden_modes & 1u << HSD_MODE_AUTO)) {
        return hsdi_fail(err, HSD_EINVAL, "choices", "mode %d, forbidden %#x: no such mode",
                         (int)c->mode, c->forbidden_modes);
    }
    if (c->mode != HSD_MODE_AUTO && c->forbidden_modes >> c->mode & 1u) {
        return hsdi_fail(err, HSD_EINVAL, "choices", "mode is chosen and forbidden");
    }
    for (size_t i = 0; i < COUNT(devices); i++) {
        if (devices[i] < -1 || devices[i] >= m->n_devices) {
            return hsdi_fail(err, HSD_EINVAL, "choices", "there is no device %d", devices[i]);
        }
        if (devices[i] >= 0 && m->devices[devices[i]].is_forbidden) {
            return hsdi_fail(err, HSD_EINVAL, "choices", "%s is chosen and forbidden",
                             m->devices[devices[i]].name);
        }
    }
    if (!hsdi_machine_is_text(c->client_key_file)) {
        return hsdi_fail(err, HSD_EINVAL, "choices", "the client's key is no text");
    }
    return check_numbers("choices", limits, COUNT(limits), err);
}

hsd_status hsdi_machine_check(const hsdi_machine *machine, hsd_error *err)
{
    const hsdi_machine *m = machine;
    if (m->n_hosts < 1 || m->n_hosts > HSDI_MACHINE_HOSTS || m->n_devices < 0 ||
        m->n_devices > HSDI_MACHINE_DEVICES || m->n_links < 0 || m->n_links > HSDI_MACHINE_LINKS ||
        m->n_workers < 0 || m->n_workers > HSDI_MACHINE_WORKERS) {
        return hsdi_fail(err, HSD_EINVAL, "machine",
                         "%d hosts (1 to %d), %d devices (to %d), %d links (to %d), %d workers "
                         "(to %d)",
                         m->n_hosts, HSDI_MACHINE_HOSTS, m->n_devices, HSDI_MACHINE_DEVICES,
                         m->n_links, HSDI_MACHINE_LINKS, m->n_workers, HSDI_MACHINE_WORKERS);
    }
    hsd_status status = m->name[0] && !is_name(m->name)
                            ? hsdi_fail(err, HSD_EINVAL, "machine", "its name is no name")
                            : HSD_OK;
    int n_here = 0;
    for (int i = 0; i < m->n_hosts && status == HSD_OK; i++) {
        status = check_host(m, i, err);
        n_here += m->hosts[i].is_here;
    }
    if (status == HSD_OK && n_here > 1) {
        status = hsdi_fail(err, HSD_EINVAL, "machine", "%d hosts are here", n_here);
    }
    for (int i = 0; i < m->n_devices && status == HSD_OK; i++) {
        status = check_device(m, i, err);
    }
    for (int i = 0; i < m->n_links && status == HSD_OK; i++) {
        status = check_link(m, i, err);
    }
    for (int i = 0; i < m->n_workers && status == HSD_OK; i++) {
        status = check_worker(m, i, err);
    }
    return status == HSD_OK ? check_choices(m, err) : status;
}
