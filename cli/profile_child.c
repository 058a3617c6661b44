/// Pieces in processes of their own: a driver that aborts or hangs ends the child, not the profile.
#include "cli/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { SAID_BYTES = 4096, POLL_MS = 100 };

/// A running child, its two streams, and what came of them.
typedef struct child {
    pid_t pid;
    int out, err;
    char *text;
    size_t n_text, cap_text;
    char said[SAID_BYTES]; ///< the end of its standard error
    size_t n_said;
} child;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/// A file descriptor to read `input` from; -1 where there is no memory.
static int input_file(const char *input, size_t n_input)
{
    int fd = memfd_create("hsd-profile", MFD_CLOEXEC);
    if (fd >= 0 && (write(fd, input, n_input) != (ssize_t)n_input || lseek(fd, 0, SEEK_SET) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/// `hsd profile --piece PIECE` and the arguments of this one.
static char **make_argv(const profile_options *o, const char *piece)
{
    static char program[] = "hsd", command[] = "profile";
    char **argv = calloc((size_t)o->argc + 4, sizeof *argv);
    char *option = argv ? malloc(strlen(piece) + 16) : NULL;
    if (!option) {
        free(argv);
        return NULL;
    }
    sprintf(option, "--piece=%s", piece);
    argv[0] = program;
    argv[1] = command;
    argv[2] = option;
    for (int i = 1; i < o->argc; i++) {
        argv[2 + i] = o->argv[i];
    }
    return argv;
}

/// In a group of its own, so that what it started ends with it. Returns an errno.
static int spawn(child *c, char **argv, int input)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int out[2], err[2];
    if (pipe2(out, O_CLOEXEC) != 0) {
        return errno;
    }
    if (pipe2(err, O_CLOEXEC) != 0) {
        int code = errno;
        close(out[0]);
        close(out[1]);
        return code;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    int code = posix_spawn(&c->pid, "/proc/self/exe", &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(out[1]);
    close(err[1]);
    c->out = out[0];
    c->err = err[0];
    if (code != 0) {
        close(c->out);
        close(c->err);
    }
    return code;
}

/// False at the end of the stream, or without memory.
static bool take_text(child *c)
{
    if (c->cap_text - c->n_text < SAID_BYTES) {
        size_t cap = 2 * c->cap_text + 2 * SAID_BYTES;
        char *grown = realloc(c->text, cap);
        if (!grown) {
            return false;
        }
        c->text = grown;
        c->cap_text = cap;
    }
    ssize_t n = read(c->out, c->text + c->n_text, c->cap_text - c->n_text - 1);
    c->n_text += n > 0 ? (size_t)n : 0;
    c->text[c->n_text] = 0;
    return n > 0 || (n < 0 && errno == EINTR);
}

/// Keeps the end of what it says; with --verbose it is passed on.
static bool take_said(child *c, bool verbose)
{
    char piece[512];
    ssize_t n = read(c->err, piece, sizeof piece);
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    if (verbose) {
        (void)!write(STDERR_FILENO, piece, (size_t)n);
    }
    if (c->n_said + (size_t)n > sizeof c->said - 1) {
        size_t n_drop = c->n_said + (size_t)n - (sizeof c->said - 1);
        memmove(c->said, c->said + n_drop, c->n_said - n_drop);
        c->n_said -= n_drop;
    }
    memcpy(c->said + c->n_said, piece, (size_t)n);
    c->n_said += (size_t)n;
    c->said[c->n_said] = 0;
    return true;
}

/// Read until both streams end. True when it took too long.
static bool attend(child *c, const profile_options *o)
{
    double end_s = now_s() + o->n_seconds_most;
    struct pollfd fds[2] = {{c->out, POLLIN, 0}, {c->err, POLLIN, 0}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (now_s() > end_s || cli_interrupted()) {
            return true;
        }
        if (poll(fds, 2, POLL_MS) <= 0) {
            continue;
        }
        if (fds[0].revents && !take_text(c)) {
            fds[0].fd = -1;
        }
        if (fds[1].revents && !take_said(c, o->g.verbose)) {
            fds[1].fd = -1;
        }
    }
    return false;
}

/// The last line that it said, without "hsd: ".
static const char *last_line(child *c)
{
    while (c->n_said > 0 && c->said[c->n_said - 1] == '\n') {
        c->said[--c->n_said] = 0;
    }
    char *line = strrchr(c->said, '\n');
    const char *text = line ? line + 1 : c->said;
    return strncmp(text, "hsd: ", 5) == 0 ? text + 5 : text;
}

static void explain(child *c, const profile_options *o, bool is_late, int status, char *out)
{
    if (is_late) {
        snprintf(out, PROFILE_REASON_BYTES, "it did not end within %d s", o->n_seconds_most);
    } else if (WIFSIGNALED(status)) {
        const char *line = last_line(c);
        snprintf(out, PROFILE_REASON_BYTES, "it crashed, signal %d (%s)%s%.80s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), line[0] ? ": " : "", line);
    } else {
        const char *line = last_line(c);
        snprintf(out, PROFILE_REASON_BYTES, "%.140s", line[0] ? line : "it said nothing");
    }
}

int profile_ask_child(const profile_options *o, const char *piece, const char *input,
                      size_t n_input, profile_answer *out)
{
    child c = {0};
    int fd = input_file(input, n_input);
    char **argv = make_argv(o, piece);
    int code = fd < 0 || !argv ? ENOMEM : spawn(&c, argv, fd);
    *out = (profile_answer){0};
    if (fd >= 0) {
        close(fd);
    }
    if (argv) {
        free(argv[2]);
    }
    free(argv);
    if (code != 0) {
        return cli_failf("a process for measuring cannot be started: %s", strerror(code));
    }
    bool is_late = attend(&c, o);
    int status = 0;
    if (is_late) {
        kill(-c.pid, SIGKILL);
    }
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(c.out);
    close(c.err);
    bool is_good = !is_late && WIFEXITED(status) && WEXITSTATUS(status) == CLI_OK && c.text;
    if (is_good) {
        *out = (profile_answer){.text = c.text, .n_bytes = c.n_text};
    } else {
        explain(&c, o, is_late, status, out->reason);
        free(c.text);
    }
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}
