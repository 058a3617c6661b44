// Products of rows with a matrix, and rows of a matrix looked up by number.
//
// One work-item computes one output channel for N rows, so each weight is read and decoded once for
// N rows. Sixteen partial sums per row and channel (element k in lane k % 16, in order of k, one
// fused multiply-add each), then halves: the sum depends neither on the number of rows, nor on N,
// nor on how work-items are grouped.

// Halves, quarters, pairs. By component: Oclgrind cannot follow .lo and .hi.
float lanes_sum(float16 v)
{
    float a0 = v.s0 + v.s8, a1 = v.s1 + v.s9, a2 = v.s2 + v.sa, a3 = v.s3 + v.sb;
    float a4 = v.s4 + v.sc, a5 = v.s5 + v.sd, a6 = v.s6 + v.se, a7 = v.s7 + v.sf;
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7));
}

// Columns [y_at, y_at + n_out) of y [n_rows, y_stride] (+)= x [n_rows, x_stride] W^T (+ bias).
// Work-items: (n_out rounded up, tiles of N rows).
#define MATMUL(NAME, N, LOAD, TAIL)                                                                \
    __kernel void NAME(__global const uchar *w, ulong row_bytes, int n_in, int n_out,              \
                       __global const float *bias, int has_bias, __global const float *x,          \
                       int x_at, int x_stride, __global float *y, int y_at, int y_stride,          \
                       int accumulate, int n_rows)                                                 \
    {                                                                                              \
        int o = get_global_id(0), first = get_global_id(1) * N;                                    \
        if (o >= n_out) {                                                                          \
            return;                                                                                \
        }                                                                                          \
        __global const uchar *row = w + (size_t)o * row_bytes;                                     \
        __global const float *in[N];                                                               \
        float16 sums[N];                                                                           \
        for (int r = 0; r < N; r++) {                                                              \
            in[r] = x + (size_t)min(first + r, n_rows - 1) * x_stride + x_at;                      \
            sums[r] = (float16)(0.0f);                                                             \
        }                                                                                          \
        int k = 0;                                                                                 \
        for (; k + 16 <= n_in; k += 16) {                                                          \
            float16 weights = LOAD(row, k);                                                        \
            for (int r = 0; r < N; r++) {                                                          \
                sums[r] = fma(vload16(0, in[r] + k), weights, sums[r]);                            \
            }                                                                                      \
        }                                                                                          \
        if (k < n_in) {                                                                            \
            float16 weights = TAIL(row, k, n_in - k);                                              \
            for (int r = 0; r < N; r++) {                                                          \
                float16 rest = tail_f32((__global const uchar *)in[r], k, n_in - k);               \
                sums[r] = fma(rest, weights, sums[r]);                                             \
            }                                                                                      \
        }                                                                                          \
        for (int r = 0; r < N && first + r < n_rows; r++) {                                        \
            __global float *to = y + (size_t)(first + r) * y_stride + y_at + o;                    \
            float value = lanes_sum(sums[r]);                                                      \
            value = has_bias ? value + bias[o] : value;                                            \
            *to = accumulate ? *to + value : value;                                                \
        }                                                                                          \
    }

// y [n_rows, width] (+)= the row of W that the table names. Work-items: (width / 16 up, n_rows).
#define EMBED(NAME, LOAD, TAIL)                                                                    \
    __kernel void NAME(__global const uchar *w, ulong row_bytes, int width,                        \
                       __global const int *job, int field, int add, __global float *y, int y_at,   \
                       int y_stride)                                                               \
    {                                                                                              \
        int k = get_global_id(0) * 16, r = get_global_id(1);                                       \
        if (k >= width) {                                                                          \
            return;                                                                                \
        }                                                                                          \
        __global const uchar *row = w + (size_t)job[JOB_INTS * r + field] * row_bytes;             \
        __global float *to = y + (size_t)r * y_stride + y_at + k;                                  \
        int n = min(16, width - k);                                                                \
        float t[16];                                                                               \
        vstore16(n == 16 ? LOAD(row, k) : TAIL(row, k, n), 0, t);                                  \
        for (int i = 0; i < n; i++) {                                                              \
            to[i] = add ? to[i] + t[i] : t[i];                                                     \
        }                                                                                          \
    }

#define TYPE(NAME, LOAD, TAIL)                                                                     \
    MATMUL(matmul1_##NAME, 1, LOAD, TAIL)                                                          \
    MATMUL(matmul4_##NAME, 4, LOAD, TAIL)                                                          \
    EMBED(embed_##NAME, LOAD, TAIL)

TYPE(F32, load_f32, tail_f32)
TYPE(F16, load_f16, tail_f16)
TYPE(BF16, load_bf16, tail_bf16)
TYPE(Q8_0, load_q8_0, NO_TAIL)
TYPE(Q4_0, load_q4_0, NO_TAIL)
TYPE(Q4_K, load_q4_k, NO_TAIL)
TYPE(Q5_K, load_q5_k, NO_TAIL)
TYPE(Q6_K, load_q6_k, NO_TAIL)
