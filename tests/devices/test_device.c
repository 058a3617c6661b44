/// Proves: the front end refuses what does not fit, before anything runs and with the field's
///           name; the null device counts, fails and delays; the CPU device gives the same bits
///           with 1 to 5 threads and with a part of them, and survives threads that sleep; rows of
///           several caches in one submission compute what each job computes alone; cells that
///           went through the host are the same cells. The same on
///           OpenCL and Level Zero, where there are such devices; their numbers are the CPU's.
/// Does not prove: arithmetic, see tests/kernels and tests/engine/test_reference.c.
#include "base/clock.h"
#include "base/futex.h"
#include "devices/device.h"
#include "tests/accelerator.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { WIDTH = 96, N_HEAD = 4, N_KV = 2, D_HEAD = 8, N_ROWS = 7, N_CELLS = 32 };
enum { D_Q = N_HEAD * D_HEAD, D_KV = N_KV * D_HEAD };

/// Type of the caches that rigs are opened with.
static hsd_cache_type type_now = HSD_CACHE_F32;

static hsdi_cache_desc cells_now(void)
{
    return (hsdi_cache_desc){
        .n_layers = 1, .n_cells = N_CELLS, .width = D_KV, .d_head = D_HEAD, .type = type_now};
}

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

/// A small graph with every kind of operation, and all that it needs.
typedef struct rig {
    hsdi_device *device;
    hsdi_weight *norm, *head_norm, *qkv, *out, *up, *down, *embed;
    hsdi_cache *cache;
    hsdi_buffer *result;
    hsdi_graph *graph;
} rig;

static float *numbers(int n, unsigned seed)
{
    float *p = calloc((size_t)n, sizeof *p);
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
    }
    return p;
}

static hsdi_weight *weight(hsdi_device *d, int n_out, int n_in, int uses, unsigned seed,
                           float **keep)
{
    hsdi_weight *w;
    hsd_error err = {0};
    float *data = numbers(n_out * n_in, seed);
    must(hsdi_weight_create(d, HSDI_TYPE_F32, n_out, n_in, data, uses, &w, &err), &err);
    if (keep) {
        *keep = data;
    } else {
        free(data);
    }
    return w;
}

static hsdi_view view(int value, int offset, int width)
{
    return (hsdi_view){.value = value, .offset = offset, .width = width};
}

static float *embed_data;

static void rig_ops(const rig *r, hsdi_op *ops, int *n)
{
    int k = 0;
    ops[k++] = (hsdi_op){
        .kind = HSDI_OP_EMBED, .y = view(0, 0, WIDTH), .n_parts = 1, .parts = {{.w = r->embed}}};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_MATMUL,
                         .x = view(0, 0, WIDTH),
                         .y = view(1, 0, D_Q + 2 * D_KV),
                         .pre = HSDI_PRE_RMS_NORM,
                         .norm_w = r->norm,
                         .eps = 1e-5f,
                         .n_parts = 1,
                         .parts = {{.w = r->qkv}}};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_HEAD_NORM,
                         .y = view(1, 0, D_Q),
                         .norm_w = r->head_norm,
                         .eps = 1e-5f,
                         .n_head = N_HEAD};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_ROPE, .y = view(1, 0, D_Q), .n_head = N_HEAD};
    ops[k++] =
        (hsdi_op){.kind = HSDI_OP_STORE, .x = view(1, D_Q, D_KV), .y = view(1, D_Q + D_KV, D_KV)};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_ATTN, .x = view(1, 0, D_Q), .y = view(2, 0, D_Q)};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_MATMUL,
                         .x = view(2, 0, D_Q),
                         .y = view(0, 0, WIDTH),
                         .n_parts = 1,
                         .parts = {{.w = r->out}},
                         .accumulate = true};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_MATMUL,
                         .x = view(0, 0, WIDTH),
                         .y = view(3, 0, 2 * WIDTH),
                         .n_parts = 1,
                         .parts = {{.w = r->up}}};
    ops[k++] = (hsdi_op){.kind = HSDI_OP_MATMUL,
                         .x = view(3, 0, 2 * WIDTH),
                         .y = view(0, 0, WIDTH),
                         .pre = HSDI_PRE_SILU_MUL,
                         .n_parts = 1,
                         .parts = {{.w = r->down}},
                         .accumulate = true};
    ops[k++] = (hsdi_op){
        .kind = HSDI_OP_COPY, .x = view(0, 0, WIDTH), .y = view(HSDI_VALUE_OUT, 0, WIDTH)};
    *n = k;
}

static const double freqs[D_HEAD / 2] = {1.0, 0.1, 0.01, 0.001};
static const int widths[] = {WIDTH, D_Q + 2 * D_KV, D_Q, 2 * WIDTH};

static hsdi_graph_desc rig_desc(const hsdi_op *ops, int n_ops)
{
    return (hsdi_graph_desc){.name = "rig",
                             .n_rows_max = N_ROWS,
                             .n_values = 4,
                             .value_width = widths,
                             .out_width = WIDTH,
                             .n_ops = n_ops,
                             .ops = ops,
                             .heads = {.n_head = N_HEAD,
                                       .n_kv = N_KV,
                                       .d_head = D_HEAD,
                                       .n_rot = D_HEAD,
                                       .scale = 0.35f,
                                       .rope_mscale = 1.0f,
                                       .rope_freqs = freqs},
                             .cache_type = type_now,
                             .n_vocab = 50,
                             .n_ctx = N_CELLS};
}

static void rig_open(rig *r, hsdi_device *device)
{
    hsdi_op ops[16];
    int n_ops;
    hsd_error err = {0};
    memset(r, 0, sizeof *r);
    r->device = device;
    r->norm = weight(device, 1, WIDTH, HSDI_USE_VECTOR, 1, NULL);
    r->head_norm = weight(device, 1, D_HEAD, HSDI_USE_VECTOR, 2, NULL);
    r->qkv = weight(device, D_Q + 2 * D_KV, WIDTH, HSDI_USE_MATMUL, 3, NULL);
    r->out = weight(device, WIDTH, D_Q, HSDI_USE_MATMUL, 4, NULL);
    r->up = weight(device, 2 * WIDTH, WIDTH, HSDI_USE_MATMUL, 5, NULL);
    r->down = weight(device, WIDTH, WIDTH, HSDI_USE_MATMUL, 6, NULL);
    r->embed = weight(device, 50, WIDTH, HSDI_USE_ROWS, 7, &embed_data);
    const hsdi_cache_desc cells = cells_now();
    must(hsdi_cache_create(device, &cells, &r->cache, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, WIDTH, &r->result, &err), &err);
    rig_ops(r, ops, &n_ops);
    hsdi_graph_desc desc = rig_desc(ops, n_ops);
    must(hsdi_graph_compile(device, &desc, &r->graph, &err), &err);
}

static void rig_close(rig *r)
{
    hsdi_graph_destroy(&r->graph);
    hsdi_buffer_destroy(&r->result);
    hsdi_cache_destroy(&r->cache);
    hsdi_weight *all[] = {r->norm, r->head_norm, r->qkv, r->out, r->up, r->down, r->embed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        hsdi_weight_destroy(&all[i]);
    }
    free(embed_data);
    hsdi_device_close(&r->device);
}

/// Rows at positions 3, 4, .. as a chain behind a trunk of three.
typedef struct chain {
    int32_t tokens[N_ROWS], pos[N_ROWS], cell[N_ROWS], trunk[3], path[N_ROWS * N_ROWS],
        n_path[N_ROWS];
} chain;

static hsdi_job chain_job(chain *c, const rig *r, int n_rows)
{
    for (int i = 0; i < 3; i++) {
        c->trunk[i] = i;
    }
    for (int i = 0; i < N_ROWS; i++) {
        c->tokens[i] = i * 5 % 50;
        c->pos[i] = 3 + i;
        c->cell[i] = 30 - i;
        c->n_path[i] = i + 1;
        for (int k = 0; k <= i; k++) {
            c->path[i * N_ROWS + k] = 30 - k;
        }
    }
    return (hsdi_job){.n_rows = n_rows,
                      .tokens = c->tokens,
                      .pos = c->pos,
                      .cell = c->cell,
                      .trunk = c->trunk,
                      .n_trunk = 3,
                      .path = c->path,
                      .n_path = c->n_path,
                      .path_stride = N_ROWS,
                      .cache = r->cache,
                      .out = r->result};
}

/// Fill the trunk, then run the chain.
static void rig_run(rig *r, int n_threads, float *out)
{
    chain c;
    hsd_error err = {0};
    hsdi_job job = chain_job(&c, r, N_ROWS);
    job.n_threads = n_threads;
    hsdi_job first = job;
    static const int32_t pos[3] = {0, 1, 2}, path[9] = {0, 0, 0, 0, 1, 0, 0, 1, 2},
                         n_path[3] = {1, 2, 3};
    first.n_rows = 3;
    first.n_trunk = 0;
    first.pos = first.cell = pos;
    first.path = path;
    first.n_path = n_path;
    first.path_stride = 3;
    must(hsdi_graph_run(r->graph, &first, &err), &err);
    must(hsdi_graph_run(r->graph, &job, &err), &err);
    memcpy(out, hsdi_buffer_map(r->result), sizeof(float) * N_ROWS * WIDTH);
}

static hsdi_device *open_cpu(int n_threads)
{
    hsdi_device *device;
    hsd_error err = {0};
    const hsdi_cpu_options options = {.n_threads = n_threads, .isa = hsdi_isa_detect()};
    must(hsdi_device_open_cpu(&options, &device, &err), &err);
    return device;
}

static hsdi_device *open_opencl(int n_threads)
{
    (void)n_threads;
    return open_opencl_or_skip();
}

static hsdi_device *open_level_zero(int n_threads)
{
    (void)n_threads;
    return open_level_zero_or_skip();
}

/// A kind of device that a case runs on.
typedef struct place {
    hsdi_device *(*open)(int n_threads);
    int n_threads_max;
} place;

static place on_cpu = {open_cpu, 5}, on_opencl = {open_opencl, 1},
             on_level_zero = {open_level_zero, 1};

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    float want[N_ROWS * WIDTH], got[N_ROWS * WIDTH];
    rig r;
    rig_open(&r, open_cpu(1));
    rig_run(&r, 0, want);
    rig_close(&r);
    for (int n_threads = 2; n_threads <= 5; n_threads++) {
        rig_open(&r, open_cpu(n_threads));
        for (int used = 0; used <= n_threads; used++) {
            for (int repeat = 0; repeat < 20; repeat++) {
                rig_run(&r, used, got);
                assert_memory_equal(want, got, sizeof want);
            }
        }
        rig_close(&r);
    }
}

static void threads_that_went_to_sleep_wake_up(void **state)
{
    (void)state;
    float want[N_ROWS * WIDTH], got[N_ROWS * WIDTH];
    rig r;
    rig_open(&r, open_cpu(3));
    rig_run(&r, 0, want);
    for (int i = 0; i < 10; i++) {
        const struct timespec pause = {.tv_nsec = 3000000};
        nanosleep(&pause, NULL);
        rig_run(&r, 0, got);
        assert_memory_equal(want, got, sizeof want);
    }
    rig_close(&r);
}

/// `bound` of a row's largest number.
static void check_against_cpu(void **state, float bound)
{
    float want[N_ROWS * WIDTH], got[N_ROWS * WIDTH];
    rig r;
    rig_open(&r, open_accelerator_or_skip(*state));
    rig_run(&r, 0, got);
    rig_close(&r);
    rig_open(&r, open_cpu(1));
    rig_run(&r, 0, want);
    rig_close(&r);
    for (int row = 0; row < N_ROWS; row++) {
        float largest = 0.0f, worst = 0.0f;
        for (int i = row * WIDTH; i < (row + 1) * WIDTH; i++) {
            float error = fabsf(got[i] - want[i]);
            largest = fmaxf(largest, fabsf(want[i]));
            worst = error > worst || isnan(error) ? error : worst;
        }
        if (!(worst <= bound * largest)) {
            fail_msg("%s: row %d: error %g, largest number %g", hsd_cache_type_name(type_now), row,
                     (double)worst, (double)largest);
        }
    }
}

/// Sums run in another order: 7e-7 seen.
static void it_computes_what_the_cpu_computes(void **state)
{
    check_against_cpu(state, 5e-6f);
}

/// So a number to be stored may lie on the other side of a rounding boundary: a step of f16 is
/// 2^-10 of it, one of q8_0 1/127 of its block's largest.
static void with_smaller_caches_it_computes_nearly_that(void **state)
{
    static const float bounds[HSD_N_CACHE_TYPES] = {5e-6f, 1e-3f, 2e-2f};
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        type_now = (hsd_cache_type)type;
        check_against_cpu(state, bounds[type]);
    }
    type_now = HSD_CACHE_F32;
}

static void a_device_that_is_not_there_is_named(void **state)
{
    hsdi_device *device = open_accelerator_or_skip(*state), *other = NULL;
    hsd_status (*open)(int, hsdi_device **, hsd_error *) =
        *state == accelerator_opencl ? hsdi_device_open_opencl : hsdi_device_open_level_zero;
    hsd_error err = {0};
    hsdi_device_close(&device);
    assert_int_equal(open(1000, &other, &err), HSD_ENODEVICE);
    assert_non_null(strstr(err.message, "1000"));
    assert_int_equal(open(-2, &other, &err), HSD_EINVAL);
    assert_null(other);
}

static void weights_and_caches_stay_with_their_device(void **state)
{
    rig r, other;
    rig_open(&r, open_accelerator_or_skip(*state));
    float *first_data = embed_data;
    rig_open(&other, open_accelerator_or_skip(*state));
    hsdi_op ops[16];
    int n_ops;
    chain c;
    hsd_error err = {0};
    hsdi_graph *graph = NULL;
    rig_ops(&r, ops, &n_ops);
    hsdi_graph_desc desc = rig_desc(ops, n_ops);
    assert_int_equal(hsdi_graph_compile(other.device, &desc, &graph, &err), HSD_EINVAL);
    assert_null(graph);
    hsdi_job job = chain_job(&c, &other, N_ROWS);
    job.cache = r.cache;
    assert_int_equal(hsdi_graph_run(other.graph, &job, &err), HSD_EINVAL);
    assert_string_equal(err.where, "cache");
    rig_close(&other);
    embed_data = first_data;
    rig_close(&r);
}

static void *submit_many(void *arg)
{
    rig *r = arg;
    float got[N_ROWS * WIDTH];
    for (int i = 0; i < 50; i++) {
        rig_run(r, 0, got);
    }
    return NULL;
}

static void two_threads_may_submit_to_one_device(void **state)
{
    const place *on = *state;
    rig r;
    pthread_t other;
    if (on == &on_opencl) {
        skip_where_one_thread_must_submit();
    }
    rig_open(&r, on->open(2));
    hsdi_cache *mine = r.cache;
    hsdi_buffer *result = r.result;
    rig second = r;
    hsd_error err = {0};
    const hsdi_cache_desc cells = cells_now();
    must(hsdi_cache_create(r.device, &cells, &second.cache, &err), &err);
    must(hsdi_buffer_create(r.device, N_ROWS, WIDTH, &second.result, &err), &err);
    assert_int_equal(pthread_create(&other, NULL, submit_many, &second), 0);
    submit_many(&r);
    pthread_join(other, NULL);
    assert_memory_equal(hsdi_buffer_map(result), hsdi_buffer_map(second.result),
                        sizeof(float) * N_ROWS * WIDTH);
    hsdi_cache_destroy(&second.cache);
    hsdi_buffer_destroy(&second.result);
    r.cache = mine;
    rig_close(&r);
}

static void jobs_that_do_not_fit_are_refused_by_field_and_nothing_runs(void **state)
{
    const place *on = *state;
    rig r;
    rig_open(&r, on->open(1));
    int64_t before = hsdi_device_n_submitted(r.device);
    for (int bad = 0; bad < 12; bad++) {
        chain c;
        hsd_error err = {0};
        hsdi_job job = chain_job(&c, &r, N_ROWS);
        const char *where = "";
        switch (bad) {
        case 0:
            job.n_rows = 0, where = "n_rows";
            break;
        case 1:
            job.n_rows = N_ROWS + 1, where = "n_rows";
            break;
        case 2:
            c.tokens[6] = 50, where = "tokens";
            break;
        case 3:
            c.tokens[0] = -1, where = "tokens";
            break;
        case 4:
            c.pos[2] = N_CELLS, where = "pos";
            break;
        case 5:
            c.cell[1] = N_CELLS, where = "cell";
            break;
        case 6:
            c.n_path[3] = 0, where = "cell";
            break;
        case 7:
            c.n_path[3] = N_ROWS + 1, where = "cell";
            break;
        case 8:
            c.path[0] = -1, where = "path";
            break;
        case 9:
            c.trunk[1] = N_CELLS, where = "trunk";
            break;
        case 10:
            job.cache = NULL, where = "cache";
            break;
        default:
            job.out = NULL, where = "out";
            break;
        }
        assert_int_equal(hsdi_graph_run(r.graph, &job, &err), HSD_EINVAL);
        assert_string_equal(err.where, where);
    }
    assert_int_equal(hsdi_device_n_submitted(r.device), before);
    rig_close(&r);
}

static void graphs_whose_operands_do_not_fit_are_refused(void **state)
{
    const place *on = *state;
    rig r;
    rig_open(&r, on->open(1));
    for (int bad = 0; bad < 9; bad++) {
        hsdi_op ops[16];
        int n_ops;
        hsd_error err = {0};
        hsdi_graph *graph = NULL;
        rig_ops(&r, ops, &n_ops);
        hsdi_graph_desc desc = rig_desc(ops, n_ops);
        switch (bad) {
        case 0:
            ops[1].x.width = WIDTH + 1;
            break;
        case 1:
            ops[1].y.value = 4;
            break;
        case 2:
            ops[1].parts[0].y_offset = 1;
            break;
        case 3:
            ops[1].norm_w = r.head_norm;
            break;
        case 4:
            ops[3].n_head = 3;
            break;
        case 5:
            ops[4].layer = -1;
            break;
        case 6:
            ops[0].parts[0].w = r.qkv;
            break;
        case 7:
            desc.heads.n_kv = 3;
            break;
        default:
            desc.n_vocab = 51;
            break;
        }
        assert_int_equal(hsdi_graph_compile(r.device, &desc, &graph, &err), HSD_EINVAL);
        assert_null(graph);
    }
    rig_close(&r);
}

static void the_null_device_counts_fails_and_delays(void **state)
{
    (void)state;
    rig r;
    chain c;
    hsdi_device *device;
    hsd_error err = {0};
    const hsdi_null_options options = {.delay_ns = 2000000, .fail_at = 3};
    must(hsdi_device_open_null(&options, &device, &err), &err);
    rig_open(&r, device);
    hsdi_job job = chain_job(&c, &r, 1);
    int64_t begin = hsdi_now_ns();
    must(hsdi_graph_run(r.graph, &job, &err), &err);
    assert_true(hsdi_now_ns() - begin >= options.delay_ns);
    must(hsdi_graph_run(r.graph, &job, &err), &err);
    assert_int_equal(hsdi_graph_run(r.graph, &job, &err), HSD_EDEVICE);
    must(hsdi_graph_run(r.graph, &job, &err), &err);
    assert_int_equal(hsdi_device_n_submitted(device), 4);
    rig_close(&r);
}

enum { N_JOBS_MAX = N_ROWS, N_PAST = 12 };

/// A text of its own: cache, result and rows behind a trunk.
typedef struct text {
    hsdi_cache *cache;
    hsdi_buffer *result;
    int32_t tokens[N_CELLS], cells[N_CELLS], pos[N_CELLS], path[N_ROWS * N_ROWS], n_path[N_ROWS];
    float want[N_ROWS * WIDTH];
} text;

static int draw(unsigned *seed, int low, int high)
{
    *seed = *seed * 1664525u + 1013904223u;
    return low + (int)((*seed >> 8) % (unsigned)(high - low + 1));
}

/// n rows of a text as a chain from position `begin`, on cells in an order of its own.
static hsdi_job text_job(text *t, int begin, int n)
{
    for (int r = 0; r < n; r++) {
        t->n_path[r] = r + 1;
        memcpy(t->path + (size_t)r * N_ROWS, t->cells + begin, (size_t)(r + 1) * sizeof *t->path);
    }
    return (hsdi_job){.n_rows = n,
                      .tokens = t->tokens + begin,
                      .pos = t->pos + begin,
                      .cell = t->cells + begin,
                      .trunk = t->cells,
                      .n_trunk = begin,
                      .path = t->path,
                      .n_path = t->n_path,
                      .path_stride = N_ROWS,
                      .cache = t->cache,
                      .out = t->result};
}

static void text_open(text *t, const rig *r, unsigned *seed)
{
    hsd_error err = {0};
    const hsdi_cache_desc cells = cells_now();
    must(hsdi_cache_create(r->device, &cells, &t->cache, &err), &err);
    must(hsdi_buffer_create(r->device, N_ROWS, WIDTH, &t->result, &err), &err);
    int shift = draw(seed, 0, N_CELLS - 1);
    for (int i = 0; i < N_CELLS; i++) {
        t->tokens[i] = draw(seed, 0, 49);
        t->pos[i] = i;
        t->cells[i] = (i * 5 + shift) % N_CELLS;
    }
    for (int i = 0; i < N_PAST; i++) {
        hsdi_job job = text_job(t, i, 1);
        must(hsdi_graph_run(r->graph, &job, &err), &err);
    }
}

static void text_close(text *t)
{
    hsdi_cache_destroy(&t->cache);
    hsdi_buffer_destroy(&t->result);
}

/// A random number of jobs with at most N_ROWS rows together; each has run alone, see want.
static int random_jobs(const rig *r, text *texts, hsdi_job *jobs, unsigned *seed)
{
    int n_jobs = 0, left = N_ROWS;
    hsd_error err = {0};
    while (left > 0 && n_jobs < N_JOBS_MAX && (n_jobs == 0 || draw(seed, 0, 4) > 0)) {
        text *t = &texts[n_jobs];
        int n = draw(seed, 1, draw(seed, 1, left));
        jobs[n_jobs] = text_job(t, draw(seed, 0, N_PAST), n);
        jobs[n_jobs].n_threads = draw(seed, 0, 5);
        must(hsdi_graph_run(r->graph, &jobs[n_jobs], &err), &err);
        float *result = hsdi_buffer_map(t->result);
        memcpy(t->want, result, (size_t)n * WIDTH * sizeof *result);
        memset(result, 0xff, (size_t)N_ROWS * WIDTH * sizeof *result);
        n_jobs++;
        left -= n;
    }
    return n_jobs;
}

static void several_jobs_give_the_bits_of_each_alone(void **state)
{
    const place *on = *state;
    for (int n_threads = 1; n_threads <= on->n_threads_max; n_threads++) {
        rig r;
        text texts[N_JOBS_MAX];
        unsigned seed = (unsigned)n_threads;
        rig_open(&r, on->open(n_threads));
        for (int i = 0; i < N_JOBS_MAX; i++) {
            text_open(&texts[i], &r, &seed);
        }
        for (int repeat = 0; repeat < 60; repeat++) {
            hsdi_job jobs[N_JOBS_MAX];
            hsd_error err = {0};
            int n_jobs = random_jobs(&r, texts, jobs, &seed);
            must(hsdi_graph_run_all(r.graph, jobs, n_jobs, &err), &err);
            for (int i = 0; i < n_jobs; i++) {
                const float *got = hsdi_buffer_map(texts[i].result);
                size_t n = (size_t)jobs[i].n_rows * WIDTH;
                if (memcmp(got, texts[i].want, n * sizeof *got) != 0) {
                    fail_msg("%d threads, repeat %d: job %d of %d, %d rows at %d, differs",
                             n_threads, repeat, i, n_jobs, jobs[i].n_rows, jobs[i].n_trunk);
                }
                assert_true(n == N_ROWS * WIDTH || got[n] != got[n]); // behind its rows: untouched
            }
        }
        for (int i = 0; i < N_JOBS_MAX; i++) {
            text_close(&texts[i]);
        }
        rig_close(&r);
    }
}

static void several_jobs_do_so_with_smaller_caches(void **state)
{
    for (int type = HSD_CACHE_F16; type < HSD_N_CACHE_TYPES; type++) {
        type_now = (hsd_cache_type)type;
        several_jobs_give_the_bits_of_each_alone(state);
    }
    type_now = HSD_CACHE_F32;
}

/// A cache of another type, of another head, of no type.
static void caches_that_do_not_suit_are_refused(void **state)
{
    (void)state;
    rig r;
    type_now = HSD_CACHE_Q8_0;
    rig_open(&r, open_cpu(1));
    hsdi_cache *other = NULL;
    for (int i = 0; i < 2; i++) {
        hsd_error err = {0};
        hsdi_cache_desc cells = cells_now();
        cells.type = i == 0 ? HSD_CACHE_F16 : HSD_CACHE_Q8_0;
        cells.d_head = i == 0 ? D_HEAD : D_KV;
        must(hsdi_cache_create(r.device, &cells, &other, &err), &err);
        text t;
        unsigned seed = 1;
        text_open(&t, &r, &seed);
        hsdi_job job = text_job(&t, N_PAST, 1);
        job.cache = other;
        assert_int_equal(hsdi_graph_run(r.graph, &job, &err), HSD_EINVAL);
        assert_string_equal(err.where, "cache");
        text_close(&t);
        hsdi_cache_destroy(&other);
    }
    hsd_error err = {0};
    hsdi_cache_desc cells = cells_now();
    cells.type = HSD_N_CACHE_TYPES;
    assert_int_equal(hsdi_cache_create(r.device, &cells, &other, &err), HSD_EINVAL);
    assert_null(other);
    rig_close(&r);
    type_now = HSD_CACHE_F32;
}

static void cells_that_were_read_and_written_elsewhere_give_the_same_bits(void **state)
{
    const place *on = *state;
    rig r;
    text t;
    unsigned seed = 5;
    hsd_error err = {0};
    rig_open(&r, on->open(1));
    text_open(&t, &r, &seed);
    hsdi_job job = text_job(&t, N_PAST, 3);
    must(hsdi_graph_run(r.graph, &job, &err), &err);
    memcpy(t.want, hsdi_buffer_map(t.result), 3 * WIDTH * sizeof(float));
    size_t size = hsdi_cache_bytes_per_cell(t.cache);
    char *bytes = malloc(N_CELLS * size), *again = malloc(N_CELLS * size);
    assert_int_equal(size * N_CELLS, hsdi_cache_bytes(t.cache));
    must(hsdi_cache_read(r.device, t.cache, 0, N_CELLS, bytes, &err), &err);
    must(hsdi_cache_read(r.device, t.cache, 3, 5, again, &err), &err);
    assert_memory_equal(again, bytes + 3 * size, 5 * size);

    // The text's cells, one by one and in pairs, in another order in another cache.
    hsdi_cache *other;
    const hsdi_cache_desc cells = cells_now();
    must(hsdi_cache_create(r.device, &cells, &other, &err), &err);
    memset(again, 0xee, N_CELLS * size);
    must(hsdi_cache_write(r.device, other, 0, N_CELLS, again, &err), &err);
    for (int i = 0; i < N_PAST; i++) {
        memcpy(again + (size_t)i * size, bytes + (size_t)t.cells[i] * size, size);
    }
    must(hsdi_cache_write(r.device, other, 7, 1, again, &err), &err);
    must(hsdi_cache_write(r.device, other, 8, N_PAST - 1, again + size, &err), &err);
    for (int i = 0; i < N_CELLS; i++) {
        t.cells[i] = (i + 7) % N_CELLS;
    }
    job = text_job(&t, N_PAST, 3);
    job.cache = other;
    must(hsdi_graph_run(r.graph, &job, &err), &err);
    assert_memory_equal(hsdi_buffer_map(t.result), t.want, 3 * WIDTH * sizeof(float));
    must(hsdi_cache_read(r.device, other, 7, N_PAST, bytes, &err), &err);
    assert_memory_equal(bytes, again, N_PAST * size);
    must(hsdi_cache_read(r.device, other, 7 + N_PAST + 3, 1, bytes, &err), &err);
    assert_int_equal((unsigned char)bytes[0], 0xee); // behind them nothing was written

    assert_int_equal(hsdi_cache_read(r.device, other, N_CELLS - 1, 2, bytes, &err), HSD_EINVAL);
    assert_string_equal(err.where, "cell");
    assert_int_equal(hsdi_cache_write(r.device, other, -1, 1, bytes, &err), HSD_EINVAL);
    assert_int_equal(hsdi_cache_write(r.device, other, 0, 0, bytes, &err), HSD_EINVAL);
    free(bytes);
    free(again);
    hsdi_cache_destroy(&other);
    text_close(&t);
    rig_close(&r);
}

static void jobs_that_do_not_fit_together_are_refused_and_nothing_runs(void **state)
{
    const place *on = *state;
    rig r;
    text texts[3];
    unsigned seed = 1;
    rig_open(&r, on->open(1));
    for (int i = 0; i < 3; i++) {
        text_open(&texts[i], &r, &seed);
    }
    int64_t before = hsdi_device_n_submitted(r.device);
    for (int bad = 0; bad < 6; bad++) {
        hsdi_job jobs[3];
        hsd_error err = {0};
        int n_jobs = 3;
        const char *where = "", *job = "";
        for (int i = 0; i < 3; i++) {
            jobs[i] = text_job(&texts[i], N_PAST, 2);
        }
        switch (bad) {
        case 0:
            n_jobs = 0, where = "n_jobs";
            break;
        case 1:
            n_jobs = N_ROWS + 1, where = "n_jobs";
            break;
        case 2:
            jobs[1] = text_job(&texts[1], N_PAST, 4);
            where = "n_rows", job = "8 rows in 3 jobs";
            break;
        case 3:
            jobs[2].out = texts[0].result, where = "out", job = "jobs 0 and 2";
            break;
        case 4:
            jobs[1].cache = NULL, where = "cache", job = "job 1: ";
            break;
        default:
            jobs[2].n_rows = 0, where = "n_rows", job = "job 2: ";
            break;
        }
        assert_int_equal(hsdi_graph_run_all(r.graph, jobs, n_jobs, &err), HSD_EINVAL);
        assert_string_equal(err.where, where);
        assert_non_null(strstr(err.message, job));
    }
    assert_int_equal(hsdi_device_n_submitted(r.device), before);
    for (int i = 0; i < 3; i++) {
        text_close(&texts[i]);
    }
    rig_close(&r);
}

static void the_null_device_takes_several_jobs_as_one_submission(void **state)
{
    (void)state;
    rig r;
    text texts[3];
    hsdi_job jobs[3];
    hsdi_device *device;
    hsd_error err = {0};
    unsigned seed = 1;
    must(hsdi_device_open_null(NULL, &device, &err), &err);
    rig_open(&r, device);
    for (int i = 0; i < 3; i++) {
        text_open(&texts[i], &r, &seed);
        memset(hsdi_buffer_map(texts[i].result), 0xff, WIDTH * sizeof(float));
        jobs[i] = text_job(&texts[i], 0, 1);
    }
    int64_t before = hsdi_device_n_submitted(device);
    must(hsdi_graph_run_all(r.graph, jobs, 3, &err), &err);
    assert_int_equal(hsdi_device_n_submitted(device), before + 1);
    for (int i = 0; i < 3; i++) {
        assert_true(hsdi_buffer_map(texts[i].result)[WIDTH - 1] == 0.0f);
        text_close(&texts[i]);
    }
    rig_close(&r);
}

static void weights_of_wrong_shapes_are_refused(void **state)
{
    const place *on = *state;
    hsdi_device *device = on->open(1);
    hsdi_weight *w = NULL;
    hsd_error err = {0};
    float data[64] = {0};
    assert_int_equal(
        hsdi_weight_create(device, HSDI_TYPE_Q8_0, 1, 33, data, HSDI_USE_MATMUL, &w, &err),
        HSD_EINVAL);
    assert_int_equal(
        hsdi_weight_create(device, (hsdi_type)999, 1, 32, data, HSDI_USE_MATMUL, &w, &err),
        HSD_EUNSUPPORTED);
    assert_int_equal(
        hsdi_weight_create(device, HSDI_TYPE_F32, 2, 32, data, HSDI_USE_VECTOR, &w, &err),
        HSD_EINVAL);
    assert_int_equal(hsdi_weight_create(device, HSDI_TYPE_F32, 1, 32, data, 0, &w, &err),
                     HSD_EINVAL);
    assert_null(w);
    hsdi_device_close(&device);
    assert_null(device);
}

static void a_matrix_can_be_read_from_end_to_end(void **state)
{
    const place *on = *state;
    hsdi_device *device = on->open(1), *null = NULL;
    hsd_error err = {0};
    size_t n_bytes = 0;
    // 2^20 bytes, and a few.
    hsdi_weight *w = weight(device, 513, 512, HSDI_USE_MATMUL, 1, NULL);
    hsdi_weight *vector = weight(device, 1, 512, HSDI_USE_VECTOR, 2, NULL);
    for (int way = 0; way < 2; way++) {
        must(hsdi_weight_read(device, w, way, &n_bytes, &err), &err);
        assert_in_range(n_bytes, 1 << 20, SIZE_MAX);
    }
    assert_int_equal(hsdi_weight_read(device, w, 2, &n_bytes, &err), HSD_EINVAL);
    assert_int_equal(hsdi_weight_read(device, vector, 0, &n_bytes, &err), HSD_EINVAL);
    must(hsdi_device_open_null(NULL, &null, &err), &err);
    assert_int_equal(hsdi_weight_read(null, w, 0, &n_bytes, &err), HSD_EUNSUPPORTED);
    hsdi_weight_destroy(&w);
    hsdi_weight_destroy(&vector);
    hsdi_device_close(&null);
    hsdi_device_close(&device);
}

#define ON_EACH(f)                                                                                 \
    {#f, f, NULL, NULL, &on_cpu}, {#f " (opencl)", f, NULL, NULL, &on_opencl},                     \
    {                                                                                              \
#f " (level_zero)", f, NULL, NULL, &on_level_zero                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(threads_that_went_to_sleep_wake_up),
        ON_EACH(two_threads_may_submit_to_one_device),
        ON_EACH(jobs_that_do_not_fit_are_refused_by_field_and_nothing_runs),
        ON_EACH(graphs_whose_operands_do_not_fit_are_refused),
        cmocka_unit_test(the_null_device_counts_fails_and_delays),
        ON_EACH(several_jobs_give_the_bits_of_each_alone),
        ON_EACH(several_jobs_do_so_with_smaller_caches),
        cmocka_unit_test(caches_that_do_not_suit_are_refused),
        ON_EACH(cells_that_were_read_and_written_elsewhere_give_the_same_bits),
        ON_EACH(jobs_that_do_not_fit_together_are_refused_and_nothing_runs),
        cmocka_unit_test(the_null_device_takes_several_jobs_as_one_submission),
        ON_EACH(weights_of_wrong_shapes_are_refused),
        ON_EACH(a_matrix_can_be_read_from_end_to_end),
        ON_ACCELERATORS(it_computes_what_the_cpu_computes),
        ON_ACCELERATORS(with_smaller_caches_it_computes_nearly_that),
        ON_ACCELERATORS(a_device_that_is_not_there_is_named),
        ON_ACCELERATORS(weights_and_caches_stay_with_their_device),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
