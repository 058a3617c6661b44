/// Proves: the draft pipeline answers a hit without computing, a miss with a short window, a target
/// that did not wait with a late one, and a backlog once; follows windows that are not its own;
/// keeps common text; refuses what is out of step; stays within small stages. Does not prove: the
/// transport, nor several workers (test_target.c does).
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N_PROMPT = 12 };

typedef struct bench {
    scripted_script script;
    hsdi_draft_config config;
    hsdi_draft_factory factory;
    hsdi_draft_stage stage;
    hsdi_draft *draft;
    int32_t text[256];
    int n_text;
} bench;

/// With n_proxies > 0 half of the roots wait for proxies.
static void bench_open_with(bench *b, uint64_t seed, hsd_mode mode, double agreement, int n_proxies)
{
    hsd_error err = {0};
    b->script = scripted_default(seed);
    b->script.agreement = agreement;
    b->config = (hsdi_draft_config){
        .mode = (int)mode,
        .window = 5,
        .tree = 5,
        .miss_window = 2,
        .roots = 8,
        .n_top = 4,
        .n_ctx = 256,
        .sources = HSDI_SOURCES_BOTH,
    };
    b->factory = scripted_factory(&b->script);
    assert_int_equal(b->factory.open(b->factory.self, &b->config, &b->stage, &err), HSD_OK);
    assert_int_equal(hsdi_draft_create(&b->stage, &b->config, n_proxies, &b->draft, &err), HSD_OK);
    rig_prompt(&b->script, seed, b->text, N_PROMPT);
    b->n_text = N_PROMPT;
    assert_int_equal(hsdi_draft_open(b->draft, 0, b->text, b->n_text, &err), HSD_OK);
}

static void bench_open(bench *b, uint64_t seed, hsd_mode mode, double agreement)
{
    bench_open_with(b, seed, mode, agreement, 0);
}

static void bench_close(bench *b)
{
    hsdi_draft_destroy(&b->draft);
    b->factory.close(b->factory.self, &b->stage);
}

static void work_until_idle(bench *b)
{
    hsd_error err = {0};
    for (int i = 0; i < 1000 && hsdi_draft_has_work(b->draft); i++) {
        assert_int_equal(hsdi_draft_work(b->draft, &err), HSD_OK);
    }
    assert_false(hsdi_draft_has_work(b->draft));
}

static hsdi_draft_window answer_of(bench *b)
{
    hsdi_draft_window window;
    hsd_error err = {0};
    for (int i = 0; i < 100 && !hsdi_draft_take_window(b->draft, &window); i++) {
        assert_true(hsdi_draft_has_work(b->draft));
        assert_int_equal(hsdi_draft_work(b->draft, &err), HSD_OK);
    }
    assert_false(hsdi_draft_take_window(b->draft, &window));
    return window;
}

static const hsdi_draft_share ALL = {0, HSDI_SHARE_ALL};

/// A chain of these tokens.
static hsdi_window chain_of(const int32_t *tokens, int n)
{
    hsdi_window window = {0};
    for (int i = 0; i < n; i++) {
        (void)hsdi_window_add(&window, i, tokens[i]);
    }
    return window;
}

/// What the target would do with this window: STEP, branches, COMMIT. Returns the accepted count.
static int play_step(bench *b, const hsdi_draft_window *window)
{
    hsd_error err = {0};
    int n_accepted = 0;
    hsd_status status = hsdi_draft_step(b->draft, window->step, &window->window, &ALL, &err);
    assert_int_equal(status, HSD_OK);
    work_until_idle(b);
    int row = 0;
    for (;; n_accepted++) {
        int32_t truth = scripted_truth(&b->script, b->text, b->n_text);
        b->text[b->n_text++] = truth;
        int child = hsdi_window_child(&window->window, row, truth);
        if (child < 0) {
            break;
        }
        row = child;
    }
    status = hsdi_draft_commit(b->draft, window->step, row, b->text[b->n_text - 1], b->n_text,
                               b->config.window, &err);
    assert_int_equal(status, HSD_OK);
    return n_accepted;
}

static void a_hit_is_answered_without_computing(void **state)
{
    (void)state;
    bench b = {0};
    bench_open(&b, 1, HSD_MODE_MIRROR, 1.0);
    hsdi_draft_window window = answer_of(&b);
    assert_int_equal(window.source, HSDI_SOURCE_FRESH);
    for (uint32_t step = 0; step < 10; step++) {
        assert_int_equal(window.step, step);
        assert_int_equal(window.n_committed, b.n_text);
        assert_int_equal(window.window.n_tokens, 5);
        assert_int_equal(play_step(&b, &window), 5);
        long n_evals = atomic_load(&scripted_n_evals);
        window = answer_of(&b);
        assert_int_equal(window.source, HSDI_SOURCE_OWN);
        assert_int_equal(atomic_load(&scripted_n_evals), n_evals);
    }
    bench_close(&b);
}

static void a_miss_is_answered_with_a_short_window(void **state)
{
    (void)state;
    bench b = {0};
    bench_open(&b, 2, HSD_MODE_MIRROR, 0.0);
    b.script.kind = SCRIPTED_WRONG;
    hsdi_draft_window window = answer_of(&b);
    assert_int_equal(window.window.n_tokens, 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(play_step(&b, &window), 0);
        window = answer_of(&b);
        assert_int_equal(window.source, HSDI_SOURCE_FRESH);
        assert_int_equal(window.window.n_tokens, 2);
    }
    bench_close(&b);
}

static void a_proxy_makes_the_hit_that_the_draft_could_not(void **state)
{
    (void)state;
    bench b = {0};
    hsd_error err = {0};
    bench_open_with(&b, 3, HSD_MODE_MIRROR, 0.0, 1);
    b.script.kind = SCRIPTED_WRONG;
    hsdi_draft_window window = answer_of(&b);
    hsdi_candidate proxies[6] = {0};
    for (int row = 0; row < 6; row++) {
        proxies[row] = (hsdi_candidate){scripted_truth(&b.script, b.text, b.n_text), -0.1f};
    }
    assert_int_equal(hsdi_draft_step(b.draft, 0, &window.window, &ALL, &err), HSD_OK);
    assert_int_equal(hsdi_draft_proxies(b.draft, 0, 6, 1, proxies, &err), HSD_OK);
    work_until_idle(&b);
    b.text[b.n_text++] = proxies[0].token;
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, proxies[0].token, b.n_text, 5, &err), HSD_OK);
    window = answer_of(&b);
    assert_int_equal(window.source, HSDI_SOURCE_PROXY);
    assert_int_equal(window.window.n_tokens, 5);
    bench_close(&b);
}

/// So its branches do not depend on whether the proxies come before the glue pass or after it.
static void an_audited_draft_chooses_no_roots_before_the_proxies(void **state)
{
    (void)state;
    for (int audited = 0; audited < 2; audited++) {
        bench b = {0};
        hsd_error err = {0};
        bench_open_with(&b, 3, HSD_MODE_MIRROR, 0.5, 1);
        hsdi_draft_destroy(&b.draft);
        b.config.is_audited = audited == 1;
        assert_int_equal(hsdi_draft_create(&b.stage, &b.config, 1, &b.draft, &err), HSD_OK);
        assert_int_equal(hsdi_draft_open(b.draft, 0, b.text, b.n_text, &err), HSD_OK);
        hsdi_draft_window window = answer_of(&b);
        assert_int_equal(hsdi_draft_step(b.draft, 0, &window.window, &ALL, &err), HSD_OK);
        long n_before = atomic_load(&scripted_n_evals);
        work_until_idle(&b);
        long n_evals = atomic_load(&scripted_n_evals) - n_before;
        assert_true(audited ? n_evals <= 1 : n_evals > 1); // 1: the glue pass
        hsdi_candidate proxies[6];
        for (int row = 0; row < 6; row++) {
            proxies[row] = (hsdi_candidate){(window.window.tokens[0] + 1 + row) % 50, -0.1f};
        }
        assert_int_equal(hsdi_draft_proxies(b.draft, 0, 6, 1, proxies, &err), HSD_OK);
        n_before = atomic_load(&scripted_n_evals);
        work_until_idle(&b);
        assert_true(atomic_load(&scripted_n_evals) > n_before);
        bench_close(&b);
    }
}

static void serial_mode_computes_only_after_a_commit(void **state)
{
    (void)state;
    bench b = {0};
    bench_open(&b, 4, HSD_MODE_SERIAL, 0.5);
    hsdi_draft_window window = answer_of(&b);
    for (int i = 0; i < 10; i++) {
        long n_evals = atomic_load(&scripted_n_evals);
        play_step(&b, &window);
        assert_int_equal(atomic_load(&scripted_n_evals), n_evals);
        window = answer_of(&b);
        assert_int_equal(window.window.n_tokens, 5);
        assert_int_equal(window.source, HSDI_SOURCE_FRESH);
    }
    bench_close(&b);
}

/// Opened in the middle of a text, while the target goes on without waiting: COMMIT and the next
/// STEP come together, and there is no time between them to answer in.
static void a_serial_draft_catches_up_with_a_target_that_does_not_wait(void **state)
{
    (void)state;
    bench b;
    hsd_error err = {0};
    const hsdi_draft_window nothing = {0};
    bench_open(&b, 22, HSD_MODE_SERIAL, 1.0);
    hsdi_draft_window step = nothing;
    assert_int_equal(hsdi_draft_step(b.draft, 0, &step.window, &ALL, &err), HSD_OK);
    hsdi_draft_window late = answer_of(&b);
    assert_int_equal(late.step, 0);
    assert_int_equal(late.n_committed, b.n_text);
    assert_int_equal(late.window.n_tokens, 5);
    int32_t next = scripted_truth(&b.script, b.text, b.n_text);
    assert_int_equal(late.window.tokens[0], next); // it agrees always
    b.text[b.n_text++] = next;
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, next, b.n_text, 5, &err), HSD_OK);
    step.step = 1;
    assert_int_equal(hsdi_draft_step(b.draft, 1, &step.window, &ALL, &err), HSD_OK);
    late = answer_of(&b);
    assert_int_equal(late.step, 1);
    assert_int_equal(late.window.tokens[0], scripted_truth(&b.script, b.text, b.n_text));
    bench_close(&b);
}

static void a_backlog_is_answered_once(void **state)
{
    (void)state;
    bench b = {0};
    hsd_error err = {0};
    hsdi_draft_window window;
    const hsdi_window empty = {0};
    bench_open(&b, 5, HSD_MODE_MIRROR, 0.5);
    for (uint32_t step = 0; step < 60; step++) { // the target goes alone
        int32_t truth = scripted_truth(&b.script, b.text, b.n_text);
        b.text[b.n_text++] = truth;
        assert_int_equal(hsdi_draft_step(b.draft, step, &empty, &ALL, &err), HSD_OK);
        assert_int_equal(hsdi_draft_commit(b.draft, step, 0, truth, b.n_text, 5, &err), HSD_OK);
        assert_false(hsdi_draft_take_window(b.draft, &window));
    }
    window = answer_of(&b);
    assert_int_equal(window.step, 60);
    assert_int_equal(window.n_committed, b.n_text);
    bench_close(&b);
}

static void a_window_that_is_not_its_own_is_followed(void **state)
{
    (void)state;
    bench b = {0};
    bench_open(&b, 6, HSD_MODE_MIRROR, 0.7);
    int n_accepted = 0, n_hits = 0;
    hsdi_draft_window window = answer_of(&b);
    for (int i = 0; i < 12; i++) {
        hsdi_window_prune(&window.window, i % 6, i % 6);
        if (i % 3 == 0 && window.window.n_tokens > 1) {
            window.window.tokens[1] = (window.window.tokens[1] + 1) % b.script.n_vocab;
        }
        if (i % 2 == 0) {
            work_until_idle(&b); // branches of its own window are there already
        }
        n_accepted += play_step(&b, &window);
        window = answer_of(&b);
        n_hits += window.source != HSDI_SOURCE_FRESH;
    }
    assert_true(n_accepted > 0 && n_hits > 0);
    bench_close(&b);
}

static void text_that_is_there_already_is_not_computed_again(void **state)
{
    (void)state;
    bench b = {0};
    hsd_error err = {0};
    bench_open(&b, 7, HSD_MODE_SERIAL, 1.0);
    rig_prompt(&b.script, 7, b.text, 200);
    assert_int_equal(hsdi_draft_open(b.draft, 0, b.text, 200, &err), HSD_OK);
    (void)answer_of(&b);
    long before = atomic_load(&scripted_n_evals);
    b.text[199] = (b.text[199] + 1) % b.script.n_vocab;
    assert_int_equal(hsdi_draft_open(b.draft, 9, b.text, 200, &err), HSD_OK);
    hsdi_draft_window window = answer_of(&b);
    assert_int_equal(window.step, 9);
    assert_int_equal(atomic_load(&scripted_n_evals) - before, 5); // the last token, and 4 drafted
    bench_close(&b);
}

static void messages_out_of_step_are_refused(void **state)
{
    (void)state;
    bench b = {0};
    hsd_error err = {0};
    const hsdi_candidate proxies[12] = {{0}};
    const int32_t beyond[] = {500}, twice[] = {7, 7};
    bench_open(&b, 8, HSD_MODE_MIRROR, 0.5);
    hsdi_draft_window answer = answer_of(&b);
    const hsdi_window *window = &answer.window;
    hsdi_window long_one = *window, wrong = chain_of(beyond, 1), same = chain_of(twice, 2);
    (void)hsdi_window_add(&long_one, 5, 1);
    same.parents[1] = 0;
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, 1, 13, 5, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_proxies(b.draft, 0, 6, 1, proxies, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_step(b.draft, 1, window, &ALL, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_step(b.draft, 0, &long_one, &ALL, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_step(b.draft, 0, &wrong, &ALL, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_step(b.draft, 0, &same, &ALL, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_step(b.draft, 0, window, &ALL, &err), HSD_OK);
    assert_int_equal(hsdi_draft_step(b.draft, 0, window, &ALL, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_proxies(b.draft, 0, 5, 1, proxies, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_proxies(b.draft, 1, 6, 1, proxies, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 6, 1, 19, 5, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, 500, 13, 5, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, 1, 14, 5, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, 1, 13, 6, &err), HSD_EPROTOCOL);
    assert_int_equal(hsdi_draft_commit(b.draft, 0, 0, 1, 13, 5, &err), HSD_OK);
    assert_int_equal(hsdi_draft_open(b.draft, 0, beyond, 1, &err), HSD_EINVAL);
    assert_int_equal(hsdi_draft_open(b.draft, 0, b.text, 0, &err), HSD_EINVAL);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_is_answered_without_computing),
        cmocka_unit_test(a_miss_is_answered_with_a_short_window),
        cmocka_unit_test(a_proxy_makes_the_hit_that_the_draft_could_not),
        cmocka_unit_test(an_audited_draft_chooses_no_roots_before_the_proxies),
        cmocka_unit_test(serial_mode_computes_only_after_a_commit),
        cmocka_unit_test(a_serial_draft_catches_up_with_a_target_that_does_not_wait),
        cmocka_unit_test(a_backlog_is_answered_once),
        cmocka_unit_test(a_window_that_is_not_its_own_is_followed),
        cmocka_unit_test(text_that_is_there_already_is_not_computed_again),
        cmocka_unit_test(messages_out_of_step_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
