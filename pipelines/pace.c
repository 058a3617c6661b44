/// Times of lengths never used are a plan's, or read off a line through the nearest two that were.
#include <math.h>
#include <pipelines/pace.h>
#include <stdlib.h>

static const float DECAY = 0.97f;     ///< of what past windows taught
static const float TIME_STEP = 0.15f; ///< weight of a new time,
static const float STALE_STEP =
    0.5f; ///< of one after STALE other steps, and of a trial's: machines change
static const int STALE = 16;
static const float OUTLIER = 3.0f; ///< a time counts as at most so many times its average
static const float EXPECTED_MOST =
    3.0f;                        ///< times that steps are taken to differ from a plan at most
static const float PRIOR = 2.0f; ///< tokens that the prior acceptance counts for
static const float PRIOR_ACCEPT = 0.6f;
static const float PAUSE_MARGIN = 1.03f; ///< what the target alone must be faster by
static const int FIRST_GAP = 16, LAST_GAP = 64, MOST_GAP = 2000;
static const float TRIAL_PART = 0.015f; ///< of the time, that trials may cost

void hsdi_pace_init(hsdi_pace *pace, int n_most, bool is_fixed, bool may_pause)
{
    *pace = (hsdi_pace){.n_most = n_most, .is_fixed = is_fixed, .may_pause = may_pause};
    for (int i = 0; i <= HSDI_WINDOW_MAX; i++) {
        pace->tried[i] = PRIOR;
        pace->accepted[i] = PRIOR * PRIOR_ACCEPT;
    }
    pace->fill = 1.0f;
    pace->trial_gap = FIRST_GAP;
    pace->next_trial = FIRST_GAP;
}

void hsdi_pace_expect(hsdi_pace *pace, const float *step_ns, const double *accept)
{
    for (int i = 0; i <= pace->n_most; i++) {
        pace->expected_ns[i] = step_ns[i];
        pace->accepted[i] = i > 0 ? PRIOR * (float)accept[i] : pace->accepted[i];
    }
}

void hsdi_pace_begin(hsdi_pace *pace)
{
    pace->last = 0;
}

float hsdi_pace_tokens(const hsdi_pace *pace, int n)
{
    float tokens = 1.0f, reach = 1.0f, length = (float)n * pace->fill;
    for (int depth = 1; depth <= n; depth++) {
        float part = length - (float)(depth - 1); // the last token is there part of the time
        reach *= pace->accepted[depth] / pace->tried[depth];
        tokens += reach * (part > 1.0f ? 1.0f : part > 0.0f ? part : 0.0f);
    }
    return tokens;
}

static int known(const hsdi_pace *pace, int from, int direction)
{
    int i = from;
    while (i >= 0 && i <= pace->n_most && pace->n_steps[i] == 0) {
        i += direction;
    }
    return i >= 0 && i <= pace->n_most ? i : -1;
}

/// How many times longer steps took than expected: near lengths say more of each other.
static float expected_time(const hsdi_pace *pace, int n)
{
    float sum = 0.0f, weights = 0.0f;
    for (int i = 0; i <= pace->n_most; i++) {
        if (pace->n_steps[i] > 0) {
            float weight = 1.0f / (float)(1 + abs(i - n)), ratio;
            ratio = pace->step_ns[i] / pace->expected_ns[i];
            sum += weight * fminf(fmaxf(ratio, 1.0f / EXPECTED_MOST), EXPECTED_MOST);
            weights += weight;
        }
    }
    return pace->expected_ns[n] * (weights > 0.0f ? sum / weights : 1.0f);
}

/// 0 when nothing is known.
static float time_of(const hsdi_pace *pace, int n)
{
    if (pace->expected_ns[n] > 0.0f && pace->n_steps[n] == 0) {
        return expected_time(pace, n);
    }
    int below = known(pace, n, -1), above = known(pace, n, 1);
    if (below == n || above < 0) {
        int other = below > 0 ? known(pace, below - 1, -1) : -1;
        if (below == n || other < 0) {
            return below < 0 ? 0.0f : pace->step_ns[below];
        }
        float slope = (pace->step_ns[below] - pace->step_ns[other]) / (float)(below - other);
        return pace->step_ns[below] + (slope > 0.0f ? slope * (float)(n - below) : 0.0f);
    }
    if (below < 0) {
        return pace->step_ns[above];
    }
    float part = (float)(n - below) / (float)(above - below);
    return pace->step_ns[below] + part * (pace->step_ns[above] - pace->step_ns[below]);
}

static int best_length(const hsdi_pace *pace)
{
    int best = pace->n_most;
    float most = 0.0f;
    for (int n = pace->n_most; n >= (pace->may_pause ? 0 : 1); n--) {
        float time = time_of(pace, n);
        float rate = time > 0.0f ? hsdi_pace_tokens(pace, n) / time : 0.0f;
        rate = n == 0 ? rate / PAUSE_MARGIN : rate;
        if (rate > most) {
            best = n;
            most = rate;
        }
    }
    return best;
}

/// Of the neighbours, the middle and the least, the one that was not seen for longest.
static int trial(const hsdi_pace *pace, int best)
{
    int least = pace->may_pause ? 0 : 1;
    const int options[] = {best + 1, best - 1, least, (pace->n_most + 1) / 2};
    int chosen = best;
    for (int i = 0; i < 4; i++) {
        int n = options[i];
        if (n >= least && n <= pace->n_most && n != best &&
            (chosen == best || pace->seen[n] < pace->seen[chosen])) {
            chosen = n;
        }
    }
    return chosen;
}

/// Until the next trial: what this one costs more than the best must stay a small part.
static void observe_trial(hsdi_pace *pace, float step_ns)
{
    float time = time_of(pace, best_length(pace));
    pace->n_unseen--;
    pace->trial_ns += step_ns - time;
    float gap = time > 0.0f ? pace->trial_ns / (TRIAL_PART * time) : 0.0f;
    int at = pace->trial_at + (int)(gap < (float)MOST_GAP ? gap : (float)MOST_GAP);
    pace->next_trial = at > pace->next_trial ? at : pace->next_trial;
}

void hsdi_pace_observe(hsdi_pace *pace, int want, int n_deep, int n_accepted, int64_t step_ns)
{
    float time = (float)step_ns, *average = &pace->step_ns[want];
    // At the end of a pause the draft catches up, at its beginning it ends what it was at: that is
    // no time of this length.
    bool is_turn = (pace->last == 0) != (want == 0);
    pace->last = want;
    for (int depth = 1; depth <= n_deep && depth <= n_accepted + 1; depth++) {
        pace->tried[depth] = DECAY * pace->tried[depth] + 1.0f;
        pace->accepted[depth] = DECAY * pace->accepted[depth] + (depth <= n_accepted ? 1.0f : 0.0f);
    }
    if (step_ns <= 0) {
        return;
    }
    if (want > 0) {
        pace->fill += (1.0f - DECAY) * ((float)n_deep / (float)want - pace->fill);
    }
    bool is_trial = want == pace->trial && pace->n_unseen > 0;
    if (is_trial) {
        observe_trial(pace, time);
    }
    if (is_turn) {
        return;
    }
    if (pace->n_steps[want]++ < 2) {
        *average = time; // the first steps of a length pay for cold caches
    } else {
        time = time < OUTLIER * *average ? time : OUTLIER * *average;
        bool is_stale = pace->n_decided - pace->seen[want] > STALE;
        *average += (is_stale || is_trial ? STALE_STEP : TIME_STEP) * (time - *average);
    }
    pace->seen[want] = pace->n_decided;
}

/// A trial that begins or ends a pause has more than one step, the first of which is not typical;
/// to go alone is worth several, since it is cheap, and its weights may first have to come back
/// into the caches.
static int begin_trial(hsdi_pace *pace, int best)
{
    int n = pace->n_decided - 1;
    pace->trial = trial(pace, best);
    pace->trial_at = n;
    pace->trial_ns = 0.0f;
    pace->n_trial = pace->trial == 0 ? 3 : best == 0 ? 1 : 0;
    pace->n_unseen = pace->n_trial + 1;
    pace->next_trial = n + pace->trial_gap;
    pace->trial_gap = pace->trial_gap * 2 < LAST_GAP ? pace->trial_gap * 2 : LAST_GAP;
    return pace->trial;
}

int hsdi_pace_choose(hsdi_pace *pace)
{
    if (pace->is_fixed) {
        return pace->n_most;
    }
    // The first steps see each kind of length twice; once the target alone is known to be faster,
    // no more of them.
    int least = pace->may_pause ? 0 : 1, half = (pace->n_most + 1) / 2;
    const int first[] = {pace->n_most, pace->n_most, least, least, 1, 1, half, half};
    const int n_first = sizeof first / sizeof first[0];
    int n = pace->n_decided++;
    bool is_planned = pace->expected_ns[0] > 0.0f;
    if (!is_planned && n < n_first && (n <= 4 || best_length(pace) > 0)) {
        return first[n];
    }
    if (pace->n_trial > 0) {
        pace->n_trial--;
        return pace->trial;
    }
    int best = best_length(pace);
    return n >= pace->next_trial ? begin_trial(pace, best) : best;
}
