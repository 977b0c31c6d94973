#include "concord/dist/layer_shards.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace concord::dist {
namespace {

/// The dearest run of the best cut, by trying all.
double best_by_trial(const std::vector<double>& costs, std::size_t begin, int parts) {
  if (parts == 1) return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(begin), costs.end(), 0.0);
  double best = std::numeric_limits<double>::infinity();
  double run = 0;
  for (std::size_t end = begin; end <= costs.size(); ++end) {
    best = std::min(best, std::max(run, best_by_trial(costs, end, parts - 1)));
    if (end < costs.size()) run += costs[end];
  }
  return best;
}

TEST(LayerShards, CutsAreAsGoodAsAnyCanBe) {
  const std::vector<double> costs{3, 1, 4, 1, 5, 9, 2, 6, 5};
  for (int parts = 1; parts <= 9; ++parts) {
    const auto cuts = balanced_cuts(costs, parts);
    ASSERT_EQ(cuts.size(), static_cast<std::size_t>(parts) + 1);
    EXPECT_EQ(cuts.front(), 0);
    EXPECT_EQ(cuts.back(), 9);
    double dearest = 0;
    for (std::size_t p = 0; p + 1 < cuts.size(); ++p) {
      EXPECT_LT(cuts[p], cuts[p + 1]) << "an empty shard at " << parts;
      dearest = std::max(dearest, std::accumulate(costs.begin() + cuts[p], costs.begin() + cuts[p + 1], 0.0));
    }
    EXPECT_DOUBLE_EQ(dearest, best_by_trial(costs, 0, parts));
  }
}

TEST(LayerShards, MoreShardsThanLayersLeaveSomeEmpty) {
  const auto cuts = balanced_cuts({1, 1}, 4);
  EXPECT_EQ(cuts.front(), 0);
  EXPECT_EQ(cuts.back(), 2);
  EXPECT_TRUE(std::is_sorted(cuts.begin(), cuts.end()));
}

TEST(RankGrid, NeighboursShareAReplicaAndTheRestIsIdle) {
  const RankGrid grid{7, 3};
  EXPECT_EQ(grid.replicas(), 2);
  EXPECT_EQ(grid.active(), 6);
  for (int rank = 0; rank < 7; ++rank) {
    EXPECT_EQ(grid.idle(rank), rank == 6);
    EXPECT_EQ(grid.replica(rank) * 3 + grid.shard(rank), rank);
  }
}

} // namespace
} // namespace concord::dist
