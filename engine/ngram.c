/// The n-gram draft: what followed the last tokens when they occurred before?
///
/// The longest match wins, the most recent one among equals. No model, no device; its guesses are
/// good where the text repeats itself and absent elsewhere.
#include "base/error.h"
#include "engine/history.h"
#include "engine/stages.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_MATCH = 5 };

typedef struct ngram {
    hsdi_history *history;
    int32_t *banned; ///< [n_ctx] tokens that may not follow a row
    int n_banned;
} ngram;

/// How likely the continuation of a match of n tokens is the next token. Rough on purpose: the
/// draft pipeline calibrates what it sees.
static const float match_score[MAX_MATCH + 1] = {0.0f, 0.2f, 0.4f, 0.6f, 0.75f, 0.85f};

static int match_length(const int32_t *text, int n_text, int end)
{
    int n = 0;
    while (n < MAX_MATCH && n < end && text[end - 1 - n] == text[n_text - 1 - n]) {
        n++;
    }
    return n;
}

static bool listed(const hsdi_candidate *out, int n, int32_t token)
{
    for (int i = 0; i < n; i++) {
        if (out[i].token == token) {
            return true;
        }
    }
    return false;
}

static bool is_banned(const ngram *g, int32_t token)
{
    int i = 0;
    while (i < g->n_banned && g->banned[i] != token) {
        i++;
    }
    return i < g->n_banned;
}

/// Tokens that followed a match of exactly `length`, the most recent first.
static int collect(const ngram *g, const int32_t *text, int n_text, int length, int n, int n_top,
                   hsdi_candidate *out)
{
    float p = match_score[length];
    for (int end = n_text - 1; end >= length && n < n_top; end--) {
        if (text[end - 1] == text[n_text - 1] && match_length(text, n_text, end) == length &&
            !listed(out, n, text[end]) && !is_banned(g, text[end])) {
            out[n] = (hsdi_candidate){text[end], logf(p)};
            if (n > 0 && out[n].score >= out[n - 1].score) {
                out[n].score = out[n - 1].score - 1.0f;
            }
            n++;
        }
    }
    return n;
}

static hsd_status ngram_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                             hsd_error *err)
{
    ngram *g = self;
    (void)err;
    hsdi_history_note(g->history, rows);
    if (n_top == 0) {
        return HSD_OK;
    }
    for (int r = 0; r < rows->n_rows; r++) {
        const int32_t *text;
        int n_text = hsdi_history_text(g->history, rows, r, &text);
        g->n_banned = hsdi_history_earlier(g->history, g->banned);
        hsdi_candidate *list = out + (int64_t)r * n_top;
        int n = 0;
        for (int length = MAX_MATCH; length >= 1 && n < n_top; length--) {
            n = collect(g, text, n_text, length, n, n_top, list);
        }
        for (; n < n_top; n++) {
            list[n] = (hsdi_candidate){-1, -INFINITY};
        }
    }
    return HSD_OK;
}

hsd_status hsdi_ngram_stage_open(int n_vocab, int n_ctx, int n_cells, int no_repeat_ngram,
                                 hsdi_draft_stage *out, hsd_error *err)
{
    ngram *g = calloc(1, sizeof *g);
    *out = (hsdi_draft_stage){
        .self = g,
        .limits = {.n_vocab = n_vocab,
                   .n_ctx = n_ctx,
                   .n_cells = n_cells,
                   .n_rows_max = HSDI_STAGE_ROWS,
                   .n_top_max = n_vocab < HSDI_STAGE_TOP ? n_vocab : HSDI_STAGE_TOP},
        .is_certain = true,
        .eval = ngram_eval};
    hsd_status status = HSD_OK;
    if (g) {
        status = hsdi_history_create(n_vocab, n_ctx, n_cells, no_repeat_ngram, &g->history, err);
        g->banned = calloc((size_t)n_ctx, sizeof *g->banned);
    }
    if (status == HSD_OK && (!g || !g->banned)) {
        status = hsdi_fail(err, HSD_ENOMEM, "ngram", "context of %d", n_ctx);
    }
    if (status != HSD_OK) {
        hsdi_ngram_stage_close(out);
    }
    return status;
}

void hsdi_ngram_stage_close(hsdi_draft_stage *stage)
{
    ngram *g = stage->self;
    if (g && stage->eval == ngram_eval) {
        hsdi_history_destroy(&g->history);
        free(g->banned);
        free(g);
        stage->self = NULL;
    }
}
