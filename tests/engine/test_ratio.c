/// Proves: by enumeration of every draw and every decision, over hundreds of random small
///           distributions, the tokens that the ratio rule gives have the target's joint
///           distribution to 1e-12: for chains of 1 to 4 tokens, for sibling sets drawn without
///           replacement, for trees of both, for children chosen without chance.
///         Draws from a list follow its probabilities, also without the tokens drawn before.
///         With the real random numbers (draft's list, draws, decisions) a chi-square test finds no
///           difference from the target's distribution, for first and second token.
///         Lists out of range are refused with row and entry; greedy is the target's own token.
/// Does not prove: pipelines that keep what engine/ratio.h asks of a caller.
/// False alarms: each chi-square test fails with probability 1e-6 on a right program; the seeds are
///           fixed, so it cannot fail by chance on another run.
#include "base/rng.h"
#include "engine/ratio.h"
#include "tests/engine/chi2.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 4, DEPTH = 5, NODES = 8, N_TEXTS = 1024, CHOICES = 64, POSITION = 100 };

/// A program whose random choices are replayed and advanced until all have been made.
typedef struct choices {
    int n, n_known;
    int taken[CHOICES], n_options[CHOICES];
    double probability; ///< of this run so far
} choices;

static int choose(choices *c, int n_options)
{
    if (c->n == c->n_known) {
        assert_true(c->n < CHOICES);
        c->taken[c->n] = 0;
        c->n_options[c->n] = n_options;
        c->n_known++;
    }
    assert_int_equal(c->n_options[c->n], n_options); // the program is deterministic
    return c->taken[c->n++];
}

/// Prepare the next run; false after the last one.
static bool next_run(choices *c)
{
    while (c->n_known > 0 && c->taken[c->n_known - 1] + 1 == c->n_options[c->n_known - 1]) {
        c->n_known--;
    }
    c->n = 0;
    c->probability = 1.0;
    if (c->n_known == 0) {
        return false;
    }
    c->taken[c->n_known - 1]++;
    return true;
}

/// Conditional distributions after every text of at most DEPTH tokens: two "models".
typedef struct models {
    double p[N_TEXTS * 2][V];
    hsdi_candidate q[N_TEXTS * 2][V];
} models;

static double uniform(uint64_t seed, int i, uint32_t what)
{
    return hsdi_uniform_at(seed, i, what);
}

/// Number of a text: a leading 1, then its tokens in base V.
static int extend(int text, int32_t token)
{
    return text * V + token;
}

static void draw_models(uint64_t seed, int n_list_most, models *m)
{
    for (int text = 0; text < N_TEXTS * 2; text++) {
        double sum = 0.0, q_sum = 0.0;
        for (int t = 0; t < V; t++) {
            bool is_cut = uniform(seed, text, (uint32_t)t) < 0.2 && t != text % V; // as by top-k
            double steep = 6.0 * uniform(seed, text, 10);
            m->p[text][t] = is_cut ? 0.0 : exp(steep * uniform(seed, text, 20 + (uint32_t)t));
            sum += m->p[text][t];
        }
        for (int t = 0; t < V; t++) {
            m->p[text][t] /= sum;
        }
        int n = 1 + (int)(uniform(seed, text, 30) * n_list_most);
        int first = (int)(uniform(seed, text, 31) * V);
        for (int i = 0; i < V; i++) { // a similar model: p to some power, on part of the tokens
            int32_t t = (first + i) % V;
            double like = m->p[text][t] + 0.1 * uniform(seed, text, 40 + (uint32_t)i);
            m->q[text][i] = (hsdi_candidate){i < n ? t : -1, (float)like};
            q_sum += i < n ? like : 0.0;
        }
        for (int i = 0; i < n; i++) {
            m->q[text][i].score = (float)fmin(log((double)m->q[text][i].score / q_sum), 0.0);
        }
    }
}

/// One run: a window is drawn from q, verified against p, and the texts that it may lead to get
/// their probabilities.
typedef struct trial {
    const models *m;
    choices c;
    int depth;
    bool without_chance; ///< children are fixed tokens instead of draws
    hsdi_window window;
    int texts[NODES + 1]; ///< text at each row
    hsdi_candidate q[(NODES + 1) * V];
    double total[N_TEXTS]; ///< probability of each text of `depth` tokens
} trial;

static bool scripted_accept(void *self, int64_t position, int sibling, double a)
{
    trial *t = self;
    (void)position;
    (void)sibling;
    assert_true(a >= 0.0 && a <= 1.0);
    bool is_accepted = choose(&t->c, 2) == 0;
    t->c.probability *= is_accepted ? a : 1.0 - a;
    return is_accepted;
}

static int32_t scripted_sample(void *self, int64_t position, const hsdi_ratio_node *node)
{
    trial *t = self;
    (void)position;
    int32_t token = choose(&t->c, V);
    t->c.probability *= node->p[token] / node->mass;
    return token;
}

static void table_distribution(void *user, int row, double *p)
{
    const trial *t = user;
    memcpy(p, t->m->p[t->texts[row]], sizeof t->m->p[0]);
}

/// Draw the window's tokens, siblings without replacement, each row from its own list.
static void draw_window(trial *t)
{
    uint64_t gone[NODES + 1] = {0};
    t->texts[0] = 1;
    for (int i = 0; i < t->window.n_tokens; i++) {
        int row = t->window.parents[i];
        const hsdi_candidate *list = t->m->q[t->texts[row]];
        int n = hsdi_ratio_length(list, V);
        if (t->without_chance || gone[row] == (UINT64_C(1) << n) - 1) {
            t->window.tokens[i] = (t->texts[row] + i) % V;
        } else {
            int at = choose(&t->c, n);
            t->c.probability *= hsdi_ratio_share(list, n, gone[row], at);
            gone[row] |= UINT64_C(1) << at;
            t->window.tokens[i] = list[at].token;
        }
        t->texts[i + 1] = extend(t->texts[row], t->window.tokens[i]);
    }
    for (int row = 0; row <= t->window.n_tokens; row++) {
        memcpy(t->q + row * V, t->m->q[t->texts[row]], sizeof t->m->q[0]);
    }
}

/// The target goes on from `text` until it has `depth` tokens.
static void complete(trial *t, int text, int n, double probability)
{
    if (n == t->depth) {
        t->total[text - (int)pow(V, n)] += probability;
        return;
    }
    for (int32_t token = 0; token < V; token++) {
        complete(t, extend(text, token), n + 1, probability * t->m->p[text][token]);
    }
}

static long enumerate(trial *t)
{
    double p[V];
    hsdi_ratio_result out;
    hsd_error err = {0};
    const hsdi_ratio_chance chance = {t, scripted_accept, scripted_sample};
    long n_runs = 0;
    memset(t->total, 0, sizeof t->total);
    t->c = (choices){.probability = 1.0};
    do {
        draw_window(t);
        int n_q = t->without_chance ? 0 : V;
        if (t->c.probability > 0.0) {
            assert_int_equal(hsdi_ratio_check(&t->window, t->q, n_q, V, &err), HSD_OK);
            hsdi_ratio_walk(&t->window, t->q, n_q, V, POSITION, table_distribution, t, &chance, p,
                            &out);
            complete(t, extend(t->texts[out.row], out.next), out.n_accepted + 1, t->c.probability);
            n_runs++;
        }
    } while (next_run(&t->c));
    return n_runs;
}

static double largest_error(trial *t)
{
    double got[N_TEXTS], worst = 0.0;
    memcpy(got, t->total, sizeof got);
    memset(t->total, 0, sizeof t->total);
    complete(t, 1, 0, 1.0);
    for (int i = 0; i < N_TEXTS; i++) {
        worst = fmax(worst, fabs(got[i] - t->total[i]));
    }
    return worst;
}

/// A window's shape: parents' rows, and the depth of its deepest token.
typedef struct shape {
    const char *name;
    int n_tokens, depth;
    uint8_t parents[NODES];
} shape;

static void check_shape(const shape *s, bool without_chance, int n_cases)
{
    models *m = malloc(sizeof *m);
    trial *t = malloc(sizeof *t);
    double worst = 0.0;
    long n_runs = 0;
    for (int i = 0; i < n_cases; i++) {
        uint64_t seed = (uint64_t)i + 1000 * (uint64_t)(s->n_tokens + 16 * s->depth);
        draw_models(seed, V, m);
        *t = (trial){.m = m,
                     .depth = s->depth + 1,
                     .window = {.n_tokens = s->n_tokens},
                     .without_chance = without_chance};
        memcpy(t->window.parents, s->parents, sizeof s->parents);
        n_runs += enumerate(t);
        double error = largest_error(t);
        if (!(error < 1e-12)) {
            fail_msg("%s%s, case %d: a text's probability is wrong by %g", s->name,
                     without_chance ? " without chance" : "", i, error);
        }
        worst = fmax(worst, error);
    }
    print_message("%-22s %s: %d cases, %ld runs, largest error %.1e\n", s->name,
                  without_chance ? "fixed" : "drawn", n_cases, n_runs, worst);
    free(t);
    free(m);
}

static void chains_have_the_joint_distribution_of_the_target(void **state)
{
    (void)state;
    const shape shapes[] = {{"no token", 0, 0, {0}},
                            {"chain of 1", 1, 1, {0}},
                            {"chain of 2", 2, 2, {0, 1}},
                            {"chain of 3", 3, 3, {0, 1, 2}},
                            {"chain of 4", 4, 4, {0, 1, 2, 3}}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_shape(&shapes[i], false, 300);
        check_shape(&shapes[i], true, 300);
    }
}

static void siblings_and_trees_have_the_joint_distribution_of_the_target(void **state)
{
    (void)state;
    const shape shapes[] = {{"2 siblings", 2, 1, {0, 0}},
                            {"3 siblings", 3, 1, {0, 0, 0}},
                            {"4 siblings", 4, 1, {0, 0, 0, 0}},
                            {"2 with 1 below each", 4, 2, {0, 0, 1, 2}},
                            {"2 below the second of 2", 4, 2, {0, 0, 2, 2}},
                            {"unordered tree", 5, 3, {0, 1, 0, 1, 2}}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_shape(&shapes[i], false, 200);
        check_shape(&shapes[i], true, 200);
    }
}

static void equal_distributions_accept_everything(void **state)
{
    (void)state;
    double p[V] = {0.5, 0.25, 0.125, 0.125};
    hsdi_candidate q[V];
    for (int32_t t = 0; t < V; t++) {
        q[t] = (hsdi_candidate){t, (float)log(p[t])};
        p[t] = exp((double)q[t].score); // what a list of floats can say
    }
    hsdi_ratio_node node;
    for (int32_t t = 0; t < V; t++) {
        double left[V];
        memcpy(left, p, sizeof p);
        hsdi_ratio_begin(&node, left, V, q, V);
        assert_true(hsdi_ratio_acceptance(&node, t) > 1.0 - 1e-15);
        (void)hsdi_ratio_reject(&node, t);
        assert_true(node.mass < 1e-15); // nothing is left
    }
    // Where rounding leaves nothing at all the child stands.
    double certain[2] = {0.0, 1.0};
    const hsdi_candidate only = {1, 0.0f};
    for (int n_q = 0; n_q < 2; n_q++) {
        hsdi_ratio_begin(&node, certain, 2, &only, n_q);
        assert_true(hsdi_ratio_acceptance(&node, 1) >= 1.0);
        assert_true(hsdi_ratio_acceptance(&node, 0) <= 0.0);
        assert_false(hsdi_ratio_reject(&node, 1));
        certain[1] = 1.0;
    }
}

static void draws_follow_the_list_without_those_that_are_gone(void **state)
{
    (void)state;
    const hsdi_candidate q[5] = {{7, -0.9f}, {3, -1.2f}, {9, -1.9f}, {1, -2.3f}, {2, -3.0f}};
    enum { N = 20000 };
    for (int first = -1; first < 5; first++) {
        uint64_t before = first < 0 ? 0 : UINT64_C(1) << first;
        int counts[5] = {0}, df;
        double p[5];
        for (int i = 0; i < 5; i++) {
            p[i] = hsdi_ratio_share(q, 5, before, i);
        }
        for (int i = 0; i < N; i++) {
            uint64_t gone = before;
            int32_t token = hsdi_ratio_draw(q, 5, &gone, 42, i, first < 0 ? 0 : 1);
            uint64_t drawn = gone & ~before;
            assert_true(drawn != 0 && (drawn & (drawn - 1)) == 0);
            int at = __builtin_ctzll(drawn);
            assert_int_equal(q[at].token, token);
            counts[at]++;
        }
        double tail = chi2_test(counts, p, 5, N, &df);
        assert_true(df == (first < 0 ? 4 : 3));
        assert_true(tail > 1e-6);
    }
    uint64_t gone = 0;
    for (int sibling = 0; sibling < 5; sibling++) {
        assert_true(hsdi_ratio_draw(q, 5, &gone, 1, 1, sibling) >= 0);
    }
    assert_int_equal(hsdi_ratio_draw(q, 5, &gone, 1, 1, 5), -1);
}

enum { N_VOCAB = 40, N_LIST = 20 };

/// Logits of the target and of a draft that resembles it, after one token.
static void logits_after(int32_t token, float *target, float *draft)
{
    for (int t = 0; t < N_VOCAB; t++) {
        double u = uniform(3, token, (uint32_t)t), v = uniform(4, token, (uint32_t)t);
        target[t] = (float)(5.0 * u);
        draft[t] = (float)(5.0 * u + 3.0 * v);
    }
}

/// The rows of one window, as a stage has them.
typedef struct stage_rows {
    float logits[NODES + 1][N_VOCAB];
} stage_rows;

static const float *row_logits(void *user, int row)
{
    const stage_rows *rows = user;
    return rows->logits[row];
}

/// Draft a window of this shape behind `token` and verify it; all with the real random numbers.
static void speculate(hsdi_sampler *s, const shape *form, int64_t position, int32_t token,
                      int32_t out[2], int *n_accepted)
{
    stage_rows rows;
    hsdi_window window = {.n_tokens = 0};
    hsdi_candidate q[(NODES + 1) * N_LIST];
    uint64_t gone[NODES + 1] = {0};
    int depth[NODES + 1] = {0}, sibling[NODES + 1] = {0};
    double p[N_VOCAB];
    float draft[N_VOCAB];
    for (int row = 0; row <= form->n_tokens; row++) {
        if (row > 0) {
            int parent = form->parents[row - 1];
            hsdi_candidate *list = q + parent * N_LIST;
            token = gone[parent] == 0
                        ? list[0].token
                        : hsdi_ratio_draw(list, N_LIST, &gone[parent], hsdi_sampler_seed(s),
                                          position + depth[parent], sibling[parent]);
            gone[parent] |= 1;
            sibling[parent]++;
            depth[row] = depth[parent] + 1;
            assert_int_equal(hsdi_window_add(&window, parent, token), row);
        }
        logits_after(token, rows.logits[row], draft);
        int32_t drawn = hsdi_ratio_draft(s, draft, position + depth[row], N_LIST, q + row * N_LIST);
        assert_int_equal(drawn, q[row * N_LIST].token);
    }
    hsdi_ratio_result result;
    hsd_error err = {0};
    assert_true(hsdi_window_is_valid(&window, N_VOCAB));
    assert_int_equal(hsdi_ratio_check(&window, q, N_LIST, N_VOCAB, &err), HSD_OK);
    hsdi_ratio_verify(s, &window, q, N_LIST, position, row_logits, &rows, p, &result);
    int32_t chain[NODES + 1];
    int n = 0;
    for (int row = result.row; row > 0; row = window.parents[row - 1]) {
        chain[n++] = window.tokens[row - 1];
    }
    assert_int_equal(n, result.n_accepted);
    out[0] = n > 0 ? chain[n - 1] : result.next;
    out[1] = n > 1 ? chain[n - 2] : n == 1 ? result.next : -1;
    *n_accepted += n;
}

static hsdi_sampler *make_sampler(hsd_sampling sampling)
{
    hsdi_sampler *s = NULL;
    hsd_error err = {0};
    assert_int_equal(
        hsdi_sampler_create(&sampling, N_VOCAB, hsdi_kernels_get(hsdi_isa_detect()), &s, &err),
        HSD_OK);
    return s;
}

static void check_counts(hsdi_sampler *s, const char *name, int32_t after, const int *counts, int n)
{
    float target[N_VOCAB], draft[N_VOCAB];
    double p[N_VOCAB];
    int df;
    logits_after(after, target, draft);
    hsdi_sampler_probabilities(s, target, p);
    double tail = chi2_test(counts, p, N_VOCAB, n, &df);
    print_message("%s, after token %d: %d draws, %d degrees of freedom, tail %.3g\n", name, after,
                  n, df, tail);
    assert_true(df > 3);
    assert_true(tail > 1e-6);
}

static void speculated_tokens_are_distributed_as_the_targets(void **state)
{
    (void)state;
    enum { N = 20000, FIRST = 5 };
    const shape shapes[] = {{"chain of 3", 3, 3, {0, 1, 2}},
                            {"3 siblings", 3, 1, {0, 0, 0}},
                            {"tree of 6", 6, 2, {0, 0, 1, 1, 2, 2}}};
    hsdi_sampler *s = make_sampler(
        (hsd_sampling){.temperature = 0.9f, .top_k = 30, .top_p = 0.98f, .seed = 2024});
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        static int first[N_VOCAB], second[N_VOCAB][N_VOCAB], n_second[N_VOCAB];
        int n_accepted = 0;
        memset(first, 0, sizeof first);
        memset(second, 0, sizeof second);
        memset(n_second, 0, sizeof n_second);
        for (int i = 0; i < N; i++) {
            int32_t out[2];
            speculate(s, &shapes[k], (int64_t)i * 10, FIRST, out, &n_accepted);
            first[out[0]]++;
            if (out[1] >= 0) {
                second[out[0]][out[1]]++;
                n_second[out[0]]++;
            }
        }
        print_message("%s: %.3f tokens accepted\n", shapes[k].name, (double)n_accepted / N);
        assert_true(n_accepted > N / 4);
        check_counts(s, shapes[k].name, FIRST, first, N);
        // Given the first token. There is a second one when the first was accepted, which was
        // decided without looking at the second.
        int best = 0;
        for (int t = 0; t < N_VOCAB; t++) {
            best = n_second[t] > n_second[best] ? t : best;
        }
        check_counts(s, shapes[k].name, best, second[best], n_second[best]);
    }
    hsdi_sampler_destroy(&s);
}

static void greedy_gives_the_targets_own_token(void **state)
{
    (void)state;
    const shape chain = {"chain of 3", 3, 3, {0, 1, 2}};
    hsdi_sampler *s = make_sampler((hsd_sampling){.top_p = 1.0f});
    int n_accepted = 0;
    for (int i = 0; i < 200; i++) {
        int32_t out[2], after = i % N_VOCAB;
        float target[N_VOCAB], draft[N_VOCAB];
        speculate(s, &chain, i, after, out, &n_accepted);
        logits_after(after, target, draft);
        assert_int_equal(out[0], hsdi_sampler_pick(s, target, i));
    }
    assert_true(n_accepted > 0);
    hsdi_sampler_destroy(&s);
}

static void the_draft_list_holds_the_likeliest_tokens_renormalised(void **state)
{
    (void)state;
    hsdi_sampler *s = make_sampler((hsd_sampling){.temperature = 0.7f, .top_p = 0.9f, .seed = 1});
    for (int i = 0; i < 100; i++) {
        float logits[N_VOCAB], draft[N_VOCAB];
        double p[N_VOCAB], sum = 0.0, kept = 0.0;
        hsdi_candidate list[N_LIST];
        logits_after(i, logits, draft);
        hsdi_sampler_probabilities(s, logits, p);
        hsdi_sampler_likeliest(s, logits, N_LIST, list);
        int n = hsdi_ratio_length(list, N_LIST);
        for (int t = 0; t < N_VOCAB; t++) {
            sum += p[t];
        }
        for (int k = 0; k < n; k++) {
            kept += p[list[k].token];
        }
        assert_true(fabs(sum - 1.0) < 1e-12);
        for (int k = 0; k < n; k++) {
            assert_true(fabs(exp((double)list[k].score) - p[list[k].token] / kept) < 1e-6);
            for (int t = 0; t < N_VOCAB; t++) { // no token outside is likelier than one inside
                bool is_inside = false;
                for (int j = 0; j < n; j++) {
                    is_inside |= list[j].token == t;
                }
                assert_true(is_inside || p[t] <= p[list[k].token]);
            }
        }
    }
    hsdi_sampler_destroy(&s);
}

static void lists_out_of_range_are_refused_with_row_and_entry(void **state)
{
    (void)state;
    const hsdi_window chain = {.n_tokens = 2, .tokens = {1, 2}, .parents = {0, 1}};
    const hsdi_candidate good[] = {{1, -0.5f}, {2, -1.0f}, {2, 0.0f}, {-1, 9.0f}};
    const hsdi_candidate twice[] = {{1, -0.5f}, {1, -1.0f}, {2, 0.0f}, {-1, 0}};
    const hsdi_candidate nothing[] = {{1, -0.5f}, {2, -1.0f}, {2, -INFINITY}, {-1, 0}};
    const hsdi_candidate nan[] = {{1, -0.5f}, {2, NAN}, {2, 0.0f}, {-1, 0}};
    const hsdi_candidate more[] = {{1, 0.5f}, {2, -1.0f}, {2, 0.0f}, {-1, 0}};
    const hsdi_candidate big[] = {{1, -0.5f}, {2, -1.0f}, {V, 0.0f}, {-1, 0}};
    const struct {
        const hsdi_candidate *q;
        int n_q;
        const char *where, *what; ///< NULL: it is right
    } cases[] = {
        {good, 2, NULL, NULL},           {NULL, 0, NULL, NULL},
        {twice, 2, "q", "row 0"},        {nothing, 2, "q", "row 1, entry 0"},
        {nan, 2, "q", "row 0, entry 1"}, {more, 2, "q", "row 0, entry 0"},
        {big, 2, "q", "row 1, entry 0"}, {good, 65, "n_q", "65"},
        {good, -1, "n_q", "-1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hsd_error err = {0};
        hsd_status status = hsdi_ratio_check(&chain, cases[i].q, cases[i].n_q, V, &err);
        assert_int_equal(status, cases[i].where ? HSD_EINVAL : HSD_OK);
        if (cases[i].where) {
            assert_string_equal(err.where, cases[i].where);
            assert_non_null(strstr(err.message, cases[i].what));
        }
    }
}

static void the_chi_square_tail_has_its_known_values(void **state)
{
    (void)state;
    // Abramowitz and Stegun, table 26.8, and exp(-x/2) for two degrees of freedom.
    assert_true(fabs(chi2_tail(3.84146, 1) - 0.05) < 1e-6);
    assert_true(fabs(chi2_tail(18.3070, 10) - 0.05) < 1e-6);
    assert_true(fabs(chi2_tail(124.342, 100) - 0.05) < 1e-6);
    assert_true(fabs(chi2_tail(27.631021115928547, 2) - 1e-6) < 1e-15);
    assert_true(fabs(chi2_tail(0.1, 2) - exp(-0.05)) < 1e-14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_have_the_joint_distribution_of_the_target),
        cmocka_unit_test(siblings_and_trees_have_the_joint_distribution_of_the_target),
        cmocka_unit_test(equal_distributions_accept_everything),
        cmocka_unit_test(draws_follow_the_list_without_those_that_are_gone),
        cmocka_unit_test(speculated_tokens_are_distributed_as_the_targets),
        cmocka_unit_test(greedy_gives_the_targets_own_token),
        cmocka_unit_test(the_draft_list_holds_the_likeliest_tokens_renormalised),
        cmocka_unit_test(lists_out_of_range_are_refused_with_row_and_entry),
        cmocka_unit_test(the_chi_square_tail_has_its_known_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
