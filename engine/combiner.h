/// Requests of several threads for the same graph, run as one submission.
///
/// There is no thread of its own: whoever finds the device free leads. It takes the oldest request
/// and those of the same graph that fit beside it, runs them, and wakes their threads; the others
/// sleep meanwhile. A thread that is alone runs its own request at once.
#ifndef HSDI_ENGINE_COMBINER_H
#define HSDI_ENGINE_COMBINER_H

#include "devices/device.h"

#include <pthread.h>
#include <stdbool.h>

enum { HSDI_COMBINER_ROWS_MAX = 64 };

/// A stage's place in the queue: one request at a time, from one thread at a time.
typedef struct hsdi_seat hsdi_seat;

/// Thread: any. Lifetime: all seats must be given back before hsdi_combiner_fini.
typedef struct hsdi_combiner {
    int n_rows_max;             ///< rows per submission, 1 .. HSDI_COMBINER_ROWS_MAX
    pthread_mutex_t lock;       ///< guards what follows and the seats
    hsdi_seat *seats;           ///< all that were ever made: a late wake-up may still touch one
    hsdi_seat *oldest, *newest; ///< requests that wait
    hsdi_seat *watcher;         ///< sleeps with a limit while the device is free; NULL: nobody
    bool is_busy;               ///< somebody leads, and owns what follows
    int n_batch;
    hsdi_seat *batch[HSDI_COMBINER_ROWS_MAX];
    hsdi_job jobs[HSDI_COMBINER_ROWS_MAX];
} hsdi_combiner;

void hsdi_combiner_init(hsdi_combiner *combiner, int n_rows_max);
void hsdi_combiner_fini(hsdi_combiner *combiner);

/// A place in the queue. With `is_steady` other requests may wait a little for the next one of this
/// seat: for a stage between whose passes little more than sampling lies. Not for one that works
/// with a draft: waiting would make both their devices idle in turn.
///
/// Owner: *out is owned by the caller until hsdi_seat_leave, its memory by the combiner.
HSD_NODISCARD hsd_status hsdi_seat_take(hsdi_combiner *combiner, bool is_steady, hsdi_seat **out,
                                        hsd_error *err);
/// Sets *seat to NULL. NULL is allowed. No request of it may be running.
void hsdi_seat_leave(hsdi_combiner *combiner, hsdi_seat **seat);

/// Run a graph on a job, together with the requests of other seats, and wait for the end. Requests
/// get their turn in the order in which they came. A job without external rows (a prefill) may be
/// run in pieces, so that the requests of others go between them.
///
/// Errors : as hsdi_graph_run, for this job alone: a job that is refused does not disturb others.
///          When the device itself fails, all jobs of that submission get its error.
/// Cost   : no allocation. With nobody else about, that of hsdi_graph_run.
/// Proof  : tests/engine/test_combiner.c
HSD_NODISCARD hsd_status hsdi_combiner_run(hsdi_combiner *combiner, hsdi_seat *seat,
                                           hsdi_graph *graph, const hsdi_job *job, hsd_error *err);

#endif
