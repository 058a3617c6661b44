/// The driver, its two devices, and contexts. docs: tests/level_zero/README.md.
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct _ze_driver_handle_t lz_driver = {LZ_DRIVER};
struct _ze_device_handle_t lz_devices[2] = {{LZ_DEVICE, false}, {LZ_DEVICE, true}};

/// Fill a structure that its owner began with stype and pNext, which stay.
#define FILL(out, type, ...)                                                                       \
    do {                                                                                           \
        LZ_POINTER_ARG(out);                                                                       \
        type filled = {.stype = (out)->stype, .pNext = (out)->pNext, __VA_ARGS__};                 \
        *(out) = filled;                                                                           \
    } while (0)

/// The common way to ask for a list: count 0 asks for the number.
static uint32_t room(uint32_t *count, uint32_t there)
{
    uint32_t n = *count < there ? *count : there;
    if (*count == 0 || *count > there) {
        *count = there;
    }
    return n;
}

static bool flag(const char *name)
{
    const char *text = getenv(name);
    return text && atoi(text) != 0;
}

ze_result_t ZE_APICALL zeInit(ze_init_flags_t flags)
{
    return flags & ~(ze_init_flags_t)(ZE_INIT_FLAG_GPU_ONLY | ZE_INIT_FLAG_VPU_ONLY)
               ? ZE_RESULT_ERROR_INVALID_ENUMERATION
               : ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDriverGet(uint32_t *count, ze_driver_handle_t *drivers)
{
    LZ_POINTER_ARG(count);
    if (room(count, 1) > 0 && drivers) {
        drivers[0] = &lz_driver;
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDriverGetApiVersion(ze_driver_handle_t driver, ze_api_version_t *version)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    LZ_POINTER_ARG(version);
    *version = ZE_API_VERSION_1_4;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDriverGetProperties(ze_driver_handle_t driver, ze_driver_properties_t *out)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    FILL(out, ze_driver_properties_t, .uuid = {{'h', 's', 'd', 1}}, .driverVersion = 0x01040001);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDriverGetIpcProperties(ze_driver_handle_t driver,
                                                ze_driver_ipc_properties_t *out)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    FILL(out, ze_driver_ipc_properties_t, .flags = 0);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDriverGetExtensionProperties(ze_driver_handle_t driver, uint32_t *count,
                                                      ze_driver_extension_properties_t *out)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    LZ_POINTER_ARG(count);
    if (room(count, 1) > 0 && out) {
        snprintf(out[0].name, sizeof out[0].name, "%s", ZE_PCI_PROPERTIES_EXT_NAME);
        out[0].version = ZE_PCI_PROPERTIES_EXT_VERSION_1_0;
    }
    return ZE_RESULT_SUCCESS;
}

/// No extension has functions outside the tables: also not the graph extension of real NPUs.
ze_result_t ZE_APICALL zeDriverGetExtensionFunctionAddress(ze_driver_handle_t driver,
                                                           const char *name, void **function)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    LZ_POINTER_ARG(name);
    LZ_POINTER_ARG(function);
    *function = NULL;
    return ZE_RESULT_ERROR_INVALID_ARGUMENT;
}

ze_result_t ZE_APICALL zeDeviceGet(ze_driver_handle_t driver, uint32_t *count,
                                   ze_device_handle_t *devices)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    LZ_POINTER_ARG(count);
    uint32_t n = room(count, flag("HSD_ZE_NO_NPU") ? 1 : 2);
    for (uint32_t i = 0; i < n && devices; i++) {
        devices[i] = &lz_devices[i];
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetSubDevices(ze_device_handle_t device, uint32_t *count,
                                             ze_device_handle_t *devices)
{
    (void)devices;
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(count);
    *count = 0;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetProperties(ze_device_handle_t device, ze_device_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    pthread_mutex_lock(&lz.lock);
    if (lz.n_contexts == 0) {
        lz_read_faults();
    }
    uint64_t bytes = lz.faults.memory_bytes;
    pthread_mutex_unlock(&lz.lock);
    // Since version 1.2 of the structure the resolution is in ticks per second.
    bool per_second = out && out->stype == ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES_1_2;
    FILL(out, ze_device_properties_t, .type = device->npu ? ZE_DEVICE_TYPE_VPU : ZE_DEVICE_TYPE_GPU,
         .vendorId = 0x8086, .deviceId = device->npu ? 0x7d1d : 0x7d55,
         .flags = device->npu || flag("HSD_ZE_UNIFIED") ? ZE_DEVICE_PROPERTY_FLAG_INTEGRATED : 0,
         .coreClockRate = 1000, .maxMemAllocSize = bytes, .maxHardwareContexts = 64,
         .numThreadsPerEU = 8, .physicalEUSimdWidth = 8, .numEUsPerSubslice = 8,
         .numSubslicesPerSlice = 1, .numSlices = 1,
         .timerResolution = per_second ? 1000000000u / LZ_TICK_NS : LZ_TICK_NS,
         .timestampValidBits = 36, .kernelTimestampValidBits = 32,
         .uuid = {{'h', 's', 'd', device->npu ? 2 : 1}});
    snprintf(out->name, sizeof out->name, "hsd software %s", device->npu ? "NPU" : "GPU");
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetComputeProperties(ze_device_handle_t device,
                                                    ze_device_compute_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    if (device->npu) { // runs networks: no groups
        FILL(out, ze_device_compute_properties_t, .maxTotalGroupSize = 0);
        return ZE_RESULT_SUCCESS;
    }
    FILL(out, ze_device_compute_properties_t, .maxTotalGroupSize = LZ_MAX_GROUP,
         .maxGroupSizeX = LZ_MAX_GROUP, .maxGroupSizeY = LZ_MAX_GROUP, .maxGroupSizeZ = 64,
         .maxGroupCountX = INT32_MAX, .maxGroupCountY = INT32_MAX, .maxGroupCountZ = INT32_MAX,
         .maxSharedLocalMemory = 65536);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetModuleProperties(ze_device_handle_t device,
                                                   ze_device_module_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    const ze_device_fp_flags_t fp = ZE_DEVICE_FP_FLAG_DENORM | ZE_DEVICE_FP_FLAG_INF_NAN |
                                    ZE_DEVICE_FP_FLAG_ROUND_TO_NEAREST | ZE_DEVICE_FP_FLAG_FMA |
                                    ZE_DEVICE_FP_FLAG_ROUNDED_DIVIDE_SQRT;
    if (device->npu) {
        FILL(out, ze_device_module_properties_t, .spirvVersionSupported = 0);
        return ZE_RESULT_SUCCESS;
    }
    FILL(out, ze_device_module_properties_t, .spirvVersionSupported = ZE_MAKE_VERSION(1, 2),
         .flags = ZE_DEVICE_MODULE_FLAG_FP64 | ZE_DEVICE_MODULE_FLAG_INT64_ATOMICS, .fp32flags = fp,
         .fp64flags = fp, .maxArgumentsSize = 1024, .printfBufferSize = 1 << 20,
         .nativeKernelSupported = {{'h', 's', 'd'}});
    return ZE_RESULT_SUCCESS;
}

/// Group 0 computes and copies, group 1 copies only. The NPU has the first alone.
ze_result_t ZE_APICALL zeDeviceGetCommandQueueGroupProperties(
    ze_device_handle_t device, uint32_t *count, ze_command_queue_group_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(count);
    uint32_t n = room(count, device->npu ? 1 : 2);
    for (uint32_t i = 0; i < n && out; i++) {
        FILL(&out[i], ze_command_queue_group_properties_t,
             .flags = ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COPY |
                      (i == 0 ? ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE : 0),
             .maxMemoryFillPatternSize = 128, .numQueues = 1);
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetMemoryProperties(ze_device_handle_t device, uint32_t *count,
                                                   ze_device_memory_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(count);
    pthread_mutex_lock(&lz.lock);
    if (lz.n_contexts == 0) {
        lz_read_faults();
    }
    uint64_t bytes = lz.faults.memory_bytes;
    pthread_mutex_unlock(&lz.lock);
    if (room(count, 1) > 0 && out) {
        FILL(out, ze_device_memory_properties_t, .maxClockRate = 1000, .maxBusWidth = 64,
             .totalSize = bytes, .name = "memory of the host");
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetMemoryAccessProperties(ze_device_handle_t device,
                                                         ze_device_memory_access_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    const ze_memory_access_cap_flags_t rw = ZE_MEMORY_ACCESS_CAP_FLAG_RW;
    FILL(out, ze_device_memory_access_properties_t, .hostAllocCapabilities = rw,
         .deviceAllocCapabilities = rw, .sharedSingleDeviceAllocCapabilities = rw,
         .sharedCrossDeviceAllocCapabilities = rw, .sharedSystemAllocCapabilities = 0);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetCacheProperties(ze_device_handle_t device, uint32_t *count,
                                                  ze_device_cache_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(count);
    if (room(count, 1) > 0 && out) {
        FILL(out, ze_device_cache_properties_t, .cacheSize = 1 << 20);
    }
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetImageProperties(ze_device_handle_t device,
                                                  ze_device_image_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    FILL(out, ze_device_image_properties_t, .maxImageDims1D = 0); // no images
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetExternalMemoryProperties(
    ze_device_handle_t device, ze_device_external_memory_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    FILL(out, ze_device_external_memory_properties_t, .memoryAllocationImportTypes = 0);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceCanAccessPeer(ze_device_handle_t device, ze_device_handle_t peer,
                                             ze_bool_t *value)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_HANDLE(peer, LZ_DEVICE);
    LZ_POINTER_ARG(value);
    *value = device == peer;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDevicePciGetPropertiesExt(ze_device_handle_t device,
                                                   ze_pci_ext_properties_t *out)
{
    LZ_HANDLE(device, LZ_DEVICE);
    FILL(out, ze_pci_ext_properties_t, .address = {.device = device->npu ? 11 : 2},
         .maxSpeed = {-1, -1, -1}); // not known
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetStatus(ze_device_handle_t device)
{
    LZ_HANDLE(device, LZ_DEVICE);
    return lz_is_lost() ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeDeviceGetGlobalTimestamps(ze_device_handle_t device, uint64_t *host,
                                                   uint64_t *ticks)
{
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(host);
    LZ_POINTER_ARG(ticks);
    *host = lz_now_ns();
    *ticks = (*host / LZ_TICK_NS) & ((1ull << 36) - 1);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeContextCreate(ze_driver_handle_t driver, const ze_context_desc_t *desc,
                                       ze_context_handle_t *out)
{
    LZ_HANDLE(driver, LZ_DRIVER);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    ze_context_handle_t context = calloc(1, sizeof *context);
    if (!context) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    context->kind = LZ_CONTEXT;
    pthread_mutex_lock(&lz.lock);
    // A context with a kernel that hangs is never destroyed: tests of that ask for this.
    if (lz.n_contexts++ == 0 || flag("HSD_ZE_REREAD")) {
        lz_read_faults();
    }
    pthread_mutex_unlock(&lz.lock);
    *out = context;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeContextCreateEx(ze_driver_handle_t driver, const ze_context_desc_t *desc,
                                         uint32_t n, ze_device_handle_t *devices,
                                         ze_context_handle_t *out)
{
    for (uint32_t i = 0; i < n && devices; i++) {
        LZ_HANDLE(devices[i], LZ_DEVICE);
    }
    return zeContextCreate(driver, desc, out);
}

/// HSD_ZE_LEAKS=1 says what was not destroyed, HSD_ZE_LEAKS=abort ends the process then.
ze_result_t ZE_APICALL zeContextDestroy(ze_context_handle_t context)
{
    static const char *const names[] = {"queues", "lists",   "fences", "event pools",
                                        "events", "modules", "logs",   "kernels"};
    const char *leaks = getenv("HSD_ZE_LEAKS");
    size_t n_bytes;
    LZ_HANDLE(context, LZ_CONTEXT);
    pthread_mutex_lock(&lz.lock);
    int n = lz_free_all(context, &n_bytes), found = n;
    if (leaks && n > 0) {
        lz_say("leak: %d allocations, %zu bytes", n, n_bytes);
    }
    for (int i = 0; i < LZ_KINDS_END - LZ_FIRST_OBJECT; i++) {
        if (leaks && context->n_live[i] > 0) {
            lz_say("leak: %d %s", context->n_live[i], names[i]);
        }
        found += context->n_live[i];
    }
    lz.n_contexts--;
    pthread_mutex_unlock(&lz.lock);
    if (leaks && found > 0 && strcmp(leaks, "abort") == 0) {
        abort();
    }
    context->kind = 0;
    free(context);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeContextGetStatus(ze_context_handle_t context)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    return lz_is_lost() ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS;
}
