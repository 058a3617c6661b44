/// See virtual.h. The baton is a semaphore per actor: who has nothing to do now finds out whose
/// event is next, moves the clock there, and posts that actor's. What is shared is only touched by
/// who holds the baton.
#include <base/clock.h>
#include <base/error.h>
#include <math.h>
#include <pipelines/transport/link.h>
#include <pipelines/virtual.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

/// Not 0, which means "never" to some of those who read clocks.
static const int64_t BEGIN_NS = 1000000000;

typedef enum actor_state {
    ACTOR_READY, ///< runs, or would if it had the baton
    ACTOR_COMPUTES,
    ACTOR_SENDS, ///< busy until due_ns
    ACTOR_WAITS, ///< for frames, a wake-up, or due_ns
    ACTOR_JOINS, ///< for the end of all others
    ACTOR_ENDED,
} actor_state;

typedef struct frame {
    struct frame *next;
    int64_t arrival_ns;
    size_t n_bytes;
    uint8_t bytes[];
} frame;

/// One of the two ends of an endpoint: 2 * i is actor 0's, 2 * i + 1 the listener's.
typedef struct end {
    frame *first, *last, *taken;
    int64_t arrival_ns; ///< of the newest frame: none overtakes another
    bool is_open, is_woken;
} end;

typedef struct endpoint {
    const char *name;
    hsdi_virtual_path path;
    end ends[2];
} endpoint;

typedef struct actor {
    hsdi_virtual *time;
    int number;
    pthread_t thread;
    sem_t turn;
    void (*run)(void *arg);
    void *arg;
    actor_state state;
    double left_ns;   ///< of what it computes, alone
    int64_t due_ns;   ///< SENDS: the end; WAITS: the deadline
    int64_t begin_ns; ///< WAITS, COMPUTES: since when
    const int *ends;  ///< [n_ends] WAITS: for these
    int n_ends;       ///< likewise
    int64_t free_ns;  ///< when its way out to others is free
    hsdi_virtual_use use;
    double slowdown[HSDI_VIRTUAL_ACTORS];
} actor;

struct hsdi_virtual {
    int64_t now_ns;
    int n_actors, n_endpoints, running;
    int64_t n_switches;
    bool is_stuck;
    cpu_set_t processors; ///< actor 0's before
    actor actors[HSDI_VIRTUAL_ACTORS];
    endpoint endpoints[HSDI_VIRTUAL_ACTORS];
};

// ---- events ----

/// How much longer than alone it takes, beside those who compute now.
static double factor_of(const hsdi_virtual *time, const actor *a)
{
    double factor = 1.0;
    for (int i = 0; i < time->n_actors; i++) {
        if (i != a->number && time->actors[i].state == ACTOR_COMPUTES) {
            factor *= a->slowdown[i];
        }
    }
    return factor;
}

static end *end_at(hsdi_virtual *time, int number)
{
    return &time->endpoints[number / 2].ends[number & 1];
}

/// When one who waits for these ends runs on; INT64_MAX: nothing is on its way.
static int64_t frame_due(hsdi_virtual *time, const actor *a)
{
    int64_t due = INT64_MAX;
    for (int i = 0; i < a->n_ends; i++) {
        const hsdi_virtual_path *path = &time->endpoints[a->ends[i] / 2].path;
        const end *at = end_at(time, a->ends[i]);
        int64_t arrival = at->is_woken ? time->now_ns : at->first ? at->first->arrival_ns : due;
        double spin = path->spin_ns[a->ends[i] & 1];
        bool sleeps = spin >= 0.0 && (double)(arrival - a->begin_ns) > spin;
        if (arrival < due && sleeps && !at->is_woken) {
            arrival += (int64_t)path->wake_ns;
        }
        due = arrival < due ? arrival : due;
    }
    return due;
}

static bool are_others_ended(const hsdi_virtual *time)
{
    for (int i = 1; i < time->n_actors; i++) {
        if (time->actors[i].state != ACTOR_ENDED) {
            return false;
        }
    }
    return true;
}

/// When an actor can run on; INT64_MAX: not by itself.
static int64_t due_of(hsdi_virtual *time, const actor *a)
{
    int64_t due = INT64_MAX, frame_ns;
    switch (a->state) {
    case ACTOR_READY:
        return time->now_ns;
    case ACTOR_COMPUTES:
        return time->now_ns + (int64_t)ceil(a->left_ns * factor_of(time, a));
    case ACTOR_SENDS:
        due = a->due_ns;
        break;
    case ACTOR_WAITS:
        frame_ns = frame_due(time, a);
        due = frame_ns < a->due_ns ? frame_ns : a->due_ns;
        break;
    case ACTOR_JOINS:
        return are_others_ended(time) ? time->now_ns : INT64_MAX;
    case ACTOR_ENDED:
        return INT64_MAX;
    }
    return due > time->now_ns ? due : time->now_ns;
}

/// The clock moves on: so much of everybody's computing is done.
static void move_to(hsdi_virtual *time, int64_t now_ns)
{
    double passed = (double)(now_ns - time->now_ns), factor[HSDI_VIRTUAL_ACTORS];
    if (passed <= 0.0) {
        return;
    }
    for (int i = 0; i < time->n_actors; i++) {
        factor[i] = factor_of(time, &time->actors[i]);
    }
    for (int i = 0; i < time->n_actors; i++) {
        if (time->actors[i].state == ACTOR_COMPUTES) {
            time->actors[i].left_ns = fmax(0.0, time->actors[i].left_ns - passed / factor[i]);
        }
    }
    time->now_ns = now_ns;
}

/// The actor of the earliest event, the lowest number among equals; the clock is moved there.
static int next_actor(hsdi_virtual *time)
{
    int next = 0;
    int64_t earliest = INT64_MAX;
    for (int i = 0; i < time->n_actors; i++) {
        int64_t due = due_of(time, &time->actors[i]);
        if (due < earliest) {
            next = i;
            earliest = due;
        }
    }
    if (earliest == INT64_MAX) {
        time->is_stuck = true; // everybody waits for ever: actor 0 is told
    } else {
        move_to(time, earliest);
    }
    return next;
}

static void await_turn(actor *a)
{
    while (sem_wait(&a->turn) != 0) { // a signal
    }
}

/// Returns when it is this actor's turn again.
static void pass_baton(hsdi_virtual *time, actor *from)
{
    int next = next_actor(time);
    time->running = next;
    if (next != from->number) {
        time->n_switches++;
        sem_post(&time->actors[next].turn);
        if (from->state != ACTOR_ENDED) {
            await_turn(from);
        }
    }
    if (from->state != ACTOR_ENDED) {
        from->state = ACTOR_READY;
    }
}

// ---- actors ----

static void *run_actor(void *arg)
{
    actor *a = arg;
    await_turn(a);
    hsdi_clock_of_thread = &a->time->now_ns;
    a->run(a->arg);
    a->state = ACTOR_ENDED;
    pass_baton(a->time, a);
    return NULL;
}

static void init_actor(hsdi_virtual *time, int number)
{
    actor *a = &time->actors[number];
    a->time = time;
    a->number = number;
    a->state = ACTOR_READY;
    sem_init(&a->turn, 0, 0);
    for (int i = 0; i < HSDI_VIRTUAL_ACTORS; i++) {
        a->slowdown[i] = 1.0;
    }
}

hsd_status hsdi_virtual_create(hsdi_virtual **out, hsd_error *err)
{
    hsdi_virtual *time = calloc(1, sizeof *time);
    if (!time) {
        return hsdi_fail(err, HSD_ENOMEM, "virtual", "no memory for a virtual time");
    }
    time->now_ns = BEGIN_NS;
    time->n_actors = 1;
    init_actor(time, 0);
    hsdi_clock_of_thread = &time->now_ns;
    // One at a time runs: on one processor, since waking another one takes far longer.
    cpu_set_t here;
    CPU_ZERO(&here);
    int found = sched_getcpu();
    size_t cpu = found >= 0 ? (size_t)found : CPU_SETSIZE;
    if (cpu < CPU_SETSIZE &&
        sched_getaffinity(0, sizeof time->processors, &time->processors) == 0) {
        CPU_SET(cpu, &here);
        (void)sched_setaffinity(0, sizeof here, &here);
    }
    *out = time;
    return HSD_OK;
}

static void drop_frames(end *at)
{
    while (at->first) {
        frame *next = at->first->next;
        free(at->first);
        at->first = next;
    }
    free(at->taken);
    *at = (end){0};
}

void hsdi_virtual_destroy(hsdi_virtual **time)
{
    if (*time) {
        for (int i = 0; i < (*time)->n_actors; i++) {
            if (i > 0) {
                pthread_join((*time)->actors[i].thread, NULL);
            }
            sem_destroy(&(*time)->actors[i].turn);
        }
        for (int i = 0; i < (*time)->n_endpoints; i++) {
            drop_frames(&(*time)->endpoints[i].ends[0]);
            drop_frames(&(*time)->endpoints[i].ends[1]);
        }
        hsdi_clock_of_thread = NULL;
        if (CPU_COUNT(&(*time)->processors) > 0) {
            (void)sched_setaffinity(0, sizeof(*time)->processors, &(*time)->processors);
        }
        free(*time);
        *time = NULL;
    }
}

hsd_status hsdi_virtual_start(hsdi_virtual *time, void (*run)(void *arg), void *arg, int *number,
                              hsd_error *err)
{
    if (time->n_actors == HSDI_VIRTUAL_ACTORS) {
        return hsdi_fail(err, HSD_EINVAL, "virtual", "more than %d actors",
                         (int)HSDI_VIRTUAL_ACTORS);
    }
    actor *a = &time->actors[time->n_actors];
    init_actor(time, time->n_actors);
    a->run = run;
    a->arg = arg;
    int failure = pthread_create(&a->thread, NULL, run_actor, a);
    if (failure) {
        sem_destroy(&a->turn);
        return hsdi_fail_errno(err, HSD_ENOMEM, "virtual", failure, "no thread for an actor");
    }
    *number = time->n_actors++;
    return HSD_OK;
}

void hsdi_virtual_slow(hsdi_virtual *time, int number, int beside, double factor)
{
    time->actors[number].slowdown[beside] = factor;
}

void hsdi_virtual_compute(hsdi_virtual *time, double alone_ns)
{
    actor *a = &time->actors[time->running];
    if (alone_ns > 0.0) {
        int64_t begin_ns = time->now_ns;
        a->left_ns = alone_ns;
        a->state = ACTOR_COMPUTES;
        pass_baton(time, a);
        a->use.computed_ns += time->now_ns - begin_ns;
    }
}

bool hsdi_virtual_join(hsdi_virtual *time)
{
    actor *a = &time->actors[0];
    time->is_stuck = false;
    a->state = ACTOR_JOINS;
    pass_baton(time, a);
    return !time->is_stuck;
}

int64_t hsdi_virtual_now(const hsdi_virtual *time)
{
    return time->now_ns;
}

hsdi_virtual_use hsdi_virtual_used(const hsdi_virtual *time, int number)
{
    return time->actors[number].use;
}

int64_t hsdi_virtual_n_switches(const hsdi_virtual *time)
{
    return time->n_switches;
}

// ---- the wire ----

hsd_status hsdi_virtual_endpoint(hsdi_virtual *time, const char *name,
                                 const hsdi_virtual_path *path, hsd_error *err)
{
    if (time->n_endpoints == HSDI_VIRTUAL_ACTORS) {
        return hsdi_fail(err, HSD_EINVAL, name, "more than %d endpoints", (int)HSDI_VIRTUAL_ACTORS);
    }
    time->endpoints[time->n_endpoints++] = (endpoint){.name = name, .path = *path};
    return HSD_OK;
}

static hsd_status open_end(void *self, const char *name, int side, int *number, hsd_error *err)
{
    hsdi_virtual *time = self;
    for (int i = 0; i < time->n_endpoints; i++) {
        end *at = &time->endpoints[i].ends[side];
        if (strcmp(time->endpoints[i].name, name) == 0 && !at->is_open) {
            at->is_open = true;
            *number = 2 * i + side;
            return HSD_OK;
        }
    }
    return hsdi_fail(err, HSD_ETRANSPORT, name, "there is no such endpoint, or it is taken");
}

static hsd_status connect_end(void *self, const char *name, int *number, hsd_error *err)
{
    return open_end(self, name, 0, number, err);
}

static hsd_status bind_end(void *self, const char *name, int *number, hsd_error *err)
{
    return open_end(self, name, 1, number, err);
}

static void close_end(void *self, int number)
{
    drop_frames(end_at(self, number));
}

/// When what the sender now puts on its way is there.
static int64_t arrival_of(hsdi_virtual *time, actor *from, const hsdi_virtual_path *path,
                          size_t n_bytes)
{
    int64_t on_way_ns = path->gbps > 0.0 ? (int64_t)((double)n_bytes / path->gbps) : 0;
    from->free_ns = (from->free_ns > time->now_ns ? from->free_ns : time->now_ns) + on_way_ns;
    return from->free_ns + (int64_t)path->latency_ns;
}

static hsd_status send_frame(void *self, int number, const struct hsdi_peer *to, const void *bytes,
                             size_t n_bytes)
{
    (void)to; // an endpoint has one link
    hsdi_virtual *time = self;
    actor *from = &time->actors[time->running];
    const hsdi_virtual_path *path = &time->endpoints[number / 2].path;
    end *at = end_at(time, number ^ 1);
    frame *sent = malloc(sizeof *sent + n_bytes);
    if (!sent) {
        return HSD_ETIMEOUT;
    }
    if (path->send_ns > 0.0) {
        from->state = ACTOR_SENDS;
        from->due_ns = time->now_ns + (int64_t)path->send_ns;
        pass_baton(time, from);
    }
    if (!at->is_open) { // nobody is there (any more)
        free(sent);
        return HSD_ETIMEOUT;
    }
    int64_t arrival_ns = arrival_of(time, from, path, n_bytes);
    at->arrival_ns = arrival_ns > at->arrival_ns ? arrival_ns : at->arrival_ns;
    sent->next = NULL;
    sent->arrival_ns = at->arrival_ns;
    sent->n_bytes = n_bytes;
    memcpy(sent->bytes, bytes, n_bytes);
    *(at->first ? &at->last->next : &at->first) = sent;
    at->last = sent;
    from->use.n_frames++;
    from->use.n_bytes += (int64_t)n_bytes;
    return HSD_OK;
}

static hsd_status receive_frame(void *self, int number, struct hsdi_peer *from, const void **bytes,
                                size_t *n_bytes)
{
    hsdi_virtual *time = self;
    end *at = end_at(time, number);
    frame *head = at->first;
    if (!head || head->arrival_ns > time->now_ns) {
        return HSD_ETIMEOUT;
    }
    at->first = head->next;
    free(at->taken);
    at->taken = head;
    *bytes = head->bytes;
    *n_bytes = head->n_bytes;
    if (from) {
        from->n_bytes = 1;
        from->id[0] = 1;
    }
    return HSD_OK;
}

static void wait_for_frames(void *self, const int *ends, int n_ends, int64_t timeout_ns)
{
    hsdi_virtual *time = self;
    actor *a = &time->actors[time->running];
    a->ends = ends;
    a->n_ends = n_ends;
    a->begin_ns = time->now_ns;
    a->due_ns = timeout_ns < 0 ? INT64_MAX : time->now_ns + timeout_ns;
    a->state = ACTOR_WAITS;
    pass_baton(time, a);
    for (int i = 0; i < n_ends; i++) {
        end_at(time, ends[i])->is_woken = false;
    }
}

static void wake_end(void *self, int number)
{
    end_at(self, number)->is_woken = true;
}

const hsdi_wire *hsdi_virtual_wire(void)
{
    static const hsdi_wire wire = {connect_end,   bind_end,        close_end, send_frame,
                                   receive_frame, wait_for_frames, wake_end};
    return &wire;
}
