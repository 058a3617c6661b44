/// Proves: endpoints beyond this machine without keys and malformed ones are refused with a
/// sentence; frames go both ways over inproc, ipc and tcp on loopback; sends never block; a wake-up
/// ends a wait; that nobody listens is said, and no other link suffers from finding out.
/// Does not prove: what frames mean; links with keys (test_curve.c).
#include "rig.h"

#include <base/clock.h>
#include <pipelines/transport/link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

static const int64_t SOON_NS = 60000000000; ///< far more than any frame takes

/// Closing a socket takes this long: what happens meanwhile in other threads happens for certain.
static useconds_t closing_us = 0;

int __real_zmq_close(void *socket);
int __wrap_zmq_close(void *socket);

/// Linked in the place of zmq_close, for the library's own files only.
int __wrap_zmq_close(void *socket)
{
    if (closing_us > 0) {
        usleep(closing_us);
    }
    return __real_zmq_close(socket);
}

static hsd_status check(const char *endpoint, hsdi_endpoint_use use, bool has_keys, hsd_error *err)
{
    *err = (hsd_error){0};
    return hsdi_endpoint_check(endpoint, use, has_keys, err);
}

static void endpoints_beyond_loopback_are_refused_without_keys(void **state)
{
    (void)state;
    static const char *const remote[] = {
        "tcp://10.0.0.1:5555",      "tcp://0.0.0.0:5555",
        "tcp://example.org:80",     "tcp://127.0.0.1.example.org:80",
        "tcp://[::]:5555",          "tcp://eth0:5555",
        "tcp://[fe80::1%eth0]:5555"};
    hsd_error err;
    for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
        assert_int_equal(check(remote[i], HSDI_ENDPOINT_CONNECT, false, &err), HSD_EINVAL);
        assert_non_null(strstr(err.message, "hsd keygen"));
        assert_non_null(strstr(err.message, "--worker-key"));
        assert_int_equal(check(remote[i], HSDI_ENDPOINT_LISTEN, false, &err), HSD_EINVAL);
        assert_non_null(strstr(err.message, "hsd keygen"));
        assert_non_null(strstr(err.message, "--clients"));
        assert_int_equal(check(remote[i], HSDI_ENDPOINT_CONNECT, true, &err), HSD_OK);
        assert_int_equal(check(remote[i], HSDI_ENDPOINT_LISTEN, true, &err), HSD_OK);
    }
    assert_int_equal(check("tcp://*:5555", HSDI_ENDPOINT_LISTEN, true, &err), HSD_OK);
    assert_int_equal(check("tcp://*:5555", HSDI_ENDPOINT_LISTEN, false, &err), HSD_EINVAL);
    assert_int_equal(check("tcp://*:5555", HSDI_ENDPOINT_CONNECT, true, &err), HSD_EINVAL);
}

static void malformed_endpoints_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "ipc://",
                                      "inproc://",
                                      "udp://x",
                                      "tcp://127.0.0.1",
                                      "tcp://127.0.0.1:",
                                      "ipc://*",
                                      "tcp://127.0.0.1:0",
                                      "tcp://127.0.0.1:*",
                                      "tcp://[::1",
                                      "tcp://127.0.0.1:99999",
                                      "tcp://10.0.0.1;127.0.0.1:5555",
                                      "tcp://:5555",
                                      "tcp://"};
    static const char *const good[] = {"tcp://127.0.0.1:5555", "tcp://127.1.2.3:1",
                                       "tcp://[::1]:65535",    "tcp://localhost:80",
                                       "ipc:///tmp/x",         "inproc://x"};
    hsd_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check(bad[i], HSDI_ENDPOINT_CONNECT, i % 2, &err), HSD_EINVAL);
        assert_int_equal(check(bad[i], HSDI_ENDPOINT_LISTEN, i % 2, &err), HSD_EINVAL);
        assert_true(err.message[0]);
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(check(good[i], HSDI_ENDPOINT_CONNECT, false, &err), HSD_OK);
        assert_int_equal(check(good[i], HSDI_ENDPOINT_LISTEN, false, &err), HSD_OK);
    }
    assert_int_equal(check(NULL, HSDI_ENDPOINT_CONNECT, false, &err), HSD_EINVAL);
    char longest[300] = "ipc:///tmp/";
    memset(longest + 11, 'x', 200);
    assert_int_equal(check(longest, HSDI_ENDPOINT_CONNECT, false, &err), HSD_EINVAL);
}

static hsd_status receive_soon(hsdi_link *link, const void **frame, size_t *n_bytes)
{
    int64_t deadline_ns = hsdi_now_ns() + SOON_NS;
    hsd_status status = HSD_ETIMEOUT;
    while (status == HSD_ETIMEOUT && hsdi_now_ns() < deadline_ns) {
        hsdi_links_wait(&link, 1, 10000000);
        status = hsdi_link_receive(link, frame, n_bytes);
    }
    return status;
}

static void frames_go_both_ways(hsdi_context *context, const char *endpoint)
{
    hsdi_listener *listener = NULL;
    hsdi_link *link = NULL;
    hsdi_peer from = {0};
    hsd_error err = {0};
    const void *frame;
    size_t n_bytes;
    hsd_status status = hsdi_listener_bind(context, endpoint, &listener, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s", endpoint, err.message);
    }
    assert_int_equal(hsdi_link_connect(context, endpoint, &link, &err), HSD_OK);
    int64_t deadline_ns = hsdi_now_ns() + SOON_NS;
    while ((status = hsdi_link_send(link, "there", 5)) == HSD_ETIMEOUT) {
        if (hsdi_now_ns() > deadline_ns) {
            fail_msg("%s: no connection", endpoint);
        }
        usleep(1000);
    }
    assert_int_equal(status, HSD_OK);
    do {
        hsdi_listener_wait(listener, 100000000);
        status = hsdi_listener_receive(listener, &from, &frame, &n_bytes);
    } while (status == HSD_ETIMEOUT && hsdi_now_ns() < deadline_ns);
    assert_int_equal(status, HSD_OK);
    assert_int_equal(n_bytes, 5);
    assert_memory_equal(frame, "there", 5);
    assert_int_equal(hsdi_listener_send(listener, &from, "back", 4), HSD_OK);
    assert_int_equal(receive_soon(link, &frame, &n_bytes), HSD_OK);
    assert_memory_equal(frame, "back", 4);
    hsdi_link_close(&link);
    hsdi_listener_close(&listener);
}

static void frames_go_both_ways_on_every_transport(void **state)
{
    hsdi_context *context = *state;
    char endpoint[96];
    rig_endpoint(endpoint, sizeof endpoint, "inproc");
    frames_go_both_ways(context, endpoint);
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    frames_go_both_ways(context, endpoint);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", 20000 + (int)getpid() % 30000);
    frames_go_both_ways(context, endpoint);
    if (access("/proc/net/if_inet6", R_OK) == 0) {
        snprintf(endpoint, sizeof endpoint, "tcp://[::1]:%d", 20000 + (int)getpid() % 30000);
        frames_go_both_ways(context, endpoint);
    }
}

static void a_send_to_nobody_does_not_block(void **state)
{
    hsdi_link *link = NULL;
    hsd_error err;
    char endpoint[96];
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    assert_int_equal(hsdi_link_connect(*state, endpoint, &link, &err), HSD_OK);
    assert_int_equal(hsdi_link_send(link, "x", 1), HSD_ETIMEOUT);
    hsdi_link_close(&link);
}

static void a_full_queue_does_not_block(void **state)
{
    hsdi_listener *listener = NULL;
    hsdi_link *link = NULL;
    hsd_error err;
    char endpoint[96];
    hsd_status status = HSD_OK;
    rig_endpoint(endpoint, sizeof endpoint, "inproc");
    assert_int_equal(hsdi_listener_bind(*state, endpoint, &listener, &err), HSD_OK);
    assert_int_equal(hsdi_link_connect(*state, endpoint, &link, &err), HSD_OK);
    for (int i = 0; i < 100000 && status == HSD_OK; i++) {
        status = hsdi_link_send(link, "x", 1);
    }
    assert_int_equal(status, HSD_ETIMEOUT);
    hsdi_link_close(&link);
    hsdi_listener_close(&listener);
}

static void a_wake_up_ends_a_wait(void **state)
{
    hsdi_listener *listener = NULL;
    hsd_error err;
    char endpoint[96];
    rig_endpoint(endpoint, sizeof endpoint, "inproc");
    assert_int_equal(hsdi_listener_bind(*state, endpoint, &listener, &err), HSD_OK);
    hsdi_listener_wake(listener);
    hsdi_listener_wait(listener, -1);
    hsdi_listener_close(&listener);
}

static void an_endpoint_in_use_is_refused(void **state)
{
    hsdi_listener *first = NULL, *second = NULL;
    hsd_error err = {0};
    char endpoint[96];
    rig_endpoint(endpoint, sizeof endpoint, "inproc");
    assert_int_equal(hsdi_listener_bind(*state, endpoint, &first, &err), HSD_OK);
    assert_int_equal(hsdi_listener_bind(*state, endpoint, &second, &err), HSD_ETRANSPORT);
    assert_string_equal(err.where, endpoint);
    assert_null(second);
    hsdi_listener_close(&first);
}

static void that_nobody_listens_is_said(void **state)
{
    char endpoint[96], why[128];
    for (int i = 0; i < 2; i++) {
        rig_endpoint(endpoint, sizeof endpoint, i == 0 ? "ipc" : "inproc");
        hsdi_link_explain(*state, endpoint, SOON_NS, why, sizeof why);
        if (!strstr(why, "nobody listens")) {
            fail_msg("%s: %s", endpoint, why);
        }
    }
}

/// Events of a connection that is retried come while its monitor is taken down. ZeroMQ sends them
/// with the thread that serves all links, which must not wait for somebody who listens no more.
static void asking_why_nobody_answers_stops_no_other_link(void **state)
{
    (void)state;
    hsdi_context *context = NULL; // of its own: one whose thread hangs cannot be ended
    char endpoint[96], why[128];
    assert_int_equal(hsdi_context_create(&context, NULL), HSD_OK);
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    closing_us = 300000; // several times what lies between two retries
    hsdi_link_explain(context, endpoint, SOON_NS, why, sizeof why);
    closing_us = 0;
    assert_non_null(strstr(why, "nobody listens"));
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    frames_go_both_ways(context, endpoint);
    hsdi_context_destroy(&context);
}

/// A worker that ends late must not make the one that took its place unreachable.
static void a_listener_removes_its_own_socket_file_and_no_other(void **state)
{
    hsdi_context *context = *state;
    hsdi_listener *first = NULL, *second = NULL;
    char endpoint[96];
    rig_endpoint(endpoint, sizeof endpoint, "ipc");
    const char *path = endpoint + strlen("ipc://");
    assert_int_equal(hsdi_listener_bind(context, endpoint, &first, NULL), HSD_OK);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(hsdi_listener_bind(context, endpoint, &second, NULL), HSD_OK);
    hsdi_listener_close(&first);
    assert_int_equal(access(path, F_OK), 0);
    hsdi_listener_close(&second);
    assert_int_not_equal(access(path, F_OK), 0);
}

static int setup(void **state)
{
    hsd_error err;
    return hsdi_context_create((hsdi_context **)state, &err) == HSD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    hsdi_context_destroy((hsdi_context **)state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_beyond_loopback_are_refused_without_keys),
        cmocka_unit_test(malformed_endpoints_are_refused),
        cmocka_unit_test(that_nobody_listens_is_said),
        cmocka_unit_test(asking_why_nobody_answers_stops_no_other_link),
        cmocka_unit_test(frames_go_both_ways_on_every_transport),
        cmocka_unit_test(a_send_to_nobody_does_not_block),
        cmocka_unit_test(a_full_queue_does_not_block),
        cmocka_unit_test(a_wake_up_ends_a_wait),
        cmocka_unit_test(an_endpoint_in_use_is_refused),
        cmocka_unit_test(a_listener_removes_its_own_socket_file_and_no_other),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
