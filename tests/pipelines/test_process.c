/// Proves: with the draft in another process (ipc) the text is that of mode ar; also when that
/// process is killed (SIGKILL) or stopped (SIGSTOP) in the middle, and when another one takes its
/// place, which is then used.
/// Does not prove: anything about other hosts.
#include "rig.h"

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

enum { N_PROMPT = 10, N_TOKENS = 200 };

static hsdi_context *context;

typedef struct process {
    char endpoint[96];
    char seed[24];
    pid_t pid;
    int kill_at;
    int signal;
} process;

static void process_start(process *p)
{
    if (!p->endpoint[0]) {
        rig_endpoint(p->endpoint, sizeof p->endpoint, "ipc");
    }
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        execl(SERVE_SCRIPTED, SERVE_SCRIPTED, p->endpoint, p->seed, (char *)NULL);
        _exit(127);
    }
}

static void process_end(process *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
}

static void send_signal(void *user, int n_tokens)
{
    process *p = user;
    if (n_tokens == p->kill_at) {
        kill(p->pid, p->signal);
    }
}

typedef struct pair {
    process process;
    scripted_script script;
    hsdi_target_stage stage;
    hsdi_target *target;
    int32_t prompt[N_PROMPT];
    rig_output expected, out;
} pair;

static void pair_open(pair *p, uint64_t seed)
{
    hsdi_target_config config;
    hsd_error err = {0};
    *p = (pair){.script = scripted_default(seed)};
    snprintf(p->process.seed, sizeof p->process.seed, "%d", (int)seed);
    process_start(&p->process);
    const char *endpoint = p->process.endpoint;
    p->script.pass_us = 2000;
    hsdi_target_config_init(&config);
    config.vocab_hash = 0x1234;
    config.handshake_ms = 10000;
    config.deadline_ms = 100;
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
    rig_job job = {.end_token = -1, .on_token = send_signal, .user = &p->process};
    rig_generate(p->target, p->prompt, N_PROMPT, N_TOKENS, &job, &p->out);
    rig_assert_equal(&p->out, &p->expected, "two processes");
}

static void pair_close(pair *p)
{
    hsdi_target_destroy(&p->target);
    scripted_target_close(&p->stage);
    process_end(&p->process);
    unlink(p->process.endpoint + strlen("ipc://"));
}

static void a_draft_in_another_process_hits(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 1);
    pair_run(&p);
    assert_true(p.out.stats.hits > 0);
    assert_int_equal(p.out.stats.workers_lost, 0);
    pair_close(&p);
}

/// Generations until the worker is used again; false when that does not happen.
static bool comes_back(pair *p)
{
    p->process.kill_at = 0;
    for (int i = 0; i < 100; i++) {
        pair_run(p);
        if (p->out.stats.hits > 0) {
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
    pair_open(&p, 2);
    p.process.kill_at = 50;
    p.process.signal = SIGKILL;
    pair_run(&p);
    assert_true(p.out.stats.workers_lost >= 1);
    waitpid(p.process.pid, NULL, 0);
    process_start(&p.process);
    assert_true(comes_back(&p));
    pair_close(&p);
}

static void a_stopped_worker_costs_no_token_and_is_used_when_it_goes_on(void **state)
{
    (void)state;
    pair p;
    pair_open(&p, 3);
    p.process.kill_at = 50;
    p.process.signal = SIGSTOP;
    pair_run(&p);
    assert_true(p.out.stats.late >= 2);
    assert_int_equal(p.out.stats.workers_lost, 1);
    kill(p.process.pid, SIGCONT);
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
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
