/// See draw.h.
#include "devices/draw.h"

#include "base/error.h"

hsd_status hsdi_draw_check(const hsdi_draw *draws, int n_rows, int n_vocab, hsd_error *err)
{
    if (!draws) {
        return hsdi_fail(err, HSD_EINVAL, "draws", "the graph draws: settings are required");
    }
    for (int r = 0; r < n_rows; r++) {
        const hsdi_draw *d = &draws[r];
        if (d->n_banned < 0 || d->n_penalised < 0 || d->n_banned > HSDI_DRAW_EDITS_MAX ||
            d->n_penalised > HSDI_DRAW_EDITS_MAX - d->n_banned ||
            (d->n_banned + d->n_penalised > 0 && !d->tokens)) {
            return hsdi_fail(err, HSD_EINVAL, "draws", "row %d: %d and %d tokens are touched", r,
                             d->n_banned, d->n_penalised);
        }
        for (int i = 0; i < d->n_banned + d->n_penalised; i++) {
            if (d->tokens[i] < 0 || d->tokens[i] >= n_vocab) {
                return hsdi_fail(err, HSD_EINVAL, "draws", "row %d: token %d is not below %d", r,
                                 d->tokens[i], n_vocab);
            }
        }
        if (d->top_k < 0 || !(d->gap <= 0.0f) || !(d->scale > 0.0f) ||
            (d->n_penalised > 0 && !(d->penalty > 0.0f))) {
            return hsdi_fail(err, HSD_EINVAL, "draws", "row %d: top-k %d, gap %g, scale %g", r,
                             d->top_k, (double)d->gap, (double)d->scale);
        }
    }
    return HSD_OK;
}
