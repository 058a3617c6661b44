/// Running a graph on jobs.
#include "devices/launch/graph.h"

#include "base/error.h"
#include "devices/host_buffer.h"
#include "kernels/opencl/record.h"
#include "kernels/opencl/source.h"

#include <string.h>

/// How a row is drawn from, as kernels read it; returns the number of ints.
static size_t put_record(const hsdi_draw *draw, int32_t *to)
{
    float inverse = draw->n_penalised > 0 ? 1.0f / draw->penalty : 0.0f;
    const uint64_t wide[] = {draw->seed, (uint64_t)draw->position};
    memcpy(to + HSDI_RECORD_SEED, &wide[0], sizeof *wide);
    memcpy(to + HSDI_RECORD_POSITION, &wide[1], sizeof *wide);
    to[HSDI_RECORD_NOISY] = draw->noisy;
    memcpy(to + HSDI_RECORD_SCALE, &draw->scale, sizeof *to);
    memcpy(to + HSDI_RECORD_GAP, &draw->gap, sizeof *to);
    to[HSDI_RECORD_TOP_K] = draw->top_k;
    memcpy(to + HSDI_RECORD_TOP_P, &draw->top_p, sizeof *to);
    to[HSDI_RECORD_N_BANNED] = draw->n_banned;
    to[HSDI_RECORD_N_PENALISED] = draw->n_penalised;
    memcpy(to + HSDI_RECORD_PENALTY, &draw->penalty, sizeof *to);
    memcpy(to + HSDI_RECORD_INVERSE, &inverse, sizeof *to);
    size_t n = (size_t)draw->n_banned + (size_t)draw->n_penalised;
    if (n > 0) {
        memcpy(to + HSDI_RECORD_INTS, draw->tokens, n * sizeof *to);
    }
    return HSDI_RECORD_INTS + n;
}

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
            if (g->base.draw_width) {
                row[HSDI_JOB_DRAW] = (int32_t)at;
                at += put_record(&job->draws[r], g->host + at);
            }
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

static void count_copy(const hsdi_launch_graph *g)
{
    atomic_fetch_add(&g->device->n_row_copies, 1);
}

/// The external rows of a single job where they are, for a device that works on them in place.
static hsdi_launch_buffer *in_place(const hsdi_launch_graph *g, int value, const hsdi_job *jobs,
                                    int n_jobs)
{
    bool in = value == HSDI_VALUE_IN;
    if (!g->device->shares || n_jobs > 1 || !(in ? g->in : g->out)) {
        return NULL;
    }
    hsdi_launch_buffer *b = (hsdi_launch_buffer *)(in ? jobs->in : jobs->out);
    return b->device == g->device ? b : NULL;
}

static hsd_status send_rows(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs,
                            hsd_error *err)
{
    size_t at = 0;
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_jobs && g->in && status == HSD_OK; i++) {
        size_t size = (size_t)jobs[i].n_rows * (size_t)g->base.in_width * sizeof(float);
        const float *from = hsdi_host_buffer_data(jobs[i].in);
        count_copy(g);
        if (g->in_host) {
            memcpy((char *)g->in_host + at, from, size);
        } else {
            status = g->device->driver->send(g->device, g->in, at, size, from, err);
        }
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
        float *to = hsdi_host_buffer_data(jobs[i].out);
        count_copy(g);
        if (g->out_host) {
            memcpy(to, (const char *)g->out_host + at, size);
        } else {
            status = g->device->driver->fetch(g->device, g->out, at, size, to, err);
        }
        at += size;
    }
    return status;
}

static hsd_status start(const hsdi_launch_graph *g, hsdi_launch_kernel *kernel, size_t width,
                        int height, hsd_error *err)
{
    return g->device->driver->start(g->device, kernel, width, height, HSDI_OPENCL_GROUP, err);
}

static hsd_status start_product(const hsdi_launch_graph *g, const hsdi_launch *l, int n_rows,
                                hsd_error *err)
{
    const hsdi_launch_product *p = &l->products[hsdi_tile_class(n_rows)];
    hsdi_launch_args a = {.device = g->device, .kernel = p->kernel, .n = l->arg, .err = err};
    int height = (n_rows + p->tile.rows - 1) / p->tile.rows;
    hsdi_launch_arg_int(&a, n_rows);
    return a.status == HSD_OK ? g->device->driver->start(g->device, p->kernel, p->width, height,
                                                         p->tile.group, err)
                              : a.status;
}

/// A launch whose work-items have several rows each.
static hsd_status start_tiled(const hsdi_launch_graph *g, const hsdi_launch *l, int n_rows,
                              hsd_error *err)
{
    hsdi_launch_args a = {.device = g->device, .kernel = l->kernel, .n = l->arg, .err = err};
    hsdi_launch_arg_int(&a, n_rows);
    return a.status == HSD_OK
               ? start(g, l->kernel, l->width, (n_rows + l->n_tile_rows - 1) / l->n_tile_rows, err)
               : a.status;
}

/// The chunks of a job's longest row.
static int count_chunks(const hsdi_job *job)
{
    int longest = 0;
    for (int r = 0; r < job->n_rows; r++) {
        longest = job->n_path[r] > longest ? job->n_path[r] : longest;
    }
    return (job->n_trunk + longest + HSDI_OPENCL_CHUNK - 1) / HSDI_OPENCL_CHUNK;
}

/// The rows of a job, of which `first` is the first of the submission, with its cache.
static hsd_status start_on_cache(const hsdi_launch_graph *g, const hsdi_launch *l,
                                 const hsdi_job *job, int first, hsd_error *err)
{
    const hsdi_launch_cache *c = (const hsdi_launch_cache *)job->cache;
    hsdi_launch_args a = {.device = g->device, .kernel = l->kernel, .n = l->arg, .err = err};
    hsdi_launch_arg_int(&a, first);
    // From keys to values, which are one where a layer keeps its input.
    bool is_el = c->base.layers[l->layer].layout == HSDI_LAYOUT_EL;
    hsdi_launch_arg_int(&a, is_el ? 0 : c->base.n_cells);
    hsdi_launch_arg_memory(&a, c->layers[l->layer]);
    return a.status == HSD_OK ? start(g, l->kernel, l->width, job->n_rows, err) : a.status;
}

/// The same by chunks: l[0] makes them, l[1] joins them.
static hsd_status start_chunks(const hsdi_launch_graph *g, const hsdi_launch *l,
                               const hsdi_job *job, int first, int n_chunks, hsd_error *err)
{
    hsdi_launch part = l[0];
    hsdi_launch_args a = {.device = g->device, .kernel = part.kernel, .n = part.arg, .err = err};
    hsdi_launch_arg_int(&a, n_chunks);
    part.arg = a.n;
    part.width *= (size_t)n_chunks;
    hsd_status status = a.status;
    if (status == HSD_OK) {
        status = start_on_cache(g, &part, job, first, err);
    }
    a = (hsdi_launch_args){.device = g->device, .kernel = l[1].kernel, .n = l[1].arg, .err = err};
    hsdi_launch_arg_int(&a, n_chunks);
    hsdi_launch_arg_int(&a, first);
    status = status == HSD_OK ? a.status : status;
    return status == HSD_OK ? start(g, l[1].kernel, l[1].width, job->n_rows, err) : status;
}

/// Once per job: each has its own cache.
static hsd_status start_on_caches(const hsdi_launch_graph *g, const hsdi_launch *l,
                                  const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int first = 0;
    for (int i = 0; i < n_jobs && status == HSD_OK; i++) {
        int n_chunks = l->n_split ? count_chunks(&jobs[i]) : 1;
        size_t n_groups = l->width / HSDI_OPENCL_GROUP * (size_t)jobs[i].n_rows;
        bool cut = n_chunks > 1 && n_groups < (size_t)g->device->split_groups;
        status = cut ? start_chunks(g, l + 1, &jobs[i], first, n_chunks, err)
                     : start_on_cache(g, l, &jobs[i], first, err);
        first += jobs[i].n_rows;
    }
    return status;
}

static hsd_status bind_kernel(const hsdi_launch_graph *g, const hsdi_launch *l,
                              hsdi_launch_kernel *kernel, int value, hsdi_launch_memory *memory,
                              hsd_error *err)
{
    hsdi_launch_args a = {.device = g->device, .kernel = kernel, .err = err};
    for (int i = 0; i < l->n_external; i++) {
        if (l->external[i].value == value) {
            a.n = l->external[i].arg;
            hsdi_launch_arg_memory(&a, memory);
        }
    }
    return a.status;
}

/// Kernels get other external rows than they had.
static hsd_status bind(hsdi_launch_graph *g, int value, hsdi_launch_memory *memory, hsd_error *err)
{
    hsdi_launch_memory **bound = value == HSDI_VALUE_IN ? &g->bound_in : &g->bound_out;
    if (*bound == memory) {
        return HSD_OK;
    }
    *bound = NULL; // until all have it
    hsd_status status = HSD_OK;
    for (int i = 0; i < g->n_launches && status == HSD_OK; i++) {
        const hsdi_launch *l = &g->launches[i];
        if (l->kernel) {
            status = bind_kernel(g, l, l->kernel, value, memory, err);
        }
        for (int c = 0; c < l->n_products && status == HSD_OK; c++) {
            status = bind_kernel(g, l, l->products[c].kernel, value, memory, err);
        }
    }
    *bound = status == HSD_OK ? memory : NULL;
    return status;
}

static hsd_status start_all(hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs, int n_rows,
                            hsd_error *err)
{
    const hsdi_launch_buffer *in = in_place(g, HSDI_VALUE_IN, jobs, n_jobs);
    const hsdi_launch_buffer *out = in_place(g, HSDI_VALUE_OUT, jobs, n_jobs);
    hsd_status status = bind(g, HSDI_VALUE_IN, in ? in->memory : g->in, err);
    if (status == HSD_OK) {
        status = bind(g, HSDI_VALUE_OUT, out ? out->memory : g->out, err);
    }
    for (int i = 0; i < g->n_launches && status == HSD_OK; i++) {
        const hsdi_launch *l = &g->launches[i];
        i += l->n_split;
        status = l->layer >= 0    ? start_on_caches(g, l, jobs, n_jobs, err)
                 : l->n_products  ? start_product(g, l, n_rows, err)
                 : l->n_tile_rows ? start_tiled(g, l, n_rows, err)
                                  : start(g, l->kernel, l->width, n_rows, err);
    }
    return status;
}

/// Everything that the launches of a submission depend on; returns the number of ints.
static int make_key(hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs)
{
    const hsdi_launch_buffer *in = in_place(g, HSDI_VALUE_IN, jobs, n_jobs);
    const hsdi_launch_buffer *out = in_place(g, HSDI_VALUE_OUT, jobs, n_jobs);
    int64_t *at = g->key;
    *at++ = g->device->profiles;
    *at++ = g->device->n_queues;
    *at++ = in ? in->serial : 0;
    *at++ = out ? out->serial : 0;
    for (int i = 0; i < n_jobs; i++) {
        *at++ = jobs[i].n_rows;
        *at++ = g->base.n_layers ? ((const hsdi_launch_cache *)jobs[i].cache)->serial : 0;
        *at++ = g->base.n_layers && g->device->split_groups > 0 ? count_chunks(&jobs[i]) : 0;
    }
    return (int)(at - g->key);
}

/// The launches kept for this key, else the ones that were not used for longest, emptied.
static hsdi_launch_kept *find_kept(hsdi_launch_graph *g, int n_key)
{
    hsdi_launch_kept *oldest = &g->kept[0];
    for (int i = 0; i < HSDI_LAUNCH_N_KEPT; i++) {
        hsdi_launch_kept *kept = &g->kept[i];
        if (kept->n_key == n_key &&
            memcmp(kept->key, g->key, (size_t)n_key * sizeof *g->key) == 0) {
            return kept;
        }
        oldest = kept->used < oldest->used ? kept : oldest;
    }
    oldest->n_key = 0;
    return oldest;
}

static hsd_status replay(hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs, int n_rows,
                         hsd_error *err)
{
    const hsdi_launch_driver *driver = g->device->driver;
    int n_key = make_key(g, jobs, n_jobs);
    hsdi_launch_kept *kept = find_kept(g, n_key);
    if (kept->n_key == 0) {
        hsd_status status = driver->record(g->device, &kept->record, err);
        if (status == HSD_OK) {
            status = start_all(g, jobs, n_jobs, n_rows, err);
        }
        if (status != HSD_OK) {
            return status;
        }
        memcpy(kept->key, g->key, (size_t)n_key * sizeof *g->key);
        kept->n_key = n_key;
    }
    kept->used = ++g->n_runs;
    return driver->replay(g->device, kept->record, err);
}

/// The ints that fill_table will write.
static size_t count_ints(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs)
{
    size_t n = 0;
    for (const hsdi_job *job = jobs; job < jobs + n_jobs; job++) {
        n += (size_t)job->n_rows * HSDI_JOB_INTS;
        n += g->base.n_layers ? (size_t)job->n_trunk : 0;
        for (int r = 0; r < job->n_rows; r++) {
            n += g->base.n_layers ? (size_t)job->n_path[r] : 0;
            n += g->base.draw_width ? HSDI_RECORD_INTS + (size_t)job->draws[r].n_banned +
                                          (size_t)job->draws[r].n_penalised
                                    : 0;
        }
    }
    return n;
}

static hsd_status send_all(const hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs, int n_rows,
                           hsd_error *err)
{
    size_t n_ints = fill_table(g, jobs, n_jobs, n_rows);
    hsd_status status = HSD_OK;
    if (!g->device->shares) {
        count_copy(g);
        status =
            g->device->driver->send(g->device, g->table, 0, n_ints * sizeof *g->host, g->host, err);
    }
    return status == HSD_OK && !in_place(g, HSDI_VALUE_IN, jobs, n_jobs)
               ? send_rows(g, jobs, n_jobs, err)
               : status;
}

static size_t buffer_bytes(const hsdi_launch_buffer *b)
{
    return (size_t)b->host.base.n_rows * (size_t)b->host.base.width * sizeof(float);
}

/// Memory that host and device share, and who has it.
typedef struct shared {
    hsdi_launch_memory *memory;
    void *host;
    size_t size;
    hsdi_launch_owner back; ///< how the host takes it
    bool *is_away;          ///< the device has it
} shared;

enum { N_SHARED = 3, TABLE_LEAST = 1024 }; ///< ints of the table that are mapped at least

/// The table (its first n_ints ints) and the rows of a submission. Shapes: out [N_SHARED]. Returns
/// how many there are.
static int list_shared(hsdi_launch_graph *g, const hsdi_job *jobs, int n_jobs, size_t n_ints,
                       shared *out)
{
    hsdi_launch_buffer *in = in_place(g, HSDI_VALUE_IN, jobs, n_jobs);
    hsdi_launch_buffer *to = in_place(g, HSDI_VALUE_OUT, jobs, n_jobs);
    size_t row = (size_t)g->base.n_rows_max * sizeof(float);
    const shared all[N_SHARED] = {
        {g->table, g->host, n_ints * sizeof *g->host, HSDI_OWNER_HOST_FILLS, &g->table_away},
        {in ? in->memory : g->in, in ? in->host.data : g->in_host,
         in ? buffer_bytes(in) : row * (size_t)g->base.in_width, HSDI_OWNER_HOST,
         in ? &in->is_away : &g->in_away},
        {to ? to->memory : g->out, to ? to->host.data : g->out_host,
         to ? buffer_bytes(to) : row * (size_t)g->base.out_width, HSDI_OWNER_HOST,
         to ? &to->is_away : &g->out_away},
    };
    int n = 0;
    for (int i = 0; i < N_SHARED && g->device->shares && g->device->driver->host_own; i++) {
        // Rows that are read and written in place are one memory.
        if (all[i].memory && (i < 2 || all[i].memory != all[1].memory)) {
            out[n++] = all[i];
        }
    }
    return n;
}

/// The device gets what the host has.
static hsd_status give(hsdi_launch_device *d, const shared *all, int n, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < n && status == HSD_OK; i++) {
        if (!*all[i].is_away) {
            status = d->driver->host_own(d, all[i].memory, all[i].host, all[i].size,
                                         HSDI_OWNER_DEVICE, err);
            *all[i].is_away = status == HSD_OK;
        }
    }
    return status;
}

/// The host takes back what the device has, as much of it as it gets.
static hsd_status take(hsdi_launch_device *d, const shared *all, int n, hsd_error *err)
{
    hsd_status first = HSD_OK;
    for (int i = 0; i < n; i++) {
        if (*all[i].is_away) {
            hsd_status status = d->driver->host_own(d, all[i].memory, all[i].host, all[i].size,
                                                    all[i].back, first == HSD_OK ? err : NULL);
            *all[i].is_away = status != HSD_OK;
            first = first == HSD_OK ? status : first;
        }
    }
    return first;
}

/// All that is shared becomes the host's again, with n_ints ints of the table, where an earlier
/// pass failed or left less. Nothing is done as a rule.
static hsd_status make_room(hsdi_launch_graph *g, const shared *all, int n, size_t n_ints,
                            hsd_error *err)
{
    hsdi_launch_device *d = g->device;
    bool any = false, is_short = n > 0 && n_ints > g->n_mapped;
    hsd_status status = HSD_OK;
    if (is_short && !g->table_away) {
        status = give(d, &all[0], 1, err);
    }
    for (int i = 0; i < n; i++) {
        any |= *all[i].is_away;
    }
    if (status == HSD_OK && any) {
        status = take(d, all, n, err);
        g->n_mapped = g->table_away ? 0 : n_ints;
        hsd_status finished = d->driver->finish(d, status == HSD_OK ? err : NULL);
        status = status == HSD_OK ? finished : status;
    }
    return status;
}

hsd_status hsdi_launch_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs,
                                 hsd_error *err)
{
    hsdi_launch_graph *g = (hsdi_launch_graph *)graph;
    int n_rows = 0;
    for (int i = 0; i < n_jobs; i++) {
        n_rows += jobs[i].n_rows;
        if (g->base.n_layers && ((const hsdi_launch_cache *)jobs[i].cache)->device != g->device) {
            return hsdi_fail(err, HSD_EINVAL, "cache", "the cache is on another device");
        }
    }
    shared all[N_SHARED];
    size_t n_ints = count_ints(g, jobs, n_jobs);
    int n_shared = list_shared(g, jobs, n_jobs, n_ints, all);
    hsd_status status = make_room(g, all, n_shared, n_ints, err);
    if (status == HSD_OK) {
        status = send_all(g, jobs, n_jobs, n_rows, err);
    }
    if (status == HSD_OK) {
        status = give(g->device, all, n_shared, err);
    }
    if (status == HSD_OK) {
        status = g->device->records ? replay(g, jobs, n_jobs, n_rows, err)
                                    : start_all(g, jobs, n_jobs, n_rows, err);
    }
    bool fetched = in_place(g, HSDI_VALUE_OUT, jobs, n_jobs) != NULL;
    if (status == HSD_OK && !fetched && !g->out_host) {
        status = fetch_rows(g, jobs, n_jobs, err);
        fetched = true;
    }
    // Also after a failure: rows and table are borrowed until then. The next table is about as
    // long.
    n_ints = 2 * n_ints > TABLE_LEAST ? 2 * n_ints : TABLE_LEAST;
    n_ints = n_ints < g->n_ints ? n_ints : g->n_ints;
    n_shared = list_shared(g, jobs, n_jobs, n_ints, all);
    bool was_away = g->table_away;
    hsd_status owned = take(g->device, all, n_shared, status == HSD_OK ? err : NULL);
    g->n_mapped = was_away && !g->table_away ? n_ints : g->n_mapped;
    status = status == HSD_OK ? owned : status;
    hsd_status finished = g->device->driver->finish(g->device, status == HSD_OK ? err : NULL);
    status = status == HSD_OK ? finished : status;
    return status == HSD_OK && !fetched ? fetch_rows(g, jobs, n_jobs, err) : status;
}
