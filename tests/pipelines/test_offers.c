/// Proves: of several workers' windows the leader's is verified, and with room for a tree the
/// others' join it; a window is kept exactly as far as the text goes its way, with its
/// distributions; the workers' parts of the roots cover all of them once, in proportion to speed.
/// Does not prove: when windows are waited for (test_target.c, test_faults.c).
#include <pipelines/target_state.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TEXT = 64 };

typedef struct desk {
    hsdi_target target;
    int32_t text[N_TEXT];
} desk;

static desk *desk_new(int n_helpers)
{
    desk *d = calloc(1, sizeof *d);
    d->target.text = d->text;
    d->target.n_text = 5;
    d->target.n_helpers = n_helpers;
    d->target.config.mode = HSD_MODE_SERIAL;
    d->target.stage.limits.n_vocab = 100;
    for (int i = 0; i < n_helpers; i++) {
        d->target.helpers[i].state = HSDI_PEER_OPEN;
        d->target.helpers[i].n_right = 1.0f;
    }
    return d;
}

static void offer(desk *d, int helper, const hsdi_window *window)
{
    hsdi_draft_window *o = &d->target.helpers[helper].offer;
    o->n_committed = d->target.n_text;
    o->window = *window;
}

/// The text goes on with these tokens.
static void say(desk *d, const int32_t *tokens, int n)
{
    memcpy(d->text + d->target.n_text, tokens, (size_t)n * sizeof *tokens);
    d->target.n_text += n;
    hsdi_helpers_follow(&d->target, n);
}

static const hsdi_window ONE = {3, {1, 2, 3}, {0, 1, 2}};
static const hsdi_window OTHER = {3, {1, 5, 6}, {0, 1, 2}};

static void the_worker_that_was_right_most_leads(void **state)
{
    (void)state;
    desk *d = desk_new(2);
    offer(d, 0, &ONE);
    offer(d, 1, &OTHER);
    d->target.helpers[1].n_right = 2.0f;
    hsdi_helpers_choose(&d->target, 3, 3);
    assert_int_equal(d->target.chosen, 1);
    assert_true(hsdi_window_is_same(&d->target.window, &OTHER));
    // What a worker offers counts, and what the text then says moves the lead.
    const int32_t tokens[] = {1, 2, 3, 9};
    for (int i = 0; i < 20; i++) {
        offer(d, 0, &ONE);
        offer(d, 1, &OTHER);
        d->target.n_text = 5;
        say(d, tokens, 4);
    }
    offer(d, 0, &ONE);
    offer(d, 1, &OTHER);
    hsdi_helpers_choose(&d->target, 3, 3);
    assert_int_equal(d->target.chosen, 0);
    free(d);
}

static void a_hit_leads_before_a_fresh_window(void **state)
{
    (void)state;
    desk *d = desk_new(2);
    offer(d, 0, &ONE);
    offer(d, 1, &OTHER);
    d->target.helpers[0].n_right = 1.3f;
    d->target.helpers[1].offer.source = HSDI_SOURCE_OWN;
    hsdi_helpers_choose(&d->target, 3, 3);
    assert_int_equal(d->target.chosen, 1);
    free(d);
}

static void windows_join_where_there_is_room_for_a_tree(void **state)
{
    (void)state;
    desk *d = desk_new(3);
    offer(d, 0, &ONE);
    offer(d, 1, &OTHER);
    d->target.helpers[0].n_right = 2.0f;
    hsdi_helpers_choose(&d->target, 3, 8);
    assert_int_equal(d->target.window.n_tokens, 5); // the first token is in both
    assert_true(hsdi_window_is_valid(&d->target.window, 100));
    hsdi_helpers_choose(&d->target, 2, 4);
    assert_int_equal(d->target.window.n_tokens, 3);
    assert_int_equal(hsdi_window_height(&d->target.window), 2);
    hsdi_helpers_choose(&d->target, 3, 0);
    assert_int_equal(d->target.window.n_tokens, 0);
    hsdi_helpers_choose(&d->target, 0, 8);
    assert_int_equal(d->target.chosen, -1);
    assert_int_equal(d->target.window.n_tokens, 0);
    free(d);
}

static void a_window_is_kept_as_far_as_the_text_goes_its_way(void **state)
{
    (void)state;
    desk *d = desk_new(2);
    const int32_t tokens[] = {1, 2}, others[] = {4};
    offer(d, 0, &ONE);
    offer(d, 1, &OTHER);
    say(d, tokens, 2);
    const hsdi_helper *helpers = d->target.helpers;
    assert_int_equal(helpers[0].offer.window.n_tokens, 1);
    assert_int_equal(helpers[0].offer.window.tokens[0], 3);
    assert_int_equal(helpers[0].offer.n_committed, d->target.n_text);
    assert_true(helpers[0].is_carried);
    assert_int_equal(helpers[1].offer.window.n_tokens, 0);
    say(d, others, 1);
    assert_int_equal(helpers[0].offer.window.n_tokens, 0);
    free(d);
}

static void distributions_move_with_their_tokens(void **state)
{
    (void)state;
    hsdi_draft_window *window = calloc(1, sizeof *window);
    const int32_t tokens[] = {1, 2};
    window->window = ONE;
    window->n_committed = 7;
    window->n_q = 2;
    for (int i = 0; i < 6; i++) {
        window->q[i] = (hsdi_candidate){i % 2 == 0 ? i / 2 + 1 : 50 + i, -0.1f * (float)i};
    }
    assert_true(hsdi_draft_window_follow(window, tokens, 2));
    assert_int_equal(window->n_committed, 9);
    assert_int_equal(window->window.n_tokens, 1);
    assert_int_equal(window->q[0].token, window->window.tokens[0]);
    assert_int_equal(window->q[1].token, 55);
    assert_false(hsdi_draft_window_follow(window, tokens, 1));
    free(window);
}

static void parts_of_the_roots_follow_speed_and_cover_all(void **state)
{
    (void)state;
    desk *d = desk_new(3);
    hsdi_draft_share shares[HSDI_TARGET_MAX_WORKERS];
    const float rates[][3] = {{0, 0, 0}, {100, 100, 200}, {1000, 0, 10}, {5, 1e9f, 5}};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        for (int lost = -1; lost < 3; lost++) {
            int end = 0, n_last = 0;
            for (int h = 0; h < 3; h++) {
                d->target.helpers[h].rows_per_s = rates[i][h];
                d->target.helpers[h].state = h == lost ? HSDI_PEER_CALLING : HSDI_PEER_OPEN;
            }
            hsdi_helpers_share(&d->target, shares);
            for (int h = 0; h < 3; h++) {
                if (h != lost) {
                    assert_int_equal(shares[h].low, end);
                    assert_true(shares[h].high >= shares[h].low);
                    end = shares[h].high;
                    n_last += shares[h].high == HSDI_SHARE_ALL;
                }
            }
            assert_true(end == HSDI_SHARE_ALL && n_last >= 1);
        }
    }
    for (int h = 0; h < 3; h++) {
        d->target.helpers[h].state = HSDI_PEER_OPEN;
        d->target.helpers[h].rows_per_s = rates[1][h];
    }
    hsdi_helpers_share(&d->target, shares);
    assert_in_range(shares[0].high, 16000, 16800);
    assert_in_range(shares[1].high, 32200, 33300);
    free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worker_that_was_right_most_leads),
        cmocka_unit_test(a_hit_leads_before_a_fresh_window),
        cmocka_unit_test(windows_join_where_there_is_room_for_a_tree),
        cmocka_unit_test(a_window_is_kept_as_far_as_the_text_goes_its_way),
        cmocka_unit_test(distributions_move_with_their_tokens),
        cmocka_unit_test(parts_of_the_roots_follow_speed_and_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
