/// See layer.h. Not part of the product: the loader puts it between a test and a real driver.
#define CL_TARGET_OPENCL_VERSION 120
#include "tests/opencl_faults/layer.h"

#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_CALLS = 14, HUNG_MAX = 64 };

static const char *const names[N_CALLS] = {"clCreateContext",
                                           "clCreateCommandQueue",
                                           "clCreateBuffer",
                                           "clBuildProgram",
                                           "clCreateKernel",
                                           "clSetKernelArg",
                                           "clEnqueueNDRangeKernel",
                                           "clEnqueueReadBuffer",
                                           "clEnqueueWriteBuffer",
                                           "clEnqueueMarkerWithWaitList",
                                           "clFlush",
                                           "clEnqueueMapBuffer",
                                           "clEnqueueUnmapMemObject",
                                           "clGetDeviceIDs"};

static cl_icd_dispatch below, mine;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards what follows
static hsd_fault_plan plan;
static int counts[N_CALLS], n_faults, n_hung, n_mapped;
static long long n_map_bytes;
static bool is_lost;
static cl_event hung[HUNG_MAX];

static int index_of(const char *call)
{
    int i = 0;
    while (i < N_CALLS && strcmp(names[i], call) != 0) {
        i++;
    }
    return i;
}

/// Whether this call is to fail, and how.
static bool fails(const char *call, hsd_fault_kind *kind, cl_int *code)
{
    pthread_mutex_lock(&lock);
    int n = ++counts[index_of(call)];
    bool is_now = plan.call && strcmp(plan.call, call) == 0 && n == plan.at;
    is_lost |= is_now && plan.kind == HSD_FAULT_LOST;
    bool result = is_now || is_lost;
    n_faults += result;
    *kind = is_lost ? HSD_FAULT_LOST : plan.kind;
    *code = plan.code;
    pthread_mutex_unlock(&lock);
    if (is_now && *kind == HSD_FAULT_ABORT) {
        abort();
    }
    while (is_now && *kind == HSD_FAULT_STOP) {
        pause();
    }
    return result;
}

/// The plan of the environment, whose text stays there.
static void plan_from_environment(void)
{
    const char *text = getenv("HSD_TEST_CL_FAULT");
    for (int i = 0; text && i < N_CALLS; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(text, names[i], n) == 0 && text[n] == ' ') {
            plan = (hsd_fault_plan){names[i], 1, HSD_FAULT_ABORT, CL_OUT_OF_RESOURCES};
            plan.kind = strcmp(text + n, " stop") == 0 ? HSD_FAULT_STOP : HSD_FAULT_ABORT;
        }
    }
}

static bool fails_with(const char *call, cl_int *code)
{
    hsd_fault_kind kind;
    return fails(call, &kind, code) && kind != HSD_FAULT_HANG;
}

// The loader's own headers declare these types only by the dispatch table.

static cl_int CL_API_CALL list(cl_platform_id platform, cl_device_type type, cl_uint n,
                               cl_device_id *devices, cl_uint *n_out)
{
    cl_int fault;
    return fails_with("clGetDeviceIDs", &fault)
               ? fault
               : below.clGetDeviceIDs(platform, type, n, devices, n_out);
}

static cl_context CL_API_CALL create_context(
    const cl_context_properties *properties, cl_uint n, const cl_device_id *devices,
    void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user, cl_int *code)
{
    cl_int fault;
    if (fails_with("clCreateContext", &fault)) {
        *code = fault;
        return NULL;
    }
    return below.clCreateContext(properties, n, devices, notify, user, code);
}

static cl_command_queue CL_API_CALL create_queue(cl_context context, cl_device_id device,
                                                 cl_command_queue_properties properties,
                                                 cl_int *code)
{
    cl_int fault;
    if (fails_with("clCreateCommandQueue", &fault)) {
        *code = fault;
        return NULL;
    }
    return below.clCreateCommandQueue(context, device, properties, code);
}

static cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t size,
                                        void *host, cl_int *code)
{
    cl_int fault;
    if (fails_with("clCreateBuffer", &fault)) {
        *code = fault;
        return NULL;
    }
    return below.clCreateBuffer(context, flags, size, host, code);
}

static cl_int CL_API_CALL build_program(cl_program program, cl_uint n, const cl_device_id *devices,
                                        const char *options,
                                        void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    cl_int fault;
    if (fails_with("clBuildProgram", &fault)) {
        return fault;
    }
    return below.clBuildProgram(program, n, devices, options, notify, user);
}

static cl_kernel CL_API_CALL create_kernel(cl_program program, const char *name, cl_int *code)
{
    cl_int fault;
    if (fails_with("clCreateKernel", &fault)) {
        *code = fault;
        return NULL;
    }
    return below.clCreateKernel(program, name, code);
}

static cl_int CL_API_CALL set_arg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    cl_int fault;
    return fails_with("clSetKernelArg", &fault) ? fault
                                                : below.clSetKernelArg(kernel, index, size, value);
}

/// A command that waits for ever makes everything behind it in the queue wait too.
static void hang(cl_command_queue queue)
{
    cl_context context = NULL;
    cl_int code = CL_SUCCESS;
    if (below.clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL) ==
        CL_SUCCESS) {
        cl_event event = below.clCreateUserEvent(context, &code);
        if (code == CL_SUCCESS) {
            (void)below.clEnqueueBarrierWithWaitList(queue, 1, &event, NULL);
            pthread_mutex_lock(&lock);
            hung[n_hung < HUNG_MAX ? n_hung++ : 0] = event;
            pthread_mutex_unlock(&lock);
        }
    }
}

static cl_int CL_API_CALL start(cl_command_queue queue, cl_kernel kernel, cl_uint n_dims,
                                const size_t *offset, const size_t *global, const size_t *local,
                                cl_uint n, const cl_event *list, cl_event *event)
{
    cl_int fault;
    hsd_fault_kind kind;
    if (fails("clEnqueueNDRangeKernel", &kind, &fault)) {
        if (kind != HSD_FAULT_HANG) {
            return fault;
        }
        hang(queue);
    }
    return below.clEnqueueNDRangeKernel(queue, kernel, n_dims, offset, global, local, n, list,
                                        event);
}

static cl_int CL_API_CALL fetch(cl_command_queue queue, cl_mem from, cl_bool blocks, size_t at,
                                size_t size, void *to, cl_uint n, const cl_event *list,
                                cl_event *event)
{
    cl_int fault;
    return fails_with("clEnqueueReadBuffer", &fault)
               ? fault
               : below.clEnqueueReadBuffer(queue, from, blocks, at, size, to, n, list, event);
}

static cl_int CL_API_CALL send(cl_command_queue queue, cl_mem to, cl_bool blocks, size_t at,
                               size_t size, const void *from, cl_uint n, const cl_event *list,
                               cl_event *event)
{
    cl_int fault;
    return fails_with("clEnqueueWriteBuffer", &fault)
               ? fault
               : below.clEnqueueWriteBuffer(queue, to, blocks, at, size, from, n, list, event);
}

static void count_map(int n, long long n_bytes)
{
    pthread_mutex_lock(&lock);
    n_mapped += n;
    n_map_bytes += n_bytes;
    pthread_mutex_unlock(&lock);
}

static void *CL_API_CALL map(cl_command_queue queue, cl_mem memory, cl_bool blocks,
                             cl_map_flags flags, size_t at, size_t size, cl_uint n,
                             const cl_event *list, cl_event *event, cl_int *code)
{
    cl_int fault;
    if (fails_with("clEnqueueMapBuffer", &fault)) {
        *code = fault;
        return NULL;
    }
    void *got =
        below.clEnqueueMapBuffer(queue, memory, blocks, flags, at, size, n, list, event, code);
    count_map(got ? 1 : 0, got ? (long long)size : 0);
    return got;
}

static cl_int CL_API_CALL unmap(cl_command_queue queue, cl_mem memory, void *at, cl_uint n,
                                const cl_event *list, cl_event *event)
{
    cl_int fault;
    if (fails_with("clEnqueueUnmapMemObject", &fault)) {
        return fault;
    }
    cl_int code = below.clEnqueueUnmapMemObject(queue, memory, at, n, list, event);
    count_map(code == CL_SUCCESS ? -1 : 0, 0);
    return code;
}

static cl_int CL_API_CALL mark(cl_command_queue queue, cl_uint n, const cl_event *list,
                               cl_event *event)
{
    cl_int fault;
    return fails_with("clEnqueueMarkerWithWaitList", &fault)
               ? fault
               : below.clEnqueueMarkerWithWaitList(queue, n, list, event);
}

static cl_int CL_API_CALL flush(cl_command_queue queue)
{
    cl_int fault;
    return fails_with("clFlush", &fault) ? fault : below.clFlush(queue);
}

// ---- control ----

static void set(const hsd_fault_plan *next)
{
    pthread_mutex_lock(&lock);
    plan = *next;
    memset(counts, 0, sizeof counts);
    n_faults = n_mapped = 0;
    n_map_bytes = 0;
    is_lost = false;
    pthread_mutex_unlock(&lock);
}

static int calls_of(const char *call)
{
    int i = index_of(call);
    pthread_mutex_lock(&lock);
    int n = i < N_CALLS ? counts[i] : 0;
    pthread_mutex_unlock(&lock);
    return n;
}

static int faults(void)
{
    pthread_mutex_lock(&lock);
    int n = n_faults;
    pthread_mutex_unlock(&lock);
    return n;
}

static int mapped(void)
{
    pthread_mutex_lock(&lock);
    int n = n_mapped;
    pthread_mutex_unlock(&lock);
    return n;
}

static long long map_bytes(void)
{
    pthread_mutex_lock(&lock);
    long long n = n_map_bytes;
    pthread_mutex_unlock(&lock);
    return n;
}

static void release(void)
{
    pthread_mutex_lock(&lock);
    int n = n_hung;
    n_hung = 0;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < n; i++) {
        (void)below.clSetUserEventStatus(hung[i], CL_COMPLETE);
        (void)below.clReleaseEvent(hung[i]);
    }
}

__attribute__((visibility("default"))) extern const hsd_fault_control hsd_opencl_fault_control;
const hsd_fault_control hsd_opencl_fault_control = {.set = set,
                                                    .n_calls = calls_of,
                                                    .n_faults = faults,
                                                    .release = release,
                                                    .n_mapped = mapped,
                                                    .n_map_bytes = map_bytes};

__attribute__((visibility("default"))) cl_int CL_API_CALL clGetLayerInfo(cl_layer_info name,
                                                                         size_t size, void *value,
                                                                         size_t *size_out)
{
    static const char title[] = "hsd faults";
    const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    const void *from = name == CL_LAYER_API_VERSION ? (const void *)&version : (const void *)title;
    size_t n = name == CL_LAYER_API_VERSION ? sizeof version : sizeof title;
    if (name != CL_LAYER_API_VERSION && name != CL_LAYER_NAME) {
        return CL_INVALID_VALUE;
    }
    if (value && size < n) {
        return CL_INVALID_VALUE;
    }
    if (value) {
        memcpy(value, from, n);
    }
    if (size_out) {
        *size_out = n;
    }
    return CL_SUCCESS;
}

__attribute__((visibility("default"))) cl_int CL_API_CALL clInitLayer(cl_uint n,
                                                                      const cl_icd_dispatch *target,
                                                                      cl_uint *n_out,
                                                                      const cl_icd_dispatch **out)
{
    if (!target || !n_out || !out || n < sizeof below / sizeof below.clGetPlatformIDs) {
        return CL_INVALID_VALUE;
    }
    below = mine = *target;
    plan_from_environment();
    mine.clGetDeviceIDs = list;
    mine.clCreateContext = create_context;
    mine.clCreateCommandQueue = create_queue;
    mine.clCreateBuffer = create_buffer;
    mine.clBuildProgram = build_program;
    mine.clCreateKernel = create_kernel;
    mine.clSetKernelArg = set_arg;
    mine.clEnqueueNDRangeKernel = start;
    mine.clEnqueueReadBuffer = fetch;
    mine.clEnqueueWriteBuffer = send;
    mine.clEnqueueMarkerWithWaitList = mark;
    mine.clFlush = flush;
    mine.clEnqueueMapBuffer = map;
    mine.clEnqueueUnmapMemObject = unmap;
    *n_out = (cl_uint)(sizeof mine / sizeof mine.clGetPlatformIDs);
    *out = &mine;
    return CL_SUCCESS;
}
