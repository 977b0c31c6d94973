#include "concord/core/error.hpp"
#include "concord/sae/rows/buffer_order.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

namespace concord::sae {
namespace {

/// 23 blocks of 20 to 42 rows; the first row of each is not usable.
struct Corpus {
  std::vector<Index> offsets{0};
  std::vector<bool> usable;
  Corpus() {
    for (Index b = 0; b < 23; ++b) offsets.push_back(offsets.back() + 20 + b);
    usable.assign(static_cast<std::size_t>(offsets.back()), true);
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) usable[static_cast<std::size_t>(offsets[b])] = false;
  }
  BufferOrder::TakesPart takes_part() const {
    return [this](Index begin, Index end) { return std::vector<bool>(usable.begin() + begin, usable.begin() + end); };
  }
  BufferOrder order(std::uint64_t seed = 5) const { return {offsets, takes_part(), 0.1, /*buffer_rows=*/180, /*batch=*/16, seed}; }
};

std::set<Index> rows_of_step(BufferOrder& order, Index step, int parts) {
  std::set<Index> rows;
  for (int part = 0; part < parts; ++part)
    for (const auto& row : order.rows_of(step, part, parts)) EXPECT_TRUE(rows.insert(row.file_row).second) << "two parts share a row";
  return rows;
}

TEST(BufferOrder, ABatchIsTheSameRowsForAnyNumberOfParts) {
  const Corpus corpus;
  auto order = corpus.order();
  for (Index step = 0; step < 60; ++step) {
    const auto one = rows_of_step(order, step, 1);
    EXPECT_EQ(one.size(), 16U);
    for (const int parts : {2, 3, 7}) EXPECT_EQ(rows_of_step(order, step, parts), one);
  }
}

TEST(BufferOrder, APassVisitsARowAtMostOnceAndNoneThatIsHeldOutOrSpecial) {
  const Corpus corpus;
  auto order = corpus.order();
  std::set<Index> held;
  for (const auto& row : order.held_out_rows(0, 1)) held.insert(row.file_row);
  EXPECT_GE(held.size(), corpus.usable.size() / 10 - 42);
  std::set<Index> seen;
  Index step = 0;
  for (; order.window_of(step).pass == 0; ++step)
    for (const Index row : rows_of_step(order, step, 1)) {
      EXPECT_TRUE(seen.insert(row).second) << "row " << row << " twice";
      EXPECT_FALSE(held.contains(row));
      EXPECT_TRUE(corpus.usable[static_cast<std::size_t>(row)]);
    }
  const auto usable = static_cast<std::size_t>(std::count(corpus.usable.begin(), corpus.usable.end(), true));
  EXPECT_GT(seen.size(), (usable - held.size()) * 8 / 10) << "only what is behind a window's last batch waits";
}

TEST(BufferOrder, AStepNeedsOnlyTheBlocksOfItsWindowAndIsReachedInAnyOrder) {
  const Corpus corpus;
  auto forward = corpus.order();
  auto jumping = corpus.order();
  std::map<Index, std::set<Index>> rows;
  for (Index step = 0; step < 90; ++step) rows[step] = rows_of_step(forward, step, 1);
  for (const Index step : {80, 3, 41, 0, 89}) {
    EXPECT_EQ(rows_of_step(jumping, step, 1), rows[step]);
    const Window window = jumping.window_of(step);
    EXPECT_LE(window.first_step, step);
    EXPECT_GT(window.first_step + window.steps, step);
    for (const auto& row : jumping.rows_of(step, 0, 1)) {
      const Index block = window.blocks[static_cast<std::size_t>(row.place)];
      EXPECT_EQ(corpus.offsets[static_cast<std::size_t>(block)] + row.row, row.file_row);
    }
  }
}

TEST(BufferOrder, PassesAndSeedsDiffer) {
  const Corpus corpus;
  auto order = corpus.order();
  auto other = corpus.order(6);
  EXPECT_NE(rows_of_step(order, 0, 1), rows_of_step(other, 0, 1));
  Index second = 0;
  while (order.window_of(second).pass == 0) ++second;
  EXPECT_NE(order.window_of(0).blocks, order.window_of(second).blocks);
}

TEST(BufferOrder, SaysWhatIsTooSmall) {
  const auto usable = [](Index begin, Index end) { return std::vector<bool>(static_cast<std::size_t>(end - begin), true); };
  EXPECT_THROW(BufferOrder({0, 40}, usable, 0.1, 100, 8, 0), Error);
  EXPECT_THROW(BufferOrder({0, 20, 40}, usable, 0.1, 10, 32, 0), Error);
}

/// 180 rows of blocks of up to 42 are 4 blocks; 21 of the 23 blocks or so are trained on.
TEST(BufferOrder, SaysHowAllPartsGetRows) {
  const Corpus corpus;
  auto order = corpus.order();
  EXPECT_EQ(order.idle_parts(4), "");
  const auto text = order.idle_parts(6);
  EXPECT_NE(text.find("4 blocks of up to 42 rows for 6 replicas of the model: 2 of these get no rows; raise sae.buffer_rows to 252"),
            std::string::npos)
      << text;
  BufferOrder raised(corpus.offsets, corpus.takes_part(), 0.1, 252, 16, 5);
  EXPECT_EQ(raised.idle_parts(6), "");
  for (int part = 0; part < 6; ++part) {
    std::size_t rows = 0;
    const Index steps = raised.window_of(0).steps;
    for (Index step = 0; step < steps; ++step) rows += raised.rows_of(step, part, 6).size();
    EXPECT_GT(rows, 0U) << part;
  }
  EXPECT_NE(order.idle_parts(40).find("lower extract.batch, since the corpus has"), std::string::npos) << order.idle_parts(40);
}

} // namespace
} // namespace concord::sae
