#pragma once
/// Of how many features the null of the best r is taken (docs/concepts.md). Local.

#include "concord/core/index.hpp"

#include <algorithm>

namespace concord::correlate {

/// Features of a side whose best r is taken at each shift: `least`, or a thirty-second of them where that is more. All where `least` is 0
/// or where it is a quarter of them or more, since a sample of both sides would then save little.
inline Index null_features(Index features, Index least) {
  constexpr Index share = 32;
  constexpr Index worth = 4;
  return least == 0 || features <= worth * least ? features : std::max(least, (features + share - 1) / share);
}

/// Whether these are a sample: of both sides, or of none, since a pass over all features of one gives all of the other.
inline bool samples_null(Index features_a, Index features_b, Index least) {
  return null_features(features_a, least) < features_a && null_features(features_b, least) < features_b;
}

} // namespace concord::correlate
