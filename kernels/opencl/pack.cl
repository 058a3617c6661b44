// Rows made ready for products of kind "dot": 32 elements become 8 bits each with one scale.
//
// As on the CPU (kernels/ref/act.c): q = round(x * 127 / max |x|), scale = max |x| / 127 as an f16
// holds it where f16 is normal; a block below 1e-30 counts as zero; NaN and infinity reach the
// scale. A block in words: scale, sum of q, 32 q as eight times four bytes.

// Ten more significant bits than one, to nearest even; what is no number, or beyond f16's normal
// numbers, stays.
float round_scale(float d)
{
    uint bits = as_uint(d);
    bool stays = !(d >= 0x1p-14f && d <= 65504.0f);
    uint rounded = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
    return stays ? d : as_float(rounded);
}

// x [n_rows, x_stride] -> y [n_rows, y_stride words]. Work-items: (n_blocks rounded up, n_rows).
__kernel void pack8(__global const float *x, int x_at, int x_stride, int n_blocks,
                    __global uint *y, int y_stride)
{
    int b = get_global_id(0), r = get_global_id(1);
    if (b >= n_blocks) {
        return;
    }
    __global const float *from = x + (size_t)r * x_stride + x_at + 32 * b;
    __global uint *to = y + (size_t)r * y_stride + 10 * b;
    uint largest = 0; // as integers the bits of |x| order like |x|, and NaN is above infinity
    for (int i = 0; i < 32; i++) {
        largest = max(largest, as_uint(from[i]) & 0x7fffffffu);
    }
    float amax = as_float(largest);
    bool zero = amax <= 1e-30f;
    float inverse = zero ? 0.0f : 127.0f / amax;
    int sum = 0;
    for (int j = 0; j < 8; j++) {
        uint word = 0;
        for (int i = 0; i < 4; i++) {
            float scaled = from[4 * j + i] * inverse;
            scaled = scaled < 127.0f ? scaled : 127.0f; // NaN becomes 127
            scaled = scaled > -127.0f ? scaled : -127.0f;
            float shifted = scaled + 12582912.0f; // to nearest, ties to even
            int q = (int)(shifted - 12582912.0f);
            sum += q;
            word |= (uint)(q & 255) << 8 * i;
        }
        to[2 + j] = word;
    }
    to[0] = as_uint(zero ? 0.0f : round_scale(amax / 127.0f));
    to[1] = (uint)sum;
}
