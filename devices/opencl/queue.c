/// OpenCL as a driver of kernels (devices/launch/driver.h): an in-order queue and what goes into
/// it.
#include "devices/opencl/context.h"
#include "devices/opencl/program.h"

#include "base/clock.h"
#include "base/error.h"
#include "devices/launch/profile.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/// The layer above knows the handles as its own types.
static hsdi_ocl_device *ocl_of(hsdi_launch_device *device)
{
    return (hsdi_ocl_device *)device;
}

static hsd_status memory_create(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                hsdi_launch_memory **out, hsd_error *err)
{
    cl_mem memory = NULL;
    hsd_status status = hsdi_ocl_memory(ocl_of(device), size_bytes, data, &memory, err);
    *out = (hsdi_launch_memory *)memory;
    return status;
}

static void memory_destroy(hsdi_launch_device *device, hsdi_launch_memory *memory)
{
    hsdi_ocl_memory_free(ocl_of(device), (cl_mem)memory);
}

static hsd_status send(hsdi_launch_device *device, hsdi_launch_memory *to, size_t at,
                       size_t size_bytes, const void *from, hsd_error *err)
{
    const hsdi_ocl_device *ocl = ocl_of(device);
    if (atomic_load(&device->hung)) { // a submission begins with its table
        return hsdi_fail(err, HSD_EDEVICE, device->base.info.name, "the device was lost before");
    }
    return hsdi_ocl_check(err, "clEnqueueWriteBuffer",
                          ocl->api->EnqueueWriteBuffer(ocl->queue, (cl_mem)to, CL_FALSE, at,
                                                       size_bytes, from, 0, NULL, NULL));
}

static hsd_status fetch(hsdi_launch_device *device, hsdi_launch_memory *from, size_t at,
                        size_t size_bytes, void *to, hsd_error *err)
{
    const hsdi_ocl_device *ocl = ocl_of(device);
    return hsdi_ocl_check(err, "clEnqueueReadBuffer",
                          ocl->api->EnqueueReadBuffer(ocl->queue, (cl_mem)from, CL_FALSE, at,
                                                      size_bytes, to, 0, NULL, NULL));
}

/// A kernel that shuffles needs sub-groups of 16, 32, .. work-items. They are asked for where that
/// can be; elsewhere the driver says how large they are.
static hsd_status check_subgroups(const hsdi_ocl_device *ocl, cl_kernel kernel, hsd_error *err)
{
    enum { MAX_SIZE_FOR_NDRANGE = 0x2033 };
    const size_t group[2] = {HSDI_TILE_TEAM, 1};
    size_t size = 0;
    if (ocl->api->GetKernelSubGroupInfo) {
        (void)ocl->api->GetKernelSubGroupInfo(kernel, ocl->id, MAX_SIZE_FOR_NDRANGE, sizeof group,
                                              group, sizeof size, &size, NULL);
    }
    return size > 0 && size % HSDI_TILE_TEAM == 0
               ? HSD_OK
               : hsdi_fail(err, HSD_EUNSUPPORTED, ocl->base.info.name,
                           "sub-groups have %zu work-items", size);
}

static hsd_status kernel_create(hsdi_launch_device *device, const char *name, const char *defines,
                                hsdi_launch_kernel **out, hsd_error *err)
{
    hsdi_ocl_device *ocl = ocl_of(device);
    cl_program program = ocl->program;
    cl_int code;
    hsd_status status = defines ? hsdi_ocl_product_get(ocl, name, defines, &program, err) : HSD_OK;
    if (status != HSD_OK) {
        return status;
    }
    cl_kernel kernel = ocl->api->CreateKernel(program, name, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateKernel", code);
    }
    if (strncmp(name, "subgroup", 8) == 0 && !ocl->features.subgroup_16) {
        status = check_subgroups(ocl, kernel, err);
    }
    if (status != HSD_OK) {
        (void)ocl->api->ReleaseKernel(kernel);
        return status;
    }
    *out = (hsdi_launch_kernel *)kernel;
    return HSD_OK;
}

static void kernel_destroy(hsdi_launch_device *device, hsdi_launch_kernel *kernel)
{
    if (kernel && !atomic_load(&device->hung)) {
        (void)ocl_of(device)->api->ReleaseKernel((cl_kernel)kernel);
    }
}

static hsd_status kernel_set(hsdi_launch_device *device, hsdi_launch_kernel *kernel, unsigned index,
                             size_t size_bytes, const void *value, hsd_error *err)
{
    cl_int code = ocl_of(device)->api->SetKernelArg((cl_kernel)kernel, index, size_bytes, value);
    return hsdi_ocl_check(err, "clSetKernelArg", code);
}

static void CL_CALLBACK ended(cl_event event, cl_int state, void *user)
{
    hsdi_ocl_device *ocl = user;
    (void)event;
    atomic_store(&ocl->state, state);
    hsdi_gate_add(&ocl->ended);
}

/// Nothing is known of what was sent: it may run still. The device is given up.
static hsd_status hang(hsdi_ocl_device *ocl, hsd_status status)
{
    atomic_store(&ocl->launch.hung, true);
    return status;
}

/// Between two looks at an event: short waits are not made longer, long ones by little, and leave
/// the core to others.
static void rest(int64_t waited_ns)
{
    enum { YIELD_NS = 100000, LONGEST_NS = 1000000, PART = 32 };
    struct timespec pause = {.tv_nsec =
                                 waited_ns / PART < LONGEST_NS ? waited_ns / PART : LONGEST_NS};
    if (waited_ns < YIELD_NS) {
        (void)sched_yield();
    } else {
        (void)nanosleep(&pause, NULL);
    }
}

hsd_status hsdi_ocl_look(hsdi_ocl_device *ocl, cl_event event, cl_int *state, hsd_error *err)
{
    int64_t begin = hsdi_now_ns(), timeout_ns = (int64_t)ocl->launch.timeout_ns;
    for (;;) {
        hsd_status status =
            hsdi_ocl_check(err, "clGetEventInfo",
                           ocl->api->GetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                                  sizeof *state, state, NULL));
        if (status != HSD_OK || *state <= CL_COMPLETE) {
            return status;
        }
        int64_t waited_ns = hsdi_now_ns() - begin;
        if (waited_ns > timeout_ns) {
            return hang(ocl, hsdi_fail(err, HSD_EDEVICE, ocl->base.info.name, "no answer for %g s",
                                       (double)timeout_ns / 1e9));
        }
        rest(waited_ns);
    }
}

/// Sleep until the driver calls.
static hsd_status sleep_until(hsdi_ocl_device *ocl, uint32_t seen, cl_int *state, hsd_error *err)
{
    int64_t timeout_ns = (int64_t)ocl->launch.timeout_ns;
    if (hsdi_gate_wait_until(&ocl->ended, seen, hsdi_now_ns() + timeout_ns) == seen) {
        return hang(ocl, hsdi_fail(err, HSD_EDEVICE, ocl->base.info.name, "no answer for %g s",
                                   (double)timeout_ns / 1e9));
    }
    *state = atomic_load(&ocl->state);
    return HSD_OK;
}

/// clFinish has no limit of time, so a marker's event is waited for.
static hsd_status wait(hsdi_ocl_device *ocl, hsd_error *err)
{
    const hsdi_ocl_api *api = ocl->api;
    if (atomic_load(&ocl->launch.hung)) { // it would take the whole time once more
        return hsdi_fail(err, HSD_EDEVICE, ocl->base.info.name, "the device was lost before");
    }
    uint32_t seen = atomic_load(&ocl->ended.value);
    cl_event event = NULL;
    cl_int state = CL_QUEUED;
    hsd_status status = hsdi_ocl_check(err, "clEnqueueMarkerWithWaitList",
                                       api->EnqueueMarkerWithWaitList(ocl->queue, 0, NULL, &event));
    if (status == HSD_OK && !ocl->looks) {
        status = hsdi_ocl_check(err, "clSetEventCallback",
                                api->SetEventCallback(event, CL_COMPLETE, ended, ocl));
    }
    if (status == HSD_OK) {
        status = hsdi_ocl_check(err, "clFlush", api->Flush(ocl->queue));
    }
    if (status == HSD_OK) {
        status = ocl->looks ? hsdi_ocl_look(ocl, event, &state, err)
                            : sleep_until(ocl, seen, &state, err);
    }
    if (status != HSD_OK) {
        return hang(ocl, status);
    }
    (void)api->ReleaseEvent(event);
    return state < 0 ? hang(ocl, hsdi_ocl_fail(err, "clEnqueueMarkerWithWaitList", state)) : HSD_OK;
}

// ---- times ----

/// Name and time of a finished launch.
static void take_time(hsdi_ocl_device *ocl, const hsdi_ocl_event *e)
{
    char name[64] = "";
    cl_ulong begin = 0, end = 0;
    if (ocl->api->GetKernelInfo(e->kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL) ==
            CL_SUCCESS &&
        ocl->api->GetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_START, sizeof begin, &begin,
                                        NULL) == CL_SUCCESS &&
        ocl->api->GetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_END, sizeof end, &end,
                                        NULL) == CL_SUCCESS) {
        hsdi_launch_timed(&ocl->launch, name, (int64_t)(end - begin));
    }
    (void)ocl->api->ReleaseEvent(e->event);
}

hsd_status hsdi_ocl_finish(hsdi_ocl_device *ocl, hsd_error *err)
{
    ocl->recording = NULL; // also where recording has failed
    hsd_status status = wait(ocl, err);
    for (int i = 0; i < ocl->n_events && status == HSD_OK; i++) {
        take_time(ocl, &ocl->events[i]);
    }
    ocl->n_events = 0; // those of a device that hangs are left alone
    return status;
}

hsd_status hsdi_ocl_profile(hsdi_device *device, bool on, hsd_error *err)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    if (on && !ocl->events) {
        cl_int code;
        hsdi_ocl_event *events = calloc(HSDI_OCL_MAX_EVENTS, sizeof *events);
        if (!events) {
            return hsdi_fail(err, HSD_ENOMEM, "profile", "%d events", (int)HSDI_OCL_MAX_EVENTS);
        }
        cl_command_queue queue =
            ocl->api->CreateCommandQueue(ocl->context, ocl->id, CL_QUEUE_PROFILING_ENABLE, &code);
        if (code != CL_SUCCESS) {
            free(events);
            return hsdi_ocl_fail(err, "clCreateCommandQueue", code);
        }
        (void)ocl->api->ReleaseCommandQueue(ocl->queue); // nothing is in it between submissions
        ocl->queue = queue;
        ocl->launch.n_queues++; // passes that were recorded for the other one are made again
        ocl->events = events;
    } else if (!on && ocl->events) { // the queue stays: its times are no longer asked for
        free(ocl->events);
        ocl->events = NULL;
    }
    // Times are taken of single launches.
    ocl->launch.records = ocl->recorder && !on;
    return hsdi_launch_profile(device, on, err);
}

/// A kernel may need so much of the device that fewer work-items fit than the device has room for.
/// Asked for only where a launch was refused: rusticl names 32 and takes 64.
static hsd_status refuse_group(const hsdi_ocl_device *ocl, cl_kernel kernel, int group,
                               hsd_error *err)
{
    char name[64] = "";
    size_t most = 0;
    (void)ocl->api->GetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
    (void)ocl->api->GetKernelWorkGroupInfo(kernel, ocl->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof most,
                                           &most, NULL);
    return hsdi_fail(err, HSD_EUNSUPPORTED, ocl->base.info.name,
                     "kernel %s: the driver takes no group of %d work-items, it names %zu", name,
                     group, most);
}

static hsd_status start(hsdi_launch_device *device, hsdi_launch_kernel *kernel, size_t width,
                        int height, int group, hsd_error *err)
{
    hsdi_ocl_device *ocl = ocl_of(device);
    const size_t global[2] = {width, (size_t)height}, local[2] = {(size_t)group, 1};
    if (ocl->recording) {
        return hsdi_ocl_record_launch(ocl, (cl_kernel)kernel, global, local, err);
    }
    if (ocl->events && ocl->n_events == HSDI_OCL_MAX_EVENTS) {
        hsd_status status = hsdi_ocl_finish(ocl, err);
        if (status != HSD_OK) {
            return status;
        }
    }
    hsdi_ocl_event *e = ocl->events ? &ocl->events[ocl->n_events] : NULL;
    cl_int code = ocl->api->EnqueueNDRangeKernel(ocl->queue, (cl_kernel)kernel, 2, NULL, global,
                                                 local, 0, NULL, e ? &e->event : NULL);
    if (e && code == CL_SUCCESS) {
        e->kernel = (cl_kernel)kernel;
        ocl->n_events++;
    }
    if (code == CL_INVALID_WORK_GROUP_SIZE) {
        return refuse_group(ocl, (cl_kernel)kernel, group, err);
    }
    return hsdi_ocl_check(err, "clEnqueueNDRangeKernel", code);
}

static hsd_status finish(hsdi_launch_device *device, hsd_error *err)
{
    return hsdi_ocl_finish(ocl_of(device), err);
}

const hsdi_launch_driver hsdi_ocl_driver = {
    .memory_create = memory_create,
    .memory_destroy = memory_destroy,
    .send = send,
    .fetch = fetch,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .kernel_set = kernel_set,
    .start = start,
    .finish = finish,
    .host_create = hsdi_ocl_host_create,
    .host_own = hsdi_ocl_host_own,
    .memory_wrap = hsdi_ocl_memory_wrap,
    .record = hsdi_ocl_record_begin,
    .replay = hsdi_ocl_replay,
    .record_destroy = hsdi_ocl_record_destroy,
};
