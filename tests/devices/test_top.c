/// Proves: on OpenCL and Level Zero the lists of the largest are those of a plain definition, for
///           rows shorter and longer than a list and than a chunk, with ties, -inf, NaN and +inf,
///           from a column on and to a column on; the sums are those of double within rounding.
///         Rows together give the bits of each alone. Devices without the operation refuse it.
/// Does not prove: that a token follows from a list as from logits: tests/engine/test_lists.c.
#include "tests/accelerator.h"

#include <math.h>
#include <string.h>

enum { N_ROWS = 11, N_MAX = 40007, X_AT = 3, Y_AT = 1, X_EXTRA = 5, Y_EXTRA = 2 };

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static float draw(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 16777216.0f * 20.0f - 10.0f;
}

/// Each row has a difficulty of its own.
static void fill_row(int r, float *x, int n, unsigned *seed)
{
    for (int i = 0; i < n; i++) {
        float v = draw(seed);
        switch (r) {
        case 1: // many ties
            x[i] = floorf(v / 4.0f);
            break;
        case 2:
            x[i] = 1.5f;
            break;
        case 3:
            x[i] = -INFINITY;
            break;
        case 4:
            x[i] = v > 8.0f ? NAN : v;
            break;
        case 5:
            x[i] = NAN;
            break;
        case 6:
            x[i] = v > 9.0f ? INFINITY : v;
            break;
        case 7: // fewer than most lists are long
            x[i] = i % 997 == 3 ? v : -INFINITY;
            break;
        case 8:
            x[i] = (float)i;
            break;
        case 9:
            x[i] = (float)-i;
            break;
        case 10: // equal, whatever the sign
            x[i] = i % 2 ? 0.0f : -0.0f;
            break;
        default:
            x[i] = v;
        }
    }
}

/// The definition: devices/graph.h.
static void define(const float *x, int n, int n_top, float *list, double *sum)
{
    float value = INFINITY;
    int place = -1;
    for (int k = 0; k < n_top; k++) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            bool behind = x[i] < value || (x[i] == value && i > place);
            if (behind && x[i] > (best < 0 ? -INFINITY : x[best])) {
                best = i;
            }
        }
        value = best < 0 ? -INFINITY : x[best];
        place = best < 0 ? n : best;
        list[2 * k] = value;
        list[2 * k + 1] = (float)best;
    }
    *sum = 0.0;
    for (int i = 0; i < n; i++) {
        *sum += x[i] == -INFINITY ? 0.0 : exp((double)x[i] - (double)list[0]);
    }
}

/// A graph of the operation alone, its rows, and its lists.
typedef struct rig {
    hsdi_device *device;
    hsdi_graph *graph;
    hsdi_buffer *in, *out;
    int n, n_top, in_width, out_width;
    bool with_sum;
} rig;

static hsd_status compile(rig *r, hsd_error *err)
{
    const int width = 1;
    int list = hsdi_top_width(r->n_top, r->with_sum);
    r->in_width = X_AT + r->n + X_EXTRA;
    r->out_width = Y_AT + list + Y_EXTRA;
    const hsdi_op op = {.kind = HSDI_OP_TOP,
                        .x = {.value = HSDI_VALUE_IN, .offset = X_AT, .width = r->n},
                        .y = {.value = HSDI_VALUE_OUT, .offset = Y_AT, .width = list}};
    const hsdi_graph_desc desc = {.name = "top",
                                  .n_rows_max = N_ROWS,
                                  .n_values = 1,
                                  .value_width = &width,
                                  .in_width = r->in_width,
                                  .out_width = r->out_width,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = 1};
    return hsdi_graph_compile(r->device, &desc, &r->graph, err);
}

static void rig_open(rig *r, hsdi_device *device, int n, int n_top, bool with_sum)
{
    hsd_error err = {0};
    *r = (rig){.device = device, .n = n, .n_top = n_top, .with_sum = with_sum};
    must(compile(r, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, r->in_width, &r->in, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, r->out_width, &r->out, &err), &err);
}

static void rig_close(rig *r)
{
    hsdi_buffer_destroy(&r->in);
    hsdi_buffer_destroy(&r->out);
    hsdi_graph_destroy(&r->graph);
}

static float *in_row(const rig *r, int row)
{
    return hsdi_buffer_map(r->in) + row * r->in_width;
}

static const float *list_of(const rig *r, int row)
{
    return hsdi_buffer_map(r->out) + row * r->out_width + Y_AT;
}

static void run(const rig *r, int n_rows)
{
    static const int32_t pos[N_ROWS];
    hsd_error err = {0};
    const hsdi_job job = {.n_rows = n_rows, .pos = pos, .in = r->in, .out = r->out};
    must(hsdi_graph_run(r->graph, &job, &err), &err);
}

static void check_row(const rig *r, int row)
{
    float want[2 * HSDI_TOP_LIST_MAX];
    double want_sum;
    const float *got = list_of(r, row);
    define(in_row(r, row) + X_AT, r->n, r->n_top, want, &want_sum);
    for (int i = 0; i < 2 * r->n_top; i++) {
        if (got[i] != want[i]) {
            fail_msg("%d columns, list of %d, row %d: number %d is %g, should be %g", r->n,
                     r->n_top, row, i, (double)got[i], (double)want[i]);
        }
    }
    double sum = r->with_sum ? (double)got[2 * r->n_top] : want_sum;
    // exp is good to 4e-7, and some hundred numbers above zero are added one after the other: 1e-5
    // bounds both, 7e-7 seen.
    bool same = isnan(want_sum) ? isnan(sum) : fabs(sum - want_sum) <= 1e-5 * want_sum;
    if (!same) {
        fail_msg("%d columns, list of %d, row %d: sum %g, should be %g", r->n, r->n_top, row, sum,
                 want_sum);
    }
}

/// All rows together, then each alone in the first row's place.
static void check(hsdi_device *device, int n, int n_top, bool with_sum)
{
    rig r;
    unsigned seed = (unsigned)(n * 64 + n_top);
    rig_open(&r, device, n, n_top, with_sum);
    for (int row = 0; row < N_ROWS; row++) {
        float *x = in_row(&r, row);
        for (int i = 0; i < r.in_width; i++) {
            x[i] = 1e9f; // what is not in the view must not be listed
        }
        fill_row(row, x + X_AT, n, &seed);
    }
    run(&r, N_ROWS);
    size_t size = (size_t)hsdi_top_width(n_top, with_sum) * sizeof(float);
    float *together = calloc(N_ROWS, size);
    for (int row = 0; row < N_ROWS; row++) {
        check_row(&r, row);
        memcpy(together + (size_t)row * size / sizeof(float), list_of(&r, row), size);
    }
    for (int row = 0; row < N_ROWS; row++) {
        memmove(in_row(&r, 0), in_row(&r, row), (size_t)r.in_width * sizeof(float));
        run(&r, 1);
        if (memcmp(list_of(&r, 0), together + (size_t)row * size / sizeof(float), size) != 0) {
            fail_msg("%d columns, list of %d: row %d alone gives other bits", n, n_top, row);
        }
    }
    free(together);
    rig_close(&r);
}

static void lists_are_those_of_the_definition(void **state)
{
    static const int sizes[] = {70, 5, 1030}; // small enough for Oclgrind
    static const int tops[] = {1, 6};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int k = 0; k < 2; k++) {
            // A device each: Oclgrind takes memory where other memory has been, and that was
            // smaller, for never written (21.10).
            hsdi_device *device = open_accelerator_or_skip(*state);
            check(device, sizes[i], tops[k], k > 0);
            hsdi_device_close(&device);
        }
    }
}

static void long_rows_too(void **state)
{
    static const int sizes[] = {1, 64, 1023, 1024, 1025, 3001, N_MAX};
    static const int tops[] = {1, 2, 8, 33, 64};
    hsdi_device *device = open_accelerator_or_skip(*state);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int k = 0; k < 10; k++) {
            check(device, sizes[i], tops[k / 2], k % 2);
        }
    }
    hsdi_device_close(&device);
}

static void operands_that_do_not_fit_are_refused(void **state)
{
    hsd_error err = {0};
    rig r = {.device = open_accelerator_or_skip(*state), .n = 100, .n_top = 65};
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    r.n_top = 0;
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    r.n_top = 1;
    r.n = HSDI_TOP_TOKENS_MAX + 1;
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    assert_null(r.graph);
    hsdi_device_close(&r.device);
}

static void devices_without_the_operation_refuse_it(void **state)
{
    (void)state;
    const hsdi_cpu_options options = {.n_threads = 1, .isa = hsdi_isa_detect()};
    for (int i = 0; i < 2; i++) {
        rig r = {.n = 100, .n_top = 8};
        hsd_error err = {0};
        must(i ? hsdi_device_open_cpu(&options, &r.device, &err)
               : hsdi_device_open_null(NULL, &r.device, &err),
             &err);
        assert_false(hsdi_device_get_info(r.device)->has_top);
        assert_false(hsdi_device_get_info(r.device)->prefers_top);
        assert_int_equal(compile(&r, &err), HSD_EUNSUPPORTED);
        assert_non_null(strstr(err.message, "no lists"));
        assert_null(r.graph);
        hsdi_device_close(&r.device);
    }
}

static void the_environment_says_whether_lists_come_back(void **state)
{
    hsdi_device *device = open_accelerator_or_skip(*state);
    hsd_error err = {0};
    assert_true(hsdi_device_get_info(device)->has_top);
    hsdi_device_close(&device);
    for (int i = 0; i < 2; i++) {
        setenv("HSD_DEVICE_LISTS", i ? "1" : "0", 1);
        device = open_accelerator_or_skip(*state);
        assert_int_equal(hsdi_device_get_info(device)->prefers_top, i);
        hsdi_device_close(&device);
    }
    setenv("HSD_DEVICE_LISTS", "yes", 1);
    assert_int_equal(*state == accelerator_opencl ? hsdi_device_open_opencl(0, &device, &err)
                                                  : hsdi_device_open_level_zero(0, &device, &err),
                     HSD_EINVAL);
    assert_string_equal(err.where, "HSD_DEVICE_LISTS");
    unsetenv("HSD_DEVICE_LISTS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ACCELERATORS(lists_are_those_of_the_definition),
        ON_ACCELERATORS(long_rows_too),
        ON_ACCELERATORS(operands_that_do_not_fit_are_refused),
        ON_ACCELERATORS(the_environment_says_whether_lists_come_back),
        cmocka_unit_test(devices_without_the_operation_refuse_it),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
