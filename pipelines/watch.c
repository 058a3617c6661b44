/// Which arm pays, with margin and hysteresis.
#include <math.h>
#include <pipelines/watch.h>
#include <stdio.h>

static const int PERIOD = 8; ///< steps between two looks, doubled while nothing
                             ///< changes: a look asks for every arm's prediction
static const int MOST_PERIOD = 32;
static const int LEAST_STEPS = 24;      ///< of an arm before it is judged
static const int FRESH_STEPS = 512;     ///< how long what an arm brought counts, doubled when it
                                        ///< turned out to be no better
static const int MOST_FRESH = 8192;     ///< doubled as far as that
static const int CATCHING_MOST = 512;   ///< a draft that is not there after so many steps is late
static const double DECAY = 0.99;       ///< of what steps taught
static const double PRIOR = 4.0;        ///< tokens that the assumed acceptance counts for
static const double TRIAL_PART = 0.015; ///< of the time, that trials may cost (as in pace.c)
/// What the first trial of a draft is taken to cost, in steps: until it has read the text, and
/// until it is known to be bad. Later ones are taken to cost what the last one did.
static const double TRIAL_PRICE = 12.0;
static const double TRIAL_BAD = 0.85; ///< of what it is to beat: such a trial ends early
static const double OUTLIER = 4.0;    ///< a step counts as at most so many times the average
static const double BIAS_LEAST = 0.5, BIAS_MOST = 1.5;

/// A prediction takes longer than a small model's pass: none is asked for twice.
static void forget_predictions(hsdi_watch *w)
{
    for (int i = 0; i < HSDI_WATCH_ARMS; i++) {
        w->predicted[i] = -1.0;
    }
}

void hsdi_watch_init(hsdi_watch *w, const hsdi_watch_config *config)
{
    *w = (hsdi_watch){
        .config = *config, .now = config->first, .pending = -1, .i_home = -1, .gap = PERIOD};
    for (int d = 0; d <= HSDI_WINDOW_MAX; d++) {
        w->tried[d] = PRIOR;
        w->accepted[d] = PRIOR * config->accept;
    }
    for (int i = 0; i < HSDI_WATCH_ARMS; i++) {
        w->seen[i].n_fresh = FRESH_STEPS;
    }
    forget_predictions(w);
}

static const char *mode_name(hsd_mode mode)
{
    static const char *const names[] = {"auto", "ar", "serial", "mirror", "async"};
    return names[mode];
}

static int alone_arm(const hsdi_watch *w)
{
    for (int i = 0; i < w->config.n_arms; i++) {
        if (w->config.arms[i].mode == HSD_MODE_AR) {
            return i;
        }
    }
    return -1;
}

static void add(hsdi_watch_seen *s, double tokens, double ns, int64_t now)
{
    double usual = s->n > 0.0 ? s->ns / s->n : ns;
    ns = s->n > 2.0 ? fmin(ns, OUTLIER * usual) : ns;
    s->tokens = DECAY * s->tokens + tokens;
    s->ns = DECAY * s->ns + ns;
    s->n = DECAY * s->n + 1.0;
    s->last = now;
}

void hsdi_watch_observe(hsdi_watch *w, const hsdi_watch_step *step)
{
    w->n_steps++;
    if (step->n_deep > 0 || step->is_hit >= 0) {
        forget_predictions(w);
    }
    for (int d = 1; d <= step->n_deep && d <= step->n_accepted + 1 && d <= HSDI_WINDOW_MAX; d++) {
        w->tried[d] = DECAY * w->tried[d] + 1.0;
        w->accepted[d] = DECAY * w->accepted[d] + (d <= step->n_accepted ? 1.0 : 0.0);
    }
    if (step->is_hit >= 0) {
        w->n_asked = DECAY * w->n_asked + 1.0;
        w->n_hit = DECAY * w->n_hit + step->is_hit;
    }
    // Until the first window after a change workers read the text again: that is the price of the
    // change, and says nothing of the arm.
    bool is_drafting = !step->is_alone && w->config.arms[w->now].mode != HSD_MODE_AR;
    if (is_drafting && w->n_catching >= 0) {
        w->n_catching = step->n_deep > 0 || w->n_catching >= CATCHING_MOST ? -1 : w->n_catching + 1;
        if (w->n_catching > 0) {
            w->total_ns += (double)step->ns;
            w->trial_ns += (double)step->ns;
            return;
        }
    }
    int arm = step->is_alone ? alone_arm(w) : w->now;
    bool is_settled = w->n_since++ >= 2 || w->n_steps <= 2;
    if (step->ns <= 0 || arm < 0) {
        return;
    }
    w->total_ns += (double)step->ns;
    if (w->i_home >= 0) {
        double expected = step->n_tokens / hsdi_watch_rate(w, w->i_home);
        w->trial_ns += fmax(0.0, (double)step->ns - expected);
    }
    if (is_settled) {
        add(&w->seen[arm], step->n_tokens, (double)step->ns, w->n_steps);
    }
}

static bool is_seen(const hsdi_watch *w, int i)
{
    const hsdi_watch_seen *s = &w->seen[i];
    // The arm that runs is always fresh.
    return s->n >= 8.0 && (i == w->now || w->n_steps - s->last < s->n_fresh);
}

static double ask(const hsdi_watch *w, int i)
{
    double accept[HSDI_WINDOW_MAX + 1], tokens = 1.0, ns = 1.0;
    for (int d = 0; d <= HSDI_WINDOW_MAX; d++) {
        accept[d] = w->accepted[d] / w->tried[d];
    }
    double hit = w->n_asked > 16.0 ? w->n_hit / w->n_asked : -1.0;
    bool ok = w->config.predict &&
              w->config.predict(w->config.user, i, accept, HSDI_WINDOW_MAX, hit, &tokens, &ns);
    return ok && ns > 0.0 ? tokens / ns : 0.0;
}

/// By prediction alone, with the acceptance that was seen.
static double predicted(const hsdi_watch *w, int i)
{
    return w->predicted[i] >= 0.0 ? w->predicted[i] : ask(w, i);
}

static void ask_all(hsdi_watch *w)
{
    for (int i = 0; i < w->config.n_arms; i++) {
        w->predicted[i] = predicted(w, i);
    }
}

/// What an arm that was seen brought over its prediction; 0: not known.
static double ratio_of(const hsdi_watch *w, int i)
{
    double p = i >= 0 && is_seen(w, i) ? predicted(w, i) : 0.0;
    return p > 0.0 ? w->seen[i].tokens / w->seen[i].ns / p : 0.0;
}

/// How wrong predictions are now. How fast the target alone is counts for every arm, since all
/// share its passes: a busy machine slows everything. What drafts bring beyond that is their own
/// error, and taken from one to another within limits only.
static double bias_of(const hsdi_watch *w, int i)
{
    double alone = ratio_of(w, alone_arm(w)), sum = 0.0;
    int n = 0;
    if (alone > 0.0 && w->config.arms[i].mode == HSD_MODE_AR) {
        return alone;
    }
    for (int k = 0; k < w->config.n_arms; k++) {
        double ratio = w->config.arms[k].mode == HSD_MODE_AR ? 0.0 : ratio_of(w, k);
        sum += ratio;
        n += ratio > 0.0;
    }
    double base = alone > 0.0 ? alone : 1.0, own = n > 0 ? sum / n / base : 1.0;
    return base * fmin(fmax(own, BIAS_LEAST), BIAS_MOST);
}

double hsdi_watch_rate(const hsdi_watch *w, int i)
{
    if (is_seen(w, i)) {
        return w->seen[i].tokens / w->seen[i].ns;
    }
    return predicted(w, i) * bias_of(w, i);
}

static int best_of(const hsdi_watch *w, int but)
{
    int best = -1;
    for (int i = 0; i < w->config.n_arms; i++) {
        if (i != but && (best < 0 || hsdi_watch_rate(w, i) > hsdi_watch_rate(w, best))) {
            best = i;
        }
    }
    return best;
}

static void change(hsdi_watch *w, int to, const char *how)
{
    (void)snprintf(w->why, sizeof w->why,
                   "%s %s instead of %s: %.1f tokens/s %s, %.1f seen (acceptance %.2f)",
                   mode_name(w->config.arms[to].mode), how, mode_name(w->config.arms[w->now].mode),
                   hsdi_watch_rate(w, to) * 1e9, is_seen(w, to) ? "seen" : "expected",
                   hsdi_watch_rate(w, w->now) * 1e9, w->accepted[1] / w->tried[1]);
    w->seen[w->now].last = w->n_steps;
    w->now = to;
    w->n_since = w->n_catching = w->next_look = 0;
    w->gap = PERIOD;
    w->pending = -1;
    w->n_pending = 0;
    w->n_replans++;
}

/// What a trial of an arm may cost that promises `its` where the present one brings `mine`.
static double price_of(const hsdi_watch *w, int i, double its, double mine)
{
    // A step of another arm takes about as long as its tokens would take here, and the loss.
    double step_ns = w->total_ns / (double)w->n_steps, known = w->seen[i].price_ns;
    bool drafts = w->config.arms[i].mode != HSD_MODE_AR;
    double loss = LEAST_STEPS * step_ns * fmax(0.1, 1.0 - its / mine) * 2.0;
    return fmax(loss, known > 0.0 || !drafts ? known : TRIAL_PRICE * step_ns);
}

/// Trials have cost little of the time so far, this one included.
static bool is_affordable(const hsdi_watch *w, int i, double its, double mine)
{
    return w->trial_ns + price_of(w, i, its, mine) <= TRIAL_PART * w->total_ns;
}

static void begin_trial(hsdi_watch *w, int other, const char *how)
{
    int home = w->now;
    change(w, other, how);
    w->i_home = home;
    w->spent_ns = w->trial_ns;
    // What is not fresh is not mixed with what comes.
    w->seen[other].tokens = w->seen[other].ns = w->seen[other].n = 0.0;
}

/// The best other arm, where nothing fresh is known of it: it may turn out better than it looks.
static void consider_trial(hsdi_watch *w)
{
    double mine = hsdi_watch_rate(w, w->now), its = 0.0;
    int other = -1;
    for (int i = 0; i < w->config.n_arms; i++) {
        double rate = i != w->now && !is_seen(w, i) ? hsdi_watch_rate(w, i) : 0.0;
        other = rate > its ? i : other;
        its = fmax(its, rate);
    }
    if (other < 0 || mine <= 0.0 || w->total_ns <= 0.0) {
        return;
    }
    if (is_affordable(w, other, its, mine)) {
        begin_trial(w, other, "on trial");
    }
}

/// Has a trial shown already that it will not pay?
static bool is_lost_trial(const hsdi_watch *w)
{
    return w->i_home >= 0 && is_seen(w, w->now) &&
           hsdi_watch_rate(w, w->now) < TRIAL_BAD * hsdi_watch_rate(w, w->i_home);
}

/// A trial is over: what it brought decides. True when the arm goes back.
static bool end_trial(hsdi_watch *w)
{
    int home = w->i_home;
    hsdi_watch_seen *s = &w->seen[w->now];
    w->i_home = -1;
    s->price_ns = w->trial_ns - w->spent_ns;
    if (hsdi_watch_rate(w, w->now) < hsdi_watch_rate(w, home) * w->config.margin) {
        s->n_fresh = s->n_fresh < MOST_FRESH ? 2 * s->n_fresh : MOST_FRESH;
        change(w, home, "again");
        return true;
    }
    s->n_fresh = FRESH_STEPS;
    s->price_ns = 0.0;
    return false;
}

int hsdi_watch_choose(hsdi_watch *w)
{
    bool is_early = w->n_since < LEAST_STEPS || w->n_since < w->next_look;
    if (w->config.n_arms < 2 || w->n_steps == 0 || (is_early && !is_lost_trial(w))) {
        return w->now;
    }
    ask_all(w);
    if (w->i_home >= 0 && end_trial(w)) {
        return w->now;
    }
    w->gap = w->gap * 2 < MOST_PERIOD ? w->gap * 2 : MOST_PERIOD;
    int other = best_of(w, w->now);
    double mine = hsdi_watch_rate(w, w->now), its = hsdi_watch_rate(w, other);
    if (its > mine * w->config.margin) {
        w->n_pending = w->pending == other ? w->n_pending + 1 : 1;
        w->pending = other;
        w->gap = PERIOD;
        bool has_failed = w->seen[other].price_ns > 0.0;
        if (w->n_pending >= 2 && is_seen(w, other)) {
            w->seen[other].n_fresh = FRESH_STEPS;
            change(w, other, "now");
        } else if (w->n_pending >= 2 && (!has_failed || is_affordable(w, other, its, mine))) {
            begin_trial(w, other, "now"); // it only promises: it may go back
        }
    } else {
        w->pending = -1;
        w->n_pending = 0;
        consider_trial(w);
    }
    w->next_look = w->n_since + w->gap;
    return w->now;
}
