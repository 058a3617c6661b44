/// The OpenCL loader, opened at run time, and its errors in words.
///
/// Nothing of hsd is linked to libOpenCL: the library starts where there is none.
#ifndef HSDI_DEVICES_OPENCL_API_H
#define HSDI_DEVICES_OPENCL_API_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <hsd/status.h>
#include <stddef.h>

#define HSDI_OCL_FUNCTIONS(X)                                                                      \
    X(BuildProgram)                                                                                \
    X(CreateBuffer)                                                                                \
    X(CreateCommandQueue)                                                                          \
    X(CreateContext)                                                                               \
    X(CreateKernel)                                                                                \
    X(CreateProgramWithBinary)                                                                     \
    X(CreateSubDevices)                                                                            \
    X(CreateProgramWithSource)                                                                     \
    X(EnqueueMapBuffer)                                                                            \
    X(EnqueueMarkerWithWaitList)                                                                   \
    X(EnqueueNDRangeKernel)                                                                        \
    X(EnqueueUnmapMemObject)                                                                       \
    X(EnqueueReadBuffer)                                                                           \
    X(EnqueueWriteBuffer)                                                                          \
    X(Flush)                                                                                       \
    X(GetDeviceIDs)                                                                                \
    X(GetDeviceInfo)                                                                               \
    X(GetEventInfo)                                                                                \
    X(GetEventProfilingInfo)                                                                       \
    X(GetExtensionFunctionAddressForPlatform)                                                      \
    X(GetKernelInfo)                                                                               \
    X(GetKernelWorkGroupInfo)                                                                      \
    X(GetPlatformIDs)                                                                              \
    X(GetPlatformInfo)                                                                             \
    X(GetProgramBuildInfo)                                                                         \
    X(GetProgramInfo)                                                                              \
    X(ReleaseCommandQueue)                                                                         \
    X(ReleaseContext)                                                                              \
    X(ReleaseDevice)                                                                               \
    X(ReleaseEvent)                                                                                \
    X(ReleaseKernel)                                                                               \
    X(ReleaseMemObject)                                                                            \
    X(ReleaseProgram)                                                                              \
    X(SetEventCallback)                                                                            \
    X(SetKernelArg)                                                                                \
    X(SetMemObjectDestructorCallback)

/// The functions of OpenCL by their names without "cl".
typedef struct hsdi_ocl_api {
#define HSDI_OCL_FIELD(name) __typeof__(&cl##name) name;
    HSDI_OCL_FUNCTIONS(HSDI_OCL_FIELD)
#undef HSDI_OCL_FIELD
    /// Of OpenCL 2.1; NULL where the loader has it not.
    cl_int(CL_API_CALL *GetKernelSubGroupInfo)(cl_kernel, cl_device_id, cl_uint, size_t,
                                               const void *, size_t, void *, size_t *);
} hsdi_ocl_api;

/// The loader's functions, opened on first use and never closed. Static. Thread: any.
///
/// Errors : HSD_EDEVICE where there is no loader, or a too old one.
HSD_NODISCARD hsd_status hsdi_ocl_api_get(const hsdi_ocl_api **out, hsd_error *err);

/// "CL_OUT_OF_RESOURCES"; "an unknown code" for one that OpenCL 1.2 does not have. Static.
const char *hsdi_ocl_code_name(cl_int code);

/// HSD_EDEVICE with the call's name, the code and its name.
hsd_status hsdi_ocl_fail(hsd_error *err, const char *call, cl_int code);

/// HSD_OK for CL_SUCCESS, else hsdi_ocl_fail.
HSD_NODISCARD hsd_status hsdi_ocl_check(hsd_error *err, const char *call, cl_int code);

#endif
