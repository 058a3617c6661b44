/// The devices beside the CPU that a test runs on: "opencl" and "level_zero". Where there is none
/// the case is skipped, and says so; with HSD_TEST_OPENCL=1 or HSD_TEST_LEVEL_ZERO=1 in the
/// environment it fails instead. ctest makes the software driver of tests/level_zero the one that
/// the Level Zero loader finds.
#ifndef TESTS_ACCELERATOR_H
#define TESTS_ACCELERATOR_H

#include "tests/opencl.h"

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

static char accelerator_opencl[] = "opencl", accelerator_level_zero[] = "level_zero";

/// What the options of an engine call it.
static inline const char *accelerator_name(const char *accelerator)
{
    return accelerator == accelerator_opencl ? opencl_name() : accelerator;
}

static inline hsdi_device *open_accelerator_or_skip(const char *accelerator)
{
    return accelerator == accelerator_opencl ? open_opencl_or_skip() : open_level_zero_or_skip();
}

/// Two cases of a cmocka group; *state is one of the two above.
#define ON_ACCELERATORS(f)                                                                         \
    {#f " (opencl)", f, NULL, NULL, accelerator_opencl},                                           \
    {                                                                                              \
#f " (level_zero)", f, NULL, NULL, accelerator_level_zero                                  \
    }

#endif
