/// `hsd batch` in parts: options and order (batch.c), a line to an item (batch_item.c), the stages
/// and their threads (batch_stages.c), the file of results (batch_results.c), progress and summary
/// (batch_report.c).
///
///     input -> read -> [prompts] -> generate x N -> [generated] -> render -> [results] -> write
///                ^                    ^  sessions <---------------- |                      |
///                +------------------- free items <------------------------------------------+
///
/// The items are all that is in flight: whoever is fast waits for a free one. Once the run stops,
/// every stage still hands on what it gets, undone, until its input is closed: nobody hangs.
#ifndef HSD_CLI_BATCH_H
#define HSD_CLI_BATCH_H

#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/queue.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    BATCH_MAX_SESSIONS = 256,
    BATCH_DEFAULT_SESSIONS = 4,
    BATCH_LINE_MAX_BYTES = 16 << 20,
    BATCH_RESULT_MAX_BYTES = 1 << 30,
    BATCH_FIELD_BYTES = 64,
    BATCH_WHY_BYTES = 256,
};

/// A session and the settings it was opened with. One stage at a time has it.
typedef struct batch_session {
    hsd_session *session; ///< owned; NULL until used; changed under batch.lock
    hsd_session_options how;
} batch_session;

/// One line of the input on its way through the stages. One stage at a time has it.
typedef struct batch_item {
    int64_t index; ///< of the prompt, from 0: blank lines do not count
    int64_t line;  ///< of the input, from 1
    uint64_t hash; ///< of the line
    json_t *id;    ///< owned; NULL when the line has none
    hsd_session_options how;
    int32_t *prompt; ///< owned, [n_ctx]
    int n_prompt;
    bool dropped;                  ///< not done, because the run stops
    bool failed;                   ///< the line cannot be done; field and why say why
    char field[BATCH_FIELD_BYTES]; ///< "" when it is the line as a whole
    char why[BATCH_WHY_BYTES];
    batch_session *slot; ///< between generating and rendering
    cli_output output;
    hsd_stats stats;
    char *result; ///< owned; the line to write
} batch_item;

/// The file of results. What is there from an earlier run was checked by batch_results_scan.
typedef struct batch_results {
    int fd;
    const char *name;
    bool regular;     ///< can be resumed and cut
    uint64_t *hashes; ///< owned, [n_kept] of the input's lines
    size_t cap;
    int64_t n_kept, n_kept_failed;
    int64_t first_failed; ///< input line, 0: none
    int64_t size;         ///< bytes of complete lines
} batch_results;

typedef struct batch {
    cli_generation g;
    const char *in_path, *out_path;
    int n_sessions;
    bool strict, overwrite, no_stats;

    const char *in_name;
    int in_fd;
    cli_lines lines;
    batch_results results;
    hsd_engine *engine;
    int n_ctx;
    int32_t eos;       ///< -1: none
    uint64_t settings; ///< hash of model, context and settings
    int64_t n_total;   ///< prompts in the input; -1 while unknown

    int n_items;
    batch_item *items;       ///< owned, [n_items]
    batch_session *sessions; ///< owned, [n_sessions]
    cli_queue free_items, free_sessions, prompts, generated, rendered;

    pthread_mutex_t lock; ///< guards error, has_error, n_running and the sessions' pointers
    pthread_cond_t ended; ///< n_running; on the monotonic clock
    hsd_error error;      ///< the first failure
    bool has_error;
    int n_running, n_generating; ///< threads
    atomic_bool stop;            ///< hand everything on undone
    atomic_llong n_done, n_failed, n_tokens, first_failed;
    double begin_s;
} batch;

/* batch_item.c */

/// Fill an item from a line: parse, check, tokenise. A bad line gives an item that `failed`.
/// False when memory is short.
bool batch_item_read(const batch *b, const cli_line *line, batch_item *item);
/// A printf sentence about what is wrong with `field` ("" for the line).
void batch_item_fail(batch_item *item, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/// Result line of a done or failed item, into item->result. False when memory is short.
bool batch_item_render(const batch *b, batch_item *item);
void batch_item_fini(batch_item *item);

/* batch_stages.c */

/// Run all stages to their end; a failure is in b->error.
void batch_run_stages(batch *b);
/// The run failed: keep the first failure, stop all stages. Any thread.
void batch_fail(batch *b, hsd_status status, const char *where, int64_t line, const char *why);
void batch_stop(batch *b);
/// Is the run to end?
bool batch_stopped(void *b);

/* batch_results.c */

/// Open b->out_path. Each returns an exit code, after one line on stderr when it is not CLI_OK.
int batch_results_open(batch *b);
/// Read what an earlier run left.
int batch_results_scan(batch *b);
/// Pass over the input's lines that have results, and check that these belong to them.
int batch_results_match(batch *b);
/// Cut off what is no complete result.
int batch_results_begin(batch *b);
/// Append a line. False, with errno, when it cannot be written; what was there stays.
bool batch_results_write(batch *b, const char *line, size_t n_bytes);
/// Push everything to the disk and close. False with errno.
bool batch_results_close(batch_results *r);

/* batch_report.c */

double batch_now_s(void);
/// Draw the progress bar when stderr is a terminal.
void batch_draw(const batch *b);
/// The last line on stderr.
void batch_summary(const batch *b);

#endif
