/// The hypothesis tree of a draft: everything guessed beyond the trunk.
///
/// The tree's root node is the last committed token. Each node is a token after its parent; once
/// evaluated it owns a cell and a list of candidates for what follows. The chain of `main`
/// children is the drafted continuation of a node; other children are roots of branches.
#ifndef HSDI_PIPELINES_TREE_H
#define HSDI_PIPELINES_TREE_H

#include <pipelines/cells.h>
#include <pipelines/stage.h>
#include <stddef.h>

typedef struct hsdi_node {
    int32_t token, pos;
    int32_t cell;   ///< -1 until evaluated
    int32_t parent; ///< -1: the root node
    int32_t first_child, next_sibling;
    int32_t main;         ///< child that continues the drafted chain, -1: none
    int16_t n_candidates; ///< meaningful once cell >= 0
    uint8_t source;       ///< hsdi_source of a branch's root
} hsdi_node;

/// Zero-initialise before init. Not thread-safe. Nothing but init allocates.
typedef struct hsdi_tree {
    int n_nodes_max, n_top, depth_max;
    int root; ///< node, -1: empty
    int n_used;
    hsdi_node *nodes;           ///< [n_nodes_max], owned
    hsdi_candidate *candidates; ///< [n_nodes_max, n_top], owned
    int32_t *free;              ///< stack of free nodes, owned
    hsdi_cells *cells;          ///< borrowed
} hsdi_tree;

/// Errors: HSD_EINVAL for counts below 1, HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_tree_init(hsdi_tree *tree, hsdi_cells *cells, int n_nodes_max,
                                        int n_top, int depth_max);
void hsdi_tree_fini(hsdi_tree *tree);

/// Drop all nodes; their cells become free.
void hsdi_tree_clear(hsdi_tree *tree);

/// Start an empty tree with the token at position `pos`. Never fails.
int hsdi_tree_plant(hsdi_tree *tree, int32_t token, int32_t pos);

/// The child of `node` with this token, or -1.
int hsdi_tree_child(const hsdi_tree *tree, int node, int32_t token);

/// The same, added when it is missing; -1 when the tree is full or too deep.
int hsdi_tree_add(hsdi_tree *tree, int node, int32_t token);

static inline hsdi_candidate *hsdi_tree_candidates(const hsdi_tree *tree, int node)
{
    return tree->candidates + (size_t)node * (size_t)tree->n_top;
}

static inline bool hsdi_tree_is_evaluated(const hsdi_tree *tree, int node)
{
    return tree->nodes[node].cell >= 0;
}

/// The node's position relative to the root node.
static inline int hsdi_tree_depth(const hsdi_tree *tree, int node)
{
    return tree->nodes[node].pos - tree->nodes[tree->root].pos;
}

/// Cells from the root node down to `node`. Shapes: out [depth + 1]; returns depth + 1.
int hsdi_tree_path(const hsdi_tree *tree, int node, int32_t *out);

/// `node` becomes the root node: its ancestors, which must be evaluated, join the trunk, and all
/// that is not under it is dropped. Cost: O(nodes dropped).
void hsdi_tree_promote(hsdi_tree *tree, int node);

/// All evaluated nodes from the root node to `node`, itself included, join the trunk; the tree is
/// empty afterwards. Used when the committed text leaves the tree behind `node`.
void hsdi_tree_harvest(hsdi_tree *tree, int node);

#endif
