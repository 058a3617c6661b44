/// Proves: repetition penalty and no-repeat n-gram equal their plain definitions bit for bit, on
///           hundreds of random texts whose trunk grows, shrinks and is rebuilt from other cells,
///           for rows of random trees, together or one by one.
///         Target, proxies, model draft, early-exit draft and lookup draft with a real model apply
///           them alike, greedy and coupled, to rows of a tree.
///         Without such a rule the logits pass untouched.
/// Does not prove: whole sessions, see test_modes.c.
#include "base/rng.h"
#include "engine/drafts.h"
#include "engine/history.h"
#include "engine/rules.h"
#include "engine/sampler.h"
#include "pipelines/draft.h"
#include "tests/engine/fixture.h"
#include "tests/engine/plain_rules.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_CASES = 600, N_ROUNDS = 40, CTX_MAX = 60, CELLS_MAX = 90, ROWS_MAX = 8, NODES_MAX = 25 };

/// A node of the tree that hangs off the trunk.
typedef struct node {
    int32_t token, cell, pos;
    int parent; ///< -1: the trunk
} node;

/// What pipelines may know: cells, trunk, tree. The texts are kept apart from the code under test.
typedef struct world {
    uint64_t seed;
    int64_t n_drawn;
    int n_vocab, n_ctx, n_cells;
    int n_free, n_trunk, n_nodes;
    int32_t free[CELLS_MAX], trunk[CTX_MAX], trunk_tokens[CTX_MAX];
    node nodes[NODES_MAX];
    bool has_spare;
    node spare; ///< kept aside: an evaluated cell that another one of its position beat
    // the rows of a call
    int32_t tokens[ROWS_MAX], pos[ROWS_MAX], cell[ROWS_MAX], n_path[ROWS_MAX];
    int32_t path[ROWS_MAX * CTX_MAX], text[ROWS_MAX][CTX_MAX];
} world;

static int draw(world *w, int low, int high)
{
    double u = hsdi_uniform_at(w->seed, w->n_drawn++, 0);
    return low + (int)(u * (high - low + 1));
}

static void start(world *w, uint64_t seed, int n_vocab, int n_ctx, int n_cells)
{
    *w = (world){.seed = seed, .n_vocab = n_vocab, .n_ctx = n_ctx, .n_cells = n_cells};
    for (int i = 0; i < n_cells; i++) {
        w->free[w->n_free++] = i;
    }
}

/// A random free cell, so that cells come back in any order.
static int32_t take_cell(world *w)
{
    int i = draw(w, 0, w->n_free - 1);
    int32_t cell = w->free[i];
    w->free[i] = w->free[--w->n_free];
    return cell;
}

static void drop_tree(world *w, const bool *is_kept)
{
    for (int i = 0; i < w->n_nodes; i++) {
        if (!is_kept[i]) {
            w->free[w->n_free++] = w->nodes[i].cell;
        }
    }
    w->n_nodes = 0;
}

static void truncate_trunk(world *w, int n)
{
    const bool none[NODES_MAX] = {false};
    drop_tree(w, none);
    while (w->n_trunk > n) {
        w->free[w->n_free++] = w->trunk[--w->n_trunk];
    }
}

/// The trunk ends at the spare cell from now on, in place of another one.
static void use_spare(world *w)
{
    if (!w->has_spare || w->spare.pos > w->n_trunk) {
        return;
    }
    truncate_trunk(w, w->spare.pos);
    w->trunk[w->n_trunk] = w->spare.cell;
    w->trunk_tokens[w->n_trunk++] = w->spare.token;
    w->has_spare = false;
}

/// The path to a random node joins the trunk, the rest of the tree is dropped.
static void promote(world *w)
{
    bool is_kept[NODES_MAX] = {false};
    int chain[NODES_MAX], n = 0;
    for (int i = draw(w, 0, w->n_nodes - 1); i >= 0; i = w->nodes[i].parent) {
        chain[n++] = i;
        is_kept[i] = true;
    }
    for (int i = 0; i < w->n_nodes && !w->has_spare; i++) {
        if (!is_kept[i] && w->nodes[i].pos == w->n_trunk) {
            is_kept[i] = w->has_spare = true;
            w->spare = w->nodes[i];
        }
    }
    while (n > 0) {
        const node *next = &w->nodes[chain[--n]];
        w->trunk[w->n_trunk] = next->cell;
        w->trunk_tokens[w->n_trunk++] = next->token;
    }
    drop_tree(w, is_kept);
}

/// A new row: a child of the trunk or of any node. False when there is no room.
static bool add_row(world *w, int row)
{
    int parent = draw(w, -1, w->n_nodes - 1);
    int pos = parent < 0 ? w->n_trunk : w->nodes[parent].pos + 1;
    if (w->n_nodes == NODES_MAX || w->n_free == 0 || pos >= w->n_ctx) {
        return false;
    }
    w->nodes[w->n_nodes] = (node){draw(w, 0, w->n_vocab - 1), take_cell(w), pos, parent};
    memcpy(w->text[row], w->trunk_tokens, (size_t)w->n_trunk * sizeof(int32_t));
    for (int i = w->n_nodes; i >= 0; i = w->nodes[i].parent) {
        w->path[row * CTX_MAX + w->nodes[i].pos - w->n_trunk] = w->nodes[i].cell;
        w->text[row][w->nodes[i].pos] = w->nodes[i].token;
    }
    w->tokens[row] = w->nodes[w->n_nodes].token;
    w->cell[row] = w->nodes[w->n_nodes].cell;
    w->pos[row] = pos;
    w->n_path[row] = pos - w->n_trunk + 1;
    w->n_nodes++;
    return true;
}

static hsdi_rows rows_of(const world *w, int begin, int n)
{
    return (hsdi_rows){.n_rows = n,
                       .tokens = w->tokens + begin,
                       .pos = w->pos + begin,
                       .cell = w->cell + begin,
                       .trunk = w->trunk,
                       .n_trunk = w->n_trunk,
                       .path = w->path + begin * CTX_MAX,
                       .n_path = w->n_path + begin,
                       .path_stride = CTX_MAX};
}

static hsdi_rows draw_rows(world *w, int n_most)
{
    int n = 0;
    while (n < n_most && add_row(w, n)) {
        n++;
    }
    return rows_of(w, 0, n);
}

/// Something that pipelines do between calls; several may follow each other unseen.
static void change(world *w)
{
    switch (draw(w, 0, 9)) {
    case 0:
        truncate_trunk(w, draw(w, 0, w->n_trunk));
        break;
    case 1:
        truncate_trunk(w, draw(w, 0, 3) == 0 ? 0 : w->n_trunk);
        break;
    case 2:
        use_spare(w);
        break;
    case 3:
        break; // more rows for the same tree
    default:
        if (w->n_nodes > 0) {
            promote(w);
        }
        break;
    }
}

static hsdi_rules *make(const hsd_sampling *sampling, const world *w)
{
    hsdi_rules *rules = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_rules_create(sampling, w->n_vocab, w->n_ctx, w->n_cells, &rules, &err),
                     HSD_OK);
    return rules;
}

static void compare(const hsd_sampling *s, const world *w, int row, const float *logits,
                    const float *got, const char *how)
{
    float want[64];
    memcpy(want, logits, sizeof want);
    plain_rules(s, w->text[row], w->pos[row] + 1, w->n_vocab, want);
    for (int t = 0; t < w->n_vocab; t++) {
        if (memcmp(&got[t], &want[t], sizeof *got) != 0) {
            fail_msg("case %llu, %s, penalty %g over %d, n-gram %d: %d tokens (%d on the trunk), "
                     "logit %d of %g is %g, expected %g",
                     (unsigned long long)w->seed, how, (double)s->repeat_penalty, s->repeat_last_n,
                     s->no_repeat_ngram, w->pos[row] + 1, w->n_trunk, t, (double)logits[t],
                     (double)got[t], (double)want[t]);
        }
    }
}

/// The lists for a device, applied here.
static void compare_edits(const hsd_sampling *s, const world *w, hsdi_rules *rules,
                          const hsdi_rows *rows, int r, const float *logits)
{
    float got[64];
    bool touched[64] = {false};
    hsdi_draw draw = {0};
    memcpy(got, logits, sizeof got);
    hsdi_rules_edits(rules, rows, r, &draw);
    assert_in_range(draw.n_banned + draw.n_penalised, 0, hsdi_rules_n_edits(rules));
    for (int i = 0; i < draw.n_banned + draw.n_penalised; i++) {
        float *logit = &got[draw.tokens[i]];
        assert_false(touched[draw.tokens[i]]);
        touched[draw.tokens[i]] = true;
        *logit = i < draw.n_banned ? -INFINITY
                 : *logit > 0.0f   ? *logit / draw.penalty
                                   : *logit * draw.penalty;
    }
    compare(s, w, r, logits, got, "lists");
}

static void rows_of_random_trees_equal_the_plain_definition(void **state)
{
    (void)state;
    static const float penalties[] = {0.0f, 1.0f, 1.3f, 0.5f, 100.0f};
    static const int last_ns[] = {0, -1, 1, 4, 20, 1000};
    long n_rows = 0, n_banned = 0;
    for (uint64_t i = 0; i < N_CASES; i++) {
        world w;
        start(&w, i, 2, CTX_MAX, CELLS_MAX); // for the draws
        int n_ctx = draw(&w, 8, CTX_MAX);
        start(&w, i, draw(&w, 2, 30), n_ctx, n_ctx + draw(&w, 0, CELLS_MAX - CTX_MAX));
        w.n_drawn = 100;
        const hsd_sampling s = {.repeat_penalty = penalties[draw(&w, 0, 4)],
                                .repeat_last_n = last_ns[draw(&w, 0, 5)],
                                .no_repeat_ngram = draw(&w, 0, 7)};
        hsdi_rules *together = make(&s, &w), *alone = make(&s, &w);
        for (int round = 0; round < N_ROUNDS; round++) {
            hsdi_rows rows = draw_rows(&w, draw(&w, 1, ROWS_MAX));
            hsdi_rules_note(together, &rows);
            for (int r = 0; r < rows.n_rows; r++, n_rows++) {
                float logits[64];
                for (int t = 0; t < 64; t++) {
                    logits[t] = 0.1f * (float)draw(&w, -100, 100);
                }
                hsdi_rows one = rows_of(&w, r, 1);
                hsdi_rules_note(alone, &one);
                compare(&s, &w, r, logits, hsdi_rules_apply(together, &rows, r, logits), "batch");
                compare(&s, &w, r, logits, hsdi_rules_apply(alone, &one, 0, logits), "single");
                compare_edits(&s, &w, together, &rows, r, logits);
                for (int32_t t = 0; t < w.n_vocab; t++) {
                    n_banned += plain_repeats(w.text[r], w.pos[r] + 1, s.no_repeat_ngram, t);
                }
            }
            for (int n = draw(&w, 1, 3); n > 0; n--) {
                change(&w);
            }
        }
        hsdi_rules_destroy(&together);
        hsdi_rules_destroy(&alone);
    }
    print_message("%ld rows, %ld tokens banned\n", n_rows, n_banned);
    assert_true(n_banned > n_rows / 10);
}

static void without_rules_the_logits_pass_untouched(void **state)
{
    (void)state;
    const hsd_sampling off[] = {{.repeat_last_n = 5}, {.repeat_penalty = 1.0f}};
    const float logits[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        hsdi_rules *rules;
        hsd_error err = {0};
        hsdi_rows rows = {0};
        assert_int_equal(hsdi_rules_create(&off[i], 4, 8, 8, &rules, &err), HSD_OK);
        assert_null(rules);
        hsdi_rules_note(rules, &rows);
        assert_ptr_equal(hsdi_rules_apply(rules, &rows, 0, logits), logits);
        assert_int_equal(hsdi_rules_last_n(&off[i]), 0);
    }
    assert_int_equal(hsdi_rules_last_n(&(hsd_sampling){.repeat_penalty = 1.1f}), 64);
}

static const hsd_sampling stage_samplings[] = {
    {.top_p = 1.0f, .repeat_penalty = 1.5f, .repeat_last_n = 6, .no_repeat_ngram = 2},
    {.top_p = 1.0f, .repeat_penalty = 1.2f, .repeat_last_n = -1, .no_repeat_ngram = 3},
    {.temperature = 0.9f,
     .top_k = 30,
     .top_p = 0.95f,
     .min_p = 0.01f,
     .seed = 5,
     .repeat_penalty = 1.3f,
     .no_repeat_ngram = 2},
};

/// The stages of one setting on one small model.
typedef struct stages {
    hsdi_target_stage target;
    hsdi_draft_factory factory;
    hsdi_draft_stage drafts[3]; ///< model, lookup, early exit
    hsdi_sampler *sampler;
    const hsd_sampling *sampling;
} stages;

enum { N_TOP = 8, EXIT_LAYER = 1 };

static void open_stages(stages *s, fixture *f, hsdi_drafts *drafts, const hsd_sampling *sampling)
{
    hsd_error err = {0};
    hsdi_draft_config config = {.window = 4,
                                .tree = 4,
                                .roots = 4,
                                .n_top = N_TOP,
                                .exit_layer = EXIT_LAYER,
                                .n_ctx = CTX_MAX,
                                .temperature = sampling->temperature,
                                .top_p = sampling->top_p,
                                .min_p = sampling->min_p,
                                .top_k = sampling->top_k,
                                .seed = sampling->seed,
                                .repeat_penalty = sampling->repeat_penalty,
                                .repeat_last_n = hsdi_rules_last_n(sampling),
                                .no_repeat_ngram = sampling->no_repeat_ngram};
    const hsdi_target_stage_options options = {
        .exit_layer = EXIT_LAYER, .n_cells = CELLS_MAX, .with_logits = true, .sampling = *sampling};
    s->sampling = sampling;
    assert_true(hsdi_draft_cells_needed(&config) >= CELLS_MAX);
    assert_int_equal(hsdi_target_stage_open(&f->runner, &options, &s->target, &err), HSD_OK);
    assert_int_equal(
        hsdi_sampler_create(sampling, f->model->n_vocab, f->runner.kernels, &s->sampler, &err),
        HSD_OK);
    s->factory = hsdi_drafts_factory(drafts);
    for (int i = 0; i < 3; i++) {
        config.draft_kind = HSD_DRAFT_MODEL + i;
        assert_int_equal(s->factory.open(drafts, &config, &s->drafts[i], &err), HSD_OK);
    }
}

static void close_stages(stages *s)
{
    hsdi_target_stage_close(&s->target);
    hsdi_sampler_destroy(&s->sampler);
    for (int i = 0; i < 3; i++) {
        s->factory.close(s->factory.self, &s->drafts[i]);
    }
}

/// Rows through all stages; compares what they say. Returns how many lookups were made.
static int check_rows(stages *s, const world *w, const hsdi_rows *rows, float *scratch)
{
    hsd_error err = {0};
    hsdi_candidate proxies[ROWS_MAX * N_TOP], out[3][ROWS_MAX * N_TOP];
    int32_t own[ROWS_MAX];
    int n_lookups = 0;
    assert_int_equal(s->target.prefix(s->target.self, rows, &err), HSD_OK);
    assert_int_equal(s->target.proxies(s->target.self, N_TOP, proxies, &err), HSD_OK);
    assert_int_equal(s->target.suffix(s->target.self, own, &err), HSD_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s->drafts[i].eval(s->drafts[i].self, rows, N_TOP, out[i], &err), HSD_OK);
    }
    const float *logits = hsdi_target_stage_logits(&s->target);
    size_t n_vocab = (size_t)s->target.limits.n_vocab;
    for (int r = 0; r < rows->n_rows; r++) {
        int n_text = w->pos[r] + 1;
        memcpy(scratch, logits + (size_t)r * n_vocab, n_vocab * sizeof *scratch);
        plain_rules(s->sampling, w->text[r], n_text, (int)n_vocab, scratch);
        int32_t want = hsdi_sampler_pick(s->sampler, scratch, n_text);
        assert_int_equal(own[r], want);
        assert_int_equal(out[0][r * N_TOP].token, want);
        for (int i = 0; i < N_TOP; i++) {
            assert_int_equal(out[2][r * N_TOP + i].token, proxies[r * N_TOP + i].token);
            int32_t token = out[1][r * N_TOP + i].token;
            n_lookups += token >= 0;
            assert_false(token >= 0 &&
                         plain_repeats(w->text[r], n_text, s->sampling->no_repeat_ngram, token));
        }
    }
    return n_lookups;
}

static void target_proxies_and_drafts_apply_the_rules_alike(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "tests/reference/fixtures/llama-gqa.gguf", hsdi_isa_detect(), 1, 0);
    int n_vocab = f.model->n_vocab, n_lookups = 0;
    hsdi_drafts drafts = {.model = &f.runner, .target = &f.runner, .n_vocab = n_vocab};
    float *scratch = calloc((size_t)n_vocab, sizeof *scratch);
    for (size_t i = 0; i < sizeof stage_samplings / sizeof *stage_samplings; i++) {
        stages s;
        world w;
        open_stages(&s, &f, &drafts, &stage_samplings[i]);
        start(&w, 77 + i, 12, CTX_MAX, CELLS_MAX); // twelve tokens, so that runs repeat
        for (int round = 0; round < 200; round++) {
            hsdi_rows rows = draw_rows(&w, draw(&w, 1, ROWS_MAX));
            if (rows.n_rows > 0) {
                n_lookups += check_rows(&s, &w, &rows, scratch);
            }
            change(&w);
        }
        close_stages(&s);
    }
    assert_true(n_lookups > 0);
    free(scratch);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_random_trees_equal_the_plain_definition),
        cmocka_unit_test(without_rules_the_logits_pass_untouched),
        cmocka_unit_test(target_proxies_and_drafts_apply_the_rules_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
