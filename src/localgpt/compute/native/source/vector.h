// Sixteen floats or integers at once, with the same results on every instruction set.
//
// The compiler splits these vectors into what the machine has. Sums run in sixteen lanes in a fixed order,
// and the build forbids fused multiply-adds (-ffp-contract=off), so that logits do not depend on the path
// taken.
#pragma once

#include <stdint.h>
#include <string.h>

namespace {

constexpr int kLanes = 16;

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats4 __attribute__((vector_size(16)));

template <typename Vector, typename Value>
inline Vector load(const Value* from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

template <typename Vector, typename Value>
inline void store(Value* to, const Vector& vector) {
    memcpy(to, &vector, sizeof vector);
}

inline Floats spread(float value) { return value - Floats{}; }

inline Floats as_floats(const Ints& value) { return __builtin_convertvector(value, Floats); }

inline Ints as_ints(const Floats& value) { return __builtin_convertvector(value, Ints); }

inline Floats larger(const Floats& a, const Floats& b) { return a > b ? a : b; }

inline Floats smaller(const Floats& a, const Floats& b) { return a < b ? a : b; }

inline Ints larger(const Ints& a, const Ints& b) { return a > b ? a : b; }

// The bits of |value|, which are in the order of the values; infinity and what is no number come last.
inline Ints magnitude_bits(const Floats& value) {
    Ints bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

// To the nearest whole number, halves to even; |value| < 2^22.
inline Floats rounded(const Floats& value) {
    const Floats shift = spread(12582912.0f);  // 1.5 * 2^23
    return (value + shift) - shift;
}

inline float sum_of(const Floats& value) {
    Floats8 halves[2];
    memcpy(halves, &value, sizeof halves);
    const Floats8 eight = halves[0] + halves[1];
    Floats4 quarters[2];
    memcpy(quarters, &eight, sizeof quarters);
    const Floats4 four = quarters[0] + quarters[1];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

// The largest of the floats that these are the bits of.
inline float largest_of(const Ints& magnitudes) {
    int32_t lanes[kLanes];
    store(lanes, magnitudes);
    int32_t largest = lanes[0];
    for (int lane = 1; lane < kLanes; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
    float value;
    memcpy(&value, &largest, sizeof value);
    return value;
}

// e^x with a relative error of about 2e-7; zero below -87, where the result would leave the normal numbers.
// Range reduction and polynomial of Cephes' expf (Moshier).
inline Floats exponential(Floats x) {
    const Floats lowest = spread(-87.0f);
    const Ints is_zero = x < lowest;
    x = larger(smaller(x, spread(88.0f)), lowest);
    const Floats n = rounded(x * 1.44269504088896341f);
    x = x - n * 0.693359375f;
    x = x - n * -2.12194440e-4f;
    Floats y = spread(1.9875691500e-4f);
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * (x * x) + x + 1.0f;
    const Ints power = (as_ints(n) + 127) << 23;
    y = y * load<Floats>(&power);
    return is_zero ? Floats{} : y;
}

// Hyperbolic tangent form of GELU, arXiv:1606.08415, as torch and llama.cpp compute it.
inline Floats gelu(const Floats& x) {
    const Floats inner = (x * x * x * 0.044715f + x) * 0.7978845608028654f;
    const Floats tangent = 1.0f - 2.0f / (exponential(inner * 2.0f) + 1.0f);
    return x * 0.5f * (tangent + 1.0f);
}

}  // namespace
