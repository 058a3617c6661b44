/// Proves: Philox gives the published known answers; noise is a function of seed, position and
///           token alone; the arena aligns, zeroes and refuses overflow; statuses have names and
///           messages; errors carry place and system text; gates and barriers lose no wake-up.
/// Does not prove: statistical quality of the generator.
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/futex.h"
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    // Source: kat_vectors of Random123, philox4x32 with 10 rounds.
    const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        hsdi_philox(known[i].counter, known[i].key, out);
        assert_memory_equal(out, known[i].out, sizeof out);
    }
}

static void noise_depends_on_seed_position_and_token_alone(void **state)
{
    (void)state;
    float whole[100], part[37], other[100];
    hsdi_gumbel(42, 7, 0, 100, whole);
    hsdi_gumbel(42, 7, 13, 37, part);
    assert_memory_equal(whole + 13, part, sizeof part);
    hsdi_gumbel(42, 8, 0, 100, other);
    assert_memory_not_equal(whole, other, sizeof whole);
    hsdi_gumbel(43, 7, 0, 100, other);
    assert_memory_not_equal(whole, other, sizeof whole);
    for (int i = 0; i < 100; i++) {
        assert_true(isfinite(whole[i]));
    }
}

static void the_arena_aligns_zeroes_and_refuses_overflow(void **state)
{
    (void)state;
    hsdi_arena arena = {0};
    for (size_t n = 1; n < 200000; n = n * 3 + 1) {
        unsigned char *p = hsdi_arena_alloc(&arena, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0);
        }
        memset(p, 0xff, n);
    }
    assert_null(hsdi_arena_array(&arena, SIZE_MAX / 2, 4));
    assert_null(hsdi_arena_alloc(&arena, SIZE_MAX));
    assert_string_equal(hsdi_arena_strndup(&arena, "window", 3), "win");
    hsdi_arena_fini(&arena);
    assert_null(arena.head);
}

static void every_status_has_a_name_and_a_message(void **state)
{
    (void)state;
    assert_string_equal(hsd_status_name(HSD_EVOCAB), "EVOCAB");
    assert_string_equal(hsd_status_name((hsd_status)999), "?");
#define CHECK(code, name, message)                                                                 \
    assert_int_equal(HSD_##name, code);                                                            \
    assert_string_equal(hsd_status_name(HSD_##name), #name);                                       \
    assert_string_equal(hsd_status_message(HSD_##name), message);
    HSD_STATUS_LIST(CHECK)
#undef CHECK
}

static void errors_carry_place_offset_and_system_text(void **state)
{
    (void)state;
    hsd_error err;
    assert_int_equal(hsdi_fail_at(&err, HSD_EFORMAT, "file", 77, "bad %d", 5), HSD_EFORMAT);
    assert_string_equal(err.where, "file");
    assert_string_equal(err.message, "bad 5");
    assert_int_equal(err.byte_offset, 77);
    assert_int_equal(hsdi_fail_errno(&err, HSD_EIO, "f", ENOENT, "open"), HSD_EIO);
    assert_string_equal(err.message, "open: No such file or directory");
    assert_int_equal(err.vendor_code, ENOENT);
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    assert_int_equal(hsdi_fail(&err, HSD_EINVAL, long_text, "%s", long_text), HSD_EINVAL);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(hsdi_fail(NULL, HSD_EINVAL, NULL, "no place for it"), HSD_EINVAL);
}

enum { N_THREADS = 4, N_ROUNDS = 3000 };
static hsdi_barrier barrier;
static int slots[N_THREADS];

static void *meet(void *arg)
{
    int me = (int)(intptr_t)arg;
    for (int i = 1; i <= N_ROUNDS; i++) {
        slots[me] = i;
        hsdi_barrier_wait(&barrier, N_THREADS, i % 3 == 0 ? 0 : 50);
        for (int k = 0; k < N_THREADS; k++) {
            if (slots[k] != i) {
                return arg;
            }
        }
        hsdi_barrier_wait(&barrier, N_THREADS, 0);
    }
    return NULL;
}

static void barriers_lose_no_wake_up(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    for (intptr_t i = 1; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, meet, (void *)i), 0);
    }
    assert_null(meet((void *)0));
    for (int i = 1; i < N_THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static hsdi_gate ping, pong;

/// Several threads add to one gate at once; the answer comes through the other.
static void *add_to_ping(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < N_ROUNDS; i++) {
        hsdi_gate_add(&ping);
        while (hsdi_gate_wait_until(&pong, i, INT64_MAX) == i) {
        }
    }
    return NULL;
}

static void gates_lose_no_wake_up_of_many_and_keep_to_their_deadline(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_to_ping, NULL), 0);
    }
    for (uint32_t i = 0; i < N_ROUNDS; i++) {
        for (uint32_t seen = i * N_THREADS; seen < (i + 1) * N_THREADS;) {
            seen = hsdi_gate_wait_until(&ping, seen, INT64_MAX);
        }
        hsdi_gate_set(&pong, i + 1);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    uint32_t value = N_ROUNDS * N_THREADS;
    int64_t deadline_ns = hsdi_now_ns() + 2000000;
    assert_int_equal(hsdi_gate_wait_until(&ping, value, deadline_ns), value);
    assert_true(hsdi_now_ns() >= deadline_ns);
    assert_int_equal(hsdi_gate_wait_until(&ping, value - 1, 0), value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(noise_depends_on_seed_position_and_token_alone),
        cmocka_unit_test(the_arena_aligns_zeroes_and_refuses_overflow),
        cmocka_unit_test(every_status_has_a_name_and_a_message),
        cmocka_unit_test(errors_carry_place_offset_and_system_text),
        cmocka_unit_test(barriers_lose_no_wake_up),
        cmocka_unit_test(gates_lose_no_wake_up_of_many_and_keep_to_their_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
