/// The OpenCL device of a test. Where there is none the test is skipped, and says so; with
/// HSD_TEST_OPENCL=1 in the environment it fails instead.
#ifndef TESTS_OPENCL_H
#define TESTS_OPENCL_H

#include "devices/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static inline hsdi_device *open_opencl_or_skip(void)
{
    hsdi_device *device = NULL;
    hsd_error err = {0};
    hsd_status status = hsdi_device_open_opencl(-1, &device, &err);
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

#endif
