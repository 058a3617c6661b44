/// Verification: what of a window may be kept.
#ifndef HSDI_PIPELINES_VERIFY_H
#define HSDI_PIPELINES_VERIFY_H

#include <pipelines/window.h>

/// Follow the target's own tokens through the window.
///
/// Shapes : own [n_tokens + 1] i32, the target's token after each row.
/// Result : the row they lead to; its ancestors are accepted, and own[row] follows.
/// Thread : pure, any thread.    Cost: O(n_tokens) per accepted token, no allocation.
/// Source : Mirror-SD, arXiv:2510.13161, section 2, for trees; greedy and coupled sampling alike.
/// Proof  : tests/pipelines/test_verify.c "a mismatch ends the accepted prefix"
int hsdi_verify(const hsdi_window *window, const int32_t *own);

#endif
