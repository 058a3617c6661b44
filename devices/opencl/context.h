/// The OpenCL device: a context, an in-order queue and the program of kernels/opencl.
#ifndef HSDI_DEVICES_OPENCL_CONTEXT_H
#define HSDI_DEVICES_OPENCL_CONTEXT_H

#include "devices/backend.h"
#include "devices/opencl/api.h"

typedef struct hsdi_ocl_device {
    hsdi_device base;
    const hsdi_ocl_api *api; ///< static
    cl_device_id id;
    cl_context context;
    cl_command_queue queue; ///< in order
    cl_program program;
} hsdi_ocl_device;

/// A matrix in the file's own blocks, or a vector of f32.
typedef struct hsdi_ocl_weight {
    struct hsdi_weight base;
    const hsdi_ocl_device *device; ///< a context's memory is of no use in another one
    cl_mem blocks;                 ///< owned, NULL for a vector
    cl_mem vector;                 ///< owned, NULL without HSDI_USE_VECTOR
    size_t row_bytes;
} hsdi_ocl_weight;

typedef struct hsdi_ocl_cache {
    struct hsdi_cache base;
    const hsdi_ocl_device *device;
    cl_mem *layers; ///< owned [n_layers]; each [2, n_cells, width]: keys, then values
} hsdi_ocl_cache;

/// Device memory of size_bytes, filled from `data` unless it is NULL.
HSD_NODISCARD hsd_status hsdi_ocl_memory(const hsdi_ocl_device *ocl, size_t size_bytes,
                                         const void *data, cl_mem *out, hsd_error *err);
void hsdi_ocl_memory_free(const hsdi_ocl_device *ocl, cl_mem memory);

/// Compile kernels for a device. Errors: HSD_EDEVICE with the first lines of the compiler's log.
HSD_NODISCARD hsd_status hsdi_ocl_build(const hsdi_ocl_device *ocl, const char *source,
                                        size_t n_bytes, cl_program *out, hsd_error *err);

hsd_status hsdi_ocl_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                  const void *data, hsdi_weight **out, hsd_error *err);
void hsdi_ocl_weight_destroy(hsdi_weight *weight);
hsd_status hsdi_ocl_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                 hsdi_cache **out, hsd_error *err);
void hsdi_ocl_cache_destroy(hsdi_cache *cache);

hsd_status hsdi_ocl_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                  const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err);
void hsdi_ocl_graph_destroy(hsdi_graph *graph);
hsd_status hsdi_ocl_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err);

#endif
