// Products, kind "dot": weights and rows of 8 bits, multiplied as integers, four at a time.
//
// Rows come from pack8 (pack.cl). A team of sixteen work-items computes C channels for R rows as in
// lanes.cl, but lane l has the blocks of 32 with b % 16 == l. Sums within a block are exact
// integers; then acc = fma(scales, sum, acc), in order of the blocks. So bits depend neither on R,
// C, rows or groups, nor on whether the device has the instruction (DOT_4X8) or not.

#ifdef DOT_4X8
#define DOT4(a, b) DOT_4X8(a, b)
#else
int DOT4(uint a, uint b)
{
    char4 p = as_char4(a), q = as_char4(b);
    return (int)p.x * q.x + (int)p.y * q.y + (int)p.z * q.z + (int)p.w * q.w;
}
#endif

// Block b of 32 weights: `q` four to a word as signed bytes; it counts
// scale * (f.x * the first sixteen + f.y * the others) - least * (sum of the row's numbers).
typedef struct words {
    uint q[8];
    float scale, least;
    int2 f;
} words;

words words_q8_0(__global const uchar *row, int b)
{
    __global const uchar *p = row + (size_t)b * 34;
    words t = {.scale = half_at(p), .least = 0.0f, .f = (int2)(1, 1)};
    for (int j = 0; j < 8; j++) {
        t.q[j] = as_uint(vload4(0, p + 2 + 4 * j));
    }
    return t;
}

words words_q4_0(__global const uchar *row, int b)
{
    __global const uchar *p = row + (size_t)b * 18;
    float d = half_at(p);
    words t = {.scale = d, .least = 8.0f * d, .f = (int2)(1, 1)};
    for (int j = 0; j < 4; j++) {
        uint pairs = as_uint(vload4(0, p + 2 + 4 * j));
        t.q[j] = pairs & 0x0f0f0f0fu;
        t.q[j + 4] = pairs >> 4 & 0x0f0f0f0fu;
    }
    return t;
}

words words_q4_k(__global const uchar *row, int b)
{
    __global const uchar *p = row + (size_t)(b / 8) * 144;
    int sub = b % 8, shift = sub % 2 * 4;
    float2 s = scale_min(p + 4, sub);
    words t = {.scale = half_at(p) * s.x, .least = half_at(p + 2) * s.y, .f = (int2)(1, 1)};
    for (int j = 0; j < 8; j++) {
        t.q[j] = as_uint(vload4(0, p + 16 + sub / 2 * 32 + 4 * j)) >> shift & 0x0f0f0f0fu;
    }
    return t;
}

words words_q5_k(__global const uchar *row, int b)
{
    __global const uchar *p = row + (size_t)(b / 8) * 176;
    int sub = b % 8, shift = sub % 2 * 4;
    float2 s = scale_min(p + 4, sub);
    words t = {.scale = half_at(p) * s.x, .least = half_at(p + 2) * s.y, .f = (int2)(1, 1)};
    for (int j = 0; j < 8; j++) {
        uint high = as_uint(vload4(0, p + 16 + 4 * j)) >> sub & 0x01010101u;
        t.q[j] = (as_uint(vload4(0, p + 48 + sub / 2 * 32 + 4 * j)) >> shift & 0x0f0f0f0fu) |
                 high << 4;
    }
    return t;
}

words words_q6_k(__global const uchar *row, int b)
{
    __global const uchar *p = row + (size_t)(b / 8) * 210;
    int sub = b % 8, upper = sub / 4, quarter = sub % 4, shift = quarter / 2 * 4;
    __global const uchar *q = p + 64 * upper + 32 * (quarter & 1), *high = p + 128 + 32 * upper;
    words t = {.scale = half_at(p + 208), .least = 0.0f};
    t.f = (int2)((char)p[192 + 2 * sub], (char)p[193 + 2 * sub]);
    for (int j = 0; j < 8; j++) {
        uint six = (as_uint(vload4(0, q + 4 * j)) >> shift & 0x0f0f0f0fu) |
                   (as_uint(vload4(0, high + 4 * j)) >> 2 * quarter & 0x03030303u) << 4;
        // Each byte less 32: no byte borrows from the next.
        t.q[j] = ((six | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
    }
    return t;
}

// One block of one row into its sum.
float fed_by_block(float acc, const words *t, __global const uint *x)
{
    int low = 0, high = 0;
    for (int j = 0; j < 4; j++) {
        low += DOT4(t->q[j], x[2 + j]);
        high += DOT4(t->q[j + 4], x[6 + j]);
    }
    float d = as_float(x[0]);
    acc = fma(t->scale * d, (float)(t->f.x * low + t->f.y * high), acc);
    return fma(-(t->least * d), (float)(int)x[1], acc);
}

#define DOT(NAME, R, C, WORDS)                                                                     \
    __kernel void NAME(TEAM_ARGS(uint), __local float *parts)                                      \
    {                                                                                              \
        int l = get_local_id(0) % 16, o = get_global_id(0) / 16 * C, first = get_global_id(1) * R; \
        float s[C][R];                                                                             \
        for (int v = 0; v < C * R; v++) {                                                          \
            s[v / R][v % R] = 0.0f;                                                                \
        }                                                                                          \
        for (int b = l; b < n_in / 32; b += 16) {                                                  \
            _Pragma("unroll") for (int c = 0; c < C; c++)                                          \
            {                                                                                      \
                words t = WORDS(w + (size_t)min(o + c, n_out - 1) * row_bytes, b);                 \
                _Pragma("unroll") for (int r = 0; r < R; r++)                                      \
                {                                                                                  \
                    __global const uint *from =                                                    \
                        x + (size_t)min(first + r, n_rows - 1) * x_stride + x_at + 10 * b;         \
                    s[c][r] = fed_by_block(s[c][r], &t, from);                                     \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        MEET_IN_LOCAL(R, C)                                                                        \
    }

#define DOT_Q8_0(R, C) DOT(dot##R##x##C##_Q8_0, R, C, words_q8_0)
#define DOT_Q4_0(R, C) DOT(dot##R##x##C##_Q4_0, R, C, words_q4_0)
#define DOT_Q4_K(R, C) DOT(dot##R##x##C##_Q4_K, R, C, words_q4_k)
#define DOT_Q5_K(R, C) DOT(dot##R##x##C##_Q5_K, R, C, words_q5_k)
#define DOT_Q6_K(R, C) DOT(dot##R##x##C##_Q6_K, R, C, words_q6_k)
