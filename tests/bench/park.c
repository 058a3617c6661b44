/// How long a text takes to be parked and to come back, and how large its file is.
///
///     bench_park TARGET.gguf DRAFT.gguf|- N_TOKENS [f32|f16|q8_0] [FILE]
///
/// Prints one line per form: bytes, and seconds of the prompt, of parking and of resuming; with a
/// draft also seconds from hsd_session_continue to the 32nd token, in mode serial, with the draft's
/// cells in the file and without. The shortest of three.
#include <hsd/hsd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { N_REPEATS = 3, N_MORE = 32 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fprintf(stderr, "%s: %s: %s\n", hsd_status_name(status), err->where, err->message);
        exit(1);
    }
}

static hsd_engine *open_engine(char **argv, int n_tokens, hsd_cache_type type)
{
    hsd_engine *engine;
    hsd_engine_options options;
    hsd_error err = {0};
    hsd_engine_options_init(&options);
    options.target_path = argv[1];
    options.draft_path = strcmp(argv[2], "-") == 0 ? NULL : argv[2];
    options.cache_type = options.draft_cache_type = type;
    options.n_ctx = n_tokens + 2 * N_MORE;
    must(hsd_engine_open(&options, &engine, &err), &err);
    return engine;
}

static hsd_session_options options_of(bool drafts, int n_tokens)
{
    hsd_session_options o;
    hsd_session_options_init(&o);
    o.mode = drafts ? HSD_MODE_SERIAL : HSD_MODE_AR;
    o.window = 4;
    o.ignore_eos = true;
    o.n_tokens = n_tokens;
    return o;
}

/// Resume in an engine that does not know the text. Seconds of that, and to N_MORE more tokens.
static void resume(char **argv, int n_tokens, hsd_cache_type type, bool drafts, const char *file,
                   double *resume_s, double *more_s)
{
    for (int i = 0; i < N_REPEATS; i++) {
        hsd_engine *engine = open_engine(argv, n_tokens, type);
        hsd_session_options o = options_of(drafts, N_MORE);
        hsd_session *session;
        hsd_error err = {0};
        double begin = now_s();
        must(hsd_session_resume(engine, file, &o, &session, &err), &err);
        double resumed = now_s();
        must(hsd_session_continue(session, &err), &err);
        must(hsd_session_wait(session, &err), &err);
        double done = now_s() - resumed;
        *resume_s = i == 0 || resumed - begin < *resume_s ? resumed - begin : *resume_s;
        *more_s = i == 0 || done < *more_s ? done : *more_s;
        hsd_session_close(&session);
        hsd_engine_close(&engine);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        hsd_park_options how;
    } forms[] = {{"kv", {HSD_PARK_CELLS, false}},
                 {"h", {HSD_PARK_INPUTS, false}},
                 {"kv+draft", {HSD_PARK_CELLS, true}}};
    int n = argc > 3 ? atoi(argv[3]) : 0;
    if (n < 8) {
        fprintf(stderr, "usage: bench_park TARGET DRAFT|- N_TOKENS [TYPE] [FILE]\n");
        return 2;
    }
    hsd_cache_type type = HSD_CACHE_F32;
    while (argc > 4 && type < HSD_N_CACHE_TYPES &&
           strcmp(hsd_cache_type_name(type), argv[4]) != 0) {
        type++;
    }
    const char *file = argc > 5 ? argv[5] : "bench_park.hsd";
    bool drafts = strcmp(argv[2], "-") != 0;
    hsd_engine *engine = open_engine(argv, n, type);
    hsd_session_options o = options_of(drafts, 1);
    hsd_session *session;
    hsd_error err = {0};
    hsd_stats stats;
    int32_t *prompt = calloc((size_t)n, sizeof *prompt);
    for (int i = 0; prompt && i < n; i++) {
        prompt[i] = (int32_t)((int64_t)i * 7919 % (hsd_engine_n_vocab(engine) - 16));
    }
    must(hsd_session_open(engine, &o, &session, &err), &err);
    must(hsd_session_submit_tokens(session, prompt, n, &err), &err);
    must(hsd_session_wait(session, &err), &err);
    hsd_session_stats(session, &stats);
    printf("%d tokens, caches %s: prompt %.3f s\n", n, hsd_cache_type_name(type), stats.prefill_s);
    for (int i = 0; i < (drafts ? 3 : 2); i++) {
        struct stat about;
        double park_s = 0.0, resume_s = 0.0, more_s = 0.0;
        for (int k = 0; k < N_REPEATS; k++) {
            double begin = now_s();
            must(hsd_session_park_with(session, file, &forms[i].how, &err), &err);
            double took = now_s() - begin;
            park_s = k == 0 || took < park_s ? took : park_s;
        }
        (void)stat(file, &about);
        resume(argv, n, type, drafts, file, &resume_s, &more_s);
        printf("%-9s %12lld bytes, park %.3f s, resume %.3f s, %d tokens more %.3f s\n",
               forms[i].name, (long long)about.st_size, park_s, resume_s, (int)N_MORE, more_s);
        (void)fflush(stdout);
    }
    (void)remove(file);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    free(prompt);
    return 0;
}
