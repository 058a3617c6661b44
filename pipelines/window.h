/// Windows: the draft tokens that one target pass verifies, as a tree.
///
/// Row 0 of the pass is the last committed token, row i + 1 is token i. A chain is the tree in
/// which each token follows the one before it.
#ifndef HSDI_PIPELINES_WINDOW_H
#define HSDI_PIPELINES_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HSDI_WINDOW_MAX = 16, ///< tokens of the longest chain in a window
    HSDI_TREE_MAX = 32,   ///< tokens of a window
    HSDI_WINDOW_ROWS = HSDI_TREE_MAX + 1,
};

typedef struct hsdi_window {
    int n_tokens;
    int32_t tokens[HSDI_TREE_MAX];
    uint8_t parents[HSDI_TREE_MAX]; ///< row that token i follows, at most i
} hsdi_window;

/// Are count, parents and tokens (0 .. n_vocab-1) in range, and no token twice after one row?
bool hsdi_window_is_valid(const hsdi_window *window, int n_vocab);

/// Append a token behind `parent`. The window must have room. Returns its row.
int hsdi_window_add(hsdi_window *window, int parent, int32_t token);

/// The row of `token` after `row`, or -1.
int hsdi_window_child(const hsdi_window *window, int row, int32_t token);

/// Tokens between row 0 and `row`, the latter included: 0 for row 0.
int hsdi_window_depth(const hsdi_window *window, int row);

/// Depth of the deepest row.
int hsdi_window_height(const hsdi_window *window);

/// Rows from 0 to `row`. Shapes: out [depth + 1]; returns depth + 1.
int hsdi_window_path(const hsdi_window *window, int row, int *out);

/// Do both hold the same tokens behind the same rows?
bool hsdi_window_is_same(const hsdi_window *a, const hsdi_window *b);

/// Drop tokens deeper than n_deep and, from the end, all beyond n_tokens.
void hsdi_window_prune(hsdi_window *window, int n_deep, int n_tokens);

/// The text went on with these tokens: what the window holds behind them remains.
///
/// Result : false, and the window empty, when the tokens leave it.
bool hsdi_window_follow(hsdi_window *window, const int32_t *tokens, int n_tokens);

/// Add what `other` has and `window` has not, up to `n_most` tokens in all.
void hsdi_window_merge(hsdi_window *window, const hsdi_window *other, int n_most);

#endif
