/// What a session's caches need, before any work starts.
#include "engine/session_internal.h"

#include "base/error.h"
#include "pipelines/draft.h"

#include <stdio.h>

/// Caches of a session with texts of up to n_ctx tokens, in bytes.
typedef struct need {
    int64_t target, draft;
} need;

/// The local draft's cache where windows and roots are as in an arm.
static int64_t draft_need(const hsd_session *s, int n_ctx, const hsdi_watch_arm *arm)
{
    const hsd_engine *e = s->engine;
    bool is_model = s->options.draft_kind == HSD_DRAFT_MODEL;
    const hsdi_runner *runner = is_model ? &e->draft.runner : &e->exit_runner;
    int n_layers = is_model ? e->draft.model->n_layers : s->options.exit_layer;
    const hsdi_draft_config config = {.n_ctx = n_ctx < runner->n_ctx ? n_ctx : runner->n_ctx,
                                      .window = arm->window,
                                      .roots = arm->roots};
    return hsdi_slab_bytes(runner, n_layers, hsdi_draft_cells_needed(&config), config.n_ctx);
}

static need need_of(const hsd_session *s, int n_ctx)
{
    const hsd_engine *e = s->engine;
    const hsd_session_options *o = &s->options;
    int n_cells = hsdi_target_cells_needed(n_ctx, o->tree);
    need all = {.target =
                    hsdi_slab_bytes(&e->target.runner, e->target.model->n_layers, n_cells, n_ctx)};
    bool is_watched = hsdi_session_is_watched(s);
    bool has_cache = o->draft_kind == HSD_DRAFT_MODEL || o->draft_kind == HSD_DRAFT_EARLY_EXIT;
    if ((o->mode == HSD_MODE_AR && !is_watched) || hsdi_session_uses_remote(s) || !has_cache) {
        return all;
    }
    const hsdi_watch_arm own = {.window = o->window, .roots = o->roots};
    const hsdi_watch_config *watch = &s->plan.watch;
    all.draft = draft_need(s, n_ctx, &own);
    for (int i = 0; is_watched && i < watch->n_arms; i++) {
        if (watch->arms[i].mode != HSD_MODE_AR) {
            int64_t n = draft_need(s, n_ctx, &watch->arms[i]);
            all.draft = n > all.draft ? n : all.draft;
        }
    }
    return all;
}

/// The longest text for which there is room; 0: none.
static int fitting_ctx(const hsd_session *s, int64_t room_bytes)
{
    int low = 0, high = s->options.n_ctx;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        const need n = need_of(s, middle);
        bool fits = n.target + n.draft <= room_bytes;
        low = fits ? middle : low;
        high = fits ? high : middle - 1;
    }
    return low >= 2 ? low : 0;
}

static double mib(int64_t n_bytes)
{
    return (double)n_bytes / 1048576.0;
}

hsd_status hsdi_session_promise(hsd_session *s, hsd_error *err)
{
    hsdi_memory *memory = &s->engine->memory;
    const need n = need_of(s, s->options.n_ctx);
    if (hsdi_memory_promise(memory, n.target + n.draft)) {
        s->promised_bytes = n.target + n.draft;
        return HSD_OK;
    }
    int64_t used = hsdi_memory_promised(memory), room = memory->limit_bytes - used;
    int n_fit = fitting_ctx(s, room);
    char fits[64] = "no text would fit";
    if (n_fit > 0) {
        (void)snprintf(fits, sizeof fits, "a context of %d would fit", n_fit);
    }
    return hsdi_fail(err, HSD_ENOMEM, "cache_memory",
                     "a context of %d tokens needs %.2f MiB of caches (target %.2f, draft %.2f), "
                     "and of %.2f MiB %.2f are promised to others; %s",
                     s->options.n_ctx, mib(n.target + n.draft), mib(n.target), mib(n.draft),
                     mib(memory->limit_bytes), mib(used), fits);
}

void hsdi_session_release(hsd_session *s)
{
    hsdi_memory_release(&s->engine->memory, s->promised_bytes);
    s->promised_bytes = 0;
}
