/// Times of kernels, by name: the functions of hsdi_backend for a driver that takes them.
#ifndef HSDI_DEVICES_LAUNCH_PROFILE_H
#define HSDI_DEVICES_LAUNCH_PROFILE_H

#include "devices/launch/driver.h"

hsd_status hsdi_launch_profile(hsdi_device *device, bool on, hsd_error *err);
int hsdi_launch_times(hsdi_device *device, hsdi_device_time *out, int cap);

#endif
