/// What the tests of the driver share: a context with the real kernels, and calls in one line.
#ifndef TESTS_LEVEL_ZERO_FIXTURE_H
#define TESTS_LEVEL_ZERO_FIXTURE_H

#include "kernels/opencl/source.h"
#include "tests/level_zero.h"

#include <level_zero/ze_api.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/// zeInit with the software driver; what is left at a context's end aborts.
static inline bool start_software_driver(void)
{
    use_software_driver();
    setenv("HSD_ZE_LEAKS", "abort", 1);
    ze_result_t result = zeInit(0);
    if (result != ZE_RESULT_SUCCESS) {
        print_error("zeInit: 0x%x\n", (unsigned)result);
    }
    return result == ZE_RESULT_SUCCESS;
}

#define OK(call) assert_int_equal((call), ZE_RESULT_SUCCESS)

typedef struct fixture {
    ze_driver_handle_t driver;
    ze_device_handle_t gpu, npu;
    ze_context_handle_t context;
    ze_module_handle_t module;
    ze_command_queue_handle_t queue;
} fixture;

static inline void open_device(fixture *f)
{
    const ze_context_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC};
    ze_device_handle_t devices[2];
    uint32_t n_drivers = 1, n_devices = 2;
    OK(zeDriverGet(&n_drivers, &f->driver));
    OK(zeDeviceGet(f->driver, &n_devices, devices));
    assert_int_equal(n_devices, 2);
    f->gpu = devices[0];
    f->npu = devices[1];
    OK(zeContextCreate(f->driver, &desc, &f->context));
}

static inline ze_result_t load(const fixture *f, ze_device_handle_t device, const void *code,
                               size_t n, ze_module_handle_t *out, ze_module_build_log_handle_t *log)
{
    const ze_module_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_MODULE_DESC,
                                   .format = ZE_MODULE_FORMAT_IL_SPIRV,
                                   .inputSize = n,
                                   .pInputModule = code};
    return zeModuleCreate(f->context, device, &desc, out, log);
}

static inline ze_command_queue_handle_t new_queue(const fixture *f)
{
    const ze_command_queue_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_COMMAND_QUEUE_DESC,
                                          .mode = ZE_COMMAND_QUEUE_MODE_ASYNCHRONOUS};
    ze_command_queue_handle_t queue;
    OK(zeCommandQueueCreate(f->context, f->gpu, &desc, &queue));
    return queue;
}

/// Context, kernels, queue.
static inline void open_all(fixture *f)
{
    ze_module_build_log_handle_t log = NULL;
    char text[2000] = "";
    size_t n = sizeof text;
    open_device(f);
    ze_result_t result =
        load(f, f->gpu, hsdi_opencl_spirv, hsdi_opencl_spirv_bytes, &f->module, &log);
    if (result == ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE && !getenv("HSD_TEST_OPENCL")) {
        OK(zeContextDestroy(f->context));
        print_message("skipped: no PoCL\n");
        skip();
    }
    if (log) {
        OK(zeModuleBuildLogGetString(log, &n, text));
        OK(zeModuleBuildLogDestroy(log));
    }
    if (result != ZE_RESULT_SUCCESS) {
        fail_msg("zeModuleCreate: 0x%x: %s", (unsigned)result, text);
    }
    f->queue = new_queue(f);
}

static inline void close_all(fixture *f)
{
    if (f->queue) {
        OK(zeCommandQueueDestroy(f->queue));
    }
    if (f->module) {
        OK(zeModuleDestroy(f->module));
    }
    OK(zeContextDestroy(f->context));
    *f = (fixture){0};
}

static inline ze_result_t allocate(const fixture *f, ze_memory_type_t type, size_t size, void **out)
{
    const ze_device_mem_alloc_desc_t device = {.stype = ZE_STRUCTURE_TYPE_DEVICE_MEM_ALLOC_DESC};
    const ze_host_mem_alloc_desc_t host = {.stype = ZE_STRUCTURE_TYPE_HOST_MEM_ALLOC_DESC};
    return type == ZE_MEMORY_TYPE_DEVICE
               ? zeMemAllocDevice(f->context, &device, size, 64, f->gpu, out)
           : type == ZE_MEMORY_TYPE_HOST
               ? zeMemAllocHost(f->context, &host, size, 64, out)
               : zeMemAllocShared(f->context, &device, &host, size, 64, f->gpu, out);
}

static inline void *memory(const fixture *f, ze_memory_type_t type, size_t size)
{
    void *p = NULL;
    OK(allocate(f, type, size, &p));
    return p;
}

static inline ze_command_list_handle_t new_list(const fixture *f)
{
    const ze_command_list_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_COMMAND_LIST_DESC};
    ze_command_list_handle_t list;
    OK(zeCommandListCreate(f->context, f->gpu, &desc, &list));
    return list;
}

static inline void execute(const fixture *f, ze_command_list_handle_t list)
{
    OK(zeCommandQueueExecuteCommandLists(f->queue, 1, &list, NULL));
    OK(zeCommandQueueSynchronize(f->queue, UINT64_MAX));
}

static inline ze_kernel_handle_t new_kernel(const fixture *f, const char *name)
{
    const ze_kernel_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_KERNEL_DESC, .pKernelName = name};
    ze_kernel_handle_t kernel;
    OK(zeKernelCreate(f->module, &desc, &kernel));
    return kernel;
}

/// An argument: memory, an int, local memory.
typedef struct arg {
    char what; ///< 'p', 'i', 'f', 'u' (ulong), 'l'
    void *p;
    int64_t i;
    float f;
} arg;

#define P(pointer) ((arg){.what = 'p', .p = (pointer)})
#define I(value) ((arg){.what = 'i', .i = (value)})
#define U(value) ((arg){.what = 'u', .i = (int64_t)(value)})
#define F(value) ((arg){.what = 'f', .f = (value)})
#define L(bytes) ((arg){.what = 'l', .i = (int64_t)(bytes)})

static inline void set_args(ze_kernel_handle_t kernel, int n, const arg *args)
{
    for (int k = 0; k < n; k++) {
        const arg *a = &args[k];
        uint32_t at = (uint32_t)k;
        int value = (int)a->i;
        switch (a->what) {
        case 'p':
            OK(zeKernelSetArgumentValue(kernel, at, sizeof a->p, &a->p));
            break;
        case 'u':
            OK(zeKernelSetArgumentValue(kernel, at, sizeof a->i, &a->i));
            break;
        case 'f':
            OK(zeKernelSetArgumentValue(kernel, at, sizeof a->f, &a->f));
            break;
        case 'l':
            OK(zeKernelSetArgumentValue(kernel, at, (size_t)a->i, NULL));
            break;
        default:
            OK(zeKernelSetArgumentValue(kernel, at, sizeof value, &value));
        }
    }
}

#define SET(kernel, ...)                                                                           \
    set_args(kernel, (int)(sizeof((arg[]){__VA_ARGS__}) / sizeof(arg)), (const arg[]){__VA_ARGS__})

static inline void launch(ze_command_list_handle_t list, ze_kernel_handle_t kernel, uint32_t x,
                          uint32_t y)
{
    const ze_group_count_t groups = {x, y, 1};
    OK(zeCommandListAppendLaunchKernel(list, kernel, &groups, NULL, 0, NULL));
}

#endif
