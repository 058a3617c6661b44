/// See loops.h.
#include "loops.h"

#include "tests/kernels/product.h"

enum { NAME_BYTES = 64 };

typedef struct attention {
    const hsdi_kernels *k;
    hsdi_attn a;
    int n_rows;
    void *scratch;
} attention;

typedef struct rows {
    const hsdi_kernels *k;
    int n_rows, n;
    float *x, *w, *b, *y;
} rows;

typedef struct multiply {
    const hsdi_kernels *k;
    hsdi_matmul m;
    hsdi_acts acts;
    const float *x;
} multiply;

/// Shapes: out [NAME_BYTES].
static void name_loop(char *out, const char *what, const char *type, int n_rows)
{
    snprintf(out, NAME_BYTES, "%s%s, %d row%s", what, type, n_rows, n_rows > 1 ? "s" : "");
}

static void call_product(void *arg)
{
    const multiply *m = arg;
    m->k->matmul(&m->m, 0, m->m.n_out / HSDI_GROUP);
}

static void call_prepare(void *arg)
{
    const multiply *m = arg;
    m->k->act_prepare(&m->acts, m->x, m->m.n_in, 0, m->m.n_rows);
}

/// [n_rows, 1024] times [64, 1024].
static void count_product(const hsdi_kernels *k, hsdi_type type, int n_rows)
{
    enum { N_IN = 1024, N_OUT = 64 };
    char name[NAME_BYTES];
    product p = product_make(type, n_rows, N_IN, N_OUT, 4); // neither bias nor accumulation
    uint8_t *w = pack(k, &p), *x = must_alloc(k->act_bytes(type, N_IN) * (size_t)n_rows);
    float *y = must_alloc((size_t)n_rows * N_OUT * sizeof *y);
    multiply m = {.k = k,
                  .m = {.type = type,
                        .n_rows = n_rows,
                        .n_in = N_IN,
                        .n_out = N_OUT,
                        .x = x,
                        .w = w,
                        .y = y,
                        .y_stride = N_OUT},
                  .acts = {type, n_rows, N_IN, x},
                  .x = p.x};
    name_loop(name, "prepare ", hsdi_type_find(type)->name, n_rows);
    counted_loop(name, 4, call_prepare, &m);
    name_loop(name, "product ", hsdi_type_find(type)->name, n_rows);
    counted_loop(name, 4, call_product, &m);
    free(w);
    free(x);
    free(y);
    product_free(&p);
}

static void call_attention(void *arg)
{
    const attention *t = arg;
    t->k->attn(&t->a, 0, t->n_rows, 0, t->a.n_kv, t->scratch);
}

/// 8 heads of 64 on 4, behind 256 positions.
static void count_attention(const hsdi_kernels *k, int n_rows)
{
    enum { N_HEAD = 8, N_KV = 4, D_HEAD = 64, N_TRUNK = 256, N_CELLS = N_TRUNK + 8 };
    noise s = {1};
    int32_t cells[N_CELLS], n_path[8];
    char name[NAME_BYTES];
    for (int i = 0; i < N_CELLS; i++) {
        cells[i] = i;
    }
    for (int r = 0; r < n_rows; r++) {
        n_path[r] = 1;
    }
    attention t = {.k = k, .n_rows = n_rows};
    float *q = noise_floats(&s, (size_t)n_rows * N_HEAD * D_HEAD);
    float *keys = noise_floats(&s, (size_t)N_CELLS * N_KV * D_HEAD);
    float *values = noise_floats(&s, (size_t)N_CELLS * N_KV * D_HEAD);
    float *out = noise_floats(&s, (size_t)n_rows * N_HEAD * D_HEAD);
    t.scratch = must_alloc(k->attn_scratch_bytes(N_HEAD, D_HEAD, n_rows));
    t.a = (hsdi_attn){.n_head = N_HEAD,
                      .n_kv = N_KV,
                      .d_head = D_HEAD,
                      .scale = 0.125f,
                      .q = q,
                      .q_stride = N_HEAD * D_HEAD,
                      .k = keys,
                      .v = values,
                      .trunk = cells,
                      .n_trunk = N_TRUNK,
                      .path = cells + N_TRUNK,
                      .n_path = n_path,
                      .path_stride = 1,
                      .out = out,
                      .out_stride = N_HEAD * D_HEAD};
    name_loop(name, "attention", "", n_rows);
    counted_loop(name, 2, call_attention, &t);
    free(q);
    free(keys);
    free(values);
    free(out);
    free(t.scratch);
}

static void call_rms_norm(void *arg)
{
    const rows *r = arg;
    r->k->rms_norm(r->x, r->n, r->w, 1e-5f, r->n_rows, r->n, r->y, r->n);
}
static void call_layer_norm(void *arg)
{
    const rows *r = arg;
    r->k->layer_norm(r->x, r->n, r->w, r->b, 1e-5f, r->n_rows, r->n, r->y, r->n);
}
static void call_silu_mul(void *arg)
{
    const rows *r = arg;
    r->k->silu_mul(r->x, r->n, r->y, r->n, r->n_rows, r->n, r->y, r->n);
}
static void call_gelu_tanh(void *arg)
{
    const rows *r = arg;
    r->k->gelu_tanh(r->x, r->n, r->n_rows, r->n, r->y, r->n);
}
static void call_rope(void *arg)
{
    const rows *r = arg;
    const hsdi_rope rope = {.x = r->y,
                            .x_stride = r->n,
                            .n_head = r->n / 64,
                            .d_head = 64,
                            .n_rot = 64,
                            .neox = false,
                            .cos_sin = r->w};
    r->k->rope(&rope, 0, r->n_rows);
}
static void call_argmax(void *arg)
{
    const rows *r = arg;
    (void)r->k->argmax(r->x, r->n);
}
static void call_log_sum_exp(void *arg)
{
    const rows *r = arg;
    (void)r->k->log_sum_exp(r->x, r->n);
}

static void count_rows(const hsdi_kernels *k)
{
    noise s = {1};
    rows r = {.k = k, .n_rows = 2, .n = 1024};
    r.x = noise_floats(&s, 2048);
    r.w = noise_floats(&s, 1024);
    r.b = noise_floats(&s, 1024);
    r.y = noise_floats(&s, 2048);
    counted_loop("rms_norm", 4, call_rms_norm, &r);
    counted_loop("layer_norm", 4, call_layer_norm, &r);
    counted_loop("silu_mul", 4, call_silu_mul, &r);
    counted_loop("gelu_tanh", 4, call_gelu_tanh, &r);
    counted_loop("rope", 4, call_rope, &r);
    counted_loop("argmax", 4, call_argmax, &r);
    counted_loop("log_sum_exp", 4, call_log_sum_exp, &r);
    free(r.x);
    free(r.w);
    free(r.b);
    free(r.y);
}

void count_kernels(const hsdi_kernels *k)
{
    static const int n_rows[] = {1, 4, 8};
    for (int t = 0; t < N_TYPES; t++) {
        for (size_t i = 0; i < sizeof n_rows / sizeof *n_rows; i++) {
            count_product(k, all_types[t], n_rows[i]);
        }
    }
    count_product(k, HSDI_TYPE_Q8_0, 64); // as in a prefill
    count_attention(k, 1);
    count_attention(k, 8);
    count_rows(k);
}
