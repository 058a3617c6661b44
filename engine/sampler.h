/// Choosing tokens from logits, alike for target and draft.
///
/// Greedy takes the best logit. Coupled sampling (temperature > 0) takes the best of
/// log p + Gumbel noise, where the noise depends on seed, position and token only: target and
/// draft draw the same noise, so a draft with a similar distribution picks the same token, and
/// what the target picks is an exact sample of its own distribution.
#ifndef HSDI_ENGINE_SAMPLER_H
#define HSDI_ENGINE_SAMPLER_H

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

/// How long a list of a row's best logits (devices/graph.h) must be, so that both functions below
/// find in it what those above find in all logits: 1, 8 or 64; 0: no list will do. `n_top` is the
/// most that hsdi_sampler_top_listed is asked for. With top-k the list holds all that may be
/// chosen, so the noise is needed for nothing else.
///
/// Proof  : tests/engine/test_lists.c
int hsdi_sampler_n_list(const hsd_sampling *sampling, int n_top);

/// As hsdi_sampler_pick, the same token.
///
/// Shapes : list [2 * n_list].
int32_t hsdi_sampler_pick_listed(hsdi_sampler *sampler, const float *list, int n_list,
                                 int64_t position);

/// As hsdi_sampler_top, the same tokens; scores are the same but for rounding.
///
/// Shapes : list [2 * n_list + 1], with the sum; out [n_top].
void hsdi_sampler_top_listed(hsdi_sampler *sampler, const float *list, int n_list, int64_t position,
                             int n_top, hsdi_candidate *out);

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
