/// The target pipeline: prompt in, the target's own tokens out, with 0..n draft workers to help.
///
/// Whatever the workers do - nothing, nonsense, dying - the tokens are those of HSD_MODE_AR.
/// One object serves one session, generation after generation; its links stay open in between.
#ifndef HSDI_PIPELINES_TARGET_H
#define HSDI_PIPELINES_TARGET_H

#include <base/log.h>
#include <hsd/engine.h>
#include <hsd/trace.h>
#include <pipelines/draft.h>
#include <pipelines/stage.h>
#include <pipelines/transport/context.h>
#include <pipelines/watch.h>
#include <stdatomic.h>

enum { HSDI_TARGET_MAX_WORKERS = 64 };

/// Thread: create, generate and destroy on one thread at a time (the same one, or handed over
/// with a full barrier); hsdi_target_get_stats from any thread.
/// Lifetime: the context and the stage must outlive it.
typedef struct hsdi_target hsdi_target;

/// Fill with hsdi_target_config_init, then change fields. Borrowed for the call.
typedef struct hsdi_target_config {
    hsd_mode mode;           ///< AR, SERIAL, MIRROR or ASYNC; AR opens no links
    hsdi_draft_config draft; ///< sent to the workers; mode and n_ctx are filled in
    int n_proxies;           ///< proxies per row sent in mirror mode, 0..64; 0 or no exit: none
    const char *const *endpoints; ///< draft workers; strings are copied
    int n_endpoints;              ///< 0..HSDI_TARGET_MAX_WORKERS
    const int *draft_kinds;       ///< [n_endpoints] hsd_draft_kind; NULL: draft.draft_kind for all
    uint64_t vocab_hash;  ///< a worker with another one is refused; 0 on either side: not compared
    uint64_t fingerprint; ///< of the target model, told to the workers
    hsdi_vocabulary vocabulary; ///< functions NULL: a difference cannot be named
    bool reuses; ///< what the last generation, or another stage on the same blocks, has of a prompt
                 ///< is not computed again
    bool adapts; ///< window lengths follow acceptance and cost, from draft.window down to none
    int handshake_ms;      ///< wait in create for workers to answer; default 1000
    int first_deadline_ms; ///< wait for the first window of a generation; default 2000
    int deadline_ms; ///< wait for any other window, at most: where a worker's usual answers are
                     ///< quick, 20 times as long, not below 200 ms; default 2000
    int n_late_lost; ///< windows in a row that may be late before a worker is lost; default 3
    int retry_ms;    ///< how often a lost worker is called; default 250
    int spin_us;     ///< busy waiting before sleeping; default 0: where both sides share a core,
                     ///< spinning delays the very thread that is waited for
    /// Arms between which the generation may change, and what `mode` and the windows then are;
    /// NULL: it stays as it is. Copied, with what it predicts with borrowed for the target's life.
    const hsdi_watch_config *watch;
    hsdi_log log;
    hsd_trace *trace; ///< NULL: none; must outlive the target
} hsdi_target_config;

void hsdi_target_config_init(hsdi_target_config *config);

/// One generation.
typedef struct hsdi_target_job {
    const int32_t *prompt; ///< [n_prompt], borrowed until generate returns
    int n_prompt;          ///< 1 .. n_ctx-1
    int n_tokens; ///< most tokens to generate; 0: until prompt and output fill n_ctx positions
    /// Called for each token in order, on the calling thread, after the workers have been told.
    /// Return false to stop.
    bool (*emit)(void *user, int32_t token);
    /// True for a token that ends the text (it is emitted, then the generation ends). May be NULL.
    bool (*is_end)(void *user, int32_t token);
    void *user;
    bool is_continued; ///< the prompt goes on from the last text, whose cells are used in any case
    const atomic_bool *cancel; ///< checked at every pass and in every wait; may be NULL
} hsdi_target_job;

/// Counters since the last generate began; times in nanoseconds. Fields as in hsd_stats.
typedef struct hsdi_target_stats {
    int n_prompt, n_tokens;
    int n_reused; ///< prompt tokens that were not computed, since their cells were known
    int64_t steps, drafted, accepted;
    int64_t hits, misses, own_hits, proxy_hits;
    int64_t carried; ///< windows used that were drafted before the last commit
    int64_t paused;  ///< steps for which no window was asked, since the target alone is faster
    int64_t ranks_own[HSDI_ROOTS_MAX + 1];    ///< audited: commits at each rank of the own roots,
    int64_t ranks_proxy[HSDI_ROOTS_MAX + 1];  ///< of the proxies' and
    int64_t ranks_merged[HSDI_ROOTS_MAX + 1]; ///< of both; the last entry: not among them
    /// Audited, entry i: commits among the first i + 1 of the one and not of the other.
    int64_t merged_not_own[HSDI_ROOTS_MAX], own_not_merged[HSDI_ROOTS_MAX];
    int64_t merged_not_proxy[HSDI_ROOTS_MAX], proxy_not_merged[HSDI_ROOTS_MAX];
    /// Depth d of a window's longest chain: it was verified and all above it were accepted; it was
    /// accepted as well.
    int64_t reached[HSDI_WINDOW_MAX + 1], passed[HSDI_WINDOW_MAX + 1];
    int64_t late, workers_lost;
    hsd_mode mode; ///< in force; with its window, tree, roots and early exit
    int window, tree, roots, exit_layer;
    int64_t replans;  ///< times the watch took another arm
    int64_t ignored;  ///< frames that did not fit: damaged, stale, out of range
    int64_t reopened; ///< times a worker was opened again in the middle of a generation
    int64_t prefill_ns, decode_ns;
    int64_t wait_ns;         ///< waiting for windows
    int64_t overhead_p50_ns; ///< median per step, neither in the stage, in emit, nor waiting
} hsdi_target_stats;

/// Link to the workers and shake hands. A worker that does not answer in time is logged and
/// called again later; it is no error.
///
/// Errors : HSD_EINVAL with the field's name; HSD_EVOCAB when a worker's vocabulary differs;
///          HSD_EUNSUPPORTED endpoint; HSD_ENOMEM; HSD_ETRANSPORT.
/// Owner  : *out is owned by the caller; `stage` is copied, what it points to is borrowed.
HSD_NODISCARD hsd_status hsdi_target_create(hsdi_context *context, const hsdi_target_config *config,
                                            const hsdi_target_stage *stage, hsdi_target **out,
                                            hsd_error *err);

/// Tells the workers. Sets *target to NULL. NULL is allowed.
void hsdi_target_destroy(hsdi_target **target);

/// Generate until an end token, n_tokens, a full context, or a stop.
///
/// Result : HSD_OK; HSD_ECANCELED when emit or `cancel` stopped it.
/// Errors : HSD_EINVAL, HSD_ETOOLONG for the prompt; whatever the target stage returns.
HSD_NODISCARD hsd_status hsdi_target_generate(hsdi_target *target, const hsdi_target_job *job,
                                              hsd_error *err);

/// The text that has cells, after a generation. Thread: as hsdi_target_generate, between two.
///
/// Shapes : *tokens [result], *cells [result], borrowed until the next call.
int hsdi_target_trunk(const hsdi_target *target, const int32_t **tokens, const int32_t **cells);

/// Begin with a text whose cells the caller fills before it generates with is_continued; see
/// hsdi_target_trunk for them.
///
/// Errors : HSD_ETOOLONG; HSD_ENOMEM. The text is empty then.
HSD_NODISCARD hsd_status hsdi_target_begin(hsdi_target *target, const int32_t *tokens, int n,
                                           hsd_error *err);

/// Copy of the counters. Any thread; at most one step old while a generation runs.
void hsdi_target_get_stats(hsdi_target *target, hsdi_target_stats *out);

/// From the next step on another arm of the watch, whatever it thinks. Thread: within `emit`, or
/// between generations. For tests and callers that know better. Without a watch: nothing.
void hsdi_target_set_arm(hsdi_target *target, int i_arm);

/// What the watch knows; NULL: there is none. Thread: between generations.
const hsdi_watch *hsdi_target_watch(const hsdi_target *target);

/// Number of workers that answered and are in use.
int hsdi_target_n_workers(const hsdi_target *target);

/// Cells that a target stage needs for a context of n_ctx positions.
int hsdi_target_cells_needed(int n_ctx, int tree);

#endif
