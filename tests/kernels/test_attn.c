/// Proves: for caches of every type: the vector sets equal ref bit for bit; N rows equal N single
///         rows; rows and heads may be cut anywhere; where the trunk ends and where cells lie does
///         not matter; ref is close to softmax attention in double over the cells as they were
///         rounded; stored elements are near to what they were; keys may be values; NaN and
///         infinity do not crash and stay in their row.
/// Does not prove: speed (bench_kernels).
#include "kernels/types.h"
#include "tests/kernels/support.h"

/// Attention over known positions: cell_of[r][p] is fixed, the trunk is a choice.
typedef struct attention {
    hsdi_attn a;
    int n_rows, n_common; ///< all rows share the cells of the first n_common positions
    uint64_t seed;
    float *q, *k, *v; ///< k and v: what the cells hold, as f32
    char *k_cells, *v_cells;
    int32_t *cells; ///< [n_rows, n_common + n_own_max]
    int32_t *n_positions;
    int n_max;
} attention;

static float half(const char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return hsdi_f16_to_f32(h);
}

/// Element i of a head in a cell.
static float element(hsd_cache_type type, const char *head, int d_head, int i)
{
    int d_pad = (d_head + 15) / 16 * 16;
    float f;
    switch (type) {
    case HSD_CACHE_F16:
        return half(head + 2 * i);
    case HSD_CACHE_Q8_0:
        return (float)((const int8_t *)head)[i] * half(head + d_pad + i / 32 * 2);
    default:
        memcpy(&f, head + (size_t)i * sizeof f, sizeof f);
        return f;
    }
}

/// Cells of these heads [n_cells, n_kv, d_head], which become what the cells hold.
static char *store(hsd_cache_type type, float *x, int n_cells, int n_kv, int d_head)
{
    size_t head_bytes = hsdi_cache_head_bytes(type, d_head), cell_bytes = (size_t)n_kv * head_bytes;
    char *cells = must_alloc((size_t)n_cells * cell_bytes);
    for (int c = 0; c < n_cells; c++) {
        float *heads = x + (ptrdiff_t)c * n_kv * d_head;
        char *cell = cells + (size_t)c * cell_bytes;
        hsdi_cache_store(type, heads, n_kv, d_head, cell);
        for (int i = 0; i < n_kv * d_head; i++) {
            const char *head = cell + (size_t)(i / d_head) * head_bytes;
            heads[i] = element(type, head, d_head, i % d_head);
        }
    }
    return cells;
}

static attention attention_make(hsd_cache_type type, int n_rows, int n_head, int n_kv, int d_head,
                                int n_common, int n_own_max, uint64_t seed)
{
    noise s = {seed};
    attention t = {.n_rows = n_rows, .n_common = n_common, .seed = seed};
    t.n_max = n_common + n_own_max;
    int n_cells = n_common + n_rows * n_own_max + 3;
    t.q = noise_floats(&s, (size_t)(n_rows * n_head * d_head));
    t.k = noise_floats(&s, (size_t)(n_cells * n_kv * d_head));
    t.v = noise_floats(&s, (size_t)(n_cells * n_kv * d_head));
    t.k_cells = store(type, t.k, n_cells, n_kv, d_head);
    t.v_cells = store(type, t.v, n_cells, n_kv, d_head);
    t.cells = must_alloc((size_t)(n_rows * t.n_max) * sizeof *t.cells);
    t.n_positions = must_alloc((size_t)n_rows * sizeof *t.n_positions);
    for (int p = 0; p < n_common; p++) {
        int32_t cell = noise_below(&s, n_cells);
        for (int r = 0; r < n_rows; r++) {
            t.cells[r * t.n_max + p] = cell;
        }
    }
    for (int r = 0; r < n_rows; r++) {
        t.n_positions[r] = n_common + 1 + noise_below(&s, n_own_max);
        for (int p = n_common; p < t.n_max; p++) {
            t.cells[r * t.n_max + p] = noise_below(&s, n_cells);
        }
    }
    t.a = (hsdi_attn){.n_head = n_head,
                      .n_kv = n_kv,
                      .d_head = d_head,
                      .scale = 1.0f / sqrtf((float)d_head),
                      .q = t.q,
                      .q_stride = n_head * d_head,
                      .type = type,
                      .k = t.k_cells,
                      .v = t.v_cells,
                      .out_stride = n_head * d_head};
    return t;
}

static void attention_free(attention *t)
{
    free(t->q);
    free(t->k);
    free(t->v);
    free(t->k_cells);
    free(t->v_cells);
    free(t->cells);
    free(t->n_positions);
}

static size_t out_floats(const attention *t)
{
    return (size_t)t->n_rows * (size_t)t->a.out_stride;
}

/// With a trunk of n_trunk <= n_common positions; cut the rows or the heads in two.
static float *run(const hsdi_kernels *set, const attention *t, int n_trunk, int row_cut,
                  int head_cut)
{
    hsdi_attn a = t->a;
    int32_t *n_path = must_alloc((size_t)t->n_rows * sizeof *n_path);
    for (int r = 0; r < t->n_rows; r++) {
        n_path[r] = t->n_positions[r] - n_trunk;
    }
    a.trunk = t->cells;
    a.n_trunk = n_trunk;
    a.path = t->cells + n_trunk;
    a.path_stride = t->n_max;
    a.n_path = n_path;
    a.out = must_alloc(out_floats(t) * sizeof *a.out);
    void *scratch = must_alloc(set->attn_scratch_bytes(a.n_head, a.d_head, t->n_rows));
    const int rows[] = {0, row_cut, t->n_rows}, heads[] = {0, head_cut, a.n_head};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2; j++) {
            set->attn(&a, rows[i], rows[i + 1], heads[j], heads[j + 1], scratch);
        }
    }
    free(scratch);
    free(n_path);
    return a.out;
}

static const char *describe(const hsdi_kernels *set, const attention *t)
{
    static char text[128];
    snprintf(text, sizeof text, "%s, %s: %d rows, %d heads on %d, d_head %d, %d shared", set->name,
             hsd_cache_type_name(t->a.type), t->n_rows, t->a.n_head, t->a.n_kv, t->a.d_head,
             t->n_common);
    return text;
}

static void each_shape(void (*check)(const attention *))
{
    static const int d_heads[] = {1, 3, 8, 16, 17, 24, 32, 64, 80, 96, 128};
    static const int heads[][2] = {{1, 1}, {4, 2}, {8, 1}, {3, 3}, {6, 2}};
    static const int common[] = {0, 1, 31, 32, 33, 63, 64, 100, 161};
    static const int rows[] = {1, 2, 3, 5, 8, 17};
    uint64_t seed = 1;
    for (size_t d = 0; d < sizeof d_heads / sizeof *d_heads; d++) {
        for (size_t c = 0; c < sizeof common / sizeof *common; c++, seed++) {
            const int *h = heads[seed % 5];
            attention t = attention_make((hsd_cache_type)((seed + seed / 6) % HSD_N_CACHE_TYPES),
                                         rows[seed % 6], h[0], h[1], d_heads[d], common[c],
                                         1 + (int)(seed * 7 % 50), seed);
            check(&t);
            attention_free(&t);
        }
    }
}

static int all_sets(const hsdi_kernels **sets)
{
    sets[0] = hsdi_kernels_get(HSDI_ISA_REF);
    return runnable_sets(sets + 1) + 1;
}

static void check_equal(const attention *t, const hsdi_kernels *set, float *got, const float *want)
{
    check_same(describe(set, t), t->seed, got, want, out_floats(t));
    free(got);
}

static void check_sets(const attention *t)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    float *want = run(sets[0], t, t->n_common, 0, 0);
    for (int i = 1; i < n_sets; i++) {
        check_equal(t, sets[i], run(sets[i], t, t->n_common, 0, 0), want);
    }
    free(want);
}

static void every_set_equals_ref_bit_for_bit(void **state)
{
    (void)state;
    each_shape(check_sets);
}

static void check_trunks(const attention *t)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        float *want = run(sets[i], t, t->n_common, 0, 0);
        for (int n_trunk = 0; n_trunk < t->n_common; n_trunk += n_trunk < 34 ? 1 : 15) {
            check_equal(t, sets[i], run(sets[i], t, n_trunk, 0, 0), want);
        }
        free(want);
    }
}

static void the_end_of_the_trunk_does_not_matter(void **state)
{
    (void)state;
    each_shape(check_trunks);
}

static void check_cuts(const attention *t)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        float *want = run(sets[i], t, t->n_common, 0, 0);
        for (int cut = 1; cut <= t->n_rows; cut++) {
            check_equal(t, sets[i], run(sets[i], t, t->n_common, cut, cut * 3 % t->a.n_head), want);
        }
        free(want);
    }
}

static void rows_and_heads_may_be_cut_anywhere(void **state)
{
    (void)state;
    each_shape(check_cuts);
}

/// Row r alone, as a call of one row.
static attention single_row(const attention *t, int r)
{
    attention one = *t;
    one.n_rows = 1;
    one.cells = t->cells + r * t->n_max;
    one.n_positions = t->n_positions + r;
    one.a.q = t->q + (ptrdiff_t)r * t->a.q_stride;
    return one;
}

static void check_single_rows(const attention *t)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        float *got = run(sets[i], t, t->n_common, 0, 0);
        for (int r = 0; r < t->n_rows; r++) {
            attention one = single_row(t, r);
            check_equal(&one, sets[i], run(sets[i], &one, one.n_common / 2, 0, 0),
                        got + (ptrdiff_t)r * t->a.out_stride);
        }
        free(got);
    }
}

static void n_rows_equal_n_single_rows(void **state)
{
    (void)state;
    each_shape(check_single_rows);
}

/// Softmax attention of one row and head in double. out [d_head].
static void attend_double(const attention *t, int r, int head, double *out)
{
    const hsdi_attn *a = &t->a;
    int kv = head / (a->n_head / a->n_kv), n = t->n_positions[r];
    double *score = must_alloc((size_t)n * sizeof *score), top = -INFINITY, sum = 0;
    for (int p = 0; p < n; p++) {
        ptrdiff_t cell = (ptrdiff_t)(t->cells[r * t->n_max + p] * a->n_kv + kv) * a->d_head;
        score[p] = 0;
        for (int d = 0; d < a->d_head; d++) {
            score[p] += (double)a->q[r * a->q_stride + head * a->d_head + d] *
                        (double)t->k[cell + d] * (double)a->scale;
        }
        top = fmax(top, score[p]);
    }
    memset(out, 0, (size_t)a->d_head * sizeof *out);
    for (int p = 0; p < n; p++) {
        ptrdiff_t cell = (ptrdiff_t)(t->cells[r * t->n_max + p] * a->n_kv + kv) * a->d_head;
        double weight = exp(score[p] - top);
        sum += weight;
        for (int d = 0; d < a->d_head; d++) {
            out[d] += weight * (double)t->v[cell + d];
        }
    }
    for (int d = 0; d < a->d_head; d++) {
        out[d] /= sum;
    }
    free(score);
}

/// Values are of size 1 to 3, scores of size 1 to 5 with an error of some 1e-6: 2e-5 holds.
static void check_against_double(const attention *t)
{
    const hsdi_kernels *ref = hsdi_kernels_get(HSDI_ISA_REF);
    float *got = run(ref, t, t->n_common, 0, 0);
    double want[128];
    for (int r = 0; r < t->n_rows; r++) {
        for (int h = 0; h < t->a.n_head; h++) {
            attend_double(t, r, h, want);
            for (int d = 0; d < t->a.d_head; d++) {
                double y = (double)got[r * t->a.out_stride + h * t->a.d_head + d];
                if (!(fabs(y - want[d]) <= 2e-5)) {
                    fail_msg("%s, seed %llu: row %d, head %d, %d: got %g, want %g",
                             describe(ref, t), (unsigned long long)t->seed, r, h, d, y, want[d]);
                }
            }
        }
    }
    free(got);
}

static void ref_is_softmax_attention(void **state)
{
    (void)state;
    each_shape(check_against_double);
}

static void nan_and_infinity_do_not_crash_and_stay_in_their_row(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
        attention t = attention_make(HSD_CACHE_F32, 3, 4, 2, 24, 70, 5, 99);
        t.q[t.a.q_stride + 5] = bad[b];
        for (int i = 0; i < n_sets; i++) {
            float *out = run(sets[i], &t, t.n_common, 0, 0);
            for (int d = 0; d < t.a.out_stride; d++) {
                bool finite = isfinite(out[d]) && isfinite(out[2 * t.a.out_stride + d]);
                assert_true(finite);
            }
            free(out);
        }
        check_sets(&t);
        attention_free(&t);
    }
}

/// Rows of a long window: one path, each row one position further, as in a prefill.
static void rows_of_a_chain_equal_single_rows(void **state)
{
    (void)state;
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        attention t = attention_make((hsd_cache_type)type, 70, 4, 2, 32, 77, 100, 7);
        for (int r = 1; r < t.n_rows; r++) {
            memcpy(t.cells + r * t.n_max, t.cells, (size_t)t.n_max * sizeof *t.cells);
            t.n_positions[r] = t.n_common + 1 + r;
        }
        t.n_positions[0] = t.n_common + 1;
        check_single_rows(&t);
        check_sets(&t);
        attention_free(&t);
    }
}

/// One wide head, whose keys are its values, and queries of several heads.
static void keys_may_be_values(void **state)
{
    (void)state;
    static const int d_heads[] = {80, 200, 768, 4096};
    for (int i = 0; i < 4 * (int)HSD_N_CACHE_TYPES; i++) {
        attention t = attention_make((hsd_cache_type)(i / 4), 2 + i % 2, 5 + i, 1, d_heads[i % 4],
                                     70, 9, (uint64_t)i + 20);
        t.a.v = t.a.k;
        check_sets(&t);
        check_cuts(&t);
        attention_free(&t);
    }
}

/// Half of a step of the type's scale; f16 has 11 bits.
static void stored_elements_are_near(void **state)
{
    (void)state;
    enum { N = 80 };
    for (int type = 0; type < HSD_N_CACHE_TYPES; type++) {
        noise s = {5};
        float *x = noise_floats(&s, N);
        x[3] = 0.0f;
        x[70] = 40.0f; // alone in its block to be large
        char cell[4 * N];
        hsdi_cache_store((hsd_cache_type)type, x, 1, N, cell);
        for (int i = 0; i < N; i++) {
            float top = 0.0f, y = element((hsd_cache_type)type, cell, N, i);
            for (int k = i / 32 * 32; k < N && k < i / 32 * 32 + 32; k++) {
                top = fmaxf(top, fabsf(x[k]));
            }
            float bound = type == HSD_CACHE_F32   ? 0.0f
                          : type == HSD_CACHE_F16 ? fabsf(x[i]) * 0x1p-11f
                                                  : top / 127.0f * (0.5f + 127.0f * 0x1p-11f);
            if (!(fabsf(x[i] - y) <= bound)) {
                fail_msg("%s: element %d: %g became %g", hsd_cache_type_name((hsd_cache_type)type),
                         i, (double)x[i], (double)y);
            }
        }
        free(x);
    }
}

static void nan_and_infinity_in_a_cell_reach_the_scores(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3 * (int)HSD_N_CACHE_TYPES; i++) {
        hsd_cache_type type = (hsd_cache_type)(i / 3);
        float x[40] = {[33] = bad[i % 3], [34] = 1.0f};
        char cell[4 * 40 + 8];
        hsdi_cache_store(type, x, 1, 40, cell);
        bool finite = isfinite(element(type, cell, 40, 33));
        assert_false(finite);
        assert_true(element(type, cell, 40, 0) == 0.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_equals_ref_bit_for_bit),
        cmocka_unit_test(the_end_of_the_trunk_does_not_matter),
        cmocka_unit_test(rows_and_heads_may_be_cut_anywhere),
        cmocka_unit_test(n_rows_equal_n_single_rows),
        cmocka_unit_test(ref_is_softmax_attention),
        cmocka_unit_test(nan_and_infinity_do_not_crash_and_stay_in_their_row),
        cmocka_unit_test(rows_of_a_chain_equal_single_rows),
        cmocka_unit_test(keys_may_be_values),
        cmocka_unit_test(stored_elements_are_near),
        cmocka_unit_test(nan_and_infinity_in_a_cell_reach_the_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
