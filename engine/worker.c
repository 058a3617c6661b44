/// The draft worker as a program of its own.
#include "engine/engine_internal.h"

#include "base/error.h"
#include "pipelines/transport/keys.h"
#include "pipelines/transport/link.h"

#include <stdlib.h>

struct hsd_worker {
    hsdi_log log;
    hsdi_place place;
    hsdi_device *device;
    hsdi_loaded draft;
    hsdi_drafts drafts;
    hsdi_memory memory;
    hsdi_context *context;
    hsdi_worker *worker;
    int cpu; ///< of thread 0; -1: not pinned
};

void hsd_worker_options_init(hsd_worker_options *options)
{
    *options = (hsd_worker_options){0};
}

/// The worker takes the last processors: an engine on the same machine begins with the first.
static hsd_status open_device(hsd_worker *w, const hsd_worker_options *o, int64_t n_parameters,
                              hsd_error *err)
{
    hsdi_cores *cores = malloc(sizeof *cores);
    hsdi_place *place = &w->place;
    hsd_status status = cores ? hsdi_place_parse(o->device, "device", place, err)
                              : hsdi_fail(err, HSD_ENOMEM, "worker", "core list");
    if (status == HSD_OK && (status = hsdi_cores_discover(cores, err)) == HSD_OK) {
        int n_there = place->n_cpus > 0 ? place->n_cpus : cores->n_cores;
        int n = o->n_threads > 0 ? o->n_threads : hsdi_threads_for(n_parameters, n_there);
        const int *cpus = n <= cores->n_cores ? cores->cpus + cores->n_cores - n : NULL;
        w->cpu = place->n_cpus > 0 ? place->cpus[0] : cpus && cores->n_cores > 1 ? cpus[0] : -1;
        status = hsdi_place_open(place, cpus, n, &w->log, &w->device, err);
    }
    free(cores);
    return status;
}

/// Before the draft is loaded, which may take long: keys, and whether the endpoint goes with them.
static hsd_status load_keys(hsd_worker *w, const hsd_worker_options *o, hsd_error *err)
{
    if (!o->key_file != !o->clients_file) {
        return o->key_file
                   ? hsdi_fail(err, HSD_EINVAL, "clients_file",
                               "who may connect? --clients FILE has a line of NAME.pub for each")
                   : hsdi_fail(
                         err, HSD_EINVAL, "key_file",
                         "clients are known by keys, so the worker needs its own: --key FILE");
    }
    hsd_status status = hsdi_context_create(&w->context, err);
    hsdi_keyring *keyring = status == HSD_OK ? hsdi_context_keyring(w->context) : NULL;
    if (status == HSD_OK && o->key_file) {
        status = hsdi_keyring_set_own(keyring, o->key_file, err);
    }
    if (status == HSD_OK && o->clients_file) {
        status = hsdi_keyring_set_clients(keyring, o->clients_file, &w->log, err);
    }
    return status == HSD_OK
               ? hsdi_endpoint_check(o->endpoint, HSDI_ENDPOINT_LISTEN, o->clients_file, err)
               : status;
}

static hsd_status load_draft(hsd_worker *w, const hsd_worker_options *o, hsd_error *err)
{
    if ((unsigned)o->cache_type >= HSD_N_CACHE_TYPES) {
        return hsdi_fail(err, HSD_EINVAL, "cache_type", "type %d", (int)o->cache_type);
    }
    if ((unsigned)o->cache_layout >= HSD_N_CACHE_LAYOUTS || o->cache_memory_bytes < 0) {
        return hsdi_fail(err, HSD_EINVAL, "cache_layout", "layout %d, %lld bytes",
                         (int)o->cache_layout, (long long)o->cache_memory_bytes);
    }
    if (o->n_ctx < 0) {
        return hsdi_fail(err, HSD_EINVAL, "n_ctx", "%d tokens", o->n_ctx);
    }
    char *path = malloc(HSDI_PATH_MAX);
    if (!path) {
        return hsdi_fail(err, HSD_ENOMEM, "worker", "path");
    }
    const char *draft = o->draft_path;
    hsd_status status = HSD_OK;
    if (!draft) {
        status = hsdi_shipped_path(hsdi_shipped_draft, path, HSDI_PATH_MAX, err);
        draft = path;
    }
    int64_t n_parameters = 0;
    if (status == HSD_OK) {
        status = hsdi_count_parameters(draft, &n_parameters, err);
    }
    if (status == HSD_OK) {
        status = open_device(w, o, n_parameters, err);
    }
    if (status == HSD_OK) {
        const hsdi_caching caching = {.layout = o->cache_layout,
                                      .type = o->cache_type,
                                      .memory_bytes = o->cache_memory_bytes,
                                      .place = &w->place};
        status = hsdi_loaded_open(&w->draft, draft, w->device, NULL, o->n_ctx, &caching, err);
    }
    if (status == HSD_OK && w->draft.n_el > 0) {
        hsdi_logf(&w->log, HSDI_LOG_INFO, "%d of %d layers cache their input (el), the last ones",
                  w->draft.n_el, w->draft.model->n_layers);
    }
    free(path);
    return status;
}

static hsd_status open_all(hsd_worker *w, const hsd_worker_options *o, hsd_error *err)
{
    hsd_status status = load_keys(w, o, err);
    if (status != HSD_OK || (status = load_draft(w, o, err)) != HSD_OK) {
        return status;
    }
    w->draft.runner.memory = &w->memory;
    w->memory.token_bytes = hsdi_cell_bytes(&w->draft.runner, w->draft.model->n_layers);
    w->drafts = (hsdi_drafts){.model = &w->draft.runner,
                              .promises = true,
                              .n_vocab = w->draft.model->n_vocab,
                              .tokenizer = w->draft.tokenizer,
                              .vocab_hash = hsdi_tokenizer_hash(w->draft.tokenizer),
                              .fingerprint = hsdi_gguf_fingerprint(w->draft.model->gguf)};
    hsdi_draft_factory factory = hsdi_drafts_factory(&w->drafts);
    hsdi_worker_config config;
    hsdi_worker_config_init(&config);
    config.log = w->log;
    config.trace = o->trace;
    return hsdi_worker_create(w->context, o->endpoint, &factory, &config, &w->worker, err);
}

hsd_status hsd_worker_open(const hsd_worker_options *options, hsd_worker **out, hsd_error *err)
{
    if (!options || !options->endpoint || !out || options->n_threads < 0) {
        return hsdi_fail(err, HSD_EINVAL, "endpoint", "an endpoint to listen on is required");
    }
    *out = NULL;
    hsd_worker *w = calloc(1, sizeof *w);
    if (!w) {
        return hsdi_fail(err, HSD_ENOMEM, "worker", "worker");
    }
    w->log = (hsdi_log){options->log, options->log_user};
    w->cpu = -1;
    hsdi_memory_init(&w->memory, options->cache_memory_bytes, true);
    hsd_status status = open_all(w, options, err);
    if (status != HSD_OK) {
        hsd_worker_close(&w);
        return status;
    }
    *out = w;
    return HSD_OK;
}

hsd_status hsd_worker_run(hsd_worker *worker, hsd_error *err)
{
    if (!worker) {
        return hsdi_fail(err, HSD_EINVAL, "worker", "a worker is required");
    }
    hsdi_pin_self(worker->cpu);
    return hsdi_worker_run(worker->worker, err);
}

void hsd_worker_stop(hsd_worker *worker)
{
    if (worker) {
        hsdi_worker_stop(worker->worker);
    }
}

void hsd_worker_close(hsd_worker **worker)
{
    hsd_worker *w = worker ? *worker : NULL;
    if (!w) {
        return;
    }
    hsdi_worker_destroy(&w->worker);
    hsdi_context_destroy(&w->context);
    hsdi_memory_fini(&w->memory);
    hsdi_loaded_close(&w->draft);
    hsdi_device_close(&w->device);
    free(w);
    *worker = NULL;
}

hsd_status hsd_key_create(const char *name, hsd_error *err)
{
    return name ? hsdi_key_files_create(name, err)
                : hsdi_fail(err, HSD_EINVAL, "name", "a name for the key is required");
}
