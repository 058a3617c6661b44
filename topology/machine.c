/// Machines as data: looking things up, checking them, distances.
#include "topology/machine.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/// Messages between threads, processes and hosts where no link says otherwise.
///
/// inproc, ipc: a third of a mirror step of the pipelines alone (three messages), 18.2 us and
/// 94.3 us in docs/benchmarks.md; a message is a pointer there, and two copies here.
/// Ethernet: 1 Gbit/s, of 1538 bytes on the wire (preamble, header, check and gap of IEEE 802.3)
/// 1448 are ours under IP and TCP; the latency is that of ipc, and a frame of 12.3 us on the wire
/// to the switch and once more from it.
static const hsdi_distance default_inproc = {6e3, 10.0, true};
static const hsdi_distance default_ipc = {31e3, 2.0, true};
static const hsdi_distance default_ethernet = {56e3, 0.125 * 1448.0 / 1538.0, true};
/// A device on PCIe 3.0 x16: 12 GB/s of 15.75 arrive, and a submission takes about 10 us (Dive into
/// Deep Learning, section "Hardware").
static const hsdi_distance default_pcie = {10e3, 12.0, true};

void hsdi_machine_choices_init(hsdi_machine_choices *choices)
{
    *choices = (hsdi_machine_choices){.mode = HSD_MODE_AUTO,
                                      .i_target = -1,
                                      .i_suffix = -1,
                                      .i_draft = -1,
                                      .n_target_threads = -1,
                                      .n_draft_threads = -1,
                                      .exit_layer = -1,
                                      .split_layer = -1,
                                      .window = -1,
                                      .tree = -1,
                                      .roots = -1,
                                      .n_workers = -1};
}

void hsdi_machine_init(hsdi_machine *machine)
{
    memset(machine, 0, sizeof *machine);
    hsdi_machine_choices_init(&machine->choices);
}

int hsdi_machine_find_host(const hsdi_machine *machine, const char *name)
{
    for (int i = 0; i < machine->n_hosts; i++) {
        if (strcmp(machine->hosts[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

int hsdi_machine_find_device(const hsdi_machine *machine, const char *name)
{
    for (int i = 0; i < machine->n_devices; i++) {
        if (strcmp(machine->devices[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

// ---- shared hardware ----

enum { MAX_UNIT = 10000 };

typedef struct units {
    uint8_t bits[MAX_UNIT / 8];
} units;

/// "0-3,8". What is no list is an empty one.
static void parse_units(const char *text, units *out)
{
    *out = (units){{0}};
    while (*text >= '0' && *text <= '9') {
        char *end = NULL;
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-') {
            last = strtol(end + 1, &end, 10);
        }
        for (long u = first; u <= last && u < MAX_UNIT; u++) {
            out->bits[u / 8] = (uint8_t)(out->bits[u / 8] | 1u << u % 8);
        }
        text = *end == ',' ? end + 1 : "";
    }
}

/// The list of units in an id: behind "cpu:", behind the slash of "opencl:1/0-3"; NULL: all of
/// them. *n_base is the length of what names the device.
static const char *units_of(const char *id, size_t *n_base)
{
    const char *before = strncmp(id, "cpu:", 4) == 0 ? id + 3 : strchr(id, '/');
    *n_base = before ? (size_t)(before - id) : strlen(id);
    return before ? before + 1 : NULL;
}

/// Do two ids of one host name a common unit? `same`: what to answer for ids of different drivers.
static bool ids_overlap(const char *id, const char *other, bool same)
{
    size_t n_id, n_other;
    const char *list = units_of(id, &n_id), *other_list = units_of(other, &n_other);
    units a, b;
    if (n_id == 0 || n_id != n_other || memcmp(id, other, n_id) != 0) {
        return same;
    }
    if (!list || !other_list) {
        return true;
    }
    parse_units(list, &a);
    parse_units(other_list, &b);
    for (size_t i = 0; i < sizeof a.bits; i++) {
        if (a.bits[i] & b.bits[i]) {
            return true;
        }
    }
    return false;
}

/// The device that stands for its hardware.
static int root_of(const hsdi_machine *machine, int i_device)
{
    while (machine->devices[i_device].i_same_as >= 0) {
        i_device = machine->devices[i_device].i_same_as;
    }
    return i_device;
}

bool hsdi_machine_shares_units(const hsdi_machine *machine, int i_device, int i_other)
{
    const hsdi_machine_device *a = &machine->devices[i_device], *b = &machine->devices[i_other];
    if (i_device == i_other || a->i_host != b->i_host) {
        return i_device == i_other;
    }
    // A CPU's other drivers compute on its processors, nobody knows on which.
    bool are_cpus = a->type == HSDI_DEVICE_CPU && b->type == HSDI_DEVICE_CPU;
    return ids_overlap(a->id, b->id,
                       are_cpus || root_of(machine, i_device) == root_of(machine, i_other));
}

// ---- distances ----

const hsdi_machine_link *hsdi_machine_find_link(const hsdi_machine *machine, hsdi_machine_end from,
                                                hsdi_machine_end to)
{
    for (int i = 0; i < machine->n_links; i++) {
        const hsdi_machine_link *l = &machine->links[i];
        bool there = l->from.is_host == from.is_host && l->from.index == from.index &&
                     l->to.is_host == to.is_host && l->to.index == to.index;
        bool back = l->from.is_host == to.is_host && l->from.index == to.index &&
                    l->to.is_host == from.is_host && l->to.index == from.index;
        if (there || back) {
            return l;
        }
    }
    return NULL;
}

/// One part of the way: the link, and the default for what it does not say.
static hsdi_distance part(const hsdi_machine_link *link, hsdi_distance otherwise)
{
    if (!link) {
        return otherwise;
    }
    bool knows_time = link->latency_ns > 0.0, knows_rate = link->gbps > 0.0;
    return (hsdi_distance){knows_time ? link->latency_ns : otherwise.latency_ns,
                           knows_rate ? link->gbps : otherwise.gbps, !knows_time || !knows_rate};
}

static hsdi_distance join(hsdi_distance a, hsdi_distance b)
{
    return (hsdi_distance){a.latency_ns + b.latency_ns, a.gbps < b.gbps ? a.gbps : b.gbps,
                           a.is_assumed || b.is_assumed};
}

/// Between a device and its host: nothing for processors and for what uses the host's memory.
static hsdi_distance to_host(const hsdi_machine *machine, int i_device)
{
    static const hsdi_distance none = {0.0, INFINITY, false};
    const hsdi_machine_device *d = &machine->devices[i_device];
    const hsdi_machine_link *link = hsdi_machine_find_link(
        machine, (hsdi_machine_end){false, i_device}, (hsdi_machine_end){true, d->i_host});
    bool is_far = d->type != HSDI_DEVICE_CPU && d->memory_bytes > 0;
    return part(link, is_far ? default_pcie : none);
}

hsdi_distance hsdi_machine_distance(const hsdi_machine *machine, int i_from, int i_to)
{
    const hsdi_machine_device *from = &machine->devices[i_from], *to = &machine->devices[i_to];
    const hsdi_machine_link *direct = hsdi_machine_find_link(
        machine, (hsdi_machine_end){false, i_from}, (hsdi_machine_end){false, i_to});
    if (i_from == i_to) {
        return (hsdi_distance){0.0, INFINITY, false};
    }
    if (direct) {
        return part(direct, default_pcie);
    }
    const hsdi_machine_link *between = hsdi_machine_find_link(
        machine, (hsdi_machine_end){true, from->i_host}, (hsdi_machine_end){true, to->i_host});
    hsdi_distance middle =
        part(between, from->i_host == to->i_host ? default_inproc : default_ethernet);
    return join(join(to_host(machine, i_from), middle), to_host(machine, i_to));
}

hsdi_distance hsdi_machine_worker_distance(const hsdi_machine *machine, int i_from, int i_worker)
{
    const hsdi_machine_worker *w = &machine->workers[i_worker];
    int i_host = machine->devices[i_from].i_host, i_there = machine->devices[w->i_device].i_host;
    const hsdi_machine_link *between = hsdi_machine_find_link(
        machine, (hsdi_machine_end){true, i_host}, (hsdi_machine_end){true, i_there});
    hsdi_distance middle = part(between, i_host == i_there ? default_ipc : default_ethernet);
    return join(join(to_host(machine, i_from), middle), to_host(machine, w->i_device));
}
