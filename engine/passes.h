/// Passes through all layers of a model that may lie on several devices, cut at an early exit.
///
/// Runners are chained by `next`: each holds the layers behind those of the one before. Hidden rows
/// go from device to device over the host. Submissions go through the runners' combiners, which
/// join them with those of other sessions.
#ifndef HSDI_ENGINE_PASSES_H
#define HSDI_ENGINE_PASSES_H

#include "engine/memory.h"
#include "engine/sampler.h"

#include <stdbool.h>

typedef struct hsdi_passes hsdi_passes;

typedef struct hsdi_passes_options {
    int exit_layer;            ///< 1..n_layers-1: passes are cut there; 0: not
    int n_cells;               ///< that it can come to need; without a slab there are so many
    const hsdi_slab *slab;     ///< of the first runner and all layers; NULL: none
    int n_threads;             ///< threads per submission on the first device; 0: all that it has
    int n_alone;               ///< the same in hsdi_passes_whole
    bool is_steady;            ///< see hsdi_seat_take
    hsdi_listing listing;      ///< without sums; does instead of logits
    hsdi_listing exit_listing; ///< the same of proxies, with sums
} hsdi_passes_options;

/// What a pass ends with: per row logits, or a list where one does and the device prefers it.
typedef struct hsdi_passes_rows {
    const float *rows; ///< [n_rows, width], valid until the next call
    int width;         ///< n_vocab, or that of the listing
    hsdi_listing listing;
} hsdi_passes_rows;

/// Owner  : *out is owned by the caller; the runners must outlive it.
/// Errors : HSD_EINVAL; HSD_ENOMEM; HSD_EDEVICE; HSD_EUNSUPPORTED for more than 8 devices.
HSD_NODISCARD hsd_status hsdi_passes_open(hsdi_runner *first, const hsdi_passes_options *options,
                                          hsdi_passes **out, hsd_error *err);
void hsdi_passes_close(hsdi_passes **passes);

/// Places, each a device with some of the layers, and the bytes of a cell on each. Shapes:
/// cell_bytes [HSDI_SLAB_PLACES]; returns how many.
int hsdi_passes_places(const hsdi_passes *passes, size_t *cell_bytes);

/// A place, for who submits graphs of its own there.
typedef struct hsdi_passes_place {
    hsdi_runner *runner;
    hsdi_seat *seat;
    hsdi_cache *cache;
    int n_threads; ///< where no draft computes beside
} hsdi_passes_place;

int hsdi_passes_n_places(const hsdi_passes *passes);
hsdi_passes_place hsdi_passes_place_at(const hsdi_passes *passes, int i);

/// Their kinds (hsdi_cache_kind), one after the other. Shapes: out [cap], NUL-terminated.
void hsdi_passes_kind(const hsdi_passes *passes, char *out, size_t cap);

/// What cells hold: for one place after the other, in the order of the list, [n, cell_bytes]. Cells
/// with neighbouring numbers travel together.
HSD_NODISCARD hsd_status hsdi_passes_read(hsdi_passes *passes, const int32_t *cells, int n,
                                          void *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_passes_write(hsdi_passes *passes, const int32_t *cells, int n,
                                           const void *bytes, hsd_error *err);

/// Whether jobs must say how their rows are drawn from.
bool hsdi_passes_draw(const hsdi_passes *passes);

/// Fill the caches and compute nothing else, on n_alone threads where no draft computes beside. A
/// job names rows, not threads, cache or buffers.
HSD_NODISCARD hsd_status hsdi_passes_fill(hsdi_passes *passes, const hsdi_job *rows, bool is_alone,
                                          hsd_error *err);
/// Cut passes at another layer from now on; between passes only. The caches stay, and so do the
/// bits.
///
/// Errors : HSD_EINVAL where there was no exit, and for a layer that is not between 1 and
///          n_layers - 1; HSD_ENOMEM; HSD_EDEVICE. Then the exit is as it was.
HSD_NODISCARD hsd_status hsdi_passes_cut(hsdi_passes *passes, int exit_layer, hsd_error *err);
/// Layers before the exit. Without one it does nothing.
HSD_NODISCARD hsd_status hsdi_passes_prefix(hsdi_passes *passes, const hsdi_job *rows,
                                            hsd_error *err);
/// The LM head at the exit, on the device of the last layers. After hsdi_passes_prefix of the same
/// rows.
HSD_NODISCARD hsd_status hsdi_passes_exit(hsdi_passes *passes, const hsdi_job *rows,
                                          hsdi_passes_rows *out, hsd_error *err);
/// The layers that are left, and the LM head.
HSD_NODISCARD hsd_status hsdi_passes_suffix(hsdi_passes *passes, const hsdi_job *rows,
                                            hsd_error *err);
/// All layers and the LM head, not cut at the exit: the same bits as prefix and suffix.
HSD_NODISCARD hsd_status hsdi_passes_whole(hsdi_passes *passes, const hsdi_job *rows,
                                           hsd_error *err);
/// Fill the first n_cells cells of all layers with random numbers, for measurements.
HSD_NODISCARD hsd_status hsdi_passes_randomise(hsdi_passes *passes, int n_cells, hsd_error *err);
/// Bytes of the caches, on all devices.
size_t hsdi_passes_cache_bytes(const hsdi_passes *passes);
/// What the last suffix or whole pass ended with.
hsdi_passes_rows hsdi_passes_result(const hsdi_passes *passes);

#endif
