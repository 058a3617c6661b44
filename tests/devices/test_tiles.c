/// Proves: the built-in tables fit every device that hsd opens; a table is read back as it was
///           written; weights of a type are laid out for all numbers of rows or for none; what is
///           cut, longer, changed or not of this version is refused, and whatever is taken is
///           written again as the same text; tiles beyond the limits, and a type of two orders of
///           sums, do not fit.
///         A kept table that is damaged, foreign or beyond the device's limits is ignored, and said
///           to be; without one there is nothing to say.
/// Does not prove: that a table is fast; that kernels compute (test_opencl_kernels.c).
#include "devices/keep.h"
#include "devices/tiles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const hsdi_tile_limits smallest = {
    .platform = "rusticl", .max_group = 64, .local_bytes = 16384};
static const hsdi_tile_limits largest = {.platform = "any",
                                         .subgroups = true,
                                         .fast_dot = true,
                                         .max_group = 1024,
                                         .local_bytes = 65536};
/// A GPU with memory of its own.
static const hsdi_tile_limits copying = {
    .platform = "any", .fast_dot = true, .panels = true, .max_group = 1024, .local_bytes = 49152};
static char root[64];

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

static void built_in_tables_fit_every_device(void **state)
{
    (void)state;
    static const char *const platforms[] = {"rusticl", "Portable Computing Language", ""};
    hsdi_tiles tiles;
    for (int i = 0; i < 3 * 2; i++) {
        hsdi_tile_limits limits = smallest;
        limits.platform = platforms[i % 3];
        limits.built_only = i / 3 == 1; // Level Zero: what was built with hsd has them all
        hsdi_tiles_default(&limits, &tiles);
        assert_true(hsdi_tiles_fit(&tiles, &limits));
    }
}

static void weights_are_laid_out_for_whole_types_where_they_are_copied(void **state)
{
    (void)state;
    hsdi_tiles tiles;
    hsdi_tile all[64];
    hsdi_tiles_default(&copying, &tiles);
    assert_true(hsdi_tiles_fit(&tiles, &copying));
    assert_false(hsdi_tiles_fit(&tiles, &largest));
    for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
        hsdi_type type = hsdi_tile_type(t);
        bool has = hsdi_tile_has_panels(type);
        assert_int_equal(hsdi_tiles_lay_out(&tiles, type), has);
        for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
            int n = hsdi_tile_candidates(&copying, type, c, true, all, 64);
            assert_in_range(n, 1, 64);
            for (int i = 0; i < n; i++) {
                assert_true(hsdi_tile_fits(&all[i], type, &copying));
                assert_true(all[i].kind == HSDI_TILE_DOT ||
                            (all[i].kind == HSDI_TILE_PANELS) == has);
            }
        }
    }
    const hsdi_tile lanes = {HSDI_TILE_LANES, 1, 1, 64}, panels = {HSDI_TILE_PANELS, 1, 1, 64};
    int q8 = hsdi_tile_type_index(HSDI_TYPE_Q8_0);
    for (int c = 0; c < HSDI_TILE_CLASSES; c++) { // as a table of an earlier version may be
        assert_true(hsdi_tiles_fit(&tiles, &copying) == (c == 0));
        tiles.of[q8][c] = lanes;
    }
    assert_true(hsdi_tiles_fit(&tiles, &copying));
    assert_false(hsdi_tile_is_legal(&panels, HSDI_TYPE_F32));
    assert_false(hsdi_tile_is_legal(&panels, HSDI_TYPE_Q4_K));
}

static void classes_cut_the_numbers_of_rows(void **state)
{
    (void)state;
    static const int rows[] = {1, 2, 4, 5, 8, 9, 64, 65, 100000},
                     want[] = {0, 1, 1, 2, 2, 3, 3, 3, 3};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(hsdi_tile_class(rows[i]), want[i]);
    }
}

static void every_candidate_fits_and_has_a_name_of_its_own(void **state)
{
    (void)state;
    hsdi_tile all[128];
    char a[HSDI_TILE_NAME_BYTES], b[HSDI_TILE_NAME_BYTES];
    for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
        int n = hsdi_tile_candidates(&largest, HSDI_TYPE_Q4_K, c, false, all, 128);
        assert_in_range(n, 8, 64); // more are not measured: engine/tune.c
        for (int i = 0; i < n; i++) {
            assert_true(hsdi_tile_fits(&all[i], HSDI_TYPE_Q4_K, &largest));
            hsdi_tile_name(&all[i], HSDI_TYPE_Q4_K, a);
            for (int k = 0; k < i; k++) {
                hsdi_tile_name(&all[k], HSDI_TYPE_Q4_K, b);
                assert_false(hsdi_tile_equals(&all[i], &all[k]));
                assert_true(strcmp(a, b) != 0 || all[i].group != all[k].group);
            }
        }
        // Neither sub-groups nor an instruction: neither kind.
        n = hsdi_tile_candidates(&smallest, HSDI_TYPE_Q4_K, c, false, all, 128);
        for (int i = 0; i < n; i++) {
            assert_true(all[i].kind == HSDI_TILE_ITEM || all[i].kind == HSDI_TILE_LANES);
        }
    }
    assert_int_equal(hsdi_tile_candidates(&smallest, HSDI_TYPE_F32, 0, true, NULL, 0),
                     hsdi_tile_candidates(&smallest, HSDI_TYPE_F32, 0, false, NULL, 0));
}

static size_t text_of(const hsdi_tile_limits *limits, char *text)
{
    hsdi_tiles tiles;
    hsdi_tiles_default(limits, &tiles);
    return hsdi_tiles_write(&tiles, text);
}

static bool parses(const char *text, size_t n)
{
    hsdi_tiles tiles;
    char again[HSDI_TILE_TEXT_BYTES];
    if (!hsdi_tiles_parse(text, n, &tiles)) {
        return false;
    }
    assert_int_equal(hsdi_tiles_write(&tiles, again), n);
    assert_memory_equal(again, text, n);
    return true;
}

static void a_table_is_read_back_and_nothing_else_is_read(void **state)
{
    (void)state;
    char text[HSDI_TILE_TEXT_BYTES];
    size_t n = text_of(&smallest, text);
    assert_true(n < HSDI_TILE_TEXT_BYTES);
    assert_true(parses(text, n));
    for (size_t cut = 0; cut < n; cut++) {
        assert_false(parses(text, cut));
    }
    text[n] = '\n';
    assert_false(parses(text, n + 1));
    for (size_t at = 0; at < n; at++) { // other tables may come out of it, checked in parses
        for (int to = 0; to < 256; to += at % 7 == 0 ? 1 : 13) {
            char before = text[at];
            text[at] = (char)to;
            (void)parses(text, n);
            text[at] = before;
        }
    }
}

/// The table with one line's text in place of another one.
static bool parses_with(const char *from, const char *to)
{
    char text[HSDI_TILE_TEXT_BYTES], changed[HSDI_TILE_TEXT_BYTES + 256];
    size_t n = text_of(&smallest, text);
    text[n] = '\0';
    char *at = strstr(text, from);
    assert_non_null(at);
    int m = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to,
                     at + strlen(from));
    return parses(changed, (size_t)m);
}

static void illegal_tables_are_refused(void **state)
{
    (void)state;
    static const char line[] = "Q8_0 4 lanes 4x1 64\n";
    static const char *const bad[] = {"Q8_0 4 lanes 3x1 64\n",
                                      "Q8_0 4 lanes 16x1 64\n",
                                      "Q8_0 4 lanes 4x8 64\n",
                                      "Q8_0 4 lanes 4x1 8\n",
                                      "Q8_0 4 lanes 4x1 512\n",
                                      "Q8_0 4 lanes 0x1 64\n",
                                      "Q8_0 4 lanes -4x1 64\n",
                                      "Q8_0 4 lane 4x1 64\n",
                                      "Q8_0 3 lanes 4x1 64\n",
                                      "Q4_0 4 lanes 4x1 64\n",
                                      "Q8_0 4 lanes 04x1 64\n",
                                      "Q8_0  4 lanes 4x1 64\n",
                                      "Q8_0 4 lanes 4x1 64 \n",
                                      "Q8_0 4 lanes 4x1 64\n\n",
                                      "",
                                      "Q8_0 4 lanes 4x1 64\r\n",
                                      "Q8_0 4 lanes 4x1 +64\n",
                                      "Q8_0 4 lanes 4x1 99999999999\n",
                                      "Q8_0 4 lanes 4294967300x1 64\n"};
    assert_true(parses_with(line, line));
    assert_true(
        parses_with(line, "Q8_0 4 dot 2x2 256\n")); // legal, though the type then has two orders
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parses_with(line, bad[i])) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    assert_false(parses_with("F32 1 lanes", "F32 1 dot")); // only quantised types have it
    assert_false(parses_with("hsd tiles 1", "hsd tiles 2"));
    assert_false(parses_with("records 1", "records 2"));
}

static void a_type_of_two_orders_and_tiles_beyond_the_limits_do_not_fit(void **state)
{
    (void)state;
    hsdi_tiles tiles;
    hsdi_tiles_default(&largest, &tiles);
    int q8 = hsdi_tile_type_index(HSDI_TYPE_Q8_0);
    for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
        assert_true(hsdi_tiles_fit(&tiles, &largest) == (c == 0));
        tiles.of[q8][c] = (hsdi_tile){HSDI_TILE_DOT, 1, 1, 64};
    }
    assert_true(hsdi_tiles_fit(&tiles, &largest));
    tiles.of[q8][2] = (hsdi_tile){HSDI_TILE_DOT, 8, 4, 256}; // 32 KB of local memory
    assert_true(hsdi_tiles_fit(&tiles, &largest));
    assert_false(hsdi_tiles_fit(&tiles, &smallest));
    hsdi_tiles_default(&largest, &tiles);
    tiles.of[0][0] = (hsdi_tile){HSDI_TILE_SUBGROUP, 1, 1, 64};
    assert_true(hsdi_tiles_fit(&tiles, &largest));
    assert_false(hsdi_tiles_fit(&tiles, &smallest));
    tiles.of[0][0] = (hsdi_tile){HSDI_TILE_ITEM, 2, 4, 64};
    hsdi_tile_limits built = largest;
    built.built_only = true;
    assert_true(hsdi_tiles_fit(&tiles, &largest));
    assert_false(hsdi_tiles_fit(&tiles, &built));
}

static hsdi_tile_set loaded(const char *key, const hsdi_tile_limits *limits)
{
    hsdi_tile_set set = {.limits = *limits};
    snprintf(set.key, sizeof set.key, "%s", key);
    hsdi_tile_set_load(&set);
    assert_true(hsdi_tiles_fit(&set.tiles, limits));
    return set;
}

static void kept_tables_that_cannot_be_used_are_ignored_and_said_to_be(void **state)
{
    (void)state;
    char text[HSDI_TILE_TEXT_BYTES], path[256];
    hsdi_tile_set set = loaded("a", &largest);
    assert_false(set.tuned || set.bad);
    assert_string_equal(hsdi_tile_set_note(&set), "");
    set.tiles.of[3][1] = (hsdi_tile){HSDI_TILE_SUBGROUP, 2, 4, 256};
    assert_int_equal(hsdi_tile_set_keep(&set, NULL), HSD_OK);
    hsdi_tile_set again = loaded("a", &largest);
    assert_true(again.tuned && !again.bad);
    assert_string_equal(hsdi_tile_set_note(&again), "tuned sizes");
    assert_memory_equal(&again.tiles, &set.tiles, sizeof set.tiles);
    assert_false(loaded("b", &largest).tuned); // of another device
    again = loaded("a", &smallest);            // beyond its limits
    assert_true(!again.tuned && again.bad);
    assert_non_null(strstr(hsdi_tile_set_note(&again), "ignored"));
    size_t n = text_of(&largest, text);
    assert_int_equal(hsdi_keep_write("tiles", "a", text, n - 1, NULL), HSD_OK); // a good file, cut
    assert_true(loaded("a", &largest).bad);
    assert_true(hsdi_keep_path("tiles", "a", path, sizeof path));
    FILE *file = fopen(path, "wb");
    fputs("nonsense", file);
    fclose(file);
    assert_true(loaded("a", &largest).bad);
    assert_int_equal(hsdi_tile_set_keep(&set, NULL), HSD_OK); // written anew
    assert_true(loaded("a", &largest).tuned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_tables_fit_every_device),
        cmocka_unit_test(weights_are_laid_out_for_whole_types_where_they_are_copied),
        cmocka_unit_test(classes_cut_the_numbers_of_rows),
        cmocka_unit_test(every_candidate_fits_and_has_a_name_of_its_own),
        cmocka_unit_test(a_table_is_read_back_and_nothing_else_is_read),
        cmocka_unit_test(illegal_tables_are_refused),
        cmocka_unit_test(a_type_of_two_orders_and_tiles_beyond_the_limits_do_not_fit),
        cmocka_unit_test(kept_tables_that_cannot_be_used_are_ignored_and_said_to_be),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
