/// Rotary positions: base frequencies and the scaling variants none, linear, llama3 and yarn.
#include "base/error.h"
#include "engine/model.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct scaling {
    char type[16];
    float factor;
    int64_t n_ctx_orig;
    float attn_factor, beta_fast, beta_slow, ext_factor;
} scaling;

static hsd_status key_f32(const hsdi_model *m, const char *suffix, float other, float *out,
                          hsd_error *err)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", hsdi_arch_name(m->arch), suffix);
    hsd_status status = hsdi_gguf_get_f32_or(m->gguf, key, other, out, err);
    if (status == HSD_OK && !(fabsf(*out) <= 1e12f)) {
        return hsdi_fail(err, HSD_EFORMAT, key, "the value %g is out of range", (double)*out);
    }
    return status;
}

static hsd_status read_scaling(const hsdi_model *m, scaling *s, hsd_error *err)
{
    char key[96];
    hsdi_gguf_str type;
    snprintf(key, sizeof key, "%s.rope.scaling.type", hsdi_arch_name(m->arch));
    hsd_status status = hsdi_gguf_get_str_or(m->gguf, key, "none", &type, err);
    if (status != HSD_OK) {
        return status;
    }
    snprintf(s->type, sizeof s->type, "%.*s", (int)(type.n < 15 ? type.n : 15), type.data);
    if (strcmp(s->type, "none") != 0 && strcmp(s->type, "linear") != 0 &&
        strcmp(s->type, "yarn") != 0) {
        return hsdi_fail(err, HSD_EUNSUPPORTED, key, "rotary scaling \"%s\" is not known", s->type);
    }
    float legacy = 1.0f; // old files give linear scaling by this key alone
    if ((status = key_f32(m, "rope.scale_linear", 1.0f, &legacy, err)) != HSD_OK ||
        (status = key_f32(m, "rope.scaling.factor", legacy, &s->factor, err)) != HSD_OK ||
        (status = key_f32(m, "rope.scaling.attn_factor", 1.0f, &s->attn_factor, err)) != HSD_OK ||
        (status = key_f32(m, "rope.scaling.yarn_beta_fast", 32.0f, &s->beta_fast, err)) != HSD_OK ||
        (status = key_f32(m, "rope.scaling.yarn_beta_slow", 1.0f, &s->beta_slow, err)) != HSD_OK ||
        (status = key_f32(m, "rope.scaling.yarn_ext_factor", 1.0f, &s->ext_factor, err)) !=
            HSD_OK) {
        return status;
    }
    if (legacy != 1.0f && strcmp(s->type, "none") == 0) {
        snprintf(s->type, sizeof s->type, "linear");
    }
    snprintf(key, sizeof key, "%s.rope.scaling.original_context_length", hsdi_arch_name(m->arch));
    status = hsdi_gguf_get_int_or(m->gguf, key, 1, 1 << 30, m->n_ctx, &s->n_ctx_orig, err);
    if (status == HSD_OK && strcmp(s->type, "none") != 0 && !(s->factor > 0.0f)) {
        return hsdi_fail(err, HSD_EFORMAT, "rope.scaling.factor", "the factor %g is not positive",
                         (double)s->factor);
    }
    return status;
}

/// Pair number at which the rotation makes `n_turns` turns over the original context.
/// Source: Peng et al., YaRN, arXiv:2309.00071, section 3.2.
static double yarn_pair(int n_rot, double n_ctx_orig, double n_turns, double base)
{
    return n_rot * log(n_ctx_orig / (n_turns * 2.0 * 3.14159265358979323846)) / (2.0 * log(base));
}

static void yarn(const hsdi_model *m, const scaling *s, double base, double *freqs)
{
    int n_half = m->n_rot / 2;
    double low = floor(yarn_pair(m->n_rot, (double)s->n_ctx_orig, s->beta_fast, base));
    double high = ceil(yarn_pair(m->n_rot, (double)s->n_ctx_orig, s->beta_slow, base));
    low = fmax(low, 0.0);
    high = fmin(high, (double)m->n_rot - 1.0);
    for (int i = 0; i < n_half; i++) {
        double ramp = (i - low) / fmax(0.001, high - low);
        double keep = (1.0 - fmin(1.0, fmax(0.0, ramp))) * s->ext_factor;
        freqs[i] = freqs[i] / (double)s->factor * (1.0 - keep) + freqs[i] * keep;
    }
}

static hsd_status apply_factors(hsdi_model *m, bool *found, hsd_error *err)
{
    const hsdi_gguf_tensor *t = hsdi_gguf_tensor_find(m->gguf, "rope_freqs.weight");
    *found = t != NULL;
    if (!t) {
        return HSD_OK;
    }
    if (t->type != HSDI_TYPE_F32 || t->n_dims != 1 || t->ne[0] != m->n_rot / 2) {
        return hsdi_fail_at(err, HSD_EFORMAT, "rope_freqs.weight", (int64_t)t->info_offset,
                            "expected %d factors of type F32", m->n_rot / 2);
    }
    for (int i = 0; i < m->n_rot / 2; i++) {
        float factor;
        memcpy(&factor, (const char *)t->data + (size_t)i * sizeof factor, sizeof factor);
        if (!(factor > 0.0f) || !isfinite(factor)) {
            return hsdi_fail_at(err, HSD_EFORMAT, "rope_freqs.weight", (int64_t)t->offset + 4 * i,
                                "factor %d is not a positive number", i);
        }
        m->rope_freqs[i] /= (double)factor;
    }
    return HSD_OK;
}

hsd_status hsdi_model_read_rope(hsdi_model *m, hsd_error *err)
{
    scaling s;
    float base;
    int64_t n_rot;
    char key[96];
    m->rope_mscale = 1.0f;
    if (m->arch == HSDI_ARCH_GPT2) {
        snprintf(m->rope_name, sizeof m->rope_name, "absolute");
        return HSD_OK;
    }
    snprintf(key, sizeof key, "%s.rope.dimension_count", hsdi_arch_name(m->arch));
    hsd_status status = hsdi_gguf_get_int_or(m->gguf, key, 2, m->d_head, m->d_head, &n_rot, err);
    if (status != HSD_OK || (status = key_f32(m, "rope.freq_base", 10000.0f, &base, err)) ||
        (status = read_scaling(m, &s, err)) != HSD_OK) {
        return status;
    }
    if (n_rot % 2 != 0 || !(base > 1.0f)) {
        return hsdi_fail(err, HSD_EFORMAT, key, "%d rotated elements with base %g", (int)n_rot,
                         (double)base);
    }
    m->n_rot = (int)n_rot;
    m->rope_freqs = hsdi_arena_array(&m->arena, (size_t)n_rot / 2, sizeof(double));
    if (!m->rope_freqs) {
        return hsdi_fail(err, HSD_ENOMEM, key, "rotary table");
    }
    for (int i = 0; i < m->n_rot / 2; i++) {
        m->rope_freqs[i] = pow((double)base, -2.0 * i / m->n_rot);
    }
    bool factors;
    if ((status = apply_factors(m, &factors, err)) != HSD_OK) {
        return status;
    }
    snprintf(m->rope_name, sizeof m->rope_name, factors ? "llama3" : "none");
    if (strcmp(s.type, "linear") == 0) {
        for (int i = 0; i < m->n_rot / 2; i++) {
            m->rope_freqs[i] /= (double)s.factor;
        }
        snprintf(m->rope_name, sizeof m->rope_name, "linear x%g", (double)s.factor);
    } else if (strcmp(s.type, "yarn") == 0) {
        yarn(m, &s, base, m->rope_freqs);
        m->rope_mscale = s.attn_factor * (float)(1.0 + 0.1 * log((double)s.factor));
        snprintf(m->rope_name, sizeof m->rope_name, "yarn x%g", (double)s.factor);
    }
    return HSD_OK;
}
