/// A draft worker in a process of its own: serve_scripted on an ipc:// endpoint.
#ifndef HSD_TESTS_PIPELINES_PROCESS_H
#define HSD_TESTS_PIPELINES_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct process {
    char endpoint[96]; ///< made by the first start when empty
    uint64_t seed;     ///< of its script
    int fail_after;    ///< as in scripted_script, for the next start
    int odd_token;
    pid_t pid; ///< 0: not running
} process;

/// False when there can be no process.
bool process_start(process *p);

/// SIGKILL, and wait for its end. Does nothing when it is not running.
void process_kill(process *p);

/// SIGTERM, also to a stopped one. True when it ended cleanly and left no socket file.
bool process_end(process *p);

#endif
