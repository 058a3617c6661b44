// Norms, rotation, activations, copies, the cache: operations on one row at a time.
//
// GROUP (64) work-items work on a norm; each adds every 64th element in order, then the 64 sums are
// added in order. exp is the polynomial of kernels/exp.h: a vendor's exp may differ between the
// vectorised part and the rest of a work-group, and a row's bits would depend on its place.

float exp1(float x)
{
    float shifted = fma(x, 1.44269504f, 12582912.0f);
    float n = shifted - 12582912.0f;
    float r = fma(n, -0.693359375f, x);
    r = fma(n, 2.12194440e-4f, r);
    float p = 0.000198412698f;
    p = fma(p, r, 0.00138888889f);
    p = fma(p, r, 0.00833333333f);
    p = fma(p, r, 0.0416666667f);
    p = fma(p, r, 0.166666667f);
    p = fma(p, r, 0.5f);
    p = fma(p, r, 1.0f);
    p = fma(p, r, 1.0f);
    float result = as_float(as_int(p) + (as_int(shifted) << 23));
    result = x > 88.37f ? INFINITY : result;
    result = x < -87.33f ? 0.0f : result;
    return x != x ? x : result;
}

// The sum of every work-item's value, in the same order for all of them. Has two barriers.
float group_sum(float value, __local float *parts)
{
    barrier(CLK_LOCAL_MEM_FENCE);
    parts[get_local_id(0)] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    for (int i = 0; i < GROUP; i += 4) {
        sum0 += parts[i];
        sum1 += parts[i + 1];
        sum2 += parts[i + 2];
        sum3 += parts[i + 3];
    }
    return (sum0 + sum2) + (sum1 + sum3);
}

// In norms a work-item has four neighbours, then those 4 GROUP further on, and so on; of what is
// left at the end, one.
#define FOURS(i, n) int i = 4 * get_local_id(0); i + 4 <= n; i += 4 * GROUP
#define REST(i, n) int i = n / 4 * 4 + get_local_id(0); i < n; i += GROUP

// y = x / rms(x) * w over n elements, once per head. Groups: (heads of n columns, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
rms_norm(__global const float *x, int x_at, int x_stride, __global const float *w, float eps, int n,
         __global float *y, int y_at, int y_stride)
{
    __local float parts[GROUP];
    size_t r = get_global_id(1), at = get_group_id(0) * (size_t)n;
    __global const float *from = x + r * x_stride + x_at + at;
    __global float *to = y + r * y_stride + y_at + at;
    float part0 = 0.0f, part1 = 0.0f, part2 = 0.0f, part3 = 0.0f;
    for (FOURS(i, n)) {
        part0 = fma(from[i], from[i], part0);
        part1 = fma(from[i + 1], from[i + 1], part1);
        part2 = fma(from[i + 2], from[i + 2], part2);
        part3 = fma(from[i + 3], from[i + 3], part3);
    }
    float sum = (part0 + part2) + (part1 + part3);
    for (REST(i, n)) {
        sum = fma(from[i], from[i], sum);
    }
    float scale = 1.0f / sqrt(group_sum(sum, parts) / (float)n + eps);
    for (FOURS(i, n)) {
        to[i] = from[i] * scale * w[i];
        to[i + 1] = from[i + 1] * scale * w[i + 1];
        to[i + 2] = from[i + 2] * scale * w[i + 2];
        to[i + 3] = from[i + 3] * scale * w[i + 3];
    }
    for (REST(i, n)) {
        to[i] = from[i] * scale * w[i];
    }
}

// y = (x - mean) / sqrt(var + eps) * w (+ b). Groups: (1, n_rows).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
layer_norm(__global const float *x, int x_at, int x_stride, __global const float *w,
           __global const float *b, int has_b, float eps, int n, __global float *y, int y_at,
           int y_stride)
{
    __local float parts[GROUP];
    size_t r = get_global_id(1);
    __global const float *from = x + r * x_stride + x_at;
    __global float *to = y + r * y_stride + y_at;
    float part0 = 0.0f, part1 = 0.0f, part2 = 0.0f, part3 = 0.0f;
    for (FOURS(i, n)) {
        part0 += from[i];
        part1 += from[i + 1];
        part2 += from[i + 2];
        part3 += from[i + 3];
    }
    float sum = (part0 + part2) + (part1 + part3);
    for (REST(i, n)) {
        sum += from[i];
    }
    float mean = group_sum(sum, parts) / (float)n;
    part0 = part1 = part2 = part3 = 0.0f;
    for (FOURS(i, n)) {
        float v0 = from[i] - mean, v1 = from[i + 1] - mean, v2 = from[i + 2] - mean;
        float v3 = from[i + 3] - mean;
        part0 = fma(v0, v0, part0);
        part1 = fma(v1, v1, part1);
        part2 = fma(v2, v2, part2);
        part3 = fma(v3, v3, part3);
    }
    sum = (part0 + part2) + (part1 + part3);
    for (REST(i, n)) {
        float centred = from[i] - mean;
        sum = fma(centred, centred, sum);
    }
    float scale = 1.0f / sqrt(group_sum(sum, parts) / (float)n + eps);
    for (FOURS(i, n)) {
        for (int k = i; k < i + 4; k++) {
            float unit = (from[k] - mean) * scale;
            to[k] = has_b ? fma(unit, w[k], b[k]) : unit * w[k];
        }
    }
    for (REST(i, n)) {
        float unit = (from[i] - mean) * scale;
        to[i] = has_b ? fma(unit, w[i], b[i]) : unit * w[i];
    }
}

// y = gelu(x), tanh approximation. Work-items of this and the next two: (n rounded up, n_rows).
__kernel void gelu(__global const float *x, int x_at, int x_stride, int n, __global float *y,
                   int y_at, int y_stride)
{
    size_t i = get_global_id(0), r = get_global_id(1);
    if (i < n) {
        float v = x[r * x_stride + x_at + i];
        float u = -1.59576912f * fma(0.044715f, v * v * v, v);
        y[r * y_stride + y_at + i] = v / (1.0f + exp1(u));
    }
}

// y = silu(x[i]) * x[n + i]
__kernel void silu_mul(__global const float *x, int x_at, int x_stride, int n, __global float *y,
                       int y_at, int y_stride)
{
    size_t i = get_global_id(0), r = get_global_id(1);
    if (i < n) {
        float gate = x[r * x_stride + x_at + i], up = x[r * x_stride + x_at + n + i];
        y[r * y_stride + y_at + i] = gate / (1.0f + exp1(-gate)) * up;
    }
}

__kernel void copy(__global const float *x, int x_at, int x_stride, int n, __global float *y,
                   int y_at, int y_stride)
{
    size_t i = get_global_id(0), r = get_global_id(1);
    if (i < n) {
        y[r * y_stride + y_at + i] = x[r * x_stride + x_at + i];
    }
}

// Rotate pairs of every head by the row's position. table [n_ctx, n_rot]: cos, then sin.
// Work-items: (n_head * n_rot / 2 rounded up, n_rows).
__kernel void rope(__global float *y, int y_at, int y_stride, int n_head, int d_head, int n_rot,
                   int neox, __global const float *table, __global const int *job)
{
    int pairs = n_rot / 2, i = get_global_id(0) % pairs, head = get_global_id(0) / pairs;
    size_t r = get_global_id(1);
    if (head < n_head) {
        __global const float *angles = table + (size_t)job[JOB_INTS * r + JOB_POS] * n_rot;
        __global float *x = y + r * y_stride + y_at + head * d_head;
        int a = neox ? i : 2 * i, b = neox ? i + pairs : 2 * i + 1;
        float old_a = x[a], old_b = x[b], c = angles[i], s = angles[pairs + i];
        x[a] = fma(old_a, c, -(old_b * s));
        x[b] = fma(old_b, c, old_a * s);
    }
}

// Keys and values of rows [first, first + size) into their cells: cache [n_cells, n] of keys, then
// of values. Work-items: (n rounded up, rows of one job).
__kernel void store(__global const float *x, int x_at, int x_stride, __global const float *y,
                    int y_at, int y_stride, int n, __global const int *job, int first, int n_cells,
                    __global float *cache)
{
    size_t i = get_global_id(0), r = first + get_global_id(1);
    if (i < n) {
        size_t at = (size_t)job[JOB_INTS * r + JOB_CELL] * n + i;
        cache[at] = x[r * x_stride + x_at + i];
        cache[(size_t)n_cells * n + at] = y[r * y_stride + y_at + i];
    }
}

// Reads pieces of 64 bytes and keeps their exclusive or, so that no read is left out: what the
// memory gives. Work-item i begins at piece i * apart and reads n pieces, `step` apart.
__kernel void read_all(__global const uint *x, int apart, int step, int n, __global uint *y)
{
    size_t me = get_global_id(0), at = me * apart;
    uint16 all = (uint16)(0u);
    for (int i = 0; i < n; i++, at += step) {
        all ^= vload16(at, x);
    }
    uint some[16], one = 0u;
    vstore16(all, 0, some);
    for (int i = 0; i < 16; i++) {
        one ^= some[i];
    }
    y[me] = one;
}
