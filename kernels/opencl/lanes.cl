// Products, kinds "lanes" and "subgroup": a team of sixteen work-items computes C output channels
// for R rows, lane l of it the partial sum of elements k with k % 16 == l.
//
// The order of every sum is that of matmul.cl, so are the bits. Neighbours read neighbouring
// weights, and there is no code for whole blocks: compilers that take minutes for those take
// seconds for these. The partial sums meet in local memory ("lanes": any device, a barrier), or by
// shuffles within a sub-group of 16, 32, .. work-items ("subgroup": no barrier, no local memory).

float one_f32(__global const uchar *row, int k)
{
    return ((__global const float *)row)[k];
}

float one_f16(__global const uchar *row, int k)
{
    return half_at(row + 2 * (size_t)k);
}

float one_bf16(__global const uchar *row, int k)
{
    return bfloat_at(row + 2 * (size_t)k);
}

// Weights k + l and k + 16 + l; k is a multiple of 32, l < 16.
float2 pair_f32(__global const uchar *row, int k, int l)
{
    return (float2)(one_f32(row, k + l), one_f32(row, k + 16 + l));
}

float2 pair_f16(__global const uchar *row, int k, int l)
{
    return (float2)(one_f16(row, k + l), one_f16(row, k + 16 + l));
}

float2 pair_bf16(__global const uchar *row, int k, int l)
{
    return (float2)(one_bf16(row, k + l), one_bf16(row, k + 16 + l));
}

float2 pair_q8_0(__global const uchar *row, int k, int l)
{
    __global const uchar *p = row + (size_t)(k / 32) * 34;
    float d = half_at(p);
    return (float2)(d * (float)(char)p[2 + l], d * (float)(char)p[18 + l]);
}

float2 pair_q4_0(__global const uchar *row, int k, int l)
{
    __global const uchar *p = row + (size_t)(k / 32) * 18;
    float d = half_at(p), less = -8.0f * d;
    int q = p[2 + l];
    return (float2)(fma((float)(q & 15), d, less), fma((float)(q >> 4), d, less));
}

float2 pair_q4_k(__global const uchar *row, int k, int l)
{
    __global const uchar *p = row + (size_t)(k / 256) * 144;
    int j = k % 256, shift = j % 64 / 8;
    float2 s = scale_min(p + 4, j / 32);
    float scale = half_at(p) * s.x, least = half_at(p + 2) * s.y;
    __global const uchar *q = p + 16 + j / 64 * 32 + l;
    return (float2)(fma(scale, (float)(q[0] >> shift & 15), -least),
                    fma(scale, (float)(q[16] >> shift & 15), -least));
}

float2 pair_q5_k(__global const uchar *row, int k, int l)
{
    __global const uchar *p = row + (size_t)(k / 256) * 176;
    int j = k % 256, shift = j % 64 / 8, bit = j / 32;
    float2 s = scale_min(p + 4, bit);
    float scale = half_at(p) * s.x, least = half_at(p + 2) * s.y;
    __global const uchar *q = p + 48 + j / 64 * 32 + l, *high = p + 16 + l;
    int q0 = (q[0] >> shift & 15) | (high[0] >> bit & 1) << 4;
    int q1 = (q[16] >> shift & 15) | (high[16] >> bit & 1) << 4;
    return (float2)(fma(scale, (float)q0, -least), fma(scale, (float)q1, -least));
}

float2 pair_q6_k(__global const uchar *row, int k, int l)
{
    __global const uchar *p = row + (size_t)(k / 256) * 210;
    int j = k % 256, upper = j / 128, quarter = j % 128 / 32, shift = quarter / 2 * 4;
    __global const uchar *q = p + 64 * upper + 32 * (quarter & 1) + l;
    __global const uchar *high = p + 128 + 32 * upper + l;
    int q0 = (q[0] >> shift & 15) | (high[0] >> 2 * quarter & 3) << 4;
    int q1 = (q[16] >> shift & 15) | (high[16] >> 2 * quarter & 3) << 4;
    float d = half_at(p + 208);
    float s0 = d * (float)(char)p[192 + j / 16], s1 = d * (float)(char)p[193 + j / 16];
    return (float2)(fma((float)q0, s0, -32.0f * s0), fma((float)q1, s1, -32.0f * s1));
}

// What is left behind the last 32 elements; lanes beyond the end add 0 * 0, as in matmul.cl.
#define NO_LAST(R, C, ONE)
#define LAST_PLAIN(R, C, ONE)                                                                      \
    for (; k < n_in; k += 16) {                                                                    \
        bool there = k + l < n_in;                                                                 \
        _Pragma("unroll") for (int c = 0; c < C; c++)                                              \
        {                                                                                          \
            float fed = there ? ONE(row[c], k + l) : 0.0f;                                         \
            _Pragma("unroll") for (int r = 0; r < R; r++)                                          \
            {                                                                                      \
                s[c][r] = fma(there ? in[r][k + l] : 0.0f, fed, s[c][r]);                          \
            }                                                                                      \
        }                                                                                          \
    }

// Where a team reads, and its sums before anything is added: channels o .. o + C - 1 of n_out,
// which may be 0, rows first .. first + R - 1.
#define TEAM_ROWS(R, C)                                                                            \
    __global const float *in[R];                                                                   \
    __global const uchar *row[C];                                                                  \
    float s[C][R];                                                                                 \
    _Pragma("unroll") for (int r = 0; r < R; r++)                                                  \
    {                                                                                              \
        in[r] = x + (size_t)min(first + r, n_rows - 1) * x_stride + x_at;                          \
    }                                                                                              \
    _Pragma("unroll") for (int c = 0; c < C; c++)                                                  \
    {                                                                                              \
        row[c] = w + (size_t)max(min(o + c, n_out - 1), 0) * row_bytes;                            \
        _Pragma("unroll") for (int r = 0; r < R; r++)                                              \
        {                                                                                          \
            s[c][r] = 0.0f;                                                                        \
        }                                                                                          \
    }

// The partial sums s [C][R] of lane l.
#define TEAM_SUMS(R, C, PAIR, LAST, ONE)                                                           \
    TEAM_ROWS(R, C)                                                                                \
    int k = 0;                                                                                     \
    for (; k + 32 <= n_in; k += 32) {                                                              \
        _Pragma("unroll") for (int c = 0; c < C; c++)                                              \
        {                                                                                          \
            float2 fed = PAIR(row[c], k, l);                                                       \
            _Pragma("unroll") for (int r = 0; r < R; r++)                                          \
            {                                                                                      \
                s[c][r] = fma(in[r][k + l], fed.x, s[c][r]);                                       \
                s[c][r] = fma(in[r][k + 16 + l], fed.y, s[c][r]);                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    LAST(R, C, ONE)

// Column o + c of row first + r (+)= value (+ bias).
#define PUT(c, r, value)                                                                           \
    if (first + (r) < n_rows && o + (c) < n_out) {                                                 \
        __global float *to = y + (size_t)(first + (r)) * y_stride + y_at + o + (c);                \
        float whole = value;                                                                       \
        whole = has_bias ? whole + bias[o + (c)] : whole;                                          \
        *to = accumulate ? *to + whole : whole;                                                    \
    }

// All sums to local memory [C * R][group], then lane v of a team adds up value v. Has a barrier.
#define MEET_IN_LOCAL(R, C)                                                                        \
    int at = get_local_id(0), group = get_local_size(0);                                           \
    _Pragma("unroll") for (int v = 0; v < C * R; v++)                                              \
    {                                                                                              \
        parts[v * group + at] = s[v / R][v % R];                                                   \
    }                                                                                              \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
    for (int v = l; v < C * R; v += 16) {                                                          \
        __local const float *p = parts + v * group + at - l;                                       \
        float a0 = p[0] + p[8], a1 = p[1] + p[9], a2 = p[2] + p[10], a3 = p[3] + p[11];            \
        float a4 = p[4] + p[12], a5 = p[5] + p[13], a6 = p[6] + p[14], a7 = p[7] + p[15];          \
        PUT(v / R, v % R, ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7)))                       \
    }

// The same by halves, quarters, pairs and neighbours: every lane gets every sum.
#define MEET_BY_SHUFFLE(R, C)                                                                      \
    _Pragma("unroll") for (int v = 0; v < C * R; v++)                                              \
    {                                                                                              \
        float sum = s[v / R][v % R];                                                               \
        sum += SHUFFLE_XOR(sum, 8);                                                                \
        sum += SHUFFLE_XOR(sum, 4);                                                                \
        sum += SHUFFLE_XOR(sum, 2);                                                                \
        sum += SHUFFLE_XOR(sum, 1);                                                                \
        if (l == v % 16) {                                                                         \
            PUT(v / R, v % R, sum)                                                                 \
        }                                                                                          \
    }

#define TEAM_ARGS(ELEMENT)                                                                         \
    __global const uchar *w, ulong row_bytes, int n_in, int n_out, __global const float *bias,     \
        int has_bias, __global const ELEMENT *x, int x_at, int x_stride, __global float *y,        \
        int y_at, int y_stride, int accumulate, int n_rows

// As MATMUL of matmul.cl. Work-items: (16 n_out / C rounded up, tiles of R rows); local memory:
// C * R floats for each work-item of a group.
#define LANES(NAME, R, C, PAIR, LAST, ONE)                                                         \
    __kernel void NAME(TEAM_ARGS(float), __local float *parts)                                     \
    {                                                                                              \
        int l = get_local_id(0) % 16, o = get_global_id(0) / 16 * C, first = get_global_id(1) * R; \
        TEAM_SUMS(R, C, PAIR, LAST, ONE)                                                           \
        MEET_IN_LOCAL(R, C)                                                                        \
    }

#ifdef SUBGROUP_16
#define SUBGROUP_SIZE __attribute__((intel_reqd_sub_group_size(16)))
#else
#define SUBGROUP_SIZE
#endif

// The same without local memory. Sub-groups must have a multiple of 16 work-items.
#define SUBGROUP(NAME, R, C, PAIR, LAST, ONE)                                                      \
    __kernel SUBGROUP_SIZE void NAME(TEAM_ARGS(float))                                             \
    {                                                                                              \
        int at = get_sub_group_id() * get_max_sub_group_size() + get_sub_group_local_id();         \
        int l = at % 16, o = ((int)(get_group_id(0) * get_local_size(0)) + at) / 16 * C;           \
        int first = get_global_id(1) * R;                                                          \
        TEAM_SUMS(R, C, PAIR, LAST, ONE)                                                           \
        MEET_BY_SHUFFLE(R, C)                                                                      \
    }

#define LANES_F32(R, C) LANES(lanes##R##x##C##_F32, R, C, pair_f32, LAST_PLAIN, one_f32)
#define LANES_F16(R, C) LANES(lanes##R##x##C##_F16, R, C, pair_f16, LAST_PLAIN, one_f16)
#define LANES_BF16(R, C) LANES(lanes##R##x##C##_BF16, R, C, pair_bf16, LAST_PLAIN, one_bf16)
#define LANES_Q8_0(R, C) LANES(lanes##R##x##C##_Q8_0, R, C, pair_q8_0, NO_LAST, 0)
#define LANES_Q4_0(R, C) LANES(lanes##R##x##C##_Q4_0, R, C, pair_q4_0, NO_LAST, 0)
#define LANES_Q4_K(R, C) LANES(lanes##R##x##C##_Q4_K, R, C, pair_q4_k, NO_LAST, 0)
#define LANES_Q5_K(R, C) LANES(lanes##R##x##C##_Q5_K, R, C, pair_q5_k, NO_LAST, 0)
#define LANES_Q6_K(R, C) LANES(lanes##R##x##C##_Q6_K, R, C, pair_q6_k, NO_LAST, 0)

#define SUBGROUP_F32(R, C) SUBGROUP(subgroup##R##x##C##_F32, R, C, pair_f32, LAST_PLAIN, one_f32)
#define SUBGROUP_F16(R, C) SUBGROUP(subgroup##R##x##C##_F16, R, C, pair_f16, LAST_PLAIN, one_f16)
#define SUBGROUP_BF16(R, C)                                                                        \
    SUBGROUP(subgroup##R##x##C##_BF16, R, C, pair_bf16, LAST_PLAIN, one_bf16)
#define SUBGROUP_Q8_0(R, C) SUBGROUP(subgroup##R##x##C##_Q8_0, R, C, pair_q8_0, NO_LAST, 0)
#define SUBGROUP_Q4_0(R, C) SUBGROUP(subgroup##R##x##C##_Q4_0, R, C, pair_q4_0, NO_LAST, 0)
#define SUBGROUP_Q4_K(R, C) SUBGROUP(subgroup##R##x##C##_Q4_K, R, C, pair_q4_k, NO_LAST, 0)
#define SUBGROUP_Q5_K(R, C) SUBGROUP(subgroup##R##x##C##_Q5_K, R, C, pair_q5_k, NO_LAST, 0)
#define SUBGROUP_Q6_K(R, C) SUBGROUP(subgroup##R##x##C##_Q6_K, R, C, pair_q6_k, NO_LAST, 0)
