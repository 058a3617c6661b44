/// Sessions: one text, one target pipeline, one thread.
#include "engine/session_internal.h"

#include "base/clock.h"
#include "base/error.h"
#include "engine/plan.h"
#include "engine/rules.h"
#include "engine/sampler.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW_MAX = 16,
    ROOTS_MAX = 64,
    N_TOP_DEFAULT = 8,
    N_TOP_RATIO = 64,
    WINDOW_ADAPTIVE = 8, ///< longest window that lengths adapt up to
    ROOTS_DEFAULT = 8,
    FLUSH_TOKEN = -1, ///< id of the entry that carries the last held-back bytes
    CTX_LEAST = 2,
};

void hsd_session_options_init(hsd_session_options *options)
{
    *options = (hsd_session_options){.sampling = {.top_p = 1.0f}};
}

static hsd_status fail_range(hsd_error *err, const char *name, int value, int low, int high)
{
    return hsdi_fail(err, HSD_EINVAL, name, "%d is not between %d and %d", value, low, high);
}

static hsd_status check_options(const hsd_engine *e, const hsd_session_options *o, hsd_error *err)
{
    int n_layers = e->target.model->n_layers;
    if (o->mode < HSD_MODE_AUTO || o->mode > HSD_MODE_ASYNC) {
        return fail_range(err, "mode", (int)o->mode, 0, HSD_MODE_ASYNC);
    }
    if (o->draft_kind < HSD_DRAFT_AUTO || o->draft_kind > HSD_DRAFT_EARLY_EXIT) {
        return fail_range(err, "draft_kind", (int)o->draft_kind, 0, HSD_DRAFT_EARLY_EXIT);
    }
    if (o->window < 0 || o->window > WINDOW_MAX) {
        return fail_range(err, "window", o->window, 1, WINDOW_MAX);
    }
    int window = o->window > 0 ? o->window : WINDOW_ADAPTIVE;
    if (o->tree < 0 || o->tree > HSDI_TREE_MAX || (o->tree > 0 && o->tree < window)) {
        return fail_range(err, "tree", o->tree, window, HSDI_TREE_MAX);
    }
    if (o->roots_from < HSD_ROOTS_FROM_BOTH || o->roots_from > HSD_ROOTS_FROM_EXIT) {
        return fail_range(err, "roots_from", (int)o->roots_from, 0, HSD_ROOTS_FROM_EXIT);
    }
    if (o->roots < 0 || o->roots > ROOTS_MAX) {
        return fail_range(err, "roots", o->roots, 1, ROOTS_MAX);
    }
    if (o->exit_layer < 0 || (o->exit_layer > 0 && o->exit_layer >= n_layers)) {
        return fail_range(err, "exit_layer", o->exit_layer, 1, n_layers - 1);
    }
    if (o->n_tokens < 0) {
        return fail_range(err, "n_tokens", o->n_tokens, 0, INT_MAX);
    }
    if (o->n_ctx != 0 && (o->n_ctx < CTX_LEAST || o->n_ctx > e->n_ctx)) {
        return fail_range(err, "n_ctx", o->n_ctx, CTX_LEAST, e->n_ctx);
    }
    if (o->draft_kind == HSD_DRAFT_MODEL && !hsd_engine_has_draft(e)) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "draft_kind", "the engine has no draft model");
    }
    if (o->draft_kind == HSD_DRAFT_EARLY_EXIT && n_layers < 2) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "draft_kind",
                         "a model of one layer has no early exit");
    }
    if (o->draft_kind == HSD_DRAFT_EARLY_EXIT && e->suffix_device) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, "draft_kind",
                         "an early exit needs the LM head beside the first layers, and this target "
                         "has it on the device of the last ones");
    }
    return hsdi_sampling_check(&o->sampling, err);
}

/// Put a value in every field that says "by the engine".
static hsd_status fill_defaults(hsd_session *s, hsd_error *err)
{
    hsd_engine *e = s->engine;
    hsd_session_options *o = &s->options;
    const hsd_session_options asked = *o;
    o->window = o->window > 0 ? o->window : WINDOW_ADAPTIVE;
    o->tree = o->tree > 0 ? o->tree : o->window;
    o->roots = o->roots > 0 ? o->roots : ROOTS_DEFAULT;
    o->n_ctx = o->n_ctx > 0 ? o->n_ctx : e->n_ctx;
    if (o->exit_layer == 0) {
        o->exit_layer = e->target.model->n_layers / 2;
    }
    hsd_status status = HSD_OK;
    if (o->mode == HSD_MODE_AUTO) {
        bool any_model = o->draft_kind == HSD_DRAFT_AUTO || o->draft_kind == HSD_DRAFT_MODEL;
        if (e->n_endpoints > 0 && any_model) {
            // A worker was given to be used; without a plan its speed is not known yet.
            o->mode = e->planned_mode != HSD_MODE_AUTO ? e->planned_mode : HSD_MODE_MIRROR;
        } else if (e->draft.model && any_model) {
            status = hsdi_plan_session(e, &asked, &s->plan, err);
            if (status == HSD_OK) {
                o->mode = s->plan.mode;
                o->roots = s->plan.roots;
                o->exit_layer = s->plan.exit_layer;
            }
        } else {
            o->mode = o->draft_kind == HSD_DRAFT_AUTO ? HSD_MODE_AR : HSD_MODE_SERIAL;
        }
    }
    if (o->mode == HSD_MODE_AR && !s->plan.predictor) {
        o->draft_kind = HSD_DRAFT_AUTO;
    } else if (o->draft_kind == HSD_DRAFT_AUTO) {
        o->draft_kind = hsd_engine_has_draft(e) ? HSD_DRAFT_MODEL : HSD_DRAFT_NGRAM;
    }
    return status;
}

/// May the mode change while running?
bool hsdi_session_is_watched(const hsd_session *s)
{
    return s->plan.predictor != NULL;
}

/// The remote workers serve model drafts; lookups and early exits stay at home.
bool hsdi_session_uses_remote(const hsd_session *s)
{
    return s->engine->n_endpoints > 0 && s->options.draft_kind == HSD_DRAFT_MODEL;
}

static hsd_status open_stage(hsd_session *s, hsd_error *err)
{
    hsd_engine *e = s->engine;
    const hsd_session_options *o = &s->options;
    bool drafts =
        o->mode == HSD_MODE_MIRROR || o->mode == HSD_MODE_ASYNC || hsdi_session_is_watched(s);
    bool beside = drafts && !hsdi_session_uses_remote(s);
    s->n_target_threads = beside ? e->n_target_beside : e->n_target_alone;
    const hsdi_target_stage_options options = {
        .exit_layer = o->mode == HSD_MODE_MIRROR || hsdi_session_is_watched(s) ? o->exit_layer : 0,
        .n_cells = hsdi_target_cells_needed(o->n_ctx, o->tree),
        .n_ctx = o->n_ctx,
        .is_pooled = true,
        .n_threads = s->n_target_threads,
        .n_alone = e->n_target_alone,
        .is_steady = o->mode == HSD_MODE_AR && !hsdi_session_is_watched(s),
        .n_top = N_TOP_DEFAULT,
        .sampling = o->sampling,
    };
    return hsdi_target_stage_open(&e->target.runner, &options, &s->stage, err);
}

/// The workers that draft for this session, and what each drafts with.
static hsd_status add_workers(hsd_session *s, const char **endpoints, int *kinds, int *n,
                              hsd_error *err)
{
    hsd_engine *e = s->engine;
    hsd_status status = HSD_OK;
    *n = 0;
    for (int i = 0; hsdi_session_uses_remote(s) && i < e->n_endpoints; i++) {
        kinds[*n] =
            e->endpoint_kinds[i] == HSD_DRAFT_NGRAM ? HSD_DRAFT_NGRAM : (int)s->options.draft_kind;
        endpoints[(*n)++] = e->endpoints[i];
    }
    if (*n == 0) {
        status = hsdi_engine_start_local(e, HSDI_LOCAL_DRAFT, err);
        kinds[*n] = (int)s->options.draft_kind;
        endpoints[(*n)++] = e->local[HSDI_LOCAL_DRAFT].endpoint;
    }
    if (status == HSD_OK && s->options.with_ngram && *n < HSDI_TARGET_MAX_WORKERS) {
        status = hsdi_engine_start_local(e, HSDI_LOCAL_NGRAM, err);
        kinds[*n] = HSD_DRAFT_NGRAM;
        endpoints[(*n)++] = e->local[HSDI_LOCAL_NGRAM].endpoint;
    }
    return status;
}

/// The lesser one; a negative `value` counts as the largest.
static int least_unsigned(int value, int most)
{
    return value >= 0 && value < most ? value : most;
}

static hsd_status open_pipeline(hsd_session *s, hsd_error *err)
{
    hsd_engine *e = s->engine;
    const hsd_session_options *o = &s->options;
    hsd_status status = hsdi_session_promise(s, err);
    status = status == HSD_OK ? open_stage(s, err) : status;
    if (status != HSD_OK) {
        return status;
    }
    // The ratio rule draws from the listed tokens alone: the more, the nearer to the target.
    int n_top = s->stage.judge ? N_TOP_RATIO : N_TOP_DEFAULT;
    hsdi_target_config config;
    hsdi_target_config_init(&config);
    config.mode = hsdi_session_is_watched(s) && o->mode == HSD_MODE_AR ? HSD_MODE_MIRROR : o->mode;
    config.watch = hsdi_session_is_watched(s) ? &s->plan.watch : NULL;
    config.log = e->log;
    config.trace = e->trace;
    config.vocab_hash = e->drafts.vocab_hash;
    config.vocabulary = hsdi_vocabulary_of(e->target.tokenizer);
    config.adapts = s->adapts;
    config.reuses = e->memory.shares;
    config.fingerprint = hsdi_gguf_fingerprint(e->target.model->gguf);
    config.draft = (hsdi_draft_config){
        .draft_kind = (int)o->draft_kind,
        .window = o->window,
        .tree = o->tree,
        .sources = o->roots_from == HSD_ROOTS_FROM_DRAFT  ? HSDI_SOURCES_OWN
                   : o->roots_from == HSD_ROOTS_FROM_EXIT ? HSDI_SOURCES_PROXY
                                                          : HSDI_SOURCES_BOTH,
        .is_audited = o->audit_roots,
        .miss_window = o->mode == HSD_MODE_MIRROR ? (o->window + 1) / 2 : o->window,
        .roots = o->roots,
        .n_top = n_top < e->target.model->n_vocab ? n_top : e->target.model->n_vocab,
        .exit_layer = o->exit_layer,
        .n_ctx = o->n_ctx,
        .temperature = o->sampling.temperature,
        .top_k = o->sampling.top_k,
        .top_p = o->sampling.top_p,
        .min_p = o->sampling.min_p,
        .seed = o->sampling.seed,
        .repeat_penalty = o->sampling.repeat_penalty,
        // Beyond the context all numbers mean the same; the wire knows no other word for "all".
        .repeat_last_n = least_unsigned(hsdi_rules_last_n(&o->sampling), o->n_ctx),
        .no_repeat_ngram = least_unsigned(o->sampling.no_repeat_ngram, o->n_ctx),
        .rule = o->sampling.temperature > 0.0f ? (int)o->sampling.rule : HSD_RULE_COUPLED,
    };
    config.n_proxies = s->stage.has_exit ? least_unsigned(N_TOP_DEFAULT, config.draft.n_top) : 0;
    const char *endpoints[HSDI_TARGET_MAX_WORKERS];
    int kinds[HSDI_TARGET_MAX_WORKERS];
    config.endpoints = endpoints;
    config.draft_kinds = kinds;
    if (config.mode != HSD_MODE_AR) {
        status = add_workers(s, endpoints, kinds, &config.n_endpoints, err);
        config.spin_us = hsdi_engine_spin_us(e, endpoints[0]);
    }
    if (status != HSD_OK) {
        return status;
    }
    return hsdi_target_create(e->context, &config, &s->stage, &s->target, err);
}

/// Text of one token into s->text. Called by the one reader that the session has.
static hsd_status render(hsd_session *s, int32_t id, hsd_token *out, hsd_error *err)
{
    const char *bytes;
    int n = 0;
    if (id == FLUSH_TOKEN) {
        hsdi_detok_flush(&s->detok, &bytes, &n);
    } else {
        hsd_status status = hsdi_detok_push(&s->detok, id, &bytes, &n);
        if (status != HSD_OK) {
            return hsdi_fail(err, status, "token", "id %d", id);
        }
    }
    if ((size_t)n >= s->text_cap) {
        return hsdi_fail(err, HSD_ETOOLONG, "token", "%d bytes of text", n);
    }
    memcpy(s->text, bytes, (size_t)n);
    s->text[n] = 0;
    *out = (hsd_token){.id = id, .text = s->text, .n_bytes = (size_t)n};
    return HSD_OK;
}

static bool on_emit(void *user, int32_t token)
{
    hsd_session *s = user;
    bool go_on = !atomic_load(&s->cancel);
    if (s->options.on_token) {
        hsd_token piece;
        hsd_error ignored;
        if (render(s, token, &piece, &ignored) == HSD_OK) {
            go_on &= s->options.on_token(s->options.on_token_user, &piece);
        }
    }
    pthread_mutex_lock(&s->lock);
    s->tokens[s->n_tokens++] = token; // the pipeline emits no more than n_ctx
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

static bool on_is_end(void *user, int32_t token)
{
    const hsd_session *s = user;
    return !s->options.ignore_eos && hsdi_tokenizer_is_eog(s->engine->target.tokenizer, token);
}

static void run_one(hsd_session *s)
{
    hsd_error error = {0};
    const hsdi_target_job job = {.prompt = s->prompt,
                                 .n_prompt = s->n_prompt,
                                 .is_continued = s->is_continued,
                                 .n_tokens = s->options.n_tokens,
                                 .emit = on_emit,
                                 .is_end = on_is_end,
                                 .user = s,
                                 .cancel = &s->cancel};
    hsd_status status = hsdi_target_generate(s->target, &job, &error);
    hsd_token last;
    if (s->options.on_token && status == HSD_OK &&
        render(s, FLUSH_TOKEN, &last, &error) == HSD_OK && last.n_bytes > 0) {
        (void)s->options.on_token(s->options.on_token_user, &last);
    }
    pthread_mutex_lock(&s->lock);
    s->result = status;
    s->error = error;
    s->phase = PHASE_DONE;
    pthread_cond_broadcast(&s->changed);
    pthread_cond_broadcast(&s->more);
    pthread_mutex_unlock(&s->lock);
}

static void *session_main(void *arg)
{
    hsd_session *s = arg;
    (void)pthread_setname_np(pthread_self(), "hsd-session");
    hsdi_pin_self(hsdi_first_cpu(s->engine));
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->phase != PHASE_QUEUED && !s->quit) {
            pthread_cond_wait(&s->changed, &s->lock);
        }
        if (s->quit) {
            pthread_mutex_unlock(&s->lock);
            return NULL;
        }
        s->phase = PHASE_RUNNING;
        pthread_mutex_unlock(&s->lock);
        run_one(s);
        pthread_mutex_lock(&s->lock);
    }
}

static hsd_status open_all(hsd_session *s, hsd_error *err)
{
    size_t n = (size_t)s->options.n_ctx;
    s->prompt = calloc(n, sizeof *s->prompt);
    s->tokens = calloc(n, sizeof *s->tokens);
    // Held-back bytes and the piece itself; each byte may come out as U+FFFD of three.
    s->text_cap = 3 * ((size_t)hsdi_tokenizer_max_piece(s->engine->target.tokenizer) + 4) + 1;
    s->text = calloc(s->text_cap, 1);
    if (!s->prompt || !s->tokens || !s->text ||
        hsdi_detok_init(&s->detok, s->engine->target.tokenizer, false, false) != HSD_OK) {
        return hsdi_fail(err, HSD_ENOMEM, "session", "context of %zu tokens", n);
    }
    s->detok_open = true;
    hsd_status status = open_pipeline(s, err);
    if (status != HSD_OK) {
        return status;
    }
    int rc = pthread_create(&s->thread, NULL, session_main, s);
    s->started = rc == 0;
    return rc == 0 ? HSD_OK : hsdi_fail_errno(err, HSD_EDEVICE, "session", rc, "thread");
}

/// What the description of the machine decides, where the application leaves it open.
static hsd_session_options decided(const hsd_engine *e, const hsd_session_options *asked)
{
    const hsdi_machine_choices *c = &e->choices;
    hsd_session_options o = *asked;
    o.mode = o.mode == HSD_MODE_AUTO ? c->mode : o.mode;
    o.window = o.window == 0 && c->window > 0 ? c->window : o.window;
    o.tree = o.tree == 0 && c->tree > 0 ? c->tree : o.tree;
    o.roots = o.roots == 0 && c->roots > 0 ? c->roots : o.roots;
    o.exit_layer = o.exit_layer == 0 && c->exit_layer > 0 ? c->exit_layer : o.exit_layer;
    return o;
}

hsd_status hsd_session_open(hsd_engine *engine, const hsd_session_options *asked, hsd_session **out,
                            hsd_error *err)
{
    if (!engine || !asked || !out) {
        return hsdi_fail(err, HSD_EINVAL, "session", "engine, options and result are required");
    }
    *out = NULL;
    const hsd_session_options all = decided(engine, asked), *options = &all;
    hsd_status status = check_options(engine, options, err);
    if (status != HSD_OK) {
        return status;
    }
    hsd_session *s = calloc(1, sizeof *s);
    if (!s) {
        return hsdi_fail(err, HSD_ENOMEM, "session", "session");
    }
    s->engine = engine;
    s->options = *options;
    s->adapts = options->window == 0;
    status = fill_defaults(s, err);
    if (status != HSD_OK) {
        free(s);
        return status;
    }
    atomic_init(&s->cancel, false);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_cond_init(&s->more, &attr);
    pthread_condattr_destroy(&attr);
    status = open_all(s, err);
    if (status != HSD_OK) {
        hsd_session_close(&s);
        return status;
    }
    *out = s;
    return HSD_OK;
}

void hsdi_session_settle(hsd_session *s)
{
    while (s->phase == PHASE_QUEUED || s->phase == PHASE_RUNNING) {
        atomic_store(&s->cancel, true);
        pthread_cond_wait(&s->changed, &s->lock);
    }
}

void hsd_session_close(hsd_session **session)
{
    hsd_session *s = session ? *session : NULL;
    if (!s) {
        return;
    }
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        hsdi_session_settle(s);
        s->quit = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    if (s->target && hsdi_target_watch(s->target)) {
        hsdi_plan_learn(s->engine, hsdi_target_watch(s->target));
    }
    hsdi_session_release(s); // what its texts leave behind may take it
    hsdi_target_destroy(&s->target);
    free(s->plan.predictor);
    hsdi_target_stage_close(&s->stage);
    if (s->detok_open) {
        hsdi_detok_fini(&s->detok);
    }
    free(s->prompt);
    free(s->tokens);
    free(s->text);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *session = NULL;
}

/// What an earlier text held back is dropped. A text that goes on may do so in a character.
static void reset_detok(hsd_session *s, bool is_continued)
{
    enum { CHARACTER_TOKENS = 4 }; // a character has four bytes at most
    const char *bytes;
    int n, first = s->n_prompt > CHARACTER_TOKENS ? s->n_prompt - CHARACTER_TOKENS : 0;
    hsdi_detok_flush(&s->detok, &bytes, &n);
    for (int i = first; is_continued && i < s->n_prompt; i++) {
        (void)!hsdi_detok_push(&s->detok, s->prompt[i], &bytes, &n);
    }
}

void hsdi_session_start(hsd_session *s, int n_prompt, bool is_continued)
{
    s->n_prompt = n_prompt;
    s->is_continued = is_continued;
    reset_detok(s, is_continued);
    s->n_tokens = s->n_taken = 0;
    s->result = HSD_OK;
    s->error = (hsd_error){0};
    atomic_store(&s->cancel, false);
    s->phase = PHASE_QUEUED;
    pthread_cond_broadcast(&s->changed);
}

hsd_status hsdi_session_check_prompt(const hsd_session *s, int n, hsd_error *err)
{
    if (n < 1) {
        return hsdi_fail(err, HSD_EINVAL, "prompt",
                         "it is empty, and the model has no BOS token to begin with");
    }
    if (n >= s->options.n_ctx) {
        return hsdi_fail(err, HSD_ETOOLONG, "prompt", "%d tokens leave no room in a context of %d",
                         n, s->options.n_ctx);
    }
    return HSD_OK;
}

hsd_status hsd_session_submit(hsd_session *s, const char *prompt, size_t n_bytes, hsd_error *err)
{
    if (!s || (!prompt && n_bytes > 0)) {
        return hsdi_fail(err, HSD_EINVAL, "prompt", "session and prompt are required");
    }
    pthread_mutex_lock(&s->lock);
    hsdi_session_settle(s);
    int n = 0;
    hsd_status status = hsdi_tokenizer_encode(s->engine->target.tokenizer, prompt, n_bytes, true,
                                              false, s->prompt, s->options.n_ctx, &n, err);
    if (status == HSD_OK || status == HSD_ETOOLONG) {
        hsd_status fits = hsdi_session_check_prompt(s, n, err);
        status = fits != HSD_OK ? fits : status;
    }
    if (status == HSD_OK) {
        hsdi_session_start(s, n, false);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

hsd_status hsd_session_submit_tokens(hsd_session *s, const int32_t *tokens, int n_tokens,
                                     hsd_error *err)
{
    if (!s || !tokens) {
        return hsdi_fail(err, HSD_EINVAL, "tokens", "session and tokens are required");
    }
    hsd_status status = hsdi_session_check_prompt(s, n_tokens, err);
    for (int i = 0; i < n_tokens && status == HSD_OK; i++) {
        if (tokens[i] < 0 || tokens[i] >= s->engine->target.model->n_vocab) {
            status = hsdi_fail(err, HSD_EINVAL, "tokens", "token %d: id %d is not below %d", i,
                               tokens[i], s->engine->target.model->n_vocab);
        }
    }
    if (status != HSD_OK) {
        return status;
    }
    pthread_mutex_lock(&s->lock);
    hsdi_session_settle(s);
    memcpy(s->prompt, tokens, (size_t)n_tokens * sizeof *tokens);
    hsdi_session_start(s, n_tokens, false);
    pthread_mutex_unlock(&s->lock);
    return HSD_OK;
}

/// Wait for a change; false when the time is over. The lock is held.
static bool wait_until(hsd_session *s, int64_t deadline_ns)
{
    if (deadline_ns < 0) {
        pthread_cond_wait(&s->more, &s->lock);
        return true;
    }
    const struct timespec t = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                               .tv_nsec = (long)(deadline_ns % 1000000000)};
    return pthread_cond_timedwait(&s->more, &s->lock, &t) != ETIMEDOUT;
}

hsd_status hsd_session_next(hsd_session *s, int timeout_ms, hsd_token *out, hsd_error *err)
{
    if (!s || !out) {
        return hsdi_fail(err, HSD_EINVAL, "session", "session and result are required");
    }
    if (s->options.on_token) {
        return hsdi_fail(err, HSD_EINVAL, "session", "this session delivers by callback");
    }
    int64_t deadline = timeout_ms < 0 ? -1 : hsdi_now_ns() + (int64_t)timeout_ms * 1000000;
    pthread_mutex_lock(&s->lock);
    while (s->n_taken == s->n_tokens && s->phase != PHASE_DONE && s->phase != PHASE_IDLE) {
        if (!wait_until(s, deadline) && s->n_taken == s->n_tokens && s->phase != PHASE_DONE) {
            pthread_mutex_unlock(&s->lock);
            return HSD_ETIMEOUT;
        }
    }
    hsd_status status = HSD_OK;
    int32_t id = FLUSH_TOKEN;
    if (s->n_taken < s->n_tokens) {
        id = s->tokens[s->n_taken++];
    } else if (s->phase == PHASE_IDLE) {
        status = hsdi_fail(err, HSD_EINVAL, "session", "nothing was submitted");
    } else if (s->result != HSD_OK) {
        status = s->result;
        if (err) {
            *err = s->error;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (status != HSD_OK) {
        return status;
    }
    status = render(s, id, out, err);
    // Bytes that never became a character come last, with the id of no token.
    return status == HSD_OK && id == FLUSH_TOKEN && out->n_bytes == 0 ? HSD_EEND : status;
}

hsd_status hsd_session_wait(hsd_session *s, hsd_error *err)
{
    if (!s) {
        return hsdi_fail(err, HSD_EINVAL, "session", "a session is required");
    }
    pthread_mutex_lock(&s->lock);
    while (s->phase == PHASE_QUEUED || s->phase == PHASE_RUNNING) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    hsd_status status = s->result;
    if (status != HSD_OK && err) {
        *err = s->error;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

void hsd_session_cancel(hsd_session *session)
{
    if (session) {
        atomic_store(&session->cancel, true);
    }
}

void hsd_session_stats(const hsd_session *session, hsd_stats *out)
{
    hsdi_target_stats t;
    hsdi_target_get_stats(session->target, &t);
    const hsd_session_options *o = &session->options;
    hsd_mode mode = hsdi_session_is_watched(session) ? t.mode : o->mode;
    bool is_watching = hsdi_session_is_watched(session),
         is_mirror = mode == HSD_MODE_MIRROR || is_watching;
    *out = (hsd_stats){
        .mode = mode,
        .draft_kind = mode == HSD_MODE_AR && t.drafted == 0 ? HSD_DRAFT_AUTO : o->draft_kind,
        .n_prompt = t.n_prompt,
        .n_prompt_reused = t.n_reused,
        .n_tokens = t.n_tokens,
        .steps = t.steps,
        .drafted = t.drafted,
        .accepted = t.accepted,
        .hits = t.hits,
        .misses = t.misses,
        .own_hits = t.own_hits,
        .proxy_hits = t.proxy_hits,
        .carried = t.carried,
        .paused = t.paused,
        .late = t.late,
        .workers_lost = t.workers_lost,
        .replans = t.replans,
        .prefill_s = (double)t.prefill_ns * 1e-9,
        .decode_s = (double)t.decode_ns * 1e-9,
        .tokens_per_s = t.decode_ns > 0 ? t.n_tokens / ((double)t.decode_ns * 1e-9) : 0.0,
        .wait_s = (double)t.wait_ns * 1e-9,
        .step_overhead_s = (double)t.overhead_p50_ns * 1e-9,
        .window = mode == HSD_MODE_AR && !is_watching ? 0 : o->window,
        .tree = mode == HSD_MODE_AR && !is_watching ? 0 : o->tree,
        .roots = !is_mirror    ? 0
                 : is_watching ? t.roots
                               : o->roots,
        .exit_layer = is_watching                                          ? t.exit_layer
                      : is_mirror || o->draft_kind == HSD_DRAFT_EARLY_EXIT ? o->exit_layer
                                                                           : 0,
        .cache_bytes = (int64_t)hsdi_target_stage_cache_bytes(&session->stage),
        .cache_token_bytes = hsdi_cell_bytes(&session->engine->target.runner,
                                             session->engine->target.model->n_layers),
        .n_el_layers = session->engine->target.n_el,
        .n_threads = session->n_target_threads,
        .n_draft_threads =
            (mode == HSD_MODE_AR && !is_watching) || hsdi_session_uses_remote(session)
                ? 0
                : session->engine->n_draft_threads,
    };
}

void hsd_session_coverage(const hsd_session *session, hsd_coverage *out)
{
    hsdi_target_stats t;
    hsdi_target_get_stats(session->target, &t);
    memcpy(out->draft, t.ranks_own, sizeof out->draft);
    memcpy(out->exit, t.ranks_proxy, sizeof out->exit);
    memcpy(out->both, t.ranks_merged, sizeof out->both);
    memcpy(out->both_not_draft, t.merged_not_own, sizeof out->both_not_draft);
    memcpy(out->draft_not_both, t.own_not_merged, sizeof out->draft_not_both);
    memcpy(out->both_not_exit, t.merged_not_proxy, sizeof out->both_not_exit);
    memcpy(out->exit_not_both, t.proxy_not_merged, sizeof out->exit_not_both);
}

void hsdi_session_set_arm(hsd_session *session, int i_arm)
{
    hsdi_target_set_arm(session->target, i_arm);
}

void hsdi_session_depths(const hsd_session *session, int64_t *reached, int64_t *passed)
{
    hsdi_target_stats t;
    hsdi_target_get_stats(session->target, &t);
    memcpy(reached, t.reached, sizeof t.reached);
    memcpy(passed, t.passed, sizeof t.passed);
}
