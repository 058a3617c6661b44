/// The target pipeline's passes.
///
/// One pass: the last committed token and the window as one chain of rows, through the stage's two
/// halves with the proxies in between; what the target itself would have produced is kept, told
/// to the workers, given to the caller, and then the next window is collected.
#include <base/clock.h>
#include <base/error.h>
#include <pipelines/target_state.h>
#include <pipelines/verify.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const int PREFILL_ROWS = 512; ///< one piece, the same in every mode

void hsdi_target_config_init(hsdi_target_config *config)
{
    *config = (hsdi_target_config){
        .mode = HSD_MODE_MIRROR,
        .draft = {.window = 7,
                  .tree = 7,
                  .miss_window = 4,
                  .roots = 16,
                  .n_top = 8,
                  .top_p = 1.0f,
                  .sources = HSDI_SOURCES_BOTH},
        .n_proxies = 8,
        .handshake_ms = 1000,
        .first_deadline_ms = 2000,
        .deadline_ms = 2000,
        .n_late_lost = 3,
        .retry_ms = 250,
        .spin_us = 0,
    };
}

int hsdi_target_cells_needed(int n_ctx, int tree)
{
    return n_ctx + tree + 1;
}

static hsd_status check_config(const hsdi_target_config *config, const hsdi_stage_limits *limits,
                               hsd_error *err)
{
    const struct {
        const char *name;
        int value, least, most;
    } fields[] = {
        {"mode", (int)config->mode, HSD_MODE_AR, HSD_MODE_ASYNC},
        {"window", config->draft.window, 1, HSDI_WINDOW_MAX},
        {"tree", config->draft.tree, config->draft.window, HSDI_TREE_MAX},
        {"sources", config->draft.sources, HSDI_SOURCES_OWN, HSDI_SOURCES_BOTH},
        {"miss_window", config->draft.miss_window, 1, config->draft.window},
        {"roots", config->draft.roots, 1, HSDI_ROOTS_MAX},
        {"n_top", config->draft.n_top, 1, HSDI_TOP_MAX},
        {"n_proxies", config->n_proxies, 0, HSDI_TOP_MAX},
        {"n_endpoints", config->n_endpoints, 0, HSDI_TARGET_MAX_WORKERS},
        {"handshake_ms", config->handshake_ms, 0, INT32_MAX},
        {"first_deadline_ms", config->first_deadline_ms, 0, INT32_MAX},
        {"deadline_ms", config->deadline_ms, 0, INT32_MAX},
        {"n_late_lost", config->n_late_lost, 1, INT32_MAX},
        {"retry_ms", config->retry_ms, 1, INT32_MAX},
        {"spin_us", config->spin_us, 0, INT32_MAX},
        {"limits.n_vocab", limits->n_vocab, 1, INT32_MAX},
        {"limits.n_ctx", limits->n_ctx, 2, HSDI_OPEN_TOKENS_MAX},
        {"limits.n_cells", limits->n_cells, limits->n_ctx, INT32_MAX},
        {"limits.n_rows_max", limits->n_rows_max, 1, 65536},
    };
    for (size_t i = config->mode == HSD_MODE_AR ? 8 : 0; i < sizeof fields / sizeof fields[0];
         i++) {
        if (fields[i].value < fields[i].least || fields[i].value > fields[i].most) {
            return hsdi_fail(err, HSD_EINVAL, fields[i].name, "%s must be in %d..%d, not %d",
                             fields[i].name, fields[i].least, fields[i].most, fields[i].value);
        }
    }
    return config->mode >= HSD_MODE_AR && config->mode <= HSD_MODE_ASYNC
               ? HSD_OK
               : hsdi_fail(err, HSD_EINVAL, "mode", "the mode must be ar, serial, mirror or async");
}

static int rows_most(const hsdi_target *target)
{
    int most = target->stage.limits.n_rows_max;
    return most < PREFILL_ROWS ? most : PREFILL_ROWS;
}

static bool alloc_all(hsdi_target *target)
{
    size_t n = (size_t)rows_most(target);
    target->text = calloc((size_t)target->n_ctx, sizeof *target->text);
    target->row_tokens = calloc(n, sizeof *target->row_tokens);
    target->row_pos = calloc(n, sizeof *target->row_pos);
    target->row_cell = calloc(n, sizeof *target->row_cell);
    target->row_n_path = calloc(n, sizeof *target->row_n_path);
    target->row_path = calloc(n * n, sizeof *target->row_path);
    target->out_cap = HSDI_OPEN_FIXED_BYTES + 4 * (size_t)target->n_ctx + HSDI_FRAME_SMALL_BYTES;
    target->out = calloc(1, target->out_cap);
    return target->text && target->row_tokens && target->row_pos && target->row_cell &&
           target->row_n_path && target->row_path && target->out &&
           hsdi_cells_init(&target->cells, target->stage.limits.n_cells, target->n_ctx,
                           target->stage.limits.blocks) == HSD_OK;
}

hsd_status hsdi_target_create(hsdi_context *context, const hsdi_target_config *config,
                              const hsdi_target_stage *stage, hsdi_target **out, hsd_error *err)
{
    hsd_status status = check_config(config, &stage->limits, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_target *target = calloc(1, sizeof *target);
    if (!target) {
        return hsdi_fail(err, HSD_ENOMEM, "target", "no memory for a target pipeline");
    }
    pthread_mutex_init(&target->published_lock, NULL);
    target->config = *config;
    target->stage = *stage;
    target->n_ctx = stage->limits.n_ctx;
    target->config.draft.mode = (int)config->mode;
    if (stage->judge) {
        target->config.draft.tree = config->draft.window; // the ratio rule is for chains
    }
    target->config.draft.n_ctx = target->n_ctx;
    if (target->config.n_proxies > stage->limits.n_top_max) {
        target->config.n_proxies = stage->limits.n_top_max;
    }
    target->n_proxies_most = stage->has_exit ? target->config.n_proxies : 0;
    target->config.n_proxies = config->mode == HSD_MODE_MIRROR ? target->n_proxies_most : 0;
    if (getrandom(&target->session, sizeof target->session, 0) != sizeof target->session) {
        target->session = (uint64_t)hsdi_now_ns();
    }
    status = alloc_all(target) ? HSD_OK
                               : hsdi_fail(err, HSD_ENOMEM, "target", "no memory for %d positions",
                                           target->n_ctx);
    bool is_fixed = !config->adapts || config->mode == HSD_MODE_AR;
    hsdi_pace_init(&target->pace, config->draft.window, is_fixed, true);
    target->exit_layer = config->draft.exit_layer;
    hsdi_target_watch_init(target, config->watch);
    if (status == HSD_OK) {
        status = hsdi_track_open(config->trace, "target", &target->track, err);
    }
    if (status == HSD_OK && config->mode != HSD_MODE_AR) {
        status = hsdi_helpers_connect(target, context, err);
    }
    target->config.endpoints = NULL;
    target->config.watch = NULL;
    if (status != HSD_OK) {
        hsdi_target_destroy(&target);
        return status;
    }
    *out = target;
    return HSD_OK;
}

void hsdi_target_destroy(hsdi_target **target)
{
    if (*target) {
        hsdi_helpers_disconnect(*target);
        hsdi_track_close(&(*target)->track);
        hsdi_cells_fini(&(*target)->cells);
        pthread_mutex_destroy(&(*target)->published_lock);
        free((*target)->text);
        free((*target)->row_tokens);
        free((*target)->row_pos);
        free((*target)->row_cell);
        free((*target)->row_n_path);
        free((*target)->row_path);
        free((*target)->out);
        free(*target);
        *target = NULL;
    }
}

int hsdi_target_n_workers(const hsdi_target *target)
{
    int n = 0;
    for (int i = 0; i < target->n_helpers; i++) {
        hsdi_peer_state state = target->helpers[i].state;
        n += state == HSDI_PEER_OPEN || state == HSDI_PEER_READY;
    }
    return n;
}

/// Bucket of a time: 16 per power of two, so that a median is right to about 3 %.
static int bucket_of(int64_t ns)
{
    if (ns < 16) {
        return ns < 0 ? 0 : (int)ns;
    }
    int log2 = 63 - __builtin_clzll((unsigned long long)ns);
    return (log2 - 3) * 16 + (int)((ns >> (log2 - 4)) & 15);
}

static int64_t bucket_middle(int bucket)
{
    if (bucket < 16) {
        return bucket;
    }
    int log2 = bucket / 16 + 3;
    return (((int64_t)(bucket % 16) + 16) << (log2 - 4)) + ((INT64_C(1) << (log2 - 4)) >> 1);
}

static int64_t overhead_median(const hsdi_target *target)
{
    uint64_t n = 0, seen = 0;
    for (int i = 0; i < HSDI_OVERHEAD_BUCKETS; i++) {
        n += target->overhead[i];
    }
    for (int i = 0; i < HSDI_OVERHEAD_BUCKETS && n > 0; i++) {
        seen += target->overhead[i];
        if (2 * seen >= n) {
            return bucket_middle(i);
        }
    }
    return 0;
}

static void publish(hsdi_target *target)
{
    pthread_mutex_lock(&target->published_lock);
    target->stats.mode = hsdi_target_is_alone_arm(target) ? HSD_MODE_AR : target->config.mode;
    target->stats.window = target->config.draft.window;
    target->stats.tree = target->config.draft.tree;
    target->stats.roots = target->config.draft.roots;
    target->stats.exit_layer = target->exit_layer;
    target->published = target->stats;
    pthread_mutex_unlock(&target->published_lock);
}

void hsdi_target_get_stats(hsdi_target *target, hsdi_target_stats *out)
{
    pthread_mutex_lock(&target->published_lock);
    *out = target->published;
    pthread_mutex_unlock(&target->published_lock);
}

/// Cells for n rows. None are taken where there are not so many, which would break a promise.
static hsd_status take_cells(hsdi_target *target, int n, hsd_error *err)
{
    for (int row = 0; row < n; row++) {
        target->row_cell[row] = hsdi_cells_take(&target->cells);
        if (target->row_cell[row] < 0) {
            while (row > 0) {
                hsdi_cells_give(&target->cells, target->row_cell[--row]);
            }
            return hsdi_fail(err, HSD_ENOMEM, "cells",
                             "%d positions have %d rows behind them, "
                             "and there are %d cells",
                             target->cells.n_trunk, n, target->cells.n_cells);
        }
    }
    return HSD_OK;
}

/// Rows behind the trunk, as the window's tree (row 0 its root); window NULL: one chain of n. Their
/// cells have been taken.
static hsdi_rows make_rows(hsdi_target *target, const hsdi_window *window, int n)
{
    int stride = rows_most(target);
    int n_trunk = target->cells.n_trunk;
    for (int row = 0; row < n; row++) {
        int parent = row > 0 && window ? window->parents[row - 1] : row - 1;
        int n_before = parent >= 0 ? target->row_n_path[parent] : 0;
        int32_t *path = target->row_path + (size_t)row * (size_t)stride;
        if (parent >= 0) {
            memcpy(path, target->row_path + (size_t)parent * (size_t)stride,
                   (size_t)n_before * sizeof *path);
        }
        path[n_before] = target->row_cell[row];
        target->row_n_path[row] = n_before + 1;
        target->row_pos[row] = n_trunk + n_before;
    }
    return (hsdi_rows){
        .n_rows = n,
        .tokens = target->row_tokens,
        .pos = target->row_pos,
        .cell = target->row_cell,
        .trunk = target->cells.trunk,
        .n_trunk = n_trunk,
        .path = target->row_path,
        .n_path = target->row_n_path,
        .path_stride = stride,
    };
}

/// The rows of `path` [n_kept], in ascending order, join the trunk; the others' cells become free.
static void settle_rows(hsdi_target *target, int n, const int *path, int n_kept)
{
    for (int i = 0; i < n_kept; i++) {
        hsdi_cells_push(&target->cells, target->row_cell[path[i]]);
    }
    for (int row = n - 1; row >= 0; row--) {
        if (n_kept > 0 && path[n_kept - 1] == row) {
            n_kept--;
        } else {
            hsdi_cells_give(&target->cells, target->row_cell[row]);
        }
    }
}

/// All of the prompt but its last token.
static hsd_status prefill(hsdi_target *target, hsd_error *err)
{
    while (target->cells.n_trunk < target->n_text - 1) {
        if (hsdi_target_is_cancelled(target)) {
            return HSD_ECANCELED;
        }
        int begin = target->cells.n_trunk, n = target->n_text - 1 - begin;
        n = n < rows_most(target) ? n : rows_most(target);
        memcpy(target->row_tokens, target->text + begin, (size_t)n * sizeof *target->row_tokens);
        hsd_status status = take_cells(target, n, err);
        if (status != HSD_OK) {
            return status;
        }
        hsdi_rows rows = make_rows(target, NULL, n);
        rows.is_alone = target->want == 0;
        int64_t span_ns = hsdi_span_begin(target->track);
        status = target->stage.prefill(target->stage.self, &rows, err);
        hsdi_target_span_end(target, &hsdi_span_prefill, span_ns, 0, n);
        if (status != HSD_OK) {
            settle_rows(target, n, NULL, 0);
            return status;
        }
        for (int row = 0; row < n; row++) {
            hsdi_cells_push(&target->cells, target->row_cell[row]);
        }
    }
    return HSD_OK;
}

/// A worker takes tokens beyond the vocabulary for a damaged frame.
static void drop_impossible(hsdi_target *target, int n)
{
    for (int i = 0; i < n; i++) {
        int32_t token = target->proxies[i].token;
        if (token < 0 || token >= target->stage.limits.n_vocab) {
            target->proxies[i].token = -1;
        }
    }
}

/// The early exit's candidates go to the workers while the suffix computes.
static hsd_status send_proxies(hsdi_target *target, int n_rows, hsd_error *err)
{
    if (target->config.n_proxies == 0 || target->want == 0 || !hsdi_helpers_any(target)) {
        return HSD_OK;
    }
    int64_t begin_ns = hsdi_now_ns();
    hsd_status status =
        target->stage.proxies(target->stage.self, target->config.n_proxies, target->proxies, err);
    target->stage_ns += hsdi_now_ns() - begin_ns;
    hsdi_target_span_end(target, &hsdi_span_exit_head, begin_ns, target->step, n_rows);
    if (status == HSD_OK) {
        int64_t span_ns = hsdi_span_begin(target->track);
        drop_impossible(target, n_rows * target->config.n_proxies);
        hsdi_frame frame = {.type = HSDI_FRAME_PROXIES, .step = target->step};
        frame.proxies.n_rows = n_rows;
        frame.proxies.n_top = target->config.n_proxies;
        hsdi_helpers_tell(target, &frame);
        hsdi_target_span_end(target, &hsdi_span_send_proxies, span_ns, target->step, n_rows);
    }
    return status;
}

/// Tell every worker which window is verified and which part of the roots is its own.
static void tell_step(hsdi_target *target)
{
    hsdi_draft_share shares[HSDI_TARGET_MAX_WORKERS];
    hsdi_frame frame = {.type = HSDI_FRAME_STEP, .step = target->step};
    int64_t span_ns = hsdi_span_begin(target->track);
    frame.step_.window = target->window;
    hsdi_helpers_share(target, shares);
    for (int i = 0; i < target->n_helpers; i++) {
        frame.step_.share = shares[i];
        hsdi_helpers_tell_one(target, i, &frame);
    }
    hsdi_target_span_end(target, &hsdi_span_send_step, span_ns, target->step,
                         target->window.n_tokens);
}

/// One pass over the last token and the window. *row and *next are what it decided.
static hsd_status run_pass(hsdi_target *target, int *row, int32_t *next, hsd_error *err)
{
    const hsdi_window *window = &target->window;
    int n_rows = window->n_tokens + 1;
    hsd_status status = take_cells(target, n_rows, err);
    if (status != HSD_OK) {
        return status;
    }
    target->row_tokens[0] = target->text[target->n_text - 1];
    memcpy(target->row_tokens + 1, window->tokens,
           (size_t)window->n_tokens * sizeof *target->row_tokens);
    if (target->n_helpers > 0 && target->want > 0) {
        tell_step(target);
    }
    hsdi_rows rows = make_rows(target, window, n_rows);
    bool is_serial = target->config.mode == HSD_MODE_SERIAL && !hsdi_helpers_catch_up(target);
    rows.is_alone = target->want == 0 || is_serial;
    int64_t begin_ns = hsdi_now_ns();
    status = target->stage.prefix(target->stage.self, &rows, err);
    target->stage_ns += hsdi_now_ns() - begin_ns;
    hsdi_target_span_end(target, &hsdi_span_prefix, begin_ns, target->step, n_rows);
    if (status == HSD_OK) {
        status = send_proxies(target, n_rows, err);
    }
    begin_ns = hsdi_now_ns();
    if (status == HSD_OK) {
        status = target->stage.suffix(target->stage.self, target->own, err);
        hsdi_target_span_end(target, &hsdi_span_suffix, begin_ns, target->step, n_rows);
    }
    int64_t verify_ns = hsdi_span_begin(target->track);
    if (status != HSD_OK) {
        settle_rows(target, n_rows, NULL, 0);
    } else if (target->stage.judge) {
        const hsdi_draft_window *offer =
            target->chosen >= 0 ? &target->helpers[target->chosen].offer : NULL;
        status = target->stage.judge(target->stage.self, window, offer ? offer->q : NULL,
                                     offer ? offer->n_q : 0, row, next, err);
    } else {
        *row = hsdi_verify(window, target->own);
        *next = target->own[*row];
    }
    hsdi_target_span_end(target, &hsdi_span_verify, verify_ns, target->step, n_rows);
    target->stage_ns += hsdi_now_ns() - begin_ns;
    return status;
}

static bool is_end(const hsdi_target_job *job, int32_t token)
{
    return job->is_end && job->is_end(job->user, token);
}

/// Give the caller the last n_new tokens of the text. *is_done when the generation is over.
static int n_to_emit(const hsdi_target *target, const hsdi_target_job *job, int n_new, int n_most,
                     bool *is_done)
{
    const int32_t *tokens = target->text + target->n_text - n_new;
    int n = 0;
    *is_done = false;
    while (n < n_new && !*is_done) {
        *is_done = is_end(job, tokens[n++]) || target->stats.n_tokens + n == n_most;
    }
    return n;
}

static hsd_status emit(hsdi_target *target, const hsdi_target_job *job, const int32_t *tokens,
                       int n)
{
    int64_t begin_ns = hsdi_now_ns();
    bool goes_on = true;
    for (int i = 0; i < n && goes_on; i++) {
        target->stats.n_tokens++;
        goes_on = job->emit(job->user, tokens[i]);
    }
    target->emit_ns += hsdi_now_ns() - begin_ns;
    hsdi_target_span_end(target, &hsdi_span_emit, begin_ns, target->step - 1, n);
    return goes_on ? HSD_OK : HSD_ECANCELED;
}

/// Tell the workers what the pass decided. With want 0 it is the last that they are told until
/// windows are wanted again.
static void tell_commit(hsdi_target *target, int row, int32_t next)
{
    hsdi_frame frame = {.type = HSDI_FRAME_COMMIT, .step = target->step};
    int64_t span_ns = hsdi_span_begin(target->track);
    frame.commit.row = row;
    frame.commit.next = next;
    frame.commit.n_committed = target->n_text;
    frame.commit.want = target->want;
    hsdi_helpers_tell(target, &frame);
    for (int i = 0; i < target->n_helpers; i++) {
        target->helpers[i].n_told = target->n_text;
    }
    hsdi_target_span_end(target, &hsdi_span_send_commit, span_ns, target->step, target->want);
}

/// A span of the pass and what became of its window.
static void put_outcome(const hsdi_target *target, const hsdi_span_kind *kind, int64_t begin_ns,
                        uint32_t step, int n_accepted, int want)
{
    hsdi_span_end(target->track,
                  (hsdi_span){.kind = kind,
                              .begin_ns = begin_ns,
                              .session = (uint32_t)target->session,
                              .step = step,
                              .text = target->window_source,
                              .values = {target->window.n_tokens + 1, n_accepted, want}});
}

/// How far chains of windows were right.
static void count_depths(hsdi_target *target, int n_accepted)
{
    int n_deep = hsdi_window_height(&target->window);
    for (int d = 1; d <= n_deep && d <= n_accepted + 1 && d <= HSDI_WINDOW_MAX; d++) {
        target->stats.reached[d]++;
        target->stats.passed[d] += d <= n_accepted;
    }
}

/// Commit what the pass decided and tell workers and caller.
static hsd_status commit(hsdi_target *target, const hsdi_target_job *job, int row, int32_t next,
                         int n_most, bool *is_done)
{
    int64_t span_ns = hsdi_span_begin(target->track);
    const hsdi_window *window = &target->window;
    int path[HSDI_WINDOW_ROWS], n_new = hsdi_window_path(window, row, path);
    for (int i = 1; i < n_new; i++) {
        target->text[target->n_text++] = window->tokens[path[i] - 1];
    }
    target->text[target->n_text++] = next;
    settle_rows(target, window->n_tokens + 1, path, n_new);
    target->stats.steps++;
    target->stats.drafted += window->n_tokens;
    target->stats.accepted += n_new - 1;
    count_depths(target, n_new - 1);
    int n_emit = n_to_emit(target, job, n_new, n_most, is_done);
    bool was_alone = target->want == 0;
    if (!*is_done) {
        target->want = hsdi_target_next_want(target);
        if (target->n_helpers > 0 && !was_alone && !target->reopens) {
            tell_commit(target, row, next);
        }
    }
    target->step++;
    if (!*is_done && target->reopens) {
        target->reopens = false;
        hsdi_helpers_reopen(target);
    } else if (!*is_done && was_alone && target->want > 0) {
        hsdi_helpers_tell_alone(target);
    }
    hsdi_helpers_follow(target, n_new);
    put_outcome(target, &hsdi_span_commit, span_ns, target->step - 1, n_new - 1, 0);
    return emit(target, job, target->text + target->n_text - n_new, n_emit);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/// What the choice of a window means for the counters.
static void count_window(hsdi_target *target)
{
    const hsdi_helper *helper = target->chosen >= 0 ? &target->helpers[target->chosen] : NULL;
    target->window_source = helper ? hsdi_span_source(helper->offer.source) : NULL;
    target->stats.carried += helper && helper->is_carried;
    target->stats.paused += target->want == 0;
    if (target->config.mode == HSD_MODE_MIRROR && target->stats.steps > 0 && helper) {
        hsdi_source source = helper->offer.source;
        target->stats.misses += source == HSDI_SOURCE_FRESH;
        target->stats.hits += source != HSDI_SOURCE_FRESH;
        target->stats.own_hits += source == HSDI_SOURCE_OWN;
        target->stats.proxy_hits += source == HSDI_SOURCE_PROXY;
    }
}

/// target->window for the pass that begins. False when the end of the text cut it.
static bool collect_window(hsdi_target *target, int n_most)
{
    int n_left = n_most - target->stats.n_tokens - 1;
    int n_deep = least(target->want, n_left);
    int n_more = target->config.draft.tree - target->config.draft.window;
    target->window.n_tokens = 0;
    target->window_source = NULL;
    target->chosen = -1;
    if (n_left > 0 && target->n_helpers > 0) {
        hsdi_helpers_collect(target, target->stats.steps == 0 ? target->config.first_deadline_ms
                                                              : target->config.deadline_ms);
        int n_room = least(rows_most(target), target->cells.n_free) - 1;
        hsdi_helpers_choose(target, n_deep, least(n_deep + n_more, n_room));
        count_window(target);
    }
    return n_left >= target->want;
}

/// Counters before a step, and its arm.
typedef struct outcome {
    int arm;
    int64_t accepted, hits, misses;
} outcome;

/// Pace and watch learn from a step. The one that ended with a change of the arm has the work of
/// that in its time.
static void observe(hsdi_target *target, const outcome *before, int want, int n_deep,
                    int64_t step_ns)
{
    const hsdi_target_stats *now = &target->stats;
    int arm = before->arm;
    int n_accepted = (int)(now->accepted - before->accepted);
    if (target->has_watch) {
        const hsdi_watch_step step = {.is_alone = want == 0,
                                      .n_deep = n_deep,
                                      .n_accepted = n_accepted,
                                      .n_tokens = n_accepted + 1,
                                      .is_hit = now->hits > before->hits       ? 1
                                                : now->misses > before->misses ? 0
                                                                               : -1,
                                      .ns = arm == target->arm ? step_ns : 0};
        hsdi_watch_observe(&target->watch, &step);
    }
    if (arm == target->arm && !hsdi_target_is_alone_arm(target)) {
        hsdi_pace_observe(&target->pace, want, n_deep, n_accepted, step_ns);
    }
}

static hsd_status run_steps(hsdi_target *target, const hsdi_target_job *job, int n_most,
                            hsd_error *err)
{
    bool is_done = false;
    while (!is_done) {
        int64_t begin_ns = hsdi_now_ns(), waited_ns = target->stats.wait_ns;
        int64_t n_late = target->stats.late, n_accepted = target->stats.accepted;
        const outcome before = {target->arm, n_accepted, target->stats.hits, target->stats.misses};
        int want = target->want, row = 0;
        uint32_t step = target->step;
        int32_t next = 0;
        target->stage_ns = target->emit_ns = 0;
        bool is_whole = collect_window(target, n_most);
        if (hsdi_target_is_cancelled(target)) {
            return HSD_ECANCELED;
        }
        hsd_status status = run_pass(target, &row, &next, err);
        if (status != HSD_OK) {
            return status;
        }
        int n_deep = hsdi_window_height(&target->window);
        status = commit(target, job, row, next, n_most, &is_done);
        put_outcome(target, &hsdi_span_step, begin_ns, step,
                    (int)(target->stats.accepted - n_accepted), want);
        int64_t step_ns = hsdi_now_ns() - begin_ns - target->emit_ns;
        bool is_typical = is_whole && target->stats.late == n_late;
        observe(target, &before, want, n_deep, is_typical ? step_ns : 0);
        int64_t overhead_ns = step_ns - target->stage_ns - (target->stats.wait_ns - waited_ns);
        target->overhead[bucket_of(overhead_ns)]++;
        publish(target);
        if (status != HSD_OK) {
            return status;
        }
    }
    return HSD_OK;
}

static hsd_status check_job(const hsdi_target *target, const hsdi_target_job *job, hsd_error *err)
{
    if (job->n_prompt < 1 || job->n_tokens < 0 || !job->emit) {
        return hsdi_fail(err, HSD_EINVAL, "prompt", "a generation needs a prompt and a receiver");
    }
    if (job->n_prompt >= target->n_ctx) {
        return hsdi_fail(err, HSD_ETOOLONG, "prompt", "%d prompt tokens leave no room in %d",
                         job->n_prompt, target->n_ctx);
    }
    for (int i = 0; i < job->n_prompt; i++) {
        if (job->prompt[i] < 0 || job->prompt[i] >= target->stage.limits.n_vocab) {
            return hsdi_fail(err, HSD_EINVAL, "prompt",
                             "token %d of the prompt is %d, not below %d", i, job->prompt[i],
                             target->stage.limits.n_vocab);
        }
    }
    return HSD_OK;
}

/// What is known of the prompt's cells is the trunk.
static void begin_text(hsdi_target *target, const hsdi_target_job *job)
{
    bool is_found = false;
    if (target->config.reuses || job->is_continued) {
        int n = hsdi_cells_begin(&target->cells, target->text, job->prompt, job->n_prompt - 1,
                                 &is_found);
        target->stats.n_reused = n;
        if (is_found && target->stage.found) {
            target->stage.found(target->stage.self, job->prompt, target->cells.trunk, n);
        }
    } else {
        hsdi_cells_reset(&target->cells);
    }
}

int hsdi_target_trunk(const hsdi_target *target, const int32_t **tokens, const int32_t **cells)
{
    *tokens = target->text;
    *cells = target->cells.trunk;
    return target->cells.n_trunk;
}

hsd_status hsdi_target_begin(hsdi_target *target, const int32_t *tokens, int n, hsd_error *err)
{
    hsdi_cells_reset(&target->cells);
    target->n_text = 0;
    if (n < 0 || n >= target->n_ctx) {
        return hsdi_fail(err, HSD_ETOOLONG, "text", "%d tokens leave no room in %d", n,
                         target->n_ctx);
    }
    for (int i = 0; i < n; i++) {
        int32_t cell = hsdi_cells_take(&target->cells);
        if (cell < 0) {
            hsdi_cells_reset(&target->cells);
            return hsdi_fail(err, HSD_ENOMEM, "cells", "%d tokens, %d cells", n,
                             target->cells.n_cells);
        }
        hsdi_cells_push(&target->cells, cell);
        target->text[i] = tokens[i];
    }
    target->n_text = n;
    if (target->stage.found) {
        target->stage.found(target->stage.self, tokens, target->cells.trunk, n);
    }
    return HSD_OK;
}

hsd_status hsdi_target_generate(hsdi_target *target, const hsdi_target_job *job, hsd_error *err)
{
    hsd_status status = check_job(target, job, err);
    if (status != HSD_OK) {
        return status;
    }
    target->stats = (hsdi_target_stats){.n_prompt = job->n_prompt};
    memset(target->overhead, 0, sizeof target->overhead);
    target->cancel = job->cancel;
    begin_text(target, job);
    memcpy(target->text, job->prompt, (size_t)job->n_prompt * sizeof *target->text);
    target->n_text = job->n_prompt;
    target->step = 0;
    hsdi_pace_begin(&target->pace);
    target->want = hsdi_target_next_want(target); // it keeps what earlier generations taught
    target->reopens = false;                      // they are opened with the settings of now
    target->is_generating = true;
    publish(target);

    int room = target->n_ctx - job->n_prompt;
    int n_most = job->n_tokens > 0 && job->n_tokens < room ? job->n_tokens : room;
    int64_t begin_ns = hsdi_now_ns();
    hsdi_helpers_open(target);
    status = prefill(target, err);
    int64_t prefilled_ns = hsdi_now_ns();
    if (status == HSD_OK) {
        hsdi_cells_keep(&target->cells, target->text); // others may come with the same prompt
        status = run_steps(target, job, n_most, err);
    }
    hsdi_cells_keep(&target->cells, target->text);
    target->stats.prefill_ns = prefilled_ns - begin_ns;
    target->stats.decode_ns = hsdi_now_ns() - prefilled_ns;
    target->stats.overhead_p50_ns = overhead_median(target);
    target->is_generating = false;
    if (target->track) {
        hsdi_helpers_take_spans(target, status == HSD_ECANCELED);
    }
    target->cancel = NULL;
    publish(target);
    return status == HSD_ECANCELED ? hsdi_fail(err, status, NULL, "the generation was stopped")
                                   : status;
}
