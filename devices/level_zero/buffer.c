/// Memory of a Level Zero device, and transfers by immediate command lists.
///
/// A handle of devices/launch is the address itself. Device memory is for weights, caches and
/// values; host memory, which the device reaches too, for rows and tables.
#include "devices/level_zero/context.h"

#include "base/error.h"

enum { ALIGNMENT = 64 };

static hsdi_ze_device *ze_of(hsdi_launch_device *device)
{
    return (hsdi_ze_device *)device;
}

hsd_status hsdi_ze_mover_init(hsdi_ze_device *ze, hsdi_ze_mover *mover, uint32_t index,
                              hsd_error *err)
{
    const ze_command_queue_desc_t queue = {.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
                                           .ordinal = ze->ordinal,
                                           .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS};
    const ze_event_desc_t event = {.stype = ZE_STRUCTURE_TYPE_EVENT_DESC,
                                   .index = index,
                                   .signal = ZE_EVENT_SCOPE_FLAG_HOST,
                                   .wait = ZE_EVENT_SCOPE_FLAG_HOST};
    ze_result_t code =
        ze->api->CommandListCreateImmediate(ze->context, ze->id, &queue, &mover->list);
    if (code != ZE_RESULT_SUCCESS) {
        mover->list = NULL;
        return hsdi_ze_done(ze, "zeCommandListCreateImmediate", code, err);
    }
    code = ze->api->EventCreate(ze->pool, &event, &mover->done);
    if (code != ZE_RESULT_SUCCESS) {
        mover->done = NULL;
    }
    return hsdi_ze_done(ze, "zeEventCreate", code, err);
}

void hsdi_ze_mover_fini(hsdi_ze_device *ze, hsdi_ze_mover *mover)
{
    if (mover->list) {
        (void)ze->api->CommandListDestroy(mover->list);
    }
    if (mover->done) {
        (void)ze->api->EventDestroy(mover->done);
    }
}

hsd_status hsdi_ze_move(hsdi_ze_device *ze, hsdi_ze_mover *mover, void *to, const void *from,
                        size_t size_bytes, hsd_error *err)
{
    hsd_status status = hsdi_ze_alive(ze, err);
    if (status == HSD_OK) {
        status = hsdi_ze_done(
            ze, "zeCommandListAppendMemoryCopy",
            ze->api->CommandListAppendMemoryCopy(mover->list, to, from, size_bytes, NULL, 0, NULL),
            err);
    }
    mover->busy = mover->busy || status == HSD_OK;
    return status;
}

hsd_status hsdi_ze_mover_wait(hsdi_ze_device *ze, hsdi_ze_mover *mover, hsd_error *err)
{
    hsd_status status = mover->busy ? hsdi_ze_alive(ze, err) : HSD_OK;
    if (!mover->busy || status != HSD_OK) {
        return status;
    }
    mover->busy = false;
    status =
        hsdi_ze_done(ze, "zeCommandListAppendBarrier",
                     ze->api->CommandListAppendBarrier(mover->list, mover->done, 0, NULL), err);
    if (status == HSD_OK) {
        status =
            hsdi_ze_waited(ze, "zeEventHostSynchronize",
                           ze->api->EventHostSynchronize(mover->done, ze->launch.timeout_ns), err);
    }
    return status == HSD_OK
               ? hsdi_ze_done(ze, "zeEventHostReset", ze->api->EventHostReset(mover->done), err)
               : status;
}

hsd_status hsdi_ze_memory_create(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                 hsdi_launch_memory **out, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    const ze_device_mem_alloc_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC};
    void *memory = NULL;
    *out = NULL;
    ze_result_t code =
        ze->api->MemAllocDevice(ze->context, &desc, size_bytes, ALIGNMENT, ze->id, &memory);
    hsd_status status = hsdi_ze_done(ze, "zeMemAllocDevice", code, err);
    if (status != HSD_OK) {
        return status;
    }
    if (data) {
        pthread_mutex_lock(&ze->load_turn);
        status = hsdi_ze_move(ze, &ze->loads, memory, data, size_bytes, err);
        if (status == HSD_OK) {
            status = hsdi_ze_mover_wait(ze, &ze->loads, err);
        }
        pthread_mutex_unlock(&ze->load_turn);
    }
    if (status != HSD_OK) {
        hsdi_ze_memory_destroy(device, memory);
        return status;
    }
    *out = memory;
    return HSD_OK;
}

hsd_status hsdi_ze_host_create(hsdi_launch_device *device, size_t size_bytes,
                               hsdi_launch_memory **out, void **host, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    const ze_host_mem_alloc_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC};
    void *memory = NULL;
    ze_result_t code = ze->api->MemAllocHost(ze->context, &desc, size_bytes, ALIGNMENT, &memory);
    hsd_status status = hsdi_ze_done(ze, "zeMemAllocHost", code, err);
    *out = status == HSD_OK ? memory : NULL;
    *host = *out;
    return status;
}

void hsdi_ze_memory_destroy(hsdi_launch_device *device, hsdi_launch_memory *memory)
{
    hsdi_ze_device *ze = ze_of(device);
    if (memory && !atomic_load(&ze->launch.hung)) {
        (void)ze->api->MemFree(ze->context, memory);
    }
}
