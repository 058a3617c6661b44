/// The decision table of attention caches.
#include "topology/cache_layout.h"

const char *hsdi_cache_kind_name(hsdi_cache_kind kind)
{
    static const char *const names[] = {"K+V", "EL", "H", "shared"};
    return names[kind];
}

/// Bytes of n elements; q8_0 has a scale of two bytes for 32.
static int64_t bytes_of(int64_t n, hsd_cache_type type)
{
    return type == HSD_CACHE_F32 ? 4 * n : type == HSD_CACHE_F16 ? 2 * n : n + (n + 31) / 32 * 2;
}

/// EL saves nothing, and is not made, where heads share keys.
static bool has_el(const hsdi_cache_case *l)
{
    return l->positions == HSDI_POSITIONS_OTHER && l->n_kv_heads == l->n_heads && !l->is_cross;
}

hsdi_cache_choice hsdi_cache_make(const hsdi_cache_case *l, hsdi_cache_kind kind,
                                  hsd_cache_type type)
{
    int64_t heads = type == HSD_CACHE_Q8_0 ? bytes_of(l->d_head, type) : 0; // blocks end with them
    int64_t kv = heads > 0 ? 2 * l->n_kv_heads * heads
                           : bytes_of(INT64_C(2) * l->n_kv_heads * l->d_head, type);
    int64_t bytes = kind == HSDI_CACHE_SHARED ? 0
                    : kind == HSDI_CACHE_KV   ? kv
                                              : bytes_of(l->n_embd, type);
    bool is_built =
        type == HSD_CACHE_F32 && (kind == HSDI_CACHE_KV || (kind == HSDI_CACHE_EL && has_el(l)));
    return (hsdi_cache_choice){kind, type, bytes, is_built, 0.0};
}

/// Rows below which EL is faster: operations 4 T n_h D against bytes 2 E b of keys and values, on a
/// device of `beta` operations a byte (T < beta b d n_kv / (2 n_h D), b = 2: f16).
static double rows_for_el(const hsdi_cache_case *l)
{
    if (l->gops <= 0.0 || l->read_gbps <= 0.0 || 2 * l->n_kv_heads * l->d_head <= l->n_embd) {
        return 0.0;
    }
    double beta = l->gops / l->read_gbps;
    return beta * 2.0 * l->d_head * l->n_kv_heads / (2.0 * l->n_heads * l->n_embd);
}

hsdi_cache_choice hsdi_cache_layout(const hsdi_cache_case *l)
{
    bool kv_is_smallest = 2 * l->n_kv_heads * l->d_head <= l->n_embd;
    double most_rows = rows_for_el(l);
    bool el_is_faster = l->n_rows < most_rows;
    hsdi_cache_kind kind = HSDI_CACHE_KV;
    hsd_cache_type type = HSD_CACHE_F16;
    if (l->shares_other_layer) {
        kind = HSDI_CACHE_SHARED;
    } else if (l->is_cross) {
        kind = el_is_faster || l->is_memory_short ? HSDI_CACHE_EL : HSDI_CACHE_KV;
    } else if (kv_is_smallest) {
        type = l->is_memory_short || l->is_parked ? HSD_CACHE_Q8_0 : HSD_CACHE_F16;
    } else if (l->positions == HSDI_POSITIONS_ROTARY) {
        kind = l->is_parked ? HSDI_CACHE_H : HSDI_CACHE_KV;
        type = HSD_CACHE_Q8_0;
    } else if (el_is_faster || l->is_memory_short) {
        kind = HSDI_CACHE_EL;
    }
    hsdi_cache_choice choice = hsdi_cache_make(l, kind, type);
    choice.most_rows = l->positions == HSDI_POSITIONS_ROTARY && !l->is_cross ? 0.0 : most_rows;
    return choice;
}

hsdi_cache_choice hsdi_cache_built(const hsdi_cache_case *l)
{
    hsdi_cache_kind kind = hsdi_cache_layout(l).kind;
    return hsdi_cache_make(l, kind == HSDI_CACHE_EL && has_el(l) ? kind : HSDI_CACHE_KV, l->type);
}
