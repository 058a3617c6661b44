/// `hsd plan`: what should run where, and why.
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_TOPOLOGY = 0x200,
    KEY_TARGET,
    KEY_DRAFT,
    KEY_PROFILE,
    KEY_JSON,
    KEY_WHY,
    KEY_OBJECTIVE,
    KEY_CTX,
    KEY_CACHE,
    KEY_DRAFT_CACHE,
    KEY_CACHE_TYPE,
    KEY_DRAFT_CACHE_TYPE,
    KEY_CACHE_MEMORY,
    KEY_MARGIN
};

typedef struct plan_options {
    hsd_plan_options plan;
    const char *topology;
    bool json, why;
} plan_options;

static const struct argp_option options[] = {
    {"topology", KEY_TOPOLOGY, "FILE", 0,
     "another machine, described in a file; without it this one", 0},
    {"target", KEY_TARGET, "FILE", 0, "target model; only its header is read", 0},
    {"draft", KEY_DRAFT, "FILE", 0, "draft model; only its header is read", 0},
    {"profile", KEY_PROFILE, "FILE", 0,
     "times and acceptance that `hsd profile' measured; without it what it kept for this machine, "
     "or "
     "this description, and these models, else estimates",
     0},
    {"objective", KEY_OBJECTIVE, "WHAT", 0, "speed (the default), latency or energy", 0},
    {"ctx", KEY_CTX, "N", 0, "tokens that the caches must hold", 0},
    {"cache", KEY_CACHE, "LAYOUT", 0, "what the target keeps of a token: auto, kv, el, as for run",
     0},
    {"draft-cache", KEY_DRAFT_CACHE, "LAYOUT", 0, "the same for the draft", 0},
    {"cache-type", KEY_CACHE_TYPE, "TYPE", 0, "of the target's cache: f32 (the default), f16, q8_0",
     0},
    {"draft-cache-type", KEY_DRAFT_CACHE_TYPE, "TYPE", 0, "the same for the draft", 0},
    {"cache-memory", KEY_CACHE_MEMORY, "SIZE", 0,
     "most memory for caches, such as 512MiB (default: the description's limit, if any)", 0},
    {"margin", KEY_MARGIN, "X", 0,
     "speculation must promise X times the target alone; 1.05 without it", 0},
    {"why", KEY_WHY, 0, 0, "say why other devices and modes were not chosen", 0},
    {"json", KEY_JSON, 0, 0, "print one JSON object, reasons included", 0},
    {0},
};

static const char doc[] =
    "Say which devices, mode and windows should run a target and a draft, how long a step is "
    "expected "
    "to take and what it is made of, what comes close, and (with --why) why everything else was "
    "left "
    "out. Nothing is run: times come from a profile, or are estimated from the devices' rates and "
    "the "
    "models' shapes."
    "\v"
    "Examples:\n"
    "  hsd plan --why\n"
    "  hsd plan --topology server.yaml --target big.gguf --draft small.gguf\n"
    "\n" CLI_EXIT_CODES;

static hsd_objective objective_of(const char *name, const struct argp_state *state)
{
    static const char *const names[] = {"speed", "latency", "energy"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (hsd_objective)i;
        }
    }
    argp_error(state, "--objective: '%s' is none of speed, latency and energy", name);
    return HSD_OBJECTIVE_SPEED;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    plan_options *o = state->input;
    switch (key) {
    case KEY_TOPOLOGY:
        o->topology = arg;
        return 0;
    case KEY_TARGET:
        o->plan.target_path = arg;
        return 0;
    case KEY_DRAFT:
        o->plan.draft_path = arg;
        return 0;
    case KEY_PROFILE:
        o->plan.profile_path = arg;
        return 0;
    case KEY_OBJECTIVE:
        o->plan.objective = objective_of(arg, state);
        return 0;
    case KEY_CTX:
        o->plan.n_ctx = (int)cli_parse_int(state, "--ctx", arg, 1, 1 << 24);
        return 0;
    case KEY_CACHE:
        o->plan.cache_layout = cli_parse_cache_layout(state, "--cache", arg);
        return 0;
    case KEY_DRAFT_CACHE:
        o->plan.draft_cache_layout = cli_parse_cache_layout(state, "--draft-cache", arg);
        return 0;
    case KEY_CACHE_TYPE:
        o->plan.cache_type = cli_parse_cache_type(state, "--cache-type", arg);
        return 0;
    case KEY_DRAFT_CACHE_TYPE:
        o->plan.draft_cache_type = cli_parse_cache_type(state, "--draft-cache-type", arg);
        return 0;
    case KEY_CACHE_MEMORY:
        o->plan.cache_memory_bytes = cli_parse_bytes(state, "--cache-memory", arg);
        return 0;
    case KEY_MARGIN:
        o->plan.margin = cli_parse_real(state, "--margin", arg, 1.0, 100.0);
        return 0;
    case KEY_WHY:
        o->why = true;
        return 0;
    case KEY_JSON:
        o->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// ---- text ----

static void put_threads(int n)
{
    if (n > 0) {
        cli_outf(" (%d thread%s)", n, n == 1 ? "" : "s");
    }
}

static void put_setting(const hsd_plan_choice *c)
{
    cli_outf("mode     %s\ntarget   %s", hsd_mode_name(c->mode), c->target);
    put_threads(c->n_threads);
    if (c->suffix[0]) {
        cli_outf(", layers from %d on %s", c->split_layer, c->suffix);
    }
    cli_outf("\n");
    if (c->mode == HSD_MODE_AR) {
        return;
    }
    cli_outf("draft    %s on %s", hsd_draft_kind_name(c->draft_kind), c->drafts);
    put_threads(c->n_draft_threads);
    cli_outf(", %s\nwindow   %d", c->transport, c->window);
    if (c->tree > c->window) {
        cli_outf(", as a tree of %d", c->tree);
    }
    if (c->mode == HSD_MODE_MIRROR) {
        cli_outf("; %d roots, early exit at layer %d", c->roots, c->exit_layer);
    }
    cli_outf("\n");
}

enum { WIDTH = 64 };

/// A piece of a bar: `letter` from begin to end of a step of total_ms.
static void paint(char *bar, double begin_ms, double end_ms, double total_ms, char letter)
{
    int from = (int)lround(begin_ms / total_ms * WIDTH),
        to = (int)lround(end_ms / total_ms * WIDTH);
    to = to == from && end_ms > begin_ms ? to + 1 : to;
    for (int i = from < 0 ? 0 : from; i < to && i < WIDTH; i++) {
        bar[i] = letter;
    }
}

/// Both pipelines over one expected step.
static void put_timeline(const hsd_plan_choice *c)
{
    char target[WIDTH + 1], draft[WIDTH + 1];
    double at = 0.0, all = c->total_ms;
    memset(target, '.', WIDTH);
    memset(draft, '.', WIDTH);
    target[WIDTH] = draft[WIDTH] = 0;
    if (c->mode == HSD_MODE_SERIAL) {
        paint(draft, 0.0, c->draft_ms, all, 'D');
        at = c->draft_ms + c->messages_ms;
    }
    paint(target, at, at + c->prefix_ms, all, 'P');
    paint(target, at + c->prefix_ms, at + c->prefix_ms + c->exit_ms, all, 'X');
    at += c->prefix_ms + c->exit_ms;
    paint(target, at, at + c->suffix_ms, all, 'S');
    at += c->suffix_ms;
    if (c->mode == HSD_MODE_MIRROR) {
        double room = at + c->exposed_ms;
        paint(draft, 0.0, c->draft_ms < room ? c->draft_ms : room, all, 'D');
        paint(draft, all - c->miss_ms, all, all, 'F');
    } else if (c->mode == HSD_MODE_ASYNC) {
        paint(draft, 0.0, all, all, 'D');
    }
    cli_outf("\nexpected step: %.2f tokens in %.3g ms, %.1f tokens/s%s\n", c->tokens, c->total_ms,
             c->tokens_per_s, c->is_estimated ? " (estimated, not measured)" : "");
    cli_outf("  target %s\n", target);
    if (c->mode != HSD_MODE_AR) {
        cli_outf("  draft  %s\n", draft);
        cli_outf(
            "  P prefix %.3g ms, X exit head %.3g, S suffix %.3g; D draft %.3g (%.3g waited for), "
            "F misses %.3g; messages %.3g\n",
            c->prefix_ms, c->exit_ms, c->suffix_ms, c->draft_ms, c->exposed_ms, c->miss_ms,
            c->messages_ms);
    }
}

static void put_runners_up(const hsd_plan *plan)
{
    int n = hsd_plan_n_runners_up(plan);
    if (n > 0) {
        cli_outf("\n%-7s %-16s %-24s %6s %5s %11s\n", "next", "target", "draft", "window", "roots",
                 "tokens/s");
    }
    for (int i = 0; i < n; i++) {
        hsd_plan_choice c;
        hsd_plan_runner_up(plan, i, &c);
        cli_outf("%-7s %-16s %-24s %6d %5d %11.1f\n", hsd_mode_name(c.mode), c.target,
                 c.drafts[0] ? c.drafts : "-", c.window, c.roots, c.tokens_per_s);
    }
}

static void put_memory(const hsd_plan *plan)
{
    const double mib = 1024.0 * 1024.0;
    for (int i = 0; i < hsd_plan_n_memories(plan); i++) {
        hsd_plan_memory m;
        hsd_plan_get_memory(plan, i, &m);
        cli_outf("memory   %s: %.1f MiB (weights %.1f, caches %.1f, rows %.1f)", m.name,
                 (double)m.need_bytes / mib, (double)m.weights_bytes / mib,
                 (double)m.cache_bytes / mib, (double)m.rows_bytes / mib);
        if (m.have_bytes > 0) {
            cli_outf(" of %.1f", (double)m.have_bytes / mib);
        }
        cli_outf("\n");
    }
}

static int print_text(const hsd_plan *plan, bool why)
{
    hsd_plan_choice best, alone;
    hsd_plan_summary s;
    hsd_plan_best(plan, &best);
    hsd_plan_alone(plan, &alone);
    hsd_plan_summarize(plan, &s);
    put_setting(&best);
    cli_outf("cache    %s\n", s.cache);
    put_memory(plan);
    put_timeline(&best);
    if (best.mode != HSD_MODE_AR) {
        cli_outf("  %.2f times the target alone (%.1f tokens/s); acceptance %.2f %s",
                 best.tokens_per_s / alone.tokens_per_s, alone.tokens_per_s, s.acceptance,
                 s.acceptance_was_seen ? "was seen" : "is assumed");
        if (s.break_even <= 1.0) {
            cli_outf(", %.2f is break-even", s.break_even);
        }
        cli_outf("\n");
    }
    put_runners_up(plan);
    for (int i = 0; why && i < hsd_plan_n_reasons(plan); i++) {
        cli_outf("%s%s\n", i == 0 ? "\n" : "", hsd_plan_reason(plan, i));
    }
    return cli_close_stdout();
}

// ---- JSON ----

static json_t *json_of(const hsd_plan_choice *c)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i,"
        " s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b}",
        "mode", hsd_mode_name(c->mode), "draft_kind", hsd_draft_kind_name(c->draft_kind), "target",
        c->target, "suffix", c->suffix, "split_layer", c->split_layer, "drafts", c->drafts,
        "transport", c->transport, "threads", c->n_threads, "draft_threads", c->n_draft_threads,
        "workers", c->n_workers, "exit_layer", c->exit_layer, "window", c->window, "tree", c->tree,
        "roots", c->roots, "tokens_per_s", c->tokens_per_s, "tokens", c->tokens, "total_ms",
        c->total_ms, "prefix_ms", c->prefix_ms, "exit_ms", c->exit_ms, "suffix_ms", c->suffix_ms,
        "draft_ms", c->draft_ms, "exposed_ms", c->exposed_ms, "messages_ms", c->messages_ms,
        "miss_ms", c->miss_ms, "hit_rate", c->hit_rate, "latency_ms", c->latency_ms,
        "joules_per_token", c->joules_per_token, "estimated", c->is_estimated);
}

static json_t *json_of_memory(const hsd_plan *plan)
{
    json_t *all = json_array();
    for (int i = 0; i < hsd_plan_n_memories(plan); i++) {
        hsd_plan_memory m;
        hsd_plan_get_memory(plan, i, &m);
        (void)json_array_append_new(
            all, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I}", "name", m.name, "host", m.is_host,
                           "weights_bytes", (json_int_t)m.weights_bytes, "cache_bytes",
                           (json_int_t)m.cache_bytes, "rows_bytes", (json_int_t)m.rows_bytes,
                           "need_bytes", (json_int_t)m.need_bytes, "have_bytes",
                           (json_int_t)m.have_bytes));
    }
    return all;
}

static int print_json(const hsd_plan *plan)
{
    hsd_plan_choice best, alone;
    hsd_plan_summary s;
    hsd_plan_best(plan, &best);
    hsd_plan_alone(plan, &alone);
    hsd_plan_summarize(plan, &s);
    json_t *next = json_array(), *reasons = json_array();
    for (int i = 0; i < hsd_plan_n_runners_up(plan); i++) {
        hsd_plan_choice c;
        hsd_plan_runner_up(plan, i, &c);
        (void)json_array_append_new(next, json_of(&c));
    }
    for (int i = 0; i < hsd_plan_n_reasons(plan); i++) {
        (void)json_array_append_new(reasons, json_string(hsd_plan_reason(plan, i)));
    }
    return cli_print_json(
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:b, s:s, s:I, s:I, s:I, s:I}",
                  "machine", s.machine, "plan", json_of(&best), "alone", json_of(&alone),
                  "runners_up", next, "reasons", reasons, "memory", json_of_memory(plan),
                  "break_even", s.break_even, "acceptance", s.acceptance, "acceptance_was_seen",
                  s.acceptance_was_seen, "cache", s.cache, "limited_cache_bytes",
                  (json_int_t)s.limited_bytes, "cache_limit_bytes", (json_int_t)s.limit_bytes,
                  "tried", (json_int_t)s.n_tried, "pruned", (json_int_t)s.n_pruned));
}

int cli_plan(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    plan_options o = {0};
    hsd_plan_options_init(&o.plan);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    hsd_error err = cli_no_error();
    hsd_machine *machine = NULL;
    hsd_plan *plan = NULL;
    hsd_status status = o.topology ? hsd_machine_read(o.topology, &machine, &err) : HSD_OK;
    if (status == HSD_OK) {
        o.plan.machine = machine;
        status = hsd_plan_make(&o.plan, &plan, &err);
    }
    int code = status != HSD_OK ? cli_fail(status, &err)
               : o.json         ? print_json(plan)
                                : print_text(plan, o.why);
    hsd_plan_free(&plan);
    hsd_machine_free(&machine);
    return code;
}
