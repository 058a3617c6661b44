/// Repetition penalty and no-repeat n-gram over a row's own text.
///
/// Each touched logit is changed by one operation that depends on nothing else, so neither the
/// order of tokens nor the rows beside a row can change a bit.
#include "engine/rules.h"

#include "base/error.h"
#include "engine/history.h"
#include "engine/runner.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int REPEAT_LAST_N = 64; ///< as llama.cpp's default

struct hsdi_rules {
    hsdi_history *history;
    float penalty;
    int last_n; ///< 0: no penalty
    int n_vocab;
    float *logits;   ///< [n_vocab] of one row
    int32_t *tokens; ///< [n_ctx] a list of the history
    uint32_t *seen;  ///< [n_vocab] the row that penalised a token last
    uint32_t row;
    int n_edits;    ///< in a row at most
    int32_t *edits; ///< [HSDI_STAGE_ROWS, n_edits]; NULL: too many for a device
};

int hsdi_rules_last_n(const hsd_sampling *s)
{
    if (s->repeat_penalty == 0.0f || s->repeat_penalty == 1.0f) {
        return 0;
    }
    return s->repeat_last_n != 0 ? s->repeat_last_n : REPEAT_LAST_N;
}

static int most_edits(const hsd_sampling *s, int n_vocab, int n_ctx)
{
    int n = n_vocab < n_ctx ? n_vocab : n_ctx, last_n = hsdi_rules_last_n(s);
    return s->no_repeat_ngram == 0 && last_n > 0 && last_n < n ? last_n : n;
}

hsd_status hsdi_rules_create(const hsd_sampling *sampling, int n_vocab, int n_ctx, int n_cells,
                             hsdi_rules **out, hsd_error *err)
{
    *out = NULL;
    int last_n = hsdi_rules_last_n(sampling);
    if (last_n == 0 && sampling->no_repeat_ngram == 0) {
        return HSD_OK;
    }
    hsdi_rules *rules = calloc(1, sizeof *rules);
    if (rules) {
        rules->penalty = sampling->repeat_penalty;
        rules->last_n = last_n;
        rules->n_vocab = n_vocab;
        rules->logits = calloc((size_t)n_vocab, sizeof *rules->logits);
        rules->tokens = calloc((size_t)n_ctx, sizeof *rules->tokens);
        rules->seen = calloc((size_t)n_vocab, sizeof *rules->seen);
        rules->n_edits = most_edits(sampling, n_vocab, n_ctx);
    }
    bool lists = rules && rules->n_edits <= HSDI_DRAW_EDITS_MAX;
    if (lists) {
        size_t n = (size_t)HSDI_STAGE_ROWS * (size_t)rules->n_edits;
        rules->edits = calloc(n, sizeof *rules->edits);
    }
    if (!rules || !rules->logits || !rules->tokens || !rules->seen || (lists && !rules->edits)) {
        hsdi_rules_destroy(&rules);
        return hsdi_fail(err, HSD_ENOMEM, "rules", "vocabulary of %d", n_vocab);
    }
    hsd_status status = hsdi_history_create(n_vocab, n_ctx, n_cells, sampling->no_repeat_ngram,
                                            &rules->history, err);
    if (status != HSD_OK) {
        hsdi_rules_destroy(&rules);
        return status;
    }
    *out = rules;
    return HSD_OK;
}

void hsdi_rules_destroy(hsdi_rules **rules)
{
    if (*rules) {
        hsdi_history_destroy(&(*rules)->history);
        free((*rules)->logits);
        free((*rules)->tokens);
        free((*rules)->seen);
        free((*rules)->edits);
        free(*rules);
        *rules = NULL;
    }
}

void hsdi_rules_note(hsdi_rules *rules, const hsdi_rows *rows)
{
    if (rules) {
        hsdi_history_note(rules->history, rows);
    }
}

void hsdi_rules_found(hsdi_rules *rules, const int32_t *tokens, const int32_t *cells, int n)
{
    if (rules) {
        hsdi_history_found(rules->history, tokens, cells, n);
    }
}

static void forget_seen(hsdi_rules *rules)
{
    if (++rules->row == 0) { // after 2^32 rows the marks of the first ones would count again
        memset(rules->seen, 0, (size_t)rules->n_vocab * sizeof *rules->seen);
        rules->row = 1;
    }
}

/// Whether a token comes for the first time since forget_seen.
static bool is_new(hsdi_rules *rules, int32_t token)
{
    bool is = rules->seen[token] != rules->row;
    rules->seen[token] = rules->row;
    return is;
}

/// Each token once, however often it is listed.
static void penalise(hsdi_rules *rules, int n)
{
    forget_seen(rules);
    for (int i = 0; i < n; i++) {
        if (is_new(rules, rules->tokens[i])) {
            float *logit = &rules->logits[rules->tokens[i]];
            *logit = *logit > 0.0f ? *logit / rules->penalty : *logit * rules->penalty;
        }
    }
}

const float *hsdi_rules_apply(hsdi_rules *rules, const hsdi_rows *rows, int r, const float *logits)
{
    if (!rules) {
        return logits;
    }
    const int32_t *text;
    (void)hsdi_history_text(rules->history, rows, r, &text);
    memcpy(rules->logits, logits, (size_t)rules->n_vocab * sizeof *logits);
    if (rules->last_n != 0) {
        penalise(rules, hsdi_history_recent(rules->history, rules->last_n, rules->tokens));
    }
    int n_banned = hsdi_history_earlier(rules->history, rules->tokens);
    for (int i = 0; i < n_banned; i++) {
        rules->logits[rules->tokens[i]] = -INFINITY;
    }
    return rules->logits;
}

int hsdi_rules_n_edits(const hsdi_rules *rules)
{
    return rules ? rules->n_edits : 0;
}

/// Put those of the n tokens found last that are new to `to`; returns how many.
static int take_new(hsdi_rules *rules, int n, int32_t *to)
{
    int n_new = 0;
    for (int i = 0; i < n; i++) {
        if (is_new(rules, rules->tokens[i])) {
            to[n_new++] = rules->tokens[i];
        }
    }
    return n_new;
}

void hsdi_rules_edits(hsdi_rules *rules, const hsdi_rows *rows, int r, hsdi_draw *out)
{
    if (!rules) {
        return;
    }
    const int32_t *text;
    int32_t *tokens = rules->edits + (ptrdiff_t)r * rules->n_edits;
    (void)hsdi_history_text(rules->history, rows, r, &text);
    forget_seen(rules);
    out->tokens = tokens;
    out->penalty = rules->penalty;
    out->n_banned = take_new(rules, hsdi_history_earlier(rules->history, rules->tokens), tokens);
    out->n_penalised =
        rules->last_n == 0
            ? 0 // what is ruled out needs no penalty
            : take_new(rules, hsdi_history_recent(rules->history, rules->last_n, rules->tokens),
                       tokens + out->n_banned);
}
