/// See inputs.h.
#include "engine/inputs.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
    hsdi_passes_place on;
    size_t n_bytes; ///< of a token's rows here
    hsdi_graph *graph;
    hsdi_buffer *in, *out;
} place;

struct hsdi_inputs {
    int n_places, n_embd;
    place places[HSDI_SLAB_PLACES];
    int32_t pos[HSDI_STAGE_ROWS], n_path[HSDI_STAGE_ROWS];
    int32_t path[HSDI_STAGE_ROWS * HSDI_STAGE_ROWS];
};

static int begin_of(const hsdi_passes_place *at)
{
    return hsdi_weights_begin(at->runner->weights);
}

static int end_of(const hsdi_passes_place *at)
{
    return hsdi_weights_end(at->runner->weights);
}

static size_t row_bytes(const hsdi_passes_place *at)
{
    int n = hsdi_graph_inputs(begin_of(at), end_of(at));
    return (size_t)n * (size_t)hsdi_weights_model(at->runner->weights)->n_embd * sizeof(float);
}

int hsdi_inputs_places(const hsdi_passes *passes, size_t *n_bytes)
{
    int n = hsdi_passes_n_places(passes);
    for (int i = 0; i < n; i++) {
        const hsdi_passes_place at = hsdi_passes_place_at(passes, i);
        n_bytes[i] = row_bytes(&at);
    }
    return n;
}

/// Rows of `width` numbers; none where that is 0.
static hsd_status make_rows(const place *at, int width, hsdi_buffer **out, hsd_error *err)
{
    return width == 0 ? HSD_OK
                      : hsdi_buffer_create(at->on.runner->device, HSDI_STAGE_ROWS, width, out, err);
}

static hsd_status open_place(hsdi_inputs *x, place *at, bool to_cells, bool is_last, hsd_error *err)
{
    int n_wide = (int)(at->n_bytes / sizeof(float)), begin = begin_of(&at->on);
    const hsdi_graph_range range = {.what = to_cells ? HSDI_GRAPH_CELLS : HSDI_GRAPH_INPUTS,
                                    .begin = begin,
                                    .end = end_of(&at->on),
                                    .from_tokens = begin == 0,
                                    .n_rows_max = HSDI_STAGE_ROWS,
                                    .n_ctx = at->on.runner->n_ctx};
    if (!to_cells && is_last && n_wide == 0) {
        return HSD_OK; // a model of one layer: its token says all
    }
    hsd_status status = hsdi_runner_graph(at->on.runner, range, &at->graph, err);
    if (status == HSD_OK) {
        status = make_rows(at, to_cells ? n_wide : begin == 0 ? 0 : x->n_embd, &at->in, err);
    }
    if (status == HSD_OK && !to_cells) {
        status = make_rows(at, n_wide + (is_last ? 0 : x->n_embd), &at->out, err);
    }
    return status;
}

hsd_status hsdi_inputs_open(hsdi_passes *passes, bool to_cells, hsdi_inputs **out, hsd_error *err)
{
    hsdi_inputs *x = calloc(1, sizeof *x);
    if (!x) {
        return hsdi_fail(err, HSD_ENOMEM, "inputs", "rows of layers");
    }
    x->n_places = hsdi_passes_n_places(passes);
    hsd_status status = HSD_OK;
    for (int i = 0; i < x->n_places && status == HSD_OK; i++) {
        place *at = &x->places[i];
        at->on = hsdi_passes_place_at(passes, i);
        at->n_bytes = row_bytes(&at->on);
        x->n_embd = hsdi_weights_model(at->on.runner->weights)->n_embd;
        status = open_place(x, at, to_cells, i == x->n_places - 1, err);
    }
    if (status != HSD_OK) {
        hsdi_inputs_close(&x);
        return status;
    }
    *out = x;
    return HSD_OK;
}

void hsdi_inputs_close(hsdi_inputs **inputs)
{
    hsdi_inputs *x = *inputs;
    for (int i = 0; x && i < x->n_places; i++) {
        hsdi_buffer_destroy(&x->places[i].in);
        hsdi_buffer_destroy(&x->places[i].out);
    }
    free(x);
    *inputs = NULL;
}

/// Rows that attend to the text before them. The trunk is what lies before the first.
static hsdi_job job_of(hsdi_inputs *x, const hsdi_inputs_text *text)
{
    for (int r = 0; r < text->n; r++) {
        x->pos[r] = text->first + r;
        x->n_path[r] = r + 1;
        memcpy(x->path + (size_t)r * (size_t)text->n, text->cells + text->first,
               (size_t)(r + 1) * sizeof *x->path);
    }
    return (hsdi_job){.n_rows = text->n,
                      .tokens = text->tokens + text->first,
                      .pos = x->pos,
                      .cell = text->cells + text->first,
                      .trunk = text->cells,
                      .n_trunk = text->first,
                      .path = x->path,
                      .n_path = x->n_path,
                      .path_stride = text->n};
}

static hsd_status submit(const place *at, const hsdi_job *rows, hsd_error *err)
{
    hsdi_job job = *rows;
    job.n_threads = at->on.n_threads;
    job.cache = at->on.cache;
    job.in = at->in;
    job.out = at->out;
    return hsdi_combiner_run(&at->on.runner->combiner, at->on.seat, at->graph, &job, err);
}

/// Rows of `out` are the inputs at a place, and the hidden row that the next one goes on with.
static void take_rows(const hsdi_inputs *x, const place *at, place *next, int n_rows, char *to)
{
    const char *from = (const char *)hsdi_buffer_map(at->out);
    size_t hidden = next ? (size_t)x->n_embd * sizeof(float) : 0;
    char *on = next ? (char *)hsdi_buffer_map(next->in) : NULL;
    for (int r = 0; r < n_rows; r++, from += at->n_bytes + hidden) {
        memcpy(to + (size_t)r * at->n_bytes, from, at->n_bytes);
        if (on) {
            memcpy(on + (size_t)r * hidden, from + at->n_bytes, hidden);
        }
    }
}

hsd_status hsdi_inputs_read(hsdi_inputs *x, const hsdi_inputs_text *text, void *out, hsd_error *err)
{
    const hsdi_job job = job_of(x, text);
    hsd_status status = HSD_OK;
    char *to = out;
    for (int i = 0; i < x->n_places && status == HSD_OK; i++) {
        place *at = &x->places[i];
        if (!at->graph) {
            continue;
        }
        status = submit(at, &job, err);
        if (status == HSD_OK) {
            take_rows(x, at, i + 1 < x->n_places ? at + 1 : NULL, text->n, to);
        }
        to += at->n_bytes * (size_t)text->n;
    }
    return status;
}

hsd_status hsdi_inputs_write(hsdi_inputs *x, const hsdi_inputs_text *text, const void *bytes,
                             hsd_error *err)
{
    const hsdi_job job = job_of(x, text);
    hsd_status status = HSD_OK;
    const char *from = bytes;
    for (int i = 0; i < x->n_places && status == HSD_OK; i++) {
        place *at = &x->places[i];
        size_t n = at->n_bytes * (size_t)text->n;
        if (n > 0) {
            memcpy(hsdi_buffer_map(at->in), from, n);
            from += n;
        }
        status = submit(at, &job, err);
    }
    return status;
}
