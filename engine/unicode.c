/// UTF-8 and the byte alphabet of byte-level BPE.
#include "engine/unicode.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

// Length and the allowed range of the second byte, from the first byte.
// The Unicode Standard, table 3-7: the second byte alone excludes overlong forms and surrogates.
static int lead(uint8_t b, uint8_t *second_min, uint8_t *second_max)
{
    *second_min = 0x80;
    *second_max = 0xBF;
    if (b < 0x80) {
        return 1;
    }
    if (b >= 0xC2 && b <= 0xDF) {
        return 2;
    }
    if (b >= 0xE0 && b <= 0xEF) {
        *second_min = b == 0xE0 ? 0xA0 : 0x80;
        *second_max = b == 0xED ? 0x9F : 0xBF;
        return 3;
    }
    if (b >= 0xF0 && b <= 0xF4) {
        *second_min = b == 0xF0 ? 0x90 : 0x80;
        *second_max = b == 0xF4 ? 0x8F : 0xBF;
        return 4;
    }
    return 0;
}

// How many bytes at the front agree with the shape of one character, and its full length.
static int match(const uint8_t *s, size_t n, int *full)
{
    uint8_t lo, hi;
    *full = n > 0 ? lead(s[0], &lo, &hi) : 0;
    if (*full == 0) {
        return 0;
    }
    int i = 1;
    while (i < *full && (size_t)i < n && s[i] >= lo && s[i] <= hi) {
        lo = 0x80;
        hi = 0xBF;
        i++;
    }
    return i;
}

int hsdi_utf8_decode(const void *text, size_t n, uint32_t *cp)
{
    static const uint8_t mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const uint8_t *s = text;
    int full;
    if (match(s, n, &full) != full || full == 0) {
        return 0;
    }
    uint32_t c = s[0] & mask[full];
    for (int i = 1; i < full; i++) {
        c = c << 6 | (s[i] & 0x3F);
    }
    *cp = c;
    return full;
}

size_t hsdi_utf8_valid_run(const void *text, size_t n)
{
    const uint8_t *s = text;
    size_t i = 0;
    while (i < n) {
        int full;
        if (match(s + i, n - i, &full) != full || full == 0) {
            break;
        }
        i += (size_t)full;
    }
    return i;
}

int hsdi_utf8_broken(const void *text, size_t n)
{
    int full;
    int ok = match(text, n, &full);
    if (full == 0) {
        return 1;
    }
    return (size_t)ok == n ? 0 : ok;
}

int hsdi_utf8_encode(uint32_t cp, char out[HSDI_UTF8_MAX])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (int i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    out[0] = (char)(first[n] | cp);
    return n;
}

static bool byte_is_itself(uint32_t b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

// Bytes without a character of their own: 0x00..0x20, 0x7F..0xA0 and 0xAD, in this order.
uint32_t hsdi_byte_to_cp(uint8_t byte)
{
    if (byte_is_itself(byte)) {
        return byte;
    }
    uint32_t i = byte <= 0x20 ? byte : byte <= 0xA0 ? byte - 0x7FU + 0x21U : 0x43U;
    return 0x100 + i;
}

int hsdi_cp_to_byte(uint32_t cp)
{
    if (cp < 0x100) {
        return byte_is_itself(cp) ? (int)cp : -1;
    }
    uint32_t i = cp - 0x100;
    if (i <= 0x20) {
        return (int)i;
    }
    return i <= 0x42 ? (int)(i - 0x21 + 0x7F) : i == 0x43 ? 0xAD : -1;
}

const char *hsdi_text_escape(char *dst, size_t cap, const void *text, size_t n)
{
    const uint8_t *s = text;
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        char piece[8];
        int taken = hsdi_utf8_decode(s + i, n - i, &cp);
        int len;
        if (taken == 0 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0)) {
            taken = 1;
            len = snprintf(piece, sizeof piece, "\\x%02X", s[i]);
        } else {
            len = taken;
            memcpy(piece, s + i, (size_t)taken);
        }
        if (used + (size_t)len + 4 > cap) {
            memcpy(dst + used, "...", 3);
            used += 3;
            break;
        }
        memcpy(dst + used, piece, (size_t)len);
        used += (size_t)len;
        i += (size_t)taken;
    }
    dst[used] = 0;
    return dst;
}
