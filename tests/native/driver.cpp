// Drives the kernel library without Python, for sanitizers: all instruction sets, one to three threads,
// prompts and ragged batches. Prints nothing and returns 0 if all of them give the same logits, to the last
// bit.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "../../src/localgpt/compute/native/source/decoder.h"

namespace {

constexpr int64_t kContext = 40, kSlots = 3;
const localgpt::Shape kShape{256, 2, 48, 4, 3, 1};  // heads of twelve: no multiple of sixteen

struct Weights {
    std::mt19937 random{7};
    void fill(localgpt::Decoder& decoder, const char* name, int64_t layer, int64_t n_out, int64_t n_in) {
        std::vector<int8_t> weight(n_out * n_in);
        std::vector<float> scale(n_out, 0.004f);
        for (int8_t& value : weight) value = static_cast<int8_t>(static_cast<int>(random() % 256) - 128);
        if (!decoder.set_matrix(name, layer, weight.data(), scale.data(), n_out, n_in))
            throw std::string(name);
    }
};

std::unique_ptr<localgpt::Decoder> make_decoder(const std::string& path, int num_threads) {
    auto made =
        std::make_unique<localgpt::Decoder>(kShape, *localgpt::find_path(path.c_str())->kernels, num_threads);
    Weights weights;
    const int64_t c = kShape.n_embd;
    for (int64_t layer = 0; layer < kShape.n_layer; ++layer) {
        weights.fill(*made, "attn.c_attn", layer, 3 * c, c);
        weights.fill(*made, "attn.c_proj", layer, c, c);
        weights.fill(*made, "mlp.c_fc", layer, 4 * c, c);
        weights.fill(*made, "mlp.c_proj", layer, c, 4 * c);
    }
    weights.fill(*made, "wte", -1, kShape.vocab_size, c);
    const float slopes[] = {0.25f, 0.0625f, 0.015625f, 0.00390625f};
    if (!made->set_vector("slopes", -1, slopes, 4)) throw std::string("slopes");
    return made;
}

std::vector<float> run(localgpt::Decoder& decoder) {
    const int64_t num = kShape.n_layer * kSlots * kShape.n_embd * kContext, vocab = kShape.vocab_size;
    std::vector<float> keys(num), values(num), logits, all;
    const auto forward = [&](std::vector<int64_t> slots, std::vector<int64_t> positions,
                             std::vector<int64_t> outputs) {
        const int64_t num_rows = static_cast<int64_t>(slots.size());
        std::vector<int64_t> tokens(num_rows), modality(num_rows);
        for (int64_t row = 0; row < num_rows; ++row) {
            tokens[row] = (31 * positions[row] + 7 * slots[row]) % vocab;
            modality[row] = positions[row] % 3;
        }
        logits.assign(outputs.size() * vocab, 0.0f);
        decoder.forward({num_rows, tokens.data(), nullptr, slots.data(), positions.data(), modality.data(),
                         keys.data(), values.data(), kSlots, kContext, static_cast<int64_t>(outputs.size()),
                         outputs.data(), logits.data()});
        all.insert(all.end(), logits.begin(), logits.end());
    };
    std::vector<int64_t> slots, positions;
    for (int64_t position = 0; position < 21; ++position) {
        slots.push_back(1);
        positions.push_back(position);
    }
    forward(slots, positions, {20});
    for (int64_t step = 0; step < 19; ++step) forward({1, 0, 2}, {21 + step, step, step}, {0, 1, 2});
    return all;
}

}  // namespace

int main() {
    std::stringstream names{localgpt::path_names()};
    std::vector<float> expected;
    for (std::string name; std::getline(names, name, ',');)
        for (int num_threads = 1; num_threads <= 3; ++num_threads) {
            const auto decoder = make_decoder(name, num_threads);
            const std::vector<float> logits = run(*decoder);
            if (expected.empty()) expected = logits;
            if (memcmp(logits.data(), expected.data(), logits.size() * sizeof(float)) != 0) {
                fprintf(stderr, "%s with %d threads differs\n", name.c_str(), num_threads);
                return 1;
            }
        }
    return 0;
}
