/// The devices beside the CPU that a test runs on: "opencl" and "level_zero". Where there is none
/// the case is skipped, and says so; with HSD_TEST_OPENCL=1 or HSD_TEST_LEVEL_ZERO=1 in the
/// environment it fails instead. ctest makes the software driver of tests/level_zero the one that
/// the Level Zero loader finds.
#ifndef TESTS_ACCELERATOR_H
#define TESTS_ACCELERATOR_H

#include "tests/opencl.h"

#include <string.h>

static inline hsdi_device *open_level_zero_or_skip(void)
{
    hsdi_device *device = NULL;
    hsd_error err = {0};
    hsd_status status = hsdi_device_open_level_zero(-1, &device, &err);
    if (status == HSD_OK) {
        return device;
    }
    if (getenv("HSD_TEST_LEVEL_ZERO") || status != HSD_EDEVICE) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err.where, err.message);
    }
    print_message("skipped: %s: %s\n", err.where, err.message);
    skip();
    return NULL;
}

static inline hsdi_device *open_accelerator_or_skip(const char *name)
{
    return strcmp(name, "opencl") == 0 ? open_opencl_or_skip() : open_level_zero_or_skip();
}

static char opencl_name[] = "opencl", level_zero_name[] = "level_zero";

/// Two cases of a cmocka group; *state is the device's name.
#define ON_ACCELERATORS(f)                                                                         \
    {#f " (opencl)", f, NULL, NULL, opencl_name},                                                  \
    {                                                                                              \
#f " (level_zero)", f, NULL, NULL, level_zero_name                                         \
    }

#endif
