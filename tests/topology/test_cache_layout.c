/// Proves: the decision table of attention caches gives what it says, case by case, and what is
/// built is chosen as built. Does not prove: that a layout is as fast as the table says.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <topology/cache_layout.h>

#include <cmocka.h>

/// GPT-2: as many heads of keys as of queries (2E > D). Llama-3-8B: grouped (2E <= D).
static const hsdi_cache_case gpt2 = {.n_embd = 768,
                                     .n_heads = 12,
                                     .n_kv_heads = 12,
                                     .d_head = 64,
                                     .positions = HSDI_POSITIONS_OTHER,
                                     .n_rows = 1};
static const hsdi_cache_case grouped = {.n_embd = 4096,
                                        .n_heads = 32,
                                        .n_kv_heads = 8,
                                        .d_head = 128,
                                        .positions = HSDI_POSITIONS_ROTARY,
                                        .n_rows = 1};

/// An H100 by its data sheet: 989 tera-operations in f16, 3.35 TB/s.
static hsdi_cache_case on_gpu(hsdi_cache_case layer, int n_rows)
{
    layer.gops = 989e3;
    layer.read_gbps = 3350;
    layer.n_rows = n_rows;
    return layer;
}

/// A core of Zen 4: 115 GFLOP/s, 27 GB/s.
static hsdi_cache_case on_core(hsdi_cache_case layer, int n_rows)
{
    layer.gops = 115;
    layer.read_gbps = 27;
    layer.n_rows = n_rows;
    return layer;
}

static void grouped_heads_keep_keys_and_values(void **state)
{
    (void)state;
    hsdi_cache_case l = on_gpu(grouped, 1);
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    assert_int_equal(hsdi_cache_layout(&l).type, HSD_CACHE_F16);
    assert_int_equal(hsdi_cache_layout(&l).token_bytes, 2 * 8 * 128 * 2);
    l.is_memory_short = true;
    assert_int_equal(hsdi_cache_layout(&l).type, HSD_CACHE_Q8_0);
    l.positions = HSDI_POSITIONS_OTHER;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
}

static void absorbing_is_for_devices_with_arithmetic_to_spare(void **state)
{
    (void)state;
    hsdi_cache_case l = on_gpu(gpt2, 1);
    hsdi_cache_choice c = hsdi_cache_layout(&l);
    assert_int_equal(c.kind, HSDI_CACHE_EL);
    assert_int_equal(c.token_bytes, 768 * 2);
    // beta b / 2 rows times heads: 295 / 12.
    assert_true(c.most_rows > 24.0 && c.most_rows < 25.0);
    l.n_rows = 32;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    l = on_core(gpt2, 1);
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    assert_true(hsdi_cache_layout(&l).most_rows < 1.0);
    l.is_memory_short = true;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_EL);
}

static void rotary_positions_forbid_absorbing(void **state)
{
    (void)state;
    hsdi_cache_case l = on_gpu(gpt2, 1);
    l.positions = HSDI_POSITIONS_ROTARY;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    assert_int_equal(hsdi_cache_layout(&l).type, HSD_CACHE_Q8_0);
    l.is_memory_short = true;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    l.is_parked = true;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_H);
    assert_int_equal(hsdi_cache_layout(&l).token_bytes, 768 + 24 * 2);
}

static void shared_and_crossed_caches_have_their_own_rows(void **state)
{
    (void)state;
    hsdi_cache_case l = on_gpu(gpt2, 1);
    l.is_cross = true;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_EL);
    l = on_core(l, 4);
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_KV);
    l.shares_other_layer = true;
    assert_int_equal(hsdi_cache_layout(&l).kind, HSDI_CACHE_SHARED);
    assert_int_equal(hsdi_cache_layout(&l).token_bytes, 0);
}

static void what_is_built_is_the_tables_choice_or_keys_and_values(void **state)
{
    (void)state;
    int n_el = 0;
    for (int i = 0; i < 128; i++) {
        hsdi_cache_case l = i & 1 ? gpt2 : grouped;
        l.is_memory_short = i & 2;
        l.is_parked = i & 4;
        l.is_cross = i & 8;
        l.shares_other_layer = i & 16;
        l.positions = i & 64 ? HSDI_POSITIONS_ROTARY : HSDI_POSITIONS_OTHER;
        l = i & 32 ? on_gpu(l, 1) : on_core(l, 1);
        hsdi_cache_choice wanted = hsdi_cache_layout(&l), built = hsdi_cache_built(&l);
        bool el = wanted.kind == HSDI_CACHE_EL && !l.is_cross && !(i & 64);
        assert_true(built.is_built);
        assert_int_equal(built.kind, el ? HSDI_CACHE_EL : HSDI_CACHE_KV);
        assert_int_equal(built.type, l.type);
        assert_int_equal(built.token_bytes,
                         4 * (el ? l.n_embd : INT64_C(2) * l.n_kv_heads * l.d_head));
        n_el += el;
    }
    assert_true(n_el > 0);
}

static void el_is_exactly_half_of_square_heads_in_every_type(void **state)
{
    (void)state;
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        hsdi_cache_choice kv = hsdi_cache_make(&gpt2, HSDI_CACHE_KV, (hsd_cache_type)type);
        hsdi_cache_choice el = hsdi_cache_make(&gpt2, HSDI_CACHE_EL, (hsd_cache_type)type);
        assert_int_equal(kv.token_bytes, 2 * el.token_bytes);
    }
}

static void el_is_not_built_where_it_is_wrong_or_saves_nothing(void **state)
{
    (void)state;
    hsdi_cache_case l = gpt2;
    assert_true(hsdi_cache_make(&l, HSDI_CACHE_EL, HSD_CACHE_F32).is_built);
    l.positions = HSDI_POSITIONS_ROTARY;
    assert_false(hsdi_cache_make(&l, HSDI_CACHE_EL, HSD_CACHE_F32).is_built);
    l = gpt2;
    l.n_kv_heads = 4;
    assert_false(hsdi_cache_make(&l, HSDI_CACHE_EL, HSD_CACHE_F32).is_built);
    assert_false(hsdi_cache_make(&gpt2, HSDI_CACHE_H, HSD_CACHE_F32).is_built);
    assert_false(hsdi_cache_make(&gpt2, HSDI_CACHE_SHARED, HSD_CACHE_F32).is_built);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grouped_heads_keep_keys_and_values),
        cmocka_unit_test(absorbing_is_for_devices_with_arithmetic_to_spare),
        cmocka_unit_test(rotary_positions_forbid_absorbing),
        cmocka_unit_test(shared_and_crossed_caches_have_their_own_rows),
        cmocka_unit_test(what_is_built_is_the_tables_choice_or_keys_and_values),
        cmocka_unit_test(el_is_exactly_half_of_square_heads_in_every_type),
        cmocka_unit_test(el_is_not_built_where_it_is_wrong_or_saves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
