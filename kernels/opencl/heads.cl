// Products per head: head h of y is head h of x times a matrix of its own.
//
// The sums are those of matmul.cl: sixteen per row and channel (element k in lane k % 16, in order
// of k, one fused multiply-add each), then halves. A work-item has one channel of one head, for
// HEAD_ROWS rows, so that a weight is read and decoded once for them.

// Halves, quarters, pairs, by component: as lanes_sum in matmul.cl, which is another program.
float heads_sum(float16 v)
{
    float a0 = v.s0 + v.s8, a1 = v.s1 + v.s9, a2 = v.s2 + v.sa, a3 = v.s3 + v.sb;
    float a4 = v.s4 + v.sc, a5 = v.s5 + v.sd, a6 = v.s6 + v.se, a7 = v.s7 + v.sf;
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7));
}

// y [n_rows, n_head * n_out] = x [n_rows, n_head * n_in] by W [n_head * n_out, n_in] (+ bias).
// Work-items: (n_head * n_out rounded up, tiles of HEAD_ROWS rows).
#define HEADS(NAME, LOAD, TAIL)                                                                    \
    __kernel void NAME(__global const uchar *w, ulong row_bytes, int n_in, int n_out, int n_head,  \
                       __global const float *bias, int has_bias, __global const float *x,          \
                       int x_at, int x_stride, __global float *y, int y_at, int y_stride,          \
                       int n_rows)                                                                 \
    {                                                                                              \
        int o = get_global_id(0), first = get_global_id(1) * HEAD_ROWS;                            \
        if (o >= n_head * n_out) {                                                                 \
            return;                                                                                \
        }                                                                                          \
        __global const uchar *row = w + (size_t)o * row_bytes;                                     \
        __global const float *in[HEAD_ROWS];                                                       \
        float16 s[HEAD_ROWS];                                                                      \
        _Pragma("unroll") for (int r = 0; r < HEAD_ROWS; r++)                                      \
        {                                                                                          \
            in[r] = x + (size_t)min(first + r, n_rows - 1) * x_stride + x_at + o / n_out * n_in;   \
            s[r] = (float16)(0.0f);                                                                \
        }                                                                                          \
        int k = 0;                                                                                 \
        for (; k + 16 <= n_in; k += 16) {                                                          \
            float16 weights = LOAD(row, k);                                                        \
            _Pragma("unroll") for (int r = 0; r < HEAD_ROWS; r++)                                  \
            {                                                                                      \
                s[r] = fma(vload16(0, in[r] + k), weights, s[r]);                                  \
            }                                                                                      \
        }                                                                                          \
        if (k < n_in) {                                                                            \
            float16 weights = TAIL(row, k, n_in - k);                                              \
            _Pragma("unroll") for (int r = 0; r < HEAD_ROWS; r++)                                  \
            {                                                                                      \
                s[r] = fma(tail_f32((__global const uchar *)in[r], k, n_in - k), weights, s[r]);   \
            }                                                                                      \
        }                                                                                          \
        _Pragma("unroll") for (int r = 0; r < HEAD_ROWS; r++)                                      \
        {                                                                                          \
            if (first + r < n_rows) {                                                              \
                float value = heads_sum(s[r]);                                                     \
                y[(size_t)(first + r) * y_stride + y_at + o] = has_bias ? value + bias[o] : value; \
            }                                                                                      \
        }                                                                                          \
    }

HEADS(heads_F32, load_f32, tail_f32)
HEADS(heads_F16, load_f16, tail_f16)
HEADS(heads_BF16, load_bf16, tail_bf16)
HEADS(heads_Q8_0, load_q8_0, NO_TAIL)
HEADS(heads_Q4_0, load_q4_0, NO_TAIL)
HEADS(heads_Q4_K, load_q4_k, NO_TAIL)
HEADS(heads_Q5_K, load_q5_k, NO_TAIL)
HEADS(heads_Q6_K, load_q6_k, NO_TAIL)
