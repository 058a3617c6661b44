/// How long a device is waited for.
#include "base/error.h"
#include "base/numbers.h"
#include "devices/launch/driver.h"

#include <stdlib.h>

hsd_status hsdi_launch_timeout(uint64_t *ns, hsd_error *err)
{
    static const char name[] = "HSD_DEVICE_TIMEOUT_S";
    const char *text = getenv(name);
    char *end = NULL;
    hsdi_numbers before = hsdi_numbers_plain();
    double seconds = text ? strtod(text, &end) : 600.0;
    hsdi_numbers_back(before);
    if (text && (end == text || *end || !(seconds > 0.0 && seconds <= 1e6))) {
        return hsdi_fail(err, HSD_EINVAL, name, "\"%.32s\" is no number of seconds up to 1000000",
                         text);
    }
    *ns = (uint64_t)(seconds * 1e9);
    return HSD_OK;
}
