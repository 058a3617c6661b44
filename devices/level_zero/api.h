/// The Level Zero loader, opened at run time, and its errors in words.
///
/// Nothing of hsd is linked to libze_loader: the library starts where there is none.
#ifndef HSDI_DEVICES_LEVEL_ZERO_API_H
#define HSDI_DEVICES_LEVEL_ZERO_API_H

#include <level_zero/ze_api.h>

#include <hsd/status.h>
#include <stddef.h>

#define HSDI_ZE_FUNCTIONS(X)                                                                       \
    X(CommandListAppendBarrier)                                                                    \
    X(CommandListAppendLaunchKernel)                                                               \
    X(CommandListAppendMemoryCopy)                                                                 \
    X(CommandListClose)                                                                            \
    X(CommandListCreate)                                                                           \
    X(CommandListCreateImmediate)                                                                  \
    X(CommandListDestroy)                                                                          \
    X(CommandListReset)                                                                            \
    X(CommandQueueCreate)                                                                          \
    X(CommandQueueDestroy)                                                                         \
    X(CommandQueueExecuteCommandLists)                                                             \
    X(ContextCreate)                                                                               \
    X(ContextDestroy)                                                                              \
    X(DeviceGet)                                                                                   \
    X(DeviceGetCommandQueueGroupProperties)                                                        \
    X(DeviceGetComputeProperties)                                                                  \
    X(DeviceGetMemoryProperties)                                                                   \
    X(DeviceGetModuleProperties)                                                                   \
    X(DeviceGetProperties)                                                                         \
    X(DevicePciGetPropertiesExt)                                                                   \
    X(DriverGet)                                                                                   \
    X(DriverGetApiVersion)                                                                         \
    X(DriverGetExtensionProperties)                                                                \
    X(DriverGetProperties)                                                                         \
    X(EventCreate)                                                                                 \
    X(EventDestroy)                                                                                \
    X(EventHostReset)                                                                              \
    X(EventHostSynchronize)                                                                        \
    X(EventPoolCreate)                                                                             \
    X(EventPoolDestroy)                                                                            \
    X(EventQueryKernelTimestamp)                                                                   \
    X(FenceCreate)                                                                                 \
    X(FenceDestroy)                                                                                \
    X(FenceHostSynchronize)                                                                        \
    X(FenceReset)                                                                                  \
    X(Init)                                                                                        \
    X(KernelCreate)                                                                                \
    X(KernelDestroy)                                                                               \
    X(KernelSetArgumentValue)                                                                      \
    X(KernelSetGroupSize)                                                                          \
    X(MemAllocDevice)                                                                              \
    X(MemAllocHost)                                                                                \
    X(MemFree)                                                                                     \
    X(ModuleBuildLogDestroy)                                                                       \
    X(ModuleBuildLogGetString)                                                                     \
    X(ModuleCreate)                                                                                \
    X(ModuleDestroy)

/// The functions of Level Zero by their names without "ze".
typedef struct hsdi_ze_api {
#define HSDI_ZE_FIELD(name) __typeof__(&ze##name) name;
    HSDI_ZE_FUNCTIONS(HSDI_ZE_FIELD)
#undef HSDI_ZE_FIELD
} hsdi_ze_api;

/// The loader's functions, opened and initialised on first use and never closed. Static.
/// Thread: any.
///
/// Errors : HSD_EDEVICE where there is no loader, a too old one, or no driver.
HSD_NODISCARD hsd_status hsdi_ze_api_get(const hsdi_ze_api **out, hsd_error *err);

/// "ZE_RESULT_ERROR_DEVICE_LOST"; "an unknown code" for one that version 1.8 does not have. Static.
const char *hsdi_ze_code_name(ze_result_t code);

/// HSD_EDEVICE with the call's name, the code and its name.
hsd_status hsdi_ze_fail(hsd_error *err, const char *call, ze_result_t code);

/// HSD_OK for ZE_RESULT_SUCCESS, else hsdi_ze_fail.
HSD_NODISCARD hsd_status hsdi_ze_check(hsd_error *err, const char *call, ze_result_t code);

#endif
