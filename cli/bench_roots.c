/// `hsd bench --coverage FILE`: how often the outcome of a verification is among the roots, by
/// their number and source, per family of prompts.
///
/// One generation per prompt, with the largest budget. Each commit is looked up in three lists,
/// all made of the same candidates at the same moment: the early exit's alone, the draft's alone,
/// and both merged. So the three are compared on equal terms, apart from timing.
#include "cli/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FAMILIES = 32, N_BUDGETS = 7, N_SOURCES = 3, NAME_MAX_BYTES = 48 };

static const int budgets[N_BUDGETS] = {1, 2, 4, 8, 16, 32, 64};
static const char *const sources[N_SOURCES] = {"exit", "draft", "both"};

typedef struct family {
    char name[NAME_MAX_BYTES];
    int n_prompts;
    hsd_coverage sum;
} family;

typedef struct coverage {
    family families[MAX_FAMILIES];
    int n_families;
    int n_too_long; ///< prompts left out
} coverage;

static family *find_family(coverage *c, const char *name)
{
    for (int i = 0; i < c->n_families; i++) {
        if (strcmp(c->families[i].name, name) == 0) {
            return &c->families[i];
        }
    }
    if (c->n_families == MAX_FAMILIES) {
        return NULL;
    }
    family *f = &c->families[c->n_families++];
    snprintf(f->name, sizeof f->name, "%s", name);
    return f;
}

static int run_prompt(const bench *b, hsd_engine *engine, coverage *c, const char *text, family *f)
{
    hsd_error err = cli_no_error();
    hsd_session *session = NULL;
    hsd_session_options o = b->g.session;
    o.mode = HSD_MODE_MIRROR;
    o.roots = budgets[N_BUDGETS - 1];
    o.window = o.window > 0 ? o.window : 4;
    o.audit_roots = true;
    hsd_status status = hsd_session_open(engine, &o, &session, &err);
    if (status == HSD_OK) {
        status = hsd_session_submit(session, text, strlen(text), &err);
    }
    if (status == HSD_OK) {
        cli_signals_cancel_session(session);
        status = hsd_session_wait(session, &err);
        cli_signals_cancel_session(NULL);
    }
    if (status == HSD_OK) {
        hsd_coverage one;
        hsd_session_coverage(session, &one);
        for (int i = 0; i < 65; i++) {
            f->sum.exit[i] += one.exit[i];
            f->sum.draft[i] += one.draft[i];
            f->sum.both[i] += one.both[i];
        }
        f->n_prompts++;
    }
    hsd_session_close(&session);
    if (status == HSD_ETOOLONG) {
        c->n_too_long++;
        return CLI_OK;
    }
    return status == HSD_OK ? CLI_OK : cli_interrupted() ? CLI_INTERRUPTED : cli_fail(status, &err);
}

/// One line of the file: an object with `prompt`, and `family` or the file's name for it.
static int run_line(const bench *b, hsd_engine *engine, coverage *c, const char *line, int n_line)
{
    json_error_t where;
    json_t *object = json_loads(line, 0, &where);
    const char *prompt = json_string_value(json_object_get(object, "prompt"));
    const char *name = json_string_value(json_object_get(object, "family"));
    int code = CLI_OK;
    if (!object || !prompt) {
        code = cli_failf("%s: line %d is no JSON object with a prompt (EFORMAT, line %d)",
                         b->coverage_path, n_line, n_line);
    } else {
        family *f = find_family(c, name ? name : "all");
        if (!f) {
            code = cli_failf("%s: more than %d families (EUNSUPPORTED, line %d)", b->coverage_path,
                             MAX_FAMILIES, n_line);
        } else if (f->n_prompts < b->n_per_family) {
            code = run_prompt(b, engine, c, prompt, f);
        }
    }
    json_decref(object);
    return code;
}

static int64_t *counts_of(family *f, int source)
{
    return source == 0 ? f->sum.exit : source == 1 ? f->sum.draft : f->sum.both;
}

/// Share of the commits among the first `budget` roots.
static double share_of(family *f, int source, int budget)
{
    const int64_t *counts = counts_of(f, source);
    int64_t covered = 0, total = 0;
    for (int i = 0; i < 65; i++) {
        covered += i < budget ? counts[i] : 0;
        total += counts[i];
    }
    return total > 0 ? (double)covered / (double)total : 0;
}

static void print_table(coverage *c)
{
    cli_outf("share of commits, in percent, whose outcome is among the first N roots of\n"
             "the early exit (exit), the draft (draft), and both merged (both)\n\n%-16s %-6s",
             "family", "roots");
    for (int i = 0; i < N_BUDGETS; i++) {
        cli_outf(" %6d", budgets[i]);
    }
    cli_outf("  commits\n");
    for (int i = 0; i < c->n_families; i++) {
        family *f = &c->families[i];
        for (int source = 0; source < N_SOURCES; source++) {
            int64_t total = 0;
            cli_outf("%-16s %-6s", source == 0 ? f->name : "", sources[source]);
            for (int j = 0; j < N_BUDGETS; j++) {
                cli_outf(" %6.1f", 100 * share_of(f, source, budgets[j]));
            }
            for (int j = 0; j < 65; j++) {
                total += counts_of(f, source)[j];
            }
            cli_outf("  %7lld\n", (long long)total);
        }
    }
    if (c->n_too_long > 0) {
        cli_outf("\n%d prompts were left out: longer than the context\n", c->n_too_long);
    }
}

static int print_json(coverage *c)
{
    json_t *families = json_array();
    for (int i = 0; i < c->n_families; i++) {
        family *f = &c->families[i];
        json_t *one = json_pack("{s:s, s:i}", "family", f->name, "prompts", f->n_prompts);
        for (int source = 0; source < N_SOURCES; source++) {
            json_t *shares = json_object();
            for (int j = 0; j < N_BUDGETS; j++) {
                char budget[16];
                snprintf(budget, sizeof budget, "%d", budgets[j]);
                json_object_set_new(shares, budget, json_real(share_of(f, source, budgets[j])));
            }
            json_object_set_new(one, sources[source], shares);
        }
        json_array_append_new(families, one);
    }
    return cli_print_json(json_pack("{s:o, s:i}", "coverage", families, "too_long", c->n_too_long));
}

/// The prompts of all families added up.
static void add_total(coverage *c)
{
    family *total = c->n_families > 1 ? find_family(c, "all families") : NULL;
    for (int i = 0; total && i < c->n_families - 1; i++) {
        const family *f = &c->families[i];
        total->n_prompts += f->n_prompts;
        for (int j = 0; j < 65; j++) {
            total->sum.exit[j] += f->sum.exit[j];
            total->sum.draft[j] += f->sum.draft[j];
            total->sum.both[j] += f->sum.both[j];
        }
    }
}

int bench_coverage(const bench *b, hsd_engine *engine)
{
    cli_text text;
    int code = cli_read_text(b->coverage_path, &text);
    if (code != CLI_OK) {
        return code;
    }
    coverage *c = calloc(1, sizeof *c);
    char *lines = strndup(text.bytes ? text.bytes : "", text.n_bytes), *rest = lines;
    int n_line = 0;
    code = c && lines ? CLI_OK : cli_failf("bench: memory could not be allocated (ENOMEM)");
    if (code == CLI_OK && strlen(lines) != text.n_bytes) {
        code = cli_failf("%s: a byte of 0 is no text (EFORMAT, byte %zu)", b->coverage_path,
                         strlen(lines));
    }
    while (code == CLI_OK && rest && *rest) {
        char *line = strsep(&rest, "\n");
        n_line++;
        if (*line) {
            code = run_line(b, engine, c, line, n_line);
        }
    }
    if (code == CLI_OK && c->n_families == 0) {
        code = cli_failf("%s: no prompts (EFORMAT)", b->coverage_path);
    }
    if (code == CLI_OK) {
        add_total(c);
        if (b->json) {
            code = print_json(c);
        } else {
            print_table(c);
        }
    }
    free(c);
    free(lines);
    free(text.bytes);
    return code;
}
