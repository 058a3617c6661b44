/// Command lists: recorded, or immediate ones with a queue of their own.
#include "driver.h"

#include <stdlib.h>
#include <string.h>

static void free_args(lz_arg *args, int n)
{
    for (int i = 0; i < n && args; i++) {
        free(args[i].large);
    }
    free(args);
}

void lz_command_free(lz_command *c)
{
    if (c->kernel) {
        free_args(c->args, c->kernel->entry->n_params);
    }
    free(c->waits);
    free(c->pattern);
    *c = (lz_command){0};
}

static ze_result_t take(ze_command_list_handle_t list, lz_command *c)
{
    if (list->own) {
        lz_command *one = malloc(sizeof *one);
        if (!one) {
            lz_command_free(c);
            return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
        }
        *one = *c;
        return lz_submit(list->own, NULL, 0, one, NULL);
    }
    if (list->n_commands == list->cap) {
        int cap = list->cap ? 2 * list->cap : 32;
        lz_command *more = realloc(list->commands, (size_t)cap * sizeof *more);
        if (!more) {
            lz_command_free(c);
            return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
        }
        list->commands = more;
        list->cap = cap;
    }
    list->commands[list->n_commands++] = *c;
    return ZE_RESULT_SUCCESS;
}

/// Check the events, then append the command, or submit it. Takes what the command owns.
static ze_result_t append(ze_command_list_handle_t list, lz_command *c, ze_event_handle_t signal,
                          uint32_t n_waits, ze_event_handle_t *waits)
{
    ze_result_t result = ZE_RESULT_SUCCESS;
    if (list->closed) {
        result = ZE_RESULT_ERROR_INVALID_ARGUMENT;
    } else if (signal && signal->kind != LZ_EVENT) {
        result = ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT;
    } else if (n_waits > 0 && !waits) {
        result = ZE_RESULT_ERROR_INVALID_SIZE;
    }
    for (uint32_t i = 0; i < n_waits && result == ZE_RESULT_SUCCESS; i++) {
        if (!waits[i] || waits[i]->kind != LZ_EVENT) {
            result = ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT;
        }
    }
    if (result == ZE_RESULT_SUCCESS && n_waits > 0) {
        c->waits = malloc(n_waits * sizeof(ze_event_handle_t));
        if (c->waits) {
            memcpy(c->waits, waits, n_waits * sizeof *waits);
        } else {
            result = ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
        }
    }
    if (result != ZE_RESULT_SUCCESS) {
        lz_command_free(c);
        return result;
    }
    c->n_waits = n_waits;
    c->ordered = c->ordered || n_waits > 0;
    c->signal = signal;
    return take(list, c);
}

static ze_result_t list_create(ze_context_handle_t context, ze_device_handle_t device,
                               uint32_t ordinal, ze_command_list_handle_t *out)
{
    ze_command_list_handle_t list = calloc(1, sizeof *list);
    if (!list) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    list->kind = LZ_LIST;
    list->context = context;
    list->device = device;
    list->ordinal = ordinal;
    lz_born(context, LZ_LIST);
    *out = list;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeCommandListCreate(ze_context_handle_t context, ze_device_handle_t device,
                                           const ze_command_list_desc_t *desc,
                                           ze_command_list_handle_t *out)
{
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    return desc->commandQueueGroupOrdinal > (device->npu ? 0u : 1u)
               ? ZE_RESULT_ERROR_INVALID_ARGUMENT
               : list_create(context, device, desc->commandQueueGroupOrdinal, out);
}

ze_result_t ZE_APICALL zeCommandListCreateImmediate(ze_context_handle_t context,
                                                    ze_device_handle_t device,
                                                    const ze_command_queue_desc_t *desc,
                                                    ze_command_list_handle_t *out)
{
    ze_command_queue_handle_t queue;
    LZ_HANDLE(context, LZ_CONTEXT);
    LZ_HANDLE(device, LZ_DEVICE);
    LZ_POINTER_ARG(desc);
    LZ_POINTER_ARG(out);
    ze_result_t result = lz_queue_create(context, device, desc, &queue);
    if (result != ZE_RESULT_SUCCESS) {
        return result;
    }
    result = list_create(context, device, desc->ordinal, out);
    if (result == ZE_RESULT_SUCCESS) {
        (*out)->own = queue;
    } else {
        lz_queue_destroy(queue);
    }
    return result;
}

/// Forget the commands, unless a submission still reads them.
static ze_result_t empty(ze_command_list_handle_t list)
{
    pthread_mutex_lock(&lz.lock);
    while (list->n_running > 0 && lz.lost) { // being dropped
        pthread_cond_wait(&lz.changed, &lz.lock);
    }
    bool running = list->n_running > 0;
    pthread_mutex_unlock(&lz.lock);
    if (running) {
        return ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE;
    }
    for (int i = 0; i < list->n_commands; i++) {
        lz_command_free(&list->commands[i]);
    }
    list->n_commands = 0;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeCommandListDestroy(ze_command_list_handle_t list)
{
    LZ_HANDLE(list, LZ_LIST);
    ze_result_t result = empty(list);
    if (result != ZE_RESULT_SUCCESS) {
        return result;
    }
    if (list->own) {
        lz_queue_destroy(list->own);
    }
    lz_died(list->context, LZ_LIST);
    free(list->commands);
    list->kind = 0;
    free(list);
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeCommandListClose(ze_command_list_handle_t list)
{
    LZ_HANDLE(list, LZ_LIST);
    if (list->own || list->closed) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    list->closed = true;
    return ZE_RESULT_SUCCESS;
}

ze_result_t ZE_APICALL zeCommandListReset(ze_command_list_handle_t list)
{
    LZ_HANDLE(list, LZ_LIST);
    ze_result_t result = list->own ? ZE_RESULT_ERROR_INVALID_ARGUMENT : empty(list);
    if (result == ZE_RESULT_SUCCESS) {
        list->closed = false;
    }
    return result;
}

/// The kernel's arguments as they are now. NULL: no memory.
static lz_arg *copy_args(const struct _ze_kernel_handle_t *kernel)
{
    int n = kernel->entry->n_params;
    lz_arg *args = calloc((size_t)n + 1, sizeof *args);
    for (int i = 0; i < n && args; i++) {
        args[i] = kernel->args[i];
        if (kernel->args[i].large) {
            args[i].large = malloc(args[i].size);
            if (!args[i].large) {
                free_args(args, i);
                return NULL;
            }
            memcpy(args[i].large, kernel->args[i].large, args[i].size);
        }
    }
    return args;
}

ze_result_t ZE_APICALL zeCommandListAppendLaunchKernel(ze_command_list_handle_t list,
                                                       ze_kernel_handle_t kernel,
                                                       const ze_group_count_t *groups,
                                                       ze_event_handle_t signal, uint32_t n_waits,
                                                       ze_event_handle_t *waits)
{
    LZ_HANDLE(list, LZ_LIST);
    LZ_HANDLE(kernel, LZ_KERNEL);
    LZ_POINTER_ARG(groups);
    const uint32_t count[3] = {groups->groupCountX, groups->groupCountY, groups->groupCountZ};
    lz_command c = {.op = LZ_OP_LAUNCH, .kernel = kernel};
    if (list->ordinal != 0) { // group 1 only copies
        return ZE_RESULT_ERROR_INVALID_COMMAND_LIST_TYPE;
    }
    for (int i = 0; i < 3; i++) {
        c.local[i] = kernel->group[i];
        c.global[i] = (size_t)kernel->group[i] * count[i];
        if (count[i] == 0 || count[i] > INT32_MAX) {
            return ZE_RESULT_ERROR_INVALID_ARGUMENT;
        }
    }
    for (int i = 0; i < kernel->entry->n_params; i++) {
        if (!kernel->args[i].set) {
            lz_say("%s: argument %d was never set", kernel->entry->name, i);
            return ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX;
        }
    }
    c.args = copy_args(kernel);
    return c.args ? append(list, &c, signal, n_waits, waits) : ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
}

/// Both ends of a copy lie in their memories.
static bool inside(const void *p, size_t n_bytes)
{
    pthread_mutex_lock(&lz.lock);
    bool good = lz_real(p, n_bytes, true) != NULL;
    pthread_mutex_unlock(&lz.lock);
    return good;
}

ze_result_t ZE_APICALL zeCommandListAppendMemoryCopy(ze_command_list_handle_t list, void *to,
                                                     const void *from, size_t size,
                                                     ze_event_handle_t signal, uint32_t n_waits,
                                                     ze_event_handle_t *waits)
{
    LZ_HANDLE(list, LZ_LIST);
    LZ_POINTER_ARG(to);
    LZ_POINTER_ARG(from);
    if (!inside(to, size) || !inside(from, size)) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    uintptr_t a = (uintptr_t)to, b = (uintptr_t)from;
    if ((a < b ? b - a : a - b) < size) {
        return ZE_RESULT_ERROR_OVERLAPPING_REGIONS;
    }
    lz_command c = {.op = LZ_OP_COPY, .to = to, .from = from, .n_bytes = size};
    return append(list, &c, signal, n_waits, waits);
}

ze_result_t ZE_APICALL zeCommandListAppendMemoryFill(ze_command_list_handle_t list, void *to,
                                                     const void *pattern, size_t n_pattern,
                                                     size_t size, ze_event_handle_t signal,
                                                     uint32_t n_waits, ze_event_handle_t *waits)
{
    LZ_HANDLE(list, LZ_LIST);
    LZ_POINTER_ARG(to);
    LZ_POINTER_ARG(pattern);
    if (n_pattern == 0 || n_pattern > 128 || (n_pattern & (n_pattern - 1)) ||
        size % n_pattern != 0) {
        return ZE_RESULT_ERROR_INVALID_SIZE;
    }
    if (!inside(to, size)) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    lz_command c = {.op = LZ_OP_FILL, .to = to, .n_bytes = size, .n_pattern = n_pattern};
    c.pattern = malloc(n_pattern);
    if (!c.pattern) {
        return ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY;
    }
    memcpy(c.pattern, pattern, n_pattern);
    return append(list, &c, signal, n_waits, waits);
}

ze_result_t ZE_APICALL zeCommandListAppendWriteGlobalTimestamp(ze_command_list_handle_t list,
                                                               uint64_t *to,
                                                               ze_event_handle_t signal,
                                                               uint32_t n_waits,
                                                               ze_event_handle_t *waits)
{
    LZ_HANDLE(list, LZ_LIST);
    LZ_POINTER_ARG(to);
    if (!inside(to, sizeof *to)) {
        return ZE_RESULT_ERROR_INVALID_ARGUMENT;
    }
    lz_command c = {.op = LZ_OP_TIME, .ordered = true, .to = to};
    return append(list, &c, signal, n_waits, waits);
}

ze_result_t ZE_APICALL zeCommandListAppendBarrier(ze_command_list_handle_t list,
                                                  ze_event_handle_t signal, uint32_t n_waits,
                                                  ze_event_handle_t *waits)
{
    LZ_HANDLE(list, LZ_LIST);
    lz_command c = {.op = LZ_OP_BARRIER, .ordered = true};
    return append(list, &c, signal, n_waits, waits);
}

ze_result_t ZE_APICALL zeCommandListAppendMemoryRangesBarrier(
    ze_command_list_handle_t list, uint32_t n, const size_t *sizes, const void **ranges,
    ze_event_handle_t signal, uint32_t n_waits, ze_event_handle_t *waits)
{
    (void)n;
    LZ_POINTER_ARG(sizes);
    LZ_POINTER_ARG(ranges);
    return zeCommandListAppendBarrier(list, signal, n_waits, waits);
}

ze_result_t ZE_APICALL zeCommandListAppendSignalEvent(ze_command_list_handle_t list,
                                                      ze_event_handle_t event)
{
    LZ_HANDLE(event, LZ_EVENT);
    return zeCommandListAppendBarrier(list, event, 0, NULL);
}

ze_result_t ZE_APICALL zeCommandListAppendWaitOnEvents(ze_command_list_handle_t list, uint32_t n,
                                                       ze_event_handle_t *events)
{
    LZ_POINTER_ARG(events);
    return zeCommandListAppendBarrier(list, NULL, n, events);
}

ze_result_t ZE_APICALL zeCommandListAppendEventReset(ze_command_list_handle_t list,
                                                     ze_event_handle_t event)
{
    LZ_HANDLE(list, LZ_LIST);
    LZ_HANDLE(event, LZ_EVENT);
    lz_command c = {.op = LZ_OP_RESET, .ordered = true, .reset = event};
    return append(list, &c, NULL, 0, NULL);
}
