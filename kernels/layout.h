/// Where things lie in packed weights and in prepared activations: the same for every set.
///
/// Packed weights: groups of 16 output channels, each group contiguous, channels innermost, so
/// that one vector lane is one channel and a row's sum never crosses lanes.
///
///   F32, F16, BF16   [n_in][16] elements as stored
///   quantised        blocks: the scales of some sub-blocks, then the quants of these
///   BF16 in pairs    [n_in/2, rounded up][16][2] elements as stored, zero behind the end
///   (avx512bf16)
///
/// A quad is 16 channels x 4 successive inputs x 1 byte = 64 bytes; a sub-block has 8 quads:
///
///   Q8_0   8 x 64 bytes: the quads, offset 128
///   Q4_0   4 x 64: byte j of vector v holds quad v (low nibble) and quad v + 4 (high nibble)
///   Q4_K   the same
///   Q5_K   64: bit v of byte j is bit 4 of quad v; then as Q4_0
///   Q6_K   64, then as Q4_0, then 64: bits 2i of byte j of the h-th are bits 4, 5 of quad 4h + i
///
/// Scales: Q8_0, Q4_0: of two sub-blocks, [2][16] f16 (the last block of a group may have one). Per
/// 256 inputs, Q4_K and Q5_K: d [16] f16, dmin [16] f16, 8 x (scale [16] u8, min [16] u8); Q6_K:
/// d [16] f16, 8 x 2 x (scale [16] i8), 32 bytes of nothing.
///
/// So a product reads its weights from the first byte to the last, and every quad begins at a
/// multiple of 64. With the scales of a group at its end, processors fetched half as fast.
///
/// Prepared activations lie in panels of 8 rows, the last one of what is left. A row is cut into
/// parts; part 0 of all rows of the panel, then part 1 of all, and so on: a product that takes the
/// rows of a panel together reads one stream of inputs beside its stream of weights. A part is
///
///   F32, F16, BF16   16 f32, zero behind the end
///   BF16 in pairs    32 bf16, zero behind the end
///   quantised        of a sub-block: q [32] i8; d f32; then what undoes the offset of the weights,
///                    Q8_0, Q4_0: -offset * sum(q) i32; Q6_K: two of these, per 16; Q4_K, Q5_K:
///                    d * sum(q) f32; zeros up to 48 bytes
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

/// Where, in a sub-block, the low four bits of quads begin, and the high bits of a quad.
static inline size_t hsdi_low_offset(hsdi_type type)
{
    return type == HSDI_TYPE_Q5_K || type == HSDI_TYPE_Q6_K ? 64 : 0;
}

static inline size_t hsdi_high_offset(hsdi_type type, int quad)
{
    return type == HSDI_TYPE_Q6_K && quad >= 4 ? 320 : 0;
}

/// Sub-blocks of a block, and bytes of their scales.
static inline int hsdi_block_subs(hsdi_type type)
{
    return type == HSDI_TYPE_Q8_0 || type == HSDI_TYPE_Q4_0 ? 2 : 8;
}

static inline size_t hsdi_scales_bytes(hsdi_type type)
{
    return hsdi_block_subs(type) == 2 ? 64 : 64 + 8 * 32;
}

/// Bytes of a whole block.
static inline size_t hsdi_packed_block_bytes(hsdi_type type)
{
    return hsdi_scales_bytes(type) + (size_t)hsdi_block_subs(type) * hsdi_sub_bytes(type);
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
    size_t n_subs = n / 32, per_block = (size_t)hsdi_block_subs(type);
    size_t n_blocks = (n_subs + per_block - 1) / per_block;
    return n_blocks * hsdi_scales_bytes(type) + n_subs * hsdi_sub_bytes(type);
}

enum { HSDI_PANEL = 8, HSDI_ACT_D = 32, HSDI_ACT_SUM = 36, HSDI_ACT_SUB = 48 };

/// Bytes of a part of a prepared row.
static inline size_t hsdi_act_part(hsdi_type type)
{
    return hsdi_type_is_quantised(type) ? HSDI_ACT_SUB : 64;
}

/// Rows of the panel of `row` in a batch of n_rows.
static inline int hsdi_panel_rows(int row, int n_rows)
{
    int left = n_rows - row / HSDI_PANEL * HSDI_PANEL;
    return left < HSDI_PANEL ? left : HSDI_PANEL;
}

/// Where part 0 of a row begins; the next one follows hsdi_panel_rows() parts later. row_bytes: of
/// act_bytes.
static inline size_t hsdi_act_offset(hsdi_type type, size_t row_bytes, int row)
{
    size_t in_panel = (size_t)(row % HSDI_PANEL);
    return ((size_t)row - in_panel) * row_bytes + in_panel * hsdi_act_part(type);
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

enum { HSDI_ATTN_BLOCK = 32 }; ///< positions

/// Floats of the state of a query: output so far and the query, each padded; maximum and sum.
static inline int hsdi_attn_state_floats(int d_head)
{
    return 2 * ((d_head + 15) / 16 * 16) + 16;
}

/// Rows that attention keeps the state of, for one reading of the cells: 64, or so many as have
/// room in 4 MiB, but at least 8.
static inline int hsdi_attn_rows(int n_head, int d_head)
{
    int64_t row = (int64_t)n_head * hsdi_attn_state_floats(d_head) * (int64_t)sizeof(float);
    int64_t n = (INT64_C(4) << 20) / row;
    return n > 64 ? 64 : n < 8 ? 8 : (int)n;
}

size_t hsdi_attn_scratch_bytes(int n_head, int d_head, int n_rows_max);

#endif
