/// What a build without Level Zero headers says of such devices.
#include "base/error.h"
#include "devices/device.h"

static hsd_status absent(hsd_error *err)
{
    return hsdi_fail(err, HSD_EDEVICE, "level_zero",
                     "this build has no Level Zero (HSD_LEVEL_ZERO)");
}

hsd_status hsdi_level_zero_list(hsdi_level_zero_info *out, int cap, int *n_out, hsd_error *err)
{
    (void)out;
    (void)cap;
    (void)n_out;
    return absent(err);
}

hsd_status hsdi_device_open_level_zero(int index, hsdi_device **out, hsd_error *err)
{
    (void)index;
    (void)out;
    return absent(err);
}
