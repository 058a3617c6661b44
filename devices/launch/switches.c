/// What of the common code a device uses, unless the environment decides.
#include "base/error.h"
#include "devices/launch/driver.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

hsd_status hsdi_launch_switch(const char *name, bool *value, hsd_error *err)
{
    const char *text = getenv(name);
    if (text && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
        return hsdi_fail(err, HSD_EINVAL, name, "\"%.32s\" is neither 0 nor 1", text);
    }
    *value = text ? *text == '1' : *value;
    return HSD_OK;
}

hsd_status hsdi_launch_lists(hsdi_launch_device *device, bool is_cpu, hsd_error *err)
{
    device->base.info.prefers_top = !is_cpu;
    return hsdi_launch_switch("HSD_DEVICE_LISTS", &device->base.info.prefers_top, err);
}

hsd_status hsdi_launch_split(hsdi_launch_device *device, bool is_cpu, int n_units, hsd_error *err)
{
    enum { GROUPS_PER_UNIT = 8 };
    bool splits = !is_cpu;
    hsd_status status = hsdi_launch_switch("HSD_DEVICE_SPLIT", &splits, err);
    bool asked = getenv("HSD_DEVICE_SPLIT") != NULL;
    device->split_groups = !splits ? 0
                           : asked || n_units > INT_MAX / GROUPS_PER_UNIT
                               ? INT_MAX
                               : GROUPS_PER_UNIT * n_units;
    return status;
}
