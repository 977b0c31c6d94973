#include "concord/sae/screen.hpp"

#include "sae/rows.hpp"
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#ifdef __AVX512BF16__
#include <immintrin.h>
#else
// NOLINTNEXTLINE(readability-identifier-naming): Fortran's name
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k, const float* alpha,
                       const float* a, const int* lda, const float* b, const int* ldb, const float* beta, float* c, const int* ldc);
#endif

namespace concord::sae {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

constexpr Index panel = 32;      ///< latents of one tile
constexpr Index block_rows = 96; ///< rows that one thread screens at once: they and a panel fit its cache
constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

} // namespace

/// A row while its latents are screened.
struct Screen::Row {
  struct Candidate {
    float score;
    std::int32_t latent; ///< place among the weights
  };
  std::vector<Candidate> candidates;
  float threshold = 0; ///< scores below it cannot be among the k largest
  float error = 0;     ///< e
  std::size_t limit = 0;
  std::vector<std::pair<float, std::int32_t>> chosen;

  void begin(float bound, int k) {
    candidates.clear();
    error = bound;
    threshold = -bound; // h must be positive
    limit = static_cast<std::size_t>(4 * k);
  }

  /// Takes scores of the latents from `first`.
  void take(const float* scores, std::int32_t first, int k) {
    bool any = false;
#pragma omp simd reduction(| : any)
    for (Index i = 0; i < panel; ++i) any |= scores[i] >= threshold;
    if (!any) return;
    for (Index i = 0; i < panel; ++i)
      if (scores[i] >= threshold) candidates.push_back({scores[i], first + static_cast<std::int32_t>(i)});
    if (candidates.size() > limit) {
      shrink(k);
      limit = std::max(limit, 2 * candidates.size());
    }
  }

  void shrink(int k) {
    if (static_cast<int>(candidates.size()) <= k) return;
    const auto kth = candidates.begin() + (k - 1);
    std::nth_element(candidates.begin(), kth, candidates.end(), [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
    threshold = std::max(threshold, kth->score - 2 * error);
    std::erase_if(candidates, [&](const Candidate& c) { return c.score < threshold; });
  }
};

struct Screen::Weights {
  std::span<const float> encoder;
  std::span<const float> bias;
  std::vector<std::int32_t> subset; ///< empty: all
  Index count = 0;
  float largest = 0;      ///< |w|
  float largest_lost = 0; ///< |w - w^|
  std::int32_t latent(std::int32_t place) const { return subset.empty() ? place : subset[static_cast<std::size_t>(place)]; }
};

#ifdef __AVX512BF16__

bool Screen::in_bf16() {
  return true;
}

namespace {

struct alignas(64) Line {
  std::uint16_t values[32];
};

/// Rounds to nearest, ties to even.
std::uint16_t bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

float widened(std::uint16_t x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x) << 16);
}

struct Norms {
  float rounded = 0; ///< |x^|
  float lost = 0;    ///< |x - x^|
};

/// bf16 values of a row, `stride` elements apart, in pairs.
Norms round_row(const float* x, Index d, std::uint16_t* out, Index pair_stride) {
  float rounded = 0;
  float lost = 0;
  for (Index c = 0; c < d; ++c) {
    const std::uint16_t narrow = bf16(x[c]);
    const float wide = widened(narrow);
    rounded += wide * wide;
    lost += (x[c] - wide) * (x[c] - wide);
    out[c / 2 * pair_stride + c % 2] = narrow;
  }
  if (d % 2 != 0) out[d / 2 * pair_stride + 1] = 0;
  return {std::sqrt(rounded), std::sqrt(lost)};
}

} // namespace

/// Panels of 32 latents; within a panel, pairs of columns: 32 x 2 values, two registers.
struct Screen::Packed {
  std::vector<Line> lines;
  std::vector<float> bias;
  Index pairs = 0;
};

namespace {

constexpr Index tile_rows = 12; // 24 sums, two panels of weights and a broadcast fit 32 registers

/// Scores of 12 rows with one panel: 12 x 32 sums over pairs of columns.
void score_tile(const std::uint32_t* rows, Index pairs, const Line* weights, const float* bias, float* scores) {
  __m512 sums[tile_rows][2];
#pragma GCC unroll 12
  for (Index r = 0; r < tile_rows; ++r) {
    sums[r][0] = _mm512_loadu_ps(bias);
    sums[r][1] = _mm512_loadu_ps(bias + 16);
  }
  for (Index p = 0; p < pairs; ++p) {
    const auto w0 = (__m512bh)_mm512_load_si512(weights + 2 * p);
    const auto w1 = (__m512bh)_mm512_load_si512(weights + 2 * p + 1);
#pragma GCC unroll 12
    for (Index r = 0; r < tile_rows; ++r) {
      const auto x = (__m512bh)_mm512_set1_epi32(static_cast<int>(rows[r * pairs + p]));
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, w0);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, w1);
    }
  }
#pragma GCC unroll 12
  for (Index r = 0; r < tile_rows; ++r) {
    _mm512_storeu_ps(scores + r * panel, sums[r][0]);
    _mm512_storeu_ps(scores + r * panel + 16, sums[r][1]);
  }
}

} // namespace

void Screen::update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset) {
  Weights& w = *weights_;
  w.encoder = encoder;
  w.bias = bias;
  w.subset.assign(subset.begin(), subset.end());
  w.count = subset.empty() ? static_cast<Index>(bias.size()) : static_cast<Index>(subset.size());
  const Index panels = (w.count + panel - 1) / panel;
  Packed& p = *packed_;
  p.pairs = (d_ + 1) / 2;
  p.lines.resize(at(panels * p.pairs * 2));
  p.bias.assign(at(panels * panel), minus_infinity);
  std::vector<Norms> most(at(panels));
  for_pieces(panels, [&](Index q) {
    auto* out = p.lines[at(q * p.pairs * 2)].values;
    std::fill(out, out + p.pairs * 2 * 32, std::uint16_t{0});
    for (Index i = q * panel; i < std::min(w.count, (q + 1) * panel); ++i) {
      const std::int32_t j = w.latent(static_cast<std::int32_t>(i));
      const Norms norms = round_row(encoder.data() + j * d_, d_, out + (i - q * panel) * 2, 2 * panel);
      most[at(q)].rounded = std::max(most[at(q)].rounded, norms.rounded);
      most[at(q)].lost = std::max(most[at(q)].lost, norms.lost);
      p.bias[at(i)] = bias[at(j)];
    }
  });
  w.largest = w.largest_lost = 0;
  for (const Norms& norms : most) {
    w.largest_lost = std::max(w.largest_lost, norms.lost);
    w.largest = std::max(w.largest, norms.rounded + norms.lost);
  }
}

void Screen::screen_rows(std::span<const float> x, Index begin, Index end, Codes& codes, std::vector<Row>& rows, Index& candidates) const {
  const Packed& p = *packed_;
  const Index tiles = (end - begin + tile_rows - 1) / tile_rows;
  std::vector<std::uint32_t> rounded(at(tiles * tile_rows * p.pairs), 0);
  const auto k = static_cast<int>(codes.slots);
  for (Index r = begin; r < end; ++r) {
    const Norms n = round_row(x.data() + r * d_, d_, reinterpret_cast<std::uint16_t*>(rounded.data() + (r - begin) * p.pairs), 2);
    const float sums = 4.0F * static_cast<float>(d_) * 0x1p-24F * (n.rounded + n.lost) * weights_->largest;
    rows[at(r - begin)].begin(1.01F * (n.lost * weights_->largest + n.rounded * weights_->largest_lost + sums), k);
  }
  alignas(64) float scores[tile_rows * panel];
  const Index panels = (weights_->count + panel - 1) / panel;
  for (Index q = 0; q < panels; ++q)
    for (Index t = 0; t < tiles; ++t) {
      score_tile(rounded.data() + t * tile_rows * p.pairs, p.pairs, p.lines.data() + q * p.pairs * 2, p.bias.data() + q * panel, scores);
      for (Index r = t * tile_rows; r < std::min(end - begin, (t + 1) * tile_rows); ++r)
        rows[at(r)].take(scores + (r - t * tile_rows) * panel, static_cast<std::int32_t>(q * panel), k);
    }
  for (Index r = begin; r < end; ++r) {
    rows[at(r - begin)].shrink(k);
    candidates += static_cast<Index>(rows[at(r - begin)].candidates.size());
    choose(x.data() + r * d_, rows[at(r - begin)], r, codes);
  }
}

#else

bool Screen::in_bf16() {
  return false;
}

/// The weights in f32, in their order; only the bias is laid out anew.
struct Screen::Packed {
  std::vector<float> encoder; ///< of a subset
  std::vector<float> bias;
};

void Screen::update(std::span<const float> encoder, std::span<const float> bias, std::span<const std::int32_t> subset) {
  Weights& w = *weights_;
  Packed& p = *packed_;
  w.subset.assign(subset.begin(), subset.end());
  w.encoder = encoder;
  w.bias = bias;
  w.count = subset.empty() ? static_cast<Index>(bias.size()) : static_cast<Index>(subset.size());
  p.bias.assign(at((w.count + panel - 1) / panel * panel), minus_infinity);
  p.encoder.resize(at(static_cast<Index>(subset.size()) * d_));
  std::vector<float> norms(at(w.count));
  for_pieces((w.count + 255) / 256, [&](Index piece) {
    for (Index i = piece * 256; i < std::min(w.count, (piece + 1) * 256); ++i) {
      const std::int32_t j = w.latent(static_cast<std::int32_t>(i));
      const float* row = encoder.data() + j * d_;
      if (!subset.empty()) std::copy(row, row + d_, p.encoder.begin() + i * d_);
      norms[at(i)] = std::sqrt(dot(row, row, d_));
      p.bias[at(i)] = bias[at(j)];
    }
  });
  w.largest = w.count == 0 ? 0 : *std::max_element(norms.begin(), norms.end());
}

void Screen::screen_rows(std::span<const float> x, Index begin, Index end, Codes& codes, std::vector<Row>& rows, Index& candidates) const {
  const Packed& p = *packed_;
  const Weights& w = *weights_;
  const auto k = static_cast<int>(codes.slots);
  const float* encoder = w.subset.empty() ? w.encoder.data() : p.encoder.data();
  for (Index r = begin; r < end; ++r)
    rows[at(r - begin)].begin(
        1.01F * 4.0F * static_cast<float>(d_) * 0x1p-24F * std::sqrt(dot(x.data() + r * d_, x.data() + r * d_, d_)) * w.largest, k);
  constexpr Index chunk = 512; // latents whose scores exist at once
  std::vector<float> scores(at((end - begin) * chunk));
  const int rows_i = static_cast<int>(end - begin), d_i = static_cast<int>(d_), chunk_i = static_cast<int>(chunk);
  const float one = 1;
  for (Index first = 0; first < w.count; first += chunk) {
    const Index count = std::min(chunk, w.count - first);
    const Index whole = (count + panel - 1) / panel * panel;
    for (Index r = 0; r < end - begin; ++r) std::copy_n(p.bias.begin() + first, whole, scores.begin() + r * chunk);
    const int count_i = static_cast<int>(count);
    sgemm_("T", "N", &count_i, &rows_i, &d_i, &one, encoder + first * d_, &d_i, x.data() + begin * d_, &d_i, &one, scores.data(), &chunk_i);
    for (Index r = 0; r < end - begin; ++r)
      for (Index i = 0; i < whole; i += panel) rows[at(r)].take(scores.data() + r * chunk + i, static_cast<std::int32_t>(first + i), k);
  }
  for (Index r = begin; r < end; ++r) {
    rows[at(r - begin)].shrink(k);
    candidates += static_cast<Index>(rows[at(r - begin)].candidates.size());
    choose(x.data() + r * d_, rows[at(r - begin)], r, codes);
  }
}

#endif

Screen::Screen(Index d) : d_(d), packed_(std::make_unique<Packed>()), weights_(std::make_unique<Weights>()) {}

Screen::~Screen() = default;

/// Computes the candidates in f32 and keeps the k largest, ascending by latent.
void Screen::choose(const float* x, Row& row, Index r, Codes& codes) const {
  const Weights& w = *weights_;
  row.chosen.clear();
  for (const auto& candidate : row.candidates) {
    const std::int32_t j = w.latent(candidate.latent);
    const float h = dot(x, w.encoder.data() + j * d_, d_) + w.bias[at(j)];
    if (h > 0) row.chosen.emplace_back(h, j);
  }
  const auto kept = std::min(at(codes.slots), row.chosen.size());
  std::nth_element(row.chosen.begin(), row.chosen.begin() + static_cast<std::ptrdiff_t>(kept), row.chosen.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first || (a.first == b.first && a.second < b.second); });
  row.chosen.resize(kept);
  std::sort(row.chosen.begin(), row.chosen.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (std::size_t s = 0; s < kept; ++s) {
    codes.index[at(r * codes.slots) + s] = row.chosen[s].second;
    codes.value[at(r * codes.slots) + s] = row.chosen[s].first;
  }
}

void Screen::top_k(std::span<const float> x, Codes& codes) {
  const Index n = static_cast<Index>(x.size()) / d_;
  codes.resize(n);
  if (codes.slots == 0 || weights_->count == 0) return;
  const Index blocks = (n + block_rows - 1) / block_rows;
  std::atomic<Index> candidates = 0;
  for_pieces(blocks, [&](Index block) {
    thread_local std::vector<Row> rows(at(block_rows));
    Index found = 0;
    screen_rows(x, block * block_rows, std::min(n, (block + 1) * block_rows), codes, rows, found);
    candidates += found;
  });
  candidates_per_row_ = static_cast<double>(candidates) / static_cast<double>(std::max<Index>(1, n));
}

} // namespace concord::sae
