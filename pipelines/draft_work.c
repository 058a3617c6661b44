/// The draft pipeline's computing, one stage call per quantum.
///
/// Rows of a call are nodes of the tree; a node gets its cell when its row is built, and its
/// candidates when the call returns.
#include <base/clock.h>
#include <hsd/engine.h>
#include <pipelines/draft_state.h>
#include <string.h>

/// Rows of one call that grow a tree: a few, so that it costs little more than one.
enum { TREE_ROWS = 4 };

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

static void put_span(const hsdi_draft *draft, const hsdi_span_kind *kind, int64_t begin_ns,
                     int value, int other, const char *text)
{
    hsdi_span_end(draft->track, (hsdi_span){.kind = kind,
                                            .begin_ns = begin_ns,
                                            .session = draft->session,
                                            .step = draft->step,
                                            .text = text,
                                            .values = {value, other}});
}

/// `kind`: what the rows are, for the trace.
static hsd_status call_stage(hsdi_draft *draft, const hsdi_span_kind *kind, int n_top,
                             hsd_error *err)
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
    int64_t begin_ns = hsdi_now_ns();
    hsd_status status =
        draft->stage.eval(draft->stage.self, &rows, n_top, n_top > 0 ? draft->row_out : NULL, err);
    draft->busy_ns += hsdi_now_ns() - begin_ns;
    put_span(draft, kind, begin_ns, draft->n_rows, draft->n_branches, NULL);
    draft->n_rows_done += draft->n_rows;
    draft->n_rows = 0;
    return status;
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

static hsd_status eval_rows(hsdi_draft *draft, const hsdi_span_kind *kind, hsd_error *err)
{
    int n_rows = draft->n_rows;
    hsd_status status = call_stage(draft, kind, draft->n_top, err);
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

static void give_rows(hsdi_draft *draft, int n)
{
    while (n > 0) {
        hsdi_cells_give(&draft->cells, draft->row_cell[--n]);
    }
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
        if (draft->row_cell[row] < 0) {
            give_rows(draft, row);
            draft->is_exhausted = true;
            return HSD_OK;
        }
        draft->row_n_path[row] = row + 1;
        int32_t *path = draft->row_path + (size_t)row * (size_t)draft->stride;
        memcpy(path, draft->row_cell, (size_t)(row + 1) * sizeof *path);
    }
    draft->n_rows = n;
    hsd_status status = call_stage(draft, &hsdi_span_catch_up, is_last ? draft->n_top : 0, err);
    if (status != HSD_OK) {
        give_rows(draft, n);
        return status;
    }
    for (int row = 0; row < n - (is_last ? 1 : 0); row++) {
        hsdi_cells_push(&draft->cells, draft->row_cell[row]);
    }
    if (is_last) {
        int root = hsdi_tree_plant(&draft->tree, draft->text[draft->n_text - 1], draft->n_text - 1);
        draft->tree.nodes[root].cell = draft->row_cell[n - 1];
        keep_candidates(draft, root, n - 1);
    }
    return HSD_OK;
}

/// The window of this step is what the tree knows now. A target that did not wait for it verifies
/// none.
static void finish_answer(hsdi_draft *draft)
{
    int n_more = draft->config.tree - draft->config.window;
    hsdi_draft_pick_window(draft, draft->want_now, draft->want_now + n_more);
    if (!draft->is_stepped) {
        draft->window = draft->offer;
    }
    hsdi_draft_place_window(draft);
    draft->is_ready = draft->want_now > 0;
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
        if (!hsdi_tree_is_evaluated(&draft->tree, *tip)) {
            return false;
        }
        if (next < 0) {
            if (!extend(draft, *tip)) {
                return true;
            }
            next = draft->tree.nodes[*tip].main;
        }
        *tip = next;
        ++*n_tokens;
    }
}

/// The main chain as far as it is known. True when it is as long as it can or need be.
static bool advance_main(hsdi_draft *draft, int want, int *tip)
{
    int n_tokens = 0;
    *tip = draft->tree.root;
    return advance(draft, tip, &n_tokens, want);
}

/// What rows that lengthen the offered window are.
static const hsdi_span_kind *answer_kind(const hsdi_draft *draft)
{
    return draft->config.mode == HSD_MODE_ASYNC ? &hsdi_span_ahead
           : draft->source == HSDI_SOURCE_FRESH ? &hsdi_span_fresh
                                                : &hsdi_span_lengthen;
}

/// Evaluate the chain's tip. True when the chain is complete then.
static bool lengthen_main(hsdi_draft *draft, int want, hsd_status *status, hsd_error *err)
{
    int tip;
    if (advance_main(draft, want, &tip) || !add_row(draft, tip)) {
        return true;
    }
    *status = eval_rows(draft, answer_kind(draft), err);
    return *status == HSD_OK && advance_main(draft, want, &tip);
}

/// Evaluate the tree's best open nodes. True when that would change the window no more, or it
/// took as many calls as a chain.
static bool grow_tree(hsdi_draft *draft, hsd_status *status, hsd_error *err)
{
    int nodes[TREE_ROWS];
    int n_more = draft->config.tree - draft->config.window;
    int n = draft->n_rounds + 1 < draft->want_now
                ? hsdi_draft_frontier(draft, draft->want_now, draft->want_now + n_more, TREE_ROWS,
                                      nodes)
                : 0;
    for (int i = 0; i < n; i++) {
        (void)add_row(draft, nodes[i]);
    }
    if (draft->n_rows == 0) {
        return true;
    }
    draft->n_rounds++;
    *status = eval_rows(draft, answer_kind(draft), err);
    return false;
}

static hsd_status work_on_answer(hsdi_draft *draft, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int tip;
    if (!draft->is_exhausted && draft->want_now > 0) {
        bool grows = hsdi_draft_has_tree(draft) && draft->source == HSDI_SOURCE_FRESH &&
                     draft->want_now == draft->want;
        if (draft->tree.root < 0) {
            status = catch_up(draft, err);
            if (status != HSD_OK || draft->tree.root < 0) {
                return status;
            }
            if (draft->want_now > 1 && (grows || !advance_main(draft, draft->want_now, &tip))) {
                return HSD_OK;
            }
        } else {
            // A commit may lead to a leaf: nothing grows before that is evaluated.
            bool is_done = grows && hsdi_tree_is_evaluated(&draft->tree, draft->tree.root)
                               ? grow_tree(draft, &status, err)
                               : lengthen_main(draft, draft->want_now, &status, err);
            if (!is_done) {
                return status;
            }
        }
        (void)advance_main(draft, 1, &tip);
    }
    finish_answer(draft);
    return status;
}

/// How far to run ahead: the pass that runs yields its window and a token more, and `want` tokens
/// behind these are the next window.
static int depth_ahead(const hsdi_draft *draft)
{
    int n = draft->want > 0 ? hsdi_window_height(&draft->window) + 1 + draft->want : 0;
    int most = draft->config.rule == HSD_RULE_RATIO ? HSDI_WINDOW_MAX : HSDI_TREE_MAX;
    return n < most ? n : most;
}

/// The draft runs ahead of the target and offers what it has after every call.
static hsd_status work_ahead(hsdi_draft *draft, hsd_error *err)
{
    hsd_status status = HSD_OK;
    int n_deep = depth_ahead(draft);
    int n_more = draft->config.tree - draft->config.window;
    if (draft->is_exhausted || n_deep == 0) {
        draft->is_idle = true;
        return HSD_OK;
    }
    if (draft->tree.root < 0) {
        status = catch_up(draft, err);
        if (status != HSD_OK || draft->tree.root < 0) {
            return status;
        }
        hsdi_draft_place_window(draft);
        int tip;
        draft->is_idle = advance_main(draft, n_deep, &tip);
    } else {
        draft->is_idle = lengthen_main(draft, n_deep, &status, err);
    }
    hsdi_draft_pick_window(draft, n_deep, n_deep + n_more);
    draft->is_ready = status == HSD_OK && draft->offer.n_tokens > 0;
    return status;
}

static void start_branch(hsdi_draft *draft, const hsdi_root *root)
{
    int parent = draft->row_node[root->row];
    if (draft->n_branches == HSDI_ROOTS_MAX || parent < 0 ||
        !hsdi_tree_is_evaluated(&draft->tree, parent) ||
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

/// Ranks are spread over the shares' range by the golden ratio, so that every share of it gets its
/// part of the best ranks too.
static bool is_mine(const hsdi_draft *draft, int rank)
{
    int point = (20000 + rank * 40503) & 0xffff;
    return point >= draft->share.low &&
           (point < draft->share.high || draft->share.high == HSDI_SHARE_ALL);
}

static bool uses_proxies(const hsdi_draft *draft)
{
    return draft->n_proxies_due > 0 && draft->config.sources & HSDI_SOURCES_PROXY;
}

/// Roots that need not wait for proxies: the own candidates' part of what hits, and none when the
/// proxies are here already. Workers that share a step must count ranks alike, whenever the proxies
/// reach each of them.
static int early_budget(const hsdi_draft *draft)
{
    bool is_alone = draft->share.low == 0 && draft->share.high == HSDI_SHARE_ALL;
    float part = !uses_proxies(draft) ? 1.0f
                 : is_alone && draft->n_proxies > 0
                     ? 0.0f
                     : hsdi_calibration_own_weight(&draft->calibration);
    return draft->config.sources & HSDI_SOURCES_OWN
               ? (int)((float)draft->config.roots * part + 0.5f)
               : 0;
}

/// Branches on the draft's own judgement.
static void select_own(hsdi_draft *draft)
{
    hsdi_roots_in in;
    int64_t span_ns = hsdi_span_begin(draft->track);
    hsdi_draft_roots_in(draft, false, &in);
    draft->n_own_roots =
        hsdi_roots_select(&draft->calibration, &in, early_budget(draft), draft->own_roots);
    for (int rank = 0; rank < draft->n_own_roots; rank++) {
        if (is_mine(draft, rank)) {
            start_branch(draft, &draft->own_roots[rank]);
        }
    }
    draft->own_done = true;
    put_span(draft, &hsdi_span_roots, span_ns, draft->n_branches, 0, "own candidates");
}

/// Fill the budget from both sources.
static void select_merged(hsdi_draft *draft)
{
    hsdi_roots_in in;
    hsdi_root roots[HSDI_ROOTS_MAX];
    int64_t span_ns = hsdi_span_begin(draft->track);
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
    put_span(draft, &hsdi_span_roots, span_ns, draft->n_branches, 0, "both");
}

/// Rows of the window that have not been evaluated yet: usually the last one.
static void add_glue_rows(hsdi_draft *draft)
{
    for (int row = 0; row <= draft->window.n_tokens; row++) {
        int node = draft->row_node[row];
        if (node >= 0 && !hsdi_tree_is_evaluated(&draft->tree, node) && !add_row(draft, node)) {
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
                advance(draft, &branch->tip, &branch->n_tokens, draft->want) ||
                (draft->n_rows < draft->stage.limits.n_rows_max && !add_row(draft, branch->tip));
        }
    }
}

static hsd_status work_on_branches(hsdi_draft *draft, hsd_error *err)
{
    if (draft->is_exhausted || draft->want == 0) {
        draft->is_idle = true;
        return HSD_OK;
    }
    if (draft->tree.root < 0) {
        hsd_status status = catch_up(draft, err);
        if (status == HSD_OK && draft->tree.root >= 0) {
            hsdi_draft_place_window(draft);
        }
        return status;
    }
    add_glue_rows(draft);
    if (draft->n_rows > 0) {
        return eval_rows(draft, &hsdi_span_glue, err);
    }
    bool is_early = draft->n_proxies == 0 && uses_proxies(draft);
    if (!draft->own_done && !(is_early && draft->config.is_audited)) {
        select_own(draft);
    }
    if (draft->n_proxies > 0 && !draft->proxies_done) {
        select_merged(draft);
    }
    add_branch_rows(draft);
    if (draft->n_rows > 0) {
        return eval_rows(draft, &hsdi_span_branches, err);
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
    if (draft->config.mode == HSD_MODE_ASYNC) {
        return work_ahead(draft, err);
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
