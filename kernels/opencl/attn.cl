// Attention of one row and one query head per work-group, over blocks of GROUP positions; and what
// stores the cells.
//
// The blocks are counted from position 0; a position's cell is read from the trunk, then from the
// row's own path, so where the trunk ends changes no bit. Per block: a score per work-item, the
// maximum so far, weights exp(score - maximum), and the output so far, scaled down where the
// maximum rose, plus the weighted values in order of position. `out` holds a head in local memory;
// each element belongs to one work-item.
//
// A cell holds n_kv heads of a key (and, n_cells further on, of a value), as
// hsdi_cache_head_bytes (kernels/cache.c) has them: f32; f16, rounded up to 16 elements; q8_0: so
// many bytes, then a scale in f16 for each 32.

int padded_head(int d_head)
{
    return (d_head + 15) / 16 * 16;
}

int head_bytes_f32(int d_head)
{
    return 4 * d_head;
}

int head_bytes_f16(int d_head)
{
    return 2 * padded_head(d_head);
}

int head_bytes_q8_0(int d_head)
{
    return padded_head(d_head) + (d_head + 31) / 32 * 2;
}

// Element d of a head, as f32 without rounding.
float element_f32(__global const uchar *head, int d, int d_head)
{
    return ((__global const float *)head)[d];
}

float element_f16(__global const uchar *head, int d, int d_head)
{
    return half_at(head + 2 * d);
}

float element_q8_0(__global const uchar *head, int d, int d_head)
{
    float scale = half_at(head + padded_head(d_head) + d / 32 * 2);
    return (float)((__global const char *)head)[d] * scale;
}

// Groups: (n_head, rows of one job).
#define ATTN(NAME, TYPE)                                                                           \
    __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void NAME(                         \
        __global const float *x, int x_at, int x_stride, __global float *y, int y_at,              \
        int y_stride, int n_head, int n_kv, int d_head, float scale, __local float *out,           \
        __global const int *job, int first, int n_cells, __global const uchar *cache)              \
    {                                                                                              \
        __local float scores[GROUP];                                                               \
        __local int cells[GROUP];                                                                  \
        int me = get_local_id(0), head = get_group_id(0);                                          \
        size_t head_bytes = head_bytes_##TYPE(d_head), cell_bytes = n_kv * head_bytes;             \
        size_t r = first + get_global_id(1), shift = head / (n_head / n_kv) * head_bytes;          \
        __global const int *row = job + JOB_INTS * r;                                              \
        __global const int *trunk = job + row[JOB_TRUNK], *path = job + row[JOB_PATH];             \
        int n_trunk = row[JOB_N_TRUNK], n = n_trunk + row[JOB_N_PATH];                             \
        __global const float *q = x + r * x_stride + x_at + head * d_head;                         \
        __global const uchar *keys = cache + shift, *values = keys + n_cells * cell_bytes;         \
        float top = -INFINITY, sum = 0.0f;                                                         \
        for (int d = me; d < d_head; d += GROUP) {                                                 \
            out[d] = 0.0f;                                                                         \
        }                                                                                          \
        for (int begin = 0; begin < n; begin += GROUP) {                                           \
            int here = min(GROUP, n - begin), p = begin + me;                                      \
            barrier(CLK_LOCAL_MEM_FENCE); /* the others have read the block before */              \
            if (me < here) {                                                                       \
                int cell = p < n_trunk ? trunk[p] : path[p - n_trunk];                             \
                __global const uchar *k = keys + cell * cell_bytes;                                \
                float dot = 0.0f;                                                                  \
                for (int d = 0; d < d_head; d++) {                                                 \
                    dot = fma(q[d], element_##TYPE(k, d, d_head), dot);                            \
                }                                                                                  \
                cells[me] = cell;                                                                  \
                scores[me] = dot * scale;                                                          \
            }                                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                          \
            float new_top = top;                                                                   \
            for (int i = 0; i < here; i++) {                                                       \
                new_top = scores[i] > new_top ? scores[i] : new_top;                               \
            }                                                                                      \
            float keep = exp1(top - new_top);                                                      \
            barrier(CLK_LOCAL_MEM_FENCE); /* all have seen the scores */                           \
            if (me < here) {                                                                       \
                scores[me] = exp1(scores[me] - new_top);                                           \
            }                                                                                      \
            barrier(CLK_LOCAL_MEM_FENCE);                                                          \
            sum *= keep;                                                                           \
            for (int i = 0; i < here; i++) {                                                       \
                sum += scores[i];                                                                  \
            }                                                                                      \
            for (int d = me; d < d_head; d += GROUP) {                                             \
                float o = out[d] * keep;                                                           \
                for (int i = 0; i < here; i++) {                                                   \
                    __global const uchar *v = values + cells[i] * cell_bytes;                      \
                    o = fma(scores[i], element_##TYPE(v, d, d_head), o);                           \
                }                                                                                  \
                out[d] = o;                                                                        \
            }                                                                                      \
            top = new_top;                                                                         \
        }                                                                                          \
        for (int d = me; d < d_head; d += GROUP) {                                                 \
            y[r * y_stride + y_at + head * d_head + d] = out[d] / sum;                             \
        }                                                                                          \
    }

ATTN(attn, f32)
ATTN(attn_f16, f16)
ATTN(attn_q8_0, q8_0)

// Elements first .. first + 31 of a head, as far as there are, rounded to the type.
void put_f16(__global uchar *head, __global const float *x, int first, int d_head)
{
    for (int d = first; d < min(first + 32, d_head); d++) {
        vstore_half_rte(x[d], d, (__global half *)head);
    }
}

// As kernels/cache.c: a NaN or infinity makes the scale non-finite.
void put_q8_0(__global uchar *head, __global const float *x, int first, int d_head)
{
    uint largest = 0u;
    for (int d = first; d < min(first + 32, d_head); d++) {
        largest = max(largest, as_uint(x[d]) & 0x7fffffffu);
    }
    float amax = as_float(largest);
    bool zero = amax <= 1e-30f;
    float inverse = zero ? 0.0f : 127.0f / amax;
    for (int d = first; d < min(first + 32, d_head); d++) {
        float scaled = x[d] * inverse;
        scaled = scaled < 127.0f ? scaled : 127.0f; // NaN becomes 127
        scaled = scaled > -127.0f ? scaled : -127.0f;
        ((__global char *)head)[d] = (char)(int)rint(scaled);
    }
    vstore_half_rte(zero ? 0.0f : amax / 127.0f, first / 32,
                    (__global half *)(head + padded_head(d_head)));
}

// A key and a value per row, a piece of a head per work-item.
// Size: (n_kv times the 32s of a head, rounded up; rows of one job).
#define STORE(NAME, TYPE)                                                                          \
    __kernel void NAME(__global const float *x, int x_at, int x_stride, __global const float *y,   \
                       int y_at, int y_stride, int n_kv, int d_head, __global const int *job,      \
                       int first, int n_cells, __global uchar *cache)                              \
    {                                                                                              \
        int n_blocks = (d_head + 31) / 32, i = get_global_id(0), head = i / n_blocks;              \
        int from = i % n_blocks * 32;                                                              \
        size_t r = first + get_global_id(1), head_bytes = head_bytes_##TYPE(d_head);               \
        size_t cell_bytes = n_kv * head_bytes;                                                     \
        if (head < n_kv) {                                                                         \
            __global uchar *k = cache + job[JOB_INTS * r + JOB_CELL] * cell_bytes;                 \
            k += head * head_bytes;                                                                \
            put_##TYPE(k, x + r * x_stride + x_at + head * d_head, from, d_head);                  \
            put_##TYPE(k + n_cells * cell_bytes, y + r * y_stride + y_at + head * d_head, from,    \
                       d_head);                                                                    \
        }                                                                                          \
    }

STORE(store_f16, f16)
STORE(store_q8_0, q8_0)
