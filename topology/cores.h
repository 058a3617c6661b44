/// Which processors this process may use, in the order in which threads should take them.
#ifndef HSDI_TOPOLOGY_CORES_H
#define HSDI_TOPOLOGY_CORES_H

#include <hsd/status.h>

enum { HSDI_CORES_MAX = 1024 };

/// Processors by OS index: the first of every physical core, core by core, then the second
/// hardware thread of every core, and so on.
typedef struct hsdi_cores {
    int n_cores; ///< physical cores among the allowed processors
    int n_cpus;  ///< allowed processors
    int cpus[HSDI_CORES_MAX];
} hsdi_cores;

/// Ask hwloc about the processors that this process is allowed to run on.
///
/// Errors : HSD_EDEVICE when the topology cannot be read.
HSD_NODISCARD hsd_status hsdi_cores_discover(hsdi_cores *out, hsd_error *err);

/// Processors by a list of OS indices: "0-3,8".
///
/// Shapes : out [HSDI_CORES_MAX], ascending.
/// Errors : HSD_EINVAL for a list that is none; HSD_ENODEVICE for a processor that this process may
///          not use.
HSD_NODISCARD hsd_status hsdi_cores_parse(const char *list, int *out, int *n_out, hsd_error *err);

#endif
