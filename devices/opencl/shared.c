/// Memory that host and device share: rows and tables that are not copied, weights in the file.
///
/// A buffer over the host's own pages (CL_MEM_USE_HOST_PTR) is mapped while the host may use it and
/// unmapped for launches; a mapping has the pages' own address. Where the device is the processor
/// or shares its memory no byte moves; where a driver keeps a shadow, it copies then, by itself.
#include "devices/opencl/context.h"

#include "base/error.h"

#include <stdlib.h>

enum { PAGE = 4096 };

/// What was made by hsdi_ocl_host_create.
typedef struct hsdi_ocl_shared {
    struct hsdi_ocl_shared *next;
    cl_mem memory;
    void *host; ///< freed by the driver's last use
} hsdi_ocl_shared;

static hsdi_ocl_device *ocl_of(hsdi_launch_device *device)
{
    return (hsdi_ocl_device *)device;
}

static void CL_CALLBACK free_pages(cl_mem memory, void *host)
{
    (void)memory;
    free(host);
}

static hsd_status map(const hsdi_ocl_device *ocl, cl_command_queue queue, cl_map_flags flags,
                      cl_mem memory, void *host, size_t size_bytes, cl_event *event, hsd_error *err)
{
    cl_int code;
    const void *at = ocl->api->EnqueueMapBuffer(queue, memory, CL_FALSE, flags, 0, size_bytes, 0,
                                                NULL, event, &code);
    hsd_status status = hsdi_ocl_check(err, "clEnqueueMapBuffer", code);
    if (status == HSD_OK && at != host) {
        return hsdi_fail(err, HSD_EDEVICE, "clEnqueueMapBuffer", "gives another address");
    }
    return status;
}

/// Nothing else is in the queue for host memory, so this is short. The device may hang all the
/// same.
static hsd_status wait_for(hsdi_ocl_device *ocl, cl_event event, hsd_error *err)
{
    cl_int state = CL_QUEUED;
    hsd_status status = hsdi_ocl_check(err, "clFlush", ocl->api->Flush(ocl->host_queue));
    if (status == HSD_OK) {
        status = hsdi_ocl_look(ocl, event, &state, err);
    }
    return status == HSD_OK && state < 0 ? hsdi_ocl_fail(err, "clEnqueueMapBuffer", state) : status;
}

static hsd_status first_map(hsdi_ocl_device *ocl, cl_mem memory, void *host, size_t size_bytes,
                            hsd_error *err)
{
    cl_event event = NULL;
    hsd_status status = map(ocl, ocl->host_queue, CL_MAP_READ | CL_MAP_WRITE, memory, host,
                            size_bytes, &event, err);
    if (event) {
        status = status == HSD_OK ? wait_for(ocl, event, err) : status;
        if (!atomic_load(&ocl->launch.hung)) {
            (void)ocl->api->ReleaseEvent(event);
        }
    }
    return status;
}

hsd_status hsdi_ocl_host_create(hsdi_launch_device *device, size_t size_bytes,
                                hsdi_launch_memory **out, void **host, hsd_error *err)
{
    hsdi_ocl_device *ocl = ocl_of(device);
    if (atomic_load(&device->hung)) {
        *out = NULL;
        return hsdi_fail(err, HSD_EDEVICE, device->base.info.name, "the device was lost before");
    }
    hsdi_ocl_shared *s = calloc(1, sizeof *s);
    size_t n = (size_bytes + PAGE - 1) / PAGE * PAGE;
    void *pages = s ? aligned_alloc(PAGE, n) : NULL;
    cl_int code;
    *out = NULL;
    if (!pages) {
        free(s);
        return hsdi_fail(err, HSD_ENOMEM, "buffer", "%zu bytes", n);
    }
    cl_mem memory = ocl->api->CreateBuffer(ocl->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, n,
                                           pages, &code);
    hsd_status status = hsdi_ocl_check(err, "clCreateBuffer", code);
    if (status == HSD_OK) {
        code = ocl->api->SetMemObjectDestructorCallback(memory, free_pages, pages);
        status = hsdi_ocl_check(err, "clSetMemObjectDestructorCallback", code);
        if (status != HSD_OK) {
            (void)ocl->api->ReleaseMemObject(memory);
        }
    }
    if (status != HSD_OK) {
        free(pages);
        free(s);
        return status;
    }
    *s = (hsdi_ocl_shared){.memory = memory, .host = pages};
    pthread_mutex_lock(&ocl->lists);
    s->next = ocl->shared;
    ocl->shared = s;
    pthread_mutex_unlock(&ocl->lists);
    status = first_map(ocl, memory, pages, size_bytes, err);
    if (status != HSD_OK) {
        hsdi_ocl_memory_free(ocl, memory);
        return status;
    }
    *out = (hsdi_launch_memory *)memory;
    *host = pages;
    return HSD_OK;
}

void hsdi_ocl_shared_forget(hsdi_ocl_device *ocl, cl_mem memory)
{
    pthread_mutex_lock(&ocl->lists);
    hsdi_ocl_shared **at = &ocl->shared;
    while (*at && (*at)->memory != memory) {
        at = &(*at)->next;
    }
    hsdi_ocl_shared *found = *at;
    if (found) {
        *at = found->next;
    }
    pthread_mutex_unlock(&ocl->lists);
    if (found) {
        (void)ocl->api->EnqueueUnmapMemObject(ocl->host_queue, memory, found->host, 0, NULL, NULL);
        free(found);
    }
}

hsd_status hsdi_ocl_host_own(hsdi_launch_device *device, hsdi_launch_memory *memory, void *host,
                             size_t size_bytes, hsdi_launch_owner owner, hsd_error *err)
{
    const hsdi_ocl_device *ocl = ocl_of(device);
    if (atomic_load(&device->hung)) { // a submission begins with its table
        return hsdi_fail(err, HSD_EDEVICE, device->base.info.name, "the device was lost before");
    }
    if (owner != HSDI_OWNER_DEVICE) {
        cl_map_flags flags =
            owner == HSDI_OWNER_HOST ? CL_MAP_READ | CL_MAP_WRITE : CL_MAP_WRITE_INVALIDATE_REGION;
        return map(ocl, ocl->queue, flags, (cl_mem)memory, host, size_bytes, NULL, err);
    }
    return hsdi_ocl_check(
        err, "clEnqueueUnmapMemObject",
        ocl->api->EnqueueUnmapMemObject(ocl->queue, (cl_mem)memory, host, 0, NULL, NULL));
}

hsd_status hsdi_ocl_memory_wrap(hsdi_launch_device *device, size_t size_bytes, const void *data,
                                hsdi_launch_memory **out, hsd_error *err)
{
    const hsdi_ocl_device *ocl = ocl_of(device);
    // A processor uses any address that suits its numbers; other devices whole pages.
    uintptr_t apart = ocl->features.is_cpu ? sizeof(float) : PAGE;
    cl_int code;
    *out = NULL;
    if ((uintptr_t)data % apart != 0) {
        return HSD_OK;
    }
    // The interface has no const; the memory is read only.
    cl_mem memory = ocl->api->CreateBuffer(ocl->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR,
                                           size_bytes, (void *)(uintptr_t)data, &code);
    // Pages that the driver cannot use are copied; what else is wrong, the copy will show.
    *out = code == CL_SUCCESS ? (hsdi_launch_memory *)memory : NULL;
    (void)err;
    return HSD_OK;
}
