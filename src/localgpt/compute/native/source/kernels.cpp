// The kernels, compiled once for each instruction set under the name LOCALGPT_PATH.
//
// Nothing of the standard library's templates may be used here: the linker would keep one copy of each,
// perhaps the one whose instructions this machine lacks.
#include "kernels.h"

#include "dot.h"
#include "vector.h"

namespace {

using namespace localgpt;

constexpr float kEpsilon = 1e-5f;
constexpr float kLargest = 3.40282347e38f;  // of all finite floats

inline void finish(const Ints& total, const Matrix& matrix, int64_t tile, float row_scale, float* to,
                   Finish how) {
    Floats value =
        as_floats(total) * (load<Floats>(matrix.scale + tile * kTile) * (1.0f / 127.0f)) * row_scale;
    if (how == Finish::kAdd) value = load<Floats>(to) + value;
    if (how == Finish::kGelu) value = gelu(value);
    store(to, value);
}

template <int kRows>
void product_rows(const Matrix& matrix, const Steps& steps, int64_t first_row, int64_t tile,
                  const Target& target) {
    const int8_t* rows[kRows];
    for (int row = 0; row < kRows; ++row) rows[row] = steps.values + (first_row + row) * steps.stride;
    Ints totals[kRows];
    dot_tile<kRows>(matrix.tile(tile), matrix.n_in / kGroup, rows, steps.sum + first_row, totals);
    for (int row = 0; row < kRows; ++row) {
        float* to = target.values + (first_row + row) * target.stride + tile * kTile;
        finish(totals[row], matrix, tile, steps.scale[first_row + row], to, target.finish);
    }
}

// The last rows, at most kRows.
template <int kRows>
void product_rest(const Matrix& matrix, const Steps& steps, int64_t first_row, int64_t num_rows, int64_t tile,
                  const Target& target) {
    if constexpr (kRows > 0) {
        if (num_rows == kRows) {
            product_rows<kRows>(matrix, steps, first_row, tile, target);
        } else {
            product_rest<kRows - 1>(matrix, steps, first_row, num_rows, tile, target);
        }
    }
}

void product(const Matrix& matrix, const Steps& steps, int64_t num_rows, int64_t first, int64_t last,
             const Target& target) {
    for (int64_t tile = first; tile < last; ++tile) {
        int64_t row = 0;
        for (; row + kMostRows <= num_rows; row += kMostRows)
            product_rows<kMostRows>(matrix, steps, row, tile, target);
        product_rest<kMostRows - 1>(matrix, steps, row, num_rows - row, tile, target);
    }
}

void normalize(const float* x, const float* weight, int64_t n, float* out) {
    Floats total{};
    for (int64_t i = 0; i < n; i += kLanes) total += load<Floats>(x + i);
    const float mean = sum_of(total) / static_cast<float>(n);
    Floats squares{};
    for (int64_t i = 0; i < n; i += kLanes) {
        const Floats centred = load<Floats>(x + i) - mean;
        squares += centred * centred;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum_of(squares) / static_cast<float>(n) + kEpsilon);
    for (int64_t i = 0; i < n; i += kLanes)
        store(out + i, (load<Floats>(x + i) - mean) * scale * load<Floats>(weight + i));
}

// A row that holds no number anywhere becomes zeros with a scale that is none, so that every product of it is
// none, too: a comparison of floats would lose it.
void quantize(const float* x, int64_t n, const Steps& steps, int64_t row) {
    Ints highest{};
    for (int64_t i = 0; i < n; i += kLanes) highest = larger(highest, magnitude_bits(load<Floats>(x + i)));
    float scale = largest_of(highest);
    int8_t* to = steps.values + row * steps.stride;
    if (!(scale <= kLargest)) {
        memset(to, 0, n);
        steps.scale[row] = __builtin_nanf("");
        steps.sum[row] = 0;
        return;
    }
    scale = scale > 1e-12f ? scale : 1e-12f;
    Ints total{};
    typedef int8_t Bytes __attribute__((vector_size(kLanes)));
    for (int64_t i = 0; i < n; i += kLanes) {
        const Ints whole = as_ints(rounded(load<Floats>(x + i) / scale * 127.0f));
        total += whole;
        store(to + i, __builtin_convertvector(whole, Bytes));
    }
    int32_t sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += total[lane];
    steps.scale[row] = scale;
    steps.sum[row] = sum;
}

inline float dot(const float* a, const float* b, int64_t n) {
    Floats total{};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) total += load<Floats>(a + i) * load<Floats>(b + i);
    float rest = 0.0f;
    for (; i < n; ++i) rest += a[i] * b[i];
    return sum_of(total) + rest;
}

// Scores with ALiBi, then the exponentials of what each lies below the largest; returns their sum.
float softmax(const Attention& a) {
    const int64_t num = a.position + 1, padded = (num + kLanes - 1) / kLanes * kLanes;
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(a.head_dim));
    float highest = -__builtin_inff();
    for (int64_t j = 0; j < num; ++j) {
        const float distance = static_cast<float>(a.position - j);
        const float score = dot(a.query, a.keys + j * a.head_dim, a.head_dim) * scale - a.slope * distance;
        a.scores[j] = score;
        highest = score > highest ? score : highest;
    }
    for (int64_t j = num; j < padded; ++j) a.scores[j] = -__builtin_inff();
    Floats total{};
    for (int64_t j = 0; j < padded; j += kLanes) {
        const Floats share = exponential(load<Floats>(a.scores + j) - highest);
        store(a.scores + j, share);
        total += share;
    }
    return sum_of(total);
}

// kParts * kLanes dimensions of the values' weighted sum.
template <int kParts>
void add_values(const Attention& a, int64_t first, float scale) {
    Floats totals[kParts] = {};
    for (int64_t j = 0; j <= a.position; ++j) {
        const float* value = a.values + j * a.head_dim + first;
        const float share = a.scores[j];
        for (int part = 0; part < kParts; ++part) totals[part] += load<Floats>(value + part * kLanes) * share;
    }
    for (int part = 0; part < kParts; ++part) store(a.out + first + part * kLanes, totals[part] * scale);
}

void attend(const Attention& a) {
    const float scale = a.gate / softmax(a);
    int64_t first = 0;
    for (; first + 4 * kLanes <= a.head_dim; first += 4 * kLanes) add_values<4>(a, first, scale);
    for (; first + kLanes <= a.head_dim; first += kLanes) add_values<1>(a, first, scale);
    for (; first < a.head_dim; ++first) {
        float total = 0.0f;
        for (int64_t j = 0; j <= a.position; ++j) total += a.values[j * a.head_dim + first] * a.scores[j];
        a.out[first] = total * scale;
    }
}

int64_t read(const uint8_t* from, int64_t n) {
    typedef int64_t Words __attribute__((vector_size(64)));
    Words totals[4] = {};
    for (int64_t i = 0; i < n; i += 4 * 64) {
        __builtin_prefetch(from + i + kAhead);
        for (int part = 0; part < 4; ++part) totals[part] += load<Words>(from + i + part * 64);
    }
    const Words words = (totals[0] + totals[1]) + (totals[2] + totals[3]);
    int64_t sum = 0;
    for (int lane = 0; lane < 8; ++lane) sum += words[lane];
    return sum;
}

}  // namespace

#define LOCALGPT_JOIN(a, b) a##b
#define LOCALGPT_NAME(path) LOCALGPT_JOIN(kernels_, path)

namespace localgpt {

extern const Kernels LOCALGPT_NAME(LOCALGPT_PATH);
const Kernels LOCALGPT_NAME(LOCALGPT_PATH) = {product, normalize, quantize, attend, read};

}  // namespace localgpt
