/// `hsd bench` in parts: options and order (bench.c), measuring (bench_measure.c, and many sessions
/// at once in bench_sessions.c), printing (bench_report.c); roots in bench_roots.h.
#ifndef HSD_CLI_BENCH_H
#define HSD_CLI_BENCH_H

#include "cli/cli.h"

enum {
    BENCH_MAX_MODES = 5,
    BENCH_MAX_RUNS = 3 * BENCH_MAX_MODES, ///< each also with trees and by the ratio rule
    BENCH_MAX_COUNTS = 16,
    BENCH_MAX_SESSIONS = 256,
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

/// One mode, or a variant of it: samples, then the medians that are printed.
typedef struct bench_mode {
    hsd_mode mode;
    int tree;              ///< tokens of its windows, 0: as the options say
    bool by_ratio;         ///< ratio rule: its text is its own, and not compared
    hsd_stats last;        ///< settings in force
    bench_sample *samples; ///< owned, [n_repeats]
    double tokens_per_s, tokens_per_step, acceptance, hit_rate;
    double wait_us, overhead_us; ///< per step
    double ratio;                ///< median of the repeats' tokens per second over those of ar
} bench_mode;

/// A number of sessions at once in one mode.
typedef struct bench_load {
    hsd_mode mode;
    int n_sessions;
    double *rates;                 ///< owned, [n_repeats] tokens per second of all sessions
    double tokens_per_s;           ///< median of the rates
    double first_ms, first_p95_ms; ///< from a session's submit to its first token
    double token_ms, token_p95_ms; ///< from a token to the next one of the same session
} bench_load;

typedef struct bench {
    cli_generation g;
    int n_repeats;
    int n_past;       ///< context of the passes of --rows
    int n_prefill;    ///< length of the measured prefill, 0: none
    bool only_rows;   ///< no option asked for modes, sessions, prefill or rendezvous
    int n_rendezvous; ///< steps, 0: none
    bool json;
    bool kernels;               ///< measure only products, on one device or all
    const char *coverage_path;  ///< measure only the coverage of roots, on this file's prompts
    int n_per_family;           ///< prompts of each family
    const char *families;       ///< of these only, with commas; NULL: all
    int hits[BENCH_MAX_COUNTS]; ///< root budgets of the generations whose hits are counted
    int n_hits;
    int with_tree;   ///< also run each drafting mode with trees of so many tokens, 0: no
    bool with_ratio; ///< also run each drafting mode by the ratio rule
    bench_mode modes[BENCH_MAX_RUNS]; ///< the modes, then their variants
    int n_modes, n_runs;
    cli_text texts[BENCH_MAX_PROMPTS]; ///< owned
    bench_prompt prompts[BENCH_MAX_PROMPTS];
    int n_prompts;
    int counts[BENCH_MAX_COUNTS]; ///< of sessions at once
    int n_counts;
    bench_load loads[BENCH_MAX_MODES * BENCH_MAX_COUNTS];
    int n_loads;
    int rows[BENCH_MAX_ROWS];
    double rows_ms[BENCH_MAX_ROWS];
    int n_rows;
    int prefill_tokens; ///< what was measured
    double prefill_tokens_per_s;
    hsd_rendezvous_times rendezvous[BENCH_N_TRANSPORTS];
    hsd_overlap overlap; ///< alone_ms 0: not measured
} bench;

extern const char *const bench_transports[BENCH_N_TRANSPORTS];

/// Each returns an exit code, after one line on stderr when it is not CLI_OK.
int bench_measure_modes(bench *b, hsd_engine *engine);
int bench_measure_sessions(bench *b, hsd_engine *engine);
int bench_measure_prefill(bench *b, hsd_engine *engine);
int bench_measure_rows(bench *b, hsd_engine *engine);
/// Only after modes serial and mirror with a draft model beside the target.
int bench_measure_overlap(bench *b, hsd_engine *engine);
int bench_measure_rendezvous(bench *b);

/// The run of a mode as it is, or NULL.
const bench_mode *bench_mode_of(const bench *b, hsd_mode mode);

int bench_print(const bench *b);

/// Measures and prints the coverage of roots on the prompts of coverage_path.
int bench_coverage(const bench *b, hsd_engine *engine);

/// Measures and prints kernels on --device, or on all devices.
int bench_kernels(const bench *b);

/// Median of x [n]; reorders x. 0 when n is 0.
double bench_median(double *x, int n);
/// The smallest of x [n] that a share q of them does not exceed; reorders x. 0 when n is 0.
double bench_quantile(double *x, int n, double q);

/// "serial", "serial tree", "serial ratio".
const char *bench_run_name(const bench_mode *mode, char *out, size_t cap);

/// Say on a terminal what is being measured; wipe that away.
void bench_progress(int repeat, int n_repeats, const char *mode);
void bench_progress_end(void);

#endif
