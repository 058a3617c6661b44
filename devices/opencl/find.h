/// Which OpenCL devices there are, and which one is taken when none is named.
#ifndef HSDI_DEVICES_OPENCL_FIND_H
#define HSDI_DEVICES_OPENCL_FIND_H

#include "devices/opencl/api.h"

enum { HSDI_OCL_MAX_DEVICES = 64 };

/// Every device that hsd can use, in the loader's order. That order gives "opencl:N" its N.
typedef struct hsdi_ocl_found {
    int n;
    cl_device_id ids[HSDI_OCL_MAX_DEVICES];
    cl_platform_id platforms[HSDI_OCL_MAX_DEVICES];
} hsdi_ocl_found;

/// Platforms that are empty, broken or there twice, and devices without a compiler, with too small
/// groups or older than OpenCL 1.2, are left out. Errors: HSD_EDEVICE when nothing is left.
HSD_NODISCARD hsd_status hsdi_ocl_find(const hsdi_ocl_api *api, hsdi_ocl_found *f, hsd_error *err);

/// Devices in the order in which to try them when none is named: GPUs, accelerators, the rest.
///
/// Shapes : order [f->n], indices into f.
void hsdi_ocl_order(const hsdi_ocl_api *api, const hsdi_ocl_found *f, int *order);

#endif
