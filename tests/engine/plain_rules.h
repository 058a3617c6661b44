/// The rules that look at the text, by their definitions and without any shortcut.
#ifndef TESTS_ENGINE_PLAIN_RULES_H
#define TESTS_ENGINE_PLAIN_RULES_H

#include <hsd/engine.h>

/// Would `next` after text [n] end a run of `ngram` tokens that the text holds already?
bool plain_repeats(const int32_t *text, int n, int ngram, int32_t next);

/// Apply penalty and no-repeat n-gram to the logits [n_vocab] of what follows text [n].
void plain_rules(const hsd_sampling *sampling, const int32_t *text, int n, int n_vocab,
                 float *logits);

#endif
