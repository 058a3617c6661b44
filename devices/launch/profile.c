/// Times of kernels, by name.
#include "devices/launch/profile.h"

#include <stdio.h>
#include <string.h>

hsd_status hsdi_launch_profile(hsdi_device *device, bool on, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    (void)err;
    d->profiles = on;
    d->n_times = 0;
    return HSD_OK;
}

int hsdi_launch_times(hsdi_device *device, hsdi_device_time *out, int cap)
{
    const hsdi_launch_device *d = (const hsdi_launch_device *)device;
    for (int i = 0; i < d->n_times && i < cap; i++) {
        out[i] = d->times[i];
    }
    return d->n_times;
}

void hsdi_launch_timed(hsdi_launch_device *device, const char *name, int64_t ns)
{
    int i = 0;
    while (i < device->n_times && strcmp(device->times[i].name, name) != 0) {
        i++;
    }
    if (i == HSDI_LAUNCH_MAX_TIMES) {
        return;
    }
    if (i == device->n_times) {
        hsdi_device_time *time = &device->times[device->n_times++];
        *time = (hsdi_device_time){.n = 0};
        snprintf(time->name, sizeof time->name, "%s", name);
    }
    device->times[i].n++;
    device->times[i].ns += ns;
}
