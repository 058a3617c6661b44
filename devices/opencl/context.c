/// Choosing, opening and closing OpenCL devices.
#include "devices/opencl/context.h"
#include "devices/host_buffer.h"
#include "devices/launch/graph.h"

#include "base/error.h"
#include "kernels/opencl/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64, LOG_CHARS = 200 };

/// Every device of every platform, in the loader's order. That order gives "opencl:N" its N.
typedef struct found {
    int n;
    cl_device_id ids[MAX_DEVICES];
    cl_platform_id platforms[MAX_DEVICES];
} found;

static hsd_status find(const hsdi_ocl_api *api, found *f, hsd_error *err)
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n_platforms = 0;
    f->n = 0;
    cl_int code = api->GetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clGetPlatformIDs", code);
    }
    n_platforms = n_platforms < MAX_PLATFORMS ? n_platforms : MAX_PLATFORMS;
    for (cl_uint p = 0; p < n_platforms && f->n < MAX_DEVICES; p++) {
        cl_uint n = 0, room = (cl_uint)(MAX_DEVICES - f->n);
        code = api->GetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, room, f->ids + f->n, &n);
        n = code != CL_SUCCESS ? 0 : n < room ? n : room; // a platform may well be empty
        for (cl_uint i = 0; i < n; i++) {
            f->platforms[f->n++] = platforms[p];
        }
    }
    return f->n > 0 ? HSD_OK
                    : hsdi_fail(err, HSD_EDEVICE, "opencl", "%u platforms, none has a device",
                                n_platforms);
}

static const char *type_name(cl_device_type type)
{
    return type & CL_DEVICE_TYPE_GPU           ? "gpu"
           : type & CL_DEVICE_TYPE_CPU         ? "cpu"
           : type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator"
                                               : "other";
}

static cl_device_type type_of(const hsdi_ocl_api *api, cl_device_id id)
{
    cl_device_type type = 0;
    (void)api->GetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    return type;
}

static void describe(const hsdi_ocl_api *api, cl_device_id id, cl_platform_id platform,
                     hsdi_opencl_info *out)
{
    char name[512] = "", driver[128] = "", vendor[256] = "";
    cl_ulong memory = 0;
    cl_uint n_units = 0;
    // What a device does not say stays empty.
    (void)api->GetDeviceInfo(id, CL_DEVICE_NAME, sizeof name, name, NULL);
    (void)api->GetDeviceInfo(id, CL_DRIVER_VERSION, sizeof driver, driver, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof n_units, &n_units, NULL);
    (void)api->GetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof vendor, vendor, NULL);
    out->type = type_name(type_of(api, id));
    snprintf(out->name, sizeof out->name, "%.127s", name);
    snprintf(out->driver, sizeof out->driver, "%.90s %.36s", vendor, driver);
    out->memory_bytes = (int64_t)memory;
    out->n_units = (int)n_units;
}

hsd_status hsdi_opencl_list(hsdi_opencl_info *out, int cap, int *n_out, hsd_error *err)
{
    const hsdi_ocl_api *api;
    found f;
    hsd_status status = hsdi_ocl_api_get(&api, err);
    if (status == HSD_OK) {
        status = find(api, &f, err);
    }
    if (status == HSD_OK) {
        for (int i = 0; i < f.n && i < cap; i++) {
            describe(api, f.ids[i], f.platforms[i], &out[i]);
        }
        *n_out = f.n;
    }
    return status;
}

hsd_status hsdi_ocl_memory(const hsdi_ocl_device *ocl, size_t size_bytes, const void *data,
                           cl_mem *out, hsd_error *err)
{
    cl_int code;
    cl_mem_flags flags = CL_MEM_READ_WRITE | (data ? CL_MEM_COPY_HOST_PTR : 0);
    // The interface has no const; COPY_HOST_PTR only reads.
    *out = ocl->api->CreateBuffer(ocl->context, flags, size_bytes, (void *)(uintptr_t)data, &code);
    return hsdi_ocl_check(err, "clCreateBuffer", code);
}

void hsdi_ocl_memory_free(const hsdi_ocl_device *ocl, cl_mem memory)
{
    if (memory && !atomic_load(&ocl->launch.hung)) {
        (void)ocl->api->ReleaseMemObject(memory);
    }
}

static hsd_status build_failed(const hsdi_ocl_device *ocl, cl_program program, cl_int code,
                               hsd_error *err)
{
    size_t n = 0;
    char *log = NULL;
    if (ocl->api->GetProgramBuildInfo(program, ocl->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) ==
        CL_SUCCESS) {
        log = calloc(n + 1, 1);
    }
    if (log) {
        (void)ocl->api->GetProgramBuildInfo(program, ocl->id, CL_PROGRAM_BUILD_LOG, n, log, NULL);
    }
    for (char *at = log; at && *at; at++) {
        *at = *at == '\n' || *at == '\r' ? ' ' : *at; // a message is one line
    }
    (void)hsdi_fail(err, HSD_EDEVICE, "clBuildProgram", "%s (%d): %.*s", hsdi_ocl_code_name(code),
                    (int)code, (int)LOG_CHARS, log && log[0] ? log : "no log");
    if (err) {
        err->vendor_code = code;
    }
    free(log);
    return HSD_EDEVICE;
}

hsd_status hsdi_ocl_build(const hsdi_ocl_device *ocl, const char *source, size_t n_bytes,
                          cl_program *out, hsd_error *err)
{
    char options[256];
    cl_int code;
    snprintf(options, sizeof options,
             "-cl-std=CL1.2 -DGROUP=%d -DJOB_INTS=%d -DJOB_POS=%d -DJOB_CELL=%d -DJOB_TRUNK=%d "
             "-DJOB_N_TRUNK=%d "
             "-DJOB_PATH=%d -DJOB_N_PATH=%d",
             HSDI_OPENCL_GROUP, HSDI_JOB_INTS, HSDI_JOB_POS, HSDI_JOB_CELL, HSDI_JOB_TRUNK,
             HSDI_JOB_N_TRUNK, HSDI_JOB_PATH, HSDI_JOB_N_PATH);
    cl_program program =
        ocl->api->CreateProgramWithSource(ocl->context, 1, &source, &n_bytes, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateProgramWithSource", code);
    }
    code = ocl->api->BuildProgram(program, 1, &ocl->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        (void)build_failed(ocl, program, code, err);
        (void)ocl->api->ReleaseProgram(program);
        return HSD_EDEVICE;
    }
    *out = program;
    return HSD_OK;
}

static void ocl_close(hsdi_device *device)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    if (atomic_load(&ocl->launch.hung)) {
        return; // its answer may still come, and is counted in here
    }
    if (ocl->program) {
        (void)ocl->api->ReleaseProgram(ocl->program);
    }
    if (ocl->queue) {
        (void)ocl->api->ReleaseCommandQueue(ocl->queue);
    }
    if (ocl->context) {
        (void)ocl->api->ReleaseContext(ocl->context);
    }
    hsdi_device_fini(&ocl->base);
    free(ocl);
}

static const hsdi_backend ocl_backend = {
    .name = "opencl",
    .device_close = ocl_close,
    .weight_create = hsdi_launch_weight_create,
    .weight_destroy = hsdi_launch_weight_destroy,
    .cache_create = hsdi_launch_cache_create,
    .cache_destroy = hsdi_launch_cache_destroy,
    .buffer_create = hsdi_launch_buffer_create,
    .buffer_destroy = hsdi_launch_buffer_destroy,
    .buffer_map = hsdi_host_buffer_map,
    .graph_compile = hsdi_launch_graph_compile,
    .graph_destroy = hsdi_launch_graph_destroy,
    .graph_run = hsdi_launch_graph_run,
};

/// The device of that number; the first GPU, else the first of all, for -1.
static hsd_status choose(const hsdi_ocl_api *api, int index, hsdi_ocl_device *ocl, hsd_error *err)
{
    found f;
    hsd_status status = find(api, &f, err);
    if (status != HSD_OK) {
        return status;
    }
    if (index >= f.n) {
        return hsdi_fail(err, HSD_ENODEVICE, "opencl", "there is no device %d, only 0 to %d", index,
                         f.n - 1);
    }
    for (int i = 0; i < f.n && index < 0; i++) {
        index = type_of(api, f.ids[i]) & CL_DEVICE_TYPE_GPU ? i : index;
    }
    index = index < 0 ? 0 : index;
    ocl->id = f.ids[index];
    char name[512] = "";
    size_t group = 0;
    (void)api->GetDeviceInfo(ocl->id, CL_DEVICE_NAME, sizeof name, name, NULL);
    snprintf(ocl->base.info.name, sizeof ocl->base.info.name, "opencl:%d %.40s", index, name);
    (void)api->GetDeviceInfo(ocl->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
    return group >= HSDI_OPENCL_GROUP
               ? HSD_OK
               : hsdi_fail(err, HSD_EUNSUPPORTED, ocl->base.info.name,
                           "work groups of %zu, %d are needed", group, (int)HSDI_OPENCL_GROUP);
}

static hsd_status make(hsdi_ocl_device *ocl, hsd_error *err)
{
    cl_int code;
    hsd_status status = hsdi_launch_timeout(&ocl->launch.timeout_ns, err);
    if (status != HSD_OK) {
        return status;
    }
    ocl->context = ocl->api->CreateContext(NULL, 1, &ocl->id, NULL, NULL, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateContext", code);
    }
    ocl->queue = ocl->api->CreateCommandQueue(ocl->context, ocl->id, 0, &code);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clCreateCommandQueue", code);
    }
    return hsdi_ocl_build(ocl, (const char *)hsdi_opencl_source, hsdi_opencl_source_bytes,
                          &ocl->program, err);
}

hsd_status hsdi_device_open_opencl(int index, hsdi_device **out, hsd_error *err)
{
    const hsdi_ocl_api *api;
    if (!out || index < -1) {
        return hsdi_fail(err, HSD_EINVAL, "opencl", "device %d", index);
    }
    hsd_status status = hsdi_ocl_api_get(&api, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_ocl_device *ocl = calloc(1, sizeof *ocl);
    if (!ocl) {
        return hsdi_fail(err, HSD_ENOMEM, "opencl", "device");
    }
    hsdi_device_init(&ocl->base, &ocl_backend, 1);
    ocl->launch.driver = &hsdi_ocl_driver;
    ocl->api = api;
    status = choose(api, index, ocl, err);
    if (status == HSD_OK) {
        status = make(ocl, err);
    }
    if (status != HSD_OK) {
        ocl_close(&ocl->base);
        return status;
    }
    *out = &ocl->base;
    return HSD_OK;
}
