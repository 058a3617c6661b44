/// PCI devices, network interfaces and disks.
#include "topology/discover_io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PCI_DISPLAY = 0x03, PCI_ACCELERATOR = 0x12 };

static void print_pci(hwloc_obj_t o, char out[16])
{
    const struct hwloc_pcidev_attr_s *a = &o->attr->pcidev;
    snprintf(out, 16, "%04x:%02x:%02x.%x", a->domain & 0xffffu, a->bus & 0xffu, a->dev & 0xffu,
             a->func & 0xfu);
}

/// The one NUMA node that is near, where there are several; else -1.
static int numa_of(hwloc_topology_t t, hwloc_obj_t o, const hsdi_machine_host *host)
{
    hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(t, o);
    if (host->n_numa < 2 || !near || hwloc_bitmap_weight(near->nodeset) != 1) {
        return -1;
    }
    hwloc_obj_t node =
        hwloc_get_numanode_obj_by_os_index(t, (unsigned)hwloc_bitmap_first(near->nodeset));
    return node && (int)node->logical_index < host->n_numa ? (int)node->logical_index : -1;
}

// ---- ports ----

/// What Linux says of a network interface, in 1e9 bytes per second; 0: nothing.
static double rate_of(const char *name)
{
    char path[128];
    long mbits = 0;
    snprintf(path, sizeof path, "/sys/class/net/%.32s/speed", name);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%ld", &mbits) != 1 || mbits < 0 || mbits > 10000000) {
            mbits = 0;
        }
        fclose(file);
    }
    return (double)mbits / 8e3;
}

static void add_port(hwloc_topology_t t, hwloc_obj_t o, bool is_here, hsdi_machine_host *host)
{
    hwloc_obj_osdev_type_t type = o->attr->osdev.type;
    bool is_network = type == HWLOC_OBJ_OSDEV_NETWORK || type == HWLOC_OBJ_OSDEV_OPENFABRICS;
    hsdi_machine_port port = {.type = is_network ? HSDI_PORT_NETWORK : HSDI_PORT_STORAGE};
    if ((!is_network && type != HWLOC_OBJ_OSDEV_BLOCK) || !o->name ||
        host->n_ports >= HSDI_MACHINE_PORTS) {
        return;
    }
    snprintf(port.name, sizeof port.name, "%.31s", o->name);
    hsdi_machine_make_text(port.name);
    for (int i = 0; i < host->n_ports; i++) {
        if (strcmp(host->ports[i].name, port.name) == 0) {
            return;
        }
    }
    if (o->parent && o->parent->type == HWLOC_OBJ_PCI_DEVICE) {
        print_pci(o->parent, port.pci);
    }
    port.i_numa = numa_of(t, o, host);
    port.gbps = is_here && is_network ? rate_of(o->name) : 0.0;
    host->ports[host->n_ports++] = port;
}

// ---- devices ----

static void add_pci(hwloc_topology_t t, hwloc_obj_t o, hsdi_machine *m, int *n_gpus, int *n_others)
{
    int class = o->attr->pcidev.class_id >> 8;
    bool is_gpu = class == PCI_DISPLAY;
    if ((!is_gpu && class != PCI_ACCELERATOR) || m->n_devices >= HSDI_MACHINE_DEVICES) {
        return;
    }
    hsdi_machine_device *d = &m->devices[m->n_devices];
    *d = (hsdi_machine_device){.type = is_gpu ? HSDI_DEVICE_GPU : HSDI_DEVICE_ACCELERATOR,
                               .i_same_as = -1};
    snprintf(d->name, sizeof d->name, "%s%d", is_gpu ? "gpu" : "accelerator",
             is_gpu ? (*n_gpus)++ : (*n_others)++);
    const char *vendor = hwloc_obj_get_info_by_name(o, "PCIVendor"),
               *device = hwloc_obj_get_info_by_name(o, "PCIDevice");
    snprintf(d->model, sizeof d->model, "%.60s%s%.60s", vendor ? vendor : "",
             vendor && device ? " " : "", device ? device : "");
    hsdi_machine_make_text(d->model);
    snprintf(d->unusable, sizeof d->unusable, "no driver that hsd uses knows it");
    print_pci(o, d->pci);
    d->i_numa = numa_of(t, o, &m->hosts[0]);
    if (o->attr->pcidev.linkspeed > 0.0f && m->n_links < HSDI_MACHINE_LINKS) {
        m->links[m->n_links++] = (hsdi_machine_link){.from = {false, m->n_devices},
                                                     .to = {true, 0},
                                                     .gbps = (double)o->attr->pcidev.linkspeed};
    }
    m->n_devices++;
}

void hsdi_io_find(hwloc_topology_t topology, bool is_here, hsdi_machine *machine)
{
    int n_gpus = 0, n_others = 0;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_osdev(topology, o));) {
        add_port(topology, o, is_here, &machine->hosts[0]);
    }
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_pcidev(topology, o));) {
        add_pci(topology, o, machine, &n_gpus, &n_others);
    }
}

// ---- memory ----

int64_t hsdi_io_memory_limit(int64_t memory_bytes)
{
    int64_t limit = 0;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r"); // version 2; "max" is no number
    if (file) {
        if (fscanf(file, "%" SCNd64, &limit) != 1 || limit < 0 || limit >= memory_bytes) {
            limit = 0;
        }
        fclose(file);
    }
    return limit;
}
