/// Encoder and decoder of the frames in docs/protocol.md.
///
/// Both walk a cursor over the bytes. A cursor that would leave its bytes turns bad and yields
/// zeros from then on, so that each payload is one flat list of fields checked at the end.
#include <base/error.h>
#include <math.h>
#include <pipelines/protocol.h>
#include <pipelines/spans.h>
#include <string.h>

static const uint32_t MAGIC = 0x31445348;      // "HSD1"
static const int64_t TIME_MAX = INT64_MAX / 4; ///< sums and differences of times stay whole

typedef struct reader {
    const uint8_t *bytes;
    size_t n_bytes, at;
    const char *bad_field; ///< first field that was missing or out of range
    size_t bad_at;
} reader;

static void reject(reader *in, const char *field, size_t at)
{
    if (!in->bad_field) {
        in->bad_field = field;
        in->bad_at = at;
    }
}

/// An unsigned little-endian number of `size` bytes that must be at most `most`.
static uint64_t get(reader *in, const char *field, size_t size, uint64_t most)
{
    if (in->bad_field || in->n_bytes - in->at < size) {
        reject(in, field, in->at);
        return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)in->bytes[in->at + i] << (8 * i);
    }
    if (value > most) {
        reject(in, field, in->at);
        return 0;
    }
    in->at += size;
    return value;
}

static int get_int(reader *in, const char *field, size_t size, int least, int most)
{
    size_t at = in->at;
    int value = (int)get(in, field, size, (uint64_t)most);
    if (!in->bad_field && value < least) {
        reject(in, field, at);
    }
    return value;
}

static int32_t get_token(reader *in, const char *field)
{
    return (int32_t)get(in, field, 4, INT32_MAX);
}

static float get_float(reader *in, const char *field, float most)
{
    size_t at = in->at;
    uint32_t bits = (uint32_t)get(in, field, 4, UINT32_MAX);
    float value;
    memcpy(&value, &bits, sizeof value);
    if (!(value >= 0.0f && value <= most)) {
        reject(in, field, at);
        return 0.0f;
    }
    return value;
}

/// `n` elements of `size` bytes, left in place.
static const uint8_t *get_bytes(reader *in, const char *field, size_t n, size_t size)
{
    if (in->bad_field || (in->n_bytes - in->at) / size < n) {
        reject(in, field, in->at);
        return NULL;
    }
    const uint8_t *bytes = in->bytes + in->at;
    in->at += n * size;
    return bytes;
}

static uint32_t u32_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void get_identity(reader *in, hsdi_identity *out)
{
    out->vocab_hash = get(in, "vocab_hash", 8, UINT64_MAX);
    out->fingerprint = get(in, "fingerprint", 8, UINT64_MAX);
    out->n_vocab = get_int(in, "n_vocab", 4, 0, INT32_MAX);
}

static void get_config(reader *in, hsdi_draft_config *out)
{
    out->mode = get_int(in, "mode", 4, HSD_MODE_SERIAL, HSD_MODE_ASYNC);
    out->draft_kind = get_int(in, "draft_kind", 4, HSD_DRAFT_AUTO, HSD_DRAFT_EARLY_EXIT);
    out->window = get_int(in, "window", 4, 1, HSDI_WINDOW_MAX);
    out->tree = get_int(in, "tree", 4, 1, HSDI_TREE_MAX);
    out->miss_window = get_int(in, "miss_window", 4, 1, HSDI_WINDOW_MAX);
    out->roots = get_int(in, "roots", 4, 1, HSDI_ROOTS_MAX);
    out->n_top = get_int(in, "n_top", 4, 1, HSDI_TOP_MAX);
    out->exit_layer = get_int(in, "exit_layer", 4, 0, 65535);
    out->n_ctx = get_int(in, "n_ctx", 4, 1, HSDI_OPEN_TOKENS_MAX);
    out->temperature = get_float(in, "temperature", 1e6f);
    out->top_p = get_float(in, "top_p", 1.0f);
    out->min_p = get_float(in, "min_p", 1.0f);
    out->top_k = get_int(in, "top_k", 4, 0, INT32_MAX);
    out->seed = get(in, "seed", 8, UINT64_MAX);
    out->repeat_penalty = get_float(in, "repeat_penalty", 1e6f);
    out->repeat_last_n = get_int(in, "repeat_last_n", 4, 0, HSDI_OPEN_TOKENS_MAX);
    out->no_repeat_ngram = get_int(in, "no_repeat_ngram", 4, 0, HSDI_OPEN_TOKENS_MAX);
    out->rule = get_int(in, "rule", 2, HSD_RULE_COUPLED, HSD_RULE_RATIO);
    out->sources = get_int(in, "sources", 1, HSDI_SOURCES_OWN, HSDI_SOURCES_BOTH);
    out->is_audited = get_int(in, "is_audited", 1, 0, 1) == 1;
    if (out->tree < out->window) {
        reject(in, "tree", in->at);
    }
    if (out->miss_window > out->window) {
        reject(in, "miss_window", in->at);
    }
}

static void get_open(reader *in, hsdi_frame *out)
{
    out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
    out->open.n_proxies = get_int(in, "n_proxies", 4, 0, HSDI_TOP_MAX);
    get_config(in, &out->open.config);
    out->open.n_vocab = get_int(in, "n_vocab", 4, 1, INT32_MAX);
    out->open.n_tokens = get_int(in, "n_tokens", 4, 1, HSDI_OPEN_TOKENS_MAX);
    size_t at = in->at;
    out->open.tokens = get_bytes(in, "tokens", (size_t)out->open.n_tokens, 4);
    if (in->bad_field) {
        return;
    }
    if (out->open.n_tokens > out->open.config.n_ctx) {
        reject(in, "n_tokens", at - 4);
        return;
    }
    for (int i = 0; i < out->open.n_tokens; i++) {
        if (u32_at(out->open.tokens + 4 * (size_t)i) >= (uint32_t)out->open.n_vocab) {
            reject(in, "tokens", at + 4 * (size_t)i);
            return;
        }
    }
}

/// Text goes to logs: what is not printable ASCII becomes '?'. Shapes: out [most + 1], zeroed.
static void get_text(reader *in, size_t most, char *out)
{
    size_t n = get(in, "n_text", 2, most);
    const uint8_t *text = get_bytes(in, "text", n, 1);
    for (size_t i = 0; text && i < n; i++) {
        out[i] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
    }
}

static void get_error(reader *in, hsdi_frame *out)
{
    out->error.code = (hsdi_error_code)get_int(in, "code", 2, HSDI_ERROR_VERSION, HSDI_ERROR_ORDER);
    get_text(in, HSDI_ERROR_TEXT_MAX, out->error.text);
}

static void get_proxies(reader *in, hsdi_frame *out)
{
    out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
    int n_rows = get_int(in, "n_rows", 2, 1, HSDI_WINDOW_ROWS);
    int n_top = get_int(in, "n_top", 2, 1, HSDI_TOP_MAX);
    size_t at = in->at, n = (size_t)n_rows * (size_t)n_top;
    const uint8_t *bytes = get_bytes(in, "proxies", n, 6);
    out->proxies.n_rows = n_rows;
    out->proxies.n_top = n_top;
    out->proxies.bytes = bytes;
    for (size_t i = 0; bytes && i < n; i++) {
        uint32_t token = u32_at(bytes + 4 * i);
        if (token > INT32_MAX && token != UINT32_MAX) {
            reject(in, "proxies", at + 4 * i);
        }
    }
}

/// Tokens and parents of a window of out->n_tokens.
static void get_tree(reader *in, hsdi_window *out)
{
    for (int i = 0; i < out->n_tokens; i++) {
        out->tokens[i] = get_token(in, "tokens");
    }
    for (int i = 0; i < out->n_tokens; i++) {
        size_t at = in->at;
        out->parents[i] = (uint8_t)get(in, "parents", 1, (uint64_t)i);
        if (!in->bad_field && hsdi_window_child(out, out->parents[i], out->tokens[i]) < i + 1) {
            reject(in, "parents", at); // the token is there twice
        }
    }
}

static void get_q(reader *in, hsdi_draft_window *out)
{
    for (int i = 0; i < out->window.n_tokens * out->n_q; i++) {
        size_t at = in->at;
        uint32_t token = (uint32_t)get(in, "q", 4, UINT32_MAX), bits;
        if (token > INT32_MAX && token != UINT32_MAX) {
            reject(in, "q", at);
        }
        bits = (uint32_t)get(in, "q", 4, UINT32_MAX);
        out->q[i].token = (int32_t)token;
        memcpy(&out->q[i].score, &bits, sizeof bits);
        if (token != UINT32_MAX && !(out->q[i].score <= 0.0f)) {
            reject(in, "q", at + 4);
        }
    }
}

static void get_window(reader *in, hsdi_frame *out)
{
    hsdi_draft_window *window = &out->window;
    out->step = window->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
    window->n_committed = get_int(in, "n_committed", 4, 1, INT32_MAX);
    window->source = (hsdi_source)get_int(in, "source", 1, 0, HSDI_SOURCE_PROXY);
    window->window.n_tokens = get_int(in, "n_tokens", 1, 0, HSDI_TREE_MAX);
    window->n_q = get_int(in, "n_q", 1, 0, HSDI_Q_MAX);
    if (window->n_q > 0 && window->window.n_tokens > HSDI_WINDOW_MAX) {
        reject(in, "n_q", in->at - 1);
    }
    window->ranks.own = (uint8_t)get(in, "ranks", 1, UINT8_MAX);
    window->ranks.proxy = (uint8_t)get(in, "ranks", 1, UINT8_MAX);
    window->ranks.merged = (uint8_t)get(in, "ranks", 1, UINT8_MAX);
    (void)get(in, "zero", 2, 0);
    window->n_rows = (int64_t)get(in, "n_rows", 4, UINT32_MAX);
    window->busy_ns = (int64_t)get(in, "busy_us", 4, UINT32_MAX) * 1000;
    get_tree(in, &window->window);
    get_q(in, window);
}

static void get_step(reader *in, hsdi_frame *out)
{
    out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
    out->step_.share.low = get_int(in, "low", 2, 0, HSDI_SHARE_ALL);
    out->step_.share.high = get_int(in, "high", 2, 0, HSDI_SHARE_ALL);
    out->step_.window.n_tokens = get_int(in, "n_tokens", 2, 0, HSDI_TREE_MAX);
    (void)get(in, "zero", 2, 0);
    get_tree(in, &out->step_.window);
}

static void get_alone(reader *in, hsdi_frame *out)
{
    out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
    out->alone.n_committed = get_int(in, "n_committed", 4, 2, HSDI_OPEN_TOKENS_MAX);
    out->alone.want = get_int(in, "want", 2, 0, HSDI_WINDOW_MAX);
    (void)get(in, "zero", 2, 0);
    out->alone.n_tokens = get_int(in, "n_tokens", 4, 1, HSDI_OPEN_TOKENS_MAX);
    size_t at = in->at;
    out->alone.tokens = get_bytes(in, "tokens", (size_t)out->alone.n_tokens, 4);
    for (int i = 0; !in->bad_field && i < out->alone.n_tokens; i++) {
        if (u32_at(out->alone.tokens + 4 * (size_t)i) > INT32_MAX) {
            reject(in, "tokens", at + 4 * (size_t)i);
        }
    }
    if (!in->bad_field && out->alone.n_tokens >= out->alone.n_committed) {
        reject(in, "n_tokens", at - 4);
    }
}

static void get_time(reader *in, hsdi_frame *out)
{
    out->time.asked_ns = get(in, "asked_ns", 8, UINT64_MAX);
    out->time.taken_ns = get(in, "taken_ns", 8, (uint64_t)TIME_MAX);
    size_t at = in->at;
    out->time.given_ns = get(in, "given_ns", 8, (uint64_t)TIME_MAX);
    if (!in->bad_field && out->time.given_ns < out->time.taken_ns) {
        reject(in, "given_ns", at);
    }
    out->time.pid = get_int(in, "pid", 4, 0, 1 << 22);
    get_text(in, HSDI_HOST_TEXT_MAX, out->time.host);
}

static void get_trace(reader *in, hsdi_frame *out)
{
    out->trace.order = (hsdi_trace_order)get_int(in, "order", 4, HSDI_TRACE_RECORD, HSDI_TRACE_END);
    out->trace.from = get(in, "from", 8, INT64_MAX);
}

static void get_spans(reader *in, hsdi_frame *out)
{
    out->spans.from = get(in, "from", 8, INT64_MAX);
    size_t at = in->at;
    out->spans.next = get(in, "next", 8, INT64_MAX);
    if (!in->bad_field && out->spans.next < out->spans.from) {
        reject(in, "next", at);
    }
    out->spans.n_dropped = get(in, "n_dropped", 8, INT64_MAX);
    out->spans.n = get_int(in, "n_spans", 2, 0, HSDI_SPANS_MAX);
    out->spans.is_last = get_int(in, "is_last", 2, 0, 1) == 1;
    at = in->at;
    out->spans.bytes = get_bytes(in, "spans", (size_t)out->spans.n, HSDI_SPAN_BYTES);
    for (int i = 0; out->spans.bytes && i < out->spans.n; i++, at += HSDI_SPAN_BYTES) {
        const hsdi_span span = hsdi_frame_span(out, i);
        const uint8_t *bytes = out->spans.bytes + (size_t)i * HSDI_SPAN_BYTES;
        bool is_text = bytes[1] == 0 || span.text;
        bool is_zero = bytes[2] == 0 && bytes[3] == 0 && u32_at(bytes + 20) == 0;
        if (!span.kind || !is_text || !is_zero || span.begin_ns < 0 ||
            span.end_ns < span.begin_ns || span.end_ns > TIME_MAX) {
            reject(in, "spans", at);
            return;
        }
    }
}

static void get_payload(reader *in, hsdi_frame *out)
{
    switch (out->type) {
    case HSDI_FRAME_HELLO:
    case HSDI_FRAME_WELCOME:
        get_identity(in, &out->identity);
        break;
    case HSDI_FRAME_OPEN:
        get_open(in, out);
        break;
    case HSDI_FRAME_OPENED:
        out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
        break;
    case HSDI_FRAME_ERROR:
        get_error(in, out);
        break;
    case HSDI_FRAME_STEP:
        get_step(in, out);
        break;
    case HSDI_FRAME_PROXIES:
        get_proxies(in, out);
        break;
    case HSDI_FRAME_COMMIT:
        out->step = (uint32_t)get(in, "step", 4, UINT32_MAX);
        out->commit.row = get_int(in, "row", 2, 0, HSDI_TREE_MAX);
        out->commit.want = get_int(in, "want", 2, 0, HSDI_WINDOW_MAX);
        out->commit.next = get_token(in, "next");
        out->commit.n_committed = get_int(in, "n_committed", 4, 1, INT32_MAX);
        break;
    case HSDI_FRAME_WINDOW:
        get_window(in, out);
        break;
    case HSDI_FRAME_ASK:
        out->vocab.n = get_int(in, "n", 4, 0, INT32_MAX);
        break;
    case HSDI_FRAME_VOCAB:
        out->vocab.n = get_int(in, "n", 4, 0, INT32_MAX);
        out->vocab.hash = get(in, "hash", 8, UINT64_MAX);
        get_text(in, HSDI_VOCAB_TEXT_MAX, out->vocab.text);
        break;
    case HSDI_FRAME_ALONE:
        get_alone(in, out);
        break;
    case HSDI_FRAME_CLOCK:
        out->time.asked_ns = get(in, "asked_ns", 8, UINT64_MAX);
        break;
    case HSDI_FRAME_TIME:
        get_time(in, out);
        break;
    case HSDI_FRAME_TRACE:
        get_trace(in, out);
        break;
    case HSDI_FRAME_SPANS:
        get_spans(in, out);
        break;
    case HSDI_FRAME_CLOSE:
        break;
    }
}

hsd_status hsdi_frame_decode(const void *bytes, size_t n_bytes, hsdi_frame *out, hsd_error *err)
{
    reader in = {.bytes = bytes, .n_bytes = n_bytes};
    memset(out, 0, sizeof *out);
    uint32_t magic = (uint32_t)get(&in, "magic", 4, UINT32_MAX);
    int version = get_int(&in, "version", 2, 0, UINT16_MAX);
    int type = get_int(&in, "type", 2, 0, UINT16_MAX);
    uint64_t size = get(&in, "n_bytes", 4, UINT32_MAX);
    out->epoch = (uint32_t)get(&in, "epoch", 4, UINT32_MAX);
    out->session = get(&in, "session", 8, UINT64_MAX);
    if (!in.bad_field && magic != MAGIC) {
        reject(&in, "magic", 0);
    }
    if (!in.bad_field && version != HSDI_PROTOCOL_VERSION) {
        return hsdi_fail_at(err, HSD_EPROTOCOL, "version", 4,
                            "the peer speaks protocol version %d, this build speaks %d", version,
                            HSDI_PROTOCOL_VERSION);
    }
    if (!in.bad_field && size != n_bytes) {
        reject(&in, "n_bytes", 8);
    }
    if (!in.bad_field && (type < HSDI_FRAME_HELLO || type > HSDI_FRAME_SPANS)) {
        reject(&in, "type", 6);
    }
    if (!in.bad_field) {
        out->type = (hsdi_frame_type)type;
        get_payload(&in, out);
    }
    if (!in.bad_field && in.at != n_bytes) {
        reject(&in, "end", in.at);
    }
    if (in.bad_field) {
        return hsdi_fail_at(err, HSD_EFORMAT, in.bad_field, (int64_t)in.bad_at,
                            "the frame's field %s is missing or out of range", in.bad_field);
    }
    return HSD_OK;
}

int32_t hsdi_frame_token(const hsdi_frame *frame, int i)
{
    const uint8_t *tokens =
        frame->type == HSDI_FRAME_ALONE ? frame->alone.tokens : frame->open.tokens;
    return (int32_t)u32_at(tokens + 4 * (size_t)i);
}

hsdi_candidate hsdi_frame_proxy(const hsdi_frame *frame, int row, int i)
{
    size_t n = (size_t)frame->proxies.n_rows * (size_t)frame->proxies.n_top;
    size_t at = (size_t)row * (size_t)frame->proxies.n_top + (size_t)i;
    const uint8_t *score = frame->proxies.bytes + 4 * n + 2 * at;
    return (hsdi_candidate){
        .token = (int32_t)u32_at(frame->proxies.bytes + 4 * at),
        .score = hsdi_bf16_to((uint16_t)(score[0] | score[1] << 8)),
    };
}

static uint64_t u64_at(const uint8_t *bytes)
{
    return u32_at(bytes) | (uint64_t)u32_at(bytes + 4) << 32;
}

hsdi_span hsdi_frame_span(const hsdi_frame *frame, int i)
{
    const uint8_t *at = frame->spans.bytes + (size_t)i * HSDI_SPAN_BYTES;
    hsdi_span span = {.kind = hsdi_span_kind_at(at[0]),
                      .text = hsdi_span_text_at(at[1]),
                      .session = (uint32_t)frame->session,
                      .step = u32_at(at + 4)};
    for (int k = 0; k < HSDI_SPAN_VALUES; k++) {
        span.values[k] = (int32_t)u32_at(at + 8 + 4 * k);
    }
    span.begin_ns = (int64_t)u64_at(at + 24);
    span.end_ns = (int64_t)u64_at(at + 32);
    return span;
}

typedef struct writer {
    uint8_t *bytes;
    size_t cap, at;
} writer;

/// Counts also what does not fit, so that the end tells.
static void put(writer *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size && out->at + i < out->cap; i++) {
        out->bytes[out->at + i] = (uint8_t)(value >> (8 * i));
    }
    out->at += size;
}

static void put_int(writer *out, int value)
{
    put(out, (uint32_t)value, 4);
}

static void put_float(writer *out, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(out, bits, 4);
}

static void put_tokens(writer *out, const int32_t *tokens, int n)
{
    put_int(out, n);
    for (int i = 0; i < n; i++) {
        put_int(out, tokens[i]);
    }
}

static void put_open(writer *out, const hsdi_frame *frame, const int32_t *tokens)
{
    const hsdi_draft_config *config = &frame->open.config;
    put(out, frame->step, 4);
    put_int(out, frame->open.n_proxies);
    put_int(out, config->mode);
    put_int(out, config->draft_kind);
    put_int(out, config->window);
    put_int(out, config->tree);
    put_int(out, config->miss_window);
    put_int(out, config->roots);
    put_int(out, config->n_top);
    put_int(out, config->exit_layer);
    put_int(out, config->n_ctx);
    put_float(out, config->temperature);
    put_float(out, config->top_p);
    put_float(out, config->min_p);
    put_int(out, config->top_k);
    put(out, config->seed, 8);
    put_float(out, config->repeat_penalty);
    put_int(out, config->repeat_last_n);
    put_int(out, config->no_repeat_ngram);
    put(out, (uint64_t)config->rule, 2);
    put(out, (uint64_t)config->sources, 1);
    put(out, config->is_audited, 1);
    put_int(out, frame->open.n_vocab);
    put_tokens(out, tokens, frame->open.n_tokens);
}

static void put_tree(writer *out, const hsdi_window *window)
{
    for (int i = 0; i < window->n_tokens; i++) {
        put_int(out, window->tokens[i]);
    }
    for (int i = 0; i < window->n_tokens; i++) {
        put(out, window->parents[i], 1);
    }
}

static void put_window(writer *out, const hsdi_draft_window *window, uint32_t step)
{
    put(out, step, 4);
    put_int(out, window->n_committed);
    put(out, (uint64_t)window->source, 1);
    put(out, (uint64_t)window->window.n_tokens, 1);
    put(out, (uint64_t)window->n_q, 1);
    put(out, window->ranks.own, 1);
    put(out, window->ranks.proxy, 1);
    put(out, window->ranks.merged, 1);
    put(out, 0, 2);
    put(out, window->n_rows > UINT32_MAX ? UINT32_MAX : (uint64_t)window->n_rows, 4);
    put(out, window->busy_ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint64_t)window->busy_ns / 1000,
        4);
    put_tree(out, &window->window);
    for (int i = 0; i < window->window.n_tokens * window->n_q; i++) {
        put_int(out, window->q[i].token);
        put_float(out, window->q[i].score);
    }
}

static void put_proxies(writer *out, const hsdi_frame *frame, const hsdi_candidate *proxies)
{
    int n = frame->proxies.n_rows * frame->proxies.n_top;
    put(out, frame->step, 4);
    put(out, (uint64_t)frame->proxies.n_rows, 2);
    put(out, (uint64_t)frame->proxies.n_top, 2);
    for (int i = 0; i < n; i++) {
        put_int(out, proxies[i].token);
    }
    for (int i = 0; i < n; i++) {
        put(out, hsdi_bf16_of(proxies[i].score), 2);
    }
}

static void put_text(writer *out, const char *text, size_t most)
{
    size_t n = strnlen(text, most);
    put(out, n, 2);
    for (size_t i = 0; i < n; i++) {
        put(out, (uint8_t)text[i], 1);
    }
}

bool hsdi_span_encode(const hsdi_span *span, uint8_t *bytes)
{
    writer out = {.bytes = bytes, .cap = HSDI_SPAN_BYTES};
    int kind = hsdi_span_kind_number(span->kind);
    put(&out, (uint64_t)kind, 1);
    put(&out, (uint64_t)hsdi_span_text_number(span->text), 1);
    put(&out, 0, 2);
    put(&out, span->step, 4);
    for (int i = 0; i < HSDI_SPAN_VALUES; i++) {
        put_int(&out, span->values[i]);
    }
    put(&out, 0, 4);
    put(&out, (uint64_t)span->begin_ns, 8);
    put(&out, (uint64_t)span->end_ns, 8);
    return kind >= 0;
}

static void put_spans(writer *out, const hsdi_frame *frame)
{
    put(out, frame->spans.from, 8);
    put(out, frame->spans.next, 8);
    put(out, frame->spans.n_dropped, 8);
    put(out, (uint64_t)frame->spans.n, 2);
    put(out, frame->spans.is_last, 2);
    for (size_t i = 0; i < (size_t)frame->spans.n * HSDI_SPAN_BYTES; i++) {
        put(out, frame->spans.bytes[i], 1);
    }
}

static void put_payload(writer *out, const hsdi_frame *frame, const int32_t *tokens,
                        const hsdi_candidate *proxies)
{
    switch (frame->type) {
    case HSDI_FRAME_HELLO:
    case HSDI_FRAME_WELCOME:
        put(out, frame->identity.vocab_hash, 8);
        put(out, frame->identity.fingerprint, 8);
        put_int(out, frame->identity.n_vocab);
        break;
    case HSDI_FRAME_OPEN:
        put_open(out, frame, tokens);
        break;
    case HSDI_FRAME_OPENED:
        put(out, frame->step, 4);
        break;
    case HSDI_FRAME_ERROR:
        put(out, (uint64_t)frame->error.code, 2);
        put_text(out, frame->error.text, HSDI_ERROR_TEXT_MAX);
        break;
    case HSDI_FRAME_STEP:
        put(out, frame->step, 4);
        put(out, (uint64_t)frame->step_.share.low, 2);
        put(out, (uint64_t)frame->step_.share.high, 2);
        put(out, (uint64_t)frame->step_.window.n_tokens, 2);
        put(out, 0, 2);
        put_tree(out, &frame->step_.window);
        break;
    case HSDI_FRAME_PROXIES:
        put_proxies(out, frame, proxies);
        break;
    case HSDI_FRAME_COMMIT:
        put(out, frame->step, 4);
        put(out, (uint64_t)frame->commit.row, 2);
        put(out, (uint64_t)frame->commit.want, 2);
        put_int(out, frame->commit.next);
        put_int(out, frame->commit.n_committed);
        break;
    case HSDI_FRAME_WINDOW:
        put_window(out, &frame->window, frame->step);
        break;
    case HSDI_FRAME_ASK:
        put_int(out, frame->vocab.n);
        break;
    case HSDI_FRAME_VOCAB:
        put_int(out, frame->vocab.n);
        put(out, frame->vocab.hash, 8);
        put_text(out, frame->vocab.text, HSDI_VOCAB_TEXT_MAX);
        break;
    case HSDI_FRAME_ALONE:
        put(out, frame->step, 4);
        put_int(out, frame->alone.n_committed);
        put(out, (uint64_t)frame->alone.want, 2);
        put(out, 0, 2);
        put_tokens(out, tokens, frame->alone.n_tokens);
        break;
    case HSDI_FRAME_CLOCK:
        put(out, frame->time.asked_ns, 8);
        break;
    case HSDI_FRAME_TIME:
        put(out, frame->time.asked_ns, 8);
        put(out, frame->time.taken_ns, 8);
        put(out, frame->time.given_ns, 8);
        put_int(out, frame->time.pid);
        put_text(out, frame->time.host, HSDI_HOST_TEXT_MAX);
        break;
    case HSDI_FRAME_TRACE:
        put(out, (uint64_t)frame->trace.order, 4);
        put(out, frame->trace.from, 8);
        break;
    case HSDI_FRAME_SPANS:
        put_spans(out, frame);
        break;
    case HSDI_FRAME_CLOSE:
        break;
    }
}

size_t hsdi_frame_encode(const hsdi_frame *frame, const int32_t *tokens,
                         const hsdi_candidate *proxies, void *out, size_t cap)
{
    writer w = {.bytes = out, .cap = cap};
    put(&w, MAGIC, 4);
    put(&w, HSDI_PROTOCOL_VERSION, 2);
    put(&w, (uint64_t)frame->type, 2);
    put(&w, 0, 4);
    put(&w, frame->epoch, 4);
    put(&w, frame->session, 8);
    put_payload(&w, frame, tokens, proxies);
    if (w.at > cap) {
        return 0;
    }
    writer size = {.bytes = out, .cap = cap, .at = 8};
    put(&size, w.at, 4);
    return w.at;
}

uint16_t hsdi_bf16_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (isnan(value)) {
        return 0x7fc0;
    }
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float hsdi_bf16_to(uint16_t bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

const char *hsdi_frame_type_name(hsdi_frame_type type)
{
    static const char *const names[] = {"?",     "HELLO",   "WELCOME", "OPEN",   "OPENED", "ERROR",
                                        "STEP",  "PROXIES", "COMMIT",  "WINDOW", "CLOSE",  "ASK",
                                        "VOCAB", "ALONE",   "CLOCK",   "TIME",   "TRACE",  "SPANS"};
    size_t i = (size_t)type;
    return i < sizeof names / sizeof names[0] ? names[i] : "?";
}
