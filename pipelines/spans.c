/// Names of spans and of their values, as a trace's reader sees them.
#include <pipelines/spans.h>
#include <stddef.h>
#include <string.h>

#define STEP_SPAN(id, ...) const hsdi_span_kind hsdi_span_##id = {.is_of_step = true, __VA_ARGS__}

STEP_SPAN(prefill, .name = "prefill", .values = {"rows"});
STEP_SPAN(step, .name = "step", .text = "source", .values = {"rows", "accepted", "want"});
STEP_SPAN(wait, .name = "wait for windows", .values = {"want"});
STEP_SPAN(prefix, .name = "prefix", .values = {"rows"});
STEP_SPAN(exit_head, .name = "exit head", .values = {"rows"});
STEP_SPAN(suffix, .name = "suffix", .values = {"rows"});
STEP_SPAN(verify, .name = "verify", .values = {"rows"});
STEP_SPAN(commit, .name = "commit", .text = "source", .values = {"rows", "accepted"});
STEP_SPAN(emit, .name = "emit", .values = {"tokens"});
STEP_SPAN(take_window, .name = "take WINDOW", .text = "source", .values = {"tokens"});
STEP_SPAN(send_step, .name = "send STEP", .values = {"tokens"});
STEP_SPAN(send_proxies, .name = "send PROXIES", .values = {"rows"});
STEP_SPAN(send_commit, .name = "send COMMIT", .values = {"want"});
STEP_SPAN(send_alone, .name = "send ALONE", .values = {"tokens"});

STEP_SPAN(catch_up, .name = "catch up", .values = {"rows"});
STEP_SPAN(fresh, .name = "fresh rollout", .values = {"rows"});
STEP_SPAN(lengthen, .name = "lengthen branch", .values = {"rows"});
STEP_SPAN(glue, .name = "glue", .values = {"rows"});
STEP_SPAN(roots, .name = "roots", .text = "of", .values = {"branches"});
STEP_SPAN(branches, .name = "branches", .values = {"rows", "branches"});
STEP_SPAN(ahead, .name = "ahead", .values = {"rows"});
STEP_SPAN(take_open, .name = "take OPEN", .values = {"tokens"});
STEP_SPAN(take_step, .name = "take STEP", .values = {"tokens"});
STEP_SPAN(take_proxies, .name = "take PROXIES", .values = {"rows"});
STEP_SPAN(take_commit, .name = "take COMMIT", .values = {"want"});
STEP_SPAN(take_alone, .name = "take ALONE", .values = {"tokens"});
STEP_SPAN(send_window, .name = "send WINDOW", .text = "source", .values = {"tokens"});
const hsdi_span_kind hsdi_span_sleep = {.name = "sleep"};

const char *hsdi_span_source(hsdi_source source)
{
    return source == HSDI_SOURCE_FRESH ? "fresh" : source == HSDI_SOURCE_OWN ? "own" : "proxy";
}

/// The order is part of the protocol.
static const hsdi_span_kind *const kinds[] = {
    &hsdi_span_sleep,      &hsdi_span_catch_up,    &hsdi_span_fresh,        &hsdi_span_lengthen,
    &hsdi_span_glue,       &hsdi_span_roots,       &hsdi_span_branches,     &hsdi_span_ahead,
    &hsdi_span_take_open,  &hsdi_span_take_step,   &hsdi_span_take_proxies, &hsdi_span_take_commit,
    &hsdi_span_take_alone, &hsdi_span_send_window,
};
static const char *const texts[] = {NULL, "fresh", "own", "proxy", "own candidates", "both"};

enum { N_KINDS = sizeof kinds / sizeof *kinds, N_TEXTS = sizeof texts / sizeof *texts };

const hsdi_span_kind *hsdi_span_kind_at(int number)
{
    return number >= 0 && number < N_KINDS ? kinds[number] : NULL;
}

int hsdi_span_kind_number(const hsdi_span_kind *kind)
{
    for (int i = 0; i < N_KINDS; i++) {
        if (kinds[i] == kind) {
            return i;
        }
    }
    return -1;
}

const char *hsdi_span_text_at(int number)
{
    return number > 0 && number < N_TEXTS ? texts[number] : NULL;
}

int hsdi_span_text_number(const char *text)
{
    for (int i = 1; text && i < N_TEXTS; i++) {
        if (strcmp(texts[i], text) == 0) {
            return i;
        }
    }
    return 0;
}
