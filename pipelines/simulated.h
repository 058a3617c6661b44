/// Simulated stages: a target and drafts of given acceptance, whose calls take given times.
///
/// There is no text: the target's token at a position is a hash of the position. Whether a draft's
/// token is right there is what the trail of the statistics says, from the text on that the seed
/// counts; without a trail it is drawn with the given chance, by random numbers that depend on seed
/// and position alone. Where the draft's first candidate is wrong, the right token stands
/// further down its list, or only in that of the target's early exit, or in none, so often that
/// the outcome of a verification is among the best n roots as often as the statistics say.
#ifndef HSDI_PIPELINES_SIMULATED_H
#define HSDI_PIPELINES_SIMULATED_H

#include <pipelines/draft.h>
#include <pipelines/stage.h>
#include <topology/costs.h>

/// Shared by a target and its drafts. Thread: one at a time.
typedef struct hsdi_simulated hsdi_simulated;

/// What a pair is. Plain data.
typedef struct hsdi_simulated_pair {
    const hsdi_acceptance *acceptance; ///< copied
    uint64_t seed;
    int n_prompt, n_ctx;
    bool runs_on;      ///< windows follow each other without a gap while the draft is right (async)
    int window, roots; ///< of the sessions: what the hit rates are spread over
    bool is_tree;      ///< windows are trees
    bool has_exit;
    int n_rows_max;
} hsdi_simulated_pair;

typedef enum hsdi_simulated_part {
    HSDI_SIMULATED_PREFILL,
    HSDI_SIMULATED_PREFIX,
    HSDI_SIMULATED_EXIT,
    HSDI_SIMULATED_SUFFIX,
    HSDI_SIMULATED_DRAFT,
} hsdi_simulated_part;

/// A call: n_rows rows behind n_past tokens, with no output where `is_silent`, on all processors
/// where `is_alone`.
typedef struct hsdi_simulated_call {
    hsdi_simulated_part part;
    int n_rows, n_past;
    bool is_silent, is_alone;
} hsdi_simulated_call;

/// Lets the time pass that a call takes. `self` is that of the stage's maker.
typedef void (*hsdi_simulated_spend)(void *self, const hsdi_simulated_call *call);

/// Errors : HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_simulated_create(const hsdi_simulated_pair *pair,
                                               hsdi_simulated **out, hsd_error *err);
/// Sets *simulated to NULL. NULL is allowed.
void hsdi_simulated_destroy(hsdi_simulated **simulated);

/// The target; one.
hsdi_target_stage hsdi_simulated_target(hsdi_simulated *simulated, hsdi_simulated_spend spend,
                                        void *self);

/// What a draft worker serves; plain data that the factory borrows.
typedef struct hsdi_simulated_draft {
    hsdi_simulated *simulated;
    hsdi_simulated_spend spend;
    void *self;
    bool is_lookup; ///< its acceptance is that of a lookup's tokens
} hsdi_simulated_draft;

hsdi_draft_factory hsdi_simulated_factory(hsdi_simulated_draft *draft);

/// How often chains were right at depth d (from 1), of how often they got that far.
void hsdi_simulated_count(const hsdi_simulated *simulated, int depth, int64_t *n_right,
                          int64_t *n_reached);

/// The target's token at a text position.
int32_t hsdi_simulated_truth(const hsdi_simulated *simulated, int position);

#endif
