// Products, kind "panels": as "lanes", from weights that were laid out anew when they were given to
// the device (devices/launch/panels.c), for a GPU with memory of its own.
//
// A row is chunks of 256 elements, then what is left, then its scales. In a chunk lane l's sixteen
// elements (l, l + 16, l + 32, ..) are neighbours, so that it reads them by one or two wide loads;
// DEPTH chunks are asked for before the first is used, since a sum's order, which is that of
// matmul.cl, leaves a work-item no other way to have several reads under way. So are the bits.

#define CHUNK_SIZE 256
#define STEPS 16 // elements of a lane

// What a lane reads of a chunk: codes, and the scales of eight blocks.
typedef struct panel_8 {
    uint code[4], scale[4];
} panel_8;
typedef struct panel_4 {
    uint code[2], scale[4];
} panel_4;
typedef struct panel_16 {
    uint code[8];
} panel_16;

// Bytes of the codes of a row, after which its scales begin.
#define SCALES_8(n_in) (((size_t)(n_in) + 15) / 16 * 16)
#define SCALES_4(n_in) (((size_t)(n_in) / 2 + 15) / 16 * 16)

#define PUT_4(to, v) (to)[0] = (v).x, (to)[1] = (v).y, (to)[2] = (v).z, (to)[3] = (v).w

panel_8 panel_q8_0(__global const uchar *row, int n_in, int k, int l)
{
    panel_8 p;
    uint4 code = *(__global const uint4 *)(row + k + STEPS * l);
    uint4 scale = *(__global const uint4 *)(row + SCALES_8(n_in) + k / 16);
    PUT_4(p.code, code);
    PUT_4(p.scale, scale);
    return p;
}

panel_4 panel_q4_0(__global const uchar *row, int n_in, int k, int l)
{
    panel_4 p;
    uint2 code = *(__global const uint2 *)(row + k / 2 + STEPS / 2 * l);
    uint4 scale = *(__global const uint4 *)(row + SCALES_4(n_in) + k / 16);
    p.code[0] = code.x, p.code[1] = code.y;
    PUT_4(p.scale, scale);
    return p;
}

panel_16 panel_f16(__global const uchar *row, int n_in, int k, int l)
{
    panel_16 p;
    __global const uint4 *from = (__global const uint4 *)(row + 2 * (k + STEPS * l));
    uint4 first = from[0], second = from[1];
    PUT_4(p.code, first);
    PUT_4(p.code + 4, second);
    return p;
}

panel_16 panel_bf16(__global const uchar *row, int n_in, int k, int l)
{
    return panel_f16(row, n_in, k, l);
}

#define HALF_OF(words, i) half_bits((words)[(i) / 2] >> 16 * ((i) % 2) & 0xffffu)
// Step s of a lane; s is known when this is compiled.
#define STEP_q8_0(p, s) (HALF_OF(p.scale, s / 2) * (float)(char)(p.code[s / 4] >> 8 * (s % 4)))
#define STEP_q4_0(p, s)                                                                            \
    fma((float)(p.code[s / 8] >> 4 * (s % 8) & 15u), HALF_OF(p.scale, s / 2),                      \
        -8.0f * HALF_OF(p.scale, s / 2))
#define STEP_f16(p, s) HALF_OF(p.code, s)
#define STEP_bf16(p, s) as_float((p.code[s / 2] >> 16 * (s % 2)) << 16)

// Weights k + l and k + 16 + l behind the last chunk.
float2 left_q8_0(__global const uchar *row, int n_in, int k, int l)
{
    float d = half_at(row + SCALES_8(n_in) + k / 16);
    __global const char *q = (__global const char *)(row + k + 2 * l);
    return (float2)(d * (float)q[0], d * (float)q[1]);
}

float2 left_q4_0(__global const uchar *row, int n_in, int k, int l)
{
    float d = half_at(row + SCALES_4(n_in) + k / 16), less = -8.0f * d;
    int q = row[k / 2 + l];
    return (float2)(fma((float)(q & 15), d, less), fma((float)(q >> 4), d, less));
}

#define LEFT_BLOCKS(R, C, LEFT, ONE)                                                               \
    for (; k < n_in; k += 32) {                                                                    \
        _Pragma("unroll") for (int c = 0; c < C; c++)                                              \
        {                                                                                          \
            float2 fed = LEFT(row[c], n_in, k, l);                                                 \
            _Pragma("unroll") for (int r = 0; r < R; r++)                                          \
            {                                                                                      \
                s[c][r] = fma(in[r][k + l], fed.x, s[c][r]);                                       \
                s[c][r] = fma(in[r][k + 16 + l], fed.y, s[c][r]);                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define LEFT_PLAIN(R, C, LEFT, ONE) LAST_PLAIN(R, C, ONE)

// DEPTH chunks from k on.
#define PANELS_AT(R, C, DEPTH, PANEL, GET, STEP)                                                   \
    PANEL p[DEPTH][C];                                                                             \
    _Pragma("unroll") for (int u = 0; u < DEPTH; u++)                                              \
    {                                                                                              \
        _Pragma("unroll") for (int c = 0; c < C; c++)                                              \
        {                                                                                          \
            p[u][c] = GET(row[c], n_in, k + u * CHUNK_SIZE, l);                                    \
        }                                                                                          \
    }                                                                                              \
    _Pragma("unroll") for (int u = 0; u < DEPTH; u++)                                              \
    {                                                                                              \
        _Pragma("unroll") for (int i = 0; i < STEPS; i++)                                          \
        {                                                                                          \
            float fed[C];                                                                          \
            _Pragma("unroll") for (int c = 0; c < C; c++)                                          \
            {                                                                                      \
                fed[c] = STEP(p[u][c], i);                                                         \
            }                                                                                      \
            _Pragma("unroll") for (int r = 0; r < R; r++)                                          \
            {                                                                                      \
                float value = in[r][k + u * CHUNK_SIZE + 16 * i + l];                              \
                _Pragma("unroll") for (int c = 0; c < C; c++)                                      \
                {                                                                                  \
                    s[c][r] = fma(value, fed[c], s[c][r]);                                         \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }

// As TEAM_ARGS, for up to three matrices of the same type and n_in that have the same rows: a pass
// has many launches, each of which costs the host microseconds. n_out of those that are not there
// is 0. Bits of has_bias.
#define PANEL_ARGS                                                                                 \
    __global const uchar *w0, __global const uchar *w1, __global const uchar *w2, ulong row_bytes, \
        int n_in, int n_out0, int n_out1, int n_out2, __global const float *bias0,                 \
        __global const float *bias1, __global const float *bias2, int biases,                      \
        __global const float *x, int x_at, int x_stride, __global float *y, int y_at0,             \
        int y_stride, int y_at1, int y_at2, int accumulate, int n_rows

// The matrix of a team, and its first channel there.
#define PANEL_PART(C)                                                                              \
    int team = get_global_id(0) / 16, teams0 = (n_out0 + C - 1) / C;                               \
    int teams1 = teams0 + (n_out1 + C - 1) / C, part = (team >= teams0) + (team >= teams1);        \
    __global const uchar *w = part == 0 ? w0 : part == 1 ? w1 : w2;                                \
    __global const float *bias = part == 0 ? bias0 : part == 1 ? bias1 : bias2;                    \
    int n_out = part == 0 ? n_out0 : part == 1 ? n_out1 : n_out2;                                  \
    int y_at = part == 0 ? y_at0 : part == 1 ? y_at1 : y_at2, has_bias = biases >> part & 1;       \
    int o = (team - (part == 0 ? 0 : part == 1 ? teams0 : teams1)) * C;

#define PANELS(NAME, R, C, PANEL, GET, STEP, LEFT_OF, LEFT, ONE)                                   \
    __kernel void NAME(PANEL_ARGS, __local float *parts)                                           \
    {                                                                                              \
        int l = get_local_id(0) % 16, first = get_global_id(1) * R;                                \
        PANEL_PART(C)                                                                              \
        TEAM_ROWS(R, C)                                                                            \
        enum { DEPTH = C >= 4 ? 1 : 4 / C };                                                       \
        int k = 0;                                                                                 \
        for (; k + DEPTH * CHUNK_SIZE <= n_in; k += DEPTH * CHUNK_SIZE) {                          \
            PANELS_AT(R, C, DEPTH, PANEL, GET, STEP)                                               \
        }                                                                                          \
        for (; k + CHUNK_SIZE <= n_in; k += CHUNK_SIZE) {                                          \
            PANELS_AT(R, C, 1, PANEL, GET, STEP)                                                   \
        }                                                                                          \
        LEFT_OF(R, C, LEFT, ONE)                                                                   \
        MEET_IN_LOCAL(R, C)                                                                        \
    }

#define PANELS_Q8_0(R, C)                                                                          \
    PANELS(panels##R##x##C##_Q8_0, R, C, panel_8, panel_q8_0, STEP_q8_0, LEFT_BLOCKS, left_q8_0, 0)
#define PANELS_Q4_0(R, C)                                                                          \
    PANELS(panels##R##x##C##_Q4_0, R, C, panel_4, panel_q4_0, STEP_q4_0, LEFT_BLOCKS, left_q4_0, 0)
#define PANELS_F16(R, C)                                                                           \
    PANELS(panels##R##x##C##_F16, R, C, panel_16, panel_f16, STEP_f16, LEFT_PLAIN, 0, one_f16)
#define PANELS_BF16(R, C)                                                                          \
    PANELS(panels##R##x##C##_BF16, R, C, panel_16, panel_bf16, STEP_bf16, LEFT_PLAIN, 0, one_bf16)
