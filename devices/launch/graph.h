/// Graphs as a flat list of launches of kernels, for any driver (devices/launch/driver.h).
///
/// A launch is a kernel of its own with its arguments set when the graph is compiled; what a
/// submission changes is the number of rows and, for the two kinds that meet a cache, whose cache.
/// Rows of several jobs lie one behind the other. A table tells the kernels what a row is: its
/// token, position and cell, and where its trunk and path begin (kernels/opencl/source.h).
#ifndef HSDI_DEVICES_LAUNCH_GRAPH_H
#define HSDI_DEVICES_LAUNCH_GRAPH_H

#include "base/arena.h"
#include "devices/launch/buffer.h"

/// A product by the tile for one class of rows.
typedef struct hsdi_launch_product {
    hsdi_launch_kernel *kernel; ///< may be that of another class as well
    hsdi_tile tile;
    size_t width;
} hsdi_launch_product;

typedef struct hsdi_launch {
    hsdi_launch_kernel *kernel; ///< one work-item (or group) per row in the second dimension
    size_t width;               ///< work-items in the first dimension
    int n_products;             ///< classes of rows; 0: no product, else `kernel` is NULL
    hsdi_launch_product products[HSDI_TILE_CLASSES];
    int n_external; ///< arguments that are the jobs' rows
    struct {
        unsigned arg;
        int value; ///< HSDI_VALUE_IN or HSDI_VALUE_OUT
    } external[2];
    unsigned arg;    ///< first argument that is set per submission
    int n_tile_rows; ///< rows of a work-item, which wants to know how many there are; 0: one, no
    int layer;       ///< of the cache; -1: has nothing to do with it
    int n_split;     ///< launches behind it that may take its place, for what it does by chunks
} hsdi_launch;

/// Launches kept for submissions of one shape.
typedef struct hsdi_launch_kept {
    hsdi_launch_record *record; ///< owned; NULL: not used yet
    int n_key;                  ///< 0: what is in `record` is of no use
    int64_t *key;               ///< [4 + 3 n_rows_max]
    int64_t used;               ///< n_runs of the last use
} hsdi_launch_kept;

enum { HSDI_LAUNCH_N_KEPT = 8 }; ///< per graph: row counts and sessions that take turns

typedef struct hsdi_launch_graph {
    struct hsdi_graph base;
    hsdi_launch_device *device;
    hsdi_arena arena;
    hsdi_heads heads;
    int n_launches, n_values;
    hsdi_launch *launches;
    int *width;                   ///< [n_values]
    hsdi_launch_memory **value;   ///< [n_values] -> [n_rows_max, width]
    hsdi_launch_memory *in, *out; ///< external rows of all jobs; NULL: not used
    hsdi_launch_memory *prepared; ///< [n_rows_max, widest]: rows between `pre` and product
    hsdi_launch_memory *packed;   ///< [n_rows_max, widest / 32, 10 words]: the same in 8 bits
    hsdi_launch_memory
        *parts; ///< [n_rows_max, widest]: lists of chunks, of one operation at a time
    hsdi_launch_memory *chunks;             ///< what chunks of attention leave for `attn_join`
    hsdi_launch_memory *rope_table, *table; ///< [n_ctx, n_rot]; see `host`
    int32_t *host;                 ///< [HSDI_JOB_INTS n_rows_max + cells] as sent to `table`
    float *in_host, *out_host;     ///< `in` and `out` where the device shares memory with the host
    size_t prepared_width, n_ints; ///< of `prepared` and `host`
    size_t n_mapped;               ///< ints of `host` that the host may write now
    bool table_away, in_away, out_away;       ///< the device has them
    hsdi_launch_memory *bound_in, *bound_out; ///< what kernels have as external rows
    int64_t n_runs;
    int64_t *key; ///< of the submission
    hsdi_launch_kept kept[HSDI_LAUNCH_N_KEPT];
} hsdi_launch_graph;

/// Arguments of a kernel in their order; the first failure stays in `status`.
typedef struct hsdi_launch_args {
    hsdi_launch_device *device;
    hsdi_launch_kernel *kernel;
    hsdi_launch *launch; ///< learns which arguments are external rows
    unsigned n;
    hsd_status status;
    hsd_error *err;
} hsdi_launch_args;

void hsdi_launch_arg(hsdi_launch_args *a, size_t size_bytes, const void *value);
void hsdi_launch_arg_int(hsdi_launch_args *a, int value);
void hsdi_launch_arg_memory(hsdi_launch_args *a, hsdi_launch_memory *memory);

/// Columns that a product sees of its rows.
int hsdi_launch_n_in(const hsdi_op *op);

/// Does a product of this type take its rows in 8 bits?
bool hsdi_launch_is_packed(const hsdi_launch_device *device, hsdi_type type);

/// Bytes of what the chunks of attention leave; 0: it is not cut.
size_t hsdi_launch_chunk_bytes(const hsdi_launch_graph *g, const hsdi_heads *heads,
                               const hsdi_op *op);

/// Floats per row of what HSDI_OP_TOP and HSDI_OP_DRAW keep between their launches; 0 for others.
size_t hsdi_launch_parts_width(const hsdi_op *op);

/// The launches of one operation, behind those that are there.
HSD_NODISCARD hsd_status hsdi_launch_add(hsdi_launch_graph *g, const hsdi_op *op, hsd_error *err);

// The functions of hsdi_backend.
hsd_status hsdi_launch_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                     const struct hsdi_graph *shape, hsdi_graph **out,
                                     hsd_error *err);
void hsdi_launch_graph_destroy(hsdi_graph *graph);
hsd_status hsdi_launch_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs,
                                 hsd_error *err);

#endif
