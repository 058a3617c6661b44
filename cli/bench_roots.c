/// `hsd bench --coverage FILE`: how often the outcome of a verification is among the roots, and how
/// often a branch is ready for it, by number and source of roots, per family of prompts.
///
/// Coverage: one generation per prompt, with the largest budget. Each commit is looked up in three
/// lists made of the same candidates at the same moment: the early exit's alone, the draft's alone,
/// and both merged. Hits: a generation per prompt, source and budget; once with an audited draft,
/// which completes its branches, and once as the clock has it.
#include "cli/bench_roots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int roots_budgets[ROOTS_N_BUDGETS] = {1, 2, 4, 8, 16, 32, 64};
const char *const roots_sources[ROOTS_N_SOURCES] = {"exit", "draft", "both"};

static roots_family *find_family(roots_bench *r, const char *name)
{
    for (int i = 0; i < r->n_families; i++) {
        if (strcmp(r->families[i].name, name) == 0) {
            return &r->families[i];
        }
    }
    if (r->n_families == ROOTS_MAX_FAMILIES) {
        return NULL;
    }
    roots_family *f = &r->families[r->n_families++];
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
}

/// Is `name` in a list with commas? NULL: all are.
static bool is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    while (list) {
        size_t n_item = strcspn(list, ",");
        if (n_item == n && strncmp(list, name, n) == 0) {
            return true;
        }
        list = list[n_item] == ',' ? list + n_item + 1 : NULL;
        if (!list) {
            return false;
        }
    }
    return true;
}

static hsd_status generate(const bench *b, hsd_engine *engine, const char *text, int n_roots,
                           hsd_roots_from from, bool is_audited, hsd_stats *stats,
                           hsd_coverage *coverage, hsd_error *err)
{
    hsd_session *session = NULL;
    hsd_session_options o = b->g.session;
    o.mode = HSD_MODE_MIRROR;
    o.roots = n_roots;
    o.roots_from = from;
    o.window = o.window > 0 ? o.window : 4;
    o.audit_roots = is_audited;
    hsd_status status = hsd_session_open(engine, &o, &session, err);
    if (status == HSD_OK) {
        status = hsd_session_submit(session, text, strlen(text), err);
    }
    if (status == HSD_OK) {
        cli_signals_cancel_session(session);
        status = hsd_session_wait(session, err);
        cli_signals_cancel_session(NULL);
    }
    if (status == HSD_OK) {
        hsd_session_stats(session, stats);
        hsd_session_coverage(session, coverage);
    }
    hsd_session_close(&session);
    return status;
}

static void add(int64_t *sum, const int64_t *one, int n)
{
    for (int i = 0; i < n; i++) {
        sum[i] += one[i];
    }
}

static void add_coverage(hsd_coverage *sum, const hsd_coverage *one)
{
    add(sum->draft, one->draft, ROOTS_MAX + 1);
    add(sum->exit, one->exit, ROOTS_MAX + 1);
    add(sum->both, one->both, ROOTS_MAX + 1);
    add(sum->both_not_draft, one->both_not_draft, ROOTS_MAX);
    add(sum->draft_not_both, one->draft_not_both, ROOTS_MAX);
    add(sum->both_not_exit, one->both_not_exit, ROOTS_MAX);
    add(sum->exit_not_both, one->exit_not_both, ROOTS_MAX);
}

/// The sources take turns at each budget, so that all of them meet a draft that learned as much.
static hsd_status count_hits(const bench *b, hsd_engine *engine, const char *text, roots_family *f,
                             hsd_error *err)
{
    static const hsd_roots_from from[ROOTS_N_SOURCES] = {HSD_ROOTS_FROM_EXIT, HSD_ROOTS_FROM_DRAFT,
                                                         HSD_ROOTS_FROM_BOTH};
    hsd_status status = HSD_OK;
    for (int i = 0; i < 2 * b->n_hits * ROOTS_N_SOURCES && status == HSD_OK; i++) {
        int timed = i % 2, source = i / 2 % ROOTS_N_SOURCES, at = i / 2 / ROOTS_N_SOURCES;
        hsd_stats stats;
        hsd_coverage unused;
        status =
            generate(b, engine, text, b->hits[at], from[source], timed == 0, &stats, &unused, err);
        if (status == HSD_OK) {
            f->hits[timed][source][at].hits += stats.hits;
            f->hits[timed][source][at].misses += stats.misses;
        }
    }
    return status;
}

static int run_prompt(roots_bench *r, hsd_engine *engine, const char *text, roots_family *f)
{
    hsd_error err = cli_no_error();
    hsd_stats stats;
    hsd_coverage one;
    bench_progress(f->n_prompts + 1, r->b->n_per_family, f->name);
    hsd_status status =
        generate(r->b, engine, text, ROOTS_MAX, HSD_ROOTS_FROM_BOTH, true, &stats, &one, &err);
    if (status == HSD_ETOOLONG) {
        r->n_too_long++;
        return CLI_OK;
    }
    if (status == HSD_OK) {
        add_coverage(&f->sum, &one);
        f->n_prompts++;
        status = count_hits(r->b, engine, text, f, &err);
    }
    return status == HSD_OK ? CLI_OK : cli_interrupted() ? CLI_INTERRUPTED : cli_fail(status, &err);
}

/// One line of the file: an object with `prompt`, and `family` or the file's name for it.
static int run_line(roots_bench *r, hsd_engine *engine, const char *line, int n_line)
{
    json_error_t where;
    json_t *object = json_loads(line, 0, &where);
    const char *prompt = json_string_value(json_object_get(object, "prompt"));
    const char *name = json_string_value(json_object_get(object, "family"));
    int code = CLI_OK;
    if (!object || !prompt) {
        code = cli_failf("%s: line %d is no JSON object with a prompt (EFORMAT, line %d)",
                         r->b->coverage_path, n_line, n_line);
    } else if (is_listed(r->b->families, name ? name : "all")) {
        roots_family *f = find_family(r, name ? name : "all");
        if (!f) {
            code = cli_failf("%s: more than %d families (EUNSUPPORTED, line %d)",
                             r->b->coverage_path, ROOTS_MAX_FAMILIES, n_line);
        } else if (f->n_prompts < r->b->n_per_family) {
            code = run_prompt(r, engine, prompt, f);
        }
    }
    json_decref(object);
    return code;
}

/// The prompts of all families added up.
static void add_total(roots_bench *r)
{
    int n = r->n_families;
    roots_family *total = n > 1 ? find_family(r, "all families") : NULL;
    r->has_total = total && r->n_families > n;
    for (int i = 0; i < n && r->has_total; i++) {
        const roots_family *f = &r->families[i];
        total->n_prompts += f->n_prompts;
        add_coverage(&total->sum, &f->sum);
        for (int k = 0; k < 2 * ROOTS_N_SOURCES * r->b->n_hits; k++) {
            int timed = k % 2, source = k / 2 % ROOTS_N_SOURCES, at = k / 2 / ROOTS_N_SOURCES;
            total->hits[timed][source][at].hits += f->hits[timed][source][at].hits;
            total->hits[timed][source][at].misses += f->hits[timed][source][at].misses;
        }
    }
}

static int run_lines(roots_bench *r, hsd_engine *engine, char *lines)
{
    int code = CLI_OK, n_line = 0;
    for (char *rest = lines; code == CLI_OK && rest && *rest;) {
        char *line = strsep(&rest, "\n");
        n_line++;
        if (*line) {
            code = run_line(r, engine, line, n_line);
        }
    }
    bench_progress_end();
    if (code == CLI_OK && r->n_families == 0) {
        code = r->b->families ? cli_failf("%s: no prompts of the families %s (EINVAL)",
                                          r->b->coverage_path, r->b->families)
                              : cli_failf("%s: no prompts (EFORMAT)", r->b->coverage_path);
    }
    return code;
}

int bench_coverage(const bench *b, hsd_engine *engine)
{
    cli_text text;
    int code = cli_read_text(b->coverage_path, &text);
    if (code != CLI_OK) {
        return code;
    }
    roots_bench *r = calloc(1, sizeof *r);
    char *lines = strndup(text.bytes ? text.bytes : "", text.n_bytes);
    if (!r || !lines) {
        code = cli_failf("bench: memory could not be allocated (ENOMEM)");
    } else if (strlen(lines) != text.n_bytes) {
        code = cli_failf("%s: a byte of 0 is no text (EFORMAT, byte %zu)", b->coverage_path,
                         strlen(lines));
    } else {
        r->b = b;
        code = run_lines(r, engine, lines);
    }
    if (code == CLI_OK) {
        add_total(r);
        code = roots_report(r);
    }
    free(r);
    free(lines);
    free(text.bytes);
    return code;
}
