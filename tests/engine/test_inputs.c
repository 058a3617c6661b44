/// Proves: cells that were made again from what enters the layers are the old ones bit for bit, and
///           the text goes on as if it had not been parked: all architectures, all types of caches
///           and both layouts, targets on two devices, on the CPU, OpenCL and Level Zero; real
///           models too, where ../shared is there. A file is as long as the form says, and the
///           smaller form is chosen where it is smaller by a quarter.
///         On threads at once, with texts that begin alike and share their cells, while others go
///         on. Parking cells gives the same text on these devices as well. Files of version 1 are
///         read.
/// Does not prove: how long it takes (docs/sessions.md); damaged files, see test_park.c.
#include "tests/accelerator.h"
#include "tests/engine/random_model.h"

#include <hsd/hsd.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { N_PROMPT = 70, N_FIRST = 12, N_REST = 9, N_ALL = N_FIRST + N_REST, HEAD_BYTES = 512 };

static char folder[64], random_model[96], files[3][96];

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

/// Where a model runs, and what its caches are.
typedef struct setting {
    const char *path; ///< NULL: the shipped target
    const char *device, *suffix;
    hsd_cache_layout layout;
    hsd_cache_type type;
} setting;

static hsd_engine *open_engine(const setting *how)
{
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = how->path;
    options.target_device = how->device;
    options.suffix_device = how->suffix;
    options.cache_layout = how->layout;
    options.cache_type = how->type;
    options.share_prefixes = false;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session_options plain(int n_tokens)
{
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.mode = HSD_MODE_AR;
    o.ignore_eos = true;
    o.n_tokens = n_tokens;
    return o;
}

static hsd_status park_as(hsd_session *session, const char *path, hsd_park_as as, hsd_error *err)
{
    hsd_park_options options;
    hsd_park_options_init(&options);
    options.as = as;
    return hsd_session_park_with(session, path, &options, err);
}

static int pull(hsd_session *session, int32_t *out, int n_most)
{
    hsd_token token;
    hsd_error err = {0};
    hsd_status status;
    int n = 0;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(n, 0, n_most - 1);
            out[n++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    return n;
}

static void make_prompt(const hsd_engine *engine, int32_t *out, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = (i * i + 3 * i + 5) % hsd_engine_n_vocab(engine);
    }
}

/// A session behind the prompt, with n tokens of its own. The prompt fits short contexts too.
static hsd_session *generate(hsd_engine *engine, int n, int32_t *out)
{
    hsd_session *session;
    hsd_session_options o = plain(n);
    hsd_error err = {0};
    int32_t prompt[N_PROMPT];
    int n_prompt = hsd_engine_n_ctx(engine) - N_ALL - 1;
    n_prompt = n_prompt < N_PROMPT ? n_prompt : N_PROMPT;
    make_prompt(engine, prompt, n_prompt);
    must(hsd_session_open(engine, &o, &session, &err), &err);
    must(hsd_session_submit_tokens(session, prompt, n_prompt, &err), &err);
    assert_int_equal(pull(session, out, n), n);
    return session;
}

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    (void)fclose(f);
    return bytes;
}

static void same_files(const char *what, const char *a, const char *b)
{
    size_t n, n_b, i = 0;
    char *bytes = read_file(a, &n), *other = read_file(b, &n_b);
    assert_int_equal(n, n_b);
    while (i < n && bytes[i] == other[i]) {
        i++;
    }
    if (i < n) {
        fail_msg("%s: cells differ from byte %zu of %zu on", what, i, n);
    }
    free(bytes);
    free(other);
}

static size_t size_of(const char *path)
{
    struct stat about;
    assert_int_equal(stat(path, &about), 0);
    return (size_t)about.st_size;
}

/// Resume a file in an engine of its own, where no text is known, and go on.
static void resume_and_compare(const setting *how, const char *what, const char *file,
                               const int32_t *want)
{
    hsd_engine *engine = open_engine(how);
    hsd_session *session;
    hsd_session_options o = plain(N_REST);
    hsd_error err = {0};
    hsd_stats stats;
    int32_t got[N_REST];
    must(hsd_session_resume(engine, file, &o, &session, &err), &err);
    must(hsd_session_park(session, files[2], &err), &err);
    same_files(what, files[0], files[2]);
    must(hsd_session_continue(session, &err), &err);
    assert_int_equal(pull(session, got, N_REST), N_REST);
    hsd_session_stats(session, &stats);
    assert_int_equal(stats.n_prompt_reused, stats.n_prompt - 1);
    for (int i = 0; i < N_REST; i++) {
        if (got[i] != want[i]) {
            fail_msg("%s: token %d of %d is %d, not %d", what, i, (int)N_REST, got[i], want[i]);
        }
    }
    hsd_session_close(&session);
    hsd_engine_close(&engine);
}

static void check(const setting *how)
{
    char what[256];
    hsd_error err = {0};
    int32_t want[N_ALL], got[N_FIRST];
    snprintf(what, sizeof what, "%s on %s, behind on %s, layout %d, type %d",
             how->path ? how->path : "shipped", how->device ? how->device : "cpu",
             how->suffix ? how->suffix : "the same", (int)how->layout, (int)how->type);
    hsd_engine *engine = open_engine(how);
    hsd_session *session = generate(engine, N_ALL, want);
    hsd_session_close(&session);
    session = generate(engine, N_FIRST, got);
    assert_memory_equal(got, want, sizeof got);
    must(hsd_session_park(session, files[0], &err), &err);
    must(park_as(session, files[1], HSD_PARK_INPUTS, &err), &err);
    must(hsd_session_park(session, files[2], &err), &err);
    same_files(what, files[0], files[2]); // nothing was changed by computing the other
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    resume_and_compare(how, what, files[0], want + N_FIRST);
    resume_and_compare(how, what, files[1], want + N_FIRST);
}

static const char *const fixtures[] = {
    NULL, // the shipped target, gpt2
    "tests/reference/fixtures/llama-gqa.gguf",
    "tests/reference/fixtures/llama-yarn.gguf", // one layer: the tokens say all
    "tests/reference/fixtures/llama256-q4_k.gguf",
    "tests/reference/fixtures/qwen2.gguf",
    "tests/reference/fixtures/qwen3.gguf",
    "tests/reference/fixtures/gpt2-q8_0.gguf",
};
enum { N_FIXTURES = sizeof fixtures / sizeof *fixtures };

static void cells_that_were_made_again_are_the_old_ones_bit_for_bit(void **state)
{
    (void)state;
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        check(&(setting){.path = random_model, .type = (hsd_cache_type)type});
        for (int i = 0; i < N_FIXTURES; i++) {
            check(&(setting){
                .path = fixtures[i], .layout = HSD_CACHE_LAYOUT_KV, .type = (hsd_cache_type)type});
        }
    }
    check(&(setting){.layout = HSD_CACHE_LAYOUT_EL});
    check(&(setting){.layout = HSD_CACHE_LAYOUT_EL, .type = HSD_CACHE_Q8_0});
    check(&(setting){.path = random_model, .suffix = "cpu"});
    check(&(setting){.suffix = "cpu"});
}

static void so_they_are_on_other_devices(void **state)
{
    hsdi_device *device = open_accelerator_or_skip(*state);
    hsdi_device_close(&device);
    const char *name = accelerator_name(*state);
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        check(&(setting){.path = random_model, .device = name, .type = (hsd_cache_type)type});
    }
    check(&(setting){.device = name, .layout = HSD_CACHE_LAYOUT_KV});
    check(&(setting){.device = name, .layout = HSD_CACHE_LAYOUT_EL});
    check(&(setting){.path = fixtures[3], .device = name});
    check(&(setting){.path = fixtures[5], .device = name});
    check(&(setting){.path = random_model, .device = name, .suffix = "cpu"});
    check(&(setting){.path = random_model, .suffix = name});
}

static void so_are_those_of_real_models(void **state)
{
    static const char *const models[] = {"../shared/data/models/babyllama105-f32.gguf",
                                         "../shared/data/models/babyllama105-q8_0.gguf",
                                         "../shared/data/models/babyllama105-q4_0.gguf",
                                         "../shared/data/models/stories260K-f32.gguf",
                                         "../shared/data/models/stories260K-f16.gguf"};
    (void)state;
    if (access(models[0], R_OK) != 0) {
        print_message("skipped: no ../shared\n");
        skip();
    }
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
            check(&(setting){.path = models[i], .type = (hsd_cache_type)type});
        }
    }
}

/// Bytes of cells, of what they are made from, and of the smaller one.
static void measure(const setting *how, size_t *sizes)
{
    static const hsd_park_as forms[] = {HSD_PARK_CELLS, HSD_PARK_INPUTS, HSD_PARK_SMALLER};
    hsd_error err = {0};
    int32_t ignored[N_FIRST];
    hsd_engine *engine = open_engine(how);
    hsd_session *session = generate(engine, N_FIRST, ignored);
    for (int i = 0; i < 3; i++) {
        must(park_as(session, files[0], forms[i], &err), &err);
        sizes[i] = size_of(files[0]);
    }
    assert_int_equal(park_as(session, files[0], HSD_N_PARK_AS, &err), HSD_EINVAL);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
}

static void the_smaller_form_is_taken_where_it_is_smaller_by_a_quarter(void **state)
{
    size_t n[3];
    int n_cells = N_PROMPT + N_FIRST - 1;
    (void)state;
    measure(&(setting){.path = random_model}, n);
    // Keys and values of three layers; the rows that enter two of them.
    assert_int_equal(n[0] - n[1], n_cells * (3 * 2 - 2) * RANDOM_WIDTH * (int)sizeof(float));
    assert_int_equal(n[2], n[1]);
    measure(&(setting){.path = random_model, .type = HSD_CACHE_Q8_0}, n);
    assert_true(n[0] < n[1]);
    assert_int_equal(n[2], n[0]);
    measure(&(setting){.path = fixtures[5]}, n); // one layer: nothing but tokens
    assert_int_equal(n[2], n[1]);
}

/// One of several that do the same on one engine.
typedef struct worker {
    hsd_engine *engine;
    char file[112];
    hsd_park_as as;
    const int32_t *want;
    hsd_status status;
    bool is_same;
} worker;

/// A session with the prompt, whose cells another one has, is parked after some tokens.
static hsd_status park_shared(const worker *w, hsd_error *err)
{
    int32_t prompt[N_PROMPT];
    hsd_session *session = NULL;
    hsd_session_options o = plain(N_FIRST);
    make_prompt(w->engine, prompt, N_PROMPT);
    hsd_status status = hsd_session_open(w->engine, &o, &session, err);
    if (status == HSD_OK &&
        (status = hsd_session_submit_tokens(session, prompt, N_PROMPT, err)) == HSD_OK &&
        (status = hsd_session_wait(session, err)) == HSD_OK) {
        status = park_as(session, w->file, w->as, err);
    }
    hsd_session_close(&session);
    return status;
}

static hsd_status resume_shared(const worker *w, int32_t *text, int *n_text, hsd_error *err)
{
    hsd_session *session = NULL;
    hsd_session_options o = plain(N_REST);
    hsd_status status = hsd_session_resume(w->engine, w->file, &o, &session, err);
    if (status == HSD_OK && (status = hsd_session_continue(session, err)) == HSD_OK &&
        (status = hsd_session_wait(session, err)) == HSD_OK) {
        status = hsd_session_text(session, text, N_PROMPT + N_ALL, n_text, err);
    }
    hsd_session_close(&session);
    return status;
}

static void *park_and_resume(void *arg)
{
    enum { N_ROUNDS = 6 };
    worker *w = arg;
    hsd_error err;
    for (int i = 0; i < N_ROUNDS && w->status == HSD_OK && w->is_same; i++) {
        int32_t text[N_PROMPT + N_ALL];
        int n_text = 0;
        w->status = park_shared(w, &err);
        if (w->status == HSD_OK) {
            w->status = resume_shared(w, text, &n_text, &err);
        }
        w->is_same = n_text == N_PROMPT + N_ALL &&
                     memcmp(text + N_PROMPT, w->want, N_ALL * sizeof *text) == 0;
    }
    return NULL;
}

static void the_same_on_threads_with_shared_cells(void **state)
{
    enum { N_THREADS = 4 };
    (void)state;
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    int32_t want[N_ALL];
    worker workers[N_THREADS];
    pthread_t threads[N_THREADS];
    hsd_engine_options_init(&options);
    options.target_path = random_model;
    must(hsd_engine_open(&options, &engine, &err), &err);
    hsd_session *session = generate(engine, N_ALL, want);
    hsd_session_close(&session);
    for (int i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.engine = engine, .as = (hsd_park_as)(i % 2), .want = want};
        workers[i].is_same = true;
        snprintf(workers[i].file, sizeof workers[i].file, "%s/thread%d", folder, i);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, park_and_resume, &workers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
        (void)unlink(workers[i].file);
    }
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(workers[i].status, HSD_OK);
        assert_true(workers[i].is_same);
    }
    hsd_engine_close(&engine);
}

static void put32(char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (char)(value >> 8 * i & 0xFF);
    }
}

static void files_of_version_1_are_read(void **state)
{
    const setting how = {.path = random_model};
    hsd_error err = {0};
    int32_t want[N_ALL], got[N_FIRST];
    size_t n;
    (void)state;
    hsd_engine *engine = open_engine(&how);
    hsd_session *session = generate(engine, N_ALL, want);
    hsd_session_close(&session);
    session = generate(engine, N_FIRST, got);
    must(hsd_session_park(session, files[0], &err), &err);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    char *bytes = read_file(files[0], &n);
    put32(bytes + 8, 1); // there was nothing else in what version 2 has more
    put32(bytes + HEAD_BYTES - 4, (uint32_t)crc32_z(0, (const void *)bytes, HEAD_BYTES - 4));
    FILE *f = fopen(files[1], "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    free(bytes);
    resume_and_compare(&how, "version 1", files[1], want + N_FIRST);
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/hsd-inputs-XXXXXX");
    if (!mkdtemp(folder)) {
        return 1;
    }
    snprintf(random_model, sizeof random_model, "%s/random.gguf", folder);
    for (int i = 0; i < 3; i++) {
        snprintf(files[i], sizeof files[i], "%s/%d.hsd", folder, i);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_that_were_made_again_are_the_old_ones_bit_for_bit),
        ON_ACCELERATORS(so_they_are_on_other_devices),
        cmocka_unit_test(the_same_on_threads_with_shared_cells),
        cmocka_unit_test(so_are_those_of_real_models),
        cmocka_unit_test(the_smaller_form_is_taken_where_it_is_smaller_by_a_quarter),
        cmocka_unit_test(files_of_version_1_are_read),
    };
    only_the_cases_asked_for();
    int failed = !random_model_write(random_model, 1) || cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        (void)unlink(files[i]);
    }
    (void)unlink(random_model);
    (void)rmdir(folder);
    return failed;
}
