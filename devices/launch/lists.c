/// Whether lists should come back from a device rather than logits.
#include "base/error.h"
#include "devices/launch/driver.h"

#include <stdlib.h>
#include <string.h>

hsd_status hsdi_launch_lists(hsdi_launch_device *device, bool is_cpu, hsd_error *err)
{
    static const char name[] = "HSD_DEVICE_LISTS";
    const char *text = getenv(name);
    if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
        return hsdi_fail(err, HSD_EINVAL, name, "\"%.32s\" is neither 0 nor 1", text);
    }
    device->base.info.prefers_top = text ? *text == '1' : !is_cpu;
    return HSD_OK;
}
