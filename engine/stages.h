/// Stages with real models: what the pipelines drive.
#ifndef HSDI_ENGINE_STAGES_H
#define HSDI_ENGINE_STAGES_H

#include "engine/runner.h"
#include "pipelines/stage.h"

#include <hsd/engine.h>

typedef struct hsdi_target_stage_options {
    int exit_layer; ///< 1..n_layers-1: passes are split there and proxies are offered; 0: not
    int n_cells;
    int n_ctx;        ///< tokens of a text at most; 0: the runner's
    bool is_pooled;   ///< cells come from the runner's memory, n_cells at a time
    int n_threads;    ///< threads per submission; 0: all of the device's
    int n_alone;      ///< the same for passes that no draft computes beside
    bool is_steady;   ///< nothing but sampling lies between its passes, see hsdi_seat_take
    bool with_logits; ///< for hsdi_target_stage_logits: all logits come back from every device
    int n_top;        ///< proxies per row at most; 0: HSDI_STAGE_TOP
    hsd_sampling sampling;
} hsdi_target_stage_options;

/// A target stage on the layers of a runner and of those chained to it. `out->self` is owned by the
/// caller until hsdi_target_stage_close.
HSD_NODISCARD hsd_status hsdi_target_stage_open(hsdi_runner *runner,
                                                const hsdi_target_stage_options *options,
                                                hsdi_target_stage *out, hsd_error *err);
void hsdi_target_stage_close(hsdi_target_stage *stage);

/// Fill cells 0 .. n_cells - 1 with random numbers, for measurements.
HSD_NODISCARD hsd_status hsdi_target_stage_fill(const hsdi_target_stage *stage, int n_cells,
                                                hsd_error *err);
/// Bytes of its caches.
size_t hsdi_target_stage_cache_bytes(const hsdi_target_stage *stage);

/// Logits [n_rows, n_vocab] of the last suffix; valid until the next call. For tests. NULL where
/// the device has made lists of them, which `with_logits` prevents.
const float *hsdi_target_stage_logits(const hsdi_target_stage *stage);

/// Its passes, for what cells hold. Borrowed until the stage is closed. Thread: as the stage.
struct hsdi_passes;
struct hsdi_passes *hsdi_target_stage_passes(const hsdi_target_stage *stage);

typedef struct hsdi_draft_stage_options {
    int n_layers; ///< the model's first ones: all, or up to an early exit
    int n_cells;
    int n_ctx;      ///< tokens of a text at most; 0: the runner's
    bool is_pooled; ///< cells come from the runner's memory, n_cells at a time
    bool promises;  ///< and that memory has not promised them to a session yet
    int n_top;      ///< candidates per row at most
    hsd_sampling sampling;
} hsdi_draft_stage_options;

/// A draft stage on a model. `out->self` is owned by the caller until hsdi_draft_stage_close.
///
/// Errors : HSD_ENOMEM, in "cache_memory" where it should promise and cannot; HSD_EINVAL.
HSD_NODISCARD hsd_status hsdi_draft_stage_open(hsdi_runner *runner,
                                               const hsdi_draft_stage_options *options,
                                               hsdi_draft_stage *out, hsd_error *err);
/// Does nothing to a stage of another kind, nor to a closed one.
void hsdi_draft_stage_close(hsdi_draft_stage *stage);

/// A draft stage that looks up repeated n-grams in the text so far; no model. It never proposes
/// what the rule no_repeat_ngram (0: off) forbids.
HSD_NODISCARD hsd_status hsdi_ngram_stage_open(int n_vocab, int n_ctx, int n_cells,
                                               int no_repeat_ngram, hsdi_draft_stage *out,
                                               hsd_error *err);
/// Does nothing to a stage of another kind, nor to a closed one.
void hsdi_ngram_stage_close(hsdi_draft_stage *stage);

#endif
