/// Kernels, and command lists that are recorded once and run many times.
///
/// A recorded list has a barrier behind every launch, so launches run in their order. It goes to
/// one queue with a fence; while times are taken, each launch signals an event of its own.
#include "devices/level_zero/context.h"
#include "kernels/opencl/source.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_CHARS = 32, CHUNK = 64 };

typedef struct ze_kernel {
    ze_kernel_handle_t handle;
    int group; ///< work-items, as set last
    char name[NAME_CHARS];
} ze_kernel;

/// Events with timestamps for some of a record's launches.
typedef struct ze_times {
    struct ze_times *next; ///< owned; later launches
    ze_event_pool_handle_t pool;
    int n;
    ze_event_handle_t events[CHUNK];
    const ze_kernel *kernels[CHUNK]; ///< borrowed from the graph, which owns the record as well
} ze_times;

typedef struct hsdi_ze_record {
    ze_command_list_handle_t list;
    bool closed;
    ze_times *first, *last; ///< NULL: no times are taken
} hsdi_ze_record;

static hsdi_ze_device *ze_of(hsdi_launch_device *device)
{
    return (hsdi_ze_device *)device;
}

// ---- kernels ----

static void kernel_destroy(hsdi_launch_device *device, hsdi_launch_kernel *kernel)
{
    hsdi_ze_device *ze = ze_of(device);
    ze_kernel *k = (ze_kernel *)kernel;
    if (k && k->handle && !atomic_load(&ze->launch.hung)) {
        (void)ze->api->KernelDestroy(k->handle);
    }
    free(k);
}

static hsd_status set_group(hsdi_ze_device *ze, ze_kernel *k, int group, hsd_error *err)
{
    if (k->group == group) {
        return HSD_OK;
    }
    ze_result_t code = ze->api->KernelSetGroupSize(k->handle, (uint32_t)group, 1, 1);
    k->group = code == ZE_RESULT_SUCCESS ? group : 0;
    return hsdi_ze_done(ze, "zeKernelSetGroupSize", code, err);
}

static hsd_status kernel_create(hsdi_launch_device *device, const char *name, const char *defines,
                                hsdi_launch_kernel **out, hsd_error *err)
{
    (void)defines; // what there is was built with hsd
    hsdi_ze_device *ze = ze_of(device);
    const ze_kernel_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = name};
    ze_kernel *k = calloc(1, sizeof *k);
    *out = NULL;
    if (!k) {
        return hsdi_fail(err, HSD_ENOMEM, "kernel", "%s", name);
    }
    snprintf(k->name, sizeof k->name, "%s", name);
    ze_result_t code = ze->api->KernelCreate(ze->module, &desc, &k->handle);
    k->handle = code == ZE_RESULT_SUCCESS ? k->handle : NULL;
    hsd_status status = hsdi_ze_done(ze, "zeKernelCreate", code, err);
    if (status == HSD_OK) {
        status = set_group(ze, k, HSDI_OPENCL_GROUP, err);
    }
    if (status != HSD_OK) {
        kernel_destroy(device, (hsdi_launch_kernel *)k);
        return status;
    }
    *out = (hsdi_launch_kernel *)k;
    return HSD_OK;
}

static hsd_status kernel_set(hsdi_launch_device *device, hsdi_launch_kernel *kernel, unsigned index,
                             size_t size_bytes, const void *value, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    return hsdi_ze_done(
        ze, "zeKernelSetArgumentValue",
        ze->api->KernelSetArgumentValue(((ze_kernel *)kernel)->handle, index, size_bytes, value),
        err);
}

// ---- times ----

static void times_destroy(hsdi_ze_device *ze, hsdi_ze_record *record)
{
    ze_times *next;
    for (ze_times *t = record->first; t; t = next) {
        next = t->next;
        for (int i = 0; i < t->n; i++) {
            (void)ze->api->EventDestroy(t->events[i]);
        }
        if (t->pool) {
            (void)ze->api->EventPoolDestroy(t->pool);
        }
        free(t);
    }
    record->first = record->last = NULL;
}

static hsd_status times_grow(hsdi_ze_device *ze, hsdi_ze_record *record, hsd_error *err)
{
    const ze_event_pool_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC,
                                       .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE |
                                                ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP,
                                       .count = CHUNK};
    ze_times *t = calloc(1, sizeof *t);
    if (!t) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "%d events", (int)CHUNK);
    }
    *(record->last ? &record->last->next : &record->first) = t;
    record->last = t;
    ze_result_t code = ze->api->EventPoolCreate(ze->context, &desc, 1, &ze->id, &t->pool);
    t->pool = code == ZE_RESULT_SUCCESS ? t->pool : NULL;
    return hsdi_ze_done(ze, "zeEventPoolCreate", code, err);
}

/// The event of the next launch of a record that takes times.
static hsd_status times_add(hsdi_ze_device *ze, hsdi_ze_record *record, const ze_kernel *kernel,
                            ze_event_handle_t *out, hsd_error *err)
{
    hsd_status status = HSD_OK;
    if (!record->last || record->last->n == CHUNK) {
        status = times_grow(ze, record, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    ze_times *t = record->last;
    const ze_event_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_EVENT_DESC,
                                  .index = (uint32_t)t->n,
                                  .wait = ZE_EVENT_SCOPE_FLAG_HOST};
    ze_result_t code = ze->api->EventCreate(t->pool, &desc, &t->events[t->n]);
    if (code == ZE_RESULT_SUCCESS) {
        *out = t->events[t->n];
        t->kernels[t->n++] = kernel;
    }
    return hsdi_ze_done(ze, "zeEventCreate", code, err);
}

static hsd_status times_read(hsdi_ze_device *ze, const hsdi_ze_record *record, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (const ze_times *t = record->first; t; t = t->next) {
        for (int i = 0; i < t->n && status == HSD_OK; i++) {
            ze_kernel_timestamp_result_t result = {0};
            ze_result_t code = ze->api->EventQueryKernelTimestamp(t->events[i], &result);
            status = hsdi_ze_done(ze, "zeEventQueryKernelTimestamp", code, err);
            if (status == HSD_OK) {
                uint64_t ticks = (result.global.kernelEnd - result.global.kernelStart) &
                                 ze->tick_mask; // the clock may have wrapped
                hsdi_launch_timed(&ze->launch, t->kernels[i]->name, (int64_t)(ticks * ze->tick_ns));
                code = ze->api->EventHostReset(t->events[i]);
                status = hsdi_ze_done(ze, "zeEventHostReset", code, err);
            }
        }
    }
    return status;
}

// ---- records ----

static void record_destroy(hsdi_launch_device *device, hsdi_launch_record *record)
{
    hsdi_ze_device *ze = ze_of(device);
    hsdi_ze_record *r = (hsdi_ze_record *)record;
    if (!r) {
        return;
    }
    if (!atomic_load(&ze->launch.hung)) {
        if (r->list) {
            (void)ze->api->CommandListDestroy(r->list);
        }
        times_destroy(ze, r);
    }
    free(r);
}

static hsd_status record_new(hsdi_ze_device *ze, hsdi_ze_record **out, hsd_error *err)
{
    const ze_command_list_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC,
                                         .commandQueueGroupOrdinal = ze->ordinal};
    hsdi_ze_record *r = calloc(1, sizeof *r);
    if (!r) {
        return hsdi_fail(err, HSD_ENOMEM, "graph", "command list");
    }
    ze_result_t code = ze->api->CommandListCreate(ze->context, ze->id, &desc, &r->list);
    if (code != ZE_RESULT_SUCCESS) {
        free(r);
        return hsdi_ze_done(ze, "zeCommandListCreate", code, err);
    }
    *out = r;
    return HSD_OK;
}

static hsd_status record(hsdi_launch_device *device, hsdi_launch_record **out, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    hsdi_ze_record *r = (hsdi_ze_record *)*out;
    hsd_status status = hsdi_ze_alive(ze, err);
    if (status == HSD_OK && !r) {
        status = record_new(ze, &r, err);
        *out = (hsdi_launch_record *)r;
    } else if (status == HSD_OK) {
        status = hsdi_ze_done(ze, "zeCommandListReset", ze->api->CommandListReset(r->list), err);
        times_destroy(ze, r);
        r->closed = false;
    }
    ze->recording = r;
    return status;
}

static hsd_status start(hsdi_launch_device *device, hsdi_launch_kernel *kernel, size_t width,
                        int height, int group, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    ze_kernel *k = (ze_kernel *)kernel;
    ze_command_list_handle_t list = ze->recording->list;
    ze_event_handle_t event = NULL;
    const ze_group_count_t groups = {(uint32_t)(width / (size_t)group), (uint32_t)height, 1};
    hsd_status status = set_group(ze, k, group, err);
    if (status == HSD_OK && device->profiles) {
        status = times_add(ze, ze->recording, k, &event, err);
    }
    if (status == HSD_OK) {
        status = hsdi_ze_done(
            ze, "zeCommandListAppendLaunchKernel",
            ze->api->CommandListAppendLaunchKernel(list, k->handle, &groups, event, 0, NULL), err);
    }
    return status == HSD_OK
               ? hsdi_ze_done(ze, "zeCommandListAppendBarrier",
                              ze->api->CommandListAppendBarrier(list, NULL, 0, NULL), err)
               : status;
}

static hsd_status replay(hsdi_launch_device *device, hsdi_launch_record *record, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    hsdi_ze_record *r = (hsdi_ze_record *)record;
    hsd_status status = hsdi_ze_mover_wait(ze, &ze->moves, err);
    if (status == HSD_OK) {
        status = hsdi_ze_alive(ze, err);
    }
    if (status == HSD_OK && !r->closed) {
        status = hsdi_ze_done(ze, "zeCommandListClose", ze->api->CommandListClose(r->list), err);
        r->closed = status == HSD_OK;
    }
    if (status == HSD_OK) {
        status = hsdi_ze_done(
            ze, "zeCommandQueueExecuteCommandLists",
            ze->api->CommandQueueExecuteCommandLists(ze->queue, 1, &r->list, ze->fence), err);
    }
    ze->running = status == HSD_OK ? r : NULL;
    return status;
}

/// Wait for the launches that run, if any do.
static hsd_status wait(hsdi_ze_device *ze, hsd_error *err)
{
    const hsdi_ze_record *r = ze->running;
    ze->running = NULL;
    if (!r) {
        return HSD_OK;
    }
    hsd_status status =
        hsdi_ze_waited(ze, "zeFenceHostSynchronize",
                       ze->api->FenceHostSynchronize(ze->fence, ze->launch.timeout_ns), err);
    if (status == HSD_OK) {
        status = hsdi_ze_done(ze, "zeFenceReset", ze->api->FenceReset(ze->fence), err);
    }
    return status == HSD_OK ? times_read(ze, r, err) : status;
}

// ---- transfers ----

static hsd_status send(hsdi_launch_device *device, hsdi_launch_memory *to, size_t at,
                       size_t size_bytes, const void *from, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    hsd_status status = wait(ze, err);
    return status == HSD_OK ? hsdi_ze_move(ze, &ze->moves, (char *)to + at, from, size_bytes, err)
                            : status;
}

static hsd_status fetch(hsdi_launch_device *device, hsdi_launch_memory *from, size_t at,
                        size_t size_bytes, void *to, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    hsd_status status = wait(ze, err);
    return status == HSD_OK
               ? hsdi_ze_move(ze, &ze->moves, to, (const char *)from + at, size_bytes, err)
               : status;
}

static hsd_status finish(hsdi_launch_device *device, hsd_error *err)
{
    hsdi_ze_device *ze = ze_of(device);
    hsd_status ran = wait(ze, err);
    hsd_status moved = hsdi_ze_mover_wait(ze, &ze->moves, ran == HSD_OK ? err : NULL);
    return ran == HSD_OK ? moved : ran;
}

const hsdi_launch_driver hsdi_ze_driver = {
    .memory_create = hsdi_ze_memory_create,
    .memory_destroy = hsdi_ze_memory_destroy,
    .send = send,
    .fetch = fetch,
    .kernel_create = kernel_create,
    .kernel_destroy = kernel_destroy,
    .kernel_set = kernel_set,
    .start = start,
    .finish = finish,
    .host_create = hsdi_ze_host_create,
    .record = record,
    .replay = replay,
    .record_destroy = record_destroy,
};
