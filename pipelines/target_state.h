/// Inside of the target pipeline, shared by target.c (passes) and target_workers.c (workers).
#ifndef HSDI_PIPELINES_TARGET_STATE_H
#define HSDI_PIPELINES_TARGET_STATE_H

#include <pipelines/cells.h>
#include <pipelines/pace.h>
#include <pipelines/protocol.h>
#include <pipelines/spans.h>
#include <pipelines/target.h>
#include <pipelines/transport/link.h>
#include <pthread.h>

typedef enum hsdi_peer_state {
    HSDI_PEER_CALLING, ///< HELLO was or will be sent; nothing else is told
    HSDI_PEER_ASKING,  ///< its vocabulary differs: where?
    HSDI_PEER_READY,   ///< shook hands; no generation open
    HSDI_PEER_OPEN,    ///< takes part in the generation
    HSDI_PEER_REFUSED, ///< cannot be used with this target
} hsdi_peer_state;

/// A draft worker as the target sees it.
typedef struct hsdi_helper {
    char *endpoint;
    hsdi_link *link;
    hsdi_peer_state state;
    uint32_t epoch;
    bool is_awaited;   ///< worth waiting for; a worker that was opened late first has to catch up
    bool has_answered; ///< the window of this step
    int n_late;        ///< in a row
    int n_silent;      ///< deadlines in a row without any frame from it, while it was open
    int64_t heard_ns;  ///< when the last frame came, or the last such deadline began
    hsdi_draft_window offer; ///< its last window, as far as it fits the text; n_tokens 0: none
    bool is_carried;         ///< the offer is older than the last commit
    float n_right;           ///< of its offers, decayed: tokens that the text then had
    float rows_per_s;        ///< of its draft, decayed; 0: not known
    int ask_low, ask_high;   ///< the first differing token is in low .. high
    bool has_served;         ///< a window came since it was opened
    int n_failures;          ///< in this generation: ERROR 6, 7, and 3 without a window before
    int64_t next_call_ns;
    int draft_kind; ///< hsd_draft_kind
    uint32_t opened_step;
    int n_told;         ///< length of the text that it was told
    int64_t answer_ns;  ///< how long its windows were waited for, decayed
    int64_t slowest_ns; ///< the longest such wait, decayed, doubled when late; 0: not known
    hsd_error refusal;  ///< why, in state REFUSED

    hsdi_track *track;         ///< of a worker in another process, with a trace; else NULL
    bool has_clock, is_giving; ///< its clock is known; an answer with spans is awaited
    int pid;                   ///< of its process, as TIME says
    int n_exchanges;           ///< of clocks that are still to come, the awaited one included
    int64_t asked_ns;          ///< when the last CLOCK was sent
    int64_t least_ns, most_ns; ///< bounds of its clock's offset so far
    uint64_t spans_next;       ///< number of the span to ask for next
} hsdi_helper;

enum { HSDI_OVERHEAD_BUCKETS = 1024 }; ///< 16 per power of two

struct hsdi_target {
    hsdi_target_config config; ///< endpoints: see helpers
    hsdi_target_stage stage;
    int n_ctx;
    uint64_t session;
    int n_helpers;
    hsdi_helper helpers[HSDI_TARGET_MAX_WORKERS];
    bool is_generating;
    hsdi_frame frame;  ///< last one received
    hsdi_track *track; ///< NULL: nothing is recorded

    hsdi_cells cells;
    int32_t *text; ///< [n_text] committed tokens
    int n_text;
    uint32_t step;
    const atomic_bool *cancel;

    hsdi_window window;        ///< the window of `step`
    int chosen;                ///< helper whose offer it is, -1: nobody's
    const char *window_source; ///< of a recorded step: hsdi_span_source, NULL: no window
    hsdi_pace pace;
    bool has_watch;
    hsdi_watch watch;
    hsdi_pace paces[HSDI_WATCH_ARMS]; ///< of the other arms
    int arm, forced_arm;              ///< arm in force; forced_arm: the next one, -1: the watch's
    int n_proxies_most;               ///< where the mode has proxies
    int exit_layer;                   ///< of the stage's passes, as far as it was told
    bool reopens;                     ///< workers must be told other settings
    int want; ///< longest chain that this step's windows were asked to have; 0: none was asked for
    int32_t *row_tokens, *row_pos, *row_cell, *row_n_path; ///< [n_rows_max]
    int32_t *row_path;                                     ///< [n_rows_max, n_rows_max]
    int32_t own[HSDI_WINDOW_ROWS];
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];
    uint8_t *out; ///< frame to be sent
    size_t out_cap;

    hsdi_target_stats stats; ///< the generating thread's own
    int64_t stage_ns, emit_ns;
    int64_t collect_ns; ///< when waiting for this step's windows began
    int64_t looked_ns;  ///< when frames were last looked for
    uint32_t overhead[HSDI_OVERHEAD_BUCKETS];
    pthread_mutex_t published_lock;
    hsdi_target_stats published; ///< guarded by published_lock
};

/// Links for all endpoints, and the first handshake.
HSD_NODISCARD hsd_status hsdi_helpers_connect(hsdi_target *target, hsdi_context *context,
                                              hsd_error *err);
void hsdi_helpers_disconnect(hsdi_target *target);

/// Begin a generation with every worker that answers, unless no windows are wanted; call those
/// that did not.
void hsdi_helpers_open(hsdi_target *target);

/// After passes of which no worker was told: windows are wanted again.
void hsdi_helpers_tell_alone(hsdi_target *target);

/// The settings have changed: begin the generation again with all workers, in their state of now.
void hsdi_helpers_reopen(hsdi_target *target);

/// Tell all open workers. One that cannot take the frame is lost.
void hsdi_helpers_tell(hsdi_target *target, hsdi_frame *frame);

/// Tell worker i if it is open; session and epoch are filled in.
void hsdi_helpers_tell_one(hsdi_target *target, int i, hsdi_frame *frame);

/// Is any worker open?
bool hsdi_helpers_any(const hsdi_target *target);

/// Does a worker still read the text, while nobody waits for it? Then it computes beside a pass.
bool hsdi_helpers_catch_up(const hsdi_target *target);

/// Wait for windows of this step until they are there or not worth waiting for (in mode async: do
/// not wait). What came is in the helpers' offers.
void hsdi_helpers_collect(hsdi_target *target, int deadline_ms);

/// Make target->window of the offers: at most n_deep tokens in a chain and n_tokens in all.
/// target->chosen is the helper whose offer leads, -1 when there is none.
void hsdi_helpers_choose(hsdi_target *target, int n_deep, int n_tokens);

/// As hsdi_window_follow, with the distributions.
bool hsdi_draft_window_follow(hsdi_draft_window *window, const int32_t *tokens, int n_tokens);

/// The text has grown by its last n_new tokens: what offers still fit?
void hsdi_helpers_follow(hsdi_target *target, int n_new);

/// Parts of the roots by the workers' measured speed, in the order of target->helpers.
void hsdi_helpers_share(const hsdi_target *target, hsdi_draft_share *out);

hsd_status hsdi_helper_send(hsdi_target *target, hsdi_helper *helper, hsdi_frame *frame);
/// Take the frames that are there, after sleeping for up to timeout_ns until there are some.
void hsdi_helpers_look(hsdi_target *target, int64_t timeout_ns);

/* target_trace.c. Without a trace, and for workers of this process, these do nothing. */

/// A worker shook hands: it is to record, and its clock is compared from now on.
void hsdi_helper_trace_begin(hsdi_target *target, hsdi_helper *helper);
void hsdi_helper_ask_time(hsdi_target *target, hsdi_helper *helper);
void hsdi_helper_on_time(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame);
void hsdi_helper_on_spans(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame);
/// Wait until the clocks that are being compared are known, half a second at most.
void hsdi_helpers_wait_clocks(hsdi_target *target);
/// Fetch what the workers recorded, and compare clocks again. Takes some seconds at most.
void hsdi_helpers_take_spans(hsdi_target *target);
void hsdi_helper_trace_end(hsdi_target *target, hsdi_helper *helper);

void hsdi_target_watch_init(hsdi_target *target, const hsdi_watch_config *config);

/// Length of the next windows: the watch's arm, then its pace. Sets target->reopens.
int hsdi_target_next_want(hsdi_target *target);

/// Is the arm in force the target alone?
bool hsdi_target_is_alone_arm(const hsdi_target *target);

/// A span of pass `step` ends.
static inline void hsdi_target_span_end(const hsdi_target *target, const hsdi_span_kind *kind,
                                        int64_t begin_ns, uint32_t step, int value)
{
    hsdi_span_end(target->track, (hsdi_span){.kind = kind,
                                             .begin_ns = begin_ns,
                                             .session = (uint32_t)target->session,
                                             .step = step,
                                             .values = {value}});
}

static inline bool hsdi_target_is_cancelled(const hsdi_target *target)
{
    return target->cancel && atomic_load_explicit(target->cancel, memory_order_acquire);
}

#endif
