/// How much target and draft slow each other down: one is timed while the other computes in a loop
/// on a thread of its own, and without it, in turn. Also pairs that never compute at the same time.
#include "base/clock.h"
#include "base/error.h"
#include "engine/profile.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { N_ROUNDS_MAX = 24, N_ROUNDS_LEAST = 5, N_PASSES = 3, TARGET_ROWS = 4 };

/// A pipeline that may compute in a loop.
typedef struct side {
    hsdi_probe probe;
    hsdi_stages *stages;
    bool is_target;
    pthread_t thread;
    bool is_started;
    pthread_mutex_t lock; ///< guards is_wanted and is_over
    pthread_cond_t changed;
    bool is_wanted, is_over;
    _Atomic int64_t n_passes; ///< of the loop
    atomic_bool has_failed;
} side;

/// The passes of a mirror step: the target's window; the draft's glue row and its branches.
static hsd_status run(side *s, int64_t *ns, hsd_error *err)
{
    hsdi_pass_ns part;
    hsd_status status =
        hsdi_stages_run(s->stages, s->probe.n_past, s->is_target ? TARGET_ROWS : 1, &part, err);
    *ns = part.suffix;
    if (status == HSD_OK && !s->is_target) {
        status = hsdi_stages_run(s->stages, s->probe.n_past, TARGET_ROWS, &part, err);
        *ns += part.suffix;
    }
    return status;
}

static void *loop(void *arg)
{
    side *s = arg;
    hsdi_pin_self(s->probe.cpu);
    pthread_mutex_lock(&s->lock);
    while (!s->is_over) {
        if (!s->is_wanted) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        hsd_error err;
        int64_t ns;
        if (run(s, &ns, &err) != HSD_OK) {
            atomic_store(&s->has_failed, true);
        }
        atomic_fetch_add(&s->n_passes, 1);
        pthread_mutex_lock(&s->lock);
        s->is_over |= atomic_load(&s->has_failed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void want(side *s, bool is_wanted)
{
    pthread_mutex_lock(&s->lock);
    s->is_wanted = is_wanted;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    // The pass in progress ends; a loop that was started has begun.
    int64_t before = atomic_load(&s->n_passes);
    while (is_wanted && atomic_load(&s->n_passes) == before && !atomic_load(&s->has_failed)) {
        sched_yield();
    }
}

/// Times of `timed` while `other` computes, over those without: a factor for every round.
static hsd_status measure(side *timed, side *other, double seconds, double *factors, int *n,
                          hsd_error *err)
{
    int64_t end_ns = hsdi_now_ns() + (int64_t)(seconds * 1e9), ns;
    hsd_status status = run(timed, &ns, err);
    *n = 0;
    while (status == HSD_OK && *n < N_ROUNDS_MAX &&
           (*n < N_ROUNDS_LEAST || hsdi_now_ns() < end_ns)) {
        double medians[2], low, high;
        for (int beside = 0; beside < 2 && status == HSD_OK; beside++) {
            double times[N_PASSES];
            want(other, beside == 1);
            for (int i = 0; i < N_PASSES && status == HSD_OK; i++) {
                status = run(timed, &ns, err);
                times[i] = (double)ns;
            }
            hsdi_quartiles(times, N_PASSES, &low, &medians[beside], &high);
        }
        want(other, false);
        factors[(*n)++] = medians[1] / fmax(medians[0], 1.0);
    }
    if (status == HSD_OK && atomic_load(&other->has_failed)) {
        status = hsdi_fail(err, HSD_EDEVICE, "profile", "the other pipeline's device failed");
    }
    return status;
}

static hsd_status begin(side *s, hsd_error *err)
{
    int rc = pthread_create(&s->thread, NULL, loop, s);
    s->is_started = rc == 0;
    return rc == 0 ? HSD_OK : hsdi_fail_errno(err, HSD_EDEVICE, "profile", rc, "no thread");
}

static void end(side *s)
{
    if (s->is_started) {
        pthread_mutex_lock(&s->lock);
        s->is_over = true;
        pthread_cond_signal(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
        s->is_started = false;
        s->is_over = false;
    }
}

static hsd_status side_init(side *s, const hsd_profile_options *o, const char *id,
                            hsdi_cost_role role, int i_device, int n_threads, hsd_error *err)
{
    *s = (side){.is_target = role == HSDI_COST_TARGET};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    hsd_status status = hsdi_probe_open(o, id, role, i_device, n_threads, &s->probe, err);
    return status == HSD_OK ? hsdi_stages_open(&s->probe, 0, n_threads, 0, &s->stages, err)
                            : status;
}

static void side_fini(side *s)
{
    hsdi_stages_close(&s->stages);
    hsdi_probe_close(&s->probe);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

static hsd_status measure_and_put(side *timed, side *other, const int *n_threads, double seconds,
                                  hsdi_profile *out, hsd_error *err)
{
    double factors[N_ROUNDS_MAX], low = 1.0, median = 1.0, high = 1.0;
    int n = 0, at = out->costs.n_slowdowns;
    cpu_set_t before;
    CPU_ZERO(&before);
    (void)sched_getaffinity(0, sizeof before, &before);
    hsd_status status = begin(other, err);
    if (status == HSD_OK) {
        hsdi_pin_self(timed->probe.cpu);
        status = measure(timed, other, seconds, factors, &n, err);
    }
    end(other);
    (void)sched_setaffinity(0, sizeof before, &before);
    if (status == HSD_OK && at < HSDI_COST_TABLES) {
        hsdi_quartiles(factors, n, &low, &median, &high);
        out->costs.slowdowns[at] =
            (hsdi_cost_slowdown){.role = timed->probe.role,
                                 .i_device = timed->probe.i_device,
                                 .n_threads = timed->probe.is_cpu ? n_threads[0] : 0,
                                 .i_beside = other->probe.i_device,
                                 .n_beside = other->probe.is_cpu ? n_threads[1] : 0,
                                 .factor = fmax(median, 1.0)};
        out->slowdown_ranges[at] = (hsdi_profile_range){low, high};
        out->costs.n_slowdowns++;
    }
    return status;
}

/// One pair of thread counts.
static hsd_status measure_pair(const hsd_profile_options *o, const char *target_id, int i_target,
                               int n_target, const char *draft_id, int i_draft, int n_draft,
                               double seconds, hsdi_profile *out, hsd_error *err)
{
    side target, draft;
    hsd_status status = side_init(&target, o, target_id, HSDI_COST_TARGET, i_target, n_target, err);
    hsd_status second = status == HSD_OK
                            ? side_init(&draft, o, draft_id, HSDI_COST_DRAFT, i_draft, n_draft, err)
                            : status;
    if (second == HSD_OK) {
        const int forth[2] = {n_target, n_draft}, back[2] = {n_draft, n_target};
        second = measure_and_put(&target, &draft, forth, 0.5 * seconds, out, err);
        if (second == HSD_OK) {
            second = measure_and_put(&draft, &target, back, 0.5 * seconds, out, err);
        }
    }
    if (status == HSD_OK) {
        side_fini(&draft);
    }
    side_fini(&target);
    return second;
}

hsd_status hsdi_profile_beside(const hsd_profile_options *options, const char *target_id,
                               int i_target, const char *draft_id, int i_draft, double seconds,
                               hsdi_profile *out, hsd_error *err)
{
    enum { PAIRS_MAX = 32 };
    int threads[2][HSDI_CORES_MAX], n_pairs = 0, pairs[PAIRS_MAX][2];
    int n[2] = {hsdi_profile_threads(options, target_id, threads[0]),
                hsdi_profile_threads(options, draft_id, threads[1])};
    bool share = strcmp(target_id, draft_id) == 0 && strncmp(target_id, "cpu", 3) == 0;
    int n_cores = threads[0][n[0] - 1];
    // Where both share the cores, those that fit them together.
    for (int i = 0; i < n[0]; i++) {
        for (int k = 0; k < n[1] && n_pairs < PAIRS_MAX; k++) {
            if (!share || threads[0][i] + threads[1][k] <= n_cores || n_cores == 1) {
                pairs[n_pairs][0] = threads[0][i];
                pairs[n_pairs++][1] = threads[1][k];
            }
        }
    }
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_pairs && status == HSD_OK; i++) {
        status = measure_pair(options, target_id, i_target, pairs[i][0], draft_id, i_draft,
                              pairs[i][1], 0.5 * seconds / n_pairs, out, err);
    }
    int n_turns = n[0] * n[1] < PAIRS_MAX ? n[0] * n[1] : PAIRS_MAX;
    for (int i = 0; i < n_turns && status == HSD_OK; i++) { // all fit who take turns
        status =
            hsdi_profile_turns(options, target_id, i_target, threads[0][i / n[1]], draft_id,
                               i_draft, threads[1][i % n[1]], 0.5 * seconds / n_turns, out, err);
    }
    return status;
}
