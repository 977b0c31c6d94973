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

/// Equal r are sums in other orders: a null value so little below r reaches it.
constexpr double rounding = 1e-10;

/// Null values that must reach r for p to be counted.
constexpr Index enough = 10;

/// Distance of Kolmogorov and Smirnov between ascending excesses over a threshold and a law, times the root of their number.
template <typename Law>
double misfit(const std::vector<double>& excess, const Law& beyond) {
  const auto n = static_cast<double>(excess.size());
  double distance = 0;
  for (std::size_t i = 0; i < excess.size(); ++i) {
    const double below = 1 - beyond(excess[i]);
    distance = std::max({distance, static_cast<double>(i + 1) / n - below, below - static_cast<double>(i) / n});
  }
  return distance * std::sqrt(n);
}

double pareto(double excess, double scale, double shape) {
  return shape > 0 ? std::pow(1 + shape * excess / scale, -1 / shape) : std::exp(-excess / scale);
}

} // namespace

Tail::Tail(const std::vector<double>& sorted) {
  constexpr std::size_t fewest = 48;  // excesses to fit to
  constexpr double share = 0.125;     // of the values, that are excesses at first
  constexpr double most_misfit = 0.9; // the 5 % point is about there when two parameters are fitted
  const auto reaching = static_cast<std::size_t>(enough);
  for (auto n = static_cast<std::size_t>(share * static_cast<double>(sorted.size())); n >= fewest; n = n * 2 / 3) {
    const double threshold = sorted[sorted.size() - n - 1];
    std::vector<double> excess(sorted.end() - static_cast<std::ptrdiff_t>(n), sorted.end());
    for (double& e : excess) e -= threshold;
    double mean = 0; // and the mean weighted by 1 - F: probability-weighted moments (Hosking and Wallis 1987)
    double weighted = 0;
    for (std::size_t i = 0; i < n; ++i) {
      mean += excess[i] / static_cast<double>(n);
      weighted += excess[i] * (1 - (static_cast<double>(i) + 0.65) / static_cast<double>(n)) / static_cast<double>(n);
    }
    if (!(mean > 2 * weighted) || !(weighted > 0)) continue;
    double shape = 2 - mean / (mean - 2 * weighted);
    double scale = 2 * mean * weighted / (mean - 2 * weighted);
    if (shape < 0) {
      shape = 0;
      scale = mean;
    }
    if (misfit(excess, [&](double e) { return pareto(e, scale, shape); }) > most_misfit) continue;
    begin_ = sorted[sorted.size() - reaching];
    shape_ = shape;
    scale_ = scale + shape * (begin_ - threshold); // excesses over a higher threshold have the same law but for its scale
    return;
  }
}

double Tail::beyond(double x) const {
  return pareto(x - begin_, scale_, shape_);
}

double Tail::quantile(double p) const {
  return begin_ + scale_ * (shape_ > 0 ? (std::pow(p, -shape_) - 1) / shape_ : -std::log(p));
}

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
  least_ = 1 / (1 + static_cast<double>(features * shifts));
  for (Index first = 0; first < features; first += block) {
    const Index last = std::min(features, first + block);
    const Index begin = std::clamp<Index>((first + last - width) / 2, 0, features - width);
    Window window;
    for (Index i = begin; i < begin + width; ++i)
      for (Index s = 0; s < shifts; ++s) window.sorted.push_back(null[at(s) * counts.size() + at(live[at(i)])]);
    std::sort(window.sorted.begin(), window.sorted.end());
    window.tail = Tail(window.sorted);
    for (Index i = first; i < last; ++i) window_[at(live[at(i)])] = static_cast<std::int32_t>(windows_.size());
    windows_.push_back(std::move(window));
  }
}

const BestNull::Window* BestNull::of(Index feature) const {
  const auto window = window_[at(feature)];
  return window < 0 ? nullptr : &windows_[at(window)];
}

double BestNull::counted(const Window& window, double r) const {
  const auto& null = window.sorted;
  const auto reached = null.end() - std::lower_bound(null.begin(), null.end(), r - rounding);
  return static_cast<double>(1 + reached) / static_cast<double>(1 + null.size());
}

double BestNull::p(Index feature, double r) const {
  const auto* window = of(feature);
  if (window == nullptr) return std::numeric_limits<double>::quiet_NaN();
  const auto& tail = window->tail;
  if (!tail.fitted() || r - rounding <= tail.begin()) return counted(*window, r);
  return std::max(least_, counted(*window, tail.begin()) * tail.beyond(r));
}

double BestNull::threshold(Index feature, double level) const {
  const auto* window = of(feature);
  if (window == nullptr) return std::numeric_limits<double>::quiet_NaN();
  const auto& null = window->sorted;
  const auto& tail = window->tail;
  if (tail.fitted() && level < counted(*window, tail.begin()))
    return level < least_ ? std::numeric_limits<double>::infinity() : tail.quantile(level / counted(*window, tail.begin())) + rounding;
  const auto allowed = static_cast<Index>(std::floor(level * static_cast<double>(null.size() + 1) * (1 + 1e-12))) - 1;
  if (allowed < 0) return std::numeric_limits<double>::infinity();
  if (allowed >= static_cast<Index>(null.size())) return -1;
  return null[null.size() - 1 - at(allowed)] + rounding;
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
