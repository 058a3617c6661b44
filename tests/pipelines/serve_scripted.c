/// A draft worker process with a scripted draft: serve_scripted ENDPOINT SEED FAIL_AFTER ODD_TOKEN.
/// Ends on SIGTERM. Started, stopped and killed by process.c.
#include "scripted.h"

#include <pipelines/worker.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static hsdi_worker *worker;

static void stop(int number)
{
    (void)number;
    hsdi_worker_stop(worker);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    scripted_script script = scripted_default(strtoull(argv[2], NULL, 10));
    script.agreement = 0.9;
    script.fail_after = atoi(argv[3]);
    script.odd_token = atoi(argv[4]);
    hsdi_draft_factory factory = scripted_factory(&script);
    hsdi_worker_config config;
    hsdi_context *context = NULL;
    hsd_error err = {0};
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM); // waits until there is something to stop
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    hsdi_worker_config_init(&config);
    hsd_status status = hsdi_context_create(&context, &err);
    if (status == HSD_OK) {
        status = hsdi_worker_create(context, argv[1], &factory, &config, &worker, &err);
    }
    if (status == HSD_OK) {
        signal(SIGTERM, stop);
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
        status = hsdi_worker_run(worker, &err);
    }
    if (status != HSD_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
    }
    signal(SIGTERM, SIG_IGN);
    hsdi_worker_destroy(&worker);
    hsdi_context_destroy(&context);
    return status == HSD_OK ? 0 : 1;
}
