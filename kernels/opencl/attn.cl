// Attention of one row and one query head per work-group, over blocks of GROUP positions.
//
// The blocks are counted from position 0; a position's cell is read from the trunk, then from the
// row's own path, so where the trunk ends changes no bit. Per block: a score per work-item, the
// maximum so far, weights exp(score - maximum), and the output so far, scaled down where the
// maximum rose, plus the weighted values in order of position. `out` holds a head in local memory;
// each element belongs to one work-item.
// Groups: (n_head, rows of one job).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
attn(__global const float *x, int x_at, int x_stride, __global float *y, int y_at, int y_stride,
     int n_head, int n_kv, int d_head, float scale, __local float *out, __global const int *job,
     int first, int n_cells, __global const float *cache)
{
    __local float scores[GROUP];
    __local int cells[GROUP];
    int me = get_local_id(0), head = get_group_id(0);
    size_t r = first + get_global_id(1), width = (size_t)n_kv * d_head;
    size_t shift = (size_t)(head / (n_head / n_kv)) * d_head;
    __global const int *row = job + JOB_INTS * r;
    __global const int *trunk = job + row[JOB_TRUNK], *path = job + row[JOB_PATH];
    int n_trunk = row[JOB_N_TRUNK], n = n_trunk + row[JOB_N_PATH];
    __global const float *q = x + r * x_stride + x_at + head * d_head;
    __global const float *keys = cache + shift, *values = keys + n_cells * width;
    float top = -INFINITY, sum = 0.0f;
    for (int d = me; d < d_head; d += GROUP) {
        out[d] = 0.0f;
    }
    for (int begin = 0; begin < n; begin += GROUP) {
        int here = min(GROUP, n - begin), p = begin + me;
        barrier(CLK_LOCAL_MEM_FENCE); // the others have read the block before
        if (me < here) {
            int cell = p < n_trunk ? trunk[p] : path[p - n_trunk];
            __global const float *k = keys + cell * width;
            float dot = 0.0f;
            for (int d = 0; d < d_head; d++) {
                dot = fma(q[d], k[d], dot);
            }
            cells[me] = cell;
            scores[me] = dot * scale;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        float new_top = top;
        for (int i = 0; i < here; i++) {
            new_top = scores[i] > new_top ? scores[i] : new_top;
        }
        float keep = exp1(top - new_top);
        barrier(CLK_LOCAL_MEM_FENCE); // all have seen the scores
        if (me < here) {
            scores[me] = exp1(scores[me] - new_top);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        sum *= keep;
        for (int i = 0; i < here; i++) {
            sum += scores[i];
        }
        for (int d = me; d < d_head; d += GROUP) {
            float o = out[d] * keep;
            for (int i = 0; i < here; i++) {
                o = fma(scores[i], values[cells[i] * width + d], o);
            }
            out[d] = o;
        }
        top = new_top;
    }
    for (int d = me; d < d_head; d += GROUP) {
        y[r * y_stride + y_at + head * d_head + d] = out[d] / sum;
    }
}
