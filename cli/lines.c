/// Lines of a file of any bytes. Reads by blocks and looks up while it waits, so that an interrupt
/// ends also the reading of a silent pipe.
#include "cli/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 16, POLL_MS = 100 };

uint64_t cli_hash(uint64_t hash, const void *bytes, size_t n_bytes)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

void cli_lines_init(cli_lines *lines, int fd, const char *name, size_t max_bytes)
{
    *lines = (cli_lines){.fd = fd, .name = name, .max_bytes = max_bytes};
}

void cli_lines_fini(cli_lines *lines)
{
    free(lines->line);
    free(lines->block);
    *lines = (cli_lines){.fd = -1};
}

static bool stopped(const cli_lines *lines)
{
    return lines->stopped && lines->stopped(lines->stopped_user);
}

/// Read the next block. CLI_LINES_LINE means that there is one.
static cli_lines_result fill(cli_lines *lines)
{
    if (!lines->block && !(lines->block = malloc(BLOCK_BYTES))) {
        return CLI_LINES_FAILED;
    }
    struct pollfd wait = {.fd = lines->fd, .events = POLLIN};
    for (;;) {
        if (stopped(lines)) {
            return CLI_LINES_STOPPED;
        }
        int ready = poll(&wait, 1, POLL_MS);
        ssize_t n = ready > 0 ? read(lines->fd, lines->block, BLOCK_BYTES) : -1;
        if (n >= 0) {
            lines->at = 0;
            lines->n_block = (size_t)n;
            return n > 0 ? CLI_LINES_LINE : CLI_LINES_END;
        }
        if (ready != 0 && errno != EINTR && errno != EAGAIN) {
            return CLI_LINES_FAILED;
        }
    }
}

/// Append to the kept part of the line. False when memory is short.
static bool keep(cli_lines *lines, cli_line *out, const char *bytes, size_t n)
{
    size_t room = lines->max_bytes - out->n_bytes;
    out->too_long = out->too_long || n > room;
    n = n < room ? n : room;
    if (lines->cap - out->n_bytes < n) {
        size_t cap = 2 * lines->cap + n;
        char *grown = realloc(lines->line, cap);
        if (!grown) {
            errno = ENOMEM;
            return false;
        }
        lines->line = grown;
        lines->cap = cap;
    }
    if (n > 0) {
        memcpy(lines->line + out->n_bytes, bytes, n);
    }
    out->n_bytes += n;
    return true;
}

static bool all_blank(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strchr(" \t\r", bytes[i]) || bytes[i] == '\0') {
            return false;
        }
    }
    return true;
}

/// Take what the block has of this line; true when the line is complete or `*result` says why not.
static bool take(cli_lines *lines, cli_line *out, cli_lines_result *result)
{
    const char *begin = lines->block + lines->at;
    size_t left = lines->n_block - lines->at;
    const char *newline = memchr(begin, '\n', left);
    size_t n = newline ? (size_t)(newline - begin) : left;
    out->complete = newline != NULL;
    out->hash = cli_hash(out->hash, begin, n);
    lines->at += n + (newline ? 1 : 0);
    lines->offset += (int64_t)n + (newline ? 1 : 0);
    if (!keep(lines, out, begin, n)) {
        *result = CLI_LINES_FAILED;
    }
    return newline || *result == CLI_LINES_FAILED;
}

cli_lines_result cli_lines_next(cli_lines *lines, cli_line *out)
{
    *out = (cli_line){.hash = CLI_HASH_BEGIN, .number = lines->number + 1};
    cli_lines_result result = CLI_LINES_LINE;
    int64_t begin = lines->offset;
    for (;;) {
        if (lines->at == lines->n_block) {
            result = fill(lines);
            if (result == CLI_LINES_END && lines->offset > begin) {
                result = CLI_LINES_LINE; // the last line has no newline
                break;
            }
            if (result != CLI_LINES_LINE) {
                return result;
            }
        }
        if (take(lines, out, &result)) {
            break;
        }
    }
    lines->number++;
    out->bytes = lines->line ? lines->line : "";
    out->end = lines->offset;
    out->blank = !out->too_long && all_blank(out->bytes, out->n_bytes);
    return result;
}
