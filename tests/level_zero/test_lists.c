/// Proves: of the software driver: a recorded list keeps the arguments it was appended with, runs
/// as
///           often as it is executed, and can be reset; immediate lists run at once; events order
///           queues and carry times; what lies between barriers may run in any order; device memory
///           cannot be touched by the host, and nothing behind the end of any; wrong arguments give
///           the specification's errors.
/// Does not prove: the numbers of kernels (test_driver.c), faults (test_faults.c).
#include "tests/level_zero/fixture.h"

#include <stdio.h>
#include <unistd.h>

enum { N = 64, BYTES = N * sizeof(float) };

/// copy: N floats of one row.
static void set_copy(ze_kernel_handle_t kernel, float *from, float *to)
{
    OK(zeKernelSetGroupSize(kernel, N, 1, 1));
    SET(kernel, P(from), I(0), I(N), I(N), P(to), I(0), I(N));
}

static void count(float *x, int from)
{
    for (int i = 0; i < N; i++) {
        x[i] = (float)(from + i);
    }
}

static void a_list_keeps_its_arguments_and_runs_again(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    float *a = memory(&f, ZE_MEMORY_TYPE_SHARED, BYTES),
          *b = memory(&f, ZE_MEMORY_TYPE_HOST, BYTES);
    float *c = memory(&f, ZE_MEMORY_TYPE_SHARED, BYTES);
    ze_kernel_handle_t kernel = new_kernel(&f, "copy");
    ze_command_list_handle_t list = new_list(&f);
    set_copy(kernel, a, b);
    launch(list, kernel, 1, 1);
    OK(zeCommandListClose(list));
    set_copy(kernel, a, c); // after the append: no part of the list
    const ze_group_count_t groups = {1, 1, 1};
    assert_int_equal(zeCommandListAppendLaunchKernel(list, kernel, &groups, NULL, 0, NULL),
                     ZE_RESULT_ERROR_INVALID_ARGUMENT); // closed
    memset(c, 0, BYTES);
    for (int run = 0; run < 3; run++) {
        count(a, 100 * run);
        execute(&f, list);
        assert_memory_equal(a, b, BYTES);
        assert_true(c[5] == 0.0f);
    }
    OK(zeCommandListReset(list));
    assert_int_equal(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL),
                     ZE_RESULT_ERROR_INVALID_ARGUMENT); // open
    launch(list, kernel, 1, 1);
    OK(zeCommandListClose(list));
    memset(b, 0, BYTES);
    execute(&f, list);
    assert_memory_equal(a, c, BYTES);
    assert_true(b[5] == 0.0f);
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, a));
    OK(zeMemFree(f.context, b));
    OK(zeMemFree(f.context, c));
    close_all(&f);
}

static ze_event_pool_handle_t new_pool(const fixture *f, uint32_t n, ze_event_handle_t *events)
{
    const ze_event_pool_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_EVENT_POOL_DESC,
                                       .flags = ZE_EVENT_POOL_FLAG_HOST_VISIBLE |
                                                ZE_EVENT_POOL_FLAG_KERNEL_TIMESTAMP,
                                       .count = n};
    ze_event_pool_handle_t pool;
    OK(zeEventPoolCreate(f->context, &desc, 0, NULL, &pool));
    for (uint32_t i = 0; i < n; i++) {
        const ze_event_desc_t event = {.stype = ZE_STRUCTURE_TYPE_EVENT_DESC, .index = i};
        OK(zeEventCreate(pool, &event, &events[i]));
        assert_int_equal(zeEventQueryStatus(events[i]), ZE_RESULT_NOT_READY);
    }
    return pool;
}

static ze_command_list_handle_t new_immediate(const fixture *f, ze_command_queue_mode_t mode)
{
    const ze_command_queue_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
                                          .mode = mode};
    ze_command_list_handle_t list;
    OK(zeCommandListCreateImmediate(f->context, f->gpu, &desc, &list));
    return list;
}

static void immediate_lists_run_at_once_and_events_order_them(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    float *a = memory(&f, ZE_MEMORY_TYPE_SHARED, BYTES),
          *b = memory(&f, ZE_MEMORY_TYPE_DEVICE, BYTES);
    float c[N] = {0};
    ze_event_handle_t e[3];
    ze_event_pool_handle_t pool = new_pool(&f, 3, e);
    ze_command_list_handle_t first = new_immediate(&f, ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS),
                             second = new_immediate(&f, ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS),
                             waits = new_immediate(&f, ZE_COMMAND_QUEUE_MODE_SYNCHRONOUS);
    ze_kernel_handle_t kernel = new_kernel(&f, "copy");
    count(a, 7);
    set_copy(kernel, a, b);
    // The second queue is asked first, and waits for the first, which waits for the host.
    OK(zeCommandListAppendMemoryCopy(second, c, b, BYTES, e[2], 1, &e[1]));
    const ze_group_count_t groups = {1, 1, 1};
    OK(zeCommandListAppendLaunchKernel(first, kernel, &groups, e[1], 1, &e[0]));
    assert_int_equal(zeEventHostSynchronize(e[2], 1000000), ZE_RESULT_NOT_READY);
    assert_true(c[5] == 0.0f);
    OK(zeEventHostSignal(e[0]));
    OK(zeEventHostSynchronize(e[2], UINT64_MAX));
    assert_memory_equal(a, c, BYTES);
    memset(c, 0, BYTES);
    OK(zeCommandListAppendMemoryCopy(waits, c, b, BYTES, NULL, 0, NULL));
    assert_memory_equal(a, c, BYTES); // a synchronous list has ended when it returns
    OK(zeCommandListAppendEventReset(waits, e[2]));
    assert_int_equal(zeEventQueryStatus(e[2]), ZE_RESULT_NOT_READY);
    for (int i = 0; i < 3; i++) {
        OK(zeEventDestroy(e[i]));
    }
    OK(zeEventPoolDestroy(pool));
    OK(zeCommandListDestroy(first));
    OK(zeCommandListDestroy(second));
    OK(zeCommandListDestroy(waits));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, a));
    OK(zeMemFree(f.context, b));
    close_all(&f);
}

static void events_carry_the_times_of_kernels(void **state)
{
    (void)state;
    setenv("HSD_ZE_SLOW_MS", "20", 1);
    fixture f = {0};
    open_all(&f);
    unsetenv("HSD_ZE_SLOW_MS");
    float *a = memory(&f, ZE_MEMORY_TYPE_SHARED, BYTES),
          *b = memory(&f, ZE_MEMORY_TYPE_SHARED, BYTES);
    uint64_t *stamp = memory(&f, ZE_MEMORY_TYPE_HOST, sizeof *stamp), host, ticks;
    ze_event_handle_t e[2];
    ze_event_pool_handle_t pool = new_pool(&f, 2, e);
    ze_command_list_handle_t list = new_list(&f);
    ze_kernel_handle_t kernel = new_kernel(&f, "copy");
    const ze_group_count_t groups = {1, 1, 1};
    set_copy(kernel, a, b);
    OK(zeCommandListAppendLaunchKernel(list, kernel, &groups, e[0], 0, NULL));
    OK(zeCommandListAppendLaunchKernel(list, kernel, &groups, e[1], 1, &e[0]));
    OK(zeCommandListAppendWriteGlobalTimestamp(list, stamp, NULL, 0, NULL));
    OK(zeCommandListClose(list));
    execute(&f, list);
    ze_kernel_timestamp_result_t t[2];
    ze_device_properties_t about = {.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES};
    OK(zeDeviceGetProperties(f.gpu, &about));
    OK(zeDeviceGetGlobalTimestamps(f.gpu, &host, &ticks));
    const uint64_t mask = (1ull << about.kernelTimestampValidBits) - 1;
    for (int i = 0; i < 2; i++) {
        OK(zeEventQueryKernelTimestamp(e[i], &t[i]));
        uint64_t ns =
            ((t[i].context.kernelEnd - t[i].context.kernelStart) & mask) * about.timerResolution;
        assert_true(ns >= 20000000 - about.timerResolution);
    }
    assert_true(((t[1].global.kernelStart - t[0].global.kernelEnd) & mask) < mask / 2);
    assert_true(((ticks - *stamp) & mask) < mask / 2);
    for (int i = 0; i < 2; i++) {
        OK(zeEventDestroy(e[i]));
    }
    OK(zeEventPoolDestroy(pool));
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, a));
    OK(zeMemFree(f.context, b));
    OK(zeMemFree(f.context, stamp));
    close_all(&f);
}

/// Move a to b to c to d, with barriers or without; the value that arrived.
static float chain(const fixture *f, bool barriers)
{
    float *x[4], value;
    ze_command_list_handle_t list = new_list(f);
    for (int i = 0; i < 4; i++) {
        x[i] = memory(f, ZE_MEMORY_TYPE_SHARED, BYTES);
        count(x[i], i);
    }
    x[0][0] = 9.0f;
    for (int i = 0; i < 3; i++) {
        OK(zeCommandListAppendMemoryCopy(list, x[i + 1], x[i], BYTES, NULL, 0, NULL));
        if (barriers) {
            OK(zeCommandListAppendBarrier(list, NULL, 0, NULL));
        }
    }
    OK(zeCommandListClose(list));
    execute(f, list);
    value = x[3][0];
    OK(zeCommandListDestroy(list));
    for (int i = 0; i < 4; i++) {
        OK(zeMemFree(f->context, x[i]));
    }
    return value;
}

static void between_barriers_any_order_may_come(void **state)
{
    (void)state;
    int n_wrong = 0;
    for (int seed = 1; seed <= 8; seed++) {
        char text[8];
        snprintf(text, sizeof text, "%d", seed);
        setenv("HSD_ZE_SHUFFLE", text, 1);
        fixture f = {0};
        open_device(&f);
        f.queue = new_queue(&f);
        n_wrong += chain(&f, false) != 9.0f;
        assert_true(chain(&f, true) == 9.0f);
        close_all(&f);
    }
    unsetenv("HSD_ZE_SHUFFLE");
    assert_true(n_wrong > 0);
}

/// Whether the host may read there, asked of the kernel.
static bool readable(const void *p)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    bool good = write(ends[1], p, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return good;
}

static void memory_has_edges_and_the_devices_own_is_not_the_hosts(void **state)
{
    (void)state;
    fixture f = {0};
    open_device(&f);
    f.queue = new_queue(&f);
    char *host = memory(&f, ZE_MEMORY_TYPE_HOST, 128),
         *shared = memory(&f, ZE_MEMORY_TYPE_SHARED, 128);
    char *own = memory(&f, ZE_MEMORY_TYPE_DEVICE, 4096 * 3), back[300];
    assert_true(readable(host) && readable(host + 127) && !readable(host + 128));
    assert_true(readable(shared + 127) && !readable(shared + 128));
    assert_false(readable(own));
    ze_command_list_handle_t list = new_list(&f);
    const uint32_t pattern = 0x01020304;
    OK(zeCommandListAppendMemoryFill(list, own + 5000, &pattern, 4, 300, NULL, 0, NULL));
    OK(zeCommandListAppendBarrier(list, NULL, 0, NULL));
    OK(zeCommandListAppendMemoryCopy(list, back, own + 5000, 300, NULL, 0, NULL));
    OK(zeCommandListClose(list));
    execute(&f, list);
    assert_memory_equal(back + 296, &pattern, 4);
    ze_memory_allocation_properties_t about = {.stype =
                                                   ZE_STRUCTURE_TYPE_MEMORY_ALLOCATION_PROPERTIES};
    ze_device_handle_t device;
    OK(zeMemGetAllocProperties(f.context, own + 17, &about, &device));
    assert_int_equal(about.type, ZE_MEMORY_TYPE_DEVICE);
    assert_ptr_equal(device, f.gpu);
    OK(zeMemGetAllocProperties(f.context, back, &about, NULL));
    assert_int_equal(about.type, ZE_MEMORY_TYPE_UNKNOWN);
    OK(zeCommandListReset(list));
    assert_int_equal(
        zeCommandListAppendMemoryCopy(list, back, own + 4096 * 3 - 299, 300, NULL, 0, NULL),
        ZE_RESULT_ERROR_INVALID_ARGUMENT);
    assert_int_equal(zeCommandListAppendMemoryCopy(list, host, host + 10, 20, NULL, 0, NULL),
                     ZE_RESULT_ERROR_OVERLAPPING_REGIONS);
    OK(zeCommandListDestroy(list));
    OK(zeMemFree(f.context, host));
    OK(zeMemFree(f.context, shared));
    assert_int_equal(zeMemFree(f.context, own + 1), ZE_RESULT_ERROR_INVALID_ARGUMENT);
    OK(zeMemFree(f.context, own));
    close_all(&f);
}

static void wrong_arguments_of_kernels_are_refused(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    const ze_kernel_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = "none"};
    ze_kernel_handle_t kernel;
    float x = 0, *px = &x;
    int64_t wide = 1;
    int n = 1;
    assert_int_equal(zeKernelCreate(f.module, &desc, &kernel), ZE_RESULT_ERROR_INVALID_KERNEL_NAME);
    kernel = new_kernel(&f, "rms_norm");
    assert_int_equal(zeKernelSetGroupSize(kernel, 32, 1, 1),
                     ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION); // the source says 64
    assert_int_equal(zeKernelSetArgumentValue(kernel, 9, sizeof n, &n),
                     ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX);
    assert_int_equal(zeKernelSetArgumentValue(kernel, 1, sizeof wide, &wide),
                     ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE);
    assert_int_equal(zeKernelSetArgumentValue(kernel, 0, sizeof n, &n),
                     ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE);
    assert_int_equal(zeKernelSetArgumentValue(kernel, 0, sizeof px, &px),
                     ZE_RESULT_ERROR_INVALID_ARGUMENT); // the host's stack
    ze_command_list_handle_t list = new_list(&f);
    const ze_group_count_t groups = {1, 1, 1};
    assert_int_equal(zeCommandListAppendLaunchKernel(list, kernel, &groups, NULL, 0, NULL),
                     ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_INDEX); // nothing was set
    OK(zeKernelDestroy(kernel));
    kernel = new_kernel(&f, "copy");
    assert_int_equal(zeKernelSetGroupSize(kernel, 2048, 1, 1),
                     ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION);
    assert_int_equal(zeKernelSetGroupSize(kernel, 0, 1, 1),
                     ZE_RESULT_ERROR_INVALID_GROUP_SIZE_DIMENSION);
    assert_int_equal(zeModuleDestroy(f.module), ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE);
    OK(zeKernelDestroy(kernel));
    kernel = new_kernel(&f, "attn");
    assert_int_equal(zeKernelSetArgumentValue(kernel, 10, 64, &n), // local memory takes no value
                     ZE_RESULT_ERROR_INVALID_KERNEL_ARGUMENT_SIZE);
    OK(zeKernelDestroy(kernel));
    OK(zeCommandListDestroy(list));
    close_all(&f);
}

static void fences_end_with_their_submission(void **state)
{
    (void)state;
    fixture f = {0};
    open_device(&f);
    f.queue = new_queue(&f);
    const ze_fence_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_FENCE_DESC};
    ze_fence_handle_t fence;
    ze_event_handle_t e;
    ze_event_pool_handle_t pool = new_pool(&f, 1, &e);
    OK(zeFenceCreate(f.queue, &desc, &fence));
    ze_command_list_handle_t list = new_list(&f);
    OK(zeCommandListAppendWaitOnEvents(list, 1, &e));
    OK(zeCommandListClose(list));
    OK(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, fence));
    assert_int_equal(zeFenceHostSynchronize(fence, 1000000), ZE_RESULT_NOT_READY);
    assert_int_equal(zeCommandListReset(list), ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE);
    OK(zeEventHostSignal(e));
    OK(zeFenceHostSynchronize(fence, UINT64_MAX));
    OK(zeCommandQueueSynchronize(f.queue, UINT64_MAX));
    assert_int_equal(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, fence),
                     ZE_RESULT_ERROR_INVALID_SYNCHRONIZATION_OBJECT); // not reset
    OK(zeFenceReset(fence));
    assert_int_equal(zeFenceQueryStatus(fence), ZE_RESULT_NOT_READY);
    OK(zeFenceDestroy(fence));
    OK(zeCommandListDestroy(list));
    OK(zeEventDestroy(e));
    OK(zeEventPoolDestroy(pool));
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_keeps_its_arguments_and_runs_again),
        cmocka_unit_test(immediate_lists_run_at_once_and_events_order_them),
        cmocka_unit_test(events_carry_the_times_of_kernels),
        cmocka_unit_test(between_barriers_any_order_may_come),
        cmocka_unit_test(memory_has_edges_and_the_devices_own_is_not_the_hosts),
        cmocka_unit_test(wrong_arguments_of_kernels_are_refused),
        cmocka_unit_test(fences_end_with_their_submission),
    };
    return start_software_driver()
               ? cmocka_run_group_tests_name("level_zero_lists", tests, NULL, NULL)
               : 1;
}
