/// `hsd bench`: options and order of the measurements.
#include "cli/bench.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_MODES = 0x200,
    KEY_REPEATS,
    KEY_SESSIONS,
    KEY_ROWS,
    KEY_PAST,
    KEY_PREFILL,
    KEY_RENDEZVOUS,
    KEY_JSON,
    KEY_COVERAGE,
    KEY_WITH_TREE,
    KEY_WITH_RATIO,
    KEY_PER_FAMILY,
    KEY_KERNELS,
    KEY_FAMILIES,
    KEY_HITS,
};

/// Written for this file. The last ones have the form of the tasks that the shipped pair knows.
static const char *const default_prompts[] = {
    "Once upon a time there was a little girl who lived near a great forest.",
    "The old man opened the door, looked at the sea, and said",
    "### User:\nWhat is 12 plus 30?\n\n### Assistant:\n",
    "### User:\nTell me about a day in the garden.\n\n### Assistant:\n",
};

static const struct argp_option options[] = {
    {.doc = "What to measure:", .group = 1},
    {"prompt", 'p', "TEXT", 0, "a text to continue; may be repeated (default: four built in)", 0},
    {"prompt-file", 'f', "FILE", 0, "read one from FILE; may be repeated", 0},
    {"tokens", 'n', "N", 0, "most tokens per prompt; default 128", 0},
    {"repeats", KEY_REPEATS, "N", 0, "repeats, whose medians are printed; default 5", 0},
    {"modes", KEY_MODES, "LIST", 0, "modes to compare, or none; default ar,serial,mirror,async", 0},
    {"sessions", KEY_SESSIONS, "LIST", 0,
     "also run so many sessions at once in each mode: 1,2,4,8,16", 0},
    {"with-tree", KEY_WITH_TREE, "N", 0,
     "also run each drafting mode with windows that are trees of N tokens", 0},
    {"with-ratio", KEY_WITH_RATIO, 0, 0,
     "also run each drafting mode by the ratio rule; needs --temp", 0},
    {"prefill", KEY_PREFILL, "N", 0, "length of the measured prefill (0: none); default 128", 0},
    {"rendezvous", KEY_RENDEZVOUS, "N", 0,
     "steps of the pipelines' own cost (0: none); default 2000", 0},
    {"rows", KEY_ROWS, "LIST", 0,
     "time target passes of these row counts: 1,2,4,8,16; alone, nothing else is measured", 0},
    {"past", KEY_PAST, "N", 0, "context of these passes; default 64", 0},
    {"coverage", KEY_COVERAGE, "FILE", 0,
     "only measure how often outcomes are among the roots of mode mirror, and hit a branch, for "
     "the prompts of a JSON lines file (prompt, family)",
     0},
    {"per-family", KEY_PER_FAMILY, "N", 0, "prompts of each family for --coverage; default 8", 0},
    {"kernels", KEY_KERNELS, 0, 0,
     "only measure products of a 1.1B model's shape beside plain reading, on --device or on every "
     "device",
     0},
    {"families", KEY_FAMILIES, "LIST", 0, "only these families for --coverage; default all", 0},
    {"hits", KEY_HITS, "LIST", 0,
     "budgets of roots whose hits --coverage counts, or none; default 1,2,4,8,16,32", 0},
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {"verbose", 'v', 0, 0, "log lines on stderr", 0},
    {0},
};

static const char doc[] =
    "Compare the modes side by side: the repeats of all modes are interleaved in one run, the "
    "tokens of all modes must be equal (else exit code 1), and medians are printed. Also measured: "
    "the prefill, the pipelines' own cost per step over inproc and ipc beside a bare ZeroMQ round "
    "trip, with --sessions throughput and latency of many sessions at once (each must make the "
    "tokens of its own run in mode ar), and with --rows the cost of a target pass by its number of "
    "rows."
    "\v"
    "Examples:\n"
    "  hsd bench\n"
    "  hsd bench --target big.gguf --draft small.gguf --threads 2 --repeats 9\n"
    "  hsd bench --modes ar,mirror --window 7 --roots 16 --json\n"
    "  hsd bench --modes ar --prefill 0 --rendezvous 0 --sessions 1,2,4,8,16\n"
    "  hsd bench --rows 1,2,4,8,16 --target big.gguf --threads 2 --json\n"
    "  hsd bench --kernels --device opencl\n"
    "\n" CLI_EXIT_CODES " With --coverage: 4 both sources of roots are worse than one.";

static void parse_modes(bench *b, struct argp_state *state, const char *arg)
{
    b->n_modes = 0;
    char *copy = strcmp(arg, "none") == 0 ? NULL : strdup(arg);
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item; item = strsep(&rest, ",")) {
        hsd_mode mode = cli_parse_mode(state, "--modes", item);
        bool again = b->n_modes == BENCH_MAX_MODES;
        for (int i = 0; i < b->n_modes; i++) {
            again = again || b->modes[i].mode == mode;
        }
        if (again) {
            argp_error(state, "--modes: give ar, serial, mirror, async and auto at most once each");
            break;
        }
        b->modes[b->n_modes++].mode = mode;
    }
    free(copy);
}

static void add_text(bench *b, struct argp_state *state, const char *text)
{
    if (b->n_prompts == BENCH_MAX_PROMPTS) {
        argp_error(state, "more than %d prompts", BENCH_MAX_PROMPTS);
        return;
    }
    cli_text *t = &b->texts[b->n_prompts++];
    t->bytes = strdup(text);
    t->n_bytes = t->bytes ? strlen(text) : 0;
}

static void add_default_prompts(bench *b, struct argp_state *state)
{
    size_t n = b->n_prompts > 0 ? 0 : sizeof default_prompts / sizeof default_prompts[0];
    for (size_t i = 0; i < n; i++) {
        add_text(b, state, default_prompts[i]);
    }
}

static void add_file(bench *b, struct argp_state *state, const char *path)
{
    if (b->n_prompts == BENCH_MAX_PROMPTS) {
        argp_error(state, "more than %d prompts", BENCH_MAX_PROMPTS);
        return;
    }
    int code = cli_read_text(path, &b->texts[b->n_prompts]);
    if (code != CLI_OK) {
        exit(code);
    }
    b->n_prompts++;
}

/// The modes as they are, then with trees, then by the ratio rule.
static void add_variants(bench *b, struct argp_state *state)
{
    if (b->g.session.sampling.rule != HSD_RULE_COUPLED) {
        argp_error(state, "--rule: all texts are compared; --with-ratio adds runs by that rule");
    }
    if (b->with_ratio && b->g.session.sampling.temperature <= 0) {
        argp_error(state, "--with-ratio: without --temp there is nothing to draw");
    }
    b->n_runs = b->n_modes;
    for (int i = 0; i < b->n_modes && b->with_tree > 0; i++) {
        if (b->modes[i].mode != HSD_MODE_AR) {
            b->modes[b->n_runs++] = (bench_mode){.mode = b->modes[i].mode, .tree = b->with_tree};
        }
    }
    for (int i = 0; i < b->n_modes && b->with_ratio; i++) {
        if (b->modes[i].mode != HSD_MODE_AR) {
            b->modes[b->n_runs++] = (bench_mode){.mode = b->modes[i].mode, .by_ratio = true};
        }
    }
}

static error_t parse_numbers(int key, char *arg, struct argp_state *state)
{
    bench *b = state->input;
    switch (key) {
    case 'n':
        b->g.session.n_tokens = (int)cli_parse_int(state, "--tokens", arg, 1, INT_MAX);
        return 0;
    case KEY_REPEATS:
        b->n_repeats = (int)cli_parse_int(state, "--repeats", arg, 1, BENCH_MAX_REPEATS);
        return 0;
    case KEY_SESSIONS:
        b->only_rows = false;
        b->n_counts = cli_parse_ints(state, "--sessions", arg, 1, BENCH_MAX_SESSIONS, b->counts,
                                     BENCH_MAX_COUNTS);
        return 0;
    case KEY_ROWS:
        b->n_rows = cli_parse_ints(state, "--rows", arg, 1, 1 << 20, b->rows, BENCH_MAX_ROWS);
        return 0;
    case KEY_PAST:
        b->n_past = (int)cli_parse_int(state, "--past", arg, 0, INT_MAX);
        return 0;
    case KEY_PREFILL:
        b->only_rows = false;
        b->n_prefill = (int)cli_parse_int(state, "--prefill", arg, 0, 1 << 24);
        return 0;
    case KEY_PER_FAMILY:
        b->n_per_family = (int)cli_parse_int(state, "--per-family", arg, 1, INT_MAX);
        return 0;
    case KEY_HITS:
        b->n_hits = strcmp(arg, "none") == 0
                        ? 0
                        : cli_parse_ints(state, "--hits", arg, 1, 64, b->hits, BENCH_MAX_COUNTS);
        return 0;
    case KEY_RENDEZVOUS:
        b->only_rows = false;
        b->n_rendezvous = (int)cli_parse_int(state, "--rendezvous", arg, 0, 10000000);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bench *b = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &b->g;
        return 0;
    case 'p':
        add_text(b, state, arg);
        return 0;
    case 'f':
        add_file(b, state, arg);
        return 0;
    case KEY_MODES:
        b->only_rows = false;
        parse_modes(b, state, arg);
        return 0;
    case KEY_WITH_TREE:
        b->with_tree = (int)cli_parse_int(state, "--with-tree", arg, 1, 32);
        return 0;
    case KEY_WITH_RATIO:
        b->with_ratio = true;
        return 0;
    case KEY_COVERAGE:
        b->coverage_path = arg;
        return 0;
    case KEY_KERNELS:
        b->kernels = true;
        return 0;
    case KEY_FAMILIES:
        b->families = arg;
        return 0;
    case KEY_JSON:
        b->json = true;
        return 0;
    case 'v':
        b->g.verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (b->only_rows && b->n_rows > 0) {
            b->n_modes = b->n_prefill = b->n_rendezvous = 0;
        }
        add_default_prompts(b, state);
        add_variants(b, state);
        if (b->n_counts > 0 && b->n_modes == 0) {
            argp_error(state, "--sessions needs a mode: --modes is none");
        }
        return 0;
    default:
        return parse_numbers(key, arg, state);
    }
}

static int tokenize_prompts(bench *b, const hsd_engine *engine)
{
    for (int i = 0; i < b->n_prompts; i++) {
        bench_prompt *p = &b->prompts[i];
        int code =
            cli_tokenize(engine, b->texts[i].bytes, b->texts[i].n_bytes, &p->tokens, &p->n_tokens);
        if (code != CLI_OK) {
            return code;
        }
        if (p->n_tokens == 0) {
            return cli_failf("bench: prompt %d has no tokens (EINVAL)", i + 1);
        }
    }
    return CLI_OK;
}

static int measure(bench *b)
{
    hsd_error err = cli_no_error();
    hsd_engine *engine = NULL;
    hsd_status status = hsd_engine_open(&b->g.engine, &engine, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    if (b->coverage_path) {
        int result = bench_coverage(b, engine);
        hsd_engine_close(&engine);
        return result;
    }
    int code = tokenize_prompts(b, engine);
    if (code == CLI_OK && b->n_modes > 0) {
        code = bench_measure_modes(b, engine);
    }
    if (code == CLI_OK && b->n_counts > 0) {
        code = bench_measure_sessions(b, engine);
    }
    if (code == CLI_OK && b->n_prefill > 0) {
        code = bench_measure_prefill(b, engine);
    }
    if (code == CLI_OK) {
        code = bench_measure_overlap(b, engine);
    }
    if (code == CLI_OK && b->n_rows > 0) {
        code = bench_measure_rows(b, engine);
    }
    hsd_engine_close(&engine);
    if (code == CLI_OK && b->n_rendezvous > 0) {
        code = bench_measure_rendezvous(b);
    }
    return code;
}

static void bench_fini(bench *b)
{
    for (int i = 0; i < b->n_prompts; i++) {
        free(b->texts[i].bytes);
        free(b->prompts[i].tokens);
        free(b->prompts[i].expected);
    }
    for (int i = 0; i < BENCH_MAX_RUNS; i++) {
        free(b->modes[i].samples);
    }
    for (int i = 0; i < b->n_loads; i++) {
        free(b->loads[i].rates);
    }
}

int cli_bench(int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_generation_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    static bench b;
    cli_generation_init(&b.g);
    b.n_repeats = 5;
    b.n_per_family = 8;
    for (int n = 1; n <= 32; n *= 2) {
        b.hits[b.n_hits++] = n;
    }
    b.n_past = 64;
    b.n_prefill = 128;
    b.n_rendezvous = 2000;
    b.only_rows = true;
    b.modes[b.n_modes++].mode = HSD_MODE_AR;
    b.modes[b.n_modes++].mode = HSD_MODE_SERIAL;
    b.modes[b.n_modes++].mode = HSD_MODE_MIRROR;
    b.modes[b.n_modes++].mode = HSD_MODE_ASYNC;
    cli_signals_init();
    argp_parse(&argp, argc, argv, 0, NULL, &b);
    int code = cli_generation_begin(&b.g);
    if (code == CLI_OK) {
        code = b.kernels ? bench_kernels(&b) : measure(&b);
    }
    if (code == CLI_OK && !b.coverage_path && !b.kernels) {
        code = bench_print(&b);
    }
    bench_fini(&b);
    cli_generation_end(&b.g);
    return code;
}
