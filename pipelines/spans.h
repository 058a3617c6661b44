/// What the pipelines record into a trace (base/trace.h).
///
/// On the target's track every pass is a `step`, and within it what the pass consists of. A
/// worker's track has what it took from targets, what it computed and what it sent.
#ifndef HSDI_PIPELINES_SPANS_H
#define HSDI_PIPELINES_SPANS_H

#include <base/trace.h>
#include <pipelines/draft.h>

/// Target.
extern const hsdi_span_kind hsdi_span_prefill; ///< one piece: rows
extern const hsdi_span_kind hsdi_span_step;    ///< rows, accepted, want; source of the window
extern const hsdi_span_kind hsdi_span_wait;    ///< for windows: want
extern const hsdi_span_kind hsdi_span_prefix, hsdi_span_exit_head, hsdi_span_suffix,
    hsdi_span_verify;                              ///< rows
extern const hsdi_span_kind hsdi_span_commit;      ///< rows, accepted; source of the window
extern const hsdi_span_kind hsdi_span_emit;        ///< tokens
extern const hsdi_span_kind hsdi_span_take_window; ///< tokens that still fit; source
extern const hsdi_span_kind hsdi_span_send_step, hsdi_span_send_proxies, hsdi_span_send_commit;
extern const hsdi_span_kind hsdi_span_send_alone; ///< tokens

/// Draft.
extern const hsdi_span_kind hsdi_span_catch_up; ///< committed text that has no cells yet: rows
extern const hsdi_span_kind hsdi_span_fresh;    ///< the awaited window after a miss: rows
extern const hsdi_span_kind hsdi_span_lengthen; ///< the awaited window after a hit: rows
extern const hsdi_span_kind hsdi_span_glue;     ///< rows of the window not evaluated yet
extern const hsdi_span_kind hsdi_span_roots;    ///< branches; whose candidates
extern const hsdi_span_kind hsdi_span_branches; ///< rows, branches
extern const hsdi_span_kind hsdi_span_ahead;    ///< mode async: rows
extern const hsdi_span_kind hsdi_span_take_open, hsdi_span_take_step, hsdi_span_take_proxies,
    hsdi_span_take_commit, hsdi_span_take_alone;
extern const hsdi_span_kind hsdi_span_send_window; ///< tokens; source
extern const hsdi_span_kind hsdi_span_sleep;       ///< nothing to do

/// "fresh", "own", "proxy" of an hsdi_source.
const char *hsdi_span_source(hsdi_source source);

/// Kinds and texts of a worker's spans as they travel in SPANS frames, by number: NULL for a number
/// that stands for none, -1 for a kind that does not travel, 0 for no text.
const hsdi_span_kind *hsdi_span_kind_at(int number);
int hsdi_span_kind_number(const hsdi_span_kind *kind);
const char *hsdi_span_text_at(int number);
int hsdi_span_text_number(const char *text);

#endif
