/// Verification: what of a window may be kept.
#ifndef HSDI_PIPELINES_VERIFY_H
#define HSDI_PIPELINES_VERIFY_H

#include <stdint.h>

/// Accept the longest window prefix that the target itself would have produced.
///
/// Shapes : window [n_window] i32; own [n_window + 1] i32, the target's token after each row.
/// Result : accepted count A in 0..n_window; the token that follows is own[A].
/// Thread : pure, any thread.    Cost: O(n_window), no allocation.
/// Source : Mirror-SD, arXiv:2510.13161, section 2; greedy and coupled sampling alike.
/// Proof  : tests/pipelines/test_verify.c "a mismatch ends the accepted prefix"
int hsdi_verify(const int32_t *window, int n_window, const int32_t *own);

#endif
