/// Reading a matrix from end to end, to see what the memory of a device gives.
#include "devices/launch/buffer.h"
#include "devices/launch/graph.h"
#include "kernels/opencl/source.h"

enum { PIECE_BYTES = 64 };

/// How much at a time: a GPU needs many work-items, and is done too soon to be timed once.
typedef struct extent {
    int n_items, n_times, per_item;
} extent;

static extent extent_of(const hsdi_launch_device *d, size_t size_bytes)
{
    extent e = {64 * HSDI_OPENCL_GROUP, 1, 0};
    if (d->split_groups > 0) {
        e = (extent){2048 * HSDI_OPENCL_GROUP, 32, 0};
    }
    while ((size_t)e.n_items * PIECE_BYTES > size_bytes && e.n_items > HSDI_OPENCL_GROUP) {
        e.n_items /= 2;
    }
    e.per_item = (int)(size_bytes / PIECE_BYTES / (size_t)e.n_items);
    return e;
}

static hsd_status start(hsdi_launch_device *d, hsdi_launch_kernel *kernel, const extent *e,
                        hsd_error *err)
{
    hsdi_launch_record *record = NULL;
    hsd_status status = d->records ? d->driver->record(d, &record, err) : HSD_OK;
    for (int i = 0; i < e->n_times && status == HSD_OK; i++) {
        status = d->driver->start(d, kernel, (size_t)e->n_items, 1, HSDI_OPENCL_GROUP, err);
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

static hsd_status run(hsdi_launch_device *d, hsdi_launch_kernel *kernel, hsdi_launch_memory *from,
                      hsdi_launch_memory *to, const extent *e, int way, hsd_error *err)
{
    hsdi_launch_args a = {.device = d, .kernel = kernel, .err = err};
    hsdi_launch_arg_memory(&a, from);
    hsdi_launch_arg_int(&a, way ? 1 : e->per_item);
    hsdi_launch_arg_int(&a, way ? e->n_items : 1);
    hsdi_launch_arg_int(&a, e->per_item);
    hsdi_launch_arg_memory(&a, to);
    return a.status == HSD_OK ? start(d, kernel, e, err) : a.status;
}

hsd_status hsdi_launch_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                   size_t *n_bytes, hsd_error *err)
{
    hsdi_launch_device *d = (hsdi_launch_device *)device;
    const hsdi_launch_weight *w = (const hsdi_launch_weight *)weight;
    hsdi_launch_memory *sums = NULL, *from = w->panels ? w->panels : w->blocks;
    hsdi_launch_kernel *kernel = NULL;
    size_t row_bytes = w->panels ? w->panel_row_bytes : w->row_bytes;
    extent e = extent_of(d, row_bytes * (size_t)weight->n_out);
    size_t n_items = (size_t)e.n_items;
    hsd_status status = d->driver->memory_create(d, n_items * sizeof(uint32_t), NULL, &sums, err);
    if (status == HSD_OK) {
        status = d->driver->kernel_create(d, "read_all", NULL, &kernel, err);
    }
    if (status == HSD_OK) {
        status = run(d, kernel, from, sums, &e, way, err);
    }
    *n_bytes = (size_t)e.n_times * n_items * (size_t)e.per_item * PIECE_BYTES;
    d->driver->kernel_destroy(d, kernel);
    d->driver->memory_destroy(d, sums);
    return status;
}
