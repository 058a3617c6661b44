/// Asking a device what it has.
#include "devices/opencl/features.h"

#include <stdio.h>
#include <string.h>

#include <CL/cl_ext.h>

enum { MAX_SIZES = 16, EXTENSION_CHARS = 8192 };

bool hsdi_ocl_has(const hsdi_ocl_api *api, cl_device_id id, const char *extension)
{
    char all[EXTENSION_CHARS] = "";
    size_t n = strlen(extension);
    (void)api->GetDeviceInfo(id, CL_DEVICE_EXTENSIONS, sizeof all, all, NULL);
    for (const char *at = strstr(all, extension); at; at = strstr(at + n, extension)) {
        if ((at == all || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

static bool has_subgroups_of_16(const hsdi_ocl_api *api, cl_device_id id)
{
    size_t sizes[MAX_SIZES], n_bytes = 0;
    if (!hsdi_ocl_has(api, id, "cl_intel_required_subgroup_size") ||
        api->GetDeviceInfo(id, CL_DEVICE_SUB_GROUP_SIZES_INTEL, sizeof sizes, sizes, &n_bytes) !=
            CL_SUCCESS) {
        return false;
    }
    for (size_t i = 0; i < n_bytes / sizeof *sizes; i++) {
        if (sizes[i] == 16) {
            return true;
        }
    }
    return false;
}

static void ask_dot(const hsdi_ocl_api *api, cl_device_id id, hsdi_ocl_features *out)
{
    cl_bitfield has = 0;
    struct {
        cl_bool is_signed, others[5];
    } fast = {0};
    if (!hsdi_ocl_has(api, id, "cl_khr_integer_dot_product")) {
        return;
    }
    (void)api->GetDeviceInfo(id, CL_DEVICE_INTEGER_DOT_PRODUCT_CAPABILITIES_KHR, sizeof has, &has,
                             NULL);
    out->dot = (has & CL_DEVICE_INTEGER_DOT_PRODUCT_INPUT_4x8BIT_PACKED_KHR) != 0;
    (void)api->GetDeviceInfo(
        id, CL_DEVICE_INTEGER_DOT_PRODUCT_ACCELERATION_PROPERTIES_4x8BIT_PACKED_KHR, sizeof fast,
        &fast, NULL);
    out->fast_dot = out->dot && fast.is_signed;
}

void hsdi_ocl_features_get(const hsdi_ocl_api *api, cl_device_id id, hsdi_ocl_features *out)
{
    char version[256] = "";
    int major = 1, minor = 2;
    cl_bool unified = CL_FALSE;
    cl_device_type type = 0;
    cl_ulong local = 0, memory = 0;
    cl_uint n_units = 0;
    cl_device_fp_config half = 0;
    *out = (hsdi_ocl_features){0};
    // What a device does not say it has not.
    (void)api->GetDeviceInfo(id, CL_DEVICE_VERSION, sizeof version, version, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof out->max_group,
                             &out->max_group, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_PLATFORM, sizeof out->platform, &out->platform, NULL);
    (void)api->GetDeviceInfo(id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof n_units, &n_units, NULL);
    (void)sscanf(version, "OpenCL %d.%d", &major, &minor);
    out->version = 10 * major + minor;
    out->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    out->unified = unified;
    out->n_units = (int)n_units;
    out->local_bytes = (size_t)local;
    out->memory_bytes = (size_t)memory;
    if (hsdi_ocl_has(api, id, "cl_khr_fp16")) {
        (void)api->GetDeviceInfo(id, CL_DEVICE_HALF_FP_CONFIG, sizeof half, &half, NULL);
        out->fp16 = (half & CL_FP_DENORM) != 0;
    }
    out->shuffles = hsdi_ocl_has(api, id, "cl_khr_subgroup_shuffle");
    out->subgroup_16 = out->shuffles && has_subgroups_of_16(api, id);
    out->buffers = hsdi_ocl_has(api, id, "cl_khr_command_buffer");
    ask_dot(api, id, out);
}
