#include "concord/core/at.hpp"
#include "concord/core/machine/memory.hpp"

#include "correlate/shares/feature_share.hpp"
#include <numeric>
#include <queue>

namespace concord::correlate {

Deal::Deal(const FeatureSource& source, int parts, const DenseWork& dense, Index block)
    : places_(at(source.features())), features_(at(parts)), dense_(at(parts), 0), block_ends_(at(parts)) {
  const auto& count = source.totals().count;
  const auto rows = static_cast<double>(source.rows());
  std::vector<std::int32_t> order(count.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return count[at(x)] > count[at(y)]; });
  const auto first_where = [&](auto&& holds) {
    return std::partition_point(order.begin(), order.end(), [&](auto j) { return !holds(j); });
  };
  const auto sparse = first_where([&](auto j) { return static_cast<double>(count[at(j)]) <= dense_above * rows; });
  const auto dead = first_where([&](auto j) { return count[at(j)] == 0; });

  using Load = std::pair<double, int>; // of a part
  std::priority_queue<Load, std::vector<Load>, std::greater<>> loads;
  for (int part = 0; part < parts; ++part) loads.emplace(0, part);
  const auto give_to_least = [&](auto begin, auto end, double work) {
    const auto [load, part] = loads.top();
    loads.pop();
    loads.emplace(load + work, part);
    features_[at(part)].insert(features_[at(part)].end(), begin, end);
    return at(part);
  };
  for (auto strip = order.begin(); strip != sparse;) {
    const auto end = strip + std::min<std::ptrdiff_t>(dense.strip, sparse - strip);
    dense_[give_to_least(strip, end, dense.a_row * rows)] += end - strip;
    strip = end;
  }
  for (auto feature = sparse; feature != dead; ++feature) give_to_least(feature, feature + 1, static_cast<double>(count[at(*feature)]));

  for (std::size_t part = 0; part < features_.size(); ++part) {
    deal_blocks(part, block);
    for (std::size_t i = 0; i < features_[part].size(); ++i)
      places_[at(features_[part][i])] = {static_cast<std::int32_t>(part), static_cast<std::int32_t>(i)};
  }
}

void Deal::deal_blocks(std::size_t part, Index block) {
  auto& features = features_[part];
  const Index dense = dense_[part];
  const Index sparse = static_cast<Index>(features.size()) - dense;
  const Index blocks = block > 0 ? std::max<Index>(1, (sparse + block - 1) / block) : 1;
  const std::vector<std::int32_t> by_count(features.begin() + dense, features.end());
  Index place = dense;
  for (Index k = 0; k < blocks; ++k) {
    for (Index i = k; i < sparse; i += blocks) features[at(place++)] = by_count[at(i)];
    block_ends_[part].push_back(place);
  }
}

Strips::Strips(Index rows, Index features, Index width) : Strips(rows, features, width, nullptr) {
  const auto floats = static_cast<std::size_t>(size(rows, features, width));
  reserve_huge(own_, floats);
  own_.resize(floats, 0.0F);
  values_ = own_.data();
}

Strips::Strips(Index rows, Index features, Index width, float* elsewhere)
    : rows_(rows), width_(width), count_((features + width - 1) / width), values_(elsewhere) {}

} // namespace concord::correlate
