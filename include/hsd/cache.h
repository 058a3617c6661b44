/// @file cache.h
/// What a session keeps of the tokens behind it.
#ifndef HSD_CACHE_H
#define HSD_CACHE_H

#include <hsd/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/// How cached numbers are stored. Scores and sums are in f32 for all of them.
typedef enum hsd_cache_type {
    HSD_CACHE_F32 = 0,  ///< as computed
    HSD_CACHE_F16 = 1,  ///< half of the bytes
    HSD_CACHE_Q8_0 = 2, ///< per head, blocks of 32 in 8 bits with a scale in f16: a quarter
    HSD_N_CACHE_TYPES = 3,
} hsd_cache_type;

/// What a layer keeps of a token.
typedef enum hsd_cache_layout {
    HSD_CACHE_LAYOUT_AUTO = 0, ///< keys and values; the layer's input on devices with arithmetic to
                               ///< spare, and in as many layers as needed where memory is bounded
    HSD_CACHE_LAYOUT_KV = 1,   ///< its key and value
    HSD_CACHE_LAYOUT_EL = 2,   ///< its normed input, which is half as large and stands for the keys
                               ///< and values of all heads (arXiv:2105.04779): models without
                               ///< rotary positions, more arithmetic
    HSD_N_CACHE_LAYOUTS = 3,
} hsd_cache_layout;

HSD_API const char *hsd_cache_layout_name(hsd_cache_layout layout); ///< "el"; "?" if unknown
HSD_API const char *hsd_cache_type_name(hsd_cache_type type);       ///< "q8_0"; "?" if unknown

#ifdef __cplusplus
}
#endif

#endif
