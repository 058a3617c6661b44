/// Measuring for `hsd bench`: repeats of all modes are interleaved, so that a machine that slows
/// down slows all of them, and every mode must make the same tokens.
#include "cli/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { POLL_MS = 100 };

const char *const bench_transports[BENCH_N_TRANSPORTS] = {"inproc", "ipc"};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *x, int n)
{
    if (n == 0) {
        return 0;
    }
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

double bench_quantile(double *x, int n, double q)
{
    if (n == 0) {
        return 0;
    }
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    int rank = (int)ceil(q * n);
    return x[rank > 0 ? rank - 1 : 0];
}

/// Tokens of one generation, checked against the first run of the same prompt.
typedef struct check {
    bench_prompt *prompt;
    const bench_mode *mode;
    int n;
    bool first;
} check;

static int check_token(check *c, int32_t token)
{
    bench_prompt *p = c->prompt;
    if (c->first) {
        int32_t *grown = realloc(p->expected, (size_t)(c->n + 1) * sizeof *grown);
        if (!grown) {
            return cli_failf("bench: memory could not be allocated (ENOMEM)");
        }
        p->expected = grown;
        p->expected[c->n++] = token;
        p->n_expected = c->n;
        return CLI_OK;
    }
    if (c->n >= p->n_expected || p->expected[c->n] != token) {
        return cli_failf("bench: the text is not the same in all modes: mode %s gives token %d at "
                         "position %d, where %d was expected",
                         hsd_mode_name(c->mode->mode), (int)token, c->n,
                         c->n < p->n_expected ? (int)p->expected[c->n] : -1);
    }
    c->n++;
    return CLI_OK;
}

static int check_end(const check *c)
{
    if (c->n != c->prompt->n_expected) {
        return cli_failf("bench: the text is not the same in all modes: mode %s ends after %d "
                         "tokens, not %d",
                         hsd_mode_name(c->mode->mode), c->n, c->prompt->n_expected);
    }
    return CLI_OK;
}

/// Wait for a submitted generation, then look at its tokens: nobody disturbs it while it runs.
/// `c` may be NULL.
static int drain(hsd_session *session, check *c)
{
    hsd_error err = cli_no_error();
    hsd_token token = {0};
    cli_signals_cancel_session(session);
    hsd_status status = hsd_session_wait(session, &err);
    cli_signals_cancel_session(NULL);
    if (cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    while ((status = hsd_session_next(session, 0, &token, &err)) == HSD_OK) {
        if (token.id >= 0 && c && check_token(c, token.id) != CLI_OK) {
            return CLI_FAILURE;
        }
    }
    if (status != HSD_EEND) {
        return cli_fail(status, &err);
    }
    return c ? check_end(c) : CLI_OK;
}

static int generate(hsd_session *session, const int32_t *tokens, int n_tokens, check *c,
                    hsd_stats *stats)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_session_submit_tokens(session, tokens, n_tokens, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    int code = drain(session, c);
    hsd_session_stats(session, stats);
    return code;
}

/// All prompts once in one mode. The first prompt of all is run by the first mode: it sets what
/// is expected of the others.
static int run_repeat(bench *b, bench_mode *mode, hsd_session *session, bench_sample *sample)
{
    *sample = (bench_sample){0};
    for (int i = 0; i < b->n_prompts; i++) {
        bench_prompt *p = &b->prompts[i];
        check c = {.prompt = p, .mode = mode, .first = !p->expected};
        hsd_stats s = {0};
        int code = generate(session, p->tokens, p->n_tokens, mode->by_ratio ? NULL : &c, &s);
        if (code != CLI_OK) {
            return code;
        }
        sample->tokens += s.n_tokens;
        sample->steps += (double)s.steps;
        sample->drafted += (double)s.drafted;
        sample->accepted += (double)s.accepted;
        sample->hits += (double)s.hits;
        sample->misses += (double)s.misses;
        sample->prompt_tokens += s.n_prompt;
        sample->prefill_s += s.prefill_s;
        sample->decode_s += s.decode_s;
        sample->wait_s += s.wait_s;
        sample->overhead_s += s.step_overhead_s / b->n_prompts;
        mode->last = s;
    }
    return CLI_OK;
}

static double ratio_of(double a, double b)
{
    return b > 0 ? a / b : 0;
}

typedef double (*sample_value)(const bench_sample *s);

static double value_rate(const bench_sample *s)
{
    return ratio_of(s->tokens, s->decode_s);
}

static double value_per_step(const bench_sample *s)
{
    return ratio_of(s->tokens, s->steps);
}

static double value_acceptance(const bench_sample *s)
{
    return ratio_of(s->accepted, s->drafted);
}

static double value_hit_rate(const bench_sample *s)
{
    return ratio_of(s->hits, s->hits + s->misses);
}

static double value_wait_us(const bench_sample *s)
{
    return 1e6 * ratio_of(s->wait_s, s->steps);
}

static double value_overhead_us(const bench_sample *s)
{
    return 1e6 * s->overhead_s;
}

static double median_of(const bench *b, const bench_mode *mode, sample_value value)
{
    double x[BENCH_MAX_REPEATS];
    for (int r = 0; r < b->n_repeats; r++) {
        x[r] = value(&mode->samples[r]);
    }
    return bench_median(x, b->n_repeats);
}

static double median_ratio(const bench *b, const bench_mode *mode, const bench_mode *ar)
{
    double x[BENCH_MAX_REPEATS];
    for (int r = 0; r < b->n_repeats; r++) {
        x[r] = ratio_of(value_rate(&mode->samples[r]), value_rate(&ar->samples[r]));
    }
    return bench_median(x, b->n_repeats);
}

static void summarise(bench *b)
{
    const bench_mode *ar = NULL;
    for (int i = 0; i < b->n_runs; i++) {
        ar = b->modes[i].mode == HSD_MODE_AR ? &b->modes[i] : ar;
    }
    for (int i = 0; i < b->n_runs; i++) {
        bench_mode *mode = &b->modes[i];
        mode->tokens_per_s = median_of(b, mode, value_rate);
        mode->tokens_per_step = median_of(b, mode, value_per_step);
        mode->acceptance = median_of(b, mode, value_acceptance);
        mode->hit_rate = median_of(b, mode, value_hit_rate);
        mode->wait_us = median_of(b, mode, value_wait_us);
        mode->overhead_us = median_of(b, mode, value_overhead_us);
        mode->ratio = ar ? median_ratio(b, mode, ar) : 0;
    }
}

void bench_progress(int repeat, int n_repeats, const char *mode)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\rhsd: repeat %d of %d, mode %-12s", repeat, n_repeats, mode);
    }
}

const char *bench_run_name(const bench_mode *mode, char *out, size_t cap)
{
    snprintf(out, cap, "%s%s", hsd_mode_name(mode->mode),
             mode->by_ratio   ? " ratio"
             : mode->tree > 0 ? " tree"
                              : "");
    return out;
}

void bench_progress_end(void)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%50s\r", "");
    }
}

/// Repeat -1 warms up and is not kept. The order of the modes rotates from repeat to repeat.
static int measure_open_modes(bench *b, hsd_session *const *sessions)
{
    for (int r = -1; r < b->n_repeats; r++) {
        for (int i = 0; i < b->n_runs; i++) {
            int which = r < 0 ? i : (i + r) % b->n_runs;
            bench_mode *mode = &b->modes[which];
            bench_sample warm_up;
            char name[32];
            bench_progress(r + 1, b->n_repeats, bench_run_name(mode, name, sizeof name));
            int code = run_repeat(b, mode, sessions[which], r < 0 ? &warm_up : &mode->samples[r]);
            if (code != CLI_OK) {
                return code;
            }
        }
    }
    return CLI_OK;
}

int bench_measure_modes(bench *b, hsd_engine *engine)
{
    hsd_error err = cli_no_error();
    hsd_session *sessions[BENCH_MAX_RUNS] = {0};
    int code = CLI_OK;
    for (int i = 0; i < b->n_runs && code == CLI_OK; i++) {
        bench_mode *mode = &b->modes[i];
        mode->samples = calloc((size_t)b->n_repeats, sizeof *mode->samples);
        if (!mode->samples) {
            code = cli_failf("bench: memory could not be allocated (ENOMEM)");
            break;
        }
        hsd_session_options options = b->g.session;
        options.mode = mode->mode;
        options.tree = mode->tree > 0 ? mode->tree : options.tree;
        options.sampling.rule = mode->by_ratio ? HSD_RULE_RATIO : HSD_RULE_COUPLED;
        hsd_status status = hsd_session_open(engine, &options, &sessions[i], &err);
        code = status == HSD_OK ? CLI_OK : cli_fail(status, &err);
    }
    if (code == CLI_OK) {
        code = measure_open_modes(b, sessions);
    }
    bench_progress_end();
    for (int i = 0; i < b->n_runs; i++) {
        hsd_session_close(&sessions[i]);
    }
    if (code == CLI_OK) {
        summarise(b);
    }
    return code;
}

/// The prompts' tokens, over and over.
static void fill_tokens(const bench *b, int32_t *out, int n)
{
    for (int i = 0, p = 0, at = 0; i < n; i++, at++) {
        while (at >= b->prompts[p].n_tokens) {
            p = (p + 1) % b->n_prompts;
            at = 0;
        }
        out[i] = b->prompts[p].tokens[at];
    }
}

static int measure_prefill(bench *b, hsd_session *session, const int32_t *tokens)
{
    double rates[BENCH_MAX_REPEATS];
    for (int r = -1; r < b->n_repeats; r++) {
        hsd_stats s = {0};
        int code = generate(session, tokens, b->prefill_tokens, NULL, &s);
        if (code != CLI_OK) {
            return code;
        }
        if (r >= 0) {
            rates[r] = ratio_of(s.n_prompt, s.prefill_s);
        }
    }
    b->prefill_tokens_per_s = bench_median(rates, b->n_repeats);
    return CLI_OK;
}

int bench_measure_prefill(bench *b, hsd_engine *engine)
{
    hsd_error err = cli_no_error();
    hsd_session *session = NULL;
    int room = hsd_engine_n_ctx(engine) - 1;
    b->prefill_tokens = b->n_prefill < room ? b->n_prefill : room;
    int32_t *tokens = malloc((size_t)(b->prefill_tokens + 1) * sizeof *tokens);
    if (!tokens) {
        return cli_failf("bench: memory could not be allocated (ENOMEM)");
    }
    fill_tokens(b, tokens, b->prefill_tokens);
    hsd_session_options options = b->g.session;
    options.mode = HSD_MODE_AR;
    options.draft_kind = HSD_DRAFT_AUTO;
    options.n_tokens = 1;
    hsd_status status = hsd_session_open(engine, &options, &session, &err);
    int code = status == HSD_OK ? measure_prefill(b, session, tokens) : cli_fail(status, &err);
    hsd_session_close(&session);
    free(tokens);
    return code;
}

static int measure_attention(bench *b, hsd_engine *engine)
{
    for (int t = 0; t < b->n_types; t++) {
        for (int i = 0; i < b->n_pasts; i++) {
            hsd_error err = cli_no_error();
            hsd_status status =
                hsd_measure_attention(engine, b->types[t], b->rows, b->n_rows, b->pasts[i],
                                      4 * b->n_repeats, b->attention_ms[t][i], &err);
            if (status != HSD_OK) {
                return cli_fail(status, &err);
            }
            if (cli_interrupted()) {
                return CLI_INTERRUPTED;
            }
        }
    }
    return CLI_OK;
}

int bench_measure_rows(bench *b, hsd_engine *engine)
{
    if (b->n_pasts > 0) {
        return measure_attention(b, engine);
    }
    for (int i = 0; i < b->n_rows; i++) {
        hsd_error err = cli_no_error();
        int repeats = 10 * b->n_repeats;
        hsd_status status =
            hsd_measure_pass(engine, b->rows[i], b->n_past, repeats, &b->rows_ms[i], &err);
        if (status != HSD_OK) {
            return cli_fail(status, &err);
        }
        if (cli_interrupted()) {
            return CLI_INTERRUPTED;
        }
    }
    return CLI_OK;
}

const bench_mode *bench_mode_of(const bench *b, hsd_mode mode)
{
    for (int i = 0; i < b->n_modes; i++) {
        if (b->modes[i].mode == mode) {
            return &b->modes[i];
        }
    }
    return NULL;
}

int bench_measure_overlap(bench *b, hsd_engine *engine)
{
    hsd_error err = cli_no_error();
    const bench_mode *mirror = bench_mode_of(b, HSD_MODE_MIRROR);
    if (!mirror || !bench_mode_of(b, HSD_MODE_SERIAL) || b->g.engine.n_workers > 0 ||
        mirror->last.draft_kind != HSD_DRAFT_MODEL) {
        return CLI_OK;
    }
    hsd_status status =
        hsd_measure_overlap(engine, mirror->last.window, mirror->last.roots,
                            mirror->last.exit_layer, 10 * b->n_repeats, &b->overlap, &err);
    return status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

int bench_measure_rendezvous(bench *b)
{
    for (int i = 0; i < BENCH_N_TRANSPORTS; i++) {
        hsd_error err = cli_no_error();
        hsd_status status =
            hsd_measure_rendezvous(bench_transports[i], b->n_rendezvous, &b->rendezvous[i], &err);
        if (status != HSD_OK) {
            return cli_fail(status, &err);
        }
    }
    return CLI_OK;
}
