/// Acceptance: what is assumed of it, and reading it.
///
/// A trail knows more than shares do: right tokens come in stretches, where a text is easy, and so
/// do steps that bring much.
#include "topology/costs.h"

#include "topology/extremes.h"

#include <math.h>
#include <string.h>

/// Tokens right in a row from `at` on, at most n.
static int right_from(const char *at, int n)
{
    int k = 0;
    while (k < n && at[k] == '0') {
        k++;
    }
    return k;
}

/// Mean tokens of a step with chains of n, by going through the texts as steps would. What is left
/// of a text at its end is no step.
static double chain_of(const char *trail, int n)
{
    int64_t n_tokens = 0, n_steps = 0;
    while (*trail) {
        size_t n_text = strcspn(trail, " ");
        const char *at = trail, *end = trail + n_text;
        while (end - at > n) {
            int n_now = right_from(at, n) + 1;
            n_tokens += n_now;
            n_steps++;
            at += n_now;
        }
        trail += n_text + (trail[n_text] != 0);
    }
    return n_steps > 0 ? (double)n_tokens / (double)n_steps : 0.0;
}

/// Share of right tokens among those behind one that was right, or behind one that was wrong.
static double share_behind(const char *trail, bool is_right)
{
    int64_t n_right = 0, n_all = 0;
    for (const char *at = trail; *at && at[1]; at++) {
        if (at[0] != ' ' && at[1] != ' ' && (at[0] == '0') == is_right) {
            n_all++;
            n_right += at[1] == '0';
        }
    }
    return n_all > 0 ? (double)n_right / (double)n_all : 0.0;
}

/// Where the right token stood behind a wrong one, summed up.
static void count_places(const char *trail, double out[HSDI_TRAIL_PLACES])
{
    int64_t n_wrong = 0, n_at[HSDI_TRAIL_PLACES] = {0}, n = 0;
    for (const char *at = trail; *at; at++) {
        n_wrong += *at != '0' && *at != ' ';
        if (*at >= '1' && *at <= '9') {
            n_at[*at - '0']++;
        }
    }
    for (int i = 0; i < HSDI_TRAIL_PLACES; i++) {
        n += n_at[i];
        out[i] = n_wrong > 0 ? (double)n / (double)n_wrong : 0.0;
    }
}

void hsdi_acceptance_extend(hsdi_acceptance *a)
{
    int last = HSDI_COST_DEPTHS;
    while (last > 1 && a->accept[last] <= 0.0) {
        last--;
    }
    for (int d = last + 1; d <= HSDI_COST_DEPTHS; d++) {
        a->accept[d] = a->accept[last];
    }
    for (int n = 1; n <= HSDI_COST_DEPTHS && a->trail[0]; n++) {
        a->chain[n] = chain_of(a->trail, n);
    }
    a->starts = share_behind(a->trail, false);
    a->goes_on = share_behind(a->trail, true);
    count_places(a->trail, a->places);
}

void hsdi_acceptance_assume(hsdi_acceptance *out)
{
    // 0.6: fits OpenVINO discussion 36484 (Qwen3-14B and 0.6B); on the shipped pair 0.60 to 0.72 of
    // a draft's first tokens agree, by the family of the text (docs/benchmarks.md).
    // Coverage: docs/benchmarks.md, "Coverage of roots", all families of the shipped pair.
    static const double own[HSDI_COST_ROWS] = {0.341, 0.476, 0.608, 0.757, 0.853, 0.891, 0.892};
    static const double both[HSDI_COST_ROWS] = {0.392, 0.548, 0.689, 0.821, 0.922, 0.953, 0.956};
    *out = (hsdi_acceptance){.exit_part = 0.5};
    for (int d = 0; d <= HSDI_COST_DEPTHS; d++) {
        out->accept[d] = 0.6;
    }
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        out->own[i] = own[i];
        out->both[i] = both[i];
    }
}

/// What an exit adds to the draft's own roots, over what it adds at half of the layers. By the
/// means over roots and families of docs/benchmarks.md, exits at layers 2, 4 and 6 of 8: both
/// sources together 67.2, 74.9 and 84.8 % where the draft alone has 66 to 70. Below a quarter: a
/// straight line down to nothing.
static double exit_gain(double part)
{
    static const double at[] = {0.0, 0.25, 0.5, 0.75, 1.0}, gain[] = {0.0, 0.1, 1.0, 3.0, 3.0};
    int i = 1;
    while (i < 4 && part > at[i]) {
        i++;
    }
    double t = (part - at[i - 1]) / (at[i] - at[i - 1]);
    return gain[i - 1] + (gain[i] - gain[i - 1]) * hsdi_smaller(hsdi_larger(t, 0.0), 1.0);
}

void hsdi_acceptance_roots(const hsdi_acceptance *a, int window, double own[HSDI_COST_ROWS],
                           double both[HSDI_COST_ROWS])
{
    int low = a->brief_window, high = a->window;
    double part = low < 1 || low >= high || window >= high ? 1.0
                  : window <= low                          ? 0.0
                                                           : (double)(window - low) / (high - low);
    for (int i = 0; i < HSDI_COST_ROWS; i++) {
        own[i] = part * a->own[i] + (1.0 - part) * a->brief_own[i];
        both[i] = part * a->both[i] + (1.0 - part) * a->brief_both[i];
    }
}

double hsdi_acceptance_siblings(const hsdi_acceptance *a, int window, int n_more)
{
    if (!(a->places[HSDI_TRAIL_PLACES - 1] > 0.0)) {
        return hsdi_acceptance_coverage(a, window, n_more, 0.0);
    }
    double n = hsdi_smaller((double)n_more / window, HSDI_TRAIL_PLACES - 1.0);
    int i = (int)n < HSDI_TRAIL_PLACES - 1 ? (int)n : HSDI_TRAIL_PLACES - 2;
    return a->places[i] + (a->places[i + 1] - a->places[i]) * (n - i);
}

double hsdi_acceptance_coverage(const hsdi_acceptance *a, int window, double n_roots,
                                double exit_part)
{
    double own_at[HSDI_COST_ROWS], both_at[HSDI_COST_ROWS];
    static const double most = 0.995; // no finite number of roots has them all
    if (n_roots <= 0.0) {
        return 0.0;
    }
    hsdi_acceptance_roots(a, window, own_at, both_at);
    double own = hsdi_smaller(hsdi_cost_at(own_at, hsdi_smaller(n_roots, 64.0)), most);
    if (n_roots < 1.0) {
        own *= n_roots;
    }
    if (exit_part <= 0.0) {
        return own;
    }
    double both = hsdi_cost_at(both_at, hsdi_smaller(hsdi_larger(n_roots, 1.0), 64.0));
    double seen = exit_gain(a->exit_part > 0.0 ? a->exit_part : 0.5);
    double more = hsdi_larger(0.0, both - own) * exit_gain(exit_part) / hsdi_larger(seen, 0.1);
    return hsdi_smaller(own + more, hsdi_larger(own, most));
}

void hsdi_acceptance_forget(hsdi_acceptance *a)
{
    a->trail[0] = 0;
    memset(a->chain, 0, sizeof a->chain);
    a->starts = a->goes_on = 0.0;
    memset(a->places, 0, sizeof a->places);
}

bool hsdi_acceptance_is_trail(const char *text)
{
    return strspn(text, "0123456789- ") == strlen(text);
}

double hsdi_acceptance_starts(const hsdi_acceptance *a)
{
    return a->starts > 0.0 ? a->starts : a->accept[1];
}

double hsdi_acceptance_goes_on(const hsdi_acceptance *a)
{
    if (a->goes_on > 0.0) {
        return a->goes_on;
    }
    double reach = a->accept[1], before = 0.0, on = 0.0;
    for (int d = 2; d <= HSDI_COST_DEPTHS; d++) {
        before += reach;
        reach *= a->accept[d];
        on += reach;
    }
    return before > 0.0 ? on / before : a->accept[1];
}

double hsdi_acceptance_tokens(const hsdi_acceptance *a, int n)
{
    double tokens = 1.0, reach = 1.0;
    if (n >= 1 && n <= HSDI_COST_DEPTHS && a->chain[n] > 0.0) {
        return a->chain[n];
    }
    for (int d = 1; d <= n; d++) {
        reach *= a->accept[d < HSDI_COST_DEPTHS ? d : HSDI_COST_DEPTHS];
        tokens += reach;
    }
    return tokens;
}
