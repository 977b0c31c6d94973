#pragma once
/// What a layer's features come to, and the strongest activations of each. Local.

#include "concord/core/at.hpp"
#include "concord/features/encode.hpp"
#include "concord/features/features.hpp"

#include <algorithm>
#include <vector>

namespace concord::features {

/// Keeps the strongest activations of one feature, strongest first.
class TopList {
public:
  struct Entry {
    float value;
    Index row;
  };
  static bool stronger(const Entry& a, const Entry& b) { return a.value > b.value || (a.value == b.value && a.row < b.row); }
  void offer(float value, Index row, std::size_t places) {
    if (entries_.size() == places && !stronger({value, row}, entries_.back())) return;
    const Entry entry{value, row};
    entries_.insert(std::upper_bound(entries_.begin(), entries_.end(), entry, stronger), entry);
    if (entries_.size() > places) entries_.pop_back();
  }
  const std::vector<Entry>& entries() const { return entries_; }

private:
  std::vector<Entry> entries_;
};

/// Entries that a rank writes at once.
inline constexpr std::size_t entries_a_write = std::size_t{1} << 22;

/// What a layer's features come to, on this rank's rows; then on all.
struct LayerTotals {
  Index entries = 0;
  FeatureStatistics statistics; ///< sums follow when the codes are written
  std::vector<float> largest;   ///< |value|
  std::vector<TopList> top;
  explicit LayerTotals(Index latents)
      : statistics{std::vector<Index>(at(latents), 0), {}, {}, std::vector<float>(at(latents), 0.0F)}, largest(at(latents), 0.0F),
        top(at(latents)) {}
};

} // namespace concord::features
