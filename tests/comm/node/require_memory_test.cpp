#include "concord/comm/collectives.hpp"
#include "concord/comm/node/require_memory.hpp"

#include "support/support.hpp"

namespace concord::comm {
namespace {

using test::expect_error;
using test::world;

TEST(MemoryPlan, AddsPhasesByTheLargestAndHoldersByTheirNumber) {
  MemoryPlan plan("stage");
  plan.each_rank("always", "1", 1);
  plan.each_node("shared", "10", 10);
  plan.begin_phase("first");
  plan.each_rank("a", "100", 100);
  plan.rank_0("b", "1000", 1000);
  plan.begin_phase("second");
  plan.each_rank("c", "500", 500);
  plan.at_most();
  EXPECT_EQ(plan.of_rank(), 1 + 1100);
  EXPECT_EQ(plan.of_rank(/*root=*/false), 1 + 500);
  EXPECT_EQ(plan.of_node(), 10);
  EXPECT_EQ(plan.of_all(2), 2 + 10 + 1200);
  EXPECT_EQ(plan.of_all(4), 4 + 10 + 2000);
  EXPECT_EQ(plan.of_all(4, /*root=*/false), 4 + 10 + 2000);
  EXPECT_EQ(plan.without_upper_bounds().of_rank(/*root=*/false), 1 + 100);
  EXPECT_EQ(plan.without_node_arrays("first").of_all(2), 2 + 1000);
  plan.copies_a_node(3);
  EXPECT_EQ(plan.of_all(2), 2 + 30 + 1200);
}

TEST(RequireMemory, RefusesWhatIsNotThereAndNamesTheLargestArray) {
  MemoryPlan small("stage");
  small.each_rank("little", "1 MiB", 1 << 20);
  require_memory(world(), small, "do less");
  MemoryPlan large = small;
  large.each_node("weights", "8 F d", 1e18);
  expect_error(ExitCode::unavailable, "weights", [&] { require_memory(world(), large, "do less"); });
  expect_error(ExitCode::unavailable, "do less", [&] { require_memory(world(), large, "do less"); });
  // What each rank holds counts as often as there are ranks; the advice is of the array that is named.
  MemoryPlan both = large;
  both.each_rank("codes", "B L", 0.8e18);
  const std::string most = node_size(world()) > 1 ? "codes" : "weights";
  for (const std::string& part : {"the largest array, " + most + ",", "less of " + most})
    expect_error(ExitCode::unavailable, part,
                 [&] { require_memory(world(), both, [](const MemoryItem& largest) { return "less of " + largest.what; }); });
  large.at_most();
  require_memory(world(), large, "do less"); // it may be smaller
  require_memory(world(), MemoryPlan("nothing"), "do less");
}

} // namespace
} // namespace concord::comm
