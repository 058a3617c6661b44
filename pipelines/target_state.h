/// Inside of the target pipeline, shared by target.c (passes) and target_workers.c (workers).
#ifndef HSDI_PIPELINES_TARGET_STATE_H
#define HSDI_PIPELINES_TARGET_STATE_H

#include <pipelines/cells.h>
#include <pipelines/protocol.h>
#include <pipelines/target.h>
#include <pipelines/transport/link.h>
#include <pthread.h>

typedef enum hsdi_peer_state {
    HSDI_PEER_CALLING, ///< HELLO was or will be sent; nothing else is told
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
    int n_failures;    ///< of its stage, in this generation
    int64_t next_call_ns;
    hsd_error refusal; ///< why, in state REFUSED
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
    hsdi_frame frame; ///< last one received

    hsdi_cells cells;
    int32_t *text; ///< [n_text] committed tokens
    int n_text;
    uint32_t step;
    const atomic_bool *cancel;

    hsdi_draft_window window;                              ///< the window of `step`
    int32_t *row_tokens, *row_pos, *row_cell, *row_n_path; ///< [n_rows_max]
    int32_t *row_path;                                     ///< [n_rows_max, n_rows_max]
    int32_t own[HSDI_WINDOW_MAX + 1];
    hsdi_candidate proxies[(HSDI_WINDOW_MAX + 1) * HSDI_TOP_MAX];
    uint8_t *out; ///< frame to be sent
    size_t out_cap;

    hsdi_target_stats stats; ///< the generating thread's own
    int64_t stage_ns, emit_ns;
    uint32_t overhead[HSDI_OVERHEAD_BUCKETS];
    pthread_mutex_t published_lock;
    hsdi_target_stats published; ///< guarded by published_lock
};

/// Links for all endpoints, and the first handshake.
HSD_NODISCARD hsd_status hsdi_helpers_connect(hsdi_target *target, hsdi_context *context,
                                              hsd_error *err);
void hsdi_helpers_disconnect(hsdi_target *target);

/// Begin a generation with every worker that answers; call those that did not.
void hsdi_helpers_open(hsdi_target *target);

/// Tell all open workers. One that cannot take the frame is lost.
void hsdi_helpers_tell(hsdi_target *target, const hsdi_frame *frame);

/// Is any worker open?
bool hsdi_helpers_any(const hsdi_target *target);

/// Wait for the window of this step until it is there or not worth waiting for; target->window is
/// left empty in the latter case.
void hsdi_helpers_collect(hsdi_target *target, int deadline_ms);

static inline bool hsdi_target_is_cancelled(const hsdi_target *target)
{
    return target->cancel && atomic_load_explicit(target->cancel, memory_order_acquire);
}

#endif
