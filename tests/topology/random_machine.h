/// Random machines and costs for property tests: the same seed, the same machine.
#ifndef HSD_TESTS_TOPOLOGY_RANDOM_MACHINE_H
#define HSD_TESTS_TOPOLOGY_RANDOM_MACHINE_H

#include <topology/planner.h>

typedef struct random_case {
    hsdi_machine machine;
    hsdi_costs costs; ///< models, acceptance, some measured tables; not yet estimated
} random_case;

/// Next number of a stream (splitmix64), in [low, high].
double random_real(uint64_t *state, double low, double high);
int random_int(uint64_t *state, int low, int high);

/// A machine of up to n_devices devices. `out` is large: keep it off the stack.
void random_make(uint64_t seed, int n_devices, random_case *out);

/// Estimate what is missing; the machine must hold together.
void random_finish(random_case *c);

/// The device and its measured tables `factor` times as fast.
void random_quicken(random_case *c, int i_device, double factor);

#endif
