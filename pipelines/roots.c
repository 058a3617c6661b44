/// Shares are softmaxes over short lists. With coupled sampling the scores hold noise as well, so
/// shares are no probabilities; the calibration turns them into measured acceptance.
#include <math.h>
#include <pipelines/roots.h>

static const float PRIOR_WEIGHT = 4.0f; ///< commits that the prior counts for
static const float PRIOR_MASS = 1.0f;
static const float MASS_DECAY = 0.98f;
static const float LEAST_MASS = 0.5f; ///< so that no source is ever left out
static const float LISTED = 0.8f; ///< share of what the first candidate leaves that the list has
static const float MOST_CERTAIN = 0.995f;
static const float ROW_DECAY = 0.98f;
static const float UNLISTED = 0.05f; ///< confidence of a drafted token that its row does not list

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
    calibration->own_mass = PRIOR_MASS;
    calibration->proxy_mass = PRIOR_MASS;
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
    float own = calibration->own_mass + LEAST_MASS, proxy = calibration->proxy_mass + LEAST_MASS;
    return own / (own + proxy);
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

/// A row's drafted tokens, which no rejection returns; window NULL: none.
typedef struct drafted {
    const hsdi_window *window;
    int row;
} drafted;

/// A damaged score (NaN, infinite) counts as absent.
static bool counts(const hsdi_candidate *candidate, drafted without)
{
    return fabsf(candidate->score) < 1e30f &&
           !(without.window &&
             hsdi_window_child(without.window, without.row, candidate->token) >= 0);
}

/// Shapes: share [n]; the tokens `without` get 0. Returns the list's length.
static int softmax_without(const hsdi_candidate *list, int n, drafted without, float *share)
{
    int length = list_length(list, n);
    float best = -INFINITY, sum = 0.0f;
    for (int i = 0; i < length; i++) {
        if (counts(&list[i], without) && list[i].score > best) {
            best = list[i].score;
        }
    }
    for (int i = 0; i < length; i++) {
        share[i] = counts(&list[i], without) ? expf(list[i].score - best) : 0.0f;
        sum += share[i];
    }
    for (int i = 0; i < length && sum > 0.0f; i++) {
        share[i] /= sum;
    }
    return length;
}

static float share_without(const hsdi_candidate *list, int n, drafted without, int32_t token)
{
    float share[HSDI_TOP_MAX];
    int length = softmax_without(list, n, without, share);
    for (int i = 0; i < length; i++) {
        if (list[i].token == token) {
            return share[i];
        }
    }
    return 0.0f;
}

float hsdi_share(const hsdi_candidate *list, int n, int32_t token)
{
    return share_without(list, n, (drafted){0}, token);
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
    int length = softmax_without(list, n, (drafted){0}, share);
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
    if (in->own[row] && in->proxies) {
        drafted without = {in->window, row};
        float own = share_without(in->own[row], in->n_own, without, next);
        float proxy = share_without(proxy_row(in, row), in->n_proxies, without, next);
        // One step of expectation maximisation for the weights of a mixture.
        float own_part = hsdi_calibration_own_weight(calibration) * own;
        float proxy_part = (1.0f - hsdi_calibration_own_weight(calibration)) * proxy;
        if (own_part + proxy_part > 0.0f) {
            float part = own_part / (own_part + proxy_part);
            calibration->own_mass = MASS_DECAY * calibration->own_mass + part;
            calibration->proxy_mass = MASS_DECAY * calibration->proxy_mass + 1.0f - part;
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

/// Offers the row's roots. Own and proxy shares of one token add up, each with its weight.
static int offer_row(const hsdi_calibration *calibration, const hsdi_roots_in *in, int row,
                     float reach, int budget, hsdi_root *out, int n)
{
    const hsdi_candidate *own = in->sources & HSDI_SOURCES_OWN ? in->own[row] : NULL;
    const hsdi_candidate *proxies = in->sources & HSDI_SOURCES_PROXY ? proxy_row(in, row) : NULL;
    float own_share[HSDI_TOP_MAX], proxy_share[HSDI_TOP_MAX];
    drafted without = {in->window, row};
    int n_own = softmax_without(own, in->n_own, without, own_share);
    int n_proxies = softmax_without(proxies, in->n_proxies, without, proxy_share);
    float own_weight = n_proxies > 0 ? hsdi_calibration_own_weight(calibration) : 1.0f;
    float proxy_weight = n_own > 0 ? 1.0f - own_weight : 1.0f;
    for (int i = 0; i < n_own; i++) {
        float share = own_weight * own_share[i];
        for (int j = 0; j < n_proxies; j++) {
            if (proxies[j].token == own[i].token && proxy_share[j] > 0.0f) {
                share += proxy_weight * proxy_share[j];
                proxy_share[j] = -1.0f; // taken into account
            }
        }
        if (own_share[i] > 0.0f || share > 0.0f) {
            hsdi_root root = {row, own[i].token, reach * share, HSDI_SOURCE_OWN};
            n = insert(out, n, budget, root);
        }
    }
    for (int j = 0; j < n_proxies; j++) {
        if (proxy_share[j] > 0.0f) {
            hsdi_root root = {row, proxies[j].token, reach * proxy_weight * proxy_share[j],
                              HSDI_SOURCE_PROXY};
            n = insert(out, n, budget, root);
        }
    }
    return n;
}

int hsdi_roots_select(const hsdi_calibration *calibration, const hsdi_roots_in *in, int budget,
                      hsdi_root *out)
{
    const hsdi_window *window = in->window;
    float reach[HSDI_WINDOW_ROWS], stay[HSDI_WINDOW_ROWS];
    int depth[HSDI_WINDOW_ROWS] = {0};
    reach[0] = stay[0] = 1.0f;
    for (int i = 0; i < window->n_tokens; i++) {
        int parent = window->parents[i];
        depth[i + 1] = depth[parent] + 1;
        float expected = hsdi_calibration_expect(calibration, confidence_of(in, i), depth[i + 1]);
        float accept = expected < stay[parent] ? expected : MOST_CERTAIN * stay[parent];
        stay[parent] -= accept;
        reach[i + 1] = reach[parent] * accept;
        stay[i + 1] = 1.0f;
    }
    int n = 0;
    for (int row = 0; row <= window->n_tokens && budget > 0; row++) {
        n = offer_row(calibration, in, row, reach[row] * stay[row], budget, out, n);
    }
    return n;
}
