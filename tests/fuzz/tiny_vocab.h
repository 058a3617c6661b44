/// Two vocabularies of a few hundred tokens: byte-level BPE and SentencePiece.
#ifndef HSD_TESTS_TINY_VOCAB_H
#define HSD_TESTS_TINY_VOCAB_H

#include <stdio.h>

#include "engine/unicode.h"
#include "tests/fuzz/gguf_writer.h"

/// What a file says of its tokenizer. Fields left 0 or NULL stay out of the file.
typedef struct tiny_options {
    const char *pre;
    int add_bos;         ///< 1: true, -1: false
    int add_space;       ///< 1: true, -1: false
    int end_type;        ///< type of <|im_end|>; 0: control
    const char *renamed; ///< text of BPE's "aaaa" or SentencePiece's " hello" instead
} tiny_options;

// Ids of the BPE vocabulary: 0..255 bytes, then merges, then these.
enum {
    TINY_HE = 256,
    TINY_LL = 257,
    TINY_HELL = 258,
    TINY_HELLO = 259,
    TINY_SPACE_W = 260,
    TINY_E_ACUTE = 261, ///< the two bytes of U+00E9
    TINY_AA = 262,
    TINY_AAAA = 263,
    TINY_EOT = 264,    ///< <|endoftext|>, control, BOS and EOS
    TINY_IM_END = 265, ///< <|im_end|>, control
    TINY_IM = 266,     ///< <|im, control: begins like another
    TINY_USER = 267,   ///< [[user]], user-defined
    TINY_TAIL = 268,   ///< ]]<|, control: ends as another begins
    TINY_N_BPE = 269,
};

static inline void tiny_byte_text(uint8_t byte, char out[8])
{
    out[hsdi_utf8_encode(hsdi_byte_to_cp(byte), out)] = 0;
}

static inline void tiny_optional(gguf_writer *w, const tiny_options *o)
{
    gw_kv_str(w, o->pre ? "tokenizer.ggml.pre" : "unused.1", o->pre ? o->pre : "");
    gw_kv_bool(w, o->add_bos ? "tokenizer.ggml.add_bos_token" : "unused.2", o->add_bos > 0);
    gw_kv_bool(w, o->add_space ? "tokenizer.ggml.add_space_prefix" : "unused.3", o->add_space > 0);
}

static inline gguf_writer tiny_bpe(tiny_options o)
{
    static const char *const words[] = {
        "he", "ll", "hell", "hello", "\xC4\xA0w", "\xC3\x83\xC2\xA9", "aa", "aaaa"};
    static const char *const special[] = {"<|endoftext|>", "<|im_end|>", "<|im", "[[user]]",
                                          "]]<|"};
    static const char *const merges[] = {
        "h e", "l l",   "he ll", "hell o", "\xC4\xA0 w", "\xC3\x83 \xC2\xA9",
        "a a", "aa aa", "x y",   "xy z"}; // "xy" and "xyz" are no tokens
    gguf_writer w = {0};
    gw_header(&w, 0, 9);
    gw_kv_str(&w, "tokenizer.ggml.model", "gpt2");
    tiny_optional(&w, &o);
    gw_key_array(&w, "tokenizer.ggml.tokens", HSDI_GGUF_STRING, TINY_N_BPE);
    for (int b = 0; b < 256; b++) {
        char text[8];
        tiny_byte_text((uint8_t)b, text);
        gw_str(&w, text);
    }
    for (int i = 0; i < 8; i++) {
        gw_str(&w, i == 7 && o.renamed ? o.renamed : words[i]);
    }
    for (int i = 0; i < 5; i++) {
        gw_str(&w, special[i]);
    }
    gw_key_array(&w, "tokenizer.ggml.token_type", HSDI_GGUF_I32, TINY_N_BPE);
    for (int i = 0; i < TINY_N_BPE; i++) {
        uint32_t im_end = o.end_type ? (uint32_t)o.end_type : 3;
        gw_u32(&w, i < TINY_EOT ? 1 : i == TINY_IM_END ? im_end : i == TINY_USER ? 4 : 3);
    }
    gw_key_array(&w, "tokenizer.ggml.merges", HSDI_GGUF_STRING, 10);
    for (int i = 0; i < 10; i++) {
        gw_str(&w, merges[i]);
    }
    gw_kv_u32(&w, "tokenizer.ggml.bos_token_id", TINY_EOT);
    gw_kv_u32(&w, "tokenizer.ggml.eos_token_id", TINY_EOT);
    return w;
}

// Ids of the SentencePiece vocabulary: <unk> <s> </s>, 256 bytes, then these.
enum {
    TINY_SPM_SPACE = 259,
    TINY_SPM_H = 260,
    TINY_SPM_E,
    TINY_SPM_L,
    TINY_SPM_O,
    TINY_SPM_HE,
    TINY_SPM_LL,
    TINY_SPM_LLO,
    TINY_SPM_HELLO,
    TINY_SPM_SPACE_HELLO,
    TINY_SPM_E_ACUTE,
    TINY_SPM_USER, ///< [[user]], user-defined
    TINY_N_SPM,
};

static inline gguf_writer tiny_spm(tiny_options o)
{
    static const char *const words[] = {
        "\xE2\x96\x81",      "h",        "e",       "l", "o", "he", "ll", "llo", "hello",
        "\xE2\x96\x81hello", "\xC3\xA9", "[[user]]"};
    gguf_writer w = {0};
    gw_header(&w, 0, 8);
    gw_kv_str(&w, "tokenizer.ggml.model", "llama");
    tiny_optional(&w, &o);
    gw_key_array(&w, "tokenizer.ggml.tokens", HSDI_GGUF_STRING, TINY_N_SPM);
    gw_str(&w, "<unk>");
    gw_str(&w, "<s>");
    gw_str(&w, "</s>");
    for (unsigned b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b & 0xFF);
        gw_str(&w, text);
    }
    for (int i = 0; i < 12; i++) {
        gw_str(&w, i == 9 && o.renamed ? o.renamed : words[i]);
    }
    gw_key_array(&w, "tokenizer.ggml.token_type", HSDI_GGUF_I32, TINY_N_SPM);
    for (int i = 0; i < TINY_N_SPM; i++) {
        gw_u32(&w, i == 0 ? 2 : i < 3 ? 3 : i < TINY_SPM_SPACE ? 6 : i == TINY_SPM_USER ? 4 : 1);
    }
    gw_key_array(&w, "tokenizer.ggml.scores", HSDI_GGUF_F32, TINY_N_SPM);
    for (int i = 0; i < TINY_N_SPM; i++) {
        gw_f32(&w, i < TINY_SPM_SPACE ? 0.0F : -(float)(i - TINY_SPM_SPACE));
    }
    gw_kv_u32(&w, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    return w;
}

#endif
