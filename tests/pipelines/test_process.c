/// Proves: with the draft in another process (ipc) the text is that of mode ar; also when that
/// process is killed (SIGKILL) or stopped (SIGSTOP) in the middle, and when another one takes its
/// place, which is then used, or refused while its vocabulary is another one.
/// Does not prove: anything about other hosts.
#include "process.h"
#include "rig.h"

#include <pipelines/target_state.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/// After LATE_MS a process counts as late; where none is stopped, none is.
enum { N_PROMPT = 10, N_TOKENS = 200, LATE_MS = 100, SOON_MS = 60000, TRIES = 100 };

static hsdi_context *context;

typedef struct pair {
    process process;
    scripted_script script;
    hsdi_target_stage stage;
    hsdi_target *target;
    int32_t prompt[N_PROMPT];
    rig_output expected, out;
    int kill_at, signal;
} pair;

static void send_signal(void *user, int n_tokens)
{
    const pair *p = user;
    if (n_tokens == p->kill_at) {
        kill(p->process.pid, p->signal);
    }
}

static void pair_open(pair *p, uint64_t seed, hsd_mode mode, int deadline_ms)
{
    hsdi_target_config config;
    hsd_error err = {0};
    *p = (pair){.script = scripted_default(seed)};
    p->process.seed = seed;
    assert_true(process_start(&p->process));
    const char *endpoint = p->process.endpoint;
    p->script.pass_us = 2000;
    hsdi_target_config_init(&config);
    config.mode = mode;
    config.vocab_hash = 0x1234;
    config.handshake_ms = SOON_MS;
    config.deadline_ms = deadline_ms;
    config.n_late_lost = 2;
    config.retry_ms = 20;
    config.endpoints = &endpoint;
    config.n_endpoints = 1;
    p->stage = scripted_target_open(&p->script);
    if (hsdi_target_create(context, &config, &p->stage, &p->target, &err) != HSD_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(hsdi_target_n_workers(p->target), 1);
    rig_prompt(&p->script, seed, p->prompt, N_PROMPT);
    rig_expect(&p->script, p->prompt, N_PROMPT, N_TOKENS, -1, &p->expected);
}

static void pair_run(pair *p)
{
    rig_job job = {.end_token = -1, .on_token = send_signal, .user = p};
    rig_generate(p->target, p->prompt, N_PROMPT, N_TOKENS, &job, &p->out);
    rig_assert_equal(&p->out, &p->expected, "two processes");
}

static void pair_close(pair *p)
{
    hsdi_target_destroy(&p->target);
    scripted_target_close(&p->stage);
    assert_true(process_end(&p->process));
}

static void a_draft_in_another_process_hits(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 1, HSD_MODE_MIRROR, SOON_MS);
    int n_tries = 0;
    do { // a busy machine may leave no time for branches
        pair_run(&p);
        assert_int_equal(p.out.stats.workers_lost, 0);
    } while (p.out.stats.hits == 0 && ++n_tries < TRIES);
    assert_true(p.out.stats.hits > 0);
    pair_close(&p);
}

/// Generations until the worker is used again; false when that does not happen.
static bool comes_back(pair *p)
{
    p->kill_at = 0;
    for (int i = 0; i < TRIES; i++) {
        pair_run(p);
        if (p->out.stats.accepted > 0) {
            return true;
        }
        usleep(20000);
    }
    return false;
}

static void a_killed_worker_costs_no_token_and_its_successor_is_used(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 2, HSD_MODE_MIRROR, LATE_MS);
    p.kill_at = 50;
    p.signal = SIGKILL;
    pair_run(&p);
    assert_true(p.out.stats.workers_lost >= 1);
    waitpid(p.process.pid, NULL, 0);
    assert_true(process_start(&p.process));
    assert_true(comes_back(&p));
    pair_close(&p);
}

static void a_stopped_worker_costs_no_token_and_is_used_when_it_goes_on(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 3, HSD_MODE_MIRROR, LATE_MS);
    p.kill_at = 50;
    p.signal = SIGSTOP;
    pair_run(&p);
    assert_true(p.out.stats.late >= 2);
    assert_true(p.out.stats.workers_lost >= 1);
    kill(p.process.pid, SIGCONT);
    assert_true(comes_back(&p));
    pair_close(&p);
}

/// Nobody waits for its windows, so that only its silence tells.
static void a_stopped_worker_is_reported_in_mode_async_too(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 4, HSD_MODE_ASYNC, LATE_MS);
    p.kill_at = 50;
    p.signal = SIGSTOP;
    pair_run(&p);
    int64_t n_lost = p.out.stats.workers_lost;
    p.kill_at = 0;
    for (int i = 0; i < TRIES && n_lost == 0; i++) {
        pair_run(&p);
        n_lost = p.out.stats.workers_lost;
    }
    assert_true(n_lost >= 1);
    kill(p.process.pid, SIGCONT);
    assert_true(comes_back(&p));
    pair_close(&p);
}

static void another_vocabulary_is_refused_until_the_right_worker_is_back(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 5, HSD_MODE_MIRROR, LATE_MS);
    process_kill(&p.process);
    p.process.odd_token = 77;
    assert_true(process_start(&p.process));
    for (int i = 0; i < TRIES && p.target->helpers[0].state != HSDI_PEER_REFUSED; i++) {
        pair_run(&p);
        usleep(20000);
    }
    assert_int_equal(p.target->helpers[0].state, HSDI_PEER_REFUSED);
    assert_int_equal(p.out.stats.accepted, 0);
    process_kill(&p.process);
    p.process.odd_token = 0;
    assert_true(process_start(&p.process));
    assert_true(comes_back(&p));
    pair_close(&p);
}

static int setup(void **state)
{
    (void)state;
    hsd_error err;
    return hsdi_context_create(&context, &err) == HSD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    hsdi_context_destroy(&context);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_draft_in_another_process_hits),
        cmocka_unit_test(a_killed_worker_costs_no_token_and_its_successor_is_used),
        cmocka_unit_test(a_stopped_worker_costs_no_token_and_is_used_when_it_goes_on),
        cmocka_unit_test(a_stopped_worker_is_reported_in_mode_async_too),
        cmocka_unit_test(another_vocabulary_is_refused_until_the_right_worker_is_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
