/// Graph descriptions: what a range of layers computes, for any backend.
///
/// A description is a flat list of operations in the order of execution. Operands are *values*,
/// row buffers [n_rows, width] of f32, of which an operation may name a range of columns.
#ifndef HSDI_DEVICES_GRAPH_H
#define HSDI_DEVICES_GRAPH_H

#include <hsd/cache.h>
#include <stdbool.h>
#include <stdint.h>

enum { HSDI_GRAPH_MAX_PARTS = 3 };

/// Tokens in a list of HSDI_OP_TOP or _DRAW at most, and among how many: their numbers are exact in
/// f32.
enum { HSDI_TOP_LIST_MAX = 64, HSDI_TOP_TOKENS_MAX = 1 << 24 };

/// Columns [offset, offset + width) of a value.
typedef struct hsdi_view {
    int value; ///< index into hsdi_graph_desc.value_width, or one of the two below
    int offset;
    int width;
} hsdi_view;

/// Values that live outside the graph: the job's `in` and `out` buffers.
enum { HSDI_VALUE_IN = -1, HSDI_VALUE_OUT = -2 };

/// What a layer keeps of a token.
typedef enum hsdi_layout {
    HSDI_LAYOUT_KV = 0, ///< key and value
    HSDI_LAYOUT_EL = 1, ///< its normed input, which is key and value of every head (EL-attention)
} hsdi_layout;

typedef enum hsdi_op_kind {
    HSDI_OP_EMBED = 0,     ///< y = row tokens[r] of parts[0].w
    HSDI_OP_EMBED_POS = 1, ///< y += row pos[r] of parts[0].w
    HSDI_OP_MATMUL = 2,    ///< y[part columns] (+)= pre(x) W^T + bias, for each part
    HSDI_OP_HEAD_NORM = 3, ///< y = RMS norm of each head of d_head columns, in place
    HSDI_OP_ROPE = 4,      ///< rotate the heads of y in place by pos[r]
    HSDI_OP_STORE = 5,     ///< cache[layer] at cell[r]: k = x, v = y; EL: x, and y is x
    HSDI_OP_ATTN = 6,      ///< y = attention of x over cache[layer]; EL: n_head heads, each as wide
                           ///< as the layer's input
    HSDI_OP_COPY = 7,      ///< y = x
    HSDI_OP_TOP = 8,       ///< y = the list of the largest of x, see hsdi_top_width
    HSDI_OP_DRAW = 9,      ///< y = the list of the best of x by hsdi_job.draws, see devices/draw.h;
                           ///< x is overwritten. At most one in a graph
    HSDI_OP_NORM = 10,     ///< y = pre(x), one of the norms
    HSDI_OP_HEADS = 11,    ///< head i of y = head i of x times matrix i of parts[0].w, transposed,
                           ///< + bias: n_head products that share nothing
    HSDI_N_OPS = 12,
} hsdi_op_kind;

/// What is done to a row before it enters a product.
typedef enum hsdi_pre {
    HSDI_PRE_NONE = 0,
    HSDI_PRE_RMS_NORM = 1,   ///< norm_w, eps
    HSDI_PRE_LAYER_NORM = 2, ///< norm_w, norm_b, eps
    HSDI_PRE_GELU = 3,       ///< tanh approximation
    HSDI_PRE_SILU_MUL = 4,   ///< x holds [gate | up]; the product sees width/2 columns
    HSDI_N_PRES = 5,
} hsdi_pre;

/// Columns of a list of the n largest of a row x, which is what HSDI_OP_TOP makes: n times (value,
/// column of x), largest first, the lower column first among equals; then, where it is wanted, the
/// sum of exp(x[i] - largest) over the row: log-probabilities are value - largest - log(sum).
///
/// NaN and -inf are never listed: a list cut short goes on with (-inf, -1). The sum is 0 where all
/// are -inf, and NaN where one is NaN or +inf. Columns are whole numbers in f32.
static inline int hsdi_top_width(int n, bool with_sum)
{
    return 2 * n + with_sum;
}

struct hsdi_weight;

typedef struct hsdi_part {
    const struct hsdi_weight *w;
    const struct hsdi_weight *bias; ///< NULL: none
    int y_offset;                   ///< first column of y, relative to the view
} hsdi_part;

/// Attention and rotation geometry.
typedef struct hsdi_heads {
    int n_head, n_kv, d_head;
    int n_rot; ///< 0: no rotation
    bool neox;
    float scale;              ///< of q.k
    float rope_mscale;        ///< factor on cos and sin, usually 1
    const double *rope_freqs; ///< [n_rot/2] angle per position; borrowed until compiled
} hsdi_heads;

typedef struct hsdi_op {
    hsdi_op_kind kind;
    hsdi_view x, y;
    hsdi_pre pre;
    const struct hsdi_weight *norm_w, *norm_b;
    float eps;
    int n_parts;
    hsdi_part parts[HSDI_GRAPH_MAX_PARTS];
    bool accumulate;
    int layer;          ///< index into the cache
    hsdi_layout layout; ///< of that layer: STORE and ATTN
    int n_head; ///< HEAD_NORM, ROPE and HEADS: heads in y; ATTN of a layer of HSDI_LAYOUT_EL: in x
    int n_top;  ///< DRAW: tokens in the list
} hsdi_op;

typedef struct hsdi_graph_desc {
    const char *name; ///< for messages
    int n_rows_max;
    int n_values;
    const int *value_width;  ///< [n_values]
    int in_width, out_width; ///< of the external buffers; 0: not used
    int n_ops;
    const hsdi_op *ops;
    hsdi_heads heads;
    hsd_cache_type cache_type; ///< of the caches that it stores to or attends over
    int n_vocab;               ///< tokens are checked against it; 0: tokens not used
    int n_ctx;                 ///< positions are checked against it
} hsdi_graph_desc;

#endif
