/// The simulator: a generation of the real pipelines on a machine that is only described.
///
/// Target pipeline, workers, draft pipelines and frames are the product's own; time is virtual
/// (virtual.h), stages take what the cost tables say, slowed down by those that compute at the same
/// time, and acceptance is that of the statistics (simulated.h).
#ifndef HSDI_PIPELINES_SIMULATOR_H
#define HSDI_PIPELINES_SIMULATOR_H

#include <base/log.h>
#include <hsd/trace.h>
#include <pipelines/target.h>
#include <topology/planner.h>

/// Fill with hsdi_simulator_options_init, then change fields. All pointers are borrowed for the
/// call.
typedef struct hsdi_simulator_options {
    const hsdi_machine *machine;
    const hsdi_costs *costs; ///< with the acceptance
    hsdi_plan_setting setting;
    bool adapts;     ///< lengths of windows follow acceptance and cost, from setting.window down
    bool with_ngram; ///< a lookup drafts beside the draft
    hsdi_sources sources; ///< whose candidates may become roots; default both
    int n_prompt;         ///< default 16
    int n_tokens;         ///< default 1024
    uint64_t seed;        ///< of the text; of a trail: with which of its texts to begin
    double streams;       ///< tokens that one call of the draft yields in a row (arXiv 2402.11131):
                          ///< the calls of a window are that many times fewer; default 1
    double jitter;        ///< standard deviation of the stages' times over their mean; default 0
    hsdi_log log;
    hsd_trace *trace; ///< records the simulated run; NULL: nothing
} hsdi_simulator_options;

void hsdi_simulator_options_init(hsdi_simulator_options *options);

/// What came of it. Times are nanoseconds of virtual time.
typedef struct hsdi_simulation {
    hsdi_target_stats stats;
    double tokens_per_s;
    double step_p50_ns, step_p95_ns, step_p99_ns;
    double accept[HSDI_WINDOW_MAX + 1]; ///< of chains, as it happened: token d, given those before;
                                        ///< 0: none came so far
    double target_busy, draft_busy; ///< computing, as parts of the generation; drafts: their mean
    int64_t n_frames, n_bytes;      ///< sent, all ways
    int64_t n_switches;             ///< what the simulation cost
} hsdi_simulation;

/// Run one generation. The same options give the same simulation.
///
/// Errors : HSD_EINVAL with the field, also for a device without costs; HSD_ENOMEM.
/// Thread : any; it makes a thread for each draft worker and joins them.
/// Cost   : tens of microseconds for each step and worker.
HSD_NODISCARD hsd_status hsdi_simulate(const hsdi_simulator_options *options, hsdi_simulation *out,
                                       hsd_error *err);

#endif
