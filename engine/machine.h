/// What a hsd_machine holds.
#ifndef HSDI_ENGINE_MACHINE_H
#define HSDI_ENGINE_MACHINE_H

#include <hsd/engine.h>
#include <hsd/machine.h>
#include <pipelines/target.h>
#include <topology/machine.h>

struct hsd_machine {
    hsdi_machine m;
};

/// hsd_device_list and hsd_machine_discover without some kinds of drivers: `skip` is a sum of
/// hsd_profile_skip.
HSD_NODISCARD hsd_status hsdi_device_list(int skip, hsd_device_info *out, int cap, int *n_out,
                                          hsd_error *err);
HSD_NODISCARD hsd_status hsdi_machine_discover(int skip, hsd_machine **out, hsd_error *err);

/// Draft workers that a machine describes, as the options of an engine name them.
typedef struct hsdi_described_workers {
    int n;
    const char *endpoints[HSDI_TARGET_MAX_WORKERS];
    const char *key_files[HSDI_TARGET_MAX_WORKERS]; ///< NULL: without keys
    int kinds[HSDI_TARGET_MAX_WORKERS];             ///< hsd_draft_kind
} hsdi_described_workers;

/// Those that may be used: not on forbidden devices, as many as is decided, at most
/// HSDI_TARGET_MAX_WORKERS, in the order of the description. Texts are the machine's.
void hsdi_machine_workers(const hsd_machine *machine, hsdi_described_workers *out);

#endif
