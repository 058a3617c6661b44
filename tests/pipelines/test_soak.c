/// Proves: hundreds of faults of draft workers in the middle of generations - processes killed,
/// stopped, failing, of another vocabulary; frames late, damaged, cut, doubled, out of order, lost,
/// of another session, not read - in random order, in all modes, with chains and trees and 1 to 3
/// workers, change no token; a worker that is gone while in use is reported; all are used again
/// when they return; no process, descriptor, draft stage or socket file is left.
/// Does not prove: how much time a fault costs.
///
/// HSD_TEST_FAULTS: how many at least; HSD_TEST_SEED: another schedule.
#include "process.h"
#include "relay.h"
#include "rig.h"

#include <base/clock.h>
#include <dirent.h>
#include <errno.h>
#include <pipelines/target_state.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
enum { FAULTS_DEFAULT = 60 };
#else
enum { FAULTS_DEFAULT = 200 };
#endif

enum { N_PROMPT = 10, N_TOKENS = 200, SITES_MAX = 3, GENERATIONS = 4 };

static const int64_t MS = 1000000, PATIENCE_NS = 60000000000; ///< for what must happen some time

typedef enum fault {
    FAULT_NONE,
    FAULT_DELAY = RELAY_DELAY,
    FAULT_FLIP = RELAY_FLIP,
    FAULT_TRUNCATE = RELAY_TRUNCATE,
    FAULT_DUPLICATE = RELAY_DUPLICATE,
    FAULT_REORDER = RELAY_REORDER,
    FAULT_DROP = RELAY_DROP,
    FAULT_STALE = RELAY_STALE,
    FAULT_MUTE = RELAY_MUTE,
    FAULT_KILL,       ///< and started again later
    FAULT_STOP,       ///< SIGSTOP, later SIGCONT
    FAULT_FAIL,       ///< another one whose stage fails after some calls
    FAULT_VOCABULARY, ///< another one of another vocabulary
    N_FAULTS,
} fault;

static const char *const fault_names[N_FAULTS] = {
    "none",  "delayed", "flipped", "cut",     "doubled", "disordered", "dropped",
    "stale", "mute",    "killed",  "stopped", "failing", "vocabulary",
};

static hsdi_context *context;
static uint64_t random_state;

/// What all rounds did.
static struct {
    long n_faults[N_FAULTS], n_frames, n_generations, n_tokens, n_lost, n_reopened, n_late,
        n_ignored, n_refused;
} totals;

/// A worker: a process or a thread, linked to directly or through a relay.
typedef struct site {
    bool is_process, is_relayed;
    process process;
    rig_worker worker;
    relay relay;
    const char *endpoint; ///< for the target
    fault fault;          ///< present
    int64_t until_ns;
    long n_lost, n_refused; ///< log lines
} site;

typedef struct round {
    uint64_t seed;
    scripted_script script;
    hsdi_target_config config;
    hsdi_target_stage stage;
    hsdi_target *target;
    int n_sites;
    site sites[SITES_MAX];
    const char *endpoints[SITES_MAX];
    int32_t prompt[N_PROMPT];
    rig_output expected, out;
    char what[200]; ///< the setting, for messages
    atomic_bool is_over;
    long n_done; ///< faults
} round;

static uint32_t draw(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static int64_t draw_ns(int least_ms, int most_ms)
{
    return (least_ms + (int64_t)draw((uint32_t)(most_ms - least_ms) + 1)) * MS;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && text[0] ? strtoull(text, NULL, 10) : otherwise;
}

/// The target's log: which worker is lost, which is not used.
static void take_line(void *user, int level, const char *text)
{
    round *r = user;
    (void)level;
    for (int i = 0; i < r->n_sites; i++) {
        char name[128];
        snprintf(name, sizeof name, "draft worker %s: ", r->sites[i].endpoint);
        if (strstr(text, name)) {
            r->sites[i].n_lost += strstr(text, "going on without it") != NULL;
            r->sites[i].n_refused += strstr(text, "not used") != NULL;
        }
    }
}

static bool restart(process *p, int fail_after, int odd_token)
{
    process_kill(p);
    p->fail_after = fail_after;
    p->odd_token = odd_token;
    return process_start(p);
}

static void begin_fault(site *s, fault what)
{
    s->fault = what;
    if (what == FAULT_KILL) {
        process_kill(&s->process);
    } else if (what == FAULT_STOP) {
        kill(s->process.pid, SIGSTOP);
    } else if (what == FAULT_FAIL) {
        restart(&s->process, 1 + (int)draw(60), 0);
    } else if (what == FAULT_VOCABULARY) {
        restart(&s->process, 0, 1 + (int)draw(499));
    } else {
        atomic_store(&s->relay.harm, (int)what);
    }
}

static void end_fault(site *s)
{
    if (s->fault == FAULT_STOP) {
        kill(s->process.pid, SIGCONT);
    } else if (s->fault >= FAULT_KILL) {
        restart(&s->process, 0, 0);
    } else {
        atomic_store(&s->relay.harm, RELAY_NONE);
    }
    s->fault = FAULT_NONE;
}

static bool can_have(const site *s, fault what)
{
    return what < FAULT_KILL ? s->is_relayed : s->is_process;
}

static fault draw_fault(const site *s)
{
    fault what;
    do {
        what = (fault)(1 + draw(N_FAULTS - 1));
    } while (!can_have(s, what));
    return what;
}

/// While a generation runs: faults come and go.
static void *inject(void *arg)
{
    round *r = arg;
    while (!atomic_load(&r->is_over)) {
        int64_t now_ns = hsdi_now_ns();
        for (int i = 0; i < r->n_sites; i++) {
            if (r->sites[i].fault != FAULT_NONE && now_ns >= r->sites[i].until_ns) {
                end_fault(&r->sites[i]);
            }
        }
        site *s = &r->sites[draw((uint32_t)r->n_sites)];
        if (s->fault == FAULT_NONE) {
            fault what = draw_fault(s);
            begin_fault(s, what);
            s->until_ns = now_ns + draw_ns(3, draw(4) == 0 ? 400 : 60);
            totals.n_faults[what]++;
            r->n_done++;
        }
        usleep(1000 + draw(20000));
    }
    return NULL;
}

/// After a generation: its tokens, and the sums.
static void take_result(round *r)
{
    rig_assert_equal(&r->out, &r->expected, r->what);
    totals.n_generations++;
    totals.n_tokens += r->out.n_tokens;
    totals.n_lost += r->out.stats.workers_lost;
    totals.n_reopened += r->out.stats.reopened;
    totals.n_late += r->out.stats.late;
    totals.n_ignored += r->out.stats.ignored;
}

static void generate(round *r)
{
    rig_generate(r->target, r->prompt, N_PROMPT, N_TOKENS, NULL, &r->out);
    take_result(r);
}

/// A worker whose frames are damaged three times in a row is not used for the rest of a generation:
/// lost too.
static long lines_lost(const round *r)
{
    long n = 0;
    for (int i = 0; i < r->n_sites; i++) {
        n += r->sites[i].n_lost + r->sites[i].n_refused;
    }
    return n;
}

static bool is_in_use(const round *r, int i)
{
    return r->target->helpers[i].state == HSDI_PEER_OPEN;
}

/// A worker that is gone for good is reported, in this generation or a later one.
static void expect_report(round *r, int i)
{
    const site *s = &r->sites[i];
    int64_t deadline_ns = hsdi_now_ns() + PATIENCE_NS;
    long n_before = s->n_lost;
    bool was_in_use = is_in_use(r, i);
    while (is_in_use(r, i)) {
        if (hsdi_now_ns() > deadline_ns) {
            fail_msg("%s: worker %d is %s and nobody noticed", r->what, i, fault_names[s->fault]);
        }
        generate(r);
    }
    assert_true(!was_in_use || s->n_lost > n_before);
}

/// After the faults every worker is opened again and brings something.
static void expect_return(round *r)
{
    int64_t deadline_ns = hsdi_now_ns() + PATIENCE_NS;
    for (;;) {
        generate(r);
        bool is_whole = r->out.stats.workers_lost == 0 && r->out.stats.accepted > 0;
        for (int i = 0; i < r->n_sites; i++) {
            is_whole &= is_in_use(r, i);
        }
        if (is_whole) {
            return;
        }
        if (hsdi_now_ns() > deadline_ns) {
            fail_msg("%s: %d of %d workers in use, %d accepted, worker 0 in state %d", r->what,
                     hsdi_target_n_workers(r->target), r->n_sites, (int)r->out.stats.accepted,
                     (int)r->target->helpers[0].state);
        }
        usleep(5000);
    }
}

/// One generation with faults in the middle, and what must hold after it.
static void disturb(round *r)
{
    pthread_t thread;
    long n_lines = lines_lost(r);
    rig_prompt(&r->script, r->seed + draw(1000000), r->prompt, N_PROMPT);
    rig_expect(&r->script, r->prompt, N_PROMPT, N_TOKENS, -1, &r->expected);
    atomic_store(&r->is_over, false);
    assert_int_equal(pthread_create(&thread, NULL, inject, r), 0);
    rig_generate(r->target, r->prompt, N_PROMPT, N_TOKENS, NULL, &r->out);
    atomic_store(&r->is_over, true);
    pthread_join(thread, NULL);
    take_result(r);
    assert_true(lines_lost(r) - n_lines >= r->out.stats.workers_lost);
    for (int i = 0; i < r->n_sites; i++) {
        fault what = r->sites[i].fault;
        if (what == FAULT_KILL || what == FAULT_STOP || what == FAULT_MUTE) {
            expect_report(r, i);
        }
    }
    for (int i = 0; i < r->n_sites; i++) {
        if (r->sites[i].fault != FAULT_NONE) {
            end_fault(&r->sites[i]);
        }
    }
    expect_return(r);
}

static void open_site(round *r, site *s)
{
    uint32_t kind = draw(3); // a process, the same behind a relay, or a thread behind one
    s->is_process = kind < 2;
    s->is_relayed = kind > 0;
    s->process.seed = r->script.seed;
    if (s->is_process) {
        assert_true(process_start(&s->process));
        s->endpoint = s->process.endpoint;
    } else {
        hsdi_worker_config config;
        hsdi_worker_config_init(&config);
        config.idle_s = 5; // damaged frames open sessions that nobody closes
        rig_worker_start_with(&s->worker, context, &r->script, &config);
        s->endpoint = s->worker.endpoint;
    }
    if (s->is_relayed) {
        assert_true(relay_start(&s->relay, context, s->endpoint, r->seed));
        s->endpoint = s->relay.endpoint;
    }
}

static void close_site(site *s)
{
    if (s->is_relayed) {
        relay_stop(&s->relay);
        totals.n_frames += atomic_load(&s->relay.n_harmed);
    }
    if (s->is_process) {
        assert_true(process_end(&s->process));
    } else {
        rig_worker_stop(&s->worker);
    }
    totals.n_refused += s->n_refused;
}

static void draw_setting(round *r)
{
    static const hsd_mode modes[] = {HSD_MODE_SERIAL, HSD_MODE_MIRROR, HSD_MODE_ASYNC};
    hsdi_target_config *config = &r->config;
    hsdi_target_config_init(config);
    config->mode = modes[r->seed % 3];
    config->draft.window = 3 + (int)draw(6);
    config->draft.tree = config->draft.window + (draw(2) ? (int)draw(12) : 0);
    config->draft.miss_window = 1 + (int)draw((uint32_t)config->draft.window);
    config->draft.roots = 1 + (int)draw(16);
    config->draft.temperature = draw(2) ? 0.8f : 0.0f;
    config->draft.rule = draw(4) == 0 ? HSD_RULE_RATIO : HSD_RULE_COUPLED;
    config->adapts = draw(3) == 0;
    config->vocab_hash = 0x1234;
    config->vocabulary = scripted_vocabulary(&r->script);
    config->handshake_ms = 30000;
    config->first_deadline_ms = config->deadline_ms = draw(4) ? 60 + (int)draw(60) : 600;
    config->n_late_lost = 2 + (int)draw(2);
    config->retry_ms = 5 + (int)draw(30);
    config->log = (hsdi_log){take_line, r};
    r->script.pass_us = 300 + (int)draw(1200);
    r->n_sites = 1 + (int)draw(SITES_MAX);
    snprintf(r->what, sizeof r->what,
             "seed %d: mode %d, %d workers, window %d, tree %d, roots %d, rule %d, adapts %d",
             (int)r->seed, (int)config->mode, r->n_sites, config->draft.window, config->draft.tree,
             config->draft.roots, (int)config->draft.rule, config->adapts);
}

static round *round_open(uint64_t seed)
{
    hsd_error err = {0};
    round *r = calloc(1, sizeof *r);
    r->seed = seed;
    r->script = scripted_default(seed);
    r->script.agreement = 0.9;
    draw_setting(r);
    for (int i = 0; i < r->n_sites; i++) {
        open_site(r, &r->sites[i]);
        r->endpoints[i] = r->sites[i].endpoint;
    }
    r->config.endpoints = r->endpoints;
    r->config.n_endpoints = r->n_sites;
    r->stage = scripted_target_open(&r->script);
    if (hsdi_target_create(context, &r->config, &r->stage, &r->target, &err) != HSD_OK) {
        fail_msg("%s: %s", r->what, err.message);
    }
    assert_int_equal(hsdi_target_n_workers(r->target), r->n_sites);
    return r;
}

static long round_close(round *r)
{
    long n_done = r->n_done;
    hsdi_target_destroy(&r->target);
    scripted_target_close(&r->stage);
    for (int i = 0; i < r->n_sites; i++) {
        close_site(&r->sites[i]);
    }
    free(r);
    return n_done;
}

static void hundreds_of_faults_change_no_token_and_workers_return(void **state)
{
    (void)state;
    long n_faults = (long)number_of("HSD_TEST_FAULTS", FAULTS_DEFAULT), n_done = 0;
    uint64_t seed = number_of("HSD_TEST_SEED", 1);
    int64_t begin_ns = hsdi_now_ns();
    random_state = seed * 77 + 5;
    for (uint64_t i = 0; n_done < n_faults; i++) {
        round *r = round_open(seed + i);
        for (int k = 0; k < GENERATIONS; k++) {
            disturb(r);
        }
        n_done += round_close(r);
    }
    print_message("%ld faults in %ld generations, %ld tokens, %.1f s:", n_done,
                  totals.n_generations, totals.n_tokens, (double)(hsdi_now_ns() - begin_ns) / 1e9);
    for (int i = 1; i < N_FAULTS; i++) {
        print_message(" %s %ld%s", fault_names[i], totals.n_faults[i], i + 1 < N_FAULTS ? "," : "");
    }
    print_message("; %ld frames harmed, %ld ignored; lost %ld, refused %ld, reopened %ld; late "
                  "%ld\n",
                  totals.n_frames, totals.n_ignored, totals.n_lost, totals.n_refused,
                  totals.n_reopened, totals.n_late);
}

/// The long generation that fills the queue of a worker that is not waited for.
static void generate_long(hsdi_target *target, const scripted_script *script, rig_output *out)
{
    static rig_output expected;
    enum { N_LONG = 1500 };
    int32_t prompt[N_PROMPT];
    rig_prompt(script, 7, prompt, N_PROMPT);
    if (expected.n_tokens == 0) {
        rig_expect(script, prompt, N_PROMPT, N_LONG, -1, &expected);
    }
    rig_generate(target, prompt, N_PROMPT, N_LONG, NULL, out);
    rig_assert_equal(out, &expected, "a full queue");
}

static void a_worker_that_reads_nothing_is_lost_when_its_queue_is_full(void **state)
{
    (void)state;
    round *r = calloc(1, sizeof *r);
    hsd_error err = {0};
    r->script = scripted_default(7);
    r->script.agreement = 0.9;
    r->script.n_ctx = 1600;
    r->n_sites = 1;
    site *s = &r->sites[0];
    s->is_relayed = true;
    rig_worker_start(&s->worker, context, &r->script);
    assert_true(relay_start(&s->relay, context, s->worker.endpoint, 7));
    s->endpoint = r->endpoints[0] = s->relay.endpoint;
    hsdi_target_config_init(&r->config);
    r->config.mode = HSD_MODE_ASYNC;
    r->config.deadline_ms = 100000; // only the queue can tell
    r->config.retry_ms = 5;
    r->config.log = (hsdi_log){take_line, r};
    r->config.endpoints = r->endpoints;
    r->config.n_endpoints = 1;
    r->stage = scripted_target_open(&r->script);
    assert_int_equal(hsdi_target_create(context, &r->config, &r->stage, &r->target, &err), HSD_OK);
    begin_fault(s, FAULT_MUTE);
    generate_long(r->target, &r->script, &r->out);
    assert_int_equal(r->out.stats.workers_lost, 1);
    assert_int_equal(s->n_lost, 1);
    end_fault(s);
    int64_t deadline_ns = hsdi_now_ns() + PATIENCE_NS;
    do {
        assert_true(hsdi_now_ns() < deadline_ns);
        generate_long(r->target, &r->script, &r->out);
    } while (r->out.stats.accepted == 0);
    round_close(r);
}

static int count_descriptors(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        n++;
    }
    if (folder) {
        closedir(folder);
    }
    return n;
}

static void nothing_is_left(void **state)
{
    const int *n_before = *state;
    hsdi_context_destroy(&context);
    assert_int_equal(count_descriptors(), *n_before);
    assert_int_equal(atomic_load(&scripted_n_open), 0);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static int setup(void **state)
{
    static int n_descriptors;
    hsd_error err;
    n_descriptors = count_descriptors();
    *state = &n_descriptors;
    return hsdi_context_create(&context, &err) == HSD_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_reads_nothing_is_lost_when_its_queue_is_full),
        cmocka_unit_test(hundreds_of_faults_change_no_token_and_workers_return),
        cmocka_unit_test(nothing_is_left),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
