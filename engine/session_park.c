/// A session's text on the disk, and back.
#include "engine/session_internal.h"

#include "base/error.h"
#include "engine/inputs.h"
#include "engine/session_draft.h"

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

/// What cells are here, and how many bytes a file has of each in a form.
static void describe_cells(const hsd_session *s, hsdi_parked_form form, hsdi_parked *head)
{
    const hsdi_passes *passes = hsdi_target_stage_passes(&s->stage);
    size_t n_bytes[HSDI_SLAB_PLACES];
    head->form = form;
    head->n_places = form == HSDI_PARKED_CELLS ? hsdi_passes_places(passes, n_bytes)
                                               : hsdi_inputs_places(passes, n_bytes);
    for (int i = 0; i < head->n_places; i++) {
        head->cell_bytes[i] = (uint32_t)n_bytes[i];
    }
    hsdi_passes_kind(passes, head->kind, sizeof head->kind);
}

static int64_t cell_bytes(const hsdi_parked *head)
{
    int64_t n = 0;
    for (int i = 0; i < head->n_places; i++) {
        n += head->cell_bytes[i];
    }
    return n;
}

/// Making cells again costs a part of a pass: not for a file that gets little smaller.
static void choose_form(const hsd_session *s, hsd_park_as as, hsdi_parked *head)
{
    hsdi_parked inputs = *head;
    describe_cells(s, HSDI_PARKED_CELLS, head);
    describe_cells(s, HSDI_PARKED_INPUTS, &inputs);
    if (as == HSD_PARK_INPUTS ||
        (as == HSD_PARK_SMALLER && 4 * cell_bytes(&inputs) <= 3 * cell_bytes(head))) {
        *head = inputs;
    }
}

static void describe_engine(const hsd_session *s, hsdi_parked *head)
{
    const hsd_engine *e = s->engine;
    head->fingerprint = hsdi_gguf_fingerprint(e->target.model->gguf);
    head->vocab_hash = e->drafts.vocab_hash;
    head->n_vocab = e->target.model->n_vocab;
}

/// Cells of the text to be parked.
typedef struct source {
    hsdi_passes *passes;
    hsdi_inputs *inputs; ///< NULL: the cells themselves
    const int32_t *tokens, *cells;
    hsdi_draft_cells draft;
} source;

static hsd_status read_cells(void *user, hsdi_parked_part part, int first, int n, void *out,
                             hsd_error *err)
{
    const source *from = user;
    const hsdi_inputs_text text = {from->tokens, from->cells, first, n};
    return part == HSDI_PARKED_DRAFT ? hsdi_draft_cells_read(&from->draft, first, n, out, err)
           : from->inputs            ? hsdi_inputs_read(from->inputs, &text, out, err)
                          : hsdi_passes_read(from->passes, from->cells + first, n, out, err);
}

/// Prompt and output [*n]. Owned by the caller.
static int32_t *text_of(const hsd_session *s, int *n)
{
    *n = s->n_prompt + s->n_tokens;
    int32_t *text = malloc((size_t)*n * sizeof *text);
    if (text) {
        memcpy(text, s->prompt, (size_t)s->n_prompt * sizeof *text);
        memcpy(text + s->n_prompt, s->tokens, (size_t)s->n_tokens * sizeof *text);
    }
    return text;
}

static hsd_status park(hsd_session *s, const char *path, const hsd_park_options *how,
                       hsd_error *err)
{
    hsdi_parked head = {.sampling = s->options.sampling, .ignore_eos = s->options.ignore_eos};
    source from = {.passes = hsdi_target_stage_passes(&s->stage)};
    describe_engine(s, &head);
    choose_form(s, how->as, &head);
    int32_t *text = text_of(s, &head.n_tokens);
    if (!text) {
        return hsdi_fail(err, HSD_ENOMEM, "session", "%d tokens", head.n_tokens);
    }
    int n_trunk = hsdi_target_trunk(s->target, &from.tokens, &from.cells);
    while (head.n_cells < n_trunk && head.n_cells < head.n_tokens - 1 &&
           from.tokens[head.n_cells] == text[head.n_cells]) {
        head.n_cells++;
    }
    hsd_status status = head.form == HSDI_PARKED_INPUTS
                            ? hsdi_inputs_open(from.passes, false, &from.inputs, err)
                            : HSD_OK;
    if (status == HSD_OK && how->with_draft) {
        status = hsdi_draft_cells_find(s, text, head.n_tokens - 1, &from.draft, err);
        hsdi_draft_cells_describe(&from.draft, &head.draft);
    }
    if (status == HSD_OK) {
        status = hsdi_parked_write(path, &head, text, read_cells, &from, err);
    }
    hsdi_draft_cells_drop(&from.draft);
    hsdi_inputs_close(&from.inputs);
    free(text);
    return status;
}

void hsd_park_options_init(hsd_park_options *options)
{
    *options = (hsd_park_options){.as = HSD_PARK_CELLS, .with_draft = true};
}

hsd_status hsd_session_park(hsd_session *session, const char *path, hsd_error *err)
{
    hsd_park_options options;
    hsd_park_options_init(&options);
    return hsd_session_park_with(session, path, &options, err);
}

hsd_status hsd_session_park_with(hsd_session *s, const char *path, const hsd_park_options *options,
                                 hsd_error *err)
{
    if (!s || !path || !options) {
        return hsdi_fail(err, HSD_EINVAL, "path", "session, path and options are required");
    }
    if ((unsigned)options->as >= HSD_N_PARK_AS) {
        return hsdi_fail(err, HSD_EINVAL, "park_as", "%d", (int)options->as);
    }
    pthread_mutex_lock(&s->lock);
    hsdi_session_settle(s);
    hsd_status status = check_text(s, err);
    if (status == HSD_OK) {
        status = park(s, path, options, err);
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
    describe_cells(s, head->form, &own);
    if (strcmp(own.kind, head->kind) != 0 || own.n_places != head->n_places ||
        memcmp(own.cell_bytes, head->cell_bytes, sizeof own.cell_bytes) != 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, path,
                         "its cells are of another kind: %.80s, and here they are %.80s",
                         head->kind, own.kind);
    }
    return HSD_OK;
}

/// Where the file's cells go.
typedef struct sink {
    hsdi_passes *passes;
    hsdi_inputs *inputs; ///< NULL: the file has the cells themselves
    hsdi_draft_cells draft;
    const int32_t *tokens, *cells;
} sink;

static hsd_status write_cells(const sink *to, hsdi_parked_part part, int first, int n,
                              const void *bytes, hsd_error *err)
{
    const hsdi_inputs_text text = {to->tokens, to->cells, first, n};
    return part == HSDI_PARKED_DRAFT ? hsdi_draft_cells_write(&to->draft, first, n, bytes, err)
           : to->inputs              ? hsdi_inputs_write(to->inputs, &text, bytes, err)
                        : hsdi_passes_write(to->passes, to->cells + first, n, bytes, err);
}

static bool is_same_draft(const hsdi_parked_draft *a, const hsdi_parked_draft *b)
{
    return a->fingerprint == b->fingerprint && a->kind_sum == b->kind_sum &&
           a->cell_bytes == b->cell_bytes && a->n_cells == b->n_cells;
}

/// Places for the draft's cells, where the file has some of this draft and of this kind.
static hsd_status open_draft(hsd_session *s, const char *path, const hsdi_parked *head, sink *to,
                             hsd_error *err)
{
    hsdi_parked_draft own;
    hsd_status status = hsdi_draft_cells_make(s, head->draft.n_cells, &to->draft, err);
    hsdi_draft_cells_describe(&to->draft, &own);
    if (own.n_cells > 0 && !is_same_draft(&own, &head->draft)) {
        hsdi_logf(&s->engine->log, HSDI_LOG_INFO,
                  "%s: its draft's cells are those of another draft; this one reads the text anew",
                  path);
        hsdi_draft_cells_drop(&to->draft);
    }
    return status;
}

/// The file's cells, or those that are made from what it has, become those of a text.
static hsd_status take_cells(hsd_session *s, const char *path, hsdi_parked_file *file, sink *to,
                             hsd_error *err)
{
    hsd_status status = HSD_OK;
    if (hsdi_parked_head(file)->form == HSDI_PARKED_INPUTS) {
        status = hsdi_inputs_open(to->passes, true, &to->inputs, err);
    }
    if (status == HSD_OK) {
        status = open_draft(s, path, hsdi_parked_head(file), to, err);
    }
    while (status == HSD_OK) {
        const void *bytes;
        hsdi_parked_part part;
        int first, n;
        status = hsdi_parked_next(file, &part, &first, &n, &bytes, err);
        if (status == HSD_OK && (part == HSDI_PARKED_TARGET || to->draft.text.n > 0)) {
            status = write_cells(to, part, first, n, bytes, err);
        }
    }
    if (status == HSD_EEND && to->draft.text.n > 0) {
        hsdi_draft_cells_keep(&to->draft, to->tokens);
    }
    hsdi_draft_cells_drop(&to->draft);
    hsdi_inputs_close(&to->inputs);
    return status == HSD_EEND ? HSD_OK : status;
}

/// Text and cells of the file become the session's, as if it had just generated them.
static hsd_status take(hsd_session *s, const char *path, hsdi_parked_file *file, hsd_error *err)
{
    const hsdi_parked *head = hsdi_parked_head(file);
    const int32_t *ignored;
    sink to = {.passes = hsdi_target_stage_passes(&s->stage), .tokens = hsdi_parked_tokens(file)};
    hsd_status status = check_cells(s, path, head, err);
    if (status == HSD_OK) {
        status = hsdi_target_begin(s->target, to.tokens, head->n_cells, err);
    }
    if (status == HSD_OK) {
        (void)hsdi_target_trunk(s->target, &ignored, &to.cells);
        status = take_cells(s, path, file, &to, err);
    }
    if (status == HSD_OK) {
        memcpy(s->prompt, to.tokens, (size_t)head->n_tokens * sizeof *s->prompt);
        s->n_prompt = head->n_tokens;
        s->phase = PHASE_DONE;
    }
    return status;
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
