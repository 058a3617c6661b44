/// Many sessions at once for `hsd bench`: what all of them make per second, and how long one of
/// them waits for its first and for each further token.
///
/// The sessions of a mode are opened once; each repeat runs the first n of them for every count n,
/// so that a machine that slows down slows all counts. Tokens are stamped in the callback, on the
/// session's own thread.
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/// One session of the crowd.
typedef struct member {
    hsd_session *session; ///< owned
    const bench_prompt *prompt;
    const cli_output *expected; ///< of its own mode-ar run; NULL in that run itself
    cli_output made;
    double *at_s; ///< owned, [n_ctx]; when each token came
    double submit_s;
    bool failed; ///< memory is short
} member;

/// Times of one count over all repeats, in milliseconds. Owned, growing.
typedef struct times {
    double *x;
    int n, cap;
} times;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail_memory(void)
{
    return cli_failf("bench: memory could not be allocated (ENOMEM)");
}

static bool times_add(times *t, double ms)
{
    if (t->n == t->cap) {
        int cap = 2 * t->cap + 256;
        double *grown = realloc(t->x, (size_t)cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        t->x = grown;
        t->cap = cap;
    }
    t->x[t->n++] = ms;
    return true;
}

static bool on_token(void *user, const hsd_token *token)
{
    member *m = user;
    if (token->id >= 0) {
        m->at_s[m->made.n_tokens] = now_s();
    }
    m->failed = m->failed || !cli_output_add(&m->made, token);
    return !m->failed && !cli_interrupted();
}

static int open_member(const bench *b, hsd_engine *engine, hsd_mode mode, member *m)
{
    hsd_error err = cli_no_error();
    hsd_session_options options = b->g.session;
    options.mode = mode;
    options.draft_kind = mode == HSD_MODE_AR ? HSD_DRAFT_AUTO : options.draft_kind;
    options.on_token = on_token;
    options.on_token_user = m;
    m->at_s = calloc((size_t)hsd_engine_n_ctx(engine), sizeof *m->at_s);
    if (!m->at_s) {
        return fail_memory();
    }
    hsd_status status = hsd_session_open(engine, &options, &m->session, &err);
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

static void close_members(member *members, int n)
{
    for (int i = 0; members && i < n; i++) {
        hsd_session_close(&members[i].session);
        cli_output_fini(&members[i].made);
        free(members[i].at_s);
    }
    free(members);
}

static int check(const bench *b, const member *m, hsd_mode mode, int i, int n)
{
    const cli_output *e = m->expected;
    if (!e || (e->n_tokens == m->made.n_tokens &&
               memcmp(e->tokens, m->made.tokens, e->n_tokens * sizeof *e->tokens) == 0)) {
        return CLI_OK;
    }
    size_t at = 0;
    while (at < e->n_tokens && at < m->made.n_tokens && e->tokens[at] == m->made.tokens[at]) {
        at++;
    }
    return cli_failf("bench: session %d of %d in mode %s differs from its own run in mode ar: "
                     "prompt %d, token %zu of %zu and %zu",
                     i + 1, n, hsd_mode_name(mode), (int)(m->prompt - b->prompts) + 1, at,
                     m->made.n_tokens, e->n_tokens);
}

/// Submit to all, wait for all. `*wall_s` is the time from the first submit to the last end.
static int run_together(member *members, int n, double *wall_s)
{
    hsd_error err = cli_no_error();
    hsd_status status = HSD_OK;
    double begin = now_s();
    int n_submitted = 0;
    for (; n_submitted < n && status == HSD_OK; n_submitted++) {
        member *m = &members[n_submitted];
        cli_output_clear(&m->made);
        m->submit_s = now_s();
        status =
            hsd_session_submit_tokens(m->session, m->prompt->tokens, m->prompt->n_tokens, &err);
    }
    bool failed = false;
    for (int i = 0; i < n_submitted; i++) {
        hsd_error own = cli_no_error();
        hsd_status end = hsd_session_wait(members[i].session, &own);
        failed = failed || members[i].failed;
        if (status == HSD_OK && end != HSD_OK) {
            status = end;
            err = own;
        }
    }
    *wall_s = now_s() - begin;
    if (cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    return failed ? fail_memory() : status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

/// The tokens that a prompt's session must make: its run in mode ar, alone.
static int run_alone(const bench *b, hsd_engine *engine, int i_prompt, cli_output *out)
{
    member m = {.prompt = &b->prompts[i_prompt]};
    double wall_s;
    int code = open_member(b, engine, HSD_MODE_AR, &m);
    if (code == CLI_OK) {
        code = run_together(&m, 1, &wall_s);
    }
    hsd_session_close(&m.session);
    free(m.at_s);
    *out = m.made;
    return code;
}

/// Add one repeat's times to those of its count.
static bool keep_times(const member *members, int n, times *first, times *gaps)
{
    bool ok = true;
    for (int i = 0; i < n; i++) {
        const member *m = &members[i];
        for (size_t t = 0; ok && t < m->made.n_tokens; t++) {
            double before = t == 0 ? m->submit_s : m->at_s[t - 1];
            ok = times_add(t == 0 ? first : gaps, 1e3 * (m->at_s[t] - before));
        }
    }
    return ok;
}

static int run_repeat(bench *b, bench_load *load, member *members, int r, times *first, times *gaps)
{
    double wall_s, n_tokens = 0;
    int code = run_together(members, load->n_sessions, &wall_s);
    for (int i = 0; code == CLI_OK && i < load->n_sessions; i++) {
        code = check(b, &members[i], load->mode, i, load->n_sessions);
        n_tokens += (double)members[i].made.n_tokens;
    }
    if (code != CLI_OK || r < 0) {
        return code;
    }
    load->rates[r] = wall_s > 0 ? n_tokens / wall_s : 0;
    return keep_times(members, load->n_sessions, first, gaps) ? CLI_OK : fail_memory();
}

static void summarise(const bench *b, bench_load *load, times *first, times *gaps)
{
    load->tokens_per_s = bench_median(load->rates, b->n_repeats);
    load->first_ms = bench_quantile(first->x, first->n, 0.5);
    load->first_p95_ms = bench_quantile(first->x, first->n, 0.95);
    load->token_ms = bench_quantile(gaps->x, gaps->n, 0.5);
    load->token_p95_ms = bench_quantile(gaps->x, gaps->n, 0.95);
}

/// All counts of one mode. loads [n_counts].
static int measure_mode(bench *b, hsd_engine *engine, bench_load *loads, const cli_output *expected)
{
    times first[BENCH_MAX_COUNTS] = {0}, gaps[BENCH_MAX_COUNTS] = {0};
    int n_most = 0;
    for (int i = 0; i < b->n_counts; i++) {
        n_most = b->counts[i] > n_most ? b->counts[i] : n_most;
    }
    member *members = calloc((size_t)n_most, sizeof *members);
    int code = members ? CLI_OK : fail_memory();
    for (int i = 0; code == CLI_OK && i < n_most; i++) {
        members[i].prompt = &b->prompts[i % b->n_prompts];
        members[i].expected = &expected[i % b->n_prompts];
        code = open_member(b, engine, loads->mode, &members[i]);
    }
    for (int r = -1; r < b->n_repeats; r++) { // the first one warms up and is not kept
        for (int i = 0; code == CLI_OK && i < b->n_counts; i++) {
            int which = r < 0 ? i : (i + r) % b->n_counts;
            bench_progress(r + 1, b->n_repeats, hsd_mode_name(loads->mode));
            code = run_repeat(b, &loads[which], members, r, &first[which], &gaps[which]);
        }
    }
    for (int i = 0; i < b->n_counts; i++) {
        if (code == CLI_OK) {
            summarise(b, &loads[i], &first[i], &gaps[i]);
        }
        free(first[i].x);
        free(gaps[i].x);
    }
    close_members(members, n_most);
    return code;
}

static int measure(bench *b, hsd_engine *engine, const cli_output *expected)
{
    for (int m = 0; m < b->n_modes; m++) {
        bench_load *loads = &b->loads[b->n_loads];
        for (int i = 0; i < b->n_counts; i++) {
            loads[i].mode = b->modes[m].mode;
            loads[i].n_sessions = b->counts[i];
            loads[i].rates = calloc((size_t)b->n_repeats, sizeof *loads[i].rates);
            if (!loads[i].rates) {
                return fail_memory();
            }
            b->n_loads++;
        }
        int code = measure_mode(b, engine, loads, expected);
        if (code != CLI_OK) {
            return code;
        }
    }
    return CLI_OK;
}

int bench_measure_sessions(bench *b, hsd_engine *engine)
{
    cli_output expected[BENCH_MAX_PROMPTS] = {0};
    int code = CLI_OK;
    for (int i = 0; i < b->n_prompts && code == CLI_OK; i++) {
        code = run_alone(b, engine, i, &expected[i]);
    }
    if (code == CLI_OK) {
        code = measure(b, engine, expected);
    }
    bench_progress_end();
    for (int i = 0; i < b->n_prompts; i++) {
        cli_output_fini(&expected[i]);
    }
    return code;
}
