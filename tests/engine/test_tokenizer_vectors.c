/// Proves:
///   - ids equal llama.cpp's on its own test texts for the GPT-2, Llama and StarCoder vocabularies
///   - ids of the prompts that llama.cpp continued equal the recorded ones
///   - ids in the shipped vocabulary equal those of Hugging Face tokenizers
///   - decoding those ids gives the texts back
/// Does not prove: anything about vocabularies that are not at hand; files that are absent are
/// skipped, and the whole program when none is there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/engine/test_tokenizer_common.h"

#define DATA "../shared/data/models/"

static int n_compared;

// The file's tokenizer, NULL when the file is absent.
static hsdi_tokenizer *load(const char *path)
{
    hsdi_gguf *g = NULL;
    hsdi_tokenizer *tok = NULL;
    hsd_error err = {0};
    hsd_status s = hsdi_gguf_open(path, &g, &err);
    if (s == HSD_EIO) {
        return NULL;
    }
    if (s != HSD_OK || hsdi_tokenizer_create(g, &tok, &err) != HSD_OK) {
        fail_msg("%s: %s: %s", path, err.where, err.message);
    }
    hsdi_gguf_close(&g);
    return tok;
}

// The whole file, terminated; owned by the caller.
static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *n, f), *n);
    text[*n] = 0;
    fclose(f);
    return text;
}

static int parse_ids(char *line, int32_t *ids, int cap)
{
    int n = 0;
    for (char *save, *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        assert_in_range(n, 0, cap - 1);
        ids[n++] = (int32_t)strtol(word, NULL, 10);
    }
    return n;
}

static void expect_decoded(const hsdi_tokenizer *tok, const int32_t *ids, int n_ids,
                           const char *text, size_t n_text)
{
    size_t n;
    char *back = decode(tok, ids, n_ids, false, &n);
    size_t lead = n_ids > 0 && hsdi_tokenizer_adds_space(tok); // the space put before the text
    assert_int_equal(n, n_text + lead);
    assert_memory_equal(back + lead, text, n_text);
    free(back);
}

static void compare_vocabulary(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[256];
    size_t n_in, n_out;
    snprintf(path, sizeof path, DATA "%s", name);
    hsdi_tokenizer *tok = load(path);
    if (!tok) {
        skip();
    }
    snprintf(path, sizeof path, DATA "%s.inp", name);
    char *in = slurp(path, &n_in);
    snprintf(path, sizeof path, DATA "%s.out", name);
    char *out = slurp(path, &n_out);
    char *line = out;
    int n_texts = 0;
    for (char *text = in; text < in + n_in;) {
        char *end = strstr(text, separator);
        size_t n_text = end ? (size_t)(end - text) : strlen(text);
        int32_t want[512];
        char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        *line_end = 0;
        int n_want = parse_ids(line, want, 512);
        expect_ids(tok, text, n_text, false, false, want, n_want);
        expect_decoded(tok, want, n_want, text, n_text);
        line = line_end + 1;
        text += n_text + (end ? strlen(separator) : 0);
        n_texts++;
    }
    assert_true(n_texts > 40);
    n_compared += n_texts;
    free(in);
    free(out);
    hsdi_tokenizer_destroy(&tok);
}

static void gpt_2_ids_are_those_of_llama_cpp(void **state)
{
    (void)state;
    compare_vocabulary("ggml-vocab-gpt-2.gguf");
}

static void llama_ids_are_those_of_llama_cpp(void **state)
{
    (void)state;
    compare_vocabulary("ggml-vocab-llama-spm.gguf");
}

static void starcoder_ids_are_those_of_llama_cpp(void **state)
{
    (void)state;
    compare_vocabulary("ggml-vocab-starcoder.gguf");
}

static int ids_of(const json_t *list, int32_t *ids, int cap)
{
    size_t n = json_array_size(list);
    assert_in_range(n, 0, (size_t)cap);
    for (size_t i = 0; i < n; i++) {
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    }
    return (int)n;
}

static void compare_prompts(const char *model, const char *expected)
{
    char path[256];
    size_t n;
    snprintf(path, sizeof path, DATA "%s.gguf", model);
    hsdi_tokenizer *tok = load(path);
    if (!tok) {
        skip();
    }
    snprintf(path, sizeof path, DATA "%s", expected);
    char *text = slurp(path, &n);
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        int32_t want[2048];
        json_t *entry = json_loads(line, 0, NULL);
        assert_non_null(entry);
        const char *prompt = json_string_value(json_object_get(entry, "prompt"));
        int n_want = ids_of(json_object_get(entry, "prompt_tokens"), want, 2048);
        expect_ids(tok, prompt, strlen(prompt), true, true, want, n_want);
        n_want = ids_of(json_object_get(entry, "tokens"), want, 2048);
        const char *continued = json_string_value(json_object_get(entry, "text"));
        size_t n_back;
        char *back = decode(tok, want, n_want, true, &n_back); // recorded with names
        assert_int_equal(n_back, strlen(continued));
        assert_memory_equal(back, continued, n_back);
        free(back);
        json_decref(entry);
        n_compared++;
    }
    free(text);
    hsdi_tokenizer_destroy(&tok);
}

static void prompts_have_the_recorded_ids(void **state)
{
    (void)state;
    compare_prompts("stories260K-f32", "stories260K-f32.expected.jsonl");
    compare_prompts("stories260K-f16", "stories260K-f16.expected.jsonl");
    compare_prompts("babyllama105-f32", "babyllama105-f32.expected.jsonl");
    compare_prompts("babyllama105-q8_0", "babyllama105-q8_0.expected.jsonl");
    compare_prompts("babyllama105-q4_0", "babyllama105-q4_0.expected.jsonl");
}

static void the_shipped_vocabulary_has_the_ids_of_hugging_face(void **state)
{
    (void)state;
    hsdi_tokenizer *tok = load("models/hsd-story-target.gguf");
    json_t *list = json_load_file("tests/reference/fixtures/story_tokens.json", 0, NULL);
    if (!tok || !list) {
        skip();
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        int32_t want[4096];
        const json_t *entry = json_array_get(list, i);
        const json_t *text = json_object_get(entry, "text");
        int n_want = ids_of(json_object_get(entry, "tokens"), want, 4096);
        expect_ids(tok, json_string_value(text), json_string_length(text), false, true, want,
                   n_want);
        n_compared++;
    }
    json_decref(list);
    hsdi_tokenizer_destroy(&tok);
}

static void the_shipped_pair_shares_one_vocabulary(void **state)
{
    (void)state;
    hsdi_tokenizer *a = load("models/hsd-story-target.gguf");
    hsdi_tokenizer *b = load("models/hsd-story-draft.gguf");
    if (!a || !b) {
        skip();
    }
    assert_int_equal(hsdi_tokenizer_compare(a, b, NULL, NULL), HSD_OK);
    assert_true(hsdi_tokenizer_hash(a) == hsdi_tokenizer_hash(b));
    n_compared++;
    hsdi_tokenizer_destroy(&a);
    hsdi_tokenizer_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt_2_ids_are_those_of_llama_cpp),
        cmocka_unit_test(llama_ids_are_those_of_llama_cpp),
        cmocka_unit_test(starcoder_ids_are_those_of_llama_cpp),
        cmocka_unit_test(prompts_have_the_recorded_ids),
        cmocka_unit_test(the_shipped_vocabulary_has_the_ids_of_hugging_face),
        cmocka_unit_test(the_shipped_pair_shares_one_vocabulary),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    return n_failed == 0 && n_compared == 0 ? 77 : n_failed;
}
