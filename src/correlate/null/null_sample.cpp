#include "correlate/null/null_sample.hpp"

#include "concord/core/at.hpp"

#include "correlate/shares/feature_share.hpp"
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

/// Values of a feature, or of a strip of them.
struct Draw {
  std::size_t first, last; ///< of the order
  std::int32_t shift;
  double weight;
};

void take(const std::vector<Draw>& draws, const Order& order, NullSample& sample) {
  for (const Draw& draw : draws)
    for (std::size_t f = draw.first; f < draw.last; ++f) {
      sample.feature.push_back(order.features[f]);
      sample.shift.push_back(draw.shift);
      sample.weight.push_back(draw.weight);
    }
}

/// So many strips of dense features, at other shifts where one comes again. Of fewer than all every so-manieth.
std::vector<Draw> draw_strips(const Order& order, Index draws, Index shifts, const Philox& random) {
  const Index width = strip_a;
  const auto dense = static_cast<Index>(order.dense);
  const Index strips = (dense + width - 1) / width;
  const auto first_shift = static_cast<Index>(random.below(1, static_cast<std::uint64_t>(shifts)));
  std::vector<Draw> drawn;
  for (Index i = 0; i < draws; ++i) {
    const double place = (static_cast<double>(i) + random.uniform(0)) * static_cast<double>(strips) / static_cast<double>(draws);
    const Index strip = draws < strips ? std::min(strips - 1, static_cast<Index>(place)) : i % strips;
    const Index shift = (first_shift + (draws < strips ? i : strip + i / strips)) % shifts;
    const Index times = draws / strips + (strip < draws % strips ? 1 : 0); // that it comes
    const double weight = draws < strips ? static_cast<double>(strips) / static_cast<double>(draws) : 1 / static_cast<double>(times);
    drawn.push_back({at(strip * width), at(std::min(dense, (strip + 1) * width)), static_cast<std::int32_t>(shift), weight});
  }
  return drawn;
}

/// One feature of each of `draws` strata of like density, draw i at shift i mod `shifts`. A value that is drawn again stands for as many
/// features more.
std::vector<Draw> draw_single(const Order& order, const std::vector<double>& density, Index draws, Index shifts, const Philox& random) {
  std::vector<double> ends(density.size());
  std::partial_sum(density.begin(), density.end(), ends.begin());
  std::vector<Draw> drawn;
  std::vector<std::vector<std::size_t>> of_feature(density.size()); // places in `drawn`
  for (Index i = 0; i < draws; ++i) {
    const double place =
        (static_cast<double>(i) + random.uniform(static_cast<std::uint64_t>(i))) * ends.back() / static_cast<double>(draws);
    const auto f = std::min(ends.size() - 1, static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), place) - ends.begin()));
    const auto shift = static_cast<std::int32_t>(i % shifts);
    const double weight = ends.back() / (static_cast<double>(draws) * density[f]);
    auto& places = of_feature[f];
    const auto same = std::find_if(places.begin(), places.end(), [&](auto k) { return drawn[k].shift == shift; });
    if (same != places.end()) {
      drawn[*same].weight += weight;
      continue;
    }
    places.push_back(drawn.size());
    drawn.push_back({order.dense + f, order.dense + f + 1, shift, weight});
  }
  return drawn;
}

/// Strips to draw, of `values`: each at one shift at least, or most_strips; more where their share of the work says so, or where they are
/// few. No more than leave half of the values to other features, as far as these have so many.
Index strips_of(const Order& order, double rows, double mean, double single, Index values, Index shifts) {
  constexpr Index most_strips = 64, fewest_draws = 4;
  const Index strips = (static_cast<Index>(order.dense) + strip_a - 1) / strip_a;
  const double dense = static_cast<double>(order.dense) * std::sqrt(static_cast<double>(strip_a) / (rows + mean));
  const auto wanted = std::lround(static_cast<double>(values) * dense / (single + dense) / static_cast<double>(strip_a));
  const Index others = static_cast<Index>(order.features.size() - order.dense) * shifts;
  const Index most = std::max<Index>(1, (values - std::min(values / 2, others)) / strip_a);
  return std::min({std::max({std::min(strips, most_strips), fewest_draws, static_cast<Index>(wanted)}), strips * shifts, most});
}

} // namespace

NullSample null_sample(const FeatureSource& source, Index features, Index shifts, const Philox& random) {
  const Order order = order_of(source);
  NullSample sample;
  sample.dense = dense_above * static_cast<double>(source.rows());
  if (order.features.empty() || features == 0 || shifts == 0) return sample;
  const auto& count = source.totals().count;
  const double mean = static_cast<double>(source.entries()) / static_cast<double>(order.features.size());
  std::vector<double> density; // of features that are not dense: values each, up to a factor
  for (std::size_t f = order.dense; f < order.features.size(); ++f)
    density.push_back(1 / std::sqrt(static_cast<double>(count[at(order.features[f])]) + mean));
  const double single = std::accumulate(density.begin(), density.end(), 0.0);
  const Index values = features * shifts;
  Index strips = 0;
  if (order.dense > 0) {
    strips = strips_of(order, static_cast<double>(source.rows()), mean, single, values, shifts);
    take(draw_strips(order, strips, shifts, Philox(random.bits(1), "strips")), order, sample);
  }
  if (!density.empty()) take(draw_single(order, density, values - sample.size(), shifts, Philox(random.bits(0), "single")), order, sample);
  return sample;
}

} // namespace concord::correlate
