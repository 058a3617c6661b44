// Products, kind "item": a work-item computes C output channels for R rows.
//
// Each weight is read and decoded once for R rows, and R * C chains of sums hide the time that an
// addition takes. Sixteen partial sums per row and channel (element k in lane k % 16, in order of
// k, one fused multiply-add each), then halves: the sum depends neither on the number of rows, nor
// on R and C, nor on how work-items are grouped. lanes.cl gives the same bits.

// Halves, quarters, pairs. By component: Oclgrind cannot follow .lo and .hi.
float lanes_sum(float16 v)
{
    float a0 = v.s0 + v.s8, a1 = v.s1 + v.s9, a2 = v.s2 + v.sa, a3 = v.s3 + v.sb;
    float a4 = v.s4 + v.sc, a5 = v.s5 + v.sd, a6 = v.s6 + v.se, a7 = v.s7 + v.sf;
    return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7));
}

// Sixteen weights of one channel, from element k on, into the sums of all rows.
#define FEED(R, at, weights)                                                                       \
    {                                                                                              \
        float16 fed = weights;                                                                     \
        _Pragma("unroll") for (int r = 0; r < R; r++)                                              \
        {                                                                                          \
            s[r] = fma(vload16(0, in[r] + (at)), fed, s[r]);                                       \
        }                                                                                          \
    }

// The weights of a block, which begins at element k of the row `row`; s, in: of FEED.
#define BLOCK_F32(R) FEED(R, k, load_f32(row, k)) FEED(R, k + 16, load_f32(row, k + 16))
#define BLOCK_F16(R) FEED(R, k, load_f16(row, k)) FEED(R, k + 16, load_f16(row, k + 16))
#define BLOCK_BF16(R) FEED(R, k, load_bf16(row, k)) FEED(R, k + 16, load_bf16(row, k + 16))

// Q8_0 and Q4_0: 32 weights at p with scale d.
#define PIECE_Q8_0(R, at, p, d)                                                                    \
    FEED(R, at, (d) * chars(vload16(0, (__global const char *)(p) + 2)))                           \
    FEED(R, (at) + 16, (d) * chars(vload16(0, (__global const char *)(p) + 18)))
#define PIECE_Q4_0(R, at, p, d)                                                                    \
    {                                                                                              \
        uchar16 pairs = vload16(0, (p) + 2);                                                       \
        float16 by = (float16)(d), less = (float16)(-8.0f * (d));                                  \
        FEED(R, at, fma(uchars(pairs & (uchar)15), by, less))                                      \
        FEED(R, (at) + 16, fma(uchars(pairs >> (uchar)4), by, less))                               \
    }
// Four of them at once: their scales are decoded as a vector.
#define PIECES(R, PIECE, bytes)                                                                    \
    {                                                                                              \
        __global const uchar *p = row + (size_t)(k / 32) * bytes;                                  \
        float4 d = halves_at(p, bytes);                                                            \
        PIECE(R, k, p, d.x)                                                                        \
        PIECE(R, k + 32, p + bytes, d.y)                                                           \
        PIECE(R, k + 64, p + 2 * bytes, d.z)                                                       \
        PIECE(R, k + 96, p + 3 * bytes, d.w)                                                       \
    }
#define BLOCK_Q8_0(R) PIECES(R, PIECE_Q8_0, 34)
#define BLOCK_Q4_0(R) PIECES(R, PIECE_Q4_0, 18)

// Q4_K and Q5_K: 64 weights, of sub-blocks 2 j and 2 j + 1; HIGH(i): the fifth bits.
#define CHUNK_K(R, j, qs, S0, M0, S1, M1, HIGH)                                                    \
    {                                                                                              \
        uchar16 a = vload16(0, (qs) + 32 * (j)), b = vload16(0, (qs) + 32 * (j) + 16);             \
        FEED(R, k + 64 * (j), fma((float16)(S0), uchars((a & (uchar)15) | HIGH(h0, 2 * (j))),      \
                                  (float16)(-(M0))))                                               \
        FEED(R, k + 64 * (j) + 16, fma((float16)(S0),                                              \
                                       uchars((b & (uchar)15) | HIGH(h1, 2 * (j))),                \
                                       (float16)(-(M0))))                                          \
        FEED(R, k + 64 * (j) + 32, fma((float16)(S1), uchars((a >> (uchar)4) |                     \
                                                             HIGH(h0, 2 * (j) + 1)),               \
                                       (float16)(-(M1))))                                          \
        FEED(R, k + 64 * (j) + 48, fma((float16)(S1), uchars((b >> (uchar)4) |                     \
                                                             HIGH(h1, 2 * (j) + 1)),               \
                                       (float16)(-(M1))))                                          \
    }
// Scales and minima of all eight sub-blocks from twelve bytes.
#define CHUNKS_K(R, qs, HIGH)                                                                      \
    {                                                                                              \
        float d = half_at(p), least = half_at(p + 2);                                              \
        uchar4 s0 = vload4(0, p + 4), s1 = vload4(0, p + 8), s2 = vload4(0, p + 12);               \
        float4 low = d * floats4(s0 & (uchar)63), low_m = least * floats4(s1 & (uchar)63);         \
        float4 top = d * floats4((s2 & (uchar)15) | (s0 >> (uchar)6) << (uchar)4);                 \
        float4 top_m = least * floats4((s2 >> (uchar)4) | (s1 >> (uchar)6) << (uchar)4);           \
        CHUNK_K(R, 0, qs, low.x, low_m.x, low.y, low_m.y, HIGH)                                    \
        CHUNK_K(R, 1, qs, low.z, low_m.z, low.w, low_m.w, HIGH)                                    \
        CHUNK_K(R, 2, qs, top.x, top_m.x, top.y, top_m.y, HIGH)                                    \
        CHUNK_K(R, 3, qs, top.z, top_m.z, top.w, top_m.w, HIGH)                                    \
    }
#define NO_HIGH(h, i) (uchar)0
#define FIFTH(h, i) ((h >> (uchar)(i)) & (uchar)1) << (uchar)4
#define BLOCK_Q4_K(R)                                                                              \
    {                                                                                              \
        __global const uchar *p = row + (size_t)(k / 256) * 144;                                   \
        CHUNKS_K(R, p + 16, NO_HIGH)                                                               \
    }
#define BLOCK_Q5_K(R)                                                                              \
    {                                                                                              \
        __global const uchar *p = row + (size_t)(k / 256) * 176;                                   \
        uchar16 h0 = vload16(0, p + 16), h1 = vload16(0, p + 32);                                  \
        CHUNKS_K(R, p + 48, FIFTH)                                                                 \
    }

// Q6_K: 16 weights of quarter `quarter` of half `upper` of the block, from its element l on.
#define PIECE_Q6(R, upper, quarter, l, pairs, high, scale)                                         \
    FEED(R, k + 128 * (upper) + 32 * (quarter) + (l),                                              \
         fma(uchars(((quarter) < 2 ? (pairs) & (uchar)15 : (pairs) >> (uchar)4) |                  \
                    (((high) >> (uchar)(2 * (quarter))) & (uchar)3) << (uchar)4),                  \
             (float16)(scale), (float16)(-32.0f * (scale))))
#define HALF_Q6(R, upper, S0, S1, S2, S3, S4, S5, S6, S7)                                          \
    {                                                                                              \
        uchar16 a0 = vload16(0, p + 64 * (upper)), a1 = vload16(0, p + 64 * (upper) + 16);         \
        uchar16 b0 = vload16(0, p + 64 * (upper) + 32), b1 = vload16(0, p + 64 * (upper) + 48);    \
        uchar16 h0 = vload16(0, p + 128 + 32 * (upper));                                           \
        uchar16 h1 = vload16(0, p + 144 + 32 * (upper));                                           \
        PIECE_Q6(R, upper, 0, 0, a0, h0, S0)                                                       \
        PIECE_Q6(R, upper, 0, 16, a1, h1, S1)                                                      \
        PIECE_Q6(R, upper, 1, 0, b0, h0, S2)                                                       \
        PIECE_Q6(R, upper, 1, 16, b1, h1, S3)                                                      \
        PIECE_Q6(R, upper, 2, 0, a0, h0, S4)                                                       \
        PIECE_Q6(R, upper, 2, 16, a1, h1, S5)                                                      \
        PIECE_Q6(R, upper, 3, 0, b0, h0, S6)                                                       \
        PIECE_Q6(R, upper, 3, 16, b1, h1, S7)                                                      \
    }
#define BLOCK_Q6_K(R)                                                                              \
    {                                                                                              \
        __global const uchar *p = row + (size_t)(k / 256) * 210;                                   \
        float16 t = half_at(p + 208) * chars(vload16(0, (__global const char *)p + 192));          \
        HALF_Q6(R, 0, t.s0, t.s1, t.s2, t.s3, t.s4, t.s5, t.s6, t.s7)                              \
        HALF_Q6(R, 1, t.s8, t.s9, t.sa, t.sb, t.sc, t.sd, t.se, t.sf)                              \
    }

// What is left behind the last whole block.
#define REST_PLAIN(R, LOAD, TAIL)                                                                  \
    for (; k + 16 <= n_in; k += 16) {                                                              \
        FEED(R, k, LOAD(row, k))                                                                   \
    }                                                                                              \
    if (k < n_in) {                                                                                \
        float16 weights = TAIL(row, k, n_in - k);                                                  \
        _Pragma("unroll") for (int r = 0; r < R; r++)                                              \
        {                                                                                          \
            s[r] = fma(tail_f32((__global const uchar *)in[r], k, n_in - k), weights, s[r]);       \
        }                                                                                          \
    }
#define REST_32(R, LOAD, TAIL)                                                                     \
    for (; k < n_in; k += 16) {                                                                    \
        FEED(R, k, LOAD(row, k))                                                                   \
    }
#define NO_REST(R, LOAD, TAIL)

// Columns [y_at, y_at + n_out) of y [n_rows, y_stride] (+)= x [n_rows, x_stride] W^T (+ bias).
// Work-items: (n_out / C rounded up, tiles of R rows).
#define MATMUL(NAME, R, C, SIZE, BLOCK, REST, LOAD, TAIL)                                          \
    __kernel void NAME(__global const uchar *w, ulong row_bytes, int n_in, int n_out,              \
                       __global const float *bias, int has_bias, __global const float *x,          \
                       int x_at, int x_stride, __global float *y, int y_at, int y_stride,          \
                       int accumulate, int n_rows)                                                 \
    {                                                                                              \
        int o = get_global_id(0) * C, first = get_global_id(1) * R;                                \
        if (o >= n_out) {                                                                          \
            return;                                                                                \
        }                                                                                          \
        __global const float *in[R];                                                               \
        float16 sums[C][R];                                                                        \
        _Pragma("unroll") for (int r = 0; r < R; r++)                                              \
        {                                                                                          \
            in[r] = x + (size_t)min(first + r, n_rows - 1) * x_stride + x_at;                      \
            _Pragma("unroll") for (int c = 0; c < C; c++)                                          \
            {                                                                                      \
                sums[c][r] = (float16)(0.0f);                                                      \
            }                                                                                      \
        }                                                                                          \
        int whole = n_in / SIZE * SIZE;                                                            \
        for (int k = 0; k < whole; k += SIZE) {                                                    \
            _Pragma("unroll") for (int c = 0; c < C; c++)                                          \
            {                                                                                      \
                __global const uchar *row = w + (size_t)min(o + c, n_out - 1) * row_bytes;         \
                float16 *s = sums[c];                                                              \
                BLOCK(R)                                                                           \
            }                                                                                      \
        }                                                                                          \
        _Pragma("unroll") for (int c = 0; c < C; c++)                                              \
        {                                                                                          \
            __global const uchar *row = w + (size_t)min(o + c, n_out - 1) * row_bytes;             \
            float16 *s = sums[c];                                                                  \
            int k = whole;                                                                         \
            REST(R, LOAD, TAIL)                                                                    \
            _Pragma("unroll") for (int r = 0; r < R; r++)                                          \
            {                                                                                      \
                if (first + r < n_rows && o + c < n_out) {                                         \
                    __global float *to = y + (size_t)(first + r) * y_stride + y_at + o + c;        \
                    float value = lanes_sum(s[r]);                                                 \
                    value = has_bias ? value + bias[o + c] : value;                                \
                    *to = accumulate ? *to + value : value;                                        \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

#define ITEM_F32(R, C) MATMUL(item##R##x##C##_F32, R, C, 32, BLOCK_F32, REST_PLAIN, load_f32, tail_f32)
#define ITEM_F16(R, C) MATMUL(item##R##x##C##_F16, R, C, 32, BLOCK_F16, REST_PLAIN, load_f16, tail_f16)
#define ITEM_BF16(R, C)                                                                            \
    MATMUL(item##R##x##C##_BF16, R, C, 32, BLOCK_BF16, REST_PLAIN, load_bf16, tail_bf16)
#define ITEM_Q8_0(R, C)                                                                            \
    MATMUL(item##R##x##C##_Q8_0, R, C, 128, BLOCK_Q8_0, REST_32, load_q8_0, NO_TAIL)
#define ITEM_Q4_0(R, C)                                                                            \
    MATMUL(item##R##x##C##_Q4_0, R, C, 128, BLOCK_Q4_0, REST_32, load_q4_0, NO_TAIL)
#define ITEM_Q4_K(R, C)                                                                            \
    MATMUL(item##R##x##C##_Q4_K, R, C, 256, BLOCK_Q4_K, NO_REST, load_q4_k, NO_TAIL)
#define ITEM_Q5_K(R, C)                                                                            \
    MATMUL(item##R##x##C##_Q5_K, R, C, 256, BLOCK_Q5_K, NO_REST, load_q5_k, NO_TAIL)
#define ITEM_Q6_K(R, C)                                                                            \
    MATMUL(item##R##x##C##_Q6_K, R, C, 256, BLOCK_Q6_K, NO_REST, load_q6_k, NO_TAIL)
