/// Proves: paths, promotion and harvest keep exactly the cells that are still needed, on random
/// trees too; a full or too deep tree refuses and stays whole.
/// Does not prove: which branches are worth having.
#include <pipelines/tree.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_CELLS = 200, N_CTX = 100, N_NODES = 60 };

typedef struct forest {
    hsdi_cells cells;
    hsdi_tree tree;
} forest;

static void forest_init(forest *f)
{
    assert_int_equal(hsdi_cells_init(&f->cells, N_CELLS, N_CTX, NULL), HSD_OK);
    assert_int_equal(hsdi_tree_init(&f->tree, &f->cells, N_NODES, 4, 12), HSD_OK);
}

static void forest_fini(forest *f)
{
    hsdi_tree_fini(&f->tree);
    hsdi_cells_fini(&f->cells);
}

static int grow(forest *f, int parent, int32_t token)
{
    int node = hsdi_tree_add(&f->tree, parent, token);
    if (node >= 0 && f->tree.nodes[node].cell < 0) {
        f->tree.nodes[node].cell = hsdi_cells_take(&f->cells);
    }
    return node;
}

static int plant(forest *f, int32_t token)
{
    int root = hsdi_tree_plant(&f->tree, token, f->cells.n_trunk);
    f->tree.nodes[root].cell = hsdi_cells_take(&f->cells);
    return root;
}

static void promotion_moves_ancestors_to_the_trunk_and_drops_the_rest(void **state)
{
    (void)state;
    forest f;
    int32_t path[12];
    forest_init(&f);
    int root = plant(&f, 1);
    int a = grow(&f, root, 2), b = grow(&f, a, 3), c = grow(&f, b, 4);
    int other = grow(&f, a, 9);
    grow(&f, other, 10);
    int32_t cells[] = {f.tree.nodes[root].cell, f.tree.nodes[a].cell, f.tree.nodes[b].cell,
                       f.tree.nodes[c].cell};
    assert_int_equal(hsdi_tree_path(&f.tree, c, path), 4);
    assert_memory_equal(path, cells, sizeof cells);
    hsdi_tree_promote(&f.tree, b);
    assert_int_equal(f.tree.root, b);
    assert_int_equal(f.cells.n_trunk, 2);
    assert_memory_equal(f.cells.trunk, cells, 2 * sizeof *cells);
    assert_int_equal(f.tree.n_used, 2);
    assert_int_equal(f.cells.n_free, N_CELLS - 4);
    assert_int_equal(hsdi_tree_child(&f.tree, b, 4), c);
    assert_int_equal(hsdi_tree_path(&f.tree, c, path), 2);
    assert_memory_equal(path, cells + 2, 2 * sizeof *cells);
    forest_fini(&f);
}

static void harvest_keeps_what_was_evaluated_and_empties_the_tree(void **state)
{
    (void)state;
    forest f;
    forest_init(&f);
    int root = plant(&f, 1);
    int a = grow(&f, root, 2);
    grow(&f, root, 3);
    (void)hsdi_tree_add(&f.tree, a, 4);
    hsdi_tree_harvest(&f.tree, a);
    assert_int_equal(f.cells.n_trunk, 2);
    assert_int_equal(f.tree.n_used, 0);
    assert_int_equal(f.tree.root, -1);
    assert_int_equal(f.cells.n_free, N_CELLS - 2);
    forest_fini(&f);
}

static void a_full_or_too_deep_tree_refuses(void **state)
{
    (void)state;
    forest f;
    forest_init(&f);
    int node = plant(&f, 0);
    int depth = 0;
    for (int next = node; next >= 0; depth++) {
        next = hsdi_tree_add(&f.tree, node, 1);
        node = next >= 0 ? next : node;
    }
    assert_int_equal(depth, 12);
    for (int token = 10; f.tree.n_used < N_NODES; token++) {
        assert_true(hsdi_tree_add(&f.tree, f.tree.root, token) >= 0);
    }
    assert_int_equal(hsdi_tree_add(&f.tree, f.tree.root, 5), -1);
    assert_true(hsdi_tree_add(&f.tree, f.tree.root, 1) >= 0); // is there already
    hsdi_tree_clear(&f.tree);
    assert_int_equal(f.tree.n_used, 0);
    assert_int_equal(f.cells.n_free, N_CELLS);
    forest_fini(&f);
}

static void random_trees_lose_no_cell(void **state)
{
    (void)state;
    forest f;
    uint64_t r = 7;
    forest_init(&f);
    for (int round = 0; round < 2000; round++) {
        int nodes[N_NODES], n = 0;
        if (f.cells.n_trunk > N_CTX - 14) {
            hsdi_tree_clear(&f.tree);
            hsdi_cells_truncate(&f.cells, (int)((r >> 33) % 5));
        }
        nodes[n++] = f.tree.root >= 0 ? f.tree.root : plant(&f, 0);
        while (n < 40) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            int node = grow(&f, nodes[(r >> 40) % (uint64_t)n], (int32_t)((r >> 33) % 5));
            if (node < 0) {
                break;
            }
            nodes[n++] = node;
        }
        int chosen = nodes[(r >> 35) % (uint64_t)n];
        if (r & 0x10000) {
            hsdi_tree_promote(&f.tree, chosen);
        } else {
            hsdi_tree_harvest(&f.tree, chosen);
        }
        assert_int_equal(f.cells.n_free + f.cells.n_trunk + f.tree.n_used, N_CELLS);
    }
    forest_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promotion_moves_ancestors_to_the_trunk_and_drops_the_rest),
        cmocka_unit_test(harvest_keeps_what_was_evaluated_and_empties_the_tree),
        cmocka_unit_test(a_full_or_too_deep_tree_refuses),
        cmocka_unit_test(random_trees_lose_no_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
