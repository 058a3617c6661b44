/// Proves: with the shipped pair, on OpenCL and on Level Zero: with the target there, modes serial,
///           mirror and async, each draft kind, trees and two sessions at once give the tokens of
///           mode ar on that device, greedy, sampled and with rules of the text; with the draft
///           there, those of the CPU's mode ar; with both there too. The target says the same
///           whether lists or logits come back from the device.
///         Device names that are none are refused with the option's name; a device that is not
///           there by its number; the list begins with the CPU and counts the others by kind.
/// Does not prove: anything about speed, nor about drivers that are not installed here.
#include "tests/accelerator.h"
#include "tests/light.h"

#include <hsd/hsd.h>
#include <stdio.h>
#include <string.h>

enum { N_TOKENS = 24 };

static const char prompt[] = "Once upon a time there was a little girl who";

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

static hsd_engine *open_engine(const char *target_device, const char *draft_device)
{
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_device = target_device;
    options.draft_device = draft_device;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session *begin(hsd_engine *engine, const hsd_session_options *options)
{
    hsd_session *session = NULL;
    hsd_error err = {0};
    must(hsd_session_open(engine, options, &session, &err), &err);
    must(hsd_session_submit(session, prompt, strlen(prompt), &err), &err);
    return session;
}

static void finish(hsd_session **session, text *out, hsd_stats *stats)
{
    hsd_error err = {0};
    hsd_token token;
    hsd_status status;
    *out = (text){0};
    while ((status = hsd_session_next(*session, -1, &token, &err)) == HSD_OK) {
        if (token.id >= 0) {
            assert_in_range(out->n, 0, N_TOKENS - 1);
            out->tokens[out->n++] = token.id;
        }
    }
    must(status == HSD_EEND ? HSD_OK : status, &err);
    if (stats) {
        hsd_session_stats(*session, stats);
    }
    hsd_session_close(session);
}

static hsd_session_options options_of(hsd_mode mode, float temperature)
{
    hsd_session_options options;
    hsd_session_options_init(&options);
    options.mode = mode;
    options.n_tokens = N_TOKENS;
    options.ignore_eos = true;
    options.sampling.temperature = temperature;
    options.sampling.seed = 7;
    return options;
}

static void generate(hsd_engine *engine, const hsd_session_options *options, text *out,
                     hsd_stats *stats)
{
    hsd_session *session = begin(engine, options);
    finish(&session, out, stats);
}

static void compare(const hsd_session_options *o, const text *got, const text *want)
{
    if (got->n != want->n || memcmp(got->tokens, want->tokens, sizeof got->tokens) != 0) {
        fail_msg("mode %s, draft %s, tree %d, temperature %g: other tokens than mode ar",
                 hsd_mode_name(o->mode), hsd_draft_kind_name(o->draft_kind), o->tree,
                 (double)o->sampling.temperature);
    }
}

/// Every drafting mode on an engine gives `want`.
static void all_modes_give(hsd_engine *engine, const hsd_sampling *sampling, const text *want)
{
    static const hsd_draft_kind kinds[] = {HSD_DRAFT_MODEL, HSD_DRAFT_NGRAM, HSD_DRAFT_EARLY_EXIT};
    int64_t accepted = 0;
    for (int mode = HSD_MODE_SERIAL; mode <= HSD_MODE_ASYNC; mode++) {
        for (size_t k = 0; k < 2 * sizeof kinds / sizeof *kinds; k++) {
            text got;
            if (is_light() && k % 2 != (size_t)mode % 2) {
                continue;
            }
            hsd_stats stats;
            hsd_session_options options = options_of((hsd_mode)mode, 0.0f);
            options.sampling = *sampling;
            options.draft_kind = kinds[k / 2];
            options.window = 4;
            options.tree = k % 2 ? 12 : 0;
            generate(engine, &options, &got, &stats);
            compare(&options, &got, want);
            accepted += stats.accepted;
        }
    }
    assert_true(accepted > 0);
}

static void need(const char *name)
{
    hsdi_device *device = open_accelerator_or_skip(name);
    hsdi_device_close(&device);
}

/// The first two make lists of the best, all others draw on the device.
static const hsd_sampling samplings[] = {
    {.top_p = 1.0f},
    {.temperature = 0.8f, .top_k = 20, .top_p = 1.0f, .seed = 7},
    {.temperature = 0.8f, .top_p = 1.0f, .seed = 7},
    {.temperature = 1.4f, .top_k = 100, .top_p = 0.9f, .min_p = 0.02f, .seed = 8},
    {.top_p = 1.0f, .repeat_penalty = 1.3f, .no_repeat_ngram = 3},
    {.temperature = 0.9f, .top_k = 30, .top_p = 1.0f, .seed = 1ull << 40, .repeat_penalty = 1.2f},
};
enum { N_SAMPLINGS = sizeof samplings / sizeof *samplings };

static void a_target_there_says_the_same_in_every_mode(void **state)
{
    need(*state);
    setenv("HSD_DEVICE_LISTS", "0", 1);
    hsd_engine *other = open_engine(accelerator_name(*state), NULL);
    setenv("HSD_DEVICE_LISTS", "1", 1);
    hsd_engine *engine = open_engine(accelerator_name(*state), NULL);
    unsetenv("HSD_DEVICE_LISTS");
    for (int i = 0; i < N_SAMPLINGS; i += is_light() ? 2 : 1) {
        text want, from_logits;
        hsd_session_options ar = options_of(HSD_MODE_AR, 0.0f);
        ar.sampling = samplings[i];
        generate(engine, &ar, &want, NULL);
        assert_int_equal(want.n, N_TOKENS);
        generate(other, &ar, &from_logits, NULL);
        compare(&ar, &from_logits, &want);
        all_modes_give(engine, &ar.sampling, &want);
    }
    hsd_engine_close(&other);
    hsd_engine_close(&engine);
}

static void two_sessions_there_do_not_disturb_each_other(void **state)
{
    need(*state);
    hsd_engine *engine = open_engine(accelerator_name(*state), "cpu");
    text want, got[2];
    hsd_session_options ar = options_of(HSD_MODE_AR, 0.0f);
    hsd_session_options mirror = options_of(HSD_MODE_MIRROR, 0.0f);
    generate(engine, &ar, &want, NULL);
    hsd_session *sessions[2] = {begin(engine, &ar), begin(engine, &mirror)};
    for (int i = 0; i < 2; i++) {
        finish(&sessions[i], &got[i], NULL);
        compare(i ? &mirror : &ar, &got[i], &want);
    }
    hsd_engine_close(&engine);
}

static void sessions_that_draw_there_share_passes(void **state)
{
    enum { N = 3 };
    need(*state);
    setenv("HSD_DEVICE_LISTS", "1", 1);
    hsd_engine *engine = open_engine(accelerator_name(*state), "cpu");
    unsetenv("HSD_DEVICE_LISTS");
    text want[N], got[N];
    hsd_session *sessions[N];
    hsd_session_options options[N];
    for (int i = 0; i < N; i++) {
        options[i] = options_of(HSD_MODE_AR, 0.8f + 0.2f * (float)i);
        options[i].sampling.seed = (uint64_t)i;
        options[i].sampling.repeat_penalty = i == 2 ? 1.4f : 0.0f;
        generate(engine, &options[i], &want[i], NULL);
    }
    for (int i = 0; i < N; i++) {
        sessions[i] = begin(engine, &options[i]);
    }
    for (int i = 0; i < N; i++) {
        finish(&sessions[i], &got[i], NULL);
        compare(&options[i], &got[i], &want[i]);
    }
    assert_memory_not_equal(want[0].tokens, want[1].tokens, sizeof want[0].tokens);
    hsd_engine_close(&engine);
}

static void a_draft_there_changes_no_token_of_the_cpu(void **state)
{
    need(*state);
    text want;
    hsd_session_options ar = options_of(HSD_MODE_AR, 0.0f);
    hsd_engine *plain = open_engine(NULL, NULL),
               *engine = open_engine("cpu", accelerator_name(*state));
    generate(plain, &ar, &want, NULL);
    all_modes_give(engine, &ar.sampling, &want);
    hsd_engine_close(&engine);
    hsd_engine_close(&plain);
}

static void target_and_draft_may_both_be_there(void **state)
{
    need(*state);
    text want;
    const char *device = accelerator_name(*state);
    hsd_session_options ar = options_of(HSD_MODE_AR, 0.0f);
    hsd_engine *engine = open_engine(device, device);
    generate(engine, &ar, &want, NULL);
    all_modes_give(engine, &ar.sampling, &want);
    hsd_engine_close(&engine);
}

static void names_that_are_no_device_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "gpu",          "CPU",           "cpu0",
                                      "opencl:", "opencl:-1",    "opencl:1x",     "opencl: 1",
                                      "openclx", "opencl:99999", "level_zero:",   "level_zero:-1",
                                      "level",   "level_zero1",  "level_zero:1:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (int draft = 0; draft < 2; draft++) {
            hsd_engine *engine = NULL;
            hsd_error err = {0};
            hsd_engine_options options;
            hsd_engine_options_init(&options);
            *(draft ? &options.draft_device : &options.target_device) = bad[i];
            assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_EINVAL);
            assert_string_equal(err.where, draft ? "draft_device" : "target_device");
            assert_null(engine);
        }
    }
}

static void a_number_too_high_is_no_device(void **state)
{
    char name[24];
    snprintf(name, sizeof name, "%s:9999", (const char *)*state);
    need(*state);
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options options;
    hsd_engine_options_init(&options);
    options.target_device = name;
    assert_int_equal(hsd_engine_open(&options, &engine, &err), HSD_ENODEVICE);
    assert_null(engine);
}

static void the_list_of_devices_begins_with_the_cpu(void **state)
{
    (void)state;
    hsd_device_info one, all[64];
    hsd_error err = {0};
    int n = 0, again = 0;
    assert_int_equal(hsd_device_list(all, 64, &n, &err), HSD_OK);
    assert_in_range(n, 1, 64);
    assert_string_equal(all[0].id, "cpu");
    assert_true(all[0].memory_bytes > 0 && all[0].n_units > 0);
    // Those of OpenCL, then those of Level Zero, each counted from 0.
    int n_opencl = 0;
    while (n_opencl + 1 < n && strncmp(all[n_opencl + 1].id, "opencl:", strlen("opencl:")) == 0) {
        n_opencl++;
    }
    for (int i = 1; i < n; i++) {
        char want[24];
        bool opencl = i <= n_opencl;
        snprintf(want, sizeof want, "%s:%d", opencl ? "opencl" : "level_zero",
                 opencl ? i - 1 : i - 1 - n_opencl);
        assert_string_equal(all[i].id, want);
    }
    hsd_device_info some[64];
    for (int cap = 1; cap < n; cap++) {
        assert_int_equal(hsd_device_list(some, cap, &again, &err), HSD_OK);
        assert_int_equal(again, n);
        assert_string_equal(some[cap - 1].id, all[cap - 1].id);
    }
    assert_int_equal(hsd_device_list(&one, 1, &again, &err), HSD_OK);
    assert_int_equal(again, n);
    assert_string_equal(one.id, "cpu");
    assert_int_equal(hsd_device_list(NULL, 0, &again, &err), HSD_OK);
    assert_int_equal(again, n);
    assert_int_equal(hsd_device_list(NULL, 1, &again, &err), HSD_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ACCELERATORS(a_target_there_says_the_same_in_every_mode),
        ON_ACCELERATORS(two_sessions_there_do_not_disturb_each_other),
        ON_ACCELERATORS(sessions_that_draw_there_share_passes),
        ON_ACCELERATORS(a_draft_there_changes_no_token_of_the_cpu),
        ON_ACCELERATORS(target_and_draft_may_both_be_there),
        cmocka_unit_test(names_that_are_no_device_are_refused),
        ON_ACCELERATORS(a_number_too_high_is_no_device),
        cmocka_unit_test(the_list_of_devices_begins_with_the_cpu),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
