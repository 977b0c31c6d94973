// Times of phases worked by hand on a machine of round numbers.
#include "concord/cost/phase.hpp"

#include "support/support.hpp"

namespace concord::cost {
namespace {

/// Every rate 100 a second, whatever the size; 4 ranks a node.
Machine round_machine() {
  Machine m;
  m.name = "round";
  m.ranks_a_node = 4;
  m.rates.fill({100, 100, 0});
  m.memory = 4000; // 1000 a rank where all four work
  m.within = {0.5, 200};
  m.between = {2, 50};
  m.reads = {10, 30, 80};
  m.writes = {10, 30, 80};
  return m;
}

TEST(Phase, WorkIsSharedAndUnitsAreWhole) {
  // 7 units by 2 groups of 2 ranks: the busier group does 4. A unit takes 300 / 100 / 2 s.
  Phase p{.name = "p", .units = 7, .groups = 2, .ranks = 2, .shared = {{Work::rows, 300}}};
  const Parts t = time_of(p, round_machine(), {.ranks = 4, .on_node = 4});
  EXPECT_DOUBLE_EQ(t.work, 7 * 3.0 / 4);
  EXPECT_DOUBLE_EQ(t.imbalance, 4 * 1.5 - 7 * 3.0 / 4);
  EXPECT_DOUBLE_EQ(t.total(), 6);
}

TEST(Phase, TheBusiestRankAndWhatIsNotSharedCount) {
  Phase p{.name = "p", .times = 2, .ranks = 4, .shared = {{Work::rows, 400, 0, 1.5}}, .alone = {{Work::codes, 50}}};
  const Parts t = time_of(p, round_machine(), {.ranks = 4, .on_node = 4});
  EXPECT_DOUBLE_EQ(t.work, 2 * 1.0);
  EXPECT_DOUBLE_EQ(t.imbalance, 2 * 0.5);
  EXPECT_DOUBLE_EQ(t.alone, 2 * 0.5);
  EXPECT_EQ(predict({p}, round_machine(), {.ranks = 4, .on_node = 4}).limit, "arithmetic (rows)");
}

TEST(Phase, MemoryCountsWhereItIsSlowerThanArithmetic) {
  Phase p{.name = "p", .ranks = 4, .shared = {{Work::rows, 400}}, .memory_bytes = 12000};
  const Parts t = time_of(p, round_machine(), {.ranks = 4, .on_node = 4});
  EXPECT_DOUBLE_EQ(t.work, 1);
  EXPECT_DOUBLE_EQ(t.memory, 2); // 3000 bytes a rank at 1000 a second take 3 s
  p.memory_bytes = 3000;
  EXPECT_DOUBLE_EQ(time_of(p, round_machine(), {.ranks = 4, .on_node = 4}).memory, 0);
  EXPECT_DOUBLE_EQ(time_of(p, round_machine(), {.ranks = 4, .on_node = 1}).memory, 0); // a node's memory for one rank
}

TEST(Phase, MessagesPassStagesOfNodesAndOfRanks) {
  // 16 ranks on 4 nodes: 2 stages within a node, 2 between them.
  Phase p{.name = "p", .ranks = 16, .calls = 3, .messages = 5, .bytes_within = 100, .bytes_between = 100};
  const Layout layout{.ranks = 16, .on_node = 4};
  const Parts t = time_of(p, round_machine(), layout);
  EXPECT_DOUBLE_EQ(t.latency, 3 * (2 * 0.5 + 2 * 2) + 5 * 2);
  EXPECT_DOUBLE_EQ(t.bandwidth, 100.0 / 200 + 100.0 / 50);
  EXPECT_EQ(predict({p}, round_machine(), layout).limit, "latency");
  p.ranks = 1; // nobody to speak to
  EXPECT_DOUBLE_EQ(time_of(p, round_machine(), layout).total(), 0);
}

TEST(Phase, FilesAreAsFastAsTheSlowestOfRankNodeAndAll) {
  Phase p{.name = "p", .read = 160, .written = 80};
  const Machine m = round_machine();
  EXPECT_DOUBLE_EQ(time_of(p, m, {.ranks = 1, .on_node = 4}).files, 24); // 10 a second by a rank
  EXPECT_DOUBLE_EQ(time_of(p, m, {.ranks = 4, .on_node = 4}).files, 8);  // 30 by a node
  EXPECT_DOUBLE_EQ(time_of(p, m, {.ranks = 16, .on_node = 4}).files, 3); // 80 by all
  p.shared = {{Work::rows, 500}};
  p.files_beside = true;
  const Parts t = time_of(p, m, {.ranks = 1, .on_node = 1}); // 5 s of work hide behind 24 s of files
  EXPECT_DOUBLE_EQ(t.total(), 24);
  EXPECT_DOUBLE_EQ(t.work, 5);
}

TEST(Phase, PhasesAddUp) {
  const Phase a{.name = "a", .times = 3, .units = 2, .shared = {{Work::rows, 10}}};
  const Phase b{.name = "b", .units = 2, .alone = {{Work::rows, 5}, {Work::text, 7}}};
  EXPECT_DOUBLE_EQ(amount_of({a, b}, Work::rows), 70);
  EXPECT_DOUBLE_EQ(amount_of({a, b}, Work::text), 14);
  EXPECT_DOUBLE_EQ(predict({a, b}, round_machine(), {}).parts.total(), 0.6 + 0.24);
  EXPECT_EQ(predict({}, round_machine(), {}).limit, "");
}

} // namespace
} // namespace concord::cost
