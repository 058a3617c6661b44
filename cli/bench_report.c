/// Results of `hsd bench` as a table or as JSON.
#include "cli/bench.h"

#include <stdio.h>

static const char *file_name(const char *path)
{
    return path ? path : "shipped";
}

static void print_modes(const bench *b)
{
    cli_outf("%d prompts, up to %d tokens each, medians of %d repeats; the tokens of all modes are "
             "equal%s\n\n",
             b->n_prompts, b->g.session.n_tokens, b->n_repeats,
             b->with_ratio ? " but for those by the ratio rule" : "");
    cli_outf("%-13s %-11s %10s %7s %12s %9s %9s %14s %13s\n", "mode", "draft", "tokens/s", "x ar",
             "tokens/step", "accepted", "hit rate", "wait us/step", "own us/step");
    for (int i = 0; i < b->n_runs; i++) {
        const bench_mode *m = &b->modes[i];
        bool drafts = m->last.mode != HSD_MODE_AR;
        char name[32];
        cli_outf("%-13s %-11s %10.1f %7.2f %12.2f", bench_run_name(m, name, sizeof name),
                 drafts ? hsd_draft_kind_name(m->last.draft_kind) : "-", m->tokens_per_s, m->ratio,
                 m->tokens_per_step);
        if (drafts) {
            cli_outf(" %7.0f %%", 100 * m->acceptance);
        } else {
            cli_outf(" %9s", "-");
        }
        if (m->last.mode == HSD_MODE_MIRROR) {
            cli_outf(" %7.0f %%", 100 * m->hit_rate);
        } else {
            cli_outf(" %9s", "-");
        }
        cli_outf(" %14.1f %13.1f\n", m->wait_us, m->overhead_us);
    }
    cli_outf("\nwait: time the target waited for the draft; own: time of a step spent neither in a "
             "device\nnor waiting\n");
    const hsd_stats *last = &b->modes[b->n_runs - 1].last;
    cli_outf("mode %s: window %d, roots %d, exit layer %d, %d target threads, %d draft threads\n",
             hsd_mode_name(last->mode), last->window, last->roots, last->exit_layer,
             last->n_threads, last->n_draft_threads);
}

/// Why mirror is faster or slower than serial here.
static void print_overlap(const bench *b)
{
    const hsd_overlap *o = &b->overlap;
    const bench_mode *mirror = bench_mode_of(b, HSD_MODE_MIRROR);
    double serial = bench_mode_of(b, HSD_MODE_SERIAL)->tokens_per_s;
    double rollout = mirror->last.window * o->draft_token_ms;
    cli_outf(
        "\noverlap: a pass of %d rows takes %.3f ms on %d threads (serial), %.3f ms on %d beside "
        "the draft\n(mirror), of which %.3f ms lie behind the exit (Delta); a window takes the "
        "draft %.3f ms, a\nmirror step with %d roots %.3f ms\n",
        mirror->last.window + 1, o->alone_ms, o->n_threads_alone, o->beside_ms, o->n_threads_beside,
        o->delta_ms, rollout, mirror->last.roots, o->draft_step_ms);
    if (mirror->tokens_per_s >= serial) {
        return;
    }
    if (o->beside_ms - o->alone_ms > rollout) {
        cli_outf(
            "mirror is slower than serial: the core that the draft takes costs the target "
            "%.3f ms a pass, the\ndrafting that it could hide takes %.3f ms; there are too few "
            "cores for overlap to pay\n",
            o->beside_ms - o->alone_ms, rollout);
    } else if (o->draft_step_ms > o->delta_ms) {
        cli_outf("mirror is slower than serial: the branches of a step take the draft longer than "
                 "Delta; fewer roots\nor a shorter window may help\n");
    } else {
        cli_outf("mirror is slower than serial although its drafting fits behind Delta: misses and "
                 "messages cost more\nthan it hides\n");
    }
}

static void print_sessions(const bench *b)
{
    cli_outf("\nsessions at once, medians of %d repeats; the tokens of each equal those of its own "
             "run in mode ar\n\n%-8s %8s %10s %9s %14s %13s %9s %13s %9s\n",
             b->n_repeats, "mode", "sessions", "tokens/s", "x first", "each tokens/s",
             "first tok ms", "p95", "next tok ms", "p95");
    for (int i = 0; i < b->n_loads; i++) {
        const bench_load *l = &b->loads[i];
        double one = b->loads[i - i % b->n_counts].tokens_per_s;
        cli_outf("%-8s %8d %10.1f %9.2f %14.1f %13.2f %9.2f %13.3f %9.3f\n", hsd_mode_name(l->mode),
                 l->n_sessions, l->tokens_per_s, one > 0 ? l->tokens_per_s / one : 0,
                 l->tokens_per_s / l->n_sessions, l->first_ms, l->first_p95_ms, l->token_ms,
                 l->token_p95_ms);
    }
}

/// Attention alone: a line per type and context, a column per number of rows.
static void print_attention(const bench *b)
{
    cli_outf("attention of all layers, ms\n%-6s %8s", "type", "tokens");
    for (int r = 0; r < b->n_rows; r++) {
        cli_outf(" %6d rows", b->rows[r]);
    }
    cli_outf("   last / first\n");
    for (int t = 0; t < b->n_types; t++) {
        for (int i = 0; i < b->n_pasts; i++) {
            const double *ms = b->attention_ms[t][i];
            cli_outf("%-6s %8d", hsd_cache_type_name(b->types[t]), b->pasts[i]);
            for (int r = 0; r < b->n_rows; r++) {
                cli_outf(" %11.3f", ms[r]);
            }
            cli_outf(" %14.2f\n", ms[0] > 0 ? ms[b->n_rows - 1] / ms[0] : 0.0);
        }
    }
}

static void print_table(const bench *b)
{
    cli_outf("target %s, draft %s\n", file_name(b->g.engine.target_path),
             file_name(b->g.engine.draft_path));
    if (b->n_modes > 0) {
        print_modes(b);
    }
    if (b->overlap.alone_ms > 0) {
        print_overlap(b);
    }
    if (b->n_loads > 0) {
        print_sessions(b);
    }
    if (b->prefill_tokens > 0) {
        cli_outf("\nprefill of %d tokens: %.1f tokens/s\n", b->prefill_tokens,
                 b->prefill_tokens_per_s);
    }
    for (int i = 0; b->n_rendezvous > 0 && i < BENCH_N_TRANSPORTS; i++) {
        const hsd_rendezvous_times *t = &b->rendezvous[i];
        cli_outf("%sstep of the pipelines alone, %-6s: median %.1f us, 95th percentile %.1f us, "
                 "99th %.1f us; bare ZeroMQ round trip %.1f us\n",
                 i == 0 ? "\n" : "", bench_transports[i], t->p50_us, t->p95_us, t->p99_us,
                 t->zmq_p50_us);
    }
    if (b->n_pasts > 0) {
        print_attention(b);
        return;
    }
    if (b->n_rows > 0) {
        cli_outf("\ntarget pass after %d tokens\n%6s %10s %9s\n", b->n_past, "rows", "ms",
                 "x 1 row");
    }
    for (int i = 0; i < b->n_rows; i++) {
        cli_outf("%6d %10.3f", b->rows[i], b->rows_ms[i]);
        if (b->rows[0] == 1 && b->rows_ms[0] > 0) {
            cli_outf(" %9.2f", b->rows_ms[i] / b->rows_ms[0]);
        }
        cli_outf("\n");
    }
}

static json_t *json_samples(const bench *b, const bench_mode *m)
{
    json_t *array = json_array();
    for (int r = 0; array && r < b->n_repeats; r++) {
        const bench_sample *s = &m->samples[r];
        double rate = s->decode_s > 0 ? s->tokens / s->decode_s : 0;
        if (json_array_append_new(array, json_real(rate)) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_modes(const bench *b)
{
    json_t *array = json_array();
    for (int i = 0; array && i < b->n_runs; i++) {
        const bench_mode *m = &b->modes[i];
        const hsd_stats *s = &m->last;
        json_t *item =
            json_pack("{s:s, s:s, s:i, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, "
                      "s:i, s:i, s:o}",
                      "mode", hsd_mode_name(m->mode), "rule", m->by_ratio ? "ratio" : "coupled",
                      "tree", s->tree, "ran", hsd_mode_name(s->mode), "draft_kind",
                      hsd_draft_kind_name(s->draft_kind), "tokens_per_s", m->tokens_per_s,
                      "ratio_to_ar", m->ratio, "tokens_per_step", m->tokens_per_step, "acceptance",
                      m->acceptance, "hit_rate", m->hit_rate, "wait_us_per_step", m->wait_us,
                      "step_overhead_us", m->overhead_us, "window", s->window, "roots", s->roots,
                      "exit_layer", s->exit_layer, "threads", s->n_threads, "draft_threads",
                      s->n_draft_threads, "samples_tokens_per_s", json_samples(b, m));
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_sessions(const bench *b)
{
    json_t *array = json_array();
    for (int i = 0; array && i < b->n_loads; i++) {
        const bench_load *l = &b->loads[i];
        json_t *item =
            json_pack("{s:s, s:i, s:b, s:f, s:f, s:f, s:f, s:f}", "mode", hsd_mode_name(l->mode),
                      "sessions", l->n_sessions, "equal_to_ar", 1, "tokens_per_s", l->tokens_per_s,
                      "first_token_ms", l->first_ms, "first_token_p95_ms", l->first_p95_ms,
                      "token_ms", l->token_ms, "token_p95_ms", l->token_p95_ms);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_rendezvous(const bench *b)
{
    json_t *array = json_array();
    for (int i = 0; array && b->n_rendezvous > 0 && i < BENCH_N_TRANSPORTS; i++) {
        const hsd_rendezvous_times *t = &b->rendezvous[i];
        json_t *item = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f}", "transport", bench_transports[i],
                                 "steps", t->n_steps, "p50_us", t->p50_us, "p95_us", t->p95_us,
                                 "p99_us", t->p99_us, "zmq_p50_us", t->zmq_p50_us);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_rows(const bench *b)
{
    json_t *array = json_array();
    for (int i = 0; array && i < b->n_rows; i++) {
        json_t *item = json_pack("{s:i, s:f}", "n", b->rows[i], "ms", b->rows_ms[i]);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *json_attention(const bench *b)
{
    json_t *array = json_array();
    int n = b->n_types * b->n_pasts * b->n_rows;
    for (int k = 0; array && k < n; k++) {
        int r = k % b->n_rows, i = k / b->n_rows % b->n_pasts, t = k / b->n_rows / b->n_pasts;
        json_t *item =
            json_pack("{s:s, s:i, s:i, s:f}", "type", hsd_cache_type_name(b->types[t]), "past",
                      b->pasts[i], "n", b->rows[r], "ms", b->attention_ms[t][i][r]);
        if (json_array_append_new(array, item) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int print_json(const bench *b)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:b, s:o, s:o, s:{s:i, s:f}, s:o, s:i, s:o}",
                  "version", hsd_version(), "target", file_name(b->g.engine.target_path), "draft",
                  file_name(b->g.engine.draft_path), "prompts", b->n_prompts, "max_tokens",
                  b->g.session.n_tokens, "repeats", b->n_repeats, "equal", 1, "modes",
                  json_modes(b), "sessions", json_sessions(b), "prefill", "tokens",
                  b->prefill_tokens, "tokens_per_s", b->prefill_tokens_per_s, "rendezvous",
                  json_rendezvous(b), "rows_past", b->n_past, "rows", json_rows(b));
    if (object && b->n_pasts > 0) {
        json_object_del(object, "rows");
        json_object_set_new(object, "attention", json_attention(b));
    }
    const hsd_overlap *o = &b->overlap;
    if (object && o->alone_ms > 0) {
        json_object_set_new(object, "overlap",
                            json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "alone_ms",
                                      o->alone_ms, "beside_ms", o->beside_ms, "delta_ms",
                                      o->delta_ms, "draft_token_ms", o->draft_token_ms,
                                      "draft_step_ms", o->draft_step_ms, "threads_alone",
                                      o->n_threads_alone, "threads_beside", o->n_threads_beside));
    }
    return cli_print_json(object);
}

int bench_print(const bench *b)
{
    if (b->json) {
        return print_json(b);
    }
    print_table(b);
    return cli_close_stdout();
}
