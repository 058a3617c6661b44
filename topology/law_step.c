/// The law: expected time of a step over expected tokens. docs/planner.md has every term.
///
/// The planner's promises need more than right numbers: in every term a device, a link or a message
/// that gets faster must not make the step longer. So contention is a fixed factor of a pair, and
/// applies while both compute; what a draft has not finished when the pass ends is finished with
/// single rows, which cost no more than the rows that were under way.
#include "topology/law.h"

#include "topology/extremes.h"

#include <math.h>
#include <string.h>

/// Nodes of a tree that a draft evaluates per call (pipelines/draft_work.c).
static const double tree_rows = 4.0;

// ---- parts of a step ----

/// More rows never count as less time: a table may have noise.
static double at_least(const double *table, double n_rows)
{
    return hsdi_larger(table[0], hsdi_cost_at(table, n_rows));
}

static double pass_of(const hsdi_cost_table *t, int n_layers, bool head, double n_rows)
{
    double ns = t->fixed_ns + n_layers * at_least(t->layer_ns, n_rows);
    return head ? ns + at_least(t->head_ns, n_rows) : ns;
}

static double hop(const hsdi_law *law, double n_rows)
{
    return law->first == law->last ? 0.0 : law->hop_ns + law->hop_row_ns * n_rows;
}

/// Layers [begin, end), with the head behind the last; a submission for each device.
static double layers(const hsdi_law *law, int begin, int end, double n_rows)
{
    int split = law->split < begin ? begin : law->split < end ? law->split : end;
    double ns = 0.0;
    if (begin < split) {
        ns += pass_of(law->first, split - begin,
                      law->split == law->n_layers && end == law->n_layers, n_rows);
    }
    if (begin < split && split < end) {
        ns += hop(law, n_rows);
    }
    if (split < end) {
        ns += pass_of(law->last, end - split, end == law->n_layers, n_rows);
    }
    return ns;
}

double hsdi_law_pass(const hsdi_law *law, int n_rows)
{
    double *known = law->known && n_rows < HSDI_LAW_ROWS ? &law->known->passes.whole[n_rows] : NULL;
    if (!known) {
        return layers(law, 0, law->n_layers, n_rows);
    }
    if (!(*known > 0.0)) {
        *known = layers(law, 0, law->n_layers, n_rows);
    }
    return *known;
}

/// The LM head at the exit, on the device of the last layers.
static double exit_head(const hsdi_law *law, int exit_layer, double n_rows)
{
    double ns = pass_of(law->last, 0, true, n_rows);
    return exit_layer < law->split && law->first != law->last ? ns + hop(law, n_rows) : ns;
}

static hsdi_law_cut find_cut(const hsdi_law *law, int exit_layer, int n_rows)
{
    bool has_exit = exit_layer > 0;
    return (hsdi_law_cut){has_exit ? layers(law, 0, exit_layer, n_rows) : 0.0,
                          has_exit ? exit_head(law, exit_layer, n_rows) : 0.0,
                          layers(law, exit_layer, law->n_layers, n_rows)};
}

/// Where what is known of an exit is; HSDI_LAW_EXITS: there is no room.
static int place_of_exit(hsdi_law_known *known, int exit_layer)
{
    int i = 0;
    while (i < known->n_exits && known->exit_layer[i] != exit_layer) {
        i++;
    }
    if (i == known->n_exits && i < HSDI_LAW_EXITS) {
        known->exit_layer[known->n_exits++] = exit_layer;
    }
    return i;
}

/// A pass cut at the exit, remembered.
static hsdi_law_cut cut_pass(const hsdi_law *law, int exit_layer, int n_rows)
{
    int i = law->known ? place_of_exit(law->known, exit_layer) : HSDI_LAW_EXITS;
    if (i == HSDI_LAW_EXITS || n_rows >= HSDI_LAW_ROWS) {
        return find_cut(law, exit_layer, n_rows);
    }
    hsdi_law_cut *cut = &law->known->passes.cut[i][n_rows];
    if (!(cut->suffix > 0.0)) {
        *cut = find_cut(law, exit_layer, n_rows);
    }
    return *cut;
}

static double draft_pass(const hsdi_law *law, int i, double n_rows)
{
    return hsdi_cost_at(law->draft[i].ns, n_rows);
}

/// Rows that draft i evaluates within ns in one call, beside the target; it need not begin one.
static double rows_within(const hsdi_law *law, int i, double ns)
{
    const double *t = law->draft[i].ns;
    int k = 1;
    ns /= law->draft[i].slow;
    if (ns < t[0]) {
        return 0.0;
    }
    while (k < HSDI_COST_ROWS - 1 && ns > t[k]) {
        k++;
    }
    double low = hsdi_cost_row_counts[k - 1], high = hsdi_cost_row_counts[k];
    return t[k] > t[k - 1]
               ? hsdi_smaller(64.0, low + (high - low) * (ns - t[k - 1]) / (t[k] - t[k - 1]))
               : high;
}

/// All roots in one call of each worker, shared so that all end together, beside the target.
static double find_call(const hsdi_law *law, double n_roots)
{
    double low = 0.0, high = 0.0, slow = 1.0;
    for (int i = 0; i < law->n_drafts; i++) {
        slow = hsdi_larger(slow, law->draft[i].slow);
        high = hsdi_larger(high, draft_pass(law, i, n_roots) * law->draft[i].slow);
    }
    if (law->is_alike) {
        return draft_pass(law, 0, hsdi_larger(1.0, n_roots / law->n_drafts)) * slow;
    }
    for (int k = 0; k < 24; k++) {
        double middle = 0.5 * (low + high), n = 0.0;
        for (int i = 0; i < law->n_drafts; i++) {
            n += rows_within(law, i, middle);
        }
        low = n < n_roots ? middle : low;
        high = n < n_roots ? high : middle;
    }
    return hsdi_larger(high, law->slowest_beside_ns); // nobody has less than a row
}

/// The same, remembered: a search asks for few numbers of roots and many windows.
static double branch_call(hsdi_law *law, int n_roots)
{
    if (law->n_drafts == 0) {
        return law->lookup_ns;
    }
    int i = 0;
    while (i < HSDI_COST_ROWS && law->called[i] != 0 && law->called[i] != n_roots) {
        i++;
    }
    if (law->called[i] != n_roots) {
        law->called[i] = n_roots;
        law->call_ns[i] = find_call(law, n_roots);
    }
    return law->call_ns[i];
}

/// Tokens of a step with a chain of n, and with n_more siblings: where the chain is rejected, each
/// of these is a root that may be what follows, and then brings one token more.
static double find_tokens(const hsdi_law *law, const hsdi_plan_setting *s, int n)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    double tokens = 0.0, reach = 1.0;
    if (s->draft_kind == HSD_DRAFT_NGRAM) {
        for (int d = 0; d <= n; d++, reach *= a->ngram_accept) {
            tokens += reach;
        }
        return tokens;
    }
    for (int d = 1; d <= n; d++) {
        reach *= a->accept[d];
    }
    int n_more = s->tree > s->window ? s->tree - s->window : 0;
    double siblings = n_more > 0 ? hsdi_acceptance_siblings(a, n > 0 ? n : 1, n_more) : 0.0;
    return hsdi_acceptance_tokens(a, n) + (1.0 - reach) * siblings;
}

/// The same, remembered.
static double tokens_of(const hsdi_law *law, const hsdi_plan_setting *s, int n)
{
    int n_more = s->tree > s->window ? s->tree - s->window : 0;
    if (!law->known || n_more > HSDI_SEARCH_TREE) {
        return find_tokens(law, s, n);
    }
    double *known = &law->known->tokens[s->draft_kind][n][n_more];
    if (!(*known > 0.0)) {
        *known = find_tokens(law, s, n);
    }
    return *known;
}

static double goes_on(const hsdi_law *law)
{
    if (!law->known) {
        return hsdi_acceptance_goes_on(&law->costs->acceptance);
    }
    if (!(law->known->goes_on > 0.0)) {
        law->known->goes_on = hsdi_acceptance_goes_on(&law->costs->acceptance);
    }
    return law->known->goes_on;
}

double hsdi_law_most_tokens(const hsdi_law *law, const hsdi_plan_setting *s)
{
    double tokens = tokens_of(law, s, s->window);
    if (s->mode == HSD_MODE_ASYNC && s->draft_kind != HSD_DRAFT_NGRAM) {
        double ahead = 1.0, reach = 1.0, on = goes_on(law);
        for (int d = 1; d <= s->window; d++) {
            reach *= on; // windows behind tokens that were right
            ahead += reach;
        }
        tokens = hsdi_larger(tokens, ahead);
    }
    return tokens;
}

static int rows_of(const hsdi_plan_setting *s, int n)
{
    return n + 1 + (s->tree > s->window ? s->tree - s->window : 0);
}

/// Time that the pass `alone` takes beside drafts that compute `draft` (each alone).
static double beside(const hsdi_law *law, double alone, double draft)
{
    return hsdi_smaller(alone * law->target_slow, alone + draft * (1.0 - 1.0 / law->target_slow));
}

/// Estimated models on one memory: it moves all their bytes within the step.
static double memory_ns(const hsdi_law *law, double n_calls)
{
    const hsdi_cost_model *t = &law->costs->target, *d = &law->costs->draft;
    if (law->shared_gbps <= 0.0) {
        return 0.0;
    }
    double target = (double)t->layer_bytes * t->n_layers + (double)t->head_bytes;
    double draft = (double)d->layer_bytes * d->n_layers + (double)d->head_bytes;
    return (target + n_calls * draft) / law->shared_gbps;
}

// ---- modes ----

static void step_alone(const hsdi_law *law, hsdi_plan_step *out)
{
    out->suffix_ns = out->total_ns = out->latency_ns = hsdi_law_pass(law, 1);
    out->tokens = 1.0;
}

/// Chance that a window is right as a whole.
static double whole_of(const hsdi_law *law, const hsdi_plan_setting *s)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    return hsdi_acceptance_tokens(a, s->window) - hsdi_acceptance_tokens(a, s->window - 1);
}

static void step_serial(const hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    double rows = s->tree > s->window ? tree_rows : 1.0;
    double assumed = law->rendezvous_ns + law->costs->rendezvous.serial_extra_ns;
    double best = law->n_drafts > 0 ? INFINITY : s->window * law->lookup_ns + assumed;
    out->messages_ns = assumed;
    for (int i = 0; i < law->n_drafts; i++) {
        // Behind a window that was right the draft has two tokens to read.
        double more = hsdi_larger(0.0, draft_pass(law, i, 2.0) - draft_pass(law, i, 1.0));
        double calls = s->window * draft_pass(law, i, rows) + whole_of(law, s) * more;
        const hsdi_cost_turn *turn = law->draft[i].turn;
        double beyond = turn ? turn->step_ns + s->window * turn->call_ns : assumed;
        if (calls + beyond < best) {
            best = calls + beyond;
            out->messages_ns = beyond;
        }
    }
    out->suffix_ns = hsdi_law_pass(law, rows_of(s, s->window));
    out->draft_ns = out->exposed_ns = best - out->messages_ns;
    out->messages_ns += 2.0 * law->far_ns;
    out->total_ns = out->latency_ns = out->suffix_ns + out->draft_ns + out->messages_ns;
    out->tokens = tokens_of(law, s, s->window);
}

/// What the draft of a mirror step does.
typedef struct mirror {
    double glue, call;   ///< beside the target: one row; one row of every root
    double one;          ///< a row when the target waits
    double work;         ///< all of it, alone
    double p_own, p_hit; ///< outcome among the own roots, among all
    bool is_hopeful;     ///< roots are drafted on from the source that has more time
    bool is_any_exit;    ///< and proxies may have come at once
} mirror;

/// A step whose window has n tokens; the draft prepares windows of s->window.
static void mirror_case(const hsdi_law *law, const hsdi_plan_setting *s, const mirror *d, int n,
                        hsdi_plan_step *out)
{
    const hsdi_law_cut cut = cut_pass(law, s->exit_layer, rows_of(s, n));
    double alone = cut.prefix + cut.head + cut.suffix;
    double pass = beside(law, alone, d->work), part = pass / alone;
    // Behind WINDOW the draft goes on at once: the way to the target and back is its time too.
    double room = pass + 2.0 * law->far_ns;
    double seen = d->is_any_exit ? pass : cut.suffix * part;
    double own = hsdi_larger(0.0, s->window - hsdi_larger(0.0, room - d->glue) / d->call) * d->one;
    double proxy = hsdi_larger(0.0, s->window - seen / d->call) * d->one;
    if (d->is_hopeful) {
        own = hsdi_smaller(own, proxy);
    }
    double late =
        hsdi_smaller(0.5 * d->call, hsdi_larger(0.0, d->glue + s->window * d->call - room));
    int n_fresh = (s->window + 1) / 2;
    double fresh = late + n_fresh * d->one;
    double p_proxy = d->p_hit - d->p_own;
    double floor_ns = memory_ns(law, s->window + 1.0) - pass;
    double waits = hsdi_larger(hsdi_larger(0.0, floor_ns), d->p_own * own + p_proxy * proxy);
    *out = (hsdi_plan_step){.prefix_ns = cut.prefix * part,
                            .exit_ns = cut.head * part,
                            .suffix_ns = cut.suffix * part,
                            .exposed_ns = waits,
                            .messages_ns = law->rendezvous_ns + 2.0 * law->far_ns,
                            .miss_ns = (1.0 - d->p_hit) * fresh,
                            .tokens = tokens_of(law, s, n)};
    out->total_ns = pass + out->exposed_ns + out->messages_ns + out->miss_ns;
    out->latency_ns = pass + out->messages_ns + (d->p_hit < 0.95 ? fresh : hsdi_larger(own, proxy));
}

static double mix(double a, double b, double part)
{
    return a * part + b * (1.0 - part);
}

/// Chances that the outcome is among all roots, and among those of the draft's own.
static void find_hits(const hsdi_law *law, int window, int roots, int exit_layer, double *hit,
                      double *own)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    double exit_part = (double)exit_layer / law->n_layers;
    *hit = hsdi_acceptance_coverage(a, window, roots, exit_part);
    *own = exit_layer > 0 ? hsdi_acceptance_coverage(a, window, 0.5 * roots, 0.0) : *hit;
    *own = hsdi_smaller(*own, *hit);
}

/// The same, remembered for powers of two.
static void hits_of(const hsdi_law *law, const hsdi_plan_setting *s, double *hit, double *own)
{
    int e = law->known ? place_of_exit(law->known, s->exit_layer) : HSDI_LAW_EXITS, r = 0;
    while (r < HSDI_COST_ROWS && hsdi_cost_row_counts[r] != s->roots) {
        r++;
    }
    if (e == HSDI_LAW_EXITS || r == HSDI_COST_ROWS) {
        find_hits(law, s->window, s->roots, s->exit_layer, hit, own);
        return;
    }
    double *known_hit = &law->known->hit[s->window][r][e];
    double *known_own = &law->known->own[s->window][r][e];
    if (!(*known_hit > 0.0)) {
        find_hits(law, s->window, s->roots, s->exit_layer, known_hit, known_own);
    }
    *hit = *known_hit;
    *own = *known_own;
}

static mirror mirror_of(hsdi_law *law, const hsdi_plan_setting *s)
{
    mirror d = {
        .glue = law->slowest_beside_ns, .call = branch_call(law, s->roots), .one = law->slowest_ns};
    d.work = d.glue + s->window * d.call;
    return d;
}

/// Windows after a hit are whole, after a miss half as long.
static void step_mirror(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    mirror d = mirror_of(law, s);
    hsdi_plan_step hit, miss;
    hits_of(law, s, &d.p_hit, &d.p_own);
    mirror_case(law, s, &d, s->window, &hit);
    mirror_case(law, s, &d, (s->window + 1) / 2, &miss);
    double p = d.p_hit;
    *out = (hsdi_plan_step){.prefix_ns = mix(hit.prefix_ns, miss.prefix_ns, p),
                            .exit_ns = mix(hit.exit_ns, miss.exit_ns, p),
                            .suffix_ns = mix(hit.suffix_ns, miss.suffix_ns, p),
                            .draft_ns = d.work,
                            .exposed_ns = mix(hit.exposed_ns, miss.exposed_ns, p),
                            .messages_ns = hit.messages_ns,
                            .miss_ns = mix(hit.miss_ns, miss.miss_ns, p),
                            .total_ns = mix(hit.total_ns, miss.total_ns, p),
                            .tokens = mix(hit.tokens, miss.tokens, p),
                            .hit_rate = p,
                            .latency_ns = hit.latency_ns};
}

/// Hits with any roots and exit.
static double most_hits(const hsdi_law *law, int window)
{
    double most = law->known ? law->known->most[window] : 0.0;
    if (!(most > 0.0)) {
        most = hsdi_acceptance_coverage(&law->costs->acceptance, window, 64.0, 1.0);
    }
    if (law->known) {
        law->known->most[window] = most;
    }
    return most;
}

/// With the setting's exit and so many roots or more; with none, any number of them, any exit (the
/// setting's is one) and any tree up to the setting's: a chain's time, the tree's tokens.
static void hopeful_mirror(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    hsdi_plan_setting easy = *s;
    hsdi_plan_step hit, miss;
    mirror d = mirror_of(law, s);
    int n_brief = (s->window + 1) / 2;
    d.is_hopeful = true;
    easy.roots = HSDI_SEARCH_ROOTS;
    if (s->roots > 0) {
        hits_of(law, &easy, &d.p_hit, &d.p_own);
    } else {
        // All cuts of one device's pass take the same time.
        easy.exit_layer = law->first == law->last ? s->exit_layer : 0;
        easy.tree = s->window;
        d.is_any_exit = true;
        d.p_hit = most_hits(law, s->window);
    }
    d.p_own = d.p_hit;
    mirror_case(law, &easy, &d, s->window, &hit);
    mirror_case(law, &easy, &d, n_brief, &miss);
    hit.tokens = tokens_of(law, s, s->window);
    miss.tokens = tokens_of(law, s, n_brief);
    // With fewer hits the mixture moves towards the case after a miss.
    hit.total_ns = mix(hit.total_ns, miss.total_ns, d.p_hit);
    hit.tokens = mix(hit.tokens, miss.tokens, d.p_hit);
    *out = hit.tokens / hit.total_ns > miss.tokens / miss.total_ns ? hit : miss;
    out->latency_ns = hsdi_law_pass(law, 1);
}

/// Chance of the first token behind a rejection, or of one behind a token that was right.
static double accept_of(const hsdi_law *law, const hsdi_plan_setting *s, bool is_behind_right)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    return s->draft_kind == HSD_DRAFT_NGRAM ? a->ngram_accept
           : is_behind_right                ? goes_on(law)
                                            : hsdi_acceptance_starts(a);
}

/// The best of the passes whose mixture a step is: those that the draft is quick enough for. Of
/// what it makes during one pass a token is the target's own; the rest is all that the next can
/// verify.
static void hopeful_async(const hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    double on = accept_of(law, s, true), tokens = 0.0, reach = 1.0, most = 0.0;
    *out = (hsdi_plan_step){0};
    for (int j = 0; j <= s->window && (j == 0 || j < most); j++, reach *= on) {
        double ns = hsdi_law_pass(law, j + 1) * law->target_slow + law->rendezvous_ns;
        tokens += reach;
        most = hsdi_larger(most, ns / law->quickest_beside_ns * (1.0 + 1e-9));
        if (j == 0 || tokens / ns > out->tokens / out->total_ns) {
            out->tokens = tokens;
            out->total_ns = ns;
        }
        out->latency_ns = j == 0 ? ns : hsdi_smaller(out->latency_ns, ns);
    }
}

void hsdi_law_hopeful(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    if (s->mode == HSD_MODE_ASYNC) {
        hopeful_async(law, s, out);
    } else {
        hopeful_mirror(law, s, out);
    }
    out->tokens_per_s = out->tokens / out->total_ns * 1e9;
}

/// States of a draft that runs ahead: 0 behind by a token, then so many and one more ahead, at most
/// a window and two; the last one is the step after a rejection.
enum { MOST_AHEAD = HSDI_SEARCH_WINDOW + 2, RESET, N_STATES, N_ROUNDS = 40 };

typedef struct ahead {
    double tokens, ns; ///< of the pass
    double p_on;       ///< the draft's next token is the one that followed
    int low;           ///< state after that, and the part that goes to the next one
    double part;
} ahead;

/// The pass of a state: j tokens are verified, the draft makes more meanwhile.
static ahead pass_ahead(const hsdi_law *law, const hsdi_plan_setting *s, int state, double token_ns)
{
    ahead a = {.tokens = 1.0, .p_on = 1.0};
    double lead = state == RESET ? 0.0 : state - 1.0;
    int j = lead > 0.0 ? (int)hsdi_smaller(lead, s->window) : 0;
    double on = accept_of(law, s, true);
    for (int d = 1; d <= j + 1; d++) {
        a.p_on *= state == RESET ? accept_of(law, s, false) : on;
        a.tokens += d <= j ? a.p_on : 0.0;
    }
    double pass = hsdi_law_pass(law, j + 1) * law->target_slow;
    a.ns = pass + law->rendezvous_ns;
    // After a rejection the running call is of no use, and the way there and back is lost.
    double room =
        state == RESET ? hsdi_larger(0.0, a.ns - 2.0 * law->far_ns - 0.5 * token_ns) : a.ns;
    double next = hsdi_smaller(lead + room / token_ns, j + 1.0 + s->window) - (j + 1.0);
    next = hsdi_larger(next, -1.0) + 1.0; // as a state
    a.low = (int)next;
    a.part = next - a.low;
    return a;
}

/// The chain of states in its steady state, by its powers.
static void step_async(const hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    double token_ns = law->quickest_beside_ns, tokens = 0.0, ns = 0.0;
    double now[N_STATES] = {[RESET] = 1.0};
    int states[N_STATES] = {RESET}, n_states = 1;
    bool is_met[N_STATES] = {[RESET] = true};
    ahead a[N_STATES];
    for (int k = 0; k < n_states; k++) { // those that are reached
        ahead *one = &a[states[k]];
        *one = pass_ahead(law, s, states[k], token_ns);
        for (int more = 0; more < (one->part > 0.0 ? 2 : 1); more++) {
            int next = one->low + more;
            if (!is_met[next]) {
                is_met[next] = true;
                states[n_states++] = next;
            }
        }
    }
    for (int round = 0; round < N_ROUNDS; round++) {
        double next[N_STATES] = {0};
        for (int k = 0; k < n_states; k++) {
            int i = states[k];
            double on = now[i] * a[i].p_on;
            next[a[i].low] += on * (1.0 - a[i].part);
            next[a[i].low + 1] += on * a[i].part; // of none of them where part is 0
            next[RESET] += now[i] - on;
            if (round >= N_ROUNDS / 2) { // the chain may swing: the mean of its second half
                tokens += now[i] * a[i].tokens;
                ns += now[i] * a[i].ns;
            }
        }
        memcpy(now, next, sizeof now);
    }
    double n = N_ROUNDS - N_ROUNDS / 2;
    out->draft_ns = out->total_ns = hsdi_larger(ns / n, memory_ns(law, ns / n / token_ns));
    out->suffix_ns = ns / n - law->rendezvous_ns;
    out->messages_ns = law->rendezvous_ns;
    out->tokens = tokens / n;
    out->latency_ns = out->total_ns;
}

void hsdi_law_step(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    *out = (hsdi_plan_step){0};
    switch (s->mode) {
    case HSD_MODE_SERIAL:
        step_serial(law, s, out);
        break;
    case HSD_MODE_MIRROR:
        step_mirror(law, s, out);
        break;
    case HSD_MODE_ASYNC:
        step_async(law, s, out);
        break;
    default:
        step_alone(law, out);
        break;
    }
    out->is_estimated = law->is_estimated;
    out->tokens_per_s = out->tokens / out->total_ns * 1e9;
}
