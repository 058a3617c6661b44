/// Products for the kernel tests: random ones, run whole or a few rows at a time.
#ifndef TESTS_KERNELS_PRODUCT_H
#define TESTS_KERNELS_PRODUCT_H

#include "tests/kernels/support.h"

/// One product, from source data to y.
typedef struct product {
    hsdi_type type;
    int n_rows, n_in, n_out;
    bool accumulate;
    uint64_t seed;
    uint8_t *source;
    float *x, *bias, *y_old; ///< bias may be NULL
} product;

static inline product product_make(hsdi_type type, int n_rows, int n_in, int n_out, uint64_t seed)
{
    noise s = {seed};
    product p = {.type = type,
                 .n_rows = n_rows,
                 .n_in = n_in,
                 .n_out = n_out,
                 .accumulate = seed & 1,
                 .seed = seed};
    p.source = noise_matrix(&s, type, n_out, n_in);
    p.x = noise_floats(&s, (size_t)n_rows * (size_t)n_in);
    p.y_old = noise_floats(&s, (size_t)n_rows * (size_t)n_out);
    p.bias = seed & 2 ? noise_floats(&s, (size_t)n_out) : NULL;
    return p;
}

static inline void product_free(product *p)
{
    free(p->source);
    free(p->x);
    free(p->y_old);
    free(p->bias);
}

static inline uint8_t *pack(const hsdi_kernels *set, const product *p)
{
    int n_groups = (p->n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    uint8_t *w = must_alloc(set->pack_bytes(p->type, p->n_out, p->n_in));
    set->pack(p->type, p->n_out, p->n_in, p->source, w, 0, n_groups / 2);
    set->pack(p->type, p->n_out, p->n_in, p->source, w, n_groups / 2, n_groups);
    return w;
}

/// Rows [row, row + n_rows), groups cut at `cut`. Returns y of all rows, dense.
static inline void run_rows(const hsdi_kernels *set, const product *p, const uint8_t *w, int row,
                            int n_rows, int cut, float *y)
{
    size_t first = (size_t)row * (size_t)p->n_out;
    uint8_t *x = must_alloc(set->act_bytes(p->type, p->n_in) * (size_t)n_rows);
    const hsdi_acts acts = {p->type, n_rows, p->n_in, x};
    const float *from = p->x + (size_t)row * (size_t)p->n_in;
    for (int r = n_rows - 1; r >= 0; r -= 3) { // threads prepare rows in any order
        int begin = r < 2 ? 0 : r - 2;
        set->act_prepare(&acts, from + (size_t)begin * (size_t)p->n_in, p->n_in, begin,
                         r - begin + 1);
    }
    memcpy(y + first, p->y_old + first, (size_t)n_rows * (size_t)p->n_out * sizeof *y);
    hsdi_matmul m = {.type = p->type,
                     .n_rows = n_rows,
                     .n_in = p->n_in,
                     .n_out = p->n_out,
                     .x = x,
                     .w = w,
                     .bias = p->bias,
                     .y = y + first,
                     .y_stride = p->n_out,
                     .accumulate = p->accumulate};
    set->matmul(&m, 0, cut);
    set->matmul(&m, cut, (p->n_out + HSDI_GROUP - 1) / HSDI_GROUP);
    free(x);
}

static inline float *run(const hsdi_kernels *set, const product *p)
{
    float *y = must_alloc((size_t)p->n_rows * (size_t)p->n_out * sizeof *y);
    uint8_t *w = pack(set, p);
    run_rows(set, p, w, 0, p->n_rows, 0, y);
    free(w);
    return y;
}

static inline const char *describe(const hsdi_kernels *set, const product *p)
{
    static char text[128];
    snprintf(text, sizeof text, "%s %s [%d, %d] -> %d", set->name, hsdi_type_find(p->type)->name,
             p->n_rows, p->n_in, p->n_out);
    return text;
}

#endif
