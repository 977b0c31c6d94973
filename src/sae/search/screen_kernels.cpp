#include "sae/search/screen_kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#ifdef __AVX512F__
#pragma GCC diagnostic push // GCC 12 finds its own "undefined" registers uninitialized
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

// NOLINTNEXTLINE(readability-identifier-naming): Fortran's name
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k, const float* alpha,
                       const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace concord::sae::screen {
namespace {

std::uint32_t mixed(std::uint32_t x) { // MurmurHash3's last step
  x ^= x >> 16;
  x *= 0x85EBCA6BU;
  x ^= x >> 13;
  x *= 0xC2B2AE35U;
  return x ^ (x >> 16);
}

/// Integers of a row and their step; random numbers from `salt` and the row's own bits, so that no rank or thread matters.
float round_to_int8(const float* row, Index d, std::uint32_t salt, std::int8_t* out) {
  float largest = 0;
  std::uint32_t seed = salt;
#pragma omp simd reduction(max : largest) reduction(+ : seed)
  for (Index c = 0; c < d; ++c) {
    largest = std::max(largest, std::abs(row[c]));
    seed += std::bit_cast<std::uint32_t>(row[c]) * static_cast<std::uint32_t>(2 * c + 1);
  }
  const float step = largest / 127.0F;
  const float inverse = step > 0 ? 1.0F / step : 0.0F;
  seed = mixed(seed);
#pragma omp simd
  for (Index c = 0; c < d; ++c) {
    const auto random =
        static_cast<float>(static_cast<std::int32_t>(mixed(seed + static_cast<std::uint32_t>(c) * 0x9E3779B1U) >> 8)) * 0x1p-24F;
    const float rounded = std::floor(row[c] * inverse + random);
    out[c] = static_cast<std::int8_t>(static_cast<std::int32_t>(std::min(127.0F, std::max(-127.0F, rounded))));
  }
  return step;
}

std::int8_t* bytes_for(Index d) {
  thread_local std::vector<std::int8_t> bytes;
  bytes.assign(static_cast<std::size_t>(groups(d, 4) * 4), 0);
  return bytes.data();
}

/// Rounds to nearest, ties to even.
std::uint16_t narrowed(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

float round_to_bf16(const float* row, Index d, std::uint32_t* to, Index stride) {
  float lost = 0;
  for (Index c = 0; c < d; ++c) {
    const std::uint16_t narrow = narrowed(row[c]);
    const float wide = std::bit_cast<float>(static_cast<std::uint32_t>(narrow) << 16);
    lost += (row[c] - wide) * (row[c] - wide);
    std::uint32_t& word = to[c / 2 * stride];
    word = c % 2 == 0 ? narrow : word | static_cast<std::uint32_t>(narrow) << 16;
  }
  return std::sqrt(lost);
}

/// Word of a latent in the first group of a panel; groups are 32 words apart.
std::uint32_t* first_word(Line* panel_lines, Index place) {
  return panel_lines->words + place;
}

} // namespace

Int8Row round_weights(const float* row, Index d, Index place, Line* to) {
  std::int8_t* bytes = bytes_for(d);
  Int8Row rounded;
  rounded.step = round_to_int8(row, d, 0x5EED5AE0U, bytes);
  std::uint32_t* words = first_word(to, place);
  for (Index g = 0; g < groups(d, 4); ++g) {
    std::uint32_t word = 0;
    for (Index b = 0; b < 4; ++b) {
      rounded.sum += bytes[4 * g + b];
      word |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(bytes[4 * g + b])) << (8 * b);
    }
    words[g * panel] = word;
  }
  return rounded;
}

float round_row(const float* row, Index d, std::uint32_t* to) {
  std::int8_t* bytes = bytes_for(d);
  const float step = round_to_int8(row, d, 0xC0DEC0DEU, bytes);
  for (Index g = 0; g < groups(d, 4); ++g) {
    std::uint32_t word = 0;
    for (Index b = 0; b < 4; ++b) word |= static_cast<std::uint32_t>(bytes[4 * g + b] + 128) << (8 * b);
    to[g * tile_rows] = word;
  }
  return step;
}

float round_weights_bf16(const float* row, Index d, Index place, Line* to) {
  return round_to_bf16(row, d, first_word(to, place), panel);
}

float round_row_bf16(const float* row, Index d, std::uint32_t* to) {
  return round_to_bf16(row, d, to, tile_rows);
}

// Sums in variables of their own: arrays of them, however unrolled, GCC 12 writes to memory in every round.
#define CONCORD_TILE_ROWS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
static_assert(tile_rows == 12);

#ifdef __AVX512VNNI__

const bool has_int8 = true;

void score_tile_int8(const std::uint32_t* rows, const float* row_scales, Index n_groups, const Line* weights, const float* scales,
                     const float* offsets, const float* bias, float* scores) {
#define CONCORD_BEGIN(r) __m512i left##r = _mm512_setzero_si512(), right##r = _mm512_setzero_si512();
  CONCORD_TILE_ROWS(CONCORD_BEGIN)
  for (Index g = 0; g < n_groups; ++g) {
    const __m512i w0 = _mm512_load_si512(weights + 2 * g);
    const __m512i w1 = _mm512_load_si512(weights + 2 * g + 1);
#define CONCORD_ADD(r)                                                                                                                     \
  {                                                                                                                                        \
    const __m512i x = _mm512_set1_epi32(static_cast<int>(rows[g * tile_rows + (r)]));                                                      \
    left##r = _mm512_dpbusd_epi32(left##r, x, w0);                                                                                         \
    right##r = _mm512_dpbusd_epi32(right##r, x, w1);                                                                                       \
  }
    CONCORD_TILE_ROWS(CONCORD_ADD)
  }
  // Stored as they are: more work on 24 live registers would drive them out of the loop above.
  alignas(64) std::int32_t sums[tile_rows * panel];
#define CONCORD_END(r) _mm512_store_si512(sums + (r)*panel, left##r), _mm512_store_si512(sums + (r)*panel + 16, right##r);
  CONCORD_TILE_ROWS(CONCORD_END)
  for (Index r = 0; r < tile_rows; ++r)
#pragma omp simd
    for (Index i = 0; i < panel; ++i)
      scores[r * panel + i] = (static_cast<float>(sums[r * panel + i]) - offsets[i]) * scales[i] * row_scales[r] + bias[i];
#undef CONCORD_BEGIN
#undef CONCORD_ADD
#undef CONCORD_END
}

#else

const bool has_int8 = false;

void score_tile_int8(const std::uint32_t*, const float*, Index, const Line*, const float*, const float*, const float*, float*) {}

#endif

#ifdef __AVX512BF16__

const bool has_bf16 = true;

void score_tile_bf16(const std::uint32_t* rows, Index n_groups, const Line* weights, const float* bias, float* scores) {
#define CONCORD_BEGIN(r) __m512 left##r = _mm512_loadu_ps(bias), right##r = _mm512_loadu_ps(bias + 16);
  CONCORD_TILE_ROWS(CONCORD_BEGIN)
  for (Index g = 0; g < n_groups; ++g) {
    const auto w0 = (__m512bh)_mm512_load_si512(weights + 2 * g);
    const auto w1 = (__m512bh)_mm512_load_si512(weights + 2 * g + 1);
#define CONCORD_ADD(r)                                                                                                                     \
  {                                                                                                                                        \
    const auto x = (__m512bh)_mm512_set1_epi32(static_cast<int>(rows[g * tile_rows + (r)]));                                               \
    left##r = _mm512_dpbf16_ps(left##r, x, w0);                                                                                            \
    right##r = _mm512_dpbf16_ps(right##r, x, w1);                                                                                          \
  }
    CONCORD_TILE_ROWS(CONCORD_ADD)
  }
#define CONCORD_END(r)                                                                                                                     \
  _mm512_storeu_ps(scores + (r)*panel, left##r);                                                                                           \
  _mm512_storeu_ps(scores + (r)*panel + 16, right##r);
  CONCORD_TILE_ROWS(CONCORD_END)
#undef CONCORD_BEGIN
#undef CONCORD_ADD
#undef CONCORD_END
}

#else

const bool has_bf16 = false;

void score_tile_bf16(const std::uint32_t*, Index, const Line*, const float*, float*) {}

#endif

#ifdef __AVX512F__

std::uint32_t reaching(const float* scores, const float* units, float error, float threshold) {
  const __m512 e = _mm512_set1_ps(error);
  const __m512 t = _mm512_set1_ps(threshold);
  const auto half = [&](Index first) {
    const __m512 most = _mm512_fmadd_ps(e, _mm512_loadu_ps(units + first), _mm512_loadu_ps(scores + first));
    return static_cast<std::uint32_t>(_mm512_cmp_ps_mask(most, t, _CMP_GE_OQ));
  };
  return half(0) | half(16) << 16;
}

#else

std::uint32_t reaching(const float* scores, const float* units, float error, float threshold) {
  float largest = scores[0] + error * units[0];
#pragma omp simd reduction(max : largest)
  for (Index i = 0; i < panel; ++i) largest = std::max(largest, scores[i] + error * units[i]);
  if (!(largest >= threshold)) return 0; // mostly
  std::uint32_t bits = 0;
  for (Index i = 0; i < panel; ++i) bits |= static_cast<std::uint32_t>(scores[i] + error * units[i] >= threshold) << i;
  return bits;
}

#endif

void for_scores_f32(const float* x, Index rows, const float* encoder, Index count, Index d, const float* bias,
                    const std::function<void(Index, Index, const float*)>& take) {
  constexpr Index chunk = 512; // latents whose scores exist at once
  thread_local std::vector<float> scores;
  scores.resize(static_cast<std::size_t>(rows * chunk));
  const int rows_i = static_cast<int>(rows), d_i = static_cast<int>(d), chunk_i = static_cast<int>(chunk);
  const float one = 1;
  for (Index first = 0; first < count; first += chunk) {
    const Index some = std::min(chunk, count - first);
    const Index whole = (some + panel - 1) / panel * panel;
    for (Index r = 0; r < rows; ++r) std::copy_n(bias + first, whole, scores.begin() + r * chunk);
    const int some_i = static_cast<int>(some);
    sgemm_("T", "N", &some_i, &rows_i, &d_i, &one, encoder + first * d, &d_i, x, &d_i, &one, scores.data(), &chunk_i);
    for (Index r = 0; r < rows; ++r)
      for (Index i = 0; i < whole; i += panel) take(r, first + i, scores.data() + r * chunk + i);
  }
}

} // namespace concord::sae::screen
