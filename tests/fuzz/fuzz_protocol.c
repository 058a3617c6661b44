/// Any bytes as frames: decoding, encoding again, and a draft pipeline that is told them.
///
/// Input: records of a 2-byte little-endian length and that many bytes, each a frame. Looks for:
/// reads outside a frame (each lies in a block of its own size, under a sanitizer), frames whose
/// fields break the decoder's promises, and a draft pipeline that breaks on messages which decode
/// but make no sense.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pipelines/draft.h>
#include <pipelines/protocol.h>

enum { N_VOCAB = 500, N_CTX_MAX = 512, QUANTA = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static hsd_status eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                       hsd_error *err)
{
    (void)self;
    (void)err;
    for (int row = 0; row < rows->n_rows; row++) {
        must(rows->cell[row] >= 0 && rows->n_path[row] == rows->pos[row] - rows->n_trunk + 1);
        must(rows->path[row * rows->path_stride + rows->n_path[row] - 1] == rows->cell[row]);
        for (int i = 0; i < n_top; i++) {
            int32_t token = (rows->tokens[row] * 7 + rows->pos[row] + i) % N_VOCAB;
            out[row * n_top + i] = (hsdi_candidate){token, (float)-i};
        }
    }
    return HSD_OK;
}

/// What was decoded must encode to the bytes it came from (an ERROR's text may have been cleaned,
/// a bf16 not-a-number has many forms).
static void encode_again(const hsdi_frame *frame, const uint8_t *bytes, size_t n)
{
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];
    int32_t *tokens = NULL;
    uint8_t *again = malloc(n);
    if (frame->type == HSDI_FRAME_OPEN) {
        tokens = malloc((size_t)frame->open.n_tokens * sizeof *tokens);
        for (int i = 0; i < frame->open.n_tokens; i++) {
            tokens[i] = hsdi_frame_token(frame, i);
            must(tokens[i] >= 0 && tokens[i] < frame->open.n_vocab);
        }
    } else if (frame->type == HSDI_FRAME_ALONE) {
        tokens = malloc((size_t)frame->alone.n_tokens * sizeof *tokens);
        for (int i = 0; i < frame->alone.n_tokens; i++) {
            tokens[i] = hsdi_frame_token(frame, i);
            must(tokens[i] >= 0);
        }
    } else if (frame->type == HSDI_FRAME_PROXIES) {
        for (int i = 0; i < frame->proxies.n_rows * frame->proxies.n_top; i++) {
            proxies[i] = hsdi_frame_proxy(frame, 0, i);
            must(proxies[i].token >= -1);
        }
    }
    for (int i = 0; frame->type == HSDI_FRAME_SPANS && i < frame->spans.n; i++) {
        const hsdi_span span = hsdi_frame_span(frame, i);
        uint8_t as_sent[HSDI_SPAN_BYTES];
        must(span.kind && span.begin_ns >= 0 && span.end_ns >= span.begin_ns);
        must(hsdi_span_encode(&span, as_sent));
    }
    must(hsdi_frame_encode(frame, tokens, proxies, again, n) == n);
    if (frame->type != HSDI_FRAME_ERROR && frame->type != HSDI_FRAME_PROXIES &&
        frame->type != HSDI_FRAME_VOCAB && frame->type != HSDI_FRAME_TIME) {
        must(memcmp(bytes, again, n) == 0);
    }
    free(again);
    free(tokens);
}

static void open_draft(hsdi_draft **draft, const hsdi_frame *frame)
{
    hsdi_draft_config config = frame->open.config;
    if (config.n_ctx > N_CTX_MAX) {
        return;
    }
    hsdi_draft_stage stage = {
        .limits = {.n_vocab = N_VOCAB,
                   .n_ctx = config.n_ctx,
                   .n_cells = hsdi_draft_cells_needed(&config),
                   .n_rows_max = 32,
                   .n_top_max = HSDI_TOP_MAX},
        .eval = eval,
    };
    int32_t tokens[N_CTX_MAX];
    hsd_error err;
    for (int i = 0; i < frame->open.n_tokens; i++) {
        tokens[i] = hsdi_frame_token(frame, i);
    }
    hsdi_draft_destroy(draft);
    if (hsdi_draft_create(&stage, &config, frame->open.n_proxies, draft, &err) == HSD_OK) {
        (void)!hsdi_draft_open(*draft, frame->step, tokens, frame->open.n_tokens, &err);
    }
}

static void tell(hsdi_draft **draft, const hsdi_frame *frame)
{
    hsd_error err;
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];
    if (frame->type == HSDI_FRAME_OPEN) {
        open_draft(draft, frame);
    } else if (!*draft) {
        return;
    } else if (frame->type == HSDI_FRAME_STEP) {
        (void)!hsdi_draft_step(*draft, frame->step, &frame->step_.window, &frame->step_.share,
                               &err);
    } else if (frame->type == HSDI_FRAME_PROXIES) {
        for (int i = 0; i < frame->proxies.n_rows * frame->proxies.n_top; i++) {
            proxies[i] = hsdi_frame_proxy(frame, 0, i);
        }
        (void)!hsdi_draft_proxies(*draft, frame->step, frame->proxies.n_rows, frame->proxies.n_top,
                                  proxies, &err);
    } else if (frame->type == HSDI_FRAME_COMMIT) {
        (void)!hsdi_draft_commit(*draft, frame->step, frame->commit.row, frame->commit.next,
                                 frame->commit.n_committed, frame->commit.want, &err);
    } else if (frame->type == HSDI_FRAME_ALONE) {
        int32_t tokens[N_CTX_MAX];
        int n = frame->alone.n_tokens;
        for (int i = 0; i < n && n <= N_CTX_MAX; i++) {
            tokens[i] = hsdi_frame_token(frame, i);
        }
        if (n <= N_CTX_MAX) {
            (void)!hsdi_draft_alone(*draft, frame->step, tokens, n, frame->alone.n_committed,
                                    frame->alone.want, &err);
        }
    }
}

/// Some computing between messages: how much depends on the input.
static void work(hsdi_draft *draft, size_t n)
{
    hsdi_draft_window window;
    hsd_error err;
    for (size_t i = 0; draft && i < n % QUANTA && hsdi_draft_has_work(draft); i++) {
        must(hsdi_draft_work(draft, &err) == HSD_OK);
        if (hsdi_draft_take_window(draft, &window)) {
            must(hsdi_window_is_valid(&window.window, N_VOCAB));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hsdi_draft *draft = NULL;
    while (size >= 2) {
        size_t n = (size_t)(data[0] | data[1] << 8);
        n = n < size - 2 ? n : size - 2;
        uint8_t *bytes = malloc(n > 0 ? n : 1);
        memcpy(bytes, data + 2, n);
        data += 2 + n;
        size -= 2 + n;
        hsdi_frame frame;
        hsd_error err;
        if (hsdi_frame_decode(bytes, n, &frame, &err) == HSD_OK) {
            encode_again(&frame, bytes, n);
            tell(&draft, &frame);
            work(draft, frame.epoch);
        }
        free(bytes);
    }
    hsdi_draft_destroy(&draft);
    return 0;
}
