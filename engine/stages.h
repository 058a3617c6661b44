/// Stages with real models: what the pipelines drive.
#ifndef HSDI_ENGINE_STAGES_H
#define HSDI_ENGINE_STAGES_H

#include "devices/device.h"
#include "engine/combiner.h"
#include "engine/weights.h"
#include "pipelines/stage.h"

#include <hsd/engine.h>
#include <pthread.h>

enum {
    HSDI_STAGE_ROWS = HSDI_COMBINER_ROWS_MAX, ///< rows per call of a stage
    HSDI_STAGE_TOP = 64,                      ///< candidates per row
    HSDI_MAX_GRAPHS = 64,
};

/// A model on a device with the graphs compiled so far. Sessions share it, and their passes: rows
/// of the same graph go to the device together.
///
/// Thread: any. Lifetime: weights and device must outlive it.
typedef struct hsdi_runner {
    const hsdi_weights *weights;
    hsdi_device *device;
    const hsdi_kernels *kernels; ///< for sampling on the host
    int n_ctx;
    hsdi_combiner combiner;
    pthread_mutex_t lock; ///< guards the list
    int n_graphs;
    struct {
        hsdi_graph_range range;
        hsdi_graph *graph;
    } graphs[HSDI_MAX_GRAPHS];
} hsdi_runner;

void hsdi_runner_init(hsdi_runner *runner, const hsdi_weights *weights, hsdi_device *device,
                      const hsdi_kernels *kernels, int n_ctx);
void hsdi_runner_fini(hsdi_runner *runner);

/// The graph of a range, compiled on first use. Owned by the runner.
HSD_NODISCARD hsd_status hsdi_runner_graph(hsdi_runner *runner, hsdi_graph_range range,
                                           hsdi_graph **out, hsd_error *err);

typedef struct hsdi_target_stage_options {
    int exit_layer; ///< 1..n_layers-1: passes are split there and proxies are offered; 0: not
    int n_cells;
    int n_threads;  ///< threads per submission; 0: all of the device's
    int n_alone;    ///< the same for passes that no draft computes beside
    bool is_steady; ///< nothing but sampling lies between its passes, see hsdi_seat_take
    hsd_sampling sampling;
} hsdi_target_stage_options;

/// A target stage. `out->self` is owned by the caller until hsdi_target_stage_close.
HSD_NODISCARD hsd_status hsdi_target_stage_open(hsdi_runner *runner,
                                                const hsdi_target_stage_options *options,
                                                hsdi_target_stage *out, hsd_error *err);
void hsdi_target_stage_close(hsdi_target_stage *stage);

/// Logits [n_rows, n_vocab] of the last suffix; valid until the next call. For tests.
const float *hsdi_target_stage_logits(const hsdi_target_stage *stage);

/// A draft stage on the first `n_layers` layers of a model (all, or an early exit).
HSD_NODISCARD hsd_status hsdi_draft_stage_open(hsdi_runner *runner, int n_layers, int n_cells,
                                               const hsd_sampling *sampling, hsdi_draft_stage *out,
                                               hsd_error *err);
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
