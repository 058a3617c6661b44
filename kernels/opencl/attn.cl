// Attention of one row and one query head; and what stores the cells.
//
// Positions are taken in chunks of CHUNK, chunks in blocks of GROUP, all counted from position 0; a
// position's cell is read from the trunk, then from the row's own path, so where the trunk ends
// changes no bit. Per block: a score per work-item, the maximum so far, weights
// exp(score - maximum), and the output so far, scaled down where the maximum rose, plus the
// weighted values in order of position. Chunks begin anew, and meet in their order by the same
// rule.
//
// So a chunk may have a work-group of its own (`attn_part`, then `attn_join`), where there are too
// few rows and heads to keep a device busy; or a work-group has all of a row's chunks (`attn`). The
// bits are the same.
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

// Elements d .. d + 3.
float4 elements_f32(__global const uchar *head, int d, int d_head)
{
    return vload4(0, (__global const float *)head + d);
}

float4 elements_f16(__global const uchar *head, int d, int d_head)
{
    return halves_at(head + 2 * d, 2);
}

float4 elements_q8_0(__global const uchar *head, int d, int d_head)
{
    float scale = half_at(head + padded_head(d_head) + d / 32 * 2);
    return convert_float4(convert_int4(vload4(0, (__global const char *)head + d))) * scale;
}

float larger(float a, float b)
{
    return b > a ? b : a;
}

// The rule by which what is seen of later positions meets what was seen before: maxima, sums of
// weights, weighted values. `keep` and `take` are for values and sums of before and after.
#define MEET(top, sum, other_top, other_sum, keep, take)                                           \
    float new_top = larger(top, other_top), keep = exp1(top - new_top);                            \
    float take = exp1(other_top - new_top);                                                        \
    sum = fma(other_sum, take, sum * keep);                                                        \
    top = new_top;

// Positions begin .. end - 1, at most a chunk, of a head of the cells that trunk and path name:
// returns their maximum and the sum of their weights, and puts the weighted values into out
// [d_head], each of whose elements belongs to one work-item. Has barriers.
#define CHUNK_OF(TYPE)                                                                             \
    float2 chunk_##TYPE(__global const float *q, float scale, __global const uchar *keys,          \
                        __global const uchar *values, size_t cell_bytes, int d_head,               \
                        __global const int *trunk, __global const int *path, int n_trunk,          \
                        int begin, int end, __local float *out, __local float *scores,             \
                        __local int *cells)                                                        \
    {                                                                                              \
        int me = get_local_id(0);                                                                  \
        float top = -INFINITY, sum = 0.0f;                                                         \
        for (int d = me; d < d_head; d += GROUP) {                                                 \
            out[d] = 0.0f;                                                                         \
        }                                                                                          \
        for (; begin < end; begin += GROUP) {                                                      \
            /* behind the end the last cell once more, with weight 0 */                            \
            int here = min(GROUP, end - begin), p = begin + min(me, here - 1);                     \
            int cell = p < n_trunk ? trunk[p] : path[p - n_trunk], d = 0;                          \
            __global const uchar *k = keys + cell * cell_bytes;                                    \
            float4 dots = (float4)(0.0f);                                                          \
            for (; d + 4 <= d_head; d += 4) {                                                      \
                dots = fma(vload4(0, q + d), elements_##TYPE(k, d, d_head), dots);                 \
            }                                                                                      \
            float dot = (dots.x + dots.z) + (dots.y + dots.w);                                     \
            for (; d < d_head; d++) {                                                              \
                dot = fma(q[d], element_##TYPE(k, d, d_head), dot);                                \
            }                                                                                      \
            float score = dot * scale;                                                             \
            barrier(CLK_LOCAL_MEM_FENCE); /* the others have read the block before */              \
            cells[me] = cell;                                                                      \
            scores[me] = score;                                                                    \
            barrier(CLK_LOCAL_MEM_FENCE);                                                          \
            float most0 = top, most1 = top, most2 = top, most3 = top;                              \
            for (int i = 0; i < GROUP; i += 4) {                                                   \
                most0 = larger(most0, scores[i]);                                                  \
                most1 = larger(most1, scores[i + 1]);                                              \
                most2 = larger(most2, scores[i + 2]);                                              \
                most3 = larger(most3, scores[i + 3]);                                              \
            }                                                                                      \
            float new_top = larger(larger(most0, most1), larger(most2, most3));                    \
            float keep = exp1(top - new_top);                                                      \
            barrier(CLK_LOCAL_MEM_FENCE); /* all have seen the scores */                           \
            scores[me] = me < here ? exp1(score - new_top) : 0.0f;                                 \
            barrier(CLK_LOCAL_MEM_FENCE);                                                          \
            float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;                              \
            for (int i = 0; i < GROUP; i += 4) {                                                   \
                sum0 += scores[i];                                                                 \
                sum1 += scores[i + 1];                                                             \
                sum2 += scores[i + 2];                                                             \
                sum3 += scores[i + 3];                                                             \
            }                                                                                      \
            sum = fma(sum, keep, (sum0 + sum2) + (sum1 + sum3));                                   \
            for (int d = me; d < d_head; d += GROUP) {                                             \
                float o = out[d] * keep;                                                           \
                for (int i = 0; i < here; i += 8) {                                                \
                    float v[8];                                                                    \
                    _Pragma("unroll") for (int j = 0; j < 8; j++)                                  \
                    {                                                                              \
                        v[j] = element_##TYPE(values + cells[i + j] * cell_bytes, d, d_head);      \
                    }                                                                              \
                    _Pragma("unroll") for (int j = 0; j < 8; j++)                                  \
                    {                                                                              \
                        o = fma(scores[i + j], v[j], o);                                           \
                    }                                                                              \
                }                                                                                  \
                out[d] = o;                                                                        \
            }                                                                                      \
            top = new_top;                                                                         \
        }                                                                                          \
        return (float2)(top, sum);                                                                 \
    }

// What a row and a head are to read: for a group of either kernel below.
#define ATTN_PLACES(TYPE)                                                                          \
    __local float scores[GROUP];                                                                   \
    __local int cells[GROUP];                                                                      \
    int me = get_local_id(0);                                                                      \
    size_t head_bytes = head_bytes_##TYPE(d_head), cell_bytes = n_kv * head_bytes;                 \
    size_t r = first + get_global_id(1), shift = head / (n_head / n_kv) * head_bytes;              \
    __global const int *row = job + JOB_INTS * r;                                                  \
    __global const int *trunk = job + row[JOB_TRUNK], *path = job + row[JOB_PATH];                 \
    int n_trunk = row[JOB_N_TRUNK], n = n_trunk + row[JOB_N_PATH];                                 \
    __global const float *q = x + r * x_stride + x_at + head * d_head;                             \
    __global const uchar *keys = cache + shift, *values = keys + n_cells * cell_bytes;

// All chunks of a row and head. Groups: (n_head, rows of one job); out [2, d_head].
#define ATTN(NAME, TYPE)                                                                           \
    __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void NAME(                         \
        __global const float *x, int x_at, int x_stride, __global float *y, int y_at,              \
        int y_stride, int n_head, int n_kv, int d_head, float scale, __local float *out,           \
        __global const int *job, int first, int n_cells, __global const uchar *cache)              \
    {                                                                                              \
        int head = get_group_id(0);                                                                \
        ATTN_PLACES(TYPE)                                                                          \
        __local float *all = out + d_head;                                                         \
        float top = -INFINITY, sum = 0.0f;                                                         \
        for (int d = me; d < d_head; d += GROUP) {                                                 \
            all[d] = 0.0f;                                                                         \
        }                                                                                          \
        for (int begin = 0; begin < n; begin += CHUNK) {                                           \
            float2 part = chunk_##TYPE(q, scale, keys, values, cell_bytes, d_head, trunk, path,    \
                                       n_trunk, begin, min(n, begin + CHUNK), out, scores, cells); \
            MEET(top, sum, part.x, part.y, keep, take)                                             \
            for (int d = me; d < d_head; d += GROUP) {                                             \
                all[d] = fma(out[d], take, all[d] * keep);                                         \
            }                                                                                      \
        }                                                                                          \
        for (int d = me; d < d_head; d += GROUP) {                                                 \
            y[r * y_stride + y_at + head * d_head + d] = all[d] / sum;                             \
        }                                                                                          \
    }

// Floats that a chunk leaves for `attn_join`: maximum, sum, weighted values.
#define PART_FLOATS(d_head) (d_head + 2)

// A chunk of a row and head, which goes to parts [rows, n_head, n_chunks, PART_FLOATS]; of rows
// that end before it nothing does. Groups: (n_head n_chunks, rows of one job); out [d_head].
#define ATTN_PART(NAME, TYPE)                                                                      \
    __kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void NAME(                         \
        __global const float *x, int x_at, int x_stride, __global float *parts, int n_head,        \
        int n_kv, int d_head, float scale, __local float *out, __global const int *job,            \
        int n_chunks, int first, int n_cells, __global const uchar *cache)                         \
    {                                                                                              \
        int head = get_group_id(0) % n_head, c = get_group_id(0) / n_head;                         \
        ATTN_PLACES(TYPE)                                                                          \
        if (c * CHUNK < n) {                                                                       \
            float2 part =                                                                          \
                chunk_##TYPE(q, scale, keys, values, cell_bytes, d_head, trunk, path, n_trunk,     \
                             c * CHUNK, min(n, (c + 1) * CHUNK), out, scores, cells);              \
            size_t at = (get_global_id(1) * n_head + head) * n_chunks + c;                         \
            __global float *to = parts + at * PART_FLOATS(d_head);                                 \
            if (me == 0) {                                                                         \
                to[0] = part.x;                                                                    \
                to[1] = part.y;                                                                    \
            }                                                                                      \
            for (int d = me; d < d_head; d += GROUP) {                                             \
                to[2 + d] = out[d];                                                                \
            }                                                                                      \
        }                                                                                          \
    }

CHUNK_OF(f32)
CHUNK_OF(f16)
CHUNK_OF(q8_0)
ATTN(attn, f32)
ATTN(attn_f16, f16)
ATTN(attn_q8_0, q8_0)
ATTN_PART(attn_part, f32)
ATTN_PART(attn_part_f16, f16)
ATTN_PART(attn_part_q8_0, q8_0)

// The chunks of a row and head. Groups: (n_head, rows of one job).
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
attn_join(__global const float *parts, __global float *y, int y_at, int y_stride, int n_head,
          int d_head, __global const int *job, int n_chunks, int first)
{
    size_t r = first + get_global_id(1);
    int head = get_group_id(0),
        n = job[JOB_INTS * r + JOB_N_TRUNK] + job[JOB_INTS * r + JOB_N_PATH];
    __global const float *from =
        parts + (get_global_id(1) * n_head + head) * n_chunks * PART_FLOATS(d_head);
    for (int d = get_local_id(0); d < d_head; d += GROUP) {
        float top = -INFINITY, sum = 0.0f, all = 0.0f;
        for (int c = 0; c * CHUNK < n; c++) {
            __global const float *part = from + (size_t)c * PART_FLOATS(d_head);
            float part_top = part[0], part_sum = part[1], value = part[2 + d];
            MEET(top, sum, part_top, part_sum, keep, take)
            all = fma(value, take, all * keep);
        }
        y[r * y_stride + y_at + head * d_head + d] = all / sum;
    }
}

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
