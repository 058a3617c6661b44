/// Proves: requests of several threads for one graph share submissions; a thread alone gets one
///           submission per request; a job that is refused, or a device that fails, costs only the
///           requests that it belongs to; a long prefill goes in pieces beside others and leaves
///           the same cells; logits of threads that come and go equal those of each alone.
/// Does not prove: whole generations, see test_sessions.c; speed, see tests/bench.
#include "base/rng.h"
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_THREADS = 8, N_REQUESTS = 40, N_CTX = 128 };

static const char model_path[] = "tests/reference/fixtures/llama-gqa.gguf";

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

/// A model on a device that counts, delays and fails instead of computing.
typedef struct counted {
    hsdi_device *device;
    hsdi_model *model;
    hsdi_weights *weights;
    hsdi_runner runner;
} counted;

static void counted_open(counted *c, const hsdi_null_options *options)
{
    hsd_error err = {0};
    must(hsdi_device_open_null(options, &c->device, &err), &err);
    must(hsdi_model_load(model_path, &c->model, &err), &err);
    must(hsdi_weights_create(c->model, 0, c->model->n_layers, NULL, c->device, &c->weights, &err),
         &err);
    hsdi_runner_init(&c->runner, c->weights, c->device, hsdi_kernels_get(HSDI_ISA_REF), N_CTX);
}

static void counted_close(counted *c)
{
    hsdi_runner_fini(&c->runner);
    hsdi_weights_destroy(&c->weights);
    hsdi_model_free(&c->model);
    hsdi_device_close(&c->device);
}

/// A thread with a stage and a text: a chain of tokens whose position p lies in cell p.
typedef struct client {
    hsdi_runner *runner;
    int index, exit_layer;
    bool is_bad; ///< every pass of it holds a token that does not exist
    pthread_t thread;
    hsdi_target_stage stage;
    int n_ok, n_refused, n_failed;
    int32_t tokens[N_CTX], cells[N_CTX], path[HSDI_STAGE_ROWS * HSDI_STAGE_ROWS];
    int32_t n_path[HSDI_STAGE_ROWS];
    uint64_t digest; ///< of all logits seen
} client;

static void client_open(client *c, hsdi_runner *runner, int index, int exit_layer)
{
    hsd_error err = {0};
    memset(c, 0, sizeof *c);
    c->runner = runner;
    c->index = index;
    c->exit_layer = exit_layer;
    const hsdi_target_stage_options options = {.exit_layer = exit_layer,
                                               .n_cells = N_CTX,
                                               .is_steady = index % 2 == 0,
                                               .with_logits = true,
                                               .sampling = {.top_p = 1.0f}};
    must(hsdi_target_stage_open(runner, &options, &c->stage, &err), &err);
    for (int i = 0; i < N_CTX; i++) {
        c->cells[i] = i;
        c->tokens[i] = (int32_t)(hsdi_uniform_at(7, i, (uint32_t)index) * c->stage.limits.n_vocab);
    }
}

static hsdi_rows rows_of(client *c, int begin, int n)
{
    for (int r = 0; r < n; r++) {
        c->n_path[r] = r + 1;
        memcpy(c->path + r * n, c->cells + begin, (size_t)(r + 1) * sizeof *c->path);
    }
    return (hsdi_rows){.n_rows = n,
                       .tokens = c->tokens + begin,
                       .pos = c->cells + begin,
                       .cell = c->cells + begin,
                       .trunk = c->cells,
                       .n_trunk = begin,
                       .path = c->path,
                       .n_path = c->n_path,
                       .path_stride = n};
}

static void digest(client *c, const void *data, size_t n_bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n_bytes; i++) {
        c->digest = (c->digest ^ p[i]) * 1099511628211u;
    }
}

/// A pass over n rows; what went wrong is counted by its kind.
static void pass(client *c, int begin, int n)
{
    hsd_error err = {0};
    int32_t own[HSDI_STAGE_ROWS];
    hsdi_candidate top[HSDI_STAGE_ROWS];
    hsdi_rows rows = rows_of(c, begin, n);
    hsd_status status = c->stage.prefix(c->stage.self, &rows, &err);
    if (status == HSD_OK && c->stage.has_exit) {
        status = c->stage.proxies(c->stage.self, 1, top, &err);
        for (int r = 0; r < n && status == HSD_OK; r++) {
            digest(c, &top[r].token, sizeof top[r].token);
        }
    }
    if (status == HSD_OK) {
        status = c->stage.suffix(c->stage.self, own, &err);
    }
    if (status == HSD_OK) {
        digest(c, hsdi_target_stage_logits(&c->stage),
               (size_t)n * (size_t)c->stage.limits.n_vocab * sizeof(float));
    }
    c->n_ok += status == HSD_OK;
    c->n_refused += status == HSD_EINVAL && strcmp(err.where, "tokens") == 0;
    c->n_failed += status == HSD_EDEVICE && strcmp(err.where, "null") == 0;
}

/// A prefill of random length, then passes of random length, drawn from the client's number.
static void *client_main(void *arg)
{
    client *c = arg;
    hsd_error err = {0};
    int at = (int)(hsdi_uniform_at(8, 0, (uint32_t)c->index) * (HSDI_STAGE_ROWS + 1));
    if (at > 0) {
        hsdi_rows rows = rows_of(c, 0, at);
        hsd_status status = c->stage.prefill(c->stage.self, &rows, &err);
        c->n_failed += status == HSD_EDEVICE;
    }
    if (c->is_bad) {
        c->tokens[at] = c->stage.limits.n_vocab;
    }
    for (int i = 0; i < N_REQUESTS; i++) {
        pass(c, at, 1 + (int)(hsdi_uniform_at(9, i, (uint32_t)c->index) * 8));
    }
    return NULL;
}

static void start(client *c)
{
    assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
}

static void run_all(client *clients, int n)
{
    for (int i = 0; i < n; i++) {
        start(&clients[i]);
    }
    for (int i = 0; i < n; i++) {
        pthread_join(clients[i].thread, NULL);
    }
}

static void close_all(client *clients, int n)
{
    for (int i = 0; i < n; i++) {
        hsdi_target_stage_close(&clients[i].stage);
    }
}

static void threads_share_submissions_and_one_alone_does_not_wait(void **state)
{
    (void)state;
    static client clients[N_THREADS];
    counted c;
    const hsdi_null_options options = {.delay_ns = 500000};
    counted_open(&c, &options);
    client_open(&clients[0], &c.runner, 2, 0);
    int64_t before = hsdi_device_n_submitted(c.device);
    run_all(clients, 1);
    int64_t alone = hsdi_device_n_submitted(c.device) - before;
    assert_int_equal(alone, N_REQUESTS + 1); // and the prefill
    assert_int_equal(clients[0].n_ok, N_REQUESTS);
    close_all(clients, 1);
    for (int i = 0; i < N_THREADS; i++) {
        client_open(&clients[i], &c.runner, 2, 0);
    }
    before = hsdi_device_n_submitted(c.device);
    run_all(clients, N_THREADS);
    int64_t shared = hsdi_device_n_submitted(c.device) - before;
    print_message("%d threads: %lld submissions, one: %lld\n", (int)N_THREADS, (long long)shared,
                  (long long)alone);
    assert_true(shared < alone * N_THREADS);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(clients[i].n_ok, N_REQUESTS);
    }
    close_all(clients, N_THREADS);
    counted_close(&c);
}

static void a_device_that_fails_tells_those_whose_rows_it_had(void **state)
{
    (void)state;
    static client clients[N_THREADS];
    counted c;
    const hsdi_null_options options = {.delay_ns = 200000, .fail_at = 20};
    counted_open(&c, &options);
    for (int i = 0; i < N_THREADS; i++) {
        client_open(&clients[i], &c.runner, i, 0);
    }
    run_all(clients, N_THREADS);
    int n_failed = 0;
    for (int i = 0; i < N_THREADS; i++) {
        assert_in_range(clients[i].n_failed, 0, 1);
        assert_in_range(clients[i].n_ok, N_REQUESTS - 1, N_REQUESTS);
        n_failed += clients[i].n_failed;
    }
    assert_in_range(n_failed, 1, N_THREADS);
    close_all(clients, N_THREADS);
    counted_close(&c);
}

/// What each client sees alone and what it sees beside the others; some are bad, if asked.
static void compare_clients(int n_threads, bool with_bad)
{
    static client alone[N_THREADS], together[N_THREADS];
    fixture f;
    fixture_open(&f, model_path, hsdi_isa_detect(), n_threads, 0);
    for (int i = 0; i < N_THREADS; i++) {
        int exit_layer = i % 3 == 0 ? 0 : 1;
        client_open(&alone[i], &f.runner, i, exit_layer);
        client_open(&together[i], &f.runner, i, exit_layer);
        alone[i].is_bad = together[i].is_bad = with_bad && i % 2 == 1;
        run_all(&alone[i], 1);
    }
    run_all(together, N_THREADS);
    for (int i = 0; i < N_THREADS; i++) {
        bool is_bad = together[i].is_bad;
        assert_int_equal(together[i].n_ok, is_bad ? 0 : N_REQUESTS);
        assert_int_equal(together[i].n_refused, is_bad ? N_REQUESTS : 0);
        if (together[i].digest != alone[i].digest) {
            fail_msg("%d threads, client %d (%s): its logits differ from those it sees alone",
                     n_threads, i, i % 3 == 0 ? "one graph" : "cut at layer 1");
        }
    }
    close_all(alone, N_THREADS);
    close_all(together, N_THREADS);
    fixture_close(&f);
}

static void every_thread_sees_the_logits_that_it_sees_alone(void **state)
{
    (void)state;
    compare_clients(1, false);
    compare_clients(3, false);
}

static void a_refused_job_disturbs_nobody_else(void **state)
{
    (void)state;
    compare_clients(2, true);
}

/// Passes of one row until told to stop.
static _Atomic bool stop;

static void *decode_main(void *arg)
{
    client *c = arg;
    while (!atomic_load(&stop)) {
        pass(c, 0, 1);
    }
    return NULL;
}

static void a_prefill_beside_others_goes_in_pieces(void **state)
{
    (void)state;
    static client decoder, filler;
    counted c;
    hsd_error err = {0};
    // Long passes: a decoder that the scheduler holds up for a while still counts as in use.
    const hsdi_null_options options = {.delay_ns = 100000000};
    counted_open(&c, &options);
    client_open(&decoder, &c.runner, 0, 0);
    client_open(&filler, &c.runner, 1, 0);
    hsdi_rows rows = rows_of(&filler, 0, HSDI_STAGE_ROWS);
    int64_t before = hsdi_device_n_submitted(c.device);
    must(filler.stage.prefill(filler.stage.self, &rows, &err), &err);
    assert_int_equal(hsdi_device_n_submitted(c.device) - before, 1);
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&decoder.thread, NULL, decode_main, &decoder), 0);
    while (hsdi_device_n_submitted(c.device) < before + 3) { // until it decodes
        sched_yield();
    }
    before = hsdi_device_n_submitted(c.device);
    must(filler.stage.prefill(filler.stage.self, &rows, &err), &err);
    int64_t n = hsdi_device_n_submitted(c.device) - before;
    atomic_store(&stop, true);
    pthread_join(decoder.thread, NULL);
    print_message("a prefill of %d rows ended %lld submissions later\n", (int)HSDI_STAGE_ROWS,
                  (long long)n);
    assert_true(n >= 4); // 64 rows in pieces of 16
    hsdi_target_stage_close(&decoder.stage);
    hsdi_target_stage_close(&filler.stage);
    counted_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_submissions_and_one_alone_does_not_wait),
        cmocka_unit_test(a_device_that_fails_tells_those_whose_rows_it_had),
        cmocka_unit_test(every_thread_sees_the_logits_that_it_sees_alone),
        cmocka_unit_test(a_refused_job_disturbs_nobody_else),
        cmocka_unit_test(a_prefill_beside_others_goes_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
