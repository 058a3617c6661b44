/// The engine's parts, shared by engine.c, session.c and measure.c.
#ifndef HSDI_ENGINE_ENGINE_INTERNAL_H
#define HSDI_ENGINE_ENGINE_INTERNAL_H

#include "base/log.h"
#include "engine/detok.h"
#include "engine/drafts.h"
#include "pipelines/target.h"
#include "topology/cores.h"

enum { HSDI_PATH_MAX = 4096 };

/// A model with its weights on a device.
typedef struct hsdi_loaded {
    hsdi_model *model;
    hsdi_tokenizer *tokenizer;
    hsdi_weights *weights;
    hsdi_runner runner;
} hsdi_loaded;

/// A thread that runs a draft worker over inproc://.
typedef struct hsdi_local_worker {
    pthread_t thread;
    hsdi_worker *worker;
    int cpu; ///< to pin to; -1: none
    bool running;
    const hsdi_log *log;
} hsdi_local_worker;

/// What hsdi_choose_mode found, for the settings it was asked for.
typedef struct hsdi_choice {
    bool made;
    int window, roots, exit_layer;
    hsd_mode mode;
} hsdi_choice;

struct hsd_engine {
    hsdi_log log;
    int n_ctx;
    int cpus[HSDI_CORES_MAX]; ///< order in which threads take processors
    int n_cpus;
    hsdi_device *target_device, *draft_device;
    int n_target_alone;  ///< target threads when no draft runs beside it
    int n_target_beside; ///< target threads while a local draft runs
    int n_draft_threads;
    hsdi_loaded target, draft; ///< draft.model is NULL without a draft
    hsdi_runner exit_runner;   ///< the target's weights on the draft device
    hsdi_drafts drafts;
    hsdi_context *context;
    char local_endpoint[64];
    char **endpoints; ///< of workers started elsewhere, owned
    int n_endpoints;
    pthread_mutex_t lock; ///< guards `local` and `choice`
    hsdi_local_worker local;
    hsdi_choice choice;
};

/// Processor of the target device's first thread; -1: not pinned.
int hsdi_first_cpu(const hsd_engine *engine);

/// Time, on a thread pinned to `cpu`, of a pass of n_rows rows behind n_past tokens, a quantile of
/// n_repeats (0: the shortest, 0.5: the median); cut at exit_layer with proxies there, unless it is
/// 0. Fewer repeats are made once budget_ns has passed (0: no bound).
HSD_NODISCARD hsd_status hsdi_measure_rows(hsdi_runner *runner, int cpu, int n_threads,
                                           int exit_layer, int n_rows, int n_past, int n_repeats,
                                           int64_t budget_ns, double quantile, int64_t *ns,
                                           hsd_error *err);

/// The mode for HSD_MODE_AUTO with a model draft, by measured pass times; logs its reasons.
///
/// Measured once per engine and window, on the first such session; takes some tens of passes.
HSD_NODISCARD hsd_status hsdi_choose_mode(hsd_engine *engine, int window, int roots, int exit_layer,
                                          hsd_mode *out, hsd_error *err);

/// How long a pipeline looks for messages before it sleeps. Waking an idle core takes tens of
/// microseconds, several times what a small draft needs for a token; where target and draft have
/// cores of their own, looking costs nobody anything.
int hsdi_engine_spin_us(const hsd_engine *engine);

/// Start the local draft worker if it does not run yet.
HSD_NODISCARD hsd_status hsdi_engine_start_local(hsd_engine *engine, hsd_error *err);

/// Load a model file and put it on a device.
HSD_NODISCARD hsd_status hsdi_loaded_open(hsdi_loaded *loaded, const char *path,
                                          hsdi_device *device, int n_ctx, hsd_error *err);
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

#endif
