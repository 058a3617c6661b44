/// A profile for people.
#include "base/error.h"
#include "base/numbers.h"
#include "engine/profile.h"

#include <stdio.h>
#include <stdlib.h>

static const char *role_of(hsdi_cost_role role)
{
    return role == HSDI_COST_TARGET ? "target" : "draft";
}

/// "cpu, 2 threads".
static void where(const hsdi_profile *p, int i_device, int n_threads, char *out, size_t cap)
{
    const char *name = p->devices[i_device].name;
    if (n_threads > 0) {
        snprintf(out, cap, "%s, %d thread%s", name, n_threads, n_threads == 1 ? "" : "s");
    } else {
        snprintf(out, cap, "%s", name);
    }
}

/// "cpu, 2 threads, behind 128".
static void where_and_when(const hsdi_profile *p, const hsdi_cost_table *t, char *out, size_t cap)
{
    char place[96];
    where(p, t->i_device, t->n_threads, place, sizeof place);
    snprintf(out, cap, "%.80s, behind %d", place, t->n_past);
}

/// The whole pass or rollout that was measured for a row count; NULL: none.
static const hsdi_profile_pass *whole_of(const hsdi_profile *p, const hsdi_cost_table *t,
                                         hsdi_profile_part part, int n_rows)
{
    for (int i = 0; i < p->n_passes; i++) {
        const hsdi_profile_pass *pass = &p->passes[i];
        if (pass->role == t->role && pass->i_device == t->i_device &&
            pass->n_threads == t->n_threads && pass->n_past == t->n_past && pass->part == part &&
            pass->n_rows == n_rows) {
            return pass;
        }
    }
    return NULL;
}

static void put_passes(FILE *file, const hsdi_profile *p)
{
    char place[112];
    fprintf(
        file,
        "Whole passes, ms (and half of the range between the quartiles), by rows, behind so many "
        "tokens\n"
        "%-42s",
        "");
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        fprintf(file, " %15d", hsdi_cost_row_counts[i]);
    }
    for (int k = 0; k < p->costs.n_tables; k++) {
        const hsdi_cost_table *t = &p->costs.tables[k];
        where_and_when(p, t, place, sizeof place);
        fprintf(file, "\n%-6s on %-32.32s", role_of(t->role), place);
        for (int i = 0; i < HSDI_COST_ROWS; i++) {
            const hsdi_profile_pass *pass =
                whole_of(p, t, HSDI_PART_WHOLE, hsdi_cost_row_counts[i]);
            if (pass) {
                fprintf(file, " %8.3f +-%5.3f", pass->median_ns * 1e-6,
                        0.5e-6 * (pass->high_ns - pass->low_ns));
            } else {
                fprintf(file, " %15s", "-");
            }
        }
    }
    fprintf(file, "\n\n");
}

static void put_tables(FILE *file, const hsdi_profile *p)
{
    char place[112];
    fprintf(file, "What that is made of, us: fixed; one layer and the head, for 1, 8 and 64 rows "
                  "(~: beyond what was measured)\n");
    for (int k = 0; k < p->costs.n_tables; k++) {
        const hsdi_cost_table *t = &p->costs.tables[k];
        bool is_all = whole_of(p, t, HSDI_PART_WHOLE, 64) != NULL;
        where_and_when(p, t, place, sizeof place);
        fprintf(file, "%-6s on %-32.32s %8.1f; %8.1f %8.1f %s%.1f; %8.1f %8.1f %s%.1f\n",
                role_of(t->role), place, t->fixed_ns * 1e-3, t->layer_ns[0] * 1e-3,
                t->layer_ns[3] * 1e-3, is_all ? "" : "~", t->layer_ns[6] * 1e-3,
                t->head_ns[0] * 1e-3, t->head_ns[3] * 1e-3, is_all ? "" : "~",
                t->head_ns[6] * 1e-3);
    }
    fprintf(file, "\n");
}

static void put_slowdowns(FILE *file, const hsdi_profile *p)
{
    char place[96], other[96];
    if (p->costs.n_slowdowns > 0) {
        fprintf(file, "Beside each other, times over those alone (and the quartiles)\n");
    }
    for (int k = 0; k < p->costs.n_slowdowns; k++) {
        const hsdi_cost_slowdown *s = &p->costs.slowdowns[k];
        where(p, s->i_device, s->n_threads, place, sizeof place);
        where(p, s->i_beside, s->n_beside, other, sizeof other);
        fprintf(file, "%-6s on %-24.24s beside %-6s on %-24.24s %5.2f (%.2f to %.2f)\n",
                role_of(s->role), place,
                role_of(s->role == HSDI_COST_TARGET ? HSDI_COST_DRAFT : HSDI_COST_TARGET), other,
                s->factor, p->slowdown_ranges[k].low, p->slowdown_ranges[k].high);
    }
    fprintf(file, p->costs.n_slowdowns > 0 ? "\n" : "");
}

static void put_turns(FILE *file, const hsdi_profile *p)
{
    char place[96], other[96];
    if (p->costs.n_turns > 0) {
        fprintf(file, "In turn, us beyond the passes: a serial step, and each call of the draft\n");
    }
    for (int k = 0; k < p->costs.n_turns; k++) {
        const hsdi_cost_turn *t = &p->costs.turns[k];
        where(p, t->i_target, t->n_target, place, sizeof place);
        where(p, t->i_draft, t->n_draft, other, sizeof other);
        fprintf(file, "target on %-24.24s and draft on %-24.24s %6.1f; %.1f\n", place, other,
                t->step_ns * 1e-3, t->call_ns * 1e-3);
    }
    fprintf(file, p->costs.n_turns > 0 ? "\n" : "");
}

static void put_devices(FILE *file, const hsdi_profile *p)
{
    for (int i = 0; i < p->n_devices; i++) {
        const hsdi_profile_device *d = &p->devices[i];
        if (d->failure[0]) {
            fprintf(file, "%s: not measured: %s\n", d->name, d->failure);
        } else if (d->to_latency_ns > 0.0) {
            fprintf(file, "%s: a submission that copies 1 KB each way %.1f us", d->name,
                    (d->to_latency_ns + d->from_latency_ns) * 1e-3);
            fprintf(file, d->to_gbps > 0.0 ? "; rows to it %.1f GB/s" : "; rows to it not copied",
                    d->to_gbps);
            fprintf(file, d->from_gbps > 0.0 ? ", from it %.1f GB/s\n" : ", from it not copied\n",
                    d->from_gbps);
        }
    }
}

static void put_rest(FILE *file, const hsdi_profile *p)
{
    const hsdi_cost_rendezvous *r = &p->costs.rendezvous;
    const hsdi_acceptance *a = &p->costs.acceptance;
    fprintf(file,
            "Messages of a mirror step, us: threads %.1f, ipc %.1f, tcp (this host) %.1f; a "
            "serial step %.1f more\n",
            r->inproc_ns * 1e-3, r->ipc_ns * 1e-3, r->tcp_ns * 1e-3, r->serial_extra_ns * 1e-3);
    if (a->n_seen > 0.0) {
        fprintf(file, "Acceptance by depth, %%:");
        for (int d = 1; d <= HSDI_COST_DEPTHS && a->accept[d] > 0.0; d++) {
            fprintf(file, " %.0f", 100.0 * a->accept[d]);
        }
        fprintf(file,
                "; of a lookup %.0f; over %.0f tokens\nOutcome among the best 1, 2, 4, .. 64 "
                "roots, %%: draft",
                100.0 * a->ngram_accept, a->n_seen);
        for (int i = 0; i < HSDI_COST_ROWS; i++) {
            fprintf(file, " %.0f", 100.0 * a->own[i]);
        }
        fprintf(file, ", with the early exit");
        for (int i = 0; i < HSDI_COST_ROWS; i++) {
            fprintf(file, " %.0f", 100.0 * a->both[i]);
        }
        fprintf(file, "\n");
    }
}

hsd_status hsdi_profile_table(const hsdi_profile *p, char **text, size_t *n_bytes, hsd_error *err)
{
    *text = NULL;
    FILE *file = open_memstream(text, n_bytes);
    if (!file) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    hsdi_numbers before = hsdi_numbers_plain();
    put_passes(file, p);
    put_tables(file, p);
    put_slowdowns(file, p);
    put_turns(file, p);
    put_devices(file, p);
    put_rest(file, p);
    hsdi_numbers_back(before);
    if (fclose(file) != 0) {
        free(*text);
        *text = NULL;
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory for its text");
    }
    return HSD_OK;
}
