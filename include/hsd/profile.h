/// @file profile.h
/// Profiles: how long target and draft take on each device, alone and beside each other, and how
/// often the draft is right.
///
///     hsd_profile_begin -> hsd_profile_measure for every piece -> hsd_profile_write or _keep
///
/// A piece is what may be measured in a process of its own: drivers crash and hang.
/// hsd_profile_begin and hsd_profile_measure touch drivers; a host application that must survive
/// calls them in a child, sends the result as text (hsd_profile_print) and joins it
/// (hsd_profile_parse, hsd_profile_join), as `hsd profile` does. The file format is
/// docs/profiling.md.
#ifndef HSD_PROFILE_H
#define HSD_PROFILE_H

#include <hsd/engine.h>
#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Thread: one at a time.
typedef struct hsd_profile hsd_profile;

/// Kinds of drivers that are not asked, where asking them ends the process.
typedef enum hsd_profile_skip {
    HSD_PROFILE_SKIP_OPENCL = 1,
    HSD_PROFILE_SKIP_LEVEL_ZERO = 2,
} hsd_profile_skip;

/// Fill with hsd_profile_options_init, then change fields. Borrowed for each call, and the same in
/// all calls of one profile.
typedef struct hsd_profile_options {
    const char *target_path, *draft_path; ///< as in hsd_engine_options
    const char *const *devices;           ///< for the target, as target_device there
    int n_devices; ///< 0: "cpu" where draft_devices are given, else every device but those that are
                   ///< the CPU once more
    const char *const *draft_devices;
    int n_draft_devices;        ///< 0: as devices
    const int *threads;         ///< counts to try on the CPU
    int n_threads;              ///< 0: 1, 2, 4, .. and all cores
    const char *topology_path;  ///< description of this machine, for names of devices and what is
                                ///< forbidden; NULL: what is found
    const char *const *prompts; ///< for acceptance
    int n_prompts;              ///< 0: built-in ones
    int n_tokens;               ///< generated for acceptance; 0: 384, quick 96
    bool quick;                 ///< fewer repeats, and no more than 16 rows
    double seconds;             ///< time for all pieces, about; 0: 60, quick 12
    hsd_log_fn log;
    void *log_user;
    int skip; ///< sum of hsd_profile_skip: what hsd_profile_begin does not list; 0: nothing
} hsd_profile_options;

HSD_API void hsd_profile_options_init(hsd_profile_options *options);

/// What is there to be measured: devices and fingerprints, no times yet.
///
/// Errors : HSD_EINVAL for an option; HSD_EIO, HSD_EFORMAT for a file; as hsd_machine_discover.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_profile_begin(const hsd_profile_options *options,
                                                   hsd_profile **out, hsd_error *err);

/// Number of pieces, after hsd_profile_begin.
HSD_API int hsd_profile_n_pieces(const hsd_profile_options *options, const hsd_profile *profile);
/// "target on cpu", "draft on opencl:0 beside target on cpu", ... Shapes: out [cap].
HSD_API void hsd_profile_piece_name(const hsd_profile_options *options, const hsd_profile *profile,
                                    int i_piece, char *out, size_t cap);

/// Is it worth measuring? Not when one of its devices has failed.
HSD_API bool hsd_profile_piece_is_open(const hsd_profile_options *options,
                                       const hsd_profile *profile, int i_piece);

/// Measure piece i_piece of what hsd_profile_begin gave: *out has what it found alone.
///
/// Errors : as for opening an engine with its devices; HSD_EINVAL; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_profile_measure(const hsd_profile_options *options,
                                                     const hsd_profile *profile, int i_piece,
                                                     hsd_profile **out, hsd_error *err);

/// Add what a piece found.
///
/// Errors : HSD_EINVAL when there is too much.
HSD_API HSD_NODISCARD hsd_status hsd_profile_join(hsd_profile *into, const hsd_profile *from,
                                                  hsd_error *err);
/// A piece could not be measured: its devices get this sentence, where they have none.
HSD_API void hsd_profile_fail(const hsd_profile_options *options, hsd_profile *profile, int i_piece,
                              const char *why);

typedef enum hsd_profile_format {
    HSD_PROFILE_YAML = 0,  ///< what hsd_profile_parse reads
    HSD_PROFILE_TABLE = 1, ///< for people
    HSD_PROFILE_JSON = 2,
} hsd_profile_format;

/// As text. Owner: *text [*n_bytes] is owned by the caller (free), NUL-terminated.
///
/// Errors : HSD_EINVAL; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_profile_print(const hsd_profile *profile,
                                                   hsd_profile_format format, char **text,
                                                   size_t *n_bytes, hsd_error *err);
/// From YAML; `name` stands for it in errors.
///
/// Errors : HSD_EFORMAT with `name` and line; HSD_ENOMEM.
/// Owner  : *out is owned by the caller.
HSD_API HSD_NODISCARD hsd_status hsd_profile_parse(const char *text, size_t n_bytes,
                                                   const char *name, hsd_profile **out,
                                                   hsd_error *err);

/// Errors : HSD_EIO with the path; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_profile_write(const hsd_profile *profile, const char *path,
                                                   hsd_error *err);
/// Keep it where mode auto and `hsd plan` look for the profile of this machine and these models: in
/// the folder of hsd_device_measure.
///
/// Errors : HSD_EIO with the path; HSD_ENOMEM.
HSD_API HSD_NODISCARD hsd_status hsd_profile_keep(const hsd_profile *profile, hsd_error *err);

/// Numbers of a profile, for printing: passes in the order in which they were measured.
typedef struct hsd_profile_pass {
    const char *role, *part, *device; ///< "target", "draft"; "prefix", "exit head", "suffix",
                                      ///< "whole", "rollout"; borrowed for the profile's life
    int n_threads, n_layers, n_rows, n_past, n_times;
    double median_us, low_us, high_us; ///< with the quartiles
} hsd_profile_pass;
HSD_API int hsd_profile_n_passes(const hsd_profile *profile);
HSD_API void hsd_profile_get_pass(const hsd_profile *profile, int i, hsd_profile_pass *out);

/// Sets *profile to NULL. NULL is allowed.
HSD_API void hsd_profile_free(hsd_profile **profile);

#ifdef __cplusplus
}
#endif
#endif
