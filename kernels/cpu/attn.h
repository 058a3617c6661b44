/// Attention over blocks of 32 positions, for a set whose lanes.h comes first and which
/// says how many queries (ATTN_QUERIES) by how many registers of d_head (ATTN_CHUNKS) it sums at
/// once.
///
/// Included once per vector set; the arithmetic is that of ref/attn.c. Blocks that lie in the trunk
/// are the outer loop, so that their keys and values are read once for all rows and heads. The
/// state of each query waits in the scratch: output so far, maximum, sum.
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/set.h"

enum { BLOCK = 32, ATTN_SUMS = ATTN_QUERIES * ATTN_CHUNKS };

/// What a call says about one kv head, and the state of its queries.
///
/// A query is one row and one query head: number j is row row_begin + j / n_share, head
/// first + j % n_share.
typedef struct attn_head {
    const hsdi_attn *a;
    const float *k, *v; ///< of this kv head, cell 0
    ptrdiff_t cell_stride;
    int row_begin, first, n_share;
    float *states;
    size_t state_floats; ///< output so far, padded to 16; then maximum and sum
} attn_head;

static inline int padded16(int n)
{
    return (n + 15) / 16 * 16;
}

static inline float *state_of(const attn_head *h, int j)
{
    return h->states + (size_t)j * h->state_floats;
}

/// Products of q and 16 keys, summed; d_head is 16 * n_chunks.
HSDI_TEMPLATE v16 dots_whole(int n_chunks, const attn_head *h, const float *q, const int32_t *cells)
{
    v16 query[8], sums[16];
    HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
    {
        query[c] = v_load(q + 16 * c);
    }
    HSDI_UNROLL for (int i = 0; i < 16; i++)
    {
        const float *key = h->k + cells[i] * h->cell_stride;
        sums[i] = v_zero();
        HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
        {
            sums[i] = v_fma(query[c], v_load(key + 16 * c), sums[i]);
        }
    }
    return v_sum_each(sums);
}

/// Products of q and n <= 16 keys, summed.
static v16 dots(const attn_head *h, const float *q, const int32_t *cells, int n)
{
    int d_head = h->a->d_head, whole = d_head / 16 * 16, rest = d_head - whole;
    if (n == 16 && d_head == 64) {
        return dots_whole(4, h, q, cells);
    }
    if (n == 16 && d_head == 32) {
        return dots_whole(2, h, q, cells);
    }
    v16 sums[16];
    for (int i = 0; i < 16; i++) {
        sums[i] = v_zero();
        if (i < n) {
            const float *key = h->k + cells[i] * h->cell_stride;
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

/// Scores of n positions, -inf behind them.
static inline v16 scores_of(const attn_head *h, const float *q, const int32_t *cells, int n)
{
    if (n <= 0) {
        return v_set1(-INFINITY);
    }
    return v_keep_n(v_mul(dots(h, q, cells, n), v_set1(h->a->scale)), n, -INFINITY);
}

/// exp(score - top) of n positions, 0 behind them.
static inline v16 weights_of(v16 scores, v16 top, int n)
{
    return n <= 0 ? v_zero() : v_keep_n(v_exp(v_sub(scores, top)), n, 0.0f);
}

/// Bring the state of a query to the maximum that a block leads to; weights [BLOCK] of its n
/// positions.
static void weigh(const attn_head *h, int j, const int32_t *cells, int n, float *weights)
{
    const hsdi_attn *a = h->a;
    const float *q = a->q + (ptrdiff_t)(h->row_begin + j / h->n_share) * a->q_stride +
                     (ptrdiff_t)(h->first + j % h->n_share) * a->d_head;
    int d_pad = padded16(a->d_head), n_low = n < 16 ? n : 16, n_high = n - n_low;
    float *state = state_of(h, j), old_top = state[d_pad], keep = 1.0f;
    v16 low = scores_of(h, q, cells, n_low), high = scores_of(h, q, cells + 16, n_high);
    float top = v_top(v_max(high, v_max(low, v_set1(old_top))));
    low = weights_of(low, v_set1(top), n_low);
    high = weights_of(high, v_set1(top), n_high);
    v_store(weights, low);
    v_store(weights + 16, high);
    if (!(old_top - top == 0.0f)) { // exp(0) is 1, and a product with 1 changes nothing
        float all[16];
        v_store(all, v_exp(v_set1(old_top - top)));
        keep = all[0];
        for (int d = 0; d < d_pad; d += 16) {
            v_store(state + d, v_mul(v_load(state + d), v_set1(keep)));
        }
    }
    state[d_pad] = top;
    state[d_pad + 1] = fmaf(state[d_pad + 1], keep, v_sum(v_add(low, high)));
}

/// Outputs of queries j .. j + n_queries - 1, elements [d, d + 16 * n_chunks) += weights x values,
/// in order of position; the last chunk has `last` elements.
HSDI_TEMPLATE void add_values(int n_queries, int n_chunks, int last, const attn_head *h, int j,
                              int d, const int32_t *cells, const float *weights, int n)
{
    v16 sums[ATTN_SUMS];
    HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
    {
        sums[i] = v_load(state_of(h, j + i / n_chunks) + d + 16 * (i % n_chunks));
    }
    for (int p = 0; p < n; p++) {
        const float *value = h->v + cells[p] * h->cell_stride + d;
        v16 part[ATTN_CHUNKS];
        HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
        {
            part[c] = last == 16 ? v_load(value + 16 * c) : v_load_n(value + 16 * c, last);
        }
        HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
        {
            v16 weight = v_set1(weights[i / n_chunks * BLOCK + p]);
            sums[i] = v_fma(weight, part[i % n_chunks], sums[i]);
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
    {
        v_store(state_of(h, j + i / n_chunks) + d + 16 * (i % n_chunks), sums[i]);
    }
}

HSDI_TEMPLATE void add_all_values(int n_queries, const attn_head *h, int j, const int32_t *cells,
                                  const float *weights, int n)
{
    int d = 0, d_head = h->a->d_head;
    for (; d + 16 * ATTN_CHUNKS <= d_head; d += 16 * ATTN_CHUNKS) {
        add_values(n_queries, ATTN_CHUNKS, 16, h, j, d, cells, weights, n);
    }
    for (; d + 16 <= d_head; d += 16) {
        add_values(n_queries, 1, 16, h, j, d, cells, weights, n);
    }
    if (d < d_head) {
        add_values(n_queries, 1, d_head - d, h, j, d, cells, weights, n);
    }
}

/// One block of n positions for queries [j, j_end), which all see these cells.
static void attend_block(const attn_head *h, int j, int j_end, const int32_t *cells, int n)
{
    float weights[ATTN_QUERIES * BLOCK];
    for (; j + ATTN_QUERIES <= j_end; j += ATTN_QUERIES) {
        for (int i = 0; i < ATTN_QUERIES; i++) {
            weigh(h, j + i, cells, n, weights + i * BLOCK);
        }
        add_all_values(ATTN_QUERIES, h, j, cells, weights, n);
    }
    for (; j < j_end; j++) {
        weigh(h, j, cells, n, weights);
        add_all_values(1, h, j, cells, weights, n);
    }
}

/// Positions from `begin` to the end of a row, partly in the trunk and partly in its path.
static void attend_rest(const attn_head *h, int i_row, int begin)
{
    const hsdi_attn *a = h->a;
    int row = h->row_begin + i_row, end = a->n_trunk + a->n_path[row];
    const int32_t *path = a->path + (ptrdiff_t)row * a->path_stride;
    for (; begin < end; begin += BLOCK) {
        int32_t cells[BLOCK];
        int n = end - begin < BLOCK ? end - begin : BLOCK;
        for (int i = 0; i < n; i++) {
            int p = begin + i;
            cells[i] = p < a->n_trunk ? a->trunk[p] : path[p - a->n_trunk];
        }
        attend_block(h, i_row * h->n_share, (i_row + 1) * h->n_share, cells, n);
    }
}

static void finish(const attn_head *h, int j)
{
    const hsdi_attn *a = h->a;
    const float *state = state_of(h, j);
    v16 sum = v_set1(state[padded16(a->d_head) + 1]);
    float *out = a->out + (ptrdiff_t)(h->row_begin + j / h->n_share) * a->out_stride +
                 (ptrdiff_t)(h->first + j % h->n_share) * a->d_head;
    for (int d = 0; d < a->d_head; d += 16) {
        int lanes = a->d_head - d < 16 ? a->d_head - d : 16;
        v_store_n(out + d, v_div(v_load(state + d), sum), lanes);
    }
}

void HSDI_SET(attn)(const hsdi_attn *a, int row_begin, int row_end, int kv_begin, int kv_end,
                    void *scratch)
{
    int n_share = a->n_head / a->n_kv, n_queries = (row_end - row_begin) * n_share;
    int shared = a->n_trunk / BLOCK * BLOCK, d_pad = padded16(a->d_head);
    for (int kv = kv_begin; kv < kv_end; kv++) {
        attn_head h = {.a = a,
                       .k = a->k + (ptrdiff_t)kv * a->d_head,
                       .v = a->v + (ptrdiff_t)kv * a->d_head,
                       .cell_stride = (ptrdiff_t)a->n_kv * a->d_head,
                       .row_begin = row_begin,
                       .first = kv * n_share,
                       .n_share = n_share,
                       .states = scratch,
                       .state_floats = (size_t)d_pad + 16};
        memset(scratch, 0, (size_t)n_queries * h.state_floats * sizeof(float));
        for (int j = 0; j < n_queries; j++) {
            state_of(&h, j)[d_pad] = -INFINITY;
        }
        for (int begin = 0; begin < shared; begin += BLOCK) {
            attend_block(&h, 0, n_queries, a->trunk + begin, BLOCK);
        }
        for (int i = 0; i < row_end - row_begin; i++) {
            attend_rest(&h, i, shared);
        }
        for (int j = 0; j < n_queries; j++) {
            finish(&h, j);
        }
    }
}
