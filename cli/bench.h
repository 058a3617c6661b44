/// `hsd bench` in three parts: options and order (bench.c), measuring (bench_measure.c),
/// printing (bench_report.c).
#ifndef HSD_CLI_BENCH_H
#define HSD_CLI_BENCH_H

#include "cli/cli.h"

enum {
    BENCH_MAX_MODES = 3,
    BENCH_MAX_PROMPTS = 16,
    BENCH_MAX_REPEATS = 1000,
    BENCH_MAX_ROWS = 32,
    BENCH_N_TRANSPORTS = 2,
};

/// Tokens of a prompt, and of the text that the first measured mode made from it.
typedef struct bench_prompt {
    int32_t *tokens; ///< owned
    int n_tokens;
    int32_t *expected; ///< owned; NULL until the first run
    int n_expected;
} bench_prompt;

/// One repeat of one mode: sums over all prompts.
typedef struct bench_sample {
    double tokens, steps, drafted, accepted, hits, misses;
    double prompt_tokens, prefill_s, decode_s, wait_s;
    double overhead_s; ///< mean over prompts of the session's median per step
} bench_sample;

/// One mode: samples, then the medians that are printed.
typedef struct bench_mode {
    hsd_mode mode;
    hsd_stats last;        ///< settings in force
    bench_sample *samples; ///< owned, [n_repeats]
    double tokens_per_s, tokens_per_step, acceptance, hit_rate;
    double wait_us, overhead_us; ///< per step
    double ratio;                ///< median of the repeats' tokens per second over those of ar
} bench_mode;

typedef struct bench {
    cli_generation g;
    int n_repeats;
    int n_past;       ///< context of the passes of --rows
    int n_prefill;    ///< length of the measured prefill, 0: none
    int n_rendezvous; ///< steps, 0: none
    bool json;
    bench_mode modes[BENCH_MAX_MODES];
    int n_modes;
    cli_text texts[BENCH_MAX_PROMPTS]; ///< owned
    bench_prompt prompts[BENCH_MAX_PROMPTS];
    int n_prompts;
    int rows[BENCH_MAX_ROWS];
    double rows_ms[BENCH_MAX_ROWS];
    int n_rows;
    int prefill_tokens; ///< what was measured
    double prefill_tokens_per_s;
    hsd_rendezvous_times rendezvous[BENCH_N_TRANSPORTS];
} bench;

extern const char *const bench_transports[BENCH_N_TRANSPORTS];

/// Each returns an exit code, after one line on stderr when it is not CLI_OK.
int bench_measure_modes(bench *b, hsd_engine *engine);
int bench_measure_prefill(bench *b, hsd_engine *engine);
int bench_measure_rows(bench *b, hsd_engine *engine);
int bench_measure_rendezvous(bench *b);

int bench_print(const bench *b);

/// Median of x [n]; reorders x. 0 when n is 0.
double bench_median(double *x, int n);

#endif
