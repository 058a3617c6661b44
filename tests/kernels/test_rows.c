/// Proves: norms, rope, activations, add, argmax and log-sum-exp of the vector sets equal ref bit
/// for
///         bit, for every length and with NaN and infinity; rows do not touch each other; ref is
///         close to the same in double.
/// Does not prove: speed.
#include "tests/kernels/support.h"

enum { N_MAX = 70, N_ROWS = 3, STRIDE = 77 };

static int all_sets(const hsdi_kernels **sets)
{
    sets[0] = hsdi_kernels_get(HSDI_ISA_REF);
    return runnable_sets(sets + 1) + 1;
}

typedef struct rows {
    float *x, *up, *w, *b;
} rows;

static rows rows_make(uint64_t seed)
{
    noise s = {seed};
    rows r = {noise_floats(&s, N_ROWS * STRIDE), noise_floats(&s, N_ROWS * STRIDE),
              noise_floats(&s, STRIDE), noise_floats(&s, STRIDE)};
    for (int i = 0; i < N_ROWS * STRIDE; i++) {
        r.x[i] *= 4.0f;
    }
    return r;
}

static void rows_free(rows *r)
{
    free(r->x);
    free(r->up);
    free(r->w);
    free(r->b);
}

/// A kernel of rows with its other arguments bound. y starts as a copy of `up`.
typedef void apply(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y);

static void rms_norm(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->rms_norm(in->x, STRIDE, in->w, 1e-5f, n_rows, n, y, STRIDE);
}

static void layer_norm(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->layer_norm(in->x, STRIDE, in->w, in->b, 1e-5f, n_rows, n, y, STRIDE);
}

static void layer_norm_without_b(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->layer_norm(in->x, STRIDE, in->w, NULL, 1e-5f, n_rows, n, y, STRIDE);
}

static void silu_mul(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->silu_mul(in->x, STRIDE, in->up, STRIDE, n_rows, n, y, STRIDE);
}

static void gelu_tanh(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->gelu_tanh(in->x, STRIDE, n_rows, n, y, STRIDE);
}

static void add(const hsdi_kernels *k, const rows *in, int n_rows, int n, float *y)
{
    k->add(in->x, STRIDE, n_rows, n, y, STRIDE);
}

static const struct {
    const char *name;
    apply *apply;
} kernels_of_rows[] = {
    {"rms_norm", rms_norm}, {"layer_norm", layer_norm}, {"layer_norm, no b", layer_norm_without_b},
    {"silu_mul", silu_mul}, {"gelu_tanh", gelu_tanh},   {"add", add},
};
enum { N_KERNELS = sizeof kernels_of_rows / sizeof kernels_of_rows[0] };

static void run(int i_kernel, const hsdi_kernels *set, const rows *in, int n_rows, int n, float *y)
{
    memcpy(y, in->up, N_ROWS * STRIDE * sizeof *y);
    kernels_of_rows[i_kernel].apply(set, in, n_rows, n, y);
}

static void compare_sets(const rows *in, uint64_t seed)
{
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int k = 0; k < N_KERNELS; k++) {
        for (int n = 1; n <= N_MAX; n++) {
            float want[N_ROWS * STRIDE], got[N_ROWS * STRIDE];
            run(k, sets[0], in, N_ROWS, n, want);
            for (int i = 1; i < n_sets; i++) {
                char what[64];
                snprintf(what, sizeof what, "%s %s, n %d", sets[i]->name, kernels_of_rows[k].name,
                         n);
                run(k, sets[i], in, N_ROWS, n, got);
                check_same(what, seed, got, want, N_ROWS * STRIDE);
            }
        }
    }
}

static void every_set_equals_ref_bit_for_bit_and_writes_no_further(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        rows in = rows_make(seed);
        compare_sets(&in, seed);
        rows_free(&in);
    }
}

static void nan_infinity_and_extremes_equal_ref_too(void **state)
{
    (void)state;
    static const float odd[] = {NAN,     INFINITY, -INFINITY, 3e38f,    -3e38f,
                                1e-42f,  -1e-42f,  88.375f,   -88.375f, 87.33f,
                                -87.34f, 1e4f,     -1e4f,     0.0f,     -0.0f};
    for (size_t o = 0; o < sizeof odd / sizeof *odd; o++) {
        rows in = rows_make(20 + o);
        for (int i = 0; i < N_ROWS * STRIDE; i += 3 + (int)o) {
            in.x[i] = odd[o];
        }
        compare_sets(&in, 20 + o);
        rows_free(&in);
    }
}

static void one_row_alone_equals_the_row_among_others(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    rows in = rows_make(3), last = in;
    last.x += (N_ROWS - 1) * STRIDE;
    last.up += (N_ROWS - 1) * STRIDE;
    for (int k = 0; k < N_KERNELS; k++) {
        for (int i = 0; i < n_sets; i++) {
            float want[N_ROWS * STRIDE], got[STRIDE];
            run(k, sets[i], &in, N_ROWS, 45, want);
            memcpy(got, last.up, sizeof got);
            kernels_of_rows[k].apply(sets[i], &last, 1, 45, got);
            check_same(kernels_of_rows[k].name, 3, got, want + (N_ROWS - 1) * STRIDE, 45);
        }
    }
    rows_free(&in);
}

static void y_may_be_x(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    rows in = rows_make(4);
    for (int k = 0; k < N_KERNELS - 1; k++) {
        for (int i = 0; i < n_sets; i++) {
            float want[N_ROWS * STRIDE], got[N_ROWS * STRIDE];
            rows same = in;
            run(k, sets[i], &in, N_ROWS, 45, want);
            memcpy(got, in.x, sizeof got);
            same.x = got;
            kernels_of_rows[k].apply(sets[i], &same, N_ROWS, 45, got);
            for (int r = 0; r < N_ROWS; r++) {
                check_same(kernels_of_rows[k].name, 4, got + r * STRIDE, want + r * STRIDE, 45);
            }
        }
    }
    rows_free(&in);
}

/// What a kernel of rows means, in double. x: row, n: its length.
static double meaning(int i_kernel, const rows *in, const float *x, const float *up, int n, int i)
{
    double sum = 0, square = 0, v = (double)x[i], w = (double)in->w[i];
    for (int j = 0; j < n; j++) {
        sum += (double)x[j] / n;
        square += (double)x[j] * (double)x[j] / n;
    }
    double unit = (v - sum) / sqrt(fmax(square - sum * sum, 0) + (double)1e-5f);
    switch (i_kernel) {
    case 0:
        return v / sqrt(square + (double)1e-5f) * w;
    case 1:
        return unit * w + (double)in->b[i];
    case 2:
        return unit * w;
    case 3:
        return v / (1 + exp(-v)) * (double)up[i];
    case 4:
        return 0.5 * v * (1 + tanh(sqrt(2 / acos(-1.0)) * (v + 0.044715 * v * v * v)));
    default:
        return v + (double)up[i];
    }
}

/// Some ten roundings of values up to 10: 1e-5; n = 1 makes layer_norm 0/0-like, hence from 2.
static void ref_is_what_the_names_say(void **state)
{
    (void)state;
    rows in = rows_make(9);
    for (int k = 0; k < N_KERNELS; k++) {
        for (int n = 2; n <= N_MAX; n++) {
            float y[N_ROWS * STRIDE];
            run(k, hsdi_kernels_get(HSDI_ISA_REF), &in, N_ROWS, n, y);
            for (int r = 0; r < N_ROWS; r++) {
                for (int i = 0; i < n; i++) {
                    double want = meaning(k, &in, in.x + r * STRIDE, in.up + r * STRIDE, n, i);
                    if (!(fabs((double)y[r * STRIDE + i] - want) <= 1e-5 * (1 + fabs(want)))) {
                        fail_msg("%s, n %d, row %d, %d: got %g, want %g", kernels_of_rows[k].name,
                                 n, r, i, (double)y[r * STRIDE + i], want);
                    }
                }
            }
        }
    }
    rows_free(&in);
}

/// Rotate in one set; x [N_ROWS, 3 heads of d_head].
static float *rotate(const hsdi_kernels *set, int d_head, int n_rot, bool neox, int cut)
{
    noise s = {(uint64_t)(d_head * 100 + n_rot)};
    int stride = 3 * d_head + 1;
    float *x = noise_floats(&s, (size_t)(N_ROWS * stride));
    float *angles = must_alloc((size_t)(N_ROWS * n_rot) * sizeof *angles);
    for (int r = 0; r < N_ROWS; r++) {
        for (int i = 0; i < n_rot / 2; i++) {
            angles[r * n_rot + i] = cosf((float)(r + i));
            angles[r * n_rot + n_rot / 2 + i] = sinf((float)(r + i));
        }
    }
    hsdi_rope rope = {x, stride, 3, d_head, n_rot, neox, angles};
    set->rope(&rope, 0, cut);
    set->rope(&rope, cut, N_ROWS);
    free(angles);
    return x;
}

static void rope_of_every_set_equals_ref_and_rotates(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int shape = 0; shape < 80; shape++) {
        int n_rot = 2 + shape % 40 * 2, d_head = n_rot + shape % 5, stride = 3 * d_head + 1;
        bool neox = shape >= 40;
        noise s = {(uint64_t)(d_head * 100 + n_rot)};
        float *x = noise_floats(&s, (size_t)(N_ROWS * stride));
        float *want = rotate(sets[0], d_head, n_rot, neox, 1);
        for (int i = 1; i < n_sets; i++) {
            float *got = rotate(sets[i], d_head, n_rot, neox, 2);
            check_same(sets[i]->name, s.state, got, want, (size_t)(N_ROWS * stride));
            free(got);
        }
        for (int p = 0; p < n_rot / 2; p++) { // second row, second head
            int base = stride + d_head, a = neox ? p : 2 * p, b = neox ? p + n_rot / 2 : 2 * p + 1;
            double c = cos(1.0 + p), sine = sin(1.0 + p);
            double xa = (double)x[base + a], xb = (double)x[base + b];
            assert_true(fabs((double)want[base + a] - (xa * c - xb * sine)) < 1e-5);
            assert_true(fabs((double)want[base + b] - (xb * c + xa * sine)) < 1e-5);
        }
        free(want);
        free(x);
    }
}

static void argmax_takes_the_lowest_index_and_passes_over_nan(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int i = 0; i < n_sets; i++) {
        for (int n = 1; n <= N_MAX; n++) {
            for (int at = 0; at < n; at++) {
                float x[N_MAX];
                for (int j = 0; j < n; j++) {
                    x[j] = j % 5 == 3 ? NAN : j % 7 == 2 ? -INFINITY : -1.0f - (float)(j % 3);
                }
                x[at] = 5.0f;
                x[at + (n - at) / 2] = 5.0f; // an equal one behind it, or itself
                assert_int_equal(sets[i]->argmax(x, n), at);
            }
        }
        float none[] = {NAN, -INFINITY, NAN}, top[] = {NAN, -INFINITY, INFINITY, INFINITY};
        assert_int_equal(sets[i]->argmax(none, 3), 0);
        assert_int_equal(sets[i]->argmax(top, 4), 2);
    }
}

static void log_sum_exp_equals_ref_and_the_double(void **state)
{
    (void)state;
    const hsdi_kernels *sets[HSDI_N_ISA];
    int n_sets = all_sets(sets);
    for (int n = 1; n < 2000; n += n < 70 ? 1 : 131) {
        noise s = {(uint64_t)n};
        float *x = noise_floats(&s, (size_t)n);
        double sum = 0;
        for (int i = 0; i < n; i++) {
            x[i] *= 5.0f;
            sum += exp((double)x[i]);
        }
        float want = sets[0]->log_sum_exp(x, n);
        assert_true(fabs((double)want - log(sum)) < 1e-5 * (1 + fabs(log(sum))));
        for (int i = 1; i < n_sets; i++) {
            float got = sets[i]->log_sum_exp(x, n);
            check_same(sets[i]->name, (uint64_t)n, &got, &want, 1);
        }
        free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_equals_ref_bit_for_bit_and_writes_no_further),
        cmocka_unit_test(nan_infinity_and_extremes_equal_ref_too),
        cmocka_unit_test(one_row_alone_equals_the_row_among_others),
        cmocka_unit_test(y_may_be_x),
        cmocka_unit_test(ref_is_what_the_names_say),
        cmocka_unit_test(rope_of_every_set_equals_ref_and_rotates),
        cmocka_unit_test(argmax_takes_the_lowest_index_and_passes_over_nan),
        cmocka_unit_test(log_sum_exp_equals_ref_and_the_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
