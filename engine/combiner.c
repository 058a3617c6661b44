/// Leaders, followers and the queue between them.
///
/// A pass of several rows costs little more than one of a single row, since the weights are read
/// once. So a leader waits for a steady seat that has just got its results and, by its habit, asks
/// for the same graph again soon; for how long is bounded by a share of a pass.
#include "engine/combiner.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/futex.h"

#include <stdlib.h>

enum {
    N_HABITS = 5,    ///< graphs that a stage runs at most
    PIECE_ROWS = 16, ///< of a prefill while others decode
    FULL_ROWS = 32,  ///< more rows make a pass longer, and hardly cheaper by the row
};
/// A seat counts as in use for so long after its last pass, or for two of its passes.
static const int64_t active_ns = 50000000;
/// How much of its last pass a seat is waited for. Measured, see docs/decisions/0008-rows-of-
/// several-sessions.md.
static const double wait_share = 0.25;

/// What a seat does after a pass of `graph`.
typedef struct habit {
    const hsdi_graph *graph, *next;
    int64_t gap_ns; ///< from the end of the pass to the next request; a running mean
} habit;

struct hsdi_seat {
    hsdi_gate gate;          ///< counts what its thread was woken for
    hsdi_seat *next_of_all;  ///< in the list of all seats
    hsdi_seat *next_in_line; ///< in the queue
    bool is_taken, is_steady, is_pending, is_done;
    hsdi_graph *graph;
    hsdi_job job; ///< what is left to do
    int n_now;    ///< rows of it in the running pass
    hsd_status status;
    hsd_error *err;
    pthread_t thread; ///< of the last request
    int64_t done_ns, pass_ns;
    habit habits[N_HABITS];
    habit *habit; ///< of the graph that ran last; NULL: none ran yet
};

void hsdi_combiner_init(hsdi_combiner *combiner, int n_rows_max)
{
    *combiner = (hsdi_combiner){.n_rows_max = n_rows_max};
    pthread_mutex_init(&combiner->lock, NULL);
}

void hsdi_combiner_fini(hsdi_combiner *combiner)
{
    while (combiner->seats) {
        hsdi_seat *seat = combiner->seats;
        combiner->seats = seat->next_of_all;
        free(seat);
    }
    pthread_mutex_destroy(&combiner->lock);
}

hsd_status hsdi_seat_take(hsdi_combiner *combiner, bool is_steady, hsdi_seat **out, hsd_error *err)
{
    pthread_mutex_lock(&combiner->lock);
    hsdi_seat *seat = combiner->seats;
    while (seat && seat->is_taken) {
        seat = seat->next_of_all;
    }
    if (!seat && (seat = hsdi_aligned_alloc(sizeof *seat)) != NULL) {
        seat->next_of_all = combiner->seats;
        combiner->seats = seat;
    }
    if (seat) {
        seat->is_taken = true;
        seat->is_steady = is_steady;
    }
    pthread_mutex_unlock(&combiner->lock);
    *out = seat;
    return seat ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "combiner", "seat");
}

void hsdi_seat_leave(hsdi_combiner *combiner, hsdi_seat **seat_ptr)
{
    hsdi_seat *seat = *seat_ptr;
    if (seat) {
        pthread_mutex_lock(&combiner->lock);
        seat->is_taken = false;
        seat->habit = NULL;
        for (int i = 0; i < N_HABITS; i++) {
            seat->habits[i] = (habit){0};
        }
        pthread_mutex_unlock(&combiner->lock);
        *seat_ptr = NULL;
    }
}

static habit *habit_of(hsdi_seat *seat, const hsdi_graph *graph)
{
    int i = 0;
    while (i < N_HABITS - 1 && seat->habits[i].graph && seat->habits[i].graph != graph) {
        i++;
    }
    if (seat->habits[i].graph != graph) {
        seat->habits[i] = (habit){.graph = graph};
    }
    return &seat->habits[i];
}

static void learn(hsdi_seat *seat, const hsdi_graph *graph, int64_t now_ns)
{
    habit *h = seat->habit;
    if (h) {
        int64_t gap_ns = now_ns - seat->done_ns;
        gap_ns = gap_ns < seat->pass_ns ? gap_ns : seat->pass_ns; // an idle hour says no more
        h->gap_ns = h->next == graph ? (3 * h->gap_ns + gap_ns) / 4 : gap_ns;
        h->next = graph;
    }
}

static void push(hsdi_combiner *c, hsdi_seat *seat)
{
    seat->next_in_line = NULL;
    seat->is_pending = true;
    *(c->oldest ? &c->newest->next_in_line : &c->oldest) = seat;
    c->newest = seat;
}

/// Until when it pays to wait for others that will ask for `graph`; not later than now: it does
/// not.
static int64_t worth_waiting_until(const hsdi_combiner *c, const hsdi_graph *graph)
{
    int64_t until_ns = 0;
    int n_rows = 0;
    pthread_t self = pthread_self();
    for (const hsdi_seat *s = c->oldest; s; s = s->next_in_line) {
        n_rows += s->graph == graph ? s->job.n_rows : 0;
    }
    if (n_rows >= FULL_ROWS) {
        return 0;
    }
    for (const hsdi_seat *s = c->seats; s; s = s->next_of_all) {
        bool comes = s->is_taken && s->is_steady && s->is_done && s->habit &&
                     s->habit->next == graph && !pthread_equal(s->thread, self);
        int64_t limit_ns = (int64_t)((double)s->pass_ns * wait_share);
        if (comes && s->habit->gap_ns <= limit_ns && s->done_ns + limit_ns > until_ns) {
            until_ns = s->done_ns + limit_ns;
        }
    }
    return until_ns;
}

static bool may_be_cut(const hsdi_job *job)
{
    return !job->in && !job->out;
}

/// The first n rows of what a seat has left to do.
static hsdi_job cut(hsdi_job *job, int n)
{
    hsdi_job first = *job;
    first.n_rows = n;
    job->n_rows -= n;
    job->tokens += n;
    job->pos += n;
    job->cell += n;
    job->path += (int64_t)n * job->path_stride;
    job->n_path += n;
    return first;
}

/// Rows that each waiting prefill of `graph` gets: all that fit, or an equal part of a small
/// piece while others decode.
static int prefill_share(const hsdi_combiner *c, const hsdi_graph *graph)
{
    int n_prefills = 0;
    bool others = false;
    int64_t now_ns = hsdi_now_ns();
    pthread_t thread = c->oldest->thread; // the seats of one thread are in nobody's way
    for (const hsdi_seat *s = c->seats; s; s = s->next_of_all) {
        bool prefills = s->is_pending && s->graph == graph;
        int64_t idle_ns = now_ns - s->done_ns;
        n_prefills += prefills;
        others |= !prefills && s->is_taken && s->habit && !pthread_equal(s->thread, thread) &&
                  (s->is_pending || idle_ns < active_ns || idle_ns < 2 * s->pass_ns);
    }
    int n = others && PIECE_ROWS < c->n_rows_max ? PIECE_ROWS : c->n_rows_max;
    return n > n_prefills ? n / n_prefills : 1;
}

/// Take the oldest request and the others of its graph, oldest first, as far as they fit.
static void take_batch(hsdi_combiner *c)
{
    hsdi_graph *graph = c->oldest->graph;
    bool in_pieces = may_be_cut(&c->oldest->job);
    int share = in_pieces ? prefill_share(c, graph) : 0, n_rows = 0;
    hsdi_seat **link = &c->oldest, *last = NULL;
    c->n_batch = 0;
    while (*link) {
        hsdi_seat *s = *link;
        int left = c->n_rows_max - n_rows, n = s->job.n_rows;
        if (in_pieces && n > share) {
            n = share;
        }
        if (s->graph != graph || n > left) {
            last = s;
            link = &s->next_in_line;
            continue;
        }
        *link = s->next_in_line;
        s->is_pending = false;
        s->n_now = n;
        c->jobs[c->n_batch] = in_pieces ? cut(&s->job, n) : s->job;
        c->batch[c->n_batch++] = s;
        n_rows += n;
    }
    c->newest = last;
}

/// Run the batch. A job that the device refuses is found by running each alone.
static void run_batch(hsdi_combiner *c)
{
    hsdi_graph *graph = c->batch[0]->graph;
    if (c->n_batch == 1) {
        c->batch[0]->status = hsdi_graph_run(graph, c->jobs, c->batch[0]->err);
        return;
    }
    hsd_error error = {0};
    hsd_status status = hsdi_graph_run_all(graph, c->jobs, c->n_batch, &error);
    for (int i = 0; i < c->n_batch; i++) {
        hsdi_seat *s = c->batch[i];
        s->status = status;
        if (status == HSD_EINVAL) {
            s->status = hsdi_graph_run(graph, &c->jobs[i], s->err);
        } else if (status != HSD_OK && s->err) {
            *s->err = error;
        }
    }
}

/// One pass for the oldest request and its like. The lock is held, but not during the pass.
static void lead(hsdi_combiner *c, hsdi_seat *self)
{
    hsdi_seat *woken[HSDI_COMBINER_ROWS_MAX + 1];
    int n_woken = 0;
    c->is_busy = true;
    c->watcher = NULL;
    take_batch(c);
    pthread_mutex_unlock(&c->lock);
    int64_t begin_ns = hsdi_now_ns();
    run_batch(c);
    int64_t end_ns = hsdi_now_ns();
    pthread_mutex_lock(&c->lock);
    c->is_busy = false;
    for (int i = 0; i < c->n_batch; i++) {
        hsdi_seat *s = c->batch[i];
        bool is_left = may_be_cut(&s->job) && s->job.n_rows > 0;
        if (is_left && s->status == HSD_OK) {
            push(c, s);
            continue;
        }
        s->is_done = true;
        s->done_ns = end_ns;
        s->pass_ns = end_ns - begin_ns;
        s->habit = habit_of(s, s->graph);
        if (s != self) {
            woken[n_woken++] = s;
        }
    }
    if (self->is_done && c->oldest) {
        woken[n_woken++] = c->oldest; // leads now
    }
    pthread_mutex_unlock(&c->lock);
    for (int i = n_woken - 1; i >= 0; i--) { // the next leader first
        hsdi_gate_add(&woken[i]->gate);
    }
    pthread_mutex_lock(&c->lock);
}

/// Sleep until woken, or until a time. The lock is held, but not in the sleep.
static void sleep_until(hsdi_combiner *c, hsdi_seat *seat, int64_t until_ns)
{
    uint32_t seen = atomic_load(&seat->gate.value);
    pthread_mutex_unlock(&c->lock);
    hsdi_gate_wait_until(&seat->gate, seen, until_ns);
    pthread_mutex_lock(&c->lock);
}

hsd_status hsdi_combiner_run(hsdi_combiner *c, hsdi_seat *seat, hsdi_graph *graph,
                             const hsdi_job *job, hsd_error *err)
{
    if (job->n_rows < 1 || job->n_rows > c->n_rows_max) {
        return hsdi_graph_run(graph, job, err); // refused there
    }
    pthread_mutex_lock(&c->lock);
    learn(seat, graph, hsdi_now_ns());
    seat->graph = graph;
    seat->job = *job;
    seat->err = err;
    seat->is_done = false;
    seat->thread = pthread_self();
    push(c, seat);
    while (!seat->is_done) {
        int64_t until_ns = c->is_busy ? 0 : worth_waiting_until(c, c->oldest->graph);
        if (!c->is_busy && until_ns <= hsdi_now_ns()) {
            lead(c, seat);
        } else if (!c->is_busy && !c->watcher) {
            c->watcher = seat;
            sleep_until(c, seat, until_ns);
            c->watcher = c->watcher == seat ? NULL : c->watcher;
        } else {
            sleep_until(c, seat, INT64_MAX);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return seat->status;
}
