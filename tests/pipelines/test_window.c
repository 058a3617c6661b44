/// Proves: a window's rows, depths and paths are those of its tree; pruning keeps a tree;
/// following a text keeps exactly what lies behind it; merging adds what is missing and nothing
/// twice; windows that are no trees are told.
#include <pipelines/window.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 6, N_ROUNDS = 20000 };

static uint64_t random_state = 1;

static int draw(int n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((random_state >> 33) % (uint64_t)n);
}

static hsdi_window random_window(int n_most)
{
    hsdi_window window = {0};
    int n = draw(n_most + 1);
    for (int i = 0; i < 4 * n && window.n_tokens < n; i++) {
        int parent = draw(2) ? window.n_tokens : draw(window.n_tokens + 1);
        int32_t token = draw(N_VOCAB);
        if (hsdi_window_child(&window, parent, token) < 0) {
            (void)hsdi_window_add(&window, parent, token);
        }
    }
    return window;
}

/// The text from row 0 to `row`. Returns its length.
static int text_of(const hsdi_window *window, int row, int32_t *out)
{
    int path[HSDI_WINDOW_ROWS], n = hsdi_window_path(window, row, path);
    for (int i = 1; i < n; i++) {
        out[i - 1] = window->tokens[path[i] - 1];
    }
    return n - 1;
}

/// Does the window have this text from row 0?
static bool has_text(const hsdi_window *window, const int32_t *text, int n)
{
    int row = 0;
    for (int i = 0; i < n && row >= 0; i++) {
        row = hsdi_window_child(window, row, text[i]);
    }
    return row >= 0;
}

static void rows_depths_and_paths_agree(void **state)
{
    (void)state;
    for (int round = 0; round < N_ROUNDS; round++) {
        hsdi_window window = random_window(HSDI_TREE_MAX);
        int height = 0;
        assert_true(hsdi_window_is_valid(&window, N_VOCAB));
        for (int row = 0; row <= window.n_tokens; row++) {
            int path[HSDI_WINDOW_ROWS], depth = hsdi_window_depth(&window, row);
            assert_int_equal(hsdi_window_path(&window, row, path), depth + 1);
            assert_int_equal(path[0], 0);
            assert_int_equal(path[depth], row);
            for (int i = 1; i <= depth; i++) {
                assert_int_equal(window.parents[path[i] - 1], path[i - 1]);
            }
            height = depth > height ? depth : height;
        }
        assert_int_equal(hsdi_window_height(&window), height);
    }
}

static void pruning_keeps_the_first_tokens_that_are_not_too_deep(void **state)
{
    (void)state;
    for (int round = 0; round < N_ROUNDS; round++) {
        hsdi_window whole = random_window(HSDI_TREE_MAX), part = whole;
        int n_deep = draw(HSDI_WINDOW_MAX + 1), n_tokens = draw(HSDI_TREE_MAX + 1), n_kept = 0;
        hsdi_window_prune(&part, n_deep, n_tokens);
        assert_true(hsdi_window_is_valid(&part, N_VOCAB));
        assert_true(part.n_tokens <= n_tokens && hsdi_window_height(&part) <= n_deep);
        for (int row = 1; row <= whole.n_tokens; row++) {
            int32_t text[HSDI_TREE_MAX];
            int n = text_of(&whole, row, text);
            bool is_due = n <= n_deep && n_kept < n_tokens;
            n_kept += is_due;
            assert_int_equal(has_text(&part, text, n), is_due);
        }
        assert_int_equal(part.n_tokens, n_kept);
    }
}

static void following_keeps_what_lies_behind_the_text(void **state)
{
    (void)state;
    int n_followed = 0;
    for (int round = 0; round < N_ROUNDS; round++) {
        hsdi_window whole = random_window(HSDI_TREE_MAX), rest = whole;
        int32_t text[HSDI_TREE_MAX + 4];
        int n = text_of(&whole, draw(whole.n_tokens + 1), text);
        while (n < HSDI_TREE_MAX && draw(3) == 0) {
            text[n++] = draw(N_VOCAB);
        }
        bool is_there = has_text(&whole, text, n);
        assert_int_equal(hsdi_window_follow(&rest, text, n), is_there);
        assert_true(hsdi_window_is_valid(&rest, N_VOCAB));
        int n_behind = 0;
        for (int row = 1; row <= whole.n_tokens; row++) {
            int32_t longer[HSDI_TREE_MAX];
            int m = text_of(&whole, row, longer);
            if (is_there && m > n && memcmp(longer, text, (size_t)n * sizeof *text) == 0) {
                n_behind++;
                assert_true(has_text(&rest, longer + n, m - n));
            }
        }
        assert_int_equal(rest.n_tokens, n_behind);
        n_followed += is_there && n_behind > 0 && n > 0;
    }
    assert_true(n_followed > N_ROUNDS / 20);
}

static void merging_adds_what_is_missing(void **state)
{
    (void)state;
    for (int round = 0; round < N_ROUNDS; round++) {
        hsdi_window a = random_window(12), b = random_window(12), both = a;
        hsdi_window_merge(&both, &b, HSDI_TREE_MAX);
        assert_true(hsdi_window_is_valid(&both, N_VOCAB));
        for (int row = 1; row <= both.n_tokens; row++) {
            int32_t text[HSDI_TREE_MAX];
            int n = text_of(&both, row, text);
            assert_true(has_text(&a, text, n) || has_text(&b, text, n));
        }
        for (int row = 1; row <= b.n_tokens; row++) {
            int32_t text[HSDI_TREE_MAX];
            assert_true(has_text(&both, text, text_of(&b, row, text)));
        }
        hsdi_window few = a;
        int n_most = a.n_tokens + draw(4);
        hsdi_window_merge(&few, &b, n_most);
        assert_true(few.n_tokens <= n_most && hsdi_window_is_valid(&few, N_VOCAB));
    }
}

static void what_is_no_window_is_told(void **state)
{
    (void)state;
    const hsdi_window bad[] = {
        {.n_tokens = -1},    {.n_tokens = HSDI_TREE_MAX + 1},
        {1, {N_VOCAB}, {0}}, {1, {-1}, {0}},
        {2, {1, 2}, {0, 2}}, {2, {1, 1}, {0, 0}},
        {1, {1}, {1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(hsdi_window_is_valid(&bad[i], N_VOCAB));
    }
    const hsdi_window good = {2, {1, 1}, {0, 1}};
    assert_true(hsdi_window_is_valid(&good, N_VOCAB));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_depths_and_paths_agree),
        cmocka_unit_test(pruning_keeps_the_first_tokens_that_are_not_too_deep),
        cmocka_unit_test(following_keeps_what_lies_behind_the_text),
        cmocka_unit_test(merging_adds_what_is_missing),
        cmocka_unit_test(what_is_no_window_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
