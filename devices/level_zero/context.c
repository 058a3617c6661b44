/// Choosing, opening and closing Level Zero devices.
#include "devices/level_zero/context.h"

#include "base/error.h"
#include "devices/launch/graph.h"
#include "devices/launch/profile.h"
#include "kernels/opencl/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_CHARS = 200, MAX_GROUPS = 16 };
enum { MOVES_EVENT, LOADS_EVENT, N_EVENTS };

hsd_status hsdi_ze_done(hsdi_ze_device *ze, const char *call, ze_result_t code, hsd_error *err)
{
    if (code == ZE_RESULT_ERROR_DEVICE_LOST) {
        atomic_store(&ze->lost, (unsigned)code);
    }
    return hsdi_ze_check(err, call, code);
}

hsd_status hsdi_ze_waited(hsdi_ze_device *ze, const char *call, ze_result_t code, hsd_error *err)
{
    if (code != ZE_RESULT_NOT_READY) {
        return hsdi_ze_done(ze, call, code, err);
    }
    atomic_store(&ze->launch.hung, true);
    atomic_store(&ze->lost, (unsigned)code);
    (void)hsdi_fail(err, HSD_EDEVICE, call, "no answer for %g s: %s (0x%x)",
                    (double)ze->launch.timeout_ns / 1e9, hsdi_ze_code_name(code), (unsigned)code);
    if (err) {
        err->vendor_code = (int)code;
    }
    return HSD_EDEVICE;
}

hsd_status hsdi_ze_alive(const hsdi_ze_device *ze, hsd_error *err)
{
    unsigned code = atomic_load(&ze->lost);
    if (!code) {
        return HSD_OK;
    }
    (void)hsdi_fail(err, HSD_EDEVICE, ze->launch.base.info.name, "the device was lost before: %s",
                    hsdi_ze_code_name((ze_result_t)code));
    if (err) {
        err->vendor_code = (int)code;
    }
    return HSD_EDEVICE;
}

static hsd_status build_failed(const hsdi_ze_device *ze, ze_module_build_log_handle_t log,
                               ze_result_t code, hsd_error *err)
{
    size_t n = 0;
    char *text = NULL;
    if (log && ze->api->ModuleBuildLogGetString(log, &n, NULL) == ZE_RESULT_SUCCESS) {
        text = calloc(n + 1, 1);
    }
    if (text) {
        (void)ze->api->ModuleBuildLogGetString(log, &n, text);
    }
    for (char *at = text; at && *at; at++) {
        *at = *at == '\n' || *at == '\r' ? ' ' : *at; // a message is one line
    }
    (void)hsdi_fail(err, HSD_EDEVICE, "zeModuleCreate", "%s (0x%x): %.*s", hsdi_ze_code_name(code),
                    (unsigned)code, (int)LOG_CHARS, text && text[0] ? text : "no log");
    if (err) {
        err->vendor_code = (int)code;
    }
    free(text);
    return HSD_EDEVICE;
}

hsd_status hsdi_ze_build(const hsdi_ze_device *ze, const unsigned char *spirv, size_t n_bytes,
                         ze_module_handle_t *out, hsd_error *err)
{
    const ze_module_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_MODULE_DESC,
                                   .format = ZE_MODULE_FORMAT_IL_SPIRV,
                                   .inputSize = n_bytes,
                                   .pInputModule = spirv,
                                   .pBuildFlags = ""};
    ze_module_build_log_handle_t log = NULL;
    ze_module_handle_t module = NULL;
    ze_result_t code =
        ze->api->ModuleCreate(ze->context, ze->id, &desc, &module, ze->wrapped ? NULL : &log);
    hsd_status status = HSD_OK;
    if (code == ZE_RESULT_SUCCESS) {
        *out = module;
    } else {
        status = build_failed(ze, log, code, err);
    }
    if (log) {
        (void)ze->api->ModuleBuildLogDestroy(log);
    }
    return status;
}

static void close_objects(hsdi_ze_device *ze)
{
    hsdi_ze_mover_fini(ze, &ze->moves);
    hsdi_ze_mover_fini(ze, &ze->loads);
    if (ze->fence) {
        (void)ze->api->FenceDestroy(ze->fence);
    }
    if (ze->queue) {
        (void)ze->api->CommandQueueDestroy(ze->queue);
    }
    if (ze->pool) {
        (void)ze->api->EventPoolDestroy(ze->pool);
    }
    if (ze->module) {
        (void)ze->api->ModuleDestroy(ze->module);
    }
    if (ze->context) {
        (void)ze->api->ContextDestroy(ze->context);
    }
}

static void ze_close(hsdi_device *device)
{
    hsdi_ze_device *ze = (hsdi_ze_device *)device;
    if (!atomic_load(&ze->launch.hung)) {
        close_objects(ze);
    }
    pthread_mutex_destroy(&ze->load_turn);
    hsdi_device_fini(&ze->launch.base);
    free(ze);
}

static hsdi_tile_set *ze_tiles(hsdi_device *device)
{
    return &((hsdi_launch_device *)device)->tiles;
}

static const hsdi_backend ze_backend = {
    .name = "level_zero",
    .has_top = true,
    .device_close = ze_close,
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
    .profile = hsdi_launch_profile,
    .times = hsdi_launch_times,
    .tiles = ze_tiles,
};

/// The first GPU that runs our kernels, else the first device that does, else the first of all.
static int best_of(const hsdi_ze_api *api, const hsdi_ze_found *found)
{
    int best = 0, most = 0;
    for (int i = 0; i < found->n; i++) {
        hsdi_level_zero_info info;
        hsdi_ze_describe(api, found->drivers[i], found->ids[i], &info);
        int score = info.unusable[0] ? 0 : strcmp(info.type, "gpu") == 0 ? 2 : 1;
        best = score > most ? i : best;
        most = score > most ? score : most;
    }
    return best;
}

/// Which kernels products use. What there is was built with hsd, without sub-groups or an
/// instruction for products of 8 bits, so that every device takes it.
static void load_tiles(hsdi_ze_device *ze, const hsdi_level_zero_info *info)
{
    ze_device_compute_properties_t compute = {.stype = ZE_STRUCTURE_TYPE_DEVICE_COMPUTE_PROPERTIES};
    hsdi_tile_set *set = &ze->launch.tiles;
    (void)ze->api->DeviceGetComputeProperties(ze->id, &compute);
    set->limits = (hsdi_tile_limits){.platform = "Level Zero",
                                     .built_only = true,
                                     .max_group = compute.maxTotalGroupSize,
                                     .local_bytes = compute.maxSharedLocalMemory};
    snprintf(set->key, sizeof set->key, "Level Zero\n%s\n%s\n", info->driver, info->name);
    hsdi_tile_set_load(set);
    ze->launch.records = true; // there is no other way
    char *note = ze->launch.base.info.note;
    snprintf(note, sizeof ze->launch.base.info.note, "%s", hsdi_tile_set_note(set));
}

static hsd_status choose(int index, hsdi_ze_device *ze, ze_driver_handle_t *driver, hsd_error *err)
{
    hsdi_ze_found found;
    hsdi_level_zero_info info;
    hsd_status status = hsdi_ze_find(ze->api, &found, err);
    if (status != HSD_OK) {
        return status;
    }
    if (index >= found.n) {
        return hsdi_fail(err, HSD_ENODEVICE, "level_zero", "there is no device %d, only 0 to %d",
                         index, found.n - 1);
    }
    // Loader 1.8.12 wraps the handles of several drivers, but not the log of a module that failed,
    // and crashes when that is read.
    ze->wrapped = found.n_drivers > 1 || getenv("ZE_ENABLE_LOADER_INTERCEPT");
    index = index < 0 ? best_of(ze->api, &found) : index;
    *driver = found.drivers[index];
    ze->id = found.ids[index];
    hsdi_ze_describe(ze->api, *driver, ze->id, &info);
    char *name = ze->launch.base.info.name;
    snprintf(name, sizeof ze->launch.base.info.name, "level_zero:%d %.40s", index, info.name);
    load_tiles(ze, &info);
    return info.unusable[0] ? hsdi_fail(err, HSD_EUNSUPPORTED, name, "%s", info.unusable) : HSD_OK;
}

/// What the device is made of: its clock, whether it shares memory, the queues for kernels.
static hsd_status inspect(hsdi_ze_device *ze, hsd_error *err)
{
    ze_device_properties_t device = {.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES};
    ze_command_queue_group_properties_t groups[MAX_GROUPS] = {0};
    uint32_t n = MAX_GROUPS;
    ze_result_t code = ze->api->DeviceGetProperties(ze->id, &device);
    if (code != ZE_RESULT_SUCCESS) {
        return hsdi_ze_fail(err, "zeDeviceGetProperties", code);
    }
    ze->launch.shares = device.flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED;
    bool is_cpu = device.type == ZE_DEVICE_TYPE_CPU;
    int n_units = (int)(device.numSlices * device.numSubslicesPerSlice);
    hsd_status status = hsdi_launch_lists(&ze->launch, is_cpu, err);
    if (status != HSD_OK ||
        (status = hsdi_launch_split(&ze->launch, is_cpu, n_units, err)) != HSD_OK) {
        return status;
    }
    ze->tick_ns = device.timerResolution;
    ze->tick_mask = device.kernelTimestampValidBits < 64
                        ? ((uint64_t)1 << device.kernelTimestampValidBits) - 1
                        : UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        groups[i].stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_GROUP_PROPERTIES;
    }
    code = ze->api->DeviceGetCommandQueueGroupProperties(ze->id, &n, groups);
    if (code != ZE_RESULT_SUCCESS) {
        return hsdi_ze_fail(err, "zeDeviceGetCommandQueueGroupProperties", code);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (groups[i].flags & ZE_COMMAND_QUEUE_GROUP_PROPERTY_FLAG_COMPUTE) {
            ze->ordinal = i;
            return HSD_OK;
        }
    }
    return hsdi_fail(err, HSD_EUNSUPPORTED, ze->launch.base.info.name, "no queue takes kernels");
}

static hsd_status make_queue(hsdi_ze_device *ze, hsd_error *err)
{
    const ze_command_queue_desc_t queue = {.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
                                           .ordinal = ze->ordinal,
                                           .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS};
    const ze_fence_desc_t fence = {.stype = ZE_STRUCTURE_TYPE_FENCE_DESC};
    const ze_event_pool_desc_t pool = {.stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC,
                                       .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE,
                                       .count = N_EVENTS};
    ze_result_t code = ze->api->CommandQueueCreate(ze->context, ze->id, &queue, &ze->queue);
    if (code != ZE_RESULT_SUCCESS) {
        ze->queue = NULL;
        return hsdi_ze_fail(err, "zeCommandQueueCreate", code);
    }
    code = ze->api->FenceCreate(ze->queue, &fence, &ze->fence);
    if (code != ZE_RESULT_SUCCESS) {
        ze->fence = NULL;
        return hsdi_ze_fail(err, "zeFenceCreate", code);
    }
    code = ze->api->EventPoolCreate(ze->context, &pool, 1, &ze->id, &ze->pool);
    if (code != ZE_RESULT_SUCCESS) {
        ze->pool = NULL;
        return hsdi_ze_fail(err, "zeEventPoolCreate", code);
    }
    hsd_status status = hsdi_ze_mover_init(ze, &ze->moves, MOVES_EVENT, err);
    return status == HSD_OK ? hsdi_ze_mover_init(ze, &ze->loads, LOADS_EVENT, err) : status;
}

static hsd_status make(hsdi_ze_device *ze, int index, hsd_error *err)
{
    const ze_context_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC};
    ze_driver_handle_t driver = NULL;
    hsd_status status;
    if ((status = hsdi_launch_timeout(&ze->launch.timeout_ns, err)) != HSD_OK ||
        (status = choose(index, ze, &driver, err)) != HSD_OK ||
        (status = inspect(ze, err)) != HSD_OK) {
        return status;
    }
    ze_result_t code = ze->api->ContextCreate(driver, &desc, &ze->context);
    if (code != ZE_RESULT_SUCCESS) {
        ze->context = NULL;
        return hsdi_ze_fail(err, "zeContextCreate", code);
    }
    status = make_queue(ze, err);
    return status == HSD_OK
               ? hsdi_ze_build(ze, hsdi_opencl_spirv, hsdi_opencl_spirv_bytes, &ze->module, err)
               : status;
}

hsd_status hsdi_device_open_level_zero(int index, hsdi_device **out, hsd_error *err)
{
    const hsdi_ze_api *api;
    if (!out || index < -1) {
        return hsdi_fail(err, HSD_EINVAL, "level_zero", "device %d", index);
    }
    hsd_status status = hsdi_ze_api_get(&api, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_ze_device *ze = calloc(1, sizeof *ze);
    if (!ze) {
        return hsdi_fail(err, HSD_ENOMEM, "level_zero", "device");
    }
    hsdi_device_init(&ze->launch.base, &ze_backend, 1);
    pthread_mutex_init(&ze->load_turn, NULL);
    ze->launch.driver = &hsdi_ze_driver;
    ze->api = api;
    status = make(ze, index, err);
    if (status != HSD_OK) {
        ze_close(&ze->launch.base);
        return status;
    }
    *out = &ze->launch.base;
    return HSD_OK;
}
