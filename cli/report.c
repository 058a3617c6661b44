/// Error lines on stderr and checked output on stdout.
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool stdout_reported; // one line about a broken stdout is enough

hsd_error cli_no_error(void)
{
    return (hsd_error){.byte_offset = -1};
}

int cli_fail(hsd_status status, const hsd_error *err)
{
    char place[64] = "";
    if (err->line > 0 && err->column > 0) {
        snprintf(place, sizeof place, ", line %lld, column %lld", (long long)err->line,
                 (long long)err->column);
    } else if (err->line > 0) {
        snprintf(place, sizeof place, ", line %lld", (long long)err->line);
    } else if (err->byte_offset >= 0) {
        snprintf(place, sizeof place, ", byte %lld", (long long)err->byte_offset);
    }
    const char *message = err->message[0] ? err->message : hsd_status_message(status);
    fprintf(stderr, "hsd: %s%s%s (%s%s)\n", err->where, err->where[0] ? ": " : "", message,
            hsd_status_name(status), place);
    return CLI_FAILURE;
}

int cli_failf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("hsd: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return CLI_FAILURE;
}

static bool stdout_failed(void)
{
    if (!stdout_reported) {
        stdout_reported = true;
        cli_failf("standard output: %s (EIO)", strerror(errno));
    }
    return false;
}

bool cli_out(const char *bytes, size_t n_bytes)
{
    if (fwrite(bytes, 1, n_bytes, stdout) != n_bytes || fflush(stdout) != 0) {
        return stdout_failed();
    }
    return true;
}

void cli_outf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
}

int cli_close_stdout(void)
{
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0 || failed) {
        stdout_failed();
        return CLI_FAILURE;
    }
    return CLI_OK;
}

char *cli_json_text(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_REAL_PRECISION(9) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(object);
    size_t n = text ? strlen(text) : 0;
    char *line = text ? realloc(text, n + 2) : NULL;
    if (!line) {
        free(text);
        return NULL;
    }
    memcpy(line + n, "\n", 2);
    return line;
}

int cli_print_json(json_t *object)
{
    char *text = cli_json_text(object);
    if (!text) {
        return cli_failf("the JSON object could not be made (ENOMEM)");
    }
    bool ok = cli_out(text, strlen(text));
    free(text);
    return ok ? CLI_OK : CLI_FAILURE;
}

void cli_log(void *user, int level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    const bool *verbose = user;
    if (level <= 1 || *verbose) {
        fprintf(stderr, "hsd: %s: %s\n", names[level < 0 || level > 3 ? 3 : level], text);
    }
}
