/// @file simulate.h
/// What a generation would take on a machine that is only described: the product's own pipelines
/// in virtual time, docs/scaling.md.
#ifndef HSD_SIMULATE_H
#define HSD_SIMULATE_H

#include <hsd/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Fill with hsd_simulate_options_init, then change fields. Strings are borrowed for the call.
typedef struct hsd_simulate_options {
    const char *topology_path;   ///< description of the machine, docs/topology.md; NULL: this one
    const char *profile_path;    ///< times of target and draft on its devices: a profile, as `hsd
                                 ///< profile` writes it or made by hand
    const char *acceptance_path; ///< a profile of which only `acceptance` is used; NULL: that of
                                 ///< profile_path, else what is usual (HSD's documentation says)
    const char *target_device;   ///< name in the description, or id on the host that is `here`;
                                 ///< NULL: what the description chooses, else the first device with
                                 ///< times for the target
    const char *suffix_device;   ///< of the target's last layers; NULL: all are on the target's
    int split_layer;             ///< first layer on suffix_device; 0: half of them
    const char *const *draft_devices; ///< devices with a draft worker each: names or ids, or names
                                      ///< or endpoints of workers in the description
    int n_draft_devices; ///< 0: what the description chooses, else its workers, else the first
                         ///< device with times for the draft and other hardware than the target's,
                         ///< else any
    int n_workers;       ///< take only so many of them; 0: all
    int n_threads;       ///< of the target on a CPU; 0: what the drafts leave
    int n_draft_threads; ///< of a draft on a CPU; 0: as few as the profile has
    hsd_session_options session; ///< mode, draft_kind, window, tree, roots, roots_from, exit_layer,
                                 ///< with_ngram, n_tokens (0: 1024) and sampling.seed; auto: the
                                 ///< mode that turns out best
    int n_prompt;                ///< tokens of the prompt; 0: 16
    double streams;              ///< tokens that one call of the draft yields in a row, as drafts
                                 ///< with speculative streams do (arXiv 2402.11131); 0: 1
    double jitter;               ///< standard deviation of times over their means
    hsd_trace *trace;            ///< records the simulated run of a given mode; NULL: nothing
} hsd_simulate_options;

HSD_API void hsd_simulate_options_init(hsd_simulate_options *options);

/// What came of it. Plain data; all times are simulated.
typedef struct hsd_simulation {
    hsd_stats stats;         ///< as of a real generation
    double ar_tokens_per_s;  ///< of the target alone, on all threads
    double law_tokens_per_s; ///< what the planner's law says; 0: nothing, as for adaptive windows
    double step_s, step_p95_s, step_p99_s; ///< median and percentiles of the time of a step
    double target_busy, draft_busy; ///< computing, as parts of the generation; drafts: their mean
    int n_workers;
    int64_t n_frames, n_bytes; ///< messages, all ways
    char target[64];           ///< name of the target's device
    char draft[64];            ///< name of the first draft's device; empty in mode ar
    bool is_measured;          ///< the profile says that its times were measured
} hsd_simulation;

/// Simulate one generation. Equal options give equal results.
///
/// Errors : HSD_EIO, HSD_EFORMAT for the files, with line and field; HSD_ENODEVICE for a device
///          that the description has not; HSD_EINVAL with the field, also where there are no times
///          for a device; HSD_ENOMEM.
/// Thread : any. It uses one processor, and a thread for each draft worker.
/// Cost   : some 0.1 ms for each step and worker, four times that in mode auto.
HSD_API HSD_NODISCARD hsd_status hsd_simulate(const hsd_simulate_options *options,
                                              hsd_simulation *out, hsd_error *err);

#ifdef __cplusplus
}
#endif
#endif
