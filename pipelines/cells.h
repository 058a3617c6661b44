/// Cells: which of a stage's memory slots hold which committed position, and which are free.
///
/// The trunk maps positions 0 .. n_trunk-1 to cells. Cells taken and not yet on the trunk belong
/// to whoever took them. Without blocks all of 0 .. n_cells-1 are its own; else it takes blocks of
/// cells as the text grows, from a set that others take from too, and the beginning of its trunk
/// may be what they have computed.
#ifndef HSDI_PIPELINES_CELLS_H
#define HSDI_PIPELINES_CELLS_H

#include <hsd/status.h>
#include <pipelines/blocks.h>
#include <stdint.h>

/// A block that is held.
typedef struct hsdi_cells_block {
    int32_t block;
    bool is_own;    ///< it is written here; else it was found
    uint32_t named; ///< bit i: its cell i is named by a kept text, and not written again
    uint32_t live;  ///< scratch
} hsdi_cells_block;

/// Zero-initialise before init. Not thread-safe. Nothing but init and _keep allocates.
typedef struct hsdi_cells {
    int n_cells; ///< at most so many at a time
    int n_free;  ///< of these, not taken and not on the trunk
    int n_ctx, n_trunk;
    int n_at_hand;       ///< free cells of the blocks that are held
    int32_t *at_hand;    ///< [n_at_hand] stack, owned
    int32_t *trunk;      ///< [n_trunk], owned
    hsdi_blocks *blocks; ///< shared; NULL: none
    int n_held;
    hsdi_cells_block *held; ///< [n_held], owned
    int32_t *numbers;       ///< of blocks, scratch, owned: held before, then found
} hsdi_cells;

/// blocks: NULL, or a set of which hsdi_blocks_needed(n_cells, n_ctx) are promised to this one; it
/// must outlive it.
///
/// Errors: HSD_EINVAL for counts below 1, HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_cells_init(hsdi_cells *cells, int n_cells, int n_ctx,
                                         hsdi_blocks *blocks);
/// Drops what it holds.
void hsdi_cells_fini(hsdi_cells *cells);

/// All cells free, trunk empty.
void hsdi_cells_reset(hsdi_cells *cells);

/// A free cell, or -1: n_free are taken.
int32_t hsdi_cells_take(hsdi_cells *cells);
void hsdi_cells_give(hsdi_cells *cells, int32_t cell);

/// Append a taken cell to the trunk; it must be shorter than n_ctx.
void hsdi_cells_push(hsdi_cells *cells, int32_t cell);

/// Shorten the trunk to n positions; the cells behind become free. All others must be. What others
/// need of them is not written again, and where little of many blocks would be left, less is left.
void hsdi_cells_truncate(hsdi_cells *cells, int n);

/// Others may begin with this trunk, whose tokens are `text` [n_trunk]. Without blocks: nothing.
void hsdi_cells_keep(hsdi_cells *cells, const int32_t *text);

/// Another text begins: as much of it as the trunk has already, or others have, becomes the trunk.
/// All cells that are not on the trunk must be free.
///
/// Shapes : text [n_trunk], the trunk's tokens; next [n], what may be on the trunk of the new one.
/// Result : n_trunk; *is_found: these are cells that others have written.
int hsdi_cells_begin(hsdi_cells *cells, const int32_t *text, const int32_t *next, int n,
                     bool *is_found);

#endif
