/// Greedy and coupled sampling.
///
/// Rules come in the order top-k, top-p, min-p, temperature; those that look at the text came
/// before (engine/rules.c). Their arithmetic runs over tokens in
/// one fixed order, so that the same logits always keep the same tokens.
#include "engine/sampler.h"

#include "base/error.h"
#include "base/gumbel.h"
#include "base/rng.h"
#include "devices/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/// The high bits of a draw bound its noise from above; most tokens are ruled out by a table.
enum { BOUND_BITS = 10, N_BOUNDS = 1 << BOUND_BITS };

typedef struct entry {
    float logit;
    int32_t token;
} entry;

struct hsdi_sampler {
    hsd_sampling rules;
    int n_vocab;
    const hsdi_kernels *kernels;
    entry *sorted;   ///< [n_vocab] tokens in descending order, as far as a rule needs it
    float *filtered; ///< [n_vocab] logits, -inf where a rule cuts
    float bound[N_BOUNDS];
};

static hsd_status check_history_rules(const hsd_sampling *s, hsd_error *err)
{
    // Beyond these bounds a logit could overflow to infinity.
    if (!(s->repeat_penalty == 0.0f ||
          (s->repeat_penalty >= 0.01f && s->repeat_penalty <= 100.0f))) {
        return hsdi_fail(err, HSD_EINVAL, "repeat_penalty", "%g is neither 0 nor in 0.01..100",
                         (double)s->repeat_penalty);
    }
    if (s->repeat_last_n < -1) {
        return hsdi_fail(err, HSD_EINVAL, "repeat_last_n", "%d is below -1", s->repeat_last_n);
    }
    if (s->no_repeat_ngram < 0) {
        return hsdi_fail(err, HSD_EINVAL, "no_repeat_ngram", "%d is negative", s->no_repeat_ngram);
    }
    if (s->rule != HSD_RULE_COUPLED && s->rule != HSD_RULE_RATIO) {
        return hsdi_fail(err, HSD_EINVAL, "rule", "%d is no rule", (int)s->rule);
    }
    return HSD_OK;
}

hsd_status hsdi_sampling_check(const hsd_sampling *s, hsd_error *err)
{
    if (!(s->temperature >= 0.0f && s->temperature <= 100.0f)) {
        return hsdi_fail(err, HSD_EINVAL, "temperature", "%g is not between 0 and 100",
                         (double)s->temperature);
    }
    if (s->top_k < 0) {
        return hsdi_fail(err, HSD_EINVAL, "top_k", "%d is negative", s->top_k);
    }
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f)) {
        return hsdi_fail(err, HSD_EINVAL, "top_p", "%g is not above 0 and at most 1",
                         (double)s->top_p);
    }
    if (!(s->min_p >= 0.0f && s->min_p <= 1.0f)) {
        return hsdi_fail(err, HSD_EINVAL, "min_p", "%g is not between 0 and 1", (double)s->min_p);
    }
    return check_history_rules(s, err);
}

hsd_status hsdi_sampler_create(const hsd_sampling *sampling, int n_vocab,
                               const hsdi_kernels *kernels, hsdi_sampler **out, hsd_error *err)
{
    hsd_status status = hsdi_sampling_check(sampling, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_sampler *s = calloc(1, sizeof *s);
    if (s) {
        s->sorted = calloc((size_t)n_vocab, sizeof *s->sorted);
        s->filtered = calloc((size_t)n_vocab, sizeof *s->filtered);
    }
    if (!s || !s->sorted || !s->filtered) {
        hsdi_sampler_destroy(&s);
        return hsdi_fail(err, HSD_ENOMEM, "sampler", "vocabulary of %d", n_vocab);
    }
    s->rules = *sampling;
    s->n_vocab = n_vocab;
    s->kernels = kernels;
    for (uint32_t i = 0; i < N_BOUNDS; i++) {
        uint32_t highest = (i << (32 - BOUND_BITS)) | ((1u << (32 - BOUND_BITS)) - 1u);
        s->bound[i] = hsdi_gumbel_of(highest);
    }
    *out = s;
    return HSD_OK;
}

void hsdi_sampler_destroy(hsdi_sampler **sampler)
{
    if (sampler && *sampler) {
        free((*sampler)->sorted);
        free((*sampler)->filtered);
        free(*sampler);
        *sampler = NULL;
    }
}

/// Descending by logit, ascending by token among equals.
static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) {
        return x->logit > y->logit ? -1 : 1;
    }
    return (x->token > y->token) - (x->token < y->token);
}

/// Fill s->sorted with every token that can survive and sort it; returns how many.
static int sort_tokens(hsdi_sampler *s, const float *logits)
{
    int n = 0;
    for (int i = 0; i < s->n_vocab; i++) {
        if (logits[i] > -INFINITY) { // false for NaN too
            s->sorted[n++] = (entry){logits[i], i};
        }
    }
    qsort(s->sorted, (size_t)n, sizeof *s->sorted, compare_entries);
    return n;
}

/// What a token counts for in top-p: an integer, so that sums are the same in every order and on
/// every device (kernels/opencl/draw.cl). 2^24 tokens fit.
static uint64_t weight_of(float logit, float best)
{
    return hsdi_exp_fixed(logit - best);
}

/// top-p in parts of 2^32; 0: it keeps everything.
static uint32_t share_of(const hsd_sampling *r)
{
    double share = (double)r->top_p * 0x1p32;
    return r->top_p >= 1.0f ? 0 : share < 1.0 ? 1 : (uint32_t)share;
}

/// How many of the best n tokens top-p keeps: the fewest whose weight reaches its share.
static int keep_top_p(const hsdi_sampler *s, int n)
{
    float best = s->sorted[0].logit;
    uint64_t total = 0, sum = 0, weight = 1;
    for (int i = 0; i < n && weight > 0; i++) {
        total += weight = weight_of(s->sorted[i].logit, best);
    }
    uint64_t need = hsdi_mul_hi64(total, (uint64_t)share_of(&s->rules) << 32);
    need = need > 0 ? need : 1;
    for (int i = 0; i < n && total >= need; i++) {
        sum += weight_of(s->sorted[i].logit, best);
        if (sum >= need) {
            return i + 1;
        }
    }
    return n;
}

/// How many of the first n in s->sorted top-k, top-p and min-p keep.
static int keep(const hsdi_sampler *s, int n, float floor_logit)
{
    const hsd_sampling *r = &s->rules;
    n = r->top_k > 0 && r->top_k < n ? r->top_k : n;
    n = r->top_p < 1.0f && n > 0 ? keep_top_p(s, n) : n;
    while (n > 0 && !(s->sorted[n - 1].logit >= floor_logit)) {
        n--;
    }
    return n;
}

static float floor_of(const hsd_sampling *r, float best)
{
    return r->min_p > 0.0f ? best + logf(r->min_p) : -INFINITY;
}

/// Fill s->filtered: logits over temperature where top-k, top-p and min-p keep a token, else -inf.
static void filter(hsdi_sampler *s, const float *logits)
{
    const hsd_sampling *r = &s->rules;
    float scale = 1.0f / r->temperature;
    float best = logits[s->kernels->argmax(logits, s->n_vocab)];
    float floor_logit = floor_of(r, best);
    if ((r->top_k == 0 || r->top_k >= s->n_vocab) && r->top_p >= 1.0f) {
        for (int i = 0; i < s->n_vocab; i++) {
            s->filtered[i] = logits[i] >= floor_logit ? logits[i] * scale : -INFINITY;
        }
        return;
    }
    int n = keep(s, sort_tokens(s, logits), floor_logit);
    for (int i = 0; i < s->n_vocab; i++) {
        s->filtered[i] = -INFINITY;
    }
    for (int i = 0; i < n; i++) {
        s->filtered[s->sorted[i].token] = s->sorted[i].logit * scale;
    }
}

/// Insert into a list that is sorted by descending score; equal scores keep token order.
static void insert(hsdi_candidate *out, int *n, int n_top, int32_t token, float score)
{
    int i = *n < n_top ? (*n)++ : n_top - 1;
    while (i > 0 && out[i - 1].score < score) {
        out[i] = out[i - 1];
        i--;
    }
    out[i] = (hsdi_candidate){token, score};
}

static int top_greedy(const float *logits, int n_vocab, int n_top, hsdi_candidate *out)
{
    int n = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        if ((n < n_top && logits[i] > -INFINITY) || (n > 0 && logits[i] > out[n - 1].score)) {
            insert(out, &n, n_top, i, logits[i]);
        }
    }
    return n;
}

/// The best of s->filtered plus noise.
static int top_coupled(const hsdi_sampler *s, int64_t position, int n_top, hsdi_candidate *out)
{
    const uint32_t key[2] = {(uint32_t)s->rules.seed, (uint32_t)(s->rules.seed >> 32)};
    int n = 0;
    for (int32_t block = 0; block * 4 < s->n_vocab; block++) {
        int n_here = s->n_vocab - block * 4 < 4 ? s->n_vocab - block * 4 : 4;
        const float *l = s->filtered + block * 4;
        // The best that any of the four could reach; skips the generator for hopeless ones.
        float worst = n < n_top ? -INFINITY : out[n - 1].score;
        bool hopeless = true;
        for (int i = 0; i < n_here; i++) {
            hopeless &= !(l[i] + s->bound[N_BOUNDS - 1] > worst && l[i] > -INFINITY);
        }
        if (hopeless) {
            continue;
        }
        const uint32_t counter[4] = {(uint32_t)block, 0, (uint32_t)position,
                                     (uint32_t)((uint64_t)position >> 32)};
        uint32_t bits[4];
        hsdi_philox(counter, key, bits);
        for (int i = 0; i < n_here; i++) {
            worst = n < n_top ? -INFINITY : out[n - 1].score;
            if (!(l[i] > -INFINITY) || l[i] + s->bound[bits[i] >> (32 - BOUND_BITS)] <= worst) {
                continue;
            }
            float score = l[i] + hsdi_gumbel_of(bits[i]);
            if (score > worst) {
                insert(out, &n, n_top, block * 4 + i, score);
            }
        }
    }
    return n;
}

int32_t hsdi_sampler_pick(hsdi_sampler *s, const float *logits, int64_t position)
{
    if (s->rules.temperature <= 0.0f) {
        return s->kernels->argmax(logits, s->n_vocab);
    }
    hsdi_candidate best;
    filter(s, logits);
    int n = top_coupled(s, position, 1, &best);
    return n > 0 ? best.token : 0; // no finite logit at all: still a token, the same every time
}

/// Scores become log-probabilities; behind the n candidates the list ends.
static void finish_top(hsdi_candidate *out, int n, int n_top, float norm)
{
    for (int i = 0; i < n; i++) {
        out[i].score -= norm;
    }
    if (n == 0) {
        out[n++] = (hsdi_candidate){0, 0.0f}; // every token is ruled out
    }
    for (int i = n; i < n_top; i++) {
        out[i] = (hsdi_candidate){-1, -INFINITY};
    }
}

void hsdi_sampler_top(hsdi_sampler *s, const float *logits, int64_t position, int n_top,
                      hsdi_candidate *out)
{
    int n;
    if (s->rules.temperature > 0.0f) {
        filter(s, logits);
        logits = s->filtered;
        n = top_coupled(s, position, n_top, out);
    } else {
        n = top_greedy(logits, s->n_vocab, n_top, out);
    }
    finish_top(out, n, n_top, n > 0 ? s->kernels->log_sum_exp(logits, s->n_vocab) : 0.0f);
}

hsdi_listing hsdi_sampler_listing(const hsd_sampling *s, int n_edits, int n_top)
{
    bool draws = s->temperature > 0.0f;
    bool short_top_k = s->top_k > 0 && s->top_k <= HSDI_TOP_LIST_MAX;
    hsdi_listing listing = {.drawn = n_edits > 0 || (draws && !short_top_k)};
    int n = draws && !listing.drawn ? s->top_k : n_top;
    if ((draws && s->rule != HSD_RULE_COUPLED) || n < 1 || n > HSDI_TOP_LIST_MAX ||
        n_edits > HSDI_DRAW_EDITS_MAX) {
        return (hsdi_listing){0};
    }
    // Few lengths: sessions with graphs of the same length share passes.
    listing.n = n == 1 ? 1 : n <= 8 ? 8 : HSDI_TOP_LIST_MAX;
    return listing;
}

void hsdi_sampler_draw(const hsdi_sampler *s, int64_t position, hsdi_draw *out)
{
    const hsd_sampling *r = &s->rules;
    *out = (hsdi_draw){.gap = -INFINITY, .scale = 1.0f, .seed = r->seed, .position = position};
    if (r->temperature > 0.0f) {
        out->noisy = true;
        out->scale = 1.0f / r->temperature;
        out->top_k = r->top_k;
        out->top_p = share_of(r);
        out->gap = r->min_p > 0.0f ? logf(r->min_p) : -INFINITY;
    }
}

/// As top_coupled, of the tokens in a list; *norm is the log of what their softmax is divided by.
static int top_of_list(hsdi_sampler *s, const float *list, int n_list, int64_t position, int n_top,
                       hsdi_candidate *out, float *norm)
{
    float scale = 1.0f / s->rules.temperature;
    int n = 0, n_out = 0;
    while (n < n_list && list[2 * n + 1] >= 0.0f) {
        s->sorted[n] = (entry){list[2 * n], (int32_t)list[2 * n + 1]};
        n++;
    }
    int n_kept = n > 0 ? keep(s, n, floor_of(&s->rules, s->sorted[0].logit)) : 0;
    n = 0;
    for (int i = 0; i < n_kept; i++) {
        float noise, logit = s->sorted[i].logit * scale;
        int32_t token = s->sorted[i].token;
        if (logit > -INFINITY) {
            hsdi_gumbel(s->rules.seed, position, token, 1, &noise);
            s->sorted[n] = (entry){logit + noise, token};
            s->filtered[n++] = logit;
        }
    }
    qsort(s->sorted, (size_t)n, sizeof *s->sorted, compare_entries);
    for (; n_out < n && n_out < n_top; n_out++) {
        out[n_out] = (hsdi_candidate){s->sorted[n_out].token, s->sorted[n_out].logit};
    }
    *norm = n > 0 ? s->kernels->log_sum_exp(s->filtered, n) : 0.0f;
    return n_out;
}

int32_t hsdi_sampler_pick_listed(hsdi_sampler *s, const float *list, hsdi_listing listing,
                                 int64_t position)
{
    hsdi_candidate best = {.token = (int32_t)list[1]};
    float norm;
    if (s->rules.temperature > 0.0f && !listing.drawn &&
        top_of_list(s, list, listing.n, position, 1, &best, &norm) == 0) {
        return 0;
    }
    return best.token >= 0 ? best.token : 0;
}

void hsdi_sampler_top_listed(hsdi_sampler *s, const float *list, hsdi_listing listing,
                             int64_t position, int n_top, hsdi_candidate *out)
{
    int n = 0, n_list = listing.n;
    float norm = 0.0f;
    if (s->rules.temperature > 0.0f && !listing.drawn) {
        n = top_of_list(s, list, n_list, position, n_top, out, &norm);
    } else {
        for (; n < n_list && n < n_top && list[2 * n + 1] >= 0.0f; n++) {
            out[n] = (hsdi_candidate){(int32_t)list[2 * n + 1], list[2 * n]};
        }
        norm = listing.drawn ? list[2 * n_list] + logf(list[2 * n_list + 1])
                             : list[0] + logf(list[2 * n_list]);
    }
    finish_top(out, n, n_top, norm);
}

void hsdi_sampler_probabilities(hsdi_sampler *s, const float *logits, double *p)
{
    int best = s->kernels->argmax(logits, s->n_vocab);
    memset(p, 0, (size_t)s->n_vocab * sizeof *p);
    if (s->rules.temperature <= 0.0f || !(logits[best] > -INFINITY)) {
        p[best] = 1.0;
        return;
    }
    filter(s, logits);
    double total = 0.0;
    for (int i = 0; i < s->n_vocab; i++) {
        if (s->filtered[i] > -INFINITY) { // false for NaN too
            p[i] = exp((double)s->filtered[i] - (double)s->filtered[best]);
            total += p[i];
        }
    }
    for (int i = 0; i < s->n_vocab; i++) {
        p[i] /= total;
    }
}

void hsdi_sampler_likeliest(hsdi_sampler *s, const float *logits, int n_top, hsdi_candidate *out)
{
    int n;
    if (s->rules.temperature > 0.0f) {
        filter(s, logits);
        n = top_greedy(s->filtered, s->n_vocab, n_top, out);
    } else {
        n = top_greedy(logits, s->n_vocab, 1, out);
    }
    if (n == 0) {
        out[n++] = (hsdi_candidate){0, 0.0f}; // every token is ruled out
    }
    double best = (double)out[0].score, total = 0.0;
    for (int i = 0; i < n; i++) {
        total += exp((double)out[i].score - best);
    }
    for (int i = 0; i < n_top; i++) {
        double score = i < n ? (double)out[i].score - best - log(total) : 0.0;
        out[i] = (hsdi_candidate){i < n ? out[i].token : -1, (float)score};
    }
}

uint64_t hsdi_sampler_seed(const hsdi_sampler *s)
{
    return s->rules.seed;
}

int hsdi_sampler_n_vocab(const hsdi_sampler *s)
{
    return s->n_vocab;
}
