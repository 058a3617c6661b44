/// Where the shipped models are.
#include "engine/engine_internal.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char hsdi_shipped_target[] = "hsd-story-target.gguf";
const char hsdi_shipped_draft[] = "hsd-story-draft.gguf";

hsd_status hsdi_shipped_path(const char *name, char *out, size_t cap, hsd_error *err)
{
    const char *const places[] = {getenv("HSD_MODELS"), HSD_SOURCE_MODELS, HSD_INSTALL_MODELS};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (!places[i] || !places[i][0]) {
            continue;
        }
        int n = snprintf(out, cap, "%s/%s", places[i], name);
        if (n > 0 && (size_t)n < cap && access(out, R_OK) == 0) {
            return HSD_OK;
        }
        if (i == 0) {
            break; // who sets HSD_MODELS means it
        }
    }
    return hsdi_fail(err, HSD_EIO, name, "the shipped model is not in %s",
                     places[0] && places[0][0] ? places[0] : HSD_INSTALL_MODELS);
}
