#pragma once
/// How large the best of many correlations gets by chance, and what is beyond it. Local.
///
/// The largest of F correlations of a feature that has no counterpart is far from 0, the more the rarer the feature. So r of the best
/// partner is judged by what the same features reach when B's documents are shifted against A's (docs/concepts.md): the null of a feature
/// is the best r of the features that fire about as often.

#include "concord/core/index.hpp"

#include <vector>

namespace concord::correlate {

class BestNull {
public:
  /// @param null    [shifts, F] best r of each feature with shifted rows
  /// @param counts  [F] active rows; features without any have no null
  BestNull(const std::vector<double>& null, const std::vector<Index>& counts);
  /// (1 + null values >= r) / (1 + null values): never 0. NaN without a null.
  double p(Index feature, double r) const;
  /// What r must exceed for p <= level: infinite where there are too few null values for that. NaN without a null.
  double threshold(Index feature, double level) const;
  bool empty() const { return sorted_.empty(); }

private:
  const std::vector<double>* of(Index feature) const;
  std::vector<std::int32_t> window_;        ///< [F], -1: none
  std::vector<std::vector<double>> sorted_; ///< of each window
};

/// Benjamini and Hochberg 1995: q = min over larger p of p * m / rank. NaN is no test and stays.
std::vector<double> benjamini_hochberg(const std::vector<double>& p);

} // namespace concord::correlate
