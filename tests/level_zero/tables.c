/// What the loader asks a driver for: tables of functions. What is not there stays NULL, which the
/// loader answers with "unsupported"; the tables of tools and of system management are empty.
#include "driver.h"

#include <level_zero/ze_ddi.h>
#include <level_zero/zes_ddi.h>
#include <level_zero/zet_ddi.h>

#define TABLE(NAME, TYPE, ...)                                                                     \
    __attribute__((visibility("default"))) ze_result_t ZE_APICALL NAME(ze_api_version_t version,   \
                                                                       TYPE *table)                \
    {                                                                                              \
        LZ_POINTER_ARG(table);                                                                     \
        if (ZE_MAJOR_VERSION(version) != 1) {                                                      \
            return ZE_RESULT_ERROR_UNSUPPORTED_VERSION;                                            \
        }                                                                                          \
        *table = (TYPE){__VA_ARGS__};                                                              \
        return ZE_RESULT_SUCCESS;                                                                  \
    }

// clang-format off
TABLE(zeGetGlobalProcAddrTable, ze_global_dditable_t,
      .pfnInit = zeInit)
TABLE(zeGetDriverProcAddrTable, ze_driver_dditable_t,
      .pfnGet = zeDriverGet,
      .pfnGetApiVersion = zeDriverGetApiVersion,
      .pfnGetProperties = zeDriverGetProperties,
      .pfnGetIpcProperties = zeDriverGetIpcProperties,
      .pfnGetExtensionProperties = zeDriverGetExtensionProperties,
      .pfnGetExtensionFunctionAddress = zeDriverGetExtensionFunctionAddress)
TABLE(zeGetDeviceProcAddrTable, ze_device_dditable_t,
      .pfnGet = zeDeviceGet,
      .pfnGetSubDevices = zeDeviceGetSubDevices,
      .pfnGetProperties = zeDeviceGetProperties,
      .pfnGetComputeProperties = zeDeviceGetComputeProperties,
      .pfnGetModuleProperties = zeDeviceGetModuleProperties,
      .pfnGetCommandQueueGroupProperties = zeDeviceGetCommandQueueGroupProperties,
      .pfnGetMemoryProperties = zeDeviceGetMemoryProperties,
      .pfnGetMemoryAccessProperties = zeDeviceGetMemoryAccessProperties,
      .pfnGetCacheProperties = zeDeviceGetCacheProperties,
      .pfnGetImageProperties = zeDeviceGetImageProperties,
      .pfnGetExternalMemoryProperties = zeDeviceGetExternalMemoryProperties,
      .pfnCanAccessPeer = zeDeviceCanAccessPeer,
      .pfnGetStatus = zeDeviceGetStatus,
      .pfnGetGlobalTimestamps = zeDeviceGetGlobalTimestamps,
      .pfnPciGetPropertiesExt = zeDevicePciGetPropertiesExt)
TABLE(zeGetDeviceExpProcAddrTable, ze_device_exp_dditable_t, 0)
TABLE(zeGetContextProcAddrTable, ze_context_dditable_t,
      .pfnCreate = zeContextCreate,
      .pfnDestroy = zeContextDestroy,
      .pfnGetStatus = zeContextGetStatus,
      .pfnMakeMemoryResident = zeContextMakeMemoryResident,
      .pfnEvictMemory = zeContextEvictMemory,
      .pfnCreateEx = zeContextCreateEx)
TABLE(zeGetCommandQueueProcAddrTable, ze_command_queue_dditable_t,
      .pfnCreate = zeCommandQueueCreate,
      .pfnDestroy = zeCommandQueueDestroy,
      .pfnExecuteCommandLists = zeCommandQueueExecuteCommandLists,
      .pfnSynchronize = zeCommandQueueSynchronize)
TABLE(zeGetCommandListProcAddrTable, ze_command_list_dditable_t,
      .pfnCreate = zeCommandListCreate,
      .pfnCreateImmediate = zeCommandListCreateImmediate,
      .pfnDestroy = zeCommandListDestroy,
      .pfnClose = zeCommandListClose,
      .pfnReset = zeCommandListReset,
      .pfnAppendWriteGlobalTimestamp = zeCommandListAppendWriteGlobalTimestamp,
      .pfnAppendBarrier = zeCommandListAppendBarrier,
      .pfnAppendMemoryRangesBarrier = zeCommandListAppendMemoryRangesBarrier,
      .pfnAppendMemoryCopy = zeCommandListAppendMemoryCopy,
      .pfnAppendMemoryFill = zeCommandListAppendMemoryFill,
      .pfnAppendSignalEvent = zeCommandListAppendSignalEvent,
      .pfnAppendWaitOnEvents = zeCommandListAppendWaitOnEvents,
      .pfnAppendEventReset = zeCommandListAppendEventReset,
      .pfnAppendLaunchKernel = zeCommandListAppendLaunchKernel)
TABLE(zeGetImageProcAddrTable, ze_image_dditable_t, 0)
TABLE(zeGetImageExpProcAddrTable, ze_image_exp_dditable_t, 0)
TABLE(zeGetFenceProcAddrTable, ze_fence_dditable_t,
      .pfnCreate = zeFenceCreate,
      .pfnDestroy = zeFenceDestroy,
      .pfnHostSynchronize = zeFenceHostSynchronize,
      .pfnQueryStatus = zeFenceQueryStatus,
      .pfnReset = zeFenceReset)
TABLE(zeGetEventPoolProcAddrTable, ze_event_pool_dditable_t,
      .pfnCreate = zeEventPoolCreate,
      .pfnDestroy = zeEventPoolDestroy)
TABLE(zeGetEventProcAddrTable, ze_event_dditable_t,
      .pfnCreate = zeEventCreate,
      .pfnDestroy = zeEventDestroy,
      .pfnHostSignal = zeEventHostSignal,
      .pfnHostSynchronize = zeEventHostSynchronize,
      .pfnQueryStatus = zeEventQueryStatus,
      .pfnHostReset = zeEventHostReset,
      .pfnQueryKernelTimestamp = zeEventQueryKernelTimestamp)
TABLE(zeGetEventExpProcAddrTable, ze_event_exp_dditable_t, 0)
TABLE(zeGetModuleProcAddrTable, ze_module_dditable_t,
      .pfnCreate = zeModuleCreate,
      .pfnDestroy = zeModuleDestroy,
      .pfnGetNativeBinary = zeModuleGetNativeBinary,
      .pfnGetKernelNames = zeModuleGetKernelNames,
      .pfnGetProperties = zeModuleGetProperties)
TABLE(zeGetModuleBuildLogProcAddrTable, ze_module_build_log_dditable_t,
      .pfnDestroy = zeModuleBuildLogDestroy,
      .pfnGetString = zeModuleBuildLogGetString)
TABLE(zeGetKernelProcAddrTable, ze_kernel_dditable_t,
      .pfnCreate = zeKernelCreate,
      .pfnDestroy = zeKernelDestroy,
      .pfnSetCacheConfig = zeKernelSetCacheConfig,
      .pfnSetGroupSize = zeKernelSetGroupSize,
      .pfnSuggestGroupSize = zeKernelSuggestGroupSize,
      .pfnSetArgumentValue = zeKernelSetArgumentValue,
      .pfnSetIndirectAccess = zeKernelSetIndirectAccess,
      .pfnGetProperties = zeKernelGetProperties,
      .pfnGetName = zeKernelGetName)
TABLE(zeGetKernelExpProcAddrTable, ze_kernel_exp_dditable_t, 0)
TABLE(zeGetSamplerProcAddrTable, ze_sampler_dditable_t, 0)
TABLE(zeGetPhysicalMemProcAddrTable, ze_physical_mem_dditable_t, 0)
TABLE(zeGetMemProcAddrTable, ze_mem_dditable_t,
      .pfnAllocShared = zeMemAllocShared,
      .pfnAllocDevice = zeMemAllocDevice,
      .pfnAllocHost = zeMemAllocHost,
      .pfnFree = zeMemFree,
      .pfnGetAllocProperties = zeMemGetAllocProperties,
      .pfnGetAddressRange = zeMemGetAddressRange)
TABLE(zeGetVirtualMemProcAddrTable, ze_virtual_mem_dditable_t, 0)
TABLE(zeGetFabricVertexExpProcAddrTable, ze_fabric_vertex_exp_dditable_t, 0)
TABLE(zeGetFabricEdgeExpProcAddrTable, ze_fabric_edge_exp_dditable_t, 0)
TABLE(zesGetDriverProcAddrTable, zes_driver_dditable_t, 0)
TABLE(zesGetDeviceProcAddrTable, zes_device_dditable_t, 0)
TABLE(zesGetSchedulerProcAddrTable, zes_scheduler_dditable_t, 0)
TABLE(zesGetPerformanceFactorProcAddrTable, zes_performance_factor_dditable_t, 0)
TABLE(zesGetPowerProcAddrTable, zes_power_dditable_t, 0)
TABLE(zesGetFrequencyProcAddrTable, zes_frequency_dditable_t, 0)
TABLE(zesGetEngineProcAddrTable, zes_engine_dditable_t, 0)
TABLE(zesGetStandbyProcAddrTable, zes_standby_dditable_t, 0)
TABLE(zesGetFirmwareProcAddrTable, zes_firmware_dditable_t, 0)
TABLE(zesGetMemoryProcAddrTable, zes_memory_dditable_t, 0)
TABLE(zesGetFabricPortProcAddrTable, zes_fabric_port_dditable_t, 0)
TABLE(zesGetTemperatureProcAddrTable, zes_temperature_dditable_t, 0)
TABLE(zesGetPsuProcAddrTable, zes_psu_dditable_t, 0)
TABLE(zesGetFanProcAddrTable, zes_fan_dditable_t, 0)
TABLE(zesGetLedProcAddrTable, zes_led_dditable_t, 0)
TABLE(zesGetRasProcAddrTable, zes_ras_dditable_t, 0)
TABLE(zesGetDiagnosticsProcAddrTable, zes_diagnostics_dditable_t, 0)
TABLE(zetGetDeviceProcAddrTable, zet_device_dditable_t, 0)
TABLE(zetGetContextProcAddrTable, zet_context_dditable_t, 0)
TABLE(zetGetCommandListProcAddrTable, zet_command_list_dditable_t, 0)
TABLE(zetGetModuleProcAddrTable, zet_module_dditable_t, 0)
TABLE(zetGetKernelProcAddrTable, zet_kernel_dditable_t, 0)
TABLE(zetGetMetricGroupProcAddrTable, zet_metric_group_dditable_t, 0)
TABLE(zetGetMetricGroupExpProcAddrTable, zet_metric_group_exp_dditable_t, 0)
TABLE(zetGetMetricProcAddrTable, zet_metric_dditable_t, 0)
TABLE(zetGetMetricStreamerProcAddrTable, zet_metric_streamer_dditable_t, 0)
TABLE(zetGetMetricQueryPoolProcAddrTable, zet_metric_query_pool_dditable_t, 0)
TABLE(zetGetMetricQueryProcAddrTable, zet_metric_query_dditable_t, 0)
TABLE(zetGetTracerExpProcAddrTable, zet_tracer_exp_dditable_t, 0)
TABLE(zetGetDebugProcAddrTable, zet_debug_dditable_t, 0)
// clang-format on
