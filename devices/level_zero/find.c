/// What there is: drivers and devices of every type, and what they can do.
#include "devices/level_zero/context.h"

#include "base/error.h"
#include "kernels/opencl/source.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DRIVERS = 16, MAX_EXTENSIONS = 256, MAX_MEMORIES = 16 };

hsd_status hsdi_ze_find(const hsdi_ze_api *api, hsdi_ze_found *out, hsd_error *err)
{
    ze_driver_handle_t drivers[MAX_DRIVERS];
    uint32_t n_drivers = MAX_DRIVERS;
    out->n = out->n_drivers = 0;
    ze_result_t code = api->DriverGet(&n_drivers, drivers);
    if (code != ZE_RESULT_SUCCESS) {
        return hsdi_ze_fail(err, "zeDriverGet", code);
    }
    out->n_drivers = (int)n_drivers;
    for (uint32_t d = 0; d < n_drivers && out->n < HSDI_ZE_MAX_DEVICES; d++) {
        uint32_t n = (uint32_t)(HSDI_ZE_MAX_DEVICES - out->n);
        code = api->DeviceGet(drivers[d], &n, out->ids + out->n);
        n = code == ZE_RESULT_SUCCESS ? n : 0; // a driver may well have none
        for (uint32_t i = 0; i < n; i++) {
            out->drivers[out->n++] = drivers[d];
        }
    }
    return out->n > 0 ? HSD_OK
                      : hsdi_fail(err, HSD_EDEVICE, "level_zero", "%u drivers, none has a device",
                                  n_drivers);
}

static const char *type_name(ze_device_type_t type)
{
    switch (type) {
    case ZE_DEVICE_TYPE_GPU:
        return "gpu";
    case ZE_DEVICE_TYPE_CPU:
        return "cpu";
    case ZE_DEVICE_TYPE_FPGA:
        return "fpga";
    case ZE_DEVICE_TYPE_VPU:
        return "npu";
    case ZE_DEVICE_TYPE_MCA:
    case ZE_DEVICE_TYPE_FORCE_UINT32:
        break;
    }
    return "other";
}

static int64_t memory_of(const hsdi_ze_api *api, ze_device_handle_t id)
{
    ze_device_memory_properties_t memories[MAX_MEMORIES] = {0};
    uint32_t n = MAX_MEMORIES;
    int64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        memories[i].stype = ZE_STRUCTURE_TYPE_DEVICE_MEMORY_PROPERTIES;
    }
    n = api->DeviceGetMemoryProperties(id, &n, memories) == ZE_RESULT_SUCCESS ? n : 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (int64_t)memories[i].totalSize;
    }
    return sum;
}

/// The extension by which a driver takes whole networks, in any version.
static bool takes_graphs(const hsdi_ze_api *api, ze_driver_handle_t driver)
{
    static const char name[] = "ZE_extension_graph";
    ze_driver_extension_properties_t all[MAX_EXTENSIONS];
    uint32_t n = MAX_EXTENSIONS;
    n = api->DriverGetExtensionProperties(driver, &n, all) == ZE_RESULT_SUCCESS ? n : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (strncmp(all[i].name, name, sizeof name - 1) == 0) {
            return true;
        }
    }
    return false;
}

static void describe_driver(const hsdi_ze_api *api, ze_driver_handle_t driver,
                            hsdi_level_zero_info *out)
{
    ze_driver_properties_t properties = {.stype = ZE_STRUCTURE_TYPE_DRIVER_PROPERTIES};
    ze_api_version_t version = (ze_api_version_t)0;
    (void)api->DriverGetProperties(driver, &properties);
    (void)api->DriverGetApiVersion(driver, &version);
    snprintf(out->driver, sizeof out->driver, "Level Zero %u.%u, driver 0x%x",
             ZE_MAJOR_VERSION((unsigned)version), ZE_MINOR_VERSION((unsigned)version),
             properties.driverVersion);
}

static void describe_modules(const ze_device_module_properties_t *modules,
                             const ze_device_properties_t *device, bool graphs, char *out,
                             size_t cap)
{
    uint32_t spirv = modules->spirvVersionSupported;
    char kernels[24] = "no kernels";
    if (spirv) {
        snprintf(kernels, sizeof kernels, "SPIR-V %u.%u", ZE_MAJOR_VERSION(spirv),
                 ZE_MINOR_VERSION(spirv));
    }
    snprintf(out, cap, "%s%s%s%s%s%s", kernels,
             modules->flags & ZE_DEVICE_MODULE_FLAG_FP16 ? ", fp16" : "",
             modules->flags & ZE_DEVICE_MODULE_FLAG_FP64 ? ", fp64" : "",
             modules->flags & ZE_DEVICE_MODULE_FLAG_DP4A ? ", dp4a" : "",
             device->flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED ? ", shares memory" : "",
             graphs ? ", graph extension" : "");
}

/// Why our kernels do not run there; empty where they do.
static void describe_use(const ze_device_module_properties_t *modules,
                         const ze_device_compute_properties_t *compute, bool npu, char *out,
                         size_t cap)
{
    *out = '\0';
    if (!modules->spirvVersionSupported && npu) {
        snprintf(out, cap, "runs networks, not kernels: needs the vendor driver's graph extension");
    } else if (!modules->spirvVersionSupported) {
        snprintf(out, cap, "takes no SPIR-V");
    } else if (compute->maxTotalGroupSize < HSDI_OPENCL_GROUP) {
        snprintf(out, cap, "work groups of %u, %d are needed", compute->maxTotalGroupSize,
                 (int)HSDI_OPENCL_GROUP);
    }
}

void hsdi_ze_describe(const hsdi_ze_api *api, ze_driver_handle_t driver, ze_device_handle_t id,
                      hsdi_level_zero_info *out)
{
    ze_device_properties_t device = {.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES};
    ze_device_compute_properties_t compute = {.stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES};
    ze_device_module_properties_t modules = {.stype = ZE_STRUCTURE_TYPE_DEVICE_MODULE_PROPERTIES};
    ze_pci_ext_properties_t pci = {.stype = ZE_STRUCTURE_TYPE_PCI_EXT_PROPERTIES};
    *out = (hsdi_level_zero_info){.memory_bytes = memory_of(api, id)};
    // What a device does not say stays empty.
    (void)api->DeviceGetProperties(id, &device);
    (void)api->DeviceGetComputeProperties(id, &compute);
    (void)api->DeviceGetModuleProperties(id, &modules);
    if (api->DevicePciGetPropertiesExt(id, &pci) == ZE_RESULT_SUCCESS) {
        snprintf(out->pci, sizeof out->pci, "%04x:%02x:%02x.%x", pci.address.domain & 0xffff,
                 pci.address.bus & 0xff, pci.address.device & 0xff, pci.address.function & 0xf);
    }
    for (int i = 0; i < ZE_MAX_DEVICE_UUID_SIZE; i++) {
        snprintf(out->uuid + 2 * i, 3, "%02x", device.uuid.id[i]);
    }
    out->type = type_name(device.type);
    snprintf(out->name, sizeof out->name, "%.127s", device.name);
    out->n_units = (int)(device.numSlices * device.numSubslicesPerSlice * device.numEUsPerSubslice);
    describe_driver(api, driver, out);
    out->shares_memory = device.flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED;
    bool npu = device.type == ZE_DEVICE_TYPE_VPU;
    describe_modules(&modules, &device, takes_graphs(api, driver), out->features,
                     sizeof out->features);
    describe_use(&modules, &compute, npu, out->unusable, sizeof out->unusable);
}

hsd_status hsdi_level_zero_list(hsdi_level_zero_info *out, int cap, int *n_out, hsd_error *err)
{
    const hsdi_ze_api *api;
    hsdi_ze_found found;
    hsd_status status = hsdi_ze_api_get(&api, err);
    if (status == HSD_OK) {
        status = hsdi_ze_find(api, &found, err);
    }
    if (status == HSD_OK) {
        for (int i = 0; i < found.n && i < cap; i++) {
            hsdi_ze_describe(api, found.drivers[i], found.ids[i], &out[i]);
        }
        *n_out = found.n;
    }
    return status;
}
