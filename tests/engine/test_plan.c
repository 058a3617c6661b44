/// Proves, on the shipped pair: mode auto gives the tokens of mode ar, over generations, samplings
/// and windows, and says what it did, also where the mode is changed at random; an engine with a
/// described machine opens the devices of its plan; a plan of a described machine names devices and
/// reasons, and is refused where nothing fits or nothing is known. Does not prove: that the plan is
/// the fastest (tests/bench/auto.py).
#include "engine/plan.h"

#include <hsd/hsd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_TOKENS = 160 };

typedef struct text {
    int n;
    int32_t tokens[N_TOKENS];
} text;

static hsd_engine *open_engine(const hsd_machine *machine)
{
    hsd_engine_options o;
    hsd_engine *engine = NULL;
    hsd_error err = {0};
    hsd_engine_options_init(&o);
    o.machine = machine;
    if (hsd_engine_open(&o, &engine, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return engine;
}

static void generate(hsd_session *session, const char *prompt, text *out)
{
    hsd_error err = {0};
    hsd_token token;
    out->n = 0;
    assert_int_equal(hsd_session_submit(session, prompt, strlen(prompt), &err), HSD_OK);
    while (hsd_session_next(session, -1, &token, &err) == HSD_OK) {
        if (token.id >= 0) {
            out->tokens[out->n++] = token.id;
        }
    }
}

static hsd_session *open_session(hsd_engine *engine, hsd_mode mode, int window, float temperature)
{
    hsd_session_options o;
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_session_options_init(&o);
    o.mode = mode;
    o.window = window;
    o.sampling.temperature = temperature;
    o.sampling.seed = 5;
    o.n_tokens = N_TOKENS;
    o.ignore_eos = true;
    if (hsd_session_open(engine, &o, &session, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return session;
}

static void check_equal(hsd_engine *engine, int window, float temperature)
{
    static const char *const prompts[] = {"Once upon a time", "### User:\nWhat is 12 + 30?\n",
                                          "The wolf said to the lamb, \"The wolf said to the"};
    hsd_session *plain = open_session(engine, HSD_MODE_AR, 0, temperature);
    hsd_session *planned = open_session(engine, HSD_MODE_AUTO, window, temperature);
    for (int i = 0; i < 3; i++) {
        text one, two;
        hsd_stats stats;
        generate(plain, prompts[i], &one);
        generate(planned, prompts[i], &two);
        hsd_session_stats(planned, &stats);
        print_message("window %d: %s, %d changes, %.2f tokens a step\n", window,
                      hsd_mode_name(stats.mode), (int)stats.replans,
                      (double)stats.n_tokens / (double)stats.steps);
        assert_int_equal(one.n, two.n);
        assert_memory_equal(one.tokens, two.tokens, (size_t)one.n * sizeof *one.tokens);
        assert_true(stats.mode >= HSD_MODE_AR && stats.mode <= HSD_MODE_ASYNC);
        assert_true(stats.replans >= 0);
    }
    hsd_session_close(&planned);
    hsd_session_close(&plain);
}

static void auto_gives_the_tokens_of_ar(void **state)
{
    (void)state;
    hsd_engine *engine = open_engine(NULL);
    check_equal(engine, 0, 0.0f);
    check_equal(engine, 3, 0.0f);
    check_equal(engine, 0, 0.8f);
    hsd_engine_close(&engine);
}

/// Forces arms at random tokens, on the session's own thread.
typedef struct forcer {
    hsd_session *session;
    text *out;
    uint64_t random, exits; ///< exits: bit n, the early exit was at layer n
    int n_alone, n_wrong;   ///< tokens before any window; statistics that name another draft
} forcer;

static bool force(void *user, const hsd_token *token)
{
    forcer *f = user;
    if (token->id >= 0) {
        f->out->tokens[f->out->n++] = token->id;
    }
    f->random = f->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    hsd_stats stats;
    hsd_session_stats(f->session, &stats);
    f->exits |= UINT64_C(1) << (stats.exit_layer & 63);
    bool is_alone = stats.mode == HSD_MODE_AR && stats.drafted == 0;
    f->n_alone += is_alone;
    f->n_wrong += stats.draft_kind != (is_alone ? HSD_DRAFT_AUTO : HSD_DRAFT_MODEL);
    if ((f->random >> 40) % 6 == 0) {
        hsdi_session_set_arm(f->session, (int)((f->random >> 33) % 8));
    }
    return true;
}

static void forced_changes_change_no_token(void **state)
{
    (void)state;
    static const char prompt[] = "Once upon a time";
    hsd_engine *engine = open_engine(NULL);
    double before = hsdi_plan_hopeless;
    int64_t n_replans = 0, n_drafted = 0;
    uint64_t exits = 0;
    int n_alone = 0;
    hsdi_plan_hopeless = 0.0; // the arms are there, whatever they promise
    for (int k = 0; k < 6; k++) {
        float temperature = k % 2 ? 0.8f : 0.0f;
        text plain_text, forced_text = {0};
        hsd_error err = {0};
        hsd_stats stats;
        hsd_session *plain = open_session(engine, HSD_MODE_AR, 0, temperature), *forced = NULL;
        forcer f = {.out = &forced_text, .random = (uint64_t)k * 977 + 3};
        hsd_session_options o;
        hsd_session_options_init(&o);
        o.window = k % 3 ? 3 : 0;
        o.sampling.temperature = temperature;
        o.sampling.seed = 5;
        o.n_tokens = N_TOKENS;
        o.ignore_eos = true;
        o.on_token = force;
        o.on_token_user = &f;
        assert_int_equal(hsd_session_open(engine, &o, &forced, &err), HSD_OK);
        f.session = forced;
        generate(plain, prompt, &plain_text);
        if (k < 2) {
            hsdi_session_set_arm(forced, 0); // alone, whatever the plan would begin with
        }
        assert_int_equal(hsd_session_submit(forced, prompt, strlen(prompt), &err), HSD_OK);
        assert_int_equal(hsd_session_wait(forced, &err), HSD_OK);
        hsd_session_stats(forced, &stats);
        assert_int_equal(plain_text.n, forced_text.n);
        assert_memory_equal(plain_text.tokens, forced_text.tokens,
                            (size_t)plain_text.n * sizeof *plain_text.tokens);
        n_replans += stats.replans;
        n_drafted += stats.drafted;
        exits |= f.exits;
        n_alone += f.n_alone;
        assert_int_equal(f.n_wrong, 0);
        hsd_session_close(&forced);
        hsd_session_close(&plain);
    }
    hsdi_plan_hopeless = before;
    print_message("%d changes, %d tokens drafted, exits %llx\n", (int)n_replans, (int)n_drafted,
                  (unsigned long long)exits);
    assert_true(n_replans > 20 && n_drafted > 20 && n_alone > 0);
    assert_true(__builtin_popcountll(exits) >= 3);
    hsd_engine_close(&engine);
}

/// A machine in a file of its own.
static hsd_machine *describe(const char *yaml)
{
    char path[] = "/tmp/hsd-plan-XXXXXX";
    hsd_machine *machine = NULL;
    hsd_error err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, yaml, strlen(yaml)), (ssize_t)strlen(yaml));
    close(fd);
    hsd_status status = hsd_machine_read(path, &machine, &err);
    unlink(path);
    if (status != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return machine;
}

#define CORES                                                                                      \
    "topology: 1\nname: test\n"                                                                    \
    "hosts:\n  - {name: here, here: true}\n"                                                       \
    "devices:\n  - name: cores\n    type: cpu\n    host: here\n    id: cpu\n    units: 2\n"
#define RATES "    read: 20 GB/s\n    f32: 200 Gop/s\n    int8: 800 Gop/s\n"

static void a_described_machine_places_the_models(void **state)
{
    (void)state;
    hsd_machine *machine = describe(CORES RATES);
    hsd_engine *engine = open_engine(machine);
    check_equal(engine, 0, 0.0f);
    hsd_engine_close(&engine);
    hsd_machine_free(&machine);
}

static void a_plan_names_devices_and_reasons(void **state)
{
    (void)state;
    hsd_machine *machine = describe(CORES RATES);
    hsd_plan_options o;
    hsd_plan *plan = NULL;
    hsd_error err = {0};
    hsd_plan_choice best, alone;
    hsd_plan_options_init(&o);
    o.machine = machine;
    if (hsd_plan_make(&o, &plan, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    hsd_plan_best(plan, &best);
    hsd_plan_alone(plan, &alone);
    assert_string_equal(best.target, "cores");
    assert_true(best.is_estimated);
    assert_true(best.tokens_per_s >= alone.tokens_per_s);
    assert_int_equal(alone.mode, HSD_MODE_AR);
    bool names_a_mode = false;
    for (int i = 0; i < hsd_plan_n_reasons(plan); i++) {
        names_a_mode |= strncmp(hsd_plan_reason(plan, i), "mode ", 5) == 0;
    }
    assert_true(names_a_mode);
    hsd_plan_free(&plan);
    o.target_path = "/nonexistent.gguf";
    assert_int_equal(hsd_plan_make(&o, &plan, &err), HSD_EIO);
    assert_null(plan);
    o.target_path = NULL;
    o.n_ctx = -1;
    assert_int_equal(hsd_plan_make(&o, &plan, &err), HSD_EINVAL);
    hsd_machine_free(&machine);
}

static void an_unknown_machine_is_refused_with_the_reason(void **state)
{
    (void)state;
    hsd_machine *machine = describe(CORES);
    hsd_plan_options o;
    hsd_plan *plan = NULL;
    hsd_error err = {0};
    hsd_plan_options_init(&o);
    o.machine = machine;
    assert_int_equal(hsd_plan_make(&o, &plan, &err), HSD_EUNSUPPORTED);
    assert_string_equal(err.where, "cores");
    assert_non_null(strstr(err.message, "measure"));
    hsd_machine_free(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_gives_the_tokens_of_ar),
        cmocka_unit_test(forced_changes_change_no_token),
        cmocka_unit_test(a_described_machine_places_the_models),
        cmocka_unit_test(a_plan_names_devices_and_reasons),
        cmocka_unit_test(an_unknown_machine_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
