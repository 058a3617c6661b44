/// Proves: with the shipped pair, for every ordered pair of places (core sets of the CPU, every
///           device of hsd_device_list that runs models): with the target on one and the draft on
///           the other, each drafting mode gives the tokens of mode ar on that target, greedy and
///           sampled; with the target's first layers on one and its last on the other, cut at
///           several layers, each mode, draft kind and exit layer before, at and behind the cut
///           gives the tokens of mode ar with the layers placed so.
///         Between two CPU places these are the tokens of a target in one piece.
///         Processors that are none, a cut that is none, and an early-exit draft beside a cut are
///           refused by name.
/// Does not prove: anything about speed, nor about devices that are not here.
///
/// HSD_TEST_LIGHT=1: of two devices that are no CPU only those of one driver, and one kind of draft
/// for each cut. HSD_TEST_PLACE=DRIVER, for drivers that compute slowly: only pairs of a
/// device of that driver with itself and with a CPU set, less of each. Skipped where there is none,
/// a failure with HSD_TEST_OPENCL=1.
#include "tests/light.h"

#include <hsd/hsd.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 20, PLACES_MAX = 12 };

static const char prompt[] = "Once upon a time there was a little girl who";

static int n_places, only = -1;
static char places[PLACES_MAX][sizeof((hsd_device_info *)0)->id];

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static bool is_cpu(int place)
{
    return strncmp(places[place], "cpu", 3) == 0;
}

static int find_places(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsd_device_info found[PLACES_MAX];
    const char *asked = getenv("HSD_TEST_PLACE");
    int n = 0;
    must(hsd_device_list(found, PLACES_MAX, &n, &err), &err);
    cpu_set_t mine;
    assert_int_equal(sched_getaffinity(0, sizeof mine, &mine), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && n_places < 2; cpu++) {
        if (CPU_ISSET((size_t)cpu, &mine)) {
            snprintf(places[n_places++], sizeof places[0], "cpu:%d", cpu);
        }
    }
    for (int i = 1; i < n && n_places < PLACES_MAX - 1; i++) { // number 0 is the whole CPU
        if (found[i].unusable[0]) {
            continue;
        }
        if (asked && strstr(found[i].driver, asked)) {
            only = n_places;
        }
        memcpy(places[n_places++], found[i].id, sizeof found[i].id);
        if (strstr(found[i].driver, "Portable") && found[i].n_units > 1) { // a part of a processor
            snprintf(places[n_places++], sizeof places[0], "%.250s/1", found[i].id);
        }
    }
    bool has_opencl = false, has_level_zero = false;
    for (int i = 0; i < n_places; i++) {
        has_opencl = has_opencl || strncmp(places[i], "opencl", 6) == 0;
        has_level_zero = has_level_zero || strncmp(places[i], "level_zero", 10) == 0;
        print_message("place %d: %s\n", i, places[i]);
    }
    assert_true(has_opencl || !getenv("HSD_TEST_OPENCL"));
    assert_true(has_level_zero || !getenv("HSD_TEST_LEVEL_ZERO"));
    if (asked && only < 0) {
        print_message("skipped: no device of %s\n", asked);
        exit(getenv("HSD_TEST_OPENCL") ? 1 : 77);
    }
    return 0;
}

/// With HSD_TEST_PLACE pairs of it with itself and with the first CPU set are left.
static bool is_left_out(int a, int b)
{
    bool is_crossed = !is_cpu(a) && !is_cpu(b) && strncmp(places[a], places[b], 6) != 0;
    bool is_wanted = (a == only || b == only) && (a == only || a == 0) && (b == only || b == 0);
    return (only >= 0 && !is_wanted) || (is_light() && is_crossed);
}

static hsd_engine *open_engine(const char *target, const char *suffix, int split_layer,
                               const char *draft)
{
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_device = target;
    options.suffix_device = suffix;
    options.split_layer = split_layer;
    options.draft_device = draft;
    options.n_threads = options.n_draft_threads = 1;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session_options options_of(hsd_mode mode, float temperature)
{
    hsd_session_options options;
    hsd_session_options_init(&options);
    options.mode = mode;
    options.n_tokens = N_TOKENS;
    options.window = mode == HSD_MODE_AR ? 0 : 4;
    options.ignore_eos = true;
    options.sampling.temperature = temperature;
    options.sampling.seed = 7;
    return options;
}

/// What drafts did in some generations.
typedef struct tally {
    int64_t drafted, accepted;
} tally;

static void generate(hsd_engine *engine, const hsd_session_options *options, text *out,
                     tally *drafts)
{
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_token token;
    hsd_status status;
    hsd_stats stats;
    *out = (text){0};
    must(hsd_session_open(engine, options, &session, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    while ((status = hsd_session_next(session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(out->n, 0, N_TOKENS - 1);
            out->tokens[out->n++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    hsd_session_stats(session, &stats);
    drafts->accepted += stats.accepted;
    drafts->drafted += stats.drafted;
    hsd_session_close(&session);
}

static bool same(const text *a, const text *b)
{
    return a->n == b->n && memcmp(a->tokens, b->tokens, sizeof a->tokens) == 0;
}

static int n_engines, n_accepted; ///< cases with drafts; of these, with a token that was accepted

/// The text of mode ar, and that of the other modes with these settings, on one engine. Of many
/// tokens that are drafted some are accepted; on a busy machine windows may come too late.
static void modes_agree(hsd_engine *engine, const hsd_session_options *others, const char *what,
                        text *ar)
{
    tally drafts = {0};
    hsd_session_options options = options_of(HSD_MODE_AR, others->sampling.temperature);
    generate(engine, &options, ar, &drafts);
    for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_ASYNC; mode++) {
        text got;
        if (only >= 0 && mode != HSD_MODE_MIRROR) {
            continue;
        }
        options = *others;
        options.mode = (hsd_mode)mode;
        if (mode != HSD_MODE_ASYNC) {
            options.window = 3; // one that is chosen may be none, where the target alone is faster
        }
        generate(engine, &options, &got, &drafts);
        if (!same(&got, ar)) {
            fail_msg("%s, mode %s, exit %d, temperature %g: other tokens than mode ar", what,
                     hsd_mode_name(options.mode), options.exit_layer,
                     (double)options.sampling.temperature);
        }
    }
    n_engines++;
    n_accepted += drafts.accepted > 0;
    if (drafts.accepted == 0 && drafts.drafted >= 3 * 6) {
        fail_msg("%s: none of %d drafted tokens was accepted", what, (int)drafts.drafted);
    }
}

static void most_drafts_were_right_at_times(void)
{
    print_message("a draft's token was accepted in %d of %d cases\n", n_accepted, n_engines);
    assert_true(2 * n_accepted > n_engines);
    n_accepted = n_engines = 0;
}

static void a_draft_anywhere_changes_nothing(void **state)
{
    (void)state;
    for (int target = 0; target < n_places; target++) {
        for (int draft = 0; draft < n_places; draft++) {
            char what[640];
            if (is_left_out(target, draft)) {
                continue;
            }
            snprintf(what, sizeof what, "target on %.200s, draft on %.200s", places[target],
                     places[draft]);
            hsd_engine *engine = open_engine(places[target], NULL, 0, places[draft]);
            for (int i = 0; i < (only >= 0 ? 1 : 2); i++) {
                text ar;
                hsd_session_options options = options_of(HSD_MODE_SERIAL, i ? 0.8f : 0.0f);
                modes_agree(engine, &options, what, &ar);
            }
            hsd_engine_close(&engine);
        }
    }
    most_drafts_were_right_at_times();
}

static void a_target_on_two_places_says_the_same_in_every_mode(void **state)
{
    (void)state;
    static const int cuts[] = {0, 1, 5, 7};
    tally drafts = {0};
    text whole;
    hsd_engine *engine = open_engine("cpu", NULL, 0, "cpu");
    hsd_session_options alone = options_of(HSD_MODE_AR, 0.0f);
    generate(engine, &alone, &whole, &drafts);
    hsd_engine_close(&engine);
    for (int first = 0; first < n_places; first++) {
        for (int last = 0; last < n_places; last++) {
            // Every cut between CPUs; elsewhere one each, in turn.
            bool both = is_cpu(first) && is_cpu(last);
            if (is_left_out(first, last)) {
                continue;
            }
            for (int k = both ? 0 : (first + last) % 4; k < 4; k += both ? 1 : 4) {
                char what[640];
                snprintf(what, sizeof what, "layers on %.200s and %.200s, cut at %d", places[first],
                         places[last], cuts[k]);
                engine = open_engine(places[first], places[last], cuts[k], "cpu");
                for (int exit = 3; exit <= (only >= 0 ? 3 : 5); exit++) {
                    text ar;
                    if (is_light() && exit != 3 + (first + last + k) % 3) {
                        continue;
                    }
                    hsd_session_options options = options_of(HSD_MODE_SERIAL, 0.0f);
                    options.exit_layer = exit;
                    options.tree = exit == 5 ? 9 : 0;
                    options.draft_kind = exit == 3 ? HSD_DRAFT_NGRAM : HSD_DRAFT_MODEL;
                    options.roots_from = exit == 4 ? HSD_ROOTS_FROM_EXIT : HSD_ROOTS_FROM_BOTH;
                    modes_agree(engine, &options, what, &ar);
                    assert_true(!both || same(&ar, &whole));
                }
                hsd_engine_close(&engine);
            }
        }
    }
    most_drafts_were_right_at_times();
}

static void processors_that_are_none_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *name;
        hsd_status status;
    } cases[] = {{"cpu:", HSD_EINVAL},        {"cpu:x", HSD_EINVAL},
                 {"cpu:0,x", HSD_EINVAL},     {"cpu:-1", HSD_EINVAL},
                 {"cpu: 0", HSD_EINVAL},      {"cpu:0-", HSD_EINVAL},
                 {"cpu:0-0-0", HSD_EINVAL},   {"cpu:0,,0", HSD_EINVAL},
                 {"cpu:3-0", HSD_EINVAL},     {"cpu:99999999999", HSD_EINVAL},
                 {"cpu:9999", HSD_ENODEVICE}, {"cpu0", HSD_EINVAL},
                 {"opencl:", HSD_EINVAL},     {"opencl:1x", HSD_EINVAL},
                 {"opencl:-1", HSD_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hsd_engine *engine = NULL;
        hsd_error err = {0};
        hsd_engine_options options;
        hsd_engine_options_init(&options);
        options.suffix_device = cases[i].name;
        if (hsd_engine_open(&options, &engine, &err) != cases[i].status) {
            fail_msg("%s: %s: %s", cases[i].name, err.where, err.message);
        }
        assert_string_equal(err.where, "suffix_device");
        assert_null(engine);
    }
}

static void cuts_that_are_none_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *device;
        int layer;
        hsd_status status;
    } cases[] = {{"cpu", 8, HSD_EINVAL},
                 {"cpu", 1000000, HSD_EINVAL},
                 {"cpu", -1, HSD_EINVAL},
                 {NULL, 4, HSD_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hsd_engine *engine = NULL;
        hsd_error err = {0};
        hsd_engine_options options;
        hsd_engine_options_init(&options);
        options.suffix_device = cases[i].device;
        options.split_layer = cases[i].layer;
        assert_int_equal(hsd_engine_open(&options, &engine, &err), cases[i].status);
        assert_non_null(strstr(err.where, "split_layer"));
        assert_null(engine);
    }
    hsd_engine *engine = open_engine("cpu", "cpu", 4, "cpu");
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_session_options options = options_of(HSD_MODE_SERIAL, 0.0f);
    options.draft_kind = HSD_DRAFT_EARLY_EXIT;
    assert_int_equal(hsd_session_open(engine, &options, &session, &err), HSD_EUNSUPPORTED);
    assert_string_equal(err.where, "draft_kind");
    hsd_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_draft_anywhere_changes_nothing),
        cmocka_unit_test(a_target_on_two_places_says_the_same_in_every_mode),
        cmocka_unit_test(processors_that_are_none_are_refused),
        cmocka_unit_test(cuts_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, find_places, NULL);
}
