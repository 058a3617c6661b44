/// Which kernel computes a product: by tensor type and number of rows, from a table per device.
///
/// A tile is a kernel of kernels/opencl with its group size. The built-in tables and the limits are
/// in tiles.c, as data; `hsd tune` measures others and keeps them (devices/keep.h). Whatever a
/// table says, a row's result does not depend on how many rows there are: all kinds but "dot" give
/// the same bits, and a type has kind "dot" for every number of rows or for none. So it is with
/// kind "panels", since weights are laid out once.
#ifndef HSDI_DEVICES_TILES_H
#define HSDI_DEVICES_TILES_H

#include "devices/device.h"

/// The kinds of kernels for products (kernels/opencl).
typedef enum hsdi_tile_kind {
    HSDI_TILE_ITEM,     ///< a work-item has whole channels
    HSDI_TILE_LANES,    ///< sixteen work-items have them, and meet in local memory
    HSDI_TILE_SUBGROUP, ///< the same, by shuffles
    HSDI_TILE_PANELS,   ///< as lanes, from weights that are laid out anew
    HSDI_TILE_DOT,      ///< rows of 8 bits, products of integers; sums of an order of its own
    HSDI_N_TILE_KINDS,
} hsdi_tile_kind;

typedef struct hsdi_tile {
    hsdi_tile_kind kind;
    int rows, wide; ///< rows and channels of a work-item, or of sixteen
    int group;      ///< work-items of a group
} hsdi_tile;

enum {
    HSDI_N_TILE_TYPES = 8,
    HSDI_TILE_CLASSES = 4,
    HSDI_TILE_MAX_ROWS = 8,
    HSDI_TILE_MAX_WIDE = 4,
    HSDI_TILE_MAX_GROUP = 256,
    HSDI_TILE_TEAM = 16,       ///< work-items per channel of all kinds but "item"
    HSDI_TILE_NAME_BYTES = 32, ///< "subgroup8x1_Q8_0"
    HSDI_TILE_DEFINES_BYTES = 128,
    HSDI_TILE_TEXT_BYTES = 4096, ///< of a whole table
};

/// Most rows of each class: 1, 4, 8, 64; the last one also has all larger numbers.
extern const int hsdi_tile_class_rows[HSDI_TILE_CLASSES];

/// What a table depends on.
typedef struct hsdi_tile_limits {
    const char *platform; ///< name of platform or driver; static or the device's
    bool built_only;      ///< no compiler there: only the kernels that were built with hsd
    bool subgroups;       ///< kernels of kind "subgroup" can be used
    bool fast_dot;        ///< has an instruction for products of 8 bits
    bool panels;          ///< weights are copied there, so they may be laid out anew
    size_t max_group, local_bytes;
} hsdi_tile_limits;

/// A table: a tile for every type and class of rows.
typedef struct hsdi_tiles {
    hsdi_tile of[HSDI_N_TILE_TYPES][HSDI_TILE_CLASSES];
    bool records; ///< the launches of a pass are kept and run again, where the driver can
} hsdi_tiles;

/// The table of a device. Guarded by nothing: set before graphs are compiled.
typedef struct hsdi_tile_set {
    hsdi_tiles tiles;
    hsdi_tile_limits limits;
    bool tuned;     ///< as `hsd tune` kept it
    bool bad;       ///< something was kept that cannot be used
    char key[1024]; ///< platform, device and driver with their versions
} hsdi_tile_set;

/// Index of a type in a table, -1: no such type.
int hsdi_tile_type_index(hsdi_type type);
hsdi_type hsdi_tile_type(int index);
/// The class of a number of rows: 0 for 1, 1 for 2 to 4, 2 for 5 to 8, 3 for more.
int hsdi_tile_class(int n_rows);

bool hsdi_tile_is_legal(const hsdi_tile *tile, hsdi_type type);
/// Legal, and within what the device has.
bool hsdi_tile_fits(const hsdi_tile *tile, hsdi_type type, const hsdi_tile_limits *limits);
/// Has the type kernels of kind "panels"?
bool hsdi_tile_has_panels(hsdi_type type);
/// Are weights of the type laid out for them, by this table? false also for types without tiles.
bool hsdi_tiles_lay_out(const hsdi_tiles *tiles, hsdi_type type);
/// Every tile fits, and no type is of two orders of sums, or of two layouts.
bool hsdi_tiles_fit(const hsdi_tiles *tiles, const hsdi_tile_limits *limits);
bool hsdi_tile_equals(const hsdi_tile *a, const hsdi_tile *b);

/// "lanes4x1_Q8_0", and what the compiler needs to know of it. Shapes: HSDI_TILE_.._BYTES.
void hsdi_tile_name(const hsdi_tile *tile, hsdi_type type, char *name);
void hsdi_tile_defines(const hsdi_tile *tile, hsdi_type type, char *defines);
/// "lanes4x1/64"; into out [cap].
void hsdi_tile_describe(const hsdi_tile *tile, char *out, size_t cap);
/// Of the kernel's last argument; 0: it has none.
size_t hsdi_tile_local_bytes(const hsdi_tile *tile);
/// Work-items in the first dimension for n_parts matrices of so many channels.
size_t hsdi_tile_width(const hsdi_tile *tile, const int *n_out, int n_parts);

/// The table for a device that was not tuned.
void hsdi_tiles_default(const hsdi_tile_limits *limits, hsdi_tiles *out);

/// As text, a line each; HSDI_TILE_TEXT_BYTES are enough. Returns its length.
size_t hsdi_tiles_write(const hsdi_tiles *tiles, char *out);
/// The same back. false: it is none, in the smallest thing; *out is then not specified.
bool hsdi_tiles_parse(const char *text, size_t n_bytes, hsdi_tiles *out);

/// Tiles worth a measurement, in no order, for weights laid out as the default table has them;
/// int8: also of kind "dot" where `fast_dot` is not set.
///
/// Shapes : out [cap]. Returns their number, also when it exceeds cap.
int hsdi_tile_candidates(const hsdi_tile_limits *limits, hsdi_type type, int i_class, bool int8,
                         hsdi_tile *out, int cap);

/// Fill `tiles` for the other fields: as it was kept, else the default.
void hsdi_tile_set_load(hsdi_tile_set *set);
/// "tuned sizes", "a table of sizes that cannot be used was ignored" or "". Static.
const char *hsdi_tile_set_note(const hsdi_tile_set *set);
/// Keep it for whoever opens such a device next. Errors: HSD_EIO.
HSD_NODISCARD hsd_status hsdi_tile_set_keep(const hsdi_tile_set *set, hsd_error *err);

/// Of a device; NULL: it has none (the CPU's kernels have no such sizes).
hsdi_tile_set *hsdi_device_tiles(hsdi_device *device);

#endif
