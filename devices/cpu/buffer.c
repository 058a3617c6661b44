/// Memory of the CPU device: weights, caches.
#include "base/arena.h"
#include "base/error.h"
#include "devices/cpu/context.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20 };

/// Memory for packed weights, not zeroed: every byte is written by packing. Large ones ask for huge
/// pages, since a pass reads them from end to end and would miss the TLB at every small page.
static void *alloc_packed(size_t size_bytes)
{
    if (size_bytes < HUGE_PAGE_BYTES) {
        return hsdi_aligned_alloc(size_bytes);
    }
    size_t rounded = (size_bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    void *p = aligned_alloc(HUGE_PAGE_BYTES, rounded);
    if (p) {
        (void)madvise(p, rounded, MADV_HUGEPAGE); // a wish: where it is refused, pages stay small
    }
    return p;
}

void hsdi_cpu_weight_destroy(hsdi_weight *weight)
{
    hsdi_cpu_weight *w = (hsdi_cpu_weight *)weight;
    free(w->packed);
    free(w->vector);
    free(w);
}

static int n_matrices(const struct hsdi_weight *w)
{
    return w->n_heads > 0 ? w->n_heads : 1;
}

typedef struct pack_job {
    const hsdi_kernels *kernels;
    const hsdi_cpu_weight *w;
    const void *data;
} pack_job;

static void pack_part(void *arg, int i_thread, int n_threads)
{
    const pack_job *j = arg;
    const struct hsdi_weight *w = &j->w->base;
    int n_groups = (w->n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    int begin = (int)((int64_t)n_groups * i_thread / n_threads);
    int end = (int)((int64_t)n_groups * (i_thread + 1) / n_threads);
    for (int h = 0; h < n_matrices(w); h++) {
        const char *from = (const char *)j->data + (int64_t)h * w->n_out * j->w->row_bytes;
        char *to = (char *)j->w->packed + (size_t)h * j->w->head_bytes;
        j->kernels->pack(w->type, w->n_out, w->n_in, from, to, begin, end);
    }
}

hsd_status hsdi_cpu_weight_create(hsdi_device *device, const struct hsdi_weight *shape,
                                  const void *data, hsdi_weight **out, hsd_error *err)
{
    hsdi_cpu_device *cpu = (hsdi_cpu_device *)device;
    hsdi_cpu_weight *w = calloc(1, sizeof *w);
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[%d, %d]", shape->n_out, shape->n_in);
    }
    w->base = *shape;
    const hsdi_type_info *info = hsdi_type_find(shape->type);
    w->row_bytes = (int64_t)shape->n_in / info->block_elems * info->block_bytes;
    if (shape->uses & HSDI_USE_ROWS) {
        w->rows = data;
    }
    if (shape->uses & HSDI_USE_VECTOR) {
        w->vector = hsdi_aligned_alloc((size_t)shape->n_in * sizeof(float));
        w->base.size_bytes += (size_t)shape->n_in * sizeof(float);
        if (w->vector) {
            hsdi_dequant_row(shape->type, data, shape->n_in, w->vector);
        }
    }
    bool is_packed = (shape->uses & (HSDI_USE_MATMUL | HSDI_USE_HEADS)) != 0;
    if (is_packed) {
        size_t one = cpu->kernels->pack_bytes(shape->type, shape->n_out, shape->n_in);
        w->head_bytes = (one + 63) / 64 * 64;
        size_t size = shape->n_heads > 0 ? (size_t)shape->n_heads * w->head_bytes : one;
        w->base.size_bytes += size;
        w->packed = alloc_packed(size);
        if (w->packed) {
            pack_job job = {cpu->kernels, w, data};
            pthread_mutex_lock(&device->turn);
            hsdi_cpu_pool_run(cpu->pool, device->info.n_threads, pack_part, &job);
            pthread_mutex_unlock(&device->turn);
        }
    }
    if (((shape->uses & HSDI_USE_VECTOR) && !w->vector) || (is_packed && !w->packed)) {
        hsdi_cpu_weight_destroy(&w->base);
        return hsdi_fail(err, HSD_ENOMEM, "weight", "[%d, %d]", shape->n_out, shape->n_in);
    }
    *out = &w->base;
    return HSD_OK;
}

typedef struct read_job {
    const uint64_t *words;
    size_t n; ///< groups of 8 words
    _Atomic uint64_t sum;
} read_job;

static void read_part(void *arg, int i_thread, int n_threads)
{
    read_job *j = arg;
    size_t begin = j->n * (size_t)i_thread / (size_t)n_threads;
    size_t end = j->n * (size_t)(i_thread + 1) / (size_t)n_threads;
    uint64_t sums[8] = {0};
    for (size_t i = begin; i < end; i++) {
        for (int k = 0; k < 8; k++) {
            sums[k] ^= j->words[8 * i + (size_t)k];
        }
    }
    uint64_t sum = 0;
    for (int k = 0; k < 8; k++) {
        sum ^= sums[k];
    }
    atomic_fetch_xor(&j->sum, sum); // so that nothing is left out
}

hsd_status hsdi_cpu_weight_read(hsdi_device *device, const hsdi_weight *weight, int way,
                                size_t *n_bytes, hsd_error *err)
{
    const hsdi_cpu_device *cpu = (const hsdi_cpu_device *)device;
    read_job job = {.words = ((const hsdi_cpu_weight *)weight)->packed,
                    .n = weight->size_bytes / 64};
    (void)way;
    (void)err;
    hsdi_cpu_pool_run(cpu->pool, device->info.n_threads, read_part, &job);
    *n_bytes = 64 * job.n;
    return HSD_OK;
}

hsd_status hsdi_cpu_cache_create(hsdi_device *device, const struct hsdi_cache *shape,
                                 hsdi_cache **out, hsd_error *err)
{
    (void)device;
    hsdi_cpu_cache *c = calloc(1, sizeof *c);
    if (c) {
        c->base = *shape;
        int last = shape->n_layers - 1;
        c->base.size_bytes = hsdi_cache_layer_at(shape, last) + hsdi_cache_layer_bytes(shape, last);
        // Virtual memory only: pages come with the first write, so a long context costs nothing
        // until it is used.
        c->data = aligned_alloc(64, (c->base.size_bytes + 63) / 64 * 64);
    }
    if (!c || !c->data) {
        free(c);
        return hsdi_fail(err, HSD_ENOMEM, "cache", "%d layers of %d cells of %d elements",
                         shape->n_layers, shape->n_cells, shape->width);
    }
    *out = &c->base;
    return HSD_OK;
}

void hsdi_cpu_cache_destroy(hsdi_cache *cache)
{
    hsdi_cpu_cache *c = (hsdi_cpu_cache *)cache;
    free(c->data);
    free(c);
}

/// Copy cells between their planes and bytes that have one cell after the other.
static void copy_cells(const hsdi_cpu_cache *c, int first, int n, char *bytes, bool to_bytes)
{
    for (int i = 0; i < n; i++) {
        for (int layer = 0; layer < c->base.n_layers; layer++) {
            size_t size = hsdi_cache_cell_bytes(&c->base, layer);
            int n_planes = c->base.layers[layer].layout == HSDI_LAYOUT_EL ? 1 : 2;
            for (int which = 0; which < n_planes; which++, bytes += size) {
                char *cell = hsdi_cpu_cache_plane(c, layer, which) + (size_t)(first + i) * size;
                memcpy(to_bytes ? bytes : cell, to_bytes ? cell : bytes, size);
            }
        }
    }
}

hsd_status hsdi_cpu_cache_read(hsdi_device *device, const hsdi_cache *cache, int first, int n,
                               void *out, hsd_error *err)
{
    (void)device;
    (void)err;
    copy_cells((const hsdi_cpu_cache *)cache, first, n, out, true);
    return HSD_OK;
}

hsd_status hsdi_cpu_cache_write(hsdi_device *device, hsdi_cache *cache, int first, int n,
                                const void *bytes, hsd_error *err)
{
    (void)device;
    (void)err;
    copy_cells((const hsdi_cpu_cache *)cache, first, n, (char *)(uintptr_t)bytes, false);
    return HSD_OK;
}

/// Whole pages in [from, from + size). Their addresses stay ours, and read as zeros.
static void discard_pages(const char *from, size_t size)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)from + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)from + size) / page * page;
    if (begin < end) {
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
}

void hsdi_cpu_cache_discard(hsdi_cache *cache, int first, int n)
{
    const hsdi_cpu_cache *c = (const hsdi_cpu_cache *)cache;
    for (int layer = 0; layer < cache->n_layers; layer++) {
        size_t size = hsdi_cache_cell_bytes(cache, layer);
        int n_planes = cache->layers[layer].layout == HSDI_LAYOUT_EL ? 1 : 2;
        for (int which = 0; which < n_planes; which++) {
            discard_pages(hsdi_cpu_cache_plane(c, layer, which) + (size_t)first * size,
                          (size_t)n * size);
        }
    }
}
