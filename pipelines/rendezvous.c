/// Null stages on both sides: every token is known from its position, so that each step is a hit
/// and what remains is the pipelines' own work and the transport.
#include <arpa/inet.h>
#include <base/clock.h>
#include <base/error.h>
#include <netinet/in.h>
#include <pipelines/protocol.h>
#include <pipelines/rendezvous.h>
#include <pipelines/target.h>
#include <pipelines/transport/link.h>
#include <pipelines/worker.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    NULL_VOCAB = 64,
    NULL_CTX = 4096,
    NULL_WINDOW = 7,
    NULL_ROOTS = 8,
    NULL_PROXIES = 8,
    NULL_ROWS = 128,
};

typedef struct null_target {
    int n_rows, n_most, n_times;
    int32_t pos[NULL_ROWS];
    int64_t last_ns; ///< begin of the pass before, 0: none
    int64_t *times;  ///< [n_times], at most n_most
} null_target;

/// As an engine sets it.
static int spin_us(const char *endpoint)
{
    return hsdi_endpoint_spin_us(endpoint, (int)sysconf(_SC_NPROCESSORS_ONLN));
}

/// Both sides get a processor of their own for the measurement, as sessions and workers do: one
/// that looks for messages on the other's would keep it from answering.
typedef struct places {
    cpu_set_t before, worker;
    bool are_two;
} places;

static void take_places(places *p)
{
    size_t first = CPU_SETSIZE, last = CPU_SETSIZE;
    CPU_ZERO(&p->before);
    CPU_ZERO(&p->worker);
    bool is_known = sched_getaffinity(0, sizeof p->before, &p->before) == 0;
    for (size_t cpu = 0; is_known && cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &p->before)) {
            first = first == CPU_SETSIZE ? cpu : first;
            last = cpu;
        }
    }
    p->are_two = first != last;
    if (p->are_two) {
        cpu_set_t mine;
        CPU_ZERO(&mine);
        CPU_SET(first, &mine);
        CPU_SET(last, &p->worker);
        (void)sched_setaffinity(0, sizeof mine, &mine);
    }
}

static void place_worker(const places *p, pthread_t thread)
{
    if (p->are_two) {
        (void)pthread_setaffinity_np(thread, sizeof p->worker, &p->worker);
    }
}

static void leave_places(const places *p)
{
    if (p->are_two) {
        (void)sched_setaffinity(0, sizeof p->before, &p->before);
    }
}

static int32_t token_at(int pos)
{
    return pos % NULL_VOCAB;
}

static hsd_status null_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    (void)rows;
    (void)err;
    ((null_target *)self)->last_ns = 0;
    return HSD_OK;
}

static hsd_status null_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    null_target *target = self;
    (void)err;
    int64_t now_ns = hsdi_now_ns();
    if (target->last_ns && target->n_times < target->n_most) {
        target->times[target->n_times++] = now_ns - target->last_ns;
    }
    target->last_ns = now_ns;
    target->n_rows = rows->n_rows;
    memcpy(target->pos, rows->pos, (size_t)rows->n_rows * sizeof *rows->pos);
    return HSD_OK;
}

static void fill(hsdi_candidate *out, int pos, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = (hsdi_candidate){token_at(pos + 1 + i), -2.0f * (float)i};
    }
}

static hsd_status null_proxies(void *self, int n_top, hsdi_candidate *out, hsd_error *err)
{
    const null_target *target = self;
    (void)err;
    for (int row = 0; row < target->n_rows; row++) {
        fill(out + (size_t)row * (size_t)n_top, target->pos[row], n_top);
    }
    return HSD_OK;
}

static hsd_status null_suffix(void *self, int32_t *own, hsd_error *err)
{
    const null_target *target = self;
    (void)err;
    for (int row = 0; row < target->n_rows; row++) {
        own[row] = token_at(target->pos[row] + 1);
    }
    return HSD_OK;
}

static hsd_status null_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                            hsd_error *err)
{
    (void)self;
    (void)err;
    for (int row = 0; row < rows->n_rows && n_top > 0; row++) {
        fill(out + (size_t)row * (size_t)n_top, rows->pos[row], n_top);
    }
    return HSD_OK;
}

static hsd_status null_open(void *self, const hsdi_draft_config *config, hsdi_draft_stage *out,
                            hsd_error *err)
{
    (void)err;
    *out = (hsdi_draft_stage){
        .self = self,
        .limits = {.n_vocab = NULL_VOCAB,
                   .n_ctx = config->n_ctx,
                   .n_cells = hsdi_draft_cells_needed(config),
                   .n_rows_max = NULL_ROWS,
                   .n_top_max = HSDI_TOP_MAX},
        .eval = null_eval,
    };
    return HSD_OK;
}

static void null_close(void *self, hsdi_draft_stage *stage)
{
    (void)self;
    (void)stage;
}

static bool drop_token(void *user, int32_t token)
{
    (void)user;
    (void)token;
    return true;
}

static void *run_worker(void *worker)
{
    (void)!hsdi_worker_run(worker, NULL);
    return NULL;
}

/// Generations of the null pair until there are n_steps times.
static hsd_status generate_all(hsdi_target *target, null_target *null, hsd_error *err)
{
    int32_t prompt[] = {0, 1};
    hsdi_target_job job = {.prompt = prompt, .n_prompt = 2, .emit = drop_token};
    hsd_status status = HSD_OK;
    while (status == HSD_OK && null->n_times < null->n_most) {
        null->last_ns = 0;
        status = hsdi_target_generate(target, &job, err);
    }
    return status;
}

static hsd_status measure_steps(hsdi_context *context, const char *endpoint, hsd_mode mode,
                                places *at, null_target *null, hsd_error *err)
{
    hsdi_draft_factory factory = {.n_vocab = NULL_VOCAB, .open = null_open, .close = null_close};
    hsdi_worker_config worker_config;
    hsdi_worker *worker = NULL;
    hsdi_target *target = NULL;
    pthread_t thread;
    hsdi_worker_config_init(&worker_config);
    worker_config.spin_us = spin_us(endpoint);
    hsd_status status =
        hsdi_worker_create(context, endpoint, &factory, &worker_config, &worker, err);
    if (status != HSD_OK) {
        return status;
    }
    take_places(at); // ZeroMQ's own thread runs by now, and goes where it likes
    int failure = pthread_create(&thread, NULL, run_worker, worker);
    if (failure) {
        hsdi_worker_destroy(&worker);
        return hsdi_fail_errno(err, HSD_ENOMEM, "worker", failure, "no thread for the worker");
    }
    place_worker(at, thread);
    hsdi_target_stage stage = {
        .self = null,
        .limits = {.n_vocab = NULL_VOCAB,
                   .n_ctx = NULL_CTX,
                   .n_cells = hsdi_target_cells_needed(NULL_CTX, NULL_WINDOW),
                   .n_rows_max = NULL_ROWS,
                   .n_top_max = HSDI_TOP_MAX},
        .has_exit = true,
        .prefill = null_prefill,
        .prefix = null_prefix,
        .proxies = null_proxies,
        .suffix = null_suffix,
    };
    hsdi_target_config config;
    hsdi_target_config_init(&config);
    config.mode = mode;
    config.spin_us = spin_us(endpoint);
    config.endpoints = &endpoint;
    config.n_endpoints = 1;
    config.n_proxies = NULL_PROXIES;
    config.draft.window = config.draft.miss_window = NULL_WINDOW;
    config.draft.roots = NULL_ROOTS;
    status = hsdi_target_create(context, &config, &stage, &target, err);
    if (status == HSD_OK) {
        status = generate_all(target, null, err);
    }
    hsdi_target_destroy(&target);
    hsdi_worker_stop(worker);
    pthread_join(thread, NULL);
    hsdi_worker_destroy(&worker);
    return status;
}

/// The bare peer: answers every third frame with one of a WINDOW's size; an empty frame ends it.
static void *run_echo(void *arg)
{
    hsdi_listener *listener = arg;
    uint8_t answer[HSDI_FRAME_HEADER_BYTES + 12 + 4 * NULL_WINDOW] = {0};
    hsdi_peer from;
    const void *bytes;
    size_t n_bytes;
    for (int n = 0;;) {
        if (hsdi_listener_receive(listener, &from, &bytes, &n_bytes) == HSD_OK) {
            if (n_bytes == 0) {
                return NULL;
            }
            if (++n % 3 == 0) {
                (void)!hsdi_listener_send(listener, &from, answer, sizeof answer);
            }
        } else {
            hsdi_listener_wait(listener, 100000000);
        }
    }
}

static void send_hard(hsdi_link *link, const void *bytes, size_t n_bytes)
{
    while (hsdi_link_send(link, bytes, n_bytes) == HSD_ETIMEOUT) {
        usleep(100);
    }
}

/// One step's frames there, one back.
static int64_t bounce(hsdi_link *link)
{
    static const size_t sizes[] = {
        HSDI_FRAME_HEADER_BYTES + 8 + 4 * NULL_WINDOW,
        HSDI_FRAME_HEADER_BYTES + 8 + 6 * (NULL_WINDOW + 1) * NULL_PROXIES,
        HSDI_FRAME_HEADER_BYTES + 16,
    };
    uint8_t frame[1024] = {0};
    const void *bytes;
    size_t n_bytes;
    int64_t begin_ns = hsdi_now_ns();
    for (int i = 0; i < 3; i++) {
        send_hard(link, frame, sizes[i]);
    }
    while (hsdi_link_receive(link, &bytes, &n_bytes) != HSD_OK) {
        hsdi_links_wait(&link, 1, 100000000);
    }
    return hsdi_now_ns() - begin_ns;
}

static hsd_status measure_bare(hsdi_context *context, const char *endpoint, int n, const places *at,
                               int64_t *times, hsd_error *err)
{
    hsdi_listener *listener = NULL;
    hsdi_link *link = NULL;
    pthread_t thread;
    hsd_status status = hsdi_listener_bind(context, endpoint, &listener, err);
    if (status == HSD_OK) {
        status = hsdi_link_connect(context, endpoint, &link, err);
    }
    if (status == HSD_OK) {
        int failure = pthread_create(&thread, NULL, run_echo, listener);
        if (failure) {
            status = hsdi_fail_errno(err, HSD_ENOMEM, "echo", failure, "no thread");
        } else {
            place_worker(at, thread);
            for (int i = 0; i < n; i++) {
                times[i] = bounce(link);
            }
            send_hard(link, "", 0);
            pthread_join(thread, NULL);
        }
    }
    hsdi_link_close(&link);
    hsdi_listener_close(&listener);
    return status;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_us(const int64_t *sorted, int n, double part)
{
    return (double)sorted[(int)((double)(n - 1) * part)] / 1000.0;
}

/// A port of the loopback address that is free now.
static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&at, n) == 0 &&
               getsockname(fd, (struct sockaddr *)&at, &n) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return has ? ntohs(at.sin_port) : 0;
}

static void name_endpoint(const char *transport, const char *what, const void *unique, char *out,
                          size_t cap)
{
    if (strcmp(transport, "tcp") == 0) {
        snprintf(out, cap, "tcp://127.0.0.1:%d", free_port());
    } else {
        snprintf(out, cap, "%s/hsd-%s-%d-%p",
                 strcmp(transport, "ipc") == 0 ? "ipc:///tmp" : "inproc:/", what, (int)getpid(),
                 unique);
    }
}

static hsd_status measure(const char *transport, hsd_mode mode, int n_steps, int64_t *times,
                          hsd_rendezvous_times *out, hsd_error *err)
{
    char step_endpoint[96], bare_endpoint[96];
    name_endpoint(transport, "step", times, step_endpoint, sizeof step_endpoint);
    hsdi_context *context = NULL;
    hsd_rendezvous_times result = {.n_steps = n_steps};
    hsd_status status = hsdi_context_create(&context, err);
    if (status != HSD_OK) {
        return status;
    }
    null_target null = {.n_most = n_steps, .times = times};
    places at = {.are_two = false};
    status = measure_steps(context, step_endpoint, mode, &at, &null, err);
    if (status == HSD_OK) {
        qsort(times, (size_t)n_steps, sizeof *times, compare_times);
        result.p50_us = percentile_us(times, n_steps, 0.50);
        result.p95_us = percentile_us(times, n_steps, 0.95);
        result.p99_us = percentile_us(times, n_steps, 0.99);
        name_endpoint(transport, "bare", times, bare_endpoint, sizeof bare_endpoint);
        status = measure_bare(context, bare_endpoint, n_steps, &at, times, err);
    }
    if (status == HSD_OK) {
        qsort(times, (size_t)n_steps, sizeof *times, compare_times);
        result.zmq_p50_us = percentile_us(times, n_steps, 0.50);
        *out = result;
    }
    leave_places(&at);
    hsdi_context_destroy(&context);
    return status;
}

hsd_status hsdi_rendezvous_measure(const char *transport, hsd_mode mode, int n_steps,
                                   hsd_rendezvous_times *out, hsd_error *err)
{
    if (!transport || (strcmp(transport, "inproc") != 0 && strcmp(transport, "ipc") != 0 &&
                       strcmp(transport, "tcp") != 0)) {
        return hsdi_fail(err, HSD_EINVAL, "transport", "the transport must be inproc, ipc or tcp");
    }
    if (mode != HSD_MODE_MIRROR && mode != HSD_MODE_SERIAL) {
        return hsdi_fail(err, HSD_EINVAL, "mode", "the mode must be mirror or serial");
    }
    if (n_steps < 1 || n_steps > 1000000) {
        return hsdi_fail(err, HSD_EINVAL, "n_steps", "n_steps must be in 1..1000000");
    }
    int64_t *times = calloc((size_t)n_steps, sizeof *times);
    if (!times) {
        return hsdi_fail(err, HSD_ENOMEM, "times", "no memory for %d times", n_steps);
    }
    hsd_status status = measure(transport, mode, n_steps, times, out, err);
    free(times);
    return status;
}
