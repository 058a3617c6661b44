/// Machines behind the public API: hwloc's and the drivers' halves joined, files, texts.
#include "engine/machine.h"

#include "base/error.h"
#include "engine/engine_internal.h"
#include "topology/describe.h"
#include "topology/discover.h"
#include "topology/join.h"
#include "topology/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LISTED = 64 };

static hsd_status no_memory(hsd_error *err)
{
    return hsdi_fail(err, HSD_ENOMEM, "machine", "machine");
}

/// hsd_device_list has asked for the whole CPU; sets of its processors are devices here only.
static void recall_sets(hsdi_machine *m, const hsd_device_info *cpu, uint64_t hardware)
{
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        if (strncmp(d->id, "cpu:", 4) == 0) {
            hsd_device_info set = *cpu;
            snprintf(set.id, sizeof set.id, "%s", d->id);
            set.n_units = d->n_units;
            set.read_gbps = set.f32_gops = set.f16_gops = set.int8_gops = set.launch_us = 0.0;
            hsdi_device_recall(&set, hardware);
            hsdi_machine_take_rates(m, &set);
        }
    }
}

static hsd_status discover(int skip, hsdi_machine *m, hsd_device_info *list, hsd_error *err)
{
    static const hsdi_machine_source here = {NULL, NULL};
    int n = 0;
    hsd_status status = hsdi_discover(&here, m, err);
    if (status == HSD_OK) {
        status = hsdi_device_list(skip, list, MAX_LISTED, &n, err);
    }
    if (status == HSD_OK) {
        uint64_t hardware = m->fingerprint;
        hsdi_machine_join(m, list, n < MAX_LISTED ? n : MAX_LISTED);
        recall_sets(m, &list[0], hardware);
        m->fingerprint = hsdi_machine_fingerprint(m, hardware);
        status = hsdi_machine_check(m, err);
    }
    return status;
}

hsd_status hsdi_machine_discover(int skip, hsd_machine **out, hsd_error *err)
{
    if (!out) {
        return hsdi_fail(err, HSD_EINVAL, "machine", "a place for the machine is required");
    }
    *out = NULL;
    hsd_machine *machine = malloc(sizeof *machine);
    hsd_device_info *list = calloc(MAX_LISTED, sizeof *list);
    hsd_status status = machine && list ? discover(skip, &machine->m, list, err) : no_memory(err);
    free(list);
    if (status != HSD_OK) {
        free(machine);
        return status;
    }
    *out = machine;
    return HSD_OK;
}

hsd_status hsd_machine_discover(hsd_machine **out, hsd_error *err)
{
    return hsdi_machine_discover(0, out, err);
}

hsd_status hsd_machine_read(const char *path, hsd_machine **out, hsd_error *err)
{
    if (!path || !out) {
        return hsdi_fail(err, HSD_EINVAL, "machine",
                         "a path and a place for the machine are required");
    }
    *out = NULL;
    hsd_machine *machine = malloc(sizeof *machine);
    const char *dot = strrchr(path, '.');
    const hsdi_machine_source recorded = {path, NULL};
    hsd_status status = !machine ? no_memory(err)
                        : dot && strcmp(dot, ".xml") == 0
                            ? hsdi_discover(&recorded, &machine->m, err)
                            : hsdi_describe_read(path, &machine->m, err);
    if (status != HSD_OK) {
        free(machine);
        return status;
    }
    *out = machine;
    return HSD_OK;
}

hsd_status hsd_machine_measure(hsd_machine *machine, hsd_error *err)
{
    if (!machine) {
        return hsdi_fail(err, HSD_EINVAL, "machine", "a machine is required");
    }
    hsdi_machine *m = &machine->m;
    hsd_device_info *list = calloc(MAX_LISTED, sizeof *list);
    int n = 0;
    hsd_status status = list ? hsd_device_list(list, MAX_LISTED, &n, err) : no_memory(err);
    n = n < MAX_LISTED ? n : MAX_LISTED;
    for (int i = 0; i < m->n_devices && status == HSD_OK; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        bool is_set = strncmp(d->id, "cpu:", 4) == 0;
        if (!d->id[0] || !m->hosts[d->i_host].is_here || d->read_gbps > 0.0) {
            continue;
        }
        hsd_device_info *info = NULL;
        for (int k = 0; k < n && !info; k++) {
            info = strcmp(list[k].id, is_set ? "cpu" : d->id) == 0 ? &list[k] : NULL;
        }
        if (!info) {
            status = hsdi_fail(err, HSD_ENODEVICE, d->name, "\"%s\" is not there", d->id);
            continue;
        }
        hsd_device_info one = *info;
        snprintf(one.id, sizeof one.id, "%s", d->id);
        one.n_units = d->n_units;
        status = hsd_device_measure(&one, err);
        hsdi_machine_take_rates(m, &one);
    }
    free(list);
    return status;
}

hsd_status hsd_machine_print(const hsd_machine *machine, hsd_machine_format format, char **text,
                             hsd_error *err)
{
    if (!machine || !text) {
        return hsdi_fail(err, HSD_EINVAL, "machine",
                         "a machine and a place for its text are required");
    }
    *text = NULL;
    switch (format) {
    case HSD_MACHINE_TREE:
        return hsdi_print_tree(&machine->m, text, err);
    case HSD_MACHINE_YAML:
        return hsdi_describe_print(&machine->m, text, err);
    case HSD_MACHINE_SVG:
        return hsdi_print_picture(&machine->m, text, err);
    case HSD_MACHINE_JSON:
        return hsdi_print_json(&machine->m, text, err);
    }
    return hsdi_fail(err, HSD_EINVAL, "format", "there is no format %d", (int)format);
}

void hsdi_machine_workers(const hsd_machine *machine, hsdi_described_workers *out)
{
    const hsdi_machine *m = &machine->m;
    int most = m->choices.n_workers >= 0 && m->choices.n_workers < HSDI_TARGET_MAX_WORKERS
                   ? m->choices.n_workers
                   : HSDI_TARGET_MAX_WORKERS;
    out->n = 0;
    for (int i = 0; i < m->n_workers && out->n < most; i++) {
        const hsdi_machine_worker *w = &m->workers[i];
        if (!m->devices[w->i_device].is_forbidden) {
            out->endpoints[out->n] = w->endpoint;
            out->key_files[out->n] = w->pub_file[0] ? w->pub_file : NULL;
            out->kinds[out->n++] = w->i_draft_kind;
        }
    }
}

void hsd_machine_free(hsd_machine **machine)
{
    if (machine) {
        free(*machine);
        *machine = NULL;
    }
}

void hsd_text_free(char **text)
{
    if (text) {
        free(*text);
        *text = NULL;
    }
}
