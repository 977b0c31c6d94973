#pragma once
/// Some features of a layer, as a layer of their own. Local.

#include "correlate/features/feature_source.hpp"

namespace concord::correlate {

class SampledSource final : public FeatureSource {
public:
  /// @param source    of all features; must outlive this
  /// @param features  ascending; feature i of this is features[i] of `source`
  SampledSource(const FeatureSource& source, std::vector<std::int32_t> features);
  /// Their numbers in the layer.
  const std::vector<std::int32_t>& names() const { return names_; }
  Index rows() const override { return source_.rows(); }
  using FeatureSource::entries;
  /// An upper bound: those of all features.
  Index entries(Index begin, Index end) const override { return source_.entries(begin, end); }
  io::CsrMatrix read(Index begin, Index end) const override;

private:
  const FeatureSource& source_;
  std::vector<std::int32_t> names_;
  std::vector<std::int32_t> places_; ///< of the layer's features; -1: not among these
};

} // namespace concord::correlate
