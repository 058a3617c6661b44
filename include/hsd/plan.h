/// @file plan.h
/// Plans: which devices, mode and windows should run two models on a machine, how fast that is
/// expected to be, and why.
///
///     hsd_machine_discover or hsd_machine_read -> hsd_plan_make -> hsd_plan_best, .. ->
///     hsd_plan_free
///
/// Nothing is run and no device is opened: times come from a profile (hsd_profile_keep, or a file),
/// else they are estimated from the devices' rates and the models' shapes. docs/planner.md has the
/// law.
#ifndef HSD_PLAN_H
#define HSD_PLAN_H

#include <hsd/engine.h>
#include <hsd/machine.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Immutable after creation. Thread: any.
typedef struct hsd_plan hsd_plan;

typedef enum hsd_objective {
    HSD_OBJECTIVE_SPEED = 0,   ///< tokens per second
    HSD_OBJECTIVE_LATENCY = 1, ///< how long the next token may take
    HSD_OBJECTIVE_ENERGY = 2,  ///< joules per token; devices need powers in their description
} hsd_objective;

/// Fill with hsd_plan_options_init, then change fields. Borrowed for the call.
typedef struct hsd_plan_options {
    const hsd_machine *machine; ///< NULL: this one
    const char *target_path;    ///< as in hsd_engine_options; only the headers are read
    const char *draft_path;
    const char *profile_path; ///< profile.yaml; NULL: what is kept for this machine and the models
    hsd_objective objective;
    double margin; ///< speculation must promise this much more than the target alone; 0: 1.05
    int n_ctx;     ///< tokens that caches must hold; 0: what the models were trained on, up to 4096
    hsd_cache_layout cache_layout, draft_cache_layout; ///< as in hsd_engine_options
    hsd_cache_type cache_type, draft_cache_type;
    int64_t cache_memory_bytes; ///< likewise; 0: the limit that a described machine sets, if any
} hsd_plan_options;

HSD_API void hsd_plan_options_init(hsd_plan_options *options);

/// Errors : HSD_EUNSUPPORTED when no setting is possible, with why; HSD_EIO, HSD_EFORMAT for a
/// file;
///          HSD_EINVAL; HSD_EDEVICE as for hsd_machine_discover; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_plan_make(const hsd_plan_options *options, hsd_plan **out,
                                               hsd_error *err);
/// Sets *plan to NULL. NULL is allowed.
HSD_API void hsd_plan_free(hsd_plan **plan);

/// A setting and its expected step. Times in milliseconds; 0 where a mode has no such part.
typedef struct hsd_plan_choice {
    hsd_mode mode;
    hsd_draft_kind draft_kind;
    char target[64], suffix[64]; ///< devices by the machine's names; suffix empty: not split
    char drafts[320];            ///< devices, with commas between; "NAME@WORKER": a worker's
    char transport[16];          ///< "inproc", "ipc", "tcp"; empty without a draft
    int split_layer, n_threads, n_draft_threads, n_workers, exit_layer, window, tree, roots;
    double tokens_per_s, tokens, total_ms;
    double prefix_ms, exit_ms, suffix_ms; ///< of the target
    double draft_ms;   ///< what the draft does beside the target, or before it (serial)
    double exposed_ms; ///< of that, what the target waits for
    double messages_ms, miss_ms;
    double hit_rate, latency_ms, joules_per_token;
    bool is_estimated; ///< from rates and shapes: nothing of it was measured, or not all
} hsd_plan_choice;

HSD_API void hsd_plan_best(const hsd_plan *plan, hsd_plan_choice *out);
/// The target alone, at its best.
HSD_API void hsd_plan_alone(const hsd_plan *plan, hsd_plan_choice *out);
HSD_API int hsd_plan_n_runners_up(const hsd_plan *plan);
HSD_API void hsd_plan_runner_up(const hsd_plan *plan, int i, hsd_plan_choice *out);

/// Sentences: one per device that is not used and per mode that lost, and what would change the
/// plan. Borrowed for the plan's life.
HSD_API int hsd_plan_n_reasons(const hsd_plan *plan);
HSD_API const char *hsd_plan_reason(const hsd_plan *plan, int i);

/// Memory of a device, or of a host, which has what its devices without memory of their own need.
typedef struct hsd_plan_memory {
    char name[64];
    bool is_host;
    int64_t weights_bytes, cache_bytes;
    int64_t rows_bytes; ///< values of a pass's rows, reckoned
    int64_t need_bytes; ///< the sum
    int64_t have_bytes; ///< that there may be; 0: not known
} hsd_plan_memory;

/// What the best setting takes, of those devices and hosts that it takes anything of.
HSD_API int hsd_plan_n_memories(const hsd_plan *plan);
HSD_API void hsd_plan_get_memory(const hsd_plan *plan, int i, hsd_plan_memory *out);

typedef struct hsd_plan_summary {
    char machine[64];
    double break_even; ///< acceptance at which the plan is as fast as the target alone; below 0: it
                       ///< is the target alone; above 1: at none
    double acceptance; ///< of a draft's first token
    bool acceptance_was_seen; ///< in a profile; else it is assumed
    char cache[48];           ///< "K+V in f32", "EL in f16 in the last 3 of 12 layers"
    int64_t limited_bytes;    ///< caches of this process that a limit counts
    int64_t limit_bytes;      ///< 0: there is none
    long long n_tried, n_pruned;
} hsd_plan_summary;

HSD_API void hsd_plan_summarize(const hsd_plan *plan, hsd_plan_summary *out);

#ifdef __cplusplus
}
#endif
#endif
