/// Tokens per second of 1, 2, 4, .. sessions that generate at the same time on one engine.
///
/// It sees the library only through include/hsd, so that the same source measures an older one.
/// Nothing is judged: look at the figures.
///
///     bench_sessions [-m MODE] [-n TOKENS] [-r REPEATS] [-s 1,2,4] [-t TEMPERATURE]
///                    [TARGET.gguf [DRAFT.gguf]]
#include <hsd/hsd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { N_MAX = 64, REPEATS_MAX = 64 };

static const char *const prompts[] = {"Once upon a time", "The little dog said", "One day, Tom and",
                                      "There was a big red", "Lily liked to play"};

typedef struct settings {
    hsd_mode mode;
    int n_tokens, n_repeats;
    float temperature;
    const char *counts;
} settings;

static int fail(hsd_status status, const hsd_error *err)
{
    fprintf(stderr, "%s: %s (%s)\n", err->where, err->message, hsd_status_name(status));
    return 1;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/// Processor time of all threads of this process.
static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, compare);
    return n % 2 == 1 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

static hsd_status open_sessions(hsd_engine *engine, const settings *s, int n, hsd_session **out,
                                hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < n && status == HSD_OK; i++) {
        hsd_session_options o;
        hsd_session_options_init(&o);
        o.mode = s->mode;
        o.n_tokens = s->n_tokens;
        o.ignore_eos = true;
        o.sampling.temperature = s->temperature;
        o.sampling.seed = (uint64_t)i + 1;
        status = hsd_session_open(engine, &o, &out[i], err);
    }
    return status;
}

typedef struct figures {
    double rate[REPEATS_MAX];   ///< tokens of all sessions per second
    double ms[REPEATS_MAX];     ///< median of the sessions' decode milliseconds per token
    double cpu_ms[REPEATS_MAX]; ///< processor milliseconds per token: neighbours change it less
} figures;

/// One generation on each session at once.
static hsd_status run_once(hsd_session **sessions, int n, int i_repeat, figures *out,
                           hsd_error *err)
{
    hsd_status status = HSD_OK;
    int n_tokens = 0;
    double each[N_MAX], begin = now_s(), cpu = cpu_s();
    for (int i = 0; i < n && status == HSD_OK; i++) {
        const char *prompt = prompts[(size_t)i % (sizeof prompts / sizeof *prompts)];
        status = hsd_session_submit(sessions[i], prompt, strlen(prompt), err);
    }
    for (int i = 0; i < n && status == HSD_OK; i++) {
        hsd_stats stats;
        status = hsd_session_wait(sessions[i], err);
        hsd_session_stats(sessions[i], &stats);
        n_tokens += stats.n_tokens;
        each[i] = stats.decode_s * 1e3 / (stats.n_tokens > 0 ? stats.n_tokens : 1);
    }
    out->rate[i_repeat] = n_tokens / (now_s() - begin);
    out->cpu_ms[i_repeat] = (cpu_s() - cpu) * 1e3 / (n_tokens > 0 ? n_tokens : 1);
    out->ms[i_repeat] = status == HSD_OK ? median(each, n) : 0.0;
    return status;
}

static hsd_status run_count(hsd_engine *engine, const settings *s, int n, hsd_error *err)
{
    hsd_session *sessions[N_MAX] = {NULL};
    figures f;
    hsd_status status = open_sessions(engine, s, n, sessions, err);
    for (int i = 0; i < s->n_repeats && status == HSD_OK; i++) {
        status = run_once(sessions, n, i, &f, err);
    }
    if (status == HSD_OK) {
        printf("%s %d %.1f %.3f %.3f\n", hsd_mode_name(s->mode), n, median(f.rate, s->n_repeats),
               median(f.ms, s->n_repeats), median(f.cpu_ms, s->n_repeats));
        fflush(stdout);
    }
    for (int i = 0; i < n; i++) {
        hsd_session_close(&sessions[i]);
    }
    return status;
}

static hsd_status run_counts(hsd_engine *engine, const settings *s, hsd_error *err)
{
    hsd_status status = HSD_OK;
    const char *at = s->counts;
    printf("mode sessions tokens/s ms/token cpu_ms/token\n");
    while (*at && status == HSD_OK) {
        char *end;
        long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > N_MAX) {
            fprintf(stderr, "sessions: \"%s\" does not begin with a number of 1 to %d\n", at,
                    (int)N_MAX);
            exit(2);
        }
        status = run_count(engine, s, (int)n, err);
        at = *end == ',' ? end + 1 : end;
    }
    return status;
}

static int parse(int argc, char **argv, settings *s)
{
    for (int c; (c = getopt(argc, argv, "m:n:r:s:t:")) != -1;) {
        switch (c) {
        case 'm':
            s->mode = HSD_MODE_AUTO;
            while (s->mode <= HSD_MODE_MIRROR && strcmp(hsd_mode_name(s->mode), optarg) != 0) {
                s->mode++;
            }
            break;
        case 'n':
            s->n_tokens = atoi(optarg);
            break;
        case 'r':
            s->n_repeats = atoi(optarg);
            break;
        case 's':
            s->counts = optarg;
            break;
        case 't':
            s->temperature = (float)atof(optarg);
            break;
        default:
            return 2;
        }
    }
    return s->n_repeats >= 1 && s->n_repeats <= REPEATS_MAX && s->n_tokens >= 1 ? 0 : 2;
}

int main(int argc, char **argv)
{
    settings s = {.mode = HSD_MODE_AR, .n_tokens = 128, .n_repeats = 5, .counts = "1,2,4,8,16"};
    if (parse(argc, argv, &s) != 0) {
        fprintf(stderr, "usage: bench_sessions [-m MODE] [-n TOKENS] [-r REPEATS] [-s 1,2,4] "
                        "[-t TEMPERATURE] [TARGET.gguf [DRAFT.gguf]]\n");
        return 2;
    }
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = optind < argc ? argv[optind] : NULL;
    options.draft_path = optind + 1 < argc ? argv[optind + 1] : NULL;
    hsd_status status = hsd_engine_open(&options, &engine, &err);
    if (status == HSD_OK) {
        status = run_counts(engine, &s, &err);
        hsd_engine_close(&engine);
    }
    return status == HSD_OK ? 0 : fail(status, &err);
}
