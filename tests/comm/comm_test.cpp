#include "concord/comm/agree.hpp"
#include "concord/comm/collectives.hpp"
#include "concord/comm/gpu.hpp"
#include "concord/comm/node_array.hpp"
#include "concord/comm/stop.hpp"

#include "support/support.hpp"
#include <csignal>
#include <functional>
#include <memory>
#include <numeric>
#include <sys/resource.h>

namespace concord::comm {
namespace {

using test::world;

TEST(Agree, ThrowsTheLowestFailingRanksErrorEverywhere) {
  const int last = world().size() - 1;
  try {
    agree(world(), [&] {
      if (world().rank() == last) fail(ExitCode::io, "rank {} cannot write", last);
    });
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::io);
    EXPECT_TRUE(error.agreed());
    EXPECT_EQ(std::string(error.what()), "rank " + std::to_string(last) + " cannot write");
  }
}

TEST(Agree, PassesResultsThrough) {
  EXPECT_EQ(agreed(world(), [] { return 7; }), 7);
}

TEST(AgreeBetweenGroups, ThrowsOneGroupsErrorOnAllRanks) {
  const int groups = std::min(2, world().size());
  const int number = world().rank() * groups / world().size();
  const auto group = world().split(number);
  int done = 0;
  test::expect_error(ExitCode::bad_data, "group 0 cannot read", [&] {
    agree_between_groups(world(), [&] {
      agree(group, [&] {
        if (number == 0) fail(ExitCode::bad_data, "group 0 cannot read");
      });
      done = sum_of(group, Index{1}) == group.size() ? 1 : 0;
    });
  });
  EXPECT_EQ(done, number == 0 ? 0 : 1); // the other group did its work
}

TEST(Collectives, SumMaxAndPrefix) {
  const int size = world().size();
  std::vector<double> values(1000, static_cast<double>(world().rank() + 1));
  sum(world(), values);
  EXPECT_EQ(values.front(), size * (size + 1) / 2.0);
  EXPECT_EQ(values.back(), size * (size + 1) / 2.0);
  EXPECT_EQ(max_of(world(), Index{world().rank()}), size - 1);
  EXPECT_EQ(sum_below(world(), 2), 2 * world().rank());
}

TEST(Collectives, GathersUnevenAndEmptyShares) {
  std::vector<Index> mine(static_cast<std::size_t>(world().rank() % 3)); // ranks 0 and 3 have none
  std::iota(mine.begin(), mine.end(), world().rank() * 10);
  std::vector<Index> expected;
  for (int rank = 0; rank < world().size(); ++rank)
    for (int i = 0; i < rank % 3; ++i) expected.push_back(rank * 10 + i);
  EXPECT_EQ(all_gather(world(), mine), expected);
}

/// Rank s sends rank r the items 100 s + r, r + 1 of them; and to all alike where runs overlap.
TEST(Collectives, ExchangesUnevenAndOverlappingRuns) {
  const int size = world().size();
  std::vector<Index> out, begin, count;
  for (int rank = 0; rank < size; ++rank) {
    begin.push_back(static_cast<Index>(out.size()));
    count.push_back(rank == 1 ? 0 : rank + 1);
    out.insert(out.end(), static_cast<std::size_t>(count.back()), 100 * world().rank() + rank);
  }
  std::vector<Index> expected;
  for (int source = 0; source < size; ++source)
    expected.insert(expected.end(), static_cast<std::size_t>(world().rank() == 1 ? 0 : world().rank() + 1), 100 * source + world().rank());
  EXPECT_EQ(exchange(world(), out, begin, count), expected);

  const std::vector<Index> mine{world().rank(), -world().rank()};
  const auto all =
      exchange(world(), mine, std::vector<Index>(static_cast<std::size_t>(size), 0), std::vector<Index>(static_cast<std::size_t>(size), 2));
  EXPECT_EQ(all, all_gather(world(), mine));
}

TEST(Collectives, GathersEachRanksBytesOneAfterTheOther) {
  const std::vector<char> mine(static_cast<std::size_t>(world().rank() % 2 == 0 ? 3 + world().rank() : 0),
                               static_cast<char>('a' + world().rank()));
  std::vector<std::pair<int, std::string>> seen;
  gather_each(world(), mine, [&](int rank, std::vector<char>& bytes) { seen.emplace_back(rank, std::string(bytes.begin(), bytes.end())); });
  std::vector<std::pair<int, std::string>> expected;
  for (int rank = 0; rank < world().size() && world().rank() == 0; rank += 2)
    expected.emplace_back(rank, std::string(static_cast<std::size_t>(3 + rank), static_cast<char>('a' + rank)));
  EXPECT_EQ(seen, expected);
  test::expect_error(ExitCode::io, "no room", [&] {
    gather_each(world(), std::vector<char>(5, 'x'), [](int, std::vector<char>&) { fail(ExitCode::io, "no room"); });
  });
}

TEST(Collectives, BroadcastResizes) {
  std::vector<float> values;
  if (world().rank() == 0) values = {1, 2, 3};
  broadcast(world(), values);
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3}));
}

TEST(Stop, OneRanksSignalIsEveryRanksStop) {
  install_stop_flag(0);
  EXPECT_FALSE(stop_requested(world()));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_TRUE(stop_requested(world()));
  EXPECT_TRUE(stop_requested(world())); // and it stays
}

TEST(Stop, IsHeededWithinAUnitOnceThatHasTakenLong) {
  install_stop_flag(0);
  const StopWithin late(100);
  const StopWithin now(0);
  EXPECT_FALSE(now.wanted_here());
  EXPECT_NO_THROW(now.throw_if_wanted(world(), "test"));
  if (world().rank() == world().size() - 1) std::raise(SIGUSR1);
  EXPECT_NO_THROW(late.throw_if_wanted(world(), "test"));
  test::expect_error(ExitCode::stopped, "run the same command", [&] { now.throw_if_wanted(world(), "test"); });
  install_stop_flag(0);
}

/// Rows of uneven and empty shares reach every copy of an array that `make` gives.
void expect_shared(const std::function<std::unique_ptr<NodeArray>(Index)>& make) {
  const auto& comm = test::world();
  std::vector<Index> counts;
  Index rows = 0;
  Index first = 0;
  for (int rank = 0; rank < comm.size(); ++rank) {
    if (rank == comm.rank()) first = rows;
    counts.push_back(rank % 3 == 1 ? 0 : 5 + rank);
    rows += counts.back();
  }
  constexpr Index width = 7, before = 3;
  const auto array = make(before + rows * width);
  for (int round = 0; round < 3; ++round) {
    const auto value = [&](Index i) { return static_cast<float>(1000 * round + i); };
    for (Index i = first * width; i < (first + counts[static_cast<std::size_t>(comm.rank())]) * width; ++i)
      array->values()[static_cast<std::size_t>(before + i)] = value(i);
    array->share(before, counts, width);
    for (Index i = 0; i < rows * width; ++i) EXPECT_EQ(array->values()[static_cast<std::size_t>(before + i)], value(i)) << i;
    for (Index i = 0; i < before; ++i) EXPECT_EQ(array->values()[static_cast<std::size_t>(i)], 0.0F);
    comm.barrier(); // all have looked before anyone writes again
  }
}

TEST(NodeArray, AllCopiesHoldWhatEachRankWrote) {
  const auto& comm = test::world();
  for (const int most_ranks : {0, 1, 2}) {
    expect_shared([&](Index count) {
      auto array = std::make_unique<NodeArray>(comm, count, most_ranks);
      EXPECT_EQ(array->ranks_a_copy() == 1,
                most_ranks == 1 || comm.size() == 1 || (most_ranks == 2 && comm.size() == 3 && comm.rank() == 2));
      EXPECT_EQ(array->copy().size(), array->ranks_a_copy());
      return array;
    });
  }
  expect_shared([&](Index count) { return std::make_unique<NodeArray>(comm, count, 0, NodeArray::Taking::as_written); });
}

TEST(NodeArray, RanksHaveTheirOwnWhereMemoryCannotBeShared) {
  expect_shared([&](Index count) {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit none{0, before.rlim_max};
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &none); // no file takes a byte, that of shared memory neither
    auto array = std::make_unique<NodeArray>(test::world(), count);
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(array->ranks_a_copy(), 1);
    return array;
  });
}

/// Without a GPU; on one the same memory is pinned.
TEST(Gpu, StagingMemoryIsAligned) {
  for (const std::size_t count : {1U, 1000U, 100000U}) {
    StagingVector<float> values(count, 1.5F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U);
    values.resize(3 * count, 2.5F);
    EXPECT_EQ(values.front() + values.back(), 4.0F);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(values.data()) % 64, 0U);
  }
}

} // namespace
} // namespace concord::comm
