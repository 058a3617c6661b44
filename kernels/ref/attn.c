/// Attention of one row and one query head at a time, over blocks of 32 positions.
///
/// Per block: scores, the maximum so far, weights exp(score - maximum), and the output so far,
/// scaled down where the maximum rose, plus the weighted values in order of position. The blocks
/// are counted from position 0, so where the trunk ends is only a question of where a cell number
/// is read.
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

enum { BLOCK = 32 };

static int32_t cell_of(const hsdi_attn *a, int row, int position)
{
    return position < a->n_trunk ? a->trunk[position]
                                 : a->path[(ptrdiff_t)row * a->path_stride + position - a->n_trunk];
}

static float score_of(const float *q, const float *k, int d_head, float scale)
{
    float lanes[N_LANES] = {0};
    int padded = (d_head + N_LANES - 1) / N_LANES * N_LANES;
    for (int i = 0; i < padded; i++) { // the pad decides the sign of a zero
        bool inside = i < d_head;
        lanes[i % N_LANES] = fma1(inside ? q[i] : 0.0f, inside ? k[i] : 0.0f, lanes[i % N_LANES]);
    }
    return lanes_sum(lanes) * scale;
}

/// Weights of the n positions of a block from their scores, in place; returns their sum.
static float weights_of(float scores[BLOCK], int n, float top)
{
    float lanes[N_LANES] = {0};
    for (int i = 0; i < BLOCK; i++) {
        scores[i] = i < n ? exp1(scores[i] - top) : 0.0f;
        lanes[i % N_LANES] += scores[i];
    }
    return lanes_sum(lanes);
}

static float block_top(const float scores[BLOCK], int n, float top)
{
    for (int i = 0; i < n; i++) {
        top = max1(scores[i], top);
    }
    return top;
}

static void attend(const hsdi_attn *a, int row, int head, float *out)
{
    int kv = head / (a->n_head / a->n_kv), d_head = a->d_head;
    ptrdiff_t cell_stride = (ptrdiff_t)a->n_kv * d_head, shift = (ptrdiff_t)kv * d_head;
    const float *q = a->q + (ptrdiff_t)row * a->q_stride + (ptrdiff_t)head * d_head;
    int n_positions = a->n_trunk + a->n_path[row];
    float top = -INFINITY, sum = 0.0f;
    memset(out, 0, (size_t)d_head * sizeof *out);
    for (int begin = 0; begin < n_positions; begin += BLOCK) {
        int n = n_positions - begin < BLOCK ? n_positions - begin : BLOCK;
        float scores[BLOCK];
        for (int i = 0; i < n; i++) {
            const float *k = a->k + cell_of(a, row, begin + i) * cell_stride + shift;
            scores[i] = score_of(q, k, d_head, a->scale);
        }
        float new_top = block_top(scores, n, top);
        float keep = exp1(top - new_top);
        sum = fma1(sum, keep, weights_of(scores, n, new_top));
        top = new_top;
        for (int d = 0; d < d_head; d++) {
            out[d] *= keep;
        }
        for (int i = 0; i < n; i++) {
            const float *v = a->v + cell_of(a, row, begin + i) * cell_stride + shift;
            for (int d = 0; d < d_head; d++) {
                out[d] = fma1(scores[i], v[d], out[d]);
            }
        }
    }
    for (int d = 0; d < d_head; d++) {
        out[d] /= sum;
    }
}

void hsdi_ref_attn(const hsdi_attn *a, int row_begin, int row_end, int kv_begin, int kv_end,
                   void *scratch)
{
    (void)scratch;
    int n_share = a->n_head / a->n_kv;
    for (int row = row_begin; row < row_end; row++) {
        for (int head = kv_begin * n_share; head < kv_end * n_share; head++) {
            attend(a, row, head,
                   a->out + (ptrdiff_t)row * a->out_stride + (ptrdiff_t)head * a->d_head);
        }
    }
}
