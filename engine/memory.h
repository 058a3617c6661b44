/// The memory of caches: what an engine's sessions may take, what is promised to them, and the
/// slabs in which all stages of a model have their cells.
///
/// A session is promised, before any work starts, what its longest text can need; without room for
/// that it is not opened. What it really takes comes block by block (pipelines/blocks.h), and texts
/// that are over stay known in what is left.
#ifndef HSDI_ENGINE_MEMORY_H
#define HSDI_ENGINE_MEMORY_H

#include "engine/runner.h"
#include "pipelines/blocks.h"

enum { HSDI_SLAB_PLACES = 8 }; ///< devices on which a model's layers may lie

/// Cells of the first n_layers layers of a runner and of those chained to it: a cell has its number
/// on all of their devices.
typedef struct hsdi_slab {
    hsdi_blocks *blocks;
    int n_cells;
    int n_places;
    hsdi_cache *caches[HSDI_SLAB_PLACES]; ///< in the order of the runners
    const hsdi_runner *first;
    int n_layers, n_users;
    bool is_lazy; ///< memory comes when a cell is first written
    int64_t block_bytes;
    struct hsdi_slab *next;
} hsdi_slab;

/// Thread: all calls but init and fini from any thread.
typedef struct hsdi_memory {
    int64_t limit_bytes;        ///< 0: none
    bool shares;                ///< beginnings of texts are known to other sessions
    int64_t token_bytes;        ///< of a cell in all caches that a usual session has; 0: not known
    _Atomic int64_t room_bytes; ///< neither promised nor taken by texts that are over
    pthread_mutex_t lock;       ///< guards what follows
    int64_t promised_bytes;
    hsdi_slab *slabs;
} hsdi_memory;

void hsdi_memory_init(hsdi_memory *memory, int64_t limit_bytes, bool shares);
/// Another limit, before anybody uses it.
void hsdi_memory_limit(hsdi_memory *memory, int64_t limit_bytes);
/// Nobody may use a slab any more.
void hsdi_memory_fini(hsdi_memory *memory);

/// Set bytes aside. False when that would pass the limit.
bool hsdi_memory_promise(hsdi_memory *memory, int64_t n_bytes);
void hsdi_memory_release(hsdi_memory *memory, int64_t n_bytes);
int64_t hsdi_memory_promised(hsdi_memory *memory);

/// Bytes of one cell in the first n_layers layers of a runner and those chained to it.
int64_t hsdi_cell_bytes(const hsdi_runner *first, int n_layers);
/// Bytes that a stage there can come to take, with n_cells cells in use at a time for a text of up
/// to n_ctx tokens.
int64_t hsdi_slab_bytes(const hsdi_runner *first, int n_layers, int n_cells, int n_ctx);

/// A place for such a stage in a slab with others: its blocks are promised. On the CPU there is one
/// slab for many stages, as large as memory allows on paper; elsewhere one is as large as its first
/// stage needs, or with a limit as large as that allows.
///
/// Errors : HSD_ENOMEM; HSD_EUNSUPPORTED for more than HSDI_SLAB_PLACES devices; HSD_EDEVICE.
/// Owner  : the memory's, until hsdi_slab_leave with the same numbers.
HSD_NODISCARD hsd_status hsdi_slab_join(hsdi_memory *memory, const hsdi_runner *first, int n_layers,
                                        int n_cells, int n_ctx, hsdi_slab **out, hsd_error *err);
/// Sets *slab to NULL. NULL is allowed.
void hsdi_slab_leave(hsdi_memory *memory, hsdi_slab **slab, int n_cells, int n_ctx);

/// A text in a slab, whose blocks are held.
typedef struct hsdi_slab_text {
    hsdi_slab *slab; ///< NULL: none is
    int n;           ///< tokens
    int32_t *cells;  ///< [n], owned
    int32_t *held;   ///< [n_held] blocks, owned
    int n_held;
} hsdi_slab_text;

/// The longest beginning of a text that is kept for such stages, with no promise.
///
/// Owner  : out->slab stays until hsdi_slab_text_drop.
/// Errors : HSD_ENOMEM. Nothing found is none.
HSD_NODISCARD hsd_status hsdi_slab_find(hsdi_memory *memory, const hsdi_runner *first, int n_layers,
                                        const int32_t *tokens, int n, hsdi_slab_text *out,
                                        hsd_error *err);
/// What was found is not needed any more. Nothing where nothing was found.
void hsdi_slab_text_drop(hsdi_memory *memory, hsdi_slab_text *text);

#endif
