// Sixteen weights of a row as floats, for each element type, straight from the file's own blocks.
//
// load_TYPE(row, k): elements k .. k + 15 of the row that begins at `row`; k is a multiple of 16,
// and all sixteen are inside. The values are those of hsdi_dequant_row (kernels/types.c).
#pragma OPENCL FP_CONTRACT OFF

#ifdef HAS_FP16
// By the device's own conversion, where it keeps subnormal numbers. Exact: the same numbers.
#pragma OPENCL EXTENSION cl_khr_fp16 : enable

float half_at(__global const uchar *p)
{
    return (float)*(__global const half *)p;
}

// The same for four, `apart` bytes from each other.
float4 halves_at(__global const uchar *p, int apart)
{
    return convert_float4((half4)(*(__global const half *)p, *(__global const half *)(p + apart),
                                  *(__global const half *)(p + 2 * apart),
                                  *(__global const half *)(p + 3 * apart)));
}

float half_bits(uint bits)
{
    return (float)as_half((ushort)bits);
}
#elif defined(LOADS_HALF)
// By the load that every device has, an instruction of GPUs. Exact.
float half_at(__global const uchar *p)
{
    return vload_half(0, (__global const half *)p);
}

float4 halves_at(__global const uchar *p, int apart)
{
    return (float4)(half_at(p), half_at(p + apart), half_at(p + 2 * apart), half_at(p + 3 * apart));
}

float half_bits(uint bits)
{
    ushort one = (ushort)bits;
    return vload_half(0, (const __private half *)&one);
}
#else
// By integers: vload_half of one number is a slow call on processors. Exact, also for subnormal
// numbers on a device that flushes them in float.
float half_bits(uint bits)
{
    uint size = bits & 0x7fffu;
    uint small = as_uint((float)(int)size * 0x1p-24f);
    uint normal = (size << 13) + (size < 0x7c00u ? 112u << 23 : 224u << 23);
    return as_float((size < 0x400u ? small : normal) | (bits & 0x8000u) << 16);
}

float half_at(__global const uchar *p)
{
    return half_bits(*(__global const ushort *)p);
}

float4 halves_at(__global const uchar *p, int apart)
{
    uint4 bits = (uint4)(*(__global const ushort *)p, *(__global const ushort *)(p + apart),
                         *(__global const ushort *)(p + 2 * apart),
                         *(__global const ushort *)(p + 3 * apart));
    uint4 size = bits & 0x7fffu;
    uint4 small = as_uint4(convert_float4(as_int4(size)) * 0x1p-24f);
    uint4 normal =
        (size << 13u) + select((uint4)(112u << 23), (uint4)(224u << 23), size >= (uint4)(0x7c00u));
    return as_float4(select(normal, small, size < (uint4)(0x400u)) | (bits & 0x8000u) << 16u);
}
#endif

float bfloat_at(__global const uchar *p)
{
    return as_float((uint) * (__global const ushort *)p << 16);
}

// By way of int: compilers know that conversion for whole vectors.
float16 chars(char16 v)
{
    return convert_float16(convert_int16(v));
}

float16 uchars(uchar16 v)
{
    return convert_float16(convert_int16(v));
}

float4 floats4(uchar4 v)
{
    return convert_float4(convert_int4(v));
}

float16 load_f32(__global const uchar *row, int k)
{
    return vload16(0, (__global const float *)row + k);
}

float16 load_f16(__global const uchar *row, int k)
{
    return vload_half16(0, (__global const half *)row + k);
}

float16 load_bf16(__global const uchar *row, int k)
{
    return as_float16(convert_uint16(vload16(0, (__global const ushort *)row + k)) << 16u);
}

float16 load_q8_0(__global const uchar *row, int k)
{
    __global const uchar *p = row + (size_t)(k / 32) * 34;
    return half_at(p) * chars(vload16(0, (__global const char *)p + 2 + k % 32));
}

float16 load_q4_0(__global const uchar *row, int k)
{
    __global const uchar *p = row + (size_t)(k / 32) * 18;
    uchar16 pairs = vload16(0, p + 2);
    uchar16 q = k % 32 == 0 ? pairs & (uchar)15 : pairs >> (uchar)4;
    return half_at(p) * (uchars(q) - 8.0f);
}

// Scale and minimum of sub-block `sub` (0 .. 7) from the twelve bytes of Q4_K and Q5_K.
float2 scale_min(__global const uchar *s, int sub)
{
    int scale, least;
    if (sub < 4) {
        scale = s[sub] & 63;
        least = s[sub + 4] & 63;
    } else {
        scale = (s[sub + 4] & 15) | (s[sub - 4] >> 6) << 4;
        least = (s[sub + 4] >> 4) | (s[sub] >> 6) << 4;
    }
    return (float2)((float)scale, (float)least);
}

float16 load_q4_k(__global const uchar *row, int k)
{
    __global const uchar *p = row + (size_t)(k / 256) * 144;
    int j = k % 256;
    uchar16 pairs = vload16(0, p + 16 + j / 64 * 32 + j % 32);
    uchar16 q = j % 64 < 32 ? pairs & (uchar)15 : pairs >> (uchar)4;
    float2 s = scale_min(p + 4, j / 32);
    return half_at(p) * s.x * uchars(q) - half_at(p + 2) * s.y;
}

float16 load_q5_k(__global const uchar *row, int k)
{
    __global const uchar *p = row + (size_t)(k / 256) * 176;
    int j = k % 256;
    uchar16 pairs = vload16(0, p + 48 + j / 64 * 32 + j % 32);
    uchar16 high = (vload16(0, p + 16 + j % 32) >> (uchar)(j / 32)) & (uchar)1;
    uchar16 q = (j % 64 < 32 ? pairs & (uchar)15 : pairs >> (uchar)4) | high << (uchar)4;
    float2 s = scale_min(p + 4, j / 32);
    return half_at(p) * s.x * uchars(q) - half_at(p + 2) * s.y;
}

float16 load_q6_k(__global const uchar *row, int k)
{
    __global const uchar *p = row + (size_t)(k / 256) * 210;
    int j = k % 256, upper = j / 128, quarter = j % 128 / 32, l = j % 32;
    uchar16 pairs = vload16(0, p + 64 * upper + 32 * (quarter & 1) + l);
    uchar16 high = (vload16(0, p + 128 + 32 * upper + l) >> (uchar)(2 * quarter)) & (uchar)3;
    uchar16 q = (quarter < 2 ? pairs & (uchar)15 : pairs >> (uchar)4) | high << (uchar)4;
    float scale = half_at(p + 208) * (float)(char)p[192 + j / 16];
    return scale * (uchars(q) - 32.0f);
}

// The last n < 16 elements of a row; types with blocks have no such rest.
#define NO_TAIL(row, k, n) ((float16)(0.0f))

float16 tail_f32(__global const uchar *row, int k, int n)
{
    float t[16];
    for (int i = 0; i < 16; i++) {
        t[i] = i < n ? ((__global const float *)row)[k + i] : 0.0f;
    }
    return vload16(0, t);
}

float16 tail_f16(__global const uchar *row, int k, int n)
{
    float t[16];
    for (int i = 0; i < 16; i++) {
        t[i] = i < n ? half_at(row + 2 * (size_t)(k + i)) : 0.0f;
    }
    return vload16(0, t);
}

float16 tail_bf16(__global const uchar *row, int k, int n)
{
    float t[16];
    for (int i = 0; i < 16; i++) {
        t[i] = i < n ? bfloat_at(row + 2 * (size_t)(k + i)) : 0.0f;
    }
    return vload16(0, t);
}
