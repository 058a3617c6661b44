/// The target's dealings with draft workers: handshakes, windows, losses and returns.
///
/// A worker is called (HELLO) until it answers, then opened with the committed tokens. From then
/// on it is told every step. Whatever it sends is checked against the step at hand; nothing it
/// does can do more than cost time up to a deadline.
#include <base/clock.h>
#include <base/error.h>
#include <pipelines/target_state.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000000;
static const int FAILURES_MAX = 3, EXPLAIN_MS = 500;

/// A worker is late after so many times its slowest recent answer, but never sooner than after
/// LATE_LEAST_MS: a busy machine stops any process for a while, and sanitizers slow it down.
static const int LATE_TIMES = 20, LATE_LEAST_MS = 200;
static const int SLOWEST_DECAY = 64; ///< answers until a slow one is forgotten, about

bool hsdi_helpers_any(const hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].state == HSDI_PEER_OPEN) {
            return true;
        }
    }
    return false;
}

bool hsdi_helpers_catch_up(const hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].state == HSDI_PEER_OPEN && !target->helpers[i].is_awaited) {
            return true;
        }
    }
    return false;
}

static void lose(hsdi_target *target, hsdi_helper *helper, const char *why)
{
    if (helper->state == HSDI_PEER_OPEN) {
        target->stats.workers_lost++;
    }
    helper->offer.window.n_tokens = 0;
    helper->n_exchanges = 0;
    helper->is_giving = false;
    hsdi_logf(&target->config.log, HSDI_LOG_WARN, "draft worker %s: %s; going on without it",
              helper->endpoint, why);
    helper->state = HSDI_PEER_CALLING;
    helper->next_call_ns = hsdi_now_ns() + target->config.retry_ms * MS;
}

static void refuse(hsdi_target *target, hsdi_helper *helper, hsd_status status, const char *why)
{
    hsd_error before = helper->refusal;
    hsdi_fail(&helper->refusal, status, helper->endpoint, "%s", why);
    bool is_news = before.status != status || strcmp(before.message, helper->refusal.message) != 0;
    // Before a generation it is an error that create returns.
    hsdi_logf(&target->config.log,
              target->is_generating && is_news ? HSDI_LOG_ERROR : HSDI_LOG_INFO,
              "draft worker %s: %s; not used", helper->endpoint, why);
    helper->offer.window.n_tokens = 0;
    helper->state = HSDI_PEER_REFUSED;
}

hsd_status hsdi_helper_send(hsdi_target *target, hsdi_helper *helper, hsdi_frame *frame)
{
    frame->session = target->session;
    frame->epoch = helper->epoch;
    const int32_t *tokens = target->text + (frame->type == HSDI_FRAME_ALONE ? helper->n_told : 0);
    size_t n = hsdi_frame_encode(frame, tokens, target->proxies, target->out, target->out_cap);
    return hsdi_link_send(helper->link, target->out, n);
}

/// Ask a worker to answer, at most every retry_ms.
static void call(hsdi_target *target, hsdi_helper *helper, int64_t now_ns)
{
    hsdi_frame hello = {
        .type = HSDI_FRAME_HELLO,
        .identity = {target->config.vocab_hash, target->config.fingerprint,
                     target->stage.limits.n_vocab},
    };
    bool is_sent = hsdi_helper_send(target, helper, &hello) == HSD_OK;
    int64_t wait_ms = is_sent || target->is_generating ? target->config.retry_ms : 5;
    helper->next_call_ns = now_ns + wait_ms * MS;
}

static void call_if_due(hsdi_target *target)
{
    int64_t now_ns = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_ASKING && helper->next_call_ns < hsdi_now_ns()) {
            helper->state = HSDI_PEER_CALLING; // an answer was lost: from the start
        }
        if (helper->state == HSDI_PEER_CALLING) {
            now_ns = now_ns ? now_ns : hsdi_now_ns();
            if (now_ns >= helper->next_call_ns) {
                call(target, helper, now_ns);
            }
        }
    }
}

/// Begin or resume the generation with this worker.
static void open_session(hsdi_target *target, hsdi_helper *helper, bool is_awaited)
{
    helper->epoch++;
    hsdi_frame frame = {.type = HSDI_FRAME_OPEN, .step = target->step};
    frame.open.config = target->config.draft;
    frame.open.config.draft_kind = helper->draft_kind;
    frame.open.n_proxies = target->config.n_proxies;
    frame.open.n_vocab = target->stage.limits.n_vocab;
    frame.open.n_tokens = target->n_text;
    if (hsdi_helper_send(target, helper, &frame) != HSD_OK) {
        lose(target, helper, "does not take messages");
        return;
    }
    helper->state = HSDI_PEER_OPEN;
    helper->refusal = (hsd_error){0};
    helper->is_awaited = is_awaited;
    helper->has_answered = false;
    helper->has_served = false;
    helper->n_late = 0; // not n_silent: generations may be shorter than a deadline
    helper->slowest_ns = 0;
    helper->opened_step = target->step;
    helper->n_told = target->n_text;
    helper->offer.window.n_tokens = 0;
}

void hsdi_helpers_open(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        helper->n_failures = 0;
        if (helper->state == HSDI_PEER_REFUSED) {
            helper->state = HSDI_PEER_CALLING; // mended, or another one by now
        }
        if (helper->state == HSDI_PEER_OPEN || helper->state == HSDI_PEER_READY) {
            helper->state = HSDI_PEER_READY;
            if (target->want > 0) {
                open_session(target, helper, true);
            }
        } else if (helper->state == HSDI_PEER_CALLING) {
            helper->next_call_ns = 0;
        }
    }
}

void hsdi_helpers_tell_one(hsdi_target *target, int i, hsdi_frame *frame)
{
    hsdi_helper *helper = &target->helpers[i];
    if (helper->state == HSDI_PEER_OPEN && hsdi_helper_send(target, helper, frame) != HSD_OK) {
        lose(target, helper, "does not take messages");
    }
}

void hsdi_helpers_tell(hsdi_target *target, hsdi_frame *frame)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helpers_tell_one(target, i, frame);
    }
}

void hsdi_helpers_tell_alone(hsdi_target *target)
{
    int64_t span_ns = hsdi_span_begin(target->track);
    int n_most = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        int n_new = target->n_text - helper->n_told;
        hsdi_frame frame = {.type = HSDI_FRAME_ALONE, .step = target->step - (uint32_t)n_new};
        frame.alone.n_committed = target->n_text;
        frame.alone.want = target->want;
        frame.alone.n_tokens = n_new;
        if (helper->state == HSDI_PEER_READY) {
            open_session(target, helper, true);
        } else if (helper->state == HSDI_PEER_OPEN) {
            hsdi_helpers_tell_one(target, i, &frame);
            helper->n_told = target->n_text;
            n_most = n_new > n_most ? n_new : n_most;
        }
    }
    hsdi_target_span_end(target, &hsdi_span_send_alone, span_ns, target->step, n_most);
}

void hsdi_helpers_reopen(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN || helper->state == HSDI_PEER_READY) {
            // The draft begins with the whole text again: not waited for until it has caught up.
            open_session(target, helper, false);
        }
    }
}

static bool has_other_vocabulary(const hsdi_target *target, const hsdi_identity *peer)
{
    uint64_t own = target->config.vocab_hash;
    bool is_hash_other = own && peer->vocab_hash && peer->vocab_hash != own;
    return is_hash_other || (peer->n_vocab && peer->n_vocab != target->stage.limits.n_vocab);
}

/// Ask for the hash of the tokens below the middle of what is left.
static void ask(hsdi_target *target, hsdi_helper *helper)
{
    hsdi_frame frame = {.type = HSDI_FRAME_ASK};
    frame.vocab.n = helper->ask_low + (helper->ask_high - helper->ask_low + 1) / 2;
    if (hsdi_helper_send(target, helper, &frame) != HSD_OK) {
        lose(target, helper, "does not take messages");
    }
}

/// Another vocabulary: refuse it, after finding out which token is the first to differ.
static void begin_asking(hsdi_target *target, hsdi_helper *helper, const hsdi_identity *peer)
{
    int n_own = target->stage.limits.n_vocab, n_peer = peer->n_vocab ? peer->n_vocab : n_own;
    if (!target->config.vocabulary.prefix_hash) {
        char why[160];
        snprintf(why, sizeof why,
                 "another vocabulary: %d tokens and hash %016llx, the target has %d and %016llx",
                 peer->n_vocab, (unsigned long long)peer->vocab_hash, n_own,
                 (unsigned long long)target->config.vocab_hash);
        refuse(target, helper, HSD_EVOCAB, why);
        return;
    }
    helper->state = HSDI_PEER_ASKING;
    helper->ask_low = 0;
    helper->ask_high = n_own < n_peer ? n_own : n_peer;
    helper->next_call_ns = hsdi_now_ns() + target->config.retry_ms * MS;
    ask(target, helper);
}

static void on_vocab(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    const hsdi_vocabulary *own = &target->config.vocabulary;
    int n = frame->vocab.n, n_vocab = target->stage.limits.n_vocab;
    if (helper->state != HSDI_PEER_ASKING || n < helper->ask_low || n > helper->ask_high) {
        target->stats.ignored++;
        return;
    }
    if (helper->ask_low == helper->ask_high) {
        char text[HSDI_VOCAB_TEXT_MAX + 1] = "", why[256];
        if (n < n_vocab) {
            own->text(own->self, n, text, sizeof text);
        }
        snprintf(why, sizeof why,
                 "another vocabulary: token %d is \"%s\" in the target and \"%s\" in the draft", n,
                 n < n_vocab ? text : "none", frame->vocab.text[0] ? frame->vocab.text : "none");
        refuse(target, helper, HSD_EVOCAB, why);
        return;
    }
    bool is_equal = own->prefix_hash(own->self, n) == frame->vocab.hash;
    helper->ask_low = is_equal ? n : helper->ask_low;
    helper->ask_high = is_equal ? helper->ask_high : n - 1;
    ask(target, helper);
}

static void on_welcome(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    if (helper->state != HSDI_PEER_CALLING) {
        return;
    }
    if (has_other_vocabulary(target, &frame->identity)) {
        begin_asking(target, helper, &frame->identity);
        return;
    }
    helper->state = HSDI_PEER_READY;
    hsdi_helper_trace_begin(target, helper);
    if (target->is_generating) {
        target->stats.reopened++;
        open_session(target, helper, false);
    }
}

/// What an ERROR means for the use of the worker that sent it; HSD_OK when it may be called again.
static hsd_status verdict(hsdi_error_code code)
{
    return code == HSDI_ERROR_VERSION      ? HSD_EPROTOCOL
           : code == HSDI_ERROR_VOCABULARY ? HSD_EVOCAB
                                           : HSD_OK;
}

static void on_error(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    const char *text = frame->error.text;
    if (verdict(frame->error.code) != HSD_OK) {
        refuse(target, helper, verdict(frame->error.code), text);
        return;
    }
    bool is_current = helper->state == HSDI_PEER_OPEN && frame->epoch == helper->epoch &&
                      frame->session == target->session;
    if (!is_current || frame->error.code == HSDI_ERROR_BAD) {
        target->stats.ignored++;
        return;
    }
    lose(target, helper, text);
    // Who forgets a session that it served was started again, and is asked at once.
    bool is_restart = frame->error.code == HSDI_ERROR_UNKNOWN && helper->has_served;
    bool is_failure = frame->error.code != HSDI_ERROR_FULL && !is_restart;
    if (frame->error.code == HSDI_ERROR_UNKNOWN && (is_restart || helper->n_failures == 0)) {
        helper->next_call_ns = 0;
    }
    helper->n_failures += is_failure;
    if (helper->n_failures > FAILURES_MAX) {
        refuse(target, helper, HSD_ETRANSPORT, "failed too often");
    }
}

/// A commit at these ranks, for every budget: was it among one source's roots and not the other's?
static void count_pair(int first, int second, int64_t *only_first, int64_t *only_second)
{
    for (int i = 0; i < HSDI_ROOTS_MAX; i++) {
        only_first[i] += first <= i && second > i;
        only_second[i] += second <= i && first > i;
    }
}

/// A worker's speed and an audited session's ranks.
static void learn_from(hsdi_target *target, hsdi_helper *helper, const hsdi_draft_window *window)
{
    if (window->n_rows > 0 && window->busy_ns > 0) {
        float rate = (float)window->n_rows * 1e9f / (float)window->busy_ns;
        helper->rows_per_s += helper->rows_per_s > 0.0f ? 0.1f * (rate - helper->rows_per_s) : rate;
    }
    if (target->config.draft.is_audited && window->step == target->step &&
        window->step > helper->opened_step && window->ranks.merged != HSDI_RANK_UNKNOWN) {
        const hsdi_ranks *ranks = &window->ranks;
        int most = HSDI_ROOTS_MAX;
        target->stats.ranks_own[ranks->own < most ? ranks->own : most]++;
        target->stats.ranks_proxy[ranks->proxy < most ? ranks->proxy : most]++;
        target->stats.ranks_merged[ranks->merged < most ? ranks->merged : most]++;
        count_pair(ranks->merged, ranks->own, target->stats.merged_not_own,
                   target->stats.own_not_merged);
        count_pair(ranks->merged, ranks->proxy, target->stats.merged_not_proxy,
                   target->stats.proxy_not_merged);
    }
}

/// How slow its answers may be: what was waited for, or computed for, the slowest recent one. The
/// first one may be behind a long text, and is not counted.
static void learn_slowest(hsdi_helper *helper, const hsdi_draft_window *window, int64_t waited_ns)
{
    int64_t took_ns = waited_ns > window->busy_ns ? waited_ns : window->busy_ns;
    if (window->step > helper->opened_step) {
        helper->slowest_ns -= helper->slowest_ns / SLOWEST_DECAY;
        helper->slowest_ns = took_ns > helper->slowest_ns ? took_ns : helper->slowest_ns;
    }
}

/// What of a window fits the present text becomes the helper's offer. A window that was drafted
/// before the last commits is as good as a new one where the text went its way.
static void on_window(hsdi_target *target, hsdi_helper *helper, hsdi_draft_window *window)
{
    bool is_now = window->step == target->step && window->n_committed == target->n_text;
    if (window->n_committed < 1 || window->n_committed > target->n_text ||
        !hsdi_window_is_valid(&window->window, target->stage.limits.n_vocab)) {
        target->stats.ignored++;
        return;
    }
    learn_from(target, helper, window);
    helper->has_served = true;
    // An answer to the step before: the worker has nearly caught up.
    helper->is_awaited = helper->is_awaited || window->step + 1 >= target->step;
    if (is_now) {
        int64_t waited_ns = target->collect_ns ? hsdi_now_ns() - target->collect_ns : 0;
        helper->answer_ns += (waited_ns - helper->answer_ns) / 10;
        learn_slowest(helper, window, waited_ns);
        helper->has_answered = true;
        helper->n_late = 0;
    }
    int n_behind = target->n_text - window->n_committed;
    if (!hsdi_draft_window_follow(window, target->text + window->n_committed, n_behind)) {
        target->stats.ignored++;
    } else if (is_now || target->config.mode == HSD_MODE_ASYNC ||
               helper->offer.window.n_tokens == 0) {
        helper->offer = *window;
        helper->is_carried = !is_now;
    }
}

/// The span of a window that was taken, with what still fits of it.
static void put_taken(const hsdi_target *target, int64_t begin_ns, const hsdi_draft_window *window)
{
    hsdi_span_end(target->track, (hsdi_span){.kind = &hsdi_span_take_window,
                                             .begin_ns = begin_ns,
                                             .session = (uint32_t)target->session,
                                             .step = window->step,
                                             .text = hsdi_span_source(window->source),
                                             .values = {window->window.n_tokens}});
}

static void on_frame(hsdi_target *target, hsdi_helper *helper, const void *bytes, size_t n_bytes)
{
    hsd_error err = {0};
    int64_t span_ns = hsdi_span_begin(target->track);
    hsd_status status = hsdi_frame_decode(bytes, n_bytes, &target->frame, &err);
    helper->n_silent = 0;
    helper->heard_ns = hsdi_now_ns();
    if (helper->state == HSDI_PEER_REFUSED) {
        target->stats.ignored++;
    } else if (status == HSD_EPROTOCOL && helper->state == HSDI_PEER_CALLING) {
        refuse(target, helper, status, err.message);
    } else if (status != HSD_OK) {
        target->stats.ignored++;
    } else if (target->frame.type == HSDI_FRAME_WINDOW) {
        bool is_current = helper->state == HSDI_PEER_OPEN && target->frame.epoch == helper->epoch &&
                          target->frame.session == target->session;
        if (is_current) {
            on_window(target, helper, &target->frame.window);
            put_taken(target, span_ns, &target->frame.window);
        } else {
            target->stats.ignored++;
        }
    } else if (target->frame.type == HSDI_FRAME_WELCOME) {
        on_welcome(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_VOCAB) {
        on_vocab(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_ERROR) {
        on_error(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_TIME) {
        hsdi_helper_on_time(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_SPANS) {
        hsdi_helper_on_spans(target, helper, &target->frame);
    } else if (target->frame.type != HSDI_FRAME_OPENED) {
        target->stats.ignored++;
    }
}

/// Frames of one worker taken per look; more wait for the next look, so that a flood cannot hold
/// the target.
static const int FRAMES_PER_LOOK = 32;

static void look(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        const void *bytes;
        size_t n_bytes;
        int n = 0;
        while (n++ < FRAMES_PER_LOOK &&
               hsdi_link_receive(helper->link, &bytes, &n_bytes) == HSD_OK) {
            on_frame(target, helper, bytes, n_bytes);
        }
    }
}

/// What following this worker's windows alone would bring: tokens per nanosecond.
static float worth_of(const hsdi_target *target, const hsdi_helper *helper)
{
    float step_ns = target->pace.step_ns[target->want > 0 ? target->want : 1];
    return (1.0f + helper->n_right) / (step_ns + (float)helper->answer_ns + 1.0f);
}

static bool is_pending(const hsdi_helper *helper)
{
    return helper->state == HSDI_PEER_OPEN && helper->is_awaited && !helper->has_answered;
}

/// In serial mode the worker that is worth most is waited for. In mirror mode a hit decides, and
/// so does the rest of an earlier window that is still long; a fresh window does when nobody else
/// could still have a hit.
static bool is_decided(const hsdi_target *target)
{
    const hsdi_helper *best = NULL;
    bool any_pending = false;
    for (int i = 0; i < target->n_helpers; i++) {
        const hsdi_helper *helper = &target->helpers[i];
        any_pending |= is_pending(helper);
        if (helper->state == HSDI_PEER_OPEN && helper->is_awaited &&
            (!best || worth_of(target, helper) > worth_of(target, best))) {
            best = helper;
        }
        bool has_hit = helper->offer.window.n_tokens > 0 && !helper->is_carried &&
                       helper->offer.source != HSDI_SOURCE_FRESH;
        bool has_rest =
            helper->is_carried && 2 * hsdi_window_height(&helper->offer.window) > target->want;
        if (has_hit || has_rest) {
            return true;
        }
    }
    return !any_pending || (target->config.mode == HSD_MODE_SERIAL && best && best->has_answered);
}

/// Sleeps until a frame may be there; not longer than a cancel should take to be noticed.
static void sleep_for_frames(hsdi_target *target, int64_t timeout_ns)
{
    hsdi_link *links[HSDI_TARGET_MAX_WORKERS];
    int64_t most = target->cancel ? 20 * MS : 100 * MS;
    for (int i = 0; i < target->n_helpers; i++) {
        bool is_usable = target->helpers[i].state != HSDI_PEER_REFUSED;
        links[i] = is_usable ? target->helpers[i].link : NULL;
    }
    hsdi_links_wait(links, target->n_helpers, timeout_ns < most ? timeout_ns : most);
}

void hsdi_helpers_look(hsdi_target *target, int64_t timeout_ns)
{
    sleep_for_frames(target, timeout_ns);
    look(target);
}

/// How long to wait for the windows that are pending: LATE_TIMES what is usual, once it is known.
static int64_t patience_ns(const hsdi_target *target, int64_t deadline_ns)
{
    int64_t most_ns = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        const hsdi_helper *helper = &target->helpers[i];
        if (is_pending(helper)) {
            int64_t own_ns = helper->slowest_ns ? LATE_TIMES * helper->slowest_ns : deadline_ns;
            own_ns = own_ns > LATE_LEAST_MS * MS ? own_ns : LATE_LEAST_MS * MS;
            most_ns = own_ns > most_ns ? own_ns : most_ns;
        }
    }
    return most_ns < deadline_ns ? most_ns : deadline_ns;
}

/// Windows did not come within patience_ns, which is doubled for the next step: a machine may be
/// busy, or a worker slower than it was.
static void count_late(hsdi_target *target, int64_t patience_ns)
{
    target->stats.late++;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (is_pending(helper)) {
            helper->slowest_ns = 2 * patience_ns / LATE_TIMES;
            if (++helper->n_late >= target->config.n_late_lost) {
                lose(target, helper, "answers too late");
            }
        }
    }
}

/// Not every worker's windows are waited for, and at times none are asked for. One that has been
/// silent for a deadline is asked for a sign of life; without it for n_late_lost more it is lost.
static void check_silence(hsdi_target *target, int64_t now_ns)
{
    int deadline_ms = target->config.deadline_ms;
    int64_t silence_ns = (deadline_ms > LATE_LEAST_MS ? deadline_ms : LATE_LEAST_MS) * MS;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN && now_ns - helper->heard_ns >= silence_ns) {
            helper->heard_ns = now_ns;
            if (++helper->n_silent > target->config.n_late_lost) {
                lose(target, helper, "says nothing any more");
            } else {
                call(target, helper, now_ns);
            }
        }
    }
}

void hsdi_helpers_collect(hsdi_target *target, int deadline_ms)
{
    int64_t start_ns = hsdi_now_ns();
    int64_t spin_ns = target->config.spin_us * INT64_C(1000);
    // Asking a socket costs a system call: alone, the target looks for signs of life now and then.
    if (target->want == 0 && start_ns - target->looked_ns < MS) {
        return;
    }
    target->looked_ns = start_ns;
    target->collect_ns = 0; // what is there already was not waited for
    for (int i = 0; i < target->n_helpers; i++) {
        target->helpers[i].has_answered = false;
    }
    call_if_due(target);
    look(target);
    check_silence(target, start_ns);
    if (target->config.mode == HSD_MODE_ASYNC || target->want == 0) {
        return;
    }
    target->collect_ns = start_ns;
    while (!is_decided(target) && !hsdi_target_is_cancelled(target)) {
        int64_t waited_ns = hsdi_now_ns() - start_ns;
        int64_t patience = patience_ns(target, deadline_ms * MS);
        if (waited_ns >= patience) {
            count_late(target, patience);
            break;
        }
        if (waited_ns >= spin_ns) {
            sleep_for_frames(target, patience - waited_ns);
        }
        look(target);
    }
    target->stats.wait_ns += hsdi_now_ns() - start_ns;
    hsdi_target_span_end(target, &hsdi_span_wait, start_ns, target->step, target->want);
}

static bool is_everybody_settled(const hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].state == HSDI_PEER_CALLING ||
            target->helpers[i].state == HSDI_PEER_ASKING) {
            return false;
        }
    }
    return true;
}

/// Wait for every worker's answer to HELLO.
static void shake_hands(hsdi_target *target, int timeout_ms)
{
    int64_t deadline_ns = hsdi_now_ns() + timeout_ms * MS;
    while (!is_everybody_settled(target)) {
        int64_t now_ns = hsdi_now_ns();
        if (now_ns >= deadline_ns) {
            return;
        }
        call_if_due(target);
        sleep_for_frames(target, 2 * MS);
        look(target);
    }
}

static hsd_status connect_one(hsdi_target *target, hsdi_context *context, const char *endpoint,
                              hsd_error *err)
{
    hsdi_helper *helper = &target->helpers[target->n_helpers];
    *helper = (hsdi_helper){.state = HSDI_PEER_CALLING};
    hsd_status status = hsdi_link_connect(context, endpoint, &helper->link, err);
    if (status != HSD_OK) {
        return status;
    }
    target->n_helpers++;
    helper->endpoint = strdup(endpoint);
    helper->draft_kind = target->config.draft_kinds
                             ? target->config.draft_kinds[helper - target->helpers]
                             : target->config.draft.draft_kind;
    helper->n_right = 1.0f;
    return helper->endpoint ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, endpoint, "no memory");
}

hsd_status hsdi_helpers_connect(hsdi_target *target, hsdi_context *context, hsd_error *err)
{
    for (int i = 0; i < target->config.n_endpoints; i++) {
        hsd_status status = connect_one(target, context, target->config.endpoints[i], err);
        if (status != HSD_OK) {
            return status;
        }
    }
    shake_hands(target, target->config.handshake_ms);
    hsdi_helpers_wait_clocks(target);
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_REFUSED) {
            return hsdi_fail(err, helper->refusal.status, helper->endpoint, "%s",
                             helper->refusal.message);
        }
        if (helper->state == HSDI_PEER_CALLING) {
            char why[128];
            hsdi_link_explain(context, helper->endpoint, EXPLAIN_MS * MS, why, sizeof why);
            hsdi_logf(&target->config.log, HSDI_LOG_WARN, "draft worker %s does not answer yet: %s",
                      helper->endpoint, why);
        }
    }
    return HSD_OK;
}

void hsdi_helpers_disconnect(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        hsdi_helper_trace_end(target, helper);
        if (helper->link) { // also one that was given up may still have the session
            hsdi_frame frame = {.type = HSDI_FRAME_CLOSE};
            (void)!hsdi_helper_send(target, helper, &frame);
        }
        hsdi_link_close(&helper->link);
        free(helper->endpoint);
        helper->endpoint = NULL;
    }
    target->n_helpers = 0;
}
