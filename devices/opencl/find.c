/// Looking for devices on all platforms.
#include "devices/opencl/find.h"

#include "base/error.h"
#include "devices/device.h"
#include "kernels/opencl/source.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PLATFORMS = 16 };

/// Can it run our kernels? What a device does not say counts as no.
static bool is_usable(const hsdi_ocl_api *api, cl_device_id id)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE;
    size_t group = 0;
    char version[256] = "";
    int major = 0, minor = 0;
    (void)api->GetDeviceInfo(id, CL_DEVICE_AVAILABLE, sizeof available, &available, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_COMPILER_AVAILABLE, sizeof compiler, &compiler, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_VERSION, sizeof version, version, NULL);
    return available && compiler && group >= HSDI_OPENCL_GROUP &&
           sscanf(version, "OpenCL %d.%d", &major, &minor) == 2 && major * 10 + minor >= 12;
}

static void find_on(const hsdi_ocl_api *api, cl_platform_id platform, hsdi_ocl_found *f)
{
    cl_device_id ids[HSDI_OCL_MAX_DEVICES];
    cl_uint n = 0;
    // A platform may well be empty.
    if (api->GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, HSDI_OCL_MAX_DEVICES, ids, &n) !=
        CL_SUCCESS) {
        return;
    }
    for (cl_uint i = 0; i < n && i < HSDI_OCL_MAX_DEVICES && f->n < HSDI_OCL_MAX_DEVICES; i++) {
        if (is_usable(api, ids[i])) {
            f->ids[f->n] = ids[i];
            f->platforms[f->n++] = platform;
        }
    }
}

hsd_status hsdi_ocl_find(const hsdi_ocl_api *api, hsdi_ocl_found *f, hsd_error *err)
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n_platforms = 0;
    f->n = 0;
    cl_int code = api->GetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms);
    if (code != CL_SUCCESS) {
        return hsdi_ocl_fail(err, "clGetPlatformIDs", code);
    }
    n_platforms = n_platforms < MAX_PLATFORMS ? n_platforms : MAX_PLATFORMS;
    for (cl_uint p = 0; p < n_platforms; p++) {
        bool again = false; // a driver that is registered twice
        for (cl_uint q = 0; q < p; q++) {
            again = again || platforms[q] == platforms[p];
        }
        if (!again) {
            find_on(api, platforms[p], f);
        }
    }
    return f->n > 0 ? HSD_OK
                    : hsdi_fail(err, HSD_EDEVICE, "opencl",
                                "%u platforms, none has a device with OpenCL 1.2, a compiler and "
                                "groups of %d",
                                n_platforms, (int)HSDI_OPENCL_GROUP);
}

static cl_device_type type_of(const hsdi_ocl_api *api, cl_device_id id)
{
    cl_device_type type = 0;
    (void)api->GetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    return type;
}

/// A device that calls itself everything is a simulator on the processor.
static const char *type_name(cl_device_type type)
{
    return type & CL_DEVICE_TYPE_CPU           ? "cpu"
           : type & CL_DEVICE_TYPE_GPU         ? "gpu"
           : type & CL_DEVICE_TYPE_ACCELERATOR ? "accelerator"
                                               : "other";
}

void hsdi_ocl_order(const hsdi_ocl_api *api, const hsdi_ocl_found *f, int *order)
{
    static const char *const types[] = {"gpu", "accelerator", "cpu", "other"};
    int n = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        for (int i = 0; i < f->n; i++) {
            if (strcmp(type_name(type_of(api, f->ids[i])), types[t]) == 0) {
                order[n++] = i;
            }
        }
    }
}

/// Part of cl_khr_pci_bus_info, which older headers do not have.
typedef struct pci_place {
    cl_uint domain, bus, device, function;
} pci_place;

enum { PCI_BUS_INFO = 0x410F };

static void describe_pci(const hsdi_ocl_api *api, cl_device_id id, char *out, size_t cap)
{
    pci_place at;
    if (api->GetDeviceInfo(id, PCI_BUS_INFO, sizeof at, &at, NULL) == CL_SUCCESS &&
        at.domain <= 0xffff && at.bus <= 0xff && at.device <= 0xff && at.function <= 0xf) {
        snprintf(out, cap, "%04x:%02x:%02x.%x", (unsigned)at.domain, (unsigned)at.bus,
                 (unsigned)at.device, (unsigned)at.function);
    }
}

/// Version, and what of it the kernels could use.
static void describe_features(const hsdi_ocl_api *api, cl_device_id id, hsdi_opencl_info *info)
{
    char *out = info->features;
    const size_t cap = sizeof info->features;
    static const struct {
        const char *extension, *name;
    } known[] = {{"cl_khr_fp16", "fp16"},
                 {"cl_khr_fp64", "fp64"},
                 {"cl_khr_subgroups", "sub-groups"},
                 {"cl_intel_subgroups", "sub-groups (Intel)"},
                 {"cl_khr_integer_dot_product", "integer dot product"},
                 {"cl_khr_command_buffer", "command buffers"}};
    char version[256] = "", all[8192] = "";
    int major = 0, minor = 0;
    cl_bool unified = CL_FALSE;
    (void)api->GetDeviceInfo(id, CL_DEVICE_VERSION, sizeof version, version, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof all, all, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    (void)sscanf(version, "OpenCL %d.%d", &major, &minor);
    size_t n = (size_t)snprintf(out, cap, "OpenCL %d.%d", major, minor);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *at = strstr(all, known[i].extension);
        char behind = at ? at[strlen(known[i].extension)] : 'x';
        if ((behind == ' ' || behind == '\0') && n < cap) {
            n += (size_t)snprintf(out + n, cap - n, ", %s", known[i].name);
        }
    }
    info->shares_memory = unified;
    if (unified && n < cap) {
        snprintf(out + n, cap - n, ", shares memory");
    }
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
    describe_pci(api, id, out->pci, sizeof out->pci);
    describe_features(api, id, out);
}

hsd_status hsdi_opencl_list(hsdi_opencl_info *out, int cap, int *n_out, hsd_error *err)
{
    const hsdi_ocl_api *api;
    hsdi_ocl_found f;
    hsd_status status = hsdi_ocl_api_get(&api, err);
    if (status == HSD_OK) {
        status = hsdi_ocl_find(api, &f, err);
    }
    if (status == HSD_OK) {
        for (int i = 0; i < f.n && i < cap; i++) {
            describe(api, f.ids[i], f.platforms[i], &out[i]);
        }
        *n_out = f.n;
    }
    return status;
}
