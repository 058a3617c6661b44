/// Proves: texts that begin alike name the same cells, and no cell that a text needs is ever
///           written again, over random texts of several users that grow, branch, are cut, kept and
///           begun again, one by one and on threads; what is promised can be taken, whatever is
///           kept; texts used longest ago are forgotten for it, or where the room for them gets
///           smaller; scattered beginnings are taken as far as the promise allows; everything is
///           given back. What is discarded, meanwhile, is needed by nobody, and no more than was
///           said stays idle.
/// Does not prove: what stages store in cells.
///
/// HSD_TEST_SEED draws other texts.
#include "base/rng.h"

#include <pipelines/cells.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_CTX = 200, N_EXTRA = 70, N_CELLS = N_CTX + N_EXTRA, N_USERS = 5, N_ACTIONS = 400 };
enum { N_SPLITS = 3 }; ///< different tokens at a position: few, so that texts begin alike

static uint64_t seed;

/// What is written in cells: the text up to there, as a hash. Threads that write a cell which
/// others read are seen by ThreadSanitizer.
typedef struct memory {
    uint64_t *hash;
    int n_discarded; ///< blocks; guarded by the set
} memory;

typedef struct user {
    hsdi_cells cells;
    hsdi_blocks *blocks;
    memory *memory;
    uint32_t purpose;
    int64_t n_drawn;
    int32_t text[N_CTX];
    int n_text;
    int n_found; ///< tokens that it did not write itself
    char wrong[160];
} user;

static int draw(user *u, int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, u->n_drawn++, u->purpose) * (high - low + 1));
}

static uint64_t mix(uint64_t hash, int32_t token)
{
    hash = (hash ^ (uint64_t)(token + 1)) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static void complain(user *u, const char *what, int value, int other)
{
    if (!u->wrong[0]) {
        snprintf(u->wrong, sizeof u->wrong, "%s: %d, %d", what, value, other);
    }
}

/// Every position of the trunk holds its text.
static uint64_t check_trunk(user *u)
{
    uint64_t hash = 0;
    for (int i = 0; i < u->cells.n_trunk; i++) {
        hash = mix(hash, u->text[i]);
        if (u->memory->hash[u->cells.trunk[i]] != hash) {
            complain(u, "a cell was written again: position, cell", i, u->cells.trunk[i]);
        }
    }
    if (u->cells.n_held > hsdi_blocks_needed(N_CELLS, N_CTX)) {
        complain(u, "more blocks than promised", u->cells.n_held, N_CELLS);
    }
    return hash;
}

/// A few cells are written; some of them, spread over the others, go on the trunk.
static void grow(user *u)
{
    int32_t taken[N_EXTRA];
    uint64_t hash = check_trunk(u);
    int n = draw(u, 1, draw(u, 0, 3) == 0 ? N_EXTRA : 8), n_new = 0;
    for (int i = 0; i < n; i++) {
        taken[i] = hsdi_cells_take(&u->cells);
        if (taken[i] < 0) {
            complain(u, "no cell, though so many are free", u->cells.n_free, i);
            return;
        }
        u->memory->hash[taken[i]] = (uint64_t)i; // of no text
    }
    for (int i = 0; i < n; i++) {
        bool stays = draw(u, 0, 2) > 0 && u->cells.n_trunk < N_CTX - 1;
        if (stays) {
            int32_t token = draw(u, 0, N_SPLITS - 1) == 0 ? draw(u, 0, 1) : 2;
            u->text[u->cells.n_trunk] = token;
            hash = mix(hash, token);
            u->memory->hash[taken[i]] = hash;
            hsdi_cells_push(&u->cells, taken[i]);
        } else {
            taken[n_new++] = taken[i];
        }
    }
    while (n_new > 0) {
        hsdi_cells_give(&u->cells, taken[--n_new]);
    }
    (void)check_trunk(u);
}

static void begin(user *u)
{
    int32_t next[N_CTX];
    int n = draw(u, 0, N_CTX - 1);
    bool is_found;
    for (int i = 0; i < n; i++) {
        bool is_old = i < u->cells.n_trunk && draw(u, 0, 60) > 0;
        next[i] = is_old ? u->text[i] : draw(u, 0, 30) == 0 ? draw(u, 0, 1) : 2;
    }
    int n_had = hsdi_cells_begin(&u->cells, u->text, next, n, &is_found);
    memcpy(u->text, next, (size_t)n * sizeof *next);
    u->n_found += is_found ? n_had : 0;
    if (n_had > n || n_had != u->cells.n_trunk || u->cells.n_free != N_CELLS - n_had) {
        complain(u, "trunk and free cells", n_had, u->cells.n_free);
    }
    (void)check_trunk(u);
}

static void *act(void *arg)
{
    user *u = arg;
    for (int i = 0; i < N_ACTIONS && !u->wrong[0]; i++) {
        int what = draw(u, 0, 9);
        if (what < 6) {
            grow(u);
        } else if (what < 8) {
            begin(u);
        } else if (what == 8) {
            hsdi_cells_keep(&u->cells, u->text);
        } else if (draw(u, 0, 3) == 0) {
            hsdi_cells_reset(&u->cells);
        } else {
            hsdi_cells_truncate(&u->cells, draw(u, 0, N_CTX));
        }
    }
    (void)check_trunk(u);
    return NULL;
}

enum { N_IDLE_MOST = 6 };

static void discard(void *arg, int first, int n)
{
    memory *m = arg;
    m->n_discarded += n;
    for (int i = first * HSDI_BLOCK_CELLS; i < (first + n) * HSDI_BLOCK_CELLS; i++) {
        m->hash[i] = UINT64_MAX;
    }
}

static hsdi_blocks *blocks_new(int n_blocks, int n_kept_most, _Atomic int64_t *room, memory *m)
{
    hsdi_blocks *blocks = NULL;
    const hsdi_blocks_config config = {.n_blocks = n_blocks,
                                       .shares = true,
                                       .n_kept_most = n_kept_most,
                                       .room_bytes = room,
                                       .block_bytes = 10,
                                       .discard = m ? discard : NULL,
                                       .user = m,
                                       .n_idle_most = N_IDLE_MOST};
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_OK);
    return blocks;
}

static void users_open(user *users, int n, hsdi_blocks *blocks, memory *m)
{
    int n_needed = hsdi_blocks_needed(N_CELLS, N_CTX);
    for (int i = 0; i < n; i++) {
        users[i] = (user){.blocks = blocks, .memory = m, .purpose = (uint32_t)i};
        assert_true(hsdi_blocks_promise(blocks, n_needed));
        assert_int_equal(hsdi_cells_init(&users[i].cells, N_CELLS, N_CTX, blocks), HSD_OK);
    }
}

static void users_close(user *users, int n, hsdi_blocks *blocks)
{
    int n_found = 0;
    for (int i = 0; i < n; i++) {
        if (users[i].wrong[0]) {
            fail_msg("seed %llu, user %d: %s", (unsigned long long)seed, i, users[i].wrong);
        }
        n_found += users[i].n_found;
        hsdi_cells_fini(&users[i].cells);
        hsdi_blocks_release(blocks, hsdi_blocks_needed(N_CELLS, N_CTX));
    }
    assert_true(n_found > 0);
    hsdi_blocks_counts counts;
    hsdi_blocks_count(blocks, &counts);
    assert_int_equal(counts.n_free + counts.n_kept, counts.n_blocks);
    assert_int_equal(counts.n_promised, 0);
    bool discards = users[0].memory->n_discarded > 0;
    assert_true(!discards || counts.n_idle <= N_IDLE_MOST);
    hsdi_blocks_forget(blocks);
    hsdi_blocks_count(blocks, &counts);
    assert_int_equal(counts.n_free, counts.n_blocks);
    assert_true(!discards || counts.n_idle <= N_IDLE_MOST);
    assert_int_equal(counts.n_texts, 0);
}

/// No block more than is promised: everything kept must give way.
static void random_texts_share_cells_and_never_lose_one(void **state)
{
    (void)state;
    int n_blocks = N_USERS * hsdi_blocks_needed(N_CELLS, N_CTX);
    memory m = {.hash = calloc((size_t)n_blocks * HSDI_BLOCK_CELLS, sizeof *m.hash)};
    for (int round = 0; round < 20; round++) {
        _Atomic int64_t room = round % 2 == 0 ? INT64_MAX / 2 : 200;
        hsdi_blocks *blocks = blocks_new(n_blocks, round % 3 == 0 ? 5 : n_blocks, &room, &m);
        user users[N_USERS];
        users_open(users, N_USERS, blocks, &m);
        for (int i = 0; i < N_USERS; i++) {
            users[i].purpose += (uint32_t)(100 * (round + 1));
        }
        for (int turn = 0; turn < 5; turn++) {
            for (int i = 0; i < N_USERS; i++) {
                (void)act(&users[i]);
            }
        }
        users_close(users, N_USERS, blocks);
        assert_true(atomic_load(&room) == (round % 2 == 0 ? INT64_MAX / 2 : 200));
        hsdi_blocks_destroy(&blocks);
        assert_true(m.n_discarded > 0);
        m.n_discarded = 0;
    }
    free(m.hash);
}

static void the_same_holds_on_threads(void **state)
{
    (void)state;
    int n_blocks = N_USERS * hsdi_blocks_needed(N_CELLS, N_CTX);
    memory m = {.hash = calloc((size_t)n_blocks * HSDI_BLOCK_CELLS, sizeof *m.hash)};
    hsdi_blocks *blocks = blocks_new(n_blocks, n_blocks, NULL, &m);
    user users[N_USERS];
    pthread_t threads[N_USERS];
    users_open(users, N_USERS, blocks, &m);
    for (int i = 0; i < N_USERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, act, &users[i]), 0);
    }
    for (int i = 0; i < N_USERS; i++) {
        pthread_join(threads[i], NULL);
    }
    users_close(users, N_USERS, blocks);
    hsdi_blocks_destroy(&blocks);
    free(m.hash);
}

/// A user with n tokens 0, 1, 2, .. on its trunk, of which every `step`-th cell was taken for it.
static void write_text(user *u, int n, int step)
{
    bool is_found;
    for (int i = 0; i < N_CTX; i++) {
        u->text[i] = i;
    }
    assert_int_equal(hsdi_cells_begin(&u->cells, u->text, u->text, 0, &is_found), 0);
    for (int i = 0; i < n; i++) {
        int32_t taken[8];
        for (int k = 0; k < step; k++) {
            taken[k] = hsdi_cells_take(&u->cells);
        }
        hsdi_cells_push(&u->cells, taken[0]);
        for (int k = 1; k < step && k < 8; k++) {
            hsdi_cells_give(&u->cells, taken[k]);
        }
    }
}

static void a_found_block_is_not_written_and_its_owner_goes_on_behind_it(void **state)
{
    (void)state;
    memory m = {.hash = calloc(4096, sizeof *m.hash)};
    hsdi_blocks *blocks = blocks_new(100, 100, NULL, NULL);
    user users[2];
    bool is_found;
    users_open(users, 2, blocks, &m);
    write_text(&users[0], 40, 1); // a block and 8 cells
    hsdi_cells_keep(&users[0].cells, users[0].text);
    memcpy(users[1].text, users[0].text, sizeof users[1].text);
    assert_int_equal(hsdi_cells_begin(&users[1].cells, users[1].text, users[1].text, 37, &is_found),
                     37);
    assert_true(is_found);
    assert_memory_equal(users[1].cells.trunk, users[0].cells.trunk, 37 * sizeof(int32_t));
    int32_t mine = hsdi_cells_take(&users[1].cells), its = hsdi_cells_take(&users[0].cells);
    assert_true(mine / HSDI_BLOCK_CELLS != users[0].cells.trunk[36] / HSDI_BLOCK_CELLS);
    assert_int_equal(its, users[0].cells.trunk[39] + 1);
    hsdi_cells_give(&users[1].cells, mine);
    hsdi_cells_give(&users[0].cells, its);

    // The owner is cut back: what the other one reads stays.
    hsdi_cells_truncate(&users[0].cells, 33);
    for (int i = 0; i < 30; i++) {
        int32_t cell = hsdi_cells_take(&users[0].cells);
        for (int k = 0; k < 37; k++) {
            assert_true(cell != users[1].cells.trunk[k]);
        }
    }
    hsdi_cells_reset(&users[0].cells);
    users[0].n_found = 1;
    users_close(users, 2, blocks);
    hsdi_blocks_destroy(&blocks);
    free(m.hash);
}

static void the_text_used_longest_ago_is_forgotten(void **state)
{
    (void)state;
    memory m = {.hash = calloc(4096, sizeof *m.hash)};
    _Atomic int64_t room = 60; // six blocks
    hsdi_blocks *blocks = blocks_new(100, 100, &room, NULL);
    hsdi_blocks_counts counts;
    user u[1];
    int32_t held[16], cells[N_CTX], first[3];
    int n_held;
    users_open(u, 1, blocks, &m);
    for (int i = 0; i < 3; i++) { // three texts of two blocks each
        write_text(&u[0], 0, 1);
        u[0].text[0] = first[i] = 1000 + i;
        for (int k = 0; k < 64; k++) {
            hsdi_cells_push(&u[0].cells, hsdi_cells_take(&u[0].cells));
        }
        hsdi_cells_keep(&u[0].cells, u[0].text);
        hsdi_cells_reset(&u[0].cells);
    }
    hsdi_blocks_count(blocks, &counts);
    assert_int_equal(counts.n_texts, 3);
    assert_int_equal(counts.n_kept, 6);
    assert_true(atomic_load(&room) == 0);
    u[0].text[0] = first[0]; // the first one is used
    const hsdi_blocks_query query = {.tokens = u[0].text, .n = 64, .n_spare = 3};
    assert_int_equal(hsdi_blocks_find(blocks, &query, cells, held, &n_held), 64);
    hsdi_blocks_drop(blocks, held, n_held);
    atomic_fetch_sub(&room, 20); // somebody is promised two blocks
    hsdi_blocks_trim(blocks);
    for (int i = 0; i < 3; i++) {
        u[0].text[0] = first[i];
        assert_int_equal(hsdi_blocks_find(blocks, &query, cells, held, &n_held), i == 1 ? 0 : 64);
        hsdi_blocks_drop(blocks, held, n_held);
    }
    // A text is not kept twice, nor is a part of it.
    u[0].text[0] = first[0];
    assert_int_equal(hsdi_blocks_find(blocks, &query, cells, held, &n_held), 64);
    hsdi_blocks_keep(blocks, u[0].text, cells, 50);
    hsdi_blocks_keep(blocks, u[0].text, cells, 64);
    hsdi_blocks_drop(blocks, held, n_held);
    hsdi_blocks_count(blocks, &counts);
    assert_int_equal(counts.n_texts, 2);
    u[0].n_found = 1;
    users_close(u, 1, blocks);
    hsdi_blocks_destroy(&blocks);
    free(m.hash);
}

static void of_a_scattered_text_so_much_is_taken_as_the_promise_allows(void **state)
{
    (void)state;
    memory m = {.hash = calloc(4096, sizeof *m.hash)};
    hsdi_blocks *blocks = blocks_new(100, 100, NULL, NULL);
    user users[2];
    bool is_found;
    users_open(users, 2, blocks, &m);
    for (int i = 0; i < N_CTX; i++) {
        users[0].text[i] = users[1].text[i] = i;
    }
    int32_t scattered[120]; // one cell of every second half block, ever again
    int32_t held[8];
    for (int i = 0; i < 8; i++) {
        held[i] = hsdi_blocks_take(blocks);
    }
    for (int i = 0; i < 120; i++) {
        scattered[i] = held[i % 8] * HSDI_BLOCK_CELLS + i / 8;
    }
    hsdi_blocks_keep(blocks, users[0].text, scattered, 120);
    hsdi_blocks_drop(blocks, held, 8);
    int n = hsdi_cells_begin(&users[1].cells, users[1].text, users[1].text, 120, &is_found);
    int n_spare = hsdi_blocks_spare(N_CELLS, N_CTX);
    assert_true(n > 0 && n <= 120 && users[1].cells.n_held <= n / HSDI_BLOCK_CELLS + n_spare);
    while (users[1].cells.n_free > 0) {
        assert_true(hsdi_cells_take(&users[1].cells) >= 0);
    }
    users[0].n_found = 1;
    users_close(users, 2, blocks);
    hsdi_blocks_destroy(&blocks);
    free(m.hash);
}

static void a_set_that_does_not_share_keeps_nothing(void **state)
{
    (void)state;
    hsdi_blocks *blocks = NULL;
    const hsdi_blocks_config config = {.n_blocks = 50};
    hsdi_blocks_counts counts;
    memory m = {.hash = calloc(4096, sizeof *m.hash)};
    user u[1];
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_OK);
    users_open(u, 1, blocks, &m);
    write_text(&u[0], 100, 1);
    hsdi_cells_keep(&u[0].cells, u[0].text);
    hsdi_blocks_count(blocks, &counts);
    assert_int_equal(counts.n_texts, 0);
    u[0].n_found = 1;
    users_close(u, 1, blocks);
    hsdi_blocks_destroy(&blocks);
    free(m.hash);
}

static void counts_out_of_range_are_refused(void **state)
{
    (void)state;
    hsdi_blocks *blocks = NULL;
    hsdi_blocks_config config = {.n_blocks = 0};
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_EINVAL);
    config.n_blocks = INT32_MAX / HSDI_BLOCK_CELLS + 1;
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_EINVAL);
    config = (hsdi_blocks_config){.n_blocks = 4, .n_kept_most = -1};
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_EINVAL);
    assert_null(blocks);
    config.n_kept_most = 0;
    assert_int_equal(hsdi_blocks_create(&config, &blocks), HSD_OK);
    assert_true(hsdi_blocks_promise(blocks, 3));
    assert_false(hsdi_blocks_promise(blocks, 2));
    assert_int_equal(hsdi_blocks_unpromised(blocks), 1);
    hsdi_blocks_release(blocks, 3);
    int32_t all[4];
    for (int i = 0; i < 4; i++) {
        all[i] = hsdi_blocks_take(blocks);
    }
    assert_int_equal(hsdi_blocks_take(blocks), -1);
    hsdi_blocks_drop(blocks, all, 4);
    hsdi_blocks_destroy(&blocks);
}

int main(void)
{
    const char *asked = getenv("HSD_TEST_SEED");
    seed = asked && *asked ? strtoull(asked, NULL, 10) : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_texts_share_cells_and_never_lose_one),
        cmocka_unit_test(the_same_holds_on_threads),
        cmocka_unit_test(a_found_block_is_not_written_and_its_owner_goes_on_behind_it),
        cmocka_unit_test(the_text_used_longest_ago_is_forgotten),
        cmocka_unit_test(of_a_scattered_text_so_much_is_taken_as_the_promise_allows),
        cmocka_unit_test(a_set_that_does_not_share_keeps_nothing),
        cmocka_unit_test(counts_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
