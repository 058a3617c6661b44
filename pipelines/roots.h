/// Root selection: for which outcomes of the running verification a branch is worth having.
///
/// A root (row r, token v) happens when the window is accepted as far as r and v follows. Its
/// score is reach(r) * chance(v): reach(r) is the product of the expected acceptances of r and its
/// ancestors, times what the tokens behind r leave; chance(v) is v's part of what the row's sources
/// offer besides those tokens, which a rejection cannot return. The best `budget` roots of all
/// rows win.
///
/// Where the draft's own list and the proxies are both known, they are pooled: the chance of a
/// token is exp(w . x) over the sum of that, x being what both lists say of it. The weights w
/// follow the commits, so a source that knows nothing loses its say.
#ifndef HSDI_PIPELINES_ROOTS_H
#define HSDI_PIPELINES_ROOTS_H

#include <pipelines/draft.h>
#include <stddef.h>

enum {
    HSDI_CONFIDENCE_BINS = 10,
    HSDI_POOL_FACTS = 7, ///< three per source, and whether the token was drafted
    HSDI_POOL_WEIGHTS = HSDI_POOL_FACTS + HSDI_WINDOW_MAX, ///< the last fact has one per depth
};

/// What past commits taught. Fill with hsdi_calibration_init. Plain data.
typedef struct hsdi_calibration {
    float accepted[HSDI_CONFIDENCE_BINS]; ///< per bin of confidence, with a prior
    float tried[HSDI_CONFIDENCE_BINS];
    float weight[HSDI_POOL_WEIGHTS]; ///< of the facts, where both sources are known
    float square[HSDI_POOL_WEIGHTS]; ///< decayed sum of their squared gradients, with a prior
    float row_accepted[HSDI_WINDOW_MAX + 1]; ///< per depth of the token, with a prior
    float row_expected[HSDI_WINDOW_MAX + 1]; ///< what the bins said
} hsdi_calibration;

typedef struct hsdi_root {
    int row;
    int32_t token;
    float score;
    hsdi_source source; ///< HSDI_SOURCE_PROXY when the row's own list does not have the token
} hsdi_root;

/// Rows of a running verification. Lists are best first; token -1 ends a shorter one.
typedef struct hsdi_roots_in {
    const hsdi_window *window;
    int n_own;                                   ///< length of the own lists
    const hsdi_candidate *own[HSDI_WINDOW_ROWS]; ///< per row, NULL: not evaluated
    int n_proxies;
    const hsdi_candidate *proxies; ///< [n_tokens + 1, n_proxies], NULL: none (yet)
    int sources; ///< hsdi_sources: whose candidates may become roots; reach uses what is known
} hsdi_roots_in;

void hsdi_calibration_init(hsdi_calibration *calibration);

/// Say of the draft's own candidates where both sources have some, 0..1.
float hsdi_calibration_own_weight(const hsdi_calibration *calibration);

/// The acceptance to expect of a drafted token of this confidence (its share, 0..1), `depth`
/// tokens behind the committed text (1: the first).
float hsdi_calibration_expect(const hsdi_calibration *calibration, float confidence, int depth);

/// The acceptance to expect of each candidate of a list, best first, `depth` tokens behind the
/// committed text. Shapes: out [n]; 0 behind the end of the list. Their sum is at most 1.
void hsdi_calibration_spread(const hsdi_calibration *calibration, const hsdi_candidate *list, int n,
                             int depth, float *out);

/// Learn from a commit at `row`. Rows without an own list teach nothing.
/// Cost: O(rows * candidates^2), microseconds.
void hsdi_calibration_observe(hsdi_calibration *calibration, const hsdi_roots_in *in, int row,
                              int32_t next);

/// A token's part of a list, after a softmax over the list's scores; 0 when it is not there.
float hsdi_share(const hsdi_candidate *list, int n, int32_t token);

/// Shapes : out [budget], best first; equal scores by row, then token.
/// Result : number of roots, at most budget.
/// Thread : pure, any thread.
/// Cost   : O(rows * candidates * (candidates + budget)) at worst, no allocation.
/// Source : Mirror-SD, arXiv:2510.13161, one list per row; the global budget, the own roots and
///          the pool are this project's, see docs/architecture.md.
int hsdi_roots_select(const hsdi_calibration *calibration, const hsdi_roots_in *in, int budget,
                      hsdi_root *out);

#endif
