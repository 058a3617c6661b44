/// `hsd bench --coverage`: what bench_roots.c measures and bench_roots_report.c judges and prints.
#ifndef HSD_CLI_BENCH_ROOTS_H
#define HSD_CLI_BENCH_ROOTS_H

#include "cli/bench.h"

enum {
    ROOTS_MAX_FAMILIES = 32,
    ROOTS_NAME_BYTES = 48,
    ROOTS_N_BUDGETS = 7,
    ROOTS_MAX = 64,
    ROOTS_EXIT = 0, ///< sources
    ROOTS_DRAFT = 1,
    ROOTS_BOTH = 2,
    ROOTS_N_SOURCES = 3,
};

extern const int roots_budgets[ROOTS_N_BUDGETS];
extern const char *const roots_sources[ROOTS_N_SOURCES];

/// Commits of real generations.
typedef struct roots_hits {
    int64_t hits, misses;
} roots_hits;

typedef struct roots_family {
    char name[ROOTS_NAME_BYTES];
    int n_prompts;
    hsd_coverage sum;
    /// By source and place in bench.hits; first with the branches completed before a commit is
    /// looked at, then as the clock had it.
    roots_hits hits[2][ROOTS_N_SOURCES][BENCH_MAX_COUNTS];
} roots_family;

typedef struct roots_bench {
    const bench *b;
    roots_family families[ROOTS_MAX_FAMILIES]; ///< with two or more, the last one is their sum
    int n_families;
    bool has_total;
    int n_too_long; ///< prompts left out
} roots_bench;

/// Both against one source in one family at one budget, by the commits that only one has.
typedef struct roots_pair {
    int64_t gained, lost;
    double p; ///< that as many or more are lost by chance: exact sign test, one-sided
} roots_pair;

/// Chance of `lost` or more heads in gained + lost throws of a fair coin.
double roots_sign_test(int64_t gained, int64_t lost);

/// Prints the result. CLI_WORSE when both sources are worse than one of them over all families,
/// or in one family beyond noise.
int roots_report(const roots_bench *r);

#endif
