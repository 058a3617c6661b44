/// Sampling rules that look at the text so far, alike for target and draft.
///
/// Repetition penalty: the logit of every token among the last repeat_last_n is divided by the
/// penalty when positive and multiplied by it otherwise, once however often the token occurs
/// (Keskar et al. 2019, arXiv:1909.05858, as in llama.cpp and transformers). No-repeat n-gram: a
/// token that would make the last n tokens equal to n earlier ones gets -inf (Paulus et al. 2017,
/// arXiv:1705.04304). Both come before temperature, top-k, top-p and min-p; the text of a row is
/// its trunk, its path and itself, so rows of a tree have each their own.
#ifndef HSDI_ENGINE_RULES_H
#define HSDI_ENGINE_RULES_H

#include "devices/draw.h"
#include "pipelines/stage.h"

#include <hsd/engine.h>

/// Thread: one at a time. No allocation after creation.
typedef struct hsdi_rules hsdi_rules;

/// *out is NULL when no rule looks at the text; all below accept that and do nothing.
///
/// Errors : HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_rules_create(const hsd_sampling *sampling, int n_vocab, int n_ctx,
                                           int n_cells, hsdi_rules **out, hsd_error *err);
void hsdi_rules_destroy(hsdi_rules **rules);

/// Take note of rows; see hsdi_history_note. All rows of a stage must come by, in their order.
void hsdi_rules_note(hsdi_rules *rules, const hsdi_rows *rows);

/// See hsdi_history_found.
void hsdi_rules_found(hsdi_rules *rules, const int32_t *tokens, const int32_t *cells, int n);

/// The logits of row r, of the rows noted last, after the rules.
///
/// Shapes : logits [n_vocab], unchanged. Result [n_vocab], borrowed until the next call; `logits`
///          itself without rules. Cost: O(n_vocab) for a copy, and what hsdi_history says.
/// Proof  : tests/engine/test_rules.c "rows of random trees equal the plain definition"
const float *hsdi_rules_apply(hsdi_rules *rules, const hsdi_rows *rows, int r, const float *logits);

/// The most tokens that the rules touch in a row; 0 without rules.
int hsdi_rules_n_edits(const hsdi_rules *rules);

/// The same rules for a device: which tokens of row r are ruled out and which are penalised, each
/// once. Only where hsdi_rules_n_edits is at most HSDI_DRAW_EDITS_MAX; r below HSDI_STAGE_ROWS.
///
/// Owner  : out->tokens is borrowed until the next call for the same r.
/// Proof  : tests/engine/test_rules.c "lists of touched tokens give what the plain definition
/// gives"
void hsdi_rules_edits(hsdi_rules *rules, const hsdi_rows *rows, int r, hsdi_draw *out);

/// repeat_last_n with its default filled in: 0 no penalty, -1 the whole text, else tokens.
int hsdi_rules_last_n(const hsd_sampling *sampling);

#endif
