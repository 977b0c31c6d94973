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

namespace {

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

} // namespace

BestNull::BestNull(const std::vector<double>& null, const std::vector<Index>& counts)
    : window_(counts.size(), -1), factor_(counts.size(), 1) {
  const auto shifts = counts.empty() ? 0 : static_cast<Index>(null.size() / counts.size());
  for (std::size_t j = 0; j < counts.size(); ++j)
    if (counts[j] > 0) live_.push_back(static_cast<std::int32_t>(j));
  const auto features = static_cast<Index>(live_.size());
  if (shifts == 0 || features == 0) return;
  std::stable_sort(live_.begin(), live_.end(), [&](auto x, auto y) { return counts[at(x)] < counts[at(y)]; });
  const Index values = std::clamp(features * shifts / 16, fewest_values, most_values);
  const Index width = std::min(features, (values + shifts - 1) / shifts);
  least_ = 1 / (1 + static_cast<double>(features * shifts));
  for (Index first = 0; first < features; first += block) {
    const Index last = std::min(features, first + block);
    const Index begin = std::clamp<Index>((first + last - width) / 2, 0, features - width);
    windows_.push_back(window_of(null, counts, begin, width, first, last));
  }
  pool_excesses(null);
}

/// Of live features [begin, begin + width), for [first, last).
BestNull::Window BestNull::window_of(const std::vector<double>& null, const std::vector<Index>& counts, Index begin, Index width,
                                     Index first, Index last) {
  const std::size_t shifts = null.size() / counts.size();
  const auto logarithm = [&](Index i) { return std::log(static_cast<double>(counts[at(live_[at(i)])])); };
  std::vector<double> halves[2];
  double middles[2] = {0, 0};
  for (Index i = begin; i < begin + width; ++i) {
    const int half = i < begin + width / 2 ? 0 : 1;
    middles[half] += logarithm(i) / static_cast<double>(half == 0 ? width / 2 : width - width / 2);
    for (std::size_t s = 0; s < shifts; ++s) halves[half].push_back(null[s * counts.size() + at(live_[at(i)])]);
  }
  double power = 0;
  constexpr double apart = 1e-3; // counts that are all alike have no trend
  if (!halves[0].empty() && middles[1] - middles[0] > apart) {
    const double rare = median(halves[0]);
    const double frequent = median(halves[1]);
    if (rare > 0 && frequent > 0) power = std::clamp((std::log(frequent) - std::log(rare)) / (middles[1] - middles[0]), -1.0, 1.0);
  }
  double centre = 0;
  for (Index i = first; i < last; ++i) centre += logarithm(i) / static_cast<double>(last - first);
  const auto factor = [&](Index i) { return std::exp(power * (centre - logarithm(i))); };
  Window window;
  for (Index i = begin; i < begin + width; ++i)
    for (std::size_t s = 0; s < shifts; ++s) window.sorted.push_back(factor(i) * null[s * counts.size() + at(live_[at(i)])]);
  std::sort(window.sorted.begin(), window.sorted.end());
  window.tail = Tail(window.sorted);
  window.tenth = window.sorted[window.sorted.size() - std::min(window.sorted.size(), at(enough))];
  for (Index i = first; i < last; ++i) {
    window_[at(live_[at(i)])] = static_cast<std::int32_t>(windows_.size());
    factor_[at(live_[at(i)])] = factor(i);
  }
  return window;
}

void BestNull::pool_excesses(const std::vector<double>& null) {
  for (std::size_t place = 0; place < null.size(); ++place) {
    const std::size_t feature = place % window_.size();
    if (window_[feature] < 0) continue;
    const double tenth = windows_[at(window_[feature])].tenth;
    if (tenth > 0 && factor_[feature] * null[place] > tenth) excesses_.push_back(factor_[feature] * null[place] / tenth);
  }
  std::sort(excesses_.begin(), excesses_.end());
}

double BestNull::counted(const Window& window, double r) const {
  const auto& null = window.sorted;
  const auto reached = null.end() - std::lower_bound(null.begin(), null.end(), r - rounding);
  return static_cast<double>(1 + reached) / static_cast<double>(1 + null.size());
}

/// Of r above the window's tenth null value.
double BestNull::p_beyond(const Window& window, double r) const {
  if (window.tail.fitted()) return counted(window, window.tenth) * window.tail.beyond(r);
  if (!(window.tenth > 0)) return counted(window, r);
  const auto reached = excesses_.end() - std::lower_bound(excesses_.begin(), excesses_.end(), r / window.tenth - rounding);
  const double pooled = static_cast<double>(1 + reached) / static_cast<double>(1 + excesses_.size());
  return std::min(counted(window, r), counted(window, window.tenth) * pooled);
}

double BestNull::p(Index feature, double r) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  const Window& window = windows_[at(number)];
  const double as_in_window = r * factor_[at(feature)];
  if (as_in_window - rounding <= window.tenth) return counted(window, as_in_window);
  return std::max(least_, p_beyond(window, as_in_window));
}

double BestNull::threshold(Index feature, double level) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  const Window& window = windows_[at(number)];
  if (level < least_) return std::numeric_limits<double>::infinity();
  if (level >= counted(window, window.tenth)) {
    const auto& null = window.sorted;
    const auto allowed = static_cast<Index>(std::floor(level * static_cast<double>(null.size() + 1) * (1 + 1e-12))) - 1;
    if (allowed >= static_cast<Index>(null.size())) return -1;
    return (null[null.size() - 1 - at(allowed)] + rounding / 2) / factor_[at(feature)];
  }
  double below = window.tenth; // p falls with r: between what is above the level and what is not
  double above = std::max(1.0, 2 * window.tenth);
  while (p_beyond(window, above) > level && above < 1e6) above *= 2;
  for (int step = 0; step < 60 && p_beyond(window, above) <= level; ++step) {
    const double middle = 0.5 * (below + above);
    (p_beyond(window, middle) <= level ? above : below) = middle;
  }
  return p_beyond(window, above) <= level ? below / factor_[at(feature)] : std::numeric_limits<double>::infinity();
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
