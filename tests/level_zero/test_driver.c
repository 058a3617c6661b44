/// Proves: through the real loader and its validation layer, the software driver lists a GPU and an
///           NPU; it runs the SPIR-V of the product's kernels, with and without barriers and local
///           memory, and gives the numbers of plain C; the NPU refuses SPIR-V.
/// Does not prove: anything about a driver of real hardware.
#include "tests/level_zero/fixture.h"

#include "kernels/kernels.h"

#include <math.h>

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(int32_t)*seed / 2147483648.0f;
}

static void fill(float *x, int n, uint32_t seed)
{
    for (int i = 0; i < n; i++) {
        x[i] = noise(&seed);
    }
}

static void a_gpu_and_an_npu_are_listed(void **state)
{
    (void)state;
    fixture f = {0};
    open_device(&f);
    ze_device_properties_t gpu = {.stype = ZE_STRUCTURE_TYPE_DEVICE_PROPERTIES}, npu = gpu;
    ze_pci_ext_properties_t pci_gpu = {.stype = ZE_STRUCTURE_TYPE_PCI_EXT_PROPERTIES},
                            pci_npu = pci_gpu;
    OK(zeDeviceGetProperties(f.gpu, &gpu));
    OK(zeDeviceGetProperties(f.npu, &npu));
    assert_int_equal(gpu.type, ZE_DEVICE_TYPE_GPU);
    assert_int_equal(npu.type, ZE_DEVICE_TYPE_VPU);
    assert_memory_not_equal(&gpu.uuid, &npu.uuid, sizeof gpu.uuid);
    OK(zeDevicePciGetPropertiesExt(f.gpu, &pci_gpu));
    OK(zeDevicePciGetPropertiesExt(f.npu, &pci_npu));
    assert_int_not_equal(pci_gpu.address.device, pci_npu.address.device);
    assert_false(gpu.flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED);
    setenv("HSD_ZE_UNIFIED", "1", 1);
    OK(zeDeviceGetProperties(f.gpu, &gpu));
    unsetenv("HSD_ZE_UNIFIED");
    assert_true(gpu.flags & ZE_DEVICE_PROPERTY_FLAG_INTEGRATED);
    close_all(&f);
}

/// The driver takes any flags of a context: it is the layer that knows there is only one.
static void the_validation_layer_looks_on(void **state)
{
    (void)state;
    fixture f = {0};
    open_device(&f);
    const ze_context_desc_t desc = {.stype = ZE_STRUCTURE_TYPE_CONTEXT_DESC, .flags = 0x80};
    ze_context_handle_t context;
    assert_int_equal(zeContextCreate(f.driver, &desc, &context),
                     ZE_RESULT_ERROR_INVALID_ENUMERATION);
    close_all(&f);
}

static void the_npu_refuses_spirv(void **state)
{
    (void)state;
    fixture f = {0};
    open_device(&f);
    ze_module_handle_t module;
    assert_int_equal(load(&f, f.npu, hsdi_opencl_spirv, hsdi_opencl_spirv_bytes, &module, NULL),
                     ZE_RESULT_ERROR_UNSUPPORTED_FEATURE);
    close_all(&f);
}

static void every_kernel_of_the_source_is_in_the_module(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    uint32_t n = 0;
    const char *names[256];
    OK(zeModuleGetKernelNames(f.module, &n, NULL));
    assert_true(n > 20 && n <= 256);
    OK(zeModuleGetKernelNames(f.module, &n, names));
    bool norm = false;
    for (uint32_t i = 0; i < n; i++) {
        ze_kernel_handle_t kernel = new_kernel(&f, names[i]);
        ze_kernel_properties_t about = {.stype = ZE_STRUCTURE_TYPE_KERNEL_PROPERTIES};
        OK(zeKernelGetProperties(kernel, &about));
        assert_true(about.numKernelArgs > 3);
        if (strcmp(names[i], "rms_norm") == 0) {
            norm = true;
            assert_int_equal(about.requiredGroupSizeX, HSDI_OPENCL_GROUP);
            assert_int_equal(about.requiredGroupSizeY, 1);
        }
        OK(zeKernelDestroy(kernel));
    }
    assert_true(norm);
    close_all(&f);
}

/// One channel as kernels/opencl/matmul.cl says: sixteen sums, then halves.
static float product(const float *w, const float *x, int n)
{
    float sums[16] = {0};
    for (int i = 0; i < n; i++) {
        sums[i % 16] = fmaf(x[i], w[i], sums[i % 16]);
    }
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            sums[i] += sums[i + half];
        }
    }
    return sums[0];
}

static void a_product_with_device_memory_equals_plain_c(void **state)
{
    (void)state;
    enum { ROWS = 3, IN = 64, OUT = 70, ROW_BYTES = IN / 32 * 34 };
    fixture f = {0};
    open_all(&f);
    uint8_t weights[OUT * ROW_BYTES];
    float x[ROWS * IN], y[ROWS * OUT], row[IN];
    uint32_t seed = 5;
    fill(x, ROWS * IN, 3);
    for (int i = 0; i < OUT * ROW_BYTES; i++) {
        noise(&seed);
        weights[i] = (uint8_t)(i % 34 == 0 ? 0x66 : i % 34 == 1 ? 0x2e : seed >> 24);
    }
    char *w_device = memory(&f, ZE_MEMORY_TYPE_DEVICE, sizeof weights + 128);
    float *x_device = memory(&f, ZE_MEMORY_TYPE_DEVICE, sizeof x);
    float *y_device = memory(&f, ZE_MEMORY_TYPE_SHARED, sizeof y);
    ze_kernel_handle_t kernel = new_kernel(&f, "item4x2_Q8_0");
    ze_command_list_handle_t list = new_list(&f);
    OK(zeCommandListAppendMemoryCopy(list, w_device + 128, weights, sizeof weights, NULL, 0, NULL));
    OK(zeCommandListAppendMemoryCopy(list, x_device, x, sizeof x, NULL, 0, NULL));
    OK(zeCommandListAppendBarrier(list, NULL, 0, NULL));
    OK(zeKernelSetGroupSize(kernel, HSDI_OPENCL_GROUP, 1, 1));
    SET(kernel, P(w_device + 128), U(ROW_BYTES), I(IN), I(OUT), P(NULL), I(0), P(x_device), I(0),
        I(IN), P(y_device), I(0), I(OUT), I(0), I(ROWS));
    launch(list, kernel, (OUT + HSDI_OPENCL_GROUP - 1) / HSDI_OPENCL_GROUP, 1);
    OK(zeCommandListClose(list));
    execute(&f, list);
    memcpy(y, y_device, sizeof y);
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < OUT; o++) {
            hsdi_dequant_row(HSDI_TYPE_Q8_0, weights + o * ROW_BYTES, IN, row);
            float want = product(row, x + r * IN, IN);
            if (memcmp(&want, &y[r * OUT + o], sizeof want) != 0) {
                fail_msg("row %d, channel %d: %.9g, not %.9g", r, o, (double)y[r * OUT + o],
                         (double)want);
            }
        }
    }
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, w_device));
    OK(zeMemFree(f.context, x_device));
    OK(zeMemFree(f.context, y_device));
    close_all(&f);
}

static void a_norm_with_barriers_equals_plain_c(void **state)
{
    (void)state;
    enum { ROWS = 5, N = 200 };
    fixture f = {0};
    open_all(&f);
    float *x = memory(&f, ZE_MEMORY_TYPE_SHARED, ROWS * N * sizeof(float));
    float *w = memory(&f, ZE_MEMORY_TYPE_HOST, N * sizeof(float));
    float *y = memory(&f, ZE_MEMORY_TYPE_SHARED, ROWS * N * sizeof(float));
    fill(x, ROWS * N, 7);
    fill(w, N, 8);
    ze_kernel_handle_t kernel = new_kernel(&f, "rms_norm");
    ze_command_list_handle_t list = new_list(&f);
    OK(zeKernelSetGroupSize(kernel, HSDI_OPENCL_GROUP, 1, 1));
    SET(kernel, P(x), I(0), I(N), P(w), F(1e-5f), I(N), P(y), I(0), I(N));
    launch(list, kernel, 1, ROWS);
    OK(zeCommandListClose(list));
    execute(&f, list);
    for (int r = 0; r < ROWS; r++) {
        double squares = 0;
        for (int i = 0; i < N; i++) {
            squares += (double)x[r * N + i] * (double)x[r * N + i];
        }
        for (int i = 0; i < N; i++) {
            double want = (double)x[r * N + i] / sqrt(squares / N + 1e-5) * (double)w[i];
            if (fabs((double)y[r * N + i] - want) > 1e-5 * fabs(want) + 1e-9) {
                fail_msg("row %d, %d: %g, not %g", r, i, (double)y[r * N + i], want);
            }
        }
    }
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, x));
    OK(zeMemFree(f.context, w));
    OK(zeMemFree(f.context, y));
    close_all(&f);
}

enum { HEADS = 4, KV = 2, HEAD = 24, TRUNK = 150, ROWS = 3, CELLS = 160, WIDTH = KV * HEAD };

/// Softmax over trunk and own cell, in double.
static void attend(const float *q, const float *cache, int head, int own, double *out)
{
    const float *k = cache + head / (HEADS / KV) * HEAD, *v = k + CELLS * WIDTH;
    double score[TRUNK + 1], top = -INFINITY, sum = 0;
    for (int p = 0; p <= TRUNK; p++) {
        int cell = p < TRUNK ? p : own;
        score[p] = 0;
        for (int d = 0; d < HEAD; d++) {
            score[p] += 0.2 * (double)q[head * HEAD + d] * (double)k[cell * WIDTH + d];
        }
        top = score[p] > top ? score[p] : top;
    }
    memset(out, 0, HEAD * sizeof *out);
    for (int p = 0; p <= TRUNK; p++) {
        double e = exp(score[p] - top);
        sum += e;
        for (int d = 0; d < HEAD; d++) {
            out[d] += e * (double)v[(p < TRUNK ? p : own) * WIDTH + d];
        }
    }
    for (int d = 0; d < HEAD; d++) {
        out[d] /= sum;
    }
}

static void attention_with_local_memory_equals_plain_c(void **state)
{
    (void)state;
    fixture f = {0};
    open_all(&f);
    float *q = memory(&f, ZE_MEMORY_TYPE_SHARED, ROWS * HEADS * HEAD * sizeof *q);
    float *cache = memory(&f, ZE_MEMORY_TYPE_SHARED, 2 * CELLS * WIDTH * sizeof *cache);
    float *y = memory(&f, ZE_MEMORY_TYPE_SHARED, ROWS * HEADS * HEAD * sizeof *y);
    int *job =
        memory(&f, ZE_MEMORY_TYPE_SHARED, (ROWS * (HSDI_JOB_INTS + 1) + TRUNK) * sizeof *job);
    fill(q, ROWS * HEADS * HEAD, 1);
    fill(cache, 2 * CELLS * WIDTH, 2);
    int at = ROWS * HSDI_JOB_INTS;
    for (int r = 0; r < ROWS; r++) { // row r sees the trunk and its own cell
        int *row = job + r * HSDI_JOB_INTS;
        row[HSDI_JOB_TRUNK] = at;
        row[HSDI_JOB_N_TRUNK] = TRUNK;
        row[HSDI_JOB_PATH] = at + TRUNK + r;
        row[HSDI_JOB_N_PATH] = 1;
        job[at + TRUNK + r] = TRUNK + r;
    }
    for (int p = 0; p < TRUNK; p++) {
        job[at + p] = p;
    }
    ze_kernel_handle_t kernel = new_kernel(&f, "attn");
    ze_command_list_handle_t list = new_list(&f);
    SET(kernel, P(q), I(0), I(HEADS * HEAD), P(y), I(0), I(HEADS * HEAD), I(HEADS), I(KV), I(HEAD),
        F(0.2f), L(HEAD * sizeof(float)), P(job), I(0), I(CELLS), P(cache));
    launch(list, kernel, HEADS, ROWS);
    OK(zeCommandListClose(list));
    execute(&f, list);
    for (int i = 0; i < ROWS * HEADS; i++) {
        double want[HEAD];
        attend(q + i / HEADS * HEADS * HEAD, cache, i % HEADS, TRUNK + i / HEADS, want);
        for (int d = 0; d < HEAD; d++) {
            double got = (double)y[i * HEAD + d];
            if (fabs(got - want[d]) > 1e-5) { // values lie in -1 .. 1; 151 terms in f32
                fail_msg("row %d, head %d, %d: %g, not %g", i / HEADS, i % HEADS, d, got, want[d]);
            }
        }
    }
    OK(zeCommandListDestroy(list));
    OK(zeKernelDestroy(kernel));
    OK(zeMemFree(f.context, q));
    OK(zeMemFree(f.context, cache));
    OK(zeMemFree(f.context, y));
    OK(zeMemFree(f.context, job));
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_and_an_npu_are_listed),
        cmocka_unit_test(the_validation_layer_looks_on),
        cmocka_unit_test(the_npu_refuses_spirv),
        cmocka_unit_test(every_kernel_of_the_source_is_in_the_module),
        cmocka_unit_test(a_product_with_device_memory_equals_plain_c),
        cmocka_unit_test(a_norm_with_barriers_equals_plain_c),
        cmocka_unit_test(attention_with_local_memory_equals_plain_c),
    };
    return start_software_driver()
               ? cmocka_run_group_tests_name("level_zero_driver", tests, NULL, NULL)
               : 1;
}
