/// Proves: a product per head gives, for every tensor type and any number of rows and threads, the
///           bits of a product of its own for each head; a norm as an operation gives what its
///           formula does; on the CPU, OpenCL and Level Zero.
///         Graphs and caches of layers that keep their input are refused where operands, layouts
///           or devices do not fit, before anything runs.
/// Does not prove: what such layers compute together, see tests/engine/test_el.c.
#include "tests/accelerator.h"
#include "tests/kernels/support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_HEAD = 3, N_OUT = 20, N_ROWS = 7 };

static const hsdi_type types[] = {HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16, HSDI_TYPE_Q8_0,
                                  HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K, HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K};

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static hsdi_view view(int value, int offset, int width)
{
    return (hsdi_view){.value = value, .offset = offset, .width = width};
}

static hsdi_device *open_cpu(int n_threads)
{
    hsdi_device *device;
    hsd_error err = {0};
    const hsdi_cpu_options options = {.n_threads = n_threads, .isa = hsdi_isa_detect()};
    must(hsdi_device_open_cpu(&options, &device, &err), &err);
    return device;
}

/// Operations from `in` to `out`, run on n rows of x from row `first` on.
static void run_ops(hsdi_device *device, const hsdi_op *ops, int n_ops, int in_width, int out_width,
                    const float *x, int first, int n, float *y)
{
    hsd_error err = {0};
    hsdi_graph *graph;
    hsdi_buffer *in, *out;
    const int32_t pos[N_ROWS] = {0};
    const hsdi_graph_desc desc = {.name = "el",
                                  .n_rows_max = N_ROWS,
                                  .in_width = in_width,
                                  .out_width = out_width,
                                  .n_ops = n_ops,
                                  .ops = ops,
                                  .n_ctx = 1};
    must(hsdi_graph_compile(device, &desc, &graph, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, in_width, &in, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, out_width, &out, &err), &err);
    memcpy(hsdi_buffer_map(in), x + first * in_width, (size_t)n * (size_t)in_width * sizeof(float));
    const hsdi_job job = {.n_rows = n, .pos = pos, .in = in, .out = out};
    must(hsdi_graph_run(graph, &job, &err), &err);
    memcpy(y + first * out_width, hsdi_buffer_map(out),
           (size_t)n * (size_t)out_width * sizeof(float));
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    hsdi_graph_destroy(&graph);
}

/// Matrices of all heads, the same one by one, and biases likewise.
typedef struct operands {
    hsdi_weight *all, *one[N_HEAD], *bias, *bias_one[N_HEAD];
    uint8_t *data;
    float *bias_data;
} operands;

static void operands_make(operands *o, hsdi_device *device, hsdi_type type, int n_in, noise *s)
{
    hsd_error err = {0};
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t head = (size_t)N_OUT * (size_t)(n_in / info->block_elems) * (size_t)info->block_bytes;
    o->data = noise_matrix(s, type, N_HEAD * N_OUT, n_in);
    o->bias_data = noise_floats(s, N_HEAD * N_OUT);
    must(hsdi_weight_create_heads(device, type, N_HEAD, N_OUT, n_in, o->data, HSDI_USE_HEADS,
                                  &o->all, &err),
         &err);
    must(hsdi_weight_create(device, HSDI_TYPE_F32, 1, N_HEAD * N_OUT, o->bias_data, HSDI_USE_VECTOR,
                            &o->bias, &err),
         &err);
    for (int h = 0; h < N_HEAD; h++) {
        must(hsdi_weight_create(device, type, N_OUT, n_in, o->data + (size_t)h * head,
                                HSDI_USE_MATMUL, &o->one[h], &err),
             &err);
        must(hsdi_weight_create(device, HSDI_TYPE_F32, 1, N_OUT, o->bias_data + h * N_OUT,
                                HSDI_USE_VECTOR, &o->bias_one[h], &err),
             &err);
    }
}

static void operands_free(operands *o)
{
    for (int h = 0; h < N_HEAD; h++) {
        hsdi_weight_destroy(&o->one[h]);
        hsdi_weight_destroy(&o->bias_one[h]);
    }
    hsdi_weight_destroy(&o->all);
    hsdi_weight_destroy(&o->bias);
    free(o->data);
    free(o->bias_data);
}

static void check_heads(hsdi_device *device, hsdi_type type, bool has_bias)
{
    // K-quants have blocks of 256; types without blocks get a rest behind whole sixteens.
    int block = hsdi_type_find(type)->block_elems, n_in = block == 1 ? 40 : block;
    int in_width = N_HEAD * n_in, out_width = N_HEAD * N_OUT;
    noise s = {(uint64_t)type + 11};
    operands o;
    operands_make(&o, device, type, n_in, &s);
    float *x = noise_floats(&s, (size_t)N_ROWS * (size_t)in_width);
    size_t n = (size_t)N_ROWS * (size_t)out_width;
    float *want = calloc(n, sizeof *want), *got = calloc(n, sizeof *got);
    hsdi_op ops[N_HEAD], heads = {.kind = HSDI_OP_HEADS,
                                  .x = view(HSDI_VALUE_IN, 0, in_width),
                                  .y = view(HSDI_VALUE_OUT, 0, out_width),
                                  .n_head = N_HEAD,
                                  .n_parts = 1,
                                  .parts = {{.w = o.all, .bias = has_bias ? o.bias : NULL}}};
    for (int h = 0; h < N_HEAD; h++) {
        ops[h] = (hsdi_op){.kind = HSDI_OP_MATMUL,
                           .x = view(HSDI_VALUE_IN, h * n_in, n_in),
                           .y = view(HSDI_VALUE_OUT, h * N_OUT, N_OUT),
                           .n_parts = 1,
                           .parts = {{.w = o.one[h], .bias = has_bias ? o.bias_one[h] : NULL}}};
    }
    run_ops(device, ops, N_HEAD, in_width, out_width, x, 0, N_ROWS, want);
    for (int together = 1; together <= N_ROWS; together += 3) {
        memset(got, 0xff, n * sizeof *got);
        for (int first = 0; first < N_ROWS; first += together) {
            int rows = together < N_ROWS - first ? together : N_ROWS - first;
            run_ops(device, &heads, 1, in_width, out_width, x, first, rows, got);
        }
        for (size_t i = 0; i < n; i++) {
            if (memcmp(&want[i], &got[i], sizeof *want) != 0) {
                fail_msg("%s on %s, %d rows together: number %zu of row %zu is %a, not %a",
                         hsdi_type_find(type)->name, hsdi_device_get_info(device)->name, together,
                         i % (size_t)out_width, i / (size_t)out_width, (double)got[i],
                         (double)want[i]);
            }
        }
    }
    operands_free(&o);
    free(x);
    free(want);
    free(got);
}

static void a_product_per_head_gives_the_bits_of_one_of_its_own(void **state)
{
    for (int n_threads = 1; n_threads <= 5; n_threads += 2) {
        hsdi_device *device = *state ? open_accelerator_or_skip(*state) : open_cpu(n_threads);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            check_heads(device, types[t], t % 2 == 0);
        }
        check_heads(device, HSDI_TYPE_Q8_0, true);
        hsdi_device_close(&device);
    }
}

/// The formula of a norm in double.
static double normed(const float *x, int n, int i, bool is_rms, float eps)
{
    double mean = 0.0, squares = 0.0;
    for (int k = 0; k < n && !is_rms; k++) {
        mean += (double)x[k] / n;
    }
    for (int k = 0; k < n; k++) {
        squares += ((double)x[k] - mean) * ((double)x[k] - mean) / n;
    }
    return ((double)x[i] - mean) / sqrt(squares + (double)eps);
}

static void a_norm_gives_what_its_formula_does(void **state)
{
    enum { WIDTH = 72 };
    hsdi_device *device = *state ? open_accelerator_or_skip(*state) : open_cpu(3);
    noise s = {5};
    hsd_error err = {0};
    hsdi_weight *w, *b;
    float *scale = noise_floats(&s, WIDTH), *shift = noise_floats(&s, WIDTH);
    float *x = noise_floats(&s, (size_t)N_ROWS * WIDTH), y[N_ROWS * WIDTH];
    must(hsdi_weight_create(device, HSDI_TYPE_F32, 1, WIDTH, scale, HSDI_USE_VECTOR, &w, &err),
         &err);
    must(hsdi_weight_create(device, HSDI_TYPE_F32, 1, WIDTH, shift, HSDI_USE_VECTOR, &b, &err),
         &err);
    for (int kind = 0; kind < 3; kind++) {
        bool is_rms = kind == 0, has_b = kind == 2;
        const hsdi_op op = {.kind = HSDI_OP_NORM,
                            .x = view(HSDI_VALUE_IN, 0, WIDTH),
                            .y = view(HSDI_VALUE_OUT, 0, WIDTH),
                            .pre = is_rms ? HSDI_PRE_RMS_NORM : HSDI_PRE_LAYER_NORM,
                            .norm_w = w,
                            .norm_b = has_b ? b : NULL,
                            .eps = 1e-5f};
        run_ops(device, &op, 1, WIDTH, WIDTH, x, 0, N_ROWS, y);
        for (int i = 0; i < N_ROWS * WIDTH; i++) {
            int c = i % WIDTH;
            double want = normed(x + i - c, WIDTH, c, is_rms, 1e-5f) * (double)scale[c] +
                          (has_b ? (double)shift[c] : 0.0);
            if (!(fabs((double)y[i] - want) <= 2e-6 * (1.0 + fabs(want)))) {
                fail_msg("kind %d: number %d is %g, not %g", kind, i, (double)y[i], want);
            }
        }
    }
    hsdi_weight_destroy(&w);
    hsdi_weight_destroy(&b);
    hsdi_device_close(&device);
    free(scale);
    free(shift);
    free(x);
}

static hsd_status compile(hsdi_device *device, const hsdi_op *op, hsdi_graph **out)
{
    hsd_error err = {0};
    static const int widths[] = {96, 96};
    const hsdi_graph_desc desc = {.name = "el",
                                  .n_rows_max = 2,
                                  .n_values = 2,
                                  .value_width = widths,
                                  .n_ops = 1,
                                  .ops = op,
                                  .heads = {.n_head = 3, .n_kv = 3, .d_head = 8, .scale = 1.0f},
                                  .n_ctx = 4};
    return hsdi_graph_compile(device, &desc, out, &err);
}

static void operands_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    hsdi_device *device = open_cpu(1);
    hsd_error err = {0};
    hsdi_graph *graph = NULL;
    hsdi_weight *heads, *plain, *none = NULL;
    float *data = calloc(96 * 96, sizeof *data);
    must(hsdi_weight_create_heads(device, HSDI_TYPE_F32, 3, 8, 32, data, HSDI_USE_HEADS, &heads,
                                  &err),
         &err);
    must(hsdi_weight_create(device, HSDI_TYPE_F32, 24, 32, data, HSDI_USE_MATMUL, &plain, &err),
         &err);
    assert_int_equal(
        hsdi_weight_create(device, HSDI_TYPE_F32, 24, 32, data, HSDI_USE_HEADS, &none, &err),
        HSD_EINVAL);
    assert_int_equal(hsdi_weight_create_heads(device, HSDI_TYPE_F32, 0, 8, 32, data, HSDI_USE_HEADS,
                                              &none, &err),
                     HSD_EINVAL);
    assert_int_equal(hsdi_weight_create_heads(device, HSDI_TYPE_F32, 3, 8, 32, data,
                                              HSDI_USE_MATMUL, &none, &err),
                     HSD_EINVAL);
    const hsdi_op right = {.kind = HSDI_OP_HEADS,
                           .x = view(0, 0, 96),
                           .y = view(1, 0, 24),
                           .n_head = 3,
                           .n_parts = 1,
                           .parts = {{.w = heads}}};
    assert_int_equal(compile(device, &right, &graph), HSD_OK);
    hsdi_graph_destroy(&graph);
    hsdi_op wrong[6];
    for (int i = 0; i < 6; i++) {
        wrong[i] = right;
    }
    wrong[0].n_head = 2;
    wrong[1].x.width = 48;
    wrong[2].y.width = 21;
    wrong[3].parts[0].w = plain;
    wrong[4].y.value = 0;
    wrong[5] = (hsdi_op){.kind = HSDI_OP_NORM, .x = view(0, 0, 8), .y = view(1, 0, 8)};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(compile(device, &wrong[i], &graph), HSD_EINVAL);
    }
    hsdi_op matmul = right;
    matmul.kind = HSDI_OP_MATMUL;
    matmul.x.width = 32;
    assert_int_equal(compile(device, &matmul, &graph), HSD_EINVAL);
    hsdi_weight_destroy(&heads);
    hsdi_weight_destroy(&plain);
    hsdi_device_close(&device);
    free(data);
}

static void caches_of_another_layout_are_refused(void **state)
{
    (void)state;
    hsdi_device *device = open_cpu(1);
    hsd_error err = {0};
    hsdi_graph *graph = NULL;
    const hsdi_layout layouts[] = {HSDI_LAYOUT_EL, HSDI_LAYOUT_KV};
    const hsdi_op store = {.kind = HSDI_OP_STORE,
                           .x = view(0, 0, 96),
                           .y = view(0, 0, 96),
                           .layer = 1,
                           .layout = HSDI_LAYOUT_EL};
    assert_int_equal(compile(device, &store, &graph), HSD_OK);
    const int32_t zero[2] = {0}, n_path[2] = {1, 1};
    for (int i = 0; i < 4; i++) {
        hsdi_cache *cache = NULL;
        const hsdi_cache_desc desc = {
            .n_layers = 2,
            .n_cells = 4,
            .width = 24,
            .d_head = 8,
            .el_width = i == 1 ? 95 : 96,
            .layouts = i == 0   ? NULL
                       : i == 2 ? layouts
                                : (hsdi_layout[]){HSDI_LAYOUT_KV, HSDI_LAYOUT_EL}};
        must(hsdi_cache_create(device, &desc, &cache, &err), &err);
        const hsdi_job job = {.n_rows = 1,
                              .pos = zero,
                              .cell = zero,
                              .path = zero,
                              .n_path = n_path,
                              .path_stride = 1,
                              .cache = cache};
        assert_int_equal(hsdi_graph_run(graph, &job, &err), i == 3 ? HSD_OK : HSD_EINVAL);
        hsdi_cache_destroy(&cache);
    }
    hsdi_graph_destroy(&graph);
    hsdi_cache *cache = NULL;
    const hsdi_cache_desc no_width = {.n_layers = 2, .n_cells = 4, .width = 24, .layouts = layouts};
    assert_int_equal(hsdi_cache_create(device, &no_width, &cache, &err), HSD_EINVAL);
    hsdi_device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_per_head_gives_the_bits_of_one_of_its_own),
        cmocka_unit_test(a_norm_gives_what_its_formula_does),
        cmocka_unit_test(operands_that_do_not_fit_are_refused),
        cmocka_unit_test(caches_of_another_layout_are_refused),
        ON_ACCELERATORS(a_product_per_head_gives_the_bits_of_one_of_its_own),
        ON_ACCELERATORS(a_norm_gives_what_its_formula_does),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
