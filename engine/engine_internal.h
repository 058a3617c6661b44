/// The engine's parts, shared by engine.c, session.c and measure.c.
#ifndef HSDI_ENGINE_ENGINE_INTERNAL_H
#define HSDI_ENGINE_ENGINE_INTERNAL_H

#include "base/log.h"
#include "engine/detok.h"
#include "engine/drafts.h"
#include "engine/layouts.h"
#include "engine/memory.h"
#include "pipelines/target.h"
#include "topology/cores.h"
#include "topology/machine.h"

enum { HSDI_PATH_MAX = 4096 };

/// Which device a name means.
typedef struct hsdi_place {
    /// NULL: the CPU.
    hsd_status (*open)(const struct hsdi_place *place, hsdi_device **out, hsd_error *err);
    int index; ///< of a device that is no CPU; -1: the first GPU, else the first of all
    int first_unit, n_units; ///< compute units to use of it; n_units 0: all
    int n_cpus; ///< processors of a CPU that was named with them; 0: the engine takes some
    int cpus[HSDI_CORES_MAX];
} hsdi_place;

/// NULL means the CPU. Errors: HSD_EINVAL or, for a processor that may not be used, HSD_ENODEVICE,
/// with the option's name.
HSD_NODISCARD hsd_status hsdi_place_parse(const char *name, const char *option, hsdi_place *out,
                                          hsd_error *err);

/// Fill in what hsd_device_measure has kept for such a device of such hardware
/// (hsdi_discover_fingerprint).
void hsdi_device_recall(hsd_device_info *device, uint64_t hardware);

/// Rates of a place that is no CPU, where hsd_device_measure has kept some; else left alone.
void hsdi_place_rates(const hsdi_place *place, double *gops, double *read_gbps);

/// Open the device. A CPU that was named without processors gets `cpus` [n_threads]; NULL: its
/// threads are not pinned.
HSD_NODISCARD hsd_status hsdi_place_open(const hsdi_place *place, const int *cpus, int n_threads,
                                         const hsdi_log *log, hsdi_device **out, hsd_error *err);

/// A model with its weights on a device, or on two.
typedef struct hsdi_loaded {
    hsdi_model *model;
    hsdi_tokenizer *tokenizer;
    hsdi_weights *weights;
    hsdi_runner runner;
    hsdi_weights *rest_weights; ///< of the last layers where they lie elsewhere, else NULL
    hsdi_runner rest;           ///< what runner.next points to then
    int n_el;                   ///< layers that cache their input
} hsdi_loaded;

/// The last layers of a model on a device of their own.
typedef struct hsdi_split {
    hsdi_device *device; ///< NULL: not split
    int layer;           ///< first layer there; 0: half of them
} hsdi_split;

/// The engine's own draft workers: one for sessions' drafts, and one for lookups beside them.
enum { HSDI_LOCAL_DRAFT, HSDI_LOCAL_NGRAM, HSDI_N_LOCAL };

/// A thread that runs a draft worker over inproc://.
typedef struct hsdi_local_worker {
    const char *endpoint;
    pthread_t thread;
    hsdi_worker *worker;
    int cpu; ///< to pin to; -1: none
    bool running;
    const hsdi_log *log;
} hsdi_local_worker;

struct hsd_engine {
    hsdi_log log;
    int n_ctx;
    int cpus[HSDI_CORES_MAX]; ///< order in which threads take processors
    int n_cpus;
    hsdi_place target_place, suffix_place, draft_place;
    hsdi_device *target_device, *draft_device;
    hsdi_device *suffix_device; ///< of the target's last layers; NULL: they are with the others
    int n_target_alone;  ///< target threads when no draft runs beside it; 1 where it is no CPU
    int n_target_beside; ///< target threads while a local draft runs
    int n_draft_threads;
    hsdi_loaded target, draft; ///< draft.model is NULL without a draft
    hsdi_memory memory;        ///< of all caches here
    hsdi_runner exit_runner;   ///< the target's weights on the draft device where both are CPUs,
                               ///< else on the target's; not where the target is split
    hsdi_drafts drafts;
    hsd_trace *trace; ///< borrowed; NULL: none
    hsdi_context *context;
    char **endpoints; ///< of workers started elsewhere, owned
    int n_endpoints;
    int endpoint_kinds[HSDI_TARGET_MAX_WORKERS]; ///< what a description says that they draft with;
                                                 ///< HSD_DRAFT_AUTO: what the session wants
    hsdi_machine_choices choices; ///< what the description of the machine decides; else all free
    uint64_t machine_key;         ///< hsdi_machine_key of hsd_engine_options.machine; 0: none
    hsd_mode planned_mode;        ///< with workers that a plan chose; AUTO: none did
    pthread_mutex_t lock;         ///< guards `local` and `plan`
    hsdi_local_worker local[HSDI_N_LOCAL];
    struct hsdi_engine_plan *plan; ///< owned; NULL: nothing was measured yet
};

/// Take times of kernels on the engine's devices that can, and write them to the log.
void hsdi_engine_profile(hsd_engine *engine);
void hsdi_engine_log_times(const hsd_engine *engine);

/// Processor of the target device's first thread; of the draft's; -1: not pinned.
int hsdi_first_cpu(const hsd_engine *engine);
int hsdi_draft_cpu(const hsd_engine *engine);

/// Which passes to time.
typedef struct hsdi_measured_pass {
    int cpu; ///< the calling thread is pinned to it meanwhile
    int n_threads;
    int exit_layer; ///< cut there, with proxies; 0: in one piece
    int n_rows, n_past;
    int n_repeats;
    int64_t budget_ns; ///< fewer repeats are made once it has passed; 0: no bound
    double quantile;   ///< of the repeats: 0 the shortest, 0.5 the median
    /// Threads that time passes beside each other and are not done yet: who is done goes on
    /// computing until all are. NULL: alone.
    atomic_int *n_beside;
} hsdi_measured_pass;

/// A stage whose passes are timed, with what->n_past positions filled.
typedef struct hsdi_measured hsdi_measured;

/// Owner  : *out is owned by the caller; `what` is copied.
HSD_NODISCARD hsd_status hsdi_measured_open(hsdi_runner *runner, const hsdi_measured_pass *what,
                                            hsdi_measured **out, hsd_error *err);

/// Time of a pass of 1..what->n_rows rows in nanoseconds, and of its layers behind the exit (NULL:
/// not wanted), each the quantile of its own times.
HSD_NODISCARD hsd_status hsdi_measured_run(hsdi_measured *measured, int n_rows, int64_t *ns,
                                           int64_t *suffix_ns, hsd_error *err);
void hsdi_measured_close(hsdi_measured **measured);

/// The quantile (0 the least, 0.5 the median) of n times, which are sorted by it.
int64_t hsdi_quantile_ns(int64_t *ns, int n, double quantile);

/// All three, for one number of rows.
HSD_NODISCARD hsd_status hsdi_measure_rows(hsdi_runner *runner, const hsdi_measured_pass *what,
                                           int64_t *ns, int64_t *suffix_ns, hsd_error *err);

/// How long a pipeline looks for messages of an endpoint before it sleeps: not at all where the
/// draft takes every core.
int hsdi_engine_spin_us(const hsd_engine *engine, const char *endpoint);

/// Start a local draft worker if it does not run yet.
HSD_NODISCARD hsd_status hsdi_engine_start_local(hsd_engine *engine, int which, hsd_error *err);

/// Load a model file and put it on a device, its last layers on another one where `split` says so.
///
/// caching : NULL: keys and values.
HSD_NODISCARD hsd_status hsdi_loaded_open(hsdi_loaded *loaded, const char *path,
                                          hsdi_device *device, const hsdi_split *split, int n_ctx,
                                          const hsdi_caching *caching, hsd_error *err);
void hsdi_loaded_close(hsdi_loaded *loaded);

/// Pin the calling thread; does nothing for cpu < 0 or where it is forbidden.
void hsdi_pin_self(int cpu);

/// Threads that a model of n_parameters keeps busy: a small one gets slower with more.
int hsdi_threads_for(int64_t n_parameters, int n_max);

/// Number of parameters from a file's header alone: devices are opened before weights load.
HSD_NODISCARD hsd_status hsdi_count_parameters(const char *path, int64_t *out, hsd_error *err);

/// Path of a shipped model file ("hsd-story-target.gguf").
///
/// Looked for in $HSD_MODELS, the source tree this library was built from, the installed data.
/// Shapes: out [cap]. Errors: HSD_EIO, naming the places.
HSD_NODISCARD hsd_status hsdi_shipped_path(const char *name, char *out, size_t cap, hsd_error *err);

extern const char hsdi_shipped_target[];
extern const char hsdi_shipped_draft[];

/// A device by name, for measuring without an engine; n_threads 0: all cores. *out is owned.
HSD_NODISCARD hsd_status hsdi_measure_open(const char *name, int n_threads, hsdi_device **out,
                                           hsd_error *err);

#endif
