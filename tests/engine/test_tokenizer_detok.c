/// Proves:
///   - however a text is cut into tokens, what comes out is always whole characters
///   - the pushes and the flush together give the text, with U+FFFD for what can never be one
///   - the space that SentencePiece puts before a text is taken away once, and only when asked
///   - UTF-8 is decoded strictly, and the byte alphabet maps there and back
/// Does not prove: which tokens a model emits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/detok.h"
#include "tests/engine/test_tokenizer_common.h"

#define FFFD "\xEF\xBF\xBD"
#define IDS(...) (const int32_t[]){__VA_ARGS__}, (int)(sizeof(int32_t[]){__VA_ARGS__} / 4)

// Push ids; '/' in `want` parts what each push, and at last the flush, must give.
static void expect(const hsdi_tokenizer *tok, bool text_start, bool special, const int32_t *ids,
                   int n_ids, const char *want)
{
    hsdi_detok d;
    char got[512] = "";
    assert_int_equal(hsdi_detok_init(&d, tok, text_start, special), HSD_OK);
    for (int i = 0; i <= n_ids; i++) {
        const char *bytes;
        int n;
        if (i < n_ids) {
            assert_int_equal(hsdi_detok_push(&d, ids[i], &bytes, &n), HSD_OK);
        } else {
            hsdi_detok_flush(&d, &bytes, &n);
        }
        assert_int_equal(hsdi_utf8_valid_run(bytes, (size_t)n), n);
        strncat(got, bytes, (size_t)n);
        strcat(got, i < n_ids ? "/" : "");
    }
    assert_string_equal(got, want);
    hsdi_detok_fini(&d);
}

static void a_character_waits_for_its_last_byte(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    expect(tok, false, false, IDS('a', 0xC3, 0xA9, 'b'), "a//\xC3\xA9/b/");
    expect(tok, false, false, IDS(0xF0, 0x9F, 0x98, 0x80), "///\xF0\x9F\x98\x80/");
    expect(tok, false, false, IDS(TINY_E_ACUTE, TINY_SPACE_W), "\xC3\xA9/ w/");
    hsdi_tokenizer_destroy(&tok);
}

static void what_never_becomes_a_character_is_replaced(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    expect(tok, false, false, IDS('a', 0xC3), "a//" FFFD);
    expect(tok, false, false, IDS(0xC3, 'b'), "/" FFFD "b/");
    expect(tok, false, false, IDS(0xFF, 0x80), FFFD "/" FFFD "/");
    expect(tok, false, false, IDS(0xF0, 0x9F, 0x98, 'x'), "///" FFFD "x/");
    expect(tok, false, false, IDS(0xF0, 0x9F, 0xC3, 0xA9), "//" FFFD "/\xC3\xA9/");
    expect(tok, false, false, IDS(0xED, 0xA0, 0x80), "/" FFFD FFFD "/" FFFD "/"); // a surrogate
    expect(tok, false, false, IDS(0xE0, 0x80), "/" FFFD FFFD "/");                // overlong
    expect(tok, false, false, IDS(0xF0, 0x9F, 0x98), "///" FFFD);
    hsdi_tokenizer_destroy(&tok);
}

static void the_leading_space_is_dropped_once_and_only_when_asked(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_spm((tiny_options){0}));
    const int32_t ids[] = {1, TINY_SPM_SPACE_HELLO, TINY_SPM_SPACE_HELLO};
    expect(tok, true, false, ids, 3, "/hello/ hello/");
    expect(tok, false, false, ids, 3, "/ hello/ hello/");
    expect(tok, true, false, IDS(TINY_SPM_SPACE, TINY_SPM_SPACE), "/ /");
    expect(tok, true, false, IDS(TINY_SPM_H, TINY_SPM_SPACE), "h/ /");
    expect(tok, true, false, IDS(3 + ' ', 3 + ' '), "/ /");
    hsdi_tokenizer_destroy(&tok);
    tok = make_tokenizer(tiny_spm((tiny_options){.add_space = -1}));
    expect(tok, true, false, IDS(TINY_SPM_SPACE_HELLO), " hello/");
    hsdi_tokenizer_destroy(&tok);
    tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    expect(tok, true, false, IDS(TINY_SPACE_W), " w/");
    hsdi_tokenizer_destroy(&tok);
}

static void control_tokens_are_silent_unless_asked_for(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    expect(tok, false, false, IDS('a', TINY_IM_END, TINY_USER), "a//[[user]]/");
    expect(tok, false, true, IDS('a', TINY_IM_END), "a/<|im_end|>/");
    hsdi_tokenizer_destroy(&tok);
}

static void an_unknown_id_changes_nothing(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    hsdi_detok d;
    const char *bytes = "kept";
    int n = 4;
    assert_int_equal(hsdi_detok_init(&d, tok, true, false), HSD_OK);
    assert_int_equal(hsdi_detok_push(&d, 0xC3, &bytes, &n), HSD_OK);
    assert_int_equal(hsdi_detok_push(&d, TINY_N_BPE, &bytes, &n), HSD_EINVAL);
    assert_int_equal(hsdi_detok_push(&d, -1, &bytes, &n), HSD_EINVAL);
    assert_int_equal(hsdi_detok_push(&d, 0xA9, &bytes, &n), HSD_OK);
    assert_true(n == 2 && memcmp(bytes, "\xC3\xA9", 2) == 0);
    hsdi_detok_fini(&d);
    hsdi_tokenizer_destroy(&tok);
}

static void every_code_point_is_decoded_and_encoded_alike(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char text[HSDI_UTF8_MAX];
        uint32_t back = 0;
        int n = hsdi_utf8_encode(cp, text);
        bool surrogate = cp >= 0xD800 && cp < 0xE000;
        assert_int_equal(hsdi_utf8_decode(text, (size_t)n, &back), surrogate ? 0 : n);
        assert_int_equal(back, surrogate ? 0 : cp);
        for (int cut = 1; cut < n && !surrogate; cut++) {
            assert_int_equal(hsdi_utf8_decode(text, (size_t)cut, &back), 0);
            assert_int_equal(hsdi_utf8_broken(text, (size_t)cut), 0);
        }
    }
}

static void the_byte_alphabet_maps_there_and_back(void **state)
{
    (void)state;
    for (int b = 0; b < 256; b++) {
        assert_int_equal(hsdi_cp_to_byte(hsdi_byte_to_cp((uint8_t)b)), b);
    }
    int n = 0;
    for (uint32_t cp = 0; cp < 0x300; cp++) {
        n += hsdi_cp_to_byte(cp) >= 0;
    }
    assert_int_equal(n, 256);
    // Known from the GPT-2 vocabulary: space is U+0120, newline U+010A, 0xAD is U+0143.
    assert_int_equal(hsdi_byte_to_cp(' '), 0x120);
    assert_int_equal(hsdi_byte_to_cp('\n'), 0x10A);
    assert_int_equal(hsdi_byte_to_cp(0xAD), 0x143);
    assert_int_equal(hsdi_byte_to_cp(0x7F), 0x121);
}

static void text_is_escaped_and_cut_for_messages(void **state)
{
    (void)state;
    char s[16];
    assert_string_equal(hsdi_text_escape(s, sizeof s, "a\n\xC3\xA9\xFF", 5), "a\\x0A\xC3\xA9\\xFF");
    assert_string_equal(hsdi_text_escape(s, sizeof s, "0123456789abcdefgh", 18), "0123456789ab...");
    assert_string_equal(hsdi_text_escape(s, 8, "\xC2\x9B\xC2\x9B", 4), "\\xC2...");
    assert_string_equal(hsdi_text_escape(s, sizeof s, "", 0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_character_waits_for_its_last_byte),
        cmocka_unit_test(what_never_becomes_a_character_is_replaced),
        cmocka_unit_test(the_leading_space_is_dropped_once_and_only_when_asked),
        cmocka_unit_test(control_tokens_are_silent_unless_asked_for),
        cmocka_unit_test(an_unknown_id_changes_nothing),
        cmocka_unit_test(every_code_point_is_decoded_and_encoded_alike),
        cmocka_unit_test(the_byte_alphabet_maps_there_and_back),
        cmocka_unit_test(text_is_escaped_and_cut_for_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
