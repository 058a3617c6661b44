/// Proves: for every tensor type, rows looked up by token and by position, through each preparation
///           and product of the OpenCL device, are those of arithmetic in double within rounding;
///           any number of rows gives the bits of single rows.
///         Every kind of kernel for products, in tables as odd as they may be, gives the bits of
///         the
///           default ones; those with rows in 8 bits are near to them, and give the same bits in
///           every size and for every number of rows. Every half is decoded to its number.
///         Weights that are laid out anew give the bits of weights as they are in the file, also
///         three matrices in one launch.
///         Where memory is the host's, neither rows nor weights are copied, and the bits are those
///           of copies.
///         Times of kernels are taken on request.
///         Small enough for Oclgrind, which looks for races, bad addresses and memory that is read
///           before it is written (tests/opencl_driver.sh).
/// Does not prove: that a time is right; rotation, heads, caches, attention: test_device.c.
#include "devices/launch/driver.h"
#include "tests/opencl.h"

#include <math.h>
#include <string.h>

enum { N_OUT = 70, N_VOCAB = 11, N_ROWS = 11, MAX_IN = 256 };

static void must(hsd_status status, const hsd_error *err)
{
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err->where, err->message);
    }
}

static uint32_t draw(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/// A positive f16 from 2^-8 to 2^-5.
static void put_scale(uint8_t *at, unsigned *seed)
{
    uint32_t bits = 0x1c00 + draw(seed) % 0xc00;
    at[0] = (uint8_t)bits;
    at[1] = (uint8_t)(bits >> 8);
}

/// Any bits for integers, moderate numbers for floats.
static void fill_block(hsdi_type type, int block_bytes, uint8_t *b, unsigned *seed)
{
    for (int i = 0; i < block_bytes; i++) {
        b[i] = (uint8_t)draw(seed);
    }
    float value = (float)draw(seed) / 16777216.0f - 0.5f;
    uint32_t bits;
    switch (type) {
    case HSDI_TYPE_F32:
        memcpy(b, &value, sizeof value);
        break;
    case HSDI_TYPE_BF16:
        memcpy(&bits, &value, sizeof bits);
        b[0] = (uint8_t)(bits >> 16);
        b[1] = (uint8_t)(bits >> 24);
        break;
    case HSDI_TYPE_F16:
        put_scale(b, seed);
        b[1] = (uint8_t)(b[1] | (draw(seed) & 1) << 7);
        break;
    case HSDI_TYPE_Q6_K:
        put_scale(b + 208, seed);
        break;
    case HSDI_TYPE_Q4_K:
    case HSDI_TYPE_Q5_K:
        put_scale(b, seed);
        put_scale(b + 2, seed);
        break;
    case HSDI_TYPE_Q8_0:
    case HSDI_TYPE_Q4_0:
        put_scale(b, seed);
        break;
    }
}

/// A matrix on the device and its numbers here.
typedef struct matrix {
    hsdi_weight *weight;
    uint8_t *blocks;
    float *numbers; ///< [n_out, n_in]
    int n_in;
} matrix;

static matrix make_matrix(hsdi_device *device, hsdi_type type, int n_out, int n_in, int uses,
                          unsigned *seed)
{
    const hsdi_type_info *info = hsdi_type_find(type);
    size_t per_row = (size_t)(n_in / info->block_elems);
    size_t row_bytes = per_row * (size_t)info->block_bytes;
    matrix m = {.n_in = n_in};
    hsd_error err = {0};
    m.blocks = calloc((size_t)n_out, row_bytes);
    m.numbers = calloc((size_t)n_out * (size_t)n_in, sizeof *m.numbers);
    for (size_t b = 0; b < per_row * (size_t)n_out; b++) {
        uint8_t *at = m.blocks + b * (size_t)info->block_bytes;
        fill_block(type, info->block_bytes, at, seed);
    }
    for (int o = 0; o < n_out; o++) {
        hsdi_dequant_row(type, m.blocks + (size_t)o * row_bytes, n_in,
                         m.numbers + (ptrdiff_t)o * n_in);
    }
    must(hsdi_weight_create(device, type, n_out, n_in, m.blocks, uses, &m.weight, &err), &err);
    return m;
}

static void free_matrix(matrix *m)
{
    hsdi_weight_destroy(&m->weight);
    free(m->blocks);
    free(m->numbers);
}

/// y = W pre(E[token] + P[pos]) + bias
typedef struct rig {
    hsdi_pre pre;
    int n_in; ///< of the product; the rows have twice as many columns with HSDI_PRE_SILU_MUL
    matrix tokens, positions, product, bias, norm_w, norm_b;
    hsdi_device *device;
    hsdi_buffer *out;
    hsdi_graph *graph;
} rig;

static void rig_open(rig *r, hsdi_device *device, hsdi_type type, int n_in, hsdi_pre pre)
{
    unsigned seed = (unsigned)type * 8 + (unsigned)pre;
    hsd_error err = {0};
    int width = pre == HSDI_PRE_SILU_MUL ? 2 * n_in : n_in;
    *r = (rig){.pre = pre, .n_in = n_in, .device = device};
    r->tokens = make_matrix(device, type, N_VOCAB, width, HSDI_USE_ROWS, &seed);
    r->positions = make_matrix(device, type, N_ROWS, width, HSDI_USE_ROWS, &seed);
    r->product = make_matrix(device, type, N_OUT, n_in, HSDI_USE_MATMUL, &seed);
    r->bias = make_matrix(device, HSDI_TYPE_F32, 1, N_OUT, HSDI_USE_VECTOR, &seed);
    r->norm_w = make_matrix(device, HSDI_TYPE_F32, 1, width, HSDI_USE_VECTOR, &seed);
    r->norm_b = make_matrix(device, HSDI_TYPE_F32, 1, width, HSDI_USE_VECTOR, &seed);
    must(hsdi_buffer_create(device, N_ROWS, N_OUT, &r->out, &err), &err);
    const hsdi_view rows = {.value = 0, .width = width};
    const hsdi_op ops[] = {
        {.kind = HSDI_OP_EMBED, .y = rows, .n_parts = 1, .parts = {{.w = r->tokens.weight}}},
        {.kind = HSDI_OP_EMBED_POS, .y = rows, .n_parts = 1, .parts = {{.w = r->positions.weight}}},
        {.kind = HSDI_OP_MATMUL,
         .x = rows,
         .y = {.value = HSDI_VALUE_OUT, .width = N_OUT},
         .pre = pre,
         .norm_w = pre == HSDI_PRE_RMS_NORM || pre == HSDI_PRE_LAYER_NORM ? r->norm_w.weight : NULL,
         .norm_b = pre == HSDI_PRE_LAYER_NORM ? r->norm_b.weight : NULL,
         .eps = 1e-5f,
         .n_parts = 1,
         .parts = {{.w = r->product.weight, .bias = r->bias.weight}}},
    };
    const hsdi_graph_desc desc = {.name = "rig",
                                  .n_rows_max = N_ROWS,
                                  .n_values = 1,
                                  .value_width = &width,
                                  .out_width = N_OUT,
                                  .n_ops = 3,
                                  .ops = ops,
                                  .n_vocab = N_VOCAB,
                                  .n_ctx = N_ROWS};
    must(hsdi_graph_compile(device, &desc, &r->graph, &err), &err);
}

static void rig_close(rig *r)
{
    matrix *all[] = {&r->tokens, &r->positions, &r->product, &r->bias, &r->norm_w, &r->norm_b};
    hsdi_graph_destroy(&r->graph);
    hsdi_buffer_destroy(&r->out);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        free_matrix(all[i]);
    }
}

static int token_of(int row)
{
    return row * 7 % N_VOCAB;
}

/// Rows [first, first + n) -> y [n, N_OUT].
static void run(rig *r, int first, int n, float *y)
{
    int32_t tokens[N_ROWS], pos[N_ROWS];
    hsd_error err = {0};
    for (int i = 0; i < n; i++) {
        tokens[i] = token_of(first + i);
        pos[i] = first + i;
    }
    const hsdi_job job = {.n_rows = n, .tokens = tokens, .pos = pos, .out = r->out};
    must(hsdi_graph_run(r->graph, &job, &err), &err);
    memcpy(y, hsdi_buffer_map(r->out), (size_t)n * N_OUT * sizeof *y);
}

static void prepare(const rig *r, double *x)
{
    int n = r->n_in;
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) {
        sum += x[i];
    }
    double mean = r->pre == HSDI_PRE_LAYER_NORM ? sum / n : 0.0;
    for (int i = 0; i < n; i++) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    for (int i = 0; i < n; i++) {
        double v = x[i], w = (double)r->norm_w.numbers[i];
        switch (r->pre) {
        case HSDI_PRE_RMS_NORM:
        case HSDI_PRE_LAYER_NORM:
            x[i] = (v - mean) / sqrt(squares / n + 1e-5) * w;
            x[i] += r->pre == HSDI_PRE_LAYER_NORM ? (double)r->norm_b.numbers[i] : 0.0;
            break;
        case HSDI_PRE_GELU:
            x[i] = 0.5 * v * (1.0 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
            break;
        case HSDI_PRE_SILU_MUL:
            x[i] = v / (1.0 + exp(-v)) * x[n + i];
            break;
        case HSDI_PRE_NONE:
        case HSDI_N_PRES:
            break;
        }
    }
}

/// Rounding: sums of up to 256 float32 products, 1e-5 of the sum of their absolute values.
static void check_row(const rig *r, int row, const float *got, const char *type)
{
    double x[2 * MAX_IN];
    const int width = r->tokens.n_in;
    for (int i = 0; i < width; i++) {
        x[i] = (double)r->tokens.numbers[token_of(row) * width + i] +
               (double)r->positions.numbers[row * width + i];
    }
    prepare(r, x);
    for (int o = 0; o < N_OUT; o++) {
        double want = (double)r->bias.numbers[o], size = fabs(want);
        for (int i = 0; i < r->n_in; i++) {
            double part = x[i] * (double)r->product.numbers[o * r->n_in + i];
            want += part;
            size += fabs(part);
        }
        if (!(fabs((double)got[o] - want) <= 1e-5 * size)) {
            fail_msg("%s, preparation %d, row %d, channel %d: %.9g, should be %.9g", type,
                     (int)r->pre, row, o, (double)got[o], want);
        }
    }
}

/// Oclgrind is slow.
static bool is_slow(void)
{
    return getenv("HSD_TEST_ONE_THREAD") != NULL;
}

static void check(rig *r, const char *type)
{
    const int counts[] = {is_slow() ? 2 : 5, 2, N_ROWS};
    static float one[N_ROWS * N_OUT], many[N_ROWS * N_OUT];
    size_t n_counts = is_slow() ? 1 : sizeof counts / sizeof *counts;
    for (int row = 0; row < N_ROWS; row++) {
        if (is_slow() && (row < (N_ROWS - counts[0]) / 2 || row >= (N_ROWS + counts[0]) / 2)) {
            continue;
        }
        run(r, row, 1, one + (ptrdiff_t)row * N_OUT);
        check_row(r, row, one + (ptrdiff_t)row * N_OUT, type);
    }
    for (size_t i = 0; i < n_counts; i++) {
        int n = counts[i], first = (N_ROWS - n) / 2;
        run(r, first, n, many);
        for (int at = 0; at < n * N_OUT; at++) {
            float want = one[first * N_OUT + at];
            if (memcmp(&many[at], &want, sizeof want) != 0) {
                fail_msg("%s: row %d of %d, channel %d: %.9g, alone %.9g", type, at / N_OUT, n,
                         at % N_OUT, (double)many[at], (double)want);
            }
        }
    }
}

static void every_type_is_computed_and_no_number_of_rows_changes_a_bit(void **state)
{
    (void)state;
    static const hsdi_type types[] = {HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16,
                                      HSDI_TYPE_Q8_0, HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K,
                                      HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K};
    hsdi_device *device = open_opencl_or_skip();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const hsdi_type_info *info = hsdi_type_find(types[t]);
        // Plain types have a last piece that is no whole vector.
        int n_in = info->block_elems == 1 ? 75 : 256;
        rig r;
        rig_open(&r, device, types[t], n_in, (hsdi_pre)(t % HSDI_N_PRES));
        check(&r, info->name);
        rig_close(&r);
    }
    hsdi_device_close(&device);
}

// ---- other kernels than the default ones ----

static const hsdi_type all_types[] = {HSDI_TYPE_F32,  HSDI_TYPE_F16,  HSDI_TYPE_BF16,
                                      HSDI_TYPE_Q8_0, HSDI_TYPE_Q4_0, HSDI_TYPE_Q4_K,
                                      HSDI_TYPE_Q5_K, HSDI_TYPE_Q6_K};

/// Rows 0 .. N_ROWS - 1 by such tiles, one by one or together.
static void run_with(hsdi_device *device, hsdi_type type, const hsdi_tile *tiles, bool together,
                     float *y)
{
    hsdi_tile_set *set = hsdi_device_tiles(device);
    hsdi_tile *now = set->tiles.of[hsdi_tile_type_index(type)];
    hsdi_tile before[HSDI_TILE_CLASSES];
    rig r;
    memcpy(before, now, sizeof before);
    if (tiles) {
        memcpy(now, tiles, sizeof before);
    }
    assert_true(hsdi_tiles_fit(&set->tiles, &set->limits));
    rig_open(&r, device, type, hsdi_type_find(type)->block_elems == 1 ? 75 : 256, HSDI_PRE_NONE);
    memcpy(now, before, sizeof before);
    static const int counts[] = {1, 3, 7, N_ROWS};
    if (together) { // each class of rows; the last one has all
        for (int i = 0; i < HSDI_TILE_CLASSES; i++) {
            run(&r, 0, counts[i], y);
        }
    }
    for (int row = 0; row < N_ROWS && !together; row++) {
        run(&r, row, 1, y + (ptrdiff_t)row * N_OUT);
    }
    rig_close(&r);
}

static void must_equal(const float *got, const float *want, const char *type, const hsdi_tile *tile)
{
    char name[32];
    hsdi_tile_describe(tile, name, sizeof name);
    for (int i = 0; i < N_ROWS * N_OUT; i++) {
        if (memcmp(&got[i], &want[i], sizeof *got) != 0) {
            fail_msg("%s, table with %s: row %d, channel %d: %.9g, should be %.9g", type, name,
                     i / N_OUT, i % N_OUT, (double)got[i], (double)want[i]);
        }
    }
}

/// Rows in 8 bits: 1/254 of the largest element of 32 for each, averaged out.
static void must_be_near(const float *got, const float *want, const char *type)
{
    float largest = 0.0f;
    for (int i = 0; i < N_ROWS * N_OUT; i++) {
        largest = fmaxf(largest, fabsf(want[i]));
    }
    for (int i = 0; i < N_ROWS * N_OUT; i++) {
        if (!(fabsf(got[i] - want[i]) <= 0.02f * largest)) {
            fail_msg("%s in 8 bits: row %d, channel %d: %.9g, should be near %.9g of %.9g", type,
                     i / N_OUT, i % N_OUT, (double)got[i], (double)want[i], (double)largest);
        }
    }
}

static size_t type_step(void)
{
    return is_slow() ? 6 : 1;
}

static void other_kernels_for_products_give_the_same_bits(void **state)
{
    (void)state;
    static const hsdi_tile tables[][HSDI_TILE_CLASSES] = {
        {{HSDI_TILE_ITEM, 1, 2, 64},
         {HSDI_TILE_ITEM, 4, 1, 64},
         {HSDI_TILE_ITEM, 2, 1, 16},
         {HSDI_TILE_ITEM, 1, 4, 32}},
        {{HSDI_TILE_SUBGROUP, 1, 1, 64},
         {HSDI_TILE_SUBGROUP, 4, 2, 64},
         {HSDI_TILE_SUBGROUP, 8, 1, 16},
         {HSDI_TILE_SUBGROUP, 2, 4, 64}},
        // Absurd, and legal.
        {{HSDI_TILE_LANES, 8, 1, 16},
         {HSDI_TILE_LANES, 1, 4, 32},
         {HSDI_TILE_LANES, 2, 2, 64},
         {HSDI_TILE_LANES, 1, 1, 16}},
    };
    static float want[N_ROWS * N_OUT], got[N_ROWS * N_OUT];
    hsdi_device *device = open_opencl_or_skip();
    const hsdi_tile_limits *limits = &hsdi_device_tiles(device)->limits;
    for (size_t t = 0; t < sizeof all_types / sizeof *all_types; t += type_step()) {
        const char *type = hsdi_type_find(all_types[t])->name;
        run_with(device, all_types[t], NULL, false, want);
        for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
            bool there = tables[i][0].kind != HSDI_TILE_SUBGROUP || limits->subgroups;
            // Mesa 22.3 compiles kind "item" with several rows for minutes.
            bool slow = tables[i][0].kind == HSDI_TILE_ITEM && strstr(limits->platform, "rusticl");
            if (there && !slow) {
                run_with(device, all_types[t], tables[i], true, got);
                must_equal(got, want, type, &tables[i][0]);
            }
        }
    }
    print_message("sub-groups: %s\n", limits->subgroups ? "compared" : "the device has none");
    hsdi_device_close(&device);
}

static void products_of_rows_in_8_bits_are_near_and_give_one_set_of_bits(void **state)
{
    (void)state;
    static const hsdi_tile plain[] = {{HSDI_TILE_DOT, 1, 1, 64},
                                      {HSDI_TILE_DOT, 1, 1, 64},
                                      {HSDI_TILE_DOT, 1, 1, 64},
                                      {HSDI_TILE_DOT, 1, 1, 64}};
    static const hsdi_tile other[] = {{HSDI_TILE_DOT, 1, 2, 16},
                                      {HSDI_TILE_DOT, 4, 1, 64},
                                      {HSDI_TILE_DOT, 2, 2, 32},
                                      {HSDI_TILE_DOT, 8, 1, 64}};
    static float floats[N_ROWS * N_OUT], want[N_ROWS * N_OUT], got[N_ROWS * N_OUT];
    hsdi_device *device = open_opencl_or_skip();
    for (size_t t = 3; t < sizeof all_types / sizeof *all_types; t += type_step()) {
        const char *type = hsdi_type_find(all_types[t])->name;
        run_with(device, all_types[t], NULL, false, floats);
        run_with(device, all_types[t], plain, false, want);
        must_be_near(want, floats, type);
        assert_memory_not_equal(want, floats, sizeof want); // they are others
        run_with(device, all_types[t], other, true, got);
        must_equal(got, want, type, &other[1]);
    }
    hsdi_device_close(&device);
}

static void every_half_is_decoded_to_its_number(void **state)
{
    (void)state;
    enum { WIDE = 15, N_TOKENS = 65536 / WIDE + 1, PER_RUN = 512 }; // rows without whole vectors
    static uint16_t halves[N_TOKENS * WIDE];
    static const int32_t pos[PER_RUN];
    int32_t tokens[PER_RUN];
    skip_where_one_thread_must_submit(); // Oclgrind takes minutes for so many
    hsdi_device *device = open_opencl_or_skip();
    hsdi_weight *weight = NULL;
    hsdi_buffer *out = NULL;
    hsdi_graph *graph = NULL;
    hsd_error err = {0};
    for (int i = 0; i < N_TOKENS * WIDE; i++) {
        halves[i] = (uint16_t)i;
    }
    must(hsdi_weight_create(device, HSDI_TYPE_F16, N_TOKENS, WIDE, halves, HSDI_USE_ROWS, &weight,
                            &err),
         &err);
    const hsdi_op op = {.kind = HSDI_OP_EMBED,
                        .y = {.value = HSDI_VALUE_OUT, .width = WIDE},
                        .n_parts = 1,
                        .parts = {{.w = weight}}};
    const hsdi_graph_desc desc = {.name = "halves",
                                  .n_rows_max = PER_RUN,
                                  .out_width = WIDE,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_vocab = N_TOKENS,
                                  .n_ctx = PER_RUN};
    must(hsdi_buffer_create(device, PER_RUN, WIDE, &out, &err), &err);
    must(hsdi_graph_compile(device, &desc, &graph, &err), &err);
    for (int first = 0; first < N_TOKENS; first += PER_RUN) {
        for (int i = 0; i < PER_RUN; i++) {
            tokens[i] = (first + i) % N_TOKENS;
        }
        const hsdi_job job = {.n_rows = PER_RUN, .tokens = tokens, .pos = pos, .out = out};
        must(hsdi_graph_run(graph, &job, &err), &err);
        const float *got = hsdi_buffer_map(out);
        for (int i = 0; i < PER_RUN * WIDE; i++) {
            uint16_t bits = halves[tokens[i / WIDE] * WIDE + i % WIDE];
            float want;
            hsdi_dequant_row(HSDI_TYPE_F16, &bits, 1, &want);
            if (memcmp(&got[i], &want, sizeof want) != 0 && !(isnan(got[i]) && isnan(want))) {
                fail_msg("half %04x: %.9g, should be %.9g", bits, (double)got[i], (double)want);
            }
        }
    }
    hsdi_graph_destroy(&graph);
    hsdi_buffer_destroy(&out);
    hsdi_weight_destroy(&weight);
    hsdi_device_close(&device);
}

// ---- weights that are laid out anew ----

enum { N_PARTS = 3, PARTS_IN = 1376, PARTS_OUT = N_OUT + 5 + 33 }; ///< 1376: 5 chunks and 3 blocks

/// Three products of the same rows, the first and the last with a bias, by the tiles of the device:
/// y [N_ROWS, PARTS_OUT], n_rows rows at a time.
static void run_parts(hsdi_device *device, hsdi_type type, int n_in, int n_rows, float *y)
{
    static const int n_out[N_PARTS] = {N_OUT, 5, 33};
    static const int32_t pos[N_ROWS];
    unsigned seed = (unsigned)type + (unsigned)n_in;
    hsd_error err = {0};
    hsdi_buffer *in = NULL, *out = NULL;
    hsdi_graph *graph = NULL;
    matrix w[N_PARTS], bias[N_PARTS];
    hsdi_op op = {.kind = HSDI_OP_MATMUL,
                  .x = {.value = HSDI_VALUE_IN, .width = n_in},
                  .y = {.value = HSDI_VALUE_OUT, .width = PARTS_OUT},
                  .n_parts = N_PARTS};
    for (int i = 0, at = 0; i < N_PARTS; at += n_out[i++]) {
        w[i] = make_matrix(device, type, n_out[i], n_in, HSDI_USE_MATMUL, &seed);
        bias[i] = make_matrix(device, HSDI_TYPE_F32, 1, n_out[i], HSDI_USE_VECTOR, &seed);
        op.parts[i] = (hsdi_part){w[i].weight, i == 1 ? NULL : bias[i].weight, at};
    }
    const hsdi_graph_desc desc = {.name = "parts",
                                  .n_rows_max = N_ROWS,
                                  .in_width = n_in,
                                  .out_width = PARTS_OUT,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = 1};
    must(hsdi_buffer_create(device, N_ROWS, n_in, &in, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, PARTS_OUT, &out, &err), &err);
    must(hsdi_graph_compile(device, &desc, &graph, &err), &err);
    float x[N_ROWS * PARTS_IN];
    for (int i = 0; i < N_ROWS * n_in; i++) {
        x[i] = (float)draw(&seed) / 16777216.0f - 0.5f;
    }
    for (int first = 0; first < N_ROWS; first += n_rows) {
        int n = n_rows < N_ROWS - first ? n_rows : N_ROWS - first;
        memcpy(hsdi_buffer_map(in), x + (ptrdiff_t)first * n_in,
               (size_t)n * (size_t)n_in * sizeof *x);
        const hsdi_job job = {.n_rows = n, .pos = pos, .in = in, .out = out};
        must(hsdi_graph_run(graph, &job, &err), &err);
        memcpy(y + (ptrdiff_t)first * PARTS_OUT, hsdi_buffer_map(out),
               (size_t)n * PARTS_OUT * sizeof *y);
    }
    hsdi_graph_destroy(&graph);
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    for (int i = 0; i < N_PARTS; i++) {
        free_matrix(&w[i]);
        free_matrix(&bias[i]);
    }
}

static hsdi_device *open_with_panels(const char *panels)
{
    setenv("HSD_DEVICE_OWN", panels, 1);
    hsdi_device *device = open_opencl_or_skip();
    unsetenv("HSD_DEVICE_OWN");
    return device;
}

/// The kinds of the default table, by a type's index.
static void check_layouts(hsdi_device *plain, hsdi_device *panels)
{
    for (int t = 0; t < HSDI_N_TILE_TYPES; t++) {
        hsdi_type type = hsdi_tile_type(t);
        assert_false(hsdi_tiles_lay_out(&hsdi_device_tiles(plain)->tiles, type));
        assert_int_equal(hsdi_tiles_lay_out(&hsdi_device_tiles(panels)->tiles, type),
                         hsdi_tile_has_panels(type));
    }
}

static void weights_laid_out_anew_give_the_same_bits(void **state)
{
    (void)state;
    static const hsdi_type types[] = {HSDI_TYPE_F16, HSDI_TYPE_BF16, HSDI_TYPE_Q8_0,
                                      HSDI_TYPE_Q4_0};
    static const hsdi_tile odd[HSDI_TILE_CLASSES] = {{HSDI_TILE_PANELS, 1, 4, 256},
                                                     {HSDI_TILE_PANELS, 2, 2, 64},
                                                     {HSDI_TILE_PANELS, 8, 1, 256},
                                                     {HSDI_TILE_PANELS, 4, 1, 128}};
    static float want[N_ROWS * PARTS_OUT], got[N_ROWS * PARTS_OUT];
    if (is_slow()) {
        print_message("skipped: Oclgrind would take an hour\n");
        skip();
    }
    hsdi_device *plain = open_with_panels("0"), *panels = open_with_panels("1");
    check_layouts(plain, panels);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        bool has_blocks = hsdi_type_find(types[t])->block_elems > 1;
        // Whole chunks alone, none, and some with a rest.
        const int n_in[] = {512, has_blocks ? 96 : 75, has_blocks ? PARTS_IN : 1051};
        hsdi_tile *tiles = hsdi_device_tiles(panels)->tiles.of[hsdi_tile_type_index(types[t])];
        // One type has all tiles, the others two: compilers take seconds for each.
        bool has_all = types[t] == HSDI_TYPE_Q8_0;
        tiles[1] = has_all ? tiles[1] : tiles[2];
        tiles[3] = has_all ? tiles[3] : tiles[2];
        for (int i = 0; i < (has_all ? 2 : 1) * 3; i++) {
            if (i == 3) {
                memcpy(tiles, odd, sizeof odd);
            }
            run_parts(plain, types[t], n_in[i % 3], 1, want);
            for (int n_rows = 1; n_rows <= N_ROWS; n_rows += n_rows == 1 ? 2 : 4) {
                memset(got, 0xff, sizeof got);
                run_parts(panels, types[t], n_in[i % 3], n_rows, got);
                for (int at = 0; at < N_ROWS * PARTS_OUT; at++) {
                    if (memcmp(&got[at], &want[at], sizeof *got) != 0) {
                        fail_msg(
                            "%s, %d columns, %d rows at a time, row %d, channel %d: %a, not %a",
                            hsdi_type_find(types[t])->name, n_in[i % 3], n_rows, at / PARTS_OUT,
                            at % PARTS_OUT, (double)got[at], (double)want[at]);
                    }
                }
            }
        }
    }
    hsdi_device_close(&plain);
    hsdi_device_close(&panels);
}

/// y = W x by rows outside the graph, on the device as the environment says.
static void run_shared(const char *shared, float *y, int64_t *n_rows, int64_t *n_weights)
{
    const char *before = getenv("HSD_DEVICE_SHARED");
    setenv("HSD_DEVICE_SHARED", shared, 1);
    hsdi_device *device = open_opencl_or_skip();
    before ? setenv("HSD_DEVICE_SHARED", before, 1) : unsetenv("HSD_DEVICE_SHARED");
    static const int32_t pos[N_ROWS];
    unsigned seed = 3;
    hsd_error err = {0};
    hsdi_buffer *in = NULL, *out = NULL;
    hsdi_graph *graph = NULL;
    matrix m =
        make_matrix(device, HSDI_TYPE_Q8_0, N_OUT, MAX_IN, HSDI_USE_MATMUL | HSDI_USE_STAYS, &seed);
    const hsdi_op op = {.kind = HSDI_OP_MATMUL,
                        .x = {.value = HSDI_VALUE_IN, .width = MAX_IN},
                        .y = {.value = HSDI_VALUE_OUT, .width = N_OUT},
                        .n_parts = 1,
                        .parts = {{.w = m.weight}}};
    const hsdi_graph_desc desc = {.name = "shared",
                                  .n_rows_max = N_ROWS,
                                  .in_width = MAX_IN,
                                  .out_width = N_OUT,
                                  .n_ops = 1,
                                  .ops = &op,
                                  .n_ctx = N_ROWS};
    must(hsdi_buffer_create(device, N_ROWS, MAX_IN, &in, &err), &err);
    must(hsdi_buffer_create(device, N_ROWS, N_OUT, &out, &err), &err);
    must(hsdi_graph_compile(device, &desc, &graph, &err), &err);
    for (int pass = 0; pass < 3; pass++) { // the same memory again and again, with other numbers
        for (int i = 0; i < N_ROWS * MAX_IN; i++) {
            hsdi_buffer_map(in)[i] = (float)draw(&seed) / 16777216.0f - 0.5f;
        }
        const hsdi_job job = {.n_rows = is_slow() ? 1 : N_ROWS, .pos = pos, .in = in, .out = out};
        must(hsdi_graph_run(graph, &job, &err), &err);
        memcpy(y + (ptrdiff_t)pass * N_ROWS * N_OUT, hsdi_buffer_map(out),
               sizeof(float) * N_ROWS * N_OUT);
    }
    *n_rows = ((hsdi_launch_device *)device)->n_row_copies;
    *n_weights = ((hsdi_launch_device *)device)->n_weight_copies;
    hsdi_graph_destroy(&graph);
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    free_matrix(&m);
    hsdi_device_close(&device);
}

static void shared_memory_is_not_copied(void **state)
{
    (void)state;
    static float want[3 * N_ROWS * N_OUT], got[3 * N_ROWS * N_OUT];
    int64_t n_rows, n_weights;
    run_shared("0", want, &n_rows, &n_weights);
    assert_int_equal(n_rows, 3 * 3); // table, rows there, rows back
    assert_int_equal(n_weights, 1);
    run_shared("1", got, &n_rows, &n_weights);
    assert_int_equal(n_rows, 0);
    assert_int_equal(n_weights, 0);
    assert_memory_equal(got, want, sizeof want);
}

static void times_of_kernels_are_taken_on_request(void **state)
{
    (void)state;
    hsdi_device *device = open_opencl_or_skip();
    hsdi_device_time times[8];
    hsd_error err = {0};
    static float y[N_ROWS * N_OUT];
    rig r;
    rig_open(&r, device, HSDI_TYPE_F32, 75, HSDI_PRE_GELU);
    run(&r, 0, 1, y);
    assert_int_equal(hsdi_device_times(device, times, 8), 0);
    must(hsdi_device_profile(device, true, &err), &err);
    run(&r, 0, 1, y);
    run(&r, 0, 1, y);
    run(&r, 0, N_ROWS, y);
    check_row(&r, N_ROWS - 1, y + (ptrdiff_t)(N_ROWS - 1) * N_OUT, "F32");
    char one[HSDI_TILE_NAME_BYTES], eight[HSDI_TILE_NAME_BYTES];
    const hsdi_tiles *tiles = &hsdi_device_tiles(device)->tiles;
    hsdi_tile_name(&tiles->of[0][0], HSDI_TYPE_F32, one);
    hsdi_tile_name(&tiles->of[0][3], HSDI_TYPE_F32, eight);
    const char *const names[] = {"embed_F32", "gelu", one, eight};
    static const int counts[] = {6, 3, 2, 1}; // tokens and positions are looked up alike
    assert_int_equal(hsdi_device_times(device, times, 8), 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(times[i].name, names[i]);
        assert_int_equal(times[i].n, counts[i]);
        assert_true(times[i].ns >= 0);
    }
    must(hsdi_device_profile(device, false, &err), &err);
    run(&r, 0, 1, y);
    assert_int_equal(hsdi_device_times(device, times, 8), 0);
    rig_close(&r);
    hsdi_device_close(&device);
}

static void times_of_many_launches_in_one_submission_are_all_taken(void **state)
{
    (void)state;
    enum { N_COPIES = 150, SIZE = 16 }; // more than there are events
    hsdi_device *device = open_opencl_or_skip();
    hsdi_device_time times[8];
    hsd_error err = {0};
    hsdi_op ops[N_COPIES];
    hsdi_buffer *in = NULL, *out = NULL;
    hsdi_graph *graph = NULL;
    for (int i = 0; i < N_COPIES; i++) {
        ops[i] = (hsdi_op){.kind = HSDI_OP_COPY,
                           .x = {.value = HSDI_VALUE_IN, .width = SIZE},
                           .y = {.value = HSDI_VALUE_OUT, .width = SIZE}};
    }
    const hsdi_graph_desc desc = {.name = "copies",
                                  .n_rows_max = 1,
                                  .in_width = SIZE,
                                  .out_width = SIZE,
                                  .n_ops = N_COPIES,
                                  .ops = ops,
                                  .n_ctx = 1};
    static const int32_t pos[1];
    must(hsdi_buffer_create(device, 1, SIZE, &in, &err), &err);
    must(hsdi_buffer_create(device, 1, SIZE, &out, &err), &err);
    must(hsdi_graph_compile(device, &desc, &graph, &err), &err);
    hsdi_buffer_map(in)[SIZE - 1] = 7.0f;
    const hsdi_job job = {.n_rows = 1, .pos = pos, .in = in, .out = out};
    must(hsdi_device_profile(device, true, &err), &err);
    must(hsdi_graph_run(graph, &job, &err), &err);
    assert_int_equal(hsdi_device_times(device, times, 8), 1);
    assert_int_equal(times[0].n, N_COPIES);
    assert_true(hsdi_buffer_map(out)[SIZE - 1] == 7.0f);
    hsdi_graph_destroy(&graph);
    hsdi_buffer_destroy(&in);
    hsdi_buffer_destroy(&out);
    hsdi_device_close(&device); // while times are taken
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_computed_and_no_number_of_rows_changes_a_bit),
        cmocka_unit_test(other_kernels_for_products_give_the_same_bits),
        cmocka_unit_test(products_of_rows_in_8_bits_are_near_and_give_one_set_of_bits),
        cmocka_unit_test(every_half_is_decoded_to_its_number),
        cmocka_unit_test(weights_laid_out_anew_give_the_same_bits),
        cmocka_unit_test(shared_memory_is_not_copied),
        cmocka_unit_test(times_of_kernels_are_taken_on_request),
        cmocka_unit_test(times_of_many_launches_in_one_submission_are_all_taken),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
