/// Proves: every fault that the software driver can inject comes where it was asked for, with the
///           specification's code, and leaves a device that can be closed and opened again; torn
///           and foreign modules fail with the translator's words; leaks are said.
/// Does not prove: what the backend makes of them (tests/devices).
#include "tests/level_zero/fixture.h"

#include <stdio.h>
#include <unistd.h>

enum { N = 64, BYTES = N * sizeof(float) };

/// A context opened with one fault injected.
static fixture with(const char *name, const char *value, bool all)
{
    fixture f = {0};
    setenv(name, value, 1);
    if (all) {
        open_all(&f);
    } else {
        open_device(&f);
    }
    unsetenv(name);
    return f;
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    fixture f = with("HSD_ZE_OOM_AT", "2", false);
    void *a, *b;
    OK(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 100, &a));
    assert_int_equal(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 100, &b),
                     ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY);
    OK(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 100, &b));
    OK(zeMemFree(f.context, a));
    OK(zeMemFree(f.context, b));
    close_all(&f);
    f = with("HSD_ZE_OOM_AT", "1", false);
    assert_int_equal(allocate(&f, ZE_MEMORY_TYPE_HOST, 100, &b),
                     ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY);
    close_all(&f);
}

static void a_full_device_takes_no_more(void **state)
{
    (void)state;
    fixture f = with("HSD_ZE_MEMORY_MB", "2", false);
    void *a, *b;
    OK(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 3 << 19, &a));
    assert_int_equal(allocate(&f, ZE_MEMORY_TYPE_SHARED, 3 << 19, &b),
                     ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY);
    OK(zeMemFree(f.context, a));
    OK(allocate(&f, ZE_MEMORY_TYPE_SHARED, 3 << 19, &b));
    OK(zeMemFree(f.context, b));
    assert_int_equal(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 3 << 20, &b),
                     ZE_RESULT_ERROR_UNSUPPORTED_SIZE);
    close_all(&f);
}

/// A closed list that launches `copy` once.
static ze_command_list_handle_t copying(const fixture *f, ze_kernel_handle_t *kernel, float **x)
{
    ze_command_list_handle_t list = new_list(f);
    *kernel = new_kernel(f, "copy");
    *x = memory(f, ZE_MEMORY_TYPE_SHARED, 2 * BYTES);
    OK(zeKernelSetGroupSize(*kernel, N, 1, 1));
    SET(*kernel, P(*x), I(0), I(N), I(N), P(*x + N), I(0), I(N));
    launch(list, *kernel, 1, 1);
    OK(zeCommandListClose(list));
    return list;
}

static void device_lost(const char *name, bool at_submission)
{
    fixture f = with(name, "2", true);
    ze_kernel_handle_t kernel;
    float *x;
    void *p;
    ze_command_list_handle_t list = copying(&f, &kernel, &x);
    execute(&f, list);
    OK(zeDeviceGetStatus(f.gpu));
    assert_int_equal(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL),
                     at_submission ? ZE_RESULT_ERROR_DEVICE_LOST : ZE_RESULT_SUCCESS);
    assert_int_equal(zeCommandQueueSynchronize(f.queue, UINT64_MAX), ZE_RESULT_ERROR_DEVICE_LOST);
    // And ever after.
    assert_int_equal(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL),
                     ZE_RESULT_ERROR_DEVICE_LOST);
    assert_int_equal(zeDeviceGetStatus(f.gpu), ZE_RESULT_ERROR_DEVICE_LOST);
    assert_int_equal(allocate(&f, ZE_MEMORY_TYPE_DEVICE, 100, &p), ZE_RESULT_ERROR_DEVICE_LOST);
    OK(zeMemFree(f.context, x));
    OK(zeCommandListDestroy(list)); // no submission of a lost device keeps it
    OK(zeKernelDestroy(kernel));
    close_all(&f);
    open_device(&f); // a new context: well again
    OK(zeDeviceGetStatus(f.gpu));
    close_all(&f);
}

static void a_device_lost_stays_lost(void **state)
{
    (void)state;
    device_lost("HSD_ZE_LOST_SUBMIT_AT", true);
    device_lost("HSD_ZE_LOST_RUN_AT", false);
}

static void a_hung_kernel_never_ends_and_can_be_dropped(void **state)
{
    (void)state;
    fixture f = with("HSD_ZE_HANG_AT", "2", true);
    ze_kernel_handle_t kernel;
    float *x;
    ze_command_list_handle_t list = copying(&f, &kernel, &x);
    execute(&f, list);
    OK(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL));
    assert_int_equal(zeCommandQueueSynchronize(f.queue, 30000000), ZE_RESULT_NOT_READY);
    assert_int_equal(zeCommandListDestroy(list), ZE_RESULT_ERROR_HANDLE_OBJECT_IN_USE);
    OK(zeCommandQueueDestroy(f.queue));
    f.queue = NULL;
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, x));
    close_all(&f);
}

static void a_slow_kernel_ends_late_with_its_result(void **state)
{
    (void)state;
    setenv("HSD_ZE_SLOW_MS", "50", 1);
    fixture f = with("HSD_ZE_SLOW_AT", "1", true);
    unsetenv("HSD_ZE_SLOW_MS");
    ze_kernel_handle_t kernel;
    float *x;
    ze_command_list_handle_t list = copying(&f, &kernel, &x);
    x[5] = 3.0f;
    OK(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL));
    assert_int_equal(zeCommandQueueSynchronize(f.queue, 1000000), ZE_RESULT_NOT_READY);
    OK(zeCommandQueueSynchronize(f.queue, UINT64_MAX));
    assert_true(x[N + 5] == 3.0f);
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, x));
    close_all(&f);
}

static void load_fails(const fixture *f, const void *code, size_t n)
{
    ze_module_handle_t module;
    ze_module_build_log_handle_t log;
    char text[1000];
    size_t n_text = sizeof text;
    assert_int_equal(load(f, f->gpu, code, n, &module, &log), ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
    OK(zeModuleBuildLogGetString(log, &n_text, text));
    print_message("log: %s\n", text);
    assert_true(n_text > 10);
    OK(zeModuleBuildLogDestroy(log));
}

static void modules_that_do_not_build_have_a_log(void **state)
{
    (void)state;
    fixture f = with("HSD_ZE_FAIL_BUILD", "1", false);
    load_fails(&f, hsdi_opencl_spirv, hsdi_opencl_spirv_bytes); // injected
    close_all(&f);
    open_device(&f);
    static uint32_t code[1024];
    load_fails(&f, code, sizeof code); // no SPIR-V at all
    load_fails(&f, hsdi_opencl_spirv, 8);
    load_fails(&f, hsdi_opencl_spirv, hsdi_opencl_spirv_bytes - 3); // torn
    close_all(&f);
}

static void memory_freed_under_a_list_loses_the_device(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    ze_kernel_handle_t kernel;
    float *x;
    ze_command_list_handle_t list = copying(&f, &kernel, &x);
    OK(zeMemFree(f.context, x));
    OK(zeCommandQueueExecuteCommandLists(f.queue, 1, &list, NULL));
    assert_int_equal(zeCommandQueueSynchronize(f.queue, UINT64_MAX), ZE_RESULT_ERROR_DEVICE_LOST);
    OK(zeCommandQueueDestroy(f.queue));
    f.queue = NULL;
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    close_all(&f);
}

static void leaks_are_said(void **state)
{
    (void)state;
    fixture f = {0};
    char text[1000] = "";
    FILE *file = tmpfile();
    assert_non_null(file);
    open_device(&f);
    (void)memory(&f, ZE_MEMORY_TYPE_DEVICE, 1000);
    setenv("HSD_ZE_LEAKS", "1", 1);
    fflush(stderr);
    int old = dup(2);
    dup2(fileno(file), 2);
    ze_result_t result = zeContextDestroy(f.context);
    fflush(stderr);
    dup2(old, 2);
    close(old);
    setenv("HSD_ZE_LEAKS", "abort", 1);
    rewind(file);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    OK(result);
    assert_true(n > 0);
    assert_non_null(strstr(text, "leak: 1 allocations, 1000 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_allocation_fails),
        cmocka_unit_test(a_full_device_takes_no_more),
        cmocka_unit_test(a_device_lost_stays_lost),
        cmocka_unit_test(a_hung_kernel_never_ends_and_can_be_dropped),
        cmocka_unit_test(a_slow_kernel_ends_late_with_its_result),
        cmocka_unit_test(modules_that_do_not_build_have_a_log),
        cmocka_unit_test(memory_freed_under_a_list_loses_the_device),
        cmocka_unit_test(leaks_are_said),
    };
    return start_software_driver()
               ? cmocka_run_group_tests_name("level_zero_faults", tests, NULL, NULL)
               : 1;
}
