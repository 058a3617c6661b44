/// What a build without OpenCL headers says of OpenCL devices.
#include "base/error.h"
#include "devices/device.h"

static hsd_status absent(hsd_error *err)
{
    return hsdi_fail(err, HSD_EDEVICE, "opencl", "this build has no OpenCL (HSD_OPENCL)");
}

hsd_status hsdi_opencl_list(hsdi_opencl_info *out, int cap, int *n_out, hsd_error *err)
{
    (void)out;
    (void)cap;
    (void)n_out;
    return absent(err);
}

hsd_status hsdi_device_open_opencl(int index, hsdi_device **out, hsd_error *err)
{
    (void)index;
    (void)out;
    return absent(err);
}

hsd_status hsdi_device_open_opencl_units(int index, int first, int n, hsdi_device **out,
                                         hsd_error *err)
{
    (void)first;
    (void)n;
    return hsdi_device_open_opencl(index, out, err);
}
