/// Opening and closing the CPU device.
#include "devices/cpu/context.h"
#include "devices/host_buffer.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_THREADS = 1024 };

static void cpu_close(hsdi_device *device)
{
    hsdi_cpu_device *cpu = (hsdi_cpu_device *)device;
    hsdi_cpu_pool_destroy(&cpu->pool);
    hsdi_device_fini(&cpu->base);
    free(cpu->rows);
    free(cpu);
}

static const hsdi_backend cpu_backend = {
    .name = "cpu",
    .device_close = cpu_close,
    .weight_create = hsdi_cpu_weight_create,
    .weight_destroy = hsdi_cpu_weight_destroy,
    .weight_read = hsdi_cpu_weight_read,
    .has_el = true,
    .cache_types = 1u << HSD_CACHE_F32 | 1u << HSD_CACHE_F16 | 1u << HSD_CACHE_Q8_0,
    .cache_create = hsdi_cpu_cache_create,
    .cache_destroy = hsdi_cpu_cache_destroy,
    .cache_read = hsdi_cpu_cache_read,
    .cache_write = hsdi_cpu_cache_write,
    .cache_discard = hsdi_cpu_cache_discard,
    .buffer_create = hsdi_host_buffer_create,
    .buffer_destroy = hsdi_host_buffer_destroy,
    .buffer_map = hsdi_host_buffer_map,
    .graph_compile = hsdi_cpu_graph_compile,
    .graph_destroy = hsdi_cpu_graph_destroy,
    .graph_run = hsdi_cpu_graph_run,
};

hsd_status hsdi_device_open_cpu(const hsdi_cpu_options *options, hsdi_device **out, hsd_error *err)
{
    if (!options || !out || options->n_threads < 1 || options->n_threads > MAX_THREADS) {
        return hsdi_fail(err, HSD_EINVAL, "cpu", "1 to %d threads are possible, not %d",
                         (int)MAX_THREADS, options ? options->n_threads : 0);
    }
    hsdi_cpu_device *cpu = hsdi_aligned_alloc(sizeof *cpu);
    if (!cpu) {
        return hsdi_fail(err, HSD_ENOMEM, "cpu", "device");
    }
    hsdi_device_init(&cpu->base, &cpu_backend, options->n_threads);
    cpu->kernels = hsdi_kernels_get(options->isa);
    snprintf(cpu->base.info.name, sizeof cpu->base.info.name, "cpu %s, %d thread%s",
             cpu->kernels->name, options->n_threads, options->n_threads == 1 ? "" : "s");
    hsd_status status = hsdi_cpu_pool_create(options->n_threads, options->cpus, &cpu->pool, err);
    if (status != HSD_OK) {
        cpu_close(&cpu->base);
        return status;
    }
    *out = &cpu->base;
    return HSD_OK;
}
