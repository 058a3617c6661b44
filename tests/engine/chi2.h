/// Pearson's chi-square test with its tail probability; for tests of distributions.
#ifndef TESTS_ENGINE_CHI2_H
#define TESTS_ENGINE_CHI2_H

/// P(X > x) of the chi-square distribution with `df` degrees of freedom.
double chi2_tail(double x, int df);

/// The probability that `n` draws from p [n_bins] fit worse than counts [n_bins]. Bins with an
/// expectation below 10 are taken together (the approximation by chi-square needs that).
/// *df receives the degrees of freedom; 0: nothing to test, the result is 1. A count where p is 0
/// gives 0.
double chi2_test(const int *counts, const double *p, int n_bins, int n, int *df);

#endif
