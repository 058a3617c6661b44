/// The law: expected time of a step over expected tokens. docs/planner.md has every term.
///
/// The planner's promises need more than right numbers: in every term a device, a link or a message
/// that gets faster must not make the step longer. So contention is a fixed factor of a pair, and
/// applies while both compute; what a draft has not finished when the pass ends is finished with
/// single rows, which cost no more than the rows that were under way.
#include "topology/law.h"

#include "base/error.h"
#include "topology/extremes.h"

#include <math.h>
#include <string.h>

/// A lookup of one token in the text: hash and copy, below a microsecond in engine/ngram.c; with
/// the pipeline's own work.
static const double lookup_ns = 2000.0;
/// Nodes of a tree that a draft evaluates per call (pipelines/draft_work.c).
static const double tree_rows = 4.0;
/// Of one candidate or token on the wire: id and score.
static const double entry_bytes = 8.0, proxies_per_row = 8.0;

static bool is_device(const hsdi_machine *m, int i)
{
    return i >= 0 && i < m->n_devices;
}

/// The table with most threads: how workers elsewhere are started.
static const hsdi_cost_table *widest(const hsdi_costs *costs, hsdi_cost_role role, int i_device)
{
    const hsdi_cost_table *best = NULL;
    for (int i = 0; i < costs->n_tables; i++) {
        const hsdi_cost_table *t = &costs->tables[i];
        if (t->role == role && t->i_device == i_device &&
            (!best || t->n_threads > best->n_threads ||
             (t->n_threads == best->n_threads && t->n_past < best->n_past))) {
            best = t;
        }
    }
    return best;
}

const hsdi_cost_table *hsdi_law_draft_table(const hsdi_machine *machine, const hsdi_costs *costs,
                                            const hsdi_plan_setting *s, int i)
{
    bool has_threads = machine->devices[s->i_draft[i]].type == HSDI_DEVICE_CPU;
    int n = has_threads ? s->n_draft_threads : 0;
    const hsdi_cost_table *t = hsdi_cost_find(costs, HSDI_COST_DRAFT, s->i_draft[i], n);
    bool is_elsewhere =
        machine->devices[s->i_draft[i]].i_host != machine->devices[s->i_target].i_host;
    if (s->i_worker[i] >= 0 && (!t || is_elsewhere)) {
        t = widest(costs, HSDI_COST_DRAFT, s->i_draft[i]);
    }
    return t;
}

static const hsdi_cost_table *target_table(const hsdi_machine *m, const hsdi_costs *costs,
                                           int i_device, int n_threads)
{
    bool has_threads = m->devices[i_device].type == HSDI_DEVICE_CPU;
    return hsdi_cost_find(costs, HSDI_COST_TARGET, i_device, has_threads ? n_threads : 0);
}

/// Software of a step and the way to a draft. On our host the rendezvous was measured with its
/// messages; elsewhere, or over a link that is described, the messages come on top of what the
/// pipelines themselves need.
static void add_way(hsdi_law *law, const hsdi_plan_setting *s, int i)
{
    const hsdi_cost_rendezvous *r = &law->costs->rendezvous;
    const hsdi_machine *m = law->machine;
    int i_host = m->devices[s->i_target].i_host, i_there = m->devices[s->i_draft[i]].i_host;
    double software = r->inproc_ns, far = 0.0;
    if (s->i_worker[i] >= 0) {
        const hsdi_machine_end here = {true, i_host}, there = {true, i_there};
        bool is_described = hsdi_machine_find_link(m, here, there) != NULL;
        if (i_host == i_there && !is_described) {
            bool is_tcp = strncmp(m->workers[s->i_worker[i]].endpoint, "tcp:", 4) == 0;
            software = is_tcp ? r->tcp_ns : r->ipc_ns;
        } else {
            hsdi_distance d = hsdi_machine_worker_distance(m, s->i_target, s->i_worker[i]);
            double bytes = entry_bytes * (s->window + 1) * proxies_per_row;
            far = d.latency_ns + (d.gbps > 0.0 ? bytes / d.gbps : 0.0);
        }
    }
    law->rendezvous_ns = hsdi_larger(law->rendezvous_ns, software);
    law->far_ns = hsdi_larger(law->far_ns, far);
}

/// Bandwidth of a memory that an estimated target and an estimated draft both read. Measured
/// tables know better, above all where caches hold the weights.
static double shared_gbps(const hsdi_law *law, const hsdi_cost_table *draft)
{
    const hsdi_machine_device *a = &law->machine->devices[law->last->i_device];
    const hsdi_machine_device *b = &law->machine->devices[draft->i_device];
    bool a_hosts = a->type == HSDI_DEVICE_CPU || a->memory_bytes == 0;
    bool b_hosts = b->type == HSDI_DEVICE_CPU || b->memory_bytes == 0;
    bool is_known = law->last->is_measured || draft->is_measured;
    return a->i_host == b->i_host && a_hosts && b_hosts && !is_known
               ? hsdi_larger(a->read_gbps, b->read_gbps)
               : 0.0;
}

static hsd_status add_draft(hsdi_law *law, const hsdi_plan_setting *s, int i, hsd_error *err)
{
    const hsdi_machine *m = law->machine;
    if (!is_device(m, s->i_draft[i]) || s->i_worker[i] < -1 || s->i_worker[i] >= m->n_workers) {
        return hsdi_fail(err, HSD_EINVAL, "i_draft", "draft %d is on no device", i);
    }
    add_way(law, s, i);
    if (s->draft_kind != HSD_DRAFT_MODEL) {
        return HSD_OK;
    }
    const hsdi_cost_table *t = hsdi_law_draft_table(m, law->costs, s, i);
    if (!t) {
        return hsdi_fail(err, HSD_EINVAL, "i_draft", "no costs of the draft on %s",
                         m->devices[s->i_draft[i]].name);
    }
    law->draft[law->n_drafts] = t;
    double most = 0.0; // more rows never count as less time: a table may have noise
    for (int k = 0; k < HSDI_COST_ROWS; k++) {
        most = hsdi_larger(
            most, hsdi_cost_pass(t, law->costs->draft.n_layers, true, hsdi_cost_row_counts[k]));
        law->draft_ns[law->n_drafts][k] = most;
    }
    law->draft_slow[law->n_drafts++] =
        hsdi_larger(hsdi_cost_slowdown_of(m, law->costs, t, law->first),
                    hsdi_cost_slowdown_of(m, law->costs, t, law->last));
    law->target_slow =
        hsdi_larger(law->target_slow, hsdi_cost_slowdown_of(m, law->costs, law->last, t));
    law->target_slow =
        hsdi_larger(law->target_slow, hsdi_cost_slowdown_of(m, law->costs, law->first, t));
    law->shared_gbps = hsdi_larger(law->shared_gbps, shared_gbps(law, t));
    law->is_alike &= t == law->draft[0];
    law->is_estimated |= !t->is_measured;
    return HSD_OK;
}

/// Drafts on the same hardware take turns.
static void share_among_drafts(hsdi_law *law)
{
    for (int i = 0; i < law->n_drafts; i++) {
        int n = 0;
        for (int j = 0; j < law->n_drafts; j++) {
            n += hsdi_machine_shares_units(law->machine, law->draft[i]->i_device,
                                           law->draft[j]->i_device);
        }
        law->draft_slow[i] *= n;
    }
}

hsd_status hsdi_law_open(const hsdi_machine *machine, const hsdi_costs *costs,
                         const hsdi_plan_setting *s, hsdi_law *law, hsd_error *err)
{
    *law = (hsdi_law){.machine = machine, .costs = costs, .n_layers = costs->target.n_layers};
    law->target_slow = 1.0;
    law->is_alike = true;
    law->lookup_ns = lookup_ns;
    if (!is_device(machine, s->i_target) || s->i_suffix < -1 || s->i_suffix >= machine->n_devices) {
        return hsdi_fail(err, HSD_EINVAL, "i_target", "the target is on no device");
    }
    law->first = law->last = target_table(machine, costs, s->i_target, s->n_target_threads);
    law->split = law->n_layers;
    if (s->i_suffix >= 0 && s->i_suffix != s->i_target) {
        law->last = target_table(machine, costs, s->i_suffix, s->n_target_threads);
        law->last = law->last ? law->last : widest(costs, HSDI_COST_TARGET, s->i_suffix);
        law->split = s->split_layer;
        if (s->split_layer < 1 || s->split_layer >= law->n_layers) {
            return hsdi_fail(err, HSD_EINVAL, "split_layer", "%d of a model with %d layers",
                             s->split_layer, law->n_layers);
        }
        hsdi_distance d = hsdi_machine_distance(machine, s->i_target, s->i_suffix);
        law->hop_ns = d.latency_ns;
        law->hop_row_ns = d.gbps > 0.0 ? 4.0 * costs->target.n_embd / d.gbps : 0.0;
    }
    if (!law->first || !law->last) {
        return hsdi_fail(
            err, HSD_EINVAL, "i_target", "no costs of the target on %s with %d threads",
            machine->devices[law->first ? s->i_suffix : s->i_target].name, s->n_target_threads);
    }
    law->is_estimated = !law->first->is_measured || !law->last->is_measured;
    hsd_status status = HSD_OK;
    int n = s->mode == HSD_MODE_AR ? 0 : s->n_workers;
    for (int i = 0; i < n && status == HSD_OK; i++) {
        status = add_draft(law, s, i, err);
    }
    share_among_drafts(law);
    return status;
}

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

double hsdi_law_pass(const hsdi_law *law, double n_rows)
{
    return layers(law, 0, law->n_layers, n_rows);
}

/// The LM head at the exit, on the device of the last layers.
static double exit_head(const hsdi_law *law, int exit_layer, double n_rows)
{
    double ns = pass_of(law->last, 0, true, n_rows);
    return exit_layer < law->split && law->first != law->last ? ns + hop(law, n_rows) : ns;
}

static double draft_pass(const hsdi_law *law, int i, double n_rows)
{
    return hsdi_cost_at(law->draft_ns[i], n_rows);
}

/// One row, the quickest draft's (serial, async) or the slowest's (one of several that share).
static double draft_one(const hsdi_law *law, bool quickest, bool in_loop)
{
    double best = quickest ? INFINITY : 0.0;
    for (int i = 0; i < law->n_drafts; i++) {
        double ns = draft_pass(law, i, 1.0) * (in_loop ? law->draft_slow[i] : 1.0);
        best = quickest ? hsdi_smaller(best, ns) : hsdi_larger(best, ns);
    }
    return law->n_drafts > 0 ? best : law->lookup_ns;
}

/// Rows that draft i evaluates within ns in one call, beside the target; it need not begin one.
static double rows_within(const hsdi_law *law, int i, double ns)
{
    const double *t = law->draft_ns[i];
    int k = 1;
    ns /= law->draft_slow[i];
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
        slow = hsdi_larger(slow, law->draft_slow[i]);
        high = hsdi_larger(high, draft_pass(law, i, n_roots) * law->draft_slow[i]);
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
    return hsdi_larger(high, draft_one(law, false, true)); // nobody has less than a row
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
static double tokens_of(const hsdi_law *law, const hsdi_plan_setting *s, int n)
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

double hsdi_law_most_tokens(const hsdi_law *law, const hsdi_plan_setting *s)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    double tokens = tokens_of(law, s, s->window);
    if (s->mode == HSD_MODE_ASYNC && s->draft_kind != HSD_DRAFT_NGRAM) {
        double ahead = 1.0, reach = 1.0;
        for (int d = 1; d <= s->window; d++) {
            reach *= hsdi_acceptance_goes_on(a); // windows behind tokens that were right
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
    out->suffix_ns = out->total_ns = out->latency_ns = hsdi_law_pass(law, 1.0);
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
        const hsdi_cost_turn *turn =
            s->i_worker[i] < 0 ? hsdi_cost_turn_of(law->costs, law->last, law->draft[i]) : NULL;
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
} mirror;

/// A step whose window has n tokens; the draft prepares windows of s->window.
static void mirror_case(const hsdi_law *law, const hsdi_plan_setting *s, const mirror *d, int n,
                        hsdi_plan_step *out)
{
    double rows = rows_of(s, n);
    bool has_exit = s->exit_layer > 0;
    double prefix = has_exit ? layers(law, 0, s->exit_layer, rows) : 0.0;
    double head = has_exit ? exit_head(law, s->exit_layer, rows) : 0.0;
    double suffix = layers(law, s->exit_layer, law->n_layers, rows);
    double alone = prefix + head + suffix;
    double pass = beside(law, alone, d->work), part = pass / alone;
    // Behind WINDOW the draft goes on at once: the way to the target and back is its time too.
    double room = pass + 2.0 * law->far_ns;
    double own = hsdi_larger(0.0, s->window - hsdi_larger(0.0, room - d->glue) / d->call) * d->one;
    double proxy = hsdi_larger(0.0, s->window - suffix * part / d->call) * d->one;
    double late =
        hsdi_smaller(0.5 * d->call, hsdi_larger(0.0, d->glue + s->window * d->call - room));
    int n_fresh = (s->window + 1) / 2;
    double fresh = late + n_fresh * d->one;
    double p_proxy = d->p_hit - d->p_own;
    double floor_ns = memory_ns(law, s->window + 1.0) - pass;
    double waits = hsdi_larger(hsdi_larger(0.0, floor_ns), d->p_own * own + p_proxy * proxy);
    *out = (hsdi_plan_step){.prefix_ns = prefix * part,
                            .exit_ns = head * part,
                            .suffix_ns = suffix * part,
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

static mirror mirror_of(hsdi_law *law, const hsdi_plan_setting *s)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    double exit_part = (double)s->exit_layer / law->n_layers;
    mirror d = {.glue = draft_one(law, false, true),
                .call = branch_call(law, s->roots),
                .one = draft_one(law, false, false)};
    d.p_hit = hsdi_acceptance_coverage(a, s->window, s->roots, exit_part);
    d.p_own =
        s->exit_layer > 0 ? hsdi_acceptance_coverage(a, s->window, 0.5 * s->roots, 0.0) : d.p_hit;
    d.p_own = hsdi_smaller(d.p_own, d.p_hit);
    d.work = d.glue + s->window * d.call;
    return d;
}

/// Windows after a hit are whole, after a miss half as long.
static void step_mirror(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    const mirror d = mirror_of(law, s);
    hsdi_plan_step hit, miss;
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

void hsdi_law_hopeful(hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    hsdi_plan_setting easy = *s;
    easy.exit_layer = 0;
    easy.roots = 1;
    mirror d = mirror_of(law, &easy);
    hsdi_plan_step hit, miss;
    d.p_own = d.p_hit = hsdi_acceptance_coverage(&law->costs->acceptance, s->window, 64.0, 1.0);
    mirror_case(law, &easy, &d, s->window, &hit);
    mirror_case(law, &easy, &d, (s->window + 1) / 2, &miss);
    // With fewer hits the mixture moves towards the case after a miss.
    hit.total_ns = mix(hit.total_ns, miss.total_ns, d.p_hit);
    hit.tokens = mix(hit.tokens, miss.tokens, d.p_hit);
    *out = hit.tokens / hit.total_ns > miss.tokens / miss.total_ns ? hit : miss;
    out->latency_ns = hsdi_law_pass(law, 1.0);
    out->tokens_per_s = out->tokens / out->total_ns * 1e9;
}

/// States of a draft that runs ahead: -1 behind by a token, 0.. so many tokens ahead; the last is
/// the step after a rejection.
enum { MOST_AHEAD = 2 * 16 + 1, N_STATES = MOST_AHEAD + 3, RESET = N_STATES - 1, N_ROUNDS = 40 };

typedef struct ahead {
    double tokens, ns; ///< of the pass
    double p_on;       ///< the draft's next token is the one that followed
    int low;           ///< state after that, and the part that goes to the next one
    double part;
} ahead;

/// Chance of the first token behind a rejection, or of one behind a token that was right.
static double accept_of(const hsdi_law *law, const hsdi_plan_setting *s, bool is_behind_right)
{
    const hsdi_acceptance *a = &law->costs->acceptance;
    return s->draft_kind == HSD_DRAFT_NGRAM ? a->ngram_accept
           : is_behind_right                ? hsdi_acceptance_goes_on(a)
                                            : hsdi_acceptance_starts(a);
}

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
    double pass = hsdi_law_pass(law, j + 1.0) * law->target_slow;
    a.ns = pass + law->rendezvous_ns;
    // After a rejection the running call is of no use, and the way there and back is lost.
    double room =
        state == RESET ? hsdi_larger(0.0, a.ns - 2.0 * law->far_ns - 0.5 * token_ns) : a.ns;
    double next = hsdi_smaller(lead + room / token_ns, j + 1.0 + s->window) - (j + 1.0);
    next = hsdi_smaller(hsdi_larger(next, -1.0), MOST_AHEAD - 1.0) + 1.0; // as a state
    a.low = (int)next;
    a.part = next - a.low;
    return a;
}

/// The chain of states in its steady state, by its powers.
static void step_async(const hsdi_law *law, const hsdi_plan_setting *s, hsdi_plan_step *out)
{
    double token_ns = draft_one(law, true, true);
    double now[N_STATES] = {0}, next[N_STATES], tokens = 0.0, ns = 0.0;
    ahead a[N_STATES];
    bool is_made[N_STATES] = {false};
    now[RESET] = 1.0;
    for (int k = 0; k < N_ROUNDS; k++) {
        memset(next, 0, sizeof next);
        for (int i = 0; i < N_STATES; i++) {
            if (now[i] <= 0.0) {
                continue;
            }
            if (!is_made[i]) {
                a[i] = pass_ahead(law, s, i, token_ns);
                is_made[i] = true;
            }
            double on = now[i] * a[i].p_on;
            next[a[i].low] += on * (1.0 - a[i].part);
            next[a[i].low + 1] += on * a[i].part;
            next[RESET] += now[i] - on;
            if (k >= N_ROUNDS / 2) { // the chain may swing: the mean of its second half
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

// ---- power ----

/// Joules of a step: every device that takes part, each once.
static double joules_of(const hsdi_law *law, const hsdi_plan_step *step)
{
    const hsdi_machine_device *all = law->machine->devices;
    const hsdi_cost_table *used[HSDI_PLAN_WORKERS + 2] = {law->first, law->last};
    double busy[HSDI_PLAN_WORKERS + 2], joules = 0.0;
    int n = 2;
    double pass = step->prefix_ns + step->exit_ns + step->suffix_ns;
    double first = law->first == law->last ? 1.0 : (double)law->split / law->n_layers;
    busy[0] = pass * first;
    busy[1] = pass - busy[0];
    for (int i = 0; i < law->n_drafts; i++) {
        used[n] = law->draft[i];
        busy[n++] = hsdi_smaller(step->draft_ns + step->miss_ns, step->total_ns);
    }
    for (int i = 0; i < n; i++) {
        const hsdi_machine_device *d = &all[used[i]->i_device];
        double sum = busy[i];
        bool is_counted = false;
        for (int j = 0; j < i; j++) {
            is_counted |= used[j]->i_device == used[i]->i_device;
        }
        for (int j = i + 1; j < n; j++) {
            sum += used[j]->i_device == used[i]->i_device ? busy[j] : 0.0;
        }
        if (is_counted) {
            continue;
        }
        if (d->busy_w <= 0.0) {
            return 0.0; // one that is not known makes the sum unknown
        }
        sum = hsdi_smaller(sum, step->total_ns);
        joules += (d->busy_w * sum + d->idle_w * (step->total_ns - sum)) * 1e-9;
    }
    return joules;
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

void hsdi_law_power(const hsdi_law *law, hsdi_plan_step *step)
{
    step->joules_per_token = joules_of(law, step) / step->tokens;
}
