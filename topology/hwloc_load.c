/// Loading hwloc's topologies, without the parts that other libraries' devices come from.
#include "topology/hwloc_load.h"

#include "base/error.h"

#include <sched.h>
#include <stdbool.h>

/// hwloc's components for devices would re-enter the loaders that hsd's devices use, open a
/// display, and set variables in the environment; the drivers are asked elsewhere.
static const char *const components_off[] = {"opencl", "levelzero", "cuda", "nvml", "rsmi", "gl"};

static void set_filters(hwloc_topology_t topology, hsdi_hwloc_depth depth)
{
    if (depth == HSDI_HWLOC_CORES) {
        hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
        hwloc_topology_set_type_filter(topology, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    }
    if (depth == HSDI_HWLOC_ALL) {
        hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    }
    for (size_t i = 0; i < sizeof components_off / sizeof *components_off; i++) {
        // -1 where the component is not installed.
        (void)hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST,
                                            components_off[i]);
    }
}

hsd_status hsdi_hwloc_load(const hsdi_machine_source *source, hsdi_hwloc_depth depth,
                           hwloc_topology_t *out, hsd_error *err)
{
    hwloc_topology_t topology;
    const char *name = source->xml_path ? source->xml_path : source->synthetic;
    if (hwloc_topology_init(&topology) != 0) {
        return hsdi_fail(err, HSD_EDEVICE, "hwloc", "the topology could not be made");
    }
    set_filters(topology, depth);
    bool good = true;
    if (source->xml_path) {
        good = hwloc_topology_set_xml(topology, source->xml_path) == 0;
    } else if (source->synthetic) {
        good = hwloc_topology_set_synthetic(topology, source->synthetic) == 0;
    }
    if (!good || hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return name ? hsdi_fail(err, HSD_EFORMAT, name, "this is no machine that hwloc recorded")
                    : hsdi_fail(err, HSD_EDEVICE, "hwloc", "the topology could not be loaded");
    }
    *out = topology;
    return HSD_OK;
}

/// Append the i_th allowed processor of a core; false when the core has fewer.
static bool take(hsdi_cores *out, hwloc_const_bitmap_t core, hwloc_const_bitmap_t allowed, int i_th)
{
    for (int os = hwloc_bitmap_first(core); os >= 0; os = hwloc_bitmap_next(core, os)) {
        if (hwloc_bitmap_isset(allowed, (unsigned)os) && i_th-- == 0) {
            if (out->n_cpus < HSDI_CORES_MAX) {
                out->cpus[out->n_cpus++] = os;
            }
            return true;
        }
    }
    return false;
}

void hsdi_hwloc_cores(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, hsdi_cores *out)
{
    bool use_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0;
    hwloc_obj_type_t type = use_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    bool found = true;
    *out = (hsdi_cores){0};
    for (int i_th = 0; found; i_th++) {
        found = false;
        for (hwloc_obj_t o = NULL; (o = hwloc_get_next_obj_by_type(topology, type, o));) {
            found |= take(out, o->cpuset, allowed, i_th);
        }
        if (i_th == 0) {
            out->n_cores = out->n_cpus;
        }
    }
}

hwloc_bitmap_t hsdi_hwloc_allowed(void)
{
    cpu_set_t mine;
    hwloc_bitmap_t out = hwloc_bitmap_alloc();
    if (!out || sched_getaffinity(0, sizeof mine, &mine) != 0) {
        if (out) {
            hwloc_bitmap_fill(out);
        }
        return out;
    }
    for (unsigned i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &mine)) {
            hwloc_bitmap_set(out, i);
        }
    }
    return out;
}
