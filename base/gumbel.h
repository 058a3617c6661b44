/// Philox-4x32-10, Gumbel noise and the weights of top-p in integers: the same bits in C and in
/// OpenCL C, which both compile this text.
///
/// A draw has 24 bits, so there are 2^24 numbers of noise; each is the float nearest to
/// -log(-log u). Integers make them, so neither a C library nor a device's float rounds them.
/// Proof: tests/base/test_gumbel.c, all of them.
#ifndef HSDI_BASE_GUMBEL_H
#define HSDI_BASE_GUMBEL_H

#ifdef __OPENCL_C_VERSION__
typedef uint uint32_t;
typedef ulong uint64_t;
#define HSDI_SHARED
#define HSDI_CONSTANT __constant
#define hsdi_mul_hi64(a, b) mul_hi((ulong)(a), (ulong)(b))
#define hsdi_clz64(a) ((int)clz((ulong)(a)))
#define hsdi_bits_as_float(a) as_float(a)
#else
#include <stdint.h>
#include <string.h>
#define HSDI_SHARED static inline
#define HSDI_CONSTANT static const

/// The upper half of a product.
static inline uint64_t hsdi_mul_hi64(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)a * b >> 64);
}

/// Leading zeros; a is not 0.
static inline int hsdi_clz64(uint64_t a)
{
    return __builtin_clzll(a);
}

static inline float hsdi_bits_as_float(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
#endif

/// One Philox-4x32-10 block. Shapes: counter [4], out [4]. Source: see base/rng.h.
HSDI_SHARED void hsdi_philox_block(const uint32_t *counter, uint32_t k0, uint32_t k1, uint32_t *out)
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/// For c = 1 + i/64: 1/c, rounded up, and minus the logarithm of that; both times 2^64.
HSDI_CONSTANT uint64_t hsdi_gumbel_table[128] = {
    0x0000000000000000ul, 0x0000000000000000ul, 0xfc0fc0fc0fc0fc10ul, 0x03f815161f807c7aul,
    0xf83e0f83e0f83e10ul, 0x07e0a6c39e0cc013ul, 0xf4898d5f85bb3951ul, 0x0bba2c7b196e7e22ul,
    0xf0f0f0f0f0f0f0f1ul, 0x0f85186008b15331ul, 0xed7303b5cc0ed731ul, 0x1341d7961bd1d092ul,
    0xea0ea0ea0ea0ea0ful, 0x16f0d28ae56b4b9bul, 0xe6c2b4481cd8568aul, 0x1a926d3a4ad56364ul,
    0xe38e38e38e38e38ful, 0x1e27076e2af2e5e9ul, 0xe070381c0e070382ul, 0x21aefcf9a11cb2cdul,
    0xdd67c8a60dd67c8bul, 0x252aa5f03fea4697ul, 0xda740da740da740eul, 0x289a56d996fa3ccful,
    0xd79435e50d79435ful, 0x2bfe60e14f27a790ul, 0xd4c77b03531dec0eul, 0x2f57120421b21237ul,
    0xd20d20d20d20d20eul, 0x32a4b539e8ad68ebul, 0xcf6474a8819ec8eaul, 0x35e7929d017fe5b1ul,
    0xcccccccccccccccdul, 0x391fef8f35344358ul, 0xca4587e6b74f032aul, 0x3c4e0edc55e5cbd3ul,
    0xc7ce0c7ce0c7ce0dul, 0x3f7230dabc7c551aul, 0xc565c87b5f9d4d1cul, 0x428c9389ce438d7dul,
    0xc30c30c30c30c30dul, 0x459d72aeae98380dul, 0xc0c0c0c0c0c0c0c1ul, 0x48a507ef3de59689ul,
    0xbe82fa0be82fa0bful, 0x4ba38aeb8474c270ul, 0xbc52640bc52640bdul, 0x4e993155a517a71cul,
    0xba2e8ba2e8ba2e8cul, 0x51862f08717b09f4ul, 0xb81702e05c0b8171ul, 0x546ab61cb7e0b426ul,
    0xb60b60b60b60b60cul, 0x5746f6fd60272941ul, 0xb40b40b40b40b40cul, 0x5a1b207a6c52bb10ul,
    0xb21642c8590b2165ul, 0x5ce75fdaef401a72ul, 0xb02c0b02c0b02c0cul, 0x5fabe0ee0abf0d91ul,
    0xae4c415c9882b932ul, 0x6268ce1b05096ad5ul, 0xac7691840ac76919ul, 0x651e5070845beae8ul,
    0xaaaaaaaaaaaaaaabul, 0x67cc8fb2fe612fcaul, 0xa8e83f5717c0a8e9ul, 0x6a73b26a68212634ul,
    0xa72f05397829cbc2ul, 0x6d13ddef323d8a32ul, 0xa57eb50295fad40bul, 0x6fad36769c6defddul,
    0xa3d70a3d70a3d70bul, 0x723fdf1e6a6886aful, 0xa237c32b16cfd773ul, 0x74cbf9f803af5586ul,
    0xa0a0a0a0a0a0a0a1ul, 0x7751a813071282fbul, 0x9f1165e7254813e3ul, 0x79d109875a1e1f8dul,
    0x9d89d89d89d89d8aul, 0x7c4a3d7ebc1bb2cdul, 0x9c09c09c09c09c0aul, 0x7ebd623de3cc7b66ul,
    0x9a90e7d95bc609aaul, 0x812a952d2e87f633ul, 0x991f1a515885fb38ul, 0x8391f2e0e6fa0271ul,
    0x97b425ed097b425ful, 0x85f39721295415b4ul, 0x964fda6c0964fda7ul, 0x884f9cf16a64b7eful,
    0x94f2094f2094f20aul, 0x8aa61e97a6af4d4bul, 0x939a85c40939a85dul, 0x8cf735a33e4b7662ul,
    0x924924924924924aul, 0x8f42faf3820681eeul, 0x90fdbc090fdbc091ul, 0x918986bdf5fa1417ul,
    0x8fb823ee08fb823ful, 0x93caf0944d88d75cul, 0x8e78356d1408e784ul, 0x96074f6a24745dcbul,
    0x8d3dcb08d3dcb08eul, 0x983eb99a7885f0fcul, 0x8c08c08c08c08c09ul, 0x9a7144ece70e98b7ul,
    0x8ad8f2fba9386823ul, 0x9c9f069ab150cd4eul, 0x89ae4089ae4089aful, 0x9ec813538ab7d51ful,
    0x8888888888888889ul, 0xa0ec7f4233957322ul, 0x8767ab5f34e47ef2ul, 0xa30c5e10e2f613e7ul,
    0x864b8a7de6d1d609ul, 0xa527c2ed81f5d810ul, 0x8534085340853409ul, 0xa73ec08dbadd84e4ul,
    0x8421084210842109ul, 0xa9516932de2d5772ul, 0x83126e978d4fdf3cul, 0xab5fcead9f9cca08ul,
    0x8208208208208209ul, 0xad6a0261acf967d8ul, 0x8102040810204082ul, 0xaf70154920b3ab85ul,
};

/// log(m / 2^63) * 2^64 for m in [2^63, 2^64); good to 2^-60.
///
/// With r = m/c - 1 < 1/64: log c + r - r (r/2 - r^2/3 + ...), to r^10.
HSDI_SHARED uint64_t hsdi_log_fixed(uint64_t m)
{
    int i = (int)(m >> 57) & 63;
    uint64_t p = i == 0 ? m : hsdi_mul_hi64(m, hsdi_gumbel_table[2 * i]);
    uint64_t r = (p - 0x8000000000000000ul) << 1;
    uint64_t t = 0x1c71c71c71c71c72ul - hsdi_mul_hi64(r, 0x199999999999999aul);
    t = 0x2000000000000000ul - hsdi_mul_hi64(r, t);
    t = 0x2492492492492492ul - hsdi_mul_hi64(r, t);
    t = 0x2aaaaaaaaaaaaaabul - hsdi_mul_hi64(r, t);
    t = 0x3333333333333333ul - hsdi_mul_hi64(r, t);
    t = 0x4000000000000000ul - hsdi_mul_hi64(r, t);
    t = 0x5555555555555555ul - hsdi_mul_hi64(r, t);
    t = 0x8000000000000000ul - hsdi_mul_hi64(r, t);
    return hsdi_gumbel_table[2 * i + 1] + r - hsdi_mul_hi64(r, hsdi_mul_hi64(r, t));
}

/// d log(2) * 2^59 for d in 0..63.
HSDI_SHARED uint64_t hsdi_log2_times(int d)
{
    return (uint64_t)d * 0x58b90bfbe8e7bcdul + ((uint64_t)d * 0x5e4f1d9dul >> 32);
}

/// The float nearest to a / 2^59, the even one between two; with its sign.
HSDI_SHARED float hsdi_fixed_as_float(uint64_t a, int is_negative)
{
    if (a == 0) {
        return 0.0f;
    }
    int zeros = hsdi_clz64(a);
    uint64_t m = a << zeros, kept = m >> 40, rest = m & 0xfffffffffful;
    kept += rest > 0x8000000000ul || (rest == 0x8000000000ul && (kept & 1) != 0);
    // The leading bit of `kept` adds one to the exponent, and so does a carry beyond it.
    uint32_t bits = ((uint32_t)(130 - zeros) << 23) + (uint32_t)kept;
    return hsdi_bits_as_float(bits | (is_negative ? 0x80000000u : 0u));
}

/// Gumbel noise of a draw of 32 bits: -log(-log u) with u = ((bits >> 8) + 1/2) / 2^24.
HSDI_SHARED float hsdi_gumbel_of(uint32_t bits)
{
    // u = n / 2^25; below, minus_log is -log u, times 2^59.
    uint64_t n = 2 * (uint64_t)(bits >> 8) + 1;
    int zeros = hsdi_clz64(n);
    uint64_t minus_log = hsdi_log2_times(zeros - 38) - (hsdi_log_fixed(n << zeros) >> 5);
    zeros = hsdi_clz64(minus_log);
    uint64_t above = hsdi_log2_times(zeros);
    uint64_t below = hsdi_log2_times(4) + (hsdi_log_fixed(minus_log << zeros) >> 5);
    return above >= below ? hsdi_fixed_as_float(above - below, 0)
                          : hsdi_fixed_as_float(below - above, 1);
}

/// Not less than the noise of a draw; cheap. -log u is at least 1 - u, which is an odd number over
/// 2^25.
HSDI_SHARED float hsdi_gumbel_bound(uint32_t bits)
{
    int zeros = hsdi_clz64(0x1fffffful - 2 * (uint64_t)(bits >> 8)); // 39 .. 63
    return 0.6931472f * (float)(zeros - 38);
}

/// 2^(31 - i/64)
HSDI_CONSTANT uint32_t hsdi_exp2_table[64] = {
    0x80000000u, 0x7e9f0606u, 0x7d41d96eu, 0x7be86fbau, 0x7a92be8bu, 0x7940bb9eu, 0x77f25cceu,
    0x76a7980fu, 0x75606374u, 0x741cb528u, 0x72dc8374u, 0x719fc4b9u, 0x70666f76u, 0x6f307a41u,
    0x6dfddbccu, 0x6cce8ae1u, 0x6ba27e65u, 0x6a79ad56u, 0x69540ec9u, 0x683199edu, 0x6712460bu,
    0x65f60a7fu, 0x64dcdec3u, 0x63c6ba64u, 0x62b39509u, 0x61a3666du, 0x60962665u, 0x5f8bccdbu,
    0x5e8451d0u, 0x5d7fad59u, 0x5c7dd7a4u, 0x5b7ec8f2u, 0x5a82799au, 0x5988e209u, 0x5891fac1u,
    0x579dbc57u, 0x56ac1f75u, 0x55bd1cdbu, 0x54d0ad5au, 0x53e6c9dau, 0x52ff6b55u, 0x521a8ad7u,
    0x51382182u, 0x50582888u, 0x4f7a9930u, 0x4e9f6cd4u, 0x4dc69cddu, 0x4cf022cau, 0x4c1bf829u,
    0x4b4a169cu, 0x4a7a77d4u, 0x49ad1598u, 0x48e1e9bau, 0x4818ee22u, 0x47521cc6u, 0x468d6faeu,
    0x45cae0f2u, 0x450a6abbu, 0x444c0740u, 0x438fb0cbu, 0x42d561b4u, 0x421d1462u, 0x4166c34cu,
    0x40b268fau,
};

/// exp(x) * 2^39 in integers for x in [-27, 0], below it and for NaN 0; good to 1e-8 and one unit.
///
/// With -x / log 2 = n + i/64 + r: 2^-n, from the table, and the series of exp(-r log 2) to r^3.
HSDI_SHARED uint64_t hsdi_exp_fixed(float x)
{
    if (!(x >= -27.0f && x <= 0.0f)) {
        return 0;
    }
    uint64_t t = (uint64_t)(-x * 0x1p27f) * 0xb8aa3b29ul; // times 2^58
    uint64_t r = t >> 26 & 0x3fffffful, y = r * 0xb17217f8ul >> 32;
    uint64_t square = y * y >> 33, cube = (square * y >> 32) * 0x55555555ul >> 32;
    uint64_t part = 0x100000000ul - y + square - cube;
    return hsdi_exp2_table[t >> 52 & 63] * part >> (24 + (int)(t >> 58));
}

#endif
