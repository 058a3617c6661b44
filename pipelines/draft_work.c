/// The draft pipeline's computing, one stage call per quantum.
///
/// Rows of a call are nodes of the tree; a node gets its cell when its row is built, and its
/// candidates when the call returns.
#include <base/error.h>
#include <hsd/engine.h>
#include <pipelines/draft_state.h>
#include <string.h>

static bool add_row(hsdi_draft *draft, int node)
{
    hsdi_node *n = &draft->tree.nodes[node];
    if (draft->n_rows == draft->stage.limits.n_rows_max || n->pos >= draft->n_pos) {
        return false;
    }
    n->cell = hsdi_cells_take(&draft->cells);
    if (n->cell < 0) {
        return false;
    }
    int row = draft->n_rows++;
    draft->row_nodes[row] = node;
    draft->row_tokens[row] = n->token;
    draft->row_pos[row] = n->pos;
    draft->row_cell[row] = n->cell;
    int32_t *path = draft->row_path + (size_t)row * (size_t)draft->stride;
    draft->row_n_path[row] = hsdi_tree_path(&draft->tree, node, path);
    return true;
}

static hsd_status call_stage(hsdi_draft *draft, int n_top, hsd_error *err)
{
    hsdi_rows rows = {
        .n_rows = draft->n_rows,
        .tokens = draft->row_tokens,
        .pos = draft->row_pos,
        .cell = draft->row_cell,
        .trunk = draft->cells.trunk,
        .n_trunk = draft->cells.n_trunk,
        .path = draft->row_path,
        .n_path = draft->row_n_path,
        .path_stride = draft->stride,
    };
    draft->n_rows = 0;
    return draft->stage.eval(draft->stage.self, &rows, n_top, n_top > 0 ? draft->row_out : NULL,
                             err);
}

/// Keep a row's candidates; the list ends at the first token that is none.
static void keep_candidates(hsdi_draft *draft, int node, int row)
{
    const hsdi_candidate *from = draft->row_out + (size_t)row * (size_t)draft->n_top;
    hsdi_candidate *to = hsdi_tree_candidates(&draft->tree, node);
    int n = 0;
    while (n < draft->n_top && from[n].token >= 0 && from[n].token < draft->stage.limits.n_vocab) {
        to[n] = from[n];
        n++;
    }
    draft->tree.nodes[node].n_candidates = (int16_t)n;
    if (n < draft->n_top) {
        to[n].token = -1;
    }
}

static hsd_status eval_rows(hsdi_draft *draft, hsd_error *err)
{
    int n_rows = draft->n_rows;
    hsd_status status = call_stage(draft, draft->n_top, err);
    for (int row = 0; row < n_rows && status == HSD_OK; row++) {
        keep_candidates(draft, draft->row_nodes[row], row);
    }
    return status;
}

/// Give an evaluated node its main child. False when there is none to give.
static bool extend(hsdi_draft *draft, int node)
{
    hsdi_node *n = &draft->tree.nodes[node];
    if (n->n_candidates == 0 || n->pos + 1 >= draft->n_pos) {
        return false;
    }
    n->main = hsdi_tree_add(&draft->tree, node, hsdi_tree_candidates(&draft->tree, node)->token);
    return n->main >= 0;
}

/// One piece of committed text that has no cells yet. The last piece plants the root node.
static hsd_status catch_up(hsdi_draft *draft, hsd_error *err)
{
    int begin = draft->cells.n_trunk, pending = draft->n_text - begin;
    int most = draft->stage.limits.n_rows_max;
    most = most < HSDI_CATCH_UP_ROWS ? most : HSDI_CATCH_UP_ROWS;
    int n = pending > most ? most : pending;
    bool is_last = n == pending && (n == 1 || n <= HSDI_CATCH_UP_LAST);
    if (n == pending && !is_last) {
        n--; // the last row alone needs candidates
    }
    if (draft->n_text > draft->n_pos || draft->cells.n_free < n) {
        draft->is_exhausted = true;
        return HSD_OK;
    }
    for (int row = 0; row < n; row++) {
        draft->row_tokens[row] = draft->text[begin + row];
        draft->row_pos[row] = begin + row;
        draft->row_cell[row] = hsdi_cells_take(&draft->cells);
        draft->row_n_path[row] = row + 1;
        int32_t *path = draft->row_path + (size_t)row * (size_t)draft->stride;
        memcpy(path, draft->row_cell, (size_t)(row + 1) * sizeof *path);
    }
    draft->n_rows = n;
    hsd_status status = call_stage(draft, is_last ? draft->n_top : 0, err);
    for (int row = 0; row < n - (is_last ? 1 : 0); row++) {
        hsdi_cells_push(&draft->cells, draft->row_cell[row]);
    }
    if (is_last) {
        int root = hsdi_tree_plant(&draft->tree, draft->text[draft->n_text - 1], draft->n_text - 1);
        draft->tree.nodes[root].cell = draft->row_cell[n - 1];
        if (status == HSD_OK) {
            keep_candidates(draft, root, n - 1);
        }
    }
    return status;
}

/// The window of this step is what hangs below the root node now.
static void finish_answer(hsdi_draft *draft)
{
    int node = draft->tree.root;
    draft->n_window = 0;
    draft->n_chain = 0;
    if (node >= 0) {
        draft->chain[draft->n_chain++] = node;
        while (draft->n_window < draft->want && draft->tree.nodes[node].main >= 0) {
            node = draft->tree.nodes[node].main;
            draft->window[draft->n_window++] = draft->tree.nodes[node].token;
            draft->chain[draft->n_chain++] = node;
        }
    }
    draft->is_ready = true;
    draft->phase = HSDI_DRAFT_BRANCH;
    draft->own_done = false;
    draft->proxies_done = false;
}

/// Lengthen the chain of main nodes from `*tip` until it has `want` tokens or its tip must be
/// evaluated first. True when nothing more can or need be done.
static bool advance(hsdi_draft *draft, int *tip, int *n_tokens, int want)
{
    for (;;) {
        int next = draft->tree.nodes[*tip].main;
        if (*n_tokens >= want) {
            return true;
        }
        if (next < 0) {
            if (!hsdi_tree_is_evaluated(&draft->tree, *tip)) {
                return false;
            }
            if (!extend(draft, *tip)) {
                return true;
            }
            next = draft->tree.nodes[*tip].main;
        }
        *tip = next;
        ++*n_tokens;
    }
}

static hsd_status work_on_answer(hsdi_draft *draft, hsd_error *err)
{
    if (draft->tree.root < 0 && !draft->is_exhausted) {
        hsd_status status = catch_up(draft, err);
        if (status != HSD_OK || draft->tree.root < 0) {
            return status;
        }
        int tip = draft->tree.root, n_tokens = 0;
        if (!advance(draft, &tip, &n_tokens, draft->want)) {
            return HSD_OK;
        }
    } else if (!draft->is_exhausted) {
        int tip = draft->tree.root, n_tokens = 0;
        bool is_done = advance(draft, &tip, &n_tokens, draft->want);
        if (!is_done && add_row(draft, tip)) {
            hsd_status status = eval_rows(draft, err);
            if (status != HSD_OK || !advance(draft, &tip, &n_tokens, draft->want)) {
                return status;
            }
        }
    }
    finish_answer(draft);
    return HSD_OK;
}

static void start_branch(hsdi_draft *draft, const hsdi_root *root)
{
    if (draft->n_branches == HSDI_ROOTS_MAX || root->row >= draft->n_chain) {
        return;
    }
    int parent = draft->chain[root->row];
    if (!hsdi_tree_is_evaluated(&draft->tree, parent) ||
        draft->tree.nodes[parent].pos + 2 >= draft->n_pos) {
        return;
    }
    bool is_new = hsdi_tree_child(&draft->tree, parent, root->token) < 0;
    int node = hsdi_tree_add(&draft->tree, parent, root->token);
    if (node >= 0) {
        if (is_new) {
            draft->tree.nodes[node].source = (uint8_t)root->source;
        }
        draft->branches[draft->n_branches++] = (hsdi_branch){.root = node, .tip = node};
    }
}

static bool is_mine(const hsdi_draft *draft, int rank)
{
    return rank % draft->share.n_workers == draft->share.index;
}

/// Branches on the draft's own judgement; half of the budget waits for proxies if there will be
/// some.
static void select_own(hsdi_draft *draft)
{
    hsdi_roots_in in;
    hsdi_draft_roots_in(draft, false, &in);
    int budget = draft->config.roots;
    if (draft->share.n_proxies > 0) {
        budget = (budget + 1) / 2;
    }
    draft->n_own_roots = hsdi_roots_select(&draft->calibration, &in, budget, draft->own_roots);
    for (int rank = 0; rank < draft->n_own_roots; rank++) {
        if (is_mine(draft, rank)) {
            start_branch(draft, &draft->own_roots[rank]);
        }
    }
    draft->own_done = true;
}

/// Fill the budget from both sources.
static void select_merged(hsdi_draft *draft)
{
    hsdi_roots_in in;
    hsdi_root roots[HSDI_ROOTS_MAX];
    hsdi_draft_roots_in(draft, true, &in);
    int n = hsdi_roots_select(&draft->calibration, &in, draft->config.roots, roots);
    int rank = draft->n_own_roots;
    for (int i = 0; i < n && rank < draft->config.roots; i++) {
        bool is_old = false;
        for (int j = 0; j < draft->n_own_roots && !is_old; j++) {
            is_old = draft->own_roots[j].row == roots[i].row &&
                     draft->own_roots[j].token == roots[i].token;
        }
        if (!is_old && is_mine(draft, rank++)) {
            start_branch(draft, &roots[i]);
        }
    }
    draft->proxies_done = true;
}

/// Rows of the window that have not been evaluated yet: usually the last one.
static void add_glue_rows(hsdi_draft *draft)
{
    for (int row = 0; row < draft->n_chain; row++) {
        if (!hsdi_tree_is_evaluated(&draft->tree, draft->chain[row]) &&
            !add_row(draft, draft->chain[row])) {
            return;
        }
    }
}

static void add_branch_rows(hsdi_draft *draft)
{
    for (int i = 0; i < draft->n_branches; i++) {
        hsdi_branch *branch = &draft->branches[i];
        if (!branch->is_done) {
            branch->is_done =
                advance(draft, &branch->tip, &branch->n_tokens, draft->config.window) ||
                (draft->n_rows < draft->stage.limits.n_rows_max && !add_row(draft, branch->tip));
        }
    }
}

static hsd_status work_on_branches(hsdi_draft *draft, hsd_error *err)
{
    if (draft->is_exhausted) {
        draft->is_idle = true;
        return HSD_OK;
    }
    if (draft->tree.root < 0) {
        hsd_status status = catch_up(draft, err);
        if (status == HSD_OK && draft->tree.root >= 0) {
            hsdi_draft_build_chain(draft);
        }
        return status;
    }
    add_glue_rows(draft);
    if (draft->n_rows > 0) {
        return eval_rows(draft, err);
    }
    if (!draft->own_done) {
        select_own(draft);
    }
    if (draft->n_proxies > 0 && !draft->proxies_done) {
        select_merged(draft);
    }
    add_branch_rows(draft);
    if (draft->n_rows > 0) {
        return eval_rows(draft, err);
    }
    draft->is_idle = true;
    return HSD_OK;
}

hsd_status hsdi_draft_work(hsdi_draft *draft, hsd_error *err)
{
    if (draft->n_text == 0) {
        draft->is_idle = true;
        return HSD_OK;
    }
    if (draft->phase == HSDI_DRAFT_ANSWER) {
        return work_on_answer(draft, err);
    }
    if (draft->config.mode == HSD_MODE_MIRROR) {
        return work_on_branches(draft, err);
    }
    draft->is_idle = true;
    return HSD_OK;
}
