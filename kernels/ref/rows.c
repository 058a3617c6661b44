/// Norms, activations and the other kernels that work on one row.
///
/// A sum over a row runs in 16 lanes (element i in lane i % 16, in order), then over the lanes.
#include "kernels/ref/math.h"
#include "kernels/ref/ref.h"

void hsdi_ref_rms_norm(const float *x, int x_stride, const float *w, float eps, int n_rows, int n,
                       float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        float lanes[N_LANES] = {0};
        for (int i = 0; i < n; i++) {
            lanes[i % N_LANES] = fma1(x[i], x[i], lanes[i % N_LANES]);
        }
        float scale = 1.0f / sqrtf(lanes_sum(lanes) / (float)n + eps);
        for (int i = 0; i < n; i++) {
            y[i] = x[i] * scale * w[i];
        }
    }
}

void hsdi_ref_layer_norm(const float *x, int x_stride, const float *w, const float *b, float eps,
                         int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        float sums[N_LANES] = {0}, squares[N_LANES] = {0};
        for (int i = 0; i < n; i++) {
            sums[i % N_LANES] += x[i];
        }
        float mean = lanes_sum(sums) / (float)n;
        for (int i = 0; i < n; i++) {
            float centred = x[i] - mean;
            squares[i % N_LANES] = fma1(centred, centred, squares[i % N_LANES]);
        }
        float scale = 1.0f / sqrtf(lanes_sum(squares) / (float)n + eps);
        for (int i = 0; i < n; i++) {
            float unit = (x[i] - mean) * scale;
            y[i] = b ? fma1(unit, w[i], b[i]) : unit * w[i];
        }
    }
}

void hsdi_ref_rope(const hsdi_rope *rope, int row_begin, int row_end)
{
    int half = rope->n_rot / 2;
    for (int r = row_begin; r < row_end; r++) {
        const float *cosine = rope->cos_sin + (ptrdiff_t)r * rope->n_rot;
        const float *sine = cosine + half;
        for (int h = 0; h < rope->n_head; h++) {
            float *x = rope->x + (ptrdiff_t)r * rope->x_stride + (ptrdiff_t)h * rope->d_head;
            for (int i = 0; i < half; i++) {
                float *a = rope->neox ? &x[i] : &x[2 * i];
                float *b = rope->neox ? &x[i + half] : &x[2 * i + 1];
                float old_a = *a, old_b = *b;
                *a = fma1(old_a, cosine[i], -(old_b * sine[i]));
                *b = fma1(old_b, cosine[i], old_a * sine[i]);
            }
        }
    }
}

void hsdi_ref_silu_mul(const float *gate, int gate_stride, const float *up, int up_stride,
                       int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, gate += gate_stride, up += up_stride, y += y_stride) {
        for (int i = 0; i < n; i++) {
            float silu = gate[i] / (1.0f + exp1(-gate[i]));
            y[i] = silu * up[i];
        }
    }
}

void hsdi_ref_gelu_tanh(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        for (int i = 0; i < n; i++) {
            float cubic = x[i] * x[i] * x[i];
            float u = HSDI_GELU_A * fma1(HSDI_GELU_B, cubic, x[i]);
            y[i] = x[i] / (1.0f + exp1(u));
        }
    }
}

void hsdi_ref_add(const float *x, int x_stride, int n_rows, int n, float *y, int y_stride)
{
    for (int r = 0; r < n_rows; r++, x += x_stride, y += y_stride) {
        for (int i = 0; i < n; i++) {
            y[i] = y[i] + x[i];
        }
    }
}

static float largest(const float *x, int n)
{
    float result = -INFINITY;
    for (int i = 0; i < n; i++) {
        result = max1(x[i], result); // NaN is passed over
    }
    return result;
}

int hsdi_ref_argmax(const float *x, int n)
{
    float top = largest(x, n);
    for (int i = 0; i < n && top > -INFINITY; i++) {
        if (x[i] == top) {
            return i;
        }
    }
    return 0; // nothing above -inf
}

float hsdi_ref_log_sum_exp(const float *x, int n)
{
    float lanes[N_LANES] = {0};
    float top = largest(x, n);
    for (int i = 0; i < n; i++) {
        lanes[i % N_LANES] += exp1(x[i] - top);
    }
    return logf(lanes_sum(lanes)) + top;
}
