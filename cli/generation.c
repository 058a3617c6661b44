/// Options of models, sampling and speculation, shared by `run` and `bench` as an argp child.
#include "cli/cli.h"

#include <limits.h>

enum {
    KEY_TARGET = 0x100,
    KEY_DRAFT,
    KEY_THREADS,
    KEY_DRAFT_THREADS,
    KEY_CTX,
    KEY_WORKER,
    KEY_DRAFT_KIND,
    KEY_WINDOW,
    KEY_ROOTS,
    KEY_EXIT,
    KEY_TEMP,
    KEY_TOP_K,
    KEY_TOP_P,
    KEY_MIN_P,
    KEY_SEED,
    KEY_IGNORE_EOS,
};

static const struct argp_option options[] = {
    {.doc = "Models and devices:", .group = 2},
    {"target", KEY_TARGET, "FILE", 0, "GGUF file of the target (default: the shipped one)", 0},
    {"draft", KEY_DRAFT, "FILE", 0,
     "GGUF file of the draft (default: the shipped one beside the shipped target, else none)", 0},
    {"threads", KEY_THREADS, "N", 0, "threads of the target (0: chosen by the engine)", 0},
    {"draft-threads", KEY_DRAFT_THREADS, "N", 0, "threads of the draft (0: chosen by the engine)",
     0},
    {"ctx", KEY_CTX, "N", 0, "tokens of context (0: the model's own, up to 4096)", 0},
    {"worker", KEY_WORKER, "ENDPOINT", 0,
     "use a draft worker started with `hsd worker'; may be repeated", 0},

    {.doc = "Speculation (changes the speed, never the text):", .group = 3},
    {"draft-kind", KEY_DRAFT_KIND, "KIND", 0,
     "auto, model (a second model), ngram (lookup in the text so far), early_exit (the target's "
     "own first layers); default auto",
     0},
    {"window", KEY_WINDOW, "N", 0, "draft tokens per target pass, 1..16 (0: by the engine)", 0},
    {"roots", KEY_ROOTS, "N", 0,
     "branches prepared per step in mode mirror, 1..64 (0: by the engine)", 0},
    {"exit", KEY_EXIT, "LAYER", 0, "early-exit layer of the target (0: by the engine)", 0},

    {.doc = "Sampling:", .group = 4},
    {"temp", KEY_TEMP, "X", 0, "temperature; 0 (the default) always takes the likeliest token", 0},
    {"top-k", KEY_TOP_K, "N", 0, "keep the N likeliest tokens (0: off)", 0},
    {"top-p", KEY_TOP_P, "X", 0, "keep the likeliest tokens that hold a share X (1: off)", 0},
    {"min-p", KEY_MIN_P, "X", 0, "keep tokens of at least X times the likeliest one (0: off)", 0},
    {"seed", KEY_SEED, "N", 0, "same seed, same text; default 0", 0},
    {"ignore-eos", KEY_IGNORE_EOS, 0, 0, "go on after an end-of-text token", 0},
    {0},
};

static void add_worker(cli_generation *g, const char *endpoint, struct argp_state *state)
{
    if (g->engine.n_workers == CLI_MAX_WORKERS) {
        argp_error(state, "--worker: more than %d workers", CLI_MAX_WORKERS);
        return;
    }
    g->workers[g->engine.n_workers++] = endpoint;
    g->engine.worker_endpoints = g->workers;
}

static error_t parse_speculation(int key, char *arg, struct argp_state *state)
{
    cli_generation *g = state->input;
    switch (key) {
    case KEY_DRAFT_KIND:
        g->session.draft_kind = cli_parse_draft_kind(state, "--draft-kind", arg);
        return 0;
    case KEY_WINDOW:
        g->session.window = (int)cli_parse_int(state, "--window", arg, 0, 16);
        return 0;
    case KEY_ROOTS:
        g->session.roots = (int)cli_parse_int(state, "--roots", arg, 0, 64);
        return 0;
    case KEY_EXIT:
        g->session.exit_layer = (int)cli_parse_int(state, "--exit", arg, 0, INT_MAX);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_sampling(int key, char *arg, struct argp_state *state)
{
    cli_generation *g = state->input;
    hsd_sampling *sampling = &g->session.sampling;
    switch (key) {
    case KEY_TEMP:
        sampling->temperature = (float)cli_parse_real(state, "--temp", arg, 0, 100);
        return 0;
    case KEY_TOP_K:
        sampling->top_k = (int)cli_parse_int(state, "--top-k", arg, 0, INT_MAX);
        return 0;
    case KEY_TOP_P:
        sampling->top_p = (float)cli_parse_real(state, "--top-p", arg, 1e-6, 1);
        return 0;
    case KEY_MIN_P:
        sampling->min_p = (float)cli_parse_real(state, "--min-p", arg, 0, 1);
        return 0;
    case KEY_SEED:
        sampling->seed = cli_parse_u64(state, "--seed", arg);
        return 0;
    case KEY_IGNORE_EOS:
        g->session.ignore_eos = true;
        return 0;
    default:
        return parse_speculation(key, arg, state);
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    cli_generation *g = state->input;
    switch (key) {
    case KEY_TARGET:
        g->engine.target_path = arg;
        return 0;
    case KEY_DRAFT:
        g->engine.draft_path = arg;
        return 0;
    case KEY_THREADS:
        g->engine.n_threads = (int)cli_parse_int(state, "--threads", arg, 0, 4096);
        return 0;
    case KEY_DRAFT_THREADS:
        g->engine.n_draft_threads = (int)cli_parse_int(state, "--draft-threads", arg, 0, 4096);
        return 0;
    case KEY_CTX:
        g->engine.n_ctx = (int)cli_parse_int(state, "--ctx", arg, 0, INT_MAX);
        return 0;
    case KEY_WORKER:
        add_worker(g, arg, state);
        return 0;
    default:
        return parse_sampling(key, arg, state);
    }
}

const struct argp cli_generation_argp = {.options = options, .parser = parse};

void cli_generation_init(cli_generation *g)
{
    *g = (cli_generation){0};
    hsd_engine_options_init(&g->engine);
    hsd_session_options_init(&g->session);
    g->session.n_tokens = 128;
    g->session.sampling.temperature = 0;
    g->engine.log = cli_log;
    g->engine.log_user = &g->verbose;
}
