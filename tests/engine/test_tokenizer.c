/// Proves:
///   - ids of hand-made vocabularies: merges by rank and by score, ties from the left, byte
///     fallback, space prefix, whole words, special and user-defined tokens
///   - any bytes come back from byte-level BPE; hostile and long texts end quickly
///   - damaged vocabularies are refused with the key's name
///   - two vocabularies that differ are told apart at the first token that does
/// Does not prove: agreement with other implementations, see test_tokenizer_vectors.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/engine/test_tokenizer_common.h"

#define IDS(...) (const int32_t[]){__VA_ARGS__}, (int)(sizeof(int32_t[]){__VA_ARGS__} / 4)

static void expect(const hsdi_tokenizer *tok, const char *text, const int32_t *want, int n)
{
    expect_ids(tok, text, strlen(text), false, false, want, n);
}

static void bpe_merges_by_rank(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = "gpt-2"}));
    assert_int_equal(hsdi_tokenizer_model_of(tok), HSDI_TOKENIZER_BPE);
    assert_int_equal(hsdi_tokenizer_n_vocab(tok), TINY_N_BPE);
    expect(tok, "hello", IDS(TINY_HELLO));
    expect(tok, "hell", IDS(TINY_HELL));
    expect(tok, "hel", IDS(TINY_HE, 'l'));
    expect(tok, "hello world", IDS(TINY_HELLO, TINY_SPACE_W, 'o', 'r', 'l', 'd'));
    expect(tok, "\xC3\xA9", IDS(TINY_E_ACUTE));
    hsdi_tokenizer_destroy(&tok);
    assert_null(tok);
    hsdi_tokenizer_destroy(&tok);
}

static void equal_ranks_merge_from_the_left(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = "gpt-2"}));
    expect(tok, "aaa", IDS(TINY_AA, 'a'));
    expect(tok, "aaaaa", IDS(TINY_AAAA, 'a'));
    expect(tok, "aaaaaaa", IDS(TINY_AAAA, TINY_AA, 'a'));
    hsdi_tokenizer_destroy(&tok);
}

static void merges_that_are_no_token_fall_back_to_bytes(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = "gpt-2"}));
    expect(tok, "xyz", IDS('x', 'y', 'z'));
    expect(tok, "axyzhe", IDS('a', 'x', 'y', 'z', TINY_HE));
    hsdi_tokenizer_destroy(&tok);
}

// A BPE vocabulary of these tokens and merges; NULL ends each list.
static hsdi_tokenizer *make_bpe(const char *const *words, const char *const *merges)
{
    const char *const *lists[] = {words, merges};
    gguf_writer w = {0};
    gw_header(&w, 0, 4);
    gw_kv_str(&w, "tokenizer.ggml.model", "gpt2");
    gw_kv_str(&w, "tokenizer.ggml.pre", "gpt-2");
    for (int i = 0; i < 2; i++) {
        uint64_t n = 0;
        while (lists[i][n]) {
            n++;
        }
        gw_key_array(&w, i == 0 ? "tokenizer.ggml.tokens" : "tokenizer.ggml.merges",
                     HSDI_GGUF_STRING, n);
        for (uint64_t k = 0; k < n; k++) {
            gw_str(&w, lists[i][k]);
        }
    }
    return make_tokenizer(w);
}

static void the_first_of_equal_merges_holds(void **state)
{
    (void)state;
    const char *const words[] = {"a", "b", "c", "ab", "bc", NULL};
    const char *const merges[] = {"a b", "b c", "a b", NULL};
    hsdi_tokenizer *tok = make_bpe(words, merges);
    expect(tok, "abc", IDS(3, 2));
    hsdi_tokenizer_destroy(&tok);
}

static void a_byte_without_a_token_merges_and_is_dropped_alone(void **state)
{
    (void)state;
    const char *const words[] = {"x", "xy", NULL};
    const char *const merges[] = {"x y", NULL};
    hsdi_tokenizer *tok = make_bpe(words, merges);
    expect(tok, "xyx", IDS(1, 0));
    expect(tok, "xz", IDS(0)); // as llama.cpp does: there is nothing to give
    hsdi_tokenizer_destroy(&tok);
}

static void spm_merges_by_score_and_adds_a_space(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_spm((tiny_options){0}));
    expect(tok, "hello", IDS(TINY_SPM_SPACE_HELLO));
    expect(tok, "hello hello", IDS(TINY_SPM_SPACE_HELLO, TINY_SPM_SPACE_HELLO));
    expect(tok, "llo", IDS(TINY_SPM_SPACE, TINY_SPM_LLO));
    expect(tok, "lll", IDS(TINY_SPM_SPACE, TINY_SPM_LL, TINY_SPM_L));
    expect(tok, "\xC3\xA9z", IDS(TINY_SPM_SPACE, TINY_SPM_E_ACUTE, 3 + 'z'));
    expect(tok, "\xE2\x82\xAC", IDS(TINY_SPM_SPACE, 3 + 0xE2, 3 + 0x82, 3 + 0xAC));
    expect_ids(tok, "", 0, true, true, IDS(1));
    expect_ids(tok, NULL, 0, false, true, NULL, 0);
    hsdi_tokenizer_destroy(&tok);
    tok = make_tokenizer(tiny_spm((tiny_options){.add_space = -1, .add_bos = -1}));
    expect_ids(tok, "hello", 5, true, false, IDS(TINY_SPM_HELLO));
    hsdi_tokenizer_destroy(&tok);
}

static void scores_of_plus_and_minus_zero_are_equal(void **state)
{
    (void)state;
    static const char *const words[] = {"<unk>", "<s>", "</s>", "a", "b", "c", "ab", "bc"};
    gguf_writer w = {0};
    gw_header(&w, 0, 4);
    gw_kv_str(&w, "tokenizer.ggml.model", "llama");
    gw_kv_bool(&w, "tokenizer.ggml.add_space_prefix", 0);
    gw_key_array(&w, "tokenizer.ggml.tokens", HSDI_GGUF_STRING, 8);
    for (int i = 0; i < 8; i++) {
        gw_str(&w, words[i]);
    }
    gw_key_array(&w, "tokenizer.ggml.scores", HSDI_GGUF_F32, 8);
    for (int i = 0; i < 8; i++) {
        gw_f32(&w, i == 6 ? -0.0F : 0.0F);
    }
    hsdi_tokenizer *tok = make_tokenizer(w);
    expect(tok, "abc", IDS(6, 5)); // a tie, so the left pair
    hsdi_tokenizer_destroy(&tok);
}

static void a_token_with_a_space_inside_is_found_across_words(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_spm((tiny_options){.renamed = "o\xE2\x96\x81"}));
    expect(tok, "ho ho",
           IDS(TINY_SPM_SPACE, TINY_SPM_H, TINY_SPM_SPACE_HELLO, TINY_SPM_H,
               TINY_SPM_O)); // the renamed token keeps its id
    hsdi_tokenizer_destroy(&tok);
}

static void special_tokens_are_recognised_only_when_asked_for(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = "gpt-2"}));
    const char *text = "he<|im_end|>he";
    expect_ids(tok, text, strlen(text), false, true, IDS(TINY_HE, TINY_IM_END, TINY_HE));
    expect(tok, "<|im", IDS('<', '|', 'i', 'm'));
    // The longest wins, wherever it stands.
    expect_ids(tok, "<|im<|im_end|>", 14, false, true, IDS(TINY_IM, TINY_IM_END));
    expect_ids(tok, "<|im_en", 7, false, true, IDS(TINY_IM, '_', 'e', 'n'));
    expect_ids(tok, "<|i", 3, false, true, IDS('<', '|', 'i'));
    expect_ids(tok, "]]<|im_end|>]]<|", 16, false, true, IDS(']', ']', TINY_IM_END, TINY_TAIL));
    expect(tok, "he[[user]]", IDS(TINY_HE, TINY_USER));
    expect(tok, "[[user]][[user]]", IDS(TINY_USER, TINY_USER));
    hsdi_tokenizer_destroy(&tok);
}

static void a_text_after_a_special_token_gets_a_space_again(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_spm((tiny_options){0}));
    expect_ids(tok, "hello</s>hello", 14, true, true,
               IDS(1, TINY_SPM_SPACE_HELLO, 2, TINY_SPM_SPACE_HELLO));
    expect_ids(tok, "[[user]]hello", 13, false, false, IDS(TINY_SPM_USER, TINY_SPM_SPACE_HELLO));
    hsdi_tokenizer_destroy(&tok);
}

static void whole_words_skip_merging_in_llama_3(void **state)
{
    (void)state;
    // The last word cannot be reached by merges: they end at "aaaa".
    tiny_options o = {.pre = "llama-bpe", .renamed = "qrs"};
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe(o));
    expect(tok, "qrs", IDS(TINY_AAAA));
    expect_ids(tok, "he", 2, true, false, IDS(TINY_EOT, TINY_HE)); // adds BOS by its name
    hsdi_tokenizer_destroy(&tok);
    o.pre = "qwen2";
    tok = make_tokenizer(tiny_bpe(o));
    expect(tok, "qrs", IDS('q', 'r', 's'));
    expect_ids(tok, "he", 2, true, false, IDS(TINY_HE));
    hsdi_tokenizer_destroy(&tok);
}

static void special_ids_and_ends_are_known(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.end_type = 1}));
    assert_int_equal(hsdi_tokenizer_bos(tok), TINY_EOT);
    assert_int_equal(hsdi_tokenizer_eos(tok), TINY_EOT);
    assert_int_equal(hsdi_tokenizer_eot(tok), TINY_IM_END);
    assert_true(hsdi_tokenizer_is_eog(tok, TINY_EOT));
    // The name makes it an end and a control token, whatever type the file gives it.
    assert_true(hsdi_tokenizer_is_eog(tok, TINY_IM_END));
    assert_true(hsdi_tokenizer_is_control(tok, TINY_IM_END));
    assert_false(hsdi_tokenizer_is_eog(tok, TINY_IM));
    assert_true(hsdi_tokenizer_is_control(tok, TINY_IM));
    assert_false(hsdi_tokenizer_is_control(tok, TINY_USER));
    assert_false(hsdi_tokenizer_is_eog(tok, -1) || hsdi_tokenizer_is_eog(tok, TINY_N_BPE));
    hsdi_tokenizer_destroy(&tok);
    tok = make_tokenizer(tiny_spm((tiny_options){0}));
    assert_int_equal(hsdi_tokenizer_bos(tok), 1);
    assert_int_equal(hsdi_tokenizer_eos(tok), 2);
    assert_int_equal(hsdi_tokenizer_eot(tok), -1);
    assert_true(hsdi_tokenizer_is_eog(tok, 2));
    hsdi_tokenizer_destroy(&tok);
}

static void pieces_are_decoded_bytes(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){0}));
    const char *p;
    int n;
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_SPACE_W, false, &p, &n), HSD_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(p, " w", 2);
    assert_int_equal(hsdi_tokenizer_piece(tok, 0, false, &p, &n), HSD_OK);
    assert_true(n == 1 && p[0] == 0);
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_EOT, false, &p, &n), HSD_OK);
    assert_int_equal(n, 0);
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_EOT, true, &p, &n), HSD_OK);
    assert_memory_equal(p, "<|endoftext|>", 13);
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_USER, false, &p, &n), HSD_OK);
    assert_int_equal(n, 8);
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_N_BPE, true, &p, &n), HSD_EINVAL);
    assert_int_equal(hsdi_tokenizer_piece(tok, -1, true, &p, &n), HSD_EINVAL);
    hsdi_tokenizer_destroy(&tok);
    tok = make_tokenizer(tiny_spm((tiny_options){0}));
    assert_int_equal(hsdi_tokenizer_piece(tok, TINY_SPM_SPACE_HELLO, false, &p, &n), HSD_OK);
    assert_int_equal(n, 6);
    assert_memory_equal(p, " hello", 6);
    assert_int_equal(hsdi_tokenizer_piece(tok, 3 + 0xFF, false, &p, &n), HSD_OK);
    assert_true(n == 1 && (uint8_t)p[0] == 0xFF);
    hsdi_tokenizer_destroy(&tok);
}

static void too_little_room_still_tells_the_count(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = "gpt-2"}));
    int32_t ids[3] = {-7, -7, -7};
    int n = 0;
    hsd_error err;
    assert_int_equal(hsdi_tokenizer_encode(tok, "world", 5, false, false, ids, 2, &n, &err),
                     HSD_ETOOLONG);
    assert_int_equal(n, 5);
    assert_true(ids[0] == 'w' && ids[1] == 'o' && ids[2] == -7);
    assert_int_equal(hsdi_tokenizer_encode(tok, "world", 5, false, false, NULL, 0, &n, &err),
                     HSD_ETOOLONG);
    assert_int_equal(n, 5);
    assert_int_equal(hsdi_tokenizer_encode(tok, NULL, 5, false, false, ids, 2, &n, &err),
                     HSD_EINVAL);
    hsdi_tokenizer_destroy(&tok);
}

static void expect_round_trip(const hsdi_tokenizer *tok, const char *text, size_t n_text)
{
    int n = 0;
    int32_t *ids = malloc((n_text + 2) * sizeof *ids);
    size_t n_back;
    assert_non_null(ids);
    assert_int_equal(
        hsdi_tokenizer_encode(tok, text, n_text, false, false, ids, (int)n_text + 2, &n, NULL),
        HSD_OK);
    char *back = decode(tok, ids, n, false, &n_back);
    assert_int_equal(n_back, n_text);
    assert_memory_equal(back, text, n_text);
    free(back);
    free(ids);
}

static void any_bytes_come_back_from_bpe(void **state)
{
    (void)state;
    static const char *const pres[] = {"default", "gpt-2", "llama-bpe", "qwen2", "smollm"};
    for (size_t p = 0; p < sizeof pres / sizeof pres[0]; p++) {
        hsdi_tokenizer *tok = make_tokenizer(tiny_bpe((tiny_options){.pre = pres[p]}));
        uint32_t seed = 12345;
        for (int round = 0; round < 400; round++) {
            char text[64];
            size_t n = (size_t)round % sizeof text;
            for (size_t i = 0; i < n; i++) {
                seed = seed * 1664525 + 1013904223;
                // Half of the rounds are any bytes, half mostly text and white space.
                text[i] = (char)(round & 1 ? seed >> 24 : (uint8_t) " \n'sh1\xC3\xA9"[seed >> 29]);
            }
            expect_round_trip(tok, text, n);
        }
        hsdi_tokenizer_destroy(&tok);
    }
}

static void a_long_text_of_one_kind_ends(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    static const char *const fills[] = {"a", " ", "\n ", "\xFF", "1", "'", "<|im", "\xC3"};
    char *text = malloc(N);
    assert_non_null(text);
    hsdi_tokenizer *bpe = make_tokenizer(tiny_bpe((tiny_options){.pre = "llama-bpe"}));
    hsdi_tokenizer *spm = make_tokenizer(tiny_spm((tiny_options){0}));
    for (size_t f = 0; f < sizeof fills / sizeof fills[0]; f++) {
        for (size_t i = 0; i < N; i++) {
            text[i] = fills[f][i % strlen(fills[f])];
        }
        int n;
        expect_round_trip(bpe, text, N);
        assert_int_equal(hsdi_tokenizer_encode(spm, text, N, true, true, NULL, 0, &n, NULL),
                         HSD_ETOOLONG);
        assert_in_range(n, N / 6, 3 * N + 4);
    }
    hsdi_tokenizer_destroy(&bpe);
    hsdi_tokenizer_destroy(&spm);
    free(text);
}

static void compare(tiny_options a, tiny_options b, hsd_status want, int32_t want_id,
                    const char *needle)
{
    hsdi_tokenizer *x = make_tokenizer(tiny_bpe(a)), *y = make_tokenizer(tiny_bpe(b));
    hsd_error err = {0};
    int32_t id = 99;
    assert_int_equal(hsdi_tokenizer_compare(x, y, &id, &err), want);
    assert_int_equal(id, want_id);
    assert_non_null(strstr(err.message, needle));
    assert_int_equal(hsdi_tokenizer_hash(x) == hsdi_tokenizer_hash(y), want == HSD_OK);
    hsdi_tokenizer_destroy(&x);
    hsdi_tokenizer_destroy(&y);
}

static void vocabularies_are_compared_token_by_token(void **state)
{
    (void)state;
    compare((tiny_options){0}, (tiny_options){.pre = "gpt-2"}, HSD_OK, -1, "");
    compare((tiny_options){0}, (tiny_options){.renamed = "b\x01"}, HSD_EVOCAB, TINY_AAAA,
            "token 263 is \"aaaa\" (type 1) in one and \"b\\x01\" (type 1)");
    hsdi_tokenizer *bpe = make_tokenizer(tiny_bpe((tiny_options){0}));
    hsdi_tokenizer *spm = make_tokenizer(tiny_spm((tiny_options){0}));
    hsd_error err;
    assert_int_equal(hsdi_tokenizer_compare(bpe, spm, NULL, &err), HSD_EVOCAB);
    hsdi_tokenizer_destroy(&bpe);
    hsdi_tokenizer_destroy(&spm);
}

static void expect_refused(gguf_writer w, hsd_status status, const char *needle)
{
    hsdi_gguf *g = NULL;
    hsdi_tokenizer *tok = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_gguf_open_memory(w.data, w.n, &g, &err), HSD_OK);
    hsd_status s = hsdi_tokenizer_create(g, &tok, &err);
    if (s != status || !strstr(err.message, needle)) {
        fail_msg("%s: %s, wanted %s", hsd_status_name(s), err.message, needle);
    }
    assert_null(tok);
    hsdi_gguf_close(&g);
    free(w.data);
}

// A file with these keys and a vocabulary of two tokens, "a" and "b".
static gguf_writer two_tokens(const char *model, uint64_t n_extra)
{
    gguf_writer w = {0};
    gw_header(&w, 0, 2 + n_extra);
    gw_kv_str(&w, "tokenizer.ggml.model", model);
    gw_key_array(&w, "tokenizer.ggml.tokens", HSDI_GGUF_STRING, 2);
    gw_str(&w, "a");
    gw_str(&w, "b");
    return w;
}

static void damaged_vocabularies_are_refused_by_key(void **state)
{
    (void)state;
    gguf_writer w = {0};
    gw_header(&w, 0, 0);
    expect_refused(w, HSD_EFORMAT, "the key tokenizer.ggml.model is missing");
    expect_refused(two_tokens("bert", 0), HSD_EUNSUPPORTED, "model \"bert\" is not supported");
    expect_refused(two_tokens("gpt2", 0), HSD_EFORMAT, "tokenizer.ggml.merges is missing");
    expect_refused(tiny_bpe((tiny_options){.pre = "tekken"}), HSD_EUNSUPPORTED, "\"tekken\"");
    expect_refused(tiny_bpe((tiny_options){.pre = "gpt-2 mpt"}), HSD_EUNSUPPORTED, "gpt-2 mpt");
    w = two_tokens("gpt2", 1);
    gw_key_array(&w, "tokenizer.ggml.merges", HSDI_GGUF_STRING, 1);
    gw_str(&w, "ab");
    expect_refused(w, HSD_EFORMAT, "merge 0 (ab) is not two texts");
    w = two_tokens("llama", 1);
    gw_key_array(&w, "tokenizer.ggml.scores", HSDI_GGUF_F32, 1);
    gw_f32(&w, 0);
    expect_refused(w, HSD_EFORMAT, "tokenizer.ggml.scores has 1 entries for 2 tokens");
    w = two_tokens("llama", 1);
    gw_key_array(&w, "tokenizer.ggml.scores", HSDI_GGUF_F32, 2);
    gw_u64(&w, UINT64_MAX); // two NaN
    expect_refused(w, HSD_EFORMAT, "token 0 has no valid score");
    w = two_tokens("llama", 1);
    gw_key_array(&w, "tokenizer.ggml.token_type", HSDI_GGUF_I32, 2);
    gw_u32(&w, 1);
    gw_u32(&w, 7);
    expect_refused(w, HSD_EFORMAT, "token 1 has no valid type");
    w = two_tokens("llama", 1);
    gw_kv_bool(&w, "tokenizer.ggml.add_eos_token", 1);
    expect_refused(w, HSD_EFORMAT, "does not say which");
    w = (gguf_writer){0};
    gw_header(&w, 0, 2);
    gw_kv_str(&w, "tokenizer.ggml.model", "llama");
    gw_key_array(&w, "tokenizer.ggml.tokens", HSDI_GGUF_STRING, 0);
    expect_refused(w, HSD_EFORMAT, "a vocabulary of 0 tokens");
}

static void a_vocabulary_without_bytes_gives_the_unknown_token(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = make_tokenizer(two_tokens("llama", 0)); // id 0 is <unk> by default
    expect(tok, "bz", IDS(0, 0, 0, 1, 0));                        // U+2581 has three bytes
    hsdi_tokenizer_destroy(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_merges_by_rank),
        cmocka_unit_test(equal_ranks_merge_from_the_left),
        cmocka_unit_test(merges_that_are_no_token_fall_back_to_bytes),
        cmocka_unit_test(the_first_of_equal_merges_holds),
        cmocka_unit_test(a_byte_without_a_token_merges_and_is_dropped_alone),
        cmocka_unit_test(spm_merges_by_score_and_adds_a_space),
        cmocka_unit_test(scores_of_plus_and_minus_zero_are_equal),
        cmocka_unit_test(a_token_with_a_space_inside_is_found_across_words),
        cmocka_unit_test(special_tokens_are_recognised_only_when_asked_for),
        cmocka_unit_test(a_text_after_a_special_token_gets_a_space_again),
        cmocka_unit_test(whole_words_skip_merging_in_llama_3),
        cmocka_unit_test(special_ids_and_ends_are_known),
        cmocka_unit_test(pieces_are_decoded_bytes),
        cmocka_unit_test(too_little_room_still_tells_the_count),
        cmocka_unit_test(any_bytes_come_back_from_bpe),
        cmocka_unit_test(a_long_text_of_one_kind_ends),
        cmocka_unit_test(vocabularies_are_compared_token_by_token),
        cmocka_unit_test(damaged_vocabularies_are_refused_by_key),
        cmocka_unit_test(a_vocabulary_without_bytes_gives_the_unknown_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
