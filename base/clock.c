/// The clocks of threads that do not live in real time.
#include "base/clock.h"

_Thread_local const int64_t *hsdi_clock_of_thread;
