/// What the subcommands of `hsd` share: exit codes, error lines, checked output, strict numbers,
/// the options of a generation, prompts and JSON.
///
/// Only the public API, argp, jansson and libc are used here: the program is also an example of a
/// host application.
#ifndef HSD_CLI_CLI_H
#define HSD_CLI_CLI_H

#include <argp.h>
#include <hsd/hsd.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Exit codes of every subcommand; docs/cli.md repeats them.
enum {
    CLI_OK = 0,
    CLI_FAILURE = 1,
    CLI_USAGE = 2,
    CLI_WORSE = 4, ///< of `bench --coverage`: both sources are worse than one
    CLI_INTERRUPTED = 130,
};

/// Paragraph for the end of every help text.
#define CLI_EXIT_CODES                                                                             \
    "Exit codes: 0 success; 1 a failure at run time (one line on stderr says where and why); "     \
    "2 wrong usage; 130 interrupted."

int cli_run(int argc, char **argv);
int cli_worker(int argc, char **argv);
int cli_info(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_keygen(int argc, char **argv);
int cli_devices(int argc, char **argv);
int cli_topo(int argc, char **argv);
int cli_batch(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_profile(int argc, char **argv);
int cli_simulate(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_tune(int argc, char **argv);

/* report.c */

/// An hsd_error that says nothing yet.
hsd_error cli_no_error(void);
/// Print `hsd: WHERE: message (STATUS, byte N)` on stderr. Returns CLI_FAILURE.
int cli_fail(hsd_status status, const hsd_error *err);
/// Print `hsd: ` and a formatted sentence on stderr. Returns CLI_FAILURE.
int cli_failf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/// Write to stdout and flush. False, after one line on stderr, when stdout fails.
bool cli_out(const char *bytes, size_t n_bytes);
/// printf to stdout, not flushed; cli_close_stdout reports what went wrong.
void cli_outf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/// Flush stdout. CLI_FAILURE, after one line on stderr, when anything written to it was lost.
int cli_close_stdout(void);
/// Text of a JSON object and a newline as the program prints it; takes the reference. NULL when
/// memory is short (also when `object` is NULL). free() it.
char *cli_json_text(json_t *object);
/// Print one JSON object and a newline; takes the reference. Returns the exit code.
int cli_print_json(json_t *object);
/// Log callback for engines and workers: errors and warnings always, the rest when *verbose.
void cli_log(void *user, int level, const char *text);

/* signals.c */

/// After this the first SIGINT or SIGTERM only sets a flag (and stops the worker that was named
/// with cli_signals_stop_worker); the second one ends the process.
void cli_signals_init(void);
void cli_signals_stop_worker(hsd_worker *worker);
/// Name the session that an interrupt cancels; NULL before it is closed.
void cli_signals_cancel_session(hsd_session *session);
bool cli_interrupted(void);

/* trace.c */

/// A trace for --trace FILE; *out stays NULL when `file` is NULL. Returns an exit code.
int cli_trace_begin(const char *name, const char *file, hsd_trace **out);
/// Write it and set *trace to NULL. Returns `code`, or CLI_FAILURE after one line on stderr when
/// that was CLI_OK and the file could not be written.
int cli_trace_end(hsd_trace **trace, const char *file, int code);

/* parse.c */

/// Numbers in full: trailing text, overflow and values outside [min, max] end the program with
/// the option's name and exit code 2.
long long cli_parse_int(const struct argp_state *state, const char *option, const char *text,
                        long long min, long long max);
uint64_t cli_parse_u64(const struct argp_state *state, const char *option, const char *text);
double cli_parse_real(const struct argp_state *state, const char *option, const char *text,
                      double min, double max);
/// A number of bytes with a unit: "512MiB"; KiB, MiB, GiB and TiB, and the like with 1000 (MB);
/// none is bytes.
int64_t cli_parse_bytes(const struct argp_state *state, const char *option, const char *text);
/// By name; false and *out untouched when there is none.
bool cli_find_mode(const char *name, hsd_mode *out);
bool cli_find_draft_kind(const char *name, hsd_draft_kind *out);
#define CLI_MODE_NAMES "auto, ar, serial, mirror, async"
#define CLI_DRAFT_KIND_NAMES "auto, model, ngram, early_exit"
hsd_cache_layout cli_parse_cache_layout(const struct argp_state *state, const char *option,
                                        const char *text);
hsd_cache_type cli_parse_cache_type(const struct argp_state *state, const char *option,
                                    const char *text);
hsd_mode cli_parse_mode(const struct argp_state *state, const char *option, const char *text);
hsd_draft_kind cli_parse_draft_kind(const struct argp_state *state, const char *option,
                                    const char *text);
/// Comma-separated whole numbers into out [cap]; returns their count.
int cli_parse_ints(const struct argp_state *state, const char *option, const char *text, int min,
                   int max, int *out, int cap);

/* generation.c */

enum { CLI_MAX_WORKERS = 64, CLI_MAX_NAMED = 32 };

/// Keys of the options that set a field of hsd_session_options, see setting.h. `run`, `batch` and
/// `bench` name the first two in their own tables, the others are in cli_generation_argp.
enum {
    CLI_KEY_TOKENS = 'n',
    CLI_KEY_MODE = 0x100,
    CLI_KEY_DRAFT_KIND,
    CLI_KEY_WINDOW,
    CLI_KEY_TREE,
    CLI_KEY_WITH_NGRAM,
    CLI_KEY_ROOTS,
    CLI_KEY_EXIT,
    CLI_KEY_TEMP,
    CLI_KEY_TOP_K,
    CLI_KEY_TOP_P,
    CLI_KEY_MIN_P,
    CLI_KEY_SEED,
    CLI_KEY_REPEAT_PENALTY,
    CLI_KEY_REPEAT_LAST_N,
    CLI_KEY_NO_REPEAT_NGRAM,
    CLI_KEY_IGNORE_EOS,
};

/// Options that `run`, `batch`, `bench` and `profile` share. Strings are borrowed from argv.
typedef struct cli_generation {
    hsd_engine_options engine;
    hsd_session_options session;
    const char *workers[CLI_MAX_WORKERS];
    const char *worker_keys[CLI_MAX_WORKERS]; ///< NULL: without keys
    const char *topology;                     ///< description of machines; NULL: none
    hsd_machine *machine;                     ///< what was read from it, owned
    bool verbose;
    /// All that were given, for `profile`; the engine uses the last one.
    const char *devices[CLI_MAX_NAMED], *draft_devices[CLI_MAX_NAMED];
    int threads[CLI_MAX_NAMED];
    int n_devices, n_draft_devices, n_threads;
} cli_generation;

/// Child parser; its input is a cli_generation.
extern const struct argp cli_generation_argp;
void cli_generation_init(cli_generation *g);
/// Before the engine is opened: read what --topology names. Returns an exit code.
int cli_generation_begin(cli_generation *g);
void cli_generation_end(cli_generation *g);
/// Take the option `key` when it is a setting of a session; else ARGP_ERR_UNKNOWN.
error_t cli_parse_setting(int key, const char *arg, const struct argp_state *state,
                          hsd_session_options *out);

/* prompt.c */

/// Owned bytes of a prompt.
typedef struct cli_text {
    char *bytes;
    size_t n_bytes;
} cli_text;

/// Read a whole file, or stdin for "-". Returns an exit code; *out is the caller's to free.
int cli_read_text(const char *path, cli_text *out);
/// Tokens of a prompt with the special tokens that the model file asks for; free(*out).
int cli_tokenize(const hsd_engine *engine, const char *text, size_t n_bytes, int32_t **out,
                 int *n_out);

/* output.c */

/// What a generation made. Owned arrays.
typedef struct cli_output {
    int32_t *tokens;
    size_t n_tokens, cap_tokens;
    char *text;
    size_t n_text, cap_text;
} cli_output;

/// Append a token and its text. False when memory is short; nothing is printed.
bool cli_output_add(cli_output *out, const hsd_token *token);
/// Forget what was added, keep the memory.
void cli_output_clear(cli_output *out);
void cli_output_fini(cli_output *out);

/* json.c */

json_t *cli_json_tokens(const int32_t *tokens, size_t n_tokens);
json_t *cli_json_stats(const hsd_stats *stats);
/// The generated text; any bytes that the API gives.
json_t *cli_json_output_text(const cli_output *out);

#endif
