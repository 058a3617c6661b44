/// See passes.h.
///
/// A pass is a list of pieces: ranges of layers that lie on one device and on one side of the exit.
/// Pieces on one device share its cache and its seat in the combiner.
#include "engine/passes.h"

#include "base/error.h"
#include "engine/cells.h"

#include <stdlib.h>
#include <string.h>

enum { PLACES_MAX = HSDI_SLAB_PLACES, PIECES_MAX = PLACES_MAX + 1 };

/// A device with some of the layers.
typedef struct place {
    hsdi_runner *runner;
    hsdi_seat *seat;
    hsdi_cache *cache;        ///< a slab's, or its own
    hsdi_graph *fill, *whole; ///< all its layers, the second with what follows them
    int n_threads, n_alone;
    int first, last; ///< its pieces
} place;

typedef struct piece {
    int begin, end;
    place *place;
    hsdi_graph *graph;
    hsdi_buffer *in;  ///< hidden rows; not owned where the piece before is on the same device
    hsdi_buffer *out; ///< hidden rows, or logits of the last piece
} piece;

struct hsdi_passes {
    const hsdi_model *model;
    int n_places, n_pieces;
    int n_prefix; ///< pieces before the exit; 0: there is none
    place places[PLACES_MAX];
    piece pieces[PIECES_MAX];
    int n_cells; ///< that it can come to need
    bool owns_caches;
    hsdi_graph *exit_head; ///< on the last place
    hsdi_buffer *exit_in;  ///< hidden rows there, where the piece behind the exit is elsewhere
    hsdi_buffer *exit_out;
    hsdi_listing listing, exit_listing;
};

static place *last_place(hsdi_passes *p)
{
    return &p->places[p->n_places - 1];
}

static hsd_status find_places(hsdi_passes *p, hsdi_runner *first, const hsdi_passes_options *o,
                              hsd_error *err)
{
    int end = 0;
    for (hsdi_runner *r = first; r; r = r->next) {
        if (p->n_places == PLACES_MAX) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, "layers", "on more than %d devices",
                             (int)PLACES_MAX);
        }
        if (hsdi_weights_begin(r->weights) != end) {
            return hsdi_fail(err, HSD_EINVAL, "layers", "layer %d is on no device", end);
        }
        end = hsdi_weights_end(r->weights);
        place *at = &p->places[p->n_places++];
        *at = (place){.runner = r};
        if (r == first) {
            at->n_threads = o->n_threads;
            at->n_alone = o->n_alone;
        }
    }
    if (end != p->model->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "layers", "layer %d is on no device", end);
    }
    return HSD_OK;
}

/// Cut the layers of each place at the exit.
static void find_pieces(hsdi_passes *p, int exit_layer)
{
    for (int i = 0; i < p->n_places; i++) {
        place *at = &p->places[i];
        int begin = hsdi_weights_begin(at->runner->weights);
        int end = hsdi_weights_end(at->runner->weights);
        at->first = p->n_pieces;
        if (begin < exit_layer && exit_layer < end) {
            p->pieces[p->n_pieces++] = (piece){.begin = begin, .end = exit_layer, .place = at};
            begin = exit_layer;
        }
        at->last = p->n_pieces;
        p->pieces[p->n_pieces++] = (piece){.begin = begin, .end = end, .place = at};
    }
    while (p->n_prefix < p->n_pieces && p->pieces[p->n_prefix].end <= exit_layer) {
        p->n_prefix++;
    }
}

static hsdi_graph_range range_of(const place *at, int begin, int end)
{
    return (hsdi_graph_range){.begin = begin,
                              .end = end,
                              .from_tokens = begin == 0,
                              .n_rows_max = HSDI_STAGE_ROWS,
                              .n_ctx = at->runner->n_ctx};
}

/// Ends with the LM head, and with a list where one does.
static void add_head(hsdi_graph_range *range, hsdi_listing listing, bool with_sum)
{
    range->head = true;
    range->n_list = listing.n;
    range->drawn = listing.drawn;
    range->with_sum = listing.n > 0 && with_sum;
}

/// Columns behind the head.
static int head_width(const hsdi_passes *p, hsdi_listing listing, bool with_sum)
{
    return listing.n == 0  ? p->model->n_vocab
           : listing.drawn ? hsdi_draw_width(listing.n, with_sum)
                           : hsdi_top_width(listing.n, with_sum);
}

static hsd_status rows_on(const place *at, int width, hsdi_buffer **out, hsd_error *err)
{
    return hsdi_buffer_create(at->runner->device, HSDI_STAGE_ROWS, width, out, err);
}

static hsd_status open_piece(hsdi_passes *p, int i, hsd_error *err)
{
    const hsdi_model *m = p->model;
    piece *now = &p->pieces[i];
    bool is_last = i == p->n_pieces - 1;
    hsdi_graph_range range = range_of(now->place, now->begin, now->end);
    if (is_last) {
        add_head(&range, p->listing, false);
    }
    hsd_status status = hsdi_runner_graph(now->place->runner, range, &now->graph, err);
    if (status == HSD_OK) {
        status = rows_on(now->place, is_last ? head_width(p, p->listing, false) : m->n_embd,
                         &now->out, err);
    }
    if (status == HSD_OK && i > 0) {
        if (now[-1].place == now->place) {
            now->in = now[-1].out;
        } else {
            status = rows_on(now->place, m->n_embd, &now->in, err);
        }
    }
    return status;
}

static hsd_status open_place(hsdi_passes *p, place *at, const hsdi_passes_options *o,
                             hsd_error *err)
{
    const hsdi_model *m = p->model;
    const hsdi_weights *weights = at->runner->weights;
    int begin = hsdi_weights_begin(weights), end = hsdi_weights_end(weights);
    hsdi_graph_range whole = range_of(at, begin, end), fill = whole;
    if (end == m->n_layers) {
        fill.fill_only = true;
        add_head(&whole, p->listing, false);
    }
    hsd_status status = hsdi_seat_take(&at->runner->combiner, o->is_steady, &at->seat, err);
    if (status == HSD_OK && o->slab) {
        at->cache = o->slab->caches[at - p->places];
    } else if (status == HSD_OK) {
        const hsdi_cache_desc cells = hsdi_runner_cells(at->runner, end, o->n_cells);
        status = hsdi_cache_create(at->runner->device, &cells, &at->cache, err);
    }
    if (status == HSD_OK) {
        status = hsdi_runner_graph(at->runner, fill, &at->fill, err);
    }
    return status == HSD_OK ? hsdi_runner_graph(at->runner, whole, &at->whole, err) : status;
}

static hsd_status open_exit(hsdi_passes *p, int exit_layer, hsd_error *err)
{
    const place *at = last_place(p);
    hsdi_graph_range head = range_of(at, exit_layer, exit_layer);
    add_head(&head, p->exit_listing, true);
    hsd_status status = hsdi_runner_graph(at->runner, head, &p->exit_head, err);
    if (status == HSD_OK) {
        status = rows_on(at, head_width(p, p->exit_listing, true), &p->exit_out, err);
    }
    if (status == HSD_OK && p->pieces[p->n_prefix].place != at) {
        status = rows_on(at, p->model->n_embd, &p->exit_in, err);
    }
    return status;
}

static hsd_status open_all(hsdi_passes *p, hsdi_runner *first, const hsdi_passes_options *o,
                           hsd_error *err)
{
    hsd_status status = find_places(p, first, o, err);
    if (status == HSD_OK) {
        find_pieces(p, o->exit_layer);
        if (hsdi_device_get_info(last_place(p)->runner->device)->prefers_top) {
            p->listing = o->listing;
            p->exit_listing = o->exit_listing;
        }
    }
    for (int i = 0; i < p->n_places && status == HSD_OK; i++) {
        status = open_place(p, &p->places[i], o, err);
    }
    for (int i = 0; i < p->n_pieces && status == HSD_OK; i++) {
        status = open_piece(p, i, err);
    }
    return status == HSD_OK && o->exit_layer > 0 ? open_exit(p, o->exit_layer, err) : status;
}

hsd_status hsdi_passes_open(hsdi_runner *first, const hsdi_passes_options *options,
                            hsdi_passes **out, hsd_error *err)
{
    const hsdi_model *m = hsdi_weights_model(first->weights);
    if (options->exit_layer < 0 || options->exit_layer >= m->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "exit_layer", "%d is not between 1 and %d",
                         options->exit_layer, m->n_layers - 1);
    }
    hsdi_passes *p = calloc(1, sizeof *p);
    if (!p) {
        return hsdi_fail(err, HSD_ENOMEM, "passes", "%d layers", m->n_layers);
    }
    p->model = m;
    p->n_cells = options->n_cells;
    p->owns_caches = !options->slab;
    hsd_status status = open_all(p, first, options, err);
    if (status != HSD_OK) {
        hsdi_passes_close(&p);
        return status;
    }
    *out = p;
    return HSD_OK;
}

/// What depends on where passes are cut.
static void close_pieces(hsdi_passes *p)
{
    for (int i = 0; i < p->n_pieces; i++) {
        piece *now = &p->pieces[i];
        if (i > 0 && now[-1].place != now->place) {
            hsdi_buffer_destroy(&now->in);
        }
    }
    for (int i = 0; i < p->n_pieces; i++) {
        hsdi_buffer_destroy(&p->pieces[i].out);
    }
    hsdi_buffer_destroy(&p->exit_in);
    hsdi_buffer_destroy(&p->exit_out);
}

void hsdi_passes_close(hsdi_passes **passes)
{
    hsdi_passes *p = *passes;
    if (!p) {
        return;
    }
    close_pieces(p);
    for (int i = 0; i < p->n_places; i++) {
        place *at = &p->places[i];
        hsdi_seat_leave(&at->runner->combiner, &at->seat);
        if (p->owns_caches) {
            hsdi_cache_destroy(&at->cache);
        }
    }
    free(p);
    *passes = NULL;
}

hsd_status hsdi_passes_cut(hsdi_passes *p, int exit_layer, hsd_error *err)
{
    if (!p->exit_head || exit_layer < 1 || exit_layer >= p->model->n_layers) {
        return hsdi_fail(err, HSD_EINVAL, "exit_layer", "%d is not between 1 and %d", exit_layer,
                         p->exit_head ? p->model->n_layers - 1 : 0);
    }
    hsdi_passes *old = malloc(sizeof *old);
    if (!old) {
        return hsdi_fail(err, HSD_ENOMEM, "passes", "%d layers", p->model->n_layers);
    }
    *old = *p;
    memset(p->pieces, 0, sizeof p->pieces);
    p->n_pieces = p->n_prefix = 0;
    p->exit_in = p->exit_out = NULL;
    find_pieces(p, exit_layer);
    hsd_status status = HSD_OK;
    for (int i = 0; i < p->n_pieces && status == HSD_OK; i++) {
        status = open_piece(p, i, err);
    }
    if (status == HSD_OK) {
        status = open_exit(p, exit_layer, err);
    }
    close_pieces(status == HSD_OK ? old : p);
    if (status != HSD_OK) {
        *p = *old;
    }
    free(old);
    return status;
}

static hsd_status submit(const place *at, hsdi_graph *graph, const hsdi_job *rows, int n_threads,
                         hsdi_buffer *in, hsdi_buffer *out, hsd_error *err)
{
    hsdi_job job = *rows;
    job.n_threads = n_threads;
    job.cache = at->cache;
    job.in = in;
    job.out = out;
    return hsdi_combiner_run(&at->runner->combiner, at->seat, graph, &job, err);
}

static void copy_rows(const hsdi_passes *p, hsdi_buffer *from, hsdi_buffer *to, int n_rows)
{
    memcpy(hsdi_buffer_map(to), hsdi_buffer_map(from),
           (size_t)n_rows * (size_t)p->model->n_embd * sizeof(float));
}

/// Hidden rows behind piece i go to the device of the next one.
static void pass_on(hsdi_passes *p, int i, int n_rows)
{
    if (i + 1 < p->n_pieces && p->pieces[i].place != p->pieces[i + 1].place) {
        copy_rows(p, p->pieces[i].out, p->pieces[i + 1].in, n_rows);
    }
}

static hsd_status run(hsdi_passes *p, int first, int end, const hsdi_job *rows, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = first; i < end && status == HSD_OK; i++) {
        const piece *now = &p->pieces[i];
        status =
            submit(now->place, now->graph, rows, now->place->n_threads, now->in, now->out, err);
        pass_on(p, i, rows->n_rows);
    }
    return status;
}

int hsdi_passes_places(const hsdi_passes *p, size_t *cell_bytes)
{
    for (int i = 0; i < p->n_places; i++) {
        cell_bytes[i] = hsdi_cache_bytes_per_cell(p->places[i].cache);
    }
    return p->n_places;
}

int hsdi_passes_n_places(const hsdi_passes *p)
{
    return p->n_places;
}

hsdi_passes_place hsdi_passes_place_at(const hsdi_passes *p, int i)
{
    const place *at = &p->places[i];
    return (hsdi_passes_place){at->runner, at->seat, at->cache, at->n_alone};
}

void hsdi_passes_kind(const hsdi_passes *p, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; i < p->n_places && n + 2 < cap; i++) {
        if (i > 0) {
            memcpy(out + n, "; ", 3);
            n += 2;
        }
        hsdi_cache_describe(p->places[i].cache, out + n, cap - n);
        n += strlen(out + n);
    }
}

/// Neighbours from the i-th cell on.
static int run_of(const int32_t *cells, int i, int n)
{
    int end = i + 1;
    while (end < n && cells[end] == cells[end - 1] + 1) {
        end++;
    }
    return end - i;
}

hsd_status hsdi_passes_read(hsdi_passes *p, const int32_t *cells, int n, void *out, hsd_error *err)
{
    hsd_status status = HSD_OK;
    char *to = out;
    for (int k = 0; k < p->n_places; k++) {
        const place *at = &p->places[k];
        for (int i = 0, n_run; i < n && status == HSD_OK; i += n_run) {
            n_run = run_of(cells, i, n);
            status = hsdi_cache_read(at->runner->device, at->cache, cells[i], n_run, to, err);
            to += (size_t)n_run * hsdi_cache_bytes_per_cell(at->cache);
        }
    }
    return status;
}

hsd_status hsdi_passes_write(hsdi_passes *p, const int32_t *cells, int n, const void *bytes,
                             hsd_error *err)
{
    hsd_status status = HSD_OK;
    const char *from = bytes;
    for (int k = 0; k < p->n_places; k++) {
        const place *at = &p->places[k];
        for (int i = 0, n_run; i < n && status == HSD_OK; i += n_run) {
            n_run = run_of(cells, i, n);
            status = hsdi_cache_write(at->runner->device, at->cache, cells[i], n_run, from, err);
            from += (size_t)n_run * hsdi_cache_bytes_per_cell(at->cache);
        }
    }
    return status;
}

bool hsdi_passes_draw(const hsdi_passes *p)
{
    return p->listing.drawn || p->exit_listing.drawn;
}

hsd_status hsdi_passes_fill(hsdi_passes *p, const hsdi_job *rows, bool is_alone, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < p->n_places && status == HSD_OK; i++) {
        const place *at = &p->places[i];
        bool is_last = at == last_place(p);
        status = submit(at, at->fill, rows, is_alone ? at->n_alone : at->n_threads,
                        p->pieces[at->first].in, is_last ? NULL : p->pieces[at->last].out, err);
        pass_on(p, at->last, rows->n_rows);
    }
    return status;
}

hsd_status hsdi_passes_prefix(hsdi_passes *p, const hsdi_job *rows, hsd_error *err)
{
    return run(p, 0, p->n_prefix, rows, err);
}

hsd_status hsdi_passes_exit(hsdi_passes *p, const hsdi_job *rows, hsdi_passes_rows *out,
                            hsd_error *err)
{
    hsdi_buffer *in = p->pieces[p->n_prefix].in;
    if (p->exit_in) {
        copy_rows(p, in, p->exit_in, rows->n_rows);
        in = p->exit_in;
    }
    *out = (hsdi_passes_rows){.rows = hsdi_buffer_map(p->exit_out),
                              .width = head_width(p, p->exit_listing, true),
                              .listing = p->exit_listing};
    return submit(last_place(p), p->exit_head, rows, last_place(p)->n_threads, in, p->exit_out,
                  err);
}

hsd_status hsdi_passes_suffix(hsdi_passes *p, const hsdi_job *rows, hsd_error *err)
{
    return run(p, p->n_prefix, p->n_pieces, rows, err);
}

hsd_status hsdi_passes_whole(hsdi_passes *p, const hsdi_job *rows, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < p->n_places && status == HSD_OK; i++) {
        const place *at = &p->places[i];
        status = submit(at, at->whole, rows, at->n_alone, p->pieces[at->first].in,
                        p->pieces[at->last].out, err);
        pass_on(p, at->last, rows->n_rows);
    }
    return status;
}

hsd_status hsdi_passes_randomise(hsdi_passes *p, int n_cells, hsd_error *err)
{
    hsd_status status = HSD_OK;
    for (int i = 0; i < p->n_places && status == HSD_OK; i++) {
        const hsdi_runner *runner = p->places[i].runner;
        int begin = hsdi_weights_begin(runner->weights);
        status =
            hsdi_cells_fill(runner->device, p->model, hsdi_weights_layouts(runner->weights) + begin,
                            hsdi_weights_end(runner->weights) - begin, runner->cache_type,
                            p->places[i].cache, n_cells, err);
    }
    return status;
}

size_t hsdi_passes_cache_bytes(const hsdi_passes *p)
{
    size_t n = 0;
    for (int i = 0; i < p->n_places; i++) {
        n += (size_t)p->n_cells * hsdi_cache_bytes_per_cell(p->places[i].cache);
    }
    return n;
}

hsdi_passes_rows hsdi_passes_result(const hsdi_passes *p)
{
    return (hsdi_passes_rows){.rows = hsdi_buffer_map(p->pieces[p->n_pieces - 1].out),
                              .width = head_width(p, p->listing, false),
                              .listing = p->listing};
}
