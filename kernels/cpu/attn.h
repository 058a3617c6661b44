/// Attention over blocks of 32 positions, for a set whose lanes.h comes first and which says how
/// many queries (ATTN_QUERIES) by how many registers of a head (ATTN_CHUNKS) it sums at once.
///
/// Included once per vector set; the arithmetic is that of ref/attn.c. Blocks that lie in the trunk
/// are the outer loop, so that their keys and values are read once for all rows and heads; so are
/// later blocks for neighbouring rows that see the same cells there. The state of each query waits
/// in the scratch: output so far, the query, maximum, sum.
///
/// Few queries take products along a key, sixteen elements at once, and sum them up across lanes.
/// Many take them across sixteen keys, from a copy of the block that is turned once for all of
/// them. Both ways each of the 16 partial sums of a score has the same chain, so the bits are the
/// same.
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/set.h"
#include "kernels/layout.h"

enum {
    BLOCK = HSDI_ATTN_BLOCK,
    ATTN_SUMS = ATTN_QUERIES * ATTN_CHUNKS,
    ATTN_TURN_MIN = 6, ///< queries from which turning the keys pays (Zen 4: 6 to 8)
    SPAN = 4 * BLOCK,  ///< positions for one kv head before the next: they share lines of a cell
};

/// What a call says about one kv head, and the state of its queries.
///
/// A query is one row and one query head: number j is row row_begin + j / n_share, head
/// first + j % n_share.
typedef struct attn_head {
    const hsdi_attn *a;
    const char *k, *v; ///< of this kv head, cell 0
    size_t cell_bytes;
    int row_begin, first, n_share;
    int d_pad, n_chunks; ///< elements of a head rounded up to 16, registers
    float *states;
    size_t state_floats;
    float *keys;   ///< [2, d_pad, 16] of the block at hand, turned
    float *values; ///< [d_pad / 16 ATTN_CHUNKS, BLOCK, 16 ATTN_CHUNKS] of it, as f32
    const char *next_k, *next_v;
    const int32_t *next; ///< [BLOCK] cells of next_k and next_v that come next; NULL: not known
} attn_head;

static inline float *state_of(const attn_head *h, int j)
{
    return h->states + (size_t)j * h->state_floats;
}

static inline float *query_of(const attn_head *h, int j)
{
    return state_of(h, j) + h->d_pad;
}

/// Sixteen elements of a head in a cell; n of them are there, the others are 0 or what the cell
/// holds behind its elements.
HSDI_TEMPLATE v16 load_cell(hsd_cache_type type, const char *head, int d_pad, int chunk, int n)
{
    if (type == HSD_CACHE_F16) {
        return v_load_f16(head + 32 * chunk);
    }
    if (type == HSD_CACHE_Q8_0) {
        v16 scale = v_set1_f16(head + d_pad + chunk / 2 * 2);
        return v_mul(v_load_i8((const uint8_t *)head + 16 * chunk), scale);
    }
    const float *f = (const float *)(const void *)head + 16 * chunk;
    return n == 16 ? v_load(f) : v_load_n(f, n);
}

static inline const char *key_of(const attn_head *h, int32_t cell)
{
    return h->k + (size_t)cell * h->cell_bytes;
}

static inline const char *value_of(const attn_head *h, int32_t cell)
{
    return h->v + (size_t)cell * h->cell_bytes;
}

static inline int last_lanes(const attn_head *h)
{
    return h->a->d_head - 16 * (h->n_chunks - 1);
}

// ---- scores along a key ----

/// Products of q and 16 keys, summed; heads of 16 * n_chunks elements.
HSDI_TEMPLATE v16 dots_whole(hsd_cache_type type, int n_chunks, const attn_head *h, const float *q,
                             const int32_t *cells)
{
    v16 query[8], sums[16];
    HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
    {
        query[c] = v_load(q + 16 * c);
    }
    HSDI_UNROLL for (int i = 0; i < 16; i++)
    {
        const char *key = key_of(h, cells[i]);
        sums[i] = v_zero();
        HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
        {
            v16 part = load_cell(type, key, 16 * n_chunks, c, 16);
            sums[i] = v_fma(query[c], part, sums[i]);
        }
    }
    return v_sum_each(sums);
}

/// Products of q and n <= 16 keys, summed.
HSDI_TEMPLATE v16 dots(hsd_cache_type type, const attn_head *h, const float *q,
                       const int32_t *cells, int n)
{
    int d_head = h->a->d_head;
    if (n == 16 && d_head == 64) {
        return dots_whole(type, 4, h, q, cells);
    }
    if (n == 16 && d_head == 32) {
        return dots_whole(type, 2, h, q, cells);
    }
    v16 sums[16];
    int last = h->n_chunks - 1, n_last = last_lanes(h);
    for (int i = 0; i < 16; i++) {
        sums[i] = v_zero();
        if (i < n) {
            const char *key = key_of(h, cells[i]);
            for (int c = 0; c < last; c++) {
                v16 part = load_cell(type, key, h->d_pad, c, 16);
                sums[i] = v_fma(v_load(q + 16 * c), part, sums[i]);
            }
            v16 part = load_cell(type, key, h->d_pad, last, n_last);
            sums[i] = v_fma(v_load(q + 16 * last), part, sums[i]);
        }
    }
    return v_sum_each(sums);
}

// ---- scores across keys ----

/// 16 keys, of which n are there, so that element d of all of them is one register.
HSDI_TEMPLATE void turn_keys(hsd_cache_type type, const attn_head *h, const int32_t *cells, int n,
                             float *keys)
{
    int n_last = last_lanes(h);
    for (int c = 0; c < h->n_chunks; c++) {
        v16 m[16];
        int lanes = c == h->n_chunks - 1 ? n_last : 16;
        HSDI_UNROLL for (int i = 0; i < 16; i++)
        {
            m[i] = load_cell(type, key_of(h, cells[i < n ? i : 0]), h->d_pad, c, lanes);
        }
        v_turn(m);
        HSDI_UNROLL for (int i = 0; i < 16; i++)
        {
            v_store(keys + 16 * (16 * c + i), m[i]);
        }
    }
}

/// A register for each of some queries.
typedef struct bundle {
    v16 of[ATTN_QUERIES];
} bundle;

/// Partial sum `lane` of the scores of n_queries queries with 16 keys.
HSDI_TEMPLATE bundle chain(int n_queries, int n_chunks, const float *const *q, const float *keys,
                           int lane)
{
    bundle sums;
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        sums.of[i] = v_zero();
    }
    for (int c = 0; c < n_chunks; c++) {
        v16 key = v_load(keys + 16 * (16 * c + lane));
        HSDI_UNROLL for (int i = 0; i < n_queries; i++)
        {
            sums.of[i] = v_fma(v_set1(q[i][16 * c + lane]), key, sums.of[i]);
        }
    }
    return sums;
}

HSDI_TEMPLATE bundle add_bundles(int n_queries, bundle a, bundle b)
{
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        a.of[i] = v_add(a.of[i], b.of[i]);
    }
    return a;
}

/// Sums of partial sums lane, lane + 8; then of four, of eight: the order of v_sum.
HSDI_TEMPLATE bundle sum_2(int n, int n_chunks, const float *const *q, const float *keys, int lane)
{
    bundle a = chain(n, n_chunks, q, keys, lane);
    return add_bundles(n, a, chain(n, n_chunks, q, keys, lane + 8));
}

HSDI_TEMPLATE bundle sum_4(int n, int n_chunks, const float *const *q, const float *keys, int lane)
{
    bundle a = sum_2(n, n_chunks, q, keys, lane);
    return add_bundles(n, a, sum_2(n, n_chunks, q, keys, lane + 4));
}

HSDI_TEMPLATE bundle sum_8(int n, int n_chunks, const float *const *q, const float *keys, int lane)
{
    bundle a = sum_4(n, n_chunks, q, keys, lane);
    return add_bundles(n, a, sum_4(n, n_chunks, q, keys, lane + 2));
}

HSDI_TEMPLATE bundle sum_16(int n, int n_chunks, const float *const *q, const float *keys)
{
    bundle a = sum_8(n, n_chunks, q, keys, 0);
    return add_bundles(n, a, sum_8(n, n_chunks, q, keys, 1));
}

/// Products of queries j .. j + n_queries - 1 and the 16 turned keys, summed.
HSDI_TEMPLATE bundle dots_across(int n_queries, const attn_head *h, int j, const float *keys)
{
    const float *q[ATTN_QUERIES];
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        q[i] = query_of(h, j + i);
    }
    return h->n_chunks == 4 ? sum_16(n_queries, 4, q, keys)
                            : sum_16(n_queries, h->n_chunks, q, keys);
}

// ---- weights ----

/// Scores of n positions from products, -inf behind them.
static inline v16 scores_of(const attn_head *h, v16 products, int n)
{
    return n <= 0 ? v_set1(-INFINITY)
                  : v_keep_n(v_mul(products, v_set1(h->a->scale)), n, -INFINITY);
}

/// exp(score - top) of n positions, 0 behind them.
static inline v16 weights_of(v16 scores, v16 top, int n)
{
    return n <= 0 ? v_zero() : v_keep_n(v_exp(v_sub(scores, top)), n, 0.0f);
}

/// Scale the output so far of a query down to a new maximum; returns by how much.
static float lower(const attn_head *h, int j, float step)
{
    float *state = state_of(h, j), all[16];
    v_store(all, v_exp(v_set1(step)));
    for (int d = 0; d < h->d_pad; d += 16) {
        v_store(state + d, v_mul(v_load(state + d), v_set1(all[0])));
    }
    return all[0];
}

/// Bring the states of queries j .. j + n_queries - 1 to the maxima that a block leads to; weights
/// [n_queries, BLOCK] of its n positions, whose products are low and high. Step by step for all of
/// them: each step of one waits long for the one before.
HSDI_TEMPLATE void weigh(int n_queries, const attn_head *h, int j, bundle low, bundle high, int n,
                         float *weights)
{
    int n_low = n < 16 ? n : 16, n_high = n - n_low;
    float old[ATTN_QUERIES], top[ATTN_QUERIES], sum[ATTN_QUERIES], keep[ATTN_QUERIES];
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        old[i] = state_of(h, j + i)[2 * h->d_pad];
        low.of[i] = scores_of(h, low.of[i], n_low);
        high.of[i] = scores_of(h, high.of[i], n_high);
        top[i] = v_top(v_max(high.of[i], v_max(low.of[i], v_set1(old[i]))));
    }
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        low.of[i] = weights_of(low.of[i], v_set1(top[i]), n_low);
        high.of[i] = weights_of(high.of[i], v_set1(top[i]), n_high);
        v_store(weights + i * BLOCK, low.of[i]);
        v_store(weights + i * BLOCK + 16, high.of[i]);
    }
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        float step = old[i] - top[i];
        // exp(0) is 1, and a product with 1 changes nothing
        keep[i] = step == 0.0f ? 1.0f : lower(h, j + i, step);
        sum[i] = v_sum(v_add(low.of[i], high.of[i]));
    }
    HSDI_UNROLL for (int i = 0; i < n_queries; i++)
    {
        float *top_and_sum = state_of(h, j + i) + 2 * h->d_pad;
        top_and_sum[0] = top[i];
        top_and_sum[1] = fmaf(top_and_sum[1], keep[i], sum[i]);
    }
}

// ---- values ----

/// The values of a block as f32, in panels of the registers that are read together: worth it when
/// several queries read them. Cells often lie powers of two apart, where a cache has few places.
HSDI_TEMPLATE void copy_values(hsd_cache_type type, const attn_head *h, const int32_t *cells, int n)
{
    int n_last = last_lanes(h), width = 0;
    for (int begin = 0; begin < h->n_chunks; begin += width) {
        width = begin + ATTN_CHUNKS <= h->n_chunks ? ATTN_CHUNKS : 1;
        float *to = h->values + 16 * BLOCK * begin;
        for (int p = 0; p < n; p++) {
            const char *value = value_of(h, cells[p]);
            for (int c = begin; c < begin + width; c++, to += 16) {
                int lanes = c == h->n_chunks - 1 ? n_last : 16;
                v_store(to, load_cell(type, value, h->d_pad, c, lanes));
            }
        }
    }
}

/// What a tile of queries asks of memory for the block that comes next.
enum { FETCH_KEYS = 1, FETCH_VALUES = 2 };

HSDI_TEMPLATE void fetch(hsd_cache_type type, const char *head, int chunk, int n_chunks)
{
    int bytes = type == HSD_CACHE_F32 ? 64 : type == HSD_CACHE_F16 ? 32 : 16;
    for (int i = 0; i < n_chunks * bytes; i += 64) {
        __builtin_prefetch(head + bytes * chunk + i, 0, 3);
    }
}

/// Outputs of queries j .. j + n_queries - 1, registers [chunk, chunk + n_chunks) += weights x
/// values, in order of position; the last register has n_last elements. is_copy: from `values`.
HSDI_TEMPLATE void add_values(hsd_cache_type type, bool is_copy, int n_queries, int n_chunks,
                              int n_last, const attn_head *h, int j, int chunk,
                              const int32_t *cells, const float *weights, int n, int what)
{
    v16 sums[ATTN_SUMS];
    const float *copy = h->values + 16 * BLOCK * chunk;
    HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
    {
        sums[i] = v_load(state_of(h, j + i / n_chunks) + 16 * (chunk + i % n_chunks));
    }
    for (int p = 0; p < n; p++) {
        const char *value = is_copy ? NULL : value_of(h, cells[p]);
        v16 part[ATTN_CHUNKS];
        HSDI_UNROLL for (int c = 0; c < n_chunks; c++)
        {
            part[c] = is_copy ? v_load(copy + 16 * (p * n_chunks + c))
                              : load_cell(type, value, h->d_pad, chunk + c, n_last);
        }
        HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
        {
            v16 weight = v_set1(weights[i / n_chunks * BLOCK + p]);
            sums[i] = v_fma(weight, part[i % n_chunks], sums[i]);
        }
        if (what & FETCH_KEYS) {
            fetch(type, h->next_k + (size_t)h->next[p] * h->cell_bytes, chunk, n_chunks);
        }
        if (what & FETCH_VALUES) {
            fetch(type, h->next_v + (size_t)h->next[p] * h->cell_bytes, chunk, n_chunks);
        }
    }
    HSDI_UNROLL for (int i = 0; i < n_queries * n_chunks; i++)
    {
        v_store(state_of(h, j + i / n_chunks) + 16 * (chunk + i % n_chunks), sums[i]);
    }
}

HSDI_TEMPLATE void add_all_values(hsd_cache_type type, bool is_copy, int n_queries,
                                  const attn_head *h, int j, const int32_t *cells,
                                  const float *weights, int n, int what)
{
    int c = 0, n_last = is_copy ? 16 : last_lanes(h), whole = h->n_chunks - (n_last < 16);
    for (; c + ATTN_CHUNKS <= whole; c += ATTN_CHUNKS) {
        add_values(type, is_copy, n_queries, ATTN_CHUNKS, 16, h, j, c, cells, weights, n, what);
    }
    for (; c < whole; c++) {
        add_values(type, is_copy, n_queries, 1, 16, h, j, c, cells, weights, n, what);
    }
    if (c < h->n_chunks) {
        add_values(type, is_copy, n_queries, 1, n_last, h, j, c, cells, weights, n, what);
    }
}

// ---- blocks ----

/// How a block is read: keys turned, values copied.
typedef struct reading {
    bool is_turned, is_copy;
} reading;

/// One block of n positions for queries j .. j + n_queries - 1.
HSDI_TEMPLATE void attend_tile(hsd_cache_type type, int n_queries, const attn_head *h, reading way,
                               int j, const int32_t *cells, int n, int what)
{
    float weights[ATTN_QUERIES * BLOCK];
    bundle low, high;
    if (way.is_turned) {
        low = high = dots_across(n_queries, h, j, h->keys);
        if (n > 16) {
            high = dots_across(n_queries, h, j, h->keys + 16 * h->d_pad);
        }
    } else {
        HSDI_ROLLED for (int i = 0; i < n_queries; i++)
        {
            const float *q = query_of(h, j + i);
            low.of[i] = high.of[i] = dots(type, h, q, cells, n < 16 ? n : 16);
            if (n > 16) {
                high.of[i] = dots(type, h, q, cells + 16, n - 16);
            }
        }
    }
    weigh(n_queries, h, j, low, high, n, weights);
    if (way.is_copy) {
        add_all_values(type, true, n_queries, h, j, cells, weights, n, what);
    } else {
        add_all_values(type, false, n_queries, h, j, cells, weights, n, what);
    }
}

/// One block of n positions for queries [j, j_end), which all see these cells.
HSDI_TEMPLATE void attend_typed(hsd_cache_type type, const attn_head *h, int j, int j_end,
                                const int32_t *cells, int n)
{
    int n_queries = j_end - j;
    reading way = {.is_turned = n_queries >= ATTN_TURN_MIN, .is_copy = n_queries > ATTN_QUERIES};
    int what = n_queries >= 2 * ATTN_QUERIES ? FETCH_KEYS : FETCH_KEYS | FETCH_VALUES;
    what = h->next ? what : 0;
    if (way.is_turned) {
        turn_keys(type, h, cells, n < 16 ? n : 16, h->keys);
        if (n > 16) {
            turn_keys(type, h, cells + 16, n - 16, h->keys + 16 * h->d_pad);
        }
    }
    if (way.is_copy) {
        copy_values(type, h, cells, n);
    }
    for (; j + ATTN_QUERIES <= j_end; j += ATTN_QUERIES) {
        attend_tile(type, ATTN_QUERIES, h, way, j, cells, n, what);
        what = what == FETCH_KEYS ? FETCH_VALUES : 0; // keys in the first tile, values in the next
    }
    for (; j < j_end; j++) {
        attend_tile(type, 1, h, way, j, cells, n, what);
        what = 0;
    }
}

static void attend_f32(const attn_head *h, int j, int j_end, const int32_t *cells, int n)
{
    attend_typed(HSD_CACHE_F32, h, j, j_end, cells, n);
}

static void attend_f16(const attn_head *h, int j, int j_end, const int32_t *cells, int n)
{
    attend_typed(HSD_CACHE_F16, h, j, j_end, cells, n);
}

static void attend_q8_0(const attn_head *h, int j, int j_end, const int32_t *cells, int n)
{
    attend_typed(HSD_CACHE_Q8_0, h, j, j_end, cells, n);
}

static void attend_block(const attn_head *h, int j, int j_end, const int32_t *cells, int n)
{
    switch (h->a->type) {
    case HSD_CACHE_F16:
        attend_f16(h, j, j_end, cells, n);
        break;
    case HSD_CACHE_Q8_0:
        attend_q8_0(h, j, j_end, cells, n);
        break;
    default:
        attend_f32(h, j, j_end, cells, n);
    }
}

// ---- a call ----

/// Rows and query heads of a call, by kv head. Where heads are cut within a kv head, its first and
/// last have fewer.
typedef struct attn_call {
    const hsdi_attn *a;
    int row_begin, n_rows; ///< of the rows at hand
    int head_begin, head_end;
    float *scratch;
} attn_call;

/// The kv head of query head `head`, with its queries from there to the end of both.
static attn_head head_at(const attn_call *c, int head)
{
    const hsdi_attn *a = c->a;
    int n_share = a->n_head / a->n_kv, kv = head / n_share, end = (kv + 1) * n_share;
    size_t head_bytes = hsdi_cache_head_bytes(a->type, a->d_head);
    int n_chunks = (a->d_head + 15) / 16, d_pad = 16 * n_chunks;
    attn_head h = {.a = a,
                   .k = (const char *)a->k + (size_t)kv * head_bytes,
                   .v = (const char *)a->v + (size_t)kv * head_bytes,
                   .cell_bytes = (size_t)a->n_kv * head_bytes,
                   .row_begin = c->row_begin,
                   .first = head,
                   .n_share = (end < c->head_end ? end : c->head_end) - head,
                   .d_pad = d_pad,
                   .n_chunks = n_chunks,
                   .keys = c->scratch,
                   .values = c->scratch + 2 * 16 * d_pad,
                   .state_floats = (size_t)hsdi_attn_state_floats(a->d_head)};
    h.states = h.values + BLOCK * d_pad +
               (size_t)(head - c->head_begin) * (size_t)c->n_rows * h.state_floats;
    return h;
}

static void start(const attn_head *h, int n_queries)
{
    const hsdi_attn *a = h->a;
    for (int j = 0; j < n_queries; j++) {
        float *state = state_of(h, j);
        memset(state, 0, h->state_floats * sizeof *state);
        memcpy(query_of(h, j),
               a->q + (ptrdiff_t)(h->row_begin + j / h->n_share) * a->q_stride +
                   (ptrdiff_t)(h->first + j % h->n_share) * a->d_head,
               (size_t)a->d_head * sizeof *state);
        state[2 * h->d_pad] = -INFINITY;
    }
}

static void finish(const attn_head *h, int n_queries)
{
    const hsdi_attn *a = h->a;
    for (int j = 0; j < n_queries; j++) {
        const float *state = state_of(h, j);
        v16 sum = v_set1(state[2 * h->d_pad + 1]);
        float *out = a->out + (ptrdiff_t)(h->row_begin + j / h->n_share) * a->out_stride +
                     (ptrdiff_t)(h->first + j % h->n_share) * a->d_head;
        for (int d = 0; d < a->d_head; d += 16) {
            int lanes = a->d_head - d < 16 ? a->d_head - d : 16;
            v_store_n(out + d, v_div(v_load(state + d), sum), lanes);
        }
    }
}

/// Cells of the positions of row i from `begin`, at most a block. Returns how many.
static int cells_at(const attn_call *c, int i, int begin, int32_t cells[BLOCK])
{
    const hsdi_attn *a = c->a;
    int row = c->row_begin + i, end = a->n_trunk + a->n_path[row];
    const int32_t *path = a->path + (ptrdiff_t)row * a->path_stride;
    int n = end - begin < BLOCK ? end - begin : BLOCK;
    for (int k = 0; k < n; k++) {
        int p = begin + k;
        cells[k] = p < a->n_trunk ? a->trunk[p] : path[p - a->n_trunk];
    }
    return n;
}

/// The block at `begin`, behind the trunk's whole ones: neighbouring rows that see the same cells
/// there go together. Returns whether any row has come so far.
static bool attend_rest(const attn_call *c, int begin)
{
    int32_t cells[2][BLOCK];
    int i = 0, n = cells_at(c, 0, begin, cells[0]), side = 0;
    bool any = false;
    while (i < c->n_rows) {
        int i_end = i + 1, n_next = 0;
        for (; i_end < c->n_rows; i_end++) {
            n_next = cells_at(c, i_end, begin, cells[!side]);
            if (n_next != n ||
                (n > 0 && memcmp(cells[0], cells[1], (size_t)n * sizeof cells[0][0]) != 0)) {
                break;
            }
        }
        for (int head = c->head_begin; n > 0 && head < c->head_end;) {
            attn_head h = head_at(c, head);
            attend_block(&h, i * h.n_share, i_end * h.n_share, cells[side], n);
            head += h.n_share;
        }
        any = any || n > 0;
        i = i_end;
        n = n_next;
        side = !side;
    }
    return any;
}

static void attend_rows(const attn_call *c)
{
    int whole = c->a->n_trunk / BLOCK * BLOCK;
    for (int head = c->head_begin; head < c->head_end;) {
        attn_head h = head_at(c, head);
        start(&h, c->n_rows * h.n_share);
        head += h.n_share;
    }
    for (int begin = 0; begin < whole; begin += SPAN) {
        int end = begin + SPAN < whole ? begin + SPAN : whole;
        for (int head = c->head_begin; head < c->head_end;) {
            attn_head h = head_at(c, head);
            bool is_last = head + h.n_share == c->head_end;
            attn_head after = head_at(c, is_last ? c->head_begin : head + h.n_share);
            for (int p = begin; p < end; p += BLOCK) {
                bool stays = p + BLOCK < end;
                h.next_k = stays ? h.k : after.k;
                h.next_v = stays ? h.v : after.v;
                int next = stays ? p + BLOCK : is_last ? end : begin;
                h.next = next < whole ? c->a->trunk + next : NULL;
                attend_block(&h, 0, c->n_rows * h.n_share, c->a->trunk + p, BLOCK);
            }
            head += h.n_share;
        }
    }
    for (int begin = whole; attend_rest(c, begin); begin += BLOCK) {
    }
    for (int head = c->head_begin; head < c->head_end;) {
        attn_head h = head_at(c, head);
        finish(&h, c->n_rows * h.n_share);
        head += h.n_share;
    }
}

void HSDI_SET(attn)(const hsdi_attn *a, int row_begin, int row_end, int head_begin, int head_end,
                    void *scratch)
{
    int n_rows = hsdi_attn_rows(a->n_head, a->d_head);
    for (int row = row_begin; row < row_end; row += n_rows) {
        attn_call c = {.a = a,
                       .row_begin = row,
                       .n_rows = row_end - row < n_rows ? row_end - row : n_rows,
                       .head_begin = head_begin,
                       .head_end = head_end,
                       .scratch = scratch};
        attend_rows(&c);
    }
}
