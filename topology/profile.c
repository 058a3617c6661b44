/// Profiles as data: making, joining, and the tables for a machine.
#include "topology/profile.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

hsd_status hsdi_profile_create(hsdi_profile **out, hsd_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for a profile");
}

void hsdi_profile_free(hsdi_profile **profile)
{
    if (profile) {
        free(*profile);
        *profile = NULL;
    }
}

/// The machine's device of the same name, else the first one here of the same id.
static int find_device(const hsdi_machine *machine, const hsdi_profile_device *device)
{
    for (int i = 0; i < machine->n_devices; i++) {
        if (strcmp(machine->devices[i].name, device->name) == 0) {
            return i;
        }
    }
    for (int i = 0; i < machine->n_devices; i++) {
        const hsdi_machine_device *other = &machine->devices[i];
        if (device->id[0] && machine->hosts[other->i_host].is_here &&
            strcmp(other->id, device->id) == 0) {
            return i;
        }
    }
    return -1;
}

/// Tables, slowdowns and turns whose devices have a place in `place`.
static void copy_tables(const hsdi_profile *profile, const int *place, hsdi_costs *out)
{
    for (int i = 0; i < profile->costs.n_tables; i++) {
        hsdi_cost_table table = profile->costs.tables[i];
        table.i_device = place[table.i_device];
        if (table.i_device >= 0) {
            out->tables[out->n_tables++] = table;
        }
    }
    for (int i = 0; i < profile->costs.n_slowdowns; i++) {
        hsdi_cost_slowdown slowdown = profile->costs.slowdowns[i];
        slowdown.i_device = place[slowdown.i_device];
        slowdown.i_beside = place[slowdown.i_beside];
        if (slowdown.i_device >= 0 && slowdown.i_beside >= 0) {
            out->slowdowns[out->n_slowdowns++] = slowdown;
        }
    }
    for (int i = 0; i < profile->costs.n_turns; i++) {
        hsdi_cost_turn turn = profile->costs.turns[i];
        turn.i_target = place[turn.i_target];
        turn.i_draft = place[turn.i_draft];
        if (turn.i_target >= 0 && turn.i_draft >= 0) {
            out->turns[out->n_turns++] = turn;
        }
    }
}

int hsdi_profile_costs(const hsdi_profile *profile, const hsdi_machine *machine, hsdi_costs *out)
{
    int place[HSDI_PROFILE_DEVICES], n = 0;
    for (int i = 0; i < profile->n_devices; i++) {
        place[i] = find_device(machine, &profile->devices[i]);
        n += place[i] >= 0;
    }
    *out = profile->costs;
    hsdi_acceptance_extend(&out->acceptance);
    out->n_tables = out->n_slowdowns = out->n_turns = 0;
    copy_tables(profile, place, out);
    return n;
}

static int device_of(hsdi_profile *into, const hsdi_profile_device *device)
{
    for (int i = 0; i < into->n_devices; i++) {
        if (strcmp(into->devices[i].name, device->name) == 0) {
            return i;
        }
    }
    if (into->n_devices == HSDI_PROFILE_DEVICES) {
        return -1;
    }
    into->devices[into->n_devices] = *device;
    return into->n_devices++;
}

/// What `from` found out about a device that `into` has already.
static void join_device(hsdi_profile_device *into, const hsdi_profile_device *from)
{
    if (from->failure[0]) {
        memcpy(into->failure, from->failure, sizeof into->failure);
    }
    if (from->to_latency_ns > 0.0) {
        into->to_latency_ns = from->to_latency_ns;
        into->to_gbps = from->to_gbps;
        into->from_latency_ns = from->from_latency_ns;
        into->from_gbps = from->from_gbps;
    }
}

static void join_rest(hsdi_profile *into, const hsdi_profile *from)
{
    if (from->machine) {
        into->machine = from->machine;
    }
    if (from->machine_name[0]) {
        memcpy(into->machine_name, from->machine_name, sizeof into->machine_name);
    }
    if (from->made[0]) {
        memcpy(into->made, from->made, sizeof into->made);
    }
    if (from->layout[0]) {
        memcpy(into->layout, from->layout, sizeof into->layout);
    }
    if (from->costs.target.n_layers > 0) {
        into->costs.target = from->costs.target;
    }
    if (from->costs.draft.n_layers > 0) {
        into->costs.draft = from->costs.draft;
    }
    if (from->costs.acceptance.n_seen > 0.0) {
        into->costs.acceptance = from->costs.acceptance;
    }
    if (from->costs.rendezvous.inproc_ns > 0.0) {
        into->costs.rendezvous = from->costs.rendezvous;
    }
}

hsd_status hsdi_profile_merge(hsdi_profile *into, const hsdi_profile *from, hsd_error *err)
{
    int place[HSDI_PROFILE_DEVICES];
    if (into->n_passes + from->n_passes > HSDI_PROFILE_PASSES ||
        into->costs.n_tables + from->costs.n_tables > HSDI_COST_TABLES ||
        into->costs.n_slowdowns + from->costs.n_slowdowns > HSDI_COST_TABLES ||
        into->costs.n_turns + from->costs.n_turns > HSDI_COST_TABLES) {
        return hsdi_fail(err, HSD_EINVAL, "profile", "there are too many measurements");
    }
    for (int i = 0; i < from->n_devices; i++) {
        place[i] = device_of(into, &from->devices[i]);
        if (place[i] < 0) {
            return hsdi_fail(err, HSD_EINVAL, "profile", "there are too many devices");
        }
        join_device(&into->devices[place[i]], &from->devices[i]);
    }
    for (int i = 0; i < from->n_passes; i++) {
        hsdi_profile_pass *pass = &into->passes[into->n_passes++];
        *pass = from->passes[i];
        pass->i_device = place[pass->i_device];
    }
    for (int i = 0; i < from->costs.n_slowdowns; i++) {
        into->slowdown_ranges[into->costs.n_slowdowns + i] = from->slowdown_ranges[i];
    }
    copy_tables(from, place, &into->costs);
    join_rest(into, from);
    return HSD_OK;
}
