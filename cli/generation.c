/// Options of models, sampling and speculation, shared by `run`, `batch` and `bench` as an argp
/// child.
#include "cli/setting.h"

#include <limits.h>
#include <string.h>

enum {
    KEY_TARGET = 0x180,
    KEY_DRAFT,
    KEY_THREADS,
    KEY_DRAFT_THREADS,
    KEY_DEVICE,
    KEY_DRAFT_DEVICE,
    KEY_SUFFIX_DEVICE,
    KEY_SPLIT_LAYER,
    KEY_CTX,
    KEY_NO_PREFIX_REUSE,
    KEY_WORKER,
    KEY_WORKER_KEY,
    KEY_KEY,
    KEY_TOPOLOGY,
    KEY_RULE,
    KEY_CACHE,
    KEY_DRAFT_CACHE,
    KEY_CACHE_MEMORY,
    KEY_CACHE_TYPE,
    KEY_DRAFT_CACHE_TYPE,
};

static const struct argp_option options[] = {
    {.doc = "Models and devices:", .group = 2},
    {"target", KEY_TARGET, "FILE", 0, "GGUF file of the target (default: the shipped one)", 0},
    {"draft", KEY_DRAFT, "FILE", 0,
     "GGUF file of the draft (default: the shipped one beside the shipped target, else none)", 0},
    {"device", KEY_DEVICE, "NAME", 0,
     "device of the target: cpu (the default), cpu:0-3, opencl, opencl:1, "
     "level_zero (see `hsd devices')",
     0},
    {"suffix-device", KEY_SUFFIX_DEVICE, "NAME", 0,
     "device of the target's last layers (default: all are on --device)", 0},
    {"split-layer", KEY_SPLIT_LAYER, "N", 0,
     "first layer on --suffix-device (default: half of them)", 0},
    {"draft-device", KEY_DRAFT_DEVICE, "NAME", 0, "device of the draft (default: cpu)", 0},
    {"threads", KEY_THREADS, "N", 0, "threads of the target (0: chosen by the engine)", 0},
    {"draft-threads", KEY_DRAFT_THREADS, "N", 0, "threads of the draft (0: chosen by the engine)",
     0},
    {"ctx", KEY_CTX, "N", 0, "tokens of context (0: the model's own, up to 4096)", 0},
    {"cache", KEY_CACHE, "LAYOUT", 0,
     "what the target keeps of a token: kv (keys and values), el (each layer's input, half as "
     "much, for models without rotary positions), auto (the default: kv; el where that is faster, "
     "and in as many layers as --cache-memory needs)",
     0},
    {"draft-cache", KEY_DRAFT_CACHE, "LAYOUT", 0, "the same for the draft", 0},
    {"cache-type", KEY_CACHE_TYPE, "TYPE", 0,
     "how the target's cache is stored: f32 (the default), f16 (half of it), q8_0 (about a "
     "quarter)",
     0},
    {"draft-cache-type", KEY_DRAFT_CACHE_TYPE, "TYPE", 0, "the same for the draft", 0},
    {"cache-memory", KEY_CACHE_MEMORY, "SIZE", 0,
     "most memory for caches, such as 512MiB; nothing begins that might need more (default: no "
     "limit)",
     0},
    {"no-prefix-reuse", KEY_NO_PREFIX_REUSE, 0, 0,
     "compute every prompt from its first token on, whatever caches have of it", 0},
    {"worker", KEY_WORKER, "ENDPOINT", 0,
     "use a draft worker started with `hsd worker'; may be repeated", 0},
    {"worker-key", KEY_WORKER_KEY, "FILE", 0,
     "NAME.pub of the --worker before it; needed for workers on other hosts", 0},
    {"key", KEY_KEY, "FILE", 0, "NAME.key of this side, made with `hsd keygen NAME'", 0},
    {"topology", KEY_TOPOLOGY, "FILE", 0,
     "description of machines (see `hsd topo'): its workers and keys are used where no --worker is "
     "given",
     0},

    {.doc = "Speculation (changes the speed, never the text):", .group = 3},
    {"draft-kind", CLI_KEY_DRAFT_KIND, "KIND", 0,
     "auto, model (a second model), ngram (lookup in the text so far), early_exit (the target's "
     "own first layers); default auto",
     0},
    {"with-ngram", CLI_KEY_WITH_NGRAM, 0, 0, "a lookup in the text so far drafts beside the draft",
     0},
    {"window", CLI_KEY_WINDOW, "N", 0,
     "draft tokens in a chain per target pass, 1..16 (0: follows acceptance and cost)", 0},
    {"tree", CLI_KEY_TREE, "N", 0,
     "draft tokens per target pass as a tree, up to 32 and at least the window (0: a chain)", 0},
    {"roots", CLI_KEY_ROOTS, "N", 0,
     "branches prepared per step in mode mirror, 1..64 (0: by the engine)", 0},
    {"exit", CLI_KEY_EXIT, "LAYER", 0, "early-exit layer of the target (0: by the engine)", 0},

    {.doc = "Sampling:", .group = 4},
    {"temp", CLI_KEY_TEMP, "X", 0, "temperature; 0 (the default) always takes the likeliest token",
     0},
    {"top-k", CLI_KEY_TOP_K, "N", 0, "keep the N likeliest tokens (0: off)", 0},
    {"top-p", CLI_KEY_TOP_P, "X", 0, "keep the likeliest tokens that hold a share X (1: off)", 0},
    {"min-p", CLI_KEY_MIN_P, "X", 0, "keep tokens of at least X times the likeliest one (0: off)",
     0},
    {"seed", CLI_KEY_SEED, "N", 0, "same seed, same text; default 0", 0},
    {"repeat-penalty", CLI_KEY_REPEAT_PENALTY, "X", 0,
     "divide the logits of recent tokens by X when positive, else multiply, 0.01..100 (1: off)", 0},
    {"repeat-last-n", CLI_KEY_REPEAT_LAST_N, "N", 0,
     "how many tokens are recent, prompt included (-1: all); default 64", 0},
    {"no-repeat-ngram", CLI_KEY_NO_REPEAT_NGRAM, "N", 0,
     "let no run of N tokens come twice in prompt and output (0: off)", 0},
    {"rule", KEY_RULE, "RULE", 0,
     "coupled: the same text in every mode (default); ratio: accepts a little more, but which text "
     "comes depends on the draft and on timing",
     0},
    {"ignore-eos", CLI_KEY_IGNORE_EOS, 0, 0, "go on after an end-of-text token", 0},
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

/// A file of its own beside each endpoint, not a part of it: shells complete it, and an endpoint
/// may be followed by '#' in a topology file.
static void add_worker_key(cli_generation *g, const char *file, struct argp_state *state)
{
    if (g->engine.n_workers == 0 || g->worker_keys[g->engine.n_workers - 1]) {
        argp_error(state, "--worker-key: each one follows the --worker that it is for");
        return;
    }
    g->worker_keys[g->engine.n_workers - 1] = file;
    g->engine.worker_key_files = g->worker_keys;
}

error_t cli_parse_setting(int key, const char *arg, const struct argp_state *state,
                          hsd_session_options *out)
{
    const cli_setting *setting = cli_setting_by_key(key);
    if (!setting) {
        return ARGP_ERR_UNKNOWN;
    }
    cli_setting_parse(setting, state, arg, out);
    return 0;
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
        if (g->engine.n_threads > 0 && g->n_threads < CLI_MAX_NAMED) {
            g->threads[g->n_threads++] = g->engine.n_threads;
        }
        return 0;
    case KEY_DRAFT_THREADS:
        g->engine.n_draft_threads = (int)cli_parse_int(state, "--draft-threads", arg, 0, 4096);
        return 0;
    case KEY_DEVICE:
        g->engine.target_device = arg;
        if (g->n_devices < CLI_MAX_NAMED) {
            g->devices[g->n_devices++] = arg;
        }
        return 0;
    case KEY_DRAFT_DEVICE:
        g->engine.draft_device = arg;
        if (g->n_draft_devices < CLI_MAX_NAMED) {
            g->draft_devices[g->n_draft_devices++] = arg;
        }
        return 0;
    case KEY_SUFFIX_DEVICE:
        g->engine.suffix_device = arg;
        return 0;
    case KEY_SPLIT_LAYER:
        g->engine.split_layer = (int)cli_parse_int(state, "--split-layer", arg, 1, INT_MAX);
        return 0;
    case KEY_CTX:
        g->engine.n_ctx = (int)cli_parse_int(state, "--ctx", arg, 0, INT_MAX);
        return 0;
    case KEY_CACHE:
        g->engine.cache_layout = cli_parse_cache_layout(state, "--cache", arg);
        return 0;
    case KEY_DRAFT_CACHE:
        g->engine.draft_cache_layout = cli_parse_cache_layout(state, "--draft-cache", arg);
        return 0;
    case KEY_CACHE_TYPE:
        g->engine.cache_type = cli_parse_cache_type(state, "--cache-type", arg);
        return 0;
    case KEY_DRAFT_CACHE_TYPE:
        g->engine.draft_cache_type = cli_parse_cache_type(state, "--draft-cache-type", arg);
        return 0;
    case KEY_CACHE_MEMORY:
        g->engine.cache_memory_bytes = cli_parse_bytes(state, "--cache-memory", arg);
        return 0;
    case KEY_NO_PREFIX_REUSE:
        g->engine.share_prefixes = false;
        return 0;
    case KEY_WORKER:
        add_worker(g, arg, state);
        return 0;
    case KEY_WORKER_KEY:
        add_worker_key(g, arg, state);
        return 0;
    case KEY_RULE:
        if (strcmp(arg, "coupled") != 0 && strcmp(arg, "ratio") != 0) {
            argp_error(state, "--rule: '%s' is none of coupled, ratio", arg);
        }
        g->session.sampling.rule = strcmp(arg, "ratio") == 0 ? HSD_RULE_RATIO : HSD_RULE_COUPLED;
        return 0;
    case KEY_KEY:
        g->engine.key_file = arg;
        return 0;
    case KEY_TOPOLOGY:
        g->topology = arg;
        return 0;
    default:
        return cli_parse_setting(key, arg, state, &g->session);
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

int cli_generation_begin(cli_generation *g)
{
    hsd_error err = cli_no_error();
    hsd_status status = g->topology ? hsd_machine_read(g->topology, &g->machine, &err) : HSD_OK;
    g->engine.machine = g->machine;
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

void cli_generation_end(cli_generation *g)
{
    g->engine.machine = NULL;
    hsd_machine_free(&g->machine);
}
