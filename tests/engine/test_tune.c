/// Proves: hsd_tune measures every class of rows of the types asked for, finds no kernel wrong, and
///           keeps a table that the next device takes; types, numbers and devices that are none are
///           refused, and a tuning that is stopped keeps nothing.
///         With any legal table, however absurd, the text of a device is the same, in every mode;
///           with rows in 8 bits the text is one text in every mode too.
/// Does not prove: that a kernel that won is faster.
#include "devices/tiles.h"
#include "tests/opencl.h"

#include <hsd/hsd.h>
#include <string.h>

enum { N_TOKENS = 24 };

static const char prompt[] = "Once upon a time there was a little girl who";
static char root[64];

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hsd-test-XXXXXX");
    return mkdtemp(root) && setenv("HSD_CACHE_DIR", root, 1) == 0 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

/// The shipped pair, target and draft on OpenCL.
static text generate(hsd_mode mode)
{
    hsd_error err = {0};
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    hsd_engine_options how;
    hsd_session_options options;
    text out = {0};
    hsd_token token;
    hsd_status status;
    hsd_engine_options_init(&how);
    how.target_device = how.draft_device = opencl_name();
    how.n_threads = how.n_draft_threads = 1;
    must(hsd_engine_open(&how, &engine, &err), &err);
    hsd_session_options_init(&options);
    options.mode = mode;
    options.n_tokens = N_TOKENS;
    options.window = mode == HSD_MODE_AR ? 0 : 4;
    options.ignore_eos = true;
    must(hsd_session_open(engine, &options, &session, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_true(out.n < N_TOKENS);
            out.tokens[out.n++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    assert_int_equal(out.n, N_TOKENS);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    return out;
}

/// These tiles, one per class of rows, become the table that is kept for the device: of types in
/// blocks (`quantised`), or of all.
static void keep(const hsdi_tile tiles[HSDI_TILE_CLASSES], bool quantised)
{
    hsdi_device *device = open_opencl_or_skip();
    hsdi_tile_set *set = hsdi_device_tiles(device);
    hsd_error err = {0};
    hsdi_tiles_default(&set->limits, &set->tiles);
    for (int t = quantised ? 3 : 0; t < HSDI_N_TILE_TYPES; t++) {
        memcpy(set->tiles.of[t], tiles, sizeof set->tiles.of[t]);
    }
    assert_true(hsdi_tiles_fit(&set->tiles, &set->limits));
    must(hsdi_tile_set_keep(set, &err), &err);
    hsdi_device_close(&device);
    device = open_opencl_or_skip();
    assert_true(hsdi_device_tiles(device)->tuned);
    hsdi_device_close(&device);
}

static void no_table_changes_the_text(void **state)
{
    (void)state;
    static const hsdi_tile absurd[] = {{HSDI_TILE_LANES, 2, 2, 16},
                                       {HSDI_TILE_ITEM, 1, 4, 32},
                                       {HSDI_TILE_LANES, 1, 1, 256},
                                       {HSDI_TILE_ITEM, 2, 1, 16}};
    skip_where_one_thread_must_submit();
    const text want = generate(HSD_MODE_AR);
    keep(absurd, false);
    for (int mode = HSD_MODE_AR; mode <= HSD_MODE_MIRROR; mode++) {
        const text got = generate((hsd_mode)mode);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static void rows_in_8_bits_give_one_text_in_every_mode(void **state)
{
    (void)state;
    static const hsdi_tile dot[] = {{HSDI_TILE_DOT, 1, 1, 64},
                                    {HSDI_TILE_DOT, 4, 1, 64},
                                    {HSDI_TILE_DOT, 8, 1, 64},
                                    {HSDI_TILE_DOT, 8, 1, 64}};
    skip_where_one_thread_must_submit();
    keep(dot, true);
    const text want = generate(HSD_MODE_AR);
    for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_MIRROR; mode++) {
        const text got = generate((hsd_mode)mode);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static bool three_times(void *user, const char *type, int n_rows)
{
    int *n = user;
    assert_string_equal(type, "Q8_0");
    assert_in_range(n_rows, 1, 32);
    return ++*n <= 3;
}

static void a_tuned_device_has_the_table(void **state)
{
    (void)state;
    static const char *const types[] = {"Q8_0"};
    hsd_tune_options options;
    hsd_tuned all[HSD_TUNED_MAX];
    hsd_error err = {0};
    char name[24];
    int n = 0, n_calls = 0;
    hsdi_device *device = open_opencl_or_skip(); // or the case ends here
    hsdi_device_close(&device);
    hsd_tune_options_init(&options);
    options.device = opencl_name();
    options.types = types;
    options.n_types = 1;
    options.n_repeats = 2;
    options.n_channels = 40; // less than a group
    options.go_on = three_times;
    options.user = &n_calls;
    setenv("HSD_CACHE_DIR", "", 1); // nothing of other cases
    assert_int_equal(hsd_tune(&options, all, HSD_TUNED_MAX, &n, &err), HSD_ECANCELED);
    assert_int_equal(n_calls, 4);
    assert_int_equal(setenv("HSD_CACHE_DIR", root, 1), 0);
    options.go_on = NULL;
    options.int8 = true;
    must(hsd_tune(&options, all, HSD_TUNED_MAX, &n, &err), &err);
    assert_int_equal(n, HSDI_TILE_CLASSES);
    device = open_opencl_or_skip();
    const hsdi_tile_set *set = hsdi_device_tiles(device);
    assert_true(set->tuned);
    for (int c = 0; c < n; c++) {
        assert_string_equal(all[c].type, "Q8_0");
        assert_int_equal(all[c].n_wrong, 0);
        assert_true(all[c].n_candidates > 4 && all[c].before_us > 0.0 && all[c].after_us > 0.0);
        assert_int_equal(all[c].last_rows, c < 3 ? hsdi_tile_class_rows[c] : 0);
        hsdi_tile_describe(&set->tiles.of[hsdi_tile_type_index(HSDI_TYPE_Q8_0)][c], name,
                           sizeof name);
        assert_string_equal(all[c].after, name);
    }
    hsdi_device_close(&device);
}

/// With what the first time kept, with and without rows in 8 bits in turn: every table begins with
/// the one before, and holds one kind of numbers per type.
static void a_device_may_be_tuned_again(void **state)
{
    (void)state;
    static const char *const types[] = {"Q8_0", "Q4_0"};
    hsd_tune_options options;
    hsd_tuned first[HSD_TUNED_MAX], again[HSD_TUNED_MAX];
    hsd_error err = {0};
    int n = 0, n_again = 0;
    skip_where_one_thread_must_submit();
    hsd_tune_options_init(&options);
    options.device = opencl_name();
    options.types = types;
    options.n_types = 2;
    options.n_repeats = 2;
    options.n_channels = 40;
    options.int8 = true;
    must(hsd_tune(&options, first, HSD_TUNED_MAX, &n, &err), &err);
    for (int k = 0; k < 2; k++) {
        options.int8 = k == 1;
        must(hsd_tune(&options, again, HSD_TUNED_MAX, &n_again, &err), &err);
        assert_int_equal(n_again, n);
        for (int i = 0; i < n; i++) {
            assert_string_equal(again[i].type, first[i].type);
            assert_string_equal(again[i].before, first[i].after);
            assert_int_equal(again[i].n_wrong, 0);
            assert_true(again[i].before_us > 0.0 && again[i].after_us > 0.0);
        }
        hsdi_device *device = open_opencl_or_skip();
        const hsdi_tile_set *set = hsdi_device_tiles(device);
        assert_true(set->tuned);
        assert_true(hsdi_tiles_fit(&set->tiles, &set->limits));
        for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
            bool is_dot = set->tiles.of[t][0].kind == HSDI_TILE_DOT;
            for (int c = 1; c < HSDI_TILE_CLASSES; c++) {
                assert_int_equal(set->tiles.of[t][c].kind == HSDI_TILE_DOT, is_dot);
            }
        }
        hsdi_device_close(&device);
        memcpy(first, again, sizeof first);
        const text want = generate(HSD_MODE_AR), got = generate(HSD_MODE_MIRROR);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static void what_cannot_be_tuned_is_refused(void **state)
{
    (void)state;
    static const char *const types[] = {"Q9_0"};
    hsd_tune_options options;
    hsd_tuned all[1];
    hsd_error err = {0};
    int n = 7;
    hsd_tune_options_init(&options);
    assert_int_equal(hsd_tune(NULL, all, 1, &n, &err), HSD_EINVAL);
    assert_int_equal(hsd_tune(&options, NULL, 1, &n, &err), HSD_EINVAL);
    options.device = "cpu";
    assert_int_equal(hsd_tune(&options, all, 1, &n, &err), HSD_EUNSUPPORTED);
    options.n_repeats = 0;
    assert_int_equal(hsd_tune(&options, all, 1, &n, &err), HSD_EINVAL);
    options.n_repeats = 1;
    options.types = types;
    options.n_types = 1;
    assert_int_equal(hsd_tune(&options, all, 1, &n, &err), HSD_EINVAL);
    assert_string_equal(err.where, "type");
    options.n_types = 0;
    options.device = "tube";
    assert_int_equal(hsd_tune(&options, all, 1, &n, &err), HSD_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_tuned_is_refused),
        cmocka_unit_test(no_table_changes_the_text),
        cmocka_unit_test(rows_in_8_bits_give_one_text_in_every_mode),
        cmocka_unit_test(a_tuned_device_has_the_table),
        cmocka_unit_test(a_device_may_be_tuned_again),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, begin, end);
}
