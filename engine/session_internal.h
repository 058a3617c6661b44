/// A session's parts, shared by session.c, session_memory.c and session_park.c.
#ifndef HSDI_ENGINE_SESSION_INTERNAL_H
#define HSDI_ENGINE_SESSION_INTERNAL_H

#include "engine/plan.h"
#include "engine/profile.h"

typedef enum phase {
    PHASE_IDLE = 0,   ///< nothing submitted yet
    PHASE_QUEUED = 1, ///< the thread will take it
    PHASE_RUNNING = 2,
    PHASE_DONE = 3,
} phase;

struct hsd_session {
    hsd_engine *engine;
    hsd_session_options options; ///< with every default filled in
    bool adapts;                 ///< no window was given
    hsdi_session_plan plan;      ///< of mode auto; predictor NULL: the mode stays
    int n_target_threads;
    hsdi_target_stage stage;
    hsdi_target *target;
    int64_t promised_bytes; ///< of the engine's memory
    pthread_t thread;
    bool started;
    atomic_bool cancel;

    pthread_mutex_t lock;   ///< guards everything below
    pthread_cond_t changed; ///< the phase; told to all
    pthread_cond_t more;    ///< a token, or the end; told to who pulls
    phase phase;
    bool quit;
    bool is_continued; ///< the prompt is the text that the session had
    int32_t *prompt;   ///< [n_ctx]
    int n_prompt;
    int32_t *tokens; ///< [n_ctx]
    int n_tokens, n_taken;
    hsd_status result;
    hsd_error error;

    hsdi_detok detok; ///< of the one who reads: the callback, or hsd_session_next
    bool detok_open;
    char *text; ///< last piece, NUL-terminated
    size_t text_cap;
};

/// May the mode change while running?
bool hsdi_session_is_watched(const hsd_session *session);

/// Do workers elsewhere draft for it?
bool hsdi_session_uses_remote(const hsd_session *session);

/// The engine's memory promises the session what its caches can come to take.
///
/// Errors : HSD_ENOMEM in "cache_memory".
HSD_NODISCARD hsd_status hsdi_session_promise(hsd_session *session, hsd_error *err);
void hsdi_session_release(hsd_session *session);

/// Cancel what runs and wait for its end. The lock is held.
void hsdi_session_settle(hsd_session *session);

/// Is there room behind a prompt of n tokens?
HSD_NODISCARD hsd_status hsdi_session_check_prompt(const hsd_session *session, int n,
                                                   hsd_error *err);

/// Queue the prompt of n tokens that is in session->prompt. The session is quiet and locked.
void hsdi_session_start(hsd_session *session, int n, bool is_continued);

#endif
