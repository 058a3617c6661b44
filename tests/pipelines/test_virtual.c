/// Proves: in virtual time what happens depends on the events alone: a frame arrives after its
///         latency, its bytes and the sender's earlier frames, none overtakes another; who computes
///         beside another takes as much longer as the factor says, to the moment at which the other
///         stops; a timeout ends a wait; who sleeps wakes later than who looks; a thread's clock is
///         the virtual one and the machine's again afterwards.
/// Does not prove: that the factors, latencies and rates of a description are a real machine's.
#include <base/clock.h>
#include <pipelines/transport/link.h>
#include <pipelines/virtual.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char *const NAME = "virtual://there";

typedef struct scene {
    hsdi_virtual *time;
    hsdi_context *context;
    hsdi_listener *listener;
    hsdi_link *link;
    int64_t at[8]; ///< moments that the other actor noted
    int n_at, n_frames;
    double compute_ns;
    int64_t begin_ns;
} scene;

static void begin(scene *s, const hsdi_virtual_path *path)
{
    hsd_error err = {0};
    *s = (scene){0};
    assert_int_equal(hsdi_virtual_create(&s->time, &err), HSD_OK);
    assert_int_equal(hsdi_context_create_on(hsdi_virtual_wire(), s->time, &s->context, &err),
                     HSD_OK);
    assert_int_equal(hsdi_virtual_endpoint(s->time, NAME, path, &err), HSD_OK);
    assert_int_equal(hsdi_listener_bind(s->context, NAME, &s->listener, &err), HSD_OK);
    assert_int_equal(hsdi_link_connect(s->context, NAME, &s->link, &err), HSD_OK);
    s->begin_ns = hsdi_virtual_now(s->time);
}

static void end(scene *s)
{
    assert_true(hsdi_virtual_join(s->time));
    hsdi_link_close(&s->link);
    hsdi_listener_close(&s->listener);
    hsdi_context_destroy(&s->context);
    hsdi_virtual_destroy(&s->time);
}

/// Notes when each of n_frames frames comes, and answers the last one.
static void take_frames(void *arg)
{
    scene *s = arg;
    hsdi_peer from;
    const void *bytes;
    size_t n_bytes;
    while (s->n_at < s->n_frames) {
        hsdi_listener_wait(s->listener, -1);
        while (hsdi_listener_receive(s->listener, &from, &bytes, &n_bytes) == HSD_OK) {
            s->at[s->n_at++] = hsdi_now_ns() - s->begin_ns;
        }
    }
    assert_int_equal(hsdi_listener_send(s->listener, &from, "done", 4), HSD_OK);
}

static void start(scene *s, void (*run)(void *arg))
{
    hsd_error err = {0};
    int actor = 0;
    assert_int_equal(hsdi_virtual_start(s->time, run, s, &actor, &err), HSD_OK);
    assert_int_equal(actor, 1);
}

static void a_frame_arrives_after_latency_and_bytes(void **state)
{
    (void)state;
    static uint8_t bytes[2000];
    const hsdi_virtual_path path = {.latency_ns = 1000, .gbps = 0.5, .spin_ns = {-1, -1}};
    scene s;
    begin(&s, &path);
    s.n_frames = 3;
    start(&s, take_frames);
    assert_int_equal(hsdi_link_send(s.link, bytes, 2000), HSD_OK);
    assert_int_equal(hsdi_link_send(s.link, bytes, 10), HSD_OK); // its way out is not free yet
    hsdi_virtual_compute(s.time, 100000);
    assert_int_equal(hsdi_link_send(s.link, bytes, 10), HSD_OK);
    hsdi_links_wait(&s.link, 1, -1);
    int64_t answer_ns = hsdi_now_ns() - s.begin_ns;
    end(&s);
    assert_int_equal(s.at[0], 5000);
    assert_int_equal(s.at[1], 5020);
    assert_int_equal(s.at[2], 101020);
    assert_int_equal(answer_ns, 102028);
}

static void who_sleeps_wakes_later(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {
        .latency_ns = 100, .send_ns = 10, .spin_ns = {-1, 5000}, .wake_ns = 777};
    scene s;
    begin(&s, &path);
    s.n_frames = 2;
    start(&s, take_frames);
    hsdi_virtual_compute(s.time, 1000);
    assert_int_equal(hsdi_link_send(s.link, "a", 1), HSD_OK); // the listener still looks
    hsdi_virtual_compute(s.time, 8990);
    assert_int_equal(hsdi_link_send(s.link, "b", 1), HSD_OK); // it sleeps
    end(&s);
    assert_int_equal(s.at[0], 1110);
    assert_int_equal(s.at[1], 1010 + 8990 + 10 + 100 + 777);
}

static void compute_there(void *arg)
{
    scene *s = arg;
    hsdi_virtual_compute(s->time, s->compute_ns);
    s->at[0] = hsdi_now_ns() - s->begin_ns;
}

static void who_computes_beside_another_takes_longer(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {0};
    scene s;
    begin(&s, &path);
    s.compute_ns = 10000;
    start(&s, compute_there);
    hsdi_virtual_slow(s.time, 0, 1, 3.0);
    hsdi_virtual_slow(s.time, 1, 0, 2.0);
    hsdi_virtual_compute(s.time, 4000);
    int64_t here_ns = hsdi_now_ns() - s.begin_ns;
    hsdi_virtual_use use = hsdi_virtual_used(s.time, 0);
    end(&s);
    // 12000 beside the other, of whose 10000 are 6000 done then; the rest goes alone.
    assert_int_equal(here_ns, 12000);
    assert_int_equal(s.at[0], 16000);
    assert_int_equal(use.computed_ns, 12000);
}

static void a_timeout_ends_a_wait(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {.latency_ns = 5000};
    const void *bytes;
    size_t n_bytes;
    scene s;
    begin(&s, &path);
    hsdi_links_wait(&s.link, 1, 12345);
    assert_int_equal(hsdi_now_ns() - s.begin_ns, 12345);
    assert_int_equal(hsdi_link_receive(s.link, &bytes, &n_bytes), HSD_ETIMEOUT);
    end(&s);
}

static void the_machines_clock_comes_back(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {0};
    scene s;
    int64_t before_ns = hsdi_now_ns();
    begin(&s, &path);
    hsdi_virtual_compute(s.time, 1e15); // eleven days
    assert_true(hsdi_now_ns() > INT64_C(1000000000000000));
    end(&s);
    assert_true(hsdi_now_ns() >= before_ns);
    assert_null(hsdi_clock_of_thread);
}

static void waiting_for_ever_is_noticed(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {0};
    scene s;
    begin(&s, &path);
    s.n_frames = 1;
    start(&s, take_frames); // nobody sends
    assert_false(hsdi_virtual_join(s.time));
    assert_int_equal(hsdi_link_send(s.link, "a", 1), HSD_OK);
    hsdi_links_wait(&s.link, 1, -1);
    end(&s);
}

static void endpoints_are_taken_once(void **state)
{
    (void)state;
    const hsdi_virtual_path path = {0};
    hsdi_link *link = NULL;
    hsd_error err = {0};
    scene s;
    begin(&s, &path);
    assert_int_equal(hsdi_link_connect(s.context, NAME, &link, &err), HSD_ETRANSPORT);
    assert_int_equal(hsdi_link_connect(s.context, "virtual://nowhere", &link, &err),
                     HSD_ETRANSPORT);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_arrives_after_latency_and_bytes),
        cmocka_unit_test(who_sleeps_wakes_later),
        cmocka_unit_test(who_computes_beside_another_takes_longer),
        cmocka_unit_test(a_timeout_ends_a_wait),
        cmocka_unit_test(the_machines_clock_comes_back),
        cmocka_unit_test(waiting_for_ever_is_noticed),
        cmocka_unit_test(endpoints_are_taken_once),
    };
    return cmocka_run_group_tests_name("virtual", tests, NULL, NULL);
}
