/// Proves: kernels that do not build give HSD_EDEVICE with the vendor's code by name and the
///           compiler's first lines; a failed call gives its own name and code; every code of
///           OpenCL 1.2 has its name; the list of devices agrees with what can be opened.
/// Does not prove: anything about a driver that is not installed here.
#include "devices/opencl/context.h"
#include "kernels/opencl/source.h"
#include "tests/opencl.h"

#include <string.h>

static void kernels_that_do_not_build_show_the_compilers_words(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    const hsdi_ocl_device *ocl = (const hsdi_ocl_device *)device;
    static const char source[] = "__kernel void broken(void) { no_such_name = 1; }";
    cl_program program = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_ocl_build(ocl, source, sizeof source - 1, &program, &err), HSD_EDEVICE);
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
    // 2^31 cells of 2^20 elements: no device has so much in one piece.
    assert_int_equal(hsdi_cache_create(device, 1, 2147483647, 1 << 20, &cache, &err), HSD_EDEVICE);
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

static void what_is_embedded_is_the_text_of_the_kernels(void **state)
{
    (void)state;
    const char *text = (const char *)hsdi_opencl_source;
    static const char last[] = "}\n";
    assert_memory_equal(text, "// Sixteen", strlen("// Sixteen"));
    assert_memory_equal(text + hsdi_opencl_source_bytes - strlen(last), last, strlen(last));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_do_not_build_show_the_compilers_words),
        cmocka_unit_test(a_failed_call_is_named),
        cmocka_unit_test(every_code_has_its_name),
        cmocka_unit_test(every_listed_device_opens_and_the_next_number_does_not),
        cmocka_unit_test(what_is_embedded_is_the_text_of_the_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
