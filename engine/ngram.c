/// The n-gram draft: what followed the last tokens when they occurred before?
///
/// The longest match wins, the most recent one among equals. No model, no device; its guesses are
/// good where the text repeats itself and absent elsewhere.
#include "base/error.h"
#include "engine/stages.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_MATCH = 5 };

typedef struct ngram {
    int32_t *cell_token; ///< [n_cells]
    int32_t *text;       ///< [n_ctx] scratch: tokens of one row's context
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

/// Tokens that followed a match of exactly `length`, the most recent first.
static int collect(const int32_t *text, int n_text, int length, int n, int n_top,
                   hsdi_candidate *out)
{
    float p = match_score[length];
    for (int end = n_text - 1; end >= length && n < n_top; end--) {
        if (text[end - 1] == text[n_text - 1] && match_length(text, n_text, end) == length &&
            !listed(out, n, text[end])) {
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
    for (int r = 0; r < rows->n_rows; r++) {
        g->cell_token[rows->cell[r]] = rows->tokens[r];
    }
    if (n_top == 0) {
        return HSD_OK;
    }
    for (int i = 0; i < rows->n_trunk; i++) {
        g->text[i] = g->cell_token[rows->trunk[i]];
    }
    for (int r = 0; r < rows->n_rows; r++) {
        const int32_t *path = rows->path + (int64_t)r * rows->path_stride;
        int n_text = rows->n_trunk;
        for (int i = 0; i < rows->n_path[r]; i++) {
            g->text[n_text++] = g->cell_token[path[i]];
        }
        hsdi_candidate *list = out + (int64_t)r * n_top;
        int n = 0;
        for (int length = MAX_MATCH; length >= 1 && n < n_top; length--) {
            n = collect(g->text, n_text, length, n, n_top, list);
        }
        for (; n < n_top; n++) {
            list[n] = (hsdi_candidate){-1, -INFINITY};
        }
    }
    return HSD_OK;
}

hsd_status hsdi_ngram_stage_open(int n_vocab, int n_ctx, int n_cells, hsdi_draft_stage *out,
                                 hsd_error *err)
{
    ngram *g = calloc(1, sizeof *g);
    if (g) {
        g->cell_token = calloc((size_t)n_cells, sizeof *g->cell_token);
        g->text = calloc((size_t)n_ctx, sizeof *g->text);
    }
    *out = (hsdi_draft_stage){
        .self = g,
        .limits = {.n_vocab = n_vocab,
                   .n_ctx = n_ctx,
                   .n_cells = n_cells,
                   .n_rows_max = HSDI_STAGE_ROWS,
                   .n_top_max = n_vocab < HSDI_STAGE_TOP ? n_vocab : HSDI_STAGE_TOP},
        .eval = ngram_eval};
    if (!g || !g->cell_token || !g->text) {
        hsdi_ngram_stage_close(out);
        return hsdi_fail(err, HSD_ENOMEM, "ngram", "context of %d", n_ctx);
    }
    return HSD_OK;
}

void hsdi_ngram_stage_close(hsdi_draft_stage *stage)
{
    ngram *g = stage->self;
    if (g && stage->eval == ngram_eval) {
        free(g->cell_token);
        free(g->text);
        free(g);
        stage->self = NULL;
    }
}
