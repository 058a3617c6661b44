/// Proves: through the real loader and driver, with calls that fail, a device that is lost, and a
///           queue that stands still, at the first, the last and places between of a whole run:
///           with the target on OpenCL, opening the engine or the generation ends with EDEVICE, the
///           vendor's code and the call's name; with the draft there, the tokens are those of the
///           target alone. Afterwards everything is closed, and the next engine works.
/// Does not prove: what real hardware does when it breaks.
///
/// Needs the loader with layers (ocl-icd 2.3) and OPENCL_LAYERS naming the layer.
#include "tests/light.h"
#include "tests/opencl_faults/layer.h"

#include <dlfcn.h>
#include <hsd/hsd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 16, LOST_CODE = -36, N_PLACES = 4, TRIES = 20 };

static const char prompt[] = "Once upon a time there was a little girl who";
static const hsd_fault_plan no_fault;
static const hsd_fault_control *control;

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

static hsd_status generate(hsd_engine *engine, hsd_mode mode, text *out, hsd_error *err)
{
    hsd_session *session = NULL;
    hsd_token token;
    hsd_session_options options;
    hsd_session_options_init(&options);
    options.mode = mode;
    options.n_tokens = N_TOKENS;
    options.window = 3;
    options.ignore_eos = true;
    *out = (text){0};
    hsd_status status = hsd_session_open(engine, &options, &session, err);
    if (status == HSD_OK) {
        status = hsd_session_submit(session, prompt, strlen(prompt), err);
    }
    while (status == HSD_OK && (status = hsd_session_next(session, -1, &token, err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(out->n, 0, N_TOKENS - 1);
            out->tokens[out->n++] = token.id;
        }
    }
    hsd_session_close(&session);
    return status == HSD_EEND ? HSD_OK : status;
}

/// An engine with target or draft on OpenCL, one generation, and everything closed.
static hsd_status run(bool is_target, text *out, hsd_error *err)
{
    hsd_engine *engine = NULL;
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    *(is_target ? &options.target_device : &options.draft_device) = "opencl";
    options.n_threads = options.n_draft_threads = 1;
    hsd_status status = hsd_engine_open(&options, &engine, err);
    if (status == HSD_OK) {
        status = generate(engine, is_target ? HSD_MODE_AR : HSD_MODE_MIRROR, out, err);
    } else {
        *out = (text){0};
    }
    hsd_engine_close(&engine);
    return status;
}

static bool same(const text *a, const text *b)
{
    return a->n == b->n && memcmp(a->tokens, b->tokens, sizeof a->tokens) == 0;
}

static void reference(bool is_target, text *out)
{
    hsd_error err = {0};
    control->set(&no_fault);
    if (is_target) {
        if (run(true, out, &err) != HSD_OK) {
            fail_msg("%s: %s", err.where, err.message);
        }
    } else {
        hsd_engine *engine = NULL;
        hsd_engine_options options;
        hsd_engine_options_init(&options);
        assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_OK);
        assert_int_equal(generate(engine, HSD_MODE_AR, out, &err), HSD_OK);
        hsd_engine_close(&engine);
    }
    assert_int_equal(out->n, N_TOKENS);
}

static void explain(const hsd_fault_plan *plan, bool is_target, hsd_status status,
                    const hsd_error *err, const char *what)
{
    fail_msg("%s on OpenCL, %s number %d %s: %s (%s: %s: %s, vendor %d)",
             is_target ? "target" : "draft", plan->call, plan->at,
             plan->kind == HSD_FAULT_CODE   ? "fails"
             : plan->kind == HSD_FAULT_LOST ? "and all behind it fail"
                                            : "stands still",
             what, hsd_status_name(status), err->where, err->message, err->vendor_code);
}

static void check(const hsd_fault_plan *plan, bool is_target, const text *want)
{
    text got;
    hsd_error err = {0};
    hsd_status status;
    bool came, was_slow;
    int n_tries = 0, n_mapped = 0;
    do {
        control->set(plan);
        status = run(is_target, &got, &err);
        came = control->n_faults() > 0;
        n_mapped = control->n_mapped();
        control->set(&no_fault);
        control->release();
        // A busy machine may be taken for a queue that stands still.
        was_slow = plan->kind == HSD_FAULT_HANG && !came && status == HSD_EDEVICE;
    } while (was_slow && ++n_tries < TRIES);
    if (status == HSD_OK && !same(&got, want)) {
        explain(plan, is_target, status, &err, "other tokens");
    }
    // Memory that is freed is unmapped too: there a failure changes nothing. Weights that the
    // driver cannot use where they are get copied.
    bool may_copy = plan->kind == HSD_FAULT_CODE && strcmp(plan->call, "clCreateBuffer") == 0 &&
                    !getenv("HSD_DEVICE_SHARED");
    bool matters = strcmp(plan->call, "clEnqueueUnmapMemObject") != 0;
    // What was mapped is unmapped, no more and no less, unless that very call failed. A wait that
    // fails gives the device up, with all that it may still use.
    bool waits = strcmp(plan->call, "clEnqueueMarkerWithWaitList") == 0 ||
                 strcmp(plan->call, "clFlush") == 0;
    bool is_even = plan->kind == HSD_FAULT_CODE && !waits && (matters || status != HSD_OK);
    if (is_even && n_mapped != 0) {
        explain(plan, is_target, status, &err, "maps and unmaps are not as many");
    }
    if (is_target && came && matters && !may_copy && status == HSD_OK) {
        explain(plan, is_target, status, &err, "nothing was said");
    }
    if (!came && status != HSD_OK) {
        explain(plan, is_target, status, &err, "failed without a fault");
    }
    if (status != HSD_OK && status != HSD_EDEVICE) {
        explain(plan, is_target, status, &err, "another status");
    }
    if (status != HSD_OK && plan->kind != HSD_FAULT_HANG &&
        (err.vendor_code != plan->code ||
         (!strstr(err.where, "cl") && !strstr(err.message, "cl")))) {
        explain(plan, is_target, status, &err, "without call and code");
    }
    if (memcmp(got.tokens, want->tokens, (size_t)got.n * sizeof *got.tokens) != 0) {
        explain(plan, is_target, status, &err, "wrong tokens before the end");
    }
}

static void calls_fail(bool is_target)
{
    static const struct {
        const char *call;
        int code;
    } calls[] = {{"clCreateContext", -6},        {"clCreateCommandQueue", -6},
                 {"clBuildProgram", -11},        {"clCreateBuffer", -4},
                 {"clCreateKernel", -46},        {"clSetKernelArg", -50},
                 {"clEnqueueNDRangeKernel", -5}, {"clEnqueueReadBuffer", -5},
                 {"clEnqueueWriteBuffer", -5},   {"clEnqueueMarkerWithWaitList", LOST_CODE},
                 {"clFlush", LOST_CODE},         {"clEnqueueMapBuffer", -12},
                 {"clEnqueueUnmapMemObject", -5}};
    text want, got;
    hsd_error err = {0};
    reference(is_target, &want);
    control->set(&no_fault);
    assert_int_equal(run(is_target, &got, &err), HSD_OK);
    int n_plans = 0, n_calls[sizeof calls / sizeof *calls];
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        n_calls[i] = control->n_calls(calls[i].call);
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (int k = 0, last = 0; k < N_PLACES; k++) {
            if (is_light() && k % 2 != (int)i % 2) {
                continue;
            }
            int at = k == N_PLACES - 1 ? n_calls[i] : 1 + k * n_calls[i] / N_PLACES;
            if (at > last) {
                hsd_fault_plan plan = {calls[i].call, at,
                                       ((is_light() ? k / 2 : k) + (int)i) % 2 ? HSD_FAULT_LOST
                                                                               : HSD_FAULT_CODE,
                                       calls[i].code};
                check(&plan, is_target, &want);
                n_plans++;
            }
            last = at;
        }
    }
    assert_in_range(n_plans, is_light() ? 10 : 20, 100);
    assert_int_equal(run(is_target, &got, &err), HSD_OK);
    assert_true(is_target ? same(&got, &want) : true);
}

static void calls_of_the_target_fail(void **state)
{
    (void)state;
    calls_fail(true);
}

static void calls_of_the_draft_fail(void **state)
{
    (void)state;
    calls_fail(false);
}

/// A queue that stands still is given up after HSD_DEVICE_TIMEOUT_S.
static void a_queue_stands_still(void **state)
{
    (void)state;
    for (int is_target = 0; is_target < 2; is_target++) {
        text want, got;
        hsd_error err = {0};
        reference(is_target, &want);
        control->set(&no_fault);
        assert_int_equal(run(is_target, &got, &err), HSD_OK);
        int n = control->n_calls("clEnqueueNDRangeKernel");
        setenv("HSD_DEVICE_TIMEOUT_S", "1", 1);
        for (int k = 0; k < 3; k++) {
            hsd_fault_plan plan = {"clEnqueueNDRangeKernel", 1 + k * n / 3, HSD_FAULT_HANG, 0};
            check(&plan, is_target, &want);
        }
        unsetenv("HSD_DEVICE_TIMEOUT_S");
    }
    setenv("HSD_DEVICE_TIMEOUT_S", "soon", 1);
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_device = "opencl";
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_EINVAL);
    assert_string_equal(err.where, "HSD_DEVICE_TIMEOUT_S");
    unsetenv("HSD_DEVICE_TIMEOUT_S");
}

/// The table of a pass is as long as the pass needs, not as the graph could.
static void little_is_mapped_for_a_pass(void **state)
{
    (void)state;
    enum { BYTES_OF_A_PASS = 60000 };
    text got;
    hsd_error err = {0};
    hsd_engine *engine = NULL;
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_device = "opencl";
    options.n_threads = options.n_draft_threads = 1;
    setenv("HSD_DEVICE_LISTS", "1", 1);
    control->set(&no_fault);
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_OK);
    assert_int_equal(generate(engine, HSD_MODE_AR, &got, &err), HSD_OK); // and graphs are made
    control->set(&no_fault);
    assert_int_equal(generate(engine, HSD_MODE_AR, &got, &err), HSD_OK);
    long long n_bytes = control->n_map_bytes();
    int n_maps = control->n_calls("clEnqueueMapBuffer");
    hsd_engine_close(&engine);
    unsetenv("HSD_DEVICE_LISTS");
    print_message("%d maps, %lld bytes\n", n_maps, n_bytes);
    if (n_maps == 0) {
        skip(); // nothing is shared with this device
    }
    assert_true(n_bytes < (long long)n_maps * BYTES_OF_A_PASS);
}

static void a_kernel_that_needs_too_much_is_refused(void **state)
{
    (void)state;
    text got;
    hsd_error err = {0};
    const hsd_fault_plan plan = {"clEnqueueNDRangeKernel", 3, HSD_FAULT_CODE,
                                 -54}; // CL_INVALID_WORK_GROUP_SIZE
    control->set(&plan);
    assert_int_equal(run(true, &got, &err), HSD_EUNSUPPORTED);
    control->set(&no_fault);
    assert_non_null(strstr(err.message, "takes no group of "));
    assert_int_equal(run(true, &got, &err), HSD_OK);
}

static int open_layer(void **state)
{
    (void)state;
    const char *path = getenv("OPENCL_LAYERS");
    hsd_device_info devices[8];
    hsd_error err = {0};
    int n = 0;
    void *layer = NULL;
    if (hsd_device_list(devices, 8, &n, &err) == HSD_OK && n > 1 && path) {
        layer = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    }
    if (layer) {
        control = dlsym(layer, HSD_FAULT_SYMBOL);
    }
    if (control) {
        return 0;
    }
    fprintf(stderr, "skipped: no OpenCL device, or a loader without layers\n");
    exit(getenv("HSD_TEST_OPENCL") ? 1 : 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_the_target_fail),
        cmocka_unit_test(calls_of_the_draft_fail),
        cmocka_unit_test(a_queue_stands_still),
        cmocka_unit_test(little_is_mapped_for_a_pass),
        cmocka_unit_test(a_kernel_that_needs_too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, open_layer, NULL);
}
