/// Watch: which of several settings a generation should run with, from predictions and from what
/// steps bring. A policy: pure, no clock, no device.
///
/// Every arm is a setting with a prediction for the acceptance that was seen. What an arm brought
/// while it ran counts more than its prediction, as long as that is fresh. Another arm must promise
/// more by a margin, twice in a row, before it is taken; the target alone never gives way to a
/// trial that could cost more than a small part of the time. No choice can change a token.
#ifndef HSDI_PIPELINES_WATCH_H
#define HSDI_PIPELINES_WATCH_H

#include <hsd/engine.h>
#include <pipelines/window.h>

enum { HSDI_WATCH_ARMS = 8, HSDI_WATCH_TEXT = 160 };

/// A setting: mode, the early exit, and what workers are told.
typedef struct hsdi_watch_arm {
    hsd_mode mode; ///< AR: the target goes alone, and the workers stay open
    int window, tree, roots;
    int exit_layer;                     ///< of the target's passes; 0: as it is
    float step_ns[HSDI_WINDOW_MAX + 1]; ///< expected with windows of each length; [0] 0: not known
    double accept[HSDI_WINDOW_MAX + 1]; ///< expected per depth, from 1
} hsdi_watch_arm;

/// Prediction of an arm with acceptances and coverage as seen: tokens and nanoseconds of a step.
/// hit_rate below 0: not seen.
typedef bool (*hsdi_watch_predict)(void *user, int i_arm, const double *accept, int n_accept,
                                   double hit_rate, double *tokens, double *ns);

typedef struct hsdi_watch_config {
    int n_arms, first; ///< 1..HSDI_WATCH_ARMS; the arm to begin with
    hsdi_watch_arm arms[HSDI_WATCH_ARMS];
    double accept; ///< acceptance that is assumed until it was seen, 0..1
    double margin; ///< what another arm must promise more, at least 1; 1.05
    hsdi_watch_predict predict;
    void *user;
} hsdi_watch_config;

/// What an arm brought: sums that forget.
typedef struct hsdi_watch_seen {
    double tokens, ns, n;
    int64_t last, n_fresh; ///< step of its last observation; for how many steps it counts
    double price_ns;       ///< lost by its last trial, if that failed; else 0
} hsdi_watch_seen;

/// Zero-initialise, then hsdi_watch_init. Plain data.
typedef struct hsdi_watch {
    hsdi_watch_config config;
    int now;
    int64_t n_steps, n_since;  ///< observed in all, and since the last change
    int64_t next_look, gap;    ///< n_since at which to compare again; how far looks are apart
    int64_t n_catching;        ///< steps since then in which no window had come; -1: one has
    double total_ns, trial_ns; ///< observed, and lost by trials
    double spent_ns;           ///< trial_ns when this trial began
    hsdi_watch_seen seen[HSDI_WATCH_ARMS];
    double tried[HSDI_WINDOW_MAX + 1], accepted[HSDI_WINDOW_MAX + 1];
    double n_asked, n_hit;             ///< mirror: commits and hits
    double predicted[HSDI_WATCH_ARMS]; ///< with the acceptance that was seen; below 0: ask anew
    int pending, n_pending, i_home;    ///< i_home: the arm that a trial comes back to; -1: no trial
    int64_t n_replans;
    char why[HSDI_WATCH_TEXT]; ///< of the last change
} hsdi_watch;

/// A step that is over.
typedef struct hsdi_watch_step {
    bool is_alone;          ///< no window was asked for
    int n_deep, n_accepted; ///< height of the window, and how much of its deepest path was accepted
    int n_tokens;           ///< committed
    int is_hit;             ///< mirror: 1 the window was a hit, 0 a miss, -1 neither
    int64_t ns;             ///< 0: not typical, not to be counted
} hsdi_watch_step;

void hsdi_watch_init(hsdi_watch *watch, const hsdi_watch_config *config);
void hsdi_watch_observe(hsdi_watch *watch, const hsdi_watch_step *step);

/// The arm of the next step. Another one than before: watch->why says why, n_replans counts it.
int hsdi_watch_choose(hsdi_watch *watch);

/// Tokens per nanosecond to expect of an arm.
double hsdi_watch_rate(const hsdi_watch *watch, int i_arm);

#endif
