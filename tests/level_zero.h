/// The software driver of tests/level_zero, made the only one of the Level Zero loader, with the
/// validation layer on. Before the first call of Level Zero in a process.
#ifndef TESTS_LEVEL_ZERO_H
#define TESTS_LEVEL_ZERO_H

#include <stdlib.h>

static inline void use_software_driver(void)
{
    setenv("ZE_ENABLE_ALT_DRIVERS", HSD_TEST_ZE_DRIVER, 1);
    setenv("ZE_ENABLE_VALIDATION_LAYER", "1", 1);
    setenv("ZE_ENABLE_PARAMETER_VALIDATION", "1", 1);
}

#endif
