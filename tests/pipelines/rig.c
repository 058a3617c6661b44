/// See rig.h.
#include "rig.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void rig_endpoint(char *out, size_t cap, const char *transport)
{
    static atomic_int n;
    const char *place = strcmp(transport, "ipc") == 0 ? "ipc:///tmp" : "inproc:/";
    snprintf(out, cap, "%s/hsd-test-%d-%d", place, (int)getpid(), atomic_fetch_add(&n, 1));
}

static void *run(void *worker)
{
    hsd_error err;
    hsd_status status = hsdi_worker_run(worker, &err);
    return status == HSD_OK ? NULL : worker;
}

void rig_worker_start_with(rig_worker *worker, hsdi_context *context, const scripted_script *script,
                           const hsdi_worker_config *config)
{
    hsd_error err = {0};
    hsdi_draft_factory factory = scripted_factory(script);
    if (!worker->endpoint[0]) {
        rig_endpoint(worker->endpoint, sizeof worker->endpoint, "inproc");
    }
    int64_t give_up_ns = hsdi_now_ns() + 60000000000;
    hsd_status status;
    // A name of inproc:// is free once ZeroMQ's own thread has closed the socket that had it.
    while ((status = hsdi_worker_create(context, worker->endpoint, &factory, config,
                                        &worker->worker, &err)) == HSD_ETRANSPORT &&
           err.vendor_code == EADDRINUSE && hsdi_now_ns() < give_up_ns) {
        usleep(1000);
    }
    if (status != HSD_OK) {
        fail_msg("worker at %s: %s", worker->endpoint, err.message);
    }
    assert_int_equal(pthread_create(&worker->thread, NULL, run, worker->worker), 0);
}

void rig_worker_start(rig_worker *worker, hsdi_context *context, const scripted_script *script)
{
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    rig_worker_start_with(worker, context, script, &config);
}

void rig_worker_stop(rig_worker *worker)
{
    void *result = NULL;
    hsdi_worker_stop(worker->worker);
    pthread_join(worker->thread, &result);
    assert_null(result);
    hsdi_worker_destroy(&worker->worker);
}

void rig_prompt(const scripted_script *script, uint64_t seed, int32_t *out, int n)
{
    uint64_t state = seed * 2654435761u + 17;
    for (int i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        out[i] = (int32_t)((state >> 33) % (uint64_t)script->n_vocab);
    }
}

void rig_expect(const scripted_script *script, const int32_t *prompt, int n_prompt, int n_tokens,
                int32_t end_token, rig_output *out)
{
    int32_t text[RIG_TOKENS_MAX];
    int n_most = script->n_ctx - n_prompt;
    n_most = n_tokens > 0 && n_tokens < n_most ? n_tokens : n_most;
    memcpy(text, prompt, (size_t)n_prompt * sizeof *text);
    *out = (rig_output){.status = HSD_OK};
    while (out->n_tokens < n_most) {
        int32_t token = scripted_truth(script, text, n_prompt + out->n_tokens);
        text[n_prompt + out->n_tokens] = token;
        out->tokens[out->n_tokens++] = token;
        if (token == end_token) {
            return;
        }
    }
}

static bool emit(void *user, int32_t token)
{
    const rig_job *job = user;
    assert_true(job->out->n_tokens < RIG_TOKENS_MAX);
    job->out->tokens[job->out->n_tokens++] = token;
    if (job->on_token) {
        job->on_token(job->user, job->out->n_tokens);
    }
    return job->n_stop == 0 || job->out->n_tokens < job->n_stop;
}

static bool is_end(void *user, int32_t token)
{
    return token == ((const rig_job *)user)->end_token;
}

void rig_generate(hsdi_target *target, const int32_t *prompt, int n_prompt, int n_tokens,
                  const rig_job *job, rig_output *out)
{
    hsd_error err = {0};
    rig_job own = job ? *job : (rig_job){.end_token = -1};
    own.out = out;
    *out = (rig_output){0};
    hsdi_target_job target_job = {
        .prompt = prompt,
        .n_prompt = n_prompt,
        .n_tokens = n_tokens,
        .emit = emit,
        .is_end = is_end,
        .user = &own,
    };
    out->status = hsdi_target_generate(target, &target_job, &err);
    hsdi_target_get_stats(target, &out->stats);
}

void rig_assert_equal(const rig_output *got, const rig_output *expected, const char *what)
{
    int n = got->n_tokens < expected->n_tokens ? got->n_tokens : expected->n_tokens;
    if (got->status != HSD_OK) {
        fail_msg("%s: status %d", what, (int)got->status);
    }
    for (int i = 0; i < n; i++) {
        if (got->tokens[i] != expected->tokens[i]) {
            fail_msg("%s: token %d is %d, not %d", what, i, (int)got->tokens[i],
                     (int)expected->tokens[i]);
        }
    }
    if (got->n_tokens != expected->n_tokens) {
        fail_msg("%s: %d tokens, not %d", what, got->n_tokens, expected->n_tokens);
    }
}
