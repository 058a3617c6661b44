/// The draft pipeline's reactions to messages. Nothing here calls the stage.
///
/// A step k goes: answer with a window (or be told by STEP that another one is used), prepare
/// branches while the target verifies, and let COMMIT move to step k + 1.
#include <base/error.h>
#include <hsd/engine.h>
#include <pipelines/draft_state.h>
#include <stdlib.h>
#include <string.h>

int hsdi_draft_nodes_needed(const hsdi_draft_config *config)
{
    return (config->roots + 3) * (config->window + 1) + 3 * HSDI_TREE_MAX + 8;
}

int hsdi_draft_cells_needed(const hsdi_draft_config *config)
{
    return config->n_ctx + hsdi_draft_nodes_needed(config);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static hsd_status check_config(const hsdi_draft_config *config, int n_proxies,
                               const hsdi_stage_limits *limits, hsd_error *err)
{
    const struct {
        const char *name;
        int value, least, most;
    } fields[] = {
        {"mode", config->mode, HSD_MODE_SERIAL, HSD_MODE_ASYNC},
        {"window", config->window, 1, HSDI_WINDOW_MAX},
        {"tree", config->tree, config->window, HSDI_TREE_MAX},
        {"sources", config->sources, HSDI_SOURCES_OWN, HSDI_SOURCES_BOTH},
        {"rule", config->rule, HSD_RULE_COUPLED, HSD_RULE_RATIO},
        {"miss_window", config->miss_window, 1, config->window},
        {"roots", config->roots, 1, HSDI_ROOTS_MAX},
        {"n_top", config->n_top, 1, HSDI_TOP_MAX},
        {"n_ctx", config->n_ctx, 1, INT32_MAX / 8},
        {"n_proxies", n_proxies, 0, HSDI_TOP_MAX},
        {"limits.n_vocab", limits->n_vocab, 1, INT32_MAX},
        {"limits.n_ctx", limits->n_ctx, 1, INT32_MAX},
        {"limits.n_cells", limits->n_cells, 1, INT32_MAX},
        {"limits.n_rows_max", limits->n_rows_max, 1, 65536},
        {"limits.n_top_max", limits->n_top_max, 1, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].value < fields[i].least || fields[i].value > fields[i].most) {
            return hsdi_fail(err, HSD_EINVAL, fields[i].name, "%s must be in %d..%d, not %d",
                             fields[i].name, fields[i].least, fields[i].most, fields[i].value);
        }
    }
    return HSD_OK;
}

static bool alloc_rows(hsdi_draft *draft)
{
    size_t n = (size_t)draft->stage.limits.n_rows_max;
    draft->row_nodes = calloc(n, sizeof *draft->row_nodes);
    draft->row_tokens = calloc(n, sizeof *draft->row_tokens);
    draft->row_pos = calloc(n, sizeof *draft->row_pos);
    draft->row_cell = calloc(n, sizeof *draft->row_cell);
    draft->row_n_path = calloc(n, sizeof *draft->row_n_path);
    draft->row_path = calloc(n * (size_t)draft->stride, sizeof *draft->row_path);
    draft->row_out = calloc(n * (size_t)draft->n_top, sizeof *draft->row_out);
    return draft->row_nodes && draft->row_tokens && draft->row_pos && draft->row_cell &&
           draft->row_n_path && draft->row_path && draft->row_out;
}

hsd_status hsdi_draft_create(const hsdi_draft_stage *stage, const hsdi_draft_config *config,
                             int n_proxies, hsdi_draft **out, hsd_error *err)
{
    hsd_status status = check_config(config, n_proxies, &stage->limits, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_draft *draft = calloc(1, sizeof *draft);
    if (!draft) {
        return hsdi_fail(err, HSD_ENOMEM, "draft", "no memory for a draft pipeline");
    }
    draft->stage = *stage;
    draft->config = *config;
    draft->share = (hsdi_draft_share){0, HSDI_SHARE_ALL};
    draft->n_proxies_due = n_proxies;
    draft->n_pos = least(config->n_ctx, stage->limits.n_ctx);
    draft->n_top = least(config->n_top, stage->limits.n_top_max);
    if (config->rule == HSD_RULE_RATIO) {
        draft->n_top = least(draft->n_top, HSDI_Q_MAX);
        draft->config.tree = config->window; // the rule is for chains
    }
    int depth_max = 2 * config->window + 4;
    int piece = least(stage->limits.n_rows_max, HSDI_CATCH_UP_ROWS);
    draft->stride = piece > depth_max ? piece : depth_max;
    draft->text = calloc((size_t)config->n_ctx, sizeof *draft->text);
    hsdi_calibration_init(&draft->calibration);
    status =
        hsdi_cells_init(&draft->cells, stage->limits.n_cells, draft->n_pos, stage->limits.blocks);
    if (status == HSD_OK) {
        status = hsdi_tree_init(&draft->tree, &draft->cells, hsdi_draft_nodes_needed(config),
                                draft->n_top, depth_max);
    }
    if (status != HSD_OK || !draft->text || !alloc_rows(draft)) {
        hsdi_draft_destroy(&draft);
        return hsdi_fail(err, HSD_ENOMEM, "draft", "no memory for a draft pipeline");
    }
    draft->is_idle = true;
    *out = draft;
    return HSD_OK;
}

void hsdi_draft_keep(hsdi_draft *draft)
{
    hsdi_cells_keep(&draft->cells, draft->text);
}

void hsdi_draft_destroy(hsdi_draft **draft)
{
    if (*draft) {
        if ((*draft)->tree.cells) {
            hsdi_tree_clear(&(*draft)->tree);
            hsdi_cells_keep(&(*draft)->cells, (*draft)->text);
        }
        hsdi_tree_fini(&(*draft)->tree);
        hsdi_cells_fini(&(*draft)->cells);
        free((*draft)->text);
        free((*draft)->row_nodes);
        free((*draft)->row_tokens);
        free((*draft)->row_pos);
        free((*draft)->row_cell);
        free((*draft)->row_n_path);
        free((*draft)->row_path);
        free((*draft)->row_out);
        free(*draft);
        *draft = NULL;
    }
}

const hsdi_calibration *hsdi_draft_calibration(const hsdi_draft *draft)
{
    return &draft->calibration;
}

void hsdi_draft_calibrate(hsdi_draft *draft, const hsdi_calibration *calibration)
{
    draft->calibration = *calibration;
}

void hsdi_draft_trace(hsdi_draft *draft, hsdi_track *track, uint32_t session)
{
    draft->track = track;
    draft->session = session;
}

static bool are_tokens(const hsdi_draft *draft, const int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= draft->stage.limits.n_vocab) {
            return false;
        }
    }
    return true;
}

/// Step `step` begins with the target waiting for an answer of at most `want_now` tokens.
static void begin_step(hsdi_draft *draft, uint32_t step, int want_now, hsdi_source source)
{
    draft->step = step;
    draft->phase = HSDI_DRAFT_ANSWER;
    draft->is_idle = false;
    draft->is_ready = false;
    draft->is_stepped = false;
    draft->want_now = want_now;
    draft->n_rounds = 0;
    draft->source = source;
    draft->window.n_tokens = 0;
    hsdi_draft_place_window(draft);
    draft->n_branches = 0;
    draft->n_proxies = 0;
}

hsd_status hsdi_draft_open(hsdi_draft *draft, uint32_t step, const int32_t *tokens, int n_tokens,
                           hsd_error *err)
{
    if (n_tokens < 1 || n_tokens > draft->config.n_ctx || !are_tokens(draft, tokens, n_tokens)) {
        return hsdi_fail(err, HSD_EINVAL, "tokens", "1..%d tokens below %d are allowed",
                         draft->config.n_ctx, draft->stage.limits.n_vocab);
    }
    bool is_found;
    hsdi_tree_clear(&draft->tree);
    int n_had = hsdi_cells_begin(&draft->cells, draft->text, tokens,
                                 least(n_tokens - 1, draft->n_pos), &is_found);
    if (is_found && draft->stage.found) {
        draft->stage.found(draft->stage.self, tokens, draft->cells.trunk, n_had);
    }
    memcpy(draft->text, tokens, (size_t)n_tokens * sizeof *tokens);
    draft->n_text = n_tokens;
    draft->is_exhausted = false;
    draft->want = draft->config.window;
    draft->ranks = (hsdi_ranks){HSDI_RANK_UNKNOWN, HSDI_RANK_UNKNOWN, HSDI_RANK_UNKNOWN};
    begin_step(draft, step, draft->want, HSDI_SOURCE_FRESH);
    return HSD_OK;
}

void hsdi_draft_place_window(hsdi_draft *draft)
{
    const hsdi_window *window = &draft->window;
    bool has_main[HSDI_WINDOW_ROWS] = {false};
    draft->row_node[0] = draft->tree.root;
    for (int i = 0; i < window->n_tokens; i++) {
        int parent_row = window->parents[i], parent = draft->row_node[parent_row];
        int child = parent >= 0 ? hsdi_tree_add(&draft->tree, parent, window->tokens[i]) : -1;
        draft->row_node[i + 1] = child;
        // The first token of a row is its best. Under the ratio rule a chain goes on with what was
        // drawn, whatever others drafted.
        bool leads = !has_main[parent_row] && draft->config.rule != HSD_RULE_RATIO;
        if (child >= 0 && leads) {
            draft->tree.nodes[parent].main = child;
            has_main[parent_row] = true;
        }
    }
}

/// A window that is not the one offered. Branches of that one stay in the tree: where they hang
/// off rows that both windows share, root selection finds them again.
static void take_other_window(hsdi_draft *draft, const hsdi_window *window)
{
    draft->window = *window;
    hsdi_draft_place_window(draft);
    draft->n_branches = 0;
    draft->own_done = false;
    draft->proxies_done = false;
    if (draft->config.mode != HSD_MODE_ASYNC) {
        draft->phase = HSDI_DRAFT_BRANCH;
        draft->is_ready = false;
    }
}

/// The target did not wait, as after an OPEN in the middle of a text: the answer is still worth
/// giving, since it may fit the text that is committed meanwhile. Without it a worker that only
/// answers between COMMIT and STEP would never catch up with a target that goes on alone.
static bool goes_on_answering(const hsdi_draft *draft, const hsdi_window *window)
{
    return draft->config.mode == HSD_MODE_SERIAL && draft->phase == HSDI_DRAFT_ANSWER &&
           window->n_tokens == 0 && draft->want_now > 0;
}

hsd_status hsdi_draft_step(hsdi_draft *draft, uint32_t step, const hsdi_window *window,
                           const hsdi_draft_share *share, hsd_error *err)
{
    if (draft->n_text == 0 || step != draft->step || draft->is_stepped) {
        return hsdi_fail(err, HSD_EPROTOCOL, "step", "STEP %u came where step %u was due", step,
                         draft->step);
    }
    if (!hsdi_window_is_valid(window, draft->stage.limits.n_vocab) ||
        window->n_tokens > draft->config.tree ||
        hsdi_window_height(window) > draft->config.window) {
        return hsdi_fail(err, HSD_EPROTOCOL, "window", "STEP %u holds an impossible window", step);
    }
    bool is_mine = draft->phase == HSDI_DRAFT_BRANCH && hsdi_window_is_same(window, &draft->window);
    draft->share = *share;
    draft->is_stepped = true;
    draft->is_idle = false;
    if (is_mine) {
        draft->is_ready = false;
    } else if (goes_on_answering(draft, window)) {
        draft->window = *window;
        hsdi_draft_place_window(draft);
    } else {
        take_other_window(draft, window);
    }
    return HSD_OK;
}

hsd_status hsdi_draft_proxies(hsdi_draft *draft, uint32_t step, int n_rows, int n_top,
                              const hsdi_candidate *proxies, hsd_error *err)
{
    if (!draft->is_stepped || step != draft->step || n_rows != draft->window.n_tokens + 1 ||
        n_top < 1 || n_top > HSDI_TOP_MAX) {
        return hsdi_fail(err, HSD_EPROTOCOL, "proxies", "PROXIES of step %u do not fit step %u",
                         step, draft->step);
    }
    for (int i = 0; i < n_rows * n_top; i++) {
        if (proxies[i].token < -1 || proxies[i].token >= draft->stage.limits.n_vocab) {
            return hsdi_fail(err, HSD_EPROTOCOL, "proxies", "token %d is not in the vocabulary",
                             proxies[i].token);
        }
    }
    memcpy(draft->proxies, proxies, (size_t)n_rows * (size_t)n_top * sizeof *proxies);
    draft->n_proxies = n_top;
    draft->proxies_done = false;
    draft->is_idle = false;
    return HSD_OK;
}

void hsdi_draft_roots_in(const hsdi_draft *draft, bool with_proxies, hsdi_roots_in *out)
{
    *out = (hsdi_roots_in){
        .window = &draft->window,
        .n_own = draft->n_top,
        .n_proxies = draft->n_proxies,
        .proxies = with_proxies && draft->n_proxies > 0 ? draft->proxies : NULL,
        .sources = draft->config.sources,
    };
    for (int row = 0; row <= draft->window.n_tokens; row++) {
        int node = draft->row_node[row];
        if (node >= 0 && hsdi_tree_is_evaluated(&draft->tree, node)) {
            out->own[row] = hsdi_tree_candidates(&draft->tree, node);
        }
    }
}

/// Follow the commit through the tree. True when its root has a branch: at least the token that
/// goes on from it is known.
static bool follow(hsdi_draft *draft, int row, int32_t next)
{
    hsdi_tree *tree = &draft->tree;
    int path[HSDI_WINDOW_ROWS], n = hsdi_window_path(&draft->window, row, path), n_known = 0;
    draft->row_node[0] = tree->root;
    while (n_known < n && draft->row_node[path[n_known]] >= 0 &&
           hsdi_tree_is_evaluated(tree, draft->row_node[path[n_known]])) {
        n_known++;
    }
    int child = n_known == n ? hsdi_tree_child(tree, draft->row_node[row], next) : -1;
    if (child >= 0) {
        bool is_ready = hsdi_tree_is_evaluated(tree, child);
        hsdi_tree_promote(tree, child);
        return is_ready;
    }
    if (n_known > 0) {
        hsdi_tree_harvest(tree, draft->row_node[path[n_known - 1]]);
    }
    hsdi_tree_clear(tree);
    return false;
}

static uint8_t rank_of(const hsdi_draft *draft, hsdi_roots_in *in, int sources, int row,
                       int32_t next)
{
    hsdi_root roots[HSDI_ROOTS_MAX];
    in->sources = sources;
    int n = hsdi_roots_select(&draft->calibration, in, HSDI_ROOTS_MAX, roots);
    for (int rank = 0; rank < n; rank++) {
        if (roots[rank].row == row && roots[rank].token == next) {
            return (uint8_t)rank;
        }
    }
    return HSDI_RANK_NONE;
}

/// What a commit in mirror mode teaches, before the tree changes.
static void learn(hsdi_draft *draft, int row, int32_t next)
{
    hsdi_roots_in in;
    hsdi_draft_roots_in(draft, true, &in);
    draft->ranks = (hsdi_ranks){HSDI_RANK_UNKNOWN, HSDI_RANK_UNKNOWN, HSDI_RANK_UNKNOWN};
    if (draft->config.is_audited && in.own[row] && in.proxies) {
        draft->ranks.own = rank_of(draft, &in, HSDI_SOURCES_OWN, row, next);
        draft->ranks.proxy = rank_of(draft, &in, HSDI_SOURCES_PROXY, row, next);
        draft->ranks.merged = rank_of(draft, &in, HSDI_SOURCES_BOTH, row, next);
    }
    in.sources = draft->config.sources;
    hsdi_calibration_observe(&draft->calibration, &in, row, next);
}

static hsd_status check_commit(const hsdi_draft *draft, uint32_t step, int row, int32_t next,
                               int n_committed, int want, hsd_error *err)
{
    bool fits = draft->is_stepped && step == draft->step && row >= 0 &&
                row <= draft->window.n_tokens && want >= 0 && want <= draft->config.window &&
                n_committed <= draft->config.n_ctx && are_tokens(draft, &next, 1);
    if (fits && n_committed == draft->n_text + hsdi_window_depth(&draft->window, row) + 1) {
        return HSD_OK;
    }
    return hsdi_fail(err, HSD_EPROTOCOL, "commit",
                     "COMMIT %u (row %d, %d committed) does not follow step %u with %d", step, row,
                     n_committed, draft->step, draft->n_text);
}

hsd_status hsdi_draft_commit(hsdi_draft *draft, uint32_t step, int row, int32_t next,
                             int n_committed, int want, hsd_error *err)
{
    hsd_status status = check_commit(draft, step, row, next, n_committed, want, err);
    if (status != HSD_OK) {
        return status;
    }
    bool is_mirror = draft->config.mode == HSD_MODE_MIRROR;
    if (is_mirror || hsdi_draft_has_tree(draft)) {
        learn(draft, row, next);
    }
    int path[HSDI_WINDOW_ROWS], n = hsdi_window_path(&draft->window, row, path);
    for (int i = 1; i < n; i++) {
        draft->text[draft->n_text++] = draft->window.tokens[path[i] - 1];
    }
    draft->text[draft->n_text++] = next;
    bool is_hit = follow(draft, row, next);
    hsdi_source source = HSDI_SOURCE_FRESH;
    if (is_hit && draft->config.mode != HSD_MODE_SERIAL) {
        source = draft->tree.nodes[draft->tree.root].source == HSDI_SOURCE_PROXY ? HSDI_SOURCE_PROXY
                                                                                 : HSDI_SOURCE_OWN;
    }
    bool is_short = is_mirror && !is_hit;
    draft->want = want;
    begin_step(draft, step + 1, is_short ? least(draft->config.miss_window, want) : want, source);
    return HSD_OK;
}

hsd_status hsdi_draft_alone(hsdi_draft *draft, uint32_t step, const int32_t *tokens, int n_tokens,
                            int n_committed, int want, hsd_error *err)
{
    const hsdi_window nothing = {0};
    const hsdi_draft_share share = draft->share;
    if (draft->n_text == 0 || n_tokens < 1 || n_committed - n_tokens != draft->n_text) {
        return hsdi_fail(err, HSD_EPROTOCOL, "alone",
                         "ALONE %u (%d tokens, %d committed) does not follow step %u with %d", step,
                         n_tokens, n_committed, draft->step, draft->n_text);
    }
    hsd_status status = HSD_OK;
    for (int i = 0; i < n_tokens && status == HSD_OK; i++, step++) {
        status = hsdi_draft_step(draft, step, &nothing, &share, err);
        if (status == HSD_OK) {
            status = hsdi_draft_commit(draft, step, 0, tokens[i], n_committed - n_tokens + i + 1,
                                       i + 1 < n_tokens ? 0 : want, err);
        }
    }
    return status;
}

bool hsdi_draft_has_work(const hsdi_draft *draft)
{
    return !draft->is_idle;
}

bool hsdi_draft_is_wanted(const hsdi_draft *draft)
{
    return draft->want > 0;
}

bool hsdi_draft_is_awaited(const hsdi_draft *draft)
{
    return draft->phase == HSDI_DRAFT_ANSWER && draft->config.mode != HSD_MODE_ASYNC;
}

/// The distributions that the offer's tokens were drawn from. The offer follows what was drawn;
/// should it not, it ends there.
static void put_distributions(const hsdi_draft *draft, hsdi_draft_window *out)
{
    int node = draft->tree.root, n = 0;
    out->n_q = draft->stage.is_certain ? 1 : draft->n_top;
    for (; n < out->window.n_tokens; n++) {
        const hsdi_candidate *list = hsdi_tree_candidates(&draft->tree, node);
        if (list->token != out->window.tokens[n]) {
            break;
        }
        memcpy(out->q + n * out->n_q, list, (size_t)out->n_q * sizeof *list);
        for (int i = draft->tree.nodes[node].n_candidates; i < out->n_q; i++) {
            out->q[n * out->n_q + i].token = -1;
        }
        if (draft->stage.is_certain) {
            out->q[n].score = 0.0f;
        }
        node = hsdi_tree_child(&draft->tree, node, list->token);
    }
    hsdi_window_prune(&out->window, n, n);
}

bool hsdi_draft_take_window(hsdi_draft *draft, hsdi_draft_window *out)
{
    if (!draft->is_ready) {
        return false;
    }
    draft->is_ready = false;
    out->step = draft->step;
    out->n_committed = draft->n_text;
    out->source = draft->source;
    out->window = draft->offer;
    out->ranks = draft->ranks;
    out->n_rows = draft->n_rows_done;
    out->busy_ns = draft->busy_ns;
    out->n_q = 0;
    draft->n_rows_done = draft->busy_ns = 0;
    if (draft->config.rule == HSD_RULE_RATIO) {
        put_distributions(draft, out);
    }
    return true;
}
