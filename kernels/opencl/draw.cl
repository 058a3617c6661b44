// Drawing from a row of logits: what HSDI_OP_DRAW makes, in five launches. Noise is that of
// base/gumbel.h, in integers; a score is one product and one sum. So all that decides a token is
// rounded exactly, and is what the host would find (engine/sampler.c).
//
// Of a row, `parts` holds: the best logit and where top-k and top-p cut (HEAD numbers), the best of
// each chunk, the lists of the chunks, their sums.
#define HEAD 3
#define DIGITS 16

__global const int *record_of(__global const int *job, size_t r)
{
    return job + job[JOB_INTS * r + JOB_DRAW];
}

// Floats per row of `parts`.
size_t parts_width(int n_chunks, int n_top)
{
    return HEAD + (size_t)n_chunks * (2 * n_top + 2);
}

// a / b rounded to nearest, from inverse = 1 / b rounded to nearest: Markstein, "Computation of
// elementary functions on the IBM RISC System/6000 processor", 1990. Plain division may be off.
float quotient(float a, float b, float inverse)
{
    float q = a * inverse;
    float once = fma(fma(-b, q, a), inverse, q);
    float twice = fma(fma(-b, once, a), inverse, once);
    return fabs(q) < INFINITY ? twice : q;
}

// The rules of the text: no token is listed twice for one thing. Groups: (1, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
draw_edit(__global float *x, int x_at, int x_stride, __global const int *job)
{
    size_t r = get_global_id(1);
    __global const int *record = record_of(job, r);
    __global const int *tokens = record + HSDI_RECORD_INTS;
    __global float *row = x + r * x_stride + x_at;
    int n_banned = record[HSDI_RECORD_N_BANNED], n = n_banned + record[HSDI_RECORD_N_PENALISED];
    float penalty = as_float(record[HSDI_RECORD_PENALTY]);
    float inverse = as_float(record[HSDI_RECORD_INVERSE]);
    for (int i = get_local_id(0); i < n; i += GROUP) {
        float v = row[tokens[i]];
        row[tokens[i]] = i < n_banned ? -INFINITY
                         : v > 0.0f   ? quotient(v, penalty, inverse)
                                      : v * penalty;
    }
}

// The largest of every work-item's values. Has barriers.
float group_max(float value, __local float *values)
{
    int me = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    values[me] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    float best = values[0];
    for (int i = 1; i < GROUP; i++) {
        best = values[i] > best ? values[i] : best;
    }
    return best;
}

// Groups: (chunks, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
draw_best(__global const float *x, int x_at, int x_stride, int n, int chunk, int n_top,
          __global float *parts)
{
    __local float values[GROUP];
    int c = get_group_id(0), n_chunks = get_num_groups(0), first = c * chunk;
    int end = min(first + chunk, n);
    size_t r = get_global_id(1);
    __global const float *row = x + r * x_stride + x_at;
    float best = -INFINITY;
    for (int i = first + get_local_id(0); i < end; i += GROUP) {
        best = row[i] > best ? row[i] : best; // no NaN
    }
    best = group_max(best, values);
    if (get_local_id(0) == 0) {
        parts[r * parts_width(n_chunks, n_top) + HEAD + c] = best;
    }
}

// Better logits have a lower rank; equal ones, +0 and -0 too, have the same.
uint rank_of(float logit)
{
    uint bits = as_uint(logit);
    bits = bits == 0x80000000u ? 0u : bits;
    return bits >> 31 ? bits : 0x7fffffffu - bits;
}

// What a token counts for in top-p: an integer, so that sums have no order. 2^24 tokens fit.
ulong weight_of(float logit, float best)
{
    return hsdi_exp_fixed(logit - best);
}

// Tokens come in the order of (rank, token). Moves the cut (*rank, *last: the last that is kept) to
// where `need` tokens are kept, or, by weight, `need` of 2^32 parts of the weight before the old
// cut; not behind the old cut. Sixteen values of four bits at a time. Every work-item must call it.
void move_cut(__global const float *row, int n, float best, bool by_weight, ulong need, uint *rank,
              int *last, __local ulong *sums)
{
    int me = get_local_id(0);
    uint old_rank = *rank, prefix = 0u;
    int old_last = *last;
    ulong before = 0ul, at_rank = 0ul;
    for (int shift = 28; shift >= 0; shift -= 4) {
        barrier(CLK_LOCAL_MEM_FENCE); // all have read the sums before
        for (int d = 0; d < DIGITS; d++) {
            sums[d * GROUP + me] = 0ul;
        }
        for (int i = me; i < n; i += GROUP) {
            float v = row[i];
            uint k = rank_of(v);
            bool counts = v > -INFINITY && (k < old_rank || (k == old_rank && i <= old_last)) &&
                          (shift == 28 || k >> (shift + 4) == prefix);
            if (counts) {
                sums[(k >> shift & 15u) * GROUP + me] += by_weight ? weight_of(v, best) : 1ul;
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        ulong mine = 0ul;
        for (int i = 0; i < GROUP && me < DIGITS; i++) {
            mine += sums[me * GROUP + i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (me < DIGITS) {
            sums[me] = mine;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (shift == 28) {
            ulong total = 0ul;
            for (int d = 0; d < DIGITS; d++) {
                total += sums[d];
            }
            need = by_weight ? max(mul_hi(total, need << 32), 1ul) : need;
            if (total < need) {
                return; // all are kept
            }
        }
        uint d = 0u;
        while (before + sums[d] < need) {
            before += sums[d++];
        }
        prefix = prefix << 4 | d;
        at_rank = sums[d];
    }
    // Of the tokens of this rank, those that are still needed, lowest first: work-items count them
    // in pieces of the row, one behind the other.
    int piece = (n + GROUP - 1) / GROUP, begin = min(me * piece, n), end = min(begin + piece, n);
    ulong here = 0ul, weight = 0ul;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = begin; i < end; i++) {
        bool ties = row[i] > -INFINITY && rank_of(row[i]) == prefix &&
                    (prefix < old_rank || i <= old_last);
        weight = ties ? (by_weight ? weight_of(row[i], best) : 1ul) : weight;
        here += ties ? weight : 0ul;
    }
    sums[me] = here;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = 0; i < me; i++) {
        before += sums[i];
    }
    if (before < need && before + here >= need) { // one work-item
        int i = begin;
        for (; i < end && before < need; i++) {
            bool ties = row[i] > -INFINITY && rank_of(row[i]) == prefix &&
                        (prefix < old_rank || i <= old_last);
            before += ties ? weight : 0ul;
        }
        sums[GROUP] = (ulong)(i - 1);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    *rank = prefix;
    *last = (int)sums[GROUP];
}

// The best logit and the cuts. Groups: (1, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
draw_cut(__global const float *x, int x_at, int x_stride, int n, int n_chunks, int n_top,
         __global const int *job, __global float *parts)
{
    __local float values[GROUP];
    __local ulong sums[DIGITS * GROUP];
    size_t r = get_global_id(1);
    __global const int *record = record_of(job, r);
    __global const float *row = x + r * x_stride + x_at;
    __global float *head = parts + r * parts_width(n_chunks, n_top);
    float best = -INFINITY;
    for (int c = get_local_id(0); c < n_chunks; c += GROUP) {
        best = head[HEAD + c] > best ? head[HEAD + c] : best;
    }
    best = group_max(best, values);
    uint rank = 0xffffffffu, top_p = (uint)record[HSDI_RECORD_TOP_P];
    int last = n, top_k = record[HSDI_RECORD_TOP_K];
    if (top_k > 0 && top_k < n) {
        move_cut(row, n, best, false, (ulong)top_k, &rank, &last, sums);
    }
    if (top_p > 0u) {
        move_cut(row, n, best, true, (ulong)top_p, &rank, &last, sums);
    }
    if (get_local_id(0) == 0) {
        head[0] = best;
        ((__global uint *)head)[1] = rank;
        ((__global int *)head)[2] = last;
    }
}

// Scores of four tokens from `token` on in place of their logits; -inf where one is cut. Adds to
// *sum, and with `one` leaves out what cannot be above *most.
void score_four(__global float *x, int token, int n_here, __global const float *head,
                __global const int *record, bool one, float *most, float *sum)
{
    uint counter[4] = {(uint)token / 4u, 0u, (uint)record[HSDI_RECORD_POSITION],
                       (uint)record[HSDI_RECORD_POSITION + 1]};
    uint bits[4];
    float scale = as_float(record[HSDI_RECORD_SCALE]), gap = as_float(record[HSDI_RECORD_GAP]);
    float top = head[0] * scale, lowest = gap > -INFINITY ? head[0] + gap : -INFINITY;
    uint rank = ((__global const uint *)head)[1];
    int last = ((__global const int *)head)[2];
    bool noisy = record[HSDI_RECORD_NOISY] != 0, is_drawn = false;
    for (int k = 0; k < n_here; k++) {
        float v = x[k], score = -INFINITY, scaled = v * scale;
        uint its_rank = rank_of(v);
        bool kept = v > -INFINITY && v >= lowest && scaled > -INFINITY &&
                    (its_rank < rank || (its_rank == rank && token + k <= last));
        if (kept) {
            *sum += exp1(scaled - top);
        }
        if (kept && noisy && !is_drawn) {
            hsdi_philox_block(counter, (uint)record[HSDI_RECORD_SEED],
                              (uint)record[HSDI_RECORD_SEED + 1], bits);
            is_drawn = true;
        }
        if (kept && !noisy) {
            score = scaled;
        } else if (kept && !(one && scaled + hsdi_gumbel_bound(bits[k]) <= *most)) {
            score = scaled + hsdi_gumbel_of(bits[k]);
        }
        *most = score > *most ? score : *most;
        x[k] = score;
    }
}

// The lists of a row's chunks, one behind the other, then their sums of exp(scaled - best scaled).
// Groups: (chunks, n_rows); a chunk is a multiple of four.
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
draw_parts(__global float *x, int x_at, int x_stride, int n, int chunk, int n_top,
           __global const int *job, __global float *parts)
{
    __local float values[GROUP];
    __local int places[GROUP];
    int c = get_group_id(0), n_chunks = get_num_groups(0), first = c * chunk;
    int here = min(chunk, n - first);
    size_t r = get_global_id(1);
    __global float *from = x + r * x_stride + x_at + first;
    __global float *head = parts + r * parts_width(n_chunks, n_top);
    __global float *lists = head + HEAD + n_chunks;
    float most = -INFINITY, sum = 0.0f;
    for (int i = 4 * get_local_id(0); i < here; i += 4 * GROUP) {
        score_four(from + i, first + i, min(4, here - i), head, record_of(job, r), n_top == 1,
                   &most, &sum);
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    (void)list_top(from, 1, here, first, n_top, lists + 2 * n_top * c, values, places);
    sum = group_sum(sum, values);
    if (get_local_id(0) == 0) {
        lists[2 * n_top * n_chunks + c] = sum;
    }
}

// y = the list of a row from those of its chunks, then the best scaled logit and the sum.
// Groups: (1, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
draw_merge(__global const float *parts, int n_chunks, int n_top, int with_sum,
           __global const int *job, __global float *y, int y_at, int y_stride)
{
    __local float values[GROUP];
    __local int places[GROUP];
    size_t r = get_global_id(1);
    __global const float *head = parts + r * parts_width(n_chunks, n_top);
    __global const float *lists = head + HEAD + n_chunks;
    __global float *list = y + r * y_stride + y_at;
    (void)list_top(lists, 2, n_chunks * n_top, 0, n_top, list, values, places);
    if (with_sum) {
        float sum = 0.0f;
        for (int c = get_local_id(0); c < n_chunks; c += GROUP) {
            sum += lists[2 * n_top * n_chunks + c];
        }
        sum = group_sum(sum, values);
        if (get_local_id(0) == 0) {
            list[2 * n_top] = head[0] * as_float(record_of(job, r)[HSDI_RECORD_SCALE]);
            list[2 * n_top + 1] = sum;
        }
    }
}
