#include "tests/engine/chi2.h"

#include <math.h>
#include <stdbool.h>

/// Regularised upper incomplete gamma function: the series of its complement below a + 1, the
/// continued fraction (Lentz) above. Source: Abramowitz and Stegun, 6.5.29 and 6.5.31.
static double gamma_q(double a, double x)
{
    double front = exp(-x + a * log(x) - lgamma(a));
    if (x < a + 1.0) {
        double term = 1.0 / a, sum = term;
        for (int i = 1; i < 1000 && term > sum * 1e-16; i++) {
            term *= x / (a + i);
            sum += term;
        }
        return 1.0 - front * sum;
    }
    double b = x + 1.0 - a, c = 1e300, d = 1.0 / b, h = d;
    for (int i = 1; i < 1000; i++) {
        double an = -i * (i - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (fabs(d * c - 1.0) < 1e-15) {
            break;
        }
    }
    return front * h;
}

double chi2_tail(double x, int df)
{
    return x <= 0.0 ? 1.0 : gamma_q(0.5 * df, 0.5 * x);
}

static double misfit(double count, double expected)
{
    return (count - expected) * (count - expected) / expected;
}

double chi2_test(const int *counts, const double *p, int n_bins, int n, int *df)
{
    double x = 0.0, rest_p = 0.0, rest_count = 0.0;
    int last = -1;
    *df = 0;
    for (int i = 0; i < n_bins; i++) {
        if (counts[i] > 0 && !(p[i] > 0.0)) {
            return 0.0;
        }
        if (p[i] * n >= 10.0) {
            last = i;
        } else {
            rest_p += p[i];
            rest_count += counts[i];
        }
    }
    bool is_bin = rest_p * n >= 10.0; // else the rest joins the last bin
    for (int i = 0; i <= last; i++) {
        if (p[i] * n >= 10.0) {
            bool joins = i == last && !is_bin;
            x +=
                misfit(counts[i] + (joins ? rest_count : 0.0), (p[i] + (joins ? rest_p : 0.0)) * n);
            ++*df;
        }
    }
    x += is_bin ? misfit(rest_count, rest_p * n) : 0.0;
    *df += is_bin ? 0 : -1;
    *df = *df > 0 ? *df : 0;
    return *df > 0 ? chi2_tail(x, *df) : 1.0;
}
