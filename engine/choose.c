/// Which mode pays on this machine with this pair: a small law on measured pass times.
///
/// Tokens per pass come from an assumed acceptance, since none was seen yet; times are measured on
/// the devices, target and draft each by itself; the shortest of a few counts, so that a busy
/// moment does not decide. It is a guard against the common case in which speculation only makes
/// things slower, and it says why; it does not tune windows or roots.
#include "engine/engine_internal.h"

#include <math.h>

/// Assumed share of draft tokens that are accepted: the middle of what the shipped pair and
/// others reach with ordinary drafts.
static const double acceptance = 0.6;
/// Assumed share of commits that find their branch ready.
static const double hit_rate = 0.75;
/// A mode must promise this much more than the target alone.
static const double margin = 1.1;
/// What a step costs beyond the passes, nanoseconds. Fitted to the shipped pair on one machine with
/// two cores, see docs/benchmarks.md; no measurement of the machine at hand.
static const double serial_message_ns = 150000.0, mirror_message_ns = 30000.0;

enum { N_REPEATS = 6 };
/// A large model has said enough after one or two passes.
static const int64_t budget_ns = 100000000;

typedef struct times {
    int64_t one, verify, beside; ///< target: 1 row; window+1 rows alone; the same beside a draft
    int64_t draft_one, draft_branches;
} times;

static hsd_status measure(hsd_engine *e, int window, int roots, int exit_layer, times *t,
                          hsd_error *err)
{
    int cpu = hsdi_first_cpu(e);
    hsdi_runner *target = &e->target.runner, *draft = &e->draft.runner;
    int rows = window + 1 < e->n_ctx ? window + 1 : e->n_ctx;
    int branches = roots < HSDI_STAGE_ROWS ? roots : HSDI_STAGE_ROWS;
    branches = branches < e->n_ctx ? branches : 1;
    hsdi_measured_pass what = {.cpu = cpu,
                               .n_threads = e->n_target_alone,
                               .n_rows = 1,
                               .n_repeats = N_REPEATS,
                               .budget_ns = budget_ns};
    hsd_status status = hsdi_measure_rows(target, &what, &t->one, NULL, err);
    what.n_rows = rows;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(target, &what, &t->verify, NULL, err);
    }
    what.n_threads = e->n_target_beside;
    what.exit_layer = exit_layer;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(target, &what, &t->beside, NULL, err);
    }
    what.n_threads = what.exit_layer = 0;
    what.n_rows = 1;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(draft, &what, &t->draft_one, NULL, err);
    }
    what.n_rows = branches;
    if (status == HSD_OK) {
        status = hsdi_measure_rows(draft, &what, &t->draft_branches, NULL, err);
    }
    return status;
}

static hsd_mode decide(const hsd_engine *e, const times *t, int window)
{
    double tokens = (1.0 - pow(acceptance, window + 1)) / (1.0 - acceptance);
    double rollout = (double)window * (double)t->draft_one;
    double serial = (double)t->verify + rollout + serial_message_ns;
    // Half of the pass lies behind the exit; what the branches need beyond the pass is exposed.
    double exposed = fmax(0.0, (double)window * (double)t->draft_branches - (double)t->beside);
    double miss = (1.0 - hit_rate) * rollout * 0.5;
    double mirror = (double)t->beside + exposed + miss + mirror_message_ns;
    double gain_serial = tokens * (double)t->one / serial;
    double gain_mirror = tokens * (double)t->one / mirror;
    hsd_mode mode = HSD_MODE_AR;
    if (gain_serial > margin && gain_serial >= gain_mirror) {
        mode = HSD_MODE_SERIAL;
    } else if (gain_mirror > margin) {
        mode = HSD_MODE_MIRROR;
    }
    hsdi_logf(&e->log, HSDI_LOG_INFO,
              "mode auto: %s. Target pass %.2f ms for 1 row, %.2f ms for %d, %.2f ms beside a "
              "draft on %d threads; draft %.3f ms a token. At %.0f %% acceptance serial gives %.2f "
              "and mirror %.2f times the target alone",
              hsd_mode_name(mode), (double)t->one * 1e-6, (double)t->verify * 1e-6, window + 1,
              (double)t->beside * 1e-6, e->n_target_beside, (double)t->draft_one * 1e-6,
              acceptance * 100.0, gain_serial, gain_mirror);
    return mode;
}

hsd_status hsdi_choose_mode(hsd_engine *e, int window, int roots, int exit_layer, hsd_mode *out,
                            hsd_error *err)
{
    hsd_status status = HSD_OK;
    pthread_mutex_lock(&e->lock);
    hsdi_choice *c = &e->choice;
    if (!c->made || c->window != window || c->roots != roots || c->exit_layer != exit_layer) {
        times t;
        status = measure(e, window, roots, exit_layer, &t, err);
        if (status == HSD_OK) {
            *c = (hsdi_choice){true, window, roots, exit_layer, decide(e, &t, window)};
        }
    }
    *out = c->mode;
    pthread_mutex_unlock(&e->lock);
    return status;
}
