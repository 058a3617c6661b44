/// Thread pool of the CPU device.
#include "devices/cpu/queue.h"

#include "base/arena.h"
#include "base/error.h"
#include "base/futex.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

enum { BARRIER_SPIN_NS = 50000, IDLE_SPIN_NS = 8000 };

typedef struct worker {
    hsdi_gate start; ///< counts the jobs given to this thread
    hsdi_cpu_pool *pool;
    pthread_t thread;
    int index;
    bool started;
} worker;

struct hsdi_cpu_pool {
    hsdi_barrier barrier;
    hsdi_cpu_work work; ///< written by the caller before the gates open
    void *arg;
    int n_active;
    int n_threads;
    int n_spins;      ///< at a barrier: the others are at work and will be there soon
    int n_idle_spins; ///< between jobs: the core may be wanted by somebody else
    _Atomic bool stop;
    worker *workers; ///< [n_threads], entry 0 unused
};

static void *worker_main(void *arg)
{
    worker *w = arg;
    hsdi_cpu_pool *pool = w->pool;
    uint32_t seen = 0;
    (void)pthread_setname_np(pthread_self(), "hsd-cpu");
    for (;;) {
        seen = hsdi_gate_wait(&w->start, seen, pool->n_idle_spins);
        if (atomic_load(&pool->stop)) {
            return NULL;
        }
        int n_active = pool->n_active;
        pool->work(pool->arg, w->index, n_active);
        hsdi_barrier_wait(&pool->barrier, (uint32_t)n_active, pool->n_spins);
    }
}

static void pin(pthread_t thread, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    // A container may forbid it; the pool is then merely unpinned.
    (void)pthread_setaffinity_np(thread, sizeof set, &set);
}

hsd_status hsdi_cpu_pool_create(int n_threads, const int *cpus, hsdi_cpu_pool **out, hsd_error *err)
{
    hsdi_cpu_pool *pool = hsdi_aligned_alloc(sizeof *pool);
    worker *workers = hsdi_aligned_alloc((size_t)n_threads * sizeof *workers);
    if (!pool || !workers) {
        free(pool);
        free(workers);
        return hsdi_fail(err, HSD_ENOMEM, "cpu", "thread pool of %d threads", n_threads);
    }
    pool->workers = workers;
    pool->n_threads = n_threads;
    pool->n_spins = hsdi_spins_for(BARRIER_SPIN_NS);
    pool->n_idle_spins = hsdi_spins_for(IDLE_SPIN_NS);
    for (int i = 1; i < n_threads; i++) {
        worker *w = &workers[i];
        w->pool = pool;
        w->index = i;
        int rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc != 0) {
            hsdi_cpu_pool_destroy(&pool);
            return hsdi_fail_errno(err, HSD_EDEVICE, "cpu", rc, "thread %d of %d", i, n_threads);
        }
        w->started = true;
        if (cpus) {
            pin(w->thread, cpus[i]);
        }
    }
    *out = pool;
    return HSD_OK;
}

void hsdi_cpu_pool_destroy(hsdi_cpu_pool **pool_ptr)
{
    hsdi_cpu_pool *pool = pool_ptr ? *pool_ptr : NULL;
    if (!pool) {
        return;
    }
    atomic_store(&pool->stop, true);
    for (int i = 1; i < pool->n_threads; i++) {
        worker *w = &pool->workers[i];
        if (w->started) {
            hsdi_gate_set(&w->start, atomic_load(&w->start.value) + 1);
            pthread_join(w->thread, NULL);
        }
    }
    free(pool->workers);
    free(pool);
    *pool_ptr = NULL;
}

void hsdi_cpu_pool_run(hsdi_cpu_pool *pool, int n_threads, hsdi_cpu_work work, void *arg)
{
    pool->work = work;
    pool->arg = arg;
    pool->n_active = n_threads;
    for (int i = 1; i < n_threads; i++) {
        hsdi_gate *start = &pool->workers[i].start;
        hsdi_gate_set(start, atomic_load_explicit(&start->value, memory_order_relaxed) + 1);
    }
    work(arg, 0, n_threads);
    hsdi_barrier_wait(&pool->barrier, (uint32_t)n_threads, pool->n_spins);
}

void hsdi_cpu_pool_barrier(hsdi_cpu_pool *pool, int n_threads)
{
    hsdi_barrier_wait(&pool->barrier, (uint32_t)n_threads, pool->n_spins);
}
