/// Stages with real models: what the pipelines drive.
#ifndef HSDI_ENGINE_STAGES_H
#define HSDI_ENGINE_STAGES_H

#include "engine/runner.h"
#include "pipelines/stage.h"

#include <hsd/engine.h>

typedef struct hsdi_target_stage_options {
    int exit_layer; ///< 1..n_layers-1: passes are split there and proxies are offered; 0: not
    int n_cells;
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

/// Bytes of its caches.
/// Fill cells 0 .. n_cells - 1 with random numbers, for measurements.
HSD_NODISCARD hsd_status hsdi_target_stage_fill(const hsdi_target_stage *stage, int n_cells,
                                                hsd_error *err);
size_t hsdi_target_stage_cache_bytes(const hsdi_target_stage *stage);

/// Logits [n_rows, n_vocab] of the last suffix; valid until the next call. For tests. NULL where
/// the device has made lists of them, which `with_logits` prevents.
const float *hsdi_target_stage_logits(const hsdi_target_stage *stage);

/// A draft stage on the first `n_layers` layers of a model (all, or an early exit), for at most
/// n_top candidates per row.
HSD_NODISCARD hsd_status hsdi_draft_stage_open(hsdi_runner *runner, int n_layers, int n_cells,
                                               int n_top, const hsd_sampling *sampling,
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
