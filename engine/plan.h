/// Plans of an engine: costs of its open devices, and what a session in mode auto runs with.
#ifndef HSDI_ENGINE_PLAN_H
#define HSDI_ENGINE_PLAN_H

#include "pipelines/watch.h"
#include "topology/planner.h"

#include <hsd/engine.h>

/// What the engine knows of itself: a machine of its open devices with measured costs.
typedef struct hsdi_engine_plan {
    hsdi_machine machine;
    hsdi_costs costs; ///< acceptance: of the kept profile, of earlier sessions, or assumed
} hsdi_engine_plan;

/// What a watch predicts with. One per session; not moved while the session lives.
typedef struct hsdi_predictor {
    hsdi_machine *machine; ///< borrowed from the engine
    hsdi_costs costs;
    bool adapts; ///< windows have any length up to the arm's
    hsdi_plan_setting settings[HSDI_WATCH_ARMS];
} hsdi_predictor;

/// A session's plan. predictor NULL: nothing to watch.
typedef struct hsdi_session_plan {
    hsd_mode mode;
    int roots, exit_layer;
    hsdi_watch_config watch;   ///< with predictor as its user
    hsdi_predictor *predictor; ///< owned, free
} hsdi_session_plan;

/// Where no mode promises more than this part of the target alone, a session in mode auto has no
/// watch. A variable for tests.
extern double hsdi_plan_hopeless;

/// The session's next step takes this arm, see hsdi_target_set_arm. For tests.
void hsdi_session_set_arm(hsd_session *session, int i_arm);

/// Measure the engine's open devices, within a second or two, or take the profile that was kept for
/// this machine and these models. Once per engine; the engine's lock is held.
HSD_NODISCARD hsd_status hsdi_engine_measure(hsd_engine *engine, hsdi_engine_plan **out,
                                             hsd_error *err);

/// The plan of a session with a model draft on this engine's devices; logs its reasons. Fields of
/// `options` that are not 0 are decided. Thread: any.
///
/// Errors : HSD_ENOMEM; what measuring gives.
HSD_NODISCARD hsd_status hsdi_plan_session(hsd_engine *engine, const hsd_session_options *options,
                                           hsdi_session_plan *out, hsd_error *err);

/// Where a plan for a described machine puts models. Ids as in hsd_engine_options; empty: by the
/// engine.
typedef struct hsdi_placed {
    hsd_mode mode; ///< with workers: the plan's; else AUTO
    char target[HSDI_MACHINE_ID], suffix[HSDI_MACHINE_ID], draft[HSDI_MACHINE_ID];
    int split_layer, n_workers;
    char endpoints[HSDI_PLAN_WORKERS][128], pub_files[HSDI_PLAN_WORKERS][256];
    int draft_kinds[HSDI_PLAN_WORKERS]; ///< hsd_draft_kind
} hsdi_placed;

/// Cells that sessions promise, in whole blocks, see session_memory.c.
int hsdi_plan_target_cells(int n_ctx);
int hsdi_plan_draft_cells(int n_ctx, int window, int roots);

/// Plan for options->machine with the options' models; logs the reasons.
HSD_NODISCARD hsd_status hsdi_plan_place(const hsd_engine_options *options, hsdi_placed *out,
                                         hsd_error *err);

/// A session ends: its acceptance is where the next one begins.
void hsdi_plan_learn(hsd_engine *engine, const hsdi_watch *watch);

#endif
