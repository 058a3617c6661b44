/// Gates and barriers on Linux futexes.
#include "base/futex.h"

#include <linux/futex.h>
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

void hsdi_gate_set(hsdi_gate *gate, uint32_t value)
{
    // Sequentially consistent on both sides: either this load sees the sleeper, or the sleeper's
    // check sees the new value.
    atomic_store(&gate->value, value);
    if (atomic_load(&gate->n_sleeping) != 0) {
        syscall(SYS_futex, &gate->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    }
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

int hsdi_spin_default(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) < 2) {
        return 1;
    }
    return 1000; // a pause takes 10 to 140 cycles: 5 to 50 microseconds
}
