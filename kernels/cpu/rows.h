/// Norms, activations and the other kernels of one row, for a set whose lanes.h comes first.
///
/// Included once per vector set; the order of operations is that of ref/rows.c.
#include <math.h>
#include <stdbool.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/set.h"

static inline int lanes_at(int i, int n)
{
    return n - i < 16 ? n - i : 16;
}

void HSDI_SET(rms_norm)(const float *x, int x_stride, const float *w, float eps, int n_rows, int n,
                        float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        v16 squares = v_zero();
        for (int i = 0; i < n; i += 16) {
            v16 v = v_load_n(x + i, lanes_at(i, n));
            squares = v_fma(v, v, squares);
        }
        v16 scale = v_set1(1.0f / sqrtf(v_sum(squares) / (float)n + eps));
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v16 unit = v_mul(v_load_n(x + i, lanes), scale);
            v_store_n(y + i, v_mul(unit, v_load_n(w + i, lanes)), lanes);
        }
    }
}

void HSDI_SET(layer_norm)(const float *x, int x_stride, const float *w, const float *b, float eps,
                          int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        v16 sums = v_zero(), squares = v_zero();
        for (int i = 0; i < n; i += 16) {
            sums = v_add(sums, v_load_n(x + i, lanes_at(i, n)));
        }
        v16 mean = v_set1(v_sum(sums) / (float)n);
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v16 v = v_keep_n(v_sub(v_load_n(x + i, lanes), mean), lanes, 0.0f);
            squares = v_fma(v, v, squares);
        }
        v16 scale = v_set1(1.0f / sqrtf(v_sum(squares) / (float)n + eps));
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v16 unit = v_mul(v_sub(v_load_n(x + i, lanes), mean), scale);
            v16 weight = v_load_n(w + i, lanes);
            v16 out = b ? v_fma(unit, weight, v_load_n(b + i, lanes)) : v_mul(unit, weight);
            v_store_n(y + i, out, lanes);
        }
    }
}

/// Pairs (i, i + half).
static void rotate_halves(float *x, int half, const float *cosine, const float *sine)
{
    for (int i = 0; i < half; i += 16) {
        int lanes = lanes_at(i, half);
        v16 a = v_load_n(x + i, lanes), b = v_load_n(x + half + i, lanes);
        v16 c = v_load_n(cosine + i, lanes), s = v_load_n(sine + i, lanes);
        v16 minus = v_mul(v_mul(b, s), v_set1(-1.0f));
        v_store_n(x + i, v_fma(a, c, minus), lanes);
        v_store_n(x + half + i, v_fma(b, c, v_mul(a, s)), lanes);
    }
}

/// Pairs (2i, 2i + 1).
static void rotate_neighbours(float *x, int half, const float *cosine, const float *sine)
{
    for (int i = 0; i < half; i += 8) {
        int pairs = half - i < 8 ? half - i : 8;
        v16 v = v_load_n(x + 2 * i, 2 * pairs);
        v16 c = v_load_twice(cosine + i, pairs), s = v_load_twice(sine + i, pairs);
        v_store_n(x + 2 * i, v_fma_alternate(v, c, v_mul(v_swap_pairs(v), s)), 2 * pairs);
    }
}

void HSDI_SET(rope)(const hsdi_rope *rope, int row_begin, int row_end)
{
    int half = rope->n_rot / 2;
    for (int r = row_begin; r < row_end; r++) {
        const float *cosine = rope->cos_sin + (ptrdiff_t)r * rope->n_rot;
        float *x = rope->x + (ptrdiff_t)r * rope->x_stride;
        for (int h = 0; h < rope->n_head; h++, x += rope->d_head) {
            if (rope->neox) {
                rotate_halves(x, half, cosine, cosine + half);
            } else {
                rotate_neighbours(x, half, cosine, cosine + half);
            }
        }
    }
}

void HSDI_SET(silu_mul)(const float *gate, int gate_stride, const float *up, int up_stride,
                        int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, gate += gate_stride, up += up_stride, y += y_stride) {
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v16 g = v_load_n(gate + i, lanes);
            v16 below = v_add(v_set1(1.0f), v_exp(v_mul(g, v_set1(-1.0f))));
            v_store_n(y + i, v_mul(v_div(g, below), v_load_n(up + i, lanes)), lanes);
        }
    }
}

void HSDI_SET(gelu_tanh)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v16 v = v_load_n(x + i, lanes);
            v16 cubic = v_mul(v_mul(v, v), v);
            v16 u = v_mul(v_set1(HSDI_GELU_A), v_fma(v_set1(HSDI_GELU_B), cubic, v));
            v_store_n(y + i, v_div(v, v_add(v_set1(1.0f), v_exp(u))), lanes);
        }
    }
}

void HSDI_SET(add)(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        for (int i = 0; i < n; i += 16) {
            int lanes = lanes_at(i, n);
            v_store_n(y + i, v_add(v_load_n(y + i, lanes), v_load_n(x + i, lanes)), lanes);
        }
    }
}

static float row_top(const float *x, int n)
{
    v16 top = v_set1(-INFINITY);
    for (int i = 0; i < n; i += 16) {
        int lanes = lanes_at(i, n);
        top = v_max(v_keep_n(v_load_n(x + i, lanes), lanes, -INFINITY), top);
    }
    return v_top(top);
}

int HSDI_SET(argmax)(const float *x, int n)
{
    float top = row_top(x, n);
    v16 all = v_set1(top);
    for (int i = 0; i < n && top > -INFINITY; i += 16) {
        int lanes = lanes_at(i, n);
        unsigned equal = v_equal(v_keep_n(v_load_n(x + i, lanes), lanes, -INFINITY), all);
        if (equal) {
            return i + __builtin_ctz(equal);
        }
    }
    return 0; // nothing above -inf
}

float HSDI_SET(log_sum_exp)(const float *x, int n)
{
    float top = row_top(x, n);
    v16 sums = v_zero(), all = v_set1(top);
    for (int i = 0; i < n; i += 16) {
        int lanes = lanes_at(i, n);
        v16 e = v_exp(v_sub(v_load_n(x + i, lanes), all));
        sums = v_add(sums, v_keep_n(e, lanes, 0.0f));
    }
    return logf(v_sum(sums)) + top;
}
