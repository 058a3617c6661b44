/// A model on a device: its weights there, and the graphs compiled from them.
#ifndef HSDI_ENGINE_RUNNER_H
#define HSDI_ENGINE_RUNNER_H

#include "engine/combiner.h"
#include "engine/weights.h"

enum {
    HSDI_STAGE_ROWS = HSDI_COMBINER_ROWS_MAX, ///< rows per call of a stage
    HSDI_STAGE_TOP = 64,                      ///< candidates per row
    HSDI_MAX_GRAPHS = 64,
};

/// Layers of a model on a device with the graphs compiled so far. Sessions share it, and their
/// passes: rows of the same graph go to the device together.
///
/// Thread: any. Lifetime: weights and device must outlive it.
typedef struct hsdi_runner {
    struct hsdi_memory *memory; ///< where stages that share cells have theirs; NULL: nowhere
    const hsdi_weights *weights;
    hsdi_device *device;
    const hsdi_kernels *kernels; ///< for sampling on the host
    int n_ctx;
    hsd_cache_type cache_type; ///< of all caches that the graphs are used with; F32, or set before
                               ///< the first graph
    struct hsdi_runner *next;  ///< has the layers behind this one's; NULL: there are none
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

/// Cells for what of the model's first n_layers layers lies on the runner.
hsdi_cache_desc hsdi_runner_cells(const hsdi_runner *runner, int n_layers, int n_cells);

/// The graph of a range, compiled on first use. Owned by the runner.
HSD_NODISCARD hsd_status hsdi_runner_graph(hsdi_runner *runner, hsdi_graph_range range,
                                           hsdi_graph **out, hsd_error *err);

#endif
