// The embedded decoder over int8 weights: any rows of any sequences through all layers at once.
#pragma once

#include <stdint.h>

#include <memory>
#include <vector>

#include "kernels.h"
#include "paths.h"
#include "pool.h"

namespace localgpt {

// Sizes of the network; see localgpt/models/decoder.py.
struct Shape {
    int64_t vocab_size, n_layer, n_embd, n_head, n_modality, has_qk_norm;
};

// Rows of one forward. Each is one position of one sequence; all positions before it are in the cache, or
// rows of the same forward.
struct Rows {
    int64_t num_rows;
    const int64_t* token_ids;  // (rows), or null where embeddings are given
    const float* embeddings;   // (rows, C)
    const int64_t* slots;      // (rows)
    const int64_t* positions;  // (rows)
    const int64_t* modality;   // (rows), or null for all text
    float* keys;               // the cache: (layers, slots, H, context, D)
    float* values;
    int64_t num_slots, context_len;
    int64_t num_outputs;
    const int64_t* outputs;  // (num_outputs) rows whose logits are wanted, or null for the first ones
    float* logits;           // (num_outputs, V)
};

// Memory for weights: one block, in large pages where the system has them.
class Arena {
public:
    explicit Arena(size_t num_bytes);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    uint8_t* take(size_t num_bytes);  // aligned to 64 bytes

private:
    uint8_t* begin_;
    size_t used_ = 0, size_;
};

class Decoder {
public:
    // Throws std::bad_alloc.
    Decoder(const Shape& shape, const Kernels& kernels, int num_threads);
    // Sets one weight. `layer` is -1 for those outside the layers; returns false for a name or size it does
    // not know.
    bool set_matrix(const char* name, int64_t layer, const int8_t* weight, const float* scale, int64_t n_out,
                    int64_t n_in);
    bool set_vector(const char* name, int64_t layer, const float* values, int64_t n);
    void embed(const int64_t* token_ids, int64_t num, float* out) const;
    // Whether all that `rows` names is there: slots, positions, tokens, modalities, outputs.
    bool holds(const Rows& rows) const;
    // Throws std::bad_alloc.
    void forward(const Rows& rows);

private:
    struct Layer {
        Matrix c_attn, c_proj, c_fc, mlp_proj;
        std::vector<float> norm_1, norm_2, q_norm, k_norm, gates;
    };
    // What one forward needs between its layers. A thread that comes too late keeps the one of its own
    // forward.
    struct Scratch {
        int64_t num_rows, context_len;
        std::vector<float> x, qkv, heads, wide, scores, scales;
        std::vector<int8_t> steps;
        std::vector<int32_t> sums;
    };

    Matrix place(int64_t n_out, int64_t n_in);
    Matrix* find_matrix(const char* name, int64_t layer);
    std::vector<float>* find_vector(const char* name, int64_t layer);
    std::shared_ptr<Scratch> room_for(const Rows& rows) const;
    void work(Turn& turn, const Rows& rows, Scratch& s) const;
    void attend(Turn& turn, const Rows& rows, int64_t index, Scratch& s) const;
    void multiply(Turn& turn, const Matrix& matrix, const Steps& steps, int64_t num_rows,
                  const Target& target) const;
    void enter_keys(const Rows& rows, int64_t index, int64_t row, Scratch& s) const;

    Shape shape_;
    const Kernels& kernels_;
    std::unique_ptr<Arena> arena_;
    Matrix head_;
    std::vector<Layer> layers_;
    std::vector<float> norm_f_, slopes_;
    std::shared_ptr<Scratch> scratch_;  // the largest so far
    Pool pool_;
};

}  // namespace localgpt
