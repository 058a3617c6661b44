/// The ratio rule: verification of a window by accepting with probability min(1, p/q).
///
/// p is the target's distribution after a row (all sampling rules applied), q the one that the
/// draft drew its token from. A drafted token x is accepted with probability min(1, p(x)/q(x));
/// when it is not, the token is drawn from max(p - q, 0) renormalised. Then the token has the
/// distribution p, whatever q is. A draft cuts q to its likeliest tokens and renormalises, so that
/// q is a short list, and draws from that list: the rule stays exact.
///
/// Trees: the children of a node are looked at in order. Children on the node's list were drawn
/// from it without replacement, so the k-th one has the distribution "q without the earlier ones,
/// renormalised". After each rejected child p becomes its residual, and the next child is measured
/// against that: by induction from the last child, the token has the distribution p. A row without
/// a list has children chosen without chance (an n-gram match, the best tokens of a model): the q
/// of such a child is 1 at its token, so it is accepted with probability p(x). So is a child that
/// its row's list does not hold: it cannot have been drawn from there.
///
/// What a caller must keep, or the output is biased:
///  - a list is exactly what was drawn from: the same floats on both sides;
///  - on a row with a list all children were drawn from it;
///  - whether a drafted token is kept in the window must not depend on which token was drawn: stop
///    a chain before a draw, not because of it;
///  - a text position is verified once: its numbers decide one token.
///
/// A distribution is a list of hsdi_candidate with log-probabilities; it is used renormalised. Pure
/// arithmetic apart from the sampler; no allocation after creation. Source : Leviathan et al. 2023,
/// arXiv:2211.17192, appendix A.1; siblings without
///          replacement: Jeon et al. 2024, arXiv:2402.14160.
/// Proof  : tests/engine/test_ratio.c, by enumeration of all draws and decisions.
#ifndef HSDI_ENGINE_RATIO_H
#define HSDI_ENGINE_RATIO_H

#include "engine/sampler.h"
#include "pipelines/window.h"

enum { HSDI_RATIO_TOP_MAX = 64 }; ///< tokens of a list

/// The children of one node, and what is left to decide among the target's tokens.
typedef struct hsdi_ratio_node {
    int n_vocab;
    double *p;               ///< [n_vocab], borrowed; not negative
    double mass;             ///< sum of p
    const hsdi_candidate *q; ///< [n_q], borrowed: the list that children were drawn from
    int n_q;
    uint64_t gone; ///< bit i: q[i] was a child already
} hsdi_ratio_node;

/// Logits [n_vocab] after `row`, with the rules that look at the text applied (a stage gives
/// hsdi_rules_apply of its row); valid until the next call. Called for the rows on the accepted
/// path alone.
typedef const float *(*hsdi_ratio_logits_fn)(void *user, int row);

/// Where the decisions come from.
typedef struct hsdi_ratio_chance {
    void *self;
    /// True with this probability; `sibling` counts the children of a node from 0.
    bool (*accept)(void *self, int64_t position, int sibling, double probability);
    /// A token i with probability p[i] / mass.
    int32_t (*sample)(void *self, int64_t position, const hsdi_ratio_node *node);
} hsdi_ratio_chance;

typedef struct hsdi_ratio_result {
    int n_accepted;
    int row;      ///< of the last accepted token, 0 if none; its ancestors are the accepted path
    int32_t next; ///< the token that follows: a correction, or a bonus below a leaf
} hsdi_ratio_result;

/* The draft's side. */

/// The draft's list after a row: its n_top likeliest tokens, renormalised; and a token drawn from
/// it for text position `position`, which becomes the first of the list.
///
/// Shapes : logits [n_vocab] after the rules that look at the text; list [n_top], token -1 ends it.
/// Result : the token drawn, list[0].
int32_t hsdi_ratio_draft(hsdi_sampler *sampler, const float *logits, int64_t position, int n_top,
                         hsdi_candidate *list);

/// Draw another child from a list, without those that are `gone` (bit i: list[i]); marks it there.
///
/// Result : the token; -1 when all of the list are gone. `sibling` numbers the draws at a node; 0
///          is what hsdi_ratio_draft made, so the next one is 1 with gone = 1.
int32_t hsdi_ratio_draw(const hsdi_candidate *list, int n_list, uint64_t *gone, uint64_t seed,
                        int64_t position, int sibling);

/// Tokens of a list that token -1 may end early.
int hsdi_ratio_length(const hsdi_candidate *list, int n_top);

/// Probability that the next child is list[i].
double hsdi_ratio_share(const hsdi_candidate *list, int n_list, uint64_t gone, int i);

/* The target's side, one node. */

/// Begin with p [n_vocab] and the list of the node's children (n_q = 0: none).
void hsdi_ratio_begin(hsdi_ratio_node *node, double *p, int n_vocab, const hsdi_candidate *q,
                      int n_q);

/// Probability of accepting this token as the next child.
double hsdi_ratio_acceptance(const hsdi_ratio_node *node, int32_t token);

/// p becomes what is left when this token was the next child and was not accepted. False when
/// nothing is left: then p and q are equal but for rounding, and the child stands.
/// Cost: O(n_vocab).
bool hsdi_ratio_reject(hsdi_ratio_node *node, int32_t token);

/// The token at share u in (0, 1) of the mass, in the order of ids.
int32_t hsdi_ratio_at(const hsdi_ratio_node *node, double u);

/* The target's side, a window. */

/// Lists that fit a window: q [rows, n_q], after each row the list that the row's children were
/// drawn from, token -1 ends it; n_q = 0: no lists. Rows without children are not looked at, so a
/// chain needs one list per token.
///
/// Errors : HSD_EINVAL naming row and entry: a token outside the vocabulary, a log-probability
///          above 0 or not finite, a token twice on a list, more than HSDI_RATIO_TOP_MAX entries.
HSD_NODISCARD hsd_status hsdi_ratio_check(const hsdi_window *window, const hsdi_candidate *q,
                                          int n_q, int n_vocab, hsd_error *err);

/// Verify a window (hsdi_window_is_valid) with lists that hsdi_ratio_check accepted. Siblings come
/// in the order in which they were drawn; the children of row 0 stand at text position `position`.
///
/// The numbers are Philox draws keyed by the sampler's seed, position and sibling, in streams that
/// neither the coupled noise nor the draft's draws use.
/// Shapes : p [n_vocab] scratch. Cost: O(n_vocab) per row on the path and per rejected child.
void hsdi_ratio_verify(hsdi_sampler *sampler, const hsdi_window *window, const hsdi_candidate *q,
                       int n_q, int64_t position, hsdi_ratio_logits_fn logits, void *user,
                       double *p, hsdi_ratio_result *out);

/// The same with decisions from elsewhere; `distribution` fills p [n_vocab] after a row.
void hsdi_ratio_walk(const hsdi_window *window, const hsdi_candidate *q, int n_q, int n_vocab,
                     int64_t position, void (*distribution)(void *user, int row, double *p),
                     void *user, const hsdi_ratio_chance *chance, double *p,
                     hsdi_ratio_result *out);

#endif
