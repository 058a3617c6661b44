/// A session's text on the disk, and back.
#include "engine/session_internal.h"

#include "base/error.h"
#include "engine/parked.h"

#include <stdlib.h>
#include <string.h>

/// Prompt and output so far become s->prompt. The session is quiet and locked. Returns the length.
static int gather(hsd_session *s)
{
    int n = s->n_prompt + s->n_tokens;
    memcpy(s->prompt + s->n_prompt, s->tokens, (size_t)s->n_tokens * sizeof *s->prompt);
    s->n_prompt = n;
    s->n_taken = s->n_tokens = 0;
    return n;
}

/// The text of a session that has one.
static hsd_status check_text(const hsd_session *s, hsd_error *err)
{
    return s->phase == PHASE_IDLE ? hsdi_fail(err, HSD_EINVAL, "session", "nothing was submitted")
                                  : HSD_OK;
}

hsd_status hsd_session_continue(hsd_session *s, hsd_error *err)
{
    if (!s) {
        return hsdi_fail(err, HSD_EINVAL, "session", "a session is required");
    }
    pthread_mutex_lock(&s->lock);
    hsdi_session_settle(s);
    hsd_status status = check_text(s, err);
    if (status == HSD_OK) {
        status = hsdi_session_check_prompt(s, s->n_prompt + s->n_tokens, err);
    }
    if (status == HSD_OK) {
        hsdi_session_start(s, gather(s), true);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

hsd_status hsd_session_text(hsd_session *s, int32_t *out, int cap, int *n_out, hsd_error *err)
{
    if (!s || !n_out || cap < 0 || (cap > 0 && !out)) {
        return hsdi_fail(err, HSD_EINVAL, "session", "session and result are required");
    }
    pthread_mutex_lock(&s->lock);
    int n = s->n_prompt + s->n_tokens;
    for (int i = 0; i < n && i < cap; i++) {
        out[i] = i < s->n_prompt ? s->prompt[i] : s->tokens[i - s->n_prompt];
    }
    pthread_mutex_unlock(&s->lock);
    *n_out = n;
    return n <= cap ? HSD_OK
                    : hsdi_fail(err, HSD_ETOOLONG, "session", "%d tokens, room for %d", n, cap);
}

static void describe_engine(const hsd_session *s, hsdi_parked *head)
{
    const hsd_engine *e = s->engine;
    size_t cell_bytes[HSDI_SLAB_PLACES];
    head->fingerprint = hsdi_gguf_fingerprint(e->target.model->gguf);
    head->vocab_hash = e->drafts.vocab_hash;
    head->n_vocab = e->target.model->n_vocab;
    head->n_places = hsdi_target_stage_places(&s->stage, cell_bytes);
    for (int i = 0; i < head->n_places; i++) {
        head->cell_bytes[i] = (uint32_t)cell_bytes[i];
    }
    hsdi_target_stage_kind(&s->stage, head->kind, sizeof head->kind);
}

/// Cells of the text to be parked.
typedef struct source {
    hsd_session *session;
    const int32_t *cells;
} source;

static hsd_status read_cells(void *user, int first, int n, void *out, hsd_error *err)
{
    const source *from = user;
    return hsdi_target_stage_read(&from->session->stage, from->cells + first, n, out, err);
}

static hsd_status park(hsd_session *s, const char *path, hsd_error *err)
{
    hsdi_parked head = {.sampling = s->options.sampling, .ignore_eos = s->options.ignore_eos};
    const int32_t *tokens;
    source from = {.session = s};
    describe_engine(s, &head);
    size_t n = (size_t)s->n_prompt + (size_t)s->n_tokens;
    int32_t *text = malloc(n * sizeof *text);
    if (!text) {
        return hsdi_fail(err, HSD_ENOMEM, "session", "%zu tokens", n);
    }
    memcpy(text, s->prompt, (size_t)s->n_prompt * sizeof *text);
    memcpy(text + s->n_prompt, s->tokens, (size_t)s->n_tokens * sizeof *text);
    head.n_tokens = (int)n;
    int n_trunk = hsdi_target_trunk(s->target, &tokens, &from.cells);
    while (head.n_cells < n_trunk && head.n_cells < head.n_tokens - 1 &&
           tokens[head.n_cells] == text[head.n_cells]) {
        head.n_cells++;
    }
    hsd_status status = hsdi_parked_write(path, &head, text, read_cells, &from, err);
    free(text);
    return status;
}

hsd_status hsd_session_park(hsd_session *s, const char *path, hsd_error *err)
{
    if (!s || !path) {
        return hsdi_fail(err, HSD_EINVAL, "path", "session and path are required");
    }
    pthread_mutex_lock(&s->lock);
    hsdi_session_settle(s);
    hsd_status status = check_text(s, err);
    if (status == HSD_OK) {
        status = park(s, path, err);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

static hsd_status check_model(const hsd_engine *e, const char *path, const hsdi_parked *head,
                              hsd_error *err)
{
    uint64_t own = hsdi_gguf_fingerprint(e->target.model->gguf);
    if (head->fingerprint != own || head->n_vocab != e->target.model->n_vocab ||
        head->vocab_hash != e->drafts.vocab_hash) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, path,
                         "it was parked with another model: %016llx, and the target here is "
                         "%016llx",
                         (unsigned long long)head->fingerprint, (unsigned long long)own);
    }
    return HSD_OK;
}

static hsd_status check_cells(const hsd_session *s, const char *path, const hsdi_parked *head,
                              hsd_error *err)
{
    hsdi_parked own = {0};
    describe_engine(s, &own);
    if (strcmp(own.kind, head->kind) != 0 || own.n_places != head->n_places ||
        memcmp(own.cell_bytes, head->cell_bytes, sizeof own.cell_bytes) != 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, path,
                         "its cells are of another kind: %.80s, and here they are %.80s",
                         head->kind, own.kind);
    }
    return HSD_OK;
}

/// Text and cells of the file become the session's, as if it had just generated them.
static hsd_status take(hsd_session *s, const char *path, hsdi_parked_file *file, hsd_error *err)
{
    const hsdi_parked *head = hsdi_parked_head(file);
    const int32_t *tokens = hsdi_parked_tokens(file), *ignored, *cells;
    hsd_status status = check_cells(s, path, head, err);
    if (status == HSD_OK) {
        status = hsdi_target_begin(s->target, tokens, head->n_cells, err);
    }
    if (status != HSD_OK) {
        return status;
    }
    (void)hsdi_target_trunk(s->target, &ignored, &cells);
    int first, n;
    const void *bytes;
    while ((status = hsdi_parked_next(file, &first, &n, &bytes, err)) == HSD_OK) {
        status = hsdi_target_stage_write(&s->stage, cells + first, n, bytes, err);
        if (status != HSD_OK) {
            return status;
        }
    }
    if (status == HSD_EEND) {
        memcpy(s->prompt, tokens, (size_t)head->n_tokens * sizeof *tokens);
        s->n_prompt = head->n_tokens;
        s->phase = PHASE_DONE;
    }
    return status == HSD_EEND ? HSD_OK : status;
}

hsd_status hsd_session_resume(hsd_engine *engine, const char *path,
                              const hsd_session_options *options, hsd_session **out, hsd_error *err)
{
    if (!engine || !path || !options || !out) {
        return hsdi_fail(err, HSD_EINVAL, "path", "engine, path, options and result are required");
    }
    *out = NULL;
    hsdi_parked_file *file = NULL;
    hsd_session *s = NULL;
    hsd_status status = hsdi_parked_open(path, &file, err);
    if (status != HSD_OK) {
        return status;
    }
    const hsdi_parked *head = hsdi_parked_head(file);
    hsd_session_options how = *options;
    how.sampling = head->sampling;
    how.ignore_eos = head->ignore_eos;
    int n_ctx = options->n_ctx > 0 ? options->n_ctx : engine->n_ctx;
    status = check_model(engine, path, head, err);
    if (status == HSD_OK && head->n_tokens > n_ctx) {
        status = hsdi_fail(err, HSD_ETOOLONG, path, "%d tokens in a context of %d", head->n_tokens,
                           n_ctx);
    }
    if (status == HSD_OK) {
        status = hsd_session_open(engine, &how, &s, err);
    }
    if (status == HSD_OK) {
        pthread_mutex_lock(&s->lock);
        status = take(s, path, file, err);
        pthread_mutex_unlock(&s->lock);
    }
    hsdi_parked_close(&file);
    if (status != HSD_OK) {
        hsd_session_close(&s);
        return status;
    }
    *out = s;
    return HSD_OK;
}
