/// Proves: what a model draft in this process has of a text is parked with it and found by the
/// draft
///           when the text is resumed in another engine, bit for bit, so that it computes less, on
///           the CPU, OpenCL and Level Zero; the tokens are the target's in any case. Without it
///           (not asked for, or no texts are shared, or another draft or another kind of its cells
///           is there, or memory is too short to keep it) a text is resumed all the same, and what
///           is damaged in it is refused with the byte.
/// Does not prove: how much time it saves (docs/sessions.md).
#include "engine/session_draft.h"
#include "tests/accelerator.h"

#include <hsd/hsd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N_PROMPT = 300, N_FIRST = 12, N_REST = 12, N_ALL = N_FIRST + N_REST };

static char folder[64], file[96];
static int n_notes; ///< of drafts that are others

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static void count_notes(void *user, int level, const char *line)
{
    (void)user;
    (void)level;
    n_notes += strstr(line, "another draft") != NULL;
}

typedef struct setting {
    const char *draft_device;
    bool shares;
    hsd_cache_type draft_type;
    int64_t memory_bytes;
} setting;

static const setting usual = {.shares = true};

static hsd_engine *open_engine(const setting *how)
{
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.share_prefixes = how->shares;
    options.draft_device = how->draft_device;
    options.draft_cache_type = how->draft_type;
    options.cache_layout = options.draft_cache_layout = HSD_CACHE_LAYOUT_KV;
    options.cache_memory_bytes = how->memory_bytes;
    options.log = count_notes;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session_options options_of(hsd_mode mode, int n_tokens)
{
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.mode = mode;
    o.draft_kind = mode == HSD_MODE_AR ? HSD_DRAFT_AUTO : HSD_DRAFT_MODEL;
    o.window = 4;
    o.roots = 4;
    o.ignore_eos = true;
    o.n_tokens = n_tokens;
    o.n_ctx = N_PROMPT + N_ALL + 8;
    return o;
}

static void pull(hsd_session *session, int32_t *out, int n)
{
    hsd_token token;
    hsd_error err = {0};
    hsd_status status;
    int n_got = 0;
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(n_got, 0, n - 1);
            out[n_got++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    assert_int_equal(n_got, n);
}

static hsd_session *begin(hsd_engine *engine, hsd_mode mode, int n, int32_t *out)
{
    hsd_session *session;
    hsd_session_options o = options_of(mode, n);
    hsd_error err = {0};
    int32_t prompt[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++) {
        prompt[i] = (i * i + 3 * i + 5) % hsd_engine_n_vocab(engine);
    }
    must(hsd_session_open(engine, &o, &session, &err), &err);
    must(hsd_session_submit_tokens(session, prompt, N_PROMPT, &err), &err);
    pull(session, out, n);
    return session;
}

static size_t park(hsd_session *session, bool with_draft)
{
    hsd_park_options options;
    hsd_error err = {0};
    struct stat about;
    hsd_park_options_init(&options);
    assert_true(options.with_draft);
    options.with_draft = with_draft;
    must(hsd_session_park_with(session, file, &options, &err), &err);
    assert_int_equal(stat(file, &about), 0);
    return (size_t)about.st_size;
}

/// The draft's cells of the session's text; owned by the caller.
static char *draft_bytes(hsd_session *session, int *n_cells, size_t *n_bytes)
{
    hsdi_draft_cells cells;
    hsdi_parked_draft about;
    hsd_error err = {0};
    int32_t text[N_PROMPT + N_ALL + 8];
    int n_text;
    must(hsd_session_text(session, text, N_PROMPT + N_ALL + 8, &n_text, &err), &err);
    must(hsdi_draft_cells_find(session, text, n_text - 1, &cells, &err), &err);
    hsdi_draft_cells_describe(&cells, &about);
    *n_cells = about.n_cells;
    *n_bytes = (size_t)about.n_cells * about.cell_bytes;
    char *bytes = malloc(*n_bytes + 1);
    assert_non_null(bytes);
    if (about.n_cells > 0) {
        must(hsdi_draft_cells_read(&cells, 0, about.n_cells, bytes, &err), &err);
    }
    hsdi_draft_cells_drop(&cells);
    return bytes;
}

static hsd_session *resume(hsd_engine *engine, hsd_mode mode)
{
    hsd_session *session;
    hsd_session_options o = options_of(mode, N_REST);
    hsd_error err = {0};
    must(hsd_session_resume(engine, file, &o, &session, &err), &err);
    return session;
}

/// Go on, compare, and say how often the draft's device was used for that.
static int64_t go_on(hsd_engine *engine, hsd_session **session, const int32_t *want)
{
    int32_t got[N_REST];
    hsd_error err = {0};
    int64_t before = hsdi_device_n_submitted(engine->draft_device);
    must(hsd_session_continue(*session, &err), &err);
    pull(*session, got, N_REST);
    assert_memory_equal(got, want + N_FIRST, sizeof got);
    int64_t n = hsdi_device_n_submitted(engine->draft_device) - before;
    hsd_session_close(session);
    return n;
}

static void check_modes(const setting *how)
{
    int32_t want[N_ALL], got[N_FIRST];
    int n_cells, n_again;
    size_t n_bytes, n_bytes_again;
    hsd_engine *engine = open_engine(how);
    hsd_session *session = begin(engine, HSD_MODE_AR, N_ALL, want);
    hsd_session_close(&session);
    for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_ASYNC; mode++) {
        session = begin(engine, (hsd_mode)mode, N_FIRST, got);
        assert_memory_equal(got, want, sizeof got);
        size_t with = park(session, true);
        char *bytes = draft_bytes(session, &n_cells, &n_bytes);
        assert_true(n_cells >= N_PROMPT - 1 && n_cells < N_PROMPT + N_FIRST);
        assert_true(with > n_bytes);
        hsd_session_close(&session);
        hsd_engine *other = open_engine(how); // it has never seen the text
        session = resume(other, (hsd_mode)mode);
        char *again = draft_bytes(session, &n_again, &n_bytes_again);
        assert_true(n_again == n_cells || mode != HSD_MODE_SERIAL); // it may have worked since
        assert_true(n_again > 0 && n_again <= n_cells && n_bytes_again <= n_bytes);
        assert_memory_equal(again, bytes, n_bytes_again);
        free(again);
        free(bytes);
        (void)go_on(other, &session, want);
        hsd_engine_close(&other);
    }
    hsd_engine_close(&engine);
}

static void a_draft_finds_its_cells_of_a_resumed_text(void **state)
{
    (void)state;
    check_modes(&usual);
}

static void so_does_one_on_another_device(void **state)
{
    hsdi_device *device = open_accelerator_or_skip(*state);
    hsdi_device_close(&device);
    check_modes(&(setting){.shares = true, .draft_device = accelerator_name(*state)});
}

static void it_computes_less_then(void **state)
{
    (void)state;
    int32_t want[N_ALL], got[N_FIRST];
    int64_t n[2];
    size_t sizes[2];
    for (int with = 0; with < 2; with++) {
        hsd_engine *engine = open_engine(&usual);
        hsd_session *session = begin(engine, HSD_MODE_AR, N_ALL, want);
        hsd_session_close(&session);
        session = begin(engine, HSD_MODE_SERIAL, N_FIRST, got);
        sizes[with] = park(session, with == 1);
        hsd_session_close(&session);
        hsd_engine *other = open_engine(&usual);
        session = resume(other, HSD_MODE_SERIAL);
        n[with] = go_on(other, &session, want);
        hsd_engine_close(&other);
        hsd_engine_close(&engine);
    }
    print_message("submissions to the draft's device: %lld without its cells, %lld with them\n",
                  (long long)n[0], (long long)n[1]);
    assert_true(n[1] < n[0]);
    assert_true(sizes[1] > sizes[0]);
}

static void without_it_a_text_is_resumed_all_the_same(void **state)
{
    (void)state;
    int32_t want[N_ALL], got[N_FIRST];
    int n_cells;
    size_t n_bytes;
    hsd_engine *engine = open_engine(&usual);
    hsd_session *session = begin(engine, HSD_MODE_AR, N_ALL, want);
    size_t alone = park(session, true); // mode ar has no draft
    hsd_session_close(&session);
    session = begin(engine, HSD_MODE_SERIAL, N_FIRST, got);
    size_t with = park(session, true);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    assert_true(with > alone);
    const setting others[] = {
        {.shares = false},                                   // nothing is found there
        {.shares = true, .draft_type = HSD_CACHE_Q8_0},      // cells of another kind
        {.shares = true, .memory_bytes = INT64_C(12) << 20}, // little room for texts
    };
    n_notes = 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        hsd_engine *other = open_engine(&others[i]);
        session = resume(other, HSD_MODE_SERIAL);
        if (i < 2) {
            char *bytes = draft_bytes(session, &n_cells, &n_bytes);
            assert_int_equal(n_cells, 0);
            free(bytes);
        }
        assert_int_equal(n_notes, i > 0); // the second one says so
        (void)go_on(other, &session, want);
        session = resume(other, HSD_MODE_AR); // and who has no draft does not care
        (void)go_on(other, &session, want);
        hsd_engine_close(&other);
    }
}

static void a_damaged_draft_is_refused_with_the_byte(void **state)
{
    (void)state;
    int32_t got[N_FIRST];
    hsd_error err = {0};
    hsd_session_options o = options_of(HSD_MODE_SERIAL, N_REST);
    hsd_engine *engine = open_engine(&usual);
    hsd_session *session = begin(engine, HSD_MODE_SERIAL, N_FIRST, got);
    size_t n = park(session, true);
    hsd_session_close(&session);
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -40, SEEK_END), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, -40, SEEK_END), 0);
    assert_true(fputc(c ^ 4, f) != EOF);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(hsd_session_resume(engine, file, &o, &session, &err), HSD_EFORMAT);
    assert_null(session);
    assert_true(err.byte_offset > 0 && (size_t)err.byte_offset < n);
    hsd_engine_close(&engine);
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/hsd-park-draft-XXXXXX");
    if (!mkdtemp(folder)) {
        return 1;
    }
    snprintf(file, sizeof file, "%s/text.hsd", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_draft_finds_its_cells_of_a_resumed_text),
        ON_ACCELERATORS(so_does_one_on_another_device),
        cmocka_unit_test(it_computes_less_then),
        cmocka_unit_test(without_it_a_text_is_resumed_all_the_same),
        cmocka_unit_test(a_damaged_draft_is_refused_with_the_byte),
    };
    only_the_cases_asked_for();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(file);
    (void)rmdir(folder);
    return failed;
}
