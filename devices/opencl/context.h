/// The OpenCL device: a context, an in-order queue and the program of kernels/opencl.
#ifndef HSDI_DEVICES_OPENCL_CONTEXT_H
#define HSDI_DEVICES_OPENCL_CONTEXT_H

#include "base/futex.h"
#include "devices/launch/driver.h"
#include "devices/opencl/features.h"

/// A product's program, under the name of its kernel.
typedef struct hsdi_ocl_product {
    struct hsdi_ocl_product *next;
    char name[HSDI_TILE_NAME_BYTES];
    cl_program program;
} hsdi_ocl_product;

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
    hsdi_ocl_features features;
    cl_program program;    ///< everything but products
    pthread_mutex_t lists; ///< guards the two below: graphs and buffers are made on any thread
    struct hsdi_ocl_product *products;  ///< owned; those asked for so far
    struct hsdi_ocl_shared *shared;     ///< owned; memory that the host has mapped
    struct hsdi_ocl_event *events;      ///< owned [HSDI_OCL_MAX_EVENTS]; NULL: no times are taken
    struct hsdi_ocl_record *recording;  ///< borrowed: launches are kept there; guarded by the turn
    struct hsdi_ocl_recorder *recorder; ///< owned; NULL: passes cannot be recorded
    cl_command_queue host_queue;        ///< for memory that is made
    bool looks;                         ///< an end is looked for; else the driver calls
    int n_events;                       ///< of launches since the last wait
    hsdi_gate ended;                    ///< counts what was waited for
    _Atomic cl_int state;               ///< of the last of it
} hsdi_ocl_device;

enum { HSDI_OCL_MAX_EVENTS = 64 };
typedef struct hsdi_ocl_event {
    cl_event event;
    cl_kernel kernel; ///< borrowed: it outlives the submission
} hsdi_ocl_event;

/// Time every launch from now on, or no longer: by a queue that keeps times.
hsd_status hsdi_ocl_profile(hsdi_device *device, bool on, hsd_error *err);
/// Look at an event, which was flushed, until its command has ended; *state tells how. A device
/// that does not answer in time hangs.
HSD_NODISCARD hsd_status hsdi_ocl_look(hsdi_ocl_device *ocl, cl_event event, cl_int *state,
                                       hsd_error *err);
/// Wait for everything, take the times of the launches, and forget their events.
hsd_status hsdi_ocl_finish(hsdi_ocl_device *ocl, hsd_error *err);

extern const hsdi_launch_driver hsdi_ocl_driver;

// Memory that host and device share (shared.c), of hsdi_launch_driver.
hsd_status hsdi_ocl_host_create(hsdi_launch_device *device, size_t size_bytes,
                                hsdi_launch_memory **out, void **host, hsd_error *err);
hsd_status hsdi_ocl_host_own(hsdi_launch_device *device, hsdi_launch_memory *memory, void *host,
                             size_t size_bytes, hsdi_launch_owner owner, hsd_error *err);
hsd_status hsdi_ocl_memory_wrap(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                hsdi_launch_memory **out, hsd_error *err);

// Recorded passes (record.c), the same.
/// Find the extension's functions and try them; without, passes are not recorded.
HSD_NODISCARD hsd_status hsdi_ocl_recorder_init(hsdi_ocl_device *ocl, hsd_error *err);
hsd_status hsdi_ocl_record_begin(hsdi_launch_device *device, hsdi_launch_record **record,
                                 hsd_error *err);
hsd_status hsdi_ocl_record_launch(hsdi_ocl_device *ocl, cl_kernel kernel, const size_t *global,
                                  const size_t *local, hsd_error *err);
hsd_status hsdi_ocl_replay(hsdi_launch_device *device, hsdi_launch_record *record, hsd_error *err);
void hsdi_ocl_record_destroy(hsdi_launch_device *device, hsdi_launch_record *record);

/// Device memory of size_bytes, filled from `data` unless it is NULL. It is there when this
/// returns: drivers of devices with memory of their own else find out in use that there is not
/// enough.
HSD_NODISCARD hsd_status hsdi_ocl_memory(hsdi_ocl_device *ocl, size_t size_bytes, const void *data,
                                         cl_mem *out, hsd_error *err);
void hsdi_ocl_memory_free(hsdi_ocl_device *ocl, cl_mem memory);
/// Unmap it, if it is memory that the host has mapped.
void hsdi_ocl_shared_forget(hsdi_ocl_device *ocl, cl_mem memory);

#endif
