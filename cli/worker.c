/// `hsd worker`: serve a draft model to engines in other processes.
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_LISTEN = 0x200,
    KEY_DRAFT,
    KEY_DEVICE,
    KEY_THREADS,
    KEY_READY_FD,
    KEY_KEY,
    KEY_CLIENTS,
    KEY_TRACE,
    KEY_CACHE_TYPE,
    KEY_CACHE,
    KEY_CACHE_MEMORY,
    KEY_CTX,
};

typedef struct worker_options {
    hsd_worker_options worker;
    const char *trace_file;
    int ready_fd; ///< -1: none
    bool verbose;
} worker_options;

static const struct argp_option options[] = {
    {"listen", KEY_LISTEN, "ENDPOINT", 0, "where to listen: ipc://PATH or tcp://ADDRESS:PORT", 0},
    {"draft", KEY_DRAFT, "FILE", 0, "GGUF file of the draft (default: the shipped one)", 0},
    {"device", KEY_DEVICE, "NAME", 0,
     "device of the draft: cpu (the default), cpu:0-3, opencl, level_zero (see `hsd devices')", 0},
    {"ctx", KEY_CTX, "N", 0,
     "tokens of a text that it drafts for at most (default: as trained, up to 4096)", 0},
    {"cache", KEY_CACHE, "LAYOUT", 0,
     "what the draft's layers keep of a token: kv, el or auto (the default), as for `hsd run'", 0},
    {"cache-memory", KEY_CACHE_MEMORY, "SIZE", 0,
     "most memory for caches, such as 512MiB; a session that might need more is refused until "
     "there "
     "is room (default: no limit)",
     0},
    {"cache-type", KEY_CACHE_TYPE, "TYPE", 0, "of the draft's caches: f32 (default), f16, q8_0", 0},
    {"threads", KEY_THREADS, "N", 0, "threads on the CPU (0: chosen by the draft's size)", 0},
    {"key", KEY_KEY, "FILE", 0,
     "NAME.key of this worker, made with `hsd keygen NAME'; needed to serve other hosts", 0},
    {"clients", KEY_CLIENTS, "FILE", 0,
     "who may connect: the lines of their NAME.pub files; read again for each who does", 0},
    {"ready-fd", KEY_READY_FD, "N", 0,
     "write the line `ready' to this file descriptor and close it when engines may connect", 0},
    {"trace", KEY_TRACE, "FILE", 0,
     "at the end write what the drafts did when to FILE, as `hsd run --trace' does", 0},
    {"verbose", 'v', 0, 0, "log lines on stderr", 0},
    {0},
};

static const char doc[] =
    "Serve a draft model to `hsd run --worker ENDPOINT' in other processes. A line on standard "
    "error says when it is ready. SIGINT and SIGTERM end it cleanly, with exit code 0."
    "\v"
    "Examples:\n"
    "  hsd worker --listen ipc:///tmp/hsd.sock\n"
    "  hsd worker --listen ipc:///tmp/hsd.sock --draft small.gguf --threads 2\n"
    "\n"
    "For other hosts, with keys (docs/workers.md):\n"
    "  hsd worker --listen 'tcp://*:5555' --key gpu.key --clients clients.txt\n"
    "\n"
    "A worker can only make text come sooner, never change it: when it is slow or dies, the "
    "target goes on without it.\n"
    "\n" CLI_EXIT_CODES;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    worker_options *o = state->input;
    switch (key) {
    case KEY_LISTEN:
        o->worker.endpoint = arg;
        return 0;
    case KEY_DRAFT:
        o->worker.draft_path = arg;
        return 0;
    case KEY_DEVICE:
        o->worker.device = arg;
        return 0;
    case KEY_THREADS:
        o->worker.n_threads = (int)cli_parse_int(state, "--threads", arg, 0, 4096);
        return 0;
    case KEY_CACHE_TYPE:
        o->worker.cache_type = cli_parse_cache_type(state, "--cache-type", arg);
        return 0;
    case KEY_CACHE:
        o->worker.cache_layout = cli_parse_cache_layout(state, "--cache", arg);
        return 0;
    case KEY_CACHE_MEMORY:
        o->worker.cache_memory_bytes = cli_parse_bytes(state, "--cache-memory", arg);
        return 0;
    case KEY_CTX:
        o->worker.n_ctx = (int)cli_parse_int(state, "--ctx", arg, 2, INT_MAX);
        return 0;
    case KEY_KEY:
        o->worker.key_file = arg;
        return 0;
    case KEY_CLIENTS:
        o->worker.clients_file = arg;
        return 0;
    case KEY_READY_FD:
        o->ready_fd = (int)cli_parse_int(state, "--ready-fd", arg, 0, INT_MAX);
        return 0;
    case KEY_TRACE:
        o->trace_file = arg;
        return 0;
    case 'v':
        o->verbose = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not an option", arg);
        return 0;
    case ARGP_KEY_END:
        if (!o->worker.endpoint) {
            argp_error(state, "--listen is missing, for example --listen ipc:///tmp/hsd.sock");
        } else if (!o->worker.key_file != !o->worker.clients_file) {
            argp_error(state, "--key and --clients go together: whose key, and who may connect");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int announce(const worker_options *o)
{
    static const char line[] = "ready\n";
    fprintf(stderr, "hsd: listening on %s\n", o->worker.endpoint);
    if (o->ready_fd < 0) {
        return CLI_OK;
    }
    ssize_t n = write(o->ready_fd, line, sizeof line - 1);
    if (n != (ssize_t)(sizeof line - 1) || close(o->ready_fd) != 0) {
        return cli_failf("--ready-fd %d: %s (EIO)", o->ready_fd, strerror(errno));
    }
    return CLI_OK;
}

/// Open, serve until a signal, close. Returns the exit code.
static int serve(const worker_options *o)
{
    hsd_error err = cli_no_error();
    hsd_worker *worker = NULL;
    hsd_status status = hsd_worker_open(&o->worker, &worker, &err);
    if (status != HSD_OK) {
        return cli_fail(status, &err);
    }
    cli_signals_stop_worker(worker);
    int code = announce(o);
    if (code == CLI_OK && !cli_interrupted()) {
        status = hsd_worker_run(worker, &err);
        if (status != HSD_OK && !(status == HSD_ECANCELED && cli_interrupted())) {
            code = cli_fail(status, &err);
        }
    }
    cli_signals_stop_worker(NULL);
    hsd_worker_close(&worker);
    return code;
}

int cli_worker(int argc, char **argv)
{
    const struct argp argp = {.options = options, .parser = parse, .doc = doc};
    worker_options o = {.ready_fd = -1};
    hsd_worker_options_init(&o.worker);
    o.worker.log = cli_log;
    o.worker.log_user = &o.verbose;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    cli_signals_init();
    int code = cli_trace_begin("hsd worker", o.trace_file, &o.worker.trace);
    if (code == CLI_OK) {
        code = serve(&o);
        code = cli_trace_end(&o.worker.trace, o.trace_file, code);
    }
    return code;
}
