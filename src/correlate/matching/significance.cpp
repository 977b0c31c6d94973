#include "correlate/matching/significance.hpp"

#include "concord/core/at.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::correlate {
namespace {

/// Features that share a window, and the values that a window should have: a sixteenth of all, a quarter of a sample's, within limits.
constexpr Index block = 64;
constexpr Index of_all = 16;
constexpr Index of_sample = 4;

/// How often a window's power is found from what the last one leaves. A window of a sample spans so many counts that quantiles of r itself
/// say as much of the counts in each half.
constexpr int rounds_of_sample = 4;
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

/// The value that so large a share of all lies below.
double quantile(std::vector<double> values, double share) {
  const auto place = std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())));
  const auto at_place = values.begin() + static_cast<std::ptrdiff_t>(place);
  std::nth_element(values.begin(), at_place, values.end());
  return *at_place;
}

} // namespace

BestNull::BestNull(const std::vector<double>& null, const std::vector<Index>& counts) : BestNull(null, counts, of_all, 1) {}

BestNull::BestNull(const std::vector<double>& null, const std::vector<Index>& counts, Index part, int rounds)
    : window_(counts.size(), -1), logarithm_(counts.size(), 0) {
  const auto shifts = counts.empty() ? 0 : static_cast<Index>(null.size() / counts.size());
  for (std::size_t j = 0; j < counts.size(); ++j)
    if (counts[j] > 0) {
      live_.push_back(static_cast<std::int32_t>(j));
      logarithm_[j] = std::log(static_cast<double>(counts[j]));
    }
  const auto features = static_cast<Index>(live_.size());
  if (shifts == 0 || features == 0) return;
  std::stable_sort(live_.begin(), live_.end(), [&](auto x, auto y) { return counts[at(x)] < counts[at(y)]; });
  const Index values = std::clamp(features * shifts / part, fewest_values, most_values);
  const Index width = std::min(features, (values + shifts - 1) / shifts);
  least_ = 1 / (1 + static_cast<double>(features * shifts));
  const Index step = std::min(block, width); // a window is for features that are in it
  for (Index first = 0; first < features; first += step) {
    const Index last = std::min(features, first + step);
    const Index begin = std::clamp<Index>((first + last - width) / 2, 0, features - width);
    windows_.push_back(window_of(null, {begin, width}, first, last, rounds));
  }
  pool_excesses(null);
}

namespace {

/// Values as if each were a feature's of its own.
std::vector<Index> counts_of(const std::vector<std::int32_t>& feature, const std::vector<Index>& counts) {
  std::vector<Index> of_values;
  of_values.reserve(feature.size());
  for (const auto f : feature) of_values.push_back(counts[at(f)]);
  return of_values;
}

} // namespace

BestNull::BestNull(const std::vector<double>& null, const std::vector<std::int32_t>& feature, Index shifts,
                   const std::vector<Index>& counts)
    : BestNull(null, feature.empty() ? counts : counts_of(feature, counts), feature.empty() ? of_all : of_sample,
               feature.empty() ? 1 : rounds_of_sample) {
  if (feature.empty()) return;
  pool_tails(null);
  find_windows(counts);
  const auto live = std::count_if(counts.begin(), counts.end(), [](Index count) { return count > 0; });
  if (pooled_tail_.fitted()) least_ = std::min(least_, 1 / (1 + static_cast<double>(live * shifts)));
}

/// By the first scale of each window.
void BestNull::pool_tails(const std::vector<double>& null) {
  for (std::size_t value = 0; value < null.size(); ++value) {
    const Window& window = windows_[at(window_[value])];
    const Scale& scale = window.scales.front();
    if (scale.eighth > 0) pooled_.push_back(factor(scale, window.centre, value) * null[value] / scale.eighth);
  }
  std::sort(pooled_.begin(), pooled_.end());
  pooled_tail_ = Tail(pooled_);
}

/// Of all features, by where their counts stand among those of the values.
void BestNull::find_windows(const std::vector<Index>& counts) {
  std::vector<std::pair<double, std::int32_t>> of_values; // logarithm of the count and window, rare ones in front
  for (const auto value : live_) of_values.emplace_back(logarithm_[at(value)], window_[at(value)]);
  window_.assign(counts.size(), -1);
  logarithm_.assign(counts.size(), 0);
  if (of_values.empty()) return;
  for (std::size_t j = 0; j < counts.size(); ++j) {
    if (counts[j] == 0) continue;
    logarithm_[j] = std::log(static_cast<double>(counts[j]));
    const auto below = [](const auto& value, double logarithm) { return value.first < logarithm; };
    const auto above = [](double logarithm, const auto& value) { return logarithm < value.first; };
    const auto first = std::lower_bound(of_values.begin(), of_values.end(), logarithm_[j], below);
    const auto last = std::upper_bound(first, of_values.end(), logarithm_[j], above);
    const auto middle = std::min(first + (last - first) / 2, of_values.end() - 1);
    window_[j] = middle->second;
  }
}

/// By which powers of the count r goes among live features [begin, begin + width).
std::vector<double> BestNull::powers_of(const std::vector<double>& null, Index begin, Index width, int rounds) const {
  constexpr double apart = 1e-3; // counts that are all alike have no trend
  constexpr double wide = 0.25;  // counts of both halves differ by more than a quarter
  constexpr double upper = 0.9;
  const std::size_t shifts = null.size() / window_.size();
  std::vector<std::pair<double, double>> halves[2]; // r and the logarithm of the count
  double middles[2] = {0, 0};
  for (Index i = begin; i < begin + width; ++i) {
    const int half = i < begin + width / 2 ? 0 : 1;
    middles[half] += logarithm_[at(live_[at(i)])] / static_cast<double>(half == 0 ? width / 2 : width - width / 2);
    for (std::size_t s = 0; s < shifts; ++s)
      halves[half].emplace_back(null[s * window_.size() + at(live_[at(i)])], logarithm_[at(live_[at(i)])]);
  }
  const double distance = middles[1] - middles[0];
  if (halves[0].empty() || !(distance > apart)) return {0};
  const auto scaled = [&](const std::vector<std::pair<double, double>>& half, double power) {
    std::vector<double> values;
    for (const auto& [r, logarithm] : half) values.push_back(r * std::exp(power * (middles[1] - logarithm)));
    return values;
  };
  const auto power = [&](double share) {
    double found = 0;
    for (int round = 0; round < rounds; ++round) {
      const double rare = quantile(scaled(halves[0], found), share);
      const double frequent = quantile(scaled(halves[1], found), share);
      if (!(rare > 0) || !(frequent > 0)) return 0.0;
      found = std::clamp(found + (std::log(frequent) - std::log(rare)) / distance, -1.0, 1.0);
    }
    return found;
  };
  if (distance <= wide) return {power(0.5)};
  return {power(0.5), power(upper)};
}

BestNull::Scale BestNull::scale_of(const std::vector<double>& null, Index begin, Index width, double centre, double power) const {
  Scale scale;
  scale.power = power;
  for (Index i = begin; i < begin + width; ++i) {
    const std::size_t feature = at(live_[at(i)]);
    const double by = factor(scale, centre, feature);
    for (std::size_t place = feature; place < null.size(); place += window_.size()) scale.sorted.push_back(by * null[place]);
  }
  std::sort(scale.sorted.begin(), scale.sorted.end());
  scale.tail = Tail(scale.sorted);
  scale.tenth = scale.sorted[scale.sorted.size() - std::min(scale.sorted.size(), at(enough))];
  scale.eighth = scale.sorted[scale.sorted.size() - scale.sorted.size() / 8 - 1];
  return scale;
}

/// Of a part of the live features, for [first, last).
BestNull::Window BestNull::window_of(const std::vector<double>& null, Part of, Index first, Index last, int rounds) {
  Window window;
  for (Index i = first; i < last; ++i) {
    window.centre += logarithm_[at(live_[at(i)])] / static_cast<double>(last - first);
    window_[at(live_[at(i)])] = static_cast<std::int32_t>(windows_.size());
  }
  for (const double power : powers_of(null, of.begin, of.width, rounds))
    window.scales.push_back(scale_of(null, of.begin, of.width, window.centre, power));
  return window;
}

/// By the first scale of each window.
void BestNull::pool_excesses(const std::vector<double>& null) {
  for (std::size_t place = 0; place < null.size(); ++place) {
    const std::size_t feature = place % window_.size();
    if (window_[feature] < 0) continue;
    const Window& window = windows_[at(window_[feature])];
    const Scale& scale = window.scales.front();
    const double r = factor(scale, window.centre, feature) * null[place];
    if (scale.tenth > 0 && r > scale.tenth) excesses_.push_back(r / scale.tenth);
  }
  std::sort(excesses_.begin(), excesses_.end());
}

double BestNull::factor(const Scale& scale, double centre, std::size_t feature) const {
  return std::exp(scale.power * (centre - logarithm_[feature]));
}

double BestNull::counted(const Scale& scale, double r) const {
  const auto& null = scale.sorted;
  const auto reached = null.end() - std::lower_bound(null.begin(), null.end(), r - rounding);
  return static_cast<double>(1 + reached) / static_cast<double>(1 + null.size());
}

/// Of a multiple of a window's upper eighth.
double BestNull::p_pooled(double multiple) const {
  const double from = std::min(multiple, pooled_tail_.begin());
  const auto reached = pooled_.end() - std::lower_bound(pooled_.begin(), pooled_.end(), from - rounding);
  const double p = static_cast<double>(1 + reached) / static_cast<double>(1 + pooled_.size());
  return multiple > from ? p * pooled_tail_.beyond(multiple) : p;
}

/// Of r above the scale's tenth null value.
double BestNull::p_beyond(const Scale& scale, double r) const {
  const double own = scale.tail.fitted() ? counted(scale, scale.tenth) * scale.tail.beyond(r) : 0;
  if (pooled_tail_.fitted() && scale.eighth > 0) return std::min(counted(scale, r), std::max(own, p_pooled(r / scale.eighth)));
  if (scale.tail.fitted()) return own;
  if (!(scale.tenth > 0)) return counted(scale, r);
  const auto reached = excesses_.end() - std::lower_bound(excesses_.begin(), excesses_.end(), r / scale.tenth - rounding);
  const double pooled = static_cast<double>(1 + reached) / static_cast<double>(1 + excesses_.size());
  return std::min(counted(scale, r), counted(scale, scale.tenth) * pooled);
}

/// Of r on the scale.
double BestNull::p_by(const Scale& scale, double r) const {
  if (r - rounding <= scale.tenth) return counted(scale, r);
  return std::max(least_, p_beyond(scale, r));
}

double BestNull::p(Index feature, double r) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  const Window& window = windows_[at(number)];
  double largest = 0;
  for (const Scale& scale : window.scales) largest = std::max(largest, p_by(scale, r * factor(scale, window.centre, at(feature))));
  return largest;
}

/// On the scale.
double BestNull::threshold_by(const Scale& scale, double level) const {
  if (level >= counted(scale, scale.tenth)) {
    const auto& null = scale.sorted;
    const auto allowed = static_cast<Index>(std::floor(level * static_cast<double>(null.size() + 1) * (1 + 1e-12))) - 1;
    if (allowed >= static_cast<Index>(null.size())) return -1;
    return null[null.size() - 1 - at(allowed)] + rounding / 2;
  }
  double below = scale.tenth; // p falls with r: between what is above the level and what is not
  double above = std::max(1.0, 2 * scale.tenth);
  while (p_beyond(scale, above) > level && above < 1e6) above *= 2;
  for (int step = 0; step < 60 && p_beyond(scale, above) <= level; ++step) {
    const double middle = 0.5 * (below + above);
    (p_beyond(scale, middle) <= level ? above : below) = middle;
  }
  return p_beyond(scale, above) <= level ? below : std::numeric_limits<double>::infinity();
}

double BestNull::threshold(Index feature, double level) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  if (level < least_) return std::numeric_limits<double>::infinity();
  const Window& window = windows_[at(number)];
  double largest = -1;
  for (const Scale& scale : window.scales)
    largest = std::max(largest, threshold_by(scale, level) / factor(scale, window.centre, at(feature)));
  return largest;
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
