/// Proves:
///   - every pre-tokenizer cuts the texts of tests/reference/fixtures/pretok.json as recorded
///   - white space is what llama.cpp takes for white space; broken UTF-8 is cut byte by byte
///   - pieces cover the text without gap or overlap; names are found whole, aliases alike
/// Does not prove: the expressions of pre-tokenizers that are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tok_pretok.h"
#include "engine/unicode.h"

static hsdi_pretok *make(const char *name)
{
    hsdi_pretok *p;
    hsd_error err;
    if (hsdi_pretok_create(name, strlen(name), &p, &err) != HSD_OK) {
        fail_msg("%s", err.message);
    }
    return p;
}

static void print_pieces(const char *label, const char *text, const hsdi_pieces *pieces)
{
    char safe[256];
    print_error("%s:", label);
    for (size_t i = 0, at = 0; i < pieces->n; at = pieces->end[i++]) {
        hsdi_text_escape(safe, sizeof safe, text + at, pieces->end[i] - at);
        print_error(" [%s]", safe);
    }
    print_error("\n");
}

// `want` holds the pieces' lengths.
static void expect(const char *name, const char *text, size_t n, const size_t *want, size_t n_want)
{
    hsdi_pretok *p = make(name);
    hsdi_pieces got = {0};
    size_t at = 0, i = 0;
    assert_int_equal(hsdi_pretok_split(p, text, n, &got, NULL), HSD_OK);
    while (i < n_want && i < got.n && got.end[i] == at + want[i]) {
        at += want[i++];
    }
    if (i < n_want || i < got.n) {
        char safe[256];
        print_pieces("got", text, &got);
        fail_msg("%s, \"%s\": %zu pieces for %zu, first difference at piece %zu", name,
                 hsdi_text_escape(safe, sizeof safe, text, n), got.n, n_want, i);
    }
    hsdi_pieces_fini(&got);
    hsdi_pretok_destroy(&p);
}

#define LENGTHS(...) (const size_t[]){__VA_ARGS__}, sizeof(size_t[]){__VA_ARGS__} / sizeof(size_t)

static void recorded_splits_are_met(void **state)
{
    (void)state;
    json_t *list = json_load_file("tests/reference/fixtures/pretok.json", 0, NULL);
    if (!list) {
        skip();
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *text = json_object_get(entry, "text");
        const json_t *pieces = json_object_get(entry, "pieces");
        size_t want[512], n_want = json_array_size(pieces);
        assert_in_range(n_want, 0, 512);
        for (size_t k = 0; k < n_want; k++) {
            want[k] = json_string_length(json_array_get(pieces, k));
        }
        expect(json_string_value(json_object_get(entry, "pre")), json_string_value(text),
               json_string_length(text), want, n_want);
    }
    assert_true(json_array_size(list) > 100);
    json_decref(list);
}

static void white_space_is_that_of_llama_cpp(void **state)
{
    (void)state;
    hsdi_pretok *p = make("gpt-2");
    hsdi_pieces got = {0};
    for (uint32_t cp = 1; cp < 0x3100; cp++) {
        bool space = (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xA0 ||
                     cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 ||
                     cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
        char text[2 * HSDI_UTF8_MAX + 1];
        size_t n = (size_t)hsdi_utf8_encode(cp, text);
        memcpy(text + n, text, n);
        text[2 * n] = '\x01';
        // Of two spaces before something else the last stands alone; anything else stays together,
        // with the control character behind it unless it is a letter or a number.
        assert_int_equal(hsdi_pretok_split(p, text, 2 * n + 1, &got, NULL), HSD_OK);
        if ((got.end[0] == n) != space) {
            fail_msg("U+%04X is %staken for white space", cp, space ? "not " : "");
        }
    }
    hsdi_pieces_fini(&got);
    hsdi_pretok_destroy(&p);
}

static void broken_utf_8_is_cut_byte_by_byte(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"};
    for (size_t i = 0; i < 5; i++) {
        expect(names[i],
               "ab\xFF\xFE"
               "cd",
               6, LENGTHS(2, 1, 1, 2));
        expect(names[i], "\xC3", 1, LENGTHS(1));
        expect(names[i],
               "\xED\xA0\x80"
               "a",
               4, LENGTHS(1, 1, 1, 1)); // a surrogate
        expect(names[i], "\xE2\x82\xC3\xA9", 4, LENGTHS(1, 1, 2));
        expect(names[i], "\xF4\x90\x80\x80", 4, LENGTHS(1, 1, 1, 1)); // above U+10FFFF
        expect(names[i], "", 0, NULL, 0);
    }
}

static void a_zero_byte_is_text(void **state)
{
    (void)state;
    expect("gpt-2", "a\0b", 3, LENGTHS(1, 1, 1));
}

static void digits_stay_together_as_the_name_says(void **state)
{
    (void)state;
    expect("gpt-2", "12345", 5, LENGTHS(5));
    expect("default", "12345", 5, LENGTHS(3, 2));
    expect("llama-bpe", "12345", 5, LENGTHS(3, 2));
    expect("qwen2", "12345", 5, LENGTHS(1, 1, 1, 1, 1));
    expect("starcoder", "12345", 5, LENGTHS(1, 1, 1, 1, 1));
}

static void names_are_found_whole_and_aliases_alike(void **state)
{
    (void)state;
    static const char *const known[] = {"default",          "gpt-2",     "llama-bpe", "llama3",
                                        "llama-v3",         "qwen2",     "smollm",    "starcoder",
                                        "deepseek-r1-qwen", "command-r", "refact"};
    static const char *const unknown[] = {"", " ", "gpt", "llama", "GPT-2", "gpt-2 ", "tekken"};
    hsdi_pretok *p;
    hsd_error err;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        p = make(known[i]);
        assert_int_equal(hsdi_pretok_ignores_merges(p), strncmp(known[i], "llama", 5) == 0);
        hsdi_pretok_destroy(&p);
        assert_null(p);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_int_equal(hsdi_pretok_create(unknown[i], strlen(unknown[i]), &p, &err),
                         HSD_EUNSUPPORTED);
        assert_null(p);
        assert_non_null(strstr(err.message, unknown[i]));
    }
    assert_int_equal(hsdi_pretok_create("gpt-2\0x", 7, &p, &err), HSD_EUNSUPPORTED);
}

static void pieces_cover_any_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"};
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        hsdi_pretok *p = make(names[round % 5]);
        hsdi_pieces got = {0};
        char text[48];
        for (size_t i = 0; i < sizeof text; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = (char)(round & 8 ? seed >> 24
                                       : (uint8_t) " \n\r'st1!\xC2\x85\xE3\x80\x80?_"[seed >> 28]);
        }
        assert_int_equal(hsdi_pretok_split(p, text, sizeof text, &got, NULL), HSD_OK);
        for (size_t i = 1; i < got.n; i++) {
            assert_true(got.end[i - 1] < got.end[i]);
        }
        assert_true(got.n > 0 && got.end[0] > 0 && got.end[got.n - 1] == sizeof text);
        hsdi_pieces_fini(&got);
        hsdi_pretok_destroy(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_splits_are_met),
        cmocka_unit_test(white_space_is_that_of_llama_cpp),
        cmocka_unit_test(broken_utf_8_is_cut_byte_by_byte),
        cmocka_unit_test(a_zero_byte_is_text),
        cmocka_unit_test(digits_stay_together_as_the_name_says),
        cmocka_unit_test(names_are_found_whole_and_aliases_alike),
        cmocka_unit_test(pieces_cover_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
