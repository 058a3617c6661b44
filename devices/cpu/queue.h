/// A pool of pinned threads that run one function together.
///
/// The submitting thread is thread 0; the pool owns the others. Waits spin briefly and then
/// sleep, so that a stranger on one of the cores costs a share of the speed and not most of it.
#ifndef HSDI_DEVICES_CPU_QUEUE_H
#define HSDI_DEVICES_CPU_QUEUE_H

#include <hsd/status.h>

typedef struct hsdi_cpu_pool hsdi_cpu_pool;

/// Work of one thread out of n_threads.
typedef void (*hsdi_cpu_work)(void *arg, int i_thread, int n_threads);

/// Start n_threads - 1 threads. `cpus` [n_threads] may be NULL: no pinning; cpus[0] is not used
/// here, since thread 0 belongs to the caller.
hsd_status hsdi_cpu_pool_create(int n_threads, const int *cpus, hsdi_cpu_pool **out,
                                hsd_error *err);
void hsdi_cpu_pool_destroy(hsdi_cpu_pool **pool);

/// Run `work` on n_threads threads (1 .. the pool's) and wait for all. One caller at a time.
void hsdi_cpu_pool_run(hsdi_cpu_pool *pool, int n_threads, hsdi_cpu_work work, void *arg);

/// Meet the other threads of the running work.
void hsdi_cpu_pool_barrier(hsdi_cpu_pool *pool, int n_threads);

#endif
