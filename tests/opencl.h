/// The OpenCL device of a test: number HSD_TEST_OPENCL_DEVICE of `hsd devices`, else the default.
/// Where there is none the test is skipped, and says so; with HSD_TEST_OPENCL=1 in the environment
/// it fails instead. tests/opencl_driver.sh sets the environment for one driver.
#ifndef TESTS_OPENCL_H
#define TESTS_OPENCL_H

#include "devices/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static inline hsdi_device *open_opencl_or_skip(void)
{
    hsdi_device *device = NULL;
    hsd_error err = {0};
    const char *number = getenv("HSD_TEST_OPENCL_DEVICE");
    hsd_status status = hsdi_device_open_opencl(number ? atoi(number) : -1, &device, &err);
    if (status == HSD_OK) {
        return device;
    }
    if (getenv("HSD_TEST_OPENCL") || status != HSD_EDEVICE) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err.where, err.message);
    }
    print_message("skipped: %s: %s\n", err.where, err.message);
    skip();
    return NULL;
}

/// "opencl", or "opencl:N", for the options of an engine.
static inline const char *opencl_name(void)
{
    static char name[32] = "opencl";
    const char *number = getenv("HSD_TEST_OPENCL_DEVICE");
    if (number) {
        snprintf(name, sizeof name, "opencl:%d", atoi(number));
    }
    return name;
}

/// Oclgrind keeps its notes of uninitialised memory per thread, and crashes where a second thread
/// submits (21.10).
static inline void skip_where_one_thread_must_submit(void)
{
    if (getenv("HSD_TEST_ONE_THREAD")) {
        print_message("skipped: one thread only (HSD_TEST_ONE_THREAD)\n");
        skip();
    }
}

/// Cases whose names fit HSD_TEST_ONLY ("*opencl*"), if it is set.
static inline void only_the_cases_asked_for(void)
{
    const char *only = getenv("HSD_TEST_ONLY");
    if (only) {
        cmocka_set_test_filter(only);
    }
}

#endif
