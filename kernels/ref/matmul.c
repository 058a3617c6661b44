/// The product, one row and one group of 16 channels at a time.
///
/// Plain types: acc = fma(x[k], w[k], acc) for k = 0, 1, 2, ... Quantised: per sub-block of 32
/// (Q6_K: 16) inputs an exact integer sum, then acc = fma(sum, w_scale * x_scale, acc), and with
/// minima acc = fma(-w_min, x_scale * sum(x), acc). That order is the definition.
#include "kernels/layout.h"
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

static void dot_plain(hsdi_type type, const uint8_t *x, size_t x_step, const uint8_t *w, int n_in,
                      float *acc)
{
    for (int k = 0; k < n_in; k++) {
        float row[N_LANES], input;
        memcpy(&input, x + (size_t)(k / 16) * x_step + 4 * (k % 16), sizeof input);
        if (type == HSDI_TYPE_F32) {
            memcpy(row, w + (size_t)k * sizeof row, sizeof row);
        } else {
            for (int l = 0; l < N_LANES; l++) {
                uint16_t h = hsdi_load_u16(w + 2 * ((size_t)k * N_LANES + (size_t)l));
                row[l] = type == HSDI_TYPE_F16 ? hsdi_half_to_float(h) : hsdi_bfloat_to_float(h);
            }
        }
        for (int l = 0; l < N_LANES; l++) {
            acc[l] = fma1(input, row[l], acc[l]);
        }
    }
}

/// The 64 bytes of quad 0..7 of a sub-block, with their offset.
static void unpack_quad(hsdi_type type, const uint8_t *sub, int quad, uint8_t out[64])
{
    if (type == HSDI_TYPE_Q8_0) {
        memcpy(out, sub + 64 * quad, 64);
        return;
    }
    for (int j = 0; j < 64; j++) {
        unsigned pair = sub[hsdi_low_offset(type) + (size_t)(64 * (quad % 4) + j)];
        unsigned high = sub[hsdi_high_offset(type, quad) + (size_t)j];
        unsigned q = quad < 4 ? pair & 15 : pair >> 4;
        if (type == HSDI_TYPE_Q5_K) {
            q |= (high >> quad & 1) << 4;
        } else if (type == HSDI_TYPE_Q6_K) {
            q |= (high >> (2 * (quad % 4)) & 3) << 4;
        }
        out[j] = (uint8_t)q;
    }
}

/// Integer sums over quads [begin, end) of a sub-block; x [32].
static void dot_quads(hsdi_type type, const int8_t *x, const uint8_t *sub, int begin, int end,
                      int32_t sums[N_LANES])
{
    int offset = hsdi_type_offset(type);
    memset(sums, 0, N_LANES * sizeof *sums);
    for (int quad = begin; quad < end; quad++) {
        uint8_t q[64];
        unpack_quad(type, sub, quad, q);
        for (int l = 0; l < N_LANES; l++) {
            for (int i = 0; i < 4; i++) {
                sums[l] += (q[4 * l + i] - offset) * x[4 * quad + i];
            }
        }
    }
}

static void add_scaled(const int32_t sums[N_LANES], const float *w_scale, float x_scale, float *acc)
{
    for (int l = 0; l < N_LANES; l++) {
        acc[l] = fma1((float)sums[l], w_scale[l] * x_scale, acc[l]);
    }
}

static void load_halves(const uint8_t *p, float out[N_LANES])
{
    for (int l = 0; l < N_LANES; l++) {
        out[l] = hsdi_half_to_float(hsdi_load_u16(p + 2 * l));
    }
}

/// One sub-block. part: of x; scales: those of its block; i_sub: its number in the block.
static void dot_sub(hsdi_type type, const uint8_t *part, const uint8_t *sub, const uint8_t *scales,
                    int i_sub, float *acc)
{
    const int8_t *x = (const int8_t *)part;
    float w_d[N_LANES], w_scale[N_LANES], d;
    memcpy(&d, part + HSDI_ACT_D, sizeof d);
    int32_t sums[N_LANES];
    bool plain = type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0;
    load_halves(scales + (plain ? 32 * i_sub : 0), w_d);
    if (type == HSDI_TYPE_Q6_K) {
        for (int half = 0; half < 2; half++) {
            for (int l = 0; l < N_LANES; l++) {
                w_scale[l] = w_d[l] * (float)(int8_t)scales[32 + 32 * i_sub + 16 * half + l];
            }
            dot_quads(type, x, sub, 4 * half, 4 * half + 4, sums);
            add_scaled(sums, w_scale, d, acc);
        }
        return;
    }
    dot_quads(type, x, sub, 0, 8, sums);
    if (plain) {
        add_scaled(sums, w_d, d, acc);
        return;
    }
    float w_dmin[N_LANES], d_sum;
    const uint8_t *small = scales + 64 + 32 * i_sub;
    load_halves(scales + 32, w_dmin);
    memcpy(&d_sum, part + HSDI_ACT_SUM, sizeof d_sum);
    for (int l = 0; l < N_LANES; l++) {
        w_scale[l] = w_d[l] * (float)small[l];
    }
    add_scaled(sums, w_scale, d, acc);
    for (int l = 0; l < N_LANES; l++) {
        acc[l] = fma1(-(w_dmin[l] * (float)small[16 + l]), d_sum, acc[l]);
    }
}

static void dot_quantised(hsdi_type type, const uint8_t *x, size_t x_step, const uint8_t *w,
                          int n_in, float *acc)
{
    const uint8_t *scales = w;
    int n_subs = hsdi_block_subs(type);
    for (int b = 0; b < n_in / 32; b++, w += hsdi_sub_bytes(type), x += x_step) {
        if (b % n_subs == 0) {
            scales = w;
            w += hsdi_scales_bytes(type);
        }
        dot_sub(type, x, w, scales, b % n_subs, acc);
    }
}

void hsdi_ref_product(const hsdi_matmul *m, size_t x_bytes, hsdi_ref_dot *dot, int g_begin,
                      int g_end)
{
    size_t w_bytes = hsdi_group_bytes(m->type, m->n_in);
    for (int g = g_begin; g < g_end; g++) {
        const uint8_t *w = (const uint8_t *)m->w + (size_t)g * w_bytes;
        for (int r = 0; r < m->n_rows; r++) {
            const uint8_t *x = (const uint8_t *)m->x + hsdi_act_offset(m->type, x_bytes, r);
            size_t x_step = (size_t)hsdi_panel_rows(r, m->n_rows) * hsdi_act_part(m->type);
            float acc[N_LANES] = {0};
            dot(m->type, x, x_step, w, m->n_in, acc);
            float *y = m->y + (ptrdiff_t)r * m->y_stride + (ptrdiff_t)g * N_LANES;
            for (int l = 0; l < N_LANES && g * N_LANES + l < m->n_out; l++) {
                float value = m->bias ? acc[l] + m->bias[g * N_LANES + l] : acc[l];
                y[l] = m->accumulate ? y[l] + value : value;
            }
        }
    }
}

void hsdi_ref_matmul(const hsdi_matmul *m, int g_begin, int g_end)
{
    hsdi_ref_dot *dot = hsdi_type_is_quantised(m->type) ? dot_quantised : dot_plain;
    hsdi_ref_product(m, hsdi_act_bytes(m->type, m->n_in), dot, g_begin, g_end);
}
