/// Shares are softmaxes over short lists. With coupled sampling the scores hold noise as well, so
/// shares are no probabilities; the calibration turns them into measured acceptance.
#include <math.h>
#include <pipelines/roots.h>
#include <string.h>

static const float PRIOR_WEIGHT = 4.0f; ///< commits that the prior counts for
static const float LISTED = 0.8f; ///< share of what the first candidate leaves that the list has
static const float MOST_CERTAIN = 0.995f;
static const float ROW_DECAY = 0.98f;
static const float UNLISTED = 0.05f; ///< confidence of a drafted token that its row does not list

// Of the pool: chosen on some prompts and checked on others, see docs/benchmarks.md; half or twice
// the rate and another decay change little.
static const float FIRST_WEIGHT = 0.5f;
static const float RATE = 0.2f;
static const float SQUARE_DECAY = 0.998f;
static const float LEAST_SQUARE = 1e-6f;
static const float LEAST_LOG = -15.0f; ///< of a share

/// Facts of a candidate, per source: the logarithm of its share there (of the list's last where it
/// is missing), -1 if it is missing, 1 if it leads. Then 1 if it was drafted.
enum { FACT_SHARE = 0, FACT_MISSING = 1, FACT_LEADS = 2, N_FACTS = 3, FACT_DRAFTED = 6 };
enum { OWN = 0, PROXY = 1 };

/// What is known of the tokens that may follow a row.
typedef struct pool {
    int n;
    bool is_both; ///< two lists, so the weights count
    int32_t token[2 * HSDI_TOP_MAX];
    bool is_own[2 * HSDI_TOP_MAX], is_drafted[2 * HSDI_TOP_MAX];
    float fact[2 * HSDI_TOP_MAX][HSDI_POOL_FACTS];
    float chance[2 * HSDI_TOP_MAX]; ///< sum 1 unless there are none
} pool;

void hsdi_calibration_init(hsdi_calibration *calibration)
{
    for (int i = 0; i < HSDI_CONFIDENCE_BINS; i++) {
        float centre = ((float)i + 0.5f) / HSDI_CONFIDENCE_BINS;
        calibration->accepted[i] = PRIOR_WEIGHT * centre;
        calibration->tried[i] = PRIOR_WEIGHT;
    }
    for (int i = 0; i <= HSDI_WINDOW_MAX; i++) {
        calibration->row_accepted[i] = PRIOR_WEIGHT;
        calibration->row_expected[i] = PRIOR_WEIGHT;
    }
    for (int i = 0; i < HSDI_POOL_WEIGHTS; i++) {
        bool is_share = i < FACT_DRAFTED && i % N_FACTS != FACT_LEADS;
        calibration->weight[i] = is_share ? FIRST_WEIGHT : 0.0f;
        calibration->square[i] = 1.0f;
    }
}

static int bin_of(float confidence)
{
    int bin = (int)(confidence * HSDI_CONFIDENCE_BINS);
    return bin < 0 ? 0 : bin >= HSDI_CONFIDENCE_BINS ? HSDI_CONFIDENCE_BINS - 1 : bin;
}

static float by_bin(const hsdi_calibration *calibration, float confidence)
{
    int bin = bin_of(confidence);
    return calibration->accepted[bin] / calibration->tried[bin];
}

float hsdi_calibration_own_weight(const hsdi_calibration *calibration)
{
    float own = calibration->weight[N_FACTS * OWN + FACT_SHARE];
    float proxy = calibration->weight[N_FACTS * PROXY + FACT_SHARE];
    return own + proxy > 0.0f ? own / (own + proxy) : 0.5f;
}

float hsdi_calibration_expect(const hsdi_calibration *calibration, float confidence, int depth)
{
    int row = depth < 0 ? 0 : depth > HSDI_WINDOW_MAX ? HSDI_WINDOW_MAX : depth;
    float factor = calibration->row_accepted[row] / calibration->row_expected[row];
    float expected = by_bin(calibration, confidence) * factor;
    return expected < MOST_CERTAIN ? expected : MOST_CERTAIN;
}

static int list_length(const hsdi_candidate *list, int n)
{
    int length = 0;
    while (list && length < n && list[length].token >= 0) {
        length++;
    }
    return length;
}

/// A damaged score (NaN, infinite) counts as absent.
static bool counts(const hsdi_candidate *candidate)
{
    return fabsf(candidate->score) < 1e30f;
}

/// Shapes: share [n]; 0 for a damaged score. Returns the list's length.
static int softmax(const hsdi_candidate *list, int n, float *share)
{
    int length = list_length(list, n);
    float best = -INFINITY, sum = 0.0f;
    for (int i = 0; i < length; i++) {
        if (counts(&list[i]) && list[i].score > best) {
            best = list[i].score;
        }
    }
    for (int i = 0; i < length; i++) {
        share[i] = counts(&list[i]) ? expf(list[i].score - best) : 0.0f;
        sum += share[i];
    }
    for (int i = 0; i < length && sum > 0.0f; i++) {
        share[i] /= sum;
    }
    return length;
}

float hsdi_share(const hsdi_candidate *list, int n, int32_t token)
{
    float share[HSDI_TOP_MAX];
    int length = softmax(list, n, share);
    for (int i = 0; i < length; i++) {
        if (list[i].token == token) {
            return share[i];
        }
    }
    return 0.0f;
}

/// Of window token i, in the list of the row that it follows.
static float confidence_of(const hsdi_roots_in *in, int i)
{
    float share = hsdi_share(in->own[in->window->parents[i]], in->n_own, in->window->tokens[i]);
    return share > 0.0f ? share : UNLISTED;
}

static const hsdi_candidate *proxy_row(const hsdi_roots_in *in, int row)
{
    return in->proxies ? in->proxies + (size_t)row * (size_t)in->n_proxies : NULL;
}

void hsdi_calibration_spread(const hsdi_calibration *calibration, const hsdi_candidate *list, int n,
                             int depth, float *out)
{
    float share[HSDI_TOP_MAX];
    int length = softmax(list, n, share);
    float first = length > 0 ? hsdi_calibration_expect(calibration, share[0], depth) : 0.0f;
    float rest = length > 0 ? 1.0f - share[0] : 0.0f;
    for (int i = 0; i < n; i++) {
        // What the first leaves is shared out in proportion; some of it is in no list.
        out[i] = i >= length   ? 0.0f
                 : i == 0      ? first
                 : rest > 0.0f ? LISTED * (1.0f - first) * share[i] / rest
                               : 0.0f;
    }
}

static int find_in(const pool *p, int32_t token)
{
    int i = 0;
    while (i < p->n && p->token[i] != token) {
        i++;
    }
    return i < p->n ? i : -1;
}

/// What is damaged or named twice is left out.
static void add_tokens(pool *p, const hsdi_candidate *list, int n, bool is_own)
{
    int length = list_length(list, n);
    for (int i = 0; i < length; i++) {
        if (counts(&list[i]) && find_in(p, list[i].token) < 0) {
            p->token[p->n] = list[i].token;
            p->is_own[p->n] = is_own;
            memset(p->fact[p->n++], 0, sizeof p->fact[0]);
        }
    }
}

/// What a source's list says of every token of the pool. False: the list is empty, it says nothing.
static bool add_facts(pool *p, int source, const hsdi_candidate *list, int n)
{
    float share[HSDI_TOP_MAX], least = 0.0f, *leads = NULL;
    int length = softmax(list, n, share);
    for (int i = 0; i < length; i++) {
        share[i] = share[i] > 0.0f ? fmaxf(logf(share[i]), LEAST_LOG) : LEAST_LOG;
        least = counts(&list[i]) ? fminf(least, share[i]) : least;
    }
    for (int i = length - 1; i >= 0; i--) { // the first of two counts
        if (counts(&list[i])) {
            leads = p->fact[find_in(p, list[i].token)] + N_FACTS * source;
            leads[FACT_SHARE] = share[i];
            leads[FACT_LEADS] = 2.0f; // it is in the list
        }
    }
    for (int i = 0; i < p->n && leads; i++) {
        float *fact = p->fact[i] + N_FACTS * source;
        bool has = fact[FACT_LEADS] > 0.0f;
        fact[FACT_SHARE] = has ? fact[FACT_SHARE] : least;
        fact[FACT_MISSING] = has ? 0.0f : -1.0f;
        fact[FACT_LEADS] = fact == leads ? 1.0f : 0.0f;
    }
    return leads != NULL;
}

/// Of a fact of tokens `depth` behind the committed text.
static int weight_of(int fact, int depth)
{
    int last = depth <= HSDI_WINDOW_MAX ? depth - 1 : HSDI_WINDOW_MAX;
    return fact == FACT_DRAFTED ? fact + last : fact;
}

/// The tokens that the `sources` see behind `row`, and their chances.
static void fill_pool(const hsdi_calibration *calibration, const hsdi_roots_in *in, int row,
                      int depth, int sources, pool *p)
{
    const hsdi_candidate *own = sources & HSDI_SOURCES_OWN ? in->own[row] : NULL;
    const hsdi_candidate *proxies = sources & HSDI_SOURCES_PROXY ? proxy_row(in, row) : NULL;
    p->n = 0;
    add_tokens(p, own, in->n_own, true);
    add_tokens(p, proxies, in->n_proxies, false);
    bool has_own = add_facts(p, OWN, own, in->n_own);
    p->is_both = add_facts(p, PROXY, proxies, in->n_proxies) && has_own;
    float best = -INFINITY, sum = 0.0f;
    for (int i = 0; i < p->n; i++) {
        const float *fact = p->fact[i];
        float z = fact[N_FACTS * OWN + FACT_SHARE] + fact[N_FACTS * PROXY + FACT_SHARE];
        p->is_drafted[i] = hsdi_window_child(in->window, row, p->token[i]) >= 0;
        p->fact[i][FACT_DRAFTED] = p->is_drafted[i] ? 1.0f : 0.0f;
        if (p->is_both) {
            z = 0.0f;
            for (int j = 0; j < HSDI_POOL_FACTS; j++) {
                z += calibration->weight[weight_of(j, depth)] * fact[j];
            }
        }
        p->chance[i] = z;
        best = fmaxf(best, z);
    }
    for (int i = 0; i < p->n; i++) {
        p->chance[i] = expf(p->chance[i] - best);
        sum += p->chance[i];
    }
    for (int i = 0; i < p->n; i++) {
        p->chance[i] /= sum;
    }
}

/// One step up the gradient of log chance(token), its length by what the fact's gradients are
/// like (Adagrad: Duchi, Hazan and Singer 2011), with old ones forgotten.
static void observe_pool(hsdi_calibration *calibration, const pool *p, int depth, int32_t token)
{
    int at = find_in(p, token);
    for (int j = 0; j < HSDI_POOL_FACTS && at >= 0 && p->is_both; j++) {
        float gradient = p->fact[at][j];
        for (int i = 0; i < p->n; i++) {
            gradient -= p->chance[i] * p->fact[i][j];
        }
        float *weight = &calibration->weight[weight_of(j, depth)];
        float *square = &calibration->square[weight_of(j, depth)];
        *square = SQUARE_DECAY * *square + gradient * gradient;
        *weight += RATE * gradient / sqrtf(*square + LEAST_SQUARE);
        if (j < FACT_DRAFTED && j % N_FACTS == FACT_SHARE && *weight < 0.0f) {
            *weight = 0.0f; // that a source likes a token is never against it
        }
    }
}

/// Tokens behind `row`: those of the accepted path were right, the others were not.
static void observe_row(hsdi_calibration *calibration, const hsdi_roots_in *in, int row, int depth,
                        int row_after)
{
    for (int i = row; i < in->window->n_tokens && in->own[row]; i++) {
        if (in->window->parents[i] == row) {
            float confidence = confidence_of(in, i), is_right = i + 1 == row_after ? 1.0f : 0.0f;
            int bin = bin_of(confidence);
            float *accepted = &calibration->row_accepted[depth];
            float *expected = &calibration->row_expected[depth];
            *accepted = ROW_DECAY * *accepted + is_right;
            *expected = ROW_DECAY * *expected + by_bin(calibration, confidence);
            calibration->tried[bin] += 1.0f;
            calibration->accepted[bin] += is_right;
        }
    }
}

void hsdi_calibration_observe(hsdi_calibration *calibration, const hsdi_roots_in *in, int row,
                              int32_t next)
{
    int path[HSDI_WINDOW_ROWS];
    int n = hsdi_window_path(in->window, row, path);
    for (int i = 0; i < n && i < HSDI_WINDOW_MAX; i++) {
        observe_row(calibration, in, path[i], i + 1, i + 1 < n ? path[i + 1] : -1);
    }
    for (int i = 0; i < n && i <= HSDI_WINDOW_MAX && in->proxies; i++) {
        if (in->own[path[i]]) {
            pool p;
            fill_pool(calibration, in, path[i], i + 1, HSDI_SOURCES_BOTH, &p);
            observe_pool(calibration, &p, i + 1,
                         i + 1 < n ? in->window->tokens[path[i + 1] - 1] : next);
        }
    }
}

static bool is_better(const hsdi_root *a, const hsdi_root *b)
{
    if (a->score != b->score) {
        return a->score > b->score;
    }
    return a->row != b->row ? a->row < b->row : a->token < b->token;
}

/// Insert into the sorted out[n], which holds at most `budget`. Returns the new count.
static int insert(hsdi_root *out, int n, int budget, hsdi_root root)
{
    int at = n;
    if (n == budget) {
        if (!is_better(&root, &out[n - 1])) {
            return n;
        }
        at = n - 1;
    }
    for (; at > 0 && is_better(&root, &out[at - 1]); at--) {
        out[at] = out[at - 1];
    }
    out[at] = root;
    return n < budget ? n + 1 : n;
}

/// Sets the reach of the rows behind `row`. Returns what their tokens leave of it, 0..1.
static float reach_children(const hsdi_calibration *calibration, const hsdi_roots_in *in,
                            const pool *p, int row, int *depth, float *reach)
{
    float stay = 1.0f;
    for (int i = row; i < in->window->n_tokens; i++) {
        if (in->window->parents[i] == row) {
            int at = find_in(p, in->window->tokens[i]);
            depth[i + 1] = depth[row] + 1;
            float expected =
                !in->proxies
                    ? hsdi_calibration_expect(calibration, confidence_of(in, i), depth[i + 1])
                : at >= 0 ? p->chance[at]
                          : UNLISTED;
            float accept = expected < MOST_CERTAIN * stay ? expected : MOST_CERTAIN * stay;
            stay -= accept;
            reach[i + 1] = reach[row] * accept;
        }
    }
    return stay;
}

int hsdi_roots_select(const hsdi_calibration *calibration, const hsdi_roots_in *in, int budget,
                      hsdi_root *out)
{
    float reach[HSDI_WINDOW_ROWS] = {1.0f};
    int depth[HSDI_WINDOW_ROWS] = {0}, n = 0;
    for (int row = 0; row <= in->window->n_tokens && budget > 0; row++) {
        pool p;
        float sum = 0.0f;
        fill_pool(calibration, in, row, depth[row] + 1, HSDI_SOURCES_BOTH, &p);
        float stay = reach_children(calibration, in, &p, row, depth, reach);
        if (in->sources != HSDI_SOURCES_BOTH) {
            fill_pool(calibration, in, row, depth[row] + 1, in->sources, &p);
        }
        for (int i = 0; i < p.n; i++) {
            sum += p.is_drafted[i] ? 0.0f : p.chance[i];
        }
        for (int i = 0; i < p.n; i++) {
            float score = sum > 0.0f ? reach[row] * stay * p.chance[i] / sum : 0.0f;
            if (!p.is_drafted[i] && score > 0.0f) {
                hsdi_source source = p.is_own[i] ? HSDI_SOURCE_OWN : HSDI_SOURCE_PROXY;
                n = insert(out, n, budget, (hsdi_root){row, p.token[i], score, source});
            }
        }
    }
    return n;
}
