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
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { SAID_BYTES = 4096, POLL_MS = 100 };

/// A process that was killed may take this long to end; one in the hands of a driver, for ever.
static const double KILLED_S = 10.0;

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

bool profile_follow_parent(int parent)
{
    // Between the two calls the parent may end, and is nobody's parent then.
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == (pid_t)parent;
}

enum { OPTION_BYTES = 48, N_OPTIONS = 3 };

/// What a child is started with: strings for argv.
typedef struct child_options {
    char piece[OPTION_BYTES], parent[OPTION_BYTES], skip[OPTION_BYTES];
} child_options;

/// `hsd profile --piece PIECE ..` and the arguments of this one.
static char **make_argv(const profile_options *o, child_options *own)
{
    static char program[] = "hsd", command[] = "profile";
    char **argv = calloc((size_t)o->argc + 2 + N_OPTIONS, sizeof *argv);
    if (argv) {
        argv[0] = program;
        argv[1] = command;
        argv[2] = own->piece;
        argv[3] = own->parent;
        argv[4] = own->skip;
        for (int i = 1; i < o->argc; i++) {
            argv[1 + N_OPTIONS + i] = o->argv[i];
        }
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

/// Read until both streams end, or end_s. True when it took too long.
static bool attend(child *c, const profile_options *o, double end_s)
{
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

/// Wait for its end, until end_s. False: it has not ended.
static bool wait_until(child *c, double end_s, int *status)
{
    struct timespec nap = {.tv_nsec = 500000};
    for (;;) {
        pid_t pid = waitpid(c->pid, status, WNOHANG);
        if (pid == c->pid || (pid < 0 && errno != EINTR)) {
            return true;
        }
        if (now_s() > end_s || cli_interrupted()) {
            return false;
        }
        nanosleep(&nap, NULL);
        nap.tv_nsec = nap.tv_nsec < 50000000 ? 2 * nap.tv_nsec : nap.tv_nsec;
    }
}

/// See it to its end. True when that had to be made: it took too long, or we were interrupted.
static bool end_child(child *c, const profile_options *o, int *status)
{
    double end_s = now_s() + o->n_seconds_most;
    bool is_late = attend(c, o, end_s) || !wait_until(c, end_s, status);
    if (is_late) {
        kill(-c->pid, SIGKILL);
        double killed_s = now_s();
        while (waitpid(c->pid, status, WNOHANG) == 0 && now_s() - killed_s < KILLED_S) {
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    return is_late;
}

int profile_ask_child(const profile_options *o, const char *piece, int skip, const char *input,
                      size_t n_input, profile_answer *out)
{
    child c = {0};
    child_options own;
    snprintf(own.piece, sizeof own.piece, "--piece=%s", piece);
    snprintf(own.parent, sizeof own.parent, "--parent=%ld", (long)getpid());
    snprintf(own.skip, sizeof own.skip, "--skip=%d", skip);
    int fd = input_file(input, n_input);
    char **argv = make_argv(o, &own);
    int code = fd < 0 || !argv ? ENOMEM : spawn(&c, argv, fd);
    *out = (profile_answer){0};
    if (fd >= 0) {
        close(fd);
    }
    free(argv);
    if (code != 0) {
        return cli_failf("a process for measuring cannot be started: %s", strerror(code));
    }
    int status = 0;
    bool is_late = end_child(&c, o, &status);
    close(c.out);
    close(c.err);
    bool is_good = !is_late && WIFEXITED(status) && WEXITSTATUS(status) == CLI_OK && c.text;
    if (is_good) {
        *out = (profile_answer){.text = c.text, .n_bytes = c.n_text};
    } else {
        explain(&c, o, is_late, status, out->reason);
        out->has_crashed = is_late || WIFSIGNALED(status);
        free(c.text);
    }
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}
