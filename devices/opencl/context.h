/// The OpenCL device: a context, an in-order queue and the program of kernels/opencl.
#ifndef HSDI_DEVICES_OPENCL_CONTEXT_H
#define HSDI_DEVICES_OPENCL_CONTEXT_H

#include "base/futex.h"
#include "devices/launch/driver.h"
#include "devices/opencl/api.h"

typedef struct hsdi_ocl_device {
    union {
        hsdi_device base;
        hsdi_launch_device launch; ///< begins with `base`
    };
    const hsdi_ocl_api *api; ///< static
    cl_device_id id;
    bool is_part; ///< `id` is a part of a device, and owned
    cl_context context;
    cl_command_queue queue; ///< in order
    cl_program program;
    struct hsdi_ocl_event *events; ///< owned [HSDI_OCL_MAX_EVENTS]; NULL: no times are taken
    int n_events;                  ///< of launches since the last wait
    hsdi_gate ended;               ///< counts what was waited for
    _Atomic cl_int state;          ///< of the last of it
} hsdi_ocl_device;

enum { HSDI_OCL_MAX_EVENTS = 64 };
typedef struct hsdi_ocl_event {
    cl_event event;
    cl_kernel kernel; ///< borrowed: it outlives the submission
} hsdi_ocl_event;

/// Time every launch from now on, or no longer: by a queue that keeps times.
hsd_status hsdi_ocl_profile(hsdi_device *device, bool on, hsd_error *err);
/// Wait for everything, take the times of the launches, and forget their events.
hsd_status hsdi_ocl_finish(hsdi_ocl_device *ocl, hsd_error *err);

extern const hsdi_launch_driver hsdi_ocl_driver;

/// Device memory of size_bytes, filled from `data` unless it is NULL.
HSD_NODISCARD hsd_status hsdi_ocl_memory(const hsdi_ocl_device *ocl, size_t size_bytes,
                                         const void *data, cl_mem *out, hsd_error *err);
void hsdi_ocl_memory_free(const hsdi_ocl_device *ocl, cl_mem memory);

#endif
