/// Proves: a worker gives a target the spans of its own session and of none, each once, in frames
///           that hold at most 400, from the moment it was told to record; asking again for the
///           same number gives the same; a worker that was given no trace makes a track when the
///           first target asks for one and frees it after the last one, or after its silence;
///           numbers begin where the target says; orders without end make one track and look at
///           a bounded number of spans a turn; a worker's own trace stays; more targets than there
///           is room for get none, and are told; places of those that open no session, or are
///           silent, go to others after a time, however often they ask.
/// Does not prove: that clocks are compared rightly (tests/cli/test_trace.py, with real clocks).
#include <base/clock.h>
#include <pipelines/spans.h>
#include <pipelines/worker_trace.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void put(hsdi_worker_trace *t, const hsdi_span_kind *kind, uint32_t session, int value)
{
    hsdi_track_put(
        t->track,
        &(hsdi_span){
            .kind = kind, .begin_ns = 10, .end_ns = 20, .session = session, .values = {value}});
}

static hsdi_frame give_now(hsdi_worker_trace *t, uint64_t session, uint64_t from)
{
    hsdi_frame ask = {.type = HSDI_FRAME_TRACE, .session = session};
    hsdi_frame out = {.type = HSDI_FRAME_SPANS, .session = session};
    ask.trace.from = from;
    hsdi_worker_trace_give(t, &ask, &out);
    return out;
}

/// In a turn of its own.
static hsdi_frame give(hsdi_worker_trace *t, uint64_t session, uint64_t from)
{
    hsdi_worker_trace_turn(t);
    return give_now(t, session, from);
}

static hsdi_worker_trace *make(hsd_trace *trace)
{
    hsdi_worker_trace *t = calloc(1, sizeof *t);
    assert_non_null(t);
    assert_int_equal(hsdi_worker_trace_init(t, trace, "draft worker", NULL), HSD_OK);
    return t;
}

static const uint64_t ONE = 0x1111111100000001u, TWO = 0x2222222200000002u;

static void a_target_gets_its_own_spans_once(void **state)
{
    (void)state;
    enum { N = 1000 };
    hsdi_worker_trace *t = make(NULL);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    put(t, &hsdi_span_glue, 2, -1); // before the second one asked
    hsdi_worker_trace_record(t, TWO, 0, NULL);
    for (int i = 0; i < N; i++) {
        put(t, &hsdi_span_branches, i % 4 == 0 ? 2 : 1, i);
        put(t, &hsdi_span_prefix, 1, i); // of a kind that does not travel
    }
    put(t, &hsdi_span_sleep, 0, 0);
    const struct {
        uint64_t session;
        int first, n;
    } cases[] = {{ONE, 1, N * 3 / 4 + 1}, {TWO, 0, N / 4 + 1}};
    for (int c = 0; c < 2; c++) {
        int n = 0, last = -1;
        uint64_t from = 0;
        for (bool is_last = false; !is_last;) {
            hsdi_frame got = give(t, cases[c].session, from), again;
            int first = got.spans.n > 0 ? hsdi_frame_span(&got, 0).values[0] : 0;
            again = give(t, cases[c].session, from);
            assert_true(again.spans.n == got.spans.n && again.spans.next == got.spans.next);
            assert_int_equal(again.spans.n > 0 ? hsdi_frame_span(&again, 0).values[0] : 0, first);
            assert_in_range(got.spans.n, 1, HSDI_SPANS_MAX);
            for (int i = 0; i < got.spans.n; i++, n++) {
                const hsdi_span span = hsdi_frame_span(&again, i);
                assert_int_equal(span.session, (uint32_t)cases[c].session);
                if (span.kind == &hsdi_span_branches) {
                    assert_true(span.values[0] > last);
                    assert_true((span.values[0] % 4 == 0) == (c == 1));
                    last = span.values[0];
                } else {
                    assert_ptr_equal(span.kind, &hsdi_span_sleep);
                }
            }
            assert_true(got.spans.from == from && got.spans.next > from);
            from = got.spans.next;
            is_last = got.spans.is_last;
        }
        assert_int_equal(n, cases[c].n);
        hsdi_frame rest = give(t, cases[c].session, from);
        assert_true(rest.spans.n == 0 && rest.spans.is_last && rest.spans.next == from);
        rest = give(t, cases[c].session, INT64_MAX); // what a fool asks for
        assert_true(rest.spans.n == 0 && rest.spans.next == INT64_MAX);
    }
    hsdi_worker_trace_fini(t);
    free(t);
}

static void a_track_lives_as_long_as_somebody_wants_it(void **state)
{
    (void)state;
    hsdi_worker_trace *t = make(NULL);
    assert_null(t->track);
    assert_int_equal(give(t, ONE, 0).spans.n, 0);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    hsdi_worker_trace_record(t, TWO, 0, NULL);
    hsdi_worker_trace_record(t, TWO, 0, NULL);
    assert_int_equal(t->n_askers, 2);
    assert_non_null(t->track);
    hsdi_worker_trace_end(t, ONE);
    hsdi_worker_trace_end(t, ONE);
    assert_non_null(t->track);
    hsdi_worker_trace_sweep(t, hsdi_now_ns() - INT64_C(3600000000000));
    assert_non_null(t->track);
    hsdi_worker_trace_sweep(t, hsdi_now_ns() + 1);
    assert_null(t->track);
    assert_null(t->own);
    for (uint64_t i = 0; i < HSDI_TRACE_ASKERS + 3; i++) {
        hsdi_worker_trace_record(t, i, 0, NULL);
    }
    assert_int_equal(t->n_askers, HSDI_TRACE_ASKERS);
    put(t, &hsdi_span_sleep, 0, 0);
    assert_int_equal(give(t, 0, 0).spans.n, 1);
    assert_int_equal(give(t, HSDI_TRACE_ASKERS + 1, 0).spans.n, 0);
    assert_true(give(t, HSDI_TRACE_ASKERS + 1, 0).spans.n_dropped == HSDI_SPANS_NONE);
    hsdi_worker_trace_fini(t);
    free(t);
}

/// Its target lost it, or it was started again under the same number: the numbers go on.
static void numbers_begin_where_the_target_says(void **state)
{
    (void)state;
    hsdi_worker_trace *t = make(NULL);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    put(t, &hsdi_span_glue, 1, 0);
    put(t, &hsdi_span_glue, 1, 1);
    assert_true(give(t, ONE, 0).spans.next == 2);
    hsdi_worker_trace_record(t, ONE, 2, NULL); // it is known: nothing changes
    assert_true(give(t, ONE, 0).spans.next == 2);
    hsdi_worker_trace_sweep(t, hsdi_now_ns() + 1);
    hsdi_worker_trace_record(t, ONE, 2, NULL);
    put(t, &hsdi_span_glue, 1, 2);
    hsdi_frame got = give(t, ONE, 2);
    assert_int_equal(got.spans.n, 1);
    assert_int_equal(hsdi_frame_span(&got, 0).values[0], 2);
    assert_true(got.spans.next == 3 && got.spans.is_last);
    assert_int_equal(give(t, ONE, 3).spans.n, 0);
    hsdi_worker_trace_fini(t);
    free(t);
}

static void a_session_that_is_used_is_not_forgotten(void **state)
{
    (void)state;
    hsdi_worker_trace *t = make(NULL);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    hsdi_worker_trace_record(t, TWO, 0, NULL);
    int64_t since_ns = hsdi_now_ns() + 1000;
    hsdi_worker_trace_hear(t, ONE, since_ns + 1);
    hsdi_worker_trace_hear(t, 77, since_ns + 1);
    hsdi_worker_trace_sweep(t, since_ns);
    assert_int_equal(t->n_askers, 1);
    assert_true(t->askers[0].session == ONE);
    hsdi_worker_trace_fini(t);
    free(t);
}

/// As if that much time had passed.
static void grow_older(hsdi_worker_trace *t, int64_t s)
{
    for (int i = 0; i < t->n_askers; i++) {
        t->askers[i].used_ns -= s * INT64_C(1000000000);
    }
}

static void who_only_asks_for_places_loses_them(void **state)
{
    (void)state;
    enum { N = HSDI_TRACE_ASKERS, OTHER = 1000 };
    hsdi_worker_trace *t = make(NULL);
    for (uint64_t i = 0; i < N; i++) {
        hsdi_worker_trace_record(t, i, 0, NULL);
    }
    grow_older(t, HSDI_TRACE_HELD_S - 1);
    hsdi_worker_trace_hear(t, 3, hsdi_now_ns()); // an open session
    hsdi_worker_trace_record(t, OTHER, 0, NULL);
    assert_true(give(t, OTHER, 0).spans.n_dropped == HSDI_SPANS_NONE);
    grow_older(t, 2);
    for (uint64_t i = 0; i < N; i++) { // asking again does not help
        hsdi_worker_trace_record(t, i, 0, NULL);
        (void)give(t, i, 0);
    }
    for (uint64_t i = 0; i < N + 4; i++) { // all but the open one go, and no more than those
        hsdi_worker_trace_record(t, OTHER + i, 0, NULL);
        bool has_place = give(t, OTHER + i, 0).spans.n_dropped != HSDI_SPANS_NONE;
        assert_int_equal(has_place, i < N - 1);
    }
    assert_int_equal(t->n_askers, N);
    assert_true(give(t, 3, 0).spans.n_dropped != HSDI_SPANS_NONE);
    hsdi_worker_trace_fini(t);
    free(t);
}

static void a_flood_of_orders_costs_little(void **state)
{
    (void)state;
    enum { N = 50000, A_TURN = 20000 };
    hsdi_worker_trace *t = make(NULL);
    for (int i = 0; i < 1000; i++) { // the track that the first one made is there all along
        hsdi_worker_trace_record(t, ONE, 0, NULL);
        put(t, &hsdi_span_glue, 1, i);
        hsdi_worker_trace_end(t, ONE);
        assert_int_equal(hsdi_track_n_spans(t->track), i + 1);
    }
    hsdi_worker_trace_sweep(t, 0);
    assert_null(t->track);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    for (int i = 0; i < N; i++) {
        put(t, &hsdi_span_glue, 2, i);
    }
    for (uint64_t from = 0; from < N; from += A_TURN) {
        uint64_t next = from + A_TURN < N ? from + A_TURN : N;
        hsdi_frame got = give(t, ONE, from);
        assert_true(got.spans.n == 0 && got.spans.next == next);
        assert_true(got.spans.is_last == (next == N));
        if (next < N) {
            got = give_now(t, ONE, next);
            assert_true(got.spans.n == 0 && got.spans.next == next && !got.spans.is_last);
        }
    }
    hsdi_worker_trace_end(t, ONE); // a track that is full of the past is no use to others
    hsdi_worker_trace_record(t, TWO, 0, NULL);
    assert_int_equal(hsdi_track_n_spans(t->track), 0);
    hsdi_worker_trace_fini(t);
    free(t);
}

static void a_trace_of_the_workers_own_stays(void **state)
{
    (void)state;
    hsd_trace *trace = NULL;
    assert_int_equal(hsd_trace_create("worker", 10, &trace, NULL), HSD_OK);
    hsdi_worker_trace *t = make(trace);
    put(t, &hsdi_span_sleep, 0, 0);
    hsdi_worker_trace_record(t, ONE, 0, NULL);
    for (int i = 0; i < 12; i++) {
        put(t, &hsdi_span_glue, 1, i);
    }
    hsdi_frame got = give(t, ONE, 0);
    assert_int_equal(got.spans.n, 9); // not the one before
    assert_int_equal(got.spans.n_dropped, 3);
    hsd_trace_restart(trace);
    put(t, &hsdi_span_glue, 1, 0);
    assert_int_equal(give(t, ONE, 9).spans.n, 0);
    hsdi_worker_trace_end(t, ONE);
    assert_non_null(t->track);
    hsdi_worker_trace_fini(t);
    hsd_trace_destroy(&trace);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_gets_its_own_spans_once),
        cmocka_unit_test(a_track_lives_as_long_as_somebody_wants_it),
        cmocka_unit_test(numbers_begin_where_the_target_says),
        cmocka_unit_test(a_session_that_is_used_is_not_forgotten),
        cmocka_unit_test(who_only_asks_for_places_loses_them),
        cmocka_unit_test(a_flood_of_orders_costs_little),
        cmocka_unit_test(a_trace_of_the_workers_own_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
