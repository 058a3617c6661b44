/// Tables of tiles: the built-in ones, and those that `hsd tune` keeps.
#include "devices/tiles.h"

#include "devices/backend.h"
#include "devices/keep.h"
#include "kernels/types.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const hsdi_type types[HSDI_N_TILE_TYPES] = {
    HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16, HSDI_TYPE_Q8_0,
    HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K, HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K,
};

static const char *const kinds[HSDI_N_TILE_KINDS] = {"item", "lanes", "subgroup", "panels", "dot"};
static const char *const macros[HSDI_N_TILE_KINDS] = {"ITEM", "LANES", "SUBGROUP", "PANELS", "DOT"};

const int hsdi_tile_class_rows[HSDI_TILE_CLASSES] = {1, 4, 8, 64};

// ---- built-in tables ----

#define LANES                                                                                      \
    {                                                                                              \
        {HSDI_TILE_LANES, 1, 1, 64}, {HSDI_TILE_LANES, 4, 1, 64}, {HSDI_TILE_LANES, 8, 1, 64},     \
        {                                                                                          \
            HSDI_TILE_LANES, 8, 1, 64                                                              \
        }                                                                                          \
    }
#define PANELS                                                                                     \
    {                                                                                              \
        {HSDI_TILE_PANELS, 1, 1, 64}, {HSDI_TILE_PANELS, 4, 1, 64}, {HSDI_TILE_PANELS, 4, 2, 64},  \
        {                                                                                          \
            HSDI_TILE_PANELS, 8, 1, 64                                                             \
        }                                                                                          \
    }
#define ITEMS(one, four, eight)                                                                    \
    {                                                                                              \
        {HSDI_TILE_ITEM, 1, one, 64}, {HSDI_TILE_ITEM, 4, four, 64},                               \
            {HSDI_TILE_ITEM, 8, eight, 64},                                                        \
        {                                                                                          \
            HSDI_TILE_ITEM, 8, eight, 64                                                           \
        }                                                                                          \
    }

/// First fitting line wins, so special ones come first.
static const struct row {
    const char *platform; ///< part of its name; NULL: any
    bool panels;          ///< for devices whose limits have that
    unsigned types;       ///< bits, by index
    hsdi_tile tiles[HSDI_TILE_CLASSES];
} built_in[] = {
    // Measured on PoCL 3.1 with AVX-512: registers, and how long a sum takes. Whole channels per
    // work-item become vectors of the processor there.
    {"Portable Computing Language", false, 1 << 5 | 1 << 6, ITEMS(2, 2, 1)}, // Q4_K, Q5_K
    {"Portable Computing Language", false, 1 << 7, ITEMS(1, 2, 1)},          // Q6_K
    {"Portable Computing Language", false, 0xff, ITEMS(1, 2, 2)},
    // Measured on an NVIDIA H200 but for the last two classes' sizes: F16, BF16, Q8_0, Q4_0.
    {NULL, true, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4, PANELS},
    // Elsewhere neighbours read neighbouring weights, as GPUs want it, and compilers are fast: Mesa
    // 22.3 takes minutes for kind "item" with several rows.
    {NULL, false, 0xff, LANES},
};

static bool has_panels(unsigned t)
{
    return hsdi_tile_has_panels(types[t]);
}

void hsdi_tiles_default(const hsdi_tile_limits *limits, hsdi_tiles *out)
{
    out->records = true;
    for (unsigned t = 0; t < HSDI_N_TILE_TYPES; t++) {
        const struct row *r = built_in;
        while ((r->platform && !strstr(limits->platform, r->platform)) || !(r->types >> t & 1) ||
               r->panels != (limits->panels && has_panels(t))) {
            r++; // the last lines fit everything
        }
        memcpy(out->of[t], r->tiles, sizeof r->tiles);
    }
}

// ---- tiles ----

int hsdi_tile_type_index(hsdi_type type)
{
    for (int i = 0; i < HSDI_N_TILE_TYPES; i++) {
        if (types[i] == type) {
            return i;
        }
    }
    return -1;
}

hsdi_type hsdi_tile_type(int index)
{
    return types[index];
}

int hsdi_tile_class(int n_rows)
{
    int c = 0;
    while (c + 1 < HSDI_TILE_CLASSES && n_rows > hsdi_tile_class_rows[c]) {
        c++;
    }
    return c;
}

bool hsdi_tile_has_panels(hsdi_type type)
{
    return type == HSDI_TYPE_F16 || type == HSDI_TYPE_BF16 || type == HSDI_TYPE_Q8_0 ||
           type == HSDI_TYPE_Q4_0;
}

bool hsdi_tiles_lay_out(const hsdi_tiles *tiles, hsdi_type type)
{
    int t = hsdi_tile_type_index(type);
    return t >= 0 && tiles->of[t][0].kind == HSDI_TILE_PANELS;
}

bool hsdi_tile_equals(const hsdi_tile *a, const hsdi_tile *b)
{
    return a->kind == b->kind && a->rows == b->rows && a->wide == b->wide && a->group == b->group;
}

/// 1, 2, 4, .. max
static bool is_power(int n, int max)
{
    return n >= 1 && n <= max && (n & (n - 1)) == 0;
}

bool hsdi_tile_is_legal(const hsdi_tile *tile, hsdi_type type)
{
    bool has_kind = (unsigned)tile->kind < HSDI_N_TILE_KINDS &&
                    (tile->kind != HSDI_TILE_DOT || hsdi_type_is_quantised(type)) &&
                    (tile->kind != HSDI_TILE_PANELS || hsdi_tile_has_panels(type));
    return has_kind && is_power(tile->rows, HSDI_TILE_MAX_ROWS) &&
           is_power(tile->wide, HSDI_TILE_MAX_WIDE) && is_power(tile->group, HSDI_TILE_MAX_GROUP) &&
           tile->group >= HSDI_TILE_TEAM;
}

/// Is it in the list of kernels/opencl/product.cl?
static bool is_built(const hsdi_tile *tile)
{
    static const int built[][3] = {
        {HSDI_TILE_ITEM, 1, 1},  {HSDI_TILE_ITEM, 1, 2},  {HSDI_TILE_ITEM, 4, 2},
        {HSDI_TILE_ITEM, 8, 1},  {HSDI_TILE_ITEM, 8, 2},  {HSDI_TILE_LANES, 1, 1},
        {HSDI_TILE_LANES, 4, 1}, {HSDI_TILE_LANES, 8, 1}, {HSDI_TILE_DOT, 1, 1},
        {HSDI_TILE_DOT, 4, 1},   {HSDI_TILE_DOT, 8, 1},
    };
    for (size_t i = 0; i < sizeof built / sizeof *built; i++) {
        if (built[i][0] == (int)tile->kind && built[i][1] == tile->rows &&
            built[i][2] == tile->wide) {
            return true;
        }
    }
    return false;
}

static bool meets_in_local(const hsdi_tile *tile)
{
    return tile->kind == HSDI_TILE_LANES || tile->kind == HSDI_TILE_PANELS ||
           tile->kind == HSDI_TILE_DOT;
}

size_t hsdi_tile_local_bytes(const hsdi_tile *tile)
{
    return meets_in_local(tile)
               ? (size_t)tile->rows * (size_t)tile->wide * (size_t)tile->group * sizeof(float)
               : 0;
}

bool hsdi_tile_fits(const hsdi_tile *tile, hsdi_type type, const hsdi_tile_limits *limits)
{
    return hsdi_tile_is_legal(tile, type) && (size_t)tile->group <= limits->max_group &&
           hsdi_tile_local_bytes(tile) <= limits->local_bytes &&
           (tile->kind != HSDI_TILE_SUBGROUP || limits->subgroups) &&
           (tile->kind != HSDI_TILE_PANELS || limits->panels) &&
           (!limits->built_only || is_built(tile));
}

bool hsdi_tiles_fit(const hsdi_tiles *tiles, const hsdi_tile_limits *limits)
{
    for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
        for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
            const hsdi_tile *tile = &tiles->of[t][c], *first = &tiles->of[t][0];
            if (!hsdi_tile_fits(tile, types[t], limits) ||
                (tile->kind == HSDI_TILE_DOT) != (first->kind == HSDI_TILE_DOT) ||
                (tile->kind == HSDI_TILE_PANELS) != (first->kind == HSDI_TILE_PANELS)) {
                return false;
            }
        }
    }
    return true;
}

void hsdi_tile_name(const hsdi_tile *tile, hsdi_type type, char *name)
{
    snprintf(name, HSDI_TILE_NAME_BYTES, "%s%dx%d_%s", kinds[tile->kind], tile->rows, tile->wide,
             hsdi_type_find(type)->name);
}

void hsdi_tile_defines(const hsdi_tile *tile, hsdi_type type, char *defines)
{
    snprintf(defines, HSDI_TILE_DEFINES_BYTES,
             "-DPRODUCT_KIND=%s -DPRODUCT_TYPE=%s -DPRODUCT_ROWS=%d -DPRODUCT_WIDE=%d",
             macros[tile->kind], hsdi_type_find(type)->name, tile->rows, tile->wide);
}

size_t hsdi_tile_width(const hsdi_tile *tile, const int *n_out, int n_parts)
{
    size_t wide = (size_t)tile->wide, group = (size_t)tile->group, n = 0;
    for (int i = 0; i < n_parts; i++) {
        n += ((size_t)n_out[i] + wide - 1) / wide;
    }
    n *= tile->kind == HSDI_TILE_ITEM ? 1 : HSDI_TILE_TEAM;
    return (n + group - 1) / group * group;
}

// ---- as text ----

static const char title[] = "hsd tiles 1\n";

/// "Q8_0 4 lanes 4x1 64": up to four rows.
static int write_line(const hsdi_tiles *tiles, int t, int c, char *out, size_t cap)
{
    const hsdi_tile *tile = &tiles->of[t][c];
    return snprintf(out, cap, "%s %d %s %dx%d %d\n", hsdi_type_find(types[t])->name,
                    hsdi_tile_class_rows[c], kinds[tile->kind], tile->rows, tile->wide,
                    tile->group);
}

size_t hsdi_tiles_write(const hsdi_tiles *tiles, char *out)
{
    size_t cap = HSDI_TILE_TEXT_BYTES;
    size_t n = (size_t)snprintf(out, cap, "%srecords %d\n", title, tiles->records);
    for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
        for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
            n += (size_t)write_line(tiles, t, c, out + n, cap - n);
        }
    }
    return n;
}

/// A line of a table is the one that its own tile is written as: nothing else is read.
static bool parse_line(const char *line, int t, int c, hsdi_tiles *out)
{
    char kind[16], again[80];
    hsdi_tile *tile = &out->of[t][c];
    int rows, wide, group;
    if (sscanf(line, "%*15s %*3d %15s %3dx%3d %4d", kind, &rows, &wide, &group) != 4) {
        return false;
    }
    int k = 0;
    while (k < HSDI_N_TILE_KINDS && strcmp(kind, kinds[k]) != 0) {
        k++;
    }
    *tile = (hsdi_tile){(hsdi_tile_kind)k, rows, wide, group};
    if (!hsdi_tile_is_legal(tile, types[t])) {
        return false;
    }
    write_line(out, t, c, again, sizeof again);
    again[strlen(again) - 1] = '\0';
    return strcmp(line, again) == 0;
}

/// The next line without its end, into out [80]. NULL: there is none, or it is too long.
static const char *next_line(const char *at, const char *end, char *out)
{
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    size_t n = stop ? (size_t)(stop - at) : 0;
    if (!stop || n >= 80 || memchr(at, '\0', n)) {
        return NULL;
    }
    memcpy(out, at, n);
    out[n] = '\0';
    return stop + 1;
}

bool hsdi_tiles_parse(const char *text, size_t n_bytes, hsdi_tiles *out)
{
    const char *at = text, *end = text + n_bytes;
    char line[80];
    size_t n_title = sizeof title - 1;
    if (n_bytes < n_title || memcmp(text, title, n_title) != 0 ||
        !(at = next_line(at + n_title, end, line)) ||
        (strcmp(line, "records 0") != 0 && strcmp(line, "records 1") != 0)) {
        return false;
    }
    out->records = line[8] == '1';
    for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
        for (int c = 0; c < HSDI_TILE_CLASSES; c++) {
            if (!(at = next_line(at, end, line)) || !parse_line(line, t, c, out)) {
                return false;
            }
        }
    }
    return at == end;
}

// ---- candidates ----

int hsdi_tile_candidates(const hsdi_tile_limits *limits, hsdi_type type, int i_class, bool int8,
                         hsdi_tile *out, int cap)
{
    static const int groups[] = {64, 256};
    int n = 0, most = hsdi_tile_class_rows[i_class];
    most = most < HSDI_TILE_MAX_ROWS ? most : HSDI_TILE_MAX_ROWS;
    for (int kind = 0; kind < HSDI_N_TILE_KINDS; kind++) {
        bool panels = limits->panels && hsdi_tile_has_panels(type);
        bool has_kind =
            kind == HSDI_TILE_DOT ? int8 || limits->fast_dot : (kind == HSDI_TILE_PANELS) == panels;
        // Smaller tiles read the weights again and again.
        for (int rows = i_class == 2 ? most / 2 : most; rows <= most && has_kind; rows *= 2) {
            for (int i = 0; i < 2 * 3; i++) {
                const hsdi_tile tile = {(hsdi_tile_kind)kind, rows, 1 << i / 2, groups[i % 2]};
                bool worth = tile.wide <= 2 || rows == 1;
                if (worth && hsdi_tile_fits(&tile, type, limits)) {
                    if (n < cap) {
                        out[n] = tile;
                    }
                    n++;
                }
            }
        }
    }
    return n;
}

// ---- kept ----

static const char kept_kind[] = "tiles";

void hsdi_tile_set_load(hsdi_tile_set *set)
{
    void *data = NULL;
    size_t n_bytes = 0;
    char path[PATH_MAX];
    set->tuned = hsdi_keep_read(kept_kind, set->key, &data, &n_bytes) &&
                 hsdi_tiles_parse(data, n_bytes, &set->tiles) &&
                 hsdi_tiles_fit(&set->tiles, &set->limits);
    free(data);
    if (!set->tuned) {
        hsdi_tiles_default(&set->limits, &set->tiles);
        set->bad =
            hsdi_keep_path(kept_kind, set->key, path, sizeof path) && access(path, F_OK) == 0;
    }
}

const char *hsdi_tile_set_note(const hsdi_tile_set *set)
{
    return set->tuned ? "tuned sizes"
           : set->bad ? "a table of sizes that cannot be used was ignored (hsd tune)"
                      : "";
}

hsd_status hsdi_tile_set_keep(const hsdi_tile_set *set, hsd_error *err)
{
    char text[HSDI_TILE_TEXT_BYTES];
    size_t n = hsdi_tiles_write(&set->tiles, text);
    return hsdi_keep_write(kept_kind, set->key, text, n, err);
}

hsdi_tile_set *hsdi_device_tiles(hsdi_device *device)
{
    return device->ops->tiles ? device->ops->tiles(device) : NULL;
}

void hsdi_tile_describe(const hsdi_tile *tile, char *out, size_t cap)
{
    snprintf(out, cap, "%s%dx%d/%d", kinds[tile->kind], tile->rows, tile->wide, tile->group);
}
