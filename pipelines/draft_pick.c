/// Which tokens a draft offers as a window, out of all that its tree knows.
///
/// Best first: a token's worth is the product of the expected acceptances down to it, so a parent
/// is never worth less than its child, and the best n tokens are always a tree.
#include <pipelines/draft_state.h>

typedef struct picked {
    hsdi_window window;
    int node[HSDI_WINDOW_ROWS]; ///< -1: not in the tree
    int depth[HSDI_WINDOW_ROWS];
    float worth[HSDI_WINDOW_ROWS];
    int n_tried[HSDI_WINDOW_ROWS]; ///< candidates of the row that are taken
    float accept[HSDI_WINDOW_ROWS][HSDI_TOP_MAX];
} picked;

/// Row `row` has become part of the choice; its candidates are on offer if they are known.
static void open_row(const hsdi_draft *draft, picked *p, int row, int n_deep)
{
    int node = p->node[row];
    p->n_tried[row] = 0;
    p->accept[row][0] = 0.0f;
    if (node >= 0 && hsdi_tree_is_evaluated(&draft->tree, node) && p->depth[row] < n_deep &&
        draft->tree.nodes[node].pos + 1 < draft->n_pos) {
        hsdi_calibration_spread(&draft->calibration, hsdi_tree_candidates(&draft->tree, node),
                                draft->n_top, p->depth[row] + 1, p->accept[row]);
    }
}

static void pick(const hsdi_draft *draft, int n_deep, int n_tokens, picked *p)
{
    p->window.n_tokens = 0;
    p->node[0] = draft->tree.root;
    p->depth[0] = 0;
    p->worth[0] = 1.0f;
    open_row(draft, p, 0, n_deep);
    while (p->window.n_tokens < n_tokens && p->window.n_tokens < HSDI_TREE_MAX) {
        int best = -1;
        float most = 0.0f;
        for (int row = 0; row <= p->window.n_tokens; row++) {
            int rank = p->n_tried[row];
            float worth = rank < draft->n_top ? p->worth[row] * p->accept[row][rank] : 0.0f;
            if (worth > most) {
                best = row;
                most = worth;
            }
        }
        if (best < 0) {
            return;
        }
        int rank = p->n_tried[best]++;
        int32_t token = hsdi_tree_candidates(&draft->tree, p->node[best])[rank].token;
        if (hsdi_window_child(&p->window, best, token) >= 0) {
            continue; // a list that names a token twice
        }
        int row = hsdi_window_add(&p->window, best, token);
        p->node[row] = hsdi_tree_child(&draft->tree, p->node[best], token);
        p->depth[row] = p->depth[best] + 1;
        p->worth[row] = most;
        open_row(draft, p, row, n_deep);
    }
}

static void pick_chain(const hsdi_draft *draft, int n_tokens, hsdi_window *out)
{
    int node = draft->tree.root;
    out->n_tokens = 0;
    while (node >= 0 && out->n_tokens < n_tokens && out->n_tokens < HSDI_TREE_MAX) {
        node = draft->tree.nodes[node].main;
        if (node >= 0) {
            (void)hsdi_window_add(out, out->n_tokens, draft->tree.nodes[node].token);
        }
    }
}

void hsdi_draft_pick_window(hsdi_draft *draft, int n_deep, int n_tokens)
{
    if (n_tokens <= n_deep || draft->tree.root < 0) {
        pick_chain(draft, n_deep, &draft->offer);
    } else {
        picked p;
        pick(draft, n_deep, n_tokens, &p);
        draft->offer = p.window;
    }
}

int hsdi_draft_frontier(hsdi_draft *draft, int n_deep, int n_tokens, int n_most, int *out)
{
    picked p;
    int n = 0;
    pick(draft, n_deep, n_tokens, &p);
    for (int row = 1; row <= p.window.n_tokens && n < n_most; row++) { // in order of worth
        int node = p.node[row];
        bool is_open = node < 0 || !hsdi_tree_is_evaluated(&draft->tree, node);
        if (is_open && p.depth[row] < n_deep) {
            int parent = p.node[p.window.parents[row - 1]];
            node = node >= 0 ? node : hsdi_tree_add(&draft->tree, parent, p.window.tokens[row - 1]);
            if (node >= 0) {
                out[n++] = node;
            }
        }
    }
    return n;
}
