/// Measuring which kernels a device should compute products with (devices/tiles.h).
///
/// Per type and class of rows all candidates are compiled, checked against the plain kernel, and
/// run in turn, so that a machine that slows down slows all of them. What is kept is the table.
#include "engine/engine_internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "devices/tiles.h"
#include "kernels/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_IN = 2048,
    MAX_ROWS = 32,
    MAX_CANDIDATES = 64,
    MAX_REPEATS = 1000,
    MAX_CHANNELS = 1 << 20
};

/// A candidate must win by so much over what is there: less is noise.
static const double margin = 0.97;
/// Largest difference of a row in 8 bits from a row in floats, by the row's largest value. Rounding
/// to 8 bits is an error of 1/254 of a block's largest element; sums of 2048 average it out.
static const double int8_tolerance = 0.02;

static const int rows_of[HSDI_TILE_CLASSES] = {1, 4, 8, MAX_ROWS};

static const hsdi_tile plain = {HSDI_TILE_ITEM, 1, 1, 64}, plain_dot = {HSDI_TILE_DOT, 1, 1, 64};

typedef struct candidate {
    hsdi_tile tile;
    hsdi_graph *graph; ///< owned; NULL: refused or wrong
    double *us;        ///< owned [n_repeats]
    double median_us;
} candidate;

/// One type on its way through the classes.
typedef struct tuning {
    const hsd_tune_options *options;
    hsdi_device *device;
    hsdi_tile_set *set;
    hsdi_type type;
    int n_channels;
    hsdi_weight *weight;    ///< owned
    uint8_t *data;          ///< owned; its blocks
    hsdi_buffer *in, *out;  ///< owned; [MAX_ROWS, ..]
    float *want, *want_dot; ///< owned [MAX_ROWS, n_channels]; of the plain kernels
    candidate all[MAX_CANDIDATES];
    int n_all;
} tuning;

/// The fastest of a class, without and with rows in 8 bits; graph unused.
typedef struct choice {
    candidate before, best, best_dot;
    bool has_plain, has_dot; ///< is there one in best, in best_dot
    int n_candidates, n_refused, n_wrong;
} choice;

// ---- numbers ----

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/// An f16 between 2^-8 and 2^-5.
static void put_scale(uint8_t *at, uint32_t *seed)
{
    uint32_t bits = 0x1c00 + draw(seed) % 0xc00;
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

/// A block of moderate numbers: any bits for integers.
static void fill_block(hsdi_type type, int block_bytes, uint8_t *b, uint32_t *seed)
{
    float value = (float)draw(seed) / 16777216.0f - 0.5f;
    for (int i = 0; i < block_bytes; i++) {
        b[i] = (uint8_t)draw(seed);
    }
    switch (type) {
    case HSDI_TYPE_F32:
        memcpy(b, &value, sizeof value);
        break;
    case HSDI_TYPE_BF16:
        memcpy(b, (const uint8_t *)&value + 2, 2);
        break;
    case HSDI_TYPE_Q6_K:
        put_scale(b + 208, seed);
        break;
    case HSDI_TYPE_Q4_K:
    case HSDI_TYPE_Q5_K:
        put_scale(b + 2, seed);
        put_scale(b, seed);
        break;
    case HSDI_TYPE_F16:
    case HSDI_TYPE_Q8_0:
    case HSDI_TYPE_Q4_0:
        put_scale(b, seed);
        break;
    }
}

static hsd_status make_weight(tuning *t, hsd_error *err)
{
    const hsdi_type_info *info = hsdi_type_find(t->type);
    size_t block = (size_t)info->block_bytes;
    size_t n = (size_t)N_IN / (size_t)info->block_elems * (size_t)t->n_channels;
    uint8_t *data = t->data = malloc(n * block);
    uint32_t seed = (uint32_t)t->type + 1;
    if (!data) {
        return hsdi_fail(err, HSD_ENOMEM, "tune", "%zu bytes", n * block);
    }
    for (size_t i = 0; i < n; i++) {
        fill_block(t->type, info->block_bytes, data + i * block, &seed);
    }
    // Rows are never looked up: but so there are blocks for the plain kernel, whatever the layout.
    return hsdi_weight_create(t->device, t->type, t->n_channels, N_IN, data,
                              HSDI_USE_MATMUL | HSDI_USE_ROWS, &t->weight, err);
}

static hsd_status make_rows(tuning *t, hsd_error *err)
{
    uint32_t seed = 9;
    size_t n = (size_t)MAX_ROWS * (size_t)t->n_channels;
    t->want = malloc(n * sizeof *t->want);
    t->want_dot = malloc(n * sizeof *t->want_dot);
    if (!t->want || !t->want_dot) {
        return hsdi_fail(err, HSD_ENOMEM, "tune", "%zu numbers", 2 * n);
    }
    hsd_status status = hsdi_buffer_create(t->device, MAX_ROWS, N_IN, &t->in, err);
    if (status == HSD_OK) {
        status = hsdi_buffer_create(t->device, MAX_ROWS, t->n_channels, &t->out, err);
    }
    float *x = status == HSD_OK ? hsdi_buffer_map(t->in) : NULL;
    for (int i = 0; x && i < MAX_ROWS * N_IN; i++) {
        x[i] = (float)draw(&seed) / 16777216.0f - 0.5f;
    }
    return status;
}

// ---- one candidate ----

static hsd_status compile(tuning *t, int i_class, const hsdi_tile *tile, hsdi_graph **out,
                          hsd_error *err)
{
    const hsdi_op op = {.kind = HSDI_OP_MATMUL,
                        .x = {.value = HSDI_VALUE_IN, .width = N_IN},
                        .y = {.value = HSDI_VALUE_OUT, .width = t->n_channels},
                        .n_parts = 1,
                        .parts = {{.w = t->weight}}};
    const hsdi_graph_desc desc = {.name = "tune",
                                  .n_rows_max = rows_of[i_class],
                                  .in_width = N_IN,
                                  .out_width = t->n_channels,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = MAX_ROWS};
    hsdi_tile *tiles = t->set->tiles.of[hsdi_tile_type_index(t->type)];
    hsdi_tile before[HSDI_TILE_CLASSES];
    memcpy(before, tiles, sizeof before);
    for (int c = 0; c <= i_class; c++) { // one kernel for all: no other is compiled
        tiles[c] = *tile;
    }
    hsd_status status = hsdi_graph_compile(t->device, &desc, out, err);
    memcpy(tiles, before, sizeof before);
    return status;
}

static hsd_status run(const tuning *t, hsdi_graph *graph, int i_class, double *us, hsd_error *err)
{
    static const int32_t pos[MAX_ROWS];
    const hsdi_job job = {.n_rows = rows_of[i_class], .pos = pos, .in = t->in, .out = t->out};
    int64_t begin = hsdi_now_ns();
    hsd_status status = hsdi_graph_run(graph, &job, err);
    *us = (double)(hsdi_now_ns() - begin) * 1e-3;
    return status;
}

/// The plain kernel's rows, by which the others are judged.
static hsd_status run_plain(tuning *t, int i_class, const hsdi_tile *tile, float *want,
                            hsd_error *err)
{
    hsdi_graph *graph = NULL;
    double us;
    hsd_status status = compile(t, i_class, tile, &graph, err);
    if (status == HSD_OK) {
        status = run(t, graph, i_class, &us, err);
    }
    if (status == HSD_OK) {
        size_t n = (size_t)rows_of[i_class] * (size_t)t->n_channels;
        memcpy(want, hsdi_buffer_map(t->out), n * sizeof *want);
    }
    hsdi_graph_destroy(&graph);
    return status;
}

/// Are rows in 8 bits as near to rows in floats as they must be?
static bool is_near(const tuning *t, int i_class)
{
    for (int r = 0; r < rows_of[i_class]; r++) {
        const float *a = t->want + (ptrdiff_t)r * t->n_channels;
        const float *b = t->want_dot + (ptrdiff_t)r * t->n_channels;
        double largest = 0.0, apart = 0.0;
        for (int o = 0; o < t->n_channels; o++) {
            largest = fmax(largest, fabs((double)a[o]));
            apart = fmax(apart, fabs((double)a[o] - (double)b[o]));
        }
        if (!(apart <= int8_tolerance * largest)) {
            return false;
        }
    }
    return true;
}

/// Compile it, run it once and compare. Only a device that fails is a failure.
static hsd_status try_candidate(tuning *t, int i_class, candidate *c, choice *ch, hsd_error *err)
{
    bool is_dot = c->tile.kind == HSDI_TILE_DOT;
    double us;
    hsd_error detail;
    ch->n_candidates++;
    if (compile(t, i_class, &c->tile, &c->graph, &detail) != HSD_OK) {
        c->graph = NULL;
        ch->n_refused++;
        return HSD_OK;
    }
    hsd_status status = run(t, c->graph, i_class, &us, &detail);
    if (status != HSD_OK) { // too large a group for this kernel, say; or the device is gone
        hsdi_graph_destroy(&c->graph);
        ch->n_refused++;
        return run_plain(t, i_class, &plain, t->want, err);
    }
    size_t n = (size_t)rows_of[i_class] * (size_t)t->n_channels;
    const float *want = is_dot ? t->want_dot : t->want;
    if (memcmp(hsdi_buffer_map(t->out), want, n * sizeof *want) != 0) {
        hsdi_graph_destroy(&c->graph);
        ch->n_wrong++;
    }
    return status;
}

// ---- one class of rows ----

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static hsd_status add_candidate(tuning *t, int i_class, const hsdi_tile *tile, choice *ch,
                                hsd_error *err)
{
    candidate *c = &t->all[t->n_all];
    for (int i = 0; i < t->n_all; i++) {
        if (hsdi_tile_equals(&t->all[i].tile, tile)) {
            return HSD_OK;
        }
    }
    if (t->n_all == MAX_CANDIDATES) {
        return HSD_OK;
    }
    *c = (candidate){.tile = *tile, .us = calloc((size_t)t->options->n_repeats, sizeof(double))};
    t->n_all++;
    if (!c->us) {
        return hsdi_fail(err, HSD_ENOMEM, "tune", "%d times", t->options->n_repeats);
    }
    return try_candidate(t, i_class, c, ch, err);
}

static void drop_candidates(tuning *t)
{
    for (int i = 0; i < t->n_all; i++) {
        hsdi_graph_destroy(&t->all[i].graph);
        free(t->all[i].us);
    }
    t->n_all = 0;
}

static hsd_status time_candidates(tuning *t, int i_class, hsd_error *err)
{
    int n = t->options->n_repeats;
    hsd_status status = HSD_OK;
    for (int r = 0; r < n; r++) {
        for (int i = 0; i < t->n_all && status == HSD_OK; i++) {
            candidate *c = &t->all[i];
            status = c->graph ? run(t, c->graph, i_class, &c->us[r], err) : HSD_OK;
        }
    }
    for (int i = 0; i < t->n_all; i++) {
        qsort(t->all[i].us, (size_t)n, sizeof(double), compare);
        t->all[i].median_us = t->all[i].us[n / 2];
    }
    return status;
}

/// The fastest of either kind of rows. What is in the table comes first.
static void choose(const tuning *t, choice *ch)
{
    ch->before = t->all[0];
    for (int i = 0; i < t->n_all; i++) {
        const candidate *c = &t->all[i];
        bool is_dot = c->tile.kind == HSDI_TILE_DOT;
        candidate *best = is_dot ? &ch->best_dot : &ch->best;
        bool *has = is_dot ? &ch->has_dot : &ch->has_plain;
        if (c->graph && (!*has || c->median_us < best->median_us)) {
            *best = *c;
            *has = true;
        }
    }
}

static hsd_status gather(tuning *t, int i_class, choice *ch, hsd_error *err)
{
    hsdi_tile tiles[MAX_CANDIDATES];
    const hsdi_tile *now = &t->set->tiles.of[hsdi_tile_type_index(t->type)][i_class];
    bool has_dot = t->options->int8 || t->set->limits.fast_dot || now->kind == HSDI_TILE_DOT;
    int n = hsdi_tile_candidates(&t->set->limits, t->type, i_class, t->options->int8, tiles,
                                 MAX_CANDIDATES);
    hsd_status status = run_plain(t, i_class, &plain, t->want, err);
    if (status == HSD_OK && has_dot && hsdi_type_is_quantised(t->type)) {
        has_dot = run_plain(t, i_class, &plain_dot, t->want_dot, NULL) == HSD_OK;
        has_dot = has_dot && is_near(t, i_class);
        status = run_plain(t, i_class, &plain, t->want, err); // the device is still there
    }
    if (status == HSD_OK) {
        status = add_candidate(t, i_class, now, ch, err);
    }
    for (int i = 0; i < n && i < MAX_CANDIDATES && status == HSD_OK; i++) {
        if (tiles[i].kind != HSDI_TILE_DOT || has_dot) {
            status = add_candidate(t, i_class, &tiles[i], ch, err);
        }
    }
    return status;
}

static hsd_status tune_class(tuning *t, int i_class, choice *ch, hsd_error *err)
{
    hsd_status status = gather(t, i_class, ch, err);
    if (status == HSD_OK) {
        status = time_candidates(t, i_class, err);
    }
    if (status == HSD_OK) {
        choose(t, ch);
    }
    drop_candidates(t);
    return status;
}

// ---- one type ----

/// Rows in 8 bits for all classes, or for none: where they are faster over all.
static bool takes_dot(const choice ch[HSDI_TILE_CLASSES], bool had_dot)
{
    double share = 0.0;
    bool all_dot = true, all_plain = true;
    for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
        all_dot = all_dot && ch[c].has_dot;
        all_plain = all_plain && ch[c].has_plain;
    }
    for (int c = 0; c < HSDI_TILE_CLASSES && all_dot && all_plain; c++) {
        share += ch[c].best_dot.median_us / ch[c].best.median_us / HSDI_TILE_CLASSES;
    }
    if (!all_dot || !all_plain) {
        return had_dot; // no whole set of the other kind
    }
    return share < (had_dot ? 1.0 / margin : margin);
}

static void take(tuning *t, const choice ch[HSDI_TILE_CLASSES], hsd_tuned *out)
{
    hsdi_tile *tiles = t->set->tiles.of[hsdi_tile_type_index(t->type)];
    bool had_dot = ch[0].before.tile.kind == HSDI_TILE_DOT, dot = takes_dot(ch, had_dot);
    for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
        const candidate *best = dot ? &ch[c].best_dot : &ch[c].best;
        const candidate *before = &ch[c].before;
        bool has = dot ? ch[c].has_dot : ch[c].has_plain;
        bool worth = dot != had_dot || (has && best->median_us < margin * before->median_us);
        best = worth ? best : before;
        tiles[c] = best->tile;
        out[c] = (hsd_tuned){.n_rows = rows_of[c],
                             .last_rows = c + 1 < HSDI_TILE_CLASSES ? hsdi_tile_class_rows[c] : 0,
                             .n_candidates = ch[c].n_candidates,
                             .n_refused = ch[c].n_refused,
                             .n_wrong = ch[c].n_wrong,
                             .before_us = before->median_us,
                             .after_us = best->median_us};
        snprintf(out[c].type, sizeof out[c].type, "%s", hsdi_type_find(t->type)->name);
        hsdi_tile_describe(&before->tile, out[c].before, sizeof out[c].before);
        hsdi_tile_describe(&best->tile, out[c].after, sizeof out[c].after);
    }
}

/// A kept table may have the type's weights laid out otherwise than the candidates want them: it
/// begins anew.
static void set_layout(const tuning *t)
{
    hsdi_tiles first;
    int i = hsdi_tile_type_index(t->type);
    hsdi_tiles_default(&t->set->limits, &first);
    if (hsdi_tiles_lay_out(&first, t->type) != hsdi_tiles_lay_out(&t->set->tiles, t->type)) {
        memcpy(t->set->tiles.of[i], first.of[i], sizeof first.of[i]);
    }
}

static hsd_status tune_type(const hsd_tune_options *o, hsdi_device *device, hsdi_type type,
                            hsd_tuned *out, hsd_error *err)
{
    choice ch[HSDI_TILE_CLASSES] = {0};
    tuning *t = calloc(1, sizeof *t);
    if (!t) {
        return hsdi_fail(err, HSD_ENOMEM, "tune", "%s", hsdi_type_find(type)->name);
    }
    *t = (tuning){.options = o,
                  .device = device,
                  .set = hsdi_device_tiles(device),
                  .type = type,
                  .n_channels = o->n_channels};
    set_layout(t);
    hsd_status status = make_weight(t, err);
    if (status == HSD_OK) {
        status = make_rows(t, err);
    }
    for (int c = 0; c < HSDI_TILE_CLASSES && status == HSD_OK; c++) {
        status = o->go_on && !o->go_on(o->user, hsdi_type_find(type)->name, rows_of[c])
                     ? hsdi_fail(err, HSD_ECANCELED, "tune", "stopped; nothing was kept")
                     : tune_class(t, c, &ch[c], err);
    }
    if (status == HSD_OK) {
        take(t, ch, out);
    }
    drop_candidates(t);
    hsdi_buffer_destroy(&t->in);
    hsdi_buffer_destroy(&t->out);
    bool is_held = t->weight && hsdi_weight_is_held(t->weight);
    hsdi_weight_destroy(&t->weight);
    if (!is_held) {
        free(t->data);
    }
    free(t->want);
    free(t->want_dot);
    free(t);
    return status;
}

// ---- the whole ----

void hsd_tune_options_init(hsd_tune_options *out)
{
    *out = (hsd_tune_options){.n_repeats = 15, .n_channels = 5632};
}

/// Types by name, as indices; all where none is named.
static hsd_status find_types(const hsd_tune_options *o, bool chosen[HSDI_N_TILE_TYPES],
                             hsd_error *err)
{
    for (int i = 0; i < HSDI_N_TILE_TYPES; i++) {
        chosen[i] = o->n_types == 0;
    }
    for (int k = 0; k < o->n_types; k++) {
        int i = 0;
        while (i < HSDI_N_TILE_TYPES &&
               strcmp(o->types[k], hsdi_type_find(hsdi_tile_type(i))->name) != 0) {
            i++;
        }
        if (i == HSDI_N_TILE_TYPES) {
            return hsdi_fail(err, HSD_EINVAL, "type", "\"%.16s\" is no tensor type", o->types[k]);
        }
        chosen[i] = true;
    }
    return HSD_OK;
}

static hsd_status tune_all(const hsd_tune_options *o, hsdi_device *device,
                           const bool chosen[HSDI_N_TILE_TYPES], hsd_tuned *out, int cap,
                           int *n_out, hsd_error *err)
{
    hsd_tuned lines[HSDI_TILE_CLASSES];
    hsdi_tile_set *set = hsdi_device_tiles(device);
    hsd_status status = HSD_OK;
    if (!set) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, hsdi_device_get_info(device)->name,
                         "has no sizes that could be chosen");
    }
    for (int i = 0; i < HSDI_N_TILE_TYPES && status == HSD_OK; i++) {
        if (chosen[i]) {
            status = tune_type(o, device, hsdi_tile_type(i), lines, err);
        }
        for (int c = 0; c < HSDI_TILE_CLASSES && chosen[i] && status == HSD_OK; c++) {
            if (*n_out < cap) {
                out[*n_out] = lines[c];
            }
            ++*n_out;
        }
    }
    if (status == HSD_OK && !hsdi_tiles_fit(&set->tiles, &set->limits)) {
        status = hsdi_fail(err, HSD_EDEVICE, "tune", "the kernels that won do not go together");
    }
    return status == HSD_OK ? hsdi_tile_set_keep(set, err) : status;
}

hsd_status hsd_tune(const hsd_tune_options *options, hsd_tuned *out, int cap, int *n_out,
                    hsd_error *err)
{
    bool chosen[HSDI_N_TILE_TYPES];
    hsdi_device *device = NULL;
    if (!options || !n_out || cap < 0 || (cap > 0 && !out) || options->n_repeats < 1 ||
        options->n_repeats > MAX_REPEATS || options->n_channels < 1 ||
        options->n_channels > MAX_CHANNELS || options->n_types < 0 ||
        (options->n_types > 0 && !options->types)) {
        return hsdi_fail(err, HSD_EINVAL, "tune", "options or room for the result");
    }
    *n_out = 0;
    hsd_status status = find_types(options, chosen, err);
    if (status == HSD_OK) {
        status = hsdi_measure_open(options->device ? options->device : "opencl", 0, &device, err);
    }
    if (status == HSD_OK) {
        status = tune_all(options, device, chosen, out, cap, n_out, err);
    }
    hsdi_device_close(&device);
    return status;
}
