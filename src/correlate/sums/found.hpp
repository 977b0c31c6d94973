#pragma once
/// What is found of the features of a rank's shares while sums stream by. Local.

#include "correlate/sums/best_partners.hpp"

namespace concord::correlate {

/// What is found of the features of this rank's shares.
struct Found {
  BestTable best_of_a;
  std::vector<BestTable> best_of_b;           ///< of each thread
  std::vector<double> largest_a;              ///< [shifts, share of A]
  std::vector<std::vector<double>> largest_b; ///< of each thread, [shifts, share of B]

  Found(std::size_t features_a, std::size_t features_b, Index best, Index shifts, int threads);
  /// Into the first thread's.
  void merge_threads();
};

} // namespace concord::correlate
