/// One valid frame of every type, for tests, fuzzing and its seed corpus.
#ifndef HSD_TESTS_PIPELINES_FRAMES_H
#define HSD_TESTS_PIPELINES_FRAMES_H

#include <pipelines/protocol.h>
#include <string.h>

enum { FRAMES_TYPES = 17, FRAMES_TOKENS = 5, FRAMES_PROXIES = 6 };

static const int32_t frames_tokens[FRAMES_TOKENS] = {0, 1, 499, 7, 7};
static const hsdi_candidate frames_proxies[FRAMES_PROXIES] = {{3, -0.5f},  {4, -1.0f},  {-1, 0.0f},
                                                              {499, 0.0f}, {0, -80.0f}, {1, 2.5f}};

/// Two spans as they travel: "branches" and "send WINDOW" of source "own".
static const uint8_t frames_spans[2 * HSDI_SPAN_BYTES] = {
    [0] = 6,   [4] = 42, [8] = 9,   [12] = 3, [24] = 1,   [32] = 200, [33] = 1, //
    [40] = 13, [41] = 2, [44] = 43, [48] = 7, [64] = 201, [72] = 201,
};

/// The frame of type `type`, 1..FRAMES_TYPES.
static inline hsdi_frame frames_make(int type)
{
    hsdi_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.type = (hsdi_frame_type)type;
    frame.epoch = 3;
    frame.session = 0x0123456789abcdefu;
    frame.step = type == HSDI_FRAME_OPEN || type == HSDI_FRAME_ALONE ||
                         (type >= HSDI_FRAME_STEP && type <= HSDI_FRAME_WINDOW)
                     ? 42
                     : 0;
    if (type == HSDI_FRAME_HELLO || type == HSDI_FRAME_WELCOME) {
        frame.identity = (hsdi_identity){0xfedcba9876543210u, 99, 500};
    } else if (type == HSDI_FRAME_OPEN) {
        frame.open.config = (hsdi_draft_config){.mode = HSD_MODE_MIRROR,
                                                .draft_kind = HSD_DRAFT_MODEL,
                                                .window = 7,
                                                .tree = 12,
                                                .miss_window = 4,
                                                .roots = 16,
                                                .n_top = 8,
                                                .exit_layer = 4,
                                                .n_ctx = 256,
                                                .temperature = 0.75f,
                                                .top_p = 1.0f,
                                                .min_p = 0.25f,
                                                .top_k = 40,
                                                .seed = 0xffffffffffffffffu,
                                                .sources = HSDI_SOURCES_OWN,
                                                .is_audited = true,
                                                .repeat_penalty = 1.5f,
                                                .repeat_last_n = 64,
                                                .no_repeat_ngram = 3,
                                                .rule = HSD_RULE_RATIO};
        frame.open.n_proxies = 8;
        frame.open.n_vocab = 500;
        frame.open.n_tokens = FRAMES_TOKENS;
    } else if (type == HSDI_FRAME_ERROR) {
        frame.error.code = HSDI_ERROR_UNKNOWN;
        strcpy(frame.error.text, "no such session is open");
    } else if (type == HSDI_FRAME_STEP) {
        frame.step_.share = (hsdi_draft_share){100, 60000};
        frame.step_.window = (hsdi_window){3, {0, 1, 499}, {0, 0, 2}};
    } else if (type == HSDI_FRAME_PROXIES) {
        frame.proxies.n_rows = 2;
        frame.proxies.n_top = 3;
    } else if (type == HSDI_FRAME_COMMIT) {
        frame.commit.row = 2;
        frame.commit.want = 4;
        frame.commit.next = 499;
        frame.commit.n_committed = 77;
    } else if (type == HSDI_FRAME_WINDOW) {
        frame.window = (hsdi_draft_window){.step = 42,
                                           .n_committed = 80,
                                           .source = HSDI_SOURCE_PROXY,
                                           .window = {2, {5, 6}, {0, 1}},
                                           .ranks = {1, 2, HSDI_RANK_NONE},
                                           .n_rows = 17,
                                           .busy_ns = 99000,
                                           .n_q = 2,
                                           .q = {{5, -0.5f}, {9, -1.0f}, {6, 0.0f}, {-1, 0.0f}}};
    } else if (type == HSDI_FRAME_ASK) {
        frame.vocab.n = 77;
    } else if (type == HSDI_FRAME_VOCAB) {
        frame.vocab.n = 77;
        frame.vocab.hash = 0xabcdef0123456789u;
        strcpy(frame.vocab.text, "king");
    } else if (type == HSDI_FRAME_ALONE) {
        frame.alone.n_committed = 82;
        frame.alone.want = 4;
        frame.alone.n_tokens = FRAMES_TOKENS;
    } else if (type == HSDI_FRAME_CLOCK) {
        frame.time.asked_ns = 0xfedcba9876543210u;
    } else if (type == HSDI_FRAME_TIME) {
        frame.time.asked_ns = 0xfedcba9876543210u;
        frame.time.taken_ns = 1000;
        frame.time.given_ns = 1500;
        frame.time.pid = 4711;
        strcpy(frame.time.host, "gpu-box");
    } else if (type == HSDI_FRAME_TRACE) {
        frame.trace.order = HSDI_TRACE_GIVE;
        frame.trace.from = 400;
    } else if (type == HSDI_FRAME_SPANS) {
        frame.spans.from = 400;
        frame.spans.next = 410;
        frame.spans.n_dropped = 3;
        frame.spans.is_last = true;
        frame.spans.n = 2;
        frame.spans.bytes = frames_spans;
    }
    return frame;
}

static inline size_t frames_encode(int type, void *out, size_t cap)
{
    hsdi_frame frame = frames_make(type);
    return hsdi_frame_encode(&frame, frames_tokens, frames_proxies, out, cap);
}

#endif
