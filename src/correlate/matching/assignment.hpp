#pragma once
/// One-to-one matchings from candidate pairs: greedy, and optimal with a proof. Local.

#include "concord/comm/stop.hpp"
#include "concord/core/index.hpp"

#include <cstdint>
#include <vector>

namespace concord::correlate {

/// A candidate pair of features.
struct Edge {
  std::int32_t a;
  std::int32_t b;
  double r;
  Index cofire;
};

/// Takes edges by falling r (ties: smaller a, then smaller b) while both ends are free. Returns the edge of each feature of B, -1 for none.
std::vector<Index> greedy_matching(const std::vector<Edge>& edges, Index features_a, Index features_b);

/// The matching with the largest sum of (r - floor); edges with r <= floor are none. Features may stay unmatched.
///
/// The duals are at least 0 and prove it: dual_a[i] + dual_b[j] >= r_ij - floor for all edges, and the sum of all duals is that of the
/// matching. So it is optimal among all pairs, edges or not, for which the inequality holds too. Exact: r is rounded to 2^-40 and all else
/// is done in integers.
struct OptimalMatching {
  std::vector<Index> edge_of_b; ///< -1: unmatched
  std::vector<double> dual_a;
  std::vector<double> dual_b;
  double total = 0; ///< sum of (r - floor)
};

/// Shortest augmenting paths (Jonker and Volgenant 1987) on the edges, every feature of A having a place of its own at no gain besides.
/// Where `stop` wants an end it returns early with something that is of no use: come to throw_if_wanted().
OptimalMatching optimal_matching(const std::vector<Edge>& edges, Index features_a, Index features_b, double floor,
                                 const comm::StopWithin* stop = nullptr);

} // namespace concord::correlate
