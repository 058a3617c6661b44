/// Attention of one row and one query head at a time, over blocks of 32 positions.
///
/// Per block: scores, the maximum so far, weights exp(score - maximum), and the output so far,
/// scaled down where the maximum rose, plus the weighted values in order of position. The blocks
/// are counted from position 0, so where the trunk ends is only a question of where a cell number
/// is read. Elements of any type become f32 without rounding.
#include "kernels/layout.h"
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

enum { BLOCK = HSDI_ATTN_BLOCK };

/// Keys or values of one kv head.
typedef struct plane {
    const char *head; ///< in cell 0
    size_t cell_bytes;
    hsd_cache_type type;
    int d_head, d_pad;
} plane;

static int32_t cell_of(const hsdi_attn *a, int row, int position)
{
    return position < a->n_trunk ? a->trunk[position]
                                 : a->path[(ptrdiff_t)row * a->path_stride + position - a->n_trunk];
}

/// Element i of a cell, i below d_pad.
static float element(const plane *p, int32_t cell, int i)
{
    const char *head = p->head + (size_t)cell * p->cell_bytes;
    if (p->type == HSD_CACHE_F16) {
        return hsdi_half_to_float(hsdi_load_u16(head + 2 * i));
    }
    if (p->type == HSD_CACHE_Q8_0) {
        float scale = hsdi_half_to_float(hsdi_load_u16(head + p->d_pad + i / 32 * 2));
        return (float)((const int8_t *)head)[i] * scale;
    }
    float f = 0.0f;
    if (i < p->d_head) {
        memcpy(&f, head + (size_t)i * sizeof f, sizeof f);
    }
    return f;
}

static plane plane_of(const hsdi_attn *a, const void *cells, int kv)
{
    size_t head_bytes = hsdi_cache_head_bytes(a->type, a->d_head);
    return (plane){.head = (const char *)cells + (size_t)kv * head_bytes,
                   .cell_bytes = (size_t)a->n_kv * head_bytes,
                   .type = a->type,
                   .d_head = a->d_head,
                   .d_pad = (a->d_head + N_LANES - 1) / N_LANES * N_LANES};
}

static float score_of(const float *q, const plane *k, int32_t cell, float scale)
{
    float lanes[N_LANES] = {0};
    for (int i = 0; i < k->d_pad; i++) { // the pad decides the sign of a zero
        float x = i < k->d_head ? q[i] : 0.0f;
        lanes[i % N_LANES] = fma1(x, element(k, cell, i), lanes[i % N_LANES]);
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
    int d_head = a->d_head, kv = head / (a->n_head / a->n_kv);
    const plane k = plane_of(a, a->k, kv), v = plane_of(a, a->v, kv);
    const float *q = a->q + (ptrdiff_t)row * a->q_stride + (ptrdiff_t)head * d_head;
    int n_positions = a->n_trunk + a->n_path[row];
    float top = -INFINITY, sum = 0.0f;
    memset(out, 0, (size_t)d_head * sizeof *out);
    for (int begin = 0; begin < n_positions; begin += BLOCK) {
        int n = n_positions - begin < BLOCK ? n_positions - begin : BLOCK;
        float scores[BLOCK];
        for (int i = 0; i < n; i++) {
            scores[i] = score_of(q, &k, cell_of(a, row, begin + i), a->scale);
        }
        float new_top = block_top(scores, n, top);
        float keep = exp1(top - new_top);
        sum = fma1(sum, keep, weights_of(scores, n, new_top));
        top = new_top;
        for (int d = 0; d < d_head; d++) {
            out[d] *= keep;
        }
        for (int i = 0; i < n; i++) {
            int32_t cell = cell_of(a, row, begin + i);
            for (int d = 0; d < d_head; d++) {
                out[d] = fma1(scores[i], element(&v, cell, d), out[d]);
            }
        }
    }
    for (int d = 0; d < d_head; d++) {
        out[d] /= sum;
    }
}

void hsdi_ref_attn(const hsdi_attn *a, int row_begin, int row_end, int head_begin, int head_end,
                   void *scratch)
{
    (void)scratch;
    for (int row = row_begin; row < row_end; row++) {
        for (int head = head_begin; head < head_end; head++) {
            attend(a, row, head,
                   a->out + (ptrdiff_t)row * a->out_stride + (ptrdiff_t)head * a->d_head);
        }
    }
}
