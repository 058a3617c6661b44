// Rows of a matrix looked up by number.

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

EMBED(embed_F32, load_f32, tail_f32)
EMBED(embed_F16, load_f16, tail_f16)
EMBED(embed_BF16, load_bf16, tail_bf16)
EMBED(embed_Q8_0, load_q8_0, NO_TAIL)
EMBED(embed_Q4_0, load_q4_0, NO_TAIL)
EMBED(embed_Q4_K, load_q4_k, NO_TAIL)
EMBED(embed_Q5_K, load_q5_k, NO_TAIL)
EMBED(embed_Q6_K, load_q6_k, NO_TAIL)
