/// Proves: greedy takes the best logit, the lowest id among equals; coupled sampling equals the
///           plain definition (best of log p + noise over all tokens that the rules keep) for
///           every rule; candidate lists are sorted and begin with the pick; picks over many
///           positions are distributed as the softmax says.
/// Does not prove: acceptance rates of real drafts.
/// False alarms: the distribution case compares 8 frequencies at 6 standard deviations each, with
///           fixed seeds: it cannot fail by chance on another run.
#include "base/rng.h"
#include "engine/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 501, N_TOP = 8 };

static void random_logits(uint64_t seed, int64_t i, float spread, float *out)
{
    for (int t = 0; t < N_VOCAB; t++) {
        out[t] = spread * (float)(hsdi_uniform_at(seed, i, (uint32_t)t) * 2.0 - 1.0);
    }
}

static hsdi_sampler *make(hsd_sampling rules)
{
    hsdi_sampler *s = NULL;
    hsd_error err = {0};
    assert_int_equal(
        hsdi_sampler_create(&rules, N_VOCAB, hsdi_kernels_get(hsdi_isa_detect()), &s, &err),
        HSD_OK);
    return s;
}

/// The rules by their definitions, without any shortcut: kept[t] is 1 or 0.
static void keep_plainly(const hsd_sampling *r, const float *logits, char *kept)
{
    int order[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++) {
        int k = i;
        while (k > 0 && logits[order[k - 1]] < logits[i]) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
    int n = r->top_k > 0 && r->top_k < N_VOCAB ? r->top_k : N_VOCAB;
    double best = (double)logits[order[0]], total = 0.0, sum = 0.0;
    for (int i = 0; i < n; i++) {
        total += exp((double)logits[order[i]] - best);
    }
    memset(kept, 0, N_VOCAB);
    for (int i = 0; i < n && (i == 0 || sum < (double)r->top_p * total); i++) {
        sum += exp((double)logits[order[i]] - best);
        kept[order[i]] = r->min_p <= 0.0f || logits[order[i]] >= logits[order[0]] + logf(r->min_p);
    }
}

static void greedy_takes_the_lowest_id_among_equals(void **state)
{
    (void)state;
    float logits[N_VOCAB];
    hsdi_candidate top[N_TOP];
    hsdi_sampler *s = make((hsd_sampling){.top_p = 1.0f});
    for (int i = 0; i < 200; i++) {
        random_logits(1, i, 5.0f, logits);
        logits[17] = logits[400] = 6.0f;
        logits[3] = NAN;
        assert_int_equal(hsdi_sampler_pick(s, logits, i), 17);
        hsdi_sampler_top(s, logits, i, N_TOP, top);
        assert_int_equal(top[0].token, 17);
        assert_int_equal(top[1].token, 400);
    }
    hsdi_sampler_destroy(&s);
}

static void coupled_picks_equal_the_plain_definition_under_every_rule(void **state)
{
    (void)state;
    const hsd_sampling rules[] = {
        {.temperature = 1.0f, .top_p = 1.0f, .seed = 1},
        {.temperature = 0.8f, .top_p = 1.0f, .seed = 2},
        {.temperature = 0.8f, .top_k = 40, .top_p = 1.0f, .seed = 3},
        {.temperature = 1.3f, .top_k = 1, .top_p = 1.0f, .seed = 4},
        {.temperature = 0.8f, .top_p = 0.9f, .seed = 5},
        {.temperature = 0.8f, .top_p = 1.0f, .min_p = 0.05f, .seed = 6},
        {.temperature = 2.0f, .top_k = 50, .top_p = 0.95f, .min_p = 0.02f, .seed = UINT64_MAX},
        {.temperature = 0.01f, .top_p = 1.0f, .seed = 7},
    };
    float logits[N_VOCAB], noise[N_VOCAB];
    char kept[N_VOCAB];
    hsdi_candidate top[N_TOP];
    for (size_t k = 0; k < sizeof rules / sizeof *rules; k++) {
        hsdi_sampler *s = make(rules[k]);
        for (int i = 0; i < 300; i++) {
            random_logits(rules[k].seed, i, 8.0f, logits);
            keep_plainly(&rules[k], logits, kept);
            hsdi_gumbel(rules[k].seed, i, 0, N_VOCAB, noise);
            int best = -1;
            float best_score = -INFINITY;
            for (int t = 0; t < N_VOCAB; t++) {
                float score = logits[t] * (1.0f / rules[k].temperature) + noise[t];
                if (kept[t] && score > best_score) {
                    best = t;
                    best_score = score;
                }
            }
            int pick = hsdi_sampler_pick(s, logits, i);
            if (pick != best) {
                fail_msg("rules %zu, position %d: picked %d, expected %d", k, i, pick, best);
            }
            hsdi_sampler_top(s, logits, i, N_TOP, top);
            assert_int_equal(top[0].token, best);
            for (int c = 1; c < N_TOP && top[c].token >= 0; c++) {
                assert_true(kept[(int)top[c].token]);
                assert_true(top[c].score <= top[c - 1].score);
            }
        }
        hsdi_sampler_destroy(&s);
    }
}

static void picks_are_distributed_as_the_softmax(void **state)
{
    (void)state;
    enum { N = 40000, N_SEEN = 8 };
    float logits[N_VOCAB];
    int count[N_VOCAB] = {0};
    double total = 0.0;
    for (int t = 0; t < N_VOCAB; t++) {
        logits[t] = t < N_SEEN ? 0.4f * (float)t : -INFINITY;
        total += exp((double)logits[t]);
    }
    hsdi_sampler *s = make((hsd_sampling){.temperature = 1.0f, .top_p = 1.0f, .seed = 99});
    for (int i = 0; i < N; i++) {
        count[hsdi_sampler_pick(s, logits, i)]++;
    }
    for (int t = 0; t < N_VOCAB; t++) {
        double p = exp((double)logits[t]) / total;
        double sigma = sqrt(N * p * (1.0 - p));
        if (fabs(count[t] - N * p) > 6.0 * sigma) {
            fail_msg("token %d: %d picks, expected %.0f +- %.0f", t, count[t], N * p, sigma);
        }
    }
    hsdi_sampler_destroy(&s);
}

static void rules_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        hsd_sampling rules;
        const char *where;
    } bad[] = {
        {{.temperature = -1.0f, .top_p = 1.0f}, "temperature"},
        {{.temperature = NAN, .top_p = 1.0f}, "temperature"},
        {{.top_k = -1, .top_p = 1.0f}, "top_k"},
        {{.top_p = 0.0f}, "top_p"},
        {{.top_p = 1.5f}, "top_p"},
        {{.top_p = 1.0f, .min_p = -0.1f}, "min_p"},
        {{.top_p = 1.0f, .repeat_penalty = -1.0f}, "repeat_penalty"},
        {{.top_p = 1.0f, .repeat_penalty = 1e-9f}, "repeat_penalty"},
        {{.top_p = 1.0f, .repeat_penalty = 101.0f}, "repeat_penalty"},
        {{.top_p = 1.0f, .repeat_penalty = NAN}, "repeat_penalty"},
        {{.top_p = 1.0f, .repeat_last_n = -2}, "repeat_last_n"},
        {{.top_p = 1.0f, .no_repeat_ngram = -1}, "no_repeat_ngram"},
        {{.top_p = 1.0f, .rule = (hsd_rule)2}, "rule"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hsd_error err = {0};
        assert_int_equal(hsdi_sampling_check(&bad[i].rules, &err), HSD_EINVAL);
        assert_string_equal(err.where, bad[i].where);
    }
    const hsd_sampling ratio = {.top_p = 1.0f, .rule = HSD_RULE_RATIO};
    hsd_error err = {0};
    assert_int_equal(hsdi_sampling_check(&ratio, &err), HSD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lowest_id_among_equals),
        cmocka_unit_test(coupled_picks_equal_the_plain_definition_under_every_rule),
        cmocka_unit_test(picks_are_distributed_as_the_softmax),
        cmocka_unit_test(rules_out_of_range_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
