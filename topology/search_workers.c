/// Sets of described workers that share a step.
#include "topology/search.h"

enum { EXHAUSTIVE_WORKERS = 4 };

int hsdi_pool_take(const hsdi_search *s, const hsdi_pool *p, uint64_t set, hsdi_plan_setting *x,
                   hsdi_law_draft *drafts)
{
    x->n_workers = 0;
    for (int i = 0; i < p->n && x->n_workers < HSDI_PLAN_WORKERS; i++) {
        if (set >> i & 1) {
            drafts[x->n_workers] = p->draft[i];
            x->i_draft[x->n_workers] = s->machine->workers[p->worker[i]].i_device;
            x->i_worker[x->n_workers++] = p->worker[i];
        }
    }
    return x->n_workers;
}

static bool may_serve(const hsdi_search *s, const hsdi_machine_worker *w)
{
    const hsdi_machine_device *d = &s->machine->devices[w->i_device];
    return w->i_draft_kind != HSD_DRAFT_NGRAM && !d->is_forbidden && !d->unusable[0] &&
           s->costs->draft.n_layers > 0 &&
           (s->choices.i_draft < 0 || s->choices.i_draft == w->i_device);
}

static void find_shares(const hsdi_search *s, hsdi_pool *p)
{
    const hsdi_machine_worker *workers = s->machine->workers;
    for (int i = 0; i < p->n; i++) {
        p->shares[i] = 0;
        for (int j = 0; j < p->n; j++) {
            int other = workers[p->worker[j]].i_device;
            const uint64_t *with = s->known.shares[workers[p->worker[i]].i_device];
            p->shares[i] |= (uint64_t)(i != j && with[other / 64] >> other % 64 & 1) << j;
        }
    }
}

void hsdi_pool_find(const hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x,
                    hsdi_pool *out)
{
    const hsdi_machine *m = s->machine;
    out->n = 0;
    for (int i = 0; i < m->n_workers; i++) {
        hsdi_law_draft *d = &out->draft[out->n];
        x->n_workers = 1;
        x->i_worker[0] = s->workers[i];
        x->i_draft[0] = m->workers[s->workers[i]].i_device;
        if (may_serve(s, &m->workers[s->workers[i]]) &&
            hsdi_law_find_draft(place, x, 0, d, NULL) == HSD_OK) {
            out->worker[out->n] = s->workers[i];
            out->one_ns[out->n] = d->ns[0] * d->slow;
            out->far_ns[out->n++] = d->far_ns + d->rendezvous_ns;
        }
    }
    find_shares(s, out);
}

/// A set without those that compute on the hardware of a quicker one in it (of equals: the first).
static uint64_t apart(const hsdi_pool *p, uint64_t set)
{
    for (int i = 0; i < p->n; i++) {
        for (int j = 0; j < p->n && set >> i & 1; j++) {
            double one = p->one_ns[j] + p->far_ns[j], own = p->one_ns[i] + p->far_ns[i];
            bool is_before = one < own || (!(one > own) && j < i);
            if (set & p->shares[i] & UINT64_C(1) << j && is_before) {
                set &= ~(UINT64_C(1) << i);
            }
        }
    }
    return set;
}

/// Sets of several workers: all of them where they are few; else all that are no slower and no
/// farther than one of them each. More than that never help: the slowest and the farthest decide
/// what a step waits for, and everyone else takes a part of the roots.
int hsdi_pool_sets(const hsdi_pool *p, uint64_t sets[HSDI_SEARCH_SETS])
{
    int n = 0;
    if (p->n <= EXHAUSTIVE_WORKERS) {
        for (uint64_t set = 1; set < UINT64_C(1) << p->n; set++) {
            if (set & (set - 1) && apart(p, set) == set) {
                sets[n++] = set;
            }
        }
        return n;
    }
    for (int i = 0; i < p->n; i++) {
        for (int j = 0; j < p->n && n < HSDI_SEARCH_SETS; j++) {
            uint64_t set = 0;
            for (int k = 0; k < p->n; k++) {
                bool is_in = p->one_ns[k] <= p->one_ns[i] && p->far_ns[k] <= p->far_ns[j];
                set |= (uint64_t)is_in << k;
            }
            set = apart(p, set);
            bool is_new = (set & (set - 1)) != 0;
            for (int k = 0; k < n; k++) {
                is_new &= sets[k] != set;
            }
            if (is_new) {
                sets[n++] = set;
            }
        }
    }
    return n;
}

/// The first `most` of a set, quickest first: no more can be told, or are wanted.
uint64_t hsdi_pool_trim(const hsdi_pool *p, uint64_t set, int most)
{
    while (__builtin_popcountll(set) > most) {
        int slowest = -1;
        for (int i = 0; i < p->n; i++) {
            bool is_slower =
                slowest < 0 || p->one_ns[i] > p->one_ns[slowest] ||
                (!(p->one_ns[i] < p->one_ns[slowest]) && p->far_ns[i] >= p->far_ns[slowest]);
            slowest = set >> i & 1 && is_slower ? i : slowest;
        }
        set &= ~(UINT64_C(1) << slowest);
    }
    return set;
}
