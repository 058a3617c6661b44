/// The planner: a machine and costs in, a plan and its reasons out. Pure: no clock, no device.
///
/// The law (expected time of a step over expected tokens) is one function, hsdi_plan_predict, that
/// the search, the simulator's check and the watch while running all use.
#ifndef HSDI_TOPOLOGY_PLANNER_H
#define HSDI_TOPOLOGY_PLANNER_H

#include <topology/cache_layout.h>
#include <topology/costs.h>

enum { HSDI_PLAN_WORKERS = 64, HSDI_PLAN_REASONS = 160, HSDI_PLAN_RUNNERS_UP = 8 };

typedef enum hsdi_objective {
    HSDI_OBJECTIVE_SPEED,   ///< tokens per second
    HSDI_OBJECTIVE_LATENCY, ///< time until the next token, 95th percentile of steps
    HSDI_OBJECTIVE_ENERGY,  ///< joules per token, where devices have powers
} hsdi_objective;

/// Settings of a run: everything that a plan decides.
typedef struct hsdi_plan_setting {
    hsd_mode mode;             ///< AR, SERIAL, MIRROR, ASYNC
    hsd_draft_kind draft_kind; ///< AUTO in mode AR
    int i_target, i_suffix;    ///< devices; i_suffix -1: all layers on i_target
    int split_layer;           ///< first layer on i_suffix
    int n_target_threads;
    int n_workers;                   ///< drafts at once
    int i_draft[HSDI_PLAN_WORKERS];  ///< device of each; of a lookup: the target's
    int i_worker[HSDI_PLAN_WORKERS]; ///< described worker that serves it; -1: a thread of ours
    int n_draft_threads;
    int exit_layer, window, tree, roots;
} hsdi_plan_setting;

/// One expected step, nanoseconds from its beginning, and what it is made of.
typedef struct hsdi_plan_step {
    double prefix_ns, exit_ns, suffix_ns; ///< target: layers before the exit, the exit's head, rest
    double draft_ns;   ///< what the draft does meanwhile (mirror, async) or before (serial)
    double exposed_ns; ///< of that, what the target waits for
    double messages_ns, miss_ns;
    double total_ns;
    double tokens;   ///< per step
    double hit_rate; ///< mirror
    double tokens_per_s;
    double joules_per_token; ///< 0: powers not known
    double latency_ns;       ///< 95th percentile of steps: how long the next token may take
    bool is_estimated;       ///< from rates and shapes, not from measured passes
} hsdi_plan_step;

typedef struct hsdi_plan_candidate {
    hsdi_plan_setting setting;
    hsdi_plan_step step;
} hsdi_plan_candidate;

/// What a setting takes of a device's memory, or of a host's.
typedef struct hsdi_plan_need {
    int64_t weights_bytes, cache_bytes;
    int64_t rows_bytes; ///< of the rows of a pass, reckoned
    int64_t have_bytes; ///< that there may be; 0: not known
} hsdi_plan_need;

int64_t hsdi_plan_need_bytes(const hsdi_plan_need *need); ///< the sum

/// By device and by host; a host's has what its devices without memory of their own take.
typedef struct hsdi_plan_needs {
    hsdi_plan_need devices[HSDI_MACHINE_DEVICES], hosts[HSDI_MACHINE_HOSTS];
    int64_t limited_bytes, limit_bytes; ///< caches in this process, and their limit; 0: none
    int n_el; ///< layers of the target that keep their input, the last ones
} hsdi_plan_needs;

typedef struct hsdi_plan {
    hsdi_plan_candidate best;
    hsdi_plan_candidate alone; ///< the best plan of mode AR
    int n_runners_up;
    hsdi_plan_candidate runners_up[HSDI_PLAN_RUNNERS_UP]; ///< best first, each of another kind
    double break_even; ///< acceptance (the same at each depth) at which best and alone are equal;
                       ///< below 0: best is alone, above 1: never
    int n_reasons;     ///< sentences, one per device that is not used and per mode that lost
    char reasons[HSDI_PLAN_REASONS][200];
    int64_t n_tried, n_pruned;             ///< settings
    int64_t n_told;                        ///< and those tried for the reasons
    hsdi_cache_choice cache, cache_wanted; ///< of the target: what it gets, what the table says
    hsdi_plan_needs needs;                 ///< of the best
} hsdi_plan;

/// How a model's caches are kept: as in hsd_engine_options.
typedef struct hsdi_plan_caching {
    hsd_cache_layout layout;
    hsd_cache_type type;
} hsdi_plan_caching;

typedef struct hsdi_plan_options {
    hsdi_objective objective;
    double margin; ///< speculation must promise this much more than the target alone, 1.05:
                   ///< plans are compared by what they promise, speculation divided by it
    // For memory.
    int n_prompt_rows; ///< expected context; 0: the model's whole context
    int n_sessions;    ///< texts at once, each with caches of its own; 0: 1
    int n_pass_rows;   ///< most rows of a pass; 0: their values are not counted
    hsdi_plan_caching target_cache, draft_cache;
    int64_t cache_memory_bytes; ///< of all caches in this process; 0: the machine's choice, if any
    int64_t target_token_bytes, draft_token_bytes; ///< in all layers, where settled; 0: by caching
    int (*target_cells)(int n_ctx);                ///< of a text's cache; NULL: n_ctx and a tree
    int (*draft_cells)(int n_ctx, int window, int roots); ///< likewise
} hsdi_plan_options;

/// Acceptance, the same at every depth and with coverage in proportion, at which `one` is worth as
/// much as `alone`; below 0: `one`
/// is no speculation; above 1: never.
double hsdi_plan_break_even(const hsdi_machine *machine, const hsdi_costs *costs,
                            const hsdi_plan_options *options, const hsdi_plan_candidate *one,
                            const hsdi_plan_candidate *alone);

/// What a setting's step is worth under an objective: larger is better, 0 where it is not known.
double hsdi_plan_value(const hsdi_plan_options *options, hsd_mode mode, const hsdi_plan_step *step);

void hsdi_plan_options_init(hsdi_plan_options *options);

/// Early exits that plans choose among: a quarter, a half and three quarters of the layers, where
/// what an exit sees is known. Returns how many there are, ascending.
enum { HSDI_PLAN_EXITS = 3 };
int hsdi_plan_exits(int n_layers, int out[HSDI_PLAN_EXITS]);

/// The law, for one setting. HSD_EINVAL with the field where the setting cannot be.
HSD_NODISCARD hsd_status hsdi_plan_predict(const hsdi_machine *machine, const hsdi_costs *costs,
                                           const hsdi_plan_setting *setting, hsdi_plan_step *out,
                                           hsd_error *err);

/// The best setting. Forbidden devices and modes are never chosen, pinned ones always; memory
/// limits hold; the result does not depend on the order of devices.
///
/// Errors : HSD_EUNSUPPORTED when nothing is possible, with the reason; HSD_EINVAL; HSD_ENOMEM.
/// Owner  : *out is the caller's, plain data. Cost: under 10 ms for 16 devices.
HSD_NODISCARD hsd_status hsdi_plan_make(const hsdi_machine *machine, const hsdi_costs *costs,
                                        const hsdi_plan_options *options, hsdi_plan *out,
                                        hsd_error *err);

#endif
