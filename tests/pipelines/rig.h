/// A rig: one scripted target, workers on threads, and what a generation gave.
#ifndef HSD_TESTS_PIPELINES_RIG_H
#define HSD_TESTS_PIPELINES_RIG_H

#include "scripted.h"

#include <pipelines/target.h>
#include <pipelines/worker.h>
#include <pthread.h>

enum { RIG_TOKENS_MAX = 4096 };

/// A worker on a thread of its own.
typedef struct rig_worker {
    char endpoint[96];
    hsdi_worker *worker;
    pthread_t thread;
    const void *user; ///< the test's own
} rig_worker;

/// What a generation gave.
typedef struct rig_output {
    hsd_status status;
    int n_tokens;
    int32_t tokens[RIG_TOKENS_MAX];
    hsdi_target_stats stats;
} rig_output;

/// A job's callbacks: collects tokens, ends at `end_token` (-1: none), stops after `n_stop` (0:
/// no).
typedef struct rig_job {
    rig_output *out;
    int32_t end_token;
    int n_stop;
    void (*on_token)(void *user, int n_tokens); ///< may be NULL
    void *user;
} rig_job;

/// A fresh inproc endpoint.
void rig_endpoint(char *out, size_t cap, const char *transport);

/// Bind at worker->endpoint (made when empty) and run.
void rig_worker_start(rig_worker *worker, hsdi_context *context, const scripted_script *script);
void rig_worker_start_with(rig_worker *worker, hsdi_context *context, const scripted_script *script,
                           const hsdi_worker_config *config);
void rig_worker_stop(rig_worker *worker);

/// Tokens of a prompt that depends on `seed`.
void rig_prompt(const scripted_script *script, uint64_t seed, int32_t *out, int n);

/// The text that every mode must give, from the definition alone.
void rig_expect(const scripted_script *script, const int32_t *prompt, int n_prompt, int n_tokens,
                int32_t end_token, rig_output *out);

/// One generation.
void rig_generate(hsdi_target *target, const int32_t *prompt, int n_prompt, int n_tokens,
                  const rig_job *job, rig_output *out);

/// Fails the test with both texts' first difference.
void rig_assert_equal(const rig_output *got, const rig_output *expected, const char *what);

#endif
