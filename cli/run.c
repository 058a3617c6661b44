/// `hsd run`: continue a prompt, streaming the text to stdout.
#include "cli/setting.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_JSON = 0x200, KEY_TRACE, KEY_PARK, KEY_PARK_AS, KEY_PARK_NO_DRAFT, KEY_RESUME };

typedef struct run_options {
    cli_generation g;
    const char *prompt;
    const char *prompt_file;
    const char *trace_file;
    const char *park_file, *resume_file;
    const char *park_asked; ///< an option that says how; NULL: none
    hsd_park_options park;
    bool json;
} run_options;

/// What a generation printed so far.
typedef struct run_output {
    cli_output made;
    bool stream;   ///< print text as it comes
    bool progress; ///< count tokens on stderr
    bool failed;   ///< printing or memory failed, and it was said
} run_output;

static const struct argp_option options[] = {
    {.doc = "Text:", .group = 1},
    {"prompt", 'p', "TEXT", 0, "the text to continue", 0},
    {"prompt-file", 'f', "FILE", 0, "read it from FILE; - is standard input", 0},
    {"tokens", CLI_KEY_TOKENS, "N", 0,
     "most tokens to generate (0: until the context is full); default 128", 0},
    {"mode", CLI_KEY_MODE, "MODE", 0,
     "auto, ar (target alone), serial (draft, then verify), mirror (both at once), async (the "
     "target never waits for the draft); default auto. The text is the same in every mode",
     0},
    {"park", KEY_PARK, "FILE", 0,
     "write text, sampling and caches to FILE at the end, also of an interrupted generation", 0},
    {"park-as", KEY_PARK_AS, "FORM", 0,
     "with --park: kv (what the caches hold), h (what enters each layer, of which caches are made "
     "again: half of f32 keys and values where heads share none, and about the time of the "
     "prompt), "
     "auto (h where the file gets a quarter smaller); default kv. The text goes on the same",
     0},
    {"park-no-draft", KEY_PARK_NO_DRAFT, 0, 0,
     "with --park: leave out what the draft's caches hold; it reads the text again then", 0},
    {"resume", KEY_RESUME, "FILE", 0,
     "go on from a parked text, instead of from a prompt; sampling is the file's", 0},
    {"json", KEY_JSON, 0, 0, "print one JSON object instead of streaming text", 0},
    {"trace", KEY_TRACE, "FILE", 0,
     "write what both pipelines did when to FILE, for ui.perfetto.dev; see docs/pipelines.md", 0},
    {"verbose", 'v', 0, 0, "statistics and log lines on stderr also when it is no terminal", 0},
    {0},
};

static const char doc[] =
    "Continue a prompt. The text goes to standard output as it is made; it ends with a newline. "
    "Statistics go to standard error when that is a terminal. Without --prompt and --prompt-file "
    "the prompt is read from standard input, unless that is a terminal."
    "\v"
    "Examples:\n"
    "  hsd run --prompt \"Once upon a time\"\n"
    "  hsd run --prompt \"Once upon a time\" --mode mirror --temp 0.8 --seed 7\n"
    "  hsd run --target big.gguf --draft small.gguf --prompt-file story.txt -n 500\n"
    "  echo \"Once upon a time\" | hsd run --json\n"
    "  hsd run --prompt \"Once upon a time\" --park tale.hsd\n"
    "  hsd run --resume tale.hsd\n"
    "\n"
    "With a draft in a process of its own:\n"
    "  hsd worker --listen ipc:///tmp/hsd.sock &\n"
    "  hsd run --worker ipc:///tmp/hsd.sock --prompt \"Once upon a time\"\n"
    "\n" CLI_EXIT_CODES;

/// Was anything said that changes which token is chosen?
static bool has_sampling(const cli_generation *g)
{
    cli_generation plain;
    cli_generation_init(&plain);
    plain.session.n_tokens = g->session.n_tokens;
    return cli_settings_hash(0, &plain.session) != cli_settings_hash(0, &g->session) ||
           plain.session.sampling.rule != g->session.sampling.rule;
}

/// Where the text begins, as the options say. A resumed one has its own sampling.
static void check_source(const run_options *o, struct argp_state *state)
{
    if (o->resume_file && (o->prompt || o->prompt_file)) {
        argp_error(state, "--resume has a text: it excludes --prompt and --prompt-file");
    } else if (o->resume_file && has_sampling(&o->g)) {
        argp_error(state, "--resume goes on with the sampling of the file: no --temp and the like");
    } else if (o->park_asked && !o->park_file) {
        argp_error(state, "%s says what --park writes, and there is no --park", o->park_asked);
    } else if (o->prompt && o->prompt_file) {
        argp_error(state, "--prompt and --prompt-file exclude each other");
    } else if (!o->prompt && !o->prompt_file && !o->resume_file && isatty(STDIN_FILENO)) {
        argp_error(state, "a prompt is missing: give --prompt or --prompt-file");
    }
}

static void parse_form(run_options *o, const char *arg, struct argp_state *state)
{
    static const char *const names[HSD_N_PARK_AS] = {
        [HSD_PARK_CELLS] = "kv", [HSD_PARK_INPUTS] = "h", [HSD_PARK_SMALLER] = "auto"};
    int form = 0;
    while (form < HSD_N_PARK_AS && strcmp(arg, names[form]) != 0) {
        form++;
    }
    if (form == HSD_N_PARK_AS) {
        argp_error(state, "--park-as: '%s' is none of auto, kv, h", arg);
    }
    o->park_asked = "--park-as";
    o->park.as = (hsd_park_as)form;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    run_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->g;
        return 0;
    case 'p':
        o->prompt = arg;
        return 0;
    case 'f':
        o->prompt_file = arg;
        return 0;
    case CLI_KEY_TOKENS:
    case CLI_KEY_MODE:
        return cli_parse_setting(key, arg, state, &o->g.session);
    case KEY_JSON:
        o->json = true;
        return 0;
    case KEY_TRACE:
        o->trace_file = arg;
        return 0;
    case KEY_PARK:
        o->park_file = arg;
        return 0;
    case KEY_PARK_AS:
        parse_form(o, arg, state);
        return 0;
    case KEY_PARK_NO_DRAFT:
        o->park_asked = "--park-no-draft";
        o->park.with_draft = false;
        return 0;
    case KEY_RESUME:
        o->resume_file = arg;
        return 0;
    case 'v':
        o->g.verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option; the prompt is given with --prompt", arg);
        return 0;
    case ARGP_KEY_END:
        check_source(o, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool take_token(run_output *out, const hsd_token *token)
{
    if (!cli_output_add(&out->made, token)) {
        cli_failf("output: memory could not be allocated (ENOMEM)");
        return false;
    }
    if (out->progress) {
        fprintf(stderr, "\rhsd: %zu tokens", out->made.n_tokens);
    }
    return !out->stream || token->n_bytes == 0 || cli_out(token->text, token->n_bytes);
}

/// On the session's thread, so that no other thread has to wake up for each token.
static bool on_token(void *user, const hsd_token *token)
{
    run_output *out = user;
    if (cli_interrupted()) {
        return false;
    }
    out->failed = !take_token(out, token);
    return !out->failed;
}

/// Wait for the end. Returns the exit code.
static int finish(hsd_session *session, const run_output *out)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_session_wait(session, &err);
    if (out->failed) {
        return CLI_FAILURE; // said already
    }
    if (cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100 * (double)part / (double)whole : 0;
}

static void print_stats(const hsd_stats *s)
{
    fprintf(stderr, "hsd: %d tokens in %.3f s, %.1f tokens/s; mode %s", s->n_tokens, s->decode_s,
            s->tokens_per_s, hsd_mode_name(s->mode));
    if (s->mode != HSD_MODE_AR && s->steps > 0) {
        fprintf(stderr, ", draft %s, %.2f tokens per step, %.0f %% of %lld drafts accepted",
                hsd_draft_kind_name(s->draft_kind), (double)s->n_tokens / (double)s->steps,
                percent(s->accepted, s->drafted), (long long)s->drafted);
    }
    if (s->mode == HSD_MODE_MIRROR) {
        fprintf(stderr, ", hit rate %.0f %%", percent(s->hits, s->hits + s->misses));
    }
    if (s->workers_lost > 0) {
        fprintf(stderr, ", %lld workers lost", (long long)s->workers_lost);
    }
    fprintf(stderr, "; prompt of %d tokens", s->n_prompt);
    if (s->n_prompt_reused > 0) {
        fprintf(stderr, ", %d of them known,", s->n_prompt_reused);
    }
    fprintf(stderr, " in %.3f s\n", s->prefill_s);
}

static int print_json(const int32_t *prompt, int n_prompt, const run_output *out,
                      const hsd_stats *stats)
{
    json_t *object = json_pack("{s:o, s:o, s:o, s:o}", "prompt_tokens",
                               cli_json_tokens(prompt, (size_t)n_prompt), "tokens",
                               cli_json_tokens(out->made.tokens, out->made.n_tokens), "text",
                               cli_json_output_text(&out->made), "stats", cli_json_stats(stats));
    return cli_print_json(object);
}

/// Everything between an open session and the printed result.
static int generate(const run_options *o, hsd_session *session, const int32_t *prompt, int n_prompt,
                    run_output *out)
{
    hsd_error err = cli_no_error();
    bool stderr_is_terminal = isatty(STDERR_FILENO);
    out->stream = !o->json;
    out->progress = stderr_is_terminal && (o->json || !isatty(STDOUT_FILENO));
    cli_signals_cancel_session(session);
    hsd_status status = o->resume_file ? hsd_session_continue(session, &err)
                                       : hsd_session_submit_tokens(session, prompt, n_prompt, &err);
    int code = status == HSD_OK ? finish(session, out) : cli_fail(status, &err);
    cli_signals_cancel_session(NULL);
    bool parks = o->park_file && (code == CLI_OK || code == CLI_INTERRUPTED);
    status = parks ? hsd_session_park_with(session, o->park_file, &o->park, &err) : HSD_OK;
    if (out->progress && out->made.n_tokens > 0) {
        fputc('\r', stderr);
    }
    if (out->stream && (code == CLI_OK || code == CLI_INTERRUPTED) &&
        (out->made.n_text == 0 || out->made.text[out->made.n_text - 1] != '\n') &&
        !cli_out("\n", 1)) {
        code = CLI_FAILURE;
    }
    if (status != HSD_OK && parks) {
        code = cli_fail(status, &err); // behind what was printed
    }
    hsd_stats stats = {0};
    hsd_session_stats(session, &stats);
    if (code == CLI_OK && o->json) {
        code = print_json(prompt, n_prompt, out, &stats);
    }
    if (code == CLI_OK && (stderr_is_terminal || o->g.verbose)) {
        print_stats(&stats);
    }
    return code;
}

/// A session with a parked text, which is the prompt.
static int resume(const run_options *o, hsd_engine *engine, hsd_session **session, int32_t **prompt,
                  int *n_prompt)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_session_resume(engine, o->resume_file, &o->g.session, session, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    int cap = hsd_engine_n_ctx(engine);
    *prompt = calloc((size_t)cap, sizeof **prompt);
    if (!*prompt) {
        return cli_failf("output: memory could not be allocated (ENOMEM)");
    }
    status = hsd_session_text(*session, *prompt, cap, n_prompt, &err);
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

/// A session for a prompt. Where memory for caches is limited it asks for no more than it needs.
static int begin(run_options *o, hsd_engine *engine, const char *text, size_t n_bytes,
                 hsd_session **session, int32_t **prompt, int *n_prompt)
{
    hsd_error err = cli_no_error();
    int code = cli_tokenize(engine, text, n_bytes, prompt, n_prompt);
    if (code != CLI_OK) {
        return code;
    }
    int64_t n_all = (int64_t)*n_prompt + o->g.session.n_tokens;
    if (o->g.engine.cache_memory_bytes > 0 && o->g.session.n_tokens > 0 &&
        n_all < hsd_engine_n_ctx(engine)) {
        o->g.session.n_ctx = (int)n_all > 2 ? (int)n_all : 2;
    }
    hsd_status status = hsd_session_open(engine, &o->g.session, session, &err);
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

/// Open engine and session around `generate`. Without a parked text `text` is the prompt.
static int run_prompt(run_options *o, const char *text, size_t n_bytes)
{
    hsd_error err = cli_no_error();
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    int32_t *prompt = NULL;
    int n_prompt = 0;
    run_output out = {0};
    int code = CLI_INTERRUPTED;
    hsd_status status = hsd_engine_open(&o->g.engine, &engine, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    if (cli_interrupted()) {
        goto done;
    }
    o->g.session.on_token = on_token;
    o->g.session.on_token_user = &out;
    code = o->resume_file ? resume(o, engine, &session, &prompt, &n_prompt)
                          : begin(o, engine, text, n_bytes, &session, &prompt, &n_prompt);
    if (code == CLI_OK) {
        code = generate(o, session, prompt, n_prompt, &out);
    }
done:
    hsd_session_close(&session);
    free(prompt);
    cli_output_fini(&out.made);
    hsd_engine_close(&engine);
    return code;
}

/// A prompt from an option, a file or standard input.
static int run_any_prompt(run_options *o)
{
    if (o->prompt || o->resume_file) {
        return run_prompt(o, o->prompt, o->prompt ? strlen(o->prompt) : 0);
    }
    cli_text text;
    int code = cli_read_text(o->prompt_file ? o->prompt_file : "-", &text);
    if (code == CLI_OK) {
        code = run_prompt(o, text.bytes, text.n_bytes);
        free(text.bytes);
    }
    return code;
}

int cli_run(int argc, char **argv)
{
    const struct argp_child children[] = {{&cli_generation_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {options, parse, NULL, doc, children, NULL, NULL};
    run_options o = {0};
    cli_generation_init(&o.g);
    hsd_park_options_init(&o.park);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    cli_signals_init();
    int code = cli_generation_begin(&o.g);
    if (code == CLI_OK) {
        code = cli_trace_begin("hsd run", o.trace_file, &o.g.engine.trace);
    }
    if (code == CLI_OK) {
        code = run_any_prompt(&o);
        code = cli_trace_end(&o.g.engine.trace, o.trace_file, code);
    }
    cli_generation_end(&o.g);
    return code;
}
