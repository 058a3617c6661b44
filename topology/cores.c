/// Core discovery by hwloc.
#include "topology/cores.h"

#include "base/error.h"

#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>

/// Append the i_th allowed processor of a core; false when the core has fewer.
static bool take(hsdi_cores *out, hwloc_const_bitmap_t core, const cpu_set_t *mine, int i_th)
{
    for (int os = hwloc_bitmap_first(core); os >= 0; os = hwloc_bitmap_next(core, os)) {
        if (os < CPU_SETSIZE && CPU_ISSET((size_t)os, mine) && i_th-- == 0) {
            if (out->n_cpus < HSDI_CORES_MAX) {
                out->cpus[out->n_cpus++] = os;
            }
            return true;
        }
    }
    return false;
}

static void allowed(cpu_set_t *mine)
{
    CPU_ZERO(mine);
    if (sched_getaffinity(0, sizeof *mine, mine) != 0) {
        for (int i = 0; i < CPU_SETSIZE; i++) {
            CPU_SET((size_t)i, mine);
        }
    }
}

hsd_status hsdi_cores_discover(hsdi_cores *out, hsd_error *err)
{
    hwloc_topology_t topology;
    cpu_set_t mine;
    *out = (hsdi_cores){0};
    allowed(&mine);
    if (hwloc_topology_init(&topology) != 0) {
        return hsdi_fail(err, HSD_EDEVICE, "hwloc", "the topology could not be made");
    }
    // hwloc's OpenCL and Level Zero components would re-enter the loaders that the devices use, and
    // set variables in the environment; nothing here needs what they find.
    hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "opencl");
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "levelzero");
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return hsdi_fail(err, HSD_EDEVICE, "hwloc", "the topology could not be loaded");
    }
    bool use_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0;
    hwloc_obj_type_t type = use_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    bool found = true;
    for (int i_th = 0; found; i_th++) {
        found = false;
        for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(topology, type, o));) {
            found |= take(out, o->cpuset, &mine, i_th);
        }
        if (i_th == 0) {
            out->n_cores = out->n_cpus;
        }
    }
    hwloc_topology_destroy(topology);
    if (out->n_cpus == 0) {
        return hsdi_fail(err, HSD_EDEVICE, "hwloc", "no processor is allowed to this process");
    }
    return HSD_OK;
}

/// Numbers below 10,000 and ranges with commas between them. hwloc takes more than that: "3-" is
/// "from 3 on", and a huge number a huge set.
static bool is_list(const char *s)
{
    static const char digits[] = "0123456789";
    for (;; s++) {
        size_t n = strspn(s, digits);
        s += n;
        if (n > 0 && n <= 4 && *s == '-') {
            n = strspn(++s, digits);
            s += n;
        }
        if (n == 0 || n > 4 || (*s && *s != ',')) {
            return false;
        }
        if (!*s) {
            return true;
        }
    }
}

hsd_status hsdi_cores_parse(const char *list, int *out, int *n_out, hsd_error *err)
{
    cpu_set_t mine;
    allowed(&mine);
    *n_out = 0;
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (!set) {
        return hsdi_fail(err, HSD_ENOMEM, "processors", "list");
    }
    hsd_status status = HSD_OK;
    bool is_read = is_list(list) && hwloc_bitmap_list_sscanf(set, list) == 0 &&
                   !hwloc_bitmap_iszero(set); // a range from high to low is empty
    if (!is_read) {
        status = hsdi_fail(err, HSD_EINVAL, "processors", "\"%.64s\" is no list like 0-3,8", list);
    }
    for (int os = is_read ? hwloc_bitmap_first(set) : -1; os >= 0 && status == HSD_OK;
         os = hwloc_bitmap_next(set, os)) {
        if (os >= CPU_SETSIZE || !CPU_ISSET((size_t)os, &mine) || *n_out == HSDI_CORES_MAX) {
            status = hsdi_fail(err, HSD_ENODEVICE, "processors",
                               "this process may not use processor %d", os);
        } else {
            out[(*n_out)++] = os;
        }
    }
    hwloc_bitmap_free(set);
    return status;
}
