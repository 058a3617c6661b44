/// `hsd profile --report`: one generation with a trace, as a page that needs nothing else.
///
/// The page (report_page.html) computes what it shows from the trace; here it only gets its data:
/// the trace's own JSON, statistics, settings and machine, in which no '<' is left.
#include "cli/profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static const char default_prompt[] = "Once upon a time there was a little girl who";
static const char mark[] = "@DATA@";

/// What the trace writes, NUL-terminated; owned. NULL after one line on stderr.
static char *trace_text(hsd_trace *trace)
{
    char path[64], *text = NULL;
    hsd_error err = cli_no_error();
    int fd = memfd_create("hsd-trace", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    hsd_status status = fd >= 0 ? hsd_trace_write(trace, path, &err) : HSD_ENOMEM;
    off_t n = status == HSD_OK ? lseek(fd, 0, SEEK_END) : -1;
    if (n >= 0 && (text = calloc(1, (size_t)n + 1)) != NULL) {
        ssize_t got = 0;
        for (off_t at = 0; at < n && (got = pread(fd, text + at, (size_t)(n - at), at)) > 0;) {
            at += got;
        }
    }
    if (!text) {
        cli_fail(status == HSD_OK ? HSD_ENOMEM : status, &err);
    }
    if (fd >= 0) {
        close(fd);
    }
    return text;
}

/// "model name" of /proc/cpuinfo; empty where there is none.
static void processor(char *out, size_t cap)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    out[0] = 0;
    while (file && !out[0] && fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && value) {
            snprintf(out, cap, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
        }
    }
    if (file) {
        fclose(file);
    }
}

static json_t *text_or(const char *text, const char *other)
{
    json_t *value = json_string(text ? text : other);
    return value ? value : json_string("?"); // a path need not be UTF-8
}

static json_t *machine_json(void)
{
    struct utsname name = {0};
    char cpu[128];
    processor(cpu, sizeof cpu);
    uname(&name);
    return json_pack("{s:o, s:o, s:i, s:s, s:s}", "host", text_or(name.nodename, ""), "processor",
                     text_or(cpu, ""), "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "system",
                     name.sysname, "kernel", name.release);
}

static json_t *settings_json(const profile_options *o)
{
    const hsd_engine_options *e = &o->g.engine;
    const hsd_session_options *s = &o->g.session;
    json_t *workers = json_array();
    for (int i = 0; workers && i < e->n_workers; i++) {
        json_array_append_new(workers, text_or(o->g.workers[i], ""));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:I, s:b}", "target",
                     text_or(e->target_path, "the shipped one"), "draft",
                     text_or(e->draft_path, e->target_path ? "none" : "the shipped one"), "device",
                     text_or(e->target_device, "cpu"), "draft_device",
                     text_or(e->draft_device, "cpu"), "workers", workers, "temperature",
                     (double)s->sampling.temperature, "seed", (json_int_t)s->sampling.seed,
                     "with_ngram", (int)s->with_ngram);
}

static char *now_text(char out[32])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &utc);
    return out;
}

/// What the page gets but the trace, as text without the closing brace; NULL without memory.
static char *about_text(const profile_options *o, const char *prompt, const cli_output *made,
                        const hsd_stats *stats)
{
    char made_at[32];
    json_t *about = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "version", hsd_version(),
                              "made", now_text(made_at), "prompt", text_or(prompt, ""), "text",
                              cli_json_output_text(made), "stats", cli_json_stats(stats),
                              "settings", settings_json(o), "machine", machine_json());
    char *text = about ? json_dumps(about, JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(about);
    if (text) {
        text[strlen(text) - 1] = 0; // the trace follows
    }
    return text;
}

/// JSON inside of a page: '<' could end or comment out the element.
static void put_escaped(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '<') {
            fputs("\\u003c", file);
        } else {
            fputc(*text, file);
        }
    }
}

static int write_page(const char *path, const char *about, const char *trace)
{
    const char *page = (const char *)cli_report_page;
    const char *at = memmem(page, cli_report_page_bytes, mark, sizeof mark - 1);
    FILE *file = fopen(path, "we");
    if (!file || !at) {
        int code = file ? EINVAL : errno;
        if (file) {
            fclose(file);
        }
        return cli_failf("%s: the report cannot be written: %s (EIO)", path, strerror(code));
    }
    errno = 0;
    size_t n_before = (size_t)(at - page), n_mark = sizeof mark - 1;
    fwrite(page, 1, n_before, file);
    put_escaped(file, about);
    fputs(", \"trace\": ", file);
    put_escaped(file, trace);
    fputs("}", file);
    fwrite(at + n_mark, 1, cli_report_page_bytes - n_before - n_mark, file);
    bool is_whole = fflush(file) == 0 && !ferror(file);
    int code = errno ? errno : EIO;
    if (fclose(file) != 0 && is_whole) {
        code = errno;
        is_whole = false;
    }
    return is_whole ? CLI_OK
                    : cli_failf("%s: the report cannot be written: %s (EIO)", path, strerror(code));
}

static bool on_token(void *user, const hsd_token *token)
{
    return cli_output_add(user, token) && !cli_interrupted();
}

/// One generation. Returns an exit code.
static int generate(profile_options *o, const char *prompt, cli_output *made, hsd_stats *stats)
{
    hsd_error err = cli_no_error();
    hsd_engine *engine = NULL;
    hsd_session *session = NULL;
    o->g.session.on_token = on_token;
    o->g.session.on_token_user = made;
    hsd_status status = hsd_engine_open(&o->g.engine, &engine, &err);
    if (status == HSD_OK) {
        status = hsd_session_open(engine, &o->g.session, &session, &err);
    }
    cli_signals_cancel_session(session);
    if (status == HSD_OK) {
        hsd_trace_restart(o->g.engine.trace); // choosing a mode is not part of the run
        status = hsd_session_submit(session, prompt, strlen(prompt), &err);
    }
    if (status == HSD_OK) {
        status = hsd_session_wait(session, &err);
        hsd_session_stats(session, stats);
    }
    cli_signals_cancel_session(NULL);
    hsd_session_close(&session);
    hsd_engine_close(&engine);
    return cli_interrupted() ? CLI_INTERRUPTED : status == HSD_OK ? CLI_OK : cli_fail(status, &err);
}

static int report(profile_options *o)
{
    const char *prompt = o->measured.n_prompts > 0 ? o->prompts[0] : default_prompt;
    cli_output made = {0};
    hsd_stats stats = {0};
    char *trace = NULL, *about = NULL;
    int code = generate(o, prompt, &made, &stats);
    if (code == CLI_OK) {
        trace = trace_text(o->g.engine.trace);
        about = about_text(o, prompt, &made, &stats);
        code = !trace  ? CLI_FAILURE
               : about ? write_page(o->report_file, about, trace)
                       : cli_failf("report: memory could not be allocated (ENOMEM)");
    }
    if (code == CLI_OK) {
        fprintf(stderr, "hsd: %d tokens, %.1f tokens/s; written to %s\n", stats.n_tokens,
                stats.tokens_per_s, o->report_file);
    }
    free(trace);
    free(about);
    cli_output_fini(&made);
    return code;
}

int profile_report(profile_options *o)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_trace_create("hsd profile", 0, &o->g.engine.trace, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    int code = report(o);
    if (o->trace_file) {
        return cli_trace_end(&o->g.engine.trace, o->trace_file, code);
    }
    hsd_trace_destroy(&o->g.engine.trace);
    return code;
}
