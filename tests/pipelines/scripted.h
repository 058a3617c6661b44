/// Scripted stages: a target and drafts whose tokens are hashes of their whole context.
///
/// A cell remembers what was written into it. Every call is checked against the contract of
/// pipelines/stage.h - positions, paths, trunk, cells - and a violation aborts the test with a
/// sentence. A cell that was overwritten while still needed changes the hash and thereby the text.
#ifndef HSD_TESTS_PIPELINES_SCRIPTED_H
#define HSD_TESTS_PIPELINES_SCRIPTED_H

#include <pipelines/draft.h>
#include <pipelines/stage.h>
#include <stdatomic.h>

typedef enum scripted_kind {
    SCRIPTED_AGREE,   ///< right with probability `agreement`
    SCRIPTED_WRONG,   ///< never right
    SCRIPTED_ALMOST,  ///< right but at every `period`-th position
    SCRIPTED_REPEAT,  ///< proposes the row's own token again
    SCRIPTED_EMPTY,   ///< proposes nothing
    SCRIPTED_SHORT,   ///< as AGREE, with lists of 0..3 candidates
    SCRIPTED_GARBAGE, ///< tokens beyond the vocabulary, scores that are no numbers
} scripted_kind;

typedef enum scripted_proxies {
    SCRIPTED_PROXIES_PERFECT, ///< the truth first
    SCRIPTED_PROXIES_RANDOM,
    SCRIPTED_PROXIES_GARBAGE, ///< as SCRIPTED_GARBAGE
} scripted_proxies;

/// What a pair of stages is. Shared by target and drafts; constant while they run.
typedef struct scripted_script {
    uint64_t seed;
    int n_vocab, n_ctx;
    int target_rows, draft_rows; ///< limits.n_rows_max
    int draft_ctx;               ///< limits.n_ctx of drafts, 0: n_ctx
    int draft_cells_short;       ///< cells taken away from what a draft needs
    scripted_kind kind;
    double agreement; ///< draft's first candidate is the target's token
    double listed;    ///< otherwise: it is further down in the list
    int period;
    bool has_exit;
    scripted_proxies proxies;
    int eval_us;    ///< a draft call takes this long
    int pass_us;    ///< a target pass takes this long, half before the exit
    int odd_token;  ///< the vocabulary's token that differs from other scripts'; 0: none
    int fail_after; ///< draft calls that succeed before one fails; 0: all succeed
} scripted_script;

/// A script with sane values.
scripted_script scripted_default(uint64_t seed);

/// The token that the target gives after a text. The definition of right.
int32_t scripted_truth(const scripted_script *script, const int32_t *text, int n);

hsdi_target_stage scripted_target_open(const scripted_script *script);
void scripted_target_close(hsdi_target_stage *stage);

/// Its vocabulary: "t0", "t1", .. with "odd" for odd_token. Borrows the script.
hsdi_vocabulary scripted_vocabulary(const scripted_script *script);

/// A factory whose drafts follow `script`, which must outlive it.
hsdi_draft_factory scripted_factory(const scripted_script *script);

/// Draft stages that are open now, and calls of all of them so far, in this process.
extern atomic_int scripted_n_open;
extern atomic_long scripted_n_evals;

#endif
