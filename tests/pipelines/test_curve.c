/// Proves: with keys frames pass over tcp and ipc; a client with a wrong key, without one, or that
/// expects another worker gets nothing through and is told why; the worker says whom it refused,
/// and not for each of a crowd; the list of clients counts as it is at the handshake, and a link
/// that was refused works once its key is on it; a list that breaks lets nobody in.
/// Does not prove: the cryptography, which is ZeroMQ's.
#include "rig.h"

#include <base/clock.h>
#include <netinet/in.h>
#include <pipelines/transport/keys.h>
#include <pipelines/transport/link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const int64_t SECOND = 1000000000;

static char folder[] = "/tmp/hsd-curve-XXXXXX";

/// A worker's end that echoes, on a thread of its own.
typedef struct echo {
    hsdi_context *context;
    hsdi_listener *listener;
    pthread_t thread;
    atomic_bool is_stopped;
    atomic_int n_warnings, n_frames;
    char endpoint[96];
} echo;

static const char *file(const char *name)
{
    static char path[4][128];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    return path[i];
}

/// The list of clients becomes these names' keys.
static void allow(const char *names)
{
    char command[256];
    snprintf(command, sizeof command,
             "cd '%s' && { for n in %s; do cat $n.pub; done } > new && "
             "mv new clients",
             folder, names);
    assert_int_equal(system(command), 0);
}

static void count_warning(void *user, int level, const char *text)
{
    echo *e = user;
    if (level == HSDI_LOG_WARN) {
        assert_non_null(strstr(text, "refused client"));
        atomic_fetch_add(&e->n_warnings, 1);
    }
}

static void *run_echo(void *arg)
{
    echo *e = arg;
    hsdi_peer from;
    const void *frame;
    size_t n_bytes;
    while (!atomic_load(&e->is_stopped)) {
        hsdi_listener_wait(e->listener, -1);
        while (hsdi_listener_receive(e->listener, &from, &frame, &n_bytes) == HSD_OK) {
            atomic_fetch_add(&e->n_frames, 1);
            (void)!hsdi_listener_send(e->listener, &from, frame, n_bytes);
        }
    }
    return NULL;
}

static void start_echo(echo *e, const char *endpoint, bool has_keys)
{
    hsd_error err = {0};
    *e = (echo){0};
    snprintf(e->endpoint, sizeof e->endpoint, "%s", endpoint);
    assert_int_equal(hsdi_context_create(&e->context, &err), HSD_OK);
    if (has_keys) {
        hsdi_keyring *keyring = hsdi_context_keyring(e->context);
        const hsdi_log log = {count_warning, e};
        assert_int_equal(hsdi_keyring_set_own(keyring, file("worker.key"), &err), HSD_OK);
        assert_int_equal(hsdi_keyring_set_clients(keyring, file("clients"), &log, &err), HSD_OK);
    }
    if (hsdi_listener_bind(e->context, endpoint, &e->listener, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    assert_int_equal(pthread_create(&e->thread, NULL, run_echo, e), 0);
}

static void stop_echo(echo *e)
{
    atomic_store(&e->is_stopped, true);
    hsdi_listener_wake(e->listener);
    pthread_join(e->thread, NULL);
    hsdi_listener_close(&e->listener);
    hsdi_context_destroy(&e->context);
}

/// A client's context: its own key pair and the key it expects of the worker, or NULLs.
static hsdi_context *client(const echo *e, const char *own, const char *worker)
{
    hsdi_context *context = NULL;
    hsd_error err = {0};
    assert_int_equal(hsdi_context_create(&context, &err), HSD_OK);
    hsdi_keyring *keyring = hsdi_context_keyring(context);
    hsd_status status = own ? hsdi_keyring_set_own(keyring, file(own), &err) : HSD_OK;
    if (status == HSD_OK && worker) {
        status = hsdi_keyring_add_worker(keyring, e->endpoint, file(worker), &err);
    }
    if (status != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    return context;
}

/// Does a frame come back within the time?
static bool comes_back(hsdi_link *link, int64_t timeout_ns)
{
    const void *frame;
    size_t n_bytes;
    int64_t deadline_ns = hsdi_now_ns() + timeout_ns;
    while (hsdi_now_ns() < deadline_ns) {
        if (hsdi_link_send(link, "hello", 5) == HSD_OK) {
            hsdi_links_wait(&link, 1, SECOND / 10);
        } else {
            usleep(10000);
        }
        if (hsdi_link_receive(link, &frame, &n_bytes) == HSD_OK) {
            assert_int_equal(n_bytes, 5);
            assert_memory_equal(frame, "hello", 5);
            return true;
        }
    }
    return false;
}

/// A client's frame comes back, or does not and `why` is in the reason that it is given.
static void expect(echo *e, const char *own, const char *worker, const char *why)
{
    hsdi_context *context = client(e, own, worker);
    hsdi_link *link = NULL;
    hsd_error err = {0};
    char said[128] = "";
    int n_before = atomic_load(&e->n_frames);
    assert_int_equal(hsdi_link_connect(context, e->endpoint, &link, &err), HSD_OK);
    bool is_answered = comes_back(link, why ? SECOND / 2 : 20 * SECOND);
    if (why) {
        hsdi_link_explain(context, e->endpoint, 20 * SECOND, said, sizeof said);
    }
    if (is_answered != !why || (why && !strstr(said, why))) {
        fail_msg("%s, %s at %s: answered %d, reason \"%s\", not \"%s\"", own ? own : "no key",
                 worker ? worker : "no worker key", e->endpoint, is_answered, said, why ? why : "");
    }
    assert_true(!why || atomic_load(&e->n_frames) == n_before);
    hsdi_link_close(&link);
    hsdi_context_destroy(&context);
}

/// A port that nobody holds now, below those that the system gives to clients.
static void tcp_endpoint(char *out, size_t cap)
{
    static int n;
    bool is_free = false;
    while (!is_free) {
        int port = 12000 + ((int)getpid() * 8 + n++) % 20000;
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        is_free = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
        close(fd);
        snprintf(out, cap, "tcp://127.0.0.1:%d", port);
    }
}

static void only_the_right_keys_pass(void **state)
{
    (void)state;
    char endpoint[96];
    for (int i = 0; i < 2; i++) {
        echo e;
        if (i == 0) {
            tcp_endpoint(endpoint, sizeof endpoint);
        } else {
            rig_endpoint(endpoint, sizeof endpoint, "ipc");
        }
        allow("alice bob");
        start_echo(&e, endpoint, true);
        expect(&e, "alice.key", "worker.pub", NULL);
        expect(&e, "bob.key", "worker.pub", NULL);
        assert_int_equal(atomic_load(&e.n_warnings), 0);
        expect(&e, "stranger.key", "worker.pub", "it refused our key");
        assert_in_range(atomic_load(&e.n_warnings), 1, 2);
        expect(&e, NULL, NULL, "asks for a key");
        expect(&e, "alice.key", NULL, "asks for a key");
        expect(&e, "alice.key", "stranger.pub", "is not its own");
        expect(&e, "alice.key", "worker.pub", NULL);
        stop_echo(&e);
    }
}

static void a_worker_without_keys_is_not_used_as_one_with(void **state)
{
    (void)state;
    char endpoint[96];
    echo e;
    tcp_endpoint(endpoint, sizeof endpoint);
    start_echo(&e, endpoint, false);
    expect(&e, "alice.key", "worker.pub", "runs without keys");
    expect(&e, NULL, NULL, NULL);
    stop_echo(&e);
}

static void a_crowd_of_strangers_is_one_warning(void **state)
{
    (void)state;
    char endpoint[96], said[128];
    echo e;
    tcp_endpoint(endpoint, sizeof endpoint);
    allow("alice");
    start_echo(&e, endpoint, true);
    hsdi_context *context = client(&e, "stranger.key", "worker.pub");
    int64_t begin_ns = hsdi_now_ns();
    for (int i = 0; i < 20; i++) {
        hsdi_link_explain(context, endpoint, 20 * SECOND, said, sizeof said);
        assert_non_null(strstr(said, "it refused our key"));
    }
    int64_t most = 1 + (hsdi_now_ns() - begin_ns) / (5 * SECOND);
    assert_in_range(atomic_load(&e.n_warnings), 1, most);
    hsdi_context_destroy(&context);
    stop_echo(&e);
}

static void a_refused_link_works_once_its_key_is_listed(void **state)
{
    (void)state;
    char endpoint[96];
    echo e;
    hsd_error err;
    hsdi_link *link = NULL;
    tcp_endpoint(endpoint, sizeof endpoint);
    allow("bob");
    start_echo(&e, endpoint, true);
    hsdi_context *context = client(&e, "alice.key", "worker.pub");
    assert_int_equal(hsdi_link_connect(context, endpoint, &link, &err), HSD_OK);
    assert_false(comes_back(link, SECOND / 2));
    allow("bob alice");
    assert_true(comes_back(link, 60 * SECOND));
    hsdi_link_close(&link);
    hsdi_context_destroy(&context);
    allow("bob");
    expect(&e, "alice.key", "worker.pub", "it refused our key");
    stop_echo(&e);
}

static void a_list_that_breaks_lets_nobody_in(void **state)
{
    (void)state;
    char endpoint[96];
    echo e;
    tcp_endpoint(endpoint, sizeof endpoint);
    allow("alice");
    start_echo(&e, endpoint, true);
    expect(&e, "alice.key", "worker.pub", NULL);
    assert_int_equal(rename(file("clients"), file("away")), 0);
    expect(&e, "alice.key", "worker.pub", "it cannot read its list of clients");
    assert_int_equal(rename(file("away"), file("clients")), 0);
    expect(&e, "alice.key", "worker.pub", NULL);
    stop_echo(&e);
}

static void a_worker_started_again_with_keys_is_found_again(void **state)
{
    (void)state;
    char endpoint[96];
    echo e;
    hsd_error err;
    hsdi_link *link = NULL;
    tcp_endpoint(endpoint, sizeof endpoint);
    allow("alice");
    start_echo(&e, endpoint, false);
    hsdi_context *context = client(&e, "alice.key", "worker.pub");
    assert_int_equal(hsdi_link_connect(context, endpoint, &link, &err), HSD_OK);
    assert_false(comes_back(link, SECOND / 2));
    stop_echo(&e);
    start_echo(&e, endpoint, true);
    assert_true(comes_back(link, 60 * SECOND));
    hsdi_link_close(&link);
    hsdi_context_destroy(&context);
    stop_echo(&e);
}

static void keys_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
    hsdi_context *context = NULL;
    hsdi_listener *first = NULL, *second = NULL;
    hsd_error err = {0};
    const hsdi_log log = {0};
    char endpoint[96];
    allow("alice");
    assert_int_equal(hsdi_context_create(&context, &err), HSD_OK);
    hsdi_keyring *keyring = hsdi_context_keyring(context);
    assert_int_equal(hsdi_keyring_add_worker(keyring, "tcp://a:1", file("worker.pub"), &err),
                     HSD_EINVAL);
    assert_non_null(strstr(err.message, "hsd keygen"));
    assert_int_equal(hsdi_keyring_set_clients(keyring, file("clients"), &log, &err), HSD_EINVAL);
    assert_int_equal(hsdi_keyring_set_own(keyring, file("worker.key"), &err), HSD_OK);
    assert_int_equal(hsdi_keyring_add_worker(keyring, "tcp://a:1", file("absent.pub"), &err),
                     HSD_EIO);
    assert_int_equal(hsdi_keyring_set_clients(keyring, file("absent"), &log, &err), HSD_EIO);
    assert_int_equal(hsdi_keyring_set_clients(keyring, file("clients"), &log, &err), HSD_OK);
    tcp_endpoint(endpoint, sizeof endpoint);
    assert_int_equal(hsdi_listener_bind(context, endpoint, &first, &err), HSD_OK);
    tcp_endpoint(endpoint, sizeof endpoint);
    assert_int_equal(hsdi_listener_bind(context, endpoint, &second, &err), HSD_EINVAL);
    assert_null(second);
    hsdi_listener_close(&first);
    hsdi_context_destroy(&context);
}

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"worker", "alice", "bob", "stranger"};
    if (!mkdtemp(folder)) {
        return -1;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        hsd_error err = {0};
        if (hsdi_key_files_create(file(names[i]), &err) != HSD_OK) {
            print_error("%s: %s\n", err.where, err.message);
            return -1;
        }
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_keys_pass),
        cmocka_unit_test(a_worker_without_keys_is_not_used_as_one_with),
        cmocka_unit_test(a_crowd_of_strangers_is_one_warning),
        cmocka_unit_test(a_refused_link_works_once_its_key_is_listed),
        cmocka_unit_test(a_list_that_breaks_lets_nobody_in),
        cmocka_unit_test(a_worker_started_again_with_keys_is_found_again),
        cmocka_unit_test(keys_that_do_not_go_together_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
