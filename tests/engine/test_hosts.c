/// Proves: with a draft worker on another host (a network namespace with a cable of its own), over
///           tcp:// with CURVE, the tokens are those of mode ar; when the cable is pulled in the
///           middle of a generation they still are, and the loss is reported; when it is plugged in
///           again the worker helps again.
/// Does not prove: anything about real networks' delays and losses.
///
/// Needs to make namespaces, so usually root, and `ip`: skipped otherwise.
#include <hsd/hsd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_TOKENS = 300, PULL_AT = 40, SKIP = 77, GENERATIONS_MAX = 100 };

static const char ENDPOINT[] = "tcp://10.77.0.1:5555";
static const char PROMPT[] = "Once upon a time";
static char folder[] = "/tmp/hsd-hosts-XXXXXX";

/// What a generation gave, and what it does to the cable.
typedef struct generation {
    hsd_session *session;
    int n;
    int32_t tokens[N_TOKENS];
    bool pulls; ///< out after PULL_AT tokens, in again when the worker was given up
    bool is_out, was_in_again;
} generation;

static atomic_int n_reported; ///< log lines that give the worker up
static hsd_worker *worker;

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int shell(const char *format, ...)
{
    char command[512] = "PATH=$PATH:/usr/sbin:/sbin; ";
    size_t n = strlen(command);
    va_list args;
    va_start(args, format);
    vsnprintf(command + n, sizeof command - n, format, args);
    va_end(args);
    return system(command);
}

static const char *file(const char *name)
{
    static char path[4][64];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    return path[i];
}

static void on_signal(int number)
{
    (void)number;
    hsd_worker_stop(worker);
}

static void say(void *user, int level, const char *text)
{
    if (strstr(text, ENDPOINT) && strstr(text, "going on without it")) {
        atomic_fetch_add(&n_reported, 1);
    }
    if (level <= 1) {
        print_message("%s: %s\n", (const char *)user, text);
    }
}

/// The other host: its end of the cable has an address once a byte came; then it serves.
static int serve(int ready_fd, int go_fd)
{
    char byte = 0;
    hsd_error err = {0};
    hsd_worker_options options;
    char key[64], clients[64];
    hsd_worker_options_init(&options);
    snprintf(key, sizeof key, "%s/worker.key", folder);
    snprintf(clients, sizeof clients, "%s/client.pub", folder);
    options.endpoint = "tcp://*:5555";
    options.key_file = key;
    options.clients_file = clients;
    options.log = say;
    options.log_user = (void *)"worker";
    if (unshare(CLONE_NEWNET) != 0 || write(ready_fd, "n", 1) != 1 || read(go_fd, &byte, 1) != 1 ||
        shell("ip link set lo up && ip addr add 10.77.0.1/24 dev hsd-w && ip link set hsd-w up")) {
        return 1;
    }
    if (hsd_worker_open(&options, &worker, &err) != HSD_OK) {
        print_error("worker: %s: %s\n", err.where, err.message);
        return 1;
    }
    signal(SIGTERM, on_signal);
    int code = write(ready_fd, "r", 1) == 1 && hsd_worker_run(worker, &err) == HSD_OK ? 0 : 1;
    hsd_worker_close(&worker);
    return code;
}

static void skip_all(const char *why)
{
    (void)!shell("rm -rf '%s'", folder);
    print_message("SKIPPED: %s\n", why);
    exit(SKIP);
}

/// Two hosts and a cable: this process is one, the child is the other. Exits where that is not
/// possible here.
static pid_t make_hosts(void)
{
    int ready[2], go[2];
    char byte = 0;
    if (shell("ip link show >/dev/null 2>&1") != 0 || unshare(CLONE_NEWNET) != 0) {
        skip_all("there is no `ip', or this user may not make network namespaces");
    }
    if (pipe(ready) != 0 || pipe(go) != 0) {
        exit(1);
    }
    pid_t pid = fork();
    if (pid == 0) {
        exit(serve(ready[1], go[0]));
    }
    close(ready[1]);
    if (pid < 0 || read(ready[0], &byte, 1) != 1) {
        skip_all("no second network namespace can be made");
    }
    if (shell("ip link add hsd-c type veth peer name hsd-w netns %d", (int)pid) != 0) {
        kill(pid, SIGKILL);
        skip_all("no virtual cable (veth) can be made");
    }
    if (shell("ip link set lo up && ip addr add 10.77.0.2/24 dev hsd-c && ip link set hsd-c up") ||
        write(go[1], "g", 1) != 1 || read(ready[0], &byte, 1) != 1 || byte != 'r') {
        print_error("the worker did not start\n");
        kill(pid, SIGKILL);
        exit(1);
    }
    return pid;
}

static bool on_token(void *user, const hsd_token *token)
{
    generation *g = user;
    hsd_stats stats;
    if (token->id < 0) {
        return true;
    }
    g->tokens[g->n++] = token->id;
    if (g->pulls && g->n == PULL_AT) {
        g->is_out = shell("ip link set hsd-c down") == 0;
    }
    hsd_session_stats(g->session, &stats);
    if (g->is_out && stats.workers_lost > 0) {
        g->is_out = false;
        g->was_in_again = shell("ip link set hsd-c up") == 0;
    }
    return g->n < N_TOKENS;
}

static void generate(hsd_session *session, generation *g, hsd_stats *stats)
{
    hsd_error err = {0};
    g->session = session;
    g->n = 0;
    must(hsd_session_submit(session, PROMPT, strlen(PROMPT), &err), &err);
    hsd_status status = hsd_session_wait(session, &err);
    must(status == HSD_ECANCELED ? HSD_OK : status, &err);
    hsd_session_stats(session, stats);
}

static void open_session(hsd_engine *engine, hsd_mode mode, generation *g, hsd_session **out)
{
    hsd_session_options options;
    hsd_error err = {0};
    hsd_session_options_init(&options);
    options.mode = mode;
    options.window = mode == HSD_MODE_AR ? 0 : 4; // an adapting one may pause, and ask for nothing
    options.sampling.temperature = 0;
    options.ignore_eos = true;
    options.n_tokens = N_TOKENS;
    options.on_token = on_token;
    options.on_token_user = g;
    must(hsd_session_open(engine, &options, out, &err), &err);
}

static void assert_same(const generation *got, const generation *expected)
{
    assert_int_equal(got->n, expected->n);
    for (int i = 0; i < got->n; i++) {
        if (got->tokens[i] != expected->tokens[i]) {
            fail_msg("token %d is %d, not %d", i, got->tokens[i], expected->tokens[i]);
        }
    }
}

static void a_pulled_cable_costs_no_token_and_the_worker_comes_back(void **state)
{
    static generation expected, got;
    const char *endpoint = ENDPOINT, *worker_key = file("worker.pub");
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    hsd_error err = {0};
    hsd_stats stats;
    hsd_engine_options options;
    (void)state;
    hsd_engine_options_init(&options);
    options.worker_endpoints = &endpoint;
    options.worker_key_files = &worker_key;
    options.n_workers = 1;
    options.key_file = file("client.key");
    options.log = say;
    options.log_user = (void *)"engine";
    must(hsd_engine_open(&options, &engine, &err), &err);

    open_session(engine, HSD_MODE_AR, &expected, &session);
    generate(session, &expected, &stats);
    hsd_session_close(&session);

    open_session(engine, HSD_MODE_MIRROR, &got, &session);
    int n_tries = 0;
    do { // on a busy machine a worker may be late even so
        generate(session, &got, &stats);
        assert_same(&got, &expected);
    } while ((stats.accepted == 0 || stats.workers_lost > 0) && ++n_tries < GENERATIONS_MAX);
    assert_true(stats.accepted > 0);
    assert_int_equal(stats.workers_lost, 0);
    atomic_store(&n_reported, 0);

    got.pulls = true;
    generate(session, &got, &stats);
    assert_same(&got, &expected);
    assert_true(stats.workers_lost >= 1);
    assert_true(got.was_in_again);
    assert_true(atomic_load(&n_reported) >= 1);

    got.pulls = false;
    int64_t drafted = 0;
    int n_generations = 0;
    while (drafted == 0 && n_generations++ < GENERATIONS_MAX) {
        const struct timespec pause = {.tv_nsec = 200000000};
        generate(session, &got, &stats);
        assert_same(&got, &expected);
        drafted = stats.drafted;
        nanosleep(&pause, NULL);
    }
    print_message("the worker helped again in generation %d after the cable was in\n",
                  n_generations);
    assert_true(drafted > 0);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pulled_cable_costs_no_token_and_the_worker_comes_back),
    };
    hsd_error err = {0};
    if (!mkdtemp(folder) || hsd_key_create(file("worker"), &err) != HSD_OK ||
        hsd_key_create(file("client"), &err) != HSD_OK) {
        print_error("no keys: %s: %s\n", err.where, err.message);
        return 1;
    }
    pid_t pid = make_hosts();
    int failed = cmocka_run_group_tests(tests, NULL, NULL), status = 1;
    kill(pid, SIGTERM);
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        print_error("the worker ended with status %d\n", status);
        failed++;
    }
    (void)!shell("rm -rf '%s'", folder);
    return failed;
}
