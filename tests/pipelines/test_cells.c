/// Proves: a cell is handed out once until it is given back; the trunk keeps order and gives its
/// tail back. Does not prove: what stages store in cells.
#include <pipelines/cells.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N_CELLS = 37 };

static void a_cell_is_handed_out_once(void **state)
{
    (void)state;
    hsdi_cells cells;
    char seen[N_CELLS] = {0};
    assert_int_equal(hsdi_cells_init(&cells, N_CELLS, 10, NULL), HSD_OK);
    for (int i = 0; i < N_CELLS; i++) {
        int32_t cell = hsdi_cells_take(&cells);
        assert_in_range(cell, 0, N_CELLS - 1);
        assert_int_equal(seen[cell]++, 0);
    }
    assert_int_equal(hsdi_cells_take(&cells), -1);
    hsdi_cells_give(&cells, 5);
    assert_int_equal(hsdi_cells_take(&cells), 5);
    hsdi_cells_fini(&cells);
}

static void a_shortened_trunk_gives_its_tail_back(void **state)
{
    (void)state;
    hsdi_cells cells;
    int32_t taken[10];
    assert_int_equal(hsdi_cells_init(&cells, N_CELLS, 10, NULL), HSD_OK);
    for (int i = 0; i < 10; i++) {
        taken[i] = hsdi_cells_take(&cells);
        hsdi_cells_push(&cells, taken[i]);
    }
    hsdi_cells_truncate(&cells, 4);
    assert_int_equal(cells.n_trunk, 4);
    assert_int_equal(cells.n_free, N_CELLS - 4);
    assert_memory_equal(cells.trunk, taken, 4 * sizeof *taken);
    hsdi_cells_truncate(&cells, 8);
    assert_int_equal(cells.n_trunk, 4);
    hsdi_cells_reset(&cells);
    assert_int_equal(cells.n_free, N_CELLS);
    assert_int_equal(cells.n_trunk, 0);
    hsdi_cells_fini(&cells);
}

static void counts_below_one_are_refused(void **state)
{
    (void)state;
    hsdi_cells cells;
    assert_int_equal(hsdi_cells_init(&cells, 0, 10, NULL), HSD_EINVAL);
    assert_int_equal(hsdi_cells_init(&cells, 10, 0, NULL), HSD_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_is_handed_out_once),
        cmocka_unit_test(a_shortened_trunk_gives_its_tail_back),
        cmocka_unit_test(counts_below_one_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
