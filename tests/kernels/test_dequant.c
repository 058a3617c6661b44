/// Proves: blocks of every tensor type mean what the reference implementation says they mean, bit
/// for
///         bit (tests/reference/fixtures/dequant.json, made by make_blocks.py).
/// Does not prove: F32, which is a copy.
#include <jansson.h>

#include "tests/kernels/support.h"

enum { ELEMS_MAX = 256, BYTES_MAX = 256 };

static int from_hex(const char *hex, uint8_t *out)
{
    int n = 0;
    for (; hex[0] && hex[1] && n < BYTES_MAX; hex += 2, n++) {
        char pair[3] = {hex[0], hex[1], 0};
        out[n] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return n;
}

static void check_case(const json_t *c, size_t i_case)
{
    uint8_t bytes[BYTES_MAX];
    float got[ELEMS_MAX];
    hsdi_type type = (hsdi_type)json_integer_value(json_object_get(c, "ggml_type"));
    const json_t *values = json_object_get(c, "values");
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t n = json_array_size(values);
    int n_bytes = from_hex(json_string_value(json_object_get(c, "hex")), bytes);
    assert_non_null(info);
    assert_string_equal(info->name, json_string_value(json_object_get(c, "type")));
    assert_true(n > 0 && n <= ELEMS_MAX);
    assert_int_equal((size_t)n_bytes, row_bytes(type, (int)n));
    hsdi_dequant_row(type, bytes, (int64_t)n, got);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(values, i);
        float want = json_is_null(value) ? INFINITY : (float)json_number_value(value);
        if (got[i] != want) {
            fail_msg("case %zu, %s, element %zu: got %a, want %a", i_case, info->name, i,
                     (double)got[i], (double)want);
        }
    }
}

static json_t *fixture;

static void every_block_means_what_the_reference_says(void **state)
{
    (void)state;
    assert_true(json_array_size(fixture) > 0);
    for (size_t i = 0; i < json_array_size(fixture); i++) {
        check_case(json_array_get(fixture, i), i);
    }
}

static void every_quantised_type_has_blocks_in_the_fixture(void **state)
{
    (void)state;
    for (int t = 1; t < N_TYPES; t++) { // all but F32
        int n_found = 0;
        for (size_t i = 0; i < json_array_size(fixture); i++) {
            const json_t *type = json_object_get(json_array_get(fixture, i), "ggml_type");
            n_found += json_integer_value(type) == (json_int_t)all_types[t];
        }
        assert_true(n_found > 0);
    }
}

int main(void)
{
    fixture = json_load_file("tests/reference/fixtures/dequant.json", 0, NULL);
    if (!fixture) {
        printf("skipped: no tests/reference/fixtures/dequant.json\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_means_what_the_reference_says),
        cmocka_unit_test(every_quantised_type_has_blocks_in_the_fixture),
    };
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(fixture);
    return n_failed;
}
