/// Core discovery by hwloc.
#include "topology/cores.h"

#include "base/error.h"
#include "topology/hwloc_load.h"

#include <stdbool.h>
#include <string.h>

hsd_status hsdi_cores_discover(hsdi_cores *out, hsd_error *err)
{
    static const hsdi_machine_source here = {NULL, NULL};
    hwloc_topology_t topology;
    *out = (hsdi_cores){0};
    hsd_status status = hsdi_hwloc_load(&here, HSDI_HWLOC_CORES, &topology, err);
    if (status != HSD_OK) {
        return status;
    }
    hwloc_bitmap_t allowed = hsdi_hwloc_allowed();
    if (allowed) {
        hsdi_hwloc_cores(topology, allowed, out);
    }
    hwloc_topology_destroy(topology);
    if (!allowed) {
        return hsdi_fail(err, HSD_ENOMEM, "hwloc", "set of processors");
    }
    hwloc_bitmap_free(allowed);
    return out->n_cpus > 0
               ? HSD_OK
               : hsdi_fail(err, HSD_EDEVICE, "hwloc", "no processor is allowed to this process");
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
    *n_out = 0;
    hwloc_bitmap_t set = hwloc_bitmap_alloc(), mine = hsdi_hwloc_allowed();
    if (!set || !mine) {
        hwloc_bitmap_free(set);
        hwloc_bitmap_free(mine);
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
        if (!hwloc_bitmap_isset(mine, (unsigned)os) || *n_out == HSDI_CORES_MAX) {
            status = hsdi_fail(err, HSD_ENODEVICE, "processors",
                               "this process may not use processor %d", os);
        } else {
            out[(*n_out)++] = os;
        }
    }
    hwloc_bitmap_free(set);
    hwloc_bitmap_free(mine);
    return status;
}
