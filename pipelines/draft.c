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
    return (config->roots + 3) * (config->window + 1) + 8;
}

int hsdi_draft_cells_needed(const hsdi_draft_config *config)
{
    return config->n_ctx + hsdi_draft_nodes_needed(config);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static hsd_status check_config(const hsdi_draft_config *config, const hsdi_draft_share *share,
                               const hsdi_stage_limits *limits, hsd_error *err)
{
    const struct {
        const char *name;
        int value, least, most;
    } fields[] = {
        {"mode", config->mode, HSD_MODE_SERIAL, HSD_MODE_MIRROR},
        {"window", config->window, 1, HSDI_WINDOW_MAX},
        {"miss_window", config->miss_window, 1, config->window},
        {"roots", config->roots, 1, HSDI_ROOTS_MAX},
        {"n_top", config->n_top, 1, HSDI_TOP_MAX},
        {"n_ctx", config->n_ctx, 1, INT32_MAX / 8},
        {"n_workers", share->n_workers, 1, UINT16_MAX},
        {"index", share->index, 0, share->n_workers - 1},
        {"n_proxies", share->n_proxies, 0, HSDI_TOP_MAX},
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
                             const hsdi_draft_share *share, hsdi_draft **out, hsd_error *err)
{
    hsd_status status = check_config(config, share, &stage->limits, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_draft *draft = calloc(1, sizeof *draft);
    if (!draft) {
        return hsdi_fail(err, HSD_ENOMEM, "draft", "no memory for a draft pipeline");
    }
    draft->stage = *stage;
    draft->config = *config;
    draft->share = *share;
    draft->n_pos = least(config->n_ctx, stage->limits.n_ctx);
    draft->n_top = least(config->n_top, stage->limits.n_top_max);
    int depth_max = 2 * config->window + 4;
    int piece = least(stage->limits.n_rows_max, HSDI_CATCH_UP_ROWS);
    draft->stride = piece > depth_max ? piece : depth_max;
    draft->text = calloc((size_t)config->n_ctx, sizeof *draft->text);
    hsdi_calibration_init(&draft->calibration);
    status = hsdi_cells_init(&draft->cells, stage->limits.n_cells, draft->n_pos);
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

void hsdi_draft_destroy(hsdi_draft **draft)
{
    if (*draft) {
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

static bool are_tokens(const hsdi_draft *draft, const int32_t *tokens, int n)
{
    for (int i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= draft->stage.limits.n_vocab) {
            return false;
        }
    }
    return true;
}

static bool is_same(const int32_t *a, const int32_t *b, int n)
{
    int n_same = 0;
    while (n_same < n && a[n_same] == b[n_same]) {
        n_same++;
    }
    return n_same == n;
}

/// Step `step` begins with the target waiting for an answer of `want` tokens.
static void begin_step(hsdi_draft *draft, uint32_t step, int want, hsdi_source source)
{
    draft->step = step;
    draft->phase = HSDI_DRAFT_ANSWER;
    draft->is_idle = false;
    draft->is_ready = false;
    draft->is_stepped = false;
    draft->want = want;
    draft->source = source;
    draft->n_window = 0;
    draft->n_chain = 0;
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
    int n_same = 0;
    while (n_same < draft->n_text && n_same < n_tokens - 1 &&
           draft->text[n_same] == tokens[n_same]) {
        n_same++;
    }
    hsdi_tree_clear(&draft->tree);
    hsdi_cells_truncate(&draft->cells, n_same);
    memcpy(draft->text, tokens, (size_t)n_tokens * sizeof *tokens);
    draft->n_text = n_tokens;
    draft->is_exhausted = false;
    begin_step(draft, step, draft->config.window, HSDI_SOURCE_FRESH);
    return HSD_OK;
}

void hsdi_draft_build_chain(hsdi_draft *draft)
{
    draft->chain[0] = draft->tree.root;
    draft->n_chain = 1;
    for (int i = 0; i < draft->n_window; i++) {
        int parent = draft->chain[i];
        int child = hsdi_tree_add(&draft->tree, parent, draft->window[i]);
        if (child < 0) {
            break;
        }
        draft->tree.nodes[parent].main = child;
        draft->chain[i + 1] = child;
        draft->n_chain = i + 2;
    }
}

hsd_status hsdi_draft_step(hsdi_draft *draft, uint32_t step, const int32_t *window, int n_window,
                           hsd_error *err)
{
    if (draft->n_text == 0 || step != draft->step || draft->is_stepped) {
        return hsdi_fail(err, HSD_EPROTOCOL, "step", "STEP %u came where step %u was due", step,
                         draft->step);
    }
    if (n_window < 0 || n_window > draft->config.window || !are_tokens(draft, window, n_window)) {
        return hsdi_fail(err, HSD_EPROTOCOL, "window", "STEP %u holds an impossible window", step);
    }
    bool is_mine = draft->phase == HSDI_DRAFT_BRANCH && n_window == draft->n_window &&
                   is_same(window, draft->window, n_window);
    draft->is_stepped = true;
    draft->is_ready = false;
    draft->is_idle = false;
    if (is_mine) {
        return HSD_OK;
    }
    // Branches of the window that is not verified stay in the tree: where they hang off rows that
    // both windows share, root selection finds them again.
    for (int i = 0; i < n_window; i++) {
        draft->window[i] = window[i];
    }
    draft->n_window = n_window;
    draft->n_chain = 0;
    draft->n_branches = 0;
    draft->own_done = false;
    draft->proxies_done = false;
    draft->phase = HSDI_DRAFT_BRANCH;
    if (draft->tree.root >= 0) {
        hsdi_draft_build_chain(draft);
    }
    return HSD_OK;
}

hsd_status hsdi_draft_proxies(hsdi_draft *draft, uint32_t step, int n_rows, int n_top,
                              const hsdi_candidate *proxies, hsd_error *err)
{
    if (!draft->is_stepped || step != draft->step || n_rows != draft->n_window + 1 || n_top < 1 ||
        n_top > HSDI_TOP_MAX) {
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
        .n_window = draft->n_window,
        .window = draft->window,
        .n_own = draft->n_top,
        .n_proxies = draft->n_proxies,
        .proxies = with_proxies && draft->n_proxies > 0 ? draft->proxies : NULL,
    };
    for (int row = 0; row < draft->n_chain; row++) {
        if (hsdi_tree_is_evaluated(&draft->tree, draft->chain[row])) {
            out->own[row] = hsdi_tree_candidates(&draft->tree, draft->chain[row]);
        }
    }
}

/// Follow the commit through the tree. True when its root has a branch.
static bool follow(hsdi_draft *draft, int n_accepted, int32_t next)
{
    hsdi_tree *tree = &draft->tree;
    if (tree->root >= 0 && draft->n_chain == 0) {
        draft->chain[draft->n_chain++] = tree->root;
    }
    int n_known = 0;
    while (n_known <= n_accepted && n_known < draft->n_chain &&
           hsdi_tree_is_evaluated(tree, draft->chain[n_known])) {
        n_known++;
    }
    int child = n_known > n_accepted ? hsdi_tree_child(tree, draft->chain[n_accepted], next) : -1;
    if (child >= 0) {
        hsdi_tree_promote(tree, child);
        return true;
    }
    if (n_known > 0) {
        hsdi_tree_harvest(tree, draft->chain[n_known - 1]);
    }
    hsdi_tree_clear(tree);
    return false;
}

hsd_status hsdi_draft_commit(hsdi_draft *draft, uint32_t step, int n_accepted, int32_t next,
                             int n_committed, hsd_error *err)
{
    if (!draft->is_stepped || step != draft->step || n_accepted < 0 ||
        n_accepted > draft->n_window || n_committed != draft->n_text + n_accepted + 1 ||
        n_committed > draft->config.n_ctx || !are_tokens(draft, &next, 1)) {
        return hsdi_fail(err, HSD_EPROTOCOL, "commit",
                         "COMMIT %u (%d accepted, %d committed) does not follow step %u with %d",
                         step, n_accepted, n_committed, draft->step, draft->n_text);
    }
    bool is_mirror = draft->config.mode == HSD_MODE_MIRROR;
    if (is_mirror) {
        hsdi_roots_in in;
        hsdi_draft_roots_in(draft, true, &in);
        hsdi_calibration_observe(&draft->calibration, &in, n_accepted, next);
    }
    memcpy(draft->text + draft->n_text, draft->window, (size_t)n_accepted * sizeof *draft->text);
    draft->text[draft->n_text + n_accepted] = next;
    draft->n_text = n_committed;
    bool is_hit = follow(draft, n_accepted, next);
    hsdi_source source = HSDI_SOURCE_FRESH;
    if (is_hit && is_mirror) {
        source = draft->tree.nodes[draft->tree.root].source == HSDI_SOURCE_PROXY ? HSDI_SOURCE_PROXY
                                                                                 : HSDI_SOURCE_OWN;
    }
    bool is_short = is_mirror && !is_hit;
    begin_step(draft, step + 1, is_short ? draft->config.miss_window : draft->config.window,
               source);
    return HSD_OK;
}

bool hsdi_draft_has_work(const hsdi_draft *draft)
{
    return !draft->is_idle;
}

bool hsdi_draft_is_awaited(const hsdi_draft *draft)
{
    return draft->phase == HSDI_DRAFT_ANSWER;
}

bool hsdi_draft_take_window(hsdi_draft *draft, hsdi_draft_window *out)
{
    if (!draft->is_ready) {
        return false;
    }
    draft->is_ready = false;
    *out = (hsdi_draft_window){
        .step = draft->step,
        .n_committed = draft->n_text,
        .source = draft->source,
        .n_tokens = draft->n_window,
    };
    memcpy(out->tokens, draft->window, (size_t)draft->n_window * sizeof *out->tokens);
    return true;
}
