/// Proves: with --cache el, and with layers of both layouts, the tokens of a session in every mode,
///           with every draft, greedy and sampled, equal those of mode ar in the same layout.
///         Greedy texts of the shipped pair are those of keys and values, but for near-ties: where
///           they part, both tokens' logits lie within the bound of test_el.c of each other.
///         Cache bytes are exactly half. A bounded memory makes as few layers as needed keep their
///           input; what does not fit, and models that the layout is wrong for, are refused before
///           anything runs, with sizes or the reason.
///         All of the first also holds for caches of type f16 and q8_0, in both layouts, with
///         drafts
///           of the same type or another; their bytes are as the types say.
/// Does not prove: devices, see test_el.c.
#include "tests/engine/fixture.h"

#include <hsd/hsd.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 64, N_PROMPTS = 4 };

static const char *const prompts[N_PROMPTS] = {
    "Once upon a time",
    "### User:\nWhat is 12 + 30?\n\n### Assistant:\n",
    "The wolf said to the lamb, \"The wolf said to",
    "A king had three daughters",
};

static const hsd_sampling samplings[] = {
    {.top_p = 1.0f},
    {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .seed = 12},
    {.top_p = 1.0f, .repeat_penalty = 1.1f, .no_repeat_ngram = 3},
};

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
    hsd_stats stats;
} text;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static const char *target_path; ///< NULL: the shipped pair

static hsd_engine *open_engine(hsd_cache_layout target, hsd_cache_layout draft, int64_t memory)
{
    hsd_engine_options options;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = target_path;
    options.cache_layout = target;
    options.draft_cache_layout = draft;
    options.cache_memory_bytes = memory;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_engine *open_typed(hsd_cache_layout layout, hsd_cache_type target, hsd_cache_type draft)
{
    hsd_engine_options options;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.cache_layout = layout;
    options.cache_type = target;
    options.draft_cache_type = draft;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static text generate(hsd_engine *engine, const hsd_session_options *how, const char *prompt)
{
    text out = {0};
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_token token;
    hsd_session_options options = *how;
    options.n_tokens = N_TOKENS;
    options.ignore_eos = true;
    must(hsd_session_open(engine, &options, &session, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    hsd_status status;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            out.tokens[out.n++] = token.id;
        }
    }
    if (status != HSD_EEND) {
        must(status, &err);
    }
    hsd_session_stats(session, &out.stats);
    hsd_session_close(&session);
    return out;
}

static void must_be_equal(const text *want, const text *got, const char *what)
{
    for (int i = 0; i < want->n || i < got->n; i++) {
        if (i >= want->n || i >= got->n || want->tokens[i] != got->tokens[i]) {
            fail_msg("%s: token %d is %d, not %d; %d and %d tokens", what, i,
                     i < got->n ? got->tokens[i] : -1, i < want->n ? want->tokens[i] : -1, got->n,
                     want->n);
        }
    }
}

/// Every mode, draft and sampling on one engine.
static void check_modes(hsd_engine *engine, const char *name)
{
    static const hsd_draft_kind kinds[] = {HSD_DRAFT_MODEL, HSD_DRAFT_NGRAM, HSD_DRAFT_EARLY_EXIT};
    for (size_t s = 0; s < sizeof samplings / sizeof *samplings; s++) {
        const char *prompt = prompts[s % N_PROMPTS];
        hsd_session_options how;
        hsd_session_options_init(&how);
        how.sampling = samplings[s];
        how.n_ctx = 200; // with a bounded memory drafts need some of it
        how.mode = HSD_MODE_AR;
        text want = generate(engine, &how, prompt);
        assert_int_equal(want.n, N_TOKENS);
        for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_ASYNC; mode++) {
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
                char what[96];
                how.mode = (hsd_mode)mode;
                how.draft_kind = kinds[k];
                how.tree = k == 0 ? 12 : 0;
                how.window = k == 0 ? 4 : 0;
                snprintf(what, sizeof what, "%s, mode %s, draft %s, sampling %zu", name,
                         hsd_mode_name(how.mode), hsd_draft_kind_name(kinds[k]), s);
                text got = generate(engine, &how, prompt);
                must_be_equal(&want, &got, what);
            }
        }
    }
}

static void modes_agree_within_a_layout(void **state)
{
    (void)state;
    hsd_engine *el = open_engine(HSD_CACHE_LAYOUT_EL, HSD_CACHE_LAYOUT_EL, 0);
    check_modes(el, "el");
    hsd_engine_close(&el);
    hsd_engine *half = open_engine(HSD_CACHE_LAYOUT_EL, HSD_CACHE_LAYOUT_KV, 0);
    check_modes(half, "el with a draft of kv");
    hsd_engine_close(&half);
}

static int64_t bytes_of(hsd_cache_layout layout, int64_t memory, int *n_el)
{
    hsd_session_options how;
    hsd_session_options_init(&how);
    how.mode = HSD_MODE_AR;
    hsd_engine *engine = open_engine(layout, HSD_CACHE_LAYOUT_KV, memory);
    text t = generate(engine, &how, "A");
    hsd_engine_close(&engine);
    *n_el = t.stats.n_el_layers;
    return t.stats.cache_bytes;
}

static void the_cache_takes_half_of_the_bytes(void **state)
{
    (void)state;
    int n_none, n_all;
    int64_t kv = bytes_of(HSD_CACHE_LAYOUT_KV, 0, &n_none);
    int64_t el = bytes_of(HSD_CACHE_LAYOUT_EL, 0, &n_all);
    print_message("%lld and %lld bytes\n", (long long)kv, (long long)el);
    assert_true(el > 0 && kv == 2 * el);
    assert_int_equal(n_none, 0);
    assert_true(n_all > 0);
}

static void a_bounded_memory_makes_as_few_layers_as_needed_keep_their_input(void **state)
{
    (void)state;
    int n_layers, n_el;
    int64_t all = bytes_of(HSD_CACHE_LAYOUT_EL, 0, &n_layers);
    target_path = "models/hsd-story-target.gguf"; // with a draft there is less for the target
    // Room for a tree is counted, which sessions without one do not take: 33 cells of 545.
    int64_t most = all + all / 8;
    for (int i = 0; i < 3; i++) {
        int64_t memory = i == 0 ? most : i == 1 ? most + most / 2 : 2 * most;
        int64_t bytes = bytes_of(HSD_CACHE_LAYOUT_AUTO, memory, &n_el);
        print_message("%lld bytes allowed: %d of %d layers el, %lld bytes\n", (long long)memory,
                      n_el, n_layers, (long long)bytes);
        assert_true(bytes <= memory);
        assert_int_equal(bytes, 2 * all - n_el * (all / n_layers));
        assert_true(i < 2 ? n_el > 0 : n_el == 0);
        // One layer less would not have fitted, tree and all.
        assert_true(n_el == 0 || bytes + all / n_layers > memory - memory / 8);
    }
    target_path = NULL;
}

static void modes_agree_with_layers_of_both_layouts(void **state)
{
    (void)state;
    int n_layers, n_el;
    int64_t all = bytes_of(HSD_CACHE_LAYOUT_EL, 0, &n_layers), memory = all + all / 2;
    bytes_of(HSD_CACHE_LAYOUT_AUTO, memory, &n_el);
    assert_true(n_el > 0 && n_el < n_layers);
    hsd_engine *mixed = open_engine(HSD_CACHE_LAYOUT_AUTO, HSD_CACHE_LAYOUT_AUTO, memory);
    check_modes(mixed, "both layouts");
    hsd_engine_close(&mixed);
}

static void modes_agree_within_a_type(void **state)
{
    (void)state;
    static const struct {
        hsd_cache_layout layout;
        hsd_cache_type target, draft;
    } cases[] = {{HSD_CACHE_LAYOUT_KV, HSD_CACHE_F16, HSD_CACHE_F16},
                 {HSD_CACHE_LAYOUT_KV, HSD_CACHE_Q8_0, HSD_CACHE_Q8_0},
                 {HSD_CACHE_LAYOUT_KV, HSD_CACHE_F32, HSD_CACHE_Q8_0},
                 {HSD_CACHE_LAYOUT_EL, HSD_CACHE_F16, HSD_CACHE_F32},
                 {HSD_CACHE_LAYOUT_EL, HSD_CACHE_Q8_0, HSD_CACHE_F16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s in %s, draft in %s", hsd_cache_layout_name(cases[i].layout),
                 hsd_cache_type_name(cases[i].target), hsd_cache_type_name(cases[i].draft));
        hsd_engine *engine = open_typed(cases[i].layout, cases[i].target, cases[i].draft);
        check_modes(engine, name);
        hsd_engine_close(&engine);
    }
}

/// The shipped target has heads of a multiple of 32 elements.
static void a_type_takes_the_bytes_that_it_says(void **state)
{
    (void)state;
    int64_t one[HSD_N_CACHE_TYPES];
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        hsd_session_options how;
        hsd_session_options_init(&how);
        how.mode = HSD_MODE_AR;
        hsd_engine *engine = open_typed(HSD_CACHE_LAYOUT_KV, (hsd_cache_type)type, HSD_CACHE_F32);
        text t = generate(engine, &how, "A");
        hsd_engine_close(&engine);
        one[type] = t.stats.cache_token_bytes;
        assert_int_equal(t.stats.cache_bytes % t.stats.cache_token_bytes, 0);
        print_message("%s: %lld bytes, %lld per token\n", hsd_cache_type_name((hsd_cache_type)type),
                      (long long)t.stats.cache_bytes, (long long)one[type]);
    }
    assert_int_equal(one[HSD_CACHE_F16] * 2, one[HSD_CACHE_F32]);
    assert_int_equal(one[HSD_CACHE_Q8_0] * 32 * 4, one[HSD_CACHE_F32] * 34);
}

static void a_type_that_is_none_is_refused(void **state)
{
    (void)state;
    hsd_engine_options options;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.cache_type = HSD_N_CACHE_TYPES;
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_EINVAL);
    assert_string_equal(err.where, "cache_type");
}

static void expect(const hsd_engine_options *options, hsd_status want, const char *where,
                   const char *says)
{
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_status status = hsd_engine_open(options, &engine, &err);
    print_message("%s: %s: %s\n", hsd_status_name(status), err.where, err.message);
    assert_int_equal(status, want);
    assert_null(engine);
    assert_non_null(strstr(err.where, where));
    assert_non_null(strstr(err.message, says));
}

static void what_cannot_be_is_refused_at_once(void **state)
{
    (void)state;
    hsd_engine_options o;
    hsd_engine_options_init(&o);
    o.cache_memory_bytes = 1 << 20;
    expect(&o, HSD_ENOMEM, "cache_memory", "would fit");
    o.cache_layout = HSD_CACHE_LAYOUT_KV;
    o.cache_memory_bytes = 5 << 20;
    expect(&o, HSD_ENOMEM, "cache_memory", "as kv");
    o.cache_memory_bytes = -1;
    expect(&o, HSD_EINVAL, "cache_layout", "-1");
    o.cache_memory_bytes = 0;
    o.cache_layout = (hsd_cache_layout)7;
    expect(&o, HSD_EINVAL, "cache_layout", "7");
    o.cache_layout = HSD_CACHE_LAYOUT_EL;
    o.target_path = "tests/reference/fixtures/llama-gqa.gguf";
    expect(&o, HSD_EUNSUPPORTED, "cache", "rotary");
}

/// Logits with keys and values behind `n` tokens.
static float *logits_behind(const int32_t *tokens, int n, int *n_vocab)
{
    fixture f;
    int32_t own;
    fixture_open(&f, "models/hsd-story-target.gguf", hsdi_isa_detect(), 1, 0);
    *n_vocab = f.model->n_vocab;
    float *logits = calloc((size_t)*n_vocab, sizeof *logits);
    for (int i = 0; i < n; i++) {
        fixture_pass(&f, &tokens[i], i, 1, &own, logits);
    }
    fixture_close(&f);
    return logits;
}

/// Both texts up to their first difference; 0: there is none.
static void check_parting(hsd_engine *engine, const char *prompt, const text *kv, const text *el)
{
    int32_t tokens[2 * N_TOKENS];
    int n = 0, at = 0, n_vocab;
    hsd_error err = {0};
    while (at < kv->n && at < el->n && kv->tokens[at] == el->tokens[at]) {
        at++;
    }
    if (at == kv->n && at == el->n) {
        return;
    }
    must(hsd_engine_tokenize(engine, prompt, strlen(prompt), true, tokens, N_TOKENS, &n, &err),
         &err);
    memcpy(tokens + n, kv->tokens, (size_t)at * sizeof *tokens);
    float *logits = logits_behind(tokens, n + at, &n_vocab);
    double largest = 0.0;
    for (int v = 0; v < n_vocab; v++) {
        largest = fmax(largest, fabs((double)logits[v]));
    }
    double gap = (double)logits[kv->tokens[at]] - (double)logits[el->tokens[at]];
    print_message("\"%s\": token %d is %d or %d, logits %.2e of the largest apart\n", prompt, at,
                  kv->tokens[at], el->tokens[at], gap / largest);
    free(logits);
    assert_true(gap >= 0.0 && gap <= 5e-2 * largest);
}

static void texts_are_those_of_keys_and_values_but_for_near_ties(void **state)
{
    (void)state;
    hsd_engine *kv = open_engine(HSD_CACHE_LAYOUT_KV, HSD_CACHE_LAYOUT_KV, 0);
    hsd_engine *el = open_engine(HSD_CACHE_LAYOUT_EL, HSD_CACHE_LAYOUT_EL, 0);
    hsd_session_options how;
    hsd_session_options_init(&how);
    how.mode = HSD_MODE_AR;
    for (int p = 0; p < N_PROMPTS; p++) {
        text a = generate(kv, &how, prompts[p]), b = generate(el, &how, prompts[p]);
        check_parting(kv, prompts[p], &a, &b);
    }
    hsd_engine_close(&kv);
    hsd_engine_close(&el);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_agree_within_a_layout),
        cmocka_unit_test(modes_agree_with_layers_of_both_layouts),
        cmocka_unit_test(modes_agree_within_a_type),
        cmocka_unit_test(a_type_takes_the_bytes_that_it_says),
        cmocka_unit_test(a_type_that_is_none_is_refused),
        cmocka_unit_test(texts_are_those_of_keys_and_values_but_for_near_ties),
        cmocka_unit_test(the_cache_takes_half_of_the_bytes),
        cmocka_unit_test(a_bounded_memory_makes_as_few_layers_as_needed_keep_their_input),
        cmocka_unit_test(what_cannot_be_is_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
