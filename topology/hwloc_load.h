/// A topology of hwloc: of this machine, or of one that was recorded. Only for files of this
/// folder.
#ifndef HSDI_TOPOLOGY_HWLOC_LOAD_H
#define HSDI_TOPOLOGY_HWLOC_LOAD_H

#include <hwloc.h>
#include <topology/cores.h>
#include <topology/discover.h>

/// How much of a machine to look for.
typedef enum hsdi_hwloc_depth {
    HSDI_HWLOC_CORES,  ///< cores and processors
    HSDI_HWLOC_MEMORY, ///< caches and NUMA nodes too
    HSDI_HWLOC_ALL,    ///< PCI and the operating system's devices too
} hsdi_hwloc_depth;

/// Errors: HSD_EDEVICE where this machine cannot be looked at; HSD_EFORMAT for a record that is
/// none, with its name. Owner: *out is the caller's, hwloc_topology_destroy.
HSD_NODISCARD hsd_status hsdi_hwloc_load(const hsdi_machine_source *source, hsdi_hwloc_depth depth,
                                         hwloc_topology_t *out, hsd_error *err);

/// Processors of the topology that are in `allowed`, in the order of hsdi_cores.
void hsdi_hwloc_cores(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, hsdi_cores *out);

/// Processors that this process may use. Owner: the caller, hwloc_bitmap_free. NULL: no memory.
hwloc_bitmap_t hsdi_hwloc_allowed(void);

#endif
