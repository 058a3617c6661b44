/// `hsd batch`: the stages and their threads.
///
/// An item goes from stage to stage through queues; a session goes along from generating to
/// rendering, where its text is made, and then back. Only the writer ends the order: at the first
/// item that was dropped it writes no more, so the results are a prefix of the input at any time.
#include "cli/batch.h"

#include "cli/setting.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAW_NS = 100000000 };

void batch_stop(batch *b)
{
    atomic_store(&b->stop, true);
    pthread_mutex_lock(&b->lock);
    for (int i = 0; i < b->n_sessions; i++) {
        hsd_session_cancel(b->sessions[i].session);
    }
    pthread_mutex_unlock(&b->lock);
}

bool batch_stopped(void *user)
{
    const batch *b = user;
    return atomic_load(&b->stop) || cli_interrupted();
}

static void keep_error(batch *b, const hsd_error *err)
{
    pthread_mutex_lock(&b->lock);
    if (!b->has_error) {
        b->has_error = true;
        b->error = *err;
    }
    pthread_mutex_unlock(&b->lock);
}

void batch_fail(batch *b, hsd_status status, const char *where, int64_t line, const char *why)
{
    hsd_error err = {.status = status, .line = line, .byte_offset = -1};
    snprintf(err.where, sizeof err.where, "%s", where);
    snprintf(err.message, sizeof err.message, "%s", why);
    keep_error(b, &err);
    batch_stop(b);
}

static void fail_memory(batch *b)
{
    batch_fail(b, HSD_ENOMEM, "batch", 0, "memory could not be allocated");
}

/* Reading */

/// Next line that is not blank. A failed reading ends the input; what was read is still done.
static bool read_line(batch *b, cli_line *line)
{
    cli_lines_result result;
    do {
        result = cli_lines_next(&b->lines, line);
    } while (result == CLI_LINES_LINE && line->blank);
    if (result == CLI_LINES_FAILED) {
        hsd_error err = {.status = HSD_EIO, .byte_offset = -1};
        snprintf(err.where, sizeof err.where, "%s", b->in_name);
        snprintf(err.message, sizeof err.message, "cannot read: %s", strerror(errno));
        keep_error(b, &err);
    }
    return result == CLI_LINES_LINE;
}

static void *read_main(void *arg)
{
    batch *b = arg;
    cli_line line;
    for (int64_t index = b->results.n_kept; !batch_stopped(b); index++) {
        batch_item *item = cli_queue_get(&b->free_items);
        if (!read_line(b, &line)) {
            break;
        }
        item->index = index;
        if (!batch_item_read(b, &line, item)) {
            fail_memory(b);
            item->dropped = true;
        }
        cli_queue_put(&b->prompts, item);
    }
    cli_queue_close(&b->prompts);
    return NULL;
}

/* Generating */

/// Make the slot's session one with the item's settings. Settings that the engine refuses are the
/// line's fault, the rest ends the run; false in both cases.
static bool prepare_session(batch *b, batch_session *slot, batch_item *item)
{
    if (slot->session && cli_settings_equal(&slot->how, &item->how)) {
        return true;
    }
    pthread_mutex_lock(&b->lock);
    hsd_session *old = slot->session;
    slot->session = NULL;
    pthread_mutex_unlock(&b->lock);
    hsd_session_close(&old);
    hsd_error err = cli_no_error();
    hsd_session *session = NULL;
    hsd_status status = hsd_session_open(b->engine, &item->how, &session, &err);
    if (status == HSD_EINVAL || status == HSD_EUNSUPPORTED) {
        batch_item_fail(item, err.where, "%s", err.message);
    } else if (status != HSD_OK) {
        batch_fail(b, status, err.where, 0, err.message);
        item->dropped = true;
    }
    slot->how = item->how;
    pthread_mutex_lock(&b->lock);
    slot->session = session;
    pthread_mutex_unlock(&b->lock);
    return status == HSD_OK;
}

/// Run the item's generation to its end.
static void generate(batch *b, hsd_session *session, batch_item *item)
{
    hsd_error err = cli_no_error();
    hsd_status status = hsd_session_submit_tokens(session, item->prompt, item->n_prompt, &err);
    if (status == HSD_EINVAL || status == HSD_ETOOLONG) {
        batch_item_fail(item, err.where, "%s", err.message);
        return;
    }
    if (batch_stopped(b)) {
        hsd_session_cancel(session); // a cancel before the submit is forgotten by it
    }
    status = status == HSD_OK ? hsd_session_wait(session, &err) : status;
    item->dropped = status != HSD_OK;
    if (item->dropped && !batch_stopped(b)) {
        batch_fail(b, status, err.where, 0,
                   err.message[0] ? err.message : hsd_status_message(status));
    }
}

static void generate_item(batch *b, batch_item *item)
{
    batch_session *slot = cli_queue_get(&b->free_sessions);
    if (prepare_session(b, slot, item)) {
        generate(b, slot->session, item);
    }
    item->slot = slot; // also one that made nothing goes back by way of the renderer
}

static void *generate_main(void *arg)
{
    batch *b = arg;
    batch_item *item;
    while ((item = cli_queue_get(&b->prompts)) != NULL) {
        item->dropped = item->dropped || batch_stopped(b);
        if (!item->failed && !item->dropped) {
            generate_item(b, item);
        }
        cli_queue_put(&b->generated, item);
    }
    pthread_mutex_lock(&b->lock);
    bool last = --b->n_generating == 0;
    pthread_mutex_unlock(&b->lock);
    if (last) {
        cli_queue_close(&b->generated);
    }
    return NULL;
}

/* Rendering: tokens to text, text to JSON */

/// Pull what the session holds; this is where its tokens become text.
static bool pull(batch_item *item)
{
    hsd_error err = cli_no_error();
    hsd_session *session = item->slot->session;
    hsd_token token;
    hsd_status status;
    while ((status = hsd_session_next(session, 0, &token, &err)) == HSD_OK) {
        if (!cli_output_add(&item->output, &token)) {
            return false;
        }
    }
    hsd_session_stats(session, &item->stats);
    return status == HSD_EEND;
}

static void *render_main(void *arg)
{
    batch *b = arg;
    batch_item *item;
    while ((item = cli_queue_get(&b->generated)) != NULL) {
        bool ok = item->dropped || item->failed || pull(item);
        if (item->slot) {
            cli_queue_put(&b->free_sessions, item->slot);
            item->slot = NULL;
        }
        ok = ok && (item->dropped || batch_item_render(b, item));
        if (!ok) {
            item->dropped = true;
            fail_memory(b);
        }
        cli_queue_put(&b->rendered, item);
    }
    cli_queue_close(&b->rendered);
    return NULL;
}

/* Writing */

/// Write the next item in order. False when the results end here.
static bool write_item(batch *b, const batch_item *item)
{
    if (item->dropped) {
        return false;
    }
    if (item->failed && b->strict) {
        char where[sizeof b->error.where];
        snprintf(where, sizeof where, "%.60s%s%.60s", b->in_name, item->field[0] ? ": " : "",
                 item->field);
        batch_fail(b, HSD_EFORMAT, where, item->line, item->why);
        return false;
    }
    if (!batch_results_write(b, item->result, strlen(item->result))) {
        char why[sizeof b->error.message];
        snprintf(why, sizeof why, "cannot write: %s", strerror(errno));
        if (!cli_interrupted()) {
            batch_fail(b, HSD_EIO, b->results.name, 0, why);
        }
        return false;
    }
    if (item->failed && atomic_fetch_add(&b->n_failed, 1) == 0) {
        atomic_store(&b->first_failed, item->line);
    }
    atomic_fetch_add(&b->n_tokens, (long long)item->output.n_tokens);
    atomic_fetch_add(&b->n_done, 1);
    return true;
}

/// Items that came before their turn, by index: no more than n_items are in flight.
typedef struct order {
    batch_item **waiting; ///< [n_items]
    int64_t next;
    bool writing; ///< until the results end
} order;

static void give_back_all(batch *b, order *o)
{
    for (int i = 0; o->waiting && i < b->n_items; i++) {
        if (o->waiting[i]) {
            cli_queue_put(&b->free_items, o->waiting[i]);
            o->waiting[i] = NULL;
        }
    }
}

/// Write what is in order now.
static void write_ready(batch *b, order *o)
{
    batch_item **ready;
    while (o->writing && *(ready = &o->waiting[o->next % b->n_items]) != NULL) {
        batch_item *item = *ready;
        *ready = NULL;
        o->next++;
        o->writing = write_item(b, item);
        cli_queue_put(&b->free_items, item);
    }
    if (!o->writing) {
        give_back_all(b, o);
    }
}

static void *write_main(void *arg)
{
    batch *b = arg;
    batch_item *item;
    order o = {.waiting = calloc((size_t)b->n_items, sizeof *o.waiting), .next = b->results.n_kept};
    o.writing = o.waiting != NULL;
    if (!o.writing) {
        fail_memory(b);
    }
    while ((item = cli_queue_get(&b->rendered)) != NULL) {
        if (o.writing) {
            o.waiting[item->index % b->n_items] = item;
            write_ready(b, &o);
        } else {
            cli_queue_put(&b->free_items, item);
        }
    }
    free(o.waiting);
    return NULL;
}

/* All of them */

typedef struct stage {
    batch *b;
    void *(*main)(void *);
    pthread_t thread;
} stage;

static void *stage_main(void *arg)
{
    stage *s = arg;
    batch *b = s->b;
    (void)s->main(b);
    pthread_mutex_lock(&b->lock);
    b->n_running--;
    pthread_cond_signal(&b->ended);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/// Wait for the threads; look after interrupts and draw meanwhile.
static void wait_for_stages(batch *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->n_running > 0) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        t.tv_nsec += DRAW_NS;
        t.tv_sec += t.tv_nsec / 1000000000;
        t.tv_nsec %= 1000000000;
        int rc = pthread_cond_timedwait(&b->ended, &b->lock, &t);
        pthread_mutex_unlock(&b->lock);
        if (cli_interrupted() && !atomic_load(&b->stop)) {
            batch_stop(b);
        }
        if (rc == ETIMEDOUT) {
            batch_draw(b);
        }
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
}

/// One more thread; false when there is none to be had.
static bool start(batch *b, stage *s, void *(*stage_fn)(void *))
{
    *s = (stage){.b = b, .main = stage_fn};
    pthread_mutex_lock(&b->lock);
    int rc = pthread_create(&s->thread, NULL, stage_main, s);
    b->n_running += rc == 0;
    b->n_generating += rc == 0 && stage_fn == generate_main;
    pthread_mutex_unlock(&b->lock);
    if (rc != 0) {
        batch_fail(b, HSD_EDEVICE, "batch", 0, "a thread could not be started");
    }
    return rc == 0;
}

void batch_run_stages(batch *b)
{
    stage stages[BATCH_MAX_SESSIONS + 3];
    int n = 0;
    // The reader last: before it nothing is in flight.
    bool ok = start(b, &stages[n], write_main) && start(b, &stages[++n], render_main);
    for (int i = 0; ok && i < b->n_sessions; i++) {
        ok = start(b, &stages[++n], generate_main);
    }
    ok = ok && start(b, &stages[++n], read_main);
    n += ok ? 1 : 0;
    if (!ok) {
        cli_queue_close(&b->prompts);
        cli_queue_close(&b->generated);
        cli_queue_close(&b->rendered);
    }
    wait_for_stages(b);
    for (int i = 0; i < n; i++) {
        pthread_join(stages[i].thread, NULL);
    }
}
