// The C interface that localgpt/compute/native/library.py loads. No exception leaves it.
#include <stdint.h>

#include <algorithm>
#include <exception>

#include "decoder.h"
#include "paths.h"
#include "pool.h"

#define LOCALGPT_API extern "C" __attribute__((visibility("default")))

using localgpt::Decoder;
using localgpt::Path;
using localgpt::Rows;
using localgpt::Shape;

// Raised with every change of what is below, so that a library left over from before is not used.
LOCALGPT_API int localgpt_version() { return 2; }

LOCALGPT_API const char* localgpt_paths() { return localgpt::path_names(); }

LOCALGPT_API Decoder* localgpt_decoder_new(const Shape* shape, const char* path, int num_threads) {
    const Path* found = localgpt::find_path(path);
    if (found == nullptr) return nullptr;
    try {
        return new Decoder(*shape, *found->kernels, num_threads);
    } catch (const std::exception&) {
        return nullptr;
    }
}

LOCALGPT_API void localgpt_decoder_free(Decoder* decoder) { delete decoder; }

LOCALGPT_API int localgpt_decoder_matrix(Decoder* decoder, const char* name, int64_t layer,
                                         const int8_t* weight, const float* scale, int64_t n_out,
                                         int64_t n_in) {
    return decoder->set_matrix(name, layer, weight, scale, n_out, n_in) ? 0 : 1;
}

LOCALGPT_API int localgpt_decoder_vector(Decoder* decoder, const char* name, int64_t layer,
                                         const float* values, int64_t n) {
    return decoder->set_vector(name, layer, values, n) ? 0 : 1;
}

LOCALGPT_API void localgpt_decoder_embed(const Decoder* decoder, const int64_t* token_ids, int64_t num,
                                         float* out) {
    decoder->embed(token_ids, num, out);
}

// 0, or 1 where memory ran out, or 2 where a row names what is not there.
LOCALGPT_API int localgpt_decoder_forward(Decoder* decoder, const Rows* rows) {
    if (!decoder->holds(*rows)) return 2;
    try {
        decoder->forward(*rows);
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}

// Reads num_bytes (a multiple of num_chunks * 1,024) once with num_threads threads; the sum keeps it from
// being left out. Which is how fast weights can come at best.
LOCALGPT_API int64_t localgpt_read(const uint8_t* from, int64_t num_bytes, int64_t num_chunks,
                                   int num_threads) {
    localgpt::Pool pool(num_threads);
    std::atomic<int64_t> sum{0};
    const localgpt::Kernels& kernels = *localgpt::find_path(nullptr)->kernels;
    const int64_t size = num_bytes / num_chunks;
    pool.run([&](localgpt::Turn& turn) {
        turn.phase(num_chunks, [&](int64_t chunk) { sum += kernels.read(from + chunk * size, size); });
    });
    return sum;
}
