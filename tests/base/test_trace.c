/// Proves: a full track keeps its first spans and says how many were dropped; a restart forgets
///           them; a closed track is used again under its name; a file that is written while a
///           thread records and restarts happen holds whole spans only; names are valid JSON;
///           spans of another process are turned into our clock by straight lines through the
///           points where both were compared, under a process of their own;
///           a file that cannot be written is an error with its path; without a trace nothing
///           happens.
/// Does not prove: that the pipelines record what they do (tests/cli/test_trace.py).
#include "base/trace.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const hsdi_span_kind kind = {
    .name = "work \"\\\n", .text = "of", .values = {"number", "twice"}, .is_of_step = true};

static hsd_trace *make_trace(int n_spans)
{
    hsd_trace *trace = NULL;
    assert_int_equal(hsd_trace_create("a test", n_spans, &trace, NULL), HSD_OK);
    return trace;
}

static hsdi_track *open_track(hsd_trace *trace, const char *name)
{
    hsdi_track *track = NULL;
    assert_int_equal(hsdi_track_open(trace, name, &track, NULL), HSD_OK);
    return track;
}

static void put(hsdi_track *track, int number)
{
    hsdi_span_end(track, (hsdi_span){.kind = &kind,
                                     .begin_ns = hsdi_span_begin(track),
                                     .text = "x",
                                     .step = (uint32_t)number,
                                     .values = {number, 2 * number}});
}

/// What a trace writes, NUL-terminated; free() it.
static char *text_of(hsd_trace *trace)
{
    char path[] = "/tmp/hsd-test-trace-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    hsd_error err = {0};
    if (hsd_trace_write(trace, path, &err) != HSD_OK) {
        fail_msg("%s: %s", err.where, err.message);
    }
    off_t n = lseek(fd, 0, SEEK_END);
    char *text = calloc(1, (size_t)n + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)n, 0), n);
    close(fd);
    unlink(path);
    return text;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (; (text = strstr(text, what)) != NULL; text++) {
        n++;
    }
    return n;
}

static void a_full_track_keeps_the_first_spans_and_counts_the_rest(void **state)
{
    (void)state;
    hsd_trace *trace = make_trace(5);
    hsdi_track *track = open_track(trace, "t");
    for (int i = 0; i < 12; i++) {
        put(track, i);
    }
    char *text = text_of(trace);
    assert_int_equal(count(text, "\"ph\":\"X\""), 5);
    assert_non_null(strstr(text, "\"number\":4,\"twice\":8,\"of\":\"x\""));
    assert_null(strstr(text, "\"number\":5"));
    assert_non_null(strstr(text, "\"args\":{\"dropped\":7}"));
    assert_non_null(strstr(text, "\"spans_dropped\":7}"));
    assert_int_equal(count(text, "\"name\":\"work \\\"\\\\?\""), 5);
    free(text);
    hsd_trace_restart(trace);
    text = text_of(trace);
    assert_int_equal(count(text, "\"ph\":\"X\""), 0);
    free(text);
    put(track, 77);
    text = text_of(trace);
    assert_int_equal(count(text, "\"ph\":\"X\""), 1);
    assert_non_null(strstr(text, "\"number\":77"));
    assert_non_null(strstr(text, "\"spans_dropped\":0}"));
    free(text);
    hsdi_track_close(&track);
    assert_null(track);
    hsd_trace_destroy(&trace);
    assert_null(trace);
}

static void closed_tracks_are_used_again_under_their_name(void **state)
{
    (void)state;
    hsd_trace *trace = make_trace(10);
    hsdi_track *a = open_track(trace, "a"), *b = open_track(trace, "a"), *kept = b;
    assert_ptr_not_equal(a, b);
    put(b, 1);
    hsdi_track_close(&b);
    hsdi_track *other = open_track(trace, "other");
    assert_ptr_not_equal(other, kept);
    b = open_track(trace, "a");
    assert_ptr_equal(b, kept);
    put(b, 2);
    char *text = text_of(trace);
    assert_int_equal(count(text, "\"ph\":\"X\""), 2);
    assert_int_equal(count(text, "thread_name"), 3);
    free(text);
    hsd_trace_destroy(&trace);
}

typedef struct recorder {
    hsdi_track *track;
    atomic_bool is_stopped;
} recorder;

static void *record(void *arg)
{
    recorder *r = arg;
    for (int i = 1; !atomic_load(&r->is_stopped); i++) {
        put(r->track, i);
    }
    return NULL;
}

/// Every span of the text is one that the recorder put.
static void check_spans(const char *text)
{
    for (const char *at = text; (at = strstr(at, "\"step\":")) != NULL; at++) {
        unsigned step = 0;
        int number = 0, twice = 0;
        assert_int_equal(sscanf(at, "\"step\":%u,\"number\":%d,\"twice\":%d,\"of\":\"x\"", &step,
                                &number, &twice),
                         3);
        if (number <= 0 || (int)step != number || twice != 2 * number) {
            fail_msg("step %u, number %d, twice %d", step, number, twice);
        }
    }
}

static void a_file_written_beside_a_recording_thread_has_whole_spans(void **state)
{
    (void)state;
    enum { N_SPANS = 2000, N_ROUNDS = 30 };
    hsd_trace *trace = make_trace(N_SPANS);
    recorder r = {.track = open_track(trace, "busy")};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, record, &r), 0);
    int n_seen = 0;
    for (int i = 0; i < N_ROUNDS || n_seen == 0; i++) {
        char *text = text_of(trace);
        int n = count(text, "\"ph\":\"X\"");
        assert_in_range(n, 0, N_SPANS);
        n_seen += n;
        check_spans(text);
        assert_int_equal(count(text, "\"spans_dropped\":"), 1);
        free(text);
        hsd_trace_restart(trace);
    }
    atomic_store(&r.is_stopped, true);
    pthread_join(thread, NULL);
    hsd_trace_destroy(&trace);
}

static void a_file_that_cannot_be_written_is_an_error_with_its_path(void **state)
{
    (void)state;
    hsd_trace *trace = make_trace(1);
    const char *const paths[] = {"/no/such/folder/trace.json", "/dev/full", "/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        hsd_error err = {0};
        assert_int_equal(hsd_trace_write(trace, paths[i], &err), HSD_EIO);
        assert_string_equal(err.where, paths[i]);
        assert_int_not_equal(err.vendor_code, 0);
    }
    assert_int_equal(hsd_trace_write(NULL, "x", NULL), HSD_EINVAL);
    assert_int_equal(hsd_trace_write(trace, NULL, NULL), HSD_EINVAL);
    hsd_trace_destroy(&trace);
    assert_int_equal(hsd_trace_create("x", -1, &trace, NULL), HSD_EINVAL);
    assert_null(trace);
}

static void without_a_trace_nothing_happens(void **state)
{
    (void)state;
    hsdi_track *track = open_track(NULL, "t");
    assert_null(track);
    assert_int_equal(hsdi_span_begin(track), 0);
    put(track, 1);
    hsdi_track_close(&track);
    hsd_trace_restart(NULL);
    hsd_trace_destroy(NULL);
}

static void times_of_another_clock_lie_on_lines_through_its_points(void **state)
{
    (void)state;
    const hsdi_clock_point points[] = {{1000, 500, 1}, {2000, 600, 1}, {4000, 600, 1}};
    assert_int_equal(hsdi_clock_here(points, 0, 77), 77);
    assert_int_equal(hsdi_clock_here(points, 3, 0), 500);
    assert_int_equal(hsdi_clock_here(points, 3, 1000), 1500);
    assert_int_equal(hsdi_clock_here(points, 3, 1500), 2050);
    assert_int_equal(hsdi_clock_here(points, 3, 2000), 2600);
    assert_int_equal(hsdi_clock_here(points, 3, 3999), 4599);
    assert_int_equal(hsdi_clock_here(points, 3, 9000), 9600);
}

static void spans_of_another_process_are_written_by_our_clock(void **state)
{
    (void)state;
    hsd_trace *trace = make_trace(3);
    hsdi_track *near = open_track(trace, "w"), *far = NULL, *third = NULL;
    assert_int_equal(hsdi_track_open_remote(trace, "w", "worker a", &far, NULL), HSD_OK);
    assert_int_equal(hsdi_track_open_remote(trace, "v", "worker b", &third, NULL), HSD_OK);
    assert_ptr_not_equal(near, far);
    for (int i = 0; i < 4; i++) {
        hsdi_track_put(
            far, &(hsdi_span){
                     .kind = &kind, .begin_ns = 5000000 + i, .end_ns = 5001000 + i, .text = "x"});
    }
    // The same process number as ours, and as another host's.
    hsdi_track_set_clock(far, (int)getpid(), "a", &(hsdi_clock_point){5000000, -4000000, 70});
    hsdi_track_set_clock(far, (int)getpid(), "a", &(hsdi_clock_point){6000000, -4000000, 90});
    hsdi_track_set_clock(third, 1, "b", &(hsdi_clock_point){1, -2, 3});
    char *text = text_of(trace);
    assert_int_equal(count(text, "process_name"), 3);
    assert_int_equal(count(text, "\"ph\":\"X\""), 3);
    assert_non_null(strstr(text, "\"ts\":1000.002,\"dur\":1.000"));
    assert_non_null(strstr(text, "\"begin_ns\":1000002,\"dur_ns\":1000"));
    assert_non_null(strstr(text, "\"ts\":1001.002,\"args\":{\"dropped\":1}"));
    assert_non_null(strstr(text, "\"process\":\"worker a\",\"host\":\"a\""));
    assert_non_null(strstr(text, "\"points\":2,\"offset_ns\":-4000000,\"uncertainty_ns\":90}"));
    char own[64];
    snprintf(own, sizeof own, "\"pid\":%d,", (int)getpid());
    assert_int_equal(count(text, own), 2); // our process's name and track
    free(text);
    // Another process at the same endpoint has another clock.
    hsdi_track_set_clock(far, 4, "a", &(hsdi_clock_point){5000000, 1000000000, 5});
    text = text_of(trace);
    assert_non_null(strstr(text, "\"ts\":1005000.002,"));
    free(text);
    hsd_trace_destroy(&trace);
}

static void times_before_our_clock_began_have_their_sign(void **state)
{
    (void)state;
    hsd_trace *trace = make_trace(3);
    hsdi_track *far = NULL;
    assert_int_equal(hsdi_track_open_remote(trace, "w", "worker", &far, NULL), HSD_OK);
    hsdi_track_put(far, &(hsdi_span){.kind = &kind, .begin_ns = 1, .end_ns = 2});
    hsdi_track_set_clock(far, 3, "", &(hsdi_clock_point){0, -1500, 0});
    char *text = text_of(trace);
    assert_non_null(strstr(text, "\"ts\":-1.499,"));
    free(text);
    hsd_trace_destroy(&trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_track_keeps_the_first_spans_and_counts_the_rest),
        cmocka_unit_test(closed_tracks_are_used_again_under_their_name),
        cmocka_unit_test(a_file_written_beside_a_recording_thread_has_whole_spans),
        cmocka_unit_test(a_file_that_cannot_be_written_is_an_error_with_its_path),
        cmocka_unit_test(times_of_another_clock_lie_on_lines_through_its_points),
        cmocka_unit_test(spans_of_another_process_are_written_by_our_clock),
        cmocka_unit_test(times_before_our_clock_began_have_their_sign),
        cmocka_unit_test(without_a_trace_nothing_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
