/// A draft worker process with a scripted draft: serve_scripted ENDPOINT SEED.
/// Used by test_process.c, which kills it.
#include "scripted.h"

#include <pipelines/worker.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    scripted_script script = scripted_default(strtoull(argv[2], NULL, 10));
    script.agreement = 0.9;
    hsdi_draft_factory factory = scripted_factory(&script);
    hsdi_worker_config config;
    hsdi_context *context = NULL;
    hsdi_worker *worker = NULL;
    hsd_error err = {0};
    hsdi_worker_config_init(&config);
    hsd_status status = hsdi_context_create(&context, &err);
    if (status == HSD_OK) {
        status = hsdi_worker_create(context, argv[1], &factory, &config, &worker, &err);
    }
    if (status == HSD_OK) {
        status = hsdi_worker_run(worker, &err);
    }
    if (status != HSD_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], err.message);
    }
    hsdi_worker_destroy(&worker);
    hsdi_context_destroy(&context);
    return status == HSD_OK ? 0 : 1;
}
