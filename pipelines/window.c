/// Parents come before their children, so that one walk in order sees every ancestor first.
#include <pipelines/window.h>

bool hsdi_window_is_valid(const hsdi_window *window, int n_vocab)
{
    if (window->n_tokens < 0 || window->n_tokens > HSDI_TREE_MAX) {
        return false;
    }
    for (int i = 0; i < window->n_tokens; i++) {
        if (window->parents[i] > i || window->tokens[i] < 0 || window->tokens[i] >= n_vocab ||
            hsdi_window_child(window, window->parents[i], window->tokens[i]) != i + 1) {
            return false;
        }
    }
    return true;
}

int hsdi_window_add(hsdi_window *window, int parent, int32_t token)
{
    window->tokens[window->n_tokens] = token;
    window->parents[window->n_tokens] = (uint8_t)parent;
    return ++window->n_tokens;
}

int hsdi_window_child(const hsdi_window *window, int row, int32_t token)
{
    for (int i = row; i < window->n_tokens; i++) {
        if (window->parents[i] == row && window->tokens[i] == token) {
            return i + 1;
        }
    }
    return -1;
}

int hsdi_window_depth(const hsdi_window *window, int row)
{
    int depth = 0;
    for (; row > 0; row = window->parents[row - 1]) {
        depth++;
    }
    return depth;
}

int hsdi_window_height(const hsdi_window *window)
{
    int height = 0;
    for (int row = 1; row <= window->n_tokens; row++) {
        int depth = hsdi_window_depth(window, row);
        height = depth > height ? depth : height;
    }
    return height;
}

int hsdi_window_path(const hsdi_window *window, int row, int *out)
{
    int depth = hsdi_window_depth(window, row);
    for (int i = depth; i > 0; i--) {
        out[i] = row;
        row = window->parents[row - 1];
    }
    out[0] = 0;
    return depth + 1;
}

bool hsdi_window_is_same(const hsdi_window *a, const hsdi_window *b)
{
    int n_same = 0;
    while (n_same < a->n_tokens && n_same < b->n_tokens && a->tokens[n_same] == b->tokens[n_same] &&
           a->parents[n_same] == b->parents[n_same]) {
        n_same++;
    }
    return n_same == a->n_tokens && n_same == b->n_tokens;
}

/// Keep the tokens with new_row[i + 1] >= 0, whose parents are kept too. new_row [n_tokens + 1].
static void keep(hsdi_window *window, int *new_row, const bool *is_kept)
{
    int n = 0;
    for (int i = 0; i < window->n_tokens; i++) {
        if (is_kept[i]) {
            window->tokens[n] = window->tokens[i];
            window->parents[n] = (uint8_t)new_row[window->parents[i]];
            new_row[i + 1] = ++n;
        }
    }
    window->n_tokens = n;
}

void hsdi_window_prune(hsdi_window *window, int n_deep, int n_tokens)
{
    bool is_kept[HSDI_TREE_MAX];
    int new_row[HSDI_WINDOW_ROWS] = {0};
    int n_kept = 0;
    for (int i = 0; i < window->n_tokens; i++) {
        is_kept[i] = n_kept < n_tokens && hsdi_window_depth(window, i + 1) <= n_deep;
        n_kept += is_kept[i];
    }
    keep(window, new_row, is_kept);
}

bool hsdi_window_follow(hsdi_window *window, const int32_t *tokens, int n_tokens)
{
    int row = 0;
    for (int i = 0; i < n_tokens && row >= 0; i++) {
        row = hsdi_window_child(window, row, tokens[i]);
    }
    if (row < 0) {
        window->n_tokens = 0;
        return false;
    }
    if (n_tokens == 0) {
        return true;
    }
    bool is_under[HSDI_WINDOW_ROWS] = {false}, is_kept[HSDI_TREE_MAX];
    int new_row[HSDI_WINDOW_ROWS] = {0};
    is_under[row] = true;
    for (int i = 0; i < window->n_tokens; i++) {
        is_kept[i] = is_under[window->parents[i]];
        is_under[i + 1] |= is_kept[i];
    }
    keep(window, new_row, is_kept); // new_row[row] is 0, as it must be
    return true;
}

void hsdi_window_merge(hsdi_window *window, const hsdi_window *other, int n_most)
{
    int row_of[HSDI_WINDOW_ROWS] = {0};
    for (int i = 0; i < other->n_tokens; i++) {
        int parent = row_of[other->parents[i]];
        row_of[i + 1] = -1;
        if (parent >= 0) {
            int row = hsdi_window_child(window, parent, other->tokens[i]);
            bool has_room = window->n_tokens < n_most && window->n_tokens < HSDI_TREE_MAX;
            row_of[i + 1] = row >= 0   ? row
                            : has_room ? hsdi_window_add(window, parent, other->tokens[i])
                                       : -1;
        }
    }
}
