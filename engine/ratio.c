/// The ratio rule's arithmetic.
///
/// p is kept with its own sum instead of being renormalised: a rejected child changes only the
/// entries on its list, and the sum is taken again over all tokens in the order of ids, so that
/// what is sampled from and what it is divided by never drift apart.
#include "engine/ratio.h"

#include "base/error.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

/// Purposes of random numbers; the second word of the counter, where the coupled noise has 0 and
/// hsdi_uniform_at has 1.
enum { DRAW = 2, ACCEPT = 3, SAMPLE = 4 };

/// Uniform in (0, 1) with 53 significant bits: a vocabulary has tokens rarer than 2^-24.
static double uniform(uint64_t seed, int64_t position, uint32_t purpose, int sibling)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)sibling, purpose, (uint32_t)position,
                                 (uint32_t)((uint64_t)position >> 32)};
    uint32_t bits[4];
    hsdi_philox(counter, key, bits);
    uint64_t high = ((uint64_t)bits[0] << 20) | (bits[1] >> 12);
    return ((double)high + 0.5) * 0x1p-52;
}

int hsdi_ratio_length(const hsdi_candidate *list, int n_top)
{
    int n = 0;
    while (n < n_top && list[n].token >= 0) {
        n++;
    }
    return n;
}

/// Probability of list[i], 0 once it was drawn.
static double left_at(const hsdi_candidate *list, uint64_t gone, int i)
{
    return (gone >> i & 1) == 0 ? exp((double)list[i].score) : 0.0;
}

static double left_on(const hsdi_candidate *list, int n_list, uint64_t gone)
{
    double sum = 0.0;
    for (int i = 0; i < n_list; i++) {
        sum += left_at(list, gone, i);
    }
    return sum;
}

double hsdi_ratio_share(const hsdi_candidate *list, int n_list, uint64_t gone, int i)
{
    return left_at(list, gone, i) / left_on(list, n_list, gone);
}

int32_t hsdi_ratio_draw(const hsdi_candidate *list, int n_list, uint64_t *gone, uint64_t seed,
                        int64_t position, int sibling)
{
    double below = uniform(seed, position, DRAW, sibling) * left_on(list, n_list, *gone);
    double sum = 0.0;
    int drawn = -1; // the last one that is left when rounding puts `below` at the sum of all
    for (int i = 0; i < n_list && (drawn < 0 || sum <= below); i++) {
        double here = left_at(list, *gone, i);
        drawn = here > 0.0 ? i : drawn;
        sum += here;
    }
    if (drawn < 0) {
        return -1;
    }
    *gone |= UINT64_C(1) << drawn;
    return list[drawn].token;
}

int32_t hsdi_ratio_draft(hsdi_sampler *sampler, const float *logits, int64_t position, int n_top,
                         hsdi_candidate *list)
{
    uint64_t gone = 0;
    hsdi_sampler_likeliest(sampler, logits, n_top, list);
    (void)hsdi_ratio_draw(list, hsdi_ratio_length(list, n_top), &gone, hsdi_sampler_seed(sampler),
                          position, 0);
    int at = __builtin_ctzll(gone);
    hsdi_candidate drawn = list[at];
    memmove(list + 1, list, (size_t)at * sizeof *list);
    list[0] = drawn;
    return drawn.token;
}

static double sum_of(const double *p, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += p[i];
    }
    return sum;
}

void hsdi_ratio_begin(hsdi_ratio_node *node, double *p, int n_vocab, const hsdi_candidate *q,
                      int n_q)
{
    *node = (hsdi_ratio_node){
        .n_vocab = n_vocab, .p = p, .mass = sum_of(p, n_vocab), .q = q, .n_q = n_q};
}

/// Place of a token on the node's list among those that are not gone; -1: chosen without chance.
static int place_of(const hsdi_ratio_node *node, int32_t token)
{
    for (int i = 0; i < node->n_q; i++) {
        if (node->q[i].token == token && (node->gone >> i & 1) == 0) {
            return i;
        }
    }
    return -1;
}

double hsdi_ratio_acceptance(const hsdi_ratio_node *node, int32_t token)
{
    int i = place_of(node, token);
    double q = i < 0 ? 1.0 : hsdi_ratio_share(node->q, node->n_q, node->gone, i);
    double p = node->p[token] / node->mass;
    return p < q ? p / q : 1.0;
}

bool hsdi_ratio_reject(hsdi_ratio_node *node, int32_t token)
{
    int drawn = place_of(node, token);
    if (drawn < 0) {
        node->p[token] = 0.0;
    } else {
        double scale = node->mass / left_on(node->q, node->n_q, node->gone);
        for (int i = 0; i < node->n_q; i++) {
            double *p = &node->p[node->q[i].token];
            double taken = left_at(node->q, node->gone, i) * scale;
            *p = *p > taken ? *p - taken : 0.0;
        }
        node->gone |= UINT64_C(1) << drawn;
    }
    node->mass = sum_of(node->p, node->n_vocab);
    return node->mass > 0.0;
}

int32_t hsdi_ratio_at(const hsdi_ratio_node *node, double u)
{
    double below = u * node->mass, sum = 0.0;
    int32_t last = 0;
    for (int32_t i = 0; i < node->n_vocab; i++) {
        if (node->p[i] > 0.0) {
            last = i;
            sum += node->p[i];
            if (below < sum) {
                break;
            }
        }
    }
    return last;
}

static hsd_status check_list(const hsdi_candidate *list, int n, int n_vocab, int row,
                             hsd_error *err)
{
    for (int i = 0; i < n; i++) {
        if (list[i].token >= n_vocab || !(list[i].score <= 0.0f && list[i].score > -INFINITY)) {
            return hsdi_fail(err, HSD_EINVAL, "q", "row %d, entry %d: token %d, log-probability %g",
                             row, i, list[i].token, (double)list[i].score);
        }
        for (int j = 0; j < i; j++) {
            if (list[j].token == list[i].token) {
                return hsdi_fail(err, HSD_EINVAL, "q", "row %d: entries %d and %d are token %d",
                                 row, j, i, list[i].token);
            }
        }
    }
    return HSD_OK;
}

hsd_status hsdi_ratio_check(const hsdi_window *w, const hsdi_candidate *q, int n_q, int n_vocab,
                            hsd_error *err)
{
    if (n_q < 0 || n_q > HSDI_RATIO_TOP_MAX) {
        return hsdi_fail(err, HSD_EINVAL, "n_q", "lists of %d tokens", n_q);
    }
    hsd_status status = HSD_OK;
    for (int i = 0; i < w->n_tokens && n_q > 0 && status == HSD_OK; i++) {
        int row = w->parents[i];
        const hsdi_candidate *list = q + row * n_q;
        status = check_list(list, hsdi_ratio_length(list, n_q), n_vocab, row, err);
    }
    return status;
}

/// The row of the accepted child, 0 when there is none (no child is row 0).
static int choose_child(const hsdi_window *w, int row, int64_t position,
                        const hsdi_ratio_chance *chance, hsdi_ratio_node *node)
{
    int sibling = 0;
    for (int i = row; i < w->n_tokens; i++) {
        if (w->parents[i] != row) {
            continue;
        }
        double a = hsdi_ratio_acceptance(node, w->tokens[i]);
        if (chance->accept(chance->self, position, sibling++, a) ||
            !hsdi_ratio_reject(node, w->tokens[i])) {
            return i + 1;
        }
    }
    return 0;
}

static bool has_child(const hsdi_window *w, int row)
{
    int i = row;
    while (i < w->n_tokens && w->parents[i] != row) {
        i++;
    }
    return i < w->n_tokens;
}

void hsdi_ratio_walk(const hsdi_window *w, const hsdi_candidate *q, int n_q, int n_vocab,
                     int64_t position, void (*distribution)(void *user, int row, double *p),
                     void *user, const hsdi_ratio_chance *chance, double *p, hsdi_ratio_result *out)
{
    *out = (hsdi_ratio_result){0};
    for (;; position++) {
        const hsdi_candidate *list = n_q > 0 && has_child(w, out->row) ? q + out->row * n_q : NULL;
        hsdi_ratio_node node;
        distribution(user, out->row, p);
        hsdi_ratio_begin(&node, p, n_vocab, list, list ? hsdi_ratio_length(list, n_q) : 0);
        int child = choose_child(w, out->row, position, chance, &node);
        if (child == 0) {
            out->next = chance->sample(chance->self, position, &node);
            return;
        }
        out->row = child;
        out->n_accepted++;
    }
}

static bool philox_accept(void *self, int64_t position, int sibling, double probability)
{
    const uint64_t *seed = self;
    return uniform(*seed, position, ACCEPT, sibling) < probability;
}

static int32_t philox_sample(void *self, int64_t position, const hsdi_ratio_node *node)
{
    const uint64_t *seed = self;
    return hsdi_ratio_at(node, uniform(*seed, position, SAMPLE, 0));
}

typedef struct target_rows {
    hsdi_sampler *sampler;
    hsdi_ratio_logits_fn logits;
    void *user;
} target_rows;

static void target_distribution(void *user, int row, double *p)
{
    const target_rows *t = user;
    hsdi_sampler_probabilities(t->sampler, t->logits(t->user, row), p);
}

void hsdi_ratio_verify(hsdi_sampler *sampler, const hsdi_window *window, const hsdi_candidate *q,
                       int n_q, int64_t position, hsdi_ratio_logits_fn logits, void *user,
                       double *p, hsdi_ratio_result *out)
{
    uint64_t seed = hsdi_sampler_seed(sampler);
    target_rows rows = {sampler, logits, user};
    const hsdi_ratio_chance chance = {&seed, philox_accept, philox_sample};
    hsdi_ratio_walk(window, q, n_q, hsdi_sampler_n_vocab(sampler), position, target_distribution,
                    &rows, &chance, p, out);
}
