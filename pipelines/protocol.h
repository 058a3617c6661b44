/// Protocol: the frames between a session (target side) and a draft worker.
///
/// Little-endian, one ZeroMQ part per frame, a 24-byte header and a payload; docs/protocol.md
/// has every byte. A decoder checks every field before it is used and never reads outside the
/// frame.
#ifndef HSDI_PIPELINES_PROTOCOL_H
#define HSDI_PIPELINES_PROTOCOL_H

#include <base/trace.h>
#include <hsd/engine.h>
#include <pipelines/draft.h>
#include <stddef.h>

enum {
    HSDI_PROTOCOL_VERSION = 4,
    HSDI_FRAME_HEADER_BYTES = 24,
    HSDI_FRAME_SMALL_BYTES = 16384, ///< room for every frame but OPEN and ALONE
    HSDI_OPEN_FIXED_BYTES = 116,    ///< an OPEN frame without its tokens
    HSDI_OPEN_TOKENS_MAX = 1 << 20,
    HSDI_ERROR_TEXT_MAX = 255,
    HSDI_VOCAB_TEXT_MAX = 63,
    HSDI_HOST_TEXT_MAX = 63,
    HSDI_SPAN_BYTES = 40,
    HSDI_SPANS_MAX = 400, ///< of one frame
};

typedef enum hsdi_frame_type {
    HSDI_FRAME_HELLO = 1,   ///< to the worker: who are you?
    HSDI_FRAME_WELCOME = 2, ///< from the worker
    HSDI_FRAME_OPEN = 3,    ///< to the worker: begin a generation
    HSDI_FRAME_OPENED = 4,  ///< from the worker
    HSDI_FRAME_ERROR = 5,   ///< from the worker
    HSDI_FRAME_STEP = 6,    ///< to the worker: this window is being verified
    HSDI_FRAME_PROXIES = 7, ///< to the worker: early-exit candidates
    HSDI_FRAME_COMMIT = 8,  ///< to the worker: what the verification decided
    HSDI_FRAME_WINDOW = 9,  ///< from the worker: the next window
    HSDI_FRAME_CLOSE = 10,  ///< to the worker: forget the session
    HSDI_FRAME_ASK = 11,    ///< to the worker: what are your first n tokens?
    HSDI_FRAME_VOCAB = 12,  ///< from the worker: their hash, and the token behind them
    HSDI_FRAME_ALONE = 13,  ///< to the worker: passes without a window, of which it was not told
    HSDI_FRAME_CLOCK = 14,  ///< to the worker: what time is it?
    HSDI_FRAME_TIME = 15,   ///< from the worker
    HSDI_FRAME_TRACE = 16,  ///< to the worker: record what you do, or give what was recorded
    HSDI_FRAME_SPANS = 17,  ///< from the worker: a part of that
} hsdi_frame_type;

typedef enum hsdi_error_code {
    HSDI_ERROR_VERSION = 1,    ///< another protocol version
    HSDI_ERROR_VOCABULARY = 2, ///< draft and target do not share one vocabulary
    HSDI_ERROR_UNKNOWN = 3,    ///< no such session (generation): open it again
    HSDI_ERROR_BAD = 4,        ///< a damaged frame or a field out of range
    HSDI_ERROR_FULL = 5,       ///< no room for another session
    HSDI_ERROR_STAGE = 6,      ///< the draft failed; the session is gone
    HSDI_ERROR_ORDER = 7,      ///< frames out of step; the session is gone: open it again
} hsdi_error_code;

typedef enum hsdi_trace_order {
    HSDI_TRACE_RECORD = 0, ///< from now on; `from` is the first span's number
    HSDI_TRACE_GIVE = 1,   ///< spans from a number on; answered with SPANS
    HSDI_TRACE_END = 2,    ///< forget them
} hsdi_trace_order;

/// In place of a number of dropped spans: the worker does not record this session.
static const uint64_t HSDI_SPANS_NONE = INT64_MAX;

/// HELLO and WELCOME.
typedef struct hsdi_identity {
    uint64_t vocab_hash;  ///< 0: not compared
    uint64_t fingerprint; ///< of the target's or the draft's model
    int n_vocab;          ///< 0: any
} hsdi_identity;

typedef struct hsdi_frame {
    hsdi_frame_type type;
    uint32_t epoch;   ///< generation of the session; frames of another one are stale
    uint64_t session; ///< chosen by the target side
    uint32_t step;    ///< OPEN, OPENED, STEP, PROXIES, COMMIT, WINDOW, ALONE: of the first pass
    union {
        hsdi_identity identity; ///< HELLO, WELCOME
        struct {
            hsdi_draft_config config;
            int n_proxies; ///< candidates per row that PROXIES will hold, 0: none will come
            int n_vocab;
            int n_tokens;
            const uint8_t *tokens; ///< borrowed from the frame; read with hsdi_frame_token
        } open;
        struct {
            hsdi_error_code code;
            char text[HSDI_ERROR_TEXT_MAX + 1]; ///< printable, NUL-terminated
        } error;
        struct {
            hsdi_draft_share share;
            hsdi_window window;
        } step_;
        struct {
            int n_rows, n_top;
            const uint8_t *bytes; ///< borrowed from the frame; read with hsdi_frame_proxy
        } proxies;
        struct {
            int row; ///< of the STEP's window: it and its ancestors are accepted
            int32_t next;
            int n_committed;
            int want; ///< tokens of the next window's longest chain, 0: none
        } commit;
        struct {
            int n;         ///< ASK, VOCAB: tokens 0 .. n-1
            uint64_t hash; ///< VOCAB: of them
            char text[HSDI_VOCAB_TEXT_MAX +
                      1]; ///< VOCAB: token n, printable; empty if there is none
        } vocab;
        hsdi_draft_window window; ///< its `step` is the one above
        struct {
            int n_committed, want; ///< after the last pass, as in COMMIT
            int n_tokens;          ///< one of each pass
            const uint8_t *tokens; ///< borrowed from the frame; read with hsdi_frame_token
        } alone;
        struct {
            uint64_t asked_ns;                 ///< CLOCK, TIME: by the asking clock
            uint64_t taken_ns, given_ns;       ///< TIME: by the worker's clock, of CLOCK and TIME
            int pid;                           ///< TIME
            char host[HSDI_HOST_TEXT_MAX + 1]; ///< TIME: printable
        } time;
        struct {
            hsdi_trace_order order;
            uint64_t from; ///< GIVE: number of the first span
        } trace;
        struct {
            uint64_t from, next; ///< the GIVE's, and what to ask for next
            uint64_t n_dropped;  ///< spans that the worker had no room for; or HSDI_SPANS_NONE
            bool is_last;
            int n;
            const uint8_t *bytes; ///< borrowed from the frame; read with hsdi_frame_span
        } spans;
    };
} hsdi_frame;

/// Check a frame and take it apart.
///
/// Errors : HSD_EPROTOCOL for another version (out->type, epoch and session are then still set
///          when the header is whole); HSD_EFORMAT with field and byte offset for anything else.
/// Owner  : *out borrows from `bytes` (OPEN, PROXIES, ALONE, SPANS).
/// Thread : pure, any thread.    Cost: O(n_bytes), no allocation.
/// Proof  : tests/pipelines/test_protocol.c, tests/fuzz/fuzz_protocol.c
HSD_NODISCARD hsd_status hsdi_frame_decode(const void *bytes, size_t n_bytes, hsdi_frame *out,
                                           hsd_error *err);

/// Token i of an OPEN or ALONE frame.
int32_t hsdi_frame_token(const hsdi_frame *frame, int i);

/// Proxy i of row r.
hsdi_candidate hsdi_frame_proxy(const hsdi_frame *frame, int row, int i);

/// Span i of a SPANS frame, with the session's lower half, by the worker's clock.
hsdi_span hsdi_frame_span(const hsdi_frame *frame, int i);
/// Put a span as SPANS holds it. Shapes: out [HSDI_SPAN_BYTES]. False: of a kind that stays there.
bool hsdi_span_encode(const hsdi_span *span, uint8_t *out);

/// Write a frame. Fields must be in range; `tokens` [n_tokens] is for OPEN and ALONE only and
/// `proxies` [n_rows, n_top] for PROXIES only.
///
/// Result : number of bytes; 0 when `cap` is too small.
size_t hsdi_frame_encode(const hsdi_frame *frame, const int32_t *tokens,
                         const hsdi_candidate *proxies, void *out, size_t cap);

/// The two roundings of a score: float to bf16 (to nearest even) and back.
uint16_t hsdi_bf16_of(float value);
float hsdi_bf16_to(uint16_t bits);

const char *hsdi_frame_type_name(hsdi_frame_type type); ///< "WINDOW"; "?" if unknown

#endif
