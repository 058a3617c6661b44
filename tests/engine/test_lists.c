/// Proves: from a list of the best logits the sampler picks the token, and lists the candidates,
///           that it does from all logits: greedy and drawn with top-k, top-p and min-p, with ties,
///           -inf and NaN; settings for which no list will do are told apart.
///         On OpenCL and Level Zero, target stages and drafts that get lists, of the best or
///           drawn there, say the tokens, proxies and candidates of those that get logits, for the
///           same rows: with every rule, alone and together.
/// Does not prove: that the lists are right: tests/devices/test_top.c.
#include "tests/accelerator.h"
#include "tests/engine/fixture.h"

#include "base/rng.h"
#include "engine/sampler.h"

#include <math.h>
#include <string.h>

enum { N_VOCAB = 301, EXIT_LAYER = 2, N_ROWS = 6, N_TOP = 8 };

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static const hsd_sampling listed[] = {
    {.top_p = 1.0f},
    {.temperature = 0.8f, .top_k = 1, .top_p = 1.0f, .seed = 3},
    {.temperature = 0.8f, .top_k = 7, .top_p = 1.0f, .seed = 3},
    {.temperature = 1.3f, .top_k = 8, .top_p = 0.9f, .seed = 4},
    {.temperature = 0.7f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .seed = 5},
    {.temperature = 2.0f, .top_k = 64, .top_p = 1.0f, .min_p = 0.001f, .seed = 6},
};
enum { N_LISTED = sizeof listed / sizeof *listed };

static const hsd_sampling drawn[] = {
    {.temperature = 1.0f, .top_p = 1.0f, .seed = 11},
    {.temperature = 0.3f, .top_p = 1.0f, .seed = 0xfedcba9876543210u},
    {.temperature = 1.5f, .top_p = 1.0f, .min_p = 0.05f, .seed = 12},
    {.temperature = 1.2f, .top_k = 200, .top_p = 1.0f, .seed = 13},
    {.temperature = 1.2f, .top_p = 0.9f, .seed = 14},
    {.temperature = 2.0f, .top_k = 300, .top_p = 0.8f, .min_p = 0.001f, .seed = 15},
    {.top_p = 1.0f, .repeat_penalty = 1.3f},
    {.top_p = 1.0f, .no_repeat_ngram = 1},
    {.temperature = 0.9f, .top_k = 20, .top_p = 1.0f, .seed = 16, .repeat_penalty = 0.7f},
    {.temperature = 1.1f,
     .top_p = 0.95f,
     .min_p = 0.01f,
     .seed = 17,
     .repeat_penalty = 1.2f,
     .repeat_last_n = -1,
     .no_repeat_ngram = 2},
};
enum { N_DRAWN = sizeof drawn / sizeof *drawn };

/// Same tokens; scores may differ by rounding: their size is below 40, where floats lie 4e-6 apart.
static void same_candidates(const hsdi_candidate *got, const hsdi_candidate *want, int n,
                            const char *what, int i)
{
    for (int k = 0; k < n; k++) {
        bool same = got[k].token == want[k].token &&
                    (got[k].score == want[k].score || fabsf(got[k].score - want[k].score) < 4e-5f);
        if (!same) {
            fail_msg("%s, settings %d, candidate %d: %d (%g), should be %d (%g)", what, i, k,
                     got[k].token, (double)got[k].score, want[k].token, (double)want[k].score);
        }
    }
}

/// Six kinds of rows.
static void draw_logits(int i, float *x)
{
    for (int t = 0; t < N_VOCAB; t++) {
        float v = 10.0f * (float)hsdi_uniform_at(9, i, (uint32_t)t) - 5.0f;
        x[t] = i % 6 == 1   ? floorf(v)
               : i % 6 == 2 ? (t % 90 == 7 ? v : -INFINITY)
               : i % 6 == 3 ? -INFINITY
               : i % 6 == 4 ? (v > 4.0f ? NAN : v)
                            : v;
    }
}

/// devices/graph.h
static void make_list(const float *x, int n_list, float *list)
{
    char used[N_VOCAB] = {0};
    double sum = 0.0;
    for (int k = 0; k < n_list; k++) {
        int best = -1;
        for (int t = 0; t < N_VOCAB; t++) {
            if (!used[t] && x[t] > (best < 0 ? -INFINITY : x[best])) {
                best = t;
            }
        }
        list[2 * k] = best < 0 ? -INFINITY : x[best];
        list[2 * k + 1] = (float)best;
        used[best < 0 ? 0 : best] = 1;
    }
    for (int t = 0; t < N_VOCAB; t++) {
        sum += x[t] == -INFINITY ? 0.0 : exp((double)x[t] - (double)list[0]);
    }
    list[2 * n_list] = (float)sum;
}

static void a_list_gives_what_all_logits_give(void **state)
{
    (void)state;
    float x[N_VOCAB], list[2 * 64 + 1];
    for (int i = 0; i < N_LISTED; i++) {
        hsdi_sampler *s = NULL;
        hsd_error err = {0};
        must(
            hsdi_sampler_create(&listed[i], N_VOCAB, hsdi_kernels_get(hsdi_isa_detect()), &s, &err),
            &err);
        hsdi_listing pick = hsdi_sampler_listing(&listed[i], 0, 1);
        hsdi_listing top = hsdi_sampler_listing(&listed[i], 0, N_TOP);
        assert_in_range(pick.n, 1, top.n);
        assert_false(pick.drawn || top.drawn);
        for (int k = 0; k < 600; k++) {
            hsdi_candidate want[N_TOP], got[N_TOP];
            draw_logits(k, x);
            make_list(x, pick.n, list);
            assert_int_equal(hsdi_sampler_pick_listed(s, list, pick, k),
                             hsdi_sampler_pick(s, x, k));
            make_list(x, top.n, list);
            hsdi_sampler_top(s, x, k, N_TOP, want);
            hsdi_sampler_top_listed(s, list, top, k, N_TOP, got);
            bool has_nan = k % 6 == 4 && i == 0; // then greedy scores are none: tokens alone
            for (int c = 0; c < N_TOP && has_nan; c++) {
                assert_int_equal(got[c].token, want[c].token);
            }
            same_candidates(got, want, has_nan ? 0 : N_TOP, "sampler", i);
        }
        hsdi_sampler_destroy(&s);
    }
}

static void settings_ask_for_the_list_that_will_do(void **state)
{
    (void)state;
    const struct {
        hsd_sampling sampling;
        int n_edits, n_top, n;
        bool drawn;
    } all[] = {
        {listed[0], 0, 1, 1, false},
        {listed[0], 0, 5, 8, false},
        {listed[0], 0, 64, 64, false},
        {listed[0], 0, 65, 0, false},
        {listed[4], 0, 8, 64, false},
        {listed[0], 64, 1, 1, true},
        {listed[4], 64, 8, 8, true},
        {listed[4], HSDI_DRAW_EDITS_MAX + 1, 8, 0, false},
        {{.temperature = 0.8f, .top_p = 1.0f}, 0, 1, 1, true},
        {{.temperature = 0.8f, .top_p = 0.9f, .min_p = 0.1f}, 0, 8, 8, true},
        {{.temperature = 0.8f, .top_k = 65, .top_p = 1.0f}, 0, 9, 64, true},
        {{.temperature = 0.8f, .top_k = 65, .top_p = 1.0f}, 0, 65, 0, false},
        {{.temperature = 0.8f, .top_k = 40, .top_p = 1.0f, .rule = HSD_RULE_RATIO}, 0, 8, 0, false},
        {{.temperature = 0.8f, .top_p = 1.0f, .rule = HSD_RULE_RATIO}, 0, 8, 0, false},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        hsdi_listing got = hsdi_sampler_listing(&all[i].sampling, all[i].n_edits, all[i].n_top);
        if (got.n != all[i].n || got.drawn != all[i].drawn) {
            fail_msg("settings %zu: list of %d, drawn %d", i, got.n, got.drawn);
        }
    }
}

/// A stage that gets lists, and one like it that gets logits.
typedef struct pair {
    hsdi_target_stage target[2];
    hsdi_draft_stage draft[2];
} pair;

static void pair_open(pair *p, fixture *f, const hsd_sampling *how)
{
    hsd_error err = {0};
    for (int i = 0; i < 2; i++) {
        const hsdi_target_stage_options options = {.exit_layer = EXIT_LAYER,
                                                   .n_cells = f->n_ctx,
                                                   .with_logits = i == 1,
                                                   .n_top = N_TOP,
                                                   .sampling = *how};
        must(hsdi_target_stage_open(&f->runner, &options, &p->target[i], &err), &err);
        // No list is as long as the second draft may be asked for.
        const hsdi_draft_stage_options draft = {.n_layers = f->model->n_layers,
                                                .n_cells = f->n_ctx,
                                                .n_top = i == 1 ? HSDI_TOP_LIST_MAX + 1 : N_TOP,
                                                .sampling = *how};
        must(hsdi_draft_stage_open(&f->runner, &draft, &p->draft[i], &err), &err);
        assert_int_equal(p->target[i].limits.n_top_max, N_TOP);
    }
}

static void pair_close(pair *p)
{
    for (int i = 0; i < 2; i++) {
        hsdi_target_stage_close(&p->target[i]);
        hsdi_draft_stage_close(&p->draft[i]);
    }
}

/// A chain of n rows behind `begin` positions through all four; with `alone` in one piece.
static void compare_rows(pair *p, const fixture *f, int begin, int n, bool alone, int i)
{
    hsd_error err = {0};
    int32_t tokens[N_ROWS], n_path[N_ROWS], path[N_ROWS * N_ROWS], own[2][N_ROWS];
    hsdi_candidate out[2][N_ROWS * N_TOP];
    for (int r = 0; r < n; r++) {
        tokens[r] = (begin + r) * 37 % f->model->n_vocab;
        n_path[r] = r + 1;
        memcpy(path + r * N_ROWS, f->cells + begin, (size_t)(r + 1) * sizeof *path);
    }
    const hsdi_rows rows = {.n_rows = n,
                            .tokens = tokens,
                            .pos = f->cells + begin,
                            .cell = f->cells + begin,
                            .trunk = f->cells,
                            .n_trunk = begin,
                            .path = path,
                            .n_path = n_path,
                            .path_stride = N_ROWS,
                            .is_alone = alone};
    for (int k = 0; k < 2; k++) {
        hsdi_target_stage *t = &p->target[k];
        must(t->prefix(t->self, &rows, &err), &err);
        if (!alone) {
            must(t->proxies(t->self, N_TOP, out[k], &err), &err);
        }
        must(t->suffix(t->self, own[k], &err), &err);
    }
    same_candidates(out[0], out[1], alone ? 0 : n * N_TOP, "proxies", i);
    assert_memory_equal(own[0], own[1], (size_t)n * sizeof **own);
    assert_null(hsdi_target_stage_logits(&p->target[0]));
    assert_non_null(hsdi_target_stage_logits(&p->target[1]));
    for (int k = 0; k < 2; k++) {
        must(p->draft[k].eval(p->draft[k].self, &rows, N_TOP, out[k], &err), &err);
    }
    same_candidates(out[0], out[1], n * N_TOP, "draft", i);
    for (int r = 0; r < n; r++) { // both are the same model
        assert_int_equal(out[0][r * N_TOP].token, own[0][r]);
    }
}

static void stages_with_lists_say_what_stages_with_logits_say(void **state)
{
    fixture f;
    fixture_open_on(&f, "models/hsd-story-target.gguf", open_accelerator_or_skip(*state),
                    hsdi_isa_detect(), 0);
    for (int i = 0; i < N_LISTED + N_DRAWN; i++) {
        pair p;
        pair_open(&p, &f, i < N_LISTED ? &listed[i] : &drawn[i - N_LISTED]);
        for (int begin = 0, n = 1; begin < 20; begin += n, n = n % N_ROWS + 1) {
            compare_rows(&p, &f, begin, n, n % 2 == 0, i);
        }
        pair_close(&p);
    }
    int n_lists = 0, n_drawn = 0;
    for (int g = 0; g < f.runner.n_graphs; g++) {
        n_lists += f.runner.graphs[g].range.n_list > 0;
        n_drawn += f.runner.graphs[g].range.drawn;
    }
    assert_int_equal(n_drawn, 4); // whole, suffix, exit, draft: settings are no part of them
    assert_true(n_lists >= 9);    // whole, suffix and exit of three lengths, and drafts
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_gives_what_all_logits_give),
        cmocka_unit_test(settings_ask_for_the_list_that_will_do),
        ON_ACCELERATORS(stages_with_lists_say_what_stages_with_logits_say),
    };
    only_the_cases_asked_for();
    setenv("HSD_DEVICE_LISTS", "1", 1); // PoCL is a processor, which is not asked for lists
    return cmocka_run_group_tests(tests, NULL, NULL);
}
