/// Less of the same, where everything is several times slower (sanitizers): HSD_TEST_LIGHT=1.
#ifndef HSD_TESTS_LIGHT_H
#define HSD_TESTS_LIGHT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool is_light(void)
{
    const char *value = getenv("HSD_TEST_LIGHT");
    return value && strcmp(value, "1") == 0;
}

#endif
