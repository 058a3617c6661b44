/// Cells: which of a stage's memory slots hold which committed position, and which are free.
///
/// The trunk maps positions 0 .. n_trunk-1 to cells. Cells taken and not yet on the trunk belong
/// to whoever took them.
#ifndef HSDI_PIPELINES_CELLS_H
#define HSDI_PIPELINES_CELLS_H

#include <hsd/status.h>
#include <stdint.h>

/// Zero-initialise before init. Not thread-safe. Nothing but init allocates.
typedef struct hsdi_cells {
    int n_cells, n_free, n_ctx, n_trunk;
    int32_t *free;  ///< [n_free] stack, owned
    int32_t *trunk; ///< [n_trunk], owned
} hsdi_cells;

/// Errors: HSD_EINVAL for counts below 1, HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_cells_init(hsdi_cells *cells, int n_cells, int n_ctx);
void hsdi_cells_fini(hsdi_cells *cells);

/// All cells free, trunk empty.
void hsdi_cells_reset(hsdi_cells *cells);

/// A free cell, or -1.
int32_t hsdi_cells_take(hsdi_cells *cells);
void hsdi_cells_give(hsdi_cells *cells, int32_t cell);

/// Append a taken cell to the trunk; it must be shorter than n_ctx.
void hsdi_cells_push(hsdi_cells *cells, int32_t cell);

/// Shorten the trunk to n positions; the cells behind become free.
void hsdi_cells_truncate(hsdi_cells *cells, int n);

#endif
