/// Choosing tokens from logits, alike for target and draft.
///
/// Greedy takes the best logit. Coupled sampling (temperature > 0) takes the best of
/// log p + Gumbel noise, where the noise depends on seed, position and token only: target and
/// draft draw the same noise, so a draft with a similar distribution picks the same token, and
/// what the target picks is an exact sample of its own distribution.
#ifndef HSDI_ENGINE_SAMPLER_H
#define HSDI_ENGINE_SAMPLER_H

#include "devices/draw.h"
#include "kernels/kernels.h"
#include "pipelines/stage.h"

#include <hsd/engine.h>

/// Thread: one at a time. No allocation after creation.
typedef struct hsdi_sampler hsdi_sampler;

/// Errors : HSD_EINVAL with the field's name; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_sampler_create(const hsd_sampling *sampling, int n_vocab,
                                             const hsdi_kernels *kernels, hsdi_sampler **out,
                                             hsd_error *err);
void hsdi_sampler_destroy(hsdi_sampler **sampler);

/// Errors : HSD_EINVAL with the field's name.
HSD_NODISCARD hsd_status hsdi_sampling_check(const hsd_sampling *sampling, hsd_error *err);

/// The token at text position `position` from its logits.
///
/// Shapes : logits [n_vocab].
int32_t hsdi_sampler_pick(hsdi_sampler *sampler, const float *logits, int64_t position);

/// The n_top best tokens, best first; the first is the one that hsdi_sampler_pick gives. A list
/// cut short by the sampling rules ends with token -1.
///
/// Shapes : out [n_top]. Scores: log-probability after the rules, plus noise when coupled.
void hsdi_sampler_top(hsdi_sampler *sampler, const float *logits, int64_t position, int n_top,
                      hsdi_candidate *out);

/// What a device may make of a row in place of its logits.
typedef struct hsdi_listing {
    int n;      ///< tokens in the list: 1, 8 or 64; 0: logits
    bool drawn; ///< by HSDI_OP_DRAW, rules and noise applied; else by HSDI_OP_TOP
} hsdi_listing;

/// The listing in which both functions below find what those above find in all logits; none (n 0)
/// where no list will do. `n_top` is the most that hsdi_sampler_top_listed is asked for, n_edits
/// the most tokens that rules of the text touch in a row.
///
/// With a short top-k and no rules of the text the list holds all that may be chosen, and the noise
/// is added here. Otherwise the device draws.
/// Proof  : tests/engine/test_lists.c
hsdi_listing hsdi_sampler_listing(const hsd_sampling *sampling, int n_edits, int n_top);

/// How the device draws the token at a position; without rules of the text, engine/rules.h.
void hsdi_sampler_draw(const hsdi_sampler *sampler, int64_t position, hsdi_draw *out);

/// As hsdi_sampler_pick, the same token.
///
/// Shapes : list [hsdi_top_width or hsdi_draw_width], without sums.
int32_t hsdi_sampler_pick_listed(hsdi_sampler *sampler, const float *list, hsdi_listing listing,
                                 int64_t position);

/// As hsdi_sampler_top, the same tokens; scores are the same but for rounding.
///
/// Shapes : list as above, with sums; out [n_top].
void hsdi_sampler_top_listed(hsdi_sampler *sampler, const float *list, hsdi_listing listing,
                             int64_t position, int n_top, hsdi_candidate *out);

/// The distribution that a token is chosen from: the softmax of what the rules keep; all of it on
/// the best token when greedy.
///
/// Shapes : logits, p [n_vocab]. Sums to 1 but for rounding; token 0 when every logit is -inf.
void hsdi_sampler_probabilities(hsdi_sampler *sampler, const float *logits, double *p);

/// The n_top likeliest tokens of that distribution, likeliest first, renormalised. A shorter list
/// ends with token -1.
///
/// Shapes : out [n_top]. Scores: log-probabilities, without noise.
void hsdi_sampler_likeliest(hsdi_sampler *sampler, const float *logits, int n_top,
                            hsdi_candidate *out);

uint64_t hsdi_sampler_seed(const hsdi_sampler *sampler);
int hsdi_sampler_n_vocab(const hsdi_sampler *sampler);

#endif
