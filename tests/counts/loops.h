/// Loops whose instructions are counted by callgrind (counts.py), one call of `counted_loop` each.
#ifndef HSD_TESTS_COUNTS_LOOPS_H
#define HSD_TESTS_COUNTS_LOOPS_H

#include "kernels/kernels.h"

/// Run `call(arg)` n times. What happens inside is counted, nothing outside, each loop as a result
/// of its own. Prints "NAME<tab>n", the n-th line belongs to the n-th result.
void counted_loop(const char *name, int n, void (*call)(void *arg), void *arg);

/// Products, attention, operations on rows, by one set of kernels.
void count_kernels(const hsdi_kernels *k);

/// Sampling, the tokenizer, passes of the shipped pair.
/// `models` is the folder of the shipped pair.
void count_engine(const hsdi_kernels *k, const char *models);

/// Steps of the pipelines with stages that only take (virtual) time: n_tokens in `mode`. Prints
/// "steps<tab>n". Its threads cannot be counted one by one: the whole program's instructions are,
/// at two lengths.
int count_steps(const char *mode, int n_tokens);

#endif
