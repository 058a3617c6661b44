/// See process.h.
#include "process.h"
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool process_start(process *p)
{
    char seed[24], fail_after[16], odd_token[16];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    snprintf(fail_after, sizeof fail_after, "%d", p->fail_after);
    snprintf(odd_token, sizeof odd_token, "%d", p->odd_token);
    if (!p->endpoint[0]) {
        rig_endpoint(p->endpoint, sizeof p->endpoint, "ipc");
    }
    p->pid = fork();
    if (p->pid == 0) {
        execl(SERVE_SCRIPTED, SERVE_SCRIPTED, p->endpoint, seed, fail_after, odd_token,
              (char *)NULL);
        _exit(127);
    }
    return p->pid > 0;
}

void process_kill(process *p)
{
    if (p->pid > 0) {
        kill(p->pid, SIGKILL);
        waitpid(p->pid, NULL, 0);
    }
    p->pid = 0;
}

bool process_end(process *p)
{
    int status = 0;
    kill(p->pid, SIGCONT);
    kill(p->pid, SIGTERM);
    waitpid(p->pid, &status, 0);
    p->pid = 0;
    return status == 0 && access(p->endpoint + strlen("ipc://"), F_OK) != 0;
}
