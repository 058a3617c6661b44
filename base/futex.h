/// Waiting that spins briefly and then sleeps.
///
/// A thread that waits by spinning alone takes a whole core away from whoever the wait depends
/// on; one that only sleeps pays a wake-up of tens of microseconds per step. Both waits here spin
/// for a bounded number of polls and then sleep on a futex.
#ifndef HSDI_BASE_FUTEX_H
#define HSDI_BASE_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/// A counter that threads can wait on. Zero-initialise.
typedef struct hsdi_gate {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t n_sleeping;
} hsdi_gate;

/// Wait until gate->value differs from `seen`; returns the new value. Acquire.
uint32_t hsdi_gate_wait(hsdi_gate *gate, uint32_t seen, int n_spins);

/// The same without spinning, but no longer than until `deadline_ns` (base/clock.h; INT64_MAX: no
/// limit): the value is then still `seen`.
uint32_t hsdi_gate_wait_until(hsdi_gate *gate, uint32_t seen, int64_t deadline_ns);

/// Set the value and wake everybody who sleeps. Release. One setter at a time.
void hsdi_gate_set(hsdi_gate *gate, uint32_t value);

/// Add one to the value and wake everybody who sleeps. Release. Any number of threads may.
void hsdi_gate_add(hsdi_gate *gate);

/// Barrier for a number of threads that may change from one use to the next.
typedef struct hsdi_barrier {
    _Alignas(64) _Atomic uint32_t n_arrived;
    hsdi_gate phase;
} hsdi_barrier;

void hsdi_barrier_wait(hsdi_barrier *barrier, uint32_t n_threads, int n_spins);

/// Polls of a wait that take about `ns` nanoseconds here; 1 when the process has a single core.
/// Measured once: a pause takes 10 cycles on one processor and 140 on another.
int hsdi_spins_for(int64_t ns);

#endif
