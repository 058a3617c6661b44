/// Event pools and events.
#include "driver.h"

#include <stdlib.h>

ze_result_t ZE_APICALL zeEventPoolCreate(ze_context_handle_t context,
                                         const ze_event_pool_desc_t *desc, uint32_t n_devices,
                                         ze_device_handle_t *devices, ze_event_pool_handle_t *out)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    for (uint32_t i = 0; i < n_devices && devices; i++) {
        LZ_HANDLE(devices[i], LZ_DEVICE);
    }
    if (desc->count == 0) {
        return ZE_RESULT_ERROR_INVALID_SIZE;
    }
    if (desc->flags & ZE_EVENT_POOL_FLAG_IPC) {
        return ZE_RESULT_ERROR_UNSUPPORTED_FEATURE;
    }
    ze_event_pool_handle_t pool = calloc(1, sizeof *pool);
    if (!pool || !(pool->taken = calloc(desc->count, sizeof *pool->taken))) {
        free(pool);
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    pool->kind = LZ_POOL;
    pool->context = context;
    pool->count = desc->count;
    pool->timestamps = desc->flags & ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP;
    lz_born(context, LZ_POOL);
    *out = pool;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeEventPoolDestroy(ze_event_pool_handle_t pool)
{
    LZ_HANDLE(pool, LZ_POOL);
    for (uint32_t i = 0; i < pool->count; i++) {
        if (pool->taken[i]) {
            return ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE;
        }
    }
    lz_died(pool->context, LZ_POOL);
    pool->kind = 0;
    free(pool->taken);
    free(pool);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeEventCreate(ze_event_pool_handle_t pool, const ze_event_desc_t *desc,
                                     ze_event_handle_t *out)
{
    LZ_HANDLE(pool, LZ_POOL);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    if (desc->index >= pool->count || pool->taken[desc->index]) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    ze_event_handle_t event = calloc(1, sizeof *event);
    if (!event) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    event->kind = LZ_EVENT;
    event->pool = pool;
    event->index = desc->index;
    pool->taken[desc->index] = true;
    lz_born(pool->context, LZ_EVENT);
    *out = event;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeEventDestroy(ze_event_handle_t event)
{
    LZ_HANDLE(event, LZ_EVENT);
    event->pool->taken[event->index] = false;
    lz_died(event->pool->context, LZ_EVENT);
    event->kind = 0;
    free(event);
    return ZE_RESULT_SUCCESS;
}

static ze_result_t set(ze_event_handle_t event, bool signalled)
{
    LZ_HANDLE(event, LZ_EVENT);
    pthread_mutex_lock(&lz.lock);
    event->signalled = signalled;
    event->start = event->end = lz_ticks();
    pthread_cond_broadcast(&lz.changed);
    pthread_mutex_unlock(&lz.lock);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeEventHostSignal(ze_event_handle_t event)
{
    return set(event, true);
}

ze_result_t ZE_APICALL zeEventHostReset(ze_event_handle_t event)
{
    return set(event, false);
}

ze_result_t ZE_APICALL zeEventHostSynchronize(ze_event_handle_t event, uint64_t timeout)
{
    LZ_HANDLE(event, LZ_EVENT);
    ze_result_t result = ZE_RESULT_SUCCESS;
    uint64_t begin = lz_now_ns();
    pthread_mutex_lock(&lz.lock);
    while (!event->signalled && result == ZE_RESULT_SUCCESS) {
        result = lz.lost                    ? ZE_RESULT_ERROR_DEVICE_LOST
                 : !lz_wait(begin, timeout) ? ZE_RESULT_NOT_READY
                                            : ZE_RESULT_SUCCESS;
    }
    pthread_mutex_unlock(&lz.lock);
    return result;
}

ze_result_t ZE_APICALL zeEventQueryStatus(ze_event_handle_t event)
{
    return zeEventHostSynchronize(event, 0);
}

/// Ticks of 32 valid bits, as the device's properties say: they wrap every 223 seconds.
ze_result_t ZE_APICALL zeEventQueryKernelTimestamp(ze_event_handle_t event,
                                                   ze_kernel_timestamp_result_t *out)
{
    LZ_HANDLE(event, LZ_EVENT);
    LZ_POINTER_ARG(out);
    if (!event->pool->timestamps) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    pthread_mutex_lock(&lz.lock);
    bool signalled = event->signalled;
    ze_kernel_timestamp_data_t data = {event->start & UINT32_MAX, event->end & UINT32_MAX};
    pthread_mutex_unlock(&lz.lock);
    if (!signalled) {
        return ZE_RESULT_NOT_READY;
    }
    *out = (ze_kernel_timestamp_result_t){data, data};
    return ZE_RESULT_SUCCESS;
}
