/// The target's dealings with draft workers: handshakes, windows, losses and returns.
///
/// A worker is called (HELLO) until it answers, then opened with the committed tokens. From then
/// on it is told every step. Whatever it sends is checked against the step at hand; nothing it
/// does can do more than cost time up to a deadline.
#include <base/clock.h>
#include <base/error.h>
#include <pipelines/target_state.h>
#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000000;
static const int FAILURES_MAX = 3;

bool hsdi_helpers_any(const hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].state == HSDI_PEER_OPEN) {
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
    hsdi_logf(&target->config.log, HSDI_LOG_WARN, "draft worker %s: %s; going on without it",
              helper->endpoint, why);
    helper->state = HSDI_PEER_CALLING;
    helper->next_call_ns = hsdi_now_ns() + target->config.retry_ms * MS;
}

static void refuse(hsdi_target *target, hsdi_helper *helper, hsd_status status, const char *why)
{
    hsdi_fail(&helper->refusal, status, helper->endpoint, "%s", why);
    hsdi_logf(&target->config.log, HSDI_LOG_ERROR, "draft worker %s: %s; not used",
              helper->endpoint, why);
    helper->state = HSDI_PEER_REFUSED;
}

static hsd_status send_frame(hsdi_target *target, hsdi_helper *helper, hsdi_frame *frame)
{
    frame->session = target->session;
    frame->epoch = helper->epoch;
    size_t n =
        hsdi_frame_encode(frame, target->text, target->proxies, target->out, target->out_cap);
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
    bool is_sent = send_frame(target, helper, &hello) == HSD_OK;
    int64_t wait_ms = is_sent || target->is_generating ? target->config.retry_ms : 5;
    helper->next_call_ns = now_ns + wait_ms * MS;
}

static void call_if_due(hsdi_target *target)
{
    int64_t now_ns = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
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
    frame.open.share = (hsdi_draft_share){
        .index = (int)(helper - target->helpers),
        .n_workers = target->n_helpers,
        .n_proxies = target->config.n_proxies,
    };
    frame.open.n_vocab = target->stage.limits.n_vocab;
    frame.open.n_tokens = target->n_text;
    if (send_frame(target, helper, &frame) != HSD_OK) {
        lose(target, helper, "does not take messages");
        return;
    }
    helper->state = HSDI_PEER_OPEN;
    helper->is_awaited = is_awaited;
    helper->has_answered = false;
    helper->n_late = 0;
}

void hsdi_helpers_open(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        helper->n_failures = 0;
        if (helper->state == HSDI_PEER_REFUSED && helper->refusal.status == HSD_ETRANSPORT) {
            helper->state = HSDI_PEER_CALLING; // what failed may have been mended
        }
        if (helper->state == HSDI_PEER_OPEN || helper->state == HSDI_PEER_READY) {
            helper->state = HSDI_PEER_READY;
            open_session(target, helper, true);
        } else if (helper->state == HSDI_PEER_CALLING) {
            helper->next_call_ns = 0;
        }
    }
}

void hsdi_helpers_tell(hsdi_target *target, const hsdi_frame *frame)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN) {
            hsdi_frame copy = *frame;
            if (send_frame(target, helper, &copy) != HSD_OK) {
                lose(target, helper, "does not take messages");
            }
        }
    }
}

static hsd_status check_identity(uint64_t own, int n_vocab, const hsdi_identity *peer,
                                 const char *endpoint, hsd_error *err)
{
    if (own && peer->vocab_hash && own != peer->vocab_hash) {
        return hsdi_fail(err, HSD_EVOCAB, endpoint,
                         "the draft's vocabulary (hash %016llx) is not the target's (%016llx)",
                         (unsigned long long)peer->vocab_hash, (unsigned long long)own);
    }
    if (n_vocab && peer->n_vocab && peer->n_vocab != n_vocab) {
        return hsdi_fail(err, HSD_EVOCAB, endpoint, "the draft has %d tokens, the target %d",
                         peer->n_vocab, n_vocab);
    }
    return HSD_OK;
}

static void on_welcome(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    hsd_error err = {0};
    if (helper->state != HSDI_PEER_CALLING) {
        return;
    }
    if (check_identity(target->config.vocab_hash, target->stage.limits.n_vocab, &frame->identity,
                       helper->endpoint, &err) != HSD_OK) {
        refuse(target, helper, HSD_EVOCAB, err.message);
        return;
    }
    helper->state = HSDI_PEER_READY;
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
    if (frame->error.code == HSDI_ERROR_UNKNOWN && helper->n_failures == 0) {
        helper->next_call_ns = 0; // it was started again: no reason to wait
    }
    if (++helper->n_failures > FAILURES_MAX) {
        refuse(target, helper, HSD_ETRANSPORT, "failed too often");
    }
}

/// True when the window is for this step; it is then target->window unless a hit is there already.
static bool on_window(hsdi_target *target, hsdi_helper *helper, const hsdi_frame *frame)
{
    const hsdi_draft_window *window = &frame->window;
    if (helper->state != HSDI_PEER_OPEN || frame->epoch != helper->epoch ||
        frame->session != target->session) {
        target->stats.ignored++;
        return false;
    }
    if (window->step != target->step || window->n_committed != target->n_text) {
        // An answer to the step before: the worker has nearly caught up.
        helper->is_awaited = helper->is_awaited || window->step + 1 >= target->step;
        target->stats.ignored++;
        return false;
    }
    for (int i = 0; i < window->n_tokens; i++) {
        if (window->tokens[i] >= target->stage.limits.n_vocab) {
            target->stats.ignored++;
            return false;
        }
    }
    helper->is_awaited = true;
    helper->has_answered = true;
    helper->n_late = 0;
    if (target->window.n_committed == 0 ||
        (target->window.source == HSDI_SOURCE_FRESH && window->source != HSDI_SOURCE_FRESH)) {
        target->window = *window;
    }
    return true;
}

static void on_frame(hsdi_target *target, hsdi_helper *helper, const void *bytes, size_t n_bytes)
{
    hsd_error err = {0};
    hsd_status status = hsdi_frame_decode(bytes, n_bytes, &target->frame, &err);
    if (status == HSD_EPROTOCOL && helper->state == HSDI_PEER_CALLING) {
        refuse(target, helper, status, err.message);
    } else if (status != HSD_OK) {
        target->stats.ignored++;
    } else if (target->frame.type == HSDI_FRAME_WINDOW) {
        (void)on_window(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_WELCOME) {
        on_welcome(target, helper, &target->frame);
    } else if (target->frame.type == HSDI_FRAME_ERROR) {
        on_error(target, helper, &target->frame);
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
        while (n++ < FRAMES_PER_LOOK && helper->state != HSDI_PEER_REFUSED &&
               hsdi_link_receive(helper->link, &bytes, &n_bytes) == HSD_OK) {
            on_frame(target, helper, bytes, n_bytes);
        }
    }
}

/// A hit decides; so does a fresh window when nobody else could still have a hit.
static bool is_decided(const hsdi_target *target)
{
    bool has_window = target->window.n_committed > 0;
    if (has_window &&
        (target->window.source != HSDI_SOURCE_FRESH || target->config.mode == HSD_MODE_SERIAL)) {
        return true;
    }
    for (int i = 0; i < target->n_helpers; i++) {
        const hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN && helper->is_awaited && !helper->has_answered) {
            return false;
        }
    }
    return true;
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

static void count_late(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_OPEN && helper->is_awaited && !helper->has_answered &&
            ++helper->n_late >= target->config.n_late_lost) {
            lose(target, helper, "answers too late");
        }
    }
}

void hsdi_helpers_collect(hsdi_target *target, int deadline_ms)
{
    int64_t start_ns = hsdi_now_ns(), now_ns = start_ns;
    int64_t spin_ns = target->config.spin_us * INT64_C(1000);
    target->window = (hsdi_draft_window){0};
    for (int i = 0; i < target->n_helpers; i++) {
        target->helpers[i].has_answered = false;
    }
    call_if_due(target);
    for (;;) {
        look(target);
        if (is_decided(target) || hsdi_target_is_cancelled(target)) {
            break;
        }
        now_ns = hsdi_now_ns();
        int64_t left_ns = start_ns + deadline_ms * MS - now_ns;
        if (left_ns <= 0) {
            count_late(target);
            target->stats.late += target->window.n_committed == 0;
            break;
        }
        if (now_ns - start_ns > spin_ns) {
            sleep_for_frames(target, left_ns);
        }
    }
    target->stats.wait_ns += hsdi_now_ns() - start_ns;
}

static bool is_everybody_settled(const hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        if (target->helpers[i].state == HSDI_PEER_CALLING) {
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
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->state == HSDI_PEER_REFUSED) {
            return hsdi_fail(err, helper->refusal.status, helper->endpoint, "%s",
                             helper->refusal.message);
        }
        if (helper->state == HSDI_PEER_CALLING) {
            hsdi_logf(&target->config.log, HSDI_LOG_WARN, "draft worker %s does not answer yet",
                      helper->endpoint);
        }
    }
    return HSD_OK;
}

void hsdi_helpers_disconnect(hsdi_target *target)
{
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_helper *helper = &target->helpers[i];
        if (helper->link && helper->state == HSDI_PEER_OPEN) {
            hsdi_frame frame = {.type = HSDI_FRAME_CLOSE};
            (void)!send_frame(target, helper, &frame);
        }
        hsdi_link_close(&helper->link);
        free(helper->endpoint);
        helper->endpoint = NULL;
    }
    target->n_helpers = 0;
}

/// The answer to a probe's HELLO. HSD_ETIMEOUT when the frame is no answer.
static hsd_status judge(const void *bytes, size_t n_bytes, uint64_t vocab_hash,
                        const char *endpoint, hsd_error *err)
{
    hsdi_frame frame;
    hsd_status status = hsdi_frame_decode(bytes, n_bytes, &frame, err);
    if (status == HSD_OK && frame.type == HSDI_FRAME_WELCOME) {
        return check_identity(vocab_hash, 0, &frame.identity, endpoint, err);
    }
    if (status == HSD_OK && frame.type == HSDI_FRAME_ERROR && verdict(frame.error.code) != HSD_OK) {
        return hsdi_fail(err, verdict(frame.error.code), endpoint, "%s", frame.error.text);
    }
    return status == HSD_EPROTOCOL ? status : HSD_ETIMEOUT;
}

hsd_status hsdi_target_probe(hsdi_context *context, const char *endpoint,
                             const hsdi_target_config *config, int timeout_ms, hsd_error *err)
{
    hsdi_link *link = NULL;
    hsd_status status = hsdi_link_connect(context, endpoint, &link, err);
    if (status != HSD_OK) {
        return status;
    }
    uint8_t out[HSDI_FRAME_HEADER_BYTES + 64];
    hsdi_frame hello = {.type = HSDI_FRAME_HELLO,
                        .identity = {config->vocab_hash, config->fingerprint, 0}};
    size_t n = hsdi_frame_encode(&hello, NULL, NULL, out, sizeof out);
    int64_t deadline_ns = hsdi_now_ns() + timeout_ms * MS;
    bool is_sent = false;
    status = HSD_ETIMEOUT;
    while (status == HSD_ETIMEOUT && hsdi_now_ns() < deadline_ns) {
        const void *bytes;
        size_t n_bytes;
        is_sent = is_sent || hsdi_link_send(link, out, n) == HSD_OK;
        hsdi_links_wait(&link, 1, 5 * MS);
        if (hsdi_link_receive(link, &bytes, &n_bytes) == HSD_OK) {
            status = judge(bytes, n_bytes, config->vocab_hash, endpoint, err);
        }
    }
    hsdi_link_close(&link);
    return status == HSD_ETIMEOUT
               ? hsdi_fail(err, HSD_ETRANSPORT, endpoint, "no draft worker answers there")
               : status;
}
