/// `hsd batch`: the file of results. A line is a finished prompt; a last line without its newline
/// was being written when the program was killed, and is dropped.
#include "cli/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POLL_MS = 100 };

static int fail_errno(const char *name, const char *what)
{
    return cli_failf("%s: cannot %s: %s (EIO)", name, what, strerror(errno));
}

static int fail_line(const char *name, int64_t line, hsd_status status, const char *why)
{
    hsd_error err = cli_no_error();
    err.line = line;
    snprintf(err.where, sizeof err.where, "%s", name);
    snprintf(err.message, sizeof err.message, "%s", why);
    return cli_fail(status, &err);
}

/// Neither the input itself nor a file that another process is writing.
static int claim(const batch *b, const struct stat *out)
{
    struct stat in;
    if (fstat(b->in_fd, &in) == 0 && in.st_dev == out->st_dev && in.st_ino == out->st_ino) {
        return cli_failf("%s: input and results are the same file (EINVAL)", b->results.name);
    }
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (b->results.regular && fcntl(b->results.fd, F_OFD_SETLK, &lock) != 0 &&
        (errno == EAGAIN || errno == EACCES)) {
        return cli_failf("%s: another process is writing to it (EIO)", b->results.name);
    }
    return CLI_OK;
}

int batch_results_open(batch *b)
{
    batch_results *r = &b->results;
    bool to_stdout = strcmp(b->out_path, "-") == 0;
    r->name = to_stdout ? "standard output" : b->out_path;
    r->fd =
        to_stdout ? dup(STDOUT_FILENO) : open(b->out_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (r->fd < 0) {
        return cli_interrupted() ? CLI_INTERRUPTED : fail_errno(r->name, "open");
    }
    struct stat out;
    if (fstat(r->fd, &out) != 0) {
        return fail_errno(r->name, "open");
    }
    r->regular = !to_stdout && S_ISREG(out.st_mode);
    return S_ISREG(out.st_mode) ? claim(b, &out) : CLI_OK;
}

/// 16 hexadecimal digits; false for anything else.
static bool read_hash(const json_t *value, uint64_t *out)
{
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        return false;
    }
    *out = strtoull(text, NULL, 16);
    return true;
}

static bool remember(batch_results *r, uint64_t hash)
{
    if ((size_t)r->n_kept == r->cap) {
        size_t cap = 2 * r->cap + 256;
        uint64_t *grown = realloc(r->hashes, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        r->hashes = grown;
        r->cap = cap;
    }
    r->hashes[r->n_kept++] = hash;
    return true;
}

static int take_result(batch *b, const cli_line *line, const json_t *object)
{
    batch_results *r = &b->results;
    const json_t *index = json_object_get(object, "index");
    const json_t *error = json_object_get(object, "error");
    uint64_t hash, settings;
    if (!json_is_integer(index) || !read_hash(json_object_get(object, "hash"), &hash) ||
        !read_hash(json_object_get(object, "settings"), &settings)) {
        return fail_line(r->name, line->number, HSD_EFORMAT, "it is no result of hsd batch");
    }
    if (json_integer_value(index) != r->n_kept) {
        return fail_line(r->name, line->number, HSD_EFORMAT,
                         "its index is not the one that comes next");
    }
    if (settings != b->settings) {
        return fail_line(r->name, line->number, HSD_EINVAL,
                         "it was made with another target or other settings; give the same ones, "
                         "or --overwrite to begin again");
    }
    if (!remember(r, hash)) {
        return fail_line(r->name, line->number, HSD_ENOMEM, "memory could not be allocated");
    }
    if (error) {
        r->n_kept_failed++;
        json_int_t at = json_integer_value(json_object_get(error, "line"));
        r->first_failed = r->first_failed > 0 ? r->first_failed : (int64_t)at;
    }
    r->size = line->end;
    return CLI_OK;
}

static int scan(batch *b, cli_lines *lines)
{
    cli_line line;
    cli_lines_result result;
    while ((result = cli_lines_next(lines, &line)) == CLI_LINES_LINE && line.complete) {
        json_t *object = json_loadb(line.bytes, line.n_bytes, JSON_ALLOW_NUL, NULL);
        int code = take_result(b, &line, object);
        json_decref(object);
        if (code != CLI_OK) {
            return code;
        }
    }
    if (result == CLI_LINES_STOPPED) {
        return CLI_INTERRUPTED;
    }
    return result == CLI_LINES_FAILED ? fail_errno(b->results.name, "read") : CLI_OK;
}

int batch_results_scan(batch *b)
{
    if (!b->results.regular || b->overwrite) {
        return CLI_OK;
    }
    int fd = open(b->out_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(b->results.name, "read");
    }
    cli_lines lines;
    cli_lines_init(&lines, fd, b->results.name, BATCH_RESULT_MAX_BYTES);
    lines.stopped = batch_stopped;
    lines.stopped_user = b;
    int code = scan(b, &lines);
    cli_lines_fini(&lines);
    close(fd);
    return code;
}

int batch_results_match(batch *b)
{
    const batch_results *r = &b->results;
    cli_line line;
    char why[256];
    for (int64_t i = 0; i < r->n_kept;) {
        cli_lines_result result = cli_lines_next(&b->lines, &line);
        if (result == CLI_LINES_STOPPED) {
            return CLI_INTERRUPTED;
        }
        if (result == CLI_LINES_FAILED) {
            return fail_errno(b->in_name, "read");
        }
        if (result == CLI_LINES_END) {
            snprintf(why, sizeof why, "%.120s has only %lld prompts; --overwrite begins again",
                     b->in_name, (long long)i);
            return fail_line(r->name, i + 1, HSD_EINVAL, why);
        }
        if (line.blank) {
            continue;
        }
        if (line.hash != r->hashes[i]) {
            snprintf(why, sizeof why,
                     "it was not made from line %lld of %.120s; --overwrite begins again",
                     (long long)line.number, b->in_name);
            return fail_line(r->name, i + 1, HSD_EINVAL, why);
        }
        i++;
    }
    return CLI_OK;
}

int batch_results_begin(batch *b)
{
    const batch_results *r = &b->results;
    if (r->regular &&
        (ftruncate(r->fd, (off_t)r->size) != 0 || lseek(r->fd, (off_t)r->size, SEEK_SET) < 0)) {
        return fail_errno(r->name, "write");
    }
    return CLI_OK;
}

/// Wait until a pipe or terminal takes something. False when the run is interrupted meanwhile.
static bool wait_for_room(batch *b)
{
    struct pollfd wait = {.fd = b->results.fd, .events = POLLOUT};
    while (poll(&wait, 1, POLL_MS) == 0) {
        if (cli_interrupted()) {
            errno = EINTR;
            return false;
        }
    }
    return true;
}

static bool write_all(batch *b, const char *bytes, size_t n_bytes)
{
    batch_results *r = &b->results;
    // A pipe that poll calls writable takes PIPE_BUF bytes without making us wait.
    size_t most = r->regular ? n_bytes : PIPE_BUF;
    while (n_bytes > 0) {
        if (!r->regular && !wait_for_room(b)) {
            return false;
        }
        ssize_t n = write(r->fd, bytes, n_bytes < most ? n_bytes : most);
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        }
        bytes += n > 0 ? n : 0;
        n_bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

bool batch_results_write(batch *b, const char *line, size_t n_bytes)
{
    batch_results *r = &b->results;
    if (write_all(b, line, n_bytes)) {
        r->size += (int64_t)n_bytes;
        return true;
    }
    int why = errno;
    if (r->regular && ftruncate(r->fd, (off_t)r->size) != 0) {
        // The next run drops the half line.
    }
    errno = why;
    return false;
}

bool batch_results_close(batch_results *r)
{
    if (r->fd < 0) {
        return true;
    }
    bool ok = !r->regular || fsync(r->fd) == 0 || errno == EINVAL;
    int why = errno;
    ok = close(r->fd) == 0 && ok;
    errno = ok ? 0 : why;
    r->fd = -1;
    free(r->hashes);
    r->hashes = NULL;
    return ok;
}
