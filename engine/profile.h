/// Measuring profiles, and where they are kept for mode auto.
#ifndef HSDI_ENGINE_PROFILE_H
#define HSDI_ENGINE_PROFILE_H

#include "engine/engine_internal.h"
#include "topology/profile.h"

#include <hsd/profile.h>

/// Fingerprint of this machine, by its devices. 0: they cannot be listed.
uint64_t hsdi_profile_machine(void);

/// The profile that was kept for a machine and two models, by their fingerprints (hsdi_machine,
/// hsdi_gguf_fingerprint; draft 0: none). false: there is none, or it cannot be read.
///
/// Owner : *out is owned by the caller (hsdi_profile_free).
bool hsdi_profile_recall(uint64_t machine, uint64_t target, uint64_t draft, hsdi_profile **out);

/// Keep a profile, in the folder of devices/keep.h. HSD_OK also where keeping is turned off.
///
/// Errors : HSD_EIO with the path; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_profile_keep(const hsdi_profile *profile, hsd_error *err);

/// A model's shape for cost tables.
hsdi_cost_model hsdi_cost_model_of(const hsdi_model *model);

/* Inside of measuring, shared by the engine's profile files. */

/// Contexts of passes: a usual one, and where there is time for it a short and a long one.
enum { HSDI_PROFILE_PAST = 128, HSDI_PROFILE_SHORT = 16, HSDI_PROFILE_LONG = 512 };
enum { HSDI_PROFILE_CANDIDATES = 8 };

/// A model on a device, opened for one piece.
typedef struct hsdi_probe {
    hsdi_cost_role role;
    int i_device; ///< of the profile
    bool is_cpu;
    int cpu; ///< of the thread that submits; -1: not pinned
    hsdi_device *device;
    hsdi_loaded model;
    int n_past; ///< context to fill
} hsdi_probe;

/// Path of a role's model. Shapes: path [HSDI_PATH_MAX].
HSD_NODISCARD hsd_status hsdi_profile_path(const hsd_profile_options *options, hsdi_cost_role role,
                                           char *path, hsd_error *err);

/// Open the model of a role on a device with n_threads processors, from the first one on for the
/// target and from the last one back for the draft.
HSD_NODISCARD hsd_status hsdi_probe_open(const hsd_profile_options *options, const char *id,
                                         hsdi_cost_role role, int i_device, int n_threads,
                                         hsdi_probe *out, hsd_error *err);
void hsdi_probe_close(hsdi_probe *probe);

/// Thread counts to measure on a device: out [HSDI_CORES_MAX], ascending; 1 where it is no CPU, at
/// most those of a set of processors.
int hsdi_profile_threads(const hsd_profile_options *options, const char *id, int *out);

/// Stages with a filled context, and the rows of a pass.
typedef struct hsdi_stages hsdi_stages;

/// Fill a context of probe->n_past; of less, which probe->n_past then is, where the usual one took
/// longer than patience_ns. exit_layer 0: in one piece. For a draft's rollouts and whole passes its
/// own stage is used.
HSD_NODISCARD hsd_status hsdi_stages_open(hsdi_probe *probe, int exit_layer, int n_threads,
                                          int64_t patience_ns, hsdi_stages **out, hsd_error *err);
void hsdi_stages_close(hsdi_stages **stages);
/// Times of one pass: prefix, exit head, suffix; without an exit the whole in `suffix`.
typedef struct hsdi_pass_ns {
    int64_t prefix, exit_head, suffix;
} hsdi_pass_ns;
/// n_rows behind n_past tokens, at most those that were filled.
HSD_NODISCARD hsd_status hsdi_stages_run(hsdi_stages *stages, int n_past, int n_rows,
                                         hsdi_pass_ns *out, hsd_error *err);
/// A draft's chain of n tokens, a call for each.
HSD_NODISCARD hsd_status hsdi_stages_rollout(hsdi_stages *stages, int n_past, int n_tokens,
                                             int64_t *ns, hsd_error *err);

/// Quartiles of n numbers, which are sorted by it.
void hsdi_quartiles(double *values, int n, double *low, double *median, double *high);

/// Mean of n times, each counted as at most 4 times the median of all: rates go by means, in which
/// slow moments count, but one long pause in a short measurement must not decide. n >= 1.
double hsdi_mean_time(const double *values, int n, double median);

/// Pieces, each for at most about `seconds`.
HSD_NODISCARD hsd_status hsdi_profile_passes(const hsd_profile_options *options, const char *id,
                                             hsdi_cost_role role, int i_device, double seconds,
                                             hsdi_profile *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_profile_beside(const hsd_profile_options *options,
                                             const char *target_id, int i_target,
                                             const char *draft_id, int i_draft, double seconds,
                                             hsdi_profile *out, hsd_error *err);
/// One pair of thread counts that take turns. Nothing is added for a pair that cannot work
/// together.
HSD_NODISCARD hsd_status hsdi_profile_turns(const hsd_profile_options *options,
                                            const char *target_id, int i_target, int n_target,
                                            const char *draft_id, int i_draft, int n_draft,
                                            double seconds, hsdi_profile *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_profile_messages(const hsd_profile_options *options,
                                               hsdi_profile *out, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_profile_acceptance(const hsd_profile_options *options, double seconds,
                                                 hsdi_profile *out, hsd_error *err);

/// Add a text of n_tokens, the first n_prompt of which are given, to a trail as hsdi_acceptance has
/// it, as far as there is room. The engine has a draft and is at rest. Shapes: trail
/// [HSDI_TRAIL_BYTES].
HSD_NODISCARD hsd_status hsdi_profile_trail(hsd_engine *engine, const int32_t *tokens, int n_tokens,
                                            int n_prompt, char *trail, hsd_error *err);

/// For people, and as JSON. As hsd_profile_print.
HSD_NODISCARD hsd_status hsdi_profile_json(const hsdi_profile *profile, char **text,
                                           size_t *n_bytes, hsd_error *err);
HSD_NODISCARD hsd_status hsdi_profile_table(const hsdi_profile *profile, char **text,
                                            size_t *n_bytes, hsd_error *err);

/// Of a session's windows so far: how often depth d of the chain was verified, with all above it
/// accepted, and how often it was accepted. Shapes: [HSDI_WINDOW_MAX + 1].
void hsdi_session_depths(const hsd_session *session, int64_t *reached, int64_t *passed);

#endif
