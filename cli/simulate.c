/// `hsd simulate`: what a generation would take on a machine that is only described.
#include "cli/cli.h"
#include "cli/setting.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_TOPOLOGY = 0x200,
    KEY_PROFILE,
    KEY_ACCEPTANCE,
    KEY_DEVICE,
    KEY_SUFFIX_DEVICE,
    KEY_SPLIT_LAYER,
    KEY_DRAFT_DEVICE,
    KEY_WORKER,
    KEY_WORKERS,
    KEY_THREADS,
    KEY_DRAFT_THREADS,
    KEY_PROMPT_TOKENS,
    KEY_ROOTS_FROM,
    KEY_STREAMS,
    KEY_JITTER,
    KEY_TRACE,
    KEY_JSON,
};

enum { N_MODES = 4 };

typedef struct simulate_options {
    hsd_simulate_options o;
    const char *devices[CLI_MAX_WORKERS];
    const char *trace_file;
    bool json;
} simulate_options;

static const struct argp_option options[] = {
    {.doc = "Machine and models:", .group = 1},
    {"topology", KEY_TOPOLOGY, "FILE", 0,
     "description of the machine, see docs/topology.md (default: this machine)", 0},
    {"profile", KEY_PROFILE, "FILE", 0,
     "times of target and draft on its devices, as `hsd profile' writes them", 0},
    {"acceptance", KEY_ACCEPTANCE, "FILE", 0,
     "a profile whose acceptance and hit rates to use (default: those of --profile)", 0},
    {"device", KEY_DEVICE, "NAME", 0, "device of the target, by its name in the description", 0},
    {"suffix-device", KEY_SUFFIX_DEVICE, "NAME", 0, "device of the target's last layers", 0},
    {"split-layer", KEY_SPLIT_LAYER, "N", 0,
     "first layer on --suffix-device (default: half of them)", 0},
    {"draft-device", KEY_DRAFT_DEVICE, "NAME", 0,
     "device of a draft worker; may be repeated, and NAME may be a list with commas", 0},
    {"worker", KEY_WORKER, "NAME", 0,
     "use this worker of the description, by name or endpoint; may be repeated", 0},
    {"workers", KEY_WORKERS, "N", 0, "use only the first N of all these (0: all)", 0},
    {"threads", KEY_THREADS, "N", 0, "threads of the target (0: what the drafts leave)", 0},
    {"draft-threads", KEY_DRAFT_THREADS, "N", 0, "threads of a draft (0: as few as there are)", 0},

    {.doc = "Settings, as of `hsd run':", .group = 2},
    {"mode", CLI_KEY_MODE, "MODE", 0,
     "ar, serial, mirror or async; auto (the default) simulates all of them", 0},
    {"tokens", CLI_KEY_TOKENS, "N", 0, "tokens to generate; default 1024", 0},
    {"prompt-tokens", KEY_PROMPT_TOKENS, "N", 0, "tokens of the prompt; default 16", 0},
    {"draft-kind", CLI_KEY_DRAFT_KIND, "KIND", 0, "auto, model, ngram, early_exit", 0},
    {"with-ngram", CLI_KEY_WITH_NGRAM, 0, 0, "a lookup drafts beside the draft", 0},
    {"window", CLI_KEY_WINDOW, "N", 0, "draft tokens in a chain per pass, 1..16 (0: it adapts)", 0},
    {"tree", CLI_KEY_TREE, "N", 0, "draft tokens per pass as a tree, up to 32 (0: a chain)", 0},
    {"roots", CLI_KEY_ROOTS, "N", 0, "branches per step in mode mirror, 1..64; default 8", 0},
    {"roots-from", KEY_ROOTS_FROM, "SOURCE", 0,
     "whose candidates they are: both (default), draft, or exit (the target's early exit)", 0},
    {"exit", CLI_KEY_EXIT, "LAYER", 0, "early-exit layer (0: half of them)", 0},
    {"seed", CLI_KEY_SEED, "N", 0, "of the text: which drafted tokens are right", 0},

    {.doc = "What there is not to measure:", .group = 3},
    {"streams", KEY_STREAMS, "X", 0,
     "tokens that one call of the draft yields in a row (speculative streaming); default 1", 0},
    {"jitter", KEY_JITTER, "X", 0, "standard deviation of times over their means; default 0", 0},

    {.doc = "Output:", .group = 4},
    {"trace", KEY_TRACE, "FILE", 0,
     "write the simulated run of --mode to FILE, for "
     "ui.perfetto.dev",
     0},
    {"json", KEY_JSON, 0, 0, "print one JSON object", 0},
    {0},
};

static const char doc[] =
    "Simulate a generation on a machine that is only described: the pipelines are the real ones, "
    "time is virtual, passes take what a profile says and drafts are right as often as it says. "
    "No model is loaded and no text made."
    "\v"
    "Examples:\n"
    "  hsd simulate --topology machine.yaml --profile profile.yaml --window 3\n"
    "  hsd simulate --profile profile.yaml --mode mirror --trace simulated.json\n"
    "\n" CLI_EXIT_CODES;

static void add_device(simulate_options *s, char *name, const struct argp_state *state)
{
    for (char *item = strsep(&name, ","); item; item = strsep(&name, ",")) {
        if (s->o.n_draft_devices == CLI_MAX_WORKERS) {
            argp_error(state, "more than %d draft devices", CLI_MAX_WORKERS);
            return;
        }
        s->devices[s->o.n_draft_devices++] = item;
    }
    s->o.draft_devices = s->devices;
}

static hsd_roots_from parse_source(const struct argp_state *state, const char *text)
{
    static const char *const names[] = {"both", "draft", "exit"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (hsd_roots_from)i;
        }
    }
    argp_error(state, "--roots-from: '%s' is none of both, draft, exit", text);
    return HSD_ROOTS_FROM_BOTH;
}

static error_t parse_device(int key, char *arg, const struct argp_state *state, simulate_options *s)
{
    hsd_simulate_options *o = &s->o;
    switch (key) {
    case KEY_DEVICE:
        o->target_device = arg;
        return 0;
    case KEY_SUFFIX_DEVICE:
        o->suffix_device = arg;
        return 0;
    case KEY_SPLIT_LAYER:
        o->split_layer = (int)cli_parse_int(state, "--split-layer", arg, 0, INT_MAX);
        return 0;
    case KEY_DRAFT_DEVICE:
    case KEY_WORKER:
        add_device(s, arg, state);
        return 0;
    case KEY_WORKERS:
        o->n_workers = (int)cli_parse_int(state, "--workers", arg, 0, CLI_MAX_WORKERS);
        return 0;
    case KEY_THREADS:
        o->n_threads = (int)cli_parse_int(state, "--threads", arg, 0, 4096);
        return 0;
    case KEY_DRAFT_THREADS:
        o->n_draft_threads = (int)cli_parse_int(state, "--draft-threads", arg, 0, 4096);
        return 0;
    default:
        return cli_parse_setting(key, arg, state, &o->session);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    simulate_options *s = state->input;
    switch (key) {
    case KEY_TOPOLOGY:
        s->o.topology_path = arg;
        return 0;
    case KEY_PROFILE:
        s->o.profile_path = arg;
        return 0;
    case KEY_ACCEPTANCE:
        s->o.acceptance_path = arg;
        return 0;
    case KEY_PROMPT_TOKENS:
        s->o.n_prompt = (int)cli_parse_int(state, "--prompt-tokens", arg, 1, 100000);
        return 0;
    case KEY_ROOTS_FROM:
        s->o.session.roots_from = parse_source(state, arg);
        return 0;
    case KEY_STREAMS:
        s->o.streams = cli_parse_real(state, "--streams", arg, 1, 64);
        return 0;
    case KEY_JITTER:
        s->o.jitter = cli_parse_real(state, "--jitter", arg, 0, 1);
        return 0;
    case KEY_TRACE:
        s->trace_file = arg;
        return 0;
    case KEY_JSON:
        s->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (!s->o.profile_path) {
            argp_error(state, "--profile is needed: how long do target and draft take?");
        } else if (s->trace_file && s->o.session.mode == HSD_MODE_AUTO) {
            argp_error(state, "--trace goes with one --mode");
        }
        return 0;
    default:
        return parse_device(key, arg, state, s);
    }
}

static double part(int64_t n, int64_t of)
{
    return of > 0 ? (double)n / (double)of : 0.0;
}

static double speedup(const hsd_simulation *s)
{
    return s->ar_tokens_per_s > 0.0 ? s->stats.tokens_per_s / s->ar_tokens_per_s : 0.0;
}

static void print_line(const hsd_simulation *s)
{
    const hsd_stats *t = &s->stats;
    char hits[16] = "-";
    if (t->mode == HSD_MODE_MIRROR) {
        snprintf(hits, sizeof hits, "%.0f %%", 100.0 * part(t->hits, t->hits + t->misses));
    }
    cli_outf("%-8s%10.1f%8.2f%13.2f%10.0f %%%10s%10.3f%10.3f%9.0f %%%8.0f %%\n",
             hsd_mode_name(t->mode), t->tokens_per_s, speedup(s), part(t->n_tokens, t->steps),
             100.0 * part(t->accepted, t->drafted), hits, s->step_s * 1e3, s->step_p95_s * 1e3,
             100.0 * s->target_busy, 100.0 * s->draft_busy);
}

static void print_table(const hsd_simulation *runs, int n)
{
    const hsd_simulation *last = &runs[n - 1];
    int best = 0;
    cli_outf("target on %s, %d draft worker%s", last->target, last->n_workers,
             last->n_workers == 1 ? "" : "s");
    cli_outf(last->draft[0] ? ", the first on %s; times %s\n\n" : "%s; times %s\n\n", last->draft,
             last->is_measured ? "measured" : "estimated");
    cli_outf("mode      tokens/s    x ar  tokens/step    accepted  hit rate   step ms    95th ms"
             "    target   draft\n");
    for (int i = 0; i < n; i++) {
        print_line(&runs[i]);
        best = runs[i].stats.tokens_per_s > runs[best].stats.tokens_per_s ? i : best;
    }
    if (n > 1) {
        cli_outf("\nfastest: %s\n", hsd_mode_name(runs[best].stats.mode));
    }
}

static json_t *json_of(const hsd_simulation *s)
{
    return json_pack("{s:s, s:s, s:i, s:b, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:o}",
                     "target", s->target, "draft", s->draft, "workers", s->n_workers, "measured",
                     (int)s->is_measured, "ar_tokens_per_s", s->ar_tokens_per_s, "law_tokens_per_s",
                     s->law_tokens_per_s, "ratio_to_ar", speedup(s), "step_ms", s->step_s * 1e3,
                     "step_p95_ms", s->step_p95_s * 1e3, "step_p99_ms", s->step_p99_s * 1e3,
                     "target_busy", s->target_busy, "draft_busy", s->draft_busy, "frames",
                     (json_int_t)s->n_frames, "bytes", (json_int_t)s->n_bytes, "stats",
                     cli_json_stats(&s->stats));
}

static int print_json(const hsd_simulation *runs, int n)
{
    json_t *modes = json_array();
    for (int i = 0; modes && i < n; i++) {
        if (json_array_append_new(modes, json_of(&runs[i])) != 0) {
            json_decref(modes);
            modes = NULL;
        }
    }
    return cli_print_json(json_pack("{s:o}", "modes", modes));
}

static int simulate_all(simulate_options *s, hsd_simulation *runs, int *n)
{
    hsd_mode wanted = s->o.session.mode;
    hsd_error err = cli_no_error();
    for (hsd_mode mode = HSD_MODE_AR; mode <= HSD_MODE_ASYNC; mode++) {
        if (wanted == HSD_MODE_AUTO || wanted == mode) {
            s->o.session.mode = mode;
            hsd_status status = hsd_simulate(&s->o, &runs[*n], &err);
            if (status != HSD_OK) {
                return cli_fail(status, &err);
            }
            ++*n;
        }
    }
    return CLI_OK;
}

int cli_simulate(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    simulate_options s = {0};
    hsd_simulation runs[N_MODES];
    int n = 0;
    hsd_simulate_options_init(&s.o);
    argp_parse(&argp, argc, argv, 0, NULL, &s);
    int code = cli_trace_begin("hsd simulate", s.trace_file, &s.o.trace);
    if (code == CLI_OK) {
        code = simulate_all(&s, runs, &n);
        code = cli_trace_end(&s.o.trace, s.trace_file, code);
    }
    if (code != CLI_OK) {
        return code;
    }
    if (s.json) {
        return print_json(runs, n);
    }
    print_table(runs, n);
    return cli_close_stdout();
}
