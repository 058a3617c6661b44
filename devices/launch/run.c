/// Running a graph on jobs.
#include "devices/launch/graph.h"

#include "base/error.h"
#include "devices/host_buffer.h"
#include "kernels/opencl/source.h"

#include <string.h>

/// The table of all jobs; returns the number of ints.
static size_t fill_table(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs, int n_rows)
{
    int32_t *row = g->host;
    size_t at = (size_t)n_rows * HSDI_JOB_INTS;
    for (const hsdi_job *job = jobs; job < jobs + n_jobs; job++) {
        size_t trunk = at, n_trunk = g->base.n_layers ? (size_t)job->n_trunk : 0;
        if (n_trunk > 0) {
            memcpy(g->host + trunk, job->trunk, n_trunk * sizeof *g->host);
        }
        at += n_trunk;
        for (int r = 0; r < job->n_rows; r++, row += HSDI_JOB_INTS) {
            row[HSDI_JOB_TOKEN] = g->base.n_vocab ? job->tokens[r] : 0;
            row[HSDI_JOB_POS] = job->pos[r];
            if (!g->base.n_layers) {
                continue;
            }
            size_t n_path = (size_t)job->n_path[r];
            memcpy(g->host + at, job->path + (ptrdiff_t)r * job->path_stride,
                   n_path * sizeof *g->host);
            row[HSDI_JOB_CELL] = job->cell[r];
            row[HSDI_JOB_TRUNK] = (int32_t)trunk;
            row[HSDI_JOB_N_TRUNK] = (int32_t)n_trunk;
            row[HSDI_JOB_PATH] = (int32_t)at;
            row[HSDI_JOB_N_PATH] = (int32_t)n_path;
            at += n_path;
        }
    }
    return at;
}

static hsd_status send_rows(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs,
                            hsd_error *err)
{
    size_t at = 0;
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_jobs && g->in && status == HSD_OK; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)g->base.in_width * sizeof(float);
        status = g->device->driver->send(g->device, g->in, at, size,
                                         hsdi_host_buffer_data(jobs[i].in), err);
        at += size;
    }
    return status;
}

static hsd_status fetch_rows(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs,
                             hsd_error *err)
{
    size_t at = 0;
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_jobs && g->out && status == HSD_OK; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)g->base.out_width * sizeof(float);
        status = g->device->driver->fetch(g->device, g->out, at, size,
                                          hsdi_host_buffer_data(jobs[i].out), err);
        at += size;
    }
    return status;
}

static hsd_status start(const hsdi_launch_graph *g, hsdi_launch_kernel *kernel, size_t width,
                        int height, hsd_error *err)
{
    return g->device->driver->start(g->device, kernel, width, height, err);
}

static hsd_status start_product(const hsdi_launch_graph *g, const hsdi_launch *l, int n_rows,
                                hsd_error *err)
{
    hsdi_launch_args a = {
        .device = g->device, .kernel = n_rows > 1 ? l->tiled : l->kernel, .n = l->arg, .err = err};
    hsdi_launch_arg_int(&a, n_rows);
    int height = n_rows > 1 ? (n_rows + HSDI_LAUNCH_TILE - 1) / HSDI_LAUNCH_TILE : 1;
    return a.status == HSD_OK ? start(g, a.kernel, l->width, height, err) : a.status;
}

/// Once per job: each has its own cache.
static hsd_status start_on_caches(const hsdi_launch_graph *g, const hsdi_launch *l,
                                  const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int first = 0;
    for (int i = 0; i < n_jobs && status == HSD_OK; i++) {
        const hsdi_launch_cache *c = (const hsdi_launch_cache *)jobs[i].cache;
        hsdi_launch_args a = {.device = g->device, .kernel = l->kernel, .n = l->arg, .err = err};
        hsdi_launch_arg_int(&a, first);
        hsdi_launch_arg_int(&a, c->base.n_cells);
        hsdi_launch_arg_memory(&a, c->layers[l->layer]);
        status = a.status;
        if (status == HSD_OK) {
            status = start(g, l->kernel, l->width, jobs[i].n_rows, err);
        }
        first += jobs[i].n_rows;
    }
    return status;
}

static hsd_status run_all(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs,
                          hsd_error *err)
{
    int n_rows = 0;
    for (int i = 0; i < n_jobs; i++) {
        n_rows += jobs[i].n_rows;
        if (g->base.n_layers && ((const hsdi_launch_cache *)jobs[i].cache)->device != g->device) {
            return hsdi_fail(err, HSD_EINVAL, "cache", "the cache is on another device");
        }
    }
    size_t n_ints = fill_table(g, jobs, n_jobs, n_rows);
    hsd_status status =
        g->device->driver->send(g->device, g->table, 0, n_ints * sizeof *g->host, g->host, err);
    if (status == HSD_OK) {
        status = send_rows(g, jobs, n_jobs, err);
    }
    for (int i = 0; i < g->n_launches && status == HSD_OK; i++) {
        const hsdi_launch *l = &g->launches[i];
        status = l->layer >= 0 ? start_on_caches(g, l, jobs, n_jobs, err)
                 : l->tiled    ? start_product(g, l, n_rows, err)
                               : start(g, l->kernel, l->width, n_rows, err);
    }
    return status == HSD_OK ? fetch_rows(g, jobs, n_jobs, err) : status;
}

hsd_status hsdi_launch_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs,
                                 hsd_error *err)
{
    const hsdi_launch_graph *g = (const hsdi_launch_graph *)graph;
    hsd_status status = run_all(g, jobs, n_jobs, err);
    // Also after a failure: rows and table are borrowed until then.
    hsd_status finished = g->device->driver->finish(g->device, status == HSD_OK ? err : NULL);
    return status == HSD_OK ? finished : status;
}
