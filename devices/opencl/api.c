/// Opening the OpenCL loader; names of its error codes.
#include "devices/opencl/api.h"

#include "base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static hsdi_ocl_api api;
static char missing[128]; ///< why the loader cannot be used; empty: it can

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define ENTRY(name) {"cl" #name, offsetof(hsdi_ocl_api, name)},
    HSDI_OCL_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void load(void)
{
    void *loader = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!loader) {
        snprintf(missing, sizeof missing, "there is no OpenCL loader (libOpenCL.so.1)");
        return;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(loader, functions[i].name);
        if (!function) {
            snprintf(missing, sizeof missing, "the OpenCL loader has no %s", functions[i].name);
            return;
        }
        memcpy((char *)&api + functions[i].offset, &function, sizeof function);
    }
    void *optional = dlsym(loader, "clGetKernelSubGroupInfo");
    memcpy(&api.GetKernelSubGroupInfo, &optional, sizeof optional);
}

hsd_status hsdi_ocl_api_get(const hsdi_ocl_api **out, hsd_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (missing[0]) {
        return hsdi_fail(err, HSD_EDEVICE, "opencl", "%s", missing);
    }
    *out = &api;
    return HSD_OK;
}

const char *hsdi_ocl_code_name(cl_int code)
{
    switch (code) {
#define NAME(code)                                                                                 \
    case code:                                                                                     \
        return #code;
        NAME(CL_SUCCESS)
        NAME(CL_DEVICE_NOT_FOUND)
        NAME(CL_DEVICE_NOT_AVAILABLE)
        NAME(CL_COMPILER_NOT_AVAILABLE)
        NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE)
        NAME(CL_OUT_OF_RESOURCES)
        NAME(CL_OUT_OF_HOST_MEMORY)
        NAME(CL_PROFILING_INFO_NOT_AVAILABLE)
        NAME(CL_MEM_COPY_OVERLAP)
        NAME(CL_IMAGE_FORMAT_MISMATCH)
        NAME(CL_IMAGE_FORMAT_NOT_SUPPORTED)
        NAME(CL_BUILD_PROGRAM_FAILURE)
        NAME(CL_MAP_FAILURE)
        NAME(CL_MISALIGNED_SUB_BUFFER_OFFSET)
        NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
        NAME(CL_COMPILE_PROGRAM_FAILURE)
        NAME(CL_LINKER_NOT_AVAILABLE)
        NAME(CL_LINK_PROGRAM_FAILURE)
        NAME(CL_DEVICE_PARTITION_FAILED)
        NAME(CL_KERNEL_ARG_INFO_NOT_AVAILABLE)
        NAME(CL_INVALID_VALUE)
        NAME(CL_INVALID_DEVICE_TYPE)
        NAME(CL_INVALID_PLATFORM)
        NAME(CL_INVALID_DEVICE)
        NAME(CL_INVALID_CONTEXT)
        NAME(CL_INVALID_QUEUE_PROPERTIES)
        NAME(CL_INVALID_COMMAND_QUEUE)
        NAME(CL_INVALID_HOST_PTR)
        NAME(CL_INVALID_MEM_OBJECT)
        NAME(CL_INVALID_IMAGE_FORMAT_DESCRIPTOR)
        NAME(CL_INVALID_IMAGE_SIZE)
        NAME(CL_INVALID_SAMPLER)
        NAME(CL_INVALID_BINARY)
        NAME(CL_INVALID_BUILD_OPTIONS)
        NAME(CL_INVALID_PROGRAM)
        NAME(CL_INVALID_PROGRAM_EXECUTABLE)
        NAME(CL_INVALID_KERNEL_NAME)
        NAME(CL_INVALID_KERNEL_DEFINITION)
        NAME(CL_INVALID_KERNEL)
        NAME(CL_INVALID_ARG_INDEX)
        NAME(CL_INVALID_ARG_VALUE)
        NAME(CL_INVALID_ARG_SIZE)
        NAME(CL_INVALID_KERNEL_ARGS)
        NAME(CL_INVALID_WORK_DIMENSION)
        NAME(CL_INVALID_WORK_GROUP_SIZE)
        NAME(CL_INVALID_WORK_ITEM_SIZE)
        NAME(CL_INVALID_GLOBAL_OFFSET)
        NAME(CL_INVALID_EVENT_WAIT_LIST)
        NAME(CL_INVALID_EVENT)
        NAME(CL_INVALID_OPERATION)
        NAME(CL_INVALID_GL_OBJECT)
        NAME(CL_INVALID_BUFFER_SIZE)
        NAME(CL_INVALID_MIP_LEVEL)
        NAME(CL_INVALID_GLOBAL_WORK_SIZE)
        NAME(CL_INVALID_PROPERTY)
        NAME(CL_INVALID_IMAGE_DESCRIPTOR)
        NAME(CL_INVALID_COMPILER_OPTIONS)
        NAME(CL_INVALID_LINKER_OPTIONS)
        NAME(CL_INVALID_DEVICE_PARTITION_COUNT)
#undef NAME
    case -1138: // of the extension cl_khr_command_buffer
        return "CL_INVALID_COMMAND_BUFFER_KHR";
    case -1139:
        return "CL_INVALID_SYNC_POINT_WAIT_LIST_KHR";
    case -1140:
        return "CL_INCOMPATIBLE_COMMAND_QUEUE_KHR";
    case -1001: // CL_PLATFORM_NOT_FOUND_KHR, of the extension cl_khr_icd
        return "CL_PLATFORM_NOT_FOUND_KHR";
    default:
        return "an unknown code";
    }
}

hsd_status hsdi_ocl_fail(hsd_error *err, const char *call, cl_int code)
{
    (void)hsdi_fail(err, HSD_EDEVICE, call, "%s (%d)", hsdi_ocl_code_name(code), (int)code);
    if (err) {
        err->vendor_code = code;
    }
    return HSD_EDEVICE;
}

hsd_status hsdi_ocl_check(hsd_error *err, const char *call, cl_int code)
{
    return code == CL_SUCCESS ? HSD_OK : hsdi_ocl_fail(err, call, code);
}
