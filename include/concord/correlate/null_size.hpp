#pragma once
/// Of how many features the null of the best r is taken (docs/concepts.md). Local.

#include "concord/core/index.hpp"

#include <algorithm>

namespace concord::correlate {

/// A sample that has fewer values of a side says too little: a window of the null has so many (docs/concepts.md).
inline constexpr Index fewest_null_values = 256;

/// Features of a side whose best r is taken at each shift: `least`, or a thirty-second of them where that is more. All where `least` is 0,
/// where it is a quarter of them or more, since a sample of both sides would then save little, and where the sample would have fewer
/// than `fewest_values` values at all shifts together.
inline Index null_features(Index features, Index least, Index shifts, Index fewest_values = fewest_null_values) {
  constexpr Index share = 32;
  constexpr Index worth = 4;
  if (least == 0 || features <= worth * least) return features;
  const Index sampled = std::max(least, (features + share - 1) / share);
  return sampled * shifts < fewest_values ? features : sampled;
}

/// Whether these are a sample: of both sides, or of none, since a pass over all features of one gives all of the other.
inline bool samples_null(Index features_a, Index features_b, Index least, Index shifts, Index fewest_values = fewest_null_values) {
  return null_features(features_a, least, shifts, fewest_values) < features_a &&
         null_features(features_b, least, shifts, fewest_values) < features_b;
}

} // namespace concord::correlate
