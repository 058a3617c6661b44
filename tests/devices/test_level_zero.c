/// Proves: on Level Zero, kernels that do not build give HSD_EDEVICE with the vendor's code by name
///           and the build log; so do, with their calls, memory that runs out at any allocation, a
///           device that is lost at any submission or while it runs, and a kernel that hangs; what
///           is lost is refused from then on, and closes. A slow kernel is waited for.
///         Command lists are recorded once per shape and run again; rows are worked on in place
///           where the device shares memory; times of kernels are taken on request; every code has
///           its name; an NPU is listed and refused with what it needs.
/// Does not prove: anything about a driver other than the one in software (tests/level_zero).
#include "devices/launch/graph.h"
#include "devices/level_zero/context.h"
#include "kernels/opencl/source.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 24, N_OUT = 70, N_ROWS = 12 };

/// out = W in, on a device of its own.
typedef struct rig {
    hsdi_device *device;
    hsdi_weight *weight;
    hsdi_buffer *in, *out;
    hsdi_graph *graph;
} rig;

static float weights[N_OUT * WIDTH];
static const int32_t positions[N_ROWS];

/// Faults of the software driver, which reads them when a device is opened.
static const char *const faults[] = {
    "HSD_ZE_OOM_AT",  "HSD_ZE_LOST_SUBMIT_AT", "HSD_ZE_LOST_RUN_AT", "HSD_ZE_SLOW_MS",
    "HSD_ZE_HANG_AT", "HSD_ZE_FAIL_BUILD",     "HSD_ZE_UNIFIED",     "HSD_DEVICE_TIMEOUT_S"};

static int forget_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        unsetenv(faults[i]);
    }
    return 0;
}

static void set_number(const char *name, int value)
{
    char text[16];
    snprintf(text, sizeof text, "%d", value);
    setenv(name, text, 1);
}

static void rig_close(rig *r)
{
    hsdi_graph_destroy(&r->graph);
    hsdi_buffer_destroy(&r->in);
    hsdi_buffer_destroy(&r->out);
    hsdi_weight_destroy(&r->weight);
    if (r->device) {
        hsdi_device_close(&r->device);
    }
}

static hsd_status rig_compile(rig *r, hsd_error *err)
{
    const hsdi_op op = {.kind = HSDI_OP_MATMUL,
                        .x = {.value = HSDI_VALUE_IN, .width = WIDTH},
                        .y = {.value = HSDI_VALUE_OUT, .width = N_OUT},
                        .n_parts = 1,
                        .parts = {{.w = r->weight}}};
    const hsdi_graph_desc desc = {.name = "product",
                                  .n_rows_max = N_ROWS,
                                  .in_width = WIDTH,
                                  .out_width = N_OUT,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = 1};
    return hsdi_graph_compile(r->device, &desc, &r->graph, err);
}

/// The first failure; what was made until then stays for rig_close.
static hsd_status rig_open(rig *r, hsd_error *err)
{
    *r = (rig){0};
    for (int i = 0; i < N_OUT * WIDTH; i++) {
        weights[i] = (float)(i * 7 % 23 - 11) / 8.0f;
    }
    hsd_status status;
    if ((status = hsdi_device_open_level_zero(-1, &r->device, err)) != HSD_OK ||
        (status = hsdi_weight_create(r->device, HSDI_TYPE_F32, N_OUT, WIDTH, weights,
                                     HSDI_USE_MATMUL, &r->weight, err)) != HSD_OK ||
        (status = hsdi_buffer_create(r->device, N_ROWS, WIDTH, &r->in, err)) != HSD_OK ||
        (status = hsdi_buffer_create(r->device, N_ROWS, N_OUT, &r->out, err)) != HSD_OK) {
        return status;
    }
    return rig_compile(r, err);
}

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static hsd_status rig_run(rig *r, int n_rows, hsd_error *err)
{
    float *in = hsdi_buffer_map(r->in);
    for (int i = 0; i < n_rows * WIDTH; i++) {
        in[i] = (float)((i * 5 + n_rows) % 17 - 8) / 4.0f;
    }
    const hsdi_job job = {.n_rows = n_rows, .pos = positions, .in = r->in, .out = r->out};
    return hsdi_graph_run(r->graph, &job, err);
}

/// Run, and compare with sums in double; every number here is exact in float32.
static void rig_check(rig *r, int n_rows)
{
    hsd_error err = {0};
    memset(hsdi_buffer_map(r->out), 0xff, sizeof(float) * N_ROWS * N_OUT);
    must(rig_run(r, n_rows, &err), &err);
    const float *in = hsdi_buffer_map(r->in), *out = hsdi_buffer_map(r->out);
    for (int i = 0; i < n_rows * N_OUT; i++) {
        double want = 0.0;
        for (int k = 0; k < WIDTH; k++) {
            want += (double)weights[i % N_OUT * WIDTH + k] * (double)in[i / N_OUT * WIDTH + k];
        }
        if (!((double)out[i] == want)) {
            fail_msg("%d rows, element %d: %g, not %g", n_rows, i, (double)out[i], want);
        }
    }
    assert_true(n_rows == N_ROWS || isnan(out[n_rows * N_OUT])); // and nothing else was written
}

static void check_code(hsd_status status, const hsd_error *err, ze_result_t code)
{
    if (status != HSD_EDEVICE || err->vendor_code != (int)code ||
        !strstr(err->message, hsdi_ze_code_name(code))) {
        fail_msg("%s, code 0x%x: %s: %s, not %s", hsd_status_name(status),
                 (unsigned)err->vendor_code, err->where, err->message, hsdi_ze_code_name(code));
    }
}

static void kernels_that_do_not_build_show_the_log(void **state)
{
    (void)state;
    rig r;
    hsd_error err = {0};
    must(rig_open(&r, &err), &err);
    unsigned char spoiled[64];
    memcpy(spoiled, hsdi_opencl_spirv, sizeof spoiled);
    ze_module_handle_t module = NULL;
    hsd_status status =
        hsdi_ze_build((const hsdi_ze_device *)r.device, spoiled, sizeof spoiled, &module, &err);
    check_code(status, &err, ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
    assert_null(module);
    rig_close(&r);

    setenv("HSD_ZE_FAIL_BUILD", "1", 1);
    status = rig_open(&r, &err);
    check_code(status, &err, ZE_RESULT_ERROR_MODULE_BUILD_FAILURE);
    assert_string_equal(err.where, "zeModuleCreate");
    print_message("%s\n", err.message);
    bool wrapped = getenv("ZE_ENABLE_LOADER_INTERCEPT"); // the loader cannot give the log then
    assert_true((strstr(err.message, ": no log") != NULL) == wrapped);
    assert_null(r.device);
}

static void memory_that_runs_out_is_named_at_every_allocation(void **state)
{
    (void)state;
    int n = 1;
    for (hsd_status status = HSD_EDEVICE; status != HSD_OK; n++) {
        rig r;
        hsd_error err = {0};
        set_number("HSD_ZE_OOM_AT", n);
        status = rig_open(&r, &err);
        if (status != HSD_OK) {
            bool host = strcmp(err.where, "zeMemAllocHost") == 0;
            assert_true(host || strcmp(err.where, "zeMemAllocDevice") == 0);
            check_code(status, &err,
                       host ? ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY
                            : ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY);
        }
        rig_close(&r);
    }
    assert_true(n > 6); // weight, two buffers, `in`, `out`, table
}

/// Lost at submission, or during run, 1, 2, .. of a device, until one is beyond the last.
static void lose_at_each(const char *fault, int least)
{
    int n_lost = 0;
    for (bool lost = true; lost; n_lost += lost) {
        rig r;
        hsd_error err = {0};
        set_number(fault, n_lost + 1);
        hsd_status status = rig_open(&r, &err);
        if (status == HSD_OK) {
            status = rig_run(&r, 3, &err);
        }
        lost = status != HSD_OK;
        if (lost) {
            check_code(status, &err, ZE_RESULT_ERROR_DEVICE_LOST);
        }
        if (lost && r.graph) {
            check_code(rig_run(&r, 3, &err), &err, ZE_RESULT_ERROR_DEVICE_LOST);
            assert_non_null(strstr(err.message, "lost before"));
        }
        rig_close(&r);
    }
    assert_true(n_lost >= least);
}

static void a_device_that_is_lost_is_refused_from_then_on(void **state)
{
    (void)state;
    for (int unified = 0; unified < 2; unified++) {
        set_number("HSD_ZE_UNIFIED", unified);
        // The weight, with its barrier; the launches; without shared memory table and rows too.
        lose_at_each("HSD_ZE_LOST_SUBMIT_AT", unified ? 3 : 8);
        unsetenv("HSD_ZE_LOST_SUBMIT_AT");
        lose_at_each("HSD_ZE_LOST_RUN_AT", unified ? 3 : 8);
        unsetenv("HSD_ZE_LOST_RUN_AT");
    }
}

static void a_kernel_that_hangs_is_given_up(void **state)
{
    (void)state;
    rig r;
    hsd_error err = {0};
    setenv("HSD_ZE_HANG_AT", "1", 1);
    setenv("HSD_DEVICE_TIMEOUT_S", "2", 1); // more than a busy machine takes to open
    must(rig_open(&r, &err), &err);
    check_code(rig_run(&r, 1, &err), &err, ZE_RESULT_NOT_READY);
    assert_string_equal(err.where, "zeFenceHostSynchronize");
    assert_non_null(strstr(err.message, "no answer for 2 s"));
    check_code(rig_run(&r, 1, &err), &err, ZE_RESULT_NOT_READY);
    assert_non_null(strstr(err.message, "lost before"));
    rig_close(&r); // what the kernel may still write to is not given back
}

static void a_slow_kernel_is_waited_for(void **state)
{
    (void)state;
    rig r;
    hsd_error err = {0};
    setenv("HSD_ZE_SLOW_MS", "100", 1);
    must(rig_open(&r, &err), &err);
    rig_check(&r, 5);
    rig_close(&r);
}

static void a_timeout_that_is_no_number_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "1x", "0", "-1", "nan", "1e7"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hsdi_device *device = NULL;
        hsd_error err = {0};
        setenv("HSD_DEVICE_TIMEOUT_S", bad[i], 1);
        assert_int_equal(hsdi_device_open_level_zero(-1, &device, &err), HSD_EINVAL);
        assert_string_equal(err.where, "HSD_DEVICE_TIMEOUT_S");
        assert_null(device);
    }
}

static int n_kept(const rig *r)
{
    const hsdi_launch_graph *g = (const hsdi_launch_graph *)r->graph;
    int n = 0;
    for (int i = 0; i < HSDI_LAUNCH_N_KEPT; i++) {
        n += g->kept[i].n_key > 0;
    }
    return n;
}

static void lists_are_recorded_once_per_shape(void **state)
{
    (void)state;
    for (int unified = 0; unified < 2; unified++) {
        rig r;
        hsd_error err = {0};
        set_number("HSD_ZE_UNIFIED", unified);
        must(rig_open(&r, &err), &err);
        for (int repeat = 0; repeat < 3; repeat++) {
            rig_check(&r, 1);
            rig_check(&r, 2);
            assert_int_equal(n_kept(&r), 2);
        }
        // Other rows are another shape where the launches name them.
        hsdi_buffer *first = r.out;
        must(hsdi_buffer_create(r.device, N_ROWS, N_OUT, &r.out, &err), &err);
        rig_check(&r, 2);
        assert_int_equal(n_kept(&r), unified ? 3 : 2);
        hsdi_buffer_destroy(&first);
        for (int n_rows = 1; n_rows <= N_ROWS; n_rows++) {
            rig_check(&r, n_rows);
        }
        for (int n_rows = N_ROWS; n_rows >= 1; n_rows--) {
            rig_check(&r, n_rows);
        }
        assert_int_equal(n_kept(&r), HSDI_LAUNCH_N_KEPT);
        rig_close(&r);
    }
}

static void rows_are_worked_on_in_place_where_memory_is_shared(void **state)
{
    (void)state;
    for (int unified = 0; unified < 2; unified++) {
        rig r;
        hsd_error err = {0};
        set_number("HSD_ZE_UNIFIED", unified);
        must(rig_open(&r, &err), &err);
        rig_check(&r, 4);
        const hsdi_launch_graph *g = (const hsdi_launch_graph *)r.graph;
        assert_true((g->bound_in == ((const hsdi_launch_buffer *)r.in)->memory) == unified);
        assert_true((g->bound_out == ((const hsdi_launch_buffer *)r.out)->memory) == unified);
        rig_close(&r);
    }
}

static void times_of_kernels_are_taken_on_request(void **state)
{
    (void)state;
    rig r;
    hsd_error err = {0};
    hsdi_device_time times[4];
    must(rig_open(&r, &err), &err);
    rig_check(&r, 1);
    assert_int_equal(hsdi_device_times(r.device, times, 4), 0);
    must(hsdi_device_profile(r.device, true, &err), &err);
    for (int i = 0; i < 3; i++) {
        rig_check(&r, 1);
    }
    rig_check(&r, 9);
    assert_int_equal(hsdi_device_times(r.device, times, 4), 2);
    assert_string_equal(times[0].name, "lanes1x1_F32");
    assert_int_equal(times[0].n, 3);
    assert_true(times[0].ns > 0);
    assert_string_equal(times[1].name, "lanes8x1_F32");
    assert_int_equal(times[1].n, 1);
    must(hsdi_device_profile(r.device, false, &err), &err);
    rig_check(&r, 9);
    assert_int_equal(hsdi_device_times(r.device, times, 4), 0);
    rig_close(&r);
}

static void every_code_has_its_name(void **state)
{
    (void)state;
    static const unsigned ranges[][2] = {{0, 1},
                                         {0x70000001, 0x70000007},
                                         {0x70010000, 0x70010001},
                                         {0x70020000, 0x70020001},
                                         {0x78000001, 0x7800001b},
                                         {0x7ff00001, 0x7ff00003},
                                         {0x7ffffffe, 0x7ffffffe}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        for (unsigned code = ranges[i][0]; code <= ranges[i][1]; code++) {
            const char *name = hsdi_ze_code_name((ze_result_t)code);
            assert_memory_equal(name, "ZE_RESULT_", strlen("ZE_RESULT_"));
        }
    }
    assert_string_equal(hsdi_ze_code_name(ZE_RESULT_ERROR_DEVICE_LOST),
                        "ZE_RESULT_ERROR_DEVICE_LOST");
    assert_string_equal(hsdi_ze_code_name((ze_result_t)2), "an unknown code");
}

static void every_listed_device_opens_or_is_refused_with_its_reason(void **state)
{
    (void)state;
    hsdi_level_zero_info all[HSDI_ZE_MAX_DEVICES];
    hsd_error err = {0};
    int n = 0, n_npus = 0;
    must(hsdi_level_zero_list(all, HSDI_ZE_MAX_DEVICES, &n, &err), &err);
    assert_in_range(n, 1, HSDI_ZE_MAX_DEVICES);
    for (int i = 0; i < n; i++) {
        hsdi_device *device = NULL;
        hsd_status status = hsdi_device_open_level_zero(i, &device, &err);
        print_message("%d: %s, %s, %s, %s; %s\n", i, all[i].type, all[i].name, all[i].pci,
                      all[i].features, all[i].unusable);
        assert_true(all[i].name[0] && all[i].memory_bytes > 0 && all[i].n_units > 0);
        assert_int_equal(strlen(all[i].pci), strlen("0000:00:02.0"));
        assert_int_equal(strlen(all[i].uuid), 32);
        if (!all[i].unusable[0]) {
            must(status, &err);
            assert_string_equal(hsdi_device_get_info(device)->backend, "level_zero");
            hsdi_device_close(&device);
        } else {
            assert_int_equal(status, HSD_EUNSUPPORTED);
            assert_string_equal(err.message, all[i].unusable);
        }
        if (strcmp(all[i].type, "npu") == 0) {
            assert_non_null(strstr(all[i].unusable, "needs the vendor driver's graph extension"));
            n_npus++;
        }
    }
    assert_true(n_npus > 0);
    int again = 0;
    must(hsdi_level_zero_list(NULL, 0, &again, &err), &err);
    assert_int_equal(again, n);
}

#define CASE(f) cmocka_unit_test_teardown(f, forget_faults)

/// For LeakSanitizer: what a kernel that hangs may still use is never given back.
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:hsd_ze_driver";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(kernels_that_do_not_build_show_the_log),
        CASE(memory_that_runs_out_is_named_at_every_allocation),
        CASE(a_device_that_is_lost_is_refused_from_then_on),
        CASE(a_kernel_that_hangs_is_given_up),
        CASE(a_slow_kernel_is_waited_for),
        CASE(a_timeout_that_is_no_number_is_refused),
        CASE(lists_are_recorded_once_per_shape),
        CASE(rows_are_worked_on_in_place_where_memory_is_shared),
        CASE(times_of_kernels_are_taken_on_request),
        CASE(every_code_has_its_name),
        CASE(every_listed_device_opens_or_is_refused_with_its_reason),
    };
    // The faults are those of the software driver, which ctest names to the loader.
    setenv("HSD_ZE_REREAD", "1", 1);
    hsdi_level_zero_info info;
    hsd_error err = {0};
    int n = 0;
    hsd_status status = hsdi_level_zero_list(&info, 1, &n, &err);
    if (!getenv("ZE_ENABLE_ALT_DRIVERS") || status != HSD_OK) {
        printf("skipped: no software driver: %s\n",
               status == HSD_OK ? "not asked for" : err.message);
        return getenv("HSD_TEST_LEVEL_ZERO") ? 1 : 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
