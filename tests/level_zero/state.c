/// The state of the driver, time, faults to inject, and the OpenCL device beneath.
#include "driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

lz_state lz = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .cl_lock = PTHREAD_MUTEX_INITIALIZER,
};

void lz_say(const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "level zero test driver: %s\n", text);
}

uint64_t lz_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t lz_ticks(void)
{
    return lz_now_ns() / LZ_TICK_NS;
}

bool lz_wait(uint64_t begin_ns, uint64_t timeout_ns)
{
    uint64_t now = lz_now_ns();
    if (timeout_ns == UINT64_MAX) {
        pthread_cond_wait(&lz.changed, &lz.lock);
        return true;
    }
    if (now - begin_ns >= timeout_ns) {
        return false;
    }
    struct timespec until;
    uint64_t rest = timeout_ns - (now - begin_ns);
    rest = rest < 3600000000000u ? rest : 3600000000000u; // the caller asks again
    clock_gettime(CLOCK_REALTIME, &until);
    rest += (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(rest / 1000000000u);
    until.tv_nsec = (long)(rest % 1000000000u);
    (void)pthread_cond_timedwait(&lz.changed, &lz.lock, &until);
    return true;
}

void lz_born(ze_context_handle_t context, lz_kind kind)
{
    pthread_mutex_lock(&lz.lock);
    context->n_live[kind - LZ_FIRST_OBJECT]++;
    pthread_mutex_unlock(&lz.lock);
}

void lz_died(ze_context_handle_t context, lz_kind kind)
{
    pthread_mutex_lock(&lz.lock);
    context->n_live[kind - LZ_FIRST_OBJECT]--;
    pthread_mutex_unlock(&lz.lock);
}

static int number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

void lz_read_faults(void)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), mb = (uint64_t)number("HSD_ZE_MEMORY_MB");
    lz.faults = (lz_faults){
        .oom_at = number("HSD_ZE_OOM_AT"),
        .lost_submit_at = number("HSD_ZE_LOST_SUBMIT_AT"),
        .lost_run_at = number("HSD_ZE_LOST_RUN_AT"),
        .slow_at = number("HSD_ZE_SLOW_AT"),
        .slow_ms = number("HSD_ZE_SLOW_MS"),
        .hang_at = number("HSD_ZE_HANG_AT"),
        .shuffle = number("HSD_ZE_SHUFFLE"),
        .fail_build = number("HSD_ZE_FAIL_BUILD") != 0,
        .memory_bytes = mb ? mb << 20 : (uint64_t)sysconf(_SC_PHYS_PAGES) * page,
    };
    lz.n_allocations = lz.n_submissions = lz.n_launches = 0;
    lz.lost = false;
}

bool lz_is_lost(void)
{
    pthread_mutex_lock(&lz.lock);
    bool lost = lz.lost;
    pthread_mutex_unlock(&lz.lock);
    return lost;
}

void lz_lose(const char *why)
{
    if (!lz.lost) {
        lz_say("device lost: %s", why);
    }
    lz.lost = true;
    pthread_cond_broadcast(&lz.changed);
}

/// PoCL itself, without the loader of OpenCL: whatever that is told to show, and whatever other
/// drivers do when they are loaded, kernels run here.
static bool pocl_device(void)
{
    typedef void *address_fn(const char *);
    cl_platform_id platform;
    cl_uint n = 0;
    void *library = dlopen("libpocl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return false;
    }
    address_fn *address;
    clIcdGetPlatformIDsKHR_fn platforms;
    *(void **)&address = dlsym(library, "clGetExtensionFunctionAddress");
    *(void **)&platforms = address ? address("clIcdGetPlatformIDsKHR") : NULL;
    if (!platforms || platforms(1, &platform, &n) != CL_SUCCESS || n == 0) {
        return false;
    }
    lz.cl = *(const cl_icd_dispatch **)platform; // cl_khr_icd: an object begins with its table
    return lz.cl->clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU, 1, &lz.device, NULL) == CL_SUCCESS;
}

ze_result_t lz_opencl(void)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    cl_int code;
    pthread_mutex_lock(&once);
    if (!lz.context && pocl_device()) {
        lz.context = lz.cl->clCreateContext(NULL, 1, &lz.device, NULL, NULL, &code);
    }
    bool there = lz.context != NULL;
    pthread_mutex_unlock(&once);
    if (!there) {
        lz_say("no device of PoCL (libpocl.so.2) to run kernels on");
    }
    return there ? ZE_RESULT_SUCCESS : ZE_RESULT_ERROR_DEPENDENCY_UNAVAILABLE;
}
