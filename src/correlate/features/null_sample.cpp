#include "correlate/features/null_sample.hpp"

#include "concord/core/at.hpp"

#include "correlate/features/feature_share.hpp"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace concord::correlate {
namespace {

/// Live features by falling counts, as Deal has them; those in front are dense.
struct Order {
  std::vector<std::int32_t> features;
  std::size_t dense = 0;
};

Order order_of(const FeatureSource& source) {
  const auto& count = source.totals().count;
  Order order;
  for (std::size_t j = 0; j < count.size(); ++j)
    if (count[j] > 0) order.features.push_back(static_cast<std::int32_t>(j));
  std::stable_sort(order.features.begin(), order.features.end(), [&](auto x, auto y) { return count[at(x)] > count[at(y)]; });
  const double limit = dense_above * static_cast<double>(source.rows());
  order.dense = static_cast<std::size_t>(std::partition_point(order.features.begin(), order.features.end(),
                                                              [&](auto j) { return static_cast<double>(count[at(j)]) > limit; }) -
                                         order.features.begin());
  return order;
}

/// What is drawn at once: features [first, last) of the order.
struct Unit {
  std::size_t first, last;
  double density; ///< values a feature, up to a factor
};

/// One unit of each of `draws` strata of like density; each unit at most once a shift. Draw i is for shift i mod `shifts`.
void draw(const std::vector<Unit>& units, Index draws, Index shifts, const Order& order, const Philox& random, NullSample& sample) {
  std::vector<double> ends;
  double sum = 0;
  for (const Unit& unit : units) ends.push_back(sum += unit.density);
  std::vector<std::vector<std::int32_t>> drawn(units.size()); // shifts
  for (Index i = 0; i < draws; ++i) {
    const double place = (static_cast<double>(i) + random.uniform(static_cast<std::uint64_t>(i))) * sum / static_cast<double>(draws);
    const auto u = std::min(units.size() - 1, static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), place) - ends.begin()));
    const auto shift = static_cast<std::int32_t>(i % shifts);
    if (std::find(drawn[u].begin(), drawn[u].end(), shift) != drawn[u].end()) continue;
    drawn[u].push_back(shift);
    for (std::size_t f = units[u].first; f < units[u].last; ++f) {
      sample.feature.push_back(order.features[f]);
      sample.shift.push_back(shift);
      sample.weight.push_back(sum / (static_cast<double>(draws) * units[u].density));
    }
  }
}

} // namespace

NullSample null_sample(const FeatureSource& source, Index features, Index shifts, const Philox& random) {
  const Order order = order_of(source);
  NullSample sample;
  if (order.features.empty() || features == 0 || shifts == 0) return sample;
  const auto& count = source.totals().count;
  const double mean = static_cast<double>(source.entries()) / static_cast<double>(order.features.size());
  std::vector<Unit> strips;
  std::vector<Unit> single;
  for (std::size_t first = 0; first < order.dense; first += at(strip_a)) {
    const std::size_t last = std::min(order.dense, first + at(strip_a));
    strips.push_back({first, last, std::sqrt(static_cast<double>(last - first) / (static_cast<double>(source.rows()) + mean))});
  }
  double sum = 0;
  for (std::size_t f = order.dense; f < order.features.size(); ++f) {
    single.push_back({f, f + 1, 1 / std::sqrt(static_cast<double>(count[at(order.features[f])]) + mean)});
    sum += single.back().density;
  }
  const Index values = features * shifts;
  double dense = 0;
  for (const Unit& strip : strips) dense += strip.density * static_cast<double>(strip.last - strip.first);
  // A strip at least, and none twice at a shift.
  const auto wanted = static_cast<Index>(std::lround(static_cast<double>(values) * dense / (sum + dense) / static_cast<double>(strip_a)));
  const auto most = std::min(values / strip_a, static_cast<Index>(strips.size()) * shifts);
  const Index of_strips = std::min(most, std::max<Index>(1, wanted));
  if (!strips.empty() && of_strips > 0) draw(strips, of_strips, shifts, order, random, sample);
  if (!single.empty())
    draw(single, values - (strips.empty() ? 0 : of_strips * strip_a), shifts, order, Philox(random.bits(0), "single"), sample);
  return sample;
}

} // namespace concord::correlate
