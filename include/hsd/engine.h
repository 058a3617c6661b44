/// @file engine.h
/// Engines and sessions: text in, the target's own tokens out.
///
///     hsd_engine_open -> hsd_session_open -> hsd_session_submit -> hsd_session_next ...
///                     -> hsd_session_close -> hsd_engine_close
///
/// An engine owns models and devices. A session owns one text: its caches, its sampling, its two
/// pipelines. In every mode the tokens of a session equal those of HSD_MODE_AR with the same
/// options, token for token.
#ifndef HSD_ENGINE_H
#define HSD_ENGINE_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Models and devices. Thread: all calls on one engine may come from any thread.
/// Lifetime: until hsd_engine_close; sessions must be closed before.
typedef struct hsd_engine hsd_engine;

/// One generation at a time on an engine. Thread: calls on one session from one thread at a time,
/// except hsd_session_cancel and hsd_session_stats, which any thread may call.
typedef struct hsd_session hsd_session;

/// A draft worker that serves engines in other processes.
typedef struct hsd_worker hsd_worker;

typedef enum hsd_mode {
    HSD_MODE_AUTO = 0, ///< the engine chooses by measuring a few passes; hsd_stats.mode says which
    HSD_MODE_AR = 1,   ///< target alone, one token per pass
    HSD_MODE_SERIAL = 2, ///< draft, then verify
    HSD_MODE_MIRROR = 3, ///< draft and verify at the same time
} hsd_mode;

typedef enum hsd_draft_kind {
    HSD_DRAFT_AUTO = 0,       ///< model when there is one, else n-gram
    HSD_DRAFT_MODEL = 1,      ///< a second model file
    HSD_DRAFT_NGRAM = 2,      ///< lookup in prompt and output
    HSD_DRAFT_EARLY_EXIT = 3, ///< the target's own first layers and its LM head
} hsd_draft_kind;

HSD_API const char *hsd_mode_name(hsd_mode mode);             ///< "mirror"; "?" if unknown
HSD_API const char *hsd_draft_kind_name(hsd_draft_kind kind); ///< "early_exit"; "?" if unknown

/// Log levels: 0 error, 1 warning, 2 information, 3 debug.
typedef void (*hsd_log_fn)(void *user, int level, const char *text);

/// Fill with hsd_engine_options_init, then change fields. Strings are borrowed for the call.
typedef struct hsd_engine_options {
    const char *target_path; ///< GGUF file; NULL: the shipped target
    const char *draft_path; ///< GGUF file; NULL: none, or the shipped draft with the shipped target
    int n_threads;          ///< threads of the target device; 0: by the engine
    int n_draft_threads;    ///< threads of the draft device; 0: by the engine
    int n_ctx;              ///< tokens per session; 0: what the model was trained on, up to 4096.
                            ///< More than that works with rotary positions, but reads badly
    const char *const *worker_endpoints; ///< workers started elsewhere: "ipc:///tmp/hsd.sock"
    int n_workers;
    hsd_log_fn log; ///< may be NULL; called from any thread
    void *log_user;
} hsd_engine_options;

/// How a token is chosen from the target's distribution.
typedef struct hsd_sampling {
    float temperature; ///< 0: greedy
    int top_k;         ///< 0: off
    float top_p;       ///< 1: off
    float min_p;       ///< 0: off; keeps tokens of at least min_p times the best one's probability
    uint64_t seed;     ///< same seed, same text
} hsd_sampling;

/// A piece of output.
typedef struct hsd_token {
    int32_t id; ///< in 0..n_vocab-1; -1 for bytes that the end of the text released
    /// Complete UTF-8, NUL-terminated; may be empty while a character is incomplete.
    const char *text;
    size_t n_bytes; ///< of text, without the NUL
} hsd_token;

/// Called on the session's own thread after each token, in order. `token` is borrowed for the call.
/// Return false to stop the generation (as hsd_session_cancel does).
typedef bool (*hsd_token_fn)(void *user, const hsd_token *token);

/// Fill with hsd_session_options_init, then change fields.
typedef struct hsd_session_options {
    hsd_mode mode;
    hsd_draft_kind draft_kind;
    int window;     ///< draft tokens per target pass, 1..16; 0: by the engine
    int roots;      ///< branches prepared per step in mirror mode, 1..64; 0: by the engine
    int exit_layer; ///< early-exit layer, 1..n_layers-1; 0: by the engine
    hsd_sampling sampling;
    int n_tokens;          ///< most tokens to generate; 0: until the context is full
    bool ignore_eos;       ///< go on after an end-of-text token
    hsd_token_fn on_token; ///< may be NULL: then pull with hsd_session_next
    void *on_token_user;
} hsd_session_options;

/// What a generation did. Counters since the last submit; times in seconds.
typedef struct hsd_stats {
    hsd_mode mode;             ///< the mode that ran
    hsd_draft_kind draft_kind; ///< the draft that ran; HSD_DRAFT_AUTO in mode ar
    int n_prompt;              ///< prompt tokens, BOS included
    int n_tokens;              ///< tokens generated
    int64_t steps;             ///< target passes after the prefill
    int64_t drafted;           ///< draft tokens that the target verified
    int64_t accepted;          ///< of these, accepted
    int64_t hits;              ///< commits whose branch was ready (mirror)
    int64_t misses;            ///< commits that needed a fresh rollout (mirror)
    int64_t own_hits;          ///< hits on a root that came from the draft's own distribution
    int64_t proxy_hits;        ///< hits on a root that only the early exit proposed
    int64_t late;              ///< steps in which no window arrived in time
    int64_t workers_lost;      ///< draft workers given up during the generation
    double prefill_s, decode_s;
    double tokens_per_s;    ///< n_tokens / decode_s
    double wait_s;          ///< time the target waited for the draft (exposed draft time)
    double step_overhead_s; ///< median per step spent neither in a device nor waiting
    int window, roots, exit_layer, n_threads, n_draft_threads; ///< settings in force
} hsd_stats;

HSD_API const char *hsd_version(void); ///< "0.1.0"

HSD_API void hsd_engine_options_init(hsd_engine_options *options);
HSD_API void hsd_session_options_init(hsd_session_options *options);

/// Load models and open devices.
///
/// Errors : HSD_EIO, HSD_EFORMAT, HSD_EUNSUPPORTED with file, field and byte; HSD_EVOCAB with the
///          first differing token; HSD_ENOMEM; HSD_ETRANSPORT with the endpoint's name.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_engine_open(const hsd_engine_options *options,
                                                 hsd_engine **out, hsd_error *err);
/// Sets *engine to NULL. NULL is allowed. All its sessions must be closed.
HSD_API void hsd_engine_close(hsd_engine **engine);

HSD_API int hsd_engine_n_vocab(const hsd_engine *engine);
HSD_API int hsd_engine_n_ctx(const hsd_engine *engine);
HSD_API int hsd_engine_n_layers(const hsd_engine *engine);
HSD_API bool hsd_engine_has_draft(const hsd_engine *engine);

/// Text to tokens, with BOS where the model file says so (`add_special`).
///
/// Shapes : out [cap] i32. *n_out is the count needed, also when it exceeds cap.
/// Errors : HSD_ETOOLONG when cap is too small (out then holds the first cap tokens).
HSD_API HSD_NODISCARD hsd_status hsd_engine_tokenize(const hsd_engine *engine, const char *text,
                                                     size_t n_bytes, bool add_special, int32_t *out,
                                                     int cap, int *n_out, hsd_error *err);

/// Tokens to text. Invalid UTF-8 becomes U+FFFD. Writes a final NUL when cap > 0.
///
/// Result : *n_out is the number of bytes needed without the NUL, also when it exceeds cap - 1.
HSD_API HSD_NODISCARD hsd_status hsd_engine_detokenize(const hsd_engine *engine,
                                                       const int32_t *tokens, int n_tokens,
                                                       char *out, size_t cap, size_t *n_out,
                                                       hsd_error *err);

/// Open a session: allocates its caches and starts its thread.
///
/// Errors : HSD_EINVAL with the option's name; HSD_ENOMEM; HSD_EUNSUPPORTED, for example a model
///          draft on an engine without one.
HSD_API HSD_NODISCARD hsd_status hsd_session_open(hsd_engine *engine,
                                                  const hsd_session_options *options,
                                                  hsd_session **out, hsd_error *err);
/// Cancels what runs, waits for it, frees everything, sets *session to NULL. NULL is allowed.
HSD_API void hsd_session_close(hsd_session **session);

/// Start a generation from a prompt; returns at once. A generation still running is cancelled
/// first. Output of an earlier one that was not yet pulled is dropped.
///
/// Errors : HSD_ETOOLONG when the prompt leaves no room; HSD_EINVAL for an empty prompt of a
///          model without BOS.
HSD_API HSD_NODISCARD hsd_status hsd_session_submit(hsd_session *session, const char *prompt,
                                                    size_t n_bytes, hsd_error *err);
/// The same from tokens, taken as they are.
HSD_API HSD_NODISCARD hsd_status hsd_session_submit_tokens(hsd_session *session,
                                                           const int32_t *tokens, int n_tokens,
                                                           hsd_error *err);

/// Pull the next token; waits up to timeout_ms (negative: for ever).
///
/// Result : HSD_OK and *out, borrowed until the next call on this session; HSD_EEND when the
///          generation is complete; HSD_ECANCELED after a cancel; HSD_ETIMEOUT; or the status
///          that ended the generation, with details in *err.
HSD_API HSD_NODISCARD hsd_status hsd_session_next(hsd_session *session, int timeout_ms,
                                                  hsd_token *out, hsd_error *err);

/// Wait for the end of the generation without pulling. HSD_OK when it completed.
HSD_API HSD_NODISCARD hsd_status hsd_session_wait(hsd_session *session, hsd_error *err);

/// Ask the running generation to end soon; does not wait. NULL is allowed. Any thread;
/// async-signal-safe.
HSD_API void hsd_session_cancel(hsd_session *session);

/// Copy of the counters; exact once the generation has ended. Any thread.
HSD_API void hsd_session_stats(const hsd_session *session, hsd_stats *out);

/// Fill with hsd_worker_options_init, then change fields. Strings are borrowed for the call.
typedef struct hsd_worker_options {
    const char *endpoint;   ///< where to listen: "ipc:///tmp/hsd.sock", "tcp://127.0.0.1:5555"
    const char *draft_path; ///< GGUF file; NULL: the shipped draft
    int n_threads;          ///< 0: one per core of the process's affinity
    hsd_log_fn log;
    void *log_user;
} hsd_worker_options;

HSD_API void hsd_worker_options_init(hsd_worker_options *options);
/// Load the draft, bind the endpoint.
HSD_API HSD_NODISCARD hsd_status hsd_worker_open(const hsd_worker_options *options,
                                                 hsd_worker **out, hsd_error *err);
/// Serve until hsd_worker_stop. Runs on the calling thread.
HSD_API HSD_NODISCARD hsd_status hsd_worker_run(hsd_worker *worker, hsd_error *err);
/// Ask hsd_worker_run to return. Any thread; async-signal-safe.
HSD_API void hsd_worker_stop(hsd_worker *worker);
/// Sets *worker to NULL. NULL is allowed. hsd_worker_run must have returned.
HSD_API void hsd_worker_close(hsd_worker **worker);

/// The pipelines' own cost per step: two rendezvous with stages that compute nothing.
typedef struct hsd_rendezvous_times {
    int n_steps;
    double p50_us, p95_us, p99_us; ///< one mirror step, both rendezvous
    double zmq_p50_us;             ///< bare ZeroMQ round trip of the same frame sizes
} hsd_rendezvous_times;

/// Measure it on `transport` ("inproc" or "ipc") with n_steps steps in this process.
HSD_API HSD_NODISCARD hsd_status hsd_measure_rendezvous(const char *transport, int n_steps,
                                                        hsd_rendezvous_times *out, hsd_error *err);

/// Median time of target passes of n_rows rows on a context of n_past tokens, in milliseconds.
/// Thread: uses the engine's target device; do not run sessions beside it.
HSD_API HSD_NODISCARD hsd_status hsd_measure_pass(hsd_engine *engine, int n_rows, int n_past,
                                                  int n_repeats, double *ms, hsd_error *err);

#ifdef __cplusplus
}
#endif
#endif
