/// Blocks of cells that many texts share.
///
/// A cache has one set of cells for all stages that work in it. They are handed out in blocks of
/// neighbours, and a block goes back when nobody needs it. A text that somebody has evaluated can
/// be *kept*: another one that begins alike then names the same cells, and nothing is computed or
/// copied. A cell that a kept text names is never written again, and a block is written only by the
/// one who took it; others hold it. Kept texts that nobody works with are forgotten, the one used
/// longest ago first, when their blocks are needed.
///
/// Cells are numbers here; what they hold is the stages' affair.
#ifndef HSDI_PIPELINES_BLOCKS_H
#define HSDI_PIPELINES_BLOCKS_H

#include <hsd/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HSDI_BLOCK_CELLS = 32, ///< block b has the cells 32 b .. 32 b + 31
    HSDI_SHARED_LEAST = 8, ///< tokens: a shorter common beginning is not worth a block
    HSDI_KEPT_TEXTS = 256, ///< at most
};

/// Thread: any. Lifetime: all that is held must be dropped before hsdi_blocks_destroy.
typedef struct hsdi_blocks hsdi_blocks;

typedef struct hsdi_blocks_config {
    int n_blocks;
    bool shares;     ///< texts are kept and found; else hsdi_blocks_keep does nothing
    int n_kept_most; ///< blocks that only kept texts need, at most
    /// Bytes that are left for such blocks, of this set and of others together; below 0 texts are
    /// forgotten. NULL: no such bound. Borrowed.
    _Atomic int64_t *room_bytes;
    int64_t block_bytes; ///< what a block takes away from it
    /// What blocks [first, first + n) hold may go: they are free, and were not when somebody wrote
    /// in them. Called with the set locked: it must not call back. NULL: it stays
    void (*discard)(void *user, int first, int n);
    void *user;
    int n_idle_most; ///< more such blocks than that, and all but half as many are discarded
} hsdi_blocks_config;

/// Errors: HSD_EINVAL for counts out of range, HSD_ENOMEM. Owner: *out is owned by the caller.
HSD_NODISCARD hsd_status hsdi_blocks_create(const hsdi_blocks_config *config, hsdi_blocks **out);
/// Sets *blocks to NULL. NULL is allowed.
void hsdi_blocks_destroy(hsdi_blocks **blocks);

/// Blocks that a text of up to n_ctx tokens can come to hold with n_cells cells in use at a time,
/// and by how many its beginning may lie in more of them than it must: what is more scattered is
/// computed again. The more cells are in use beside a text, the more it gets scattered.
int hsdi_blocks_spare(int n_cells, int n_ctx);
int hsdi_blocks_needed(int n_cells, int n_ctx);

/// Set n blocks aside for a user: so many it can always take or hold. False: there are not so many.
bool hsdi_blocks_promise(hsdi_blocks *blocks, int n);
void hsdi_blocks_release(hsdi_blocks *blocks, int n);
/// Blocks that are promised to nobody.
int hsdi_blocks_unpromised(hsdi_blocks *blocks);

/// A block to write in, held by the caller; -1: there is none, which cannot be within a promise.
/// Cost: no allocation; kept texts may be forgotten.
int hsdi_blocks_take(hsdi_blocks *blocks);
void hsdi_blocks_drop(hsdi_blocks *blocks, const int32_t *held, int n);
/// Is the block needed by a kept text, or held by somebody else too?
bool hsdi_blocks_is_shared(hsdi_blocks *blocks, int32_t block);

/// Keep a text whose cells the caller holds: it must not write them again, until
/// hsdi_blocks_is_shared says that nobody needs their block any more. One that is part of another
/// kept text is not kept twice; where memory is short nothing is kept.
///
/// Shapes : tokens [n], cells [n].    Cost: allocates; a comparison with each kept text.
void hsdi_blocks_keep(hsdi_blocks *blocks, const int32_t *tokens, const int32_t *cells, int n);

/// What to find, and what to give for it.
typedef struct hsdi_blocks_query {
    const int32_t *tokens; ///< [n]
    int n, n_least;        ///< a beginning shorter than n_least is as good as none
    int n_spare;           ///< see hsdi_blocks_spare
    const int32_t *had;    ///< [n_had] blocks that the caller holds and drops where one is found
    int n_had;
} hsdi_blocks_query;

/// The longest known beginning of a text. Its blocks are held by the caller then, who must not
/// write in them, in exchange for those that it had.
///
/// Shapes : cells [n], of which the result are filled; held [n / HSDI_BLOCK_CELLS + n_spare], of
///          which *n_held. Result: 0, or HSDI_SHARED_LEAST .. n.
/// Cost   : a comparison with each kept text, no allocation.
int hsdi_blocks_find(hsdi_blocks *blocks, const hsdi_blocks_query *query, int32_t *cells,
                     int32_t *held, int *n_held);

/// Forget texts until there is room again: somebody has made it smaller.
void hsdi_blocks_trim(hsdi_blocks *blocks);
/// Forget all texts.
void hsdi_blocks_forget(hsdi_blocks *blocks);

typedef struct hsdi_blocks_counts {
    int n_blocks, n_free, n_promised;
    int n_kept; ///< needed by kept texts alone
    int n_idle; ///< free and not discarded since they were taken
    int n_texts;
} hsdi_blocks_counts;

void hsdi_blocks_count(hsdi_blocks *blocks, hsdi_blocks_counts *out);

#endif
