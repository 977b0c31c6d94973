#include "correlate/matching/significance.hpp"

#include "concord/core/at.hpp"
#include "concord/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace concord::correlate {
namespace {

/// Features that share a window, and the part of all that a window should span, within limits.
constexpr Index block = 64;
constexpr Index part_of_all = 16;

/// How often a window's power is found from what the last one leaves. A window of a sample spans so many counts that quantiles of r itself
/// say as much of the counts in each half.
constexpr int rounds_of_sample = 4;
constexpr Index fewest_values = 256;
constexpr Index most_values = 4096;

/// A window that stands alone shows no power with fewer.
constexpr Index fewest_for_power = 64;

/// Null values that must reach r for p to be counted.
constexpr Index enough = 10;

/// Of a window's values: those above have its upper tail.
constexpr double upper_part = 0.125;

constexpr double rounding = NullValues::rounding;
constexpr double infinity = std::numeric_limits<double>::infinity();

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
  constexpr double most_misfit = 0.9; // the 5 % point is about there when two parameters are fitted
  const auto reaching = static_cast<std::size_t>(enough);
  for (auto n = static_cast<std::size_t>(upper_part * static_cast<double>(sorted.size())); n >= fewest; n = n * 2 / 3) {
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

namespace {

/// Of the features whose values these are.
std::vector<Index> counts_of(const std::vector<std::int32_t>& feature, const std::vector<Index>& counts) {
  std::vector<Index> of_values;
  of_values.reserve(feature.size());
  for (const auto f : feature) of_values.push_back(counts[at(f)]);
  return of_values;
}

} // namespace

BestNull::BestNull(const std::vector<double>& null, const NullSample& sample, const std::vector<Index>& counts)
    : BestNull(null, sample.feature.empty() ? Drawn{counts, {}, sample.dense}
                                            : Drawn{counts_of(sample.feature, counts), sample.weight, sample.dense}) {
  if (sample.feature.empty()) return;
  const Drawn drawn{counts_of(sample.feature, counts), sample.weight, sample.dense};
  find_windows(counts, drawn);
  const auto live = std::count_if(counts.begin(), counts.end(), [](Index count) { return count > 0; });
  if (pooled_tail_.fitted()) least_ = std::min(least_, 1 / (1 + static_cast<double>(live * sample.shifts())));
}

BestNull::BestNull(const std::vector<double>& null, const Drawn& drawn)
    : sampled_(drawn.is_sample()), window_(drawn.counts.size(), -1), logarithm_(drawn.counts.size(), 0) {
  const auto& counts = drawn.counts;
  const auto shifts = counts.empty() ? 0 : static_cast<Index>(null.size() / counts.size());
  for (std::size_t j = 0; j < counts.size(); ++j)
    if (counts[j] > 0) {
      live_.push_back(static_cast<std::int32_t>(j));
      logarithm_[j] = std::log(static_cast<double>(counts[j]));
    }
  const auto features = static_cast<Index>(live_.size());
  if (shifts == 0 || features == 0) return;
  std::stable_sort(live_.begin(), live_.end(), [&](auto x, auto y) { return counts[at(x)] < counts[at(y)]; });
  least_ = 1 / (1 + static_cast<double>(features * shifts));
  const auto is_dense = [&](auto j) { return static_cast<double>(counts[at(j)]) > drawn.dense; };
  const auto sparse = std::partition_point(live_.begin(), live_.end(), [&](auto j) { return !is_dense(j); }) - live_.begin();
  const auto dense = features - sparse;
  add_windows(null, drawn, {0, sparse}, sparse > 0 && sparse < dense);
  add_windows(null, drawn, {sparse, dense}, sparse > 0 && dense <= sparse);
  excesses_ = multiples_of(&Scale::tenth, /*above=*/true, null, drawn);
  if (!sampled_ && std::none_of(windows_.begin(), windows_.end(), [](const Window& w) { return w.alone; })) return;
  pooled_ = multiples_of(&Scale::eighth, /*above=*/false, null, drawn);
  pooled_tail_ = Tail(pooled_.sorted());
}

namespace {

/// The least width from `least` to `most` that is enough; `most` where none is. More is enough, too.
template <typename Enough>
Index least_width(Index least, Index most, const Enough& is_enough) {
  while (least < most) {
    const Index middle = least + (most - least) / 2;
    if (is_enough(middle))
      most = middle;
    else
      least = middle + 1;
  }
  return most;
}

} // namespace

/// Of neighbours by their counts, which stay among these.
void BestNull::add_windows(const std::vector<double>& null, const Drawn& drawn, Part among, bool alone) {
  if (among.width == 0) return;
  const auto shifts = static_cast<Index>(null.size() / window_.size());
  const auto values = std::clamp(static_cast<Index>(live_.size()) * shifts / part_of_all, fewest_values, most_values);
  const Index of_all = std::min(among.width, (values + shifts - 1) / shifts);
  std::vector<double> represented{0}; // features, by those in front
  if (drawn.is_sample())
    for (const auto j : live_) represented.push_back(represented.back() + drawn.weights[at(j)]);
  const Index step = std::min(block, drawn.is_sample() ? among.width : of_all); // a window is for features that are in it
  for (Index first = among.begin; first < among.begin + among.width; first += step) {
    const Index last = std::min(among.begin + among.width, first + step);
    const auto begin = [&](Index width) {
      return std::clamp<Index>((first + last - width) / 2, among.begin, among.begin + among.width - width);
    };
    const auto spans_enough = [&](Index width) {
      return represented[at(begin(width) + width)] - represented[at(begin(width))] >= represented.back() / part_of_all;
    };
    const Index width =
        drawn.is_sample() ? least_width(std::min(fewest_values, among.width), std::min(most_values, among.width), spans_enough) : of_all;
    windows_.push_back(window_of(null, drawn, {begin(width), width}, {first, last - first}, alone));
  }
}

/// Of all features, by where their counts stand among those of the values, dense ones among dense ones.
void BestNull::find_windows(const std::vector<Index>& counts, const Drawn& drawn) {
  using OfValue = std::pair<double, std::int32_t>; // logarithm of the count, and window
  std::vector<OfValue> of_values[2];               // of dense ones and of others; rare ones in front
  const auto is_dense = [&](Index count) { return static_cast<double>(count) > drawn.dense ? 1 : 0; };
  for (const auto value : live_) of_values[is_dense(drawn.counts[at(value)])].emplace_back(logarithm_[at(value)], window_[at(value)]);
  window_.assign(counts.size(), -1);
  logarithm_.assign(counts.size(), 0);
  for (std::size_t j = 0; j < counts.size(); ++j) {
    if (counts[j] == 0) continue;
    logarithm_[j] = std::log(static_cast<double>(counts[j]));
    const auto& among = of_values[is_dense(counts[j])];
    require(!among.empty(), ExitCode::internal, "a sample of the null has no value of features as frequent as feature {}", j);
    const auto below = [](const OfValue& value, double logarithm) { return value.first < logarithm; };
    const auto above = [](double logarithm, const OfValue& value) { return logarithm < value.first; };
    const auto first = std::lower_bound(among.begin(), among.end(), logarithm_[j], below);
    const auto last = std::upper_bound(first, among.end(), logarithm_[j], above);
    window_[j] = std::min(first + (last - first) / 2, among.end() - 1)->second;
  }
}

/// By which powers of the count r goes among a part of the live features.
std::vector<double> BestNull::powers_of(const std::vector<double>& null, Part of, int rounds) const {
  constexpr double apart = 1e-3; // counts that are all alike have no trend
  constexpr double wide = 0.25;  // counts of both halves differ by more than a quarter
  constexpr double upper = 0.9;
  const std::size_t shifts = null.size() / window_.size();
  std::vector<std::pair<double, double>> halves[2]; // r and the logarithm of the count
  double middles[2] = {0, 0};
  for (Index i = 0; i < of.width; ++i) {
    const int half = i < of.width / 2 ? 0 : 1;
    const auto feature = at(live_[at(of.begin + i)]);
    middles[half] += logarithm_[feature] / static_cast<double>(half == 0 ? of.width / 2 : of.width - of.width / 2);
    for (std::size_t s = 0; s < shifts; ++s) halves[half].emplace_back(null[s * window_.size() + feature], logarithm_[feature]);
  }
  const double distance = middles[1] - middles[0];
  if (halves[0].empty() || !(distance > apart)) return {0};
  const auto scaled = [&](const std::vector<std::pair<double, double>>& half, double power) {
    std::vector<double> values;
    values.reserve(half.size());
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

BestNull::Scale BestNull::scale_of(const std::vector<double>& null, const Drawn& drawn, Part of, double centre, double power) const {
  Scale scale;
  scale.power = power;
  std::vector<std::pair<double, double>> values;
  const std::size_t shifts = null.size() / window_.size();
  for (Index i = of.begin; i < of.begin + of.width; ++i) {
    const auto feature = at(live_[at(i)]);
    const double as_often = factor(scale, centre, feature);
    for (std::size_t s = 0; s < shifts; ++s) values.emplace_back(as_often * null[s * window_.size() + feature], drawn.weight(feature));
  }
  scale.values = NullValues(std::move(values));
  scale.tail = Tail(scale.values.sorted());
  scale.tenth = scale.values.from_above(enough);
  scale.eighth = scale.values.upper(upper_part);
  return scale;
}

/// Of a part of the live features, for `those`. What stands alone also has a scale without a power, which few values do not show.
BestNull::Window BestNull::window_of(const std::vector<double>& null, const Drawn& drawn, Part of, Part those, bool alone) {
  Window window;
  window.alone = alone;
  for (Index i = those.begin; i < those.begin + those.width; ++i) {
    window.centre += logarithm_[at(live_[at(i)])] / static_cast<double>(those.width);
    window_[at(live_[at(i)])] = static_cast<std::int32_t>(windows_.size());
  }
  std::vector<double> powers;
  const auto values = of.width * static_cast<Index>(null.size() / window_.size());
  if (!alone || values >= fewest_for_power) powers = powers_of(null, of, drawn.is_sample() ? rounds_of_sample : 1);
  if (alone) powers.push_back(0);
  for (const double power : powers) window.scales.push_back(scale_of(null, drawn, of, window.centre, power));
  return window;
}

/// Null values on the first scale of their windows, with their weights: as multiples of one of its numbers, all or those above it. Windows
/// that stand alone are left out: of them this says what their few values do not.
NullValues BestNull::multiples_of(double Scale::*number, bool above, const std::vector<double>& null, const Drawn& drawn) const {
  std::vector<std::pair<double, double>> multiples;
  for (std::size_t place = 0; place < null.size(); ++place) {
    const std::size_t feature = place % window_.size();
    if (window_[feature] < 0) continue;
    const Window& window = windows_[at(window_[feature])];
    const Scale& scale = window.scales.front();
    const double unit = scale.*number;
    const double r = factor(scale, window.centre, feature) * null[place];
    if (!window.alone && unit > 0 && (!above || r > unit)) multiples.emplace_back(r / unit, drawn.weight(feature));
  }
  return NullValues(std::move(multiples));
}

double BestNull::factor(const Scale& scale, double centre, std::size_t feature) const {
  return std::exp(scale.power * (centre - logarithm_[feature]));
}

/// Of a multiple of a window's upper eighth.
double BestNull::p_pooled(double multiple) const {
  if (!pooled_tail_.fitted() || multiple <= pooled_tail_.begin()) return pooled_.share(multiple);
  return pooled_.share(pooled_tail_.begin()) * pooled_tail_.beyond(multiple);
}

/// Of r on the scale of a window that stands alone and has no law of its own. Beyond its largest value p falls as that of the others does
/// from their upper eighth on, or from where their p is that of the largest value, if that is larger. How far r is beyond it is
/// measured by the largest value itself and by its distance from the lower quartile, on both sides; the nearer place counts. The largest of
/// very few values says little: there p stays above a twentieth of what is counted.
double BestNull::p_alone(const Scale& scale, double r) const {
  constexpr double lower_quartile = 0.75; // of the values are above it
  constexpr std::size_t very_few = 12;
  constexpr double least_of_few = 0.05;
  const double counted = scale.values.share(r);
  const double largest = scale.values.sorted().back();
  if (r - rounding <= largest || !(largest > 0) || pooled_.empty()) return counted;
  const double from = pooled_.upper(std::max(upper_part, counted));
  const double spread = largest - scale.values.upper(lower_quartile);
  double place = from * r / largest;
  if (spread > 0) place = std::min(place, from + (r - largest) * (from - pooled_.upper(lower_quartile)) / spread);
  const double beyond = p_pooled(std::max(from, place)) / p_pooled(from);
  return counted * (scale.values.sorted().size() < very_few ? std::max(least_of_few, beyond) : beyond);
}

/// Of r above the scale's tenth null value.
double BestNull::p_beyond(const Window& window, const Scale& scale, double r) const {
  const double counted = scale.values.share(r);
  const double at_tenth = scale.values.share(scale.tenth);
  const double own = scale.tail.fitted() ? at_tenth * scale.tail.beyond(r) : 0;
  const bool by_pooled = sampled_ && !window.alone && pooled_tail_.fitted() && scale.eighth > 0;
  if (scale.tail.fitted()) return by_pooled ? std::min(counted, std::max(own, p_pooled(r / scale.eighth))) : own;
  if (window.alone) return p_alone(scale, r);
  if (!(scale.tenth > 0)) return counted;
  if (by_pooled) return std::min(counted, at_tenth * p_pooled(r / scale.eighth) / p_pooled(scale.tenth / scale.eighth));
  return std::min(counted, at_tenth * excesses_.share(r / scale.tenth));
}

/// Of r on the scale.
double BestNull::p_by(const Window& window, const Scale& scale, double r) const {
  if (r - rounding <= scale.tenth) return scale.values.share(r);
  return std::max(least_, p_beyond(window, scale, r));
}

double BestNull::p(Index feature, double r) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  const Window& window = windows_[at(number)];
  double largest = 0;
  for (const Scale& scale : window.scales) largest = std::max(largest, p_by(window, scale, r * factor(scale, window.centre, at(feature))));
  return largest;
}

/// On the scale.
double BestNull::threshold_by(const Window& window, const Scale& scale, double level) const {
  if (level >= scale.values.share(scale.tenth)) return scale.values.bound(level);
  double below = scale.tenth; // p falls with r: between what is above the level and what is not
  double above = std::max(1.0, 2 * scale.tenth);
  while (p_beyond(window, scale, above) > level && above < 1e6) above *= 2;
  for (int step = 0; step < 60 && p_beyond(window, scale, above) <= level; ++step) {
    const double middle = 0.5 * (below + above);
    (p_beyond(window, scale, middle) <= level ? above : below) = middle;
  }
  return p_beyond(window, scale, above) <= level ? below : infinity;
}

double BestNull::threshold(Index feature, double level) const {
  const auto number = window_[at(feature)];
  if (number < 0) return std::numeric_limits<double>::quiet_NaN();
  if (level < least_) return infinity;
  const Window& window = windows_[at(number)];
  double largest = -1;
  for (const Scale& scale : window.scales)
    largest = std::max(largest, threshold_by(window, scale, level) / factor(scale, window.centre, at(feature)));
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
