/// See scripted.h.
#include "scripted.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

atomic_int scripted_n_open;
atomic_long scripted_n_evals;

typedef struct memory_cell {
    bool is_written;
    int32_t token, pos;
    uint64_t hash; ///< of the text up to and with this token
} memory_cell;

typedef struct scripted_stage {
    const scripted_script *script;
    hsdi_stage_limits limits;
    memory_cell *cells;
    uint64_t *row_hash; ///< of the rows at hand
    int32_t *row_token, *row_pos;
    int n_rows;
    bool is_between; ///< prefix was called, suffix not yet
    long n_calls;
} scripted_stage;

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash_on(uint64_t hash, int32_t token)
{
    return mix(hash * 3 + (uint64_t)token + 1);
}

static int32_t truth_of(const scripted_script *script, uint64_t hash)
{
    return (int32_t)(mix(hash ^ script->seed) % (uint64_t)script->n_vocab);
}

static double chance_of(const scripted_script *script, uint64_t hash, uint64_t purpose)
{
    return (double)(mix(hash ^ (script->seed + purpose)) >> 11) / 9007199254740992.0;
}

int32_t scripted_truth(const scripted_script *script, const int32_t *text, int n)
{
    uint64_t hash = 0;
    for (int i = 0; i < n; i++) {
        hash = hash_on(hash, text[i]);
    }
    return truth_of(script, hash);
}

scripted_script scripted_default(uint64_t seed)
{
    return (scripted_script){
        .seed = seed,
        .n_vocab = 500,
        .n_ctx = 256,
        .target_rows = 64,
        .draft_rows = 64,
        .agreement = 0.7,
        .listed = 0.8,
        .period = 4,
        .has_exit = true,
    };
}

static void require(bool holds, const char *rule, int row, int i)
{
    if (!holds) {
        fprintf(stderr, "stage contract broken: %s (row %d, entry %d)\n", rule, row, i);
        abort();
    }
}

/// The cell must hold position `pos` of a text that begins with the one hashed in `hash`.
static uint64_t follow(const scripted_stage *stage, int32_t cell, int pos, uint64_t hash,
                       const char *rule, int row)
{
    require(cell >= 0 && cell < stage->limits.n_cells, "cell number out of range", row, cell);
    const memory_cell *memory = &stage->cells[cell];
    require(memory->is_written && memory->pos == pos, rule, row, pos);
    require(memory->hash == hash_on(hash, memory->token), rule, row, pos);
    return memory->hash;
}

static void check_shape(const scripted_stage *stage, const hsdi_rows *rows)
{
    require(rows->n_rows >= 1 && rows->n_rows <= stage->limits.n_rows_max, "row count", -1,
            rows->n_rows);
    require(rows->n_trunk >= 0 && rows->n_trunk < stage->limits.n_ctx, "trunk length", -1,
            rows->n_trunk);
    for (int row = 0; row < rows->n_rows; row++) {
        int pos = rows->pos[row];
        require(rows->tokens[row] >= 0 && rows->tokens[row] < stage->limits.n_vocab, "token", row,
                rows->tokens[row]);
        require(pos >= rows->n_trunk && pos < stage->limits.n_ctx, "position", row, pos);
        require(rows->n_path[row] == pos - rows->n_trunk + 1, "n_path", row, rows->n_path[row]);
        require(rows->n_path[row] <= rows->path_stride, "path_stride", row, rows->path_stride);
        for (int other = 0; other < row; other++) {
            require(rows->cell[other] != rows->cell[row], "two rows share a cell", row, other);
        }
        for (int i = 0; i < rows->n_trunk; i++) {
            require(rows->trunk[i] != rows->cell[row], "a row overwrites the trunk", row, i);
        }
    }
}

/// Checks the rows, writes their cells, remembers their contexts.
static void take_rows(scripted_stage *stage, const hsdi_rows *rows)
{
    uint64_t trunk = 0;
    check_shape(stage, rows);
    for (int i = 0; i < rows->n_trunk; i++) {
        trunk = follow(stage, rows->trunk[i], i, trunk, "the trunk is not one text", -1);
    }
    for (int row = 0; row < rows->n_rows; row++) {
        const int32_t *path = rows->path + (size_t)row * (size_t)rows->path_stride;
        uint64_t hash = trunk;
        int n = rows->n_path[row];
        for (int i = 0; i < n - 1; i++) {
            hash = follow(stage, path[i], rows->n_trunk + i, hash, "a path is not one text", row);
        }
        int32_t cell = rows->cell[row];
        require(cell >= 0 && cell < stage->limits.n_cells, "cell number out of range", row, cell);
        require(path[n - 1] == cell, "a path does not end in its row's cell", row, n - 1);
        hash = hash_on(hash, rows->tokens[row]);
        stage->cells[cell] = (memory_cell){true, rows->tokens[row], rows->pos[row], hash};
        stage->row_hash[row] = hash;
        stage->row_token[row] = rows->tokens[row];
        stage->row_pos[row] = rows->pos[row];
    }
    // A later row must not have overwritten an earlier row's ancestor.
    for (int row = 0; row < rows->n_rows; row++) {
        const int32_t *path = rows->path + (size_t)row * (size_t)rows->path_stride;
        uint64_t hash = trunk;
        for (int i = 0; i < rows->n_path[row]; i++) {
            hash =
                follow(stage, path[i], rows->n_trunk + i, hash, "an ancestor was overwritten", row);
        }
    }
    stage->n_rows = rows->n_rows;
}

static scripted_stage *stage_new(const scripted_script *script, hsdi_stage_limits limits)
{
    scripted_stage *stage = calloc(1, sizeof *stage);
    size_t n_rows = (size_t)limits.n_rows_max;
    stage->script = script;
    stage->limits = limits;
    stage->cells = calloc((size_t)limits.n_cells, sizeof *stage->cells);
    stage->row_hash = calloc(n_rows, sizeof *stage->row_hash);
    stage->row_token = calloc(n_rows, sizeof *stage->row_token);
    stage->row_pos = calloc(n_rows, sizeof *stage->row_pos);
    return stage;
}

static void stage_free(scripted_stage *stage)
{
    free(stage->cells);
    free(stage->row_hash);
    free(stage->row_token);
    free(stage->row_pos);
    free(stage);
}

static void fill_garbage(hsdi_candidate *out, int n, int n_vocab, uint64_t hash)
{
    const int32_t tokens[] = {n_vocab, INT32_MAX, 3, -7, n_vocab + 5, 0};
    const float scores[] = {NAN, INFINITY, -INFINITY, 1e38f, 0.0f, -1.0f};
    for (int i = 0; i < n; i++) {
        out[i].token = tokens[mix(hash + (uint64_t)i) % 6];
        out[i].score = scores[mix(hash + 77 + (uint64_t)i) % 6];
    }
}

/// A list of different tokens; the truth at `rank`, or nowhere when rank < 0.
static void fill_list(const scripted_script *script, uint64_t hash, int rank, hsdi_candidate *out,
                      int n)
{
    int32_t truth = truth_of(script, hash);
    int32_t other = (int32_t)(mix(hash + 5) % (uint64_t)script->n_vocab);
    for (int i = 0; i < n; i++) {
        out[i].score = -1.5f * (float)i;
        if (i == rank) {
            out[i].token = truth;
            continue;
        }
        if (i >= script->n_vocab - 1) {
            out[i].token = -1;
            return;
        }
        other = (other + 1) % script->n_vocab;
        other = other == truth ? (other + 1) % script->n_vocab : other;
        out[i].token = other;
    }
}

static int rank_of_truth(const scripted_script *script, uint64_t hash, int pos, int n)
{
    bool is_listed = n > 1 && chance_of(script, hash, 2) < script->listed;
    int further = is_listed ? 1 + (int)(mix(hash + 9) % (uint64_t)(n - 1)) : -1;
    switch (script->kind) {
    case SCRIPTED_AGREE:
    case SCRIPTED_SHORT:
        return chance_of(script, hash, 1) < script->agreement ? 0 : further;
    case SCRIPTED_ALMOST:
        return pos % script->period != 0 ? 0 : further;
    default:
        return -1;
    }
}

static hsd_status draft_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                             hsd_error *err)
{
    scripted_stage *stage = self;
    const scripted_script *script = stage->script;
    take_rows(stage, rows);
    require(n_top >= 0 && n_top <= stage->limits.n_top_max && (n_top == 0) == (out == NULL),
            "n_top", -1, n_top);
    atomic_fetch_add(&scripted_n_evals, 1);
    if (script->eval_us > 0) {
        usleep((useconds_t)script->eval_us);
    }
    if (script->fail_after > 0 && ++stage->n_calls > script->fail_after) {
        if (err) {
            *err = (hsd_error){.status = HSD_EDEVICE, .message = "scripted failure"};
        }
        return HSD_EDEVICE;
    }
    for (int row = 0; row < rows->n_rows && n_top > 0; row++) {
        hsdi_candidate *list = out + (size_t)row * (size_t)n_top;
        uint64_t hash = stage->row_hash[row];
        fill_list(script, hash, rank_of_truth(script, hash, stage->row_pos[row], n_top), list,
                  n_top);
        int n_short = (int)(mix(hash + 3) % 4);
        if (script->kind == SCRIPTED_REPEAT) {
            list[0].token = stage->row_token[row];
        } else if (script->kind == SCRIPTED_EMPTY) {
            list[0].token = -1;
        } else if (script->kind == SCRIPTED_SHORT && n_short < n_top) {
            list[n_short].token = -1;
        } else if (script->kind == SCRIPTED_GARBAGE) {
            fill_garbage(list, n_top, script->n_vocab, hash);
        }
    }
    return HSD_OK;
}

static hsd_status draft_open(void *self, const hsdi_draft_config *config, hsdi_draft_stage *out,
                             hsd_error *err)
{
    const scripted_script *script = self;
    (void)err;
    hsdi_stage_limits limits = {
        .n_vocab = script->n_vocab,
        .n_ctx = script->draft_ctx > 0 ? script->draft_ctx : config->n_ctx,
        .n_cells = hsdi_draft_cells_needed(config) - script->draft_cells_short,
        .n_rows_max = script->draft_rows,
        .n_top_max = HSDI_TOP_MAX,
    };
    *out =
        (hsdi_draft_stage){.self = stage_new(script, limits), .limits = limits, .eval = draft_eval};
    atomic_fetch_add(&scripted_n_open, 1);
    return HSD_OK;
}

static void draft_close(void *self, hsdi_draft_stage *stage)
{
    (void)self;
    stage_free(stage->self);
    atomic_fetch_sub(&scripted_n_open, 1);
}

static uint64_t prefix_hash(void *self, int n)
{
    const scripted_script *script = self;
    uint64_t hash = 0;
    for (int i = 0; i < n; i++) {
        hash = hash_on(hash, i == script->odd_token && i > 0 ? -5 : i);
    }
    return hash;
}

static void token_text(void *self, int id, char *out, size_t cap)
{
    const scripted_script *script = self;
    if (id == script->odd_token && id > 0) {
        snprintf(out, cap, "odd");
    } else {
        snprintf(out, cap, "t%d", id);
    }
}

hsdi_vocabulary scripted_vocabulary(const scripted_script *script)
{
    return (hsdi_vocabulary){(void *)(uintptr_t)script, prefix_hash, token_text};
}

hsdi_draft_factory scripted_factory(const scripted_script *script)
{
    return (hsdi_draft_factory){
        .self = (void *)(uintptr_t)script,
        .vocabulary = scripted_vocabulary(script),
        .vocab_hash = script->odd_token > 0 ? 0x1235 : 0x1234,
        .fingerprint = 1,
        .n_vocab = script->n_vocab,
        .open = draft_open,
        .close = draft_close,
    };
}

static hsd_status target_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    scripted_stage *stage = self;
    (void)err;
    require(!stage->is_between, "prefill between prefix and suffix", -1, 0);
    take_rows(stage, rows);
    return HSD_OK;
}

static void half_a_pass(const scripted_stage *stage)
{
    if (stage->script->pass_us > 1) {
        usleep((useconds_t)stage->script->pass_us / 2);
    }
}

static hsd_status target_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    scripted_stage *stage = self;
    (void)err;
    require(!stage->is_between, "prefix twice", -1, 0);
    take_rows(stage, rows);
    half_a_pass(stage);
    stage->is_between = true;
    return HSD_OK;
}

static hsd_status target_proxies(void *self, int n_top, hsdi_candidate *out, hsd_error *err)
{
    scripted_stage *stage = self;
    const scripted_script *script = stage->script;
    (void)err;
    require(stage->is_between && script->has_exit, "proxies outside a pass", -1, 0);
    require(n_top >= 1 && n_top <= stage->limits.n_top_max, "n_top", -1, n_top);
    for (int row = 0; row < stage->n_rows; row++) {
        hsdi_candidate *list = out + (size_t)row * (size_t)n_top;
        uint64_t hash = stage->row_hash[row];
        int rank = script->proxies == SCRIPTED_PROXIES_PERFECT ? 0 : -1;
        fill_list(script, hash, rank, list, n_top);
        if (script->proxies == SCRIPTED_PROXIES_GARBAGE) {
            fill_garbage(list, n_top, script->n_vocab, hash);
        }
    }
    return HSD_OK;
}

static hsd_status target_suffix(void *self, int32_t *own, hsd_error *err)
{
    scripted_stage *stage = self;
    (void)err;
    require(stage->is_between, "suffix without prefix", -1, 0);
    half_a_pass(stage);
    for (int row = 0; row < stage->n_rows; row++) {
        own[row] = truth_of(stage->script, stage->row_hash[row]);
    }
    stage->is_between = false;
    return HSD_OK;
}

hsdi_target_stage scripted_target_open(const scripted_script *script)
{
    hsdi_stage_limits limits = {
        .n_vocab = script->n_vocab,
        .n_ctx = script->n_ctx,
        .n_cells = script->n_ctx, // the least that is allowed
        .n_rows_max = script->target_rows,
        .n_top_max = HSDI_TOP_MAX,
    };
    return (hsdi_target_stage){
        .self = stage_new(script, limits),
        .limits = limits,
        .has_exit = script->has_exit,
        .prefill = target_prefill,
        .prefix = target_prefix,
        .proxies = target_proxies,
        .suffix = target_suffix,
    };
}

void scripted_target_close(hsdi_target_stage *stage)
{
    stage_free(stage->self);
    stage->self = NULL;
}
