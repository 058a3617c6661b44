/// `hsd profile`: measure target and draft on every device, piece by piece in processes of their
/// own.
#include "cli/profile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_JSON = 0x200,
    KEY_OUT,
    KEY_QUICK,
    KEY_SECONDS,
    KEY_PATIENCE,
    KEY_PIECE,
    KEY_PARENT,
    KEY_SKIP,
    KEY_REPORT,
    KEY_TOPOLOGY,
    KEY_TRACE
};

static const struct argp_option options[] = {
    {.doc = "Measuring:", .group = 1},
    {"quick", KEY_QUICK, 0, 0, "fewer repeats and at most 16 rows; some seconds", 0},
    {"seconds", KEY_SECONDS, "S", 0, "time for all of it, about; default 60, with --quick 12", 0},
    {"patience", KEY_PATIENCE, "S", 0,
     "a measurement that has not ended after S seconds hangs, and is ended; default 300", 0},
    {"topology", KEY_TOPOLOGY, "FILE", 0,
     "a description of this machine (docs/topology.md), for the names of its devices", 0},
    {"out", KEY_OUT, "FILE", 0, "where to write the profile; default profile.yaml", 0},
    {"prompt", 'p', "TEXT", 0,
     "a text to continue, for acceptance, or of the report; may be repeated", 0},
    {"tokens", CLI_KEY_TOKENS, "N", 0,
     "tokens to generate for acceptance (default 384, with --quick 96) or for the report (128)", 0},
    {"json", KEY_JSON, 0, 0, "print the profile as one JSON object", 0},
    {"piece", KEY_PIECE, "N", OPTION_HIDDEN, "measure one piece of the profile on stdin", 0},
    {"parent", KEY_PARENT, "PID", OPTION_HIDDEN, "end with this process", 0},
    {"skip", KEY_SKIP, "N", OPTION_HIDDEN, "drivers that are not listed", 0},
    {"verbose", 'v', 0, 0, "log lines on stderr", 0},
    {.doc = "A report of one run instead:", .group = 2},
    {"report", KEY_REPORT, "FILE", 0,
     "generate from --prompt and write one HTML page: what both pipelines did when, waits, "
     "acceptance, hits, latencies",
     0},
    {"mode", CLI_KEY_MODE, "MODE", 0, "as of `hsd run'", 0},
    {"trace", KEY_TRACE, "FILE", 0, "write its trace too, as `hsd run --trace'", 0},
    {0},
};

static const char doc[] =
    "Measure how long target and draft take on every device, alone and beside each other, what "
    "messages cost, and how often the draft is right. The profile is written to a file, and kept "
    "for `hsd plan' and mode auto. --device, --draft-device and --threads may be repeated; without "
    "them all devices and thread counts are measured. A device whose driver crashes or hangs is "
    "reported and left out."
    "\v"
    "Examples:\n"
    "  hsd profile --quick\n"
    "  hsd profile --target big.gguf --draft small.gguf --device opencl:0\n"
    "  hsd profile --report run.html --prompt \"Once upon a time\" --mode mirror\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    profile_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->g;
        return 0;
    case 'p':
        if (o->measured.n_prompts == PROFILE_MAX_PROMPTS) {
            argp_error(state, "--prompt: more than %d", PROFILE_MAX_PROMPTS);
        }
        o->prompts[o->measured.n_prompts++] = arg;
        return 0;
    case CLI_KEY_TOKENS:
        o->has_tokens = true;
        return cli_parse_setting(key, arg, state, &o->g.session);
    case CLI_KEY_MODE:
        return cli_parse_setting(key, arg, state, &o->g.session);
    case KEY_QUICK:
        o->measured.quick = true;
        return 0;
    case KEY_SECONDS:
        o->measured.seconds = cli_parse_real(state, "--seconds", arg, 0.1, 86400);
        return 0;
    case KEY_PATIENCE:
        o->n_seconds_most = (int)cli_parse_int(state, "--patience", arg, 1, 86400);
        return 0;
    case KEY_TOPOLOGY:
        o->measured.topology_path = arg;
        return 0;
    case KEY_OUT:
        o->out_file = arg;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_PIECE:
        o->piece = arg;
        return 0;
    case KEY_PARENT:
        o->parent = (int)cli_parse_int(state, "--parent", arg, 1, INT_MAX);
        return 0;
    case KEY_SKIP:
        o->measured.skip = (int)cli_parse_int(state, "--skip", arg, 0, 3);
        return 0;
    case KEY_REPORT:
        o->report_file = arg;
        return 0;
    case KEY_TRACE:
        o->trace_file = arg;
        return 0;
    case 'v':
        o->g.verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (o->report_file && o->measured.n_prompts > 1) {
            argp_error(state, "--report is of one --prompt");
        } else if (o->trace_file && !o->report_file) {
            argp_error(state, "--trace goes with --report");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/// The options of the library from those of the command line.
static void fill_measured(profile_options *o)
{
    hsd_profile_options *m = &o->measured;
    int n = 0;
    qsort(o->g.threads, (size_t)o->g.n_threads, sizeof o->g.threads[0], compare_ints);
    for (int i = 0; i < o->g.n_threads; i++) {
        if (n == 0 || o->g.threads[i] != o->g.threads[n - 1]) {
            o->g.threads[n++] = o->g.threads[i];
        }
    }
    m->target_path = o->g.engine.target_path;
    m->draft_path = o->g.engine.draft_path;
    m->devices = o->g.devices;
    m->n_devices = o->g.n_devices;
    m->draft_devices = o->g.draft_devices;
    m->n_draft_devices = o->g.n_draft_devices;
    m->threads = o->g.threads;
    m->n_threads = n;
    m->prompts = o->prompts;
    m->n_tokens = o->has_tokens ? o->g.session.n_tokens : 0;
    m->log = cli_log;
    m->log_user = &o->g.verbose;
}

static int print(const hsd_profile *profile, hsd_profile_format format)
{
    hsd_error err = cli_no_error();
    char *text = NULL;
    size_t n = 0;
    hsd_status status = hsd_profile_print(profile, format, &text, &n, &err);
    int code = status != HSD_OK ? cli_fail(status, &err) : cli_out(text, n) ? CLI_OK : CLI_FAILURE;
    free(text);
    return code;
}

/// In a child: measure one piece and print what it found.
static int run_piece(const profile_options *o)
{
    hsd_error err = cli_no_error();
    hsd_profile *about = NULL, *found = NULL;
    hsd_status status;
    if (o->parent > 0 && !profile_follow_parent(o->parent)) {
        return CLI_INTERRUPTED;
    }
    if (strcmp(o->piece, "begin") == 0) {
        status = hsd_profile_begin(&o->measured, &found, &err);
    } else {
        cli_text text;
        int code = cli_read_text("-", &text);
        if (code != CLI_OK) {
            return code;
        }
        status = hsd_profile_parse(text.bytes, text.n_bytes, "standard input", &about, &err);
        if (status == HSD_OK) {
            status = hsd_profile_measure(&o->measured, about, atoi(o->piece), &found, &err);
        }
        free(text.bytes);
    }
    int code = status == HSD_OK ? print(found, HSD_PROFILE_YAML) : cli_fail(status, &err);
    hsd_profile_free(&about);
    hsd_profile_free(&found);
    return code;
}

/// A profile from a child's answer, whose text is freed; NULL and a reason where it is none.
static hsd_profile *take(profile_answer *answer)
{
    hsd_error err = cli_no_error();
    hsd_profile *found = NULL;
    if (answer->text && hsd_profile_parse(answer->text, answer->n_bytes, "the measuring process",
                                          &found, &err) != HSD_OK) {
        snprintf(answer->reason, sizeof answer->reason, "%.150s", err.message);
    }
    free(answer->text);
    answer->text = NULL;
    return found;
}

static int measure_piece(const profile_options *o, hsd_profile *profile, int i, const char *about,
                         size_t n_about)
{
    char number[16], name[160];
    profile_answer answer;
    hsd_error err = cli_no_error();
    hsd_profile_piece_name(&o->measured, profile, i, name, sizeof name);
    if (!hsd_profile_piece_is_open(&o->measured, profile, i)) {
        return CLI_OK;
    }
    fprintf(stderr, "hsd: %d/%d %s\n", i + 1, hsd_profile_n_pieces(&o->measured, profile), name);
    snprintf(number, sizeof number, "%d", i);
    int code = profile_ask_child(o, number, 0, about, n_about, &answer);
    hsd_profile *found = take(&answer);
    if (code == CLI_OK && found) {
        hsd_status status = hsd_profile_join(profile, found, &err);
        code = status == HSD_OK ? CLI_OK : cli_fail(status, &err);
    } else if (code == CLI_OK) {
        fprintf(stderr, "hsd: warning: %s: not measured: %s\n", name, answer.reason);
        hsd_profile_fail(&o->measured, profile, i, answer.reason);
    }
    hsd_profile_free(&found);
    return code;
}

static int finish(const profile_options *o, const hsd_profile *profile)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_profile_write(profile, o->out_file, &err);
    int code = status == HSD_OK ? CLI_OK : cli_fail(status, &err);
    status = hsd_profile_keep(profile, &err);
    if (status != HSD_OK) {
        int failed = cli_fail(status, &err);
        code = code == CLI_OK ? failed : code;
    }
    int printed = print(profile, o->json ? HSD_PROFILE_JSON : HSD_PROFILE_TABLE);
    if (code == CLI_OK) {
        fprintf(stderr, "hsd: written to %s\n", o->out_file);
    }
    return code == CLI_OK ? printed : code;
}

/// The devices that there are. Where a driver ends the process that asks, or holds it, those of its
/// kind are left out.
static int begin(const profile_options *o, hsd_profile **out)
{
    static const struct {
        int skip;
        const char *what;
    } tries[] = {{0, ""},
                 {HSD_PROFILE_SKIP_OPENCL, "OpenCL"},
                 {HSD_PROFILE_SKIP_LEVEL_ZERO, "Level Zero"},
                 {HSD_PROFILE_SKIP_OPENCL | HSD_PROFILE_SKIP_LEVEL_ZERO, "OpenCL and Level Zero"}};
    char first[PROFILE_REASON_BYTES] = "";
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        profile_answer answer;
        int code = profile_ask_child(o, "begin", tries[i].skip, "", 0, &answer);
        if (code != CLI_OK) {
            return code;
        }
        *out = take(&answer);
        if (*out && i > 0) {
            fprintf(stderr, "hsd: warning: devices of %s are left out, asking for them: %s\n",
                    tries[i].what, first);
        }
        if (*out) {
            return CLI_OK;
        }
        if (i == 0) {
            snprintf(first, sizeof first, "%s", answer.reason);
        }
        if (!answer.has_crashed) {
            return cli_failf("%s", answer.reason);
        }
    }
    return cli_failf("%s", first);
}

static int measure_all(const profile_options *o)
{
    hsd_error err = cli_no_error();
    hsd_profile *profile = NULL;
    char *about = NULL;
    size_t n_about = 0;
    int code = begin(o, &profile);
    if (code != CLI_OK) {
        return code;
    }
    hsd_status status = hsd_profile_print(profile, HSD_PROFILE_YAML, &about, &n_about, &err);
    code = status == HSD_OK ? CLI_OK : cli_fail(status, &err);
    int n = hsd_profile_n_pieces(&o->measured, profile);
    for (int i = 0; i < n && code == CLI_OK; i++) {
        code = measure_piece(o, profile, i, about, n_about);
    }
    code = code == CLI_OK ? finish(o, profile) : code;
    free(about);
    hsd_profile_free(&profile);
    return code;
}

int cli_profile(int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_generation_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    profile_options o = {.out_file = "profile.yaml", .n_seconds_most = 300};
    cli_generation_init(&o.g);
    hsd_profile_options_init(&o.measured);
    o.argc = argc;
    // argp sorts the arguments; children get them as they were given.
    o.argv = calloc((size_t)argc + 1, sizeof *o.argv);
    if (!o.argv) {
        return cli_failf("profile: memory could not be allocated (ENOMEM)");
    }
    memcpy(o.argv, argv, (size_t)argc * sizeof *argv);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    cli_signals_init();
    fill_measured(&o);
    int code = o.piece ? run_piece(&o) : o.report_file ? profile_report(&o) : measure_all(&o);
    free(o.argv);
    return code;
}
