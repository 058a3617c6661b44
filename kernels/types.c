/// Element types: the table, half-precision conversions, blocks taken apart, rows made f32.
#include "kernels/types.h"

#include <string.h>

#include "kernels/half.h"

static const hsdi_type_info infos[] = {
    {HSDI_TYPE_F32, "F32", 1, 4},       {HSDI_TYPE_F16, "F16", 1, 2},
    {HSDI_TYPE_Q4_0, "Q4_0", 32, 18},   {HSDI_TYPE_Q8_0, "Q8_0", 32, 34},
    {HSDI_TYPE_Q4_K, "Q4_K", 256, 144}, {HSDI_TYPE_Q5_K, "Q5_K", 256, 176},
    {HSDI_TYPE_Q6_K, "Q6_K", 256, 210}, {HSDI_TYPE_BF16, "BF16", 1, 2},
};

const hsdi_type_info *hsdi_type_find(int64_t type)
{
    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++) {
        if ((int64_t)infos[i].type == type) {
            return &infos[i];
        }
    }
    return NULL;
}

float hsdi_f16_to_f32(uint16_t h)
{
    return hsdi_half_to_float(h);
}

uint16_t hsdi_f32_to_f16(float f)
{
    uint32_t u = hsdi_bits_of_float(f);
    uint32_t sign = (u >> 16) & 0x8000u;
    u &= 0x7fffffffu;
    if (u > 0x7f800000u) { // NaN: quiet, upper payload bits kept
        return (uint16_t)(sign | 0x7e00u | ((u >> 13) & 0x3ffu));
    }
    if (u >= 0x477ff000u) { // 65520 and above round to infinity
        return (uint16_t)(sign | 0x7c00u);
    }
    if (u < 0x38800000u) { // below 2^-14: adding 0.5 rounds to a multiple of 2^-24
        float r = hsdi_float_of_bits(u) + 0.5f;
        return (uint16_t)(sign | (hsdi_bits_of_float(r) - 0x3f000000u));
    }
    u += 0xfffu + ((u >> 13) & 1u); // to nearest, ties to even
    return (uint16_t)(sign | ((u - 0x38000000u) >> 13));
}

/// The twelve bytes that hold eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K.
static void decode_scales(const uint8_t s[12], hsdi_block *out)
{
    for (int j = 0; j < 4; j++) {
        out->scale[j] = (int8_t)(s[j] & 63);
        out->min[j] = s[j + 4] & 63;
        out->scale[j + 4] = (int8_t)((s[j + 8] & 15) | (s[j] >> 6) << 4);
        out->min[j + 4] = (uint8_t)((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4);
    }
}

static void decode_q4_0(const uint8_t *p, hsdi_block *out)
{
    out->d = hsdi_load_u16(p);
    for (int j = 0; j < 16; j++) {
        out->q[j] = p[2 + j] & 15;
        out->q[j + 16] = p[2 + j] >> 4;
    }
}

static void decode_q8_0(const uint8_t *p, hsdi_block *out)
{
    out->d = hsdi_load_u16(p);
    for (int j = 0; j < 32; j++) {
        out->q[j] = p[2 + j] ^ 0x80; // signed to offset 128
    }
}

static void decode_q4_k(const uint8_t *p, hsdi_block *out)
{
    out->d = hsdi_load_u16(p);
    out->dmin = hsdi_load_u16(p + 2);
    decode_scales(p + 4, out);
    for (int j = 0; j < 256; j++) {
        uint8_t pair = p[16 + j / 64 * 32 + j % 32];
        out->q[j] = j % 64 < 32 ? pair & 15 : pair >> 4;
    }
}

static void decode_q5_k(const uint8_t *p, hsdi_block *out)
{
    out->d = hsdi_load_u16(p);
    out->dmin = hsdi_load_u16(p + 2);
    decode_scales(p + 4, out);
    for (int j = 0; j < 256; j++) {
        uint8_t pair = p[48 + j / 64 * 32 + j % 32];
        int high = p[16 + j % 32] >> (j / 32) & 1;
        out->q[j] = (uint8_t)((j % 64 < 32 ? pair & 15 : pair >> 4) | high << 4);
    }
}

static void decode_q6_k(const uint8_t *p, hsdi_block *out)
{
    out->d = hsdi_load_u16(p + 208);
    memcpy(out->scale, p + 192, 16);
    for (int j = 0; j < 256; j++) {
        int half = j / 128, quarter = j % 128 / 32, l = j % 32;
        uint8_t pair = p[64 * half + 32 * (quarter & 1) + l];
        int high = p[128 + 32 * half + l] >> (2 * quarter) & 3;
        out->q[j] = (uint8_t)((quarter < 2 ? pair & 15 : pair >> 4) | high << 4);
    }
}

void hsdi_block_decode(hsdi_type type, const void *src, hsdi_block *out)
{
    memset(out->scale, 1, sizeof out->scale);
    memset(out->min, 0, sizeof out->min);
    out->dmin = 0;
    switch (type) {
    case HSDI_TYPE_Q4_0:
        decode_q4_0(src, out);
        break;
    case HSDI_TYPE_Q8_0:
        decode_q8_0(src, out);
        break;
    case HSDI_TYPE_Q4_K:
        decode_q4_k(src, out);
        break;
    case HSDI_TYPE_Q5_K:
        decode_q5_k(src, out);
        break;
    case HSDI_TYPE_Q6_K:
        decode_q6_k(src, out);
        break;
    default:
        break;
    }
}

static void dequant_halves(hsdi_type type, const uint8_t *src, int64_t n, float *dst)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = hsdi_load_u16(src + 2 * i);
        dst[i] = type == HSDI_TYPE_F16 ? hsdi_half_to_float(h) : hsdi_bfloat_to_float(h);
    }
}

void hsdi_dequant_row(hsdi_type type, const void *src, int64_t n, float *dst)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    if (type == HSDI_TYPE_F32) {
        memcpy(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    if (!hsdi_type_is_quantised(type)) {
        dequant_halves(type, src, n, dst);
        return;
    }
    const uint8_t *p = src;
    int n_share = type == HSDI_TYPE_Q6_K ? 16 : 32;
    int offset = hsdi_type_offset(type);
    for (int64_t i = 0; i < n; i += info->block_elems, p += info->block_bytes) {
        hsdi_block b;
        hsdi_block_decode(type, p, &b);
        float d = hsdi_half_to_float(b.d), dmin = hsdi_half_to_float(b.dmin);
        for (int j = 0; j < info->block_elems; j++) {
            float scale = d * (float)b.scale[j / n_share];
            float value = scale * (float)(b.q[j] - offset);
            if (type == HSDI_TYPE_Q4_K || type == HSDI_TYPE_Q5_K) {
                value -= dmin * (float)b.min[j / n_share];
            }
            dst[i + j] = value;
        }
    }
}
