/// Where things lie in packed weights and in prepared activations: the same for every set.
///
/// Packed weights: groups of 16 output channels, each group contiguous, channels innermost, so
/// that one vector lane is one channel and a row's sum never crosses lanes.
///
///   F32, F16, BF16   [n_in][16] elements as stored
///   quantised        [n_in/32] sub-blocks of quants, then the scales of the whole group
///   BF16 in pairs    [n_in/2, rounded up][16][2] elements as stored, zero behind the end
///   (avx512bf16)
///
/// A quad is 16 channels x 4 successive inputs x 1 byte = 64 bytes; a sub-block has 8 quads:
///
///   Q8_0   8 x 64 bytes: the quads, offset 128
///   Q4_0   4 x 64: byte j of vector v holds quad v (low nibble) and quad v + 4 (high nibble)
///   Q4_K   the same
///   Q5_K   the same, then 64: bit v of byte j is bit 4 of quad v
///   Q6_K   as Q4_0, then 2 x 64: bits 2i of byte j of vector h are bits 4, 5 of quad 4h + i
///
/// Scales: Q8_0, Q4_0: [n_in/32][16] f16. Per 256 inputs, Q4_K and Q5_K: d [16] f16, dmin [16] f16,
/// 8 x (scale [16] u8, min [16] u8); Q6_K: d [16] f16, 8 x 2 x (scale [16] i8).
///
/// Prepared activations, one row: F32, F16, BF16: f32, zero behind the end. BF16 in pairs: bf16,
/// zero behind the end. Quantised: q [n_in] i8, padded to 64; d [n_in/32] f32; then per sub-block
/// what undoes the offset of the weights: Q8_0, Q4_0: -offset * sum(q) i32; Q6_K: two of these, per
/// 16; Q4_K, Q5_K: d * sum(q) f32.
#ifndef HSDI_KERNELS_LAYOUT_H
#define HSDI_KERNELS_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/types.h"

static inline size_t hsdi_align64(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

/// Bytes of quants per sub-block of 32 inputs.
static inline size_t hsdi_sub_bytes(hsdi_type type)
{
    switch (type) {
    case HSDI_TYPE_Q8_0:
        return 512;
    case HSDI_TYPE_Q5_K:
        return 320;
    case HSDI_TYPE_Q6_K:
        return 384;
    default:
        return 256;
    }
}

/// Bytes of scales per block of the type.
static inline size_t hsdi_scales_bytes(hsdi_type type)
{
    switch (type) {
    case HSDI_TYPE_Q4_K:
    case HSDI_TYPE_Q5_K:
        return 64 + 8 * 32;
    case HSDI_TYPE_Q6_K:
        return 32 + 8 * 32;
    default:
        return 32;
    }
}

/// Where the scales of a group begin.
static inline size_t hsdi_scales_offset(hsdi_type type, int n_in)
{
    return (size_t)(n_in / 32) * hsdi_sub_bytes(type);
}

static inline size_t hsdi_group_bytes(hsdi_type type, int n_in)
{
    size_t n = (size_t)n_in;
    if (type == HSDI_TYPE_F32) {
        return n * 64;
    }
    if (!hsdi_type_is_quantised(type)) {
        return hsdi_align64(n * 32);
    }
    size_t n_blocks = n / (type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0 ? 32 : 256);
    return hsdi_align64(hsdi_scales_offset(type, n_in) + n_blocks * hsdi_scales_bytes(type));
}

static inline size_t hsdi_act_d_offset(int n_in)
{
    return hsdi_align64((size_t)n_in);
}

static inline size_t hsdi_act_sum_offset(int n_in)
{
    return hsdi_act_d_offset(n_in) + (size_t)(n_in / 32) * 4;
}

/// pack_bytes, pack and act_bytes of every set.
size_t hsdi_pack_bytes(hsdi_type type, int n_out, int n_in);
void hsdi_pack(hsdi_type type, int n_out, int n_in, const void *src, void *dst, int g_begin,
               int g_end);
size_t hsdi_act_bytes(hsdi_type type, int n_in);
/// The same for sets that multiply BF16 in pairs; other types as above.
void hsdi_pack_pairs(hsdi_type type, int n_out, int n_in, const void *src, void *dst, int g_begin,
                     int g_end);
size_t hsdi_act_bytes_pairs(hsdi_type type, int n_in);
size_t hsdi_attn_scratch_bytes(int n_head, int n_kv, int d_head, int n_rows_max);

#endif
