/// Opening the Level Zero loader; names of its error codes.
#include "devices/level_zero/api.h"

#include "base/error.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static hsdi_ze_api api;
static char missing[128];                       ///< why there is no loader; empty: there is one
static ze_result_t started = ZE_RESULT_SUCCESS; ///< what zeInit said

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
#define ENTRY(name) {"ze" #name, offsetof(hsdi_ze_api, name)},
    HSDI_ZE_FUNCTIONS(ENTRY)
#undef ENTRY
};

static void load(void)
{
    void *loader = dlopen("libze_loader.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!loader) {
        snprintf(missing, sizeof missing, "there is no Level Zero loader (libze_loader.so.1)");
        return;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *function = dlsym(loader, functions[i].name);
        if (!function) {
            snprintf(missing, sizeof missing, "the Level Zero loader has no %s", functions[i].name);
            return;
        }
        memcpy((char *)&api + functions[i].offset, &function, sizeof function);
    }
    started = api.Init(0); // drivers of every type of device
}

hsd_status hsdi_ze_api_get(const hsdi_ze_api **out, hsd_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (missing[0]) {
        return hsdi_fail(err, HSD_EDEVICE, "level_zero", "%s", missing);
    }
    *out = &api;
    return hsdi_ze_check(err, "zeInit", started); // without a driver: ERROR_UNINITIALIZED
}

const char *hsdi_ze_code_name(ze_result_t code)
{
    switch (code) {
#define NAME(code)                                                                                 \
    case code:                                                                                     \
        return #code;
        NAME(ZE_RESULT_SUCCESS)
        NAME(ZE_RESULT_NOT_READY)
        NAME(ZE_RESULT_ERROR_DEVICE_LOST)
        NAME(ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY)
        NAME(ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)
        NAME(ZE_RESULT_ERROR_MODULE_BUILD_FAILURE)
        NAME(ZE_RESULT_ERROR_MODULE_LINK_FAILURE)
        NAME(ZE_RESULT_ERROR_DEVICE_REQUIRES_RESET)
        NAME(ZE_RESULT_ERROR_DEVICE_IN_LOW_POWER_STATE)
        NAME(ZE_RESULT_EXP_ERROR_DEVICE_IS_NOT_VERTEX)
        NAME(ZE_RESULT_EXP_ERROR_VERTEX_IS_NOT_DEVICE)
        NAME(ZE_RESULT_EXP_ERROR_REMOTE_DEVICE)
        NAME(ZE_RESULT_ERROR_INSUFFICIENT_PERMISSIONS)
        NAME(ZE_RESULT_ERROR_NOT_AVAILABLE)
        NAME(ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE)
        NAME(ZE_RESULT_WARNING_DROPPED_DATA)
        NAME(ZE_RESULT_ERROR_UNINITIALIZED)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_VERSION)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_FEATURE)
        NAME(ZE_RESULT_ERROR_INVALID_ARGUMENT)
        NAME(ZE_RESULT_ERROR_INVALID_NULL_HANDLE)
        NAME(ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE)
        NAME(ZE_RESULT_ERROR_INVALID_NULL_POINTER)
        NAME(ZE_RESULT_ERROR_INVALID_SIZE)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_SIZE)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_ALIGNMENT)
        NAME(ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT)
        NAME(ZE_RESULT_ERROR_INVALID_ENUMERATION)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_ENUMERATION)
        NAME(ZE_RESULT_ERROR_UNSUPPORTED_IMAGE_FORMAT)
        NAME(ZE_RESULT_ERROR_INVALID_NATIVE_BINARY)
        NAME(ZE_RESULT_ERROR_INVALID_GLOBAL_NAME)
        NAME(ZE_RESULT_ERROR_INVALID_KERNEL_NAME)
        NAME(ZE_RESULT_ERROR_INVALID_FUNCTION_NAME)
        NAME(ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION)
        NAME(ZE_RESULT_ERROR_INVALID_GLOBAL_WIDTH_DIMENSION)
        NAME(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX)
        NAME(ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE)
        NAME(ZE_RESULT_ERROR_INVALID_KERNEL_ATTRIBUTE_VALUE)
        NAME(ZE_RESULT_ERROR_INVALID_MODULE_UNLINKED)
        NAME(ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE)
        NAME(ZE_RESULT_ERROR_OVERLAPPING_REGIONS)
        NAME(ZE_RESULT_WARNING_ACTION_REQUIRED)
        NAME(ZE_RESULT_ERROR_UNKNOWN)
#undef NAME
    case ZE_RESULT_FORCE_UINT32:
        break;
    }
    return "an unknown code";
}

hsd_status hsdi_ze_fail(hsd_error *err, const char *call, ze_result_t code)
{
    (void)hsdi_fail(err, HSD_EDEVICE, call, "%s (0x%x)", hsdi_ze_code_name(code), (unsigned)code);
    if (err) {
        err->vendor_code = (int)code;
    }
    return HSD_EDEVICE;
}

hsd_status hsdi_ze_check(hsd_error *err, const char *call, ze_result_t code)
{
    return code == ZE_RESULT_SUCCESS ? HSD_OK : hsdi_ze_fail(err, call, code);
}
