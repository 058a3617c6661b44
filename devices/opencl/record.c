/// The launches of a pass as a command buffer, where the device has cl_khr_command_buffer: recorded
/// once per shape, enqueued again by one call.
///
/// The extension is provisional in the versions that drivers have (0.9); only what is the same in
/// all of them is used: one in-order queue, launches, each behind the one before.
#include "devices/opencl/context.h"

#include "base/error.h"
#include "kernels/opencl/source.h"

#include <stdlib.h>
#include <string.h>

#include <CL/cl_ext.h>

/// The extension's functions.
struct hsdi_ocl_recorder {
    clCreateCommandBufferKHR_fn create;
    clFinalizeCommandBufferKHR_fn finalize;
    clReleaseCommandBufferKHR_fn release;
    clEnqueueCommandBufferKHR_fn enqueue;
    clCommandNDRangeKernelKHR_fn launch;
};

typedef struct hsdi_ocl_record {
    cl_command_buffer_khr buffer; ///< NULL: a record that failed
    cl_sync_point_khr last;       ///< of the last launch
    int n;
    bool final;
} hsdi_ocl_record;

static void *find(const hsdi_ocl_device *ocl, const char *name)
{
    return ocl->api->GetExtensionFunctionAddressForPlatform(ocl->features.platform, name);
}

hsd_status hsdi_ocl_record_begin(hsdi_launch_device *device, hsdi_launch_record **out,
                                 hsd_error *err)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    hsdi_ocl_record *r = (hsdi_ocl_record *)*out;
    cl_int code = CL_SUCCESS;
    if (!r && !(r = calloc(1, sizeof *r))) {
        return hsdi_fail(err, HSD_ENOMEM, "graph", "command buffer");
    }
    *out = (hsdi_launch_record *)r;
    if (r->buffer) { // there is no way to empty one
        code = ocl->recorder->release(r->buffer);
    }
    *r = (hsdi_ocl_record){0};
    hsd_status status = hsdi_ocl_check(err, "clReleaseCommandBufferKHR", code);
    if (status == HSD_OK) {
        r->buffer = ocl->recorder->create(1, &ocl->queue, NULL, &code);
        status = hsdi_ocl_check(err, "clCreateCommandBufferKHR", code);
    }
    r->buffer = status == HSD_OK ? r->buffer : NULL;
    ocl->recording = status == HSD_OK ? r : NULL;
    return status;
}

hsd_status hsdi_ocl_record_launch(hsdi_ocl_device *ocl, cl_kernel kernel, const size_t *global,
                                  const size_t *local, hsd_error *err)
{
    hsdi_ocl_record *r = ocl->recording;
    cl_sync_point_khr before = r->last;
    cl_int code = ocl->recorder->launch(r->buffer, NULL, NULL, kernel, 2, NULL, global, local,
                                        r->n > 0, r->n > 0 ? &before : NULL, &r->last, NULL);
    r->n++;
    return hsdi_ocl_check(err, "clCommandNDRangeKernelKHR", code);
}

hsd_status hsdi_ocl_replay(hsdi_launch_device *device, hsdi_launch_record *record, hsd_error *err)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    hsdi_ocl_record *r = (hsdi_ocl_record *)record;
    ocl->recording = NULL;
    if (!r->final) {
        hsd_status status =
            hsdi_ocl_check(err, "clFinalizeCommandBufferKHR", ocl->recorder->finalize(r->buffer));
        if (status != HSD_OK) {
            return status;
        }
        r->final = true;
    }
    return hsdi_ocl_check(err, "clEnqueueCommandBufferKHR",
                          ocl->recorder->enqueue(0, NULL, r->buffer, 0, NULL, NULL));
}

void hsdi_ocl_record_destroy(hsdi_launch_device *device, hsdi_launch_record *record)
{
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    hsdi_ocl_record *r = (hsdi_ocl_record *)record;
    if (r && r->buffer && !atomic_load(&device->hung)) {
        (void)ocl->recorder->release(r->buffer);
    }
    free(r);
}

// ---- whether it can be used ----

/// Copy a number by a recorded launch whose argument is then changed: 1 must arrive, not 2.
///
/// Result : *can is false where the extension fails; other calls that fail are failures.
static hsd_status copy_recorded(hsdi_ocl_device *ocl, cl_kernel kernel, cl_mem from, cl_mem to,
                                bool *can, hsd_error *err)
{
    static const int32_t one = 1, first = 0, second = 1;
    const size_t size[2] = {HSDI_OPENCL_GROUP, 1};
    const struct {
        size_t size;
        const void *value;
    } args[] = {{sizeof from, &from}, {sizeof first, &first}, {sizeof one, &one},
                {sizeof one, &one},   {sizeof to, &to},       {sizeof first, &first},
                {sizeof one, &one}};
    hsdi_launch_record *record = NULL;
    cl_int code = CL_SUCCESS;
    for (cl_uint i = 0; i < sizeof args / sizeof *args && code == CL_SUCCESS; i++) {
        code = ocl->api->SetKernelArg(kernel, i, args[i].size, args[i].value);
    }
    *can = code == CL_SUCCESS && hsdi_ocl_record_begin(&ocl->launch, &record, NULL) == HSD_OK &&
           hsdi_ocl_record_launch(ocl, kernel, size, size, NULL) == HSD_OK;
    if (*can) {
        code = ocl->api->SetKernelArg(kernel, 1, sizeof second, &second);
    }
    hsd_status finished = HSD_OK; // a record that runs must not be started again
    for (int i = 0; i < 2 && code == CL_SUCCESS && *can && finished == HSD_OK; i++) {
        *can = hsdi_ocl_replay(&ocl->launch, record, NULL) == HSD_OK; // again, as a kept pass is
        finished = hsdi_ocl_finish(ocl, err);
    }
    hsd_status status = finished == HSD_OK ? hsdi_ocl_check(err, "clSetKernelArg", code) : finished;
    hsdi_ocl_record_destroy(&ocl->launch, record);
    return status;
}

/// Does a record keep the arguments that its launches had? PoCL 3.1 has the extension, but a
/// launch that was recorded gets what the kernel was given last.
static hsd_status try_recording(hsdi_ocl_device *ocl, bool *can, hsd_error *err)
{
    static const float numbers[2] = {1.0f, 2.0f};
    float got = 0.0f;
    cl_int code;
    cl_mem from = NULL, to = NULL;
    cl_kernel kernel = ocl->api->CreateKernel(ocl->program, "copy", &code);
    hsd_status status = hsdi_ocl_check(err, "clCreateKernel", code);
    if (status == HSD_OK) {
        status = hsdi_ocl_memory(ocl, sizeof numbers, numbers, &from, err);
    }
    if (status == HSD_OK) {
        status = hsdi_ocl_memory(ocl, sizeof *numbers, numbers + 1, &to, err);
    }
    if (status == HSD_OK) {
        status = copy_recorded(ocl, kernel, from, to, can, err);
    }
    if (status == HSD_OK) {
        status =
            hsdi_ocl_driver.fetch(&ocl->launch, (hsdi_launch_memory *)to, 0, sizeof got, &got, err);
    }
    if (status == HSD_OK) {
        status = hsdi_ocl_finish(ocl, err);
    }
    hsdi_ocl_memory_free(ocl, from);
    hsdi_ocl_memory_free(ocl, to);
    if (code == CL_SUCCESS && !atomic_load(&ocl->launch.hung)) {
        (void)ocl->api->ReleaseKernel(kernel);
    }
    *can = *can && got == numbers[0];
    return status;
}

hsd_status hsdi_ocl_recorder_init(hsdi_ocl_device *ocl, hsd_error *err)
{
    void *all[5] = {find(ocl, "clCreateCommandBufferKHR"), find(ocl, "clFinalizeCommandBufferKHR"),
                    find(ocl, "clReleaseCommandBufferKHR"), find(ocl, "clEnqueueCommandBufferKHR"),
                    find(ocl, "clCommandNDRangeKernelKHR")};
    struct hsdi_ocl_recorder *r;
    bool can = false;
    _Static_assert(sizeof *r == sizeof all, "five functions");
    for (size_t i = 0; i < 5; i++) {
        if (!all[i]) {
            return HSD_OK;
        }
    }
    if (!(r = malloc(sizeof *r))) {
        return hsdi_fail(err, HSD_ENOMEM, "opencl", "command buffers");
    }
    memcpy(r, all, sizeof *r);
    ocl->recorder = r;
    hsd_status status = try_recording(ocl, &can, err);
    if (!can) {
        ocl->recorder = NULL;
        free(r);
    }
    return status;
}
