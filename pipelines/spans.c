/// Names of spans and of their values, as a trace's reader sees them.
#include <pipelines/spans.h>

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
