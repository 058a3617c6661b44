/// Proves: on OpenCL and Level Zero what is drawn from a row is that of a plain definition in C,
///           tokens and scores bit for bit: rules of the text, top-k, top-p, min-p, temperature
///           and noise, alone and together, for rows of every kind (ties, -inf, NaN, +inf, shorter
///           and longer than a list and than a chunk), rows of different settings in one pass.
///         Rows together give the bits of each alone. Tokens are drawn as often as they should be.
///         Settings that are none, and devices without the operation, are refused.
/// Does not prove: that stages say what the host's sampler would: tests/engine/test_draws.c.
#include "tests/accelerator.h"
#include "tests/engine/chi2.h"

#include "base/gumbel.h"
#include "base/rng.h"

#include <math.h>
#include <string.h>

enum { N_ROWS = 11, N_MAX = 40007, X_AT = 3, Y_AT = 1, X_EXTRA = 5, Y_EXTRA = 2 };

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static float random_float(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 16777216.0f * 20.0f - 10.0f;
}

/// Each row has a difficulty of its own.
static void fill_row(int r, float *x, int n, unsigned *seed)
{
    for (int i = 0; i < n; i++) {
        float v = random_float(seed);
        x[i] = r == 1    ? floorf(v / 4.0f) // many ties
               : r == 2  ? 1.5f
               : r == 3  ? -INFINITY
               : r == 4  ? (v > 8.0f ? NAN : v)
               : r == 5  ? NAN
               : r == 6  ? (v > 9.0f ? INFINITY : v)
               : r == 7  ? (i % 997 == 3 ? v : -INFINITY) // fewer than most lists are long
               : r == 8  ? (float)i / 16.0f
               : r == 9  ? (float)-i
               : r == 10 ? (i % 2 ? 0.0f : -0.0f) // equal, whatever the sign
                         : v;
    }
}

/// Tokens that the rules of a row touch: some are far apart.
enum { N_BANNED = 2, N_PENALISED = 3, N_EDITS = N_BANNED + N_PENALISED };

static void choose_edits(int n, int32_t *tokens)
{
    const int32_t all[N_EDITS] = {0, n - 1, 1, n / 2, n - 2};
    memcpy(tokens, all, sizeof all);
}

static const hsdi_draw settings[] = {
    {.gap = -INFINITY, .scale = 1.25f, .noisy = true, .seed = 1, .position = 7},
    {.gap = -INFINITY, .scale = 0.5f, .noisy = true, .seed = 0xfedcba9876543210u, .position = 99},
    {.gap = -3.0f, .scale = 1.0f / 0.7f, .noisy = true, .seed = 3, .position = 1ll << 40},
    {.top_k = 3, .gap = -INFINITY, .scale = 1.0f, .noisy = true, .seed = 4, .position = 1},
    {.top_k = 100, .gap = -INFINITY, .scale = 0.8f, .noisy = true, .seed = 5, .position = 2},
    {.top_p = 0xe6666600u, .gap = -INFINITY, .scale = 0.9f, .noisy = true, .seed = 6},
    {.top_k = 90, .top_p = 0x40000000u, .gap = -1.0f, .scale = 1.1f, .noisy = true, .seed = 7},
    {.top_p = 1, .gap = -INFINITY, .scale = 2.0f, .noisy = true, .seed = 8},
    {.gap = -INFINITY, .scale = 1.0f}, // greedy
    {.gap = -INFINITY,
     .scale = 1.0f,
     .penalty = 1.3f,
     .n_banned = N_BANNED,
     .n_penalised = N_PENALISED},
    {.top_k = 70,
     .top_p = 0xf0000000u,
     .gap = -6.0f,
     .scale = 0.7f,
     .noisy = true,
     .seed = 9,
     .penalty = 0.9f,
     .n_banned = N_BANNED,
     .n_penalised = N_PENALISED,
     .position = 12345},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

typedef struct item {
    float logit;
    int token;
} item;

static int compare_items(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->logit > y->logit   ? -1
           : x->logit < y->logit ? 1
                                 : (x->token > y->token) - (x->token < y->token);
}

/// How many of the n first top-p keeps: the fewest whose weight reaches the share.
static int by_top_p(const item *items, int n, uint32_t top_p)
{
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < n; i++) {
        total += hsdi_exp_fixed(items[i].logit - items[0].logit);
    }
    // total * top_p / 2^32 in two halves
    uint64_t need = (total >> 32) * top_p + ((total & 0xffffffffu) * top_p >> 32);
    for (int i = 0; i < n; i++) {
        sum += hsdi_exp_fixed(items[i].logit - items[0].logit);
        if (sum >= need && sum > 0) {
            return i + 1;
        }
    }
    return n;
}

/// The definition: devices/draw.h. Scores of all tokens; the best scaled logit and the sum.
static void define(float *x, int n, const hsdi_draw *d, float *best_scaled, double *sum)
{
    item *items = calloc((size_t)n, sizeof *items);
    int n_items = 0;
    for (int i = 0; i < d->n_penalised; i++) {
        float *v = &x[d->tokens[d->n_banned + i]];
        *v = *v > 0.0f ? *v / d->penalty : *v * d->penalty;
    }
    for (int i = 0; i < d->n_banned; i++) {
        x[d->tokens[i]] = -INFINITY;
    }
    for (int i = 0; i < n; i++) {
        if (x[i] > -INFINITY) {
            items[n_items++] = (item){x[i], i};
        }
        x[i] = -INFINITY;
    }
    qsort(items, (size_t)n_items, sizeof *items, compare_items);
    n_items = d->top_k > 0 && d->top_k < n_items ? d->top_k : n_items;
    n_items = d->top_p > 0 ? by_top_p(items, n_items, d->top_p) : n_items;
    float best = n_items > 0 ? items[0].logit : -INFINITY;
    float lowest = d->gap > -INFINITY ? best + d->gap : -INFINITY;
    *best_scaled = best * d->scale;
    *sum = 0.0;
    for (int i = 0; i < n_items; i++) {
        float noise = 0.0f, scaled = items[i].logit * d->scale;
        if (items[i].logit >= lowest && scaled > -INFINITY) {
            if (d->noisy) {
                hsdi_gumbel(d->seed, d->position, items[i].token, 1, &noise);
            }
            x[items[i].token] = scaled + noise;
            *sum += exp((double)scaled - (double)*best_scaled);
        }
    }
    free(items);
}

/// A graph of the operation alone, its rows, and its lists.
typedef struct rig {
    hsdi_device *device;
    hsdi_graph *graph;
    hsdi_buffer *in, *out;
    int n, n_top, in_width, out_width;
    bool with_sum;
    int n_rows;
    int32_t edits[N_EDITS];
} rig;

static hsd_status compile(rig *r, hsd_error *err)
{
    const int width = 1;
    int list = hsdi_draw_width(r->n_top, r->with_sum);
    r->in_width = X_AT + r->n + X_EXTRA;
    r->out_width = Y_AT + list + Y_EXTRA;
    const hsdi_op op = {.kind = HSDI_OP_DRAW,
                        .x = {.value = HSDI_VALUE_IN, .offset = X_AT, .width = r->n},
                        .y = {.value = HSDI_VALUE_OUT, .offset = Y_AT, .width = list},
                        .n_top = r->n_top};
    const hsdi_graph_desc desc = {.name = "draw",
                                  .n_rows_max = r->n_rows,
                                  .n_values = 1,
                                  .value_width = &width,
                                  .in_width = r->in_width,
                                  .out_width = r->out_width,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = 1};
    return hsdi_graph_compile(r->device, &desc, &r->graph, err);
}

static void rig_open(rig *r, hsdi_device *device, int n_rows, int n, int n_top, bool with_sum)
{
    hsd_error err = {0};
    *r = (rig){.device = device, .n = n, .n_top = n_top, .with_sum = with_sum, .n_rows = n_rows};
    must(compile(r, &err), &err);
    must(hsdi_buffer_create(device, n_rows, r->in_width, &r->in, &err), &err);
    must(hsdi_buffer_create(device, n_rows, r->out_width, &r->out, &err), &err);
    choose_edits(n, r->edits);
}

static void rig_close(rig *r)
{
    hsdi_buffer_destroy(&r->in);
    hsdi_buffer_destroy(&r->out);
    hsdi_graph_destroy(&r->graph);
}

static float *in_row(const rig *r, int row)
{
    return hsdi_buffer_map(r->in) + row * r->in_width;
}

static const float *list_of(const rig *r, int row)
{
    return hsdi_buffer_map(r->out) + row * r->out_width + Y_AT;
}

static hsd_status try(const rig *r, int n_rows, const hsdi_draw *draws, hsd_error *err)
{
    int32_t *pos = calloc((size_t)n_rows, sizeof *pos);
    const hsdi_job job = {.n_rows = n_rows, .pos = pos, .in = r->in, .out = r->out, .draws = draws};
    hsd_status status = hsdi_graph_run(r->graph, &job, err);
    free(pos);
    return status;
}

static void run(const rig *r, int n_rows, const hsdi_draw *draws)
{
    hsd_error err = {0};
    must(try(r, n_rows, draws, &err), &err);
}

/// x: the row's logits, overwritten.
static void check_row(const rig *r, int row, const hsdi_draw *d, float *x)
{
    const float *got = list_of(r, row);
    float best_scaled;
    double sum;
    define(x, r->n, d, &best_scaled, &sum);
    for (int k = 0; k < r->n_top; k++) {
        int best = -1;
        for (int i = 0; i < r->n; i++) {
            best = x[i] > (best < 0 ? -INFINITY : x[best]) ? i : best;
        }
        float score = best < 0 ? -INFINITY : x[best];
        if (got[2 * k] != score || got[2 * k + 1] != (float)best) {
            fail_msg("%d tokens, list of %d, row %d, settings %d: number %d is %d (%.9g), should "
                     "be %d (%.9g)",
                     r->n, r->n_top, row, (int)d->seed, k, (int)got[2 * k + 1], (double)got[2 * k],
                     best, (double)score);
        }
        x[best < 0 ? 0 : best] = -INFINITY;
    }
    if (!r->with_sum || !(best_scaled < INFINITY)) {
        return; // of +inf there is no distribution
    }
    const float *tail = got + 2 * r->n_top;
    if (tail[0] != best_scaled || !(fabs((double)tail[1] - sum) <= 1e-5 * sum)) {
        fail_msg("%d tokens, row %d, settings %d: best %g, sum %g, should be %g, %g", r->n, row,
                 (int)d->seed, (double)tail[0], (double)tail[1], (double)best_scaled, sum);
    }
}

/// All rows together, each with other settings, then each alone in the first row's place.
static void check(hsdi_device *device, int n, int n_top, bool with_sum, int shift)
{
    rig r;
    unsigned seed = (unsigned)(n * 64 + n_top);
    hsdi_draw draws[N_ROWS];
    rig_open(&r, device, N_ROWS, n, n_top, with_sum);
    size_t row_size = (size_t)r.in_width * sizeof(float);
    size_t size = (size_t)hsdi_draw_width(n_top, with_sum) * sizeof(float);
    float *rows = calloc(N_ROWS, row_size), *together = calloc(N_ROWS, size);
    float *scratch = calloc((size_t)n, sizeof *scratch);
    for (int row = 0; row < N_ROWS; row++) {
        float *x = rows + row * r.in_width;
        for (int i = 0; i < r.in_width; i++) {
            x[i] = 1e9f; // what is not in the view must not be drawn
        }
        fill_row(row, x + X_AT, n, &seed);
        memcpy(in_row(&r, row), x, row_size);
        draws[row] = settings[(row + shift) % N_SETTINGS];
        draws[row].tokens = r.edits;
    }
    run(&r, N_ROWS, draws);
    for (int row = 0; row < N_ROWS; row++) {
        memcpy(scratch, rows + row * r.in_width + X_AT, (size_t)n * sizeof *scratch);
        check_row(&r, row, &draws[row], scratch);
        memcpy(together + (size_t)row * size / sizeof(float), list_of(&r, row), size);
    }
    for (int row = 0; row < N_ROWS; row++) {
        memcpy(in_row(&r, 0), rows + row * r.in_width, row_size);
        run(&r, 1, &draws[row]);
        if (memcmp(list_of(&r, 0), together + (size_t)row * size / sizeof(float), size) != 0) {
            fail_msg("%d tokens, list of %d: row %d alone gives other bits", n, n_top, row);
        }
    }
    free(rows);
    free(together);
    free(scratch);
    rig_close(&r);
}

static void draws_are_those_of_the_definition(void **state)
{
    static const int sizes[] = {70, 5, 1030}; // small enough for Oclgrind
    static const int tops[] = {1, 6, 6};
    for (int i = 0; i < 3; i++) {
        // A device each: see test_top.c.
        hsdi_device *device = open_accelerator_or_skip(*state);
        check(device, sizes[i], tops[i], i > 0, 4 * i);
        hsdi_device_close(&device);
    }
}

static void long_rows_too(void **state)
{
    static const int sizes[] = {6, 64, 1023, 1024, 1025, 3001, N_MAX};
    static const int tops[] = {1, 8, 33, 64};
    hsdi_device *device = open_accelerator_or_skip(*state);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int shift = 0; shift < N_SETTINGS; shift++) {
            int k = (shift + (int)i) % 4;
            check(device, sizes[i], tops[k], k > 0, shift);
        }
    }
    hsdi_device_close(&device);
}

static void penalties_divide_as_c_does(void **state)
{
    enum { N = 4096 };
    hsdi_device *device = open_accelerator_or_skip(*state);
    rig r;
    unsigned seed = 5;
    int32_t *tokens = calloc(N, sizeof *tokens);
    rig_open(&r, device, 1, N, 64, false);
    for (int pass = 0; pass < 64; pass++) {
        float penalty = 0.02f + 2.0f * (float)pass / 63.0f + (random_float(&seed) + 10.0f) * 1e-4f;
        float *x = in_row(&r, 0) + X_AT;
        float want[N];
        for (int i = 0; i < N; i++) {
            // Near one another: of wrong ones the largest would show.
            x[i] = 8.0f + random_float(&seed) / 10.0f;
            want[i] = x[i] / penalty;
            tokens[i] = i;
        }
        const hsdi_draw d = {.gap = -INFINITY,
                             .scale = 1.0f,
                             .penalty = penalty,
                             .n_penalised = N,
                             .tokens = tokens};
        run(&r, 1, &d);
        for (int k = 0; k < 64; k++) {
            float got = list_of(&r, 0)[2 * k], right = want[(int)list_of(&r, 0)[2 * k + 1]];
            if (got != right) {
                fail_msg("penalty %.9g: %.9g, should be %.9g", (double)penalty, (double)got,
                         (double)right);
            }
        }
    }
    rig_close(&r);
    free(tokens);
    hsdi_device_close(&device);
}

/// The counts of each settings' draws at many positions against its distribution, in double.
/// False alarms: less than 1e-6 for each test, five of them on each device.
static void tokens_are_drawn_as_often_as_they_should_be(void **state)
{
    enum { V = 12, ROWS = 64, PASSES = 300 };
    static const hsdi_draw how[] = {
        {.gap = -INFINITY, .scale = 1.0f, .noisy = true, .seed = 11},
        {.gap = -INFINITY, .scale = 0.5f, .noisy = true, .seed = 12},
        {.gap = -2.0f, .scale = 1.0f, .noisy = true, .seed = 13},
        {.top_k = 5, .gap = -INFINITY, .scale = 1.3f, .noisy = true, .seed = 14},
        {.top_p = 0xcccccc00u, .gap = -INFINITY, .scale = 0.8f, .noisy = true, .seed = 15},
    };
    static const float logits[V] = {0.3f, -1.0f, 2.2f, 0.0f,  1.1f, -4.0f,
                                    1.9f, 0.7f,  1.5f, -0.2f, 1.1f, -2.5f};
    hsdi_device *device = open_accelerator_or_skip(*state);
    rig r;
    rig_open(&r, device, ROWS, V, 1, false);
    for (size_t k = 0; k < sizeof how / sizeof *how; k++) {
        int counts[V] = {0}, df;
        float x[V], best;
        double p[V], sum;
        hsdi_draw still = how[k];
        still.noisy = false;
        memcpy(x, logits, sizeof x);
        define(x, V, &still, &best, &sum);
        for (int i = 0; i < V; i++) {
            p[i] = exp((double)x[i] - (double)best) / sum;
        }
        for (int pass = 0; pass < PASSES; pass++) {
            hsdi_draw draws[ROWS];
            for (int row = 0; row < ROWS; row++) {
                memcpy(in_row(&r, row) + X_AT, logits, sizeof logits);
                draws[row] = how[k];
                draws[row].position = pass * ROWS + row;
            }
            run(&r, ROWS, draws);
            for (int row = 0; row < ROWS; row++) {
                counts[(int)list_of(&r, row)[1]]++;
            }
        }
        double tail = chi2_test(counts, p, V, PASSES * ROWS, &df);
        print_message("settings %zu: %d draws, %d degrees of freedom, tail %.3g\n", k,
                      PASSES * ROWS, df, tail);
        assert_true(df >= 2);
        assert_true(tail > 1e-6);
    }
    rig_close(&r);
    hsdi_device_close(&device);
}

static void what_does_not_fit_is_refused(void **state)
{
    hsd_error err = {0};
    rig r = {.device = open_accelerator_or_skip(*state), .n = 100, .n_top = 65, .n_rows = 2};
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    r.n_top = 0;
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    r.n_top = 1;
    r.n = HSDI_TOP_TOKENS_MAX + 1;
    assert_int_equal(compile(&r, &err), HSD_EINVAL);
    assert_null(r.graph);
    rig_open(&r, r.device, 2, 100, 1, false);
    hsdi_draw d[2] = {settings[0], settings[0]};
    const int32_t outside[] = {100, -1};
    assert_int_equal(try(&r, 2, NULL, &err), HSD_EINVAL);
    assert_string_equal(err.where, "draws");
    d[1].n_banned = 1;
    assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
    for (int i = 0; i < 2; i++) {
        d[1].tokens = outside + i;
        assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
        assert_non_null(strstr(err.message, "row 1"));
    }
    d[1].n_banned = HSDI_DRAW_EDITS_MAX + 1;
    assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
    d[1] = settings[0];
    d[1].scale = 0.0f;
    assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
    d[1] = settings[0];
    d[1].gap = NAN;
    assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
    d[1] = settings[0];
    d[1].top_k = -1;
    assert_int_equal(try(&r, 2, d, &err), HSD_EINVAL);
    hsdi_device *device = r.device;
    rig_close(&r);
    hsdi_device_close(&device);
}

static void devices_without_the_operation_refuse_it(void **state)
{
    (void)state;
    const hsdi_cpu_options options = {.n_threads = 1, .isa = hsdi_isa_detect()};
    rig r = {.n = 100, .n_top = 8, .n_rows = 1};
    hsd_error err = {0};
    must(hsdi_device_open_cpu(&options, &r.device, &err), &err);
    assert_int_equal(compile(&r, &err), HSD_EUNSUPPORTED);
    assert_null(r.graph);
    hsdi_device_close(&r.device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ACCELERATORS(draws_are_those_of_the_definition),
        ON_ACCELERATORS(long_rows_too),
        ON_ACCELERATORS(penalties_divide_as_c_does),
        ON_ACCELERATORS(tokens_are_drawn_as_often_as_they_should_be),
        ON_ACCELERATORS(what_does_not_fit_is_refused),
        cmocka_unit_test(devices_without_the_operation_refuse_it),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
