/// Measuring profiles, and where they are kept for mode auto.
#ifndef HSDI_ENGINE_PROFILE_H
#define HSDI_ENGINE_PROFILE_H

#include "topology/profile.h"

/// The profile that was kept for a machine and two models, by their fingerprints (hsdi_machine,
/// hsdi_gguf_fingerprint; draft 0: none). false: there is none, or it cannot be read.
///
/// Owner : *out is owned by the caller (hsdi_profile_free).
bool hsdi_profile_recall(uint64_t machine, uint64_t target, uint64_t draft, hsdi_profile **out);

/// Keep a profile, in the folder of devices/keep.h. HSD_OK also where keeping is turned off.
///
/// Errors : HSD_EIO with the path; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_profile_keep(const hsdi_profile *profile, hsd_error *err);

#endif
