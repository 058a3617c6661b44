/// Shares are softmaxes over short lists. With coupled sampling the scores hold noise as well, so
/// shares are no probabilities; the calibration turns them into measured acceptance.
#include <math.h>
#include <pipelines/roots.h>

static const float PRIOR_WEIGHT = 4.0f; ///< commits that the prior counts for
static const float MASS_DECAY = 0.95f;
static const float UNLISTED = 0.05f; ///< confidence of a drafted token that its row does not list

void hsdi_calibration_init(hsdi_calibration *calibration)
{
    for (int i = 0; i < HSDI_CONFIDENCE_BINS; i++) {
        float centre = ((float)i + 0.5f) / HSDI_CONFIDENCE_BINS;
        calibration->accepted[i] = PRIOR_WEIGHT * centre;
        calibration->tried[i] = PRIOR_WEIGHT;
    }
    calibration->own_mass = 1.0f;
    calibration->proxy_mass = 1.0f;
}

static int bin_of(float confidence)
{
    int bin = (int)(confidence * HSDI_CONFIDENCE_BINS);
    return bin < 0 ? 0 : bin >= HSDI_CONFIDENCE_BINS ? HSDI_CONFIDENCE_BINS - 1 : bin;
}

float hsdi_calibration_expect(const hsdi_calibration *calibration, float confidence)
{
    int bin = bin_of(confidence);
    return calibration->accepted[bin] / calibration->tried[bin];
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
static bool counts(const hsdi_candidate *candidate, int32_t without)
{
    return candidate->token != without && fabsf(candidate->score) < 1e30f;
}

/// Shapes: share [n]; the token `without` (-1: none) gets 0. Returns the list's length.
static int softmax_without(const hsdi_candidate *list, int n, int32_t without, float *share)
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

static float share_without(const hsdi_candidate *list, int n, int32_t without, int32_t token)
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
    return share_without(list, n, -1, token);
}

static float confidence_of(const hsdi_roots_in *in, int row)
{
    float share = hsdi_share(in->own[row], in->n_own, in->window[row]);
    return share > 0.0f ? share : UNLISTED;
}

static const hsdi_candidate *proxy_row(const hsdi_roots_in *in, int row)
{
    return in->proxies ? in->proxies + (size_t)row * (size_t)in->n_proxies : NULL;
}

static int32_t drafted(const hsdi_roots_in *in, int row)
{
    return row < in->n_window ? in->window[row] : -1;
}

void hsdi_calibration_observe(hsdi_calibration *calibration, const hsdi_roots_in *in,
                              int n_accepted, int32_t next)
{
    for (int row = 0; row < in->n_window && row <= n_accepted; row++) {
        if (in->own[row]) {
            int bin = bin_of(confidence_of(in, row));
            calibration->tried[bin] += 1.0f;
            calibration->accepted[bin] += row < n_accepted ? 1.0f : 0.0f;
        }
    }
    if (in->own[n_accepted] && in->proxies) {
        int32_t without = drafted(in, n_accepted);
        float own = share_without(in->own[n_accepted], in->n_own, without, next);
        float proxy = share_without(proxy_row(in, n_accepted), in->n_proxies, without, next);
        calibration->own_mass = MASS_DECAY * calibration->own_mass + (1.0f - MASS_DECAY) * own;
        calibration->proxy_mass =
            MASS_DECAY * calibration->proxy_mass + (1.0f - MASS_DECAY) * proxy;
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
    const hsdi_candidate *own = in->own[row], *proxies = proxy_row(in, row);
    float own_share[HSDI_TOP_MAX], proxy_share[HSDI_TOP_MAX];
    int32_t without = drafted(in, row);
    int n_own = softmax_without(own, in->n_own, without, own_share);
    int n_proxies = softmax_without(proxies, in->n_proxies, without, proxy_share);
    float total = calibration->own_mass + calibration->proxy_mass + 1e-6f;
    float own_weight = n_proxies > 0 ? (calibration->own_mass + 5e-7f) / total : 1.0f;
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
    float reach = 1.0f;
    int n = 0;
    for (int row = 0; row <= in->n_window && budget > 0; row++) {
        bool is_bonus = row == in->n_window;
        float accept =
            is_bonus ? 0.0f : hsdi_calibration_expect(calibration, confidence_of(in, row));
        n = offer_row(calibration, in, row, reach * (1.0f - accept), budget, out, n);
        reach *= accept;
    }
    return n;
}
