/// Monotonic time in nanoseconds: of the machine, or of a simulation that the thread takes part in.
#ifndef HSDI_BASE_CLOCK_H
#define HSDI_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/// The present time of a virtual clock for this thread (borrowed until it is set again); NULL, as
/// at first: the machine's clock. Set by pipelines/virtual.c only.
///
/// Cost : initial-exec, so that it is one load at a fixed place; 8 bytes of every thread.
extern _Thread_local const int64_t *hsdi_clock_of_thread __attribute__((tls_model("initial-exec")));

static inline int64_t hsdi_now_ns(void)
{
    struct timespec t;
    if (__builtin_expect(hsdi_clock_of_thread != NULL, 0)) {
        return *hsdi_clock_of_thread;
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#endif
