/// UTF-8, the byte alphabet of byte-level BPE, and text made safe for messages.
#ifndef HSDI_ENGINE_UNICODE_H
#define HSDI_ENGINE_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum { HSDI_UTF8_MAX = 4 }; ///< bytes of the longest sequence

/// Decode one character. Strict: no overlong forms, no surrogates, nothing above U+10FFFF.
///
/// Result : its length 1..4 and *cp; 0 when the bytes begin no complete character.
int hsdi_utf8_decode(const void *text, size_t n, uint32_t *cp);

/// Bytes at the front of the text that are whole characters.
size_t hsdi_utf8_valid_run(const void *text, size_t n);

/// What to do with bytes that begin no complete character.
///
/// Result : 0 when more bytes could complete them, else how many bytes one replacement character
///          stands for (1..3): the longest part that began a character, as Unicode advises.
/// Source : The Unicode Standard, 3.9, "U+FFFD substitution of maximal subparts".
int hsdi_utf8_broken(const void *text, size_t n);

/// Write a code point. Result: its length 1..4.
int hsdi_utf8_encode(uint32_t cp, char out[HSDI_UTF8_MAX]);

/// Byte-level BPE writes every byte as a printable character: itself where it has one, else
/// U+0100 and up in the order of the remaining bytes.
/// Source : the GPT-2 encoder (openai/gpt-2), bytes_to_unicode.
uint32_t hsdi_byte_to_cp(uint8_t byte);

/// The inverse; -1 for a code point outside the alphabet.
int hsdi_cp_to_byte(uint32_t cp);

/// Copy text into a message: printable ASCII and valid UTF-8 stay, other bytes become \xNN.
///
/// Result : dst, always terminated; cut with "..." where it does not fit. cap is at least 8.
const char *hsdi_text_escape(char *dst, size_t cap, const void *text, size_t n);

#endif
