/// `hsd batch`: progress on a terminal, one line at the end.
#include "cli/batch.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 24 };

double batch_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double rate_of(const batch *b, double seconds)
{
    return seconds > 0 ? (double)atomic_load(&b->n_tokens) / seconds : 0;
}

/// Kept lines took no time: only what this run did says how long the rest takes.
static void draw_bar(const batch *b, int64_t n_done, double seconds)
{
    int64_t n_new = n_done - b->results.n_kept;
    int n_full = b->n_total > 0 ? (int)(BAR_WIDTH * n_done / b->n_total) : BAR_WIDTH;
    fprintf(stderr, "\rhsd: [%.*s%*s] %lld/%lld, %.1f tokens/s", n_full, "########################",
            BAR_WIDTH - n_full, "", (long long)n_done, (long long)b->n_total, rate_of(b, seconds));
    if (n_new > 0) {
        long left = (long)(seconds * (double)(b->n_total - n_done) / (double)n_new);
        fprintf(stderr, ", ETA %ld:%02ld:%02ld", left / 3600, left / 60 % 60, left % 60);
    }
}

void batch_draw(const batch *b)
{
    if (!isatty(STDERR_FILENO)) {
        return;
    }
    int64_t n_done = b->results.n_kept + atomic_load(&b->n_done);
    double seconds = batch_now_s() - b->begin_s;
    if (b->n_total >= 0) {
        draw_bar(b, n_done, seconds);
    } else {
        fprintf(stderr, "\rhsd: %lld lines, %.1f tokens/s", (long long)n_done, rate_of(b, seconds));
    }
    fputs("\033[K", stderr);
    fflush(stderr);
}

void batch_summary(const batch *b)
{
    double seconds = batch_now_s() - b->begin_s;
    if (isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
    fprintf(stderr,
            "hsd: %lld lines done, %lld of them failed, %lld kept from before; %lld tokens in %.3f "
            "s, %.1f tokens/s, %d sessions\n",
            (long long)(b->results.n_kept + atomic_load(&b->n_done)),
            (long long)(b->results.n_kept_failed + atomic_load(&b->n_failed)),
            (long long)b->results.n_kept, (long long)atomic_load(&b->n_tokens), seconds,
            rate_of(b, seconds), b->n_sessions);
}
