/// Stages: all that the pipelines know about models and devices.
///
/// A stage evaluates rows. A row is one token at one text position with its own chain of
/// ancestors; the stage stores what later rows need of it (keys and values) in a *cell*, a number
/// that the pipeline hands out. Cells are the only memory both sides talk about: the pipeline
/// decides which cells form the trunk and which hang off it, the stage reads and writes them.
/// Promotion of a branch therefore moves cell numbers and never data.
///
/// `engine` implements stages with real models, tests with scripted tokens.
#ifndef HSDI_PIPELINES_STAGE_H
#define HSDI_PIPELINES_STAGE_H

#include <hsd/status.h>
#include <pipelines/blocks.h>
#include <pipelines/window.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Rows to evaluate. All arrays are borrowed for the call.
///
/// Row r has `tokens[r]` at text position `pos[r]` and writes cell `cell[r]`. It attends to the
/// trunk (positions 0 .. n_trunk-1, all below pos[r]) and to `path[r * path_stride + i]`,
/// i = 0 .. n_path[r]-1, the cells of positions n_trunk, n_trunk+1, .. pos[r] in this order; the
/// last one is its own cell, so n_path[r] = pos[r] - n_trunk + 1. A parent may be a row of the
/// same call with a lower index.
typedef struct hsdi_rows {
    int n_rows;
    const int32_t *tokens; ///< [n_rows]
    const int32_t *pos;    ///< [n_rows]
    const int32_t *cell;   ///< [n_rows], all different
    const int32_t *trunk;  ///< [n_trunk]
    int n_trunk;
    const int32_t *path;   ///< [n_rows, path_stride]
    const int32_t *n_path; ///< [n_rows]
    int path_stride;
    bool is_alone; ///< target: no draft computes meanwhile, and no proxies will be asked for
} hsdi_rows;

/// A possible next token of a row.
typedef struct hsdi_candidate {
    int32_t token;
    float score; ///< log-probability after the sampling rules; plus the position's noise when
                 ///< sampling is coupled. The stage's own choice is the one of the best score.
} hsdi_candidate;

typedef struct hsdi_stage_limits {
    int n_vocab;
    int n_ctx;      ///< positions 0 .. n_ctx-1
    int n_cells;    ///< cells in use at a time; without blocks they are 0 .. n_cells-1
    int n_rows_max; ///< rows per call
    int n_top_max;  ///< candidates per row
    /// Cells come from these blocks, of which the stage has been promised those that it needs (see
    /// hsdi_cells_init); other stages have cells there too, and may read each other's. NULL: none
    hsdi_blocks *blocks;
} hsdi_stage_limits;

/// Cells that another stage has written are the beginning of the next rows' trunk. Shapes: tokens
/// [n], cells [n].
typedef void (*hsdi_stage_found)(void *self, const int32_t *tokens, const int32_t *cells, int n);

/// The target: one pass in two halves. Calls come in the order prefix, (proxies), suffix;
/// `prefill` stands alone. Thread: one thread at a time. The step loop allocates nothing.
typedef struct hsdi_target_stage {
    void *self;
    hsdi_stage_limits limits;
    bool has_exit; ///< `proxies` may be called
    /// Evaluate rows without output: fills their cells.
    hsd_status (*prefill)(void *self, const hsdi_rows *rows, hsd_error *err);
    /// Put the exit at another layer, between passes. NULL: it stays where it is. On an error it
    /// does as well.
    hsd_status (*cut)(void *self, int exit_layer, hsd_error *err);
    /// Layers [0, exit). `rows` stays borrowed until suffix returns.
    hsd_status (*prefix)(void *self, const hsdi_rows *rows, hsd_error *err);
    /// The LM head at the exit: out [n_rows, n_top], best first.
    hsd_status (*proxies)(void *self, int n_top, hsdi_candidate *out, hsd_error *err);
    /// Layers [exit, n_layers), the head, the sampling rule: own [n_rows], the target's own token
    /// after each row.
    hsd_status (*suffix)(void *self, int32_t *own, hsd_error *err);
    /// The ratio rule on the rows of the last suffix: the row whose ancestors are accepted, and
    /// the token that follows it. The window is a chain; q [n_tokens, n_q] is the distribution
    /// that each token was drawn from, log-probabilities, the drawn token first; token -1 ends a
    /// shorter list. NULL unless the sampling rule is HSD_RULE_RATIO.
    hsd_status (*judge)(void *self, const hsdi_window *window, const hsdi_candidate *q, int n_q,
                        int *row, int32_t *next, hsd_error *err);
    hsdi_stage_found found; ///< NULL: it does not matter to the stage
} hsdi_target_stage;

/// A draft. Thread: one thread at a time.
typedef struct hsdi_draft_stage {
    void *self;
    hsdi_stage_limits limits;
    bool is_certain; ///< the first candidate is no draw: under the ratio rule its probability is 1
    /// Evaluate rows: out [n_rows, n_top], best first; token -1 ends a shorter list. With
    /// n_top = 0 and out NULL only the cells are filled.
    hsd_status (*eval)(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                       hsd_error *err);
    hsdi_stage_found found; ///< NULL: it does not matter to the stage
} hsdi_draft_stage;

/// Whose candidates may become roots, as a set.
typedef enum hsdi_sources {
    HSDI_SOURCES_OWN = 1,   ///< the draft's own
    HSDI_SOURCES_PROXY = 2, ///< the early exit's
    HSDI_SOURCES_BOTH = 3,
} hsdi_sources;

/// What a draft must know to imitate one session's target. Travels in the OPEN message.
typedef struct hsdi_draft_config {
    int mode;        ///< hsd_mode: SERIAL, MIRROR or ASYNC
    int draft_kind;  ///< hsd_draft_kind
    int window;      ///< tokens of a window's longest chain, 1..16
    int tree;        ///< tokens of a window, window..32; equal to window: a chain
    int miss_window; ///< tokens of the first window after a miss, 1..window
    int roots;       ///< branches per step, 1..64
    int n_top;       ///< candidates per row, 1..64
    int exit_layer;  ///< for early-exit drafts
    int n_ctx;
    float temperature, top_p, min_p;
    int top_k;
    uint64_t seed;
    int sources;          ///< hsdi_sources: whose candidates may become roots
    bool is_audited;      ///< report at which rank of each source's roots a commit was, and
                          ///< complete the branches before looking at a commit
    float repeat_penalty; ///< as in hsd_sampling
    int repeat_last_n;    ///< resolved: 0 none, -1 all, else tokens
    int no_repeat_ngram;
    int rule; ///< hsd_rule
} hsdi_draft_config;

/// A vocabulary as the handshake compares it. Thread: any.
typedef struct hsdi_vocabulary {
    void *self;
    /// Hash of the first n tokens: equal for two vocabularies exactly when these tokens are.
    uint64_t (*prefix_hash)(void *self, int n);
    /// The token as printable ASCII, NUL-terminated.
    void (*text)(void *self, int id, char *out, size_t cap);
} hsdi_vocabulary;

/// Makes draft stages for sessions, on the worker's thread.
typedef struct hsdi_draft_factory {
    void *self;
    hsdi_vocabulary vocabulary; ///< functions NULL: differences cannot be named
    uint64_t vocab_hash;        ///< of the draft's vocabulary; 0 when any vocabulary will do
    uint64_t fingerprint;       ///< of the draft model; 0 without one
    int n_vocab;                ///< 0 when any will do
    hsd_status (*open)(void *self, const hsdi_draft_config *config, hsdi_draft_stage *out,
                       hsd_error *err);
    void (*close)(void *self, hsdi_draft_stage *stage);
} hsdi_draft_factory;

#endif
