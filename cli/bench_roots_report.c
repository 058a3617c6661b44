/// Tables, JSON and verdict of `hsd bench --coverage`.
///
/// Of a hundred commits in a family a few fall one way or the other by chance. So where both
/// sources cover less than the better one, the commits that only one of the two covers are put to
/// an exact sign test, its level shared among all comparisons (Bonferroni).
#include "cli/bench_roots.h"

#include <math.h>
#include <stdio.h>

static const double LEVEL = 0.05; ///< chance of at least one false alarm

double roots_sign_test(int64_t gained, int64_t lost)
{
    double n = (double)(gained + lost), p = 0.0;
    for (int64_t k = lost; k <= gained + lost; k++) {
        double x = (double)k;
        p += exp(lgamma(n + 1) - lgamma(x + 1) - lgamma(n - x + 1) - n * log(2.0));
    }
    return p < 1.0 ? p : 1.0;
}

static const int64_t *counts_of(const roots_family *f, int source)
{
    return source == ROOTS_EXIT ? f->sum.exit : source == ROOTS_DRAFT ? f->sum.draft : f->sum.both;
}

static int64_t total_of(const roots_family *f)
{
    int64_t total = 0;
    for (int i = 0; i <= ROOTS_MAX; i++) {
        total += f->sum.both[i];
    }
    return total;
}

/// Commits among the first `budget` roots.
static int64_t covered_of(const roots_family *f, int source, int budget)
{
    int64_t covered = 0;
    for (int i = 0; i < budget; i++) {
        covered += counts_of(f, source)[i];
    }
    return covered;
}

static double share_of(const roots_family *f, int source, int budget)
{
    int64_t total = total_of(f);
    return total > 0 ? (double)covered_of(f, source, budget) / (double)total : 0;
}

static double hit_rate(const roots_hits *hits)
{
    int64_t n = hits->hits + hits->misses;
    return n > 0 ? (double)hits->hits / (double)n : 0;
}

static roots_pair pair_of(const roots_family *f, int source, int budget)
{
    const hsd_coverage *c = &f->sum;
    bool is_exit = source == ROOTS_EXIT;
    roots_pair pair = {.gained = (is_exit ? c->both_not_exit : c->both_not_draft)[budget - 1],
                       .lost = (is_exit ? c->exit_not_both : c->draft_not_both)[budget - 1]};
    pair.p = roots_sign_test(pair.gained, pair.lost);
    return pair;
}

/// Families, budgets and sources that both are compared with; the sum of all families is none.
static int n_compared(const roots_bench *r)
{
    return (r->n_families - r->has_total) * ROOTS_N_BUDGETS * ROOTS_BOTH;
}

static bool is_total(const roots_bench *r, int i)
{
    return r->has_total && i == r->n_families - 1;
}

/// Of the sum of all families every loss counts, of a single family those beyond noise.
static bool is_worse(const roots_bench *r, int i, const roots_pair *pair)
{
    return pair->lost > pair->gained && (is_total(r, i) || pair->p * n_compared(r) < LEVEL);
}

static void print_coverage(const roots_bench *r)
{
    cli_outf("share of commits, in percent, whose outcome is among the first N roots of\n"
             "the early exit (exit), the draft (draft), and both merged (both)\n\n%-16s %-6s",
             "family", "roots");
    for (int i = 0; i < ROOTS_N_BUDGETS; i++) {
        cli_outf(" %6d", roots_budgets[i]);
    }
    cli_outf("  commits\n");
    for (int i = 0; i < r->n_families; i++) {
        const roots_family *f = &r->families[i];
        for (int source = 0; source < ROOTS_N_SOURCES; source++) {
            cli_outf("%-16s %-6s", source == 0 ? f->name : "", roots_sources[source]);
            for (int j = 0; j < ROOTS_N_BUDGETS; j++) {
                cli_outf(" %6.1f", 100 * share_of(f, source, roots_budgets[j]));
            }
            cli_outf("  %7lld\n", (long long)total_of(f));
        }
    }
}

static void print_hits(const roots_bench *r, int timed)
{
    cli_outf("\nhit rate, in percent: commits for which a branch was ready, of generations with N "
             "roots,\n%s\n\n%-16s %-6s",
             timed ? "as the clock had it"
                   : "the draft given time to complete its branches before it hears of a commit",
             "family", "roots");
    for (int i = 0; i < r->b->n_hits; i++) {
        cli_outf(" %6d", r->b->hits[i]);
    }
    cli_outf("\n");
    for (int i = 0; i < r->n_families; i++) {
        const roots_family *f = &r->families[i];
        for (int source = 0; source < ROOTS_N_SOURCES; source++) {
            cli_outf("%-16s %-6s", source == 0 ? f->name : "", roots_sources[source]);
            for (int j = 0; j < r->b->n_hits; j++) {
                cli_outf(" %6.1f", 100 * hit_rate(&f->hits[timed][source][j]));
            }
            cli_outf("\n");
        }
    }
}

/// Calls `each` for every family, budget and source that covers more than both do. Returns the
/// exit code.
static int judge(const roots_bench *r, json_t *out,
                 void (*each)(const roots_bench *, int, int, int, const roots_pair *, json_t *))
{
    int code = CLI_OK;
    for (int i = 0; i < r->n_families; i++) {
        for (int j = 0; j < ROOTS_N_BUDGETS; j++) {
            for (int source = 0; source < ROOTS_BOTH; source++) {
                roots_pair pair = pair_of(&r->families[i], source, roots_budgets[j]);
                if (pair.lost > pair.gained) {
                    each(r, i, j, source, &pair, out);
                    code = is_worse(r, i, &pair) ? CLI_WORSE : code;
                }
            }
        }
    }
    return code;
}

static void print_loss(const roots_bench *r, int i, int j, int source, const roots_pair *pair,
                       json_t *out)
{
    const roots_family *f = &r->families[i];
    (void)out;
    cli_outf("  %s, %d roots: both %lld, %s %lld of %lld; %lld only both, %lld only %s, p %.2g%s\n",
             f->name, roots_budgets[j], (long long)covered_of(f, ROOTS_BOTH, roots_budgets[j]),
             roots_sources[source], (long long)covered_of(f, source, roots_budgets[j]),
             (long long)total_of(f), (long long)pair->gained, (long long)pair->lost,
             roots_sources[source], pair->p, is_worse(r, i, pair) ? ": WORSE" : "");
}

static void put_loss(const roots_bench *r, int i, int j, int source, const roots_pair *pair,
                     json_t *out)
{
    json_array_append_new(out, json_pack("{s:s, s:i, s:s, s:I, s:I, s:f, s:b}", "family",
                                         r->families[i].name, "roots", roots_budgets[j], "source",
                                         roots_sources[source], "gained", (json_int_t)pair->gained,
                                         "lost", (json_int_t)pair->lost, "p", pair->p, "worse",
                                         is_worse(r, i, pair)));
}

static int print_text(const roots_bench *r)
{
    print_coverage(r);
    cli_outf("\nwhere the first N of both cover less than those of one source (exact sign test on "
             "the commits\nthat only one covers; WORSE: over all families, or p below %.2g / %d "
             "comparisons):\n",
             LEVEL, n_compared(r));
    json_t *losses = json_array(); // counted only
    (void)judge(r, losses, put_loss);
    if (json_array_size(losses) == 0) {
        cli_outf("  nowhere\n");
    }
    json_decref(losses);
    int code = judge(r, NULL, print_loss);
    for (int timed = 0; timed < 2 && r->b->n_hits > 0; timed++) {
        print_hits(r, timed);
    }
    if (r->n_too_long > 0) {
        cli_outf("\n%d prompts were left out: longer than the context\n", r->n_too_long);
    }
    int printed = cli_close_stdout();
    return printed == CLI_OK ? code : printed;
}

static json_t *rates_of(const roots_bench *r, const roots_family *f, int timed)
{
    json_t *all = json_object();
    for (int source = 0; source < ROOTS_N_SOURCES; source++) {
        json_t *rates = json_object();
        for (int j = 0; j < r->b->n_hits; j++) {
            char budget[16];
            snprintf(budget, sizeof budget, "%d", r->b->hits[j]);
            json_object_set_new(rates, budget, json_real(hit_rate(&f->hits[timed][source][j])));
        }
        json_object_set_new(all, roots_sources[source], rates);
    }
    return all;
}

static int print_json(const roots_bench *r)
{
    json_t *families = json_array(), *losses = json_array();
    for (int i = 0; i < r->n_families; i++) {
        const roots_family *f = &r->families[i];
        json_t *one = json_pack("{s:s, s:i, s:I}", "family", f->name, "prompts", f->n_prompts,
                                "commits", (json_int_t)total_of(f));
        for (int source = 0; source < ROOTS_N_SOURCES; source++) {
            json_t *shares = json_object();
            for (int j = 0; j < ROOTS_N_BUDGETS; j++) {
                char budget[16];
                snprintf(budget, sizeof budget, "%d", roots_budgets[j]);
                json_object_set_new(shares, budget,
                                    json_real(share_of(f, source, roots_budgets[j])));
            }
            json_object_set_new(one, roots_sources[source], shares);
        }
        json_object_set_new(one, "hit_rate_completed", rates_of(r, f, 0));
        json_object_set_new(one, "hit_rate", rates_of(r, f, 1));
        json_array_append_new(families, one);
    }
    int code = judge(r, losses, put_loss);
    int printed = cli_print_json(json_pack("{s:o, s:o, s:i, s:b, s:i}", "coverage", families,
                                           "losses", losses, "comparisons", n_compared(r), "worse",
                                           code == CLI_WORSE, "too_long", r->n_too_long));
    return printed == CLI_OK ? code : printed;
}

int roots_report(const roots_bench *r)
{
    return r->b->json ? print_json(r) : print_text(r);
}
