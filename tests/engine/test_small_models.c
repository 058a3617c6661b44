/// Proves: the real small models give the tokens and first logits that llama.cpp gives, as exactly
///           as ../shared/data/README.md says.
/// Does not prove: other models. Skips where ../shared is absent.
#include "tests/engine/fixture.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_TOKENS = 1024 };

typedef struct line {
    const char *prompt;
    int n_prompt, n_tokens, n_logits;
    int32_t prompt_tokens[MAX_TOKENS], tokens[MAX_TOKENS];
    int32_t logit_ids[MAX_TOKENS]; ///< some tokens after the prompt ..
    double logits[MAX_TOKENS];     ///< .. and their logits
} line;

static int take_ids(json_t *array, int32_t *out)
{
    int n = (int)json_array_size(array);
    assert_in_range(n, 1, MAX_TOKENS);
    for (int i = 0; i < n; i++) {
        out[i] = (int32_t)json_integer_value(json_array_get(array, (size_t)i));
    }
    return n;
}

static void parse(json_t *root, line *l)
{
    json_t *logits = json_object_get(root, "first_logits");
    l->prompt = json_string_value(json_object_get(root, "prompt"));
    l->n_prompt = take_ids(json_object_get(root, "prompt_tokens"), l->prompt_tokens);
    l->n_tokens = take_ids(json_object_get(root, "tokens"), l->tokens);
    const char *id;
    json_t *value;
    l->n_logits = 0;
    assert_in_range(json_object_size(logits), 1, MAX_TOKENS);
    json_object_foreach(logits, id, value)
    {
        l->logit_ids[l->n_logits] = (int32_t)strtol(id, NULL, 10);
        l->logits[l->n_logits++] = json_number_value(value);
    }
}

/// Follow the expected tokens greedily; the first `n_exact` must agree.
static void check_line(fixture *f, const hsdi_tokenizer *tok, const line *l, double logit_bound,
                       int n_exact, double *worst)
{
    int32_t ids[MAX_TOKENS], own[HSDI_STAGE_ROWS];
    int n;
    hsd_error err = {0};
    float *logits = calloc((size_t)HSDI_STAGE_ROWS * (size_t)f->model->n_vocab, sizeof *logits);
    assert_int_equal(hsdi_tokenizer_encode(tok, l->prompt, strlen(l->prompt), true, false, ids,
                                           MAX_TOKENS, &n, &err),
                     HSD_OK);
    assert_int_equal(n, l->n_prompt);
    assert_memory_equal(ids, l->prompt_tokens, (size_t)n * sizeof *ids);
    assert_in_range(n, 1, HSDI_STAGE_ROWS);
    fixture_pass(f, ids, 0, n, own, logits);
    const float *first = logits + (size_t)(n - 1) * (size_t)f->model->n_vocab;
    for (int i = 0; i < l->n_logits; i++) {
        double diff = fabs((double)first[l->logit_ids[i]] - l->logits[i]);
        *worst = fmax(*worst, diff);
        if (!(diff <= logit_bound)) {
            fail_msg("\"%s\": logit %d is %g, expected %g", l->prompt, l->logit_ids[i],
                     (double)first[l->logit_ids[i]], l->logits[i]);
        }
    }
    int32_t next = own[n - 1];
    int n_check = l->n_tokens < n_exact ? l->n_tokens : n_exact;
    for (int i = 0; i < n_check; i++) {
        if (next != l->tokens[i]) {
            fail_msg("\"%s\": token %d is %d, expected %d", l->prompt, i, next, l->tokens[i]);
        }
        fixture_pass(f, &l->tokens[i], n + i, 1, &next, NULL);
    }
    free(logits);
}

static void check_file(const char *name, double logit_bound, int n_exact)
{
    char gguf[256], path[256];
    snprintf(gguf, sizeof gguf, "../shared/data/models/%s.gguf", name);
    snprintf(path, sizeof path, "../shared/data/models/%s.expected.jsonl", name);
    char *text = fixture_read(path);
    if (!text) {
        skip();
        return;
    }
    fixture f;
    hsdi_tokenizer *tok;
    hsd_error err = {0};
    double worst = 0.0;
    int n_lines = 0;
    fixture_open(&f, gguf, hsdi_isa_detect(), 1, 0);
    assert_int_equal(hsdi_tokenizer_create(f.model->gguf, &tok, &err), HSD_OK);
    char *rest = text;
    for (char *row; (row = strtok_r(rest, "\n", &rest)) != NULL; n_lines++) {
        json_error_t error;
        json_t *root = json_loads(row, 0, &error);
        assert_non_null(root);
        line *l = calloc(1, sizeof *l);
        parse(root, l);
        check_line(&f, tok, l, logit_bound, n_exact, &worst);
        free(l);
        json_decref(root);
    }
    print_message("%s: %d texts, largest difference of a first logit %.2e\n", name, n_lines, worst);
    assert_true(n_lines > 0);
    hsdi_tokenizer_destroy(&tok);
    fixture_close(&f);
    free(text);
}

static void f32_files_give_every_token(void **state)
{
    (void)state;
    check_file("stories260K-f32", 1e-3, MAX_TOKENS);
    check_file("babyllama105-f32", 1e-3, MAX_TOKENS);
}

static void f16_files_give_the_first_thirty_tokens(void **state)
{
    (void)state;
    check_file("stories260K-f16", 0.05, 30);
}

static void quantised_files_give_the_first_thirty_tokens(void **state)
{
    (void)state;
    check_file("babyllama105-q8_0", 0.05, 30);
    check_file("babyllama105-q4_0", 0.1, 30);
}

int main(void)
{
    if (access("../shared/data/models", R_OK) != 0) {
        print_message("skipped: ../shared/data/models is absent\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_files_give_every_token),
        cmocka_unit_test(f16_files_give_the_first_thirty_tokens),
        cmocka_unit_test(quantised_files_give_the_first_thirty_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
