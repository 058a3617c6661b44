/// Inside of the draft pipeline, shared by draft.c (messages) and draft_work.c (computing).
#ifndef HSDI_PIPELINES_DRAFT_STATE_H
#define HSDI_PIPELINES_DRAFT_STATE_H

#include <pipelines/roots.h>
#include <pipelines/spans.h>
#include <pipelines/tree.h>

enum {
    HSDI_CATCH_UP_ROWS = 128, ///< rows of one piece when the trunk is far behind
    HSDI_CATCH_UP_LAST = 32,  ///< rows that may share the call which also yields candidates
};

typedef enum hsdi_draft_phase {
    HSDI_DRAFT_ANSWER, ///< the target waits: complete the window of `step`
    HSDI_DRAFT_BRANCH, ///< the window of `step` is being verified: prepare branches
} hsdi_draft_phase;

/// One prepared outcome: the chain of main nodes under `root`.
typedef struct hsdi_branch {
    int root, tip; ///< nodes
    int n_tokens;  ///< drafted after the root's own token
    bool is_done;
} hsdi_branch;

struct hsdi_draft {
    hsdi_draft_stage stage;
    hsdi_draft_config config;
    hsdi_draft_share share;
    int n_proxies_due; ///< candidates per row that the target's early exit will send, 0: none
    int n_pos;         ///< positions that both the session and the stage have
    int n_top;         ///< candidates per row
    int stride;        ///< of rows.path

    hsdi_cells cells;
    hsdi_tree tree;
    hsdi_calibration calibration;
    int32_t *text; ///< [n_text] committed tokens
    int n_text;

    uint32_t step;
    hsdi_draft_phase phase;
    bool is_idle;      ///< nothing to compute until the next message
    bool is_exhausted; ///< the text outgrew the stage: only empty windows from here on
    bool is_ready;     ///< `offer` waits to be taken
    hsdi_window offer;
    int want;     ///< longest chain that windows should have now; 0: none are wanted
    int want_now; ///< that of this step's answer: shorter after a miss
    hsdi_source source;
    int n_rounds;                 ///< calls that grew this answer's tree
    hsdi_ranks ranks;             ///< of the last commit
    int64_t n_rows_done, busy_ns; ///< of the stage since the last window

    bool is_stepped;                ///< STEP of `step` has come
    hsdi_window window;             ///< the one being verified
    int row_node[HSDI_WINDOW_ROWS]; ///< its nodes; -1: not (yet) in the tree

    bool own_done, proxies_done;
    int n_own_roots;
    hsdi_root own_roots[HSDI_ROOTS_MAX]; ///< all workers', to leave them out of the proxy phase
    int n_branches;
    hsdi_branch branches[HSDI_ROOTS_MAX];
    int n_proxies; ///< per row; 0: none came yet
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];

    hsdi_track *track; ///< NULL: nothing is recorded
    uint32_t session;  ///< for the track

    int n_rows;
    int *row_nodes;                                        ///< [n_rows_max]
    int32_t *row_tokens, *row_pos, *row_cell, *row_n_path; ///< [n_rows_max]
    int32_t *row_path;                                     ///< [n_rows_max, stride]
    hsdi_candidate *row_out;                               ///< [n_rows_max, n_top]
};

/// Put the window's tokens below the root node, as far as the tree has room; without a root node
/// no row gets a node.
void hsdi_draft_place_window(hsdi_draft *draft);

/// Make `offer` of what the tree knows below its root node: the main chain, or with a budget of
/// more tokens than that the best of all evaluated nodes' candidates.
void hsdi_draft_pick_window(hsdi_draft *draft, int n_deep, int n_tokens);

/// The best nodes of that choice that must be evaluated to know what follows them, added to the
/// tree. Shapes: out [n_most]; returns how many.
int hsdi_draft_frontier(hsdi_draft *draft, int n_deep, int n_tokens, int n_most, int *out);

static inline bool hsdi_draft_has_tree(const hsdi_draft *draft)
{
    return draft->config.tree > draft->config.window;
}

/// The running verification as root selection sees it.
void hsdi_draft_roots_in(const hsdi_draft *draft, bool with_proxies, hsdi_roots_in *out);

#endif
