/// The draft pipeline of one session: a state machine that is fed messages and given time.
///
/// It keeps the committed text as a trunk of cells and everything guessed beyond it as a tree.
/// Each quantum of work is one call of the draft stage, so that messages are looked at between
/// any two; a commit whose root has a branch is answered without computing anything.
#ifndef HSDI_PIPELINES_DRAFT_H
#define HSDI_PIPELINES_DRAFT_H

#include <base/trace.h>
#include <pipelines/stage.h>

enum {
    HSDI_ROOTS_MAX = 64,
    HSDI_TOP_MAX = 64,
    HSDI_Q_MAX = 64, ///< tokens of a distribution that a window carries (ratio rule)
    HSDI_SHARE_ALL = 65535,
    HSDI_RANK_NONE = 255,    ///< the commit was among nobody's roots
    HSDI_RANK_UNKNOWN = 254, ///< the draft had not got that far
};

/// Thread: one at a time. Lifetime: the stage must outlive it.
typedef struct hsdi_draft hsdi_draft;

/// Which part of the roots is this worker's: those whose point, spread evenly over 0..65535 by
/// rank, is in low .. high-1 (to the end when high is HSDI_SHARE_ALL).
typedef struct hsdi_draft_share {
    int low, high;
} hsdi_draft_share;

/// At which place of a source's best-first roots the last commit was; or one of HSDI_RANK_.
typedef struct hsdi_ranks {
    uint8_t own, proxy, merged;
} hsdi_ranks;

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
    hsdi_window window;
    hsdi_ranks ranks; ///< of the commit before, in an audited session
    int64_t n_rows;   ///< rows that the stage evaluated since the window before
    int64_t busy_ns;  ///< and how long it took
    int n_q;          ///< ratio rule: candidates per token in q, else 0
    hsdi_candidate q[HSDI_WINDOW_MAX * HSDI_Q_MAX]; ///< [n_tokens, n_q] as in hsdi_target_stage
} hsdi_draft_window;

/// n_proxies: candidates per row that the target's early exit will send, 0: none.
///
/// Errors : HSD_EINVAL with the field's name; HSD_ENOMEM.
/// Owner  : *out is owned by the caller; `stage` is copied.
HSD_NODISCARD hsd_status hsdi_draft_create(const hsdi_draft_stage *stage,
                                           const hsdi_draft_config *config, int n_proxies,
                                           hsdi_draft **out, hsd_error *err);
/// What it has learned of its acceptance and its sources, and what another one may start with.
struct hsdi_calibration;
const struct hsdi_calibration *hsdi_draft_calibration(const hsdi_draft *draft);
void hsdi_draft_calibrate(hsdi_draft *draft, const struct hsdi_calibration *calibration);

/// Record what it computes into `track` (may be NULL), which must outlive it.
void hsdi_draft_trace(hsdi_draft *draft, hsdi_track *track, uint32_t session);

/// Others on the same blocks may begin with its text (hsdi_cells_keep).
void hsdi_draft_keep(hsdi_draft *draft);

/// Sets *draft to NULL. NULL is allowed.
void hsdi_draft_destroy(hsdi_draft **draft);

/// Begin (again) with these committed tokens; what is equal to the present trunk, or known to
/// others on the same blocks, is not computed again.
///
/// Errors : HSD_EINVAL when empty, out of range or longer than n_ctx.
HSD_NODISCARD hsd_status hsdi_draft_open(hsdi_draft *draft, uint32_t step, const int32_t *tokens,
                                         int n_tokens, hsd_error *err);

/// Pass `step` verifies this window (it may be empty, or not the one that was sent).
///
/// Errors : HSD_EPROTOCOL out of step or out of range.
HSD_NODISCARD hsd_status hsdi_draft_step(hsdi_draft *draft, uint32_t step,
                                         const hsdi_window *window, const hsdi_draft_share *share,
                                         hsd_error *err);

/// The early exit's candidates of pass `step`. Shapes: proxies [n_rows, n_top], best first.
HSD_NODISCARD hsd_status hsdi_draft_proxies(hsdi_draft *draft, uint32_t step, int n_rows, int n_top,
                                            const hsdi_candidate *proxies, hsd_error *err);

/// Pass `step` accepted its window as far as `row`, and `next` follows. `want` is the length of
/// the next window's longest chain, at most the session's; 0: no window, the target goes alone.
///
/// Errors : HSD_EPROTOCOL out of step, out of range, or n_committed is not what it must be.
HSD_NODISCARD hsd_status hsdi_draft_commit(hsdi_draft *draft, uint32_t step, int row, int32_t next,
                                           int n_committed, int want, hsd_error *err);

/// Passes `step` .. step + n_tokens - 1 had no window and nothing was told of them: each accepted
/// one token. As n_tokens times STEP with an empty window and COMMIT; `want` is the last one's.
///
/// Errors : HSD_EPROTOCOL out of step, out of range, or n_committed is not what it must be.
HSD_NODISCARD hsd_status hsdi_draft_alone(hsdi_draft *draft, uint32_t step, const int32_t *tokens,
                                          int n_tokens, int n_committed, int want, hsd_error *err);

/// Is there something to compute?
bool hsdi_draft_has_work(const hsdi_draft *draft);

/// Are windows wanted? Else the target goes alone, and tells nothing until that changes.
bool hsdi_draft_is_wanted(const hsdi_draft *draft);

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
