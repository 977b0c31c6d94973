#include "concord/correlate/significance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::correlate {
namespace {

std::size_t at(Index i) {
  return static_cast<std::size_t>(i);
}

/// Features that share a window, and the values that a window should have: a sixteenth of all, within limits.
constexpr Index block = 64;
constexpr Index fewest_values = 256;
constexpr Index most_values = 4096;

} // namespace

BestNull::BestNull(const std::vector<double>& null, const std::vector<Index>& counts) : window_(counts.size(), -1) {
  const auto shifts = counts.empty() ? 0 : static_cast<Index>(null.size() / counts.size());
  std::vector<std::int32_t> live;
  for (std::size_t j = 0; j < counts.size(); ++j)
    if (counts[j] > 0) live.push_back(static_cast<std::int32_t>(j));
  const auto features = static_cast<Index>(live.size());
  if (shifts == 0 || features == 0) return;
  std::stable_sort(live.begin(), live.end(), [&](auto x, auto y) { return counts[at(x)] < counts[at(y)]; });
  const Index values = std::clamp(features * shifts / 16, fewest_values, most_values);
  const Index width = std::min(features, (values + shifts - 1) / shifts);
  for (Index first = 0; first < features; first += block) {
    const Index last = std::min(features, first + block);
    const Index begin = std::clamp<Index>((first + last - width) / 2, 0, features - width);
    std::vector<double> sorted;
    for (Index i = begin; i < begin + width; ++i)
      for (Index s = 0; s < shifts; ++s) sorted.push_back(null[at(s) * counts.size() + at(live[at(i)])]);
    std::sort(sorted.begin(), sorted.end());
    for (Index i = first; i < last; ++i) window_[at(live[at(i)])] = static_cast<std::int32_t>(sorted_.size());
    sorted_.push_back(std::move(sorted));
  }
}

const std::vector<double>* BestNull::of(Index feature) const {
  const auto window = window_[at(feature)];
  return window < 0 ? nullptr : &sorted_[at(window)];
}

double BestNull::p(Index feature, double r) const {
  const auto* null = of(feature);
  if (null == nullptr) return std::numeric_limits<double>::quiet_NaN();
  const auto reached = null->end() - std::lower_bound(null->begin(), null->end(), r);
  return static_cast<double>(1 + reached) / static_cast<double>(1 + null->size());
}

double BestNull::threshold(Index feature, double level) const {
  const auto* null = of(feature);
  if (null == nullptr) return std::numeric_limits<double>::quiet_NaN();
  const auto allowed = static_cast<Index>(std::floor(level * static_cast<double>(null->size() + 1) * (1 + 1e-12))) - 1;
  if (allowed < 0) return std::numeric_limits<double>::infinity();
  if (allowed >= static_cast<Index>(null->size())) return -1;
  return (*null)[null->size() - 1 - at(allowed)];
}

std::vector<double> benjamini_hochberg(const std::vector<double>& p) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (!std::isnan(p[i])) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return p[x] < p[y]; });
  std::vector<double> q(p.size(), std::numeric_limits<double>::quiet_NaN());
  double least = 1;
  for (std::size_t rank = order.size(); rank > 0; --rank) {
    least = std::min(least, p[order[rank - 1]] * static_cast<double>(order.size()) / static_cast<double>(rank));
    q[order[rank - 1]] = least;
  }
  return q;
}

} // namespace concord::correlate
