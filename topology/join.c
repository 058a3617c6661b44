/// Matching drivers' devices with hwloc's.
#include "topology/join.h"

#include <stdio.h>
#include <string.h>

static hsdi_device_type type_of(const char *type)
{
    static const struct {
        const char *name;
        hsdi_device_type type;
    } types[] = {{"cpu", HSDI_DEVICE_CPU},
                 {"gpu", HSDI_DEVICE_GPU},
                 {"npu", HSDI_DEVICE_NPU},
                 {"accelerator", HSDI_DEVICE_ACCELERATOR},
                 {"fpga", HSDI_DEVICE_ACCELERATOR}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type) == 0) {
            return types[i].type;
        }
    }
    return HSDI_DEVICE_OTHER;
}

/// The first free of "gpu0", "gpu1", ..
static void make_name(const hsdi_machine *m, hsdi_device_type type, char *out)
{
    static const char *const prefixes[] = {"cpu", "gpu", "npu", "accelerator", "other"};
    for (int i = 0; i <= m->n_devices; i++) {
        char name[HSDI_MACHINE_NAME] = {0};
        snprintf(name, sizeof name, "%s%d", prefixes[type], i);
        if (hsdi_machine_find_device(m, name) < 0 && hsdi_machine_find_host(m, name) < 0) {
            memcpy(out, name, sizeof name);
            return;
        }
    }
}

/// An empty text and a UUID of zeros say nothing.
static bool same_text(const char *a, const char *b)
{
    return a[strspn(a, "0")] && strcmp(a, b) == 0;
}

static bool is_same_hardware(const hsdi_machine_device *d, const hsd_device_info *info)
{
    // One driver's devices of one address are parts of it, each hardware of its own.
    if (strcmp(d->driver, info->driver) == 0) {
        return false;
    }
    bool is_cpu = d->type == HSDI_DEVICE_CPU && type_of(info->type) == HSDI_DEVICE_CPU;
    return is_cpu || same_text(d->pci, info->pci) || same_text(d->uuid, info->uuid);
}

/// The device without a driver at this address, else a new one; NULL: there is no room.
static hsdi_machine_device *place_for(hsdi_machine *m, const hsd_device_info *info)
{
    hsdi_device_type type = type_of(info->type);
    for (int i = 0; i < m->n_devices; i++) {
        hsdi_machine_device *d = &m->devices[i];
        if (!d->driver[0] && d->type != HSDI_DEVICE_CPU && same_text(d->pci, info->pci)) {
            if (d->type != type) { // PCI does not say "npu"
                d->name[0] = '\0';
                make_name(m, type, d->name);
            }
            return d;
        }
    }
    if (m->n_devices >= HSDI_MACHINE_DEVICES) {
        return NULL;
    }
    hsdi_machine_device *d = &m->devices[m->n_devices];
    *d = (hsdi_machine_device){.i_numa = -1, .i_same_as = -1};
    for (int i = 0; i < m->n_devices && d->i_same_as < 0; i++) {
        if (is_same_hardware(&m->devices[i], info)) {
            d->i_same_as = i;
            d->i_numa = m->devices[i].i_numa;
        }
    }
    make_name(m, type, d->name);
    m->n_devices++;
    return d;
}

static void copy_text(char *out, size_t cap, const char *text)
{
    size_t n = strnlen(text, cap - 1); // cut where it is longer
    memset(out, 0, cap);
    memcpy(out, text, n);
    hsdi_machine_make_text(out);
}

static void take_rates(hsdi_machine_device *d, const hsd_device_info *info)
{
    d->read_gbps = info->read_gbps;
    d->f32_gops = info->f32_gops;
    d->f16_gops = info->f16_gops;
    d->int8_gops = info->int8_gops;
    d->launch_ns = info->launch_us * 1e3;
}

static void take_driver(hsdi_machine_device *d, const hsd_device_info *info)
{
    d->type = type_of(info->type);
    d->n_units = info->n_units;
    d->memory_bytes = d->type == HSDI_DEVICE_CPU || info->shares_memory ? 0 : info->memory_bytes;
    copy_text(d->model, sizeof d->model, info->name);
    copy_text(d->driver, sizeof d->driver, info->driver);
    copy_text(d->pci, sizeof d->pci, info->pci);
    copy_text(d->uuid, sizeof d->uuid, info->uuid);
    copy_text(d->unusable, sizeof d->unusable, info->unusable);
    copy_text(d->id, sizeof d->id, info->unusable[0] ? "" : info->id);
    take_rates(d, info);
}

void hsdi_machine_join(hsdi_machine *machine, const hsd_device_info *devices, int n_devices)
{
    for (int i = 0; i < n_devices; i++) {
        const hsd_device_info *info = &devices[i];
        if (strcmp(info->id, "cpu") != 0) {
            hsdi_machine_device *d = place_for(machine, info);
            if (d) {
                take_driver(d, info);
            }
            continue;
        }
        for (int k = 0; k < machine->n_devices; k++) {
            hsdi_machine_device *d = &machine->devices[k];
            if (strncmp(d->id, "cpu", 3) == 0) {
                char driver[sizeof info->driver + sizeof info->name];
                snprintf(driver, sizeof driver, "%s, %s", info->driver, info->name);
                copy_text(d->driver, sizeof d->driver, driver);
            }
        }
        hsdi_machine_take_rates(machine, info);
    }
}

void hsdi_machine_take_rates(hsdi_machine *machine, const hsd_device_info *device)
{
    for (int i = 0; i < machine->n_devices; i++) {
        if (machine->devices[i].id[0] && strcmp(machine->devices[i].id, device->id) == 0) {
            take_rates(&machine->devices[i], device);
        }
    }
}
