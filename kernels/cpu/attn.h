/// Attention over blocks of 32 positions, for a set whose lanes.h comes first.
///
/// Included once per vector set; the arithmetic is that of ref/attn.c. Blocks that lie in the trunk
/// are the outer loop, so that their keys and values are read once for all rows and heads. The
/// state of each (row, head of the kv head) waits in the scratch: output so far, maximum, sum.
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/set.h"

enum { BLOCK = 32 };

/// What a call says about one kv head.
typedef struct attn_head {
    const hsdi_attn *a;
    const float *k, *v; ///< of this kv head, cell 0
    ptrdiff_t cell_stride;
    int n_share, first; ///< its query heads
    float *states;
    size_t state_floats; ///< output, padded to 16; then maximum and sum
} attn_head;

static inline int padded16(int n)
{
    return (n + 15) / 16 * 16;
}

/// Products of q and 16 keys, summed.
static inline v16 dots16(const float *q, const float *k, ptrdiff_t cell_stride,
                         const int32_t *cells, int n, int d_head)
{
    v16 sums[16];
    int whole = d_head / 16 * 16, rest = d_head - whole;
    for (int i = 0; i < 16; i++) {
        sums[i] = v_zero();
        if (i < n) {
            const float *key = k + cells[i] * cell_stride;
            for (int d = 0; d < whole; d += 16) {
                sums[i] = v_fma(v_load(q + d), v_load(key + d), sums[i]);
            }
            if (rest) {
                sums[i] = v_fma(v_load_n(q + whole, rest), v_load_n(key + whole, rest), sums[i]);
            }
        }
    }
    return v_sum_each(sums);
}

/// out[0 .. 16 * n_chunks) += weights x values, in order of position.
HSDI_TEMPLATE void add_values(int n_chunks, int last, float *out, const float *v,
                              ptrdiff_t cell_stride, const int32_t *cells, const float *weights,
                              int n)
{
    v16 sums[8];
    HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
    {
        sums[c] = v_load(out + 16 * c);
    }
    for (int i = 0; i < n; i++) {
        const float *value = v + cells[i] * cell_stride;
        v16 weight = v_set1(weights[i]);
        HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
        {
            v16 part = last == 16 ? v_load(value + 16 * c) : v_load_n(value + 16 * c, last);
            sums[c] = v_fma(weight, part, sums[c]);
        }
    }
    HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
    {
        v_store(out + 16 * c, sums[c]);
    }
}

static void add_all_values(int d_head, float *out, const float *v, ptrdiff_t cell_stride,
                           const int32_t *cells, const float *weights, int n)
{
    int d = 0;
    for (; d + 64 <= d_head; d += 64) {
        add_values(4, 16, out + d, v + d, cell_stride, cells, weights, n);
    }
    for (; d + 32 <= d_head; d += 32) {
        add_values(2, 16, out + d, v + d, cell_stride, cells, weights, n);
    }
    for (; d + 16 <= d_head; d += 16) {
        add_values(1, 16, out + d, v + d, cell_stride, cells, weights, n);
    }
    if (d < d_head) {
        add_values(1, d_head - d, out + d, v + d, cell_stride, cells, weights, n);
    }
}

/// One block of n positions for one query head.
static void attend_block(const attn_head *h, const float *q, const int32_t *cells, int n,
                         float *state)
{
    int d_head = h->a->d_head, d_pad = padded16(d_head);
    float *top = state + d_pad, *sum = state + d_pad + 1;
    int n_low = n < 16 ? n : 16, n_high = n - n_low;
    const v16 scale = v_set1(h->a->scale), none = v_set1(-INFINITY);
    v16 low = v_mul(dots16(q, h->k, h->cell_stride, cells, n_low, d_head), scale), high = none;
    low = v_keep_n(low, n_low, -INFINITY);
    if (n_high > 0) {
        high = v_mul(dots16(q, h->k, h->cell_stride, cells + 16, n_high, d_head), scale);
        high = v_keep_n(high, n_high, -INFINITY);
    }
    float new_top = v_top(v_max(high, v_max(low, v_set1(*top))));
    v16 all = v_set1(new_top);
    low = v_keep_n(v_exp(v_sub(low, all)), n_low, 0.0f);
    high = n_high > 0 ? v_keep_n(v_exp(v_sub(high, all)), n_high, 0.0f) : v_zero();
    float weights[BLOCK], keep[16];
    v_store(weights, low);
    v_store(weights + 16, high);
    v_store(keep, v_exp(v_set1(*top - new_top)));
    *sum = fmaf(*sum, keep[0], v_sum(v_add(low, high)));
    *top = new_top;
    for (int d = 0; d < d_pad && keep[0] != 1.0f; d += 16) {
        v_store(state + d, v_mul(v_load(state + d), v_set1(keep[0])));
    }
    add_all_values(d_head, state, h->v, h->cell_stride, cells, weights, n);
}

static float *state_of(const attn_head *h, int i_row, int i_head)
{
    return h->states + (size_t)(i_row * h->n_share + i_head) * h->state_floats;
}

static void attend_heads(const attn_head *h, int row, int i_row, const int32_t *cells, int n)
{
    const hsdi_attn *a = h->a;
    for (int i = 0; i < h->n_share; i++) {
        const float *q =
            a->q + (ptrdiff_t)row * a->q_stride + (ptrdiff_t)(h->first + i) * a->d_head;
        attend_block(h, q, cells, n, state_of(h, i_row, i));
    }
}

/// Positions from `begin` to the end of a row, partly in the trunk and partly in its path.
static void attend_rest(const attn_head *h, int row, int i_row, int begin)
{
    const hsdi_attn *a = h->a;
    const int32_t *path = a->path + (ptrdiff_t)row * a->path_stride;
    int end = a->n_trunk + a->n_path[row];
    for (; begin < end; begin += BLOCK) {
        int32_t cells[BLOCK];
        int n = end - begin < BLOCK ? end - begin : BLOCK;
        for (int i = 0; i < n; i++) {
            int p = begin + i;
            cells[i] = p < a->n_trunk ? a->trunk[p] : path[p - a->n_trunk];
        }
        attend_heads(h, row, i_row, cells, n);
    }
}

static void finish(const attn_head *h, int row, int i_row)
{
    const hsdi_attn *a = h->a;
    for (int i = 0; i < h->n_share; i++) {
        const float *state = state_of(h, i_row, i);
        v16 sum = v_set1(state[padded16(a->d_head) + 1]);
        float *out =
            a->out + (ptrdiff_t)row * a->out_stride + (ptrdiff_t)(h->first + i) * a->d_head;
        for (int d = 0; d < a->d_head; d += 16) {
            int lanes = a->d_head - d < 16 ? a->d_head - d : 16;
            v_store_n(out + d, v_div(v_load(state + d), sum), lanes);
        }
    }
}

void HSDI_SET(attn)(const hsdi_attn *a, int row_begin, int row_end, int kv_begin, int kv_end,
                    void *scratch)
{
    int n_share = a->n_head / a->n_kv, n_rows = row_end - row_begin;
    size_t state_floats = (size_t)padded16(a->d_head) + 16;
    for (int kv = kv_begin; kv < kv_end; kv++) {
        ptrdiff_t shift = (ptrdiff_t)kv * a->d_head;
        attn_head h = {.a = a,
                       .k = a->k + shift,
                       .v = a->v + shift,
                       .cell_stride = (ptrdiff_t)a->n_kv * a->d_head,
                       .n_share = n_share,
                       .first = kv * n_share,
                       .states = scratch,
                       .state_floats = state_floats};
        memset(scratch, 0, (size_t)(n_rows * n_share) * state_floats * sizeof(float));
        for (int i = 0; i < n_rows * n_share; i++) {
            h.states[(size_t)i * state_floats + state_floats - 16] = -INFINITY;
        }
        int shared = a->n_trunk / BLOCK * BLOCK;
        for (int begin = 0; begin < shared; begin += BLOCK) {
            for (int row = row_begin; row < row_end; row++) {
                attend_heads(&h, row, row - row_begin, a->trunk + begin, BLOCK);
            }
        }
        for (int row = row_begin; row < row_end; row++) {
            attend_rest(&h, row, row - row_begin, shared);
            finish(&h, row, row - row_begin);
        }
    }
}
