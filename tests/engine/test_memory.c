/// Proves: memory of the caches on the CPU goes back to the system when texts are over, but for
/// some
///           that stays for the next one, as the process itself is told (/proc/self/statm): of
///           sessions that are closed, and of blocks by themselves, whose cells read as zeros then
///           while those beside them stay as they are.
///         Under a limit the automatic layout leaves room for the draft; mode auto opens wherever
///           the target alone has room, and says the same.
/// Does not prove: other devices, where memory is there at once and stays; which blocks are
///           discarded, see tests/pipelines/test_blocks.c. Under sanitizers sizes are not looked
///           at.
#include "engine/engine_internal.h"
#include "tests/engine/random_model.h"

#include <hsd/hsd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0 ///< nothing is resident beside what the program wrote
#endif

enum { MIB = 1 << 20, IDLE_MIB = 32 };

static char random_model[64];

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

/// Resident memory that is no file's.
static int64_t resident_bytes(void)
{
    long long size, resident, shared;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lld %lld %lld", &size, &resident, &shared), 3);
    (void)fclose(f);
    return (resident - shared) * sysconf(_SC_PAGESIZE);
}

static hsd_engine *open_engine(const hsd_engine_options *options)
{
    hsd_engine *engine;
    hsd_error err = {0};
    must(hsd_engine_open(options, &engine, &err), &err);
    return engine;
}

/// A stage that has filled the cells of so many blocks, as bytes of `value`.
static void fill(hsdi_slab *slab, hsdi_device *device, int32_t *held, int n, char value)
{
    hsd_error err = {0};
    size_t n_bytes = HSDI_BLOCK_CELLS * hsdi_cache_bytes_per_cell(slab->caches[0]);
    char *bytes = malloc(n_bytes);
    assert_non_null(bytes);
    memset(bytes, value, n_bytes);
    for (int i = 0; i < n; i++) {
        held[i] = hsdi_blocks_take(slab->blocks);
        assert_true(held[i] >= 0);
        must(hsdi_cache_write(device, slab->caches[0], held[i] * HSDI_BLOCK_CELLS, HSDI_BLOCK_CELLS,
                              bytes, &err),
             &err);
    }
    free(bytes);
}

static void check(const hsdi_slab *slab, hsdi_device *device, const int32_t *held, int n,
                  char value)
{
    hsd_error err = {0};
    size_t n_bytes = HSDI_BLOCK_CELLS * hsdi_cache_bytes_per_cell(slab->caches[0]);
    char *bytes = malloc(n_bytes);
    assert_non_null(bytes);
    for (int i = 0; i < n; i++) {
        must(hsdi_cache_read(device, slab->caches[0], held[i] * HSDI_BLOCK_CELLS, HSDI_BLOCK_CELLS,
                             bytes, &err),
             &err);
        for (size_t k = 0; k < n_bytes; k++) {
            if (bytes[k] != value) {
                fail_msg("block %d of %d: byte %zu is %d, not %d", i, n, k, bytes[k], value);
            }
        }
    }
    free(bytes);
}

static void blocks_that_are_free_give_their_pages_back(void **state)
{
    (void)state;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = random_model;
    hsd_engine *engine = open_engine(&options);
    const hsdi_runner *runner = &engine->target.runner;
    hsdi_device *device = runner->device;
    int n_layers = engine->target.model->n_layers;
    int64_t block_bytes = hsdi_cell_bytes(runner, n_layers) * HSDI_BLOCK_CELLS;
    int n = (int)(3 * INT64_C(64) * MIB / block_bytes), n_cells = n * HSDI_BLOCK_CELLS;
    hsdi_slab *slab = NULL;
    must(hsdi_slab_join(&engine->memory, runner, n_layers, n_cells, n_cells, &slab, &err), &err);
    int32_t *held = calloc((size_t)n, sizeof *held);
    assert_non_null(held);
    int64_t before = resident_bytes();
    fill(slab, device, held, n, 7);
    int64_t full = resident_bytes();
    assert_true(SANITIZED || full - before > INT64_C(3) * 60 * MIB);
    hsdi_blocks_drop(slab->blocks, held + n / 3, n - n / 3); // two thirds go, scattered over pages
    int64_t less = resident_bytes();
    print_message("%lld MiB of caches, %lld when two thirds are free\n",
                  (long long)(full - before) / MIB, (long long)(less - before) / MIB);
    assert_true(SANITIZED || less - before < (64 + IDLE_MIB + 8) * INT64_C(1) * MIB);
    check(slab, device, held, n / 3, 7);
    fill(slab, device, held + n / 3, n - n / 3, 9); // and come again
    check(slab, device, held, n / 3, 7);
    check(slab, device, held + n / 3, n - n / 3, 9);
    hsdi_blocks_drop(slab->blocks, held, n);
    assert_true(SANITIZED || resident_bytes() - before < (IDLE_MIB + 8) * INT64_C(1) * MIB);
    free(held);
    hsdi_slab_leave(&engine->memory, &slab, n_cells, n_cells);
    hsd_engine_close(&engine);
}

enum { N_SESSIONS = 8, N_PROMPT = 480 };

static void sessions_that_are_closed_give_their_pages_back(void **state)
{
    (void)state;
    hsd_engine_options options;
    hsd_session_options how;
    hsd_error err = {0};
    int32_t prompt[N_PROMPT];
    hsd_session *sessions[N_SESSIONS];
    hsd_stats stats;
    hsd_engine_options_init(&options);
    options.share_prefixes = false;
    hsd_engine *engine = open_engine(&options);
    hsd_session_options_init(&how);
    how.mode = HSD_MODE_AR;
    how.n_tokens = 1;
    int64_t before = 0;
    for (int round = 0; round < 2; round++) {
        before = round == 0 ? before : resident_bytes(); // the first text makes what stays
        for (int i = 0; i < N_SESSIONS; i++) {
            for (int k = 0; k < N_PROMPT; k++) {
                prompt[k] = (k * (i + 3) + k * k) % hsd_engine_n_vocab(engine);
            }
            must(hsd_session_open(engine, &how, &sessions[i], &err), &err);
            must(hsd_session_submit_tokens(sessions[i], prompt, N_PROMPT, &err), &err);
        }
        for (int i = 0; i < N_SESSIONS; i++) {
            must(hsd_session_wait(sessions[i], &err), &err);
        }
        hsd_session_stats(sessions[0], &stats);
        int64_t written = N_SESSIONS * (int64_t)N_PROMPT * stats.cache_token_bytes;
        int64_t full = resident_bytes();
        for (int i = 0; i < N_SESSIONS; i++) {
            hsd_session_close(&sessions[i]);
        }
        int64_t less = resident_bytes();
        print_message("%lld MiB of cells, %lld MiB less when they are closed\n",
                      (long long)written / MIB, (long long)(full - less) / MIB);
        assert_true(SANITIZED || full - less > written - (IDLE_MIB + 4) * INT64_C(1) * MIB);
    }
    hsd_engine_close(&engine);
}

/// Layers that keep their input where an engine with that limit decides; -1: it does not open.
static int n_el_with(int64_t limit_bytes, bool has_draft, bool *drafts)
{
    hsd_engine_options options;
    hsd_session_options how;
    hsd_session *session = NULL;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    char target[HSDI_PATH_MAX];
    hsd_engine_options_init(&options);
    options.cache_memory_bytes = limit_bytes;
    options.n_ctx = 256;
    must(hsdi_shipped_path(hsdi_shipped_target, target, sizeof target, &err), &err);
    options.target_path = has_draft ? NULL : target;
    if (hsd_engine_open(&options, &engine, &err) != HSD_OK) {
        assert_int_equal(err.status, HSD_ENOMEM);
        return -1;
    }
    int n = engine->target.n_el;
    hsd_session_options_init(&how);
    how.mode = HSD_MODE_MIRROR;
    *drafts = has_draft && hsd_session_open(engine, &how, &session, &err) == HSD_OK;
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    return n;
}

static void a_layout_leaves_room_for_the_draft(void **state)
{
    (void)state;
    int n_more = 0, n_drafting = 0;
    for (int64_t limit = 1; limit <= 12; limit++) {
        bool drafts = false, ignored = false;
        int alone = n_el_with(limit * MIB, false, &ignored);
        int with = n_el_with(limit * MIB, true, &drafts);
        print_message("%2lld MiB: %d layers of el alone, %d with a draft, which %s\n",
                      (long long)limit, alone, with, drafts ? "fits" : "does not fit");
        assert_true((alone < 0) == (with < 0) && with >= alone);
        n_more += with > alone;
        n_drafting += with > alone && drafts;
    }
    assert_true(n_more > 0);
    assert_int_equal(n_drafting, n_more); // more layers of el only where the draft then fits
}

enum { N_ASKED = 3, N_SAID = N_ASKED + 8 };

/// A prompt and eight tokens in that mode, if there is room for the session.
static bool says(hsd_engine *engine, hsd_mode mode, int32_t out[N_SAID])
{
    hsd_session_options how;
    hsd_session *session = NULL;
    hsd_error err = {0};
    const int32_t prompt[N_ASKED] = {5, 9, 2};
    int n = 0;
    hsd_session_options_init(&how);
    how.mode = mode;
    how.n_tokens = N_SAID - N_ASKED;
    how.ignore_eos = true;
    if (hsd_session_open(engine, &how, &session, &err) != HSD_OK) {
        assert_int_equal(err.status, HSD_ENOMEM);
        return false;
    }
    must(hsd_session_submit_tokens(session, prompt, N_ASKED, &err), &err);
    must(hsd_session_wait(session, &err), &err);
    must(hsd_session_text(session, out, N_SAID, &n, &err), &err);
    assert_int_equal(n, N_SAID);
    hsd_session_close(&session);
    return true;
}

/// Limits from too little for the target to enough for both.
static void auto_goes_without_a_draft_that_has_no_room(void **state)
{
    (void)state;
    int n_alone = 0, n_both = 0;
    for (int64_t quarters = 4; quarters <= 60; quarters += 2) {
        hsd_engine_options options;
        hsd_engine *engine = NULL;
        hsd_error err = {0};
        int32_t want[N_SAID], got[N_SAID];
        hsd_engine_options_init(&options);
        options.cache_memory_bytes = quarters * MIB / 4;
        options.cache_layout = HSD_CACHE_LAYOUT_KV;
        options.n_ctx = 256;
        if (hsd_engine_open(&options, &engine, &err) != HSD_OK) {
            assert_int_equal(err.status, HSD_ENOMEM);
            continue;
        }
        bool alone = says(engine, HSD_MODE_AR, want);
        bool both = says(engine, HSD_MODE_SERIAL, got);
        assert_true(alone || !both);
        assert_int_equal(says(engine, HSD_MODE_AUTO, got), alone);
        assert_true(!alone || memcmp(got, want, sizeof want) == 0);
        n_alone += alone && !both;
        n_both += both;
        hsd_engine_close(&engine);
    }
    print_message("%d limits with room for the target alone, %d for both\n", n_alone, n_both);
    assert_true(n_alone > 0 && n_both > 0);
}

int main(void)
{
    snprintf(random_model, sizeof random_model, "/tmp/hsd-memory-XXXXXX");
    int fd = mkstemp(random_model);
    if (fd < 0 || close(fd) != 0 || !random_model_write(random_model, 2)) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_that_are_free_give_their_pages_back),
        cmocka_unit_test(sessions_that_are_closed_give_their_pages_back),
        cmocka_unit_test(a_layout_leaves_room_for_the_draft),
        cmocka_unit_test(auto_goes_without_a_draft_that_has_no_room),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(random_model);
    return failed;
}
