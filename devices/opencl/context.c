/// Choosing, opening and closing OpenCL devices.
#include "devices/opencl/context.h"
#include "devices/host_buffer.h"
#include "devices/launch/graph.h"
#include "devices/launch/profile.h"
#include "devices/opencl/find.h"
#include "devices/opencl/program.h"

#include "base/error.h"
#include "kernels/opencl/source.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// A byte of it is written, so that the device must have it.
static hsd_status claim(hsdi_ocl_device *ocl, cl_mem memory, hsd_error *err)
{
    static const char zero;
    cl_event event = NULL;
    cl_int state = CL_QUEUED;
    hsd_status status =
        hsdi_ocl_check(err, "clEnqueueWriteBuffer",
                       ocl->api->EnqueueWriteBuffer(ocl->host_queue, memory, CL_FALSE, 0,
                                                    sizeof zero, &zero, 0, NULL, &event));
    if (status != HSD_OK) {
        return status;
    }
    status = hsdi_ocl_check(err, "clFlush", ocl->api->Flush(ocl->host_queue));
    if (status == HSD_OK) {
        status = hsdi_ocl_look(ocl, event, &state, err);
    }
    if (!atomic_load(&ocl->launch.hung)) {
        (void)ocl->api->ReleaseEvent(event);
    }
    return status == HSD_OK && state < 0 ? hsdi_ocl_fail(err, "clEnqueueWriteBuffer", state)
                                         : status;
}

hsd_status hsdi_ocl_memory(hsdi_ocl_device *ocl, size_t size_bytes, const void *data, cl_mem *out,
                           hsd_error *err)
{
    cl_int code;
    cl_mem_flags flags = CL_MEM_READ_WRITE | (data ? CL_MEM_COPY_HOST_PTR : 0);
    *out = NULL;
    if (atomic_load(&ocl->launch.hung)) {
        return hsdi_fail(err, HSD_EDEVICE, ocl->base.info.name, "the device was lost before");
    }
    size_t most = ocl->features.memory_bytes; // 0: it does not say
    if (ocl->features.own_memory && most > 0 && size_bytes > most) {
        return hsdi_fail(err, HSD_EDEVICE, ocl->base.info.name,
                         "%zu bytes of memory are asked for, the device has %zu", size_bytes, most);
    }
    // The interface has no const; COPY_HOST_PTR only reads.
    *out = ocl->api->CreateBuffer(ocl->context, flags, size_bytes, (void *)(uintptr_t)data, &code);
    hsd_status status = hsdi_ocl_check(err, "clCreateBuffer", code);
    if (status == HSD_OK && !data && ocl->features.own_memory) {
        status = claim(ocl, *out, err);
    }
    if (status != HSD_OK) {
        hsdi_ocl_memory_free(ocl, *out);
        *out = NULL;
    }
    return status;
}

void hsdi_ocl_memory_free(hsdi_ocl_device *ocl, cl_mem memory)
{
    if (memory && !atomic_load(&ocl->launch.hung)) {
        hsdi_ocl_shared_forget(ocl, memory);
        (void)ocl->api->ReleaseMemObject(memory);
    }
}

static void ocl_close(hsdi_device *device)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    if (atomic_load(&ocl->launch.hung)) {
        return; // its answer may still come, and is counted in here
    }
    hsdi_ocl_products_release(ocl);
    if (ocl->program) {
        (void)ocl->api->ReleaseProgram(ocl->program);
    }
    free(ocl->events);
    free(ocl->recorder);
    if (ocl->host_queue) {
        (void)ocl->api->ReleaseCommandQueue(ocl->host_queue);
    }
    if (ocl->queue) {
        (void)ocl->api->ReleaseCommandQueue(ocl->queue);
    }
    if (ocl->context) {
        (void)ocl->api->ReleaseContext(ocl->context);
    }
    if (ocl->is_part) {
        (void)ocl->api->ReleaseDevice(ocl->id);
    }
    pthread_mutex_destroy(&ocl->lists);
    hsdi_device_fini(&ocl->base);
    free(ocl);
}

static hsdi_tile_set *ocl_tiles(hsdi_device *device)
{
    return &((hsdi_ocl_device *)device)->launch.tiles;
}

static const hsdi_backend ocl_backend = {
    .name = "opencl",
    .has_top = true,
    .device_close = ocl_close,
    .weight_create = hsdi_launch_weight_create,
    .weight_destroy = hsdi_launch_weight_destroy,
    .weight_is_held = hsdi_launch_weight_is_held,
    .weight_read = hsdi_launch_weight_read,
    .has_el = true,
    .cache_types = 1u << HSD_CACHE_F32 | 1u << HSD_CACHE_F16 | 1u << HSD_CACHE_Q8_0,
    .cache_create = hsdi_launch_cache_create,
    .cache_destroy = hsdi_launch_cache_destroy,
    .cache_read = hsdi_launch_cache_read,
    .cache_write = hsdi_launch_cache_write,
    .buffer_create = hsdi_launch_buffer_create,
    .buffer_destroy = hsdi_launch_buffer_destroy,
    .buffer_map = hsdi_host_buffer_map,
    .graph_compile = hsdi_launch_graph_compile,
    .graph_destroy = hsdi_launch_graph_destroy,
    .graph_run = hsdi_launch_graph_run,
    .profile = hsdi_ocl_profile,
    .times = hsdi_launch_times,
    .tiles = ocl_tiles,
};

/// Compute units of a device.
typedef struct units {
    int first, n; ///< n 0: all
} units;

/// A device is cut from its first unit on, so what comes before becomes a device that nobody takes.
static hsd_status take_units(hsdi_ocl_device *ocl, const units *u, hsd_error *err)
{
    const char *name = ocl->base.info.name;
    cl_uint n_there = 0, n_parts = u->first > 0 ? 2 : 1;
    cl_device_partition_property how[5] = {CL_DEVICE_PARTITION_BY_COUNTS}, *at = how + 1;
    cl_device_id parts[2];
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof n_there, &n_there,
                                  NULL);
    if (u->first < 0 || u->n < 0 || u->first > (int)n_there - u->n) {
        return hsdi_fail(err, HSD_ENODEVICE, name, "compute units %d to %d of %u", u->first,
                         u->first + u->n - 1, (unsigned)n_there);
    }
    if (u->first > 0) {
        *at++ = u->first;
    }
    *at++ = u->n;
    *at++ = CL_DEVICE_PARTITION_BY_COUNTS_LIST_END;
    *at = 0;
    cl_int code = ocl->api->CreateSubDevices(ocl->id, how, n_parts, parts, NULL);
    if (code != CL_SUCCESS) {
        (void)hsdi_ocl_fail(err, "clCreateSubDevices", code);
        return HSD_EUNSUPPORTED;
    }
    if (n_parts == 2) {
        (void)ocl->api->ReleaseDevice(parts[0]);
    }
    ocl->id = parts[n_parts - 1];
    ocl->is_part = true;
    return HSD_OK;
}

static hsd_status choose(hsdi_ocl_device *ocl, const hsdi_ocl_found *f, int index, const units *u,
                         hsd_error *err)
{
    char name[512] = "", which[32] = "";
    ocl->id = f->ids[index];
    (void)ocl->api->GetDeviceInfo(ocl->id, CL_DEVICE_NAME, sizeof name, name, NULL);
    if (u->n > 0) {
        snprintf(which, sizeof which, "/%d-%d", u->first, u->first + u->n - 1);
    }
    snprintf(ocl->base.info.name, sizeof ocl->base.info.name, "opencl:%d%s %.30s", index, which,
             name);
    return u->n > 0 ? take_units(ocl, u, err) : HSD_OK;
}

/// What of the device's features is used: HSD_DEVICE_SHARED=0 copies rows and weights also where
/// memory is the host's, HSD_DEVICE_RECORDS=0 launches one by one also where passes could be kept,
/// HSD_DEVICE_OWN=1 takes memory for the device's own also on processors: it is claimed, and
/// weights are laid out anew there, HSD_DEVICE_LOOKS=1 looks for the end of a pass also on
/// processors. A GPU's driver may call milliseconds late (NVIDIA's: 10 to 20); looking takes a core
/// that a processor computes on.
static hsd_status choose_features(hsdi_ocl_device *ocl, hsd_error *err)
{
    hsdi_ocl_features *f = &ocl->features;
    hsd_status status = hsdi_launch_switch("HSD_DEVICE_SHARED", &f->unified, err);
    ocl->launch.shares = f->unified;
    ocl->looks = !f->is_cpu;
    f->own_memory = !f->is_cpu && !f->unified;
    if (status != HSD_OK ||
        (status = hsdi_launch_switch("HSD_DEVICE_RECORDS", &f->buffers, err)) != HSD_OK ||
        (status = hsdi_launch_switch("HSD_DEVICE_LOOKS", &ocl->looks, err)) != HSD_OK ||
        (status = hsdi_launch_switch("HSD_DEVICE_OWN", &f->own_memory, err)) != HSD_OK ||
        (status = hsdi_launch_lists(&ocl->launch, f->is_cpu, err)) != HSD_OK) {
        return status;
    }
    return hsdi_launch_split(&ocl->launch, f->is_cpu, f->n_units, err);
}

/// Which kernels products use, and whether passes are recorded.
static hsd_status load_tiles(hsdi_ocl_device *ocl, hsd_error *err)
{
    const hsdi_ocl_features *f = &ocl->features;
    hsdi_tile_set *set = &ocl->launch.tiles;
    hsdi_ocl_device_key(ocl, set->key, sizeof set->key);
    set->limits = (hsdi_tile_limits){.platform = set->key, // its first line
                                     .subgroups = f->shuffles,
                                     .fast_dot = f->fast_dot,
                                     .panels = f->own_memory,
                                     .max_group = f->max_group,
                                     .local_bytes = f->local_bytes};
    hsdi_tile_set_load(set);
    hsd_status status =
        f->buffers && set->tiles.records ? hsdi_ocl_recorder_init(ocl, err) : HSD_OK;
    ocl->launch.records = ocl->recorder != NULL;
    const char *more = hsdi_tile_set_note(set);
    char *note = ocl->base.info.note;
    size_t n = strlen(note);
    snprintf(note + n, sizeof ocl->base.info.note - n, "%s%s%s", *more ? "; " : "", more,
             ocl->recorder ? "; passes are recorded" : "");
    return status;
}

/// Context, queue and kernels of device `index`. What was done before a failure is undone by
/// ocl_close.
static hsd_status make(hsdi_ocl_device *ocl, const hsdi_ocl_found *f, int index, const units *u,
                       hsd_error *err)
{
    cl_int code;
    hsd_status status = hsdi_launch_timeout(&ocl->launch.timeout_ns, err);
    if (status != HSD_OK || (status = choose(ocl, f, index, u, err)) != HSD_OK) {
        return status;
    }
    hsdi_ocl_features_get(ocl->api, ocl->id, &ocl->features);
    if ((status = choose_features(ocl, err)) != HSD_OK) {
        return status;
    }
    ocl->context = ocl->api->CreateContext(NULL, 1, &ocl->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateContext", code);
    }
    ocl->queue = ocl->api->CreateCommandQueue(ocl->context, ocl->id, 0, &code);
    if (code == CL_SUCCESS) {
        ocl->host_queue = ocl->api->CreateCommandQueue(ocl->context, ocl->id, 0, &code);
    }
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateCommandQueue", code);
    }
    const hsdi_ocl_text common = hsdi_ocl_common();
    status = hsdi_ocl_program(ocl, &common, &ocl->program, ocl->base.info.note,
                              sizeof ocl->base.info.note, err);
    return status == HSD_OK ? load_tiles(ocl, err) : status;
}

static hsd_status open_one(const hsdi_ocl_api *api, const hsdi_ocl_found *f, int index,
                           const units *u, hsdi_device **out, hsd_error *err)
{
    hsdi_ocl_device *ocl = calloc(1, sizeof *ocl);
    if (!ocl) {
        return hsdi_fail(err, HSD_ENOMEM, "opencl", "device");
    }
    hsdi_device_init(&ocl->base, &ocl_backend, 1);
    pthread_mutex_init(&ocl->lists, NULL);
    ocl->launch.driver = &hsdi_ocl_driver;
    ocl->api = api;
    hsd_status status = make(ocl, f, index, u, err);
    if (status != HSD_OK) {
        ocl_close(&ocl->base);
        return status;
    }
    *out = &ocl->base;
    return HSD_OK;
}

hsd_status hsdi_device_open_opencl(int index, hsdi_device **out, hsd_error *err)
{
    return hsdi_device_open_opencl_units(index, 0, 0, out, err);
}

hsd_status hsdi_device_open_opencl_units(int index, int first, int n, hsdi_device **out,
                                         hsd_error *err)
{
    const hsdi_ocl_api *api;
    hsdi_ocl_found f;
    const units u = {first, n};
    if (!out || index < -1 || first < 0 || n < 0 || n > INT_MAX - first) {
        return hsdi_fail(err, HSD_EINVAL, "opencl", "device %d", index);
    }
    hsd_status status = hsdi_ocl_api_get(&api, err);
    if (status != HSD_OK || (status = hsdi_ocl_find(api, &f, err)) != HSD_OK) {
        return status;
    }
    if (index >= f.n) {
        return hsdi_fail(err, HSD_ENODEVICE, "opencl", "there is no device %d, only 0 to %d", index,
                         f.n - 1);
    }
    if (index >= 0) {
        return open_one(api, &f, index, &u, out, err);
    }
    int order[HSDI_OCL_MAX_DEVICES];
    hsdi_ocl_order(api, &f, order);
    status = open_one(api, &f, order[0], &u, out, err);
    // A driver that is broken must not hide the others; the first one's failure is reported.
    for (int i = 1; i < f.n && status != HSD_OK; i++) {
        if (open_one(api, &f, order[i], &u, out, NULL) == HSD_OK) {
            return HSD_OK;
        }
    }
    return status;
}
