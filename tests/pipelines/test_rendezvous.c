/// Proves: the measurement runs on all three transports, for mirror and serial steps, and gives
/// ordered percentiles; other requests are refused. Does not prove: any time; the figures are
/// printed for the reader.
#include <pipelines/rendezvous.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void measure(const char *transport, hsd_mode mode)
{
    hsd_rendezvous_times times = {0};
    hsd_error err = {0};
    hsd_status status = hsdi_rendezvous_measure(transport, mode, 300, &times, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s", transport, err.message);
    }
    assert_int_equal(times.n_steps, 300);
    assert_true(times.p50_us > 0 && times.p50_us <= times.p95_us && times.p95_us <= times.p99_us);
    assert_true(times.zmq_p50_us > 0);
    print_message("%s: step %.1f us, p95 %.1f us, bare ZeroMQ %.1f us\n", transport, times.p50_us,
                  times.p95_us, times.zmq_p50_us);
}

static void it_measures_threads(void **state)
{
    (void)state;
    measure("inproc", HSD_MODE_MIRROR);
    measure("inproc", HSD_MODE_SERIAL);
}

static void it_measures_sockets(void **state)
{
    (void)state;
    measure("ipc", HSD_MODE_MIRROR);
    measure("tcp", HSD_MODE_MIRROR);
}

static void other_transports_and_counts_are_refused(void **state)
{
    (void)state;
    hsd_rendezvous_times times = {.n_steps = 7};
    hsd_error err;
    assert_int_equal(hsdi_rendezvous_measure("udp", HSD_MODE_MIRROR, 10, &times, &err), HSD_EINVAL);
    assert_int_equal(hsdi_rendezvous_measure(NULL, HSD_MODE_MIRROR, 10, &times, &err), HSD_EINVAL);
    assert_int_equal(hsdi_rendezvous_measure("ipc", HSD_MODE_MIRROR, 0, &times, &err), HSD_EINVAL);
    assert_int_equal(hsdi_rendezvous_measure("ipc", HSD_MODE_AR, 10, &times, &err), HSD_EINVAL);
    assert_int_equal(times.n_steps, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_measures_threads),
        cmocka_unit_test(it_measures_sockets),
        cmocka_unit_test(other_transports_and_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
