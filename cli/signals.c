/// SIGINT and SIGTERM: the first asks for a clean end, the second ends the process.
#include "cli/cli.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_bool interrupted; // read on the session's thread too
static _Atomic(hsd_worker *) running_worker;
static _Atomic(hsd_session *) running_session;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&interrupted, true);
    hsd_worker *worker = atomic_load(&running_worker);
    if (worker) {
        hsd_worker_stop(worker);
    }
    hsd_session_cancel(atomic_load(&running_session));
}

void cli_signals_init(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_signals_stop_worker(hsd_worker *worker)
{
    atomic_store(&running_worker, worker);
    if (worker && atomic_load(&interrupted)) {
        hsd_worker_stop(worker); // the signal came before the worker was named
    }
}

void cli_signals_cancel_session(hsd_session *session)
{
    atomic_store(&running_session, session);
    if (atomic_load(&interrupted)) {
        hsd_session_cancel(session);
    }
}

bool cli_interrupted(void)
{
    return atomic_load(&interrupted);
}
