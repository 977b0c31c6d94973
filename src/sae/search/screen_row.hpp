#pragma once
/// A row while its latents are screened. Local.

#include "concord/sae/search/screen.hpp"

#include "sae/search/screen_kernels.hpp"
#include <algorithm>
#include <bit>
#include <limits>

namespace concord::sae {

inline constexpr Index block_rows = 96;  ///< rows that one thread screens at once: they and a panel of weights fit its cache
inline constexpr float hoeffding = 3.0F; ///< t
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

inline bool can(Screen::Precision precision) {
  return precision == Screen::Precision::f32 || (precision == Screen::Precision::bf16 ? screen::has_bf16 : screen::has_int8);
}

inline Screen::Precision finer(Screen::Precision precision) {
  return precision == Screen::Precision::int8 ? Screen::Precision::bf16 : Screen::Precision::f32;
}

/// A row while its latents are screened.
struct Screen::Row {
  struct Candidate {
    float score;
    float error;
    std::int32_t latent; ///< place among the weights
  };
  std::vector<Candidate> candidates;
  float threshold = 0; ///< of score + error
  float error = 0;     ///< of a latent of error unit 1
  float scale = 1;     ///< of scores
  std::size_t limit = 0;
  std::vector<std::pair<float, std::int32_t>> chosen; ///< h and latent

  /// Takes scores of a panel of latents from `first`, as candidates for the k largest.
  void take(const float* scores, const float* units, std::int32_t first, int k) {
    for (std::uint32_t bits = screen::reaching(scores, units, error, threshold); bits != 0; bits &= bits - 1) {
      const int i = std::countr_zero(bits);
      candidates.push_back({scores[i], error * units[i], first + i});
    }
    if (candidates.size() <= limit) return;
    shrink(k);
    limit = std::max(limit, 2 * candidates.size());
  }

  /// Drops what is surely below k others.
  void shrink(int k) {
    if (static_cast<int>(candidates.size()) <= k) return;
    const auto kth = candidates.begin() + (k - 1);
    std::nth_element(candidates.begin(), kth, candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.score - a.error > b.score - b.error; });
    threshold = std::max(threshold, kth->score - kth->error);
    std::erase_if(candidates, [&](const Candidate& c) { return c.score + c.error < threshold; });
  }

  void give(SparseRows& part) const {
    for (const auto& [value, latent] : chosen) {
      part.index.push_back(latent);
      part.value.push_back(value);
    }
    part.ends.push_back(part.entries());
  }
};

} // namespace concord::sae
