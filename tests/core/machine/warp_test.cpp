#include "concord/core/machine/warp.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace concord {
namespace {

struct Scored {
  int score;
  int name;
  bool operator==(const Scored&) const = default;
};
bool better(const Scored& x, const Scored& y) {
  return x.score > y.score || (x.score == y.score && x.name < y.name);
}

TEST(Warp, BallotsAndBroadcasts) {
  const LoopWarp warp;
  LoopWarp::Lanes<int> squares;
  warp.each([&](int lane) { squares[lane] = lane * lane; });
  EXPECT_EQ(warp.from(squares, 7), 49);
  const auto bits = warp.ballot([&](int lane) { return squares[lane] >= 900; });
  EXPECT_EQ(bits, 3U << 30);
  EXPECT_EQ(count_bits(bits), 2);
  EXPECT_EQ(first_bit(bits), 30);
  std::uint64_t counter = 5;
  EXPECT_EQ(warp.take(&counter, 4), 5U);
  EXPECT_EQ(counter, 9U);
}

/// On a GPU it would read its own.
TEST(Warp, RefusesAnotherLanesValues) {
  const LoopWarp warp;
  LoopWarp::Lanes<int> values;
  EXPECT_THROW(warp.each([&](int lane) { values[lane ^ 1] = 0; }), std::logic_error);
  EXPECT_THROW(values[0] = 0, std::logic_error);
}

/// Lists of less than a warp, of one, and of some; ties go to the smaller name.
TEST(Warp, InsertKeepsTheBest) {
  for (const int places : {1, 2, 31, 32, 33, 64, 70}) {
    std::vector<Scored> list(static_cast<std::size_t>(places), Scored{-1, 1 << 20}), all;
    for (int i = 0; i < 200; ++i) {
      const Scored next{i * 7919 % 101, i * 31 % 200};
      all.push_back(next);
      insert(LoopWarp{}, list.data(), places, next);
    }
    std::sort(all.begin(), all.end(), better);
    all.resize(list.size());
    EXPECT_EQ(list, all) << places;
  }
}

/// Every number is counted by one warp, in shared memory that is its own.
struct CountMultiples {
  int* counts;
  std::int64_t warps() const { return 9; }
  std::int64_t shared() const { return sizeof(int); }
};
template <typename Warp>
void run(const Warp& warp, const CountMultiples& kernel, std::int64_t number, std::byte* shared) {
  auto* sum = reinterpret_cast<int*>(shared);
  warp.each([&](int lane) {
    if (lane == 0) *sum = 0;
  });
  const auto multiples = warp.ballot([&](int lane) { return lane % (number + 1) == 0; });
  warp.each([&](int lane) {
    if (lane == 0) kernel.counts[number] = *sum + count_bits(multiples);
  });
}

TEST(Warp, RunsEveryWarpOfAKernel) {
  std::vector<int> counts(9, -1);
  run_in_loop(CountMultiples{counts.data()});
  EXPECT_EQ(counts, (std::vector<int>{32, 16, 11, 8, 7, 6, 5, 4, 4}));
}

} // namespace
} // namespace concord
