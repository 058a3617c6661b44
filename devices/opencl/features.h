/// What a device has beyond OpenCL 1.2, of what is used here.
#ifndef HSDI_DEVICES_OPENCL_FEATURES_H
#define HSDI_DEVICES_OPENCL_FEATURES_H

#include "devices/opencl/api.h"

#include <stdbool.h>

typedef struct hsdi_ocl_features {
    int version; ///< 12, 30: of OpenCL
    bool is_cpu;
    bool unified;     ///< memory is the host's
    bool fp16;        ///< conversions from half that keep subnormal numbers
    bool shuffles;    ///< between the work-items of a sub-group
    bool subgroup_16; ///< sub-groups of 16 on request
    bool dot;         ///< products of four times 8 bits, packed (cl_khr_integer_dot_product)
    bool fast_dot;    ///< by an instruction, says the device
    bool own_memory;  ///< a GPU that does not share the host's
    bool buffers;     ///< recorded passes (cl_khr_command_buffer)
    int n_units;      ///< compute units
    size_t max_group, local_bytes, memory_bytes;
    cl_platform_id platform;
} hsdi_ocl_features;

void hsdi_ocl_features_get(const hsdi_ocl_api *api, cl_device_id id, hsdi_ocl_features *out);

/// Is it among the device's extensions?
bool hsdi_ocl_has(const hsdi_ocl_api *api, cl_device_id id, const char *extension);

#endif
