/// What workers in other processes recorded, in the target's trace.
///
/// Only with a trace, and outside of the step loop: a worker is asked to record when it has shaken
/// hands, and after each generation for what it recorded. Before and after, its clock is compared:
/// a TIME says when the worker took the CLOCK and when it answered. The worker cannot have taken it
/// before it was sent, nor answered after the answer came, so each exchange bounds the offset from
/// both sides, and the best bounds of several are the offset with its uncertainty.
#include <base/clock.h>
#include <base/error.h>
#include <pipelines/target_state.h>
#include <stdio.h>

static const int N_EXCHANGES = 16;
static const int64_t MS = 1000000, CLOCK_MS = 500, SPANS_MS = 2000;
static const int64_t HURRY_MS = 100; ///< for spans, when somebody waits for the end

void hsdi_helper_trace_again(hsdi_target *target, hsdi_helper *helper)
{
    if (helper->track) {
        hsdi_frame frame = {.type = HSDI_FRAME_TRACE};
        frame.trace.order = HSDI_TRACE_RECORD;
        frame.trace.from = helper->spans_next;
        (void)!hsdi_helper_send(target, helper, &frame);
    }
}

void hsdi_helper_trace_begin(hsdi_target *target, hsdi_helper *helper)
{
    if (!target->track || hsdi_endpoint_is_inproc(helper->endpoint)) {
        return; // its spans are in the trace already
    }
    if (!helper->track) {
        char name[HSDI_TRACK_NAME_BYTES], process[HSDI_TRACK_NAME_BYTES];
        snprintf(name, sizeof name, "draft worker %s", helper->endpoint);
        snprintf(process, sizeof process, "hsd worker %s", helper->endpoint);
        hsd_error err = {0};
        if (hsdi_track_open_remote(target->config.trace, name, process, &helper->track, &err) !=
            HSD_OK) {
            hsdi_logf(&target->config.log, HSDI_LOG_WARN, "draft worker %s: not in the trace: %s",
                      helper->endpoint, err.message);
            return;
        }
    }
    hsdi_helper_trace_again(target, helper);
    hsdi_helper_ask_time(target, helper);
}

static void ask_once(hsdi_target *target, hsdi_helper *helper)
{
    hsdi_frame frame = {.type = HSDI_FRAME_CLOCK};
    frame.time.asked_ns = (uint64_t)hsdi_now_ns();
    helper->asked_ns = (int64_t)frame.time.asked_ns;
    if (hsdi_helper_send(target, helper, &frame) != HSD_OK) {
        helper->n_exchanges = 0;
    }
}

void hsdi_helper_ask_time(hsdi_target *target, hsdi_helper *helper)
{
    if (helper->track) {
        helper->least_ns = INT64_MIN;
        helper->most_ns = INT64_MAX;
        helper->n_exchanges = N_EXCHANGES;
        ask_once(target, helper);
    }
}

/// The bounds of one exchange. Where they exclude those before, a clock was set or runs away: the
/// newest count.
static void narrow(hsdi_helper *helper, int64_t least_ns, int64_t most_ns)
{
    int64_t least = least_ns > helper->least_ns ? least_ns : helper->least_ns;
    int64_t most = most_ns < helper->most_ns ? most_ns : helper->most_ns;
    helper->least_ns = least <= most ? least : least_ns;
    helper->most_ns = least <= most ? most : most_ns;
}

void hsdi_helper_on_time(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    int64_t now_ns = hsdi_now_ns();
    if (helper->n_exchanges == 0 || frame->time.asked_ns != (uint64_t)helper->asked_ns) {
        target->stats.ignored++; // an answer to nothing that was asked, or an old one
        return;
    }
    int64_t taken_ns = (int64_t)frame->time.taken_ns, given_ns = (int64_t)frame->time.given_ns;
    if (now_ns - helper->asked_ns < given_ns - taken_ns) { // it says what cannot be
        helper->n_exchanges = 0;
        target->stats.ignored++;
        return;
    }
    narrow(helper, helper->asked_ns - taken_ns, now_ns - given_ns);
    if (--helper->n_exchanges > 0) {
        ask_once(target, helper);
        return;
    }
    const hsdi_clock_point point = {
        .at_ns = given_ns,
        .offset_ns = helper->least_ns + (helper->most_ns - helper->least_ns) / 2,
        .uncertainty_ns = (helper->most_ns - helper->least_ns + 1) / 2,
    };
    hsdi_track_set_clock(helper->track, frame->time.pid, frame->time.host, &point);
    helper->has_clock = true;
}

static void ask_spans(hsdi_target *target, hsdi_helper *helper)
{
    hsdi_frame frame = {.type = HSDI_FRAME_TRACE};
    frame.trace.order = HSDI_TRACE_GIVE;
    frame.trace.from = helper->spans_next;
    helper->is_giving = hsdi_helper_send(target, helper, &frame) == HSD_OK;
}

/// An answer of another epoch may be older than what the worker records now, under the same
/// numbers.
void hsdi_helper_on_spans(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    if (!helper->is_giving || frame->epoch != helper->epoch ||
        frame->spans.from != helper->spans_next) {
        target->stats.ignored++;
        return;
    }
    for (int i = 0; i < frame->spans.n; i++) {
        const hsdi_span span = hsdi_frame_span(frame, i);
        hsdi_track_put(helper->track, &span);
    }
    helper->spans_next = frame->spans.next;
    helper->is_giving = false;
    if (frame->spans.is_last && frame->spans.n_dropped == HSDI_SPANS_NONE) {
        hsdi_logf(
            &target->config.log, HSDI_LOG_WARN,
            "draft worker %s: does not record this session; its spans are missing in the trace",
            helper->endpoint);
    } else if (frame->spans.is_last && frame->spans.n_dropped > 0) {
        hsdi_logf(&target->config.log, HSDI_LOG_WARN,
                  "draft worker %s: had no room for %llu spans of the trace", helper->endpoint,
                  (unsigned long long)frame->spans.n_dropped);
    }
    if (!frame->spans.is_last) {
        ask_spans(target, helper);
    }
}

/// Look for answers until there are no more to come, or the time is over. True: cancelled.
static bool wait_while(hsdi_target *target, bool (*is_busy)(const hsdi_helper *), int64_t most_ms)
{
    int64_t end_ns = hsdi_now_ns() + most_ms * MS;
    bool is_cancelled = false;
    for (;;) {
        bool any = false;
        for (int i = 0; i < target->n_helpers; i++) {
            any |= is_busy(&target->helpers[i]);
        }
        int64_t now_ns = hsdi_now_ns();
        if (!is_cancelled && hsdi_target_is_cancelled(target)) {
            is_cancelled = true;
            end_ns = end_ns < now_ns + HURRY_MS * MS ? end_ns : now_ns + HURRY_MS * MS;
        }
        if (!any || now_ns > end_ns) {
            return is_cancelled;
        }
        hsdi_helpers_look(target, 2 * MS);
    }
}

static bool is_asked_time(const hsdi_helper *helper)
{
    return helper->n_exchanges > 0;
}

static bool is_giving(const hsdi_helper *helper)
{
    return helper->is_giving;
}

void hsdi_helpers_wait_clocks(hsdi_target *target)
{
    (void)wait_while(target, is_asked_time, CLOCK_MS);
    for (int i = 0; i < target->n_helpers; i++) {
        target->helpers[i].n_exchanges = 0;
    }
}

static bool is_there(const hsdi_helper *helper)
{
    return helper->track && helper->has_clock &&
           (helper->state == HSDI_PEER_OPEN || helper->state == HSDI_PEER_READY);
}

static void compare_clocks(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (is_there(&target->helpers[i])) {
            hsdi_helper_ask_time(target, &target->helpers[i]);
        }
    }
    hsdi_helpers_wait_clocks(target);
}

static void warn_of_missing(const hsdi_target *target, const hsdi_helper *helper)
{
    hsdi_logf(&target->config.log, HSDI_LOG_WARN,
              "draft worker %s: its last spans are missing in the trace", helper->endpoint);
}

void hsdi_helpers_take_spans(hsdi_target *target, bool hurries)
{
    if (!hurries) {
        compare_clocks(target);
    }
    for (int i = 0; i < target->n_helpers; i++) {
        if (is_there(&target->helpers[i])) {
            ask_spans(target, &target->helpers[i]);
        }
    }
    hurries |= wait_while(target, is_giving, hurries ? HURRY_MS : SPANS_MS);
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        bool is_late = helper->track && helper->is_giving;
        helper->is_giving = false;
        helper->is_owing = is_late && hurries;
        if (helper->track && !helper->is_owing && (is_late || !is_there(helper))) {
            warn_of_missing(target, helper);
        }
    }
}

void hsdi_helpers_take_rest(hsdi_target *target)
{
    bool any = false;
    for (int i = 0; i < target->n_helpers; i++) {
        any |= target->helpers[i].is_owing;
    }
    if (any) {
        hsdi_helpers_take_spans(target, true);
    }
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].is_owing) {
            warn_of_missing(target, &target->helpers[i]);
        }
    }
}

void hsdi_helper_trace_end(hsdi_target *target, hsdi_helper *helper)
{
    if (helper->track) {
        hsdi_frame frame = {.type = HSDI_FRAME_TRACE};
        frame.trace.order = HSDI_TRACE_END;
        (void)!hsdi_helper_send(target, helper, &frame);
        hsdi_track_close(&helper->track);
    }
}
