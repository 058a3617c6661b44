/// Gates and barriers on Linux futexes.
#include "base/futex.h"

#include "base/clock.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

uint32_t hsdi_gate_wait(hsdi_gate *gate, uint32_t seen, int n_spins)
{
    uint32_t now;
    for (int i = 0; i < n_spins; i++) {
        now = atomic_load_explicit(&gate->value, memory_order_acquire);
        if (now != seen) {
            return now;
        }
        relax();
    }
    atomic_fetch_add(&gate->n_sleeping, 1);
    while ((now = atomic_load(&gate->value)) == seen) {
        syscall(SYS_futex, &gate->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    }
    atomic_fetch_sub(&gate->n_sleeping, 1);
    return now;
}

uint32_t hsdi_gate_wait_until(hsdi_gate *gate, uint32_t seen, int64_t deadline_ns)
{
    const struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                               .tv_nsec = (long)(deadline_ns % 1000000000)};
    uint32_t now;
    atomic_fetch_add(&gate->n_sleeping, 1);
    while ((now = atomic_load(&gate->value)) == seen && hsdi_now_ns() < deadline_ns) {
        // The bitset form alone takes an absolute time.
        syscall(SYS_futex, &gate->value, FUTEX_WAIT_BITSET_PRIVATE, seen,
                deadline_ns == INT64_MAX ? NULL : &t, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    atomic_fetch_sub(&gate->n_sleeping, 1);
    return now;
}

static void wake_sleepers(hsdi_gate *gate)
{
    if (atomic_load(&gate->n_sleeping) != 0) {
        syscall(SYS_futex, &gate->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    }
}

// Sequentially consistent on both sides: either the load of n_sleeping sees the sleeper, or the
// sleeper's check sees the new value.
void hsdi_gate_set(hsdi_gate *gate, uint32_t value)
{
    atomic_store(&gate->value, value);
    wake_sleepers(gate);
}

void hsdi_gate_add(hsdi_gate *gate)
{
    atomic_fetch_add(&gate->value, 1);
    wake_sleepers(gate);
}

void hsdi_barrier_wait(hsdi_barrier *barrier, uint32_t n_threads, int n_spins)
{
    if (n_threads <= 1) {
        return;
    }
    uint32_t phase = atomic_load_explicit(&barrier->phase.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->n_arrived, 1, memory_order_acq_rel) + 1 == n_threads) {
        atomic_store_explicit(&barrier->n_arrived, 0, memory_order_relaxed);
        hsdi_gate_set(&barrier->phase, phase + 1);
    } else {
        hsdi_gate_wait(&barrier->phase, phase, n_spins);
    }
}

static double pause_ns; ///< guarded by measure_once
static pthread_once_t measure_once = PTHREAD_ONCE_INIT;

static void measure_pause(void)
{
    enum { N = 200, TRIES = 5 };
    pause_ns = 1e9;
    for (int i = 0; i < TRIES; i++) { // the shortest: others were interrupted
        int64_t begin = hsdi_now_ns();
        for (int k = 0; k < N; k++) {
            relax();
        }
        double ns = (double)(hsdi_now_ns() - begin) / N;
        pause_ns = ns < pause_ns ? ns : pause_ns;
    }
    pause_ns = pause_ns < 0.5 ? 0.5 : pause_ns;
}

int hsdi_spins_for(int64_t ns)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2) {
        return 1;
    }
    pthread_once(&measure_once, measure_pause);
    return 1 + (int)((double)ns / pause_ns);
}
