/// Proves: kernels that do not build give HSD_EDEVICE with the vendor's code by name and the
///           compiler's first lines; a failed call gives its own name and code; every code of
///           OpenCL 1.2 has its name; the list of devices agrees with what can be opened; devices
///           that are tried when none is named are all there, GPUs first.
///         Compiled kernels are kept and taken again; a damaged or foreign file, and a file that
///           the driver refuses, are made again; a folder that cannot be written is no failure.
///         Oclgrind sees a race (where the test is run on it).
/// Does not prove: anything about a driver that is not installed here.
#include "devices/keep.h"
#include "devices/opencl/find.h"
#include "devices/opencl/program.h"
#include "kernels/opencl/source.h"
#include "tests/opencl.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void kernels_that_do_not_build_show_the_compilers_words(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    const hsdi_ocl_device *ocl = (const hsdi_ocl_device *)device;
    static const char source[] = "__kernel void broken(void) { no_such_name = 1; }";
    const hsdi_ocl_text text = {.source = source, .n_bytes = sizeof source - 1};
    cl_program program = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_ocl_build(ocl, &text, &program, &err), HSD_EDEVICE);
    assert_null(program);
    assert_string_equal(err.where, "clBuildProgram");
    assert_int_equal(err.vendor_code, CL_BUILD_PROGRAM_FAILURE);
    assert_non_null(strstr(err.message, "CL_BUILD_PROGRAM_FAILURE (-11): "));
    print_message("%s\n", err.message);
    assert_null(strstr(err.message, ": no log"));
    hsdi_device_close(&device);
}

static void a_failed_call_is_named(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    hsd_error err = {0};
    hsdi_cache *cache = NULL;
    // No device has so much in one piece.
    const hsdi_cache_desc huge = {.n_layers = 1, .n_cells = 2147483647, .width = 1 << 20};
    assert_int_equal(hsdi_cache_create(device, &huge, &cache, &err), HSD_EDEVICE);
    assert_null(cache);
    assert_string_equal(err.where, "clCreateBuffer");
    assert_true(err.vendor_code < 0);
    assert_non_null(strstr(err.message, hsdi_ocl_code_name(err.vendor_code)));
    hsdi_device_close(&device);
}

static void every_code_has_its_name(void **state)
{
    (void)state;
    for (cl_int code = -68; code <= 0; code++) {
        bool known = !(code <= -20 && code >= -29); // these are free; -69 and below came later
        assert_int_equal(strncmp(hsdi_ocl_code_name(code), "CL_", 3) == 0, known);
    }
    assert_string_equal(hsdi_ocl_code_name(CL_OUT_OF_RESOURCES), "CL_OUT_OF_RESOURCES");
    assert_string_equal(hsdi_ocl_code_name(-1001), "CL_PLATFORM_NOT_FOUND_KHR");
    assert_string_equal(hsdi_ocl_code_name(1), "an unknown code");
}

static void every_listed_device_opens_and_the_next_number_does_not(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    hsdi_device_close(&device);
    hsdi_opencl_info all[64];
    hsd_error err = {0};
    int n = 0;
    assert_int_equal(hsdi_opencl_list(all, 64, &n, &err), HSD_OK);
    assert_in_range(n, 1, 64);
    for (int i = 0; i < n; i++) {
        assert_int_equal(hsdi_device_open_opencl(i, &device, &err), HSD_OK);
        assert_string_equal(hsdi_device_get_info(device)->backend, "opencl");
        assert_true(all[i].name[0] && all[i].memory_bytes > 0);
        hsdi_device_close(&device);
    }
    assert_int_equal(hsdi_device_open_opencl(n, &device, &err), HSD_ENODEVICE);
    int again = 0;
    assert_int_equal(hsdi_opencl_list(NULL, 0, &again, &err), HSD_OK);
    assert_int_equal(again, n);
}

static void devices_are_tried_with_gpus_first(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    const hsdi_ocl_api *api = ((const hsdi_ocl_device *)device)->api;
    hsdi_opencl_info all[HSDI_OCL_MAX_DEVICES];
    hsdi_ocl_found f;
    hsd_error err = {0};
    int order[HSDI_OCL_MAX_DEVICES], seen = 0, n = 0, not_gpu = 0;
    hsdi_device_close(&device);
    assert_int_equal(hsdi_ocl_find(api, &f, &err), HSD_OK);
    assert_int_equal(hsdi_opencl_list(all, HSDI_OCL_MAX_DEVICES, &n, &err), HSD_OK);
    assert_int_equal(n, f.n);
    hsdi_ocl_order(api, &f, order);
    for (int i = 0; i < n; i++) {
        assert_in_range(order[i], 0, n - 1);
        bool gpu = strcmp(all[order[i]].type, "gpu") == 0;
        assert_false(gpu && not_gpu);
        not_gpu = !gpu;
        seen += 1 << order[i];
    }
    assert_int_equal(seen, (1 << n) - 1);
}

/// A folder of its own for what is kept; the caller's is put back by `own_folder_end`.
typedef struct own_folder {
    char path[64];
    char *before;
} own_folder;

static void own_folder_begin(own_folder *f)
{
    const char *before = getenv("HSD_CACHE_DIR");
    f->before = before ? strdup(before) : NULL;
    snprintf(f->path, sizeof f->path, "/tmp/hsd-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    setenv("HSD_CACHE_DIR", f->path, 1);
}

static int n_files(const own_folder *f, char *last, size_t cap)
{
    int n = 0;
    DIR *dir = opendir(f->path);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            snprintf(last, cap, "%s/%s", f->path, entry->d_name);
            n++;
        }
    }
    closedir(dir);
    return n;
}

static void own_folder_end(own_folder *f)
{
    char path[512];
    while (n_files(f, path, sizeof path) > 0) {
        assert_int_equal(remove(path), 0);
    }
    assert_int_equal(remove(f->path), 0);
    f->before ? setenv("HSD_CACHE_DIR", f->before, 1) : unsetenv("HSD_CACHE_DIR");
    free(f->before);
}

/// Open, and say whether the kernels were there.
static bool opens_with_kept_kernels(void)
{
    hsdi_device *device = open_opencl_or_skip();
    bool kept = strstr(hsdi_device_get_info(device)->note, "kept from") != NULL;
    print_message("%s\n", hsdi_device_get_info(device)->note);
    hsdi_device_close(&device);
    return kept;
}

/// The same key with other contents: what a driver must refuse. false: it does not, but aborts
/// (rusticl 22.3).
static bool keep_nonsense(const char *kind)
{
    hsdi_device *device = open_opencl_or_skip();
    char key[2048];
    const hsdi_ocl_text text = hsdi_ocl_common();
    hsdi_ocl_program_key((const hsdi_ocl_device *)device, &text, key, sizeof key);
    bool refused = strncmp(key, "rusticl\n", 8) != 0;
    if (refused) {
        assert_int_equal(hsdi_keep_write(kind, key, "nonsense", 8, NULL), HSD_OK);
    }
    hsdi_device_close(&device);
    return refused;
}

static void kernels_are_kept_and_bad_files_are_made_again(void **state)
{
    (void)state;
    own_folder folder;
    char path[512];
    hsdi_device *device = open_opencl_or_skip();
    hsdi_device_close(&device);
    own_folder_begin(&folder);
    assert_false(opens_with_kept_kernels());
    if (n_files(&folder, path, sizeof path) == 0) {
        own_folder_end(&folder);
        print_message("skipped: the driver gives no binary\n");
        skip();
    }
    assert_int_equal(n_files(&folder, path, sizeof path), 1);
    assert_true(opens_with_kept_kernels());
    FILE *file = fopen(path, "r+b"); // one byte of the binary
    assert_int_equal(fseek(file, -100, SEEK_END), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_false(opens_with_kept_kernels());
    assert_true(opens_with_kept_kernels());
    if (keep_nonsense(HSDI_OCL_KEPT)) { // a good file, but no program
        assert_false(opens_with_kept_kernels());
        assert_true(opens_with_kept_kernels());
    }
    own_folder_end(&folder);
}

static void a_folder_that_cannot_be_written_is_no_failure(void **state)
{
    (void)state;
    own_folder folder;
    hsdi_device *device = open_opencl_or_skip();
    hsdi_device_close(&device);
    own_folder_begin(&folder);
    setenv("HSD_CACHE_DIR", "/proc/nowhere/hsd", 1);
    assert_false(opens_with_kept_kernels());
    device = open_opencl_or_skip();
    const char *note = hsdi_device_get_info(device)->note;
    assert_true(strstr(note, "/proc/nowhere/hsd") || strstr(note, "compiled in"));
    hsdi_device_close(&device);
    setenv("HSD_CACHE_DIR", "", 1); // off
    assert_false(opens_with_kept_kernels());
    assert_false(opens_with_kept_kernels());
    setenv("HSD_CACHE_DIR", folder.path, 1);
    own_folder_end(&folder);
}

static void a_race(void **state)
{
    (void)state;
    if (!getenv("HSD_TEST_FAULTY")) {
        skip(); // for tests/opencl_driver.sh
    }
    hsdi_device *device = open_opencl_or_skip();
    hsdi_ocl_device *ocl = (hsdi_ocl_device *)device;
    static const char source[] =
        "__kernel void racy(__global int *x) { x[0] = get_global_id(0); x[1] = x[0]; }";
    const hsdi_ocl_text text = {.source = source, .n_bytes = sizeof source - 1};
    cl_program program = NULL;
    hsd_error err = {0};
    cl_int code;
    cl_mem memory;
    const size_t size = HSDI_OPENCL_GROUP;
    assert_int_equal(hsdi_ocl_build(ocl, &text, &program, &err), HSD_OK);
    assert_int_equal(hsdi_ocl_memory(ocl, 64, NULL, &memory, &err), HSD_OK);
    cl_kernel kernel = ocl->api->CreateKernel(program, "racy", &code);
    assert_int_equal(ocl->api->SetKernelArg(kernel, 0, sizeof memory, &memory), CL_SUCCESS);
    assert_int_equal(
        ocl->api->EnqueueNDRangeKernel(ocl->queue, kernel, 1, NULL, &size, &size, 0, NULL, NULL),
        CL_SUCCESS);
    assert_int_equal(hsdi_ocl_driver.finish(&ocl->launch, &err), HSD_OK);
    (void)ocl->api->ReleaseKernel(kernel);
    (void)ocl->api->ReleaseProgram(program);
    hsdi_ocl_memory_free(ocl, memory);
    hsdi_device_close(&device);
}

static void what_is_embedded_is_the_text_of_the_kernels(void **state)
{
    (void)state;
    static const char last[] = "}\n", noise[] = "/// Philox", types[] = "// Sixteen";
    const char *text = (const char *)hsdi_opencl_source;
    const char *products = (const char *)hsdi_opencl_products;
    assert_memory_equal(text, noise, strlen(noise));
    assert_memory_equal(text + hsdi_opencl_source_bytes - strlen(last), last, strlen(last));
    assert_memory_equal(products, types, strlen(types));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_do_not_build_show_the_compilers_words),
        cmocka_unit_test(a_failed_call_is_named),
        cmocka_unit_test(every_code_has_its_name),
        cmocka_unit_test(every_listed_device_opens_and_the_next_number_does_not),
        cmocka_unit_test(devices_are_tried_with_gpus_first),
        cmocka_unit_test(kernels_are_kept_and_bad_files_are_made_again),
        cmocka_unit_test(a_folder_that_cannot_be_written_is_no_failure),
        cmocka_unit_test(a_race),
        cmocka_unit_test(what_is_embedded_is_the_text_of_the_kernels),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
