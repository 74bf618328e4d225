#include "decoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <new>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace localgpt {

namespace {

constexpr size_t kLargePage = size_t{2} << 20;
constexpr int64_t kChunkBytes = 64 << 10;  // of weights that a thread takes at once

int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

}  // namespace

Arena::Arena(size_t num_bytes) : size_(rounded_up(num_bytes, kLargePage)) {
    void* begin = nullptr;
    if (posix_memalign(&begin, kLargePage, size_) != 0) throw std::bad_alloc();
#if defined(__linux__)
    madvise(begin, size_, MADV_HUGEPAGE);  // advice: nothing is lost where it is not followed
#endif
    begin_ = static_cast<uint8_t*>(begin);
}

Arena::~Arena() { free(begin_); }

uint8_t* Arena::take(size_t num_bytes) {
    uint8_t* place = begin_ + used_;
    used_ += rounded_up(num_bytes, 64);
    if (used_ > size_) throw std::bad_alloc();
    return place;
}

Decoder::Decoder(const Shape& shape, const Kernels& kernels, int num_threads)
    : shape_(shape), kernels_(kernels), layers_(shape.n_layer), pool_(num_threads) {
    const int64_t c = shape.n_embd, per_layer = 12 * c * c + 9 * c * 4 + 8 * 64;
    const int64_t head = shape.vocab_size * (c + 4) + 2 * 64;
    arena_ = std::make_unique<Arena>(head + shape.n_layer * per_layer);
    for (Layer& layer : layers_) {  // in the order of reading
        layer.c_attn = place(3 * c, c);
        layer.c_proj = place(c, c);
        layer.c_fc = place(4 * c, c);
        layer.mlp_proj = place(c, 4 * c);
        layer.norm_1.assign(c, 1.0f);
        layer.norm_2.assign(c, 1.0f);
        layer.q_norm.assign(shape.has_qk_norm ? c : 0, 1.0f);
        layer.k_norm.assign(shape.has_qk_norm ? c : 0, 1.0f);
        layer.gates.assign(shape.n_modality * shape.n_head, 1.0f);
    }
    head_ = place(shape.vocab_size, c);
    norm_f_.assign(c, 1.0f);
    slopes_.assign(shape.n_head, 0.0f);
}

Matrix Decoder::place(int64_t n_out, int64_t n_in) {
    const uint8_t* tiles = arena_->take(n_out * n_in);
    return {tiles, reinterpret_cast<float*>(arena_->take(n_out * sizeof(float))), n_out, n_in};
}

Matrix* Decoder::find_matrix(const char* name, int64_t layer) {
    const std::string key(name);
    if (layer < 0) return key == "wte" ? &head_ : nullptr;
    if (layer >= shape_.n_layer) return nullptr;
    Layer& at = layers_[layer];
    if (key == "attn.c_attn") return &at.c_attn;
    if (key == "attn.c_proj") return &at.c_proj;
    if (key == "mlp.c_fc") return &at.c_fc;
    if (key == "mlp.c_proj") return &at.mlp_proj;
    return nullptr;
}

std::vector<float>* Decoder::find_vector(const char* name, int64_t layer) {
    const std::string key(name);
    if (layer < 0) return key == "norm_f" ? &norm_f_ : key == "slopes" ? &slopes_ : nullptr;
    if (layer >= shape_.n_layer) return nullptr;
    Layer& at = layers_[layer];
    if (key == "norm_1") return &at.norm_1;
    if (key == "norm_2") return &at.norm_2;
    if (key == "attn.q_norm") return &at.q_norm;
    if (key == "attn.k_norm") return &at.k_norm;
    if (key == "attn.gates") return &at.gates;
    return nullptr;
}

bool Decoder::set_matrix(const char* name, int64_t layer, const int8_t* weight, const float* scale,
                         int64_t n_out, int64_t n_in) {
    const Matrix* matrix = find_matrix(name, layer);
    if (matrix == nullptr || matrix->n_out != n_out || matrix->n_in != n_in) return false;
    uint8_t* to = const_cast<uint8_t*>(matrix->tiles);
    for (int64_t first = 0; first < n_out; first += kTile)
        for (int64_t group = 0; group < n_in; group += kGroup)
            for (int64_t output = first; output < first + kTile; ++output)
                for (int64_t input = group; input < group + kGroup; ++input)
                    *to++ = static_cast<uint8_t>(weight[output * n_in + input] + 128);
    memcpy(const_cast<float*>(matrix->scale), scale, n_out * sizeof(float));
    return true;
}

bool Decoder::set_vector(const char* name, int64_t layer, const float* values, int64_t n) {
    std::vector<float>* vector = find_vector(name, layer);
    if (vector == nullptr || static_cast<int64_t>(vector->size()) != n) return false;
    std::copy(values, values + n, vector->begin());
    return true;
}

void Decoder::embed(const int64_t* token_ids, int64_t num, float* out) const {
    for (int64_t row = 0; row < num; ++row) {
        const int64_t token = token_ids[row];
        const uint8_t* at = head_.tile(token / kTile) + token % kTile * kGroup;
        const float scale = head_.scale[token];
        float* to = out + row * shape_.n_embd;
        for (int64_t group = 0; group < shape_.n_embd / kGroup; ++group)
            for (int64_t place = 0; place < kGroup; ++place)
                *to++ = static_cast<float>(at[group * kTileGroup + place] - 128) * scale;
    }
}

std::shared_ptr<Decoder::Scratch> Decoder::room_for(const Rows& rows) const {
    if (scratch_ && scratch_->num_rows >= rows.num_rows && scratch_->context_len >= rows.context_len)
        return scratch_;
    auto room = std::make_shared<Scratch>();
    room->num_rows = std::max(rows.num_rows, scratch_ ? scratch_->num_rows : 0);
    room->context_len = std::max(rows.context_len, scratch_ ? scratch_->context_len : 0);
    const int64_t r = room->num_rows, c = shape_.n_embd;
    room->x.resize(r * c);
    room->qkv.resize(r * 3 * c);
    room->heads.resize(r * c);
    room->wide.resize(r * 4 * c);
    room->steps.resize(r * 4 * c);
    room->scales.resize(r);
    room->sums.resize(r);
    room->scores.resize(pool_.num_threads() * rounded_up(room->context_len, kTile));
    return room;
}

bool Decoder::holds(const Rows& rows) const {
    const auto are_below = [](const int64_t* values, int64_t num, int64_t limit) {
        return values == nullptr ||
               std::all_of(values, values + num, [=](int64_t value) { return value >= 0 && value < limit; });
    };
    return are_below(rows.slots, rows.num_rows, rows.num_slots) &&
           are_below(rows.positions, rows.num_rows, rows.context_len) &&
           are_below(rows.token_ids, rows.num_rows, shape_.vocab_size) &&
           are_below(rows.modality, rows.num_rows, shape_.n_modality) &&
           are_below(rows.outputs, rows.num_outputs, rows.num_rows) && rows.num_outputs <= rows.num_rows;
}

void Decoder::forward(const Rows& rows) {
    scratch_ = room_for(rows);
    pool_.run([this, rows, scratch = scratch_](Turn& turn) { work(turn, rows, *scratch); });
}

void Decoder::multiply(Turn& turn, const Matrix& matrix, const Steps& steps, int64_t num_rows,
                       const Target& target) const {
    const int64_t tiles = std::max<int64_t>(1, kChunkBytes / (kTile * matrix.n_in));
    turn.phase((matrix.num_tiles() + tiles - 1) / tiles, [&](int64_t chunk) {
        const int64_t last = std::min(matrix.num_tiles(), (chunk + 1) * tiles);
        kernels_.product(matrix, steps, num_rows, chunk * tiles, last, target);
    });
}

void Decoder::work(Turn& turn, const Rows& rows, Scratch& s) const {
    const int64_t r = rows.num_rows, c = shape_.n_embd;
    const Steps narrow{s.steps.data(), s.scales.data(), s.sums.data(), c};
    const Steps wide{s.steps.data(), s.scales.data(), s.sums.data(), 4 * c};
    const Target onto_x{s.x.data(), c, Finish::kAdd};
    const auto normalized = [&](const std::vector<float>& weight, int64_t row, int64_t to) {
        kernels_.normalize(s.x.data() + row * c, weight.data(), c, s.heads.data() + to * c);
        kernels_.quantize(s.heads.data() + to * c, c, narrow, to);
    };
    for (int64_t index = 0; index < shape_.n_layer; ++index) {
        const Layer& layer = layers_[index];
        turn.phase(r, [&](int64_t row) {
            float* x = s.x.data() + row * c;
            if (index == 0 && rows.token_ids != nullptr) embed(rows.token_ids + row, 1, x);
            if (index == 0 && rows.token_ids == nullptr)
                memcpy(x, rows.embeddings + row * c, c * sizeof(float));
            normalized(layer.norm_1, row, row);
        });
        multiply(turn, layer.c_attn, narrow, r, {s.qkv.data(), 3 * c, Finish::kStore});
        turn.phase(r, [&](int64_t row) { enter_keys(rows, index, row, s); });
        attend(turn, rows, index, s);
        turn.phase(r, [&](int64_t row) { kernels_.quantize(s.heads.data() + row * c, c, narrow, row); });
        multiply(turn, layer.c_proj, narrow, r, onto_x);
        turn.phase(r, [&](int64_t row) { normalized(layer.norm_2, row, row); });
        multiply(turn, layer.c_fc, narrow, r, {s.wide.data(), 4 * c, Finish::kGelu});
        turn.phase(r, [&](int64_t row) { kernels_.quantize(s.wide.data() + row * 4 * c, 4 * c, wide, row); });
        multiply(turn, layer.mlp_proj, wide, r, onto_x);
    }
    turn.phase(rows.num_outputs, [&](int64_t output) {
        normalized(norm_f_, rows.outputs == nullptr ? output : rows.outputs[output], output);
    });
    multiply(turn, head_, narrow, rows.num_outputs, {rows.logits, shape_.vocab_size, Finish::kStore});
}

void Decoder::enter_keys(const Rows& rows, int64_t index, int64_t row, Scratch& s) const {
    const Layer& layer = layers_[index];
    const int64_t c = shape_.n_embd, head_dim = c / shape_.n_head;
    float* qkv = s.qkv.data() + row * 3 * c;
    if (shape_.has_qk_norm) {
        kernels_.normalize(qkv, layer.q_norm.data(), c, qkv);
        kernels_.normalize(qkv + c, layer.k_norm.data(), c, qkv + c);
    }
    for (int64_t head = 0; head < shape_.n_head; ++head) {
        const int64_t slot = index * rows.num_slots + rows.slots[row];
        const int64_t at =
            ((slot * shape_.n_head + head) * rows.context_len + rows.positions[row]) * head_dim;
        memcpy(rows.keys + at, qkv + c + head * head_dim, head_dim * sizeof(float));
        memcpy(rows.values + at, qkv + 2 * c + head * head_dim, head_dim * sizeof(float));
    }
}

void Decoder::attend(Turn& turn, const Rows& rows, int64_t index, Scratch& s) const {
    const Layer& layer = layers_[index];
    const int64_t c = shape_.n_embd, h = shape_.n_head, head_dim = c / h;
    float* scores = s.scores.data() + turn.thread() * rounded_up(s.context_len, kTile);
    turn.phase(h * rows.num_rows, [&](int64_t chunk) {
        const int64_t head = chunk / rows.num_rows,
                      row = chunk % rows.num_rows;  // a head's keys stay in the cache
        const int64_t modality = rows.modality == nullptr ? 0 : rows.modality[row];
        const int64_t slot = index * rows.num_slots + rows.slots[row];
        const int64_t at = (slot * h + head) * rows.context_len * head_dim;
        Attention attention;
        attention.query = s.qkv.data() + row * 3 * c + head * head_dim;
        attention.keys = rows.keys + at;
        attention.values = rows.values + at;
        attention.position = rows.positions[row];
        attention.head_dim = head_dim;
        attention.slope = slopes_[head];
        attention.gate = layer.gates[modality * h + head];
        attention.scores = scores;
        attention.out = s.heads.data() + row * c + head * head_dim;
        kernels_.attend(attention);
    });
}

}  // namespace localgpt
