// What is compiled once for each instruction set, and the data it works on.
#pragma once

#include <stdint.h>

namespace localgpt {

constexpr int64_t kTile = 16;       // outputs of a weight tile
constexpr int64_t kGroup = 4;       // inputs of one output that lie side by side
constexpr int64_t kTileGroup = 64;  // bytes of one group of a tile: kTile * kGroup

// Int8 weights with a scale per output, as tiles of sixteen outputs: of each tile, for every group of four
// inputs, the four weights of output 0, those of output 1, ... A value is stored as value + 128, which the
// unsigned operand of x86's dot products wants. One load of a tile serves every row, and a matrix is read
// from its begin to its end.
struct Matrix {
    const uint8_t* tiles;
    const float* scale;  // (n_out)
    int64_t n_out;       // a multiple of kTile
    int64_t n_in;        // a multiple of kTile
    const uint8_t* tile(int64_t index) const { return tiles + index * kTile * n_in; }
    int64_t num_tiles() const { return n_out / kTile; }
};

// Rows of activations as int8 steps of scale / 127, each row with a scale of its own.
struct Steps {
    int8_t* values;  // (rows, stride)
    float* scale;    // (rows)
    int32_t* sum;    // (rows), of the row's steps
    int64_t stride;
};

enum class Finish { kStore, kAdd, kGelu };

// Where a product goes: (rows, stride) floats.
struct Target {
    float* values;
    int64_t stride;
    Finish finish;
};

// One head's keys and values, (positions, head_dim) each, and what is asked of them.
struct Attention {
    const float* query;  // (head_dim)
    const float* keys;
    const float* values;
    int64_t position;  // of the query; attends to 0 .. position
    int64_t head_dim;
    float slope;    // ALiBi, arXiv:2108.12409
    float gate;     // multiplies the result
    float* scores;  // scratch, (position + 1) rounded up to sixteen
    float* out;     // (head_dim)
};

struct Kernels {
    // Rows times tiles [first, last) of a matrix.
    void (*product)(const Matrix&, const Steps&, int64_t num_rows, int64_t first, int64_t last,
                    const Target&);
    // Layer normalisation without bias over n values; the weight may be null.
    void (*normalize)(const float* x, const float* weight, int64_t n, float* out);
    // Into row `row` of steps; a row that is not all finite makes every product of it no number.
    void (*quantize)(const float* x, int64_t n, const Steps&, int64_t row);
    void (*attend)(const Attention&);
    // Reads memory and does little else: the sum of n bytes, n a multiple of 1,024.
    int64_t (*read)(const uint8_t*, int64_t n);
};

}  // namespace localgpt
