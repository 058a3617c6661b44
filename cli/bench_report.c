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
             "equal\n\n",
             b->n_prompts, b->g.session.n_tokens, b->n_repeats);
    cli_outf("%-8s %-11s %10s %7s %12s %9s %9s %14s %13s\n", "mode", "draft", "tokens/s", "x ar",
             "tokens/step", "accepted", "hit rate", "wait us/step", "own us/step");
    for (int i = 0; i < b->n_modes; i++) {
        const bench_mode *m = &b->modes[i];
        bool drafts = m->last.mode != HSD_MODE_AR;
        cli_outf("%-8s %-11s %10.1f %7.2f %12.2f", hsd_mode_name(m->mode),
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
    const hsd_stats *last = &b->modes[b->n_modes - 1].last;
    cli_outf("mode %s: window %d, roots %d, exit layer %d, %d target threads, %d draft threads\n",
             hsd_mode_name(last->mode), last->window, last->roots, last->exit_layer,
             last->n_threads, last->n_draft_threads);
}

static void print_table(const bench *b)
{
    cli_outf("target %s, draft %s\n", file_name(b->g.engine.target_path),
             file_name(b->g.engine.draft_path));
    if (b->n_modes > 0) {
        print_modes(b);
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
    for (int i = 0; array && i < b->n_modes; i++) {
        const bench_mode *m = &b->modes[i];
        const hsd_stats *s = &m->last;
        json_t *item = json_pack(
            "{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:i, s:i, s:o}",
            "mode", hsd_mode_name(m->mode), "ran", hsd_mode_name(s->mode), "draft_kind",
            hsd_draft_kind_name(s->draft_kind), "tokens_per_s", m->tokens_per_s, "ratio_to_ar",
            m->ratio, "tokens_per_step", m->tokens_per_step, "acceptance", m->acceptance,
            "hit_rate", m->hit_rate, "wait_us_per_step", m->wait_us, "step_overhead_us",
            m->overhead_us, "window", s->window, "roots", s->roots, "exit_layer", s->exit_layer,
            "threads", s->n_threads, "draft_threads", s->n_draft_threads, "samples_tokens_per_s",
            json_samples(b, m));
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

static int print_json(const bench *b)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:i, s:b, s:o, s:{s:i, s:f}, s:o, s:i, s:o}", "version",
        hsd_version(), "target", file_name(b->g.engine.target_path), "draft",
        file_name(b->g.engine.draft_path), "prompts", b->n_prompts, "max_tokens",
        b->g.session.n_tokens, "repeats", b->n_repeats, "equal", 1, "modes", json_modes(b),
        "prefill", "tokens", b->prefill_tokens, "tokens_per_s", b->prefill_tokens_per_s,
        "rendezvous", json_rendezvous(b), "rows_past", b->n_past, "rows", json_rows(b));
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
