/// Engines: models, devices and the local draft worker.
#include "engine/el.h"
#include "engine/engine_internal.h"
#include "engine/machine.h"

#include "base/error.h"
#include "engine/plan.h"
#include "pipelines/transport/link.h"
#include "topology/cores.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX_DEFAULT_MAX = 4096, TREE_MAX = 32, PARAMETERS_PER_THREAD = 2000000 };

const char *hsd_version(void)
{
    return HSD_VERSION;
}

const char *hsd_mode_name(hsd_mode mode)
{
    static const char *const names[] = {"auto", "ar", "serial", "mirror", "async"};
    return (int)mode >= 0 && (size_t)mode < sizeof names / sizeof *names ? names[mode] : "?";
}

const char *hsd_draft_kind_name(hsd_draft_kind kind)
{
    static const char *const names[] = {"auto", "model", "ngram", "early_exit"};
    return (int)kind >= 0 && (size_t)kind < sizeof names / sizeof *names ? names[kind] : "?";
}

void hsd_engine_options_init(hsd_engine_options *options)
{
    *options = (hsd_engine_options){.share_prefixes = true};
}

void hsdi_pin_self(int cpu)
{
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        (void)sched_setaffinity(0, sizeof set, &set);
    }
}

int hsdi_threads_for(int64_t n_parameters, int n_max)
{
    int64_t n = n_parameters / PARAMETERS_PER_THREAD;
    n = n < 1 ? 1 : n;
    return n < n_max ? (int)n : n_max;
}

/// Tokens of a session of this model where n_ctx are asked for.
static int context_of(const hsdi_model *m, int n_ctx)
{
    int n_max = m->n_ctx < CTX_DEFAULT_MAX ? m->n_ctx : CTX_DEFAULT_MAX;
    int most = hsdi_model_max_ctx(m);
    n_ctx = n_ctx == 0 ? n_max : n_ctx;
    return n_ctx < most ? n_ctx : most;
}

/// Weights on their devices, and the runners for them.
static hsd_status place_layers(hsdi_loaded *loaded, hsdi_device *device, const hsdi_split *split,
                               int n_ctx, const hsdi_layout *layouts, hsd_cache_type type,
                               hsd_error *err)
{
    const hsdi_model *m = loaded->model;
    const hsdi_kernels *kernels = hsdi_kernels_get(hsdi_isa_detect());
    int first = m->n_layers;
    if (split && split->device) {
        first = split->layer > 0 ? split->layer : m->n_layers / 2;
        if (first < 1 || first >= m->n_layers) {
            return hsdi_fail(err, HSD_EINVAL, "split_layer", "%d of a model with %d layers", first,
                             m->n_layers);
        }
    }
    hsd_status status = hsdi_weights_create(m, 0, first, layouts, device, &loaded->weights, err);
    if (status != HSD_OK) {
        return status;
    }
    hsdi_runner_init(&loaded->runner, loaded->weights, device, kernels, n_ctx);
    loaded->runner.cache_type = type;
    if (first < m->n_layers) {
        status = hsdi_weights_create(m, first, m->n_layers, layouts, split->device,
                                     &loaded->rest_weights, err);
        if (status == HSD_OK) {
            hsdi_runner_init(&loaded->rest, loaded->rest_weights, split->device, kernels, n_ctx);
            loaded->rest.cache_type = type;
            loaded->runner.next = &loaded->rest;
        }
    }
    return status;
}

/// Cells of a session with the widest windows, in blocks, as they are promised.
static int cells_of(int n_ctx)
{
    return HSDI_BLOCK_CELLS * hsdi_blocks_needed(hsdi_target_cells_needed(n_ctx, TREE_MAX), n_ctx);
}

/// Layouts of the layers' caches, then the layers.
static hsd_status load_layers(hsdi_loaded *loaded, hsdi_device *device, const hsdi_split *split,
                              int n_ctx, const hsdi_caching *caching, hsd_error *err)
{
    const hsdi_model *m = loaded->model;
    hsdi_layout *layouts = calloc((size_t)m->n_layers, sizeof *layouts);
    if (!layouts) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "%d layers", m->n_layers);
    }
    n_ctx = context_of(m, n_ctx);
    hsd_status status = HSD_OK;
    if (caching) {
        hsdi_caching known = *caching;
        if (known.layout == HSD_CACHE_LAYOUT_AUTO && hsdi_el_check(m, NULL) == HSD_OK) {
            hsdi_place_rates(known.place, &known.gops, &known.read_gbps);
        }
        status = hsdi_layouts_choose(m, &known, n_ctx, cells_of, layouts, &loaded->n_el, err);
    }
    if (status == HSD_OK) {
        status = place_layers(loaded, device, split, n_ctx, layouts,
                              caching ? caching->type : HSD_CACHE_F32, err);
    }
    free(layouts);
    return status;
}

hsd_status hsdi_loaded_open(hsdi_loaded *loaded, const char *path, hsdi_device *device,
                            const hsdi_split *split, int n_ctx, const hsdi_caching *caching,
                            hsd_error *err)
{
    hsd_status status = hsdi_model_load(path, &loaded->model, err);
    if (status == HSD_OK) {
        status = hsdi_tokenizer_create(loaded->model->gguf, &loaded->tokenizer, err);
    }
    if (status == HSD_OK) {
        status = load_layers(loaded, device, split, n_ctx, caching, err);
    }
    if (status != HSD_OK && err && err->status != HSD_OK && strchr(err->where, '/') == NULL) {
        // A field name alone does not say which of the two files is meant.
        char where[sizeof err->where];
        const char *file = strrchr(path, '/');
        snprintf(where, sizeof where, "%.60s: %.64s", file ? file + 1 : path, err->where);
        memcpy(err->where, where, sizeof where);
    }
    return status;
}

void hsdi_loaded_close(hsdi_loaded *loaded)
{
    hsdi_runner_fini(&loaded->runner);
    hsdi_runner_fini(&loaded->rest);
    hsdi_weights_destroy(&loaded->weights);
    hsdi_weights_destroy(&loaded->rest_weights);
    hsdi_tokenizer_destroy(&loaded->tokenizer);
    hsdi_model_free(&loaded->model);
}

static hsd_status find_cpus(hsd_engine *e, hsd_error *err)
{
    hsdi_cores *cores = malloc(sizeof *cores);
    if (!cores) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "core list");
    }
    hsd_status status = hsdi_cores_discover(cores, err);
    if (status == HSD_OK) {
        // Second hardware threads of a core do not make matrix products faster.
        e->n_cpus = cores->n_cores;
        memcpy(e->cpus, cores->cpus, (size_t)cores->n_cores * sizeof *e->cpus);
    }
    free(cores);
    return status;
}

static bool on_cpu(const hsdi_place *place)
{
    return !place->open;
}

/// Device at a place; a CPU without processors of its own on [first, first + n), wrapping around
/// when more are asked for.
static hsd_status open_device(hsd_engine *e, const hsdi_place *place, int first, int n,
                              hsdi_device **out, hsd_error *err)
{
    int *cpus = malloc((size_t)n * sizeof *cpus);
    if (!cpus) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "core list");
    }
    for (int i = 0; i < n; i++) {
        cpus[i] = e->cpus[(first + i) % e->n_cpus];
    }
    hsd_status status = hsdi_place_open(place, n <= e->n_cpus ? cpus : NULL, n, &e->log, out, err);
    free(cpus);
    return status;
}

static hsd_status copy_endpoints(hsd_engine *e, const hsd_engine_options *o, hsd_error *err)
{
    if (o->n_workers < 0 || o->n_workers > HSDI_TARGET_MAX_WORKERS ||
        (o->n_workers > 0 && !o->worker_endpoints)) {
        return hsdi_fail(err, HSD_EINVAL, "n_workers", "%d is not between 0 and %d", o->n_workers,
                         (int)HSDI_TARGET_MAX_WORKERS);
    }
    e->endpoints = calloc((size_t)o->n_workers + 1, sizeof *e->endpoints);
    for (int i = 0; e->endpoints && i < o->n_workers; i++) {
        e->endpoints[i] = strdup(o->worker_endpoints[i]);
        if (!e->endpoints[i]) {
            return hsdi_fail(err, HSD_ENOMEM, "engine", "endpoints");
        }
        e->n_endpoints++;
    }
    return e->endpoints ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "engine", "endpoints");
}

/// Keys of our own and of the workers, and whether each endpoint may be used with them.
static hsd_status load_keys(hsd_engine *e, const hsd_engine_options *o, hsd_error *err)
{
    hsdi_keyring *keyring = hsdi_context_keyring(e->context);
    hsd_status status = o->key_file ? hsdi_keyring_set_own(keyring, o->key_file, err) : HSD_OK;
    for (int i = 0; status == HSD_OK && i < e->n_endpoints; i++) {
        const char *key_file = o->worker_key_files ? o->worker_key_files[i] : NULL;
        if (key_file) {
            status = hsdi_keyring_add_worker(keyring, e->endpoints[i], key_file, err);
        }
        if (status == HSD_OK) {
            status = hsdi_endpoint_check(e->endpoints[i], HSDI_ENDPOINT_CONNECT, key_file, err);
        }
    }
    return status;
}

/// The models' paths: the shipped ones where the options name none.
static hsd_status find_paths(const hsd_engine_options *o, char *target, char *draft,
                             bool *has_draft, hsd_error *err)
{
    hsd_status status = HSD_OK;
    if (o->target_path) {
        if (snprintf(target, HSDI_PATH_MAX, "%s", o->target_path) >= HSDI_PATH_MAX) {
            return hsdi_fail(err, HSD_EINVAL, "target_path", "the path is too long");
        }
    } else {
        status = hsdi_shipped_path(hsdi_shipped_target, target, HSDI_PATH_MAX, err);
    }
    *has_draft = o->draft_path || !o->target_path;
    if (status != HSD_OK || !*has_draft) {
        return status;
    }
    if (!o->draft_path) {
        return hsdi_shipped_path(hsdi_shipped_draft, draft, HSDI_PATH_MAX, err);
    }
    return snprintf(draft, HSDI_PATH_MAX, "%s", o->draft_path) < HSDI_PATH_MAX
               ? HSD_OK
               : hsdi_fail(err, HSD_EINVAL, "draft_path", "the path is too long");
}

/// Threads of a model on a place with up to n_max processors. On another device than the CPU a
/// model needs one, which waits.
static int threads_on(const hsdi_place *place, int n_asked, int64_t n_parameters, int n_max)
{
    return !on_cpu(place) ? 1
           : n_asked > 0
               ? n_asked
               : hsdi_threads_for(n_parameters, place->n_cpus > 0 ? place->n_cpus : n_max);
}

/// Thread counts: the draft gets the last processors, the target the others while a draft runs
/// beside it and all of them otherwise. Where processors are named nothing is shared out.
static void plan_threads(hsd_engine *e, const hsd_engine_options *o, int64_t target_parameters,
                         int64_t draft_parameters)
{
    int spare = e->n_cpus > 1 ? on_cpu(&e->target_place) ? e->n_cpus / 2 : e->n_cpus - 1 : 1;
    e->n_target_alone = threads_on(&e->target_place, o->n_threads, target_parameters, e->n_cpus);
    e->n_draft_threads = threads_on(&e->draft_place, o->n_draft_threads, draft_parameters, spare);
    int left = e->n_cpus - e->n_draft_threads;
    bool is_shared = e->target_place.n_cpus == 0 && e->draft_place.n_cpus == 0;
    e->n_target_beside = e->n_target_alone;
    if (o->n_threads == 0 && is_shared && e->n_target_beside > left) {
        e->n_target_beside = left > 0 ? left : 1;
    }
}

hsd_status hsdi_count_parameters(const char *path, int64_t *out, hsd_error *err)
{
    hsdi_gguf *g;
    hsd_status status = hsdi_gguf_open(path, &g, err);
    if (status != HSD_OK) {
        return status;
    }
    *out = 0;
    for (int64_t i = 0; i < hsdi_gguf_n_tensors(g); i++) {
        const hsdi_gguf_tensor *t = hsdi_gguf_tensor_at(g, i);
        *out += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    hsdi_gguf_close(&g);
    return HSD_OK;
}
/// Load on the processor that will compute: a page of memory comes from the NUMA node of whoever
/// writes it first. Drivers start threads, which would stay there: not for their devices.
static hsd_status load_near(const hsdi_place *place, int cpu, hsdi_loaded *loaded, const char *path,
                            hsdi_device *device, const hsdi_split *split, int n_ctx,
                            const hsdi_caching *caching, hsd_error *err)
{
    cpu_set_t before;
    bool is_near = !place->open && !(split && split->device) && cpu >= 0 &&
                   sched_getaffinity(0, sizeof before, &before) == 0;
    if (is_near) {
        hsdi_pin_self(cpu);
    }
    hsd_status status = hsdi_loaded_open(loaded, path, device, split, n_ctx, caching, err);
    if (is_near) {
        (void)sched_setaffinity(0, sizeof before, &before);
    }
    return status;
}

/// What a draft's caches would like to have of the memory that the target's must fit in. A file
/// that cannot be read is named when the draft is loaded.
static int64_t draft_share(const char *path, const hsd_engine_options *o)
{
    hsdi_model *draft = NULL;
    int64_t n_bytes = 0;
    if (o->cache_memory_bytes > 0 && o->cache_layout == HSD_CACHE_LAYOUT_AUTO &&
        hsdi_model_load(path, &draft, NULL) == HSD_OK) {
        const hsdi_caching how = {.layout = o->draft_cache_layout, .type = o->draft_cache_type};
        n_bytes = hsdi_layouts_draft_bytes(draft, &how, context_of(draft, o->n_ctx));
    }
    hsdi_model_free(&draft);
    return n_bytes;
}

static hsd_status load_models(hsd_engine *e, const hsd_engine_options *o, hsd_error *err)
{
    char *target = malloc(2 * HSDI_PATH_MAX);
    if (!target) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "paths");
    }
    char *draft = target + HSDI_PATH_MAX;
    bool has_draft = false;
    int64_t n_target = 0, n_draft = 0;
    hsd_status status = find_paths(o, target, draft, &has_draft, err);
    if (status == HSD_OK) {
        status = hsdi_count_parameters(target, &n_target, err);
    }
    if (status == HSD_OK && has_draft) {
        status = hsdi_count_parameters(draft, &n_draft, err);
    }
    if (status != HSD_OK) {
        free(target);
        return status;
    }
    plan_threads(e, o, n_target, n_draft);
    int first_draft = e->n_cpus - e->n_draft_threads;
    if ((status = open_device(e, &e->target_place, 0, e->n_target_alone, &e->target_device, err)) ==
            HSD_OK &&
        (status = open_device(e, &e->draft_place, first_draft > 0 ? first_draft : 0,
                              e->n_draft_threads, &e->draft_device, err)) == HSD_OK &&
        o->suffix_device) {
        int n = threads_on(&e->suffix_place, o->n_threads, n_target, e->n_cpus);
        status = open_device(e, &e->suffix_place, 0, n, &e->suffix_device, err);
    }
    const hsdi_split split = {e->suffix_device, o->split_layer};
    if (status == HSD_OK) {
        const hsdi_caching caching = {.layout = o->cache_layout,
                                      .type = o->cache_type,
                                      .memory_bytes = o->cache_memory_bytes,
                                      .beside_bytes = has_draft ? draft_share(draft, o) : 0,
                                      .place = &e->target_place};
        status = load_near(&e->target_place, hsdi_first_cpu(e), &e->target, target,
                           e->target_device, &split, o->n_ctx, &caching, err);
    }
    if (status == HSD_OK && has_draft) {
        const hsdi_caching caching = {
            .layout = o->draft_cache_layout, .type = o->draft_cache_type, .place = &e->draft_place};
        status = load_near(&e->draft_place, hsdi_draft_cpu(e), &e->draft, draft, e->draft_device,
                           NULL, o->n_ctx, &caching, err);
    }
    if (status == HSD_OK && has_draft) {
        status = hsdi_tokenizer_compare(e->target.tokenizer, e->draft.tokenizer, NULL, err);
    }
    free(target);
    return status;
}

/// Stages of all models and devices take their cells from the engine's memory.
static void give_memory(hsd_engine *e, int64_t limit_bytes)
{
    hsdi_memory *m = &e->memory;
    e->target.runner.memory = e->draft.runner.memory = e->exit_runner.memory = m;
    hsdi_memory_limit(m, limit_bytes);
    m->token_bytes = hsdi_cell_bytes(&e->target.runner, e->target.model->n_layers);
    if (e->draft.model) {
        m->token_bytes += hsdi_cell_bytes(&e->draft.runner, e->draft.model->n_layers);
    }
}

static hsd_status open_all(hsd_engine *e, const hsd_engine_options *o, hsd_error *err)
{
    if (o->n_threads < 0 || o->n_draft_threads < 0 || o->n_ctx < 0) {
        return hsdi_fail(err, HSD_EINVAL, "options", "thread counts and n_ctx are not negative");
    }
    if ((unsigned)o->cache_layout >= HSD_N_CACHE_LAYOUTS ||
        (unsigned)o->draft_cache_layout >= HSD_N_CACHE_LAYOUTS || o->cache_memory_bytes < 0) {
        return hsdi_fail(err, HSD_EINVAL, "cache_layout", "layouts %d and %d, %lld bytes",
                         (int)o->cache_layout, (int)o->draft_cache_layout,
                         (long long)o->cache_memory_bytes);
    }
    if ((unsigned)o->cache_type >= HSD_N_CACHE_TYPES ||
        (unsigned)o->draft_cache_type >= HSD_N_CACHE_TYPES) {
        return hsdi_fail(err, HSD_EINVAL, "cache_type", "types %d and %d", (int)o->cache_type,
                         (int)o->draft_cache_type);
    }
    if (o->split_layer < 0 || (o->split_layer > 0 && !o->suffix_device)) {
        return hsdi_fail(err, HSD_EINVAL, "split_layer", "%d %s", o->split_layer,
                         o->suffix_device ? "is negative" : "needs a device for the layers behind");
    }
    hsd_status status;
    if ((status = hsdi_place_parse(o->target_device, "target_device", &e->target_place, err)) !=
            HSD_OK ||
        (status = hsdi_place_parse(o->draft_device, "draft_device", &e->draft_place, err)) !=
            HSD_OK ||
        (status = hsdi_place_parse(o->suffix_device, "suffix_device", &e->suffix_place, err)) !=
            HSD_OK ||
        (status = find_cpus(e, err)) != HSD_OK || (status = copy_endpoints(e, o, err)) != HSD_OK ||
        (status = hsdi_context_create(&e->context, err)) != HSD_OK ||
        (status = load_keys(e, o, err)) != HSD_OK || (status = load_models(e, o, err)) != HSD_OK) {
        return status;
    }
    e->n_ctx = e->target.runner.n_ctx;
    if (o->n_ctx > hsdi_model_max_ctx(e->target.model)) {
        return hsdi_fail(err, HSD_EINVAL, "n_ctx", "%d tokens, but the target has %d positions",
                         o->n_ctx, e->target.model->n_ctx);
    }
    if (o->n_ctx > e->target.model->n_ctx) {
        hsdi_logf(&e->log, HSDI_LOG_WARN,
                  "a context of %d tokens, but the target was trained on %d", o->n_ctx,
                  e->target.model->n_ctx);
    }
    bool both_cpu = on_cpu(&e->target_place) && on_cpu(&e->draft_place);
    if (!e->suffix_device) { // else the LM head is not where the first layers are
        hsdi_runner_init(&e->exit_runner, e->target.weights,
                         both_cpu ? e->draft_device : e->target_device, e->target.runner.kernels,
                         e->n_ctx);
        e->exit_runner.cache_type = e->target.runner.cache_type;
    }
    give_memory(e, o->cache_memory_bytes);
    e->drafts = (hsdi_drafts){.model = e->draft.model ? &e->draft.runner : NULL,
                              .target = e->suffix_device ? NULL : &e->exit_runner,
                              .n_vocab = e->target.model->n_vocab,
                              .vocab_hash = hsdi_tokenizer_hash(e->target.tokenizer),
                              .fingerprint =
                                  e->draft.model ? hsdi_gguf_fingerprint(e->draft.model->gguf) : 0};
    e->local[HSDI_LOCAL_DRAFT].endpoint = "inproc://hsd-draft";
    e->local[HSDI_LOCAL_NGRAM].endpoint = "inproc://hsd-ngram";
    if (e->suffix_device) {
        hsdi_logf(&e->log, HSDI_LOG_INFO, "layers from %d on are on %s",
                  hsdi_weights_begin(e->target.rest_weights),
                  hsdi_device_get_info(e->suffix_device)->name);
    }
    if (e->target.n_el > 0) {
        hsdi_logf(&e->log, HSDI_LOG_INFO, "%d of %d layers cache their input (el), the last ones",
                  e->target.n_el, e->target.model->n_layers);
    }
    hsdi_logf(&e->log, HSDI_LOG_INFO, "target on %s, %d threads alone, %d beside a draft",
              hsdi_device_get_info(e->target_device)->name, e->n_target_alone, e->n_target_beside);
    return HSD_OK;
}

static bool is_free(const char *device)
{
    return !device || strcmp(device, "auto") == 0;
}

static const char *name_or_null(const char *name)
{
    return name[0] ? name : NULL;
}

/// What a plan says, with the lists that options want.
typedef struct places {
    hsdi_placed plan;
    hsdi_described_workers workers; ///< of the plan, or all of them without one
} places;

/// Rates of a device here, and of every worker's: without them there is nothing to compare.
static bool has_rates(const hsdi_machine *m)
{
    bool has_here = false;
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        has_here = has_here || (m->hosts[d->i_host].is_here && d->id[0] && d->read_gbps > 0.0);
    }
    for (int i = 0; i < m->n_workers; i++) {
        has_here = has_here && m->devices[m->workers[i].i_device].read_gbps > 0.0;
    }
    return has_here;
}

/// What the options leave open comes from a plan.
static hsd_status plan_places(hsd_engine *e, hsd_engine_options *o, places *p, hsd_error *err)
{
    hsd_status status = hsdi_plan_place(o, &p->plan, err);
    if (status != HSD_OK) {
        return status;
    }
    if (is_free(o->target_device)) {
        o->target_device = name_or_null(p->plan.target);
        o->suffix_device = o->suffix_device ? o->suffix_device : name_or_null(p->plan.suffix);
        o->split_layer = o->split_layer ? o->split_layer : p->plan.split_layer;
    }
    if (is_free(o->draft_device)) {
        o->draft_device = name_or_null(p->plan.draft);
    }
    p->workers.n = p->plan.n_workers;
    for (int i = 0; i < p->plan.n_workers; i++) {
        p->workers.endpoints[i] = p->plan.endpoints[i];
        p->workers.key_files[i] = name_or_null(p->plan.pub_files[i]);
        p->workers.kinds[i] = p->plan.draft_kinds[i];
    }
    e->planned_mode = o->n_workers == 0 ? p->plan.mode : HSD_MODE_AUTO;
    return HSD_OK;
}

static int threads_of(int decided)
{
    return decided > 0 ? decided : 0; // 0: by the engine
}

/// With a machine: devices by a plan where they are open and there are rates, and the workers. *out
/// is owned and must outlive the options' use; NULL: nothing comes from a machine.
static hsd_status take_places(hsd_engine *e, hsd_engine_options *o, places **out, hsd_error *err)
{
    *out = NULL;
    if (!o->machine) {
        return HSD_OK;
    }
    places *p = calloc(1, sizeof *p);
    if (!p) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "plan");
    }
    e->choices = o->machine->m.choices;
    e->machine_key = hsdi_machine_key(o->machine);
    o->n_threads = o->n_threads > 0 ? o->n_threads : threads_of(e->choices.n_target_threads);
    o->n_draft_threads =
        o->n_draft_threads > 0 ? o->n_draft_threads : threads_of(e->choices.n_draft_threads);
    o->cache_memory_bytes =
        o->cache_memory_bytes > 0 ? o->cache_memory_bytes : e->choices.cache_memory_bytes;
    bool wants = is_free(o->target_device) || is_free(o->draft_device);
    hsd_status status = HSD_OK;
    if (wants && has_rates(&o->machine->m)) {
        status = plan_places(e, o, p, err);
    } else {
        hsdi_machine_workers(o->machine, &p->workers);
    }
    if (status != HSD_OK) {
        free(p);
        return status;
    }
    if (o->n_workers == 0 && p->workers.n > 0) {
        const char *key_file = o->machine->m.choices.client_key_file;
        o->worker_endpoints = p->workers.endpoints;
        o->worker_key_files = p->workers.key_files;
        o->n_workers = p->workers.n;
        o->key_file = o->key_file ? o->key_file : name_or_null(key_file);
        memcpy(e->endpoint_kinds, p->workers.kinds,
               (size_t)p->workers.n * sizeof *p->workers.kinds);
    }
    *out = p;
    return HSD_OK;
}

hsd_status hsd_engine_open(const hsd_engine_options *options, hsd_engine **out, hsd_error *err)
{
    if (!options || !out) {
        return hsdi_fail(err, HSD_EINVAL, "options", "options and result are required");
    }
    *out = NULL;
    hsd_engine *e = calloc(1, sizeof *e);
    if (!e) {
        return hsdi_fail(err, HSD_ENOMEM, "engine", "engine");
    }
    hsd_error local = {0};
    hsd_engine_options planned = *options;
    places *placed = NULL;
    e->log = (hsdi_log){options->log, options->log_user};
    e->trace = options->trace;
    pthread_mutex_init(&e->lock, NULL);
    hsdi_memory_init(&e->memory, 0, options->share_prefixes);
    hsdi_machine_choices_init(&e->choices);
    hsd_status status = take_places(e, &planned, &placed, &local);
    if (status == HSD_OK) {
        status = open_all(e, &planned, &local);
    }
    free(placed);
    if (status != HSD_OK) {
        if (err) {
            *err = local;
        }
        hsd_engine_close(&e);
        return status;
    }
    if (e->trace) {
        hsdi_engine_profile(e);
    }
    *out = e;
    return HSD_OK;
}

void hsd_engine_close(hsd_engine **engine)
{
    hsd_engine *e = engine ? *engine : NULL;
    if (!e) {
        return;
    }
    for (int i = 0; i < HSDI_N_LOCAL; i++) {
        hsdi_local_worker *local = &e->local[i];
        if (local->running) {
            hsdi_worker_stop(local->worker);
            pthread_join(local->thread, NULL);
        }
        hsdi_worker_destroy(&local->worker);
    }
    if (e->trace) {
        hsdi_engine_log_times(e);
    }
    hsdi_context_destroy(&e->context);
    hsdi_memory_fini(&e->memory);
    hsdi_runner_fini(&e->exit_runner);
    hsdi_loaded_close(&e->draft);
    hsdi_loaded_close(&e->target);
    hsdi_device_close(&e->draft_device);
    hsdi_device_close(&e->suffix_device);
    hsdi_device_close(&e->target_device);
    for (int i = 0; i < e->n_endpoints; i++) {
        free(e->endpoints[i]);
    }
    free(e->endpoints);
    free(e->plan);
    pthread_mutex_destroy(&e->lock);
    free(e);
    *engine = NULL;
}

static void *local_main(void *arg)
{
    hsdi_local_worker *local = arg;
    (void)pthread_setname_np(pthread_self(), "hsd-draft");
    hsdi_pin_self(local->cpu);
    hsd_error error;
    if (hsdi_worker_run(local->worker, &error) != HSD_OK) {
        hsdi_logf(local->log, HSDI_LOG_ERROR, "draft worker: %s: %s", error.where, error.message);
    }
    return NULL;
}

int hsdi_first_cpu(const hsd_engine *e)
{
    const hsdi_place *place = &e->target_place;
    return place->n_cpus > 0 ? place->cpus[0] : e->n_cpus > 1 ? e->cpus[0] : -1;
}

int hsdi_draft_cpu(const hsd_engine *e)
{
    int first = e->n_cpus - e->n_draft_threads;
    return e->draft_place.n_cpus > 0 ? e->draft_place.cpus[0]
           : e->n_cpus > 1           ? e->cpus[first > 0 ? first : 0]
                                     : -1;
}

int hsdi_engine_spin_us(const hsd_engine *e, const char *endpoint)
{
    return e->n_cpus > e->n_draft_threads ? hsdi_endpoint_spin_us(endpoint, e->n_cpus) : 0;
}

static hsd_status start_local(hsd_engine *e, hsdi_local_worker *local, hsd_error *err)
{
    hsdi_worker_config config;
    hsdi_draft_factory factory = hsdi_drafts_factory(&e->drafts);
    hsd_status status = HSD_OK;
    hsdi_worker_config_init(&config);
    config.log = e->log;
    config.trace = e->trace;
    config.spin_us =
        local == &e->local[HSDI_LOCAL_DRAFT] ? hsdi_engine_spin_us(e, local->endpoint) : 0;
    local->log = &e->log;
    local->cpu = hsdi_draft_cpu(e);
    if (!local->worker) {
        status =
            hsdi_worker_create(e->context, local->endpoint, &factory, &config, &local->worker, err);
    }
    if (status == HSD_OK) {
        int rc = pthread_create(&local->thread, NULL, local_main, local);
        local->running = rc == 0;
        if (rc != 0) {
            status = hsdi_fail_errno(err, HSD_EDEVICE, "draft worker", rc, "thread");
        }
    }
    return status;
}

hsd_status hsdi_engine_start_local(hsd_engine *e, int which, hsd_error *err)
{
    hsd_status status = HSD_OK;
    pthread_mutex_lock(&e->lock);
    if (!e->local[which].running) {
        status = start_local(e, &e->local[which], err);
    }
    pthread_mutex_unlock(&e->lock);
    return status;
}

int hsd_engine_n_vocab(const hsd_engine *engine)
{
    return engine->target.model->n_vocab;
}

int hsd_engine_n_ctx(const hsd_engine *engine)
{
    return engine->n_ctx;
}

int hsd_engine_n_layers(const hsd_engine *engine)
{
    return engine->target.model->n_layers;
}

bool hsd_engine_has_draft(const hsd_engine *engine)
{
    return engine->draft.model != NULL || engine->n_endpoints > 0;
}

hsd_status hsd_engine_tokenize(const hsd_engine *engine, const char *text, size_t n_bytes,
                               bool add_special, int32_t *out, int cap, int *n_out, hsd_error *err)
{
    return hsdi_tokenizer_encode(engine->target.tokenizer, text, n_bytes, add_special, false, out,
                                 cap, n_out, err);
}

/// Append to a bounded text, counting what does not fit.
static void append(char *out, size_t cap, size_t *n, const char *bytes, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++, (*n)++) {
        if (*n + 1 < cap) {
            out[*n] = bytes[i];
        }
    }
}

hsd_status hsd_engine_detokenize(const hsd_engine *engine, const int32_t *tokens, int n_tokens,
                                 char *out, size_t cap, size_t *n_out, hsd_error *err)
{
    hsdi_detok detok;
    hsd_status status = hsdi_detok_init(&detok, engine->target.tokenizer, true, false);
    if (status != HSD_OK) {
        return hsdi_fail(err, status, "detokenize", "memory is short");
    }
    size_t n = 0;
    const char *bytes;
    int n_bytes;
    for (int i = 0; i < n_tokens && status == HSD_OK; i++) {
        status = hsdi_detok_push(&detok, tokens[i], &bytes, &n_bytes);
        if (status == HSD_OK) {
            append(out, cap, &n, bytes, n_bytes);
        } else {
            (void)hsdi_fail(err, status, "tokens", "token %d of the list has no such id: %d", i,
                            tokens[i]);
        }
    }
    if (status == HSD_OK) {
        hsdi_detok_flush(&detok, &bytes, &n_bytes);
        append(out, cap, &n, bytes, n_bytes);
        if (cap > 0) {
            out[n < cap ? n : cap - 1] = 0;
        }
        *n_out = n;
    }
    hsdi_detok_fini(&detok);
    return status;
}
