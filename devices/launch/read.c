/// Reading a matrix from end to end, to see what the memory of a device gives.
#include "devices/launch/buffer.h"
#include "devices/launch/graph.h"
#include "kernels/opencl/source.h"

enum { N_ITEMS = 64 * HSDI_OPENCL_GROUP, PIECE_BYTES = 64 };

static hsd_status run(hsdi_launch_device *d, hsdi_launch_kernel *kernel, hsdi_launch_memory *from,
                      hsdi_launch_memory *to, size_t size_bytes, int way, hsd_error *err)
{
    hsdi_launch_args a = {.device = d, .kernel = kernel, .err = err};
    int per_item = (int)(size_bytes / PIECE_BYTES / N_ITEMS);
    hsdi_launch_arg_memory(&a, from);
    hsdi_launch_arg_int(&a, way ? 1 : per_item);
    hsdi_launch_arg_int(&a, way ? N_ITEMS : 1);
    hsdi_launch_arg_int(&a, per_item);
    hsdi_launch_arg_memory(&a, to);
    hsdi_launch_record *record = NULL;
    hsd_status status = a.status;
    if (status == HSD_OK && d->records) {
        status = d->driver->record(d, &record, err);
    }
    if (status == HSD_OK) {
        status = d->driver->start(d, kernel, N_ITEMS, 1, HSDI_OPENCL_GROUP, err);
    }
    if (status == HSD_OK && record) {
        status = d->driver->replay(d, record, err);
    }
    hsd_status finished = d->driver->finish(d, status == HSD_OK ? err : NULL);
    if (record) {
        d->driver->record_destroy(d, record);
    }
    return status == HSD_OK ? finished : status;
}

hsd_status hsdi_launch_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                   hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    const hsdi_launch_weight *w = (const hsdi_launch_weight *)weight;
    hsdi_launch_memory *sums = NULL;
    hsdi_launch_kernel *kernel = NULL;
    hsd_status status = d->driver->memory_create(d, N_ITEMS * sizeof(uint32_t), NULL, &sums, err);
    if (status == HSD_OK) {
        status = d->driver->kernel_create(d, "read_all", NULL, &kernel, err);
    }
    if (status == HSD_OK) {
        status = run(d, kernel, w->blocks, sums, weight->size_bytes, way, err);
    }
    d->driver->kernel_destroy(d, kernel);
    d->driver->memory_destroy(d, sums);
    return status;
}
