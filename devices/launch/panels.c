/// See panels.h.
#include "devices/launch/panels.h"

#include <string.h>

enum { CHUNK = 256, LANES = 16, BLOCK = 32, ALIGNMENT = 16 };

static size_t round_up(size_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/// Bytes of a row's elements, behind which its scales begin.
static size_t code_bytes(hsdi_type type, int n_in)
{
    size_t n = (size_t)n_in;
    return round_up(type == HSDI_TYPE_Q4_0 ? n / 2 : type == HSDI_TYPE_Q8_0 ? n : 2 * n);
}

size_t hsdi_panels_row_bytes(hsdi_type type, int n_in)
{
    size_t n_scales = hsdi_type_is_quantised(type) ? (size_t)n_in / BLOCK : 0;
    return code_bytes(type, n_in) + round_up(2 * n_scales);
}

/// Where element i of a row goes, counted in elements. Elements behind the last whole chunk stay in
/// their block of 32, `pairs` of element l and 16 + l; without blocks they stay where they are.
static size_t place_of(int i, int n_in, bool has_pairs)
{
    int whole = n_in / CHUNK * CHUNK, begin = i / CHUNK * CHUNK, in = i - begin;
    if (i < whole) {
        return (size_t)(begin + in % LANES * LANES + in / LANES);
    }
    if (!has_pairs) {
        return (size_t)i;
    }
    begin = i / BLOCK * BLOCK;
    in = i - begin;
    return (size_t)(begin + in % LANES * 2 + in / LANES);
}

static void fill_halves(int n_in, const uint8_t *from, uint8_t *to)
{
    for (int i = 0; i < n_in; i++) {
        memcpy(to + 2 * place_of(i, n_in, false), from + 2 * (ptrdiff_t)i, 2);
    }
}

/// A block: its scale, then 32 codes.
static void fill_q8_0(int n_in, const uint8_t *from, uint8_t *to)
{
    uint8_t *scales = to + code_bytes(HSDI_TYPE_Q8_0, n_in);
    for (int i = 0; i < n_in; i++) {
        const uint8_t *block = from + (ptrdiff_t)(i / BLOCK) * (2 + BLOCK);
        to[place_of(i, n_in, true)] = block[2 + i % BLOCK];
        memcpy(scales + 2 * (ptrdiff_t)(i / BLOCK), block, 2);
    }
}

/// A block: its scale, then 16 bytes, each with the codes of elements l (low) and 16 + l (high).
static void fill_q4_0(int n_in, const uint8_t *from, uint8_t *to)
{
    uint8_t *scales = to + code_bytes(HSDI_TYPE_Q4_0, n_in);
    for (int i = 0; i < n_in; i++) {
        const uint8_t *block = from + (ptrdiff_t)(i / BLOCK) * (2 + BLOCK / 2);
        int code = block[2 + i % LANES] >> (i % BLOCK < LANES ? 0 : 4) & 15;
        size_t at = place_of(i, n_in, true);
        to[at / 2] = (uint8_t)(to[at / 2] | code << (at % 2 ? 4 : 0));
        memcpy(scales + 2 * (ptrdiff_t)(i / BLOCK), block, 2);
    }
}

void hsdi_panels_fill(hsdi_type type, int n_rows, int n_in, const uint8_t *from, uint8_t *to)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t from_bytes = (size_t)(n_in / info->block_elems) * (size_t)info->block_bytes;
    size_t to_bytes = hsdi_panels_row_bytes(type, n_in);
    memset(to, 0, (size_t)n_rows * to_bytes);
    for (int r = 0; r < n_rows; r++, from += from_bytes, to += to_bytes) {
        if (type == HSDI_TYPE_Q8_0) {
            fill_q8_0(n_in, from, to);
        } else if (type == HSDI_TYPE_Q4_0) {
            fill_q4_0(n_in, from, to);
        } else {
            fill_halves(n_in, from, to);
        }
    }
}
