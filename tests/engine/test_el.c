/// Proves: a model whose layers cache their input (EL-attention) computes what it computes with
///           keys and values: logits differ by no more than the bounds below, which are printed
///           with what was seen, for all tensor types of the fixtures and the shipped pair, on
///           every instruction set; on OpenCL and Level Zero too, where there are such devices.
///         Within that layout, rows together, threads, exits and any mixture of layouts by layer
///           change no bit, and the instruction sets give the same bits; rows together and exits
///           on devices, too.
///         Such a cache takes exactly half of the bytes. Models that it would be wrong for, or save
///           nothing on, are refused with the reason.
/// Does not prove: anything about speed, see docs/benchmarks.md.
#include "tests/accelerator.h"
#include "tests/engine/fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_TOKENS = 96, LAYERS_MAX = 64 };

/// Largest difference of a row's logits over the row's largest logit.
///
/// F32 and F16 files: the order of float32 sums. Files with blocks: activations of other products
/// are rounded to 8 bits on the CPU (the sum of inputs instead of the input), and key matrices to
/// F16; on devices only the latter.
static const struct {
    const char *path;
    double bound, device_bound;
} models[] = {
    {"models/hsd-story-target.gguf", 5e-2, 2e-3},
    {"models/hsd-story-draft.gguf", 5e-2, 2e-3},
    {"tests/reference/fixtures/gpt2.gguf", 1e-5, 1e-5},
    {"tests/reference/fixtures/gpt2-q8_0.gguf", 5e-2, 2e-3},
    {"tests/reference/fixtures/gpt2-256-kmix.gguf", 5e-2, 2e-3},
};

enum { N_MODELS = sizeof models / sizeof *models };

static const hsdi_layout *all_el(void)
{
    static hsdi_layout layouts[LAYERS_MAX];
    for (int i = 0; i < LAYERS_MAX; i++) {
        layouts[i] = HSDI_LAYOUT_EL;
    }
    return layouts;
}

static const hsdi_layout *every_other(void)
{
    static hsdi_layout layouts[LAYERS_MAX];
    for (int i = 0; i < LAYERS_MAX; i++) {
        layouts[i] = i % 2 == 0 ? HSDI_LAYOUT_EL : HSDI_LAYOUT_KV;
    }
    return layouts;
}

static hsdi_device *cpu(hsdi_isa isa, int n_threads)
{
    hsdi_device *device = NULL;
    hsd_error err = {0};
    const hsdi_cpu_options options = {.n_threads = n_threads, .isa = isa};
    hsd_status status = hsdi_device_open_cpu(&options, &device, &err);
    if (status != HSD_OK) {
        fail_msg("%s: %s: %s", hsd_status_name(status), err.where, err.message);
    }
    return device;
}

/// Logits of some tokens.
typedef struct result {
    int n, n_vocab, n_layers;
    float *logits; ///< [n, n_vocab]
    int32_t own[N_TOKENS];
} result;

/// Run tokens through a model, `together` rows at a time; 0: 1, 2, .. 8, 1, ..
static result run(const char *path, const hsdi_layout *layouts, hsdi_device *device, hsdi_isa isa,
                  int exit_layer, int together)
{
    fixture f;
    result out = {0};
    int32_t tokens[N_TOKENS];
    fixture_open_as(&f, path, layouts, device, isa, exit_layer);
    out.n = f.n_ctx < N_TOKENS ? f.n_ctx : N_TOKENS;
    out.n_vocab = f.model->n_vocab;
    out.n_layers = f.model->n_layers;
    out.logits = calloc((size_t)out.n * (size_t)out.n_vocab, sizeof *out.logits);
    for (int i = 0; i < out.n; i++) {
        tokens[i] = (i * i * 31 + i * 7 + 3) % out.n_vocab;
    }
    for (int at = 0, step = 1; at < out.n; at += step, step = step % 8 + 1) {
        step = together > 0 ? together : step;
        step = step < out.n - at ? step : out.n - at;
        fixture_pass(&f, tokens + at, at, step, out.own + at, out.logits + at * out.n_vocab);
    }
    fixture_close(&f);
    return out;
}

static void must_be_equal(const result *a, const result *b, const char *what, const char *path)
{
    size_t n = (size_t)a->n * (size_t)a->n_vocab;
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a->logits[i], &b->logits[i], sizeof(float)) != 0) {
            fail_msg("%s, %s: logit %zu of row %zu is %a and %a", path, what,
                     i % (size_t)a->n_vocab, i / (size_t)a->n_vocab, (double)a->logits[i],
                     (double)b->logits[i]);
        }
    }
}

/// How two layouts differ.
typedef struct difference {
    double worst; ///< of logits, over the row's largest
    double gap;   ///< the same between the two best tokens, where these differ: at most 2 worst
    int n_tokens; ///< rows with another best token
} difference;

static difference compare(const result *kv, const result *el)
{
    difference out = {0};
    for (int i = 0; i < kv->n; i++) {
        const float *a = kv->logits + i * kv->n_vocab, *b = el->logits + i * kv->n_vocab;
        double largest = 0.0, diff = 0.0;
        for (int v = 0; v < kv->n_vocab; v++) {
            double d = fabs((double)a[v] - (double)b[v]);
            largest = fmax(largest, fabs((double)a[v]));
            diff = d > diff || isnan(d) ? d : diff;
        }
        out.worst = diff / largest > out.worst || isnan(diff) ? diff / largest : out.worst;
        double gap = (double)a[kv->own[i]] - (double)a[el->own[i]];
        out.gap = fmax(out.gap, gap / largest);
        out.n_tokens += kv->own[i] != el->own[i];
    }
    return out;
}

/// Print what was seen, and hold it against the bound. That also bounds how far a token that comes
/// out differently was from the best one: only near-ties can.
static void judge(const result *kv, const result *el, const char *path, const char *where,
                  double bound)
{
    const difference seen = compare(kv, el);
    print_message("%-44s %-10s logits differ by %.2e of the row's largest, bound %.0e; %d of %d "
                  "tokens differ, by a gap of %.2e\n",
                  path, where, seen.worst, bound, seen.n_tokens, kv->n, seen.gap);
    if (!(seen.worst <= bound)) {
        fail_msg("%s on %s: difference %g exceeds %g", path, where, seen.worst, bound);
    }
}

static void logits_are_those_of_keys_and_values(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        for (int isa = 0; isa <= (int)hsdi_isa_supported(); isa++) {
            const char *name = hsdi_kernels_get((hsdi_isa)isa)->name;
            result kv = run(models[m].path, NULL, cpu((hsdi_isa)isa, 1), (hsdi_isa)isa, 0, 1);
            result el = run(models[m].path, all_el(), cpu((hsdi_isa)isa, 1), (hsdi_isa)isa, 0, 1);
            judge(&kv, &el, models[m].path, name, models[m].bound);
            free(kv.logits);
            free(el.logits);
        }
    }
}

static void instruction_sets_give_the_same_bits(void **state)
{
    (void)state;
    for (int m = 0; m < N_MODELS; m++) {
        result ref = run(models[m].path, all_el(), cpu(HSDI_ISA_REF, 1), HSDI_ISA_REF, 0, 8);
        for (int isa = 1; isa <= (int)hsdi_isa_supported() && isa < HSDI_ISA_AVX512BF16; isa++) {
            hsdi_isa set = (hsdi_isa)isa;
            result el = run(models[m].path, all_el(), cpu(set, 1), set, 0, 8);
            must_be_equal(&ref, &el, hsdi_kernels_get(set)->name, models[m].path);
            free(el.logits);
        }
        free(ref.logits);
    }
}

static void rows_threads_and_exits_change_no_bit(void **state)
{
    (void)state;
    hsdi_isa isa = hsdi_isa_detect();
    for (int m = 0; m < N_MODELS; m++) {
        for (int mixed = 0; mixed < 2; mixed++) {
            const hsdi_layout *layouts = mixed ? every_other() : all_el();
            result one = run(models[m].path, layouts, cpu(isa, 1), isa, 0, 1);
            for (int n_threads = 1; n_threads <= 3; n_threads++) {
                for (int exit = 0; exit < 2 && exit < one.n_layers; exit++) {
                    char what[64];
                    snprintf(what, sizeof what, "%d threads, exit %d", n_threads, exit);
                    result many = run(models[m].path, layouts, cpu(isa, n_threads), isa, exit, 0);
                    must_be_equal(&one, &many, what, models[m].path);
                    free(many.logits);
                }
            }
            free(one.logits);
        }
    }
}

static void a_device_computes_the_same(void **state)
{
    for (int m = 0; m < N_MODELS; m++) {
        hsdi_isa isa = hsdi_isa_detect();
        const char *path = models[m].path;
        result kv = run(path, NULL, open_accelerator_or_skip(*state), isa, 0, 1);
        result el = run(path, all_el(), open_accelerator_or_skip(*state), isa, 0, 1);
        judge(&kv, &el, path, *state, models[m].device_bound);
        for (int exit = 0; exit < 2 && exit < el.n_layers; exit++) {
            result many = run(path, all_el(), open_accelerator_or_skip(*state), isa, exit, 0);
            must_be_equal(&el, &many, "rows together", path);
            free(many.logits);
        }
        free(kv.logits);
        free(el.logits);
    }
}

static void models_that_it_would_be_wrong_for_are_refused(void **state)
{
    (void)state;
    static const char *const rotary[] = {"llama-gqa", "qwen2", "qwen3", "mistral"};
    for (size_t i = 0; i < sizeof rotary / sizeof *rotary; i++) {
        char path[128];
        hsd_error err = {0};
        hsdi_model *model = NULL;
        hsdi_weights *weights = NULL;
        hsdi_device *device = cpu(HSDI_ISA_REF, 1);
        snprintf(path, sizeof path, "tests/reference/fixtures/%s.gguf", rotary[i]);
        assert_int_equal(hsdi_model_load(path, &model, &err), HSD_OK);
        assert_int_equal(
            hsdi_weights_create(model, 0, model->n_layers, all_el(), device, &weights, &err),
            HSD_EUNSUPPORTED);
        assert_non_null(strstr(err.message, "rotary"));
        assert_null(weights);
        hsdi_model_free(&model);
        hsdi_device_close(&device);
    }
}

static void the_cache_takes_half_of_the_bytes(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsdi_device *device = cpu(HSDI_ISA_REF, 1);
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        hsdi_cache *cache = NULL;
        const hsdi_cache_desc desc = {.n_layers = 3,
                                      .n_cells = 100,
                                      .width = 768,
                                      .d_head = 64,
                                      .el_width = 768,
                                      .layouts = i ? all_el() : NULL};
        assert_int_equal(hsdi_cache_create(device, &desc, &cache, &err), HSD_OK);
        bytes[i] = hsdi_cache_bytes(cache);
        hsdi_cache_destroy(&cache);
    }
    assert_int_equal(bytes[0], 3 * 100 * 2 * 768 * 4);
    assert_int_equal(bytes[0], 2 * bytes[1]);
    hsdi_device_close(&device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_keys_and_values),
        cmocka_unit_test(instruction_sets_give_the_same_bits),
        cmocka_unit_test(rows_threads_and_exits_change_no_bit),
        cmocka_unit_test(models_that_it_would_be_wrong_for_are_refused),
        cmocka_unit_test(the_cache_takes_half_of_the_bytes),
        ON_ACCELERATORS(a_device_computes_the_same),
    };
    only_the_cases_asked_for();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
