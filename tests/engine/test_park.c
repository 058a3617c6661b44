/// Proves: a generation that is stopped at a random token, parked, and resumed (in the same engine
/// or
///           another one, in the same mode or another one, with any draft) gives the tokens of one
///           that was never stopped, greedy and sampled, also after several stops, and nothing that
///           was parked is computed again; the same for one that merely continues.
///         Files that are cut off at any place or have a byte changed anywhere are refused with the
///           place; so are those of another model, another version, another kind of caches; a disk
///           that is full leaves the older file and nothing beside it.
/// Does not prove: arbitrary bytes, see tests/fuzz/fuzz_parked.c; other devices than the CPU, see
///           tests/devices/test_device.c for their cells.
///
/// HSD_TEST_ROUNDS sets the number of generations (default 40), HSD_TEST_SEED the draw.
#include "base/rng.h"
#include "engine/parked.h"

#include <dirent.h>
#include <hsd/hsd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_TOKENS = 40, N_SAMPLINGS = 4, N_PROMPTS = 3, N_CTX = 400 };

static const hsd_sampling samplings[N_SAMPLINGS] = {
    {.top_p = 1.0f},
    {.temperature = 1.0f, .top_p = 1.0f, .seed = 31},
    {.top_p = 1.0f, .repeat_penalty = 1.3f, .repeat_last_n = 20, .no_repeat_ngram = 3},
    {.temperature = 1.0f,
     .top_k = 50,
     .top_p = 0.9f,
     .min_p = 0.01f,
     .seed = 32,
     .repeat_penalty = 1.1f,
     .repeat_last_n = -1},
};

static const char *const prompts[N_PROMPTS] = {
    "Once upon a time",
    "### User:\nWhat is 12 + 30?\n\n### Assistant:\n",
    "The wolf said to the lamb, \"The wolf said to the lamb, \"The wolf said to",
};

static char folder[64], file[96];
static uint64_t seed;
static int64_t n_drawn;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static int draw(int low, int high)
{
    return low + (int)(hsdi_uniform_at(seed, n_drawn++, 0) * (high - low + 1));
}

static uint64_t number_from(const char *name, uint64_t other)
{
    const char *s = getenv(name);
    return s && *s ? strtoull(s, NULL, 10) : other;
}

static hsd_engine *open_engine(const char *target, const char *suffix, bool shares)
{
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = target;
    options.suffix_device = suffix;
    options.share_prefixes = shares;
    options.n_ctx = target ? 0 : N_CTX;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session_options draw_options(const hsd_engine *engine, int sampling)
{
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.mode = (hsd_mode)draw(HSD_MODE_AR, HSD_MODE_ASYNC);
    if (o.mode != HSD_MODE_AR) {
        o.draft_kind = (hsd_draft_kind)draw(HSD_DRAFT_MODEL, HSD_DRAFT_EARLY_EXIT);
        o.window = draw(1, 16);
        o.tree = draw(0, 1) ? draw(o.window, 32) : 0;
        o.roots = draw(1, 16);
        o.exit_layer = draw(1, hsd_engine_n_layers(engine) - 1);
    }
    o.sampling = samplings[sampling];
    o.ignore_eos = true;
    return o;
}

/// Up to n_most tokens; fewer where the generation ends.
static int pull(hsd_session *session, int32_t *out, int n_most)
{
    hsd_token token;
    hsd_error err = {0};
    hsd_status status = HSD_OK;
    int n = 0;
    while (n < n_most && (status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            out[n++] = token.id;
        }
    }
    if (status != HSD_OK && status != HSD_EEND) {
        must(status, &err);
    }
    return n;
}

static void want_of(hsd_engine *engine, int prompt, int sampling, int32_t *out)
{
    hsd_session *session;
    hsd_session_options o;
    hsd_error err = {0};
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_AR;
    o.sampling = samplings[sampling];
    o.ignore_eos = true;
    o.n_tokens = N_TOKENS;
    must(hsd_session_open(engine, &o, &session, &err), &err);
    must(hsd_session_submit(session, prompts[prompt], strlen(prompts[prompt]), &err), &err);
    assert_int_equal(pull(session, out, N_TOKENS), N_TOKENS);
    hsd_session_close(&session);
}

/// The session's text behind its prompt must begin as it should. Returns how many tokens that are.
static int check(hsd_session *session, int n_prompt, const int32_t *want, const char *when)
{
    int32_t text[N_CTX];
    int n_text;
    hsd_error err = {0};
    must(hsd_session_text(session, text, N_CTX, &n_text, &err), &err);
    int n = n_text - n_prompt;
    for (int i = 0; i < n && i < N_TOKENS; i++) {
        if (text[n_prompt + i] != want[i]) {
            fail_msg("seed %llu, draw %lld, %s: token %d of %d is %d, not %d",
                     (unsigned long long)seed, (long long)n_drawn, when, i, n, text[n_prompt + i],
                     want[i]);
        }
    }
    return n;
}

/// Stop somewhere: at a number of tokens, or while it runs.
static void stop_somewhere(hsd_session *session)
{
    int32_t got[N_TOKENS];
    (void)pull(session, got, draw(0, 6));
    if (draw(0, 1)) {
        hsd_session_cancel(session);
    }
}

static void run_one(hsd_engine **engines, int n_engines, bool parks)
{
    int prompt = draw(0, N_PROMPTS - 1), sampling = draw(0, N_SAMPLINGS - 1), n_prompt, n = 0;
    int32_t want[N_TOKENS], ids[N_CTX];
    hsd_error err = {0};
    hsd_engine *engine = engines[draw(0, n_engines - 1)];
    hsd_session *session;
    want_of(engine, prompt, sampling, want);
    must(hsd_engine_tokenize(engine, prompts[prompt], strlen(prompts[prompt]), true, ids, N_CTX,
                             &n_prompt, &err),
         &err);
    hsd_session_options o = draw_options(engine, sampling);
    o.n_tokens = draw(1, N_TOKENS);
    must(hsd_session_open(engine, &o, &session, &err), &err);
    must(hsd_session_submit(session, prompts[prompt], strlen(prompts[prompt]), &err), &err);
    while (n < N_TOKENS) {
        if (parks) {
            stop_somewhere(session);
            must(hsd_session_park(session, file, &err), &err);
            n = check(session, n_prompt, want, "parked");
            hsd_session_close(&session);
            engine = engines[draw(0, n_engines - 1)];
            o = draw_options(engine, draw(0, N_SAMPLINGS - 1)); // the file's sampling counts
            o.n_tokens = draw(1, N_TOKENS);
            must(hsd_session_resume(engine, file, &o, &session, &err), &err);
            assert_int_equal(check(session, n_prompt, want, "resumed"), n);
        } else {
            (void)pull(session, ids, draw(0, N_TOKENS));
        }
        must(hsd_session_continue(session, &err), &err);
        hsd_status status = hsd_session_wait(session, &err);
        if (status != HSD_ECANCELED) {
            must(status, &err);
        }
        hsd_stats stats;
        hsd_session_stats(session, &stats);
        n = check(session, n_prompt, want, "continued");
        assert_true(n > 0);
        // All but the last token had its cell, or never was a row: the prompt before the prefill.
        assert_true(stats.n_prompt_reused == stats.n_prompt - 1 ||
                    n_prompt > stats.n_prompt_reused);
    }
    hsd_session_close(&session);
}

static void parked_generations_go_on_as_if_nothing_had_been(void **state)
{
    (void)state;
    hsd_engine *engines[2] = {open_engine(NULL, NULL, true), open_engine(NULL, NULL, false)};
    int n_rounds = (int)number_from("HSD_TEST_ROUNDS", 40);
    for (int i = 0; i < n_rounds; i++) {
        run_one(engines, 2, true);
    }
    hsd_engine_close(&engines[1]);
    hsd_engine_close(&engines[0]);
}

static void a_session_continues_as_if_it_had_not_ended(void **state)
{
    (void)state;
    hsd_engine *engine = open_engine(NULL, NULL, false);
    int n_rounds = (int)number_from("HSD_TEST_ROUNDS", 40) / 2;
    for (int i = 0; i < n_rounds; i++) {
        run_one(&engine, 1, false);
    }
    hsd_engine_close(&engine);
}

/// Park a text of n tokens behind the first prompt. Returns its length.
static int park_one(hsd_engine *engine, int n)
{
    hsd_session *session;
    hsd_session_options o;
    hsd_error err = {0};
    int32_t got[N_TOKENS];
    int n_text = 0;
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_AR;
    o.n_tokens = n;
    o.sampling = samplings[1];
    must(hsd_session_open(engine, &o, &session, &err), &err);
    assert_int_equal(hsd_session_park(session, file, &err), HSD_EINVAL); // no text yet
    assert_int_equal(hsd_session_continue(session, &err), HSD_EINVAL);
    must(hsd_session_submit(session, prompts[0], strlen(prompts[0]), &err), &err);
    (void)pull(session, got, n + 1);
    must(hsd_session_park(session, file, &err), &err);
    assert_int_equal(hsd_session_text(session, NULL, 0, &n_text, &err), HSD_ETOOLONG);
    hsd_session_close(&session);
    return n_text;
}

static void a_text_may_lie_on_two_devices_but_not_become_one_of_another_kind(void **state)
{
    (void)state;
    hsd_engine *split = open_engine(NULL, "cpu", true), *whole = open_engine(NULL, NULL, true);
    hsd_session *session = NULL;
    hsd_session_options o;
    hsd_error err = {0};
    int32_t want[N_TOKENS], got[N_TOKENS];
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_AR;
    o.n_tokens = 10;
    want_of(whole, 0, 1, want);
    int n_text = park_one(split, 10);
    assert_int_equal(hsd_session_resume(whole, file, &o, &session, &err), HSD_EUNSUPPORTED);
    assert_null(session);
    assert_non_null(strstr(err.message, "another kind"));
    must(hsd_session_resume(split, file, &o, &session, &err), &err);
    must(hsd_session_continue(session, &err), &err);
    assert_int_equal(pull(session, got, 11), 10);
    assert_memory_equal(got, want + 10, 10 * sizeof *got);
    hsd_session_close(&session);
    o.n_ctx = n_text - 1;
    assert_int_equal(hsd_session_resume(split, file, &o, &session, &err), HSD_ETOOLONG);
    o.n_ctx = n_text; // it can be read, and is full
    must(hsd_session_resume(split, file, &o, &session, &err), &err);
    assert_int_equal(hsd_session_next(session, -1, &(hsd_token){0}, &err), HSD_EEND);
    assert_int_equal(hsd_session_continue(session, &err), HSD_ETOOLONG);
    hsd_session_close(&session);
    hsd_engine_close(&split);
    hsd_engine_close(&whole);
}

static void another_model_is_refused(void **state)
{
    (void)state;
    hsd_engine *engine = open_engine(NULL, NULL, true);
    hsd_engine *other = open_engine("tests/reference/fixtures/llama-gqa.gguf", NULL, true);
    hsd_session *session = NULL;
    hsd_session_options o;
    hsd_error err = {0};
    hsd_session_options_init(&o);
    (void)park_one(engine, 4);
    assert_int_equal(hsd_session_resume(other, file, &o, &session, &err), HSD_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "another model"));
    assert_string_equal(err.where, file);
    assert_null(session);
    hsd_engine_close(&other);
    hsd_engine_close(&engine);
}

static char *read_file(size_t *n)
{
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    (void)fclose(f);
    return bytes;
}

static void write_file(const char *bytes, size_t n)
{
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/// Read all of the file; what ends it.
static hsd_status read_parked(hsd_error *err)
{
    hsdi_parked_file *f = NULL;
    *err = (hsd_error){.byte_offset = -1};
    hsd_status status = hsdi_parked_open(file, &f, err);
    hsdi_parked_part part;
    int first, n;
    const void *bytes;
    while (status == HSD_OK) {
        status = hsdi_parked_next(f, &part, &first, &n, &bytes, err);
    }
    hsdi_parked_close(&f);
    return status;
}

static void files_that_are_cut_or_changed_are_refused_with_the_place(void **state)
{
    (void)state;
    hsd_engine *engine = open_engine(NULL, NULL, true);
    hsd_session *session = NULL;
    hsd_session_options o;
    hsd_error err;
    size_t n;
    hsd_session_options_init(&o);
    (void)park_one(engine, N_TOKENS);
    char *bytes = read_file(&n);
    assert_int_equal(read_parked(&err), HSD_EEND);
    for (int i = 0; i < 300; i++) { // every byte of the head, then anywhere
        size_t at = i < 150 ? (size_t)draw(0, 600) : (size_t)draw(0, (int)n - 1);
        char was = bytes[at];
        bytes[at] = (char)(was ^ (1 << draw(0, 7)));
        write_file(bytes, n);
        hsd_status status = read_parked(&err);
        if (status != HSD_EFORMAT && status != HSD_EUNSUPPORTED) {
            fail_msg("byte %zu of %zu changed: %s", at, n, hsd_status_name(status));
        }
        assert_true(err.byte_offset >= 0 && err.byte_offset <= (int64_t)at);
        assert_string_equal(err.where, file);
        bytes[at] = was;
    }
    assert_int_equal(hsd_session_resume(engine, file, &o, &session, &err), HSD_EFORMAT);
    for (int i = 0; i < 100; i++) {
        size_t left = i < 50 ? (size_t)draw(0, 700) : (size_t)draw(0, (int)n - 1);
        write_file(bytes, left);
        assert_int_equal(read_parked(&err), HSD_EFORMAT);
        assert_int_equal(err.byte_offset, left);
        assert_int_equal(hsd_session_resume(engine, file, &o, &session, &err), HSD_EFORMAT);
        assert_null(session);
    }
    char *longer = calloc(n + 3, 1);
    memcpy(longer, bytes, n);
    write_file(longer, n + 3);
    assert_int_equal(read_parked(&err), HSD_EFORMAT);
    assert_int_equal(err.byte_offset, n);
    bytes[8] = 3; // the version; its sum does not matter then
    write_file(bytes, n);
    assert_int_equal(read_parked(&err), HSD_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "version 3"));
    assert_int_equal(hsd_session_resume(engine, folder, &o, &session, &err), HSD_EIO);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(hsd_session_resume(engine, file, &o, &session, &err), HSD_EIO);
    assert_int_equal(err.vendor_code, 2); // ENOENT
    free(bytes);
    free(longer);
    hsd_engine_close(&engine);
}

static int n_files(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(d);
    return n;
}

static void a_full_disk_leaves_the_older_file_and_nothing_beside_it(void **state)
{
    (void)state;
    hsd_engine *engine = open_engine(NULL, NULL, true);
    hsd_session *session;
    hsd_session_options o;
    hsd_error err = {0};
    size_t n, n_again;
    (void)park_one(engine, 4);
    char *before = read_file(&n);
    hsd_session_options_init(&o);
    o.n_tokens = 6;
    must(hsd_session_resume(engine, file, &o, &session, &err), &err);
    must(hsd_session_continue(session, &err), &err);
    must(hsd_session_wait(session, &err), &err);
    struct rlimit was, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 4; i++) {
        static const rlim_t most[] = {0, 100, 520, 5000};
        small = was;
        small.rlim_cur = most[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        hsd_status status = hsd_session_park(session, file, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
        assert_int_equal(status, HSD_EIO);
        assert_string_equal(err.where, file);
        assert_int_equal(err.vendor_code, 27); // EFBIG
        char *after = read_file(&n_again);
        assert_int_equal(n_again, n);
        assert_memory_equal(before, after, n);
        free(after);
        assert_int_equal(n_files(), 1);
    }
    assert_int_equal(hsd_session_park(session, "/nowhere/at/all", &err), HSD_EIO);
    assert_int_equal(hsd_session_park(session, "", &err), HSD_EIO);
    must(hsd_session_park(session, file, &err), &err); // there is room again
    assert_int_equal(read_parked(&err), HSD_EEND);
    assert_int_equal(n_files(), 1);
    hsd_session_close(&session);
    free(before);
    hsd_engine_close(&engine);
}

int main(void)
{
    seed = number_from("HSD_TEST_SEED", 1);
    snprintf(folder, sizeof folder, "/tmp/hsd-park-XXXXXX");
    if (!mkdtemp(folder)) {
        return 1;
    }
    snprintf(file, sizeof file, "%s/text.hsd", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parked_generations_go_on_as_if_nothing_had_been),
        cmocka_unit_test(a_session_continues_as_if_it_had_not_ended),
        cmocka_unit_test(a_text_may_lie_on_two_devices_but_not_become_one_of_another_kind),
        cmocka_unit_test(another_model_is_refused),
        cmocka_unit_test(files_that_are_cut_or_changed_are_refused_with_the_place),
        cmocka_unit_test(a_full_disk_leaves_the_older_file_and_nothing_beside_it),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(file);
    (void)rmdir(folder);
    return failed;
}
