#include "tests/engine/plain_rules.h"

#include <math.h>

bool plain_repeats(const int32_t *text, int n, int ngram, int32_t next)
{
    for (int begin = 0; ngram > 0 && begin + ngram <= n; begin++) {
        bool is_same = text[begin + ngram - 1] == next;
        for (int i = 0; i < ngram - 1; i++) {
            is_same = is_same && text[begin + i] == text[n - ngram + 1 + i];
        }
        if (is_same) {
            return true;
        }
    }
    return false;
}

static bool occurs(const int32_t *text, int n, int last_n, int32_t token)
{
    for (int i = 0; i < n; i++) {
        if (text[i] == token && (last_n < 0 || i >= n - last_n)) {
            return true;
        }
    }
    return false;
}

void plain_rules(const hsd_sampling *s, const int32_t *text, int n, int n_vocab, float *logits)
{
    int last_n = s->repeat_last_n == 0 ? 64 : s->repeat_last_n;
    for (int32_t token = 0; token < n_vocab; token++) {
        if (s->repeat_penalty > 0.0f && occurs(text, n, last_n, token)) {
            if (logits[token] > 0.0f) {
                logits[token] /= s->repeat_penalty;
            } else {
                logits[token] *= s->repeat_penalty;
            }
        }
        if (plain_repeats(text, n, s->no_repeat_ngram, token)) {
            logits[token] = -INFINITY;
        }
    }
}
