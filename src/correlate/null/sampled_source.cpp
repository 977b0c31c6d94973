#include "correlate/null/sampled_source.hpp"

#include "concord/core/at.hpp"

#include <algorithm>

namespace concord::correlate {

SampledSource::SampledSource(const FeatureSource& source, std::vector<std::int32_t> features)
    : source_(source), names_(std::move(features)), places_(at(source.features()), -1) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    places_[at(names_[i])] = static_cast<std::int32_t>(i);
    totals_.count.push_back(source.totals().count[at(names_[i])]);
    totals_.sum.push_back(source.totals().sum[at(names_[i])]);
  }
}

/// In windows of the layer's rows, since few of their entries are kept.
io::CsrMatrix SampledSource::read(Index begin, Index end) const {
  constexpr Index entries_a_window = Index{1} << 18;
  const Index per_row = source_.entries() / std::max<Index>(1, rows()) + 1;
  const Index window = std::max<Index>(1, entries_a_window / per_row);
  io::CsrMatrix kept{end - begin, features(), {0}, {}, {}};
  for (Index first = begin; first < end; first += window) {
    const io::CsrMatrix all = source_.read(first, std::min(end, first + window));
    for (Index row = 0; row < all.rows; ++row) {
      for (auto e = at(all.indptr[at(row)]); e < at(all.indptr[at(row) + 1]); ++e)
        if (const auto place = places_[at(all.indices[e])]; place >= 0) {
          kept.indices.push_back(place);
          kept.values.push_back(all.values[e]);
        }
      kept.indptr.push_back(kept.nnz());
    }
  }
  return kept;
}

} // namespace concord::correlate
