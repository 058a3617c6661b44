/// Which attention cache a layer should have: a pure table, input of plans.
#ifndef HSDI_TOPOLOGY_CACHE_LAYOUT_H
#define HSDI_TOPOLOGY_CACHE_LAYOUT_H

#include <hsd/cache.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum hsdi_cache_kind {
    HSDI_CACHE_KV,     ///< keys and values
    HSDI_CACHE_EL,     ///< the layer's input, absorbed into the products (EL-attention)
    HSDI_CACHE_H,      ///< the layer's input, keys and values made again from it
    HSDI_CACHE_SHARED, ///< another layer's
} hsdi_cache_kind;

typedef enum hsdi_positions {
    HSDI_POSITIONS_ROTARY, ///< between the query and key products: absorbing keys would be wrong
    HSDI_POSITIONS_OTHER,  ///< absolute, additive biases, ALiBi, none
} hsdi_positions;

/// A layer, the rows that share a prefix, and the device.
typedef struct hsdi_cache_case {
    int n_embd, n_heads, n_kv_heads, d_head;
    hsdi_positions positions;
    bool is_cross;           ///< cross-attention: one text for all layers
    bool shares_other_layer; ///< its keys and values are another layer's
    bool is_parked;          ///< a sequence that waits
    bool is_memory_short;    ///< smaller is worth more than faster
    hsd_cache_type type;     ///< in which it is built: hsdi_cache_built
    int n_rows;              ///< that share the prefix: window and tree rows of a pass
    double gops, read_gbps;  ///< of the device; either 0: not known, taken for a CPU core
} hsdi_cache_case;

typedef struct hsdi_cache_choice {
    hsdi_cache_kind kind;
    hsd_cache_type type;
    int64_t token_bytes; ///< of one token in one layer
    bool is_built;       ///< hsd has it
    double most_rows;    ///< EL is faster than keys and values below so many rows; 0: never
} hsdi_cache_choice;

/// What the decision table says, whether it is built or not.
///
/// Source : arXiv:2105.04779; the limits follow from time = max(bytes / bandwidth, work / rate).
/// Thread : pure.
hsdi_cache_choice hsdi_cache_layout(const hsdi_cache_case *layer);

/// What is chosen: the table's where hsd has it, else keys and values, in the case's type. Missing
/// are layers that share a cache, cross-attention, and inputs kept for parked sequences of rotary
/// models.
hsdi_cache_choice hsdi_cache_built(const hsdi_cache_case *layer);

/// A layout and type for this layer, whatever the table says: their bytes, and whether hsd has it.
hsdi_cache_choice hsdi_cache_make(const hsdi_cache_case *layer, hsdi_cache_kind kind,
                                  hsd_cache_type type);

const char *hsdi_cache_kind_name(hsdi_cache_kind kind); ///< "K+V"

#endif
