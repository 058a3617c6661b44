/// Profiles: what `hsd profile` measured on a machine with two models, as data and as a file.
///
/// The file is profile.yaml (docs/profiling.md). It names devices itself, so that it can be read
/// without the machine; hsdi_profile_costs gives the tables with the indices of a machine. Times
/// are nanoseconds.
#ifndef HSDI_TOPOLOGY_PROFILE_H
#define HSDI_TOPOLOGY_PROFILE_H

#include <topology/costs.h>

enum {
    HSDI_PROFILE_DEVICES = HSDI_MACHINE_DEVICES,
    HSDI_PROFILE_PASSES = 8192,
    HSDI_PROFILE_LAYOUT = 16
};

/// A device that was measured, or why it was not.
typedef struct hsdi_profile_device {
    char name[HSDI_MACHINE_NAME];      ///< as the machine names it; unique
    char id[HSDI_MACHINE_ID];          ///< what an engine calls it: "cpu", "opencl:0"
    char failure[200];                 ///< why there are no figures; empty: there are
    double to_latency_ns, to_gbps;     ///< copies of rows from host memory; 0: not measured
    double from_latency_ns, from_gbps; ///< and back
} hsdi_profile_device;

typedef enum hsdi_profile_part {
    HSDI_PART_PREFIX,    ///< layers [0, n_layers)
    HSDI_PART_EXIT_HEAD, ///< the LM head at an early exit, with the best candidates
    HSDI_PART_SUFFIX,    ///< the last n_layers layers, the LM head, the sampling rule
    HSDI_PART_WHOLE,     ///< all layers and the LM head, in one piece
    HSDI_PART_ROLLOUT,   ///< draft: a chain of n_rows tokens, one call for each
    HSDI_N_PARTS,
} hsdi_profile_part;

/// One measurement, alone on the machine.
typedef struct hsdi_profile_pass {
    hsdi_cost_role role;
    hsdi_profile_part part;
    int i_device, n_threads, n_layers, n_rows, n_past;
    int n_times;                       ///< repeats
    double median_ns, low_ns, high_ns; ///< quartiles
    double mean_ns;                    ///< slow ones counted in part; 0: not known
} hsdi_profile_pass;

/// Interquartile range of a slowdown beside costs.slowdowns[i].
typedef struct hsdi_profile_range {
    double low, high;
} hsdi_profile_range;

typedef struct hsdi_profile {
    uint64_t machine; ///< fingerprint; those of the models are in `costs`
    char machine_name[HSDI_MACHINE_NAME], made[32]; ///< "2026-11-25T22:00:00Z"
    char layout[HSDI_PROFILE_LAYOUT];               ///< of caches: "kv-f32"
    int n_devices, n_passes;
    hsdi_profile_device devices[HSDI_PROFILE_DEVICES];
    hsdi_profile_pass passes[HSDI_PROFILE_PASSES];
    hsdi_costs costs;                                     ///< i_device and i_beside: of `devices`
    hsdi_profile_range slowdown_ranges[HSDI_COST_TABLES]; ///< of costs.slowdowns
} hsdi_profile;

/// An empty profile. Owner: *out is owned by the caller. Errors: HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_profile_create(hsdi_profile **out, hsd_error *err);
/// Sets *profile to NULL. NULL is allowed.
void hsdi_profile_free(hsdi_profile **profile);

/// Text of a profile. `name` stands for it in errors.
///
/// Errors : HSD_EFORMAT with `name`, the line, and the field in the message, also for unknown keys,
///          for numbers that are negative or not finite and for devices that are not listed;
///          HSD_ENOMEM.
/// Owner  : *out is owned by the caller (hsdi_profile_free).
/// Proof  : tests/topology/test_profile.c, tests/fuzz/fuzz_profile.c
HSD_NODISCARD hsd_status hsdi_profile_parse(const void *text, size_t n_bytes, const char *name,
                                            hsdi_profile **out, hsd_error *err);
/// The same from a file, which may be a pipe. Errors: also HSD_EIO.
HSD_NODISCARD hsd_status hsdi_profile_read(const char *path, hsdi_profile **out, hsd_error *err);

/// As YAML. Owner: *text [*n_bytes] is owned by the caller (free), NUL-terminated.
HSD_NODISCARD hsd_status hsdi_profile_print(const hsdi_profile *profile, char **text,
                                            size_t *n_bytes, hsd_error *err);

/// Fill `out` for a machine: tables and slowdowns of devices that the machine has, found by name,
/// else by id, with its indices. Returns how many of the profile's devices the machine has.
int hsdi_profile_costs(const hsdi_profile *profile, const hsdi_machine *machine, hsdi_costs *out);

/// Add devices, passes, tables, slowdowns and whatever else `from` knows to `into`. Devices are
/// the same when they have the same name.
///
/// Errors : HSD_EINVAL when there are too many.
HSD_NODISCARD hsd_status hsdi_profile_merge(hsdi_profile *into, const hsdi_profile *from,
                                            hsd_error *err);

#endif
