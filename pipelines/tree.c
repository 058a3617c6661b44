/// Nodes live in one array; a free stack and first-child/next-sibling lists keep it flat.
#include <assert.h>
#include <pipelines/tree.h>
#include <stdlib.h>

hsd_status hsdi_tree_init(hsdi_tree *tree, hsdi_cells *cells, int n_nodes_max, int n_top,
                          int depth_max)
{
    *tree = (hsdi_tree){.root = -1};
    if (n_nodes_max < 1 || n_top < 1 || depth_max < 1) {
        return HSD_EINVAL;
    }
    tree->nodes = calloc((size_t)n_nodes_max, sizeof *tree->nodes);
    tree->candidates = calloc((size_t)n_nodes_max * (size_t)n_top, sizeof *tree->candidates);
    tree->free = calloc((size_t)n_nodes_max, sizeof *tree->free);
    if (!tree->nodes || !tree->candidates || !tree->free) {
        hsdi_tree_fini(tree);
        return HSD_ENOMEM;
    }
    for (int i = 0; i < n_nodes_max; i++) {
        tree->free[i] = n_nodes_max - 1 - i;
    }
    tree->n_nodes_max = n_nodes_max;
    tree->n_top = n_top;
    tree->depth_max = depth_max;
    tree->cells = cells;
    return HSD_OK;
}

void hsdi_tree_fini(hsdi_tree *tree)
{
    free(tree->nodes);
    free(tree->candidates);
    free(tree->free);
    *tree = (hsdi_tree){.root = -1};
}

static int take_node(hsdi_tree *tree, int32_t token, int32_t pos, int parent)
{
    if (tree->n_used == tree->n_nodes_max) {
        return -1;
    }
    int node = tree->free[tree->n_nodes_max - 1 - tree->n_used++];
    tree->nodes[node] = (hsdi_node){
        .token = token,
        .pos = pos,
        .cell = -1,
        .parent = parent,
        .first_child = -1,
        .next_sibling = -1,
        .main = -1,
    };
    return node;
}

/// Gives the node back; its cell goes to the free cells unless the caller took it.
static void drop_node(hsdi_tree *tree, int node)
{
    if (tree->nodes[node].cell >= 0) {
        hsdi_cells_give(tree->cells, tree->nodes[node].cell);
        tree->nodes[node].cell = -1;
    }
    tree->free[tree->n_nodes_max - tree->n_used--] = node;
}

/// Drops a node and everything under it, without recursion: descend to a leaf, drop it, go on
/// with its parent.
static void drop_subtree(hsdi_tree *tree, int top)
{
    int node = top;
    for (;;) {
        while (tree->nodes[node].first_child >= 0) {
            node = tree->nodes[node].first_child;
        }
        int parent = tree->nodes[node].parent;
        int sibling = tree->nodes[node].next_sibling;
        drop_node(tree, node);
        if (node == top) {
            return;
        }
        tree->nodes[parent].first_child = sibling;
        node = parent;
    }
}

void hsdi_tree_clear(hsdi_tree *tree)
{
    if (tree->root >= 0) {
        drop_subtree(tree, tree->root);
        tree->root = -1;
    }
}

int hsdi_tree_plant(hsdi_tree *tree, int32_t token, int32_t pos)
{
    assert(tree->root < 0);
    tree->root = take_node(tree, token, pos, -1);
    return tree->root;
}

int hsdi_tree_child(const hsdi_tree *tree, int node, int32_t token)
{
    int child = tree->nodes[node].first_child;
    while (child >= 0 && tree->nodes[child].token != token) {
        child = tree->nodes[child].next_sibling;
    }
    return child;
}

int hsdi_tree_add(hsdi_tree *tree, int node, int32_t token)
{
    int child = hsdi_tree_child(tree, node, token);
    if (child >= 0 || hsdi_tree_depth(tree, node) + 1 >= tree->depth_max) {
        return child;
    }
    child = take_node(tree, token, tree->nodes[node].pos + 1, node);
    if (child >= 0) {
        tree->nodes[child].next_sibling = tree->nodes[node].first_child;
        tree->nodes[node].first_child = child;
    }
    return child;
}

int hsdi_tree_path(const hsdi_tree *tree, int node, int32_t *out)
{
    int depth = hsdi_tree_depth(tree, node);
    for (int i = depth; i >= 0; i--) {
        out[i] = tree->nodes[node].cell;
        node = tree->nodes[node].parent;
    }
    return depth + 1;
}

/// Moves the root node's cell to the trunk, drops all its children but `keep` (-1: all) and the
/// node itself.
static void absorb_root(hsdi_tree *tree, int keep)
{
    hsdi_node *root = &tree->nodes[tree->root];
    assert(root->cell >= 0 && root->pos == tree->cells->n_trunk);
    hsdi_cells_push(tree->cells, root->cell);
    root->cell = -1;
    for (int child = root->first_child; child >= 0;) {
        int sibling = tree->nodes[child].next_sibling;
        if (child != keep) {
            drop_subtree(tree, child);
        }
        child = sibling;
    }
    drop_node(tree, tree->root);
    tree->root = keep;
    if (keep >= 0) {
        tree->nodes[keep].parent = -1;
        tree->nodes[keep].next_sibling = -1;
    }
}

/// The child of the root node through which `node` is reached.
static int step_towards(const hsdi_tree *tree, int node)
{
    while (tree->nodes[node].parent != tree->root) {
        node = tree->nodes[node].parent;
    }
    return node;
}

void hsdi_tree_promote(hsdi_tree *tree, int node)
{
    while (tree->root != node) {
        absorb_root(tree, step_towards(tree, node));
    }
}

void hsdi_tree_harvest(hsdi_tree *tree, int node)
{
    hsdi_tree_promote(tree, node);
    if (hsdi_tree_is_evaluated(tree, node)) {
        absorb_root(tree, -1);
    }
    hsdi_tree_clear(tree);
}
