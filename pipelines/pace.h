/// Pace: how long the next window should be, from what windows brought and what steps cost.
///
/// A step with windows of length w brings 1 + a_1 + a_1 a_2 + .. + a_1 .. a_w tokens, a_d being the
/// acceptance of the d-th token of a chain once its ancestors are accepted, and takes the time that
/// such steps took. The w of the most tokens per time is best; 0 means that the target alone is
/// faster. Lengths that were not used for long are tried again now and then, the seldomer the more
/// it costs.
#ifndef HSDI_PIPELINES_PACE_H
#define HSDI_PIPELINES_PACE_H

#include <pipelines/window.h>
#include <stdint.h>

/// Zero-initialise, then hsdi_pace_init. Plain data.
typedef struct hsdi_pace {
    int n_most;
    bool is_fixed;                                                   ///< always n_most
    bool may_pause;                                                  ///< 0 is a choice
    float accepted[HSDI_WINDOW_MAX + 1], tried[HSDI_WINDOW_MAX + 1]; ///< per depth, decayed
    float step_ns[HSDI_WINDOW_MAX + 1];     ///< per length that was asked for; 0: never
    float expected_ns[HSDI_WINDOW_MAX + 1]; ///< per length, as a plan has it; 0: not known
    int n_steps[HSDI_WINDOW_MAX + 1];
    int seen[HSDI_WINDOW_MAX + 1]; ///< decisions that had been made when it was last observed
    float fill; ///< height of windows over the length asked for, decayed: misses make it small
    int n_decided, next_trial, trial_gap;
    int last;              ///< what the last observed step asked for
    int trial, trial_at;   ///< length of the last trial, and which decision began it
    int n_trial, n_unseen; ///< its steps that are still to be made, and to be observed
    float trial_ns;        ///< what it has cost so far, beyond steps of the best length
} hsdi_pace;

void hsdi_pace_init(hsdi_pace *pace, int n_most, bool is_fixed, bool may_pause);

/// What a plan expects: times of steps with windows of length 0..n_most, none of them 0, and the
/// acceptance of depth 1, 2, ... Times of lengths that were not seen are then these, as many times
/// longer or shorter as those seen were; and no steps are made only to see lengths.
///
/// Shapes: both [n_most + 1]
void hsdi_pace_expect(hsdi_pace *pace, const float *step_ns, const double *accept);

/// A generation begins. What is known stays; the first step is not typical.
void hsdi_pace_begin(hsdi_pace *pace);

/// A step is over: a window of height n_deep was verified, n_accepted of its deepest path
/// accepted, windows of `want` were asked for, and it took step_ns (0: not to be counted, since the
/// window was cut or came too late).
void hsdi_pace_observe(hsdi_pace *pace, int want, int n_deep, int n_accepted, int64_t step_ns);

/// Length to ask for next, 0..n_most.
int hsdi_pace_choose(hsdi_pace *pace);

/// Tokens per step to expect of windows of length n.
float hsdi_pace_tokens(const hsdi_pace *pace, int n);

#endif
