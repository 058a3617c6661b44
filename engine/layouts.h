/// Which layers of a model keep keys and values, and which their input.
#ifndef HSDI_ENGINE_LAYOUTS_H
#define HSDI_ENGINE_LAYOUTS_H

#include "devices/graph.h"
#include "engine/model.h"

#include <hsd/cache.h>

/// What is wanted of a model's caches, and what is known where they will lie.
typedef struct hsdi_caching {
    hsd_cache_layout layout;
    hsd_cache_type type;
    int64_t memory_bytes;           ///< for the layers of a session; 0: no bound
    int64_t beside_bytes;           ///< of these, what the draft of a session would like to have
    const struct hsdi_place *place; ///< where they will lie, for its rates; NULL: on a CPU
    double gops, read_gbps;         ///< of a device that is no CPU, where measured; else 0
} hsdi_caching;

/// Bytes that all layers keep of one token with so many of them keeping their input.
int64_t hsdi_layouts_bytes(const hsdi_model *model, hsd_cache_type type, int n_el);

/// Bytes that a draft's caches take beside a target with a context of n_ctx, with the windows that
/// adapt and the usual number of roots.
int64_t hsdi_layouts_draft_bytes(const hsdi_model *draft, const hsdi_caching *how, int n_ctx);

/// Cells that a session with a context of n_ctx needs.
typedef int hsdi_cells_of(int n_ctx);

/// Decide for every layer. AUTO: what the table says (topology/cache_layout.h); where keys and
/// values exceed the memory, as few layers as needed keep their input instead. They leave room for
/// the draft if they can: a session can do without one.
///
/// Shapes : out [n_layers].
/// Result : *n_el layers of HSDI_LAYOUT_EL, the last ones.
/// Errors : HSD_EUNSUPPORTED where EL was asked for and hsdi_el_check refuses; HSD_ENOMEM, with
///          sizes, where the cells of a context of n_ctx do not fit.
HSD_NODISCARD hsd_status hsdi_layouts_choose(const hsdi_model *model, const hsdi_caching *how,
                                             int n_ctx, hsdi_cells_of *cells_of, hsdi_layout *out,
                                             int *n_el, hsd_error *err);

#endif
