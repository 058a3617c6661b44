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

#include <hsd/cache.h>
#include <hsd/machine.h>
#include <hsd/status.h>
#include <hsd/trace.h>
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
    HSD_MODE_AUTO = 0,   ///< the engine plans with measured passes, and changes the mode while
                         ///< running where that pays; hsd_stats.mode says which
    HSD_MODE_AR = 1,     ///< target alone, one token per pass
    HSD_MODE_SERIAL = 2, ///< draft, then verify
    HSD_MODE_MIRROR = 3, ///< draft and verify at the same time
    HSD_MODE_ASYNC = 4,  ///< the target never waits: it verifies what draft tokens have arrived
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
    const char *target_device; ///< "cpu", "cpu:0-3,8" (these processors), "opencl" (the first GPU,
                               ///< else the first device), "opencl:1" (of hsd_device_list),
                               ///< "opencl:1/0-3" (these compute units), "level_zero",
                               ///< "level_zero:1"; NULL: "cpu"
    const char *suffix_device; ///< the same for the target's last layers and LM head; NULL: all
                               ///< layers are on target_device
    int split_layer;           ///< first layer on suffix_device, 1..n_layers-1; 0: half of them
    const char *draft_device;  ///< device of the draft; NULL: "cpu"
    int n_threads;             ///< threads of the target where it is on the CPU; 0: by the engine
    int n_draft_threads;       ///< threads of the draft where it is on the CPU; 0: by the engine
    int n_ctx; ///< tokens per session; 0: what the model was trained on, up to 4096.
               ///< More than that works with rotary positions, but reads badly
    hsd_cache_layout cache_layout;       ///< of the target. Tokens are equal in all modes with the
                                         ///< same layout; between layouts a near-tie may differ
    hsd_cache_layout draft_cache_layout; ///< of the draft; the early exit has the target's
    hsd_cache_type cache_type, draft_cache_type; ///< likewise, and the same holds: tokens are equal
                                                 ///< in all modes with the same type of the target
    const char *const *worker_endpoints; ///< workers started elsewhere: "ipc:///tmp/hsd.sock"
    int n_workers;
    const char *key_file; ///< our own keys, "NAME.key" of hsd_key_create; NULL: none. Workers on
                          ///< other hosts are used with keys only
    const char *const *worker_key_files; ///< [n_workers] "NAME.pub" of each worker, or NULL for one
                                         ///< without keys; NULL: all without keys
    /// What there is and what is decided. With rates of its devices, a plan chooses what is NULL or
    /// "auto" above, and drafts where n_workers is 0; else all its workers are used, but those on
    /// forbidden devices, with their keys. What its choices say of mode, window, tree, roots, exit
    /// and threads holds where options leave it open. Borrowed for the call; NULL: devices that are
    /// NULL are the CPU
    const hsd_machine *machine;
    /// Bytes that the caches of all sessions may take, those of drafts in this process included; 0:
    /// no limit, but that of `machine`. A target whose cache of n_ctx tokens does not fit is
    /// refused before it is loaded; HSD_CACHE_LAYOUT_AUTO makes it smaller for that. A session is
    /// promised at its opening what its longest text needs (see n_ctx of hsd_session_options), and
    /// is not opened where that does not fit. What is not promised holds texts that are over, for
    /// share_prefixes; without a limit these get two contexts at most
    int64_t cache_memory_bytes;
    /// What sessions of this engine have in their caches of the beginning of another one's prompt
    /// is not computed again (hsd_stats.n_prompt_reused). The tokens are the same. On by
    /// hsd_engine_options_init
    bool share_prefixes;
    hsd_log_fn log; ///< may be NULL; called from any thread
    void *log_user;
    hsd_trace *trace; ///< records what sessions and their drafts in this process do; NULL: nothing.
                      ///< With one, devices that can time their kernels, and the log gets the sums
                      ///< Must outlive the engine
} hsd_engine_options;

/// How a window is verified at temperature > 0.
typedef enum hsd_rule {
    HSD_RULE_COUPLED = 0, ///< shared noise: the tokens equal those of HSD_MODE_AR with this seed
    HSD_RULE_RATIO = 1,   ///< accept by min(1, p/q): an exact sample of the target's distribution,
                          ///< but which sample depends on the draft and on timing
} hsd_rule;

/// How a token is chosen from the target's distribution.
typedef struct hsd_sampling {
    float temperature; ///< 0: greedy
    int top_k;         ///< 0: off
    float top_p;       ///< 1: off
    float min_p;       ///< 0: off; keeps tokens of at least min_p times the best one's probability
    uint64_t seed;     ///< same seed, same text
    float repeat_penalty; ///< logits of tokens in the last repeat_last_n are divided (when
                          ///< positive) or multiplied by it, 0.01..100; 1 or 0: off
    int repeat_last_n;    ///< how far back the penalty looks, prompt included; 0: 64, -1: all
    int no_repeat_ngram;  ///< no run of this many tokens comes twice in prompt and output; 0: off
    hsd_rule rule;        ///< without meaning at temperature 0
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

/// Whose candidates may become roots of branches in mode mirror. For measuring; both is best.
typedef enum hsd_roots_from {
    HSD_ROOTS_FROM_BOTH = 0,
    HSD_ROOTS_FROM_DRAFT = 1, ///< the draft's own
    HSD_ROOTS_FROM_EXIT = 2,  ///< the target's early exit (proxies)
} hsd_roots_from;

/// Fill with hsd_session_options_init, then change fields.
typedef struct hsd_session_options {
    hsd_mode mode;
    hsd_draft_kind draft_kind;
    int window;     ///< longest chain of draft tokens per target pass, 1..16; 0: follows acceptance
                    ///< and measured cost, up to 8, down to none where the target alone is faster
    int tree;       ///< draft tokens per target pass as a tree, window..32; 0: a chain
    int roots;      ///< branches prepared per step in mirror mode, 1..64; 0: by the engine
    int exit_layer; ///< early-exit layer, 1..n_layers-1; 0: by the engine
    bool with_ngram; ///< a lookup in prompt and output drafts beside the draft
    hsd_roots_from roots_from;
    /// Count where commits were among the roots (see hsd_session_coverage). For that the draft
    /// waits for the early exit and completes its branches before it looks at a commit, so hits
    /// and coverage hardly depend on the clock; the tokens are the same, the speed is not.
    bool audit_roots;
    hsd_sampling sampling;
    int n_tokens; ///< most tokens to generate; 0: until the context is full
    int n_ctx;    ///< most tokens of prompt and output together, at most the engine's; 0: the
               ///< engine's. Less needs less memory where hsd_engine_options.cache_memory_bytes is
               ///< set
    bool ignore_eos;       ///< go on after an end-of-text token
    hsd_token_fn on_token; ///< may be NULL: then pull with hsd_session_next
    void *on_token_user;
} hsd_session_options;

/// What a generation did. Counters since the last submit; times in seconds.
typedef struct hsd_stats {
    hsd_mode mode;             ///< the mode that ran; of auto: the one in force at the end
    hsd_draft_kind draft_kind; ///< the draft whose windows were verified; HSD_DRAFT_AUTO: the
                               ///< target went alone all the time
    int n_prompt;              ///< prompt tokens, BOS included
    int n_prompt_reused;       ///< of these, not computed, since a cache had them
    int n_tokens;              ///< tokens generated
    int64_t steps;             ///< target passes after the prefill
    int64_t drafted;           ///< draft tokens that the target verified
    int64_t accepted;          ///< of these, accepted
    int64_t hits;              ///< commits whose branch was ready (mirror)
    int64_t misses;            ///< commits that needed a fresh rollout (mirror)
    int64_t own_hits;          ///< hits on a root that came from the draft's own distribution
    int64_t proxy_hits;        ///< hits on a root that only the early exit proposed
    int64_t carried;           ///< windows used that were drafted before the last commit
    int64_t paused;            ///< steps without a window, since the target alone is faster
    int64_t late;              ///< steps in which no window arrived in time
    int64_t workers_lost;      ///< draft workers given up during the generation
    int64_t replans;           ///< mode auto: changes of the plan, trials included
    double prefill_s, decode_s;
    double tokens_per_s;       ///< n_tokens / decode_s
    double wait_s;             ///< time the target waited for the draft (exposed draft time)
    double step_overhead_s;    ///< median per step spent neither in a device nor waiting
    int64_t cache_bytes;       ///< that the target's caches of this session can come to take
    int64_t cache_token_bytes; ///< of these, of one token
    int n_el_layers;           ///< layers of the target that keep their input: HSD_CACHE_LAYOUT_EL
    int window, tree, roots, exit_layer, n_threads, n_draft_threads; ///< settings in force
} hsd_stats;

HSD_API const char *hsd_version(void); ///< "0.1.0"

HSD_API void hsd_engine_options_init(hsd_engine_options *options);
HSD_API void hsd_session_options_init(hsd_session_options *options);

/// A device that an engine can use.
typedef struct hsd_device_info {
    char id[256];         ///< what the options of an engine call it: "cpu", "opencl:0"
    char type[16];        ///< "cpu", "gpu", "npu", "accelerator", "fpga", "other"
    char name[128];       ///< as the device says
    char driver[128];     ///< platform and driver version
    int64_t memory_bytes; ///< 0: not known
    int n_units;          ///< cores or compute units; 0: not known
    char pci[16];         ///< "0000:03:00.0"; empty: not known
    char uuid[33];        ///< 32 hexadecimal digits; empty: not known
    char features[128];   ///< "SPIR-V 1.2, fp16"; empty: not known
    char unusable[80];    ///< why models cannot run there; empty: they can
    bool shares_memory;   ///< its memory is the host's
    double read_gbps;     ///< 1e9 bytes read per second. This and the following four as
                          ///< hsd_device_measure found them once; 0: not measured
    double f32_gops, f16_gops, int8_gops; ///< 1e9 operations per second (a multiplication and an
                                          ///< addition are two) of hsd's own products of 64 rows:
                                          ///< matrices of F32, F16, Q8_0
    double launch_us;                     ///< submission of a graph that does next to nothing
} hsd_device_info;

/// The devices of this machine: "cpu", then those of OpenCL and of Level Zero. A piece of hardware
/// is listed once per driver that knows it. Thread: any.
///
/// Shapes : out [cap]. *n_out is their number, also when it exceeds cap.
/// Errors : HSD_EINVAL; HSD_ENOMEM; HSD_EDEVICE. Without drivers there is only "cpu".
HSD_API HSD_NODISCARD hsd_status hsd_device_list(hsd_device_info *out, int cap, int *n_out,
                                                 hsd_error *err);

/// Measure the device named by device->id, fill in its bandwidth and rates, and keep them for
/// hsd_device_list of later programs (in HSD_CACHE_DIR, else $XDG_CACHE_HOME/hsd, else
/// ~/.cache/hsd). Takes some seconds and some 600 MB; beside other work the figures are lower.
///
/// Errors : as for opening an engine with it; HSD_EIO when the figures cannot be kept: they are
///          filled in then as well.
HSD_API HSD_NODISCARD hsd_status hsd_device_measure(hsd_device_info *device, hsd_error *err);

/// Load models and open devices.
///
/// Errors : HSD_EDEVICE with the driver's call and code, or with why there is no OpenCL
///          or Level Zero; HSD_ENODEVICE for a device that is not there; HSD_EIO, HSD_EFORMAT,
///          HSD_EUNSUPPORTED with file, field and byte or line; HSD_EINVAL for an option or a
///          worker without the keys it needs; HSD_EVOCAB with the first differing token;
///          HSD_ENOMEM; HSD_ETRANSPORT with the endpoint's name.
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

/// Open a session: promises it memory for its caches and starts its thread.
///
/// Errors : HSD_EINVAL with the option's name; HSD_ENOMEM, in "cache_memory" where the engine's
///          limit does not allow it, with what it needs, what is promised to others, and how many
///          tokens would fit; HSD_EUNSUPPORTED, for example a model
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

/// Go on from where the text is: from the last generation's prompt and output, as if they were the
/// prompt of the next one; what the caches have of them is not computed again, whatever
/// share_prefixes says. The tokens are those that a longer generation would have given. Returns at
/// once; a generation still running is stopped first, and its text is what goes on. Text begins
/// with bytes that the last generation held back for a character.
///
/// Errors : HSD_EINVAL when nothing was submitted; HSD_ETOOLONG when the context is full.
HSD_API HSD_NODISCARD hsd_status hsd_session_continue(hsd_session *session, hsd_error *err);

/// Tokens of prompt and output so far.
///
/// Shapes : out [cap]. *n_out is their number, also when it exceeds cap.
/// Errors : HSD_EINVAL; HSD_ETOOLONG when cap is too small (out then has the first cap tokens).
HSD_API HSD_NODISCARD hsd_status hsd_session_text(hsd_session *session, int32_t *out, int cap,
                                                  int *n_out, hsd_error *err);

/// Write text, sampling settings, the target's caches and those of a model draft in this process to
/// a file, from which hsd_session_resume
/// goes on without computing them again. A generation still running is stopped first. The session
/// stays as it is: it may go on, or be closed. A file that is there is replaced when the new one is
/// whole and on the disk.
///
/// Errors : HSD_EINVAL when nothing was submitted; HSD_EIO with the path and the system's reason, a
///          full disk for example; HSD_EDEVICE; HSD_ENOMEM.
/// Cost   : the caches' bytes once, which for large models and long texts are gigabytes.
/// Proof  : tests/engine/test_park.c
HSD_API HSD_NODISCARD hsd_status hsd_session_park(hsd_session *session, const char *path,
                                                  hsd_error *err);

/// What a parked file has of each token.
typedef enum hsd_park_as {
    HSD_PARK_CELLS = 0,   ///< what the caches hold: quick to write and to read
    HSD_PARK_INPUTS = 1,  ///< what enters each layer in f32, from which caches are made again:
                          ///< half of the bytes of an f32 cache where no heads share keys. Writing
                          ///< costs about what the text's prompt phase cost, reading a part of it
    HSD_PARK_SMALLER = 2, ///< inputs where they make the file at least a quarter smaller
    HSD_N_PARK_AS = 3,
} hsd_park_as;

/// How a text is parked. Fill with hsd_park_options_init, then change fields.
typedef struct hsd_park_options {
    hsd_park_as as;
    bool with_draft; ///< what a model draft in this process has in its caches is parked too, so
                     ///< that it need not read the text again either. Needs share_prefixes, here
                     ///< and there. Another draft leaves it alone. On by hsd_park_options_init
} hsd_park_options;

HSD_API void hsd_park_options_init(hsd_park_options *options);

/// hsd_session_park, which does so with options as they are by hsd_park_options_init. The tokens
/// after resuming are the same in any form: cells that are made again have the old bits.
///
/// Errors : as hsd_session_park; HSD_EINVAL for another form.
/// Proof  : tests/engine/test_inputs.c
HSD_API HSD_NODISCARD hsd_status hsd_session_park_with(hsd_session *session, const char *path,
                                                       const hsd_park_options *options,
                                                       hsd_error *err);

/// Open a session with a parked text; nothing runs before hsd_session_continue. Sampling settings
/// and ignore_eos are the file's; all else is as in `options`, mode and draft too. The tokens that
/// follow are those that the parked session would have given on this device.
///
/// Errors : as hsd_session_open; HSD_EIO; HSD_EFORMAT with the byte where a file is damaged, cut
/// off
///          or something else; HSD_EUNSUPPORTED for another version of the format, another model,
///          or caches of another kind; HSD_ETOOLONG for a text longer than the context.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_session_resume(hsd_engine *engine, const char *path,
                                                    const hsd_session_options *options,
                                                    hsd_session **out, hsd_error *err);

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

/// Of the commits of an audited generation in mode mirror: at which place of the best-first roots
/// they were. Entry i counts place i; the last entry those that were not among the roots.
typedef struct hsd_coverage {
    int64_t draft[65]; ///< of the draft's own candidates
    int64_t exit[65];  ///< of the early exit's
    int64_t both[65];  ///< of both, merged
    /// Entry i: commits among the first i + 1 roots of the one and not of the other.
    int64_t both_not_draft[64], draft_not_both[64], both_not_exit[64], exit_not_both[64];
} hsd_coverage;

/// Copy of the counters; all zero unless audit_roots is set. Any thread.
HSD_API void hsd_session_coverage(const hsd_session *session, hsd_coverage *out);

/// Fill with hsd_worker_options_init, then change fields. Strings are borrowed for the call.
typedef struct hsd_worker_options {
    const char *endpoint;   ///< where to listen: "ipc:///tmp/hsd.sock", "tcp://127.0.0.1:5555";
                            ///< with keys also "tcp://*:5555"
    const char *draft_path; ///< GGUF file; NULL: the shipped draft
    const char *device;     ///< as target_device of hsd_engine_options; NULL: "cpu"
    int n_threads;          ///< threads on the CPU; 0: as many as help, at most one per core of the
                            ///< process's affinity
    int n_ctx; ///< tokens of a text that it drafts for at most; 0: what the draft was trained on,
               ///< up to 4096
    hsd_cache_layout cache_layout; ///< of the draft's caches, as in hsd_engine_options
    hsd_cache_type cache_type;     ///< likewise
    /// Bytes that the caches of all its sessions may take; 0: no limit. A draft whose cache of
    /// n_ctx tokens does not fit is refused before it is loaded. A session for whose draft there is
    /// no room is refused while that is so; its engine goes on without this worker and asks again
    int64_t cache_memory_bytes;
    const char *key_file; ///< our own keys, "NAME.key" of hsd_key_create; NULL: none. Needed beyond
                          ///< loopback addresses, and only together with clients_file
    const char *clients_file; ///< who may connect: lines as in "NAME.pub", `#` begins a comment;
                              ///< read again whenever somebody connects
    hsd_log_fn log;
    void *log_user;
    hsd_trace *trace; ///< as in hsd_engine_options; must outlive the worker
} hsd_worker_options;

HSD_API void hsd_worker_options_init(hsd_worker_options *options);
/// Read the keys, load the draft, bind the endpoint.
///
/// Errors : HSD_EINVAL for an endpoint or for keys that are missing; HSD_EIO, HSD_EFORMAT with file
///          and line or byte; HSD_EUNSUPPORTED; HSD_ETRANSPORT; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_worker_open(const hsd_worker_options *options,
                                                 hsd_worker **out, hsd_error *err);
/// Serve until hsd_worker_stop. Runs on the calling thread.
HSD_API HSD_NODISCARD hsd_status hsd_worker_run(hsd_worker *worker, hsd_error *err);
/// Ask hsd_worker_run to return. Any thread; async-signal-safe.
HSD_API void hsd_worker_stop(hsd_worker *worker);
/// Sets *worker to NULL. NULL is allowed. hsd_worker_run must have returned.
HSD_API void hsd_worker_close(hsd_worker **worker);

/// Make a CURVE key pair for hosts that connect over tcp://, one for each side.
///
/// Writes NAME.key (mode 0600: the secret half stays where it was made) and NAME.pub (one line for
/// the other side) for a path "NAME". Existing files are not overwritten.
///
/// Errors : HSD_EINVAL for the name; HSD_EIO with the file; HSD_EUNSUPPORTED when ZeroMQ was built
///          without CURVE; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_key_create(const char *name, hsd_error *err);

/// The pipelines' own cost per step: two rendezvous with stages that compute nothing.
typedef struct hsd_rendezvous_times {
    int n_steps;
    double p50_us, p95_us, p99_us; ///< one mirror step, both rendezvous
    double zmq_p50_us;             ///< bare ZeroMQ round trip of the same frame sizes
} hsd_rendezvous_times;

/// Measure it on `transport` ("inproc", "ipc" or "tcp") with n_steps steps in this process.
HSD_API HSD_NODISCARD hsd_status hsd_measure_rendezvous(const char *transport, int n_steps,
                                                        hsd_rendezvous_times *out, hsd_error *err);

enum { HSD_KERNEL_TYPES = 8, HSD_KERNEL_TIMES = 64 };

/// How fast a device computes products of a 1.1B model's shape (2048 inputs, 5632 outputs, many
/// times over, so that no cache holds them).
typedef struct hsd_kernel_times {
    char device[64];
    double read_gbps; ///< 1e9 bytes per second of reading alone, the best that was seen
    double launch_us; ///< a graph that copies 16 numbers of one row
    int n_types;
    struct {
        char type[8];
        double gbps;       ///< weights per second, product of one row
        double rows8_cost; ///< time of 8 rows over that of 1
    } types[HSD_KERNEL_TYPES];
    int n_kernels; ///< what the device's own clock says, where it tells: for 1 and 8 rows
    struct {
        char name[32];
        int64_t n;
        double us; ///< of one launch
    } kernels[HSD_KERNEL_TIMES];
} hsd_kernel_times;

/// Measure that on a device ("cpu", "opencl", ..), each n_repeats times; the best counts.
///
/// n_threads : of the CPU; 0: all its cores.
/// Errors    : HSD_EINVAL for the name or the numbers; as for opening an engine; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_measure_kernels(const char *device, int n_threads,
                                                     int n_repeats, hsd_kernel_times *out,
                                                     hsd_error *err);

// ---- sizes of kernels, measured ----

/// What to measure. Shared with nobody; hsd_tune_options_init fills it.
typedef struct hsd_tune_options {
    const char *device;       ///< "opencl", "opencl:1", "level_zero"; not the CPU. NULL: "opencl"
    const char *const *types; ///< "Q8_0", ..; NULL: all
    int n_types;
    int n_repeats;  ///< of each candidate; the median counts
    int n_channels; ///< of the product, which has 2048 inputs
    bool int8; ///< also products of rows in 8 bits where the device has no instruction for them
    /// Called before each type and number of rows; false ends the tuning, nothing is kept. NULL:
    /// no.
    bool (*go_on)(void *user, const char *type, int n_rows);
    void *user;
} hsd_tune_options;

/// The kernel of one type for one class of rows. Names: kind, rows x channels, size of a group
/// ("lanes4x1/64").
typedef struct hsd_tuned {
    char type[8];
    int n_rows;    ///< measured with so many
    int last_rows; ///< for up to so many rows; 0: for all larger numbers
    int n_candidates;
    int n_refused; ///< of these, that the device does not take
    int n_wrong;   ///< of these, that gave other numbers than the plain kernel
    char before[24], after[24];
    double before_us, after_us; ///< medians
} hsd_tuned;

enum { HSD_TUNED_MAX = 32 };

HSD_API void hsd_tune_options_init(hsd_tune_options *out);

/// Measure the kernels for products on a device, take the fastest that compute what the plain ones
/// compute, and keep them in the user's cache folder for all later runs on this device and driver.
/// Products of rows in 8 bits give other numbers ("dot.."), so a type gets them for every number of
/// rows or for none, and only where they are faster over all.
///
/// Shapes : out [cap], HSD_TUNED_MAX are enough; *n_out is their number.
/// Errors : HSD_EINVAL for a type or number; HSD_EUNSUPPORTED for a device without such sizes;
///          HSD_ECANCELED when go_on says so; HSD_EIO when it cannot be kept; as for opening an
///          engine; HSD_ENOMEM.
/// Thread : any; not beside sessions on that device, which would be measured too.
/// Proof  : tests/engine/test_tune.c
HSD_API HSD_NODISCARD hsd_status hsd_tune(const hsd_tune_options *options, hsd_tuned *out, int cap,
                                          int *n_out, hsd_error *err);

/// Median time of target passes of n_rows rows on a context of n_past tokens, in milliseconds.
/// Longer contexts than 256 tokens hold random numbers, which cost the same. Thread: uses the
/// engine's target device; do not run sessions beside it.
HSD_API HSD_NODISCARD hsd_status hsd_measure_pass(hsd_engine *engine, int n_rows, int n_past,
                                                  int n_repeats, double *ms, hsd_error *err);

/// Median times of attention alone, of rows [n_counts] rows behind n_past tokens: that of all
/// layers of the target (its first ones, where they are on two devices) in their layouts, over
/// cells of `type` with random numbers, in one submission. In milliseconds.
///
/// Shapes : ms [n_counts]. Errors: HSD_EINVAL for more than 64 rows; HSD_EUNSUPPORTED for a type
///          that the device has not; HSD_ENOMEM; HSD_EDEVICE. Thread: as hsd_measure_pass.
HSD_API HSD_NODISCARD hsd_status hsd_measure_attention(hsd_engine *engine, hsd_cache_type type,
                                                       const int *rows, int n_counts, int n_past,
                                                       int n_repeats, double *ms, hsd_error *err);

/// What decides whether drafting beside the target pays, in milliseconds, medians.
typedef struct hsd_overlap {
    double alone_ms;  ///< target pass of a window on all its threads (serial)
    double beside_ms; ///< the same on the threads that a draft leaves it, with proxies (mirror)
    double delta_ms;  ///< of that, the layers behind the exit: what drafting can hide behind
    double draft_token_ms; ///< draft pass of one row
    double draft_step_ms;  ///< draft of a mirror step: one row, then a window for every root
    int n_threads_alone, n_threads_beside;
} hsd_overlap;

/// Measure them with a model draft on this machine, each by itself; exit_layer 0: the middle.
/// Thread: uses the engine's devices; do not run sessions beside it.
HSD_API HSD_NODISCARD hsd_status hsd_measure_overlap(hsd_engine *engine, int window, int roots,
                                                     int exit_layer, int n_repeats,
                                                     hsd_overlap *out, hsd_error *err);

#ifdef __cplusplus
}
#endif
#endif
