/// Proves: attention that is cut into chunks of positions, each with a work-group of its own
///           (HSD_DEVICE_SPLIT=1), gives the bits of attention that is not (=0), for caches of
///           every type, of keys and values and of inputs, while texts grow over the borders of
///           chunks, for one session and for two of different lengths; and both are what the
///           formula says; on OpenCL and Level Zero.
///         Another value of the switch is refused.
/// Does not prove: that it is faster where a device is kept busy by it (docs/benchmarks.md).
#include "kernels/opencl/source.h"
#include "tests/accelerator.h"
#include "tests/kernels/support.h"

enum { N_HEAD = 4, N_KV = 2, D_HEAD = 18, EL_WIDTH = 36, N_CELLS = 720, N_ROWS = 36, N_JOBS = 2 };

/// The places of a row: q, k, v; for a cache of inputs q of every head, and the input.
typedef struct shape {
    hsdi_layout layout;
    hsd_cache_type type;
    int q_width, kv_width, in_width;
} shape;

typedef struct rig {
    shape s;
    hsdi_device *device;
    hsdi_graph *graph;
    hsdi_cache *cache[N_JOBS];
    hsdi_buffer *in[N_JOBS], *out[N_JOBS];
} rig;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static shape shape_of(hsdi_layout layout, hsd_cache_type type)
{
    bool is_el = layout == HSDI_LAYOUT_EL;
    shape s = {.layout = layout, .type = type};
    s.q_width = N_HEAD * (is_el ? EL_WIDTH : D_HEAD);
    s.kv_width = is_el ? EL_WIDTH : N_KV * D_HEAD;
    s.in_width = s.q_width + (is_el ? 1 : 2) * s.kv_width;
    return s;
}

static hsdi_view columns(int value, int offset, int width)
{
    return (hsdi_view){.value = value, .offset = offset, .width = width};
}

static void rig_open(rig *r, const char *accelerator, const char *split, shape s)
{
    hsd_error err = {0};
    bool is_el = s.layout == HSDI_LAYOUT_EL;
    *r = (rig){.s = s};
    setenv("HSD_DEVICE_SPLIT", split, 1);
    r->device = open_accelerator_or_skip(accelerator);
    unsetenv("HSD_DEVICE_SPLIT");
    const hsdi_op ops[] = {
        {.kind = HSDI_OP_STORE,
         .layout = s.layout,
         .x = columns(HSDI_VALUE_IN, s.q_width, s.kv_width),
         .y = columns(HSDI_VALUE_IN, s.q_width + (is_el ? 0 : s.kv_width), s.kv_width)},
        {.kind = HSDI_OP_ATTN,
         .layout = s.layout,
         .n_head = N_HEAD,
         .x = columns(HSDI_VALUE_IN, 0, s.q_width),
         .y = columns(HSDI_VALUE_OUT, 0, s.q_width)},
    };
    const hsdi_graph_desc desc = {
        .name = "split",
        .n_rows_max = N_JOBS * N_ROWS,
        .in_width = s.in_width,
        .out_width = s.q_width,
        .n_ops = 2,
        .ops = ops,
        .heads = {.n_head = N_HEAD, .n_kv = N_KV, .d_head = D_HEAD, .scale = 0.25f},
        .cache_type = s.type,
        .n_ctx = N_CELLS};
    const hsdi_cache_desc cache = {.n_layers = 1,
                                   .n_cells = N_CELLS,
                                   .width = N_KV * D_HEAD,
                                   .d_head = D_HEAD,
                                   .el_width = EL_WIDTH,
                                   .layouts = &s.layout,
                                   .type = s.type};
    must(hsdi_graph_compile(r->device, &desc, &r->graph, &err), &err);
    for (int i = 0; i < N_JOBS; i++) {
        must(hsdi_cache_create(r->device, &cache, &r->cache[i], &err), &err);
        must(hsdi_buffer_create(r->device, N_ROWS, s.in_width, &r->in[i], &err), &err);
        must(hsdi_buffer_create(r->device, N_ROWS, s.q_width, &r->out[i], &err), &err);
    }
}

static void rig_close(rig *r)
{
    for (int i = 0; i < N_JOBS; i++) {
        hsdi_buffer_destroy(&r->in[i]);
        hsdi_buffer_destroy(&r->out[i]);
        hsdi_cache_destroy(&r->cache[i]);
    }
    hsdi_graph_destroy(&r->graph);
    hsdi_device_close(&r->device);
}

/// N_ROWS rows one behind the other after the first n_seen[i] positions of text i, whose rows are
/// text[i] [N_CELLS, in_width]. Position p is in cell N_CELLS - 1 - p.
static void run(rig *r, float *const *text, const int *n_seen, int n_jobs)
{
    hsd_error err = {0};
    hsdi_job jobs[N_JOBS];
    int32_t trunk[N_JOBS][N_CELLS], path[N_JOBS][N_ROWS][N_ROWS], pos[N_JOBS][N_ROWS];
    int32_t n_path[N_ROWS], cell[N_JOBS][N_ROWS];
    for (int i = 0; i < n_jobs; i++) {
        for (int p = 0; p < n_seen[i]; p++) {
            trunk[i][p] = N_CELLS - 1 - p;
        }
        for (int row = 0; row < N_ROWS; row++) {
            pos[i][row] = n_seen[i] + row;
            cell[i][row] = N_CELLS - 1 - pos[i][row];
            n_path[row] = row + 1;
            memcpy(path[i][row], cell[i], sizeof cell[i]);
        }
        memcpy(hsdi_buffer_map(r->in[i]), text[i] + (ptrdiff_t)n_seen[i] * r->s.in_width,
               sizeof(float) * N_ROWS * (size_t)r->s.in_width);
        jobs[i] = (hsdi_job){.n_rows = N_ROWS,
                             .pos = pos[i],
                             .cell = cell[i],
                             .trunk = trunk[i],
                             .n_trunk = n_seen[i],
                             .path = path[i][0],
                             .n_path = n_path,
                             .path_stride = N_ROWS,
                             .cache = r->cache[i],
                             .in = r->in[i],
                             .out = r->out[i]};
    }
    must(hsdi_graph_run_all(r->graph, jobs, n_jobs, &err), &err);
}

/// Element d of what head h of the row at position p sees, in double.
static double formula(const shape *s, const float *text, int p, int h, int d)
{
    bool is_el = s->layout == HSDI_LAYOUT_EL;
    int width = is_el ? EL_WIDTH : D_HEAD, kv = s->q_width + (is_el ? 0 : h / 2 * D_HEAD);
    double scores[N_CELLS], top = -INFINITY, sum = 0.0, out = 0.0;
    const float *q = text + (ptrdiff_t)p * s->in_width + h * width;
    for (int i = 0; i <= p; i++) {
        const float *k = text + (ptrdiff_t)i * s->in_width + kv;
        scores[i] = 0.0;
        for (int j = 0; j < width; j++) {
            scores[i] += (double)q[j] * (double)k[j] * 0.25;
        }
        top = scores[i] > top ? scores[i] : top;
    }
    for (int i = 0; i <= p; i++) {
        const float *v = text + (ptrdiff_t)i * s->in_width + kv + (is_el ? 0 : s->kv_width);
        double weight = exp(scores[i] - top);
        sum += weight;
        out += weight * (double)v[d];
    }
    return out / sum;
}

static void check_formula(rig *r, const float *text, int p, const float *y)
{
    // An element of a cache has 24, 11 or 8 bits.
    static const double bounds[HSD_N_CACHE_TYPES] = {1e-5, 1e-2, 8e-2};
    int width = r->s.q_width / N_HEAD;
    for (int i = 0; i < r->s.q_width; i++) {
        double want = formula(&r->s, text, p, i / width, i % width);
        if (!(fabs((double)y[i] - want) <= bounds[r->s.type])) {
            fail_msg("position %d, number %d: %g, not %g", p, i, (double)y[i], want);
        }
    }
}

/// Whether the device has run a kernel of this name since times are taken.
static bool has_run(hsdi_device *device, const char *name)
{
    hsdi_device_time times[16];
    int n = hsdi_device_times(device, times, 16);
    for (int i = 0; i < n; i++) {
        if (strcmp(times[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void check(const char *accelerator, shape s)
{
    hsd_error err = {0};
    noise from = {7};
    rig whole, cut;
    rig_open(&whole, accelerator, "0", s);
    rig_open(&cut, accelerator, "1", s);
    must(hsdi_device_profile(whole.device, true, &err), &err);
    must(hsdi_device_profile(cut.device, true, &err), &err);
    float *text[N_JOBS];
    for (int i = 0; i < N_JOBS; i++) {
        text[i] = noise_floats(&from, (size_t)(N_CELLS * s.in_width));
    }
    // Alone over the first border of chunks, then a second text beside it that has none.
    int n_seen[N_JOBS] = {0}, last = N_CELLS - N_ROWS;
    for (int jobs = 1; n_seen[0] <= last; jobs = n_seen[0] > 300 ? 2 : 1) {
        run(&whole, text, n_seen, jobs);
        run(&cut, text, n_seen, jobs);
        for (int i = 0; i < jobs; i++) {
            const float *want = hsdi_buffer_map(whole.out[i]), *got = hsdi_buffer_map(cut.out[i]);
            for (int k = 0; k < N_ROWS * s.q_width; k++) {
                if (memcmp(&want[k], &got[k], sizeof *want) != 0) {
                    fail_msg("layout %d, type %d, text %d, position %d, number %d: %a, not %a",
                             (int)s.layout, (int)s.type, i, n_seen[i] + k / s.q_width,
                             k % s.q_width, (double)got[k], (double)want[k]);
                }
            }
            n_seen[i] += N_ROWS;
        }
    }
    assert_true(n_seen[1] > HSDI_OPENCL_CHUNK);
    assert_true(has_run(cut.device, "attn_join"));
    assert_false(has_run(whole.device, "attn_join"));
    check_formula(&cut, text[0], n_seen[0] - 1,
                  hsdi_buffer_map(cut.out[0]) + (ptrdiff_t)(N_ROWS - 1) * s.q_width);
    for (int i = 0; i < N_JOBS; i++) {
        free(text[i]);
    }
    rig_close(&whole);
    rig_close(&cut);
}

static void chunks_give_the_bits_of_the_whole(void **state)
{
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        check(*state, shape_of(HSDI_LAYOUT_KV, (hsd_cache_type)type));
        check(*state, shape_of(HSDI_LAYOUT_EL, (hsd_cache_type)type));
    }
}

static void another_value_of_the_switch_is_refused(void **state)
{
    hsdi_device *device = NULL;
    hsd_error err = {0};
    setenv("HSD_DEVICE_SPLIT", "yes", 1);
    hsd_status status = *state == accelerator_opencl
                            ? hsdi_device_open_opencl(-1, &device, &err)
                            : hsdi_device_open_level_zero(-1, &device, &err);
    unsetenv("HSD_DEVICE_SPLIT");
    if (status == HSD_EDEVICE || status == HSD_EUNSUPPORTED) {
        skip(); // there is no device
    }
    assert_int_equal(status, HSD_EINVAL);
    assert_string_equal(err.where, "HSD_DEVICE_SPLIT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ACCELERATORS(chunks_give_the_bits_of_the_whole),
        ON_ACCELERATORS(another_value_of_the_switch_is_refused),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
