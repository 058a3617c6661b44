/// A host by hwloc: what it is made of. discover_io.c has what is plugged in.
#include "topology/discover.h"

#include "base/error.h"
#include "base/hash.h"
#include "topology/discover_io.h"
#include "topology/hwloc_load.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SETS = 16, LIST_CHARS = 512 };

// ---- the host ----

/// A name of letters, digits, `.`, `_`, `-`.
static void make_name(const char *text, char *out)
{
    size_t n = 0;
    for (; *text && n < HSDI_MACHINE_NAME - 1; text++) {
        out[n++] = isalnum((unsigned char)*text) || strchr("._-", *text) ? *text : '-';
    }
    out[n] = '\0';
    if (n == 0) {
        memcpy(out, "host", 5);
    }
}

static const char *info_of(hwloc_obj_t object, const char *name)
{
    const char *value = object ? hwloc_obj_get_info_by_name(object, name) : NULL;
    return value ? value : "";
}

/// "0-15,32"; false where it does not fit, or there is none.
static bool list_of(hwloc_const_bitmap_t set, char *out, size_t cap)
{
    char text[LIST_CHARS];
    int n = hwloc_bitmap_list_snprintf(text, sizeof text, set);
    bool fits = n > 0 && (size_t)n < cap && (size_t)n < sizeof text;
    snprintf(out, cap, "%.*s", (int)cap - 1, fits ? text : "");
    return fits;
}

static void add_cache(hsdi_machine_host *host, int level, int n_cores, int64_t size_bytes)
{
    for (int i = 0; i < host->n_caches; i++) {
        hsdi_machine_cache *c = &host->caches[i];
        if (c->level == level && c->n_cores == n_cores && c->size_bytes == size_bytes) {
            c->n++;
            return;
        }
    }
    if (host->n_caches < HSDI_MACHINE_CACHES) {
        host->caches[host->n_caches++] = (hsdi_machine_cache){level, 1, n_cores, size_bytes};
    }
}

static void find_caches(hwloc_topology_t t, hwloc_const_bitmap_t allowed, hsdi_machine_host *host)
{
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE};
    for (int level = 1; level <= 4; level++) {
        for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(t, types[level - 1], o));) {
            int n = hwloc_get_nbobjs_inside_cpuset_by_type(t, o->cpuset, HWLOC_OBJ_CORE);
            if (hwloc_bitmap_intersects(o->cpuset, allowed)) {
                add_cache(host, level, n > 0 ? n : 0, (int64_t)o->attr->cache.size);
            }
        }
    }
}

static void find_numa(hwloc_topology_t t, hsdi_machine_host *host)
{
    int n = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE);
    host->n_numa = n < 1 ? 1 : n < HSDI_MACHINE_NUMA ? n : HSDI_MACHINE_NUMA;
    for (int i = 0; i < n && i < HSDI_MACHINE_NUMA; i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(t, HWLOC_OBJ_NUMANODE, (unsigned)i);
        host->numa[i].memory_bytes = (int64_t)node->attr->numanode.local_memory;
        (void)list_of(node->cpuset, host->numa[i].cpus, sizeof host->numa[i].cpus);
    }
}

static int n_inside(hwloc_topology_t t, hwloc_obj_type_t type, hwloc_const_bitmap_t allowed)
{
    int n = 0;
    for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(t, type, o));) {
        n += hwloc_bitmap_intersects(o->cpuset, allowed);
    }
    return n;
}

static void find_host(hwloc_topology_t t, hwloc_const_bitmap_t allowed, const hsdi_cores *cores,
                      bool is_here, hsdi_machine_host *host)
{
    hwloc_obj_t root = hwloc_get_root_obj(t);
    char name[HSDI_MACHINE_NAME] = "";
    if (is_here) {
        (void)gethostname(name, sizeof name - 1);
    } else {
        snprintf(name, sizeof name, "%.63s", info_of(root, "HostName"));
    }
    make_name(name, host->name);
    host->is_here = is_here;
    host->n_packages = n_inside(t, HWLOC_OBJ_PACKAGE, allowed);
    host->n_cores = cores->n_cores;
    host->n_cpus = cores->n_cpus;
    find_caches(t, allowed, host);
    find_numa(t, host);
    host->memory_bytes = (int64_t)root->total_memory;
    if (is_here) {
        // What hwloc adds up are the nodes, which know nothing of memory that a virtual machine got
        // later.
        host->memory_bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
        host->memory_limit_bytes = hsdi_io_memory_limit(host->memory_bytes);
    }
    if (host->n_numa == 1) {
        host->numa[0].memory_bytes = host->memory_bytes;
    }
}

// ---- sets of cores ----

typedef struct sets {
    hwloc_topology_t topology;
    const hsdi_cores *cores;
    hsdi_machine *machine;
    const char *model;
} sets;

/// The node that has the whole set, where there are several; else -1.
static int numa_of(const sets *s, hwloc_const_bitmap_t set)
{
    int n = s->machine->hosts[0].n_numa;
    for (int i = 0; i < n && n > 1; i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(s->topology, HWLOC_OBJ_NUMANODE, (unsigned)i);
        if (hwloc_bitmap_isincluded(set, node->cpuset)) {
            return i;
        }
    }
    return -1;
}

static hsdi_machine_device *add_device(hsdi_machine *m, const char *name)
{
    if (m->n_devices >= HSDI_MACHINE_DEVICES) {
        return NULL;
    }
    hsdi_machine_device *d = &m->devices[m->n_devices++];
    *d = (hsdi_machine_device){.i_numa = -1, .i_same_as = -1};
    snprintf(d->name, sizeof d->name, "%s", name);
    return d;
}

/// The first processor of every core in `where` as a device, unless that is all cores, none, or
/// what another set has already.
static void add_set(sets *s, const char *name, hwloc_const_bitmap_t where)
{
    char id[sizeof s->machine->devices[0].id];
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    for (int i = 0; set && i < s->cores->n_cores; i++) {
        if (hwloc_bitmap_isset(where, (unsigned)s->cores->cpus[i])) {
            hwloc_bitmap_set(set, (unsigned)s->cores->cpus[i]);
        }
    }
    int n = set ? hwloc_bitmap_weight(set) : 0;
    bool is_new = n > 0 && n < s->cores->n_cores && list_of(set, id + 4, sizeof id - 4);
    memcpy(id, "cpu:", 4);
    for (int i = 0; i < s->machine->n_devices && is_new; i++) {
        is_new = strcmp(s->machine->devices[i].id, id) != 0;
    }
    hsdi_machine_device *d = is_new ? add_device(s->machine, name) : NULL;
    if (d) {
        d->type = HSDI_DEVICE_CPU;
        d->n_units = n;
        d->i_numa = numa_of(s, set);
        snprintf(d->id, sizeof d->id, "%s", id);
        snprintf(d->model, sizeof d->model, "%s", s->model);
    }
    hwloc_bitmap_free(set);
}

static void add_sets_of(sets *s, hwloc_obj_type_t type, const char *prefix)
{
    int n = hwloc_get_nbobjs_by_type(s->topology, type);
    for (int i = 0; i < n && n <= MAX_SETS; i++) {
        char name[HSDI_MACHINE_NAME];
        hwloc_obj_t o = hwloc_get_obj_by_type(s->topology, type, (unsigned)i);
        snprintf(name, sizeof name, "%s%d", prefix, i);
        add_set(s, name, o->cpuset);
    }
}

/// hwloc counts kinds of cores from the most economical to the fastest.
static void add_kinds(sets *s)
{
    static const char *const of_two[] = {"ecores", "pcores"};
    int n = hwloc_cpukinds_get_nr(s->topology, 0);
    for (int i = 0; i < n && n > 1 && n <= MAX_SETS; i++) {
        char name[HSDI_MACHINE_NAME];
        hwloc_bitmap_t set = hwloc_bitmap_alloc();
        snprintf(name, sizeof name, n == 2 ? "%s" : "%s%d", n == 2 ? of_two[i] : "kind", i);
        if (set &&
            hwloc_cpukinds_get_info(s->topology, (unsigned)i, set, NULL, NULL, NULL, 0) == 0) {
            add_set(s, name, set);
        }
        hwloc_bitmap_free(set);
    }
}

static void add_halves(sets *s)
{
    hwloc_bitmap_t first = hwloc_bitmap_alloc(), second = hwloc_bitmap_alloc();
    for (int i = 0; first && second && i < s->cores->n_cores; i++) {
        hwloc_bitmap_set(i < s->cores->n_cores / 2 ? first : second, (unsigned)s->cores->cpus[i]);
    }
    if (first && second) {
        add_set(s, "half0", first);
        add_set(s, "half1", second);
    }
    hwloc_bitmap_free(first);
    hwloc_bitmap_free(second);
}

static void find_sets(sets *s)
{
    hsdi_machine_device *whole = add_device(s->machine, "cpu0");
    whole->type = HSDI_DEVICE_CPU;
    whole->n_units = s->cores->n_cores;
    memcpy(whole->id, "cpu", 4);
    snprintf(whole->model, sizeof whole->model, "%s", s->model);
    add_sets_of(s, HWLOC_OBJ_PACKAGE, "package");
    add_sets_of(s, HWLOC_OBJ_NUMANODE, "numa");
    add_sets_of(s, HWLOC_OBJ_L3CACHE, "l3-");
    add_kinds(s);
    if (s->machine->n_devices == 1) {
        add_halves(s);
    }
}

// ---- fingerprints ----

/// Not the size of memory: virtual machines get more and less of it while they run.
static uint64_t fingerprint_of(hwloc_topology_t t, const char *model)
{
    static const hwloc_obj_type_t types[] = {
        HWLOC_OBJ_PACKAGE, HWLOC_OBJ_CORE,    HWLOC_OBJ_PU,      HWLOC_OBJ_L1CACHE,
        HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_NUMANODE};
    char text[128];
    uint64_t hash = hsdi_hash(HSDI_HASH_BEGIN, model, strlen(model));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        hwloc_obj_t o = hwloc_get_obj_by_type(t, types[i], 0);
        uint64_t size = o && types[i] >= HWLOC_OBJ_L1CACHE && types[i] <= HWLOC_OBJ_L3CACHE
                            ? o->attr->cache.size
                            : 0;
        int n = snprintf(text, sizeof text, "%d %d %llu;", (int)i,
                         hwloc_get_nbobjs_by_type(t, types[i]), (unsigned long long)size);
        hash = hsdi_hash(hash, text, (size_t)n);
    }
    return hash;
}

uint64_t hsdi_machine_fingerprint(const hsdi_machine *machine, uint64_t hash)
{
    for (int i = 0; i < machine->n_devices; i++) {
        const hsdi_machine_device *d = &machine->devices[i];
        const char *const texts[] = {d->id, d->model, d->driver, d->pci, d->uuid};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            hash = hsdi_hash(hash, texts[k], strlen(texts[k]) + 1);
        }
        hash = hsdi_hash(hash, &d->n_units, sizeof d->n_units);
        hash = hsdi_hash(hash, &d->memory_bytes, sizeof d->memory_bytes);
    }
    return hash ? hash : 1; // 0 means that it is not known
}

static void find_model(hwloc_topology_t t, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int)cap - 1,
             info_of(hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0), "CPUModel"));
    hsdi_machine_make_text(out);
}

uint64_t hsdi_discover_fingerprint(void)
{
    static const hsdi_machine_source here = {NULL, NULL};
    hwloc_topology_t t;
    char model[128];
    if (hsdi_hwloc_load(&here, HSDI_HWLOC_MEMORY, &t, NULL) != HSD_OK) {
        return 0;
    }
    find_model(t, model, sizeof model);
    uint64_t hash = fingerprint_of(t, model);
    hwloc_topology_destroy(t);
    return hash;
}

// ---- the whole ----

static hsd_status find_all(hwloc_topology_t t, hwloc_const_bitmap_t allowed, bool is_here,
                           hsdi_machine *m, hsd_error *err)
{
    char model[128];
    hsdi_cores *cores = malloc(sizeof *cores);
    if (!cores) {
        return hsdi_fail(err, HSD_ENOMEM, "hwloc", "core list");
    }
    hsdi_hwloc_cores(t, allowed, cores);
    hsd_status status = cores->n_cpus > 0
                            ? HSD_OK
                            : hsdi_fail(err, HSD_EDEVICE, "hwloc", "there is no processor to use");
    if (status == HSD_OK) {
        find_model(t, model, sizeof model);
        m->n_hosts = 1;
        find_host(t, allowed, cores, is_here, &m->hosts[0]);
        sets s = {t, cores, m, model};
        find_sets(&s);
        hsdi_io_find(t, is_here, m);
        snprintf(m->name, sizeof m->name, "%s", m->hosts[0].name);
        m->fingerprint = fingerprint_of(t, model);
        if (hsdi_machine_find_device(m, m->hosts[0].name) >= 0) {
            memcpy(m->hosts[0].name, "host", 5); // who calls a host "cpu0"?
        }
        status = hsdi_machine_check(m, err);
    }
    free(cores);
    return status;
}

hsd_status hsdi_discover(const hsdi_machine_source *source, hsdi_machine *out, hsd_error *err)
{
    bool is_here = !source->xml_path && !source->synthetic;
    hwloc_topology_t t;
    hsdi_machine_init(out);
    hsd_status status = hsdi_hwloc_load(source, HSDI_HWLOC_ALL, &t, err);
    if (status != HSD_OK) {
        return status;
    }
    hwloc_bitmap_t allowed =
        is_here ? hsdi_hwloc_allowed() : hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(t));
    status = allowed ? find_all(t, allowed, is_here, out, err)
                     : hsdi_fail(err, HSD_ENOMEM, "hwloc", "set of processors");
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(t);
    return status;
}
