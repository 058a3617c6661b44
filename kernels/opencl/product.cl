// Which products a program has: the one that PRODUCT_.. ask for, or, without them (SPIR-V, for
// Level Zero), the ones below, which hsdi_tile_is_built (devices/tiles.c) repeats.
#ifdef PRODUCT_KIND
#define PRODUCT_OF(kind, type, rows, wide) kind##_##type(rows, wide)
#define PRODUCT(kind, type, rows, wide) PRODUCT_OF(kind, type, rows, wide)
PRODUCT(PRODUCT_KIND, PRODUCT_TYPE, PRODUCT_ROWS, PRODUCT_WIDE)
#else
#define BUILT(TYPE)                                                                                \
    ITEM_##TYPE(1, 1) ITEM_##TYPE(1, 2) ITEM_##TYPE(4, 2) ITEM_##TYPE(8, 1) ITEM_##TYPE(8, 2)      \
    LANES_##TYPE(1, 1) LANES_##TYPE(4, 1) LANES_##TYPE(8, 1)
#define BUILT_DOT(TYPE) DOT_##TYPE(1, 1) DOT_##TYPE(4, 1) DOT_##TYPE(8, 1)
BUILT(F32)
BUILT(F16)
BUILT(BF16)
BUILT(Q8_0)
BUILT(Q4_0)
BUILT(Q4_K)
BUILT(Q5_K)
BUILT(Q6_K)
BUILT_DOT(Q8_0)
BUILT_DOT(Q4_0)
BUILT_DOT(Q4_K)
BUILT_DOT(Q5_K)
BUILT_DOT(Q6_K)
#endif
