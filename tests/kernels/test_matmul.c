/// Proves: the vector sets equal their definitions (ref, ref-bf16) bit for bit in every product,
///         every shape and every type; N rows equal N single rows; groups may be cut anywhere; ref
///         is close to a product in double; packing loses nothing; NaN and infinity reach their own
///         row only.
/// Does not prove: speed (bench_kernels), nor that the GGUF blocks are read rightly (test_dequant).
#include "tests/kernels/product.h"

static const int row_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 33, 70};
static const int out_counts[] = {1, 16, 17, 31, 48, 67, 80, 131};

/// Calls `check` for many shapes of every type.
static void each_shape(void (*check)(const product *))
{
    static const int plain_in[] = {1, 2, 7, 16, 33, 64, 129};
    static const int blocks_in[] = {1, 2, 3, 5};
    uint64_t seed = 1;
    for (int t = 0; t < N_TYPES; t++) {
        int block = hsdi_type_find(all_types[t])->block_elems;
        size_t n_in =
            block == 1 ? sizeof plain_in / sizeof *plain_in : sizeof blocks_in / sizeof *blocks_in;
        for (size_t i = 0; i < n_in; i++) {
            for (size_t r = 0; r < sizeof row_counts / sizeof *row_counts; r++, seed++) {
                int n_out = out_counts[seed % (sizeof out_counts / sizeof *out_counts)];
                int in = block == 1 ? plain_in[i] : block * blocks_in[i];
                product p = product_make(all_types[t], row_counts[r], in, n_out, seed);
                check(&p);
                product_free(&p);
            }
        }
    }
}

static void check_sets(const product *p)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = runnable_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        float *want = run(hsdi_kernels_definition(sets[i]->isa), p);
        float *got = run(sets[i], p);
        check_same(describe(sets[i], p), p->seed, got, want, (size_t)p->n_rows * (size_t)p->n_out);
        free(want);
        free(got);
    }
}

static void every_set_equals_its_definition_bit_for_bit(void **state)
{
    (void)state;
    each_shape(check_sets);
}

enum { N_SETS_MAX = HSDI_N_ISA + 1 };

/// The definitions are in the first places, so that this holds for them too.
static int all_sets(const hsdi_kernels *sets[N_SETS_MAX])
{
    sets[0] = hsdi_kernels_definition(HSDI_ISA_REF);
    sets[1] = hsdi_kernels_definition(HSDI_ISA_AVX512BF16);
    return runnable_sets(sets + 2) + 2;
}

static void check_single_rows(const product *p)
{
    const hsdi_kernels *sets[N_SETS_MAX];
    int n_sets = all_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        float *want = must_alloc((size_t)p->n_rows * (size_t)p->n_out * sizeof *want);
        float *got = run(sets[i], p);
        uint8_t *w = pack(sets[i], p);
        for (int r = 0; r < p->n_rows; r++) {
            run_rows(sets[i], p, w, r, 1, 0, want);
        }
        check_same(describe(sets[i], p), p->seed, got, want, (size_t)p->n_rows * (size_t)p->n_out);
        free(w);
        free(got);
        free(want);
    }
}

static void n_rows_equal_n_single_rows(void **state)
{
    (void)state;
    each_shape(check_single_rows);
}

static void check_cuts(const product *p)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = runnable_sets(sets), n_groups = (p->n_out + HSDI_GROUP - 1) / HSDI_GROUP;
    for (int i = 0; i < n_sets; i++) {
        float *got = must_alloc((size_t)p->n_rows * (size_t)p->n_out * sizeof *got);
        float *want = run(sets[i], p);
        uint8_t *w = pack(sets[i], p);
        for (int cut = 1; cut <= n_groups; cut++) {
            run_rows(sets[i], p, w, 0, p->n_rows, cut, got);
            check_same(describe(sets[i], p), p->seed, got, want,
                       (size_t)p->n_rows * (size_t)p->n_out);
        }
        free(w);
        free(got);
        free(want);
    }
}

static void groups_may_be_cut_anywhere(void **state)
{
    (void)state;
    each_shape(check_cuts);
}

/// |y - y_double| <= bound. Activations of quantised types are rounded to d * q with an error of at
/// most d / 2 and, as d itself has 11 bits, 127 d / 2^12 more, d = max|x| / 127 of their block;
/// sums of n terms in f32 err by n eps sum|x w|. ref-bf16 rounds activations to 8 bits, so by 2^-8.
static void check_definition_against_double(const hsdi_kernels *set, const product *p)
{
    float *y = run(set, p);
    double rounding = set == hsdi_kernels_definition(HSDI_ISA_AVX512BF16) ? 0x1p-8 : 0;
    float *w = must_alloc((size_t)p->n_in * sizeof *w);
    bool rounded = hsdi_type_find(p->type)->block_elems > 1;
    for (int o = 0; o < p->n_out; o++) {
        hsdi_dequant_row(p->type, p->source + (size_t)o * row_bytes(p->type, p->n_in), p->n_in, w);
        for (int r = 0; r < p->n_rows; r++) {
            const float *x = p->x + (size_t)r * (size_t)p->n_in;
            size_t at = (size_t)r * (size_t)p->n_out + (size_t)o;
            double sum = 0, size = 0, step = 0;
            for (int k = 0; k < p->n_in; k++) {
                double amax = 0;
                for (int j = k / 32 * 32; rounded && j < k / 32 * 32 + 32; j++) {
                    amax = fmax(amax, fabs((double)x[j]));
                }
                sum += (double)x[k] * (double)w[k];
                size += fabs((double)x[k] * (double)w[k]);
                step += fabs((double)x[k] * (double)w[k]) * rounding;
                step += fabs((double)w[k]) * amax / 127 / 2 * 1.07;
            }
            // with minima, d q scale and the minimum cancel: their sizes, not their difference,
            // round
            double slack = p->type == HSDI_TYPE_Q4_K || p->type == HSDI_TYPE_Q5_K ? 64 : 1;
            double bound = step + slack * (p->n_in + 4) * 1.2e-7 * (size + step) + 1e-5;
            sum += p->bias ? (double)p->bias[o] : 0;
            sum += p->accumulate ? (double)p->y_old[at] : 0;
            if (!(fabs(sum - (double)y[at]) <= bound)) {
                fail_msg("%s, seed %llu: row %d, channel %d: got %g, want %g +- %g",
                         describe(set, p), (unsigned long long)p->seed, r, o, (double)y[at], sum,
                         bound);
            }
        }
    }
    free(w);
    free(y);
}

static void check_against_double(const product *p)
{
    check_definition_against_double(hsdi_kernels_definition(HSDI_ISA_REF), p);
    if (p->type == HSDI_TYPE_BF16) {
        check_definition_against_double(hsdi_kernels_definition(HSDI_ISA_AVX512BF16), p);
    }
}

static void definitions_are_products_of_dequantised_weights(void **state)
{
    (void)state;
    each_shape(check_against_double);
}

/// Column by column. x = 127 e_k quantises without error, so y is column k times 127 up to one
/// rounding of f32.
static void check_unit_vectors(const hsdi_kernels *set)
{
    enum { n_in = 512, n_out = 19 };
    for (int t = 0; t < N_TYPES; t++) {
        product p = product_make(all_types[t], 1, n_in, n_out, 40);
        float *y = must_alloc((size_t)n_out * sizeof *y);
        float *w = must_alloc((size_t)n_in * sizeof *w);
        uint8_t *packed = pack(set, &p);
        for (int k = 0; k < n_in; k++) {
            memset(p.x, 0, (size_t)n_in * sizeof *p.x);
            p.x[k] = 127.0f;
            run_rows(set, &p, packed, 0, 1, 0, y);
            for (int o = 0; o < n_out; o++) {
                const uint8_t *row = p.source + (size_t)o * row_bytes(p.type, n_in);
                hsdi_dequant_row(p.type, row, n_in, w);
                double want = 127 * (double)w[k];
                if (fabs((double)y[o] - want) > 1e-4 * (fabs(want) + 1)) {
                    fail_msg("%s: weight [%d, %d]: got %g, want %g", hsdi_type_find(p.type)->name,
                             o, k, (double)y[o], want);
                }
            }
        }
        free(packed);
        free(w);
        free(y);
        product_free(&p);
    }
}

static void unit_vectors_give_back_every_packed_weight(void **state)
{
    (void)state;
    check_unit_vectors(hsdi_kernels_definition(HSDI_ISA_REF));
    check_unit_vectors(hsdi_kernels_definition(HSDI_ISA_AVX512BF16));
}

static void a_nan_or_infinity_stays_in_its_row_and_shows(void **state)
{
    (void)state;
    const hsdi_kernels *sets[N_SETS_MAX];
    int n_sets = all_sets(sets);
    for (int t = 0; t < N_TYPES; t++) {
        product p = product_make(all_types[t], 5, 512, 40, 4);
        p.x[812] = NAN;       // row 1
        p.x[1553] = INFINITY; // row 3
        for (int i = 0; i < n_sets; i++) {
            float *y = run(sets[i], &p);
            for (int o = 0; o < p.n_out; o++) {
                for (int r = 0; r < 5; r++) {
                    bool finite = isfinite(y[r * p.n_out + o]);
                    assert_true(finite == (r % 2 == 0));
                }
            }
            free(y);
        }
        check_sets(&p);
        product_free(&p);
    }
}

static void extreme_quants_do_not_saturate(void **state)
{
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        for (int byte = 0; byte < 256; byte += 51) { // 0x00, 0x33, ..., 0xff
            product p = product_make(all_types[t], 4, 512, 16, 8);
            size_t block = (size_t)hsdi_type_find(p.type)->block_bytes;
            for (size_t i = 0; block > 4 && i < 16 * row_bytes(p.type, 512); i += block) {
                size_t head = p.type == HSDI_TYPE_Q6_K ? 0 : block > 100 ? 4 : 2;
                size_t tail = p.type == HSDI_TYPE_Q6_K ? 2 : 0;
                memset(p.source + i + head, p.type == HSDI_TYPE_Q8_0 && byte == 51 ? 0x80 : byte,
                       block - head - tail);
            }
            for (int k = 0; k < 4 * 512; k++) {
                p.x[k] = (k / 512) % 2 ? -1.0f : 1.0f;
            }
            check_sets(&p);
            check_against_double(&p);
            product_free(&p);
        }
    }
}

static void act_prepare_of_every_set_equals_its_definition(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = runnable_sets(sets);
    for (int t = 0; t < N_TYPES; t++) {
        enum { n_rows = 300, n_in = 256 };
        noise s = {7};
        float *x = noise_floats(&s, (size_t)n_rows * (size_t)n_in);
        for (int i = 0; i < n_in; i++) { // halves of a step, tiny and zero blocks
            x[i] = (float)(i % 32) - 15.5f;
            x[n_in + i] = x[i] * 1e-32f;
            x[2 * n_in + i] = -0.0f;
        }
        for (int i = 0; i < n_sets; i++) {
            const hsdi_kernels *ref = hsdi_kernels_definition(sets[i]->isa);
            size_t size = ref->act_bytes(all_types[t], n_in) * (size_t)n_rows;
            uint8_t *want = must_alloc(size), *got = must_alloc(size);
            assert_int_equal(sets[i]->act_bytes(all_types[t], n_in),
                             ref->act_bytes(all_types[t], n_in));
            memset(want, 0, size);
            memset(got, 0, size);
            const hsdi_acts to = {all_types[t], n_rows, n_in, got};
            ref->act_prepare(&(hsdi_acts){to.type, n_rows, n_in, want}, x, n_in, 0, n_rows);
            sets[i]->act_prepare(&to, x, n_in, 0, n_rows);
            assert_memory_equal(got, want, size);
            free(want);
            free(got);
        }
        free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_equals_its_definition_bit_for_bit),
        cmocka_unit_test(n_rows_equal_n_single_rows),
        cmocka_unit_test(groups_may_be_cut_anywhere),
        cmocka_unit_test(definitions_are_products_of_dequantised_weights),
        cmocka_unit_test(unit_vectors_give_back_every_packed_weight),
        cmocka_unit_test(a_nan_or_infinity_stays_in_its_row_and_shows),
        cmocka_unit_test(extreme_quants_do_not_saturate),
        cmocka_unit_test(act_prepare_of_every_set_equals_its_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
