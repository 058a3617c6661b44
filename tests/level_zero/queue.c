/// Command queues: each has a thread that runs its submissions one after the other. Fences.
#include "driver.h"

#include <stdlib.h>

static void drop(ze_command_queue_handle_t queue, lz_submission *s)
{
    if (s->list) {
        s->list->n_running--;
    }
    if (s->one) {
        lz_command_free(s->one);
        free(s->one);
    }
    free(s);
    queue->n_pending--;
    pthread_cond_broadcast(&lz.changed);
}

static void *serve(void *arg)
{
    ze_command_queue_handle_t queue = arg;
    pthread_mutex_lock(&lz.lock);
    while (!queue->stop) {
        lz_submission *s = queue->first;
        if (!s) {
            pthread_cond_wait(&lz.changed, &lz.lock);
            continue;
        }
        queue->first = s->next;
        queue->last = queue->first ? queue->last : &queue->first;
        if (s->number == lz.faults.lost_run_at) {
            lz_lose("injected while a submission ran");
        }
        bool good = !lz.lost;
        unsigned seed = (unsigned)lz.faults.shuffle;
        pthread_mutex_unlock(&lz.lock);
        if (good) {
            good = s->list ? lz_run(queue, s->list->commands, s->list->n_commands, seed)
                           : lz_run(queue, s->one, 1, 0);
        }
        pthread_mutex_lock(&lz.lock);
        if (s->fence && good) {
            s->fence->signalled = true;
        }
        drop(queue, s);
    }
    pthread_mutex_unlock(&lz.lock);
    return NULL;
}

static ze_result_t check_desc(ze_device_handle_t device, const ze_command_queue_desc_t *desc)
{
    if (desc->ordinal > (device->npu ? 0 : 1) || desc->index > 0) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    return desc->mode > ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS ||
                   desc->priority > ZE_COMMAND_QUEUE_PRIORITY_PRIORITY_HIGH
               ? ZE_RESULT_ERROR_INVALID_ENUMERATION
               : ZE_RESULT_SUCCESS;
}

ze_result_t lz_queue_create(ze_context_handle_t context, ze_device_handle_t device,
                            const ze_command_queue_desc_t *desc, ze_command_queue_handle_t *out)
{
    ze_result_t result = check_desc(device, desc);
    if (result != ZE_RESULT_SUCCESS) {
        return result;
    }
    if (lz_is_lost()) {
        return ZE_RESULT_ERROR_DEVICE_LOST;
    }
    ze_command_queue_handle_t queue = calloc(1, sizeof *queue);
    if (!queue) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    queue->kind = LZ_QUEUE;
    queue->context = context;
    queue->device = device;
    queue->ordinal = desc->ordinal;
    queue->waits = desc->mode == ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS;
    queue->last = &queue->first;
    if (pthread_create(&queue->thread, NULL, serve, queue) != 0) {
        free(queue);
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    *out = queue;
    return ZE_RESULT_SUCCESS;
}

/// Ends the running command, unless it hangs or waits for an event: that is dropped, as what
/// follows it is.
void lz_queue_destroy(ze_command_queue_handle_t queue)
{
    pthread_mutex_lock(&lz.lock);
    if (queue->n_pending > 0 && !lz.lost) {
        lz_say("a queue is destroyed with %d submissions that have not ended", queue->n_pending);
    }
    queue->stop = true;
    pthread_cond_broadcast(&lz.changed);
    pthread_mutex_unlock(&lz.lock);
    pthread_join(queue->thread, NULL);
    pthread_mutex_lock(&lz.lock);
    for (lz_submission *s = queue->first, *next; s; s = next) {
        next = s->next;
        drop(queue, s);
    }
    pthread_mutex_unlock(&lz.lock);
    if (queue->commands) {
        (void)lz.cl->clReleaseCommandQueue(queue->commands);
    }
    queue->kind = 0;
    free(queue);
}

static void push(ze_command_queue_handle_t queue, lz_submission *s)
{
    s->number = lz.n_submissions;
    *queue->last = s;
    queue->last = &s->next;
    queue->n_pending++;
    if (s->list) {
        s->list->n_running++;
    }
    pthread_cond_broadcast(&lz.changed);
}

static ze_result_t wait_idle(ze_command_queue_handle_t queue, uint64_t timeout)
{
    uint64_t begin = lz_now_ns();
    while (queue->n_pending > 0) { // a lost device drops them soon
        if (!lz_wait(begin, timeout)) {
            return lz.lost ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_NOT_READY;
        }
    }
    return lz.lost ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS;
}

ze_result_t lz_submit(ze_command_queue_handle_t queue, ze_command_list_handle_t *lists,
                      uint32_t n_lists, lz_command *one, ze_fence_handle_t fence)
{
    ze_result_t result = ZE_RESULT_SUCCESS;
    pthread_mutex_lock(&lz.lock);
    if (++lz.n_submissions == lz.faults.lost_submit_at) {
        lz_lose("injected at a submission");
    }
    if (lz.lost) {
        result = ZE_RESULT_ERROR_DEVICE_LOST;
    }
    for (uint32_t i = 0; (one ? i < 1 : i < n_lists) && result == ZE_RESULT_SUCCESS; i++) {
        lz_submission *s = calloc(1, sizeof *s);
        if (!s) {
            result = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
            break;
        }
        s->list = one ? NULL : lists[i];
        s->one = one;
        s->fence = !one && i + 1 == n_lists ? fence : NULL;
        push(queue, s);
    }
    if (one && result != ZE_RESULT_SUCCESS) {
        lz_command_free(one);
        free(one);
    }
    if (fence && result == ZE_RESULT_SUCCESS) {
        fence->used = true;
    }
    if (queue->waits && result == ZE_RESULT_SUCCESS) {
        result = wait_idle(queue, UINT64_MAX);
    }
    pthread_mutex_unlock(&lz.lock);
    return result;
}

ze_result_t ZE_APICALL zeCommandQueueCreate(ze_context_handle_t context, ze_device_handle_t device,
                                            const ze_command_queue_desc_t *desc,
                                            ze_command_queue_handle_t *out)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    ze_result_t result = lz_queue_create(context, device, desc, out);
    if (result == ZE_RESULT_SUCCESS) {
        lz_born(context, LZ_QUEUE);
    }
    return result;
}

ze_result_t ZE_APICALL zeCommandQueueDestroy(ze_command_queue_handle_t queue)
{
    LZ_HANDLE(queue, LZ_QUEUE);
    lz_died(queue->context, LZ_QUEUE);
    lz_queue_destroy(queue);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeCommandQueueExecuteCommandLists(ze_command_queue_handle_t queue,
                                                         uint32_t n,
                                                         ze_command_list_handle_t *lists,
                                                         ze_fence_handle_t fence)
{
    LZ_HANDLE(queue, LZ_QUEUE);
    LZ_POINTER_ARG(lists);
    if (n == 0) {
        return ZE_RESULT_ERROR_INVALID_SIZE;
    }
    if (fence) {
        LZ_HANDLE(fence, LZ_FENCE);
        if (fence->queue != queue || fence->used) {
            return ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        LZ_HANDLE(lists[i], LZ_LIST);
        if (lists[i]->own || lists[i]->ordinal != queue->ordinal ||
            lists[i]->device != queue->device) {
            return ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE;
        }
        if (!lists[i]->closed) {
            return ZE_RESULT_ERROR_INVALID_ARGUMENT;
        }
    }
    return lz_submit(queue, lists, n, NULL, fence);
}

ze_result_t ZE_APICALL zeCommandQueueSynchronize(ze_command_queue_handle_t queue, uint64_t timeout)
{
    LZ_HANDLE(queue, LZ_QUEUE);
    pthread_mutex_lock(&lz.lock);
    ze_result_t result = wait_idle(queue, timeout);
    pthread_mutex_unlock(&lz.lock);
    return result;
}

ze_result_t ZE_APICALL zeFenceCreate(ze_command_queue_handle_t queue, const ze_fence_desc_t *desc,
                                     ze_fence_handle_t *out)
{
    LZ_HANDLE(queue, LZ_QUEUE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    ze_fence_handle_t fence = calloc(1, sizeof *fence);
    if (!fence) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    fence->kind = LZ_FENCE;
    fence->queue = queue;
    fence->signalled = fence->used = desc->flags & ZE_FENCE_FLAG_SIGNALED;
    lz_born(queue->context, LZ_FENCE);
    *out = fence;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeFenceDestroy(ze_fence_handle_t fence)
{
    LZ_HANDLE(fence, LZ_FENCE);
    lz_died(fence->queue->context, LZ_FENCE);
    fence->kind = 0;
    free(fence);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeFenceHostSynchronize(ze_fence_handle_t fence, uint64_t timeout)
{
    LZ_HANDLE(fence, LZ_FENCE);
    ze_result_t result = ZE_RESULT_SUCCESS;
    uint64_t begin = lz_now_ns();
    pthread_mutex_lock(&lz.lock);
    while (!fence->signalled && result == ZE_RESULT_SUCCESS) {
        result = lz.lost                    ? ZE_RESULT_ERROR_DEVICE_LOST
                 : !lz_wait(begin, timeout) ? ZE_RESULT_NOT_READY
                                            : ZE_RESULT_SUCCESS;
    }
    pthread_mutex_unlock(&lz.lock);
    return result;
}

ze_result_t ZE_APICALL zeFenceQueryStatus(ze_fence_handle_t fence)
{
    return zeFenceHostSynchronize(fence, 0);
}

ze_result_t ZE_APICALL zeFenceReset(ze_fence_handle_t fence)
{
    LZ_HANDLE(fence, LZ_FENCE);
    pthread_mutex_lock(&lz.lock);
    fence->signalled = fence->used = false;
    pthread_mutex_unlock(&lz.lock);
    return ZE_RESULT_SUCCESS;
}
