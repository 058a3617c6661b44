/// Prints what a product and attention cost; proves nothing. Usage: bench_kernels [ISA [TYPE]].
///
/// Per type, shape and number of rows: the least time of several repetitions (the machine may be
/// busy), GB/s of packed weights read, GFLOP/s (a multiply-add counts twice) and the ratio to one
/// row.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static void *must_alloc(size_t size)
{
    void *p = aligned_alloc(64, (size + 127) & ~(size_t)63);
    if (!p) {
        abort();
    }
    memset(p, 0, size);
    return p;
}

static float *floats(size_t n)
{
    float *p = must_alloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) {
        p[i] = (float)(i * 2654435761u % 1000) / 500.0f - 1.0f;
    }
    return p;
}

/// Least time of one call, in microseconds. Several copies of the weights keep a big matrix out of
/// the caches, as the layers of a model do.
static double time_matmul(const hsdi_kernels *k, hsdi_matmul *m, const uint8_t *w, size_t w_bytes,
                          int n_copies)
{
    int n_groups = (m->n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    double best = 1e30, end = now_us() + 150e3;
    for (int i = 0; i < 7 || now_us() < end; i++) {
        int n_calls = w_bytes <= 1 << 20 ? 8 : 1;
        double begin = now_us();
        for (int c = 0; c < n_calls; c++) {
            m->w = w + (size_t)((i + c) % n_copies) * w_bytes;
            k->matmul(m, 0, n_groups);
        }
        double us = (now_us() - begin) / n_calls;
        best = us < best ? us : best;
    }
    return best;
}

static void bench_matmul(const hsdi_kernels *k, hsdi_type type, int n_in, int n_out)
{
    static const int rows[] = {1, 2, 4, 8, 16, 64, 256};
    const int n_rows_max = 256;
    size_t w_bytes = k->pack_bytes(type, n_out, n_in);
    int n_copies = w_bytes <= 1 << 20 ? 1 : (int)(((size_t)256 << 20) / w_bytes) + 1;
    uint8_t *w = must_alloc(w_bytes * (size_t)n_copies);
    memset(w, 0x3c, w_bytes * (size_t)n_copies); // ordinary numbers in every format
    float *x = floats((size_t)n_rows_max * (size_t)n_in);
    uint8_t *act = must_alloc(k->act_bytes(type, n_in) * (size_t)n_rows_max);
    float *y = must_alloc((size_t)n_rows_max * (size_t)n_out * sizeof *y);
    double one = 0;
    printf("\n%s %s [%d x %d], %.1f MB packed\n", k->name, hsdi_type_find(type)->name, n_out, n_in,
           (double)w_bytes * 1e-6);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hsdi_matmul m = {.type = type,
                         .n_rows = rows[i],
                         .n_in = n_in,
                         .n_out = n_out,
                         .x = act,
                         .y = y,
                         .y_stride = n_out};
        double begin = now_us();
        k->act_prepare(&(hsdi_acts){type, rows[i], n_in, act}, x, n_in, 0, rows[i]);
        double prepare = now_us() - begin;
        double us = time_matmul(k, &m, w, w_bytes, n_copies);
        one = i == 0 ? us : one;
        double flop = 2.0 * rows[i] * (double)n_in * (double)n_out;
        printf("  rows %3d  %10.1f us  %6.1f GB/s  %7.1f GFLOP/s  x%.2f  (prepare %.1f us)\n",
               rows[i], us, (double)w_bytes / us * 1e-3, flop / us * 1e-3, us / one, prepare);
    }
    free(w);
    free(x);
    free(act);
    free(y);
}

/// Cells of random heads of some type.
static void *cells_of(hsd_cache_type type, int n_cells, int n_kv, int d_head)
{
    size_t cell_bytes = (size_t)n_kv * hsdi_cache_head_bytes(type, d_head);
    char *cells = must_alloc((size_t)n_cells * cell_bytes);
    float *x = floats((size_t)(n_kv * d_head));
    for (int i = 0; i < n_cells; i++) {
        x[i % (n_kv * d_head)] += 0.01f;
        hsdi_cache_store(type, x, n_kv, d_head, cells + (size_t)i * cell_bytes);
    }
    free(x);
    return cells;
}

static void bench_attn(const hsdi_kernels *k, hsd_cache_type type, int n_head, int n_kv, int d_head,
                       int n_trunk)
{
    static const int rows[] = {1, 2, 4, 8, 16};
    const int n_rows_max = 16, stride = n_head * d_head;
    int32_t *trunk = must_alloc((size_t)n_trunk * sizeof *trunk), path[16], n_path[16];
    float *q = floats((size_t)(n_rows_max * stride));
    void *keys = cells_of(type, n_trunk + 16, n_kv, d_head);
    void *values = cells_of(type, n_trunk + 16, n_kv, d_head);
    float *out = floats((size_t)(n_rows_max * stride));
    void *scratch = must_alloc(k->attn_scratch_bytes(n_head, d_head, n_rows_max));
    for (int i = 0; i < n_trunk; i++) {
        trunk[i] = i;
    }
    for (int r = 0; r < n_rows_max; r++) {
        path[r] = n_trunk + r;
        n_path[r] = 1;
    }
    printf("\n%s attention, %s, %d heads on %d, d_head %d, %d positions\n", k->name,
           hsd_cache_type_name(type), n_head, n_kv, d_head, n_trunk);
    double one = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hsdi_attn a = {.n_head = n_head,
                       .n_kv = n_kv,
                       .d_head = d_head,
                       .scale = 0.1f,
                       .q = q,
                       .q_stride = stride,
                       .type = type,
                       .k = keys,
                       .v = values,
                       .trunk = trunk,
                       .n_trunk = n_trunk,
                       .path = path,
                       .n_path = n_path,
                       .path_stride = 1,
                       .out = out,
                       .out_stride = stride};
        double best = 1e30;
        for (int repeat = 0; repeat < 20; repeat++) {
            double begin = now_us();
            k->attn(&a, 0, rows[i], 0, n_head, scratch);
            double us = now_us() - begin;
            best = us < best ? us : best;
        }
        one = i == 0 ? best : one;
        double flop = 4.0 * rows[i] * n_head * (double)d_head * n_trunk;
        double bytes = 2.0 * n_trunk * n_kv * (double)hsdi_cache_head_bytes(type, d_head);
        printf("  rows %3d  %10.1f us  %7.1f GFLOP/s  %5.1f GB/s  x%.2f\n", rows[i], best,
               flop / best * 1e-3, bytes / best * 1e-3, best / one);
    }
    free(trunk);
    free(q);
    free(keys);
    free(values);
    free(out);
    free(scratch);
}

static void bench_rows(const hsdi_kernels *k)
{
    enum { n = 2048, n_calls = 200 };
    float *x = floats(n), *w = floats(n), *y = floats(n);
    const char *names[] = {"rms_norm", "silu_mul", "gelu_tanh", "add", "argmax", "log_sum_exp"};
    printf("\n%s rows of %d\n", k->name, n);
    volatile float sink = 0;
    for (int i = 0; i < 6; i++) {
        double begin = now_us();
        for (int c = 0; c < n_calls; c++) {
            switch (i) {
            case 0:
                k->rms_norm(x, n, w, 1e-5f, 1, n, y, n);
                break;
            case 1:
                k->silu_mul(x, n, w, n, 1, n, y, n);
                break;
            case 2:
                k->gelu_tanh(x, n, 1, n, y, n);
                break;
            case 3:
                k->add(x, n, 1, n, y, n);
                break;
            case 4:
                sink = sink + (float)k->argmax(x, n);
                break;
            default:
                sink = sink + k->log_sum_exp(x, n);
            }
        }
        printf("  %-12s %6.2f us\n", names[i], (now_us() - begin) / n_calls);
    }
    free(x);
    free(w);
    free(y);
}

/// Read bandwidth of one thread: the measure for one row.
static void bench_read(void)
{
    size_t n = (size_t)64 << 20;
    float *p = floats(n);
    double best = 1e30;
    float sum = 0;
    for (int repeat = 0; repeat < 5; repeat++) {
        float sums[64] = {0};
        double begin = now_us();
        for (size_t i = 0; i < n; i += 64) {
            for (int l = 0; l < 64; l++) {
                sums[l] += p[i + (size_t)l];
            }
        }
        double us = now_us() - begin;
        best = us < best ? us : best;
        sum += sums[3];
    }
    printf("plain read loop: %.1f GB/s (%g)\n", (double)(n * sizeof *p) / best * 1e-3, (double)sum);
    free(p);
}

int main(int argc, char **argv)
{
    static const hsdi_type types[] = {HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16,
                                      HSDI_TYPE_Q8_0, HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K,
                                      HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K};
    if (argc > 1) {
        setenv("HSD_ISA", argv[1], 1);
    }
    const hsdi_kernels *k = hsdi_kernels_get(hsdi_isa_detect());
    if (argc == 8 && strcmp(argv[2], "attn") == 0) { // TYPE HEADS KV_HEADS D_HEAD POSITIONS
        bench_attn(k, (hsd_cache_type)atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]),
                   atoi(argv[7]));
        return 0;
    }
    bench_read();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        if (argc > 2 && strcmp(argv[2], hsdi_type_find(types[t])->name) != 0) {
            continue;
        }
        bench_matmul(k, types[t], 2048, 5632);
        bench_matmul(k, types[t], 5632, 2048);
        bench_matmul(k, types[t], 256, 1024);
    }
    if (argc < 3 || strcmp(argv[2], "attn") == 0) {
        for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
            bench_attn(k, (hsd_cache_type)type, 32, 4, 64, 1024);
            bench_attn(k, (hsd_cache_type)type, 12, 12, 64, 4096);
            bench_attn(k, (hsd_cache_type)type, 8, 8, 32, 256);
            bench_attn(k, (hsd_cache_type)type, 12, 1, 768, 1024);
        }
        bench_rows(k);
    }
    return 0;
}
