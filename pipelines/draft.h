/// The draft pipeline of one session: a state machine that is fed messages and given time.
///
/// It keeps the committed text as a trunk of cells and everything guessed beyond it as a tree.
/// Each quantum of work is one call of the draft stage, so that messages are looked at between
/// any two; a commit whose root has a branch is answered without computing anything.
#ifndef HSDI_PIPELINES_DRAFT_H
#define HSDI_PIPELINES_DRAFT_H

#include <pipelines/stage.h>

enum {
    HSDI_WINDOW_MAX = 16,
    HSDI_ROOTS_MAX = 64,
    HSDI_TOP_MAX = 64,
};

/// Thread: one at a time. Lifetime: the stage must outlive it.
typedef struct hsdi_draft hsdi_draft;

/// Which part of the work is this worker's.
typedef struct hsdi_draft_share {
    int index, n_workers; ///< of the roots, rank % n_workers == index
    int n_proxies;        ///< proxies per row that will come, 0: none
} hsdi_draft_share;

/// Where the root of a window came from.
typedef enum hsdi_source {
    HSDI_SOURCE_FRESH = 0, ///< no branch was there: a miss, or the first window
    HSDI_SOURCE_OWN = 1,   ///< the draft's own candidates
    HSDI_SOURCE_PROXY = 2, ///< only the target's early exit proposed it
} hsdi_source;

/// An answer to the target. Plain data.
typedef struct hsdi_draft_window {
    uint32_t step;   ///< the pass that should verify it
    int n_committed; ///< tokens it continues
    hsdi_source source;
    int n_tokens;
    int32_t tokens[HSDI_WINDOW_MAX];
} hsdi_draft_window;

/// Errors : HSD_EINVAL with the field's name; HSD_ENOMEM.
/// Owner  : *out is owned by the caller; `stage` is copied.
HSD_NODISCARD hsd_status hsdi_draft_create(const hsdi_draft_stage *stage,
                                           const hsdi_draft_config *config,
                                           const hsdi_draft_share *share, hsdi_draft **out,
                                           hsd_error *err);
/// Sets *draft to NULL. NULL is allowed.
void hsdi_draft_destroy(hsdi_draft **draft);

/// Begin (again) with these committed tokens; what is equal to the present trunk is kept.
///
/// Errors : HSD_EINVAL when empty, out of range or longer than n_ctx.
HSD_NODISCARD hsd_status hsdi_draft_open(hsdi_draft *draft, uint32_t step, const int32_t *tokens,
                                         int n_tokens, hsd_error *err);

/// Pass `step` verifies this window (it may be empty, or not the one that was sent).
///
/// Errors : HSD_EPROTOCOL out of step or out of range.
HSD_NODISCARD hsd_status hsdi_draft_step(hsdi_draft *draft, uint32_t step, const int32_t *window,
                                         int n_window, hsd_error *err);

/// The early exit's candidates of pass `step`. Shapes: proxies [n_rows, n_top], best first.
HSD_NODISCARD hsd_status hsdi_draft_proxies(hsdi_draft *draft, uint32_t step, int n_rows, int n_top,
                                            const hsdi_candidate *proxies, hsd_error *err);

/// Pass `step` accepted n_accepted tokens of its window, and `next` follows.
///
/// Errors : HSD_EPROTOCOL out of step, out of range, or n_committed is not what it must be.
HSD_NODISCARD hsd_status hsdi_draft_commit(hsdi_draft *draft, uint32_t step, int n_accepted,
                                           int32_t next, int n_committed, hsd_error *err);

/// Is there something to compute?
bool hsdi_draft_has_work(const hsdi_draft *draft);

/// Does the target wait for what is being computed?
bool hsdi_draft_is_awaited(const hsdi_draft *draft);

/// One quantum: at most one call of the stage.
///
/// Errors : whatever the stage returns; the session is then of no further use.
HSD_NODISCARD hsd_status hsdi_draft_work(hsdi_draft *draft, hsd_error *err);

/// Take the window that is ready to be sent, if there is one.
bool hsdi_draft_take_window(hsdi_draft *draft, hsdi_draft_window *out);

/// Nodes that hang off the trunk at most, and cells that a draft stage needs for n_ctx positions.
/// With fewer cells fewer branches are prepared.
int hsdi_draft_nodes_needed(const hsdi_draft_config *config);
int hsdi_draft_cells_needed(const hsdi_draft_config *config);

#endif
