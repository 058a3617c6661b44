/// Proves:
///   - a valid file's values, arrays and tensors are read as written, from memory and from a file
///   - a file cut at any byte gives an error, and nothing outside it is read (under a sanitizer)
///   - every count, length, product, offset, alignment and type that is wrong is refused, with the
///     place in the file, and so are duplicates and overlaps
///   - a tensor of unknown type is listed, and refused by name and number when it is used
///   - the fingerprint tells files apart and is the same on every machine
/// Does not prove: behaviour on a file that changes while it is mapped.
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernels.h"
#include "tests/fuzz/gguf_writer.h"

enum { TYPE_Q5_0 = 6 }; // a type of the format that this project does not compute with

// Open a copy of exactly these bytes, so that a sanitizer sees any read outside.
static hsd_status try_open(const gguf_writer *w, size_t n, hsdi_gguf **out, hsd_error *err)
{
    // Open files borrow their bytes: the copy lives until the next call.
    static uint8_t *copy;
    free(copy);
    copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, w->data, n);
    *err = (hsd_error){0};
    return hsdi_gguf_open_memory(copy, n, out, err);
}

static void expect_refused(gguf_writer *w, hsd_status status, const char *needle)
{
    hsdi_gguf *g;
    hsd_error err;
    hsd_status s = try_open(w, w->n, &g, &err);
    if (s != status || g || err.status != status || !strstr(err.message, needle)) {
        print_error("got %s \"%s\" at %" PRId64 ", wanted %s \"%s\"\n", hsd_status_name(s),
                    err.message, err.byte_offset, hsd_status_name(status), needle);
    }
    assert_int_equal(s, status);
    assert_int_equal(err.status, status);
    assert_null(g);
    assert_non_null(strstr(err.message, needle));
    assert_true(err.byte_offset >= 0 && (size_t)err.byte_offset <= w->n);
    assert_true(err.where[0] != 0);
    free(w->data);
    *w = (gguf_writer){0};
}

static void write_good_values(gguf_writer *w)
{
    gw_kv_str(w, "general.architecture", "llama");
    gw_key(w, "u8", HSDI_GGUF_U8);
    gw_u8(w, 200);
    gw_key(w, "i8", HSDI_GGUF_I8);
    gw_u8(w, 0x80);
    gw_key(w, "u16", HSDI_GGUF_U16);
    gw_u16(w, 65535);
    gw_key(w, "i16", HSDI_GGUF_I16);
    gw_u16(w, 0x8000);
    gw_kv_u32(w, "u32", UINT32_MAX);
    gw_key(w, "i32", HSDI_GGUF_I32);
    gw_u32(w, 0xFFFFFFFE);
    gw_key(w, "u64", HSDI_GGUF_U64);
    gw_u64(w, UINT64_MAX);
    gw_key(w, "i64", HSDI_GGUF_I64);
    gw_u64(w, (uint64_t)INT64_MIN);
    gw_key(w, "f32", HSDI_GGUF_F32);
    gw_f32(w, 1.5F);
    gw_key(w, "f64", HSDI_GGUF_F64);
    gw_u64(w, UINT64_C(0x4004000000000000)); // 2.5
    gw_key(w, "nan", HSDI_GGUF_F32);
    gw_u32(w, 0x7FC00000);
    gw_kv_bool(w, "yes", 1);
    gw_key_array(w, "words", HSDI_GGUF_STRING, 3);
    gw_str(w, "one");
    gw_str(w, "");
    gw_strn(w, "t\0o", 3);
    gw_key_array(w, "floats", HSDI_GGUF_F32, 2);
    gw_f32(w, -1.0F);
    gw_f32(w, 3.0F);
    gw_key_array(w, "none", HSDI_GGUF_I32, 0);
}

enum { N_GOOD_KV = 16, N_GOOD_TENSORS = 3 };

static gguf_writer good_file(void)
{
    gguf_writer w = {0};
    gw_header(&w, N_GOOD_TENSORS, N_GOOD_KV);
    write_good_values(&w);
    gw_tensor(&w, "blk.0.q", 2, (uint64_t[]){32, 3}, HSDI_TYPE_Q8_0, 0); // 102 bytes
    gw_tensor(&w, "exotic", 1, (uint64_t[]){32}, TYPE_Q5_0, 128);        // size not known
    gw_tensor(&w, "norm", 3, (uint64_t[]){2, 1, 2}, HSDI_TYPE_F32, 160); // 16 bytes
    gw_align(&w, 32);
    for (int i = 0; i < 176; i++) {
        gw_u8(&w, (uint8_t)i);
    }
    return w;
}

static hsdi_gguf *open_good(void)
{
    gguf_writer w = good_file();
    hsdi_gguf *g;
    hsd_error err;
    hsd_status s = try_open(&w, w.n, &g, &err);
    if (s != HSD_OK) {
        fail_msg("%s", err.message);
    }
    free(w.data);
    return g;
}

static void scalar_values_are_read_as_written(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int64_t value;
    } ints[] = {{"u8", 200},         {"i8", -128}, {"u16", 65535},    {"i16", -32768},
                {"u32", UINT32_MAX}, {"i32", -2},  {"i64", INT64_MIN}};
    hsdi_gguf *g = open_good();
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        int64_t v = 0;
        assert_int_equal(hsdi_gguf_get_int(g, ints[i].key, INT64_MIN, INT64_MAX, &v, NULL), HSD_OK);
        assert_int_equal(v, ints[i].value);
    }
    float f = 0;
    bool yes = false;
    hsdi_gguf_str s;
    assert_int_equal(hsdi_gguf_get_f32(g, "f32", &f, NULL), HSD_OK);
    assert_true(f == 1.5F);
    assert_int_equal(hsdi_gguf_get_f32_or(g, "f64", 0, &f, NULL), HSD_OK);
    assert_true(f == 2.5F);
    assert_int_equal(hsdi_gguf_get_bool_or(g, "yes", false, &yes, NULL), HSD_OK);
    assert_true(yes);
    assert_int_equal(hsdi_gguf_get_str(g, "general.architecture", &s, NULL), HSD_OK);
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.data, "llama", 5);
    hsdi_gguf_close(&g);
    assert_null(g);
    hsdi_gguf_close(&g);
}

static void arrays_are_read_element_by_element(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    const hsdi_gguf_kv *kv;
    hsdi_gguf_str s;
    float f;
    int64_t v;
    assert_int_equal(hsdi_gguf_get_array(g, "words", HSDI_GGUF_STRING, &kv, NULL), HSD_OK);
    assert_int_equal(kv->n, 3);
    assert_int_equal(hsdi_gguf_at_str(kv, 0, &s), HSD_OK);
    assert_memory_equal(s.data, "one", 3);
    assert_int_equal(hsdi_gguf_at_str(kv, 1, &s), HSD_OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(hsdi_gguf_at_str(kv, 2, &s), HSD_OK);
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.data, "t\0o", 3);
    assert_int_equal(hsdi_gguf_at_str(kv, 3, &s), HSD_EINVAL);
    assert_int_equal(hsdi_gguf_at_int(kv, 0, &v), HSD_EINVAL);
    assert_int_equal(hsdi_gguf_get_array(g, "floats", HSDI_GGUF_F32, &kv, NULL), HSD_OK);
    assert_int_equal(hsdi_gguf_at_f32(kv, 1, &f), HSD_OK);
    assert_true(f == 3.0F);
    assert_int_equal(hsdi_gguf_at_f32(kv, 2, &f), HSD_EINVAL);
    assert_int_equal(hsdi_gguf_get_array(g, "none", HSDI_GGUF_I32, &kv, NULL), HSD_OK);
    assert_int_equal(hsdi_gguf_at_int(kv, 0, &v), HSD_EINVAL);
    hsdi_gguf_close(&g);
}

static void a_value_of_the_wrong_kind_is_an_error_with_its_key_and_place(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    hsd_error err;
    int64_t v = 77;
    float f = 77;
    bool b = false;
    hsdi_gguf_str s = {NULL, 77};
    const hsdi_gguf_kv *kv = NULL;
    assert_int_equal(hsdi_gguf_get_int(g, "absent", 0, 1, &v, &err), HSD_EFORMAT);
    assert_string_equal(err.where, "absent");
    assert_string_equal(err.message, "the key absent is missing");
    assert_int_equal(hsdi_gguf_get_int(g, "u64", INT64_MIN, INT64_MAX, &v, &err), HSD_EFORMAT);
    assert_non_null(strstr(err.message, "18446744073709551615"));
    assert_int_equal(hsdi_gguf_get_int(g, "u8", 0, 199, &v, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_int_or(g, "u8", 201, 300, 250, &v, &err), HSD_EFORMAT);
    assert_int_equal(err.byte_offset, hsdi_gguf_find(g, "u8")->offset);
    assert_int_equal(hsdi_gguf_get_int(g, "yes", 0, 1, &v, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_int(g, "words", 0, 1, &v, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_f32(g, "nan", &f, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_f32(g, "floats", &f, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_bool_or(g, "u8", true, &b, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_str(g, "u8", &s, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_str(g, "words", &s, &err), HSD_EFORMAT);
    assert_int_equal(hsdi_gguf_get_array(g, "floats", HSDI_GGUF_I32, &kv, &err), HSD_EFORMAT);
    assert_string_equal(err.message,
                        "the key floats is of type array of f32, array of i32 is needed");
    assert_int_equal(hsdi_gguf_get_array(g, "f32", HSDI_GGUF_F32, &kv, &err), HSD_EFORMAT);
    assert_int_equal(v, 77);
    assert_true(f == 77 && s.n == 77 && !b && !kv);
    hsdi_gguf_close(&g);
}

static void an_absent_key_takes_the_other_value(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    int64_t v;
    float f;
    bool b;
    hsdi_gguf_str s;
    assert_int_equal(hsdi_gguf_get_int_or(g, "absent", 0, 9, -5, &v, NULL), HSD_OK);
    assert_int_equal(v, -5);
    assert_int_equal(hsdi_gguf_get_f32_or(g, "absent", 0.25F, &f, NULL), HSD_OK);
    assert_true(f == 0.25F);
    assert_int_equal(hsdi_gguf_get_bool_or(g, "absent", true, &b, NULL), HSD_OK);
    assert_true(b);
    assert_int_equal(hsdi_gguf_get_str_or(g, "absent", "other", &s, NULL), HSD_OK);
    assert_int_equal(s.n, 5);
    hsdi_gguf_close(&g);
}

static void tensors_are_found_with_their_shape_and_bytes(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    const hsdi_gguf_tensor *t;
    assert_int_equal(hsdi_gguf_n_tensors(g), 3);
    assert_int_equal(hsdi_gguf_tensor_get(g, "blk.0.q", &t, NULL), HSD_OK);
    assert_int_equal(t->type, HSDI_TYPE_Q8_0);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->ne[0], 32);
    assert_int_equal(t->ne[1], 3);
    assert_int_equal(t->ne[3], 1);
    assert_int_equal(t->size_bytes, 102);
    assert_int_equal(((const uint8_t *)t->data)[101], 101);
    assert_int_equal(hsdi_gguf_tensor_get(g, "norm", &t, NULL), HSD_OK);
    assert_int_equal(t->size_bytes, 16);
    assert_int_equal(((const uint8_t *)t->data)[0], 160);
    assert_ptr_equal(hsdi_gguf_tensor_at(g, 2), t);
    assert_null(hsdi_gguf_tensor_at(g, 3));
    assert_null(hsdi_gguf_tensor_at(g, -1));
    assert_null(hsdi_gguf_tensor_find(g, "absent"));
    hsd_error err;
    assert_int_equal(hsdi_gguf_tensor_get(g, "absent", &t, &err), HSD_EFORMAT);
    assert_string_equal(err.message, "the tensor absent is missing");
    hsdi_gguf_close(&g);
}

static void a_tensor_of_unknown_type_is_listed_and_refused_when_used(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    hsd_error err;
    const hsdi_gguf_tensor *t = hsdi_gguf_tensor_find(g, "exotic");
    assert_false(t->known);
    assert_int_equal(t->type, TYPE_Q5_0);
    assert_int_equal(hsdi_gguf_tensor_get(g, "exotic", &t, &err), HSD_EUNSUPPORTED);
    assert_string_equal(err.message,
                        "tensor exotic is of type 6 (Q5_0), which this build does not support");
    assert_int_equal(hsdi_gguf_check_types(g, &err), HSD_EUNSUPPORTED);
    assert_string_equal(err.where, "exotic");
    hsdi_gguf_close(&g);
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
    (void)state;
    gguf_writer w = good_file();
    for (size_t n = 0; n < w.n; n++) {
        hsdi_gguf *g;
        hsd_error err;
        hsd_status s = try_open(&w, n, &g, &err);
        if (s != HSD_EFORMAT || g || err.message[0] == 0) {
            fail_msg("cut at byte %zu of %zu: %s", n, w.n, hsd_status_name(s));
        }
    }
    free(w.data);
}

static void any_changed_byte_is_refused_or_read_within_the_file(void **state)
{
    (void)state;
    gguf_writer w = good_file();
    static const uint8_t values[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    for (size_t i = 0; i < w.n * sizeof values; i++) {
        uint8_t before = w.data[i / sizeof values];
        w.data[i / sizeof values] = values[i % sizeof values];
        hsdi_gguf *g;
        hsd_error err;
        if (try_open(&w, w.n, &g, &err) == HSD_OK) {
            assert_int_not_equal(hsdi_gguf_fingerprint(g), 0); // reads what is pointed to
            hsdi_gguf_close(&g);
        }
        w.data[i / sizeof values] = before;
    }
    free(w.data);
}

static void other_versions_and_byte_orders_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        uint32_t version;
        const char *needle;
    } cases[] = {{0, "version 0"},
                 {1, "version 1"},
                 {4, "version 4"},
                 {0x03000000, "big-endian"},
                 {0x02000000, "big-endian"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gguf_writer w = {0};
        gw_bytes(&w, "GGUF", 4);
        gw_u32(&w, cases[i].version);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EUNSUPPORTED, cases[i].needle);
    }
    gguf_writer w = {0};
    gw_bytes(&w, "GGML", 4);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EFORMAT, "no GGUF file");
}

static void version_2_is_read_like_version_3(void **state)
{
    (void)state;
    gguf_writer w = good_file();
    hsdi_gguf *g;
    hsd_error err;
    w.data[4] = 2;
    assert_int_equal(try_open(&w, w.n, &g, &err), HSD_OK);
    assert_int_equal(hsdi_gguf_version(g), 2);
    hsdi_gguf_close(&g);
    free(w.data);
}

static void counts_that_the_file_cannot_hold_are_refused(void **state)
{
    (void)state;
    static const uint64_t huge[] = {UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX / 14 + 2, 100};
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        gguf_writer w = {0};
        gw_header(&w, huge[i], 0);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EFORMAT, "tensor_count");
        gw_header(&w, 0, huge[i]);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EFORMAT, "metadata_kv_count");
        gw_header(&w, 0, 1);
        gw_key_array(&w, "strings", HSDI_GGUF_STRING, huge[i]);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EFORMAT, "strings do not fit");
        gw_header(&w, 0, 1);
        gw_key_array(&w, "numbers", HSDI_GGUF_F64, huge[i]);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EFORMAT, "values of 8 bytes do not fit");
    }
}

static void strings_past_the_end_are_refused(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {65, UINT64_MAX, UINT64_MAX - 40, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        gguf_writer w = {0};
        gw_header(&w, 0, 1);
        gw_key(&w, "text", HSDI_GGUF_STRING);
        gw_u64(&w, lengths[i]);
        gw_zeros(&w, 64);
        expect_refused(&w, HSD_EFORMAT, "key 0 (text): a string needs");
    }
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        const char *needle;
    } cases[] = {{0, "a name of 0 bytes"}, {65536, "a name of 65536 bytes"}, {8, "zero byte"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gguf_writer w = {0};
        gw_header(&w, 0, 1);
        gw_u64(&w, cases[i].n);
        gw_zeros(&w, 70000);
        expect_refused(&w, HSD_EFORMAT, cases[i].needle);
    }
}

static void bad_value_types_are_refused(void **state)
{
    (void)state;
    gguf_writer w = {0};
    gw_header(&w, 0, 1);
    gw_key(&w, "key", (hsdi_gguf_type)13);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EFORMAT, "no value type 13");
    gw_header(&w, 0, 1);
    gw_key_array(&w, "key", (hsdi_gguf_type)99, 1);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EFORMAT, "no value type 99");
    gw_header(&w, 0, 1);
    gw_key_array(&w, "key", HSDI_GGUF_ARRAY, 1);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EUNSUPPORTED, "arrays of arrays");
    gw_header(&w, 0, 1);
    gw_kv_bool(&w, "key", 2);
    expect_refused(&w, HSD_EFORMAT, "a bool is 0 or 1, not 2");
    gw_header(&w, 0, 1);
    gw_key_array(&w, "key", HSDI_GGUF_BOOL, 3);
    gw_bytes(&w, "\0\1\377", 3);
    expect_refused(&w, HSD_EFORMAT, "a bool is 0 or 1, not 255");
}

static void duplicate_names_are_refused(void **state)
{
    (void)state;
    gguf_writer w = {0};
    gw_header(&w, 0, 2);
    gw_kv_u32(&w, "key", 1);
    gw_kv_u32(&w, "key", 1);
    expect_refused(&w, HSD_EFORMAT, "key 1 (key): the same key is entry 0 already");
    gw_header(&w, 2, 0);
    gw_tensor(&w, "t", 1, (uint64_t[]){4}, HSDI_TYPE_F32, 0);
    gw_tensor(&w, "t", 1, (uint64_t[]){4}, HSDI_TYPE_F32, 32);
    gw_align(&w, 32);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EFORMAT, "tensor 1 (t): tensor 0 has the same name");
}

static void bad_alignments_are_refused(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 3, 24, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gguf_writer w = {0};
        gw_header(&w, 0, 1);
        gw_kv_u32(&w, "general.alignment", bad[i]);
        expect_refused(&w, HSD_EFORMAT, "general.alignment");
    }
    gguf_writer w = {0};
    gw_header(&w, 0, 1);
    gw_kv_str(&w, "general.alignment", "32");
    expect_refused(&w, HSD_EFORMAT, "an integer is needed");
}

static void an_alignment_of_its_own_is_obeyed(void **state)
{
    (void)state;
    gguf_writer w = {0};
    hsdi_gguf *g;
    hsd_error err;
    gw_header(&w, 1, 1);
    gw_kv_u32(&w, "general.alignment", 8);
    gw_tensor(&w, "t", 1, (uint64_t[]){2}, HSDI_TYPE_F32, 8);
    gw_align(&w, 8);
    gw_zeros(&w, 8);
    gw_bytes(&w, "abcdefgh", 8);
    assert_int_equal(try_open(&w, w.n, &g, &err), HSD_OK);
    assert_memory_equal(hsdi_gguf_tensor_at(g, 0)->data, "abcdefgh", 8);
    hsdi_gguf_close(&g);
    free(w.data);
}

// One tensor behind a valid header, with 64 bytes of data.
static void expect_tensor_refused(uint32_t n_dims, const uint64_t *ne, uint32_t type,
                                  uint64_t offset, const char *needle)
{
    gguf_writer w = {0};
    gw_header(&w, 1, 0);
    gw_tensor(&w, "t", n_dims, ne, type, offset);
    gw_align(&w, 32);
    gw_zeros(&w, 64);
    expect_refused(&w, HSD_EFORMAT, needle);
}

static void impossible_shapes_are_refused(void **state)
{
    (void)state;
    const uint64_t big = UINT64_C(1) << 32, top = UINT64_C(1) << 63;
    const uint32_t f32 = HSDI_TYPE_F32, q8 = HSDI_TYPE_Q8_0;
    expect_tensor_refused(0, NULL, f32, 0, "0 dimensions");
    expect_tensor_refused(5, (uint64_t[]){1, 1, 1, 1, 1}, f32, 0, "5 dimensions");
    expect_tensor_refused(1, (uint64_t[]){0}, f32, 0, "dimension 0 is 0");
    expect_tensor_refused(2, (uint64_t[]){4, 0}, f32, 0, "dimension 1 is 0");
    expect_tensor_refused(1, (uint64_t[]){top}, f32, 0, "dimension 0 is beyond 63 bits");
    expect_tensor_refused(2, (uint64_t[]){big, big}, f32, 0, "product of the dimensions overflows");
    expect_tensor_refused(4, (uint64_t[]){big, 2, 2, big}, f32, 0, "overflows");
    expect_tensor_refused(1, (uint64_t[]){top / 2}, f32, 0, "size in bytes overflows");
    expect_tensor_refused(2, (uint64_t[]){32, top / 64}, q8, 0, "the file has");
    expect_tensor_refused(1, (uint64_t[]){31}, q8, 0, "blocks of 32");
    expect_tensor_refused(2, (uint64_t[]){16, 2}, q8, 0, "blocks of 32");
    expect_tensor_refused(2, (uint64_t[]){big, big}, TYPE_Q5_0, 0, "overflows");
}

static void tensor_data_outside_the_file_is_refused(void **state)
{
    (void)state;
    const uint32_t f32 = HSDI_TYPE_F32;
    expect_tensor_refused(1, (uint64_t[]){17}, f32, 0, "data ends at byte 132");
    expect_tensor_refused(1, (uint64_t[]){9}, f32, 32, "data ends at byte 132");
    expect_tensor_refused(1, (uint64_t[]){1}, f32, 64, "data ends at byte 132");
    expect_tensor_refused(1, (uint64_t[]){1}, f32, 4, "no multiple of the alignment");
    expect_tensor_refused(1, (uint64_t[]){1}, f32, UINT64_MAX - 31, "overflows");
    expect_tensor_refused(1, (uint64_t[]){1}, TYPE_Q5_0, 64, "data begins at byte 128");
}

static void overlapping_tensors_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t type_a, type_b;
        uint64_t offset_a, offset_b;
    } cases[] = {{HSDI_TYPE_F32, HSDI_TYPE_F32, 0, 0},
                 {HSDI_TYPE_F32, HSDI_TYPE_F32, 0, 32},
                 {HSDI_TYPE_F32, HSDI_TYPE_F32, 32, 0},
                 {HSDI_TYPE_F32, TYPE_Q5_0, 0, 32},
                 {TYPE_Q5_0, TYPE_Q5_0, 32, 32}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gguf_writer w = {0};
        gw_header(&w, 2, 0);
        gw_tensor(&w, "a", 1, (uint64_t[]){9}, cases[i].type_a, cases[i].offset_a);
        gw_tensor(&w, "b", 1, (uint64_t[]){9}, cases[i].type_b, cases[i].offset_b);
        gw_align(&w, 32);
        gw_zeros(&w, 128);
        expect_refused(&w, HSD_EFORMAT, "inside tensor");
    }
}

static void hostile_names_are_escaped_in_messages(void **state)
{
    (void)state;
    gguf_writer w = {0};
    gw_header(&w, 0, 1);
    gw_key(&w, "a\x1B[2J\xFFz", (hsdi_gguf_type)77);
    expect_refused(&w, HSD_EFORMAT, "key 0 (a\\x1B[2J\\xFFz)");
}

static void the_fingerprint_depends_on_metadata_and_data(void **state)
{
    (void)state;
    gguf_writer w = good_file();
    hsdi_gguf *g;
    hsd_error err;
    assert_int_equal(try_open(&w, w.n, &g, &err), HSD_OK);
    uint64_t first = hsdi_gguf_fingerprint(g);
    assert_int_equal(hsdi_gguf_fingerprint(g), first);
    hsdi_gguf_close(&g);
    w.data[w.n - 1] ^= 1;
    assert_int_equal(try_open(&w, w.n, &g, &err), HSD_OK);
    assert_int_not_equal(hsdi_gguf_fingerprint(g), first);
    hsdi_gguf_close(&g);
    w.data[w.n - 1] ^= 1;
    w.data[32 + 20 + 4 + 8] ^= 1; // a letter of the architecture's name
    assert_int_equal(try_open(&w, w.n, &g, &err), HSD_OK);
    assert_int_not_equal(hsdi_gguf_fingerprint(g), first);
    hsdi_gguf_close(&g);
    free(w.data);
}

static void the_fingerprint_is_the_same_on_every_machine(void **state)
{
    (void)state;
    hsdi_gguf *g = open_good();
    assert_true(hsdi_gguf_fingerprint(g) == UINT64_C(0x683c8f11b314ede9));
    hsdi_gguf_close(&g);
}

static void a_file_on_disk_is_read_and_a_missing_one_named(void **state)
{
    (void)state;
    char path[] = "/tmp/hsd-test-gguf-XXXXXX";
    int fd = mkstemp(path);
    hsdi_gguf *g;
    hsd_error err;
    assert_true(fd >= 0);
    assert_int_equal(hsdi_gguf_open(path, &g, &err), HSD_EFORMAT);
    assert_string_equal(err.message, "the model file is empty");
    gguf_writer w = good_file();
    assert_int_equal(write(fd, w.data, w.n), w.n);
    close(fd);
    assert_int_equal(hsdi_gguf_open(path, &g, &err), HSD_OK);
    assert_int_equal(hsdi_gguf_n_kv(g), N_GOOD_KV);
    assert_int_equal(hsdi_gguf_size_bytes(g), w.n);
    hsdi_gguf_close(&g);
    unlink(path);
    assert_int_equal(hsdi_gguf_open(path, &g, &err), HSD_EIO);
    assert_string_equal(err.where, path);
    assert_int_equal(hsdi_gguf_open("/tmp", &g, &err), HSD_EIO);
    assert_null(g);
    free(w.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scalar_values_are_read_as_written),
        cmocka_unit_test(arrays_are_read_element_by_element),
        cmocka_unit_test(a_value_of_the_wrong_kind_is_an_error_with_its_key_and_place),
        cmocka_unit_test(an_absent_key_takes_the_other_value),
        cmocka_unit_test(tensors_are_found_with_their_shape_and_bytes),
        cmocka_unit_test(a_tensor_of_unknown_type_is_listed_and_refused_when_used),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(any_changed_byte_is_refused_or_read_within_the_file),
        cmocka_unit_test(other_versions_and_byte_orders_are_refused_by_name),
        cmocka_unit_test(version_2_is_read_like_version_3),
        cmocka_unit_test(counts_that_the_file_cannot_hold_are_refused),
        cmocka_unit_test(strings_past_the_end_are_refused),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(bad_value_types_are_refused),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(bad_alignments_are_refused),
        cmocka_unit_test(an_alignment_of_its_own_is_obeyed),
        cmocka_unit_test(impossible_shapes_are_refused),
        cmocka_unit_test(tensor_data_outside_the_file_is_refused),
        cmocka_unit_test(overlapping_tensors_are_refused),
        cmocka_unit_test(hostile_names_are_escaped_in_messages),
        cmocka_unit_test(the_fingerprint_depends_on_metadata_and_data),
        cmocka_unit_test(the_fingerprint_is_the_same_on_every_machine),
        cmocka_unit_test(a_file_on_disk_is_read_and_a_missing_one_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
