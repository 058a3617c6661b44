/// `hsd batch`: continue every prompt of a file. Options and order.
#include "cli/batch.h"

#include "cli/setting.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SESSIONS = 0x200, KEY_STRICT, KEY_OVERWRITE, KEY_NO_STATS };

static const struct argp_option options[] = {
    {.doc = "Text:", .group = 1},
    {"in", 'i', "FILE", 0, "prompts, one JSON object per line; - (the default) is standard input",
     0},
    {"out", 'o', "FILE", 0, "results, one JSON object per line; - (the default) is standard output",
     0},
    {"sessions", KEY_SESSIONS, "N", 0, "prompts that are worked on at once, 1..256; default 4", 0},
    {"strict", KEY_STRICT, 0, 0, "stop at the first bad line instead of saying so in its result",
     0},
    {"overwrite", KEY_OVERWRITE, 0, 0, "begin again also when the results have lines already", 0},
    {"no-stats", KEY_NO_STATS, 0, 0, "results without statistics: the same bytes in every run", 0},
    {"tokens", CLI_KEY_TOKENS, "N", 0,
     "most tokens per prompt (0: until the context is full); default 128", 0},
    {"mode", CLI_KEY_MODE, "MODE", 0, CLI_MODE_NAMES "; default auto", 0},
    {"verbose", 'v', 0, 0, "log lines on stderr", 0},
    {0},
};

static const char doc[] =
    "Continue every prompt of a file. A line of the input is an object with `prompt' and, if "
    "wanted, `id' and settings of its own (tokens, temp, top_k, top_p, min_p, seed, ignore_eos, "
    "mode, ...). The results come in the order of the input, each with the tokens that `hsd run' "
    "makes of that prompt alone. The same command goes on where a killed or interrupted one "
    "stopped."
    "\v"
    "Examples:\n"
    "  hsd batch --in prompts.jsonl --out results.jsonl\n"
    "  hsd batch --in prompts.jsonl --out results.jsonl --sessions 8 --temp 0.8\n"
    "  echo '{\"prompt\": \"Once upon a time\", \"tokens\": 40}' | hsd batch\n"
    "\n" CLI_EXIT_CODES;

static error_t parse_end(const batch *b, const struct argp_state *state)
{
    if (b->g.session.sampling.rule != HSD_RULE_COUPLED) {
        argp_error(state, "--rule: results must not depend on draft and timing; only coupled can");
    }
    if (strcmp(b->in_path, "-") == 0 && isatty(STDIN_FILENO)) {
        argp_error(state, "prompts are missing: give --in");
    }
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    batch *b = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &b->g;
        return 0;
    case 'i':
        b->in_path = arg;
        return 0;
    case 'o':
        b->out_path = arg;
        return 0;
    case KEY_SESSIONS:
        b->n_sessions = (int)cli_parse_int(state, "--sessions", arg, 1, BATCH_MAX_SESSIONS);
        return 0;
    case KEY_STRICT:
        b->strict = true;
        return 0;
    case KEY_OVERWRITE:
        b->overwrite = true;
        return 0;
    case KEY_NO_STATS:
        b->no_stats = true;
        return 0;
    case CLI_KEY_TOKENS:
    case CLI_KEY_MODE:
        return cli_parse_setting(key, arg, state, &b->g.session);
    case 'v':
        b->g.verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option; files are given with --in and --out", arg);
        return 0;
    case ARGP_KEY_END:
        return parse_end(b, state);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int open_input(batch *b)
{
    bool from_stdin = strcmp(b->in_path, "-") == 0;
    b->in_name = from_stdin ? "standard input" : b->in_path;
    b->in_fd = from_stdin ? dup(STDIN_FILENO) : open(b->in_path, O_RDONLY | O_CLOEXEC);
    if (b->in_fd < 0 && cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    if (b->in_fd < 0) {
        return cli_failf("%s: cannot open: %s (EIO)", b->in_name, strerror(errno));
    }
    cli_lines_init(&b->lines, b->in_fd, b->in_name, BATCH_LINE_MAX_BYTES);
    b->lines.stopped = batch_stopped;
    b->lines.stopped_user = b;
    return CLI_OK;
}

/// How much there is to do, for the progress bar: a file is read once more, a pipe cannot be.
static void count_prompts(batch *b)
{
    b->n_total = -1;
    if (!isatty(STDERR_FILENO) || lseek(b->in_fd, 0, SEEK_CUR) != 0) {
        return;
    }
    cli_lines lines;
    cli_line line;
    cli_lines_result result;
    int64_t n = 0;
    cli_lines_init(&lines, b->in_fd, b->in_name, BATCH_LINE_MAX_BYTES);
    lines.stopped = batch_stopped;
    lines.stopped_user = b;
    while ((result = cli_lines_next(&lines, &line)) == CLI_LINES_LINE) {
        n += !line.blank;
    }
    cli_lines_fini(&lines);
    if (lseek(b->in_fd, 0, SEEK_SET) == 0 && result == CLI_LINES_END) {
        b->n_total = n;
    }
}

/// The engine, and a first session: options that no session can have are found before the work.
static int open_engine(batch *b)
{
    hsd_error err = cli_no_error();
    int code = cli_generation_begin(&b->g);
    if (code != CLI_OK) {
        return code;
    }
    hsd_model_info *info = malloc(sizeof *info);
    if (!info) {
        return cli_failf("batch: memory could not be allocated (ENOMEM)");
    }
    hsd_status status = hsd_model_inspect(b->g.engine.target_path, info, &err);
    if (status == HSD_OK) {
        b->eos = info->eos;
        b->settings = cli_hash(CLI_HASH_BEGIN, &info->fingerprint, sizeof info->fingerprint);
        status = hsd_engine_open(&b->g.engine, &b->engine, &err);
    }
    free(info);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    b->n_ctx = hsd_engine_n_ctx(b->engine);
    b->settings = cli_hash(b->settings, &b->n_ctx, sizeof b->n_ctx);
    // Another device, other roundings.
    const char *devices[] = {b->g.engine.target_device, b->g.engine.suffix_device};
    for (int i = 0; i < 2; i++) {
        if (devices[i] && strcmp(devices[i], "cpu") != 0) {
            b->settings = cli_hash(b->settings, devices[i], strlen(devices[i]) + 1);
            b->settings = cli_hash(b->settings, &b->g.engine.split_layer, sizeof(int));
        }
    }
    // Another layout, other roundings; the default adds nothing, as older results have it.
    if (b->g.engine.cache_layout != HSD_CACHE_LAYOUT_AUTO || b->g.engine.cache_memory_bytes > 0) {
        b->settings = cli_hash(b->settings, &b->g.engine.cache_layout, sizeof(hsd_cache_layout));
        b->settings = cli_hash(b->settings, &b->g.engine.cache_memory_bytes, sizeof(int64_t));
    }
    b->settings = cli_settings_hash(b->settings, &b->g.session);
    b->sessions[0].how = b->g.session;
    status = hsd_session_open(b->engine, &b->g.session, &b->sessions[0].session, &err);
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

/// Items, queues and free lists. Enough items that every stage finds something to do while the
/// writer waits for a slow one.
static int make_room(batch *b)
{
    bool ok = true;
    b->n_items = 4 * b->n_sessions + 4;
    size_t n = (size_t)b->n_items;
    b->items = calloc(n, sizeof *b->items);
    ok = b->items && cli_queue_init(&b->free_items, n) &&
         cli_queue_init(&b->free_sessions, (size_t)b->n_sessions) &&
         cli_queue_init(&b->prompts, (size_t)b->n_sessions) &&
         cli_queue_init(&b->generated, (size_t)b->n_sessions) && cli_queue_init(&b->rendered, n);
    for (int i = 0; ok && i < b->n_items; i++) {
        b->items[i].prompt = calloc((size_t)b->n_ctx, sizeof *b->items[i].prompt);
        ok = b->items[i].prompt != NULL;
        cli_queue_put(&b->free_items, &b->items[i]);
    }
    for (int i = 0; ok && i < b->n_sessions; i++) {
        cli_queue_put(&b->free_sessions, &b->sessions[i]);
    }
    return ok ? CLI_OK : cli_failf("batch: memory could not be allocated (ENOMEM)");
}

/// What the run came to, after everything has ended.
static int finish(batch *b)
{
    long long n_failed = b->results.n_kept_failed + atomic_load(&b->n_failed);
    if (!batch_results_close(&b->results) && !b->has_error) {
        return cli_failf("%s: cannot write: %s (EIO)", b->results.name, strerror(errno));
    }
    if (b->has_error) {
        return cli_fail(b->error.status, &b->error);
    }
    if (cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    if (n_failed > 0) {
        int64_t first = b->results.first_failed;
        return cli_failf("%s: %lld bad lines, their results say why (EFORMAT, line %lld)",
                         b->in_name, n_failed,
                         first > 0 ? (long long)first : (long long)atomic_load(&b->first_failed));
    }
    return CLI_OK;
}

static int run(batch *b)
{
    int code;
    if ((code = open_input(b)) != CLI_OK || (code = batch_results_open(b)) != CLI_OK ||
        (code = open_engine(b)) != CLI_OK || (code = batch_results_scan(b)) != CLI_OK) {
        return code;
    }
    count_prompts(b);
    if ((code = batch_results_match(b)) != CLI_OK || (code = make_room(b)) != CLI_OK ||
        (code = batch_results_begin(b)) != CLI_OK) {
        return code;
    }
    b->begin_s = batch_now_s();
    batch_run_stages(b);
    batch_summary(b);
    return finish(b);
}

static void batch_init(batch *b)
{
    *b = (batch){.in_path = "-",
                 .out_path = "-",
                 .in_fd = -1,
                 .n_sessions = BATCH_DEFAULT_SESSIONS,
                 .results.fd = -1,
                 .n_total = -1};
    cli_generation_init(&b->g);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->ended, &attr);
    pthread_condattr_destroy(&attr);
}

static void batch_fini(batch *b)
{
    for (int i = 0; b->sessions && i < b->n_sessions; i++) {
        hsd_session_close(&b->sessions[i].session);
    }
    hsd_engine_close(&b->engine);
    cli_generation_end(&b->g);
    for (int i = 0; b->items && i < b->n_items; i++) {
        batch_item_fini(&b->items[i]);
    }
    cli_queue *queues[] = {&b->free_items, &b->free_sessions, &b->prompts, &b->generated,
                           &b->rendered};
    for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) {
        cli_queue_fini(queues[i]);
    }
    free(b->items);
    free(b->sessions);
    cli_lines_fini(&b->lines);
    (void)batch_results_close(&b->results);
    if (b->in_fd >= 0) {
        close(b->in_fd);
    }
    pthread_cond_destroy(&b->ended);
    pthread_mutex_destroy(&b->lock);
}

int cli_batch(int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_generation_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    static batch b;
    batch_init(&b);
    argp_parse(&argp, argc, argv, 0, NULL, &b);
    cli_signals_init();
    b.sessions = calloc((size_t)b.n_sessions, sizeof *b.sessions);
    int code = b.sessions ? run(&b) : cli_failf("batch: memory could not be allocated (ENOMEM)");
    batch_fini(&b);
    return code;
}
