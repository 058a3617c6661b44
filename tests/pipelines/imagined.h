/// Imagined machines for the simulator's tests: a target's device and drafts beside it.
#ifndef HSD_TESTS_PIPELINES_IMAGINED_H
#define HSD_TESTS_PIPELINES_IMAGINED_H

#include <pipelines/simulator.h>

enum { IMAGINED_LAYERS = 32, IMAGINED_DRAFT_LAYERS = 8 };

typedef struct imagined {
    hsdi_machine machine;
    hsdi_costs costs;
    hsdi_simulator_options options; ///< of both
} imagined;

/// A call of n rows of the target takes target_ns + (n - 1) * target_row_ns, half of it in the
/// first half of the layers, and head_ns in the head; one of a draft the same of its own. Device 0
/// is the target's, devices 1.. n_drafts are drafts', each with a thread of ours.
void imagined_init(imagined *m, int n_drafts, double target_ns, double target_row_ns,
                   double head_ns, double draft_ns, double draft_row_ns);

/// The same acceptance at each depth, the same hit rate at each number of roots.
void imagined_accept(imagined *m, double accept, double own, double both);

/// Mode, window and roots; drafts are all there are.
void imagined_set(imagined *m, hsd_mode mode, int window, int roots, int exit_layer);

/// Simulates; fails the test on an error.
hsdi_simulation imagined_run(const imagined *m);

#endif
