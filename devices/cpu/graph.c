/// Graphs on the CPU: a flat list of kernel calls with barriers where rows meet.
///
/// Operations that touch one row at a time are split by rows in one fixed way, so that a run of
/// them needs no barrier inside. A product is split by output channels, attention by heads and
/// rows.
#include "base/arena.h"
#include "base/error.h"
#include "devices/cpu/context.h"
#include "devices/host_buffer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/// Below this many elements every thread prepares all rows for itself: cheaper than a barrier.
enum { PRIVATE_PREP_MAX = 4096, MAX_ACTS = HSDI_GRAPH_MAX_PARTS };

typedef struct step {
    hsdi_op op;
    int n_in;             ///< MATMUL: elements per prepared row
    int act_of[MAX_ACTS]; ///< MATMUL: which prepared copy each part reads
    hsdi_type act_type[MAX_ACTS];
    size_t act_bytes[MAX_ACTS];
    int n_acts;
    int n_groups; ///< MATMUL: output groups of all parts
    bool aliased; ///< MATMUL: y may overlap x
} step;

typedef struct cpu_graph {
    struct hsdi_graph base;
    hsdi_arena arena;
    int n_steps;
    step *steps;
    int n_values;
    const int *width; ///< [n_values]
    float **value;    ///< [n_values] -> [n_rows_max, width]
    hsdi_heads heads;
    float *rope_table;   ///< [n_ctx, n_rot]: cos, then sin
    float *rope_rows;    ///< [n_rows_max, n_rot] of this job
    size_t act_stride;   ///< bytes of one prepared copy of all rows
    char *acts;          ///< [MAX_ACTS] shared prepared rows
    char **private_acts; ///< [n_threads] -> prepared rows of one thread
    size_t private_stride;
    size_t head_act_bytes; ///< prepared rows of one head, of the largest HEADS
    char **head_acts;      ///< [n_threads] -> those
    float **row_tmp;       ///< [n_threads] -> one row before a product
    void **attn_tmp;       ///< [n_threads]
} cpu_graph;

typedef struct run {
    cpu_graph *g;
    const hsdi_job *jobs;
    int n_jobs, n_rows;
    float *in, *out; ///< external rows of all jobs, one behind the other
    const hsdi_kernels *k;
    hsdi_cpu_pool *pool;
} run;

/// The rows of one job among some rows of a submission.
typedef struct piece {
    const hsdi_job *job;
    int first;      ///< row of the submission that is row 0 of the job
    int begin, end; ///< rows of the job
} piece;

/// The next job with rows in [begin, end) of the submission; starts from a zeroed piece.
static bool next_piece(const run *r, int begin, int end, piece *p)
{
    const hsdi_job *job = p->job ? p->job + 1 : r->jobs, *last = r->jobs + r->n_jobs;
    int first = p->job ? p->first + p->job->n_rows : 0;
    while (job < last && first + job->n_rows <= begin) {
        first += job->n_rows;
        job++;
    }
    if (job == last || first >= end || begin >= end) {
        return false;
    }
    p->job = job;
    p->first = first;
    p->begin = begin > first ? begin - first : 0;
    p->end = end - first < job->n_rows ? end - first : job->n_rows;
    return true;
}

static const hsdi_cpu_weight *cpu_weight(const struct hsdi_weight *w)
{
    return (const hsdi_cpu_weight *)w;
}

/// First element of a view and the distance between its rows.
static float *view_base(const run *r, const hsdi_view *v, int *stride)
{
    float *base;
    if (v->value == HSDI_VALUE_IN) {
        base = r->in;
        *stride = r->g->base.in_width;
    } else if (v->value == HSDI_VALUE_OUT) {
        base = r->out;
        *stride = r->g->base.out_width;
    } else {
        base = r->g->value[v->value];
        *stride = r->g->width[v->value];
    }
    return base + v->offset;
}

static void split(int n, int i_thread, int n_threads, int *begin, int *end)
{
    *begin = (int)((int64_t)n * i_thread / n_threads);
    *end = (int)((int64_t)n * (i_thread + 1) / n_threads);
}

static void embed_rows(const run *r, const step *s, int begin, int end, float *tmp)
{
    const hsdi_cpu_weight *w = cpu_weight(s->op.parts[0].w);
    int stride;
    float *y = view_base(r, &s->op.y, &stride);
    bool add = s->op.kind == HSDI_OP_EMBED_POS;
    for (piece p = {0}; next_piece(r, begin, end, &p);) {
        const int32_t *index = add ? p.job->pos : p.job->tokens;
        for (int i = p.begin; i < p.end; i++) {
            float *row = y + (int64_t)(p.first + i) * stride;
            const char *src = (const char *)w->rows + index[i] * w->row_bytes;
            hsdi_dequant_row(w->base.type, src, w->base.n_in, add ? tmp : row);
            if (add) {
                r->k->add(tmp, s->op.y.width, 1, s->op.y.width, row, stride);
            }
        }
    }
}

static void head_norm_rows(const run *r, const step *s, int begin, int end)
{
    int stride;
    int d = r->g->heads.d_head;
    float *y = view_base(r, &s->op.y, &stride);
    for (int i = begin; i < end; i++) {
        float *row = y + (int64_t)i * stride;
        r->k->rms_norm(row, d, cpu_weight(s->op.norm_w)->vector, s->op.eps, s->op.n_head, d, row,
                       d);
    }
}

static void rope_rows(const run *r, const step *s, int begin, int end)
{
    const hsdi_heads *h = &r->g->heads;
    hsdi_rope rope = {.n_head = s->op.n_head,
                      .d_head = h->d_head,
                      .n_rot = h->n_rot,
                      .neox = h->neox,
                      .cos_sin = r->g->rope_rows};
    rope.x = view_base(r, &s->op.y, &rope.x_stride);
    r->k->rope(&rope, begin, end);
}

/// Heads as a step sees them: those of the graph, or a layer's input, which is the one key and
/// value of all.
typedef struct heads {
    int n_head, n_kv, d_head;
} heads;

static heads heads_of(const run *r, const step *s)
{
    const hsdi_heads *h = &r->g->heads;
    if (s->op.layout == HSDI_LAYOUT_KV) {
        return (heads){h->n_head, h->n_kv, h->d_head};
    }
    int n_head = s->op.kind == HSDI_OP_ATTN ? s->op.n_head : 1;
    return (heads){n_head, 1, s->op.x.width / n_head};
}

static void store_rows(const run *r, const step *s, int begin, int end)
{
    int x_stride, y_stride;
    const float *x = view_base(r, &s->op.x, &x_stride);
    const float *y = view_base(r, &s->op.y, &y_stride);
    const heads h = heads_of(r, s);
    for (piece p = {0}; next_piece(r, begin, end, &p);) {
        const hsdi_cpu_cache *c = (const hsdi_cpu_cache *)p.job->cache;
        char *k = hsdi_cpu_cache_plane(c, s->op.layer, 0),
             *v = hsdi_cpu_cache_plane(c, s->op.layer, 1);
        size_t cell_bytes = hsdi_cache_cell_bytes(&c->base, s->op.layer);
        for (int i = p.begin; i < p.end; i++) {
            size_t at = (size_t)p.job->cell[i] * cell_bytes;
            int64_t row = p.first + i;
            hsdi_cache_store(c->base.type, x + row * x_stride, h.n_kv, h.d_head, k + at);
            if (v != k) {
                hsdi_cache_store(c->base.type, y + row * y_stride, h.n_kv, h.d_head, v + at);
            }
        }
    }
}

static void copy_rows(const run *r, const step *s, int begin, int end)
{
    int x_stride, y_stride;
    const float *x = view_base(r, &s->op.x, &x_stride);
    float *y = view_base(r, &s->op.y, &y_stride);
    for (int i = begin; i < end; i++) {
        memcpy(y + (int64_t)i * y_stride, x + (int64_t)i * x_stride,
               (size_t)s->op.y.width * sizeof(float));
    }
}

/// Attention of rows [begin, end) of the submission, query heads [head_begin, head_end).
static void attend(const run *r, const step *s, int begin, int end, int head_begin, int head_end,
                   void *scratch)
{
    const heads h = heads_of(r, s);
    int q_stride, out_stride;
    const float *q = view_base(r, &s->op.x, &q_stride);
    float *out = view_base(r, &s->op.y, &out_stride);
    for (piece p = {0}; head_begin < head_end && next_piece(r, begin, end, &p);) {
        const hsdi_cpu_cache *c = (const hsdi_cpu_cache *)p.job->cache;
        hsdi_attn a = {.n_head = h.n_head,
                       .n_kv = h.n_kv,
                       .d_head = h.d_head,
                       .scale = r->g->heads.scale,
                       .q = q + (int64_t)p.first * q_stride,
                       .q_stride = q_stride,
                       .type = c->base.type,
                       .k = hsdi_cpu_cache_plane(c, s->op.layer, 0),
                       .v = hsdi_cpu_cache_plane(c, s->op.layer, 1),
                       .trunk = p.job->trunk,
                       .n_trunk = p.job->n_trunk,
                       .path = p.job->path,
                       .n_path = p.job->n_path,
                       .path_stride = p.job->path_stride,
                       .out = out + (int64_t)p.first * out_stride,
                       .out_stride = out_stride};
        r->k->attn(&a, p.begin, p.end, head_begin, head_end, scratch);
    }
}

/// A thread's share of all (head, row), heads first: whole heads with all their rows, and rows of
/// the heads that it shares with its neighbours. So the cells of a head are read by few threads.
static void attn_part(const run *r, const step *s, int i_thread, int n_threads)
{
    int n = r->n_rows, begin, end;
    void *scratch = r->g->attn_tmp[i_thread];
    split(r->g->heads.n_head * n, i_thread, n_threads, &begin, &end);
    int head = begin / n, head_end = end / n;
    if (begin % n != 0) {
        attend(r, s, begin % n, head < head_end ? n : end % n, head, head + 1, scratch);
        head++;
    }
    attend(r, s, 0, n, head, head_end, scratch);
    if (end % n != 0 && head <= head_end) {
        attend(r, s, 0, end % n, head_end, head_end + 1, scratch);
    }
}

/// Heads [begin, end), each a product of its own. A thread prepares the rows of one head after the
/// other for itself: no other thread wants them.
static void heads_part(const run *r, const step *s, int begin, int end, char *acts)
{
    const hsdi_cpu_weight *w = cpu_weight(s->op.parts[0].w);
    const struct hsdi_weight *bias = s->op.parts[0].bias;
    int x_stride, y_stride, n_in = w->base.n_in, n_out = w->base.n_out;
    const float *x = view_base(r, &s->op.x, &x_stride);
    float *y = view_base(r, &s->op.y, &y_stride);
    for (int h = begin; h < end; h++) {
        const hsdi_acts to = {
            .type = w->base.type, .n_rows = r->n_rows, .n_in = n_in, .data = acts};
        r->k->act_prepare(&to, x + (ptrdiff_t)h * n_in, x_stride, 0, r->n_rows);
        const hsdi_matmul m = {.type = w->base.type,
                               .n_rows = r->n_rows,
                               .n_in = n_in,
                               .n_out = n_out,
                               .x = acts,
                               .w = (const char *)w->packed + (size_t)h * w->head_bytes,
                               .bias =
                                   bias ? cpu_weight(bias)->vector + (ptrdiff_t)h * n_out : NULL,
                               .y = y + (ptrdiff_t)h * n_out,
                               .y_stride = y_stride};
        r->k->matmul(&m, 0, (n_out + HSDI_GROUP - 1) / HSDI_GROUP);
    }
}

/// One row through the norm of a step.
static void norm_row(const run *r, const step *s, int n, const float *row, float *y)
{
    const float *w = cpu_weight(s->op.norm_w)->vector;
    if (s->op.pre == HSDI_PRE_RMS_NORM) {
        r->k->rms_norm(row, n, w, s->op.eps, 1, n, y, n);
    } else {
        r->k->layer_norm(row, n, w, s->op.norm_b ? cpu_weight(s->op.norm_b)->vector : NULL,
                         s->op.eps, 1, n, y, n);
    }
}

static void norm_rows(const run *r, const step *s, int begin, int end)
{
    int x_stride, y_stride;
    const float *x = view_base(r, &s->op.x, &x_stride);
    float *y = view_base(r, &s->op.y, &y_stride);
    for (int i = begin; i < end; i++) {
        norm_row(r, s, s->op.y.width, x + (int64_t)i * x_stride, y + (int64_t)i * y_stride);
    }
}

/// Rows [begin, end) through `pre` and into prepared copies of all rows.
static void prep_rows(const run *r, const step *s, int begin, int end, char *acts, size_t stride,
                      float *tmp)
{
    int x_stride;
    const float *x = view_base(r, &s->op.x, &x_stride);
    for (int i = begin; i < end; i++) {
        const float *row = x + (int64_t)i * x_stride;
        const float *src = tmp;
        switch (s->op.pre) {
        case HSDI_PRE_RMS_NORM:
        case HSDI_PRE_LAYER_NORM:
            norm_row(r, s, s->n_in, row, tmp);
            break;
        case HSDI_PRE_GELU:
            r->k->gelu_tanh(row, x_stride, 1, s->n_in, tmp, s->n_in);
            break;
        case HSDI_PRE_SILU_MUL:
            r->k->silu_mul(row, x_stride, row + s->n_in, x_stride, 1, s->n_in, tmp, s->n_in);
            break;
        case HSDI_PRE_NONE:
        case HSDI_N_PRES:
            src = row;
            break;
        }
        for (int a = 0; a < s->n_acts; a++) {
            const hsdi_acts to = {.type = s->act_type[a],
                                  .n_rows = r->n_rows,
                                  .n_in = s->n_in,
                                  .data = acts + (size_t)a * stride};
            r->k->act_prepare(&to, src, s->n_in, i, 1);
        }
    }
}

static void matmul_part(const run *r, const step *s, int i_thread, int n_threads, const char *acts,
                        size_t stride)
{
    int begin, end, y_stride;
    float *y = view_base(r, &s->op.y, &y_stride);
    split(s->n_groups, i_thread, n_threads, &begin, &end);
    for (int p = 0; p < s->op.n_parts && end > 0; p++) {
        const hsdi_part *part = &s->op.parts[p];
        const hsdi_cpu_weight *w = cpu_weight(part->w);
        int n = (w->base.n_out + HSDI_GROUP - 1) / HSDI_GROUP;
        if (begin < n) {
            hsdi_matmul m = {.type = w->base.type,
                             .n_rows = r->n_rows,
                             .n_in = s->n_in,
                             .n_out = w->base.n_out,
                             .x = acts + (size_t)s->act_of[p] * stride,
                             .w = w->packed,
                             .bias = part->bias ? cpu_weight(part->bias)->vector : NULL,
                             .y = y + part->y_offset,
                             .y_stride = y_stride,
                             .accumulate = s->op.accumulate};
            r->k->matmul(&m, begin, end < n ? end : n);
        }
        begin = begin > n ? begin - n : 0;
        end -= n;
    }
}

/// True when the step treats each row by itself, in the fixed split.
static bool by_rows(hsdi_op_kind kind)
{
    return kind != HSDI_OP_MATMUL && kind != HSDI_OP_ATTN && kind != HSDI_OP_HEADS;
}

/// The same for each head of all rows: a run of such steps needs no barrier inside either.
static bool by_heads(const hsdi_op *op)
{
    return op->kind == HSDI_OP_HEADS || (op->kind == HSDI_OP_ATTN && op->layout == HSDI_LAYOUT_EL);
}

static void run_heads(const run *r, const step *s, int i_thread, int n_threads)
{
    int begin, end;
    split(s->op.n_head, i_thread, n_threads, &begin, &end);
    if (s->op.kind == HSDI_OP_HEADS) {
        heads_part(r, s, begin, end, r->g->head_acts[i_thread]);
    } else if (begin < end) {
        attend(r, s, 0, r->n_rows, begin, end, r->g->attn_tmp[i_thread]);
    }
}

static void run_rows(const run *r, const step *s, int begin, int end, float *tmp)
{
    switch (s->op.kind) {
    case HSDI_OP_EMBED:
    case HSDI_OP_EMBED_POS:
        embed_rows(r, s, begin, end, tmp);
        break;
    case HSDI_OP_HEAD_NORM:
        head_norm_rows(r, s, begin, end);
        break;
    case HSDI_OP_ROPE:
        rope_rows(r, s, begin, end);
        break;
    case HSDI_OP_STORE:
        store_rows(r, s, begin, end);
        break;
    case HSDI_OP_COPY:
        copy_rows(r, s, begin, end);
        break;
    case HSDI_OP_NORM:
        norm_rows(r, s, begin, end);
        break;
    case HSDI_OP_MATMUL:
    case HSDI_OP_ATTN:
    case HSDI_OP_HEADS:
    case HSDI_OP_TOP: // refused by the front end, like the next
    case HSDI_OP_DRAW:
    case HSDI_N_OPS:
        break;
    }
}

static void gather_rope(const run *r, int begin, int end)
{
    size_t n = (size_t)r->g->heads.n_rot;
    for (piece p = {0}; n > 0 && next_piece(r, begin, end, &p);) {
        for (int i = p.begin; i < p.end; i++) {
            memcpy(r->g->rope_rows + (size_t)(p.first + i) * n,
                   r->g->rope_table + (size_t)p.job->pos[i] * n, n * sizeof(float));
        }
    }
}

/// Rows [begin, end) of the jobs' own input buffers to where the steps read them.
static void gather_in(const run *r, int begin, int end)
{
    size_t n = (size_t)r->g->base.in_width;
    for (piece p = {0}; n > 0 && next_piece(r, begin, end, &p);) {
        const float *from = hsdi_host_buffer_data(p.job->in) + (size_t)p.begin * n;
        memcpy(r->in + (size_t)(p.first + p.begin) * n, from,
               (size_t)(p.end - p.begin) * n * sizeof(float));
    }
}

/// Rows [begin, end) from where the steps wrote them to the jobs' own output buffers.
static void scatter_out(const run *r, int begin, int end)
{
    size_t n = (size_t)r->g->base.out_width;
    for (piece p = {0}; n > 0 && next_piece(r, begin, end, &p);) {
        float *to = hsdi_host_buffer_data(p.job->out) + (size_t)p.begin * n;
        memcpy(to, r->out + (size_t)(p.first + p.begin) * n,
               (size_t)(p.end - p.begin) * n * sizeof(float));
    }
}

static void run_steps(const run *r, int i_thread, int n_threads)
{
    cpu_graph *g = r->g;
    int n_rows = r->n_rows;
    int begin, end;
    split(n_rows, i_thread, n_threads, &begin, &end);
    bool rows_pending = true; // rows of this thread written, others have not met them yet
    for (int i = 0; i < g->n_steps; i++) {
        const step *s = &g->steps[i];
        if (by_rows(s->op.kind)) {
            if (!rows_pending && i > 0) {
                hsdi_cpu_pool_barrier(r->pool, n_threads);
            }
            run_rows(r, s, begin, end, g->row_tmp[i_thread]);
            rows_pending = true;
            continue;
        }
        if (by_heads(&s->op)) {
            if (!(i > 0 && by_heads(&s[-1].op) && s[-1].op.n_head == s->op.n_head)) {
                hsdi_cpu_pool_barrier(r->pool, n_threads);
            }
            run_heads(r, s, i_thread, n_threads);
            rows_pending = false;
            continue;
        }
        bool alone = s->op.kind == HSDI_OP_MATMUL && !s->aliased && n_threads > 1 &&
                     (int64_t)n_rows * s->n_in <= PRIVATE_PREP_MAX;
        if (s->op.kind == HSDI_OP_ATTN || alone || !rows_pending) {
            hsdi_cpu_pool_barrier(r->pool, n_threads);
        }
        if (s->op.kind == HSDI_OP_ATTN) {
            attn_part(r, s, i_thread, n_threads);
        } else if (alone) {
            char *acts = g->private_acts[i_thread];
            prep_rows(r, s, 0, n_rows, acts, g->private_stride, g->row_tmp[i_thread]);
            matmul_part(r, s, i_thread, n_threads, acts, g->private_stride);
        } else {
            prep_rows(r, s, begin, end, g->acts, g->act_stride, g->row_tmp[i_thread]);
            hsdi_cpu_pool_barrier(r->pool, n_threads);
            matmul_part(r, s, i_thread, n_threads, g->acts, g->act_stride);
        }
        rows_pending = false;
    }
}

static void run_thread(void *arg, int i_thread, int n_threads)
{
    const run *r = arg;
    int begin, end;
    split(r->n_rows, i_thread, n_threads, &begin, &end);
    gather_rope(r, begin, end);
    if (r->n_jobs == 1) {
        run_steps(r, i_thread, n_threads);
        return;
    }
    gather_in(r, begin, end);
    run_steps(r, i_thread, n_threads);
    if (r->g->base.out_width > 0) {
        hsdi_cpu_pool_barrier(r->pool, n_threads);
        scatter_out(r, begin, end);
    }
}

hsd_status hsdi_cpu_graph_run(hsdi_graph *graph, const hsdi_job *jobs, int n_jobs, hsd_error *err)
{
    (void)err;
    hsdi_cpu_device *cpu = (hsdi_cpu_device *)graph->device;
    run r = {.g = (cpu_graph *)graph,
             .jobs = jobs,
             .n_jobs = n_jobs,
             .k = cpu->kernels,
             .pool = cpu->pool};
    int n_threads = graph->device->info.n_threads;
    for (int i = 0; i < n_jobs; i++) {
        r.n_rows += jobs[i].n_rows;
        if (jobs[i].n_threads > 0 && jobs[i].n_threads < n_threads) {
            n_threads = jobs[i].n_threads;
        }
    }
    if (n_jobs > 1) {
        r.in = cpu->rows;
        r.out = cpu->rows + (size_t)graph->n_rows_max * (size_t)graph->in_width;
    } else {
        r.in = graph->in_width ? hsdi_host_buffer_data(jobs->in) : NULL;
        r.out = graph->out_width ? hsdi_host_buffer_data(jobs->out) : NULL;
    }
    hsdi_cpu_pool_run(cpu->pool, n_threads, run_thread, &r);
    return HSD_OK;
}

static void plan_matmul(const hsdi_kernels *k, step *s)
{
    const hsdi_op *op = &s->op;
    s->n_in = op->pre == HSDI_PRE_SILU_MUL ? op->x.width / 2 : op->x.width;
    s->aliased = op->x.value == op->y.value;
    for (int p = 0; p < op->n_parts; p++) {
        hsdi_type type = op->parts[p].w->type;
        int a = 0;
        while (a < s->n_acts && s->act_type[a] != type) {
            a++;
        }
        if (a == s->n_acts) {
            s->act_type[a] = type;
            s->act_bytes[a] = k->act_bytes(type, s->n_in);
            s->n_acts++;
        }
        s->act_of[p] = a;
        s->n_groups += (op->parts[p].w->n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    }
}

static bool plan_steps(cpu_graph *g, const hsdi_graph_desc *desc, const hsdi_kernels *k,
                       int *width_max)
{
    g->n_steps = desc->n_ops;
    g->steps = hsdi_arena_array(&g->arena, (size_t)desc->n_ops, sizeof *g->steps);
    if (!g->steps) {
        return false;
    }
    for (int i = 0; i < desc->n_ops; i++) {
        step *s = &g->steps[i];
        s->op = desc->ops[i];
        if (s->op.y.width > *width_max) {
            *width_max = s->op.y.width;
        }
        if (s->op.kind == HSDI_OP_HEADS) {
            const struct hsdi_weight *w = s->op.parts[0].w;
            size_t bytes = k->act_bytes(w->type, w->n_in) * (size_t)desc->n_rows_max;
            g->head_act_bytes = bytes > g->head_act_bytes ? bytes : g->head_act_bytes;
        }
        if (s->op.kind != HSDI_OP_MATMUL) {
            continue;
        }
        plan_matmul(k, s);
        if (s->n_in > *width_max) {
            *width_max = s->n_in;
        }
        for (int a = 0; a < s->n_acts; a++) {
            size_t bytes = s->act_bytes[a] * (size_t)desc->n_rows_max;
            int n_private = PRIVATE_PREP_MAX / s->n_in;
            if (n_private > desc->n_rows_max) {
                n_private = desc->n_rows_max;
            }
            size_t small = s->act_bytes[a] * (size_t)n_private;
            g->act_stride = bytes > g->act_stride ? bytes : g->act_stride;
            g->private_stride = small > g->private_stride ? small : g->private_stride;
        }
    }
    return true;
}

static bool make_rope(cpu_graph *g, const hsdi_graph_desc *desc)
{
    int n_half = desc->heads.n_rot / 2;
    if (n_half == 0) {
        return true;
    }
    size_t n_rot = (size_t)desc->heads.n_rot;
    g->rope_table = hsdi_arena_array(&g->arena, (size_t)desc->n_ctx * n_rot, sizeof(float));
    g->rope_rows = hsdi_arena_array(&g->arena, (size_t)desc->n_rows_max * n_rot, sizeof(float));
    if (!g->rope_table || !g->rope_rows) {
        return false;
    }
    for (int p = 0; p < desc->n_ctx; p++) {
        float *row = g->rope_table + (size_t)p * n_rot;
        for (int i = 0; i < n_half; i++) {
            double angle = p * desc->heads.rope_freqs[i];
            row[i] = (float)(cos(angle) * (double)desc->heads.rope_mscale);
            row[n_half + i] = (float)(sin(angle) * (double)desc->heads.rope_mscale);
        }
    }
    return true;
}

static bool make_thread_memory(cpu_graph *g, const hsdi_kernels *k, int n_threads, int width_max)
{
    const hsdi_heads *h = &g->heads;
    size_t attn_bytes =
        h->n_head ? k->attn_scratch_bytes(h->n_head, h->d_head, g->base.n_rows_max) : 0;
    for (int i = 0; i < g->n_steps; i++) {
        const hsdi_op *op = &g->steps[i].op;
        if (op->kind == HSDI_OP_ATTN && op->layout == HSDI_LAYOUT_EL) {
            // For all heads: a submission may use a single thread.
            size_t bytes =
                k->attn_scratch_bytes(op->n_head, op->x.width / op->n_head, g->base.n_rows_max);
            attn_bytes = bytes > attn_bytes ? bytes : attn_bytes;
        }
    }
    size_t n = (size_t)n_threads;
    g->private_acts = hsdi_arena_array(&g->arena, n, sizeof *g->private_acts);
    g->row_tmp = hsdi_arena_array(&g->arena, n, sizeof *g->row_tmp);
    g->attn_tmp = hsdi_arena_array(&g->arena, n, sizeof *g->attn_tmp);
    g->head_acts = hsdi_arena_array(&g->arena, n, sizeof *g->head_acts);
    g->acts = hsdi_arena_array(&g->arena, MAX_ACTS, g->act_stride);
    if (!g->private_acts || !g->row_tmp || !g->attn_tmp || !g->acts || !g->head_acts) {
        return false;
    }
    for (int t = 0; t < n_threads; t++) {
        g->private_acts[t] = hsdi_arena_array(&g->arena, MAX_ACTS, g->private_stride);
        g->row_tmp[t] = hsdi_arena_array(&g->arena, (size_t)width_max, sizeof(float));
        g->attn_tmp[t] = hsdi_arena_alloc(&g->arena, attn_bytes);
        g->head_acts[t] = hsdi_arena_alloc(&g->arena, g->head_act_bytes);
        if (!g->private_acts[t] || !g->row_tmp[t] || !g->attn_tmp[t] || !g->head_acts[t]) {
            return false;
        }
    }
    return true;
}

static bool make_values(cpu_graph *g, const hsdi_graph_desc *desc)
{
    size_t n = (size_t)desc->n_values;
    int *width = hsdi_arena_array(&g->arena, n, sizeof *width);
    g->value = hsdi_arena_array(&g->arena, n, sizeof *g->value);
    if (!width || !g->value) {
        return false;
    }
    g->width = width;
    g->n_values = desc->n_values;
    for (int v = 0; v < desc->n_values; v++) {
        width[v] = desc->value_width[v];
        g->value[v] =
            hsdi_arena_array(&g->arena, (size_t)width[v] * (size_t)desc->n_rows_max, sizeof(float));
        if (!g->value[v]) {
            return false;
        }
    }
    return true;
}

/// Room on the device for the external rows of several jobs. One for all graphs: they run one at a
/// time. Pages come with the first write, so a device with one session pays nothing.
static bool make_external(hsdi_cpu_device *cpu, const cpu_graph *g)
{
    size_t n = (size_t)g->base.n_rows_max * ((size_t)g->base.in_width + (size_t)g->base.out_width);
    bool ok = true;
    pthread_mutex_lock(&cpu->base.turn);
    if (n > cpu->n_rows_floats) {
        float *rows = aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
        ok = rows != NULL;
        if (ok) {
            free(cpu->rows);
            cpu->rows = rows;
            cpu->n_rows_floats = n;
        }
    }
    pthread_mutex_unlock(&cpu->base.turn);
    return ok;
}

hsd_status hsdi_cpu_graph_compile(hsdi_device *device, const hsdi_graph_desc *desc,
                                  const struct hsdi_graph *shape, hsdi_graph **out, hsd_error *err)
{
    hsdi_cpu_device *cpu = (hsdi_cpu_device *)device;
    cpu_graph *g = hsdi_aligned_alloc(sizeof *g);
    if (!g) {
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "graph");
    }
    g->base = *shape;
    g->heads = desc->heads;
    g->heads.rope_freqs = NULL; // borrowed until here
    int width_max = 1;
    if (!plan_steps(g, desc, cpu->kernels, &width_max) || !make_values(g, desc) ||
        !make_rope(g, desc) ||
        !make_thread_memory(g, cpu->kernels, device->info.n_threads, width_max) ||
        !make_external(cpu, g)) {
        hsdi_cpu_graph_destroy(&g->base);
        return hsdi_fail(err, HSD_ENOMEM, desc->name, "graph of %d operations, %d rows",
                         desc->n_ops, desc->n_rows_max);
    }
    *out = &g->base;
    return HSD_OK;
}

void hsdi_cpu_graph_destroy(hsdi_graph *graph)
{
    cpu_graph *g = (cpu_graph *)graph;
    hsdi_arena_fini(&g->arena);
    free(g);
}
