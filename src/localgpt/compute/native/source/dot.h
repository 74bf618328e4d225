// dot_tile: kRows rows of int8 steps times one weight tile, exact in int32 on every instruction set.
// kMostRows is as many as the machine's registers hold sums of.
//
// LOCALGPT_PATH names the instruction set this file is compiled for; see paths.cpp for how one is chosen.
#pragma once

#include "kernels.h"
#include "vector.h"

#if defined(LOCALGPT_AVX512VNNI) || defined(LOCALGPT_AVXVNNI) || defined(LOCALGPT_AVX2)
#include <immintrin.h>
#elif defined(LOCALGPT_DOTPROD)
#include <arm_neon.h>
#endif

namespace {

constexpr int64_t kAhead = 2048;  // bytes that weights are asked for before they are used

inline int32_t four_steps(const int8_t* steps) {
    int32_t value;
    memcpy(&value, steps, sizeof value);
    return value;
}

#if defined(LOCALGPT_AVX512VNNI)

constexpr int kMostRows = 8;

// kSplit sums per row hide the latency of the dot product where there are few rows.
template <int kRows>
inline void dot_tile(const uint8_t* tile, int64_t groups, const int8_t* const* rows, const int32_t* sums,
                     Ints* out) {
    constexpr int kSplit = kRows == 1 ? 4 : kRows <= 4 ? 2 : 1;
    __m512i parts[kRows][kSplit];
    for (int row = 0; row < kRows; ++row)
        for (int part = 0; part < kSplit; ++part) parts[row][part] = _mm512_setzero_si512();
    for (int64_t group = 0; group < groups; group += kSplit) {
        for (int part = 0; part < kSplit; ++part) {
            const uint8_t* at = tile + (group + part) * localgpt::kTileGroup;
            _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_T0);
            const __m512i weights = _mm512_loadu_si512(at);
            for (int row = 0; row < kRows; ++row) {
                const __m512i steps =
                    _mm512_set1_epi32(four_steps(rows[row] + (group + part) * localgpt::kGroup));
                parts[row][part] = _mm512_dpbusd_epi32(parts[row][part], weights, steps);
            }
        }
    }
    for (int row = 0; row < kRows; ++row) {
        __m512i total = parts[row][0];
        for (int part = 1; part < kSplit; ++part) total = _mm512_add_epi32(total, parts[row][part]);
        total = _mm512_sub_epi32(total, _mm512_set1_epi32(128 * sums[row]));  // weights are 128 too large
        memcpy(&out[row], &total, sizeof total);
    }
}

#elif defined(LOCALGPT_AVXVNNI) || defined(LOCALGPT_AVX2)

constexpr int kMostRows = 4;

inline __m256i add_dot(__m256i total, __m256i weights, __m256i steps) {
#if defined(LOCALGPT_AVXVNNI)
    return _mm256_dpbusd_avx_epi32(total, weights, steps);
#else
    // |w| * (sign(w) a): two products of at most 128 * 127 fit in 16 bits, which w + 128 times a would not.
    weights = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(steps, weights));
    return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}

template <int kRows>
inline void dot_tile(const uint8_t* tile, int64_t groups, const int8_t* const* rows, const int32_t* sums,
                     Ints* out) {
    constexpr int kSplit = kRows == 1 ? 2 : 1, kUnrolled = 4;  // a matrix has a multiple of four groups
    __m256i parts[kRows][kSplit][2];
    for (int row = 0; row < kRows; ++row)
        for (int part = 0; part < kSplit; ++part)
            parts[row][part][0] = parts[row][part][1] = _mm256_setzero_si256();
    for (int64_t group = 0; group < groups; group += kUnrolled) {
        for (int step = 0; step < kUnrolled; ++step) {
            const uint8_t* at = tile + (group + step) * localgpt::kTileGroup;
            _mm_prefetch(reinterpret_cast<const char*>(at + kAhead), _MM_HINT_T0);
            const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
            const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32));
            for (int row = 0; row < kRows; ++row) {
                const __m256i steps =
                    _mm256_set1_epi32(four_steps(rows[row] + (group + step) * localgpt::kGroup));
                __m256i* part = parts[row][step % kSplit];
                part[0] = add_dot(part[0], low, steps);
                part[1] = add_dot(part[1], high, steps);
            }
        }
    }
    for (int row = 0; row < kRows; ++row) {
#if defined(LOCALGPT_AVXVNNI)
        const __m256i offset = _mm256_set1_epi32(128 * sums[row]);
#else
        const __m256i offset = _mm256_setzero_si256();
        (void)sums;
#endif
        for (int half = 0; half < 2; ++half) {
            __m256i total = parts[row][0][half];
            for (int part = 1; part < kSplit; ++part) total = _mm256_add_epi32(total, parts[row][part][half]);
            total = _mm256_sub_epi32(total, offset);
            memcpy(reinterpret_cast<char*>(&out[row]) + 32 * half, &total, sizeof total);
        }
    }
}

#elif defined(LOCALGPT_DOTPROD)

constexpr int kMostRows = 4;

template <int kRows>
inline void dot_tile(const uint8_t* tile, int64_t groups, const int8_t* const* rows, const int32_t*,
                     Ints* out) {
    int32x4_t parts[kRows][4];
    for (int row = 0; row < kRows; ++row)
        for (int part = 0; part < 4; ++part) parts[row][part] = vdupq_n_s32(0);
    for (int64_t group = 0; group < groups; ++group) {
        const uint8_t* at = tile + group * localgpt::kTileGroup;
        __builtin_prefetch(at + kAhead);
        int8x16_t weights[4];
        for (int part = 0; part < 4; ++part)
            weights[part] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(at + 16 * part), vdupq_n_u8(128)));
        for (int row = 0; row < kRows; ++row) {
            const int8x16_t steps =
                vreinterpretq_s8_s32(vdupq_n_s32(four_steps(rows[row] + group * localgpt::kGroup)));
            for (int part = 0; part < 4; ++part)
                parts[row][part] = vdotq_s32(parts[row][part], weights[part], steps);
        }
    }
    for (int row = 0; row < kRows; ++row) memcpy(&out[row], parts[row], sizeof out[row]);
}

#else

constexpr int kMostRows = 4;

template <int kRows>
inline void dot_tile(const uint8_t* tile, int64_t groups, const int8_t* const* rows, const int32_t*,
                     Ints* out) {
    for (int row = 0; row < kRows; ++row) {
        int32_t totals[kLanes] = {};
        for (int64_t group = 0; group < groups; ++group) {
            const uint8_t* at = tile + group * localgpt::kTileGroup;
            const int8_t* steps = rows[row] + group * localgpt::kGroup;
            for (int lane = 0; lane < kLanes; ++lane)
                for (int place = 0; place < localgpt::kGroup; ++place)
                    totals[lane] += (int32_t{at[lane * localgpt::kGroup + place]} - 128) * steps[place];
        }
        memcpy(&out[row], totals, sizeof totals);
    }
}

#endif

}  // namespace
